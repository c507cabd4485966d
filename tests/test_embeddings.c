/* Embeddings: the network without its last layer, classes that it never saw, open sets, the sphere, imprinting. */
#include "common/check.h"

#include <espalier/espalier.h>

static epl_model *made(test *t, epl_context *ctx, const char *description)
{
    epl_model *m = epl_model_new_take(epl_zoo_build(ctx, description));
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

/* Features, times the last layer, are the network's output. */
PROPERTY(features_are_what_the_last_layer_reads, 3)
{
    static const char *const heads[] = { "mlp:image=4,width=8,classes=3", "mlp:image=4,width=8,classes=3,head=cosine,embed=5,head_scale=7",
                                         "cnn:image=12,width=4,stages=2,depth=1,classes=3" };
    static const int widths[] = { 8, 5, 8 };
    epl_context *ctx = test_context(t);
    epl_model   *m = made(t, ctx, heads[t->index]), *f = epl_feature_model(m);
    CHECK_OK(t, ctx, f);
    CHECK_STR(t, epl_graph_output_name(f->graph, 0), "features");
    CHECK_INT(t, epl_channels(epl_graph_output_at(f->graph, 0)), widths[t->index]);
    epl_program *whole = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }),
                *part = epl_program_new(f->graph, f->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, whole && part);
    epl_tensor_fill_normal(epl_program_input(whole, 0), t->rng, 0, 1);
    memcpy(epl_program_input(part, 0)->data, epl_program_input(whole, 0)->data, epl_tensor_bytes(epl_program_input(whole, 0)));
    CHECK_OK(t, ctx, epl_program_run(whole) && epl_program_run(part));
    const epl_tensor *w = epl_weights_find(m->weights, "head.weight"), *b = epl_weights_find(m->weights, "head.bias"),
                     *z = epl_program_output(part, 0);
    for (int c = 0; c < 3; c++) {
        double y = b ? epl_tensor_get(b, c) : 0, length = 0, square = 0;
        for (int k = 0; k < widths[t->index]; k++) {
            y += epl_tensor_get(z, k) * epl_tensor_get(w, k * 3 + c);
            length += pow(epl_tensor_get(w, k * 3 + c), 2);
            square += pow(epl_tensor_get(z, k), 2);
        }
        if (t->index == 1) {
            y *= 7 / sqrt(length);
            CHECK_NEAR(t, square, 1, .atol = 1e-6);
        }
        CHECK_NEAR(t, epl_tensor_get(epl_program_output(whole, 0), c), y, .rtol = 1e-4, .atol = 1e-5);
    }
    epl_program_free(whole);
    epl_program_free(part);
    epl_model_free(f);
    epl_model_free(m);
}

TEST(a_network_without_weights_has_no_features)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "bare");
    epl_output(g, "y", epl_relu(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4), NULL)));
    epl_model *m = epl_model_new_take(g);
    CHECK_FAILS(t, ctx, epl_feature_model(m), EPL_ERR_ARGUMENT, "is not what a linear layer makes");
    epl_model_free(m);
}

TEST(rows_come_with_their_classes)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = epl_dataset_open(ctx, "shapes:image=8,count=150", (epl_dataset_opts){ .seed = 1 });
    epl_model   *m   = made(t, ctx, "mlp:image=8,channels=3,width=6,classes=0");
    epl_embedded e;
    CHECK_OK(t, ctx, d && epl_embed(m, d, (epl_features_opts){ .layer = "features" }, &e));
    CHECK_INT(t, e.n, epl_dataset_info_of(d).count);
    CHECK_INT(t, e.width, 6);
    int64_t y;
    for (int64_t i = 0; i < e.n; i++) {
        CHECK_OK(t, ctx, epl_dataset_fetch(d, i, NULL, &y));
        CHECK_INT(t, e.y[i], y);
    }
    epl_embedded_release(&e);
    epl_model_free(m);
    epl_dataset_free(d);
}

