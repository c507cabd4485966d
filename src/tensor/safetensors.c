/* safetensors: u64 little-endian n, then n bytes of JSON, then the data of the tensors (github.com/huggingface/safetensors).
 * The header names each tensor's type, shape and byte range; the ranges cover the data without overlap or gap. Leaves out: the
 * 8-bit and smaller floats, more than EPL_MAX_RANK dimensions. */
#include "tensor/weights.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_HEADER = 100 * 1000 * 1000, HEADER_ALIGNMENT = 64 };

static const char *const type_names[EPL_N_DTYPES] = {
    [EPL_F32] = "F32", [EPL_F64] = "F64", [EPL_BF16] = "BF16", [EPL_F16] = "F16", [EPL_I8] = "I8",
    [EPL_U8] = "U8",   [EPL_I16] = "I16", [EPL_U16] = "U16",   [EPL_I32] = "I32", [EPL_U32] = "U32",
    [EPL_I64] = "I64", [EPL_U64] = "U64", [EPL_BOOL] = "BOOL",
};

/* The data part of a file being read, and the ranges that its tensors claim. */
typedef struct range {
    uint64_t    begin, end;
    const char *name;
} range;

typedef struct reader {
    epl_weights   *w;
    const char    *file;
    unsigned char *data;
    size_t         size;
    range         *ranges;
    size_t         n_ranges;
} reader;

static bool read_dtype(const reader *r, const char *name, const epl_json *j, epl_dtype *out)
{
    const char *text = epl_json_string(j);
    if (!text)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' has no dtype", r->file, name);
    for (int t = EPL_NO_DTYPE + 1; t < EPL_N_DTYPES; t++)
        if (strcmp(type_names[t], text) == 0) {
            *out = (epl_dtype)t;
            return true;
        }
    return epl_fail(r->w->ctx, EPL_ERR_UNSUPPORTED, "%s: tensor '%s' has the unknown dtype '%s'", r->file, name, text);
}

static bool read_shape(const reader *r, const char *name, const epl_json *j, epl_shape *out)
{
    const size_t rank = epl_json_length(j);
    if (epl_json_kind_of(j) != EPL_JSON_ARRAY)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' has no shape", r->file, name);
    if (rank > EPL_MAX_RANK)
        return epl_fail(r->w->ctx, EPL_ERR_UNSUPPORTED, "%s: tensor '%s' has %zu dimensions, at most %d are supported",
                        r->file, name, rank, EPL_MAX_RANK);
    *out = (epl_shape){ .rank = (int)rank };
    for (size_t i = 0; i < rank; i++)
        if (!epl_json_i64(epl_json_at(j, i), &out->dim[i]) || out->dim[i] < 0)
            return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: dimension %zu of tensor '%s' is not a size", r->file, i,
                            name);
    return true;
}

static bool read_range(const reader *r, const char *name, const epl_json *j, range *out)
{
    int64_t begin = -1, end = -1;
    if (epl_json_length(j) != 2 || !epl_json_i64(epl_json_at(j, 0), &begin) || !epl_json_i64(epl_json_at(j, 1), &end))
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' has no pair of data_offsets", r->file, name);
    if (begin < 0 || end < begin || (uint64_t)end > r->size)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' claims bytes %lld to %lld of %zu", r->file, name,
                        (long long)begin, (long long)end, r->size);
    *out = (range){ (uint64_t)begin, (uint64_t)end, name };
    return true;
}

/* A view where the element type allows reading in place, else a copy: the format promises no alignment. */
static epl_tensor *place_tensor(const reader *r, epl_dtype dtype, epl_shape shape, uint64_t begin)
{
    unsigned char *data = r->data + begin;
    if ((uintptr_t)data % epl_dtype_bytes(dtype) == 0)
        return epl_tensor_view(r->w->ctx, dtype, shape, data);
    epl_tensor *t = epl_tensor_new(r->w->ctx, dtype, shape);
    if (t && epl_tensor_bytes(t))
        memcpy(t->data, data, epl_tensor_bytes(t));
    return t;
}

