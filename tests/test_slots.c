/* 8-bit codes in blocks, and optimizers that keep their slots in them. The error tables of the method are in
 * papers/8bit-optimizers. */
#include "common/check.h"

#include <espalier/espalier.h>

/* ---- maps ---- */

TEST(maps_hold_the_published_values)
{
    static const double middle[] = { -2.125e-5, -7.75e-6, -3.25e-6, -5.5e-7, 0, 5.5e-7, 3.25e-6, 7.75e-6, 2.125e-5 };
    static const double least[] = { 0, 3.25e-7, 7.75e-7, 2.125e-6, 4.375e-6, 6.625e-6 };
    float  s[256], u[256];
    double sum[2] = { 0 };
    int    per_decade[2][7] = { { 0 } };
    epl_code_map_fill(EPL_CODE_DYNAMIC, s);
    epl_code_map_fill(EPL_CODE_DYNAMIC_UNSIGNED, u);
    for (int i = 0; i < 256; i++) {
        sum[0] += (double)s[i], sum[1] += (double)u[i];
        CHECK(t, i == 0 || (s[i - 1] < s[i] && u[i - 1] < u[i]));
        for (int d = 0; d < 7; d++) {
            per_decade[0][d] += (double)s[i] < pow(10, -d) && (double)s[i] >= pow(10, -d - 1);
            per_decade[1][d] += (double)u[i] < pow(10, -d) && (double)u[i] >= pow(10, -d - 1);
        }
    }
    CHECK_NEAR(t, s[0], -0.99296875, .rtol = 1e-7);
    CHECK_NEAR(t, s[254], 0.99296875, .rtol = 1e-7);
    CHECK_NEAR(t, s[251], 0.9507813, .rtol = 1e-6);
    CHECK_NEAR(t, u[254], 0.9964844, .rtol = 1e-6);
    for (int i = 0; i < 9; i++)
        CHECK_NEAR(t, s[123 + i], middle[i], .rtol = 1e-6);
    for (int i = 0; i < 6; i++)
        CHECK_NEAR(t, u[i], least[i], .rtol = 1e-6);
    for (int d = 0; d < 7; d++) {
        CHECK_INT(t, per_decade[0][d], 64 >> d);
        CHECK_INT(t, per_decade[1][d], 128 >> d);
    }
    CHECK_NEAR(t, sum[0], 1, .rtol = 1e-6);
    CHECK_NEAR(t, sum[1], 75.1052631, .rtol = 1e-7);
}

/* ---- coding ---- */

typedef struct coder { /* x -> codes, maxima -> y, on the fast kernels */
    epl_model   *m;
    epl_program *p;
} coder;

static coder coder_of(test *t, epl_context *ctx, int64_t n, epl_code_map map, epl_blockwise_opts o)
{
    coder      c = { 0 };
    epl_graph *g = epl_graph_new(ctx, "code");
    epl_value *maxima, *values = epl_code_values(g, map);
    epl_value *codes = epl_quantize_blockwise(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(n), NULL), values, o, &maxima);
    epl_output(g, "codes", codes);
    epl_output(g, "maxima", maxima);
    epl_output(g, "y", epl_dequantize_blockwise(g, codes, maxima, values, o.block));
    c.m = epl_model_new_take(g);
    c.p = c.m ? epl_program_new(c.m->graph, c.m->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, c.p != NULL);
    return c;
}

static float *run_coder(test *t, epl_context *ctx, coder *c)
{
    CHECK_OK(t, ctx, epl_program_run(c->p));
    return epl_program_output_named(c->p, "y")->data;
}

static void coder_release(coder *c)
{
    epl_program_free(c->p);
    epl_model_free(c->m);
}

static int nearest(const float *map, float y)
{
    int best = 0;
    for (int k = 1; k < 256; k++)
        if (fabs((double)map[k] - (double)y) < fabs((double)map[best] - (double)y))
            best = k;
    return best;
}

