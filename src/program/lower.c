/* lower: which operators have fast kernels, and the function that turns a node into steps. Everything else runs its reference
 * kernel. */
#include "program/lower.h"

static const struct {
    const epl_op *op;
    epl_lower_fn *lower;
} table[] = {
    { &epl_op_conv, epl_lower_conv },
    { &epl_op_conv_input_grad, epl_lower_conv_input_grad },
    { &epl_op_conv_transpose, epl_lower_conv_transpose },
    { &epl_op_conv_weight_grad, epl_lower_conv_weight_grad },
    { &epl_op_linear, epl_lower_linear },
    { &epl_op_matmul, epl_lower_matmul },
    { &epl_op_fused, epl_lower_fused },
};

epl_lower_fn *epl_lower_of(const epl_op *op)
{
    if (op->flags & EPL_OP_ELEMENTWISE)
        return epl_lower_elementwise;
    for (size_t i = 0; i < EPL_COUNT(table); i++)
        if (table[i].op == op)
            return table[i].lower;
    return NULL;
}
