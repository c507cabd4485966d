/* lower_code: 8-bit codes in blocks on their kernels. Whole-tensor blocks are one piece; draws are left to the reference. */
#include "program/lower.h"

static epl_code_params params_of(const epl_node *n)
{
    const int64_t count = epl_shape_count(n->inputs[0]->shape), block = epl_attr_i(n, "block");
    return (epl_code_params){ .count = count, .block = block ? block : count };
}

static bool has_elements(const epl_node *n, const char **why)
{
    *why = "a tensor without elements";
    return epl_shape_count(n->inputs[0]->shape) > 0;
}

bool epl_lower_quantize(epl_block *b, const epl_node *n, const char **why)
{
    if (!has_elements(n, why))
        return false;
    if (n->n_inputs > 2) {
        *why = "the fast kernel does not round by chance";
        return false;
    }
    const epl_code_params p = params_of(n);
    const int in[] = { epl_buffer_of(b, n->inputs[0]), epl_code_table_of(b, n, n->inputs[1], epl_attr_i(n, "keep_nonzero")) };
    const int out[] = { epl_buffer_of(b, n->outputs[0]), epl_buffer_of(b, n->outputs[1]) };
    return epl_kernel_add(b, n, "quantize", &p, sizeof p, 2, in, 2, out) != NULL;
}

bool epl_lower_dequantize(epl_block *b, const epl_node *n, const char **why)
{
    if (!has_elements(n, why))
        return false;
    const epl_code_params p = params_of(n);
    const int in[] = { epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->inputs[1]), epl_buffer_of(b, n->inputs[2]) };
    const int out = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, "dequantize", &p, sizeof p, 3, in, 1, &out) != NULL;
}
