/* code: 8-bit codes of numbers, in blocks (ops/code.c says what they mean), as the kernels of code.c see them. */
#ifndef EPL_CODE_H
#define EPL_CODE_H

#include "kernels/bandwidth.h"

/* What code_pack makes of a map, once. Numbers are compared as unsigned integers in the same order (code.c: rising). A quotient's
 * code lies at or behind first[its upper 16 bits], and counts the thresholds below it; where every such interval holds one
 * threshold at most (`single`), one comparison is all. */
typedef struct epl_code_table {
    uint32_t threshold[256]; /* more than threshold[k]: the code is more than k; nothing is more than the last */
    uint32_t single, unused[15];
    uint8_t  first[65536];
} epl_code_table;

/* map[256] times a maximum. */
static inline void code_scale_map(const float *map, float most, float to[256])
{
    for (int i = 0; i < 256; i++)
        to[i] = map[i] * most;
}

#endif
