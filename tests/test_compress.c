/* Masks on weights: how many stay, which, when, and that they stay 0 whatever the optimizer does. */
#include "common/check.h"
#include "common/cut_run.h"

#include <espalier/espalier.h>

#include "compress/compress.h"

static epl_model *zoo(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    CHECK_OK(t, ctx, g != NULL);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    return m;
}

static int64_t ones(const epl_model *m, const char *parameter)
{
    const epl_tensor *mask = epl_mask_of(m->weights, parameter);
    int64_t n = 0;
    for (int64_t i = 0; mask && i < epl_tensor_count(mask); i++)
        n += epl_tensor_get(mask, i) == 1;
    return n;
}

/* ---- how many: the base sheet's numbers ---- */

/* a(8, 4, 3, 3), b(16, 8, 3, 3), c(10, 16), stored [kh, kw, i, o]. */
static epl_graph *three_layers(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "toy");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 6, 4), "N,,,");
    x = epl_conv(g, x, (epl_conv_opts){ .name = "a", .out = 8, .no_bias = true });
    x = epl_global_average_pool(g, epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = 16, .no_bias = true }));
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "c", .out = 10 }));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    return g;
}

TEST(erdos_renyi_kernel_densities_of_a_toy)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = three_layers(t, ctx);
    epl_layers   l;
    double       d[3];
    CHECK_OK(t, ctx, epl_weight_layers_find(g, &l));
    CHECK_INT(t, l.n, 3);
    CHECK_OK(t, ctx, epl_densities(ctx, "erk", 0.5, 1, l.items, l.n, d));
    CHECK_CLOSE_F64(t, d, ((double[]){ 0.83333333, 0.34722222, 1 }), 3, .atol = 1e-7);
    CHECK_NEAR(t, (288 * d[0] + 1152 * d[1] + 160 * d[2]) / 1600, 0.5, .atol = 1e-12);
    CHECK_OK(t, ctx, epl_densities(ctx, "erk", 0.2, 1, l.items, l.n, d));
    CHECK_CLOSE_F64(t, d, ((double[]){ 0.270270, 0.112613, 0.702703 }), 3, .atol = 1e-6);
    CHECK_OK(t, ctx, epl_densities(ctx, "uniform+", 0.6, 1, l.items, l.n, d));
    CHECK_NEAR(t, d[0], 1, 0);
    CHECK_NEAR(t, d[2], 0.6, .atol = 1e-12);
    CHECK_NEAR(t, (288 * d[0] + 1152 * d[1] + 160 * d[2]) / 1600, 0.6, .atol = 1e-12);
    CHECK_OK(t, ctx, epl_densities(ctx, "erk+", 0.2, 1, l.items, l.n, d));
    CHECK_NEAR(t, d[2], 1, 0);
    CHECK_NEAR(t, (288 * d[0] + 1152 * d[1] + 160 * d[2]) / 1600, 0.2, .atol = 1e-12);
    CHECK_FAILS(t, ctx, epl_densities(ctx, "erk+", 0.05, 1, l.items, l.n, d), EPL_ERR_ARGUMENT, "stay dense");
    epl_weight_layers_release(&l);
    epl_graph_free(g);
}

TEST(counts_are_exact_and_halves_round_up)
{
    CHECK_INT(t, epl_keep_count(10, 0.25), 7);
    CHECK_INT(t, epl_keep_count(10, 0.24), 8);
    CHECK_INT(t, epl_keep_count(7, 0), 7);
    epl_context *ctx = test_context(t);
    static const char *const rules[] = { "uniform", "er", "erk", "erk+" };
    for (size_t i = 0; i < EPL_COUNT(rules); i++) {
        epl_model *m = epl_model_new_take(three_layers(t, ctx));
        epl_layers l;
        double     d[3];
        CHECK_OK(t, ctx,
                 epl_model_init(m, 1) && epl_weight_layers_find(m->graph, &l) &&
                     epl_densities(ctx, rules[i], 0.3, 1, l.items, 3, d));
        CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.7, .distribution = rules[i] }));
        for (int k = 0; k < 3; k++)
            CHECK_INT(t, ones(m, l.items[k].name), epl_keep_count(l.items[k].count, 1 - d[k]));
        epl_weight_layers_release(&l);
        epl_model_free(m);
    }
}

