/* Larger and sparse for the same multiply-adds: the published counts, the cases that change nothing, what is refused. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "compress/compress.h"

/* ResNet-18 for small images: 3x3 stem without a pool. */
static epl_graph *resnet18(epl_context *ctx, int width, int image, int classes)
{
    epl_graph *g = epl_graph_new(ctx, "resnet18");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, image, image, 3), "N,,,");
    x = epl_stem(g, x, (epl_stem_opts){ .out = width });
    for (int s = 0; s < 4; s++)
        for (int u = 0; u < 2; u++) {
            epl_scope_push(g, "stage%d.unit%d", s + 1, u + 1);
            x = epl_residual_unit(g, x, (epl_residual_unit_opts){ .out = width << s, .stride = s > 0 && u == 0 ? 2 : 1 });
            epl_scope_pop(g);
        }
    epl_output(g, "logits", epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "head", .out = classes }));
    return g;
}

static epl_model *model_of(test *t, epl_context *ctx, epl_graph *g)
{
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_graph_finish(m->graph) && epl_model_init(m, 4));
    return m;
}

static epl_ift_result account(test *t, epl_context *ctx, const char *member, double sparsity, bool match)
{
    epl_graph     *g = resnet18(ctx, 64, 32, 100);
    epl_ift_result r;
    CHECK_OK(t, ctx,
             epl_graph_finish(g) &&
                 epl_ift_account(g, (epl_ift_opts){ .member = member, .sparsity = sparsity, .match = match }, &r));
    epl_graph_free(g);
    return r;
}

/* The first column of the table; all of it is checked in papers/sparse-ift. */
TEST(counts_of_a_published_network)
{
    static const struct {
        const char *member;
        int64_t     params;
        double      macs, sparse;
    } rows[] = { { "wide", 22152430, 1097421120, 549990720 }, { "parallel", 0, 0, 552323072 }, { "factorized", 0, 0, 553822208 },
                 { "doped", 0, 0, 549287936 } };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        const epl_ift_result r = account(t, ctx, rows[i].member, 0.5, false);
        CHECK_INT(t, r.params_before, 11220132);
        CHECK_NEAR(t, r.macs_before, 555468800, 0);
        if (rows[i].params) {
            CHECK_INT(t, r.params_after, rows[i].params);
            CHECK_NEAR(t, r.macs_after, rows[i].macs, 0);
        }
        CHECK_NEAR(t, r.macs_nonzero, rows[i].sparse, .atol = 1);
        const double choice = (double)r.choice_before / (i == 3 ? 1 : 0.5);
        CHECK_NEAR(t, (double)r.choice_after / choice, 1, .atol = 0.02);
    }
    CHECK_NEAR(t, account(t, ctx, "wide", 0.5, true).sparsity, 0.495, .atol = 1e-5);
}

static double difference(test *t, const epl_model *a, const epl_model *b)
{
    epl_tensor *x = epl_tensor_new(a->ctx, EPL_F32, epl_shape_of(epl_graph_input_at(a->graph, 0))), *y[2];
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    const epl_model *m[2] = { a, b };
    for (int i = 0; i < 2; i++) {
        epl_program *p = epl_program_new(m[i]->graph, m[i]->weights, (epl_program_opts){ .frozen = true });
        CHECK_OK(t, a->ctx, p != NULL);
        memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
        CHECK_OK(t, a->ctx, epl_program_run(p));
        y[i] = epl_tensor_copy(a->ctx, epl_program_output(p, 0));
        epl_program_free(p);
    }
    double most = 0, size = 0;
    for (int64_t i = 0; i < epl_tensor_count(y[0]); i++) {
        most = fmax(most, fabs(epl_tensor_get(y[0], i) - epl_tensor_get(y[1], i)));
        size = fmax(size, fabs(epl_tensor_get(y[0], i)));
    }
    for (int i = 0; i < 2; i++)
        epl_tensor_free(y[i]);
    epl_tensor_free(x);
    return most / size;
}

TEST(without_sparsity_nothing_changes)
{
    epl_context *ctx = test_context(t);
    static const char *const members[] = { "wide", "parallel", "doped" };
    for (size_t i = 0; i < EPL_COUNT(members); i++) {
        epl_model     *m = model_of(t, ctx, resnet18(ctx, 8, 16, 10)), *same = epl_model_copy(m);
        epl_ift_result r;
        CHECK_OK(t, ctx, epl_ift(m, (epl_ift_opts){ .member = members[i] }, &r));
        CHECK_INT(t, r.params_after, r.params_before);
        CHECK(t, difference(t, m, same) <= 1e-6 && r.sparsity == 0);
        epl_model_free(m);
        epl_model_free(same);
    }
}

