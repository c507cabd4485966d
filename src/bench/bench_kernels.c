/* The benchmark of bench.h: a list of convolutions, each timed on our kernels and on oneDNN in turn.
 *
 * Times are the least of many runs, because other work on the machine only ever adds. The machine's peak is measured at the
 * start and again beside every line; the best of it up to then is what that line is a share of. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <espalier/bench.h>

#include "bench/bench_dnnl.h"
#include "kernels/kernels.h"
#include "program/program.h"

enum { MAX_THREADS = 64, MAX_LINES = 2048, N_PASSES = 3 };
static const char *const pass_names[N_PASSES] = { "forward", "input gradient", "weight gradient" };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- running one kernel with some threads ---- */

typedef struct job {
    const epl_kernel *kernel;
    epl_call          call;
    double            work; /* as of a program's step */
} job;

/* As a program runs it: with threads only where they are worth starting. */
static void run_job(const job *j, int threads, char *scratch, size_t scratch_each)
{
    const int64_t pieces = j->kernel->pieces(j->call.params);
    if (threads == 1 || !epl_worth_threads(pieces, j->work)) {
        j->kernel->run(&j->call, 0, pieces, scratch);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        const int64_t i = omp_get_thread_num(), n = omp_get_num_threads();
        j->kernel->run(&j->call, pieces * i / n, pieces * (i + 1) / n, scratch + (size_t)i * scratch_each);
    }
}

static size_t scratch_of(const job *j)
{
    return (j->kernel->scratch(j->call.params) + 127) / 64 * 64;
}

/* ---- the machine ---- */

typedef struct machine {
    const epl_kernel_set *set;
    job    peak;
    double operations; /* of the peak job, per thread */
    epl_fma_peak_params params;
    float factors[2], sums[MAX_THREADS];
} machine;

static void machine_init(machine *m, int threads, int64_t iterations)
{
    m->set = epl_kernels();
    m->params = (epl_fma_peak_params){ threads, iterations };
    m->factors[0] = 0.5f, m->factors[1] = 0.25f;
    m->operations = (double)iterations * 24.0 * (double)m->set->vector * (double)threads;
    m->peak = (job){ epl_kernel_find(m->set, "fma_peak"), { .in = { m->factors }, .out = { m->sums }, .params = &m->params },
                     m->operations };
}

static double peak_once(const machine *m)
{
    const double start = now_s();
    run_job(&m->peak, (int)m->params.pieces, NULL, 0);
    return m->operations / (now_s() - start) * 1e-9;
}

double epl_bench_peak_gflops(epl_context *ctx, int threads)
{
    machine m;
    (void)ctx;
    machine_init(&m, threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads, 40000);
    double best = 0.0;
    for (int i = 0; i < 200; i++)
        best = fmax(best, peak_once(&m));
    return best;
}

double epl_bench_bandwidth_gbs(epl_context *ctx, int threads)
{
    const epl_sum_parts_params p = { .parts = 16, .count = 1 << 21 };
    float *in = epl_alloc_array(ctx, (size_t)(p.parts * p.count), sizeof *in), *out = epl_alloc_array(ctx, (size_t)p.count, sizeof *out);
    double best = 0.0;
    if (in && out) {
        for (int64_t i = 0; i < p.parts * p.count; i++)
            in[i] = 1.0f;
        const job j = { epl_kernel_find(epl_kernels(), "sum_parts"), { .in = { in }, .out = { out }, .params = &p }, 1e9 };
        for (int i = 0; i < 5; i++) {
            const double start = now_s();
            run_job(&j, threads, NULL, 0);
            best = fmax(best, (double)((p.parts + 1) * p.count) * sizeof(float) / (now_s() - start) * 1e-9);
        }
    }
    epl_release(ctx, in);
    epl_release(ctx, out);
    return best;
}

/* ---- the list ---- */

typedef struct line {
    const char     *op;
    char            shape[48];
    epl_conv_params p;
    epl_bench_pass  pass;
    int             threads;
    double          macs; /* those whose source is not padding: the others need no arithmetic */
    double          gflops, share, vs_onednn, vs_dense; /* results; 0 is not measured */
} line;

