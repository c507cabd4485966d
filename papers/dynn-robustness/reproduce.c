/* dynn-robustness: a network and its twin with early exits, attacked. On which of the two are images made that
 * deceive the other, and can the early exits be deceived while the final classifier stands by its answer? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

enum { PATIENT = 2, IMAGES = 500, EARLY_IMAGES = 50, CLASSES = 10 };

static const epl_exit_rule deployed = { .threshold = 0.8 };

/* ---- quick: published counts, what attacks promise, leaving early for real ---- */

static double largest_change(const epl_tensor *a, const epl_tensor *b)
{
    epl_difference d = { 0 };
    epl_tensor_compare(a, b, &d);
    return d.max_abs;
}

static void check_attacks(paper_run *r, const epl_model *m)
{
    epl_context *ctx = paper_context(r);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(6, 32, 32, 3)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(6));
    epl_rng      g = epl_rng_at(1, 2);
    if (x && y) {
        epl_tensor_fill_uniform(x, &g, 0, 1);
        const epl_attack_opts fgsm = { .eps = 0.03 }, pgd = { .kind = EPL_ATTACK_PGD, .eps = 0.03, .steps = 1, .step_size = 0.03 };
        epl_tensor *a = epl_attack_images(m, x, y, fgsm, NULL), *b = epl_attack_images(m, x, y, pgd, NULL);
        epl_tensor *c = epl_attack_images(m, x, y, (epl_attack_opts){ .eps = 0 }, NULL);
        paper_check_true(r, "FGSM is one step of PGD", a && b && epl_tensor_equal(a, b));
        paper_check_true(r, "eps 0 changes nothing", c && epl_tensor_equal(c, x));
        paper_check(r, "largest change of a pixel, eps 0.03", a ? largest_change(a, x) : NAN, PAPER_AT_MOST, 0.03 + 1e-6);
        paper_check_refused(r, "a negative eps", epl_attack_images(m, x, y, (epl_attack_opts){ .eps = -1 }, NULL) != NULL, "eps -1");
        epl_tensor_free(a);
        epl_tensor_free(b);
        epl_tensor_free(c);
    }
    epl_tensor_free(x);
    epl_tensor_free(y);
}

/* A network for one sample says what the rule says of the network with all its classifiers. */
static void check_dynamic(paper_run *r, const epl_model *m)
{
    const double thresholds[] = { 0, 0.12, 2 };
    epl_context *ctx = paper_context(r);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 32, 32, 3)), *z = NULL;
    epl_rng      g = epl_rng_at(3, 4);
    if (x)
        epl_tensor_fill_uniform(x, &g, 0, 1);
    z = x ? epl_exit_logits(m, x, (epl_exit_opts){ 0 }) : NULL;
    for (int i = 0; z && i < 3; i++) {
        const epl_exit_rule rule = { .threshold = thresholds[i], .last = true };
        int        taken = -1;
        epl_model *one = epl_exits_dynamic(m, rule);
        epl_exit_decide(z, rule, &taken, NULL, NULL);
        epl_program *p = one ? epl_program_new(one->graph, one->weights, (epl_program_opts){ .frozen = true }) : NULL;
        if (p)
            memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
        const double exit = p && epl_program_run(p) ? epl_tensor_get(epl_program_output_named(p, "exit"), 0) : NAN;
        paper_check(r, paper_textf(r, "threshold %g: the exit that is taken", thresholds[i]), exit, PAPER_EQUAL,
                    i == 0   ? 0
                    : i == 2 ? 6
                             : taken);
        epl_program_free(p);
        epl_model_free(one);
    }
    epl_tensor_free(x);
    epl_tensor_free(z);
}

static void quick(paper_run *r)
{
    paper_check_model(r, "sdn-vgg16", 15468683, 313940992);
    paper_check_model(r, "msdnet", 2986690, 0);
    paper_check_model(r, "msdnet:classes=100", 3067960, 0);
    paper_check_model(r, "msdnet:blocks=5,base=1,step=1,steps=lin_grow", 2020874, 0);
    paper_check_model(r, "msdnet:blocks=5,base=4,step=4,scales=4,width=32,growth=16,stem=imagenet,image=224,classes=1000", 23958440, 0);
    paper_check_near(r, "tau of the sixth exit, epoch 1 of 100", epl_exit_tau(0.9, 1, 100), 0.019, 1e-12);
    epl_model *m = paper_model(r, "sdn-vgg16:width=0.125", 1);
    if (m) {
        check_attacks(r, m);
        check_dynamic(r, m);
    }
}

