/* Blocks that run strip by strip: what is found, that they compute the same, also compiled, and what stays as it is. */
#include "common/check.h"

#include <espalier/espalier.h>

typedef enum kind { CONV_FIRST, MBCONV, CONVNEXT, PERCEPTRON, N_KINDS } kind;

static epl_value *block(epl_graph *g, epl_value *x, kind k, int stride, int out)
{
    const int c = (int)epl_channels(x);
    switch (k) {
    case CONV_FIRST: return epl_conv_first(g, x, (epl_conv_first_opts){ .group_width = 4, .stride = stride, .out = out });
    case MBCONV:
        return epl_inverted_bottleneck(g, x,
                                       (epl_inverted_opts){ .name = "mbconv",
                                                            .out = out,
                                                            .hidden = 4 * c,
                                                            .stride = stride,
                                                            .activation = "silu" });
    case CONVNEXT:   return epl_convnext_unit(g, x, (epl_convnext_unit_opts){ .layer_scale = 0.5 });
    default:         return epl_conv_first(g, x, (epl_conv_first_opts){ .no_spatial = true });
    }
}

static epl_model *model_of(test *t, epl_context *ctx, kind k, int64_t n, int64_t h, int64_t w, int c, int stride, int out)
{
    epl_graph *g = epl_graph_new(ctx, "block");
    epl_output(g, "y", block(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(n, h, w, c), NULL), k, stride, out));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, t->seed));
    for (int i = 0; i < epl_weights_count(m->weights); i++) // norms that do something
        if (epl_glob("*.bn.*", epl_weights_name(m->weights, i)))
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), t->rng, 0.5, 1.5);
    return m;
}

static int n_loops(const epl_program *p)
{
    int n = 0;
    for (const epl_node *k = epl_first(epl_program_graph(p)); k; k = epl_next(k))
        n += strcmp(epl_node_op_name(k), "Loop") == 0;
    return n;
}

/* The largest difference of the two programs, over the largest value. */
static double difference(test *t, epl_program *a, epl_program *b)
{
    epl_tensor_fill_normal(epl_program_input(a, 0), t->rng, 0, 1);
    memcpy(epl_program_input(b, 0)->data, epl_program_input(a, 0)->data, epl_tensor_bytes(epl_program_input(a, 0)));
    CHECK(t, epl_program_run(a) && epl_program_run(b));
    const epl_tensor *x = epl_program_output(a, 0), *y = epl_program_output(b, 0);
    double most = 0, largest = 0;
    for (int64_t i = 0; i < epl_tensor_count(x); i++) {
        most    = fmax(most, fabs(epl_tensor_get(x, i) - epl_tensor_get(y, i)));
        largest = fmax(largest, fabs(epl_tensor_get(x, i)));
    }
    return most / largest;
}

PROPERTY(strips_compute_what_layers_compute, 24)
{
    epl_context *ctx = test_context(t);
    const kind   k = t->index % N_KINDS;
    const int    stride = k == CONVNEXT || k == PERCEPTRON ? 1 : 1 + t->index / N_KINDS % 2, c = 4 * (1 + (int)epl_rng_below(t->rng, 3));
    const int64_t side[] = { 1, 2, 6, 7, 12, 15 }, n = t->index % 2 ? 7 : 1, h = 2 * side[epl_rng_below(t->rng, 6)],
                  w = side[epl_rng_below(t->rng, 6)];
    epl_model   *m = model_of(t, ctx, k, n, h, w, c, stride, stride == 1 ? c : c + 4);
    epl_program *layers = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    for (size_t workspace = 2 << 10; workspace <= 512 << 10; workspace *= 16) {
        epl_program *strips = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .block_bytes = workspace });
        CHECK_OK(t, ctx, layers && strips);
        CHECK(t, difference(t, layers, strips) < 1e-5);
        epl_program_free(strips);
    }
    epl_program_free(layers);
    epl_model_free(m);
}

/* Halves the memory and more: the wide tensor is there for a strip alone. */
TEST(a_block_becomes_a_loop_that_fits_its_workspace)
{
    epl_context *ctx = test_context(t);
    for (kind k = CONV_FIRST; k < N_KINDS; k++) {
        epl_model   *m = model_of(t, ctx, k, 2, 48, 48, 16, 1, 16);
        epl_program *layers = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
        epl_program *strips = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .block_bytes = 512 << 10 });
        CHECK_OK(t, ctx, layers && strips);
        CHECK_INT(t, n_loops(layers), 0);
        CHECK_INT(t, n_loops(strips), 1);
        CHECK(t, epl_program_memory_of(strips).arena < epl_program_memory_of(layers).arena / 2);
        CHECK(t, difference(t, layers, strips) < 1e-5);
        CHECK_NEAR(t, epl_graph_cost(epl_program_graph(strips)).macs / epl_graph_cost(m->graph).macs, 1, 0.3);
        epl_program_free(layers);
        epl_program_free(strips);
        epl_model_free(m);
    }
}

