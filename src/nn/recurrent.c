/* recurrent: LSTM and GRU layers with their parameters, and an LSTM that looks at a memory. */
#include <math.h>
#include <stdio.h>

#include <espalier/nn.h>

/* The forget gate's bias is one, so that memory is kept at first (Jozefowicz et al. 2015); gates lie as i o f c. An offset: the
 * parameter itself starts at zero. The operator wants two halves, of which the second is the recurrent product's. */
static epl_value *lstm_bias(epl_graph *g, int64_t directions, int64_t width, bool one)
{
    const int64_t n = (one ? 4 : 8) * width;
    epl_value *b = epl_parameter(g, "bias", EPL_F32, EPL_SHAPE(directions, n), EPL_INIT_ZEROS, 0);
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(n));
    for (int64_t i = 0; t && i < width; i++)
        epl_tensor_set(t, 2 * width + i, 1);
    epl_value *y = t ? epl_add(g, b, epl_constant(g, t)) : NULL;
    epl_tensor_free(t);
    return one ? epl_concat(g, 2, (epl_value *[]){ y, epl_zeros_like(g, y) }, 1) : y;
}

static double range_of(const epl_recurrent_layer_opts *o) { return o->init > 0 ? o->init : sqrt(1.0 / o->width); }

static epl_value *kernel(epl_graph *g, const char *name, int64_t directions, int64_t in, int64_t out, const epl_recurrent_layer_opts *o)
{
    return epl_parameter(g, name, EPL_F32, EPL_SHAPE(directions, in, out), EPL_INIT_UNIFORM, range_of(o));
}

static epl_value *layer(epl_graph *g, epl_value *x, const epl_recurrent_layer_opts *o, int gates)
{
    const int64_t directions = o->bidirectional ? 2 : 1;
    epl_value *w = kernel(g, "input", directions, epl_channels(x), gates * o->width, o);
    epl_value *r = kernel(g, "recurrent", directions, o->width, gates * o->width, o);
    const epl_recurrent_opts c = { .direction = o->bidirectional ? EPL_BIDIRECTIONAL : EPL_FORWARD, .linear_before_reset = true };
    if (gates == 4)
        return epl_recur_lstm(g, x, w, r, lstm_bias(g, directions, o->width, o->one_bias), c, NULL, NULL);
    epl_value *b = epl_parameter(g, "bias", EPL_F32, EPL_SHAPE(directions, 2 * gates * o->width), EPL_INIT_ZEROS, 0);
    return epl_recur_gru(g, x, w, r, b, c, NULL);
}

