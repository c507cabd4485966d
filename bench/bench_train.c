/* bench_train: what a training step costs. A small convolutional network (16, 32, 64 channels with BatchNorm, 28 x 28 x 1, batch
 * 64), SGD with momentum and averages: samples per second, memory, and the time by kernel.
 *
 *     build/bench_train [steps] [--print]        --print lists every step of the program */
#include <espalier/espalier.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static epl_model *network(epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "cnn");
    epl_value *h = epl_input(g, "image", EPL_F32, EPL_SHAPE(64, 28, 28, 1), "N,,,");
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "unit%d", i);
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = name, .conv = { .out = 16 << i } });
        if (i < 2)
            h = epl_max_pool(g, h, (epl_pool_opts){ .kernel = { 2 } });
    }
    h = epl_global_average_pool(g, h);
    epl_output(g, "logits", epl_linear(g, h, (epl_linear_opts){ .name = "head", .out = 10 }));
    epl_model *m = epl_model_new_take(g);
    return m && epl_model_init(m, 1) ? m : NULL;
}

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

static void print_profile(const epl_program *p, int runs)
{
    row    rows[128];
    int    n = 0;
    double inside = 0;
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
        inside += s.time_s;
    }
    qsort(rows, (size_t)n, sizeof *rows, by_time);
    const double all = epl_program_time_s(p);
    for (int i = 0; i < n && rows[i].time_s > 0.002 * all; i++)
        printf("  %6.1f us %5.1f %%  %3d x  %-40s %6.1f GFLOP/s\n", 1e6 * rows[i].time_s / runs, 100 * rows[i].time_s / all, rows[i].steps,
               rows[i].name, 2e-9 * rows[i].work * runs / rows[i].time_s);
    printf("  outside of the steps: %.2f %%\n", 100 * (all - inside) / all);
}

int main(int argc, char **argv)
{
    const int    runs = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 100;
    epl_context *ctx  = epl_context_new((epl_context_opts){ 0 });
    epl_model   *m    = network(ctx);
    epl_graph   *g    = m ? epl_train_graph(m, m->weights, (epl_step_opts){ .batch = 64, .optimizer = { .momentum = 0.9, .decay = 1e-4, .ema = 0.99 } },
                                            1, NULL) : NULL;
    const double start = epl_now_s();
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ 0 }) : NULL;
    if (!p) {
        fprintf(stderr, "bench_train: %s\n", epl_error_message(ctx));
        return 1;
    }
    printf("%d nodes, %d steps, planned in %.1f ms, %.2f MiB, %d threads, %s\n", epl_graph_n_nodes(g), epl_program_n_steps(p),
           1e3 * (epl_now_s() - start), (double)epl_program_memory_of(p).total / 1048576, epl_context_threads(ctx), epl_program_isa(p));
    char *steps = argc > 2 && strcmp(argv[2], "--print") == 0 ? epl_program_print(p) : NULL;
    if (steps)
        fputs(steps, stdout);
    epl_rng r = epl_rng_at(1, 1);
    epl_tensor_fill_normal(epl_program_input(p, 0), &r, 0, 1);
    for (int i = 0; i < 64; i++) {
        epl_tensor_set(epl_program_input_named(p, "weights"), i, 1);
        epl_tensor_set_i64(epl_program_input_named(p, "target"), i, i % 10);
    }
    epl_tensor_set(epl_program_input_named(p, "rate"), 0, 0.01);
    double best = 1e9;
    for (int block = 0; block < 5; block++) {
        const double begin = epl_now_s();
        for (int i = 0; i < runs / 5 + 1; i++)
            epl_program_run(p);
        const double each = (epl_now_s() - begin) / (runs / 5 + 1);
        best = each < best ? each : best;
    }
    printf("%.2f ms a step, %.0f samples/s (the best of five blocks)\n", 1e3 * best, 64 / best);
    epl_program_set_profile(p, true);
    for (int i = 0; i < runs; i++)
        epl_program_run(p);
    print_profile(p, runs);
    epl_release(ctx, steps);
    epl_program_free(p);
    epl_graph_free(g);
    epl_model_free(m);
    epl_context_free(ctx);
    return 0;
}
