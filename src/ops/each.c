/* each: a choice for every sample, and leaving early - control flow of models, which stay neutral about how it is
 * carried out: see passes/choices.c and passes/exits.c. */
#include <espalier/ops.h>

#include "ops/axes.h"
#include "ops/region.h"

/* ---- IfEach: condition [N], captures along the batch, captures that all samples share ---- */

static bool check_batch(epl_node *n)
{
    const epl_value *cond = n->inputs[0];
    char text[192];
    const int n_shared = (int)n->attrs[0].i;
    if (cond->dtype != EPL_BOOL || cond->shape.rank != 1)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the condition is %s%s; a bool for each sample is needed, [N]", epl_dtype_name(cond->dtype),
                             epl_shape_text(text, cond->shape));
    if (n_shared < 0 || n_shared > n->n_inputs - 1)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d of %d captures are shared", n_shared, n->n_inputs - 1);
    for (int i = 1; i < n->n_inputs - n_shared; i++)
        if (n->inputs[i] && (n->inputs[i]->shape.rank < 1 || n->inputs[i]->shape.dim[0] != cond->shape.dim[0]))
            return epl_node_fail(n, EPL_ERR_SHAPE, "capture %d is %s, the condition decides about %lld samples", i - 1,
                                 epl_shape_text(text, n->inputs[i]->shape), (long long)cond->shape.dim[0]);
    return true;
}

static bool infer_each(epl_node *n)
{
    char text[192];
    if (!check_batch(n) || !epl_infer_branches(n))
        return false;
    for (int i = 0; i < n->n_outputs; i++)
        if (n->outputs[i]->shape.rank < 1 || n->outputs[i]->shape.dim[0] != n->inputs[0]->shape.dim[0])
            return epl_node_fail(n, EPL_ERR_SHAPE, "result %d is %s for %lld samples", i, epl_shape_text(text, n->outputs[i]->shape),
                                 (long long)n->inputs[0]->shape.dim[0]);
    return true;
}

/* Both regions, and of each sample's results those that it asked for. */
static bool expand_each(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value **both = epl_alloc_array(g->ctx, 2 * (size_t)n->n_outputs + 1, sizeof *both);
    bool ok = both && epl_graph_inline(g, n->regions[0], n->inputs + 1, both, NULL) &&
              epl_graph_inline(g, n->regions[1], n->inputs + 1, both + n->n_outputs, NULL);
    for (int i = 0; ok && i < n->n_outputs; i++) {
        epl_shape shape = { .rank = n->outputs[i]->shape.rank, .dim = { EPL_KEEP } };
        for (int k = 1; k < shape.rank; k++)
            shape.dim[k] = 1;
        out[i] = epl_where(g, epl_reshape(g, n->inputs[0], shape), both[i], both[n->n_outputs + i]);
        ok = out[i] != NULL;
    }
    epl_release(g->ctx, both);
    return ok;
}

/* x y or x + y / 2, for each of some samples; y is shared. */
static epl_node *sample_each(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t samples = epl_random_between(r, 1, 9), width = epl_random_between(r, 1, 3);
    epl_graph *regions[2];
    for (int k = 0; k < 2; k++) {
        epl_graph *q = regions[k] = epl_region_new(g);
        epl_value *x = epl_input(q, "x", dtype, EPL_SHAPE(samples, width), NULL), *y = epl_input(q, "y", dtype, EPL_SHAPE(width), NULL);
        epl_output(q, "z", k ? epl_add(q, x, epl_mul(q, y, epl_scalar(q, dtype, 0.5))) : epl_mul(q, x, y));
        epl_output(q, "x", k ? epl_tanh(q, x) : x);
    }
    epl_value *cond = epl_sample_input(g, EPL_BOOL, EPL_SHAPE(samples), 0, 1, 0);
    epl_value *x = epl_sample_input(g, dtype, EPL_SHAPE(samples, width), -1, 1, 0),
              *y = epl_sample_input(g, dtype, EPL_SHAPE(width), -1, 1, 0);
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_I(1) };
    return epl_node_add(g, &epl_op_if_each, EPL_IN(cond, x, y), attrs, 2, regions);
}

const epl_op epl_op_if_each = {
    .name = "IfEach", .n_inputs = -1, .min_inputs = 1, .n_outputs = -1, .n_regions = 2, .flags = EPL_OP_REGION,
    .attrs = { { "shared", EPL_ATTR_INT } },
    .infer = infer_each, .expand = expand_each, .sample = sample_each,
};

epl_node *epl_if_each(epl_graph *g, epl_value *cond, epl_graph *then_region, epl_graph *else_region, int n_captures,
                      epl_value *const *captures, int n_shared, epl_value **out)
{
    epl_graph *const regions[] = { then_region, else_region };
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_I(n_shared) };
    return epl_region_apply(g, &epl_op_if_each, attrs, (epl_value_list){ 1, &cond },
                            (epl_value_list){ n_captures, captures }, 2, regions, out);
}

/* ---- Exit: condition, values ---- */

static bool infer_exit(epl_node *n)
{
    const epl_value *cond = n->inputs[0];
    char text[192];
    if (cond->dtype != EPL_BOOL || cond->shape.rank > 1)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the condition is %s%s; a bool scalar is needed, or one for each sample, [N]",
                             epl_dtype_name(cond->dtype), epl_shape_text(text, cond->shape));
    for (int i = 1; i < n->n_inputs; i++)
        if (!n->inputs[i])
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "value %d is missing", i - 1);
    return true;
}

const epl_op epl_op_exit = {
    .name = "Exit", .n_inputs = -1, .min_inputs = 1, .flags = EPL_OP_SINK, .infer = infer_exit,
};

epl_node *epl_exit(epl_graph *g, epl_value *cond, int n, epl_value *const *values)
{
    if (epl_graph_failed(g) || !cond)
        return NULL;
    epl_value **in = epl_alloc_array(epl_graph_context(g), (size_t)n + 1, sizeof *in);
    for (int i = 0; in && i <= n; i++)
        in[i] = i ? values[i - 1] : cond;
    epl_node *e = in ? epl_node_add(g, &epl_op_exit, n + 1, in, NULL, 0, NULL) : NULL;
    epl_release(epl_graph_context(g), in);
    return e;
}
