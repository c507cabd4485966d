/* paper: what the reproductions of papers stand on.
 *
 * papers/<slug>/reproduce.c defines `const paper paper_<slug>` (with _ for -); the build collects them. A reproduction has a
 * quick part, exact checks that take seconds and that `make check` runs, and a full one: the paper's claim in miniature, trained
 * with several seeds. Both read like the description of the experiment, and everything that they measure or check is kept by the
 * run, which writes it as result.json beside the plots:
 *
 *     static void full(paper_run *r)
 *     {
 *         const paper_variant variants[] = { { .name = "plain",   .model = "cnn:width=16" },
 *                                            { .name = "deepest", .model = "cnn:width=16,depth=4" } };
 *         const paper_series *accuracy[2];
 *         paper_train(r, variants, 2, (paper_recipe){ .samples = 20000, .epochs = 3 }, accuracy);
 *         paper_check(r, "deeper is better, points", paper_mean(accuracy[1]) - paper_mean(accuracy[0]), PAPER_AT_LEAST, 0.5);
 *         paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, 2);
 *     }
 *
 * Errors are the context's: the first one is kept, later calls do nothing and return NULL, NaN or false. After Ctrl-C
 * the context has EPL_ERR_INTERRUPTED. Loops of one's own ask paper_ok. */
#ifndef EPL_PAPERS_PAPER_H
#define EPL_PAPERS_PAPER_H

#include <espalier/espalier.h>

typedef struct paper_run paper_run;

typedef struct paper {
    const char *slug;      /* the folder, "filter-design" */
    const char *title;     /* of the paper */
    const char *source;    /* authors, year, where */
    const char *kind;      /* "model family", "block", "training", ... */
    const char *claim;     /* what the paper says and the full part tries, one sentence */
    const char *criterion; /* when it counts as reproduced */
    int         n_seeds;   /* of the full part; default 3 */
    void (*quick)(paper_run *r);
    void (*full)(paper_run *r);
} paper;

int          paper_count(void);
const paper *paper_at(int i);              /* sorted by slug */
const paper *paper_find(const char *slug); /* NULL without an error */

/* ---- the run ---- */
enum { PAPER_MAX_SEEDS = 32 };

epl_context *paper_context(const paper_run *r);
bool         paper_ok(const paper_run *r);    /* no error so far, and nobody asked to stop */
/* Normal numbers, the same in every run; NULL if memory is out. The caller owns them. */
epl_tensor  *paper_draw(const paper_run *r, epl_shape shape, uint64_t seed, uint64_t stream);
int          paper_n_seeds(const paper_run *r); /* the seeds are 0 .. n - 1; 1 in the quick part */
int          paper_epochs(const paper_run *r, int epochs); /* of a training of one's own: fewer in a shortened run */
void        *paper_alloc(paper_run *r, size_t bytes); /* zeroed, lives as long as the run */
const char  *paper_textf(paper_run *r, const char *format, ...) EPL_PRINTF(2, 3); /* likewise */
epl_progress paper_progress(paper_run *r);    /* for long calls of the library outside of paper_train */

/* ---- checks: what has to hold ---- */
typedef enum paper_relation { PAPER_AT_LEAST, PAPER_AT_MOST, PAPER_ABOVE, PAPER_BELOW, PAPER_EQUAL } paper_relation;

/* A measured value that is not a number fails. Names say the unit where there is one. */
void paper_check(paper_run *r, const char *name, double measured, paper_relation relation, double bound);
void paper_check_near(paper_run *r, const char *name, double measured, double expected, double tolerance);
void paper_check_true(paper_run *r, const char *name, bool holds);

/* Something has to be refused: `succeeded` is false and the error's sentence contains `words`. Clears the error. */
void paper_check_refused(paper_run *r, const char *name, bool succeeded, const char *words);

/* A zoo's network has exactly these trained parameters and multiply-adds for one sample (either 0: not asked). */
void paper_check_model(paper_run *r, const char *description, int64_t parameters, double macs);
void paper_check_model_refused(paper_run *r, const char *description, const char *words);

/* ---- what is measured, one value for each seed ---- */
typedef struct paper_series {
    const char *what, *name, *unit; /* "test accuracy", "plain", "%" */
    int         n;
    double      value[PAPER_MAX_SEEDS];
} paper_series;

/* The series of that name, made when it is new. The run owns it and prints all of the same `what` as one table. */
paper_series *paper_series_named(paper_run *r, const char *what, const char *name, const char *unit);
void          paper_add(paper_series *s, double value); /* s may be NULL */
double        paper_mean(const paper_series *s);        /* NaN without values, as the following */
double        paper_std(const paper_series *s);         /* of the sample; 0 for one value */
double        paper_mean_of(const paper_series *const *s, int n); /* the mean of means: of a group of variants */

/* ---- training ----
 * What is common to all variants of an experiment. Accuracies are those of the last epoch on the test part. */
typedef struct paper_recipe {
    const char *data;       /* default "fashion-mnist" */
    int64_t     samples;    /* the first so many of the training part; default all */
    int64_t     test;       /* of the test part; default all */
    int         epochs;     /* default 1 */
    int64_t     batch;      /* default 128 */
    const char *optimizer;  /* words of epl_optimizer_parse; default "adam:rate=1e-3" */
    const char *schedule;   /* words of epl_schedule_parse; default "cosine" */
    const char *augment;    /* default none */
    const char *freeze;     /* parameters that rest, by their names (epl_glob); default none */
    epl_loss_opts loss;
    const epl_train_hook *hooks;
    int         n_hooks;
} paper_recipe;

