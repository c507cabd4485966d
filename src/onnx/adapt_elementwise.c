/* adapt_elementwise: element-wise operators. Most are rows of our table under ONNX's names with ONNX's attributes and come
 * through one adapter; the others differ in older opsets (bounds as attributes, broadcasting on request) or take lists. */
#include "onnx/adapt.h"
#include "onnx/narrow.h"

#include <math.h>
#include <string.h>

bool onnx_elementwise(onnx_node *n)
{
    const char   *name = onnx_detail(n) ? onnx_detail(n) : n->op;
    const epl_op *op = epl_op_find(name);
    epl_attr      attrs[EPL_MAX_ATTRS] = { 0 };
    epl_value    *in[3] = { 0 };
    if (!op || op->n_inputs < 1 || op->n_inputs > 3)
        return onnx_unsupported(n, "this library has no operator %s", name);
    for (int i = 0; i < op->n_inputs; i++)
        if (!(in[i] = onnx_in(n, i)))
            return onnx_fail(n, EPL_ERR_FORMAT, "its input %d is missing", i);
    for (int i = 0; i < epl_op_n_attrs(op); i++) {
        const epl_attr_field *f = &op->attrs[i];
        if (f->type == EPL_ATTR_REAL && onnx_has_attr(n, f->name))
            attrs[i] = EPL_A_R(onnx_real(n, f->name, f->def_r));
        else if (f->type != EPL_ATTR_REAL && onnx_has_attr(n, f->name))
            attrs[i] = EPL_A_I(onnx_int(n, f->name, f->def_i));
    }
    return onnx_set(n, epl_apply(n->g, op, op->n_inputs, in, attrs));
}

/* Before opset 7, b of fewer axes stood at `axis` of a and only if the node said so. */
static epl_value *legacy_broadcast(onnx_node *n, epl_value *a, epl_value *b)
{
    const int64_t broadcast = onnx_int(n, "broadcast", 0), axis = onnx_int(n, "axis", epl_rank(a) - epl_rank(b));
    if (!a || !b || n->opset >= 7 || !broadcast || axis + epl_rank(b) >= epl_rank(a))
        return b;
    epl_shape shape = b->shape;
    for (int64_t k = axis + b->shape.rank; k < a->shape.rank && shape.rank < EPL_MAX_RANK; k++)
        shape.dim[shape.rank++] = 1;
    return epl_reshape(n->g, b, shape);
}

static bool import_binary(onnx_node *n)
{
    const epl_op *op = epl_op_find(n->op);
    epl_value    *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    if (n->opset < 7)
        b = legacy_broadcast(n, a, b);
    (void)onnx_int(n, "consumed_inputs", 0);
    return a && b && onnx_set(n, epl_apply(n->g, op, EPL_IN(a, b), NULL));
}

/* The activations of opset 1 carried a list that said which inputs may be overwritten. */
static bool import_unary(onnx_node *n)
{
    int64_t ignored[8];
    if (n->opset < 6)
        onnx_ints(n, "consumed_inputs", ignored, 8);
    return onnx_elementwise(n);
}

static bool import_variadic(onnx_node *n)
{
    const epl_op *op = epl_op_find(onnx_detail(n));
    epl_value    *y = onnx_in(n, 0);
    for (int i = 1; y && i < n->n_in; i++)
        y = epl_apply(n->g, op, EPL_IN(y, onnx_in(n, i)), NULL);
    if (y && strcmp(n->op, "Mean") == 0)
        y = epl_div(n->g, y, onnx_scalar_like(n, y, n->n_in));
    if (y && n->n_in == 1)
        y = epl_identity(n->g, y);
    return onnx_set(n, y);
}

static bool import_clip(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    ignored[8];
    if (n->opset < 6)
        onnx_ints(n, "consumed_inputs", ignored, 8);
    if (n->opset < 11)
        return x && onnx_set(n, epl_clip(n->g, x, onnx_real(n, "min", -INFINITY), onnx_real(n, "max", INFINITY)));
    epl_value *y = x ? epl_identity(n->g, x) : NULL;
    const epl_tensor *low = onnx_has(n, 1) ? onnx_one_if(n, 1, false) : NULL, *high = onnx_has(n, 2) ? onnx_one_if(n, 2, false) : NULL;
    if (x && epl_dtype_is_float(x->dtype) && (low || !onnx_has(n, 1)) && (high || !onnx_has(n, 2)))
        return onnx_set(n, epl_clip(n->g, x, low ? epl_tensor_get(low, 0) : -INFINITY, high ? epl_tensor_get(high, 0) : INFINITY));
    if (y && onnx_has(n, 1))
        y = epl_max(n->g, y, onnx_in(n, 1));
    if (y && onnx_has(n, 2))
        y = epl_min(n->g, y, onnx_in(n, 2));
    return onnx_set(n, y);
}

