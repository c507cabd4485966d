/* source: samples in memory or made on demand, and their conversion to what a batch holds. */
#include "data/source.h"

#include <stdio.h>
#include <string.h>

enum { CLASSES_MAX = 1 << 20 };

epl_source *epl_source_new(epl_context *ctx, const char *name)
{
    epl_source *s = epl_alloc(ctx, sizeof *s);
    if (!s)
        return NULL;
    *s = (epl_source){ .ctx = ctx, .arena = epl_arena_new(ctx) };
    if (s->arena)
        s->name = epl_arena_strdup(s->arena, name);
    if (!s->name) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

void epl_source_free(epl_source *s)
{
    if (!s)
        return;
    epl_tensor_free(s->x);
    epl_tensor_free(s->y);
    epl_arena_free(s->arena);
    epl_release(s->ctx, s);
}

/* Replaces *t by itself in another type. */
static bool convert(epl_context *ctx, epl_tensor **t, epl_dtype dtype)
{
    if ((*t)->dtype == dtype)
        return true;
    epl_tensor *c = epl_tensor_cast(ctx, *t, dtype);
    if (!c)
        return false;
    epl_tensor_free(*t);
    *t = c;
    return true;
}

static epl_shape sample_shape(const epl_tensor *t)
{
    epl_shape s = { .rank = t->shape.rank - 1 };
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = t->shape.dim[i + 1];
    return s;
}

static bool set_x(epl_source *s)
{
    if (s->x->shape.rank < 1 || s->x->shape.dim[0] != s->count)
        return epl_fail(s->ctx, EPL_ERR_SHAPE, "data set '%s': x has %lld samples, expected %lld", s->name,
                        s->x->shape.rank ? (long long)s->x->shape.dim[0] : 0LL, (long long)s->count);
    const epl_dtype have = s->x->dtype;
    s->x_dtype = have == EPL_U8 ? EPL_U8 : epl_dtype_is_float(have) || have == EPL_BOOL ? EPL_F32 : EPL_I64;
    if (!convert(s->ctx, &s->x, s->x_dtype))
        return false;
    s->x_shape = sample_shape(s->x);
    if (s->x_dtype == EPL_U8 && s->x_shape.rank == 2) // a grey picture without its channel axis
        s->x_shape.dim[s->x_shape.rank++] = 1;
    return true;
}

static bool count_classes(epl_source *s)
{
    const int64_t n = epl_tensor_count(s->y);
    int64_t       most = -1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = epl_tensor_get_i64(s->y, i);
        if (c < 0 || c >= CLASSES_MAX)
            return epl_fail(s->ctx, EPL_ERR_FORMAT, "data set '%s': label %lld of element %lld, expected 0 to %d", s->name,
                            (long long)c, (long long)i, CLASSES_MAX - 1);
        most = c > most ? c : most;
    }
    s->n_classes = (int)most + 1;
    return true;
}

/* Classes are called by their numbers until somebody knows better. */
static bool number_classes(epl_source *s)
{
    s->class_names = epl_arena_alloc(s->arena, (size_t)s->n_classes * sizeof *s->class_names);
    for (int c = 0; s->class_names && c < s->n_classes; c++) {
        char text[16];
        snprintf(text, sizeof text, "%d", c);
        s->class_names[c] = epl_arena_strdup(s->arena, text);
        if (!s->class_names[c])
            return false;
    }
    return s->class_names != NULL;
}

static bool set_y(epl_source *s)
{
    if (!s->y)
        s->y = epl_tensor_new(s->ctx, EPL_I64, EPL_SHAPE(s->count));
    if (!s->y)
        return false;
    if (s->y->shape.rank < 1 || s->y->shape.dim[0] != s->count)
        return epl_fail(s->ctx, EPL_ERR_SHAPE, "data set '%s': %lld labels for %lld samples", s->name,
                        s->y->shape.rank ? (long long)s->y->shape.dim[0] : 0LL, (long long)s->count);
    s->y_shape = sample_shape(s->y);
    if (epl_dtype_is_float(s->y->dtype)) {
        s->y_dtype = EPL_F32;
        return convert(s->ctx, &s->y, EPL_F32);
    }
    s->y_dtype = EPL_I64;
    if (s->y_shape.rank == 1 && s->y_shape.dim[0] == 1)
        s->y_shape.rank = 0;
    if (s->y->dtype != EPL_U8 && !convert(s->ctx, &s->y, EPL_I64)) // a mask in u8 stays small
        return false;
    return count_classes(s) && number_classes(s);
}

bool epl_source_set_take(epl_source *s, int64_t count, epl_tensor *x, epl_tensor *y)
{
    s->count = count;
    s->x     = x;
    s->y     = y;
    if (x && !set_x(s))
        return false;
    if (epl_shape_count(s->x_shape) < 1)
        return epl_fail(s->ctx, EPL_ERR_SHAPE, "data set '%s': samples without elements", s->name);
    if (count < 1)
        return epl_fail(s->ctx, EPL_ERR_SHAPE, "data set '%s': no samples", s->name);
    return set_y(s);
}

bool epl_source_set_classes(epl_source *s, const char *const *names, int n)
{
    if (s->n_classes > n)
        return epl_fail(s->ctx, EPL_ERR_FORMAT, "data set '%s': label %d, expected 0 to %d", s->name, s->n_classes - 1, n - 1);
    s->class_names = epl_arena_alloc(s->arena, (size_t)n * sizeof *s->class_names);
    if (!s->class_names)
        return false;
    for (int i = 0; i < n; i++) {
        s->class_names[i] = epl_arena_strdup(s->arena, names[i]);
        if (!s->class_names[i])
            return false;
    }
    s->n_classes = n;
    return true;
}

bool epl_source_fetch_x(const epl_source *s, epl_context *ctx, int64_t i, void *x)
{
    if (s->fetch_x)
        return s->fetch_x(s, ctx, i, x);
    const size_t bytes = (size_t)epl_shape_count(s->x_shape) * epl_dtype_bytes(s->x_dtype);
    memcpy(x, (const char *)s->x->data + (size_t)i * bytes, bytes);
    return true;
}

void epl_source_fetch_y(const epl_source *s, int64_t i, void *y)
{
    const int64_t n = epl_shape_count(s->y_shape);
    if (s->y->dtype == EPL_U8) {
        const uint8_t *from = (const uint8_t *)s->y->data + i * n;
        for (int64_t k = 0; k < n; k++)
            ((int64_t *)y)[k] = from[k];
        return;
    }
    const size_t bytes = (size_t)n * epl_dtype_bytes(s->y_dtype);
    memcpy(y, (const char *)s->y->data + (size_t)i * bytes, bytes);
}

bool epl_source_fetch_batch_x(const epl_source *s, epl_context *ctx, int64_t i, void *x, void *raw)
{
    if (s->x_dtype != EPL_U8)
        return epl_source_fetch_x(s, ctx, i, x);
    const int64_t  n = epl_shape_count(s->x_shape);
    const uint8_t *from = raw;
    float         *to = x;
    if (s->x)
        from = (const uint8_t *)s->x->data + i * n;
    else if (!s->fetch_x(s, ctx, i, raw))
        return false;
    for (int64_t k = 0; k < n; k++)
        to[k] = (float)from[k] * (1.0f / 255.0f);
    return true;
}
