/* compact: units that make no difference leave the network. A unit makes none where everybody who reads it as an input of a weight
 * either has only zeros there, or reads a channel that is always 0. Which channels are always 0 is found from the sources on: rows
 * of zeros without a bias, norms whose scale and shift are 0, activations that keep 0. A channel that is constant but not 0 (a
 * norm's shift behind a row of zeros) stays: it is somebody's bias. */
#include "compress/channels.h"

#include <espalier/passes.h>

#include <string.h>

typedef struct silence {
    const epl_model *m;
    unsigned char  **zero; /* by the node's position, of output 0: of each index of the last axis, is it always 0? NULL: not known */
    epl_arena       *arena;
} silence;

static int64_t last_of(const epl_value *v) { return v->shape.rank > 0 ? epl_channels(v) : 1; }

static const unsigned char *zero_of(const silence *s, const epl_value *v)
{
    return v && v->producer->outputs[0] == v ? s->zero[v->producer->tag] : NULL;
}

static bool is_zero(const silence *s, const epl_value *v, int64_t c)
{
    const unsigned char *z = zero_of(s, v);
    return z && (last_of(v) == 1 ? z[0] : z[c]);
}

/* Is everything of the tensor at this index of the axis 0? */
static bool slice_is_zero(const epl_tensor *t, int axis, int64_t i)
{
    const int64_t step = epl_shape_count_from(t->shape, axis + 1, t->shape.rank), d = t->shape.dim[axis], n = epl_tensor_count(t);
    for (int64_t base = i * step; base < n; base += d * step)
        for (int64_t k = base; k < base + step; k++)
            if (epl_tensor_get(t, k) != 0)
                return false;
    return true;
}

static const epl_tensor *values_of(const silence *s, const epl_value *v)
{
    const epl_node *n = v ? v->producer : NULL;
    if (EPL_IS(n, constant))
        return n->attrs[0].tensor;
    return EPL_IS(n, parameter) || EPL_IS(n, state) ? epl_weights_find(s->m->weights, n->attrs[0].s) : NULL;
}

/* ---- who keeps 0 ---- */

static bool passes_channels(const epl_node *n)
{
    return EPL_IS(n, identity) || EPL_IS(n, abs) || EPL_IS(n, neg) || EPL_IS(n, sqrt) || EPL_IS(n, square) || EPL_IS(n, relu) ||
           EPL_IS(n, relu6) || EPL_IS(n, leaky_relu) || EPL_IS(n, elu) || EPL_IS(n, celu) || EPL_IS(n, selu) || EPL_IS(n, silu) ||
           EPL_IS(n, swish) || EPL_IS(n, hard_swish) || EPL_IS(n, gelu) || EPL_IS(n, gelu_tanh) || EPL_IS(n, mish) || EPL_IS(n, tanh) ||
           EPL_IS(n, softsign) || EPL_IS(n, prelu) || EPL_IS(n, dropout) || EPL_IS(n, drop_path) || EPL_IS(n, max_pool) ||
           EPL_IS(n, average_pool) || EPL_IS(n, adaptive_average_pool) || EPL_IS(n, resize) ||
           (EPL_IS(n, affine) && epl_attr_r(n, "beta") == 0);
}

/* Means and sums over other axes than the last. */
static bool reduces_others(const epl_node *n)
{
    const int64_t *axes;
    const int      k = EPL_IS(n, reduce_mean) || EPL_IS(n, reduce_sum) || EPL_IS(n, reduce_max) ? epl_attr_ints(n, "axes", &axes) : 0;
    for (int i = 0; i < k; i++)
        if (axes[i] == -1 || axes[i] == n->inputs[0]->shape.rank - 1)
            return false;
    return k > 0 && last_of(n->outputs[0]) == last_of(n->inputs[0]);
}

/* Products with a weight whose last axis is the outputs. */
static bool is_product(const epl_node *n)
{
    return EPL_IS(n, conv) || (EPL_IS(n, linear) && !epl_attr_i(n, "trans_w"));
}

static bool product_is_zero(const silence *s, const epl_node *n, int64_t c)
{
    const epl_tensor *w = values_of(s, n->inputs[1]), *b = n->n_inputs > 2 && n->inputs[2] ? values_of(s, n->inputs[2]) : NULL;
    const bool depthwise = EPL_IS(n, conv) && epl_attr_i(n, "group") == last_of(n->inputs[0]) && last_of(n->inputs[0]) == last_of(n->outputs[0]);
    if (n->n_inputs > 2 && n->inputs[2] && (!b || epl_tensor_get(b, epl_tensor_count(b) == 1 ? 0 : c) != 0))
        return false;
    return (depthwise && is_zero(s, n->inputs[0], c)) || (w && slice_is_zero(w, w->shape.rank - 1, c));
}

/* Inputs: x, scale, shift, mean, variance. */
static bool norm_is_zero(const silence *s, const epl_node *n, int64_t c)
{
    const epl_tensor *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = values_of(s, n->inputs[i + 1]);
    if (!t[0] || !t[1] || !t[2] || epl_tensor_get(t[1], c) != 0)
        return false;
    return epl_tensor_get(t[0], c) == 0 || (is_zero(s, n->inputs[0], c) && epl_tensor_get(t[2], c) == 0);
}

