/* fused: nodes that run as one kernel - element-wise operators that read each other, or a convolution or matrix product and
 * the element-wise operators after it. The region is their definition; fusion (passes) makes such nodes, lowering turns each
 * into one step. */
#include "graph/op.h"

static bool fused_infer(epl_node *n)
{
    const epl_graph *body = n->regions[0];
    const int n_inputs = epl_graph_n_inputs(body), n_outputs = epl_graph_n_outputs(body);
    if (n_inputs != n->n_inputs)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d inputs for a region with %d", n->n_inputs, n_inputs);
    for (int i = 0; i < n_inputs; i++) {
        const epl_value *inner = epl_graph_input_at(body, i), *outer = n->inputs[i];
        if (inner->dtype != outer->dtype || !epl_shape_equal(inner->shape, outer->shape))
            return epl_node_fail(n, EPL_ERR_SHAPE, "input %d does not have the type of the region's input", i);
    }
    if (!epl_node_set_n_outputs(n, n_outputs))
        return false;
    for (int i = 0; i < n_outputs; i++) {
        const epl_value *v = epl_graph_output_at(body, i);
        if (!epl_set_type(n, i, v->dtype, v->shape))
            return false;
    }
    return true;
}

static epl_cost fused_cost(const epl_node *n) { return epl_graph_cost(n->regions[0]); }

static bool fused_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    return epl_graph_inline(g, n->regions[0], n->inputs, out, "");
}

const epl_op epl_op_fused = {
    .name = "Fused", .n_inputs = -1, .n_outputs = -1, .n_regions = 1, .flags = EPL_OP_REGION,
    .infer = fused_infer, .expand = fused_expand, .cost = fused_cost,
};
