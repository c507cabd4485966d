/* softmax: Softmax, LogSoftmax and SoftmaxCrossEntropy with their fused gradients. The fused gradients expand into simpler
 * operators, from which second-order gradients follow. */
#include "ops/dense.h"

/* begin reference */
/* An axis of a tensor: element i of line (o, j) is at (o * size + i) * inner + j. */
typedef struct epl_softmax_lines {
    int64_t outer, size, inner;
} epl_softmax_lines;

static inline epl_softmax_lines epl_softmax_axis(const epl_view *v, int64_t axis)
{
    epl_softmax_lines l = { 1, 1, 1 };
    axis += axis < 0 ? v->rank : 0;
    for (int64_t i = 0; i < v->rank; i++)
        *(i < axis ? &l.outer : i > axis ? &l.inner : &l.size) *= v->dim[i];
    return l;
}

/* log sum exp of n elements from `at` in steps. */
static inline double epl_softmax_log_sum(const epl_view *x, int64_t at, int64_t step, int64_t n)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, epl_ref_get(x, at + i * step));
    if (isinf(top))
        return top;
    for (int64_t i = 0; i < n; i++)
        sum += exp(epl_ref_get(x, at + i * step) - top);
    return top + log(sum);
}

static inline void epl_softmax_forward(const epl_ref_call *c, int logarithm)
{
    const epl_view         *x = &c->in[0], *y = &c->out[0];
    const epl_softmax_lines l = epl_softmax_axis(x, c->attr[0].i);
    for (int64_t line = 0; line < l.outer * l.inner; line++) {
        const int64_t at = line / l.inner * l.size * l.inner + line % l.inner;
        const double  all = epl_softmax_log_sum(x, at, l.inner, l.size);
        for (int64_t i = at; i < at + l.size * l.inner; i += l.inner)
            epl_ref_set(y, i, logarithm ? epl_ref_get(x, i) - all : exp(epl_ref_get(x, i) - all));
    }
}

static void epl_ref_softmax(const epl_ref_call *c) { epl_softmax_forward(c, 0); }
static void epl_ref_log_softmax(const epl_ref_call *c) { epl_softmax_forward(c, 1); }

/* Softmax: dx = y (dy - sum(y dy)). LogSoftmax: dx = dy - exp(y) sum(dy). */
static inline void epl_softmax_backward(const epl_ref_call *c, int logarithm)
{
    const epl_view         *y = &c->in[0], *dy = &c->in[1], *dx = &c->out[0];
    const epl_softmax_lines l = epl_softmax_axis(y, c->attr[0].i);
    for (int64_t line = 0; line < l.outer * l.inner; line++) {
        const int64_t at = line / l.inner * l.size * l.inner + line % l.inner, end = at + l.size * l.inner;
        double        sum = 0;
        for (int64_t i = at; i < end; i += l.inner)
            sum += epl_ref_get(dy, i) * (logarithm ? 1 : epl_ref_get(y, i));
        for (int64_t i = at; i < end; i += l.inner) {
            const double p = epl_ref_get(y, i), d = epl_ref_get(dy, i);
            epl_ref_set(dx, i, logarithm ? d - exp(p) * sum : p * (d - sum));
        }
    }
}

static void epl_ref_softmax_grad(const epl_ref_call *c) { epl_softmax_backward(c, 0); }
static void epl_ref_log_softmax_grad(const epl_ref_call *c) { epl_softmax_backward(c, 1); }

/* What SoftmaxCrossEntropy wants of class k in a row: w_k ((1 - smoothing) target_k + smoothing / C). */
static inline double epl_cross_entropy_want(const epl_view *target, const epl_view *weights, const epl_ref_attr *attr, int64_t row,
                                            int64_t k, int64_t classes)
{
    const double smoothing = attr[0].r, w = weights && weights->data ? epl_ref_get(weights, k) : 1;
    if (epl_ref_is_float(target->dtype))
        return w * ((1 - smoothing) * epl_ref_get(target, row * classes + k) + smoothing / (double)classes);
    const int64_t label = epl_ref_get_i64(target, row);
    if (label < 0 || label >= classes || label == attr[1].i)
        return 0;
    return w * ((1 - smoothing) * (label == k) + smoothing / (double)classes);
}

