/* bench: the kernels of this machine, or one network. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_spmm.h"

typedef struct timing {
    int64_t runs;
    double  median, least, p95; /* seconds of a run */
    double  outside;            /* share of the time between the steps */
    double  peak_gflops;
    double  macs, most;         /* of a run: executed, in the mean; where data chooses most, at most */
} timing;

static void fill_inputs(cli *c, epl_program *p)
{
    epl_rng r = epl_rng_at((uint64_t)c->seed, 0);
    for (int i = 0; i < epl_program_n_inputs(p); i++) {
        epl_tensor *t = epl_program_input(p, i);
        if (epl_dtype_is_float(t->dtype) && t->shape.rank > 1)
            epl_tensor_fill_normal(t, &r, 0, 1);
        else if (epl_dtype_is_float(t->dtype))
            for (int64_t k = 0; k < epl_tensor_count(t); k++)
                epl_tensor_set(t, k, t->shape.rank ? 1 : 1e-6); // weights of samples; a rate that changes little
    }
}

/* Runs for about so many seconds, at least ten times. */
static bool measure(cli *c, epl_program *p, double seconds, timing *t)
{
    enum { MOST = 100000 };
    double *times = epl_alloc_array(c->ctx, MOST, sizeof *times);
    bool    ok = times && epl_program_run(p) && epl_program_run(p);
    double  start = epl_now_s(), before = start;
    int64_t n = 0;
    while (ok && n < MOST && (n < 10 || before - start < seconds) && !cli_stop) {
        ok = epl_program_run(p);
        const double now = epl_now_s();
        times[n++] = now - before;
        before = now;
    }
    if (ok && cli_stop)
        ok = epl_fail(c->ctx, EPL_ERR_INTERRUPTED, "stopped after %lld runs", (long long)n);
    if (ok) {
        t->runs   = n;
        t->median = epl_median(times, n);
        t->least  = times[0]; // sorted now
        t->p95    = times[(int64_t)ceil(0.95 * (double)n) - 1];
    }
    epl_release(c->ctx, times);
    return ok;
}

/* The same again with the steps' times taken, for a third of the runs. */
static bool profile(epl_program *p, timing *t)
{
    epl_program_set_profile(p, true);
    for (int64_t i = 0; i < t->runs / 3 + 1; i++)
        if (!epl_program_run(p))
            return false;
    double inside = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        inside += epl_program_step(p, i).time_s;
    t->outside = 1 - inside / epl_program_time_s(p);
    return true;
}

/* ---- results ---- */

static int by_time(const void *a, const void *b)
{
    const double x = ((const epl_step_profile *)a)->time_s, y = ((const epl_step_profile *)b)->time_s;
    return (x < y) - (x > y);
}

/* The steps by their time, the longest first; cost is what they executed. */
static epl_step_profile *sorted_steps(cli *c, const epl_program *p)
{
    const int n = epl_program_n_steps(p);
    epl_step_profile *s = epl_arena_alloc(c->arena, (size_t)(n + 1) * sizeof *s);
    for (int i = 0; s && i < n; i++) {
        s[i]      = epl_program_step(p, i);
        s[i].cost = epl_program_step_executed(p, i);
    }
    if (s)
        qsort(s, (size_t)n, sizeof *s, by_time);
    return s;
}

static double gflops(double macs, double seconds) { return seconds > 0 ? 2e-9 * macs / seconds : 0; }

