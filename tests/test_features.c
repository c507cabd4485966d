/* Features of layers, divergence of domains, search by features. */
#include "common/check.h"

#include <espalier/espalier.h>

static epl_model *network(test *t, epl_context *ctx)
{
    epl_graph *g = epl_zoo_build(ctx, "resnet:depth=8,image=8,channels=3,width=8");
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 4));
    return m;
}

/* The linear layer applied to the features gives the logits, whatever the batch. */
TEST(features_are_what_the_classifier_reads)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx);
    epl_dataset *d = epl_dataset_open(ctx, "shapes:image=8,count=21", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d != NULL);
    epl_tensor *f = epl_features(m, d, (epl_features_opts){ .batch = 8 }),
               *y = epl_features(m, d, (epl_features_opts){ .layer = "logits" });
    epl_tensor *maps = epl_features(m, d, (epl_features_opts){ .layer = "stage3", .average = true });
    epl_tensor *whole = epl_features(m, d, (epl_features_opts){ .layer = "stage2.unit1", .batch = 5 });
    CHECK_OK(t, ctx, f && y && maps && whole);
    CHECK_INT(t, f->shape.dim[0], 21);
    CHECK_INT(t, f->shape.dim[1], 32);
    CHECK_INT(t, whole->shape.rank, 4);
    CHECK_CLOSE(t, maps, f, .rtol = 1e-4, .atol = 1e-5);
    const epl_tensor *w = epl_weights_find(m->weights, "head.weight"), *b = epl_weights_find(m->weights, "head.bias");
    for (int64_t i = 0; i < 21; i++)
        for (int64_t c = 0; c < 10; c++) {
            double sum = epl_tensor_get(b, c);
            for (int64_t k = 0; k < 32; k++)
                sum += epl_tensor_get(f, i * 32 + k) * epl_tensor_get(w, k * 10 + c);
            CHECK_NEAR(t, epl_tensor_get(y, i * 10 + c), sum, .rtol = 1e-4, .atol = 1e-5);
        }
    CHECK_FAILS(t, ctx, epl_features(m, d, (epl_features_opts){ .layer = "stage4" }), EPL_ERR_ARGUMENT, "no scope 'stage4'");
    epl_tensor_free(f);
    epl_tensor_free(y);
    epl_tensor_free(maps);
    epl_tensor_free(whole);
    epl_dataset_free(d);
    epl_model_free(m);
}

TEST(divergence_has_its_closed_form)
{
    CHECK_NEAR(t, epl_gaussian_divergence(0, 1, 1, 1), 1, .rtol = 1e-12);
    CHECK_NEAR(t, epl_gaussian_divergence(0, 1, 0, 4), 1.125, .rtol = 1e-12);
    CHECK_NEAR(t, epl_gaussian_divergence(0, 4, 0, 1), 1.125, .rtol = 1e-12);
    CHECK_NEAR(t, epl_gaussian_divergence(3, 2, 3, 2), 0, .atol = 1e-12);
}

TEST(divergence_is_zero_of_equals_symmetric_and_grows_with_the_shift)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx);
    epl_dataset *a = epl_dataset_open(ctx, "shapes:image=8,count=64", (epl_dataset_opts){ 0 });
    epl_dataset *b = a ? epl_dataset_augmented(a, "colour-shift:0.1:0.9:1.1:0:0.1", 1) : NULL;
    epl_dataset *c = a ? epl_dataset_augmented(a, "colour-shift:0.8:0.2:1.4:0.3:0.8", 1) : NULL;
    CHECK_OK(t, ctx, b && c);
    epl_divergence_result r[4];
    epl_features_opts o = { .batch = 16 };
    CHECK_OK(t, ctx, epl_divergence(m, a, a, NULL, o, &r[0]) && epl_divergence(m, a, b, NULL, o, &r[1]) &&
             epl_divergence(m, b, a, NULL, o, &r[2]) && epl_divergence(m, a, c, NULL, o, &r[3]));
    CHECK_INT(t, r[0].n, 6); // the stem, its convolution, its norm, and three units
    for (int i = 0; i < r[0].n; i++) {
        CHECK_NEAR(t, r[0].values[i], 0, .atol = 1e-9);
        CHECK_NEAR(t, r[1].values[i], r[2].values[i], .rtol = 1e-6);
        CHECK(t, r[1].values[i] < r[3].values[i]);
    }
    for (int i = 0; i < 4; i++)
        epl_divergence_release(&r[i]);
    CHECK_FAILS(t, ctx, epl_divergence(m, a, b, "nothing*", o, &r[0]), EPL_ERR_ARGUMENT, "no layer of images 'nothing*'");
    epl_dataset_free(a);
    epl_dataset_free(b);
    epl_dataset_free(c);
    epl_model_free(m);
}

