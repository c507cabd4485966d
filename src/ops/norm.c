/* norm: batch, layer, group, RMS and local response normalisation, and the builders of instance and Lp normalisation.
 *
 * All but the last see x as [outer, rows, groups, width] and standardise the set of each (outer, group) over rows and width:
 *
 *   BatchNorm  [1, N * spatial, C, 1]         GroupNorm   [N, spatial, G, C/G] (instance: G = C)
 *   LayerNorm, RMSNorm  [before axis, 1, 1, from axis]
 *
 * y = xhat * scale + bias with xhat = (x - mean) / sqrt(var + epsilon); with dyhat = dy * scale
 * dx = (dyhat - mean(dyhat) - xhat * mean(dyhat * xhat)) / sqrt(var + epsilon).
 * RMSNorm leaves out both means. The fused gradients expand into simpler operators, which gives the second order. */
#include "ops/dense.h"

/* begin reference */
typedef struct epl_norm_sets {
    int64_t outer, rows, groups, width;
    int     center; /* subtract the mean */
    double  epsilon;
} epl_norm_sets;

typedef struct epl_norm_moments {
    double mean, var;
} epl_norm_moments;

static inline int64_t epl_norm_at(const epl_norm_sets *s, int64_t o, int64_t row, int64_t g)
{
    return ((o * s->rows + row) * s->groups + g) * s->width;
}

static inline epl_norm_moments epl_norm_measure(const epl_norm_sets *s, const epl_view *x, int64_t o, int64_t g)
{
    const double     count = (double)(s->rows * s->width);
    epl_norm_moments m = { 0, 0 };
    for (int64_t r = 0; s->center && r < s->rows; r++)
        for (int64_t i = epl_norm_at(s, o, r, g), end = i + s->width; i < end; i++)
            m.mean += epl_ref_get(x, i);
    m.mean /= count;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t i = epl_norm_at(s, o, r, g), end = i + s->width; i < end; i++)
            m.var += (epl_ref_get(x, i) - m.mean) * (epl_ref_get(x, i) - m.mean);
    m.var /= count;
    return m;
}

static inline int epl_norm_has(const epl_ref_call *c, int64_t i) { return i >= 0 && i < c->n_in && c->in[i].data != NULL; }

/* scale and bias: numbers of inputs, or -1. */
static inline void epl_norm_apply(const epl_ref_call *c, const epl_norm_sets *s, int64_t o, int64_t g, epl_norm_moments m, int scale,
                                  int bias)
{
    const double rstd = 1 / sqrt(m.var + s->epsilon);
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t k = 0; k < s->width; k++) {
            const int64_t i = epl_norm_at(s, o, r, g) + k, channel = g * s->width + k;
            double        y = (epl_ref_get(&c->in[0], i) - m.mean) * rstd;
            y = epl_norm_has(c, scale) ? y * epl_ref_get(&c->in[scale], channel) : y;
            epl_ref_set(&c->out[0], i, epl_norm_has(c, bias) ? y + epl_ref_get(&c->in[bias], channel) : y);
        }
}

/* Inputs x, dy, scale; outputs dx, dscale and, with three outputs, dbias: sums that start at zero before the first set. */
static inline void epl_norm_back(const epl_ref_call *c, const epl_norm_sets *s, int64_t o, int64_t g, epl_norm_moments m)
{
    const epl_view *x = &c->in[0], *dy = &c->in[1], *dx = &c->out[0], *dscale = &c->out[1], *dbias = &c->out[2];
    const double    rstd = 1 / sqrt(m.var + s->epsilon), count = (double)(s->rows * s->width);
    double          sum = 0, dot = 0;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t k = 0; k < s->width; k++) {
            const int64_t i = epl_norm_at(s, o, r, g) + k, channel = g * s->width + k;
            const double  d = epl_ref_get(dy, i), xhat = (epl_ref_get(x, i) - m.mean) * rstd;
            const double  dyhat = epl_norm_has(c, 2) ? d * epl_ref_get(&c->in[2], channel) : d;
            sum += dyhat;
            dot += dyhat * xhat;
            epl_ref_set(dscale, channel, epl_ref_get(dscale, channel) + d * xhat);
            if (c->n_out > 2)
                epl_ref_set(dbias, channel, epl_ref_get(dbias, channel) + d);
        }
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t k = 0; k < s->width; k++) {
            const int64_t i = epl_norm_at(s, o, r, g) + k;
            const double  d = epl_ref_get(dy, i), xhat = (epl_ref_get(x, i) - m.mean) * rstd;
            const double  dyhat = epl_norm_has(c, 2) ? d * epl_ref_get(&c->in[2], g * s->width + k) : d;
            epl_ref_set(dx, i, rstd * (dyhat - (s->center ? sum / count : 0) - xhat * dot / count));
        }
}

