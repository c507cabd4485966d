/* verify: is a graph what graph.h says it is? Run after every pass in debug builds, after parsing and importing always. */
#include "graph/op.h"

static bool broken(const epl_graph *g, const epl_node *n, const char *what)
{
    return epl_fail(g->ctx, EPL_ERR_FORMAT, "graph '%s': node %d (%s%s%s): %s", g->name, n->id, n->op->name,
                    n->scope[0] ? " " : "", n->scope, what);
}

static bool uses_are_mutual(const epl_graph *g, const epl_node *n)
{
    for (int i = 0; i < n->n_inputs; i++) {
        bool found = n->inputs[i] == NULL;
        for (size_t u = 0; !found && u < n->inputs[i]->n_uses; u++)
            found = n->inputs[i]->uses[u].node == n && n->inputs[i]->uses[u].input == i;
        if (!found)
            return broken(g, n, "an input does not know that this node reads it");
    }
    for (int i = 0; i < n->n_outputs; i++)
        for (size_t u = 0; u < n->outputs[i]->n_uses; u++) {
            const epl_use use = n->outputs[i]->uses[u];
            if (use.input >= use.node->n_inputs || use.node->inputs[use.input] != n->outputs[i])
                return broken(g, n, "a result lists a reader that does not read it");
        }
    return true;
}

/* Types are compared with a second inference, which must change nothing. */
static bool types_are_inferred(const epl_graph *g, epl_node *n)
{
    for (int i = 0; n->op->infer && i < n->n_outputs; i++) {
        const epl_dtype dtype = n->outputs[i]->dtype;
        const epl_shape shape = n->outputs[i]->shape;
        if (!n->op->infer(n))
            return false;
        if (dtype != n->outputs[i]->dtype || !epl_shape_equal(shape, n->outputs[i]->shape))
            return broken(g, n, "a result's type is not what its operator infers");
    }
    return true;
}

static bool verify(const epl_graph *g)
{
    int64_t position = 0;
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = 0;
    for (epl_node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] && (n->inputs[i]->graph != g || n->inputs[i]->producer->tag == 0))
                return broken(g, n, "an input is not produced before it is read");
        n->tag = ++position;
        if (n->prev ? n->prev->next != n : g->first != n)
            return broken(g, n, "the list of nodes is torn");
        if (!uses_are_mutual(g, n) || !types_are_inferred(g, n))
            return false;
        for (int i = 0; i < n->n_regions; i++)
            if (n->regions[i]->owner != n || !verify(n->regions[i]))
                return n->regions[i]->owner == n ? false : broken(g, n, "a region belongs to another node");
    }
    return true;
}

bool epl_graph_verify(const epl_graph *g) { return verify(g); }
