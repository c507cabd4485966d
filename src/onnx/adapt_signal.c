/* adapt_signal: windows, Fourier transforms, and random numbers. The draws follow this library's generator: ONNX
 * defines their distribution, not their values. */
#include "onnx/adapt.h"

#include <math.h>
#include <string.h>

/* a0 - a1 cos(2 pi i / N) + a2 cos(4 pi i / N), N the size, or one less for a symmetric window. */
static bool import_window(onnx_node *n)
{
    const double   *a = onnx_detail(n);
    const epl_dtype type = onnx_dtype(onnx_int(n, "output_datatype", 1));
    int64_t         size;
    if (onnx_known_ints(n, 0, "the size", &size, 1) < 1)
        return false;
    if (size < 1 || size > 1 << 24 || !epl_dtype_is_float(type))
        return onnx_unsupported(n, "a window of %lld elements, or of no real type", (long long)size);
    const double period = (double)(onnx_int(n, "periodic", 1) || size == 1 ? size : size - 1), turn = 2 * 3.14159265358979323846 / period;
    epl_tensor  *t = epl_tensor_new(onnx_context(n), type, EPL_SHAPE(size));
    for (int64_t i = 0; t && i < size; i++)
        epl_tensor_set(t, i, a[0] - a[1] * cos(turn * (double)i) + a[2] * cos(2 * turn * (double)i));
    epl_value *v = t ? epl_constant(n->g, t) : NULL;
    epl_tensor_free(t);
    return onnx_set(n, v);
}

/* Triangles with peak 1 over the bins of a spectrum, their corners evenly spaced on the mel scale. Everything is known, so the
 * matrix [length / 2 + 1, bands] is a constant. */
static void fill_mel(epl_tensor *t, const int64_t *corner, int64_t rows, int64_t bands)
{
    for (int64_t i = 0; i < bands; i++) {
        const int64_t low = corner[i], mid = corner[i + 1], high = corner[i + 2];
        for (int64_t j = low; j < high && j < rows; j++)
            epl_tensor_set(t, j * bands + i, j < mid ? (double)(j - low) / (double)(mid - low) : (double)(high - j) / (double)(high - mid));
        if (mid < rows)
            epl_tensor_set(t, mid * bands + i, 1);
    }
}

static bool import_mel(onnx_node *n)
{
    int64_t bands, length, rate;
    double  low, high;
    const epl_dtype type = onnx_dtype(onnx_int(n, "output_datatype", 1));
    if (onnx_known_ints(n, 0, "the number of bands", &bands, 1) < 1 || onnx_known_ints(n, 1, "the length", &length, 1) < 1 ||
        onnx_known_ints(n, 2, "the rate", &rate, 1) < 1 || !onnx_known_real(n, 3, "the lower edge", &low) ||
        !onnx_known_real(n, 4, "the upper edge", &high))
        return false;
    if (bands < 1 || length < 1 || length > 1 << 24 || bands > (1 << 24) / length || rate < 1 ||
        !(low >= 0 && low <= high && high <= (double)rate) || !epl_dtype_is_float(type))
        return onnx_unsupported(n, "%lld bands of %lld elements from %g to %g hertz", (long long)bands, (long long)length, low, high);
    const double from = 2595 * log10(1 + low / 700), step = (2595 * log10(1 + high / 700) - from) / (double)(bands + 2);
    int64_t     *corner = epl_alloc_array(onnx_context(n), (size_t)bands + 2, sizeof *corner);
    epl_tensor  *t = epl_tensor_new(onnx_context(n), type, EPL_SHAPE(length / 2 + 1, bands));
    for (int64_t i = 0; corner && i < bands + 2; i++)
        corner[i] = (int64_t)floor((double)(length + 1) * 700 * (pow(10, (from + (double)i * step) / 2595) - 1) / (double)rate);
    if (corner && t)
        fill_mel(t, corner, length / 2 + 1, bands);
    epl_value *v = corner && t ? epl_constant(n->g, t) : NULL;
    epl_tensor_free(t);
    epl_release(onnx_context(n), corner);
    return onnx_set(n, v);
}

/* ---- discrete Fourier transforms, as products with constant matrices ---- */
static epl_value *turns(onnx_node *n, epl_dtype t, int64_t length, int64_t bins, bool sine, double scale)
{
    epl_tensor *m = epl_tensor_new(onnx_context(n), t, EPL_SHAPE(length, bins));
    for (int64_t i = 0; m && i < length; i++)
        for (int64_t k = 0; k < bins; k++) {
            const double angle = 2 * 3.14159265358979323846 * (double)(i * k % length) / (double)length;
            epl_tensor_set(m, i * bins + k, scale * (sine ? sin(angle) : cos(angle)));
        }
    epl_value *v = m ? epl_constant(n->g, m) : NULL;
    epl_tensor_free(m);
    return v;
}

