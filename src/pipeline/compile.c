/* compile: stages that turn models into C, build it, and compare it with the library on the whole test set. */
#include "pipeline/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Samples as the network wants them: prepared by the model's own fixed words. Raw f32 [count, ...]. */
epl_tensor *epl_pipeline_inputs(const epl_pipeline *p, epl_dataset *d, const epl_model *m, int64_t limit)
{
    const int64_t    all = epl_dataset_info_of(d).count, count = limit < all ? limit : all;
    const char      *words = epl_weights_metadata(m->weights, "espalier.augment");
    epl_loader      *l = epl_loader_new(p->ctx, d, (epl_loader_opts){ .batch = 100, .augment = words, .n_epochs = 1 });
    epl_shape        shape = l ? epl_loader_x_shape(l) : EPL_SCALAR;
    shape.dim[0] = count;
    epl_tensor *x  = l ? epl_tensor_new(p->ctx, EPL_F32, shape) : NULL;
    epl_batch   batch;
    char       *to = x ? x->data : NULL;
    for (int64_t left = count; x && left > 0 && epl_loader_next(l, &batch); left -= batch.n_valid) {
        const size_t bytes = epl_tensor_bytes(batch.x) / (size_t)batch.x->shape.dim[0] *
                             (size_t)(batch.n_valid < left ? batch.n_valid : left);
        memcpy(to, batch.x->data, bytes);
        to += bytes;
    }
    epl_loader_free(l);
    if (epl_error_code(p->ctx)) {
        epl_tensor_free(x);
        return NULL;
    }
    return x;
}

static bool compile_model(const epl_stage *s, epl_stage *of, epl_model *m)
{
    epl_stage_result *r = &of->result;
    char dir[4096], name[128];
    snprintf(dir, sizeof dir, "%s/%s", epl_stage_path(s, ""), of->name);
    snprintf(name, sizeof name, "%s", of->name);
    for (char *c = name; *c; c++)
        if (*c == '-')
            *c = '_';
    const epl_binding      one = { "N", 1 };
    const epl_compile_opts o   = { .name = name, .target = s->target, .shifts = s->shifts, .bindings = &one, .n_bindings = 1 };
    epl_artifact      artifact = { 0 };
    epl_verify_result v        = { 0 };
    epl_tensor            *x =
        epl_compile(m, dir, o, &artifact) ? epl_pipeline_inputs(s->pipeline, s->pipeline->test, m, INT64_MAX) : NULL;
    if (!x)
        return false;
    epl_pipeline_say(s->pipeline, "      %s: building and running %lld samples", of->name, (long long)x->shape.dim[0]);
    const bool ok = epl_verify_artifact(m, dir, o, (epl_verify_opts){ .n_samples = x->shape.dim[0], .n_inputs = 1,
                                                                      .inputs = (const epl_tensor *const[]){ x }, .bench_runs = 300 }, &v);
    epl_tensor_free(x);
    if (!ok)
        return false;
    r->compiled       = true;
    r->compiled_us    = v.latency_us;
    r->max_abs_diff   = v.max_abs;
    r->max_ulp        = v.max_ulp;
    r->n_verified     = v.n_samples;
    r->compiled_bytes = (int64_t)artifact.weights;
    r->arena_bytes    = (int64_t)artifact.arena;
    return true;
}

bool epl_stage_compile(epl_stage *s)
{
    if (!epl_make_directories(s->pipeline->ctx, epl_stage_path(s, "")))
        return false;
    for (int i = 0; i < s->n_models; i++) {
        epl_model *m  = epl_model_load(s->pipeline->ctx, epl_stage_path(s->models[i], "model.safetensors"));
        const bool ok = m && compile_model(s, s->models[i], m);
        epl_model_free(m);
        if (!ok)
            return false;
    }
    return true;
}
