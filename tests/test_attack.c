/* Attacks: bounds, identities and known answers; early exits: where samples leave; errors. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "analysis/attack.h"

enum { SIDE = 6, CLASSES = 4, N = 24 };

/* Two classifiers over an image: exit 1 reads it as it is, the final one through a convolution with normalisation. */
static epl_model *two_exits(test *t, epl_context *ctx, bool deep)
{
    epl_graph *g = epl_graph_new(ctx, "toy");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, SIDE, SIDE, 1), "N,,,");
    epl_value *h = deep ? epl_conv_unit(g, x, (epl_conv_unit_opts){ .conv = { .out = 8 } }) : x;
    epl_output(g, "logits", epl_linear(g, epl_flatten(g, h, 1), (epl_linear_opts){ .name = "final", .out = CLASSES }));
    epl_output(g, "exit1", epl_linear(g, epl_flatten(g, x, 1), (epl_linear_opts){ .name = "one", .out = CLASSES }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

static epl_tensor *images(test *t, epl_context *ctx)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(N, SIDE, SIDE, 1));
    CHECK_OK(t, ctx, x);
    epl_tensor_fill_uniform(x, t->rng, 0, 1);
    return x;
}

static epl_tensor *random_labels(test *t, epl_context *ctx)
{
    epl_tensor *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(N));
    CHECK_OK(t, ctx, y);
    for (int i = 0; i < N; i++)
        epl_tensor_set_i64(y, i, (int64_t)epl_rng_below(t->rng, CLASSES));
    return y;
}

static double largest_change(const epl_tensor *a, const epl_tensor *b)
{
    epl_difference d = { 0 };
    epl_tensor_compare(a, b, &d);
    return d.max_abs;
}

/* The sum over samples and classifiers of the cross-entropy. */
static double loss_of(test *t, const epl_model *m, const epl_tensor *x, const epl_tensor *y)
{
    epl_tensor *z = epl_exit_logits(m, x, (epl_exit_opts){ 0 });
    CHECK_OK(t, m->ctx, z);
    double loss = 0;
    for (int64_t r = 0; r < 2 * N; r++) {
        const float *row = (const float *)z->data + r * CLASSES;
        double       sum = 0;
        for (int k = 0; k < CLASSES; k++)
            sum += exp((double)row[k]);
        loss += log(sum) - row[epl_tensor_get_i64(y, r % N)];
    }
    epl_tensor_free(z);
    return loss;
}

TEST(fgsm_is_one_step_of_pgd_within_the_bounds)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = two_exits(t, ctx, true);
    epl_tensor  *x = images(t, ctx), *y = random_labels(t, ctx);
    for (int loss = 0; loss < 3; loss++) {
        const epl_attack_opts o = {
            .kind = EPL_ATTACK_FGSM, .loss = (epl_attack_loss)loss, .eps = 0.07, .rule.threshold = 0.4, .run.batch = 7
        };
        epl_attack_opts one = o, many = o, none = o;
        one.kind = many.kind = EPL_ATTACK_PGD;
        one.steps = 1;
        one.step_size = one.eps;
        many.random_start = true;
        many.seed = (uint64_t)loss + 1;
        none.eps = 0;
        epl_tensor *a = epl_attack_images(m, x, y, o, NULL), *b = epl_attack_images(m, x, y, one, NULL);
        epl_tensor *c = epl_attack_images(m, x, y, many, NULL), *d = epl_attack_images(m, x, y, none, NULL);
        CHECK_OK(t, ctx, a && b && c && d);
        CHECK(t, epl_tensor_equal(a, b));
        CHECK(t, epl_tensor_equal(d, x));
        CHECK(t, largest_change(a, x) <= 0.07 + 1e-6 && largest_change(a, x) > 0.069 && largest_change(c, x) <= 0.07 + 1e-6);
        for (int64_t i = 0; i < epl_tensor_count(c); i++)
            CHECK(t, epl_tensor_get(c, i) >= 0 && epl_tensor_get(c, i) <= 1);
        CHECK(t, loss_of(t, m, c, y) > loss_of(t, m, x, y));
        epl_tensor_free(a);
        epl_tensor_free(b);
        epl_tensor_free(c);
        epl_tensor_free(d);
    }
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* The gradient's sign of a linear model with two classes is the same everywhere; with more, the loss is convex: no
 * step makes it less. */