/* Around every midpoint, where a wrong rounding anywhere would show. */
PROPERTY(codes_are_the_nearest_and_ties_go_down, 4)
{
    enum { EACH = 9, COUNT = 255 * EACH + 1 };
    epl_context *ctx = test_context(t);
    float map[256];
    epl_code_map_fill((epl_code_map)t->index, map);
    coder  c = coder_of(t, ctx, COUNT, (epl_code_map)t->index, (epl_blockwise_opts){ 0 });
    float *x = epl_program_input(c.p, 0)->data;
    for (int k = 0; k < 255; k++) {
        float at = (float)(((double)map[k] + (double)map[k + 1]) / 2);
        for (int i = 0; i < EACH / 2; i++)
            at = nextafterf(at, -2);
        for (int i = 0; i < EACH; i++, at = nextafterf(at, 2))
            x[k * EACH + i] = fmaxf(-1, fminf(1, at));
    }
    x[COUNT - 1] = 1; // the maximum, so that quotients are the numbers themselves
    run_coder(t, ctx, &c);
    const uint8_t *codes = epl_program_output_named(c.p, "codes")->data;
    for (int i = 0; i < COUNT; i++)
        if (codes[i] != nearest(map, x[i]))
            FAIL(t, "map %d: %.9g has the code %d, nearest is %d", t->index, (double)x[i], codes[i], nearest(map, x[i]));
    coder_release(&c);
}

TEST(values_of_the_map_come_back)
{
    epl_context *ctx = test_context(t);
    float map[256];
    coder c = coder_of(t, ctx, 300, EPL_CODE_DYNAMIC, (epl_blockwise_opts){ .block = 64 });
    epl_code_map_fill(EPL_CODE_DYNAMIC, map);
    float *x = epl_program_input(c.p, 0)->data, first[300];
    for (int i = 0; i < 300; i++) // each block ends with its maximum
        x[i] = 3.7f * (i % 64 == 63 || i == 299 ? 1 : map[i % 255]);
    CHECK_CLOSE_F32(t, run_coder(t, ctx, &c), x, 300, .rtol = 0);
    for (int i = 0; i < 300; i++)
        x[i] = i == 70 ? -9 : epl_rng_normal(t->rng);
    memcpy(first, run_coder(t, ctx, &c), sizeof first);
    CHECK_NEAR(t, first[70], -9 * 0.99296875, .rtol = 1e-6); // an extreme that is negative has no code of its own
    x[10] = 7; // coding twice changes nothing in a block whose maximum is positive
    memcpy(first, run_coder(t, ctx, &c), sizeof first);
    memcpy(x, first, sizeof first);
    CHECK_CLOSE_F32(t, run_coder(t, ctx, &c), first, 64, .rtol = 0);
    coder_release(&c);
}

PROPERTY(signs_are_kept_and_zeros_stay, 2)
{
    epl_context *ctx = test_context(t);
    coder  c = coder_of(t, ctx, 5000, t->index ? EPL_CODE_DYNAMIC_UNSIGNED : EPL_CODE_DYNAMIC,
                        (epl_blockwise_opts){ .block = 2048, .keep_nonzero = true });
    float *x = epl_program_input(c.p, 0)->data;
    for (int i = 0; i < 5000; i++) {
        const float size = powf(10, -9 * epl_rng_uniform(t->rng));
        x[i] = i < 2048 ? size * (t->index || i % 2 ? 1 : -1) : i < 4096 ? 0 : i % 3 ? 0 : size;
    }
    x[4097] = NAN, x[4098] = -INFINITY;
    const float *y = run_coder(t, ctx, &c), *maxima = epl_program_output_named(c.p, "maxima")->data;
    CHECK(t, maxima[1] == 0 && maxima[2] <= 1);
    for (int i = 0; i < 5000; i++)
        if (i == 4097 || i == 4098 ? y[i] != 0 : (x[i] > 0) != (y[i] > 0) || (x[i] < 0) != (y[i] < 0))
            FAIL(t, "element %d: %.9g became %.9g", i, (double)x[i], (double)y[i]);
    coder_release(&c);
}

