/* Instance beside batch normalisation: published sizes, places, invariance, conversion of trained networks. */
#include "common/check.h"

#include <espalier/espalier.h>

#define RESNET "resnet:stem=imagenet,width=64,classes=1000,image=224,depth="

/* The authors' networks; `places` are the norms that look at single images. */
static const struct {
    const char *description;
    int64_t     parameters;
    int         places;
} published[] = {
    { RESNET "18,ibn=a", 11689512, 6 }, { RESNET "34,ibn=a", 21797672, 13 }, { RESNET "50,ibn=a", 25557032, 13 },
    { RESNET "101,ibn=a", 44549160, 30 }, { RESNET "152,ibn=a", 60192808, 47 },
    { RESNET "18,ibn=b", 11689896, 3 }, { RESNET "34,ibn=b", 21798056, 3 }, { RESNET "50,ibn=b", 25558568, 3 },
    { RESNET "101,ibn=b", 44550696, 3 }, { RESNET "152,ibn=b", 60194344, 3 },
    { "resnext:depth=50,ibn=a", 25028904, 13 }, { "resnext:depth=101,ibn=a", 44177704, 30 }, { "resnext:depth=152,ibn=a", 59951400, 47 },
    { "senet:depth=50,gate_bias=0,ibn=a", 28071976, 13 }, { "senet:depth=101,gate_bias=0,ibn=a", 49292328, 30 },
    { "senet:depth=152,gate_bias=0,ibn=a", 66770984, 47 },
    { "densenet:depth=121,ibn=a", 7978856, 14 }, { "densenet:depth=161,growth=48,ibn=a", 28681000, 18 },
    { "densenet:depth=169,ibn=a", 14149480, 17 }, { "densenet:depth=201,ibn=a", 20013928, 22 },
};

static bool is_instance(const epl_node *n)
{
    return strcmp(epl_node_op_name(n), "GroupNorm") == 0 && epl_attr_i(n, "num_groups") == epl_channels(epl_node_input(n, 0));
}

static int n_instance(const epl_graph *g)
{
    int n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        n += is_instance(k);
    return n;
}

static int64_t statistics(const epl_graph *g)
{
    int64_t n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        if (epl_node_n_outputs(k) && epl_value_name(epl_node_output(k, 0)) &&
            epl_glob("*.running_*", epl_value_name(epl_node_output(k, 0))))
            n += epl_shape_count(epl_shape_of(epl_node_output(k, 0)));
    return n;
}

PROPERTY(networks_have_the_published_size, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, published[t->index].description);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].parameters);
    CHECK_INT(t, n_instance(g), published[t->index].places);
    epl_graph_free(g);
}

TEST(variant_a_costs_nothing_and_keeps_fewer_statistics)
{
    epl_context *ctx = test_context(t);
    static const struct {
        const char *description;
        int64_t     statistics;
    } nets[] = { { RESNET "50", 53120 }, { RESNET "50,ibn=a", 50880 }, { RESNET "50,ibn=b", 52992 } };
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        epl_graph *g = epl_zoo_build(ctx, nets[i].description);
        CHECK_OK(t, ctx, g != NULL);
        CHECK_INT(t, statistics(g), nets[i].statistics);
        CHECK_INT(t, epl_graph_cost(g).macs, 4089184256);
        epl_graph_free(g);
    }
}

/* ---- the layer ---- */

static epl_model *layer(test *t, epl_context *ctx, double ratio, bool batch_first, int side)
{
    epl_graph *g = epl_graph_new(ctx, "layer");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(3, side, side, 8), "N,,,");
    epl_output(g, "y", epl_ibn_norm(g, x, ratio, (epl_ibn_norm_opts){ .batch_first = batch_first }));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    return m;
}