static inline void epl_norm_clear(const epl_ref_call *c)
{
    for (int64_t o = 1; o < c->n_out; o++)
        memset(c->out[o].data, 0, (size_t)(epl_view_count(&c->out[o]) * epl_ref_bytes(c->out[o].dtype)));
}

/* Every set on its own: layer, group and RMS normalisation. */
static inline void epl_norm_all(const epl_ref_call *c, epl_norm_sets s, int backward)
{
    if (backward)
        epl_norm_clear(c);
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t g = 0; g < s.groups; g++) {
            const epl_norm_moments m = epl_norm_measure(&s, &c->in[0], o, g);
            if (backward)
                epl_norm_back(c, &s, o, g, m);
            else
                epl_norm_apply(c, &s, o, g, m, 1, s.center ? 2 : -1);
        }
}

static inline epl_norm_sets epl_norm_layer(const epl_ref_call *c, int center) /* attributes: axis, epsilon */
{
    const epl_view *x = &c->in[0];
    const int64_t   axis = c->attr[0].i + (c->attr[0].i < 0 ? x->rank : 0);
    epl_norm_sets   s = { 1, 1, 1, 1, center, c->attr[1].r };
    for (int64_t i = 0; i < x->rank; i++)
        *(i < axis ? &s.outer : &s.width) *= x->dim[i];
    return s;
}

static inline epl_norm_sets epl_norm_group(const epl_ref_call *c) /* attributes: num_groups, epsilon */
{
    const epl_view *x = &c->in[0];
    epl_norm_sets   s = { x->dim[0], 1, c->attr[0].i, x->dim[x->rank - 1] / c->attr[0].i, 1, c->attr[1].r };
    for (int64_t i = 1; i < x->rank - 1; i++)
        s.rows *= x->dim[i];
    return s;
}

static inline epl_norm_sets epl_norm_batch(const epl_ref_call *c) /* attributes: epsilon, ... */
{
    const epl_view *x = &c->in[0];
    epl_norm_sets   s = { 1, 1, x->dim[x->rank - 1], 1, 1, c->attr[0].r };
    for (int64_t i = 0; i < x->rank - 1; i++)
        s.rows *= x->dim[i];
    return s;
}

static void epl_ref_layer_norm(const epl_ref_call *c) { epl_norm_all(c, epl_norm_layer(c, 1), 0); }
static void epl_ref_layer_norm_grad(const epl_ref_call *c) { epl_norm_all(c, epl_norm_layer(c, 1), 1); }
static void epl_ref_rms_norm(const epl_ref_call *c) { epl_norm_all(c, epl_norm_layer(c, 0), 0); }
static void epl_ref_rms_norm_grad(const epl_ref_call *c) { epl_norm_all(c, epl_norm_layer(c, 0), 1); }
static void epl_ref_group_norm(const epl_ref_call *c) { epl_norm_all(c, epl_norm_group(c), 0); }
static void epl_ref_group_norm_grad(const epl_ref_call *c) { epl_norm_all(c, epl_norm_group(c), 1); }

static void epl_ref_batch_norm(const epl_ref_call *c) /* x, scale, bias, mean, var */
{
    const epl_norm_sets s = epl_norm_batch(c);
    for (int64_t g = 0; g < s.groups; g++)
        epl_norm_apply(c, &s, 0, g, (epl_norm_moments){ epl_ref_get(&c->in[3], g), epl_ref_get(&c->in[4], g) }, 1, 2);
}

static void epl_ref_batch_norm_train(const epl_ref_call *c) /* x, scale, bias -> y, mean, var */
{
    const epl_norm_sets s = epl_norm_batch(c);
    for (int64_t g = 0; g < s.groups; g++) {
        const epl_norm_moments m = epl_norm_measure(&s, &c->in[0], 0, g);
        epl_norm_apply(c, &s, 0, g, m, 1, 2);
        epl_ref_set(&c->out[1], g, m.mean);
        epl_ref_set(&c->out[2], g, m.var);
    }
}

