/* chain_f32: how a chain over f32 reads and writes tensors of other types. Shared by the interpreter of chains (chain.c) and the
 * chains that the compiler prints. */
#ifndef EPL_CHAIN_F32_H
#define EPL_CHAIN_F32_H

#include <string.h>

#include "kernels/vmath.h"
#include "ops/ref.h"

#define CHAIN_LOAD(type, convert)                                                                                        \
    for (int64_t k = 0; k < n; k++)                                                                                \
        to[k] = (float)convert(((const type *)from)[at + k * stride]);                                             \
    break

static inline void tile_load(float *to, const void *from, int64_t dtype, int64_t at, int64_t stride, int64_t n)
{
    if (dtype == EPL_REF_F32 && stride == 1) {
        memcpy(to, (const float *)from + at, (size_t)n * sizeof *to);
        return;
    }
    if (stride == 0 && n > 1) { // one element, repeated
        tile_load(to, from, dtype, at, 1, 1);
        const float x = to[0];
        for (int64_t k = 1; k < n; k++)
            to[k] = x;
        return;
    }
    switch (dtype) {
    case EPL_REF_F32:  CHAIN_LOAD(float, );
    case EPL_REF_F64:  CHAIN_LOAD(double, );
    case EPL_REF_BF16: CHAIN_LOAD(uint16_t, epl_ref_bfloat_to_float);
    case EPL_REF_F16:  CHAIN_LOAD(uint16_t, epl_ref_half_to_float);
    case EPL_REF_I8:   CHAIN_LOAD(int8_t, );
    case EPL_REF_I16:  CHAIN_LOAD(int16_t, );
    case EPL_REF_U16:  CHAIN_LOAD(uint16_t, );
    case EPL_REF_I32:  CHAIN_LOAD(int32_t, );
    case EPL_REF_U32:  CHAIN_LOAD(uint32_t, );
    case EPL_REF_I64:  CHAIN_LOAD(int64_t, );
    case EPL_REF_U64:  CHAIN_LOAD(uint64_t, );
    default:           CHAIN_LOAD(uint8_t, );
    }
}

#define CHAIN_STORE(type, convert)                                                                                       \
    for (int64_t k = 0; k < n; k++)                                                                                \
        ((type *)to)[at + k] = convert(from[k]);                                                             \
    break

/* To integers: the fraction is dropped, NaN becomes 0, what the type cannot hold saturates. */
static inline int64_t chain_clamped(float x, int64_t low, int64_t high)
{
    const int64_t i = epl_ref_to_i64(x);
    return i < low ? low : i > high ? high : i;
}

/* The same where floats hold the limits: in vectors. */
static inline int32_t chain_clamped_narrow(float x, float low, float high)
{
    const float y = x > low ? x : low; // NaN, too
    return x != x ? 0 : (int32_t)(y < high ? y : high);
}

static inline int8_t chain_to_i8(float x) { return (int8_t)chain_clamped_narrow(x, INT8_MIN, INT8_MAX); }
static inline uint8_t chain_to_u8(float x) { return (uint8_t)chain_clamped_narrow(x, 0, UINT8_MAX); }
static inline int16_t chain_to_i16(float x) { return (int16_t)chain_clamped_narrow(x, INT16_MIN, INT16_MAX); }
static inline uint16_t chain_to_u16(float x) { return (uint16_t)chain_clamped_narrow(x, 0, UINT16_MAX); }
static inline int32_t chain_to_i32(float x) { return (int32_t)chain_clamped(x, INT32_MIN, INT32_MAX); }
static inline uint32_t chain_to_u32(float x) { return (uint32_t)chain_clamped(x, 0, UINT32_MAX); }
static inline uint8_t chain_to_bool(float x) { return x != 0; }
static inline uint64_t chain_to_u64(float x) { return !(x > 0) ? 0 : x >= 0x1p64f ? UINT64_MAX : (uint64_t)x; }

static inline void tile_store(void *to, int64_t dtype, int64_t at, const float *from, int64_t n)
{
    switch (dtype) {
    case EPL_REF_F32:  memcpy((float *)to + at, from, (size_t)n * sizeof *from); break;
    case EPL_REF_F64:  CHAIN_STORE(double, );
    case EPL_REF_BF16: CHAIN_STORE(uint16_t, epl_ref_float_to_bfloat);
    case EPL_REF_F16:  CHAIN_STORE(uint16_t, epl_ref_float_to_half);
    case EPL_REF_I8:   CHAIN_STORE(int8_t, chain_to_i8);
    case EPL_REF_U8:   CHAIN_STORE(uint8_t, chain_to_u8);
    case EPL_REF_I16:  CHAIN_STORE(int16_t, chain_to_i16);
    case EPL_REF_U16:  CHAIN_STORE(uint16_t, chain_to_u16);
    case EPL_REF_I32:  CHAIN_STORE(int32_t, chain_to_i32);
    case EPL_REF_U32:  CHAIN_STORE(uint32_t, chain_to_u32);
    case EPL_REF_I64:  CHAIN_STORE(int64_t, epl_ref_to_i64);
    case EPL_REF_U64:  CHAIN_STORE(uint64_t, chain_to_u64);
    default:           CHAIN_STORE(uint8_t, chain_to_bool);
    }
}

#undef CHAIN_LOAD
#undef CHAIN_STORE

/* ---- for printed chains, which hold one vector of each register ---- */

VEC_INLINE vf chain_vload(const void *from, int64_t dtype, int64_t at, int64_t stride, int64_t n)
{
    float t[VL] = { 0 };
    tile_load(t, from, dtype, at, stride, n < VL ? n : VL);
    return vload(t);
}

VEC_INLINE void chain_vstore(void *to, int64_t dtype, int64_t at, vf v, int64_t n)
{
    float t[VL];
    vstore(t, v);
    tile_store(to, dtype, at, t, n < VL ? n : VL);
}

/* Between two operators: the result is rounded here, never contracted with what follows. */
#if defined(__aarch64__)
#define CHAIN_ROUND(v) __asm__("" : "+w"(v))
#elif defined(__FMA__)
#define CHAIN_ROUND(v) __asm__("" : "+v"(v))
#else
#define CHAIN_ROUND(v) (void)(v)
#endif

#endif
