/* trainer: the loop - batches through the step's program, validation, the best, early stop, checkpoints. A run is a sequence of
 * updates, and everything that the next one depends on is in tensors and a few numbers, so it can end and go on anywhere
 * between two. */
#include "train/trainer.h"

#include "graph/op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- making one ---- */

static epl_trainer_opts with_defaults(epl_trainer_opts o, int64_t count)
{
    o.epochs     = o.epochs > 0 ? o.epochs : 1;
    o.batch      = o.batch > 0 ? o.batch : 64;
    o.batch      = o.batch < count ? o.batch : count;
    o.accumulate = o.accumulate > 1 ? o.accumulate : 1;
    o.val_every  = o.val_every > 0 ? o.val_every : 1;
    o.log_every  = o.log_every > 0 ? o.log_every : 50;
    o.checkpoint_every_s = epl_default(o.checkpoint_every_s, 60);
    o.optimizer = epl_optimizer_defaults(o.optimizer);
    return o;
}

static bool open_loader(epl_trainer *t)
{
    epl_loader_opts lo = { .batch = t->o.batch, .shuffle = true, .seed = t->o.seed, .augment = t->words, .n_workers = t->o.n_workers,
                           .sampler = t->o.sampler };
    t->loader = epl_loader_new(t->ctx, t->train_data, lo);
    if (!t->loader)
        return false;
    t->batches = epl_loader_steps(t->loader);
    t->updates_per_epoch = (t->batches + t->o.accumulate - 1) / t->o.accumulate;
    return true;
}

static bool choose_words(epl_trainer *t)
{
    const char *known = epl_weights_metadata(t->model->weights, "espalier.augment");
    t->words       = t->o.augment ? t->o.augment : known ? known : "";
    t->words       = epl_strdup(t->ctx, t->words); // the metadata is about to be replaced
    t->fixed_words = t->words ? epl_augment_fixed_words(t->ctx, t->words) : NULL;
    return t->fixed_words && epl_weights_set_metadata(t->model->weights, "espalier.augment", t->fixed_words);
}

/* Mixed labels are probabilities. */
static bool labels_mix(const epl_trainer *t, bool *out)
{
    epl_augment *a = epl_augment_parse(t->ctx, t->words, t->info.x_shape);
    if (a)
        *out = epl_augment_mixes(a);
    epl_augment_free(a);
    return a != NULL;
}

static bool build(epl_trainer *t)
{
    const epl_shape x = epl_loader_x_shape(t->loader);
    epl_step_opts   s = { .batch = t->o.batch, .loss = t->o.loss, .optimizer = t->o.optimizer, .accumulate = t->o.accumulate,
                          .norms = t->o.norms, .hooks = t->o.hooks, .n_hooks = t->o.n_hooks };
    bool mix = false;
    if (!labels_mix(t, &mix))
        return false;
    s.target_dtype = mix ? EPL_F32 : t->info.y_dtype;
    s.target_shape = mix ? EPL_SHAPE(t->o.batch, t->info.n_classes) : epl_batch_target_shape(&t->info, x);
    if (!epl_check_input(t->model->graph, &t->info, x) || !epl_build_step(t->model, t->model->weights, s, t->o.seed, &t->built))
        return false;
    for (int i = 0; mix && i < epl_graph_n_inputs(t->built.graph); i++)
        if (strcmp(epl_value_name(epl_graph_input_at(t->built.graph, i)), "index") == 0)
            return epl_fail(t->ctx, EPL_ERR_ARGUMENT, "augment '%s' mixes samples, and what is known of each sample (a teacher's answers) "
                            "does not fit their mixtures", t->words);
    return true;
}

static bool make_programs(epl_trainer *t)
{
    epl_program_opts po = { .memory_limit = t->o.memory_limit, .sparse = epl_step_may_skip_zeros(t->o.hooks, t->o.n_hooks) };
    t->step = epl_program_new(t->built.graph, t->model->weights, po);
    if (t->step && t->built.update)
        t->update = epl_program_new(t->built.update, t->model->weights, (epl_program_opts){ 0 });
    if (!t->step || (t->built.update && !t->update))
        return false;
    t->x       = epl_program_input(t->step, 0);
    t->target  = epl_program_input_named(t->step, "target");
    t->weights = epl_program_input_named(t->step, "weights");
    t->index   = epl_program_input_named(t->step, "index");
    t->rate    = epl_program_input_named(t->update ? t->update : t->step, "rate");
    t->logits  = epl_program_output_named(t->step, "logits");
    t->loss    = epl_program_output_named(t->step, "loss");
    return true;
}

