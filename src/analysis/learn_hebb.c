/* learn_hebb: filters by local rules - what fires together is strengthened. */
#include <math.h>
#include <string.h>

#include "analysis/filters.h"

/* The mean of |x|^2: what rates are measured in. */
static double mean_square(const epl_learner *l)
{
    double sum = 0;
    for (int64_t i = 0; i < l->n * l->p; i++)
        sum += (double)l->x[i] * (double)l->x[i];
    return sum > 0 ? sum / (double)l->n : 1;
}

/* Competitive learning (Rumelhart & Zipser 1985) on rows of length 1: the filter that answers most moves towards the
 * row. The conscience (DeSieno 1988) takes off what a filter has won more than its share, so that none stays idle. */
bool epl_learn_hebb_wta(epl_learner *l)
{
    const int64_t steps = (int64_t)l->rounds * l->n;
    double *wins = epl_alloc_array(l->ctx, (size_t)l->number, sizeof *wins);
    float  *x    = epl_alloc_array(l->ctx, (size_t)l->p, sizeof *x);
    for (int64_t step = 0; wins && x && step < steps; step++) {
        const float rate = (float)(0.1 * pow(0.05, (double)step / (double)steps));
        memcpy(x, epl_rows_draw(l), (size_t)l->p * sizeof *x);
        if (epl_rows_normalise(x, l->p) == 0)
            continue;
        int    best = 0;
        double most = -INFINITY;
        for (int j = 0; j < l->number; j++) {
            const double share = wins[j] * l->number - 1;
            const double score = (double)epl_rows_dot(l->filters + (int64_t)j * l->p, x, l->p) - l->o->conscience * share;
            if (score > most) {
                most = score;
                best = j;
            }
        }
        for (int j = 0; j < l->number; j++) // shares over about a thousand rows
            wins[j] += 1e-3 * ((j == best) - wins[j]);
        float *w = l->filters + (int64_t)best * l->p;
        for (int k = 0; k < l->p; k++)
            w[k] += rate * (x[k] - w[k]);
        epl_rows_normalise(w, l->p);
    }
    epl_release(l->ctx, wins);
    epl_release(l->ctx, x);
    return wins && x;
}

/* Generalised Hebbian algorithm, Sanger 1989, eq. (2): dW = rate (y x^T - LT(y y^T) W), LT the lower triangle. The
 * first filter alone is Oja's rule (1982), dw = rate y (x - y w). They become the principal components, in order. */
bool epl_learn_sanger(epl_learner *l)
{
    const int64_t steps = (int64_t)l->rounds * l->n;
    const double  first = 0.2 / mean_square(l);
    double *rest = epl_alloc_array(l->ctx, (size_t)l->p, sizeof *rest);
    if (l->number > l->p)
        l->made = l->p;
    for (int64_t step = 0; rest && step < steps; step++) {
        const float *x    = epl_rows_draw(l);
        const double rate = first / (1 + 50.0 * (double)step / (double)steps);
        for (int k = 0; k < l->p; k++)
            rest[k] = (double)x[k];
        for (int j = 0; j < l->made; j++) {
            float       *w = l->filters + (int64_t)j * l->p;
            const double y = (double)epl_rows_dot(w, x, l->p);
            for (int k = 0; k < l->p; k++) {
                rest[k] -= y * (double)w[k]; // x less what this filter and those before it explain
                w[k] += (float)(rate * y * rest[k]);
            }
        }
    }
    epl_release(l->ctx, rest);
    return rest != NULL;
}

/* Hebb's rule as it stands, dw = rate y x: it diverges. For comparison alone. */
bool epl_learn_hebb(epl_learner *l)
{
    const double rate = 1e-2 / mean_square(l);
    for (int64_t step = 0; step < (int64_t)l->rounds * l->n; step++) {
        const float *x = epl_rows_draw(l);
        for (int j = 0; j < l->number; j++) {
            float       *w = l->filters + (int64_t)j * l->p;
            const double y = (double)epl_rows_dot(w, x, l->p);
            for (int k = 0; k < l->p; k++)
                w[k] += (float)(rate * y * (double)x[k]);
        }
    }
    return true;
}
