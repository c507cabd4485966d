/* Convolution with unstructured sparse weights, which are known when the program is made; with a kernel of 1 also a sparse linear
 * layer.
 *
 * After "Fast sparse convnets" (Elsen et al. 2020): neighbouring pixels lie side by side in a vector, so a non-zero weight costs
 * one multiply-add per vector of pixels and nothing is looked up per element. A tile of some vectors of output pixels takes the
 * taps (kernel position, channel) in blocks that fit the first cache: the block's source is transposed into panel[tap][pixel],
 * where a tap of any kernel position is an aligned row, and all output channels add their non-zeros of the block to their sums.
 * They do so in groups of lists equally long (sparse.h), so that there are enough independent sums and the ends of loops are few.
 * A piece is a range of tiles. */
#include "kernels/chain.h"
#include "kernels/sparse.h"

EPL_KERNEL(sparse_conv);

enum {
    SIDE = EPL_SPARSE_SIDE, VECTORS = EPL_SPARSE_VECTORS, GROUP = EPL_SPARSE_GROUP, WIDE = EPL_SPARSE_WIDE,
    PIECE_TILES = 4
};

/* ---- transposition of SIDE x SIDE ---- */

typedef float row_vector __attribute__((vector_size(SIDE * 4)));
typedef float quad __attribute__((vector_size(16)));

#if VL >= 8
#define LOWER(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define UPPER(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOWER_PAIRS(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define UPPER_PAIRS(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define LOWER(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define UPPER(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOWER_PAIRS(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define UPPER_PAIRS(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#endif

/* Four elements of row i, and where a vector holds eight, of row i + 4 behind them. */
VEC_INLINE row_vector load_rows(const float *const *row, int i, int64_t at)
{
    quad first;
    memcpy(&first, row[i] + at, sizeof first);
#if VL >= 8
    quad second;
    memcpy(&second, row[i + 4] + at, sizeof second);
    return __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7);
#else
    return first;
#endif
}

/* to[column * to_row + i] = row[i][at + column]. */
VEC_INLINE void transpose_square(const float *const row[SIDE], int64_t at, float *to, int64_t to_row)
{
    VEC_UNROLL for (int c = 0; c < SIDE; c += 4) {
        const row_vector a = load_rows(row, 0, at + c), b = load_rows(row, 1, at + c);
        const row_vector d = load_rows(row, 2, at + c), e = load_rows(row, 3, at + c);
        const row_vector ab = LOWER(a, b), de = LOWER(d, e), ab2 = UPPER(a, b), de2 = UPPER(d, e);
        const row_vector out[4] = { LOWER_PAIRS(ab, de), UPPER_PAIRS(ab, de), LOWER_PAIRS(ab2, de2), UPPER_PAIRS(ab2, de2) };
        VEC_UNROLL for (int i = 0; i < 4; i++) {
            memcpy(to + (c + i) * to_row, &out[i], sizeof out[i]);
        }
    }
}

/* The same of `rows` rows and columns [begin, end): whole squares, and the rest one by one. */
static void transpose(const float *const *row, int64_t rows, int64_t begin, int64_t end, float *to, int64_t to_row)
{
    for (int64_t r = 0; r < rows; r += SIDE) {
        const float *square[SIDE]; // in registers
        VEC_UNROLL for (int i = 0; i < SIDE; i++) {
            square[i] = row[rows - r >= SIDE ? r + i : r];
        }
        int64_t c = begin;
        for (; rows - r >= SIDE && c + SIDE <= end; c += SIDE)
            transpose_square(square, c, to + (c - begin) * to_row + r, to_row);
        for (; c < end; c++)
            for (int64_t i = r; i < rows && i < r + SIDE; i++)
                to[(c - begin) * to_row + i] = row[i][c];
    }
}

/* ---- a tile ---- */

/* The output pixels of a tile: where the window of each begins in the source. */
typedef struct tile {
    int64_t pixels;
    int64_t at[WIDE], d[WIDE], h[WIDE], w[WIDE]; /* `at`: the same as an element of x, of the first channel */
} tile;