TEST(the_parameters_of_published_tables)
{
    epl_context *ctx = test_context(t); // MobileNet v1 without norms: 4,210,088; half of the classifier's and pointwise weights
    epl_graph   *g = epl_zoo_build(ctx, "mobilenet:image=32");
    epl_layers   l;
    CHECK_OK(t, ctx, g && epl_weight_layers_find(g, &l) && epl_weight_layers_choose(&l, NULL, "first,depthwise"));
    int64_t prunable = 0, kept = 0;
    for (int i = 0; i < l.n; i++) {
        prunable += l.items[i].count;
        kept += epl_keep_count(l.items[i].count, 0.5);
    }
    CHECK_INT(t, prunable, 3139584 + 1024000);
    CHECK_INT(t, 4210088 - prunable + kept, 2128296);
    epl_weight_layers_release(&l);
    epl_graph_free(g);
}

TEST(global_pruning_has_one_threshold)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "lenet");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5, .distribution = "global" }));
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &s));
    CHECK_INT(t, s.nonzero, epl_keep_count(s.weights, 0.5));
    CHECK_INT(t, s.parameters - s.parameters_nonzero, s.weights - s.nonzero);
    double least_kept = 1e9;
    epl_layers l;
    CHECK_OK(t, ctx, epl_weight_layers_find(m->graph, &l));
    for (int i = 0; i < l.n; i++) {
        const epl_tensor *w = epl_weights_find(m->weights, l.items[i].name);
        for (int64_t k = 0; k < l.items[i].count; k++)
            if (epl_tensor_get(w, k) != 0 && fabs(epl_tensor_get(w, k)) < least_kept)
                least_kept = fabs(epl_tensor_get(w, k));
    }
    epl_model *dense = zoo(t, ctx, "lenet");
    int64_t    above = 0;
    for (int i = 0; i < l.n; i++) {
        const epl_tensor *w = epl_weights_find(dense->weights, l.items[i].name);
        for (int64_t k = 0; k < l.items[i].count; k++)
            above += fabs(epl_tensor_get(w, k)) >= least_kept;
    }
    CHECK_INT(t, above, s.nonzero);
    epl_weight_layers_release(&l);
    epl_model_free(dense);
    epl_model_free(m);
}

/* ---- which ---- */

PROPERTY(selection_is_by_rank_with_ties_by_index, 200)
{
    epl_context  *ctx = test_context(t);
    float         x[40];
    unsigned char keep[40];
    const int64_t n = 1 + (int64_t)epl_rng_below(t->rng, 40), count = (int64_t)epl_rng_below(t->rng, (uint64_t)n + 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = epl_rng_below(t->rng, 5) ? (float)epl_rng_below(t->rng, 4) * 0.25f - 0.25f : -INFINITY;
    CHECK_OK(t, ctx, epl_select(ctx, x, n, count, keep));
    for (int64_t i = 0; i < n; i++) {
        int64_t ahead = 0;
        for (int64_t k = 0; k < n; k++)
            ahead += x[k] > x[i] || (x[k] == x[i] && k < i);
        CHECK_INT(t, keep[i], ahead < count);
    }
}

TEST(criteria_score_as_they_say)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *w = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4)), *g = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4));
    const float  wv[] = { 1, -2, 0, 2 }, gv[] = { -3, 1, 5, 0.5f };
    memcpy(w->data, wv, sizeof wv);
    memcpy(g->data, gv, sizeof gv);
    epl_weights *grads = epl_weights_new(ctx);
    CHECK_OK(t, ctx, grads && epl_weights_put_take(grads, "w", g));
    const epl_prune_opts o = { .gradients = grads };
    float s[4];
    CHECK_OK(t, ctx, epl_scores(ctx, "magnitude", "w", w, NULL, &o, s));
    CHECK_CLOSE_F32(t, s, ((float[]){ 1, 2, 0, 2 }), 4, 0);
    CHECK_OK(t, ctx, epl_scores(ctx, "gradient", "w", w, NULL, &o, s));
    CHECK_CLOSE_F32(t, s, ((float[]){ 3, 1, 5, 0.5f }), 4, 0);
    CHECK_OK(t, ctx, epl_scores(ctx, "snip", "w", w, NULL, &o, s));
    CHECK_CLOSE_F32(t, s, ((float[]){ 3, 2, 0, 1 }), 4, 0);
    CHECK_OK(t, ctx, epl_scores(ctx, "lamp", "w", w, NULL, &o, s));
    CHECK_CLOSE_F32(t, s, ((float[]){ 1.0f / 9, 4.0f / 8, 0, 1 }), 4, .rtol = 1e-6);
    CHECK_FAILS(t, ctx, epl_scores(ctx, "taylor", "v", w, NULL, &o, s), EPL_ERR_ARGUMENT, "needs a gradient for 'v'");
    epl_tensor_free(w);
    epl_weights_free(grads);
}

