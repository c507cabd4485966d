/* features: what a network computes at a layer, for a data set, as a file. */
#include "training.h"

/* The data set's targets beside the features, row by row. */
static bool save(cli *c, epl_tensor *features, epl_dataset *d, const char *out)
{
    epl_weights *w = epl_weights_new(c->ctx);
    epl_tensor  *y = NULL;
    const bool npz = epl_glob("*.npz", out); // what --data npz:FILE reads
    bool ok = w && epl_dataset_tensors(d, 0, epl_dataset_info_of(d).count, NULL, &y);
    ok = epl_weights_put_take(w, npz ? "x" : "features", features) && ok;
    ok = ok && epl_weights_put_take(w, npz ? "y" : "labels", y) && (npz ? epl_npz_save(w, out) : epl_weights_save(w, out));
    epl_weights_free(w);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *split_name = "test";
    cli_data    data = { 0 };
    int64_t     batch = 64;
    epl_features_opts o = { 0 };
    epl_data_split    split = EPL_SPLIT_TEST;
    const cli_option  options[] = {
         EPL_ARG("model", &in, CLI_MODEL_HELP),
         CLI_OPT_DATA(&data, true),
         EPL_OPT_MUST(
             'o', "output", "FILE", &out,
             "where to write the tensors 'features' and 'labels' (.safetensors), or 'x' and 'y', a data set (.npz)"),
         EPL_OPT_CHOICE(0, "split", "train|test", &split_name, "which part of the data set"),
         EPL_OPT_TEXT(0, "layer", "NAME", &o.layer,
                      "an output, or a scope such as stage2.unit1 (default: what the classifier reads)"),
         EPL_OPT_FLAG(0, "average", &o.average, "average over space"),
         EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "samples of a step"),
         EPL_OPT_TEXT(0, "augment", "WORDS", &o.augment, "how to prepare inputs (default: as the model says)"),
         EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split))
        return cli_status(c);
    o.batch = batch;
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *d = m ? cli_data_open(c, &data, split, 0) : NULL;
    if (d)
        o.progress = cli_progress(c, "samples");
    epl_tensor *f = d ? epl_features(m, d, o) : NULL;
    if (d)
        cli_progress_end(c);
    char shape[192];
    epl_text text = EPL_TEXT(c->ctx);
    if (f)
        epl_text_addf(&text, "%s: features %s", out, epl_shape_text(shape, f->shape));
    bool ok = f && save(c, f, d, out);
    ok = ok && cli_print_take(c, epl_text_detach(&text));
    epl_text_release(&text);
    epl_dataset_free(d);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_features = {
    .name = "features", .run = run,
    .summary  = "what a network computes at a layer, for a data set, as a file",
    .examples = "espalier features t.safetensors --data fashion-mnist -o f.safetensors\n"
                "espalier features t.safetensors --data fashion-mnist --layer stage2 --average -o f.safetensors\n"
                "espalier features t.safetensors --data fashion-mnist --split train --layer stage1 -o f.npz",
};
