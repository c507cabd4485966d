/* recurrent: LSTM, GRU and RNN over a whole sequence, with ONNX's equations and gate orders.
 *
 *   x [N, L, C]   w [D, C, G H]   r [D, H, G H]   b [D, 2 G H] (of w, then of r)   lengths [N]   h0 [N, D, H]
 *   y [N, L, D H]   h [N, D, H]        D directions, G gates: LSTM 4 (i o f c), GRU 3 (z r h), RNN 1
 *   LSTM also: c0 [N, D, H], peepholes [D, 3 H] (i o f) and the result c [N, D, H]
 *
 * A sequence shorter than L has zeros in y behind its end, and its states stay as they were there. Each expands into one
 * group of simple nodes per step, from which the gradient follows. */
#include "ops/dense.h"

enum { DIRECTION, CLIP, ACT_F, ACT_G, ACT_H, FLAG };      /* FLAG: input_forget of LSTM, linear_before_reset of GRU */
enum { X, W, R, B, LENGTHS, H0, C0, PEEPHOLES, MAX_INPUTS };
enum { FORWARD, REVERSE, BIDIRECTIONAL };

/* begin reference */
typedef struct epl_recurrent {
    const epl_ref_call *c;
    int64_t gates, directions, length, channels, hidden;
    int64_t direction, n, t; /* where we are */
} epl_recurrent;

enum { EPL_ACT_DEFAULT, EPL_ACT_SIGMOID, EPL_ACT_TANH, EPL_ACT_RELU, EPL_ACT_HARD_SIGMOID, EPL_ACT_SOFTSIGN, EPL_ACT_SOFTPLUS };

static inline double epl_recurrent_activate(const epl_recurrent *s, int which, int otherwise, double x)
{
    const double  clip = which < 2 ? s->c->attr[1].r : 0; // ONNX clips the inputs of the gates, not of h
    const int64_t chosen = s->c->attr[2 + which].i;
    x = clip > 0 ? fmin(fmax(x, -clip), clip) : x;
    switch (chosen == EPL_ACT_DEFAULT ? otherwise : chosen) {
    case EPL_ACT_SIGMOID:      return 1 / (1 + exp(-x));
    case EPL_ACT_TANH:         return tanh(x);
    case EPL_ACT_RELU:         return fmax(x, 0);
    case EPL_ACT_HARD_SIGMOID: return fmin(fmax(0.2 * x + 0.5, 0), 1);
    case EPL_ACT_SOFTSIGN:     return x / (1 + fabs(x));
    default:                   return x > 30 ? x : log1p(exp(x));
    }
}

static inline int epl_recurrent_has(const epl_recurrent *s, int64_t i) { return i < s->c->n_in && s->c->in[i].data != NULL; }

/* Where unit j of this sequence and direction lies in h0, h, c0, c; and in y. */
static inline int64_t epl_recurrent_state(const epl_recurrent *s, int64_t j)
{
    return (s->n * s->directions + s->direction) * s->hidden + j;
}

static inline int64_t epl_recurrent_y(const epl_recurrent *s, int64_t j)
{
    return ((s->n * s->length + s->t) * s->directions + s->direction) * s->hidden + j;
}

static inline double epl_recurrent_bias(const epl_recurrent *s, int64_t half, int64_t gate, int64_t j)
{
    return epl_recurrent_has(s, 3) ? epl_ref_get(&s->c->in[3], ((s->direction * 2 + half) * s->gates + gate) * s->hidden + j) : 0;
}

/* Gate's input from x: x_t w + bias. */
static inline double epl_recurrent_from_x(const epl_recurrent *s, int64_t gate, int64_t j)
{
    double sum = epl_recurrent_bias(s, 0, gate, j);
    for (int64_t k = 0; k < s->channels; k++)
        sum += epl_ref_get(&s->c->in[0], (s->n * s->length + s->t) * s->channels + k) *
               epl_ref_get(&s->c->in[1], ((s->direction * s->channels + k) * s->gates + gate) * s->hidden + j);
    return sum;
}

static inline double epl_recurrent_r(const epl_recurrent *s, int64_t k, int64_t gate, int64_t j)
{
    return epl_ref_get(&s->c->in[2], ((s->direction * s->hidden + k) * s->gates + gate) * s->hidden + j);
}

