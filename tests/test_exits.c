/* Early exits: published counts, where they are put, their training, budgets, and networks that really leave early. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "graph/op.h"

/* ---- published networks ---- */

static double macs_below(const epl_graph *g, const char *scopes)
{
    double sum = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        if (epl_glob(scopes, n->scope))
            sum += epl_node_cost(n).macs;
    return sum;
}

static int64_t parameters_below(const epl_graph *g, const char *names)
{
    int64_t sum = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        if (strcmp(epl_node_op_name(n), "Parameter") == 0 && epl_glob(names, epl_value_name(epl_node_output(n, 0))))
            sum += epl_shape_count(epl_shape_of(epl_node_output(n, 0)));
    return sum;
}

TEST(sdn_vgg16_has_the_published_parts)
{
    static const int64_t exits[] = { 10251, 20491, 40971, 40971, 81931, 20490 };
    static const double  percent[] = { 12.6, 30.6, 48.7, 60.7, 78.8, 90.8 };
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "sdn-vgg16");
    double       macs[7], heads = 0;
    CHECK_OK(t, ctx, g);
    CHECK_INT(t, epl_graph_n_parameters(g), 15468683);
    CHECK_INT(t, epl_n_exits(g), 7);
    CHECK_OK(t, ctx, epl_exit_macs(g, macs));
    CHECK_NEAR(t, macs[6], 313940992, .atol = 0);
    double total = macs[6];
    for (int i = 0; i < 6; i++) {
        char names[32];
        snprintf(names, sizeof names, "exit%d.*", i + 1);
        CHECK_INT(t, parameters_below(g, names), exits[i]);
        total -= macs_below(g, names);
    }
    for (int i = 0; i < 6; i++) {
        char names[32];
        snprintf(names, sizeof names, "exit%d.*", i + 1);
        heads += macs_below(g, names);
        CHECK_NEAR(t, 100 * (macs[i] - heads) / total, percent[i], .atol = 0.1);
    }
    epl_graph_free(g);
}

/* Cost up to an exit as its authors count it: all that its block computes, needed yet or not. */
TEST(msdnet_has_the_published_counts)
{
    static const struct {
        const char *network;
        int64_t     parameters;
        int         n;
        double      macs[7], slack;
    } cases[] = {
        { "msdnet", 2986690, 0, { 0 }, 0 },
        { "msdnet:classes=100", 3067960, 7, { 14967296, 25259008, 36780544, 45972480, 56933888, 66529280, 75487744 }, 0 },
        { "msdnet:blocks=5,base=1,step=1,steps=lin_grow", 2020874, 0, { 0 }, 0 },
        { "msdnet:blocks=5,base=4,step=4,scales=4,width=32,growth=16,stem=imagenet,image=224,classes=1000", 23958440, 5,
          { 337.2e6, 681.7e6, 1003.7e6, 1249.6e6, 1355.6e6 }, 0.1e6 },
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = epl_zoo_build(ctx, cases[i].network);
        CHECK_OK(t, ctx, g);
        CHECK_INT(t, epl_graph_n_parameters(g), cases[i].parameters);
        char scopes[256] = "stem.*";
        for (int b = 0; b < cases[i].n; b++) {
            const size_t at = strlen(scopes);
            snprintf(scopes + at, sizeof scopes - at, b + 1 < cases[i].n ? ",block%d.*,exit%d.*" : ",block%d.*,head.*", b + 1, b + 1);
            CHECK_NEAR(t, macs_below(g, scopes), cases[i].macs[b], .atol = cases[i].slack);
        }
        epl_graph_free(g);
    }
}

/* ---- exits for any network ---- */

static epl_model *new_model(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 5));
    return m;
}

TEST(shares_find_the_layers_of_the_paper)
{
    static const double shares[] = { 0.15, 0.3, 0.45, 0.6, 0.75, 0.9 };
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, "vgg:depth=16,norm=1,hidden=512,image=32,classes=10");
    epl_graph   *paper = epl_zoo_build(ctx, "sdn-vgg16");
    double       a[7], b[7];
    CHECK_OK(t, ctx, epl_exits_add(m, (epl_exits_opts){ .n = 6, .shares = shares }) && epl_model_init(m, 6) && paper);
    CHECK_OK(t, ctx, epl_exit_macs(m->graph, a) && epl_exit_macs(paper, b));
    for (int i = 0; i < 7; i++)
        CHECK_NEAR(t, a[i], b[i], .atol = 0);
    epl_graph_free(paper);
    epl_model_free(m);
}