static epl_value *stack(epl_graph *g, epl_value *x, epl_recurrent_layer_opts o, int gates, const char *name)
{
    if (!x)
        return NULL;
    if (o.width < 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: 'width' is %d, at least 1 is needed", name, o.width);
    for (int i = 0; i < (o.layers ? o.layers : 1); i++) {
        if (i > 0 && o.dropout > 0)
            x = epl_dropout(g, x, o.dropout, false);
        if (i == 0)
            epl_scope_push(g, "%s", o.name ? o.name : name);
        else
            epl_scope_push(g, "%s%d", o.name ? o.name : name, i + 1);
        x = layer(g, x, &o, gates);
        epl_scope_pop(g);
    }
    return x;
}

epl_value *epl_lstm(epl_graph *g, epl_value *x, epl_recurrent_layer_opts o) { return stack(g, x, o, 4, "lstm"); }
epl_value *epl_gru(epl_graph *g, epl_value *x, epl_recurrent_layer_opts o) { return stack(g, x, o, 3, "gru"); }

/* ---- with a memory ---- */

typedef struct reader {
    epl_graph *g;
    epl_value *memory, *keys;      /* [N, S, C], [N, S, width] */
    epl_value *query, *score;      /* weights */
    epl_value *w, *r, *b, *h, *c;  /* of the LSTM; its state [N, 1, width] */
} reader;

/* [N, 1, C] */
static epl_value *read_memory(const reader *m)
{
    epl_graph *g = m->g;
    epl_value *fit = epl_tanh(g, epl_add(g, m->keys, epl_matmul(g, m->h, m->query, (epl_matmul_opts){ 0 })));
    epl_value *score = epl_reshape(g, epl_matmul(g, fit, m->score, (epl_matmul_opts){ 0 }), EPL_SHAPE(EPL_KEEP, 1, epl_dim(m->memory, 1)));
    return epl_matmul(g, epl_softmax(g, score, -1), m->memory, (epl_matmul_opts){ 0 });
}

/* One step of the LSTM on [x_t; context]; keeps the context. */
static epl_value *step(reader *m, epl_value *x, epl_value **context)
{
    *context = read_memory(m);
    x = epl_concat(m->g, 2, (epl_value *[]){ x, *context }, -1);
    m->h = epl_recur_lstm(m->g, x, m->w, m->r, m->b, (epl_recurrent_opts){ .h0 = m->h, .c0 = m->c }, NULL, &m->c);
    return m->h;
}

static epl_value *zero_state(epl_graph *g, epl_value *x, int64_t width)
{
    epl_value *one  = epl_zeros_like(g, epl_slice_axis(g, epl_slice_axis(g, x, 1, 0, 1), -1, 0, 1)); // [N, 1, 1]
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(width));
    epl_value *row = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return epl_add(g, one, row);
}

static bool make_weights(reader *m, int64_t inputs, const epl_recurrent_layer_opts *o)
{
    const int64_t c = epl_channels(m->memory), width = o->width;
    m->query = epl_parameter(m->g, "query", EPL_F32, EPL_SHAPE(width, width), EPL_INIT_UNIFORM, range_of(o));
    m->score = epl_parameter(m->g, "score", EPL_F32, EPL_SHAPE(width, 1), EPL_INIT_UNIFORM, range_of(o));
    epl_value *key = epl_parameter(m->g, "key", EPL_F32, EPL_SHAPE(c, width), EPL_INIT_UNIFORM, range_of(o));
    m->keys = epl_matmul(m->g, m->memory, key, (epl_matmul_opts){ 0 });
    m->w = kernel(m->g, "input", 1, inputs + c, 4 * width, o);
    m->r = kernel(m->g, "recurrent", 1, width, 4 * width, o);
    m->b = lstm_bias(m->g, 1, width, true);
    return m->keys && m->b;
}

epl_value *epl_attention_lstm(epl_graph *g, epl_value *x, epl_value *memory, epl_recurrent_layer_opts o, epl_value **context)
{
    if (!x || !memory)
        return NULL;
    if (o.width < 1 || epl_rank(x) != 3 || epl_rank(memory) != 3)
        return epl_graph_fail(
            g, EPL_ERR_SHAPE,
            "attention_lstm: width %d, an input of rank %d and a memory of rank %d; at least 1, 3 and 3 are needed",
            o.width, epl_rank(x), epl_rank(memory));
    const int64_t length = epl_dim(x, 1);
    epl_value **steps = epl_alloc_array(epl_graph_context(g), 2 * (size_t)length + 1, sizeof *steps), *y = NULL;
    epl_scope_push(g, "%s", o.name ? o.name : "lstm");
    reader m = { .g = g, .memory = memory };
    m.h = m.c = zero_state(g, x, o.width);
    if (steps && make_weights(&m, epl_channels(x), &o)) {
        for (int64_t t = 0; t < length; t++)
            steps[t] = step(&m, epl_slice_axis(g, x, 1, t, t + 1), &steps[length + t]);
        y = epl_concat(g, (int)length, steps, 1);
        epl_value *all = epl_concat(g, (int)length, steps + length, 1);
        if (context)
            *context = all;
    }
    epl_scope_pop(g);
    epl_release(epl_graph_context(g), steps);
    return y;
}
