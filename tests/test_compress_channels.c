/* Channels removed: every kind of network runs afterwards, has the wanted size, and computes what it computed with the removed
 * units at zero. */
#include "common/check.h"
#include "common/outputs.h"

#include <espalier/espalier.h>

#include "compress/channels.h"

static epl_model *take_model(test *t, epl_context *ctx, epl_graph *g)
{
    CHECK_OK(t, ctx, g && epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 17));
    epl_rng r = epl_rng_at(23, 0); // biases, norms and their statistics, which start alike, get values of their own
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        for (int64_t k = 0; w->dtype == EPL_F32 && w->shape.rank < 2 && k < epl_tensor_count(w); k++)
            epl_tensor_set(w, k, 0.5 + (double)epl_rng_uniform(&r));
    }
    return m;
}

/* Every parameter element that has part in a unit that is gone becomes 0. */
static void zero_gone(epl_channel_plan *p, epl_weights *w)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) ? n->outputs[0] : NULL;
        epl_tensor      *x = v ? epl_weights_find(w, epl_value_name(v)) : NULL;
        for (int64_t i = 0; v && i < epl_tensor_count(x); i++) {
            bool gone = false;
            for (int64_t a = v->shape.rank - 1, rest = i; a >= 0; rest /= v->shape.dim[a--])
                gone = gone || p->units.gone[epl_unit_of(&p->units, v, (int)a, rest % v->shape.dim[a])];
            if (gone)
                epl_tensor_set(x, i, 0);
        }
    }
}

/* Prunes m; compares with the zeroed network. */
static void check_equivalence(test *t, epl_model *m, epl_channel_opts o, epl_channel_result *r)
{
    epl_channel_plan plan;
    epl_graph *g;
    epl_model *zeroed = epl_model_copy(m);
    CHECK_OK(t, m->ctx, epl_channels_plan(m, o, &plan) && epl_channels_choose(&plan, &g));
    zero_gone(&plan, zeroed->weights);
    epl_graph_free(g);
    epl_channels_release(&plan);
    CHECK_OK(t, m->ctx, epl_prune_channels(m, o, r) && epl_model_check(m) && epl_graph_verify(m->graph));
    epl_tensor *want = test_outputs(t, zeroed, 3), *got = test_outputs(t, m, 3);
    CHECK_CLOSE(t, got, want, .rtol = 1e-5, .atol = 1e-5);
    epl_tensor_free(want);
    epl_tensor_free(got);
    epl_model_free(zeroed);
}

static const struct {
    const char *model;
    double      macs, tolerance; /* wanted, and how far below it coarse units may lead */
    int         groups;          /* that can shrink */
} networks[] = {
    { "mlp:width=64,image=8", 0.5, 0.03, 2 },
    { "lenet", 0.5, 0.05, 4 },
    { "cnn:image=16,width=16", 0.5, 0.03, 6 },
    { "resnet:depth=8", 0.5, 0.05, 6 },
    { "resnet:depth=20,se=1,image=16", 0.5, 0.05, -1 },
    { "resnet:depth=11,bottleneck=1,groups=4,group_width=0.5,image=16", 0.5, 0.05, -1 },
    { "densenet:depth=22,growth=8,image=16,classes=10", 0.5, 0.03, -1 },
    { "mobilenet:width=0.25,image=32,classes=10", 0.5, 0.03, 14 },
    { "mobilenet-v2:width=0.25,image=32,classes=10", 0.5, 0.03, -1 },
    { "vit:image=16,patch=4,width=32,depth=2,heads=4,hidden=64,classes=10", 0.7, 0.06, 4 },
    { "vit:image=16,patch=4,width=32,depth=2,heads=4,hidden=64,classes=10,pool=mean", 0.7, 0.06, 4 },
    { "lstm:length=6,channels=5,width=32,layers=2", 0.5, 0.06, 2 },
    { "lstm:length=6,channels=5,width=16,bidirectional=1", 0.5, 0.06, 1 },
    { "lstm:length=6,channels=5,width=32,cell=gru", 0.5, 0.06, 1 },
    { "unet:image=16,levels=2,width=8", 0.5, 0.05, -1 },
};

