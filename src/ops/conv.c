/* conv: cross-correlation over one to three spatial axes, channels last, and what belongs to it: the gradients by the input
 * and by the weight, and the transposed convolution, which IS the input gradient plus a bias.
 *
 *   x [N, S..., C]   w [K..., C/groups, M]   y [N, S'..., M]
 *
 * Conv, ConvInputGrad and ConvWeightGrad are one trilinear form in x, w and y, each computing one of the three from the other
 * two; so each one's gradients are the other two, to any order. Depthwise is groups = C. */
#include "ops/dense.h"
#include "ops/window.h"

enum { STRIDES, PADS, DILATIONS, GROUPS, EXTRA, N_COMMON = EXTRA };

/* begin reference */
static inline double epl_conv_dot_channels(const epl_view *x, int64_t at, const epl_view *w, int64_t wt, int64_t w_step, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++)
        sum += epl_ref_get(x, at + c) * epl_ref_get(w, wt + c * w_step);
    return sum;
}

static void epl_ref_conv(const epl_ref_call *c)
{
    const epl_view      *x = &c->in[0], *w = &c->in[1], *y = &c->out[0];
    const epl_ref_window win = epl_ref_window_of(x, y, w->dim, &c->attr[0], &c->attr[1], &c->attr[2]);
    const int64_t        in = epl_ref_volume(win.in), out = epl_ref_volume(win.out), taps = epl_ref_volume(win.kernel);
    const int64_t        channels = x->dim[x->rank - 1], m_all = y->dim[y->rank - 1], groups = c->attr[3].i;
    const int64_t        cg = channels / groups, mg = m_all / groups;
    const int            bias = c->n_in > 2 && c->in[2].data;
    for (int64_t row = 0; row < x->dim[0] * out; row++)
        for (int64_t m = 0; m < m_all; m++) {
            double sum = bias ? epl_ref_get(&c->in[2], m) : 0;
            for (int64_t k = 0; k < taps; k++) {
                const int64_t tap = epl_ref_window_tap(&win, row % out, k, 0);
                if (tap >= 0)
                    sum += epl_conv_dot_channels(x, (row / out * in + tap) * channels + m / mg * cg, w, k * cg * m_all + m, m_all, cg);
            }
            epl_ref_set(y, row * m_all + m, sum);
        }
}

/* dx from dy and w; with a third input that has elements: a bias (ConvTranspose). */
static void epl_conv_input_grad(const epl_view *dy, const epl_view *w, const epl_view *bias, const epl_view *dx,
                                const epl_ref_attr *attr)
{
    const epl_ref_window win = epl_ref_window_of(dx, dy, w->dim, &attr[0], &attr[1], &attr[2]);
    const int64_t in = epl_ref_volume(win.in), out = epl_ref_volume(win.out), taps = epl_ref_volume(win.kernel);
    const int64_t channels = dx->dim[dx->rank - 1], m_all = dy->dim[dy->rank - 1], groups = attr[3].i;
    const int64_t cg = channels / groups, mg = m_all / groups;
    for (int64_t row = 0; row < dx->dim[0] * in; row++)
        for (int64_t c = 0; c < channels; c++) {
            double sum = bias && bias->data ? epl_ref_get(bias, c) : 0;
            for (int64_t k = 0; k < taps; k++) {
                const int64_t o = epl_ref_window_untap(&win, row % in, k), m = c / cg * mg;
                if (o >= 0)
                    sum += epl_conv_dot_channels(dy, (row / in * out + o) * m_all + m, w, (k * cg + c % cg) * m_all + m, 1, mg);
            }
            epl_ref_set(dx, row * channels + c, sum);
        }
}

static void epl_ref_conv_input_grad(const epl_ref_call *c)
{
    epl_conv_input_grad(&c->in[0], &c->in[1], NULL, &c->out[0], c->attr);
}

static void epl_ref_conv_transpose(const epl_ref_call *c)
{
    epl_conv_input_grad(&c->in[0], &c->in[1], c->n_in > 2 ? &c->in[2] : NULL, &c->out[0], c->attr);
}

