/* bench_step: what a training step costs beyond its arithmetic, for networks of the zoo at batch 64 with SGD, momentum, decay and
 * averages of the weights: the time outside kernels as a share of a step (starting threads and waiting for them included), how
 * long its program takes to make, and the planned memory beside what the process grew by.
 *
 *     build/bench_step [--model TEXT] [--batch N] [--runs N] [--threads N] [--kernels] [--print]
 *
 * Without --model: one of 5 M multiply-adds, one whose program has about 300 steps, one of 30 M multiply-adds. --kernels adds the
 * time by kernel, --print the steps of the program. */
#include <espalier/espalier.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    const char *model;
    int64_t     batch;
    int         runs, threads;
    bool        kernels, print;
} options;

/* ---- time by kernel ---- */

typedef struct row {
    char   name[96];
    double time_s, work;
    int    steps;
} row;

static int by_time(const void *a, const void *b)
{
    const double x = ((const row *)a)->time_s, y = ((const row *)b)->time_s;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_kernels(const epl_program *p, int runs)
{
    row rows[128];
    int n = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++) {
        const epl_step_profile s = epl_program_step(p, i);
        char name[96];
        snprintf(name, sizeof name, "%s (%s)", s.kernel, s.op);
        int at = 0;
        while (at < n && strcmp(rows[at].name, name) != 0)
            at++;
        if (at == n && n < (int)EPL_COUNT(rows)) {
            rows[n] = (row){ .steps = 0 };
            memcpy(rows[n++].name, name, sizeof name);
        }
        if (at < n) {
            rows[at].time_s += s.time_s;
            rows[at].work += s.cost.macs;
            rows[at].steps++;
        }
    }
    qsort(rows, (size_t)n, sizeof *rows, by_time);
    const double all = epl_program_time_s(p);
    for (int i = 0; i < n && rows[i].time_s > 0.002 * all; i++) {
        printf("  %8.1f us %5.1f %%  %3d x  %-40s", 1e6 * rows[i].time_s / runs, 100 * rows[i].time_s / all, rows[i].steps, rows[i].name);
        if (rows[i].work > 0)
            printf(" %6.1f GFLOP/s", 2e-9 * rows[i].work * runs / rows[i].time_s);
        printf("\n");
    }
}

/* ---- one network ---- */

