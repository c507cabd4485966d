/* bench_compiled: what zeros are worth in a compiled network. Each network is compiled as it is and again with zeros
 * in all layers but the first and the last, both are checked against the library, and their runs are timed in turns,
 * on one thread, sample by sample. Nothing is trained: a weight's place in the pattern of zeros is all that counts,
 * not its value.
 *
 *     build/bench_compiled [--sparsity X] [--rounds N] [NETWORK...]       such as cnn:width=32,stages=3,depth=2,stem=2 */
#include <espalier/espalier.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compile/process.h"

enum { MOST_ROUNDS = 1000 };

typedef struct compiled {
    char   dir[64];
    double us[MOST_ROUNDS];
} compiled;

static bool zero_weights(epl_model *m, double sparsity)
{
    return epl_prune_weights(m, (epl_prune_opts){ .sparsity = sparsity, .skip = "first,last", .criterion = "random" }) && epl_bake(m);
}

/* Writes, builds and checks it. */
static bool make_artifact(const epl_model *m, const char *parent, const char *name, compiled *c, double *max_abs)
{
    const epl_binding      one = { "N", 1 };
    const epl_compile_opts o   = { .bindings = &one, .n_bindings = 1 };
    epl_verify_result v;
    snprintf(c->dir, sizeof c->dir, "%s/%s", parent, name);
    if (!epl_compile(m, c->dir, o, NULL) || !epl_verify_artifact(m, c->dir, o, (epl_verify_opts){ .n_samples = 4 }, &v))
        return false;
    *max_abs = v.max_abs > *max_abs ? v.max_abs : *max_abs;
    return true;
}

static bool time_once(epl_context *ctx, compiled *c, int round)
{
    static const char *const argv[] = { "./model", "--bench", "300", NULL };
    epl_text    said = EPL_TEXT(ctx);
    const bool  ok = epl_process_run(ctx, c->dir, argv, &said);
    const char *at = ok ? strstr(epl_text_str(&said), "median_us ") : NULL;
    c->us[round] = at ? atof(at + strlen("median_us ")) : 0;
    epl_text_release(&said);
    return at != NULL;
}

static bool bench(epl_context *ctx, const char *network, const char *parent, double sparsity, int rounds)
{
    static compiled dense, sparse;
    static double   ratio[MOST_ROUNDS];
    double     max_abs = 0;
    epl_graph *g = epl_zoo_build(ctx, network);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    bool ok = m && epl_model_init(m, 1) && make_artifact(m, parent, "dense", &dense, &max_abs) && zero_weights(m, sparsity) &&
              make_artifact(m, parent, "sparse", &sparse, &max_abs);
    for (int i = 0; ok && i < rounds; i++) {
        ok = time_once(ctx, &dense, i) && time_once(ctx, &sparse, i);
        ratio[i] = ok ? dense.us[i] / sparse.us[i] : 0;
    }
    if (ok)
        printf("%-44s %9.1f %9.1f %7.2f  %.1e\n", network, epl_median(dense.us, rounds), epl_median(sparse.us, rounds),
               epl_median(ratio, rounds), max_abs);
    fflush(stdout);
    epl_model_free(m);
    return ok;
}

int main(int argc, char **argv)
{
    static const char *const usual[] = { "cnn:width=16,stages=3,depth=2,stem=2", "cnn:width=24,stages=3,depth=2,stem=2",
                                         "cnn:width=32,stages=3,depth=2,stem=2", "cnn:width=48,stages=3,depth=2,stem=2",
                                         "cnn:width=64,stages=3,depth=2,stem=2" };
    static const struct option options[] = { { "sparsity", required_argument, NULL, 's' }, { "rounds", required_argument, NULL, 'r' },
                                             { NULL, 0, NULL, 0 } };
    double sparsity = 0.9;
    int    rounds = 15;
    for (int c = 0; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (c == 's')
            sparsity = atof(optarg);
        else if (c == 'r')
            rounds = atoi(optarg);
        else
            return 2;
    if (rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "bench_compiled: --rounds is %d, it can be 1 to %d\n", rounds, MOST_ROUNDS);
        return 2;
    }
    char parent[] = "/tmp/bench_compiled-XXXXXX";
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    bool ok = ctx && mkdtemp(parent);
    printf("%g %% zeros in all layers but the first and the last; medians of %d rounds\n\n%-44s %9s %9s %7s  %s\n", 100 * sparsity, rounds,
           "network", "dense us", "sparse us", "ratio", "differs from the library by");
    for (int i = optind; ok && i < argc; i++)
        ok = bench(ctx, argv[i], parent, sparsity, rounds);
    for (size_t i = 0; ok && optind == argc && i < EPL_COUNT(usual); i++)
        ok = bench(ctx, usual[i], parent, sparsity, rounds);
    if (ctx && !ok)
        fprintf(stderr, "bench_compiled: %s\n", epl_error_message(ctx));
    const char *const clean[] = { "rm", "-r", parent, NULL };
    ok = ctx && epl_process_run(ctx, "/tmp", clean, NULL) && ok;
    epl_context_free(ctx);
    return ok ? 0 : 1;
}