/* ---- full ---- */

enum { CNN, CNN_EXITS, RESNET, RESNET_EXITS, N_NETWORKS };

typedef struct study {
    epl_model     *models[N_NETWORKS][PAPER_MAX_SEEDS];
    epl_train_hook hook;
} study;

typedef struct network {
    study *s;
    int    index;
} network;

/* Five convolutions, pools behind the first and the third; exits behind the first four, the pool included. */
static epl_graph *tower(epl_context *ctx, void *user)
{
    static const int widths[] = { 16, 32, 32, 64, 64 };
    const network   *n = user;
    epl_graph *g = epl_graph_new(ctx, "tower");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,"), *places[4];
    for (int i = 0; i < 5; i++) {
        epl_scope_push(g, "unit%d", i + 1);
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .conv = { .out = widths[i] }, .with_bias = true });
        x = i == 0 || i == 2 ? epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } }) : x;
        epl_scope_pop(g);
        if (i < 4)
            places[i] = x;
    }
    epl_output(g, "logits", epl_linear(g, epl_flatten(g, x, 1), (epl_linear_opts){ .name = "head", .out = CLASSES }));
    for (int i = 0; n->index == CNN_EXITS && i < 4; i++)
        epl_exit_add(g, places[i], (epl_exit_head_opts){ 0 });
    return g;
}

static epl_graph *residual(epl_context *ctx, void *user)
{
    const network *n = user;
    epl_graph *g = epl_zoo_build(ctx, "resnet:depth=8,width=8,image=28,channels=1");
    for (int i = 0; g && n->index == RESNET_EXITS && i < 2; i++)
        epl_exit_add(g, epl_scope_value(g, i ? "stage2.unit1" : "stage1.unit1"), (epl_exit_head_opts){ 0 });
    return g;
}

static bool begin(paper_run *r, paper_training *t)
{
    const network *n = t->user;
    if (n->index != CNN_EXITS && n->index != RESNET_EXITS)
        return true;
    n->s->hook = epl_exits_hook(t->model, (epl_exits_train_opts){ .epochs = t->recipe.epochs });
    t->recipe.hooks   = &n->s->hook;
    t->recipe.n_hooks = 1;
    return n->s->hook.user != NULL && paper_ok(r);
}

static bool keep(paper_run *r, paper_training *t)
{
    const network *n = t->user;
    epl_release(paper_context(r), n->s->hook.user);
    n->s->hook = (epl_train_hook){ 0 };
    epl_model *copy = isfinite(t->accuracy) ? epl_model_copy(t->model) : NULL;
    paper_keep_model_take(r, copy);
    n->s->models[n->index][t->seed] = copy;
    return copy != NULL;
}

/* RQ 1: whom the images of one deceive. */
static bool transfer(paper_run *r, const study *s, epl_dataset *images, int seed)
{
    static const char *const names[] = { "tower", "residual" };
    const epl_exit_rule rules[] = { { 0 }, deployed };
    for (int a = 0; a < 2; a++) {
        const epl_model *pair[] = { s->models[2 * a][seed], s->models[2 * a + 1][seed] };
        double success[4];
        const epl_attack_opts o = { .kind = EPL_ATTACK_PGD,
                                    .eps = 0.1,
                                    .steps = 20,
                                    .step_size = 0.0125,
                                    .run.batch = 125,
                                    .run.progress = paper_progress(r) };
        if (!epl_transfer(2, pair, rules, images, o, success))
            return false;
        const char *const kinds[] = { "plain on itself", "plain to exits", "exits to plain", "exits on themselves" };
        for (int k = 0; k < 4; k++)
            paper_add(paper_series_named(r, "success of PGD", paper_textf(r, "%s, %s", names[a], kinds[k]), "%"), 100 * success[k]);
    }
    return true;
}

