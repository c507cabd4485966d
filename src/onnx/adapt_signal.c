/* adapt_signal: windows, Fourier transforms, and random numbers. The draws follow this library's generator: ONNX defines their distribution, not
 * their values. */
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
    if (onnx_has(n, 1)) {
        if (onnx_known_ints(n, 1, "the length", &length, 1) < 1 || length < 1 || length > 8192)
            return onnx_unsupported(n, "this length");
        x = of_length(n, x, axis, length);
    }
    return onnx_set(n, dft(n, x, axis, onnx_int(n, "inverse", 0) != 0, onnx_int(n, "onesided", 0) != 0));
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

static const double hann[] = { 0.5, 0.5, 0 }, hamming[] = { 25.0 / 46, 21.0 / 46, 0 }, blackman[] = { 0.42, 0.5, 0.08 };

const onnx_op onnx_ops_signal[] = {
    { "HannWindow", import_window, hann }, { "HammingWindow", import_window, hamming }, { "BlackmanWindow", import_window, blackman },
    { "DFT", import_dft, NULL }, { "STFT", import_stft, NULL },
    { "RandomUniform", import_random, NULL }, { "RandomUniformLike", import_random, NULL },
    { "RandomNormal", import_random, NULL }, { "RandomNormalLike", import_random, NULL }, { NULL, NULL, NULL },
};
