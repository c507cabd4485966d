/* bench_optimizer: the time of an optimizer's update of one parameter, with slots of 32 and of 8 bits side by side: medians over
 * rounds in which each runs once, and the bytes that an update has to move.
 *
 *     build/bench_optimizer [--count N] [--runs N] [--threads N] [optimizer]... */
#include <espalier/espalier.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct update {
    epl_model   *m;
    epl_program *p;
    double      *seconds;
} update;

static bool make(epl_context *ctx, const char *words, int bits, int64_t count, int runs, update *u)
{
    char text[256];
    epl_optimizer_opts o;
    snprintf(text, sizeof text, "%s%sbits=%d", words, strchr(words, ':') ? "," : ":", bits);
    if (!epl_optimizer_parse(ctx, text, &o))
        return false;
    epl_graph *g = epl_graph_new(ctx, "update");
    epl_value *dw = epl_input(g, "g", EPL_F32, EPL_SHAPE(count / 1024, 1024), NULL), *rate = epl_scalar(g, EPL_F32, 1e-3);
    epl_value *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(count / 1024, 1024), EPL_INIT_NORMAL, 0.1);
    epl_optimize_with(g, 1, &w, &dw, rate, o);
    u->m = epl_model_new_take(g);
    u->p = u->m && epl_model_init(u->m, 1) ? epl_program_new(u->m->graph, u->m->weights, (epl_program_opts){ 0 }) : NULL;
    u->seconds = calloc((size_t)runs, sizeof *u->seconds);
    epl_rng r = epl_rng_at(1, 2);
    for (int64_t i = 0; u->p && i < count / 1024 * 1024; i++)
        ((float *)epl_program_input(u->p, 0)->data)[i] = 0.01f * epl_rng_normal(&r);
    return u->p && u->seconds;
}

static void drop(update *u)
{
    epl_program_free(u->p);
    epl_model_free(u->m);
    free(u->seconds);
}

static bool measure(epl_context *ctx, const char *words, int64_t count, int runs)
{
    update u[2] = { { NULL } };
    bool   ok = make(ctx, words, 32, count, runs, &u[0]) && make(ctx, words, 8, count, runs, &u[1]);
    for (int i = -2; ok && i < runs; i++)
        for (int k = 0; ok && k < 2; k++) {
            const double start = epl_now_s();
            ok = epl_program_run(u[k].p);
            if (i >= 0)
                u[k].seconds[i] = epl_now_s() - start;
        }
    if (ok) {
        double ns[2];
        size_t bytes[2];
        for (int k = 0; k < 2; k++) {
            ns[k]    = 1e9 * epl_median(u[k].seconds, runs) / (double)count;
            bytes[k] = epl_slots_measure(u[k].m->weights).bytes;
        }
        printf("%-24s %8.3f %8.3f %8.2f %10.2f %10.2f\n", words, ns[0], ns[1], ns[0] / ns[1], (double)bytes[0] / (double)count,
               (double)bytes[1] / (double)count);
    }
    drop(&u[0]);
    drop(&u[1]);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = { { "count", 1, NULL, 'c' }, { "runs", 1, NULL, 'r' }, { "threads", 1, NULL, 't' },
                                                  { NULL, 0, NULL, 0 } };
    static char *usual[] = { "sgd:momentum=0.9", "adam", "adamw:decay=0.1", "rmsprop", "adagrad", "lion", "lars:momentum=0.9", "lamb" };
    int64_t count = 1 << 24;
    int     runs = 15, threads = 0, c;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        switch (c) {
        case 'c': count = atoll(optarg); break;
        case 'r': runs = atoi(optarg); break;
        case 't': threads = atoi(optarg); break;
        default:  return 2;
        }
    if (count < 1024 || runs < 1)
        return 2;
    epl_context *ctx = epl_context_new((epl_context_opts){ 0 });
    if (threads)
        epl_context_set_threads(ctx, threads);
    char **words = optind < argc ? argv + optind : usual;
    const int n = optind < argc ? argc - optind : (int)(sizeof usual / sizeof *usual);
    printf("%lld elements, %d threads\n%-24s %8s %8s %8s %10s %10s\n", (long long)count, epl_context_threads(ctx), "ns / element", "32 bit",
           "8 bit", "ratio", "slot bytes", "8 bit");
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = measure(ctx, words[i], count, runs);
    if (!ok)
        fprintf(stderr, "bench_optimizer: %s\n", epl_error_message(ctx));
    epl_context_free(ctx);
    return ok ? 0 : 1;
}
