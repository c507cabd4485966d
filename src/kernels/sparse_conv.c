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
    TILE = 4,                  /* vectors of pixels: enough sums to hide an addition's latency, few enough for the first cache */
    SOURCE_FLOATS = 16 * 1024  /* of the transposed source, if one row allows: 64 KB */
};

typedef struct plan {
    epl_sparse_conv_params p;
    int64_t pointwise;
    int64_t rows, blocks;        /* output rows of a piece, pieces of an image */
    int64_t src_h;               /* the padded source rows of a piece */
    int64_t pitch, plane;        /* of one remainder and channel: floats of a row, of all its rows */
    int64_t taps;                /* kh * kw * c */
} plan;

static plan with_rows(const epl_sparse_conv_params *p, int64_t rows)
{
    plan l = { .p = *p, .rows = rows, .taps = p->kh * p->kw * p->c };
    l.blocks = epl_ceil_div(p->oh, rows);
    l.src_h = (rows - 1) * p->sh + (p->kh - 1) * p->dh + 1;
    l.pitch = epl_ceil_div((p->ow - 1) * p->sw + (p->kw - 1) * p->dw + 1, p->sw);
    l.plane = epl_ceil_div(l.src_h, p->sh) * l.pitch;
    return l;
}

/* As many rows as fit. Those of a pointwise convolution are pixels, and a piece is one tile or half of one. */
static plan make_plan(const epl_sparse_conv_params *params)
{
    epl_sparse_conv_params p = *params;
    if (p.kh * p.kw * p.sh * p.sw == 1 && p.ph + p.pw == 0 && p.oh == p.h && p.ow == p.w) {
        p.h = p.oh = p.n * p.h * p.w;
        p.n = p.w = p.ow = 1;
        int64_t pixels = TILE * VL;
        while (pixels > 2 * VL && p.c * pixels > SOURCE_FLOATS)
            pixels /= 2;
        pixels = epl_ceil_div(p.h, epl_ceil_div(p.h, pixels));
        plan l = with_rows(&p, epl_min(p.h, epl_ceil_div(pixels, VL) * VL));
        l.pointwise = 1;
        return l;
    }
    plan l = with_rows(&p, 1);
    for (int64_t rows = 2; rows <= p.oh; rows++) {
        const plan next = with_rows(&p, rows);
        if (next.plane * p.sh * p.sw * p.c > SOURCE_FLOATS && l.rows * l.pitch >= 3 * VL)
            break;
        l = next;
    }
    return l;
}

static int64_t source_floats(const plan *l)
{
    return l->p.sh * l->p.sw * l->p.c * l->plane + TILE * VL; // a tile may read beyond the last plane
}

/* ---- transposition of VL x VL ---- */

/* Exchanges the off-diagonal quarters of 2 x 2 blocks of side `STEP` lanes, in place; after steps 1, 2, .. VL/2 rows are columns. */
#define EXCHANGE(STEP, FIRST, SECOND)                                      \
    VEC_UNROLL for (int i = 0; i < VL; i++) {                              \
        if (!(i & STEP)) {                                                 \
            const vf a = v[i], b = v[i + STEP];                            \
            v[i] = __builtin_shufflevector(a, b, FIRST);                   \
            v[i + STEP] = __builtin_shufflevector(a, b, SECOND);           \
        }                                                                  \
    }
#define LANES(...) __VA_ARGS__

