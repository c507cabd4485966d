/* Optimizers against scalar re-implementations in double, their fusion, groups, clipping, averages; schedules. */
#include "common/check.h"

#include <espalier/espalier.h>

enum { STEPS = 20, N = 6 };

/* The scalar oracle: one element, all in double. */
typedef struct scalar {
    double w, b, m, v, ema;
} scalar;

static void oracle_step(const epl_optimizer_opts *o, scalar *s, double g, int t, double rate, double decay)
{
    const double mu = o->momentum;
    const double d = o->kind == EPL_ADAMW ? g : g + decay * s->w;
    switch (o->kind) {
    case EPL_SGD:
        s->b = mu * s->b + d;
        s->w -= rate * (mu == 0 ? d : o->nesterov ? d + mu * s->b : s->b);
        break;
    case EPL_ADAM:
    case EPL_ADAMW:
        s->m = 0.9 * s->m + 0.1 * d;
        s->v = 0.999 * s->v + 0.001 * d * d;
        if (o->kind == EPL_ADAMW)
            s->w -= rate * decay * s->w;
        s->w -= rate * (s->m / (1 - pow(0.9, t))) / (sqrt(s->v / (1 - pow(0.999, t))) + 1e-8);
        break;
    case EPL_RMSPROP:
        s->v = 0.99 * s->v + 0.01 * d * d;
        s->b = mu * s->b + d / (sqrt(s->v) + 1e-8);
        s->w -= rate * s->b;
        break;
    case EPL_ADADELTA: {
        s->v = 0.9 * s->v + 0.1 * d * d;
        const double u = sqrt(s->m + 1e-6) / sqrt(s->v + 1e-6) * d;
        s->m = 0.9 * s->m + 0.1 * u * u;
        s->w -= rate * u;
        break;
    }
    default:
        s->v += d * d;
        s->w -= rate * d / (sqrt(s->v) + 1e-10);
    }
}

/* loss = sum of c_i (w_i - a_i)^2 / 2, so that the gradient is c (w - a); a comes in anew each step. */
static epl_model *quadratic(test *t, epl_context *ctx, epl_shape shape, epl_optimizer_opts o)
{
    epl_graph *g = epl_graph_new(ctx, "quadratic");
    epl_value *a = epl_input(g, "a", EPL_F32, shape, NULL), *rate = epl_input(g, "rate", EPL_F32, EPL_SCALAR, NULL);
    epl_value *w = epl_parameter(g, "w", EPL_F32, shape, EPL_INIT_NORMAL, 1);
    epl_value *loss = epl_affine(g, epl_reduce_sum(g, epl_square(g, epl_sub(g, w, a)), (epl_reduce_opts){ 0 }), 0.5, 0);
    epl_output(g, "loss", loss);
    CHECK_OK(t, ctx, epl_optimize(g, loss, rate, o));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 5));
    if (o.ema > 0)
        memcpy(epl_weights_find(m->weights, "ema.w")->data, epl_weights_find(m->weights, "w")->data, N * sizeof(float));
    return m;
}

static void follows_the_oracle(test *t, epl_optimizer_opts o, epl_shape shape)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = quadratic(t, ctx, shape, o);
    epl_program *p   = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    float  *w = epl_weights_find(m->weights, "w")->data, *a = epl_program_input_named(p, "a")->data;
    scalar  s[N];
    const double decay = shape.rank > 1 || o.decay_all ? o.decay : 0;
    for (int i = 0; i < N; i++)
        s[i] = (scalar){ .w = (double)w[i], .ema = (double)w[i] };
    for (int step = 1; step <= STEPS; step++) {
        const float rate = 0.05f / (float)step;
        for (int i = 0; i < N; i++)
            a[i] = epl_rng_normal(t->rng);
        epl_tensor_set(epl_program_input_named(p, "rate"), 0, (double)rate);
        double norm = 0, scale = 1;
        for (int i = 0; i < N; i++)
            norm += (s[i].w - (double)a[i]) * (s[i].w - (double)a[i]);
        if (o.clip_norm > 0)
            scale = fmin(1, o.clip_norm / (sqrt(norm) + 1e-6));
        CHECK_OK(t, ctx, epl_program_run(p));
        for (int i = 0; i < N; i++) {
            double grad = scale * (s[i].w - (double)a[i]);
            if (o.clip_value > 0)
                grad = fmax(-o.clip_value, fmin(o.clip_value, grad));
            oracle_step(&o, &s[i], grad, step, (double)rate, decay);
            const double keep = fmin(o.ema, (1.0 + step) / (10.0 + step));
            s[i].ema = keep * s[i].ema + (1 - keep) * s[i].w;
            CHECK_NEAR(t, w[i], s[i].w, .rtol = 1e-6, .atol = 2e-6);
            if (o.ema > 0)
                CHECK_NEAR(t, ((float *)epl_weights_find(m->weights, "ema.w")->data)[i], s[i].ema, .rtol = 1e-6, .atol = 2e-6);
        }
    }
    CHECK_INT(t, epl_tensor_get_i64(epl_weights_find(m->weights, "train.step"), 0), STEPS);
    epl_program_free(p);
    epl_model_free(m);
}

