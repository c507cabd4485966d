/* Networks changed from the outside: deepened layers compute what they did, merged layers compute what the chain did. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "graph/op.h"

/* Every weight random, so that nothing hides behind zeros and ones. */
static void shake(test *t, epl_model *m)
{
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char *name = epl_weights_name(m->weights, i);
        if (strcmp(name, EPL_DEEPENING_SLOPE) == 0)
            continue;
        if (epl_glob("*.running_var", name))
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), t->rng, 0.5, 2);
        else
            epl_tensor_fill_normal(epl_weights_at(m->weights, i), t->rng, 0, 0.5);
    }
}

static epl_tensor *run(test *t, const epl_model *m, const epl_tensor *x)
{
    epl_tensor *y = NULL;
    CHECK_OK(t, m->ctx, epl_interpret(m->graph, m->weights, &x, &y));
    return y;
}

static epl_tensor *input_of(test *t, const epl_model *m)
{
    epl_tensor *x = epl_tensor_new(m->ctx, EPL_F32, epl_shape_of(epl_graph_input_at(m->graph, 0)));
    CHECK(t, x != NULL);
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    return x;
}

static epl_model *model_of(test *t, epl_graph *g)
{
    epl_model *m = epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, epl_graph_context(g), m && epl_model_init(m, 1));
    return m;
}

static int count(const epl_graph *g, const char *op)
{
    int n = 0;
    for (const epl_node *node = epl_first(g); node; node = epl_next(node))
        n += strcmp(epl_node_op_name(node), op) == 0;
    return n;
}

/* ---- merging ---- */

/* Two layers as the case says, with normalisations. */
static epl_graph *chain(epl_context *ctx, int index)
{
    epl_graph *g = epl_graph_new(ctx, "chain");
    const bool flat = index == 4;
    epl_value *x = epl_input(g, "x", EPL_F32, flat ? EPL_SHAPE(3, 5) : EPL_SHAPE(2, 9, 7, 5), "N");
    switch (index) {
    case 0: /* k x k, 1x1 */
        x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 6, .kernel = 3, .pad = 1, .stride = 2 });
        x = epl_conv(g, epl_batch_norm(g, x, (epl_norm_opts){ .epsilon = 1e-6 }), (epl_conv_opts){ .name = "b", .out = 4, .kernel = 1 });
        break;
    case 1: /* 1x1, k x k without padding */
        x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 6, .kernel = 1 });
        x = epl_conv(g, epl_leaky_relu(g, x, 1), (epl_conv_opts){ .name = "b", .out = 4, .kernel = 3, .stride = 2 });
        break;
    case 2: /* 1x1 without bias, k x k with padding */
        x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 6, .kernel = 1, .no_bias = true });
        x = epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 4, .kernel = 3, .pad = 1 });
        break;
    case 3: /* three at once, the last normalised */
        x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 6, .kernel = 1 });
        x = epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 7, .kernel = 3 });
        x = epl_batch_norm(g, epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 4, .kernel = 1 }), (epl_norm_opts){ 0 });
        break;
    case 5: /* the merged weight has the shape of the second one, which the bias is made of, too */
        x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 5, .kernel = 1 });
        x = epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 4, .kernel = 1 });
        break;
    default:
        x = epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 6 });
        x = epl_linear(g, epl_batch_norm(g, x, (epl_norm_opts){ 0 }), (epl_linear_opts){ .name = "b", .out = 4 });
    }
    epl_output(g, "y", x);
    return g;
}

