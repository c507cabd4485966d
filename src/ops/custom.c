/* custom: a computation with a gradient of its own, given as two regions - reversible blocks, straight-through estimators,
 * recomputation.
 *
 *   forward    inputs... -> results...
 *   backward   inputs..., results..., the gradient of each floating-point result... -> the gradient of each floating-point
 *              input, in order */
#include <espalier/ops.h>

#include "ops/axes.h"
#include "ops/region.h"

static bool is_float(const epl_value *v) { return epl_dtype_is_float(v->dtype); }

static bool bind_forward(epl_node *n, epl_type *types)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i])
            types[i] = EPL_TYPE_OF(n->inputs[i]);
        else
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "input %d is missing", i);
    return epl_region_bind(n, 0, n->n_inputs, types);
}

static bool bind_backward(epl_node *n, epl_type *types)
{
    const epl_graph *forward = n->regions[0], *backward = n->regions[1];
    const int n_results = epl_graph_n_outputs(forward), n_gradients = epl_graph_n_outputs(backward);
    char is[192], want[192];
    int  n_types = n->n_inputs, k = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n_results; i++) {
            const epl_value *v = epl_graph_output_at(forward, i);
            if (pass == 0 || is_float(v))
                types[n_types++] = EPL_TYPE_OF(v);
        }
    if (!epl_region_bind(n, 1, n_types, types))
        return false;
    for (int i = 0; i < n->n_inputs; i++) {
        if (!is_float(n->inputs[i]))
            continue;
        const epl_value *d = k < n_gradients ? epl_graph_output_at(backward, k++) : NULL;
        if (!d || d->dtype != n->inputs[i]->dtype || !epl_shape_equal(d->shape, n->inputs[i]->shape))
            return epl_node_fail(n, EPL_ERR_SHAPE, "the backward region gives %s%s for input %d, which is %s%s",
                                 d ? epl_dtype_name(d->dtype) : "nothing", d ? epl_shape_text(is, d->shape) : "", i,
                                 epl_dtype_name(n->inputs[i]->dtype), epl_shape_text(want, n->inputs[i]->shape));
    }
    return k == n_gradients || epl_node_fail(n, EPL_ERR_ARGUMENT, "the backward region has %d results for %d floating-point inputs",
                                             n_gradients, k);
}

static bool infer_custom(epl_node *n)
{
    const int n_results = epl_graph_n_outputs(n->regions[0]);
    epl_type *types = epl_alloc_array(n->graph->ctx, (size_t)(n->n_inputs + 2 * n_results) + 1, sizeof *types);
    bool ok = types && bind_forward(n, types) && bind_backward(n, types) && epl_node_set_n_outputs(n, n_results);
    for (int i = 0; ok && i < n_results; i++)
        ok = epl_region_result(n, i, n->regions[0], i);
    epl_release(n->graph->ctx, types);
    return ok;
}

static void grad_custom(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const size_t n_in = (size_t)(n->n_inputs + 2 * n->n_outputs), n_out = (size_t)epl_graph_n_outputs(n->regions[1]);
    epl_value  **in = epl_alloc_array(g->ctx, n_in + n_out + 1, sizeof *in), **out = in + n_in;
    if (!in)
        return;
    int k = 0;
    for (int i = 0; i < n->n_inputs; i++)
        in[k++] = n->inputs[i];
    for (int i = 0; i < n->n_outputs; i++)
        in[k++] = n->outputs[i];
    for (int i = 0; i < n->n_outputs; i++)
        if (is_float(n->outputs[i]))
            in[k++] = dy[i] ? dy[i] : epl_zeros_like(g, n->outputs[i]);
    const bool ok = !epl_graph_failed(g) && epl_graph_inline(g, n->regions[1], in, out, NULL);
    k = 0;
    for (int i = 0; ok && i < n->n_inputs; i++)
        if (is_float(n->inputs[i]))
            dx[i] = out[k++];
    epl_release(g->ctx, in);
}

/* x * sin(y), with its true gradient. */
static epl_node *sample_custom(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape shape = epl_random_shape(r, 0, 3);
    epl_graph *regions[] = { epl_region_new(g), epl_region_new(g) };
    epl_graph *f = regions[0], *b = regions[1];
    epl_value *x = epl_input(f, "x", dtype, shape, NULL), *y = epl_input(f, "y", dtype, shape, NULL);
    epl_output(f, "z", epl_mul(f, x, epl_sin(f, y)));
    x = epl_input(b, "x", dtype, shape, NULL);
    y = epl_input(b, "y", dtype, shape, NULL);
    epl_input(b, "z", dtype, shape, NULL);
    epl_value *dz = epl_input(b, "dz", dtype, shape, NULL);
    epl_output(b, "dx", epl_mul(b, dz, epl_sin(b, y)));
    epl_output(b, "dy", epl_mul(b, dz, epl_mul(b, x, epl_cos(b, y))));
    epl_value *u = epl_sample_input(g, dtype, shape, -2, 2, 0), *v = epl_sample_input(g, dtype, shape, -2, 2, 0);
    return epl_node_add(g, &epl_op_custom_gradient, EPL_IN(u, v), NULL, 2, regions);
}

const epl_op epl_op_custom_gradient = {
    .name = "CustomGradient", .n_inputs = -1, .n_outputs = -1, .n_regions = 2, .flags = EPL_OP_REGION,
    .infer = infer_custom, .grad = grad_custom, .sample = sample_custom,
};

epl_node *epl_custom_gradient(epl_graph *g, epl_graph *forward, epl_graph *backward, int n_inputs, epl_value *const *inputs,
                              epl_value **out)
{
    epl_graph *const regions[] = { forward, backward };
    if (n_inputs > 0 && !inputs[0])
        return NULL;
    return epl_region_apply(g, &epl_op_custom_gradient, NULL, (epl_value_list){ 0 }, (epl_value_list){ n_inputs, inputs }, 2,
                            regions, out);
}

bool epl_inline_custom(epl_node *n)
{
    epl_graph  *g = n->graph;
    epl_value **out = epl_alloc_array(g->ctx, (size_t)n->n_outputs + 1, sizeof *out);
    if (!out)
        return false;
    epl_node  *former = epl_graph_insert_before(g, n);
    const bool ok = epl_graph_inline(g, n->regions[0], n->inputs, out, NULL);
    epl_graph_insert_before(g, former == n ? n->next : former);
    for (int i = 0; ok && i < n->n_outputs; i++)
        epl_replace(n->outputs[i], out[i]);
    if (ok)
        epl_node_remove(n);
    epl_release(g->ctx, out);
    return ok;
}