static const epl_optimizer_opts cases[] = {
    { .kind = EPL_SGD },
    { .kind = EPL_SGD, .decay = 0.1, .ema = 0.9 },
    { .kind = EPL_SGD, .momentum = 0.9, .decay = 0.01 },
    { .kind = EPL_SGD, .momentum = 0.9, .nesterov = true, .clip_norm = 1 },
    { .kind = EPL_ADAM },
    { .kind = EPL_ADAM, .decay = 0.1, .clip_value = 0.3 },
    { .kind = EPL_ADAMW, .decay = 0.1, .ema = 0.99, .clip_norm = 0.5 },
    { .kind = EPL_RMSPROP },
    { .kind = EPL_RMSPROP, .momentum = 0.5, .decay = 0.1 },
    { .kind = EPL_ADAGRAD, .decay = 0.1 },
    { .kind = EPL_ADADELTA, .decay = 0.1 },
};

PROPERTY(optimizers_follow_scalar_code, EPL_COUNT(cases))
{
    follows_the_oracle(t, cases[t->index], EPL_SHAPE(2, 3));
    follows_the_oracle(t, cases[t->index], EPL_SHAPE(6)); // no decay
}

/* Lamb and lars on a matrix, whose rules need norms. */
PROPERTY(layerwise_optimizers_follow_scalar_code, 2)
{
    epl_context *ctx = test_context(t);
    const epl_optimizer_opts o = t->index ? (epl_optimizer_opts){ .kind = EPL_LAMB, .decay = 0.05 }
                                          : (epl_optimizer_opts){ .kind = EPL_LARS, .momentum = 0.9, .decay = 0.05, .trust = 0.02 };
    epl_model   *model = quadratic(t, ctx, EPL_SHAPE(2, 3), o);
    epl_program *p = epl_program_new(model->graph, model->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    float  *w = epl_weights_find(model->weights, "w")->data, *a = epl_program_input_named(p, "a")->data;
    double x[N], m[N] = { 0 }, v[N] = { 0 }, u[N];
    for (int i = 0; i < N; i++)
        x[i] = (double)w[i];
    epl_tensor_set(epl_program_input_named(p, "rate"), 0, 0.1);
    for (int step = 1; step <= STEPS; step++) {
        double wn = 0, gn = 0, un = 0;
        for (int i = 0; i < N; i++) {
            a[i] = epl_rng_normal(t->rng);
            const double g = x[i] - (double)a[i];
            m[i] = t->index ? 0.9 * m[i] + 0.1 * g : m[i];
            v[i] = t->index ? 0.999 * v[i] + 0.001 * g * g : g;
            u[i] = m[i] / (1 - pow(0.9, step)) / (sqrt(v[i] / (1 - pow(0.999, step))) + 1e-6) + 0.05 * x[i];
            wn += x[i] * x[i], gn += g * g, un += u[i] * u[i];
        }
        CHECK_OK(t, ctx, epl_program_run(p));
        const double local = 0.1 * 0.02 * sqrt(wn) / (sqrt(gn) + 0.05 * sqrt(wn));
        for (int i = 0; i < N; i++) {
            if (!t->index)
                m[i] = 0.9 * m[i] + local * (v[i] + 0.05 * x[i]);
            x[i] -= t->index ? 0.1 * sqrt(wn) / sqrt(un) * u[i] : m[i];
            CHECK_NEAR(t, w[i], x[i], .rtol = 1e-6, .atol = 4e-6);
        }
    }
    epl_program_free(p);
    epl_model_free(model);
}

/* X := a X + (b A + c A A) X with A = X X^T, five times, as the method is usually written: x is [rows, columns]. */
static void orthogonalize(double *x, int rows, int columns)
{
    double norm = 0;
    for (int i = 0; i < N; i++)
        norm += x[i] * x[i];
    for (int i = 0; i < N; i++)
        x[i] /= sqrt(norm) + 1e-7;
    for (int step = 0; step < 5; step++) {
        double a[N][N] = { { 0 } }, b[N][N] = { { 0 } }, next[N];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < rows; j++)
                for (int k = 0; k < columns; k++)
                    a[i][j] += x[i * columns + k] * x[j * columns + k];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < rows; j++) {
                b[i][j] = -4.7750 * a[i][j];
                for (int k = 0; k < rows; k++)
                    b[i][j] += 2.0315 * a[i][k] * a[k][j];
            }
        for (int i = 0; i < rows; i++)
            for (int k = 0; k < columns; k++) {
                next[i * columns + k] = 3.4445 * x[i * columns + k];
                for (int j = 0; j < rows; j++)
                    next[i * columns + k] += b[i][j] * x[j * columns + k];
            }
        memcpy(x, next, sizeof next);
    }
}

