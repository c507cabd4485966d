/* budget: thresholds of early exits for a mean cost - budgeted batch classification, Huang et al. 2018
 * (arXiv:1703.09844), sec. 4.2: exit k takes the share q^k of the samples, normalised. */
#include <espalier/analysis.h>

#include "analysis/raw.h"

#include <math.h>
#include <stdlib.h>

typedef struct ranked {
    double  confidence;
    int64_t sample;
} ranked;

static int surest_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->confidence != y->confidence ? (x->confidence < y->confidence) - (x->confidence > y->confidence)
                                          : (x->sample > y->sample) - (x->sample < y->sample);
}

static double confidence(const epl_tensor *logits, int exit, int64_t i)
{
    const int64_t n = logits->shape.dim[1], classes = logits->shape.dim[2];
    const float  *z = (const float *)logits->data + (exit * n + i) * classes, most = z[epl_largest(z, classes)];
    double        sum = 0;
    for (int64_t k = 0; k < classes; k++)
        sum += exp((double)z[k] - (double)most);
    return 1 / sum;
}

bool epl_exit_thresholds(epl_context *ctx, const epl_tensor *logits, double q, double *thresholds)
{
    const int     exits = (int)logits->shape.dim[0];
    const int64_t n = logits->shape.dim[1];
    ranked *left = epl_alloc_array(ctx, (size_t)n + 1, sizeof *left);
    double  sum = 0;
    if (!left || !(q > 0))
        return left && epl_fail(ctx, EPL_ERR_ARGUMENT, "thresholds: q is %g, but shares q^k need more than 0", q);
    for (int k = 1; k <= exits; k++)
        sum += pow(q, k - exits); // scaled, so that nothing overflows
    int64_t count = n;
    for (int64_t i = 0; i < n; i++)
        left[i].sample = i;
    for (int e = 0; e + 1 < exits; e++) {
        int64_t take = (int64_t)floor((double)n * pow(q, e + 1 - exits) / sum);
        for (int64_t i = 0; i < count; i++)
            left[i].confidence = confidence(logits, e, left[i].sample);
        qsort(left, (size_t)count, sizeof *left, surest_first);
        take = take < count ? take : count;
        thresholds[e] = take > 0 ? left[take - 1].confidence : 2; // nobody
        while (take < count && left[take].confidence >= thresholds[e])
            take++; // as sure as the last one that is taken: leaves, too
        for (int64_t i = take; i < count; i++)
            left[i - take] = left[i];
        count -= take;
    }
    epl_release(ctx, left);
    return true;
}

/* Mean multiply-adds with these thresholds, the final classifier taking the rest. */
static double mean_cost(const epl_tensor *logits, const double *thresholds, const double *macs, int *taken)
{
    const int64_t n = logits->shape.dim[1];
    double        sum = 0;
    epl_exit_decide(logits, (epl_exit_rule){ .thresholds = thresholds, .last = true }, taken, NULL, NULL);
    for (int64_t i = 0; i < n; i++)
        sum += macs[taken[i]];
    return sum / (double)n;
}

bool epl_exit_budget(const epl_graph *g, const epl_tensor *logits, double budget, double *thresholds)
{
    epl_context *ctx = epl_graph_context(g);
    const int    exits = epl_n_exits(g);
    const int64_t n = logits->shape.dim[1];
    double *macs = epl_alloc_array(ctx, (size_t)exits, sizeof *macs);
    int    *taken = epl_alloc_array(ctx, (size_t)n + 1, sizeof *taken);
    bool    ok = macs && taken && epl_exit_macs(g, macs);
    if (ok && logits->shape.dim[0] != exits)
        ok = epl_fail(ctx, EPL_ERR_SHAPE, "logits of %lld classifiers, the network has %d", (long long)logits->shape.dim[0], exits);
    double low = -14, high = 14; // log q
    for (int i = 0; ok && i < 50; i++) {
        const double middle = (low + high) / 2;
        ok = epl_exit_thresholds(ctx, logits, exp(middle), thresholds);
        if (ok && mean_cost(logits, thresholds, macs, taken) <= budget)
            low = middle;
        else
            high = middle;
    }
    ok = ok && epl_exit_thresholds(ctx, logits, exp(low), thresholds);
    if (ok && mean_cost(logits, thresholds, macs, taken) > budget)
        ok = epl_fail(ctx, EPL_ERR_LIMIT, "network '%s' takes at least %.6g multiply-adds a sample, the budget is %.6g",
                      epl_graph_name(g), macs[0], budget);
    epl_release(ctx, macs);
    epl_release(ctx, taken);
    return ok;
}