/* ---- retrieval ---- */

TEST(barcodes_are_rises_and_ignore_scale_and_shift)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *f = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 5));
    const float  x[5] = { 1, 3, 2, 2, -1 };
    for (int i = 0; i < 5; i++) {
        epl_tensor_set(f, i, x[i]);
        epl_tensor_set(f, 5 + i, 4 * x[i] - 7);
    }
    epl_tensor *b = epl_barcodes(ctx, f);
    CHECK_OK(t, ctx, b != NULL);
    CHECK_INT(t, b->shape.dim[1], 4);
    static const uint8_t bits[] = { 1, 0, 1, 0, 1, 0, 1, 0 };
    CHECK(t, memcmp(b->data, bits, 8) == 0);
    epl_tensor_free(b);
    epl_tensor_free(f);
    f = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 1));
    CHECK_FAILS(t, ctx, epl_barcodes(ctx, f), EPL_ERR_SHAPE, "D of 2 and more");
    epl_tensor_free(f);
}

/* Rows on a line: bags {0, 1, 9}, {0, 9}, {10, 12}. */
TEST(bag_distance_is_the_median_of_the_least)
{
    epl_context *ctx = test_context(t);
    static const float   x[] = { 0, 1, 9, 0, 9, 10, 12 };
    static const int64_t first[] = { 0, 3, 5, 7 }, label[] = { 0, 0, 1 };
    static const double  want[3][3] = { { 0, 0, 9 }, { 0, 0, 5.5 }, { 2, 2, 0 } };
    const epl_bags bags = { 3, first, label, NULL, NULL };
    epl_tensor *f = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(7, 1));
    memcpy(f->data, x, sizeof x);
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) {
            double d;
            CHECK_OK(t, ctx, epl_bag_distance(ctx, f, &bags, a, b, EPL_DISTANCE_EUCLIDEAN, &d));
            CHECK_NEAR(t, d, want[a][b], .atol = 1e-6);
        }
    epl_tensor_free(f);
}