/* Muon on a wide, a tall and a convolution's matrix; what has one axis goes with AdamW. */
PROPERTY(muon_goes_along_the_orthogonal_matrix, 3)
{
    epl_context *ctx = test_context(t);
    const epl_optimizer_opts o = { .kind = EPL_MUON, .momentum = 0.9, .decay = 0.05 };
    const epl_shape shapes[] = { EPL_SHAPE(2, 3), EPL_SHAPE(3, 2), EPL_SHAPE(1, 3, 2) };
    const int       columns = t->index ? 2 : 3, rows = N / columns;
    epl_model      *model = quadratic(t, ctx, shapes[t->index], o);
    epl_program    *p = epl_program_new(model->graph, model->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    float  *w = epl_weights_find(model->weights, "w")->data, *a = epl_program_input_named(p, "a")->data;
    double  x[N], m[N] = { 0 }, d[N];
    for (int i = 0; i < N; i++)
        x[i] = (double)w[i];
    epl_tensor_set(epl_program_input_named(p, "rate"), 0, 0.1);
    for (int step = 1; step <= STEPS; step++) {
        for (int i = 0; i < N; i++) {
            a[i] = epl_rng_normal(t->rng);
            const double g = x[i] - (double)a[i];
            m[i] = 0.9 * m[i] + g;
            d[i] = g + 0.9 * m[i];
        }
        CHECK_OK(t, ctx, epl_program_run(p));
        orthogonalize(d, rows, columns);
        for (int i = 0; i < N; i++) {
            x[i] = x[i] * (1 - 0.1 * 0.05) - 0.1 * 0.2 * sqrt(3) * d[i];
            CHECK_NEAR(t, w[i], x[i], .rtol = 1e-4, .atol = 1e-4);
            x[i] = (double)w[i]; // small singular values magnify rounding: each step is checked by itself
        }
    }
    epl_program_free(p);
    epl_model_free(model);
}

/* A convolution's update is one kernel that reads the gradient and writes everything in place: no step of the program has the
 * parameter's shape but the gradient and the chain. */
PROPERTY(an_update_is_one_chain, EPL_COUNT(cases))
{
    epl_context *ctx = test_context(t);
    epl_optimizer_opts o = cases[t->index];
    o.ema = 0.99;
    epl_graph *g = epl_graph_new(ctx, "conv");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4, 8, 8, 8), NULL), *rate = epl_input(g, "rate", EPL_F32, EPL_SCALAR, NULL);
    epl_value *y = epl_conv(g, x, (epl_conv_opts){ .out = 24, .kernel = 3, .no_bias = true });
    epl_value *loss = epl_reduce_mean(g, epl_square(g, y), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_optimize(g, loss, rate, o));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    char *steps = epl_program_print(p), *rest = NULL;
    int   chains = 0, copies = 0;
    CHECK_OK(t, ctx, steps != NULL);
    for (char *line = strtok_r(steps, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        chains += strstr(line, " chain ") && strstr(line, "[3, 3, 8, 24]");
        copies += strstr(line, " copy ") != NULL;
    }
    CHECK_INT(t, chains, 1);
    CHECK_INT(t, copies, 0);
    epl_release(ctx, steps);
    epl_program_free(p);
    epl_model_free(m);
}

