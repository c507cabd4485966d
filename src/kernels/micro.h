/* micro: the one building block of all dense linear algebra.
 *
 *     C[rows][cols]  =  (0 | bias | C)  +  sum over taps t, k of  A_t[row][k] * B_t[k][col]
 *
 * A is read by any two strides, so rows may be pixels (convolution), channels (weight gradient, transposed product) or
 * anything else that lies regularly. B is a packed panel: rows of whole vectors, so the last panel of a matrix is padded
 * with zeros by whoever packs. C is read and written exactly, never beyond `cols`. Everything is f32; a low-precision
 * kernel takes the same tile with A and B of its own type and k counted in groups.
 *
 * Zen 4 measures 98-100 % of the FMA peak from 4 x 32 up to 12 x 32 with B in the second cache (a multiply-add of 512 bits
 * has a latency of 4 cycles at one per cycle), so 8 rows suffice and leave registers for the addresses. */
#ifndef EPL_MICRO_H
#define EPL_MICRO_H

#include "kernels/kernel.h"
#include "kernels/vec.h"

#if VL == 16
#define EPL_MR 8
#elif defined(__aarch64__)
#define EPL_MR 8
#else
#define EPL_MR 6 /* 12 sums, 2 of B, 1 of A: 16 registers */
#endif
#define EPL_NR (2 * VL)

typedef struct epl_tile {
    const float   *a, *b;
    float         *c;
    int64_t        a_row, a_col; /* strides of A, in elements */
    int64_t        b_row;        /* stride of B's rows: a whole number of vectors, VL or 2 * VL when packed */
    int64_t        c_row;
    int64_t        k, taps;      /* the reduction: `taps` runs of `k` */
    const int64_t *a_tap;        /* offset of each run in A; NULL if there is one run at a */
    const int64_t *b_tap;        /* offset of each run in B; NULL if the runs follow each other */
    const float   *bias;         /* one value per column, added when not accumulating; may be NULL */
    int64_t        rows, cols;   /* any number of rows, done in tiles of EPL_MR or less; 1 <= cols <= EPL_NR */
    int64_t        accumulate;
} epl_tile;

void EPL_K(micro)(const epl_tile *tile);

/* Columns are packed in panels of EPL_NR, the last one of VL if that holds the rest. */
static inline int64_t epl_panel_width(int64_t cols_left)
{
    return cols_left <= VL ? VL : EPL_NR;
}

/* The columns of a packed matrix: a whole number of vectors. */
static inline int64_t epl_packed_cols(int64_t cols)
{
    return (cols + VL - 1) / VL * VL;
}

static inline int64_t epl_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t epl_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t epl_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- how work is cut into pieces: by shapes alone, never by the number of threads ---- */

/* Pieces that `work` multiply-adds are worth: 2 from 3 us on, 16 from 0.2 ms on. A power of two, so that two, four or eight
 * threads get equal shares; the piece grows with the work, so that what it costs to begin one (packing, copying) stays small. */
static inline int64_t epl_want_pieces(double work)
{
    int64_t want = 1;
    while (want < 16 && work > 50e3 * (double)(4 * want * want))
        want *= 2;
    return want;
}

/* At least `n` blocks, at most `most`: an even number, or one that four divides, if that is possible. */
static inline int64_t epl_even_blocks(int64_t n, int64_t most)
{
    const int64_t even = n <= 2 ? n : (n + 3) / 4 * 4;
    return epl_max(1, even <= most ? even : epl_min(n, most));
}

/* Where block i of `blocks` begins: blocks differ by one at most. */
static inline int64_t epl_block_begin(int64_t count, int64_t blocks, int64_t i)
{
    return count * i / blocks;
}

#endif
