/* pool: maximum and mean over windows of one to three spatial axes, forward and backward, vectorised over channels.
 *
 * Forward, a piece is one line of outputs along the last spatial axis. Backward, a piece is one image and a block of channels,
 * so that overlapping windows are added up by one thread, in order. */
#include "kernels/bandwidth.h"
#include "kernels/chain.h"
#include "kernels/vmath.h"

EPL_KERNEL(pool);
EPL_KERNEL(pool_back);

enum { CHANNELS = 64 }; /* of a piece backward */

/* The input positions under one window along one axis: first + i * step for i in [begin, end); `all` counts taps that lie in
 * the input or its padding proper. */
typedef struct taps {
    int64_t first, step, begin, end, all;
} taps;

static taps taps_of(int64_t o, int64_t stride, int64_t dilation, int64_t kernel, int64_t pad, int64_t size, int64_t pad_end)
{
    taps t = { .first = o * stride - pad, .step = dilation };
    t.begin = t.first < 0 ? epl_cut(-t.first, dilation) : 0;
    t.begin = t.begin > kernel ? kernel : t.begin;
    const int64_t inside = size > t.first ? epl_cut(size - t.first, dilation) : 0;
    t.end = inside < kernel ? inside : kernel;
    t.end = t.end < t.begin ? t.begin : t.end;
    const int64_t padded = size + pad_end > t.first ? epl_cut(size + pad_end - t.first, dilation) : 0;
    t.all = padded < kernel ? padded : kernel;
    return t;
}

typedef struct window {
    taps  d, h, w;
    float scale; /* 1 / number of elements that count in a mean */
} window;

static window window_of(const epl_pool_params *p, int64_t od, int64_t oh, int64_t ow)
{
    window v = { taps_of(od, p->sd, p->dd, p->kd, p->pd, p->d, p->ed), taps_of(oh, p->sh, p->dh, p->kh, p->ph, p->h, p->eh),
                 taps_of(ow, p->sw, p->dw, p->kw, p->pw, p->w, p->ew), 0 };
    const int64_t count = p->kind == EPL_POOL_MEAN_PADDED
                            ? v.d.all * v.h.all * v.w.all
                            : (v.d.end - v.d.begin) * (v.h.end - v.h.begin) * (v.w.end - v.w.begin);
    v.scale = p->kind == EPL_POOL_SUM ? 1 : count > 0 ? 1 / (float)count : 0;
    return v;
}

/* The offset of a tap within its image. */
static int64_t tap_at(const epl_pool_params *p, const window *v, int64_t i, int64_t j, int64_t k)
{
    return (((v->d.first + i * v->d.step) * p->h + v->h.first + j * v->h.step) * p->w + v->w.first + k * v->w.step) * p->c;
}

#define FOR_TAPS(v)                                                                                                \
    for (int64_t i = (v)->d.begin; i < (v)->d.end; i++)                                                            \
        for (int64_t j = (v)->h.begin; j < (v)->h.end; j++)                                                        \
            for (int64_t k = (v)->w.begin; k < (v)->w.end; k++)

/* Zero pieces would be no piece. */
static int64_t at_least_one(int64_t n)
{
    return n > 0 ? n : 1;
}

static size_t nothing(const void *params)
{
    (void)params;
    return 0;
}

size_t EPL_K(pool_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(pool_back_scratch)(const void *p) { return nothing(p); }

int64_t EPL_K(pool_pieces)(const void *params)
{
    const epl_pool_params *p = params;
    return at_least_one(p->n * p->od * p->oh);
}

static void pool_line(const epl_pool_params *p, const float *x, int64_t od, int64_t oh, float *y)
{
    for (int64_t ow = 0; ow < p->ow; ow++, y += p->c) {
        const window v = window_of(p, od, oh, ow);
        for (int64_t c = 0; c < p->c; c += VL) {
            const int64_t left = p->c - c;
            vf best = vset(p->kind == EPL_POOL_MAX ? -INFINITY : 0);
            FOR_TAPS(&v)
            {
                const vf t = vload_some(x + tap_at(p, &v, i, j, k) + c, left);
                best = p->kind == EPL_POOL_MAX ? vmax(best, t) : best + t;
            }
            vstore_some(y + c, p->kind == EPL_POOL_MAX ? best : best * v.scale, left);
        }
    }
}

void EPL_K(pool)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_pool_params *p = call->params;
    const int64_t lines = p->od * p->oh;
    (void)scratch;
    for (int64_t i = begin; i < end && i < p->n * lines; i++) {
        pool_line(p, (const float *)call->in[0] + i / lines * p->d * p->h * p->w * p->c, i % lines / p->oh, i % p->oh,
                  (float *)call->out[0] + i * p->ow * p->c);
        epl_chain_epilogue(call, i * p->ow, (i + 1) * p->ow, 0, p->c);
    }
}

/* ---- backward ---- */

int64_t EPL_K(pool_back_pieces)(const void *params)
{
    const epl_pool_params *p = params;
    return at_least_one(p->n * epl_cut(p->c, CHANNELS));
}

/* Adds one output's gradient to the first maximum of its window, or to every element of it. x, dx at the image and channel. */
static void back_window(const epl_pool_params *p, const window *v, const float *x, const float *dy, int64_t left, float *dx)
{
    const vf d = vload_some(dy, left);
    if (p->kind != EPL_POOL_MAX) {
        FOR_TAPS(v)
        {
            float *at = dx + tap_at(p, v, i, j, k);
            vstore_some(at, vload_some(at, left) + d * v->scale, left);
        }
        return;
    }
    vf best = vset(-INFINITY);
    vi first = vseti(-1);
    FOR_TAPS(v)
    {
        const int64_t at = tap_at(p, v, i, j, k);
        const vf t = vload_some(x + at, left);
        const vi better = (t > best) | ((t != t) & (best == best)) | (first < 0);
        best = vsel(better, t, best);
        first = (better & vseti((int32_t)((i * p->kh + j) * p->kw + k))) | (~better & first);
    }
    FOR_TAPS(v)
    {
        float *at = dx + tap_at(p, v, i, j, k);
        const vi here = first == vseti((int32_t)((i * p->kh + j) * p->kw + k));
        vstore_some(at, vload_some(at, left) + vsel(here, d, vset(0)), left);
    }
}

static void back_block(const epl_pool_params *p, const float *x, const float *dy, int64_t channels, float *dx)
{
    for (int64_t i = 0; i < p->d * p->h * p->w; i++)
        memset(dx + i * p->c, 0, (size_t)channels * sizeof *dx);
    for (int64_t o = 0; o < p->od * p->oh * p->ow; o++) {
        const window v = window_of(p, o / (p->oh * p->ow), o / p->ow % p->oh, o % p->ow);
        for (int64_t c = 0; c < channels; c += VL)
            back_window(p, &v, x ? x + c : NULL, dy + o * p->c + c, channels - c, dx + c);
    }
}

void EPL_K(pool_back)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_pool_params *p = call->params;
    const int64_t blocks = epl_cut(p->c, CHANNELS), in = p->d * p->h * p->w * p->c, out = p->od * p->oh * p->ow * p->c;
    const float *x = p->kind == EPL_POOL_MAX ? call->in[0] : NULL;
    (void)scratch;
    for (int64_t i = begin; i < end && i < p->n * blocks; i++) {
        const int64_t c = i % blocks * CHANNELS, image = i / blocks;
        back_block(p, x ? x + image * in + c : NULL, (const float *)call->in[1] + image * out + c,
                   epl_between(0, p->c - c, CHANNELS), (float *)call->out[0] + image * in + c);
    }
}
