/* read: from the file's text to stages, with everything checked that can be checked before hours of work. */
#include "pipeline/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <espalier/zoo.h>

static const char *const kinds[EPL_N_STAGE_KINDS] = { "train", "prune", "prune-channels", "quantize", "compile" };

/* The keys of each kind of stage. What a training stage does not say, `defaults` may. */
static const char *const train_keys[] = { "stage", "do", "note", "model", "from", "teacher", "epochs", "batch", "optimizer", "schedule",
                                          "augment", "loss", "smoothing", "bn_mode", "temperature", "alpha", "answers" };
static const char *const prune_keys[] = { "stage",        "do",          "note",     "from",    "teacher",  "epochs",
                                          "batch",        "optimizer",   "schedule", "augment", "loss",     "smoothing",
                                          "bn_mode",      "temperature", "alpha",    "answers", "sparsity", "criterion",
                                          "distribution", "skip",        "begin",    "end",     "every" };
static const char *const channel_keys[] = { "stage",   "do",        "note",      "from",        "teacher",
                                            "epochs",  "batch",     "optimizer", "schedule",    "augment",
                                            "loss",    "smoothing", "bn_mode",   "temperature", "alpha",
                                            "answers", "macs",      "criterion", "round_to" };
static const char *const quantize_keys[] = { "stage",   "do",        "note",      "from",        "teacher",
                                             "epochs",  "batch",     "optimizer", "schedule",    "augment",
                                             "loss",    "smoothing", "bn_mode",   "temperature", "alpha",
                                             "answers", "bits",      "init",      "activations" };
static const char *const compile_keys[] = { "stage", "do", "note", "models", "target", "shifts" };
static const char *const default_keys[] = { "batch",     "optimizer", "schedule",    "augment", "loss",
                                            "smoothing", "bn_mode",   "temperature", "alpha",   "answers" };
static const char *const file_keys[] = { "name", "title", "data", "seed", "defaults", "stages" };

static epl_stage *stage_named(epl_pipeline *p, const epl_yaml *y, const char *name, const epl_stage *before)
{
    const char *names[64];
    size_t      n = 0;
    for (epl_stage *s = p->stages; s < before && n < EPL_COUNT(names); s++) {
        if (strcmp(s->name, name) == 0 && s->kind != EPL_STAGE_COMPILE)
            return s;
        names[n++] = s->name;
    }
    const char *close = epl_closest(name, names, n);
    epl_yaml_fail(y, "no earlier stage with a model is named '%s'%s%s%s", name, close ? "; did you mean '" : "", close ? close : "",
                  close ? "'?" : "");
    return NULL;
}

static bool read_reference(epl_stage *s, const char *key, epl_stage **out)
{
    const char *name;
    if (!epl_yaml_text(s->yaml, key, &name, NULL))
        return false;
    *out = name ? stage_named(s->pipeline, epl_yaml_get(s->yaml, key), name, s) : NULL;
    return !name || *out;
}

/* The stage's own map, or the defaults where it has no such key. */
static const epl_yaml *where(const epl_stage *s, const epl_yaml *defaults, const char *key)
{
    return epl_yaml_get(s->yaml, key) ? s->yaml : defaults;
}

/* A text that another floor parses: its sentence gets the line. */
static bool located(const epl_yaml *map, const char *key, bool ok)
{
    if (ok)
        return true;
    const epl_yaml *y = epl_yaml_get(map, key);
    if (!y)
        return false;
    char sentence[768];
    snprintf(sentence, sizeof sentence, "%s", epl_error_message(y->ctx));
    epl_error_clear(y->ctx);
    return epl_yaml_fail(y, "%s", sentence);
}

/* When the teacher is asked: in each step, about the augmented sample, or once, about each sample as it is. */
static bool read_answers(const epl_yaml *map, bool *once)
{
    const char *when;
    if (!epl_yaml_text(map, "answers", &when, "each-step"))
        return false;
    *once = strcmp(when, "once") == 0;
    return *once || strcmp(when, "each-step") == 0 || epl_yaml_fail(map, "answers are made 'once' or 'each-step', not '%s'", when);
}

