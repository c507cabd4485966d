/* learn_code: filters from which patches can be put together again - principal components, sparse codes, autoencoders, restricted
 * Boltzmann machines - and patches themselves. */
#include <math.h>
#include <string.h>

#include <espalier/ops.h>
#include <espalier/train.h>

#include "analysis/filters.h"

bool epl_learn_samples(epl_learner *l)
{
    for (int j = 0; j < l->number; j++)
        for (int tries = 0; tries < 100; tries++) {
            memcpy(l->filters + (int64_t)j * l->p, epl_rows_draw(l), (size_t)l->p * sizeof(float));
            if (epl_rows_dot(l->filters + (int64_t)j * l->p, l->filters + (int64_t)j * l->p, l->p) > 0)
                break;
        }
    return true;
}

/* ---- principal components of the patches' covariance: the first stage of PCANet, Chan et al. 2015 (arXiv:1404.3606 */

bool epl_learn_pca(epl_learner *l)
{
    const size_t n = (size_t)l->p;
    double *c = epl_alloc_array(l->ctx, n * n, sizeof *c), *mean = epl_alloc_array(l->ctx, n, sizeof *mean);
    double *values = epl_alloc_array(l->ctx, n, sizeof *values), *vectors = epl_alloc_array(l->ctx, n * n, sizeof *vectors);
    bool    ok = c && mean && values && vectors;
    if (ok)
        epl_rows_covariance(l->x, l->n, l->p, mean, c);
    ok = ok && epl_eigen_symmetric(l->ctx, c, l->p, values, vectors);
    l->made = l->number < l->p ? l->number : l->p;
    for (int64_t i = 0; ok && i < (int64_t)l->made * l->p; i++)
        l->filters[i] = (float)vectors[i];
    epl_release(l->ctx, c);
    epl_release(l->ctx, mean);
    epl_release(l->ctx, values);
    epl_release(l->ctx, vectors);
    return ok;
}

/* ---- sparse codes: Olshausen & Field 1996; min 1/2 |x - D a|^2 + lambda |a|_1 ---- */

enum { ISTA_STEPS = 50, SPARSE_BATCH = 100 };

typedef struct coder {
    epl_learner *l;
    double *a, *residual, *gradient, *use; /* code [z], x - D a [p], of the filters [z, p], sum of a^2 [z] */
    double  step;
} coder;

/* The largest eigenvalue of D^T D, by its power: the step of ISTA is its inverse. */
static double largest_eigenvalue(const coder *c)
{
    const epl_learner *l = c->l;
    double value = 1;
    for (int k = 0; k < l->p; k++)
        c->residual[k] = 1 + 0.1 * k;
    for (int round = 0; round < 20; round++) {
        double norm = 0;
        memset(c->gradient, 0, (size_t)l->p * sizeof *c->gradient);
        for (int j = 0; j < l->number; j++) {
            const float *d = l->filters + (int64_t)j * l->p;
            double dot = 0;
            for (int k = 0; k < l->p; k++)
                dot += (double)d[k] * c->residual[k];
            for (int k = 0; k < l->p; k++)
                c->gradient[k] += dot * (double)d[k];
        }
        for (int k = 0; k < l->p; k++)
            norm += c->gradient[k] * c->gradient[k];
        value = sqrt(norm);
        for (int k = 0; k < l->p; k++)
            c->residual[k] = c->gradient[k] / (value > 0 ? value : 1);
    }
    return value;
}

static void subtract_reconstruction(const coder *c, const float *x)
{
    const epl_learner *l = c->l;
    for (int k = 0; k < l->p; k++)
        c->residual[k] = (double)x[k];
    for (int j = 0; j < l->number; j++)
        for (int k = 0; c->a[j] != 0 && k < l->p; k++)
            c->residual[k] -= c->a[j] * (double)l->filters[(int64_t)j * l->p + k];
}