static void epl_ref_conv_weight_grad(const epl_ref_call *call)
{
    const epl_view      *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    const epl_ref_window win = epl_ref_window_of(x, dy, dw->dim, &call->attr[0], &call->attr[1], &call->attr[2]);
    const int64_t in = epl_ref_volume(win.in), out = epl_ref_volume(win.out), taps = epl_ref_volume(win.kernel);
    const int64_t channels = x->dim[x->rank - 1], m_all = dy->dim[dy->rank - 1], groups = call->attr[3].i;
    const int64_t cg = channels / groups, mg = m_all / groups;
    for (int64_t at = 0; at < taps * cg * m_all; at++) {
        const int64_t m = at % m_all, c = at / m_all % cg, k = at / m_all / cg;
        double        sum = 0;
        for (int64_t row = 0; row < x->dim[0] * out; row++) {
            const int64_t tap = epl_ref_window_tap(&win, row % out, k, 0);
            if (tap >= 0)
                sum += epl_ref_get(x, (row / out * in + tap) * channels + m / mg * cg + c) * epl_ref_get(dy, row * m_all + m);
        }
        epl_ref_set(dw, at, sum);
    }
}
/* end reference */

/* ---- what all four check ----------------------------------------------------------------------------------------- */
static bool groups_fit(const epl_node *n, int64_t channels, int64_t m)
{
    const int64_t groups = n->attrs[GROUPS].i;
    if (groups < 1 || channels % groups || m % groups)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%lld groups do not divide %lld input and %lld output channels",
                             (long long)groups, (long long)channels, (long long)m);
    return true;
}

static bool weight_fits(const epl_node *n, epl_shape x, epl_shape w)
{
    char sx[192], sw[192];
    return (x.rank == w.rank && x.rank >= 3) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "input %s and weight %s; [N, spatial..., C] and [kernel..., C/groups, M] are needed",
                         epl_shape_text(sx, x), epl_shape_text(sw, w));
}

/* The shape of y, given x and the weight's; fails the node if they do not fit. */
static bool conv_shape(const epl_node *n, epl_shape x, epl_shape w, epl_shape *y)
{
    epl_ref_window win;
    if (!weight_fits(n, x, w))
        return false;
    const int64_t channels = x.dim[x.rank - 1], m = w.dim[w.rank - 1], cg = w.dim[w.rank - 2];
    if (!groups_fit(n, channels, m))
        return false;
    if (channels != cg * n->attrs[GROUPS].i)
        return epl_node_fail(n, EPL_ERR_SHAPE, "input has %lld channels, weight expects %lld", (long long)channels,
                             (long long)(cg * n->attrs[GROUPS].i));
    if (!epl_window_infer(n, x, w.dim, &n->attrs[STRIDES], &n->attrs[PADS], &n->attrs[DILATIONS], false, &win))
        return false;
    *y = epl_window_shape(x, &win, m);
    return true;
}

static double conv_macs(epl_shape w, epl_shape y)
{
    return (double)epl_shape_count(y) * (double)epl_shape_count_from(w, 0, w.rank - 1);
}

/* ---- Conv -------------------------------------------------------------------------------------------------------- */
static bool conv_infer(epl_node *n)
{
    const epl_value *x = n->inputs[0], *w = n->inputs[1];
    epl_shape y;
    return epl_check_floats(n, 3) && conv_shape(n, x->shape, w->shape, &y) &&
           epl_check_shape(n, 2, "bias", EPL_SHAPE(y.dim[y.rank - 1])) && epl_set_type(n, 0, x->dtype, y);
}

/* The gradients by x and w of y = conv(x, w), where n has the attributes. */
static epl_value *input_grad(epl_graph *g, const epl_node *n, epl_value *dy, epl_value *w, epl_value *x)
{
    epl_attr a[EPL_MAX_ATTRS];
    return epl_apply(g, &epl_op_conv_input_grad, EPL_IN(dy, w, x), epl_attrs_of(n, N_COMMON, a));
}