static bool read_recipe(epl_stage *s, const epl_yaml *defaults)
{
    epl_context *ctx = s->pipeline->ctx;
    const char  *optimizer, *schedule, *bn_mode;
#define FROM(key) where(s, defaults, key)
    if (!epl_yaml_int(s->yaml, "epochs", 0, 100000, &s->epochs, 1) || !epl_yaml_int(FROM("batch"), "batch", 1, 1 << 20, &s->batch, 64) ||
        !epl_yaml_text(FROM("optimizer"), "optimizer", &optimizer, "sgd:momentum=0.9,nesterov=1") ||
        !epl_yaml_text(FROM("schedule"), "schedule", &schedule, "cosine") ||
        !epl_yaml_text(FROM("augment"), "augment", &s->augment, NULL) ||
        !epl_yaml_text(FROM("bn_mode"), "bn_mode", &bn_mode, NULL) ||
        !epl_yaml_text(FROM("loss"), "loss", &s->loss.name, "cross-entropy") ||
        !epl_yaml_real(FROM("smoothing"), "smoothing", 0, 0.99, &s->loss.smoothing, 0) ||
        !epl_yaml_real(FROM("temperature"), "temperature", 0.01, 1000, &s->distill.temperature, 4) ||
        !epl_yaml_real(FROM("alpha"), "alpha", 0, 1, &s->distill.alpha, 0.9) || !read_answers(FROM("answers"), &s->look_up))
        return false;
    if (!located(FROM("optimizer"), "optimizer", epl_optimizer_parse(ctx, optimizer, &s->optimizer)) ||
        !located(FROM("schedule"), "schedule", epl_schedule_parse(ctx, schedule, &s->schedule)) ||
        (bn_mode && !located(FROM("bn_mode"), "bn_mode", epl_norm_modes_parse(ctx, bn_mode, &s->norms))))
        return false;
#undef FROM
    return read_reference(s, "from", &s->from) && read_reference(s, "teacher", &s->teacher);
}

static bool read_train(epl_stage *s, const epl_yaml *defaults)
{
    if (!epl_yaml_known(s->yaml, train_keys, EPL_COUNT(train_keys)) || !read_recipe(s, defaults) ||
        !epl_yaml_text(s->yaml, "model", &s->model, NULL))
        return false;
    if (!s->model == !s->from)
        return epl_yaml_fail(s->yaml, "stage '%s' needs either 'model' or 'from'", s->name);
    if (!s->model)
        return true;
    epl_graph *g  = epl_zoo_build(s->pipeline->ctx, s->model);
    const bool ok = located(s->yaml, "model", g != NULL);
    epl_graph_free(g);
    return ok;
}

static bool needs_from(const epl_stage *s)
{
    return s->from || epl_yaml_fail(s->yaml, "stage '%s' needs 'from': the stage whose model it changes", s->name);
}

static bool read_prune(epl_stage *s, const epl_yaml *defaults)
{
    return epl_yaml_known(s->yaml, prune_keys, EPL_COUNT(prune_keys)) && read_recipe(s, defaults) && needs_from(s) &&
           epl_yaml_real(s->yaml, "sparsity", 0, 0.9999, &s->sparsity, 0.9) &&
           epl_yaml_text(s->yaml, "criterion", &s->criterion, "magnitude") &&
           epl_yaml_text(s->yaml, "distribution", &s->distribution, "global") && epl_yaml_text(s->yaml, "skip", &s->skip, NULL) &&
           epl_yaml_real(s->yaml, "begin", 0, 1, &s->begin, 0.1) && epl_yaml_real(s->yaml, "end", 0, 1, &s->end, 0.6) &&
           epl_yaml_int(s->yaml, "every", 1, 1 << 30, &s->every, 50) &&
           (s->begin <= s->end || epl_yaml_fail(s->yaml, "pruning ends at %g, before it begins at %g", s->end, s->begin));
}

static bool read_channels(epl_stage *s, const epl_yaml *defaults)
{
    return epl_yaml_known(s->yaml, channel_keys, EPL_COUNT(channel_keys)) && read_recipe(s, defaults) && needs_from(s) &&
           epl_yaml_real(s->yaml, "macs", 0.01, 1, &s->macs, 0.5) && epl_yaml_text(s->yaml, "criterion", &s->criterion, NULL) &&
           epl_yaml_int(s->yaml, "round_to", 1, 1024, &s->round_to, 8);
}

