/* compact: units that make no difference leave the network. A unit makes none where everybody who reads it as an
 * input of a weight either has only zeros there, or reads a channel that is always 0, or one that is always the same
 * and that no border hides: what it says is then part of the reader's bias. */
#include "compress/channels.h"
#include "compress/constants.h"

#include <espalier/passes.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a layer's removed inputs said: to be added to those of its outputs that stay. */
typedef struct saying {
    struct saying *next;
    const char    *weight;
    int64_t        n;
    float         *add;
} saying;

/* ---- which units ---- */

enum { UNHEARD, SILENT, HEARD };

static bool is_dense(const epl_node *n) { return epl_is_product(n) && (!EPL_IS(n, conv) || epl_attr_i(n, "group") == 1); }

static bool is_own(const epl_value *v, int64_t n)
{
    return v && (EPL_IS(v->producer, parameter) || EPL_IS(v->producer, state)) && v->n_uses == 1 && epl_shape_equal(v->shape, EPL_SHAPE(n));
}

static bool can_be_told(const epl_node *product)
{
    return product->inputs[1]->n_uses == 1 && !epl_is_padded(product) &&
           (product->n_inputs == 2 || is_own(product->inputs[2], epl_channels(product->outputs[0])));
}

/* Input i of a product with weight w goes without a difference, or with one that is a bias. */
static bool can_go(const epl_constants *k, const epl_node *reader, const epl_tensor *w, int axis, int64_t i)
{
    const double x = epl_constant_at(k, reader->inputs[0], i);
    return x == 0 || epl_slice_is_zero(w, axis, i) || (isfinite(x) && can_be_told(reader));
}

/* Marks the units that the axis of v is part of; a product hears with the inputs of its weight, anybody else everything. */
static void hear(epl_channel_plan *p, const epl_constants *k, const epl_value *v, int axis, const epl_node *product, unsigned char *state)
{
    const epl_tensor *w = epl_constants_tensor(k, v);
    for (int64_t i = 0; i < v->shape.dim[axis]; i++) {
        const int unit = p->unit_at[epl_unit_of(&p->units, v, axis, i)];
        if (unit < 0)
            continue;
        const bool silent = product && w && can_go(k, product, w, axis, i);
        state[unit] = silent && state[unit] != HEARD ? SILENT : HEARD;
    }
}

/* Who reads the weight decides which of its axes hears: the one before the last of a product; any other reader hears all. */
static void find_heard(epl_channel_plan *p, const epl_constants *k, unsigned char *state)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) && n->outputs[0]->shape.rank > 1 ? n->outputs[0] : NULL;
        for (size_t u = 0; v && u < v->n_uses; u++) {
            const epl_node *reader = v->uses[u].node;
            if (is_dense(reader) && v->uses[u].input == 1)
                hear(p, k, v, v->shape.rank - 2, reader, state);
            else if (!epl_is_product(reader) && !(EPL_IS(reader, gather) && v->uses[u].input == 0))
                for (int a = 0; a < v->shape.rank; a++)
                    hear(p, k, v, a, NULL, state);
        }
        if (epl_units_is_even(&p->units, n)) // its weight is no part of units
            hear(p, k, n->inputs[0], n->inputs[0]->shape.rank - 1, NULL, state);
    }
}

/* A unit that no weight reads stays. */
static bool find_silent(epl_channel_plan *p, const epl_constants *k)
{
    unsigned char *state = epl_arena_alloc(k->arena, (size_t)p->n + 1);
    if (!state)
        return false;
    memset(state, UNHEARD, (size_t)p->n + 1);
    find_heard(p, k, state);
    for (int i = 0; i < p->n; i++)
        p->units.gone[p->list[i].root] = state[i] == SILENT;
    epl_channels_revive(p);
    return true;
}

/* ---- what they said ---- */

static bool is_gone(epl_channel_plan *p, const epl_value *v, int axis, int64_t i)
{
    return p->units.gone[epl_unit_of(&p->units, v, axis, i)];
}

/* The sum over the removed inputs that output o of a product reads. */
static double said_to(epl_channel_plan *p, const epl_constants *k, const epl_node *product, const epl_tensor *w, int64_t o)
{
    const epl_value *v = product->inputs[1];
    const int        axis = v->shape.rank - 2;
    const int64_t    in = v->shape.dim[axis], m = v->shape.dim[axis + 1];
    double sum = 0;
    for (int64_t i = 0; i < in; i++) {
        const double x = is_gone(p, v, axis, i) ? epl_constant_at(k, product->inputs[0], i) : 0;
        for (int64_t at = i * m + o; isfinite(x) && x != 0 && at < epl_tensor_count(w); at += in * m)
            sum += x * epl_tensor_get(w, at);
    }
    return sum;
}

