/* pool: MaxPool and AveragePool over one to three spatial axes, their gradients, and adaptive averaging.
 *
 * MaxPoolIndices(x, y) says where in x the maxima are. MaxPoolGrad(x, y, dy) puts dy where the first maximum of each
 * window was; MaxPoolPick(x, y, v) reads v there. The two are each other's gradient. AveragePool and AveragePoolGrad
 * are linear, each the other's gradient; so are the adaptive two. */
#include "ops/dense.h"
#include "ops/window.h"

enum { KERNEL, STRIDES, PADS, DILATIONS, CEIL, PADDED, SUM, SHAPE };

/* begin reference */
static inline epl_ref_window epl_pool_window(const epl_view *in, const epl_view *out, const epl_ref_attr *attr)
{
    return epl_ref_window_of(in, out, attr[0].ints, &attr[1], &attr[2], &attr[3]);
}

/* A row-major position in [N, space, C]: which image, which place, which channel. */
typedef struct epl_pool_place {
    int64_t image, at, channel;
} epl_pool_place;

static inline epl_pool_place epl_pool_locate(int64_t i, int64_t space, int64_t channels)
{
    return (epl_pool_place){ i / channels / space, i / channels % space, i % channels };
}

static void epl_ref_max_pool(const epl_ref_call *c)
{
    const epl_view      *x = &c->in[0], *y = &c->out[0];
    const epl_ref_window w = epl_pool_window(x, y, c->attr);
    const int64_t        channels = x->dim[x->rank - 1], in = epl_ref_volume(w.in), taps = epl_ref_volume(w.kernel);
    for (int64_t i = 0; i < epl_view_count(y); i++) {
        const epl_pool_place p = epl_pool_locate(i, epl_ref_volume(w.out), channels);
        double               best = -INFINITY;
        for (int64_t k = 0; k < taps; k++) {
            const int64_t tap = epl_ref_window_tap(&w, p.at, k, 0);
            const double  v = tap < 0 ? -INFINITY : epl_ref_get(x, (p.image * in + tap) * channels + p.channel);
            best = v > best || v != v ? v : best;
        }
        epl_ref_set(y, i, best);
    }
}

/* The element of x that the maximum at element i of y came from: the first that equals it, or -1 (all padding, NaN). */
static inline int64_t epl_pool_source(const epl_view *x, const epl_view *y, const epl_ref_window *w, int64_t i)
{
    const int64_t        channels = x->dim[x->rank - 1], in = epl_ref_volume(w->in), taps = epl_ref_volume(w->kernel);
    const epl_pool_place p = epl_pool_locate(i, epl_ref_volume(w->out), channels);
    const double         best = epl_ref_get(y, i);
    for (int64_t k = 0; k < taps; k++) {
        const int64_t tap = epl_ref_window_tap(w, p.at, k, 0), at = (p.image * in + tap) * channels + p.channel;
        if (tap >= 0 && epl_ref_get(x, at) == best)
            return at;
    }
    return -1;
}

static void epl_ref_max_pool_grad(const epl_ref_call *c) /* x, y, dy -> dx */
{
    const epl_view      *x = &c->in[0], *y = &c->in[1], *dx = &c->out[0];
    const epl_ref_window w = epl_pool_window(x, y, c->attr);
    memset(dx->data, 0, (size_t)(epl_view_count(dx) * epl_ref_bytes(dx->dtype)));
    for (int64_t i = 0; i < epl_view_count(y); i++) {
        const int64_t from = epl_pool_source(x, y, &w, i);
        if (from >= 0)
            epl_ref_set(dx, from, epl_ref_get(dx, from) + epl_ref_get(&c->in[2], i));
    }
}

