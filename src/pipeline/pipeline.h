/* pipeline: the inside. A stage is its text in the file, what was read from it, and its result. */
#ifndef EPL_PIPELINE_H
#define EPL_PIPELINE_H

#include <espalier/pipeline.h>

#include "base/yaml.h"

typedef enum epl_stage_kind {
    EPL_STAGE_TRAIN,
    EPL_STAGE_PRUNE,
    EPL_STAGE_CHANNELS,
    EPL_STAGE_QUANTIZE,
    EPL_STAGE_COMPILE,
    EPL_N_STAGE_KINDS
} epl_stage_kind;

/* What a stage that makes a model found out. NaN or 0 where it did not. */
typedef struct epl_stage_result {
    bool        done, cached;
    double      seconds;
    double      accuracy, loss;
    int64_t     parameters, nonzero;
    double      macs, executed_macs; /* of one sample; executed: without those of zero weights */
    int64_t     file_bytes;          /* of the model's file */
    int         n_epochs;
    epl_epoch_record *history;       /* in the pipeline's arena */
    /* filled in by the compile stage that names this one */
    bool        compiled;
    double      library_us, compiled_us;
    double      max_abs_diff, max_ulp;
    int64_t     n_verified, compiled_bytes, arena_bytes;
} epl_stage_result;

typedef struct epl_stage {
    epl_pipeline   *pipeline;
    const epl_yaml *yaml;
    const char     *name;
    epl_stage_kind  kind;
    uint64_t        key;
    struct epl_stage *from, *teacher; /* earlier stages, or NULL */
    int              n_models;        /* of a compile stage */
    struct epl_stage **models;

    const char        *model;  /* a zoo description, where there is no `from` */
    const char        *augment, *note;
    epl_optimizer_opts optimizer;
    epl_schedule_opts  schedule;
    epl_loss_opts      loss;
    epl_norm_modes     norms;
    int64_t            epochs, batch;
    epl_distill_opts   distill;
    bool               look_up;       /* the teacher's answers are computed once */
    double             sparsity, begin, end, macs; /* prune: of the weights, over which part of the steps; channels: share kept */
    int64_t            every, round_to;
    int64_t            bits;          /* quantize: of weights that are powers of two */
    bool               activations, shifts; /* quantize: inputs of 8 bits, too; compile: without products */
    const char        *init;          /* quantize: how variables begin */
    const char        *criterion, *distribution, *skip, *target;
    epl_stage_result   result;
} epl_stage;

struct epl_pipeline {
    epl_context *ctx;
    epl_arena   *arena;
    const char  *name, *data, *title;
    uint64_t     seed;
    int          n_stages;
    epl_stage   *stages;
    epl_pipeline_opts opts;
    const char  *dir;
    epl_dataset *train, *test;
};

/* read.c */
bool epl_stage_read(epl_stage *s, const epl_yaml *defaults);

/* run.c, train.c, compile.c: one stage of each kind */
bool  epl_stage_train(epl_stage *s);
bool  epl_stage_compile(epl_stage *s);
char *epl_stage_path(const epl_stage *s, const char *file); /* in the arena */
void  epl_pipeline_say(const epl_pipeline *p, const char *format, ...) EPL_PRINTF(2, 3);
epl_tensor *epl_pipeline_inputs(const epl_pipeline *p, epl_dataset *d, const epl_model *m,
                                int64_t limit);                  /* the first samples. compile.c */
bool  epl_stage_measure(epl_stage *s, epl_model *m);       /* accuracy, sizes, latency of the library */

/* result.c: results on disk */
bool epl_stage_load(epl_stage *s);      /* false without an error if there is none for this key */
bool epl_stage_save(const epl_stage *s);
bool epl_pipeline_save_summary(const epl_pipeline *p);

/* page.c */
bool epl_pipeline_save_report(const epl_pipeline *p);

#endif