static void epl_ref_softmax_cross_entropy(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *weights = c->n_in > 2 ? &c->in[2] : NULL, *loss = &c->out[0];
    const int64_t   classes = x->dim[x->rank - 1], rows = epl_view_count(loss);
    for (int64_t row = 0; row < rows; row++) {
        const double all = epl_softmax_log_sum(x, row * classes, 1, classes);
        double       sum = 0;
        for (int64_t k = 0; k < classes; k++) {
            const double want = epl_cross_entropy_want(&c->in[1], weights, c->attr, row, k, classes);
            sum += want != 0 ? want * (all - epl_ref_get(x, row * classes + k)) : 0; // 0 times infinity is no loss
        }
        epl_ref_set(loss, row, sum);
    }
}

static void epl_ref_softmax_cross_entropy_grad(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *weights = c->n_in > 3 ? &c->in[3] : NULL, *dloss = &c->in[2], *dx = &c->out[0];
    const int64_t   classes = x->dim[x->rank - 1], rows = epl_view_count(dloss);
    for (int64_t row = 0; row < rows; row++) {
        const double all = epl_softmax_log_sum(x, row * classes, 1, classes), d = epl_ref_get(dloss, row);
        double       total = 0;
        for (int64_t k = 0; k < classes; k++)
            total += epl_cross_entropy_want(&c->in[1], weights, c->attr, row, k, classes);
        for (int64_t k = 0; k < classes; k++) {
            const double p = exp(epl_ref_get(x, row * classes + k) - all);
            epl_ref_set(dx, row * classes + k,
                        d * (p * total - epl_cross_entropy_want(&c->in[1], weights, c->attr, row, k, classes)));
        }
    }
}
/* end reference */

/* ---- Softmax, LogSoftmax ----------------------------------------------------------------------------------------- */
static bool softmax_infer(epl_node *n)
{
    int axis;
    return epl_check_floats(n, 1) && epl_check_axis(n, n->attrs[0].i, n->inputs[0]->shape.rank, &axis) && epl_infer_same(n);
}

static bool softmax_grad_infer(epl_node *n)
{
    return epl_check_floats(n, 2) && epl_check_shape(n, 1, "the output's gradient", n->inputs[0]->shape) && softmax_infer(n);
}

static epl_value *with_axis(epl_graph *g, const epl_op *op, const epl_node *n, epl_value *y, epl_value *dy)
{
    return epl_apply(g, op, EPL_IN(y, dy), (epl_attr[]){ EPL_A_I(n->attrs[0].i) });
}

static void softmax_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = with_axis(g, &epl_op_softmax_grad, n, n->outputs[0], dy[0]);
}

static void log_softmax_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = with_axis(g, &epl_op_log_softmax_grad, n, n->outputs[0], dy[0]);
}

static epl_value *sum_along(epl_graph *g, epl_value *x, int axis)
{
    return epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(axis), .keep = true });
}

static bool softmax_grad_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value *y = n->inputs[0], *dy = n->inputs[1];
    out[0] = epl_mul(g, y, epl_sub(g, dy, sum_along(g, epl_mul(g, y, dy), (int)n->attrs[0].i)));
    return out[0] != NULL;
}

static bool log_softmax_grad_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value *y = n->inputs[0], *dy = n->inputs[1];
    out[0] = epl_sub(g, dy, epl_mul(g, epl_exp(g, y), sum_along(g, dy, (int)n->attrs[0].i)));
    return out[0] != NULL;
}

static epl_cost softmax_cost(const epl_node *n)
{
    return (epl_cost){ .flops = 5 * (double)epl_shape_count(n->outputs[0]->shape) };
}

static epl_node *sample_along(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    const epl_shape shape = epl_pick_shape(r, epl_pick(r, 1, 4), 1, 5);
    const int       axis = epl_pick(r, -shape.rank, shape.rank - 1);
    epl_value *x = epl_sample_input(g, dtype, shape, -2, 2, 0);
    epl_value *dy = op->n_inputs > 1 ? epl_sample_input(g, dtype, shape, -1, 1, 0) : NULL;
    return epl_node_add(g, op, EPL_IN(x, dy), (epl_attr[]){ EPL_A_I(axis) }, 0, NULL);
}