static epl_tensor *outcome(test *t, const epl_graph *g, epl_weights *w, const epl_tensor *x)
{
    epl_context *ctx = epl_graph_context(g);
    epl_program *p   = epl_program_new(g, w, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
    CHECK_OK(t, ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(ctx, epl_program_output(p, 0));
    epl_program_free(p);
    return y;
}

/* max |a - b| over channels [first, end) of [..., 8] */
static double apart(const epl_tensor *a, const epl_tensor *b, int first, int end)
{
    double most = 0;
    for (int64_t i = 0; i < epl_tensor_count(a); i++)
        if (i % 8 >= first && i % 8 < end)
            most = fmax(most, fabs(epl_tensor_get(a, i) - epl_tensor_get(b, i)));
    return most;
}

/* a x + b per image and channel: the instance half does not see it, the batch half does; which half is which, the order says. */
PROPERTY(instance_half_ignores_gain_and_bias, 2)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = layer(t, ctx, 0.5, t->index == 1, 6);
    const int    first = t->index ? 4 : 0;
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, 6, 6, 8)), *z = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, 6, 6, 8));
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    for (int64_t i = 0; i < epl_tensor_count(x); i++) {
        const double channel = (double)(i / (36 * 8) * 8 + i % 8);
        epl_tensor_set(z, i, (0.5 + 0.1 * channel) * epl_tensor_get(x, i) + channel - 4);
    }
    epl_tensor *a = outcome(t, m->graph, m->weights, x), *b = outcome(t, m->graph, m->weights, z);
    CHECK(t, apart(a, b, first, first + 4) < 1e-4);
    CHECK(t, apart(a, b, 4 - first, 8 - first) > 1);

    epl_graph *train = epl_graph_copy(m->graph); // training changes the batch half alone
    CHECK_OK(t, ctx, epl_set_training(train));
    epl_weights *w = epl_weights_copy(ctx, m->weights);
    epl_tensor  *c = outcome(t, train, w, x);
    CHECK(t, apart(a, c, first, first + 4) == 0);
    CHECK(t, apart(a, c, 4 - first, 8 - first) > 1e-3);
    epl_weights_free(w);
    epl_graph_free(train);
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_tensor_free(c);
    epl_tensor_free(x);
    epl_tensor_free(z);
    epl_model_free(m);
}

/* A constant map, and any map of one pixel, becomes the bias. */
PROPERTY(constant_maps_become_the_bias, 2)
{
    epl_context *ctx = test_context(t);
    const int    side = t->index ? 1 : 5;
    epl_model   *m = layer(t, ctx, 1, false, side);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, side, side, 8)), *bias = epl_weights_find(m->weights, "norm.bias");
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        epl_tensor_set(x, i, 7 + (double)(i % 8));
    epl_tensor_fill_normal(bias, t->rng, 0, 1);
    epl_tensor *y = outcome(t, m->graph, m->weights, x);
    for (int64_t i = 0; i < epl_tensor_count(y); i++)
        CHECK_NEAR(t, epl_tensor_get(y, i), epl_tensor_get(bias, i % 8), .atol = 1e-4);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* Ratio 0 and 1 are the plain norms, node by node. */
TEST(ends_of_the_ratio_are_the_plain_norms)
{
    epl_context *ctx = test_context(t);
    for (int k = 0; k < 2; k++) {
        epl_graph *a = epl_graph_new(ctx, "g"), *b = epl_graph_new(ctx, "g");
        epl_value *x = epl_input(a, "x", EPL_F32, EPL_SHAPE(2, 4, 4, 8), "N,,,"),
                  *y = epl_input(b, "x", EPL_F32, EPL_SHAPE(2, 4, 4, 8), "N,,,");
        epl_output(a, "y", epl_ibn_norm(a, x, k, (epl_ibn_norm_opts){ 0 }));
        epl_output(b, "y", k ? epl_instance_norm(b, y, (epl_norm_opts){ 0 }) : epl_batch_norm(b, y, (epl_norm_opts){ 0 }));
        CHECK_OK(t, ctx, epl_graph_finish(a) && epl_graph_finish(b));
        CHECK(t, epl_graph_hash(a) == epl_graph_hash(b));
        epl_graph_free(a);
        epl_graph_free(b);
    }
}

