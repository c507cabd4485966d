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

/* Bytes as integers of 32 bits. gcc 12 makes a load for each lane of a conversion's. */
VEC_INLINE vi viload_bytes(const uint8_t *p)
{
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

VEC_INLINE vi vimin(vi a, vi b) { return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b); }

/* The greater of two numbers, neither of them NaN. */
VEC_INLINE vf vfmax(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }

/* k + 1 where a > b, else k. */
VEC_INLINE vi vadd_above(vi k, vf a, vf b)
{
    const __mmask16 above = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
    return (vi)_mm512_mask_add_epi32((__m512i)k, above, (__m512i)k, _mm512_set1_epi32(1));
}

/* Which lanes have none of some bits; and a bit for each lane of four vectors. */
typedef __mmask16 vzeros;
VEC_INLINE vzeros vzeros_of(vi v, int32_t bits) { return _mm512_testn_epi32_mask((__m512i)v, _mm512_set1_epi32(bits)); }

VEC_INLINE uint64_t vzeros4(const vzeros z[4])
{
    if (__builtin_expect(_ktestz_mask16_u8(_kor_mask16(z[0], z[1]), _kor_mask16(z[0], z[1])) &&
                         _ktestz_mask16_u8(_kor_mask16(z[2], z[3]), _kor_mask16(z[2], z[3])), 1))
        return 0;
    return z[0] | (uint64_t)z[1] << 16 | (uint64_t)z[2] << 32 | (uint64_t)z[3] << 48;
}

/* Of four vectors of integers n and numbers y: bytes, zero + n / 65536 where y >= 0, else zero - n / 65536, but not below 0. */
VEC_INLINE void vstore_signed4(uint8_t *p, const vi n[4], const vf y[4], int zero)
{
    const __m512i odd = (__m512i)(vlanes() * 0x00040004 + 0x00030001); // upper halves, of the second vector behind those of the first
    const __m512i low = _mm512_permutex2var_epi16((__m512i)n[0], odd, (__m512i)n[1]),
                  high = _mm512_permutex2var_epi16((__m512i)n[2], odd, (__m512i)n[3]);
    const __m512i low_y = _mm512_permutex2var_epi16((__m512i)y[0], odd, (__m512i)y[1]),
                  high_y = _mm512_permutex2var_epi16((__m512i)y[2], odd, (__m512i)y[3]);
    const __m512i size = _mm512_packus_epi16(low, high), from = _mm512_set1_epi8((char)zero);
    const __mmask64 less = _mm512_movepi8_mask(_mm512_packs_epi16(low_y, high_y));
    const __m512i codes = _mm512_mask_subs_epu8(_mm512_add_epi8(from, size), less, from, size);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), codes)); // packed by quarters
}

typedef struct vtable { /* 256 numbers: the lower and the upper halves of their bits, 32 to a vector */
    __m512i half[2][8];
} vtable;

/* table[i % 32]. */
VEC_INLINE vf vlookup32(const vf table[2], vi i)
{
    return (vf)_mm512_permutex2var_ps((__m512)table[0], (__m512i)i, (__m512)table[1]);
}

