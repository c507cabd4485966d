/* Data sets: views, kinds, what the error sentences say. */
#include <espalier/data.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"

/* x[i] = i, label i mod classes. */
static epl_dataset *counting(test *t, epl_context *ctx, int64_t n, int64_t classes)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(n, 2)), *y = epl_tensor_new(ctx, EPL_I32, EPL_SHAPE(n));
    CHECK_OK(t, ctx, x && y);
    for (int64_t i = 0; i < n; i++) {
        epl_tensor_set(x, 2 * i, (double)i);
        epl_tensor_set(x, 2 * i + 1, (double)-i);
        epl_tensor_set_i64(y, i, i % classes);
    }
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "counting", x, y);
    CHECK_OK(t, ctx, d);
    return d;
}

static float first_of(test *t, epl_dataset *d, int64_t i)
{
    float x[2] = { -1, -1 };
    CHECK(t, epl_dataset_fetch(d, i, x, NULL));
    return x[0];
}

TEST(dataset_of_tensors)
{
    epl_context           *ctx  = test_context(t);
    epl_dataset           *d    = counting(t, ctx, 10, 3);
    const epl_dataset_info info = epl_dataset_info_of(d);
    float                  x[2];
    int64_t                y = -1;
    CHECK_INT(t, info.count, 10);
    CHECK_INT(t, info.n_classes, 3);
    CHECK(t, info.x_dtype == EPL_F32 && info.y_dtype == EPL_I64 && info.y_shape.rank == 0);
    CHECK_OK(t, ctx, epl_dataset_fetch(d, 7, x, &y));
    CHECK(t, x[0] == 7 && x[1] == -7 && y == 1);
    CHECK_STR(t, epl_dataset_class_name(d, 2), "2");
    CHECK_FAILS(t, ctx, epl_dataset_fetch(d, 10, x, &y), EPL_ERR_ARGUMENT, "sample 10 of 10");
    epl_dataset_free(d);
}

TEST(dataset_refuses_tensors_that_do_not_fit)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *y   = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(3));
    CHECK_FAILS(t, ctx, epl_dataset_from_tensors_take(ctx, "d", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4, 2)), y),
                EPL_ERR_SHAPE, "3 labels for 4 samples");
    y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(2));
    epl_tensor_set_i64(y, 1, -5);
    CHECK_FAILS(t, ctx, epl_dataset_from_tensors_take(ctx, "d", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 2)), y),
                EPL_ERR_FORMAT, "label -5 of element 1");
    CHECK_FAILS(t, ctx, epl_dataset_from_tensors_take(ctx, "d", epl_tensor_new(ctx, EPL_F32, EPL_SCALAR), NULL), EPL_ERR_SHAPE,
                "0 samples");
}

TEST(dataset_views_outlive_each_other)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = counting(t, ctx, 10, 3), *rest = NULL, *part = NULL;
    epl_dataset *s = epl_dataset_subset(d, (const int64_t[]){ 9, 2, 2, 5 }, 4), *r = epl_dataset_range(s, 1, 3);
    CHECK_OK(t, ctx, s && r && epl_dataset_cut(d, 0.3, 7, &rest, &part));
    epl_dataset_free(d);
    epl_dataset_free(s);
    CHECK(t, first_of(t, r, 0) == 2 && first_of(t, r, 1) == 2 && first_of(t, r, 2) == 5);
    CHECK_INT(t, epl_dataset_info_of(rest).count, 7);
    CHECK_INT(t, epl_dataset_info_of(part).count, 3);
    int seen[10] = { 0 };
    for (int64_t i = 0; i < 7; i++)
        seen[(int)first_of(t, rest, i)]++;
    for (int64_t i = 0; i < 3; i++)
        seen[(int)first_of(t, part, i)]++;
    for (int i = 0; i < 10; i++)
        CHECK_INT(t, seen[i], 1);
    CHECK(t, first_of(t, rest, 0) < first_of(t, rest, 1)); // the order of d
    CHECK_FAILS(t, ctx, epl_dataset_range(r, 1, 3), EPL_ERR_ARGUMENT, "samples 1 to 4 of 3");
    CHECK_FAILS(t, ctx, epl_dataset_subset(r, (const int64_t[]){ 3 }, 1), EPL_ERR_ARGUMENT, "sample 3 of 3");
    epl_dataset_free(r);
    epl_dataset_free(rest);
    epl_dataset_free(part);
}