/* Where a tile is not full, the last pixel is repeated up to a whole square. */
static void place_tile(const epl_conv_params *p, int64_t first, int64_t pixels, tile *t)
{
    int64_t w = first % p->ow, h = first / p->ow % p->oh, d = first / p->ow / p->oh % p->od, n = first / p->ow / p->oh / p->od;
    t->pixels = epl_ceil_div(pixels, SIDE) * SIDE;
    for (int64_t i = 0; i < t->pixels; i++) {
        t->d[i] = d * p->sd - p->pd, t->h[i] = h * p->sh - p->ph, t->w[i] = w * p->sw - p->pw;
        t->at[i] = (((n * p->d + t->d[i]) * p->h + t->h[i]) * p->w + t->w[i]) * p->c;
        if (i + 1 >= pixels)
            continue;
        if (++w == p->ow)
            w = 0, h++;
        if (h == p->oh)
            h = 0, d++;
        if (d == p->od)
            d = 0, n++;
    }
}

static void place_pointwise(const epl_conv_params *p, int64_t first, int64_t pixels, tile *t)
{
    t->pixels = epl_ceil_div(pixels, SIDE) * SIDE;
    for (int64_t i = 0; i < t->pixels; i++)
        t->at[i] = (first + epl_min(i, pixels - 1)) * p->c;
}

/* The source pixels under a kernel position; `zeros` outside of the image. */
static void find_rows(const epl_conv_params *p, const tile *t, const float *x, int64_t position, const float *zeros, const float **row)
{
    const int64_t w = position % p->kw * p->dw, h = position / p->kw % p->kh * p->dh, d = position / p->kw / p->kh * p->dd;
    const int64_t shift = ((d * p->h + h) * p->w + w) * p->c;
    for (int64_t i = 0; i < t->pixels; i++) {
        const int inside = ((uint64_t)(t->d[i] + d) < (uint64_t)p->d) & ((uint64_t)(t->h[i] + h) < (uint64_t)p->h) &
                           ((uint64_t)(t->w[i] + w) < (uint64_t)p->w);
        const float *const beginning = inside ? x : zeros;
        row[i] = beginning + (inside ? t->at[i] + shift : 0);
    }
}

/* panel[tap - t0][pixel] for the taps [t0, t1). */
static void fill_panel(const epl_conv_params *p, const tile *t, const float *x, int64_t t0, int64_t t1, const float *zeros,
                       float *panel)
{
    const float *row[WIDE];
    for (int64_t tap = t0; tap < t1;) {
        const int64_t c = tap % p->c, until = epl_min(p->c, c + t1 - tap);
        if (epl_conv_is_pointwise(p))
            for (int64_t i = 0; i < t->pixels; i++)
                row[i] = x + t->at[i];
        else
            find_rows(p, t, x, tap / p->c, zeros, row);
        transpose(row, t->pixels, c, until, panel + (tap - t0) * WIDE, WIDE);
        tap += until - c;
    }
}

/* A group's non-zeros of a block; sums[channel][pixel] begin with the bias, or go on. Returns what follows the list. */
VEC_INLINE const float *run_group(const float *list, const float *panel, const float *bias, int64_t m, float *sums, int begin,
                                  const int vectors)
{
    const int32_t *channel = (const int32_t *)(const void *)(list + 1);
    vf sum[GROUP][VECTORS];
    int32_t n;
    memcpy(&n, list, sizeof n);
    list += EPL_SPARSE_HEAD;
    VEC_UNROLL for (int i = 0; i < GROUP; i++) {
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            sum[i][j] = !begin ? vload(sums + channel[i] * WIDE + j * VL) : vset(bias && channel[i] < m ? bias[channel[i]] : 0.0f);
        }
    }
    for (; n > 0; n--, list += 2 * GROUP) {
        VEC_UNROLL for (int i = 0; i < GROUP; i++) {
            uint32_t offset;
            memcpy(&offset, list + 2 * i, sizeof offset);
            const vf value = vset(list[2 * i + 1]);
            VEC_UNROLL for (int j = 0; j < vectors; j++) {
                sum[i][j] += value * vload(panel + offset + j * VL);
            }
        }
    }
    const volatile int32_t *again = channel; // kept, they would take the sums' registers
    VEC_UNROLL for (int i = 0; i < GROUP; i++) {
        float *to = sums + again[i] * WIDE;
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            vstore(to + j * VL, sum[i][j]);
        }
    }
    return list;
}

