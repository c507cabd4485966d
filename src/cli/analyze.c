/* analyze: a network's design, how its weights start, and what limits its speed. */
#include "frontier.h"

#include <string.h>

static bool design(cli *c, const epl_model *m)
{
    epl_text   remarks = EPL_TEXT(c->ctx);
    epl_table *t  = epl_design_report(m->graph, &remarks);
    bool       ok = t && cli_print_table(c, t);
    if (ok && !c->json && remarks.length)
        ok = cli_print_take(c, epl_strdup(c->ctx, epl_text_str(&remarks)));
    epl_text_release(&remarks);
    epl_table_free(t);
    return ok;
}

static epl_table *gradient_flow(cli *c, const epl_model *m, epl_dataset_info info, const epl_tensor *x, const epl_tensor *y)
{
    double total;
    epl_table *t = epl_gradient_flow(m, x, y, (epl_loss_opts){ .name = info.n_classes ? "cross-entropy" : "mse" }, &total);
    if (t && !c->json)
        cli_remark(c, "squared norm of the gradient: %g", total);
    return t;
}

/* Of the first samples of the data: what layers answer, or how much gradient reaches the weights. */
static bool with_samples(cli *c, const epl_model *m, const cli_data *data, int64_t batch, bool flow)
{
    epl_dataset *d = data->name ? cli_data_open(c, data, EPL_SPLIT_TRAIN, 0) : NULL;
    epl_tensor  *x = NULL, *y = NULL;
    if (!data->name)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "what is measured depends on samples: say --data");
    const epl_dataset_info info = d ? epl_dataset_info_of(d) : (epl_dataset_info){ 0 };
    bool       ok = d && epl_dataset_tensors(d, 0, info.count < batch ? info.count : batch, &x, &y);
    epl_table *t  = !ok ? NULL : flow ? gradient_flow(c, m, info, x, y) : epl_init_report(m, x, info.n_classes ? y : NULL);
    ok = t && cli_print_table(c, t);
    epl_table_free(t);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_dataset_free(d);
    return ok;
}

/* What the machine can do: multiply-adds and bytes a second. */
typedef struct machine {
    double peak, bandwidth;
} machine;

/* What is 0 is measured. */
static machine machine_of(cli *c, double peak_g, double bandwidth_g)
{
    const int threads = (int)(c->n_threads ? c->n_threads : epl_context_threads(c->ctx));
    return (machine){ peak_g > 0 ? 1e9 * peak_g : epl_bench_peak_gflops(c->ctx, threads) / 2 * 1e9,
                      bandwidth_g > 0 ? 1e9 * bandwidth_g : epl_bench_bandwidth_gbs(c->ctx, threads) * 1e9 };
}

typedef struct line {
    const char *name;
    double      value;
} line;

static bool print_lines(cli *c, const line *lines, size_t n)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "what", (epl_column_opts){ 0 });
    epl_table_column(t, "value", (epl_column_opts){ 0 });
    for (size_t i = 0; i < n; i++) {
        epl_table_row(t);
        epl_table_text(t, lines[i].name);
        epl_table_number(t, lines[i].value);
    }
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static bool waterline(cli *c, const epl_model *m, machine k)
{
    epl_waterline w;
    if (!epl_waterline_of(m->graph, k.peak, k.bandwidth, &w))
        return false;
    const line lines[] = { { "peak, G multiply-adds/s", k.peak / 1e9 }, { "bandwidth, GB/s", k.bandwidth / 1e9 },
                           { "waterline, multiply-adds a byte", k.peak / k.bandwidth }, { "multiply-adds, M", w.macs / 1e6 },
                           { "moved, MB", w.bytes / 1e6 }, { "kernels", w.n_kernels }, { "of them bound by memory", w.n_under_water },
                           { "time at the peak, ms", 1e3 * w.ideal_s }, { "least time, ms", 1e3 * w.bound_s },
                           { "least time in one kernel, ms", 1e3 * w.fused_s }, { "bound of the efficiency, %", 100 * w.efficiency } };
    return print_lines(c, lines, EPL_COUNT(lines));
}