typedef struct list {
    line lines[MAX_LINES];
    int  n;
} list;

/* Taps whose source exists, over all results of one axis. */
static int64_t taps_inside(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad)
{
    int64_t n = 0;
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = 0; k < kernel; k++)
            n += o * stride - pad + k >= 0 && o * stride - pad + k < in;
    return n;
}

static void add_line(list *l, const epl_bench_kernels_opts *o, const char *op, epl_conv_params p, epl_bench_pass pass, int threads)
{
    line *at = &l->lines[l->n];
    *at = (line){ .op = op, .p = p, .pass = pass, .threads = threads };
    at->macs = (double)(p.n * p.m * (p.c / p.groups)) * (double)taps_inside(p.h, p.oh, p.kh, p.sh, p.ph) *
               (double)taps_inside(p.w, p.ow, p.kw, p.sw, p.pw);
    snprintf(at->shape, sizeof at->shape, "%lldx%lldx%lldx%lld>%lld k%lld s%lld", (long long)p.n, (long long)p.h,
             (long long)p.w, (long long)p.c, (long long)p.m, (long long)p.kh, (long long)p.sh);
    char text[128];
    snprintf(text, sizeof text, "%s %s %s", op, at->shape, pass_names[pass]);
    if (l->n + 1 < MAX_LINES && (!o->filter || strstr(text, o->filter)))
        l->n++;
}

static epl_conv_params square(int64_t n, int64_t image, int64_t c, int64_t m, int64_t k, int64_t s, int64_t groups)
{
    const int64_t out = (image + 2 * (k / 2) - k) / s + 1;
    return (epl_conv_params){ .n = n, .d = 1, .h = image, .w = image, .c = c, .od = 1, .oh = out, .ow = out, .m = m, .kd = 1,
                              .kh = k, .kw = k, .sd = 1, .sh = s, .sw = s, .dd = 1, .dh = 1, .dw = 1, .ph = k / 2,
                              .pw = k / 2, .groups = groups };
}

/* Weights that are powers of two, against the dense float kernel: 8-bit inputs multiplied by, added with codes of 2
 * to 4 bits; float inputs whose exponents are added to. */
static const struct { const char *op; int bits; bool is_float; } low_bits[] = {
    { "products", 0, false }, { "adds2", 2, false }, { "adds3", 3, false }, { "adds4", 4, false }, { "exponents", 3, true },
};

