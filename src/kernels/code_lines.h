/* code_lines: vectors of numbers to 8-bit codes by the lines of code.h, where the machine has the shuffles for it:
 * pieces by powers of two in tables of 32 (AVX-512), or by decades in tables of 8 (AVX2). */
#ifndef EPL_CODE_LINES_H
#define EPL_CODE_LINES_H

#include "kernels/code.h"
#include "kernels/lookup.h"

enum { SIDE = 4 }; /* vectors side by side: each alone waits for itself longer than a machine looks ahead */

#define EACH VEC_UNROLL for (int i = 0; i < SIDE; i++)

#if EPL_VEC_AVX512
#define EPL_VEC_LINES 1
#define EPL_LINED(t) ((t)->lined)

typedef struct code_lines {
    vf bend[2], slope[2], start[2];
    vi last[2];
    vf least, inverse;
    int zero;
} code_lines;

static inline code_lines lines_of(const epl_code_table *t, float inverse)
{
    code_lines l = { .zero = t->zero, .least = vset(t->least), .inverse = vset(inverse) };
    for (int i = 0; i < 2; i++) {
        l.bend[i]  = vload(t->bend + i * VL);
        l.slope[i] = vload(t->slope + i * VL);
        l.start[i] = vload(t->start + i * VL);
        l.last[i]  = viload(t->last + i * VL);
    }
    return l;
}

/* Codes of SIDE vectors. Returns a bit for each element that is to be looked at. */
VEC_INLINE uint64_t guess(const code_lines *l, const float *x, uint8_t *codes)
{
    vf y[SIDE], clipped[SIDE];
    vi k[SIDE], n[SIDE];
    vzeros near[SIDE];
    EACH y[i] = vload(x + i * VL) * l->inverse;
    EACH clipped[i] = vfmax(vabs(y[i]), l->least);
    EACH k[i] = vbits(clipped[i]) >> 23;
    EACH k[i] = vadd_above(k[i], vabs(y[i]), vlookup32(l->bend, k[i]));
    EACH n[i] = vtoint(clipped[i] * vlookup32(l->slope, k[i]) + vlookup32(l->start, k[i]));
    EACH near[i] = vzeros_of(n[i], CODE_UNIT - 2 * CODE_NEAR);
    EACH n[i] = vimin(n[i], vilookup32(l->last, k[i]));
    vstore_signed4(codes, n, y, l->zero);
    return vzeros4(near);
}
#elif EPL_VEC_AVX2
#define EPL_VEC_LINES 1
#define EPL_LINED(t) ((t)->lined_decades)

typedef struct code_lines {
    vf bound, slope, start, least, inverse, above_zero, above_last;
    vi last, zero;
} code_lines;

static inline code_lines lines_of(const epl_code_table *t, float inverse)
{
    return (code_lines){ .bound = vload(t->decade.bound), .slope = vload(t->decade.slope), .start = vload(t->decade.start),
                         .last = viload(t->decade.last), .least = vset(t->decade.least), .inverse = vset(inverse),
                         .above_zero = vset(t->decade.above_zero), .above_last = vset(t->decade.above_last), .zero = vseti(t->zero) };
}

VEC_INLINE uint64_t guess(const code_lines *l, const float *x, uint8_t *codes)
{
    vf y[SIDE], size[SIDE], clipped[SIDE];
    vi k[SIDE], n[SIDE];
    uint64_t near = 0;
    EACH y[i] = vload(x + i * VL) * l->inverse;
    EACH size[i] = vabs(y[i]);
    EACH clipped[i] = vfmax(size[i], l->least);
    EACH k[i] = (vimul16(vbits(clipped[i]) >> 23, CODE_DECADE) + CODE_DECADE_0) >> 8;
    EACH k[i] -= size[i] > vlookup8(l->bound, k[i]);
    EACH n[i] = vtoint(clipped[i] * vlookup8(l->slope, k[i]) + vlookup8(l->start, k[i]));
    EACH near |= (uint64_t)vsigns((n[i] & vseti(CODE_UNIT - 2 * CODE_NEAR)) == vseti(0)) << i * VL;
    EACH n[i] = (vimin(n[i], vilookup8(l->last, k[i])) >> 16) - (size[i] > l->above_last);
    EACH n[i] &= size[i] > l->above_zero;
    EACH k[i] = vbits(y[i]) >> 31;
    EACH k[i] = (n[i] ^ k[i]) + (l->zero - k[i]);
    vstore_bytes4(codes, k);
    return near;
}
#else
#define EPL_VEC_LINES 0
#define EPL_LINED(t) 0
#endif

#endif
