/* Files: writing beside and renaming, what is mapped, JSON, zip, and the tensor formats against files that NumPy and safetensors
 * wrote, against damage at every byte, against lies about sizes, against failing allocations and a full disk. */
#include "common/check.h"

#include "base/zip.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN(name) EPL_SOURCE_DIR "/tests/golden/" name

/* ---- files ---- */
TEST(files_are_replaced_whole)
{
    epl_context *ctx = test_context(t);
    char         path[600], big[200000];
    snprintf(path, sizeof path, "%s", test_temp(t, "whole"));
    CHECK_OK(t, ctx, epl_write_file(ctx, path, "old", 3));
    CHECK(t, chmod(path, 0640) == 0);
    memset(big, 'n', sizeof big);
    epl_writer *w = epl_writer_open(ctx, path);
    CHECK(t, w && epl_writer_write(w, big, sizeof big) && epl_writer_write(w, "!", 1));
    char *now = test_read_file(t, path, NULL);
    CHECK_STR(t, now, "old"); // until the commit
    free(now);
    CHECK_OK(t, ctx, epl_writer_commit(w));
    epl_map map;
    CHECK_OK(t, ctx, epl_map_open(ctx, path, &map));
    CHECK(t, map.size == sizeof big + 1 && map.data[0] == 'n' && map.data[sizeof big] == '!');
    epl_map_close(&map);
    epl_map_close(&map);
    struct stat info;
    CHECK(t, stat(path, &info) == 0 && (info.st_mode & 0777) == 0640);
    w = epl_writer_open(ctx, path);
    epl_writer_write(w, "x", 1);
    epl_writer_abandon(w);
    epl_writer_abandon(NULL);
    CHECK(t, stat(path, &info) == 0 && info.st_size == (off_t)sizeof big + 1);
}

static int count_files(const char *pattern)
{
    glob_t    found;
    const int n = glob(pattern, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return n;
}

TEST(a_link_stays_a_link)
{
    epl_context *ctx = test_context(t);
    char         path[600], link[600];
    snprintf(path, sizeof path, "%s", test_temp(t, "target"));
    snprintf(link, sizeof link, "%s", test_temp(t, "link"));
    CHECK_OK(t, ctx, epl_write_file(ctx, path, "1", 1));
    CHECK(t, symlink(path, link) == 0);
    CHECK_OK(t, ctx, epl_write_file(ctx, link, "22", 2));
    struct stat info;
    CHECK(t, lstat(link, &info) == 0 && S_ISLNK(info.st_mode));
    CHECK(t, stat(path, &info) == 0 && info.st_size == 2);
}

TEST(missing_and_strange_files_are_named)
{
    epl_context *ctx = test_context(t);
    epl_map      map;
    CHECK_FAILS(t, ctx, epl_map_open(ctx, "/nonexistent/x", &map), EPL_ERR_IO, "'/nonexistent/x': No such file");
    CHECK_FAILS(t, ctx, epl_map_open(ctx, "/tmp", &map), EPL_ERR_IO, "a folder");
    CHECK_FAILS(t, ctx, epl_map_open(ctx, "/dev/zero", &map), EPL_ERR_IO, "not a regular file");
    CHECK_FAILS(t, ctx, epl_write_file(ctx, "/nonexistent/x", "", 0), EPL_ERR_IO, "'/nonexistent/x'");
    CHECK_FAILS(t, ctx, epl_write_file(ctx, "/tmp", "", 0), EPL_ERR_IO, "directory");
    CHECK_OK(t, ctx, epl_write_file(ctx, test_temp(t, "empty"), NULL, 0));
    CHECK_OK(t, ctx, epl_map_open(ctx, test_temp(t, "empty"), &map));
    CHECK(t, map.size == 0 && map.data != NULL);
    epl_map_close(&map);
    CHECK(t, epl_file_exists("/tmp") && !epl_file_exists("/nonexistent/x"));
}

TEST(directories_are_made)
{
    epl_context *ctx = test_context(t);
    char         path[600];
    snprintf(path, sizeof path, "%s/b//c/", test_temp(t, "a"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, path));
    CHECK_OK(t, ctx, epl_make_directories(ctx, path));
    CHECK_OK(t, ctx, epl_make_directories(ctx, "/"));
    CHECK_OK(t, ctx, epl_write_file(ctx, test_temp(t, "a/file"), "", 0));
    CHECK_FAILS(t, ctx, epl_make_directories(ctx, test_temp(t, "a/file")), EPL_ERR_IO, "in the way");
    CHECK_FAILS(t, ctx, epl_make_directories(ctx, test_temp(t, "a/file/deeper")), EPL_ERR_IO, "cannot create");
}

TEST(a_full_device_is_an_error)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_write_file(ctx, "/dev/full", "x", 1), EPL_ERR_IO, "No space left");
    CHECK_OK(t, ctx, epl_write_file(ctx, "/dev/null", "x", 1));
    struct stat info;
    CHECK(t, stat("/dev/null", &info) == 0 && S_ISCHR(info.st_mode));
}

