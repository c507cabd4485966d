/* checkpoint: one safetensors file with the network, its weights, every state of training and, as JSON in the metadata, where
 * the run is. Files are written beside and renamed, so that a crash or a full disk leaves the one before. */
#include "train/trainer.h"

#include "graph/op.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AUGMENT_KEY "espalier.augment"

static bool path_of(const epl_trainer *t, const char *file, char *out, size_t size)
{
    const int n = snprintf(out, size, "%s/%s", t->o.checkpoint, file);
    return n > 0 && (size_t)n < size
               ? true
               : epl_fail(t->ctx, EPL_ERR_ARGUMENT, "the folder's name is too long: %.80s...", t->o.checkpoint);
}

/* What a killed process left half written. The folder belongs to one run. */
void epl_trainer_sweep(const epl_trainer *t)
{
    char path[4096];
    DIR *dir = t->o.checkpoint ? opendir(t->o.checkpoint) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        if (epl_glob("last.safetensors.part-*,best.safetensors.part-*", e->d_name) &&
            (size_t)snprintf(path, sizeof path, "%s/%s", t->o.checkpoint, e->d_name) < sizeof path)
            unlink(path);
    if (dir)
        closedir(dir);
}

/* ---- where the run is, as JSON ---- */

static void put_print(epl_json_writer *w, const char *key, uint64_t print)
{
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)print);
    epl_json_put_string(w, key, text);
}

/* Is it the same there? A checkpoint that does not say so is believed, as is one that says that it goes with all. */
static bool same_print(const epl_json *state, const char *key, uint64_t print)
{
    char        mine[24];
    const char *theirs = epl_json_string(epl_json_get(state, key));
    snprintf(mine, sizeof mine, "%016llx", (unsigned long long)print);
    return !theirs || strcmp(theirs, mine) == 0 || strcmp(theirs, EPL_ANY_OPTIONS) == 0;
}

static char *state_text(const epl_trainer *t)
{
    epl_text text = EPL_TEXT(t->ctx);
    epl_json_writer w = epl_json_writer_at(&text, 0);
    epl_json_open_object(&w, NULL);
    put_print(&w, "options", t->fingerprint);
    put_print(&w, "hooks", t->hooks_print);
    epl_json_put_i64(&w, "epoch", t->epoch);
    epl_json_put_i64(&w, "batch", t->batch);
    epl_json_put_i64(&w, "updates", t->updates);
    epl_json_put_i64(&w, "samples", t->tally.samples);
    epl_json_put_i64(&w, "rows", t->tally.rows);
    epl_json_put_i64(&w, "correct", t->tally.correct);
    epl_json_put_i64(&w, "top5", t->tally.top5);
    epl_json_put_f64(&w, "loss", t->tally.loss);
    epl_json_put_f64(&w, "seconds", t->seconds);
    epl_json_put_f64(&w, "rate", (double)t->last_rate);
    epl_json_put_f64(&w, "best", t->has_best ? t->best : (double)NAN);
    epl_json_put_i64(&w, "without_best", t->without_best);
    epl_json_put_bool(&w, "finished", t->finished);
    epl_json_open_array(&w, "history");
    for (size_t i = 0; i < t->n_history; i++)
        epl_epoch_record_put(&w, &t->history[i]);
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&text);
}

static double get_real(const epl_json *j, const char *key)
{
    double x = (double)NAN;
    epl_json_f64(epl_json_get(j, key), &x);
    return x;
}

static bool get_count(const epl_json *j, const char *key, int64_t most, int64_t *out)
{
    return epl_json_i64(epl_json_get(j, key), out) && *out >= 0 && *out <= most;
}

static bool get_history(epl_trainer *t, const epl_json *list)
{
    t->n_history = 0;
    for (size_t i = 0; i < epl_json_length(list); i++) {
        epl_epoch_record r;
        if (!epl_epoch_record_get(epl_json_at(list, i), &r) ||
            !epl_grow(t->ctx, &t->history, t->n_history, &t->cap_history, sizeof *t->history))
            return false;
        t->history[t->n_history++] = r;
    }
    return true;
}

