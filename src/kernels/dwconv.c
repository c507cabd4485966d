/* Depthwise convolution (groups == c == m) and its two gradients, vectorised over channels.
 *
 * A multiply-add per element of x and tap: a machine that loads one vector per multiply-add would reach a half of
 * its peak and less. So a tile is some neighbouring pixels x one vector of channels, and walks along a kernel row:
 * what it loads of x serves every pixel and tap that meet there, a weight all pixels. For the widths of `WIDTHS`,
 * undilated, with strides of 1 or 2; any other kernel row is taken as rows of one tap. Images that stay in the
 * second cache run at 60 to 80 % of the peak; larger ones are bound by the memory that they stream from and to.
 *
 * Forward and input gradient are one driver, as in conv.h; a piece is a range of destination rows. For the weight gradient a
 * piece is a range of output rows, and its result one part for sum_parts. */
#include "kernels/chain.h"
#include "kernels/conv.h"

EPL_KERNEL(dwconv);
EPL_KERNEL(dwconv_dx);
EPL_KERNEL(dwconv_dw);

enum {
    PIXELS = 8,           /* of a tile, at most: sums enough to hide the latency of a multiply-add */
    MAX_RUNS = 256,       /* listed at once */
    PIECE_FLOATS = 16384, /* of output, of a piece, about */
    BLOCK_FLOATS = 16384, /* of x and of dy, of a weight gradient's block: together 128 KB of the second cache */
    BLOCK_ROWS = 64       /* of a weight gradient's block, at most */
};

/* ---- forward and input gradient ---- */

/* What a run of pixels has in common: kernel rows, as offsets in the source from a pixel's first channel, and in the weights. */
typedef struct runs {
    int64_t n, source[MAX_RUNS], weight[MAX_RUNS];
    int64_t column, tap;        /* from a column of the source to the next, from a tap's weights to the next */
    int64_t x_pixel, y_pixel;   /* from a pixel to the next */
    int64_t accumulate;
    int64_t first, columns;     /* the column of the first pixel's first tap, those of the source: others are padding */
} runs;

VEC_INLINE vf channels_load(const float *p, int64_t n, const int full)
{
    return full ? vload(p) : vload_part(p, n);
}

/* `pixels` x n channels, n <= VL; kernel rows of `width` taps, pixels `stride` columns apart. Columns before `left` and from
 * `right` on are padding, at most width - 1 on either side. */
VEC_INLINE void tile(const runs *t, const float *x, const float *w, const float *bias, float *y, int64_t n, int64_t left,
                     int64_t right, const int pixels, const int width, const int stride, const int full)
{
    const int columns = (pixels - 1) * stride + width;
    vf sum[PIXELS];
    const vf start = bias ? channels_load(bias, n, full) : vset(0.0f);
    VEC_UNROLL for (int i = 0; i < pixels; i++) {
        sum[i] = t->accumulate ? channels_load(y + i * t->y_pixel, n, full) : start;
    }
    const int64_t column = width == 1 ? t->x_pixel : t->column;
    for (int64_t run = 0; run < t->n; run++) {
        const float *xt = x + t->source[run], *wt = w + t->weight[run];
        vf weight[5];
        VEC_UNROLL for (int k = 0; k < width; k++) {
            weight[k] = channels_load(wt + k * t->tap, n, full);
        }
        VEC_UNROLL for (int c = 0; c < columns; c++) {
            if ((c < width - 1 && c < left) || (c > columns - width && c >= right))
                continue;
            const vf xv = channels_load(xt + c * column, n, full);
            VEC_UNROLL for (int k = 0; k < width; k++) {
                if ((c - k) % stride == 0 && c >= k && (c - k) / stride < pixels)
                    sum[(c - k) / stride] += xv * weight[k];
            }
        }
    }
    VEC_UNROLL for (int i = 0; i < pixels; i++) {
        if (full)
            vstore(y + i * t->y_pixel, sum[i]);
        else
            vstore_part(y + i * t->y_pixel, sum[i], n);
    }
}

/* All channels of `pixels` neighbours, from pixel `at` on. */
VEC_INLINE void neighbours(const runs *t, const float *x, const float *w, const float *bias, float *y, int64_t channels, int64_t at,
                           const int pixels, const int width, const int stride)
{
    const int64_t left = -(t->first + at * stride), right = left + t->columns;
    int64_t c = 0;
    x += at * t->x_pixel;
    y += at * t->y_pixel;
    for (; c + VL <= channels; c += VL)
        tile(t, x + c, w + c, bias ? bias + c : NULL, y + c, VL, left, right, pixels, width, stride, 1);
    if (c < channels)
        tile(t, x + c, w + c, bias ? bias + c : NULL, y + c, channels - c, left, right, pixels, width, stride, 0);
}

