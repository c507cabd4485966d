/* captures: what crosses the border of a region. Constants (and, where they do not change, weights) are declared
 * inside; what a region does not read does not come in, what nobody reads does not come out; a result that is the
 * same capture or the same constant in every region is that outside; a loop does not carry what it never changes.
 * This is the liveness analysis of DyCL (Chen et al. 2023) on values, where constancy follows from the graph and not
 * from a run. Every bit is kept. */
#include "passes/passes.h"

enum { SMALL = 4096 }; /* elements of a constant that is repeated in a region */

static bool is_control(const epl_node *n) { return EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, loop); }
static int  n_carried(const epl_node *n) { return EPL_IS(n, loop) ? (int)epl_attr_i(n, "n_carried") : 0; }

/* Inputs of the node before its captures, and the region's input for input i of the node. */
static int        n_own(const epl_node *n) { return 1 + n_carried(n); }
static epl_value *inside(const epl_node *n, int region, int i)
{
    return epl_graph_input_at(n->regions[region], EPL_IS(n, loop) ? i + 1 : i - 1);
}

static epl_node *output_node(const epl_graph *g, int i)
{
    for (epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, output) && i-- == 0)
            return n;
    return NULL;
}

/* The region's Output of the node's result k. */
static epl_node *output_of(const epl_node *n, int region, int k) { return output_node(n->regions[region], EPL_IS(n, loop) ? k + 1 : k); }

/* ---- taking away ---- */

static void shift_inputs(epl_node *n, int i)
{
    for (int k = i; k + 1 < n->n_inputs; k++)
        epl_set_input(n, k, n->inputs[k + 1]);
    epl_set_input(n, n->n_inputs - 1, NULL);
    n->n_inputs--;
}

static void drop_input(epl_node *n, int i)
{
    for (int r = 0; r < n->n_regions; r++)
        epl_node_remove(inside(n, r, i)->producer);
    shift_inputs(n, i);
}

static void drop_result(epl_node *n, int k)
{
    for (int r = 0; r < n->n_regions; r++)
        epl_node_remove(output_of(n, r, k));
    n->n_outputs--;
    for (int i = k; i < n->n_outputs; i++) {
        n->outputs[i] = n->outputs[i + 1];
        n->outputs[i]->index = i;
    }
}

/* ---- inwards ---- */

static epl_value *declare(epl_graph *region, const epl_node *source)
{
    char name[1024];
    if (EPL_IS(source, constant))
        return epl_constant(region, source->attrs[0].tensor);
    const epl_value *v = source->outputs[0];
    snprintf(name, sizeof name, "/%s", source->attrs[0].s);
    return (EPL_IS(source, parameter) ? epl_parameter : epl_state)(region, name, v->dtype, v->shape, (epl_init)source->attrs[3].i,
                                                                   source->attrs[4].r);
}

static bool can_sink(const epl_value *v, bool weights)
{
    const epl_node *p = v->producer;
    return (EPL_IS(p, constant) && epl_shape_count(v->shape) <= SMALL) || (weights && (EPL_IS(p, parameter) || EPL_IS(p, state)));
}

bool epl_sink_captures(epl_node *n, bool weights)
{
    for (int i = n_own(n); is_control(n) && i < n->n_inputs; i++)
        for (int r = 0; can_sink(n->inputs[i], weights) && r < n->n_regions; r++) {
            epl_value *x = inside(n, r, i);
            if (!x->n_uses)
                continue;
            epl_node  *former = epl_graph_insert_before(x->graph, x->graph->first);
            epl_value *v = declare(x->graph, n->inputs[i]->producer);
            epl_graph_insert_before(x->graph, former);
            if (!v)
                return false;
            epl_node_move_before(v->producer, x->graph->first);
            epl_replace(x, v);
        }
    return true;
}

/* Two captures of one value are one. */
static void merge_inputs(const epl_node *n)
{
    for (int i = n_own(n); i < n->n_inputs; i++)
        for (int k = n_own(n); k < i; k++)
            for (int r = 0; n->inputs[i] == n->inputs[k] && r < n->n_regions; r++)
                epl_replace(inside(n, r, i), inside(n, r, k));
}

static void drop_unread(epl_node *n)
{
    for (int i = n->n_inputs - 1; i >= n_own(n); i--) {
        bool read = false;
        for (int r = 0; r < n->n_regions; r++)
            read = read || inside(n, r, i)->n_uses > 0;
        if (!read)
            drop_input(n, i);
    }
}

/* ---- outwards ---- */