VEC_INLINE void transpose(vf v[VL])
{
#if VL == 16
    EXCHANGE(1, LANES(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
             LANES(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
    EXCHANGE(2, LANES(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
             LANES(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    EXCHANGE(4, LANES(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
             LANES(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    EXCHANGE(8, LANES(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
             LANES(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#elif VL == 8
    EXCHANGE(1, LANES(0, 8, 2, 10, 4, 12, 6, 14), LANES(1, 9, 3, 11, 5, 13, 7, 15))
    EXCHANGE(2, LANES(0, 1, 8, 9, 4, 5, 12, 13), LANES(2, 3, 10, 11, 6, 7, 14, 15))
    EXCHANGE(4, LANES(0, 1, 2, 3, 8, 9, 10, 11), LANES(4, 5, 6, 7, 12, 13, 14, 15))
#else
    EXCHANGE(1, LANES(0, 4, 2, 6), LANES(1, 5, 3, 7))
    EXCHANGE(2, LANES(0, 1, 4, 5), LANES(2, 3, 6, 7))
#endif
}

/* A whole block of from[row * from_row + col] into to[col * to_row + row]. */
static void transpose_whole(const float *from, int64_t from_row, float *to, int64_t to_row)
{
    vf v[VL];
    VEC_UNROLL for (int i = 0; i < VL; i++) {
        v[i] = vload(from + i * from_row);
    }
    transpose(v);
    VEC_UNROLL for (int i = 0; i < VL; i++) {
        vstore(to + i * to_row, v[i]);
    }
}

/* The same of rows x cols <= VL x VL. */
static void transpose_part(const float *from, int64_t from_row, int64_t rows, int64_t cols, float *to, int64_t to_row)
{
    vf v[VL];
    VEC_UNROLL for (int i = 0; i < VL; i++) {
        v[i] = i < rows ? vload_part(from + i * from_row, cols) : vset(0.0f);
    }
    transpose(v);
    VEC_UNROLL for (int i = 0; i < VL; i++) {
        if (i < cols)
            vstore_part(to + i * to_row, v[i], rows);
    }
}

static void transpose_out(const float *from, int64_t from_row, int64_t rows, int64_t cols, float *to, int64_t to_row)
{
    for (int64_t r = 0; r < rows; r += VL)
        for (int64_t c = 0; c < cols; c += VL) {
            const float *block = from + r * from_row + c;
            float *out = to + c * to_row + r;
            if (rows - r >= VL && cols - c >= VL)
                transpose_whole(block, from_row, out, to_row);
            else
                transpose_part(block, from_row, epl_min(rows - r, VL), epl_min(cols - c, VL), out, to_row);
        }
}

/* ---- one piece ---- */

/* Source rows of the piece, split by remainder: out[((rh * sw + rw) * c + channel) * plane + row * pitch + column]. */
static void gather_source(const plan *l, const float *image, int64_t row0, int64_t rows, float *out)
{
    const epl_sparse_conv_params *p = &l->p;
    if (l->pointwise) {
        transpose_out(image + row0 * p->c, p->c, rows, p->c, out, l->plane);
        return;
    }
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
    const int32_t *order; /* the output channels, by their number of non-zeros: a loop's length is then foreseen */
} weights;

/* Counting sort; `first` has room for taps + 2. */
static void list_order(const plan *l, const int32_t *start, int32_t *order, int32_t *first)
{
    memset(first, 0, (size_t)(l->taps + 2) * sizeof *first);
    for (int64_t m = 0; m < l->p.m; m++)
        first[start[m + 1] - start[m] + 1]++;
    for (int64_t i = 0; i < l->taps; i++)
        first[i + 1] += first[i];
    for (int64_t m = 0; m < l->p.m; m++)
        order[first[start[m + 1] - start[m]]++] = (int32_t)m;
}

/* All channels of a tile of pixels: out[channel][TILE * VL]. */
VEC_INLINE void run_tile(const weights *w, const float *source, int64_t channels, float *out, const int vectors)
{
    for (int64_t at = 0; at < channels; at++) {
        const int64_t m = w->order[at];
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
            vstore(out + m * TILE * VL + j * VL, sum[j]);
        }
    }
}

/* Writes the pixels of a tile that exist: pixel q of the band is column q % pitch of row q / pitch. */
static void store_tile(const plan *l, const float *tile, int64_t q0, int64_t q1, int64_t m0, int64_t count, float *y)
{
    const int64_t m = l->p.m, ow = l->pointwise ? q1 : l->p.ow, pitch = l->pointwise ? q1 : l->pitch;
    for (int64_t q = q0; q < q1;) {
        const int64_t row = q / pitch, column = q % pitch, pixels = epl_min(q1 - q, ow - column);
        if (pixels > 0)
            transpose_out(tile + (q - q0), TILE * VL, count, pixels, y + (row * ow + column) * m + m0, m);
        q = epl_min(q1, (row + 1) * pitch);
    }
}

#define DEFINE(vectors)                                                                               \
    static void run_tile_##vectors(const weights *w, const float *source, int64_t channels, float *out) \
    {                                                                                                 \
        run_tile(w, source, channels, out, vectors);                                                  \
    }
DEFINE(1) DEFINE(2) DEFINE(3) DEFINE(4)

static void run_piece(const plan *l, const epl_call *call, const weights *w, int64_t index, float *source, float *tile)
{
    static void (*const variants[TILE])(const weights *, const float *, int64_t, float *) = {
        run_tile_1, run_tile_2, run_tile_3, run_tile_4,
    };
    const epl_sparse_conv_params *p = &l->p;
    const int64_t image = index / l->blocks, row0 = index % l->blocks * l->rows, rows = epl_min(l->rows, p->oh - row0);
    const int64_t first = (image * p->oh + row0) * p->ow, pixels = (rows - 1) * l->pitch + p->ow;
    float *y = (float *)call->out[0] + first * p->m;
    gather_source(l, (const float *)call->in[0] + image * p->h * p->w * p->c, row0, rows, source);
    const int64_t tiles = epl_ceil_div(pixels, TILE * VL), each = epl_ceil_div(epl_ceil_div(pixels, tiles), VL) * VL;
    for (int64_t q = 0; q < pixels; q += each) {
        const int64_t q1 = epl_min(q + each, pixels);
        variants[epl_ceil_div(q1 - q, VL) - 1](w, source + q, p->m, tile);
        for (int64_t m = 0; m < p->m; m += VL)
            store_tile(l, tile + m * TILE * VL, q, q1, m, epl_min(VL, p->m - m), y);
    }
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
    return (size_t)(source_floats(&l) + l.p.m * TILE * VL + 2 * l.taps + 2 + l.p.m) * sizeof(float);
}

void EPL_K(sparse_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const plan l = make_plan(call->params);
    float *source = scratch, *tile = source + source_floats(&l);
    int32_t *offset = (int32_t *)(void *)(tile + l.p.m * TILE * VL), *order = offset + l.taps;
    const weights w = { call->in[1], call->in[4], call->in[2], call->in[3], offset, order };
    list_offsets(&l, offset);
    list_order(&l, w.start, order, order + l.p.m);
    for (int64_t i = begin; i < end; i++)
        run_piece(&l, call, &w, i, source, tile);
}
