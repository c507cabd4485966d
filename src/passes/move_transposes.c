/* move_transposes: moves transposes towards the outputs, where two that undo each other meet and vanish. Exact: elements are
 * moved, none is computed. An imported network in channels-first order is left with transposes at its ends alone.
 *
 * A transpose passes a node if every input of the node is transposed alike, or is cheap to bring into the other order: a weight,
 * or something that broadcasting makes larger. One pass in order of execution suffices, since a transpose that has
 * passed a node stands before the nodes that come next. */
#include "passes/passes.h"

typedef struct order {
    int     rank;
    int64_t perm[EPL_MAX_RANK];
} order;

static bool order_of(const epl_value *v, order *o)
{
    const int64_t *perm;
    const epl_node *n = v ? v->producer : NULL;
    if (!EPL_IS(n, transpose))
        return false;
    o->rank = epl_attr_ints(n, "perm", &perm);
    for (int i = 0; i < o->rank; i++)
        o->perm[i] = perm[i];
    for (int i = 0; o->rank == 0 && i < v->shape.rank; i++) // the default reverses the axes
        o->perm[i] = v->shape.rank - 1 - i;
    o->rank = v->shape.rank;
    return true;
}

static bool same_order(const order *a, const order *b)
{
    return a->rank == b->rank && memcmp(a->perm, b->perm, (size_t)a->rank * sizeof *a->perm) == 0;
}

static epl_value *transposed(epl_graph *g, epl_value *v, const order *o)
{
    epl_shape perm = { .rank = o->rank };
    memcpy(perm.dim, o->perm, (size_t)o->rank * sizeof *o->perm);
    return epl_permute(g, v, perm);
}

/* What a capture of a region is outside; v itself if it is none. */
static const epl_value *outside(const epl_value *v)
{
    for (const epl_node *n; EPL_IS(v->producer, input) && (n = v->producer->graph->owner) != NULL;) {
        const bool loop = EPL_IS(n, loop);
        int        i = 0;
        while (epl_graph_input_at(v->producer->graph, i) != v)
            i++;
        if (!(loop || EPL_IS(n, if) || EPL_IS(n, if_each) || EPL_IS(n, switch)) || (loop && i < 2 + epl_attr_i(n, "n_carried")))
            break;
        v = n->inputs[loop ? i - 1 : i + 1];
    }
    return v;
}

bool epl_is_stored(const epl_value *v)
{
    v = v ? outside(v) : NULL;
    return v && (EPL_IS(v->producer, parameter) || EPL_IS(v->producer, state) || EPL_IS(v->producer, constant));
}

/* v's axes as they were before the transpose. */
static epl_value *untransposed(epl_graph *g, epl_value *v, const order *o)
{
    epl_shape perm = { .rank = o->rank };
    for (int i = 0; i < o->rank; i++)
        perm.dim[o->perm[i]] = i;
    return epl_permute(g, v, perm);
}

/* The axis along which v is a vector, -1 for one element, -2 for more than a vector. */
static int vector_axis(epl_shape s)
{
    int along = -1;
    for (int i = 0; i < s.rank; i++)
        if (s.dim[i] != 1)
            along = along == -1 ? i : -2;
    return along;
}

/* An operand that is not transposed, as it must lie before the transpose of a result of this shape; NULL if that would cost as
 * much as it saves. A stored vector is reshaped, other stored values are transposed once; of what the network computes those are
 * transposed that broadcasting makes larger (a reshape would fix a batch of 1). */