TEST(area_under_the_curve_by_hand)
{
    epl_context *ctx = test_context(t);
    CHECK_NEAR(t, epl_auroc(ctx, (double[]){ 3, 2 }, 2, (double[]){ 1, 2 }, 2), 3.5 / 4, .atol = 1e-15);
    CHECK_NEAR(t, epl_auroc(ctx, (double[]){ 1 }, 1, (double[]){ 2, 3, 4 }, 3), 0, .atol = 0);
    CHECK_NEAR(t, epl_auroc(ctx, (double[]){ 1, 1, 1 }, 3, (double[]){ 1, 1 }, 2), 0.5, .atol = 1e-15);
    CHECK(t, isnan(epl_auroc(ctx, NULL, 0, (double[]){ 1 }, 1)));
}

/* ---- classes around the directions of a simplex in space ---- */

enum { CLASSES = 4, EACH = 12, WIDTH = 3 };
static const float corners[CLASSES][WIDTH] = { { 1, 1, 1 }, { 1, -1, -1 }, { -1, 1, -1 }, { -1, -1, 1 } };

static void clusters(epl_context *ctx, test *t, double noise, epl_embedded *e, float z[][WIDTH], int64_t *y)
{
    for (int i = 0; i < CLASSES * EACH; i++) {
        y[i] = i % CLASSES;
        for (int k = 0; k < WIDTH; k++)
            z[i][k] = (float)(2 * (double)corners[y[i]][k] + noise * (double)epl_rng_normal(t->rng));
    }
    *e = (epl_embedded){ .ctx = ctx, .n = CLASSES * EACH, .width = WIDTH, .z = &z[0][0], .y = y };
}

TEST(novel_classes_are_found_where_they_are_apart)
{
    epl_context  *ctx = test_context(t);
    float         z[CLASSES * EACH][WIDTH];
    int64_t       y[CLASSES * EACH];
    epl_embedded e;
    clusters(ctx, t, 0.1, &e, z, y);
    const int novel[] = { 1, 3 }, base[] = { 0, 2 }, twice[] = { 1, 1 };
    for (int joint = 0; joint < 2; joint++)
        for (int shots = 0; shots <= 5; shots += 5)
            for (int euclidean = 0; euclidean < 2; euclidean++) {
                epl_novel_result r;
                CHECK_OK(t, ctx,
                         epl_novel_classes(&e, &e,
                                           (epl_novel_opts){ .novel = novel,
                                                             .n_novel = 2,
                                                             .base = base,
                                                             .n_base = 2 * joint,
                                                             .shots = shots,
                                                             .episodes = 7,
                                                             .euclidean = euclidean },
                                           &r));
                CHECK_NEAR(t, r.accuracy, 1, .atol = 1e-12);
                CHECK_NEAR(t, r.interval, 0, .atol = 1e-12);
                CHECK_INT(t, r.episodes, shots ? 7 : 1);
                CHECK(t, joint ? r.base_accuracy == 1 : isnan(r.base_accuracy));
            }
    epl_open_set_result open;
    const epl_novel_opts o = { .novel = novel, .n_novel = 2, .base = base, .n_base = 2 };
    CHECK_OK(t, ctx, epl_open_set(&e, &e, o, &open));
    CHECK_NEAR(t, open.auroc, 1, .atol = 0);
    CHECK_NEAR(t, open.base_accuracy, 1, .atol = 0);
    CHECK_NEAR(t, open.false_known, 0, .atol = 0);
    CHECK_NEAR(t, open.accepted_accuracy, 23.0 / 24, .atol = 1e-12); // floor(24 / 20) = 1 falls below
    epl_novel_result r;
    CHECK_FAILS(t, ctx, epl_novel_classes(&e, &e, (epl_novel_opts){ .novel = twice, .n_novel = 2, .shots = 1 }, &r),
                EPL_ERR_ARGUMENT, "named twice");
    CHECK_FAILS(t, ctx, epl_novel_classes(&e, &e, (epl_novel_opts){ .novel = novel, .n_novel = 2, .shots = 13 }, &r), EPL_ERR_ARGUMENT,
                "class 1 has 12 samples in support, 13 are needed");
    CHECK_FAILS(t, ctx, epl_open_set(&e, &e, (epl_novel_opts){ .novel = novel, .n_novel = 2 }, &open), EPL_ERR_ARGUMENT, "both are needed");
}

