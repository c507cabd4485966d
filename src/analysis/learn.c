/* learn: the learners by name, and what they share - rows, whitening. */
#include <math.h>
#include <string.h>

#include "analysis/filters.h"

/* ---- rows ---- */

/* Eight sums side by side, in a fixed order: fast, and the same everywhere. */
float epl_rows_dot(const float *a, const float *b, int p)
{
    float sum[8] = { 0 }, rest = 0;
    int   i = 0;
    for (; i + 8 <= p; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += a[i + k] * b[i + k];
    for (; i < p; i++)
        rest += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7])) + rest;
}

float epl_rows_normalise(float *a, int p)
{
    const float length = sqrtf(epl_rows_dot(a, a, p));
    for (int i = 0; length > 0 && i < p; i++)
        a[i] /= length;
    return length;
}

const float *epl_rows_draw(epl_learner *l) { return l->x + (int64_t)epl_rng_below(&l->rng, (uint64_t)l->n) * l->p; }

void epl_rows_covariance(const float *x, int64_t n, int p, double *mean, double *c)
{
    memset(mean, 0, (size_t)p * sizeof *mean);
    memset(c, 0, (size_t)p * (size_t)p * sizeof *c);
    for (int64_t i = 0; i < n * p; i++)
        mean[i % p] += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int a = 0; a < p; a++) {
            const double xa = ((double)x[i * p + a] - mean[a]) / (double)n;
            for (int b = 0; b <= a; b++)
                c[a * p + b] += xa * ((double)x[i * p + b] - mean[b]);
        }
    for (int a = 0; a < p; a++)
        for (int b = a + 1; b < p; b++)
            c[a * p + b] = c[b * p + a];
}

/* ---- whitening ---- */

/* U f(S) U^T, where f(s) = (s + epsilon)^(-1/2). */
static void compose(const double *values, const double *vectors, int p, double epsilon, float *out)
{
    for (int a = 0; a < p; a++)
        for (int b = 0; b < p; b++) {
            double sum = 0;
            for (int i = 0; i < p; i++)
                sum += vectors[i * p + a] * vectors[i * p + b] / sqrt(fmax(values[i], 0) + epsilon);
            out[a * p + b] = (float)sum;
        }
}

bool epl_whitening(epl_context *ctx, const epl_tensor *x, double epsilon, epl_tensor **mean, epl_tensor **matrix)
{
    if (x->dtype != EPL_F32 || x->shape.rank != 2 || x->shape.dim[0] < 2)
        return epl_fail(ctx, EPL_ERR_SHAPE, "whitening needs f32 rows [n, p], at least 2");
    const int p = (int)x->shape.dim[1];
    double   *c = epl_alloc_array(ctx, (size_t)p * (size_t)p, sizeof *c), *m = epl_alloc_array(ctx, (size_t)p, sizeof *m);
    double   *values = epl_alloc_array(ctx, (size_t)p, sizeof *values), *vectors = epl_alloc_array(ctx, (size_t)p * (size_t)p, sizeof *c);
    *mean   = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(p));
    *matrix = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(p, p));
    bool ok = c && m && values && vectors && *mean && *matrix;
    if (ok)
        epl_rows_covariance(x->data, x->shape.dim[0], p, m, c);
    ok = ok && epl_eigen_symmetric(ctx, c, p, values, vectors);
    if (ok)
        compose(values, vectors, p, epsilon, (*matrix)->data);
    for (int i = 0; ok && i < p; i++)
        epl_tensor_set(*mean, i, m[i]);
    epl_release(ctx, c);
    epl_release(ctx, m);
    epl_release(ctx, values);
    epl_release(ctx, vectors);
    if (!ok) {
        epl_tensor_free(*mean);
        epl_tensor_free(*matrix);
        *mean = *matrix = NULL;
    }
    return ok;
}

/* ---- learners by name ---- */

static const struct {
    const char     *name;
    epl_learner_fn *learn;
} learners[] = {
    { "patches", epl_learn_samples },     { "pca", epl_learn_pca },
    { "kmeans", epl_learn_kmeans },       { "kmeans-plain", epl_learn_kmeans },
    { "kmeans-euclidean", epl_learn_kmeans_euclidean }, { "conv-kmeans", epl_learn_kmeans },
    { "som", epl_learn_som },             { "hebb-wta", epl_learn_hebb_wta },
    { "oja", epl_learn_sanger },          { "sanger", epl_learn_sanger },
    { "hebb", epl_learn_hebb },           { "sparse", epl_learn_sparse },
    { "ae", epl_learn_autoencoder },      { "rbm", epl_learn_rbm },
};

static epl_learner_fn *find(epl_context *ctx, const char *method)
{
    const char *names[EPL_COUNT(learners)];
    for (size_t i = 0; i < EPL_COUNT(learners); i++) {
        names[i] = learners[i].name;
        if (strcmp(names[i], method) == 0)
            return learners[i].learn;
    }
    const char *close = epl_closest(method, names, EPL_COUNT(learners));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no filters are learned by '%s'%s%s%s", method, close ? "; did you mean '" : "", close ? close : "",
             close ? "'?" : "");
    return NULL;
}

static void begin_at_random(epl_learner *l)
{
    for (int64_t i = 0; i < (int64_t)l->number * l->p; i++)
        l->filters[i] = epl_rng_normal(&l->rng);
    for (int j = 0; j < l->number; j++)
        epl_rows_normalise(l->filters + (int64_t)j * l->p, l->p);
}

static bool is_finite(const epl_learner *l)
{
    for (int64_t i = 0; i < (int64_t)l->made * l->p; i++)
        if (!isfinite(l->filters[i]))
            return epl_fail(l->ctx, EPL_ERR_ARGUMENT, "'%s' diverged: a filter is not finite", l->o->method);
    return true;
}

epl_tensor *epl_filters_learn(epl_context *ctx, const epl_tensor *x, epl_learn_opts o)
{
    epl_learner_fn *learn = find(ctx, o.method);
    o.conscience = o.conscience == 0 ? 0.02 : o.conscience < 0 ? 0 : o.conscience;
    epl_learner l = { .ctx = ctx, .group = o.group > 0 ? o.group : 1, .number = strcmp(o.method, "oja") == 0 ? 1 : o.number,
                      .rounds = o.rounds > 0 ? o.rounds : 15, .rng = epl_rng_at(o.seed, 0xF117), .o = &o };
    if (!learn)
        return NULL;
    if (x->dtype != EPL_F32 || x->shape.rank != 2 || l.number < 1 || x->shape.dim[0] / l.group < l.number) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "'%s' has to learn %d filters from %lld vectors; f32 rows [n, p], at least as many, are needed",
                 o.method, l.number, (long long)(x->shape.rank == 2 ? x->shape.dim[0] / l.group : 0));
        return NULL;
    }
    l.x       = x->data;
    l.n       = x->shape.dim[0];
    l.p       = (int)x->shape.dim[1];
    l.made    = l.number;
    l.filters = epl_alloc_array(ctx, (size_t)l.number * (size_t)l.p, sizeof *l.filters);
    epl_tensor *out = NULL;
    if (l.filters) {
        begin_at_random(&l);
        if (learn(&l) && is_finite(&l))
            out = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(l.made, l.p));
    }
    if (out)
        memcpy(out->data, l.filters, epl_tensor_bytes(out));
    epl_release(ctx, l.filters);
    return out;
}