TEST(chance_rounds_to_the_mean)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "draw");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(20000), NULL), *map = epl_code_values(g, EPL_CODE_DYNAMIC), *maxima;
    epl_value   *codes = epl_quantize_blockwise(g, x, map, (epl_blockwise_opts){ .draws = epl_random_uniform(g, epl_rng_key(g), 0, 1,
                                                (epl_random_opts){ .like = x }) }, &maxima);
    epl_output(g, "y", epl_dequantize_blockwise(g, codes, maxima, map, 0));
    epl_model   *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    float *in = epl_program_input(p, 0)->data;
    for (int i = 0; i < 20000; i++)
        in[i] = i ? 0.303f : 1;
    CHECK_OK(t, ctx, epl_program_run(p));
    const float *y = epl_program_output(p, 0)->data;
    double sum = 0;
    for (int i = 1; i < 20000; i++)
        sum += (double)y[i];
    CHECK_NEAR(t, sum / 19999, 0.303, .rtol = 1e-3); // its neighbours are 0.0141 apart
    epl_program_free(p);
    epl_model_free(m);
}

/* ---- optimizers ---- */

enum { ROWS = 96, COLUMNS = 100, N = ROWS * COLUMNS }; /* five blocks of 2048, the last one short */

static const char *const optimizers[] = { "sgd:momentum=0.9,decay=0.01",
                                          "sgd:momentum=0.9,nesterov=1",
                                          "adam:decay=0.01",
                                          "adamw:decay=0.1",
                                          "rmsprop",
                                          "rmsprop:momentum=0.5",
                                          "adagrad",
                                          "adadelta",
                                          "lars:momentum=0.9",
                                          "lamb:decay=0.01",
                                          "lamb:most=1",
                                          "lars:momentum=0.9,most=0.02",
                                          "lion:decay=0.1",
                                          "muon",
                                          "adam:clip_percentile=50",
                                          "adamw:decay=0.1,skip_zeros=1",
                                          "adam:skip_nonfinite=1" };

/* The gradient of w is the input "g". */
static epl_model *step_model(test *t, epl_context *ctx, const char *words, const char *slots, epl_shape shape)
{
    char text[256];
    epl_optimizer_opts o;
    snprintf(text, sizeof text, "%s%s%s", words, strchr(words, ':') ? "," : ":", slots);
    CHECK_OK(t, ctx, epl_optimizer_parse(ctx, text, &o));
    epl_graph *g = epl_graph_new(ctx, "step");
    epl_value *dw = epl_input(g, "g", EPL_F32, shape, NULL), *rate = epl_input(g, "rate", EPL_F32, EPL_SCALAR, NULL);
    epl_value *w = epl_parameter(g, "w", EPL_F32, shape, EPL_INIT_NORMAL, 0.1);
    CHECK_OK(t, ctx, epl_optimize_with(g, 1, &w, &dw, rate, o));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 5));
    return m;
}

typedef struct stepper {
    epl_model   *m;
    epl_program *p;
    float       *w;
} stepper;

static stepper stepper_of(test *t, epl_context *ctx, const char *words, const char *slots, epl_program_opts o)
{
    stepper s = { .m = step_model(t, ctx, words, slots, EPL_SHAPE(ROWS, COLUMNS)) };
    s.p = epl_program_new(s.m->graph, s.m->weights, o);
    CHECK_OK(t, ctx, s.p != NULL);
    s.w = epl_weights_find(s.m->weights, "w")->data;
    return s;
}

static void step(test *t, epl_context *ctx, stepper *s, const float *grad, double rate)
{
    memcpy(epl_program_input_named(s->p, "g")->data, grad, N * sizeof *grad);
    epl_tensor_set(epl_program_input_named(s->p, "rate"), 0, rate);
    CHECK_OK(t, ctx, epl_program_run(s->p));
}

static void stepper_release(stepper *s)
{
    epl_program_free(s->p);
    epl_model_free(s->m);
}

static void draw_gradient(test *t, float *to)
{
    for (int i = 0; i < N; i++)
        to[i] = i % 50 == 7 ? 0 : 0.01f * epl_rng_normal(t->rng);
}

static bool same_states(const epl_model *a, const epl_model *b)
{
    for (int i = 0; i < epl_weights_count(a->weights); i++) {
        const epl_tensor *x = epl_weights_at(a->weights, i), *y = epl_weights_find(b->weights, epl_weights_name(a->weights, i));
        if (!y || memcmp(x->data, y->data, epl_tensor_bytes(x)) != 0)
            return false;
    }
    return true;
}

