/* gate: channels that are computed only for the samples that need them. */
#include <math.h>
#include <string.h>

#include "training.h"

static epl_table *layer_table(cli *c, const epl_gates_report *r)
{
    const epl_column_opts percent = { .format = EPL_FORMAT_PERCENT };
    const bool labels = isfinite(r->agreement);
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "layer", (epl_column_opts){ 0 });
    epl_table_column(t, "channels", (epl_column_opts){ 0 });
    epl_table_column(t, "kept", percent);
    epl_table_column(t, "10 % below", (epl_column_opts){ .key = "least10", .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "10 % above", (epl_column_opts){ .key = "most10", .format = EPL_FORMAT_PERCENT });
    if (labels)
        epl_table_column(t, "foreseen", (epl_column_opts){ .key = "agreement", .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "multiply-adds", (epl_column_opts){ .key = "macs", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "executed", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "of its gate", (epl_column_opts){ .key = "gate", .format = EPL_FORMAT_COUNT });
    for (int i = 0; i < r->n; i++) {
        const epl_gate_layer *l = &r->layers[i];
        epl_table_row(t);
        epl_table_text(t, l->name);
        epl_table_integer(t, l->out);
        epl_table_number(t, l->kept);
        epl_table_number(t, l->least10);
        epl_table_number(t, l->most10);
        if (labels && l->gated)
            epl_table_number(t, l->agreement);
        else if (labels)
            epl_table_empty(t);
        epl_table_number(t, l->macs);
        epl_table_number(t, l->executed);
        epl_table_number(t, l->gate_macs);
    }
    return t;
}

/* Kept channels, a row for each class, a column for each gated layer. */
static epl_table *class_table(cli *c, const epl_gates_report *r, epl_dataset *d)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "class", (epl_column_opts){ 0 });
    for (int i = 0; i < r->n; i++)
        if (r->layers[i].gated)
            epl_table_column(t, r->layers[i].name, (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    for (int k = 0; k < r->n_classes; k++) {
        epl_table_row(t);
        epl_table_text(t, epl_dataset_class_name(d, k));
        for (int i = 0; i < r->n; i++)
            if (r->layers[i].gated && isfinite(r->layers[i].by_class[k]))
                epl_table_number(t, r->layers[i].by_class[k]);
            else if (r->layers[i].gated)
                epl_table_empty(t);
    }
    return t;
}

static bool measure(cli *c, const epl_model *m, epl_dataset *d, epl_gates_opts o, bool classes)
{
    epl_gates_report r;
    o.run.progress = cli_progress(c, "samples");
    bool ok = epl_gates_measure(m, d, o, &r);
    cli_progress_end(c);
    epl_table *t = !ok ? NULL : classes ? class_table(c, &r, d) : layer_table(c, &r);
    ok = ok && cli_print_table(c, t);
    epl_table_free(t);
    if (ok)
        cli_remark(c, "%s%.4g of %.4g multiply-adds, %.4g of them the gates': %.1f %% less",
                   o.forecast ? "forecast: " : "", r.executed, r.macs, r.gate_macs, 100 * (1 - r.executed / r.macs));
    epl_gates_report_release(&r);
    return ok;
}

static bool skip(cli *c, epl_model *m)
{
    const int n = epl_deploy_batch_norms(m, NULL, NULL) ? epl_gates_skip(m) : -1;
    if (n > 0)
        cli_remark(c, "%d layers compute the channels alone that their gates choose, for one sample at a time", n);
    return n > 0;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *method = "ftwt", *mode = "decoupled", *pool = "max", *split_name = "test";
    int64_t     embedding = 0;
    bool        estimate = false, skipping = false, classes = false;
    cli_data    data = { 0 };
    epl_gate_opts  o = { 0 };
    epl_gates_opts g = { .mass = 0.92 };
    epl_data_split split = EPL_SPLIT_TEST;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_PATH('o', "output", &out, "the network to write"),
        EPL_OPT_CHOICE(0, "method", "ftwt", &method,
                       "how gates learn: from the strongest responses of their own layer"),
        EPL_OPT_REAL(0, "mass", &g.mass, 1e-6, 1, "share of the responses' sum that channels kept have to hold"),
        EPL_OPT_REAL(0, "uniform", &g.uniform, 0, 1,
                     "instead of --mass: all channels but this share of each layer, the weakest (0: --mass)"),
        EPL_OPT_CHOICE(0, "mode", "decoupled|joint", &mode, "joint: what gates learn from reaches the network, too"),
        EPL_OPT_CHOICE(0, "pool", "max|avg", &pool, "what a gate sees of its layer's input"),
        EPL_OPT_INT(0, "embedding", &embedding, 0, 1 << 16,
                    "how many numbers a gate sees of it, about, by pooling to several places (0: one for a channel)"),
        EPL_OPT_FLAG(0, "open", &o.open, "gates begin open"),
        EPL_OPT_FLAG(0, "after-add", &o.after_add, "of layers before a residual sum: masks behind it"),
        EPL_OPT_TEXT(0, "layers", "PATTERN", &o.layers,
                     "names of convolutions' weights (default: all that can have a gate)"),
        EPL_OPT_FLAG(0, "estimate", &estimate, "tell what gates would save on --data, before there are any"),
        EPL_OPT_FLAG(0, "skip", &skipping, "write a network for one sample that computes the chosen channels alone"),
        EPL_OPT_FLAG(0, "by-class", &classes, "with --data: the channels kept for samples of each class"),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_CHOICE(0, "split", "train|test|val", &split_name, "which part of the data set"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &g.run.augment, "how to prepare inputs (default: as the model says)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split))
        return cli_status(c);
    o.joint    = strcmp(mode, "joint") == 0;
    o.embedding = (int)embedding;
    o.average  = strcmp(pool, "avg") == 0;
    g.forecast = estimate;
    g.layers   = o.layers;
    g.after_add = o.after_add;
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *d = m && data.name ? cli_data_open(c, &data, split, 0) : NULL;
    bool ok = m && (!data.name || d);
    if (ok && estimate && !d)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--estimate looks at samples: --data names them");
    if (ok && d)
        ok = measure(c, m, d, g, classes);
    else if (ok && !out)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "-o says where the network with gates is to be written (or --data what to measure on)");
    if (ok && out)
        ok = (skipping ? skip(c, m) : epl_gates_add(m, o) > 0 && epl_model_init(m, (uint64_t)c->seed)) && cli_model_save(c, m, out);
    epl_dataset_free(d);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_gate = {
    .name = "gate",
    .json = true,
    .run = run,
    .summary = "channels that are computed only for the samples that need them",
    .about = "Before each convolution a small head foresees which of its channels will respond; the others are masked. "
             "`espalier train --gates MASS` "
             "trains network and gates. With --data: what is kept and what that saves, the gates' own cost included. "
             "--skip makes masks "
             "save time. Elkerdawy et al. 2022 (arXiv:2110.08232).",
    .examples = "espalier gate t.safetensors --estimate --mass 0.9 --data fashion-mnist --limit 1000\n"
                "espalier gate t.safetensors -o gated.safetensors\n"
                "espalier train gated.safetensors --gates 0.9 --data fashion-mnist -o trained.safetensors\n"
                "espalier gate trained.safetensors --data fashion-mnist --limit 1000 --mass 0.9\n"
                "espalier gate trained.safetensors --skip -o fast.safetensors",
};
