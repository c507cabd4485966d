/* learn_cluster: filters as centres of clusters of patches - k-means on the sphere and in space, and self-organising maps. */
#include <math.h>
#include <string.h>

#include "analysis/filters.h"

/* ---- k-means on the sphere: Coates & Ng 2012, "Learning feature representations with k-means" ----
 * With groups, of each group's rows only the one that fits a centre best counts: convolutional k-means (Culurciello et al. 2013,
 * arXiv:1306.0152), where a group is every position in a window, so that no centre is another one moved. */

typedef struct match {
    const float *row;
    int          centre;
    float        score;
} match;

static match best_match(const epl_learner *l, const float *rows)
{
    match best = { rows, 0, 0 };
    for (int g = 0; g < l->group; g++)
        for (int j = 0; j < l->number; j++) {
            const float s = epl_rows_dot(l->filters + (int64_t)j * l->p, rows + (int64_t)g * l->p, l->p);
            if (fabsf(s) > fabsf(best.score))
                best = (match){ rows + (int64_t)g * l->p, j, s };
        }
    return best;
}

/* D := normalise(S X + D); a centre without rows becomes a random one. */
static void move_centres(epl_learner *l, const float *sum, const int64_t *count)
{
    for (int j = 0; j < l->number; j++) {
        float *d = l->filters + (int64_t)j * l->p;
        if (count[j] == 0)
            memcpy(d, epl_rows_draw(l), (size_t)l->p * sizeof *d);
        else
            for (int i = 0; i < l->p; i++)
                d[i] += sum[(int64_t)j * l->p + i];
        epl_rows_normalise(d, l->p);
    }
}

bool epl_learn_kmeans(epl_learner *l)
{
    const size_t size = (size_t)l->number * (size_t)l->p;
    float   *sum   = epl_alloc_array(l->ctx, size, sizeof *sum);
    int64_t *count = epl_alloc_array(l->ctx, (size_t)l->number, sizeof *count);
    for (int round = 0; sum && count && round < l->rounds; round++) {
        memset(sum, 0, size * sizeof *sum);
        memset(count, 0, (size_t)l->number * sizeof *count);
        for (int64_t i = 0; i + l->group <= l->n; i += l->group) {
            const match m = best_match(l, l->x + i * l->p);
            count[m.centre] += m.score != 0;
            for (int k = 0; k < l->p; k++)
                sum[(int64_t)m.centre * l->p + k] += m.score * m.row[k];
        }
        move_centres(l, sum, count);
    }
    epl_release(l->ctx, sum);
    epl_release(l->ctx, count);
    return sum && count;
}

/* ---- k-means in space: Lloyd 1982 ---- */

static int nearest(const epl_learner *l, const float *x)
{
    int    best = 0;
    double least = INFINITY;
    for (int j = 0; j < l->number; j++) {
        double d2 = 0;
        for (int k = 0; k < l->p; k++) {
            const double d = (double)x[k] - (double)l->filters[(int64_t)j * l->p + k];
            d2 += d * d;
        }
        if (d2 < least) {
            least = d2;
            best  = j;
        }
    }
    return best;
}

static double distance2(const float *a, const float *b, int p)
{
    double d2 = 0;
    for (int k = 0; k < p; k++)
        d2 += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
    return d2;
}

/* The first centre is a random row; each further one is the row farthest from those there are, of some random ones. */
static void spread_centres(epl_learner *l)
{
    enum { TRIES = 64 };
    for (int j = 0; j < l->number; j++) {
        const float *farthest = epl_rows_draw(l);
        double       most = -1;
        for (int i = 0; j > 0 && i < TRIES; i++) {
            const float *x = epl_rows_draw(l);
            double least = INFINITY;
            for (int k = 0; k < j; k++)
                least = fmin(least, distance2(x, l->filters + (int64_t)k * l->p, l->p));
            if (least > most) {
                most     = least;
                farthest = x;
            }
        }
        memcpy(l->filters + (int64_t)j * l->p, farthest, (size_t)l->p * sizeof(float));
    }
}

bool epl_learn_kmeans_euclidean(epl_learner *l)
{
    const size_t size = (size_t)l->number * (size_t)l->p;
    double  *sum   = epl_alloc_array(l->ctx, size, sizeof *sum);
    int64_t *count = epl_alloc_array(l->ctx, (size_t)l->number, sizeof *count);
    if (sum && count)
        spread_centres(l);
    for (int round = 0; sum && count && round < l->rounds; round++) {
        memset(sum, 0, size * sizeof *sum);
        memset(count, 0, (size_t)l->number * sizeof *count);
        for (int64_t i = 0; i < l->n; i++) {
            const int j = nearest(l, l->x + i * l->p);
            count[j]++;
            for (int k = 0; k < l->p; k++)
                sum[(int64_t)j * l->p + k] += (double)l->x[i * l->p + k];
        }
        for (int j = 0; j < l->number; j++)
            for (int k = 0; k < l->p; k++)
                l->filters[(int64_t)j * l->p + k] = count[j] ? (float)(sum[(int64_t)j * l->p + k] / (double)count[j])
                                                             : epl_rows_draw(l)[k];
    }
    epl_release(l->ctx, sum);
    epl_release(l->ctx, count);
    return sum && count;
}

/* ---- self-organising map: Kohonen 1982, on a grid as square as the number allows ---- */

static void som_grid(int number, int *rows, int *columns)
{
    *rows = (int)sqrt((double)number);
    while (number % *rows)
        --*rows;
    *columns = number / *rows;
}

bool epl_learn_som(epl_learner *l)
{
    int rows, columns;
    som_grid(l->number, &rows, &columns);
    const int64_t steps = (int64_t)l->rounds * l->n;
    const double  wide = fmax(columns, rows) / 2.0;
    for (int j = 0; j < l->number; j++)
        memcpy(l->filters + (int64_t)j * l->p, epl_rows_draw(l), (size_t)l->p * sizeof(float));
    for (int64_t step = 0; step < steps; step++) {
        const double at = (double)step / (double)steps;
        const double rate = 0.5 * pow(0.01 / 0.5, at), sigma = wide > 0.5 ? wide * pow(0.5 / wide, at) : 0.5;
        const float *x = epl_rows_draw(l);
        const int    best = nearest(l, x);
        for (int j = 0; j < l->number; j++) {
            const double dr = j / columns - best / columns, dc = j % columns - best % columns;
            const double pull = rate * exp(-(dr * dr + dc * dc) / (2 * sigma * sigma));
            float       *w = l->filters + (int64_t)j * l->p;
            for (int k = 0; pull > 1e-6 && k < l->p; k++)
                w[k] += (float)pull * (x[k] - w[k]);
        }
    }
    return true;
}
