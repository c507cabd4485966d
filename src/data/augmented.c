/* augmented: a data set whose samples went through an augmentation once and stay as they are. */
#include <string.h>

#include "data/source.h"

/* Sample i of d through a's words, to `out`. */
static bool augment_one(epl_dataset *d, const epl_augment *a, uint64_t seed, int64_t i, float *out, void *scratch)
{
    epl_tensor *x = NULL;
    if (!epl_dataset_tensors(d, i, 1, &x, NULL))
        return false;
    epl_augment_sample(a, (epl_draw){ .seed = seed, .position = i }, x->data, NULL, out, NULL, scratch);
    epl_tensor_free(x);
    return true;
}

static epl_tensor *augment_all(epl_dataset *d, const epl_augment *a, uint64_t seed)
{
    epl_context    *ctx = d->source->ctx;
    const epl_shape one = epl_augment_shape(a);
    epl_shape       all = { .rank = one.rank + 1, .dim = { d->count } };
    memcpy(all.dim + 1, one.dim, (size_t)one.rank * sizeof *one.dim);
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, all);
    void       *scratch = epl_alloc(ctx, epl_augment_scratch_bytes(a) + 1);
    bool        ok = x && scratch;
    for (int64_t i = 0; ok && i < d->count; i++)
        ok = augment_one(d, a, seed, i, (float *)x->data + i * epl_shape_count(one), scratch);
    epl_release(ctx, scratch);
    if (ok)
        return x;
    epl_tensor_free(x);
    return NULL;
}

epl_dataset *epl_dataset_augmented(epl_dataset *d, const char *words, uint64_t seed)
{
    epl_context *ctx = d->source->ctx;
    epl_augment *a = epl_augment_parse(ctx, words, d->source->x_shape);
    epl_tensor  *x = NULL, *y = NULL;
    if (a && (epl_augment_mixes(a) || d->source->x_dtype == EPL_I64 || d->source->y_shape.rank > 1))
        epl_fail(ctx, EPL_ERR_ARGUMENT,
                 "data set '%s': '%s' cannot be applied once: it mixes batches, or moves tokens or classes per pixel",
                 d->source->name, words);
    else if (a && epl_dataset_tensors(d, 0, d->count, NULL, &y))
        x = augment_all(d, a, seed);
    epl_augment_free(a);
    if (x)
        return epl_dataset_from_tensors_take(ctx, d->source->name, x, y);
    epl_tensor_free(y);
    return NULL;
}
