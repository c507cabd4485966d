/* int_math: the vocabulary of elementwise.def over 64-bit integers. The file that includes it says which:
 * `typedef int64_t scalar;` or `typedef uint64_t scalar;`. Sums and products wrap; nothing here is undefined. */
#ifndef EPL_INT_MATH_H
#define EPL_INT_MATH_H

#include <stdint.h>

#define EPL_INT_IS_SIGNED ((scalar)-1 < (scalar)1)

static inline scalar vadd(scalar p, scalar q) { return (scalar)((uint64_t)p + (uint64_t)q); }
static inline scalar vsub(scalar p, scalar q) { return (scalar)((uint64_t)p - (uint64_t)q); }
static inline scalar vmul(scalar p, scalar q) { return (scalar)((uint64_t)p * (uint64_t)q); }
static inline int epl_int_negative(scalar p) { return EPL_INT_IS_SIGNED && (int64_t)p < 0; }
static inline scalar v01(int condition) { return condition != 0; }
static inline scalar vsel(int condition, scalar p, scalar q) { return condition ? p : q; }
static inline scalar vmax(scalar p, scalar q) { return q > p ? q : p; }
static inline scalar vmin(scalar p, scalar q) { return q < p ? q : p; }
static inline scalar vsign(scalar p) { return epl_int_negative(p) ? (scalar)-1 : p != 0; }
static inline scalar vabs(scalar p) { return epl_int_negative(p) ? vsub(0, p) : p; }
static inline scalar vbitnot(scalar p) { return ~p; }
static inline scalar vbitand(scalar p, scalar q) { return p & q; }
static inline scalar vbitor(scalar p, scalar q) { return p | q; }
static inline scalar vbitxor(scalar p, scalar q) { return p ^ q; }
static inline scalar vshl(scalar p, scalar q) { return (uint64_t)q < 64 ? (scalar)((uint64_t)p << q) : 0; }
static inline scalar vshr(scalar p, scalar q) { return (uint64_t)q < 64 ? p >> q : epl_int_negative(p) ? (scalar)-1 : 0; }

/* A constant: rounded toward zero, infinities and what lies outside go to the ends of the range. */
static inline scalar V(double c)
{
    const double low = EPL_INT_IS_SIGNED ? -0x1p63 : 0, high = EPL_INT_IS_SIGNED ? 0x1p63 : 0x1p64;
    const scalar least = EPL_INT_IS_SIGNED ? (scalar)INT64_MIN : 0;
    return c != c ? 0 : c <= low ? least : c >= high ? (scalar)~least : (scalar)c;
}

/* Division rounds toward zero. x / 0 is 0, and the one quotient that overflows wraps. */
static inline scalar vdiv(scalar p, scalar q)
{
    return q == 0 ? 0 : EPL_INT_IS_SIGNED && q == (scalar)-1 ? vsub(0, p) : p / q;
}
static inline scalar vfmod(scalar p, scalar q) /* the dividend's sign, as C's % */
{
    return q == 0 || (EPL_INT_IS_SIGNED && q == (scalar)-1) ? 0 : p % q;
}
static inline scalar vmod(scalar p, scalar q) /* the divisor's sign, as Python's % */
{
    const scalar r = vfmod(p, q);
    return r != 0 && epl_int_negative(r) != epl_int_negative(q) ? vadd(r, q) : r;
}

/* p to the power q; a negative power is the reciprocal rounded toward zero. */
static inline scalar vpow(scalar p, scalar q)
{
    if (epl_int_negative(q))
        return p == 1 || (p == (scalar)-1 && q % 2 == 0) ? 1 : p == (scalar)-1 ? (scalar)-1 : 0;
    scalar y = 1;
    for (uint64_t n = (uint64_t)q; n; n >>= 1, p = vmul(p, p))
        if (n & 1)
            y = vmul(y, p);
    return y;
}

#endif