/* Channels x image size no larger than those of the networks that we know: 64 at 56, 128 at 28, ... 512 at 7. */
static void make_list(list *l, const epl_bench_kernels_opts *o, int threads)
{
    static const int64_t channels[] = { 16, 32, 64, 128, 256, 512 }, images[] = { 56, 28, 14, 7, 4 };
    static const struct { int64_t image, c, m, k, s; } stems[] = {
        { 28, 1, 32, 3, 1 }, { 28, 1, 16, 5, 1 }, { 32, 3, 32, 3, 1 }, { 32, 3, 64, 3, 1 }, { 224, 3, 32, 3, 2 }, { 224, 3, 64, 7, 2 },
    };
    static const struct { int64_t image, c, k, s; } depthwise[] = {
        { 56, 32, 3, 1 }, { 28, 64, 3, 1 }, { 14, 128, 3, 1 }, { 7, 256, 3, 1 }, { 28, 24, 3, 1 }, { 56, 96, 3, 2 }, { 14, 96, 5, 1 },
        { 28, 72, 5, 2 },
    };
    for (int64_t k = 3; k >= 1; k -= 2)
        for (size_t c = 0; c < EPL_COUNT(channels); c++)
            for (size_t i = 0; i < EPL_COUNT(images); i++)
                for (int64_t n = 1; n <= 64; n += 63)
                    for (int pass = 0; pass < N_PASSES; pass++)
                        if (channels[c] * images[i] <= 64 * 56 && (!o->quick || (c * 5 + i + (size_t)n) % 7 == 0))
                            add_line(l, o, k == 3 ? "conv3x3" : "conv1x1",
                                     square(n, images[i], channels[c], channels[c], k, 1, 1), (epl_bench_pass)pass, threads);
    for (size_t i = 0; i < EPL_COUNT(stems); i++)
        for (int64_t n = 1; n <= 64; n += 63)
            for (int pass = 0; pass < N_PASSES; pass += 2) // nobody needs the gradient of the image
                if (stems[i].image * n <= 32 * 64 && (!o->quick || i == 3))
                    add_line(l, o, "stem", square(n, stems[i].image, stems[i].c, stems[i].m, stems[i].k, stems[i].s, 1),
                             (epl_bench_pass)pass, threads);
    for (size_t i = 0; i < EPL_COUNT(low_bits); i++)
        for (int64_t c = 64, image = 56; c <= 512; c *= 2, image /= 2)
            for (int64_t k = 1; k <= 3; k += 2)
                if (!o->quick || (c == 128 && k == 3))
                    add_line(l, o, low_bits[i].op, square(1, image, c, c, k, 1, 1), EPL_BENCH_FORWARD, threads);
    for (int64_t c = 64, image = 56; c <= 512; c *= 2, image /= 2)
        for (int64_t k = 1; k <= 3; k += 2)
            if (!o->quick || c == 128)
                add_line(l, o, k == 1 ? "sparse1x1" : "sparse3x3", square(1, image, c, c, k, 1, 1), EPL_BENCH_FORWARD, threads);
    for (size_t i = 0; i < EPL_COUNT(depthwise); i++)
        for (int64_t n = 1; n <= 64; n += 63)
            for (int pass = 0; pass < N_PASSES; pass++)
                if (!o->quick || i == 2)
                    add_line(l, o, "depthwise",
                             square(n, depthwise[i].image, depthwise[i].c, depthwise[i].c, depthwise[i].k, depthwise[i].s, depthwise[i].c),
                             (epl_bench_pass)pass, threads);
}

/* ---- one line ---- */

static bool is_depthwise(const line *at)
{
    return at->p.groups > 1 && at->p.groups == at->p.c && at->p.c == at->p.m;
}

typedef struct bench {
    double       peak[MAX_THREADS + 1]; /* GFLOP/s with so many threads, the best so far */
    epl_context *ctx;
    epl_dnnl    *dnnl;
    machine      machine;
    char        *scratch;
    size_t       scratch_bytes;
} bench;

/* Aligned as the tensors of a program are. */
static float *random_array(epl_context *ctx, int64_t n)
{
    float *p = epl_alloc_aligned(ctx, (size_t)n * sizeof *p);
    for (int64_t i = 0; p && i < n; i++)
        p[i] = (float)(i * 2654435761 % 1021) / 1021.0f - 0.5f;
    return p;
}

static bool need_scratch(bench *b, size_t bytes)
{
    if (bytes <= b->scratch_bytes)
        return true;
    free(b->scratch);
    b->scratch = aligned_alloc(64, bytes);
    b->scratch_bytes = b->scratch ? bytes : 0;
    return b->scratch || epl_fail(b->ctx, EPL_ERR_MEMORY, "bench: %zu bytes of scratch cannot be had", bytes);
}

typedef struct timing {
    double ours, dnnl, dense; /* seconds */
} timing;

/* Ours, oneDNN, the dense kernel and the peak in turn, until 0.1 s and three rounds have passed, twenty at least
 * where they are short. */
static timing measure(bench *b, const job *jobs, int n_jobs, epl_dnnl_conv *c, const job *dense, int threads)
{
    timing best = { 1e30, 1e30, 1e30 };
    size_t each = 0;
    for (int i = 0; i < n_jobs; i++)
        each = scratch_of(&jobs[i]) > each ? scratch_of(&jobs[i]) : each;
    if (dense)
        each = scratch_of(dense) > each ? scratch_of(dense) : each;
    if (!need_scratch(b, each * (size_t)threads + 64))
        return best;
    const double begin = now_s();
    for (int round = 0; round < 3 || now_s() - begin < 0.1; round++) {
        double start = now_s();
        for (int i = 0; i < n_jobs; i++)
            run_job(&jobs[i], threads, b->scratch, each);
        best.ours = fmin(best.ours, now_s() - start);
        if (c) {
            start = now_s();
            epl_dnnl_conv_run(c);
            best.dnnl = fmin(best.dnnl, now_s() - start);
        }
        if (dense) {
            start = now_s();
            run_job(dense, threads, b->scratch, each);
            best.dense = fmin(best.dense, now_s() - start);
        }
        b->peak[threads] = fmax(b->peak[threads], peak_once(&b->machine));
    }
    return best;
}