/* Iterative shrinkage, Daubechies et al. 2004. */
static void encode(const coder *c, const float *x, double lambda)
{
    const epl_learner *l = c->l;
    memset(c->a, 0, (size_t)l->number * sizeof *c->a);
    for (int step = 0; step < ISTA_STEPS; step++) {
        subtract_reconstruction(c, x);
        for (int j = 0; j < l->number; j++) {
            double dot = 0;
            for (int k = 0; k < l->p; k++)
                dot += (double)l->filters[(int64_t)j * l->p + k] * c->residual[k];
            const double to = c->a[j] + c->step * dot, size = fabs(to) - c->step * lambda;
            c->a[j] = size > 0 ? copysign(size, to) : 0;
        }
    }
    subtract_reconstruction(c, x);
}

/* A gradient step on the filters from a batch, then length 1. */
static void learn_batch(coder *c)
{
    epl_learner *l = c->l;
    double       use = 0;
    c->step = 1 / largest_eigenvalue(c);
    memset(c->gradient, 0, (size_t)l->number * (size_t)l->p * sizeof *c->gradient);
    memset(c->use, 0, (size_t)l->number * sizeof *c->use);
    for (int i = 0; i < SPARSE_BATCH; i++) {
        encode(c, epl_rows_draw(l), 0.15);
        for (int j = 0; j < l->number; j++) {
            c->use[j] += c->a[j] * c->a[j];
            for (int k = 0; c->a[j] != 0 && k < l->p; k++)
                c->gradient[(int64_t)j * l->p + k] += c->a[j] * c->residual[k];
        }
    }
    for (int j = 0; j < l->number; j++)
        use = fmax(use, c->use[j]);
    for (int64_t i = 0; use > 0 && i < (int64_t)l->number * l->p; i++)
        l->filters[i] += (float)(c->gradient[i] / use);
    for (int j = 0; j < l->number; j++)
        epl_rows_normalise(l->filters + (int64_t)j * l->p, l->p);
}

bool epl_learn_sparse(epl_learner *l)
{
    const size_t z = (size_t)l->number, p = (size_t)l->p;
    coder c = { .l = l, .a = epl_alloc_array(l->ctx, z, sizeof(double)), .residual = epl_alloc_array(l->ctx, p, sizeof(double)),
                .gradient = epl_alloc_array(l->ctx, z * p, sizeof(double)), .use = epl_alloc_array(l->ctx, z, sizeof(double)) };
    const bool ok = c.a && c.residual && c.gradient && c.use;
    for (int batch = 0; ok && batch < 4 * l->rounds; batch++)
        learn_batch(&c);
    epl_release(l->ctx, c.a);
    epl_release(l->ctx, c.residual);
    epl_release(l->ctx, c.gradient);
    epl_release(l->ctx, c.use);
    return ok;
}

/* ---- an autoencoder with tied weights: y = W relu(W^T x + b) + c, with a price on the code; trained as any network */

static epl_graph *autoencoder(epl_context *ctx, int p, int number)
{
    epl_graph *g = epl_graph_new(ctx, "autoencoder");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, p), "N,");
    epl_value *w = epl_parameter(g, "weight", EPL_F32, EPL_SHAPE(p, number), EPL_INIT_NORMAL, 1 / sqrt(p));
    epl_value *h = epl_relu(g, epl_multiply_rows(g, x, w, epl_parameter(g, "bias", EPL_F32, EPL_SHAPE(number), EPL_INIT_ZEROS, 0), false));
    epl_output(g, "y", epl_multiply_rows(g, h, w, epl_parameter(g, "offset", EPL_F32, EPL_SHAPE(p), EPL_INIT_ZEROS, 0), true));
    epl_output(g, "code", h);
    return g;
}

/* loss + 0.1 mean |code| */
static bool price(void *user, epl_train_step *s)
{
    (void)user;
    epl_value *mean = epl_reduce_mean(s->graph, epl_abs(s->graph, s->outputs[1]), (epl_reduce_opts){ 0 });
    s->loss = epl_add(s->graph, s->loss, epl_affine(s->graph, mean, 0.1, 0));
    return s->loss != NULL;
}

