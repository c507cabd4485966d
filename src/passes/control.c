/* control: choices and loops that are known before anything runs. An If or Switch whose selector is a constant
 * becomes the region that it takes; a Loop whose conditions all are becomes its iterations, one after the other, if
 * they are few. Constants are folded on the way, because one makes the other known. Every bit is kept. */
#include "passes/passes.h"

enum { UNROLL = 64, MOST_NODES = 8192 };

static const epl_tensor *known(const epl_value *v)
{
    return v && EPL_IS(v->producer, constant) ? v->producer->attrs[0].tensor : NULL;
}

/* Parameters that a region declares for itself may stand behind it in the graph around it. */
static void sources_first(epl_graph *g)
{
    epl_node *at = g->first;
    while (at && at->op->flags & EPL_OP_SOURCE)
        at = at->next;
    for (epl_node *n = at, *next; n; n = next) {
        next = n->next;
        if (n->op->flags & EPL_OP_SOURCE)
            epl_node_move_before(n, at);
    }
}

static bool inline_before(epl_node *n, int region, epl_value *const *inputs, epl_value **out)
{
    epl_node  *former = epl_graph_insert_before(n->graph, n);
    const bool ok = epl_graph_inline(n->graph, n->regions[region], inputs, out, NULL);
    epl_graph_insert_before(n->graph, former);
    if (ok)
        sources_first(n->graph);
    return ok;
}

/* The results take the node's place. */
static void become(epl_node *n, epl_value **results)
{
    for (int i = 0; i < n->n_outputs; i++)
        epl_replace(n->outputs[i], results[i]);
    epl_node_remove(n);
}

/* ---- If and Switch ---- */

static bool take(epl_node *n, const epl_tensor *selector)
{
    const int64_t x = epl_tensor_get_i64(selector, 0), last = n->n_regions - 1;
    epl_value   **out = epl_alloc_array(n->graph->ctx, (size_t)n->n_outputs + 1, sizeof *out);
    const bool ok = out && inline_before(n, (int)(EPL_IS(n, if) ? !x : x < 0 ? 0 : x > last ? last : x), n->inputs + 1, out);
    if (ok)
        become(n, out);
    epl_release(n->graph->ctx, out);
    return ok;
}

/* ---- Loop ---- */

typedef struct loop {
    epl_graph  *g;
    epl_node   *n;
    int         first_id; /* what is written out has ids from here on */
    int         n_carried, n_captures, n_scans, n_results;
    int64_t     trip, done;
    epl_value **in, **out;
    epl_node  **scans;   /* an Output for each iteration and scan, so that folding cannot lose the value */
    epl_node  **carried; /* likewise, of the latest iteration */
} loop;

/* The body says whether there is a further iteration by a constant, or passes on what it was told. */
static bool never_stops(const epl_graph *body)
{
    const epl_value *again = epl_graph_output_at(body, 0);
    return again == epl_graph_input_at(body, 1) || (known(again) && epl_tensor_get_i64(known(again), 0));
}

static epl_node *hold(const loop *l, epl_value *v)
{
    epl_node *former = epl_graph_insert_before(l->g, l->n), *holder = epl_output(l->g, "held", v);
    epl_graph_insert_before(l->g, former);
    return holder;
}

static epl_value *let_go(epl_node *holder)
{
    epl_value *v = holder->inputs[0];
    epl_node_remove(holder);
    return v;
}

static epl_value *constant_before(const loop *l, epl_dtype dtype, int64_t x)
{
    epl_node  *former = epl_graph_insert_before(l->g, l->n);
    epl_value *v = epl_scalar(l->g, dtype, (double)x);
    epl_graph_insert_before(l->g, former);
    return v;
}