TEST(dataset_as_tensors_scales_bytes)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(2, 1, 2)), *a = NULL, *b = NULL;
    memcpy(x->data, (const uint8_t[]){ 0, 51, 255, 102 }, 4);
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "d", x, NULL);
    CHECK_OK(t, ctx, d && epl_dataset_tensors(d, 1, 1, &a, &b));
    CHECK(t, epl_shape_equal(a->shape, EPL_SHAPE(1, 1, 2, 1)) && epl_shape_equal(b->shape, EPL_SHAPE(1)));
    CHECK_CLOSE_F32(t, a->data, ((const float[]){ 1, 0.4f }), 2, .rtol = 1e-6);
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_dataset_free(d);
}

TEST(dataset_descriptions_that_are_wrong)
{
    epl_context           *ctx = test_context(t);
    const epl_dataset_opts o   = { 0 };
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "fashion-mnits", o), EPL_ERR_ARGUMENT, "did you mean 'fashion-mnist'?");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "zzz", o), EPL_ERR_ARGUMENT, "expected a folder, a .npz, .csv or .txt file, or one of");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "blobs:colour=3", o), EPL_ERR_ARGUMENT,
                "blobs has no option 'colour', expected one of classes, features, spread, count, test");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "blobs:classes=x", o), EPL_ERR_ARGUMENT,
                "classes=x, expected a whole number from 1 to 10000");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "moons:noise=-1", o), EPL_ERR_ARGUMENT, "noise=-1, expected a number from 0 to 100");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "fashion-mnist:x", o), EPL_ERR_ARGUMENT, "takes no options");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "folder", o), EPL_ERR_ARGUMENT, "folder:DIR");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "blobs", (epl_dataset_opts){ .split = EPL_SPLIT_VAL }), EPL_ERR_ARGUMENT,
                "val_fraction is 0");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "fashion-mnist", (epl_dataset_opts){ .dir = "/nowhere" }), EPL_ERR_IO,
                "no file train-images-idx3-ubyte in /nowhere or /nowhere/fashion-mnist: install the Debian package "
                "dataset-fashion-mnist");
    epl_data_split split;
    CHECK_FAILS(t, ctx, epl_data_split_from_name(ctx, "trian", &split), EPL_ERR_ARGUMENT, "expected train, test or val");
    CHECK_OK(t, ctx, epl_data_split_from_name(ctx, "val", &split) && split == EPL_SPLIT_VAL);
}

TEST(fashion_mnist_names_the_package_of_a_truncated_file)
{
    epl_context *ctx = test_context(t);
    const char  *dir = test_temp(t, "mnist");
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    epl_text path = EPL_TEXT(ctx);
    epl_text_addf(&path, "%s/train-images-idx3-ubyte", dir);
    CHECK_OK(t, ctx, epl_write_file(ctx, epl_text_str(&path), "\0\0\10\3\0\0\0\2\0\0\0\2\0\0\0\2abcde", 21));
    epl_text_release(&path);
    epl_text_addf(&path, "%s/train-labels-idx1-ubyte", dir);
    CHECK_OK(t, ctx, epl_write_file(ctx, epl_text_str(&path), "\0\0\10\1\0\0\0\2\1\2", 10));
    epl_text_release(&path);
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "fashion-mnist", (epl_dataset_opts){ .dir = dir }), EPL_ERR_FORMAT,
                "promises [2, 2, 2], 8 bytes, the file can hold 5: reinstall the Debian package dataset-fashion-mnist");
}

TEST(fashion_mnist_is_what_it_should_be)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "fashion-mnist", (epl_dataset_opts){ .split = EPL_SPLIT_TEST });
    if (!d) {
        epl_error_clear(ctx);
        test_skip(t, "the Debian package dataset-fashion-mnist is not installed");
    }
    const epl_dataset_info info = epl_dataset_info_of(d);
    CHECK(t, info.count == 10000 && info.n_classes == 10 && epl_shape_equal(info.x_shape, EPL_SHAPE(28, 28, 1)));
    CHECK_STR(t, epl_dataset_class_name(d, 9), "Ankle boot");
    epl_text text = EPL_TEXT(ctx);
    CHECK_OK(t, ctx, epl_dataset_describe(d, &text));
    CHECK(t, strstr(epl_text_str(&text), "fashion-mnist: 10000 samples, x u8 [28, 28, 1], y i64 []"));
    CHECK(t, strstr(epl_text_str(&text), "  9   Ankle boot              1000\n"));
    epl_text_release(&text);
    epl_dataset_free(d);
}

