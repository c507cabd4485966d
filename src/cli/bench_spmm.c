/* bench_spmm: `bench spmm`, products with sparse weights against dense ones. */
#include "bench_spmm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pointwise convolutions of MobileNetV1 at 224 pixels: outputs x inputs at pixels. */
static const char mobilenet[] =
    "64x32@12544,128x64@3136,128x128@3136,256x128@784,256x256@784,512x256@196,512x512@196,512x512@196,512x512@196,"
    "512x512@196,512x512@196,1024x512@49,1024x1024@49";

typedef struct sums {
    double log_speedup, flops, seconds;
    int    n;
} sums;

static epl_table *new_table(epl_context *ctx)
{
    static const char *const     names[] = { "out x in @ pixels", "sparsity",     "rows",   "not zero", "bytes",
                                             "dense bytes",       "dense",        "sparse", "speed-up", "useful GFLOP/s",
                                             "dense GFLOP/s",     "programs take" };
    static const epl_column_opts format[EPL_COUNT(names)] = {
        [1] = { .format = EPL_FORMAT_PERCENT }, [6] = { .format = EPL_FORMAT_SECONDS }, [7] = { .format = EPL_FORMAT_SECONDS },
        [8] = { .format = EPL_FORMAT_FIXED, .decimals = 2 }, [9] = { .format = EPL_FORMAT_FIXED, .decimals = 1 },
        [10] = { .format = EPL_FORMAT_FIXED, .decimals = 1 },
    };
    epl_table *t = epl_table_new(ctx, NULL);
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        epl_table_column(t, names[i], format[i]);
    return t;
}

static bool add_row(cli *c, epl_table *t, const char *shape, size_t length, epl_bench_spmm_opts o, sums *s)
{
    char                  text[64], rest;
    long long             out, in, pixels;
    epl_bench_spmm_result r;
    snprintf(text, sizeof text, "%.*s", (int)length, shape);
    if (sscanf(text, "%lldx%lld@%lld%c", &out, &in, &pixels, &rest) != 3)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--shape: '%s' is not of the form OUTxIN@PIXELS, as in 512x512@196", text);
    o.out = out, o.in = in, o.pixels = pixels;
    if (!epl_bench_spmm(c->ctx, o, &r))
        return false;
    epl_table_row(t);
    epl_table_text(t, text);
    epl_table_number(t, o.sparsity);
    const double numbers[] = { r.rows,        (double)r.nonzero, (double)r.packed_bytes, (double)r.dense_bytes,
                               r.dense_s,     r.sparse_s,        r.dense_s / r.sparse_s, r.useful_gflops,
                               r.dense_gflops };
    for (size_t i = 0; i < EPL_COUNT(numbers); i++)
        epl_table_number(t, numbers[i]);
    epl_table_text(t, r.chosen ? "sparse" : "dense");
    s->log_speedup += log(r.dense_s / r.sparse_s);
    s->flops   += 2e-9 * (double)(r.nonzero * o.pixels);
    s->seconds += r.sparse_s;
    s->n++;
    return true;
}

bool cli_bench_spmm(cli *c, const char *shapes, const char *sparsities, epl_bench_spmm_opts o)
{
    epl_table *t  = new_table(c->ctx);
    bool       ok = t != NULL;
    char       means[1024] = "";
    o.threads = o.threads ? o.threads : epl_context_threads(c->ctx);
    for (const char *at = sparsities; ok && *at && !cli_stop; at += *at == ',') {
        char  *end;
        sums   s = { 0 };
        o.sparsity = strtod(at, &end);
        ok = end != at && (*end == ',' || !*end);
        if (!ok)
            epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--sparsity is '%s', but must be numbers such as 0.8,0.9", sparsities);
        for (const char *shape = shapes ? shapes : mobilenet; ok && *shape; shape += *shape == ',') {
            const size_t n = strcspn(shape, ",");
            ok = add_row(c, t, shape, n, o, &s);
            shape += n;
        }
        if (ok && s.n > 1)
            snprintf(means + strlen(means), sizeof means - strlen(means),
                     "%.3g %% zeros, blocks of %d, %d thread%s: %.2f times as fast as dense "
                     "(geometric mean), %.1f useful GFLOP/s\n",
                     100 * o.sparsity, o.block, o.threads, o.threads > 1 ? "s" : "", exp(s.log_speedup / s.n),
                     s.flops / s.seconds);
        at = end;
    }
    ok = ok && cli_print_table(c, t);
    if (ok && !c->json && *means)
        ok = cli_print_take(c, epl_strdup(c->ctx, means));
    epl_table_free(t);
    return ok;
}
