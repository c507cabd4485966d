/* Slides: stains, Otsu's threshold, mosaics, the generated tissue, an augmentation applied once. */
#include "common/check.h"

#include <espalier/data.h>

/* A pixel made of concentrations gives them back; rows of the matrix are unit vectors, and undo their inverse. */
TEST(stains_are_what_a_pixel_was_made_of)
{
    epl_context *ctx = test_context(t);
    double       m[9];
    epl_stain_matrix(m);
    for (int i = 0; i < 3; i++) {
        CHECK_NEAR(t, m[3 * i] * m[3 * i] + m[3 * i + 1] * m[3 * i + 1] + m[3 * i + 2] * m[3 * i + 2], 1, .rtol = 1e-12);
        CHECK_NEAR(t, m[3 * i] * m[6] + m[3 * i + 1] * m[7] + m[3 * i + 2] * m[8], i == 2, .atol = 1e-12);
    }
    epl_tensor *p = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(1, 1, 3));
    for (int k = 0; k < 20; k++) {
        const double h = epl_rng_uniform(t->rng), e = epl_rng_uniform(t->rng);
        double low = 0; // concentrations of the rounded pixel lie between those of its neighbours: 1/2 step of a colour
        for (int c = 0; c < 3; c++) {
            const double light = 256 * exp(-(h * m[c] + e * m[3 + c])) - 1;
            epl_tensor_set(p, c, light);
            low = fmax(low, 0.5 / (light + 0.5));
        }
        epl_tensor *s = epl_image_stains(ctx, p);
        CHECK_OK(t, ctx, s != NULL);
        CHECK_NEAR(t, epl_tensor_get(s, 0), h, .atol = 3 * low);
        CHECK_NEAR(t, epl_tensor_get(s, 1), e, .atol = 3 * low);
        epl_tensor_free(s);
    }
    epl_tensor_free(p);
    p = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(1, 1, 1));
    CHECK_FAILS(t, ctx, epl_image_stains(ctx, p), EPL_ERR_SHAPE, "u8 [H, W, 3], not u8[1, 1, 1]");
    epl_tensor_free(p);
}

TEST(otsu_cuts_between_two_hills)
{
    double h[64] = { 0 };
    for (int i = 0; i < 10; i++) {
        h[5 + i]  = 10 - abs(i - 5);
        h[40 + i] = 3 * (10 - abs(i - 5));
    }
    const double cut = epl_otsu(h, 64);
    CHECK(t, cut > 15 && cut <= 40);
}

static epl_tensor *slide_of(test *t, epl_dataset *d, epl_context *ctx, int64_t i)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_U8, epl_dataset_info_of(d).x_shape);
    CHECK_OK(t, ctx, x && epl_dataset_fetch(d, i, x->data, NULL));
    return x;
}

static double darkness(void *user, const epl_tensor *slide, const epl_slide_tile *tile)
{
    (void)user;
    return -(double)((const uint8_t *)slide->data)[3 * (tile->top * slide->shape.dim[1] + tile->left)];
}

/* The top share is kept, by any score; tiles do not overlap and lie on tissue; cellularity finds the islands. */
PROPERTY(mosaics_keep_the_highest_scores, 12)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "tissue:image=192,count=10", (epl_dataset_opts){ .seed = 3 });
    CHECK_OK(t, ctx, d != NULL);
    epl_tensor     *x = slide_of(t, d, ctx, t->index % 10);
    epl_mosaic      m;
    epl_mosaic_opts o = { .tile = 24, .spatial = t->index % 2 ? 0.5 : 1, .clusters = 4, .score = (epl_tile_score)(t->index % 3),
                          .score_fn = darkness, .seed = 5 };
    CHECK_OK(t, ctx, epl_mosaic_of(ctx, x, o, &m));
    int64_t in_mosaic = 0, kept = 0;
    double  least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < m.n; i++) {
        const epl_slide_tile *a = &m.tiles[i];
        CHECK(t, a->tissue >= 0.5 && a->top % 24 == 0 && a->left % 24 == 0 && a->cluster < 4 && (!a->kept || a->in_mosaic));
        in_mosaic += a->in_mosaic;
        kept += a->kept;
        if (a->kept)
            least = fmin(least, a->score);
        else if (a->in_mosaic)
            most = fmax(most, a->score);
    }
    CHECK(t, m.n > 10 && in_mosaic > 3 && least >= most);
    CHECK_INT(t, kept, m.n_kept);
    CHECK_INT(t, kept, fmax(1, floor(0.2 * (double)in_mosaic + 1e-9)));
    if (o.spatial == 1)
        CHECK_INT(t, in_mosaic, m.n);
    epl_mosaic_release(ctx, &m);
    epl_tensor_free(x);
    epl_dataset_free(d);
}

