/* Pictures: PNG and JPEG in, PNG out, resizing, and folders of them. */
#include <espalier/data.h>

#include "common/check.h"

#ifdef EPL_HAVE_TURBOJPEG
#include <turbojpeg.h>
#endif

static epl_tensor *gradient(test *t, epl_context *ctx, int64_t h, int64_t w, int64_t c)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(h, w, c));
    CHECK_OK(t, ctx, x);
    for (int64_t i = 0; i < h * w * c; i++)
        ((uint8_t *)x->data)[i] = (uint8_t)(i / c % w * 4 + i / c / w * 2 + i % c * 20);
    return x;
}

#ifdef EPL_HAVE_PNG

PROPERTY(png_comes_back, 3)
{
    epl_context *ctx  = test_context(t);
    const int    c    = (int[]){ 1, 3, 4 }[t->index];
    epl_tensor  *x    = gradient(t, ctx, 7, 9, c);
    const char  *path = test_temp(t, "a.png");
    CHECK_OK(t, ctx, epl_image_save_png(ctx, path, x));
    epl_tensor *y = epl_image_load(ctx, path, (epl_image_opts){ .channels = c == 4 ? 4 : 0 });
    CHECK_OK(t, ctx, y);
    CHECK(t, epl_tensor_equal(x, y));
    epl_tensor_free(x);
    epl_tensor_free(y);
}

TEST(png_lays_transparency_on_white)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x   = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(1, 2, 4));
    void        *png = NULL;
    size_t       n   = 0;
    memcpy(x->data, (const uint8_t[]){ 255, 0, 0, 255, 9, 9, 9, 0 }, 8);
    CHECK_OK(t, ctx, epl_image_encode_png(ctx, x, &png, &n));
    epl_tensor *y = epl_image_parse(ctx, png, n, "mem", (epl_image_opts){ 0 });
    CHECK_OK(t, ctx, y);
    CHECK(t, epl_shape_equal(y->shape, EPL_SHAPE(1, 2, 3)));
    CHECK(t, memcmp(y->data, (const uint8_t[]){ 255, 0, 0, 255, 255, 255 }, 6) == 0);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_release(ctx, png);
}

TEST(png_refuses_damage_and_size)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x   = gradient(t, ctx, 20, 30, 3);
    void        *png = NULL;
    size_t       n   = 0;
    CHECK_OK(t, ctx, epl_image_encode_png(ctx, x, &png, &n));
    CHECK_FAILS(t, ctx, epl_image_parse(ctx, png, n, "big", (epl_image_opts){ .max_pixels = 599 }), EPL_ERR_LIMIT,
                "big: 30 x 20 pixels, the limit is 599");
    for (size_t cut = 0; cut < n - 12; cut += 7) { // the end chunk may be missing
        epl_tensor *y = epl_image_parse(ctx, png, cut, "cut", (epl_image_opts){ 0 });
        CHECK(t, !y && epl_error_code(ctx) == EPL_ERR_FORMAT);
        epl_error_clear(ctx);
    }
    ((unsigned char *)png)[16] = 0x7f; // width 2 130 706 462: refused before anything is allocated
    const size_t peak = test_peak_bytes(ctx);
    CHECK(t, !epl_image_parse(ctx, png, n, "huge", (epl_image_opts){ 0 }));
    CHECK(t, test_peak_bytes(ctx) == peak);
    epl_tensor_free(x);
    epl_release(ctx, png);
}

static void save(test *t, epl_context *ctx, const char *dir, const char *file, int64_t h, int64_t w)
{
    char        path[1024];
    epl_tensor *x = gradient(t, ctx, h, w, 3);
    snprintf(path, sizeof path, "%s/%s", test_temp(t, "tree"), dir);
    CHECK_OK(t, ctx, epl_make_directories(ctx, path));
    snprintf(path, sizeof path, "%s/%s/%s", test_temp(t, "tree"), dir, file);
    CHECK_OK(t, ctx, epl_image_save_png(ctx, path, x));
    epl_tensor_free(x);
}