static bool read_quantize(epl_stage *s, const epl_yaml *defaults)
{
    return epl_yaml_known(s->yaml, quantize_keys, EPL_COUNT(quantize_keys)) && read_recipe(s, defaults) &&
           needs_from(s) && epl_yaml_int(s->yaml, "bits", 2, 4, &s->bits, 3) &&
           epl_yaml_flag(s->yaml, "activations", &s->activations, false) &&
           epl_yaml_text(s->yaml, "init", &s->init, "from-float") &&
           (strcmp(s->init, "scratch") == 0 || strcmp(s->init, "low-variance") == 0 ||
            strcmp(s->init, "from-float") == 0 ||
            epl_yaml_fail(epl_yaml_get(s->yaml, "init"),
                          "variables begin from 'scratch', with 'low-variance' or 'from-float', not '%s'", s->init));
}

static bool read_compile(epl_stage *s, const epl_yaml *defaults)
{
    (void)defaults;
    const epl_yaml *list = epl_yaml_get(s->yaml, "models");
    if (!epl_yaml_known(s->yaml, compile_keys, EPL_COUNT(compile_keys)) || !epl_yaml_text(s->yaml, "target", &s->target, NULL) ||
        !epl_yaml_flag(s->yaml, "shifts", &s->shifts, false))
        return false;
    if (!list || list->kind != EPL_YAML_LIST || !list->first)
        return epl_yaml_fail(s->yaml, "stage '%s' needs 'models': a list of earlier stages", s->name);
    for (const epl_yaml *y = list->first; y; y = y->next)
        s->n_models++;
    s->models = epl_arena_alloc(s->pipeline->arena, (size_t)s->n_models * sizeof *s->models);
    if (!s->models)
        return false;
    int k = 0;
    for (const epl_yaml *y = list->first; y; y = y->next) {
        s->models[k] = y->kind == EPL_YAML_TEXT ? stage_named(s->pipeline, y, y->text, s) : NULL;
        if (!s->models[k++])
            return y->kind == EPL_YAML_TEXT ? false : epl_yaml_fail(y, "a stage's name is needed");
    }
    return true;
}