/* A limit on file sizes acts like a disk that fills up in the middle. */
TEST(a_full_disk_leaves_the_old_file)
{
    epl_context *ctx = test_context(t);
    char         path[600];
    snprintf(path, sizeof path, "%s", test_temp(t, "limited.safetensors"));
    CHECK_OK(t, ctx, epl_write_file(ctx, path, "old", 3));
    epl_weights *w = epl_weights_new(ctx);
    CHECK(t, epl_weights_put_take(w, "x", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(100000))));
    struct rlimit before, small;
    CHECK(t, getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = 100000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK(t, setrlimit(RLIMIT_FSIZE, &small) == 0);
    const bool saved = epl_weights_save(w, path), zipped = epl_npz_save(w, path);
    const bool alone = epl_npy_save(ctx, path, epl_weights_at(w, 0));
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    CHECK_FAILS(t, ctx, saved || zipped || alone, EPL_ERR_IO, "File too large");
    char *now = test_read_file(t, path, NULL);
    CHECK_STR(t, now, "old");
    free(now);
    CHECK_INT(t, count_files(test_temp(t, "limited*")), 1); // nothing is left beside it
    epl_weights_free(w);
}

/* ---- JSON ---- */
TEST(json_is_read)
{
    const char   text[] = "{\"b\": [1, -2.5, \"\\u00e9\", true, null], \"a\": {\"big\": 9007199254740993}}";
    epl_context *ctx = test_context(t);
    epl_json    *j = epl_json_parse(ctx, text, strlen(text), "text");
    CHECK_OK(t, ctx, j != NULL);
    const epl_json *b = epl_json_get(j, "b");
    int64_t         i = 0;
    double          x = 0;
    bool            yes = false;
    CHECK(t, epl_json_length(b) == 5 && epl_json_length(j) == 2 && epl_json_length(epl_json_at(b, 2)) == 0);
    CHECK(t, epl_json_i64(epl_json_at(b, 0), &i) && i == 1 && !epl_json_i64(epl_json_at(b, 1), &i));
    CHECK(t, epl_json_f64(epl_json_at(b, 1), &x) && x == -2.5 && epl_json_f64(epl_json_at(b, 0), &x) && x == 1);
    CHECK_STR(t, epl_json_string(epl_json_at(b, 2)), "\xc3\xa9");
    CHECK(t, epl_json_bool(epl_json_at(b, 3), &yes) && yes && !epl_json_bool(b, &yes));
    CHECK_INT(t, epl_json_kind_of(epl_json_at(b, 4)), EPL_JSON_NULL);
    CHECK_INT(t, epl_json_kind_of(epl_json_at(b, 5)), EPL_JSON_NONE);
    CHECK(t, epl_json_i64(epl_json_get(epl_json_get(j, "a"), "big"), &i) && i == 9007199254740993);
    CHECK(t, !epl_json_string(epl_json_get(epl_json_get(j, "none"), "none")) && !epl_json_get(b, "x"));
    epl_json_member m = epl_json_first(j);
    CHECK_STR(t, m.key, "b"); // the file's order
    m = epl_json_next(j, m);
    CHECK_STR(t, m.key, "a");
    CHECK(t, !epl_json_next(j, m).key && !epl_json_first(b).key && !epl_json_first(NULL).key);
    epl_json_free(j);
    epl_json_free(NULL);
}

TEST(bad_json_is_refused)
{
    static const char *const rows[] = {
        "", "{", "{\"a\": 1, \"a\": 2}", "[1] 2", "[99999999999999999999]", "\"\\u0000\"", "[nan]", "\"\xff\""
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(rows); i++)
        CHECK_FAILS(t, ctx, epl_json_parse(ctx, rows[i], strlen(rows[i]), "bad"), EPL_ERR_FORMAT,
                    "bad: JSON, line 1, column");
    char deep[10000];
    memset(deep, '[', sizeof deep);
    CHECK_FAILS(t, ctx, epl_json_parse(ctx, deep, sizeof deep, "deep"), EPL_ERR_FORMAT, "deep: JSON");
    CHECK_FAILS(t, ctx, epl_json_load(ctx, "/nonexistent"), EPL_ERR_IO, "/nonexistent");
}

static void write_sample(epl_json_writer *w)
{
    epl_json_open_object(w, NULL);
    epl_json_put_string(w, "name", "a \"b\"\n\xff");
    epl_json_open_array(w, "list");
    epl_json_put_f64(w, NULL, 0.1);
    epl_json_put_f64(w, NULL, (double)NAN);
    epl_json_put_i64(w, NULL, INT64_MIN);
    epl_json_put_bool(w, NULL, false);
    epl_json_put_null(w, NULL);
    epl_json_close(w);
    epl_json_open_object(w, "empty");
    epl_json_close(w);
    epl_json_close(w);
}

TEST(json_is_written)
{
    epl_context    *ctx = test_context(t);
    epl_text        line = EPL_TEXT(ctx), lines = EPL_TEXT(ctx);
    epl_json_writer compact = epl_json_writer_at(&line, 0), pretty = epl_json_writer_at(&lines, 2);
    write_sample(&compact);
    write_sample(&pretty);
    CHECK_STR(t, epl_text_str(&line),
              "{\"name\": \"a \\\"b\\\"\\n\xef\xbf\xbd\", \"list\": [0.1, null, -9223372036854775808, false, "
              "null], \"empty\": {}}");
    CHECK_STR(t, epl_text_str(&lines),
              "{\n  \"name\": \"a \\\"b\\\"\\n\xef\xbf\xbd\",\n  \"list\": [\n    0.1,\n    null,\n"
              "    -9223372036854775808,\n    false,\n    null\n  ],\n  \"empty\": {}\n}");
    epl_json *j = epl_json_parse(ctx, lines.data, lines.length, "own");
    CHECK_OK(t, ctx, j != NULL);
    epl_json_free(j);
    epl_text_release(&line);
    epl_text_release(&lines);
}

