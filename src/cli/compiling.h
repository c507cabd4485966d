/* compiling: the options that compile and verify share. */
#ifndef EPL_CLI_COMPILING_H
#define EPL_CLI_COMPILING_H

#include "cli.h"

typedef struct cli_compiling {
    const char *name, *target, *weights, *optimizer, *loss;
    cli_dims    dims;
    int64_t     block_kib;
    int64_t     max_trip, unroll;
    bool        train, shifts;
} cli_compiling;

#define CLI_COMPILING { .name = "model", .weights = "auto", .optimizer = "sgd", .loss = "cross-entropy" }
#define CLI_COMPILE_OPTIONS "compile.options" /* the file in the artifact's folder */

#define CLI_OPT_COMPILING(o)                                                                                                   \
    EPL_OPT_TEXT('n', "name", "NAME", &(o)->name, "of files and of C symbols"),                                                \
    EPL_OPT_CHOICE('t', "target", "generic|x86-64-v3|x86-64-v4|aarch64", &(o)->target,                                         \
                   "instruction set (default: the best of this machine)"),                                                     \
    EPL_OPT_CHOICE(0, "weights", "auto|source|file", &(o)->weights, "where weights go; auto: a file where they are many"),     \
    EPL_OPT_INT(0, "max-trip", &(o)->max_trip, 0, 1e9, "the most iterations of loops that have no limit of their own"),        \
    EPL_OPT_INT(0, "unroll", &(o)->unroll, -1, 4096, "write out loops of so many known iterations (0: 64, -1: none)"),         \
    CLI_OPT_DIMS(&(o)->dims),                                                                                                  \
    CLI_OPT_BLOCKS(&(o)->block_kib),                                                                                           \
    CLI_OPT_SHIFTS(&(o)->shifts),                                                                                              \
    EPL_OPT_FLAG(0, "train", &(o)->train, "a training step rather than inference"),                                            \
    EPL_OPT_TEXT(0, "optimizer", "NAME[:...]", &(o)->optimizer, "with --train: the optimizer"),                                \
    EPL_OPT_TEXT(0, "loss", "NAME", &(o)->loss, "with --train: the loss")

/* The model, or with --train its training step as a model. The caller owns it. */
epl_model       *cli_compiling_model(cli *c, const char *path, const cli_compiling *o);
epl_compile_opts cli_compiling_opts(const cli_compiling *o);

#endif
