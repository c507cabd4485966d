/* simplenet: does a plain stack that follows the paper's principles beat those that break one of them, and keep up
 * with shortcuts, at the same number of parameters? The layouts that break a principle stand in the zoo beside the
 * others. */
#include "papers/common/paper.h"

/* ---- quick: the published sizes, and what holds of every such network ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *layout;
        int64_t     ten, hundred, gray;
    } sizes[] = { { "310k", 312362, 318212, 311210 }, { "460k", 456446, 465536, 455870 }, { "460k-port", 385790, 394880, 385214 },
                  { "5m", 5498378, 5521508, 5497226 }, { "5m-extra-pool", 5498378, 0, 0 } };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++) {
        paper_check_model(r, paper_textf(r, "simplenet:layout=%s", sizes[i].layout), sizes[i].ten, 0);
        paper_check_model(r, paper_textf(r, "simplenet:layout=%s,classes=100", sizes[i].layout), sizes[i].hundred, 0);
        paper_check_model(r, paper_textf(r, "simplenet:layout=%s,channels=1", sizes[i].layout), sizes[i].gray, 0);
    }
    paper_check_model(r, "simplenet:layout=310k", 0, 55788160);
    paper_check_model(r, "simplenet:layout=5m", 0, 652151296);
    paper_check_model(r, "simplenet:layout=5m-extra-pool", 0, 631507456);
    paper_check_model(r, "simplenet:layout=310k,image=28,channels=1", 0, 41334400);
    paper_check_model(r, "simplenet:layout=5m,image=28,channels=1", 0, 488238592);
}

static void check_imagenet_sizes(paper_run *r)
{
    static const struct {
        const char *options;
        int64_t     parameters;
        double      macs[4]; /* m1 to m4 */
    } sizes[] = {
        { "layout=5m,scale=0.5", 1506792, { 340923392, 427627520, 514331648, 687739904 } },
        { "layout=5m,scale=0.75", 3287272, { 0 } },
        { "layout=5m", 5752808, { 1341761536, 1688578048, 2035394560, 2729027584 } },
        { "layout=9m", 9508968, { 2774249984, 3554587136, 4334924288, 6415823360 } },
    };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++)
        for (int mode = 0; mode < 4; mode++)
            paper_check_model(r, paper_textf(r, "simplenet-imagenet:%s,mode=m%d", sizes[i].options, mode + 1), sizes[i].parameters,
                              sizes[i].macs[mode]);
}

static int count_ops(const epl_graph *g, const char *op)
{
    int n = 0;
    for (const epl_node *node = epl_first(g); node; node = epl_next(node))
        n += epl_glob(op, epl_node_op_name(node));
    return n;
}

static void check_structure(paper_run *r)
{
    const epl_model *m = paper_model(r, "simplenet:layout=310k", 0);
    if (!m)
        return;
    paper_check(r, "convolutions", count_ops(m->graph, "Conv"), PAPER_EQUAL, 13);
    paper_check(r, "poolings, with the global one", count_ops(m->graph, "MaxPool,ReduceMax"), PAPER_EQUAL, 5);
    paper_check_model_refused(r, "simplenet:image=15", "at least 16");
    paper_check_model_refused(r, "simplenet:scale=0", "'scale' is 0");
    paper_check_model_refused(r, "simplenet-imagenet:mode=m5", "m1|m2|m3|m4");
}

/* Units whose normalisations have learned: folded into the convolutions (a frozen program) against the definition, node by node. */
static void check_folding(paper_run *r)
{
    epl_model *m = paper_model(r, "simplenet:layout=310k,image=16", 1);
    epl_rng    rng = epl_rng_at(1, 0);
    for (int i = 0; m && i < epl_weights_count(m->weights); i++)
        if (epl_glob("*.running_var,*.norm.weight", epl_weights_name(m->weights, i)))
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), &rng, 0.5, 1.5);
        else if (epl_glob("*.running_mean,*.bias", epl_weights_name(m->weights, i)))
            epl_tensor_fill_uniform(epl_weights_at(m->weights, i), &rng, -0.2, 0.2);
    paper_check(r, "batch normalisation folded, relative difference of logits", paper_folding_difference(r, m, 4), PAPER_AT_MOST, 1e-5);
}

/* The gradient of a global max pooling reaches one position of each channel. */
static void check_pooling_gradient(paper_run *r)
{
    enum { SIDE = 5, CHANNELS = 8 };
    epl_graph *g  = epl_graph_new(paper_context(r), "pool");
    epl_value *x  = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, SIDE, SIDE, CHANNELS), NULL), *dx = NULL;
    epl_value *y  = epl_reduce_sum(g, epl_global_max_pool(g, x), (epl_reduce_opts){ 0 });
    epl_rng    rng = epl_rng_at(2, 0);
    int        at_most = 0, places = 0;
    if (epl_gradient(g, y, 1, &x, &dx))
        epl_output(g, "dx", dx);
    epl_weights *w = epl_weights_new(paper_context(r));
    epl_program *p = w && epl_graph_finish(g) ? epl_program_new(g, w, (epl_program_opts){ 0 }) : NULL;
    if (p)
        epl_tensor_fill_normal(epl_program_input(p, 0), &rng, 0, 1);
    for (int c = 0; p && epl_program_run(p) && c < CHANNELS; c++) {
        int n = 0;
        for (int i = 0; i < SIDE * SIDE; i++)
            n += epl_tensor_get(epl_program_output(p, 0), i * CHANNELS + c) != 0;
        at_most = n > at_most ? n : at_most;
        places += n;
    }
    paper_check(r, "places that the gradient of a global max pooling reaches, per channel", at_most, PAPER_EQUAL, 1);
    paper_check(r, "places in all", places, PAPER_EQUAL, CHANNELS);
    epl_program_free(p);
    epl_weights_free(w);
    epl_graph_free(g);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_imagenet_sizes(r);
    check_structure(r);
    check_folding(r);
    check_pooling_gradient(r);
}

