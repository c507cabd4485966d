/* vanillanet: what the series activation and deep training are worth to a plain network of five activations, and
 * that the merged network computes what the trained one did. */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: published sizes ---- */

/* Multiply-adds of everything but the activations' depthwise windows: what the paper's table counts. */
static double dense_macs(const epl_graph *g)
{
    double macs = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (!epl_glob("Conv", epl_node_op_name(n)) || epl_attr_i(n, "group") == 1)
            macs += epl_node_cost(n).macs;
    return macs;
}

static void check_size(paper_run *r, const char *options, int64_t train, int64_t deploy, double macs)
{
    const char *merged = paper_textf(r, "vanillanet:%s,form=deploy", options);
    paper_check_model(r, paper_textf(r, "vanillanet:%s", options), train, 0);
    paper_check_model(r, merged, deploy, 0);
    epl_graph *g = paper_ok(r) ? epl_zoo_build(paper_context(r), merged) : NULL;
    if (g)
        paper_check(r, paper_textf(r, "multiply-adds of %s, activations left out", merged), dense_macs(g), PAPER_EQUAL, macs);
    epl_graph_free(g);
}

static void check_sizes(paper_run *r)
{
    check_size(r, "depth=5", 22328800, 15523304, 5013667840);
    check_size(r, "depth=6", 56116704, 32509416, 5835751424);
    check_size(r, "depth=7", 56670176, 32797672, 6657835008);
    check_size(r, "depth=8", 65175520, 37096424, 7479918592);
    check_size(r, "depth=9", 73680864, 41395176, 8302002176);
    check_size(r, "depth=10", 82186208, 45693928, 9124085760);
    check_size(r, "depth=11", 90691552, 49992680, 9946169344);
    check_size(r, "depth=12", 99196896, 54291432, 10768252928);
    check_size(r, "depth=13", 107702240, 58590184, 11590336512);
    check_size(r, "depth=13,scale=1.5", 236942048, 127796200, 26017382400);
    check_size(r, "depth=13,scale=1.5,pool=adaptive", 236942048, 127796200, 48009891840);
    paper_check_model(r, "vanillanet:depth=5,form=deploy", 0, 5161185280);
    paper_check_model_refused(r, "vanillanet:image=222", "does not divide");
    paper_check_model_refused(r, "vanillanet:image=16", "at least 32");
    paper_check_model_refused(r, "vanillanet:pool=adaptive,image=192", "needs 224");
}

/* ---- quick: merging ---- */

static void shake(epl_model *m, double slope)
{
    epl_rng rng = epl_rng_at(3, 0);
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char *name = epl_weights_name(m->weights, i);
        if (epl_glob("*.running_var,*.norm*.weight", name))
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), &rng, 0.5, 1.5);
        else if (epl_glob("*.running_mean,*.bias", name))
            epl_tensor_fill_normal(epl_weights_at(m->weights, i), &rng, 0, 0.2);
        else if (epl_glob("*.weight", name)) { // as wide as the layer needs: the signal arrives at the end
            const epl_tensor *w = epl_weights_at(m->weights, i);
            const double fan_in = (double)epl_shape_count_from(w->shape, 0, w->shape.rank - 1);
            epl_tensor_fill_normal(epl_weights_at(m->weights, i), &rng, 0, sqrt(1.5 / fan_in));
        }
    }
    epl_tensor_set(epl_weights_find(m->weights, EPL_DEEPENING_SLOPE), 0, slope);
}

static void check_merging(paper_run *r)
{
    const char *small = "vanillanet:depth=8,scale=0.03125,image=64,classes=10,act=1";
    epl_model  *m = paper_model(r, small, 0), *half = paper_model(r, small, 0);
    epl_graph  *deploy = paper_ok(r) ? epl_zoo_build(paper_context(r), paper_textf(r, "%s,form=deploy", small)) : NULL;
    if (!m || !half || !deploy)
        return;
    shake(m, 1);
    shake(half, 0.5);
    epl_model *merged = epl_model_copy(m);
    paper_keep_model_take(r, merged);
    paper_check_refused(r, "merging at a slope of 0.5", epl_merge_linear(half, NULL), "has to be 1");
    int         pairs = 0;
    epl_tensor *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(4, 64, 64, 3));
    epl_rng     rng = epl_rng_at(5, 0);
    if (merged && x && epl_merge_linear(merged, &pairs)) {
        epl_tensor_fill_normal(x, &rng, 0, 1);
        paper_check(r, "layers that were merged: stem, 6 layers, head", pairs, PAPER_EQUAL, 8);
        paper_check(r, "parameters of the merged network", (double)epl_graph_n_parameters(merged->graph), PAPER_EQUAL,
                    (double)epl_graph_n_parameters(deploy));
        paper_check(r, "multiply-adds of the merged network", epl_graph_cost(merged->graph).macs, PAPER_EQUAL, epl_graph_cost(deploy).macs);
        paper_check(r, "merged against trained form, relative difference of logits", paper_relative_difference(r, m, merged, x),
                    PAPER_AT_MOST, 1e-4);
    }
    epl_tensor_free(x);
    epl_graph_free(deploy);
}

