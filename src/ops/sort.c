/* sort: the largest elements along an axis (TopK; all of them: a sort) and where the extremes stand (ArgMax, ArgMin). */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
/* -1, 0, 1: element a against element b. NaN is larger than everything and equal to itself. */
static int ref_compare(const epl_view *x, int64_t a, int64_t b)
{
    if (epl_ref_is_float(x->dtype)) {
        const double p = epl_ref_get(x, a), q = epl_ref_get(x, b);
        return p != p || q != q ? (p != p) - (q != q) : (p > q) - (p < q);
    }
    const uint64_t flip = x->dtype == EPL_REF_U64 ? (uint64_t)1 << 63 : 0; // orders u64 as if it were signed
    const int64_t  p = (int64_t)((uint64_t)epl_ref_get_i64(x, a) ^ flip), q = (int64_t)((uint64_t)epl_ref_get_i64(x, b) ^ flip);
    return (p > q) - (p < q);
}

static int ref_ranks_before(const epl_view *x, int64_t a, int64_t b, int largest)
{
    const int order = largest ? ref_compare(x, a, b) : ref_compare(x, b, a);
    return order > 0 || (order == 0 && a < b);
}

/* The first of d elements (stride apart) that ranks after `previous`, or before all others if that is -1. Without scratch:
 * each rank is one more pass over the row. */
static int64_t ref_next_in_rank(const epl_view *x, int64_t base, int64_t d, int64_t stride, int64_t previous, int largest)
{
    int64_t best = -1;
    for (int64_t i = 0; i < d; i++) {
        const int64_t at = base + i * stride;
        if ((previous < 0 || ref_ranks_before(x, previous, at, largest)) && (best < 0 || ref_ranks_before(x, at, best, largest)))
            best = at;
    }
    return best;
}

typedef struct ref_rows {
    int64_t outer, d, inner; /* the sizes before, along and after the axis */
} ref_rows;

static ref_rows ref_rows_along(const epl_view *x, int64_t axis)
{
    ref_rows r = { 1, 1, 1 };
    for (int64_t i = 0, a = axis < 0 ? axis + x->rank : axis; i < x->rank; i++)
        *(i < a ? &r.outer : i == a ? &r.d : &r.inner) *= x->dim[i];
    return r;
}

static void ref_topk(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    const ref_rows  rows = ref_rows_along(x, c->attr[0].i);
    const int64_t   k = ref_rows_along(&c->out[0], c->attr[0].i).d, bytes = epl_ref_bytes(x->dtype);
    for (int64_t o = 0; o < rows.outer; o++)
        for (int64_t i = 0; i < rows.inner; i++)
            for (int64_t r = 0, at = -1; r < k; r++) {
                const int64_t base = o * rows.d * rows.inner + i, to = (o * k + r) * rows.inner + i;
                at = ref_next_in_rank(x, base, rows.d, rows.inner, at, c->attr[2].i != 0);
                memcpy((char *)c->out[0].data + to * bytes, (const char *)x->data + at * bytes, (size_t)bytes);
                ((int64_t *)c->out[1].data)[to] = (at - base) / rows.inner;
            }
}

static void ref_arg(const epl_ref_call *c, int sign)
{
    const epl_view *x = &c->in[0];
    const ref_rows  rows = ref_rows_along(x, c->attr[0].i);
    for (int64_t o = 0; o < rows.outer; o++)
        for (int64_t i = 0; i < rows.inner; i++) {
            const int64_t base = o * rows.d * rows.inner + i;
            int64_t best = 0;
            for (int64_t k = 1; k < rows.d; k++) {
                const int order = sign * ref_compare(x, base + k * rows.inner, base + best * rows.inner);
                best = order > 0 || (order == 0 && c->attr[2].i) ? k : best;
            }
            ((int64_t *)c->out[0].data)[o * rows.inner + i] = best;
        }
}

static void ref_argmax(const epl_ref_call *c) { ref_arg(c, 1); }
static void ref_argmin(const epl_ref_call *c) { ref_arg(c, -1); }
/* end reference */

/* ---- TopK ---- */

enum { TOPK_AXIS, TOPK_K, TOPK_LARGEST, TOPK_SORTED, TOPK_N };

static bool infer_topk(epl_node *n)
{
    epl_shape y = n->inputs[0]->shape;
    const int64_t k = n->attrs[TOPK_K].i;
    int axis;
    if (!epl_check_axis(n, n->attrs[TOPK_AXIS].i, y.rank, &axis))
        return false;
    if (k < 0 || k > y.dim[axis])
        return epl_node_fail(n, EPL_ERR_SHAPE, "%lld elements of the %lld along axis %d", (long long)k, (long long)y.dim[axis], axis);
    y.dim[axis] = k ? k : y.dim[axis];
    return epl_set_type(n, 0, n->inputs[0]->dtype, y) && epl_set_type(n, 1, EPL_I64, y);
}

/* Each value goes back to where it came from. */
static void grad_topk(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    if (dy[0])
        dx[0] = epl_scatter_elements(g, epl_zeros_like(g, n->inputs[0]), n->outputs[1], dy[0], (int)n->attrs[TOPK_AXIS].i,
                                     EPL_SCATTER_ADD);
}

static epl_cost cost_topk(const epl_node *n)
{
    const double d = (double)epl_shape_count(n->inputs[0]->shape);
    return (epl_cost){ .flops = d * log2(2 + (double)epl_dim(n->outputs[0], (int)n->attrs[TOPK_AXIS].i)) };
}

