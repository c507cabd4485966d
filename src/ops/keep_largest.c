/* keep_largest: the n of largest magnitude in every m consecutive elements along an axis; the others become 0. N:M sparsity. */
#include <espalier/ops.h>

#include "ops/axes.h"

enum { KEEP_AXIS, KEEP_N, KEEP_M, KEEP_ATTRS };

/* begin reference */
/* How many of the group's `size` elements, `stride` apart from `base`, go before element i; of equal ones the lower does. */
static int64_t ref_keep_rank(const epl_view *x, int64_t base, int64_t stride, int64_t size, int64_t i)
{
    const double own = fabs(epl_ref_get(x, base + i * stride));
    int64_t rank = 0;
    for (int64_t j = 0; j < size; j++) {
        const double other = fabs(epl_ref_get(x, base + j * stride));
        rank += j < i ? !(own > other) : j > i && other > own;
    }
    return rank;
}

static void ref_keep_largest(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    const int64_t axis = c->attr[0].i < 0 ? c->attr[0].i + x->rank : c->attr[0].i, n = c->attr[1].i, m = c->attr[2].i;
    const int64_t size = x->dim[axis];
    int64_t inner = 1;
    for (int64_t i = axis + 1; i < x->rank; i++)
        inner *= x->dim[i];
    for (int64_t at = 0; at < epl_view_count(x); at++) {
        const int64_t i = at / inner % size, first = i / m * m, left = size - first < m ? size - first : m;
        const int64_t rank = ref_keep_rank(x, at - (i - first) * inner, inner, left, i - first);
        epl_ref_set(&c->out[0], at, rank < n ? epl_ref_get(x, at) : 0);
    }
}
/* end reference */

static bool infer_keep_largest(epl_node *n)
{
    const int64_t keep = n->attrs[KEEP_N].i, of = n->attrs[KEEP_M].i;
    int axis;
    if (!epl_dtype_is_float(n->inputs[0]->dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "the input is %s; floating-point numbers are needed", epl_dtype_name(n->inputs[0]->dtype));
    if (keep < 1 || of < keep || of > 1024)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%lld of %lld elements cannot be kept: at least 1, at most all of at most 1024",
                             (long long)keep, (long long)of);
    return epl_check_axis(n, n->attrs[KEEP_AXIS].i, n->inputs[0]->shape.rank, &axis) && epl_infer_same(n);
}

/* What is kept passes its gradient on. */
static void grad_keep_largest(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *y = n->outputs[0];
    dx[0] = epl_where(g, epl_not_equal(g, y, epl_zeros_like(g, y)), dy[0], epl_zeros_like(g, y));
}

static epl_cost cost_keep_largest(const epl_node *n)
{
    return (epl_cost){ .flops = (double)epl_shape_count(n->inputs[0]->shape) * (double)(n->attrs[KEEP_M].i - 1) };
}

static epl_node *sample_keep_largest(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const int64_t   m = epl_random_between(r, 1, 4);
    const epl_attr  attrs[KEEP_ATTRS] = { EPL_A_I(epl_random_between(r, -x.rank, x.rank - 1)), EPL_A_I(epl_random_between(r, 1, m)),
                                          EPL_A_I(m) };
    return epl_node_add(g, &epl_op_keep_largest, EPL_IN(epl_sample_input(g, dtype, x, 0.1, 2, 0.003)), attrs, 0, NULL);
}

const epl_op epl_op_keep_largest = {
    .name = "KeepLargest", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [KEEP_AXIS] = { "axis", EPL_ATTR_INT, .required = true }, [KEEP_N] = { "n", EPL_ATTR_INT, .required = true },
               [KEEP_M] = { "m", EPL_ATTR_INT, .required = true } },
    .infer = infer_keep_largest, .grad = grad_keep_largest, .cost = cost_keep_largest, EPL_REF(ref_keep_largest),
    .sample = sample_keep_largest,
};

epl_value *epl_keep_largest(epl_graph *g, epl_value *x, int axis, int64_t n, int64_t m)
{
    const epl_attr attrs[KEEP_ATTRS] = { EPL_A_I(axis), EPL_A_I(n), EPL_A_I(m) };
    return x ? epl_apply(g, &epl_op_keep_largest, EPL_IN(x), attrs) : NULL;
}
