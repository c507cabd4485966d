/* rewrite: what passes are made of - copying graphs into graphs, removing what is dead, inferring shapes again. */
#include "graph/op.h"

#include <stdio.h>

/* ---- copying ---- */

static epl_graph *copy_region(epl_graph *root, const epl_graph *src, const char *prefix);

int epl_region_input(const epl_node *n, int i)
{
    if (EPL_IS(n, loop))
        return i < 2 ? -1 : i - 1;
    if (EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, if_each))
        return i + 1;
    return i < n->n_inputs ? i : -1;
}

/* What the copy reads may have another shape, of another batch: then the region is inferred again. */
static bool fit_region(const epl_node *n, epl_graph *region, epl_value *const *inputs)
{
    bool changed = false;
    int  i = 0;
    for (epl_node *in = region->first; in; in = in->next) {
        if (!EPL_IS(in, input))
            continue;
        const int        at = epl_region_input(n, i++);
        const epl_value *v = at >= 0 && at < n->n_inputs ? inputs[at] : NULL;
        if (!v || v->shape.rank != in->outputs[0]->shape.rank || epl_shape_equal(v->shape, in->outputs[0]->shape))
            continue;
        changed = true;
        if (!epl_node_set_attr(in, 2, EPL_A_INTS(v->shape.rank, v->shape.dim)))
            return false;
    }
    return !changed || epl_reinfer(region);
}

bool epl_copy_node(epl_graph *dst, const epl_node *n, const char *prefix)
{
    const bool named = EPL_IS(n, parameter) || EPL_IS(n, state);
    if (named) {
        char full[1024];
        snprintf(full, sizeof full, "/%s%s", prefix, n->attrs[0].s);
        const epl_shape shape = n->outputs[0]->shape;
        epl_value *v = (EPL_IS(n, parameter) ? epl_parameter : epl_state)(dst, full, n->outputs[0]->dtype, shape,
                                                                          (epl_init)n->attrs[3].i, n->attrs[4].r);
        n->outputs[0]->mark = v;
        return v != NULL;
    }
    epl_value *few[16], **inputs = n->n_inputs <= 16 ? few : epl_alloc_array(dst->ctx, (size_t)n->n_inputs, sizeof *inputs);
    epl_graph **regions = n->n_regions ? epl_alloc_array(dst->ctx, (size_t)n->n_regions, sizeof *regions) : NULL;
    bool ok = inputs && (!n->n_regions || regions);
    for (int i = 0; ok && i < n->n_inputs; i++)
        inputs[i] = n->inputs[i] ? n->inputs[i]->mark : NULL;
    for (int i = 0; ok && i < n->n_regions; i++)
        ok = (regions[i] = copy_region(dst, n->regions[i], prefix)) != NULL && fit_region(n, regions[i], inputs);
    epl_node *copy = ok ? epl_node_add(dst, n->op, n->n_inputs, inputs, n->attrs, n->n_regions, regions) : NULL;
    if (copy) {
        copy->scope = epl_arena_strdup(dst->arena, n->scope);
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->mark = copy->outputs[i];
    }
    if (inputs != few)
        epl_release(dst->ctx, inputs);
    epl_release(dst->ctx, regions);
    return copy && copy->scope;
}

static bool copy_nodes(epl_graph *dst, const epl_graph *src, const char *prefix)
{
    if (dst->root->next_stream < src->root->next_stream)
        dst->root->next_stream = src->root->next_stream;
    for (const epl_node *n = src->first; n; n = n->next)
        if (!epl_copy_node(dst, n, prefix))
            return false;
    return true;
}

static epl_graph *copy_region(epl_graph *root, const epl_graph *src, const char *prefix)
{
    epl_graph *region = epl_region_new(root);
    return region && copy_nodes(region, src, prefix) ? region : NULL;
}

epl_graph *epl_region_copy(epl_graph *g, const epl_graph *src) { return copy_region(g, src, ""); }

epl_graph *epl_graph_copy(const epl_graph *g)
{
    if (epl_graph_failed(g))
        return NULL;
    epl_graph *copy = epl_graph_new(g->ctx, g->name);
    if (copy && !copy_nodes(copy, g, "")) {
        epl_graph_free(copy);
        return NULL;
    }
    return copy;
}

bool epl_graph_inline(epl_graph *dst, const epl_graph *src, epl_value *const *inputs, epl_value **outputs, const char *prefix)
{
    if (epl_graph_failed(dst) || epl_graph_failed(src))
        return false;
    int n_inputs = 0, n_outputs = 0;
    if (dst->root->next_stream < src->root->next_stream && dst->root != src->root)
        dst->root->next_stream = src->root->next_stream;
    for (const epl_node *n = src->first; n; n = n->next) {
        if (EPL_IS(n, input)) {
            if (!inputs[n_inputs])
                return epl_graph_fail(dst, EPL_ERR_ARGUMENT, "input %d of graph '%s' is missing", n_inputs, src->name), false;
            n->outputs[0]->mark = inputs[n_inputs++];
        } else if (EPL_IS(n, output)) {
            outputs[n_outputs++] = n->inputs[0]->mark;
        } else if (!epl_copy_node(dst, n, prefix ? prefix : "")) {
            return false;
        }
    }
    return true;
}

/* ---- dead nodes ---- */

int epl_remove_dead(epl_graph *g)
{
    int removed = 0;
    for (epl_node *n = g->last, *prev; n; n = prev) {
        prev = n->prev;
        bool needed = (n->op->flags & EPL_OP_SINK) || EPL_IS(n, input);
        for (int i = 0; !needed && i < n->n_outputs; i++)
            needed = n->outputs[i]->n_uses > 0;
        for (int i = 0; needed && i < n->n_regions; i++)
            removed += epl_remove_dead(n->regions[i]);
        if (!needed) {
            epl_node_remove(n);
            removed++;
        }
    }
    return removed;
}

bool epl_reinfer(epl_graph *g)
{
    for (epl_node *n = g->first; n && !g->root->failed; n = n->next)
        if (n->op->infer && !n->op->infer(n))
            g->root->failed = true;
    return !g->root->failed;
}
