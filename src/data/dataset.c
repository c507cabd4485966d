/* dataset: views of a source - subsets, ranges, cuts - and what people and loaders read from them. */
#include <inttypes.h>
#include <string.h>

#include "data/source.h"

static epl_dataset *view_new(epl_source *s, int64_t first, int64_t count)
{
    epl_dataset *d = epl_alloc(s->ctx, sizeof *d);
    if (!d)
        return NULL;
    *d = (epl_dataset){ .source = s, .first = first, .count = count };
    s->n_views++;
    return d;
}

epl_dataset *epl_dataset_of_take(epl_source *s)
{
    epl_dataset *d = view_new(s, 0, s->count);
    if (!d)
        epl_source_free(s);
    return d;
}

void epl_dataset_free(epl_dataset *d)
{
    if (!d)
        return;
    epl_source  *s   = d->source;
    epl_context *ctx = s->ctx;
    epl_release(ctx, d->indices);
    epl_release(ctx, d);
    if (--s->n_views == 0)
        epl_source_free(s);
}

/* A view of n samples of d, its indices still to be filled in. */
static epl_dataset *view_with_indices(epl_source *s, int64_t n)
{
    epl_dataset *v = view_new(s, 0, n);
    if (!v)
        return NULL;
    v->indices = epl_alloc_array(s->ctx, (size_t)n + 1, sizeof *v->indices);
    if (!v->indices) {
        epl_dataset_free(v);
        return NULL;
    }
    return v;
}

epl_dataset *epl_dataset_subset(epl_dataset *d, const int64_t *indices, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (indices[i] < 0 || indices[i] >= d->count) {
            epl_fail(d->source->ctx, EPL_ERR_ARGUMENT, "data set '%s': sample %" PRId64 " of %" PRId64, d->source->name,
                     indices[i], d->count);
            return NULL;
        }
    epl_dataset *v = view_with_indices(d->source, n);
    for (int64_t i = 0; v && i < n; i++)
        v->indices[i] = epl_dataset_index(d, indices[i]);
    return v;
}

epl_dataset *epl_dataset_range(epl_dataset *d, int64_t first, int64_t count)
{
    if (first < 0 || count < 0 || first > d->count || count > d->count - first) {
        epl_fail(d->source->ctx, EPL_ERR_ARGUMENT, "data set '%s': samples %" PRId64 " to %" PRId64 " of %" PRId64,
                 d->source->name, first, first + count, d->count);
        return NULL;
    }
    if (!d->indices)
        return view_new(d->source, d->first + first, count);
    epl_dataset *v = view_with_indices(d->source, count);
    if (v)
        memcpy(v->indices, d->indices + first, (size_t)count * sizeof *v->indices);
    return v;
}

epl_dataset *epl_dataset_share(const epl_dataset *d)
{
    return epl_dataset_range((epl_dataset *)(uintptr_t)d, 0, d->count); // only the source's counter changes
}

/* chosen[i]: does sample i go to the part? */
static bool choose(epl_dataset *d, int64_t n_part, uint64_t seed, bool *chosen)
{
    epl_context *ctx   = d->source->ctx;
    int64_t     *order = epl_alloc_array(ctx, (size_t)d->count + 1, sizeof *order);
    if (!order)
        return false;
    for (int64_t i = 0; i < d->count; i++)
        order[i] = i;
    epl_rng r = epl_rng_at(epl_data_seed(seed, "cut", 0, 0), 0);
    epl_rng_shuffle(&r, order, (size_t)d->count);
    for (int64_t i = 0; i < n_part; i++)
        chosen[order[i]] = true;
    epl_release(ctx, order);
    return true;
}

bool epl_dataset_cut(epl_dataset *d, double fraction, uint64_t seed, epl_dataset **rest, epl_dataset **part)
{
    epl_context *ctx = d->source->ctx;
    if (!(fraction >= 0 && fraction <= 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': cannot cut off the fraction %g, expected 0 to 1",
                        d->source->name, fraction);
    const int64_t n_part = (int64_t)(fraction * (double)d->count + 0.5);
    bool         *chosen = epl_alloc_array(ctx, (size_t)d->count + 1, sizeof *chosen);
    epl_dataset  *views[2] = { NULL, NULL };
    bool          ok = false;

    if (!chosen || !choose(d, n_part, seed, chosen))
        goto done;
    views[0] = view_with_indices(d->source, d->count - n_part);
    views[1] = view_with_indices(d->source, n_part);
    if (!views[0] || !views[1])
        goto done;
    for (int64_t i = 0, n[2] = { 0, 0 }; i < d->count; i++)
        views[chosen[i]]->indices[n[chosen[i]]++] = epl_dataset_index(d, i);
    *rest    = views[0];
    *part    = views[1];
    views[0] = views[1] = NULL;
    ok       = true;

done:
    epl_release(ctx, chosen);
    epl_dataset_free(views[0]);
    epl_dataset_free(views[1]);
    return ok;
}

epl_dataset_info epl_dataset_info_of(const epl_dataset *d)
{
    const epl_source *s = d->source;
    return (epl_dataset_info){ .name = s->name, .count = d->count, .x_dtype = s->x_dtype, .x_shape = s->x_shape,
                               .y_dtype = s->y_dtype, .y_shape = s->y_shape, .n_classes = s->n_classes };
}

const char *epl_dataset_class_name(const epl_dataset *d, int c)
{
    return c >= 0 && c < d->source->n_classes ? d->source->class_names[c] : "?";
}

bool epl_dataset_fetch(epl_dataset *d, int64_t i, void *x, void *y)
{
    const epl_source *s = d->source;
    if (i < 0 || i >= d->count)
        return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "data set '%s': sample %" PRId64 " of %" PRId64, s->name, i, d->count);
    if (y)
        epl_source_fetch_y(s, epl_dataset_index(d, i), y);
    return !x || epl_source_fetch_x(s, s->ctx, epl_dataset_index(d, i), x);
}