/* x [..., L, ..., 1 or 2], real or complex, along an axis -> [..., bins, ..., 2]. */
static epl_value *dft(onnx_node *n, epl_value *x, int axis, bool inverse, bool onesided)
{
    epl_graph    *g = n->g;
    const int64_t length = epl_dim(x, axis), bins = onesided ? length / 2 + 1 : length;
    const int     rank = epl_rank(x), last = rank - 2;
    const double  scale = inverse ? 1 / (double)length : 1;
    const int     parts_axis = rank - 1;
    const bool    complex = epl_dim(x, -1) == 2;
    const epl_matmul_opts o = { 0 };
    if (!x || length < 1 || length > 8192 || rank < 3) {
        onnx_unsupported(n, "a transform of %lld elements", (long long)length);
        return NULL;
    }
    epl_value *re = epl_swap_axes(g, epl_squeeze(g, epl_slice_axis(g, x, parts_axis, 0, 1), 1, &parts_axis), axis, last), *im = NULL;
    if (complex)
        im = epl_swap_axes(g, epl_squeeze(g, epl_slice_axis(g, x, parts_axis, 1, 2), 1, &parts_axis), axis, last);
    epl_value *c = turns(n, x->dtype, length, bins, false, scale), *s = turns(n, x->dtype, length, bins, true, inverse ? -scale : scale);
    epl_value *parts[2] = { epl_matmul(g, re, c, o), epl_neg(g, epl_matmul(g, re, s, o)) };
    if (im) {
        parts[0] = epl_add(g, parts[0], epl_matmul(g, im, s, o));
        parts[1] = epl_add(g, parts[1], epl_matmul(g, im, c, o));
    }
    for (int i = 0; i < 2; i++)
        parts[i] = epl_swap_axes(g, parts[i], axis, last);
    return epl_stack(g, 2, parts, parts_axis);
}

/* The inverse of a one-sided transform: x [..., L / 2 + 1, ..., 2] -> [..., L, ..., 1]. Bins but the first (and, of
 * an even L, the last) stand for two. */
static epl_value *inverse_real(onnx_node *n, epl_value *x, int axis, int64_t length)
{
    epl_graph    *g = n->g;
    const int64_t bins = length / 2 + 1;
    const int     last = epl_rank(x) - 2, parts_axis = epl_rank(x) - 1;
    epl_tensor   *weights = epl_tensor_new(onnx_context(n), x->dtype, EPL_SHAPE(bins, 1));
    for (int64_t k = 0; weights && k < bins; k++)
        epl_tensor_set(weights, k, (k == 0 || 2 * k == length ? 1.0 : 2.0) / (double)length);
    epl_value *w = weights ? epl_constant(g, weights) : NULL, *part[2];
    epl_tensor_free(weights);
    for (int i = 0; i < 2; i++) {
        const int64_t turned[2] = { bins, length };
        part[i] = epl_swap_axes(g, epl_squeeze(g, epl_slice_axis(g, x, parts_axis, i, i + 1), 1, &parts_axis), axis, last);
        epl_value *m = epl_slice_axis(g, turns(n, x->dtype, length, length, i == 1, 1), 0, 0, turned[0]);
        part[i] = epl_matmul(g, part[i], epl_mul(g, m, w), (epl_matmul_opts){ 0 });
    }
    return epl_unsqueeze(g, epl_swap_axes(g, epl_sub(g, part[0], part[1]), axis, last), 1, &parts_axis);
}

/* Cut off or filled with zeros to `length` elements. */
static epl_value *of_length(onnx_node *n, epl_value *x, int axis, int64_t length)
{
    const int64_t is = epl_dim(x, axis);
    epl_pad_opts  pad = { .mode = EPL_PAD_CONSTANT };
    if (length <= is)
        return length == is ? x : epl_slice_axis(n->g, x, axis, 0, length);
    pad.after[axis] = length - is;
    return epl_pad(n->g, x, pad);
}

static bool import_dft(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    length, which = onnx_int(n, "axis", 1);
    int        axis;
    if (onnx_has(n, 2) && onnx_known_ints(n, 2, "the axis", &which, 1) < 1)
        return false;
    if (!x || !onnx_axis(n, which, x->shape.rank, &axis) || axis == x->shape.rank - 1)
        return onnx_unsupported(n, "a transform along axis %lld", (long long)which);
    const bool inverse = onnx_int(n, "inverse", 0) != 0, onesided = onnx_int(n, "onesided", 0) != 0, real = inverse && onesided;
    length = real ? 2 * (epl_dim(x, axis) - 1) : epl_dim(x, axis);
    if (onnx_has(n, 1) && onnx_known_ints(n, 1, "the length", &length, 1) < 1)
        return false;
    if (length < 1 || length > 8192 || x->shape.rank < 3 || (real && epl_dim(x, -1) != 2))
        return onnx_unsupported(n, "a transform of %lld elements", (long long)length);
    x = of_length(n, x, axis, real ? length / 2 + 1 : length);
    return onnx_set(n, real ? inverse_real(n, x, axis, length) : dft(n, x, axis, inverse, onesided));
}

