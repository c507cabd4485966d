/* Dynamic sparse training: what goes, what comes back, that nothing else changes, and that a run goes on where it was cut. */
#include "common/check.h"
#include "common/cut_run.h"

#include <espalier/espalier.h>

#include "compress/compress.h"

static const char net[] = "cnn:image=8,stages=2,depth=1,width=8,classes=3";
static const char *const methods[] = { "set", "rigl", "snfs" };

static epl_model *network(test *t, epl_context *ctx)
{
    epl_graph *g = epl_zoo_build(ctx, net);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    return m;
}

static epl_dataset *pictures(test *t, epl_context *ctx, int64_t n)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(n, 8, 8, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n));
    epl_rng r = epl_rng_at(5, 1);
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = (int64_t)epl_rng_below(&r, 3);
        epl_tensor_set_i64(y, i, c);
        for (int64_t k = 0; k < 64; k++)
            epl_tensor_set(x, i * 64 + k, (double)epl_rng_normal(&r) + (k % 3 == c));
    }
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "pictures", x, y);
    CHECK_OK(t, ctx, d != NULL);
    return d;
}

TEST(fractions_follow_their_schedules)
{
    epl_regrow_opts o = { .every = 10, .end_step = 100 };
    CHECK_NEAR(t, epl_regrow_fraction(&o, 0, 1000), 0, 0);
    CHECK_NEAR(t, epl_regrow_fraction(&o, 15, 1000), 0, 0);
    CHECK_NEAR(t, epl_regrow_fraction(&o, 50, 1000), 0.15, .atol = 1e-12);
    CHECK_NEAR(t, epl_regrow_fraction(&o, 100, 1000), 0, 0);
    o.schedule = "constant";
    CHECK_NEAR(t, epl_regrow_fraction(&o, 90, 1000), 0.3, 0);
    o.schedule = "exp";
    CHECK_NEAR(t, epl_regrow_fraction(&o, 50, 1000), 0.03, .atol = 1e-12);
    o = (epl_regrow_opts){ .fraction = 0.5, .schedule = "constant" };
    CHECK_NEAR(t, epl_regrow_fraction(&o, 700, 1000), 0.5, 0); // every 100, until 750
    CHECK_NEAR(t, epl_regrow_fraction(&o, 800, 1000), 0, 0);
}

/* ---- one update seen from both sides ---- */

typedef struct witness {
    test           *t;
    epl_regrow_opts o;
    const char     *method;
    epl_weights    *before; /* masks and weights ahead of the hook */
    int64_t         changes;
} witness;

static bool remember(void *user, epl_trainer *tr, int64_t step)
{
    witness   *w = user;
    epl_model *m = epl_trainer_model(tr);
    (void)step;
    epl_weights_free(w->before);
    w->before = epl_weights_copy(m->ctx, m->weights);
    return w->before != NULL;
}