TEST(groups_scale_decay_and_freeze)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "three");
    epl_value   *rate = epl_input(g, "rate", EPL_F32, EPL_SCALAR, NULL), *w[4], *loss = NULL;
    const char  *names[] = { "slow", "frozen", "plain", "own" };
    for (int i = 0; i < 4; i++) {
        w[i] = epl_parameter(g, names[i], EPL_F32, EPL_SHAPE(2, 2), EPL_INIT_ONES, 0);
        epl_value *sum = epl_reduce_sum(g, w[i], (epl_reduce_opts){ 0 });
        loss = loss ? epl_add(g, loss, sum) : sum;
    }
    const epl_parameter_group groups[] = { { .pattern = "slow", .rate_scale = 0.5, .decay = -1 }, { .pattern = "fro*", .freeze = true },
                                          { .pattern = "own", .rate = 0.25, .rate_scale = 7 } };
    CHECK_OK(t, ctx, epl_optimize(g, loss, rate, (epl_optimizer_opts){ .decay = 0.1, .groups = groups, .n_groups = 3 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    epl_tensor_set(epl_program_input(p, 0), 0, 0.1);
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "slow"), 0), 1 - 0.05, .rtol = 1e-6);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "frozen"), 0), 1, .rtol = 0);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "plain"), 0), 1 - 0.1 * 1.1, .rtol = 1e-6);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "own"), 0), 1 - 0.25 * 1.1, .rtol = 1e-6); // whatever the given rate is
    epl_program_free(p);
    epl_model_free(m);
}

/* ---- schedules ---- */

static const struct {
    const char *words;
    double      length, at[4], factor[4];
} schedules[] = {
    { "constant", 10, { 0, 3, 9, 10 }, { 1, 1, 1, 1 } },
    { "step:every=2,gamma=0.5", 10, { 0, 1.9, 2, 6.5 }, { 1, 1, 0.5, 0.125 } },
    { "multi-step:at=3+6", 10, { 0, 2.9, 3, 7 }, { 1, 1, 0.1, 0.01 } },
    { "cosine", 10, { 0, 5, 10, 2.5 }, { 1, 0.5, 0, 0.8535533905932737 } },
    { "cosine:final=0.1,warmup=2,warmup_from=0.5", 10, { 0, 1, 2, 6 }, { 0.5, 0.75, 1, 0.55 } },
    { "linear:final=0.2", 10, { 0, 5, 10, 7.5 }, { 1, 0.6, 0.2, 0.4 } },
    { "polynomial", 10, { 0, 5, 9, 10 }, { 1, 0.25, 0.01, 0 } },
    { "exponential:gamma=0.5", 10, { 0, 1, 2, 3 }, { 1, 0.5, 0.25, 0.125 } },
    { "one-cycle", 10, { 0, 3, 10, 1.5 }, { 0.04, 1, 4e-6, 0.52 } },
};

PROPERTY(schedules_have_golden_values, EPL_COUNT(schedules))
{
    epl_context      *ctx = test_context(t);
    epl_schedule_opts s;
    CHECK_OK(t, ctx, epl_schedule_parse(ctx, schedules[t->index].words, &s));
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(t, epl_schedule_factor(&s, schedules[t->index].at[i], schedules[t->index].length), schedules[t->index].factor[i],
                   .rtol = 1e-12, .atol = 1e-15);
}

TEST(words_are_understood_or_explained)
{
    epl_context       *ctx = test_context(t);
    epl_schedule_opts  s;
    epl_optimizer_opts o;
    CHECK_FAILS(t, ctx, epl_schedule_parse(ctx, "cosin", &s), EPL_ERR_ARGUMENT, "did you mean 'cosine'");
    CHECK_FAILS(t, ctx, epl_schedule_parse(ctx, "cosine:power=3", &s), EPL_ERR_ARGUMENT, "no option 'power'");
    CHECK_FAILS(t, ctx, epl_schedule_parse(ctx, "multi-step:at=3+2", &s), EPL_ERR_ARGUMENT, "rising");
    CHECK_OK(t, ctx, epl_optimizer_parse(ctx, "sgd:rate=0.2,momentum=0.9,nesterov=1,decay=5e-4,clip_norm=2,ema=0.999", &o));
    CHECK(t, o.kind == EPL_SGD && o.rate == 0.2 && o.momentum == 0.9 && o.nesterov && o.decay == 5e-4 &&
                 o.clip_norm == 2 && o.ema == 0.999);
    CHECK_OK(t, ctx, epl_optimizer_parse(ctx, "adamw:0.01", &o));
    CHECK(t, o.kind == EPL_ADAMW && o.rate == 0.01 && o.beta1 == 0);
    CHECK_FAILS(t, ctx, epl_optimizer_parse(ctx, "addam", &o), EPL_ERR_ARGUMENT, "did you mean 'adam'");
    CHECK_FAILS(t, ctx, epl_optimizer_parse(ctx, "adam:momentum=1", &o), EPL_ERR_ARGUMENT, "no option 'momentum'");
    CHECK_FAILS(t, ctx, epl_optimizer_parse(ctx, "sgd:momentum=2", &o), EPL_ERR_ARGUMENT, "momentum");
}
