/* density: how much of each layer stays when the whole is to have a given density. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

int64_t epl_keep_count(int64_t count, double sparsity)
{
    return count - (int64_t)floor(sparsity * (double)count + 0.5);
}

/* (o + i) / (o i), or with the kernel's sizes in sum and product: Erdos-Renyi(-Kernel). */
static double raw_density(const epl_layer *l, bool kernel, double power)
{
    const epl_shape s = epl_shape_of(l->weight);
    const bool conv = l->kind == EPL_LAYER_CONV || l->kind == EPL_LAYER_DEPTHWISE;
    double sum = 0, product = 1;
    for (int i = kernel && conv ? 0 : s.rank - 2; i < s.rank; i++) {
        sum += (double)s.dim[i];
        product *= (double)s.dim[i];
    }
    return power == 1 ? sum / product : pow(sum / product, power);
}

/* Layers that the rule would make more than dense become dense, those of the highest raw density first, and the others share
 * what remains: Evci et al. 2020, appendix. `dense` holds the layers that are so from the start. */
static bool proportional(epl_context *ctx, double d, bool kernel, double power, const epl_layer *layers, int n, bool *dense, double *out)
{
    for (;;) {
        double want = 0, have = 0, most = 0;
        for (int i = 0; i < n; i++) {
            const double count = (double)layers[i].count, raw = raw_density(&layers[i], kernel, power);
            want += dense[i] ? -(1 - d) * count : d * count;
            have += dense[i] ? 0 : raw * count;
            most = !dense[i] && raw > most ? raw : most;
        }
        const double eps = have > 0 ? want / have : 0;
        if (eps <= 0)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "a density of %g is less than the layers that stay dense need", d);
        bool fits = true;
        for (int i = 0; i < n; i++) {
            const double raw = raw_density(&layers[i], kernel, power);
            out[i] = dense[i] ? 1 : eps * raw;
            if (out[i] > 1 && raw == most) {
                dense[i] = true;
                fits = false;
            }
        }
        if (fits)
            return true;
    }
}

/* First convolution dense, last layer at least 0.2. */
static bool uniform_plus(epl_context *ctx, double d, const epl_layer *layers, int n, double *out)
{
    int first = -1;
    for (int i = 0; i < n && first < 0; i++)
        if (layers[i].kind == EPL_LAYER_CONV)
            first = i;
    const double of_last = d > 0.2 ? d : 0.2;
    double total = 0, rest = 0, spent = 0;
    for (int i = 0; i < n; i++) {
        const double count = (double)layers[i].count;
        total += count;
        spent += i == first ? count : i == n - 1 ? of_last * count : 0;
        rest += i == first || i == n - 1 ? 0 : count;
    }
    const double shared = rest > 0 ? (d * total - spent) / rest : 0;
    if (shared <= 0 || shared > 1)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "uniform+ cannot reach a density of %g: the layers between first and last would "
                        "need %g", d, shared);
    for (int i = 0; i < n; i++)
        out[i] = i == first ? 1 : i == n - 1 ? of_last : shared;
    return true;
}

bool epl_densities(epl_context *ctx, const char *rule, double density, double power, const epl_layer *layers, int n, double *out)
{
    for (int i = 0; i < n; i++)
        out[i] = density;
    if (strcmp(rule, "uniform") == 0 || n == 0)
        return true;
    if (strcmp(rule, "uniform+") == 0)
        return uniform_plus(ctx, density, layers, n, out);
    bool *dense = epl_alloc_array(ctx, (size_t)n, sizeof *dense);
    if (!dense)
        return false;
    dense[n - 1] = strcmp(rule, "erk+") == 0;
    const bool ok = proportional(ctx, density, strcmp(rule, "er") != 0, power > 0 ? power : 1, layers, n, dense, out);
    epl_release(ctx, dense);
    return ok;
}
