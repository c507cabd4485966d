/* cost: multiply-adds, other operations and bytes of nodes and graphs, from the operators' own formulas. */
#include "graph/op.h"

static double value_bytes(const epl_value *v)
{
    return v ? (double)epl_shape_count(v->shape) * (double)epl_dtype_bytes(v->dtype) : 0;
}

epl_cost epl_node_cost(const epl_node *n)
{
    epl_cost c = { 0 };
    if (n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK | EPL_OP_VIEW))
        return c;
    if (n->op->cost)
        c = n->op->cost(n);
    else
        for (int i = 0; i < n->n_outputs; i++)
            c.flops += (double)epl_shape_count(n->outputs[i]->shape);
    c.bytes = 0;
    for (int i = 0; i < n->n_inputs; i++)
        c.bytes += value_bytes(n->inputs[i]);
    for (int i = 0; i < n->n_outputs; i++)
        c.bytes += value_bytes(n->outputs[i]);
    return c;
}

epl_cost epl_graph_cost(const epl_graph *g)
{
    epl_cost sum = { 0 };
    for (const epl_node *n = g->first; n; n = n->next) {
        const epl_cost c = epl_node_cost(n);
        sum.macs += c.macs;
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

int64_t epl_graph_n_parameters(const epl_graph *g)
{
    int64_t count = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, parameter))
            count += epl_shape_count(n->outputs[0]->shape);
    return count;
}