static const epl_kernel *find(const bench *b, const char *name)
{
    return epl_kernel_find(b->machine.set, name);
}

/* Operations and bytes, as the program counts them. */
static double work_of(const line *at)
{
    const epl_conv_params *p = &at->p;
    const int64_t floats = p->n * (p->h * p->w * p->c + p->oh * p->ow * p->m) + p->kh * p->kw * (p->c / p->groups) * p->m;
    return 2 * (double)(p->n * p->oh * p->ow * p->m) * (double)(p->kh * p->kw * (p->c / p->groups)) + 4 * (double)floats;
}

/* The jobs of a line on x, w, y. `extra` is what lies between: packed weights, or parts. */
static int make_jobs(const bench *b, const line *at, float *x, float *w, float *y, float *extra, epl_sum_parts_params *sum,
                     job jobs[2])
{
    const epl_conv_params *p = &at->p;
    const bool each = is_depthwise(at);
    const float *weights = each ? w : extra;
    const double work = work_of(at);
    if (at->pass == EPL_BENCH_FORWARD) {
        jobs[0] = (job){ find(b, each ? "dwconv" : "conv"), { .in = { x, weights }, .out = { y }, .params = p }, work };
        return 1;
    }
    if (at->pass == EPL_BENCH_INPUT_GRADIENT) {
        jobs[0] = (job){ find(b, each ? "dwconv_dx" : "conv_dx"), { .in = { y, weights }, .out = { x }, .params = p }, work };
        return 1;
    }
    *sum = (epl_sum_parts_params){ each ? epl_dwconv_dw_splits(p) : epl_conv_dw_splits(p),
                                   p->kh * p->kw * (p->c / p->groups) * p->m };
    float *const out = sum->parts > 1 ? extra : w;
    jobs[0] = (job){ find(b, each ? "dwconv_dw" : "conv_dw"), { .in = { x, y }, .out = { out }, .params = p }, work };
    jobs[1] = (job){ find(b, "sum_parts"), { .in = { extra }, .out = { w }, .params = sum }, work };
    return sum->parts > 1 ? 2 : 1;
}

static int64_t extra_floats(const bench *b, const line *at)
{
    const epl_conv_params *p = &at->p;
    if (at->pass == EPL_BENCH_FORWARD)
        return epl_conv_packed_floats(p, b->machine.set->vector);
    if (at->pass == EPL_BENCH_INPUT_GRADIENT)
        return epl_conv_dx_packed_floats(p, b->machine.set->vector);
    return (is_depthwise(at) ? epl_dwconv_dw_splits(p) : epl_conv_dw_splits(p)) * p->kh * p->kw * (p->c / p->groups) * p->m;
}

/* Sparse against dense: every tenth weight is not zero, in a pattern without structure. GFLOP/s count all of the dense ones'
 * work, so that the rows compare. */
