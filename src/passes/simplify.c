/* simplify: local identities that hold exactly (x + 0, x * 1, a transpose undone, an expansion that broadcasting does anyway),
 * and operators that mean nothing more once gradients are taken or inference is meant. */
#include "passes/passes.h"

/* Each rule returns the value that can take the place of output 0, or NULL. It may change n itself instead. */
typedef epl_value *rule_fn(epl_graph *g, epl_node *n);

static bool is_scalar_constant(const epl_value *v, double x)
{
    const epl_node *n = v->producer;
    return EPL_IS(n, constant) && epl_shape_count(v->shape) == 1 && epl_tensor_get(n->attrs[0].tensor, 0) == x;
}

static bool keeps_shape(const epl_node *n, int i)
{
    return n->inputs[i]->dtype == n->outputs[0]->dtype && epl_shape_equal(n->inputs[i]->shape, n->outputs[0]->shape);
}

static epl_value *input_if_same(epl_graph *g, epl_node *n)
{
    (void)g;
    return keeps_shape(n, 0) ? n->inputs[0] : NULL;
}

static epl_value *neutral_right(const epl_node *n, double x)
{
    return keeps_shape(n, 0) && is_scalar_constant(n->inputs[1], x) ? n->inputs[0] : NULL;
}

static epl_value *neutral_any(const epl_node *n, double x)
{
    if (keeps_shape(n, 1) && is_scalar_constant(n->inputs[0], x))
        return n->inputs[1];
    return neutral_right(n, x);
}

static epl_value *rule_add(epl_graph *g, epl_node *n) { (void)g; return neutral_any(n, 0); } // -0 + 0 is 0: equal, not the same bits
static epl_value *rule_mul(epl_graph *g, epl_node *n) { (void)g; return neutral_any(n, 1); }
static epl_value *rule_sub(epl_graph *g, epl_node *n) { (void)g; return neutral_right(n, 0); }
static epl_value *rule_div(epl_graph *g, epl_node *n) { (void)g; return neutral_right(n, 1); }

static epl_value *rule_transpose(epl_graph *g, epl_node *n)
{
    const int64_t *outer, *inner;
    const int rank = epl_attr_ints(n, "perm", &outer);
    bool identity = rank == n->inputs[0]->shape.rank;
    for (int i = 0; identity && i < rank; i++)
        identity = outer[i] == i;
    if (identity)
        return n->inputs[0];
    const epl_node *before = n->inputs[0]->producer;
    if (!EPL_IS(before, transpose) || epl_attr_ints(before, "perm", &inner) != rank)
        return NULL;
    int perm[EPL_MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = (int)inner[outer[i]];
    return epl_transpose(g, before->inputs[0], rank, perm);
}

/* Broadcasting needs no copies: an element-wise node reads what was expanded, as long as another input keeps its shape. */
static epl_value *skip_expansions(epl_graph *g, epl_node *n)
{
    (void)g;
    for (int i = 0; i < n->n_inputs; i++) {
        epl_node *e = n->inputs[i] ? n->inputs[i]->producer : NULL;
        if (!EPL_IS(e, expand))
            continue;
        epl_shape shape = e->inputs[0]->shape;
        bool ok = true;
        for (int k = 0; ok && k < n->n_inputs; k++)
            ok = k == i || epl_shape_broadcast(shape, n->inputs[k]->shape, &shape);
        if (ok && epl_shape_equal(shape, n->outputs[0]->shape))
            epl_set_input(n, i, e->inputs[0]);
    }
    return NULL;
}

/* BatchNorm that no mode has touched computes inference: an affine map per channel. */
static epl_value *rule_batch_norm(epl_graph *g, epl_node *n)
{
    epl_value *out[1] = { NULL };
    return n->op->expand(g, n, out) ? out[0] : NULL;
}

static const struct {
    const epl_op *op;
    rule_fn      *rule;
} rules[] = {
    { &epl_op_identity, input_if_same }, { &epl_op_expand, input_if_same },   { &epl_op_sum_to, input_if_same },        { &epl_op_reshape, input_if_same },
    { &epl_op_batch_norm, rule_batch_norm },
    { &epl_op_dropout, input_if_same },  { &epl_op_drop_path, input_if_same },     { &epl_op_stop_gradient, input_if_same },
    { &epl_op_straight_through, input_if_same },
    { &epl_op_add, rule_add },           { &epl_op_mul, rule_mul },                { &epl_op_sub, rule_sub },
    { &epl_op_div, rule_div },           { &epl_op_transpose, rule_transpose },
};

static epl_value *simpler(epl_graph *g, epl_node *n)
{
    if (n->op->flags & EPL_OP_ELEMENTWISE)
        skip_expansions(g, n);
    for (size_t i = 0; i < EPL_COUNT(rules); i++)
        if (rules[i].op == n->op)
            return rules[i].rule(g, n);
    return NULL;
}

bool epl_simplify(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        epl_node *at = epl_graph_insert_before(g, n);
        for (int i = 0; i < n->n_regions; i++)
            epl_simplify(n->regions[i]);
        if (EPL_IS(n, custom_gradient)) { // gradients are taken: it is what it computes
            epl_node *before = n->prev;
            epl_inline_custom(n);
            epl_graph_insert_before(g, at);
            next = before ? before->next : g->first;
            continue;
        }
        epl_value *v = simpler(g, n);
        epl_graph_insert_before(g, at);
        next = n->next;
        if (v && v != n->outputs[0]) {
            epl_replace(n->outputs[0], v);
            epl_node_remove(n);
        }
    }
    return !epl_graph_failed(g);
}
