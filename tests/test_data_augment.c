/* Augmentation: each word on small cases worked out by hand, the algebra of mixing, and what wrong lists are told. */
#include <espalier/data.h>

#include "common/check.h"
#include "data/augment.h"

enum { ROOM = 1 << 14 };

/* Runs a list on one sample at (seed 1, epoch e, position p). */
static epl_shape apply(test *t, epl_context *ctx, const char *words, epl_shape shape, int64_t epoch, int64_t position,
                       const float *x, const int64_t *classes, float *out, int64_t *out_classes)
{
    epl_augment *a = epl_augment_parse(ctx, words, shape);
    CHECK_OK(t, ctx, a);
    void *scratch = epl_alloc_aligned(ctx, epl_augment_scratch_bytes(a));
    epl_augment_sample(a, (epl_draw){ .seed = 1, .epoch = epoch, .position = position }, x, classes, out, out_classes, scratch);
    const epl_shape result = epl_augment_shape(a);
    epl_release_aligned(ctx, scratch);
    epl_augment_free(a);
    return result;
}

static void count_up(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i + 1);
}

/* Every word keeps moving colours and classes together: classes that equal the picture's values must follow them. */
PROPERTY(moves_carry_classes_along, 40)
{
    static const char *const words[] = { "pad-crop:2", "flip", "vflip", "centre-crop:3:4", "pad-crop:1,flip,vflip" };
    epl_context *ctx = test_context(t);
    float        x[30], out[30];
    int64_t      c[30], out_c[30];
    count_up(x, 30);
    for (int i = 0; i < 30; i++)
        c[i] = i + 1;
    const epl_shape s = apply(t, ctx, words[t->index % (int)EPL_COUNT(words)], EPL_SHAPE(5, 6, 1), 0, t->index, x, c, out, out_c);
    for (int64_t i = 0; i < epl_shape_count(s); i++)
        CHECK_INT(t, out_c[i], (int64_t)out[i]);
}

TEST(pad_crop_is_every_shift_equally_often)
{
    epl_context *ctx = test_context(t);
    float        x[9], out[9];
    int          seen[3][3] = { { 0 } };
    count_up(x, 9);
    for (int64_t p = 0; p < 900; p++) {
        apply(t, ctx, "pad-crop:1", EPL_SHAPE(3, 3, 1), 0, p, x, NULL, out, NULL);
        int dy = 9, dx = 9;
        for (int i = 0; i < 9; i++)
            if (out[i] == 5) { // the centre never leaves
                dy = 1 - i / 3;
                dx = 1 - i % 3;
            }
        CHECK(t, dy <= 1 && dx <= 1);
        for (int i = 0; i < 9; i++) {
            const int y = i / 3 + dy, c = i % 3 + dx;
            CHECK(t, out[i] == (y < 0 || c < 0 || y > 2 || c > 2 ? 0 : x[3 * y + c]));
        }
        seen[dy + 1][dx + 1]++;
    }
    for (int i = 0; i < 9; i++)
        CHECK(t, seen[i / 3][i % 3] > 60 && seen[i / 3][i % 3] < 140); // 100 expected, deviation 9.4
}

TEST(flips_mirror)
{
    epl_context *ctx = test_context(t);
    const float  x[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }; // [2, 3, 2]
    const float  h[] = { 5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8 }, v[] = { 7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6 };
    float        out[12];
    int          flipped = 0;
    apply(t, ctx, "flip:1", EPL_SHAPE(2, 3, 2), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, h, 12);
    apply(t, ctx, "vflip:1", EPL_SHAPE(2, 3, 2), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, v, 12);
    apply(t, ctx, "flip:0,vflip:0", EPL_SHAPE(2, 3, 2), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, x, 12);
    for (int64_t p = 0; p < 400; p++) {
        apply(t, ctx, "flip", EPL_SHAPE(2, 3, 2), 3, p, x, NULL, out, NULL);
        flipped += out[0] == 5;
    }
    CHECK(t, flipped > 150 && flipped < 250);
}

