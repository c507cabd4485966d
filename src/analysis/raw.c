/* raw: see raw.h. What is done to samples before a network sees them ends with a normalisation; here that is nodes. */
#include "analysis/raw.h"

#include <espalier/ops.h>

#include "data/augment.h"
#include "graph/op.h"

#include <string.h>

/* The words that always do the same, cut in two: *before is what the loader does, *norm the normalisation (""
 * without one). Both are the arena's. */
static bool cut_words(const epl_model *m, const char *augment, epl_arena *arena, const char **before, const char **norm)
{
    const char *words = augment ? augment : epl_weights_metadata(m->weights, "espalier.augment");
    char       *fixed = epl_augment_fixed_words(m->ctx, words);
    char       *copy  = fixed ? epl_arena_strdup(arena, fixed) : NULL;
    epl_release(m->ctx, fixed);
    if (!copy)
        return false;
    char *at = strncmp(copy, "normalise", 9) == 0 ? copy : strstr(copy, ",normalise");
    *before = at == copy ? "" : copy;
    *norm   = at ? at + (at != copy) : "";
    if (at && at != copy)
        *at = 0;
    return !strchr(*norm, ',') ||
           epl_fail(m->ctx, EPL_ERR_UNSUPPORTED,
                    "'%s': the normalisation has to come last, so that it can be part of the network", *norm);
}

static epl_value *per_channel(epl_graph *g, const float *values, int n)
{
    epl_tensor *t = epl_tensor_view(g->ctx, EPL_F32, n == 1 ? EPL_SCALAR : EPL_SHAPE(n), (void *)(uintptr_t)values);
    epl_value  *v = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

bool epl_raw_open(const epl_model *m, const char *augment, int64_t batch, epl_raw *out)
{
    const epl_value *in = epl_graph_input_at(m->graph, 0);
    const char      *before;
    *out = (epl_raw){ .model = m, .graph = epl_graph_new(m->ctx, m->graph->name), .arena = epl_arena_new(m->ctx), .n_exits = epl_n_exits(m->graph) };
    bool ok = out->graph && out->arena && cut_words(m, augment, out->arena, &before, &out->norm);
    if (ok && (epl_graph_n_inputs(m->graph) != 1 || out->n_exits < 1 || epl_dtype_of(in) != EPL_F32 || epl_rank(in) < 2))
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has %d inputs and %d outputs; one input of images and logits are needed",
                      m->graph->name, epl_graph_n_inputs(m->graph), epl_graph_n_outputs(m->graph));
    if (ok) {
        out->shape        = epl_shape_of(in);
        out->shape.dim[0] = batch;
    } else
        epl_raw_close(out);
    return ok;
}

epl_value *epl_raw_input(epl_raw *r, const char *name) { return epl_input(r->graph, name, EPL_F32, r->shape, "N"); }

epl_value *epl_raw_normalise(epl_raw *r, epl_value *x)
{
    epl_shape sample = r->shape;
    for (int i = 0; i + 1 < sample.rank; i++)
        sample.dim[i] = sample.dim[i + 1];
    sample.rank--;
    epl_augment *a = epl_augment_parse(r->graph->ctx, r->norm, sample);
    if (a && a->n_words) {
        const epl_word *w = &a->words[0];
        x = epl_sub(r->graph, x, per_channel(r->graph, w->mean, w->n_args / 2));
        x = epl_mul(r->graph, x, per_channel(r->graph, w->scale, w->n_args / 2));
    }
    epl_augment_free(a);
    return a ? x : NULL;
}

bool epl_raw_network(epl_raw *r, epl_value *seen)
{
    const epl_graph *model = r->model->graph;
    const int        n = epl_graph_n_outputs(model);
    epl_value **all = epl_arena_alloc(r->arena, (size_t)(n + 1) * sizeof *all);
    r->exits        = epl_arena_alloc(r->arena, (size_t)(r->n_exits + 1) * sizeof *r->exits);
    if (!all || !r->exits || !seen || !epl_graph_inline(r->graph, model, &seen, all, NULL))
        return false;
    for (int i = 0; i < r->n_exits; i++)
        for (int k = 0; k < n; k++)
            if (epl_graph_output_at(model, k) == epl_exit_at(model, i))
                r->exits[i] = all[k];
    return true;
}

void epl_raw_close(epl_raw *r)
{
    epl_graph_free(r->graph);
    epl_arena_free(r->arena);
    *r = (epl_raw){ 0 };
}

int64_t epl_raw_fill(const epl_tensor *x, int64_t first, epl_tensor *batch)
{
    const int64_t n = x->shape.dim[0], size = batch->shape.dim[0], count = n - first < size ? n - first : size;
    const size_t  row = epl_tensor_bytes(batch) / (size_t)size;
    for (int64_t i = 0; i < size; i++)
        memcpy((char *)batch->data + (size_t)i * row, (const char *)x->data + (size_t)(i < count ? first + i : first) * row, row);
    return count;
}

bool epl_raw_images(const epl_model *m, epl_dataset *d, const char *augment, epl_tensor **x, epl_tensor **labels)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    epl_arena  *arena = epl_arena_new(m->ctx);
    const char *before, *norm;
    epl_batch   b;
    *x = *labels = NULL;
    bool ok = arena && cut_words(m, augment, arena, &before, &norm);
    if (ok && (info.y_dtype != EPL_I64 || info.y_shape.rank > 0 || info.count < 1))
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "data set '%s' has %lld samples and %s; images with a class each are needed", info.name,
                      (long long)info.count, info.n_classes ? "classes of pixels" : "no classes");
    const int64_t batch = info.count < 64 ? info.count : 64;
    epl_loader   *l = ok ? epl_loader_new(m->ctx, d, (epl_loader_opts){ .batch = batch, .augment = before, .n_epochs = 1 }) : NULL;
    if (l) {
        epl_shape all = epl_loader_x_shape(l);
        all.dim[0] = info.count;
        *x      = epl_tensor_new(m->ctx, EPL_F32, all);
        *labels = epl_tensor_new(m->ctx, EPL_I64, EPL_SHAPE(info.count));
    }
    for (int64_t done = 0; *x && *labels && epl_loader_next(l, &b); done += b.n_valid) {
        const size_t row = epl_tensor_bytes(*x) / (size_t)info.count;
        memcpy((char *)(*x)->data + (size_t)done * row, b.x->data, (size_t)b.n_valid * row);
        memcpy((int64_t *)(*labels)->data + done, b.labels->data, (size_t)b.n_valid * sizeof(int64_t));
    }
    epl_loader_free(l);
    epl_arena_free(arena);
    ok = *x && *labels && epl_error_code(m->ctx) == EPL_OK;
    if (!ok) {
        epl_tensor_free(*x);
        epl_tensor_free(*labels);
        *x = *labels = NULL;
    }
    return ok;
}
