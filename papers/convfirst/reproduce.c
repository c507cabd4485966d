/* convfirst: multiply-adds, and how well they use the machine - does a bottleneck that begins with its spatial
 * convolution do better than ConvNeXt's block? */
#include "papers/common/paper.h"

#include <math.h>

enum { CONV_FIRST, MBCONV_GROUPS, MBCONV, CONVNEXT, N_KINDS };
static const char *const block_names[N_KINDS] = { "ConvFirst", "MBConv, groups of 8", "MBConv, depthwise", "ConvNeXt" };

static epl_value *block(epl_graph *g, epl_value *x, int kind)
{
    const int c = x ? (int)epl_channels(x) : 0;
    if (kind == CONV_FIRST)
        return epl_conv_first(g, x, (epl_conv_first_opts){ 0 });
    if (kind == CONVNEXT)
        return epl_convnext_unit(g, x, (epl_convnext_unit_opts){ 0 });
    return epl_inverted_bottleneck(g, x, (epl_inverted_opts){ .name = "mbconv", .out = c, .hidden = 4 * c, .activation = "silu",
                                                              .group_width = kind == MBCONV ? 1 : 8 });
}

/* One block on maps of side x side. */
static epl_model *block_alone(paper_run *r, int kind, int side, int channels)
{
    epl_graph *g = epl_graph_new(paper_context(r), block_names[kind]);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, side, side, channels), "N,,,");
    epl_output(g, "y", block(g, x, kind));
    epl_model *m = epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    return m && epl_model_init(m, 0) ? m : NULL;
}

/* ---- quick ---- */

static void check_blocks(paper_run *r)
{
    enum { SIDE = 112, C = 64 };
    static const struct {
        int     kind;
        double  macs; /* a pixel */
        int64_t parameters; /* 0: not asked */
        double  traffic;    /* elements a pixel and channel, unfused; 0: not asked */
    } blocks[] = { { CONV_FIRST, 37376, 38144, 13 },
                   { MBCONV_GROUPS, 51200, 52352, 19 },
                   { MBCONV, 35072, 36224, 19 },
                   { CONVNEXT, 35904, 0, 0 } };
    for (size_t i = 0; i < EPL_COUNT(blocks); i++) {
        const char      *name = block_names[blocks[i].kind];
        const epl_model *m = block_alone(r, blocks[i].kind, SIDE, C);
        epl_waterline    w = { 0 };
        if (!m || !epl_waterline_of(m->graph, 1e30, 1, &w))
            return;
        paper_check(r, paper_textf(r, "multiply-adds a pixel, %s", name), epl_graph_cost(m->graph).macs / SIDE / SIDE,
                    PAPER_EQUAL, blocks[i].macs);
        if (blocks[i].parameters)
            paper_check(r, paper_textf(r, "parameters, %s", name), (double)epl_graph_n_parameters(m->graph),
                        PAPER_EQUAL, (double)blocks[i].parameters);
        if (blocks[i].traffic > 0)
            paper_check_near(r, paper_textf(r, "elements moved a pixel and channel, %s", name),
                             w.bytes / 4 / SIDE / SIDE / C, blocks[i].traffic, 0.1 * blocks[i].traffic);
        paper_check_near(r, paper_textf(r, "as one kernel, %s", name), w.fused_s / 4 / SIDE / SIDE / C, 2, 0.2);
    }
}

/* What goes through memory when a block of 4 C inner channels runs strip by strip: its two ends. */
static void check_strips(paper_run *r)
{
    const epl_model *m = block_alone(r, CONV_FIRST, 112, 32);
    epl_graph       *g = m ? epl_graph_copy(m->graph) : NULL;
    const bool       ok = g && epl_prepare(g, (epl_pass_opts){ .frozen = true });
    paper_check(r, "pieces that run in strips", ok ? epl_fuse_blocks(g, 512 << 10) : -1, PAPER_EQUAL, 1);
    epl_graph_free(g);
    for (int kind = 0; kind < N_KINDS; kind++)
        paper_check(r, paper_textf(r, "strips against layers, relative, %s", block_names[kind]),
                    paper_strips_difference(r, block_alone(r, kind, 29, 16), 2, 64 << 10), PAPER_AT_MOST, 1e-4);
}