TEST(cellularity_finds_what_random_choice_misses)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "tissue:image=192,count=10", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d != NULL);
    double nuclei[2] = { 0 };
    for (int k = 0; k < 2; k++) {
        int64_t     *slide = NULL, empty = -1;
        epl_dataset *tiles =
            epl_mosaic_dataset(d,
                               (epl_mosaic_opts){ .tile = 24,
                                                  .spatial = 1,
                                                  .clusters = 3,
                                                  .score = k ? EPL_SCORE_RANDOM : EPL_SCORE_CELLULARITY },
                               &slide, &empty);
        CHECK_OK(t, ctx, tiles != NULL);
        CHECK_INT(t, empty, 0);
        const int64_t n = epl_dataset_info_of(tiles).count;
        for (int64_t i = 0; i < n; i++) {
            uint8_t     pixels[24 * 24 * 3];
            int64_t     label, of_slide;
            CHECK_OK(t, ctx, epl_dataset_fetch(tiles, i, pixels, &label) && epl_dataset_fetch(d, slide[i], NULL, &of_slide));
            CHECK_INT(t, label, of_slide); // the weak label
            CHECK(t, i == 0 || slide[i] >= slide[i - 1]);
            epl_tensor *v = epl_tensor_view(ctx, EPL_U8, EPL_SHAPE(24, 24, 3), pixels), *s = epl_image_stains(ctx, v);
            for (int64_t p = 0; p < 24 * 24; p++)
                nuclei[k] += (epl_tensor_get(s, 3 * p) > 0.5) / (double)n;
            epl_tensor_free(s);
            epl_tensor_free(v);
        }
        epl_release(ctx, slide);
        epl_dataset_free(tiles);
    }
    CHECK(t, nuclei[0] > 1.5 * nuclei[1]);
    epl_dataset_free(d);
}

/* Glass alone has no tile; that is no error of the slide, but a data set of nothing is one. */
TEST(a_slide_without_tissue_is_empty)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(1, 64, 64, 3)), *one = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(64, 64, 3));
    memset(x->data, 240, epl_tensor_bytes(x));
    memset(one->data, 240, epl_tensor_bytes(one));
    epl_mosaic m;
    CHECK_OK(t, ctx, epl_mosaic_of(ctx, one, (epl_mosaic_opts){ .tile = 16 }, &m));
    CHECK_INT(t, m.n, 0);
    CHECK_INT(t, m.n_kept, 0);
    epl_mosaic_release(ctx, &m);
    CHECK_FAILS(t, ctx, epl_mosaic_of(ctx, one, (epl_mosaic_opts){ .tile = 65 }, &m), EPL_ERR_ARGUMENT,
                "65 pixels from a slide of 64 x 64");
    CHECK_FAILS(t, ctx, epl_mosaic_of(ctx, one, (epl_mosaic_opts){ .tile = 16, .top = 2 }, &m), EPL_ERR_ARGUMENT, "a share is at most 1");
    CHECK_FAILS(t, ctx, epl_image_tile(ctx, one, 60, 0, 8, 8), EPL_ERR_SHAPE, "8 x 8 at 60, 0");
    epl_tensor  *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(1));
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "glass", x, y);
    CHECK_FAILS(t, ctx, epl_mosaic_dataset(d, (epl_mosaic_opts){ .tile = 16 }, NULL, NULL), EPL_ERR_ARGUMENT, "no slide has a tile");
    epl_dataset_free(d);
    epl_tensor_free(one);
}

/* Two slides are one patient's, who has one class; more slides do not change the earlier ones. */
TEST(tissue_comes_from_patients)
{
    epl_context *ctx = test_context(t);
    epl_dataset *a = epl_dataset_open(ctx, "tissue:image=64,count=6,classes=3", (epl_dataset_opts){ .seed = 1 });
    epl_dataset *b = epl_dataset_open(ctx, "tissue:image=64,count=3,classes=3", (epl_dataset_opts){ .seed = 1 });
    CHECK_OK(t, ctx, a && b);
    for (int64_t i = 0; i < 6; i++) {
        int64_t y;
        CHECK_OK(t, ctx, epl_dataset_fetch(a, i, NULL, &y));
        CHECK_INT(t, y, i / 2);
    }
    epl_tensor *x = slide_of(t, a, ctx, 2), *z = slide_of(t, b, ctx, 2);
    CHECK(t, epl_tensor_equal(x, z));
    epl_tensor_free(x);
    epl_tensor_free(z);
    epl_dataset_free(a);
    epl_dataset_free(b);
}

TEST(words_applied_once_stay)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = epl_dataset_open(ctx, "shapes:image=8,count=4", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d != NULL);
    epl_dataset *a = epl_dataset_augmented(d, "colour-shift:0:2:2:0.5:0.5", 1),
                *b = epl_dataset_augmented(d, "colour-shift:0.8:0.2:1.4:-0.1:0.5", 1);
    epl_dataset *c = epl_dataset_augmented(d, "colour-shift:0.8:0.2:1.4:-0.1:0.5", 1);
    CHECK_OK(t, ctx, a && b && c);
    epl_tensor *x, *xa, *xb, *xc, *y, *ya;
    CHECK_OK(t, ctx, epl_dataset_tensors(d, 0, 4, &x, &y) && epl_dataset_tensors(a, 0, 4, &xa, &ya) &&
             epl_dataset_tensors(b, 0, 4, &xb, NULL) && epl_dataset_tensors(c, 0, 4, &xc, NULL));
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        CHECK_NEAR(t, epl_tensor_get(xa, i), 2 * epl_tensor_get(x, i) + 0.5, .rtol = 1e-6);
    CHECK(t, epl_tensor_equal(y, ya) && epl_tensor_equal(xb, xc) && !epl_tensor_equal(xa, xb));
    CHECK_FAILS(t, ctx, epl_dataset_augmented(d, "mixup:0.2", 1), EPL_ERR_ARGUMENT, "cannot be applied once");
    epl_tensor *all[] = { x, xa, xb, xc, y, ya };
    for (size_t i = 0; i < EPL_COUNT(all); i++)
        epl_tensor_free(all[i]);
    epl_dataset_free(a);
    epl_dataset_free(b);
    epl_dataset_free(c);
    epl_dataset_free(d);
}
