/* random-pruning: weights removed at random before training, and never chosen again. How much less do wide networks
 * lose by it than narrow ones, and does it matter which weights go, or how many of each layer? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: sizes, densities, masks, measures ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *options;
        int64_t     parameters;
    } sizes[] = { { "depth=20", 272474 }, { "depth=20,width=8", 68786 }, { "depth=20,width=24", 611074 }, { "depth=32", 466906 },
                  { "depth=44", 661338 }, { "depth=56", 855770 }, { "depth=110", 1730714 } };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++)
        paper_check_model(r, paper_textf(r, "resnet:%s", sizes[i].options), sizes[i].parameters, i == 0 ? 40813184 : 0);
    paper_check_model(r, "resnet:stem=imagenet,depth=50,width=64,group_width=2,image=224,classes=1000", 68883240, 0);
    paper_check_model_refused(r, "resnet:depth=21", "6n + 2");
}

static double density_of(const epl_model *m, const char *weight)
{
    char name[256];
    snprintf(name, sizeof name, "%s.mask", weight);
    const epl_tensor *mask = epl_weights_find(m->weights, name);
    double kept = 0;
    for (int64_t i = 0; mask && i < epl_tensor_count(mask); i++)
        kept += epl_tensor_get(mask, i);
    return mask ? kept / (double)epl_tensor_count(mask) : NAN;
}

static epl_model *pruned(paper_run *r, const char *distribution, double density, uint64_t seed)
{
    epl_model *m = paper_model(r, "resnet:depth=20", 1);
    const epl_prune_opts o = { .criterion = "random", .distribution = distribution, .sparsity = 1 - density, .seed = seed };
    return m && epl_prune_weights(m, o) ? m : NULL;
}

/* The densities of the rule, to what whole weights allow. */
static void check_density(paper_run *r, const epl_model *m, const char *rule, const char *weight, double expected)
{
    const double n = (double)epl_tensor_count(epl_weights_find(m->weights, weight));
    paper_check_near(r, paper_textf(r, "%s: %s", rule, weight), density_of(m, weight), expected, 0.5 / n + 5.1e-5);
}

static void check_densities(paper_run *r)
{
    static const struct {
        const char *rule;
        double      density;
        struct {
            const char *weight;
            double      expected;
        } of[8];
    } known[] = {
        { "erk", 0.05, { { "stem.conv.weight", 0.4748 }, { "stage1.unit1.a.conv.weight", 0.1353 }, { "stage2.unit1.a.conv.weight", 0.0961 },
                         { "stage2.unit2.a.conv.weight", 0.0623 }, { "stage3.unit1.a.conv.weight", 0.0454 },
                         { "stage3.unit3.b.conv.weight", 0.0298 }, { "head.weight", 0.9486 } } },
        { "erk", 0.1, { { "stem.conv.weight", 0.9830 }, { "head.weight", 1 } } },
        { "erk", 0.5, { { "stem.conv.weight", 1 }, { "stage1.unit2.a.conv.weight", 1 }, { "stage2.unit1.a.conv.weight", 1 },
                        { "stage2.unit3.a.conv.weight", 0.7676 }, { "stage3.unit1.a.conv.weight", 0.5592 }, { "stage3.unit2.b.conv.weight", 0.3673 } } },
        { "er", 0.05, { { "stem.conv.weight", 0.4448 }, { "stage1.unit1.a.conv.weight", 0.1405 }, { "head.weight", 0.1299 } } },
        { "uniform+", 0.05, { { "stem.conv.weight", 1 }, { "stage2.unit2.a.conv.weight", 0.0481232 }, { "head.weight", 0.2 } } },
        { "uniform+", 0.1, { { "stem.conv.weight", 1 }, { "stage2.unit2.a.conv.weight", 0.0983219 }, { "head.weight", 0.2 } } },
        { "uniform+", 0.3, { { "stage2.unit2.a.conv.weight", 0.2988819 }, { "head.weight", 0.3 } } },
    };
    for (size_t i = 0; i < EPL_COUNT(known); i++) {
        const epl_model *m = pruned(r, known[i].rule, known[i].density, 0);
        epl_sparsity     s;
        if (!m || !epl_sparsity_of(m, &s))
            return;
        const char *rule = paper_textf(r, "%s at %g", known[i].rule, known[i].density);
        for (int k = 0; k < 8 && known[i].of[k].weight; k++)
            check_density(r, m, rule, known[i].of[k].weight, known[i].of[k].expected);
        paper_check_near(r, paper_textf(r, "%s: of all weights", rule), (double)s.nonzero / (double)s.weights,
                         known[i].density, 22 * 0.5 / 270896);
    }
}