/* What one layer went through: k of the smallest are gone, k others - none of those that stayed - are there, with zeros. */
static void look_at(witness *w, epl_trainer *tr, const char *name, double fraction)
{
    test             *t = w->t;
    const epl_model  *m = epl_trainer_model(tr);
    char              slot[256];
    const epl_tensor *old = epl_mask_of(w->before, name), *new = epl_mask_of(m->weights, name);
    const epl_tensor *was = epl_weights_find(w->before, name), *is = epl_weights_find(m->weights, name);
    snprintf(slot, sizeof slot, "train.momentum.%s", name);
    const epl_tensor *momentum = epl_weights_find(m->weights, slot);
    snprintf(slot, sizeof slot, strcmp(w->method, "snfs") ? "gradient.%s" : "regrow.momentum.%s", name);
    const epl_tensor *by = strcmp(w->method, "snfs") ? epl_program_output_named(epl_trainer_program(tr), slot)
                                                     : epl_weights_find(m->weights, slot);
    int64_t active = 0, now = 0, gone = 0;
    double  largest_out = 0, least_in = INFINITY, most_left = 0, least_grown = INFINITY;
    for (int64_t i = 0; i < epl_tensor_count(old); i++) {
        const bool a = epl_tensor_get(old, i) != 0, b = epl_tensor_get(new, i) != 0;
        // a place that changed its mask began anew, and so did one that went and came back: it is 0 where it was not
        const bool anew = (a != b) || (a && epl_tensor_get(is, i) != epl_tensor_get(was, i));
        const double size = fabs(epl_tensor_get(was, i)), score = by ? fabs(epl_tensor_get(by, i)) : 0;
        active += a, now += b, gone += a && anew;
        CHECK(t, !anew || epl_tensor_get(is, i) == 0);
        CHECK(t, !anew || epl_tensor_get(momentum, i) == 0);
        largest_out = a && anew ? fmax(largest_out, size) : largest_out;
        least_in    = a && !anew ? fmin(least_in, size) : least_in;
        least_grown = b && anew ? fmin(least_grown, score) : least_grown;
        most_left   = !b ? fmax(most_left, score) : most_left;
    }
    const int64_t k = (int64_t)floor(fraction * (double)active);
    CHECK_INT(t, now, active);
    CHECK_INT(t, gone, active < epl_tensor_count(old) ? k : 0);
    CHECK(t, largest_out <= least_in);
    CHECK(t, !by || k == 0 || least_grown >= most_left);
    w->changes += gone;
}

static bool look(void *user, epl_trainer *tr, int64_t step)
{
    witness     *w = user;
    epl_model   *m = epl_trainer_model(tr);
    const double fraction = epl_regrow_fraction(&w->o, step, epl_trainer_total_updates(tr));
    epl_layers   l;
    CHECK_OK(w->t, m->ctx, epl_weight_layers_find(m->graph, &l));
    for (int i = 0; i < l.n; i++)
        look_at(w, tr, l.items[i].name, fraction);
    epl_weight_layers_release(&l);
    return true;
}

