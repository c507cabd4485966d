/* training: see training.h. */
#include "training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool cli_number_list(cli *c, const char *option, const char *text, cli_numbers *out)
{
    *out = (cli_numbers){ .at = epl_arena_alloc(c->arena, (strlen(text) + 1) * sizeof *out->at) };
    for (const char *s = text; out->at && *s; s += *s == ',') {
        char      *end;
        const long x = strtol(s, &end, 10);
        if (end == s || (*end && *end != ',') || x < 0 || x > 65535)
            return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s is '%s', but must be whole numbers such as 1,4,8", option, text);
        out->at[out->n++] = (int)x;
        s = end;
    }
    return out->at != NULL;
}

static epl_dataset *of_classes_take(cli *c, epl_dataset *d, const char *list)
{
    cli_numbers  n;
    epl_dataset *part = d && cli_number_list(c, "classes", list, &n) ? epl_dataset_of_classes(d, n.at, n.n) : NULL;
    epl_dataset_free(d);
    return part;
}

epl_dataset *cli_data_open(cli *c, const cli_data *d, epl_data_split split, double val_fraction)
{
    epl_dataset *all = epl_dataset_open(c->ctx, d->name, (epl_dataset_opts){ .split = split, .dir = d->dir, .limit = d->limit,
                                                                             .val_fraction = val_fraction, .seed = (uint64_t)c->seed });
    if (d->classes && *d->classes)
        all = of_classes_take(c, all, d->classes);
    if (!all || !d->rotations)
        return all;
    epl_dataset *turned = epl_dataset_of_rotations(all);
    epl_dataset_free(all);
    return turned;
}

/* ---- what a run needs ---- */

typedef struct session {
    cli             *c;
    epl_dataset     *train, *val;
    epl_trainer_opts o;
    epl_train_hook   hooks[12], fading, objective, local, exits, gates;
    char             log[512], events[512], run[480];
    epl_parameter_group frozen[5];
    char            *resting; /* the pattern of --finetune-last */
} session;

/* What --freeze and --finetune-last leave alone. */
static bool freeze(session *s, const epl_model *m, const cli_training *t)
{
    epl_optimizer_opts *o = &s->o.optimizer;
    if (t->freeze)
        s->frozen[o->n_groups++] = (epl_parameter_group){ .pattern = t->freeze, .freeze = true };
    if (t->finetune_last > 0) {
        s->resting = epl_finetune_pattern(m->graph, (int)t->finetune_last);
        if (!s->resting)
            return false;
        s->frozen[o->n_groups++] = (epl_parameter_group){ .pattern = s->resting, .freeze = true };
    }
    o->groups = s->frozen;
    return true;
}

/* The mode of batch norms that was asked for; says what comes of it. */
static bool choose_norms(session *s, const epl_model *m, const cli_training *t)
{
    cli            *c = s->c;
    epl_fold_report r = { 0 };
    size_t          saved = 0;
    char            bytes[32];
    if (!t->bn_mode)
        return true;
    if (!epl_norm_modes_parse(c->ctx, t->bn_mode, &s->o.norms))
        return false;
    const bool tune = s->o.norms.mode == EPL_NORM_TUNE && !epl_weights_metadata(m->weights, EPL_FOLDED_KEY);
    const epl_step_opts o = { .batch = t->batch, .optimizer = s->o.optimizer, .norms = s->o.norms, .accumulate = 1 };
    const bool ok = !tune || epl_tune_saves(m, o, &r, &saved);
    epl_format_bytes(bytes, (double)saved);
    for (int i = 0; ok && i < r.n; i++)
        if (r.pairs[i].skipped)
            cli_remark(c, "batch norm '%s' stays: %s", r.pairs[i].norm, r.pairs[i].skipped);
    if (ok && tune)
        cli_remark(c, "%d of %d batch norms are folded in every step, which saves %s of its memory", r.folded, r.n, bytes);
    epl_fold_report_release(c->ctx, &r);
    return ok;
}