/* The node's input that every region passes through as result k; 0: there is none. */
static int passed_through(const epl_node *n, int k)
{
    for (int i = 1; i < n->n_inputs; i++) {
        bool same = true;
        for (int r = 0; same && r < n->n_regions; r++)
            same = output_of(n, r, k)->inputs[0] == inside(n, r, i);
        if (same)
            return i;
    }
    return 0;
}

/* The constant that every region gives. */
static const epl_node *same_constant(const epl_node *n, int k)
{
    const epl_node *first = output_of(n, 0, k)->inputs[0]->producer;
    for (int r = 0; r < n->n_regions; r++) {
        const epl_node *c = output_of(n, r, k)->inputs[0]->producer;
        if (!EPL_IS(c, constant) || !epl_tensor_equal(c->attrs[0].tensor, first->attrs[0].tensor))
            return NULL;
    }
    return first;
}

/* The result before k that is the same value in every region; -1. */
static int same_result(const epl_node *n, int k)
{
    for (int i = 0; i < k; i++) {
        bool same = true;
        for (int r = 0; same && r < n->n_regions; r++)
            same = output_of(n, r, i)->inputs[0] == output_of(n, r, k)->inputs[0];
        if (same)
            return i;
    }
    return -1;
}

static bool trim_branch_results(epl_node *n)
{
    for (int k = n->n_outputs - 1; k >= 0; k--) {
        const int       input = passed_through(n, k), twin = same_result(n, k);
        const epl_node *c = same_constant(n, k);
        if (n->outputs[k]->n_uses && c) {
            epl_node  *former = epl_graph_insert_before(n->graph, n);
            epl_value *v = epl_constant(n->graph, c->attrs[0].tensor);
            epl_graph_insert_before(n->graph, former);
            if (!v)
                return false;
            epl_replace(n->outputs[k], v);
        } else if (input) {
            epl_replace(n->outputs[k], n->inputs[input]);
        } else if (twin >= 0) {
            epl_replace(n->outputs[k], n->outputs[twin]);
        }
        if (n->outputs[k]->n_uses == 0)
            drop_result(n, k);
    }
    return true;
}

/* A carried value that the body hands on as it came is a capture. */
static bool carried_to_capture(epl_node *n, int k)
{
    epl_value *start = n->inputs[1 + k], *x = inside(n, 0, 1 + k);
    epl_replace(n->outputs[k], start);
    drop_result(n, k);
    epl_node  *former = epl_graph_insert_before(x->graph, x->producer);
    epl_value *capture = epl_input(x->graph, epl_value_name(x), x->dtype, x->shape, NULL);
    epl_graph_insert_before(x->graph, former);
    if (!capture)
        return false;
    epl_replace(x, capture);
    for (int i = 2 + k; i < n->n_inputs; i++) // inputs that stood behind it go before it
        epl_node_move_before(inside(n, 0, i + 1)->producer, capture->producer);
    epl_node_remove(x->producer);
    shift_inputs(n, 1 + k);
    return epl_node_set_attr(n, epl_op_attr_index(n->op, "n_carried"), EPL_A_I(n_carried(n) - 1)) && epl_add_input(n, start);
}

static bool trim_loop_results(epl_node *n)
{
    for (int k = n->n_outputs - 2; k >= n_carried(n); k--)
        if (n->outputs[k]->n_uses == 0)
            drop_result(n, k);
    for (int k = n_carried(n) - 1; k >= 0; k--) {
        const epl_value *x = inside(n, 0, 1 + k);
        if (output_of(n, 0, k)->inputs[0] == x) {
            if (!carried_to_capture(n, k))
                return false;
        } else if (!x->n_uses && !n->outputs[k]->n_uses) {
            drop_result(n, k);
            drop_input(n, 1 + k);
            epl_node_set_attr(n, epl_op_attr_index(n->op, "n_carried"), EPL_A_I(n_carried(n) - 1));
        }
    }
    return true;
}

/* ---- */

static bool trim(epl_graph *g, bool weights)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!is_control(n))
            continue;
        if (!epl_sink_captures(n, weights))
            return false;
        merge_inputs(n);
        if (!(EPL_IS(n, loop) ? trim_loop_results(n) : trim_branch_results(n)))
            return false;
        for (int r = 0; r < n->n_regions; r++) {
            epl_remove_dead(n->regions[r]);
            if (!trim(n->regions[r], weights))
                return false;
            epl_remove_dead(n->regions[r]);
        }
        drop_unread(n);
    }
    return !epl_graph_failed(g);
}

bool epl_trim_regions(epl_graph *g, bool weights)
{
    const bool ok = trim(g, weights);
    epl_remove_dead(g);
    return ok;
}