static char *as_text(cli *c, const epl_program *p, const timing *t, int64_t top)
{
    epl_text out = EPL_TEXT(c->ctx);
    char     a[32], b[32], d[32];
    const double speed = gflops(t->macs, t->median), total = epl_program_time_s(p), runs = (double)(t->runs / 3 + 1);
    epl_format_seconds(a, t->median);
    epl_format_seconds(b, t->least);
    epl_format_seconds(d, t->p95);
    epl_text_addf(&out, "latency    median %s, least %s, 95 %% below %s, of %lld runs\n", a, b, d, (long long)t->runs);
    epl_format_count(a, t->macs);
    epl_format_count(b, t->most);
    epl_text_addf(
        &out,
        "speed      %.1f GFLOP/s at the median (%s multiply-adds%s%s%s), %.1f %% of the peak of %.1f with %d threads\n",
        speed, a, t->macs < t->most ? " executed in the mean of the runs, of " : "", t->macs < t->most ? b : "",
        t->macs < t->most ? " at most" : "", 100 * speed / t->peak_gflops, t->peak_gflops, epl_context_threads(c->ctx));
    epl_text_addf(&out, "steps      %d, %.1f %% of the time between them\n\n", epl_program_n_steps(p), 100 * t->outside);
    epl_table *table = epl_table_new(c->ctx, NULL);
    epl_table_column(table, "layer", (epl_column_opts){ 0 });
    epl_table_column(table, "operator", (epl_column_opts){ 0 });
    epl_table_column(table, "kernel", (epl_column_opts){ 0 });
    epl_table_column(table, "time", (epl_column_opts){ .format = EPL_FORMAT_SECONDS });
    epl_table_column(table, "share", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    epl_table_column(table, "GFLOP/s", (epl_column_opts){ .format = EPL_FORMAT_FIXED, .decimals = 1 });
    const epl_step_profile *s = sorted_steps(c, p);
    for (int i = 0; s && i < epl_program_n_steps(p) && i < top; i++) {
        epl_table_row(table);
        epl_table_text(table, s[i].scope);
        epl_table_text(table, s[i].op);
        epl_table_text(table, s[i].kernel);
        epl_table_number(table, s[i].time_s / runs);
        epl_table_number(table, s[i].time_s / total);
        if (s[i].cost.macs > 0) // executed
            epl_table_number(table, gflops(s[i].cost.macs * runs, s[i].time_s));
    }
    char *text = epl_table_to_text(table, (epl_table_opts){ .width = 120 });
    epl_text_add(&out, text ? text : "");
    epl_release(c->ctx, text);
    epl_table_free(table);
    return epl_text_detach(&out);
}

static char *as_json(cli *c, const epl_program *p, const timing *t)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    const double    runs = (double)(t->runs / 3 + 1);
    epl_json_open_object(&w, NULL);
    epl_json_put_i64(&w, "threads", epl_context_threads(c->ctx));
    epl_json_put_i64(&w, "runs", t->runs);
    epl_json_put_f64(&w, "median_s", t->median);
    epl_json_put_f64(&w, "least_s", t->least);
    epl_json_put_f64(&w, "p95_s", t->p95);
    epl_json_put_f64(&w, "macs", t->macs);
    epl_json_put_f64(&w, "most_macs", t->most);
    epl_json_put_f64(&w, "gflops", gflops(t->macs, t->median));
    epl_json_put_f64(&w, "peak_gflops", t->peak_gflops);
    epl_json_put_f64(&w, "outside_steps", t->outside);
    epl_json_open_array(&w, "steps");
    for (int i = 0; i < epl_program_n_steps(p); i++) {
        const epl_step_profile s = epl_program_step(p, i);
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "layer", s.scope);
        epl_json_put_string(&w, "operator", s.op);
        epl_json_put_string(&w, "kernel", s.kernel);
        epl_json_put_f64(&w, "seconds", s.time_s / runs);
        epl_json_put_f64(&w, "macs", epl_program_step_executed(p, i).macs);
        epl_json_put_f64(&w, "most_macs", s.cost.macs);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

/* ---- a network ---- */

/* The program of inference, or of a training step; the step's states are put into the model's weights. */
static epl_program *program_of(cli *c, epl_model *m, bool train, const char *optimizer, int64_t batch, int64_t block_kib, bool shifts)
{
    if (!train)
        return epl_program_new(m->graph, m->weights,
                               (epl_program_opts){ .frozen = true,
                                                   .sparse = true,
                                                   .shifts = shifts,
                                                   .block_bytes = (size_t)block_kib << 10 });
    epl_step_opts o = { .batch = batch ? batch : 1, .loss.name = "cross-entropy" };
    epl_graph *g = epl_optimizer_parse(c->ctx, optimizer, &o.optimizer)
                       ? epl_train_graph(m, m->weights, o, (uint64_t)c->seed, NULL) : NULL;
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ .sparse = true }) : NULL; // as the trainer does
    epl_graph_free(g);
    return p;
}

static bool bench_program(cli *c, epl_program *p, double seconds, int64_t top)
{
    timing t = { .peak_gflops = epl_bench_peak_gflops(c->ctx, epl_context_threads(c->ctx)) };
    fill_inputs(c, p);
    if (!measure(c, p, seconds, &t) || !profile(p, &t))
        return false;
    for (int i = 0; i < epl_program_n_steps(p); i++) {
        t.macs += epl_program_step_executed(p, i).macs;
        t.most += epl_program_step(p, i).cost.macs;
    }
    return cli_print_take(c, c->json ? as_json(c, p, &t) : as_text(c, p, &t, top));
}