TEST(random_masks_are_nested_and_follow_the_seed)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = zoo(t, ctx, "mlp:width=32,image=8"), *b = zoo(t, ctx, "mlp:width=32,image=8");
    CHECK_OK(t, ctx, epl_prune_weights(a, (epl_prune_opts){ .sparsity = 0.5, .criterion = "random", .seed = 3 }));
    CHECK_OK(t, ctx, epl_prune_weights(b, (epl_prune_opts){ .sparsity = 0.8, .criterion = "random", .seed = 3 }));
    epl_layers l;
    CHECK_OK(t, ctx, epl_weight_layers_find(a->graph, &l));
    const epl_tensor *wide = epl_mask_of(a->weights, l.items[0].name), *narrow = epl_mask_of(b->weights, l.items[0].name);
    for (int64_t i = 0; i < epl_tensor_count(wide); i++)
        CHECK(t, epl_tensor_get(wide, i) >= epl_tensor_get(narrow, i));
    CHECK_OK(t, ctx, epl_prune_weights(a, (epl_prune_opts){ .sparsity = 0.8, .criterion = "random", .seed = 3 }));
    CHECK(t, epl_tensor_equal(epl_mask_of(a->weights, l.items[0].name), narrow));
    epl_weight_layers_release(&l);
    epl_model_free(a);
    epl_model_free(b);
}

TEST(two_of_four_along_the_input_channels)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "cnn:stages=2,depth=1,width=6,growth=1,channels=6");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .n = 2, .m = 4, .skip = "last" }));
    const epl_tensor *mask = epl_mask_of(m->weights, "stage2.unit1.conv.weight"); // [3, 3, 6, 6]: groups of 4 and of 2
    for (int64_t tap = 0; tap < 9; tap++)
        for (int64_t out = 0; out < 6; out++) {
            double n[2] = { 0, 0 };
            for (int64_t c = 0; c < 6; c++)
                n[c / 4] += epl_tensor_get(mask, (tap * 6 + c) * 6 + out);
            CHECK(t, n[0] == 2 && n[1] == 2);
        }
    epl_model_free(m);
}

TEST(blocks_go_as_a_whole)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "mlp:width=10,image=6");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5, .block_rows = 4, .block_columns = 4, .skip = "last" }));
    epl_layers l;
    CHECK_OK(t, ctx, epl_weight_layers_find(m->graph, &l));
    const epl_tensor *mask = epl_mask_of(m->weights, l.items[0].name); // [36, 10]: 9 x 3 blocks, 14 stay
    int64_t blocks = 0;
    for (int64_t r = 0; r < 36; r++)
        for (int64_t c = 0; c < 10; c++) {
            CHECK(t, epl_tensor_get(mask, r * 10 + c) == epl_tensor_get(mask, r / 4 * 40 + c / 4 * 4));
            blocks += r % 4 == 0 && c % 4 == 0 && epl_tensor_get(mask, r * 10 + c) == 1;
        }
    CHECK_INT(t, blocks, epl_keep_count(27, 0.5));
    epl_weight_layers_release(&l);
    epl_model_free(m);
}

/* ---- when ---- */

