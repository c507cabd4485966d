/* recognise: networks as other tools write them, in this library's words - a product with a matrix is a Linear
 * layer, the bias that is added to it its bias, x sigmoid(x) is Silu, x x is Square, 1 / sqrt x is Rsqrt, what is
 * not equal is NotEqual, a clip to [0, 6] is Relu6, numbers that are added and multiplied are an Affine, reshapes in
 * a row are one, a product reads a transpose of its last axes by itself. Keeps results within rounding. */
#include "passes/passes.h"

/* Each rule returns the value that takes the place of output 0, or NULL. */
typedef epl_value *rule_fn(epl_graph *g, epl_node *n);

/* ---- products ---- */

static epl_value *as_linear(epl_graph *g, epl_node *n, bool stored)
{
    epl_value *x = n->inputs[0], *w = n->inputs[1];
    if ((stored && !epl_is_stored(w)) || epl_is_stored(x) || w->shape.rank != 2 || epl_attr_i(n, "trans_a") ||
        !epl_dtype_is_float(x->dtype))
        return NULL;
    return epl_multiply_rows(g, x, w, NULL, epl_attr_i(n, "trans_b") != 0);
}

/* The order that a transpose gives its axes, of those that exchange the last axis and the one before; false otherwise. */
static bool ends_exchanged(const epl_node *t, int perm[EPL_MAX_RANK])
{
    const int64_t *p;
    const int      rank = t->outputs[0]->shape.rank;
    if (rank < 2 || epl_attr_ints(t, "perm", &p) != rank || p[rank - 2] != rank - 1)
        return false;
    for (int i = 0; i < rank; i++)
        perm[i] = (int)p[i];
    perm[rank - 2] = (int)p[rank - 1];
    perm[rank - 1] = rank - 1;
    return true;
}

/* Factor k is a transpose that exchanges its last axes, among others: the product does that by itself. */
static epl_value *transpose_into_product(epl_graph *g, epl_node *n, int k)
{
    epl_value      *in[2] = { n->inputs[0], n->inputs[1] };
    const epl_node *t = in[k]->producer;
    int             perm[EPL_MAX_RANK];
    bool            exchanged[2] = { epl_attr_i(n, "trans_a") != 0, epl_attr_i(n, "trans_b") != 0 };
    if (!EPL_IS(t, transpose) || in[k]->n_uses != 1 || !ends_exchanged(t, perm))
        return NULL;
    exchanged[k] = !exchanged[k];
    bool same = true;
    for (int i = 0; i < in[k]->shape.rank; i++)
        same = same && perm[i] == i;
    in[k] = same ? t->inputs[0] : epl_transpose(g, t->inputs[0], in[k]->shape.rank, perm);
    return epl_matmul(g, in[0], in[1], (epl_matmul_opts){ .trans_a = exchanged[0], .trans_b = exchanged[1] });
}

static epl_value *rule_matmul(epl_graph *g, epl_node *n)
{
    epl_value *v = as_linear(g, n, true);
    if (!v)
        v = transpose_into_product(g, n, 1);
    if (!v)
        v = transpose_into_product(g, n, 0);
    return v ? v : as_linear(g, n, false);
}

/* ---- what follows ---- */

/* The number that a constant of one element holds. */
static bool is_number(const epl_value *v, double *x)
{
    if (!EPL_IS(v->producer, constant) || epl_shape_count(v->shape) != 1 || !epl_dtype_is_float(v->dtype))
        return false;
    *x = epl_tensor_get(v->producer->attrs[0].tensor, 0);
    return true;
}

/* The input that a number changes into a result of its own shape; NULL for others. */
static epl_value *beside_number(const epl_node *n, double *number)
{
    for (int i = 0; i < 2; i++)
        if (is_number(n->inputs[i], number) && epl_shape_equal(n->inputs[1 - i]->shape, n->outputs[0]->shape))
            return n->inputs[1 - i];
    return NULL;
}