static void epl_ref_batch_norm_grad(const epl_ref_call *c) /* x, dy, scale, mean, var -> dx, dscale, dbias */
{
    const epl_norm_sets s = epl_norm_batch(c);
    epl_norm_clear(c);
    for (int64_t g = 0; g < s.groups; g++)
        epl_norm_back(c, &s, 0, g, (epl_norm_moments){ epl_ref_get(&c->in[3], g), epl_ref_get(&c->in[4], g) });
}

static void epl_ref_lrn(const epl_ref_call *c) /* attributes: size, alpha, beta, bias */
{
    const epl_view *x = &c->in[0];
    const int64_t   size = c->attr[0].i, channels = x->dim[x->rank - 1];
    for (int64_t i = 0; i < epl_view_count(x); i++) {
        const int64_t k = i % channels, from = k - (size - 1) / 2, to = k + size / 2;
        double        sum = 0;
        for (int64_t j = from < 0 ? 0 : from; j <= to && j < channels; j++)
            sum += epl_ref_get(x, i - k + j) * epl_ref_get(x, i - k + j);
        epl_ref_set(&c->out[0], i, epl_ref_get(x, i) * pow(c->attr[3].r + c->attr[1].r / (double)size * sum, -c->attr[2].r));
    }
}
/* end reference */

/* ---- the same in simpler operators ------------------------------------------------------------------------------- */
typedef struct form {
    int64_t         groups;   /* > 0: the last axis is cut into so many, the axes between first and last become one */
    epl_reduce_opts over;     /* what each set spans, after the cut */
    epl_reduce_opts channels; /* what the gradients of scale and bias are summed over */
    bool            center;
    double          epsilon;
} form;

static form layer_form(const epl_node *n, bool center)
{
    const int rank = n->inputs[0]->shape.rank, axis = (int)(n->attrs[0].i + (n->attrs[0].i < 0 ? rank : 0));
    form      f = { .over.keep = true, .center = center, .epsilon = n->attrs[1].r };
    for (int i = 0; i < rank; i++) {
        epl_reduce_opts *o = i < axis ? &f.channels : &f.over;
        o->axes[o->n_axes++] = i;
    }
    return f;
}

static epl_reduce_opts all_but_last(int rank)
{
    epl_reduce_opts o = { 0 };
    for (int i = 0; i < rank - 1; i++)
        o.axes[o.n_axes++] = i;
    return o;
}

static form group_form(const epl_node *n)
{
    return (form){ .groups = n->attrs[0].i, .over = { EPL_AXES(1, 3), .keep = true }, .center = true, .epsilon = n->attrs[1].r,
                   .channels = all_but_last(n->inputs[0]->shape.rank) };
}

static form batch_form(const epl_node *n)
{
    form f = { .center = true, .epsilon = n->attrs[0].r, .channels = all_but_last(n->inputs[0]->shape.rank) };
    f.over = f.channels;
    f.over.keep = true;
    return f;
}

static epl_value *cut(epl_graph *g, epl_value *x, const form *f)
{
    return f->groups ? epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1, f->groups, epl_channels(x) / f->groups)) : x;
}

/* A sum over no axes at all would be a sum over all of them. */
static epl_value *sum_channels(epl_graph *g, epl_value *x, const form *f)
{
    return f->channels.n_axes ? epl_reduce_sum(g, x, f->channels) : x;
}

static epl_value *rstd_of(epl_graph *g, epl_value *var, double epsilon) { return epl_rsqrt(g, epl_affine(g, var, 1, epsilon)); }

/* xhat in x's shape and, for the gradient, 1 / sqrt(var + epsilon) in the cut shape. */
static epl_value *standardise(epl_graph *g, epl_value *x, const form *f, epl_value **rstd, epl_value **mean, epl_value **var)
{
    epl_value *d = cut(g, x, f);
    if (f->center) {
        *mean = epl_reduce_mean(g, d, f->over);
        d     = epl_sub(g, d, *mean);
    }
    *var  = epl_reduce_mean(g, epl_square(g, d), f->over);
    *rstd = rstd_of(g, *var, f->epsilon);
    d     = epl_mul(g, d, *rstd);
    return f->groups ? epl_reshape_like(g, d, x) : d;
}

static bool expand_forward(epl_graph *g, const epl_node *n, form f, epl_value **out)
{
    epl_value *rstd, *mean = NULL, *var, *scale = epl_node_input(n, 1), *bias = epl_node_input(n, 2);
    epl_value *y = standardise(g, n->inputs[0], &f, &rstd, &mean, &var);
    y      = scale ? epl_mul(g, y, scale) : y;
    out[0] = bias ? epl_add(g, y, bias) : y;
    if (n->n_outputs == 3) { // BatchNormTrain
        out[1] = epl_reshape(g, mean, EPL_SHAPE(-1));
        out[2] = epl_reshape(g, var, EPL_SHAPE(-1));
    }
    return out[0] != NULL;
}

