/* models: the zoo. */
#include "cli.h"

#include <string.h>

/* A row: the graph of the description; one that cannot be built shows no numbers. */
static void add_row(cli *c, epl_table *t, const char *name, const char *description, const char *last)
{
    char       shape[192];
    epl_graph *g = epl_zoo_build(c->ctx, description);
    if (!g)
        epl_error_clear(c->ctx);
    epl_table_row(t);
    epl_table_text(t, name);
    if (g) {
        epl_table_text(t, epl_shape_text(shape, epl_shape_of(epl_graph_input_at(g, 0))));
        epl_table_number(t, (double)epl_graph_n_parameters(g));
        epl_table_number(t, epl_graph_cost(g).macs);
    } else {
        epl_table_empty(t);
        epl_table_empty(t);
        epl_table_empty(t);
    }
    epl_table_text(t, last);
    epl_graph_free(g);
}

static int add_models(cli *c, epl_table *t, const char *pattern)
{
    int shown = 0;
    for (int i = 0; i < epl_zoo_count(); i++)
        if (!pattern || epl_glob(pattern, epl_zoo_at(i)->name)) {
            add_row(c, t, epl_zoo_at(i)->name, epl_zoo_at(i)->name, epl_zoo_at(i)->summary);
            shown++;
        }
    return shown;
}

static int add_published(cli *c, epl_table *t, const char *pattern)
{
    int shown = 0;
    for (int i = 0; i < epl_zoo_n_published(); i++) {
        const char *name = epl_zoo_published_name(i), *description = epl_zoo_published_description(c->ctx, name);
        if (!pattern || epl_glob(pattern, name)) {
            add_row(c, t, name, description, description);
            shown++;
        }
    }
    return shown;
}

static int run(cli *c, int argc, char **argv)
{
    const char *pattern = NULL;
    bool        published = false;
    const cli_option options[] = { EPL_ARG_MAY("pattern", &pattern, "only models whose name matches, such as 'mobilenet*'"),
                                   EPL_OPT_FLAG(0, "published", &published, "the networks with published weights, by the names that "
                                                "torchvision and timm give them"),
                                   EPL_OPT_END };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, published ? "network" : "model", (epl_column_opts){ 0 });
    epl_table_column(t, "input", (epl_column_opts){ 0 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "MACs", (epl_column_opts){ .format = EPL_FORMAT_COUNT, .key = "macs" });
    epl_table_column(t, published ? "description" : "summary", (epl_column_opts){ 0 });
    const int  shown = published ? add_published(c, t, pattern) : add_models(c, t, pattern);
    const bool ok = shown > 0 ? cli_print_table(c, t)
                              : epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no model's name matches '%s'", pattern);
    epl_table_free(t);
    return cli_end(c, ok);
}

const cli_verb cli_verb_models = {
    .name = "models", .json = true, .run = run,
    .summary  = "the architectures, with their parameters and multiply-adds",
    .about    = "Numbers are those of the options' defaults and one sample. `espalier new --help MODEL` lists a model's options, "
                "`espalier info MODEL:OPTIONS` counts a network with others.",
    .examples = "espalier models\nespalier models 'res*' --json\nespalier models --published 'vit*'",
};
