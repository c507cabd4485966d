/* reshape: the same elements under another shape - Reshape, Flatten, Squeeze, Unsqueeze. All are views: they cost nothing. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
static void ref_view(const epl_ref_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, (size_t)(epl_view_count(&c->out[0]) * epl_ref_bytes(c->out[0].dtype)));
}
/* end reference */

static epl_cost cost_nothing(const epl_node *n)
{
    (void)n;
    return (epl_cost){ 0 };
}

static void grad_view(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_reshape_like(g, dy[0], n->inputs[0]);
}

/* ---- Reshape ---- */

enum { RESHAPE_SHAPE, RESHAPE_ALLOWZERO, RESHAPE_N };

static bool fill_target(epl_node *n, epl_shape x, epl_shape *y)
{
    const epl_attr *a = &n->attrs[RESHAPE_SHAPE];
    char from[192], to[192];
    int  rest = -1;
    if (a->n > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a shape of rank %d; at most %d are possible", a->n, EPL_MAX_RANK);
    *y = (epl_shape){ .rank = a->n };
    for (int i = 0; i < a->n; i++)
        y->dim[i] = a->ints[i];
    epl_shape_text(to, *y);
    for (int i = 0; i < a->n; i++) {
        if (a->ints[i] == EPL_KEEP && !n->attrs[RESHAPE_ALLOWZERO].i) {
            if (i >= x.rank)
                return epl_node_fail(n, EPL_ERR_SHAPE, "%s keeps axis %d, which %s does not have", to, i, epl_shape_text(from, x));
            y->dim[i] = x.dim[i];
        } else if (a->ints[i] == -1) {
            if (rest >= 0)
                return epl_node_fail(n, EPL_ERR_SHAPE, "%s leaves two dimensions open", to);
            rest = i;
            y->dim[i] = 1;
        }
    }
    const int64_t have = epl_shape_count(x), known = epl_shape_count(*y);
    if (rest >= 0 && known > 0 && have % known == 0)
        y->dim[rest] = have / known;
    else if (rest >= 0 || known != have)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%s (%lld elements) does not fill %s", epl_shape_text(from, x), (long long)have, to);
    return true;
}

static bool infer_reshape(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape y;
    char from[192], to[192];
    if (n->n_inputs == 1)
        return fill_target(n, x, &y) && epl_set_type(n, 0, n->inputs[0]->dtype, y);
    y = n->inputs[1]->shape;
    if (epl_shape_count(x) != epl_shape_count(y))
        return epl_node_fail(n, EPL_ERR_SHAPE, "%s does not fill %s", epl_shape_text(from, x), epl_shape_text(to, y));
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static epl_node *sample_reshape(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 4);
    int64_t shape[EPL_MAX_RANK];
    int     rank = 0;
    shape[rank++] = epl_rng_below(r, 2) ? EPL_KEEP : x.dim[0];
    if (epl_rng_below(r, 2))
        shape[rank++] = 1;
    shape[rank++] = -1;
    const epl_attr attrs[RESHAPE_N] = { [RESHAPE_SHAPE] = EPL_A_INTS(rank, shape) };
    return epl_node_add(g, &epl_op_reshape, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_reshape = {
    .name = "Reshape", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .flags = EPL_OP_VIEW, .shape_only = 2,
    .attrs = { [RESHAPE_SHAPE] = { "shape", EPL_ATTR_INTS }, [RESHAPE_ALLOWZERO] = { "allowzero", EPL_ATTR_BOOL } },
    .infer = infer_reshape, .grad = grad_view, .cost = cost_nothing, EPL_REF(ref_view), .sample = sample_reshape,
};

epl_value *epl_reshape(epl_graph *g, epl_value *x, epl_shape shape)
{
    const epl_attr attrs[RESHAPE_N] = { [RESHAPE_SHAPE] = EPL_A_INTS(shape.rank, shape.dim) };
    return x ? epl_apply(g, &epl_op_reshape, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_reshape_like(epl_graph *g, epl_value *x, epl_value *like)
{
    return epl_apply_like(g, &epl_op_reshape, x, like);
}

/* ---- Flatten ---- */

enum { FLATTEN_AXIS };

static bool infer_flatten(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    int64_t axis = n->attrs[FLATTEN_AXIS].i;
    if (axis < -x.rank || axis > x.rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "axis %lld is outside a tensor of rank %d", (long long)axis, x.rank);
    const int cut = (int)(axis < 0 ? axis + x.rank : axis);
    return epl_set_type(n, 0, n->inputs[0]->dtype,
                        EPL_SHAPE(epl_shape_count_from(x, 0, cut), epl_shape_count_from(x, cut, x.rank)));
}

static epl_node *sample_flatten(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 0, 4);
    const epl_attr  attrs[] = { [FLATTEN_AXIS] = EPL_A_I(epl_random_between(r, -x.rank, x.rank)) };
    return epl_node_add(g, &epl_op_flatten, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_flatten = {
    .name = "Flatten", .n_inputs = 1, .n_outputs = 1, .flags = EPL_OP_VIEW,
    .attrs = { [FLATTEN_AXIS] = { "axis", EPL_ATTR_INT, .def_i = 1 } },
    .infer = infer_flatten, .grad = grad_view, .cost = cost_nothing, EPL_REF(ref_view), .sample = sample_flatten,
};

epl_value *epl_flatten(epl_graph *g, epl_value *x, int axis)
{
    const epl_attr attrs[] = { [FLATTEN_AXIS] = EPL_A_I(axis) };
    return x ? epl_apply(g, &epl_op_flatten, EPL_IN(x), attrs) : NULL;
}

/* ---- Squeeze and Unsqueeze ---- */

enum { SQUEEZE_AXES };

static bool infer_squeeze(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    bool mask[EPL_MAX_RANK];
    epl_shape y = { 0 };
    if (!epl_axes_mask(n, &n->attrs[SQUEEZE_AXES], x.rank, mask))
        return false;
    for (int i = 0; i < x.rank; i++) {
        if (mask[i] && x.dim[i] != 1)
            return epl_node_fail(n, EPL_ERR_SHAPE, "axis %d has size %lld; only 1 can be removed", i, (long long)x.dim[i]);
        if (!mask[i] && (n->attrs[SQUEEZE_AXES].n > 0 || x.dim[i] != 1))
            y.dim[y.rank++] = x.dim[i];
    }
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static bool infer_unsqueeze(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    const int rank = x.rank + n->attrs[SQUEEZE_AXES].n;
    bool mask[EPL_MAX_RANK];
    epl_shape y = { .rank = rank };
    if (rank > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a result of rank %d; at most %d are possible", rank, EPL_MAX_RANK);
    if (!epl_axes_mask(n, &n->attrs[SQUEEZE_AXES], rank, mask))
        return false;
    for (int i = 0, k = 0; i < rank; i++)
        y.dim[i] = mask[i] ? 1 : x.dim[k++];
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_unsqueeze(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_attr attrs[] = { n->attrs[SQUEEZE_AXES] };
    dx[0] = n->attrs[SQUEEZE_AXES].n ? epl_apply(g, &epl_op_squeeze, EPL_IN(dy[0]), attrs) : dy[0];
}

static void grad_squeeze(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_attr attrs[] = { n->attrs[SQUEEZE_AXES] };
    dx[0] = n->attrs[SQUEEZE_AXES].n ? epl_apply(g, &epl_op_unsqueeze, EPL_IN(dy[0]), attrs)
                                     : epl_reshape_like(g, dy[0], n->inputs[0]);
}

static epl_node *sample_squeeze(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_shape x = epl_random_shape(r, 1, 4);
    const int64_t axis = epl_random_between(r, 0, x.rank - 1), named = epl_rng_below(r, 2) ? axis : axis - x.rank;
    x.dim[axis] = 1;
    const epl_attr attrs[] = { [SQUEEZE_AXES] = EPL_A_INTS((int)epl_rng_below(r, 2), &named) };
    return epl_node_add(g, &epl_op_squeeze, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

static epl_node *sample_unsqueeze(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 0, 3);
    const int64_t axes[] = { epl_random_between(r, 0, x.rank), -1 };
    const epl_attr attrs[] = { [SQUEEZE_AXES] = EPL_A_INTS((int)epl_random_between(r, 0, 2), axes) };
    return epl_node_add(g, &epl_op_unsqueeze, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_squeeze = {
    .name = "Squeeze", .n_inputs = 1, .n_outputs = 1, .flags = EPL_OP_VIEW,
    .attrs = { [SQUEEZE_AXES] = { "axes", EPL_ATTR_INTS } },
    .infer = infer_squeeze, .grad = grad_squeeze, .cost = cost_nothing, EPL_REF(ref_view), .sample = sample_squeeze,
};

const epl_op epl_op_unsqueeze = {
    .name = "Unsqueeze", .n_inputs = 1, .n_outputs = 1, .flags = EPL_OP_VIEW,
    .attrs = { [SQUEEZE_AXES] = { "axes", EPL_ATTR_INTS } },
    .infer = infer_unsqueeze, .grad = grad_unsqueeze, .cost = cost_nothing, EPL_REF(ref_view), .sample = sample_unsqueeze,
};

epl_value *epl_squeeze(epl_graph *g, epl_value *x, int n_axes, const int *axes)
{
    int64_t storage[EPL_MAX_RANK];
    const epl_attr attrs[] = { [SQUEEZE_AXES] = epl_axes_attr(n_axes, axes, storage) };
    return x ? epl_apply(g, &epl_op_squeeze, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_unsqueeze(epl_graph *g, epl_value *x, int n_axes, const int *axes)
{
    int64_t storage[EPL_MAX_RANK];
    const epl_attr attrs[] = { [SQUEEZE_AXES] = epl_axes_attr(n_axes, axes, storage) };
    return !x || n_axes == 0 ? x : epl_apply(g, &epl_op_unsqueeze, EPL_IN(x), attrs);
}
