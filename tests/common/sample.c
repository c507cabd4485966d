/* sample: see sample.h. */
#include "common/sample.h"

#include <espalier/ops.h>

static double draw(epl_rng *r, double low, double high) { return low + (high - low) * epl_rng_uniform_f64(r); }

/* Distinct levels in a random order, `apart` from each other and from zero; jittered by less than the gap. */
static void draw_apart(epl_rng *r, epl_tensor *x, double low, double high, double apart)
{
    const int64_t n      = epl_tensor_count(x);
    const double  step   = (high - low) / (double)(n + 1) > 3 * apart ? (high - low) / (double)(n + 1) : 3 * apart;
    int64_t      *order  = malloc((size_t)(n + 1) * sizeof *order);
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    epl_rng_shuffle(r, order, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        double x0 = low + step * ((double)order[i] + 0.5) + draw(r, -0.2, 0.2) * step;
        if (fabs(x0) < apart)
            x0 = x0 < 0 ? x0 - apart : x0 + apart;
        epl_tensor_set(x, i, x0);
    }
    free(order);
}

void sample_values(test *t, const epl_graph *g, epl_tensor **values)
{
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        double low = -1, high = 1, apart = 0;
        sscanf(v->producer->attrs[3].s, "|%lf|%lf|%lf", &low, &high, &apart);
        values[i] = epl_tensor_new(g->ctx, v->dtype, v->shape);
        CHECK_OK(t, g->ctx, values[i] != NULL);
        if (apart > 0 && epl_dtype_is_float(v->dtype)) {
            draw_apart(t->rng, values[i], low, high, apart);
            continue;
        }
        for (int64_t k = 0; k < epl_tensor_count(values[i]); k++)
            if (epl_dtype_is_float(v->dtype))
                epl_tensor_set(values[i], k, draw(t->rng, low, high));
            else
                epl_tensor_set_i64(values[i], k, (int64_t)low + (int64_t)epl_rng_below(t->rng, (uint64_t)(high - low) + 1));
    }
}

epl_value *sample_projection(test *t, epl_graph *g, const epl_node *n)
{
    epl_value *sum = NULL;
    for (int i = 0; i < n->n_outputs; i++) {
        epl_value *y = n->outputs[i];
        if (!epl_dtype_is_float(y->dtype) || epl_shape_count(y->shape) == 0)
            continue;
        epl_tensor *weights = epl_tensor_new(g->ctx, y->dtype, y->shape);
        epl_tensor_fill_uniform(weights, t->rng, -1, 1);
        epl_value *part = epl_reduce_sum(g, epl_mul(g, y, epl_constant(g, weights)), (epl_reduce_opts){ 0 });
        sum = sum ? epl_add(g, sum, part) : part;
        epl_tensor_free(weights);
    }
    return sum;
}
