/* cast: values to another element type, and their bits read as another. */
#include <espalier/ops.h>

#include "graph/op.h"

/* begin reference */
/* The nearest integer towards zero that the type holds; NaN is 0. (epl_ref_set would wrap in the narrow types.) */
static int64_t ref_cast_saturate(double x, int64_t dtype)
{
    const int64_t bits = 8 * epl_ref_bytes(dtype);
    const int     is_signed = dtype == EPL_REF_I8 || dtype == EPL_REF_I16 || dtype == EPL_REF_I32;
    const int64_t high = ((int64_t)1 << (is_signed ? bits - 1 : bits)) - 1, low = is_signed ? -high - 1 : 0;
    const int64_t i = epl_ref_to_i64(x);
    return i < low ? low : i > high ? high : i;
}

static void ref_cast(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *y = &c->out[0];
    const int64_t   n = epl_view_count(y);
    const int       narrow = !epl_ref_is_float(y->dtype) && y->dtype != EPL_REF_BOOL && epl_ref_bytes(y->dtype) < 8;
    for (int64_t i = 0; i < n; i++) {
        if (!epl_ref_is_float(x->dtype) && (!epl_ref_is_float(y->dtype) || x->dtype != EPL_REF_U64))
            epl_ref_set_i64(y, i, epl_ref_get_i64(x, i));
        else if (narrow)
            epl_ref_set_i64(y, i, ref_cast_saturate(epl_ref_get(x, i), y->dtype));
        else if (y->dtype == EPL_REF_U64 && epl_ref_get(x, i) < 0)
            epl_ref_set_i64(y, i, 0);
        else
            epl_ref_set(y, i, epl_ref_get(x, i));
    }
}

static void ref_bit_cast(const epl_ref_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, (size_t)(epl_view_count(&c->out[0]) * epl_ref_bytes(c->out[0].dtype)));
}
/* end reference */

enum { CAST_TO };

static bool infer_cast(epl_node *n)
{
    const int64_t to = n->attrs[CAST_TO].i;
    if (to <= EPL_NO_DTYPE || to >= EPL_N_DTYPES)
        return epl_node_fail(n, EPL_ERR_DTYPE, "%lld is not an element type", (long long)to);
    return epl_set_type(n, 0, (epl_dtype)to, n->inputs[0]->shape);
}

static void grad_cast(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    if (epl_dtype_is_float(n->inputs[0]->dtype) && epl_dtype_is_float(n->outputs[0]->dtype))
        dx[0] = epl_cast(g, dy[0], n->inputs[0]->dtype);
}

static epl_node *sample_cast(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_dtype to[] = { EPL_F64, EPL_F64, EPL_I32, EPL_BOOL, EPL_U8, EPL_I64 },
                    from[] = { dtype, dtype, dtype, dtype, EPL_I8, EPL_I32 };
    const uint64_t  k = epl_rng_below(r, EPL_COUNT(to));
    const epl_attr  attrs[] = { [CAST_TO] = EPL_A_I(to[k]) };
    epl_value *x = epl_sample_input(g, from[k], EPL_SHAPE(2, 3), -5, 5, 0.01);
    return epl_node_add(g, &epl_op_cast, EPL_IN(x), attrs, 0, NULL);
}

const epl_op epl_op_cast = {
    .name = "Cast", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [CAST_TO] = { "to", EPL_ATTR_DTYPE, .required = true } },
    .infer = infer_cast, .grad = grad_cast, EPL_REF(ref_cast), .sample = sample_cast,
};

epl_value *epl_cast(epl_graph *g, epl_value *x, epl_dtype to)
{
    const epl_attr attrs[] = { [CAST_TO] = EPL_A_I(to) };
    return !x || x->dtype == to ? x : epl_apply(g, &epl_op_cast, EPL_IN(x), attrs);
}

/* ---- BitCast: the same bytes under another type of the same width ---- */

static bool infer_bit_cast(epl_node *n)
{
    const int64_t   to = n->attrs[CAST_TO].i;
    const epl_dtype from = n->inputs[0]->dtype;
    if (to <= EPL_NO_DTYPE || to >= EPL_N_DTYPES || epl_dtype_bytes((epl_dtype)to) != epl_dtype_bytes(from))
        return epl_node_fail(n, EPL_ERR_DTYPE, "%s cannot be read as %s, whose width is another", epl_dtype_name(from),
                             to > EPL_NO_DTYPE && to < EPL_N_DTYPES ? epl_dtype_name((epl_dtype)to) : "an unknown type");
    return epl_set_type(n, 0, (epl_dtype)to, n->inputs[0]->shape);
}

static epl_node *sample_bit_cast(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_attr attrs[] = { [CAST_TO] = EPL_A_I(dtype == EPL_F64 ? EPL_I64 : epl_rng_below(r, 2) ? EPL_I32 : EPL_U32) };
    return epl_node_add(g, &epl_op_bit_cast, EPL_IN(epl_sample_input(g, dtype, EPL_SHAPE(2, 3), -5, 5, 0)), attrs, 0, NULL);
}

const epl_op epl_op_bit_cast = {
    .name = "BitCast", .n_inputs = 1, .n_outputs = 1, .attrs = { [CAST_TO] = { "to", EPL_ATTR_DTYPE, .required = true } },
    .infer = infer_bit_cast, EPL_REF(ref_bit_cast), .sample = sample_bit_cast,
};

epl_value *epl_bit_cast(epl_graph *g, epl_value *x, epl_dtype to)
{
    const epl_attr attrs[] = { [CAST_TO] = EPL_A_I(to) };
    return x ? epl_apply(g, &epl_op_bit_cast, EPL_IN(x), attrs) : NULL;
}