/* ---- sets of weights ---- */
static epl_weights *sample_weights(epl_context *ctx, epl_rng *rng)
{
    static const epl_dtype types[] = {
        EPL_BOOL, EPL_F32, EPL_I8, EPL_F16, EPL_F64, EPL_I64, EPL_U16, EPL_BF16, EPL_U32
    };
    epl_weights *w = epl_weights_new(ctx);
    bool         ok = w != NULL;
    for (size_t i = 0; ok && i < EPL_COUNT(types); i++) {
        char name[32];
        snprintf(name, sizeof name, "layer%zu.\"weight\"", i);
        epl_tensor *x = epl_tensor_new(ctx, types[i], EPL_SHAPE(3, (int64_t)epl_rng_below(rng, 4), 5));
        if (x)
            epl_tensor_fill_normal(x, rng, 0, 50);
        ok = epl_weights_put_take(w, name, x);
    }
    ok = ok && epl_weights_put_take(w, "scalar", epl_tensor_new(ctx, EPL_F64, EPL_SCALAR)) &&
         epl_weights_set_metadata(w, "graph", "line 1\nline \"2\"") &&
         epl_weights_set_metadata(w, "format", "espalier");
    if (ok)
        return w;
    epl_weights_free(w);
    return NULL;
}

/* Same names in the same order, same tensors; bf16 may have become f32 where `npz`. */
static void check_same(test *t, const epl_weights *a, const epl_weights *b, bool npz)
{
    CHECK_INT(t, epl_weights_count(a), epl_weights_count(b));
    for (int i = 0; i < epl_weights_count(a); i++) {
        const epl_tensor *x = epl_weights_at(a, i), *y = epl_weights_at(b, i);
        CHECK_STR(t, epl_weights_name(a, i), epl_weights_name(b, i));
        CHECK(t, epl_tensor_equal(x, y) || (npz && x->dtype == EPL_BF16 && y->dtype == EPL_F32));
        CHECK_CLOSE(t, y, x, .rtol = 0);
        CHECK(t, (uintptr_t)y->data % epl_dtype_bytes(y->dtype) == 0);
    }
}

TEST(weights_are_a_set)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = sample_weights(ctx, t->rng);
    const int    n = epl_weights_count(w);
    CHECK(t, epl_weights_find(w, "scalar") == epl_weights_at(w, n - 1) && !epl_weights_find(w, "other"));
    CHECK(t,
          epl_weights_put_take(w, "scalar", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2))) && epl_weights_count(w) == n);
    CHECK_INT(t, epl_weights_find(w, "scalar")->shape.rank, 1);
    CHECK(t, epl_weights_rename(w, "scalar", "pair") && epl_weights_rename(w, "pair", "pair") &&
                 !epl_weights_find(w, "scalar"));
    CHECK_STR(t, epl_weights_name(w, n - 1), "pair");
    CHECK_FAILS(t, ctx, epl_weights_rename(w, "none", "x"), EPL_ERR_ARGUMENT, "'none'");
    CHECK_FAILS(t, ctx, epl_weights_rename(w, "pair", epl_weights_name(w, 0)), EPL_ERR_ARGUMENT, "exists");
    CHECK_FAILS(t, ctx, epl_weights_remove(w, "none"), EPL_ERR_ARGUMENT, "'none'");
    CHECK(t, epl_weights_remove(w, epl_weights_name(w, 0)) && epl_weights_count(w) == n - 1);
    CHECK_STR(t, epl_weights_name(w, n - 2), "pair");
    CHECK_STR(t, epl_weights_metadata(w, "format"), "espalier");
    CHECK(t, epl_weights_set_metadata(w, "format", "other") && !epl_weights_metadata(w, "none"));
    CHECK_STR(t, epl_weights_metadata(w, "format"), "other");
    CHECK(t, !epl_weights_put_take(w, "null", NULL));
    epl_weights *copy = epl_weights_copy(ctx, w);
    check_same(t, w, copy, false);
    CHECK_STR(t, epl_weights_metadata(copy, "format"), "other");
    epl_weights_free(copy);
    epl_weights_free(w);
    epl_weights_free(NULL);
}

