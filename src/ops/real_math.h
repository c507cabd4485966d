/* real_math: the vocabulary of elementwise.def over double, for the reference. Every word is libm's own function or one
 * comparison, so that a row's text means here exactly what it says. */
#ifndef EPL_REAL_MATH_H
#define EPL_REAL_MATH_H

#include <math.h>

typedef double scalar;

#define V(c)          ((double)(c))
#define vadd(p, q)    ((p) + (q))
#define vsub(p, q)    ((p) - (q))
#define vmul(p, q)    ((p) * (q))
#define vdiv(p, q)    ((p) / (q))
#define vabs(p)       fabs(p)
#define vsqrt(p)      sqrt(p)
#define vexp(p)       exp(p)
#define vexpm1(p)     expm1(p)
#define vlog(p)       log(p)
#define vlog1p(p)     log1p(p)
#define vsin(p)       sin(p)
#define vcos(p)       cos(p)
#define vtan(p)       tan(p)
#define vasin(p)      asin(p)
#define vacos(p)      acos(p)
#define vatan(p)      atan(p)
#define vsinh(p)      sinh(p)
#define vcosh(p)      cosh(p)
#define vtanh(p)      tanh(p)
#define vasinh(p)     asinh(p)
#define vacosh(p)     acosh(p)
#define vatanh(p)     atanh(p)
#define verf(p)       erf(p)
#define verfc(p)      erfc(p)
#define vfloor(p)     floor(p)
#define vceil(p)      ceil(p)
#define vround(p)     nearbyint(p) /* half to even, as ONNX and NumPy */
#define vtrunc(p)     trunc(p)
#define vpow(p, q)    pow(p, q)
#define vfmod(p, q)   fmod(p, q)

static inline double v01(int condition) { return condition != 0; }
static inline double vsel(int condition, double p, double q) { return condition ? p : q; }
static inline double vmax(double p, double q) { return p > q || p != p ? p : q; }
static inline double vmin(double p, double q) { return p < q || p != p ? p : q; }
static inline double vsign(double p) { return p > 0 ? 1 : p < 0 ? -1 : p; } /* keeps 0, -0 and NaN */
static inline double vsoftplus(double p) { return p > 0 ? p + log1p(exp(-p)) : log1p(exp(p)); }

/* The remainder with the divisor's sign, as Python's %. */
static inline double vmod(double p, double q)
{
    const double r = fmod(p, q);
    return r != 0 && (r < 0) != (q < 0) ? r + q : r;
}

#endif