/* Fused or not, on any number of threads: the same bits. */
PROPERTY(one_kernel_computes_what_many_do, EPL_COUNT(optimizers))
{
    epl_context *ctx = test_context(t), *two = test_context(t);
    epl_context_set_threads(two, 2);
    stepper a = stepper_of(t, ctx, optimizers[t->index], "bits=8,block=256", (epl_program_opts){ 0 });
    stepper b = stepper_of(t, ctx, optimizers[t->index], "bits=8,block=256", (epl_program_opts){ .no_fusion = true });
    stepper c = stepper_of(t, two, optimizers[t->index], "bits=8,block=256", (epl_program_opts){ 0 });
    char   *steps = epl_program_print(a.p);
    float   grad[N];
    for (int i = 0; i < 4; i++) {
        draw_gradient(t, grad);
        step(t, ctx, &a, grad, 0.01);
        step(t, ctx, &b, grad, 0.01);
        step(t, two, &c, grad, 0.01);
    }
    CHECK(t, steps && strstr(steps, "coded_chain") && !strstr(steps, " dequantize"));
    CHECK(t, strstr(optimizers[t->index], "percentile") || !strstr(steps, " copy ")); // it cuts a list
    CHECK(t, same_states(a.m, b.m));
    CHECK(t, same_states(a.m, c.m));
    epl_release(ctx, steps);
    stepper_release(&a);
    stepper_release(&b);
    stepper_release(&c);
}

PROPERTY(the_first_step_is_that_of_32_bits, EPL_COUNT(optimizers))
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, optimizers[t->index], "bits=8", (epl_program_opts){ 0 });
    stepper b = stepper_of(t, ctx, optimizers[t->index], "bits=32", (epl_program_opts){ 0 });
    float   grad[N];
    draw_gradient(t, grad);
    step(t, ctx, &a, grad, 0.001);
    step(t, ctx, &b, grad, 0.001);
    CHECK_CLOSE_F32(t, a.w, b.w, N, .rtol = 0);
    stepper_release(&a);
    stepper_release(&b);
}

/* Copies parameters and states of a to b, whose slots are f32. */
static void follow_states(const epl_model *a, epl_model *b)
{
    for (int i = 0; i < epl_weights_count(b->weights); i++) {
        const char       *name = epl_weights_name(b->weights, i);
        epl_tensor       *to = epl_weights_at(b->weights, i);
        const epl_tensor *from = epl_weights_find(a->weights, name);
        float map[256];
        char  maxima[64];
        if (from->dtype == to->dtype) {
            memcpy(to->data, from->data, epl_tensor_bytes(to));
            continue;
        }
        snprintf(maxima, sizeof maxima, "train.%c_max.w", name[6]);
        const float *most = epl_weights_find(a->weights, maxima)->data;
        epl_code_map_fill(name[6] == 'v' ? EPL_CODE_DYNAMIC_UNSIGNED : EPL_CODE_DYNAMIC, map);
        for (int k = 0; k < N; k++)
            ((float *)to->data)[k] = map[((const uint8_t *)from->data)[k]] * most[k / 2048];
    }
}

/* The bounds that the method's own tests hold to. */
TEST(steps_stay_close_to_those_of_32_bits)
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "adam", "bits=8", (epl_program_opts){ 0 });
    stepper b = stepper_of(t, ctx, "adam", "bits=32", (epl_program_opts){ 0 });
    float   grad[N];
    double  error = 0, relative = 0;
    for (int i = 0; i < 100; i++) {
        draw_gradient(t, grad);
        step(t, ctx, &a, grad, 0.001);
        step(t, ctx, &b, grad, 0.001);
        for (int k = 0; k < N; k++) {
            error += fabs((double)a.w[k] - (double)b.w[k]) / (100.0 * N);
            relative += fabs((double)a.w[k] - (double)b.w[k]) / (fabs((double)b.w[k]) + 1e-9) / (100.0 * N);
        }
        follow_states(a.m, b.m);
    }
    CHECK(t, error < 1.2e-4);
    CHECK(t, relative < 1.2e-3);
    const epl_slot_bytes bytes = epl_slots_measure(a.m->weights);
    CHECK_INT(t, bytes.bytes, 2 * (N + 4 * 5));
    CHECK_INT(t, bytes.full_bytes, 8 * N);
    CHECK(t, ((const uint8_t *)epl_weights_find(a.m->weights, "train.m.w")->data)[7] == 127); // no gradient ever: exactly 0
    stepper_release(&a);
    stepper_release(&b);
}