static epl_node *sample_topk(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const int64_t axis = epl_random_between(r, -x.rank, x.rank - 1), d = x.dim[axis < 0 ? axis + x.rank : axis];
    const epl_attr attrs[TOPK_N] = { EPL_A_I(axis), EPL_A_I(epl_random_between(r, 0, d)), EPL_A_I((int64_t)epl_rng_below(r, 2)) };
    return epl_node_add(g, &epl_op_topk, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0.003)), attrs, 0, NULL);
}

const epl_op epl_op_topk = {
    .name = "TopK", .n_inputs = 1, .n_outputs = 2,
    .attrs = { [TOPK_AXIS] = { "axis", EPL_ATTR_INT, .def_i = -1 }, [TOPK_K] = { "k", EPL_ATTR_INT }, /* 0: all */
               [TOPK_LARGEST] = { "largest", EPL_ATTR_BOOL, .def_i = 1 },
               [TOPK_SORTED] = { "sorted", EPL_ATTR_BOOL, .def_i = 1 } }, /* the result is sorted in any case */
    .infer = infer_topk, .grad = grad_topk, .cost = cost_topk, EPL_REF(ref_topk), .sample = sample_topk,
};

epl_value *epl_topk(epl_graph *g, epl_value *x, int axis, int64_t k, epl_topk_opts o, epl_value **indices)
{
    const epl_attr attrs[TOPK_N] = { [TOPK_AXIS] = EPL_A_I(axis), [TOPK_K] = EPL_A_I(k), [TOPK_LARGEST] = EPL_A_I(!o.smallest) };
    const epl_node *n = x ? epl_node_add(g, &epl_op_topk, EPL_IN(x), attrs, 0, NULL) : NULL;
    if (indices)
        *indices = n ? n->outputs[1] : NULL;
    return n ? n->outputs[0] : NULL;
}

/* ---- ArgMax and ArgMin ---- */

enum { ARG_AXIS, ARG_KEEP, ARG_LAST, ARG_N };

static bool infer_arg(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape y = { 0 };
    int axis;
    if (!epl_check_axis(n, n->attrs[ARG_AXIS].i, x.rank, &axis))
        return false;
    if (x.dim[axis] == 0)
        return epl_node_fail(n, EPL_ERR_SHAPE, "axis %d is empty", axis);
    for (int i = 0; i < x.rank; i++)
        if (i != axis || n->attrs[ARG_KEEP].i)
            y.dim[y.rank++] = i == axis ? 1 : x.dim[i];
    return epl_set_type(n, 0, EPL_I64, y);
}

static void grad_arg(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx; // positions do not change with the values
}

static epl_cost cost_arg(const epl_node *n)
{
    return (epl_cost){ .flops = (double)epl_shape_count(n->inputs[0]->shape) };
}

static epl_node *sample_any_arg(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const epl_attr attrs[ARG_N] = { EPL_A_I(epl_random_between(r, -x.rank, x.rank - 1)), EPL_A_I((int64_t)epl_rng_below(r, 2)),
                                    EPL_A_I((int64_t)epl_rng_below(r, 2)) };
    epl_value *v = epl_rng_below(r, 2) ? epl_sample_input(g, dtype, x, -2, 2, 0.003) : epl_sample_input(g, EPL_I32, x, 0, 2, 0);
    return epl_node_add(g, op, EPL_IN(v), attrs, 0, NULL);
}

static epl_node *sample_argmax(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_any_arg(g, r, dtype, &epl_op_argmax); }
static epl_node *sample_argmin(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_any_arg(g, r, dtype, &epl_op_argmin); }

#define ARG_FIELDS                                                                                                     \
    { [ARG_AXIS] = { "axis", EPL_ATTR_INT }, [ARG_KEEP] = { "keepdims", EPL_ATTR_BOOL, .def_i = 1 },                   \
      [ARG_LAST] = { "select_last_index", EPL_ATTR_BOOL } }

const epl_op epl_op_argmax = {
    .name = "ArgMax", .n_inputs = 1, .n_outputs = 1, .attrs = ARG_FIELDS,
    .infer = infer_arg, .grad = grad_arg, .cost = cost_arg, EPL_REF(ref_argmax), .sample = sample_argmax,
};

const epl_op epl_op_argmin = {
    .name = "ArgMin", .n_inputs = 1, .n_outputs = 1, .attrs = ARG_FIELDS,
    .infer = infer_arg, .grad = grad_arg, .cost = cost_arg, EPL_REF(ref_argmin), .sample = sample_argmin,
};

static epl_value *arg(epl_graph *g, const epl_op *op, epl_value *x, int axis, epl_arg_opts o)
{
    const epl_attr attrs[ARG_N] = { [ARG_AXIS] = EPL_A_I(axis), [ARG_KEEP] = EPL_A_I(o.keep), [ARG_LAST] = EPL_A_I(o.select_last) };
    return x ? epl_apply(g, op, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_argmax(epl_graph *g, epl_value *x, int axis, epl_arg_opts o) { return arg(g, &epl_op_argmax, x, axis, o); }
epl_value *epl_argmin(epl_graph *g, epl_value *x, int axis, epl_arg_opts o) { return arg(g, &epl_op_argmin, x, axis, o); }
