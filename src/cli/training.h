/* training: the options and the run that train, distill and prune share. */
#ifndef EPL_CLI_TRAINING_H
#define EPL_CLI_TRAINING_H

#include "cli.h"

/* ---- data ---- */
typedef struct cli_data {
    const char *name, *dir, *classes;
    int64_t     limit;
    bool        rotations;
} cli_data;

/* "1,4,8": whole numbers from 0 to 65535. The array belongs to the command. */
typedef struct cli_numbers {
    int  n;
    int *at;
} cli_numbers;
bool cli_number_list(cli *c, const char *option, const char *text, cli_numbers *out);

#define CLI_DATA_HELP "data set, such as fashion-mnist, cifar10, folder:DIR, npz:FILE, blobs (include/espalier/data.h lists all)"
#define CLI_OPT_DATA(d, must)                                                                                                  \
    { .kind = CLI_TEXT, .letter = 'd', .name = "data", .value = "NAME[:...]", .target = EPL_TARGET(const char *, &(d)->name),  \
      .help = CLI_DATA_HELP, .required = must },                                                                               \
    EPL_OPT_DIR(0, "data-dir", &(d)->dir, "where the data set's files lie (default: ESPALIER_DATA, then the usual place)"),    \
    EPL_OPT_INT(0, "limit", &(d)->limit, 0, 1e15, "use the first N samples (0: all)"),                                         \
    EPL_OPT_TEXT(0, "classes", "LIST", &(d)->classes, "these classes alone, numbered anew from 0: 0,2,3"),                     \
    EPL_OPT_FLAG(0, "rotations", &(d)->rotations, "instead of the labels: every image in four directions, to be told apart")

/* ---- training ---- */
typedef struct cli_training {
    cli_data    data;
    double      val_fraction, smoothing, gates, gate_rate, gate_uniform, gate_cooldown;
    bool        no_val, resume, best, no_run;
    bool        no_results; /* the caller prints what came of it */
    int64_t     epochs, batch, accumulate, workers, patience, log_every;
    const char *augment, *optimizer, *schedule, *loss, *objective, *run, *freeze, *bn_mode, *exits;
    const char *local, *local_loss, *aux, *man;
    double      man_momentum;
    bool        man_fresh;
    int64_t     finetune_last, fading;
    size_t      memory_limit;
} cli_training;

#define CLI_TRAINING                                                                                                   \
    {                                                                                                                  \
        .epochs = 10, .batch = 64, .accumulate = 1, .workers = 1, .log_every = 50, .optimizer = "adamw",               \
        .schedule = "cosine", .loss = "cross-entropy", .exits = "none", .local_loss = "dgl", .aux = "1c2f",            \
        .man = "off", .man_momentum = 0.995, .gate_cooldown = 0.5                                                      \
    }