PROPERTY(small_and_named_parameters_keep_32_bits, 4)
{
    epl_context *ctx = test_context(t);
    static const struct { const char *slots; int64_t n; epl_dtype want; } cases[] = {
        { "bits=8", 4095, EPL_F32 }, { "bits=8", 4096, EPL_U8 }, { "bits=8,full=w*", 9000, EPL_F32 }, { "bits=8,min_size=64", 100, EPL_U8 },
    };
    epl_model *m = step_model(t, ctx, "adam", cases[t->index].slots, EPL_SHAPE(cases[t->index].n));
    CHECK_INT(t, epl_weights_find(m->weights, "train.v.w")->dtype, cases[t->index].want);
    CHECK(t, (epl_weights_find(m->weights, "train.v_max.w") != NULL) == (cases[t->index].want == EPL_U8));
    epl_model_free(m);
}

TEST(what_cannot_be_coded_is_refused)
{
    epl_context       *ctx = test_context(t);
    epl_optimizer_opts o;
    static const struct { epl_optimizer_opts o; const char *words; } cases[] = {
        { { .kind = EPL_SGD, .slots = { .bits = 8 } }, "without momentum" },
        { { .kind = EPL_LARS, .slots = { .bits = 8 } }, "without momentum" },
        { { .kind = EPL_ADAM, .slots = { .bits = 8, .block = 100 } }, "power of two" },
        { { .kind = EPL_ADAM, .slots = { .bits = 8, .block = 8192 } }, "power of two" },
        { { .kind = EPL_ADAM, .slots = { .bits = 4 } }, "8 or 32" },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = epl_graph_new(ctx, "refused");
        epl_value *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(64, 64), EPL_INIT_ZEROS, 0), *rate = epl_scalar(g, EPL_F32, 1);
        CHECK_FAILS(t, ctx, epl_optimize_with(g, 1, &w, &w, rate, cases[i].o), EPL_ERR_ARGUMENT, cases[i].words);
        epl_graph_free(g);
    }
    CHECK_OK(t, ctx,
             epl_optimizer_parse(
                 ctx, "adam:bits=8,block=tensor,map=linear,stochastic=1,second_floor=1,full=*embed*,clip_percentile=95",
                 &o));
    CHECK(t, o.slots.block == EPL_SLOT_WHOLE && o.slots.linear && o.slots.stochastic && o.slots.second_floor && o.clip_percentile == 95);
    CHECK_STR(t, o.slots.full, "*embed*");
    CHECK_FAILS(t, ctx, epl_optimizer_parse(ctx, "adam:bits=8,map=log", &o), EPL_ERR_ARGUMENT, "dynamic or linear");
}

/* Whole-tensor blocks, the linear map and rounding by chance run, too, and stay near 32 bits for a step or two. */
PROPERTY(other_codes_work, 4)
{
    static const char *const slots[] = { "bits=8,block=tensor", "bits=8,stochastic=1", "bits=8,second_floor=1",
                                         "bits=8,block=64,map=linear" };
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "sgd:momentum=0.9", slots[t->index], (epl_program_opts){ 0 });
    stepper b = stepper_of(t, ctx, "sgd:momentum=0.9", "bits=32", (epl_program_opts){ 0 });
    float   grad[N];
    for (int i = 0; i < 3; i++) {
        draw_gradient(t, grad);
        step(t, ctx, &a, grad, 0.1);
        step(t, ctx, &b, grad, 0.1);
    }
    CHECK_CLOSE_F32(t, a.w, b.w, N, .atol = 2e-4); // steps of 1e-3
    stepper_release(&a);
    stepper_release(&b);
}

/* ---- what is left alone ---- */

static const char *const with_slots[] = { "bits=8,block=256", "bits=32" };

