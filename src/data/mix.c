/* mix: the batch words. One lambda per batch, and sample i is paired with sample (i + shift) mod n: in a shuffled batch that
 * is as random as any pairing, and needs no memory.
 *
 *   mixup (Zhang et al. 2017, arXiv:1710.09412):  x = lambda x_i + (1 - lambda) x_j, labels likewise
 *   cutmix (Yun et al. 2019, arXiv:1905.04899):   a window of area 1 - lambda comes from x_j; where the border cuts it,
 *                                                 lambda is what is left of x_i */
#include <math.h>
#include <string.h>

#include "data/augment.h"
#include "data/source.h"

/* Marsaglia & Tsang 2000, "A simple method for generating gamma variables", ACM TOMS 26(3); below 1 by their note in sec. 6. */
static double draw_gamma(epl_rng *r, double alpha)
{
    if (alpha < 1) {
        const double u = 1 - epl_rng_uniform_f64(r);
        return draw_gamma(r, alpha + 1) * pow(u, 1 / alpha);
    }
    const double d = alpha - 1.0 / 3.0, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = epl_rng_normal(r), v = pow(1 + c * x, 3), u = 1 - epl_rng_uniform_f64(r);
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

double epl_draw_beta(epl_rng *r, double alpha)
{
    const double a = draw_gamma(r, alpha), b = draw_gamma(r, alpha);
    return a + b > 0 ? a / (a + b) : epl_rng_uniform(r) < 0.5f ? 0 : 1; // tiny alpha: both underflow
}

typedef struct mix {
    int64_t n, size, shift;
    float   lambda;
} mix;

static int64_t partner(const mix *m, int64_t i)
{
    return (i + m->shift) % m->n;
}

static void blend(const mix *m, float *x, const float *old)
{
    for (int64_t i = 0; i < m->n; i++) {
        const float *a = old + i * m->size, *b = old + partner(m, i) * m->size;
        float       *to = x + i * m->size;
        for (int64_t k = 0; k < m->size; k++)
            to[k] = m->lambda * a[k] + (1 - m->lambda) * b[k];
    }
}

static int64_t clamp(int64_t i, int64_t high)
{
    return i < 0 ? 0 : i > high ? high : i;
}

static void paste(mix *m, epl_rng *r, epl_shape shape, float *x, const float *old)
{
    const int64_t height = shape.dim[0], width = shape.dim[1], channels = shape.dim[2];
    const float   side = sqrtf(1 - m->lambda);
    const int64_t v = (int64_t)((float)height * side), h = (int64_t)((float)width * side);
    const int64_t cy = (int64_t)epl_rng_below(r, (uint64_t)height), cx = (int64_t)epl_rng_below(r, (uint64_t)width);
    const int64_t top = clamp(cy - v / 2, height), bottom = clamp(cy - v / 2 + v, height);
    const int64_t left = clamp(cx - h / 2, width), right = clamp(cx - h / 2 + h, width);
    m->lambda = 1 - (float)((bottom - top) * (right - left)) / (float)(height * width);
    for (int64_t i = 0; i < m->n; i++)
        for (int64_t y = top; y < bottom; y++) {
            const int64_t at = (y * width + left) * channels;
            memcpy(x + i * m->size + at, old + partner(m, i) * m->size + at,
                   (size_t)((right - left) * channels) * sizeof *x);
        }
}

static void soften(const mix *m, const int64_t *labels, int n_classes, float *soft)
{
    memset(soft, 0, (size_t)m->n * (size_t)n_classes * sizeof *soft);
    for (int64_t i = 0; i < m->n; i++, soft += n_classes) {
        soft[labels[i]] += m->lambda;
        soft[labels[partner(m, i)]] += 1 - m->lambda;
    }
}

void epl_augment_batch(const epl_augment *a, epl_draw at, float *x, const int64_t *labels, int64_t n, int n_classes,
                       float *soft, float *scratch)
{
    mix     m = { .n = n, .size = epl_shape_count(a->out), .lambda = 1 };
    epl_rng r = epl_rng_at(epl_data_seed(at.seed, "mix", at.epoch, 0), (uint64_t)at.position);
    if (n > 1 && epl_augment_mixes(a)) {
        const bool  coin = epl_rng_uniform(&r) < 0.5f;
        const bool  cut  = a->cutmix > 0 && (a->mixup == 0 || coin);
        m.shift  = 1 + (int64_t)epl_rng_below(&r, (uint64_t)n - 1);
        m.lambda = (float)epl_draw_beta(&r, cut ? a->cutmix : a->mixup);
        memcpy(scratch, x, (size_t)(n * m.size) * sizeof *x);
        if (cut)
            paste(&m, &r, a->out, x, scratch);
        else
            blend(&m, x, scratch);
    }
    soften(&m, labels, n_classes, soft);
}
