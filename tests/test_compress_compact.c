/* Units that make no difference: they go, what is computed stays. And scores of channels by what they say. */
#include "common/check.h"
#include "common/outputs.h"

#include <espalier/espalier.h>

#include "compress/channels.h"

static epl_model *zoo(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    epl_rng r = epl_rng_at(23, 0); // norms and their statistics, which start alike, get values of their own
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        for (int64_t k = 0; w->dtype == EPL_F32 && w->shape.rank < 2 && k < epl_tensor_count(w); k++)
            epl_tensor_set(w, k, 0.5 + (double)epl_rng_uniform(&r));
    }
    return m;
}

static epl_channel_result compacted(test *t, epl_model *m)
{
    epl_channel_result r;
    epl_tensor *want = test_outputs(t, m, 3);
    CHECK_OK(t, m->ctx, epl_compact(m, &r) && epl_model_check(m) && epl_graph_verify(m->graph));
    epl_tensor *got = test_outputs(t, m, 3);
    CHECK_CLOSE(t, got, want, .rtol = 1e-5, .atol = 1e-5);
    epl_tensor_free(want);
    epl_tensor_free(got);
    return r;
}

static void set(epl_model *m, const char *name, int64_t i, double x) { epl_tensor_set(epl_weights_find(m->weights, name), i, x); }

/* Of an inner 3x3 convolution [3, 3, 8, 16]: nothing of the output's norm, and the next layer's weights for another. */
TEST(silent_channels_go_and_take_their_slices_along)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "cnn:image=8,stages=3,depth=1,width=8,classes=3");
    const int64_t before = epl_graph_n_parameters(m->graph);
    CHECK_INT(t, compacted(t, m).removed, 0);
    set(m, "stage2.unit1.norm.weight", 3, 0);
    CHECK_INT(t, compacted(t, m).removed, 0); // relu(beta) is still there
    set(m, "stage2.unit1.norm.bias", 3, 0);
    epl_tensor *next = epl_weights_find(m->weights, "stage3.unit1.conv.weight"); // [3, 3, 16, 32]
    for (int64_t tap = 0; tap < 9; tap++)
        for (int64_t o = 0; o < 32; o++)
            epl_tensor_set(next, (tap * 16 + 5) * 32 + o, 0);
    const epl_channel_result r = compacted(t, m);
    CHECK_INT(t, r.removed, 2);
    CHECK_INT(t, before - epl_graph_n_parameters(m->graph), 2 * (9 * 8 + 2 + 9 * 32));
    CHECK_INT(t, epl_channels(epl_graph_find(m->graph, "stage2.unit1.conv.weight")), 14);
    epl_model_free(m);
}

/* Rows of zeros under masks: without a bias they are silent, or say what the activation makes of 0: a part of the
 * next layer's bias. */
TEST(masked_rows_say_the_same_for_all)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "rows");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 5), "N,");
    x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 8, .no_bias = true }));
    x = epl_sigmoid(g, epl_linear(g, x, (epl_linear_opts){ .name = "b", .out = 8, .no_bias = true }));
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "c", .out = 4 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_model_init(m, 2));
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5, .unit = "row", .skip = "last" }));
    const epl_channel_result r = compacted(t, m);
    CHECK_INT(t, r.removed, 8); // of a, and of b, whose rows say sigmoid(0)
    CHECK_INT(t, epl_channels(epl_graph_find(m->graph, "a.weight")), 4);
    CHECK_INT(t, epl_channels(epl_graph_find(m->graph, "b.weight")), 4);
    epl_model_free(m);
}

/* Channels whose weights are zeros, behind norms with shifts. */
static epl_model *shifted(test *t, epl_context *ctx, int next_kernel, bool norm, bool bias)
{
    epl_graph *g = epl_graph_new(ctx, "shifted");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 6, 6, 3), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "a", .conv = { .out = 8, .pad = 1 }, .activation = "silu" });
    x = epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 5, .kernel = next_kernel, .pad = next_kernel / 2, .no_bias = !bias });
    if (norm)
        x = epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" });
    x = epl_global_average_pool(g, epl_relu(g, x));
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "c", .out = 4 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_model_init(m, 2));
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        for (int64_t k = 0; w->shape.rank < 2 && k < epl_tensor_count(w); k++)
            epl_tensor_set(w, k, 0.5 + (double)epl_rng_uniform(t->rng));
    }
    epl_tensor *w = epl_weights_find(m->weights, "a.conv.weight");
    for (int64_t k = 0; k < epl_tensor_count(w); k++)
        if (k % 8 >= 5)
            epl_tensor_set(w, k, 0);
    return m;
}

/* What they say goes into the next layer's bias, into its norm's mean, or into a bias that the layer gets; behind a
 * border it stays. */
PROPERTY(constant_channels_become_biases, 4)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = shifted(t, ctx, t->index == 3 ? 3 : 1, t->index == 1, t->index == 0);
    const int64_t before = epl_graph_n_parameters(m->graph);
    CHECK_INT(t, compacted(t, m).removed, t->index == 3 ? 0 : 3);
    CHECK_INT(t, before - epl_graph_n_parameters(m->graph), t->index == 3 ? 0 : 3 * (27 + 2 + 5) - (t->index == 2 ? 5 : 0));
    CHECK(t, (epl_graph_find(m->graph, "b.bias") != NULL) == (t->index == 0 || t->index == 2));
    CHECK_INT(t, compacted(t, m).removed, 0);
    epl_model_free(m);
}

