/* detour: where gradients go another way than values - StopGradient and StraightThrough. Both pass their first input on. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
static void ref_pass_on(const epl_ref_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, (size_t)(epl_view_count(&c->out[0]) * epl_ref_bytes(c->out[0].dtype)));
}
/* end reference */

static epl_cost cost_nothing(const epl_node *n)
{
    (void)n;
    return (epl_cost){ 0 };
}

static void grad_stop(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx;
}

static epl_node *sample_stop_gradient(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    /* an integer: the tests compare gradients with finite differences, which this operator means to contradict */
    (void)dtype;
    return epl_node_add(g, &epl_op_stop_gradient, EPL_IN(epl_sample_input(g, EPL_I32, epl_random_shape(r, 0, 3), -9, 9, 0)), NULL, 0, NULL);
}

const epl_op epl_op_stop_gradient = {
    .name = "StopGradient", .n_inputs = 1, .n_outputs = 1, .flags = EPL_OP_VIEW,
    .infer = epl_infer_same, .grad = grad_stop, .cost = cost_nothing, EPL_REF(ref_pass_on), .sample = sample_stop_gradient,
};

epl_value *epl_stop_gradient(epl_graph *g, epl_value *x) { return x ? epl_apply(g, &epl_op_stop_gradient, EPL_IN(x), NULL) : NULL; }

static bool infer_straight_through(epl_node *n)
{
    const epl_value *forward = n->inputs[0], *backward = n->n_inputs > 1 ? n->inputs[1] : forward;
    char a[192], b[192];
    if (forward->dtype != backward->dtype || !epl_shape_equal(forward->shape, backward->shape))
        return epl_node_fail(n, EPL_ERR_SHAPE, "the value is %s%s, its stand-in %s%s", epl_dtype_name(forward->dtype),
                             epl_shape_text(a, forward->shape), epl_dtype_name(backward->dtype), epl_shape_text(b, backward->shape));
    return epl_infer_same(n);
}

static void grad_straight_through(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n;
    dx[1] = dy[0];
}

/* The same value both ways, where the detour and the truth agree. */
static epl_node *sample_straight_through(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_value *x = epl_sample_input(g, dtype, epl_random_shape(r, 0, 3), -2, 2, 0);
    return epl_node_add(g, &epl_op_straight_through, EPL_IN(x, x), NULL, 0, NULL);
}

/* Once gradients are there the second input is read for nothing but its shape, and epl_settle_shapes drops it. */
const epl_op epl_op_straight_through = {
    .name = "StraightThrough", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .flags = EPL_OP_VIEW, .shape_only = 2,
    .infer = infer_straight_through, .grad = grad_straight_through, .cost = cost_nothing, EPL_REF(ref_pass_on),
    .sample = sample_straight_through,
};

epl_value *epl_straight_through(epl_graph *g, epl_value *forward, epl_value *backward)
{
    return forward && backward ? epl_apply(g, &epl_op_straight_through, EPL_IN(forward, backward), NULL) : NULL;
}