static void epl_ref_max_pool_pick(const epl_ref_call *c) /* x, y, v -> v at the maxima */
{
    const epl_view      *x = &c->in[0], *y = &c->in[1];
    const epl_ref_window w = epl_pool_window(x, y, c->attr);
    for (int64_t i = 0; i < epl_view_count(y); i++) {
        const int64_t from = epl_pool_source(x, y, &w, i);
        epl_ref_set(&c->out[0], i, from >= 0 ? epl_ref_get(&c->in[2], from) : 0);
    }
}

/* Positions in the layout that ONNX counts in: [N, C, space], space row-major or column-major. */
static void epl_ref_max_pool_indices(const epl_ref_call *c)
{
    const epl_view      *x = &c->in[0], *y = &c->in[1];
    const epl_ref_window w = epl_pool_window(x, y, c->attr);
    const int64_t        channels = x->dim[x->rank - 1], space = epl_ref_volume(w.in);
    for (int64_t i = 0; i < epl_view_count(y); i++) {
        const int64_t        from = epl_pool_source(x, y, &w, i);
        const epl_pool_place p = epl_pool_locate(from < 0 ? 0 : from, space, channels);
        const int64_t        plane = w.in[1] * w.in[2], d = p.at / plane, h = p.at / w.in[2] % w.in[1], v = p.at % w.in[2];
        const int64_t        at = c->attr[5].i ? (v * w.in[1] + h) * w.in[0] + d : p.at;
        epl_ref_set_i64(&c->out[0], i, from < 0 ? -1 : (p.image * channels + p.channel) * space + at);
    }
}

/* What the window at `at` is divided by: the taps inside, or inside the padded input, or 1. */
static inline double epl_pool_divisor(const epl_ref_window *w, int64_t at, const epl_ref_attr *attr)
{
    int64_t count = 0;
    for (int64_t k = 0; k < epl_ref_volume(w->kernel); k++)
        count += epl_ref_window_tap(w, at, k, attr[5].i != 0) >= 0;
    return attr[6].i || count == 0 ? 1 : (double)count;
}

static void epl_ref_average_pool(const epl_ref_call *c)
{
    const epl_view      *x = &c->in[0], *y = &c->out[0];
    const epl_ref_window w = epl_pool_window(x, y, c->attr);
    const int64_t        channels = x->dim[x->rank - 1], in = epl_ref_volume(w.in), taps = epl_ref_volume(w.kernel);
    for (int64_t i = 0; i < epl_view_count(y); i++) {
        const epl_pool_place p = epl_pool_locate(i, epl_ref_volume(w.out), channels);
        double               sum = 0;
        for (int64_t k = 0; k < taps; k++) {
            const int64_t tap = epl_ref_window_tap(&w, p.at, k, 0);
            sum += tap < 0 ? 0 : epl_ref_get(x, (p.image * in + tap) * channels + p.channel);
        }
        epl_ref_set(y, i, sum / epl_pool_divisor(&w, p.at, c->attr));
    }
}

static void epl_ref_average_pool_grad(const epl_ref_call *c)
{
    const epl_view      *dy = &c->in[0], *dx = &c->out[0];
    const epl_ref_window w = epl_pool_window(dx, dy, c->attr);
    const int64_t        channels = dx->dim[dx->rank - 1], out = epl_ref_volume(w.out), taps = epl_ref_volume(w.kernel);
    for (int64_t i = 0; i < epl_view_count(dx); i++) {
        const epl_pool_place p = epl_pool_locate(i, epl_ref_volume(w.in), channels);
        double               sum = 0;
        for (int64_t k = 0; k < taps; k++) {
            const int64_t o = epl_ref_window_untap(&w, p.at, k);
            if (o >= 0)
                sum += epl_ref_get(dy, (p.image * out + o) * channels + p.channel) / epl_pool_divisor(&w, o, c->attr);
        }
        epl_ref_set(dx, i, sum);
    }
}

/* Adaptive windows along one axis: [begin, end) of the inputs that output i averages. */
static inline int64_t epl_pool_adaptive_begin(int64_t i, int64_t in, int64_t out) { return i * in / out; }
static inline int64_t epl_pool_adaptive_end(int64_t i, int64_t in, int64_t out) { return ((i + 1) * in + out - 1) / out; }