#define SAMPLE(name)                                                                                                   \
    static epl_node *name##_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)                                          \
    {                                                                                                                  \
        return sample_along(g, r, dtype, &epl_op_##name);                                                              \
    }
SAMPLE(softmax)
SAMPLE(log_softmax)
SAMPLE(softmax_grad)
SAMPLE(log_softmax_grad)

const epl_op epl_op_softmax = {
    .name = "Softmax", .n_inputs = 1, .n_outputs = 1, .attrs = { { "axis", EPL_ATTR_INT, .def_i = -1 } },
    .infer = softmax_infer, .grad = softmax_grad, .cost = softmax_cost, EPL_REF(epl_ref_softmax), .sample = softmax_sample,
};

const epl_op epl_op_log_softmax = {
    .name = "LogSoftmax", .n_inputs = 1, .n_outputs = 1, .attrs = { { "axis", EPL_ATTR_INT, .def_i = -1 } },
    .infer = softmax_infer, .grad = log_softmax_grad, .cost = softmax_cost, EPL_REF(epl_ref_log_softmax),
    .sample = log_softmax_sample,
};

/* SoftmaxGrad(y, dy), where y is the softmax. */
const epl_op epl_op_softmax_grad = {
    .name = "SoftmaxGrad", .n_inputs = 2, .n_outputs = 1, .attrs = { { "axis", EPL_ATTR_INT, .def_i = -1 } },
    .infer = softmax_grad_infer, .expand = softmax_grad_expand, .cost = softmax_cost, EPL_REF(epl_ref_softmax_grad),
    .sample = softmax_grad_sample,
};

/* LogSoftmaxGrad(y, dy), where y is the logarithm of the softmax. */
const epl_op epl_op_log_softmax_grad = {
    .name = "LogSoftmaxGrad", .n_inputs = 2, .n_outputs = 1, .attrs = { { "axis", EPL_ATTR_INT, .def_i = -1 } },
    .infer = softmax_grad_infer, .expand = log_softmax_grad_expand, .cost = softmax_cost, EPL_REF(epl_ref_log_softmax_grad),
    .sample = log_softmax_grad_sample,
};

epl_value *epl_softmax(epl_graph *g, epl_value *x, int axis)
{
    return epl_apply(g, &epl_op_softmax, EPL_IN(x), (epl_attr[]){ EPL_A_I(axis) });
}

epl_value *epl_log_softmax(epl_graph *g, epl_value *x, int axis)
{
    return epl_apply(g, &epl_op_log_softmax, EPL_IN(x), (epl_attr[]){ EPL_A_I(axis) });
}

/* ---- SoftmaxCrossEntropy(logits [..., C], target, weights [C]) -> loss [...] ------------------------------------------
 * target: labels [...] of an integer type, or probabilities [..., C]. With q_k = w_k ((1 - smoothing) target_k + smoothing/C):
 * loss = -sum q_k log softmax_k, and dlogits_k = dloss (softmax_k sum(q) - q_k). */
static bool cross_entropy_types(const epl_node *n, int weights, epl_shape *rows)
{
    const epl_value *x = n->inputs[0], *target = n->inputs[1], *w = epl_node_input(n, weights);
    if (!epl_check_floats(n, 1))
        return false;
    if (x->shape.rank < 1)
        return epl_node_fail(n, EPL_ERR_SHAPE, "the logits are a scalar; they need an axis of classes");
    *rows = x->shape;
    rows->rank--;
    if (epl_dtype_is_float(target->dtype) ? target->dtype != x->dtype : target->dtype == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the target is %s; it must be %s (probabilities) or integers (labels)",
                             epl_dtype_name(target->dtype), epl_dtype_name(x->dtype));
    if (w && w->dtype != x->dtype)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the logits are %s, the class weights %s", epl_dtype_name(x->dtype),
                             epl_dtype_name(w->dtype));
    return epl_check_shape(n, 1, "the target", epl_dtype_is_float(target->dtype) ? x->shape : *rows) &&
           epl_check_shape(n, weights, "the class weights", EPL_SHAPE(x->shape.dim[x->shape.rank - 1]));
}

