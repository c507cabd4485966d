/* 8bit-optimizers: the slots of optimizers as 8-bit codes in blocks. Exact tables, the errors of coding, and
 * trainings with 32 and with 8 bits side by side. */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: maps ---- */

static void check_maps(paper_run *r)
{
    float  s[256], u[256];
    double sum[2] = { 0 };
    epl_code_map_fill(EPL_CODE_DYNAMIC, s);
    epl_code_map_fill(EPL_CODE_DYNAMIC_UNSIGNED, u);
    int steps = 0;
    for (int i = 0; i < 256; i++) {
        sum[0] += (double)s[i], sum[1] += (double)u[i];
        steps += i > 0 && s[i] > s[i - 1] && u[i] > u[i - 1];
    }
    paper_check(r, "rising values of both maps", steps, PAPER_EQUAL, 255);
    paper_check_near(r, "sum of the signed map", sum[0], 1, 1e-5);
    paper_check_near(r, "sum of the unsigned map", sum[1], 75.1052631, 1e-5);
    paper_check_near(r, "least of the signed map", (double)s[0], -0.99296875, 1e-7);
    paper_check_near(r, "signed map, code 131", (double)s[131], 2.125e-5, 1e-10);
    paper_check_near(r, "unsigned map, code 5", (double)u[5], 6.625e-6, 1e-11);
}

/* ---- quick: the errors of coding ---- */

typedef struct coded {
    uint8_t *codes;
    float   *maxima;
    double   error, relative; /* means of |x' - x|, and of |x' - x| / |x| */
} coded;

/* x and what comes back, which takes its place where `keep` says so. */
static coded code(paper_run *r, float *x, int64_t n, int64_t block, epl_code_map kind, bool keep)
{
    coded c = { .codes = paper_alloc(r, (size_t)n), .maxima = paper_alloc(r, (size_t)epl_code_n_blocks(n, block) * sizeof(float)) };
    float map[256];
    if (!c.codes || !c.maxima)
        return c;
    epl_code_map_fill(kind, map);
    epl_code_blocks(x, n, block, map, false, c.codes, c.maxima);
    for (int64_t i = 0; i < n; i++) {
        const float back = map[c.codes[i]] * c.maxima[block ? i / block : 0];
        const double e = fabs((double)back - (double)x[i]);
        c.error += e / (double)n;
        c.relative += x[i] != 0 ? 100 * e / fabs((double)x[i]) / (double)n : 0;
        if (keep)
            x[i] = back;
    }
    return c;
}

/* 65,536 normal numbers. The expected values are of a simulation of our own; they hold within 5 percent of
 * themselves, where the greatest of all the numbers drawn decides, or a few near 0, within 15. */
static void check_errors(paper_run *r)
{
    static const struct { const char *name; int64_t block; epl_code_map kind; double outlier, error, relative; } cases[] = {
        { "dynamic, blocks of 64", 64, EPL_CODE_DYNAMIC, 0, 0.0075, 1.41 },
        { "dynamic, blocks of 256", 256, EPL_CODE_DYNAMIC, 0, 0.0085, 1.53 },
        { "dynamic, blocks of 2048", 2048, EPL_CODE_DYNAMIC, 0, 0.0095, 1.64 },
        { "dynamic, whole tensor", 0, EPL_CODE_DYNAMIC, 0, 0.0107, 1.77 },
        { "linear, blocks of 2048", 2048, EPL_CODE_LINEAR, 0, 0.0069, 3.5 },
        { "dynamic, blocks of 2048, one of 100", 2048, EPL_CODE_DYNAMIC, 100, 0, 1.73 },
        { "dynamic, whole tensor, one of 100", 0, EPL_CODE_DYNAMIC, 100, 0, 4.3 },
        { "linear, blocks of 2048, one of 100", 2048, EPL_CODE_LINEAR, 100, 0, 4.9 },
        { "linear, whole tensor, one of 100", 0, EPL_CODE_LINEAR, 100, 0, 48 },
    };
    epl_tensor *x = paper_draw(r, EPL_SHAPE(65536), 1, 1);
    for (size_t i = 0; x && i < EPL_COUNT(cases); i++) {
        float *v = x->data;
        const float first = v[1000];
        v[1000] = cases[i].outlier != 0 ? (float)cases[i].outlier : first;
        const coded c = code(r, v, 65536, cases[i].block, cases[i].kind, false);
        v[1000] = first;
        const bool   loose = cases[i].block == 0 || cases[i].kind == EPL_CODE_LINEAR;
        const double within = loose ? 0.15 : 0.05;
        if (cases[i].error > 0)
            paper_check_near(r, paper_textf(r, "mean error, %s", cases[i].name), c.error, cases[i].error, within * cases[i].error);
        paper_check_near(r, paper_textf(r, "mean relative error, %s, %%", cases[i].name), c.relative, cases[i].relative,
                         within * cases[i].relative);
    }
    epl_tensor_free(x);
}