TEST(folders_are_classes)
{
    epl_context *ctx = test_context(t);
    save(t, ctx, "train/cat", "2.png", 8, 8);
    save(t, ctx, "train/cat", "1.PNG", 8, 12);
    save(t, ctx, "train/ant", "x.png", 10, 8);
    save(t, ctx, "test/ant", "y.png", 8, 8);
    save(t, ctx, "test/cat", "z.png", 8, 8);
    char text[1024];
    snprintf(text, sizeof text, "folder:%s,image=8", test_temp(t, "tree"));
    epl_dataset *d = epl_dataset_open(ctx, text, (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    CHECK_INT(t, epl_dataset_info_of(d).count, 3);
    CHECK_STR(t, epl_dataset_class_name(d, 0), "ant");
    CHECK_STR(t, epl_dataset_class_name(d, 1), "cat");
    uint8_t x[8 * 8 * 3];
    int64_t y = -1;
    CHECK_OK(t, ctx, epl_dataset_fetch(d, 1, x, &y)); // 1.PNG, 8 x 12: its middle, columns 2 to 9
    CHECK(t, y == 1 && x[0] == 8 && x[1] == 28);
    epl_dataset_free(d);
    d = epl_dataset_open(ctx, test_temp(t, "tree"), (epl_dataset_opts){ .split = EPL_SPLIT_TEST });
    CHECK_OK(t, ctx, d);
    CHECK_INT(t, epl_dataset_info_of(d).count, 2);
    epl_dataset_free(d);
    snprintf(text, sizeof text, "%s/train", test_temp(t, "tree"));
    d = epl_dataset_open(ctx, text, (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d);
    CHECK_FAILS(t, ctx, epl_dataset_fetch(d, 1, x, &y), EPL_ERR_SHAPE,
                "a picture of [8, 12, 3], the data set's first is [10, 8, 3]: give image=SIZE");
    epl_dataset_free(d);
}

#endif
#ifdef EPL_HAVE_TURBOJPEG

TEST(jpeg_is_read)
{
    epl_context   *ctx = test_context(t);
    epl_tensor    *x   = gradient(t, ctx, 24, 32, 3);
    unsigned char *jpeg = NULL;
    unsigned long  n = 0;
    tjhandle       c = tjInitCompress();
    CHECK(t, tjCompress2(c, x->data, 32, 0, 24, TJPF_RGB, &jpeg, &n, TJSAMP_444, 95, 0) == 0);
    epl_tensor *y = epl_image_parse(ctx, jpeg, n, "mem", (epl_image_opts){ 0 });
    CHECK_OK(t, ctx, y);
    CHECK_CLOSE(t, y, x, .atol = 6);
    CHECK_FAILS(t, ctx, epl_image_parse(ctx, jpeg, n / 2, "half", (epl_image_opts){ 0 }), EPL_ERR_FORMAT, "half: damaged JPEG");
    CHECK_FAILS(t, ctx, epl_image_parse(ctx, jpeg, n, "big", (epl_image_opts){ .max_pixels = 700 }), EPL_ERR_LIMIT,
                "32 x 24 pixels, the limit is 700");
    epl_tensor_free(y);
    y = epl_image_parse(ctx, jpeg, n, "mem", (epl_image_opts){ .channels = 1 });
    CHECK_OK(t, ctx, y);
    CHECK(t, epl_shape_equal(y->shape, EPL_SHAPE(24, 32, 1)));
    epl_tensor_free(x);
    epl_tensor_free(y);
    tjFree(jpeg);
    tjDestroy(c);
}

#endif

TEST(images_that_are_none)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_image_parse(ctx, "hello", 5, "text", (epl_image_opts){ 0 }), EPL_ERR_FORMAT,
                "text: neither a PNG nor a JPEG picture");
    CHECK_FAILS(t, ctx, epl_image_parse(ctx, "", 0, "none", (epl_image_opts){ 0 }), EPL_ERR_FORMAT, "none: neither");
    CHECK_FAILS(t, ctx, epl_image_load(ctx, "/nowhere.png", (epl_image_opts){ 0 }), EPL_ERR_IO, "/nowhere.png");
}

static epl_tensor *row(test *t, epl_context *ctx, const float *x, int64_t n)
{
    epl_tensor *r = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, n, 1));
    CHECK_OK(t, ctx, r);
    memcpy(r->data, x, (size_t)n * sizeof *x);
    return r;
}

