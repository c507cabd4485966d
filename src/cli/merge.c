/* merge: linear chains as one layer, for inference. */
#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL;
    int         pairs = 0;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the merged model to write"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model    *m = cli_model_load(c, in, NULL);
    const int64_t before = m ? epl_graph_n_parameters(m->graph) : 0;
    const bool    ok = m && epl_merge_linear(m, &pairs) && cli_model_save(c, m, out);
    if (ok)
        cli_remark(c, "%s: %d layers merged into the ones before them, %lld parameters of %lld are left", out, pairs,
                   (long long)epl_graph_n_parameters(m->graph), (long long)before);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_merge = {
    .name = "merge",
    .run = run,
    .summary = "folds normalisations, and makes one layer of linear ones in a row",
    .about = "For inference: the result computes what the model did, within rounding. Batch normalisations go into the "
             "layers before them; "
             "k x k and 1x1 convolutions between which nothing stands become one, linear layers too. A network of "
             "`espalier deepen` "
             "has to be trained until its activations are linear.",
    .examples = "espalier merge trained.safetensors -o merged.safetensors",
};
