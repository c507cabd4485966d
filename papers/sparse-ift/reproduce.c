/* sparse-ift: layers that are larger and sparse at the cost of the dense ones. Does more to choose the weights from
 * help, and does it matter that the choice may change? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: the published network's counts, the cases that change nothing ---- */

/* ResNet-18 for small images: 3x3 stem without a pool. */
static epl_graph *resnet18(paper_run *r, int classes)
{
    epl_graph *g = epl_graph_new(paper_context(r), "resnet18");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 32, 32, 3), "N,,,");
    x = epl_stem(g, x, (epl_stem_opts){ .out = 64 });
    for (int s = 0; s < 4; s++)
        for (int u = 0; u < 2; u++) {
            epl_scope_push(g, "stage%d.unit%d", s + 1, u + 1);
            x = epl_residual_unit(g, x, (epl_residual_unit_opts){ .out = 64 << s, .stride = s > 0 && u == 0 ? 2 : 1 });
            epl_scope_pop(g);
        }
    epl_output(g, "logits", epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "head", .out = classes }));
    return epl_graph_finish(g) ? g : NULL;
}

static epl_ift_result account(paper_run *r, const char *member, double sparsity, bool match)
{
    epl_ift_result result = { 0 };
    epl_graph     *g = resnet18(r, 100);
    if (g && !epl_ift_account(g, (epl_ift_opts){ .member = member, .sparsity = sparsity, .match = match }, &result))
        result = (epl_ift_result){ 0 };
    epl_graph_free(g);
    return result;
}

static void check_counts(paper_run *r)
{
    static const struct {
        const char *member;
        double      sparsity;
        int64_t     params; /* 0: not published */
        double      macs, sparse;
    } rows[] = {
        { "wide", 0.5, 22152430, 1097421120, 549990720 }, { "wide", 0.75, 44755172, 2218233856, 557289472 },
        { "wide", 0.9, 111347550, 5521141568, 557286003 }, { "parallel", 0.5, 0, 0, 552323072 }, { "parallel", 0.75, 0, 0, 550750208 },
        { "parallel", 0.9, 0, 0, 549806490 }, { "factorized", 0.5, 0, 0, 553822208 }, { "factorized", 0.75, 0, 0, 551303168 },
        { "factorized", 0.9, 0, 0, 550261965 }, { "doped", 0.5, 0, 0, 549287936 }, { "doped", 0.75, 0, 0, 549177344 },
        { "doped", 0.9, 0, 0, 546489549 },
    };
    static const double matched[] = { 0.49500, 0.75082, 0.90033 };
    for (size_t i = 0; i < EPL_COUNT(rows) && paper_ok(r); i++) {
        const epl_ift_result a = account(r, rows[i].member, rows[i].sparsity, false);
        const char *name = paper_textf(r, "%s %g", rows[i].member, rows[i].sparsity);
        if (i == 0) {
            paper_check_near(r, "parameters of the dense network", (double)a.params_before, 11220132, 0);
            paper_check_near(r, "multiply-adds of the dense network", a.macs_before, 555468800, 0);
        }
        if (rows[i].params) {
            paper_check_near(r, paper_textf(r, "%s: parameters", name), (double)a.params_after, (double)rows[i].params, 0);
            paper_check_near(r, paper_textf(r, "%s: multiply-adds of all weights", name), a.macs_after, rows[i].macs, 0);
            paper_check_near(r, paper_textf(r, "%s: sparsity that matches", name), account(r, "wide", rows[i].sparsity, true).sparsity,
                             matched[i], 6e-6);
        }
        paper_check_near(r, paper_textf(r, "%s: multiply-adds without zeros", name), a.macs_nonzero, rows[i].sparse, 1);
        const double choice = (double)a.choice_before / (strcmp(rows[i].member, "doped") == 0 ? 1 : 1 - rows[i].sparsity);
        paper_check_near(r, paper_textf(r, "%s: weights to choose from, relative", name), (double)a.choice_after / choice, 1, 0.02);
    }
}

