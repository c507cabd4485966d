/* lower_keep: KeepLargest on its kernel. */
#include "program/lower.h"

bool epl_lower_keep_largest(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    int64_t axis = epl_attr_i(n, "axis");
    if (!epl_lowers_f32(n, why))
        return false;
    axis += axis < 0 ? x.rank : 0;
    epl_keep_largest_params p = { epl_shape_count_from(x, 0, (int)axis), x.dim[axis], epl_shape_count_from(x, (int)axis + 1, x.rank),
                                  epl_attr_i(n, "n"), epl_attr_i(n, "m") };
    if (p.inner == 1 && p.size % p.m == 0) { // groups do not end with the rows
        p.size *= p.outer;
        p.outer = 1;
    }
    const int in = epl_buffer_of(b, n->inputs[0]), out = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, "keep_largest", &p, sizeof p, 1, &in, 1, &out) != NULL;
}
