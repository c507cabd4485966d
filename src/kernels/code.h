/* code: 8-bit codes of numbers, in blocks (ops/code.c says what they mean), as the kernels of code.c see them. */
#ifndef EPL_CODE_H
#define EPL_CODE_H

#include "kernels/bandwidth.h"

/* What code_pack makes of a map, once. A number's code counts the thresholds below it. Where to begin to count is known
 * - for scalar code from the upper 16 bits of a number, compared as an unsigned integer in the same order (code_pack.c: rising):
 *   `first` is the code of the least such number, and where every such interval holds one threshold at most (`single`), one
 *   comparison is all;
 * - for vectors from lines (`lined`), if the map is a dynamic one, whose thresholds lie evenly within a decade. Of a = |y|, at least
 *   `least`, piece i begins at the power of two 2^(i-31), and above bend[i] it is piece i + 1. There slope[i] a + start[i], cut to an
 *   integer and at most last[i], is CODE_UNIT times the number of thresholds below a, and CODE_NEAR more. The code is `zero` and
 *   this many more or, for y < 0, less; it is not below 0. Where the integer's rest is below 2 CODE_NEAR, rounding may have made it
 *   wrong, and thresholds have to be looked at;
 * - for short vectors from the same lines by decades (`lined_decades`): decade i, or the one below it, is where the exponent e of a,
 *   with its bias, gives (CODE_DECADE e + CODE_DECADE_0) / 256 cut to i; above bound[i] it is decade i + 1. What is not above
 *   `above_zero` has no threshold below it, what is above `above_last` one more than the last decade's `last`. */
enum { CODE_PIECES = 32, CODE_UNIT = 65536, CODE_NEAR = 16, CODE_DECADE = 77, CODE_DECADE_0 = 7 * 256 - 124 * CODE_DECADE };

typedef struct epl_code_decades {
    float   bound[8], slope[8], start[8];
    int32_t last[8];
    float   least, above_zero, above_last, unused;
} epl_code_decades;

typedef struct epl_code_table {
    uint32_t threshold[256]; /* more than threshold[k]: the code is more than k; nothing is more than the last */
    float    limit[256];     /* the same as numbers; the last is infinity */
    float    bend[CODE_PIECES], slope[CODE_PIECES], start[CODE_PIECES];
    int32_t  last[CODE_PIECES];
    float    least;
    int32_t  zero, lined, lined_decades, single, unused[11];
    epl_code_decades decade;
    uint8_t  first[65536];
} epl_code_table;

#endif
