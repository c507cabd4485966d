/* obs: Optimal Brain Surgeon (Hassibi & Stork 1993) on one layer. The weight whose loss costs least goes, the others make up for
 * it, its row and column leave the inverse, and so on. The inverse is dense: n^2 numbers for n weights. */
#include "compress/compress.h"

#include <math.h>

enum { MOST = 2048 };

/* inverse := (mean of g g^T + damp I)^-1 by Sherman & Morrison, a sample at a time. */
static bool invert(epl_context *ctx, const epl_tensor *samples, int64_t n, double *inverse)
{
    const int64_t s = samples->shape.dim[0];
    double *hg = epl_alloc_array(ctx, (size_t)n * 2, sizeof *hg), *g = hg + n, square = 0;
    if (!hg)
        return false;
    for (int64_t i = 0; i < s * n; i++)
        square += epl_tensor_get(samples, i) * epl_tensor_get(samples, i);
    const double damp = 1e-2 * square / (double)(s * n) + 1e-12; // a hundredth of the mean diagonal
    for (int64_t i = 0; i < n; i++)
        inverse[i * n + i] = 1 / damp;
    for (int64_t k = 0; k < s; k++) {
        double scale = (double)s;
        for (int64_t i = 0; i < n; i++)
            g[i] = epl_tensor_get(samples, k * n + i);
        for (int64_t i = 0; i < n; i++) {
            hg[i] = 0;
            for (int64_t j = 0; j < n; j++)
                hg[i] += inverse[i * n + j] * g[j];
            scale += hg[i] * g[i];
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                inverse[i * n + j] -= hg[i] * hg[j] / scale;
    }
    epl_release(ctx, hg);
    return true;
}

static int64_t least(const epl_tensor *w, const double *inverse, int64_t n, const unsigned char *stays)
{
    int64_t best = -1;
    double  cost = INFINITY;
    for (int64_t i = n; i-- > 0;) { // of equal ones the last goes
        const double x = epl_tensor_get(w, i), c = x * x / (2 * inverse[i * n + i]);
        if (stays[i] && (best < 0 || c < cost)) {
            best = i;
            cost = c;
        }
    }
    return best;
}

static void take_away(epl_tensor *w, double *inverse, int64_t n, int64_t i, unsigned char *stays)
{
    const double d = inverse[i * n + i], x = epl_tensor_get(w, i) / d;
    stays[i] = 0;
    for (int64_t k = 0; k < n; k++)
        epl_tensor_set(w, k, stays[k] ? epl_tensor_get(w, k) - x * inverse[k * n + i] : 0);
    for (int64_t r = 0; r < n; r++) {
        const double f = inverse[r * n + i] / d;
        for (int64_t k = 0; stays[r] && k < n; k++)
            inverse[r * n + k] -= f * inverse[i * n + k];
    }
}

bool epl_obs_prune(epl_context *ctx, const char *name, epl_tensor *w, const epl_tensor *samples, int64_t keep, unsigned char *stays)
{
    const int64_t n = epl_tensor_count(w);
    if (n > MOST)
        return epl_fail(ctx, EPL_ERR_LIMIT, "obs inverts a matrix of %lld x %lld for '%s'; at most %d weights: leave it out with skip",
                        (long long)n, (long long)n, name, MOST);
    if (!samples || samples->shape.rank < 1 || epl_tensor_count(samples) != samples->shape.dim[0] * n)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "criterion 'obs' needs the gradients of samples for '%s'", name);
    double *inverse = epl_alloc_array(ctx, (size_t)(n * n), sizeof *inverse);
    bool    ok = inverse && invert(ctx, samples, n, inverse);
    int64_t left = n;
    for (int64_t i = 0; ok && i < n; i++)
        stays[i] = 1;
    for (; ok && left > keep; left--)
        take_away(w, inverse, n, least(w, inverse, n, stays), stays);
    epl_release(ctx, inverse);
    return ok;
}