TEST(values_change_as_told)
{
    epl_context *ctx = test_context(t);
    const float  x[] = { 0, 0.5f, 1, 0.25f };
    float        out[4];
    apply(t, ctx, "normalise:0.5:0.25", EPL_SHAPE(2, 2, 1), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, ((const float[]){ -2, 0, 2, -1 }), 4);
    apply(t, ctx, "normalise:0.5:1:0.25:0.5", EPL_SHAPE(2, 1, 2), 0, 0, x, NULL, out, NULL); // means, then deviations
    CHECK_CLOSE_F32(t, out, ((const float[]){ -2, -1, 2, -1.5f }), 4);
    apply(t, ctx, "normalise:1:2", EPL_SHAPE(4), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, ((const float[]){ -0.5f, -0.25f, 0, -0.375f }), 4);
    for (int64_t p = 0; p < 50; p++) {
        apply(t, ctx, "brightness:0.4", EPL_SHAPE(2, 2, 1), 0, p, x, NULL, out, NULL);
        CHECK(t, out[2] >= 0.6f && out[2] <= 1.4f && out[0] == 0);
        CHECK_NEAR(t, out[1], 0.5f * out[2], .rtol = 1e-6);
        apply(t, ctx, "contrast:0.4", EPL_SHAPE(2, 2, 1), 0, p, x, NULL, out, NULL);
        CHECK_NEAR(t, out[0] + out[1] + out[2] + out[3], 1.75, .rtol = 1e-6); // the mean stays
        CHECK(t, out[2] - out[0] >= 0.6f && out[2] - out[0] <= 1.4f);
    }
}

TEST(noise_has_its_deviation)
{
    epl_context *ctx = test_context(t);
    static float x[10001], out[10001]; // not a multiple of four
    double       sum = 0, squares = 0;
    apply(t, ctx, "noise:0.5", EPL_SHAPE(10001), 0, 5, x, NULL, out, NULL);
    for (int i = 0; i < 10001; i++) {
        sum += out[i];
        squares += (double)out[i] * out[i];
    }
    CHECK_NEAR(t, sum / 10001, 0, .atol = 0.02);
    CHECK_NEAR(t, sqrt(squares / 10001), 0.5, .atol = 0.02);
}

TEST(cutout_covers_a_square_cut_by_the_border)
{
    epl_context *ctx = test_context(t);
    float        x[64], out[64];
    count_up(x, 64);
    int whole = 0;
    for (int64_t p = 0; p < 100; p++) {
        apply(t, ctx, "cutout:4", EPL_SHAPE(8, 8, 1), 0, p, x, NULL, out, NULL);
        int top = 8, left = 8, bottom = -1, right = -1, n = 0;
        for (int i = 0; i < 64; i++)
            if (out[i] == 0) {
                n++;
                top    = i / 8 < top ? i / 8 : top;
                bottom = i / 8 > bottom ? i / 8 : bottom;
                left   = i % 8 < left ? i % 8 : left;
                right  = i % 8 > right ? i % 8 : right;
            } else {
                CHECK(t, out[i] == x[i]);
            }
        CHECK_INT(t, n, (bottom - top + 1) * (right - left + 1));
        CHECK(t, bottom - top < 4 && right - left < 4);
        CHECK(t, bottom - top == 3 || top == 0 || bottom == 7);
        whole += n == 16;
    }
    CHECK(t, whole > 10 && whole < 90);
}

TEST(erase_keeps_to_its_area)
{
    epl_context *ctx = test_context(t);
    float        x[400], out[400];
    count_up(x, 400);
    int erased = 0;
    for (int64_t p = 0; p < 200; p++) {
        apply(t, ctx, "erase:0.5:0.1:0.2", EPL_SHAPE(20, 20, 1), 0, p, x, NULL, out, NULL);
        int n = 0;
        for (int i = 0; i < 400; i++)
            n += out[i] == 0;
        CHECK(t, n == 0 || (n >= 30 && n <= 95)); // 40 to 80, the sides being rounded
        erased += n > 0;
    }
    CHECK(t, erased > 70 && erased < 130);
}