PROPERTY(zero_gradients_leave_everything, 2)
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "adamw:decay=0.1,skip_zeros=1", with_slots[t->index], (epl_program_opts){ 0 });
    float   grad[N], w[N], v[N];
    draw_gradient(t, grad);
    step(t, ctx, &a, grad, 0.01);
    memcpy(w, a.w, sizeof w);
    if (t->index)
        memcpy(v, epl_weights_find(a.m->weights, "train.v.w")->data, sizeof v);
    for (int i = 0; i < N; i++)
        grad[i] = i % 3 ? 0 : grad[i] + 1e-3f;
    step(t, ctx, &a, grad, 0.01);
    for (int i = 0; i < N; i++) {
        CHECK(t, (a.w[i] == w[i]) == (i % 3 != 0));
        CHECK(t, t->index == 0 || (((const float *)epl_weights_find(a.m->weights, "train.v.w")->data)[i] == v[i]) == (i % 3 != 0));
    }
    stepper_release(&a);
}

/* The update is as if it had never been, but counted. */
PROPERTY(gradients_that_are_not_finite_are_skipped, 4)
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "adam:skip_nonfinite=1", with_slots[t->index % 2], (epl_program_opts){ 0 });
    float   grad[N], bad[N], w[N], map[256], before[N];
    draw_gradient(t, grad);
    step(t, ctx, &a, grad, 0.01);
    memcpy(w, a.w, sizeof w);
    memcpy(bad, grad, sizeof bad);
    bad[300] = t->index < 2 ? NAN : 1e25f; // whose square is not finite
    const uint8_t *codes = epl_weights_find(a.m->weights, "train.m.w")->data;
    epl_code_map_fill(EPL_CODE_DYNAMIC, map);
    for (int i = 0; i < N; i++)
        before[i] = t->index % 2 ? ((const float *)codes)[i]
                                 : map[codes[i]] *
                                       ((const float *)epl_weights_find(a.m->weights, "train.m_max.w")->data)[i / 256];
    step(t, ctx, &a, bad, 0.01);
    CHECK_CLOSE_F32(t, a.w, w, N, .rtol = 0);
    CHECK_INT(t, *(const int64_t *)epl_weights_find(a.m->weights, "train.skipped")->data, 1);
    for (int i = 0; i < N; i++) { // coded once more: at most a code away
        const float most = t->index % 2 ? 0 : ((const float *)epl_weights_find(a.m->weights, "train.m_max.w")->data)[i / 256];
        const float now  = t->index % 2 ? ((const float *)codes)[i] : map[codes[i]] * most;
        CHECK(t, fabsf(now - before[i]) <= 0.015f * most);
    }
    step(t, ctx, &a, grad, 0.01);
    CHECK(t, isfinite(a.w[300]) && a.w[300] != w[300]);
    CHECK_INT(t, *(const int64_t *)epl_weights_find(a.m->weights, "train.skipped")->data, 1);
    stepper_release(&a);
}

/* Not skipped, it shows in the parameter, but costs the slots of its block nothing. */
TEST(one_bad_gradient_leaves_the_blocks_codes)
{
    epl_context *ctx = test_context(t);
    stepper      a = stepper_of(t, ctx, "adam", "bits=8", (epl_program_opts){ 0 }),
            b = stepper_of(t, ctx, "adam", "bits=8", (epl_program_opts){ 0 });
    float   grad[N];
    draw_gradient(t, grad);
    grad[300] = 0;
    step(t, ctx, &a, grad, 0.01);
    grad[300] = NAN;
    step(t, ctx, &b, grad, 0.01);
    CHECK(t, isnan(b.w[300]));
    a.w[300] = b.w[300] = 0;
    CHECK(t, same_states(a.m, b.m));
    stepper_release(&a);
    stepper_release(&b);
}

TEST(gradients_are_cut_to_a_percentile)
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "sgd", "clip_percentile=50", (epl_program_opts){ 0 });
    float   grad[N];
    for (int i = 0; i < 3; i++) {
        const float size = i == 1 ? 8.0f : 2.0f, before = a.w[0];
        for (int k = 0; k < N; k++)
            grad[k] = size;
        step(t, ctx, &a, grad, 0.5);
        CHECK_NEAR(t, before - a.w[0], 0.5 * 2, .rtol = 1e-5); // the one of four times the size is cut to the others'
    }
    stepper_release(&a);
}

