/* weights: a set of named tensors. Where they come from and go to is safetensors.c's and npz.c's business. */
#include "tensor/weights.h"

#include <string.h>

epl_weights *epl_weights_new(epl_context *ctx)
{
    epl_weights *w = epl_alloc(ctx, sizeof *w);
    if (w)
        w->ctx = ctx;
    return w;
}

static void text_pair_release(epl_context *ctx, epl_text_pair *p)
{
    epl_release(ctx, p->key);
    epl_release(ctx, p->value);
    *p = (epl_text_pair){ 0 };
}

void epl_weights_free(epl_weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++) {
        epl_release(w->ctx, w->entries[i].name);
        epl_tensor_free(w->entries[i].tensor);
    }
    for (size_t i = 0; i < w->n_metadata; i++)
        text_pair_release(w->ctx, &w->metadata[i]);
    for (size_t i = 0; i < w->n_shards; i++)
        epl_weights_free(w->shards[i]);
    epl_release(w->ctx, w->shards);
    epl_release(w->ctx, w->entries);
    epl_release(w->ctx, w->metadata);
    epl_release_aligned(w->ctx, w->buffer);
    epl_map_close(&w->file);
    epl_release(w->ctx, w);
}

int epl_weights_count(const epl_weights *w)
{
    return (int)w->count;
}

const char *epl_weights_name(const epl_weights *w, int i)
{
    return w->entries[i].name;
}

epl_tensor *epl_weights_at(const epl_weights *w, int i)
{
    return w->entries[i].tensor;
}

/* Comparing stored hashes first keeps a scan of ten thousand names to microseconds. */
static size_t index_of(const epl_weights *w, const char *name)
{
    const uint64_t hash = epl_hash(name, strlen(name), 0);
    for (size_t i = 0; i < w->count; i++)
        if (w->entries[i].hash == hash && strcmp(w->entries[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

epl_tensor *epl_weights_find(const epl_weights *w, const char *name)
{
    const size_t i = index_of(w, name);
    return i == SIZE_MAX ? NULL : w->entries[i].tensor;
}

static bool append_take(epl_weights *w, const char *name, epl_tensor *t)
{
    char *copy = w->count < INT32_MAX ? epl_strdup(w->ctx, name) : NULL;
    if (!copy || !epl_grow(w->ctx, &w->entries, w->count, &w->capacity, sizeof *w->entries)) {
        epl_release(w->ctx, copy);
        epl_tensor_free(t);
        return false;
    }
    w->entries[w->count++] = (epl_weights_entry){ .name = copy, .hash = epl_hash(name, strlen(name), 0), .tensor = t };
    return true;
}

bool epl_weights_put_take(epl_weights *w, const char *name, epl_tensor *t)
{
    if (!t)
        return false; // making it has failed, and said why
    const size_t i = index_of(w, name);
    if (i == SIZE_MAX)
        return append_take(w, name, t);
    epl_tensor_free(w->entries[i].tensor);
    w->entries[i].tensor = t;
    return true;
}

static bool no_such_tensor(const epl_weights *w, const char *name)
{
    return epl_fail(w->ctx, EPL_ERR_ARGUMENT, "there is no tensor '%s' among %zu", name, w->count);
}

bool epl_weights_remove(epl_weights *w, const char *name)
{
    const size_t i = index_of(w, name);
    if (i == SIZE_MAX)
        return no_such_tensor(w, name);
    epl_release(w->ctx, w->entries[i].name);
    epl_tensor_free(w->entries[i].tensor);
    w->count--;
    memmove(&w->entries[i], &w->entries[i + 1], (w->count - i) * sizeof *w->entries);
    return true;
}

bool epl_weights_rename(epl_weights *w, const char *from, const char *to)
{
    const size_t i = index_of(w, from);
    if (i == SIZE_MAX)
        return no_such_tensor(w, from);
    if (strcmp(from, to) == 0)
        return true;
    if (index_of(w, to) != SIZE_MAX)
        return epl_fail(w->ctx, EPL_ERR_ARGUMENT, "cannot rename tensor '%s': '%s' exists", from, to);
    char *name = epl_strdup(w->ctx, to);
    if (!name)
        return false;
    w->entries[i].hash = epl_hash(name, strlen(name), 0);
    epl_release(w->ctx, w->entries[i].name); // `from` may be this very string: last use
    w->entries[i].name = name;
    return true;
}

static epl_text_pair *find_metadata(const epl_weights *w, const char *key)
{
    for (size_t i = 0; i < w->n_metadata; i++)
        if (strcmp(w->metadata[i].key, key) == 0)
            return &w->metadata[i];
    return NULL;
}

const char *epl_weights_metadata(const epl_weights *w, const char *key)
{
    const epl_text_pair *p = find_metadata(w, key);
    return p ? p->value : NULL;
}

bool epl_weights_set_metadata(epl_weights *w, const char *key, const char *value)
{
    epl_text_pair *old = find_metadata(w, key);
    if (!value) {
        if (old) {
            text_pair_release(w->ctx, old);
            *old = w->metadata[--w->n_metadata];
        }
        return true;
    }
    epl_text_pair  pair = { .key = epl_strdup(w->ctx, key) };
    pair.value = pair.key ? epl_strdup(w->ctx, value) : NULL;
    if (!pair.value || (!old && !epl_grow(w->ctx, &w->metadata, w->n_metadata, &w->metadata_capacity, sizeof pair))) {
        text_pair_release(w->ctx, &pair);
        return false;
    }
    if (old) {
        text_pair_release(w->ctx, old);
        *old = pair;
    } else {
        w->metadata[w->n_metadata++] = pair;
    }
    return true;
}

epl_weights *epl_weights_copy(epl_context *ctx, const epl_weights *w)
{
    epl_weights *copy = epl_weights_new(ctx);
    bool         ok = copy != NULL;
    for (size_t i = 0; ok && i < w->count; i++) {
        epl_tensor *t = epl_tensor_copy(ctx, w->entries[i].tensor);
        ok = t && append_take(copy, w->entries[i].name, t);
    }
    for (size_t i = 0; ok && i < w->n_metadata; i++)
        ok = epl_weights_set_metadata(copy, w->metadata[i].key, w->metadata[i].value);
    if (ok)
        return copy;
    epl_weights_free(copy);
    return NULL;
}