static epl_tensor *stack_new(epl_context *ctx, epl_dtype dtype, int64_t n, epl_shape sample)
{
    if (sample.rank == EPL_MAX_RANK) {
        epl_fail(ctx, EPL_ERR_SHAPE, "samples of rank %d leave no room for a batch axis", sample.rank);
        return NULL;
    }
    epl_shape shape = { .rank = sample.rank + 1, .dim = { n } };
    memcpy(shape.dim + 1, sample.dim, (size_t)sample.rank * sizeof *sample.dim);
    return epl_tensor_new(ctx, dtype, shape);
}

static bool fill_x(epl_dataset *d, int64_t first, epl_tensor *x)
{
    const epl_source *s     = d->source;
    const size_t      bytes = (size_t)epl_shape_count(s->x_shape) * epl_dtype_bytes(x->dtype);
    void             *raw   = epl_alloc(s->ctx, bytes);
    bool              ok    = raw != NULL;
    for (int64_t i = 0; ok && i < x->shape.dim[0]; i++)
        ok = epl_source_fetch_batch_x(s, s->ctx, epl_dataset_index(d, first + i), (char *)x->data + (size_t)i * bytes, raw);
    epl_release(s->ctx, raw);
    return ok;
}

bool epl_dataset_tensors(epl_dataset *d, int64_t first, int64_t count, epl_tensor **x, epl_tensor **y)
{
    const epl_source *s = d->source;
    epl_tensor       *tx = NULL, *ty = NULL;
    bool              ok = false;

    if (first < 0 || count < 0 || first > d->count || count > d->count - first) {
        epl_fail(s->ctx, EPL_ERR_ARGUMENT, "data set '%s': samples %" PRId64 " to %" PRId64 " of %" PRId64, s->name, first,
                 first + count, d->count);
        goto done;
    }
    if (x) {
        tx = stack_new(s->ctx, s->x_dtype == EPL_U8 ? EPL_F32 : s->x_dtype, count, s->x_shape);
        if (!tx || !fill_x(d, first, tx))
            goto done;
    }
    if (y) {
        ty = stack_new(s->ctx, s->y_dtype, count, s->y_shape);
        if (!ty)
            goto done;
        const size_t bytes = (size_t)epl_shape_count(s->y_shape) * epl_dtype_bytes(s->y_dtype);
        for (int64_t i = 0; i < count; i++)
            epl_source_fetch_y(s, epl_dataset_index(d, first + i), (char *)ty->data + (size_t)i * bytes);
    }
    ok = true;
    if (x)
        *x = tx;
    if (y)
        *y = ty;
    tx = ty = NULL;

done:
    epl_tensor_free(tx);
    epl_tensor_free(ty);
    return ok;
}

epl_dataset *epl_dataset_from_tensors_take(epl_context *ctx, const char *name, epl_tensor *x, epl_tensor *y)
{
    epl_source *s = x ? epl_source_new(ctx, name) : NULL;
    if (!s) {
        epl_tensor_free(x);
        epl_tensor_free(y);
        if (!x)
            epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': no x", name);
        return NULL;
    }
    if (!epl_source_set_take(s, x->shape.rank ? x->shape.dim[0] : 0, x, y)) {
        epl_source_free(s);
        return NULL;
    }
    return epl_dataset_of_take(s);
}

/* ---- description for people ---- */

static bool count_labels(epl_dataset *d, int64_t *counts)
{
    const epl_source *s = d->source;
    const int64_t     n = epl_shape_count(s->y_shape);
    int64_t          *y = epl_alloc_array(s->ctx, (size_t)n, sizeof *y);
    if (!y)
        return false;
    for (int64_t i = 0; i < d->count; i++) {
        epl_source_fetch_y(s, epl_dataset_index(d, i), y);
        for (int64_t k = 0; k < n; k++)
            counts[y[k]]++;
    }
    epl_release(s->ctx, y);
    return true;
}

bool epl_dataset_describe(epl_dataset *d, epl_text *out)
{
    const epl_source *s = d->source;
    char              x[192], y[192];
    epl_text_addf(out, "%s: %" PRId64 " samples, x %s %s, y %s %s\n", s->name, d->count, epl_dtype_name(s->x_dtype),
                  epl_shape_text(x, s->x_shape), epl_dtype_name(s->y_dtype), epl_shape_text(y, s->y_shape));
    if (s->n_classes == 0)
        return !out->failed;
    int64_t *counts = epl_alloc_array(s->ctx, (size_t)s->n_classes, sizeof *counts);
    if (!counts || !count_labels(d, counts)) {
        epl_release(s->ctx, counts);
        return false;
    }
    epl_text_addf(out, "%d classes, with their %s:\n", s->n_classes, s->y_shape.rank ? "pixels" : "samples");
    for (int c = 0; c < s->n_classes; c++)
        epl_text_addf(out, "  %-4d%-24s%" PRId64 "\n", c, s->class_names[c], counts[c]);
    epl_release(s->ctx, counts);
    return !out->failed;
}