TEST(schedules_have_the_papers_values)
{
    const epl_pruner_opts cubic = { .prune = { .sparsity = 0.9 }, .begin_step = 100, .end_step = 200, .every = 10 };
    const double want[] = { 0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9 };
    for (int i = 0; i <= 10; i++)
        CHECK_NEAR(t, epl_pruner_sparsity(&cubic, 100 + 10 * i, 1000), want[i], .atol = 1e-9);
    CHECK_NEAR(t, epl_pruner_sparsity(&cubic, 99, 1000), 0, 0);
    CHECK_NEAR(t, epl_pruner_sparsity(&cubic, 119, 1000), want[1], .atol = 1e-9);
    CHECK_NEAR(t, epl_pruner_sparsity(&cubic, 777, 1000), 0.9, 0);
    const epl_pruner_opts parts = { .prune = { .sparsity = 0.8 }, .begin = 0.2, .end = 0.6, .every = 100 };
    const double quarters[] = { 0, 0.4625, 0.7, 0.7875, 0.8 };
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(t, epl_pruner_sparsity(&parts, 200 + 100 * i, 1000), quarters[i], .atol = 1e-9);
    epl_pruner_opts o = cubic, l = cubic;
    o.exponent = 1;
    l.schedule = "linear";
    for (int i = 0; i <= 10; i++)
        CHECK_NEAR(t, epl_pruner_sparsity(&o, 100 + 10 * i, 0), epl_pruner_sparsity(&l, 100 + 10 * i, 0), .atol = 1e-15);
    o = (epl_pruner_opts){ .prune = { .sparsity = 0.75 }, .schedule = "exponential", .begin_step = 1, .end_step = 3, .every = 1 };
    CHECK_NEAR(t, epl_pruner_sparsity(&o, 2, 0), 0.5, .atol = 1e-12);
    o = (epl_pruner_opts){ .prune = { .sparsity = 0.9 }, .begin_step = 5, .end_step = 5 };
    CHECK_NEAR(t, epl_pruner_sparsity(&o, 5, 0), 0.9, 0);
    CHECK_NEAR(t, epl_pruner_sparsity(&o, 4, 0), 0, 0);
    o = cubic;
    o.schedule = "oneshot";
    CHECK_NEAR(t, epl_pruner_sparsity(&o, 100, 0), 0.9, 0);
}

static epl_dataset *pictures(test *t, epl_context *ctx, int64_t n)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(n, 8, 8, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n));
    epl_rng r = epl_rng_at(5, 1);
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = (int64_t)epl_rng_below(&r, 3);
        epl_tensor_set_i64(y, i, c);
        for (int64_t k = 0; k < 64; k++)
            epl_tensor_set(x, i * 64 + k, (double)epl_rng_normal(&r) + (k % 3 == c));
    }
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "pictures", x, y);
    CHECK_OK(t, ctx, d != NULL);
    return d;
}

static const char net[] = "cnn:image=8,stages=2,depth=1,width=8,classes=3";

typedef struct watch { /* a second hook, behind the pruner's */
    test        *t;
    epl_weights *before;  /* the masks after the update before */
    double       densest; /* lowest density seen */
    int64_t      zeros_seen;
} watch;

static bool look(void *user, epl_trainer *tr, int64_t step)
{
    watch     *w = user;
    epl_model *m = epl_trainer_model(tr);
    (void)step;
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char       *name = epl_weights_name(m->weights, i);
        const epl_tensor *p = epl_weights_at(m->weights, i), *mask = epl_mask_of(m->weights, name);
        if (!mask || !epl_graph_find(m->graph, name))
            continue;
        epl_tensor *old = w->before ? epl_weights_find(w->before, name) : NULL;
        for (int64_t k = 0; k < epl_tensor_count(mask); k++) {
            if (epl_tensor_get(mask, k) == 0 && epl_tensor_get(p, k) != 0)
                test_fail(w->t, __FILE__, __LINE__, "update %lld: '%s'[%lld] is %g under its mask", (long long)step, name,
                          (long long)k, epl_tensor_get(p, k));
            if (old && epl_tensor_get(mask, k) > epl_tensor_get(old, k))
                test_fail(w->t, __FILE__, __LINE__, "update %lld: '%s'[%lld] came back", (long long)step, name, (long long)k);
            w->zeros_seen += epl_tensor_get(mask, k) == 0;
        }
        if (old)
            memcpy(old->data, mask->data, epl_tensor_bytes(mask));
        else if (!epl_weights_put_take(w->before, name, epl_tensor_copy(m->ctx, mask)))
            return false;
    }
    return true;
}

