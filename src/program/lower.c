/* lower: which operators have fast kernels, and the function that turns a node into steps. Everything else runs its reference
 * kernel. */
#include "program/lower.h"

static const struct {
    const epl_op *op;
    epl_lower_fn *lower;
} table[] = {
    { &epl_op_conv, epl_lower_conv },
    { &epl_op_gated_conv, epl_lower_gated_conv },
    { &epl_op_conv_input_grad, epl_lower_conv_input_grad },
    { &epl_op_conv_transpose, epl_lower_conv_transpose },
    { &epl_op_conv_weight_grad, epl_lower_conv_weight_grad },
    { &epl_op_linear, epl_lower_linear },
    { &epl_op_integer_conv, epl_lower_integer_conv },
    { &epl_op_matmul, epl_lower_matmul },
    { &epl_op_fused, epl_lower_fused },
    { &epl_op_reduce_sum, epl_lower_reduce },
    { &epl_op_reduce_mean, epl_lower_reduce },
    { &epl_op_reduce_max, epl_lower_reduce },
    { &epl_op_reduce_min, epl_lower_reduce },
    { &epl_op_reduce_prod, epl_lower_reduce },
    { &epl_op_reduce_l1, epl_lower_reduce },
    { &epl_op_reduce_sum_square, epl_lower_reduce },
    { &epl_op_sum_to, epl_lower_sum_to },
    { &epl_op_softmax, epl_lower_softmax },
    { &epl_op_log_softmax, epl_lower_softmax },
    { &epl_op_softmax_grad, epl_lower_softmax },
    { &epl_op_log_softmax_grad, epl_lower_softmax },
    { &epl_op_softmax_cross_entropy, epl_lower_cross_entropy },
    { &epl_op_softmax_cross_entropy_grad, epl_lower_cross_entropy },
    { &epl_op_batch_norm, epl_lower_batch_norm },
    { &epl_op_batch_norm_train, epl_lower_batch_norm_train },
    { &epl_op_batch_norm_grad, epl_lower_batch_norm_grad },
    { &epl_op_group_norm, epl_lower_group_norm },
    { &epl_op_group_norm_grad, epl_lower_group_norm_grad },
    { &epl_op_layer_norm, epl_lower_row_norm },
    { &epl_op_layer_norm_grad, epl_lower_row_norm_grad },
    { &epl_op_rms_norm, epl_lower_row_norm },
    { &epl_op_rms_norm_grad, epl_lower_row_norm_grad },
    { &epl_op_max_pool, epl_lower_pool },
    { &epl_op_average_pool, epl_lower_pool },
    { &epl_op_max_pool_grad, epl_lower_max_pool_grad },
    { &epl_op_average_pool_grad, epl_lower_average_pool_grad },
    { &epl_op_adaptive_average_pool, epl_lower_adaptive_average_pool },
    { &epl_op_adaptive_average_pool_grad, epl_lower_adaptive_average_pool_grad },
    { &epl_op_resize, epl_lower_resize },
    { &epl_op_resize_grad, epl_lower_resize },
    { &epl_op_transpose, epl_lower_transpose },
    { &epl_op_expand, epl_lower_expand },
    { &epl_op_slice, epl_lower_slice },
    { &epl_op_unslice, epl_lower_unslice },
    { &epl_op_pad, epl_lower_pad },
    { &epl_op_concat, epl_lower_concat },
    { &epl_op_split, epl_lower_split },
    { &epl_op_gather, epl_lower_gather },
    { &epl_op_scatter_add, epl_lower_scatter_add },
    { &epl_op_cast, epl_lower_cast },
    { &epl_op_random_uniform, epl_lower_random },
    { &epl_op_random_bernoulli, epl_lower_random },
    { &epl_op_keep_largest, epl_lower_keep_largest },
    { &epl_op_quantize_blockwise, epl_lower_quantize },
    { &epl_op_dequantize_blockwise, epl_lower_dequantize },
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

bool epl_lowers_f32(const epl_node *n, const char **why)
{
    *why = "the fast kernel takes f32 tensors that are not empty";
    for (int i = 0; i < n->n_inputs + n->n_outputs; i++) {
        const epl_value *v = i < n->n_inputs ? n->inputs[i] : n->outputs[i - n->n_inputs];
        if (v && (v->dtype != EPL_F32 || epl_shape_count(v->shape) == 0))
            return false;
    }
    return true;
}
