/* code: 8-bit codes of numbers, in blocks (ops/code.c says what they mean), as the kernels of code.c see them. */
#ifndef EPL_CODE_H
#define EPL_CODE_H

#include "kernels/bandwidth.h"

/* What code_pack makes of a map, once. A number's code counts the thresholds below it. Where to begin to count is known
 * - for scalar code from the upper 16 bits of a number, compared as an unsigned integer in the same order (code_pack.c: rising):
 *   `first` is the code of the least such number, and where every such interval holds one threshold at most (`single`), one
 *   comparison is all;
 * - for vectors from lines (`lined`), if the map is made of pieces in which values lie evenly: piece i of 32 begins at the magnitude
 *   2^(i-31), and from bend[i] on it is piece i + 1. There slope[i] |y| + start[i] cut to an integer is n, and the code is
 *   zero + n or the next one for y >= 0, zero - n - 1 (at least 0) or the next one for y < 0. */
typedef struct epl_code_table {
    uint32_t threshold[256]; /* more than threshold[k]: the code is more than k; nothing is more than the last */
    float    limit[256];     /* the same as numbers; the last is infinity */
    float    bend[32], slope[32], start[32];
    int32_t  zero, lined, single, unused[13];
    uint8_t  first[65536];
} epl_code_table;

#endif