/* ---- generators ---- */

PROPERTY(generated_sets_are_functions_of_the_seed, epl_dataset_kind_count())
{
    epl_context            *ctx  = test_context(t);
    const epl_dataset_kind *kind = epl_dataset_kind_at(t->index);
    CHECK(t, *kind->summary);
    if (!strstr(kind->keys, "count="))
        return;
    char text[64];
    snprintf(text, sizeof text, "%s:count=24,test=12", kind->name);
    epl_tensor  *x[4], *y[4];
    const epl_dataset_opts o[4] = { { .seed = 1 }, { .seed = 1, .limit = 12 }, { .seed = 2, .limit = 12 },
                                    { .seed = 1, .split = EPL_SPLIT_TEST } };
    for (int i = 0; i < 4; i++) {
        epl_dataset *d = epl_dataset_open(ctx, text, o[i]);
        CHECK_OK(t, ctx, d);
        CHECK_INT(t, epl_dataset_info_of(d).count, i == 0 ? 24 : 12);
        CHECK_OK(t, ctx, epl_dataset_tensors(d, 0, 12, &x[i], &y[i]));
        epl_dataset_free(d);
    }
    CHECK(t, epl_tensor_equal(x[0], x[1]) && epl_tensor_equal(y[0], y[1]));
    CHECK(t, !epl_tensor_equal(x[0], x[2]));
    CHECK(t, !epl_tensor_equal(x[0], x[3]));
    for (int i = 0; i < 4; i++) {
        epl_tensor_free(x[i]);
        epl_tensor_free(y[i]);
    }
}

TEST(adding_sums_the_marked_numbers)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "adding:length=9,count=50", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    for (int64_t i = 0; i < 50; i++) {
        float x[18], y = 0, sum = 0, marks = 0;
        CHECK_OK(t, ctx, epl_dataset_fetch(d, i, x, &y));
        for (int k = 0; k < 9; k++) {
            sum += x[2 * k] * x[2 * k + 1];
            marks += x[2 * k + 1];
        }
        CHECK_NEAR(t, sum, y, .atol = 1e-6);
        CHECK(t, marks == 2);
    }
    epl_dataset_free(d);
}

TEST(order_labels_follow_the_tokens)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "order:length=11,count=40", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    CHECK_STR(t, epl_dataset_class_name(d, 1), "XY");
    for (int64_t i = 0; i < 40; i++) {
        int64_t x[11], y = 0, found = 0, n = 0;
        CHECK_OK(t, ctx, epl_dataset_fetch(d, i, x, &y));
        for (int k = 0; k < 11; k++)
            if (x[k] >= 4) {
                found = 2 * found + x[k] - 4;
                n++;
            }
        CHECK(t, n == 2 && found == y);
    }
    epl_dataset_free(d);
}

TEST(shapes_masks_cover_what_is_painted)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "shapes-masks:image=24,count=20", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    CHECK_INT(t, epl_dataset_info_of(d).n_classes, 7);
    for (int64_t i = 0; i < 20; i++) {
        uint8_t x[24 * 24 * 3];
        int64_t y[24 * 24];
        double  in = 0, out = 0, n_in = 0;
        CHECK_OK(t, ctx, epl_dataset_fetch(d, i, x, y));
        for (int p = 0; p < 24 * 24; p++) {
            const double level = (x[3 * p] + x[3 * p + 1] + x[3 * p + 2]) / 3.0;
            CHECK(t, y[p] >= 0 && y[p] < 7);
            *(y[p] ? &in : &out) += level;
            n_in += y[p] > 0;
        }
        CHECK(t, n_in > 10 && n_in < 24 * 24);
        CHECK(t, in / n_in > out / (24 * 24 - n_in) + 20); // figures are brighter than the ground
    }
    epl_dataset_free(d);
}

/* ---- files ---- */