/* ---- the rewriting ---- */

/* The batch's part of a trained network keeps what it computed; all of its norms' parameters are still there. */
PROPERTY(trained_weights_are_carried, 3)
{
    static const char *const nets[] = { "resnet:depth=14,image=16,width=8", "densenet:depth=22,growth=12,image=16,classes=5",
                                        "senet:depth=50,image=32,classes=4" };
    epl_context *ctx = test_context(t);
    epl_model   *m   = epl_model_new_take(epl_zoo_build(ctx, nets[t->index]));
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (epl_weights_at(m->weights, i)->shape.rank == 1)
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), t->rng, 0.5, 1.5);
    double before = 0, after = 0;
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        for (int64_t k = 0; !epl_glob("*running*", epl_weights_name(m->weights, i)) &&
                            k < epl_tensor_count(epl_weights_at(m->weights, i));
             k++)
            before += epl_tensor_get(epl_weights_at(m->weights, i), k);
    const int64_t parameters = epl_graph_n_parameters(m->graph);
    epl_ibn_result r;
    CHECK_OK(t, ctx, epl_ibn(m->graph, m->weights, -1, (epl_ibn_opts){ 0 }, &r) && epl_graph_verify(m->graph) && epl_model_check(m));
    CHECK(t, r.layers > 1 && r.layers == n_instance(m->graph));
    CHECK_INT(t, epl_graph_n_parameters(m->graph), parameters);
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        CHECK(t, epl_graph_find(m->graph, epl_weights_name(m->weights, i)) != NULL);
        for (int64_t k = 0; !epl_glob("*running*", epl_weights_name(m->weights, i)) &&
                            k < epl_tensor_count(epl_weights_at(m->weights, i));
             k++)
            after += epl_tensor_get(epl_weights_at(m->weights, i), k);
    }
    CHECK_NEAR(t, after, before, .rtol = 1e-9);
    CHECK_OK(t, ctx, epl_graph_bind(m->graph, "N", 3) && epl_graph_verify(m->graph));
    epl_model_free(m);
}

/* The last stage stays pure; the second norm joins in variant a2. */
TEST(places_are_those_of_the_paper)
{
    epl_context *ctx = test_context(t);
    epl_ibn_result r;
    for (int variant = 0; variant < 2; variant++) {
        epl_graph *g = epl_zoo_build(ctx, "resnet:depth=20");
        CHECK_OK(t, ctx, epl_ibn(g, NULL, 0.5, (epl_ibn_opts){ .variant = variant ? EPL_IBN_A2 : EPL_IBN_A }, &r));
        CHECK_INT(t, r.layers, variant ? 12 : 6);
        CHECK_INT(t, r.one_pixel, 0);
        CHECK(t, epl_graph_find(g, "stage2.unit3.a.norm.in.weight") && epl_graph_find(g, "stage3.unit1.a.norm.weight"));
        CHECK(t, (epl_graph_find(g, "stage1.unit1.b.norm.in.weight") != NULL) == (variant == 1));
        epl_graph_free(g);
    }
    epl_graph *g = epl_zoo_build(ctx, "resnet:depth=20");
    CHECK_OK(t, ctx, epl_ibn(g, NULL, -1, (epl_ibn_opts){ .variant = EPL_IBN_B }, &r));
    CHECK(t, epl_graph_find(g, "stage1.unit3.in.weight") && epl_graph_find(g, "stage2.unit3.in.weight"));
    CHECK(t, epl_graph_find(g, "stem.norm.weight") && !epl_graph_find(g, "stem.norm.running_mean"));
    epl_graph_free(g);
    g = epl_zoo_build(ctx, "resnet:depth=8,image=4");
    CHECK_OK(t, ctx, epl_ibn(g, NULL, 1, (epl_ibn_opts){ .last_stage = 3 }, &r));
    CHECK_INT(t, r.one_pixel, 1); // 4 x 4, 2 x 2, 1 x 1
    epl_graph_free(g);
    epl_graph *plain = epl_zoo_build(ctx, "resnet:depth=8"), *none = epl_zoo_build(ctx, "resnet:depth=8");
    CHECK_OK(t, ctx, epl_ibn(none, NULL, 0, (epl_ibn_opts){ 0 }, &r));
    CHECK_INT(t, r.layers, 0);
    CHECK(t, epl_graph_hash(plain) == epl_graph_hash(none));
    epl_graph_free(plain);
    epl_graph_free(none);
}

