/* analyze: a network's design, how its weights start, and what limits its speed. */
#include "training.h"

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

static bool init(cli *c, const epl_model *m, const cli_data *data, int64_t batch)
{
    epl_dataset *d = data->name ? cli_data_open(c, data, EPL_SPLIT_TRAIN, 0) : NULL;
    epl_tensor  *x = NULL, *y = NULL;
    if (!data->name)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "what layers answer depends on samples: say --data");
    const epl_dataset_info info = d ? epl_dataset_info_of(d) : (epl_dataset_info){ 0 };
    bool       ok = d && epl_dataset_tensors(d, 0, info.count < batch ? info.count : batch, &x, &y);
    epl_table *t  = ok ? epl_init_report(m, x, info.n_classes ? y : NULL) : NULL;
    ok = t && cli_print_table(c, t);
    epl_table_free(t);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_dataset_free(d);
    return ok;
}

/* Multiply-adds and bytes a second; what is 0 is measured. */
static bool waterline(cli *c, const epl_model *m, double peak, double bandwidth)
{
    const int     threads = (int)(c->n_threads ? c->n_threads : epl_context_threads(c->ctx));
    epl_waterline w;
    peak      = peak > 0 ? peak : epl_bench_peak_gflops(c->ctx, threads) / 2 * 1e9;
    bandwidth = bandwidth > 0 ? bandwidth : epl_bench_bandwidth_gbs(c->ctx, threads) * 1e9;
    if (!epl_waterline_of(m->graph, peak, bandwidth, &w))
        return false;
    const struct {
        const char *name;
        double      value;
    } rows[] = { { "peak, G multiply-adds/s", peak / 1e9 }, { "bandwidth, GB/s", bandwidth / 1e9 },
                 { "waterline, multiply-adds a byte", peak / bandwidth }, { "multiply-adds, M", w.macs / 1e6 }, { "moved, MB", w.bytes / 1e6 },
                 { "kernels", w.n_kernels }, { "of them bound by memory", w.n_under_water }, { "time at the peak, ms", 1e3 * w.ideal_s },
                 { "least time, ms", 1e3 * w.bound_s }, { "least time in one kernel, ms", 1e3 * w.fused_s },
                 { "bound of the efficiency, %", 100 * w.efficiency } };
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "what", (epl_column_opts){ 0 });
    epl_table_column(t, "value", (epl_column_opts){ 0 });
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        epl_table_row(t);
        epl_table_text(t, rows[i].name);
        epl_table_number(t, rows[i].value);
    }
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *what = NULL, *in = NULL;
    cli_data    data = { 0 };
    int64_t     batch = 64;
    double      peak = 0, bandwidth = 0;
    const cli_option options[] = {
        EPL_ARG("what", &what, "design, init, or waterline"),
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 16, "init: samples to look at"),
        EPL_OPT_REAL(0, "peak", &peak, 0, 1e9, "waterline: 1e9 multiply-adds a second (0: measured)"),
        EPL_OPT_REAL(0, "bandwidth", &bandwidth, 0, 1e9, "waterline: 1e9 bytes a second (0: measured)"),
        EPL_OPT_END
    };
    static const char *const known[] = { "design", "init", "waterline" };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    size_t k = 0;
    while (k < EPL_COUNT(known) && strcmp(what, known[k]) != 0)
        k++;
    if (k == EPL_COUNT(known))
        return cli_end(c, cli_unknown(c, "analysis", what, known, EPL_COUNT(known)));
    epl_model *m  = cli_model_load(c, in, NULL);
    const bool ok = m && (k == 0 ? design(c, m) : k == 1 ? init(c, m, &data, batch) : waterline(c, m, 1e9 * peak, 1e9 * bandwidth));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_analyze = {
    .name = "analyze", .json = true, .run = run,
    .summary  = "a network's design, how signals and gradients pass through it, what limits its speed",
    .about    = "`analyze design` shows where layers, parameters and multiply-adds are, and remarks where a design principle of SimpleNet "
                "(Hasanpour et al. 2016) is broken. `analyze init` shows for each layer the variance of its answers to --data and the norm "
                "of its gradient. `analyze waterline` is the roofline of the kernels that a program has, in sequence: the least time that multiply-adds "
                "and memory allow, and how many kernels memory holds back (Lavin 2024, arXiv:2404.03617).",
    .examples = "espalier analyze design vgg:depth=16\nespalier analyze init lenet --data fashion-mnist\nespalier analyze waterline convfirst:image=128 --peak 50 --bandwidth 20",
};
