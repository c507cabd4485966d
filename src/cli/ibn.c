/* ibn: instance beside batch normalisation in a network that has the latter alone. */
#include <string.h>

#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *variant = "a";
    double      ratio = -1;
    int64_t     first = 0, last = 0;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_CHOICE(0, "variant", "a|b|a2", &variant,
                       "a: the first norm of residual branches, of every third dense layer; a2: the second, too; b: "
                       "the stem's, and after sums"),
        EPL_OPT_REAL(0, "ratio", &ratio, -1, 1,
                     "share of channels normalised over each image (-1: 0.5, in dense layers 0.4)"),
        EPL_OPT_INT(0, "first-stage", &first, 0, 1000, "from this stage on (0: the first)"),
        EPL_OPT_INT(0, "last-stage", &last, 0, 1000, "up to this stage (0: the last but one; b: the second)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    const epl_ibn_opts o = { .variant = strcmp(variant, "b") == 0 ? EPL_IBN_B : strcmp(variant, "a2") == 0 ? EPL_IBN_A2 : EPL_IBN_A,
                             .first_stage = (int)first, .last_stage = (int)last };
    epl_ibn_result r = { 0 };
    epl_model *m = cli_model_load(c, in, NULL);
    bool ok = m && epl_ibn(m->graph, m->weights, ratio, o, &r) && epl_model_save(m, out);
    if (ok && r.one_pixel)
        cli_remark(c, "%d of the new normalisations see images of one pixel: their result is their bias", r.one_pixel);
    if (ok) {
        epl_text text = EPL_TEXT(c->ctx);
        epl_text_addf(&text, "%s: %d normalisations look at single images now; train it further", out, r.layers);
        ok = cli_print_take(c, epl_text_detach(&text));
    }
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_ibn = {
    .name = "ibn",
    .run = run,
    .summary = "puts instance normalisation beside batch normalisation",
    .about =
        "For networks that are to work on pictures that look different (Pan et al. 2018, arXiv:1807.09441). Residual "
        "and dense blocks are found "
        "by their structure; parameters and statistics are kept. The network is to be trained, or trained further.",
    .examples = "espalier ibn resnet:depth=20 -o i.safetensors --variant b\nespalier divergence i.safetensors --data "
                "fashion-mnist --shift colour-shift:0.8:0.2:1.4:-0.1:0.5",
};
