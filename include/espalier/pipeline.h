/* pipeline: a file that names data and stages - train, distil, prune, remove channels, compile - and what comes of it.
 *
 * Each stage leaves its artifact and its result in a folder of its own, under a key made of the stage's text, its inputs' keys
 * and the data: a stage whose key is known is not run again; one that was killed goes on where it was, with the same bits. The
 * end is one HTML report, a table, and a summary for machines. docs/run.md describes the file. */
#ifndef ESPALIER_PIPELINE_H
#define ESPALIER_PIPELINE_H

#include <espalier/compile.h>
#include <espalier/report.h>
#include <espalier/train.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct epl_pipeline epl_pipeline;

/* Reads and checks the whole file before anything runs: unknown keys, models, data sets and references are errors with a line.
 * The caller owns the result. */
EPL_API epl_pipeline *epl_pipeline_load(epl_context *ctx, const char *path);
EPL_API epl_pipeline *epl_pipeline_parse(epl_context *ctx, const char *text, size_t length, const char *name);
EPL_API void          epl_pipeline_free(epl_pipeline *p);
EPL_API const char   *epl_pipeline_name(const epl_pipeline *p);
EPL_API int           epl_pipeline_n_stages(const epl_pipeline *p);

typedef struct epl_pipeline_opts {
    const char  *dir;     /* default "runs/<name>" */
    bool         fresh;   /* forget what earlier runs left */
    epl_progress progress;
    const volatile sig_atomic_t *stop; /* as in epl_trainer_opts */
    void (*say)(void *user, const char *line); /* lasting remarks: a stage begins, ends, is already there */
    void        *say_user;
} epl_pipeline_opts;

/* Runs what is not there yet. Writes <dir>/summary.json and <dir>/report.html. False with the context's error; what was
 * finished stays. */
EPL_API bool epl_pipeline_run(epl_pipeline *p, epl_pipeline_opts o);

/* After a run: the table of before, after and saved. The caller owns it. */
EPL_API epl_table *epl_pipeline_table(const epl_pipeline *p);

#ifdef __cplusplus
}
#endif
#endif