/* `count` pixels with the same kernel rows. Images of 7, 14, 28 pixels are common. */
VEC_INLINE void pixels_of(const runs *t, const float *x, const float *w, const float *bias, float *y, int64_t channels,
                          int64_t count, const int width, const int stride)
{
    int64_t at = 0;
    for (; count % 8 && count % 7 == 0 && at < count; at += 7)
        neighbours(t, x, w, bias, y, channels, at, 7, width, stride);
    for (; at + 8 <= count; at += 8)
        neighbours(t, x, w, bias, y, channels, at, 8, width, stride);
    for (; at + 4 <= count; at += 4)
        neighbours(t, x, w, bias, y, channels, at, 4, width, stride);
    for (; at + 2 <= count; at += 2)
        neighbours(t, x, w, bias, y, channels, at, 2, width, stride);
    if (at < count)
        neighbours(t, x, w, bias, y, channels, at, 1, width, stride);
}

#define WIDTHS(F) F(1, 1) F(2, 1) F(3, 1) F(3, 2) F(5, 1) F(5, 2)
#define DEFINE(width, stride)                                                                                               \
    static void pixels_##width##_##stride(const runs *t, const float *x, const float *w, const float *bias, float *y,       \
                                          int64_t channels, int64_t count)                                                  \
    {                                                                                                                       \
        pixels_of(t, x, w, bias, y, channels, count, width, stride);                                                        \
    }
WIDTHS(DEFINE)

typedef void pixels_fn(const runs *t, const float *x, const float *w, const float *bias, float *y, int64_t channels, int64_t count);

/* The tile for kernel rows of so many taps, or NULL. */
static pixels_fn *pixels_for(int64_t taps, int64_t tap_step, int64_t stride)
{
#define MATCH(width, s)                                     \
    if (width > 1 && taps == width && tap_step == 1 && stride == s) \
        return pixels_##width##_##s;
    WIDTHS(MATCH)
    return NULL;
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

/* Pixels [x0, x1) of the row by the taps [first[2], last[2]), `each` of them a run. */
static void run_span(const row *r, int64_t x0, int64_t x1, int64_t each, pixels_fn *run)
{
    const epl_conv_problem *p = r->p;
    const epl_conv_axis *a = r->axis;
    const int64_t channels = p->groups;
    float *y = r->y + x0 * p->phases[2] * channels;
    runs t;
    t.n = t.accumulate = 0;
    t.column = channels;
    t.tap = a[2].k_step * channels;
    t.x_pixel = p->step[2] * channels;
    t.y_pixel = p->phases[2] * channels;
    t.first = a[2].off;
    t.columns = p->src[2];
    for (int64_t d = r->first[0]; d < r->last[0]; d++)
        for (int64_t h = r->first[1]; h < r->last[1]; h++)
            for (int64_t w = r->first[2]; w < r->last[2]; w += each) {
                const int64_t sd = r->at[0] * p->step[0] + a[0].off + d * a[0].tap_step;
                const int64_t sh = r->at[1] * p->step[1] + a[1].off + h * a[1].tap_step;
                const int64_t sw = x0 * p->step[2] + a[2].off + w * a[2].tap_step;
                t.source[t.n] = ((sd * p->src[1] + sh) * p->src[2] + sw) * channels;
                t.weight[t.n++] = (((a[0].k0 + d * a[0].k_step) * p->kernel[1] + a[1].k0 + h * a[1].k_step) * p->kernel[2] +
                                   a[2].k0 + w * a[2].k_step) * channels;
                if (t.n == MAX_RUNS) {
                    run(&t, r->x, r->call->in[1], r->call->in[2], y, channels, x1 - x0);
                    t.accumulate = 1;
                    t.n = 0;
                }
            }
    if (t.n || !t.accumulate)
        run(&t, r->x, r->call->in[1], r->call->in[2], y, channels, x1 - x0);
}

/* One phase of a row: with a tile for kernel rows of this width all pixels at once, else spans of pixels with equal taps. */
static void run_columns(row *r)
{
    const epl_conv_problem *p = r->p;
    const epl_conv_axis *a = &r->axis[2];
    pixels_fn *wide = pixels_for(a->taps, a->tap_step, p->step[2]);
    if (wide && a->off > -a->taps && (a->count - 1) * p->step[2] + a->off < p->src[2]) { // all pixels see some of the source
        r->first[2] = 0;
        r->last[2] = a->taps;
        run_span(r, 0, a->count, a->taps, wide);
        return;
    }
    for (int64_t x0 = 0, x1; x0 < a->count; x0 = x1) {
        int64_t first, last;
        epl_conv_valid_taps(p, 2, a, x0, &r->first[2], &r->last[2]);
        for (x1 = x0 + 1; x1 < a->count; x1++) {
            epl_conv_valid_taps(p, 2, a, x1, &first, &last);
            if (first != r->first[2] || last != r->last[2])
                break;
        }
        run_span(r, x0, x1, 1, pixels_1_1);
    }
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
        if (r.axis[2].count > 0)
            run_columns(&r);
    }
}