/* Gate's input from the state: h r + bias. out[1] holds the state while the sequence is walked. */
static inline double epl_recurrent_from_h(const epl_recurrent *s, int64_t gate, int64_t j)
{
    double sum = epl_recurrent_bias(s, 1, gate, j);
    for (int64_t k = 0; k < s->hidden; k++)
        sum += epl_ref_get(&s->c->out[1], epl_recurrent_state(s, k)) * epl_recurrent_r(s, k, gate, j);
    return sum;
}

static inline double epl_recurrent_gate(const epl_recurrent *s, int64_t gate, int64_t j)
{
    return epl_recurrent_from_x(s, gate, j) + epl_recurrent_from_h(s, gate, j);
}

static inline void epl_recurrent_rnn_step(const epl_recurrent *s)
{
    for (int64_t j = 0; j < s->hidden; j++)
        epl_ref_set(&s->c->out[0], epl_recurrent_y(s, j), epl_recurrent_activate(s, 0, EPL_ACT_TANH, epl_recurrent_gate(s, 0, j)));
}

static inline void epl_recurrent_lstm_step(const epl_recurrent *s)
{
    const epl_view *p = &s->c->in[7], *c = &s->c->out[2];
    const int       peep = epl_recurrent_has(s, 7);
    for (int64_t j = 0; j < s->hidden; j++) {
        const int64_t at = epl_recurrent_state(s, j), pj = s->direction * 3 * s->hidden + j;
        const double  old = epl_ref_get(c, at);
        const double  pi = peep ? epl_ref_get(p, pj) * old : 0, pf = peep ? epl_ref_get(p, pj + 2 * s->hidden) * old : 0;
        const double  i = epl_recurrent_activate(s, 0, EPL_ACT_SIGMOID, epl_recurrent_gate(s, 0, j) + pi);
        const double  f = s->c->attr[5].i ? 1 - i : epl_recurrent_activate(s, 0, EPL_ACT_SIGMOID, epl_recurrent_gate(s, 2, j) + pf);
        const double  next = f * old + i * epl_recurrent_activate(s, 1, EPL_ACT_TANH, epl_recurrent_gate(s, 3, j));
        const double  po = peep ? epl_ref_get(p, pj + s->hidden) * next : 0;
        const double  o = epl_recurrent_activate(s, 0, EPL_ACT_SIGMOID, epl_recurrent_gate(s, 1, j) + po);
        epl_ref_set(c, at, next);
        epl_ref_set(&s->c->out[0], epl_recurrent_y(s, j), o * epl_recurrent_activate(s, 2, EPL_ACT_TANH, next));
    }
}

/* y receives the input of the candidate, (r * h) r_h + bias + x_t w_h, in blocks of units so that r is computed once. */
static inline void epl_recurrent_gru_candidate(const epl_recurrent *s)
{
    double    reset[64];
    const int first = s->c->attr[5].i != 0;
    for (int64_t j = 0; j < s->hidden; j++) {
        double sum = epl_recurrent_from_x(s, 2, j);
        if (first)
            sum += epl_recurrent_activate(s, 0, EPL_ACT_SIGMOID, epl_recurrent_gate(s, 1, j)) * epl_recurrent_from_h(s, 2, j);
        else
            sum += epl_recurrent_bias(s, 1, 2, j);
        epl_ref_set(&s->c->out[0], epl_recurrent_y(s, j), sum);
    }
    for (int64_t block = 0; block < s->hidden && !first; block += 64) {
        const int64_t n = s->hidden - block < 64 ? s->hidden - block : 64;
        for (int64_t k = 0; k < n; k++)
            reset[k] = epl_recurrent_activate(s, 0, EPL_ACT_SIGMOID, epl_recurrent_gate(s, 1, block + k)) *
                       epl_ref_get(&s->c->out[1], epl_recurrent_state(s, block + k));
        for (int64_t j = 0; j < s->hidden; j++) {
            double sum = epl_ref_get(&s->c->out[0], epl_recurrent_y(s, j));
            for (int64_t k = 0; k < n; k++)
                sum += reset[k] * epl_recurrent_r(s, block + k, 2, j);
            epl_ref_set(&s->c->out[0], epl_recurrent_y(s, j), sum);
        }
    }
}

