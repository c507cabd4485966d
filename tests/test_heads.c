/* Heads: cosines with class directions, distances to prototypes, on any classifier of the zoo; what holds exactly of
 * their losses. */
#include "common/check.h"
#include "common/expect.h"

#include <espalier/espalier.h>

/* Normalised softmax of one feature vector and class matrix [D, C]: loss, and the gradients of both, as f32 program. */
typedef struct nsl {
    double loss;
    float  logits[16], dx[64], dw[256];
} nsl;

static nsl run_nsl(test *t, epl_context *ctx, const float *x, const float *w, int d, int c, double scale, int64_t label)
{
    epl_graph *g = epl_graph_new(ctx, "nsl");
    epl_value *in = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, d), NULL), *y = epl_input(g, "y", EPL_I64, EPL_SHAPE(1), NULL), *grad[2];
    epl_value *logits = epl_cosine_head(g, in, (epl_cosine_head_opts){ .classes = c, .scale = scale });
    epl_value *loss   = epl_softmax_cross_entropy(g, logits, y, (epl_cross_entropy_opts){ 0 });
    epl_value *of[]   = { in, epl_graph_find(g, "head.weight") };
    CHECK_OK(t, ctx, epl_gradient(g, loss, 2, of, grad));
    epl_output(g, "loss", loss);
    epl_output(g, "logits", logits);
    epl_output(g, "dx", grad[0]);
    epl_output(g, "dw", grad[1]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_weights *weights = epl_weights_new(ctx);
    epl_tensor  *tw      = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(d, c));
    memcpy(tw->data, w, epl_tensor_bytes(tw));
    CHECK_OK(t, ctx, epl_weights_put_take(weights, "head.weight", tw));
    epl_program *p = epl_program_new(g, weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    memcpy(epl_program_input(p, 0)->data, x, (size_t)d * sizeof *x);
    *(int64_t *)epl_program_input(p, 1)->data = label;
    CHECK_OK(t, ctx, epl_program_run(p));
    nsl r = { .loss = epl_tensor_get(epl_program_output(p, 0), 0) };
    memcpy(r.logits, epl_program_output(p, 1)->data, (size_t)c * sizeof(float));
    memcpy(r.dx, epl_program_output(p, 2)->data, (size_t)d * sizeof(float));
    memcpy(r.dw, epl_program_output(p, 3)->data, (size_t)(d * c) * sizeof(float));
    epl_program_free(p);
    epl_weights_free(weights);
    epl_graph_free(g);
    return r;
}

static void draw(test *t, float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = epl_rng_normal(t->rng);
}

PROPERTY(lengths_change_nothing_and_are_never_pulled, 10)
{
    enum { D = 6, C = 4 };
    epl_context *ctx = test_context(t);
    float x[D], w[D * C], longer[D], wider[D * C];
    draw(t, x, D);
    draw(t, w, D * C);
    const nsl a = run_nsl(t, ctx, x, w, D, C, 5, 2);
    for (int i = 0; i < D; i++)
        longer[i] = 7.5f * x[i];
    for (int i = 0; i < D * C; i++)
        wider[i] = w[i] * (i % C == 1 ? 0.3f : 1);
    CHECK_NEAR(t, run_nsl(t, ctx, longer, wider, D, C, 5, 2).loss, a.loss, .rtol = 1e-5, .atol = 1e-5);
    double along = 0, size = 0;
    for (int i = 0; i < D; i++) {
        along += (double)a.dx[i] * x[i];
        size += fabs((double)a.dx[i] * x[i]);
    }
    CHECK(t, fabs(along) <= 1e-5 * size);
    for (int c = 0; c < C; c++) {
        along = size = 0;
        for (int i = 0; i < D; i++) {
            along += (double)a.dw[i * C + c] * w[i * C + c];
            size += fabs((double)a.dw[i * C + c] * w[i * C + c]);
        }
        CHECK(t, fabs(along) <= 1e-5 * size);
        CHECK(t, fabs((double)a.logits[c]) <= 5 * (1 + 1e-6));
    }
}

PROPERTY(gradients_agree_with_differences, 5)
{
    enum { D = 5, C = 3 };
    epl_context *ctx = test_context(t);
    float x[D], w[D * C];
    draw(t, x, D);
    draw(t, w, D * C);
    const nsl a = run_nsl(t, ctx, x, w, D, C, 3, 1);
    for (int i = 0; i < D; i++) {
        const float at = x[i], h = 1e-2f;
        x[i] = at + h;
        const double above = run_nsl(t, ctx, x, w, D, C, 3, 1).loss;
        x[i] = at - h;
        const double below = run_nsl(t, ctx, x, w, D, C, 3, 1).loss;
        x[i] = at;
        CHECK_NEAR(t, (above - below) / (2 * (double)h), (double)a.dx[i], .rtol = 2e-2, .atol = 2e-3);
    }
}

