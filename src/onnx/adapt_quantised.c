/* adapt_quantised: the quantised operators as element-wise arithmetic around the ordinary ones, so that passes and the compiler
 * see nothing new. Sums of products of 8-bit numbers are exact in f64. */
#include "onnx/adapt.h"

#include <string.h>

/* A vector along one axis of x; a scalar stays. */
static epl_value *along_axis(onnx_node *n, epl_value *v, const epl_value *x, int64_t axis)
{
    int a;
    if (!v || v->shape.rank == 0 || epl_shape_count(v->shape) == 1)
        return v ? epl_reshape(n->g, v, EPL_SCALAR) : NULL;
    if (v->shape.rank != 1) {
        onnx_unsupported(n, "a scale of %d axes (blocks)", v->shape.rank);
        return NULL;
    }
    if (!onnx_axis(n, axis, x->shape.rank, &a))
        return NULL;
    epl_shape shape = { .rank = x->shape.rank - a, .dim = { -1 } };
    for (int i = 1; i < shape.rank; i++)
        shape.dim[i] = 1;
    return epl_reshape(n->g, v, shape);
}

static double lowest(epl_dtype t) { return t == EPL_I8 ? -128 : t == EPL_I16 ? -32768 : t == EPL_I32 ? -2147483648.0 : 0; }
static double highest(epl_dtype t)
{
    return t == EPL_I8 ? 127 : t == EPL_U8 ? 255 : t == EPL_I16 ? 32767 : t == EPL_U16 ? 65535 : 2147483647.0;
}

/* saturate(round(x) + zero), zero in x's type or NULL. */
static epl_value *round_into(onnx_node *n, epl_value *x, epl_value *zero, epl_dtype to)
{
    epl_value *r = epl_round(n->g, x);
    if (zero)
        r = epl_add(n->g, r, zero);
    return epl_cast(n->g, epl_clip(n->g, r, lowest(to), highest(to)), to);
}

static bool integer_8_to_32(epl_dtype t)
{
    return t == EPL_I8 || t == EPL_U8 || t == EPL_I16 || t == EPL_U16 || t == EPL_I32;
}

static bool import_quantize(onnx_node *n)
{
    epl_value      *x = onnx_in(n, 0), *scale = onnx_in(n, 1), *zero = onnx_in(n, 2);
    const int64_t   axis = onnx_int(n, "axis", 1);
    const epl_dtype to = zero ? zero->dtype : onnx_has_attr(n, "output_dtype") && onnx_int(n, "output_dtype", 0) ? onnx_dtype(onnx_int(n, "output_dtype", 0)) : EPL_U8;
    (void)onnx_int(n, "saturate", 1); // for 8-bit floats
    if (!x || !scale)
        return false;
    if (!integer_8_to_32(to) || onnx_int(n, "block_size", 0))
        return onnx_unsupported(n, "quantisation to this type, or in blocks");
    epl_value *f = epl_cast(n->g, x, EPL_F32), *z = zero ? along_axis(n, epl_cast(n->g, zero, EPL_F32), x, axis) : NULL;
    return onnx_set(n, round_into(n, epl_div(n->g, f, along_axis(n, epl_cast(n->g, scale, EPL_F32), x, axis)), z, to));
}

static epl_value *dequantised(onnx_node *n, epl_value *x, epl_value *scale, epl_value *zero, int64_t axis, epl_dtype t)
{
    if (!x || !scale)
        return NULL;
    epl_value *f = epl_cast(n->g, x, t);
    if (zero)
        f = epl_sub(n->g, f, along_axis(n, epl_cast(n->g, zero, t), x, axis));
    return epl_mul(n->g, f, along_axis(n, epl_cast(n->g, scale, t), x, axis));
}

static bool import_dequantize(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0), *scale = onnx_in(n, 1), *zero = onnx_in(n, 2);
    const int64_t axis = onnx_int(n, "axis", 1);
    if (onnx_int(n, "block_size", 0))
        return onnx_unsupported(n, "quantisation in blocks");
    return x && scale && onnx_set(n, epl_cast(n->g, dequantised(n, x, scale, zero, axis, EPL_F32), scale->dtype));
}

