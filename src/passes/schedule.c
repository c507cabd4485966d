/* schedule: an order of execution that keeps less alive. Nodes stay in their order, except that a node which is ready and
 * frees at least as much as it needs goes first: so a parameter is updated as soon as its gradient is known, and the
 * gradient's memory is free again. Sources cost nothing and come first. */
#include "passes/passes.h"

typedef struct queue {
    epl_graph *g;
    epl_node **nodes; /* by original position; node->tag is the position */
    int       *waits; /* inputs that are not computed yet */
    bool      *done;
    int        n;
} queue;

static size_t bytes_of(const epl_value *v) { return (size_t)epl_shape_count(v->shape) * epl_dtype_bytes(v->dtype); }

/* The parameter or state whose next value v is: v is computed in its place, if nobody else reads the old value later. */
static const epl_value *next_value_of(const epl_value *v)
{
    for (size_t i = 0; i < v->n_uses; i++)
        if (EPL_IS(v->uses[i].node, update))
            return v->uses[i].node->inputs[0];
    return NULL;
}

static int readers_left(const queue *q, const epl_value *v)
{
    int left = 0;
    for (size_t i = 0; i < v->n_uses; i++)
        left += !q->done[v->uses[i].node->tag];
    return left;
}

static int reads(const epl_node *n, const epl_value *v)
{
    int count = 0;
    for (int i = 0; i < n->n_inputs; i++)
        count += n->inputs[i] == v;
    return count;
}

/* Would n overwrite a parameter that others, besides n and the Update, have yet to read? */
static bool premature(const queue *q, const epl_node *n)
{
    for (int i = 0; i < n->n_outputs; i++) {
        const epl_value *old = next_value_of(n->outputs[i]);
        if (old && readers_left(q, old) > reads(n, old) + 1)
            return true;
    }
    return false;
}

/* Bytes that executing n now would free, less those that its results take. */
static bool shrinks(const queue *q, const epl_node *n)
{
    int64_t freed = 0, taken = 0;
    if (premature(q, n))
        return false;
    for (int i = 0; i < n->n_outputs; i++)
        if (!next_value_of(n->outputs[i]))
            taken += (int64_t)bytes_of(n->outputs[i]);
    for (int i = 0; i < n->n_inputs; i++) {
        const epl_value *v = n->inputs[i];
        bool first = v != NULL && !(v->producer->op->flags & (EPL_OP_SOURCE | EPL_OP_VIEW));
        for (int k = 0; first && k < i; k++)
            first = n->inputs[k] != v;
        if (first && readers_left(q, v) == reads(n, v))
            freed += (int64_t)bytes_of(v);
    }
    return freed > 0 && freed >= taken;
}

static void finish(queue *q, epl_node *n)
{
    epl_node_move_last(n);
    q->done[n->tag] = true;
    for (int i = 0; i < n->n_outputs; i++)
        for (size_t u = 0; u < n->outputs[i]->n_uses; u++)
            q->waits[n->outputs[i]->uses[u].node->tag]--;
}

static void finish_with_followers(queue *q, epl_node *n);

static void try_now(queue *q, epl_node *n)
{
    if (!q->done[n->tag] && q->waits[n->tag] == 0 && !(n->op->flags & EPL_OP_SINK) && shrinks(q, n))
        finish_with_followers(q, n);
}

/* After n, readers of its results may have become nodes that shrink, and so may the one that updates a parameter which n was
 * the last to read: they run at once. */
static void finish_with_followers(queue *q, epl_node *n)
{
    finish(q, n);
    for (int i = 0; i < n->n_inputs; i++) {
        const epl_value *v = n->inputs[i];
        for (size_t u = 0; v && (v->producer->op->flags & EPL_OP_SOURCE) && u < v->n_uses; u++)
            if (EPL_IS(v->uses[u].node, update) && v->uses[u].input == 0 && !q->done[v->uses[u].node->inputs[1]->producer->tag])
                try_now(q, v->uses[u].node->inputs[1]->producer);
    }
    for (int i = 0; i < n->n_outputs; i++)
        for (size_t u = 0; u < n->outputs[i]->n_uses; u++)
            try_now(q, n->outputs[i]->uses[u].node);
}

bool epl_schedule(epl_graph *g)
{
    queue q = { .g = g, .n = g->n_nodes };
    q.nodes = epl_alloc_array(g->ctx, (size_t)q.n + 1, sizeof(epl_node *));
    q.waits = epl_alloc_array(g->ctx, (size_t)q.n + 1, sizeof *q.waits);
    q.done  = epl_alloc_array(g->ctx, (size_t)q.n + 1, sizeof *q.done);
    bool ok = q.nodes && q.waits && q.done;
    int  k  = 0;
    for (epl_node *n = g->first; ok && n; n = n->next, k++) {
        n->tag     = k;
        q.nodes[k] = n;
        for (int i = 0; i < n->n_inputs; i++)
            q.waits[k] += n->inputs[i] != NULL;
    }
    for (int i = 0; ok && i < q.n; i++)
        if (q.nodes[i]->op->flags & EPL_OP_SOURCE)
            finish(&q, q.nodes[i]);
    for (int patient = 1; patient >= 0; patient--) // first without overwriting anything too early, then what is left
        for (int i = 0; ok && i < q.n; i++)
            if (!q.done[i] && q.waits[i] == 0 && !(patient && premature(&q, q.nodes[i])))
                finish_with_followers(&q, q.nodes[i]);
    epl_release(g->ctx, q.nodes);
    epl_release(g->ctx, q.waits);
    epl_release(g->ctx, q.done);
    return ok;
}