/* The share of images of which the class where they leave is wrong while the final classifier stands by its answer. */
static double deceived(const epl_attack_result *a, const epl_model *m, epl_exit_rule rule)
{
    epl_exit_report report;
    if (!epl_exit_report_of(m->graph, a->attacked_logits, a->labels, rule, &report))
        return NAN;
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) {
        int64_t y = 0, now = 0;
        const float *clean = (const float *)a->logits->data + ((report.n_exits - 1) * a->n + i) * CLASSES;
        const float *after = (const float *)a->attacked_logits->data + ((report.n_exits - 1) * a->n + i) * CLASSES;
        for (int k = 1; k < CLASSES; k++) {
            y   = clean[k] > clean[y] ? k : y;
            now = after[k] > after[now] ? k : now;
        }
        sum += now == y && report.predicted[i] != y;
    }
    epl_exit_report_release(&report);
    return 100 * sum / (double)a->n;
}

/* RQ 3: the early attack. */
static bool early(paper_run *r, const epl_model *m, const char *name, epl_dataset *images)
{
    epl_attack_result a;
    const epl_attack_opts o = { .kind = EPL_ATTACK_EARLY,
                                .steps = 500,
                                .rule = deployed,
                                .run.batch = EARLY_IMAGES,
                                .run.progress = paper_progress(r) };
    if (!epl_attack(m, images, o, &a))
        return false;
    epl_exit_rule patient = deployed;
    patient.patience = PATIENT;
    const int last = a.clean.n_exits - 1;
    const struct {
        const char *what, *unit;
        double      value;
    } measured[] = {
        { "early attack: success", "%", 100 * a.success }, { "early attack: change of a pixel", "", a.rms },
        { "early attack: final accuracy lost", "points", 100 * (a.clean.exit_accuracy[last] - a.attacked.exit_accuracy[last]) },
        { "early attack: wrong where they leave", "%", deceived(&a, m, deployed) },
        { "early attack: wrong with patience 2", "%", deceived(&a, m, patient) },
        { "early attack: cost ratio", "", a.cost_ratio },
    };
    for (size_t i = 0; i < EPL_COUNT(measured); i++)
        paper_add(paper_series_named(r, measured[i].what, name, measured[i].unit), measured[i].value);
    epl_attack_result_release(&a);
    return true;
}

static bool sweep_alpha(paper_run *r, const epl_model *m, epl_dataset *images)
{
    static const double alphas[] = { 1, 0.1, 0.01, 0.001 };
    double       success[4] = { 0 };
    epl_dataset *few = epl_dataset_range(images, 0, epl_dataset_info_of(images).count < 20 ? epl_dataset_info_of(images).count : 20);
    bool ok = few != NULL;
    for (int i = 0; ok && i < 4; i++) {
        epl_attack_result a;
        ok = epl_attack(m, few, (epl_attack_opts){ .kind = EPL_ATTACK_EARLY, .steps = 400, .alpha = alphas[i], .run.batch = 20 }, &a);
        success[i] = ok ? 100 * a.success : NAN;
        if (ok)
            epl_attack_result_release(&a);
    }
    epl_dataset_free(few);
    epl_plot *p = ok ? epl_plot_new(paper_context(r),
                                    (epl_plot_opts){ .x_label = "alpha", .y_label = "success [%]", .x_log = true })
                     : NULL;
    epl_plot_line(p, "tower", alphas, success, 4, (epl_line_opts){ .markers = true });
    paper_plot_take(r, "alpha", "Success of the early attack on 20 images, by the weight of the final classifier's margin, seed 0.", p);
    return ok;
}

static const paper_series *pgd(paper_run *r, const char *name) { return paper_series_named(r, "success of PGD", name, "%"); }