/* The channel of input i that stands at c of the concatenation; -1: another input's. */
static int64_t channel_of(const epl_node *n, int i, int64_t c)
{
    int64_t at = 0;
    for (int k = 0; k < i; k++)
        at += last_of(n->inputs[k]);
    return c >= at && c < at + last_of(n->inputs[i]) ? c - at : -1;
}

static bool concat_is_zero(const silence *s, const epl_node *n, int64_t c)
{
    const int64_t axis = epl_attr_i(n, "axis");
    const bool    last = axis == -1 || axis == n->outputs[0]->shape.rank - 1;
    for (int i = 0; i < n->n_inputs; i++) {
        const int64_t at = last ? channel_of(n, i, c) : c;
        if (at >= 0 && !is_zero(s, n->inputs[i], at))
            return false;
    }
    return true;
}

static bool channel_is_zero(const silence *s, const epl_node *n, int64_t c)
{
    const epl_tensor *t = values_of(s, n->outputs[0]);
    if (t)
        return slice_is_zero(t, t->shape.rank - 1, c);
    if (is_product(n))
        return product_is_zero(s, n, c);
    if (EPL_IS(n, batch_norm))
        return norm_is_zero(s, n, c);
    if (passes_channels(n) || reduces_others(n))
        return is_zero(s, n->inputs[0], c);
    if (EPL_IS(n, add) || EPL_IS(n, sub))
        return is_zero(s, n->inputs[0], c) && is_zero(s, n->inputs[1], c);
    if (EPL_IS(n, mul))
        return is_zero(s, n->inputs[0], c) || is_zero(s, n->inputs[1], c);
    if (EPL_IS(n, concat))
        return concat_is_zero(s, n, c);
    if ((n->op->flags & EPL_OP_VIEW) && last_of(n->outputs[0]) % last_of(n->inputs[0]) == 0)
        return is_zero(s, n->inputs[0], c % last_of(n->inputs[0])); // the last axis stays, or lies innermost in the new one; split: not known
    return false;
}

static bool listen(silence *s, const epl_graph *g)
{
    int64_t position = 0;
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = position++;
    s->zero = epl_arena_alloc(s->arena, (size_t)(position + 1) * sizeof *s->zero);
    if (!s->zero)
        return false;
    memset(s->zero, 0, (size_t)(position + 1) * sizeof *s->zero);
    for (const epl_node *n = g->first; n; n = n->next) {
        if (n->n_outputs != 1 || n->outputs[0]->shape.rank < 1 || EPL_IS(n, input))
            continue;
        const int64_t  c = last_of(n->outputs[0]);
        unsigned char *z = epl_arena_alloc(s->arena, (size_t)c + 1);
        if (!z)
            return false;
        for (int64_t i = 0; i < c; i++)
            z[i] = channel_is_zero(s, n, i);
        s->zero[n->tag] = z;
    }
    return true;
}

/* ---- which units ---- */

enum { UNHEARD, SILENT, HEARD };

/* Marks the units that the axis of v is part of. */
static void hear(epl_channel_plan *p, const silence *s, const epl_value *v, int axis, const epl_value *x, unsigned char *state)
{
    const epl_tensor *w = values_of(s, v);
    for (int64_t i = 0; i < v->shape.dim[axis]; i++) {
        const int unit = p->unit_at[epl_unit_of(&p->units, v, axis, i)];
        if (unit < 0)
            continue;
        const bool silent = x && w && (is_zero(s, x, i) || slice_is_zero(w, axis, i));
        state[unit] = silent && state[unit] != HEARD ? SILENT : HEARD;
    }
}

/* Who reads the weight decides which of its axes hears: the one before the last of a product; any other reader hears all. */
static void find_heard(epl_channel_plan *p, const silence *s, unsigned char *state)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) && n->outputs[0]->shape.rank > 1 ? n->outputs[0] : NULL;
        for (size_t u = 0; v && u < v->n_uses; u++) {
            const epl_node *reader = v->uses[u].node;
            if (is_product(reader) && v->uses[u].input == 1 && (!EPL_IS(reader, conv) || epl_attr_i(reader, "group") == 1))
                hear(p, s, v, v->shape.rank - 2, reader->inputs[0], state);
            else if (!is_product(reader) && !(EPL_IS(reader, gather) && v->uses[u].input == 0))
                for (int a = 0; a < v->shape.rank; a++)
                    hear(p, s, v, a, NULL, state);
        }
    }
}

/* A unit that no weight reads stays. */
static bool find_silent(epl_channel_plan *p, const silence *s)
{
    unsigned char *state = epl_arena_alloc(s->arena, (size_t)p->n + 1);
    if (!state)
        return false;
    memset(state, UNHEARD, (size_t)p->n + 1);
    find_heard(p, s, state);
    for (int i = 0; i < p->n; i++)
        p->units.gone[p->list[i].root] = state[i] == SILENT;
    return true;
}

bool epl_compact(epl_model *m, epl_channel_result *out)
{
    epl_channel_plan p = { 0 };
    silence s = { .m = m, .arena = epl_arena_new(m->ctx) };
    const bool ok = s.arena && epl_bake(m) && epl_channels_plan(m, (epl_channel_opts){ .criterion = "random" }, &p) &&
                    listen(&s, p.units.graph) && find_silent(&p, &s) && epl_channels_finish(m, &p, out);
    epl_arena_free(s.arena);
    epl_channels_release(&p);
    return ok;
}