static epl_value *rule_add(epl_graph *g, epl_node *n)
{
    double     number;
    epl_value *x = beside_number(n, &number);
    if (x && EPL_IS(x->producer, affine) && x->n_uses == 1 && epl_attr_r(x->producer, "beta") == 0)
        return epl_affine(g, x->producer->inputs[0], epl_attr_r(x->producer, "alpha"), number);
    if (x)
        return epl_affine(g, x, 1, number);
    for (int i = 0; i < 2; i++) {
        const epl_node *l = n->inputs[i]->producer;
        epl_value      *bias = n->inputs[1 - i];
        if (EPL_IS(l, linear) && !epl_node_input(l, 2) && l->outputs[0]->n_uses == 1 && epl_is_stored(bias) && bias->shape.rank == 1 &&
            bias->shape.dim[0] == epl_channels(l->outputs[0]) && bias->dtype == l->outputs[0]->dtype)
            return epl_multiply_rows(g, l->inputs[0], l->inputs[1], bias, epl_attr_i(l, "trans_w") != 0);
    }
    return NULL;
}

static epl_value *rule_mul(epl_graph *g, epl_node *n)
{
    double     factor;
    epl_value *x = beside_number(n, &factor);
    if (x)
        return epl_affine(g, x, factor, 0);
    if (n->inputs[0] == n->inputs[1])
        return epl_square(g, n->inputs[0]);
    for (int i = 0; i < 2; i++) {
        const epl_value *s = n->inputs[i];
        if (EPL_IS(s->producer, sigmoid) && s->n_uses == 1 && s->producer->inputs[0] == n->inputs[1 - i])
            return epl_silu(g, n->inputs[1 - i]);
    }
    return NULL;
}

static epl_value *rule_reciprocal(epl_graph *g, epl_node *n)
{
    const epl_value *root = n->inputs[0];
    return EPL_IS(root->producer, sqrt) && root->n_uses == 1 ? epl_rsqrt(g, root->producer->inputs[0]) : NULL;
}

static epl_value *rule_clip(epl_graph *g, epl_node *n)
{
    return epl_attr_r(n, "min") == 0 && epl_attr_r(n, "max") == 6 ? epl_relu6(g, n->inputs[0]) : NULL;
}

/* ---- reshapes ---- */

static bool plain_reshape(const epl_node *n) { return EPL_IS(n, reshape) && n->n_inputs == 1 && !epl_attr_i(n, "allowzero"); }

/* The second of two may keep an axis only if the first has kept it. */
static epl_value *merge_reshapes(epl_graph *g, const epl_node *n, const epl_node *first)
{
    const int64_t *to, *by;
    const int      rank = epl_attr_ints(n, "shape", &to), n_by = epl_attr_ints(first, "shape", &by);
    epl_shape      shape = { .rank = rank };
    for (int i = 0; i < rank; i++) {
        if (to[i] == EPL_KEEP && (i >= n_by || by[i] != EPL_KEEP))
            return NULL;
        shape.dim[i] = to[i];
    }
    return epl_reshape(g, first->inputs[0], shape);
}

static epl_value *rule_reshape(epl_graph *g, epl_node *n)
{
    if (epl_shape_equal(n->inputs[0]->shape, n->outputs[0]->shape))
        return n->inputs[0];
    const epl_node *first = n->inputs[0]->producer;
    return plain_reshape(n) && plain_reshape(first) ? merge_reshapes(g, n, first) : NULL;
}

/* ---- results of a fixed number: ONNX has as many as there are, and fills them up and cuts them ---- */

static bool is_counted(const epl_value *v)
{
    return EPL_IS(v->producer, non_zero) || EPL_IS(v->producer, non_max_suppression) || EPL_IS(v->producer, unique);
}

