/* fast-sparse-convnets: 1x1 convolutions with 70 to 95 % zeros, against dense ones on the library's own kernels; and does a wide
 * network with zeros beat a narrow one without? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* Outputs, inputs, pixels of the pointwise convolutions of MobileNetV1 at 224 pixels. */
static const int64_t shapes[][3] = { { 64, 32, 12544 }, { 128, 64, 3136 }, { 128, 128, 3136 }, { 256, 128, 784 }, { 256, 256, 784 },
                                     { 512, 256, 196 }, { 512, 512, 196 }, { 512, 512, 196 }, { 512, 512, 196 }, { 512, 512, 196 },
                                     { 512, 512, 196 }, { 1024, 512, 49 }, { 1024, 1024, 49 } };
enum { N_SHAPES = EPL_COUNT(shapes) };

/* ---- quick ---- */

static double pointwise_macs(const epl_graph *g)
{
    double macs = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (strcmp(epl_node_op_name(n), "Conv") == 0 && epl_attr_i(n, "group") == 1 && epl_dim(epl_node_input(n, 1), 0) == 1)
            macs += epl_node_cost(n).macs;
    return macs;
}

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *preset;
        int64_t     parameters;
        double      macs, left;
    } nets[] = { { "fsc-mbv1-1.0-90", 4231976, 568740352, 83197235 }, { "fsc-mbv2-1.4-85", 6108776, 582195824, 0 },
                 { "fsc-mbv2-1.8-80", 0, 0, 230998995 }, { "fsc-efficientnet-b0-80", 5288548, 0, 0 } };
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        const epl_sparse_preset *p = epl_sparse_preset_find(nets[i].preset);
        if (nets[i].parameters)
            paper_check_model(r, p->model, nets[i].parameters, nets[i].macs);
        epl_graph *g = nets[i].left ? epl_zoo_build(paper_context(r), p->model) : NULL;
        if (g)
            paper_check_near(r, paper_textf(r, "%s: multiply-adds left", p->name), epl_graph_cost(g).macs - p->sparsity * pointwise_macs(g),
                             nets[i].left, 1);
        epl_graph_free(g);
    }
}

/* A pruned network as programs run it, on sparse kernels, against reference kernels. */
static void check_network(paper_run *r)
{
    epl_model *m = paper_model(r, "mobilenet:width=0.5,image=64,classes=10", 1);
    if (m && epl_sparse_preset_prune(m, epl_sparse_preset_find("fsc-mbv1-1.0-90"))) {
        epl_sparsity s;
        paper_check(r, "sparse network against its definition, relative", paper_folding_difference(r, m, 1), PAPER_AT_MOST, 1e-4);
        if (epl_sparsity_of(m, &s))
            paper_check(r, "weights of MobileNetV1 that are left, of all", (double)s.nonzero / (double)s.weights, PAPER_BELOW, 0.2);
    }
}

static epl_bench_spmm_result product(paper_run *r, epl_bench_spmm_opts o)
{
    epl_bench_spmm_result x = { .dense_s = NAN, .sparse_s = NAN };
    if (paper_ok(r))
        epl_bench_spmm(paper_context(r), o, &x);
    return x;
}

static void check_packing(paper_run *r)
{
    epl_bench_spmm_opts o = { .in = 64, .out = 128, .pixels = 7, .sparsity = 0.9, .seconds = 1e-3 };
    const epl_bench_spmm_result one = product(r, o);
    o.block = 4;
    const epl_bench_spmm_result four = product(r, o);
    paper_check(r, "non-zeros of 128x64 at 90 %", (double)one.nonzero, PAPER_EQUAL, 819);
    paper_check(r, "its bytes against the paper's format of 10852", (double)one.packed_bytes, PAPER_AT_MOST, 10852);
    paper_check(r, "channels that share places, pruned one by one", one.rows, PAPER_EQUAL, 1);
    paper_check(r, "channels that share places, pruned by four", four.rows, PAPER_EQUAL, 4);
    paper_check(r, "bytes by four / one by one", (double)four.packed_bytes / (double)one.packed_bytes, PAPER_BELOW, 0.75);
    epl_bench_spmm_result none;
    o.pixels = 0;
    paper_check_refused(r, "no pixels", epl_bench_spmm(paper_context(r), o, &none), "with 0 pixels");
    o.pixels = 7, o.block = 3;
    paper_check_refused(r, "blocks of three", epl_bench_spmm(paper_context(r), o, &none), "blocks of 3");
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_network(r);
    check_packing(r);
}

/* ---- full: the kernel ---- */

typedef struct speed {
    double speedup; /* geometric mean over the shapes */
    double useful;  /* GFLOP/s of non-zero weights, of all shapes together */
} speed;

