/* reparameterize: an expression in a parameter's place, on any network - masks, sharing, slices, hypernetworks, low-rank
 * adapters, fake quantisation, Kronecker sums. No layer has a masked or a hyper twin. And the way back: baking. */
#include "passes/passes.h"

/* The readers of v as they are now; those that the new expression adds must keep reading v itself. */
static epl_use *readers_of(const epl_value *v, size_t *n)
{
    epl_use *uses = epl_alloc_array(v->graph->ctx, v->n_uses + 1, sizeof *uses);
    *n = uses ? v->n_uses : 0;
    if (uses && v->n_uses)
        memcpy(uses, v->uses, v->n_uses * sizeof *uses);
    return uses;
}

static bool replace_parameter(epl_graph *g, epl_node *n, epl_reparameterize_fn *build, void *user, bool *replaced)
{
    epl_value *p = n->outputs[0];
    size_t     n_readers;
    epl_use   *readers = readers_of(p, &n_readers);
    if (!readers)
        return false;
    epl_node  *at = epl_graph_insert_before(g, n->next);
    epl_value *v  = build(g, p, user);
    epl_graph_insert_before(g, at);
    const bool ok = !epl_graph_failed(g);
    *replaced = ok && v && v != p;
    char want[192], is[192];
    if (*replaced && (v->dtype != p->dtype || !epl_shape_equal(v->shape, p->shape))) {
        epl_graph_fail(g, EPL_ERR_SHAPE, "'%s' is %s%s, the expression for it %s%s", epl_value_name(p), epl_dtype_name(p->dtype),
                       epl_shape_text(want, p->shape), epl_dtype_name(v->dtype), epl_shape_text(is, v->shape));
        *replaced = false;
    }
    for (size_t i = 0; *replaced && i < n_readers; i++)
        if (!(EPL_IS(readers[i].node, update) && readers[i].input == 0))
            epl_set_input(readers[i].node, readers[i].input, v);
    epl_release(g->ctx, readers);
    return !epl_graph_failed(g);
}

int epl_reparameterize(epl_graph *g, const char *pattern, epl_reparameterize_fn *build, void *user)
{
    int count = 0;
    if (epl_graph_failed(g))
        return -1;
    epl_node *last = g->last; // parameters that the expressions add are not replaced in turn
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n == last ? NULL : n->next;
        bool replaced = false;
        if (!EPL_IS(n, parameter) || !epl_glob(pattern, n->attrs[0].s))
            continue;
        if (!replace_parameter(g, n, build, user, &replaced))
            return -1;
        count += replaced;
    }
    return count;
}

/* ---- baking ---- */

static bool is_weight(const epl_value *v)
{
    return !v || v->producer->tag == 1 || EPL_IS(v->producer, parameter) || EPL_IS(v->producer, state) || EPL_IS(v->producer, constant);
}

/* Marks (tag 1) what depends on nothing but parameters, states and constants, and is computed. */
static void mark_weight_expressions(epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next) {
        bool weights = n->n_inputs > 0 && n->n_outputs == 1 && n->op->ref && !(n->op->flags & (EPL_OP_SINK | EPL_OP_RANDOM | EPL_OP_MODAL));
        for (int i = 0; weights && i < n->n_inputs; i++)
            weights = is_weight(n->inputs[i]);
        n->tag = weights;
    }
}

/* Nothing but expressions reads it, so that its value may become another. */
static bool is_free(const epl_value *p)
{
    for (size_t i = 0; i < p->n_uses; i++)
        if (p->uses[i].node->tag != 1)
            return false;
    return true;
}

/* The parameter of v's shape in its expression; NULL if there is none. Of several the first one counts: the weight of
 * "weight + A B", the stored weight of "weight * mask". */
static epl_node *stored_parameter(const epl_value *v, epl_shape shape)
{
    epl_node *n = v->producer;
    if (EPL_IS(n, parameter))
        return epl_shape_equal(v->shape, shape) && is_free(v) ? n : NULL;
    for (int i = 0; n->tag == 1 && i < n->n_inputs; i++) {
        epl_node *p = n->inputs[i] ? stored_parameter(n->inputs[i], shape) : NULL;
        if (p)
            return p;
    }
    return NULL;
}

