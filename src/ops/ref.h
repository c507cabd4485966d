/* ref: what a reference kernel sees. Plain scalar code over views; it is the operator's definition, the oracle of the tests
 * and the fallback where no fast kernel applies.
 *
 * This header, and the parts of the files of src/ops between a line holding only the comment "begin reference" and
 * one holding only "end reference", are C11 without other dependencies than libc and libm: the compiler pastes them
 * into artifacts. */
#ifndef EPL_REF_H
#define EPL_REF_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A contiguous tensor. data is NULL for an absent optional input. dtype is an epl_dtype. */
typedef struct epl_view {
    void   *data;
    int64_t dtype;
    int64_t rank;
    int64_t dim[8];
} epl_view;

/* An attribute, in the order of the operator's field table. */
typedef struct epl_ref_attr {
    int64_t        i; /* integer, bool, dtype, choice */
    double         r; /* real */
    int64_t        n; /* length of a list */
    const int64_t *ints;
    const double  *reals;
} epl_ref_attr;

typedef struct epl_ref_call {
    int64_t             n_in, n_out;
    const epl_view     *in;
    const epl_view     *out;
    const epl_ref_attr *attr;
} epl_ref_call;

typedef void epl_ref_fn(const epl_ref_call *c);

/* The numbers of epl_dtype, repeated so that artifacts need no public header; src/ops/evaluate.c asserts that they agree. */
enum {
    EPL_REF_F32 = 1, EPL_REF_F64, EPL_REF_BF16, EPL_REF_F16, EPL_REF_I8, EPL_REF_U8, EPL_REF_I16, EPL_REF_U16,
    EPL_REF_I32, EPL_REF_U32, EPL_REF_I64, EPL_REF_U64, EPL_REF_BOOL
};

static inline int64_t epl_view_count(const epl_view *v)
{
    int64_t n = 1;
    for (int64_t i = 0; i < v->rank; i++)
        n *= v->dim[i];
    return n;
}

static inline int epl_ref_is_float(int64_t dtype) { return dtype >= EPL_REF_F32 && dtype <= EPL_REF_F16; }

static inline int64_t epl_ref_bytes(int64_t dtype)
{
    static const int8_t bytes[] = { 0, 4, 8, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 1 };
    return bytes[dtype];
}

static inline float epl_ref_half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 1023u;
    if (e == 0) {
        const float f = (float)m * 5.9604644775390625e-8f; // 2^-24
        return sign ? -f : f;
    }
    const uint32_t u = sign | (e == 31 ? 0x7f800000u : (e + 112u) << 23) | m << 13;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t epl_ref_float_to_half(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    const uint32_t sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u >= 0x7f800000u)
        return (uint16_t)(sign | 0x7c00u | (u > 0x7f800000u ? 0x200u | (u >> 13 & 0x3ffu) : 0u));
    if (u >= 0x477ff000u) // rounds to 65536 or more
        return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) { // subnormal half: adding 0.5 lets the hardware round at 2^-24
        float f;
        memcpy(&f, &u, 4);
        f += 0.5f;
        memcpy(&u, &f, 4);
        return (uint16_t)(sign | (u - 0x3f000000u));
    }
    u += 0xc8000fffu + (u >> 13 & 1u); // exponent bias minus 112, round to nearest even
    return (uint16_t)(sign | u >> 13);
}