TEST(the_loss_of_a_linear_model_never_falls)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = two_exits(t, ctx, false);
    epl_tensor  *x = images(t, ctx), *y = random_labels(t, ctx);
    double       before = loss_of(t, m, x, y);
    for (int steps = 1; steps <= 6; steps++) {
        epl_tensor *a = epl_attack_images(m, x, y,
                                          (epl_attack_opts){
                                              .kind = EPL_ATTACK_PGD, .eps = 0.1, .steps = steps, .step_size = 0.02 },
                                          NULL);
        CHECK_OK(t, ctx, a);
        const double now = loss_of(t, m, a, y);
        CHECK(t, now >= before - 1e-6);
        before = now;
        epl_tensor_free(a);
    }
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* A network that says it needs normalised images is attacked as one that normalises by itself: with weights / 0.25,
 * shifted biases. */
TEST(the_normalisation_belongs_to_the_network)
{
    epl_context *ctx = test_context(t);
    epl_model   *plain = two_exits(t, ctx, false), *normal = two_exits(t, ctx, false);
    epl_tensor  *x = images(t, ctx), *y = random_labels(t, ctx);
    CHECK_OK(t, ctx, epl_weights_set_metadata(normal->weights, "espalier.augment", "normalise:0.5:0.25"));
    const char *names[] = { "final", "one" };
    for (int i = 0; i < 2; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s.weight", names[i]);
        epl_tensor *w = epl_weights_find(plain->weights, text);
        snprintf(text, sizeof text, "%s.bias", names[i]);
        epl_tensor *b = epl_weights_find(plain->weights, text);
        for (int64_t k = 0; k < epl_tensor_count(w); k++) {
            epl_tensor_set(w, k, epl_tensor_get(w, k) * 4);
            epl_tensor_set(b, k % CLASSES, epl_tensor_get(b, k % CLASSES) - 0.5 * epl_tensor_get(w, k));
        }
    }
    epl_tensor *a = epl_exit_logits(plain, x, (epl_exit_opts){ 0 }), *b = epl_exit_logits(normal, x, (epl_exit_opts){ 0 });
    CHECK_OK(t, ctx, a && b);
    CHECK_CLOSE(t, a, b, .rtol = 1e-4, .atol = 1e-4);
    const epl_attack_opts o = { .kind = EPL_ATTACK_PGD, .eps = 0.05, .steps = 5 };
    epl_tensor *p = epl_attack_images(plain, x, y, o, NULL), *q = epl_attack_images(normal, x, y, o, NULL);
    CHECK_OK(t, ctx, p && q);
    CHECK_CLOSE(t, p, q, .atol = 1e-6);
    CHECK_FAILS(t, ctx, epl_attack_images(normal, x, y, (epl_attack_opts){ .run.augment = "normalise:0.5:0.25,resize:8" }, NULL),
                EPL_ERR_UNSUPPORTED, "has to come last");
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_tensor_free(p);
    epl_tensor_free(q);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(plain);
    epl_model_free(normal);
}

/* ---- the attack on early exits ---- */

/* J of linear classifiers, in double, at `w`. */
TEST(the_early_objective_has_the_right_gradient)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "early");
    epl_value   *w = epl_input(g, "w", EPL_F64, EPL_SHAPE(2, 5), NULL), *clean = epl_input(g, "clean", EPL_F64, EPL_SHAPE(2, 5), NULL);
    epl_value   *y = epl_input(g, "y", EPL_I64, EPL_SHAPE(2), NULL), *exits[2], *dw;
    epl_value   *x = epl_affine(g, epl_tanh(g, w), 0.5, 0.5);
    for (int i = 0; i < 2; i++)
        exits[i] = epl_multiply_rows(g, x, epl_input(g, i ? "b" : "a", EPL_F64, EPL_SHAPE(5, 3), NULL), NULL, false);
    epl_value *j = epl_reduce_sum(g, epl_early_objective(g, 2, exits, y, x, clean, 50, 0.1), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, j, 1, &w, &dw) && epl_output(g, "j", j) && epl_output(g, "dw", dw) && epl_graph_finish(g));
    epl_weights *none = epl_weights_new(ctx);
    epl_program *p = epl_program_new(g, none, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    for (int i = 0; i < epl_program_n_inputs(p); i++)
        if (epl_program_input(p, i)->dtype == EPL_F64)
            epl_tensor_fill_normal(epl_program_input(p, i), t->rng, 0, 1);
    epl_tensor_set_i64(epl_program_input_named(p, "y"), 1, 2);
    CHECK_OK(t, ctx, epl_program_run(p));
    epl_tensor *analytic = epl_tensor_copy(ctx, epl_program_output(p, 1)), *at = epl_program_input_named(p, "w");
    for (int i = 0; i < 10; i++) {
        const double before = epl_tensor_get(at, i), h = 1e-5;
        double       value[2];
        for (int s = 0; s < 2; s++) {
            epl_tensor_set(at, i, before + (s ? h : -h));
            CHECK_OK(t, ctx, epl_program_run(p));
            value[s] = epl_tensor_get(epl_program_output(p, 0), 0);
        }
        epl_tensor_set(at, i, before);
        CHECK_NEAR(t, (value[1] - value[0]) / (2 * h), epl_tensor_get(analytic, i), .rtol = 1e-4, .atol = 1e-6);
    }
    epl_tensor_free(analytic);
    epl_program_free(p);
    epl_weights_free(none);
    epl_graph_free(g);
}