PROPERTY(weights_round_trip, 20)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = sample_weights(ctx, t->rng);
    CHECK_OK(t, ctx, epl_weights_save(w, test_temp(t, "w.safetensors")));
    epl_weights *opened = epl_weights_open(ctx, test_temp(t, "w.safetensors"));
    CHECK_OK(t, ctx, opened != NULL);
    check_same(t, w, opened, false);
    CHECK_STR(t, epl_weights_metadata(opened, "graph"), "line 1\nline \"2\"");
    CHECK_OK(t, ctx, epl_weights_save(opened, test_temp(t, "again.safetensors"))); // the same set gives the same file
    size_t n_first, n_second;
    char  *first = test_read_file(t, test_temp(t, "w.safetensors"), &n_first);
    char  *second = test_read_file(t, test_temp(t, "again.safetensors"), &n_second);
    CHECK(t, n_first == n_second && memcmp(first, second, n_first) == 0);
    epl_weights *parsed = epl_weights_parse(ctx, first, n_first, "first");
    CHECK_OK(t, ctx, parsed != NULL);
    check_same(t, w, parsed, false);
    CHECK_OK(t, ctx, epl_npz_save(w, test_temp(t, "w.npz")));
    epl_weights *unzipped = epl_npz_open(ctx, test_temp(t, "w.npz"));
    CHECK_OK(t, ctx, unzipped != NULL);
    check_same(t, w, unzipped, true);
    free(first);
    free(second);
    epl_weights_free(w);
    epl_weights_free(opened);
    epl_weights_free(parsed);
    epl_weights_free(unzipped);
}

PROPERTY(npy_round_trips, 60)
{
    epl_context *ctx = test_context(t);
    epl_shape    shape = { .rank = (int)epl_rng_below(t->rng, 9) };
    for (int k = 0; k < shape.rank; k++)
        shape.dim[k] = (int64_t)epl_rng_below(t->rng, 4);
    const epl_dtype dtype = (epl_dtype)(1 + t->index % (EPL_N_DTYPES - 1));
    epl_tensor     *x = epl_tensor_new(ctx, dtype, shape);
    epl_tensor_fill_normal(x, t->rng, 0, 30);
    CHECK_OK(t, ctx, epl_npy_save(ctx, test_temp(t, "x.npy"), x));
    epl_tensor *y = epl_npy_load(ctx, test_temp(t, "x.npy"));
    CHECK_OK(t, ctx, y != NULL);
    CHECK_INT(t, y->dtype, dtype == EPL_BF16 ? EPL_F32 : dtype);
    CHECK_CLOSE(t, y, x, .rtol = 0);
    epl_tensor_free(x);
    epl_tensor_free(y);
}

TEST(writing_to_mapped_weights_stays_in_memory)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = epl_weights_open(ctx, GOLDEN("tiny.safetensors"));
    CHECK_OK(t, ctx, w != NULL);
    epl_tensor_set(epl_weights_find(w, "f32"), 0, 1234);
    epl_weights *again = epl_weights_open(ctx, GOLDEN("tiny.safetensors"));
    CHECK(t, epl_tensor_get(epl_weights_find(again, "f32"), 0) == -7.5);
    epl_weights_free(w);
    epl_weights_free(again);
}

/* ---- files of other tools (tests/golden/make_tensor_files.py) ---- */
static void check_members(test *t, const epl_weights *w)
{
    CHECK_INT(t, epl_weights_count(w), 14);
    const epl_tensor *a = epl_weights_find(w, "f32");
    CHECK(t, a && epl_shape_equal(a->shape, EPL_SHAPE(2, 3, 4)));
    for (int64_t i = 0; i < 24; i++)
        CHECK(t, epl_tensor_get(a, i) == (double)i - 7.5);
    static const struct {
        const char *name;
        epl_dtype   dtype;
        int64_t     at, value;
    } rows[] = {
        { "i8", EPL_I8, 0, -128 },        { "u8", EPL_U8, 255, 255 },       { "i16", EPL_I16, 1, 32767 },
        { "u16", EPL_U16, 0, 65535 },     { "i32", EPL_I32, 0, INT32_MIN }, { "u32", EPL_U32, 0, UINT32_MAX },
        { "i64", EPL_I64, 1, INT64_MAX }, { "u64", EPL_U64, 0, INT64_MAX }, { "bool", EPL_BOOL, 2, 1 },
        { "f16", EPL_F16, 2, 65504 },     { "scalar", EPL_F64, 0, 3 },
    };
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        const epl_tensor *x = epl_weights_find(w, rows[i].name);
        CHECK(t, x && x->dtype == rows[i].dtype);
        CHECK_INT(t, epl_tensor_get_i64(x, rows[i].at), rows[i].value);
    }
    CHECK(t,
          epl_tensor_get(epl_weights_find(w, "f64"), 0) == 0.1 && isinf(epl_tensor_get(epl_weights_find(w, "f64"), 3)));
    CHECK(t, epl_shape_equal(epl_weights_find(w, "empty")->shape, EPL_SHAPE(3, 0)));
}

TEST(files_of_other_tools_are_read)
{
    epl_context *ctx = test_context(t);
    epl_weights *safe = epl_weights_open(ctx, GOLDEN("tiny.safetensors")),
                *stored = epl_npz_open(ctx, GOLDEN("stored.npz"));
    epl_weights *deflated = epl_npz_open(ctx, GOLDEN("deflated.npz"));
    epl_tensor *c = epl_npy_load(ctx, GOLDEN("c_order.npy")), *fortran = epl_npy_load(ctx, GOLDEN("fortran_order.npy"));
    CHECK_OK(t, ctx, safe && stored && deflated && c && fortran);
    check_members(t, safe);
    check_members(t, stored);
    check_members(t, deflated);
    CHECK_STR(t, epl_weights_metadata(safe, "made by"), "safetensors");
    CHECK_STR(t, epl_weights_metadata(safe, "note"), "\xc3\xa9 \"quoted\"");
    CHECK(t, epl_tensor_equal(c, fortran) && epl_tensor_equal(c, epl_weights_find(safe, "f32")));
    epl_weights_free(safe);
    epl_weights_free(stored);
    epl_weights_free(deflated);
    epl_tensor_free(c);
    epl_tensor_free(fortran);
}

