/* vovnet: a network that collects features once against one that does so in every layer, of the same computation:
 * which moves less memory, which is faster, which learns better? */
#include "papers/common/paper.h"

#include <string.h>

/* ---- quick: the published sizes, shapes, and the arithmetic of memory access ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *variant;
        int64_t     features, whole;
        double      macs;
    } sizes[] = { { "27-slim", 3012736, 3525736, 2176695296 },  { "39", 21575296, 22600296, 7072227328 },
                  { "57", 35615296, 36640296, 8930144256 },     { "19-slim-dw-ese", 1384752, 1897752, 0 },
                  { "19-dw-ese", 5518080, 6543080, 0 },         { "19-slim-ese", 2653136, 3166136, 0 },
                  { "19-ese", 10180416, 11205416, 0 },          { "39-ese", 25184128, 26209128, 0 },
                  { "39-ese,ese=last", 23543936, 24568936, 0 }, { "57-ese", 41454912, 42479912, 0 },
                  { "57-ese,ese=last", 37583936, 38608936, 0 }, { "99-ese", 69523520, 70548520, 0 },
                  { "99-ese,ese=last", 62174272, 63199272, 0 } };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++) {
        paper_check_model(r, paper_textf(r, "vovnet:variant=%s", sizes[i].variant), sizes[i].whole, sizes[i].macs);
        paper_check_model(r, paper_textf(r, "vovnet:variant=%s,classes=0", sizes[i].variant), sizes[i].features, 0);
    }
    paper_check_model_refused(r, "vovnet:image=31", "at least 45");
}

/* Elements that the convolutions and the classifier read and write: feature maps and weights, each once. */
static double memory_access(const epl_graph *g, const char *pattern)
{
    double elements = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (epl_glob("Conv,Linear", epl_node_op_name(n)) && epl_glob(pattern, epl_node_scope(n)))
            elements += epl_node_cost(n).bytes / 4;
    return elements;
}

static void check_memory_access(paper_run *r)
{
    epl_graph *g = epl_zoo_build(paper_context(r), "densenet:depth=40,growth=12,plain=1,image=32,classes=10");
    if (!g)
        return;
    paper_check_near(r, "DenseNet-40 moves, million elements", memory_access(g, "block*,transition*") / 1e6, 3.65, 0.02);
    epl_graph_free(g);
    double equal = 0, least = 1e300; // 3x3 convolutions of 14 x 14 with 48^2 products a pixel, split in every way
    for (int in = 1; in <= 48 * 48; in++)
        if (48 * 48 % in == 0) {
            const double access = 14.0 * 14 * (in + 48 * 48 / in) + 9.0 * 48 * 48;
            equal = in == 48 ? access : equal;
            least = in != 48 && access < least ? access : least;
        }
    paper_check(r, "a convolution of equal widths moves less than of any others", least - equal, PAPER_ABOVE, 0);
}

static void check_taps(paper_run *r)
{
    static const int side[] = { 56, 56, 28, 14, 7 };
    epl_graph *g = epl_zoo_build(paper_context(r), "vovnet:variant=19-ese,taps=1");
    for (int i = 0; g && i < 5; i++)
        paper_check(r, paper_textf(r, "side of the features '%s'", epl_graph_output_name(g, i + 1)),
                    (double)epl_dim(epl_graph_output_at(g, i + 1), 1), PAPER_EQUAL, side[i]);
    epl_graph_free(g);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_memory_access(r);
    check_taps(r);
    paper_check(r, "folded against unfolded, relative",
                paper_folding_difference(r, paper_model(r, "vovnet:variant=19-slim-dw-ese,image=64", 1), 2),
                PAPER_AT_MOST, 1e-4);
}

/* ---- full ---- */

enum { ONCE, EVERY, N_NETWORKS, N_BATCHES = 3 };
static const int64_t batches[N_BATCHES] = { 1, 8, 64 };

static epl_value *begin(epl_context *ctx, const char *name, epl_graph **g)
{
    *g = epl_graph_new(ctx, name);
    epl_value *x = epl_input(*g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_conv_unit(*g, x, (epl_conv_unit_opts){ .name = "stem1", .conv = { .out = 32 } });
    return epl_conv_unit(*g, x, (epl_conv_unit_opts){ .name = "stem2", .conv = { .out = 32, .stride = 2 } });
}

static epl_graph *one_shot(epl_context *ctx, void *user)
{
    (void)user;
    epl_graph *g;
    epl_value *x = begin(ctx, "one-shot", &g);
    x = epl_osa(g, x, (epl_osa_opts){ .name = "module1", .width = 44, .out = 112, .layers = 5 });
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
    x = epl_osa(g, x, (epl_osa_opts){ .name = "module2", .width = 56, .out = 192, .layers = 5 });
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 10 }));
    return g;
}

static epl_graph *dense(epl_context *ctx, void *user)
{
    (void)user;
    static const int kept[] = { 88, 112 };
    epl_graph *g;
    epl_value *x = begin(ctx, "dense", &g);
    for (int b = 0; b < 2; b++) {
        epl_scope_push(g, "block%d", b + 1);
        for (int i = 0; i < 12; i++) {
            epl_scope_push(g, "layer%d", i + 1);
            x = epl_dense_layer(g, x, (epl_dense_layer_opts){ .growth = 12 });
            epl_scope_pop(g);
        }
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "transition", .pre = true, .conv = { .out = kept[b], .kernel = 1 } });
        epl_scope_pop(g);
        x = b == 0 ? epl_average_pool(g, x, (epl_pool_opts){ .kernel = { 2 } }) : x;
    }
    x = epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ 0 }));
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 10 }));
    return g;
}