/* Adds the windows of fine [N, S..., C] into coarse, or spreads coarse over them, whichever is the output. */
static inline void epl_pool_adaptive(const epl_view *fine, const epl_view *coarse, const epl_view *out)
{
    const epl_ref_attr   none = { 0 };
    const epl_ref_window w = epl_ref_window_of(fine, coarse, fine->dim + 1, &none, &none, &none);
    const int64_t        channels = fine->dim[fine->rank - 1], in = epl_ref_volume(w.in), all = epl_ref_volume(w.out);
    memset(out->data, 0, (size_t)(epl_view_count(out) * epl_ref_bytes(out->dtype)));
    for (int64_t i = 0; i < epl_view_count(coarse); i++) {
        const epl_pool_place p = epl_pool_locate(i, all, channels);
        int64_t begin[3], size[3], rest = p.at;
        for (int a = 2; a >= 0; a--) {
            begin[a] = epl_pool_adaptive_begin(rest % w.out[a], w.in[a], w.out[a]);
            size[a]  = epl_pool_adaptive_end(rest % w.out[a], w.in[a], w.out[a]) - begin[a];
            rest /= w.out[a];
        }
        const double count = (double)epl_ref_volume(size);
        double       sum = 0;
        for (int64_t k = 0; k < epl_ref_volume(size); k++) {
            const int64_t z = begin[0] + k / (size[1] * size[2]), y = begin[1] + k / size[2] % size[1], x = begin[2] + k % size[2];
            const int64_t at = (p.image * in + (z * w.in[1] + y) * w.in[2] + x) * channels + p.channel;
            if (out == coarse)
                sum += epl_ref_get(fine, at);
            else
                epl_ref_set(out, at, epl_ref_get(out, at) + epl_ref_get(coarse, i) / count);
        }
        if (out == coarse)
            epl_ref_set(out, i, sum / count);
    }
}

static void epl_ref_adaptive_average_pool(const epl_ref_call *c) { epl_pool_adaptive(&c->in[0], &c->out[0], &c->out[0]); }
static void epl_ref_adaptive_average_pool_grad(const epl_ref_call *c) { epl_pool_adaptive(&c->out[0], &c->in[0], &c->out[0]); }
/* end reference */

/* ---- geometry ---------------------------------------------------------------------------------------------------- */
static bool pool_shape(const epl_node *n, epl_shape x, epl_shape *y)
{
    const epl_attr *a = n->attrs;
    epl_ref_window  w;
    if (x.rank >= 3 && a[KERNEL].n != x.rank - 2)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "kernel has %d entries, but there are %d spatial axes", a[KERNEL].n, x.rank - 2);
    if (!epl_window_infer(n, x, a[KERNEL].ints, &a[STRIDES], &a[PADS], &a[DILATIONS], a[CEIL].i, &w))
        return false;
    for (int i = 0; i < 3; i++) {
        const int64_t span = w.dilation[i] * (w.kernel[i] - 1) + 1;
        if (w.begin[i] >= span || w.end[i] >= span)
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "padding of %lld and %lld, but the window spans only %lld",
                                 (long long)w.begin[i], (long long)w.end[i], (long long)span);
    }
    *y = epl_window_shape(x, &w, x.dim[x.rank - 1]);
    return true;
}