PROPERTY(chains_become_one_layer, 6)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = model_of(t, chain(ctx, t->index));
    shake(t, m);
    epl_tensor *x = input_of(t, m), *before = run(t, m, x);
    int         pairs = 0;
    CHECK_OK(t, ctx, epl_merge_linear(m, &pairs) && epl_model_check(m));
    CHECK_INT(t, pairs, t->index == 3 ? 2 : 1);
    CHECK_INT(t, count(m->graph, "Conv") + count(m->graph, "Linear"), 1);
    CHECK_INT(t, count(m->graph, "BatchNormalization") + count(m->graph, "BatchNorm"), 0);
    CHECK_INT(t, epl_graph_n_parameters(m->graph), t->index >= 4 ? 5 * 4 + 4 : 9 * 5 * 4 + 4);
    epl_tensor *after = run(t, m, x);
    CHECK_CLOSE(t, after, before, .rtol = 1e-4, .atol = 1e-4);
    epl_tensor_free(after);
    epl_tensor_free(before);
    epl_tensor_free(x);
    epl_model_free(m);
}

TEST(what_is_not_linear_stays)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "stays");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8, 8, 4), "N");
    x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 4, .kernel = 1 });                       // padding of b is not a's bias
    x = epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 4, .kernel = 3, .pad = 1 });
    x = epl_conv(g, x, (epl_conv_opts){ .name = "c", .out = 4, .kernel = 1, .groups = 2 });          // groups
    x = epl_conv(g, epl_leaky_relu(g, x, 0.5), (epl_conv_opts){ .name = "d", .out = 4, .kernel = 1 }); // bent
    epl_value *y = epl_conv(g, x, (epl_conv_opts){ .name = "e", .out = 4, .kernel = 1 });
    epl_output(g, "y", epl_add(g, x, y));                                                             // d has two readers
    epl_model *m = model_of(t, g);
    int        pairs = -1;
    CHECK_OK(t, ctx, epl_merge_linear(m, &pairs));
    CHECK_INT(t, pairs, 0);
    CHECK_INT(t, count(m->graph, "Conv"), 5);
    epl_model_free(m);
}

/* ---- deepening ---- */

TEST(deepened_layers_compute_what_they_did_and_merge_again)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "cnn:width=4,stages=2,depth=1,image=8");
    epl_model   *m   = model_of(t, g);
    const int64_t parameters = epl_graph_n_parameters(m->graph);
    epl_tensor  *x = input_of(t, m), *before = run(t, m, x);
    CHECK_OK(t, ctx, epl_deepen(m, "stage*.conv.weight") == 2 && epl_model_init(m, 2));
    CHECK(t, epl_graph_n_parameters(m->graph) > parameters);
    CHECK_FAILS(t, ctx, epl_merge_linear(m, NULL), EPL_ERR_ARGUMENT, "is 0, and has to be 1");
    epl_tensor_set(epl_weights_find(m->weights, EPL_DEEPENING_SLOPE), 0, 1);
    epl_tensor *deep = run(t, m, x);
    CHECK_CLOSE(t, deep, before, .rtol = 1e-4, .atol = 1e-4);
    int pairs = 0;
    CHECK_OK(t, ctx, epl_merge_linear(m, &pairs));
    CHECK_INT(t, pairs, 2);
    CHECK(t, epl_weights_find(m->weights, EPL_DEEPENING_SLOPE) == NULL);
    epl_tensor *merged = run(t, m, x);
    CHECK_CLOSE(t, merged, before, .rtol = 1e-4, .atol = 1e-4);
    CHECK_FAILS(t, ctx, epl_deepen(m, "nothing*") < 0 ? NULL : m, EPL_ERR_ARGUMENT, "'nothing*'");
    epl_tensor_free(merged);
    epl_tensor_free(deep);
    epl_tensor_free(before);
    epl_tensor_free(x);
    epl_model_free(m);
}

TEST(the_slope_rises_to_one)
{
    const epl_deep_training_opts linear = { .epochs = 4 }, cosine = { .epochs = 4, .cosine = true };
    const double expected[][2] = { { 0, 0 }, { 0.25, 0.1464466 }, { 0.5, 0.5 }, { 0.75, 0.8535534 }, { 1, 1 }, { 1, 1 } };
    for (int e = 0; e < 6; e++) {
        CHECK_NEAR(t, epl_deep_training_slope(linear, e), expected[e][0], .atol = 1e-12);
        CHECK_NEAR(t, epl_deep_training_slope(cosine, e), expected[e][1], .atol = 1e-6);
    }
}

