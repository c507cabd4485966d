/* transfer: whom the adversarial images of one network deceive. */
#include <math.h>

#include "exits.h"
#include "training.h"

static epl_table *matrix(cli *c, const cli_words *names, const double *success)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "made on", (epl_column_opts){ .key = "source" });
    for (int i = 0; i < names->n; i++)
        epl_table_column(t, names->at[i], (epl_column_opts){ .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    for (int s = 0; s < names->n; s++) {
        epl_table_row(t);
        epl_table_text(t, names->at[s]);
        for (int k = 0; k < names->n; k++)
            if (isfinite(success[s * names->n + k]))
                epl_table_number(t, success[s * names->n + k]);
            else
                epl_table_empty(t);
    }
    return t;
}

static int run(cli *c, int argc, char **argv)
{
    const char   *method = "pgd", *loss = "sum";
    cli_words     names = { 0 };
    cli_data      data = { 0 };
    cli_exit_rule rule = CLI_EXIT_RULE;
    int64_t       batch = 64, steps = 0;
    epl_attack_opts o = { .eps = 8.0 / 255 };
    const cli_option options[] = {
        EPL_ARG_REST("models", &names, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, true),
        EPL_OPT_CHOICE('m', "method", "fgsm|pgd|early", &method, "as in `espalier attack`"),
        EPL_OPT_REAL(0, "eps", &o.eps, 0, 1, "fgsm, pgd: the largest change of a pixel"),
        EPL_OPT_INT(0, "steps", &steps, 0, 1e6, "of pgd (0: 20), of early at most (0: 1000)"),
        EPL_OPT_REAL(0, "step-size", &o.step_size, 0, 1e3, "of pgd (0: 2/255); early: Adam's rate (0: 0.01)"),
        EPL_OPT_FLAG(0, "random-start", &o.random_start,
                     "pgd: begin somewhere within eps; early: begin at noise, not at the image"),
        EPL_OPT_CHOICE(0, "exit-loss", "sum|final|taken", &loss,
                       "whose loss rises: of all classifiers, the final one, the one that is taken"),
        CLI_OPT_EXIT_RULE(&rule),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "images at once"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_attack_kind_from_name(c->ctx, method, &o.kind) ||
        !epl_attack_loss_from_name(c->ctx, loss, &o.loss))
        return cli_status(c);
    o.steps     = (int)steps;
    o.rule      = cli_exit_rule_of(&rule);
    o.run.batch = batch;
    o.seed      = (uint64_t)c->seed;
    const size_t n = (size_t)names.n;
    epl_model  **models  = epl_arena_alloc(c->arena, (n + 1) * sizeof *models);
    double      *success = epl_arena_alloc(c->arena, (n * n + 1) * sizeof *success);
    bool         ok = models && success;
    for (int i = 0; ok && i < names.n; i++)
        ok = (models[i] = cli_model_load(c, names.at[i], NULL)) != NULL;
    epl_dataset *d = ok ? cli_data_open(c, &data, EPL_SPLIT_TEST, 0) : NULL;
    o.run.progress = cli_progress(c, "images");
    ok = d && epl_transfer(names.n, (const epl_model *const *)models, NULL, d, o, success);
    cli_progress_end(c);
    epl_table *t = ok ? matrix(c, &names, success) : NULL;
    ok = t && cli_print_table(c, t);
    epl_table_free(t);
    epl_dataset_free(d);
    for (int i = 0; models && i < names.n; i++)
        epl_model_free(models[i]);
    return cli_end(c, ok);
}

const cli_verb cli_verb_transfer = {
    .name = "transfer",
    .json = true,
    .run = run,
    .summary = "whom the adversarial images of one network deceive",
    .about = "A row for the network that images were made on, a column for the one that sees them: of the images that "
             "both got right (each where "
             "it lets them leave), the share that the other gets wrong now. The diagonal is an attack on oneself.",
    .examples = "espalier transfer plain.safetensors sdn.safetensors --data fashion-mnist --limit 500 --eps 0.1 "
                "--threshold 0.9",
};
