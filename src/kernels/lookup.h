/* lookup: tables in registers, where they fit and the machine has shuffles enough (EPL_VEC_LOOKUP): faster than a load for each
 * lane. Beside vec.h, as it names intrinsics that only kernels of codes need. */
#ifndef EPL_LOOKUP_H
#define EPL_LOOKUP_H

#include "kernels/vec.h"

VEC_INLINE vi vimax(vi a, vi b)
{
#if EPL_VEC_AVX512
    return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif EPL_VEC_AVX2
    return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    const vi more = a > b;
    return (a & more) | (b & ~more);
#endif
}

#if EPL_VEC_AVX512
#define EPL_VEC_LOOKUP 1

/* Of bytes: as integers of 32 bits, and the lowest eight of each back. gcc 12 makes a load for each lane of a conversion's. */
VEC_INLINE vi viload_bytes(const uint8_t *p)
{
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

VEC_INLINE void vistore_bytes(uint8_t *p, vi v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
}

typedef struct vtable { /* 256 numbers: the lower and the upper halves of their bits, 32 to a vector */
    __m512i half[2][8];
} vtable;

/* table[i % 32]. */
VEC_INLINE vf vlookup32(const vf table[2], vi i)
{
    return (vf)_mm512_permutex2var_ps((__m512)table[0], (__m512i)i, (__m512)table[1]);
}

VEC_INLINE vtable vtable_of(const float *numbers)
{
    const __m512i even = (__m512i)(vlanes() * 0x00040004 + 0x00020000), odd = (__m512i)((vi)even + 0x00010001);
    vtable t;
    VEC_UNROLL for (int i = 0; i < 8; i++) {
        const __m512i a = (__m512i)vload(numbers + 32 * i), b = (__m512i)vload(numbers + 32 * i + 16);
        t.half[0][i] = _mm512_permutex2var_epi16(a, even, b);
        t.half[1][i] = _mm512_permutex2var_epi16(a, odd, b);
    }
    return t;
}

/* One half of the bits of numbers[i]: four shuffles of 64 entries, of which bits 6 and 7 of i choose. */
VEC_INLINE __m512i vtable_half(const __m512i half[8], __m512i i, __mmask32 bit6, __mmask32 bit7)
{
    const __m512i a = _mm512_permutex2var_epi16(half[0], i, half[1]), b = _mm512_permutex2var_epi16(half[2], i, half[3]);
    const __m512i c = _mm512_permutex2var_epi16(half[4], i, half[5]), d = _mm512_permutex2var_epi16(half[6], i, half[7]);
    return _mm512_mask_blend_epi16(bit7, _mm512_mask_blend_epi16(bit6, a, b), _mm512_mask_blend_epi16(bit6, c, d));
}

/* numbers[i] for the lanes of two vectors, 0 <= i < 256: packing and unpacking mix the two in the same order. */
VEC_INLINE void vlookup256(const vtable *t, const vi i[2], vf to[2])
{
    const __m512i   both = _mm512_packus_epi32((__m512i)i[0], (__m512i)i[1]);
    const __mmask32 bit6 = _mm512_test_epi16_mask(both, _mm512_set1_epi16(64)), bit7 = _mm512_test_epi16_mask(both, _mm512_set1_epi16(128));
    const __m512i   low = vtable_half(t->half[0], both, bit6, bit7), high = vtable_half(t->half[1], both, bit6, bit7);
    to[0] = (vf)_mm512_unpacklo_epi16(low, high);
    to[1] = (vf)_mm512_unpackhi_epi16(low, high);
}
#endif

#endif