static bool pool_infer(epl_node *n)
{
    epl_shape y;
    return epl_check_floats(n, 1) && pool_shape(n, n->inputs[0]->shape, &y) && epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

/* A maximum can be taken of integers, too (quantised networks do). */
static bool max_pool_infer(epl_node *n)
{
    epl_shape y;
    if (n->inputs[0]->dtype == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the input is bool, but must be numbers");
    return pool_shape(n, n->inputs[0]->shape, &y) && epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

/* A drawn geometry. */
typedef struct pool_case {
    epl_shape x, y;
    int64_t   kernel[3], strides[3], pads[6], dilations[3];
    epl_attr  attrs[EPL_MAX_ATTRS];
} pool_case;

static void draw_case(epl_rng *r, pool_case *c)
{
    const int spatial = epl_pick(r, 1, 3), most = spatial == 3 ? 2 : 3;
    c->x = epl_pick_shape(r, spatial + 2, 1, 2);
    for (int i = 0; i < spatial; i++) {
        c->kernel[i]    = epl_pick(r, 1, most);
        c->strides[i]   = epl_pick(r, 1, 3);
        c->dilations[i] = epl_pick(r, 1, 2);
        const int span  = (int)(c->dilations[i] * (c->kernel[i] - 1) + 1);
        c->pads[i]      = epl_pick(r, 0, span / 2);
        c->pads[spatial + i] = epl_pick(r, 0, span / 2);
        c->x.dim[i + 1] = span + epl_pick(r, 0, 3);
    }
    c->y = c->x;
    const bool ceil_mode = epl_pick(r, 0, 1);
    for (int i = 0; i < spatial; i++) {
        const int64_t room = c->x.dim[i + 1] + c->pads[i] + c->pads[spatial + i] - c->dilations[i] * (c->kernel[i] - 1) - 1;
        c->y.dim[i + 1] = (room + (ceil_mode ? c->strides[i] - 1 : 0)) / c->strides[i] + 1;
        if (ceil_mode && (c->y.dim[i + 1] - 1) * c->strides[i] >= c->x.dim[i + 1] + c->pads[i])
            c->y.dim[i + 1]--;
    }
    memset(c->attrs, 0, sizeof c->attrs);
    c->attrs[KERNEL]    = EPL_A_INTS(spatial, c->kernel);
    c->attrs[STRIDES]   = EPL_A_INTS(spatial, c->strides);
    c->attrs[PADS]      = EPL_A_INTS(2 * spatial, c->pads);
    c->attrs[DILATIONS] = EPL_A_INTS(spatial, c->dilations);
    c->attrs[CEIL]      = EPL_A_I(ceil_mode);
    c->attrs[PADDED]    = EPL_A_I(epl_pick(r, 0, 1));
    c->attrs[SUM]       = EPL_A_I(epl_pick(r, 0, 3) == 0);
}

static epl_cost pool_cost(const epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    double          taps = 1;
    for (int i = 0; i < n->attrs[KERNEL].n; i++)
        taps *= (double)n->attrs[KERNEL].ints[i];
    const int64_t windows = epl_shape_count(x) < epl_shape_count(y) ? epl_shape_count(x) : epl_shape_count(y);
    return (epl_cost){ .flops = taps * (double)windows };
}

#define WINDOW_ATTRS                                                                                                   \
    { "kernel_shape", EPL_ATTR_INTS, .required = true }, { "strides", EPL_ATTR_INTS }, { "pads", EPL_ATTR_INTS },      \
    { "dilations", EPL_ATTR_INTS }, { "ceil_mode", EPL_ATTR_BOOL }

/* ---- MaxPool ----------------------------------------------------------------------------------------------------- */
enum { N_MAX_ATTRS = CEIL + 1 };

static void max_pool_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[0] = epl_apply(g, &epl_op_max_pool_grad, EPL_IN(n->inputs[0], n->outputs[0], dy[0]), epl_attrs_of(n, N_MAX_ATTRS, a));
}

/* x and y of a MaxPool, and a third input of the shape of one of them; the output has the other's. */
static bool max_third_infer(epl_node *n, bool third_is_y)
{
    epl_shape y;
    return epl_check_floats(n, 3) && pool_shape(n, n->inputs[0]->shape, &y) && epl_check_shape(n, 1, "the pool's result", y) &&
           epl_check_shape(n, 2, "the third input", third_is_y ? y : n->inputs[0]->shape) &&
           epl_set_type(n, 0, n->inputs[0]->dtype, third_is_y ? n->inputs[0]->shape : y);
}

static bool max_pool_grad_infer(epl_node *n) { return max_third_infer(n, true); }
static bool max_pool_pick_infer(epl_node *n) { return max_third_infer(n, false); }

static void max_pool_grad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[2] = epl_apply(g, &epl_op_max_pool_pick, EPL_IN(n->inputs[0], n->inputs[1], dy[0]), epl_attrs_of(n, N_MAX_ATTRS, a));
}

static void max_pool_pick_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[2] = epl_apply(g, &epl_op_max_pool_grad, EPL_IN(n->inputs[0], n->inputs[1], dy[0]), epl_attrs_of(n, N_MAX_ATTRS, a));
}

