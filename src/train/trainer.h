/* trainer: the inside of the loop, for the files that run, save and log it. */
#ifndef EPL_TRAIN_TRAINER_H
#define EPL_TRAIN_TRAINER_H

#include "train/train.h"

#include <espalier/report.h>

struct epl_trainer {
    epl_context     *ctx;
    epl_model       *model;
    epl_trainer_opts o; /* with the defaults filled in */
    epl_dataset     *train_data;
    epl_dataset_info info;
    const char      *words; /* of augmentation */
    char            *fixed_words;
    epl_loader      *loader;
    epl_built_step   built;
    epl_program     *step, *update; /* update: NULL without accumulation */
    epl_evaluator   *val;
    epl_tensor      *x, *target, *weights, *index, *rate, *logits, *loss;
    int              n_own_weights; /* tensors of the model; those behind are the trainer's */
    int64_t          batches, updates_per_epoch;
    uint64_t         fingerprint; /* of everything that decides about the bits, but */
    uint64_t         hooks_print; /* what hooks do between the steps */

    /* where it is: what a checkpoint holds besides tensors */
    int64_t           epoch, batch, updates; /* epochs done, batches of this one, updates of all */
    epl_tally         tally;                 /* of this epoch's training */
    epl_epoch_record *history;
    size_t            n_history, cap_history;
    double            best;
    bool              has_best, finished;
    int               without_best; /* validations since the best */
    double            seconds;      /* of this epoch so far */

    epl_weights *best_weights; /* without a folder for checkpoints */
    epl_jsonl   *log;
    epl_events  *events;
    double       clock, saved_at, shown_at;
    int64_t      saved_update;
    float        last_rate;
    double       last_loss;
    bool         stop;
};

/* ---- checkpoint.c ---- */
bool epl_trainer_save(epl_trainer *t);      /* last.safetensors; nothing without a folder */
void epl_trainer_sweep(const epl_trainer *t); /* removes half-written files of a killed process */
bool epl_trainer_load(epl_trainer *t);      /* from last.safetensors, if it exists */
bool epl_trainer_keep_best(epl_trainer *t); /* best.safetensors, or in memory */
bool epl_trainer_take_best(epl_trainer *t); /* the model's weights become those */
bool epl_trainer_take_averages(epl_trainer *t);

/* ---- journal.c ---- */
bool epl_journal_open(epl_trainer *t);
bool epl_journal_step(epl_trainer *t);
bool epl_journal_epoch(epl_trainer *t, const epl_epoch_record *r);
bool epl_journal_close(epl_trainer *t);
void epl_journal_progress(epl_trainer *t, const char *label, bool always);

#endif