TEST(known_losses)
{
    epl_context *ctx = test_context(t);
    const float x[4] = { 1, 2, -1, 0.5f };
    float       equal[4 * 7], two[4 * 2];
    for (int i = 0; i < 4; i++) {
        for (int c = 0; c < 7; c++)
            equal[i * 7 + c] = (float)(i + 1);
        two[2 * i]     = x[i];
        two[2 * i + 1] = -x[i];
    }
    CHECK_NEAR(t, run_nsl(t, ctx, x, equal, 4, 7, 16, 3).loss, log(7), .rtol = 1e-5);
    for (double s = 0.5; s <= 4; s *= 2)
        CHECK_NEAR(t, run_nsl(t, ctx, x, two, 4, 2, s, 0).loss, log1p(exp(-2 * s)), .rtol = 1e-5, .atol = 1e-6);
}

/* Directions of a simplex: sqrt(C / (C - 1)) (I - 1 1^T / C). */
PROPERTY(a_simplex_reaches_the_bound, 6)
{
    enum { MOST = 7 };
    epl_context *ctx = test_context(t);
    const int    c = 2 + t->index;
    float        w[MOST * MOST], x[MOST];
    for (int i = 0; i < c; i++)
        for (int k = 0; k < c; k++)
            w[i * c + k] = (float)(sqrt(c / (c - 1.0)) * ((i == k) - 1.0 / c));
    for (int i = 0; i < c; i++)
        x[i] = 3 * w[i * c];
    for (double s = 1; s <= 16; s *= 4) {
        const double others = (c - 1) * exp(-s * c / (c - 1.0));
        const nsl    r = run_nsl(t, ctx, x, w, c, c, s, 0);
        CHECK_NEAR(t, r.loss, log1p(others), .atol = 1e-4);
        double sum = 0;
        for (int k = 0; k < c; k++)
            sum += exp((double)r.logits[k]);
        CHECK_NEAR(t, exp((double)r.logits[0]) / sum, 1 / (1 + others), .atol = 1e-4);
    }
}

TEST(zeros_have_no_direction_and_a_finite_gradient)
{
    epl_context *ctx = test_context(t);
    const float  x[3] = { 0 }, w[6] = { 1, 0, 0, 1, 1, 1 };
    const nsl    r = run_nsl(t, ctx, x, w, 3, 2, 16, 0);
    CHECK_NEAR(t, r.logits[0], 0, .atol = 0);
    CHECK_NEAR(t, r.loss, log(2), .rtol = 1e-6);
    for (int i = 0; i < 3; i++)
        CHECK(t, isfinite(r.dx[i]));
}

TEST(a_learned_scale_starts_where_it_is_told)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "learned");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 2), NULL);
    epl_output(g, "logits", epl_cosine_head(g, x, (epl_cosine_head_opts){ .classes = 3, .temperature = 0.25, .learn_scale = true }));
    CHECK_INT(t, epl_graph_n_parameters(g), 2 * 3 + 1);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    memcpy(epl_weights_find(m->weights, "head.weight")->data, (float[]){ 1, 0, -1, 0, 1, 0 }, 6 * sizeof(float));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    memcpy(epl_program_input(p, 0)->data, (float[]){ 5, 0 }, 2 * sizeof(float));
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_CLOSE_F32(t, epl_program_output(p, 0)->data, ((const float[]){ 4, 0, -4 }), 3, .atol = 1e-5);
    epl_program_free(p);
    epl_model_free(m);
}

TEST(what_a_cosine_head_refuses)
{
    epl_context *ctx = test_context(t);
    static const struct {
        int64_t width;
        epl_cosine_head_opts o;
        const char *words;
    } wrong[] = { { 1, { .classes = 3 }, "width 1" }, { 4, { .classes = 0 }, "0 classes" },
                  { 4, { .classes = 3, .scale = -2 }, "the scale is -2, but has to be above 0" } };
    for (size_t i = 0; i < EPL_COUNT(wrong); i++) {
        epl_graph *g = epl_graph_new(ctx, "wrong");
        epl_cosine_head(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, wrong[i].width), NULL), wrong[i].o);
        CHECK_FAILS(t, ctx, epl_graph_finish(g), i == 2 ? EPL_ERR_ARGUMENT : EPL_ERR_SHAPE, wrong[i].words);
        epl_graph_free(g);
    }
}

