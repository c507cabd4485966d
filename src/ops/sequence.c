/* sequence: what runs along an axis - CumSum, CumProd, ReverseSequence - and Trilu, the triangle that causal masks are made of. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
static void ref_cumulate(const epl_ref_call *c, int product)
{
    const epl_view *x = &c->in[0], *y = &c->out[0];
    const int64_t   axis = c->attr[0].i < 0 ? c->attr[0].i + x->rank : c->attr[0].i, d = x->dim[axis];
    const int       exclusive = c->attr[1].i != 0, backwards = c->attr[2].i != 0;
    int64_t outer = 1, inner = 1;
    for (int64_t i = 0; i < x->rank; i++)
        *(i < axis ? &outer : &inner) *= i == axis ? 1 : x->dim[i];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            double   real = product;
            uint64_t whole = (uint64_t)product;
            for (int64_t k = 0; k < d; k++) {
                const int64_t  at = (o * d + (backwards ? d - 1 - k : k)) * inner + i;
                const double   r = epl_ref_get(x, at);
                const uint64_t w = epl_ref_is_float(x->dtype) ? 0 : (uint64_t)epl_ref_get_i64(x, at);
                const double   next = product ? real * r : real + r;
                const uint64_t after = product ? whole * w : whole + w;
                if (epl_ref_is_float(x->dtype))
                    epl_ref_set(y, at, exclusive ? real : next);
                else
                    epl_ref_set_i64(y, at, (int64_t)(exclusive ? whole : after));
                real = next;
                whole = after;
            }
        }
}

static void ref_cumsum(const epl_ref_call *c) { ref_cumulate(c, 0); }
static void ref_cumprod(const epl_ref_call *c) { ref_cumulate(c, 1); }

static void ref_reverse_sequence(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *y = &c->out[0];
    const int64_t   batch = c->attr[0].i < 0 ? c->attr[0].i + x->rank : c->attr[0].i;
    const int64_t   time = c->attr[1].i < 0 ? c->attr[1].i + x->rank : c->attr[1].i;
    const int64_t   bytes = epl_ref_bytes(x->dtype), n = epl_view_count(y);
    int64_t stride = 1, index[8] = { 0 };
    for (int64_t i = time + 1; i < x->rank; i++)
        stride *= x->dim[i];
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, y->dim, y->rank)) {
        const int64_t asked = epl_ref_get_i64(&c->in[1], index[batch]), length = asked > x->dim[time] ? x->dim[time] : asked;
        const int64_t from = index[time] < length ? o + (length - 1 - 2 * index[time]) * stride : o;
        memcpy((char *)y->data + o * bytes, (const char *)x->data + from * bytes, (size_t)bytes);
    }
}

static void ref_trilu(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    const int64_t   rows = x->dim[x->rank - 2], columns = x->dim[x->rank - 1], bytes = epl_ref_bytes(x->dtype), n = epl_view_count(x);
    for (int64_t o = 0; o < n; o++) {
        const int64_t column = o % columns, row = o / columns % rows, above = column - row - c->attr[1].i;
        char *to = (char *)c->out[0].data + o * bytes;
        if (c->attr[0].i ? above >= 0 : above <= 0)
            memcpy(to, (const char *)x->data + o * bytes, (size_t)bytes);
        else
            memset(to, 0, (size_t)bytes);
    }
}
/* end reference */

/* ---- CumSum ---- */

enum { CUMSUM_AXIS, CUMSUM_EXCLUSIVE, CUMSUM_REVERSE, CUMSUM_N };

static bool infer_cumsum(epl_node *n)
{
    int axis;
    if (n->inputs[0]->dtype == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "bool is not a number; cast it");
    return epl_check_axis(n, n->attrs[CUMSUM_AXIS].i, n->inputs[0]->shape.rank, &axis) && epl_infer_same(n);
}

static void grad_cumsum(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_cumsum(g, dy[0], (int)n->attrs[CUMSUM_AXIS].i, (epl_cumsum_opts){
        .exclusive = n->attrs[CUMSUM_EXCLUSIVE].i != 0, .reverse = n->attrs[CUMSUM_REVERSE].i == 0 });
}