static void compare(paper_run *r)
{
    static const char *const names[] = { "tower", "residual" };
    const paper_series *there[] = { pgd(r, "tower, exits to plain"), pgd(r, "residual, exits to plain") };
    const paper_series *back[]  = { pgd(r, "tower, plain to exits"), pgd(r, "residual, plain to exits") };
    double difference[2 * PAPER_MAX_SEEDS], mean = 0, square = 0;
    int    n = 0;
    for (int a = 0; a < 2; a++)
        for (int i = 0; i < there[a]->n && i < back[a]->n; i++)
            difference[n++] = there[a]->value[i] - back[a]->value[i];
    for (int i = 0; i < n; i++)
        mean += difference[i] / n;
    for (int i = 0; i < n; i++)
        square += (difference[i] - mean) * (difference[i] - mean);
    const double error = n > 1 ? sqrt(square / (n - 1) / n) : 0;
    paper_check(r, "exits to plain - plain to exits, less the standard error, points", mean - error, PAPER_ABOVE, 0);
    for (int a = 0; a < 2; a++) {
        const double wrong = paper_mean(paper_series_named(r, "early attack: wrong where they leave", names[a], "%"));
        paper_check(r, paper_textf(r, "%s: early attack, success, %%", names[a]),
                    paper_mean(paper_series_named(r, "early attack: success", names[a], "%")), PAPER_AT_LEAST, 50);
        paper_check(r, paper_textf(r, "%s: early attack, change of a pixel", names[a]),
                    paper_mean(paper_series_named(r, "early attack: change of a pixel", names[a], "")), PAPER_AT_MOST, 0.15);
        paper_check(r, paper_textf(r, "%s: final accuracy lost, points", names[a]),
                    paper_mean(paper_series_named(r, "early attack: final accuracy lost", names[a], "points")), PAPER_AT_MOST, 2);
        paper_check(r, paper_textf(r, "%s: wrong with patience 2 - without, points", names[a]),
                    paper_mean(paper_series_named(r, "early attack: wrong with patience 2", names[a], "%")) - wrong, PAPER_AT_MOST, 0);
    }
    const paper_series *all[] = { pgd(r, "tower, plain on itself"), back[0], there[0], pgd(r, "tower, exits on themselves"),
                                  pgd(r, "residual, plain on itself"), back[1], there[1], pgd(r, "residual, exits on themselves") };
    paper_plot_series(r, "transfer", "success of PGD [%]", all, 8);
}

static void full(paper_run *r)
{
    study s = { 0 };
    network n[N_NETWORKS];
    static const char *const names[] = { "tower", "tower with exits", "residual", "residual with exits" };
    const paper_recipe recipe = { .samples = 8000, .test = 2000, .epochs = 4, .optimizer = "adam:rate=2e-3" };
    paper_variant variants[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++) {
        n[i] = (network){ &s, i };
        variants[i] = (paper_variant){
            .name = names[i], .build = i < RESNET ? tower : residual, .begin = begin, .end = keep, .user = &n[i]
        };
    }
    epl_dataset *test = paper_train(r, variants, N_NETWORKS, recipe, NULL) ? paper_test_data(r, &recipe) : NULL;
    const int64_t count = test ? epl_dataset_info_of(test).count : 0;
    epl_dataset *images = test ? epl_dataset_range(test, 0, count < IMAGES ? count : IMAGES) : NULL;
    epl_dataset *few    = images ? epl_dataset_range(images, 0, count < EARLY_IMAGES ? count : EARLY_IMAGES) : NULL;
    bool ok = few != NULL;
    for (int seed = 0; ok && seed < paper_n_seeds(r); seed++)
        ok = transfer(r, &s, images, seed) && early(r, s.models[CNN_EXITS][seed], "tower", few) &&
             early(r, s.models[RESNET_EXITS][seed], "residual", few);
    if (ok && sweep_alpha(r, s.models[CNN_EXITS][0], images))
        compare(r);
    epl_dataset_free(few);
    epl_dataset_free(images);
}

const paper paper_dynn_robustness = {
    .slug = "dynn-robustness",
    .title =
        "Dynamic Neural Network is All You Need: Understanding the Robustness of Dynamic Mechanisms in Neural Networks",
    .source = "ICCV workshop 2023",
    .kind = "analysis",
    .claim = "adversarial images made on a network with early exits deceive the plain network more than the reverse, "
             "and early exits can be deceived while "
             "the final classifier stands by its answer",
    .criterion =
        "on Fashion-MNIST, with two architectures, PGD's success from exits to plain is above that from plain to exits "
        "by more than the standard "
        "error; the early attack succeeds on at least half of 50 images with a mean change of a pixel of at most 0.15 "
        "and at most 2 points of "
        "the final classifier's accuracy; fewer or as many images leave wrongly when two exits in a row have to agree",
    .quick = quick,
    .full = full,
};
