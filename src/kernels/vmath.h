/* vmath: the vocabulary of ops/elementwise.def over vectors of f32; what vec.h does not have already.
 *
 * Functions that networks use in their inner loops are vector code. The rare ones (inverse and hyperbolic functions, powers,
 * remainders) call libm for each lane: right everywhere, and never hot. */
#ifndef EPL_VMATH_H
#define EPL_VMATH_H

#include "kernels/vec.h"

#include <math.h>

#define V(c) vset((float)(c))

VEC_INLINE vf vadd(vf p, vf q) { return p + q; }
VEC_INLINE vf vsub(vf p, vf q) { return p - q; }
VEC_INLINE vf vmul(vf p, vf q) { return p * q; }
VEC_INLINE vf vdiv(vf p, vf q) { return p / q; }

/* The next vector where n elements are left. */
VEC_INLINE vf vload_some(const float *p, int64_t n)
{
    return n >= VL ? vload(p) : vload_part(p, n);
}

VEC_INLINE void vstore_some(float *p, vf v, int64_t n)
{
    if (n >= VL)
        vstore(p, v);
    else
        vstore_part(p, v, n);
}

VEC_INLINE vf v01(vi condition)
{
    return (vf)(condition & (vi)vset(1.0f));
}

VEC_INLINE vf vtrunc(vf x)
{
    return vcopysign(vfloor(vabs(x)), x);
}

VEC_INLINE vf vsign(vf x)
{
    return vsel(x > 0.0f, vset(1.0f), vsel(x < 0.0f, vset(-1.0f), x)); // keeps 0, -0 and NaN
}

VEC_INLINE int vany(vi condition)
{
    int32_t any = 0;
    for (int i = 0; i < VL; i++)
        any |= condition[i];
    return any != 0;
}

/* ---- lane by lane ---- */

#define VEC_LANES(name, f)                                                                                         \
    static __attribute__((noinline, unused)) vf name(vf x)                                                         \
    {                                                                                                              \
        float t[VL];                                                                                               \
        vstore(t, x);                                                                                              \
        for (int i = 0; i < VL; i++)                                                                               \
            t[i] = f(t[i]);                                                                                        \
        return vload(t);                                                                                           \
    }
#define VEC_LANES_2(name, f)                                                                                       \
    static __attribute__((noinline, unused)) vf name(vf x, vf y)                                                   \
    {                                                                                                              \
        float t[VL], u[VL];                                                                                        \
        vstore(t, x);                                                                                              \
        vstore(u, y);                                                                                              \
        for (int i = 0; i < VL; i++)                                                                               \
            t[i] = f(t[i], u[i]);                                                                                  \
        return vload(t);                                                                                           \
    }
VEC_LANES(vtan, tanf)
VEC_LANES(vasin, asinf)
VEC_LANES(vacos, acosf)
VEC_LANES(vatan, atanf)
VEC_LANES(vsinh, sinhf)
VEC_LANES(vcosh, coshf)
VEC_LANES(vasinh, asinhf)
VEC_LANES(vacosh, acoshf)
VEC_LANES(vatanh, atanhf)
VEC_LANES(vsin_lanes, sinf)
VEC_LANES(vcos_lanes, cosf)
VEC_LANES_2(vpow, powf)
VEC_LANES_2(vfmod, fmodf)

/* The remainder with the divisor's sign, as Python's %. */
VEC_INLINE vf vmod(vf p, vf q)
{
    const vf r = vfmod(p, q);
    return vsel((r != 0.0f) & ((r < 0.0f) != (q < 0.0f)), r + q, r);
}

/* ---- sin and cos ----
 * x = n pi/2 + r, |r| <= pi/4; pi/2 in four parts, the first three of 11 bits, so that n times each is exact for |x| up to
 * 8192. A vector with a larger lane goes to libm. sin r = r + r^3 P(r^2), cos r = 1 - r^2/2 + r^4 Q(r^2). */
VEC_INLINE vf vsin_quadrant(vf x, int32_t shift)
{
    const vf magic = vset(12582912.0f); // 1.5 * 2^23
    const vf t = x * 0.636619772f + magic, n = t - magic;
    vf r = x - n * 1.5703125f;
    r = r - n * 0.0004837512969970703f;
    r = r - n * 7.549533620476723e-08f;
    r = r - n * 2.5633440682570896e-12f;
    const vf z = r * r;
    vf s = vset(-0.000195087589f);
    s = s * z + 0.0083321128f;
    s = s * z - 0.166666538f;
    s = s * (z * r) + r;
    vf c = vset(2.44256644e-05f);
    c = c * z - 0.00138872513f;
    c = c * z + 0.0416666456f;
    c = c * (z * z) + (z * -0.5f + 1.0f);
    const vi q = (vi)t + shift;
    const vf y = vsel((q & 1) != 0, c, s);
    return vsel((q & 2) != 0, -y, y);
}

VEC_INLINE vf vsin(vf x)
{
    if (vany(vabs(x) > 8192.0f))
        return vsin_lanes(x);
    return vsel(vabs(x) < 1e-4f, x, vsin_quadrant(x, 0)); // -0 stays
}

VEC_INLINE vf vcos(vf x)
{
    return vany(vabs(x) > 8192.0f) ? vcos_lanes(x) : vsin_quadrant(x, 1);
}

/* ---- erfc and softplus ---- */

/* erfc x. For |x| < 0.5: 1 - erf x = 1 - x - x P(x^2). Beyond: exp(-x^2) Q(2 / (2 + |x|)), reflected for x < 0; Q is our fit on
 * [0.45, 10.2], past which the result is 0 in f32. x^2 is taken in two parts, as its rounding would be magnified. */
VEC_INLINE vf verfc(vf x)
{
    const vf a = vabs(x), z = x * x;
    vf p = vset(8.18614062e-05f);
    p = p * z - 0.000809801102f;
    p = p * z + 0.00519698672f;
    p = p * z - 0.0268577244f;
    p = p * z + 0.112836644f;
    p = p * z - 0.376126319f;
    p = p * z + 0.128379166f;
    const vf near = 1.0f - (p * x + x);
    const vf c = vsel(a > 10.2f, vset(10.2f), a);
    const vf t = 2.0f / (c + 2.0f);
    vf q = vset(-0.0743072182f);
    q = q * t + 0.350786716f;
    q = q * t - 0.610136926f;
    q = q * t + 0.405555576f;
    q = q * t - 0.10764505f;
    q = q * t + 0.235262454f;
    q = q * t + 0.234852627f;
    q = q * t + 0.283640057f;
    q = q * t + 0.281980306f;
    q = q * t + 3.70560315e-06f;
    const vf high = (vf)((vi)c & (int32_t)0xfffff000u); // 12 bits: its square is exact
    const vf low = (c - high) * (c + high);
    const vf far = q * vexp(-(high * high)) * (1.0f - low * (1.0f - low * (0.5f - low * 0.166666667f)));
    return vsel(a < 0.5f, near, vsel(x < 0.0f, 2.0f - far, vsel(x != x, x, far)));
}

/* log(1 + exp x), without overflow. */
VEC_INLINE vf vsoftplus(vf x)
{
    return vmax(x, vset(0.0f)) + vlog1p(vexp(-vabs(x)));
}

#endif