PROPERTY(half_of_every_network_goes, EPL_COUNT(networks))
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = take_model(t, ctx, epl_zoo_build(ctx, networks[t->index].model));
    epl_channel_result r;
    const double want = networks[t->index].macs;
    check_equivalence(t, m, (epl_channel_opts){ .macs = want, .global = t->index % 2 }, &r);
    printf("    %-72s %3d groups, %4lld of %4lld units, MACs %.3f, parameters %.3f\n", networks[t->index].model, r.groups,
           (long long)r.removed, (long long)r.units, r.macs_after / r.macs_before, (double)r.params_after / (double)r.params_before);
    CHECK(t, r.macs_after / r.macs_before <= want && r.macs_after / r.macs_before >= want - networks[t->index].tolerance);
    CHECK_NEAR(t, epl_graph_cost(m->graph).macs, r.macs_after, 0);
    CHECK(t, r.params_after < r.params_before);
    if (networks[t->index].groups >= 0)
        CHECK_INT(t, r.groups, networks[t->index].groups);
    epl_model_free(m);
}

/* The dependency graph knows every operator that models are made of, and goes through choices. */
PROPERTY(every_model_of_the_zoo_can_lose_channels, epl_zoo_count())
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = take_model(t, ctx, epl_zoo_build_small(ctx, t->index));
    epl_channel_result r;
    const bool coarse = epl_glob("phc-*", epl_zoo_at(t->index)->name); // a channel of each part of the algebra: few units in small networks
    check_equivalence(t, m, (epl_channel_opts){ .macs = coarse ? 0.9 : 0.5 }, &r);
    CHECK(t, r.macs_after < r.macs_before && r.removed > 0);
    epl_model_free(m);
}

/* ---- operators that the zoo lacks ---- */

static epl_value *input(epl_graph *g, int64_t channels) { return epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 6, 6, channels), "N,,,"); }

static epl_value *grouped_norm(epl_graph *g)
{
    epl_value *x = epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 16, .pad = 1 });
    x = epl_relu(g, epl_group_norm(g, x, (epl_norm_opts){ .name = "norm", .groups = 4 }));
    return epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 4, .pad = 1 });
}

static epl_value *halves(epl_graph *g) // split, one half goes through a layer, joined again
{
    epl_value *part[2], *x = epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 16, .pad = 1 });
    epl_split(g, x, -1, 2, NULL, part);
    part[0] = epl_relu(g, epl_conv(g, part[0], (epl_conv_opts){ .name = "b", .out = 6, .pad = 1 }));
    x = epl_concat(g, 2, part, -1);
    x = epl_slice(g, x, (epl_slice_opts){ .n_axes = 1, .axes = { -1 }, .starts = { 2 }, .ends = { -1 } });
    return epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 4 });
}

static epl_value *scaled(epl_graph *g) // a constant per channel, prelu, a pad, a resize, a mean that is taken away
{
    epl_value *x = epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 8, .pad = 1, .no_bias = true });
    epl_tensor *c = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(8));
    for (int i = 0; i < 8; i++)
        epl_tensor_set(c, i, i + 1);
    x = epl_mul(g, x, epl_constant(g, c));
    epl_tensor_free(c);
    x = epl_prelu(g, x, epl_parameter(g, "slope", EPL_F32, EPL_SHAPE(8), EPL_INIT_CONSTANT, 0.25));
    x = epl_pad(g, x, (epl_pad_opts){ .before = { 0, 1, 1, 0 }, .after = { 0, 1, 1, 0 } });
    x = epl_resample(g, x, (epl_resize_opts){ .scale = { 2, 2 } });
    x = epl_sub(g, x, epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(1, 2), .keep = true }));
    return epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 4 });
}