TEST(early_attacks_fool_exits_alone)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = two_exits(t, ctx, true);
    for (int noise = 0; noise < 2; noise++) {
        epl_attack_result r;
        epl_dataset *d = epl_dataset_from_tensors_take(ctx, "noise", images(t, ctx), random_labels(t, ctx));
        const epl_attack_opts o = { .kind = EPL_ATTACK_EARLY,
                                    .random_start = noise,
                                    .steps = 300,
                                    .least = 100,
                                    .step_size = 0.03,
                                    .run.batch = 10 };
        CHECK_OK(t, ctx, d && epl_attack(m, d, o, &r));
        int64_t count = 0;
        for (int i = 0; i < N; i++) {
            const float *one = (const float *)r.attacked_logits->data + i * CLASSES, *last = one + N * CLASSES,
                        *clean = (const float *)r.logits->data + (N + i) * CLASSES;
            int a = 0, b = 0, c = 0;
            for (int k = 1; k < CLASSES; k++) {
                a = one[k] > one[a] ? k : a;
                b = last[k] > last[b] ? k : b;
                c = clean[k] > clean[c] ? k : c;
            }
            CHECK_INT(t, r.fooled[i], a != c && b == c);
            count += r.fooled[i];
        }
        CHECK_NEAR(t, r.success, (double)count / N, .atol = 1e-12);
        CHECK(t, r.success > 0.7 && r.wrong_exit >= r.success && r.backward >= 100 && r.backward <= 300);
        for (int64_t i = 0; i < epl_tensor_count(r.adversarial); i++)
            CHECK(t, epl_tensor_get(r.adversarial, i) >= 0 && epl_tensor_get(r.adversarial, i) <= 1);
        epl_attack_result_release(&r);
        epl_dataset_free(d);
    }
    epl_model_free(m);
}

/* ---- where samples leave ---- */

/* Two samples, three classifiers, two classes. Confidences: sample 0: .88 .98 .73; sample 1: .73 .62 .5 (the first of equals). */
static epl_tensor *known_logits(epl_context *ctx)
{
    static const float z[] = { 2, 0, 1, 0, /**/ 0, 4, 0.5f, 0, /**/ 0, 1, 0, 0 };
    epl_tensor *t = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, 2, 2));
    if (t)
        memcpy(t->data, z, sizeof z);
    return t;
}