/* The direction of Adam's step after 100 gradients, each element of its own scale: with moments that were coded after every
 * step (by the linear map: once) against exact ones. */
static void check_directions(paper_run *r)
{
    enum { N = 16384, STEPS = 100 };
    static const double keep1 = 0.9, keep2 = 0.999;
    typedef struct element { double scale, m, v; } element;
    element *e = paper_alloc(r, N * sizeof *e);
    float   *m = paper_alloc(r, N * sizeof *m), *v = paper_alloc(r, N * sizeof *v);
    for (int linear = 0; e && m && v && linear < 2; linear++) {
        epl_rng rng = epl_rng_at(3, 3);
        for (int i = 0; i < N; i++) {
            e[i] = (element){ .scale = exp(0.5 * (double)epl_rng_normal(&rng)) };
            m[i] = v[i] = 0;
        }
        for (int t = 0; t < STEPS; t++) {
            for (int i = 0; i < N; i++) {
                const double g = e[i].scale * (double)epl_rng_normal(&rng);
                e[i].m = keep1 * e[i].m + (1 - keep1) * g;
                e[i].v = keep2 * e[i].v + (1 - keep2) * g * g;
                m[i] = (float)(keep1 * (double)m[i] + (1 - keep1) * g);
                v[i] = (float)(keep2 * (double)v[i] + (1 - keep2) * g * g);
            }
            if (linear && t + 1 < STEPS)
                continue; // coded once, at the end: zeros would stay
            code(r, m, N, 2048, linear ? EPL_CODE_LINEAR : EPL_CODE_DYNAMIC, true);
            code(r, v, N, 2048, linear ? EPL_CODE_LINEAR_UNSIGNED : EPL_CODE_DYNAMIC_UNSIGNED, true);
        }
        double error = 0, most = 0, zeros = 0;
        const double c1 = 1 - pow(keep1, STEPS), c2 = 1 - pow(keep2, STEPS);
        for (int i = 0; i < N; i++) {
            const double exact = e[i].m / c1 / (sqrt(e[i].v / c2) + 1e-8), other = (double)m[i] / c1 / (sqrt((double)v[i] / c2) + 1e-8);
            error += fabs(other - exact) / N;
            most = fmax(most, fabs(other));
            zeros += 100.0 * (v[i] == 0) / N;
        }
        if (!linear) {
            paper_check_near(r, "mean error of Adam's direction, dynamic", error, 0.011, 0.003);
            paper_check(r, "second moments coded 0, dynamic, %", zeros, PAPER_EQUAL, 0);
        } else {
            paper_check_near(r, "second moments coded 0, linear, %", zeros, 0.7, 0.5);
            paper_check(r, "greatest direction, linear", most, PAPER_AT_LEAST, 1e4);
        }
    }
}

/* ---- quick: optimizers ---- */

typedef struct slots {
    epl_model     *m;
    epl_slot_bytes bytes;
} slots;

/* One parameter w whose gradient is the input g. */
static slots make_slots(paper_run *r, const char *words, epl_shape shape)
{
    slots s = { 0 };
    epl_optimizer_opts o;
    if (!epl_optimizer_parse(paper_context(r), words, &o))
        return s;
    epl_graph *g = epl_graph_new(paper_context(r), "update");
    epl_value *w = epl_parameter(g, "w", EPL_F32, shape, EPL_INIT_NORMAL, 0.1), *dw = epl_input(g, "g", EPL_F32, shape, NULL);
    epl_optimize_with(g, 1, &w, &dw, epl_scalar(g, EPL_F32, 1e-3), o);
    s.m = epl_model_new_take(g);
    if (s.m && epl_model_init(s.m, 1))
        s.bytes = epl_slots_measure(s.m->weights);
    if (s.m)
        paper_keep_model_take(r, s.m);
    return s;
}