static epl_value *generator(epl_graph *g) // a vector becomes an image: channels are the innermost part of the linear layer
{
    epl_value *x = epl_input(g, "z", EPL_F32, EPL_SHAPE(2, 5), "N,");
    x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 3 * 3 * 8 }));
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, 3, 3, 8));
    x = epl_relu(g, epl_conv_transpose(g, x, (epl_conv_transpose_opts){ .name = "b", .out = 6, .no_bias = true }));
    return epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 2 });
}

static epl_value *depth_multiplier(epl_graph *g) // each channel becomes two: they stay or go together
{
    epl_value *x = epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 8, .pad = 1 });
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 16, .groups = 8 }));
    return epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 4 });
}

static epl_value *grouped(epl_graph *g, epl_value *x, const char *name, int out, int groups)
{
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = out, .kernel = 1, .groups = groups } });
}

static epl_value *shuffled(epl_graph *g) // between grouped layers: 8 channels of each group, which 3 groups do not divide
{
    epl_value *x = grouped(g, epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 24, .pad = 1 }), "b", 24, 3);
    x = epl_conv_unit(g, epl_channel_shuffle(g, x, 3), (epl_conv_unit_opts){ .name = "depthwise", .conv = { .depthwise = true } });
    return epl_conv(g, grouped(g, x, "c", 12, 3), (epl_conv_opts){ .name = "d", .out = 4 });
}

static epl_value *shuffled_unit(epl_graph *g, epl_value *x, const char *name, int hidden, int out)
{
    epl_scope_push(g, "%s", name);
    epl_value *y = epl_channel_shuffle(g, grouped(g, x, "b", hidden, 2), 2);
    y = grouped(g, epl_conv_unit(g, y, (epl_conv_unit_opts){ .name = "depthwise", .conv = { .depthwise = true } }), "c", out, 2);
    epl_scope_pop(g);
    return y;
}

static epl_value *shuffle_net(epl_graph *g) // ShuffleNet 1: what a unit makes is put beside its input, or added to it
{
    epl_value *x = epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 8, .pad = 1 });
    for (int i = 0; i < 2; i++) {
        epl_value *part[2] = { shuffled_unit(g, x, i ? "unit3" : "unit1", 6, i ? 20 : 12), x };
        x = epl_concat(g, 2, part, -1);
        x = epl_relu(g, epl_add(g, x, shuffled_unit(g, x, i ? "unit4" : "unit2", 10, (int)epl_channels(x))));
    }
    return epl_conv(g, x, (epl_conv_opts){ .name = "d", .out = 4 });
}

static epl_value *picked(epl_graph *g) // channels by number: one twice, some not at all
{
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_I64, EPL_SHAPE(5));
    static const int64_t numbers[] = { 7, 2, 2, 0, 5 };
    for (int i = 0; i < 5; i++)
        epl_tensor_set_i64(t, i, numbers[i]);
    epl_value *x = epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 8, .pad = 1 });
    x = epl_gather(g, epl_relu(g, x), epl_constant(g, t), -1);
    epl_tensor_free(t);
    return epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 4 });
}

static epl_value *masked(epl_graph *g, epl_value *p, void *user)
{
    (void)user;
    char name[128];
    snprintf(name, sizeof name, "/%s.mask", epl_value_name(p));
    return epl_mul(g, p, epl_state(g, name, EPL_F32, epl_shape_of(p), EPL_INIT_ONES, 0));
}

static epl_value *under_masks(epl_graph *g)
{
    epl_value *y = depth_multiplier(g);
    epl_reparameterize(g, "*.weight", masked, NULL);
    return y;
}

static const struct {
    const char *name;
    epl_value *(*build)(epl_graph *);
    int groups, units;
} blocks[] = {
    { "group norm", grouped_norm, 1, 4 }, { "split and slice", halves, 2, 16 + 6 }, { "scales, pad, resize", scaled, 1, 8 },
    { "shuffled groups", shuffled, 3, 8 + 8 + 4 }, { "shuffle net", shuffle_net, 6, 22 }, { "channels by number", picked, 1, 8 },
    { "vector to image", generator, 2, 8 + 6 }, { "two of each channel", depth_multiplier, 1, 8 }, { "masks", under_masks, 1, 8 },
};

