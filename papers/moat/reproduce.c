/* moat: is a transformer block better when a mobile convolution takes the perceptron's place, and stands before the attention? */
#include "papers/common/paper.h"

#include <math.h>

/* ---- quick: the published sizes ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *variant;
        int64_t     whole, without; /* positions */
        double      macs;
    } sizes[] = { { "0", 27846892, 27777544, 5638149120 }, { "1", 41598448, 41467864, 9001466880 },
                  { "2", 73422408, 73248296, 53283037184 }, { "3", 189958040, 189536280, 263408752640 },
                  { "4", 483214184, 482539368, 636271935488 }, { "tiny-0", 3355348, 3332232, 1040734208 },
                  { "tiny-1", 5122895, 5094000, 1575522560 }, { "tiny-2", 9772741, 9732288, 2974625024 },
                  { "tiny-3", 19534390, 19476600, 5897093120 } };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++) {
        paper_check_model(r, paper_textf(r, "moat:variant=%s", sizes[i].variant), sizes[i].whole, sizes[i].macs);
        paper_check_model(r, paper_textf(r, "moat:variant=%s,positions=0", sizes[i].variant), sizes[i].without, 0);
    }
    epl_graph *g = epl_zoo_build(paper_context(r), "moat:taps=1");
    for (int s = 1; g && s <= 4; s++)
        paper_check(r, paper_textf(r, "side of stage %d of moat-0 at 224", s),
                    (double)epl_dim(epl_graph_output_at(g, s), 1), PAPER_EQUAL, 112 >> s);
    epl_graph_free(g);
    paper_check_model_refused(r, "moat:window3=5", "it does not divide the map of stage 3, which is 14 x 14");
    paper_check_model_refused(r, "moat:variant=tiny-0,window4=3", "map of stage 4, which is 8 x 8");
    paper_check_model_refused(r, "moat:head_size=36", "width of a stage with attention, which is 384");
}

/* ---- quick: what attention in windows computes ---- */

/* Every weight whose name matches: drawn anew, with that deviation. */
static void draw_all(epl_model *m, const char *pattern, double std)
{
    epl_rng rng = epl_rng_at(6, 0);
    for (int i = 0; m && i < epl_weights_count(m->weights); i++)
        if (epl_glob(pattern, epl_weights_name(m->weights, i)))
            epl_tensor_fill_normal(epl_weights_at(m->weights, i), &rng, 0, std);
}

static epl_model *rebuilt(paper_run *r, const epl_model *m, const char *changes)
{
    epl_model *other = paper_ok(r) && m ? epl_zoo_rebuild(m, changes) : NULL;
    paper_keep_model_take(r, other);
    return other;
}

/* Windows of the whole map; tables of zeros; another resolution with the same weights. */
static void check_windows(paper_run *r)
{
    epl_model  *m = paper_model(r, "moat:variant=micro,channels=1,classes=10", 1);
    epl_tensor *x = paper_draw(r, EPL_SHAPE(2, 28, 28, 1), 5, 0), *wide = paper_draw(r, EPL_SHAPE(2, 56, 56, 1), 5, 1);
    draw_all(m, "*relative_bias", 1);
    draw_all(m, "*attention.*", 0.3);
    paper_check(r, "a window of the whole map - global, relative",
                paper_relative_difference(r, m, rebuilt(r, m, "window3=7"), x), PAPER_AT_MOST, 1e-6);
    epl_model *global = rebuilt(r, m, "image=56"), *windows = rebuilt(r, m, "image=56,window3=7");
    paper_check(r, "four windows - global, relative", paper_relative_difference(r, global, windows, wide), PAPER_ABOVE, 1e-5);
    epl_model *last = rebuilt(r, m, "image=56,window3=7,global_last=1");
    paper_check(r, "four windows - the last block global, relative", paper_relative_difference(r, last, windows, wide), PAPER_ABOVE, 1e-5);
    paper_check(r, "multiply-adds at 56 / at 28",
                global ? epl_graph_cost(global->graph).macs / epl_graph_cost(m->graph).macs : NAN, PAPER_ABOVE, 4);
    paper_check(r, "positions - none, relative", paper_relative_difference(r, m, rebuilt(r, m, "positions=0"), x), PAPER_ABOVE, 1e-5);
    draw_all(m, "*relative_bias", 0);
    paper_check(r, "tables of zeros - none, relative", paper_relative_difference(r, m, rebuilt(r, m, "positions=0"), x),
                PAPER_AT_MOST, 1e-6);
    paper_check(r, "folded against unfolded, relative", paper_folding_difference(r, m, 2), PAPER_AT_MOST, 1e-4);
    epl_tensor_free(x);
    epl_tensor_free(wide);
}