VEC_INLINE vi vilookup32(const vi table[2], vi i)
{
    return (vi)_mm512_permutex2var_epi32((__m512i)table[0], (__m512i)i, (__m512i)table[1]);
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
/* Where the machine can shuffle bytes of two vectors, 64 numbers at once: a table for each byte of them. */
#define VEC_BYTES static inline __attribute__((target("avx512vbmi"), always_inline))

typedef struct vbytes { /* [byte][64 numbers] */
    __m512i byte[4][4];
} vbytes;

VEC_BYTES vbytes vbytes_of(const float *numbers)
{
    const __m512i first = (__m512i)(vlanes() * 4);
    const __m128i a0 = _mm512_cvtepi32_epi8(first), b0 = _mm512_cvtepi32_epi8(_mm512_add_epi32(first, _mm512_set1_epi32(64)));
    const __m256i both = _mm256_set_m128i(b0, a0); // byte 0 of the numbers of two vectors
    const __m512i low = _mm512_inserti64x4(_mm512_castsi256_si512(both), _mm256_add_epi8(both, _mm256_set1_epi8(1)), 1);
    const __m512i high = _mm512_add_epi8(low, _mm512_set1_epi8(2));
    vbytes t;
    VEC_UNROLL for (int g = 0; g < 4; g++) {
        const __m512i a = (__m512i)vload(numbers + 64 * g), b = (__m512i)vload(numbers + 64 * g + 16);
        const __m512i c = (__m512i)vload(numbers + 64 * g + 32), d = (__m512i)vload(numbers + 64 * g + 48);
        const __m512i ab = _mm512_permutex2var_epi8(a, low, b), cd = _mm512_permutex2var_epi8(c, low, d);
        const __m512i AB = _mm512_permutex2var_epi8(a, high, b), CD = _mm512_permutex2var_epi8(c, high, d);
        t.byte[0][g] = _mm512_shuffle_i64x2(ab, cd, 0x44);
        t.byte[1][g] = _mm512_shuffle_i64x2(ab, cd, 0xee);
        t.byte[2][g] = _mm512_shuffle_i64x2(AB, CD, 0x44);
        t.byte[3][g] = _mm512_shuffle_i64x2(AB, CD, 0xee);
    }
    return t;
}

/* numbers[codes[i]] for 64 codes. */
VEC_BYTES void vlookup_bytes(const vbytes *t, const uint8_t *codes, vf to[4])
{
    const __m512i turned = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); // as unpacking turns it back
    const __m512i c = _mm512_permutexvar_epi32(turned, _mm512_loadu_si512(codes));
    const __mmask64 upper = _mm512_movepi8_mask(c);
    __m512i b[4];
    VEC_UNROLL for (int i = 0; i < 4; i++)
        b[i] = _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(t->byte[i][0], c, t->byte[i][1]),
                                      _mm512_permutex2var_epi8(t->byte[i][2], c, t->byte[i][3]));
    const __m512i low = _mm512_unpacklo_epi8(b[0], b[1]), low2 = _mm512_unpacklo_epi8(b[2], b[3]);
    const __m512i high = _mm512_unpackhi_epi8(b[0], b[1]), high2 = _mm512_unpackhi_epi8(b[2], b[3]);
    to[0] = (vf)_mm512_unpacklo_epi16(low, low2);
    to[1] = (vf)_mm512_unpackhi_epi16(low, low2);
    to[2] = (vf)_mm512_unpacklo_epi16(high, high2);
    to[3] = (vf)_mm512_unpackhi_epi16(high, high2);
}
#elif EPL_VEC_AVX2
VEC_INLINE vi vimin(vi a, vi b) { return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b); }
VEC_INLINE vf vfmax(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); } // neither is NaN

/* Products that fit 16 bits. */
VEC_INLINE vi vimul16(vi a, int32_t b) { return (vi)_mm256_mullo_epi16((__m256i)a, _mm256_set1_epi32(b)); }

/* table[i % 8]. */
VEC_INLINE vf vlookup8(vf table, vi i) { return (vf)_mm256_permutevar8x32_ps((__m256)table, (__m256i)i); }
VEC_INLINE vi vilookup8(vi table, vi i) { return (vi)_mm256_permutevar8x32_epi32((__m256i)table, (__m256i)i); }

/* Bit i: the sign of lane i. */
VEC_INLINE uint32_t vsigns(vi v) { return (uint32_t)_mm256_movemask_ps((__m256)v); }

/* Four vectors as bytes; what is below 0 becomes 0, above 255 becomes 255. */
VEC_INLINE void vstore_bytes4(uint8_t *p, const vi v[4])
{
    const __m256i a = _mm256_packs_epi32((__m256i)v[0], (__m256i)v[1]), b = _mm256_packs_epi32((__m256i)v[2], (__m256i)v[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)p, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
}
#endif

#endif