/* dx, dscale, dbias, given xhat and rstd. */
static bool expand_backward(epl_graph *g, const epl_node *n, const form *f, epl_value *xhat, epl_value *rstd, epl_value **out)
{
    epl_value *x = n->inputs[0], *dy = n->inputs[1], *scale = epl_node_input(n, 2);
    epl_value *d = cut(g, scale ? epl_mul(g, dy, scale) : dy, f), *h = cut(g, xhat, f);
    epl_value *dx = epl_sub(g, d, epl_mul(g, h, epl_reduce_mean(g, epl_mul(g, d, h), f->over)));
    if (f->center)
        dx = epl_sub(g, dx, epl_reduce_mean(g, d, f->over));
    dx     = epl_mul(g, rstd, dx);
    out[0] = f->groups ? epl_reshape_like(g, dx, x) : dx;
    out[1] = sum_channels(g, epl_mul(g, dy, xhat), f);
    if (n->n_outputs > 2)
        out[2] = sum_channels(g, dy, f);
    return out[0] != NULL;
}

static bool expand_measured(epl_graph *g, const epl_node *n, form f, epl_value **out)
{
    epl_value *rstd, *mean, *var, *xhat = standardise(g, n->inputs[0], &f, &rstd, &mean, &var);
    return expand_backward(g, n, &f, xhat, rstd, out);
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */
static bool layer_shape(const epl_node *n, epl_shape *params)
{
    const epl_shape x = n->inputs[0]->shape;
    int axis;
    if (!epl_check_axis(n, n->attrs[0].i, x.rank, &axis))
        return false;
    *params = (epl_shape){ .rank = x.rank - axis };
    memcpy(params->dim, x.dim + axis, (size_t)params->rank * sizeof x.dim[0]);
    return true;
}

static bool channel_shape(const epl_node *n, int least_rank, epl_shape *params)
{
    const epl_shape x = n->inputs[0]->shape;
    char text[192];
    if (x.rank < least_rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "the input %s needs at least %d axes, channels last", epl_shape_text(text, x), least_rank);
    *params = EPL_SHAPE(x.dim[x.rank - 1]);
    return true;
}

static bool group_shape(const epl_node *n, epl_shape *params)
{
    const int64_t groups = n->attrs[0].i;
    if (!channel_shape(n, 2, params))
        return false;
    return (groups > 0 && params->dim[0] % groups == 0) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "%lld groups do not divide %lld channels", (long long)groups, (long long)params->dim[0]);
}

/* Inputs from `first` on are parameters of that shape; output 0 is like x. */
static bool params_fit(epl_node *n, int first, epl_shape params)
{
    static const char *const names[] = { "the second", "the third", "the fourth", "the fifth" };
    if (!epl_check_floats(n, n->n_inputs))
        return false;
    for (int i = first; i < n->n_inputs; i++)
        if (!epl_check_shape(n, i, names[i - 1], params))
            return false;
    return epl_infer_same(n);
}

/* x, dy, parameters -> dx, dscale, dbias. */
static bool grads_fit(epl_node *n, epl_shape params)
{
    if (!epl_check_shape(n, 1, "the output's gradient", n->inputs[0]->shape) || !params_fit(n, 2, params))
        return false;
    for (int i = 1; i < n->n_outputs; i++)
        if (!epl_set_type(n, i, n->inputs[0]->dtype, params))
            return false;
    return true;
}

static bool layer_infer(epl_node *n)
{
    epl_shape params;
    return layer_shape(n, &params) && params_fit(n, 1, params);
}

static bool layer_grad_infer(epl_node *n)
{
    epl_shape params;
    return layer_shape(n, &params) && grads_fit(n, params);
}

static bool group_infer(epl_node *n)
{
    epl_shape params;
    return group_shape(n, &params) && params_fit(n, 1, params);
}

static bool group_grad_infer(epl_node *n)
{
    epl_shape params;
    return group_shape(n, &params) && grads_fit(n, params);
}

static bool batch_infer(epl_node *n)
{
    epl_shape params;
    return channel_shape(n, 2, &params) && params_fit(n, 1, params);
}

