/* cost: multiply-adds, other operations and bytes of nodes and graphs, from the operators' own formulas. */
#include "graph/op.h"

static double value_bytes(const epl_value *v)
{
    return v ? (double)epl_shape_count(v->shape) * (double)epl_dtype_bytes(v->dtype) : 0;
}

/* Control flow at its dearest: the region that costs most, or a loop's body as often as it can run; once, where
 * nothing limits it. */
static epl_cost region_cost(const epl_node *n)
{
    const double times = EPL_IS(n, loop) && epl_attr_i(n, "trip") != INT32_MAX ? (double)epl_attr_i(n, "trip") : 1;
    epl_cost     most  = { 0 };
    for (int i = 0; i < n->n_regions; i++) {
        const epl_cost c = epl_graph_cost(n->regions[i]);
        if (c.macs > most.macs || (c.macs == most.macs && c.flops > most.flops))
            most = c;
    }
    return (epl_cost){ .macs = times * most.macs, .flops = times * most.flops };
}

epl_cost epl_node_cost(const epl_node *n)
{
    epl_cost c = { 0 };
    if (n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK | EPL_OP_VIEW))
        return c;
    if (n->op->cost)
        c = n->op->cost(n);
    else if (n->n_regions)
        c = region_cost(n);
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
