/* constants: channels that have one value at all places and for all inputs, and which. It is found from the sources
 * on: rows of zeros say their bias, norms whose scale is 0 their shift, and element by element what follows from it.
 * Exact but for the rounding of sums. */
#include "compress/constants.h"

#include <math.h>
#include <string.h>

static int64_t last_of(const epl_value *v) { return v->shape.rank > 0 ? epl_channels(v) : 1; }

double epl_constant_at(const epl_constants *k, const epl_value *v, int64_t channel)
{
    const double *value = v && v->producer->outputs[0] == v ? k->value[v->producer->tag] : NULL;
    return !value ? (double)NAN : last_of(v) == 1 ? value[0] : value[channel];
}

const epl_tensor *epl_constants_tensor(const epl_constants *k, const epl_value *v)
{
    const epl_node *n = v ? v->producer : NULL;
    if (EPL_IS(n, constant))
        return n->attrs[0].tensor;
    return EPL_IS(n, parameter) || EPL_IS(n, state) ? epl_weights_find(k->weights, n->attrs[0].s) : NULL;
}

/* The one value of the slice; NaN: there are several. */
static double value_of_slice(const epl_tensor *t, int axis, int64_t i)
{
    const int64_t step = epl_shape_count_from(t->shape, axis + 1, t->shape.rank), d = t->shape.dim[axis], n = epl_tensor_count(t);
    const double  first = n > 0 ? epl_tensor_get(t, i * step) : (double)NAN;
    for (int64_t base = i * step; base < n; base += d * step)
        for (int64_t k = base; k < base + step; k++)
            if (epl_tensor_get(t, k) != first)
                return (double)NAN;
    return first;
}

bool epl_slice_is_zero(const epl_tensor *t, int axis, int64_t i) { return value_of_slice(t, axis, i) == 0; }

/* ---- products ---- */

bool epl_is_product(const epl_node *n) { return EPL_IS(n, conv) || (EPL_IS(n, linear) && !epl_attr_i(n, "trans_w")); }

bool epl_is_padded(const epl_node *n)
{
    const int64_t *pads;
    const int      count = EPL_IS(n, linear) ? 0 : epl_attr_ints(n, "pads", &pads);
    for (int i = 0; i < count; i++)
        if (pads[i] != 0)
            return true;
    return false;
}

/* What input i of the weight adds to output c when it is 1 everywhere. */
static double sum_of_taps(const epl_tensor *w, int64_t i, int64_t c)
{
    const int64_t m = w->shape.dim[w->shape.rank - 1], in = w->shape.dim[w->shape.rank - 2];
    double sum = 0;
    for (int64_t at = i * m + c; at < epl_tensor_count(w); at += in * m)
        sum += epl_tensor_get(w, at);
    return sum;
}

/* The inputs that output c reads are constant: their sum. At borders it is another one, unless they are 0. */
static double product_of_constants(const epl_constants *k, const epl_node *n, const epl_tensor *w, int64_t c)
{
    const int64_t in = w->shape.dim[w->shape.rank - 2], groups = EPL_IS(n, conv) ? epl_attr_i(n, "group") : 1;
    const int64_t first = c / (last_of(n->outputs[0]) / groups) * in;
    const bool    padded = epl_is_padded(n);
    double        sum = 0;
    for (int64_t i = 0; i < in; i++) {
        const double x = epl_constant_at(k, n->inputs[0], first + i);
        if (x == 0)
            continue;
        if (isnan(x) || padded) { // then only weights of zeros help
            const int64_t m = w->shape.dim[w->shape.rank - 1];
            for (int64_t at = i * m + c; at < epl_tensor_count(w); at += in * m)
                if (epl_tensor_get(w, at) != 0)
                    return (double)NAN;
            continue;
        }
        sum += x * sum_of_taps(w, i, c);
    }
    return sum;
}

static double product_at(const epl_constants *k, const epl_node *n, int64_t c)
{
    const epl_tensor *w = epl_constants_tensor(k, n->inputs[1]);
    const bool        biased = n->n_inputs > 2 && n->inputs[2];
    const epl_tensor *b = biased ? epl_constants_tensor(k, n->inputs[2]) : NULL;
    if (!w || (biased && !b))
        return (double)NAN;
    return product_of_constants(k, n, w, c) + (b ? epl_tensor_get(b, epl_tensor_count(b) == 1 ? 0 : c) : 0);
}

/* ---- others ---- */

/* Inputs: x, scale, shift, mean, variance. */
static double norm_at(const epl_constants *k, const epl_node *n, int64_t c)
{
    double v[4];
    for (int i = 0; i < 4; i++) {
        const epl_tensor *t = epl_constants_tensor(k, n->inputs[i + 1]);
        if (!t)
            return (double)NAN;
        v[i] = epl_tensor_get(t, c);
    }
    return v[0] == 0 ? v[1] : (epl_constant_at(k, n->inputs[0], c) - v[2]) / sqrt(v[3] + epl_attr_r(n, "epsilon")) * v[0] + v[1];
}

/* Element by element: the definition itself, of one number for each channel. A product with 0 is 0 whatever the other is. */
static bool elements(const epl_constants *k, const epl_node *n, double *out)
{
    const int64_t c = last_of(n->outputs[0]);
    epl_tensor   *t[4] = { NULL };
    const int     n_in = n->n_inputs;
    bool ok = n_in <= 3;
    for (int i = 0; i <= n_in && ok; i++) {
        t[i] = epl_tensor_new(n->graph->ctx, EPL_F32, EPL_SHAPE(c));
        ok   = t[i] != NULL;
        for (int64_t j = 0; ok && i < n_in && j < c; j++)
            ((float *)t[i]->data)[j] = (float)epl_constant_at(k, n->inputs[i], j);
    }
    ok = ok && epl_evaluate_node(n, (const epl_tensor *const *)t, &t[n_in]);
    for (int64_t j = 0; ok && j < c; j++) {
        bool known = true, zero = false;
        for (int i = 0; i < n_in; i++) {
            known = known && !isnan(((float *)t[i]->data)[j]);
            zero  = zero || ((float *)t[i]->data)[j] == 0;
        }
        out[j] = known ? (double)((float *)t[n_in]->data)[j] : EPL_IS(n, mul) && zero ? 0 : (double)NAN;
    }
    for (int i = 0; i < 4; i++)
        epl_tensor_free(t[i]);
    return ok;
}