/* ---- quick: the slope, the activation, pooling ---- */

typedef epl_value *pair_fn(epl_graph *g, epl_value *x, int which);

/* The largest difference of two expressions of the same random x [1, 6, 6, 4], weights drawn alike. */
static double difference_of(paper_run *r, pair_fn *build, const epl_tensor *weight, double slope)
{
    epl_graph *g = epl_graph_new(paper_context(r), "pair");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 6, 4), NULL);
    for (int i = 0; i < 2; i++)
        epl_output(g, i ? "b" : "a", build(g, x, i));
    epl_model *m = epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    double largest = NAN;
    if (m && epl_model_init(m, 0)) {
        if (weight)
            memcpy(epl_weights_find(m->weights, "activation.conv.weight")->data, weight->data, epl_tensor_bytes(weight));
        if (epl_weights_find(m->weights, EPL_DEEPENING_SLOPE))
            epl_tensor_set(epl_weights_find(m->weights, EPL_DEEPENING_SLOPE), 0, slope);
        epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
        epl_rng      rng = epl_rng_at(9, 0);
        if (p)
            epl_tensor_fill_normal(epl_program_input(p, 0), &rng, 0, 1);
        if (p && epl_program_run(p)) {
            largest = 0;
            for (int64_t i = 0; i < epl_tensor_count(epl_program_output(p, 0)); i++)
                largest = fmax(largest, fabs(epl_tensor_get(epl_program_output(p, 0), i) - epl_tensor_get(epl_program_output(p, 1), i)));
        }
        epl_program_free(p);
    }
    return largest;
}

static epl_value *leaky_or_mixture(epl_graph *g, epl_value *x, int which)
{
    epl_value *slope = epl_state(g, "/" EPL_DEEPENING_SLOPE, EPL_F32, EPL_SCALAR, EPL_INIT_ZEROS, 0);
    return which == 0 ? epl_fading_relu(g, x)
                      : epl_add(g, epl_mul(g, epl_affine(g, slope, -1, 1), epl_relu(g, x)), epl_mul(g, slope, x));
}

static epl_value *series(epl_graph *g, epl_value *x, int which, int n)
{
    return which == 0 ? epl_series_activation(g, x, (epl_series_activation_opts){ .n = n })
                      : epl_batch_norm(g, epl_relu(g, x), (epl_norm_opts){ .epsilon = 1e-6 });
}

static epl_value *series_0(epl_graph *g, epl_value *x, int which) { return series(g, x, which, 0); }
static epl_value *series_3(epl_graph *g, epl_value *x, int which) { return series(g, x, which, 3); }

static epl_value *pool(epl_graph *g, epl_value *x) { return epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } }); }

static epl_value *pool_and_relu(epl_graph *g, epl_value *x, int which)
{
    return which == 0 ? epl_relu(g, pool(g, x)) : pool(g, epl_relu(g, x));
}

static epl_value *pool_and_series(epl_graph *g, epl_value *x, int which)
{
    const epl_series_activation_opts o = { .n = 1, .merged = true };
    return which == 0 ? epl_series_activation(g, pool(g, x), o) : pool(g, epl_series_activation(g, x, o));
}

/* One at the centre tap. */
static epl_tensor *centre(paper_run *r, int n)
{
    const int   k = 2 * n + 1;
    epl_tensor *w = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(k, k, 1, 4));
    for (int c = 0; w && c < 4; c++)
        epl_tensor_set(w, (n * k + n) * 4 + c, 1);
    return w;
}