TEST(lion_follows_scalar_code)
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "lion:decay=0.1", "bits=32", (epl_program_opts){ 0 });
    float   grad[N];
    double  w = (double)a.w[3], m = 0;
    for (int i = 0; i < 20; i++) {
        draw_gradient(t, grad);
        step(t, ctx, &a, grad, 0.01);
        const double c = 0.9 * m + 0.1 * (double)grad[3];
        w = w * (1 - 0.01 * 0.1) - 0.01 * ((c > 0) - (c < 0));
        m = 0.99 * m + 0.01 * (double)grad[3];
        CHECK_NEAR(t, a.w[3], w, .rtol = 1e-5, .atol = 1e-6);
    }
    stepper_release(&a);
}

TEST(checkpoints_become_codes)
{
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, "adam", "bits=32", (epl_program_opts){ 0 });
    float   grad[N], map[256];
    for (int i = 0; i < 5; i++) {
        draw_gradient(t, grad);
        step(t, ctx, &a, grad, 0.01);
    }
    epl_weights *w = epl_weights_copy(ctx, a.m->weights);
    CHECK_FAILS(t, ctx, epl_slots_convert(ctx, w, (epl_slot_opts){ .block = 65 }) >= 0, EPL_ERR_ARGUMENT, "power of two");
    CHECK_OK(t, ctx, epl_weights_set_metadata(w, "espalier.training", "{\"options\":\"0123456789abcdef\",\"epoch\":1}"));
    CHECK_INT(t, epl_slots_convert(ctx, w, (epl_slot_opts){ 0 }), 2);
    CHECK_STR(t, epl_weights_metadata(w, "espalier.training"), "{\"options\":\"0000000000000000\",\"epoch\":1}");
    epl_code_map_fill(EPL_CODE_DYNAMIC_UNSIGNED, map);
    const float   *v = epl_weights_find(a.m->weights, "train.v.w")->data, *most = epl_weights_find(w, "train.v_max.w")->data;
    const uint8_t *codes = epl_weights_find(w, "train.v.w")->data;
    for (int i = 0; i < N; i++)
        CHECK(t, fabsf(map[codes[i]] * most[i / 2048] - v[i]) <= 0.01f * most[i / 2048]);
    epl_weights_free(w);
    stepper_release(&a);
}

/* Written after three steps, read by another program: the steps that follow have the same bits. */
PROPERTY(a_step_resumes_with_the_same_bits, 3)
{
    static const char *const words[] = { "adam:decay=0.01", "sgd:momentum=0.9", "lamb" };
    epl_context *ctx = test_context(t);
    stepper a = stepper_of(t, ctx, words[t->index], "bits=8,block=256", (epl_program_opts){ 0 });
    stepper b = stepper_of(t, ctx, words[t->index], "bits=8,block=256", (epl_program_opts){ 0 });
    char    path[64];
    float   grad[N];
    snprintf(path, sizeof path, "test_slots_resume_%d.safetensors", t->index);
    for (int i = 0; i < 5; i++) {
        draw_gradient(t, grad);
        step(t, ctx, &a, grad, 0.01);
        if (i > 2)
            step(t, ctx, &b, grad, 0.01);
        if (i != 2)
            continue;
        CHECK(t, !same_states(a.m, b.m));
        CHECK_OK(t, ctx, epl_weights_save(a.m->weights, path));
        epl_weights *w = epl_weights_open(ctx, path);
        CHECK_OK(t, ctx, w != NULL);
        for (int k = 0; k < epl_weights_count(w); k++) {
            epl_tensor *to = epl_weights_find(b.m->weights, epl_weights_name(w, k));
            memcpy(to->data, epl_weights_at(w, k)->data, epl_tensor_bytes(to));
        }
        epl_weights_free(w);
        remove(path);
    }
    CHECK(t, same_states(a.m, b.m));
    stepper_release(&a);
    stepper_release(&b);
}