static inline void epl_recurrent_gru_step(const epl_recurrent *s)
{
    epl_recurrent_gru_candidate(s);
    for (int64_t j = 0; j < s->hidden; j++) {
        const double z = epl_recurrent_activate(s, 0, EPL_ACT_SIGMOID, epl_recurrent_gate(s, 0, j));
        const double h = epl_recurrent_activate(s, 1, EPL_ACT_TANH, epl_ref_get(&s->c->out[0], epl_recurrent_y(s, j)));
        epl_ref_set(&s->c->out[0], epl_recurrent_y(s, j), (1 - z) * h + z * epl_ref_get(&s->c->out[1], epl_recurrent_state(s, j)));
    }
}

/* One sequence in one direction. */
static inline void epl_recurrent_walk(epl_recurrent *s, void (*step)(const epl_recurrent *))
{
    const int     backward = s->c->attr[0].i == 1 || s->direction == 1;
    const int64_t length = epl_recurrent_has(s, 4) ? epl_ref_get_i64(&s->c->in[4], s->n) : s->length;
    for (int64_t k = 1; k < s->c->n_out; k++)
        for (int64_t j = 0; j < s->hidden; j++)
            epl_ref_set(&s->c->out[k], epl_recurrent_state(s, j),
                        epl_recurrent_has(s, 4 + k) ? epl_ref_get(&s->c->in[4 + k], epl_recurrent_state(s, j)) : 0);
    for (int64_t i = 0; i < s->length; i++) {
        s->t = backward ? s->length - 1 - i : i;
        if (s->t < length)
            step(s);
        for (int64_t j = 0; j < s->hidden; j++)
            if (s->t < length)
                epl_ref_set(&s->c->out[1], epl_recurrent_state(s, j), epl_ref_get(&s->c->out[0], epl_recurrent_y(s, j)));
            else
                epl_ref_set(&s->c->out[0], epl_recurrent_y(s, j), 0);
    }
}

static inline void epl_recurrent_run(const epl_ref_call *c, int64_t gates, void (*step)(const epl_recurrent *))
{
    epl_recurrent s = { c, gates, c->in[1].dim[0], c->in[0].dim[1], c->in[0].dim[2], c->in[2].dim[1], 0, 0, 0 };
    for (s.direction = 0; s.direction < s.directions; s.direction++)
        for (s.n = 0; s.n < c->in[0].dim[0]; s.n++)
            epl_recurrent_walk(&s, step);
}

static void epl_ref_lstm(const epl_ref_call *c) { epl_recurrent_run(c, 4, epl_recurrent_lstm_step); }
static void epl_ref_gru(const epl_ref_call *c) { epl_recurrent_run(c, 3, epl_recurrent_gru_step); }
static void epl_ref_rnn(const epl_ref_call *c) { epl_recurrent_run(c, 1, epl_recurrent_rnn_step); }
/* end reference */

static int64_t gates_of(const epl_node *n) { return EPL_IS(n, lstm) ? 4 : EPL_IS(n, gru) ? 3 : 1; }

