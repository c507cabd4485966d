/* select: choices between little are no choices. Where the regions of an If or Switch cost next to nothing, all of
 * them are computed and the one that was chosen is selected: a branch less, and what stood before and behind it
 * becomes one straight line. Exact. */
#include "passes/passes.h"

static bool is_choice(const epl_node *n) { return EPL_IS(n, if) || EPL_IS(n, switch); }

/* Nothing in it would notice that it runs although it was not chosen. */
static bool is_plain(const epl_graph *region)
{
    for (const epl_node *n = region->first; n; n = n->next)
        if (n->n_regions > 0 || (n->op->flags & EPL_OP_RANDOM) || EPL_IS(n, update))
            return false;
    return true;
}

static bool is_small(const epl_node *n, double most)
{
    double sum = 0;
    for (int r = 0; r < n->n_regions; r++) {
        const epl_cost c = epl_graph_cost(n->regions[r]);
        sum += c.macs + c.flops;
        if (!is_plain(n->regions[r]))
            return false;
    }
    return sum <= most;
}

/* Whether region r was chosen; a switch takes its first region for a number below 0 and its last for one that is too large. */
static epl_value *chosen(epl_graph *g, const epl_node *n, int r)
{
    epl_value *said = epl_reshape(g, n->inputs[0], EPL_SCALAR);
    return EPL_IS(n, if) ? said : epl_less(g, said, epl_scalar(g, epl_dtype_of(said), r + 1));
}

static bool select_one(epl_node *n, epl_value **out)
{
    epl_graph  *g = n->graph;
    epl_value **made = epl_alloc_array(g->ctx, (size_t)n->n_outputs + 1, sizeof *made);
    bool        ok = made && epl_graph_inline(g, n->regions[n->n_regions - 1], n->inputs + 1, out, NULL);
    for (int r = n->n_regions - 2; ok && r >= 0; r--) {
        ok = epl_graph_inline(g, n->regions[r], n->inputs + 1, made, NULL);
        for (int i = 0; ok && i < n->n_outputs; i++)
            out[i] = epl_where(g, chosen(g, n, r), made[i], out[i]);
    }
    epl_release(g->ctx, made);
    return ok && !epl_graph_failed(g);
}

static bool replace(epl_node *n)
{
    epl_graph  *g = n->graph;
    epl_node   *former = epl_graph_insert_before(g, n);
    epl_value **out = epl_alloc_array(g->ctx, (size_t)n->n_outputs + 1, sizeof *out);
    const bool  ok = out && select_one(n, out);
    epl_graph_insert_before(g, former);
    for (int i = 0; ok && i < n->n_outputs; i++)
        epl_replace(n->outputs[i], out[i]);
    if (ok)
        epl_node_remove(n);
    epl_release(g->ctx, out);
    return ok;
}

bool epl_select_small(epl_graph *g, double most)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        for (int r = 0; r < n->n_regions; r++)
            if (!epl_select_small(n->regions[r], most))
                return false;
        if (is_choice(n) && is_small(n, most) && !replace(n))
            return false;
    }
    return !epl_graph_failed(g);
}
