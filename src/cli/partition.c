/* partition: a dynamic network cut at its control flow. */
#include "cli.h"

static char *results(cli *c, const epl_partition_result *r, const char *dir)
{
    epl_text out = EPL_TEXT(c->ctx);
    if (c->json) {
        epl_json_writer w = epl_json_writer_at(&out, 2);
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "output", dir);
        epl_json_put_i64(&w, "networks", r->networks);
        epl_json_put_i64(&w, "choices", r->choices);
        epl_json_put_i64(&w, "loops", r->loops);
        epl_json_close(&w);
    } else {
        epl_text_addf(&out, "%s: %d networks without control flow, %d choices and %d loops in host.txt\n", dir,
                      r->networks, r->choices, r->loops);
    }
    return epl_text_detach(&out);
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL;
    cli_dims    dims = { 0 };
    int64_t     unroll = 0;
    double      least = 0;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "DIR", &out, "the folder to write; it is made if it is not there"),
        EPL_OPT_INT(0, "unroll", &unroll, -1, 4096, "write out loops of so many known iterations (0: 64, -1: none)"),
        EPL_OPT_REAL(
            0, "least", &least, 0, 1e30,
            "do not cut at choices between regions of at most so many operations: all are computed, one is selected"),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_partition_result r = { 0 };
    epl_model *m  = cli_model_load(c, in, &dims);
    const bool ok = m && epl_partition(m, out, (epl_partition_opts){ .unroll = (int)unroll, .least = least }, &r) &&
                    cli_print_take(c, results(c, &r, out));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_partition = {
    .name = "partition",
    .json = true,
    .run = run,
    .summary = "a dynamic network cut into networks without control flow",
    .about = "Writes each straight line between choices and loops as a model file of its own, network_0.safetensors "
             "and so on, and host.txt, "
             "which says in which order they are called. Early exits and choices for each sample are carried out "
             "first; what is known is folded.",
    .examples = "espalier partition skipnet.safetensors -o parts\nespalier show skipnet.safetensors --hcfg",
};
