/* sampler: pairs, triplets and batches of a few classes, drawn anew each epoch. A draw with replacement would be
 * simpler, but an epoch in which every sample is the anchor once compares with other ways of training. */
#include "data/sampler.h"

#include <inttypes.h>

static int rows_of(epl_sampler s) { return s.kind == EPL_SAMPLER_PAIRS ? 2 : s.kind == EPL_SAMPLER_TRIPLETS ? 3 : 1; }

int64_t epl_sampler_length(epl_sampler s, int64_t count) { return count * rows_of(s); }

/* ---- the index ---- */

void epl_class_index_free(epl_class_index *ix)
{
    if (!ix)
        return;
    epl_release(ix->ctx, ix->first);
    epl_release(ix->ctx, ix->members);
    epl_release(ix->ctx, ix->class_of);
    epl_release(ix->ctx, ix);
}

/* Counting sort by class; `label` becomes the number among the classes that occur. */
static void sort_members(epl_class_index *ix, const int64_t *labels, int64_t *count, int n_labels)
{
    for (int64_t i = 0; i < ix->count; i++)
        count[labels[i]]++;
    for (int c = 0; c < n_labels; c++) {
        const int64_t n = count[c];
        count[c] = ix->n_classes; // from here on: the class's new number
        if (n > 0) {
            ix->first[ix->n_classes + 1] = ix->first[ix->n_classes] + n;
            ix->n_classes++;
        }
    }
    int64_t *next = count + n_labels;
    for (int k = 0; k < ix->n_classes; k++)
        next[k] = ix->first[k];
    for (int64_t i = 0; i < ix->count; i++) {
        ix->class_of[i] = (int)count[labels[i]];
        ix->members[next[ix->class_of[i]]++] = i;
    }
}

static bool fill_index(epl_class_index *ix, const epl_dataset *d)
{
    const int n_labels = d->source->n_classes;
    int64_t  *labels = epl_alloc_array(ix->ctx, (size_t)d->count, sizeof *labels);
    int64_t  *count  = epl_alloc_array(ix->ctx, 2 * (size_t)n_labels, sizeof *count);
    ix->first    = epl_alloc_array(ix->ctx, (size_t)n_labels + 1, sizeof *ix->first);
    ix->members  = epl_alloc_array(ix->ctx, (size_t)d->count, sizeof *ix->members);
    ix->class_of = epl_alloc_array(ix->ctx, (size_t)d->count, sizeof *ix->class_of);
    bool ok = labels && count && ix->first && ix->members && ix->class_of;
    for (int64_t i = 0; ok && i < d->count; i++) {
        epl_source_fetch_y(d->source, epl_dataset_index(d, i), &labels[i]);
        if (labels[i] < 0 || labels[i] >= n_labels)
            ok = epl_fail(ix->ctx, EPL_ERR_ARGUMENT, "sampler: sample %" PRId64 " of '%s' has class %" PRId64 " of %d", i, d->source->name,
                          labels[i], n_labels);
    }
    if (ok)
        sort_members(ix, labels, count, n_labels);
    epl_release(ix->ctx, labels);
    epl_release(ix->ctx, count);
    return ok;
}

static int64_t size_of(const epl_class_index *ix, int k) { return ix->first[k + 1] - ix->first[k]; }

static bool can_draw(const epl_class_index *ix, const epl_dataset *d, epl_sampler s, int64_t batch)
{
    const char *name = d->source->name;
    const bool  balanced = s.kind == EPL_SAMPLER_BALANCED;
    const int   rows = balanced ? s.classes : rows_of(s);
    if (rows < 1 || batch % rows)
        return epl_fail(ix->ctx, EPL_ERR_ARGUMENT, "sampler: a batch of %" PRId64 " is not a multiple of %d, its %s", batch, rows,
                        balanced ? "classes" : "samples in a group");
    const int64_t each = balanced ? batch / s.classes : 2;
    const int     least = balanced ? s.classes : 2;
    if (ix->n_classes < least)
        return epl_fail(ix->ctx, EPL_ERR_ARGUMENT, "sampler: '%s' has samples of %d classes, %d are needed", name, ix->n_classes, least);
    for (int k = 0; k < ix->n_classes; k++)
        if (size_of(ix, k) < each)
            return epl_fail(ix->ctx, EPL_ERR_ARGUMENT, "sampler: a class of '%s' has %" PRId64 " samples, %" PRId64 " are needed", name,
                            size_of(ix, k), each);
    return true;
}