static void check_waterline(paper_run *r)
{
    const epl_model *m = paper_model(r, "convfirst:image=128", 0);
    epl_waterline    w = { 0 };
    if (!m)
        return;
    paper_check_refused(r, "a peak of 0", epl_waterline_of(m->graph, 0, 1e9, &w), "the peak is 0 multiply-adds");
    paper_check_refused(r, "a bandwidth below 0", epl_waterline_of(m->graph, 1e9, -1, &w), "the bandwidth -1 bytes");
    if (!epl_waterline_of(m->graph, 50e9, 20e9, &w))
        return;
    paper_check(r, "multiply-adds under the waterline's bars", w.macs, PAPER_EQUAL, 101853184);
    paper_check(r, "kernels: 38 convolutions, a mean, a linear layer", w.n_kernels, PAPER_EQUAL, 40);
    paper_check(r, "bound / ideal time", w.bound_s / w.ideal_s, PAPER_AT_LEAST, 1);
    paper_check(r, "bound of the efficiency", w.efficiency, PAPER_AT_MOST, 1);
    paper_check(r, "all in one kernel / ideal time", w.fused_s / w.ideal_s, PAPER_AT_LEAST, 1);
    epl_waterline slow = { 0 };
    if (epl_waterline_of(m->graph, 50e9, 1e3, &slow))
        paper_check(r, "kernels under water, with memory that barely moves", slow.n_under_water, PAPER_EQUAL, slow.n_kernels);
}

static void quick(paper_run *r)
{
    static const struct {
        const char *variant;
        int64_t     parameters;
        double      at_224, at_128;
    } sizes[] = { { "pico", 1854264, 311397376, 101853184 },
                  { "nano", 4521568, 794042880, 259537920 },
                  { "tiny", 10647944, 1822803968, 595546112 } };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++) {
        paper_check_model(r, paper_textf(r, "convfirst:variant=%s", sizes[i].variant), sizes[i].parameters, sizes[i].at_224);
        paper_check_model(r, paper_textf(r, "convfirst:variant=%s,image=128", sizes[i].variant), sizes[i].parameters, sizes[i].at_128);
    }
    paper_check_model_refused(r, "convfirst:group_width=5",
                              "'group_width' is 5 and does not divide the width of the first stage, which is 32");
    check_blocks(r);
    check_strips(r);
    check_waterline(r);
    paper_check(r, "folded against unfolded, relative",
                paper_folding_difference(r, paper_model(r, "convfirst:image=64", 1), 2), PAPER_AT_MOST, 1e-4);
}

/* ---- full ---- */

enum { N_WIDTHS = 3, BLOCK_BATCH = 8, BLOCK_SIDE = 112, CONV_FIRST_STRIPS = N_KINDS, MBCONV_STRIPS, CONVNEXT_STRIPS, N_BLOCKS };
enum { STRIP_BYTES = 768 << 10 }; /* three quarters of the second cache */
static const int widths[N_WIDTHS] = { 16, 32, 64 };
static const int kind_of[N_BLOCKS] = { CONV_FIRST, MBCONV_GROUPS, MBCONV, CONVNEXT, CONV_FIRST, MBCONV_GROUPS, CONVNEXT };

static const char *name_of(paper_run *r, int block)
{
    return paper_textf(r, "%s%s", block_names[kind_of[block]], block < N_KINDS ? "" : ", in strips");
}

/* Time of one thread on maps larger than the caches; efficiency[width][block] is the ideal time over it. */
static bool measure_blocks(paper_run *r, double peak, double efficiency[N_WIDTHS][N_BLOCKS], double seconds[N_WIDTHS][N_BLOCKS])
{
    paper_timed timed[N_WIDTHS * N_BLOCKS] = { 0 };
    for (int i = 0; i < N_WIDTHS * N_BLOCKS; i++)
        timed[i] =
            (paper_timed){ .name = paper_textf(r, "%s, %d channels", name_of(r, i % N_BLOCKS), widths[i / N_BLOCKS]),
                           .batch = BLOCK_BATCH,
                           .block_bytes = i % N_BLOCKS < N_KINDS ? 0 : STRIP_BYTES,
                           .model = block_alone(r, kind_of[i % N_BLOCKS], BLOCK_SIDE, widths[i / N_BLOCKS]) };
    if (!paper_ok(r) || !paper_latency(r, timed, N_WIDTHS * N_BLOCKS, 30))
        return false;
    for (int i = 0; i < N_WIDTHS * N_BLOCKS; i++) {
        double *e = &efficiency[i / N_BLOCKS][i % N_BLOCKS];
        *e = epl_graph_cost(timed[i].model->graph).macs * BLOCK_BATCH / peak / timed[i].seconds;
        seconds[i / N_BLOCKS][i % N_BLOCKS] = timed[i].seconds;
        paper_add(paper_series_named(r, "efficiency", timed[i].name, "%"), 100 * *e);
    }
    return true;
}

