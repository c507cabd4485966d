/* fold: batch norms into the layers before them, for good. */
#include "cli.h"

static epl_table *table_of(cli *c, const epl_fold_report *r)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "batch norm", (epl_column_opts){ 0 });
    epl_table_column(t, "folded", (epl_column_opts){ 0 });
    epl_table_column(t, "why not", (epl_column_opts){ 0 });
    for (int i = 0; i < r->n; i++) {
        epl_table_row(t);
        epl_table_text(t, r->pairs[i].norm);
        epl_table_text(t, r->pairs[i].skipped ? "no" : "yes");
        epl_table_text(t, r->pairs[i].skipped ? r->pairs[i].skipped : "");
    }
    return t;
}

/* Pairs, and what the mode tune would save in a training step of this batch. */
static bool report(cli *c, const epl_model *m, const char *names, int64_t batch)
{
    epl_fold_report r = { 0 };
    size_t          saved = 0;
    char            bytes[32];
    const epl_step_opts o = { .batch = batch, .norms.pattern = names };
    bool ok = epl_tune_saves(m, o, &r, &saved);
    if (ok) {
        epl_table *t = table_of(c, &r);
        ok = cli_print_table(c, t);
        epl_table_free(t);
        epl_format_bytes(bytes, (double)saved);
        cli_remark(c,
                   "%d of %d batch norms can be folded; in training steps of %lld samples `--bn-mode tune` takes %s "
                   "less than eval",
                   r.folded, r.n, (long long)batch, bytes);
    }
    epl_fold_report_release(c->ctx, &r);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *names = NULL;
    int64_t     batch = 64;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_PATH('o', "output", &out, "the folded model to write (default: only the report)"),
        EPL_OPT_TEXT(0, "names", "NAMES", &names, "these batch norms alone, as in stage1.*"),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "samples of the training step whose memory is reported"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL);
    bool       ok = m && report(c, m, names, batch);
    if (ok && out)
        ok = epl_deploy_batch_norms(m, names, NULL) && cli_model_save(c, m, out);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_fold = {
    .name = "fold",
    .json = true,
    .run = run,
    .summary = "folds batch norms into the layers before them, and says which can be",
    .about = "The result computes what the model did, within rounding, with less work. Statistics are gone: `train "
             "--bn-mode train` of the result "
             "is refused, and training it as it is moves each channel at a rate of its own, which is often unstable. "
             "To train with frozen "
             "statistics at almost the cost of a folded network, use `train --bn-mode tune` instead (You et al. 2023, "
             "arXiv:2305.11624).",
    .examples = "espalier fold trained.safetensors\nespalier fold trained.safetensors -o folded.safetensors",
};