/* The training step with batch norms in each mode, side by side. */
static bool bench_norm_modes(cli *c, const epl_model *m, const char *optimizer, const char *names, int64_t batch, double seconds)
{
    epl_step_opts      o = { .batch = batch ? batch : 1, .loss.name = "cross-entropy", .norms.pattern = *names ? names : NULL };
    epl_norm_mode_cost cost[EPL_N_NORM_MODES];
    if (!epl_optimizer_parse(c->ctx, optimizer, &o.optimizer) || !epl_bench_norm_modes(m, o, seconds, cost))
        return false;
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "batch norms", (epl_column_opts){ 0 });
    epl_table_column(t, "step, median", (epl_column_opts){ .format = EPL_FORMAT_SECONDS });
    epl_table_column(t, "to eval", (epl_column_opts){ .format = EPL_FORMAT_FIXED, .decimals = 3 });
    epl_table_column(t, "planned", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "to eval ", (epl_column_opts){ .format = EPL_FORMAT_FIXED, .decimals = 3 });
    for (int i = 0; i < EPL_N_NORM_MODES; i++) {
        epl_table_row(t);
        epl_table_text(t, epl_norm_mode_name(cost[i].mode));
        epl_table_number(t, cost[i].median_s);
        epl_table_number(t, cost[i].median_s / cost[1].median_s);
        epl_table_number(t, (double)cost[i].memory.total);
        epl_table_number(t, (double)cost[i].memory.total / (double)cost[1].memory.total);
    }
    const bool ok = cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *what = NULL, *filter = NULL, *optimizer = "adamw", *modes = NULL;
    cli_dims    dims = { 0 };
    bool        train = false, quick = false, shifts = false;
    double      seconds = 2;
    int64_t     top = 20, block_kib = 0, channels = 1;
    const char *shape = NULL, *sparsity = "0.7,0.8,0.9,0.95";
    const cli_option options[] = {
        EPL_ARG("what", &what, "`kernels`, `spmm`, or a " CLI_MODEL_HELP),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_FLAG(0, "train", &train, "a training step rather than inference"),
        EPL_OPT_TEXT(0, "optimizer", "NAME[:...]", &optimizer, "with --train: the optimizer"),
        EPL_OPT_TEXT(0, "bn-modes", "NAMES", &modes,
                     "a training step with batch norms of these names in each mode, side by side: '*' for all"),
        CLI_OPT_BLOCKS(&block_kib),
        CLI_OPT_SHIFTS(&shifts),
        EPL_OPT_REAL(0, "seconds", &seconds, 0, 3600, "how long to run"),
        EPL_OPT_INT(0, "top", &top, 0, 1e6, "print the N longest steps"),
        EPL_OPT_TEXT(0, "filter", "TEXT", &filter, "kernels: only lines that contain this, such as 'weight gradient'"),
        EPL_OPT_FLAG(0, "quick", &quick, "kernels: a tenth of the list"),
        EPL_OPT_TEXT(0, "shape", "OUTxIN@PIXELS", &shape,
                     "spmm: one or more products, as in 512x512@196 (default: those of MobileNetV1)"),
        EPL_OPT_TEXT(0, "sparsity", "LIST", &sparsity, "spmm: shares of zeros"),
        EPL_OPT_INT(0, "block", &channels, 1, 4,
                    "spmm: output channels that share the places of their zeros: 1, 2 or 4"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if (strcmp(what, "kernels") == 0)
        return cli_end(c, epl_bench_kernels(c->ctx, stdout, (epl_bench_kernels_opts){ .threads = (int)c->n_threads, .filter = filter,
                                                                                      .quick = quick, .json = c->json }));
    if (strcmp(what, "spmm") == 0)
        return cli_end(c, cli_bench_spmm(c, shape, sparsity, (epl_bench_spmm_opts){ .block = (int)channels, .threads = (int)c->n_threads,
                                                                                    .seconds = seconds / 20, .seed = (uint64_t)c->seed }));
    epl_model   *m  = cli_model_load(c, what, &dims);
    epl_program *p  = m && !modes ? program_of(c, m, train, optimizer, dims.batch, block_kib, shifts) : NULL;
    const bool   ok = modes ? m && bench_norm_modes(c, m, optimizer, modes, dims.batch, seconds) : p && bench_program(c, p, seconds, top);
    epl_program_free(p);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_bench = {
    .name = "bench",
    .json = true,
    .run = run,
    .summary = "speed: of the kernels as shares of this machine's peak, or of a network",
    .about = "`espalier bench kernels` times convolutions of many shapes, forward and both gradients, with one thread "
             "and with two "
             "(--threads chooses), beside oneDNN where it is installed. `espalier bench spmm` times products with "
             "sparse weights beside the "
             "same with dense ones. `espalier bench MODEL` runs a network on random inputs: "
             "latency, GFLOP/s, and where the time goes.",
    .examples = "espalier bench t.safetensors --batch 1\nespalier bench t.safetensors --batch 64 --train --threads 2\n"
                "espalier bench resnet:depth=20 --batch 64 --bn-modes '*'\nespalier bench spmm --shape 512x512@196 "
                "--sparsity 0.8,0.9 --block 4 --threads 1\n"
                "espalier bench kernels --quick\nespalier bench kernels --json > kernels.json",
};