/* One network that learns: what `begin` may change and `end` may look at. */
typedef struct paper_training {
    const struct paper_variant *variant;
    uint64_t     seed;
    epl_model   *model;       /* initialised with the seed; after training, as it was last */
    epl_dataset *train, *test;
    paper_recipe recipe;      /* of this training; hooks are freed by `end` if they have to be */
    double       accuracy;    /* in percent; NaN where targets are numbers, and before the end */
    double       loss, test_loss;
    void        *user;        /* the variant's */
} paper_training;

typedef struct paper_variant {
    const char *name;
    const char *model;                                   /* a description of the zoo */
    epl_graph *(*build)(epl_context *ctx, void *user);   /* or a graph of one's own; the run takes it */
    bool (*begin)(paper_run *r, paper_training *t);      /* before training; may be NULL, as `end` */
    bool (*end)(paper_run *r, paper_training *t);        /* after it, also after a failure (then accuracy is NaN) */
    void *user;
    const paper_recipe *recipe;                          /* instead of the common one */
    const char *what;                                    /* of the series; default "test accuracy" */
} paper_variant;

/* Trains each variant with each seed, prints a line for each variant, and measures "test accuracy" in percent ("test loss" where
 * targets are numbers). accuracy[i] is the series of variants[i], NULL after an error; `accuracy` may be NULL. */
bool paper_train(paper_run *r, const paper_variant *variants, int n, paper_recipe recipe, const paper_series **accuracy);

/* The data of a recipe, cut to what the run allows; the run owns them. */
epl_dataset *paper_train_data(paper_run *r, const paper_recipe *recipe);
epl_dataset *paper_test_data(paper_run *r, const paper_recipe *recipe);

/* ---- networks ---- */
epl_model *paper_model(paper_run *r, const char *description, uint64_t seed); /* initialised; the run owns it */
void       paper_keep_model_take(paper_run *r, epl_model *m);                  /* frees it at the end */

/* The network's output 0 (in inference) for a batch x; the caller owns it. */
epl_tensor *paper_logits(paper_run *r, const epl_model *m, const epl_tensor *x);

/* The largest |a - b| of two networks' outputs for a batch, divided by the largest |a|. */
double paper_relative_difference(paper_run *r, const epl_model *a, const epl_model *b, const epl_tensor *x);

/* The same of one network: as frozen programs run it (normalisation folded, layers fused) against reference kernels,
 * node by node. */
double paper_folding_difference(paper_run *r, const epl_model *m, int64_t batch);

/* The same of one network whose blocks run strip by strip (epl_fuse_blocks), against layer by layer. */
double paper_strips_difference(paper_run *r, const epl_model *m, int64_t batch, size_t block_bytes);

/* Latency of networks side by side: each runs once in a round, on one thread and random input; the median over the
 * rounds, of which there are as many as fit into `budget_s` (at least 5). Measures "latency" in ms. */
typedef struct paper_timed {
    const char      *name;
    const epl_model *model;
    int64_t          batch;   /* default 1 */
    size_t           block_bytes; /* of epl_program_opts; default 0 */
    double           seconds; /* the result; NaN after an error */
} paper_timed;
bool paper_latency(paper_run *r, paper_timed *timed, int n, double budget_s);

/* ---- plots: <out>/<file>.svg, shown in the result with its caption ---- */
void paper_plot_take(paper_run *r, const char *file, const char *caption, epl_plot *p);
void paper_plot_series(paper_run *r, const char *file, const char *y_label, const paper_series *const *s, int n); /* bars, std */

/* Tiles in a grid: images [H, W, C] (u8, or f32 that is stretched to the range of its values), with captions or NULL. */
void paper_plot_tiles(paper_run *r, const char *file, const char *caption, const epl_tensor *const *tiles, const char *const *names,
                      int n, epl_pictures_opts o);

/* A remark that the result keeps: what was tried, what does not hold in miniature. */
void paper_remark(paper_run *r, const char *format, ...) EPL_PRINTF(2, 3);

/* ---- for the command and the tests ---- */
typedef struct paper_options {
    bool        quick;
    int         n_seeds;       /* default: the paper's */
    int64_t     samples;       /* at most so many training samples, and test samples; default: the paper's */
    int         epochs;        /* at most; default: the paper's */
    const char *data_dir;      /* of data sets; default as epl_dataset_opts says */
    const char *out;           /* folder of result.json and the plots; NULL: nothing is written */
    epl_progress progress;     /* done and total in multiply-adds of forward passes */
    const volatile sig_atomic_t *stop;
    void (*say)(void *user, const char *line); /* lasting remarks; may be NULL */
    void       *say_user;
} paper_options;

/* Runs one part. The result is the text of result.json, which the caller owns; NULL after an error. *passed: every check holds. */
char *paper_reproduce(epl_context *ctx, const paper *p, paper_options o, bool *passed);

/* The recorded result, the text of papers/<slug>/result.json when this program was built; NULL if there is none. */
const char *paper_recorded(const paper *p);

/* "reproduced", "not reproduced", "not run": what the recorded result says. */
const char *paper_status(epl_context *ctx, const paper *p);

/* A result as tables for a terminal, or as Markdown (for the README: checks, measurements, plots). The caller owns the text. */
char *paper_result_text(epl_context *ctx, const char *result, bool markdown);

#endif