/* A layer that has constants alone to read is one itself: two layers go at once, all of them but one channel. */
TEST(constants_of_constants_are_folded_through)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = shifted(t, ctx, 1, true, false);
    epl_tensor  *w = epl_weights_find(m->weights, "b.weight"); // [1, 1, 8, 5]: outputs 0 and 1 read constants alone
    for (int64_t i = 0; i < 5; i++)
        for (int64_t o = 0; o < 2; o++)
            epl_tensor_set(w, i * 5 + o, 0);
    CHECK_INT(t, compacted(t, m).removed, 3 + 2);
    CHECK_INT(t, epl_dim(epl_graph_find(m->graph, "c.weight"), 0), 3);
    memset(epl_weights_find(m->weights, "a.conv.weight")->data, 0, epl_tensor_bytes(epl_weights_find(m->weights, "a.conv.weight")));
    compacted(t, m);
    CHECK_INT(t, epl_channels(epl_graph_find(m->graph, "a.conv.weight")), 1);
    epl_model_free(m);
}

/* Groups shrink evenly, and what they read is heard. */
TEST(grouped_layers_hear_their_channels)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "heard");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 6, 6, 3), "N,,,");
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 8, .kernel = 1 }));
    epl_value *y = epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 8, .kernel = 1, .groups = 2 });
    x = epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 8, .kernel = 1 });
    epl_output(g, "y", epl_conv(g, epl_add(g, x, y), (epl_conv_opts){ .name = "d", .out = 2, .kernel = 1 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_model_init(m, 2));
    memset(epl_weights_find(m->weights, "c.weight")->data, 0, epl_tensor_bytes(epl_weights_find(m->weights, "c.weight")));
    CHECK_INT(t, compacted(t, m).removed, 0);
    epl_model_free(m);
}

static const char *const networks[] = { "resnet:depth=8,width=8,image=8", "mobilenet-v2:width=0.25,image=32,classes=10",
                                        "densenet:depth=10,growth=4,image=8,classes=10", "lenet",
                                        "vgg:depth=11,width=4,image=32,classes=10" };

/* Half of the channels of every norm are switched off (or say their shift, always), and some inputs of every weight. */
PROPERTY(networks_stay_what_they_are, 2 * EPL_COUNT(networks))
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_zoo_build(ctx, networks[t->index / 2]);
    if (!g)
        test_skip(t, "the zoo has no such network");
    epl_graph_free(g);
    epl_model *m = zoo(t, ctx, networks[t->index / 2]);
    for (const epl_node *n = m->graph->first; n; n = n->next) {
        for (int64_t c = 0; EPL_IS(n, batch_norm) && c < epl_channels(n->outputs[0]); c += 2)
            for (int i = 1; i < 3 - t->index % 2; i++)
                set(m, epl_value_name(n->inputs[i]), c, 0);
        epl_tensor *w = EPL_IS(n, linear) ? epl_weights_find(m->weights, epl_value_name(n->inputs[1])) : NULL;
        for (int64_t i = 0; w && i < w->shape.dim[0]; i += 3)
            for (int64_t o = 0; o < w->shape.dim[1]; o++)
                epl_tensor_set(w, i * w->shape.dim[1] + o, 0);
    }
    const epl_channel_result r = compacted(t, m);
    printf("    %-60s%s %4lld of %4lld units\n", networks[t->index / 2], t->index % 2 ? ", shifted" : "         ",
           (long long)r.removed, (long long)r.units);
    CHECK(t, r.removed > 0);
    epl_model_free(m);
}

/* ---- scores ---- */

/* a: 6 outputs, of which 1 says nothing, 2 is the twin of 3, and 4 says little. */
TEST(channels_are_scored_by_what_they_say)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "talk");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 5), "N,");
    x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 6 }));
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "b", .out = 2 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_model_init(m, 2));
    epl_tensor *w = epl_weights_find(m->weights, "a.weight"), *samples = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(40, 5));
    epl_tensor_fill_normal(samples, t->rng, 0, 1);
    epl_tensor_fill_normal(w, t->rng, 0, 1);
    for (int64_t i = 0; i < 5; i++) {
        epl_tensor_set(w, i * 6 + 2, epl_tensor_get(w, i * 6 + 3));
        epl_tensor_set(w, i * 6 + 4, 1e-3 * epl_tensor_get(w, i * 6 + 4));
    }
    set(m, "a.bias", 1, -100);
    static const char *const criteria[] = { "apoz", "act-mean", "fpgm" };
    for (int k = 0; k < 3; k++) {
        epl_channel_plan p;
        CHECK_OK(t, ctx, epl_channels_plan(m, (epl_channel_opts){ .criterion = criteria[k], .samples = samples }, &p));
        CHECK_INT(t, p.n, 6);
        for (int i = 0; i < 6; i++)
            CHECK(t, k == 2 || i == 1 || p.list[i].score > p.list[1].score);
        CHECK(t, k != 0 || p.list[1].score == 0);
        CHECK(t, k != 1 || (p.list[4].score < p.list[0].score && p.list[4].score > 0));
        CHECK(t, k != 0 || p.list[4].score > 0.2);
        CHECK_NEAR(t, p.list[2].score, p.list[3].score, .rtol = 1e-6, .atol = k == 2 ? 1e9 : 0); // with fpgm the next layer counts, too
        epl_channels_release(&p);
    }
    CHECK_FAILS(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .criterion = "apoz", .ratio = 0.5 }, NULL),
                EPL_ERR_ARGUMENT, "no samples");
    epl_tensor_free(samples);
    epl_model_free(m);
}