/* A model of a graph that stands; its weights start with seed 2. */
static epl_model *model_of_take(paper_run *r, epl_graph *g)
{
    epl_model *m = epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    return m && epl_model_init(m, 2) ? m : NULL;
}

enum { SIDE = 6, WINDOW = 3, WIDTH = 8 };

/* 0 for positions of one window, -1e9 for others: [SIDE^2, SIDE^2]. */
static epl_value *blocks_mask(epl_graph *g)
{
    const int   n = SIDE * SIDE;
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(n, n));
    for (int i = 0; t && i < n; i++)
        for (int k = 0; k < n; k++)
            if (i / SIDE / WINDOW != k / SIDE / WINDOW || i % SIDE / WINDOW != k % SIDE / WINDOW)
                epl_tensor_set(t, i * n + k, -1e9);
    epl_value *mask = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return mask;
}

static epl_model *attention_alone(paper_run *r, bool windows)
{
    epl_graph *g = epl_graph_new(paper_context(r), "attention");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, SIDE, SIDE, WIDTH), "N,,,");
    epl_output(g, "y", epl_window_attention(g, x, (epl_window_attention_opts){ .heads = 2, .no_bias = true, .window = windows ? WINDOW : 0,
                                                                               .mask = windows ? NULL : blocks_mask(g) }));
    return model_of_take(r, g);
}

/* A MOAT block, or the bottleneck inside of it alone. */
static epl_model *block_alone(paper_run *r, bool whole)
{
    const epl_inverted_opts m = { .out = WIDTH, .hidden = 4 * WIDTH, .stride = 2, .pre = true, .same = true, .activation = "gelu" };
    epl_graph *g = epl_graph_new(paper_context(r), "block");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, SIDE, SIDE, WIDTH / 2), "N,,,");
    if (whole) {
        x = epl_moat(g, x, (epl_moat_opts){ .mbconv = m, .attention = { .heads = 2 } });
    } else {
        epl_inverted_opts named = m;
        named.name = "moat.mbconv";
        x = epl_inverted_bottleneck(g, x, named);
    }
    epl_output(g, "y", x);
    return model_of_take(r, g);
}

static void check_blocks(paper_run *r)
{
    epl_tensor *x = paper_draw(r, EPL_SHAPE(2, SIDE, SIDE, WIDTH), 5, 2), *half = paper_draw(r, EPL_SHAPE(2, SIDE, SIDE, WIDTH / 2), 5, 3);
    paper_check(r, "windows - global with a block-diagonal mask, relative",
                paper_relative_difference(r, attention_alone(r, true), attention_alone(r, false), x), PAPER_AT_MOST, 1e-5);
    epl_model *whole = block_alone(r, true), *bottleneck = block_alone(r, false);
    paper_check(r, "a block - its bottleneck, relative", paper_relative_difference(r, whole, bottleneck, half), PAPER_ABOVE, 1e-3);
    draw_all(whole, "*attention.out.*", 0);
    paper_check(r, "without attention's output, relative", paper_relative_difference(r, whole, bottleneck, half), PAPER_AT_MOST, 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(half);
}

/* A table that looks the same from both sides of its centre gives a bias that is its own transpose; also when resized. */
static void check_symmetry(paper_run *r)
{
    enum { LEARNED = 3, N = 16, TABLE = 25 };
    epl_graph *g = epl_graph_new(paper_context(r), "bias");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, N, N), "N,,");
    epl_output(g, "y",
               epl_add(g, x,
                       epl_relative_bias(g, (epl_relative_bias_opts){
                                                .height = 4, .width = 4, .heads = 1, .learned = LEARNED })));
    epl_model  *m = model_of_take(r, g);
    epl_tensor *table = m ? epl_weights_find(m->weights, "relative_bias") : NULL,
               *zero = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(1, N, N));
    paper_check_true(r, "the table is that of a window of 3", table && epl_tensor_count(table) == TABLE);
    for (int i = 0; table && i < TABLE / 2; i++)
        epl_tensor_set(table, TABLE - 1 - i, epl_tensor_get(table, i));
    epl_tensor *y = m ? paper_logits(r, m, zero) : NULL;
    double      most = y ? 0 : NAN, spread = 0;
    for (int i = 0; y && i < N * N; i++) {
        most   = fmax(most, fabs(epl_tensor_get(y, i) - epl_tensor_get(y, i % N * N + i / N)));
        spread = fmax(spread, fabs(epl_tensor_get(y, i) - epl_tensor_get(y, 0)));
    }
    paper_check(r, "symmetric table: bias - its transpose, largest", most, PAPER_AT_MOST, 1e-7);
    paper_check(r, "the bias varies by", spread, PAPER_ABOVE, 1e-3);
    epl_tensor_free(y);
    epl_tensor_free(zero);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_windows(r);
    check_blocks(r);
    check_symmetry(r);
}