static bool run_sparse_line(bench *b, line *at)
{
    const epl_conv_params *p = &at->p;
    const int64_t depth = p->kh * p->kw * p->c, all = depth * p->m;
    const epl_sparse_pack_params q = { *p, 0, p->c * p->m, p->m, 1, 4 * all + 4096 };
    float *x = random_array(b->ctx, p->n * p->h * p->w * p->c), *y = random_array(b->ctx, p->n * p->oh * p->ow * p->m);
    float *w = random_array(b->ctx, all), *packed = random_array(b->ctx, epl_conv_packed_floats(p, b->machine.set->vector));
    float *lists = random_array(b->ctx, q.capacity);
    const job pack = { find(b, "sparse_pack"), { .in = { w }, .out = { lists }, .params = &q }, 0 };
    bool ok = x && y && w && packed && lists && need_scratch(b, scratch_of(&pack));
    for (int64_t i = 0; ok && i < all; i++)
        if ((uint64_t)(i % p->m * depth + i / p->m) * 0x9e3779b97f4a7c15u >> 32 >= 0x19999999u)
            w[i] = 0.0f;
    if (ok) {
        const job sparse = { find(b, "sparse_conv"), { .in = { x, lists }, .out = { y }, .params = p }, work_of(at) };
        const job dense = { find(b, "conv"), { .in = { x, packed }, .out = { y }, .params = p }, work_of(at) };
        run_job(&pack, 1, b->scratch, 0);
        const timing t = measure(b, &sparse, 1, NULL, &dense, at->threads);
        ok = t.ours < 1e30; // else there was no memory for scratch
        at->gflops = 2e-9 * at->macs / t.ours;
        at->share = at->gflops / b->peak[at->threads];
        at->vs_dense = t.dense / t.ours;
    }
    float *const arrays[] = { x, y, w, packed, lists };
    for (size_t i = 0; i < EPL_COUNT(arrays); i++)
        epl_release_aligned(b->ctx, arrays[i]);
    return ok;
}

static int low_bits_of(const line *at)
{
    for (size_t i = 0; i < EPL_COUNT(low_bits); i++)
        if (!strcmp(low_bits[i].op, at->op))
            return (int)i;
    return -1;
}

static size_t low_bit_bytes(const bench *b, const epl_integer_conv_params *p, bool is_float)
{
    const int64_t vector = b->machine.set->vector;
    return is_float ? epl_shift_conv_bytes(&p->conv, vector) : p->bits ? epl_shift_add_bytes(p) : epl_integer_packed_bytes(p, vector);
}

/* GFLOP/s count the dense float kernel's work, so that the rows compare. */
static bool run_low_bit_line(bench *b, line *at, int bits, bool is_float)
{
    const epl_integer_conv_params q = { .conv = at->p, .w_wide = 1, .bits = bits };
    const epl_shift_pack_params   f = { .conv = at->p, .tap_stride = at->p.m, .out_stride = 1 };
    const epl_conv_params *p = &at->p;
    const int64_t all = p->kh * p->kw * p->c * p->m, vector = b->machine.set->vector;
    float *x = random_array(b->ctx, p->n * p->h * p->w * p->c), *y = random_array(b->ctx, p->n * p->oh * p->ow * p->m);
    float *w = random_array(b->ctx, all), *packed = random_array(b->ctx, epl_conv_packed_floats(p, vector)),
          *scale = random_array(b->ctx, p->m);
    float *codes = random_array(b->ctx, (int64_t)low_bit_bytes(b, &q, is_float) / 4 + 16);
    bool ok = x && y && w && packed && scale && codes;
    for (int64_t i = 0; ok && i < all; i++) {
        const int exponent = (int)(i * 2654435761u >> 8) & (bits == 2 ? 1 : 3), value = (i & 1 ? -1 : 1) * (1 << exponent);
        if (is_float)
            w[i] = (float)value;
        else
            ((int16_t *)(void *)w)[i] = (int16_t)value;
    }
    if (ok) {
        const job pack = { find(b, is_float ? "shift_pack" : bits ? "shift_add_pack" : "integer_pack"),
                           { .in = { w }, .out = { codes }, .params = is_float ? (const void *)&f : &q }, 0 };
        const job ours = { find(b, is_float ? "shift_conv" : bits ? "shift_add" : "integer_conv"),
                           { .in = { x, codes, is_float ? NULL : scale }, .out = { y }, .params = is_float ? (const void *)p : &q }, work_of(at) };
        const job dense = { find(b, "conv"), { .in = { x, packed }, .out = { y }, .params = p }, work_of(at) };
        run_job(&pack, 1, NULL, 0);
        const timing t = measure(b, &ours, 1, NULL, &dense, at->threads);
        ok = t.ours < 1e30; // else there was no memory for scratch
        at->gflops = 2e-9 * at->macs / t.ours;
        at->share = at->gflops / b->peak[at->threads];
        at->vs_dense = t.dense / t.ours;
    }
    float *const arrays[] = { x, y, w, packed, scale, codes };
    for (size_t i = 0; i < EPL_COUNT(arrays); i++)
        epl_release_aligned(b->ctx, arrays[i]);
    return ok;
}