static epl_node *max_pool_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    pool_case c;
    draw_case(r, &c);
    epl_value *x = epl_sample_input(g, dtype, c.x, -4, 4, 0.002);
    return epl_node_add(g, &epl_op_max_pool, EPL_IN(x), c.attrs, 0, NULL);
}

/* x, its pool and a third input. x's and y's gradients are zero almost everywhere: a moved x moves its y along, which a
 * finite difference by x alone would not do, so y comes from x through a node here. */
static epl_node *sample_third(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op, bool third_is_y)
{
    pool_case c;
    draw_case(r, &c);
    epl_value *x = epl_sample_input(g, dtype, c.x, -4, 4, 0.002);
    epl_value *y = epl_apply(g, &epl_op_max_pool, EPL_IN(x), c.attrs);
    epl_value *v = epl_sample_input(g, dtype, third_is_y ? c.y : c.x, -1, 1, 0);
    return epl_node_add(g, op, EPL_IN(x, y, v), c.attrs, 0, NULL);
}

static epl_node *max_pool_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_third(g, r, dtype, &epl_op_max_pool_grad, true);
}

static epl_node *max_pool_pick_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_third(g, r, dtype, &epl_op_max_pool_pick, false);
}

const epl_op epl_op_max_pool = {
    .name = "MaxPool", .n_inputs = 1, .n_outputs = 1, .attrs = { WINDOW_ATTRS },
    .infer = max_pool_infer, .grad = max_pool_grad, .cost = pool_cost, EPL_REF(epl_ref_max_pool), .sample = max_pool_sample,
};

const epl_op epl_op_max_pool_grad = {
    .name = "MaxPoolGrad", .n_inputs = 3, .n_outputs = 1, .attrs = { WINDOW_ATTRS },
    .infer = max_pool_grad_infer, .grad = max_pool_grad_grad, .cost = pool_cost, EPL_REF(epl_ref_max_pool_grad),
    .sample = max_pool_grad_sample,
};

const epl_op epl_op_max_pool_pick = {
    .name = "MaxPoolPick", .n_inputs = 3, .n_outputs = 1, .attrs = { WINDOW_ATTRS },
    .infer = max_pool_pick_infer, .grad = max_pool_pick_grad, .cost = pool_cost, EPL_REF(epl_ref_max_pool_pick),
    .sample = max_pool_pick_sample,
};

static bool max_pool_indices_infer(epl_node *n)
{
    epl_shape y;
    return pool_shape(n, n->inputs[0]->shape, &y) && epl_check_shape(n, 1, "the pool's result", y) && epl_set_type(n, 0, EPL_I64, y);
}

static void no_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx; // positions do not change with the values
}

static epl_node *max_pool_indices_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    pool_case c;
    draw_case(r, &c);
    epl_value *x = epl_sample_input(g, dtype, c.x, -4, 4, 0.002);
    return epl_node_add(g, &epl_op_max_pool_indices, EPL_IN(x, epl_apply(g, &epl_op_max_pool, EPL_IN(x), c.attrs)), c.attrs, 0, NULL);
}

