/* expand_recurrent: LSTM, GRU and RNN become one group of simple nodes per step, which matrix products and fused chains compute;
 * and a gradient taken afterwards finds the forward pass's values instead of computing them again. */
#include "passes/passes.h"

enum { MOST_STEPS = 1024 }; /* of both directions: longer sequences stay one node, and graphs of a size to be planned in */

static bool is_recurrent(const epl_node *n)
{
    if (!EPL_IS(n, lstm) && !EPL_IS(n, gru) && !EPL_IS(n, rnn))
        return false;
    const int64_t length = n->inputs[0]->shape.dim[1];
    return length > 0 && length * n->inputs[1]->shape.dim[0] <= MOST_STEPS;
}

bool epl_expand_recurrent(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        for (int i = 0; i < n->n_regions; i++)
            epl_expand_recurrent(n->regions[i]);
        if (!is_recurrent(n))
            continue;
        epl_value *out[3] = { NULL };
        epl_node  *before = n->prev, *at = epl_graph_insert_before(g, n);
        const bool ok = n->op->expand(g, n, out);
        epl_graph_insert_before(g, at);
        if (!ok)
            return false;
        for (epl_node *made = before ? before->next : g->first; made != n; made = made->next)
            made->scope = n->scope;
        for (int i = 0; i < n->n_outputs; i++)
            epl_replace(n->outputs[i], out[i]);
        epl_node_remove(n);
    }
    return !epl_graph_failed(g);
}