#define DEFINE(vectors)                                                                                                     \
    static const float *run_block_##vectors(const float *list, const float *panel, const float *bias, int64_t m, float *sums, \
                                            int begin)                                                                      \
    {                                                                                                                       \
        for (int64_t i = 0; i < m; i += GROUP)                                                                              \
            list = run_group(list, panel, bias, m, sums, begin, vectors);                                                   \
        return list;                                                                                                        \
    }
DEFINE(1) DEFINE(2)
#if VL == 16
DEFINE(3) DEFINE(4)
#endif

static const float *run_block(const float *list, const float *panel, const float *bias, int64_t m, float *sums, int begin,
                              int64_t pixels)
{
    static const float *(*const variants[VECTORS])(const float *, const float *, const float *, int64_t, float *, int) = {
        run_block_1, run_block_2,
#if VL == 16
        run_block_3, run_block_4,
#endif
    };
    return variants[epl_ceil_div(pixels, VL) - 1](list, panel, bias, m, sums, begin);
}

/* y[pixel][channel] = sums[channel][pixel]; a line of y is written as a whole. */
static void store_tile(const float *sums, int64_t pixels, int64_t m, float *y)
{
    for (int64_t q = 0; q < pixels; q += SIDE) {
        int64_t j = 0;
        for (; q + SIDE <= pixels && j + SIDE <= m; j += SIDE) {
            const float *row[SIDE];
            VEC_UNROLL for (int i = 0; i < SIDE; i++) {
                row[i] = sums + (j + i) * WIDE;
            }
            transpose_square(row, q, y + q * m + j, m);
        }
        for (; j < m; j++)
            for (int64_t i = q; i < pixels && i < q + SIDE; i++)
                y[i * m + j] = sums[j * WIDE + i];
    }
}

/* ---- pieces ---- */

static int64_t count_pixels(const epl_conv_params *p)
{
    return p->n * p->od * p->oh * p->ow;
}

static int64_t piece_tiles(const epl_conv_params *p)
{
    return epl_max(1, epl_min(PIECE_TILES, epl_ceil_div(count_pixels(p), WIDE) / 16));
}

static void run_piece(const epl_conv_params *p, const epl_call *call, int64_t first, int64_t last, float *scratch)
{
    const int64_t taps = p->kd * p->kh * p->kw * p->c, block = epl_sparse_block(taps), each = (p->m + 1) * WIDE;
    const float *zeros = scratch, *list = (const float *)call->in[1] + 1, *next = list;
    float *panel = scratch + epl_ceil_div(p->c, VL) * VL, *sums = panel + block * WIDE;
    for (int64_t t0 = 0; t0 < taps; t0 += block, list = next)
        for (int64_t q = first; q < last; q += WIDE) {
            const int64_t pixels = epl_min(WIDE, last - q);
            tile t;
            if (epl_conv_is_pointwise(p))
                place_pointwise(p, q, pixels, &t);
            else
                place_tile(p, q, pixels, &t);
            fill_panel(p, &t, call->in[0], t0, epl_min(t0 + block, taps), zeros, panel);
            next = run_block(list, panel, call->in[2], p->m, sums + (q - first) / WIDE * each, t0 == 0, pixels);
        }
    for (int64_t q = first; q < last; q += WIDE)
        store_tile(sums + (q - first) / WIDE * each, epl_min(WIDE, last - q), p->m, (float *)call->out[0] + q * p->m);
    epl_chain_epilogue(call, first, last, 0, p->m);
}

int64_t EPL_K(sparse_conv_pieces)(const void *params)
{
    return epl_ceil_div(count_pixels(params), WIDE * piece_tiles(params));
}

size_t EPL_K(sparse_conv_scratch)(const void *params)
{
    const epl_conv_params *p = params;
    const int64_t taps = p->kd * p->kh * p->kw * p->c;
    return (size_t)(epl_ceil_div(p->c, VL) * VL + (epl_sparse_block(taps) + piece_tiles(p) * (p->m + 1)) * WIDE) * sizeof(float);
}

void EPL_K(sparse_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_conv_params *p = call->params;
    const int64_t each = piece_tiles(p) * WIDE, pixels = count_pixels(p);
    memset(scratch, 0, (size_t)p->c * sizeof(float));
    for (int64_t i = begin; i < end; i++)
        run_piece(p, call, i * each, epl_min((i + 1) * each, pixels), scratch);
}
