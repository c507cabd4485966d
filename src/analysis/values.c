/* values: running networks, and tensors whose channels lie elsewhere. */
#include "analysis/values.h"

#include "tensor/permute.h"

#include <stdio.h>
#include <string.h>

/* ---- running ---- */

static bool has_value(const epl_node *n) { return !(n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK)); }

/* A copy of g whose outputs are all values; `values` are g's own, in the same order. */
static epl_graph *graph_of_all(const epl_graph *g, epl_value **values, int *n)
{
    epl_graph *all = epl_graph_copy(g); // leaves the copy of every value in its mark
    int        count = 0;
    for (epl_node *k = all ? all->first : NULL, *next; k; k = next) {
        next = k->next;
        if (EPL_IS(k, output))
            epl_node_remove(k);
    }
    for (const epl_node *k = g->first; all && k; k = k->next)
        for (int i = 0; has_value(k) && i < k->n_outputs; i++) {
            char name[32];
            snprintf(name, sizeof name, "value %d", count);
            epl_output(all, name, k->outputs[i]->mark);
            values[count++] = k->outputs[i];
        }
    *n = count;
    return all;
}

static int count_values(const epl_graph *g)
{
    int count = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        count += has_value(n) ? n->n_outputs : 0;
    return count;
}

static bool changes_itself(const epl_graph *g)
{
    for (const epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, update))
            return true;
    return false;
}

bool value_run_init(value_run *r, const epl_model *m, bool every, epl_value ***values, int *n)
{
    *r = (value_run){ 0 };
    if (every) {
        *values = epl_alloc_array(m->ctx, (size_t)count_values(m->graph) + 1, sizeof **values);
        r->graph = *values ? graph_of_all(m->graph, *values, n) : NULL;
    }
    if (changes_itself(m->graph))
        r->weights = epl_weights_copy(m->ctx, m->weights);
    if ((every && !r->graph) || (changes_itself(m->graph) && !r->weights))
        return false;
    r->p = epl_program_new(every ? r->graph : m->graph, r->weights ? r->weights : m->weights, (epl_program_opts){ .frozen = true });
    return r->p != NULL;
}

void value_run_release(value_run *r)
{
    epl_program_free(r->p);
    epl_graph_free(r->graph);
    epl_weights_free(r->weights);
    *r = (value_run){ 0 };
}

/* ---- channels elsewhere ---- */

/* The order that moves axis `from` to `to`. */
static epl_shape order_of(int rank, int from, int to)
{
    epl_shape perm = { .rank = rank };
    for (int i = 0, next = 0; i < rank; i++) {
        next += next == from;
        perm.dim[i] = i == to ? from : next++;
    }
    return perm;
}

static bool fits(epl_shape shape, epl_shape perm, epl_shape wanted)
{
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[perm.dim[i]] != wanted.dim[i])
            return false;
    return true;
}

epl_tensor *value_fitted(epl_context *ctx, const epl_tensor *t, epl_shape shape, bool *moved)
{
    const int rank = t->shape.rank;
    *moved = false;
    if (epl_shape_equal(t->shape, shape))
        return epl_tensor_view(ctx, t->dtype, t->shape, t->data);
    if (rank != shape.rank || rank < 3)
        return NULL;
    const epl_shape to_last = order_of(rank, 1, rank - 1), to_first = order_of(rank, rank - 1, 1);
    *moved = true;
    if (fits(t->shape, to_last, shape))
        return epl_tensor_permuted(ctx, t, to_last);
    return fits(t->shape, to_first, shape) ? epl_tensor_permuted(ctx, t, to_first) : NULL;
}
