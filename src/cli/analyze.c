/* analyze: a network's design, and how its weights start. */
#include "training.h"

#include <string.h>

static bool design(cli *c, const epl_model *m)
{
    epl_text   remarks = EPL_TEXT(c->ctx);
    epl_table *t  = epl_design_report(m->graph, &remarks);
    bool       ok = t && cli_print_table(c, t);
    if (ok && !c->json && remarks.length)
        ok = cli_print_take(c, epl_strdup(c->ctx, epl_text_str(&remarks)));
    epl_text_release(&remarks);
    epl_table_free(t);
    return ok;
}

static bool init(cli *c, const epl_model *m, const cli_data *data, int64_t batch)
{
    epl_dataset *d = data->name ? cli_data_open(c, data, EPL_SPLIT_TRAIN, 0) : NULL;
    epl_tensor  *x = NULL, *y = NULL;
    if (!data->name)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "what layers answer depends on samples: say --data");
    const epl_dataset_info info = d ? epl_dataset_info_of(d) : (epl_dataset_info){ 0 };
    bool       ok = d && epl_dataset_tensors(d, 0, info.count < batch ? info.count : batch, &x, &y);
    epl_table *t  = ok ? epl_init_report(m, x, info.n_classes ? y : NULL) : NULL;
    ok = t && cli_print_table(c, t);
    epl_table_free(t);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_dataset_free(d);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *what = NULL, *in = NULL;
    cli_data    data = { 0 };
    int64_t     batch = 64;
    const cli_option options[] = {
        EPL_ARG("what", &what, "design, or init"),
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 16, "init: samples to look at"),
        EPL_OPT_END
    };
    static const char *const known[] = { "design", "init" };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    const bool is_design = strcmp(what, known[0]) == 0;
    if (!is_design && strcmp(what, known[1]) != 0)
        return cli_end(c, cli_unknown(c, "analysis", what, known, EPL_COUNT(known)));
    epl_model *m  = cli_model_load(c, in, NULL);
    const bool ok = m && (is_design ? design(c, m) : init(c, m, &data, batch));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_analyze = {
    .name = "analyze", .json = true, .run = run,
    .summary  = "a network's design, or how signals and gradients pass through it",
    .about    = "`analyze design` shows where layers, parameters and multiply-adds are, and remarks where a design principle of SimpleNet "
                "(Hasanpour et al. 2016) is broken. `analyze init` shows for each layer the variance of its answers to --data and the norm "
                "of its gradient.",
    .examples = "espalier analyze design vgg:depth=16\nespalier analyze init lenet --data fashion-mnist",
};