/* One iteration; *go becomes whether there is a further one, -1 if that is not known. */
static bool iterate(loop *l, int *go)
{
    l->in[0] = constant_before(l, EPL_I64, l->done);
    l->in[1] = constant_before(l, EPL_BOOL, 1);
    for (int i = 0; i < l->n_carried; i++)
        l->in[2 + i] = l->carried[i]->inputs[0];
    for (int i = 0; i < l->n_captures; i++)
        l->in[2 + l->n_carried + i] = l->n->inputs[1 + l->n_carried + i];
    if (!inline_before(l->n, 0, l->in, l->out))
        return false;
    epl_node *again = hold(l, l->out[0]);
    for (int i = 0; again && i < l->n_carried; i++) {
        epl_node *next = hold(l, l->out[1 + i]);
        let_go(l->carried[i]);
        l->carried[i] = next;
    }
    for (int i = 0; again && i < l->n_scans; i++)
        l->scans[l->done * l->n_scans + i] = hold(l, l->out[1 + l->n_carried + i]);
    l->done++;
    if (epl_graph_failed(l->g) || !epl_fold_between(l->g->first, l->n))
        return false;
    const epl_tensor *t = known(again->inputs[0]);
    *go = t ? epl_tensor_get_i64(t, 0) != 0 : -1;
    epl_node_remove(again);
    return true;
}

/* Nothing, of a shape: a dimension 0 cannot be asked of Expand, which keeps it. */
static epl_value *empty(epl_graph *g, epl_dtype dtype, epl_shape shape)
{
    char             none[8] = { 0 };
    const epl_tensor t = { .dtype = dtype, .shape = shape, .data = none };
    return epl_constant(g, &t);
}

/* Iterations that are there, and zeros for those that an early stop left out. */
static epl_value *stacked(const loop *l, int scan)
{
    const epl_value *whole = l->n->outputs[l->n_carried + scan];
    epl_value      **each  = epl_alloc_array(l->g->ctx, (size_t)l->done + 1, sizeof *each), *parts[2];
    epl_shape        rest  = whole->shape;
    int              n     = 0;
    for (int64_t k = 0; each && k < l->done; k++)
        each[k] = l->scans[k * l->n_scans + scan]->inputs[0];
    if (each && l->done)
        parts[n++] = epl_stack(l->g, (int)l->done, each, 0);
    rest.dim[0] -= l->done;
    if (each && !n && epl_shape_count(whole->shape) == 0)
        parts[n++] = empty(l->g, whole->dtype, whole->shape);
    else if (each && rest.dim[0])
        parts[n++] = epl_expand(l->g, epl_scalar(l->g, whole->dtype, 0), rest);
    epl_release(l->g->ctx, each);
    return n == 2 ? epl_concat(l->g, 2, parts, 0) : n ? parts[0] : NULL;
}

static bool finish(loop *l)
{
    epl_value **results = epl_alloc_array(l->g->ctx, (size_t)l->n_results, sizeof *results);
    epl_node   *former  = epl_graph_insert_before(l->g, l->n);
    for (int i = 0; results && i < l->n_scans; i++)
        results[l->n_carried + i] = stacked(l, i);
    if (results)
        results[l->n_results - 1] = epl_scalar(l->g, EPL_I64, (double)l->done);
    epl_graph_insert_before(l->g, former);
    const bool ok = results && !epl_graph_failed(l->g);
    for (int i = 0; ok && i < l->n_carried; i++)
        results[i] = let_go(l->carried[i]);
    for (int64_t k = 0; ok && k < l->done * l->n_scans; k++)
        let_go(l->scans[k]);
    if (ok)
        become(l->n, results);
    epl_release(l->g->ctx, results);
    return ok;
}

/* What was written out goes away again: nobody outside reads it. */
static void give_up(const loop *l)
{
    for (epl_node *n = l->n->prev, *prev; n; n = prev) {
        prev = n->prev;
        bool used = n->id < l->first_id;
        for (int i = 0; i < n->n_outputs; i++)
            used = used || n->outputs[i]->n_uses > 0;
        if (!used)
            epl_node_remove(n);
    }
}

static bool write_out(loop *l, int64_t limit, int go, bool *done)
{
    bool ok = true;
    for (int i = 0; ok && i < l->n_carried; i++)
        ok = (l->carried[i] = hold(l, l->n->inputs[1 + i])) != NULL;
    while (ok && go == 1 && l->done < l->trip && l->done < limit)
        ok = iterate(l, &go);
    *done = ok && (go == 0 || (go == 1 && l->done == l->trip));
    if (*done)
        return finish(l);
    if (ok)
        give_up(l);
    return ok;
}