static speed over_shapes(paper_run *r, double sparsity, int block, int threads)
{
    double logs = 0, flops = 0, seconds = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        const epl_bench_spmm_result x = product(r, (epl_bench_spmm_opts){ .out = shapes[i][0], .in = shapes[i][1], .pixels = shapes[i][2],
                                                                          .sparsity = sparsity, .block = block, .threads = threads,
                                                                          .seconds = 0.03, .seed = (uint64_t)i });
        logs    += log(x.dense_s / x.sparse_s);
        flops   += 2e-9 * (double)(x.nonzero * shapes[i][2]);
        seconds += x.sparse_s;
    }
    return (speed){ exp(logs / N_SHAPES), flops / seconds };
}

/* Where the mean speed-up passes 1, between neighbouring sparsities. */
static double break_even(const double *sparsity, const double *speedup, int n)
{
    for (int i = 1; i < n; i++)
        if (speedup[i - 1] < 1 && speedup[i] >= 1)
            return sparsity[i - 1] + (sparsity[i] - sparsity[i - 1]) * (1 - speedup[i - 1]) / (speedup[i] - speedup[i - 1]);
    return speedup[0] >= 1 ? sparsity[0] : NAN;
}

static void measure_kernels(paper_run *r)
{
    static const double sparsity[] = { 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95 };
    enum { N = EPL_COUNT(sparsity) };
    double one[2][N], four[2][N];
    epl_plot *p =
        epl_plot_new(paper_context(r),
                     (epl_plot_opts){ .x_label = "zeros", .y_label = "dense time / sparse time, geometric mean" });
    for (int threads = 1; threads <= 2; threads++) {
        for (int i = 0; i < N && paper_ok(r); i++) {
            const speed a = over_shapes(r, sparsity[i], 1, threads), b = over_shapes(r, sparsity[i], 4, threads);
            const char *what = paper_textf(r, "speed-up over dense, %d thread%s", threads, threads > 1 ? "s" : "");
            const char *rate = paper_textf(r, "useful GFLOP/s, %d thread%s", threads, threads > 1 ? "s" : "");
            one[threads - 1][i] = a.speedup, four[threads - 1][i] = b.speedup;
            paper_add(paper_series_named(r, what, paper_textf(r, "%g %%, blocks of 1", 100 * sparsity[i]), ""), a.speedup);
            paper_add(paper_series_named(r, what, paper_textf(r, "%g %%, blocks of 4", 100 * sparsity[i]), ""), b.speedup);
            paper_add(paper_series_named(r, rate, paper_textf(r, "%g %%, blocks of 1", 100 * sparsity[i]), "GFLOP/s"), a.useful);
            paper_add(paper_series_named(r, rate, paper_textf(r, "%g %%, blocks of 4", 100 * sparsity[i]), "GFLOP/s"), b.useful);
        }
        epl_plot_line(p, paper_textf(r, "blocks of 1, %d thread%s", threads, threads > 1 ? "s" : ""), sparsity,
                      one[threads - 1], N, (epl_line_opts){ .markers = true });
        epl_plot_line(p, paper_textf(r, "blocks of 4, %d thread%s", threads, threads > 1 ? "s" : ""), sparsity,
                      four[threads - 1], N, (epl_line_opts){ .markers = true });
        const char *with = threads > 1 ? "2 threads" : "1 thread";
        paper_check(r, paper_textf(r, "speed-up at 80 %%, %s", with), one[threads - 1][6], PAPER_AT_LEAST, 1.3);
        paper_check(r, paper_textf(r, "speed-up at 90 %%, %s", with), one[threads - 1][7], PAPER_AT_LEAST, 2);
        paper_check(r, paper_textf(r, "blocks of 4 / of 1 at 90 %%, %s", with), four[threads - 1][7] / one[threads - 1][7], PAPER_ABOVE, 1);
        paper_remark(r,
                     "With %s sparse and dense are equally fast at %.0f %% zeros one by one, and at %.0f %% in blocks "
                     "of four; the rule of two "
                     "thirds says 67 %%.",
                     with, 100 * break_even(sparsity, one[threads - 1], N),
                     100 * break_even(sparsity, four[threads - 1], N));
    }
    paper_plot_take(r, "kernels", "Sparse against dense products, geometric mean over the 13 pointwise convolutions of MobileNetV1.", p);
}

/* ---- full: networks ---- */

enum { HALF, WHOLE, SPARSE, N_NETWORKS };

typedef struct network {
    int             width;
    bool            sparse;
    char           *names; /* of the 1x1 convolutions */
    epl_train_hook  hook;
    epl_model      *kept;  /* of the first seed */
} network;

/* A stem and four separable blocks. */
static epl_graph *separable(epl_context *ctx, void *user)
{
    static const int out[] = { 2, 4, 4, 8 }, stride[] = { 2, 1, 2, 1 };
    const network *k = user;
    epl_graph *g = epl_graph_new(ctx, "separable");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = k->width } });
    for (int i = 0; i < 4; i++) {
        epl_scope_push(g, "block%d", i + 1);
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "depthwise", .conv = { .depthwise = true, .stride = stride[i] } });
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "pointwise", .conv = { .out = out[i] * k->width, .kernel = 1 } });
        epl_scope_pop(g);
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 10 }));
    return g;
}