static bool blocks(cli *c, const epl_model *m, int64_t workspace_kib)
{
    epl_table *t  = epl_fuse_blocks_report(m->graph, (size_t)workspace_kib << 10);
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

/* ---- several networks: what they use of the peak ---- */

enum { MOST_NETWORKS = 32 };

typedef struct measured {
    int            n;
    const char    *names[MOST_NETWORKS];
    epl_efficiency e[MOST_NETWORKS];
    double         accuracy[MOST_NETWORKS]; /* in percent; without data the network's number */
} measured;

static bool measure_network(cli *c, const char *path, const cli_data *data, machine k, int64_t block_kib, measured *all)
{
    epl_model     *m = cli_model_load(c, path, NULL);
    epl_dataset   *d = m && data->name ? cli_data_open(c, data, EPL_SPLIT_TEST, 0) : NULL;
    epl_evaluation v = { 0 };
    const int      i = all->n++;
    bool ok = m && (!data->name || d) && epl_efficiency_of(m, k.peak, 1, (size_t)block_kib << 10, &all->e[i]);
    if (ok && d)
        ok = epl_evaluate(m, d, (epl_evaluate_opts){ 0 }, &v);
    all->names[i]    = path;
    all->accuracy[i] = d ? 100 * v.metrics.accuracy : i + 1;
    epl_evaluation_release(c->ctx, &v);
    epl_dataset_free(d);
    epl_model_free(m);
    return ok;
}

static bool print_efficiency(cli *c, const measured *all, bool has_data)
{
    static const char *const columns[] = { "network", "multiply-adds, M", "ideal, ms", "measured, ms", "efficiency, %", "accuracy, %" };
    epl_table *t = epl_table_new(c->ctx, NULL);
    for (size_t i = 0; i < EPL_COUNT(columns) - !has_data; i++)
        epl_table_column(t, columns[i], (epl_column_opts){ 0 });
    for (int i = 0; i < all->n; i++) {
        const epl_efficiency *e = &all->e[i];
        const double values[] = { e->macs / 1e6, 1e3 * e->ideal_s, 1e3 * e->measured_s, 100 * e->efficiency, all->accuracy[i] };
        epl_table_row(t);
        epl_table_text(t, all->names[i]);
        for (size_t k = 0; k < EPL_COUNT(values) - !has_data; k++)
            epl_table_number(t, values[k]);
    }
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static bool write_gap(cli *c, const measured *all, bool has_data, const char *out)
{
    epl_plot  *p = epl_efficiency_plot(c->ctx, all->names, all->e, all->accuracy,
                                      has_data ? "test accuracy [%]" : "network", (size_t)all->n);
    char      *svg = p ? epl_plot_svg(p) : NULL;
    const bool ok = svg && epl_write_file(c->ctx, out, svg, strlen(svg));
    epl_release(c->ctx, svg);
    epl_plot_free(p);
    return ok;
}

static bool efficiency(cli *c, cli_words networks, const cli_data *data, machine k, int64_t block_kib, const char *out)
{
    measured all = { 0 };
    bool     ok  = networks.n <= MOST_NETWORKS || epl_fail(c->ctx, EPL_ERR_LIMIT, "%d networks, of at most %d", networks.n, MOST_NETWORKS);
    for (int i = 0; ok && i < networks.n; i++)
        ok = measure_network(c, networks.at[i], data, k, block_kib, &all);
    return ok && print_efficiency(c, &all, data->name) && (!out || write_gap(c, &all, data->name, out));
}

/* ---- the verb ---- */

enum { DESIGN, INIT, GRADFLOW, WATERLINE, BLOCKS, EFFICIENCY, FRONTIER };
static const char *const known[] = { "design", "init", "gradflow", "waterline", "blocks", "efficiency", "frontier" };

static int run(cli *c, int argc, char **argv)
{
    const char *what = NULL, *out = NULL;
    cli_words   networks = { 0 };
    cli_data    data = { 0 };
    int64_t     batch = 64, workspace = 768, block_kib = 0;
    double      peak = 0, bandwidth = 0;
    const cli_option options[] = {
        EPL_ARG("what", &what, "design, init, gradflow, waterline, blocks, efficiency, or frontier"),
        EPL_ARG_REST("model", &networks, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 16, "samples to look at; frontier: of a step"),
        EPL_OPT_REAL(0, "peak", &peak, 0, 1e9, "1e9 multiply-adds a second (0: measured)"),
        EPL_OPT_REAL(0, "bandwidth", &bandwidth, 0, 1e9, "1e9 bytes a second (0: measured)"),
        EPL_OPT_INT(0, "workspace", &workspace, 1, 1 << 20, "blocks: KiB for what a strip holds"),
        CLI_OPT_BLOCKS(&block_kib),
        EPL_OPT_PATH('o', "plot", &out, "efficiency, frontier: an SVG"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    size_t k = 0;
    while (k < EPL_COUNT(known) && strcmp(what, known[k]) != 0)
        k++;
    if (k == EPL_COUNT(known))
        return cli_end(c, cli_unknown(c, "analysis", what, known, EPL_COUNT(known)));
    if (k != EFFICIENCY && k != FRONTIER && networks.n != 1)
        return cli_end(c, epl_fail(c->ctx, EPL_ERR_ARGUMENT, "`analyze %s` takes one network, but %d are given", known[k], networks.n));
    if (k == EFFICIENCY)
        return cli_end(c, efficiency(c, networks, &data, machine_of(c, peak, 1), block_kib, out));
    if (k == FRONTIER)
        return cli_end(c, cli_frontier(c, &networks, &data, batch, out));
    epl_model *m  = cli_model_load(c, networks.at[0], NULL);
    const bool ok = m && (k == DESIGN                  ? design(c, m)
                          : k == INIT || k == GRADFLOW ? with_samples(c, m, &data, batch, k == GRADFLOW)
                          : k == BLOCKS                ? blocks(c, m, workspace)
                                                       : waterline(c, m, machine_of(c, peak, bandwidth)));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_analyze = {
    .name = "analyze",
    .json = true,
    .run = run,
    .summary = "a network's design, how signals and gradients pass through it, what limits its speed",
    .about = "`analyze design` shows where layers, parameters and multiply-adds are, and remarks where a design "
             "principle of SimpleNet "
             "(Hasanpour et al. 2016) is broken. `analyze init` shows for each layer the variance of its answers to "
             "--data and the norm "
             "of its gradient. `analyze gradflow` is the squared norm of the gradient that reaches each parameter in "
             "training; what a mask "
             "hides has none. `analyze waterline` is the roofline of the kernels that a program has, in sequence: the "
             "least time that multiply-adds "
             "and memory allow, and how many kernels memory holds back (Lavin 2024, arXiv:2404.03617). `analyze "
             "blocks` lists what --fuse-blocks of bench "
             "and compile can run strip by strip. `analyze efficiency` times several networks and shows what they use "
             "of the peak. "
             "`analyze frontier` puts networks beside each other by the parameters that are not zero and what they do "
             "on the test part of --data, and "
             "marks those that no other beats with as few (Zhu & Gupta 2017, arXiv:1710.01878); bytes hold a bit for "
             "each weight.",
    .examples = "espalier analyze design vgg:depth=16\nespalier analyze init lenet --data fashion-mnist\nespalier "
                "analyze gradflow p.safetensors --data fashion-mnist\nespalier analyze waterline convfirst:image=128 "
                "--peak 50 --bandwidth 20\nespalier analyze blocks convfirst:image=128\n"
                "espalier analyze efficiency convfirst:image=128 resnet:depth=20 --plot gap.svg\n"
                "espalier analyze frontier small.safetensors large.safetensors large-90.safetensors --data "
                "fashion-mnist --plot frontier.svg",
};