static bool read_tensor(reader *r, const char *name, const epl_json *j)
{
    epl_dtype dtype = EPL_NO_DTYPE;
    epl_shape shape = EPL_SCALAR;
    range     claim = { 0 };
    size_t    bytes;
    char      text[192];
    if (epl_json_kind_of(j) != EPL_JSON_OBJECT)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: the entry of tensor '%s' is not an object", r->file, name);
    if (!read_dtype(r, name, epl_json_get(j, "dtype"), &dtype) ||
        !read_shape(r, name, epl_json_get(j, "shape"), &shape) ||
        !read_range(r, name, epl_json_get(j, "data_offsets"), &claim))
        return false;
    const int64_t count = epl_shape_count(shape);
    if (count < 0 || !epl_mul_size((size_t)count, epl_dtype_bytes(dtype), &bytes) || bytes != claim.end - claim.begin)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT,
                        "%s: tensor '%s', %s %s, does not take the %llu bytes that it claims", r->file, name,
                        epl_dtype_name(dtype), epl_shape_text(text, shape),
                        (unsigned long long)(claim.end - claim.begin));
    r->ranges[r->n_ranges++] = claim;
    return epl_weights_put_take(r->w, name, place_tensor(r, dtype, shape, claim.begin));
}

static bool read_metadata(reader *r, const epl_json *j)
{
    if (epl_json_kind_of(j) != EPL_JSON_OBJECT)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: __metadata__ is not an object", r->file);
    for (epl_json_member m = epl_json_first(j); m.key; m = epl_json_next(j, m)) {
        const char *value = epl_json_string(m.value);
        if (!value)
            return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: metadata '%s' is not a string", r->file, m.key);
        if (!epl_weights_set_metadata(r->w, m.key, value))
            return false;
    }
    return true;
}

static int by_begin(const void *a, const void *b)
{
    const range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end); // an empty range before the one that starts where it does
}

static bool check_cover(reader *r)
{
    uint64_t reached = 0;
    if (r->n_ranges)
        qsort(r->ranges, r->n_ranges, sizeof *r->ranges, by_begin);
    for (size_t i = 0; i < r->n_ranges; i++) {
        if (r->ranges[i].begin != reached)
            return epl_fail(r->w->ctx, EPL_ERR_FORMAT,
                            "%s: tensor '%s' starts at byte %llu of the data, where %llu is next", r->file,
                            r->ranges[i].name, (unsigned long long)r->ranges[i].begin, (unsigned long long)reached);
        reached = r->ranges[i].end;
    }
    if (reached != r->size)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: the tensors take %llu bytes, the file holds %zu", r->file,
                        (unsigned long long)reached, r->size);
    return true;
}

static bool read_entries(reader *r, const epl_json *header)
{
    if (epl_json_kind_of(header) != EPL_JSON_OBJECT)
        return epl_fail(r->w->ctx, EPL_ERR_FORMAT, "%s: the header is not a JSON object", r->file);
    for (epl_json_member m = epl_json_first(header); m.key; m = epl_json_next(header, m)) {
        const bool ok = strcmp(m.key, "__metadata__") == 0 ? read_metadata(r, m.value) : read_tensor(r, m.key, m.value);
        if (!ok)
            return false;
    }
    return check_cover(r);
}

/* Reads the file that lies at [data, data + bytes) into w, whose tensors point into it. */
static bool index_file(epl_weights *w, unsigned char *data, size_t bytes, const char *name)
{
    epl_context   *ctx = w->ctx;
    const uint64_t n = bytes >= 8 ? epl_get_u64le(data) : 0;
    if (bytes < 8 || n > bytes - 8)
        return epl_fail(ctx, EPL_ERR_FORMAT, "%s: not a safetensors file: a header of %llu bytes in %zu", name,
                        (unsigned long long)n, bytes);
    if (n > LARGEST_HEADER)
        return epl_fail(ctx, EPL_ERR_FORMAT, "%s: a header of %llu bytes, at most %d are read", name,
                        (unsigned long long)n, LARGEST_HEADER);
    epl_json *header = epl_json_parse(ctx, data + 8, (size_t)n, name);
    reader    r = { .w = w, .file = name, .data = data + 8 + n, .size = bytes - 8 - (size_t)n };
    r.ranges = header ? epl_alloc_array(ctx, epl_json_length(header), sizeof *r.ranges) : NULL;
    const bool ok = r.ranges && read_entries(&r, header);
    epl_release(ctx, r.ranges);
    epl_json_free(header);
    return ok;
}