static bool recurrent_infer(epl_node *n)
{
    const epl_value *x = n->inputs[X], *lengths = epl_node_input(n, LENGTHS);
    const int64_t    gates = gates_of(n), directions = n->attrs[DIRECTION].i == BIDIRECTIONAL ? 2 : 1;
    char text[192];
    for (int i = 0; i < n->n_inputs; i++)
        if (i != LENGTHS && n->inputs[i] && (n->inputs[i]->dtype != x->dtype || !epl_dtype_is_float(x->dtype)))
            return epl_node_fail(n, EPL_ERR_DTYPE, "input 0 is %s, input %d is %s; one floating-point type is needed",
                                 epl_dtype_name(x->dtype), i, epl_dtype_name(n->inputs[i]->dtype));
    if (x->shape.rank != 3 || n->inputs[R]->shape.rank != 3)
        return epl_node_fail(n, EPL_ERR_SHAPE, "the input is %s and the recurrent weight has rank %d; [N, L, C] and 3 are needed",
                             epl_shape_text(text, x->shape), n->inputs[R]->shape.rank);
    const int64_t batch = x->shape.dim[0], length = x->shape.dim[1], hidden = n->inputs[R]->shape.dim[1];
    const epl_shape state = EPL_SHAPE(batch, directions, hidden);
    if (lengths && epl_dtype_is_float(lengths->dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "the lengths are %s, but must be integers", epl_dtype_name(lengths->dtype));
    if (!epl_check_shape(n, W, "the input weight", EPL_SHAPE(directions, x->shape.dim[2], gates * hidden)) ||
        !epl_check_shape(n, R, "the recurrent weight", EPL_SHAPE(directions, hidden, gates * hidden)) ||
        !epl_check_shape(n, B, "the bias", EPL_SHAPE(directions, 2 * gates * hidden)) ||
        !epl_check_shape(n, LENGTHS, "the list of lengths", EPL_SHAPE(batch)) ||
        !epl_check_shape(n, H0, "the initial state", state) || !epl_check_shape(n, C0, "the initial cell", state) ||
        !epl_check_shape(n, PEEPHOLES, "the peephole weight", EPL_SHAPE(directions, 3 * hidden)))
        return false;
    for (int i = 1; i < n->n_outputs; i++)
        if (!epl_set_type(n, i, x->dtype, state))
            return false;
    return epl_set_type(n, 0, x->dtype, EPL_SHAPE(batch, length, directions * hidden));
}

static epl_cost recurrent_cost(const epl_node *n)
{
    const epl_shape w = n->inputs[W]->shape, r = n->inputs[R]->shape, x = n->inputs[X]->shape;
    return (epl_cost){ .macs = (double)x.dim[0] * (double)x.dim[1] * (double)(epl_shape_count(w) + epl_shape_count(r)) };
}

/* ---- expansion --------------------------------------------------------------------------------------------------- */
typedef struct cell {
    epl_graph      *g;
    const epl_node *n;
    int64_t         hidden;
    epl_value      *w, *r, *wb, *rb; /* of one direction: [C, G H], [H, G H], [G H] */
    epl_value      *p[3];            /* peepholes [H] */
    epl_value      *h, *c;           /* the state [N, H] */
} cell;

static epl_value *of_direction(epl_graph *g, epl_value *v, int axis, int64_t direction)
{
    return v ? epl_squeeze(g, epl_slice_axis(g, v, axis, direction, direction + 1), 1, (int[]){ axis }) : NULL;
}

static epl_value *columns(const cell *k, epl_value *v, int64_t gate)
{
    return v ? epl_slice_axis(k->g, v, -1, gate * k->hidden, (gate + 1) * k->hidden) : NULL;
}

static epl_value *activate(const cell *k, int which, int otherwise, epl_value *x)
{
    const double clip = which == ACT_H ? 0 : k->n->attrs[CLIP].r;
    const int64_t chosen = k->n->attrs[which].i;
    x = clip > 0 ? epl_clip(k->g, x, -clip, clip) : x;
    switch (chosen == EPL_ACT_DEFAULT ? otherwise : chosen) {
    case EPL_ACT_SIGMOID:      return epl_sigmoid(k->g, x);
    case EPL_ACT_TANH:         return epl_tanh(k->g, x);
    case EPL_ACT_RELU:         return epl_relu(k->g, x);
    case EPL_ACT_HARD_SIGMOID: return epl_hard_sigmoid(k->g, x, 0.2, 0.5);
    case EPL_ACT_SOFTSIGN:     return epl_softsign(k->g, x);
    default:                   return epl_softplus(k->g, x);
    }
}

static epl_value *with_peephole(const cell *k, epl_value *x, int which, epl_value *c)
{
    return k->p[which] ? epl_add(k->g, x, epl_mul(k->g, k->p[which], c)) : x;
}

/* xw: x_t w + bias [N, G H]. Sets the next state. */
static void lstm_step(cell *k, epl_value *xw)
{
    epl_graph *g = k->g;
    epl_value *all = epl_add(g, xw, epl_multiply_rows(g, k->h, k->r, k->rb, false));
    epl_value *i = activate(k, ACT_F, EPL_ACT_SIGMOID, with_peephole(k, columns(k, all, 0), 0, k->c));
    epl_value *f = k->n->attrs[FLAG].i ? epl_affine(g, i, -1, 1)
                                       : activate(k, ACT_F, EPL_ACT_SIGMOID, with_peephole(k, columns(k, all, 2), 2, k->c));
    epl_value *c = activate(k, ACT_G, EPL_ACT_TANH, columns(k, all, 3));
    k->c = epl_add(g, epl_mul(g, f, k->c), epl_mul(g, i, c));
    epl_value *o = activate(k, ACT_F, EPL_ACT_SIGMOID, with_peephole(k, columns(k, all, 1), 1, k->c));
    k->h = epl_mul(g, o, activate(k, ACT_H, EPL_ACT_TANH, k->c));
}

static void gru_step(cell *k, epl_value *xw)
{
    epl_graph *g = k->g;
    epl_value *x_zr = epl_slice_axis(g, xw, -1, 0, 2 * k->hidden), *x_h = columns(k, xw, 2);
    epl_value *r_zr = epl_slice_axis(g, k->r, -1, 0, 2 * k->hidden), *r_h = columns(k, k->r, 2);
    epl_value *b_zr = k->rb ? epl_slice_axis(g, k->rb, -1, 0, 2 * k->hidden) : NULL, *b_h = columns(k, k->rb, 2);
    epl_value *zr = activate(k, ACT_F, EPL_ACT_SIGMOID, epl_add(g, x_zr, epl_multiply_rows(g, k->h, r_zr, b_zr, false)));
    epl_value *z = columns(k, zr, 0), *r = columns(k, zr, 1);
    epl_value *from_h = k->n->attrs[FLAG].i ? epl_mul(g, r, epl_multiply_rows(g, k->h, r_h, b_h, false))
                                            : epl_multiply_rows(g, epl_mul(g, r, k->h), r_h, b_h, false);
    epl_value *h = activate(k, ACT_G, EPL_ACT_TANH, epl_add(g, x_h, from_h));
    k->h = epl_add(g, h, epl_mul(g, z, epl_sub(g, k->h, h))); // (1 - z) h' + z h
}

static void rnn_step(cell *k, epl_value *xw)
{
    k->h = activate(k, ACT_F, EPL_ACT_TANH, epl_add(k->g, xw, epl_multiply_rows(k->g, k->h, k->r, k->rb, false)));
}

static cell cell_of(epl_graph *g, const epl_node *n, int64_t direction)
{
    const int64_t hidden = n->inputs[R]->shape.dim[1], width = gates_of(n) * hidden;
    cell k = { .g = g, .n = n, .hidden = hidden };
    epl_value *b = of_direction(g, epl_node_input(n, B), 0, direction), *p = of_direction(g, epl_node_input(n, PEEPHOLES), 0, direction);
    k.w  = of_direction(g, n->inputs[W], 0, direction);
    k.r  = of_direction(g, n->inputs[R], 0, direction);
    k.wb = b ? epl_slice_axis(g, b, 0, 0, width) : NULL;
    k.rb = b ? epl_slice_axis(g, b, 0, width, 2 * width) : NULL;
    for (int i = 0; i < 3; i++)
        k.p[i] = columns(&k, p, i);
    k.h = of_direction(g, epl_node_input(n, H0), 1, direction);
    k.c = of_direction(g, epl_node_input(n, C0), 1, direction);
    return k;
}

/* Where the sequences are still running at step t: bool [N, 1]; NULL without lengths. */
static epl_value *running(epl_graph *g, const epl_node *n, int64_t t)
{
    epl_value *lengths = epl_node_input(n, LENGTHS);
    return lengths ? epl_unsqueeze(g, epl_less(g, epl_scalar(g, lengths->dtype, (double)t), lengths), 1, (int[]){ 1 }) : NULL;
}

/* Walks one direction; y[t] receives the outputs [N, H]. */
static void walk(cell *k, bool backward, int64_t length, epl_value **xw, epl_value **y)
{
    epl_graph *g = k->g;
    if (!epl_split(g, epl_multiply_rows(g, k->n->inputs[X], k->w, k->wb, false), 1, (int)length, NULL, xw))
        return;
    for (int64_t t = 0; t < length; t++)
        xw[t] = epl_squeeze(g, xw[t], 1, (int[]){ 1 });
    epl_value *zeros = epl_zeros_like(g, columns(k, xw[0], 0));
    k->h = k->h ? k->h : zeros;
    k->c = k->c ? k->c : zeros;
    for (int64_t i = 0; i < length; i++) {
        const int64_t t = backward ? length - 1 - i : i;
        epl_value    *h = k->h, *c = k->c, *runs = running(g, k->n, t);
        (EPL_IS(k->n, lstm) ? lstm_step : EPL_IS(k->n, gru) ? gru_step : rnn_step)(k, xw[t]);
        y[t] = runs ? epl_where(g, runs, k->h, epl_scalar(g, k->n->inputs[X]->dtype, 0)) : k->h;
        k->h = runs ? epl_where(g, runs, k->h, h) : k->h;
        k->c = runs ? epl_where(g, runs, k->c, c) : k->c;
    }
}

static bool recurrent_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    const int64_t directions = n->inputs[W]->shape.dim[0], length = n->inputs[X]->shape.dim[1];
    epl_value   **steps = epl_alloc_array(g->ctx, 2 * (size_t)length + 1, sizeof *steps);
    epl_value    *y[2] = { NULL }, *h[2] = { NULL }, *c[2] = { NULL };
    for (int64_t d = 0; steps && length > 0 && d < directions; d++) {
        cell k = cell_of(g, n, d);
        walk(&k, n->attrs[DIRECTION].i == REVERSE || d == 1, length, steps, steps + length);
        y[d] = epl_stack(g, (int)length, steps + length, 1);
        h[d] = k.h;
        c[d] = k.c;
    }
    epl_release(g->ctx, steps);
    out[0] = directions == 1 ? y[0] : epl_concat(g, 2, y, -1);
    out[1] = epl_stack(g, (int)directions, h, 1);
    if (n->n_outputs > 2)
        out[2] = epl_stack(g, (int)directions, c, 1);
    return out[0] != NULL;
}

