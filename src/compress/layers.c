/* layers: the weights that a network reads as such - in convolutions, products, look-ups, recurrences - through whatever
 * expression stands in their place. */
#include "compress/compress.h"

#include <stdlib.h>
#include <string.h>

/* Tag 1: computed from parameters, states and constants alone. */
static void mark_weights(epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next) {
        bool weights = EPL_IS(n, parameter) || EPL_IS(n, state) || EPL_IS(n, constant) || n->n_inputs > 0;
        for (int i = 0; weights && i < n->n_inputs; i++)
            weights = !n->inputs[i] || n->inputs[i]->producer->tag == 1;
        n->tag = weights && !(n->op->flags & (EPL_OP_SINK | EPL_OP_RANDOM));
        for (int r = 0; r < n->n_regions; r++)
            mark_weights(n->regions[r]);
    }
}

static bool is_weight_input(const epl_node *n, int input, epl_layer_kind *kind)
{
    if (EPL_IS(n, conv) || EPL_IS(n, conv_transpose)) {
        const int64_t groups = n->attrs[epl_op_attr_index(n->op, "group")].i;
        *kind = groups > 1 && groups == epl_channels(n->inputs[0]) ? EPL_LAYER_DEPTHWISE : EPL_LAYER_CONV;
        return input == 1;
    }
    *kind = EPL_LAYER_LINEAR;
    if (EPL_IS(n, linear))
        return input == 1;
    if (EPL_IS(n, matmul))
        return n->inputs[1 - input]->producer->tag == 0;
    *kind = EPL_LAYER_EMBEDDING;
    if (EPL_IS(n, gather))
        return input == 0;
    *kind = EPL_LAYER_RECURRENT;
    return (EPL_IS(n, lstm) || EPL_IS(n, gru) || EPL_IS(n, rnn)) && (input == 1 || input == 2);
}

/* This input's part of the node's products. */
static double share_of_macs(const epl_node *n, int input)
{
    const double macs = epl_node_cost(n).macs;
    if (!EPL_IS(n, lstm) && !EPL_IS(n, gru) && !EPL_IS(n, rnn))
        return macs;
    const double one = (double)epl_shape_count(n->inputs[input]->shape), other = (double)epl_shape_count(n->inputs[3 - input]->shape);
    return macs * one / (one + other);
}

static void follow(epl_value *v, epl_value *outside, const epl_value *parameter, epl_layer *layer);

/* Into the regions of a node that takes `outside`. */
static void follow_inside(const epl_node *n, int input, epl_value *outside, const epl_value *parameter, epl_layer *layer)
{
    for (int r = 0; r < n->n_regions; r++)
        for (int i = 0; i < epl_graph_n_inputs(n->regions[r]); i++)
            if (epl_region_input(n, i) == input)
                follow(epl_graph_input_at(n->regions[r], i), outside, parameter, layer);
}

/* Follows v to those who read it as a weight. The first of them is the layer's kind. `outside` is v, or what v is
 * inside a region. */
static void follow(epl_value *v, epl_value *outside, const epl_value *parameter, epl_layer *layer)
{
    for (size_t i = 0; i < v->n_uses; i++) {
        epl_node      *n = v->uses[i].node;
        epl_layer_kind kind;
        if (is_weight_input(n, v->uses[i].input, &kind)) {
            if (!layer->read) {
                layer->read   = outside ? outside : v;
                layer->kind   = kind;
                layer->inside = outside != NULL;
            }
            layer->macs += share_of_macs(n, v->uses[i].input);
        } else if (n->n_regions > 0 && n->tag == 0) { // a weight's own expression may have regions, too
            follow_inside(n, v->uses[i].input, outside ? outside : v, parameter, layer);
        } else if (n->tag == 1 && n->n_outputs == 1 && epl_shape_equal(n->outputs[0]->shape, parameter->shape)) {
            follow(n->outputs[0], outside, parameter, layer);
        }
    }
}

/* Where in the network the weight is read first. */
static int64_t position_of(const epl_layer *l)
{
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < l->read->n_uses; i++)
        least = l->read->uses[i].node->mark < (void *)(uintptr_t)least ? (int64_t)(uintptr_t)l->read->uses[i].node->mark : least;
    return least;
}

static int by_position(const void *a, const void *b)
{
    const int64_t x = position_of(a), y = position_of(b);
    return (x > y) - (x < y);
}

bool epl_weight_layers_find(epl_graph *g, epl_layers *out)
{
    *out = (epl_layers){ .ctx = g->ctx, .items = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof *out->items) };
    if (!out->items)
        return false;
    mark_weights(g);
    uintptr_t position = 0;
    for (epl_node *n = g->first; n; n = n->next)
        n->mark = (void *)++position;
    for (epl_node *n = g->first; n; n = n->next) {
        if (!EPL_IS(n, parameter) || n->outputs[0]->shape.rank < 2 || !epl_dtype_is_float(n->outputs[0]->dtype))
            continue;
        if (epl_is_shift_variable(g, n->attrs[0].s)) {
            out->shifts += epl_is_shift_sign(n->attrs[0].s);
            continue;
        }
        epl_layer layer = { .weight = n->outputs[0], .name = n->attrs[0].s, .count = epl_shape_count(n->outputs[0]->shape) };
        follow(n->outputs[0], NULL, n->outputs[0], &layer);
        if (layer.read && layer.count > 0)
            out->items[out->n++] = layer;
    }
    qsort(out->items, (size_t)out->n, sizeof *out->items, by_position);
    return true;
}

void epl_weight_layers_release(epl_layers *l)
{
    epl_release(l->ctx, l->items);
    *l = (epl_layers){ 0 };
}

/* Does the comma-separated list hold this word? */
static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *s = list; s && *s; s += *s == ',') {
        const size_t length = strcspn(s, ",");
        if (length == n && memcmp(s, word, n) == 0)
            return true;
        s += length;
    }
    return false;
}

bool epl_weight_layers_choose(epl_layers *l, const char *pattern, const char *skip)
{
    const int total = l->n;
    if (l->shifts > 0)
        return epl_fail(
            l->ctx, EPL_ERR_ARGUMENT,
            "%d weights are powers of two and have no zero: prune the network before they are, or leave it dense",
            l->shifts);
    const bool first = has_word(skip, "first"), last = has_word(skip, "last"), depthwise = has_word(skip, "depthwise");
    l->n = 0;
    for (int i = 0; i < total; i++) {
        const epl_layer *item = &l->items[i];
        const bool left_out = (skip && epl_glob(skip, item->name)) || (first && i == 0) || (last && i == total - 1) ||
                              (depthwise && item->kind == EPL_LAYER_DEPTHWISE);
        if (!left_out && (!pattern || epl_glob(pattern, item->name)))
            l->items[l->n++] = *item;
    }
    return l->n > 0 || epl_fail(l->ctx, EPL_ERR_ARGUMENT, "no weight of %d matches '%s'%s%s%s", total, pattern ? pattern : "*",
                                skip ? " without '" : "", skip ? skip : "", skip ? "'" : "");
}
