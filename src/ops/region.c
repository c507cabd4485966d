/* region: see region.h. */
#include "ops/region.h"

#include <stdio.h>

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

bool epl_region_resize(epl_graph *region, int n, epl_value *const *like)
{
    for (int i = 0; i < n; i++) {
        epl_node *x = epl_graph_input_at(region, i)->producer;
        const epl_shape shape = epl_shape_of(like[i]);
        if (!like[i] || !epl_node_set_attr(x, epl_op_attr_index(x->op, "shape"), EPL_A_INTS(shape.rank, shape.dim)))
            return false;
    }
    return epl_reinfer(region);
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

/* ---- weights that regions declare ---- */

static bool is_weight(const epl_node *n) { return EPL_IS(n, parameter) || EPL_IS(n, state); }

static epl_value *declare_outside(epl_graph *g, const epl_node *w)
{
    char             name[1024];
    const epl_value *v = w->outputs[0];
    snprintf(name, sizeof name, "/%s", w->attrs[0].s);
    return (EPL_IS(w, parameter) ? epl_parameter : epl_state)(g, name, v->dtype, v->shape, (epl_init)w->attrs[3].i, w->attrs[4].r);
}

/* A further input behind those that are there. */
static bool add_region_input(epl_graph *region, const epl_value *like)
{
    epl_node *at = region->first;
    while (EPL_IS(at, input))
        at = at->next;
    for (epl_node *n = at, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, input))
            epl_node_move_before(n, at);
    }
    epl_node  *former = epl_graph_insert_before(region, at);
    const bool ok = epl_input(region, epl_value_name(like) ? epl_value_name(like) : "capture", like->dtype, like->shape, NULL) != NULL;
    epl_graph_insert_before(region, former);
    return ok;
}

bool epl_node_capture(epl_node *n, epl_value *v)
{
    for (int r = 0; r < n->n_regions; r++)
        if (!add_region_input(n->regions[r], v))
            return false;
    while (n->n_inputs < 1) // a Loop without a condition
        if (!epl_add_input(n, NULL))
            return false;
    return epl_add_input(n, v);
}

/* They are declared around the regions and captured, so that gradients, counts and masks find them. `in` has room
 * for all; offset: from an index in it to that of the region's input. */
static bool lift_weights(epl_graph *g, int n_regions, epl_graph *const *regions, int offset, epl_value **in, int *n)
{
    for (int r = 0; r < n_regions; r++)
        for (epl_node *w = regions[r]->first, *next; w; w = next) {
            next = w->next;
            if (!is_weight(w))
                continue;
            epl_value *outside = declare_outside(g, w);
            int        at = 1;
            while (outside && at < *n && in[at] != outside)
                at++;
            for (int k = 0; outside && at == *n && k < n_regions; k++)
                if (!add_region_input(regions[k], w->outputs[0]))
                    return false;
            if (!outside)
                return false;
            in[at] = outside;
            *n = at == *n ? at + 1 : *n;
            epl_replace(w->outputs[0], epl_graph_input_at(regions[r], at + offset));
            epl_node_remove(w);
        }
    return true;
}

static int count_weights(int n_regions, epl_graph *const *regions)
{
    int count = 0;
    for (int r = 0; r < n_regions; r++)
        for (const epl_node *n = regions[r] ? regions[r]->first : NULL; n; n = n->next)
            count += is_weight(n);
    return count;
}

epl_node *epl_region_apply(epl_graph *g, const epl_op *op, const epl_attr *attrs, epl_value_list own, epl_value_list captures,
                           int n_regions, epl_graph *const *regions, epl_value **out)
{
    if (epl_graph_failed(g))
        return NULL;
    int          n = own.n + captures.n;
    const bool   lifts = op != &epl_op_custom_gradient;
    epl_value  **in = epl_alloc_array(g->ctx, (size_t)(n + count_weights(n_regions, regions)) + 1, sizeof *in);
    epl_attr     own_attrs[EPL_MAX_ATTRS] = { 0 };
    bool ok = in != NULL;
    for (int i = 0; ok && i < n; i++)
        in[i] = i < own.n ? own.values[i] : captures.values[i - own.n];
    for (int i = 0; ok && i < n_regions; i++)
        ok = regions[i] != NULL;
    for (int i = 1; ok && i < n; i++)
        ok = in[i] != NULL;
    ok = ok && (!lifts || lift_weights(g, n_regions, regions, op == &epl_op_loop ? 1 : -1, in, &n));
    for (int i = 0; attrs && i < epl_op_n_attrs(op); i++)
        own_attrs[i] = attrs[i];
    if (op == &epl_op_if_each)
        own_attrs[0].i += n - own.n - captures.n; // all samples share the weights
    epl_node *node = ok ? epl_node_add(g, op, n, in, own_attrs, n_regions, regions) : NULL;
    for (int i = 0; node && i < node->n_outputs; i++)
        out[i] = node->outputs[i];
    epl_release(g->ctx, in);
    return node;
}
