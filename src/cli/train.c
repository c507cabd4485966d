/* train: a network learns a data set. */
#include "training.h"

#include <stdio.h>
#include <string.h>

/* The options --nm...: N:M sparse training. */
typedef struct nm_options {
    const char *ratio, *mode, *skip;
    double      lambda;
    bool        strict, changes;
} nm_options;

static const char *const nm_modes[] = { "bdwp", "srste", "sdgp", "sdwp" };

#define OPT_NM(o)                                                                                                      \
    EPL_OPT_TEXT(0, "nm", "N:M", &(o)->ratio,                                                                          \
                 "sparse training: N of every M input channels' weights stay, as in 2:8"),                             \
        EPL_OPT_CHOICE(0, "nm-mode", "bdwp|srste|sdgp|sdwp", &(o)->mode,                                               \
                       "which products are sparse (include/espalier/compress.h)"),                                     \
        EPL_OPT_TEXT(0, "nm-skip", "LIST", &(o)->skip, "layers that stay dense: names, and first, last, depthwise"),   \
        EPL_OPT_REAL(0, "nm-lambda", &(o)->lambda, -1, 1,                                                              \
                     "pull of the weights that are left out (0: 2e-4 for srste, else none; below: none)"),             \
        EPL_OPT_FLAG(0, "nm-strict", &(o)->strict, "refuse layers whose channels M does not divide"),                  \
        EPL_OPT_FLAG(0, "nm-changes", &(o)->changes, "log how many weights come or go with each update")

/* The hook, and a remark on what it saves. */
static bool add_nm(cli *c, epl_model *m, const nm_options *from, epl_train_hook *hook)
{
    epl_nm_opts o = { .skip = from->skip, .lambda = from->lambda, .strict = from->strict, .log_changes = from->changes };
    epl_nm_cost cost;
    char        rest;
    while (strcmp(nm_modes[o.mode], from->mode) != 0)
        o.mode++;
    if (sscanf(from->ratio, "%d:%d%c", &o.n, &o.m, &rest) != 2)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--nm is '%s', but must be two numbers such as 2:8", from->ratio);
    *hook = epl_nm_hook(m, o);
    if (!hook->user || !epl_nm_cost_of(m, o, &cost))
        return false;
    cli_remark(c, "%s %d:%d: %d layers are sparse, %d stay dense; %.4f of dense training's multiply-adds", nm_modes[o.mode], o.n, o.m,
               cost.layers, cost.dense_layers, cost.sparse / cost.dense);
    return true;
}

static int run(cli *c, int argc, char **argv)
{
    const char  *in = NULL, *out = NULL;
    cli_training t = CLI_TRAINING;
    nm_options   nm = { .mode = "bdwp" };
    epl_train_hook hook = { 0 };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the trained model to write"),
        CLI_OPT_TRAINING(&t, true),
        OPT_NM(&nm),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL);
    bool ok = m && (!nm.ratio || add_nm(c, m, &nm, &hook)) && cli_train(c, m, &t, out, &hook, nm.ratio != NULL);
    ok = ok && (!nm.ratio || (epl_nm_bake(m) && epl_model_save(m, out)));
    epl_release(c->ctx, hook.user);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_train = {
    .name = "train", .json = true, .run = run,
    .summary  = "a network learns a data set",
    .about    = "Training goes on from the weights that the model has. Ctrl-C ends it after a step, with a checkpoint; a run that was "
                "stopped or killed goes on with --resume and ends with the same bits. With --nm the result holds the sparse weights; the "
                "run's checkpoints hold the dense ones.",
    .examples = "espalier train m.safetensors --data fashion-mnist -o t.safetensors\n"
                "espalier train m.safetensors --data fashion-mnist --nm 2:8 --nm-mode bdwp -o sparse.safetensors\n"
                "espalier train resnet:depth=20 --data cifar10 --data-dir cifar-10-batches-bin --epochs 100 --batch 128 \\\n"
                "    --optimizer sgd:rate=0.1,momentum=0.9,nesterov=1,decay=5e-4 --augment pad-crop:4,flip -o r20.safetensors",
};
