/* inline_calls: regions that are calls, not choices. A CustomGradient has done its work when the gradients are there; its
 * forward nodes take its place, where the other passes see them. */
#include "passes/passes.h"

bool epl_inline_calls(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        for (int i = 0; i < n->n_regions; i++)
            if (!EPL_IS(n, custom_gradient) && !epl_inline_calls(n->regions[i]))
                return false;
        if (!EPL_IS(n, custom_gradient))
            continue;
        epl_node *before = n->prev;
        if (!epl_inline_custom(n))
            return false;
        next = before ? before->next : g->first; // what came in may hold calls too
    }
    return true;
}
