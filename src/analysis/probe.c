/* probe: how well a linear classifier reads features, by k-fold cross-validation. */
#include <math.h>
#include <string.h>

#include <espalier/analysis.h>
#include <espalier/nn.h>

/* Features with mean 0 and deviation 1 in every column, and labels, as a data set. */
static epl_dataset *standardised(epl_context *ctx, const epl_tensor *features, const epl_tensor *labels)
{
    const int64_t n = features->shape.dim[0], d = features->shape.dim[1];
    epl_tensor   *x = epl_tensor_new(ctx, EPL_F32, features->shape), *y = epl_tensor_cast(ctx, labels, EPL_I64);
    for (int64_t k = 0; x && y && k < d; k++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < n; i++) {
            const double v = epl_tensor_get(features, i * d + k);
            mean += v / (double)n;
            square += v * v / (double)n;
        }
        const double scale = 1 / sqrt(fmax(square - mean * mean, 1e-12));
        for (int64_t i = 0; i < n; i++)
            epl_tensor_set(x, i * d + k, (epl_tensor_get(features, i * d + k) - mean) * scale);
    }
    if (x && y)
        return epl_dataset_from_tensors_take(ctx, "features", x, y);
    epl_tensor_free(x);
    epl_tensor_free(y);
    return NULL;
}

static epl_model *linear(epl_context *ctx, int64_t width, int classes, uint64_t seed)
{
    epl_graph *g = epl_graph_new(ctx, "probe");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, width), "N,");
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .out = classes, .init = EPL_START_ZERO }));
    epl_model *m = epl_model_new_take(g);
    if (m && epl_model_init(m, seed))
        return m;
    epl_model_free(m);
    return NULL;
}

/* Trains on all but the fold, tests on the fold; adds what is right of it. */
static bool fold(epl_context *ctx, epl_dataset *d, const int64_t *order, int64_t n, int k, const epl_probe_opts *o, double *right)
{
    const int64_t first = n * k / o->folds, end = n * (k + 1) / o->folds;
    int64_t      *rest = epl_alloc_array(ctx, (size_t)n + 1, sizeof *rest), m = 0;
    for (int64_t i = 0; rest && i < n; i++)
        if (i < first || i >= end)
            rest[m++] = order[i];
    epl_dataset *train = rest ? epl_dataset_subset(d, rest, m) : NULL,
                *test = train ? epl_dataset_subset(d, order + first, end - first) : NULL;
    const epl_dataset_info info = epl_dataset_info_of(d);
    epl_model   *probe = test ? linear(ctx, info.x_shape.dim[0], info.n_classes, o->seed) : NULL;
    epl_trainer *t = probe ? epl_trainer_new(probe, train, test, (epl_trainer_opts){ .epochs = o->epochs, .batch = 256, .seed = o->seed,
                                 .val_every = o->epochs, .optimizer = { .kind = EPL_ADAMW, .rate = 0.02, .decay = o->decay },
                                 .schedule = { .kind = EPL_RATE_COSINE } }) : NULL;
    const bool ok = t && epl_trainer_run(t);
    int        epochs = 0;
    if (ok)
        *right += epl_trainer_history(t, &epochs)[o->epochs - 1].val_accuracy * (double)(end - first);
    epl_trainer_free(t);
    epl_model_free(probe);
    epl_dataset_free(test);
    epl_dataset_free(train);
    epl_release(ctx, rest);
    return ok;
}

bool epl_probe(epl_context *ctx, const epl_tensor *features, const epl_tensor *labels, epl_probe_opts o, double *accuracy)
{
    const int64_t n = features->shape.rank == 2 ? features->shape.dim[0] : 0;
    o.folds  = o.folds ? o.folds : 5;
    o.epochs = o.epochs ? o.epochs : 30;
    o.decay  = o.decay > 0 ? o.decay : 1e-3;
    if (labels->shape.rank != 1 || labels->shape.dim[0] != n || n < o.folds || o.folds < 2)
        return epl_fail(
            ctx, EPL_ERR_ARGUMENT,
            "probe: features of rank %d with %lld rows, %lld labels, %d folds, but every row has a label and every "
            "fold a row",
            features->shape.rank, (long long)n, (long long)(labels->shape.rank ? labels->shape.dim[0] : 0), o.folds);
    epl_dataset *d = standardised(ctx, features, labels);
    int64_t     *order = d ? epl_alloc_array(ctx, (size_t)n + 1, sizeof *order) : NULL;
    epl_rng      r = epl_rng_at(o.seed, 0x70726f62); // "prob"
    double       right = 0;
    for (int64_t i = 0; order && i < n; i++)
        order[i] = i;
    if (order)
        epl_rng_shuffle(&r, order, (size_t)n);
    bool ok = order != NULL;
    for (int k = 0; ok && k < o.folds; k++)
        ok = fold(ctx, d, order, n, k, &o, &right);
    *accuracy = right / (double)n;
    epl_release(ctx, order);
    epl_dataset_free(d);
    return ok;
}