static void check_identities(paper_run *r)
{
    static const char *const members[] = { "wide", "parallel", "doped" };
    for (int i = 0; i < 3 && paper_ok(r); i++) {
        epl_model *m = paper_model(r, "resnet:depth=8,width=8,image=16", 3), *same = paper_model(r, "resnet:depth=8,width=8,image=16", 3);
        if (m && same && epl_ift(m, (epl_ift_opts){ .member = members[i], .sparsity = 0 }, NULL)) {
            epl_tensor *x = paper_draw(r, EPL_SHAPE(1, 16, 16, 3), 1, 1);
            paper_check(r, paper_textf(r, "%s without sparsity: difference of outputs", members[i]),
                        paper_relative_difference(r, m, same, x), PAPER_AT_MOST, 1e-6);
            epl_tensor_free(x);
        }
    }
    epl_model *m = paper_model(r, "resnet:depth=8,width=8,image=16", 3);
    if (!m)
        return;
    paper_check_refused(r, "a sparsity of 1", epl_ift(m, (epl_ift_opts){ .sparsity = 1 }, NULL), "below 1");
    paper_check_refused(r, "a target out of reach",
                        epl_ift(m, (epl_ift_opts){ .sparsity = 0.5, .match = true, .macs = 1 }, NULL), "between");
}

static void quick(paper_run *r)
{
    check_counts(r);
    check_identities(r);
}

/* ---- full ---- */

enum { DENSE, WIDE_50, WIDE_75, STATIC_50, STATIC_75, PARALLEL_75, N_VARIANTS };

typedef struct setting {
    const char    *member;
    double         sparsity;
    bool           moving; /* RigL; else the masks rest */
    epl_train_hook hook;
    epl_ift_result account;
} setting;

static bool begin(paper_run *r, paper_training *t)
{
    setting *s = t->user;
    if (!s->member)
        return paper_ok(r);
    if (!epl_ift(t->model, (epl_ift_opts){ .member = s->member, .sparsity = s->sparsity, .match = true, .seed = t->seed }, &s->account))
        return false;
    if (!s->moving)
        return true;
    s->hook = epl_regrow_hook(t->model, (epl_regrow_opts){ .prune = { .skip = "first,last", .seed = t->seed },
                                                           .method = "rigl",
                                                           .every = 20 });
    t->recipe.hooks   = &s->hook;
    t->recipe.n_hooks = 1;
    return s->hook.user != NULL;
}

static bool end(paper_run *r, paper_training *t)
{
    setting *s = t->user;
    const char *name = t->variant->name;
    if (s->moving && s->hook.user) {
        const epl_regrow_result moved = epl_regrow_result_of(&s->hook);
        paper_add(paper_series_named(r, "weights ever active", name, "%"), 100 * moved.itop);
        paper_add(paper_series_named(r, "first masks that are left", name, "%"), 100 * moved.overlap);
        epl_release(paper_context(r), s->hook.user);
        s->hook.user = NULL;
    }
    if (t->seed == 0 && s->member) {
        paper_add(paper_series_named(r, "multiply-adds without zeros", name, ""), s->account.macs_nonzero);
        paper_add(paper_series_named(r, "multiply-adds executed", name, ""), s->account.macs_after);
        paper_add(paper_series_named(r, "elements of activations", name, ""), (double)s->account.activations_after);
    }
    return paper_ok(r);
}

static void plot(paper_run *r, const paper_series *const *accuracy)
{
    const double x[] = { 0, 0.5, 0.75 };
    const double moving[] = { paper_mean(accuracy[DENSE]), paper_mean(accuracy[WIDE_50]), paper_mean(accuracy[WIDE_75]) };
    const double still[]  = { paper_mean(accuracy[DENSE]), paper_mean(accuracy[STATIC_50]), paper_mean(accuracy[STATIC_75]) };
    epl_plot    *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "sparsity at equal multiply-adds",
                                                                     .y_label = "test accuracy [%]" });
    epl_plot_line(p, "RigL", x, moving, 3, (epl_line_opts){ 0 });
    epl_plot_line(p, "static masks", x, still, 3, (epl_line_opts){ 0 });
    paper_plot_take(r, "sparsity", "Test accuracy of the widened network against its sparsity, at equal multiply-adds.", p);
}

