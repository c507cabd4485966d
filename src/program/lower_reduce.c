/* lower_reduce: reductions, softmax and cross-entropy on their kernels (kernels/bandwidth.h). */
#include "program/lower.h"

/* A shape seen as runs of axes that all stay or all go; axes of size 1 belong to neither. */
typedef struct runs {
    int     n;
    int64_t size[EPL_MAX_RANK];
    bool    gone[EPL_MAX_RANK];
} runs;

static void add_run(runs *r, int64_t size, bool gone)
{
    if (size == 1)
        return;
    if (r->n > 0 && r->gone[r->n - 1] == gone) {
        r->size[r->n - 1] *= size;
        return;
    }
    r->size[r->n] = size;
    r->gone[r->n++] = gone;
}

static runs without(const runs *from, int at)
{
    runs r = { 0 };
    for (int i = 0; i < from->n; i++)
        if (i != at)
            add_run(&r, from->size[i], from->gone[i]);
    return r;
}

static int last_gone(const runs *r)
{
    for (int i = r->n - 1; i >= 0; i--)
        if (r->gone[i])
            return i;
    return -1;
}

static bool reduce_axis(epl_block *b, const epl_node *n, epl_reduce_params p, int in, int out)
{
    p.parts = epl_reduce_parts(&p);
    if (p.parts == 1)
        return epl_kernel_add(b, n, "reduce", &p, sizeof p, 1, &in, 1, &out) != NULL;
    const int parts = epl_buffer_new(b, (size_t)(p.parts * p.outer * p.inner) * sizeof(float));
    const epl_reduce_params second = epl_reduce_second(&p);
    return epl_kernel_add(b, n, "reduce", &p, sizeof p, 1, &in, 1, &parts) &&
           epl_kernel_add(b, n, "reduce", &second, sizeof second, 1, &parts, 1, &out);
}

/* One run after the other, from the last; `scale` and what the elements become (|x|, x^2) count once. */
static bool reduce_runs(epl_block *b, const epl_node *n, runs r, int64_t kind, double scale, int in, int out)
{
    for (int at = last_gone(&r); ; ) {
        epl_reduce_params p = { 1, 1, 1, kind, 1, 1 };
        for (int i = 0; i < r.n; i++)
            *(i < at ? &p.outer : i > at ? &p.inner : &p.size) *= r.size[i];
        if (at < 0) { // nothing to add up: every axis that goes has size 1
            p.inner = p.outer * p.size * p.inner;
            p.outer = p.size = 1;
        }
        const runs left = without(&r, at);
        const bool done = last_gone(&left) < 0;
        p.scale = done ? scale : 1;
        const int to = done ? out : epl_buffer_new(b, (size_t)(p.outer * p.inner) * sizeof(float));
        if (!reduce_axis(b, n, p, in, to))
            return false;
        if (done)
            return true;
        kind = epl_reduce_second(&p).kind;
        in = to;
        r  = left;
        at = last_gone(&r);
    }
}

static const struct {
    const epl_op *op;
    int64_t       kind;
} reductions[] = {
    { &epl_op_reduce_sum, EPL_REDUCE_SUM }, { &epl_op_reduce_mean, EPL_REDUCE_SUM }, { &epl_op_reduce_max, EPL_REDUCE_MAX },
    { &epl_op_reduce_min, EPL_REDUCE_MIN }, { &epl_op_reduce_prod, EPL_REDUCE_PROD }, { &epl_op_reduce_l1, EPL_REDUCE_SUM_ABS },
    { &epl_op_reduce_sum_square, EPL_REDUCE_SUM_SQUARE },
};

bool epl_lower_reduce(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    const int64_t  *axes;
    const int       n_axes = epl_attr_ints(n, "axes", &axes);
    bool            gone[EPL_MAX_RANK] = { false };
    if (!epl_lowers_f32(n, why))
        return false;
    for (int i = 0; i < n_axes; i++)
        gone[axes[i] < 0 ? axes[i] + x.rank : axes[i]] = true;
    const bool all = n_axes == 0 && !epl_attr_i(n, "noop_with_empty_axes");
    runs r = { 0 };
    for (int i = 0; i < x.rank; i++)
        add_run(&r, x.dim[i], all || gone[i]);
    int64_t kind = EPL_REDUCE_SUM;
    for (size_t i = 0; i < EPL_COUNT(reductions); i++)
        kind = n->op == reductions[i].op ? reductions[i].kind : kind;
    const double count = (double)epl_shape_count(x) / (double)epl_shape_count(n->outputs[0]->shape);
    return reduce_runs(b, n, r, kind, EPL_IS(n, reduce_mean) ? 1 / count : 1, epl_buffer_of(b, n->inputs[0]),
                       epl_buffer_of(b, n->outputs[0]));
}

/* The reverse of broadcasting. */
bool epl_lower_sum_to(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    runs r = { 0 };
    if (!epl_lowers_f32(n, why))
        return false;
    for (int i = 0; i < x.rank; i++) {
        const int     from = i - (x.rank - y.rank);
        const int64_t d = from < 0 ? 1 : y.dim[from];
        if (d != 1 && d != x.dim[i]) {
            *why = "sums of repetitions have no fast kernel";
            return false;
        }
        add_run(&r, x.dim[i], d == 1);
    }
    return reduce_runs(b, n, r, EPL_REDUCE_SUM, 1, epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->outputs[0]));
}

/* ---- softmax ---- */

static const char *softmax_kernel(const epl_node *n)
{
    return EPL_IS(n, softmax) ? "softmax" : EPL_IS(n, log_softmax) ? "log_softmax" : EPL_IS(n, softmax_grad) ? "softmax_grad"
                                                                                                             : "log_softmax_grad";
}

bool epl_lower_softmax(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    const int64_t   given = epl_attr_i(n, "axis"), axis = given < 0 ? given + x.rank : given;
    if (!epl_lowers_f32(n, why))
        return false;
    epl_softmax_params p = { 1, 1, 1 };
    for (int i = 0; i < x.rank; i++)
        *(i < axis ? &p.outer : i > axis ? &p.inner : &p.size) *= x.dim[i];
    int in[2];
    for (int i = 0; i < n->n_inputs; i++)
        in[i] = epl_buffer_of(b, n->inputs[i]);
    const int out = epl_buffer_of(b, n->outputs[0]);
    epl_step *s = epl_kernel_add(b, n, softmax_kernel(n), &p, sizeof p, n->n_inputs, in, 1, &out);
    if (s)
        s->in_place = 3;
    return s != NULL;
}

/* Inputs: logits, target, (dloss,) weights. */
bool epl_lower_cross_entropy(epl_block *b, const epl_node *n, const char **why)
{
    const epl_value *x = n->inputs[0], *target = n->inputs[1];
    const bool       grad = EPL_IS(n, softmax_cross_entropy_grad);
    if (x->dtype != EPL_F32 || epl_shape_count(x->shape) == 0) {
        *why = "the fast kernel takes f32 logits";
        return false;
    }
    const epl_cross_entropy_params p = { .classes = epl_channels(x), .rows = epl_shape_count(x->shape) / epl_channels(x),
                                         .target = target->dtype, .ignore_index = epl_attr_i(n, "ignore_index"),
                                         .smoothing = epl_attr_r(n, "smoothing") };
    int in[4] = { -1, -1, -1, -1 };
    for (int i = 0; i < n->n_inputs; i++)
        in[i] = epl_buffer_of(b, n->inputs[i]);
    const int out = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, grad ? "cross_entropy_grad" : "cross_entropy", &p, sizeof p, grad ? 4 : 3, in, 1, &out) != NULL;
}