/* Whole networks of equal widths and depths, for one image; the time of ConvFirst over that of ConvNeXt. */
static double measure_networks(paper_run *r, double peak)
{
    static const char *const names[3] = { "3, 3, 9, 3 blocks, ConvFirst", "3, 3, 9, 3 blocks, ConvFirst in strips",
                                          "3, 3, 9, 3 blocks, ConvNeXt" };
    paper_timed timed[3] = { 0 };
    for (int i = 0; i < 3; i++)
        timed[i] = (paper_timed){
            .name = names[i],
            .block_bytes = i == 1 ? STRIP_BYTES : 0,
            .model =
                paper_model(r, i < 2 ? "convfirst:variant=tiny,width=32,image=128" : "convnext:width=32,image=128", 0)
        };
    if (!paper_ok(r) || !paper_latency(r, timed, 3, 6))
        return NAN;
    for (int i = 0; i < 3; i++) {
        const double macs = epl_graph_cost(timed[i].model->graph).macs;
        paper_add(paper_series_named(r, "multiply-adds", names[i], "M"), macs / 1e6);
        paper_add(paper_series_named(r, "efficiency", names[i], "%"), 100 * macs / peak / timed[i].seconds);
    }
    return timed[0].seconds / timed[2].seconds;
}

/* Networks for images of 28 x 28: a stem of stride 2, four blocks of one kind, of 32 channels. */
static epl_graph *four_blocks(epl_context *ctx, void *user)
{
    const int *kind = user;
    epl_graph *g = epl_graph_new(ctx, block_names[*kind]);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .activation = "silu", .conv = { .out = 32, .stride = 2 } });
    for (int i = 0; i < 4; i++) {
        epl_scope_push(g, "block%d", i + 1);
        x = block(g, x, *kind);
        epl_scope_pop(g);
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 10 }));
    return g;
}

/* Ideal and measured latency at the accuracy that the networks have: the length of a line is the logarithm of 1 / efficiency. */
static bool plot_gap(paper_run *r, double peak, const paper_variant *v, const paper_series *const *accuracy, double seconds[2])
{
    paper_timed timed[2] = { 0 };
    for (int i = 0; i < 2; i++) {
        epl_graph *g = four_blocks(paper_context(r), v[i].user);
        epl_model *m = epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
        paper_keep_model_take(r, m);
        if (!m || !epl_model_init(m, 0))
            return false;
        timed[i] = (paper_timed){ .name = paper_textf(r, "four blocks, %s", v[i].name), .model = m, .batch = 64 };
    }
    if (!paper_latency(r, timed, 2, 6))
        return false;
    const char    *names[2] = { v[0].name, v[1].name };
    epl_efficiency e[2];
    double         heights[2];
    for (int i = 0; i < 2; i++) {
        const double macs = epl_graph_cost(timed[i].model->graph).macs;
        seconds[i] = timed[i].seconds;
        heights[i] = paper_mean(accuracy[i]);
        e[i] = (epl_efficiency){ .macs = macs,
                                 .ideal_s = macs / peak,
                                 .measured_s = seconds[i] / 64,
                                 .efficiency = macs * 64 / peak / seconds[i] };
        paper_add(paper_series_named(r, "multiply-adds", timed[i].name, "M"), macs / 1e6);
        paper_add(paper_series_named(r, "efficiency", timed[i].name, "%"), 100 * e[i].efficiency);
    }
    epl_plot *p = epl_efficiency_plot(paper_context(r), names, e, heights, "test accuracy [%]", 2);
    paper_plot_take(r, "gap", "Efficiency gap: the right end of a line is the measured time, the left one what the peak would allow.", p);
    return paper_ok(r);
}

