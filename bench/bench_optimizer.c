/* bench_optimizer: the time of an optimizer's update of one parameter, with slots of 32 and of 8 bits side by side:
 * medians over rounds in which each runs once; the bytes that an update has to move at least (gradient, parameter
 * and slots; layer-wise ones move more), and the rate at which it does as a share of that of an update without
 * slots, in the same rounds. Then the same on one thread with so few elements that they stay in a core's cache,
 * which is what the arithmetic takes: where memory gives a core fewer GB/s than `even` says, codes are the faster
 * ones.
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

enum { CACHED = 1 << 15 };

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { FULL_SLOTS, CODED_SLOTS, NO_SLOTS, N_KINDS };

typedef struct times {
    double ns[N_KINDS], bytes[N_KINDS]; /* of an element */
} times;

static bool measure(epl_context *ctx, const char *words, int64_t count, int runs, times *to)
{
    update u[N_KINDS] = { { NULL } };
    bool   ok = make(ctx, words, 32, count, runs, &u[FULL_SLOTS]) && make(ctx, words, 8, count, runs, &u[CODED_SLOTS]) &&
              make(ctx, "sgd", 32, count, runs, &u[NO_SLOTS]);
    for (int i = -2; ok && i < runs; i++)
        for (int k = 0; ok && k < N_KINDS; k++) {
            const double start = epl_now_s();
            ok = epl_program_run(u[k].p);
            if (i >= 0)
                u[k].seconds[i] = epl_now_s() - start;
        }
    for (int k = 0; ok && k < N_KINDS; k++) {
        qsort(u[k].seconds, (size_t)runs, sizeof(double), rising);
        to->ns[k]    = 1e9 * u[k].seconds[runs / 2] / (double)count;
        to->bytes[k] = 12 + 2 * (double)epl_slots_measure(u[k].m->weights).bytes / (double)count;
    }
    for (int k = 0; k < N_KINDS; k++)
        drop(&u[k]);
    return ok;
}

static double rate(const times *t, int kind) { return t->bytes[kind] / t->ns[kind]; }

static bool compare(epl_context *ctx, const char *words, int64_t count, int runs, int threads)
{
    times all, cached;
    epl_context_set_threads(ctx, threads);
    bool ok = measure(ctx, words, count, runs, &all);
    epl_context_set_threads(ctx, 1);
    if (!ok || !measure(ctx, words, CACHED, 2001, &cached))
        return false;
    printf("%-18s %7.3f %7.3f %6.2f %7.1f %5.1f %9.1f %6.0f %% %4.0f %% %9.3f %7.3f %6.1f\n", words, all.ns[FULL_SLOTS],
           all.ns[CODED_SLOTS], all.ns[FULL_SLOTS] / all.ns[CODED_SLOTS], all.bytes[FULL_SLOTS], all.bytes[CODED_SLOTS],
           rate(&all, NO_SLOTS), 100 * rate(&all, FULL_SLOTS) / rate(&all, NO_SLOTS),
           100 * rate(&all, CODED_SLOTS) / rate(&all, NO_SLOTS), cached.ns[FULL_SLOTS], cached.ns[CODED_SLOTS],
           all.bytes[FULL_SLOTS] / cached.ns[CODED_SLOTS]);
    return true;
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
    threads = threads ? threads : epl_context_threads(ctx);
    char **words = optind < argc ? argv + optind : usual;
    const int n = optind < argc ? argc - optind : (int)(sizeof usual / sizeof *usual);
    printf("%lld elements, %d threads\n%-18s %7s %7s %6s %7s %5s %9s %8s %6s %9s %7s %6s\n", (long long)count, threads,
           "ns / element", "32 bits", "8 bits", "ratio", "bytes", "8", "GB/s", "reached", "8", "cached 32", "8",
           "even");
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = compare(ctx, words[i], count, runs, threads);
    if (!ok)
        fprintf(stderr, "bench_optimizer: %s\n", epl_error_message(ctx));
    epl_context_free(ctx);
    return ok ? 0 : 1;
}