static epl_value *rearranged(epl_graph *g, epl_value *v, const order *o, epl_shape result)
{
    const int  lead = o->rank - v->shape.rank, along = vector_axis(v->shape); // lead: axes of size 1 that broadcasting adds
    const bool vector = along != -2 && (epl_is_stored(v) || lead > 0);
    epl_shape  shape = { .rank = o->rank };
    if (lead < 0 || v->shape.rank == 0)
        return lead < 0 ? NULL : v;
    if (!vector && !epl_is_stored(v) && (lead > 0 || epl_shape_count(v->shape) >= epl_shape_count(result)))
        return NULL;
    if (!vector && lead == 0)
        return untransposed(g, v, o);
    for (int i = 0; i < o->rank; i++)
        shape.dim[i] = vector || i < lead ? 1 : v->shape.dim[i - lead];
    if (vector && along >= 0)
        shape.dim[o->perm[along + lead]] = -1;
    epl_value *r = epl_reshape(g, v, shape);
    return vector ? r : untransposed(g, r, o);
}

/* The inputs as they are before the transposes, all in one order; `small`: cheap others may be rearranged. */
static bool inputs_before(epl_graph *g, epl_node *n, bool small, order *o, epl_value **in)
{
    bool found = false;
    for (int i = 0; i < n->n_inputs && !found; i++)
        found = order_of(n->inputs[i], o);
    for (int i = 0; found && i < n->n_inputs; i++) {
        order other;
        if (!n->inputs[i])
            return false;
        if (order_of(n->inputs[i], &other)) {
            if (!same_order(o, &other))
                return false;
        } else if (!small || o->rank < n->inputs[i]->shape.rank) {
            return false;
        }
    }
    for (int i = 0; found && i < n->n_inputs; i++) {
        order ignored;
        in[i] = order_of(n->inputs[i], &ignored) ? n->inputs[i]->producer->inputs[0] : rearranged(g, n->inputs[i], o, n->outputs[0]->shape);
        if (!in[i])
            return false;
    }
    return found;
}

/* Puts the copy of n, made before the transpose, in n's place. */
static bool replace_outputs(epl_graph *g, epl_node *n, epl_node *copy, const order *o)
{
    for (int i = 0; copy && i < n->n_outputs; i++) {
        epl_value *v = transposed(g, copy->outputs[i], o);
        if (!v)
            return false;
        epl_replace(n->outputs[i], v);
    }
    return copy != NULL;
}

static epl_node *copy_with(epl_graph *g, const epl_node *n, epl_value *const *in, const epl_attr *attrs)
{
    epl_node *copy = epl_node_add(g, n->op, n->n_inputs, in, attrs, 0, NULL);
    if (copy)
        copy->scope = n->scope;
    return copy;
}

/* An attribute `axis`, or a list `axes` (where it is empty, every axis in order), seen before the transpose. */
static bool map_axes(const epl_node *n, const order *o, epl_attr *attrs, int64_t axes[EPL_MAX_RANK])
{
    const int one = epl_op_attr_index(n->op, "axis"), list = epl_op_attr_index(n->op, "axes");
    memcpy(attrs, n->attrs, (size_t)epl_op_n_attrs(n->op) * sizeof *attrs);
    if (one >= 0) {
        const int64_t axis = n->attrs[one].i;
        attrs[one] = EPL_A_I(o->perm[axis < 0 ? axis + o->rank : axis]);
    }
    if (list >= 0) {
        const int count = n->attrs[list].n ? n->attrs[list].n : o->rank;
        for (int i = 0; i < count; i++) {
            const int64_t axis = n->attrs[list].n ? n->attrs[list].ints[i] : i;
            axes[i] = o->perm[axis < 0 ? axis + o->rank : axis];
        }
        attrs[list] = EPL_A_INTS(count, axes);
    }
    return one >= 0 || list >= 0;
}

static bool move_elementwise(epl_graph *g, epl_node *n)
{
    order      o;
    epl_value *in[8];
    return n->n_inputs <= 8 && inputs_before(g, n, true, &o, in) && o.rank == n->outputs[0]->shape.rank &&
           replace_outputs(g, n, copy_with(g, n, in, n->attrs), &o);
}