static bool cast_to(onnx_node *n, epl_value *x, int64_t type, epl_dtype dtype)
{
    const onnx_narrow *narrow = onnx_narrow_type(type);
    const bool         saturate = onnx_int(n, "saturate", 1) != 0;
    const char        *rounding = onnx_text(n, "round_mode", "up");
    if (narrow && narrow->kind == NARROW_POWER && (strcmp(rounding, "up") != 0 || !saturate))
        return onnx_unsupported(n, "casts to %s other than rounded up and saturated", narrow->name);
    if (narrow)
        return onnx_set(n, onnx_to_narrow(n, x, narrow, saturate));
    if (dtype == EPL_NO_DTYPE)
        return onnx_unsupported(n, "casts to %s", onnx_dtype_name(type));
    return x && onnx_set(n, epl_identity(n->g, epl_cast(n->g, x, dtype)));
}

static bool import_cast(onnx_node *n)
{
    const int64_t to = onnx_int(n, "to", 0);
    return cast_to(n, onnx_in(n, 0), to, onnx_dtype(to));
}

static bool import_cast_like(onnx_node *n)
{
    epl_value         *x = onnx_in(n, 0), *like = onnx_in(n, 1);
    const onnx_narrow *narrow = onnx_narrow_in(n, 1);
    return x && like && cast_to(n, x, narrow ? narrow->type : 0, like->dtype);
}

static bool import_bit_cast(onnx_node *n)
{
    const epl_dtype to = onnx_dtype(onnx_int(n, "to", 0));
    epl_value      *x = onnx_in(n, 0);
    if (to == EPL_NO_DTYPE)
        return onnx_unsupported(n, "elements of type %s", onnx_dtype_name(onnx_int(n, "to", 0)));
    return x && onnx_set(n, epl_bit_cast(n->g, x, to));
}

static bool import_swiglu(onnx_node *n)
{
    epl_value *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    return a && b && onnx_set(n, epl_mul(n->g, epl_swish(n->g, a, onnx_real(n, "alpha", 1)), b));
}

static bool import_det(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    return x && onnx_set(n, epl_det(n->g, x));
}

static bool import_pow(onnx_node *n)
{
    epl_value *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    if (!a || !b)
        return false;
    b = legacy_broadcast(n, a, b);
    if (a->dtype == b->dtype)
        return onnx_set(n, epl_pow(n->g, a, b));
    const bool wide = epl_dtype_is_float(a->dtype) || epl_dtype_is_float(b->dtype);
    const epl_dtype t = wide ? EPL_F64 : EPL_I64; // the result has a's type; every exponent is exact in these
    return onnx_set(n, epl_cast(n->g, epl_pow(n->g, epl_cast(n->g, a, t), epl_cast(n->g, b, t)), a->dtype));
}

static bool import_mod(onnx_node *n)
{
    const bool c = onnx_int(n, "fmod", 0) != 0;
    epl_value *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    return a && b && onnx_set(n, c ? epl_fmod(n->g, a, b) : epl_mod(n->g, a, b));
}

static bool import_bit_shift(onnx_node *n)
{
    const char *way = onnx_text(n, "direction", "");
    epl_value  *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    const bool  left = strcmp(way, "LEFT") == 0;
    if (!left && strcmp(way, "RIGHT") != 0)
        return onnx_unsupported(n, "direction '%s'", way);
    return a && b && onnx_set(n, left ? epl_shift_left(n->g, a, b) : epl_shift_right(n->g, a, b));
}

/* The slope broadcasts to x from the right; before opset 7 a slope of C elements meant one for each channel. */
static bool import_prelu(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *slope = onnx_in(n, 1);
    if (!x || !slope)
        return false;
    if (n->opset < 7 && slope->shape.rank == 1 && x->shape.rank > 2) {
        epl_shape shape = { .rank = x->shape.rank - 1, .dim = { slope->shape.dim[0] } };
        for (int i = 1; i < shape.rank; i++)
            shape.dim[i] = 1;
        slope = epl_reshape(n->g, slope, shape);
    }
    return onnx_set(n, epl_prelu(n->g, x, slope));
}

static bool import_gelu(onnx_node *n)
{
    const char *form = onnx_text(n, "approximate", "none");
    epl_value  *x = onnx_in(n, 0);
    return x && onnx_set(n, strcmp(form, "tanh") == 0 ? epl_gelu_tanh(n->g, x) : epl_gelu(n->g, x));
}