/* What the modules are for: a step's memory, beside that of ordinary training. */
static bool tell_local(session *s, const epl_model *m, const cli_training *t)
{
    epl_program_memory local, whole;
    char               a[32], b[32];
    epl_step_opts      o = { .batch = t->batch, .optimizer = s->o.optimizer, .hooks = &s->local, .n_hooks = 1 };
    if (!epl_train_memory(m, o, &local))
        return false;
    o.n_hooks = 0;
    if (!epl_train_memory(m, o, &whole))
        return false;
    epl_format_bytes(a, (double)local.total);
    epl_format_bytes(b, (double)whole.total);
    cli_remark(s->c, "a step in modules takes %s, end to end it would take %s", a, b);
    return true;
}

/* --local: a number of modules, or the names of blocks. */
static bool add_local(session *s, const epl_model *m, const cli_training *t)
{
    static const char *const kinds[] = { "off", "ema", "block", "param" };
    char *end;
    if (!t->local)
        return true;
    const long     modules = strtol(t->local, &end, 10);
    const bool     named = end == t->local || *end;
    epl_local_opts o = { .modules = named ? 0 : (int)modules, .cuts = named ? t->local : NULL, .loss = t->local_loss, .aux = t->aux,
                         .forget = t->man_momentum < 1 ? 1 - t->man_momentum : -1, .fresh = t->man_fresh };
    for (size_t i = 0; i < EPL_COUNT(kinds); i++)
        o.man = strcmp(t->man, kinds[i]) == 0 ? (epl_man)i : o.man;
    s->local = epl_local_hook(s->c->ctx, o);
    s->hooks[s->o.n_hooks++] = s->local;
    return s->local.user && tell_local(s, m, t);
}

/* A line for every epoch, above the progress. */
static bool tell_epoch(void *user, epl_trainer *t, int64_t epoch)
{
    session *s = user;
    int      n;
    const epl_epoch_record *r = &epl_trainer_history(t, &n)[n - 1];
    char     val[96] = "", accuracy[48] = "", codes[80] = "", seconds[32];
    epl_shift_changes changes;
    (void)epoch;
    if (isfinite(r->accuracy))
        snprintf(accuracy, sizeof accuracy, " accuracy %.2f %%", 100 * r->accuracy);
    if (isfinite(r->val_loss))
        snprintf(val, sizeof val, isfinite(r->val_accuracy) ? ", validation loss %.4f accuracy %.2f %%" : ", validation loss %.4f",
                 r->val_loss, 100 * r->val_accuracy);
    epl_format_seconds(seconds, r->seconds);
    if (epl_shift_changes_of(epl_trainer_model(t), &changes))
        snprintf(codes, sizeof codes, ", signs flipped %.2f %%, codes frozen %.2f %%", 100 * changes.flips, 100 * changes.frozen);
    epl_meter_print(s->c->meter, "epoch %lld: loss %.4f%s%s%s, rate %.3g, %s", (long long)r->epoch, r->loss, accuracy,
                    val, codes, r->rate, seconds);
    return true;
}

/* The folder and the files of the run. */
static bool place_run(session *s, const cli_training *t, const char *out)
{
    if (t->no_run)
        return true;
    snprintf(s->run, sizeof s->run, "%s%s", t->run ? t->run : out, t->run ? "" : ".run");
    snprintf(s->log, sizeof s->log, "%s/log.jsonl", s->run);
    snprintf(s->events, sizeof s->events, "%s/events.out.tfevents.espalier", s->run);
    s->o.checkpoint = s->run;
    s->o.log        = s->log;
    s->o.events     = s->events;
    return epl_make_directories(s->c->ctx, s->run);
}