/* A linear layer without norm: branches under masks that share the weight out give what the whole layer gives. */
TEST(parallel_branches_that_share_a_weight_out_are_the_layer)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "line");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(3, 5), "N,");
    x = epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 6 });
    x = epl_linear(g, x, (epl_linear_opts){ .name = "b", .out = 7, .no_bias = true });
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "c", .out = 4 }));
    epl_model *m = model_of(t, ctx, g), *dense = epl_model_copy(m);
    CHECK_OK(t, ctx, epl_ift(m, (epl_ift_opts){ .member = "parallel", .sparsity = 0.5 }, NULL));
    epl_tensor *mask[2] = { epl_mask_of(m->weights, "b.weight"), epl_mask_of(m->weights, "b.branch2.weight") };
    CHECK(t, mask[0] && mask[1]);
    const epl_tensor *w = epl_weights_find(dense->weights, "b.weight");
    for (int64_t i = 0; i < 42; i++) {
        epl_tensor_set(mask[0], i, i % 2);
        epl_tensor_set(mask[1], i, !(i % 2));
        epl_tensor_set(epl_weights_find(m->weights, "b.weight"), i, epl_tensor_get(w, i));
        epl_tensor_set(epl_weights_find(m->weights, "b.branch2.weight"), i, epl_tensor_get(w, i));
    }
    CHECK(t, difference(t, dense, m) <= 1e-5);
    epl_model_free(m);
    epl_model_free(dense);
}

/* Every network of the zoo grows where it can, computes, and learns. */
TEST(networks_of_all_kinds_grow)
{
    epl_context *ctx = test_context(t);
    static const char *const nets[] = { "resnet:depth=8,width=8,image=8", "mobilenet:image=32,width=0.25",
                                        "cnn:image=8,stages=3,depth=1,width=8", "densenet:depth=10,growth=4,image=8" };
    int wide = 0;
    for (size_t i = 0; i < EPL_COUNT(nets); i++)
        for (int member = 0; member < 4; member++) {
            static const char *const members[] = { "wide", "parallel", "factorized", "doped" };
            epl_graph *g = epl_zoo_build(ctx, nets[i]);
            if (!g) {
                test_fail(t, __FILE__, __LINE__, "%s: %s", nets[i], epl_error_message(ctx));
                return;
            }
            epl_model     *m = model_of(t, ctx, g);
            epl_ift_result r;
            if (!epl_ift(m, (epl_ift_opts){ .member = members[member], .sparsity = 0.75, .match = true }, &r))
                test_fail(t, __FILE__, __LINE__, "%s %s: %s", nets[i], members[member], epl_error_message(ctx));
            CHECK_NEAR(t, r.macs_nonzero / r.macs_before, 1, .atol = 1e-3);
            epl_sparsity s;
            CHECK_OK(t, ctx, epl_sparsity_of(m, &s));
            CHECK_NEAR(t, s.macs_nonzero / s.macs, r.macs_nonzero / r.macs_after, .rtol = 1e-2);
            CHECK(t, difference(t, m, m) == 0);
            wide += member == 0 && r.macs_after > 2 * r.macs_before;
            epl_model_free(m);
        }
    CHECK(t, wide >= 4);
}

TEST(mistakes_are_named)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, resnet18(ctx, 8, 16, 10));
    CHECK_FAILS(t, ctx, epl_ift(m, (epl_ift_opts){ .sparsity = 1 }, NULL), EPL_ERR_ARGUMENT, "sparsity is 1");
    CHECK_FAILS(t, ctx, epl_ift(m, (epl_ift_opts){ .sparsity = -0.1 }, NULL), EPL_ERR_ARGUMENT, "-0.1");
    CHECK_FAILS(t, ctx, epl_ift(m, (epl_ift_opts){ .member = "paralel" }, NULL), EPL_ERR_ARGUMENT, "did you mean 'parallel'");
    CHECK_FAILS(t, ctx, epl_ift(m, (epl_ift_opts){ .sparsity = 0.5, .match = true, .macs = 1e3 }, NULL), EPL_ERR_LIMIT, "between");
    CHECK_FAILS(t, ctx, epl_ift(m, (epl_ift_opts){ .member = "doped", .sparsity = 0.5, .layers = "nothing" }, NULL),
                EPL_ERR_ARGUMENT, "matches");
    epl_graph *g = epl_graph_new(ctx, "held"); // a softmax over the layer's outputs
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 5), "N,");
    x = epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 6 });
    x = epl_softmax(g, epl_linear(g, x, (epl_linear_opts){ .name = "m", .out = 6 }), -1);
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "b", .out = 4 }));
    epl_model *held = model_of(t, ctx, g);
    CHECK_FAILS(t, ctx, epl_ift(held, (epl_ift_opts){ .sparsity = 0.5 }, NULL), EPL_ERR_ARGUMENT,
                "'m.weight' cannot become wider: its outputs are held by Softmax");
    epl_model_free(held);
    epl_model_free(m);
}
