/* softmax: softmax, log-softmax, their gradients, and the cross-entropy of a softmax with its gradient. */
#include "kernels/bandwidth.h"
#include "kernels/vmath.h"
#include "ops/ref.h"

EPL_KERNEL(softmax);
EPL_KERNEL(log_softmax);
EPL_KERNEL(softmax_grad);
EPL_KERNEL(log_softmax_grad);
EPL_KERNEL(cross_entropy);
EPL_KERNEL(cross_entropy_grad);

/* A piece is some lines along the axis that lie together (inner 1), else one vector's width of lines side by side. */
static int64_t lines_each(const epl_softmax_params *p)
{
    return p->inner == 1 ? epl_between(1, 8192 / (p->size > 0 ? p->size : 1), 8192) : VL;
}

static int64_t pieces(const epl_softmax_params *p)
{
    const int64_t n = p->inner == 1 ? epl_cut(p->outer, lines_each(p)) : p->outer * epl_cut(p->inner, VL);
    return p->size > 0 && n > 0 ? n : 1;
}

static size_t nothing(const void *params)
{
    (void)params;
    return 0;
}

int64_t EPL_K(softmax_pieces)(const void *p) { return pieces(p); }
int64_t EPL_K(log_softmax_pieces)(const void *p) { return pieces(p); }
int64_t EPL_K(softmax_grad_pieces)(const void *p) { return pieces(p); }
int64_t EPL_K(log_softmax_grad_pieces)(const void *p) { return pieces(p); }
size_t EPL_K(softmax_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(log_softmax_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(softmax_grad_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(log_softmax_grad_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(cross_entropy_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(cross_entropy_grad_scratch)(const void *p) { return nothing(p); }

/* ---- one line of n elements ---- */

VEC_INLINE vi inside(int64_t n)
{
    return vlanes() < vseti((int32_t)epl_between(0, n, VL));
}

static float row_max(const float *x, int64_t n)
{
    vf top = vset(-INFINITY);
    for (int64_t i = 0; i < n; i += VL)
        top = vmax(top, n - i >= VL ? vload(x + i) : vsel(inside(n - i), vload_part(x + i, n - i), vset(-INFINITY)));
    return vmaximum(top);
}

/* sum exp(x - top); where `y` is given the terms are kept there. */
VEC_INLINE float row_sum(const float *x, int64_t n, float top, float *y)
{
    vf sum = { 0 };
    for (int64_t i = 0; i < n; i += VL) {
        const vf e = vexp(vload_some(x + i, n - i) - top);
        if (y)
            vstore_some(y + i, e, n - i);
        sum += n - i >= VL ? e : vsel(inside(n - i), e, vset(0));
    }
    return vsum(sum);
}

static void row_softmax(const float *x, int64_t n, int logarithm, float *y)
{
    const float top = row_max(x, n), sum = row_sum(x, n, top, logarithm ? NULL : y);
    const float shift = top + logf(sum), scale = 1 / sum;
    for (int64_t i = 0; i < n; i += VL)
        vstore_some(y + i, logarithm ? vload_some(x + i, n - i) - shift : vload_some(y + i, n - i) * scale, n - i);
}

/* Softmax: dx = y (dy - sum y dy); log: dx = dy - exp(y) sum dy. */
static void row_softmax_grad(const float *y, const float *dy, int64_t n, int logarithm, float *dx)
{
    vf sum = { 0 };
    for (int64_t i = 0; i < n; i += VL) {
        const vf d = vload_some(dy + i, n - i);
        sum += logarithm ? d : d * vload_some(y + i, n - i);
    }
    const float s = vsum(sum);
    for (int64_t i = 0; i < n; i += VL) {
        const vf p = vload_some(y + i, n - i), d = vload_some(dy + i, n - i);
        vstore_some(dx + i, logarithm ? d - vexp(p) * s : p * (d - s), n - i);
    }
}

/* ---- VL lines side by side: element i at i * step ---- */

static void side_softmax(const float *x, int64_t n, int64_t step, int64_t lanes, int logarithm, float *y)
{
    vf top = vset(-INFINITY), sum = { 0 };
    for (int64_t i = 0; i < n; i++)
        top = vmax(top, vload_part(x + i * step, lanes));
    for (int64_t i = 0; i < n; i++)
        sum += vexp(vload_part(x + i * step, lanes) - top);
    const vf shift = top + vlog(sum), scale = 1.0f / sum;
    for (int64_t i = 0; i < n; i++) {
        const vf v = vload_part(x + i * step, lanes);
        vstore_part(y + i * step, logarithm ? v - shift : vexp(v - top) * scale, lanes);
    }
}

static void side_softmax_grad(const float *y, const float *dy, int64_t n, int64_t step, int64_t lanes, int logarithm, float *dx)
{
    vf s = { 0 };
    for (int64_t i = 0; i < n; i++) {
        const vf d = vload_part(dy + i * step, lanes);
        s += logarithm ? d : d * vload_part(y + i * step, lanes);
    }
    for (int64_t i = 0; i < n; i++) {
        const vf p = vload_part(y + i * step, lanes), d = vload_part(dy + i * step, lanes);
        vstore_part(dx + i * step, logarithm ? d - vexp(p) * s : p * (d - s), lanes);
    }
}

/* ---- all lines ---- */

static void forward(const epl_call *call, int64_t begin, int64_t end, int logarithm)
{
    const epl_softmax_params *p = call->params;
    const float *x = call->in[0];
    float *y = call->out[0];
    const int64_t each = lines_each(p), sides = epl_cut(p->inner, VL);
    if (p->inner == 1) {
        for (int64_t r = begin * each; r < end * each && r < p->outer; r++)
            row_softmax(x + r * p->size, p->size, logarithm, y + r * p->size);
        return;
    }
    for (int64_t i = begin; i < end && i < p->outer * sides; i++) {
        const int64_t column = i % sides * VL, at = i / sides * p->size * p->inner + column;
        side_softmax(x + at, p->size, p->inner, epl_between(0, p->inner - column, VL), logarithm, y + at);
    }
}

static void backward(const epl_call *call, int64_t begin, int64_t end, int logarithm)
{
    const epl_softmax_params *p = call->params;
    const float *y = call->in[0], *dy = call->in[1];
    float *dx = call->out[0];
    const int64_t each = lines_each(p), sides = epl_cut(p->inner, VL);
    if (p->inner == 1) {
        for (int64_t r = begin * each; r < end * each && r < p->outer; r++)
            row_softmax_grad(y + r * p->size, dy + r * p->size, p->size, logarithm, dx + r * p->size);
        return;
    }
    for (int64_t i = begin; i < end && i < p->outer * sides; i++) {
        const int64_t column = i % sides * VL, at = i / sides * p->size * p->inner + column;
        side_softmax_grad(y + at, dy + at, p->size, p->inner, epl_between(0, p->inner - column, VL), logarithm, dx + at);
    }
}

#define SOFTMAX(name, pass, logarithm)                                                                             \
    void EPL_K(name)(const epl_call *call, int64_t begin, int64_t end, void *scratch)                              \
    {                                                                                                              \
        (void)scratch;                                                                                             \
        pass(call, begin, end, logarithm);                                                                         \
    }
SOFTMAX(softmax, forward, 0)
SOFTMAX(log_softmax, forward, 1)
SOFTMAX(softmax_grad, backward, 0)
SOFTMAX(log_softmax_grad, backward, 1)

/* ---- cross-entropy: with q_k = w_k ((1 - smoothing) target_k + smoothing / classes)
 *      loss = sum q_k (log sum exp x - x_k),   dx_k = dloss (softmax_k sum q - q_k) ---- */

static int64_t rows_each(const epl_cross_entropy_params *p)
{
    return epl_between(1, 4096 / (p->classes > 0 ? p->classes : 1), 4096);
}

int64_t EPL_K(cross_entropy_pieces)(const void *params)
{
    const epl_cross_entropy_params *p = params;
    return epl_between(1, epl_cut(p->rows, rows_each(p)), INT64_MAX);
}

int64_t EPL_K(cross_entropy_grad_pieces)(const void *params)
{
    return EPL_K(cross_entropy_pieces)(params);
}

typedef struct wanted {
    const float *probabilities, *weights; /* of this row; either may be NULL */
    int64_t      label;                   /* -1 where there is none */
    float        keep, spread;            /* 1 - smoothing, smoothing / classes */
} wanted;

/* False for a row that loses nothing. */
static int want(const epl_cross_entropy_params *p, const void *target, const float *weights, int64_t row, wanted *w)
{
    *w = (wanted){ .weights = weights, .label = -1, .keep = (float)(1 - p->smoothing),
                   .spread = (float)(p->smoothing / (double)p->classes) };
    if (p->target == EPL_REF_F32) {
        w->probabilities = (const float *)target + row * p->classes;
        return 1;
    }
    w->label = epl_ref_get_i64(&(epl_view){ .data = (void *)(uintptr_t)target, .dtype = p->target }, row); // read only
    return w->label >= 0 && w->label < p->classes && w->label != p->ignore_index;
}

VEC_INLINE vf want_at(const wanted *w, int64_t i, int64_t n)
{
    vf q = vset(w->spread);
    if (w->probabilities)
        q += vload_some(w->probabilities + i, n) * w->keep;
    else
        q += vsel(vlanes() == vseti((int32_t)(w->label >= i && w->label < i + VL ? w->label - i : -1)), vset(w->keep), vset(0));
    q = w->weights ? q * vload_some(w->weights + i, n) : q;
    return n >= VL ? q : vsel(inside(n), q, vset(0));
}

void EPL_K(cross_entropy)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_cross_entropy_params *p = call->params;
    const int64_t n = p->classes, each = rows_each(p);
    float *loss = call->out[0];
    (void)scratch;
    for (int64_t row = begin * each; row < end * each && row < p->rows; row++) {
        const float *x = (const float *)call->in[0] + row * n;
        wanted w;
        loss[row] = 0;
        if (!want(p, call->in[1], call->in[2], row, &w))
            continue;
        const float top = row_max(x, n), all = top + logf(row_sum(x, n, top, NULL));
        vf sum = { 0 };
        for (int64_t i = 0; i < n; i += VL) {
            const vf q = want_at(&w, i, n - i);
            sum += vsel(q != 0.0f, q * (all - vload_some(x + i, n - i)), vset(0)); // 0 times infinity is no loss
        }
        loss[row] = vsum(sum);
    }
}

void EPL_K(cross_entropy_grad)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_cross_entropy_params *p = call->params;
    const int64_t n = p->classes, each = rows_each(p);
    (void)scratch;
    for (int64_t row = begin * each; row < end * each && row < p->rows; row++) {
        const float *x = (const float *)call->in[0] + row * n, d = ((const float *)call->in[2])[row];
        float *dx = (float *)call->out[0] + row * n;
        wanted w;
        if (!want(p, call->in[1], call->in[3], row, &w)) {
            memset(dx, 0, (size_t)n * sizeof *dx);
            continue;
        }
        const float top = row_max(x, n), scale = 1 / row_sum(x, n, top, dx); // dx holds exp(x - top) meanwhile
        vf total = { 0 };
        for (int64_t i = 0; i < n; i += VL)
            total += want_at(&w, i, n - i);
        const float share = vsum(total) * scale;
        for (int64_t i = 0; i < n; i += VL)
            vstore_some(dx + i, (vload_some(dx + i, n - i) * share - want_at(&w, i, n - i)) * d, n - i);
    }
}
