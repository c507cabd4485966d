/* merge: common sub-expressions, and constant folding - what is computed twice is computed once, what is known is not computed
 * at all. Both keep every bit. */
#include "passes/passes.h"

enum { FOLD_MAX = 4096 }; /* elements of a folded result: beyond that a constant costs more than the node */

/* ---- equality of nodes ---- */

static bool nodes_equal(const epl_node *a, const epl_node *b)
{
    if (a->op != b->op || a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs)
        return false;
    for (int i = 0; i < a->n_inputs; i++)
        if (a->inputs[i] != b->inputs[i])
            return false;
    for (int i = 0; i < epl_op_n_attrs(a->op); i++)
        if (!epl_attr_equal(&a->op->attrs[i], &a->attrs[i], &b->attrs[i]))
            return false;
    return true;
}

static uint64_t node_hash(const epl_node *n)
{
    uint64_t h = epl_hash(&n->op, sizeof n->op, (uint64_t)n->n_inputs);
    if (n->n_inputs)
        h = epl_hash(n->inputs, (size_t)n->n_inputs * sizeof *n->inputs, h);
    for (int i = 0; i < epl_op_n_attrs(n->op); i++) {
        const epl_attr *a = &n->attrs[i];
        h = epl_hash(&a->i, sizeof a->i, h);
        h = epl_hash(&a->r, sizeof a->r, h);
        if (a->n && a->ints)
            h = epl_hash(a->ints, (size_t)a->n * sizeof *a->ints, h);
        if (a->tensor)
            h = epl_hash(a->tensor->data, epl_tensor_bytes(a->tensor), h);
    }
    return h;
}

static bool mergeable(const epl_node *n)
{
    return n->n_outputs > 0 && n->n_regions == 0 && !(n->op->flags & (EPL_OP_RANDOM | EPL_OP_SINK)) &&
           (!(n->op->flags & EPL_OP_SOURCE) || EPL_IS(n, constant));
}

bool epl_merge_common(epl_graph *g)
{
    size_t size = 64;
    while (size < 2 * (size_t)g->n_nodes)
        size *= 2;
    epl_node **table = epl_alloc_array(g->ctx, size, sizeof(epl_node *));
    if (!table)
        return false;
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        for (int i = 0; i < n->n_regions; i++)
            if (!epl_merge_common(n->regions[i])) {
                epl_release(g->ctx, table);
                return false;
            }
        if (!mergeable(n))
            continue;
        size_t at = node_hash(n) & (size - 1);
        while (table[at] && !nodes_equal(table[at], n))
            at = (at + 1) & (size - 1);
        if (!table[at]) {
            table[at] = n;
            continue;
        }
        for (int i = 0; i < n->n_outputs; i++)
            epl_replace(n->outputs[i], table[at]->outputs[i]);
        epl_node_remove(n);
    }
    epl_release(g->ctx, table);
    return true;
}

/* ---- folding ---- */

static bool foldable(const epl_node *n)
{
    if (!n->op->ref || n->n_outputs != 1 || n->n_inputs == 0 || (n->op->flags & (EPL_OP_RANDOM | EPL_OP_SINK | EPL_OP_SOURCE)) ||
        epl_shape_count(n->outputs[0]->shape) > FOLD_MAX)
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] && !EPL_IS(n->inputs[i]->producer, constant))
            return false;
    return true;
}

static bool fold(epl_graph *g, epl_node *n)
{
    const epl_tensor *in[16];
    epl_tensor       *out = epl_tensor_new(g->ctx, n->outputs[0]->dtype, n->outputs[0]->shape);
    for (int i = 0; i < n->n_inputs; i++)
        in[i] = n->inputs[i] ? n->inputs[i]->producer->attrs[0].tensor : NULL;
    bool ok = out && epl_evaluate_node(n, in, &out);
    epl_node  *at = epl_graph_insert_before(g, n);
    epl_value *v  = ok ? epl_constant(g, out) : NULL;
    epl_graph_insert_before(g, at);
    epl_tensor_free(out);
    if (!v)
        return false;
    epl_replace(n->outputs[0], v);
    epl_node_remove(n);
    return true;
}

bool epl_fold_between(epl_node *first, const epl_node *end)
{
    for (epl_node *n = first, *next; n && n != end; n = next) {
        next = n->next;
        if (n->n_inputs <= 16 && foldable(n) && !fold(n->graph, n))
            return false;
    }
    return true;
}