/* In a frozen program the batch's half goes into the convolution before it; the other stays. */
PROPERTY(the_batch_half_is_folded, 3)
{
    static const char *const nets[] = { "resnet:depth=8,image=16,ibn=a", "resnet:depth=8,image=16,ibn=b",
                                        "resnet:depth=11,bottleneck=1,image=16,ibn=a" };
    epl_context *ctx = test_context(t);
    epl_model   *m   = epl_model_new_take(epl_zoo_build(ctx, nets[t->index]));
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (epl_weights_at(m->weights, i)->shape.rank == 1)
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), t->rng, 0.5, 1.5);
    epl_program *p[2] = { epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true }),
                          epl_program_new(m->graph, m->weights, (epl_program_opts){ .reference = true }) };
    CHECK_OK(t, ctx, p[0] && p[1]);
    epl_tensor_fill_normal(epl_program_input(p[0], 0), t->rng, 0, 1);
    memcpy(epl_program_input(p[1], 0)->data, epl_program_input(p[0], 0)->data, epl_tensor_bytes(epl_program_input(p[0], 0)));
    CHECK_OK(t, ctx, epl_program_run(p[0]) && epl_program_run(p[1]));
    CHECK_CLOSE(t, epl_program_output(p[0], 0), epl_program_output(p[1], 0), .rtol = 1e-4, .atol = 1e-4);
    int instance = 0;
    for (const epl_node *n = epl_first(epl_program_graph(p[0])); n; n = epl_next(n)) {
        CHECK(t, strcmp(epl_node_op_name(n), "BatchNorm") != 0);
        instance += is_instance(n);
    }
    CHECK_INT(t, instance, n_instance(m->graph));
    epl_program_free(p[0]);
    epl_program_free(p[1]);
    epl_model_free(m);
}

TEST(errors_say_what_is_missing)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "resnet:depth=8,width=4");
    CHECK_FAILS(t, ctx, epl_ibn(g, NULL, 0.1, (epl_ibn_opts){ 0 }, NULL), EPL_ERR_ARGUMENT, "0.1 of 4 channels leaves 0");
    epl_graph_free(g);
    g = epl_zoo_build(ctx, "resnet:depth=8");
    CHECK_FAILS(t, ctx, epl_ibn(g, NULL, 0.5, (epl_ibn_opts){ .last_stage = 5 }, NULL), EPL_ERR_ARGUMENT, "stages 1 to 5, but network");
    epl_graph_free(g);
    g = epl_zoo_build(ctx, "densenet:depth=22,image=16");
    CHECK_FAILS(t, ctx, epl_ibn(g, NULL, 0.5, (epl_ibn_opts){ .variant = EPL_IBN_B }, NULL), EPL_ERR_UNSUPPORTED, "no residual blocks");
    epl_graph_free(g);
    g = epl_zoo_build(ctx, "lenet");
    CHECK_FAILS(t, ctx, epl_ibn(g, NULL, 0.5, (epl_ibn_opts){ 0 }, NULL), EPL_ERR_UNSUPPORTED, "no residual blocks or dense layers");
    epl_graph_free(g);
}
