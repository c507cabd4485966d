/* Depthwise convolution (groups == c == m) and its two gradients, vectorised over channels. These are bound by memory: every
 * element is read from the first cache once per tap and multiplied once, so tiles are there to read the weights less often.
 *
 * Forward and input gradient are one driver, as in conv.h; a piece is a range of destination rows. For the weight gradient a
 * piece is a range of output rows, and its result one part for sum_parts. */
#include "kernels/chain.h"
#include "kernels/conv.h"

EPL_KERNEL(dwconv);
EPL_KERNEL(dwconv_dx);
EPL_KERNEL(dwconv_dw);

enum {
    PIXELS = 4,          /* of a tile; with two vectors of channels 8 sums, which hides the latency of an addition */
    MAX_TAPS = 256,      /* listed at once */
    PIECE_FLOATS = 16384 /* of output, of a piece */
};

typedef struct taps { /* of a run of pixels: offsets in the source, from a pixel's first channel, and in the weights */
    int64_t n, source[MAX_TAPS], weight[MAX_TAPS];
} taps;

/* A tile of `pixels` x `vectors`. */
VEC_INLINE void block(const taps *t, const float *x, int64_t x_pixel, const float *w, const float *bias, float *y,
                      int64_t y_pixel, int accumulate, const int pixels, const int vectors)
{
    vf sum[PIXELS][2];
    VEC_UNROLL for (int i = 0; i < pixels; i++) {
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            sum[i][j] = accumulate ? vload(y + i * y_pixel + j * VL) : bias ? vload(bias + j * VL) : vset(0.0f);
        }
    }
    for (int64_t tap = 0; tap < t->n; tap++) {
        const float *wt = w + t->weight[tap], *xt = x + t->source[tap];
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            const vf wv = vload(wt + j * VL);
            VEC_UNROLL for (int i = 0; i < pixels; i++) {
                sum[i][j] += wv * vload(xt + i * x_pixel + j * VL);
            }
        }
    }
    VEC_UNROLL for (int i = 0; i < pixels; i++) {
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            vstore(y + i * y_pixel + j * VL, sum[i][j]);
        }
    }
}

/* The last channels of a pixel, less than a vector. */
static void block_part(const taps *t, const float *x, const float *w, const float *bias, float *y, int accumulate, int64_t n)
{
    vf sum = accumulate ? vload_part(y, n) : bias ? vload_part(bias, n) : vset(0.0f);
    for (int64_t tap = 0; tap < t->n; tap++)
        sum += vload_part(w + t->weight[tap], n) * vload_part(x + t->source[tap], n);
    vstore_part(y, sum, n);
}

/* All channels of `pixels` neighbours. */
VEC_INLINE void run_neighbours(const taps *t, const float *x, int64_t x_pixel, const float *w, const float *bias, float *y,
                               int64_t y_pixel, int64_t channels, int accumulate, const int pixels)
{
    int64_t c = 0;
    for (; c + 2 * VL <= channels; c += 2 * VL)
        block(t, x + c, x_pixel, w + c, bias ? bias + c : NULL, y + c, y_pixel, accumulate, pixels, 2);
    for (; c + VL <= channels; c += VL)
        block(t, x + c, x_pixel, w + c, bias ? bias + c : NULL, y + c, y_pixel, accumulate, pixels, 1);
    for (int i = 0; c < channels && i < pixels; i++)
        block_part(t, x + i * x_pixel + c, w + c, bias ? bias + c : NULL, y + i * y_pixel + c, accumulate, channels - c);
}

/* `count` pixels with the same taps. */
static void run_pixels(const epl_conv_problem *p, const taps *t, const float *x, const float *w, const float *bias, float *y,
                       int64_t count, int accumulate)
{
    const int64_t channels = p->groups, x_pixel = p->step[2] * channels, y_pixel = p->phases[2] * channels;
    for (; count >= PIXELS; x += PIXELS * x_pixel, y += PIXELS * y_pixel, count -= PIXELS)
        run_neighbours(t, x, x_pixel, w, bias, y, y_pixel, channels, accumulate, PIXELS);
    for (; count > 0; x += x_pixel, y += y_pixel, count--)
        run_neighbours(t, x, x_pixel, w, bias, y, y_pixel, channels, accumulate, 1);
}