TEST(csv_reads_titles_counts_and_shapes)
{
    epl_context *ctx  = test_context(t);
    const char  *path = test_temp(t, "four.csv");
    const char   text[] = "2,4,names\na,b,c,d,class\n1,2,3,4,0\r\n5,6.5,-7,8e1,2\n";
    CHECK_OK(t, ctx, epl_write_file(ctx, path, text, sizeof text - 1));
    char spec[512];
    snprintf(spec, sizeof spec, "csv:%s,shape=2x2x1,scale=0.5", path);
    epl_dataset *d = epl_dataset_open(ctx, spec, (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    float   x[4];
    int64_t y = 0;
    CHECK_INT(t, epl_dataset_info_of(d).count, 2);
    CHECK(t, epl_shape_equal(epl_dataset_info_of(d).x_shape, EPL_SHAPE(2, 2, 1)));
    CHECK_OK(t, ctx, epl_dataset_fetch(d, 1, x, &y));
    CHECK(t, x[0] == 2.5f && x[1] == 3.25f && x[2] == -3.5f && x[3] == 40 && y == 2);
    epl_dataset_free(d);
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, path, (epl_dataset_opts){ .split = EPL_SPLIT_TEST }), EPL_ERR_ARGUMENT,
                "no test part");
}

TEST(csv_names_the_bad_cell)
{
    epl_context *ctx  = test_context(t);
    const char  *path = test_temp(t, "bad.csv");
    const struct { const char *text, *words; } cases[] = {
        { "1,2,0\n3,x,1\n", "row 2, column 2: expected a number" },
        { "1,2,0\n3,4,1.5\n", "row 2, column 3: expected a class" },
        { "1,2,0\n3,4\n1,2,0\n", "row 2 has 2 columns, the last has 3" },
        { "hello\n", "0 rows" },
        { "1\n2\n", "2 rows of 1 columns" },
        { "", "0 rows" },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        CHECK_OK(t, ctx, epl_write_file(ctx, path, cases[i].text, strlen(cases[i].text)));
        CHECK_FAILS(t, ctx, epl_dataset_open(ctx, path, (epl_dataset_opts){ 0 }), EPL_ERR_FORMAT, cases[i].words);
    }
}

static void write_text(test *t, epl_context *ctx, const char *path, const char *text)
{
    CHECK_OK(t, ctx, epl_write_file(ctx, path, text, strlen(text)));
}

/* Symbols, windows end to end, targets one later, the last tenth of each file apart, files in the order of their paths. */
TEST(text_is_windows_of_symbols)
{
    epl_context *ctx = test_context(t);
    char         folder[512], path[600], spec[700];
    snprintf(folder, sizeof folder, "%s/inner", test_temp(t, "text"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, folder));
    snprintf(path, sizeof path, "%s/b", folder);
    write_text(t, ctx, path, "klmnopqrst");
    snprintf(path, sizeof path, "%s/a.txt", folder);
    write_text(t, ctx, path, "ab\r\n\t~\x01\xc3\xa9Z"); // ten bytes: a b newline space ~ ? ? | Z
    snprintf(spec, sizeof spec, "text:%s,window=4", test_temp(t, "text"));
    epl_dataset *d = epl_dataset_open(ctx, spec, (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    const epl_dataset_info info = epl_dataset_info_of(d);
    CHECK(t, info.count == 3 && info.n_classes == 96 && info.x_dtype == EPL_I64 && info.x_shape.rank == 1 && info.y_shape.rank == 1);
    int64_t x[4], y[4];
    const int64_t all[] = { 'a' - 31, 'b' - 31, 0,        1,        '~' - 31, '?' - 31, '?' - 31,
                            'k' - 31, 'l' - 31, 'm' - 31, 'n' - 31, 'o' - 31, 'p' - 31 };
    for (int i = 0; i < 3; i++) {
        CHECK_OK(t, ctx, epl_dataset_fetch(d, i, x, y));
        for (int k = 0; k < 4; k++)
            CHECK(t, x[k] == all[4 * i + k] && y[k] == all[4 * i + k + 1]);
    }
    CHECK_STR(t, epl_dataset_class_name(d, 0), "newline");
    CHECK_STR(t, epl_dataset_class_name(d, 1), "space");
    CHECK_STR(t, epl_dataset_class_name(d, 'a' - 31), "a");
    epl_dataset_free(d);
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, spec, (epl_dataset_opts){ .split = EPL_SPLIT_TEST }), EPL_ERR_FORMAT,
                "2 characters in the test part, a window of 4 and the character after it need 5");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "text:/nowhere/at/all", (epl_dataset_opts){ 0 }), EPL_ERR_IO, "/nowhere/at/all");
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "text:x,window=1", (epl_dataset_opts){ 0 }), EPL_ERR_ARGUMENT, "from 2 to");
}