static epl_value *weight_grad(epl_graph *g, const epl_node *n, epl_value *x, epl_value *dy, epl_value *w)
{
    epl_attr a[EPL_MAX_ATTRS];
    epl_attrs_of(n, N_COMMON, a);
    a[EXTRA] = EPL_A_INTS(w->shape.rank - 2, w->shape.dim);
    return epl_apply(g, &epl_op_conv_weight_grad, EPL_IN(x, dy), a);
}

static epl_value *forward(epl_graph *g, const epl_node *n, epl_value *x, epl_value *w)
{
    epl_attr a[EPL_MAX_ATTRS];
    return epl_apply(g, &epl_op_conv, EPL_IN(x, w), epl_attrs_of(n, N_COMMON, a));
}

static void conv_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = input_grad(g, n, dy[0], n->inputs[1], n->inputs[0]);
    dx[1] = weight_grad(g, n, n->inputs[0], dy[0], n->inputs[1]);
    if (epl_node_input(n, 2))
        dx[2] = epl_sum_rows(g, dy[0]);
}

static epl_cost conv_cost(const epl_node *n)
{
    return (epl_cost){ .macs = conv_macs(n->inputs[1]->shape, n->outputs[0]->shape) };
}

/* A legal geometry: x, w, y and the attributes. */
typedef struct conv_case {
    epl_shape x, w, y;
    int64_t   strides[3], pads[6], dilations[3];
    epl_attr  attrs[EPL_MAX_ATTRS];
} conv_case;

static void draw_case(epl_rng *r, conv_case *c)
{
    const int spatial = epl_pick(r, 1, 3), most = spatial == 3 ? 2 : 3;
    const int groups = epl_pick(r, 1, 3), cg = epl_pick(r, 1, 3), mg = epl_pick(r, 1, 3);
    c->x = c->w = c->y = (epl_shape){ .rank = spatial + 2 };
    c->x.dim[0] = c->y.dim[0] = epl_pick(r, 1, 2);
    for (int i = 0; i < spatial; i++) {
        c->w.dim[i]            = epl_pick(r, 1, most);
        c->strides[i]          = epl_pick(r, 1, 3);
        c->dilations[i]        = epl_pick(r, 1, 2);
        c->pads[i]             = epl_pick(r, 0, 2);
        c->pads[spatial + i]   = epl_pick(r, 0, 2);
        const int64_t span     = c->dilations[i] * (c->w.dim[i] - 1) + 1, pad = c->pads[i] + c->pads[spatial + i];
        c->x.dim[i + 1]        = (span > pad ? span - pad : 1) + epl_pick(r, 0, most);
        c->y.dim[i + 1]        = (c->x.dim[i + 1] + pad - span) / c->strides[i] + 1;
    }
    c->x.dim[spatial + 1] = groups * cg;
    c->w.dim[spatial]     = cg;
    c->w.dim[spatial + 1] = c->y.dim[spatial + 1] = groups * mg;
    memset(c->attrs, 0, sizeof c->attrs);
    c->attrs[STRIDES]   = EPL_A_INTS(spatial, c->strides);
    c->attrs[PADS]      = EPL_A_INTS(2 * spatial, c->pads);
    c->attrs[DILATIONS] = EPL_A_INTS(spatial, c->dilations);
    c->attrs[GROUPS]    = EPL_A_I(groups);
}

static epl_node *conv_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    conv_case c;
    draw_case(r, &c);
    epl_value *x = epl_sample_input(g, dtype, c.x, -1, 1, 0), *w = epl_sample_input(g, dtype, c.w, -1, 1, 0);
    epl_value *b = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(c.y.dim[c.y.rank - 1]), -1, 1, 0) : NULL;
    return epl_node_add(g, &epl_op_conv, EPL_IN(x, w, b), c.attrs, 0, NULL);
}

#define COMMON_ATTRS                                                                                                   \
    { "strides", EPL_ATTR_INTS }, { "pads", EPL_ATTR_INTS }, { "dilations", EPL_ATTR_INTS },                           \
    { "group", EPL_ATTR_INT, .def_i = 1 }