/* ---- hostile files ---- */
typedef bool parse(epl_context *ctx, const void *data, size_t bytes);

static bool parse_safetensors(epl_context *ctx, const void *data, size_t bytes)
{
    epl_weights *w = epl_weights_parse(ctx, data, bytes, "hostile");
    epl_weights_free(w);
    return w != NULL;
}

static bool parse_npz(epl_context *ctx, const void *data, size_t bytes)
{
    epl_weights *w = epl_npz_parse(ctx, data, bytes, "hostile");
    epl_weights_free(w);
    return w != NULL;
}

static bool parse_npy(epl_context *ctx, const void *data, size_t bytes)
{
    epl_tensor *x = epl_npy_parse(ctx, data, bytes, "hostile");
    epl_tensor_free(x);
    return x != NULL;
}

static const struct format {
    const char *file;
    parse      *read;
} formats[] = {
    { GOLDEN("tiny.safetensors"), parse_safetensors },
    { GOLDEN("c_order.npy"), parse_npy },
    { GOLDEN("fortran_order.npy"), parse_npy },
    { GOLDEN("stored.npz"), parse_npz },
    { GOLDEN("deflated.npz"), parse_npz },
};

/* Cut off at every byte, in memory of exactly that size: reading beyond it is the sanitizers' to find. */
PROPERTY(truncated_files_are_refused, EPL_COUNT(formats))
{
    size_t       n;
    char        *whole = test_read_file(t, formats[t->index].file, &n);
    epl_context *ctx = test_context(t);
    CHECK_OK(t, ctx, formats[t->index].read(ctx, whole, n));
    for (size_t cut = 0; cut < n; cut++) {
        char *part = malloc(cut ? cut : 1);
        CHECK(t, part != NULL);
        memcpy(part, whole, cut);
        CHECK_FAILS(t, ctx, formats[t->index].read(ctx, part, cut), EPL_ERR_FORMAT, "hostile");
        free(part);
    }
    free(whole);
}

/* Random bytes changed: read or refused with a sentence, never more memory than a small multiple of the file. */
PROPERTY(damaged_files_are_survived, 5000)
{
    size_t       n;
    char        *data = test_read_file(t, formats[t->index % EPL_COUNT(formats)].file, &n);
    epl_context *ctx = test_context(t);
    const int    changes = 1 + (int)epl_rng_below(t->rng, 4);
    for (int i = 0; i < changes; i++)
        data[epl_rng_below(t->rng, n)] = (char)epl_rng_u32(t->rng);
    const bool ok = formats[t->index % EPL_COUNT(formats)].read(ctx, data, n);
    CHECK(t, ok || (epl_error_code(ctx) != EPL_ERR_MEMORY && epl_error_message(ctx)[0]));
    CHECK(t, test_peak_bytes(ctx) < 2000000);
    free(data);
}

static size_t with_header(unsigned char *out, const char *json, size_t data_bytes)
{
    const size_t n = strlen(json);
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(n >> (8 * i));
    memcpy(out + 8, json, n);
    memset(out + 8 + n, 7, data_bytes);
    return 8 + n + data_bytes;
}

TEST(lying_safetensors_are_refused)
{
    static const struct {
        const char *json;
        size_t      data_bytes;
        epl_error   code;
        const char *words;
    } rows[] = {
        { "[]", 0, EPL_ERR_FORMAT, "not a JSON object" },
        { "{\"a\": 1}", 0, EPL_ERR_FORMAT, "not an object" },
        { "{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4, EPL_ERR_FORMAT, "no dtype" },
        { "{\"a\": {\"dtype\": \"F8_E4M3\", \"shape\": [1], \"data_offsets\": [0, 1]}}", 1, EPL_ERR_UNSUPPORTED,
          "F8_E4M3" },
        { "{\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 4]}}", 4, EPL_ERR_FORMAT, "no shape" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 4, EPL_ERR_FORMAT, "not a size" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [1.5], \"data_offsets\": [0, 4]}}", 4, EPL_ERR_FORMAT,
          "not a size" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,1], \"data_offsets\": [0, 4]}}", 4,
          EPL_ERR_UNSUPPORTED, "9 dimensions" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4, EPL_ERR_FORMAT, "data_offsets" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", 4, EPL_ERR_FORMAT,
          "claims bytes 4 to 0" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 8]}}", 4, EPL_ERR_FORMAT, "of 4" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4, EPL_ERR_FORMAT,
          "does not take" },
        { "{\"a\": {\"dtype\": \"F32\", \"shape\": [4611686018427387904, 4], \"data_offsets\": [0, 0]}}", 0,
          EPL_ERR_FORMAT, "does not take" },
        { "{\"a\": {\"dtype\": \"F64\", \"shape\": [2305843009213693952], \"data_offsets\": [0, 0]}}", 0,
          EPL_ERR_FORMAT, "does not take" },
        { "{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]},"
          " \"b\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [2, 6]}}",
          6, EPL_ERR_FORMAT, "'b' starts at byte 2" },
        { "{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]},"
          " \"b\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]}}",
          4, EPL_ERR_FORMAT, "starts at byte 0" },
        { "{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [1, 5]}}", 5, EPL_ERR_FORMAT,
          "where 0 is next" },
        { "{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]}}", 5, EPL_ERR_FORMAT,
          "the file holds 5" },
        { "{\"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]},"
          " \"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]}}",
          0, EPL_ERR_FORMAT, "duplicate" },
        { "{\"__metadata__\": {\"a\": 1}}", 0, EPL_ERR_FORMAT, "not a string" },
        { "{\"__metadata__\": []}", 0, EPL_ERR_FORMAT, "__metadata__" },
        { "{", 0, EPL_ERR_FORMAT, "JSON" },
    };
    epl_context  *ctx = test_context(t);
    unsigned char file[1000];
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        const size_t n = with_header(file, rows[i].json, rows[i].data_bytes);
        CHECK_FAILS(t, ctx, parse_safetensors(ctx, file, n), rows[i].code, rows[i].words);
    }
    memset(file, 0xff, sizeof file);
    CHECK_FAILS(t, ctx, parse_safetensors(ctx, file, sizeof file), EPL_ERR_FORMAT, "18446744073709551615");
    const size_t n = with_header(file, "{\"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]}}", 0);
    CHECK_OK(t, ctx, parse_safetensors(ctx, file, n));
}

