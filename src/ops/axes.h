/* axes: what the operators that move and reduce share - lists of axes, shapes of another value, shapes for tests. */
#ifndef EPL_AXES_H
#define EPL_AXES_H

#include "graph/op.h"

/* mask[i]: axis i of `rank` is in the list. Fails the node where one is outside or named twice. */
bool epl_axes_mask(const epl_node *n, const epl_attr *axes, int rank, bool mask[EPL_MAX_RANK]);

/* The list as an attribute; storage holds EPL_MAX_RANK numbers. A list that is too long is cut: infer then says so. */
epl_attr epl_axes_attr(int n, const int *axes, int64_t storage[EPL_MAX_RANK]);

/* Adds `op` with `like` as its last input and no attributes - also where the shapes agree, since a dimension may be bound anew. */
epl_value *epl_apply_like(epl_graph *g, const epl_op *op, epl_value *x, epl_value *like);

/* Where indices i [..., depth] point into x behind `batch` common axes (GatherND, ScatterND): the shape of what lies there. Fails
 * the node where they do not fit. */
bool epl_nd_shape(const epl_node *n, epl_shape x, epl_shape i, int64_t batch, epl_shape *y);

static inline int64_t epl_random_between(epl_rng *r, int64_t low, int64_t high)
{
    return low + (int64_t)epl_rng_below(r, (uint64_t)(high - low + 1));
}

/* A small shape for a test: rank in [low, high], dimensions 1 to 4. */
epl_shape epl_random_shape(epl_rng *r, int low, int high);

#endif
