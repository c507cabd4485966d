/* average: the mean of models, such as the best checkpoints of a run. */
#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *out = NULL;
    cli_words   files = { 0 };
    const cli_option options[] = {
        EPL_ARG_REST("model", &files, "networks of the same architecture (.safetensors)"),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the averaged model to write"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_weights **w = epl_alloc_array(c->ctx, (size_t)files.n, sizeof *w);
    bool          ok = w != NULL;
    for (int i = 0; ok && i < files.n; i++) {
        w[i] = epl_weights_open(c->ctx, files.at[i]);
        ok   = w[i] != NULL;
    }
    epl_weights *mean = ok ? epl_weights_average(c->ctx, files.n, (const epl_weights *const *)w) : NULL;
    ok = mean && epl_weights_save(mean, out);
    for (int i = 0; w && i < files.n; i++)
        epl_weights_free(w[i]);
    epl_weights_free(mean);
    epl_release(c->ctx, w);
    if (ok)
        cli_remark(c, "%s: the mean of %d models", out, files.n);
    return cli_end(c, ok);
}

const cli_verb cli_verb_average = {
    .name = "average",
    .run = run,
    .summary = "the mean of the weights of models, such as a run's best checkpoints",
    .about = "Floating-point tensors become their mean; all else is the last model's, the network too. Running "
             "statistics of batch norms are "
             "averaged like weights.",
    .examples = "espalier average epoch8.safetensors epoch9.safetensors epoch10.safetensors -o mean.safetensors",
};