const epl_op epl_op_max_pool_indices = {
    .name = "MaxPoolIndices", .n_inputs = 2, .n_outputs = 1, .attrs = { WINDOW_ATTRS, { "column_major", EPL_ATTR_BOOL } },
    .infer = max_pool_indices_infer, .grad = no_grad, .cost = pool_cost, EPL_REF(epl_ref_max_pool_indices),
    .sample = max_pool_indices_sample,
};

/* ---- AveragePool ------------------------------------------------------------------------------------------------- */
static void average_pool_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[0] = epl_apply(g, &epl_op_average_pool_grad, EPL_IN(dy[0], n->inputs[0]), epl_attrs_of(n, SHAPE, a));
}

static void average_pool_grad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[0] = epl_apply(g, &epl_op_average_pool, EPL_IN(dy[0]), epl_attrs_of(n, SHAPE, a));
}

static bool average_pool_grad_infer(epl_node *n)
{
    epl_shape x, y;
    return epl_check_floats(n, 1) && epl_wanted_shape(n, 1, SHAPE, n->inputs[0]->shape, &x) && pool_shape(n, x, &y) &&
           epl_check_shape(n, 0, "the output's gradient", y) && epl_set_type(n, 0, n->inputs[0]->dtype, x);
}

static epl_node *average_pool_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    pool_case c;
    draw_case(r, &c);
    epl_value *x = epl_sample_input(g, dtype, c.x, -1, 1, 0);
    return epl_node_add(g, &epl_op_average_pool, EPL_IN(x), c.attrs, 0, NULL);
}

static epl_node *average_pool_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    pool_case c;
    draw_case(r, &c);
    c.attrs[SHAPE] = EPL_A_INTS(c.x.rank, c.x.dim);
    epl_value *dy = epl_sample_input(g, dtype, c.y, -1, 1, 0);
    return epl_node_add(g, &epl_op_average_pool_grad, EPL_IN(dy), c.attrs, 0, NULL);
}

const epl_op epl_op_average_pool = {
    .name = "AveragePool", .n_inputs = 1, .n_outputs = 1,
    .attrs = { WINDOW_ATTRS, { "count_include_pad", EPL_ATTR_BOOL }, { "sum", EPL_ATTR_BOOL } },
    .infer = pool_infer, .grad = average_pool_grad, .cost = pool_cost, EPL_REF(epl_ref_average_pool), .sample = average_pool_sample,
};

const epl_op epl_op_average_pool_grad = {
    .name = "AveragePoolGrad", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2,
    .attrs = { WINDOW_ATTRS, { "count_include_pad", EPL_ATTR_BOOL }, { "sum", EPL_ATTR_BOOL },
               { "shape", EPL_ATTR_INTS } }, /* x's, unless the second input has it */
    .infer = average_pool_grad_infer, .grad = average_pool_grad_grad, .cost = pool_cost, EPL_REF(epl_ref_average_pool_grad),
    .sample = average_pool_grad_sample,
};

/* ---- AdaptiveAveragePool(x, like), AdaptiveAveragePoolGrad(dy, like): the result has like's shape, or the attribut */
static bool adaptive_infer(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape to;
    if (!epl_check_floats(n, 1) || !epl_wanted_shape(n, 1, 0, x, &to))
        return false;
    to.dim[0] = x.dim[0];
    to.dim[to.rank - 1] = x.dim[x.rank - 1];
    for (int i = 1; i < to.rank - 1; i++)
        if (to.dim[i] < 1)
            return epl_node_fail(n, EPL_ERR_SHAPE, "%lld elements are wanted along axis %d", (long long)to.dim[i], i);
    return epl_set_type(n, 0, n->inputs[0]->dtype, to);
}

static void adaptive_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_apply(g, &epl_op_adaptive_average_pool_grad, EPL_IN(dy[0], n->inputs[0]), NULL);
}