static bool unroll(epl_node *n, int64_t limit, bool *done)
{
    epl_graph *g = n->graph;
    const epl_graph  *body  = n->regions[0];
    const epl_tensor *first = n->n_inputs ? known(n->inputs[0]) : NULL;
    loop l = { .g = g, .n = n, .first_id = g->root->next_id, .trip = epl_attr_i(n, "trip"), .n_carried = (int)epl_attr_i(n, "n_carried") };
    l.n_captures = n->n_inputs > 1 ? n->n_inputs - 1 - l.n_carried : 0;
    l.n_results  = n->n_outputs;
    l.n_scans    = n->n_outputs - 1 - l.n_carried;
    const int64_t most = l.trip < limit ? l.trip : limit;
    if ((n->n_inputs && n->inputs[0] && !first) || (l.trip > limit && (!first || epl_tensor_get_i64(first, 0)) && never_stops(body)) ||
        most * body->n_nodes > MOST_NODES)
        return true;
    l.in      = epl_alloc_array(g->ctx, (size_t)(2 + l.n_carried + l.n_captures), sizeof *l.in);
    l.out     = epl_alloc_array(g->ctx, (size_t)l.n_results + 1, sizeof *l.out);
    l.carried = epl_alloc_array(g->ctx, (size_t)l.n_carried + 1, sizeof *l.carried);
    l.scans   = epl_alloc_array(g->ctx, (size_t)(most * l.n_scans) + 1, sizeof *l.scans);
    const bool ok = l.in && l.out && l.carried && l.scans &&
                    write_out(&l, limit, first ? epl_tensor_get_i64(first, 0) != 0 : 1, done);
    epl_release(g->ctx, l.in);
    epl_release(g->ctx, l.out);
    epl_release(g->ctx, l.carried);
    epl_release(g->ctx, l.scans);
    return ok;
}

/* ---- the walk ---- */

static bool settle(epl_node *n, int64_t limit, bool *changed)
{
    const bool branch = EPL_IS(n, if) || EPL_IS(n, switch);
    if (branch && known(n->inputs[0])) {
        *changed = true;
        return take(n, known(n->inputs[0]));
    }
    return !EPL_IS(n, loop) || limit < 1 || unroll(n, limit, changed);
}

static bool fold_control(epl_graph *g, int64_t limit)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        epl_node *before = n->prev;
        bool      changed = false;
        next = n->next;
        if (!epl_sink_captures(n, false) || !epl_fold_between(n, next))
            return false;
        if ((before ? before->next : g->first) != n)
            continue; // folded
        for (int r = 0; r < n->n_regions; r++)
            if (!fold_control(n->regions[r], limit))
                return false;
        if (!settle(n, limit, &changed))
            return false;
        if (changed) // what came in may hold more
            next = before ? before->next : g->first;
    }
    return !epl_graph_failed(g);
}

bool epl_fold_control(epl_graph *g, int unroll_limit)
{
    return fold_control(g, unroll_limit < 0 ? 0 : unroll_limit ? unroll_limit : UNROLL);
}

/* ---- loops without a limit ---- */

const epl_node *epl_endless_loop(const epl_graph *g)
{
    for (const epl_node *n = g->first; n; n = n->next) {
        if (EPL_IS(n, loop) && epl_attr_i(n, "trip") == EPL_LOOP_UNLIMITED)
            return n;
        for (int r = 0; r < n->n_regions; r++) {
            const epl_node *inside = epl_endless_loop(n->regions[r]);
            if (inside)
                return inside;
        }
    }
    return NULL;
}

bool epl_limit_loops(epl_graph *g, int64_t most)
{
    for (const epl_node *n = epl_endless_loop(g); n; n = epl_endless_loop(g))
        if (!epl_node_set_attr((epl_node *)(uintptr_t)n, epl_op_attr_index(n->op, "trip"), EPL_A_I(most)))
            return false;
    return epl_reinfer(g);
}
