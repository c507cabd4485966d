/* The dense kernels against plain loops in double, for every instruction set that this machine runs: random shapes, strides,
 * groups, dilations, pads and tails; buffers that end at an unreadable page; pieces run in any split give the same bits. */
#include "common/check.h"
#include "kernels/kernels.h"
#include "kernels/sparse_layout.h"
#include "ops/elementwise.h"

#include <sys/mman.h>
#include <unistd.h>

static const char *const isas[] = { "generic", "v3", "v4" };
enum { N_ISAS = 3, MAX_BUFFERS = 64 };

/* ---- memory that ends exactly at a page that cannot be touched ---- */

typedef struct buffers {
    void  *map[MAX_BUFFERS];
    size_t size[MAX_BUFFERS];
    int    n;
} buffers;

static void *guarded(buffers *b, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    char *map = mmap(NULL, body + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + page, body, PROT_READ | PROT_WRITE))
        abort();
    b->map[b->n] = map;
    b->size[b->n++] = body + 2 * page;
    return map + page + body - bytes;
}

static float *floats(buffers *b, int64_t n)
{
    float *p = guarded(b, (size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = NAN; // whoever reads before writing shows it
    return p;
}

static float *random_floats(buffers *b, epl_rng *rng, int64_t n)
{
    float *p = floats(b, n);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)((double)epl_rng_below(rng, 2001) / 1000.0 - 1.0);
    return p;
}

static void release(buffers *b)
{
    while (b->n > 0) {
        b->n--;
        munmap(b->map[b->n], b->size[b->n]);
    }
}

/* ---- running ---- */

/* All pieces, in `parts` ranges, the last range first: as threads might. */
static void run_split(test *t, const epl_kernel_set *set, const char *name, const epl_call *call, int parts)
{
    const epl_kernel *k = epl_kernel_find(set, name);
    CHECK(t, k != NULL);
    const int64_t pieces = k->pieces(call->params);
    CHECK(t, pieces >= 1);
    buffers b = { .n = 0 };
    const size_t bytes = (k->scratch(call->params) + 63) / 64 * 64;
    for (int part = parts - 1; part >= 0; part--)
        k->run(call, pieces * part / parts, pieces * (part + 1) / parts, bytes ? guarded(&b, bytes) : NULL);
    release(&b);
}

/* Runs it whole, in two, three and seven parts; the bits must agree. The last result stays in out[0]. */
static void run_kernel(test *t, const epl_kernel_set *set, const char *name, epl_call *call, int64_t n_out)
{
    static const int splits[] = { 2, 3, 7 };
    float *first = malloc((size_t)n_out * sizeof *first);
    for (int64_t i = 0; i < n_out; i++)
        ((float *)call->out[0])[i] = NAN;
    run_split(t, set, name, call, 1);
    memcpy(first, call->out[0], (size_t)n_out * sizeof *first);
    for (size_t s = 0; s < sizeof splits / sizeof *splits; s++) {
        for (int64_t i = 0; i < n_out; i++)
            ((float *)call->out[0])[i] = NAN;
        run_split(t, set, name, call, splits[s]);
        const int same = !memcmp(first, call->out[0], (size_t)n_out * sizeof *first);
        if (!same)
            free(first);
        CHECK(t, same);
    }
    free(first);
}

/* Inputs are below 1 in magnitude, so partial sums grow like the root of the depth, and their rounding like the depth. */
static void check_close(test *t, const char *what, const char *isa, const float *got, const double *want, int64_t n, int64_t depth)
{
    const double tolerance = 2e-6 + 2e-7 * (double)depth;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance))
            FAIL(t, "%s, %s: element %lld is %.9g, expected %.9g", what, isa, (long long)i, (double)got[i], want[i]);
}

/* ---- convolution, by definition ---- */

typedef struct conv_case {
    epl_conv_params p;
    int64_t x, y, w; /* element counts */
} conv_case;

enum { PLAIN, DEPTHWISE };

static int64_t pick(epl_rng *rng, int64_t low, int64_t high)
{
    return low + (int64_t)epl_rng_below(rng, (uint64_t)(high - low + 1));
}