static bool same_masks(const epl_model *a, const epl_model *b)
{
    bool same = a && b;
    for (int i = 0; same && i < epl_weights_count(a->weights); i++) {
        const char *name = epl_weights_name(a->weights, i);
        const epl_tensor *other = epl_weights_find(b->weights, name);
        if (epl_glob("*.mask", name))
            same = other && epl_tensor_equal(epl_weights_at(a->weights, i), other);
    }
    return same;
}

static void check_masks(paper_run *r)
{
    const epl_model *a = pruned(r, "erk", 0.1, 3), *b = pruned(r, "erk", 0.1, 3), *c = pruned(r, "erk", 0.1, 4);
    paper_check_true(r, "the same seed, the same masks", same_masks(a, b));
    paper_check_true(r, "another seed, others", a && c && !same_masks(a, c));
    epl_model *m = paper_model(r, "resnet:depth=8", 0);
    const epl_prune_opts blind = { .criterion = "random", .ratios_of = "snip", .sparsity = 0.5 };
    paper_check_refused(r, "ratios of a criterion that looks at data, without", m && epl_prune_weights(m, blind), "needs");
    paper_check_refused(r, "a density of more than 1", pruned(r, "erk", 1.5, 0), "sparsity");
    paper_check_refused(r, "a density of 0", pruned(r, "uniform", 0, 0), "sparsity");
}

/* Labels drawn from the stated probabilities, and scores that do or do not differ. */
static void check_measures(paper_run *r)
{
    enum { N = 1000000 };
    epl_context *ctx = paper_context(r);
    epl_tensor  *logits = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(N, 2)), *labels = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(N));
    epl_rng      rng = epl_rng_at(1, 0);
    epl_calibration c;
    for (int64_t i = 0; labels && i < N; i++) {
        const double p = epl_rng_uniform_f64(&rng) * 0.98 + 0.01;
        ((float *)logits->data)[2 * i + 1] = (float)log(p / (1 - p));
        ((int64_t *)labels->data)[i] = epl_rng_uniform_f64(&rng) < p;
    }
    if (labels && epl_calibration_of(ctx, logits, labels, 0, &c))
        paper_check(r, "calibration error of a calibrated predictor", c.ece, PAPER_BELOW, 0.003);
    epl_tensor_free(logits);
    epl_tensor_free(labels);
    const double low[] = { 0.1, 0.2, 0.3 }, high[] = { 0.4, 0.5 };
    paper_check(r, "area under the curve: the same scores", epl_auroc(ctx, low, 3, low, 3), PAPER_EQUAL, 0.5);
    paper_check(r, "area under the curve: scores apart", epl_auroc(ctx, high, 2, low, 3), PAPER_EQUAL, 1);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_densities(r);
    check_masks(r);
    check_measures(r);
}

/* ---- full ---- */

enum { N_WIDTHS = 4, N_KINDS = 4, DENSE = 0, ERK30, ERK10, UNIFORM10 };
static const int widths[N_WIDTHS] = { 2, 4, 8, 16 };

typedef struct subject {
    const char  *distribution; /* NULL: dense */
    double       density;
    bool         mask_alone;   /* the seed is the masks'; weights start as with seed 0 */
    epl_dataset *train, *test, *strange, *noise; /* of half the side */
    bool         measured;     /* calibration and what it makes of other data */
} subject;

/* Weights as with seed 0. */
static bool start_again(epl_model *m)
{
    while (epl_weights_count(m->weights) > 0)
        if (!epl_weights_remove(m->weights, epl_weights_name(m->weights, epl_weights_count(m->weights) - 1)))
            return false;
    return epl_model_init(m, 0);
}