static bool batch_train_infer(epl_node *n)
{
    epl_shape params;
    return channel_shape(n, 2, &params) && params_fit(n, 1, params) && epl_set_type(n, 1, n->inputs[0]->dtype, params) &&
           epl_set_type(n, 2, n->inputs[0]->dtype, params);
}

static bool batch_grad_infer(epl_node *n)
{
    epl_shape params;
    return channel_shape(n, 2, &params) && grads_fit(n, params);
}

static epl_cost norm_cost(const epl_node *n)
{
    return (epl_cost){ .flops = 8 * (double)epl_shape_count(n->inputs[0]->shape) };
}

/* ---- gradients --------------------------------------------------------------------------------------------------- */

/* The fused gradient of n with inputs x, dy, scale and its first attributes; results go to x and the present parameters. */
static void fused_grad(epl_graph *g, const epl_op *op, const epl_node *n, epl_value *dy, epl_value **dx)
{
    epl_attr  a[EPL_MAX_ATTRS];
    epl_node *back = epl_node_add(g, op, EPL_IN(n->inputs[0], dy, epl_node_input(n, 1)), epl_attrs_of(n, 2, a), 0, NULL);
    if (!back)
        return;
    for (int i = 0; i < back->n_outputs; i++)
        if (epl_node_input(n, i))
            dx[i] = back->outputs[i];
}

static void layer_norm_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    fused_grad(g, &epl_op_layer_norm_grad, n, dy[0], dx);
}

static void rms_norm_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    fused_grad(g, &epl_op_rms_norm_grad, n, dy[0], dx);
}

static void group_norm_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    fused_grad(g, &epl_op_group_norm_grad, n, dy[0], dx);
}

/* Gradients that arrive at the mean and the variance (when somebody differentiates the statistics): d mean / dx = 1 / n,
 * d var / dx = 2 (x - mean) / n. */
static epl_value *statistics_grad(epl_graph *g, const epl_node *n, epl_value *dmean, epl_value *dvar)
{
    epl_value *x = n->inputs[0], *sum = dmean;
    const epl_reduce_opts rows = all_but_last(x->shape.rank);
    if (dvar) {
        epl_value *d = epl_mul(g, epl_affine(g, dvar, 2, 0), epl_sub(g, x, n->outputs[1]));
        sum = dmean ? epl_add(g, d, dmean) : d;
    }
    epl_value *count = epl_cast(g, epl_size(g, x, rows.n_axes, rows.axes), x->dtype);
    return epl_expand_like(g, epl_div(g, sum, count), x);
}

static void batch_norm_train_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    if (dy[0]) {
        epl_attr  a[EPL_MAX_ATTRS];
        epl_node *back = epl_node_add(g, &epl_op_batch_norm_grad,
                                      EPL_IN(n->inputs[0], dy[0], n->inputs[1], n->outputs[1], n->outputs[2]),
                                      epl_attrs_of(n, 1, a), 0, NULL);
        for (int i = 0; back && i < 3; i++)
            dx[i] = back->outputs[i];
    }
    if (dy[1] || dy[2]) {
        epl_value *more = statistics_grad(g, n, dy[1], dy[2]);
        dx[0] = dx[0] ? epl_add(g, dx[0], more) : more;
    }
}

/* ---- expansions -------------------------------------------------------------------------------------------------- */
static bool layer_norm_expand(epl_graph *g, const epl_node *n, epl_value **out) { return expand_forward(g, n, layer_form(n, true), out); }
static bool rms_norm_expand(epl_graph *g, const epl_node *n, epl_value **out) { return expand_forward(g, n, layer_form(n, false), out); }
static bool group_norm_expand(epl_graph *g, const epl_node *n, epl_value **out) { return expand_forward(g, n, group_form(n), out); }
static bool batch_norm_train_expand(epl_graph *g, const epl_node *n, epl_value **out) { return expand_forward(g, n, batch_form(n), out); }
static bool layer_norm_grad_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    return expand_measured(g, n, layer_form(n, true), out);
}
static bool rms_norm_grad_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    return expand_measured(g, n, layer_form(n, false), out);
}
static bool group_norm_grad_expand(epl_graph *g, const epl_node *n, epl_value **out) { return expand_measured(g, n, group_form(n), out); }

static bool batch_norm_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value *const *in = n->inputs;
    epl_value *factor = epl_mul(g, in[1], rstd_of(g, in[4], n->attrs[0].r));
    out[0] = epl_add(g, epl_mul(g, epl_sub(g, in[0], in[3]), factor), in[2]);
    return out[0] != NULL;
}