/* Drawn anew in each episode, from the seed alone. */
TEST(episodes_differ_and_repeat)
{
    epl_context  *ctx = test_context(t);
    float         z[CLASSES * EACH][WIDTH];
    int64_t       y[CLASSES * EACH];
    epl_embedded e;
    clusters(ctx, t, 2.5, &e, z, y);
    const int novel[] = { 0, 1, 2, 3 };
    epl_novel_opts   o = { .novel = novel, .n_novel = 4, .shots = 1, .episodes = 20, .seed = 5 };
    epl_novel_result a, b;
    CHECK_OK(t, ctx, epl_novel_classes(&e, &e, o, &a) && epl_novel_classes(&e, &e, o, &b));
    CHECK(t, a.accuracy == b.accuracy && a.interval > 0 && a.accuracy > 0.25 && a.accuracy < 1);
}

TEST(the_sphere_of_a_simplex)
{
    epl_context  *ctx = test_context(t);
    float         z[CLASSES * EACH][WIDTH];
    int64_t       y[CLASSES * EACH];
    epl_embedded e;
    epl_sphere    s;
    clusters(ctx, t, 0, &e, z, y);
    CHECK_OK(t, ctx, epl_sphere_of(&e, &s));
    CHECK_INT(t, s.n_classes, CLASSES);
    CHECK_NEAR(t, s.intra, 1, .atol = 1e-6);
    CHECK_NEAR(t, s.inter, -1.0 / 3, .atol = 1e-6);
    CHECK_NEAR(t, s.mean_cosine, s.simplex, .atol = 1e-6);
    CHECK_NEAR(t, s.effective_dimension, 3, .atol = 1e-5);
    CHECK_NEAR(t, s.alignment, 0, .atol = 1e-5);
    CHECK_NEAR(t, s.verification, 1, .atol = 0);
    CHECK_NEAR(t, s.recall1, 1, .atol = 1e-12);
    CHECK_NEAR(t, s.intra_share[EPL_SPHERE_BINS - 1], 1, .atol = 1e-12);
    CHECK_NEAR(t, s.inter_share[13], 1, .atol = 1e-12); // (-1/3 + 1) / 2 of 40 bins
    const double same = CLASSES * EACH * (EACH - 1) / 2.0, other = 6.0 * EACH * EACH;
    CHECK_NEAR(t, s.uniformity, log((same + other * exp(-2 * (2 + 2.0 / 3))) / (same + other)), .rtol = 1e-5);
}

TEST(an_imprinted_class_is_the_examples_direction)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = made(t, ctx, "mlp:image=4,width=8,classes=3,head=cosine,embed=5");
    epl_model   *f   = epl_feature_model(m);
    epl_program *p   = f ? epl_program_new(f->graph, f->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p) && epl_imprint_class(m, epl_program_output(p, 0)));
    CHECK_INT(t, epl_channels(epl_graph_output_at(m->graph, 0)), 4);
    CHECK_OK(t, ctx, epl_model_check(m));
    epl_program *q = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, q);
    memcpy(epl_program_input(q, 0)->data, epl_program_input(p, 0)->data, epl_tensor_bytes(epl_program_input(p, 0)));
    CHECK_OK(t, ctx, epl_program_run(q));
    CHECK_NEAR(t, epl_tensor_get(epl_program_output(q, 0), 3), 16, .rtol = 1e-5); // cosine 1 at the scale of 3 classes
    for (int c = 0; c < 3; c++)
        CHECK(t, epl_tensor_get(epl_program_output(q, 0), c) < 16);
    epl_tensor *narrow = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 4));
    CHECK_FAILS(t, ctx, epl_imprint_class(m, narrow), EPL_ERR_SHAPE, "the head reads [k, 5]");
    epl_tensor_free(narrow);
    const char *path = test_temp(t, "imprinted.safetensors");
    CHECK_OK(t, ctx, epl_model_save(m, path));
    epl_model *again = epl_model_load(ctx, path);
    CHECK_OK(t, ctx, again);
    epl_model_free(again);
    epl_program_free(p);
    epl_program_free(q);
    epl_model_free(f);
    epl_model_free(m);
}