TEST(rotation_by_nothing_and_of_a_disc)
{
    epl_context *ctx = test_context(t);
    float        x[225], out[225];
    count_up(x, 225);
    apply(t, ctx, "rotate:0", EPL_SHAPE(15, 15, 1), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, x, 225, .rtol = 1e-5);
    apply(t, ctx, "affine:0:0:0", EPL_SHAPE(15, 15, 1), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, x, 225, .rtol = 1e-5);
    for (int i = 0; i < 225; i++) { // a smooth hill about the centre does not change when it is rotated
        const float dx = (float)(i % 15 - 7), dy = (float)(i / 15 - 7);
        x[i] = expf(-(dx * dx + dy * dy) / 18);
    }
    for (int64_t p = 0; p < 20; p++) {
        apply(t, ctx, "rotate:180", EPL_SHAPE(15, 15, 1), 0, p, x, NULL, out, NULL);
        CHECK_CLOSE_F32(t, out, x, 225, .atol = 0.04);
    }
}

/* A plane shows the field itself. Noise of +-alpha has the std alpha / sqrt 3; a Gaussian of std sigma leaves 1 / (2
 * sigma sqrt pi) of it. */
TEST(elastic_fields_are_smooth_and_as_strong_as_they_should)
{
    enum { SIDE = 33, MIDDLE = SIDE / 2 * SIDE + SIDE / 2, DRAWS = 400 };
    epl_context *ctx = test_context(t);
    float        x[SIDE * SIDE], out[SIDE * SIDE];
    double       squares = 0, steps = 0;
    for (int i = 0; i < SIDE * SIDE; i++)
        x[i] = (float)(i % SIDE);
    apply(t, ctx, "elastic:0:2", EPL_SHAPE(SIDE, SIDE, 1), 0, 0, x, NULL, out, NULL);
    CHECK_CLOSE_F32(t, out, x, SIDE * SIDE, .rtol = 1e-6);
    for (int64_t p = 0; p < DRAWS; p++) {
        apply(t, ctx, "elastic:8:2", EPL_SHAPE(SIDE, SIDE, 1), 0, p, x, NULL, out, NULL);
        const double d = (double)(out[MIDDLE] - x[MIDDLE]), next = (double)(out[MIDDLE + 1] - x[MIDDLE + 1]);
        squares += d * d / DRAWS;
        steps += (d - next) * (d - next) / DRAWS;
    }
    const double expected = 8 / sqrt(3) / (2 * 2 * sqrt(acos(-1)));
    CHECK_NEAR(t, sqrt(squares), expected, .rtol = 0.15);
    CHECK(t, steps < 0.25 * squares); // neighbours of a field of sigma 2 differ by 2 (1 - exp(-1/16)) = 0.12 of the variance
}

TEST(rotation_moves_a_plane_exactly)
{
    epl_context *ctx = test_context(t);
    float        x[225], out[225];
    for (int i = 0; i < 225; i++)
        x[i] = (float)(i % 15 - 7); // bilinear interpolation is exact on planes
    for (int64_t p = 0; p < 20; p++) {
        apply(t, ctx, "rotate:45", EPL_SHAPE(15, 15, 1), 0, p, x, NULL, out, NULL);
        const float c = out[7 * 15 + 8], s = out[8 * 15 + 7]; // cosine and -+ sine
        CHECK_NEAR(t, c * c + s * s, 1, .atol = 1e-5);
        CHECK_NEAR(t, out[7 * 15 + 10], 3 * c, .atol = 1e-5);
        CHECK_NEAR(t, out[9 * 15 + 9], 2 * c + 2 * s, .atol = 1e-5);
    }
}

