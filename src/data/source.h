/* source: what data sets are views of. Internal to the floor. */
#ifndef EPL_DATA_SOURCE_H
#define EPL_DATA_SOURCE_H

#include <espalier/data.h>

/* Samples that never change. x lies in memory (`x`), or is made on demand (`fetch_x`, by several threads at once, each
 * with its own context); y always lies in memory. */
typedef struct epl_source {
    epl_context *ctx;
    int          n_views;
    epl_arena   *arena;        /* names and whatever the kind keeps */
    const char  *name;
    int64_t      count;
    epl_dtype    x_dtype;      /* u8, f32 or i64 */
    epl_shape    x_shape;
    epl_dtype    y_dtype;      /* i64 or f32 */
    epl_shape    y_shape;
    int          n_classes;
    const char **class_names;  /* n_classes of them; their numbers unless the kind knows names */
    epl_tensor  *x;            /* [count, ...] of x_dtype, or NULL */
    epl_tensor  *y;            /* [count, ...]: u8 or y_dtype */
    bool         val_is_apart; /* the source was given as train, test and val: nothing is cut off for validation */

    bool (*fetch_x)(const struct epl_source *s, epl_context *ctx, int64_t i, void *x);
    void *state;               /* in the arena */
} epl_source;

epl_source *epl_source_new(epl_context *ctx, const char *name);
void        epl_source_free(epl_source *s); /* accepts NULL */

/* Takes the tensors (even on failure), converts them to what a source holds, and fills in the rest. `x` may be NULL where
 * the caller has set x_dtype, x_shape and fetch_x. y NULL: all zero. */
bool epl_source_set_take(epl_source *s, int64_t count, epl_tensor *x, epl_tensor *y);

/* Names for classes: at least n_classes of them; n_classes becomes n. Copied. */
bool epl_source_set_classes(epl_source *s, const char *const *names, int n);

/* Sample i of the source, in its own types; `ctx` takes the error. */
bool epl_source_fetch_x(const epl_source *s, epl_context *ctx, int64_t i, void *x);
void epl_source_fetch_y(const epl_source *s, int64_t i, void *y);
/* x as a batch holds it: u8 becomes f32 / 255, i64 and f32 stay. `raw` is room for one sample of x_dtype. */
bool epl_source_fetch_batch_x(const epl_source *s, epl_context *ctx, int64_t i, void *x, void *raw);

/* ---- views ---- */
struct epl_dataset {
    epl_source *source;
    int64_t     first, count;
    int64_t    *indices; /* NULL: first, first + 1, ... */
};

epl_dataset *epl_dataset_of_take(epl_source *s);      /* all of it; consumes s on failure too */
epl_dataset *epl_dataset_share(const epl_dataset *d); /* another view of the same */

static inline int64_t epl_dataset_index(const epl_dataset *d, int64_t i)
{
    return d->indices ? d->indices[i] : d->first + i;
}

/* Seeds of independent streams: a function of everything that tells them apart. */
static inline uint64_t epl_data_seed(uint64_t seed, const char *purpose_8, int64_t a, int64_t b)
{
    uint64_t words[4] = { seed, 0, (uint64_t)a, (uint64_t)b };
    for (int i = 0; i < 8 && purpose_8[i]; i++)
        words[1] |= (uint64_t)(unsigned char)purpose_8[i] << 8 * i;
    return epl_hash(words, sizeof words, 0);
}

#endif