static bool is_elementwise(const epl_node *n)
{
    bool all = (n->op->flags & EPL_OP_ELEMENTWISE) && n->n_inputs <= 3 && n->outputs[0]->dtype == EPL_F32;
    for (int i = 0; all && i < n->n_inputs; i++)
        all = n->inputs[i] && n->inputs[i]->dtype == EPL_F32 &&
              (last_of(n->inputs[i]) == 1 || last_of(n->inputs[i]) == last_of(n->outputs[0]));
    return all;
}

/* Means and sums over other axes than the last. */
static bool reduces_others(const epl_node *n)
{
    const int64_t *axes;
    const int      k = EPL_IS(n, reduce_mean) || EPL_IS(n, reduce_sum) || EPL_IS(n, reduce_max) ? epl_attr_ints(n, "axes", &axes) : 0;
    for (int i = 0; i < k; i++)
        if (axes[i] == -1 || axes[i] == n->inputs[0]->shape.rank - 1)
            return false;
    return k > 0 && last_of(n->outputs[0]) == last_of(n->inputs[0]);
}

/* Whatever the value is; others pass zeros alone. */
static bool passes_all(const epl_node *n)
{
    return EPL_IS(n, dropout) || EPL_IS(n, drop_path) || EPL_IS(n, max_pool) || EPL_IS(n, adaptive_average_pool) ||
           EPL_IS(n, reduce_mean) || EPL_IS(n, reduce_max) ||
           (EPL_IS(n, average_pool) && !epl_attr_i(n, "sum") &&
            !(epl_attr_i(n, "count_include_pad") && epl_is_padded(n)));
}

static bool passes_zeros(const epl_node *n) { return EPL_IS(n, average_pool) || EPL_IS(n, resize) || EPL_IS(n, reduce_sum); }

/* The channel of input i that stands at c of the concatenation; -1: another input's. */
static int64_t channel_of(const epl_node *n, int i, int64_t c)
{
    int64_t at = 0;
    for (int k = 0; k < i; k++)
        at += last_of(n->inputs[k]);
    return c >= at && c < at + last_of(n->inputs[i]) ? c - at : -1;
}

static double concat_at(const epl_constants *k, const epl_node *n, int64_t c)
{
    const int64_t axis = epl_attr_i(n, "axis");
    const bool    last = axis == -1 || axis == n->outputs[0]->shape.rank - 1;
    double value = (double)NAN;
    for (int i = 0, seen = 0; i < n->n_inputs; i++) {
        const int64_t at = last ? channel_of(n, i, c) : c;
        const double  x  = at >= 0 ? epl_constant_at(k, n->inputs[i], at) : (double)NAN;
        if (at >= 0 && seen++ > 0 && !(x == value))
            return (double)NAN;
        value = at >= 0 ? x : value;
    }
    return value;
}

static double channel_at(const epl_constants *k, const epl_node *n, int64_t c)
{
    const epl_tensor *t = epl_constants_tensor(k, n->outputs[0]);
    if (t)
        return value_of_slice(t, t->shape.rank - 1, c);
    if (epl_is_product(n))
        return product_at(k, n, c);
    if (EPL_IS(n, batch_norm))
        return norm_at(k, n, c);
    if (EPL_IS(n, concat))
        return concat_at(k, n, c);
    if ((n->op->flags & EPL_OP_VIEW) && last_of(n->outputs[0]) % last_of(n->inputs[0]) == 0)
        return epl_constant_at(
            k, n->inputs[0],
            c % last_of(n->inputs[0])); // the last axis stays, or lies innermost in the new one; split: varies
    if (passes_all(n) || passes_zeros(n)) {
        const bool same =
            !(n->op == &epl_op_reduce_mean || n->op == &epl_op_reduce_max || n->op == &epl_op_reduce_sum) ||
            reduces_others(n);
        const double x = same ? epl_constant_at(k, n->inputs[0], c) : (double)NAN;
        return passes_all(n) || x == 0 ? x : (double)NAN;
    }
    return (double)NAN;
}

bool epl_constants_find(epl_constants *k, const epl_graph *g, const epl_weights *w, epl_arena *a)
{
    int64_t position = 0;
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = position++;
    *k = (epl_constants){ .weights = w, .arena = a, .value = epl_arena_alloc(a, (size_t)(position + 1) * sizeof *k->value) };
    if (!k->value)
        return false;
    memset(k->value, 0, (size_t)(position + 1) * sizeof *k->value);
    for (const epl_node *n = g->first; n; n = n->next) {
        if (n->n_outputs != 1 || n->outputs[0]->shape.rank < 1 || EPL_IS(n, input))
            continue;
        const int64_t c = last_of(n->outputs[0]);
        double       *value = epl_arena_alloc(a, ((size_t)c + 1) * sizeof *value);
        if (!value)
            return false;
        if (!is_elementwise(n))
            for (int64_t i = 0; i < c; i++)
                value[i] = channel_at(k, n, i);
        else if (!elements(k, n, value))
            return false;
        k->value[n->tag] = value;
    }
    return true;
}