/* The test part, where there is one; a part of the training data where a share is named. */
static bool open_data(session *s, const cli_training *t)
{
    s->train = cli_data_open(s->c, &t->data, EPL_SPLIT_TRAIN, t->val_fraction);
    if (!s->train || t->no_val)
        return s->train != NULL;
    s->val = cli_data_open(s->c, &t->data, t->val_fraction > 0 ? EPL_SPLIT_VAL : EPL_SPLIT_TEST, t->val_fraction);
    if (!s->val && t->val_fraction == 0 && epl_error_code(s->c->ctx) == EPL_ERR_ARGUMENT) {
        epl_error_clear(s->c->ctx);
        cli_remark(s->c, "no validation: '%s' has no test part (--val-fraction takes some of the training part)", t->data.name);
        return true;
    }
    return s->val != NULL;
}

static bool fill_options(session *s, const cli_training *t, const epl_train_hook *hooks, int n_hooks)
{
    s->o = (epl_trainer_opts){ .epochs = (int)t->epochs, .batch = t->batch, .augment = t->augment, .seed = (uint64_t)s->c->seed,
                               .loss = { .name = t->loss, .smoothing = t->smoothing }, .accumulate = (int)t->accumulate,
                               .n_workers = (int)t->workers, .patience = (int)t->patience, .restore_best = t->best,
                               .resume = t->resume, .log_every = (int)t->log_every, .memory_limit = t->memory_limit,
                               .stop = &cli_stop, .hooks = s->hooks };
    for (int i = 0; i < n_hooks; i++)
        s->hooks[s->o.n_hooks++] = hooks[i];
    s->hooks[s->o.n_hooks++] = epl_shift_hook(); // nothing, where no weights are powers of two
    if (!s->c->quiet)
        s->hooks[s->o.n_hooks++] = (epl_train_hook){ .after_epoch = tell_epoch, .user = s };
    return epl_optimizer_parse(s->c->ctx, t->optimizer, &s->o.optimizer) && epl_schedule_parse(s->c->ctx, t->schedule, &s->o.schedule);
}

/* ---- what is left of it ---- */

/* Names of the classes, one a line, for predict. */
static bool keep_classes(epl_model *m, epl_dataset *d)
{
    const int n = epl_dataset_info_of(d).n_classes;
    epl_text  names = EPL_TEXT(m->ctx);
    for (int i = 0; i < n; i++)
        epl_text_addf(&names, "%s%s", i ? "\n" : "", epl_dataset_class_name(d, i));
    const bool ok = n == 0 || epl_weights_set_metadata(m->weights, CLI_CLASSES_KEY, epl_text_str(&names));
    epl_text_release(&names);
    return ok;
}

/* How often each value occurs among weights that are powers of two. */
static void add_codes(epl_text *out, const epl_model *m)
{
    epl_table *t    = epl_shift_report(m);
    char      *text = t ? epl_table_to_text(t, (epl_table_opts){ 0 }) : NULL;
    if (text)
        epl_text_addf(out, "\n%s", text);
    epl_release(m->ctx, text);
    epl_table_free(t);
}