/* ---- full ---- */

enum { MOAT, APART, ATTENTION_FIRST, MLP, N_NETWORKS };

/* Accuracy in percent on the test images at twice their size, of the model in a network with other options; NaN after an error. */
static double accuracy_at_56(paper_run *r, const paper_training *t, const char *options)
{
    epl_evaluation e = { 0 };
    epl_model     *m = paper_ok(r) ? epl_zoo_rebuild(t->model, options) : NULL;
    const bool     ok = m && epl_evaluate(m, t->test, (epl_evaluate_opts){ .augment = "resize:56" }, &e);
    const double   accuracy = ok ? 100 * e.metrics.accuracy : NAN;
    epl_evaluation_release(paper_context(r), &e);
    epl_model_free(m);
    return accuracy;
}

/* What windows cost where they are smaller than the map. */
static bool measure_windows(paper_run *r, paper_training *t)
{
    if (!isfinite(t->accuracy))
        return true;
    const double global = accuracy_at_56(r, t, "image=56"), windows = accuracy_at_56(r, t, "image=56,window3=7");
    paper_add(paper_series_named(r, "accuracy at 56, global", t->variant->name, "%"), global);
    paper_add(paper_series_named(r, "accuracy at 56, windows of 7", t->variant->name, "%"), windows);
    paper_add(paper_series_named(r, "lost by windows", t->variant->name, "points"), global - windows);
    return paper_ok(r);
}

#define MICRO "moat:variant=micro,channels=1,classes=10"

static void full(paper_run *r)
{
    const paper_variant networks[N_NETWORKS] = {
        [MOAT] = { .name = "moat", .model = MICRO, .end = measure_windows },
        [APART] = { .name = "mbconv, then transformer",
                    .model = MICRO ",order=mbconv-transformer,expansion=5.35",
                    .end = measure_windows },
        [ATTENTION_FIRST] = { .name = "attention first",
                              .model = MICRO ",order=attention-first,expansion=3.75",
                              .end = measure_windows },
        [MLP] = { .name = "attention and perceptron", .model = MICRO ",order=mlp", .end = measure_windows },
    };
    const paper_series *accuracy[N_NETWORKS];
    paper_timed timed[N_NETWORKS];
    double      size[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS && paper_ok(r); i++) {
        const epl_model *m = paper_model(r, networks[i].model, 0);
        timed[i] = (paper_timed){ .name = networks[i].name, .model = m };
        if (!m)
            return;
        size[i] = (double)epl_graph_n_parameters(m->graph);
        paper_add(paper_series_named(r, "parameters", networks[i].name, ""), size[i]);
        paper_add(paper_series_named(r, "multiply-adds", networks[i].name, "M"), epl_graph_cost(m->graph).macs / 1e6);
        paper_check_near(r, paper_textf(r, "parameters, %s / moat", networks[i].name), size[i] / size[MOAT], 1, 0.05);
    }
    paper_train(r, networks, N_NETWORKS,
                (paper_recipe){ .samples = 6000,
                                .epochs = 4,
                                .test = 2500,
                                .batch = 64,
                                .optimizer = "adamw:rate=2e-3,decay=0.05" },
                accuracy);
    if (!paper_ok(r) || !paper_latency(r, timed, N_NETWORKS, 4))
        return;
    const double ours = paper_mean(accuracy[MOAT]);
    paper_check(r, "moat - attention and perceptron, points", ours - paper_mean(accuracy[MLP]), PAPER_AT_LEAST, 0);
    paper_check(r, "moat - mbconv, then transformer, points", ours - paper_mean(accuracy[APART]), PAPER_AT_LEAST, -0.3);
    paper_check(r, "lost by windows, moat - attention and perceptron, points",
                paper_mean(paper_series_named(r, "lost by windows", networks[MOAT].name, "points")) -
                    paper_mean(paper_series_named(r, "lost by windows", networks[MLP].name, "points")), PAPER_BELOW, 0);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
}

const paper paper_moat = {
    .slug = "moat",
    .title = "MOAT: Alternating Mobile Convolution and Attention Brings Strong Vision Models",
    .source = "Yang, Qiao, Yu, Yuille, Zhu, Adam, Yuan, Chen 2022, arXiv:2210.01820",
    .kind = "block, model family",
    .claim = "a transformer block whose perceptron is an inverted bottleneck, placed before the attention, is better "
             "than convolution blocks followed "
             "by transformer blocks, and lets windows of attention exchange information",
    .criterion = "with stages of attention of equal size (5 %), mean accuracy on Fashion-MNIST at least that of "
                 "attention with a perceptron and at most "
                 "0.3 points below that of a bottleneck followed by transformers; windows instead of global attention "
                 "at twice the resolution cost less",
    .quick = quick,
    .full = full,
};
