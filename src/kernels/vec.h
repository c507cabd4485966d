/* vec: one vector type whose width the instruction set decides, and the few operations that C's own operators on it
 * (+ - * / < & ...) do not give. GCC and Clang vector extensions; the intrinsics below are masked loads and stores, square
 * root, minimum and maximum, which the extensions cannot name. C11, needs nothing else of the library.
 *
 * Functions take and return values; a comparison gives `vi`, all ones where it holds, and vsel picks by it. NaN: vmax and
 * vmin return NaN if either operand is NaN. Multiplications and additions are contracted to FMA where the machine has it
 * (-ffp-contract=fast); the mathematics is accurate to about 2 units in the last place over the whole range, subnormals,
 * infinities and NaN included. The polynomials are our own weighted minimax fits on the intervals named beside them. */
#ifndef EPL_VEC_H
#define EPL_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#define EPL_VEC_AVX512 1
#define VL 16
#elif defined(__AVX2__)
#define EPL_VEC_AVX2 1
#define VL 8
#else
#define VL 4
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef float   vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));

/* Before a loop of constant trip count that must vanish, so that an array it indexes stays in registers. */
#if defined(__clang__)
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VEC_UNROLL _Pragma("GCC unroll 16")
#endif

#define VEC_INLINE static inline __attribute__((always_inline, unused))

/* ---- moving ---- */

VEC_INLINE vf vset(float x)
{
    return x - (vf){ 0 }; // x - 0 is x for every x; 0 + x would lose the sign of -0
}

VEC_INLINE vi vseti(int32_t x)
{
    return x - (vi){ 0 };
}

