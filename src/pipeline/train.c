/* train: stages that end with a model - trained from nothing, distilled, pruned, or narrowed and tuned. */
#include "pipeline/pipeline.h"

#include <espalier/compress.h>
#include <espalier/passes.h>
#include <espalier/zoo.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static epl_model *load(const epl_stage *s) { return epl_model_load(s->pipeline->ctx, epl_stage_path(s, "model.safetensors")); }

/* What the stage begins with. */
static epl_model *start(const epl_stage *s)
{
    if (s->from)
        return load(s->from);
    epl_graph *g = epl_zoo_build(s->pipeline->ctx, s->model);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    if (m && epl_model_init(m, s->pipeline->seed))
        return m;
    epl_model_free(m);
    return NULL;
}

/* ---- sizes and speed ---- */

/* The median time of one sample in the library, on one thread, as the compiled network is measured. */
static bool library_latency(epl_stage *s, const epl_model *m)
{
    enum { RUNS = 200 };
    const int    threads = epl_context_threads(m->ctx);
    double       times[RUNS];
    epl_context_set_threads(m->ctx, 1);
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    epl_context_set_threads(m->ctx, threads);
    bool ok = p != NULL;
    for (int i = 0; ok && i < RUNS; i++) {
        const double begin = epl_now_s();
        ok = epl_program_run(p);
        times[i] = epl_now_s() - begin;
    }
    epl_program_free(p);
    if (!ok)
        return false; // some times were never taken
    s->result.library_us = 1e6 * epl_median(times, RUNS);
    return true;
}

bool epl_stage_measure(epl_stage *s, epl_model *m)
{
    epl_evaluation    e = { 0 };
    epl_stage_result *r = &s->result;
    if (!epl_evaluate(m, s->pipeline->test, (epl_evaluate_opts){ .batch = 200, .loss = s->loss }, &e))
        return false;
    r->accuracy = e.metrics.accuracy;
    r->loss     = e.metrics.loss;
    epl_evaluation_release(m->ctx, &e);
    epl_sparsity sizes;
    if (!epl_sparsity_of(m, &sizes))
        return false;
    r->parameters    = sizes.parameters;
    r->nonzero       = sizes.parameters_nonzero;
    r->macs          = sizes.macs;
    r->executed_macs = sizes.macs_nonzero;
    struct stat info;
    if (stat(epl_stage_path(s, "model.safetensors"), &info) == 0)
        r->file_bytes = (int64_t)info.st_size;
    return library_latency(s, m);
}

/* ---- the stage ---- */