static bool get_state(epl_trainer *t, const epl_json *j)
{
    int64_t without_best = 0;
    const int64_t most = INT64_MAX;
    const bool ok = get_count(j, "epoch", most, &t->epoch) && get_count(j, "batch", t->batches, &t->batch) &&
                    get_count(j, "updates", most, &t->updates) && get_count(j, "samples", most, &t->tally.samples) &&
                    get_count(j, "rows", most, &t->tally.rows) && get_count(j, "correct", most, &t->tally.correct) &&
                    get_count(j, "top5", most, &t->tally.top5) && get_count(j, "without_best", 1 << 30, &without_best) &&
                    epl_json_bool(epl_json_get(j, "finished"), &t->finished) && get_history(t, epl_json_get(j, "history"));
    t->tally.loss   = get_real(j, "loss");
    t->seconds      = get_real(j, "seconds");
    t->last_rate    = (float)get_real(j, "rate");
    t->best         = get_real(j, "best");
    t->has_best     = !isnan(t->best);
    t->without_best = (int)without_best;
    return ok;
}

/* ---- files ---- */

static bool put_view(const epl_trainer *t, epl_weights *to, const char *name, const epl_tensor *from)
{
    epl_tensor *view = epl_tensor_view(t->ctx, from->dtype, from->shape, from->data);
    return view && epl_weights_put_take(to, name, view);
}

static bool save(const epl_trainer *t, epl_weights *w, const char *file)
{
    char path[4096];
    epl_model m = { t->ctx, t->model->graph, w };
    return path_of(t, file, path, sizeof path) && epl_make_directories(t->ctx, t->o.checkpoint) &&
           epl_weights_set_metadata(w, AUGMENT_KEY, t->fixed_words) && epl_model_save(&m, path);
}

bool epl_trainer_save(epl_trainer *t)
{
    if (!t->o.checkpoint)
        return true;
    epl_weights *w = epl_weights_new(t->ctx);
    char *state = state_text(t);
    bool  ok    = w && state && epl_weights_set_metadata(w, EPL_TRAINING_KEY, state);
    for (int i = 0; ok && i < epl_weights_count(t->model->weights); i++) {
        const char *name = epl_weights_name(t->model->weights, i);
        if (!t->built.borrowed || !epl_glob(t->built.borrowed, name))
            ok = put_view(t, w, name, epl_weights_at(t->model->weights, i));
    }
    ok = ok && save(t, w, "last.safetensors");
    epl_release(t->ctx, state);
    epl_weights_free(w);
    t->saved_at     = epl_now_s();
    t->saved_update = t->updates;
    return ok;
}

static bool same_type(const epl_tensor *a, const epl_tensor *b) { return a->dtype == b->dtype && epl_shape_equal(a->shape, b->shape); }