/* scale = (max(x, 0) - min(x, 0)) / 255; zero = saturate(round(-min / scale)). */
static bool import_dynamic_quantize(onnx_node *n)
{
    epl_graph *g = n->g;
    epl_value *x = onnx_in(n, 0), *none = epl_scalar(g, EPL_F32, 0), *steps = epl_scalar(g, EPL_F32, 255);
    epl_value *high = epl_max(g, epl_reduce_max(g, x, (epl_reduce_opts){ 0 }), none);
    epl_value *low = epl_min(g, epl_reduce_min(g, x, (epl_reduce_opts){ 0 }), none);
    epl_value *scale = epl_div(g, epl_sub(g, high, low), steps);
    epl_value *zero = round_into(n, epl_div(g, epl_sub(g, none, low), scale), NULL, EPL_U8);
    n->out[0] = round_into(n, epl_div(g, x, scale), epl_cast(g, zero, EPL_F32), EPL_U8);
    n->out[1] = scale;
    n->out[2] = zero;
    return n->out[0] != NULL;
}

/* x - zero in f64, where products and sums are exact. */
static epl_value *centred(onnx_node *n, epl_value *x, epl_value *zero, int64_t axis)
{
    epl_value *f = x ? epl_cast(n->g, x, EPL_F64) : NULL;
    return zero && f ? epl_sub(n->g, f, along_axis(n, epl_cast(n->g, zero, EPL_F64), x, axis)) : f;
}

static bool import_matmul_integer(onnx_node *n)
{
    epl_value *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    if (!a || !b)
        return false;
    epl_value *y = onnx_matmul(n, centred(n, a, onnx_in(n, 2), a->shape.rank - 2), centred(n, b, onnx_in(n, 3), -1));
    return onnx_set(n, epl_cast(n->g, y, EPL_I32));
}

static bool import_conv_integer(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *w = onnx_in(n, 1);
    if (!x || !w || !onnx_convolve(n, centred(n, x, onnx_in(n, 2), 1), 1, centred(n, w, onnx_in(n, 3), 0), NULL))
        return false;
    return onnx_set(n, epl_cast(n->g, n->out[0], EPL_I32));
}

/* Inputs a, a's scale and zero, b, b's scale and zero, y's scale and zero: the product's scale is that of a times that of b. */
static bool requantise(onnx_node *n, epl_value *exact, epl_value *sa, epl_value *sb, epl_value *sy, epl_value *zy, int64_t axis)
{
    if (!exact || !sa || !sb || !sy || !zy)
        return false;
    epl_graph *g = n->g;
    epl_value *factor = epl_div(g, epl_mul(g, epl_cast(g, sa, EPL_F64), epl_cast(g, sb, EPL_F64)), epl_cast(g, sy, EPL_F64));
    epl_value *y = epl_mul(g, exact, along_axis(n, factor, exact, axis));
    return onnx_set(n, round_into(n, y, epl_cast(g, epl_reshape(g, zy, EPL_SCALAR), EPL_F64), zy->dtype));
}

static bool import_qlinear_matmul(onnx_node *n)
{
    epl_value *a = onnx_in(n, 0), *b = onnx_in(n, 3);
    if (!a || !b)
        return false;
    epl_value *y = onnx_matmul(n, centred(n, a, onnx_in(n, 2), a->shape.rank - 2), centred(n, b, onnx_in(n, 5), -1));
    return requantise(n, y, onnx_in(n, 1), onnx_in(n, 4), onnx_in(n, 6), onnx_in(n, 7), -1);
}

static bool import_qlinear_conv(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *w = onnx_in(n, 3), *bias = onnx_in(n, 8);
    if (!x || !w || !onnx_convolve(n, centred(n, x, onnx_in(n, 2), 1), 3, centred(n, w, onnx_in(n, 5), 0), bias ? epl_cast(n->g, bias, EPL_F64) : NULL))
        return false;
    return requantise(n, n->out[0], onnx_in(n, 1), onnx_in(n, 4), onnx_in(n, 6), onnx_in(n, 7), 1);
}

const onnx_op onnx_ops_quantised[] = {
    { "QuantizeLinear", import_quantize, NULL }, { "DequantizeLinear", import_dequantize, NULL },
    { "DynamicQuantizeLinear", import_dynamic_quantize, NULL }, { "MatMulInteger", import_matmul_integer, NULL },
    { "ConvInteger", import_conv_integer, NULL }, { "QLinearMatMul", import_qlinear_matmul, NULL },
    { "QLinearConv", import_qlinear_conv, NULL }, { NULL, NULL, NULL },
};