static bool cross_entropy_infer(epl_node *n)
{
    epl_shape rows;
    return cross_entropy_types(n, 2, &rows) && epl_set_type(n, 0, n->inputs[0]->dtype, rows);
}

static bool cross_entropy_grad_infer(epl_node *n)
{
    epl_shape rows;
    return cross_entropy_types(n, 3, &rows) && epl_check_shape(n, 2, "the loss's gradient", rows) && epl_infer_same(n);
}

/* Where a label counts, as 0 or 1 of the logits' type: [..., 1]. */
static epl_value *label_counts(epl_graph *g, epl_value *labels, int64_t classes, int64_t ignored, epl_dtype dtype)
{
    epl_value *label = epl_cast(g, labels, EPL_I64);
    epl_value *in = epl_and(g, epl_greater_or_equal(g, label, epl_scalar(g, EPL_I64, 0)),
                            epl_less(g, label, epl_scalar(g, EPL_I64, (double)classes)));
    in = epl_and(g, in, epl_not_equal(g, label, epl_scalar(g, EPL_I64, (double)ignored)));
    return epl_cast(g, epl_unsqueeze(g, in, 1, (int[]){ -1 }), dtype);
}

/* q of the comment above. */
static epl_value *wanted(epl_graph *g, const epl_node *n, epl_value *weights)
{
    epl_value    *x = n->inputs[0], *target = n->inputs[1], *counts = NULL;
    const int64_t classes = epl_channels(x);
    const double  smoothing = n->attrs[0].r;
    if (!epl_dtype_is_float(target->dtype)) {
        counts = label_counts(g, target, classes, n->attrs[1].i, x->dtype);
        target = epl_one_hot(g, epl_cast(g, target, EPL_I64), classes, (epl_one_hot_opts){ .dtype = x->dtype });
    }
    epl_value *q = epl_affine(g, target, 1 - smoothing, smoothing / (double)classes);
    q = counts ? epl_mul(g, q, counts) : q;
    return weights ? epl_mul(g, q, weights) : q;
}

static void cross_entropy_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *x = n->inputs[0], *target = n->inputs[1], *weights = epl_node_input(n, 2);
    epl_attr   a[EPL_MAX_ATTRS];
    dx[0] = epl_apply(g, &epl_op_softmax_cross_entropy_grad, EPL_IN(x, target, dy[0], weights), epl_attrs_of(n, 2, a));
    if (!weights && !epl_dtype_is_float(target->dtype))
        return;
    epl_value *d = epl_mul(g, epl_neg(g, epl_unsqueeze(g, dy[0], 1, (int[]){ -1 })), epl_log_softmax(g, x, -1)); // by q
    if (epl_dtype_is_float(target->dtype))
        dx[1] = epl_affine(g, weights ? epl_mul(g, d, weights) : d, 1 - n->attrs[0].r, 0);
    if (weights)
        dx[2] = epl_sum_rows(g, epl_mul(g, d, wanted(g, n, NULL)));
}

static bool cross_entropy_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value *q = wanted(g, n, epl_node_input(n, 2)), *p = epl_log_softmax(g, n->inputs[0], -1);
    out[0] = epl_neg(g, epl_reduce_sum(g, epl_mul(g, q, p), (epl_reduce_opts){ EPL_AXES(-1) }));
    return out[0] != NULL;
}

static bool cross_entropy_grad_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_value *q = wanted(g, n, epl_node_input(n, 3)), *p = epl_softmax(g, n->inputs[0], -1);
    epl_value *d = epl_unsqueeze(g, n->inputs[2], 1, (int[]){ -1 });
    out[0] = epl_mul(g, d, epl_sub(g, epl_mul(g, p, sum_along(g, q, -1)), q));
    return out[0] != NULL;
}

static epl_cost cross_entropy_cost(const epl_node *n)
{
    return (epl_cost){ .flops = 6 * (double)epl_shape_count(n->inputs[0]->shape) };
}