static void check_parts(paper_run *r)
{
    const epl_deep_training_opts o = { .epochs = 100 };
    paper_check(r, "slope in epoch 0", epl_deep_training_slope(o, 0), PAPER_EQUAL, 0);
    paper_check(r, "slope in epoch E", epl_deep_training_slope(o, 100), PAPER_EQUAL, 1);
    paper_check(r, "slope after epoch E", epl_deep_training_slope(o, 250), PAPER_EQUAL, 1);
    paper_check_near(r, "slope in the middle, with a cosine",
                     epl_deep_training_slope((epl_deep_training_opts){ 100, true }, 50), 0.5, 1e-12);
    for (int i = 0; i <= 4; i++) // quarters: no rounding in the mixture
        paper_check(r, paper_textf(r, "leaky relu - ((1 - s) relu + s x) at s = %.2f", 0.25 * i),
                    difference_of(r, leaky_or_mixture, NULL, 0.25 * i), PAPER_AT_MOST, i % 4 ? 1e-7 : 0);
    epl_tensor *one = centre(r, 0), *middle = centre(r, 3);
    if (one && middle) {
        paper_check(r, "series activation n=0 of weight 1 - norm(relu)", difference_of(r, series_0, one, 0), PAPER_AT_MOST, 1e-6);
        paper_check(r, "series activation n=3 of centre 1 - norm(relu)", difference_of(r, series_3, middle, 0), PAPER_AT_MOST, 1e-6);
    }
    paper_check(r, "relu of max pooling - max pooling of relu", difference_of(r, pool_and_relu, NULL, 0), PAPER_EQUAL, 0);
    epl_graph *g = epl_graph_new(paper_context(r), "apart"); // pooling before and behind the window are not even of one size
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 6, 4), NULL);
    const bool same = epl_shape_equal(epl_shape_of(pool_and_series(g, x, 0)), epl_shape_of(pool(g, x)));
    epl_graph_free(g);
    paper_check_true(r, "the activation keeps the pooled size", same);
    paper_check(r, "series activation of max pooling - max pooling of it", difference_of(r, pool_and_series, NULL, 0), PAPER_ABOVE, 1e-3);
    epl_tensor_free(one);
    epl_tensor_free(middle);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_merging(r);
    check_parts(r);
}

/* ---- full: five activations on Fashion-MNIST ---- */

typedef struct shape {
    int  act;  /* reach of the series activation; -1: relu alone */
    bool deep; /* layers are two while they learn */
} shape;

static const shape shapes[] = { { -1, false }, { -1, true }, { 1, false }, { 3, false }, { 3, true } };
enum { PLAIN, DEEP, SERIES_1, SERIES_3, BOTH, N_VARIANTS, FADING_EPOCHS = 4 };

static epl_value *activation(epl_graph *g, epl_value *x, const shape *s)
{
    return s->act < 0 ? epl_relu(g, x) : epl_series_activation(g, x, (epl_series_activation_opts){ .n = s->act });
}

static epl_graph *build(epl_context *ctx, void *user)
{
    static const int widths[] = { 64, 128, 128 };
    const shape *s = user;
    const epl_deep_form form = s->deep ? EPL_DEEP_TRAIN : EPL_DEEP_PLAIN;
    epl_graph *g = epl_graph_new(ctx, "small-vanilla");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    epl_scope_push(g, "stem");
    x = activation(g, epl_deep_conv(g, x, (epl_deep_conv_opts){ .out = 32, .kernel = 4, .stride = 4, .form = form }), s);
    epl_scope_pop(g);
    for (int i = 0; i < 3; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        x = epl_deep_conv(g, x, (epl_deep_conv_opts){ .out = widths[i], .form = form });
        x = activation(g, i == 0 ? pool(g, x) : x, s);
        epl_scope_pop(g);
    }
    epl_output(g, "logits",
               epl_deep_conv(g, epl_global_average_pool(g, x),
                             (epl_deep_conv_opts){ .name = "head", .out = 10, .form = form }));
    return g;
}

static bool begin(paper_run *r, paper_training *t)
{
    if (!((const shape *)t->user)->deep)
        return true;
    epl_train_hook *hook = paper_alloc(r, sizeof *hook);
    if (!hook)
        return false;
    const int epochs = t->recipe.epochs < 2 * FADING_EPOCHS ? (t->recipe.epochs + 1) / 2 : FADING_EPOCHS; // a shortened run fades, too
    *hook = epl_deep_training(t->model, (epl_deep_training_opts){ .epochs = epochs });
    t->recipe.hooks   = hook;
    t->recipe.n_hooks = 1;
    return hook->user != NULL;
}