static bool import_isinf(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    return x && onnx_set(n, epl_isinf(n->g, x, (double)onnx_int(n, "detect_negative", 1), (double)onnx_int(n, "detect_positive", 1)));
}

static bool import_einsum(onnx_node *n)
{
    epl_value *in[16];
    if (n->n_in > (int)EPL_COUNT(in))
        return onnx_unsupported(n, "%d inputs", n->n_in);
    for (int i = 0; i < n->n_in; i++)
        in[i] = onnx_in(n, i);
    return onnx_set(n, epl_einsum(n->g, onnx_text(n, "equation", ""), n->n_in, in));
}

static bool import_identity(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    return x && onnx_set(n, x);
}

static bool import_affine(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    return x && onnx_set(n, epl_affine(n->g, x, onnx_real(n, "alpha", 1), onnx_real(n, "beta", 0)));
}

const onnx_op onnx_ops_elementwise[] = {
    { "Abs", import_unary, NULL }, { "Acos", import_unary, NULL }, { "Acosh", import_unary, NULL }, { "Add", import_binary, NULL },
    { "Affine", import_affine, NULL }, { "And", import_binary, NULL }, { "Asin", import_unary, NULL }, { "Asinh", import_unary, NULL },
    { "Atan", import_unary, NULL }, { "Atanh", import_unary, NULL }, { "BitCast", import_bit_cast, NULL },
    { "BitShift", import_bit_shift, NULL }, { "Det", import_det, NULL },
    { "BitwiseAnd", onnx_elementwise, NULL }, { "BitwiseNot", onnx_elementwise, NULL }, { "BitwiseOr", onnx_elementwise, NULL },
    { "BitwiseXor", onnx_elementwise, NULL }, { "Cast", import_cast, NULL }, { "CastLike", import_cast_like, NULL },
    { "Ceil", import_unary, NULL }, { "Celu", import_unary, NULL }, { "Clip", import_clip, NULL }, { "Cos", import_unary, NULL },
    { "Cosh", import_unary, NULL }, { "Div", import_binary, NULL }, { "Einsum", import_einsum, NULL }, { "Elu", import_unary, NULL },
    { "Equal", import_binary, NULL }, { "Erf", import_unary, NULL }, { "Exp", import_unary, NULL }, { "Floor", import_unary, NULL },
    { "Gelu", import_gelu, NULL }, { "Greater", import_binary, NULL }, { "GreaterOrEqual", onnx_elementwise, NULL },
    { "HardSigmoid", import_unary, NULL }, { "HardSwish", onnx_elementwise, NULL }, { "Identity", import_identity, NULL },
    { "IsInf", import_isinf, NULL }, { "IsNaN", onnx_elementwise, NULL }, { "LeakyRelu", import_unary, NULL },
    { "Less", import_binary, NULL }, { "LessOrEqual", onnx_elementwise, NULL }, { "Log", import_unary, NULL },
    { "Max", import_variadic, "Max" }, { "Mean", import_variadic, "Add" }, { "Min", import_variadic, "Min" },
    { "Mish", onnx_elementwise, NULL }, { "Mod", import_mod, NULL }, { "Mul", import_binary, NULL }, { "Neg", import_unary, NULL },
    { "Not", onnx_elementwise, NULL }, { "Or", import_binary, NULL }, { "PRelu", import_prelu, NULL }, { "Pow", import_pow, NULL },
    { "Reciprocal", import_unary, NULL }, { "Relu", import_unary, NULL }, { "Round", onnx_elementwise, NULL },
    { "Selu", import_unary, NULL }, { "Shrink", onnx_elementwise, NULL }, { "Sigmoid", import_unary, NULL },
    { "Sign", import_unary, NULL }, { "Sin", import_unary, NULL }, { "Sinh", import_unary, NULL }, { "Softplus", onnx_elementwise, NULL },
    { "Softsign", onnx_elementwise, NULL }, { "Sqrt", import_unary, NULL }, { "Sub", import_binary, NULL },
    { "SwiGLU", import_swiglu, NULL }, { "Swish", onnx_elementwise, NULL },
    { "Sum", import_variadic, "Add" }, { "Tan", import_unary, NULL }, { "Tanh", import_unary, NULL },
    { "ThresholdedRelu", onnx_elementwise, NULL }, { "Where", onnx_elementwise, NULL }, { "Xor", import_binary, NULL },
    { NULL, NULL, NULL },
};