static epl_node *sample_cross_entropy(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    const epl_shape shape = epl_pick_shape(r, epl_pick(r, 1, 3), 1, 4);
    const int64_t   classes = shape.dim[shape.rank - 1];
    epl_shape       rows = shape;
    rows.rank--;
    epl_value *x = epl_sample_input(g, dtype, shape, -2, 2, 0);
    epl_value *target = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, shape, 0, 1, 0)
                                          : epl_sample_input(g, EPL_I64, rows, 0, (double)(classes - 1), 0);
    epl_value *d = op->n_inputs > 3 ? epl_sample_input(g, dtype, rows, -1, 1, 0) : NULL;
    epl_value *w = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(classes), 0.5, 1.5, 0) : NULL;
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_R(epl_pick(r, 0, 1) * 0.1), EPL_A_I(epl_pick(r, -1, 1)) };
    return epl_node_add(g, op, d ? 4 : 3, d ? (epl_value *[]){ x, target, d, w } : (epl_value *[]){ x, target, w }, attrs, 0, NULL);
}

static epl_node *cross_entropy_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_cross_entropy(g, r, dtype, &epl_op_softmax_cross_entropy);
}

static epl_node *cross_entropy_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_cross_entropy(g, r, dtype, &epl_op_softmax_cross_entropy_grad);
}

const epl_op epl_op_softmax_cross_entropy = {
    .name = "SoftmaxCrossEntropy", .n_inputs = 3, .min_inputs = 2, .n_outputs = 1,
    .attrs = { { "smoothing", EPL_ATTR_REAL }, { "ignore_index", EPL_ATTR_INT, .def_i = -1 } },
    .infer = cross_entropy_infer, .grad = cross_entropy_grad, .expand = cross_entropy_expand, .cost = cross_entropy_cost,
    EPL_REF(epl_ref_softmax_cross_entropy), .sample = cross_entropy_sample,
};

/* SoftmaxCrossEntropyGrad(logits, target, dloss, weights) -> dlogits */
const epl_op epl_op_softmax_cross_entropy_grad = {
    .name = "SoftmaxCrossEntropyGrad", .n_inputs = 4, .min_inputs = 3, .n_outputs = 1,
    .attrs = { { "smoothing", EPL_ATTR_REAL }, { "ignore_index", EPL_ATTR_INT, .def_i = -1 } },
    .infer = cross_entropy_grad_infer, .expand = cross_entropy_grad_expand, .cost = cross_entropy_cost,
    EPL_REF(epl_ref_softmax_cross_entropy_grad), .sample = cross_entropy_grad_sample,
};

/* The weight of each row in a mean: 1, or its label's class weight; 0 where the label is ignored. [...] */
static epl_value *row_weights(epl_graph *g, epl_value *logits, epl_value *labels, epl_cross_entropy_opts o)
{
    if (!logits || !labels || epl_dtype_is_float(labels->dtype) || !(o.ignore || o.weights))
        return NULL;
    epl_value *counts = label_counts(g, labels, epl_channels(logits), o.ignore ? o.ignore_index : -1, logits->dtype);
    counts = epl_squeeze(g, counts, 1, (int[]){ -1 });
    return o.weights ? epl_mul(g, counts, epl_gather(g, o.weights, epl_cast(g, labels, EPL_I64), 0)) : counts;
}

epl_value *epl_softmax_cross_entropy(epl_graph *g, epl_value *logits, epl_value *target, epl_cross_entropy_opts o)
{
    epl_value *loss = epl_apply(g, &epl_op_softmax_cross_entropy, EPL_IN(logits, target, o.weights),
                                (epl_attr[]){ EPL_A_R(o.smoothing), EPL_A_I(o.ignore ? o.ignore_index : -1) });
    if (o.reduction != EPL_MEAN)
        return epl_reduce_loss(g, o.sample_weights ? epl_mul(g, loss, o.sample_weights) : loss, o.reduction);
    epl_value *w = row_weights(g, logits, target, o);
    if (o.sample_weights) {
        loss = epl_mul(g, loss, o.sample_weights);
        w    = w ? epl_mul(g, w, o.sample_weights) : o.sample_weights;
    }
    if (!w)
        return epl_reduce_loss(g, loss, EPL_MEAN);
    return epl_div(g, epl_reduce_sum(g, loss, (epl_reduce_opts){ 0 }), epl_reduce_sum(g, w, (epl_reduce_opts){ 0 }));
}
