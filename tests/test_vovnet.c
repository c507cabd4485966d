/* One-shot aggregation: published sizes, shapes, the gate, and the arithmetic of memory access. */
#include "common/check.h"

#include <espalier/espalier.h>

/* The authors' networks, with and without the classifier; MACs at 224 x 224 (0: not published). */
static const struct {
    const char *options;
    int64_t     features, with_head;
    double      macs;
} published[] = {
    { "variant=27-slim", 3012736, 3525736, 2176695296 },
    { "variant=39", 21575296, 22600296, 7072227328 },
    { "variant=57", 35615296, 36640296, 8930144256 },
    { "variant=19-slim-dw-ese", 1384752, 1897752, 0 },
    { "variant=19-dw-ese", 5518080, 6543080, 0 },
    { "variant=19-slim-ese", 2653136, 3166136, 0 },
    { "variant=19-ese", 10180416, 11205416, 0 },
    { "variant=39-ese", 25184128, 26209128, 0 },
    { "variant=39-ese,ese=last", 23543936, 24568936, 0 },
    { "variant=57-ese", 41454912, 42479912, 0 },
    { "variant=57-ese,ese=last", 37583936, 38608936, 0 },
    { "variant=99-ese", 69523520, 70548520, 0 },
    { "variant=99-ese,ese=last", 62174272, 63199272, 0 },
};

PROPERTY(networks_have_the_published_size, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    char         text[128];
    snprintf(text, sizeof text, "vovnet:%s,classes=0", published[t->index].options);
    epl_graph *g = epl_zoo_build(ctx, text);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].features);
    CHECK_STR(t, epl_graph_output_name(g, 0), "features");
    epl_graph_free(g);
    snprintf(text, sizeof text, "vovnet:%s", published[t->index].options);
    g = epl_zoo_build(ctx, text);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].with_head);
    if (published[t->index].macs > 0)
        CHECK_INT(t, epl_graph_cost(g).macs, published[t->index].macs);
    epl_graph_free(g);
}

TEST(taps_are_at_strides_4_4_8_16_32)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "vovnet:variant=27-slim,taps=1");
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_outputs(g), 6);
    static const int size[] = { 56, 56, 28, 14, 7 }, channels[] = { 128, 128, 256, 384, 512 };
    for (int i = 0; i < 5; i++) {
        const epl_value *v = epl_graph_output_at(g, i + 1);
        CHECK_INT(t, epl_dim(v, 1), size[i]);
        CHECK_INT(t, epl_channels(v), channels[i]);
    }
    epl_graph_free(g);
}

static void fill(epl_model *m, const char *pattern, double x)
{
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        for (int64_t k = 0; epl_glob(pattern, epl_weights_name(m->weights, i)) && k < epl_tensor_count(epl_weights_at(m->weights, i)); k++)
            epl_tensor_set(epl_weights_at(m->weights, i), k, x);
}

/* What m computes of its input filled with normal numbers; the input goes to *x. The caller owns both. */
static epl_tensor *outcome(test *t, const epl_model *m, epl_tensor **x)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, m->ctx, p != NULL);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(m->ctx, epl_program_output(p, 0));
    *x = epl_tensor_copy(m->ctx, epl_program_input(p, 0));
    epl_program_free(p);
    return y;
}

static epl_model *model_of(test *t, epl_graph *g, epl_value *y)
{
    epl_output(g, "y", y);
    CHECK_OK(t, epl_graph_context(g), epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, epl_graph_context(g), m && epl_model_init(m, 5));
    return m;
}

TEST(gate_is_open_at_3_and_shut_at_minus_3)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "gate");
    epl_value   *in  = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 4, 4, 6), "N,,,");
    epl_model   *m   = model_of(t, g, epl_effective_squeeze_excite(g, in, (epl_effective_squeeze_excite_opts){ 0 }));
    epl_tensor  *x, *y, *zero;
    fill(m, "*.weight", 0);
    fill(m, "*.bias", 3);
    y = outcome(t, m, &x);
    CHECK_CLOSE(t, y, x, .atol = 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(y);
    fill(m, "*.bias", -3);
    y    = outcome(t, m, &x);
    zero = epl_tensor_new(ctx, EPL_F32, x->shape);
    CHECK_CLOSE(t, y, zero, .atol = 0);
    epl_tensor_free(zero);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* All gammas 0: what is left is x + relu(beta of the 1x1 unit). */
TEST(module_of_dead_norms_is_its_shortcut)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "module");
    epl_value   *in  = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 5, 5, 8), "N,,,");
    epl_model   *m   = model_of(t, g, epl_osa(g, in, (epl_osa_opts){ .width = 6, .out = 8, .layers = 3, .identity = true }));
    fill(m, "*.norm.weight", 0);
    fill(m, "osa.collect.norm.bias", 0.25);
    epl_tensor *x, *y = outcome(t, m, &x);
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        epl_tensor_set(x, i, epl_tensor_get(x, i) + 0.25);
    CHECK_CLOSE(t, y, x, .atol = 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* Memory access of a convolution, in elements: both feature maps and the weights, each once. */
static double access_of(const epl_node *n) { return epl_node_cost(n).bytes / 4; }

/* For a given number of multiply-adds equal widths move the least. */
TEST(equal_widths_move_the_least_memory)
{
    epl_context *ctx = test_context(t);
    const int    product = 48 * 48;
    double       equal = 0, least = INFINITY;
    for (int in = 1; in <= product; in++) {
        if (product % in)
            continue;
        epl_graph *g = epl_graph_new(ctx, "conv");
        epl_value *y = epl_conv(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 14, 14, in), NULL),
                                (epl_conv_opts){ .out = product / in, .pad = 1, .no_bias = true });
        const double access = access_of(epl_producer(y));
        CHECK_NEAR(t, access, 14.0 * 14 * (in + product / in) + 9.0 * product, .rtol = 1e-12);
        CHECK_NEAR(t, epl_node_cost(epl_producer(y)).macs, 9.0 * 14 * 14 * product, .rtol = 1e-12);
        if (in == 48)
            equal = access;
        else
            least = fmin(least, access);
        epl_graph_free(g);
    }
    const double hw = 14 * 14, macs = 9 * hw * product;
    CHECK_NEAR(t, equal, 2 * sqrt(hw * macs) / 3 + macs / hw, .rtol = 1e-12);
    CHECK(t, equal < least);
}

TEST(errors_name_both_numbers)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "bad");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8, 8, 16), NULL);
    CHECK_FAILS(t, ctx, epl_osa(g, x, (epl_osa_opts){ .width = 8, .out = 32, .identity = true }), EPL_ERR_SHAPE,
                "16 channels come in and 32");
    epl_graph_free(g);
    g = epl_graph_new(ctx, "bad");
    x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8, 8, 16), NULL);
    CHECK_FAILS(t, ctx, epl_osa(g, x, (epl_osa_opts){ .width = 8, .out = 32, .layers = -1 }), EPL_ERR_ARGUMENT, "-1 layers");
    epl_graph_free(g);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "vovnet:image=31"), EPL_ERR_ARGUMENT, "'image' is 31");
}