TEST(resized_crop_of_a_plane_is_a_plane_within)
{
    epl_context *ctx = test_context(t);
    float        x[400], out[400];
    for (int i = 0; i < 400; i++)
        x[i] = (float)(i % 20);
    for (int64_t p = 0; p < 50; p++) {
        apply(t, ctx, "resized-crop:0.2:0.5", EPL_SHAPE(20, 20, 1), 0, p, x, NULL, out, NULL);
        const float step = out[211] - out[210];
        CHECK(t, step > 0.35f && step < 0.9f); // sqrt(0.2 * 3/4) to sqrt(0.5 * 4/3), rounded
        CHECK_NEAR(t, out[214] - out[210], 4 * step, .rtol = 1e-3);
        for (int i = 0; i < 400; i++)
            CHECK(t, out[i] >= 0 && out[i] <= 19);
    }
}

TEST(shapes_change_as_told)
{
    epl_context *ctx = test_context(t);
    float        x[48], out[200];
    count_up(x, 48);
    CHECK(t, epl_shape_equal(apply(t, ctx, "resize:2,rgb", EPL_SHAPE(4, 4, 1), 0, 0, x, NULL, out, NULL), EPL_SHAPE(2, 2, 3)));
    CHECK(t, out[0] == out[1] && out[1] == out[2] && out[3] > out[0]);
    CHECK(t, epl_shape_equal(apply(t, ctx, "resize:4:6,centre-crop:2", EPL_SHAPE(4, 4, 3), 0, 0, x, NULL, out, NULL),
                             EPL_SHAPE(2, 2, 3)));
    CHECK(t, epl_shape_equal(apply(t, ctx, "gray", EPL_SHAPE(4, 4, 3), 0, 0, x, NULL, out, NULL), EPL_SHAPE(4, 4, 1)));
    CHECK_NEAR(t, out[0], 0.299 + 2 * 0.587 + 3 * 0.114, .rtol = 1e-6);
}

TEST(draws_depend_on_seed_epoch_and_position_alone)
{
    epl_context *ctx = test_context(t);
    const char  *words = "pad-crop:3,rotate:20,cutout:3,noise:0.1";
    float        x[144], a[144], b[144];
    count_up(x, 144);
    apply(t, ctx, words, EPL_SHAPE(12, 12, 1), 2, 9, x, NULL, a, NULL);
    apply(t, ctx, words, EPL_SHAPE(12, 12, 1), 2, 9, x, NULL, b, NULL);
    CHECK(t, memcmp(a, b, sizeof a) == 0);
    apply(t, ctx, words, EPL_SHAPE(12, 12, 1), 2, 10, x, NULL, b, NULL);
    CHECK(t, memcmp(a, b, sizeof a) != 0);
    apply(t, ctx, words, EPL_SHAPE(12, 12, 1), 3, 9, x, NULL, b, NULL);
    CHECK(t, memcmp(a, b, sizeof a) != 0);
}

TEST(the_text_is_normal)
{
    epl_context *ctx = test_context(t);
    epl_augment *a   = epl_augment_parse(ctx, "flip,erase:0.25,resize:8,normalise:.5:2e-1,mixup:0.20", EPL_SHAPE(9, 9, 1));
    CHECK_OK(t, ctx, a);
    CHECK_STR(t, epl_augment_text(a), "flip:0.5,erase:0.25:0.02:0.33,resize:8:8,normalise:0.5:0.2,mixup:0.2");
    CHECK(t, epl_augment_mixes(a));
    epl_augment *b = epl_augment_parse(ctx, epl_augment_text(a), EPL_SHAPE(9, 9, 1));
    CHECK_OK(t, ctx, b);
    CHECK_STR(t, epl_augment_text(b), epl_augment_text(a));
    epl_augment_free(a);
    epl_augment_free(b);
    a = epl_augment_parse(ctx, NULL, EPL_SHAPE(3));
    CHECK_OK(t, ctx, a);
    CHECK_STR(t, epl_augment_text(a), "");
    CHECK(t, !epl_augment_mixes(a));
    epl_augment_free(a);
}