static char *results(cli *c, const epl_trainer *t, const char *out)
{
    epl_text text = EPL_TEXT(c->ctx);
    int      n;
    const epl_epoch_record *r = epl_trainer_history(t, &n);
    double   seconds = 0;
    char     time[32], bytes[32], full[32];
    const epl_slot_bytes slots = epl_slots_measure(epl_trainer_model(t)->weights);
    epl_shift_changes    changes;
    const bool           shifts = epl_shift_changes_of(epl_trainer_model(t), &changes);
    for (int i = 0; i < n; i++)
        seconds += r[i].seconds;
    if (c->json) {
        epl_json_writer w = epl_json_writer_at(&text, 2);
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "output", out);
        epl_json_put_i64(&w, "updates", epl_trainer_updates(t));
        epl_json_put_i64(&w, "skipped", epl_trainer_skipped(t));
        epl_json_put_f64(&w, "best", epl_trainer_best(t));
        epl_json_put_f64(&w, "seconds", seconds);
        epl_json_put_i64(&w, "slot_bytes", (int64_t)slots.bytes);
        if (shifts) {
            epl_json_put_f64(&w, "flips", changes.flips);
            epl_json_put_f64(&w, "frozen", changes.frozen);
        }
        epl_json_open_array(&w, "epochs");
        for (int i = 0; i < n; i++)
            epl_epoch_record_put(&w, &r[i]);
        epl_json_close(&w);
        epl_json_close(&w);
        return epl_text_detach(&text);
    }
    epl_format_seconds(time, seconds);
    epl_text_addf(&text, "%s: %lld updates in %s", out, (long long)epl_trainer_updates(t), time);
    if (n)
        epl_text_addf(&text, ", loss %.4f", r[n - 1].loss);
    if (n && isfinite(r[n - 1].val_loss))
        epl_text_addf(&text, ", validation loss %.4f", r[n - 1].val_loss);
    if (n && isfinite(r[n - 1].val_accuracy))
        epl_text_addf(&text, " accuracy %.2f %%", 100 * r[n - 1].val_accuracy);
    if (epl_trainer_skipped(t))
        epl_text_addf(&text, "; %lld updates were skipped, as gradients were not finite", (long long)epl_trainer_skipped(t));
    if (slots.bytes < slots.full_bytes) {
        epl_format_bytes(bytes, (double)slots.bytes);
        epl_format_bytes(full, (double)slots.full_bytes);
        epl_text_addf(&text, "; the optimizer's slots took %s, in 32 bits %s", bytes, full);
    }
    if (shifts)
        add_codes(&text, epl_trainer_model(t));
    return epl_text_detach(&text);
}

/* The option --objective: a hook in the loss's place, and the batches that it needs. */
static bool add_objective(session *s, const cli_training *t)
{
    epl_objective_opts o;
    if (!t->objective)
        return true;
    if (!epl_objective_parse(s->c->ctx, t->objective, &o))
        return false;
    s->objective = epl_objective_hook(s->c->ctx, o);
    s->o.sampler = epl_objective_sampler(o);
    s->hooks[s->o.n_hooks++] = s->objective;
    return s->objective.user != NULL;
}

/* The option --deep-training as one more hook; its memory goes with the session. */
static bool add_deep_training(session *s, epl_model *m, const cli_training *t)
{
    if (t->fading == 0)
        return true;
    const epl_deep_training_opts o = { .epochs = (int)t->fading };
    if (t->fading > t->epochs)
        return epl_fail(s->c->ctx, EPL_ERR_ARGUMENT,
                        "--deep-training %lld is more than the %lld epochs: the layers would not become linear",
                        (long long)t->fading, (long long)t->epochs);
    s->fading = epl_deep_training(m, o);
    s->hooks[s->o.n_hooks++] = s->fading;
    return s->fading.user != NULL;
}

/* The option --exits. */
static bool add_exits(session *s, const epl_model *m, const cli_training *t)
{
    static const epl_parameter_group only[] = EPL_EXITS_ONLY_GROUPS;
    epl_exits_train_opts o = { .epochs = (int)t->epochs };
    if (!t->exits || strcmp(t->exits, "none") == 0)
        return true;
    if (!epl_exits_objective_from_name(s->c->ctx, t->exits, &o.objective))
        return false;
    for (size_t i = 0; o.objective == EPL_EXITS_ONLY && i < EPL_COUNT(only); i++)
        s->frozen[s->o.optimizer.n_groups++] = only[i];
    s->exits = epl_exits_hook(m, o);
    s->hooks[s->o.n_hooks++] = s->exits;
    return s->exits.user != NULL;
}

/* The options --gates and --gate-rate: no decay, and a rate of their own, as published, or ten times the network's. */
static bool add_gates(session *s, const epl_model *m, const cli_training *t)
{
    if (t->gates <= 0 && t->gate_uniform <= 0)
        return true;
    s->frozen[s->o.optimizer.n_groups] = (epl_parameter_group)EPL_GATE_GROUP(10);
    s->frozen[s->o.optimizer.n_groups++].rate = t->gate_rate;
    s->gates = epl_gates_hook(m, (epl_gate_train_opts){ .mass = t->gates,
                                                        .uniform = t->gate_uniform,
                                                        .cooldown = t->gate_cooldown,
                                                        .epochs = (int)t->epochs });
    s->hooks[s->o.n_hooks++] = s->gates;
    return s->gates.user != NULL;
}

