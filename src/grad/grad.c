/* grad: the reverse sweep. Walks the nodes between x and y backwards, asks each operator's entry for its gradient nodes and
 * adds up what reaches the same value, in the order in which it arrives. */
#include <espalier/grad.h>
#include <espalier/ops.h>

#include "graph/op.h"

/* Node ids are unique and grow: nodes that exist when the sweep starts have ids below n_ids, and only they can lie between
 * x and y. Nodes before first_id are not entered: of an expansion's inputs, partial derivatives are wanted, although one
 * input may depend on another. */
typedef struct sweep {
    epl_graph   *g;
    int          first_id, n_ids;
    bool        *active; /* by node id: depends on some x, so gradients through it are wanted */
    epl_value ***dy;     /* by node id, then by output: the gradient so far, or NULL */
} sweep;

static bool is_active(const sweep *s, const epl_value *v)
{
    return v && v->producer->id < s->n_ids && s->active[v->producer->id] && epl_dtype_is_float(v->dtype);
}

static bool add_gradient(sweep *s, const epl_value *v, epl_value *d)
{
    epl_value ***row = &s->dy[v->producer->id];
    if (!*row)
        *row = epl_alloc_array(s->g->ctx, (size_t)v->producer->n_outputs, sizeof **row);
    if (!*row)
        return false;
    epl_value **sum = &(*row)[v->index];
    char want[192], is[192];
    if (d->dtype != v->dtype || !epl_shape_equal(d->shape, v->shape))
        return epl_graph_fail(s->g, EPL_ERR_SHAPE, "the gradient %s%s does not fit the result %s%s of %s",
                              epl_dtype_name(d->dtype), epl_shape_text(is, d->shape), epl_dtype_name(v->dtype),
                              epl_shape_text(want, v->shape), v->producer->op->name) != NULL;
    *sum = *sum ? epl_apply(s->g, &epl_op_add, EPL_IN(*sum, d), NULL) : d;
    return *sum != NULL;
}

static bool vjp_from(epl_graph *g, int first_id, int n_outputs, epl_value *const *y, epl_value *const *dy, int n_inputs,
                     epl_value *const *x, epl_value **dx);

/* The gradient of an operator that has none of its own, through its expansion. */
static bool expand_backward(const epl_node *n, epl_graph *g, epl_value *const *dy, epl_value **dx)
{
    epl_value **out = epl_alloc_array(g->ctx, (size_t)n->n_outputs + 1, sizeof *out);
    const int first_id = g->root->next_id;
    bool ok = out && n->op->expand(g, n, out);
    /* the expansion reads n's own inputs; one that is read twice is asked for once, and dx of the copy stays NULL */
    epl_value **x = ok ? epl_alloc_array(g->ctx, (size_t)n->n_inputs + 1, sizeof *x) : NULL;
    int n_x = 0;
    for (int i = 0; x && i < n->n_inputs; i++) {
        bool seen = n->inputs[i] == NULL;
        for (int k = 0; k < n_x && !seen; k++)
            seen = x[k] == n->inputs[i];
        if (!seen)
            x[n_x++] = n->inputs[i];
    }
    epl_value **d = x ? epl_alloc_array(g->ctx, (size_t)n->n_inputs + 1, sizeof *d) : NULL;
    ok = d && vjp_from(g, first_id, n->n_outputs, out, dy, n_x, x, d);
    for (int k = 0, i = 0; ok && k < n_x; i++)
        if (n->inputs[i] == x[k])
            dx[i] = d[k++];
    epl_release(g->ctx, out);
    epl_release(g->ctx, x);
    epl_release(g->ctx, d);
    return ok;
}

