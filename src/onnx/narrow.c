/* See narrow.h. */
#include "onnx/narrow.h"

#include "onnx/importer.h"

#include <math.h>
#include <string.h>

static const onnx_narrow types[] = {
    { 17, "float8e4m3fn", EPL_F32, 8, 3, 7, 448, NARROW_LAST_NAN },     { 18, "float8e4m3fnuz", EPL_F32, 8, 3, 8, 240, NARROW_UNSIGNED_ZERO },
    { 19, "float8e5m2", EPL_F32, 8, 2, 15, 57344, NARROW_INF },         { 20, "float8e5m2fnuz", EPL_F32, 8, 2, 16, 57344, NARROW_UNSIGNED_ZERO },
    { 21, "uint4", EPL_U8, 4, 0, 0, 15, NARROW_FINITE },                { 22, "int4", EPL_I8, 4, 0, 0, 7, NARROW_FINITE },
    { 23, "float4e2m1", EPL_F32, 4, 1, 1, 6, NARROW_FINITE },           { 24, "float8e8m0", EPL_F32, 8, 0, 127, 0x1p127, NARROW_POWER },
    { 25, "uint2", EPL_U8, 2, 0, 0, 3, NARROW_FINITE },                 { 26, "int2", EPL_I8, 2, 0, 0, 1, NARROW_FINITE },
};

const onnx_narrow *onnx_narrow_type(int64_t type)
{
    for (size_t i = 0; i < EPL_COUNT(types); i++)
        if (types[i].type == type)
            return &types[i];
    return NULL;
}

epl_dtype onnx_held_dtype(int64_t type)
{
    const onnx_narrow *t = onnx_narrow_type(type);
    return t ? t->held : onnx_dtype(type);
}

double onnx_narrow_decode(const onnx_narrow *t, unsigned bits)
{
    const unsigned sign = bits >> (t->bits - 1) & 1, mantissa = bits & ((1u << t->mantissa) - 1);
    if (t->held == EPL_U8)
        return bits;
    if (t->held == EPL_I8)
        return (double)bits - (sign ? (double)(1u << t->bits) : 0);
    if (t->kind == NARROW_POWER)
        return bits == 255 ? NAN : ldexp(1, (int)bits - t->bias);
    const unsigned all = (1u << (t->bits - 1 - t->mantissa)) - 1, exponent = bits >> t->mantissa & all;
    if ((t->kind == NARROW_UNSIGNED_ZERO && bits == 0x80) || (t->kind == NARROW_LAST_NAN && exponent == all && mantissa == 7))
        return NAN;
    double x = exponent ? ldexp((double)mantissa + (double)(1u << t->mantissa), (int)exponent - t->bias - t->mantissa)
                        : ldexp((double)mantissa, 1 - t->bias - t->mantissa);
    if (t->kind == NARROW_INF && exponent == all)
        x = mantissa ? NAN : INFINITY;
    return sign ? -x : x;
}

/* ---- which values are narrow ---- */

static const onnx_narrow *marked(const onnx_import *imp, const epl_value *v)
{
    for (size_t i = 0; i < imp->n_narrow; i++)
        if (imp->narrow[i].value == v)
            return onnx_narrow_type(imp->narrow[i].type);
    return NULL;
}

bool onnx_narrow_mark(onnx_import *imp, const epl_value *v, int64_t type)
{
    if (!v || !onnx_narrow_type(type) || marked(imp, v))
        return true;
    if (!epl_grow(imp->ctx, &imp->narrow, imp->n_narrow, &imp->cap_narrow, sizeof *imp->narrow))
        return false;
    imp->narrow[imp->n_narrow].value = v;
    imp->narrow[imp->n_narrow++].type = type;
    return true;
}

const onnx_narrow *onnx_narrow_in(onnx_node *n, int i)
{
    const onnx_entry *e = NULL;
    if (i >= n->n_in || !*n->proto->input[i])
        return NULL;
    for (const onnx_scope *s = n->scope; s && !e; s = s->parent)
        e = onnx_scope_find(s, n->proto->input[i]);
    return !e ? NULL : e->value ? marked(n->imp, e->value) : e->init ? onnx_narrow_type(e->init->data_type) : NULL;
}

static const char movers[] = "Identity,Reshape,Transpose,Squeeze,Unsqueeze,Flatten";

bool onnx_narrow_refuse(onnx_node *n)
{
    const bool whole = n->g == n->imp->graph; // a region's inputs do not say what they are
    for (int i = 0; i < n->n_in; i++) {
        const onnx_narrow *t = onnx_narrow_in(n, i);
        if (!t || (whole && (epl_glob(movers, n->op) || epl_glob("Cast,CastLike,QuantizeLinear,DequantizeLinear,Shape,Size", n->op))))
            continue;
        onnx_unsupported(n, "its input %d has elements of type %s", i, t->name);
        return true;
    }
    return false;
}

bool onnx_narrow_pass_on(onnx_node *n)
{
    const onnx_narrow *t = n->imp->n_narrow && epl_glob(movers, n->op) ? onnx_narrow_in(n, 0) : NULL;
    return !t || onnx_narrow_mark(n->imp, n->out[0], t->type);
}

/* ---- rounding ---- */

epl_value *onnx_to_narrow(onnx_node *n, epl_value *x, const onnx_narrow *t, bool saturate)
{
    epl_graph *g = n->g;
    epl_value *y;
    if (!x)
        return NULL;
    if (t->held == EPL_F32) {
        const epl_narrow_opts o = { .mantissa = t->mantissa,
                                    .least_exponent = t->kind == NARROW_POWER ? -t->bias : 1 - t->bias,
                                    .most = t->most,
                                    .overflow = saturate || t->kind == NARROW_FINITE ? EPL_NARROW_SATURATE
                                                : t->kind == NARROW_INF              ? EPL_NARROW_INFINITY
                                                                                     : EPL_NARROW_NAN,
                                    .rounding = t->kind == NARROW_POWER ? EPL_NARROW_UP : EPL_NARROW_EVEN,
                                    .no_nan = t->kind == NARROW_FINITE,
                                    .unsigned_zero = t->kind == NARROW_UNSIGNED_ZERO };
        y = epl_narrow(g, epl_dtype_is_float(x->dtype) ? x : epl_cast(g, x, EPL_F64), o);
        y = y ? epl_cast(g, y, EPL_F32) : NULL;
        if (t->kind == NARROW_POWER) // there is no zero
            y = epl_max(g, y, epl_scalar(g, EPL_F32, 0x1p-127));
    } else { // higher bits are dropped
        y = epl_bitwise_and(g, epl_cast(g, x, EPL_I64), epl_scalar(g, EPL_I64, (double)((1 << t->bits) - 1)));
        epl_value *sign = epl_scalar(g, EPL_I64, t->held == EPL_I8 ? (double)(1 << (t->bits - 1)) : 0);
        y = epl_cast(g, epl_sub(g, epl_bitwise_xor(g, y, sign), sign), t->held);
    }
    return y && onnx_narrow_mark(n->imp, y, t->type) ? y : NULL;
}