static bool batch_norm_grad_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    const form f = batch_form(n);
    epl_value *rstd = rstd_of(g, n->inputs[4], f.epsilon);
    return expand_backward(g, n, &f, epl_mul(g, epl_sub(g, n->inputs[0], n->inputs[3]), rstd), rstd, out);
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */
enum { LAYER, GROUP, BATCH };

/* A node of op: x; dy if `backward`; n_params parameters, the last of which may be left out if `optional`. */
static epl_node *sample_norm(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op, int family, bool backward)
{
    const int n_params = op->n_inputs - (backward ? 2 : 1);
    const int given = op->min_inputs ? epl_pick(r, op->min_inputs - (backward ? 2 : 1), n_params) : n_params;
    epl_shape shape = epl_pick_shape(r, epl_pick(r, family == LAYER ? 1 : 2, 4), 1, 4), params;
    const int axis = epl_pick(r, -shape.rank, shape.rank - 1), groups = epl_pick(r, 1, 3);
    shape.dim[0] += family == BATCH; // a set of one element has no variance to speak of
    shape.dim[shape.rank - 1] += 1;
    shape.dim[shape.rank - 1] *= family == GROUP ? groups : 1;
    const int from = family != LAYER ? shape.rank - 1 : axis < 0 ? axis + shape.rank : axis;
    params = (epl_shape){ .rank = shape.rank - from };
    memcpy(params.dim, shape.dim + from, (size_t)params.rank * sizeof params.dim[0]);
    epl_value *in[8] = { epl_sample_input(g, dtype, shape, -2, 2, 0) };
    int        n_in = 1;
    if (backward)
        in[n_in++] = epl_sample_input(g, dtype, shape, -1, 1, 0);
    for (int i = 0; i < given; i++)
        in[n_in++] = epl_sample_input(g, dtype, params, 0.5, 1.5, 0);
    const epl_attr attrs[EPL_MAX_ATTRS] = { family == LAYER ? EPL_A_I(axis) : family == GROUP ? EPL_A_I(groups) : EPL_A_R(0.05),
                                            EPL_A_R(0.05) };
    return epl_node_add(g, op, n_in, in, attrs, 0, NULL);
}