TEST(wrong_lists_are_told_so)
{
    epl_context *ctx = test_context(t);
    const struct { const char *words, *message; epl_error code; } cases[] = {
        { "flop", "no word 'flop', did you mean 'flip'?", EPL_ERR_ARGUMENT },
        { "flip,zzzzzz", "no word 'zzzzzz', expected pad-crop, flip, vflip", EPL_ERR_ARGUMENT },
        { "normalize:0:1", "did you mean 'normalise'?", EPL_ERR_ARGUMENT },
        { "pad-crop", "'pad-crop' has the wrong number of values, expected pad-crop:N", EPL_ERR_ARGUMENT },
        { "pad-crop:1:2", "'pad-crop:1:2' has the wrong number", EPL_ERR_ARGUMENT },
        { "pad-crop:1.5", "'1.5' in 'pad-crop:1.5', expected a whole number from 0 to 1024: pad-crop:N", EPL_ERR_ARGUMENT },
        { "cutout:x", "'x' in 'cutout:x', expected a whole number", EPL_ERR_ARGUMENT },
        { "flip:2", "'2' in 'flip:2', expected a number from 0 to 1: flip[:P=0.5]", EPL_ERR_ARGUMENT },
        { "flip:nan", "'nan' in 'flip:nan'", EPL_ERR_ARGUMENT },
        { "normalise:0:0", "the deviation 0, expected more than 0", EPL_ERR_ARGUMENT },
        { "normalise:0:0:1", "has 3 values, expected 2 (normalise:MEAN:STD) or 6, for each of 3 channels", EPL_ERR_ARGUMENT },
        { "erase:0.5:0.4:0.2", "from 0.4 to 0.2", EPL_ERR_ARGUMENT },
        { "mixup:0.2,flip", "'mixup' works on whole batches and comes last, 'flip' follows it", EPL_ERR_ARGUMENT },
        { "centre-crop:9", "'centre-crop:9' out of a picture of 8 x 8", EPL_ERR_SHAPE },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++)
        CHECK_FAILS(t, ctx, epl_augment_parse(ctx, cases[i].words, EPL_SHAPE(8, 8, 3)), cases[i].code, cases[i].message);
    CHECK_FAILS(t, ctx, epl_augment_parse(ctx, "pad-crop:2", EPL_SHAPE(5)), EPL_ERR_SHAPE,
                "'pad-crop:2' needs pictures [H, W, C], the samples are [5]");
}

TEST(parsing_survives_every_failed_allocation)
{
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_augment *a   = epl_augment_parse(ctx, "resize:9,pad-crop:2,flip,mixup:1", EPL_SHAPE(8, 8, 3));
        done             = a != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_augment_free(a);
    }
}

/* ---- mixing ---- */

typedef struct batch {
    float   x[6 * 16], soft[6 * 4], old[6 * 16], scratch[6 * 16];
    int64_t labels[6];
} batch;

/* Sample i is the constant i + 1, its label i mod 4. */
static void mix(test *t, epl_context *ctx, const char *words, int64_t step, int64_t n, batch *b)
{
    epl_augment *a = epl_augment_parse(ctx, words, EPL_SHAPE(4, 4, 1));
    CHECK_OK(t, ctx, a);
    for (int64_t i = 0; i < n * 16; i++)
        b->x[i] = b->old[i] = (float)(i / 16 + 1);
    for (int64_t i = 0; i < n; i++)
        b->labels[i] = i % 4;
    epl_augment_batch(a, (epl_draw){ .seed = 4, .epoch = 1, .position = step }, b->x, b->labels, n, 4, b->soft, b->scratch);
    epl_augment_free(a);
}