#define CLI_OPT_TRAINING(t, must)                                                                                      \
    CLI_OPT_DATA(&(t)->data, must),                                                                                    \
        EPL_OPT_REAL(0, "val-fraction", &(t)->val_fraction, 0, 0.99,                                                   \
                     "validate on this share of the training part (default: on the data set's test part)"),            \
        EPL_OPT_FLAG(0, "no-val", &(t)->no_val, "do not validate"),                                                    \
        EPL_OPT_INT('e', "epochs", &(t)->epochs, 1, 1e6, "passes over the data"),                                      \
        EPL_OPT_INT('b', "batch", &(t)->batch, 1, 1 << 24, "samples of a step"),                                       \
        EPL_OPT_TEXT(0, "optimizer", "NAME[:...]", &(t)->optimizer,                                                    \
                     "sgd, adam, adamw, rmsprop, adagrad, adadelta, lars, lamb, muon or lion, as in "                  \
                     "sgd:rate=0.1,momentum=0.9,nesterov=1,decay=5e-4; bits=8 keeps its slots in 8 bits"),             \
        EPL_OPT_TEXT(0, "schedule", "NAME[:...]", &(t)->schedule,                                                      \
                     "constant, step, multi-step, cosine, linear, polynomial, exponential or one-cycle, as in "        \
                     "cosine:warmup=1"),                                                                               \
        EPL_OPT_TEXT(0, "loss", "NAME", &(t)->loss, "cross-entropy, mse, l1, huber, bce, focal, dice or kl"),          \
        EPL_OPT_TEXT(0, "objective", "NAME[:...]", &(t)->objective,                                                    \
                     "instead of the loss: contrastive, triplet, semi-hard, episode, cosface, arcface or prototype, "  \
                     "as in triplet:margin=0.2"),                                                                      \
        EPL_OPT_REAL(0, "smoothing", &(t)->smoothing, 0, 0.99, "label smoothing of cross-entropy"),                    \
        EPL_OPT_TEXT(0, "augment", "WORDS", &(t)->augment,                                                             \
                     "as in pad-crop:4,flip,cutout:8,mixup:0.2 (include/espalier/data.h)"),                            \
        EPL_OPT_TEXT(0, "freeze", "NAMES", &(t)->freeze,                                                               \
                     "parameters that rest, as in stem.*,stage1.*; their batch norms keep their statistics"),          \
        EPL_OPT_INT(0, "finetune-last", &(t)->finetune_last, 0, 1e6,                                                   \
                    "train the last N blocks (stages) and what follows them alone (0: everything)"),                   \
        EPL_OPT_TEXT(0, "bn-mode", "MODE[:NAMES]", &(t)->bn_mode,                                                      \
                     "batch norms (of these names): train, eval, tune or deploy, as in tune:stage1.* (default: "       \
                     "train, where frozen tune)"),                                                                     \
        EPL_OPT_TEXT(0, "local", "K|NAMES", &(t)->local,                                                               \
                     "learn in K modules that no gradient leaves, or in modules that end with these blocks: "          \
                     "stage1.unit2,stage2.unit1"),                                                                     \
        EPL_OPT_CHOICE(0, "local-loss", "dgl|predsim|infopro|supcon", &(t)->local_loss,                                \
                       "with --local: the modules' losses"),                                                           \
        EPL_OPT_TEXT(0, "aux", "LAYERS", &(t)->aux,                                                                    \
                     "with --local: the modules' classifiers, convolutions and linear layers"),                        \
        EPL_OPT_CHOICE(0, "man", "off|ema|block|param", &(t)->man,                                                     \
                       "with --local: before them, a twin of the next block that follows it; it alone, with a "        \
                       "learned one beside it, or learning, too"),                                                     \
        EPL_OPT_REAL(0, "man-momentum", &(t)->man_momentum, 0, 1,                                                      \
                     "with --man: what the twin keeps of itself in an update"),                                        \
        EPL_OPT_FLAG(0, "man-fresh", &(t)->man_fresh, "with --man: twins start at random, not as copies"),             \
        EPL_OPT_INT(0, "deep-training", &(t)->fading, 0, 1e6,                                                          \
                    "epochs until the activations between the layers of `deepen` are linear (0: not at all)"),         \
        EPL_OPT_CHOICE(                                                                                                \
            0, "exits", "none|sdn|ic-only|sum", &(t)->exits,                                                           \
            "early exits: with growing weights beside the loss, alone while the network rests, or all alike"),         \
        EPL_OPT_REAL(0, "gates", &(t)->gates, 0, 1,                                                                    \
                     "channel gates learn from the channels that hold this share (0: they do not)"),                   \
        EPL_OPT_REAL(0, "gate-uniform", &(t)->gate_uniform, 0, 1,                                                      \
                     "instead: from all channels but this share, the weakest"),                                        \
        EPL_OPT_REAL(0, "gate-cooldown", &(t)->gate_cooldown, 0, 1,                                                    \
                     "with --gates: they rest after this share of the epochs"),                                        \
        EPL_OPT_REAL(0, "gate-rate", &(t)->gate_rate, 0, 1e6,                                                          \
                     "with --gates: their rate, which the schedule leaves alone (0: ten times the network's)"),        \
        EPL_OPT_INT(0, "accumulate", &(t)->accumulate, 1, 1 << 20, "batches for one update"),                          \
        EPL_OPT_INT(0, "patience", &(t)->patience, 0, 1e6,                                                             \
                    "stop after so many validations without a new best (0: never)"),                                   \
        EPL_OPT_FLAG(0, "best", &(t)->best, "keep the weights of the best validation, not the last"),                  \
        EPL_OPT_INT(0, "workers", &(t)->workers, 1, 256, "threads that prepare batches"),                              \
        EPL_OPT_BYTES(0, "memory-limit", &(t)->memory_limit, "of a step: compute activations again to stay below"),    \
        EPL_OPT_DIR(0, "run", &(t)->run,                                                                               \
                    "folder of the run: checkpoints, log.jsonl, TensorBoard events (default: the output's "            \
                    "name and .run)"),                                                                                 \
        EPL_OPT_FLAG(0, "no-run", &(t)->no_run, "leave no folder"),                                                    \
        EPL_OPT_INT(0, "log-every", &(t)->log_every, 1, 1e9, "updates between lines of the log"),                      \
        EPL_OPT_FLAG(0, "resume", &(t)->resume, "go on from the folder's last checkpoint")

/* The samples of a part of a data set, the first `limit` of them (0: all), as the model's augmentation words prepare
 * them: [n, ...]. The caller owns them. */
epl_tensor *cli_data_samples(cli *c, const epl_model *m, const cli_data *data, epl_data_split split, int64_t limit);

epl_dataset *cli_data_open(cli *c, const cli_data *d, epl_data_split split, double val_fraction);

/* Trains m in place, prints what came of it, and saves it as `out`. */
bool cli_train(cli *c, epl_model *m, const cli_training *t, const char *out, const epl_train_hook *hooks, int n_hooks);

#endif