static int64_t count_pieces(const epl_conv_problem *p)
{
    const int64_t rows = p->n * p->dst[0] * p->dst[1], floats = rows * p->dst[2] * p->groups;
    const int64_t want = epl_want_pieces((double)floats * (double)(p->kernel[0] * p->kernel[1] * p->kernel[2]));
    return epl_even_blocks(epl_max(want, epl_ceil_div(floats, PIECE_FLOATS)), rows);
}

static void run(const epl_conv_problem *p, const epl_call *call, int64_t begin, int64_t end)
{
    const int64_t pieces = count_pieces(p), rows = p->n * p->dst[0] * p->dst[1];
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t row0 = epl_block_begin(rows, pieces, piece), row1 = epl_block_begin(rows, pieces, piece + 1);
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

/* Some output rows and the source rows that they meet at one kernel row; `line` on from there, at the next one. */
typedef struct pairs {
    int64_t n, x[BLOCK_ROWS], dy[BLOCK_ROWS]; /* offsets of the rows' first channels */
    int64_t pixels, columns, channels;        /* of an output row; of a source row */
    int64_t stride, dilation, line;
} pairs;

/* dw[r][k] += sum over pixels of x * dy for n <= VL channels, `height` kernel rows and `width` taps of each, which meet at each
 * pixel together; `off` is the column of the first tap at pixel 0. */
VEC_INLINE void gradient(const pairs *t, const float *x, const float *dy, int64_t off, float *dw, int64_t n, const int height,
                         const int width, const int stride, const int full)
{
    enum { AT_ONCE = 4 };
    const int sets = height == 1 ? 2 : 1; // of sums, against the latency of a multiply-add
    const int64_t step = t->stride, channels = t->channels, column = width == 1 ? step * channels : channels;
    const int64_t end = t->columns - 1 - off - (width - 1) * t->dilation;
    const int64_t x0 = epl_min(t->pixels, off < 0 ? epl_ceil_div(-off, step) : 0); // from here to x1 all taps are inside
    const int64_t x1 = epl_max(x0, epl_min(t->pixels, end < 0 ? 0 : end / step + 1));
    vf sum[2][3][5];
    VEC_UNROLL for (int r = 0; r < height; r++) {
        VEC_UNROLL for (int k = 0; k < width; k++) {
            sum[0][r][k] = channels_load(dw + (r * width + k) * channels, n, full);
            sum[1][r][k] = vset(0.0f);
        }
    }
    for (int64_t i = 0; i < t->n; i++) {
        const float *xr = x + t->x[i], *yr = dy + t->dy[i];
        for (int64_t at = 0; at < t->pixels;) {
            if (at >= x0 && at + AT_ONCE <= x1) {
                const float *xp = xr + (at * step + off) * channels;
                vf d[AT_ONCE];
                VEC_UNROLL for (int p = 0; p < AT_ONCE; p++) {
                    d[p] = channels_load(yr + (at + p) * channels, n, full);
                }
                VEC_UNROLL for (int r = 0; r < height; r++, xp += t->line) {
                    VEC_UNROLL for (int c = 0; c < (AT_ONCE - 1) * stride + width; c++) {
                        const vf xv = channels_load(xp + c * column, n, full);
                        VEC_UNROLL for (int k = 0; k < width; k++) {
                            if ((c - k) % stride == 0 && c >= k && (c - k) / stride < AT_ONCE)
                                sum[(c - k) / stride % sets][r][k] += xv * d[(c - k) / stride];
                        }
                    }
                }
                at += AT_ONCE;
                continue;
            }
            const vf d = channels_load(yr + at * channels, n, full);
            VEC_UNROLL for (int k = 0; k < width; k++) {
                const int64_t from = at * step + off + k * t->dilation;
                if (from < 0 || from >= t->columns)
                    continue;
                VEC_UNROLL for (int r = 0; r < height; r++) {
                    sum[0][r][k] += channels_load(xr + r * t->line + from * channels, n, full) * d;
                }
            }
            at++;
        }
    }
    VEC_UNROLL for (int r = 0; r < height; r++) {
        VEC_UNROLL for (int k = 0; k < width; k++) {
            const vf all = sum[0][r][k] + sum[1][r][k];
            if (full)
                vstore(dw + (r * width + k) * channels, all);
            else
                vstore_part(dw + (r * width + k) * channels, all, n);
        }
    }
}

#define GRADIENTS(F) F(1, 1, 1) F(1, 3, 1) F(1, 3, 2) F(3, 3, 1) F(3, 3, 2) F(1, 5, 1) F(1, 5, 2)
#define DEFINE_GRADIENT(height, width, stride)                                                                                     \
    static void gradient_##height##_##width##_##stride(const pairs *t, const float *x, const float *dy, int64_t off, float *dw)    \
    {                                                                                                                              \
        int64_t c = 0;                                                                                                             \
        for (; c + VL <= t->channels; c += VL)                                                                                     \
            gradient(t, x + c, dy + c, off, dw + c, VL, height, width, stride, 1);                                                 \
        if (c < t->channels)                                                                                                       \
            gradient(t, x + c, dy + c, off, dw + c, t->channels - c, height, width, stride, 0);                                    \
    }
GRADIENTS(DEFINE_GRADIENT)

typedef void gradient_fn(const pairs *t, const float *x, const float *dy, int64_t off, float *dw);

/* For so many kernel rows of so many taps, or NULL. */
static gradient_fn *gradient_for(const epl_conv_problem *p, int64_t rows)
{
#define MATCH_GRADIENT(height, width, s)                                                                       \
    if (width > 1 && rows == height && p->kernel[2] == width && p->dilation[2] == 1 && p->stride[2] == s)      \
        return gradient_##height##_##width##_##s;
    GRADIENTS(MATCH_GRADIENT)
    return NULL;
}

/* Whether kernel rows [kh, kh + rows) of output row `index` lie in the source; the offset of the first one. */
static int source_rows(const epl_conv_problem *p, int64_t index, int64_t kd, int64_t kh, int64_t rows, int64_t *offset)
{
    const int64_t oh = index % p->dst[1], od = index / p->dst[1] % p->dst[0], n = index / p->dst[1] / p->dst[0];
    const int64_t d = od * p->stride[0] - p->pad[0] + kd * p->dilation[0];
    const int64_t h = oh * p->stride[1] - p->pad[1] + kh * p->dilation[1];
    *offset = ((n * p->src[0] + d) * p->src[1] + h) * p->src[2] * p->groups;
    return d >= 0 && d < p->src[0] && h >= 0 && h + (rows - 1) * p->dilation[1] < p->src[1];
}

typedef struct gradient_job {
    const epl_conv_problem *p;
    const epl_call *call;
    int64_t row0, row1;       /* output rows, BLOCK_ROWS at most */
    gradient_fn *whole, *one; /* for all kernel rows together, where they are inside; for one; either may be NULL */
} gradient_job;

/* Kernel rows [kh, kh + rows). */
static void gradient_rows(const gradient_job *j, int64_t kd, int64_t kh, int64_t rows, float *dw)
{
    const epl_conv_problem *p = j->p;
    gradient_fn *f = rows > 1 ? j->whole : j->one ? j->one : gradient_1_1_1;
    const int64_t taps = p->kernel[2], each = j->one ? taps : 1;
    int64_t whole;
    pairs t;
    t.n = 0;
    t.pixels = p->dst[2];
    t.columns = p->src[2];
    t.channels = p->groups;
    t.stride = p->stride[2];
    t.dilation = p->dilation[2];
    t.line = p->dilation[1] * p->src[2] * p->groups;
    for (int64_t i = j->row0; i < j->row1; i++)
        if (source_rows(p, i, kd, kh, rows, &t.x[t.n]) &&
            (rows > 1 || !j->whole || !source_rows(p, i, kd, 0, p->kernel[1], &whole)))
            t.dy[t.n++] = i * p->dst[2] * p->groups;
    for (int64_t k = 0; k < taps && t.n; k += each)
        f(&t, j->call->in[0], j->call->in[1], k * p->dilation[2] - p->pad[2], dw + (kh * taps + k) * p->groups);
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
    const int64_t plane = p.kernel[1] * p.kernel[2] * p.groups, part = p.kernel[0] * plane;
    const int64_t block = epl_min(BLOCK_ROWS, epl_max(1, BLOCK_FLOATS / epl_max(1, p.dst[2] * p.groups)));
    gradient_job j = { .p = &p, .call = call, .one = gradient_for(&p, 1) };
    j.whole = p.kernel[1] > 1 ? gradient_for(&p, p.kernel[1]) : NULL;
    for (int64_t i = begin; i < end; i++) {
        float *dw = (float *)call->out[0] + i * part;
        memset(dw, 0, (size_t)part * sizeof *dw);
        const int64_t last = epl_block_begin(rows, splits, i + 1);
        for (j.row0 = epl_block_begin(rows, splits, i); j.row0 < last; j.row0 = j.row1) {
            j.row1 = epl_min(j.row0 + block, last);
            for (int64_t kd = 0; kd < p.kernel[0]; kd++) {
                if (j.whole)
                    gradient_rows(&j, kd, 0, p.kernel[1], dw + kd * plane);
                for (int64_t kh = 0; kh < p.kernel[1]; kh++)
                    gradient_rows(&j, kd, kh, 1, dw + kd * plane);
            }
        }
    }
}
