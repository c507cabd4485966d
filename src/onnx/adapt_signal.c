/* adapt_signal: windows, and random numbers. The draws follow this library's generator: ONNX defines their distribution, not
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
    { "RandomUniform", import_random, NULL }, { "RandomUniformLike", import_random, NULL },
    { "RandomNormal", import_random, NULL }, { "RandomNormalLike", import_random, NULL }, { NULL, NULL, NULL },
};
