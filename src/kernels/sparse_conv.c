/* Convolution with unstructured sparse weights, 1 and 2 spatial axes; with a kernel of 1 also a sparse linear layer.
 *
 * After "Fast sparse convnets" (Elsen et al. 2020): the piece's source is transposed so that neighbouring pixels of one
 * channel lie side by side; then a non-zero weight costs one multiply-add per vector of pixels, with no look-up per element.
 * Rows keep a common pitch, so a tile of pixels runs over the ends of rows; what it computes there is not stored. A stride
 * splits the columns and rows by their remainder, which makes every tap a plain shift again.
 *
 * Weights come as lists per output channel: `start` [m + 1], and for each non-zero its index (kh * KW + kw) * C + c and its
 * value. A piece is a band of output rows of one image (all images, if the kernel is 1x1). */
#include "kernels/chain.h"
#include "kernels/kernels.h"
#include "kernels/micro.h"

EPL_KERNEL(sparse_conv);

enum {
    TILE = 4,                  /* vectors of pixels: with four sums an addition's latency is hidden */
    SOURCE_FLOATS = 12 * 1024, /* of the transposed source, if one tile allows: 48 KB */
    BLOCK = VL                 /* output channels transposed back together */
};

typedef struct plan {
    epl_sparse_conv_params p;
    int64_t rows, blocks;        /* output rows of a piece, pieces of an image */
    int64_t src_h, src_w;        /* the padded source of a piece */
    int64_t pitch, plane;        /* of one remainder and channel: pixels of a row, floats with the overrun of a tile */
    int64_t taps;                /* kh * kw * c */
} plan;

static plan with_rows(const epl_sparse_conv_params *p, int64_t rows)
{
    plan l = { .p = *p, .rows = rows, .taps = p->kh * p->kw * p->c };
    l.blocks = epl_ceil_div(p->oh, rows);
    l.src_h = (rows - 1) * p->sh + (p->kh - 1) * p->dh + 1;
    l.src_w = (p->ow - 1) * p->sw + (p->kw - 1) * p->dw + 1;
    l.pitch = epl_ceil_div(l.src_w, p->sw);
    l.plane = epl_ceil_div(l.src_h, p->sh) * l.pitch + TILE * VL;
    return l;
}

static plan make_plan(const epl_sparse_conv_params *params)
{
    epl_sparse_conv_params p = *params;
    if (p.kh * p.kw * p.sh * p.sw == 1 && p.ph + p.pw == 0 && p.oh == p.h && p.ow == p.w) { // all pixels alike
        p.h = p.oh = p.n * p.h;
        p.n = 1;
    }
    plan l = with_rows(&p, 1);
    const int64_t planes = p.sh * p.sw * p.c;
    for (int64_t rows = 2; rows <= p.oh; rows++) {
        const plan next = with_rows(&p, rows);
        const int64_t pixels = rows * next.pitch, whole = TILE * VL;
        if (pixels > whole && (next.plane * planes > SOURCE_FLOATS || pixels % whole))
            break;
        l = next;
    }
    return l;
}

/* ---- transposition of VL x VL ---- */

#if VL == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VL == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

/* Interleaving the halves log2(VL) times turns rows into columns. */
VEC_INLINE void transpose(vf v[VL])
{
    vf t[VL];
    VEC_UNROLL for (int stage = 1; stage < VL; stage *= 2) {
        VEC_UNROLL for (int i = 0; i < VL / 2; i++) {
            t[2 * i] = __builtin_shufflevector(v[i], v[i + VL / 2], LOW);
            t[2 * i + 1] = __builtin_shufflevector(v[i], v[i + VL / 2], HIGH);
        }
        VEC_UNROLL for (int i = 0; i < VL; i++) {
            v[i] = t[i];
        }
    }
}

/* from[row * from_row + col], rows x cols, into to[col * to_row + row]; each row of `to` is written in whole vectors, with
 * zeros after the last. */
static void transpose_out(const float *from, int64_t from_row, int64_t rows, int64_t cols, float *to, int64_t to_row)
{
    for (int64_t r = 0; r < rows; r += VL)
        for (int64_t c = 0; c < cols; c += VL) {
            const int64_t nr = epl_min(rows - r, VL), nc = epl_min(cols - c, VL);
            vf v[VL];
            VEC_UNROLL for (int i = 0; i < VL; i++) {
                const float *row = from + (r + i) * from_row + c;
                v[i] = i >= nr ? vset(0.0f) : nc == VL ? vload(row) : vload_part(row, nc);
            }
            transpose(v);
            VEC_UNROLL for (int i = 0; i < VL; i++) {
                if (i < nc)
                    vstore(to + (c + i) * to_row + r, v[i]);
            }
        }
}

/* ---- one piece ---- */

/* Source rows of the piece, split by remainder: out[((rh * sw + rw) * c + channel) * plane + row * pitch + column]. */
static void gather_source(const plan *l, const float *image, int64_t row0, int64_t rows, float *out)
{
    const epl_sparse_conv_params *p = &l->p;
    memset(out, 0, (size_t)(p->sh * p->sw * p->c * l->plane) * sizeof *out);
    for (int64_t i = 0; i < (rows - 1) * p->sh + (p->kh - 1) * p->dh + 1; i++) {
        const int64_t h = row0 * p->sh - p->ph + i;
        if (h < 0 || h >= p->h)
            continue;
        for (int64_t rw = 0; rw < p->sw; rw++) {
            // column j of this remainder is source pixel j * sw + rw - pw
            const int64_t first = epl_max(0, epl_ceil_div(epl_max(0, p->pw - rw), p->sw));
            const int64_t last = epl_min(l->pitch, (p->w - 1 + p->pw - rw + p->sw) / p->sw);
            float *to = out + ((i % p->sh * p->sw + rw) * p->c) * l->plane + i / p->sh * l->pitch + first;
            if (last > first)
                transpose_out(image + (h * p->w + first * p->sw + rw - p->pw) * p->c, p->sw * p->c, last - first, p->c, to,
                              l->plane);
        }
    }
}