static bool begin(paper_run *r, paper_training *t)
{
    network *k = t->user;
    if (!k->sparse)
        return paper_ok(r);
    k->names = epl_pointwise_names(t->model->graph, NULL);
    if (!k->names)
        return false;
    k->hook = epl_pruner_hook(t->model, (epl_pruner_opts){ .prune = { .pattern = k->names, .sparsity = 0.9 }, .end = 0.7 });
    t->recipe.hooks   = &k->hook;
    t->recipe.n_hooks = 1;
    return k->hook.user != NULL;
}

static bool end(paper_run *r, paper_training *t)
{
    network *k = t->user;
    if (k->hook.user)
        epl_release(paper_context(r), k->hook.user);
    epl_release(paper_context(r), k->names);
    k->hook  = (epl_train_hook){ 0 };
    k->names = NULL;
    if (t->seed == 0 && isfinite(t->accuracy)) {
        k->kept = epl_model_copy(t->model);
        paper_keep_model_take(r, k->kept);
    }
    return paper_ok(r);
}

static void plot_latency(paper_run *r, const paper_timed *timed, const paper_series *const *accuracy)
{
    double      x[N_NETWORKS], y[N_NETWORKS];
    const char *names[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++)
        x[i] = 1e3 * timed[i].seconds, y[i] = paper_mean(accuracy[i]), names[i] = timed[i].name;
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "latency of a picture [ms]", .y_label = "test accuracy [%]" });
    epl_plot_scatter(p, NULL, x, y, N_NETWORKS, (epl_scatter_opts){ .labels = names });
    paper_plot_take(r, "latency", "Test accuracy (mean of the seeds) and latency with one thread.", p);
}

static void compare(paper_run *r, const network *k, const paper_series *const *accuracy)
{
    paper_timed timed[N_NETWORKS] = { { .name = "width 16", .model = k[HALF].kept }, { .name = "width 32", .model = k[WHOLE].kept },
                                      { .name = "width 32, 90 % zeros", .model = k[SPARSE].kept } };
    if (!paper_latency(r, timed, N_NETWORKS, 3))
        return;
    const double gain = paper_mean(accuracy[SPARSE]) - paper_mean(accuracy[HALF]), times = timed[SPARSE].seconds / timed[HALF].seconds;
    paper_check(r, "latency: sparse / dense of the same width", timed[SPARSE].seconds / timed[WHOLE].seconds, PAPER_BELOW, 1);
    paper_check_true(r,
                     paper_textf(r,
                                 "sparse against dense of half the width: more accurate (%.2f points), or within 0.3 "
                                 "and no slower (%.2f times)",
                                 gain, times),
                     gain > 0 || (gain >= -0.3 && times <= 1));
    plot_latency(r, timed, accuracy);
}

static void train(paper_run *r)
{
    network k[N_NETWORKS] = { [HALF] = { .width = 16 }, [WHOLE] = { .width = 32 }, [SPARSE] = { .width = 32, .sparse = true } };
    const paper_recipe recipe = { .samples = 8000, .test = 5000, .epochs = 5, .optimizer = "adam:rate=3e-3" };
    static const char *const names[] = { "width 16", "width 32", "width 32, 90 % zeros" };
    paper_variant v[N_NETWORKS];
    const paper_series *accuracy[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++)
        v[i] = (paper_variant){ .name = names[i], .build = separable, .begin = begin, .end = end, .user = &k[i] };
    if (!paper_train(r, v, N_NETWORKS, recipe, accuracy))
        return;
    compare(r, k, accuracy);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
}

static void full(paper_run *r)
{
    measure_kernels(r);
    train(r);
}

const paper paper_fast_sparse_convnets = {
    .slug = "fast-sparse-convnets",
    .title = "Fast Sparse ConvNets",
    .source = "Elsen, Dukhan, Gale, Simonyan 2019, arXiv:1911.09723",
    .kind = "kernel",
    .claim = "kernels for 1x1 convolutions with 70 to 95 % zeros lose little of the dense kernels' rate per "
             "multiply-add, so that wide sparse networks are "
             "more accurate than narrow dense ones at the same latency",
    .criterion = "over MobileNetV1's pointwise convolutions the geometric mean of speed-ups over the library's dense "
                 "kernel is at least 1.3 at 80 % zeros and 2 "
                 "at 90 %, blocks of four channels are faster than single ones at 90 %, and a network with 90 % zeros "
                 "is faster than the same "
                 "without, and more accurate than a dense one of half its width (or within 0.3 points and no slower)",
    .quick = quick,
    .full = full,
};