TEST(every_small_network_of_the_zoo_takes_exits)
{
    static const double shares[] = { 0.3, 0.7 };
    epl_context *ctx = test_context(t);
    int          taken = 0;
    for (int i = 0; i < epl_zoo_count(); i++) {
        epl_graph *g = epl_zoo_build_small(ctx, i);
        CHECK_OK(t, ctx, g);
        epl_model *m = epl_model_new_take(g);
        CHECK_OK(t, ctx, m);
        if (epl_exits_add(m, (epl_exits_opts){ .n = 2, .shares = shares })) {
            double macs[3];
            CHECK_OK(t, ctx, epl_exit_macs(m->graph, macs));
            CHECK(t, macs[0] < macs[1] && macs[1] < macs[2]);
            taken++;
        } else // several inputs, exits of its own, or no two places between layers
            CHECK_INT(t, epl_error_code(ctx), EPL_ERR_ARGUMENT);
        epl_error_clear(ctx);
        epl_model_free(m);
    }
    CHECK(t, taken * 2 > epl_zoo_count());
}

TEST(impossible_exits_are_refused)
{
    epl_context *ctx = test_context(t);
    static const double falling[] = { 0.5, 0.4 }, close[] = { 0.5, 0.5000001 }, beyond[] = { 1.5 };
    static const char *const nowhere[] = { "stage9" }, *const here[] = { "stage1.unit1", "stage1" };
    static const struct {
        epl_exits_opts o;
        const char    *words;
    } cases[] = {
        { { .n = 2, .shares = falling }, "share 2 is 0.4" }, { { .n = 1, .shares = beyond }, "share 1 is 1.5" },
        { { .n = 2, .shares = close }, "would both stand behind" }, { { .n = 1, .names = nowhere }, "no scope 'stage9'" },
        { { .n = 2, .names = here }, "would both stand behind" }, { { .n = 0, .names = here }, "0 places" }, { { .n = 1 }, "by neither" },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_model *m = new_model(t, ctx, "resnet:depth=8,width=4,image=8");
        CHECK_FAILS(t, ctx, epl_exits_add(m, cases[i].o), EPL_ERR_ARGUMENT, cases[i].words);
        epl_model_free(m);
    }
    epl_graph *g = epl_graph_new(ctx, "weights"); // a place that no input reaches
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4), "N,");
    epl_scope_push(g, "made");
    epl_value *w = epl_square(g, epl_parameter(g, "w", EPL_F32, EPL_SHAPE(4, 2), EPL_INIT_NORMAL, 1));
    epl_scope_pop(g);
    epl_output(g, "logits", epl_multiply_rows(g, x, w, NULL, false));
    epl_model *m = epl_model_new_take(g);
    static const char *const made[] = { "made" };
    CHECK_FAILS(t, ctx, epl_exits_add(m, (epl_exits_opts){ .n = 1, .names = made }), EPL_ERR_ARGUMENT, "does not depend on the input");
    epl_model_free(m);
}

/* ---- training ---- */

TEST(tau_rises_to_its_weight)
{
    CHECK_NEAR(t, epl_exit_tau(0.9, 1, 100), 0.019, .rtol = 1e-12);
    for (int i = 1; i <= 6; i++)
        CHECK_NEAR(t, epl_exit_tau(0.15 * i, 100, 100), 0.15 * i, .rtol = 1e-12);
}

static epl_dataset *blobs(test *t, epl_context *ctx)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(96, 8, 8, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(96));
    CHECK_OK(t, ctx, x && y);
    for (int i = 0; i < 96; i++) {
        epl_tensor_set_i64(y, i, i % 3);
        for (int k = 0; k < 64; k++)
            epl_tensor_set(x, i * 64 + k, 0.3 * epl_rng_uniform(t->rng) + 0.6 * (k / 8 % 3 == i % 3));
    }
    return epl_dataset_from_tensors_take(ctx, "stripes", x, y);
}