/* Unaligned data is read correctly, too: a header of 1 byte more than a multiple of 8. */
TEST(unaligned_safetensors_are_read)
{
    epl_context  *ctx = test_context(t);
    unsigned char file[200];
    for (int pad = 0; pad < 8; pad++) {
        char json[120];
        snprintf(json, sizeof json, "{\"a\": {\"dtype\": \"I64\", \"shape\": [2], \"data_offsets\": [0, 16]}}%*s", pad,
                 "");
        const size_t n = with_header(file, json, 16);
        epl_weights *w = epl_weights_parse(ctx, file, n, "unaligned");
        CHECK_OK(t, ctx, w != NULL);
        CHECK_INT(t, epl_tensor_get_i64(epl_weights_at(w, 0), 1), 0x0707070707070707);
        epl_weights_free(w);
    }
}

static size_t npy_file(char *out, const char *dictionary, size_t data_bytes)
{
    const size_t n = strlen(dictionary);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)(n & 255);
    out[9] = (char)(n >> 8);
    memcpy(out + 10, dictionary, n);
    memset(out + 10 + n, 1, data_bytes);
    return 10 + n + data_bytes;
}

TEST(lying_npy_files_are_refused)
{
    static const struct {
        const char *dictionary;
        size_t      data_bytes;
        epl_error   code; /* EPL_OK: read */
        const char *words;
    } rows[] = {
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4, EPL_OK, "" },
        { "{\"shape\":(1L,2L),\"fortran_order\":True,\"descr\":\"<f4\"}\n", 8, EPL_OK, "" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, EPL_OK, "" },
        { "{'descr': '<u8', 'fortran_order': True, 'shape': (1000000000000, 1000000000000, 0), }", 0, EPL_OK, "" },
        { "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, EPL_ERR_UNSUPPORTED, "'>f4'" },
        { "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 4, EPL_ERR_UNSUPPORTED, "'|O'" },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, EPL_ERR_UNSUPPORTED, "structured" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4, EPL_ERR_FORMAT,
          "4 bytes of data, but f32 [2]" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 5, EPL_ERR_FORMAT, "5 bytes" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 0, EPL_ERR_FORMAT,
          "0 bytes" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 0, EPL_ERR_FORMAT,
          "not a size" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 0, EPL_ERR_FORMAT, "not a size" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", 4, EPL_ERR_UNSUPPORTED,
          "dimensions" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1), }", 4, EPL_ERR_FORMAT, "tuple" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': 1, }", 4, EPL_ERR_FORMAT, "tuple" },
        { "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, EPL_ERR_FORMAT, "fortran_order" },
        { "{'descr': '<f4', 'fortran_order': False, }", 4, EPL_ERR_FORMAT, "missing" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4, EPL_ERR_FORMAT, "unknown key" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } + x", 4, EPL_ERR_FORMAT, "follows" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, EPL_ERR_FORMAT, "not closed" },
        { "__import__('os')", 4, EPL_ERR_FORMAT, "no dictionary" },
        { "", 4, EPL_ERR_FORMAT, "no dictionary" },
    };
    epl_context *ctx = test_context(t);
    char         file[400];
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        const size_t n = npy_file(file, rows[i].dictionary, rows[i].data_bytes);
        if (rows[i].code == EPL_OK)
            CHECK_OK(t, ctx, parse_npy(ctx, file, n));
        else
            CHECK_FAILS(t, ctx, parse_npy(ctx, file, n), rows[i].code, rows[i].words);
    }
    memcpy(file, "\x93NUMPY\x04\x00", 8);
    CHECK_FAILS(t, ctx, parse_npy(ctx, file, 100), EPL_ERR_FORMAT, "version");
    memcpy(file, "\x93NUMPY\x02\x00\xff\xff\xff\xff", 12);
    CHECK_FAILS(t, ctx, parse_npy(ctx, file, 100), EPL_ERR_FORMAT, "4294967295 bytes");
}