static void adaptive_grad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_apply(g, &epl_op_adaptive_average_pool, EPL_IN(dy[0], n->inputs[0]), NULL);
}

static epl_value *adaptive(epl_graph *g, const epl_op *op, epl_value *x, epl_shape to)
{
    to.dim[0] = to.dim[to.rank - 1] = EPL_KEEP;
    return epl_apply(g, op, EPL_IN(x), (epl_attr[]){ EPL_A_INTS(to.rank, to.dim) });
}

static epl_node *sample_adaptive(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    const int       rank = epl_pick(r, 3, 5);
    const epl_shape x = epl_pick_shape(r, rank, 1, 4), to = epl_pick_shape(r, rank, 1, 4);
    return adaptive(g, op, epl_sample_input(g, dtype, x, -1, 1, 0), to) ? g->last : NULL;
}

static epl_node *adaptive_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_adaptive(g, r, dtype, &epl_op_adaptive_average_pool);
}

static epl_node *adaptive_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_adaptive(g, r, dtype, &epl_op_adaptive_average_pool_grad);
}

const epl_op epl_op_adaptive_average_pool = {
    .name = "AdaptiveAveragePool", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2,
    .attrs = { { "shape", EPL_ATTR_INTS } },
    .infer = adaptive_infer, .grad = adaptive_grad, EPL_REF(epl_ref_adaptive_average_pool), .sample = adaptive_sample,
};

const epl_op epl_op_adaptive_average_pool_grad = {
    .name = "AdaptiveAveragePoolGrad", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2,
    .attrs = { { "shape", EPL_ATTR_INTS } },
    .infer = adaptive_infer, .grad = adaptive_grad_grad, EPL_REF(epl_ref_adaptive_average_pool_grad), .sample = adaptive_grad_sample,
};

/* ---- builders ---------------------------------------------------------------------------------------------------- */
static epl_value *build(epl_graph *g, const epl_op *op, epl_value *x, epl_pool_opts o)
{
    if (!x)
        return NULL;
    epl_window_lists l = { .spatial = x->shape.rank - 2 };
    if (l.spatial < 1 || l.spatial > 3 || o.kernel[0] < 1)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "%s: rank %d and a kernel of %d; 1 to 3 spatial axes and a kernel are needed",
                              op->name, x->shape.rank, o.kernel[0]);
    epl_window_fill(l.kernel, o.kernel, 1);
    if (o.stride[0])
        epl_window_fill(l.stride, o.stride, 1);
    else
        memcpy(l.stride, l.kernel, sizeof l.stride);
    epl_window_fill(l.dilation, o.dilation, 1);
    epl_window_pads(&l, x->shape, o.pad, o.pad_begin, o.pad_end, o.same);
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_INTS(l.spatial, l.kernel), EPL_A_INTS(l.spatial, l.stride),
                                            EPL_A_INTS(2 * l.spatial, l.pad), EPL_A_INTS(l.spatial, l.dilation),
                                            EPL_A_I(o.ceil_mode), EPL_A_I(o.count_include_pad), EPL_A_I(o.sum) };
    return epl_apply(g, op, EPL_IN(x), attrs);
}

epl_value *epl_max_pool(epl_graph *g, epl_value *x, epl_pool_opts o) { return build(g, &epl_op_max_pool, x, o); }
epl_value *epl_average_pool(epl_graph *g, epl_value *x, epl_pool_opts o) { return build(g, &epl_op_average_pool, x, o); }

epl_value *epl_max_pool_indices(epl_graph *g, epl_value *pooled, bool column_major)
{
    epl_attr a[EPL_MAX_ATTRS];
    if (!pooled)
        return NULL;
    if (!EPL_IS(pooled->producer, max_pool))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "max_pool_indices: the value is not the result of max_pool");
    (void)epl_attrs_of(pooled->producer, N_MAX_ATTRS, a);
    a[N_MAX_ATTRS] = EPL_A_I(column_major);
    return epl_apply(g, &epl_op_max_pool_indices, EPL_IN(pooled->producer->inputs[0], pooled), a);
}