/* Any bytes are a text; so is a file that holds none, until a window is wanted of it. */
TEST(text_of_any_bytes)
{
    epl_context *ctx = test_context(t);
    unsigned char bytes[1000];
    epl_rng       r = epl_rng_at(3, 0);
    for (int i = 0; i < 1000; i++)
        bytes[i] = (unsigned char)epl_rng_below(&r, 256);
    const char *path = test_temp(t, "any.txt");
    CHECK_OK(t, ctx, epl_write_file(ctx, path, bytes, sizeof bytes));
    epl_dataset *d = epl_dataset_open(ctx, path, (epl_dataset_opts){ 0 }); // .txt says the kind
    epl_tensor  *x = NULL, *y = NULL;
    CHECK_OK(t, ctx, d && epl_dataset_tensors(d, 0, epl_dataset_info_of(d).count, &x, &y));
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        CHECK(t, epl_tensor_get_i64(x, i) >= 0 && epl_tensor_get_i64(x, i) < 96);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_dataset_free(d);
    CHECK_OK(t, ctx, epl_write_file(ctx, path, "", 0));
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, path, (epl_dataset_opts){ 0 }), EPL_ERR_FORMAT, "0 characters");
}

TEST(npz_has_parts)
{
    epl_context *ctx  = test_context(t);
    const char  *path = test_temp(t, "parts.npz");
    epl_weights *w    = epl_weights_new(ctx);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(4, 3)), *y = epl_tensor_new(ctx, EPL_I32, EPL_SHAPE(4));
    epl_tensor  *x2 = epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(2, 3)), *y2 = epl_tensor_new(ctx, EPL_I32, EPL_SHAPE(2));
    epl_tensor_set(x2, 5, 2.5);
    epl_tensor_set_i64(y, 3, 1);
    CHECK_OK(t, ctx, epl_weights_put_take(w, "x_train", x) && epl_weights_put_take(w, "y_train", y));
    CHECK_OK(t, ctx, epl_weights_put_take(w, "x_test", x2) && epl_weights_put_take(w, "y_test", y2));
    CHECK_OK(t, ctx, epl_npz_save(w, path));
    epl_weights_free(w);
    epl_dataset *a = epl_dataset_open(ctx, path, (epl_dataset_opts){ 0 });
    epl_dataset *b = epl_dataset_open(ctx, path, (epl_dataset_opts){ .split = EPL_SPLIT_TEST });
    CHECK_OK(t, ctx, a && b);
    float last[3];
    CHECK(t, epl_dataset_info_of(a).count == 4 && epl_dataset_info_of(b).count == 2);
    CHECK_OK(t, ctx, epl_dataset_fetch(b, 1, last, NULL));
    CHECK(t, last[2] == 2.5f);
    epl_dataset_free(a);
    epl_dataset_free(b);
}

TEST(cifar10_interleaves_planes)
{
    epl_context *ctx = test_context(t);
    const char  *dir = test_temp(t, "cifar");
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    static unsigned char records[2 * 3073];
    records[0]        = 3;
    records[3073]     = 9;
    records[3073 + 1] = 10, records[3073 + 1 + 1024] = 20, records[3073 + 1 + 2048] = 30; // first pixel
    char path[512];
    snprintf(path, sizeof path, "%s/test_batch.bin", dir);
    CHECK_OK(t, ctx, epl_write_file(ctx, path, records, sizeof records));
    const epl_dataset_opts o = { .split = EPL_SPLIT_TEST, .dir = dir };
    epl_dataset           *d = epl_dataset_open(ctx, "cifar10", o);
    CHECK_OK(t, ctx, d);
    static uint8_t x[32 * 32 * 3];
    int64_t        y = 0;
    CHECK_OK(t, ctx, epl_dataset_fetch(d, 1, x, &y));
    CHECK(t, x[0] == 10 && x[1] == 20 && x[2] == 30 && y == 9);
    CHECK_INT(t, epl_dataset_info_of(d).n_classes, 10);
    epl_dataset_free(d);
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "cifar10", (epl_dataset_opts){ .dir = dir }), EPL_ERR_IO, "data_batch_1.bin");
    CHECK_OK(t, ctx, epl_write_file(ctx, path, records, sizeof records - 1));
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "cifar10", o), EPL_ERR_FORMAT, "6145 bytes are not whole records of 3073");
    records[0] = 10;
    CHECK_OK(t, ctx, epl_write_file(ctx, path, records, sizeof records));
    CHECK_FAILS(t, ctx, epl_dataset_open(ctx, "cifar10", o), EPL_ERR_FORMAT, "record 0 has label 10, expected 0 to 9");
}
