/* adapt_quantised: the quantised operators as element-wise arithmetic around the ordinary ones, so that passes and the compiler
 * see nothing new. Sums of products of 8-bit numbers are exact in f64. */
#include "onnx/adapt.h"
#include "onnx/narrow.h"

#include <string.h>

/* Of x's axes, each number standing for `block` elements along one of them. */
static epl_value *in_blocks(onnx_node *n, epl_value *v, const epl_value *x, int64_t axis, int64_t block)
{
    int a, behind;
    if (v->shape.rank != x->shape.rank || v->shape.rank >= EPL_MAX_RANK || !onnx_axis(n, axis, x->shape.rank, &a))
        return onnx_unsupported(n, "scales of %d axes for an input of %d", v->shape.rank, x->shape.rank), NULL;
    if (block < 1 || block > INT32_MAX || epl_dim(x, a) > INT32_MAX || epl_dim(v, a) != (epl_dim(x, a) + block - 1) / block)
        return onnx_fail(n, EPL_ERR_SHAPE, "%lld blocks of %lld for %lld elements", (long long)epl_dim(v, a),
                         (long long)block, (long long)epl_dim(x, a)),
               NULL;
    epl_shape wide = { .rank = v->shape.rank + 1 }, flat = v->shape;
    behind = a + 1;
    wide.dim[behind] = block; // the others stay
    flat.dim[a] *= block;
    v = epl_reshape(n->g, epl_expand(n->g, epl_unsqueeze(n->g, v, 1, &behind), wide), flat);
    return flat.dim[a] == x->shape.dim[a] ? v : epl_slice_axis(n->g, v, a, 0, x->shape.dim[a]);
}

/* A vector along one axis of x; a scalar stays. */
static epl_value *along_axis(onnx_node *n, epl_value *v, const epl_value *x, int64_t axis)
{
    int           a;
    const int64_t block = strstr(n->op, "quantizeLinear") || strstr(n->op, "QuantizeLinear") ? onnx_int(n, "block_size", 0) : 0;
    if (v && block)
        return in_blocks(n, v, x, axis, block);
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
static epl_value *round_between(onnx_node *n, epl_value *x, epl_value *zero, double low, double high)
{
    epl_value *r = epl_round(n->g, x);
    if (zero)
        r = epl_add(n->g, r, zero);
    return epl_clip(n->g, r, low, high);
}

static epl_value *round_into(onnx_node *n, epl_value *x, epl_value *zero, epl_dtype to)
{
    return epl_cast(n->g, round_between(n, x, zero, lowest(to), highest(to)), to);
}

/* The same into a type that is held in a wider one. */
static epl_value *quantise_narrow(onnx_node *n, epl_value *x, epl_value *zero, const onnx_narrow *t, bool saturate)
{
    if (t->held == EPL_F32)
        return onnx_to_narrow(n, zero ? epl_add(n->g, x, zero) : x, t, saturate);
    return onnx_to_narrow(n, round_between(n, x, zero, t->held == EPL_I8 ? -t->most - 1 : 0, t->most), t, saturate);
}

static bool integer_8_to_32(epl_dtype t)
{
    return t == EPL_I8 || t == EPL_U8 || t == EPL_I16 || t == EPL_U16 || t == EPL_I32;
}

static bool import_quantize(onnx_node *n)
{
    epl_value         *x = onnx_in(n, 0), *scale = onnx_in(n, 1), *zero = onnx_in(n, 2);
    const int64_t      axis = onnx_int(n, "axis", 1), named = onnx_int(n, "output_dtype", 0), precision = onnx_int(n, "precision", 0);
    const onnx_narrow *narrow = zero ? onnx_narrow_in(n, 2) : onnx_narrow_type(named);
    const epl_dtype    to = zero ? zero->dtype : named ? onnx_dtype(named) : EPL_U8;
    const bool         saturate = onnx_int(n, "saturate", 1) != 0;
    if (!x || !scale)
        return false;
    if ((!narrow && !integer_8_to_32(to)) || (narrow && narrow->kind == NARROW_POWER) || (precision && precision != 1))
        return onnx_unsupported(n, "quantisation to %s in precision %lld", narrow ? narrow->name : epl_dtype_name(to),
                                (long long)precision);
    epl_value *f = epl_cast(n->g, x, EPL_F32), *z = zero ? along_axis(n, epl_cast(n->g, zero, EPL_F32), x, axis) : NULL;
    f = epl_div(n->g, f, along_axis(n, epl_cast(n->g, scale, EPL_F32), x, axis));
    return onnx_set(n, narrow ? quantise_narrow(n, f, z, narrow, saturate) : round_into(n, f, z, to));
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
    const int64_t axis = onnx_int(n, "axis", 1), named = onnx_int(n, "output_dtype", 0);
    if (!x || !scale)
        return false;
    const epl_dtype to = named ? onnx_dtype(named) : scale->dtype;
    if (!epl_dtype_is_float(to))
        return onnx_unsupported(n, "results of type %s", onnx_dtype_name(named));
    return onnx_set(n, epl_cast(n->g, dequantised(n, x, scale, zero, axis, EPL_F32), to));
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
    if (!x || !w ||
        !onnx_convolve(n, centred(n, x, onnx_in(n, 2), 1), 3, centred(n, w, onnx_in(n, 5), 0),
                       bias ? epl_cast(n->g, bias, EPL_F64) : NULL))
        return false;
    return requantise(n, n->out[0], onnx_in(n, 1), onnx_in(n, 4), onnx_in(n, 6), onnx_in(n, 7), 1);
}

const onnx_op onnx_ops_quantised[] = {
    { "QuantizeLinear", import_quantize, NULL }, { "DequantizeLinear", import_dequantize, NULL },
    { "DynamicQuantizeLinear", import_dynamic_quantize, NULL }, { "MatMulInteger", import_matmul_integer, NULL },
    { "ConvInteger", import_conv_integer, NULL }, { "QLinearMatMul", import_qlinear_matmul, NULL },
    { "QLinearConv", import_qlinear_conv, NULL }, { NULL, NULL, NULL },
};