/* ---- samples and entries ----------------------------------------------------------------------------------------- */
static epl_node *sample_recurrent(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op, int64_t gates)
{
    const int64_t batch = epl_pick(r, 1, 2), length = epl_pick(r, 1, 3), channels = epl_pick(r, 1, 3), hidden = epl_pick(r, 1, 3);
    const int     direction = epl_pick(r, FORWARD, BIDIRECTIONAL);
    const int64_t d = direction == BIDIRECTIONAL ? 2 : 1;
    epl_value    *in[MAX_INPUTS] = { NULL };
    in[X] = epl_sample_input(g, dtype, EPL_SHAPE(batch, length, channels), -1, 1, 0);
    in[W] = epl_sample_input(g, dtype, EPL_SHAPE(d, channels, gates * hidden), -1, 1, 0);
    in[R] = epl_sample_input(g, dtype, EPL_SHAPE(d, hidden, gates * hidden), -1, 1, 0);
    if (epl_pick(r, 0, 1))
        in[B] = epl_sample_input(g, dtype, EPL_SHAPE(d, 2 * gates * hidden), -1, 1, 0);
    if (epl_pick(r, 0, 1))
        in[LENGTHS] = epl_sample_input(g, EPL_I32, EPL_SHAPE(batch), 0, (double)length, 0);
    if (epl_pick(r, 0, 1))
        in[H0] = epl_sample_input(g, dtype, EPL_SHAPE(batch, d, hidden), -1, 1, 0);
    if (op->n_inputs > C0 && epl_pick(r, 0, 1))
        in[C0] = epl_sample_input(g, dtype, EPL_SHAPE(batch, d, hidden), -1, 1, 0);
    if (op->n_inputs > PEEPHOLES && epl_pick(r, 0, 1))
        in[PEEPHOLES] = epl_sample_input(g, dtype, EPL_SHAPE(d, 3 * hidden), -1, 1, 0);
    const epl_attr attrs[EPL_MAX_ATTRS] = { [DIRECTION] = EPL_A_I(direction), [ACT_G] = EPL_A_I(epl_pick(r, 0, 1) * EPL_ACT_SIGMOID),
                                            [FLAG] = EPL_A_I(epl_pick(r, 0, 1)) };
    return epl_node_add(g, op, op->n_inputs, in, attrs, 0, NULL);
}