static bool run_line(bench *b, line *at)
{
    if (!strncmp(at->op, "sparse", 6))
        return run_sparse_line(b, at);
    const int low = low_bits_of(at);
    if (low >= 0)
        return run_low_bit_line(b, at, low_bits[low].bits, low_bits[low].is_float);
    const epl_conv_params *p = &at->p;
    const int64_t n_x = p->n * p->h * p->w * p->c, n_y = p->n * p->oh * p->ow * p->m;
    float *x = random_array(b->ctx, n_x), *y = random_array(b->ctx, n_y);
    float *w = random_array(b->ctx, p->kh * p->kw * (p->c / p->groups) * p->m), *extra = random_array(b->ctx, extra_floats(b, at));
    bool ok = x && y && w && extra;
    if (ok) {
        epl_sum_parts_params sum;
        job jobs[2];
        const int n_jobs = make_jobs(b, at, x, w, y, extra, &sum, jobs);
        epl_dnnl_conv *c = epl_dnnl_conv_new(b->dnnl, p, at->pass, x, y);
        const timing t = measure(b, jobs, n_jobs, c, NULL, at->threads);
        epl_dnnl_conv_free(c);
        ok = t.ours < 1e30; // else there was no memory for scratch
        at->gflops = 2e-9 * at->macs / t.ours;
        at->share = at->gflops / b->peak[at->threads];
        at->vs_onednn = c ? t.dnnl / t.ours : 0.0;
    }
    epl_release_aligned(b->ctx, x);
    epl_release_aligned(b->ctx, y);
    epl_release_aligned(b->ctx, w);
    epl_release_aligned(b->ctx, extra);
    return ok;
}

/* ---- writing ---- */

static void write_quotient(FILE *out, const char *key, double value)
{
    if (value > 0.0)
        fprintf(out, ", \"%s\": %.3f", key, value);
    else
        fprintf(out, ", \"%s\": null", key);
}

static void write_json(FILE *out, const line *at, bool first)
{
    fprintf(out,
            "%s\n  {\"op\": \"%s\", \"shape\": \"%s\", \"batch\": %lld, \"threads\": %d, \"pass\": \"%s\", \"gflops\": "
            "%.2f",
            first ? "[" : ",", at->op, at->shape, (long long)at->p.n, at->threads, pass_names[at->pass], at->gflops);
    write_quotient(out, "share_of_peak", at->share);
    write_quotient(out, "vs_onednn", at->vs_onednn);
    write_quotient(out, "vs_dense", at->vs_dense);
    fprintf(out, "}");
}

static void write_row(FILE *out, const line *at)
{
    fprintf(out, "%-9s %-28s %2d  %-16s %8.1f %7.1f %%", at->op, at->shape, at->threads, pass_names[at->pass], at->gflops,
            100.0 * at->share);
    if (at->vs_onednn > 0.0)
        fprintf(out, " %9.2f", at->vs_onednn);
    if (at->vs_dense > 0.0)
        fprintf(out, "   %.2fx the dense kernel", at->vs_dense);
    fprintf(out, "\n");
}

/* Median share and geometric mean against oneDNN of the lines whose op starts with `op`. */
static void write_summary(FILE *out, const list *l, const char *op, epl_bench_pass pass, int threads)
{
    double shares[MAX_LINES], log_sum = 0.0;
    int n = 0, compared = 0;
    for (int i = 0; i < l->n; i++) {
        const line *at = &l->lines[i];
        if (at->pass != pass || at->threads != threads || strncmp(at->op, op, strlen(op)))
            continue;
        shares[n++] = at->share;
        if (at->vs_onednn > 0.0)
            log_sum += log(at->vs_onednn), compared++;
    }
    if (!n)
        return;
    const double median = epl_median(shares, n);
    fprintf(out, "%-5s %-16s %d thread%s: median %.1f %% of peak over %d shapes", op, pass_names[pass], threads,
            threads > 1 ? "s" : "", 100.0 * median, n);
    if (compared)
        fprintf(out, "; oneDNN's time / ours, geometric mean %.2f", exp(log_sum / compared));
    fprintf(out, "\n");
}