TEST(samples_leave_where_the_rule_says)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *z = known_logits(ctx);
    CHECK_OK(t, ctx, z);
    static const double apart[] = { 0.99, 0.6 };
    static const struct {
        epl_exit_rule rule;
        int           taken[2];
        int64_t       class[2];
        int           computed[2];
    } cases[] = {
        { { .threshold = 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
        { { .threshold = 1.1 }, { 1, 0 }, { 1, 0 }, { 2, 2 } }, /* the surest of all speaks; all were computed */
        { { .threshold = 1.1, .last = true }, { 2, 2 }, { 1, 0 }, { 2, 2 } },
        { { .threshold = 0.8 }, { 0, 0 }, { 0, 0 }, { 0, 2 } },
        { { .threshold = 0.8, .last = true }, { 0, 2 }, { 0, 0 }, { 0, 2 } },
        { { .thresholds = apart, .last = true }, { 1, 1 }, { 1, 0 }, { 1, 1 } },
        { { .threshold = 0, .patience = 2, .last = true }, { 2, 1 }, { 1, 0 }, { 2, 1 } },
        { { .measure = EPL_EXIT_ENTROPY, .threshold = 0.4, .last = true }, { 0, 2 }, { 0, 0 }, { 0, 2 } },
        { { .measure = EPL_EXIT_ENTROPY, .threshold = -1, .last = true }, { 2, 2 }, { 1, 0 }, { 2, 2 } },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        int     taken[2], computed[2];
        int64_t class[2];
        epl_exit_decide(z, cases[i].rule, taken, class, computed);
        for (int k = 0; k < 2; k++)
            if (taken[k] != cases[i].taken[k] || class[k] != cases[i].class[k] || computed[k] != cases[i].computed[k])
                FAIL(t, "case %d, sample %d: classifier %d says %d, %d was the last computed", (int)i, k, taken[k],
                     (int)class[k], computed[k]);
    }
    epl_tensor_free(z);
}

TEST(reports_count_exits_and_their_cost)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = two_exits(t, ctx, true);
    double       macs[2];
    CHECK_INT(t, epl_n_exits(m->graph), 2);
    CHECK(t, epl_exit_at(m->graph, 0) == epl_graph_output_at(m->graph, 1) && epl_exit_at(m->graph, 1) == epl_graph_output_at(m->graph, 0));
    CHECK_OK(t, ctx, epl_exit_macs(m->graph, macs));
    CHECK_NEAR(t, macs[0], SIDE * SIDE * CLASSES, .atol = 0);
    CHECK_NEAR(t, macs[1], epl_graph_cost(m->graph).macs, .atol = 0);
    epl_tensor *x = images(t, ctx), *y = random_labels(t, ctx), *z = epl_exit_logits(m, x, (epl_exit_opts){ .batch = 5 });
    epl_exit_report first, never, unsure;
    CHECK_OK(t, ctx, z && epl_exit_report_of(m->graph, z, y, (epl_exit_rule){ .threshold = 0 }, &first) &&
                     epl_exit_report_of(m->graph, z, y, (epl_exit_rule){ .threshold = 2, .last = true }, &never) &&
                     epl_exit_report_of(m->graph, z, y, (epl_exit_rule){ .threshold = 2 }, &unsure));
    CHECK_NEAR(t, unsure.mean_macs, macs[1], .rtol = 1e-12); // whoever speaks: nobody was sure before the end
    CHECK_NEAR(t, unsure.leave[1], 1, .atol = 1e-12);
    CHECK(t, unsure.speaks[0] > 0 && unsure.mean_exit < 1);
    CHECK_NEAR(t, first.mean_macs, macs[0], .rtol = 1e-12);
    CHECK_NEAR(t, first.accuracy, first.exit_accuracy[0], .atol = 1e-12);
    CHECK_NEAR(t, first.leave[0], 1, .atol = 1e-12);
    CHECK_NEAR(t, never.mean_exit, 1, .atol = 1e-12);
    CHECK_NEAR(t, never.accuracy, never.exit_accuracy[1], .atol = 1e-12);
    epl_exit_report_release(&first);
    epl_exit_report_release(&unsure);
    epl_exit_report_release(&never);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_tensor_free(z);
    epl_model_free(m);
}

/* ---- errors ---- */

TEST(impossible_attacks_are_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = two_exits(t, ctx, false);
    epl_tensor  *x = images(t, ctx), *y = random_labels(t, ctx);
    CHECK_FAILS(t, ctx, epl_attack_images(m, x, y, (epl_attack_opts){ .eps = -0.1 }, NULL), EPL_ERR_ARGUMENT, "eps -0.1");
    epl_tensor_set(x, 3, 1.5);
    CHECK_FAILS(t, ctx, epl_attack_images(m, x, y, (epl_attack_opts){ .eps = 0.1 }, NULL), EPL_ERR_ARGUMENT, "element 3 is 1.5");
    epl_tensor_set(x, 3, 0.5);
    CHECK_FAILS(t, ctx, epl_attack_images(m, y, y, (epl_attack_opts){ .eps = 0.1 }, NULL), EPL_ERR_SHAPE, "the images are [24]");
    epl_attack_kind kind;
    CHECK_FAILS(t, ctx, epl_attack_kind_from_name(ctx, "cw", &kind), EPL_ERR_ARGUMENT, "no attack is named 'cw'");
    epl_model_free(m);

    epl_graph *g  = epl_graph_new(ctx, "rounded"); // as integer arithmetic does
    epl_value *in = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, SIDE, SIDE, 1), "N,,,");
    epl_value *q  = epl_affine(g, epl_round(g, epl_affine(g, epl_flatten(g, in, 1), 127, 0)), 1.0 / 127, 0);
    epl_output(g, "logits", epl_linear(g, q, (epl_linear_opts){ .out = CLASSES }));
    m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    CHECK_FAILS(t, ctx, epl_attack_images(m, x, y, (epl_attack_opts){ .eps = 0.1 }, NULL), EPL_ERR_UNSUPPORTED,
                "no gradient reaches the images");
    CHECK_FAILS(t, ctx, epl_attack_images(m, x, y, (epl_attack_opts){ .kind = EPL_ATTACK_EARLY }, NULL), EPL_ERR_ARGUMENT, "no early exit");
    epl_model_free(m);
    epl_tensor_free(x);
    epl_tensor_free(y);
}
