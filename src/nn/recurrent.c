/* recurrent: LSTM and GRU layers with their parameters. */
#include <math.h>
#include <stdio.h>

#include <espalier/nn.h>

/* The forget gate's bias is one, so that memory is kept at first (Jozefowicz et al. 2015); gates lie as i o f c. */
static epl_value *lstm_bias(epl_graph *g, int64_t directions, int64_t width)
{
    epl_value *b = epl_parameter(g, "bias", EPL_F32, EPL_SHAPE(directions, 8 * width), EPL_INIT_ZEROS, 0);
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(8 * width));
    for (int64_t i = 0; t && i < width; i++)
        epl_tensor_set(t, 2 * width + i, 1);
    epl_value *y = t ? epl_add(g, b, epl_constant(g, t)) : NULL; // an offset: the parameter itself starts at zero
    epl_tensor_free(t);
    return y;
}

static epl_value *layer(epl_graph *g, epl_value *x, const epl_recurrent_layer_opts *o, int gates)
{
    const int64_t directions = o->bidirectional ? 2 : 1;
    const double  a = sqrt(1.0 / o->width);
    epl_value *w = epl_parameter(g, "input", EPL_F32, EPL_SHAPE(directions, epl_channels(x), gates * o->width), EPL_INIT_UNIFORM, a);
    epl_value *r = epl_parameter(g, "recurrent", EPL_F32, EPL_SHAPE(directions, o->width, gates * o->width), EPL_INIT_UNIFORM, a);
    const epl_recurrent_opts c = { .direction = o->bidirectional ? EPL_BIDIRECTIONAL : EPL_FORWARD, .linear_before_reset = true };
    if (gates == 4)
        return epl_recur_lstm(g, x, w, r, lstm_bias(g, directions, o->width), c, NULL, NULL);
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