/* Of the lines whose op starts with `op`, which are compared with the dense kernel. */
static void write_dense_summary(FILE *out, const list *l, const char *op, int threads)
{
    double log_sum = 0.0;
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->lines[i].threads == threads && l->lines[i].vs_dense > 0.0 && !strncmp(l->lines[i].op, op, strlen(op)))
            log_sum += log(l->lines[i].vs_dense), n++;
    if (n)
        fprintf(out, "%s %d thread%s: the dense kernel's time / ours, geometric mean %.2f over %d shapes\n", op, threads,
                threads > 1 ? "s" : "", exp(log_sum / n), n);
}

static void write_head(const bench *b, FILE *out, const int *threads, int n_threads)
{
    fprintf(out, "instruction set %s\n", epl_kernels()->isa);
    for (int i = 0; i < n_threads; i++)
        fprintf(out, "%d thread%s: peak %.1f GFLOP/s, memory %.1f GB/s\n", threads[i], threads[i] > 1 ? "s" : "",
                b->peak[threads[i]], epl_bench_bandwidth_gbs(b->ctx, threads[i]));
    fprintf(out, "\n%-9s %-28s %s  %-16s %8s %9s %9s\n", "op", "shape", "thr", "pass", "GFLOP/s", "of peak", "vs oneDNN");
}

static bool run_list(bench *b, list *l, FILE *out, bool json)
{
    for (int i = 0; i < l->n; i++) {
        line *at = &l->lines[i];
        machine_init(&b->machine, at->threads, 4000);
        omp_set_num_threads(at->threads); // what oneDNN goes by
        if (!run_line(b, at))
            return false;
        if (json)
            write_json(out, at, i == 0);
        else
            write_row(out, at);
        fflush(out);
    }
    return true;
}

bool epl_bench_kernels(epl_context *ctx, FILE *out, epl_bench_kernels_opts o)
{
    const int threads[2] = { o.threads > 0 ? (o.threads < MAX_THREADS ? o.threads : MAX_THREADS) : 1, 2 };
    const int n_threads = o.threads > 0 ? 1 : 2, before = omp_get_max_threads();
    list *l = epl_alloc(ctx, sizeof *l);
    if (!l)
        return false;
    for (int i = 0; i < n_threads; i++)
        make_list(l, &o, threads[i]);
    bench b = { .ctx = ctx, .dnnl = epl_dnnl_open() };
    for (int i = 0; i < n_threads; i++)
        b.peak[threads[i]] = epl_bench_peak_gflops(ctx, threads[i]);
    if (!o.json)
        write_head(&b, out, threads, n_threads);
    bool ok = l->n > 0 || epl_fail(ctx, EPL_ERR_ARGUMENT, "bench kernels: no line contains '%s'", o.filter);
    ok = ok && run_list(&b, l, out, o.json);
    if (ok && o.json)
        fprintf(out, "\n]\n");
    if (ok && !o.json)
        fprintf(out, "\n");
    for (int i = 0; ok && !o.json && i < n_threads; i++) {
        write_dense_summary(out, l, "sparse", threads[i]);
        for (size_t k = 0; k < EPL_COUNT(low_bits); k++)
            write_dense_summary(out, l, low_bits[k].op, threads[i]);
    }
    for (int i = 0; ok && !o.json && i < n_threads; i++)
        for (int pass = 0; pass < N_PASSES; pass++) {
            write_summary(out, l, "conv", (epl_bench_pass)pass, threads[i]);
            write_summary(out, l, "stem", (epl_bench_pass)pass, threads[i]);
        }
    omp_set_num_threads(before);
    epl_dnnl_close(b.dnnl);
    free(b.scratch);
    epl_release(ctx, l);
    return ok;
}