static bool make_evaluator(epl_trainer *t, epl_dataset *val)
{
    if (!val)
        return true;
    epl_evaluate_opts eo = { .batch = t->o.batch, .augment = t->fixed_words, .loss = t->o.loss, .averaged = t->o.optimizer.ema > 0 };
    t->val = epl_evaluator_new(t->model, val, eo);
    return t->val != NULL;
}

/* Everything that the bits of the weights depend on, but the number of epochs: a run may be made longer. */
static uint64_t fingerprint_of(const epl_trainer *t)
{
    const epl_schedule_opts *s = &t->o.schedule;
    char text[1024];
    int n = snprintf(text, sizeof text, "%lld %llu %d %lld %d %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g",
                     (long long)t->o.batch, (unsigned long long)t->o.seed, t->o.accumulate, (long long)t->info.count,
                     (int)s->kind, s->warmup, s->warmup_from, s->every, s->gamma, s->final, s->power, s->start, s->peak,
                     t->o.optimizer.rate);
    for (int i = 0; i < s->n_milestones && n < (int)sizeof text - 80; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %.17g", s->milestones[i]);
    if (t->o.sampler.kind)
        n += snprintf(text + n, sizeof text - (size_t)n, " %d %d", (int)t->o.sampler.kind, t->o.sampler.classes);
    uint64_t h = epl_hash(text, strlen(text), epl_graph_hash(t->built.graph));
    h = epl_hash(t->words, strlen(t->words), h);
    h = epl_hash(t->info.name, strlen(t->info.name), h);
    return t->built.update ? h ^ epl_graph_hash(t->built.update) : h;
}

/* What hooks do between the steps, in their order. */
static uint64_t hooks_print_of(const epl_trainer *t)
{
    uint64_t h = 1;
    for (int i = 0; i < t->o.n_hooks; i++)
        if (t->o.hooks[i].options)
            h = epl_hash(&t->o.hooks[i].options, sizeof t->o.hooks[i].options, h);
    return h;
}

/* From then on the norms are weights, which learn. */
static bool deploy_if_asked(epl_trainer *t)
{
    epl_norm_modes *n = &t->o.norms;
    if (n->mode != EPL_NORM_DEPLOY)
        return true;
    const bool ok = epl_deploy_batch_norms(t->model, n->pattern, NULL);
    *n = (epl_norm_modes){ EPL_NORM_AUTO, NULL };
    return ok;
}

static bool prepare(epl_trainer *t, epl_dataset *val)
{
    if (t->info.count < 1)
        return epl_fail(t->ctx, EPL_ERR_ARGUMENT, "data set '%s' is empty", t->info.name);
    if (!epl_model_init(t->model, t->o.seed) || !deploy_if_asked(t))
        return false;
    t->n_own_weights = epl_weights_count(t->model->weights);
    if (!choose_words(t) || !open_loader(t) || !build(t) || !make_programs(t) || !make_evaluator(t, val))
        return false;
    t->tally       = (epl_tally){ .ctx = t->ctx, .n_classes = t->info.n_classes };
    t->fingerprint = fingerprint_of(t);
    t->hooks_print = hooks_print_of(t);
    epl_trainer_sweep(t);
    return (!t->o.resume || epl_trainer_load(t)) && epl_journal_open(t);
}

epl_trainer *epl_trainer_new(epl_model *m, epl_dataset *train, epl_dataset *val, epl_trainer_opts o)
{
    epl_trainer *t = m && train ? epl_alloc(m->ctx, sizeof *t) : NULL;
    if (!t)
        return NULL;
    *t = (epl_trainer){ .ctx = m->ctx, .model = m, .train_data = train, .info = epl_dataset_info_of(train), .best = (double)NAN,
                        .n_own_weights = -1 };
    t->o = with_defaults(o, t->info.count);
    if (!prepare(t, val)) {
        epl_trainer_free(t);
        return NULL;
    }
    return t;
}

/* The tensors that came with training go, last ones first. */
static void give_back(epl_trainer *t)
{
    epl_weights *w = t->model->weights;
    while (t->n_own_weights >= 0 && epl_weights_count(w) > t->n_own_weights)
        if (!epl_weights_remove(w, epl_weights_name(w, epl_weights_count(w) - 1)))
            break;
}

void epl_trainer_free(epl_trainer *t)
{
    if (!t)
        return;
    epl_journal_close(t);
    epl_evaluator_free(t->val);
    epl_program_free(t->update);
    epl_program_free(t->step);
    epl_built_step_release(&t->built);
    epl_loader_free(t->loader);
    give_back(t);
    epl_weights_free(t->best_weights);
    epl_release(t->ctx, t->history);
    epl_release(t->ctx, t->fixed_words);
    epl_release(t->ctx, (void *)(uintptr_t)t->words);
    epl_release(t->ctx, t);
}

/* ---- a batch ---- */

static void set_rate(epl_trainer *t)
{
    const double at = (double)t->updates / (double)t->updates_per_epoch;
    t->last_rate = (float)(t->o.optimizer.rate * epl_schedule_factor(&t->o.schedule, at, t->o.epochs));
    *(float *)t->rate->data = t->last_rate;
}

static bool run_batch(epl_trainer *t)
{
    epl_batch b;
    if (!epl_loader_next(t->loader, &b))
        return false;
    const epl_tensor *target = b.soft ? b.soft : b.labels;
    memcpy(t->x->data, b.x->data, epl_tensor_bytes(t->x));
    memcpy(t->target->data, target->data, epl_tensor_bytes(t->target));
    memcpy(t->weights->data, b.weights->data, epl_tensor_bytes(t->weights));
    if (t->index) // a hook asked for it
        memcpy(t->index->data, b.indices, epl_tensor_bytes(t->index));
    set_rate(t);
    if (!epl_program_run(t->step))
        return false;
    t->last_loss = epl_tensor_get(t->loss, 0);
    if (!isfinite(t->last_loss))
        return epl_fail(t->ctx, EPL_ERR_ARGUMENT, "the loss is %g at update %lld (epoch %lld, rate %g): training diverged",
                        t->last_loss, (long long)t->updates + 1, (long long)t->epoch + 1, (double)t->last_rate);
    epl_tally_add(&t->tally, t->last_loss, t->logits, b.labels, b.n_valid);
    t->batch++;
    return true;
}

/* Up to the next update: one batch, or those that are accumulated. */
static bool run_update(epl_trainer *t)
{
    do
        if (!run_batch(t))
            return false;
    while (t->batch % t->o.accumulate != 0 && t->batch < t->batches);
    if (t->update && !epl_program_run(t->update))
        return false;
    t->updates++;
    for (int i = 0; i < t->o.n_hooks; i++)
        if (t->o.hooks[i].after_step && !t->o.hooks[i].after_step(t->o.hooks[i].user, t, t->updates))
            return epl_fail(t->ctx, EPL_ERR_INTERRUPTED, "hook %d ended training after update %lld", i, (long long)t->updates);
    return t->updates % t->o.log_every != 0 || epl_journal_step(t);
}

/* ---- the end of an epoch ---- */


static bool is_better(const epl_trainer *t, double value)
{
    if (!t->has_best)
        return true;
    return t->o.monitor == EPL_MONITOR_LOSS || t->info.n_classes == 0 ? value < t->best : value > t->best;
}

/* A network that is half pruned is not what is wanted, however well it does. */
static bool is_settled(const epl_trainer *t)
{
    for (int i = 0; i < t->o.n_hooks; i++)
        if (t->o.hooks[i].settled && !t->o.hooks[i].settled(t->o.hooks[i].user, t))
            return false;
    return true;
}

static bool validate(epl_trainer *t, epl_epoch_record *r)
{
    epl_metrics m;
    epl_journal_progress(t, "validation", false);
    if (!epl_evaluator_run(t->val, NULL, &m))
        return false;
    r->val_loss     = m.loss;
    r->val_accuracy = m.accuracy;
    r->val_top5     = m.top5;
    const double value = t->o.monitor == EPL_MONITOR_LOSS || t->info.n_classes == 0 ? m.loss : m.accuracy;
    if (!is_settled(t))
        return true;
    t->without_best++;
    if (!is_better(t, value))
        return true;
    t->best         = value;
    t->has_best     = true;
    t->without_best = 0;
    return epl_trainer_keep_best(t);
}

static void spend_time(epl_trainer *t)
{
    const double now = epl_now_s();
    t->seconds += now - t->clock;
    t->clock = now;
}

static bool end_epoch(epl_trainer *t)
{
    const epl_metrics m = epl_tally_metrics(&t->tally);
    epl_epoch_record  r = { .epoch = t->epoch + 1, .step = t->updates, .rate = (double)t->last_rate, .loss = m.loss,
                            .accuracy = m.accuracy, .val_loss = (double)NAN, .val_accuracy = (double)NAN, .val_top5 = (double)NAN };
    const bool last = r.epoch >= t->o.epochs;
    if (t->val && (last || r.epoch % t->o.val_every == 0) && !validate(t, &r))
        return false;
    spend_time(t);
    r.seconds = t->seconds;
    if (!epl_grow(t->ctx, &t->history, t->n_history, &t->cap_history, sizeof *t->history))
        return false;
    t->history[t->n_history++] = r;
    for (int i = 0; i < t->o.n_hooks; i++)
        if (t->o.hooks[i].after_epoch && !t->o.hooks[i].after_epoch(t->o.hooks[i].user, t, r.epoch))
            return epl_fail(t->ctx, EPL_ERR_INTERRUPTED, "hook %d ended training after epoch %lld", i, (long long)r.epoch);
    t->epoch++;
    t->batch    = 0;
    t->seconds  = 0;
    t->finished = t->o.patience > 0 && t->without_best >= t->o.patience;
    epl_tally_clear(&t->tally);
    return epl_journal_epoch(t, &r) && epl_trainer_save(t);
}

/* ---- the run ---- */

static bool save_if_due(epl_trainer *t)
{
    if (!t->o.checkpoint || t->batch == t->batches)
        return true; // the epoch's end saves
    const bool due = epl_now_s() - t->saved_at >= t->o.checkpoint_every_s ||
                     (t->o.checkpoint_every > 0 && t->updates - t->saved_update >= t->o.checkpoint_every);
    spend_time(t);
    return !due || epl_trainer_save(t);
}

static bool stop_if_asked(epl_trainer *t)
{
    if (!t->stop && !(t->o.stop && *t->o.stop))
        return true;
    t->stop = false;
    spend_time(t);
    return epl_trainer_save(t) &&
           epl_fail(t->ctx, EPL_ERR_INTERRUPTED, "training stopped after update %lld of %lld%s%s", (long long)t->updates,
                    (long long)epl_trainer_total_updates(t), t->o.checkpoint ? "; it can go on from " : "",
                    t->o.checkpoint ? t->o.checkpoint : "");
}

static bool run_epoch(epl_trainer *t)
{
    char label[96];
    if (!epl_loader_seek(t->loader, t->epoch, t->batch))
        return false;
    while (t->batch < t->batches) {
        if (!run_update(t) || !save_if_due(t))
            return false;
        snprintf(label, sizeof label, "epoch %lld/%d, loss %.4f", (long long)t->epoch + 1, t->o.epochs,
                 t->tally.loss / (double)t->tally.samples);
        epl_journal_progress(t, label, t->batch == t->batches);
        if (!stop_if_asked(t))
            return false;
    }
    return end_epoch(t) && stop_if_asked(t);
}

bool epl_trainer_run(epl_trainer *t)
{
    t->clock = t->saved_at = epl_now_s();
    while (t->epoch < t->o.epochs && !t->finished)
        if (!run_epoch(t))
            return false;
    if (t->o.restore_best && t->has_best)
        return epl_trainer_take_best(t);
    return t->o.optimizer.ema <= 0 || epl_trainer_take_averages(t);
}

/* ---- looking ---- */

const epl_epoch_record *epl_trainer_history(const epl_trainer *t, int *n)
{
    *n = (int)t->n_history;
    return t->history;
}

int64_t      epl_trainer_updates(const epl_trainer *t) { return t->updates; }
double       epl_trainer_loss(const epl_trainer *t) { return t->last_loss; }
int64_t epl_trainer_skipped(const epl_trainer *t)
{
    const epl_tensor *skipped = epl_weights_find(t->model->weights, "train.skipped");
    return skipped ? (int64_t)epl_tensor_get(skipped, 0) : 0;
}

int64_t      epl_trainer_total_updates(const epl_trainer *t) { return t->updates_per_epoch * t->o.epochs; }
epl_model   *epl_trainer_model(const epl_trainer *t) { return t->model; }
epl_program *epl_trainer_program(const epl_trainer *t) { return t->step; }
double       epl_trainer_best(const epl_trainer *t) { return t->best; }
