/* region: see region.h. */
#include "ops/region.h"

static bool bind_input(epl_node *n, int region, int i, epl_type want, bool *changed)
{
    epl_value *v = epl_graph_input_at(n->regions[region], i);
    char is[192], expected[192];
    if (v->dtype == want.dtype && epl_shape_equal(v->shape, want.shape))
        return true;
    if (!n->outputs || v->dtype != want.dtype) // the node is being made
        return epl_node_fail(n, EPL_ERR_SHAPE, "input %d of region %d is %s%s; %s%s comes in", i, region, epl_dtype_name(v->dtype),
                             epl_shape_text(is, v->shape), epl_dtype_name(want.dtype), epl_shape_text(expected, want.shape));
    *changed = true;
    return epl_node_set_attr(v->producer, epl_op_attr_index(v->producer->op, "shape"), EPL_A_INTS(want.shape.rank, want.shape.dim));
}

bool epl_region_bind(epl_node *n, int region, int n_types, const epl_type *types)
{
    const int has = epl_graph_n_inputs(n->regions[region]);
    bool changed = false;
    if (has != n_types)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "region %d has %d inputs; %d come in", region, has, n_types);
    for (int i = 0; i < n_types; i++)
        if (!bind_input(n, region, i, types[i], &changed))
            return false;
    return !changed || epl_reinfer(n->regions[region]);
}

bool epl_region_result(epl_node *n, int result, const epl_graph *region, int output)
{
    const epl_value *v = epl_graph_output_at(region, output);
    return epl_set_type(n, result, v->dtype, v->shape);
}

void epl_region_open(epl_graph *region, epl_value **y)
{
    int i = 0;
    for (epl_node *n = region->first, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, output)) {
            y[i++] = n->inputs[0];
            epl_node_remove(n);
        }
    }
}

epl_node *epl_region_apply(epl_graph *g, const epl_op *op, const epl_attr *attrs, epl_value_list own, epl_value_list captures,
                           int n_regions, epl_graph *const *regions, epl_value **out)
{
    if (epl_graph_failed(g))
        return NULL;
    const int    n = own.n + captures.n;
    epl_value  **in = epl_alloc_array(g->ctx, (size_t)n + 1, sizeof *in);
    bool ok = in != NULL;
    for (int i = 0; ok && i < n; i++)
        in[i] = i < own.n ? own.values[i] : captures.values[i - own.n];
    for (int i = 0; ok && i < n_regions; i++)
        ok = regions[i] != NULL;
    for (int i = 1; ok && i < n; i++)
        ok = in[i] != NULL;
    epl_node *node = ok ? epl_node_add(g, op, n, in, attrs, n_regions, regions) : NULL;
    for (int i = 0; node && i < node->n_outputs; i++)
        out[i] = node->outputs[i];
    epl_release(g->ctx, in);
    return node;
}
