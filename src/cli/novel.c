/* novel: classes that a network never saw, from a few examples of each, and whether it notices that they are new. */
#include <math.h>
#include <string.h>

#include "training.h"

typedef struct request {
    cli_numbers base, novel, shots;
    int         episodes;
    bool        euclidean;
} request;

static void add_number(epl_table *t, double x)
{
    if (isfinite(x))
        epl_table_number(t, x);
    else
        epl_table_empty(t);
}

/* A line for each scenario and number of shots. */
static epl_table *accuracy_table(cli *c, const request *q, const epl_embedded *support, const epl_embedded *query)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "candidates", (epl_column_opts){ 0 });
    epl_table_column(t, "shots", (epl_column_opts){ 0 });
    const struct {
        const char *name, *key;
    } columns[] = { { "accuracy", NULL }, { "+- 95 %", "interval" }, { "of novel classes", "novel" }, { "of base classes", "base" } };
    for (size_t i = 0; i < EPL_COUNT(columns); i++)
        epl_table_column(t, columns[i].name, (epl_column_opts){ .key = columns[i].key, .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    for (int joint = 0; joint <= (q->base.n > 0); joint++)
        for (int k = 0; k < q->shots.n; k++) {
            epl_novel_result r;
            const epl_novel_opts o = { .novel = q->novel.at,
                                       .n_novel = q->novel.n,
                                       .base = q->base.at,
                                       .n_base = joint ? q->base.n : 0,
                                       .shots = q->shots.at[k],
                                       .episodes = q->episodes,
                                       .euclidean = q->euclidean,
                                       .seed = (uint64_t)c->seed };
            if (!epl_novel_classes(support, query, o, &r)) {
                epl_table_free(t);
                return NULL;
            }
            epl_table_row(t);
            epl_table_text(t, joint ? "novel and base" : "novel");
            if (q->shots.at[k])
                epl_table_integer(t, q->shots.at[k]);
            else
                epl_table_text(t, "all");
            add_number(t, r.accuracy);
            add_number(t, r.interval);
            add_number(t, r.novel_accuracy);
            add_number(t, r.base_accuracy);
        }
    return t;
}

static epl_table *sphere_table(cli *c, const request *q, const epl_embedded *support, const epl_embedded *query)
{
    epl_sphere          s;
    epl_open_set_result o = { 0 };
    if (!epl_sphere_of(query, &s) ||
        (q->base.n && !epl_open_set(support, query, (epl_novel_opts){ .novel = q->novel.at, .n_novel = q->novel.n, .base = q->base.at,
                                                                      .n_base = q->base.n }, &o)))
        return NULL;
    const struct {
        const char *what;
        double      value;
        bool        open;
    } rows[] = {
        { "known against novel: area under the curve", o.auroc, true },
        { "cosine that 95 % of the known reach", o.threshold, true },
        { "share of the novel that reach it", o.false_known, true },
        { "known: right by nearest mean", o.base_accuracy, true },
        { "known: accepted and right", o.accepted_accuracy, true },
        { "one class against two: area under the curve", s.verification, false },
        { "nearest other sample of the same class", s.recall1, false },
        { "mean cosine within classes", s.intra, false },
        { "mean cosine between classes", s.inter, false },
        { "mean cosine of two classes' directions", s.mean_cosine, false },
        { "the same of a simplex", s.simplex, false },
        { "alignment", s.alignment, false },
        { "uniformity", s.uniformity, false },
        { "effective dimension", s.effective_dimension, false },
    };
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "measure", (epl_column_opts){ 0 });
    epl_table_column(t, "value", (epl_column_opts){ 0 });
    for (size_t i = 0; i < EPL_COUNT(rows); i++)
        if (!rows[i].open || q->base.n) {
            epl_table_row(t);
            epl_table_text(t, rows[i].what);
            epl_table_number(t, rows[i].value);
        }
    return t;
}

static bool print_both(cli *c, epl_table *a, epl_table *b)
{
    epl_text out = EPL_TEXT(c->ctx);
    char    *x = !a || !b ? NULL : c->json ? epl_table_to_json(a) : epl_table_to_text(a, (epl_table_opts){ 0 });
    char    *y = !x ? NULL : c->json ? epl_table_to_json(b) : epl_table_to_text(b, (epl_table_opts){ 0 });
    epl_text_addf(&out, c->json ? "{ \"novel\": %s, \"measures\": %s }" : "%s\n%s", x ? x : "", y ? y : "");
    const bool ok = y && cli_print_take(c, epl_text_detach(&out));
    epl_text_release(&out);
    epl_release(c->ctx, x);
    epl_release(c->ctx, y);
    epl_table_free(a);
    epl_table_free(b);
    return ok;
}

static bool compare(cli *c, const request *q, const epl_model *m, epl_dataset *examples, epl_dataset *asked)
{
    epl_embedded support = { 0 }, query = { 0 };
    const bool ends_in_features = strcmp(epl_graph_output_name(m->graph, 0), "features") == 0;
    const epl_features_opts o = { .layer = ends_in_features ? "features" : NULL, .progress = cli_progress(c, "samples") };
    bool ok = epl_embed(m, examples, o, &support) && epl_embed(m, asked, o, &query);
    cli_progress_end(c);
    if (ok) {
        epl_table *a = accuracy_table(c, q, &support, &query);
        ok = print_both(c, a, a ? sphere_table(c, q, &support, &query) : NULL);
    }
    epl_embedded_release(&support);
    epl_embedded_release(&query);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *base = "", *novel = NULL, *shots = "1,5,20";
    cli_data    data = { 0 };
    int64_t     episodes = 200;
    request     q = { 0 };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, true),
        EPL_OPT_MUST(0, "novel", "LIST", &novel, "classes that the network has not seen: 1,4,8"),
        EPL_OPT_TEXT(0, "base", "LIST", &base, "classes that it has seen: candidates in a second round, and the known ones of an open set"),
        EPL_OPT_TEXT(0, "shots", "LIST", &shots, "examples of each novel class; 0: all there are"),
        EPL_OPT_INT(0, "episodes", &episodes, 1, 1e6, "draws of examples, over which is averaged"),
        EPL_OPT_FLAG(0, "euclidean", &q.euclidean, "means and distances of the features as they are, not directions and cosines"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !cli_number_list(c, "novel", novel, &q.novel) || !cli_number_list(c, "base", base, &q.base) ||
        !cli_number_list(c, "shots", shots, &q.shots))
        return cli_status(c);
    q.episodes = (int)episodes;
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *examples = m ? cli_data_open(c, &data, EPL_SPLIT_TRAIN, 0) : NULL,
                *asked = examples ? cli_data_open(c, &data, EPL_SPLIT_TEST, 0) : NULL;
    const bool   ok = asked && compare(c, &q, m, examples, asked);
    epl_dataset_free(examples);
    epl_dataset_free(asked);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_novel = {
    .name = "novel",
    .json = true,
    .run = run,
    .summary = "classes that a network never saw, from a few examples of each",
    .about = "Examples are drawn from the data's training part; samples of its test part go to the class whose mean of "
             "examples is nearest, "
             "among novel classes alone and, with --base, among all. Then whether novel samples are noticed as such, "
             "and how classes lie on "
             "the sphere. The features are what the network's last layer reads.",
    .examples = "espalier train cnn:head=cosine,embed=32,classes=7 --data fashion-mnist --classes 0,2,3,5,6,7,9 -o "
                "base.safetensors\n"
                "espalier novel base.safetensors --data fashion-mnist --novel 1,4,8 --base 0,2,3,5,6,7,9",
};