typedef struct row { /* one destination row in one phase of its columns */
    const epl_conv_problem *p;
    const epl_call *call;
    epl_conv_axis axis[3];
    int64_t at[3];            /* the index within the phase of plane and row */
    int64_t first[3], last[3]; /* valid taps */
    const float *x;           /* the image */
    float *y;                 /* the first destination of the phase */
} row;

/* Pixels [x0, x1) of the row, all with the taps [first[2], last[2]). */
static void run_span(const row *r, int64_t x0, int64_t x1)
{
    const epl_conv_problem *p = r->p;
    const epl_conv_axis *a = r->axis;
    const int64_t channels = p->groups;
    int accumulate = 0;
    taps t;
    t.n = 0;
    for (int64_t d = r->first[0]; d < r->last[0]; d++)
        for (int64_t h = r->first[1]; h < r->last[1]; h++)
            for (int64_t w = r->first[2]; w < r->last[2]; w++) {
                const int64_t sd = r->at[0] * p->step[0] + a[0].off + d * a[0].tap_step;
                const int64_t sh = r->at[1] * p->step[1] + a[1].off + h * a[1].tap_step;
                const int64_t sw = x0 * p->step[2] + a[2].off + w * a[2].tap_step;
                t.source[t.n] = ((sd * p->src[1] + sh) * p->src[2] + sw) * channels;
                t.weight[t.n++] = (((a[0].k0 + d * a[0].k_step) * p->kernel[1] + a[1].k0 + h * a[1].k_step) * p->kernel[2] +
                                   a[2].k0 + w * a[2].k_step) * channels;
                if (t.n == MAX_TAPS) {
                    run_pixels(p, &t, r->x, r->call->in[1], r->call->in[2], r->y + x0 * p->phases[2] * channels, x1 - x0,
                               accumulate);
                    accumulate = 1;
                    t.n = 0;
                }
            }
    if (t.n || !accumulate)
        run_pixels(p, &t, r->x, r->call->in[1], r->call->in[2], r->y + x0 * p->phases[2] * channels, x1 - x0, accumulate);
}

static void run_row(const epl_conv_problem *p, const epl_call *call, int64_t index)
{
    const int64_t oh = index % p->dst[1], od = index / p->dst[1] % p->dst[0], n = index / p->dst[1] / p->dst[0];
    row r = { .p = p, .call = call, .at = { od / p->phases[0], oh / p->phases[1], 0 } };
    r.x = (const float *)call->in[0] + n * p->src[0] * p->src[1] * p->src[2] * p->groups;
    r.axis[0] = epl_conv_axis_of(p, 0, od % p->phases[0]);
    r.axis[1] = epl_conv_axis_of(p, 1, oh % p->phases[1]);
    for (int x = 0; x < 2; x++)
        epl_conv_valid_taps(p, x, &r.axis[x], r.at[x], &r.first[x], &r.last[x]);
    for (int64_t f = 0; f < p->phases[2]; f++) {
        r.axis[2] = epl_conv_axis_of(p, 2, f);
        r.y = (float *)call->out[0] + (index * p->dst[2] + f) * p->groups;
        for (int64_t x0 = 0, x1; x0 < r.axis[2].count; x0 = x1) {
            int64_t first, last;
            epl_conv_valid_taps(p, 2, &r.axis[2], x0, &r.first[2], &r.last[2]);
            for (x1 = x0 + 1; x1 < r.axis[2].count; x1++) {
                epl_conv_valid_taps(p, 2, &r.axis[2], x1, &first, &last);
                if (first != r.first[2] || last != r.last[2])
                    break;
            }
            run_span(&r, x0, x1);
        }
    }
}

static int64_t rows_per_piece(const epl_conv_problem *p)
{
    return epl_max(1, PIECE_FLOATS / (p->dst[2] * p->groups));
}

static int64_t count_pieces(const epl_conv_problem *p)
{
    return epl_ceil_div(p->n * p->dst[0] * p->dst[1], rows_per_piece(p));
}

static void run(const epl_conv_problem *p, const epl_call *call, int64_t begin, int64_t end)
{
    const int64_t each = rows_per_piece(p), rows = p->n * p->dst[0] * p->dst[1];
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t row0 = piece * each, row1 = epl_min(row0 + each, rows);
        for (int64_t i = row0; i < row1; i++)
            run_row(p, call, i);
        epl_chain_epilogue(call, row0 * p->dst[2], row1 * p->dst[2], 0, p->groups);
    }
}

