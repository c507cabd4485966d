/* exits: classifiers within a network - puts them there, tells where samples leave, and makes leaving real. */
#include <stdlib.h>
#include <string.h>

#include "exits.h"
#include "training.h"

epl_exit_rule cli_exit_rule_of(const cli_exit_rule *r)
{
    return (epl_exit_rule){ .measure = r->entropy ? EPL_EXIT_ENTROPY : EPL_EXIT_CONFIDENCE, .threshold = r->threshold,
                            .patience = (int)r->patience, .last = r->last };
}

/* ---- adding ---- */

/* "0.15,0.3" are shares, anything else names of scopes. */
static bool add(cli *c, epl_model *m, const char *at, const char *head)
{
    epl_exits_opts o = { 0 };
    const size_t   most = strlen(at) + 2;
    const char   **names  = epl_arena_alloc(c->arena, most * sizeof *names);
    double        *shares = epl_arena_alloc(c->arena, most * sizeof *shares);
    char          *text   = epl_arena_strdup(c->arena, at), *end = NULL, *rest = NULL;
    if (!names || !shares || !text || !epl_exit_kind_from_name(c->ctx, head, &o.head))
        return false;
    bool numbers = true;
    for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        names[o.n]  = word;
        shares[o.n] = strtod(word, &end);
        numbers     = numbers && *end == 0;
        o.n++;
    }
    o.names  = numbers ? NULL : names;
    o.shares = numbers ? shares : NULL;
    return epl_exits_add(m, o) && epl_model_init(m, (uint64_t)c->seed);
}

/* ---- reporting ---- */

