/* lower_known: what is known of values when a program is made: where they come from through the regions of nodes,
 * and their elements where they depend on parameters, states and constants alone. */
#include "program/lower.h"

typedef struct known { /* a value that stays as it is; `own` where it had to be computed */
    const epl_tensor *value;
    epl_tensor       *own;
} known;

const epl_buffer *epl_seen_buffer(const epl_block *b, int buffer)
{
    const epl_buffer *f = &b->buffers[buffer];
    return f->place == EPL_PLACE_PARENT ? epl_seen_buffer(b->parent, (int)f->offset) : f;
}

/* What a region's input stands for; what a loop carries is itself. */
static const epl_value *outside(const epl_value *v)
{
    const epl_graph *g = v->producer->graph;
    if (!EPL_IS(v->producer, input) || !g->owner)
        return v;
    int i = 0;
    while (epl_graph_input_at(g, i) != v)
        i++;
    if (EPL_IS(g->owner, loop))
        return i - 2 < epl_attr_i(g->owner, "n_carried") ? v : outside(g->owner->inputs[i - 1]);
    return EPL_IS(g->owner, fused) ? outside(g->owner->inputs[i]) :
           EPL_IS(g->owner, if) || EPL_IS(g->owner, switch) ? outside(g->owner->inputs[i + 1]) : v;
}

/* What a fused node's result is, inside. */
static const epl_value *inside(const epl_value *v)
{
    return EPL_IS(v->producer, fused) ? inside(epl_graph_output_at(v->producer->regions[0], v->index)) : v;
}

const epl_value *epl_source_of(const epl_value *v) { return inside(outside(v)); }

/* A parameter, state or constant that nothing updates: its tensor. */
const epl_tensor *epl_stored(const epl_program *p, const epl_value *v)
{
    if (EPL_IS(v->producer, constant))
        return v->producer->attrs[0].tensor;
    if (!EPL_IS(v->producer, parameter) && !EPL_IS(v->producer, state))
        return NULL;
    for (size_t i = 0; i < v->n_uses; i++)
        if (EPL_IS(v->uses[i].node, update) && v->uses[i].input == 0)
            return NULL;
    return epl_weights_find(p->weights, epl_value_name(v));
}

bool epl_can_evaluate(const epl_node *n)
{
    return n->op->ref && n->n_outputs == 1 && n->n_inputs > 0 && n->n_inputs <= 4 && !n->n_regions &&
           !(n->op->flags & (EPL_OP_RANDOM | EPL_OP_SINK | EPL_OP_SOURCE));
}

bool epl_is_known(const epl_program *p, const epl_value *v, int depth)
{
    v = epl_source_of(v);
    if (epl_stored(p, v))
        return true;
    bool all = depth > 0 && epl_can_evaluate(v->producer);
    for (int i = 0; all && i < v->producer->n_inputs; i++)
        all = !v->producer->inputs[i] || epl_is_known(p, v->producer->inputs[i], depth - 1);
    return all;
}

/* Of what is known; without memory: without a value. */
static known evaluate(const epl_program *p, const epl_value *v)
{
    v = epl_source_of(v);
    known k = { epl_stored(p, v), NULL }, in[4] = { { NULL, NULL } };
    if (k.value)
        return k;
    const epl_tensor *values[4] = { NULL };
    bool ok = true;
    for (int i = 0; i < v->producer->n_inputs; i++) {
        in[i] = v->producer->inputs[i] ? evaluate(p, v->producer->inputs[i]) : in[i];
        values[i] = in[i].value;
        ok = ok && (values[i] || !v->producer->inputs[i]);
    }
    k.own = ok ? epl_tensor_new(p->ctx, v->dtype, v->shape) : NULL;
    if (k.own && epl_evaluate_node(v->producer, values, &k.own))
        k.value = k.own;
    for (int i = 0; i < v->producer->n_inputs; i++)
        epl_tensor_free(in[i].own);
    return k;
}

const epl_tensor *epl_evaluate_known(const epl_program *p, const epl_value *v, epl_tensor **own)
{
    const known k = evaluate(p, v);
    *own = k.own;
    return k.value;
}