/* Packed weights are states, which rest: that is rarely meant. */
static void tell_packed(cli *c, const epl_graph *g)
{
    int n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        if (epl_glob("UnpackNM,ShiftWeight", epl_node_op_name(k)))
            n += strcmp(epl_node_op_name(epl_producer(epl_node_input(k, 0))), "State") == 0;
    if (n)
        cli_remark(c, "%d weight%s packed and will not learn (`espalier convert --unpack` for N:M; codes are packed after training)", n,
                   n == 1 ? " is" : "s are");
}

bool cli_train(cli *c, epl_model *m, const cli_training *t, const char *out, const epl_train_hook *hooks, int n_hooks)
{
    session      s = { .c = c };
    epl_trainer *trainer = NULL;
    tell_packed(c, m->graph);
    bool         ok = fill_options(&s, t, hooks, n_hooks) && freeze(&s, m, t) && choose_norms(&s, m, t) &&
              add_deep_training(&s, m, t) && add_objective(&s, t) && add_local(&s, m, t) && add_exits(&s, m, t) &&
              add_gates(&s, m, t) && open_data(&s, t) && place_run(&s, t, out);
    if (ok) {
        s.o.progress = cli_progress(c, "samples");
        trainer = epl_trainer_new(m, s.train, s.val, s.o);
        ok = trainer && epl_trainer_run(trainer);
        cli_progress_end(c);
    }
    char *text = ok && !t->no_results ? results(c, trainer, out) : NULL;
    epl_trainer_free(trainer);
    ok = ok && keep_classes(m, s.train) && epl_model_save(m, out);
    if (ok && !t->no_results)
        ok = cli_print_take(c, text);
    else
        epl_release(c->ctx, text);
    if (epl_error_code(c->ctx) == EPL_ERR_INTERRUPTED && s.o.checkpoint)
        cli_remark(c, "the same command with --resume goes on");
    epl_release(c->ctx, s.resting);
    epl_release(c->ctx, s.fading.user);
    epl_release(c->ctx, s.objective.user);
    epl_release(c->ctx, s.local.user);
    epl_release(c->ctx, s.exits.user);
    epl_release(c->ctx, s.gates.user);
    epl_dataset_free(s.val);
    epl_dataset_free(s.train);
    return ok;
}

/* ---- samples of a data set, prepared as the model says ---- */

epl_tensor *cli_data_samples(cli *c, const epl_model *m, const cli_data *data, epl_data_split split, int64_t limit)
{
    epl_dataset *d = cli_data_open(c, data, split, 0);
    epl_loader  *l = d ? epl_loader_new(c->ctx, d, (epl_loader_opts){ .batch = 1,
                                                                      .augment = epl_weights_metadata(m->weights, "espalier.augment") })
                       : NULL;
    epl_shape    shape = l ? epl_loader_x_shape(l) : EPL_SCALAR;
    epl_tensor  *x = NULL;
    epl_batch    b;
    int64_t n = d ? epl_dataset_info_of(d).count : 0;
    n = limit && limit < n ? limit : n;
    for (int64_t i = 0; l && i < n; i++) {
        if (!epl_loader_next(l, &b))
            break;
        shape.dim[0] = n;
        x = x ? x : epl_tensor_new(c->ctx, b.x->dtype, shape);
        if (!x)
            break;
        memcpy((char *)x->data + (size_t)i * epl_tensor_bytes(b.x), b.x->data, epl_tensor_bytes(b.x));
    }
    epl_loader_free(l);
    epl_dataset_free(d);
    if (epl_error_code(c->ctx) == EPL_OK)
        return x;
    epl_tensor_free(x);
    return NULL;
}