/* One spatial axis: kernel, stride, dilation, padding before and after, input size such that the output has an element. */
static void random_axis(epl_rng *rng, int64_t limit, int64_t *in, int64_t *out, int64_t *k, int64_t *s, int64_t *d, int64_t *pad)
{
    *k = pick(rng, 1, 5);
    *s = pick(rng, 1, 3);
    *d = pick(rng, 1, 3);
    *pad = pick(rng, 0, 3);
    if (pick(rng, 0, 2) == 0)
        *s = *d = 1;
    const int64_t after = pick(rng, 0, 2), reach = *d * (*k - 1) + 1;
    *in = pick(rng, 1, limit);
    while (*in + *pad + after < reach)
        ++*in;
    *out = (*in + *pad + after - reach) / *s + 1;
}

static conv_case random_conv(epl_rng *rng, int depthwise)
{
    conv_case c = { .p = { .n = pick(rng, 0, 3) ? pick(rng, 1, 3) : pick(rng, 4, 20), .d = 1, .od = 1, .kd = 1, .sd = 1, .dd = 1 } };
    epl_conv_params *p = &c.p;
    const int rank = (int)pick(rng, 1, 3);
    if (rank == 3)
        random_axis(rng, 4, &p->d, &p->od, &p->kd, &p->sd, &p->dd, &p->pd);
    p->h = p->oh = p->kh = p->sh = p->dh = 1;
    if (rank >= 2)
        random_axis(rng, rank == 3 ? 5 : 12, &p->h, &p->oh, &p->kh, &p->sh, &p->dh, &p->ph);
    random_axis(rng, rank == 1 ? 40 : 12, &p->w, &p->ow, &p->kw, &p->sw, &p->dw, &p->pw);
    if (pick(rng, 0, 5) == 0) { // pointwise
        p->kd = p->kh = p->kw = p->sd = p->sh = p->sw = 1;
        p->pd = p->ph = p->pw = 0;
        p->od = p->d, p->oh = p->h, p->ow = p->w;
    }
    if (depthwise) {
        p->groups = p->c = p->m = pick(rng, 1, 70);
    } else {
        p->groups = pick(rng, 0, 3) ? 1 : pick(rng, 2, 3);
        p->c = p->groups * pick(rng, 1, pick(rng, 0, 1) ? 4 : 20);
        p->m = p->groups * pick(rng, 1, pick(rng, 0, 3) ? 40 : 80);
    }
    c.x = p->n * p->d * p->h * p->w * p->c;
    c.y = p->n * p->od * p->oh * p->ow * p->m;
    c.w = p->kd * p->kh * p->kw * (p->c / p->groups) * p->m;
    return c;
}

/* Calls use(x index, w index, y index) for every product of the convolution. */
typedef struct triple {
    const float *x, *w, *y;
    double *out;
    int which; /* 0: out is y, 1: x, 2: w */
} triple;

static void product(const triple *q, int64_t x, int64_t w, int64_t y)
{
    if (q->which == 0)
        q->out[y] += (double)q->x[x] * (double)q->w[w];
    else if (q->which == 1)
        q->out[x] += (double)q->y[y] * (double)q->w[w];
    else
        q->out[w] += (double)q->x[x] * (double)q->y[y];
}

static void each_channel(const epl_conv_params *p, const triple *q, int64_t x, int64_t tap, int64_t y)
{
    const int64_t cg = p->c / p->groups, mg = p->m / p->groups;
    for (int64_t m = 0; m < p->m; m++)
        for (int64_t c = 0; c < cg; c++)
            product(q, x * p->c + m / mg * cg + c, (tap * cg + c) * p->m + m, y * p->m + m);
}

static void each_tap(const epl_conv_params *p, const triple *q, int64_t n, int64_t od, int64_t oh, int64_t ow)
{
    for (int64_t kd = 0; kd < p->kd; kd++)
        for (int64_t kh = 0; kh < p->kh; kh++)
            for (int64_t kw = 0; kw < p->kw; kw++) {
                const int64_t d = od * p->sd - p->pd + kd * p->dd, h = oh * p->sh - p->ph + kh * p->dh;
                const int64_t w = ow * p->sw - p->pw + kw * p->dw;
                if (d >= 0 && d < p->d && h >= 0 && h < p->h && w >= 0 && w < p->w)
                    each_channel(p, q, ((n * p->d + d) * p->h + h) * p->w + w, (kd * p->kh + kh) * p->kw + kw,
                                 ((n * p->od + od) * p->oh + oh) * p->ow + ow);
            }
}

