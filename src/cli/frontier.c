/* frontier: `analyze frontier`, networks by what they have and what they do - small dense ones against large sparse ones. */
#include "frontier.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    const char *name;
    epl_sparsity s;
    double       quality, loss; /* quality: higher is better */
    bool         best;          /* no other has as few weights and is better */
} candidate;

static bool measure(cli *c, const char *path, epl_dataset *d, epl_evaluate_opts o, candidate *out)
{
    epl_evaluation e = { 0 };
    epl_model     *m = cli_model_load(c, path, NULL);
    const char    *slash = strrchr(path, '/');
    *out = (candidate){ .name = slash ? slash + 1 : path };
    o.progress = cli_progress(c, "samples");
    const bool ok = m && epl_sparsity_of(m, &out->s) && epl_evaluate(m, d, o, &e);
    cli_progress_end(c);
    out->loss    = e.metrics.loss;
    out->quality = isfinite(e.metrics.accuracy) ? e.metrics.accuracy : -e.metrics.loss;
    epl_evaluation_release(c->ctx, &e);
    epl_model_free(m);
    return ok;
}

static void mark_best(candidate *list, int n)
{
    for (int i = 0; i < n; i++) {
        list[i].best = true;
        for (int k = 0; k < n; k++) {
            const int64_t more = list[i].s.parameters_nonzero - list[k].s.parameters_nonzero;
            list[i].best = list[i].best && !(more >= 0 && list[k].quality >= list[i].quality &&
                                             (more > 0 || list[k].quality > list[i].quality));
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = ((const candidate *)a)->s.parameters_nonzero, y = ((const candidate *)b)->s.parameters_nonzero;
    return (x > y) - (x < y);
}

/* The paper counts what is not zero; storing where it stands costs a bit for each weight. */
static epl_table *table_of(cli *c, const candidate *list, int n)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "network", (epl_column_opts){ 0 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_PLAIN });
    epl_table_column(t, "not zero", (epl_column_opts){ .key = "nonzero", .format = EPL_FORMAT_PLAIN });
    epl_table_column(t, "bytes, with a bitmap", (epl_column_opts){ .key = "bytes", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "MACs not zero", (epl_column_opts){ .key = "macs_nonzero", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "loss", (epl_column_opts){ 0 });
    epl_table_column(t, "accuracy", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "frontier", (epl_column_opts){ 0 });
    for (int i = 0; t && i < n; i++) {
        const epl_sparsity *s = &list[i].s;
        const double dense = 4.0 * (double)s->parameters, bitmap = 4.0 * (double)s->parameters_nonzero + (double)s->weights / 8;
        epl_table_row(t);
        epl_table_text(t, list[i].name);
        epl_table_integer(t, s->parameters);
        epl_table_integer(t, s->parameters_nonzero);
        epl_table_number(t, fmin(dense, bitmap));
        epl_table_number(t, s->macs_nonzero);
        epl_table_number(t, list[i].loss);
        epl_table_number(t, list[i].quality >= 0 ? list[i].quality : (double)NAN);
        epl_table_text(t, list[i].best ? "*" : "");
    }
    return t;
}

static bool plot(cli *c, const candidate *list, int n, const char *path)
{
    const bool accuracy = list[0].quality >= 0;
    epl_plot    *p = epl_plot_new(c->ctx, (epl_plot_opts){ .x_label = "parameters that are not zero",
                                                           .y_label = accuracy ? "accuracy" : "loss",
                                                           .x_log = true,
                                                           .y_percent = accuracy });
    const size_t room = (size_t)n;
    double      *x = epl_arena_alloc(c->arena, room * sizeof *x), *y = epl_arena_alloc(c->arena, room * sizeof *y);
    const char **names = epl_arena_alloc(c->arena, room * sizeof *names);
    size_t       best = 0;
    if (!p || !x || !y || !names)
        return false;
    for (int pass = 0; pass < 2; pass++) { // the frontier's line, then all points
        size_t k = 0;
        for (int i = 0; i < n; i++)
            if (pass || list[i].best) {
                x[k] = (double)list[i].s.parameters_nonzero;
                y[k] = accuracy ? list[i].quality : list[i].loss;
                names[k++] = list[i].name;
            }
        best = pass ? best : k;
        if (pass == 0)
            epl_plot_line(p, "frontier", x, y, best, (epl_line_opts){ .dashed = true });
        else
            epl_plot_scatter(p, NULL, x, y, k, (epl_scatter_opts){ .labels = names });
    }
    const bool ok = cli_write_take(c, path, epl_plot_svg(p));
    epl_plot_free(p);
    return ok;
}

static bool compare(cli *c, const cli_words *files, epl_dataset *d, epl_evaluate_opts o, const char *out)
{
    candidate *list = epl_arena_alloc(c->arena, (size_t)files->n * sizeof *list);
    bool       ok = list != NULL;
    for (int i = 0; ok && i < files->n; i++)
        ok = measure(c, files->at[i], d, o, &list[i]);
    if (!ok)
        return false;
    qsort(list, (size_t)files->n, sizeof *list, by_size);
    mark_best(list, files->n);
    epl_table *t = table_of(c, list, files->n);
    ok = t && cli_print_table(c, t) && (!out || plot(c, list, files->n, out));
    epl_table_free(t);
    return ok;
}

bool cli_frontier(cli *c, const cli_words *files, const cli_data *data, int64_t batch, const char *out)
{
    const epl_evaluate_opts o = { .batch = batch };
    if (!data->name)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "what networks do is measured on data: say --data");
    epl_dataset *d  = cli_data_open(c, data, EPL_SPLIT_TEST, 0);
    const bool   ok = d && compare(c, files, d, o, out);
    epl_dataset_free(d);
    return ok;
}
