/* imprint: one more class for a network of directions, from examples, without training. */
#include <string.h>

#include "samples.h"

/* The features of all samples, [n, D]. The caller owns it. */
static epl_tensor *features_of(cli *c, const epl_model *m, const cli_samples *s)
{
    epl_model   *f = epl_feature_model(m);
    epl_program *p = f && epl_graph_bind(f->graph, cli_batch_dim(f->graph, (char[64]){ 0 }), 1)
                   ? epl_program_new(f->graph, f->weights, (epl_program_opts){ .frozen = true }) : NULL;
    epl_tensor  *out = p ? epl_tensor_new(c->ctx, EPL_F32, EPL_SHAPE(s->n, epl_tensor_count(epl_program_output(p, 0)))) : NULL;
    for (int64_t i = 0; out && i < s->n; i++) {
        const size_t row = epl_tensor_bytes(epl_program_output(p, 0));
        memcpy(epl_program_input(p, 0)->data, s->at[i].data, epl_tensor_bytes(epl_program_input(p, 0)));
        if (!epl_program_run(p)) {
            epl_tensor_free(out);
            out = NULL;
        } else
            memcpy((char *)out->data + (size_t)i * row, epl_program_output(p, 0)->data, row);
    }
    epl_program_free(p);
    epl_model_free(f);
    return out;
}

/* The list of names grows, where there is one. */
static bool add_name(epl_model *m, const char *name)
{
    const char *names = epl_weights_metadata(m->weights, CLI_CLASSES_KEY);
    epl_text    all = EPL_TEXT(m->ctx);
    epl_text_addf(&all, "%s\n%s", names ? names : "", name);
    const bool ok = !names || epl_weights_set_metadata(m->weights, CLI_CLASSES_KEY, epl_text_str(&all));
    epl_text_release(&all);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *name = NULL;
    cli_words   files = { 0 };
    cli_samples_opts o = { .batch = 1, .layout = "auto" };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_ARG_REST("file", &files, "examples: PNG or JPEG pictures, or .npy with one sample or a batch of them"),
        EPL_OPT_MUST(0, "name", "NAME", &name, "of the class"),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &o.augment, "how to prepare examples (default: as the model says)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    cli_samples s = { 0 };
    epl_model  *m = cli_model_load(c, in, NULL);
    bool        ok = m && cli_samples_load(c, m, &files, o, &s);
    epl_tensor *z = ok ? features_of(c, m, &s) : NULL;
    ok = z && epl_imprint_class(m, z) && add_name(m, name) && cli_model_save(c, m, out);
    if (ok)
        cli_remark(c, "class %lld is '%s', from %lld examples",
                   (long long)epl_channels(epl_graph_output_at(m->graph, 0)) - 1, name, (long long)s.n);
    epl_tensor_free(z);
    cli_samples_release(&s);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_imprint = {
    .name = "imprint", .run = run,
    .summary  = "one more class for a trained network, from examples and without training",
    .about    = "For networks with head=cosine: the class's direction is the mean of the examples' features.",
    .examples = "espalier imprint base.safetensors boot1.png boot2.png --name boot -o more.safetensors",
};
