/* Sparse networks with names, and products with sparse weights beside dense ones. */
#include "common/check.h"

#include <espalier/espalier.h>

/* Multiply-adds of the network, and of its 1x1 convolutions. */
static void count(const epl_graph *g, double *all, double *pointwise, double *weights)
{
    *all = *pointwise = *weights = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n)) {
        const double macs = epl_node_cost(n).macs;
        *all += macs;
        if (strcmp(epl_node_op_name(n), "Conv") != 0 || epl_attr_i(n, "group") != 1 || epl_dim(epl_node_input(n, 1), 0) != 1)
            continue;
        *pointwise += macs;
        *weights += (double)epl_shape_count(epl_shape_of(epl_node_input(n, 1)));
    }
}

TEST(published_sizes_and_what_sparsity_leaves)
{
    static const struct {
        const char *name;
        int64_t     parameters;
        double      macs, weights, left; /* 0: not published */
    } nets[] = { { "fsc-mbv1-1.0-90", 4231976, 568740352, 3139584, 83197235 }, { "fsc-mbv2-1.4-85", 6108776, 582195824, 4176256, 0 },
                 { "fsc-mbv2-1.8-80", 0, 0, 0, 230998995 }, { "fsc-efficientnet-b0-80", 5288548, 0, 0, 0 } };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        const epl_sparse_preset *p = epl_sparse_preset_find(nets[i].name);
        epl_graph *g = p ? epl_zoo_build(ctx, p->model) : NULL;
        double     all, pointwise, weights;
        CHECK_OK(t, ctx, g);
        count(g, &all, &pointwise, &weights);
        if (nets[i].parameters)
            CHECK_INT(t, epl_graph_n_parameters(g), nets[i].parameters);
        if (nets[i].macs)
            CHECK_NEAR(t, all, nets[i].macs, 0);
        if (nets[i].weights)
            CHECK_NEAR(t, weights, nets[i].weights, 0);
        if (nets[i].left)
            CHECK_NEAR(t, all - p->sparsity * pointwise, nets[i].left, .atol = 1);
        epl_graph_free(g);
    }
}

/* No 1x1 convolution inside a unit reads more than 512 channels; the costs stay. */
TEST(what_is_made_for_a_cache_has_few_channels)
{
    epl_context *ctx = test_context(t);
    epl_graph   *plain = epl_zoo_build(ctx, "mobilenet-v2"), *g = epl_zoo_build(ctx, epl_sparse_preset_find("fsc-mbv2-cache-85")->model);
    CHECK_OK(t, ctx, plain && g);
    int units[2] = { 0, 0 };
    for (int k = 0; k < 2; k++)
        for (const epl_node *n = epl_first(k ? g : plain); n; n = epl_next(n)) {
            if (strcmp(epl_node_op_name(n), "Conv") != 0)
                continue;
            units[k] += epl_attr_i(n, "group") > 1;
            CHECK(t, k == 0 || epl_channels(epl_node_input(n, 0)) <= 512);
        }
    printf("    %d units, %.4g multiply-adds; for a cache %d, %.4g\n", units[0], epl_graph_cost(plain).macs, units[1],
           epl_graph_cost(g).macs);
    CHECK(t, units[1] > units[0]);
    CHECK_NEAR(t, epl_graph_cost(g).macs, epl_graph_cost(plain).macs, .rtol = 0.1);
    epl_graph_free(plain);
    epl_graph_free(g);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "mobilenet-v2:hidden=9"), EPL_ERR_ARGUMENT, "at least 32");
}