static bool is_index(const char *path)
{
    static const char end[] = ".index.json";
    return strlen(path) >= strlen(end) && strcmp(path + strlen(path) - strlen(end), end) == 0;
}

epl_weights *epl_weights_open(epl_context *ctx, const char *path)
{
    epl_weights *w = epl_weights_new(ctx);
    if (w && is_index(path)) {
        if (epl_weights_open_shards(w, path))
            return w;
    } else if (w && epl_map_open(ctx, path, &w->file) &&
        index_file(w, (unsigned char *)(uintptr_t)w->file.data, w->file.size, path)) // private pages: writing is fine
        return w;
    epl_weights_free(w);
    return NULL;
}

epl_weights *epl_weights_parse(epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    epl_weights *w = epl_weights_new(ctx);
    if (w)
        w->buffer = epl_alloc_aligned(ctx, bytes);
    if (w && w->buffer) {
        if (bytes)
            memcpy(w->buffer, data, bytes);
        if (index_file(w, w->buffer, bytes, name))
            return w;
    }
    epl_weights_free(w);
    return NULL;
}

/* ---- writing ----
 * The header lists tensors in the set's order; their data is sorted by element size, largest first, so that everything is
 * aligned without the gaps that the format forbids. */
static void write_header(const epl_weights *w, const uint64_t *begin, epl_text *out)
{
    epl_json_writer json = epl_json_writer_at(out, 0);
    epl_json_open_object(&json, NULL);
    if (w->n_metadata) {
        epl_json_open_object(&json, "__metadata__");
        for (size_t i = 0; i < w->n_metadata; i++)
            epl_json_put_string(&json, w->metadata[i].key, w->metadata[i].value);
        epl_json_close(&json);
    }
    for (size_t i = 0; i < w->count; i++) {
        const epl_tensor *t = w->entries[i].tensor;
        epl_json_open_object(&json, w->entries[i].name);
        epl_json_put_string(&json, "dtype", type_names[t->dtype]);
        epl_json_open_array(&json, "shape");
        for (int k = 0; k < t->shape.rank; k++)
            epl_json_put_i64(&json, NULL, t->shape.dim[k]);
        epl_json_close(&json);
        epl_json_open_array(&json, "data_offsets");
        epl_json_put_i64(&json, NULL, (int64_t)begin[i]);
        epl_json_put_i64(&json, NULL, (int64_t)(begin[i] + epl_tensor_bytes(t)));
        epl_json_close(&json);
        epl_json_close(&json);
    }
    epl_json_close(&json);
    while ((out->length + 8) % HEADER_ALIGNMENT && !out->failed)
        epl_text_add(out, " ");
}

static void place_data(const epl_weights *w, uint64_t *begin)
{
    uint64_t offset = 0;
    for (size_t size = 8; size > 0; size /= 2)
        for (size_t i = 0; i < w->count; i++)
            if (epl_dtype_bytes(w->entries[i].tensor->dtype) == size) {
                begin[i] = offset;
                offset += epl_tensor_bytes(w->entries[i].tensor);
            }
}

static void write_data(const epl_weights *w, epl_writer *file)
{
    for (size_t size = 8; size > 0; size /= 2)
        for (size_t i = 0; i < w->count; i++)
            if (epl_dtype_bytes(w->entries[i].tensor->dtype) == size)
                epl_writer_write(file, w->entries[i].tensor->data, epl_tensor_bytes(w->entries[i].tensor));
}

bool epl_weights_save(const epl_weights *w, const char *path)
{
    epl_text  header = EPL_TEXT(w->ctx);
    uint64_t *begin = epl_alloc_array(w->ctx, w->count, sizeof *begin);
    bool      ok = false;
    if (begin) {
        place_data(w, begin);
        write_header(w, begin, &header);
    }
    epl_writer *file = begin && !header.failed ? epl_writer_open(w->ctx, path) : NULL;
    if (file) {
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (unsigned char)((uint64_t)header.length >> (8 * i));
        epl_writer_write(file, length, sizeof length);
        epl_writer_write(file, header.data, header.length);
        write_data(w, file);
        ok = epl_writer_commit(file);
    }
    epl_release(w->ctx, begin);
    epl_text_release(&header);
    return ok;
}