VEC_INLINE vf vload(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

VEC_INLINE void vstore(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

/* Four elements, in every quarter of a vector; and each of its lanes replaced by element i of its quarter. */
VEC_INLINE vf vquad(const float *p)
{
#if EPL_VEC_AVX512
    return (vf)_mm512_broadcast_f32x4(_mm_loadu_ps(p)); // from a shuffle gcc makes a store and a load
#elif EPL_VEC_AVX2
    const __m128 quad = _mm_loadu_ps(p);
    return (vf)_mm256_broadcast_ps(&quad);
#else
    return vload(p);
#endif
}

#if EPL_VEC_AVX512
#define vquad_lane(q, i)                                                                                               \
    __builtin_shufflevector(q, q, i, i, i, i, (i) + 4, (i) + 4, (i) + 4, (i) + 4, (i) + 8, (i) + 8, (i) + 8, (i) + 8,  \
                            (i) + 12, (i) + 12, (i) + 12, (i) + 12)
#elif EPL_VEC_AVX2
#define vquad_lane(q, i) __builtin_shufflevector(q, q, i, i, i, i, (i) + 4, (i) + 4, (i) + 4, (i) + 4)
#else
#define vquad_lane(q, i) __builtin_shufflevector(q, q, i, i, i, i)
#endif

VEC_INLINE vi viload(const int32_t *p)
{
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

VEC_INLINE void vistore(int32_t *p, vi v)
{
    memcpy(p, &v, sizeof v);
}

/* The lanes' numbers: 0, 1, 2, ... */
VEC_INLINE vi vlanes(void)
{
    static const int32_t numbers[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    return viload(numbers);
}

/* The first n elements, 0 <= n <= VL, the other lanes zero; nothing beyond them is touched. */
VEC_INLINE vf vload_part(const float *p, int64_t n)
{
#if EPL_VEC_AVX512
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif EPL_VEC_AVX2
    return (vf)_mm256_maskload_ps(p, (__m256i)(vlanes() < vseti((int32_t)n)));
#else
    vf v = { 0 };
    for (int i = 0; i < VL; i++)
        if (i < n)
            v[i] = p[i];
    return v;
#endif
}

VEC_INLINE void vstore_part(float *p, vf v, int64_t n)
{
#if EPL_VEC_AVX512
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#elif EPL_VEC_AVX2
    _mm256_maskstore_ps(p, (__m256i)(vlanes() < vseti((int32_t)n)), (__m256)v);
#else
    for (int i = 0; i < VL; i++)
        if (i < n)
            p[i] = v[i];
#endif
}

/* a and b as pairs of 16 bits: their products, added. */
VEC_INLINE vi vdot2(vi a, vi b)
{
#if EPL_VEC_AVX512
    return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif EPL_VEC_AVX2
    return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

/* VL integers of 16 bits, as 32. */
typedef int16_t vi_half __attribute__((vector_size(VL * 2)));

VEC_INLINE vi vwiden(vi_half x)
{
#if EPL_VEC_AVX512
    return (vi)_mm512_cvtepi16_epi32((__m256i)x); // gcc 12 converts quarters and puts them together
#elif EPL_VEC_AVX2
    return (vi)_mm256_cvtepi16_epi32((__m128i)x);
#else
    return __builtin_convertvector(x, vi);
#endif
}

/* Eight bytes, as integers of 16 bits. */
typedef int16_t v8h __attribute__((vector_size(16)));

VEC_INLINE v8h vwiden8(const void *from, int is_unsigned)
{
    typedef int8_t bytes __attribute__((vector_size(8)));
    typedef uint8_t unsigned_bytes __attribute__((vector_size(8)));
    bytes b;
    memcpy(&b, from, sizeof b);
    return is_unsigned ? __builtin_convertvector((unsigned_bytes)b, v8h) : __builtin_convertvector(b, v8h);
}

/* ---- choosing ---- */

VEC_INLINE vi vbits(vf x)
{
    return (vi)x;
}

VEC_INLINE vf vfrombits(vi x)
{
    return (vf)x;
}

VEC_INLINE vf vsel(vi condition, vf yes, vf no)
{
    return (vf)((condition & (vi)yes) | (~condition & (vi)no));
}

VEC_INLINE vf vabs(vf x)
{
    return (vf)((vi)x & vseti(0x7fffffff));
}

/* The magnitude of `x` with the sign of `sign`. */
VEC_INLINE vf vcopysign(vf x, vf sign)
{
    return (vf)(((vi)x & vseti(0x7fffffff)) | ((vi)sign & vseti((int32_t)0x80000000u)));
}

VEC_INLINE vf vmax(vf a, vf b)
{
#if EPL_VEC_AVX512
    return vsel(a != a, a, (vf)_mm512_max_ps((__m512)a, (__m512)b));
#else
    return vsel(a > b, a, vsel(a != a, a, b)); // both comparisons fail on a NaN in b, which is then the result
#endif
}

VEC_INLINE vf vmin(vf a, vf b)
{
#if EPL_VEC_AVX512
    return vsel(a != a, a, (vf)_mm512_min_ps((__m512)a, (__m512)b));
#else
    return vsel(a < b, a, vsel(a != a, a, b));
#endif
}

VEC_INLINE vf vsqrt(vf x)
{
#if EPL_VEC_AVX512
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif EPL_VEC_AVX2
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#else
    vf y = x;
    for (int i = 0; i < VL; i++)
        y[i] = __builtin_sqrtf(x[i]);
    return y;
#endif
}

/* a * b + c; the compiler contracts it. */
VEC_INLINE vf vfma(vf a, vf b, vf c)
{
    return a * b + c;
}

/* Conversions: to int32 toward zero (undefined beyond the range of int32), and back. */
VEC_INLINE vi vtoint(vf x)
{
    return __builtin_convertvector(x, vi);
}

VEC_INLINE vf vtofloat(vi x)
{
    return __builtin_convertvector(x, vf);
}

/* To the nearest integer, ties to even. Beyond 2^23 every float is an integer already. */
VEC_INLINE vf vround(vf x)
{
    const vf magic = vset(8388608.0f);
    vf y = (vabs(x) + magic) - magic;
    return vsel(vabs(x) < magic, vcopysign(y, x), x);
}

VEC_INLINE vf vfloor(vf x)
{
    vf y = vround(x);
    return y - vsel(y > x, vset(1.0f), vset(0.0f));
}

VEC_INLINE vf vceil(vf x)
{
    vf y = vround(x);
    return vsel(y < x, y + 1.0f, y);
}

/* ---- sums over lanes, in a fixed order: pairs at distance VL/2, VL/4, ..., 1 ---- */

VEC_INLINE float vsum(vf x)
{
    float t[VL];
    vstore(t, x);
    for (int step = VL / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++)
            t[i] += t[i + step];
    return t[0];
}

VEC_INLINE float vmaximum(vf x)
{
    float t[VL];
    vstore(t, x);
    for (int i = 1; i < VL; i++)
        t[0] = t[i] > t[0] || t[i] != t[i] ? t[i] : t[0];
    return t[0];
}

/* ---- mathematics ---- */

/* x * 2^n for n in [-252, 254], in two exact steps so that subnormal results are reached. */
VEC_INLINE vf vscale(vf x, vi n)
{
    vi half = n >> 1;
    return x * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
}

/* exp x: x = n log 2 + r, |r| <= log(2)/2, exp r = 1 + r + r^2 P(r). */
VEC_INLINE vf vexp(vf x)
{
    const vf magic = vset(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
    vf c = vsel(x > 89.0f, vset(89.0f), vsel(x < -105.0f, vset(-105.0f), x));
    vf t = c * 1.44269504f + magic;
    vf n = t - magic;
    vf r = n * -0.693359375f + c;       // log 2 = 0.693359375 - 2.12194440e-4, the first exact in 9 bits
    r = n * 2.12194440e-4f + r;
    vf p = vset(0.00139517172f);
    p = p * r + 0.00836959841f;
    p = p * r + 0.0416661873f;
    p = p * r + 0.166665129f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    return vscale(p + 1.0f, (vi)t - (vi)magic);
}

/* exp x - 1 without cancellation: for small x the same polynomial without the 1. */
VEC_INLINE vf vexpm1(vf x)
{
    const vf magic = vset(12582912.0f);
    vf c = vsel(x > 89.0f, vset(89.0f), vsel(x < -105.0f, vset(-105.0f), x));
    vf t = c * 1.44269504f + magic;
    vf n = t - magic;
    vf r = n * -0.693359375f + c;
    r = n * 2.12194440e-4f + r;
    vf p = vset(0.00139517172f);
    p = p * r + 0.00836959841f;
    p = p * r + 0.0416661873f;
    p = p * r + 0.166665129f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;                // exp r - 1
    vi e = (vi)t - (vi)magic;
    vf one = vscale(vset(1.0f), e);
    vf big = vscale(p + 1.0f, e);       // 2^128 overflows in `one` alone, never here
    return vsel(e > 24, big, vsel(e == 0, vsel(vabs(x) < 1e-20f, x, p), p * one + (one - 1.0f)));
}

/* log x: x = m 2^e, sqrt(1/2) <= m < sqrt 2, f = m - 1, log m = f - f^2/2 + f^3 P(f). */
VEC_INLINE vf vlog(vf x)
{
    vi tiny = x < 1.17549435e-38f;
    vf y = vsel(tiny, x * 8388608.0f, x);
    vi e = (((vi)y & 0x7fffffff) - 0x3f3504f3) >> 23; // without the sign: its result is NaN, but must not overflow here
    vf f = (vf)((vi)y - (e << 23)) - 1.0f;
    vf n = vtofloat(e) - vsel(tiny, vset(23.0f), vset(0.0f));
    vf p = vset(0.0691516552f);
    p = p * f - 0.11789705f;
    p = p * f + 0.118730129f;
    p = p * f - 0.123843685f;
    p = p * f + 0.142186557f;
    p = p * f - 0.166692496f;
    p = p * f + 0.200022267f;
    p = p * f - 0.249999866f;
    p = p * f + 0.333333104f;
    vf f2 = f * f;
    vf r = p * (f2 * f);
    r = n * -2.12194440e-4f + r;
    r = f2 * -0.5f + r;
    r = n * 0.693359375f + (r + f);
    r = vsel(x > 3.40282347e38f, x, r); // +inf
    r = vsel(x == 0.0f, (vf)vseti((int32_t)0xff800000u), r);
    return vsel((x < 0.0f) | (x != x), (vf)vseti(0x7fc00000), r);
}

/* log(1 + x): Goldberg's correction of the rounding of 1 + x. */
VEC_INLINE vf vlog1p(vf x)
{
    vf u = x + 1.0f;
    vf d = u - 1.0f;
    vf r = vlog(u) * (x / vsel(d == 0.0f, vset(1.0f), d));
    r = vsel(d == 0.0f, x, r);
    return vsel((u > 3.40282347e38f) | (u <= 0.0f), vlog(u), r);
}

/* tanh x: x + x^3 P(x^2) for |x| < 0.625, else 1 - 2 / (exp 2|x| + 1). */
VEC_INLINE vf vtanh(vf x)
{
    vf a = vabs(x), z = x * x;
    vf p = vset(-0.00566078046f);
    p = p * z + 0.0206019992f;
    p = p * z - 0.053729227f;
    p = p * z + 0.133313289f;
    p = p * z - 0.333332783f;
    p = p * (z * x) + x;
    vf big = 1.0f - 2.0f / (vexp(a + a) + 1.0f);
    return vsel(a < 0.625f, p, vcopysign(big, x)); // exp of NaN is NaN and stays so
}

/* erf x: x + x P(x^2) for |x| < 0.92, else 1 - exp(-|x| - |x| Q(|x|)), 1 beyond 4. */
VEC_INLINE vf verf(vf x)
{
    vf a = vabs(x), z = x * x;
    vf p = vset(8.36230682e-05f);
    p = p * z - 0.000814148022f;
    p = p * z + 0.00520098997f;
    p = p * z - 0.0268594135f;
    p = p * z + 0.112836965f;
    p = p * z - 0.376126339f;
    p = p * z + 0.128379167f;
    p = p * x + x;
    vf c = vsel(a > 4.0f, vset(4.0f), a);
    vf q = vset(5.15088035e-06f);
    q = q * c - 4.8202229e-05f;
    q = q * c - 3.60647669e-05f;
    q = q * c + 0.00289230085f;
    q = q * c - 0.0226120099f;
    q = q * c + 0.105202912f;
    q = q * c + 0.635656523f;
    q = q * c + 0.1285449f;
    vf big = 1.0f - vexp(-(q * c + c));
    return vsel(a < 0.92f, p, vcopysign(big, x));
}

/* 1 / (1 + exp -x). */
VEC_INLINE vf vsigmoid(vf x)
{
    return 1.0f / (vexp(-x) + 1.0f);
}

#endif