static bool move_along_axis(epl_graph *g, epl_node *n)
{
    order       o;
    epl_attr    attrs[EPL_MAX_ATTRS];
    int64_t     axes[EPL_MAX_RANK];
    epl_value **in = epl_alloc_array(g->ctx, (size_t)n->n_inputs + 1, sizeof *in);
    const bool  moved = in && inputs_before(g, n, false, &o, in) && map_axes(n, &o, attrs, axes) &&
                       replace_outputs(g, n, copy_with(g, n, in, attrs), &o);
    epl_release(g->ctx, in);
    return moved;
}

/* The pads of every axis, in order. */
static bool move_pad(epl_graph *g, epl_node *n)
{
    order      o;
    epl_attr   attrs[EPL_MAX_ATTRS];
    int64_t    axes[EPL_MAX_RANK], pads[2 * EPL_MAX_RANK] = { 0 };
    epl_value *in[1];
    if (!inputs_before(g, n, false, &o, in) || !map_axes(n, &o, attrs, axes))
        return false;
    epl_attr *list = &attrs[epl_op_attr_index(n->op, "axes")], *both = &attrs[epl_op_attr_index(n->op, "pads")];
    for (int i = 0; i < list->n; i++) {
        pads[axes[i]]          = both->ints[i];
        pads[o.rank + axes[i]] = both->ints[list->n + i];
    }
    *list = (epl_attr){ 0 };
    *both = EPL_A_INTS(2 * o.rank, pads);
    return replace_outputs(g, n, copy_with(g, n, in, attrs), &o);
}

/* Without keepdims the reduced axes disappear from the order too. */
static bool move_reduction(epl_graph *g, epl_node *n)
{
    order      o, rest = { 0 };
    epl_attr   attrs[EPL_MAX_ATTRS];
    int64_t    axes[EPL_MAX_RANK];
    epl_value *in[1];
    bool       reduced[EPL_MAX_RANK] = { false };
    if (n->n_inputs != 1 || epl_attr_i(n, "noop_with_empty_axes") || !inputs_before(g, n, false, &o, in) ||
        !map_axes(n, &o, attrs, axes))
        return false;
    const int list = epl_op_attr_index(n->op, "axes");
    for (int i = 0; i < attrs[list].n; i++)
        reduced[axes[i]] = true;
    for (int i = 0; i < o.rank; i++) {
        int64_t before = 0;
        for (int64_t k = 0; k < o.perm[i]; k++)
            before += !reduced[k];
        if (!reduced[o.perm[i]])
            rest.perm[rest.rank++] = before;
    }
    return replace_outputs(g, n, copy_with(g, n, in, attrs), epl_attr_i(n, "keepdims") ? &o : &rest);
}

/* Is `outer` of `inner` the order that was? */
static bool undoes(const order *outer, const order *inner)
{
    bool identity = outer->rank == inner->rank;
    for (int i = 0; identity && i < outer->rank; i++)
        identity = inner->perm[outer->perm[i]] == i;
    return identity;
}

/* Two transposes are one, or none. */
static bool merge(epl_graph *g, epl_node *n)
{
    order inner, outer, both = { 0 };
    if (!order_of(n->outputs[0], &outer))
        return false;
    const bool two = order_of(n->inputs[0], &inner);
    bool       identity = true;
    both.rank = outer.rank;
    for (int i = 0; i < outer.rank; i++) {
        both.perm[i] = two ? inner.perm[outer.perm[i]] : outer.perm[i];
        identity = identity && both.perm[i] == i;
    }
    if (!two && !identity)
        return false;
    epl_value *from = two ? n->inputs[0]->producer->inputs[0] : n->inputs[0];
    epl_value *v = identity ? from : transposed(g, from, &both);
    if (v)
        epl_replace(n->outputs[0], v);
    return v != NULL;
}

/* A transpose that moves axes of size 1 alone is a reshape, which costs nothing. The first axis is the batch, whose size may
 * change. */