/* Where the taps' source lies, in floats from the pixel's own place. */
static void list_offsets(const plan *l, int32_t *offset)
{
    const epl_sparse_conv_params *p = &l->p;
    for (int64_t i = 0; i < p->kh; i++)
        for (int64_t j = 0; j < p->kw; j++)
            for (int64_t c = 0; c < p->c; c++) {
                const int64_t h = i * p->dh, w = j * p->dw;
                offset[(i * p->kw + j) * p->c + c] = (int32_t)(((h % p->sh * p->sw + w % p->sw) * p->c + c) * l->plane +
                                                               h / p->sh * l->pitch + w / p->sw);
            }
}

typedef struct weights {
    const float   *value, *bias;
    const int32_t *index, *start, *offset;
} weights;

/* Channels [m0, m0 + count) of a tile of pixels: out[channel][vectors * VL]. */
VEC_INLINE void run_tile(const weights *w, const float *source, int64_t m0, int64_t count, float *out, const int vectors)
{
    for (int64_t m = m0; m < m0 + count; m++) {
        vf sum[TILE];
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            sum[j] = vset(w->bias ? w->bias[m] : 0.0f);
        }
        for (int32_t i = w->start[m]; i < w->start[m + 1]; i++) {
            const float *x = source + w->offset[w->index[i]];
            const vf value = vset(w->value[i]);
            VEC_UNROLL for (int j = 0; j < vectors; j++) {
                sum[j] += value * vload(x + j * VL);
            }
        }
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            vstore(out + (m - m0) * TILE * VL + j * VL, sum[j]);
        }
    }
}

/* Writes the pixels of a tile that exist: pixel q of the band is column q % pitch of row q / pitch. */
static void store_tile(const plan *l, const float *tile, int64_t q0, int64_t q1, int64_t m0, int64_t count, float *y)
{
    const int64_t ow = l->p.ow, m = l->p.m;
    for (int64_t q = q0; q < q1;) {
        const int64_t row = q / l->pitch, column = q % l->pitch, until = epl_min(q1, (row + 1) * l->pitch);
        const int64_t pixels = epl_min(until - q, ow - column);
        float *to = y + (row * ow + column) * m + m0;
        for (int64_t i = 0; i < pixels; i += VL) {
            vf v[VL];
            VEC_UNROLL for (int c = 0; c < VL; c++) {
                v[c] = vload(tile + c * TILE * VL + (q - q0) + i);
            }
            transpose(v);
            VEC_UNROLL for (int j = 0; j < VL; j++) {
                if (i + j < pixels && count == VL)
                    vstore(to + (i + j) * m, v[j]);
                else if (i + j < pixels)
                    vstore_part(to + (i + j) * m, v[j], count);
            }
        }
        q = until;
    }
}

static void run_piece(const plan *l, const epl_call *call, int64_t index, float *scratch)
{
    const epl_sparse_conv_params *p = &l->p;
    const int64_t image = index / l->blocks, row0 = index % l->blocks * l->rows, rows = epl_min(l->rows, p->oh - row0);
    float *source = scratch, *tile = source + p->sh * p->sw * p->c * l->plane;
    int32_t *offset = (int32_t *)(void *)(tile + (BLOCK + 1) * TILE * VL);
    const weights w = { call->in[1], call->in[4], call->in[2], call->in[3], offset };
    float *y = (float *)call->out[0] + (image * p->oh + row0) * p->ow * p->m;
    list_offsets(l, offset);
    gather_source(l, (const float *)call->in[0] + image * p->h * p->w * p->c, row0, rows, source);
    const int64_t pixels = (rows - 1) * l->pitch + p->ow;
    for (int64_t q = 0; q < pixels; q += TILE * VL)
        for (int64_t m = 0; m < p->m; m += BLOCK) {
            const int64_t q1 = epl_min(q + TILE * VL, pixels), count = epl_min(BLOCK, p->m - m);
            if (q1 - q > 2 * VL)
                run_tile(&w, source + q, m, count, tile, 4);
            else if (q1 - q > VL)
                run_tile(&w, source + q, m, count, tile, 2);
            else
                run_tile(&w, source + q, m, count, tile, 1);
            store_tile(l, tile, q, q1, m, count, y);
        }
    const int64_t first = (image * p->oh + row0) * p->ow;
    epl_chain_epilogue(call, first, first + rows * p->ow, 0, p->m);
}

int64_t EPL_K(sparse_conv_pieces)(const void *params)
{
    const plan l = make_plan(params);
    return l.p.n * l.blocks;
}

size_t EPL_K(sparse_conv_scratch)(const void *params)
{
    const plan l = make_plan(params);
    return (size_t)(l.p.sh * l.p.sw * l.p.c * l.plane + (BLOCK + 1) * TILE * VL + l.taps) * sizeof(float);
}

void EPL_K(sparse_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const plan l = make_plan(call->params);
    for (int64_t i = begin; i < end; i++)
        run_piece(&l, call, i, scratch);
}