/* v's value, by the interpreter on a copy of its expression. */
static epl_tensor *evaluate(const epl_model *m, epl_value *v)
{
    epl_graph  *copy = epl_graph_copy(m->graph);
    epl_tensor *out  = NULL;
    if (!copy)
        return NULL;
    epl_value *twin = v->mark; // copying leaves it there
    for (epl_node *n = copy->last, *prev; n; n = prev) {
        prev = n->prev;
        if (n->op->flags & EPL_OP_SINK)
            epl_node_remove(n);
    }
    epl_output(copy, "value", twin);
    epl_remove_dead(copy);
    for (epl_node *n = copy->first, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, input))
            epl_node_remove(n);
    }
    epl_interpret(copy, m->weights, NULL, &out);
    epl_graph_free(copy);
    return out;
}

/* Puts a parameter of that value in v's place. */
static bool bake_value_take(epl_model *m, epl_value *v, epl_tensor *t)
{
    epl_graph *g     = m->graph;
    epl_node  *store = stored_parameter(v, v->shape);
    epl_value *p     = store ? store->outputs[0] : NULL;
    if (!p) {
        char name[1024];
        snprintf(name, sizeof name, "/%s.weight", v->producer->scope); // as layers call theirs, if it is free
        if (!v->producer->scope[0] || epl_graph_find(g, name + 1))
            snprintf(name, sizeof name, "/%s%sbaked%d", v->producer->scope, v->producer->scope[0] ? "." : "", v->producer->id);
        epl_node *at = epl_graph_insert_before(g, g->first);
        p = epl_parameter(g, name, v->dtype, v->shape, EPL_INIT_ZEROS, 0);
        epl_graph_insert_before(g, at);
    }
    if (!p) {
        epl_tensor_free(t);
        return false;
    }
    epl_replace(v, p);
    return epl_weights_put_take(m->weights, epl_value_name(p), t);
}

/* Expressions with gradients of their own: of those the forward part is baked. */
static bool inline_weight_calls(epl_graph *g)
{
    mark_weight_expressions(g);
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        bool call = EPL_IS(n, custom_gradient);
        for (int i = 0; call && i < n->n_inputs; i++)
            call = is_weight(n->inputs[i]);
        if (!call)
            continue;
        if (!epl_inline_custom(n))
            return false;
        mark_weight_expressions(g); // what reads it may be such a call, too
    }
    return true;
}

typedef struct baked {
    epl_value  *value;
    epl_tensor *tensor;
} baked;

/* Values of all expressions that something else reads, before any of their parameters changes. */
static bool evaluate_all(epl_model *m, baked **all, size_t *n)
{
    size_t room = 0;
    for (epl_node *node = m->graph->first; node; node = node->next) {
        size_t outside = 0;
        for (size_t i = 0; node->tag == 1 && i < node->outputs[0]->n_uses; i++)
            outside += node->outputs[0]->uses[i].node->tag != 1;
        if (outside == 0)
            continue;
        if (!epl_grow(m->ctx, all, *n, &room, sizeof **all))
            return false;
        (*all)[*n] = (baked){ node->outputs[0], evaluate(m, node->outputs[0]) };
        if (!(*all)[(*n)++].tensor)
            return false;
    }
    return true;
}

bool epl_bake(epl_model *m)
{
    epl_graph *g = m->graph;
    baked     *all = NULL;
    size_t     n = 0;
    if (!inline_weight_calls(g))
        return false;
    mark_weight_expressions(g);
    bool ok = evaluate_all(m, &all, &n);
    for (size_t i = 0; i < n; i++) {
        if (ok)
            ok = bake_value_take(m, all[i].value, all[i].tensor);
        else
            epl_tensor_free(all[i].tensor);
    }
    epl_release(m->ctx, all);
    if (!ok)
        return false;
    epl_remove_dead(g);
    for (int i = epl_weights_count(m->weights); i-- > 0;) // masks, adapters and other parts that nothing reads any more
        if (!epl_graph_find(g, epl_weights_name(m->weights, i)) &&
            !epl_weights_remove(m->weights, epl_weights_name(m->weights, i)))
            return false;
    return !epl_graph_failed(g);
}