static epl_model *model_of(paper_run *r, const paper_variant *v)
{
    epl_graph *g = paper_ok(r) ? v->build(paper_context(r), NULL) : NULL;
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    return m && epl_model_init(m, 0) ? m : NULL;
}

/* Time against computation at several batches; returns the speeds at the largest. */
static void measure_speed(paper_run *r, const paper_variant *v, epl_model *const *m, double speed[N_NETWORKS])
{
    paper_timed timed[N_NETWORKS * N_BATCHES] = { 0 };
    for (int i = 0; i < N_NETWORKS * N_BATCHES; i++)
        timed[i] = (paper_timed){ .name = paper_textf(r, "%s, batch %d", v[i % N_NETWORKS].name, (int)batches[i / N_NETWORKS]),
                                  .model = m[i % N_NETWORKS], .batch = batches[i / N_NETWORKS] };
    if (!paper_latency(r, timed, N_NETWORKS * N_BATCHES, 15))
        return;
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "multiply-adds of a batch [M]", .y_label = "time [ms]",
                                                                  .x_log = true, .y_log = true });
    for (int i = 0; i < N_NETWORKS; i++) {
        double macs[N_BATCHES], ms[N_BATCHES];
        for (int b = 0; b < N_BATCHES; b++) {
            macs[b] = epl_graph_cost(m[i]->graph).macs * (double)batches[b] / 1e6;
            ms[b]   = 1e3 * timed[b * N_NETWORKS + i].seconds;
            speed[i] = 2 * macs[b] / ms[b];
            paper_add(paper_series_named(r, "speed", timed[b * N_NETWORKS + i].name, "GFLOP/s"), speed[i]);
        }
        epl_plot_line(p, v[i].name, macs, ms, N_BATCHES, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, "time", "Time of a forward pass on one thread against its multiply-adds, batches of 1, 8 and 64.", p);
}

/* What has been moved when so much has been computed, layer by layer. */
static void plot_memory(paper_run *r, const paper_variant *v, epl_model *const *m)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "multiply-adds so far [M]",
                                                                  .y_label = "elements moved so far [k]" });
    for (int i = 0; i < N_NETWORKS; i++) {
        const size_t n = (size_t)epl_graph_n_nodes(m[i]->graph) + 1;
        double *macs = paper_alloc(r, n * sizeof *macs), *moved = paper_alloc(r, n * sizeof *moved);
        size_t  at = 0;
        for (const epl_node *k = epl_first(m[i]->graph); k && macs && moved; k = epl_next(k))
            if (epl_glob("Conv,Linear", epl_node_op_name(k))) {
                const epl_cost c = epl_node_cost(k);
                at++;
                macs[at]  = macs[at - 1] + c.macs / 1e6;
                moved[at] = moved[at - 1] + c.bytes / 4e3;
            }
        if (macs && moved)
            epl_plot_line(p, v[i].name, macs, moved, at + 1, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, "memory", "Memory access of the layers against their computation, one point for each convolution.", p);
}

static void full(paper_run *r)
{
    const paper_variant networks[N_NETWORKS] = { [ONCE]  = { .name = "aggregated once", .build = one_shot },
                                                 [EVERY] = { .name = "dense", .build = dense } };
    const paper_series *accuracy[N_NETWORKS];
    epl_model *m[N_NETWORKS];
    double     speed[N_NETWORKS] = { 0 }, moved[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++) {
        m[i] = model_of(r, &networks[i]);
        if (!m[i])
            return;
        moved[i] = memory_access(m[i]->graph, "*");
        paper_add(paper_series_named(r, "multiply-adds", networks[i].name, "M"), epl_graph_cost(m[i]->graph).macs / 1e6);
        paper_add(paper_series_named(r, "parameters", networks[i].name, ""), (double)epl_graph_n_parameters(m[i]->graph));
        paper_add(paper_series_named(r, "memory access", networks[i].name, "k elements"), moved[i] / 1e3);
    }
    paper_check(r, "multiply-adds, aggregated once", epl_graph_cost(m[ONCE]->graph).macs, PAPER_EQUAL, 35695872);
    paper_check(r, "multiply-adds, dense", epl_graph_cost(m[EVERY]->graph).macs, PAPER_EQUAL, 36993376);
    measure_speed(r, networks, m, speed);
    plot_memory(r, networks, m);
    paper_train(r, networks, N_NETWORKS, (paper_recipe){ .samples = 10000, .epochs = 3, .optimizer = "adam:rate=2e-3" }, accuracy);
    if (!paper_ok(r))
        return;
    paper_check(r, "speed at batch 64, aggregated once / dense", speed[ONCE] / speed[EVERY], PAPER_AT_LEAST, 1.3);
    paper_check(r, "memory access, aggregated once / dense", moved[ONCE] / moved[EVERY], PAPER_BELOW, 1);
    paper_check(r, "accuracy, aggregated once - dense, points",
                paper_mean(accuracy[ONCE]) - paper_mean(accuracy[EVERY]), PAPER_AT_LEAST, -1);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
}

const paper paper_vovnet = {
    .slug = "vovnet",
    .title = "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection",
    .source = "Lee, Hwang, Lee, Bae, Park 2019, arXiv:1904.09730",
    .kind = "model family",
    .claim = "features that are concatenated once, at a module's end, serve as well as those that every layer reads "
             "again, move less memory "
             "and so compute faster at the same number of multiply-adds",
    .criterion = "of two networks of 36 M multiply-adds the one that aggregates once reaches at least 1.3 times the "
                 "GFLOP/s of the dense one "
                 "at batch 64 on one thread, moves fewer elements, and has a mean accuracy on Fashion-MNIST at most 1 "
                 "point below",
    .quick = quick,
    .full = full,
};
