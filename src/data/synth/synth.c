/* synth: what all generators share. */
#include "data/synth/synth.h"

#include <string.h>

bool epl_synth_new(epl_synth *g, epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    *g = (epl_synth){ .ctx = ctx, .name = spec->name, .seed = o.seed, .test = o.split == EPL_SPLIT_TEST };
    return epl_spec_int(spec, g->test ? "test" : "count", 1, 100000000, &g->n);
}

static epl_tensor *stack(const epl_synth *g, epl_dtype dtype, epl_shape sample)
{
    epl_shape s = { .rank = sample.rank + 1, .dim = { g->n } };
    memcpy(s.dim + 1, sample.dim, (size_t)sample.rank * sizeof *sample.dim);
    return epl_tensor_new(g->ctx, dtype, s);
}

bool epl_synth_tensors(epl_synth *g, epl_dtype x_dtype, epl_shape x_sample, epl_dtype y_dtype, epl_shape y_sample)
{
    g->x = stack(g, x_dtype, x_sample);
    g->y = g->x ? stack(g, y_dtype, y_sample) : NULL;
    if (g->y)
        return true;
    epl_tensor_free(g->x);
    return false;
}

epl_rng epl_synth_rng(const epl_synth *g, int64_t i)
{
    return epl_rng_at(epl_data_seed(g->seed, g->name, g->test, 0), (uint64_t)i);
}

epl_source *epl_synth_finish(epl_synth *g, const char *const *classes, int n_classes)
{
    epl_source *s = epl_source_new(g->ctx, g->name);
    if (!s) {
        epl_tensor_free(g->x);
        epl_tensor_free(g->y);
        return NULL;
    }
    bool ok = epl_source_set_take(s, g->n, g->x, g->y);
    if (ok && classes)
        ok = epl_source_set_classes(s, classes, n_classes);
    if (ok)
        return s;
    epl_source_free(s);
    return NULL;
}
