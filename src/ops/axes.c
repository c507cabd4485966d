/* axes: see axes.h. */
#include "ops/axes.h"

bool epl_axes_mask(const epl_node *n, const epl_attr *axes, int rank, bool mask[EPL_MAX_RANK])
{
    memset(mask, 0, EPL_MAX_RANK * sizeof *mask);
    for (int i = 0; i < axes->n; i++) {
        int axis;
        if (!epl_check_axis(n, axes->ints[i], rank, &axis))
            return false;
        if (mask[axis])
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "axis %d is named twice", axis);
        mask[axis] = true;
    }
    return true;
}

epl_attr epl_axes_attr(int n, const int *axes, int64_t storage[EPL_MAX_RANK])
{
    const int kept = n < 0 ? 0 : n > EPL_MAX_RANK ? EPL_MAX_RANK : n;
    for (int i = 0; i < kept; i++)
        storage[i] = axes[i];
    return EPL_A_INTS(kept, storage);
}

epl_value *epl_apply_like(epl_graph *g, const epl_op *op, epl_value *x, epl_value *like)
{
    if (!x || !like)
        return NULL;
    return epl_apply(g, op, EPL_IN(x, like), NULL);
}

epl_shape epl_random_shape(epl_rng *r, int low, int high)
{
    epl_shape s = { .rank = (int)epl_random_between(r, low, high) };
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = epl_random_between(r, 1, 4);
    return s;
}

bool epl_nd_shape(const epl_node *n, epl_shape x, epl_shape i, int64_t batch, epl_shape *y)
{
    const int64_t depth = i.rank ? i.dim[i.rank - 1] : -1;
    char a[192], b[192];
    *y = (epl_shape){ 0 };
    bool fits = batch >= 0 && depth >= 0 && batch < i.rank && batch + depth <= x.rank &&
                i.rank - 1 + x.rank - batch - depth <= EPL_MAX_RANK;
    for (int k = 0; fits && k < batch; k++)
        fits = x.dim[k] == i.dim[k];
    if (!fits)
        return epl_node_fail(n, EPL_ERR_SHAPE, "indices %s do not point into data %s with %lld batch axes", epl_shape_text(a, i),
                             epl_shape_text(b, x), (long long)batch);
    for (int k = 0; k < i.rank - 1; k++)
        y->dim[y->rank++] = i.dim[k];
    for (int k = (int)(batch + depth); k < x.rank; k++)
        y->dim[y->rank++] = x.dim[k];
    return true;
}