const epl_op epl_op_conv = {
    .name = "Conv", .n_inputs = 3, .min_inputs = 2, .n_outputs = 1,
    .attrs = { COMMON_ATTRS },
    .infer = conv_infer, .grad = conv_grad, .cost = conv_cost, EPL_REF(epl_ref_conv), .sample = conv_sample,
};

/* ---- ConvInputGrad(dy, w, like): x's shape is like's, or the attribute's ----------------------------------------- */
static bool conv_input_grad_infer(epl_node *n)
{
    const epl_value *dy = n->inputs[0], *w = n->inputs[1];
    epl_shape x, y;
    if (!epl_check_floats(n, 2) || !epl_wanted_shape(n, 2, EXTRA, dy->shape, &x) || !conv_shape(n, x, w->shape, &y))
        return false;
    return epl_check_shape(n, 0, "the output's gradient", y) && epl_set_type(n, 0, dy->dtype, x);
}

static void conv_input_grad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = forward(g, n, dy[0], n->inputs[1]);
    dx[1] = weight_grad(g, n, dy[0], n->inputs[0], n->inputs[1]);
}

static epl_cost conv_input_grad_cost(const epl_node *n)
{
    return (epl_cost){ .macs = conv_macs(n->inputs[1]->shape, n->inputs[0]->shape) };
}

static epl_node *conv_input_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    conv_case c;
    draw_case(r, &c);
    c.attrs[EXTRA] = EPL_A_INTS(c.x.rank, c.x.dim);
    epl_value *dy = epl_sample_input(g, dtype, c.y, -1, 1, 0), *w = epl_sample_input(g, dtype, c.w, -1, 1, 0);
    return epl_node_add(g, &epl_op_conv_input_grad, EPL_IN(dy, w), c.attrs, 0, NULL);
}

const epl_op epl_op_conv_input_grad = {
    .name = "ConvInputGrad", .n_inputs = 3, .min_inputs = 2, .n_outputs = 1, .shape_only = 4,
    .attrs = { COMMON_ATTRS, { "shape", EPL_ATTR_INTS } },
    .infer = conv_input_grad_infer, .grad = conv_input_grad_grad, .cost = conv_input_grad_cost,
    EPL_REF(epl_ref_conv_input_grad), .sample = conv_input_grad_sample,
};

/* ---- ConvWeightGrad(x, dy) --------------------------------------------------------------------------------------- */
static bool conv_weight_grad_infer(epl_node *n)
{
    const epl_value *x = n->inputs[0], *dy = n->inputs[1];
    const epl_attr  *kernel = &n->attrs[EXTRA];
    const int        spatial = x->shape.rank - 2;
    epl_shape w = x->shape, y;
    if (!epl_check_floats(n, 2))
        return false;
    if (kernel->n != spatial || dy->shape.rank != x->shape.rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "kernel has %d entries and the output's gradient rank %d, but the input's rank is %d",
                             kernel->n, dy->shape.rank, x->shape.rank);
    memcpy(w.dim, kernel->ints, (size_t)spatial * sizeof w.dim[0]);
    w.dim[spatial + 1] = dy->shape.dim[spatial + 1];
    if (!groups_fit(n, x->shape.dim[spatial + 1], w.dim[spatial + 1]))
        return false;
    w.dim[spatial] = x->shape.dim[spatial + 1] / n->attrs[GROUPS].i;
    return conv_shape(n, x->shape, w, &y) && epl_check_shape(n, 1, "the output's gradient", y) && epl_set_type(n, 0, x->dtype, w);
}

static void conv_weight_grad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = input_grad(g, n, n->inputs[1], dy[0], n->inputs[0]);
    dx[1] = forward(g, n, n->inputs[0], dy[0]);
}

static epl_cost conv_weight_grad_cost(const epl_node *n)
{
    return (epl_cost){ .macs = conv_macs(n->outputs[0]->shape, n->inputs[1]->shape) };
}