TEST(mixup_blends_samples_and_labels_alike)
{
    epl_context *ctx = test_context(t);
    double       lambdas = 0;
    int          shifts[6] = { 0 };
    for (int64_t step = 0; step < 300; step++) {
        batch b;
        mix(t, ctx, "mixup:1", step, 6, &b);
        // x0 = lambda 1 + (1 - lambda) (1 + shift), x5 = lambda 6 + (1 - lambda) shift: x5 - x0 = 6 lambda - 1
        const float lambda = (b.x[5 * 16] - b.x[0] + 1) / 6;
        const int   shift  = (int)lroundf((b.x[0] - 1) / (1 - lambda));
        CHECK(t, lambda >= -1e-6f && lambda <= 1 + 1e-6f);
        if (lambda > 0.999f)
            continue; // no telling who the partner was
        CHECK(t, shift >= 1 && shift <= 5);
        for (int i = 0; i < 6; i++) {
            float     want[4] = { 0 };
            const int j = (i + shift) % 6;
            want[i % 4] += lambda;
            want[j % 4] += 1 - lambda;
            CHECK_CLOSE_F32(t, b.soft + 4 * i, want, 4, .atol = 1e-5);
            for (int k = 0; k < 16; k++)
                CHECK_NEAR(t, b.x[16 * i + k], lambda * (float)(i + 1) + (1 - lambda) * (float)(j + 1), .atol = 1e-5);
        }
        lambdas += lambda;
        shifts[shift]++;
    }
    CHECK_NEAR(t, lambdas / 300, 0.5, .atol = 0.06); // Beta(1, 1) is uniform: deviation of the mean 0.017
    for (int s = 1; s < 6; s++)
        CHECK(t, shifts[s] > 30 && shifts[s] < 90);
}

TEST(cutmix_pastes_a_window_and_weighs_labels_by_area)
{
    epl_context *ctx = test_context(t);
    int          mixed = 0;
    for (int64_t step = 0; step < 200; step++) {
        batch b;
        mix(t, ctx, "cutmix:1", step, 6, &b);
        for (int i = 0; i < 6; i++) {
            float want[4] = { 0 };
            int   kept = 0, other = 0;
            for (int k = 0; k < 16; k++) {
                kept += b.x[16 * i + k] == (float)(i + 1);
                if (b.x[16 * i + k] != (float)(i + 1)) {
                    CHECK(t, other == 0 || b.x[16 * i + k] == (float)other);
                    other = (int)b.x[16 * i + k];
                }
            }
            want[i % 4] += (float)kept / 16;
            if (other)
                want[(other - 1) % 4] += (float)(16 - kept) / 16;
            CHECK_CLOSE_F32(t, b.soft + 4 * i, want, 4, .atol = 1e-6);
            mixed += other != 0;
        }
    }
    CHECK(t, mixed > 300);
}

TEST(without_mixing_labels_are_one_hot)
{
    epl_context *ctx = test_context(t);
    batch        b;
    mix(t, ctx, "flip", 0, 6, &b);
    for (int i = 0; i < 6; i++)
        for (int c = 0; c < 4; c++)
            CHECK(t, b.soft[4 * i + c] == (i % 4 == c));
    CHECK(t, memcmp(b.x, b.old, sizeof b.x) == 0);
    mix(t, ctx, "mixup:1", 0, 1, &b); // a batch of one has no partner
    CHECK(t, b.soft[0] == 1 && b.x[0] == 1);
}

PROPERTY(beta_has_its_moments, 4)
{
    const double alpha = (double[]){ 0.1, 0.4, 1, 4 }[t->index];
    epl_rng      r     = epl_rng_at(9, (uint64_t)t->index);
    double       sum = 0, squares = 0;
    enum { N = 20000 };
    for (int i = 0; i < N; i++) {
        const double x = epl_draw_beta(&r, alpha);
        CHECK(t, x >= 0 && x <= 1);
        sum += x;
        squares += (x - 0.5) * (x - 0.5);
    }
    CHECK_NEAR(t, sum / N, 0.5, .atol = 0.015);
    CHECK_NEAR(t, squares / N, 0.25 / (2 * alpha + 1), .rtol = 0.04);
}