static epl_table *report_table(cli *c, const epl_graph *g, const epl_exit_report *r, const double *thresholds)
{
    const epl_column_opts percent = { .format = EPL_FORMAT_PERCENT, .decimals = 2 };
    double     macs[64];
    const int  n = epl_n_exits(g);
    epl_table *t = n <= 64 && epl_exit_macs(g, macs) ? epl_table_new(c->ctx, NULL) : NULL;
    epl_table_column(t, "classifier", (epl_column_opts){ 0 });
    epl_table_column(t, "multiply-adds", (epl_column_opts){ .key = "macs", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "of all", (epl_column_opts){ .key = "share_of_macs", .format = EPL_FORMAT_PERCENT });
    if (r) {
        epl_table_column(t, "threshold", (epl_column_opts){ .format = EPL_FORMAT_FIXED, .decimals = 4 });
        epl_table_column(t, "accuracy", percent);
        epl_table_column(t, "speaks for", (epl_column_opts){ .key = "speaks", .format = EPL_FORMAT_PERCENT, .decimals = 2 });
        epl_table_column(t, "leave here", (epl_column_opts){ .key = "leave", .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    }
    for (int e = 0; t && e < n; e++) {
        epl_table_row(t);
        if (e + 1 < n)
            epl_table_textf(t, "exit %d", e + 1);
        else
            epl_table_text(t, "final");
        epl_table_number(t, macs[e]);
        epl_table_number(t, macs[e] / macs[n - 1]);
        if (r && e + 1 < n)
            epl_table_number(t, thresholds[e]);
        else if (r)
            epl_table_empty(t);
        if (r) {
            epl_table_number(t, r->exit_accuracy[e]);
            epl_table_number(t, r->speaks[e]);
            epl_table_number(t, r->leave[e]);
        }
    }
    return t;
}

typedef struct request {
    cli_data      data;
    cli_exit_rule rule;
    double        val_fraction, budget;
    epl_exit_opts run;
} request;

/* Thresholds for the budget, from what the network says of the training part (or its val part). */
static bool calibrate(cli *c, const epl_model *m, const request *q, double *thresholds)
{
    epl_dataset *d = cli_data_open(c, &q->data, q->val_fraction > 0 ? EPL_SPLIT_VAL : EPL_SPLIT_TRAIN, q->val_fraction);
    epl_tensor  *labels = NULL, *z = d ? epl_exit_answers(m, d, q->run, &labels) : NULL;
    const bool   ok = z && epl_exit_budget(m->graph, z, q->budget, thresholds);
    epl_tensor_free(z);
    epl_tensor_free(labels);
    epl_dataset_free(d);
    return ok;
}

static bool report(cli *c, const epl_model *m, const request *q)
{
    const int n = epl_n_exits(m->graph);
    double   *thresholds = epl_arena_alloc(c->arena, (size_t)(n + 1) * sizeof *thresholds);
    epl_exit_rule   rule = cli_exit_rule_of(&q->rule);
    epl_exit_report r = { 0 };
    for (int e = 0; thresholds && e < n; e++)
        thresholds[e] = rule.threshold;
    bool ok = thresholds && (q->budget <= 0 || calibrate(c, m, q, thresholds));
    rule.thresholds = thresholds;
    rule.last       = rule.last || q->budget > 0;
    epl_dataset *d = ok ? cli_data_open(c, &q->data, EPL_SPLIT_TEST, 0) : NULL;
    epl_tensor  *labels = NULL, *z = d ? epl_exit_answers(m, d, q->run, &labels) : NULL;
    ok = z && epl_exit_report_of(m->graph, z, labels, rule, &r);
    epl_table *t = ok ? report_table(c, m->graph, &r, thresholds) : NULL;
    ok = t && cli_print_table(c, t);
    if (ok)
        cli_remark(c, "%lld samples: accuracy %.2f %%, %.4g multiply-adds on average, %.1f %% of the whole network's",
                   (long long)r.n, 100 * r.accuracy, r.mean_macs, 100 * r.mean_macs / r.macs[n - 1]);
    epl_table_free(t);
    epl_exit_report_release(&r);
    epl_tensor_free(z);
    epl_tensor_free(labels);
    epl_dataset_free(d);
    return ok;
}

/* ---- the verb ---- */

static bool print_places(cli *c, const epl_model *m)
{
    epl_table *t  = report_table(c, m->graph, NULL, NULL);
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static bool make_dynamic(cli *c, const epl_model *m, const cli_exit_rule *rule, const char *out)
{
    epl_model *one = out ? epl_exits_dynamic(m, cli_exit_rule_of(rule)) : NULL;
    if (!out)
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--dynamic makes another network: -o says where to write it");
    const bool ok = one && cli_model_save(c, one, out);
    epl_model_free(one);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *at = NULL, *head = "sdn";
    bool        dynamic = false;
    int64_t     batch = 64;
    request     q = { .rule = CLI_EXIT_RULE };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_PATH('o', "output", &out, "the network to write"),
        EPL_OPT_TEXT(
            0, "at", "LIST", &at,
            "put exits there: shares of the multiply-adds, 0.15,0.3,0.45, or names of layers, stage1.unit2,stage2"),
        EPL_OPT_CHOICE(0, "head", "sdn|branchy|msdnet", &head, "what classifies there"),
        EPL_OPT_FLAG(0, "dynamic", &dynamic,
                     "write a network for one sample that computes no more than up to where it leaves"),
        CLI_OPT_DATA(&q.data, false),
        CLI_OPT_EXIT_RULE(&q.rule),
        EPL_OPT_REAL(0, "budget", &q.budget, 0, 1e18,
                     "thresholds for so many multiply-adds a sample on average (0: --threshold)"),
        EPL_OPT_REAL(0, "val-fraction", &q.val_fraction, 0, 0.99,
                     "find these on this share of the training part (0: on all of it)"),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "samples at once"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &q.run.augment, "how to prepare inputs (default: as the model says)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    q.run.batch  = batch;
    epl_model *m = cli_model_load(c, in, NULL);
    bool       ok = m && (!at || add(c, m, at, head));
    if (ok && at && !dynamic)
        ok = (out || epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--at makes another network: -o says where to write it")) &&
             cli_model_save(c, m, out);
    if (ok && dynamic)
        ok = make_dynamic(c, m, &q.rule, out);
    ok = ok && (q.data.name ? report(c, m, &q) : print_places(c, m));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_exits = {
    .name = "exits",
    .json = true,
    .run = run,
    .summary = "classifiers within a network: adds them, tells where samples leave",
    .about = "With --at, exits are put into any network with one classifier; `espalier train --exits` trains them. "
             "With --data it tells how "
             "accurate each is, where samples leave and what that costs. --budget finds thresholds for a mean cost. "
             "--dynamic makes leaving "
             "real: layers behind an exit stand in an If, which `espalier compile` keeps.",
    .examples =
        "espalier exits resnet:depth=20,image=28,channels=1 --at 0.15,0.3,0.45,0.6,0.75,0.9 -o sdn.safetensors\n"
        "espalier train sdn.safetensors --exits sdn --data fashion-mnist -o trained.safetensors\n"
        "espalier exits trained.safetensors --data fashion-mnist --threshold 0.9\n"
        "espalier exits trained.safetensors --threshold 0.9 --dynamic -o early.safetensors",
};
