/* divergence: how far apart two data sets are for a network, layer by layer. */
#include "training.h"

static bool show(cli *c, const epl_divergence_result *r, const char *svg)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "layer", (epl_column_opts){ 0 });
    epl_table_column(t, "divergence", (epl_column_opts){ 0 });
    for (int i = 0; i < r->n; i++) {
        epl_table_row(t);
        epl_table_text(t, r->names[i]);
        epl_table_number(t, r->values[i]);
    }
    bool ok = cli_print_table(c, t);
    epl_table_free(t);
    if (ok && svg) {
        epl_plot *p = epl_plot_new(c->ctx, (epl_plot_opts){ .x_label = "layer", .y_label = "divergence", .y_log = true });
        epl_plot_line(p, NULL, NULL, r->values, (size_t)r->n, (epl_line_opts){ .markers = true });
        ok = cli_write_take(c, svg, epl_plot_svg(p));
        epl_plot_free(p);
    }
    return ok;
}

/* The second domain: another data set, or the first under other words. */
static epl_dataset *open_other(cli *c, const cli_data *data, const char *other, const char *shift, epl_data_split split, epl_dataset *first)
{
    cli_data second = *data;
    if ((other == NULL) == (shift == NULL)) {
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "say either --other NAME or --shift WORDS: the second domain");
        return NULL;
    }
    if (shift)
        return epl_dataset_augmented(first, shift, (uint64_t)c->seed);
    second.name = other;
    return cli_data_open(c, &second, split, 0);
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *split_name = "test", *other = NULL, *shift = NULL, *layers = NULL, *svg = NULL;
    cli_data    data = { 0 };
    int64_t     batch = 64;
    epl_features_opts o = { 0 };
    epl_data_split    split = EPL_SPLIT_TEST;
    epl_divergence_result r = { 0 };
    const cli_option  options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, true),
        EPL_OPT_TEXT(0, "other", "NAME[:...]", &other, "the second data set"),
        EPL_OPT_TEXT(0, "shift", "WORDS", &shift, "instead: the first one, with these words of augmentation applied once"),
        EPL_OPT_CHOICE(0, "split", "train|test", &split_name, "which part of the data sets"),
        EPL_OPT_TEXT(0, "layers", "NAMES", &layers, "scopes whose last value is looked at (default: the blocks)"),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "samples of a step"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &o.augment, "how to prepare inputs (default: as the model says)"),
        EPL_OPT_TEXT(0, "svg", "FILE", &svg, "a plot of it"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split))
        return cli_status(c);
    o.batch = batch;
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *a = m ? cli_data_open(c, &data, split, 0) : NULL, *b = a ? open_other(c, &data, other, shift, split, a) : NULL;
    const bool   ok = b && epl_divergence(m, a, b, layers, o, &r) && show(c, &r, svg);
    epl_divergence_release(&r);
    epl_dataset_free(a);
    epl_dataset_free(b);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_divergence = {
    .name = "divergence",
    .json = true,
    .run = run,
    .summary = "how far apart two data sets are for a network, layer by layer",
    .about = "Channels are taken as normally distributed; the divergence is KL(a || b) + KL(b || a), the mean over "
             "channels (Pan et al. 2018, "
             "arXiv:1807.09441, sec. 3.1).",
    .examples = "espalier divergence t.safetensors --data fashion-mnist --shift brightness:0.5 --limit 1000\n"
                "espalier divergence t.safetensors --data folder:day --other folder:night --svg d.svg",
};