/* signal [B, L, 1 or 2] -> [B, frames, bins, 2] */
static bool import_stft(onnx_node *n)
{
    epl_graph *g = n->g;
    epl_value *x = onnx_in(n, 0), *window = onnx_in(n, 2);
    int64_t    step, length = epl_dim(window, 0);
    if (!x || onnx_known_ints(n, 1, "the step", &step, 1) < 1 || (onnx_has(n, 3) && onnx_known_ints(n, 3, "the length", &length, 1) < 1))
        return false;
    if (x->shape.rank != 3 || step < 1 || length < 1 || length > epl_dim(x, 1) || length > 8192)
        return onnx_unsupported(n, "frames of %lld elements, a step of %lld", (long long)length, (long long)step);
    const int64_t frames = 1 + (epl_dim(x, 1) - length) / step;
    epl_value    *starts = epl_mul(g, epl_range(g, EPL_I64, 0, (double)frames, 1), epl_scalar(g, EPL_I64, (double)step));
    epl_value    *at = epl_add(g, epl_reshape(g, starts, EPL_SHAPE(-1, 1)), epl_range(g, EPL_I64, 0, (double)length, 1));
    epl_value    *framed = epl_gather(g, x, at, 1); // [B, frames, length, parts]
    if (window)
        framed = epl_mul(g, framed, epl_reshape(g, window, EPL_SHAPE(-1, 1)));
    return framed && onnx_set(n, dft(n, framed, 2, false, onnx_int(n, "onesided", 1) != 0));
}

/* Of an attribute's shape, or like an input. */
static bool random_options(onnx_node *n, bool like, epl_random_opts *o)
{
    int64_t dims[EPL_MAX_RANK];
    (void)onnx_real(n, "seed", 0);
    o->like = like ? onnx_in(n, 0) : NULL;
    if (like && !o->like)
        return false;
    if (onnx_has_attr(n, "dtype"))
        o->dtype = onnx_dtype(onnx_int(n, "dtype", 1));
    else
        o->dtype = like ? o->like->dtype : EPL_F32;
    if (!epl_dtype_is_float(o->dtype))
        return onnx_unsupported(n, "random numbers of type %s", epl_dtype_name(o->dtype));
    if (like)
        return true;
    const int count = onnx_ints(n, "shape", dims, EPL_MAX_RANK);
    if (count < 0)
        return onnx_fail(n, EPL_ERR_FORMAT, "the attribute 'shape' is missing");
    o->shape.rank = count;
    memcpy(o->shape.dim, dims, (size_t)count * sizeof *dims);
    return true;
}

static bool import_random(onnx_node *n)
{
    epl_random_opts o = { 0 };
    const bool uniform = strncmp(n->op, "RandomUniform", 13) == 0;
    if (!random_options(n, strstr(n->op, "Like") != NULL, &o))
        return false;
    if (n->g->root != n->g)
        return onnx_unsupported(n, "random numbers within a sub-graph");
    epl_value *key = epl_rng_key(n->g);
    return onnx_set(n, uniform ? epl_random_uniform(n->g, key, onnx_real(n, "low", 0), onnx_real(n, "high", 1), o)
                               : epl_random_normal(n->g, key, onnx_real(n, "mean", 0), onnx_real(n, "scale", 1), o));
}

/* 1 with the probability that x says. */
static bool import_bernoulli(onnx_node *n)
{
    epl_value      *x = onnx_in(n, 0);
    const epl_dtype type = onnx_has_attr(n, "dtype") ? onnx_dtype(onnx_int(n, "dtype", 1)) : x ? x->dtype : EPL_F32;
    (void)onnx_real(n, "seed", 0);
    if (!x || type == EPL_NO_DTYPE)
        return onnx_unsupported(n, "results of type %s", onnx_dtype_name(onnx_int(n, "dtype", 1)));
    if (n->g->root != n->g)
        return onnx_unsupported(n, "random numbers within a sub-graph");
    epl_value *draw = epl_random_uniform(n->g, epl_rng_key(n->g), 0, 1, (epl_random_opts){ .like = x, .dtype = x->dtype });
    return onnx_set(n, epl_cast(n->g, epl_less(n->g, draw, x), type));
}

static const double hann[] = { 0.5, 0.5, 0 }, hamming[] = { 25.0 / 46, 21.0 / 46, 0 }, blackman[] = { 0.42, 0.5, 0.08 };

const onnx_op onnx_ops_signal[] = {
    { "HannWindow", import_window, hann }, { "HammingWindow", import_window, hamming }, { "BlackmanWindow", import_window, blackman },
    { "MelWeightMatrix", import_mel, NULL }, { "Bernoulli", import_bernoulli, NULL },
    { "DFT", import_dft, NULL }, { "STFT", import_stft, NULL },
    { "RandomUniform", import_random, NULL }, { "RandomUniformLike", import_random, NULL },
    { "RandomNormal", import_random, NULL }, { "RandomNormalLike", import_random, NULL }, { NULL, NULL, NULL },
};