static epl_node *conv_weight_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    conv_case c;
    draw_case(r, &c);
    c.attrs[EXTRA] = EPL_A_INTS(c.w.rank - 2, c.w.dim);
    epl_value *x = epl_sample_input(g, dtype, c.x, -1, 1, 0), *dy = epl_sample_input(g, dtype, c.y, -1, 1, 0);
    return epl_node_add(g, &epl_op_conv_weight_grad, EPL_IN(x, dy), c.attrs, 0, NULL);
}

const epl_op epl_op_conv_weight_grad = {
    .name = "ConvWeightGrad", .n_inputs = 2, .n_outputs = 1,
    .attrs = { COMMON_ATTRS, { "kernel", EPL_ATTR_INTS, .required = true } },
    .infer = conv_weight_grad_infer, .grad = conv_weight_grad_grad, .cost = conv_weight_grad_cost,
    EPL_REF(epl_ref_conv_weight_grad), .sample = conv_weight_grad_sample,
};

/* ---- ConvTranspose(x, w, bias) --------------------------------------------------------------------------------------
 * x plays dy's part: x [N, S..., M], w [K..., out/groups, M], result [N, S'..., out]. */
static int64_t entry(const epl_attr *list, int i, int64_t otherwise) { return i < list->n ? list->ints[i] : otherwise; }

static bool is_size(int64_t x) { return x >= 0 && x <= INT32_MAX; }

static bool transpose_shape(const epl_node *n, epl_shape x, epl_shape w, epl_shape *out)
{
    const epl_attr *a = n->attrs;
    const int spatial = x.rank - 2;
    if (!weight_fits(n, x, w))
        return false;
    if (a[PADS].n != 0 && a[PADS].n != 2 * spatial)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "pads has %d entries, but %d are needed", a[PADS].n, 2 * spatial);
    *out = x;
    for (int i = 0; i < spatial; i++) {
        const int64_t stride = entry(&a[STRIDES], i, 1), extra = entry(&a[EXTRA], i, 0);
        const int64_t begin = entry(&a[PADS], i, 0), end = entry(&a[PADS], spatial + i, 0), dilation = entry(&a[DILATIONS], i, 1);
        if (!is_size(x.dim[i + 1]) || !is_size(w.dim[i]) || !is_size(stride) || !is_size(begin) || !is_size(end) || !is_size(dilation))
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "sizes, strides, pads and dilations must be between 0 and %d", INT32_MAX);
        if (extra < 0 || extra >= (stride > 1 ? stride : 1))
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "output padding %lld must be smaller than the stride %lld",
                                 (long long)extra, (long long)stride);
        out->dim[i + 1] = (x.dim[i + 1] - 1) * stride + dilation * (w.dim[i] - 1) + 1 - begin - end + extra;
        if (out->dim[i + 1] < 1)
            return epl_node_fail(n, EPL_ERR_SHAPE, "spatial axis %d would have %lld elements", i, (long long)out->dim[i + 1]);
    }
    out->dim[x.rank - 1] = w.dim[w.rank - 2] * a[GROUPS].i;
    return true;
}

static bool conv_transpose_infer(epl_node *n)
{
    const epl_value *x = n->inputs[0], *w = n->inputs[1];
    epl_shape out, back;
    if (!epl_check_floats(n, 3) || !transpose_shape(n, x->shape, w->shape, &out))
        return false;
    if (x->shape.dim[x->shape.rank - 1] != w->shape.dim[w->shape.rank - 1])
        return epl_node_fail(n, EPL_ERR_SHAPE, "input has %lld channels, weight expects %lld",
                             (long long)x->shape.dim[x->shape.rank - 1], (long long)w->shape.dim[w->shape.rank - 1]);
    return conv_shape(n, out, w->shape, &back) && epl_check_shape(n, 0, "the input", back) &&
           epl_check_shape(n, 2, "bias", EPL_SHAPE(out.dim[out.rank - 1])) && epl_set_type(n, 0, x->dtype, out);
}

static void conv_transpose_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = forward(g, n, dy[0], n->inputs[1]);
    dx[1] = weight_grad(g, n, dy[0], n->inputs[0], n->inputs[1]);
    if (epl_node_input(n, 2))
        dx[2] = epl_sum_rows(g, dy[0]);
}