epl_value *epl_lp_pool(epl_graph *g, epl_value *x, int p, epl_pool_opts o)
{
    o.sum = true;
    if (p < 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "lp_pool: p is %d, but must be at least 1", p);
    if (p == 1)
        return epl_average_pool(g, epl_abs(g, x), o);
    epl_value *power = p == 2 ? epl_square(g, x) : epl_pow_scalar(g, epl_abs(g, x), p);
    return epl_pow_scalar(g, epl_average_pool(g, power, o), 1.0 / p);
}

static epl_reduce_opts over_space(const epl_value *x)
{
    epl_reduce_opts o = { 0 };
    for (int i = 1; x && i < x->shape.rank - 1; i++)
        o.axes[o.n_axes++] = i;
    return o;
}

static epl_value *global(epl_graph *g, epl_value *x, const char *what, epl_value *(*reduce)(epl_graph *, epl_value *, epl_reduce_opts))
{
    if (x && x->shape.rank < 3)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "%s: rank %d, but [N, spatial..., C] is needed", what, x->shape.rank);
    return reduce(g, x, over_space(x));
}

epl_value *epl_global_average_pool(epl_graph *g, epl_value *x) { return global(g, x, "global_average_pool", epl_reduce_mean); }
epl_value *epl_global_max_pool(epl_graph *g, epl_value *x) { return global(g, x, "global_max_pool", epl_reduce_max); }

epl_value *epl_adaptive_average_pool(epl_graph *g, epl_value *x, const int *size)
{
    if (!x)
        return NULL;
    epl_shape to = x->shape;
    for (int i = 1; i < to.rank - 1; i++)
        to.dim[i] = size[i - 1];
    if (to.rank < 3)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "adaptive_average_pool: rank %d, but [N, spatial..., C] is needed", to.rank);
    return adaptive(g, &epl_op_adaptive_average_pool, x, to);
}

/* The windows of output elements along one axis, all as wide as the widest: a narrower one repeats its last element. */
static epl_value *adaptive_max_along(epl_graph *g, epl_value *x, int axis, int64_t size)
{
    const int64_t from = x ? x->shape.dim[axis] : 0;
    int64_t       width = 0;
    if (!x || size == from)
        return x;
    for (int64_t i = 0; i < size; i++) {
        const int64_t w = ((i + 1) * from + size - 1) / size - i * from / size;
        width = w > width ? w : width;
    }
    int64_t *at = epl_arena_alloc(g->arena, (size_t)(size * width) * sizeof *at);
    for (int64_t i = 0; at && i < size * width; i++) {
        const int64_t o = i / width, begin = o * from / size, end = ((o + 1) * from + size - 1) / size;
        at[i] = begin + i % width < end ? begin + i % width : end - 1;
    }
    epl_shape split = { .rank = x->shape.rank + 1 };
    for (int i = 0; i < split.rank; i++)
        split.dim[i] = i < axis ? EPL_KEEP : i == axis ? size : i == axis + 1 ? width : x->shape.dim[i - 1];
    epl_value *rows = at ? epl_gather(g, x, epl_constant_i64(g, (int)(size * width), at), axis) : NULL;
    return epl_reduce_max(g, epl_reshape(g, rows, split), (epl_reduce_opts){ .axes = { axis + 1 }, .n_axes = 1 });
}

epl_value *epl_adaptive_max_pool(epl_graph *g, epl_value *x, const int *size)
{
    for (int axis = 1; x && axis < x->shape.rank - 1; axis++) {
        if (size[axis - 1] < 1)
            return epl_graph_fail(g, EPL_ERR_ARGUMENT, "adaptive_max_pool: a size of %d, at least 1 is needed", size[axis - 1]);
        x = adaptive_max_along(g, x, axis, size[axis - 1]);
    }
    return x;
}