static bool flatten(epl_graph *g, epl_node *n)
{
    const epl_value *x = n->inputs[0];
    order   o;
    int64_t last = -1;
    if (!order_of(n->outputs[0], &o) || o.rank < 2 || o.perm[0] != 0)
        return false;
    epl_shape shape = { .rank = o.rank, .dim = { EPL_KEEP } };
    for (int i = 1; i < o.rank; i++) {
        shape.dim[i] = x->shape.dim[o.perm[i]];
        if (shape.dim[i] == 1)
            continue;
        if (o.perm[i] < last || shape.dim[i] == 0)
            return false;
        last = o.perm[i];
    }
    epl_value *v = epl_reshape(g, n->inputs[0], shape);
    if (v)
        epl_replace(n->outputs[0], v);
    return v != NULL;
}

/* T(op(U(a), b)) where T undoes U, which nobody else reads: op(a, T(b)) has one transpose less. */
static bool come_back(epl_graph *g, epl_node *n)
{
    order outer, inner;
    const epl_value *result = n->inputs[0];
    const epl_node  *op = result->producer;
    if (!order_of(n->outputs[0], &outer) || !(op->op->flags & EPL_OP_ELEMENTWISE) || op->n_inputs != 2 || result->n_uses != 1)
        return false;
    for (int k = 0; k < 2; k++) {
        epl_value *in[2] = { op->inputs[0], op->inputs[1] };
        if (!epl_shape_equal(in[0]->shape, in[1]->shape) || !order_of(in[k], &inner) || in[k]->n_uses != 1 || !undoes(&outer, &inner))
            continue;
        in[k]     = in[k]->producer->inputs[0];
        in[1 - k] = transposed(g, in[1 - k], &outer);
        epl_node *copy = copy_with(g, op, in, op->attrs);
        if (copy)
            epl_replace(n->outputs[0], copy->outputs[0]);
        return copy != NULL;
    }
    return false;
}

typedef bool move_fn(epl_graph *g, epl_node *n);

static const struct {
    const epl_op *op;
    move_fn      *move;
} moves[] = {
    { &epl_op_cast, move_elementwise },         { &epl_op_transpose, merge },
    { &epl_op_reshape, epl_move_past_reshape },
    { &epl_op_concat, move_along_axis },        { &epl_op_split, move_along_axis },
    { &epl_op_softmax, move_along_axis },       { &epl_op_log_softmax, move_along_axis },
    { &epl_op_slice, move_along_axis },         { &epl_op_pad, move_pad },
    { &epl_op_reduce_sum, move_reduction },     { &epl_op_reduce_mean, move_reduction },
    { &epl_op_reduce_max, move_reduction },     { &epl_op_reduce_min, move_reduction },
    { &epl_op_reduce_l1, move_reduction },      { &epl_op_reduce_l2, move_reduction },
};

static move_fn *move_of(const epl_node *n)
{
    if (n->op->flags & EPL_OP_ELEMENTWISE)
        return move_elementwise;
    for (size_t i = 0; i < EPL_COUNT(moves); i++)
        if (moves[i].op == n->op)
            return moves[i].move;
    return NULL;
}

static bool move_all(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        for (int i = 0; i < n->n_regions; i++)
            if (!move_all(n->regions[i]))
                return false;
        move_fn *move = move_of(n);
        if (!move)
            continue;
        epl_node  *at = epl_graph_insert_before(g, n);
        const bool moved = move(g, n);
        epl_graph_insert_before(g, at);
        if (moved)
            epl_node_remove(n);
    }
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        epl_node *at = epl_graph_insert_before(g, n);
        if (EPL_IS(n, transpose) && (flatten(g, n) || come_back(g, n)))
            epl_node_remove(n);
        epl_graph_insert_before(g, at);
    }
    return !epl_graph_failed(g);
}

bool epl_move_transposes(epl_graph *g)
{
    if (!move_all(g))
        return false;
    epl_remove_dead(g);
    return true;
}