/* A slice of such a result filled up at its end, in which none of what was filled in is left. */
static epl_value *rule_slice(epl_graph *g, epl_node *n)
{
    (void)g;
    const epl_node *pad = n->inputs[0]->producer;
    const int64_t  *starts, *pads, *steps;
    if (!EPL_IS(pad, pad) || !is_counted(pad->inputs[0]) || !epl_shape_equal(pad->inputs[0]->shape, n->outputs[0]->shape))
        return NULL;
    for (int i = epl_attr_ints(n, "starts", &starts); i > 0; i--)
        if (starts[i - 1] != 0)
            return NULL;
    for (int i = epl_attr_ints(n, "steps", &steps); i > 0; i--)
        if (steps[i - 1] != 1)
            return NULL;
    for (int i = epl_attr_ints(pad, "pads", &pads) / 2; i > 0; i--)
        if (pads[i - 1] != 0)
            return NULL;
    return pad->inputs[0];
}

static bool is_integer(const epl_value *v, int64_t i)
{
    return EPL_IS(v->producer, constant) && epl_shape_count(v->shape) == 1 && v->dtype == EPL_I64 &&
           epl_tensor_get_i64(v->producer->attrs[0].tensor, 0) == i;
}

/* Which of the different ones an element is: Unique's result is -1 beyond their number already. */
static epl_value *rule_where(epl_graph *g, epl_node *n)
{
    (void)g;
    const epl_node  *less = n->inputs[0]->producer;
    epl_value       *v = n->inputs[1];
    return EPL_IS(less, less) && less->inputs[0] == v && EPL_IS(v->producer, unique) && v == v->producer->outputs[2] &&
           is_integer(less->inputs[1], v->producer->outputs[1]->shape.dim[0]) && is_integer(n->inputs[2], -1) ? v : NULL;
}

/* A scalar summed or spread over a scalar's shape: what gradients of scalars are made of. */
static epl_value *rule_scalar(epl_graph *g, epl_node *n)
{
    (void)g;
    return n->inputs[0]->shape.rank == 0 && n->outputs[0]->shape.rank == 0 ? n->inputs[0] : NULL;
}

static epl_value *rule_identity(epl_graph *g, epl_node *n)
{
    (void)g;
    return n->inputs[0];
}

static epl_value *rule_not(epl_graph *g, epl_node *n)
{
    const epl_node *equal = n->inputs[0]->producer;
    return EPL_IS(equal, equal) && equal->outputs[0]->n_uses == 1 ? epl_not_equal(g, equal->inputs[0], equal->inputs[1]) : NULL;
}

/* ---- */

static const struct {
    const epl_op *op;
    rule_fn      *rule;
} rules[] = {
    { &epl_op_matmul, rule_matmul }, { &epl_op_add, rule_add },         { &epl_op_mul, rule_mul },
    { &epl_op_reciprocal, rule_reciprocal }, { &epl_op_not, rule_not },
    { &epl_op_clip, rule_clip },     { &epl_op_reshape, rule_reshape }, { &epl_op_identity, rule_identity },
    { &epl_op_slice, rule_slice },   { &epl_op_where, rule_where },     { &epl_op_expand, rule_scalar },   { &epl_op_sum_to, rule_scalar },
};

static epl_value *recognised(epl_graph *g, epl_node *n)
{
    for (size_t i = 0; i < EPL_COUNT(rules); i++)
        if (rules[i].op == n->op)
            return rules[i].rule(g, n);
    return NULL;
}

bool epl_recognise(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        for (int i = 0; i < n->n_regions; i++)
            if (!epl_recognise(n->regions[i]))
                return false;
        epl_node  *at = epl_graph_insert_before(g, n);
        epl_value *v  = recognised(g, n);
        epl_graph_insert_before(g, at);
        if (!v)
            continue;
        if (v->producer->next == n) // made here: it takes over the place in the scopes
            v->producer->scope = n->scope;
        epl_replace(n->outputs[0], v);
        epl_node_remove(n);
        next = v->producer->next == next ? v->producer : next; // the result may be part of more
    }
    epl_remove_dead(g);
    return !epl_graph_failed(g);
}