/* ---- zip archives, built by hand ---- */
typedef struct member {
    const char *name, *data;
} member;

static size_t make_zip(test *t, unsigned char *out, const member *members, int n)
{
    epl_context   *ctx = test_context(t);
    epl_zip_writer z = { .directory = EPL_TEXT(ctx), .file = epl_writer_open(ctx, test_temp(t, "made.zip")) };
    for (int i = 0; i < n; i++) {
        const size_t bytes = strlen(members[i].data);
        CHECK(t, epl_zip_begin(&z, ctx, members[i].name, bytes, epl_crc32(0, members[i].data, bytes)));
        epl_zip_write(&z, members[i].data, bytes);
    }
    CHECK_OK(t, ctx, epl_zip_finish(&z) && epl_writer_commit(z.file));
    epl_text_release(&z.directory);
    size_t bytes;
    char  *data = test_read_file(t, test_temp(t, "made.zip"), &bytes);
    memcpy(out, data, bytes);
    free(data);
    return bytes;
}

static bool open_zip(epl_context *ctx, const void *data, size_t bytes)
{
    epl_zip    z;
    const bool ok = epl_zip_open(ctx, data, bytes, "zip", &z);
    epl_zip_close(&z);
    return ok;
}

TEST(zip_members_are_read_back)
{
    unsigned char file[1000];
    const member  members[] = { { "a", "first" }, { "dir/b", "" }, { "c", "third member" } };
    const size_t  n = make_zip(t, file, members, 3);
    epl_context  *ctx = test_context(t);
    epl_zip       z;
    CHECK_OK(t, ctx, epl_zip_open(ctx, file, n, "zip", &z));
    CHECK_INT(t, z.count, 3);
    for (int i = 0; i < 3; i++) {
        unsigned char *data = epl_zip_read(&z, &z.members[i]);
        CHECK_OK(t, ctx, data != NULL);
        CHECK_STR(t, z.members[i].name, members[i].name);
        CHECK(t,
              z.members[i].bytes == strlen(members[i].data) && memcmp(data, members[i].data, z.members[i].bytes) == 0);
        epl_release(ctx, data);
    }
    epl_zip_close(&z);
    memcpy(file + n, "a comment", 9); // after the end: allowed if the end record says so
    file[n - 2] = 9;
    CHECK_OK(t, ctx, open_zip(ctx, file, n + 9));
}

TEST(lying_zip_archives_are_refused)
{
    unsigned char file[1000], bad[1000];
    const member  twins[] = { { "a", "first" }, { "a", "again" } }, members[] = { { "a", "first" }, { "b", "other" } };
    epl_context  *ctx = test_context(t);
    size_t        n = make_zip(t, file, twins, 2);
    CHECK_FAILS(t, ctx, open_zip(ctx, file, n), EPL_ERR_FORMAT, "same name");
    n = make_zip(t, file, members, 2);
    const size_t local = 30 + 1 + 5, central = 2 * local, second = central + 46 + 1, end = second + 46 + 1;
    CHECK_INT(t, n, end + 22);
    const struct {
        size_t      at;
        unsigned    value;
        int         n_bytes;
        epl_error   code;
        const char *words;
    } rows[] = {
        { second + 42, 0, 4, EPL_ERR_FORMAT, "overlap" }, // both at the first member
        { second + 42, 5, 4, EPL_ERR_FORMAT, "not where the directory says" },
        { second + 42, 0xfffffffe, 4, EPL_ERR_FORMAT, "not where the directory says" },
        { second + 42, 0xffffffff, 4, EPL_ERR_FORMAT, "size is missing" }, // asks for a zip64 field
        { central + 20, 0x7fffffff, 4, EPL_ERR_FORMAT, "beyond the file" },
        { central + 24, 0x7fffffff, 4, EPL_ERR_FORMAT, "cannot have" },
        { central + 8, 1, 2, EPL_ERR_UNSUPPORTED, "encrypted" },
        { central + 10, 12, 2, EPL_ERR_UNSUPPORTED, "method 12" },
        { central + 28, 60000, 2, EPL_ERR_FORMAT, "cut off" },
        { central + 46, 0, 1, EPL_ERR_FORMAT, "zero byte" },
        { central, 0, 4, EPL_ERR_FORMAT, "not one" },
        { end + 10, 65535, 2, EPL_ERR_FORMAT, "does not fit" },
        { end + 12, 0xffffffff, 4, EPL_ERR_FORMAT, "does not fit" },
        { end + 16, 0xffffffff, 4, EPL_ERR_FORMAT, "does not fit" },
        { end + 20, 1, 2, EPL_ERR_FORMAT, "not a zip archive" },
        { end, 0, 4, EPL_ERR_FORMAT, "not a zip archive" },
    };
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        memcpy(bad, file, n);
        for (int k = 0; k < rows[i].n_bytes; k++)
            bad[rows[i].at + (size_t)k] = (unsigned char)(rows[i].value >> (8 * k));
        CHECK_FAILS(t, ctx, open_zip(ctx, bad, n), rows[i].code, rows[i].words);
    }
    memcpy(bad, file, n);
    bad[central + 10] = 8; // stored bytes called deflated, and a size that deflate could just reach
    memcpy(bad + central + 24, "\xff\x05\x00\x00", 4);
    epl_zip z;
    CHECK_OK(t, ctx, epl_zip_open(ctx, bad, n, "zip", &z));
    CHECK_FAILS(t, ctx, epl_zip_read(&z, &z.members[0]), EPL_ERR_FORMAT, "'a' does not unpack");
    epl_zip_close(&z);
    CHECK_FAILS(t, ctx, parse_npz(ctx, file, n), EPL_ERR_FORMAT, "not a .npy file");
}

