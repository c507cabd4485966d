/* bench_spmm: one matrix product with sparse weights against the same with dense ones, both on the library's own
 * kernels, in turn. */
#include <espalier/bench.h>

#include "kernels/kernels.h"
#include "kernels/sparse_layout.h"
#include "program/program.h"

#include <math.h>
#include <omp.h>

enum { LEAST_ROUNDS = 5, MOST_ROUNDS = 2000 };

typedef struct product {
    epl_context          *ctx;
    const epl_kernel_set *set;
    epl_conv_params       p;
    int                   threads;
    float   *x, *y, *w, *dense;
    int32_t *lists;
    char    *scratch;
    size_t   scratch_each;
} product;

static float *array(epl_context *ctx, int64_t n) { return epl_alloc_aligned(ctx, (size_t)n * sizeof(float)); }

/* Whole blocks of `block` neighbouring output channels stay, exactly as many as the sparsity leaves, at random places. */
static int64_t draw_weights(product *k, double sparsity, int block, uint64_t seed)
{
    const int64_t blocks = (k->p.m + block - 1) / block, count = k->p.c * blocks;
    int64_t left = (int64_t)llround((1 - sparsity) * (double)count), nonzero = 0;
    epl_rng r = epl_rng_at(seed, 0);
    for (int64_t i = 0; i < count; i++) {
        const bool stays = (int64_t)epl_rng_below(&r, (uint64_t)(count - i)) < left;
        left -= stays;
        for (int64_t j = i % blocks * block; j < k->p.m && j < (i % blocks + 1) * block; j++) {
            k->w[i / blocks * k->p.m + j] = stays ? 0.1f + epl_rng_uniform(&r) : 0.0f;
            nonzero += stays;
        }
    }
    return nonzero;
}

static void run(const product *k, const char *kernel, const void *weights, double work)
{
    const epl_kernel *f = epl_kernel_find(k->set, kernel);
    const epl_call    call = { .in = { k->x, weights }, .out = { k->y }, .params = &k->p };
    const int64_t     pieces = f->pieces(&k->p);
    if (k->threads == 1 || !epl_worth_threads(pieces, work)) {
        f->run(&call, 0, pieces, k->scratch);
        return;
    }
#pragma omp parallel num_threads(k->threads)
    {
        const int64_t i = omp_get_thread_num(), n = omp_get_num_threads();
        f->run(&call, pieces * i / n, pieces * (i + 1) / n, k->scratch + (size_t)i * k->scratch_each);
    }
}

/* Medians of both, one run of each in a round. */
static bool measure(const product *k, double seconds, epl_bench_spmm_result *out)
{
    double *times = epl_alloc_array(k->ctx, 2 * MOST_ROUNDS, sizeof *times), *sparse = times + MOST_ROUNDS;
    const double work = 2 * (double)(k->p.c * k->p.m) * (double)k->p.n, begin = epl_now_s();
    size_t n = 0;
    for (int i = -2; times && (i < LEAST_ROUNDS || epl_now_s() - begin < seconds) && n < MOST_ROUNDS; i++) {
        const double start = epl_now_s();
        run(k, "conv", k->dense, work);
        const double middle = epl_now_s();
        run(k, "sparse_conv", k->lists, work);
        const double end = epl_now_s();
        if (i >= 0) { // the first two warm up
            times[n]    = middle - start;
            sparse[n++] = end - middle;
        }
    }
    if (times) {
        out->dense_s  = epl_median(times, (int64_t)n);
        out->sparse_s = epl_median(sparse, (int64_t)n);
    }
    epl_release(k->ctx, times);
    return times != NULL;
}

static size_t scratch_of(const product *k, const epl_sparse_pack_params *pack)
{
    const size_t a = epl_kernel_find(k->set, "conv")->scratch(&k->p), b = epl_kernel_find(k->set, "sparse_conv")->scratch(&k->p);
    const size_t c = epl_kernel_find(k->set, "sparse_pack")->scratch(pack), d = epl_kernel_find(k->set, "conv_pack")->scratch(&k->p);
    const size_t running = a > b ? a : b, packing = c > d ? c : d;
    return ((running > packing ? running : packing) + 127) / 64 * 64;
}