/* Slopes that training has seen: the hook of the test looks after each update. */
static bool see(void *user, epl_trainer *trainer, int64_t step)
{
    float *seen = user;
    const epl_weights *w = epl_trainer_model(trainer)->weights;
    seen[step - 1] = (float)epl_tensor_get(epl_weights_find(w, EPL_DEEPENING_SLOPE), 0);
    return epl_tensor_get(epl_weights_find(w, "ema." EPL_DEEPENING_SLOPE), 0) == (double)seen[step - 1];
}

TEST(training_moves_the_slope_by_epochs)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, epl_zoo_build(ctx, "mlp:image=16,channels=3,classes=6,width=8,depth=1"));
    epl_dataset *d = epl_dataset_open(ctx, "shapes:image=16", (epl_dataset_opts){ .limit = 32 });
    CHECK_OK(t, ctx, d && epl_deepen(m, "hidden*") == 1);
    float          seen[8] = { 0 };
    epl_train_hook hooks[] = { epl_deep_training(m, (epl_deep_training_opts){ .epochs = 2 }), { .after_step = see, .user = seen } };
    CHECK_OK(t, ctx, hooks[0].user);
    epl_trainer *trainer = epl_trainer_new(m, d, NULL, (epl_trainer_opts){ .epochs = 4, .batch = 16, .hooks = hooks, .n_hooks = 2,
                                                                           .optimizer = { .kind = EPL_SGD, .rate = 0.01, .ema = 0.9 } });
    CHECK_OK(t, ctx, trainer && epl_trainer_run(trainer));
    const float expected[] = { 0, 0, 0.5f, 0.5f, 1, 1, 1, 1 };
    for (int i = 0; i < 8; i++)
        CHECK_NEAR(t, seen[i], expected[i], .atol = 0);
    epl_trainer_free(trainer);
    CHECK_OK(t, ctx, epl_merge_linear(m, NULL));
    epl_release(ctx, hooks[0].user);
    CHECK_FAILS(t, ctx, epl_deep_training(m, (epl_deep_training_opts){ .epochs = 2 }).user, EPL_ERR_ARGUMENT, "no fading relu");
    epl_dataset_free(d);
    epl_model_free(m);
}

/* ---- adaptive max pooling, by its definition ---- */

PROPERTY(adaptive_max_pooling_takes_the_largest, 20)
{
    epl_context *ctx = test_context(t);
    const int    h = 1 + (int)epl_rng_below(t->rng, 9), w = 1 + (int)epl_rng_below(t->rng, 9), c = 3;
    const int    size[] = { 1 + (int)epl_rng_below(t->rng, 9), 1 + (int)epl_rng_below(t->rng, 9) };
    epl_graph   *g = epl_graph_new(ctx, "pool");
    epl_output(g, "y", epl_adaptive_max_pool(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(2, h, w, c), "N"), size));
    epl_model  *m = model_of(t, g);
    epl_tensor *x = input_of(t, m), *y = run(t, m, x);
    CHECK(t, epl_shape_equal(y->shape, EPL_SHAPE(2, size[0], size[1], c)));
    for (int64_t i = 0; i < epl_tensor_count(y); i++) {
        const int64_t k = i % c, ox = i / c % size[1], oy = i / c / size[1] % size[0], n = i / c / size[1] / size[0];
        double most = -INFINITY;
        for (int64_t yy = oy * h / size[0]; yy * size[0] < (oy + 1) * h; yy++)
            for (int64_t xx = ox * w / size[1]; xx * size[1] < (ox + 1) * w; xx++)
                most = fmax(most, epl_tensor_get(x, ((n * h + yy) * w + xx) * c + k));
        CHECK_NEAR(t, epl_tensor_get(y, i), most, .atol = 0);
    }
    epl_tensor_free(y);
    epl_tensor_free(x);
    epl_model_free(m);
}
