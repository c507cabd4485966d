/* dense: small helpers of the operators that are not element-wise - checks for infer, sums for gradients, draws for samples. */
#ifndef EPL_OPS_DENSE_H
#define EPL_OPS_DENSE_H

#include <espalier/ops.h>
#include "graph/op.h"

/* Every present input of the first `count` has the floating-point type of input 0; else fails the node. */
bool epl_check_floats(const epl_node *n, int count);

/* Input i has exactly this shape; `what` names it in the sentence. */
bool epl_check_shape(const epl_node *n, int i, const char *what, epl_shape want);

/* The shape that a result is to have: that of the input `like` where it is present, else the list in attribute `attr`, where
 * EPL_KEEP stands for the dimension of `from`. Fails the node unless its rank is from's, 3 to 5. */
bool epl_wanted_shape(const epl_node *n, int like, int attr, epl_shape from, epl_shape *out);

/* x [..., C] summed over every axis but the last: [C]. */
epl_value *epl_sum_rows(epl_graph *g, epl_value *x);

/* x [N, spatial..., C] as [N * spatial, C]. */
epl_value *epl_as_rows(epl_graph *g, epl_value *x);

/* The attributes of n up to `count`, for another operator whose table starts alike. `a` holds EPL_MAX_ATTRS. */
const epl_attr *epl_attrs_of(const epl_node *n, int count, epl_attr *a);

/* Uniform in [low, high]. */
static inline int epl_pick(epl_rng *r, int low, int high)
{
    return low + (int)epl_rng_below(r, (uint64_t)(high - low + 1));
}

/* A shape of this rank with dimensions in [low, high]. */
epl_shape epl_pick_shape(epl_rng *r, int rank, int low, int high);

#endif