static void check_speed(paper_run *r, double efficiency[N_WIDTHS][N_BLOCKS], double seconds[N_WIDTHS][N_BLOCKS])
{
    for (int w = 0; w < N_WIDTHS; w++) {
        paper_add(paper_series_named(r, "layers / strips, time", paper_textf(r, "ConvFirst, %d channels", widths[w]), ""),
                  seconds[w][CONV_FIRST] / seconds[w][CONV_FIRST_STRIPS]);
        for (int b = 0; b < N_BLOCKS; b++)
            paper_check(r, paper_textf(r, "efficiency, %s, %d channels", name_of(r, b), widths[w]), efficiency[w][b], PAPER_AT_MOST, 1.05);
    }
    paper_check(r, "ConvFirst of 32 channels, time by layers / in strips",
                seconds[1][CONV_FIRST] / seconds[1][CONV_FIRST_STRIPS], PAPER_AT_LEAST, 1.15);
    for (int w = 1; w < N_WIDTHS; w++) {
        const double strips = efficiency[w][CONV_FIRST_STRIPS];
        paper_check(r, paper_textf(r, "efficiency, ConvFirst in strips / by layers, %d channels", widths[w]),
                    strips / efficiency[w][CONV_FIRST], PAPER_ABOVE, 1);
        paper_check(r, paper_textf(r, "efficiency, ConvFirst in strips / ConvNeXt, %d channels", widths[w]),
                    strips / efficiency[w][CONVNEXT], PAPER_ABOVE, 1);
    }
}

static void full(paper_run *r)
{
    const double peak = epl_bench_peak_gflops(paper_context(r), 1) / 2 * 1e9,
                 bandwidth = epl_bench_bandwidth_gbs(paper_context(r), 1) * 1e9;
    double       efficiency[N_WIDTHS][N_BLOCKS] = { 0 }, times[N_WIDTHS][N_BLOCKS] = { 0 }, seconds[2] = { 0 };
    int          kinds[2] = { CONV_FIRST, CONVNEXT };
    const paper_variant networks[2] = { { .name = block_names[CONV_FIRST], .build = four_blocks, .user = &kinds[0] },
                                        { .name = block_names[CONVNEXT], .build = four_blocks, .user = &kinds[1] } };
    const paper_series *accuracy[2];
    paper_add(paper_series_named(r, "machine, one thread", "multiply-adds", "G/s"), peak / 1e9);
    paper_add(paper_series_named(r, "machine, one thread", "memory", "GB/s"), bandwidth / 1e9);
    paper_add(paper_series_named(r, "machine, one thread", "multiply-adds a byte", ""), peak / bandwidth);
    const epl_model *pico = paper_model(r, "convfirst:image=128", 0);
    epl_waterline    w = { 0 };
    if (!pico || !epl_waterline_of(pico->graph, peak, bandwidth, &w) || !measure_blocks(r, peak, efficiency, times))
        return;
    paper_add(paper_series_named(r, "waterline", "convfirst-pico at 128: bound of the efficiency", "%"), 100 * w.efficiency);
    paper_add(paper_series_named(r, "waterline", "kernels under water", "%"), 100.0 * w.n_under_water / w.n_kernels);
    const double whole = measure_networks(r, peak);
    if (!paper_train(r, networks, 2,
                     (paper_recipe){ .samples = 10000, .epochs = 3, .optimizer = "adamw:rate=2e-3,decay=0.05" },
                     accuracy) ||
        !plot_gap(r, peak, networks, accuracy, seconds))
        return;
    check_speed(r, efficiency, times);
    paper_check(r, "time of a network of 3, 3, 9, 3 blocks, ConvFirst / ConvNeXt", whole, PAPER_BELOW, 1);
    paper_check(r, "time of four blocks, ConvFirst / ConvNeXt", seconds[0] / seconds[1], PAPER_BELOW, 1);
    paper_check(r, "accuracy, ConvFirst - ConvNeXt, points", paper_mean(accuracy[0]) - paper_mean(accuracy[1]), PAPER_AT_LEAST, -1);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, 2);
}

const paper paper_convfirst = {
    .slug = "convfirst",
    .title = "On the Efficiency of Convolutional Neural Networks",
    .source = "Lavin 2024, arXiv:2404.03617",
    .kind = "block, analysis",
    .claim = "latency is multiply-adds over peak times efficiency, and a bottleneck whose grouped spatial convolution "
             "comes first, on the narrow side, "
             "is better than ConvNeXt's block in both",
    .criterion = "ConvFirst of 32 channels, fused in strips, at least 1.15 times as fast as by layers; its efficiency "
                 "above that by layers and above "
                 "ConvNeXt's at 32 and 64 channels; networks of ConvFirst blocks faster than those of ConvNeXt's, mean "
                 "accuracy on Fashion-MNIST at most "
                 "1 point below",
    .quick = quick,
    .full = full,
};
