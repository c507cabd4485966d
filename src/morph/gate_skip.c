/* gate_skip: gates that save time: each gated convolution becomes one that computes the chosen channels alone and
 * reads those of its inputs that were chosen. For one sample at a time; normalisations have to be folded
 * (epl_deploy_batch_norms). */
#include <espalier/morph.h>

#include "morph/gate.h"

/* The mask that says which channels of v can be other than zero; NULL: all. */
static epl_value *activity(const epl_value *v, int depth)
{
    const epl_node *n = v->producer;
    if (depth == 0 || n->n_inputs == 0)
        return NULL;
    if (EPL_IS(n, gated_conv))
        return n->inputs[2];
    if (epl_glob("Relu,Relu6,Identity,MaxPool,AveragePool,Dropout,DropPath,StopGradient", n->op->name))
        return activity(n->inputs[0], depth - 1);
    return NULL;
}

static bool skip(epl_graph *g, const epl_gate_site *s)
{
    epl_node   *mid  = s->end->producer;
    const bool  relu = EPL_IS(mid, relu);
    if ((mid != s->conv && !(relu && mid->inputs[0]->producer == s->conv)) || s->conv->outputs[0]->n_uses != 1 || s->end->n_uses != 1 ||
        epl_attr_i(s->conv, "group") != 1 || epl_rank(s->end) != 4)
        return false;
    epl_node  *at = epl_graph_insert_before(g, s->gated->producer);
    epl_value *y = epl_convolve_gated(g, s->conv->inputs[0], s->conv->inputs[1], epl_node_input(s->conv, 2),
                                      activity(s->conv->inputs[0], 32), s->mask, relu, s->conv);
    epl_graph_insert_before(g, at);
    if (y)
        epl_replace(s->gated, y);
    return y != NULL;
}

/* The network takes one sample from now on, so that nobody runs it with more on the reference kernel. */
static bool take_one_sample(epl_graph *g)
{
    epl_value *x = epl_graph_input_at(g, 0);
    epl_shape  s = x->shape;
    s.dim[0] = 1;
    return epl_node_set_attr(x->producer, epl_op_attr_index(x->producer->op, "shape"), EPL_A_INTS(s.rank, s.dim)) &&
           epl_node_set_attr(x->producer, epl_op_attr_index(x->producer->op, "dims"), EPL_A_S("")) && epl_reinfer(g);
}

int epl_gates_skip(epl_model *m)
{
    epl_gate_site *sites = epl_alloc_array(m->ctx, (size_t)m->graph->n_nodes + 1, sizeof *sites);
    const int      n = sites ? epl_gate_find(m->graph, sites) : 0;
    int            count = 0;
    for (int i = 0; i < n; i++)
        count += skip(m->graph, &sites[i]);
    epl_release(m->ctx, sites);
    if (sites && count == 0)
        epl_fail(
            m->ctx, EPL_ERR_ARGUMENT,
            "network '%s' has %d gates, none of them behind an image's convolution of one group and at most a relu",
            m->graph->name, n);
    epl_remove_dead(m->graph);
    return count && take_one_sample(m->graph) && epl_graph_finish(m->graph) ? count : -1;
}