static bool prepare(product *k, const epl_bench_spmm_opts *o, epl_bench_spmm_result *out)
{
    const int64_t all = k->p.c * k->p.m, packed = epl_conv_packed_floats(&k->p, k->set->vector);
    const epl_sparse_pack_params pack = { k->p, 0, k->p.c * k->p.m, k->p.m, 1, 3 * all + 4096 };
    k->x = array(k->ctx, k->p.n * k->p.c), k->y = array(k->ctx, k->p.n * k->p.m), k->w = array(k->ctx, all),
    k->dense = array(k->ctx, packed);
    k->lists = (int32_t *)(void *)array(k->ctx, pack.capacity);
    k->scratch_each = scratch_of(k, &pack);
    k->scratch = epl_alloc_aligned(k->ctx, k->scratch_each * (size_t)k->threads);
    if (!k->x || !k->y || !k->w || !k->dense || !k->lists || !k->scratch)
        return false;
    epl_rng r = epl_rng_at(o->seed, 1);
    for (int64_t i = 0; i < k->p.n * k->p.c; i++)
        k->x[i] = epl_rng_uniform(&r) - 0.5f;
    out->nonzero = draw_weights(k, o->sparsity, o->block ? o->block : 1, o->seed);
    epl_kernel_find(k->set, "conv_pack")->run(&(epl_call){ .in = { k->w }, .out = { k->dense }, .params = &k->p }, 0,
                                              epl_kernel_find(k->set, "conv_pack")->pieces(&k->p), k->scratch);
    epl_kernel_find(k->set, "sparse_pack")->run(&(epl_call){ .in = { k->w }, .out = { k->lists }, .params = &pack }, 0, 1, k->scratch);
    out->rows = k->lists[1];
    out->packed_bytes = 4 * (int64_t)k->lists[0];
    out->dense_bytes  = 4 * packed;
    const epl_sparse_layout l = epl_sparse_layout_of(&k->p, k->set->vector);
    out->chosen = epl_sparse_pays(&k->p, &l, k->set->vector, (double)out->nonzero, out->rows);
    return true;
}

static bool check(epl_context *ctx, const epl_bench_spmm_opts *o)
{
    if (o->in < 1 || o->out < 1 || o->pixels < 1 || o->in * o->out > INT32_MAX / 4 || o->pixels * (o->in + o->out) > INT32_MAX)
        return epl_fail(
            ctx, EPL_ERR_SHAPE,
            "a product of %lld x %lld weights with %lld pixels: all have to be at least 1, and to fit into 32 bits",
            (long long)o->out, (long long)o->in, (long long)o->pixels);
    if (!(o->sparsity >= 0 && o->sparsity <= 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "the sparsity is %g, but must lie in [0, 1]", o->sparsity);
    if (o->block != 0 && o->block != 1 && o->block != 2 && o->block != 4)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "blocks of %d channels: there are those of 1, 2 and 4", o->block);
    return true;
}

bool epl_bench_spmm(epl_context *ctx, epl_bench_spmm_opts o, epl_bench_spmm_result *out)
{
    product k = { .ctx = ctx, .set = epl_kernels(), .threads = o.threads > 0 ? o.threads : 1,
                  .p = { .n = o.pixels, .d = 1, .h = 1, .w = 1, .c = o.in, .od = 1, .oh = 1, .ow = 1, .m = o.out, .kd = 1, .kh = 1, .kw = 1,
                         .sd = 1, .sh = 1, .sw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 1 } };
    *out = (epl_bench_spmm_result){ 0 };
    const bool ok = check(ctx, &o) && prepare(&k, &o, out) && measure(&k, o.seconds > 0 ? o.seconds : 0.05, out);
    if (ok) {
        out->useful_gflops = 2e-9 * (double)out->nonzero * (double)o.pixels / out->sparse_s;
        out->dense_gflops  = 2e-9 * (double)(o.in * o.out) * (double)o.pixels / out->dense_s;
    }
    void *const arrays[] = { k.x, k.y, k.w, k.dense, k.lists, k.scratch };
    for (size_t i = 0; i < EPL_COUNT(arrays); i++)
        epl_release_aligned(ctx, arrays[i]);
    return ok;
}