/* Points on a line, one a bag; the vote, its tie, groups and sites are counted by hand. */
TEST(votes_leave_groups_out)
{
    epl_context *ctx = test_context(t);
    static const float   x[] = { 0, 1, 2.1f, 3.3f, 10, 11.1f };
    static const int64_t first[] = { 0, 1, 2, 3, 4, 5, 6 }, label[] = { 0, 0, 1, 0, 1, 1 }, group[] = { 7, 7, 8, 9, 5, 5 },
                         site[] = { 0, 0, 0, 0, 1, 1 };
    epl_tensor *f = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(6, 1));
    memcpy(f->data, x, sizeof x);
    epl_retrieval r;
    epl_bags bags = { 6, first, label, NULL, NULL };
    const epl_retrieve_opts o = { .distance = EPL_DISTANCE_EUCLIDEAN };
    CHECK_OK(t, ctx, epl_retrieve(ctx, f, &bags, o, &r));
    static const int64_t alone[] = { 0, 0, 0, 0, 1, 1 }; // of 4: 5, 3, 2; of 5: 4, 3, 2
    for (int i = 0; i < 6; i++)
        CHECK_INT(t, r.predicted[i], alone[i]);
    CHECK_INT(t, r.nearest[0], 1);
    CHECK_INT(t, r.nearest[1], 2);
    CHECK_NEAR(t, r.accuracy, 5.0 / 6, .rtol = 1e-12);
    CHECK_NEAR(t, r.f1[0], 2.0 * 3 / (4 + 3), .rtol = 1e-12);
    CHECK_NEAR(t, r.macro_f1, 0.5 * (6.0 / 7 + 4.0 / 5), .rtol = 1e-12);
    epl_retrieval_release(ctx, &r);
    bags.group = group;
    CHECK_OK(t, ctx, epl_retrieve(ctx, f, &bags, o, &r)); // 0 cannot ask 1: 2, 3, 4 vote 1
    CHECK_INT(t, r.predicted[0], 1);
    CHECK_INT(t, r.predicted[4], 0); // 3, 2, 1: without 5
    epl_retrieval_release(ctx, &r);
    bags.site = site;
    CHECK_OK(t, ctx, epl_retrieve(ctx, f, &bags, (epl_retrieve_opts){ .distance = EPL_DISTANCE_EUCLIDEAN, .within_sites = true }, &r));
    CHECK_INT(t, r.predicted[0], 1); // 2 and 3: a tie, the nearer wins
    CHECK_INT(t, r.predicted[4], -1); // nobody of another patient at the site
    CHECK_INT(t, r.asked, 4);
    epl_retrieval_release(ctx, &r);
    bags.n = 5;
    CHECK_FAILS(t, ctx, epl_retrieve(ctx, f, &bags, o, &r), EPL_ERR_SHAPE, "5 bags do not cover");
    epl_tensor_free(f);
}

/* A linear classifier reads blobs, and nothing where labels are noise. */
TEST(a_probe_reads_what_is_linear)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = epl_dataset_open(ctx, "blobs:classes=3,features=4,count=300", (epl_dataset_opts){ 0 });
    epl_tensor  *x = NULL, *y = NULL;
    double       accuracy = 0;
    CHECK_OK(t, ctx, d && epl_dataset_tensors(d, 0, 300, &x, &y));
    CHECK_OK(t, ctx, epl_probe(ctx, x, y, (epl_probe_opts){ .folds = 3 }, &accuracy));
    CHECK(t, accuracy > 0.85);
    for (int64_t i = 0; i < 300; i++)
        epl_tensor_set_i64(y, i, (int64_t)epl_rng_below(t->rng, 3));
    CHECK_OK(t, ctx, epl_probe(ctx, x, y, (epl_probe_opts){ .folds = 3 }, &accuracy));
    CHECK(t, accuracy < 0.55);
    CHECK_FAILS(t, ctx, epl_probe(ctx, x, y, (epl_probe_opts){ .folds = 301 }, &accuracy), EPL_ERR_ARGUMENT,
                "300 rows, 300 labels, 301 folds");
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_dataset_free(d);
}

/* Turned, scaled and shifted features are the same; independent ones are not. */
TEST(cka_does_not_see_rotations_and_scales)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *a = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(50, 2)), *b = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(50, 2));
    epl_tensor  *c = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(50, 1)), *short_one = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(49, 1));
    double       x = 0;
    epl_tensor_fill_normal(a, t->rng, 0, 1);
    for (int i = 0; i < 50; i++) {
        const double u = epl_tensor_get(a, 2 * i), v = epl_tensor_get(a, 2 * i + 1);
        epl_tensor_set(b, 2 * i, 3 * (0.6 * u - 0.8 * v) + 7);
        epl_tensor_set(b, 2 * i + 1, 3 * (0.8 * u + 0.6 * v));
        epl_tensor_set(c, i, i % 2);
    }
    CHECK_OK(t, ctx, epl_cka(ctx, a, b, &x));
    CHECK_NEAR(t, x, 1, .atol = 1e-5);
    CHECK_OK(t, ctx, epl_cka(ctx, a, c, &x));
    CHECK(t, x >= 0 && x < 0.5);
    CHECK_FAILS(t, ctx, epl_cka(ctx, a, short_one, &x), EPL_ERR_SHAPE, "features of the same samples");
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_tensor_free(c);
    epl_tensor_free(short_one);
}