/* ---- prototypes ---- */

TEST(distances_are_exact_and_never_negative)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "prototypes");
    epl_value   *z   = epl_input(g, "z", EPL_F32, EPL_SHAPE(3, 40), NULL);
    epl_output(g, "distances", epl_prototypes(g, z, (epl_prototypes_opts){ .count = 3 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    const epl_tensor *p = epl_weights_find(m->weights, "prototypes.vectors");
    for (int64_t i = 0; i < 120; i++)
        CHECK(t, epl_tensor_get(p, i) >= 0 && epl_tensor_get(p, i) < 1);
    epl_program *run = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, run);
    memcpy(epl_program_input(run, 0)->data, p->data, epl_tensor_bytes(p)); // the codes are the prototypes
    CHECK_OK(t, ctx, epl_program_run(run));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            double d = 0;
            for (int k = 0; k < 40; k++)
                d += pow(epl_tensor_get(p, i * 40 + k) - epl_tensor_get(p, j * 40 + k), 2);
            CHECK(t, epl_tensor_get(epl_program_output(run, 0), i * 3 + j) >= 0);
            CHECK_NEAR(t, epl_tensor_get(epl_program_output(run, 0), i * 3 + j), d, .atol = 1e-4);
        }
    epl_program_free(run);
    epl_model_free(m);
}

TEST(r1_and_r2_of_the_hand_case)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "hand");
    const double d[] = { 0, 1, 5, 4, 1, 1 }; // (0,0), (2,0) to (0,0), (1,0), (2,1)
    epl_value   *v   = expect_constant(g, EPL_F64, EPL_SHAPE(2, 3), d, 6), *dd = NULL;
    expect_value(t, __FILE__, __LINE__, epl_prototype_r1(g, v), EPL_SHAPE(3), (const double[]){ 0, 1, 1 }, 3);
    expect_value(t, __FILE__, __LINE__, epl_prototype_r2(g, v), EPL_SHAPE(2), (const double[]){ 0, 1 }, 2);
    epl_value *sum = epl_reduce_sum(g, epl_prototype_r1(g, v), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, sum, 1, &v, &dd)); // the column (1, 1) is a tie: the first sample gets it
    expect_value(t, __FILE__, __LINE__, dd, EPL_SHAPE(2, 3), (const double[]){ 1, 1, 0, 0, 0, 1 }, 6);
    epl_graph_free(g);
}

/* ---- on any classifier ---- */

/* Its smallest form, with more options. */
static const char *with(const epl_zoo_entry *e, const char *options, char out[256])
{
    const char *one_classifier = strcmp(e->name, "deit") == 0 ? "distilled=0," : "";
    snprintf(out, 256, "%s:%s%s%s%s", e->name, e->small ? e->small : "", e->small ? "," : "", one_classifier, options);
    return out;
}

PROPERTY(every_classifier_takes_every_head, epl_zoo_count())
{
    epl_context         *ctx = test_context(t);
    const epl_zoo_entry *e   = epl_zoo_at(t->index);
    char                 text[256];
    if (e->own_head)
        return;
    epl_graph *g = epl_zoo_build(ctx, with(e, "head=cosine,embed=6,head_scale=4", text));
    CHECK_OK(t, ctx, g);
    const epl_value *embed = epl_graph_find(g, "embed.weight");
    CHECK(t, embed != NULL);
    CHECK_INT(t, epl_channels(embed), 6);
    CHECK_STR(t, epl_node_op_name(epl_producer(epl_graph_output_at(g, 0))), "Affine");
    const int64_t classes = epl_channels(epl_graph_output_at(g, 0));
    epl_graph_free(g);
    g = epl_zoo_build(ctx, with(e, "head=prototype,prototypes=5", text));
    CHECK_OK(t, ctx, g);
    CHECK_INT(t, epl_graph_n_outputs(g), 2);
    CHECK_INT(t, epl_channels(epl_graph_output_at(g, 0)), classes);
    CHECK_INT(t, epl_channels(epl_graph_output_at(g, 1)), 5);
    epl_graph_free(g);
}

TEST(options_of_heads_are_checked)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "mlp:head=cosin"), EPL_ERR_ARGUMENT, "linear|cosine|prototype");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "mlp:head_scale=-1"), EPL_ERR_ARGUMENT, "from 0 to 10000");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "mlp:embed=1,head=cosine"), EPL_ERR_SHAPE, "width 1");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "deit:distilled=1,head=cosine"), EPL_ERR_ARGUMENT, "two classifiers");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "unet:head=cosine"), EPL_ERR_ARGUMENT, "unet has no option 'head'");
}