#define SAMPLE(name, family, backward)                                                                                 \
    static epl_node *name##_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)                                          \
    {                                                                                                                  \
        return sample_norm(g, r, dtype, &epl_op_##name, family, backward);                                             \
    }
SAMPLE(layer_norm, LAYER, false)
SAMPLE(layer_norm_grad, LAYER, true)
SAMPLE(rms_norm, LAYER, false)
SAMPLE(rms_norm_grad, LAYER, true)
SAMPLE(group_norm, GROUP, false)
SAMPLE(group_norm_grad, GROUP, true)
SAMPLE(batch_norm, BATCH, false)
SAMPLE(batch_norm_train, BATCH, false)
SAMPLE(batch_norm_grad, BATCH, true)

/* ---- the entries ------------------------------------------------------------------------------------------------- */
#define AXIS_ATTRS { { "axis", EPL_ATTR_INT, .def_i = -1 }, { "epsilon", EPL_ATTR_REAL, .def_r = 1e-5 } }
#define GROUP_ATTRS { { "num_groups", EPL_ATTR_INT, .required = true }, { "epsilon", EPL_ATTR_REAL, .def_r = 1e-5 } }

/* BatchNorm(x, scale, bias, mean, var): what a model holds. For training a pass puts BatchNormTrain in its place and updates
 * mean and var: new = momentum * old + (1 - momentum) * batch's. */
const epl_op epl_op_batch_norm = {
    .name = "BatchNorm", .n_inputs = 5, .n_outputs = 1, .flags = EPL_OP_MODAL,
    .attrs = { { "epsilon", EPL_ATTR_REAL, .def_r = 1e-5 }, { "momentum", EPL_ATTR_REAL, .def_r = 0.9 } },
    .infer = batch_infer, .expand = batch_norm_expand, .cost = norm_cost, EPL_REF(epl_ref_batch_norm), .sample = batch_norm_sample,
};

/* BatchNormTrain(x, scale, bias) -> y, the batch's mean [C], its variance [C] (divided by n, not n - 1). */
const epl_op epl_op_batch_norm_train = {
    .name = "BatchNormTrain", .n_inputs = 3, .n_outputs = 3,
    .attrs = { { "epsilon", EPL_ATTR_REAL, .def_r = 1e-5 } },
    .infer = batch_train_infer, .grad = batch_norm_train_grad, .expand = batch_norm_train_expand, .cost = norm_cost,
    EPL_REF(epl_ref_batch_norm_train), .sample = batch_norm_train_sample,
};

/* BatchNormGrad(x, dy, scale, mean, var) -> dx, dscale, dbias */
const epl_op epl_op_batch_norm_grad = {
    .name = "BatchNormGrad", .n_inputs = 5, .n_outputs = 3,
    .attrs = { { "epsilon", EPL_ATTR_REAL, .def_r = 1e-5 } },
    .infer = batch_grad_infer, .expand = batch_norm_grad_expand, .cost = norm_cost, EPL_REF(epl_ref_batch_norm_grad),
    .sample = batch_norm_grad_sample,
};

/* LayerNorm(x, scale, bias): over the axes from `axis` on, whose shape scale and bias have. */
const epl_op epl_op_layer_norm = {
    .name = "LayerNorm", .n_inputs = 3, .min_inputs = 1, .n_outputs = 1, .attrs = AXIS_ATTRS,
    .infer = layer_infer, .grad = layer_norm_grad, .expand = layer_norm_expand, .cost = norm_cost, EPL_REF(epl_ref_layer_norm),
    .sample = layer_norm_sample,
};

/* LayerNormGrad(x, dy, scale) -> dx, dscale, dbias */
const epl_op epl_op_layer_norm_grad = {
    .name = "LayerNormGrad", .n_inputs = 3, .min_inputs = 2, .n_outputs = 3, .attrs = AXIS_ATTRS,
    .infer = layer_grad_infer, .expand = layer_norm_grad_expand, .cost = norm_cost, EPL_REF(epl_ref_layer_norm_grad),
    .sample = layer_norm_grad_sample,
};

/* RMSNorm(x, scale): y = x / sqrt(mean(x^2) + epsilon) * scale, Zhang and Sennrich 2019 (arXiv:1910.07467). */
const epl_op epl_op_rms_norm = {
    .name = "RMSNorm", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .attrs = AXIS_ATTRS,
    .infer = layer_infer, .grad = rms_norm_grad, .expand = rms_norm_expand, .cost = norm_cost, EPL_REF(epl_ref_rms_norm),
    .sample = rms_norm_sample,
};

/* RMSNormGrad(x, dy, scale) -> dx, dscale */
const epl_op epl_op_rms_norm_grad = {
    .name = "RMSNormGrad", .n_inputs = 3, .min_inputs = 2, .n_outputs = 2, .attrs = AXIS_ATTRS,
    .infer = layer_grad_infer, .expand = rms_norm_grad_expand, .cost = norm_cost, EPL_REF(epl_ref_rms_norm_grad),
    .sample = rms_norm_grad_sample,
};

/* GroupNorm(x [N, S..., C], scale [C], bias [C]): over space and the channels of a group, Wu and He 2018 (arXiv:1803.08494). */
const epl_op epl_op_group_norm = {
    .name = "GroupNorm", .n_inputs = 3, .min_inputs = 1, .n_outputs = 1, .attrs = GROUP_ATTRS,
    .infer = group_infer, .grad = group_norm_grad, .expand = group_norm_expand, .cost = norm_cost, EPL_REF(epl_ref_group_norm),
    .sample = group_norm_sample,
};

/* GroupNormGrad(x, dy, scale) -> dx, dscale, dbias */
const epl_op epl_op_group_norm_grad = {
    .name = "GroupNormGrad", .n_inputs = 3, .min_inputs = 2, .n_outputs = 3, .attrs = GROUP_ATTRS,
    .infer = group_grad_infer, .expand = group_norm_grad_expand, .cost = norm_cost, EPL_REF(epl_ref_group_norm_grad),
    .sample = group_norm_grad_sample,
};

/* ---- LRN: y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta, Krizhevsky et al. 201 */
static bool lrn_infer(epl_node *n)
{
    epl_shape channels;
    return epl_check_floats(n, 1) && channel_shape(n, 1, &channels) &&
           (n->attrs[0].i > 0 || epl_node_fail(n, EPL_ERR_ARGUMENT, "size is %lld, but must be positive", (long long)n->attrs[0].i)) &&
           epl_infer_same(n);
}

/* The channels as the one spatial axis of a pool that sums. */
static bool lrn_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value    *x = n->inputs[0];
    const int64_t size = n->attrs[0].i;
    const int     before = (int)(size - 1) / 2, after = (int)size / 2;
    epl_value *line = epl_reshape(g, epl_square(g, x), EPL_SHAPE(-1, epl_channels(x), 1));
    epl_value *sum = epl_average_pool(g, line, (epl_pool_opts){ .kernel = { (int)size }, .stride = { 1 }, .pad_begin = { before },
                                                                .pad_end = { after }, .sum = true });
    epl_value *base = epl_affine(g, epl_reshape_like(g, sum, x), n->attrs[1].r / (double)size, n->attrs[3].r);
    out[0] = epl_mul(g, x, epl_pow_scalar(g, base, -n->attrs[2].r));
    return out[0] != NULL;
}