PROPERTY(what_is_small_goes_and_as_many_come_back, 3)
{
    epl_context    *ctx = test_context(t);
    epl_model      *m = network(t, ctx);
    epl_dataset    *d = pictures(t, ctx, 80);
    const char     *method = methods[t->index];
    epl_regrow_opts      o = { .prune = { .sparsity = 0.7, .criterion = "random", .distribution = "erk", .seed = 4 },
                               .method = method,
                               .every = 4 };
    witness         w = { .t = t, .o = o, .method = method };
    const epl_train_hook hooks[] = { { .after_step = remember, .user = &w }, epl_regrow_hook(m, o), { .after_step = look, .user = &w } };
    CHECK_OK(t, ctx, hooks[1].user != NULL);
    epl_trainer *tr = epl_trainer_new(m, d, NULL, (epl_trainer_opts){
        .epochs = 5, .batch = 8, .seed = 3, .hooks = hooks, .n_hooks = 3,
        .optimizer = { .kind = EPL_SGD, .momentum = 0.9, .decay = 0.01, .rate = 0.05 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    epl_trainer_free(tr);
    const epl_regrow_result r = epl_regrow_result_of(&hooks[1]);
    CHECK_INT(t, r.updates, 9); // 4, 8, ... 36 of 50, below 37.5
    CHECK_INT(t, r.moved, w.changes);
    CHECK(t, r.moved > 0 && r.itop > r.density && r.itop <= 1 && r.overlap > 0 && r.overlap < 1);
    CHECK(t, !epl_weights_find(m->weights, "regrow.itop")); // the trainer takes its states with it
    epl_release(ctx, hooks[1].user);
    epl_weights_free(w.before);
    epl_dataset_free(d);
    epl_model_free(m);
}

/* ---- resuming ---- */

static epl_model *run(test *t, epl_context *ctx, const char *method, const char *folder, int64_t stop, epl_regrow_result *result)
{
    epl_model   *m = network(t, ctx);
    epl_dataset *d = pictures(t, ctx, 60);
    const epl_train_hook hook =
        epl_regrow_hook(m, (epl_regrow_opts){ .prune = { .sparsity = 0.8 }, .method = method, .every = 3, .grow_std = 0.01 });
    CHECK_OK(t, ctx, hook.user != NULL);
    test_train_until(t, m, d, (epl_trainer_opts){ .epochs = 3, .batch = 6, .seed = 9, .hooks = &hook, .n_hooks = 1, .checkpoint = folder,
                                                  .optimizer = { .kind = EPL_ADAMW, .decay = 0.01, .ema = 0.9 } }, stop);
    *result = epl_regrow_result_of(&hook);
    epl_release(ctx, hook.user);
    epl_dataset_free(d);
    return m;
}

PROPERTY(a_run_that_was_cut_goes_on_with_the_same_bits, 3)
{
    epl_context      *ctx = test_context(t);
    epl_regrow_result r[3];
    char folder[64];
    snprintf(folder, sizeof folder, "regrow%d", t->index);
    epl_model *whole = run(t, ctx, methods[t->index], NULL, INT64_MAX, &r[0]);
    epl_model_free(run(t, ctx, methods[t->index], test_temp(t, folder), 14, &r[1]));
    epl_model *resumed = run(t, ctx, methods[t->index], test_temp(t, folder), INT64_MAX, &r[2]);
    test_same_weights(t, whole, resumed);
    CHECK(t, r[0].itop == r[2].itop && r[0].overlap == r[2].overlap && r[0].itop > 0.2);
    epl_model_free(whole);
    epl_model_free(resumed);
}

/* ---- the gradient that a hook may ask for ---- */

static bool ask(void *user, epl_train_step *s)
{
    (void)user;
    return epl_train_step_gradient(s, "x", s->x);
}

TEST(hooks_can_have_the_gradient_of_any_value)
{
    epl_context   *ctx = test_context(t);
    epl_model     *m = network(t, ctx);
    epl_train_hook hook = { .build = ask };
    epl_graph     *g = epl_train_graph(m, m->weights, (epl_step_opts){ .batch = 2, .hooks = &hook, .n_hooks = 1 }, 1, NULL);
    CHECK_OK(t, ctx, g != NULL);
    epl_program *p = epl_program_new(g, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    epl_tensor_set(epl_program_input_named(p, "weights"), 0, 1); // the second sample has no weight
    CHECK_OK(t, ctx, epl_program_run(p));
    const epl_tensor *dx = epl_program_output_named(p, "gradient.x");
    CHECK(t, dx != NULL);
    CHECK_INT(t, epl_tensor_count(dx), 128);
    double size = 0;
    for (int64_t i = 0; i < 128; i++)
        size += fabs(epl_tensor_get(dx, i));
    CHECK(t, size > 0);
    epl_program_free(p);
    epl_graph_free(g);
    epl_model_free(m);
}

TEST(mistakes_are_named)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx);
    CHECK_FAILS(t, ctx, epl_regrow_hook(m, (epl_regrow_opts){ .method = "ringl" }).user != NULL, EPL_ERR_ARGUMENT, "did you mean 'rigl'");
    CHECK_FAILS(t, ctx, epl_regrow_hook(m, (epl_regrow_opts){ .schedule = "cos" }).user != NULL, EPL_ERR_ARGUMENT, "schedule");
    CHECK_FAILS(t, ctx, epl_regrow_hook(m, (epl_regrow_opts){ 0 }).user != NULL, EPL_ERR_ARGUMENT, "nothing can come back");
    CHECK_FAILS(t, ctx, epl_regrow_hook(m, (epl_regrow_opts){ .prune = { .n = 2, .m = 4 } }).user != NULL, EPL_ERR_ARGUMENT, "no n of m");
    CHECK_FAILS(t, ctx, epl_regrow_hook(m, (epl_regrow_opts){ .fraction = 1.5 }).user != NULL, EPL_ERR_ARGUMENT, "dropping 1.5");
    epl_model_free(m);
}