TEST(presets_build_and_prune)
{
    epl_context *ctx = test_context(t);
    for (int i = 0; i < epl_sparse_n_presets(); i++) {
        epl_graph *g = epl_zoo_build(ctx, epl_sparse_preset_at(i)->model);
        CHECK_OK(t, ctx, g);
        epl_graph_free(g);
    }
    epl_model   *m = epl_model_new_take(epl_zoo_build(ctx, "mobilenet:width=0.25,image=32,classes=4"));
    const epl_sparse_preset *p = epl_sparse_preset_find("fsc-mbv1-1.0-90");
    CHECK_OK(t, ctx, m && epl_model_init(m, 3) && epl_sparse_preset_prune(m, p));
    const epl_tensor *w = epl_weights_find(m->weights, "block13.pointwise.conv.weight"); /* blocks of four outputs */
    int64_t kept = 0;
    for (int64_t at = 0; at < epl_tensor_count(w); at += 4) {
        int n = 0;
        for (int k = 0; k < 4; k++)
            n += epl_tensor_get(w, at + k) != 0;
        CHECK(t, n == 0 || n == 4);
        kept += n;
    }
    CHECK_NEAR(t, (double)kept / (double)epl_tensor_count(w), 0.1, .atol = 1e-3);
    w = epl_weights_find(m->weights, "stem.conv.weight");
    for (int64_t k = 0; k < epl_tensor_count(w); k++)
        CHECK(t, epl_tensor_get(w, k) != 0);
    CHECK(t, !epl_sparse_preset_find("fsc-mbv9"));
    epl_model_free(m);
    m = epl_model_new_take(epl_zoo_build(ctx, "efficientnet:image=32,width=0.2,classes=40")); /* the classifier is as sparse as the rest */
    CHECK_OK(t, ctx, m && epl_model_init(m, 3) && epl_sparse_preset_prune(m, epl_sparse_preset_find("fsc-efficientnet-b0-80")));
    w = epl_weights_find(m->weights, "head.weight");
    kept = 0;
    for (int64_t at = 0; at < epl_tensor_count(w); at++)
        kept += epl_tensor_get(w, at) != 0;
    CHECK_INT(t, kept, epl_tensor_count(w) - llround(0.8 * (double)epl_tensor_count(w)));
    epl_model_free(m);
    m = epl_model_new_take(epl_zoo_build(ctx, "cnn:image=8"));
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    CHECK_FAILS(t, ctx, epl_sparse_preset_prune(m, p), EPL_ERR_ARGUMENT, "no 1x1 convolution");
    epl_model_free(m);
}

TEST(products_are_measured_and_packed)
{
    epl_context *ctx = test_context(t);
    epl_bench_spmm_result r;
    epl_bench_spmm_opts   o = { .in = 64, .out = 128, .pixels = 49, .sparsity = 0.9, .seconds = 1e-3 };
    CHECK_OK(t, ctx, epl_bench_spmm(ctx, o, &r));
    CHECK_INT(t, r.nonzero, 819); /* of 8192 */
    CHECK_INT(t, r.rows, 1);
    CHECK(t, r.sparse_s > 0 && r.dense_s > 0 && r.packed_bytes >= 8 * 819 && r.packed_bytes < r.dense_bytes / 3);
    for (o.block = 2; o.block <= 4; o.block *= 2) {
        CHECK_OK(t, ctx, epl_bench_spmm(ctx, o, &r));
        CHECK_INT(t, r.rows, o.block);
        CHECK_NEAR(t, (double)r.nonzero, 819, .atol = 3);
    }
    o.sparsity = 1, o.block = 4;
    CHECK_OK(t, ctx, epl_bench_spmm(ctx, o, &r));
    CHECK_INT(t, r.nonzero, 0);
    o.pixels = 0;
    CHECK_FAILS(t, ctx, epl_bench_spmm(ctx, o, &r), EPL_ERR_SHAPE, "with 0 pixels");
    o.pixels = 4, o.block = 3;
    CHECK_FAILS(t, ctx, epl_bench_spmm(ctx, o, &r), EPL_ERR_ARGUMENT, "blocks of 3");
    o.block = 1, o.sparsity = 1.5;
    CHECK_FAILS(t, ctx, epl_bench_spmm(ctx, o, &r), EPL_ERR_ARGUMENT, "1.5");
    o.sparsity = 0.5, o.in = 1 << 20, o.out = 1 << 20;
    CHECK_FAILS(t, ctx, epl_bench_spmm(ctx, o, &r), EPL_ERR_SHAPE, "32 bits");
}
