/* result: a stage's result as a small JSON file beside its artifact, and the summary of all. */
#include "pipeline/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The numbers of a result by name: one list for writing and reading. */
#define NUMBERS(X)                                                                                                     \
    X(f64, seconds) X(f64, accuracy) X(f64, loss) X(i64, parameters) X(i64, nonzero) X(f64, macs) X(f64, executed_macs) \
    X(i64, file_bytes) X(f64, library_us)

#define COMPILED(X)                                                                                                    \
    X(f64, library_us) X(f64, compiled_us) X(f64, max_abs_diff) X(f64, max_ulp)              \
    X(i64, n_verified) X(i64, compiled_bytes) X(i64, arena_bytes)

static void put_key(epl_json_writer *w, uint64_t key)
{
    char hex[20];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)key);
    epl_json_put_string(w, "key", hex);
}

static bool has_key(const epl_json *j, uint64_t key)
{
    char hex[20];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)key);
    const char *is = epl_json_string(epl_json_get(j, "key"));
    return is && strcmp(is, hex) == 0;
}

static bool save_text(epl_context *ctx, const char *path, epl_text *t)
{
    epl_text_add(t, "\n");
    const bool ok = !t->failed && epl_write_file(ctx, path, epl_text_str(t), t->length);
    epl_text_release(t);
    return ok;
}

#define PUT(type, name) epl_json_put_##type(&w, #name, r->name);

static void put_compiled(epl_json_writer *out, const epl_stage *s)
{
    epl_json_writer         w = *out;
    const epl_stage_result *r = &s->result;
    epl_json_open_object(&w, s->name);
    put_key(&w, s->key);
    COMPILED(PUT)
    epl_json_close(&w);
    *out = w;
}

bool epl_stage_save(const epl_stage *s)
{
    epl_text        t = EPL_TEXT(s->pipeline->ctx);
    epl_json_writer w = epl_json_writer_at(&t, 2);
    epl_json_open_object(&w, NULL);
    put_key(&w, s->key);
    {
        const epl_stage_result *r = &s->result;
        NUMBERS(PUT)
    }
    epl_json_open_array(&w, "history");
    for (int i = 0; i < s->result.n_epochs; i++)
        epl_epoch_record_put(&w, &s->result.history[i]);
    epl_json_close(&w);
    epl_json_open_object(&w, "compiled");
    for (int i = 0; i < s->n_models; i++)
        put_compiled(&w, s->models[i]);
    epl_json_close(&w);
    epl_json_close(&w);
    return save_text(s->pipeline->ctx, epl_stage_path(s, "stage.json"), &t);
}

/* null is NaN: what was not measured. */
static void get_f64(const epl_json *j, const char *name, double *x)
{
    if (!epl_json_f64(epl_json_get(j, name), x))
        *x = NAN;
}

static void get_i64(const epl_json *j, const char *name, int64_t *x)
{
    if (!epl_json_i64(epl_json_get(j, name), x))
        *x = 0;
}

#define GET(type, name) get_##type(j, #name, &r->name);

static bool load_history(epl_stage *s, const epl_json *list)
{
    const size_t n = epl_json_length(list);
    s->result.history  = epl_arena_alloc(s->pipeline->arena, (n + 1) * sizeof *s->result.history);
    s->result.n_epochs = s->result.history ? (int)n : 0;
    for (size_t i = 0; s->result.history && i < n; i++)
        if (!epl_epoch_record_get(epl_json_at(list, i), &s->result.history[i]))
            return false;
    return s->result.history != NULL;
}

static bool load_compiled(epl_stage *s, const epl_json *all)
{
    for (int i = 0; i < s->n_models; i++) {
        const epl_json   *j = epl_json_get(all, s->models[i]->name);
        epl_stage_result *r = &s->models[i]->result;
        if (!has_key(j, s->models[i]->key))
            return false;
        COMPILED(GET)
        r->compiled = true;
    }
    return true;
}

bool epl_stage_load(epl_stage *s)
{
    const char *path = epl_stage_path(s, "stage.json"), *model = epl_stage_path(s, "model.safetensors");
    if (!path || !model || !epl_file_exists(path) || (s->kind != EPL_STAGE_COMPILE && !epl_file_exists(model)))
        return false;
    epl_json *j  = epl_json_load(s->pipeline->ctx, path);
    bool      ok = j && has_key(j, s->key) && load_history(s, epl_json_get(j, "history"));
    if (ok) {
        epl_stage_result *r = &s->result;
        NUMBERS(GET)
        ok = load_compiled(s, epl_json_get(j, "compiled"));
        r->done = ok;
    }
    epl_json_free(j);
    epl_error_clear(s->pipeline->ctx); // a torn result is no result: the stage runs again
    return ok;
}

bool epl_pipeline_save_summary(const epl_pipeline *p)
{
    char            path[4096];
    epl_text        t = EPL_TEXT(p->ctx);
    epl_json_writer w = epl_json_writer_at(&t, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_string(&w, "name", p->name);
    epl_json_put_string(&w, "data", p->data);
    epl_json_open_object(&w, "models");
    for (int i = 0; i < p->n_stages; i++) {
        const epl_stage_result *r = &p->stages[i].result;
        if (p->stages[i].kind == EPL_STAGE_COMPILE)
            continue;
        epl_json_open_object(&w, p->stages[i].name);
        epl_json_put_f64(&w, "accuracy", r->accuracy);
        epl_json_put_i64(&w, "parameters", r->parameters);
        epl_json_put_i64(&w, "nonzero", r->nonzero);
        epl_json_put_f64(&w, "macs", r->macs);
        epl_json_put_f64(&w, "executed_macs", r->executed_macs);
        epl_json_put_i64(&w, "file_bytes", r->file_bytes);
        epl_json_open_object(&w, "latency_us");
        epl_json_put_f64(&w, "library", r->library_us);
        epl_json_put_f64(&w, "compiled", r->compiled ? r->compiled_us : NAN);
        epl_json_close(&w);
        epl_json_put_f64(&w, "max_abs_diff", r->compiled ? r->max_abs_diff : NAN);
        epl_json_put_f64(&w, "max_ulp", r->compiled ? r->max_ulp : NAN);
        epl_json_put_i64(&w, "verified_samples", r->n_verified);
        epl_json_put_i64(&w, "compiled_bytes", r->compiled_bytes);
        epl_json_put_i64(&w, "arena_bytes", r->arena_bytes);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_open_object(&w, "seconds");
    for (int i = 0; i < p->n_stages; i++)
        epl_json_put_f64(&w, p->stages[i].name, p->stages[i].result.seconds);
    epl_json_close(&w);
    epl_json_close(&w);
    snprintf(path, sizeof path, "%s/summary.json", p->dir);
    return save_text(p->ctx, path, &t);
}