/* w after one step from no state. */
static const float *after_a_step(paper_run *r, const slots *s)
{
    epl_program *p = s->m ? epl_program_new(s->m->graph, s->m->weights, (epl_program_opts){ 0 }) : NULL;
    epl_rng      rng = epl_rng_at(9, 9);
    for (int64_t i = 0; p && i < epl_tensor_count(epl_program_input(p, 0)); i++)
        ((float *)epl_program_input(p, 0)->data)[i] = 0.01f * epl_rng_normal(&rng);
    const bool ok = p && epl_program_run(p);
    epl_program_free(p);
    return ok && paper_ok(r) ? epl_weights_find(s->m->weights, "w")->data : NULL;
}

static void check_slots(paper_run *r)
{
    const epl_shape shape = EPL_SHAPE(64, 128);
    paper_check(r, "bytes of a parameter's slots, Adam", (double)make_slots(r, "adam:bits=8", shape).bytes.bytes / 8192,
                PAPER_EQUAL, 2 + 8.0 / 2048);
    paper_check(r, "bytes of a parameter's slots, momentum", (double)make_slots(r, "sgd:momentum=0.9,bits=8", shape).bytes.bytes / 8192,
                PAPER_EQUAL, 1 + 4.0 / 2048);
    paper_check(r, "the same of 4095 parameters", (double)make_slots(r, "adam:bits=8", EPL_SHAPE(4095)).bytes.bytes / 4095, PAPER_EQUAL, 8);
    const slots  a = make_slots(r, "adam:bits=8", shape), b = make_slots(r, "adam", shape);
    const float *x = after_a_step(r, &a), *y = after_a_step(r, &b);
    paper_check_true(r, "the first step is that of 32 bits, to the bit", x && y && memcmp(x, y, 8192 * sizeof *x) == 0);
    static const char *const refused[][2] = { { "adam:bits=8,block=100", "power of two" }, { "sgd:bits=8", "without momentum" },
                                              { "lars:bits=8", "without momentum" } };
    for (size_t i = 0; i < EPL_COUNT(refused); i++)
        paper_check_refused(r, paper_textf(r, "%s is refused", refused[i][0]),
                            make_slots(r, refused[i][0], shape).m != NULL, refused[i][1]);
    paper_check_model(r, "transformer-lm", 248544, 0);
}

static void quick(paper_run *r)
{
    check_maps(r);
    check_errors(r);
    check_directions(r);
    check_slots(r);
}

/* ---- full ---- */

enum { FULL_BITS, BLOCKS, TENSOR, LINEAR, STABLE_FULL, STABLE_BLOCKS, N_LM };
enum { PICTURE_FULL, PICTURE_BLOCKS, N_PICTURE };

enum { PART = 20, PARTS = 25 }; /* updates that a point of a curve is the mean of, and points */

/* What a run's hook sees. */
typedef struct census {
    paper_run *run;
    const char *name;
    double      counts[256]; /* of the first moment's codes, after the last step */
    double      zeros, all;  /* second moments that are coded 0 */
    double      loss[PARTS], seen[PARTS]; /* sums of the batches' losses, how many */
} census;

static void count_codes(census *c, const epl_weights *w)
{
    for (int i = 0; i < epl_weights_count(w); i++) {
        const char       *name = epl_weights_name(w, i);
        const epl_tensor *t = epl_weights_at(w, i);
        const uint8_t    *codes = t->dtype == EPL_U8 ? t->data : NULL;
        for (int64_t k = 0; codes && k < epl_tensor_count(t); k++) {
            if (strncmp(name, "train.m.", 8) == 0)
                c->counts[codes[k]]++;
            if (strncmp(name, "train.v.", 8) == 0) {
                c->zeros += codes[k] == 0;
                c->all++;
            }
        }
    }
}

