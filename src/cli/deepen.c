/* deepen: layers that are two while they learn. */
#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *layers = "*";
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the deepened model to write"),
        EPL_OPT_TEXT(0, "layers", "PATTERN", &layers, "names of weights, as in 'stage*.conv.weight'; a comma separates several"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL);
    const int  n  = m ? epl_deepen(m, layers) : -1;
    const bool ok = n > 0 && epl_model_init(m, (uint64_t)c->seed) && cli_model_save(c, m, out);
    if (ok)
        cli_remark(c, "%s: %d layers are two now", out, n);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_deepen = {
    .name = "deepen",
    .run = run,
    .summary = "makes layers two while they learn, for `train --deep-training` and `merge`",
    .about = "Behind each chosen convolution or linear layer (and its batch normalisation) come an activation, a 1x1 "
             "layer that begins as the "
             "identity, and its normalisation. `espalier train --deep-training EPOCHS` turns the activations linear, "
             "`espalier merge` "
             "makes one layer of two again. Chen et al. 2023 (arXiv:2305.12972).",
    .examples = "espalier deepen c.safetensors --layers 'stage*.conv.weight' -o deep.safetensors",
};