static bool take_tensors(epl_trainer *t, const epl_weights *from, const char *path)
{
    for (int i = 0; i < epl_weights_count(t->model->weights); i++) {
        const char       *name = epl_weights_name(t->model->weights, i);
        epl_tensor       *to   = epl_weights_at(t->model->weights, i);
        const epl_tensor *t_from = epl_weights_find(from, name);
        if (t->built.borrowed && epl_glob(t->built.borrowed, name))
            continue;
        if (!t_from || !same_type(to, t_from))
            return epl_fail(t->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' %s", path, name, t_from ? "has another type or shape" : "is missing");
        memcpy(to->data, t_from->data, epl_tensor_bytes(to));
    }
    return true;
}

static bool take_state(epl_trainer *t, const epl_weights *w, const char *path)
{
    const char *text  = epl_weights_metadata(w, EPL_TRAINING_KEY);
    epl_json   *state = text ? epl_json_parse(t->ctx, text, strlen(text), path) : NULL;
    if (!text)
        return epl_fail(t->ctx, EPL_ERR_FORMAT, "%s: is no checkpoint (no metadata '" EPL_TRAINING_KEY "')", path);
    bool ok = state != NULL;
    if (ok && (!epl_json_get(state, "options") || !same_print(state, "options", t->fingerprint)))
        ok = epl_fail(t->ctx, EPL_ERR_ARGUMENT, "%s: was made with another network, data set, optimizer, schedule, batch, seed or "
                      "augmentation; the run cannot go on from it", path);
    if (ok && !same_print(state, "hooks", t->hooks_print))
        ok = epl_fail(t->ctx, EPL_ERR_ARGUMENT,
                      "%s: was made with other options of pruning, or of what else acts between the updates; the run "
                      "cannot go on from it",
                      path);
    if (ok && !get_state(t, state))
        ok = epl_error_code(t->ctx) != EPL_OK ? false : epl_fail(t->ctx, EPL_ERR_FORMAT, "%s: the state of training is damaged", path);
    epl_json_free(state);
    return ok;
}

bool epl_trainer_load(epl_trainer *t)
{
    char path[4096];
    if (!t->o.checkpoint || !path_of(t, "last.safetensors", path, sizeof path))
        return !t->o.checkpoint;
    if (!epl_file_exists(path))
        return true;
    epl_weights *w = epl_weights_open(t->ctx, path);
    const bool   ok = w && take_state(t, w, path) && take_tensors(t, w, path);
    epl_weights_free(w);
    t->saved_update = t->updates;
    return ok;
}

/* ---- the best weights ---- */

/* The tensor that the outside sees under the name: averaged where averages are kept. */
static const epl_tensor *shown_tensor(const epl_trainer *t, const char *name)
{
    char averaged[1024];
    snprintf(averaged, sizeof averaged, "ema.%s", name);
    const epl_tensor *a = t->o.optimizer.ema > 0 ? epl_weights_find(t->model->weights, averaged) : NULL;
    return a ? a : epl_weights_find(t->model->weights, name);
}

bool epl_trainer_keep_best(epl_trainer *t)
{
    epl_weights *w = epl_weights_new(t->ctx);
    bool ok = w != NULL;
    for (int i = 0; ok && i < t->n_own_weights; i++) {
        const char       *name = epl_weights_name(t->model->weights, i);
        const epl_tensor *from = shown_tensor(t, name);
        if (t->o.checkpoint) {
            ok = put_view(t, w, name, from);
            continue;
        }
        epl_tensor *copy = epl_tensor_copy(t->ctx, from);
        ok = copy && epl_weights_put_take(w, name, copy);
    }
    if (ok && t->o.checkpoint)
        ok = save(t, w, "best.safetensors");
    else if (ok) {
        epl_weights_free(t->best_weights);
        t->best_weights = w;
        return true;
    }
    epl_weights_free(w);
    return ok;
}

bool epl_trainer_take_best(epl_trainer *t)
{
    char path[4096] = "the best weights";
    if (t->o.checkpoint && !path_of(t, "best.safetensors", path, sizeof path))
        return false;
    epl_weights *w = t->o.checkpoint ? epl_weights_open(t->ctx, path) : t->best_weights;
    bool ok = w != NULL;
    for (int i = 0; ok && i < t->n_own_weights; i++) {
        epl_tensor       *to   = epl_weights_at(t->model->weights, i);
        const epl_tensor *from = epl_weights_find(w, epl_weights_name(t->model->weights, i));
        ok = from && same_type(to, from);
        if (ok)
            memcpy(to->data, from->data, epl_tensor_bytes(to));
        else
            epl_fail(t->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' is missing or has another type", path,
                     epl_weights_name(t->model->weights, i));
    }
    if (t->o.checkpoint)
        epl_weights_free(w);
    return ok;
}

bool epl_trainer_take_averages(epl_trainer *t)
{
    for (int i = 0; i < t->n_own_weights; i++) {
        epl_tensor       *to   = epl_weights_at(t->model->weights, i);
        const epl_tensor *from = shown_tensor(t, epl_weights_name(t->model->weights, i));
        if (from != to)
            memcpy(to->data, from->data, epl_tensor_bytes(to));
    }
    return true;
}