static epl_model *small_sdn(test *t, epl_context *ctx)
{
    static const double shares[] = { 0.3, 0.7 };
    epl_model *m = new_model(t, ctx, "resnet:depth=8,width=4,image=8,classes=3,channels=1");
    CHECK_OK(t, ctx, epl_exits_add(m, (epl_exits_opts){ .n = 2, .shares = shares }) && epl_model_init(m, 7));
    return m;
}

static void train(test *t, epl_model *m, epl_dataset *d, epl_exits_objective objective, int epochs)
{
    static const epl_parameter_group only[] = EPL_EXITS_ONLY_GROUPS;
    epl_train_hook hook = epl_exits_hook(m, (epl_exits_train_opts){ .objective = objective, .epochs = epochs });
    CHECK_OK(t, m->ctx, hook.user);
    epl_trainer_opts o = { .epochs = epochs, .batch = 16, .hooks = &hook, .n_hooks = 1, .optimizer = { .kind = EPL_ADAM, .rate = 0.01 } };
    if (objective == EPL_EXITS_ONLY) {
        o.optimizer.groups   = only;
        o.optimizer.n_groups = 2;
    }
    epl_trainer *tr = epl_trainer_new(m, d, NULL, o);
    CHECK_OK(t, m->ctx, tr && epl_trainer_run(tr));
    epl_trainer_free(tr);
    epl_release(m->ctx, hook.user);
}

TEST(exits_alone_leave_the_network_as_it_is)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_sdn(t, ctx), *before = epl_model_copy(m);
    epl_dataset *d = blobs(t, ctx);
    CHECK_OK(t, ctx, before && d);
    train(t, m, d, EPL_EXITS_ONLY, 2);
    CHECK_INT(t, epl_weights_count(m->weights), epl_weights_count(before->weights));
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char *name = epl_weights_name(m->weights, i);
        const bool  same = epl_tensor_equal(epl_weights_at(m->weights, i), epl_weights_find(before->weights, name));
        if (epl_glob("exit?.linear.*", name) ? same : !same && !epl_glob("exit?.mix", name))
            FAIL(t, "%s %s", name, same ? "did not learn" : "changed");
    }
    epl_dataset_free(d);
    epl_model_free(before);
    epl_model_free(m);
}

TEST(all_classifiers_learn)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_sdn(t, ctx);
    epl_dataset *d = blobs(t, ctx);
    epl_tensor  *y = NULL;
    epl_exit_report r;
    train(t, m, d, EPL_EXITS_SDN, 6);
    epl_tensor *z = epl_exit_answers(m, d, (epl_exit_opts){ 0 }, &y);
    CHECK_OK(t, ctx, z && epl_exit_report_of(m->graph, z, y, (epl_exit_rule){ .threshold = 0.8 }, &r));
    for (int i = 0; i < 3; i++)
        CHECK(t, r.exit_accuracy[i] > 0.7);
    epl_exit_report_release(&r);

    // budgets: met as closely as shares of 96 samples allow, and refused below the first exit
    double macs[3], thresholds[2];
    CHECK_OK(t, ctx, epl_exit_macs(m->graph, macs));
    for (int i = 1; i < 4; i++) {
        const double budget = macs[0] + (macs[2] - macs[0]) * i / 4;
        CHECK_OK(t, ctx, epl_exit_budget(m->graph, z, budget, thresholds));
        CHECK_OK(t, ctx, epl_exit_report_of(m->graph, z, y, (epl_exit_rule){ .thresholds = thresholds, .last = true }, &r));
        CHECK(t, r.mean_macs <= budget && r.mean_macs > budget - 0.2 * (macs[2] - macs[0]));
        epl_exit_report_release(&r);
    }
    CHECK_FAILS(t, ctx, epl_exit_budget(m->graph, z, macs[0] / 2, thresholds), EPL_ERR_LIMIT, "takes at least");
    epl_tensor_free(z);
    epl_tensor_free(y);
    epl_dataset_free(d);
    epl_model_free(m);
}