PROPERTY(operators_tie_what_goes_together, EPL_COUNT(blocks) * 2)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, blocks[t->index / 2].name);
    epl_output(g, "y", blocks[t->index / 2].build(g));
    epl_model *m = take_model(t, ctx, g);
    epl_channel_result r;
    check_equivalence(t, m,
                      (epl_channel_opts){
                          .ratio = t->index % 2 ? 0.5 : 0.3, .criterion = t->index % 2 ? "l1" : "random", .seed = 4 },
                      &r);
    CHECK_INT(t, r.groups, blocks[t->index / 2].groups);
    CHECK_INT(t, r.units, blocks[t->index / 2].units);
    CHECK(t, r.removed > 0 && r.macs_after < r.macs_before);
    epl_model_free(m);
}

/* Where no channel of a shuffle went it is still one, and where one of each went it is one of fewer. */
TEST(shuffles_stay_shuffles)
{
    epl_context *ctx = test_context(t);
    for (int i = 0; i < 2; i++) {
        epl_graph *g = epl_graph_new(ctx, "shuffle");
        epl_value *x = epl_channel_shuffle(g, epl_conv(g, input(g, 3), (epl_conv_opts){ .name = "a", .out = 8, .kernel = 1 }), 2);
        x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 8, .kernel = 1 }));
        epl_output(g, "y", epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 2, .kernel = 1 }));
        epl_model *m = take_model(t, ctx, g);
        epl_tensor *w = epl_weights_find(m->weights, "a.weight");
        for (int64_t k = 0; i && k < epl_tensor_count(w); k++) // channels 0 and 4 are the least
            epl_tensor_set(w, k, k % 4 == 0 ? 0.01 : 1);
        CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.25, .skip = i ? "b.*" : "a.*", .criterion = "l1" }, NULL));
        CHECK_INT(t, epl_channels(epl_graph_find(m->graph, i ? "a.weight" : "b.weight")), 6);
        int gathers = 0, transposes = 0;
        for (const epl_node *n = m->graph->first; n; n = n->next) {
            gathers += EPL_IS(n, gather);
            transposes += EPL_IS(n, transpose);
        }
        CHECK_INT(t, gathers, 0);
        CHECK_INT(t, transposes, 1);
        epl_model_free(m);
    }
}

/* ---- what is chosen ---- */

static epl_model *tower(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "tower");
    epl_value *x = epl_conv_unit(g, input(g, 3), (epl_conv_unit_opts){ .name = "a", .conv = { .out = 16 } });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "b", .conv = { .out = 12 } });
    epl_output(g, "y", epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "head", .out = 5 }));
    return take_model(t, ctx, g);
}

static int64_t channels_of(const epl_model *m, const char *name) { return epl_channels(epl_graph_find(m->graph, name)); }

TEST(counts_are_rounded_and_bounded)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = tower(t, ctx);
    epl_channel_result r;
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.4, .round_to = 4 }, &r));
    CHECK_INT(t, channels_of(m, "a.conv.weight"), 12); // 16 - 6 = 10, then 12
    CHECK_INT(t, channels_of(m, "b.conv.weight"), 8);  // 12 - 5 = 7, then 8
    CHECK_INT(t, epl_dim(epl_graph_find(m->graph, "b.conv.weight"), 2), 12);
    CHECK_INT(t, epl_dim(epl_graph_find(m->graph, "b.norm.running_var"), 0), 8);
    CHECK_INT(t, r.params_before - r.params_after, (27 * 16 + 32 + 9 * 16 * 12 + 24 + 12 * 5) - (27 * 12 + 24 + 9 * 12 * 8 + 16 + 8 * 5));
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.99, .min_channels = 3 }, &r));
    CHECK_INT(t, channels_of(m, "a.conv.weight"), 3);
    CHECK_INT(t, channels_of(m, "b.conv.weight"), 3);
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.99 }, NULL));
    CHECK_INT(t, channels_of(m, "a.conv.weight"), 1);
    epl_model_free(m);
}