static bool note(epl_channel_plan *p, const epl_constants *k, const epl_node *product, saying **list)
{
    const epl_value  *v = product->inputs[1];
    const epl_tensor *w = epl_constants_tensor(k, v);
    saying s = { .next = *list, .weight = epl_arena_strdup(k->arena, epl_value_name(v)),
                 .add = epl_arena_alloc(k->arena, ((size_t)epl_channels(v) + 1) * sizeof *s.add) };
    bool any = false;
    if (!s.weight || !s.add)
        return false;
    for (int64_t o = 0; w && o < epl_channels(v); o++) {
        if (is_gone(p, v, v->shape.rank - 1, o))
            continue;
        s.add[s.n] = (float)said_to(p, k, product, w, o);
        any = any || s.add[s.n] != 0;
        s.n++;
    }
    saying *kept = any ? epl_arena_alloc(k->arena, sizeof *kept) : NULL;
    if (kept) {
        *kept = s;
        *list = kept;
    }
    return kept || !any;
}

static bool note_all(epl_channel_plan *p, const epl_constants *k, saying **list)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next)
        if (is_dense(n) && EPL_IS(n->inputs[1]->producer, parameter) && !note(p, k, n, list))
            return false;
    return true;
}

/* ---- into biases ---- */

static bool shift(epl_model *m, const epl_value *v, const saying *s, double sign)
{
    epl_tensor *t = epl_weights_find(m->weights, epl_value_name(v));
    for (int64_t i = 0; t && i < s->n; i++)
        epl_tensor_set(t, i, epl_tensor_get(t, i) + sign * (double)s->add[i]);
    return t || epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' is missing in the weights", epl_value_name(v));
}

static bool add_bias(epl_model *m, epl_node *product, const saying *s)
{
    char name[1024];
    snprintf(name, sizeof name, "/%.*s.bias", (int)(strlen(s->weight) - (epl_glob("*.weight", s->weight) ? 7 : 0)), s->weight);
    if (epl_graph_find(m->graph, name + 1))
        snprintf(name, sizeof name, "/%s.constants", s->weight);
    epl_node   *at = epl_graph_insert_before(m->graph, product);
    epl_value  *b  = epl_parameter(m->graph, name, EPL_F32, EPL_SHAPE(s->n), EPL_INIT_ZEROS, 0);
    epl_tensor *t  = b ? epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(s->n)) : NULL;
    epl_graph_insert_before(m->graph, at);
    if (!t)
        return false;
    memcpy(t->data, s->add, (size_t)s->n * sizeof *s->add);
    return epl_add_input(product, b) && epl_weights_put_take(m->weights, name + 1, t);
}

/* Into the layer's bias; where it has none and a norm alone reads it, into the mean that is taken away; else it gets one. */
static bool say(epl_model *m, const saying *s)
{
    const epl_value *w = epl_graph_find(m->graph, s->weight);
    epl_node        *product = w && w->n_uses == 1 ? w->uses[0].node : NULL, *first = NULL;
    if (!product)
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' is no longer there", s->weight);
    const epl_value *y = product->outputs[0];
    first = y->n_uses == 1 ? y->uses[0].node : NULL;
    if (product->n_inputs > 2 && is_own(product->inputs[2], s->n))
        return shift(m, product->inputs[2], s, 1);
    if (product->n_inputs == 2 && EPL_IS(first, batch_norm) && is_own(first->inputs[3], s->n))
        return shift(m, first->inputs[3], s, -1);
    if (product->n_inputs == 2)
        return add_bias(m, product, s);
    return epl_fail(m->ctx, EPL_ERR_UNSUPPORTED, "'%s' has a bias that others read, too", s->weight);
}

static bool say_all(epl_model *m, const saying *s)
{
    for (; s; s = s->next)
        if (!say(m, s))
            return false;
    return epl_graph_finish(m->graph);
}

bool epl_compact(epl_model *m, epl_channel_result *out)
{
    epl_channel_plan p = { 0 };
    epl_constants    k = { 0 };
    saying          *list = NULL;
    epl_arena       *arena = epl_arena_new(m->ctx);
    const bool ok = arena && epl_bake(m) && epl_channels_plan(m, (epl_channel_opts){ .criterion = "random" }, &p) &&
                    epl_constants_find(&k, p.units.graph, m->weights, arena) && find_silent(&p, &k) && note_all(&p, &k, &list) &&
                    epl_channels_finish(m, &p, out) && say_all(m, list);
    epl_arena_free(arena);
    epl_channels_release(&p);
    return ok;
}
