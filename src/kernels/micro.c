/* The micro-kernel of micro.h: one body, inlined for every height and both widths of a tile so that the sums stay in
 * registers. */
#include "kernels/micro.h"

#if EPL_MR == 8
#define HEIGHTS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8)
#else
#define HEIGHTS(F) F(1) F(2) F(3) F(4) F(5) F(6)
#endif

/* Vector j of a row of C, of which only the last may be partial. */
VEC_INLINE vf row_load(const float *p, int64_t n)
{
    return n >= VL ? vload(p) : vload_part(p, n);
}

VEC_INLINE void row_store(float *p, vf v, int64_t n)
{
    if (n >= VL)
        vstore(p, v);
    else
        vstore_part(p, v, n);
}

/* One tile of `rows` x `vectors`, whose A begins at a0 and whose C at c. `full`: the last vector is whole. */
VEC_INLINE void tile(const epl_tile *t, const float *a0, float *c, const int rows, const int vectors, const int full)
{
    const int64_t last = full ? VL : t->cols - (vectors - 1) * VL, a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    vf sum[EPL_MR][2];
    if (t->accumulate) {
        VEC_UNROLL for (int i = 0; i < rows; i++) {
            VEC_UNROLL for (int j = 0; j < vectors; j++) {
                sum[i][j] = row_load(c + i * t->c_row + j * VL, j == vectors - 1 ? last : VL);
            }
        }
    } else {
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            const vf start = t->bias ? row_load(t->bias + j * VL, j == vectors - 1 ? last : VL) : vset(0.0f);
            VEC_UNROLL for (int i = 0; i < rows; i++) {
                sum[i][j] = start;
            }
        }
    }
    const float *b = t->b;
    for (int64_t tap = 0; tap < t->taps; tap++) {
        const float *a = a0 + (t->a_tap ? t->a_tap[tap] : 0);
        if (t->b_tap)
            b = t->b + t->b_tap[tap];
        for (int64_t k = t->k; k > 0; k--, a += a_col, b += b_row) {
            vf bv[2];
            VEC_UNROLL for (int j = 0; j < vectors; j++) {
                bv[j] = vload(b + j * VL);
            }
            VEC_UNROLL for (int i = 0; i < rows; i++) {
                const vf av = vset(a[i * a_row]);
                VEC_UNROLL for (int j = 0; j < vectors; j++) {
                    sum[i][j] += av * bv[j];
                }
            }
        }
    }
    VEC_UNROLL for (int i = 0; i < rows; i++) {
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            row_store(c + i * t->c_row + j * VL, sum[i][j], j == vectors - 1 ? last : VL);
        }
    }
}

/* `count` tiles of the same height from row `first` on. */
VEC_INLINE void tiles(const epl_tile *t, int64_t first, int64_t count, const int rows, const int vectors)
{
    const float *a = t->a + first * t->a_row;
    float *c = t->c + first * t->c_row;
    const int full = t->cols == vectors * VL;
    for (; count > 0; count--, a += rows * t->a_row, c += rows * t->c_row) {
        if (full)
            tile(t, a, c, rows, vectors, 1);
        else
            tile(t, a, c, rows, vectors, 0);
    }
}

#define DEFINE(rows)                                                                  \
    static void tiles_##rows##_1(const epl_tile *t, int64_t first, int64_t count)     \
    {                                                                                 \
        tiles(t, first, count, rows, 1);                                              \
    }                                                                                 \
    static void tiles_##rows##_2(const epl_tile *t, int64_t first, int64_t count)     \
    {                                                                                 \
        tiles(t, first, count, rows, 2);                                              \
    }
HEIGHTS(DEFINE)

/* Tiles as equal as possible, of heights h and h - 1, because a tile of one row wastes most. */
void EPL_K(micro)(const epl_tile *t)
{
#define NAMES(rows) { tiles_##rows##_1, tiles_##rows##_2 },
    static void (*const variants[EPL_MR][2])(const epl_tile *, int64_t, int64_t) = { HEIGHTS(NAMES) };
    if (t->rows <= 0)
        return;
    const int64_t count = epl_ceil_div(t->rows, EPL_MR), height = epl_ceil_div(t->rows, count);
    const int64_t high = t->rows - (height - 1) * count, wide = t->cols > VL;
    variants[height - 1][wide](t, 0, high);
    if (high < count)
        variants[height - 2][wide](t, high * height, count - high);
}