static epl_node *lrn_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_value *x = epl_sample_input(g, dtype, epl_pick_shape(r, epl_pick(r, 1, 4), 1, 5), -1, 1, 0);
    return epl_node_add(g, &epl_op_lrn, EPL_IN(x), (epl_attr[EPL_MAX_ATTRS]){ EPL_A_I(epl_pick(r, 1, 5)), EPL_A_R(0.5) }, 0, NULL);
}

const epl_op epl_op_lrn = {
    .name = "LRN", .n_inputs = 1, .n_outputs = 1,
    .attrs = { { "size", EPL_ATTR_INT, .required = true }, { "alpha", EPL_ATTR_REAL, .def_r = 1e-4 },
               { "beta", EPL_ATTR_REAL, .def_r = 0.75 }, { "bias", EPL_ATTR_REAL, .def_r = 1 } },
    .infer = lrn_infer, .expand = lrn_expand, .cost = norm_cost, EPL_REF(epl_ref_lrn), .sample = lrn_sample,
};

/* ---- builders ---------------------------------------------------------------------------------------------------- */
static double epsilon_or(double epsilon) { return epsilon ? epsilon : 1e-5; }

epl_value *epl_normalize_batch(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, epl_value *mean, epl_value *var,
                               double epsilon, double momentum)
{
    return epl_apply(g, &epl_op_batch_norm, EPL_IN(x, scale, bias, mean, var),
                     (epl_attr[]){ EPL_A_R(epsilon_or(epsilon)), EPL_A_R(momentum) });
}

epl_value *epl_normalize_batch_train(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, double epsilon,
                                     epl_value **mean, epl_value **var)
{
    epl_node *n = epl_node_add(g, &epl_op_batch_norm_train, EPL_IN(x, scale, bias), (epl_attr[]){ EPL_A_R(epsilon_or(epsilon)) }, 0, NULL);
    *mean = n ? n->outputs[1] : NULL;
    *var  = n ? n->outputs[2] : NULL;
    return n ? n->outputs[0] : NULL;
}

epl_value *epl_normalize_layer(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, int axis, double epsilon)
{
    return epl_apply(g, &epl_op_layer_norm, EPL_IN(x, scale, bias), (epl_attr[]){ EPL_A_I(axis), EPL_A_R(epsilon_or(epsilon)) });
}

epl_value *epl_normalize_rms(epl_graph *g, epl_value *x, epl_value *scale, int axis, double epsilon)
{
    return epl_apply(g, &epl_op_rms_norm, EPL_IN(x, scale), (epl_attr[]){ EPL_A_I(axis), EPL_A_R(epsilon_or(epsilon)) });
}

epl_value *epl_normalize_group(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, int64_t groups, double epsilon)
{
    return epl_apply(g, &epl_op_group_norm, EPL_IN(x, scale, bias), (epl_attr[]){ EPL_A_I(groups), EPL_A_R(epsilon_or(epsilon)) });
}

epl_value *epl_normalize_instance(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, double epsilon)
{
    return x ? epl_normalize_group(g, x, scale, bias, epl_channels(x), epsilon) : NULL;
}

epl_value *epl_normalize_local(epl_graph *g, epl_value *x, int64_t size, double alpha, double beta, double bias)
{
    return epl_apply(g, &epl_op_lrn, EPL_IN(x), (epl_attr[]){ EPL_A_I(size), EPL_A_R(alpha), EPL_A_R(beta), EPL_A_R(bias) });
}

epl_value *epl_normalize_lp(epl_graph *g, epl_value *x, int axis, int p)
{
    const epl_reduce_opts along = { EPL_AXES(axis), .keep = true };
    if (p != 1 && p != 2)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "normalize_lp: p is %d, but must be 1 or 2", p);
    epl_value *norm = p == 1 ? epl_reduce_l1(g, x, along) : epl_reduce_l2(g, x, along);
    return epl_div(g, x, epl_clip(g, norm, 1e-12, INFINITY));
}