/* Each optimizer, with momentum, decay and averages: 100 updates. */
PROPERTY(frozen_weights_stay_zero_and_masks_only_close, 7)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, net);
    epl_dataset *d = pictures(t, ctx, 80);
    watch        w = { .t = t, .before = epl_weights_new(ctx) };
    const epl_train_hook hooks[] = {
        epl_pruner_hook(m, (epl_pruner_opts){ .prune = { .sparsity = 0.8, .distribution = t->index % 2 ? "global" : "erk" },
                                              .begin = 0.1, .end = 0.6, .every = 7 }),
        { .after_step = look, .user = &w },
    };
    CHECK_OK(t, ctx, hooks[0].user != NULL);
    epl_trainer *tr = epl_trainer_new(m, d, NULL, (epl_trainer_opts){
        .epochs = 10, .batch = 8, .seed = 3, .hooks = hooks, .n_hooks = 2,
        .optimizer = { .kind = (epl_optimizer_kind)t->index, .momentum = 0.9, .decay = 0.01, .ema = 0.9, .rate = 0.01 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    CHECK_INT(t, epl_trainer_total_updates(tr), 100);
    epl_trainer_free(tr);
    CHECK(t, w.zeros_seen > 0);
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &s)); // the averaged weights now, masked all the same
    int64_t kept = 0;
    epl_layers l;
    CHECK_OK(t, ctx, epl_weight_layers_find(m->graph, &l));
    for (int i = 0; i < l.n; i++)
        kept += ones(m, l.items[i].name);
    CHECK_INT(t, s.nonzero, kept);
    CHECK(t, llabs(kept - epl_keep_count(s.weights, 0.8)) <= l.n);
    epl_weight_layers_release(&l);
    CHECK_OK(t, ctx, epl_bake(m));
    epl_sparsity baked;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &baked));
    CHECK_INT(t, baked.nonzero, s.nonzero);
    CHECK(t, !epl_weights_find(m->weights, "stage1.unit1.conv.weight.mask"));
    epl_release(ctx, hooks[0].user);
    epl_weights_free(w.before);
    epl_dataset_free(d);
    epl_model_free(m);
}

static epl_model *pruned_run(test *t, epl_context *ctx, epl_mask_gradient gradient, const char *folder, int64_t stop)
{
    epl_model   *m = zoo(t, ctx, net);
    epl_dataset *d = pictures(t, ctx, 60);
    const epl_train_hook hook =
        epl_pruner_hook(m, (epl_pruner_opts){ .prune = { .sparsity = 0.7, .gradient = gradient }, .end = 0.8, .every = 3 });
    CHECK_OK(t, ctx, hook.user != NULL);
    test_train_until(t, m, d, (epl_trainer_opts){ .epochs = 3, .batch = 6, .seed = 9, .hooks = &hook, .n_hooks = 1, .checkpoint = folder,
                                                  .optimizer = { .kind = EPL_ADAMW, .decay = 0.01 } }, stop);
    epl_release(ctx, hook.user);
    epl_dataset_free(d);
    return m;
}

PROPERTY(a_run_that_was_cut_goes_on_with_the_same_bits, 3)
{
    epl_context *ctx = test_context(t);
    const epl_mask_gradient gradient = (epl_mask_gradient)t->index;
    char folder[64];
    snprintf(folder, sizeof folder, "cut%d", t->index);
    epl_model *whole = pruned_run(t, ctx, gradient, NULL, INT64_MAX);
    epl_model_free(pruned_run(t, ctx, gradient, test_temp(t, folder), 14));
    epl_model *resumed = pruned_run(t, ctx, gradient, test_temp(t, folder), INT64_MAX);
    test_same_weights(t, whole, resumed);
    epl_model_free(whole);
    epl_model_free(resumed);
}