/* Two stages never share a folder, and a name is a folder's. */
static bool check_name(const epl_stage *s)
{
    if (!s->name[0] || strspn(s->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(s->name))
        return epl_yaml_fail(s->yaml, "a stage's name is made of letters, digits, '-' and '_', not '%s'", s->name);
    for (const epl_stage *other = s->pipeline->stages; other < s; other++)
        if (strcmp(other->name, s->name) == 0)
            return epl_yaml_fail(s->yaml, "two stages are named '%s'", s->name);
    return true;
}

/* A node's text, for the key: what counts is what is written. */
static uint64_t hash_yaml(const epl_yaml *y, uint64_t h)
{
    for (; y; y = y->next) {
        if (y->key && strcmp(y->key, "note") == 0)
            continue;
        h = epl_hash(y->key ? y->key : "-", strlen(y->key ? y->key : "-"), h + (uint64_t)y->kind);
        h = y->text ? epl_hash(y->text, strlen(y->text), h) : hash_yaml(y->first, h);
    }
    return h;
}

static uint64_t stage_key(const epl_stage *s, const epl_yaml *defaults)
{
    const epl_pipeline *p = s->pipeline;
    uint64_t h = epl_hash(p->data, strlen(p->data), p->seed);
    h = hash_yaml(s->yaml->first, h);
    h = hash_yaml(defaults ? defaults->first : NULL, h);
    const uint64_t inputs[] = { s->from ? s->from->key : 0, s->teacher ? s->teacher->key : 0 };
    h = epl_hash(inputs, sizeof inputs, h);
    for (int i = 0; i < s->n_models; i++)
        h = epl_hash(&s->models[i]->key, sizeof s->models[i]->key, h);
    return h;
}

bool epl_stage_read(epl_stage *s, const epl_yaml *defaults)
{
    static bool (*const readers[EPL_N_STAGE_KINDS])(epl_stage *, const epl_yaml *) = { read_train, read_prune, read_channels, read_quantize,
                                                                                     read_compile };
    const char *kind;
    s->result = (epl_stage_result){ .accuracy = NAN, .loss = NAN };
    if (s->yaml->kind != EPL_YAML_MAP)
        return epl_yaml_fail(s->yaml, "a stage is a map with the keys 'stage' and 'do'");
    if (!epl_yaml_text(s->yaml, "stage", &s->name, NULL) || !epl_yaml_text(s->yaml, "do", &kind, "train") ||
        !epl_yaml_text(s->yaml, "note", &s->note, NULL))
        return false;
    if (!s->name)
        return epl_yaml_fail(s->yaml, "a stage needs a name: the key 'stage'");
    for (int k = 0; k < EPL_N_STAGE_KINDS; k++)
        if (strcmp(kinds[k], kind) == 0) {
            s->kind = (epl_stage_kind)k;
            if (!check_name(s) || !readers[k](s, defaults))
                return false;
            s->key = stage_key(s, defaults);
            return true;
        }
    const char *close = epl_closest(kind, kinds, EPL_N_STAGE_KINDS);
    return epl_yaml_fail(
        epl_yaml_get(s->yaml, "do"),
        "stage '%s' wants to '%s'; what stages do is train, prune, prune-channels, quantize, compile%s%s%s", s->name,
        kind, close ? " - did you mean '" : "", close ? close : "", close ? "'?" : "");
}

static bool read_file(epl_pipeline *p, const epl_yaml *root)
{
    int64_t seed;
    if (root->kind != EPL_YAML_MAP)
        return epl_yaml_fail(root, "a pipeline is a map with the keys 'name', 'data' and 'stages'");
    if (!epl_yaml_known(root, file_keys, EPL_COUNT(file_keys)) || !epl_yaml_text(root, "name", &p->name, "pipeline") ||
        !epl_yaml_text(root, "title", &p->title, p->name) || !epl_yaml_text(root, "data", &p->data, NULL) ||
        !epl_yaml_int(root, "seed", 0, INT64_MAX / 2, &seed, 1))
        return false;
    p->seed = (uint64_t)seed;
    const epl_yaml *stages = epl_yaml_get(root, "stages"), *defaults = epl_yaml_get(root, "defaults");
    if (!p->data)
        return epl_yaml_fail(root, "a pipeline needs 'data': a data set's description");
    if (strchr(p->name, '/') || !p->name[0] || p->name[0] == '.')
        return epl_yaml_fail(epl_yaml_get(root, "name"), "'%s' cannot be the name of a folder", p->name);
    if (defaults && (defaults->kind != EPL_YAML_MAP || !epl_yaml_known(defaults, default_keys, EPL_COUNT(default_keys))))
        return defaults->kind == EPL_YAML_MAP ? false : epl_yaml_fail(defaults, "'defaults' must be a map");
    if (!stages || stages->kind != EPL_YAML_LIST || !stages->first)
        return epl_yaml_fail(root, "a pipeline needs 'stages': a list");
    for (const epl_yaml *y = stages->first; y; y = y->next)
        p->n_stages++;
    p->stages = epl_arena_alloc(p->arena, (size_t)p->n_stages * sizeof *p->stages);
    epl_stage *s = p->stages;
    for (const epl_yaml *y = stages->first; s && y; y = y->next, s++) {
        *s = (epl_stage){ .pipeline = p, .yaml = y };
        if (!epl_stage_read(s, defaults))
            return false;
    }
    return p->stages != NULL;
}

epl_pipeline *epl_pipeline_parse(epl_context *ctx, const char *text, size_t length, const char *name)
{
    epl_pipeline *p = epl_alloc(ctx, sizeof *p);
    if (!p)
        return NULL;
    *p = (epl_pipeline){ .ctx = ctx, .arena = epl_arena_new(ctx) };
    const epl_yaml *root = p->arena ? epl_yaml_parse(ctx, p->arena, text, length, name) : NULL;
    if (root && read_file(p, root))
        return p;
    epl_pipeline_free(p);
    return NULL;
}

epl_pipeline *epl_pipeline_load(epl_context *ctx, const char *path)
{
    epl_map       file = { 0 };
    epl_pipeline *p    = NULL;
    if (epl_map_open(ctx, path, &file))
        p = epl_pipeline_parse(ctx, (const char *)file.data, file.size, path);
    epl_map_close(&file);
    return p;
}

void epl_pipeline_free(epl_pipeline *p)
{
    if (!p)
        return;
    epl_dataset_free(p->train);
    epl_dataset_free(p->test);
    epl_arena_free(p->arena);
    epl_release(p->ctx, p);
}

const char *epl_pipeline_name(const epl_pipeline *p) { return p->name; }
int         epl_pipeline_n_stages(const epl_pipeline *p) { return p->n_stages; }