/* Resident memory of this process, in bytes; 0 where there is no /proc. */
static double resident(void)
{
    long  pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void fill_inputs(epl_program *p)
{
    epl_rng r = epl_rng_at(1, 1);
    epl_tensor_fill_normal(epl_program_input_named(p, "x"), &r, 0, 1);
    epl_tensor *target = epl_program_input_named(p, "target"), *weights = epl_program_input_named(p, "weights");
    for (int64_t i = 0; i < epl_tensor_count(weights); i++) {
        epl_tensor_set(weights, i, 1);
        epl_tensor_set_i64(target, i, i % 10);
    }
    epl_tensor_set(epl_program_input_named(p, "rate"), 0, 0.001);
}

/* Seconds of a step, the best of five blocks. */
static double time_of_step(epl_program *p, int runs)
{
    double best = 1e9;
    for (int block = 0; block < 5; block++) {
        const double begin = epl_now_s();
        for (int i = 0; i < runs / 5 + 1; i++)
            epl_program_run(p);
        const double each = (epl_now_s() - begin) / (runs / 5 + 1);
        best = each < best ? each : best;
    }
    return best;
}

/* The share of the time outside of kernels, the least of five blocks: other work on the machine only adds. */
static double share_outside(epl_program *p, int runs)
{
    double least = 1;
    for (int block = 0; block < 5; block++) {
        epl_program_set_profile(p, true);
        for (int i = 0; i < runs / 5 + 1; i++)
            epl_program_run(p);
        double inside = 0;
        for (int i = 0; i < epl_program_n_steps(p); i++)
            inside += epl_program_step(p, i).time_s;
        const double outside = 1 - inside / epl_program_time_s(p);
        least = outside < least ? outside : least;
    }
    return least;
}

/* The best of five; the last one made is returned. */
static epl_program *timed_program(const epl_graph *g, epl_weights *weights, double *seconds)
{
    epl_program *p = NULL;
    *seconds = 1e9;
    for (int i = 0; i < 5; i++) {
        epl_program_free(p);
        const double begin = epl_now_s();
        p = epl_program_new(g, weights, (epl_program_opts){ 0 });
        const double took = epl_now_s() - begin;
        *seconds = took < *seconds ? took : *seconds;
    }
    return p;
}

static void report(epl_context *ctx, const epl_graph *g, epl_model *m, const char *model, options o)
{
    const epl_program_opts plan = { .plan_only = true };
    double seconds, before = resident();
    epl_program *p = epl_program_new(g, m->weights, plan); // what the program's description takes is not the plan's
    const double described = resident() - before;
    epl_program_free(p);
    p = timed_program(g, m->weights, &seconds);
    if (!p)
        return;
    const epl_program_memory memory = epl_program_memory_of(p);
    fill_inputs(p);
    epl_program_run(p);
    const double grown = resident() - before - described, mib = 1048576;
    printf("%s, batch %lld\n", model, (long long)o.batch);
    printf("  program   %d nodes, %d steps, made in %.1f ms\n", epl_graph_n_nodes(g), epl_program_n_steps(p), 1e3 * seconds);
    printf("  memory    %.2f MiB planned, the process grew by %.2f MiB\n", (double)memory.total / mib, grown / mib);
    const double step = time_of_step(p, o.runs);
    printf("  step      %.2f ms, %.0f samples/s, %d threads, %s\n", 1e3 * step, (double)o.batch / step, epl_context_threads(ctx),
           epl_program_isa(p));
    printf("  outside   %.2f %% of a step's time is outside of kernels\n", 100 * share_outside(p, o.runs));
    if (o.kernels)
        print_kernels(p, o.runs / 5 + 1);
    char *steps = o.print ? epl_program_print(p) : NULL;
    if (steps)
        fputs(steps, stdout);
    epl_release(ctx, steps);
    epl_program_free(p);
}

static bool run(const char *model, options o)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = o.threads });
    epl_graph   *net = ctx ? epl_zoo_build(ctx, model) : NULL;
    epl_model   *m   = net ? epl_model_new_take(net) : NULL;
    const epl_step_opts step = { .batch = o.batch, .loss.name = "cross-entropy",
                                 .optimizer = { .momentum = 0.9, .decay = 1e-4, .ema = 0.99 } };
    epl_graph *g = m && epl_model_init(m, 1) ? epl_train_graph(m, m->weights, step, 1, NULL) : NULL;
    if (g)
        report(ctx, g, m, model, o);
    const bool ok = ctx && epl_error_code(ctx) == EPL_OK;
    if (ctx && !ok)
        fprintf(stderr, "bench_step: %s\n", epl_error_message(ctx));
    epl_graph_free(g);
    epl_model_free(m);
    epl_context_free(ctx);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct option table[] = { { "model", required_argument, NULL, 'm' }, { "batch", required_argument, NULL, 'b' },
                                           { "runs", required_argument, NULL, 'r' }, { "threads", required_argument, NULL, 't' },
                                           { "kernels", no_argument, NULL, 'k' }, { "print", no_argument, NULL, 'p' },
                                           { NULL, 0, NULL, 0 } };
    options o = { .batch = 64, .runs = 50 };
    for (int c = 0; (c = getopt_long(argc, argv, "", table, NULL)) != -1;)
        switch (c) {
        case 'm': o.model = optarg; break;
        case 'b': o.batch = atoll(optarg); break;
        case 'r': o.runs = atoi(optarg); break;
        case 't': o.threads = atoi(optarg); break;
        case 'k': o.kernels = true; break;
        case 'p': o.print = true; break;
        default: return 2;
        }
    static const char *const models[] = { "cnn:width=13,stages=3,depth=2", "resnet:depth=14", "cnn:width=32,stages=3,depth=2" };
    bool ok = !o.model || run(o.model, o);
    for (size_t i = 0; ok && !o.model && i < EPL_COUNT(models); i++)
        ok = run(models[i], o);
    return ok ? 0 : 1;
}