/* Counts the steps of training that run on lists of non-zeros. */
static bool count_lists(void *user, epl_trainer *tr, int64_t step)
{
    const epl_program *p = epl_trainer_program(tr);
    int *count = user;
    (void)step;
    *count = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        *count += strcmp(epl_program_step(p, i).kernel, "sparse_conv") == 0;
    return true;
}

static epl_model *masked_run(test *t, epl_context *ctx, const char *folder, int64_t stop, int *lists)
{
    epl_graph   *g = epl_zoo_build(ctx, "cnn:image=8,stages=1,depth=3,width=32,classes=3");
    epl_model   *m = g ? epl_model_new_take(g) : NULL;
    epl_dataset *d = pictures(t, ctx, 400);
    const epl_train_hook hook = { .after_step = count_lists, .user = lists };
    CHECK_OK(t, ctx,
             m && epl_model_init(m, 4) &&
                 epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.95, .criterion = "random", .skip = "first" }));
    test_train_until(t, m, d, (epl_trainer_opts){ .epochs = 2, .batch = 100, .seed = 9, .hooks = &hook, .n_hooks = 1, .checkpoint = folder,
                                                  .optimizer = { .kind = EPL_ADAMW, .decay = 0.01 } }, stop);
    epl_dataset_free(d);
    return m;
}

/* Under masks that stay, updates skip zeros; cut, resumed and by three threads they give the same bits. */
TEST(training_skips_what_masks_hide)
{
    epl_context *one = test_context(t), *three = test_context(t, .n_threads = 3);
    int lists = 0;
    epl_model *whole = masked_run(t, one, NULL, INT64_MAX, &lists);
    CHECK_INT(t, lists, 4); // two convolutions, forward and their inputs' gradients
    epl_model_free(masked_run(t, three, test_temp(t, "masked"), 3, &lists));
    epl_model *resumed = masked_run(t, three, test_temp(t, "masked"), INT64_MAX, &lists);
    CHECK_INT(t, lists, 4);
    test_same_weights(t, whole, resumed);
    epl_model_free(whole);
    epl_model_free(resumed);
}

TEST(a_run_goes_on_with_the_same_schedule_only)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = pictures(t, ctx, 60);
    epl_pruner_opts o = { .prune = { .sparsity = 0.7 }, .end = 0.8, .every = 3 };
    for (int i = 0; i < 5; i++) {
        epl_model *m = zoo(t, ctx, net);
        if (i == 2)
            o.end = 0.9;
        if (i == 3)
            o.end = 0.8, o.prune.distribution = "erk";
        if (i == 4)
            o.prune.distribution = "uniform", o.exponent = 3, o.prune.criterion = "magnitude"; // the defaults by name
        const epl_train_hook   hook = epl_pruner_hook(m, o);
        const epl_trainer_opts to = { .epochs = 3,
                                      .batch = 6,
                                      .seed = 9,
                                      .hooks = &hook,
                                      .n_hooks = 1,
                                      .checkpoint = test_temp(t, "schedule"),
                                      .resume = true };
        CHECK_OK(t, ctx, hook.user != NULL);
        if (i == 2 || i == 3)
            CHECK_FAILS(t, ctx, epl_trainer_new(m, d, NULL, to), EPL_ERR_ARGUMENT, "was made with other options of pruning");
        else
            test_train_until(t, m, d, to, 4 * (i + 1));
        epl_release(ctx, hook.user);
        epl_model_free(m);
    }
    epl_dataset_free(d);
}

