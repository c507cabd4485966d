/* journal: what a run leaves behind while it goes on - JSON lines, TensorBoard events, progress. After a crash both files are
 * cut back to the checkpoint, so that no step stands in them twice. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool epl_journal_open(epl_trainer *t)
{
    const bool resume = t->updates > 0;
    if (t->o.log)
        t->log = epl_jsonl_open(t->ctx, t->o.log, (epl_jsonl_opts){ .resume = resume, .resume_step = t->updates });
    if (t->o.events)
        t->events = epl_events_open(t->ctx, t->o.events, (epl_events_opts){ .resume = resume, .resume_step = t->updates });
    return (!t->o.log || t->log) && (!t->o.events || t->events);
}

/* What hooks want to see (epl_train_step_log): output i of the step, from 0; false after the last. */
static bool logged(const epl_trainer *t, int i, const char **name, double *value)
{
    const epl_graph *g = epl_program_graph(t->step);
    for (int k = 0; k < epl_program_n_outputs(t->step); k++)
        if (strncmp(epl_graph_output_name(g, k), "log.", 4) == 0 && i-- == 0) {
            *name  = epl_graph_output_name(g, k) + 4;
            *value = epl_tensor_get(epl_program_output(t->step, k), 0);
            return true;
        }
    return false;
}

static bool event_step(epl_trainer *t)
{
    char        tag[80];
    const char *name;
    double      value;
    bool ok = epl_events_scalar(t->events, "train/loss", t->updates, t->last_loss) &&
              epl_events_scalar(t->events, "train/rate", t->updates, (double)t->last_rate);
    for (int i = 0; ok && logged(t, i, &name, &value); i++) {
        snprintf(tag, sizeof tag, "train/%s", name);
        ok = epl_events_scalar(t->events, tag, t->updates, value);
    }
    return ok;
}

bool epl_journal_step(epl_trainer *t)
{
    const char  *name;
    double       value;
    const double epoch = (double)t->epoch + (double)t->batch / (double)t->batches;
    bool ok = true;
    if (t->log) {
        epl_jsonl_begin(t->log, t->updates);
        epl_jsonl_text(t->log, "event", "step");
        epl_jsonl_number(t->log, "epoch", epoch);
        epl_jsonl_number(t->log, "loss", t->last_loss);
        epl_jsonl_number(t->log, "rate", (double)t->last_rate);
        for (int i = 0; logged(t, i, &name, &value); i++)
            epl_jsonl_number(t->log, name, value);
        ok = epl_jsonl_end(t->log);
    }
    return (!t->events || event_step(t)) && ok;
}

static bool event_epoch(epl_trainer *t, const epl_epoch_record *r)
{
    const struct {
        const char *tag;
        double      value;
    } scalars[] = { { "epoch/loss", r->loss }, { "epoch/accuracy", r->accuracy }, { "val/loss", r->val_loss },
                    { "val/accuracy", r->val_accuracy }, { "val/top5", r->val_top5 } };
    bool ok = true;
    for (size_t i = 0; ok && i < EPL_COUNT(scalars); i++)
        ok = isnan(scalars[i].value) || epl_events_scalar(t->events, scalars[i].tag, r->step, scalars[i].value);
    return ok;
}

bool epl_journal_epoch(epl_trainer *t, const epl_epoch_record *r)
{
    bool ok = true;
    if (t->log) {
        epl_jsonl_begin(t->log, r->step);
        epl_jsonl_text(t->log, "event", "epoch");
        epl_jsonl_integer(t->log, "epoch", r->epoch);
        epl_jsonl_number(t->log, "rate", r->rate);
        epl_jsonl_number(t->log, "loss", r->loss);
        epl_jsonl_number(t->log, "accuracy", r->accuracy);
        epl_jsonl_number(t->log, "val_loss", r->val_loss);
        epl_jsonl_number(t->log, "val_accuracy", r->val_accuracy);
        epl_jsonl_number(t->log, "val_top5", r->val_top5);
        epl_jsonl_number(t->log, "seconds", r->seconds);
        ok = epl_jsonl_end(t->log);
    }
    return (!t->events || event_epoch(t, r)) && ok;
}

bool epl_journal_close(epl_trainer *t)
{
    const bool log = epl_jsonl_close(t->log), events = epl_events_close(t->events);
    t->log    = NULL;
    t->events = NULL;
    return log && events;
}

/* At most ten times a second. A caller that answers false asks for the end. */
void epl_journal_progress(epl_trainer *t, const char *label, bool always)
{
    const double now = epl_now_s();
    if (!t->o.progress.report || (!always && now - t->shown_at < 0.1))
        return;
    t->shown_at = now;
    const double done = (double)(t->epoch * t->batches + t->batch), total = (double)(t->o.epochs * t->batches);
    if (!t->o.progress.report(t->o.progress.user, label, done * (double)t->o.batch, total * (double)t->o.batch))
        t->stop = true;
}