static void naive_conv(const epl_conv_params *p, const triple *q)
{
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t od = 0; od < p->od; od++)
            for (int64_t oh = 0; oh < p->oh; oh++)
                for (int64_t ow = 0; ow < p->ow; ow++)
                    each_tap(p, q, n, od, oh, ow);
}

static double *naive(const conv_case *c, const float *x, const float *w, const float *y, const float *bias, int which)
{
    const int64_t n = which == 0 ? c->y : which == 1 ? c->x : c->w, columns = which == 0 ? c->p.m : c->p.c;
    double *out = malloc((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        out[i] = bias ? (double)bias[i % columns] : 0.0;
    naive_conv(&c->p, &(triple){ x, w, y, out, which });
    return out;
}

/* ---- the tests ---- */

static void check_forward(test *t, const epl_kernel_set *set, const conv_case *c, int backward)
{
    buffers b = { .n = 0 };
    const epl_conv_params *p = &c->p;
    const int64_t n_out = backward ? c->x : c->y, columns = backward ? p->c : p->m;
    const int64_t packed = backward ? epl_conv_dx_packed_floats(p, set->vector) : epl_conv_packed_floats(p, set->vector);
    float *source = random_floats(&b, t->rng, backward ? c->y : c->x), *w = random_floats(&b, t->rng, c->w);
    float *bias = pick(t->rng, 0, 1) ? random_floats(&b, t->rng, columns) : NULL;
    epl_call pack = { .in = { w }, .out = { floats(&b, packed) }, .params = p };
    run_kernel(t, set, backward ? "conv_dx_pack" : "conv_pack", &pack, packed);
    epl_call call = { .in = { source, pack.out[0], bias }, .out = { floats(&b, n_out) }, .params = p };
    run_kernel(t, set, backward ? "conv_dx" : "conv", &call, n_out);
    double *want = backward ? naive(c, NULL, w, source, bias, 1) : naive(c, source, w, NULL, bias, 0);
    check_close(t, backward ? "conv_dx" : "conv", set->isa, call.out[0], want, n_out, p->kd * p->kh * p->kw * (p->c + p->m));
    free(want);
    release(&b);
}

PROPERTY(convolution_is_its_definition, 150)
{
    const conv_case c = random_conv(t->rng, PLAIN);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_forward(t, epl_kernels_for(isas[i]), &c, 0);
}

PROPERTY(input_gradient_is_its_definition, 150)
{
    const conv_case c = random_conv(t->rng, PLAIN);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_forward(t, epl_kernels_for(isas[i]), &c, 1);
}

static void check_weight_gradient(test *t, const epl_kernel_set *set, const char *name, const conv_case *c, int64_t splits)
{
    buffers b = { .n = 0 };
    const epl_conv_params *p = &c->p;
    float *x = random_floats(&b, t->rng, c->x), *dy = random_floats(&b, t->rng, c->y);
    epl_call call = { .in = { x, dy }, .out = { floats(&b, splits * c->w) }, .params = p };
    run_kernel(t, set, name, &call, splits * c->w);
    const epl_sum_parts_params sum = { splits, c->w };
    epl_call add = { .in = { call.out[0] }, .out = { floats(&b, c->w) }, .params = &sum };
    run_kernel(t, set, "sum_parts", &add, c->w);
    double *want = naive(c, x, NULL, dy, NULL, 2);
    check_close(t, name, set->isa, add.out[0], want, c->w, p->n * p->od * p->oh * p->ow);
    free(want);
    release(&b);
}

PROPERTY(weight_gradient_is_its_definition, 150)
{
    conv_case c = random_conv(t->rng, PLAIN);
    if (t->index % 10 == 0) { // many pixels: several parts, and lines of several segments
        c.p = (epl_conv_params){ .n = 2, .d = 1, .h = pick(t->rng, 1, 3), .w = pick(t->rng, 300, 800), .c = pick(t->rng, 1, 12),
                                 .od = 1, .m = pick(t->rng, 1, 40), .kd = 1, .kh = 1, .kw = pick(t->rng, 1, 3), .sd = 1,
                                 .sh = 1, .sw = pick(t->rng, 1, 2), .dd = 1, .dh = 1, .dw = 1, .pw = pick(t->rng, 0, 1),
                                 .groups = 1 };
        c.p.oh = c.p.h;
        c.p.ow = (c.p.w + 2 * c.p.pw - c.p.kw) / c.p.sw + 1;
        c.x = c.p.n * c.p.h * c.p.w * c.p.c;
        c.y = c.p.n * c.p.oh * c.p.ow * c.p.m;
        c.w = c.p.kw * c.p.c * c.p.m;
    }
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_weight_gradient(t, epl_kernels_for(isas[i]), "conv_dw", &c, epl_conv_dw_splits(&c.p));
}

static void check_depthwise(test *t, const epl_kernel_set *set, const conv_case *c)
{
    buffers b = { .n = 0 };
    const epl_conv_params *p = &c->p;
    float *x = random_floats(&b, t->rng, c->x), *w = random_floats(&b, t->rng, c->w), *y = random_floats(&b, t->rng, c->y);
    float *bias = pick(t->rng, 0, 1) ? random_floats(&b, t->rng, p->c) : NULL;
    epl_call forward = { .in = { x, w, bias }, .out = { floats(&b, c->y) }, .params = p };
    epl_call backward = { .in = { y, w, bias }, .out = { floats(&b, c->x) }, .params = p };
    run_kernel(t, set, "dwconv", &forward, c->y);
    run_kernel(t, set, "dwconv_dx", &backward, c->x);
    double *want_y = naive(c, x, w, NULL, bias, 0), *want_x = naive(c, NULL, w, y, bias, 1);
    check_close(t, "dwconv", set->isa, forward.out[0], want_y, c->y, p->kd * p->kh * p->kw);
    check_close(t, "dwconv_dx", set->isa, backward.out[0], want_x, c->x, p->kd * p->kh * p->kw);
    free(want_y);
    free(want_x);
    release(&b);
    check_weight_gradient(t, set, "dwconv_dw", c, epl_dwconv_dw_splits(p));
}

PROPERTY(depthwise_convolutions_are_their_definitions, 120)
{
    const conv_case c = random_conv(t->rng, DEPTHWISE);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_depthwise(t, epl_kernels_for(isas[i]), &c);
}

/* Zeroes most weights, and packs them as sparse_conv takes them; a capacity that is too small leaves the size alone. */
static int32_t *pack_sparse(buffers *b, test *t, const epl_kernel_set *set, const epl_conv_params *p, float *w)
{
    const int64_t taps = p->kd * p->kh * p->kw * p->c, percent = pick(t->rng, 0, 100), rows = 1 << pick(t->rng, 0, 2);
    epl_sparse_pack_params q = { *p, 0, p->c * p->m, p->m, 1, 1 };
    int32_t size[2] = { 0 };
    for (int64_t i = 0; i < taps; i++)
        for (int64_t j = 0; j < p->m; j += rows)
            if (pick(t->rng, 0, 99) >= percent)
                for (int64_t k = j; k < j + rows && k < p->m; k++)
                    w[i * p->m + k] = 0.0f;
    run_kernel(t, set, "sparse_pack", &(epl_call){ .in = { w }, .out = { size }, .params = &q }, 2);
    int32_t *packed = guarded(b, (size_t)size[0] * sizeof *packed);
    q.capacity = size[0];
    const epl_kernel *pack = epl_kernel_find(set, "sparse_pack");
    void *scratch = guarded(b, pack->scratch(&q));
    pack->run(&(epl_call){ .in = { w }, .out = { packed }, .params = &q }, 0, 1, scratch);
    return packed;
}

static void check_sparse(test *t, const epl_kernel_set *set, const conv_case *c)
{
    buffers b = { .n = 0 };
    const epl_conv_params *p = &c->p;
    float *x = random_floats(&b, t->rng, c->x), *w = random_floats(&b, t->rng, c->w);
    const int32_t *packed = pack_sparse(&b, t, set, p, w);
    float *bias = pick(t->rng, 0, 1) ? random_floats(&b, t->rng, p->m) : NULL;
    epl_call call = { .in = { x, packed, bias }, .out = { floats(&b, c->y) }, .params = p };
    run_kernel(t, set, "sparse_conv", &call, c->y);
    double *want = naive(c, x, w, NULL, bias, 0);
    check_close(t, "sparse_conv", set->isa, call.out[0], want, c->y, p->kd * p->kh * p->kw * p->c);
    free(want);
    release(&b);
}

PROPERTY(sparse_convolution_is_its_definition, 150)
{
    conv_case c = random_conv(t->rng, PLAIN);
    while (c.p.groups > 1)
        c = random_conv(t->rng, PLAIN);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_sparse(t, epl_kernels_for(isas[i]), &c);
}

/* Channels share their places where blocks of four are nine tenths full, then where blocks of two are. */
TEST(sparse_weights_choose_their_blocks)
{
    enum { C = 100, M = 8 };
    static float w[C * M];
    static int32_t out[64 * C * M];
    const epl_conv_params p = { .n = 1, .d = 1, .h = 1, .w = 1, .c = C, .od = 1, .oh = 1, .ow = 1, .m = M, .kd = 1, .kh = 1, .kw = 1,
                                .sd = 1, .sh = 1, .sw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 1 };
    const epl_sparse_pack_params q = { p, 0, p.c * M, M, 1, EPL_COUNT(out) };
    static const struct {
        int holes, in_pairs, rows; /* of the first 25 inputs' 200 weights */
    } cases[] = { { 20, 0, 4 }, { 22, 0, 1 }, { 50, 1, 2 }, { 0, 0, 4 } };
    const epl_kernel *pack = epl_kernel_find(epl_kernels(), "sparse_pack");
    void *scratch = aligned_alloc(64, (pack->scratch(&q) + 63) / 64 * 64);
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        memset(w, 0, sizeof w);
        for (int k = 0; k < 25 * M; k++)
            w[k] = 1;
        for (int k = 0; k < cases[i].holes; k++) /* one of a block at most; in pairs: the second half of a block */
            cases[i].in_pairs ? (w[4 * (k % 50) + 2] = w[4 * (k % 50) + 3] = 0) : (w[4 * k + k % 4] = 0);
        pack->run(&(epl_call){ .in = { w }, .out = { out }, .params = &q }, 0, 1, scratch);
        CHECK_INT(t, out[1], cases[i].rows);
    }
    free(scratch);
}

/* Keeps n of every m along the channels (stride `channel`, of `c`), of `others` lines. */
static void keep_some(test *t, float *w, int64_t base, int64_t c, int64_t channel, int64_t n, int64_t m)
{
    for (int64_t g = 0; g < c; g += m) {
        int64_t left = n;
        for (int64_t i = g; i < g + m && i < c; i++)
            if (left == 0 || pick(t->rng, 0, 2) == 0)
                w[base + i * channel] = 0.0f;
            else
                left--;
    }
}

/* Forward, and backward as the convolution of dy with the kernel turned around. */
static void check_nm(test *t, const epl_kernel_set *set, const conv_case *c, int backward)
{
    buffers b = { .n = 0 };
    const epl_conv_params *p = &c->p;
    const int64_t m = pick(t->rng, 1, 9), n = pick(t->rng, 1, (int)m), taps = p->kd * p->kh * p->kw;
    epl_nm_pack_params q = { *p, 0, p->c * p->m, p->m, 1, n, m };
    if (backward) {
        q = (epl_nm_pack_params){ *p, (taps - 1) * p->c * p->m, -p->c * p->m, 1, p->m, n, m };
        q.conv.d = p->od, q.conv.h = p->oh, q.conv.w = p->ow, q.conv.c = p->m;
        q.conv.od = p->d, q.conv.oh = p->h, q.conv.ow = p->w, q.conv.m = p->c;
        q.conv.pd = p->dd * (p->kd - 1) - p->pd, q.conv.ph = p->dh * (p->kh - 1) - p->ph, q.conv.pw = p->dw * (p->kw - 1) - p->pw;
    }
    float *source = random_floats(&b, t->rng, backward ? c->y : c->x), *w = random_floats(&b, t->rng, c->w);
    for (int64_t k = 0; k < taps; k++)
        for (int64_t j = 0; j < q.conv.m; j++)
            keep_some(t, w, q.base + k * q.position_stride + j * q.out_stride, q.conv.c, q.channel_stride, n, m);
    const int64_t size = epl_nm_packed_size(&q, set->vector), count = backward ? c->x : c->y;
    epl_call pack = { .in = { w }, .out = { floats(&b, size) }, .params = &q };
    run_kernel(t, set, "nm_pack", &pack, size);
    epl_call call = { .in = { source, pack.out[0] }, .out = { floats(&b, count) }, .params = &q.conv };
    run_kernel(t, set, "sparse_conv", &call, count);
    double *want = backward ? naive(c, NULL, w, source, NULL, 1) : naive(c, source, w, NULL, NULL, 0);
    check_close(t, "sparse_conv", set->isa, call.out[0], want, count, taps * q.conv.c);
    free(want);
    release(&b);
}

PROPERTY(nm_convolutions_are_their_definitions, 150)
{
    conv_case c = random_conv(t->rng, PLAIN);
    const int backward = t->index % 2;
    const epl_conv_params *p = &c.p;
    while (p->groups > 1 || (backward && (p->sd * p->sh * p->sw > 1 || p->pd > p->dd * (p->kd - 1) || p->ph > p->dh * (p->kh - 1) ||
                                          p->pw > p->dw * (p->kw - 1))))
        c = random_conv(t->rng, PLAIN);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_nm(t, epl_kernels_for(isas[i]), &c, backward);
}

/* Shapes that random ones seldom meet: several strips, blocks, phases of a stride. Vectors of 16 take them as strips. */
TEST(sparse_convolutions_in_strips)
{
    static const int64_t shapes[][7] = { /* n, image, channels, kernel, stride, dilation, pad */
        { 1, 14, 16, 3, 1, 1, 1 }, { 2, 13, 70, 3, 1, 1, 1 }, { 1, 28, 24, 3, 2, 1, 1 }, { 1, 40, 9, 3, 1, 1, 0 },
        { 3, 7, 64, 3, 1, 1, 1 }, { 1, 15, 40, 5, 2, 1, 2 }, { 1, 16, 20, 3, 1, 2, 2 }, { 1, 24, 33, 5, 3, 1, 2 } };
    for (size_t i = 0; i < EPL_COUNT(shapes); i++) {
        const int64_t *s = shapes[i], out = (s[1] + 2 * s[6] - s[5] * (s[3] - 1) - 1) / s[4] + 1, m = pick(t->rng, 9, 32);
        const conv_case c = { .p = { s[0], 1, s[1], s[1], s[2], 1,    out,  out, m,    1,    s[3],
                                     s[3], 1, s[4], s[4], 1,    s[5], s[5], 0,   s[6], s[6], 1 },
                              .x = s[0] * s[1] * s[1] * s[2],
                              .y = s[0] * out * out * m,
                              .w = s[3] * s[3] * s[2] * m };
        CHECK(t, epl_sparse_layout_of(&c.p, 16).lines > 0);
        for (int k = 0; k < N_ISAS; k++)
            if (epl_kernels_for(isas[k]))
                check_sparse(t, epl_kernels_for(isas[k]), &c);
    }
}

/* A kernel's epilogue: out + other, then relu, in place. Every element must pass through it once, after its last sum. */
static void check_epilogue(test *t, const epl_kernel_set *set, const char *name, epl_call call, int64_t rows, int64_t columns)
{
    buffers b = { .n = 0 };
    float *plain = floats(&b, rows * columns), *other = random_floats(&b, t->rng, rows * columns);
    call.out[0] = plain;
    run_kernel(t, set, name, &call, rows * columns);
    const epl_chain chain = { .n_in = 2, .n_steps = 2, .n_out = 1, .rows = rows, .columns = columns, .rows_per_image = 1,
                              .in_kind = { EPL_CHAIN_FULL, EPL_CHAIN_FULL }, .in_dtype = { EPL_F32, EPL_F32 },
                              .out_dtype = { EPL_F32 }, .out = { 3 }, .op = { EPL_EW_add, EPL_EW_relu },
                              .arg = { { 0, 1 }, { 2 } } };
    call.chain = &chain;
    call.chain_in = (const void *const[]){ other };
    call.out[0] = floats(&b, rows * columns);
    run_kernel(t, set, name, &call, rows * columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        const float sum = plain[i] + other[i], want = sum > 0.0f ? sum : 0.0f;
        if (((float *)call.out[0])[i] != want)
            FAIL(t, "%s, %s: element %lld is %.9g, expected %.9g", name, set->isa, (long long)i,
                 (double)((float *)call.out[0])[i], (double)want);
    }
    release(&b);
}

static void check_epilogues(test *t, const epl_kernel_set *set, const conv_case *c, const char *forward, const char *backward)
{
    buffers b = { .n = 0 };
    const epl_conv_params *p = &c->p;
    float *x = random_floats(&b, t->rng, c->x), *y = random_floats(&b, t->rng, c->y);
    const int64_t packed = epl_conv_packed_floats(p, set->vector) + epl_conv_dx_packed_floats(p, set->vector);
    float *w = random_floats(&b, t->rng, packed); // more than enough for weights as they lie
    check_epilogue(t, set, forward, (epl_call){ .in = { x, w }, .params = p }, c->y / p->m, p->m);
    check_epilogue(t, set, backward, (epl_call){ .in = { y, w }, .params = p }, c->x / p->c, p->c);
    release(&b);
}

PROPERTY(epilogues_run_once_on_every_element, 60)
{
    const conv_case plain = random_conv(t->rng, PLAIN), depthwise = random_conv(t->rng, DEPTHWISE);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i])) {
            check_epilogues(t, epl_kernels_for(isas[i]), &plain, "conv", "conv_dx");
            check_epilogues(t, epl_kernels_for(isas[i]), &depthwise, "dwconv", "dwconv_dx");
        }
}