/* Rows outside of the map are a convolution's padding and hold no bias of the layer before, whatever its kernel and stride. */
TEST(padding_stays_zero_between_strips)
{
    static const struct {
        int kernel, stride, pad;
    } second[] = { { 1, 1, 1 }, { 1, 2, 1 }, { 2, 2, 1 }, { 2, 3, 1 }, { 3, 1, 1 }, { 5, 1, 1 } };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(second); i++) {
        epl_graph *g = epl_graph_new(ctx, "padded");
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 22, 9, 4), NULL);
        x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "expand", .out = 64, .kernel = 1 }));
        epl_output(g, "y",
                   epl_conv(g, x,
                            (epl_conv_opts){ .name = "project",
                                             .out = 4,
                                             .kernel = second[i].kernel,
                                             .stride = second[i].stride,
                                             .pad = second[i].pad }));
        CHECK_OK(t, ctx, epl_graph_finish(g));
        epl_model *m = epl_model_new_take(g);
        CHECK_OK(t, ctx, m && epl_model_init(m, t->seed));
        epl_tensor_fill_uniform(epl_weights_find(m->weights, "expand.bias"), t->rng, 0.5, 1.5);
        epl_program *layers = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
        epl_program *strips = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .block_bytes = 48 << 10 });
        CHECK_OK(t, ctx, layers && strips);
        CHECK_INT(t, n_loops(strips), 1);
        CHECK(t, difference(t, layers, strips) < 1e-5);
        epl_program_free(layers);
        epl_program_free(strips);
        epl_model_free(m);
    }
}

/* Squeeze and excitation looks at the whole map; a second reader needs a wide tensor; what does not fit has no strip. */
TEST(what_cannot_run_in_strips_stays)
{
    epl_context *ctx = test_context(t);
    const epl_program_opts o = { .frozen = true, .block_bytes = 64 << 10 };
    for (int i = 0; i < 3; i++) {
        epl_graph *g = epl_graph_new(ctx, "stays");
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 16, 16, 8), NULL);
        if (i == 0)
            x = epl_inverted_bottleneck(g, x,
                                        (epl_inverted_opts){
                                            .name = "b", .out = 8, .hidden = 32, .squeeze = 8, .activation = "silu" });
        if (i > 0) {
            epl_value *wide = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "expand", .out = i == 2 ? 4096 : 32, .kernel = 1 }));
            if (i == 1)
                epl_output(g, "wide", wide);
            x = epl_conv(g, wide, (epl_conv_opts){ .name = "project", .out = 8, .kernel = 1 });
        }
        epl_output(g, "y", x);
        CHECK_OK(t, ctx, epl_graph_finish(g));
        epl_model *m = epl_model_new_take(g);
        CHECK_OK(t, ctx, m && epl_model_init(m, 1));
        epl_program *p = epl_program_new(m->graph, m->weights, o);
        CHECK_OK(t, ctx, p != NULL);
        CHECK_INT(t, n_loops(p), 0);
        epl_program_free(p);
        epl_model_free(m);
    }
}

TEST(a_compiled_network_in_strips_computes_the_same)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = model_of(t, ctx, MBCONV, 2, 30, 11, 8, 1, 8);
    const char  *dir = test_temp(t, "strips");
    const epl_compile_opts o = { .block_bytes = 48 << 10 };
    epl_artifact      made;
    epl_verify_result r;
    CHECK_OK(t, ctx, epl_compile(m, dir, (epl_compile_opts){ 0 }, &made));
    const size_t by_layers = made.arena;
    CHECK_OK(t, ctx, epl_compile(m, dir, o, &made));
    CHECK(t, made.arena < by_layers);
    CHECK_OK(t, ctx, epl_verify_artifact(m, dir, o, (epl_verify_opts){ .n_samples = 2 }, &r));
    CHECK(t, r.max_abs < 1e-5);
    epl_model_free(m);
}

TEST(the_report_tells_of_every_piece)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = model_of(t, ctx, CONV_FIRST, 1, 16, 16, 16, 1, 16);
    epl_table   *fits = epl_fuse_blocks_report(m->graph, 512 << 10), *tight = epl_fuse_blocks_report(m->graph, 1 << 10);
    CHECK_OK(t, ctx, fits && tight);
    char *a = epl_table_to_json(fits), *b = epl_table_to_json(tight);
    CHECK(t, strstr(a, "\"rows of a strip\":16") || strstr(a, "\"rows of a strip\": 16"));
    CHECK(t, strstr(b, "\"rows of a strip\":null") || strstr(b, "\"rows of a strip\": null"));
    epl_release(ctx, a);
    epl_release(ctx, b);
    epl_table_free(fits);
    epl_table_free(tight);
    epl_model_free(m);
}