/* The more is gone the worse it is here; a hook that is always settled takes what an early validation found. */
PROPERTY(the_best_is_one_that_is_pruned_to_the_end, 2)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, net);
    epl_dataset *d = pictures(t, ctx, 60);
    epl_train_hook hook = epl_pruner_hook(m, (epl_pruner_opts){ .prune = { .sparsity = 0.98 }, .end = 0.8, .every = 3 });
    CHECK_OK(t, ctx, hook.user != NULL);
    hook.settled = t->index ? NULL : hook.settled;
    epl_trainer *tr = epl_trainer_new(m, d, d,
                                      (epl_trainer_opts){ .epochs = 10,
                                                          .batch = 6,
                                                          .seed = 9,
                                                          .hooks = &hook,
                                                          .n_hooks = 1,
                                                          .monitor = EPL_MONITOR_LOSS,
                                                          .restore_best = true,
                                                          .optimizer = { .kind = EPL_ADAMW, .rate = 0.01 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &s));
    const double left = (double)s.nonzero / (double)s.weights;
    CHECK(t, t->index ? left > 0.03 : left < 0.021);
    int n, last = 0;
    const epl_epoch_record *h = epl_trainer_history(tr, &n);
    for (int i = 0; i < n; i++)
        last = h[i].val_loss == epl_trainer_best(tr) ? (int)h[i].epoch : last;
    CHECK(t, t->index ? last < 8 : last >= 8);
    epl_trainer_free(tr);
    epl_release(ctx, hook.user);
    epl_dataset_free(d);
    epl_model_free(m);
}

/* One step of plain descent on sum(y) of a linear layer: the gradient of each weight is its input. */
PROPERTY(gradients_pass_masks_as_the_mode_says, 3)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "line");
    epl_output(g, "y",
               epl_linear(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 2), NULL),
                          (epl_linear_opts){ .name = "l", .out = 1, .no_bias = true }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    CHECK_INT(t, epl_masks_add(m, (epl_mask_opts){ .gradient = (epl_mask_gradient)t->index, .lambda = 0.5 }), 1);
    CHECK_INT(t, epl_masks_add(m, (epl_mask_opts){ 0 }), 1); // a second time changes nothing
    epl_tensor *w = epl_weights_find(m->weights, "l.weight"), *mask = epl_mask_of(m->weights, "l.weight");
    const float wv[] = { 4, 6 }, xv[] = { 2, 3 };
    memcpy(w->data, wv, sizeof wv);
    epl_tensor_set(mask, 0, 0);
    CHECK(t, epl_mask_is_frozen(m->graph, "l.weight") == (t->index == EPL_MASK_FROZEN));
    epl_graph *s = epl_graph_copy(m->graph);
    epl_value *loss = epl_reduce_sum(s, epl_graph_output_at(s, 0), (epl_reduce_opts){ 0 }), *p = epl_graph_find(s, "l.weight"), *dw;
    CHECK_OK(t, ctx, epl_gradient(s, loss, 1, &p, &dw));
    epl_output(s, "dw", dw);
    epl_program *run = epl_program_new(s, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, run != NULL);
    memcpy(epl_program_input(run, 0)->data, xv, sizeof xv);
    CHECK_OK(t, ctx, epl_program_run(run));
    CHECK_NEAR(t, epl_tensor_get(epl_program_output(run, 0), 0), 18, 0);
    const double first[] = { 0, 2, 2 + 0.5 * 4 };
    CHECK_NEAR(t, epl_tensor_get(epl_program_output_named(run, "dw"), 0), first[t->index], 0);
    CHECK_NEAR(t, epl_tensor_get(epl_program_output_named(run, "dw"), 1), 3, 0);
    CHECK_OK(t, ctx, epl_bake(m));
    CHECK(t, !epl_mask_of(m->weights, "l.weight") && epl_graph_verify(m->graph));
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "l.weight"), 0), 0, 0);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "l.weight"), 1), 6, 0);
    epl_program_free(run);
    epl_graph_free(s);
    epl_model_free(m);
}

TEST(snip_takes_the_gradient_of_the_loss)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, net);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4, 8, 8, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(4));
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    epl_weights *g = epl_weight_gradients(m, x, y, (epl_loss_opts){ 0 });
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_weights_count(g), 3);
    const epl_tensor *head = epl_weights_find(g, "head.weight");
    double sum = 0, size = 0; // softmax's gradient sums to 0 over the classes
    for (int64_t i = 0; i < 3; i++) {
        sum += epl_tensor_get(head, i);
        size += fabs(epl_tensor_get(head, i));
    }
    CHECK(t, size > 0 && fabs(sum) < 1e-5 * size + 1e-7);
    CHECK_OK(t, ctx,
             epl_prune_weights(m,
                               (epl_prune_opts){
                                   .sparsity = 0.5, .criterion = "snip", .distribution = "global", .gradients = g }));
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &s));
    CHECK(t, s.nonzero <= epl_keep_count(s.weights, 0.5));
    epl_weights_free(g);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* Twice trained, pruned and taken back to update 4: what is left is what it was then. */
