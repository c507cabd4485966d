/* train: a network learns a data set. */
#include "training.h"

static int run(cli *c, int argc, char **argv)
{
    const char  *in = NULL, *out = NULL;
    cli_training t = CLI_TRAINING;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the trained model to write"),
        CLI_OPT_TRAINING(&t, true),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL);
    const bool ok = m && cli_train(c, m, &t, out, NULL, 0);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_train = {
    .name = "train", .json = true, .run = run,
    .summary  = "a network learns a data set",
    .about    = "Training goes on from the weights that the model has. Ctrl-C ends it after a step, with a checkpoint; a run that was "
                "stopped or killed goes on with --resume and ends with the same bits.",
    .examples = "espalier train m.safetensors --data fashion-mnist -o t.safetensors\n"
                "espalier train resnet:depth=20 --data cifar10 --data-dir cifar-10-batches-bin --epochs 100 --batch 128 \\\n"
                "    --optimizer sgd:rate=0.1,momentum=0.9,nesterov=1,decay=5e-4 --augment pad-crop:4,flip -o r20.safetensors",
};
