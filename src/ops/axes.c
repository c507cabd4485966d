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