static void check_gemm(test *t, const epl_kernel_set *set, epl_gemm_params p, int a_transposed, int b_transposed)
{
    buffers b = { .n = 0 };
    p.a_row = a_transposed ? 1 : p.depth, p.a_col = a_transposed ? p.rows : 1, p.a_batch = p.rows * p.depth;
    p.b_row = b_transposed ? 1 : p.cols, p.b_col = b_transposed ? p.depth : 1;
    p.b_batch = p.b_batch ? p.depth * p.cols : 0;
    p.c_row = p.cols, p.c_batch = p.rows * p.cols;
    const int64_t n_b = (p.b_batch ? p.batch : 1) * p.depth * p.cols, n_out = p.batch * p.c_batch;
    float *a = random_floats(&b, t->rng, p.batch * p.a_batch), *bm = random_floats(&b, t->rng, n_b);
    float *bias = pick(t->rng, 0, 1) ? random_floats(&b, t->rng, p.cols) : NULL;
    epl_call call = { .in = { a, bm, bias }, .out = { floats(&b, n_out) }, .params = &p };
    if (p.b_packed) {
        const int64_t packed = epl_gemm_packed_floats(&p, set->vector);
        epl_call pack = { .in = { bm }, .out = { floats(&b, packed) }, .params = &p };
        run_kernel(t, set, "gemm_pack", &pack, packed);
        call.in[1] = pack.out[0];
    }
    run_kernel(t, set, "gemm", &call, n_out);
    double *want = calloc((size_t)n_out, sizeof *want);
    for (int64_t n = 0; n < p.batch; n++)
        for (int64_t i = 0; i < p.rows; i++)
            for (int64_t j = 0; j < p.cols; j++) {
                double sum = bias ? (double)bias[j] : 0.0;
                for (int64_t k = 0; k < p.depth; k++)
                    sum += (double)a[n * p.a_batch + i * p.a_row + k * p.a_col] *
                           (double)bm[n * p.b_batch + k * p.b_row + j * p.b_col];
                want[n * p.c_batch + i * p.c_row + j] = sum;
            }
    check_close(t, "gemm", set->isa, call.out[0], want, n_out, p.depth);
    free(want);
    release(&b);
}

PROPERTY(matrix_product_is_its_definition, 120)
{
    epl_gemm_params p = { .batch = pick(t->rng, 1, 3), .rows = pick(t->rng, 1, 90), .cols = pick(t->rng, 1, 90),
                          .depth = pick(t->rng, 1, 70), .b_packed = pick(t->rng, 0, 1), .b_batch = pick(t->rng, 0, 1) };
    if (pick(t->rng, 0, 9) == 0)
        p.depth = pick(t->rng, 1000, 2500);
    const int a_transposed = (int)pick(t->rng, 0, 1), b_transposed = (int)pick(t->rng, 0, 1);
    for (int i = 0; i < N_ISAS; i++)
        if (epl_kernels_for(isas[i]))
            check_gemm(t, epl_kernels_for(isas[i]), p, a_transposed, b_transposed);
}
