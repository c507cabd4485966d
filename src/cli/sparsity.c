/* sparsity: where a network's zeros are, and what formats would make of them. */
#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL;
    const cli_option options[] = { EPL_ARG("model", &in, CLI_MODEL_HELP), EPL_OPT_END };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL);
    epl_table *t  = m && epl_nm_unpack(m) >= 0 ? epl_sparsity_report(m) : NULL;
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_sparsity = {
    .name = "sparsity", .json = true, .run = run,
    .summary  = "shows where a network's zeros are, and what they save",
    .about    = "A line for each weight that can be pruned: how many are not zero, outputs (rows) and inputs (columns) without any, "
                "multiply-adds with and without zeros, and bytes: dense; as compressed rows with 4- and 2-byte columns; as a bitmap with "
                "values; as blocks of 4x4; as n of every 4 input channels, n being the most that a group has; as values with "
                "differences of channels.",
    .examples = "espalier sparsity p.safetensors",
};