/* ---- leaving for real ---- */

static const double apart[] = { 0.45, 0.38 };
static const epl_exit_rule rules[] = {
    { .threshold = 0 }, { .threshold = 2 }, { .threshold = 2, .last = true }, { .threshold = 0.42 }, { .thresholds = apart, .last = true },
    { .threshold = 0.36, .patience = 2 }, { .measure = EPL_EXIT_ENTROPY, .threshold = 1.06 },
};

PROPERTY(dynamic_networks_say_what_the_rule_says, EPL_COUNT(rules))
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_sdn(t, ctx), *one = epl_exits_dynamic(m, rules[t->index]);
    CHECK_OK(t, ctx, one && epl_model_check(one));
    enum { N = 20 };
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(N, 8, 8, 1));
    epl_tensor_fill_normal(x, t->rng, 0, 2);
    epl_tensor *z = epl_exit_logits(m, x, (epl_exit_opts){ 0 });
    int         taken[N];
    int64_t     named[N];
    CHECK_OK(t, ctx, z);
    epl_exit_decide(z, rules[t->index], taken, named, NULL);
    epl_program *p = epl_program_new(one->graph, one->weights, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, ctx, p);
    for (int i = 0; i < N; i++) {
        memcpy(epl_program_input(p, 0)->data, (const float *)x->data + i * 64, 64 * sizeof(float));
        CHECK_OK(t, ctx, epl_program_run(p));
        CHECK_INT(t, epl_tensor_get_i64(epl_program_output_named(p, "exit"), 0), taken[i]);
        CHECK_CLOSE_F32(t, epl_program_output_named(p, "logits")->data, (const float *)z->data + (taken[i] * N + i) * 3,
                        3, .rtol = 1e-4, .atol = 1e-5);
    }
    epl_program_free(p);
    epl_tensor_free(x);
    epl_tensor_free(z);
    epl_model_free(one);
    epl_model_free(m);
}

/* It takes one sample at a time: evaluation does so by itself, training says so. */
TEST(dynamic_networks_are_evaluated_one_by_one)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_sdn(t, ctx), *one = epl_exits_dynamic(m, (epl_exit_rule){ .threshold = 0.42 });
    epl_tensor  *labels = NULL;
    epl_dataset *d = blobs(t, ctx);
    epl_evaluation  e;
    epl_exit_report r;
    CHECK_OK(t, ctx, one && d && epl_evaluate(one, d, (epl_evaluate_opts){ 0 }, &e));
    epl_tensor *z = epl_exit_answers(m, d, (epl_exit_opts){ 0 }, &labels);
    CHECK_OK(t, ctx, z && epl_exit_report_of(m->graph, z, labels, (epl_exit_rule){ .threshold = 0.42 }, &r));
    CHECK_NEAR(t, e.metrics.accuracy, r.accuracy, .atol = 1e-12);
    epl_evaluation_release(ctx, &e);
    CHECK_FAILS(t, ctx, epl_evaluate(one, d, (epl_evaluate_opts){ .batch = 16 }, &e), EPL_ERR_SHAPE,
                "made for 1 sample at a time and cannot take 16");
    epl_exit_report_release(&r);
    epl_tensor_free(z);
    epl_tensor_free(labels);
    epl_dataset_free(d);
    epl_model_free(one);
    epl_model_free(m);
}

/* Weights that are not numbers behind the first exit: whatever touched them would show. */
TEST(layers_behind_an_exit_do_not_run)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_sdn(t, ctx);
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (epl_glob("stage3.*,head.*,exit2.*", epl_weights_name(m->weights, i)))
            epl_tensor_set(epl_weights_at(m->weights, i), 0, NAN);
    epl_model   *one = epl_exits_dynamic(m, (epl_exit_rule){ .threshold = 0 });
    epl_program *p = one ? epl_program_new(one->graph, one->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p));
    for (int k = 0; k < 3; k++)
        CHECK(t, isfinite(epl_tensor_get(epl_program_output(p, 0), k)));
    epl_program_free(p);
    epl_model_free(one);
    epl_model_free(m);
}