bool epl_learn_autoencoder(epl_learner *l)
{
    epl_graph  *g = autoencoder(l->ctx, l->p, l->number);
    epl_model  *m = epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    epl_tensor *x = epl_tensor_new(l->ctx, EPL_F32, EPL_SHAPE(l->n, l->p)), *y = NULL;
    if (x) {
        memcpy(x->data, l->x, epl_tensor_bytes(x));
        y = epl_tensor_copy(l->ctx, x);
    }
    epl_dataset *d = x && y ? epl_dataset_from_tensors_take(l->ctx, "patches", x, y) : NULL;
    const epl_train_hook hook = { .build = price };
    const epl_trainer_opts o = { .epochs = 1 + l->rounds / 4, .batch = 100, .seed = l->o->seed, .hooks = &hook, .n_hooks = 1,
                                 .loss = { .name = "mse" }, .augment = "noise:0.2",
                                 .optimizer = { .kind = EPL_ADAM, .rate = 2e-3 }, .schedule = { .kind = EPL_RATE_COSINE } };
    epl_trainer *t = m && d && epl_model_init(m, l->o->seed) ? epl_trainer_new(m, d, NULL, o) : NULL;
    const bool   ok = t && epl_trainer_run(t);
    const float *w = ok ? epl_weights_find(m->weights, "weight")->data : NULL;
    for (int j = 0; ok && j < l->number; j++)
        for (int k = 0; k < l->p; k++)
            l->filters[(int64_t)j * l->p + k] = w[(int64_t)k * l->number + j];
    epl_trainer_free(t);
    epl_dataset_free(d);
    epl_model_free(m);
    return ok;
}

/* ---- restricted Boltzmann machine, Gaussian input and binary hidden units: contrastive divergence, Hinton 2002; a target for how
 * often a unit is on, Lee et al. 2008 ---- */

typedef struct machine {
    epl_learner *l;
    float *b, *c, *h, *v, *dw, *db; /* hidden and visible offsets; a sample's hidden units and its reconstruction; momenta */
} machine;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double hidden_probability(const machine *m, int j, const float *v)
{
    return sigmoid((double)(epl_rows_dot(m->l->filters + (int64_t)j * m->l->p, v, m->l->p) + m->b[j]));
}

/* One row: up, down, up again; the difference of the two correlations moves the weights. */
static void contrast(machine *m, const float *x)
{
    static const float RATE = 1e-3f, MOMENTUM = 0.9f, TARGET = 0.02f, SPARSE = 0.1f;
    epl_learner *l = m->l;
    memcpy(m->v, m->c, (size_t)l->p * sizeof *m->v);
    for (int j = 0; j < l->number; j++) {
        m->h[j] = (float)hidden_probability(m, j, x);
        const bool on = epl_rng_uniform(&l->rng) < m->h[j];
        for (int k = 0; on && k < l->p; k++)
            m->v[k] += l->filters[(int64_t)j * l->p + k];
    }
    for (int j = 0; j < l->number; j++) {
        const float again = (float)hidden_probability(m, j, m->v);
        float *dw = m->dw + (int64_t)j * l->p, *w = l->filters + (int64_t)j * l->p;
        m->db[j] = MOMENTUM * m->db[j] + RATE * (m->h[j] - again + SPARSE * (TARGET - m->h[j]));
        m->b[j] += m->db[j];
        for (int k = 0; k < l->p; k++) {
            dw[k] = MOMENTUM * dw[k] + RATE * (m->h[j] * x[k] - again * m->v[k]);
            w[k] += dw[k];
        }
    }
    for (int k = 0; k < l->p; k++)
        m->c[k] += RATE * (x[k] - m->v[k]);
}

bool epl_learn_rbm(epl_learner *l)
{
    const size_t z = (size_t)l->number, p = (size_t)l->p;
    float  *all = epl_alloc_array(l->ctx, 3 * z + 2 * p + z * p, sizeof *all);
    machine m = { .l = l, .b = all, .db = all + z, .h = all + 2 * z, .c = all + 3 * z, .v = all + 3 * z + p, .dw = all + 3 * z + 2 * p };
    for (size_t i = 0; all && i < z * p; i++)
        l->filters[i] *= 0.1f;
    for (int64_t step = 0; all && step < (int64_t)l->rounds * l->n / 4; step++)
        contrast(&m, epl_rows_draw(l));
    epl_release(l->ctx, all);
    return all != NULL;
}