static bool conv_transpose_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_shape x = n->outputs[0]->shape;
    epl_attr  a[EPL_MAX_ATTRS];
    epl_attrs_of(n, N_COMMON, a);
    x.dim[0] = EPL_KEEP;
    a[EXTRA] = EPL_A_INTS(x.rank, x.dim);
    out[0]   = epl_apply(g, &epl_op_conv_input_grad, EPL_IN(n->inputs[0], n->inputs[1]), a);
    if (epl_node_input(n, 2))
        out[0] = epl_add(g, out[0], n->inputs[2]);
    return out[0] != NULL;
}

static epl_node *conv_transpose_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    conv_case c;
    int64_t   extra[3];
    draw_case(r, &c);
    const int spatial = c.x.rank - 2;
    for (int i = 0; i < spatial; i++) {
        const int64_t span = c.dilations[i] * (c.w.dim[i] - 1) + 1, pads = c.pads[i] + c.pads[spatial + i];
        extra[i] = epl_pick(r, 0, (int)c.strides[i] - 1);
        while ((c.y.dim[i + 1] - 1) * c.strides[i] + span - pads + extra[i] < 1)
            c.y.dim[i + 1]++;
    }
    c.attrs[EXTRA] = EPL_A_INTS(spatial, extra);
    epl_value *x = epl_sample_input(g, dtype, c.y, -1, 1, 0), *w = epl_sample_input(g, dtype, c.w, -1, 1, 0);
    epl_value *b = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(c.x.dim[c.x.rank - 1]), -1, 1, 0) : NULL;
    return epl_node_add(g, &epl_op_conv_transpose, EPL_IN(x, w, b), c.attrs, 0, NULL);
}

const epl_op epl_op_conv_transpose = {
    .name = "ConvTranspose", .n_inputs = 3, .min_inputs = 2, .n_outputs = 1,
    .attrs = { COMMON_ATTRS, { "output_padding", EPL_ATTR_INTS } },
    .infer = conv_transpose_infer, .grad = conv_transpose_grad, .expand = conv_transpose_expand, .cost = conv_input_grad_cost,
    EPL_REF(epl_ref_conv_transpose), .sample = conv_transpose_sample,
};

/* ---- builders ---------------------------------------------------------------------------------------------------- */
static epl_value *build(epl_graph *g, const epl_op *op, epl_value *x, epl_value *w, epl_value *bias, epl_convolve_opts o)
{
    if (!x || !w || x->shape.rank < 3 || x->shape.rank > 5 || w->shape.rank != x->shape.rank)
        return epl_apply(g, op, EPL_IN(x, w, bias), NULL); // says what is wrong
    epl_window_lists l = { .spatial = x->shape.rank - 2 };
    int64_t          extra[3] = { o.output_pad[0], o.output_pad[1], o.output_pad[2] };
    memcpy(l.kernel, w->shape.dim, (size_t)l.spatial * sizeof l.kernel[0]);
    epl_window_fill(l.stride, o.stride, 1);
    epl_window_fill(l.dilation, o.dilation, 1);
    epl_window_pads(&l, x->shape, o.pad, o.pad_begin, o.pad_end, o.same);
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_INTS(l.spatial, l.stride), EPL_A_INTS(2 * l.spatial, l.pad),
                                            EPL_A_INTS(l.spatial, l.dilation), EPL_A_I(o.groups ? o.groups : 1),
                                            EPL_A_INTS(l.spatial, extra) };
    return epl_apply(g, op, EPL_IN(x, w, bias), attrs);
}

epl_value *epl_convolve(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, epl_convolve_opts o)
{
    return build(g, &epl_op_conv, x, w, bias, o);
}

epl_value *epl_convolve_transpose(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, epl_convolve_opts o)
{
    if (o.same)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "a transposed convolution has no 'same' padding: name its pads");
    return build(g, &epl_op_conv_transpose, x, w, bias, o);
}