epl_class_index *epl_class_index_new(epl_context *ctx, const epl_dataset *d, epl_sampler s, int64_t batch)
{
    if (d->source->n_classes < 1 || d->source->y_shape.rank > 0) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "sampler: the samples of '%s' have no class", d->source->name);
        return NULL;
    }
    epl_class_index *ix = epl_alloc(ctx, sizeof *ix);
    if (!ix)
        return NULL;
    *ix = (epl_class_index){ .ctx = ctx, .count = d->count };
    if (fill_index(ix, d) && can_draw(ix, d, s, batch))
        return ix;
    epl_class_index_free(ix);
    return NULL;
}

/* ---- draws ---- */

static int64_t any_of(const epl_class_index *ix, int k, epl_rng *r)
{
    return ix->members[ix->first[k] + (int64_t)epl_rng_below(r, (uint64_t)size_of(ix, k))];
}

static int64_t another_of_class(const epl_class_index *ix, int64_t than, epl_rng *r)
{
    int64_t i;
    do
        i = any_of(ix, ix->class_of[than], r);
    while (i == than); // at least two are there
    return i;
}

/* Each sample of the others is as likely as the next. */
static int64_t one_of_another_class(const epl_class_index *ix, int64_t than, epl_rng *r)
{
    const int     k  = ix->class_of[than];
    const int64_t at = (int64_t)epl_rng_below(r, (uint64_t)(ix->count - size_of(ix, k)));
    return ix->members[at < ix->first[k] ? at : at + size_of(ix, k)];
}

static void groups_in_order(const epl_class_index *ix, epl_sampler s, epl_rng *r, int64_t *order, int64_t length)
{
    const int rows = rows_of(s);
    const int64_t n = length / rows;
    for (int64_t i = n - 1; i >= 0; i--) // Fisher & Yates' shuffle, inside out, of the anchors at every `rows`-th place
        order[i * rows] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = (int64_t)epl_rng_below(r, (uint64_t)i + 1), a = order[i * rows];
        order[i * rows] = order[j * rows];
        order[j * rows] = a;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t *row = &order[i * rows];
        row[1] = rows == 2 && i % 2 ? one_of_another_class(ix, row[0], r) : another_of_class(ix, row[0], r);
        if (rows == 3)
            row[2] = one_of_another_class(ix, row[0], r);
    }
}

/* `n` different ones of list[0 .. count), in front. */
static void draw_first(int64_t *list, int64_t count, int64_t n, epl_rng *r)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = i + (int64_t)epl_rng_below(r, (uint64_t)(count - i)), a = list[i];
        list[i] = list[j];
        list[j] = a;
    }
}

/* The classes of a batch by rejection, since they are few; the samples by shuffling the class's part of the index. The index is
 * sorted anew before each epoch's draws, so that these depend on nothing but the generator. */
static void balanced_order(const epl_class_index *ix, epl_sampler s, int64_t batch, epl_rng *r, int64_t *order, int64_t length)
{
    const int64_t each = batch / s.classes;
    for (int k = 0; k < ix->n_classes; k++) {
        int64_t *m = ix->members + ix->first[k];
        int64_t  at = 0;
        for (int64_t i = 0; i < ix->count; i++)
            if (ix->class_of[i] == k)
                m[at++] = i;
    }
    for (int64_t b = 0; b + batch <= length; b += batch)
        for (int c = 0; c < s.classes; c++) {
            int  k;
            bool taken;
            do {
                k     = (int)epl_rng_below(r, (uint64_t)ix->n_classes);
                taken = false;
                for (int e = 0; e < c; e++)
                    taken = taken || ix->class_of[order[b + e * each]] == k;
            } while (taken);
            int64_t *m = ix->members + ix->first[k];
            draw_first(m, size_of(ix, k), each, r);
            for (int64_t i = 0; i < each; i++)
                order[b + c * each + i] = m[i];
        }
}

void epl_sampler_order(const epl_class_index *ix, epl_sampler s, int64_t batch, epl_rng *r, int64_t *order, int64_t length)
{
    if (s.kind == EPL_SAMPLER_BALANCED)
        balanced_order(ix, s, batch, r, order, length);
    else
        groups_in_order(ix, s, r, order, length);
}