static epl_node *sample_cumsum(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const epl_attr attrs[CUMSUM_N] = { EPL_A_I(epl_random_between(r, -x.rank, x.rank - 1)), EPL_A_I((int64_t)epl_rng_below(r, 2)),
                                       EPL_A_I((int64_t)epl_rng_below(r, 2)) };
    return epl_node_add(g, &epl_op_cumsum, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_cumsum = {
    .name = "CumSum", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [CUMSUM_AXIS] = { "axis", EPL_ATTR_INT }, [CUMSUM_EXCLUSIVE] = { "exclusive", EPL_ATTR_BOOL },
               [CUMSUM_REVERSE] = { "reverse", EPL_ATTR_BOOL } },
    .infer = infer_cumsum, .grad = grad_cumsum, EPL_REF(ref_cumsum), .sample = sample_cumsum,
};

epl_value *epl_cumsum(epl_graph *g, epl_value *x, int axis, epl_cumsum_opts o)
{
    const epl_attr attrs[CUMSUM_N] = { EPL_A_I(axis), EPL_A_I(o.exclusive), EPL_A_I(o.reverse) };
    return x ? epl_apply(g, &epl_op_cumsum, EPL_IN(x), attrs) : NULL;
}

/* ---- CumProd: dx_i is the sum of dy_j y_j over the products that x_i is part of, divided by x_i; undefined where x */

static void grad_cumprod(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *sum = epl_cumsum(g, epl_mul(g, dy[0], n->outputs[0]), (int)n->attrs[CUMSUM_AXIS].i, (epl_cumsum_opts){
        .exclusive = n->attrs[CUMSUM_EXCLUSIVE].i != 0, .reverse = n->attrs[CUMSUM_REVERSE].i == 0 });
    dx[0] = epl_div(g, sum, n->inputs[0]);
}

static epl_node *sample_cumprod(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const epl_attr attrs[CUMSUM_N] = { EPL_A_I(epl_random_between(r, -x.rank, x.rank - 1)), EPL_A_I((int64_t)epl_rng_below(r, 2)),
                                       EPL_A_I((int64_t)epl_rng_below(r, 2)) };
    return epl_node_add(g, &epl_op_cumprod, EPL_IN(epl_sample_input(g, dtype, x, 0.5, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_cumprod = {
    .name = "CumProd", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [CUMSUM_AXIS] = { "axis", EPL_ATTR_INT }, [CUMSUM_EXCLUSIVE] = { "exclusive", EPL_ATTR_BOOL },
               [CUMSUM_REVERSE] = { "reverse", EPL_ATTR_BOOL } },
    .infer = infer_cumsum, .grad = grad_cumprod, EPL_REF(ref_cumprod), .sample = sample_cumprod,
};

epl_value *epl_cumprod(epl_graph *g, epl_value *x, int axis, epl_cumsum_opts o)
{
    const epl_attr attrs[CUMSUM_N] = { EPL_A_I(axis), EPL_A_I(o.exclusive), EPL_A_I(o.reverse) };
    return x ? epl_apply(g, &epl_op_cumprod, EPL_IN(x), attrs) : NULL;
}

/* ---- ReverseSequence: along time_axis, the first lengths[b] elements of batch entry b backwards, the others as the */

enum { REVERSE_BATCH, REVERSE_TIME, REVERSE_N };

static bool infer_reverse_sequence(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape, lengths = n->inputs[1]->shape;
    char text[192];
    int  batch, time;
    if (!epl_check_axis(n, n->attrs[REVERSE_BATCH].i, x.rank, &batch) || !epl_check_axis(n, n->attrs[REVERSE_TIME].i, x.rank, &time))
        return false;
    if (batch == time)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "axis %d cannot be batch and time", batch);
    if (lengths.rank != 1 || lengths.dim[0] != x.dim[batch])
        return epl_node_fail(n, EPL_ERR_SHAPE, "the lengths are %s for a batch of %lld", epl_shape_text(text, lengths),
                             (long long)x.dim[batch]);
    if (epl_dtype_is_float(n->inputs[1]->dtype) || n->inputs[1]->dtype == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the lengths are %s; integers are needed", epl_dtype_name(n->inputs[1]->dtype));
    return epl_infer_same(n);
}

static void grad_reverse_sequence(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_apply(g, n->op, EPL_IN(dy[0], n->inputs[1]), n->attrs); // its own inverse
}

static epl_node *sample_reverse_sequence(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 2, 4);
    const int64_t batch = epl_random_between(r, 0, 1);
    epl_value *v = epl_sample_input(g, dtype, x, -2, 2, 0), *lengths = epl_sample_input(g, EPL_I64, EPL_SHAPE(x.dim[batch]), 0, 4, 0);
    const epl_attr attrs[REVERSE_N] = { EPL_A_I(batch), EPL_A_I(1 - batch) };
    return epl_node_add(g, &epl_op_reverse_sequence, EPL_IN(v, lengths), attrs, 0, NULL);
}

const epl_op epl_op_reverse_sequence = {
    .name = "ReverseSequence", .n_inputs = 2, .n_outputs = 1,
    .attrs = { [REVERSE_BATCH] = { "batch_axis", EPL_ATTR_INT, .def_i = 1 }, [REVERSE_TIME] = { "time_axis", EPL_ATTR_INT } },
    .infer = infer_reverse_sequence, .grad = grad_reverse_sequence, EPL_REF(ref_reverse_sequence), .sample = sample_reverse_sequence,
};

epl_value *epl_reverse_sequence(epl_graph *g, epl_value *x, epl_value *lengths, int batch_axis, int time_axis)
{
    const epl_attr attrs[REVERSE_N] = { EPL_A_I(batch_axis), EPL_A_I(time_axis) };
    return x && lengths ? epl_apply(g, &epl_op_reverse_sequence, EPL_IN(x, lengths), attrs) : NULL;
}

/* ---- Trilu ---- */

enum { TRILU_UPPER, TRILU_K, TRILU_N };

static bool infer_trilu(epl_node *n)
{
    if (n->inputs[0]->shape.rank < 2)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a tensor of rank %d has no triangle", n->inputs[0]->shape.rank);
    return epl_infer_same(n);
}

static void grad_trilu(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_apply(g, n->op, EPL_IN(dy[0]), n->attrs);
}

static epl_node *sample_trilu(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_attr attrs[TRILU_N] = { EPL_A_I((int64_t)epl_rng_below(r, 2)), EPL_A_I(epl_random_between(r, -3, 3)) };
    return epl_node_add(g, &epl_op_trilu, EPL_IN(epl_sample_input(g, dtype, epl_random_shape(r, 2, 4), -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_trilu = {
    .name = "Trilu", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [TRILU_UPPER] = { "upper", EPL_ATTR_BOOL, .def_i = 1 }, [TRILU_K] = { "k", EPL_ATTR_INT } },
    .infer = infer_trilu, .grad = grad_trilu, EPL_REF(ref_trilu), .sample = sample_trilu,
};

epl_value *epl_trilu(epl_graph *g, epl_value *x, bool upper, int64_t k)
{
    const epl_attr attrs[TRILU_N] = { EPL_A_I(upper), EPL_A_I(k) };
    return x ? epl_apply(g, &epl_op_trilu, EPL_IN(x), attrs) : NULL;
}