TEST(weights_go_back_to_an_early_update)
{
    epl_context  *ctx = test_context(t);
    epl_model    *m = zoo(t, ctx, net);
    epl_dataset  *d = pictures(t, ctx, 60);
    epl_rewinder *r = epl_rewinder_new(m, 4);
    epl_weights  *then = NULL;
    const epl_trainer_opts o = { .epochs = 1, .batch = 6, .hooks = &(epl_train_hook){ 0 }, .n_hooks = 1 };
    CHECK_OK(t, ctx, r != NULL);
    CHECK_FAILS(t, ctx, epl_rewind(m, r), EPL_ERR_ARGUMENT, "update 4");
    for (int round = 1; round <= 2; round++) {
        epl_train_hook   hook = epl_rewinder_hook(r);
        epl_trainer_opts with = o;
        with.hooks = &hook;
        epl_trainer *tr = epl_trainer_new(m, d, NULL, with);
        CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
        epl_trainer_free(tr);
        const double sparsity = epl_round_sparsity(0.75, round, 2);
        CHECK_NEAR(t, sparsity, round == 1 ? 0.5 : 0.75, .atol = 1e-12);
        CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = sparsity }) && epl_rewind(m, r));
        const epl_tensor *w = epl_weights_find(m->weights, "head.weight"), *mask = epl_mask_of(m->weights, "head.weight");
        CHECK_INT(t, ones(m, "head.weight"), epl_keep_count(epl_tensor_count(w), sparsity));
        for (int64_t i = 0; then && i < epl_tensor_count(w); i++)
            CHECK_NEAR(t, epl_tensor_get(w, i), epl_tensor_get(mask, i) * epl_tensor_get(epl_weights_find(then, "head.weight"), i), 0);
        if (!then)
            then = epl_weights_copy(ctx, m->weights);
    }
    epl_weights_free(then);
    epl_rewinder_free(r);
    epl_dataset_free(d);
    epl_model_free(m);
}

TEST(mistakes_are_named)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, net);
    const epl_layer_sparsity unknown = { "stag1.*", 0.5 };
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 1 }), EPL_ERR_ARGUMENT, "sparsity is 1");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .criterion = "magnitud" }), EPL_ERR_ARGUMENT, "did you mean 'magnitude'");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .n = 5, .m = 4 }), EPL_ERR_ARGUMENT, "5 of every 4");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .pattern = "nothing" }), EPL_ERR_ARGUMENT, "matches 'nothing'");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .layers = &unknown, .n_layers = 1 }), EPL_ERR_ARGUMENT, "there are stage1");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.99 }), EPL_ERR_ARGUMENT, "leaves none");
    CHECK_FAILS(t, ctx, epl_pruner_hook(m, (epl_pruner_opts){ .prune = { .sparsity = 0.2 }, .initial = 0.5 }).user != NULL,
                EPL_ERR_ARGUMENT, "ends at 0.2");
    CHECK_FAILS(t, ctx, epl_pruner_hook(m, (epl_pruner_opts){ .begin_step = 9, .end_step = 3 }).user != NULL,
                EPL_ERR_ARGUMENT, "lies before");
    epl_model_free(m);
}

TEST(the_report_counts_bytes_of_each_format)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, net);
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5 }));
    epl_table *table = epl_sparsity_report(m);
    CHECK_OK(t, ctx, table != NULL);
    char *json = epl_table_to_json(table); // stage2: [3, 3, 8, 16], 1152 weights, 576 stay, 4 x 4 positions
    CHECK(t, strstr(json, "\"count\": 1152") && strstr(json, "\"nonzero\": 576") && strstr(json, "\"macs\": 18432"));
    CHECK(t, strstr(json, "\"macs_nonzero\": 9216") && strstr(json, "\"csr32\": 4676") && strstr(json, "\"csr16\": 3524") &&
             strstr(json, "\"bitmap\": 2448"));
    epl_release(ctx, json);
    epl_table_free(table);
    epl_model_free(m);
}