/* A checkpoint of another recipe is none: its folder carries the key. */
static bool claim_checkpoint(const epl_stage *s)
{
    epl_context *ctx = s->pipeline->ctx;
    char         path[4096], key[32];
    epl_map      was  = { 0 };
    const char  *dir  = epl_stage_path(s, "checkpoint");
    snprintf(key, sizeof key, "%016llx", (unsigned long long)s->key);
    snprintf(path, sizeof path, "%s/key", dir);
    if (!epl_make_directories(ctx, dir))
        return false;
    bool same = !s->pipeline->opts.fresh && epl_file_exists(path) && epl_map_open(ctx, path, &was) && was.size == strlen(key) &&
                memcmp(was.data, key, was.size) == 0;
    epl_map_close(&was);
    if (same)
        return true;
    snprintf(path, sizeof path, "%s/last.safetensors", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/key", dir);
    return epl_write_file(ctx, path, key, strlen(key));
}

static bool keep_history(epl_stage *s, const epl_trainer *t)
{
    int n;
    const epl_epoch_record *h = epl_trainer_history(t, &n);
    s->result.history  = epl_arena_copy(s->pipeline->arena, h, (size_t)n * sizeof *h);
    s->result.n_epochs = s->result.history ? n : 0;
    return n == 0 || s->result.history;
}

static bool train(epl_stage *s, epl_model *m, const epl_train_hook *hooks, int n_hooks)
{
    const epl_pipeline *p = s->pipeline;
    epl_trainer_opts    o = {
        .epochs = (int)s->epochs, .batch = s->batch, .optimizer = s->optimizer, .schedule = s->schedule, .loss = s->loss, .norms = s->norms,
        .augment = s->augment, .seed = p->seed, .checkpoint = epl_stage_path(s, "checkpoint"), .resume = true,
        .log = epl_stage_path(s, "log.jsonl"), .progress = p->opts.progress, .stop = p->opts.stop, .hooks = hooks, .n_hooks = n_hooks,
    };
    epl_trainer *t  = epl_trainer_new(m, p->train, p->test, o);
    const bool   ok = t && epl_trainer_run(t) && keep_history(s, t);
    epl_trainer_free(t);
    return ok;
}

/* What the teacher says of the training data, kept beside it for the other stages that learn from it. */
static epl_tensor *answers_of(const epl_stage *teacher, const epl_model *m)
{
    epl_context *ctx = teacher->pipeline->ctx;
    char         file[48];
    snprintf(file, sizeof file, "answers-%016llx.npy", (unsigned long long)teacher->key);
    const char *path = epl_stage_path(teacher, file);
    if (path && epl_file_exists(path))
        return epl_npy_load(ctx, path);
    epl_tensor *answers = path ? epl_distill_answers(m, teacher->pipeline->train, teacher->pipeline->opts.progress) : NULL;
    if (!answers || epl_npy_save(ctx, path, answers))
        return answers;
    epl_tensor_free(answers);
    return NULL;
}

/* What acts on the stage's training: the pruner, the teacher. */
static bool add_hooks(epl_stage *s, epl_model *m, const epl_model *teacher, epl_train_hook hooks[3], int *n_hooks)
{
    if (s->kind == EPL_STAGE_PRUNE) {
        const epl_prune_opts what = { .criterion = s->criterion, .distribution = s->distribution, .skip = s->skip, .sparsity = s->sparsity,
                                      .seed = s->pipeline->seed };
        hooks[*n_hooks] = epl_pruner_hook(m, (epl_pruner_opts){ .prune = what, .begin = s->begin, .end = s->end, .every = s->every });
        if (!hooks[*n_hooks].user)
            return false;
        ++*n_hooks;
    }
    if (s->kind == EPL_STAGE_QUANTIZE)
        hooks[(*n_hooks)++] = epl_shift_hook();
    if (teacher) {
        hooks[*n_hooks] = epl_distill_hook(teacher, s->distill);
        if (!hooks[*n_hooks].user)
            return false;
        ++*n_hooks;
    }
    return true;
}

static bool narrow(const epl_stage *s, epl_model *m)
{
    const epl_channel_opts what = { .criterion = s->criterion, .macs = s->macs, .round_to = (int)s->round_to, .seed = s->pipeline->seed };
    return s->kind != EPL_STAGE_CHANNELS || epl_prune_channels(m, what, NULL);
}

/* Variables in the place of weights, before training; their codes behind it, and inputs of 8 bits. */
static bool put_shifts(const epl_stage *s, epl_model *m)
{
    const epl_shift_init init = strcmp(s->init, "scratch") == 0        ? EPL_SHIFT_SCRATCH
                                : strcmp(s->init, "low-variance") == 0 ? EPL_SHIFT_LOW_VARIANCE
                                                                       : EPL_SHIFT_FROM_FLOAT;
    return epl_shift(m, (epl_shift_opts){ .bits = (int)s->bits, .init = init, .seed = s->pipeline->seed }, NULL);
}

static bool pack_shifts(const epl_stage *s, epl_model *m)
{
    if (epl_shift_pack(m) < 0 || !s->activations)
        return epl_error_code(m->ctx) == EPL_OK;
    epl_tensor *x  = epl_pipeline_inputs(s->pipeline, s->pipeline->train, m, 256);
    const bool  ok = x && epl_quantize_activations(m, x, NULL);
    epl_tensor_free(x);
    return ok;
}

bool epl_stage_train(epl_stage *s)
{
    epl_context   *ctx     = s->pipeline->ctx;
    epl_model     *m       = epl_make_directories(ctx, epl_stage_path(s, "")) && claim_checkpoint(s) ? start(s) : NULL;
    epl_model     *teacher = m && s->teacher ? load(s->teacher) : NULL;
    epl_tensor    *answers = teacher && s->look_up ? answers_of(s->teacher, teacher) : NULL;
    epl_train_hook hooks[3];
    int            n_hooks = 0;
    s->distill.answers = answers;
    bool ok = m && (!s->teacher || teacher) && (!teacher || !s->look_up || answers) && narrow(s, m) &&
              (s->kind != EPL_STAGE_QUANTIZE || put_shifts(s, m)) && add_hooks(s, m, teacher, hooks, &n_hooks) &&
              (s->epochs == 0 || train(s, m, hooks, n_hooks)) && (s->kind != EPL_STAGE_PRUNE || epl_bake(m)) &&
              (s->kind != EPL_STAGE_QUANTIZE || pack_shifts(s, m)) &&
              epl_model_save(m, epl_stage_path(s, "model.safetensors")) && epl_stage_measure(s, m);
    for (int i = 0; i < n_hooks; i++)
        epl_release(ctx, hooks[i].user);
    s->distill.answers = NULL;
    epl_tensor_free(answers);
    epl_model_free(teacher);
    epl_model_free(m);
    return ok;
}