static void full(paper_run *r)
{
    static setting settings[N_VARIANTS];
    const setting  fresh[N_VARIANTS] = {
         [WIDE_50] = { .member = "wide", .sparsity = 0.5, .moving = true },
         [WIDE_75] = { .member = "wide", .sparsity = 0.75, .moving = true },
         [STATIC_50] = { .member = "wide", .sparsity = 0.5 },
         [STATIC_75] = { .member = "wide", .sparsity = 0.75 },
         [PARALLEL_75] = { .member = "parallel", .sparsity = 0.75, .moving = true },
    };
    static const char *const names[] = { "dense", "wide 0.5, RigL", "wide 0.75, RigL", "wide 0.5, static", "wide 0.75, static",
                                         "parallel 0.75, RigL" };
    paper_variant       v[N_VARIANTS];
    const paper_series *accuracy[N_VARIANTS];
    memcpy(settings, fresh, sizeof settings);
    for (int i = 0; i < N_VARIANTS; i++)
        v[i] = (paper_variant){ .name = names[i], .model = "resnet:depth=8,width=8,image=14,channels=1", .begin = begin, .end = end,
                                .user = &settings[i] };
    paper_train(r, v, N_VARIANTS, (paper_recipe){ .samples = 10000, .test = 10000, .epochs = 6, .batch = 128, .augment = "resize:14",
                                                  .optimizer = "sgd:rate=0.1,momentum=0.9,nesterov=1,decay=5e-4" }, accuracy);
    if (!paper_ok(r))
        return;
    const int    best = paper_mean(accuracy[WIDE_50]) > paper_mean(accuracy[WIDE_75]) ? WIDE_50 : WIDE_75;
    const double rest = paper_mean(accuracy[best == WIDE_50 ? STATIC_50 : STATIC_75]), n = paper_n_seeds(r);
    const double error = sqrt((pow(paper_std(accuracy[best]), 2) + pow(paper_std(accuracy[DENSE]), 2)) / n);
    paper_check(r, paper_textf(r, "%s - dense, points, above the standard error of the difference", names[best]),
                paper_mean(accuracy[best]) - paper_mean(accuracy[DENSE]), PAPER_ABOVE, error);
    paper_check(r, "RigL - static masks, points", paper_mean(accuracy[best]) - rest, PAPER_AT_LEAST, -0.1);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_VARIANTS);
    plot(r, accuracy);
    paper_remark(r, "Equal multiply-adds are those of a run that skips zeros. Training computes the masked products "
                    "dense: the executed ones are in "
                    "the table, and RigL's dense gradients cost nothing beyond them here; with kernels that skip "
                    "zeros, a step in twenty would "
                    "take about (2 f + F) / 3 f longer, F being the unmasked network's forward pass.");
}

const paper paper_sparse_ift = {
    .slug = "sparse-ift",
    .title = "Sparse Iso-FLOP Transformations for Maximizing Training Efficiency",
    .source = "Thangarasa, Saxena, Gupta, Lie 2023, arXiv:2303.11525",
    .kind = "transform, training",
    .claim = "larger sparse layers at the multiply-adds of the dense ones make a better network, most of all where the "
             "masks may move",
    .criterion = "mean accuracy on Fashion-MNIST at 14x14 of the widened network with RigL at the better of two "
                 "sparsities exceeds that of the "
                 "dense network by more than the standard error of the difference, and is at most 0.1 points below "
                 "that with static masks",
    .quick = quick,
    .full = full,
};
