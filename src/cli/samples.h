/* samples: files as inputs of a network. */
#ifndef EPL_CLI_SAMPLES_H
#define EPL_CLI_SAMPLES_H

#include "cli.h"

typedef struct cli_sample {
    char *name; /* "a.png", "x.npy[3]" */
    void *data; /* of the type and shape of the network's input without its batch */
} cli_sample;

typedef struct cli_samples {
    epl_context *ctx;
    int64_t      n;
    cli_sample  *at;
    size_t       capacity;
    int64_t      batch; /* of a run: at most n */
} cli_samples;

typedef struct cli_samples_opts {
    const char *augment, *layout;
    int64_t     batch;
} cli_samples_opts;

/* Reads every file as samples for the model's only input. Release s also after a failure. */
bool cli_samples_load(cli *c, const epl_model *m, const cli_words *files, cli_samples_opts o, cli_samples *s);
void cli_samples_release(cli_samples *s);

/* Gives the model the batch that the samples want, where it leaves the choice. An ONNX network is read again, into *out. */
bool cli_samples_bind(cli *c, epl_model *m, const char *path, epl_model **out, cli_samples *s);

#endif