static inline float epl_ref_bfloat_to_float(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t epl_ref_float_to_bfloat(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 64u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* Code i of a row of codes of 1 to 8 bits each, the first in the lowest bits of the first byte. */
static inline unsigned epl_ref_code(const uint8_t *packed, int64_t i, int64_t bits)
{
    const int64_t at = i * bits;
    unsigned      both = packed[at / 8];
    if (at % 8 + bits > 8)
        both |= (unsigned)packed[at / 8 + 1] << 8;
    return both >> at % 8 & ((1u << bits) - 1);
}

/* A real as an integer: truncated, saturated, NaN becomes 0; no conversion is undefined. */
static inline int64_t epl_ref_to_i64(double x)
{
    return x != x ? 0 : x >= 9223372036854775807.0 ? INT64_MAX : x <= -9223372036854775808.0 ? INT64_MIN : (int64_t)x;
}

/* Element i as an integer: exact for integers. */
static inline int64_t epl_ref_get_i64(const epl_view *v, int64_t i)
{
    switch (v->dtype) {
    case EPL_REF_F32:  return epl_ref_to_i64(((const float *)v->data)[i]);
    case EPL_REF_F64:  return epl_ref_to_i64(((const double *)v->data)[i]);
    case EPL_REF_BF16: return epl_ref_to_i64(epl_ref_bfloat_to_float(((const uint16_t *)v->data)[i]));
    case EPL_REF_F16:  return epl_ref_to_i64(epl_ref_half_to_float(((const uint16_t *)v->data)[i]));
    case EPL_REF_I8:   return ((const int8_t *)v->data)[i];
    case EPL_REF_I16:  return ((const int16_t *)v->data)[i];
    case EPL_REF_U16:  return ((const uint16_t *)v->data)[i];
    case EPL_REF_I32:  return ((const int32_t *)v->data)[i];
    case EPL_REF_U32:  return ((const uint32_t *)v->data)[i];
    case EPL_REF_I64:  return ((const int64_t *)v->data)[i];
    case EPL_REF_U64:  return (int64_t)((const uint64_t *)v->data)[i];
    default:           return ((const uint8_t *)v->data)[i];
    }
}

static inline double epl_ref_get(const epl_view *v, int64_t i)
{
    switch (v->dtype) {
    case EPL_REF_F32:  return ((const float *)v->data)[i];
    case EPL_REF_F64:  return ((const double *)v->data)[i];
    case EPL_REF_BF16: return epl_ref_bfloat_to_float(((const uint16_t *)v->data)[i]);
    case EPL_REF_F16:  return epl_ref_half_to_float(((const uint16_t *)v->data)[i]);
    case EPL_REF_U64:  return (double)((const uint64_t *)v->data)[i];
    default:           return (double)epl_ref_get_i64(v, i);
    }
}

/* Stores an integer; narrower integers wrap as in C, bool becomes 0 or 1. */
static inline void epl_ref_set_i64(const epl_view *v, int64_t i, int64_t x)
{
    switch (v->dtype) {
    case EPL_REF_F32:  ((float *)v->data)[i] = (float)x; break;
    case EPL_REF_F64:  ((double *)v->data)[i] = (double)x; break;
    case EPL_REF_BF16: ((uint16_t *)v->data)[i] = epl_ref_float_to_bfloat((float)x); break;
    case EPL_REF_F16:  ((uint16_t *)v->data)[i] = epl_ref_float_to_half((float)x); break;
    case EPL_REF_I8:   ((int8_t *)v->data)[i] = (int8_t)x; break;
    case EPL_REF_U8:   ((uint8_t *)v->data)[i] = (uint8_t)x; break;
    case EPL_REF_I16:  ((int16_t *)v->data)[i] = (int16_t)x; break;
    case EPL_REF_U16:  ((uint16_t *)v->data)[i] = (uint16_t)x; break;
    case EPL_REF_I32:  ((int32_t *)v->data)[i] = (int32_t)x; break;
    case EPL_REF_U32:  ((uint32_t *)v->data)[i] = (uint32_t)x; break;
    case EPL_REF_I64:  ((int64_t *)v->data)[i] = x; break;
    case EPL_REF_U64:  ((uint64_t *)v->data)[i] = (uint64_t)x; break;
    default:           ((uint8_t *)v->data)[i] = x != 0; break;
    }
}

/* Stores a real; integers take epl_ref_to_i64 of it. */
static inline void epl_ref_set(const epl_view *v, int64_t i, double x)
{
    switch (v->dtype) {
    case EPL_REF_F32:  ((float *)v->data)[i] = (float)x; break;
    case EPL_REF_F64:  ((double *)v->data)[i] = x; break;
    case EPL_REF_BF16: ((uint16_t *)v->data)[i] = epl_ref_float_to_bfloat((float)x); break;
    case EPL_REF_F16:  ((uint16_t *)v->data)[i] = epl_ref_float_to_half((float)x); break;
    case EPL_REF_BOOL: ((uint8_t *)v->data)[i] = x != 0; break;
    case EPL_REF_U64:
        ((uint64_t *)v->data)[i] = x >= 18446744073709551615.0 ? UINT64_MAX : x >= 9223372036854775808.0 ? (uint64_t)x
                                                                             : (uint64_t)epl_ref_to_i64(x);
        break;
    default: epl_ref_set_i64(v, i, epl_ref_to_i64(x)); break;
    }
}

/* Row-major strides of v, right-aligned to `rank` axes, 0 where v is broadcast. */
static inline void epl_ref_broadcast_strides(const epl_view *v, int64_t rank, int64_t stride[8])
{
    int64_t s = 1;
    for (int64_t i = 0; i < rank; i++) {
        const int64_t axis = v->rank - 1 - i, d = axis >= 0 ? v->dim[axis] : 1;
        stride[rank - 1 - i] = d == 1 ? 0 : s;
        s *= d;
    }
}

/* Counts index up to the next position of a row-major walk over dim[0..rank). */
static inline void epl_ref_next(int64_t *index, const int64_t *dim, int64_t rank)
{
    for (int64_t i = rank - 1; i >= 0; i--) {
        if (++index[i] < dim[i])
            return;
        index[i] = 0;
    }
}

static inline int64_t epl_ref_offset(const int64_t *index, const int64_t *stride, int64_t rank)
{
    int64_t o = 0;
    for (int64_t i = 0; i < rank; i++)
        o += index[i] * stride[i];
    return o;
}

/* ---- windows: convolutions and pools over one to three spatial axes, seen as three (missing ones lead, of size 1)  */
typedef struct epl_ref_window {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], begin[3], end[3]; /* begin, end: elements of padding */
} epl_ref_window;

static inline void epl_ref_window_list(int64_t to[3], int64_t n, const int64_t *list, int64_t spatial, int64_t otherwise)
{
    for (int64_t i = 0; i < 3; i++) {
        const int64_t axis = i - (3 - spatial);
        to[i] = axis < 0 ? otherwise : axis < n ? list[axis] : otherwise;
    }
}

/* in and out are [N, spatial..., C]; kernel has one entry per spatial axis; the attributes are lists that may be empty. */
static inline epl_ref_window epl_ref_window_of(const epl_view *in, const epl_view *out, const int64_t *kernel,
                                               const epl_ref_attr *strides, const epl_ref_attr *pads,
                                               const epl_ref_attr *dilations)
{
    const int64_t  spatial = in->rank - 2;
    epl_ref_window w;
    epl_ref_window_list(w.in, spatial, in->dim + 1, spatial, 1);
    epl_ref_window_list(w.out, spatial, out->dim + 1, spatial, 1);
    epl_ref_window_list(w.kernel, spatial, kernel, spatial, 1);
    epl_ref_window_list(w.stride, strides->n, strides->ints, spatial, 1);
    epl_ref_window_list(w.dilation, dilations->n, dilations->ints, spatial, 1);
    epl_ref_window_list(w.begin, pads->n / 2, pads->ints, spatial, 0);
    epl_ref_window_list(w.end, pads->n / 2, pads->n ? pads->ints + pads->n / 2 : NULL, spatial, 0);
    return w;
}

static inline int64_t epl_ref_volume(const int64_t dim[3]) { return dim[0] * dim[1] * dim[2]; }

/* The input position under tap k of output position o (all three count row-major), or -1 in the padding. With `padded` the
 * tap counts as present, and 0 is returned, as long as it lies in the padding proper, not beyond it. */
static inline int64_t epl_ref_window_tap(const epl_ref_window *w, int64_t o, int64_t k, int padded)
{
    int64_t at = 0, step = 1;
    for (int i = 2; i >= 0; i--) {
        const int64_t x = o % w->out[i] * w->stride[i] + k % w->kernel[i] * w->dilation[i] - w->begin[i];
        o /= w->out[i];
        k /= w->kernel[i];
        if (padded ? x < -w->begin[i] || x >= w->in[i] + w->end[i] : x < 0 || x >= w->in[i])
            return -1;
        at += x * step;
        step *= w->in[i];
    }
    return padded ? 0 : at;
}

/* The output position whose tap k lies on input position x, or -1 if there is none. */
static inline int64_t epl_ref_window_untap(const epl_ref_window *w, int64_t x, int64_t k)
{
    int64_t at = 0, step = 1;
    for (int i = 2; i >= 0; i--) {
        const int64_t o = x % w->in[i] + w->begin[i] - k % w->kernel[i] * w->dilation[i];
        x /= w->in[i];
        k /= w->kernel[i];
        if (o < 0 || o % w->stride[i] != 0 || o / w->stride[i] >= w->out[i])
            return -1;
        at += o / w->stride[i] * step;
        step *= w->out[i];
    }
    return at;
}

#endif