static epl_node *lstm_sample(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_recurrent(g, r, dtype, &epl_op_lstm, 4); }
static epl_node *gru_sample(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_recurrent(g, r, dtype, &epl_op_gru, 3); }
static epl_node *rnn_sample(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_recurrent(g, r, dtype, &epl_op_rnn, 1); }

#define ACTIVATIONS "default|sigmoid|tanh|relu|hard_sigmoid|softsign|softplus" /* EPL_ACT_... */
#define CELL_ATTRS                                                                                                     \
    { "direction", EPL_ATTR_CHOICE, .choices = "forward|reverse|bidirectional" }, { "clip", EPL_ATTR_REAL },           \
    { "activation_f", EPL_ATTR_CHOICE, .choices = ACTIVATIONS }, { "activation_g", EPL_ATTR_CHOICE, .choices = ACTIVATIONS }, \
    { "activation_h", EPL_ATTR_CHOICE, .choices = ACTIVATIONS }

const epl_op epl_op_lstm = {
    .name = "LSTM", .n_inputs = MAX_INPUTS, .min_inputs = 3, .n_outputs = 3,
    .attrs = { CELL_ATTRS, { "input_forget", EPL_ATTR_BOOL } },
    .infer = recurrent_infer, .expand = recurrent_expand, .cost = recurrent_cost, EPL_REF(epl_ref_lstm), .sample = lstm_sample,
};

