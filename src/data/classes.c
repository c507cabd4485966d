/* classes: the samples of some classes alone, numbered anew. A copy in memory, since labels belong to the source. */
#include "data/source.h"

#include <string.h>

/* number[c]: what class c becomes; -1: it is left out. */
static bool number_classes(const epl_dataset *d, const int *classes, int n, int *number)
{
    epl_context *ctx = d->source->ctx;
    for (int c = 0; c < d->source->n_classes; c++)
        number[c] = -1;
    for (int k = 0; k < n; k++) {
        if (classes[k] < 0 || classes[k] >= d->source->n_classes)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': class %d of %d", d->source->name, classes[k], d->source->n_classes);
        if (number[classes[k]] >= 0)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': class %d is named twice", d->source->name, classes[k]);
        number[classes[k]] = k;
    }
    return true;
}

static int class_at(epl_dataset *d, int64_t i, const int *number)
{
    int64_t label = 0;
    epl_source_fetch_y(d->source, epl_dataset_index(d, i), &label);
    return label >= 0 && label < d->source->n_classes ? number[label] : -1;
}

static bool fill(epl_dataset *d, const int *number, epl_tensor *x, epl_tensor *y)
{
    const size_t row = epl_tensor_bytes(x) / (size_t)x->shape.dim[0];
    int64_t      at  = 0;
    for (int64_t i = 0; i < d->count; i++) {
        const int k = class_at(d, i, number);
        if (k < 0)
            continue;
        if (!epl_source_fetch_x(d->source, d->source->ctx, epl_dataset_index(d, i), (char *)x->data + (size_t)at * row))
            return false;
        ((int64_t *)y->data)[at++] = k;
    }
    return true;
}

static bool each_occurs(epl_dataset *d, const int *number, const int *classes, int n, int64_t *total)
{
    for (int k = 0; k < n; k++) {
        int64_t here = 0;
        for (int64_t i = 0; i < d->count; i++)
            here += class_at(d, i, number) == k;
        if (here == 0)
            return epl_fail(d->source->ctx, EPL_ERR_ARGUMENT, "data set '%s': no sample of class %d (%s)", d->source->name, classes[k],
                            epl_dataset_class_name(d, classes[k]));
        *total += here;
    }
    return true;
}

epl_dataset *epl_dataset_of_classes(epl_dataset *d, const int *classes, int n)
{
    const epl_source *s   = d->source;
    epl_context      *ctx = s->ctx;
    int64_t           total = 0;
    if (s->n_classes < 1 || s->y_shape.rank > 0 || n < 1) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': %d classes asked for, of samples with %s", s->name, n,
                 s->n_classes < 1 || s->y_shape.rank > 0 ? "no class" : "classes");
        return NULL;
    }
    int         *number = epl_alloc_array(ctx, (size_t)s->n_classes, sizeof *number);
    const char **names  = epl_alloc_array(ctx, (size_t)n, sizeof *names);
    epl_dataset *out    = NULL;
    if (number && names && number_classes(d, classes, n, number) && each_occurs(d, number, classes, n, &total)) {
        epl_shape shape = { .rank = s->x_shape.rank + 1, .dim = { total } };
        memcpy(shape.dim + 1, s->x_shape.dim, (size_t)s->x_shape.rank * sizeof *shape.dim);
        epl_tensor *x = epl_tensor_new(ctx, s->x_dtype, shape), *y = x ? epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(total)) : NULL;
        if (y && fill(d, number, x, y)) {
            out = epl_dataset_from_tensors_take(ctx, s->name, x, y);
            for (int k = 0; k < n; k++)
                names[k] = epl_dataset_class_name(d, classes[k]);
            if (out && !epl_source_set_classes(out->source, names, n)) {
                epl_dataset_free(out);
                out = NULL;
            }
        } else {
            epl_tensor_free(x);
            epl_tensor_free(y);
        }
    }
    epl_release(ctx, number);
    epl_release(ctx, names);
    return out;
}