TEST(the_weakest_channels_go)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = tower(t, ctx);
    epl_tensor  *w = epl_weights_find(m->weights, "a.conv.weight"), *gamma = epl_weights_find(m->weights, "b.norm.weight");
    for (int64_t i = 0; i < epl_tensor_count(w); i++) // outputs 0 .. 15 grow
        epl_tensor_set(w, i, 0.01 * (double)(1 + i % 16));
    for (int64_t i = 0; i < 12; i++)
        epl_tensor_set(gamma, i, i == 5 ? 0.01 : 1);
    epl_tensor *next = epl_weights_find(m->weights, "b.conv.weight");
    for (int64_t i = 0; i < epl_tensor_count(next); i++)
        epl_tensor_set(next, i, 0.1);
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.25, .pattern = "a.*" }, NULL));
    w = epl_weights_find(m->weights, "a.conv.weight");
    CHECK_INT(t, w->shape.dim[3], 12);
    CHECK_INT(t, channels_of(m, "b.conv.weight"), 12);
    for (int64_t i = 0; i < 12; i++)
        CHECK_NEAR(t, epl_tensor_get(w, i), 0.01 * (double)(5 + i), .rtol = 1e-6);
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.08, .skip = "a.*", .criterion = "bn-gamma" }, NULL));
    gamma = epl_weights_find(m->weights, "b.norm.weight");
    CHECK_INT(t, gamma->shape.dim[0], 11);
    for (int64_t i = 0; i < 11; i++)
        CHECK_NEAR(t, epl_tensor_get(gamma, i), 1, 0);
    epl_model_free(m);
}

TEST(taylor_takes_given_gradients)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = tower(t, ctx);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4, 6, 6, 3)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(4));
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    epl_weights *g = epl_weight_gradients(m, x, y, (epl_loss_opts){ 0 });
    CHECK_OK(t, ctx, g != NULL);
    CHECK_FAILS(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.5, .criterion = "taylor" }, NULL), EPL_ERR_ARGUMENT,
                "needs a gradient");
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.5, .criterion = "taylor", .gradients = g }, NULL));
    CHECK_INT(t, channels_of(m, "a.conv.weight"), 8);
    epl_weights_free(g);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

TEST(slots_of_training_are_sliced_too)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = tower(t, ctx);
    const char *const slots[] = { "train.momentum.b.conv.weight", "ema.b.conv.weight" };
    for (int i = 0; i < 2; i++)
        CHECK_OK(t, ctx, epl_weights_put_take(m->weights, slots[i], epl_tensor_copy(ctx, epl_weights_find(m->weights, "b.conv.weight"))));
    CHECK_OK(t, ctx,
             epl_weights_set_metadata(m->weights, "espalier.augment", "flip") &&
                 epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.5 }, NULL));
    for (int i = 0; i < 2; i++)
        CHECK(t, epl_tensor_equal(epl_weights_find(m->weights, slots[i]), epl_weights_find(m->weights, "b.conv.weight")));
    CHECK_STR(t, epl_weights_metadata(m->weights, "espalier.augment"), "flip");
    epl_model_free(m);
}

TEST(a_target_of_parameters_is_met)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = take_model(t, ctx, epl_zoo_build(ctx, "cnn:image=16,width=16"));
    epl_channel_result r;
    CHECK_OK(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .params = 0.25 }, &r));
    const double left = (double)r.params_after / (double)r.params_before;
    CHECK(t, left <= 0.25 && left > 0.24);
    CHECK_INT(t, epl_graph_n_parameters(m->graph), r.params_after);
    CHECK_FAILS(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .macs = 1e-9 }, NULL), EPL_ERR_LIMIT, "the target is 1e-09");
    CHECK_INT(t, epl_graph_n_parameters(m->graph), r.params_after);
    epl_model_free(m);
}