static void measure_gradient(paper_run *r, const paper_training *t)
{
    epl_tensor *x = NULL, *y = NULL;
    double      square = NAN;
    if (epl_dataset_tensors(t->train, 0, 128, &x, &y))
        epl_table_free(epl_gradient_flow(t->model, x, y, (epl_loss_opts){ 0 }, &square));
    paper_add(paper_series_named(r, "squared norm of the first gradient", t->variant->name, ""), square);
    epl_tensor_free(x);
    epl_tensor_free(y);
}

/* Masks before the first update, which never move. */
static bool begin(paper_run *r, paper_training *t)
{
    subject       *s = t->user;
    const uint64_t mask = t->seed;
    t->train = s->train;
    t->test  = s->test;
    t->seed  = s->mask_alone ? 0 : t->seed;
    const epl_prune_opts o = { .criterion = "random", .distribution = s->distribution, .sparsity = 1 - s->density, .seed = mask };
    if ((s->mask_alone && !start_again(t->model)) || (s->distribution && !epl_prune_weights(t->model, o)))
        return false;
    if (s->measured)
        measure_gradient(r, t);
    return paper_ok(r);
}

/* Likelihood and calibration on the test part, and whether other pictures make the network less sure. */
static bool end(paper_run *r, paper_training *t)
{
    const subject *s = t->user;
    const char    *name = t->variant->name;
    if (!s->measured || !isfinite(t->accuracy))
        return true;
    epl_tensor     *logits = epl_logits_of(t->model, s->test, (epl_progress){ 0 }), *labels = NULL;
    epl_calibration c;
    if (logits && epl_dataset_tensors(s->test, 0, epl_dataset_info_of(s->test).count, NULL, &labels) &&
        epl_calibration_of(paper_context(r), logits, labels, 0, &c)) {
        paper_add(paper_series_named(r, "calibration error", name, "%"), 100 * c.ece);
        paper_add(paper_series_named(r, "negative log likelihood", name, ""), c.nll);
        paper_add(paper_series_named(r, "area under the curve, figures", name, "%"), 100 * epl_ood_auroc(t->model, s->test, s->strange));
        paper_add(paper_series_named(r, "area under the curve, noise", name, "%"), 100 * epl_ood_auroc(t->model, s->test, s->noise));
    }
    epl_tensor_free(logits);
    epl_tensor_free(labels);
    return paper_ok(r);
}

/* What dense networks are better by, for each seed. */
static paper_series gap_of(const paper_series *dense, const paper_series *sparse)
{
    paper_series gap = { .n = dense->n };
    for (int i = 0; i < gap.n; i++)
        gap.value[i] = dense->value[i] - sparse->value[i];
    return gap;
}

static void plot_gaps(paper_run *r, const paper_series *accuracy[N_WIDTHS][N_KINDS])
{
    static const char *const names[N_KINDS] = { NULL, "ERK, 30 % left", "ERK, 10 % left", "uniform, 10 % left" };
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "width", .y_label = "dense - sparse, points", .x_log = true });
    for (int k = ERK30; k < N_KINDS; k++) {
        double x[N_WIDTHS], y[N_WIDTHS];
        for (int i = 0; i < N_WIDTHS; i++) {
            const paper_series gap = gap_of(accuracy[i][DENSE], accuracy[i][k]);
            x[i] = widths[i];
            y[i] = paper_mean(&gap);
        }
        epl_plot_line(p, names[k], x, y, N_WIDTHS, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, "gaps", "what random pruning costs, by width: means of the seeds", p);
}

static void check_gaps(paper_run *r, const paper_series *accuracy[N_WIDTHS][N_KINDS])
{
    const paper_series narrow = gap_of(accuracy[1][DENSE], accuracy[1][ERK10]), wide = gap_of(accuracy[3][DENSE], accuracy[3][ERK10]);
    const double error = sqrt((paper_std(&narrow) * paper_std(&narrow) + paper_std(&wide) * paper_std(&wide)) / narrow.n);
    double by_rule = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        by_rule += (paper_mean(accuracy[i][ERK10]) - paper_mean(accuracy[i][UNIFORM10])) / N_WIDTHS;
    paper_check(r, "what pruning to 10 % costs: width 4 - width 16, less its standard error, points",
                paper_mean(&narrow) - paper_mean(&wide) - error, PAPER_ABOVE, 0);
    paper_check(r, "at 10 %, over all widths: ERK - uniform, points", by_rule, PAPER_AT_LEAST, 0);
    plot_gaps(r, accuracy);
}

