/* adapt_recurrent: LSTM, GRU, RNN. ONNX puts time before the batch (layout 0) and the gates before the inputs; ours are the
 * other way round. Activations other than the usual ones are refused. */
#include "onnx/adapt.h"

#include <string.h>

typedef struct cell {
    const char *activations[3]; /* the usual ones */
    int         n_activations, gates;
} cell;

static const cell lstm = { { "Sigmoid", "Tanh", "Tanh" }, 3, 4 }, gru = { { "Sigmoid", "Tanh" }, 2, 3 }, rnn = { { "Tanh" }, 1, 1 };

static bool usual_activations(onnx_node *n, const cell *c, int directions)
{
    if (!onnx_has_attr(n, "activations"))
        return true;
    for (int i = 0; i < c->n_activations * directions; i++) {
        const char *name = onnx_strings(n, "activations", i);
        if (!name || strcmp(name, c->activations[i % c->n_activations]) != 0)
            return onnx_unsupported(n, "activation '%s'", name ? name : "");
    }
    return true;
}

/* [D, N, H] -> [N, D, H] where time comes first; the same the other way round. */
static epl_value *state_axes(onnx_node *n, epl_value *v, bool batch_first)
{
    return batch_first || !v ? v : epl_permute(n->g, v, EPL_SHAPE(1, 0, 2));
}

static bool read_options(onnx_node *n, const cell *c, bool batch_first, epl_recurrent_opts *o)
{
    const char *way = onnx_text(n, "direction", "forward");
    o->direction = strcmp(way, "reverse") == 0 ? EPL_REVERSE : strcmp(way, "bidirectional") == 0 ? EPL_BIDIRECTIONAL : EPL_FORWARD;
    if (o->direction == EPL_FORWARD && strcmp(way, "forward") != 0)
        return onnx_unsupported(n, "direction '%s'", way);
    if (!usual_activations(n, c, o->direction == EPL_BIDIRECTIONAL ? 2 : 1))
        return false;
    o->clip = onnx_real(n, "clip", 0);
    o->lengths = onnx_in(n, 4);
    o->h0 = state_axes(n, onnx_in(n, 5), batch_first);
    if (n->opset < 7)
        (void)onnx_int(n, "output_sequence", 0);
    return epl_error_code(onnx_context(n)) == EPL_OK;
}

static bool import_recurrent(onnx_node *n)
{
    const cell *c = onnx_detail(n);
    const bool  batch_first = onnx_int(n, "layout", 0) != 0;
    epl_value  *x = onnx_in(n, 0), *h = NULL, *last = NULL, *y;
    epl_recurrent_opts o = { 0 };
    if (!x || !read_options(n, c, batch_first, &o))
        return false;
    epl_value *w = onnx_weight(n, 1, EPL_SHAPE(0, 2, 1)), *r = onnx_weight(n, 2, EPL_SHAPE(0, 2, 1)), *b = onnx_in(n, 3);
    if (!w || !r)
        return false;
    const int64_t directions = r->shape.dim[0], hidden = r->shape.dim[1];
    if (onnx_int(n, "hidden_size", hidden) != hidden)
        return onnx_fail(n, EPL_ERR_SHAPE, "hidden_size is %lld, the weights have %lld", (long long)onnx_int(n, "hidden_size", 0),
                         (long long)hidden);
    x = batch_first ? x : epl_permute(n->g, x, EPL_SHAPE(1, 0, 2));
    if (c == &lstm) {
        o.c0 = state_axes(n, onnx_in(n, 6), batch_first);
        o.peepholes = onnx_in(n, 7);
        o.input_forget = onnx_int(n, "input_forget", 0) != 0;
        y = epl_recur_lstm(n->g, x, w, r, b, o, &h, &last);
    } else if (c == &gru) {
        o.linear_before_reset = onnx_int(n, "linear_before_reset", 0) != 0;
        y = epl_recur_gru(n->g, x, w, r, b, o, &h);
    } else {
        y = epl_recur_rnn(n->g, x, w, r, b, o, &h);
    }
    y = epl_reshape(n->g, y, EPL_SHAPE(EPL_KEEP, EPL_KEEP, directions, hidden));
    n->out[0] = batch_first ? y : epl_permute(n->g, y, EPL_SHAPE(1, 2, 0, 3));
    n->out[1] = state_axes(n, h, batch_first);
    n->out[2] = c == &lstm ? state_axes(n, last, batch_first) : NULL;
    return n->out[0] != NULL;
}

const onnx_op onnx_ops_recurrent[] = {
    { "LSTM", import_recurrent, &lstm }, { "GRU", import_recurrent, &gru }, { "RNN", import_recurrent, &rnn }, { NULL, NULL, NULL },
};
