/* The micro-kernel of micro.h: one body, inlined for every height and both widths of a tile so that the sums stay in
 * registers. */
#include "kernels/micro.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
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

VEC_INLINE void micro(const epl_tile *t, const int rows, const int vectors)
{
    const int64_t last = t->cols - (vectors - 1) * VL, a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    vf sum[EPL_MR][2];
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < vectors; j++) {
            const int64_t n = j == vectors - 1 ? last : VL;
            if (t->accumulate)
                sum[i][j] = row_load(t->c + i * t->c_row + j * VL, n);
            else if (t->bias)
                sum[i][j] = row_load(t->bias + j * VL, n);
            else
                sum[i][j] = vset(0.0f);
        }
    }
    const float *b = t->b;
    for (int64_t tap = 0; tap < t->taps; tap++) {
        const float *a = t->a + (t->a_tap ? t->a_tap[tap] : 0);
        if (t->b_tap)
            b = t->b + t->b_tap[tap];
        for (int64_t k = t->k; k > 0; k--, a += a_col, b += b_row) {
            vf bv[2];
            UNROLL for (int j = 0; j < vectors; j++) {
                bv[j] = vload(b + j * VL);
            }
            UNROLL for (int i = 0; i < rows; i++) {
                const vf av = vset(a[i * a_row]);
                UNROLL for (int j = 0; j < vectors; j++) {
                    sum[i][j] += av * bv[j];
                }
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < vectors; j++) {
            row_store(t->c + i * t->c_row + j * VL, sum[i][j], j == vectors - 1 ? last : VL);
        }
    }
}

#if EPL_MR == 8
#define HEIGHTS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8)
#else
#define HEIGHTS(F) F(1) F(2) F(3) F(4) F(5) F(6)
#endif

#define DEFINE(rows)                               \
    static void micro_##rows##_1(const epl_tile *t) \
    {                                              \
        micro(t, rows, 1);                         \
    }                                              \
    static void micro_##rows##_2(const epl_tile *t) \
    {                                              \
        micro(t, rows, 2);                         \
    }
HEIGHTS(DEFINE)

void EPL_K(micro)(const epl_tile *t)
{
#define NAMES(rows) { micro_##rows##_1, micro_##rows##_2 },
    static void (*const variants[EPL_MR][2])(const epl_tile *) = { HEIGHTS(NAMES) };
    variants[t->rows - 1][t->cols > VL](t);
}