int64_t EPL_K(dwconv_pieces)(const void *params)
{
    const epl_conv_problem p = epl_conv_forward_problem(params);
    return count_pieces(&p);
}

size_t EPL_K(dwconv_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(dwconv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_conv_problem p = epl_conv_forward_problem(call->params);
    run(&p, call, begin, end);
}

int64_t EPL_K(dwconv_dx_pieces)(const void *params)
{
    const epl_conv_problem p = epl_conv_backward_problem(params);
    return count_pieces(&p);
}

size_t EPL_K(dwconv_dx_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(dwconv_dx)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_conv_problem p = epl_conv_backward_problem(call->params);
    run(&p, call, begin, end);
}

/* ---- weight gradient ---- */

/* dw += sum over pixels of x * dy for the first n <= VL channels; four sums, added in a fixed order. */
static void gradient_block(const float *x, int64_t x_pixel, const float *dy, int64_t y_pixel, int64_t count, float *dw, int64_t n)
{
    vf sum[PIXELS] = { vset(0.0f), vset(0.0f), vset(0.0f), vset(0.0f) };
    int64_t i = 0;
    if (n < VL) {
        for (; i < count; i++)
            sum[0] += vload_part(x + i * x_pixel, n) * vload_part(dy + i * y_pixel, n);
        vstore_part(dw, vload_part(dw, n) + sum[0], n);
        return;
    }
    for (; i + PIXELS <= count; i += PIXELS)
        for (int u = 0; u < PIXELS; u++)
            sum[u] += vload(x + (i + u) * x_pixel) * vload(dy + (i + u) * y_pixel);
    for (; i < count; i++)
        sum[0] += vload(x + i * x_pixel) * vload(dy + i * y_pixel);
    vstore(dw, vload(dw) + ((sum[0] + sum[1]) + (sum[2] + sum[3])));
}

static void gradient_row(const epl_conv_problem *p, const epl_call *call, int64_t index, float *dw)
{
    const int64_t oh = index % p->dst[1], od = index / p->dst[1] % p->dst[0], n = index / p->dst[1] / p->dst[0];
    const int64_t channels = p->groups, x_pixel = p->step[2] * channels;
    const epl_conv_axis aw = epl_conv_axis_of(p, 2, 0);
    const float *dy = (const float *)call->in[1] + index * p->dst[2] * channels;
    for (int64_t tap = 0; tap < p->kernel[0] * p->kernel[1] * p->kernel[2]; tap++, dw += channels) {
        const int64_t kw = tap % p->kernel[2], kh = tap / p->kernel[2] % p->kernel[1], kd = tap / p->kernel[2] / p->kernel[1];
        const int64_t d = od * p->stride[0] - p->pad[0] + kd * p->dilation[0];
        const int64_t h = oh * p->stride[1] - p->pad[1] + kh * p->dilation[1], shift = kw * aw.tap_step + aw.off;
        if (d < 0 || d >= p->src[0] || h < 0 || h >= p->src[1] || shift >= p->src[2])
            continue;
        const int64_t x0 = shift < 0 ? epl_ceil_div(-shift, p->step[2]) : 0;
        const int64_t x1 = epl_min(p->dst[2], (p->src[2] - 1 - shift) / p->step[2] + 1);
        const float *x = (const float *)call->in[0] +
                         (((n * p->src[0] + d) * p->src[1] + h) * p->src[2] + x0 * p->step[2] + shift) * channels;
        for (int64_t c = 0; c < channels && x1 > x0; c += VL)
            gradient_block(x + c, x_pixel, dy + x0 * channels + c, channels, x1 - x0, dw + c, epl_min(VL, channels - c));
    }
}

int64_t EPL_K(dwconv_dw_pieces)(const void *params)
{
    return epl_dwconv_dw_splits(params);
}

size_t EPL_K(dwconv_dw_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(dwconv_dw)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_conv_problem p = epl_conv_forward_problem(call->params);
    const int64_t splits = epl_dwconv_dw_splits(call->params), rows = p.n * p.dst[0] * p.dst[1];
    const int64_t part = p.kernel[0] * p.kernel[1] * p.kernel[2] * p.groups;
    for (int64_t i = begin; i < end; i++) {
        float *dw = (float *)call->out[0] + i * part;
        memset(dw, 0, (size_t)part * sizeof *dw);
        for (int64_t r = rows * i / splits; r < rows * (i + 1) / splits; r++)
            gradient_row(&p, call, r, dw);
    }
}
