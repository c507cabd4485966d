/* resize_taps: where an output of Resize lies on the input's axis, and the weights of its neighbours there. One axis
 * at a time: the map is separable. Shared by the reference (ops/resize.c) and the kernel (kernels/resample.c); C11
 * without other dependencies than libm.
 *
 * The formulas are those of ONNX's Resize. Two of them divide by the product of size and scale, which is the
 * output's size only where that product is whole. */
#ifndef EPL_RESIZE_TAPS_H
#define EPL_RESIZE_TAPS_H

#include <math.h>
#include <stdint.h>

/* The numbers of the operator's choices. */
enum { EPL_RESIZE_NEAREST, EPL_RESIZE_LINEAR, EPL_RESIZE_CUBIC };
enum { EPL_FROM_HALF_PIXEL, EPL_FROM_PYTORCH_HALF_PIXEL, EPL_FROM_ASYMMETRIC, EPL_FROM_ALIGN_CORNERS, EPL_FROM_HALF_PIXEL_SYMMETRIC,
       EPL_FROM_TF_HALF_PIXEL, EPL_FROM_TF_CROP };
enum { EPL_PREFER_FLOOR, EPL_PREFER_CEIL, EPL_TAKE_FLOOR, EPL_TAKE_CEIL };

typedef struct epl_resize_axis {
    int64_t in, out, mode, coordinates, nearest, exclude, antialias;
    double  scale, cubic_a;
    double  begin, end; /* of the region that is cropped, as parts of the axis */
} epl_resize_axis;

static inline double epl_resize_source(const epl_resize_axis *a, int64_t o)
{
    const double in = (double)a->in, out = (double)a->out, x = (double)o;
    switch (a->coordinates) {
    case EPL_FROM_PYTORCH_HALF_PIXEL:   return a->out > 1 ? (x + 0.5) / a->scale - 0.5 : 0;
    case EPL_FROM_ASYMMETRIC:           return x / a->scale;
    case EPL_FROM_ALIGN_CORNERS:        return in * a->scale != 1 ? x * (in - 1) / (in * a->scale - 1) : 0;
    case EPL_FROM_HALF_PIXEL_SYMMETRIC: return in / 2 * (1 - out / (a->scale * in)) + (x + 0.5) / a->scale - 0.5;
    case EPL_FROM_TF_HALF_PIXEL:        return (x + 0.5) / a->scale;
    case EPL_FROM_TF_CROP:
        return a->out > 1 ? a->begin * (in - 1) + x * (a->end - a->begin) * (in - 1) / (out - 1) : 0.5 * (a->begin + a->end) * (in - 1);
    default: return (x + 0.5) / a->scale - 0.5;
    }
}

static inline double epl_resize_nearest(const epl_resize_axis *a, double x)
{
    switch (a->nearest) {
    case EPL_PREFER_CEIL: return floor(x + 0.5);
    case EPL_TAKE_FLOOR:  return floor(x);
    case EPL_TAKE_CEIL:   return ceil(x);
    default:              return ceil(x - 0.5);
    }
}

/* The interpolation kernel at distance t: a tent, or Keys's cubic (1981, eq. 4) with its free parameter. */
static inline double epl_resize_kernel(const epl_resize_axis *a, double t)
{
    const double p = a->cubic_a;
    t = fabs(t);
    if (a->mode == EPL_RESIZE_LINEAR)
        return t < 1 ? 1 - t : 0;
    return t <= 1 ? ((p + 2) * t - (p + 3)) * t * t + 1 : t < 2 ? ((p * t - 5 * p) * t + 8 * p) * t - 4 * p : 0;
}

/* The taps of one output: `count` of them from `first` on, whose weights sum to `total` before they are divided by it. count is 0
 * where the output lies outside of the input and is the extrapolation's value. */
typedef struct epl_resize_taps {
    int64_t first, count;
    double  source, squeeze, total;
} epl_resize_taps;

static inline double epl_resize_squeeze(const epl_resize_axis *a) { return a->antialias && a->scale < 1 ? a->scale : 1; }

/* How far the taps begin before the source; the mode's number is its kernel's reach. */
static inline int64_t epl_resize_before(const epl_resize_axis *a)
{
    return (int64_t)floor(-(double)a->mode / epl_resize_squeeze(a)) + 1;
}

/* The most taps that an output has. */
static inline int64_t epl_resize_most(const epl_resize_axis *a)
{
    return a->mode == EPL_RESIZE_NEAREST ? 1 : 2 - 2 * epl_resize_before(a);
}

static inline double epl_resize_raw(const epl_resize_axis *a, const epl_resize_taps *t, int64_t k)
{
    const int64_t at = t->first + k;
    if (a->mode == EPL_RESIZE_NEAREST)
        return 1;
    return a->exclude && (at < 0 || at >= a->in) ? 0 : epl_resize_kernel(a, ((double)at - t->source) * t->squeeze);
}

static inline epl_resize_taps epl_resize_taps_of(const epl_resize_axis *a, int64_t o)
{
    const double    source = epl_resize_source(a, o);
    epl_resize_taps t = { 0, epl_resize_most(a), source, epl_resize_squeeze(a), 1 };
    if (a->coordinates == EPL_FROM_TF_CROP && !(source >= 0 && source <= (double)a->in - 1)) {
        t.count = 0;
        return t;
    }
    if (a->mode == EPL_RESIZE_NEAREST) {
        t.first = (int64_t)epl_resize_nearest(a, source);
        return t;
    }
    t.first = (int64_t)floor(source) + epl_resize_before(a);
    t.total = 0;
    for (int64_t k = 0; k < t.count; k++)
        t.total += epl_resize_raw(a, &t, k);
    return t;
}

/* Weight k, and which input it belongs to: positions outside read the edge. */
static inline double epl_resize_weight(const epl_resize_axis *a, const epl_resize_taps *t, int64_t k, int64_t *at)
{
    *at = t->first + k < 0 ? 0 : t->first + k >= a->in ? a->in - 1 : t->first + k;
    return t->total != 0 ? epl_resize_raw(a, t, k) / t->total : 0;
}

#endif