TEST(what_forbids_it_is_named)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = tower(t, ctx);
    CHECK_FAILS(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 0.5, .pattern = "head.weight" }, NULL), EPL_ERR_ARGUMENT,
                "the outputs of 'head.weight' are held by Output 'y'");
    CHECK_FAILS(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .ratio = 1 }, NULL), EPL_ERR_ARGUMENT, "ratio 1");
    CHECK_FAILS(t, ctx, epl_prune_channels(m, (epl_channel_opts){ .criterion = "l3" }, NULL), EPL_ERR_ARGUMENT,
                "no criterion for channels 'l3'");
    epl_model *vit = take_model(t, ctx, epl_zoo_build(ctx, "vit:image=16,patch=4,width=32,depth=1,heads=4,hidden=64,classes=10"));
    CHECK_FAILS(t, ctx, epl_prune_channels(vit, (epl_channel_opts){ .ratio = 0.5, .pattern = "patches.weight" }, NULL), EPL_ERR_ARGUMENT,
                "'patches.weight' are held by LayerNorm");
    epl_channel_result r;
    CHECK_OK(t, ctx, epl_prune_channels(vit, (epl_channel_opts){ .ratio = 0.5, .pattern = "patches.weight", .through_norms = true }, &r));
    CHECK_INT(t, channels_of(vit, "patches.weight"), 16);
    CHECK_INT(t, channels_of(vit, "positions"), 16);
    CHECK_INT(t, channels_of(vit, "block1.attention.query.weight"), 32);
    epl_tensor *y = test_outputs(t, vit, 1);
    CHECK(t, isfinite(epl_tensor_get(y, 0)));
    epl_tensor_free(y);
    epl_model_free(vit);
    epl_model_free(m);
}

TEST(the_table_shows_groups_and_what_is_held)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = tower(t, ctx);
    epl_table   *table = epl_channel_groups(m, (epl_channel_opts){ .skip = "b.*" });
    CHECK_OK(t, ctx, table != NULL);
    char *json = epl_table_to_json(table); // a: 27 + 2 + 108 parameters for each of 16 units
    CHECK(t, strstr(json, "\"group\": \"a.conv.weight\", \"units\": 16, \"parameters\": 2192"));
    CHECK(t, strstr(json, "left out by the pattern") && strstr(json, "held by Output 'y'"));
    epl_release(ctx, json);
    epl_table_free(table);
    epl_model_free(m);
}

TEST(statistics_are_measured_again)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "norms");
    epl_value   *x = epl_batch_norm(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 2, 2, 3), "N,,,"), (epl_norm_opts){ .name = "first" });
    x = epl_batch_norm(g, epl_affine(g, epl_dropout(g, x, 0.9, false), 2, 5), (epl_norm_opts){ .name = "second" });
    epl_output(g, "y", x);
    epl_model  *m = take_model(t, ctx, g);
    epl_tensor *data = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(32, 2, 2, 3)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(32));
    epl_tensor_fill_normal(data, t->rng, 3, 2);
    double mean[3] = { 0 }, var[3] = { 0 };
    for (int i = 0; i < 384; i++)
        mean[i % 3] += epl_tensor_get(data, i) / 128;
    for (int i = 0; i < 384; i++)
        var[i % 3] += pow(epl_tensor_get(data, i) - mean[i % 3], 2) / 127;
    const float gamma = (float)epl_tensor_get(epl_weights_find(m->weights, "first.weight"), 1),
                beta  = (float)epl_tensor_get(epl_weights_find(m->weights, "first.bias"), 1);
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "data", data, y);
    CHECK_OK(t, ctx, d && epl_recalibrate_norms(m, d, (epl_recalibrate_opts){ .batches = 3, .batch = 32 }));
    for (int c = 0; c < 3; c++) {
        CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "first.running_mean"), c), mean[c], .rtol = 1e-5);
        CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "first.running_var"), c), var[c], .rtol = 1e-5);
    }
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "second.running_mean"), 1), 2 * beta + 5, .rtol = 1e-4);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "second.running_var"), 1), 4 * gamma * gamma * 128 / 127, .rtol = 1e-4);
    epl_dataset_free(d);
    epl_model_free(m);
}
