/* rebuild: a model of the zoo with other options and the same weights. */
#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *changes = NULL;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_MUST('s', "set", "OPTIONS", &changes, "options and their new values, as in 'image=384,window3=12'"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL), *rebuilt = m ? epl_zoo_rebuild(m, changes) : NULL;
    const bool ok = rebuilt && cli_model_save(c, rebuilt, out);
    if (ok) {
        char before[32], after[32];
        epl_format_count(before, epl_graph_cost(m->graph).macs);
        epl_format_count(after, epl_graph_cost(rebuilt->graph).macs);
        cli_remark(c, "%s: %s multiply-adds a sample, before %s", out, after, before);
    }
    epl_model_free(rebuilt);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_rebuild = {
    .name = "rebuild", .run = run,
    .summary  = "a trained network for another size of image, or with other options",
    .about    = "Makes the network that the model's description and the new options give, with the model's weights. They have to fit: "
                "convolutions take any size of image, and relative positions of attention are resized (moat). `espalier new --help MODEL` "
                "lists a model's options.",
    .examples = "espalier rebuild moat.safetensors --set image=384,window3=12,window4=6 -o larger.safetensors",
};