static bool see_step(void *user, epl_trainer *t, int64_t step)
{
    census *c = user;
    const epl_weights *w = epl_trainer_model(t)->weights;
    const int64_t part = (step - 1) / PART;
    if (part < PARTS) {
        c->loss[part] += epl_trainer_loss(t);
        c->seen[part]++;
    }
    if (step == epl_trainer_total_updates(t))
        count_codes(c, w);
    if (step > 1)
        return true;
    const epl_slot_bytes b = epl_slots_measure(w);
    paper_add(paper_series_named(c->run, "bytes of slots, of those in 32 bits", c->name, "%"),
              100 * (double)b.bytes / (double)b.full_bytes);
    return true;
}

/* A training that ends in numbers that are not finite counts with the loss of chance: every token alike. */
static bool keep_loss(paper_run *r, paper_training *t)
{
    const bool diverged = !paper_ok(r) && strstr(epl_error_message(paper_context(r)), "training diverged") != NULL;
    if (diverged) {
        epl_error_clear(paper_context(r));
        paper_remark(r, "%s, seed %llu: diverged", t->variant->name, (unsigned long long)t->seed);
    }
    const double chance = log(96);
    paper_add(paper_series_named(r, "test loss", t->variant->name, ""), diverged ? chance : t->test_loss);
    return paper_ok(r);
}

static void plot_codes(paper_run *r, const census *c)
{
    double share[256], all = 0;
    for (int i = 0; i < 256; i++)
        all += c->counts[i];
    for (int i = 0; i < 256; i++)
        share[i] = 100 * c->counts[i] / fmax(all, 1);
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "code", .y_label = "share of the first moments [%]" });
    epl_plot_line(p, c->name, NULL, share, 256, (epl_line_opts){ 0 });
    paper_plot_take(r, "codes", "Codes of the first moments after the last step, all seeds.", p);
}

/* The linear map's would need another scale. */
static void plot_curves(paper_run *r, const census *c)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "update", .y_label = "training loss" });
    for (int i = 0; i < N_LM; i++) {
        double x[PARTS], y[PARTS];
        size_t n = 0;
        for (; i != LINEAR && n < PARTS && c[i].seen[n] > 0; n++) {
            x[n] = PART * ((double)n + 0.5);
            y[n] = c[i].loss[n] / c[i].seen[n];
        }
        if (n)
            epl_plot_line(p, c[i].name, x, y, n, (epl_line_opts){ .dashed = i == BLOCKS || i == STABLE_BLOCKS });
    }
    paper_plot_take(r, "curves", "Training loss of the language model, means of 20 updates and all seeds.", p);
}

static void compare(paper_run *r, const paper_variant *v, const paper_series *const *accuracy)
{
    const paper_series *loss[N_LM], *bytes = paper_series_named(r, "bytes of slots, of those in 32 bits", v[BLOCKS].name, "%");
    for (int i = 0; i < N_LM; i++)
        loss[i] = paper_series_named(r, "test loss", v[i].name, "");
    const double full = paper_mean(loss[FULL_BITS]);
    paper_check(r, "language: loss of 8 bits / of 32 bits", paper_mean(loss[BLOCKS]) / full, PAPER_AT_MOST, 1.01);
    paper_check(r, "language, stable embedding: the same",
                paper_mean(loss[STABLE_BLOCKS]) / paper_mean(loss[STABLE_FULL]), PAPER_AT_MOST, 1.01);
    paper_check(r, "language: loss of linear 8 bits / of 32 bits", paper_mean(loss[LINEAR]) / full, PAPER_AT_LEAST, 1.02);
    paper_check(r, "language: bytes of slots, %", paper_mean(bytes), PAPER_AT_MOST, 27);
    paper_check(r, "pictures: accuracy of 8 bits - of 32 bits, points",
                paper_mean(accuracy[PICTURE_BLOCKS]) - paper_mean(accuracy[PICTURE_FULL]), PAPER_AT_LEAST, -0.5);
    const paper_series *shown[] = { loss[FULL_BITS], loss[BLOCKS], loss[TENSOR], loss[STABLE_FULL],
                                    loss[STABLE_BLOCKS] }; // linear: another scale
    paper_plot_series(r, "loss", "test loss of the language model", shown, (int)EPL_COUNT(shown));
    paper_plot_series(r, "pictures", "test accuracy on pictures [%]", accuracy, N_PICTURE);
}

