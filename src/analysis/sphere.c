/* sphere: where classes lie among unit vectors. */
#include "analysis/classes.h"

#include <math.h>
#include <string.h>

enum { MOST = 2000 };

/* At most MOST samples, evenly taken, as unit vectors. */
static bool take(const epl_embedded *e, epl_embedded *out)
{
    if (e->n < 2 || e->width < 1)
        return epl_fail(e->ctx, EPL_ERR_ARGUMENT, "sphere: %lld samples of %lld numbers, at least 2 and 1 are needed", (long long)e->n,
                        (long long)e->width);
    if (!epl_embedded_unit(e, false, out))
        return false;
    const int64_t n = e->n < MOST ? e->n : MOST;
    for (int64_t i = 0; i < n; i++) { // places only move forwards
        const int64_t from = i * e->n / n;
        memmove(out->z + i * e->width, out->z + from * e->width, (size_t)e->width * sizeof *out->z);
        out->y[i] = out->y[from];
    }
    out->n = n;
    return true;
}

static double product(const epl_embedded *e, int64_t a, int64_t b)
{
    double sum = 0;
    for (int64_t k = 0; k < e->width; k++)
        sum += (double)(e->z[a * e->width + k] * e->z[b * e->width + k]);
    return sum;
}

static int bin_of(double cosine)
{
    const int b = (int)((cosine + 1) / 2 * EPL_SPHERE_BINS);
    return b < 0 ? 0 : b >= EPL_SPHERE_BINS ? EPL_SPHERE_BINS - 1 : b;
}

/* All pairs. For the area under the curve the cosines are counted in fine bins, since there are millions of them. */
static bool look_at_pairs(const epl_embedded *e, epl_sphere *s)
{
    enum { FINE = 4000 };
    double *fine[2] = { epl_alloc_array(e->ctx, FINE, sizeof(double)), epl_alloc_array(e->ctx, FINE, sizeof(double)) };
    double *best = epl_alloc_array(e->ctx, (size_t)e->n, sizeof *best), n[2] = { 0 }, sum[2] = { 0 }, spread = 0, below = 0, area = 0;
    bool   *same = epl_alloc_array(e->ctx, (size_t)e->n, sizeof *same); /* as the nearest so far */
    const bool ok = fine[0] && fine[1] && best && same;
    for (int64_t i = 0; ok && i < e->n; i++)
        best[i] = -2;
    for (int64_t i = 0; ok && i < e->n; i++)
        for (int64_t j = 0; j < i; j++) {
            const double c = product(e, i, j);
            const int    two = e->y[i] != e->y[j], at = (int)((c + 1) / 2 * (FINE - 1));
            n[two]++;
            sum[two] += c;
            (two ? s->inter_share : s->intra_share)[bin_of(c)]++;
            fine[two][at < 0 ? 0 : at >= FINE ? FINE - 1 : at]++;
            spread += exp(-2 * (2 - 2 * c));
            if (c > best[i])
                best[i] = c, same[i] = !two;
            if (c > best[j])
                best[j] = c, same[j] = !two;
        }
    for (int b = 0; ok && b < FINE; b++) {
        area += fine[0][b] * (below + fine[1][b] / 2);
        below += fine[1][b];
    }
    for (int64_t i = 0; ok && i < e->n; i++)
        s->recall1 += same[i] / (double)e->n;
    for (int b = 0; b < EPL_SPHERE_BINS; b++) {
        s->intra_share[b] /= n[0];
        s->inter_share[b] /= n[1];
    }
    s->intra        = sum[0] / n[0];
    s->inter        = sum[1] / n[1];
    s->alignment    = 2 - 2 * s->intra;
    s->uniformity   = log(spread / (n[0] + n[1]));
    s->verification = area / (n[0] * n[1]);
    for (int k = 0; k < 2; k++)
        epl_release(e->ctx, fine[k]);
    epl_release(e->ctx, best);
    epl_release(e->ctx, same);
    return ok;
}

static bool look_at_spread(const epl_embedded *e, epl_sphere *s)
{
    const int64_t w = e->width;
    double *mean = epl_alloc_array(e->ctx, (size_t)w, sizeof *mean), *c = epl_alloc_array(e->ctx, (size_t)(w * w), sizeof *c);
    double  trace = 0, squares = 0;
    for (int64_t i = 0; mean && c && i < e->n; i++)
        for (int64_t k = 0; k < w; k++)
            mean[k] += (double)e->z[i * w + k] / (double)e->n;
    for (int64_t i = 0; mean && c && i < e->n; i++)
        for (int64_t k = 0; k < w; k++)
            for (int64_t l = 0; l <= k; l++)
                c[k * w + l] += ((double)e->z[i * w + k] - mean[k]) * ((double)e->z[i * w + l] - mean[l]);
    for (int64_t k = 0; mean && c && k < w; k++) {
        trace += c[k * w + k];
        for (int64_t l = 0; l <= k; l++)
            squares += (l < k ? 2 : 1) * c[k * w + l] * c[k * w + l];
    }
    s->effective_dimension = squares > 0 ? trace * trace / squares : 0;
    const bool ok = mean && c;
    epl_release(e->ctx, mean);
    epl_release(e->ctx, c);
    return ok;
}

/* The mean directions of the classes that occur, and the mean of their products. */
static bool look_at_classes(const epl_embedded *e, epl_sphere *s)
{
    int64_t *members = epl_alloc_array(e->ctx, (size_t)e->n, sizeof *members), most = 0;
    for (int64_t i = 0; i < e->n; i++)
        most = e->y[i] > most ? e->y[i] : most;
    if (most > 1 << 16) {
        epl_release(e->ctx, members);
        return epl_fail(e->ctx, EPL_ERR_LIMIT, "sphere: a class is %lld, at most 65536 is possible", (long long)most);
    }
    float *means = epl_alloc_array(e->ctx, (size_t)((most + 1) * e->width), sizeof *means);
    double sum = 0;
    for (int c = 0; members && means && c <= most; c++) {
        const int64_t n = epl_members(e, c, members);
        if (n > 0)
            epl_mean_of(e, members, n, false, means + s->n_classes++ * e->width);
    }
    const epl_embedded m = { .ctx = e->ctx, .n = s->n_classes, .width = e->width, .z = means };
    for (int a = 0; members && means && a < s->n_classes; a++)
        for (int b = 0; b < a; b++)
            sum += product(&m, a, b);
    s->mean_cosine = sum / (s->n_classes * (s->n_classes - 1) / 2.0);
    s->simplex     = -1.0 / (s->n_classes - 1);
    const bool ok = members && means;
    epl_release(e->ctx, members);
    epl_release(e->ctx, means);
    return ok;
}

bool epl_sphere_of(const epl_embedded *e, epl_sphere *out)
{
    epl_embedded some = { 0 };
    *out = (epl_sphere){ 0 };
    const bool ok = take(e, &some) && look_at_pairs(&some, out) && look_at_spread(&some, out) && look_at_classes(&some, out);
    epl_embedded_release(&some);
    return ok;
}
