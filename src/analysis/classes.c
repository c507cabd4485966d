/* classes: means of classes among embeddings, and which is nearest. */
#include "analysis/classes.h"

#include <math.h>
#include <string.h>

void epl_to_unit(float *z, int64_t width)
{
    double square = 0;
    for (int64_t i = 0; i < width; i++)
        square += (double)z[i] * (double)z[i];
    const double by = 1 / sqrt(square + 1e-24);
    for (int64_t i = 0; i < width; i++)
        z[i] = (float)((double)z[i] * by);
}

bool epl_embedded_unit(const epl_embedded *e, bool as_it_is, epl_embedded *out)
{
    *out = (epl_embedded){ .ctx = e->ctx, .n = e->n, .width = e->width };
    out->z = epl_alloc_array(e->ctx, (size_t)(e->n * e->width), sizeof *out->z);
    out->y = epl_alloc_array(e->ctx, (size_t)e->n, sizeof *out->y);
    if (!out->z || !out->y) {
        epl_embedded_release(out);
        return false;
    }
    memcpy(out->z, e->z, (size_t)(e->n * e->width) * sizeof *out->z);
    memcpy(out->y, e->y, (size_t)e->n * sizeof *out->y);
    for (int64_t i = 0; !as_it_is && i < e->n; i++)
        epl_to_unit(out->z + i * e->width, e->width);
    return true;
}

int64_t epl_members(const epl_embedded *e, int c, int64_t *list)
{
    int64_t n = 0;
    for (int64_t i = 0; i < e->n; i++)
        if (e->y[i] == c)
            list[n++] = i;
    return n;
}

void epl_mean_of(const epl_embedded *e, const int64_t *rows, int64_t n, bool as_it_is, float *mean)
{
    for (int64_t k = 0; k < e->width; k++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)e->z[rows[i] * e->width + k];
        mean[k] = (float)(sum / (double)n);
    }
    if (!as_it_is)
        epl_to_unit(mean, e->width);
}

int epl_nearest(const float *z, int64_t width, const float *means, int n_means, bool euclidean, double *score)
{
    int   best = 0;
    float most = -INFINITY;
    for (int c = 0; c < n_means; c++) {
        const float *m = means + c * width;
        float        s = 0;
        for (int64_t k = 0; k < width; k++)
            s += euclidean ? -(z[k] - m[k]) * (z[k] - m[k]) : z[k] * m[k];
        if (s > most) {
            most = s;
            best = c;
        }
    }
    if (score)
        *score = (double)most;
    return best;
}