TEST(resize_small_cases)
{
    epl_context *ctx = test_context(t);
    const struct { float in[4]; int64_t n, to; epl_image_resize_opts o; float out[4]; } cases[] = {
        { { 0, 1, 2, 3 }, 4, 2, { 0 }, { 1.25f / 1.75f, 4 / 1.75f } }, // weights 3/4, 3/4, 1/4; a fourth is outside
        { { 0, 1, 2, 3 }, 4, 2, { .no_antialias = true }, { 0.5f, 2.5f } },
        { { 0, 1, 2, 3 }, 4, 2, { .nearest = true }, { 1, 3 } },
        { { 0, 4 }, 2, 4, { 0 }, { 0, 1, 3, 4 } },
        { { 0, 4 }, 2, 4, { .nearest = true }, { 0, 0, 4, 4 } },
        { { 5 }, 1, 3, { 0 }, { 5, 5, 5 } },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_tensor *x = row(t, ctx, cases[i].in, cases[i].n);
        epl_tensor *y = epl_image_resize(ctx, x, 1, cases[i].to, cases[i].o);
        CHECK_OK(t, ctx, y);
        CHECK_CLOSE_F32(t, y->data, cases[i].out, cases[i].to, .rtol = 1e-6, .atol = 1e-6);
        epl_tensor_free(x);
        epl_tensor_free(y);
    }
}

PROPERTY(resize_keeps_constants_and_the_identity, 30)
{
    epl_context  *ctx = test_context(t);
    const int64_t h = 1 + (int64_t)epl_rng_below(t->rng, 20), w = 1 + (int64_t)epl_rng_below(t->rng, 20);
    const int64_t v = 1 + (int64_t)epl_rng_below(t->rng, 30), u = 1 + (int64_t)epl_rng_below(t->rng, 30);
    epl_tensor   *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(h, w, 3));
    for (int64_t i = 0; i < h * w * 3; i++)
        ((uint8_t *)x->data)[i] = (uint8_t)(100 + i % 3);
    epl_tensor *y = epl_image_resize(ctx, x, v, u, (epl_image_resize_opts){ .nearest = t->index % 3 == 0 });
    CHECK_OK(t, ctx, y);
    for (int64_t i = 0; i < v * u * 3; i++)
        CHECK_INT(t, ((uint8_t *)y->data)[i], 100 + i % 3);
    epl_tensor *g = gradient(t, ctx, h, w, 1), *same = epl_image_resize(ctx, g, h, w, (epl_image_resize_opts){ 0 });
    CHECK_OK(t, ctx, same);
    CHECK(t, epl_tensor_equal(g, same));
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_tensor_free(g);
    epl_tensor_free(same);
}

TEST(crop_and_channels)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = gradient(t, ctx, 5, 6, 3), *c = epl_image_centre_crop(ctx, x, 3, 2), *g = epl_image_channels(ctx, x, 1);
    CHECK_OK(t, ctx, c && g);
    CHECK(t, ((uint8_t *)c->data)[0] == 2 * 4 + 1 * 2);
    CHECK(t, ((uint8_t *)g->data)[0] == (uint8_t)(0.587 * 20 + 0.114 * 40 + 0.5));
    epl_tensor *r = epl_image_channels(ctx, g, 3);
    CHECK_OK(t, ctx, r);
    CHECK(t, ((uint8_t *)r->data)[5] == ((uint8_t *)g->data)[1]);
    CHECK_FAILS(t, ctx, epl_image_centre_crop(ctx, x, 6, 2), EPL_ERR_SHAPE, "6 x 2 out of a picture of 5 x 6");
    epl_tensor_free(x);
    epl_tensor_free(c);
    epl_tensor_free(g);
    epl_tensor_free(r);
}
