/* cli: what the verbs share. A verb is a table of options and a straight line through the public API; results go to the standard
 * output, remarks and errors to the standard error; exit status 1 is failure, 2 misuse, 130 an interruption. */
#ifndef EPL_CLI_CLI_H
#define EPL_CLI_CLI_H

#include <espalier/espalier.h>

#include "options.h"

typedef struct cli cli;

typedef struct cli_verb {
    const char *name, *summary; /* "prune", "sets small weights to zero, little by little" */
    const char *about;          /* a paragraph or two of --help; may be NULL */
    const char *examples;       /* lines without the prompt */
    bool        json;           /* takes --json */
    int (*run)(cli *c, int argc, char **argv);        /* argv[0] is the verb's name; returns the exit status */
    bool (*help_about)(cli *c, const char *subject);  /* `--help SUBJECT`; NULL: none */
} cli_verb;

#define VERB(name) extern const cli_verb cli_verb_##name;
#include "verbs.def"
#undef VERB

struct cli {
    epl_context    *ctx;
    epl_arena      *arena; /* lives as long as the command */
    const cli_verb *verb;
    int64_t         seed, n_threads;
    bool            json, quiet;
    bool            helped; /* --help was asked for and printed */
    epl_meter      *meter;  /* of the progress that is shown, or NULL */
};

/* Reads argv into the targets of the table, and the options that all verbs have into c. False after a mistake, or when --help
 * was printed. */
bool cli_parse(cli *c, const cli_option *options, int argc, char **argv);

/* The exit status for what stands in the context; prints the error's sentence as one line. */
int cli_status(cli *c);

/* The same at a verb's end: 0 if ok. */
int cli_end(cli *c, bool ok);

/* A remark for people, to the standard error, unless --quiet. */
void cli_remark(const cli *c, const char *format, ...) EPL_PRINTF(2, 3);

/* Progress on the standard error: nothing with --quiet. Ctrl-C asks the work to stop. */
epl_progress cli_progress(cli *c, const char *unit);
void         cli_progress_end(cli *c);

/* Set by SIGINT and SIGTERM. A second signal ends the process at once. */
extern volatile sig_atomic_t cli_stop;

/* ---- results ---- */
bool cli_print_table(cli *c, epl_table *t);       /* as text, or with --json as JSON */
bool cli_print_take(cli *c, char *text);          /* and a line's end if there is none; releases it; NULL: false */
bool cli_write_take(cli *c, const char *path, char *text); /* to a file; NULL as the path: the standard output */

/* Records that no `what` has this name, and suggests the closest of those that are known. Returns false. */
bool cli_unknown(cli *c, const char *what, const char *word, const char *const *known, size_t n);

/* ---- models (model.c) ---- */
#define CLI_MODEL_HELP "network: .safetensors, .onnx, or a description such as resnet:depth=20"

/* Metadata of a model's weights: the names of its classes, one a line. */
#define CLI_CLASSES_KEY "espalier.classes"

/* Sizes of named dimensions, as the options --batch and --dim give them. */
typedef struct cli_dims {
    int64_t   batch; /* of the first dimension that the first input names; 0: as it is */
    cli_words named; /* "length=128" */
    const epl_weights *inputs; /* tensors by the inputs' names, whose sizes named dimensions take; or NULL */
} cli_dims;

#define CLI_OPT_DIMS(d)                                                                                                        \
    EPL_OPT_INT('b', "batch", &(d)->batch, 0, 1 << 24, "size of the first named dimension (0: as the model has it)"),         \
    EPL_OPT_REPEATED(0, "dim", "NAME=SIZE", &(d)->named, "size of a named dimension; may be given several times")

#define CLI_OPT_SHIFTS(on) EPL_OPT_FLAG(0, "shifts", on, "weights that are powers of two are not multiplied by: integers are added")
#define CLI_OPT_BLOCKS(kib)                                                                                                    \
    EPL_OPT_INT(0, "fuse-blocks", (kib), 0, 1 << 20,                                                                           \
                "run inverted bottlenecks and their like strip by strip in N KiB (`analyze blocks`; 0: layer by layer)")

/* The caller owns the model. d may be NULL. */
epl_model *cli_model_load(cli *c, const char *path, const cli_dims *d);

bool       cli_model_save(cli *c, const epl_model *m, const char *path);

/* The name of the dimension that --batch means, in `out`; "" if no input names one. */
const char *cli_batch_dim(const epl_graph *g, char out[64]);

#endif
