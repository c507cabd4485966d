/* lower_random: draws, and with them the masks of Dropout. */
#include "program/lower.h"

bool epl_lower_random(epl_block *b, const epl_node *n, const char **why)
{
    const bool      uniform = EPL_IS(n, random_uniform);
    const epl_dtype dtype   = n->outputs[0]->dtype;
    if (dtype != EPL_F32 && (uniform || dtype != EPL_BOOL)) {
        *why = "the fast kernel draws f32, and bool for Bernoulli";
        return false;
    }
    const epl_random_params p = { .count = epl_shape_count(n->outputs[0]->shape), .stream = epl_attr_i(n, "stream"),
                                  .kind = uniform ? EPL_DRAW_UNIFORM : EPL_DRAW_BERNOULLI, .bytes = dtype == EPL_F32 ? 4 : 1,
                                  .a = epl_attr_r(n, uniform ? "low" : "p"), .b = uniform ? epl_attr_r(n, "high") : 0 };
    const int key = epl_buffer_of(b, n->inputs[0]), y = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, "random", &p, sizeof p, 1, &key, 1, &y) != NULL;
}