/* ---- full ---- */

enum { PLAIN, EARLY_1X1, EARLY_POOL, SHORTCUTS, SHALLOW, N_NETWORKS };

/* Two wide convolutions with 5x5 kernels and a linear layer. */
static epl_graph *shallow(epl_context *ctx, void *user)
{
    (void)user;
    epl_graph *g = epl_graph_new(ctx, "shallow");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "unit1", .conv = { .out = 96, .kernel = 5 } });
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "unit2", .conv = { .out = 106, .kernel = 5 } });
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    epl_output(g, "logits", epl_linear(g, epl_flatten(g, x, 1), (epl_linear_opts){ .out = 10 }));
    return g;
}

/* What a network weighs; and its latency is measured when all are there. */
static bool weigh(paper_run *r, paper_training *t)
{
    if (t->seed == 0) {
        paper_add(paper_series_named(r, "parameters", t->variant->name, ""), (double)epl_graph_n_parameters(t->model->graph));
        paper_add(paper_series_named(r, "multiply-adds", t->variant->name, ""), epl_graph_cost(t->model->graph).macs);
    }
    return paper_ok(r);
}

static void time_all(paper_run *r, const paper_variant *v, paper_timed *timed)
{
    for (int i = 0; i < N_NETWORKS; i++) {
        epl_graph *g = !paper_ok(r) ? NULL : v[i].build ? v[i].build(paper_context(r), NULL) : epl_zoo_build(paper_context(r), v[i].model);
        epl_model *m = g ? epl_model_new_take(g) : NULL;
        paper_keep_model_take(r, m);
        if (m && epl_model_init(m, 0))
            timed[i] = (paper_timed){ .name = v[i].name, .model = m };
    }
    if (paper_ok(r))
        paper_latency(r, timed, N_NETWORKS, 10);
}

static void plot_against(paper_run *r, const char *file, const char *label, const double *x, const paper_series *const *accuracy)
{
    const char *names[N_NETWORKS];
    double      y[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++) {
        names[i] = accuracy[i] ? accuracy[i]->name : NULL;
        y[i]     = paper_mean(accuracy[i]);
    }
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = label, .y_label = "test accuracy [%]" });
    epl_plot_scatter(p, NULL, x, y, N_NETWORKS, (epl_scatter_opts){ .labels = names });
    paper_plot_take(r, file, paper_textf(r, "Test accuracy against %s.", label), p);
}

static void full(paper_run *r)
{
    const paper_variant networks[N_NETWORKS] = {
        [PLAIN]      = { .name = "simplenet 310k", .model = "simplenet:layout=310k,image=28,channels=1,dropout=0", .end = weigh },
        [EARLY_1X1]  = { .name = "early 1x1", .model = "simplenet:layout=early-1x1,image=28,channels=1,dropout=0", .end = weigh },
        [EARLY_POOL] = { .name = "early pooling", .model = "simplenet:layout=early-pool,image=28,channels=1,dropout=0", .end = weigh },
        [SHORTCUTS]  = { .name = "with shortcuts", .model = "resnet:depth=20,width=17,image=28,channels=1", .end = weigh },
        [SHALLOW]    = { .name = "wide and shallow", .build = shallow, .end = weigh },
    };
    const paper_series *accuracy[N_NETWORKS];
    paper_timed         timed[N_NETWORKS];
    double              parameters[N_NETWORKS], latency[N_NETWORKS];
    paper_train(r, networks, N_NETWORKS,
                (paper_recipe){ .samples = 8000, .test = 5000, .epochs = 3, .batch = 64, .augment = "pad-crop:2,flip" },
                accuracy);
    time_all(r, networks, timed);
    if (!paper_ok(r))
        return;
    for (int i = 0; i < N_NETWORKS; i++) {
        parameters[i] = paper_mean(paper_series_named(r, "parameters", networks[i].name, ""));
        latency[i]    = 1e3 * timed[i].seconds;
        paper_check_near(r, paper_textf(r, "parameters of %s", networks[i].name), parameters[i], 311210, 0.05 * 311210);
    }
    const double plain = paper_mean(accuracy[PLAIN]);
    paper_check(r, "simplenet 310k - early 1x1, points", plain - paper_mean(accuracy[EARLY_1X1]), PAPER_AT_LEAST, 0);
    paper_check(r, "simplenet 310k - early pooling, points", plain - paper_mean(accuracy[EARLY_POOL]), PAPER_AT_LEAST, 0);
    paper_check(r, "simplenet 310k - with shortcuts, points", plain - paper_mean(accuracy[SHORTCUTS]), PAPER_AT_LEAST, -0.5);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
    plot_against(r, "parameters", "parameters", parameters, accuracy);
    plot_against(r, "latency", "latency of one image on one thread [ms]", latency, accuracy);
}

const paper paper_simplenet = {
    .slug = "simplenet",
    .title = "Lets keep it simple, Using simple architectures to outperform deeper and more complex architectures",
    .source = "Hasanpour, Rouhani, Fayyaz, Sabokrou 2016, arXiv:1608.06037",
    .kind = "model family",
    .claim = "a plain stack of convolutions whose widths, poolings and kernels follow a few principles keeps up with "
             "networks with "
             "shortcuts of the same size, and loses when it breaks a principle",
    .criterion = "mean accuracy on Fashion-MNIST at about 311 k parameters is not below that of early 1x1 kernels, nor "
                 "of early pooling, and "
                 "at most 0.5 points below that of a network with shortcuts",
    .quick = quick,
    .full = full,
};
