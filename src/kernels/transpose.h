/* transpose: squares of floats turned around, from a panel whose lanes are pixels to pixels of channels and back. */
#ifndef EPL_TRANSPOSE_H
#define EPL_TRANSPOSE_H

#include "kernels/micro.h"

enum { EPL_SIDE = VL >= 8 ? 8 : 4 }; /* of a square */

typedef float epl_row_vector __attribute__((vector_size(EPL_SIDE * 4)));
typedef float epl_quad __attribute__((vector_size(16)));

#if VL >= 8
#define EPL_LOWER(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define EPL_UPPER(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define EPL_LOWER_PAIRS(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define EPL_UPPER_PAIRS(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define EPL_LOWER(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define EPL_UPPER(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define EPL_LOWER_PAIRS(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define EPL_UPPER_PAIRS(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#endif

/* Four elements of row i, and where a vector holds eight, of row i + 4 behind them. */
VEC_INLINE epl_row_vector epl_load_rows(const float *const *row, int i, int64_t at)
{
    epl_quad first;
    memcpy(&first, row[i] + at, sizeof first);
#if VL >= 8
    epl_quad second;
    memcpy(&second, row[i + 4] + at, sizeof second);
    return __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7);
#else
    return first;
#endif
}

/* to[column * to_row + i] = row[i][at + column], of the first `columns` columns. */
VEC_INLINE void epl_turn_square(const float *const row[EPL_SIDE], int64_t at, float *to, int64_t to_row, int64_t columns)
{
    VEC_UNROLL for (int c = 0; c < EPL_SIDE; c += 4) {
        const epl_row_vector a = epl_load_rows(row, 0, at + c), b = epl_load_rows(row, 1, at + c);
        const epl_row_vector d = epl_load_rows(row, 2, at + c), e = epl_load_rows(row, 3, at + c);
        const epl_row_vector ab = EPL_LOWER(a, b), de = EPL_LOWER(d, e), ab2 = EPL_UPPER(a, b), de2 = EPL_UPPER(d, e);
        const epl_row_vector out[4] = { EPL_LOWER_PAIRS(ab, de), EPL_UPPER_PAIRS(ab, de), EPL_LOWER_PAIRS(ab2, de2),
                                        EPL_UPPER_PAIRS(ab2, de2) };
        VEC_UNROLL for (int i = 0; i < 4; i++) {
            if (c + i < columns)
                memcpy(to + (c + i) * to_row, &out[i], sizeof out[i]);
        }
    }
}

/* y[pixel][channel] = sums[channel][pixel], of `pixels` x `channels`; whole squares of sums are read. */
static inline void epl_store_turned(const float *sums, int64_t sum_row, int64_t pixels, int64_t channels, float *y, int64_t y_row)
{
    for (int64_t q = 0; q < pixels; q += EPL_SIDE, sums += EPL_SIDE, y += EPL_SIDE * y_row) {
        int64_t j = 0;
        for (; j + EPL_SIDE <= channels; j += EPL_SIDE) {
            const float *row[EPL_SIDE];
            VEC_UNROLL for (int i = 0; i < EPL_SIDE; i++) {
                row[i] = sums + (j + i) * sum_row;
            }
            epl_turn_square(row, 0, y + j, y_row, pixels - q);
        }
        for (; j < channels; j++)
            for (int64_t i = 0; i < epl_min(EPL_SIDE, pixels - q); i++)
                y[i * y_row + j] = sums[j * sum_row + i];
    }
}

#endif
