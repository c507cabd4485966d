/* models: the zoo. */
#include "cli.h"

#include <string.h>

/* The graph of a description in which no option is given; a model that cannot be built so shows no numbers. */
static epl_graph *build(cli *c, const epl_zoo_entry *e)
{
    epl_graph *g = epl_zoo_build(c->ctx, e->name);
    if (!g)
        epl_error_clear(c->ctx);
    return g;
}

static void add_row(cli *c, epl_table *t, const epl_zoo_entry *e)
{
    epl_graph *g = build(c, e);
    char       shape[192];
    epl_table_row(t);
    epl_table_text(t, e->name);
    if (g) {
        epl_table_text(t, epl_shape_text(shape, epl_shape_of(epl_graph_input_at(g, 0))));
        epl_table_number(t, (double)epl_graph_n_parameters(g));
        epl_table_number(t, epl_graph_cost(g).macs);
    } else {
        epl_table_empty(t);
        epl_table_empty(t);
        epl_table_empty(t);
    }
    epl_table_text(t, e->summary);
    epl_graph_free(g);
}

static int run(cli *c, int argc, char **argv)
{
    const char *pattern = NULL;
    const cli_option options[] = { EPL_ARG_MAY("pattern", &pattern, "only models whose name matches, such as 'mobilenet*'"),
                                   EPL_OPT_END };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "model", (epl_column_opts){ 0 });
    epl_table_column(t, "input", (epl_column_opts){ 0 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "MACs", (epl_column_opts){ .format = EPL_FORMAT_COUNT, .key = "macs" });
    epl_table_column(t, "summary", (epl_column_opts){ 0 });
    int shown = 0;
    for (int i = 0; i < epl_zoo_count(); i++)
        if (!pattern || epl_glob(pattern, epl_zoo_at(i)->name)) {
            add_row(c, t, epl_zoo_at(i));
            shown++;
        }
    const bool ok = shown > 0 ? cli_print_table(c, t)
                              : epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no model's name matches '%s'", pattern);
    epl_table_free(t);
    return cli_end(c, ok);
}

const cli_verb cli_verb_models = {
    .name = "models", .json = true, .run = run,
    .summary  = "the architectures, with their parameters and multiply-adds",
    .about    = "Numbers are those of the options' defaults and one sample. `espalier new --help MODEL` lists a model's options.",
    .examples = "espalier models\nespalier models 'res*' --json",
};