/* The first test images through the trained and through the merged network; and both are timed. */
static bool compare_merged(paper_run *r, paper_training *t)
{
    epl_model  *merged = epl_model_copy(t->model);
    epl_tensor *x = NULL;
    bool        ok = merged && epl_merge_linear(merged, NULL) && epl_dataset_tensors(t->test, 0, 100, &x, NULL);
    if (ok)
        paper_add(paper_series_named(r, "difference of logits, trained and merged", t->variant->name, ""),
                  paper_relative_difference(r, t->model, merged, x));
    paper_timed timed[] = { { .name = "both, as trained", .model = t->model }, { .name = "both, merged", .model = merged } };
    if (ok && t->seed == 0)
        ok = paper_latency(r, timed, 2, 2);
    epl_tensor_free(x);
    epl_model_free(merged);
    return ok;
}

static bool end(paper_run *r, paper_training *t)
{
    if (t->recipe.n_hooks)
        epl_release(paper_context(r), t->recipe.hooks[0].user);
    const bool both = t->user == &shapes[BOTH];
    return !both || !paper_ok(r) || compare_merged(r, t);
}

static double largest(const paper_series *s)
{
    double x = s && s->n ? 0 : NAN;
    for (int i = 0; s && i < s->n; i++)
        x = fmax(x, s->value[i]);
    return x;
}

static void plot_slope(paper_run *r, int epochs)
{
    double slope[64];
    for (int e = 0; e < epochs; e++)
        slope[e] = epl_deep_training_slope((epl_deep_training_opts){ .epochs = FADING_EPOCHS }, e);
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "epoch", .y_label = "slope below zero", .height = 240 });
    epl_plot_line(p, NULL, NULL, slope, (size_t)epochs, (epl_line_opts){ .steps = true });
    paper_plot_take(r, "slope", "The activation between the two layers of one: from relu (0) to nothing (1).", p);
}

static void full(paper_run *r)
{
    static const char *const names[] = { "plain", "deep training", "series n=1", "series n=3", "both (n=3)" };
    const paper_recipe recipe = { .samples = 12000, .epochs = 8, .optimizer = "adam:rate=3e-3" };
    paper_variant       variants[N_VARIANTS] = { 0 };
    const paper_series *accuracy[N_VARIANTS];
    for (int i = 0; i < N_VARIANTS; i++)
        variants[i] = (paper_variant){
            .name = names[i], .build = build, .begin = begin, .end = end, .user = (void *)(uintptr_t)&shapes[i]
        };
    if (!paper_train(r, variants, N_VARIANTS, recipe, accuracy))
        return;
    const double plain = paper_mean(accuracy[PLAIN]);
    paper_check(r, "series n=3 - plain, points", paper_mean(accuracy[SERIES_3]) - plain, PAPER_AT_LEAST, 3);
    paper_check(r, "both - plain, points", paper_mean(accuracy[BOTH]) - plain, PAPER_AT_LEAST, 3);
    paper_check(r, "merged against trained form, relative difference of logits",
                largest(paper_series_named(r, "difference of logits, trained and merged", names[BOTH], "")), PAPER_AT_MOST, 1e-4);
    const double trained = paper_mean(paper_series_named(r, "latency", "both, as trained", "ms"));
    const double merged  = paper_mean(paper_series_named(r, "latency", "both, merged", "ms"));
    paper_check(r, "latency of the merged form / of the trained form", merged / trained, PAPER_BELOW, 1);
    paper_remark(r, "Deep training alone: %+.2f points against plain. The paper reports about one; it is not part of the criterion.",
                 paper_mean(accuracy[DEEP]) - plain);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_VARIANTS);
    plot_slope(r, recipe.epochs);
}

const paper paper_vanillanet = {
    .slug = "vanillanet",
    .title = "VanillaNet: the Power of Minimalism in Deep Learning",
    .source = "Chen, Wang, Guo, Tao 2023, arXiv:2305.12972",
    .kind = "model family, training, activation, merging",
    .claim = "a network of a few plain layers needs its activations to look around (series activation), and layers "
             "that were two while they "
             "learned can be merged into one that computes the same",
    .criterion = "on Fashion-MNIST the series activation (n=3) and both tricks together are each at least 3 points "
                 "above the plain network, "
                 "and the merged network computes what the trained one did (1e-4) and is faster",
    .quick = quick,
    .full = full,
};