static const paper_recipe recipe = {
    .samples = 6000, .test = 5000, .epochs = 8, .optimizer = "sgd:rate=0.1,momentum=0.9,nesterov=1,decay=5e-4"
};

static void compare(paper_run *r, subject base)
{
    static const struct {
        const char *name, *distribution;
        double      density;
    } kinds[N_KINDS] = { { "dense", NULL, 1 }, { "ERK 30 %", "erk", 0.3 }, { "ERK 10 %", "erk", 0.1 }, { "uniform 10 %", "uniform", 0.1 } };
    subject       s[N_WIDTHS * N_KINDS + 1];
    paper_variant v[N_WIDTHS * N_KINDS + 1];
    const paper_series *accuracy[N_WIDTHS * N_KINDS + 1] = { NULL }, *by[N_WIDTHS][N_KINDS];
    int n = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        for (int k = 0; k < N_KINDS; k++, n++) {
            s[n] = base;
            s[n].distribution = kinds[k].distribution;
            s[n].density      = kinds[k].density;
            s[n].measured     = widths[i] == 16 && (k == DENSE || k == ERK10);
            v[n] = (paper_variant){ .name = paper_textf(r, "width %d, %s", widths[i], kinds[k].name),
                                    .begin = begin,
                                    .end = end,
                                    .user = &s[n],
                                    .model = paper_textf(r, "resnet:depth=8,width=%d,image=14,channels=1", widths[i]) };
        }
    s[n] = s[n - N_KINDS + ERK10];
    s[n].mask_alone = true;
    s[n].measured   = false;
    v[n] = (paper_variant){ .name = "width 16, ERK 10 %, other masks", .model = v[n - 1].model, .begin = begin, .user = &s[n] };
    if (!paper_train(r, v, n + 1, recipe, accuracy))
        return;
    for (int i = 0; i < n; i++)
        by[i / N_KINDS][i % N_KINDS] = accuracy[i];
    check_gaps(r, by);
    paper_check(r, "width 16: deviation over masks / over the starts of dense networks", paper_std(accuracy[n]) / paper_std(by[3][DENSE]),
                PAPER_AT_MOST, 2);
}

/* Half the side, in memory. */
static epl_dataset *halved(epl_dataset *d) { return d ? epl_dataset_augmented(d, "resize:14", 0) : NULL; }

static void full(paper_run *r)
{
    epl_context *ctx = paper_context(r);
    const epl_dataset_opts tests = { .split = EPL_SPLIT_TEST };
    subject base = { .train = halved(paper_train_data(r, &recipe)), .test = halved(paper_test_data(r, &recipe)),
                     .strange = epl_dataset_open(ctx, "shapes:image=14,channels=1,test=2000", tests),
                     .noise = epl_dataset_open(ctx, "noise:image=14,channels=1,test=2000", tests) };
    if (base.train && base.test && base.strange && base.noise)
        compare(r, base);
    epl_dataset_free(base.train);
    epl_dataset_free(base.test);
    epl_dataset_free(base.strange);
    epl_dataset_free(base.noise);
}

const paper paper_random_pruning = {
    .slug = "random-pruning",
    .title = "The unreasonable effectiveness of random pruning: return of the most naive baseline for sparse training",
    .source = "Liu et al., 2022, ICLR, arXiv:2202.02643",
    .kind = "training",
    .claim = "What random pruning before training costs shrinks as networks get wider, and how many weights of each "
             "layer stay matters "
             "more than which.",
    .criterion = "pruning to 10 % costs less at width 16 than at width 4, by more than the standard error; ERK is no "
                 "worse than uniform in the "
                 "mean over widths; accuracy varies over masks at most twice as much as over starts",
    .quick = quick,
    .full = full,
};