static void full(paper_run *r)
{
    static const char *const words[N_LM] = { [FULL_BITS] = "bits=32", [BLOCKS] = "bits=8", [TENSOR] = "bits=8,block=tensor",
                                             [LINEAR] = "bits=8,map=linear", [STABLE_FULL] = "bits=32", [STABLE_BLOCKS] = "bits=8" };
    paper_variant            v[N_LM] = {
                   [FULL_BITS] = { .name = "32 bits" },           [BLOCKS] = { .name = "8 bits, blocks" },
                   [TENSOR] = { .name = "8 bits, tensor" },       [LINEAR] = { .name = "8 bits, linear" },
                   [STABLE_FULL] = { .name = "stable, 32 bits" }, [STABLE_BLOCKS] = { .name = "stable, 8 bits" }
    };
    paper_recipe   recipe[N_LM], picture[N_PICTURE];
    epl_train_hook hook[N_LM];
    census        *c = paper_alloc(r, N_LM * sizeof *c);
    for (int i = 0; c && i < N_LM; i++) {
        c[i]    = (census){ .run = r, .name = v[i].name };
        hook[i] = (epl_train_hook){ .after_step = see_step, .user = &c[i] };
        recipe[i] = (paper_recipe){ .data = "text",
                                    .samples = 8000,
                                    .test = 1000,
                                    .epochs = 1,
                                    .batch = 16,
                                    .hooks = &hook[i],
                                    .n_hooks = 1,
                                    .optimizer = paper_textf(r, "adam:rate=1e-3,%s", words[i]),
                                    .schedule = "constant" };
        v[i].model  = i >= STABLE_FULL ? "transformer-lm:stable=1" : "transformer-lm";
        v[i].recipe = &recipe[i];
        v[i].end    = keep_loss;
        v[i].what   = "next tokens that are right";
    }
    paper_variant pictures[N_PICTURE] = { { .name = "momentum, 32 bits" }, { .name = "momentum, 8 bits" } };
    for (int i = 0; i < N_PICTURE; i++) {
        picture[i] = (paper_recipe){ .samples = 12000, .test = 10000, .epochs = 5, .batch = 128, .augment = "resize:14",
                                     .optimizer = i ? "sgd:rate=0.1,momentum=0.9,bits=8,min_size=1024" : "sgd:rate=0.1,momentum=0.9" };
        pictures[i].model  = "resnet:depth=8,width=16,image=14,channels=1";
        pictures[i].recipe = &picture[i];
    }
    const paper_series *accuracy[N_PICTURE];
    if (c && paper_train(r, v, N_LM, (paper_recipe){ 0 }, NULL) && paper_train(r, pictures, N_PICTURE, (paper_recipe){ 0 }, accuracy)) {
        compare(r, v, accuracy);
        plot_curves(r, c);
        plot_codes(r, &c[BLOCKS]);
        paper_remark(r, "second moments coded 0 at the end: %.3f %% of all with blocks, %.3f %% with the linear map",
                     100 * c[BLOCKS].zeros / fmax(c[BLOCKS].all, 1), 100 * c[LINEAR].zeros / fmax(c[LINEAR].all, 1));
    }
}

const paper paper_8bit_optimizers = {
    .slug = "8bit-optimizers",
    .title = "8-bit Optimizers via Block-wise Quantization",
    .source = "Dettmers, Lewis, Shleifer, Zettlemoyer 2022, arXiv:2110.02861",
    .kind = "training",
    .claim = "an optimizer's slots in 8 bits, coded by blocks with a map that is fine over seven decades, train as "
             "well as those in 32 bits, where a "
             "linear map does not",
    .criterion = "the loss of a small language model with Adam in 8 bits is at most 1 % above that with 32 bits, with "
                 "and without a stable "
                 "embedding, a linear map's at least 2 %; the slots take at most 27 % of the bytes; a residual network "
                 "with momentum in 8 bits "
                 "is at most 0.5 points worse on Fashion-MNIST",
    .quick = quick,
    .full = full,
};