/* The directory of a small archive rewritten in zip64, as writers do for large ones. */
TEST(zip64_is_read)
{
    unsigned char file[1000], big[1000];
    const member  members[] = { { "a", "first" } };
    make_zip(t, file, members, 1);
    const size_t local = 30 + 1 + 5;
    memcpy(big, file, local + 47);
    unsigned char *central = big + local;
    memset(central + 20, 0xff, 8); // both sizes
    memset(central + 42, 0xff, 4); // and the offset
    central[30] = 28 + 5;          // are in the second extra field
    unsigned char extra[33] = { 0x55, 0x54, 1, 0, 9, 1, 0, 24, 0, 5, [17] = 5 };
    memcpy(central + 47, extra, sizeof extra);
    const size_t  directory_bytes = 47 + sizeof extra, end64 = local + directory_bytes;
    unsigned char tail[56 + 20 + 22] = { 'P',
                                         'K',
                                         6,
                                         6,
                                         44,
                                         [24] = 1,
                                         [32] = 1,
                                         [40] = (unsigned char)directory_bytes,
                                         [48] = (unsigned char)local,
                                         [56] = 'P',
                                         'K',
                                         6,
                                         7,
                                         [64] = (unsigned char)end64,
                                         [72] = 1,
                                         [76] = 'P',
                                         'K',
                                         5,
                                         6 };
    memset(tail + 76 + 8, 0xff, 12); // counts, size, offset: see the zip64 record
    memcpy(big + end64, tail, sizeof tail);
    epl_context *ctx = test_context(t);
    epl_zip      z;
    CHECK_OK(t, ctx, epl_zip_open(ctx, big, end64 + sizeof tail, "zip64", &z));
    unsigned char *data = epl_zip_read(&z, &z.members[0]);
    CHECK(t, data && z.members[0].bytes == 5 && memcmp(data, "first", 5) == 0);
    epl_release(ctx, data);
    epl_zip_close(&z);
    memset(big + end64 + 56 + 8, 0xff, 8);
    CHECK_FAILS(t, ctx, open_zip(ctx, big, end64 + sizeof tail), EPL_ERR_FORMAT, "zip64 end record");
}

TEST(archives_of_4_gib_are_not_written)
{
    epl_context   *ctx = test_context(t);
    epl_zip_writer z = { .directory = EPL_TEXT(ctx), .file = epl_writer_open(ctx, test_temp(t, "big.zip")) };
    CHECK_FAILS(t, ctx, epl_zip_begin(&z, ctx, "x", UINT32_MAX, 0), EPL_ERR_UNSUPPORTED, "4 GiB");
    epl_writer_abandon(z.file);
    epl_text_release(&z.directory);
}

/* ---- every allocation fails once ---- */
TEST(loading_survives_every_failed_allocation)
{
    for (size_t f = 0; f < EPL_COUNT(formats); f++) {
        size_t n;
        char  *data = test_read_file(t, formats[f].file, &n);
        bool   done = false;
        for (int k = 0; !done; k++) {
            epl_context *ctx = test_context(t, .fail_allocation = k);
            done = formats[f].read(ctx, data, n);
            CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
            CHECK_INT(t, test_live_bytes(ctx), 0);
        }
        free(data);
    }
}

static bool save_and_open_all(test *t, epl_context *ctx)
{
    epl_rng      rng = epl_rng_at(1, 2);
    epl_weights *w = sample_weights(ctx, &rng), *copy = w ? epl_weights_copy(ctx, w) : NULL;
    bool         ok = copy && epl_weights_save(copy, test_temp(t, "poor.safetensors"));
    ok = ok && epl_npz_save(copy, test_temp(t, "poor.npz"));
    ok = ok && epl_npy_save(ctx, test_temp(t, "poor.npy"), epl_weights_at(copy, 7));
    ok = ok && epl_make_directories(ctx, test_temp(t, "p/o/o/r"));
    epl_weights *opened = ok ? epl_weights_open(ctx, test_temp(t, "poor.safetensors")) : NULL;
    ok = opened && epl_weights_rename(opened, "scalar", "s") && epl_weights_set_metadata(opened, "format", "x");
    epl_weights_free(w);
    epl_weights_free(copy);
    epl_weights_free(opened);
    return ok;
}

TEST(saving_survives_every_failed_allocation)
{
    bool done = false;
    for (int k = 0; !done; k++) {
        epl_context *ctx = test_context(t, .fail_allocation = k);
        done = save_and_open_all(t, ctx);
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
    CHECK_INT(t, count_files(test_temp(t, "*.part-*")), 0);
}