static bool sweep_node(sweep *s, const epl_node *n)
{
    epl_value **dy = s->dy[n->id], **dx = epl_alloc_array(s->g->ctx, (size_t)n->n_inputs + 1, sizeof *dx);
    if (!dx)
        return false;
    bool ok = true;
    if (n->op->grad)
        n->op->grad(s->g, n, dy, dx);
    else if (n->op->expand)
        ok = expand_backward(n, s->g, dy, dx);
    else
        ok = epl_graph_fail(s->g, EPL_ERR_UNSUPPORTED, "%s%s%s is not differentiable%s", n->op->name, n->scope[0] ? " " : "",
                            n->scope, n->op->flags & EPL_OP_MODAL ? " before its mode is fixed" : "") != NULL;
    ok = ok && !epl_graph_failed(s->g);
    for (int i = 0; ok && i < n->n_inputs; i++)
        if (dx[i] && is_active(s, n->inputs[i]))
            ok = add_gradient(s, n->inputs[i], dx[i]);
    epl_release(s->g->ctx, dx);
    return ok;
}

static void mark_active(sweep *s, int n_inputs, epl_value *const *x)
{
    for (int i = 0; i < n_inputs; i++)
        s->active[x[i]->producer->id] = true;
    for (const epl_node *n = s->g->first; n; n = n->next)
        for (int i = 0; n->id >= s->first_id && n->id < s->n_ids && i < n->n_inputs && !s->active[n->id]; i++)
            s->active[n->id] = is_active(s, n->inputs[i]);
}

static bool reads_active(const sweep *s, const epl_node *n)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (is_active(s, n->inputs[i]))
            return true;
    return false;
}

static bool vjp_from(epl_graph *g, int first_id, int n_outputs, epl_value *const *y, epl_value *const *dy, int n_inputs,
                     epl_value *const *x, epl_value **dx)
{
    if (epl_graph_failed(g))
        return false;
    for (int i = 0; i < n_inputs; i++)
        dx[i] = NULL;
    sweep s = { .g = g, .first_id = first_id, .n_ids = g->root->next_id };
    s.active = epl_alloc_array(g->ctx, (size_t)s.n_ids + 1, sizeof *s.active);
    s.dy     = epl_alloc_array(g->ctx, (size_t)s.n_ids + 1, sizeof *s.dy);
    bool ok = s.active && s.dy;
    if (ok)
        mark_active(&s, n_inputs, x);
    for (int j = 0; ok && j < n_outputs; j++)
        if (dy[j] && is_active(&s, y[j]))
            ok = add_gradient(&s, y[j], dy[j]);
    for (epl_node *n = g->last, *prev; ok && n; n = prev) {
        prev = n->prev; // what the sweep adds goes to the insertion point, never before n
        if (n->id >= first_id && n->id < s.n_ids && s.active[n->id] && s.dy[n->id] && reads_active(&s, n))
            ok = sweep_node(&s, n);
    }
    for (int i = 0; ok && i < n_inputs; i++)
        dx[i] = s.dy[x[i]->producer->id] ? s.dy[x[i]->producer->id][x[i]->index] : NULL;
    for (int i = 0; s.dy && i < s.n_ids; i++)
        epl_release(g->ctx, s.dy[i]);
    epl_release(g->ctx, s.dy);
    epl_release(g->ctx, s.active);
    return ok;
}

bool epl_vjp(epl_graph *g, int n_outputs, epl_value *const *y, epl_value *const *dy, int n_inputs, epl_value *const *x,
             epl_value **dx)
{
    return vjp_from(g, 0, n_outputs, y, dy, n_inputs, x, dx);
}

bool epl_gradient(epl_graph *g, epl_value *y, int n, epl_value *const *x, epl_value **dx)
{
    if (epl_graph_failed(g) || !y)
        return false;
    if (epl_shape_count(y->shape) != 1 || !epl_dtype_is_float(y->dtype)) {
        char text[192];
        return epl_graph_fail(g, EPL_ERR_SHAPE, "a gradient needs a scalar loss of a float type, not %s%s",
                              epl_dtype_name(y->dtype), epl_shape_text(text, y->shape)) != NULL;
    }
    epl_value *one = epl_ones_like(g, y);
    if (!epl_vjp(g, 1, &y, &one, n, x, dx))
        return false;
    for (int i = 0; i < n; i++)
        if (!dx[i])
            dx[i] = epl_zeros_like(g, x[i]);
    return !epl_graph_failed(g);
}