const epl_op epl_op_gru = {
    .name = "GRU", .n_inputs = H0 + 1, .min_inputs = 3, .n_outputs = 2,
    .attrs = { CELL_ATTRS, { "linear_before_reset", EPL_ATTR_BOOL } },
    .infer = recurrent_infer, .expand = recurrent_expand, .cost = recurrent_cost, EPL_REF(epl_ref_gru), .sample = gru_sample,
};

const epl_op epl_op_rnn = {
    .name = "RNN", .n_inputs = H0 + 1, .min_inputs = 3, .n_outputs = 2, .attrs = { CELL_ATTRS },
    .infer = recurrent_infer, .expand = recurrent_expand, .cost = recurrent_cost, EPL_REF(epl_ref_rnn), .sample = rnn_sample,
};

/* ---- builders ---------------------------------------------------------------------------------------------------- */
static epl_value *build(epl_graph *g, const epl_op *op, epl_value *x, epl_value *w, epl_value *r, epl_value *b, bool flag,
                        epl_recurrent_opts o, epl_value **h, epl_value **c)
{
    const epl_attr attrs[EPL_MAX_ATTRS] = { [DIRECTION] = EPL_A_I(o.direction), [CLIP] = EPL_A_R(o.clip), [FLAG] = EPL_A_I(flag) };
    epl_value *const in[MAX_INPUTS] = { x, w, r, b, o.lengths, o.h0, o.c0, o.peepholes };
    epl_node *n = epl_node_add(g, op, op->n_inputs, in, attrs, 0, NULL);
    if (h)
        *h = n ? n->outputs[1] : NULL;
    if (c)
        *c = n ? n->outputs[2] : NULL;
    return n ? n->outputs[0] : NULL;
}

epl_value *epl_recur_lstm(epl_graph *g, epl_value *x, epl_value *w, epl_value *r, epl_value *b, epl_recurrent_opts o, epl_value **h,
                          epl_value **c)
{
    return build(g, &epl_op_lstm, x, w, r, b, o.input_forget, o, h, c);
}

epl_value *epl_recur_gru(epl_graph *g, epl_value *x, epl_value *w, epl_value *r, epl_value *b, epl_recurrent_opts o, epl_value **h)
{
    return build(g, &epl_op_gru, x, w, r, b, o.linear_before_reset, o, h, NULL);
}

epl_value *epl_recur_rnn(epl_graph *g, epl_value *x, epl_value *w, epl_value *r, epl_value *b, epl_recurrent_opts o, epl_value **h)
{
    return build(g, &epl_op_rnn, x, w, r, b, false, o, h, NULL);
}
