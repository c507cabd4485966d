/* shards: weights that are spread over several safetensors files, with an index { "weight_map": { tensor: file } }.
 * The files have to lie beside the index; their metadata are left out. */
#include "tensor/weights.h"

#include <stdio.h>
#include <string.h>

/* A name without folders. */
static bool is_plain_name(const char *file)
{
    return *file && !strchr(file, '/') && strcmp(file, ".") != 0 && strcmp(file, "..") != 0;
}

/* The file's set, opened when it is first asked for; `names` runs along with the shards. */
static epl_weights *shard(epl_weights *w, const char **names, const char *path, const char *file)
{
    char full[4096];
    for (size_t i = 0; i < w->n_shards; i++)
        if (strcmp(names[i], file) == 0)
            return w->shards[i];
    const char *slash = strrchr(path, '/');
    if (snprintf(full, sizeof full, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, file) >= (int)sizeof full) {
        epl_fail(w->ctx, EPL_ERR_FORMAT, "%s: the name of a file has %zu characters", path, strlen(file));
        return NULL;
    }
    const bool   room = epl_grow(w->ctx, &w->shards, w->n_shards, &w->shards_capacity, sizeof *w->shards);
    epl_weights *s = room ? epl_weights_open(w->ctx, full) : NULL;
    if (!s)
        return NULL;
    names[w->n_shards]       = file;
    w->shards[w->n_shards++] = s;
    return s;
}

static bool add_tensor(epl_weights *w, const char **names, const char *path, const char *tensor, const char *file)
{
    if (!file || !is_plain_name(file))
        return epl_fail(w->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' is not said to lie in a file beside the index", path, tensor);
    if (strlen(file) > 11 && strcmp(file + strlen(file) - 11, ".index.json") == 0)
        return epl_fail(w->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' is said to lie in another index", path, tensor);
    epl_weights *s = shard(w, names, path, file);
    epl_tensor  *t = s ? epl_weights_find(s, tensor) : NULL;
    if (s && !t)
        return epl_fail(w->ctx, EPL_ERR_FORMAT, "%s: '%s' does not hold the tensor '%s'", path, file, tensor);
    return t && epl_weights_put_take(w, tensor, epl_tensor_view(w->ctx, t->dtype, t->shape, t->data));
}

bool epl_weights_open_shards(epl_weights *w, const char *path)
{
    epl_json       *index = epl_json_load(w->ctx, path);
    const epl_json *map = epl_json_get(index, "weight_map");
    const char    **names = index ? epl_alloc_array(w->ctx, epl_json_length(map) + 1, sizeof *names) : NULL;
    bool            ok = names != NULL;
    if (ok && epl_json_kind_of(map) != EPL_JSON_OBJECT)
        ok = epl_fail(w->ctx, EPL_ERR_FORMAT, "%s: there is no \"weight_map\" in it", path);
    for (epl_json_member m = epl_json_first(map); ok && m.key; m = epl_json_next(map, m))
        ok = add_tensor(w, names, path, m.key, epl_json_string(m.value));
    epl_release(w->ctx, names);
    epl_json_free(index);
    return ok;
}
