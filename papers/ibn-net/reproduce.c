/* ibn-net: networks learn on one look of pictures and are tested on another that they have never seen. Does instance
 * normalisation beside batch normalisation help there, without loss at home? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: published sizes, costs, the closed forms of the divergence ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *model;
        int64_t     parameters;
    } sizes[] = {
        { "resnet:depth=18,ibn=a", 11689512 }, { "resnet:depth=34,ibn=a", 21797672 }, { "resnet:depth=50,ibn=a", 25557032 },
        { "resnet:depth=101,ibn=a", 44549160 }, { "resnet:depth=152,ibn=a", 60192808 }, { "resnet:depth=18,ibn=b", 11689896 },
        { "resnet:depth=34,ibn=b", 21798056 }, { "resnet:depth=50,ibn=b", 25558568 }, { "resnet:depth=101,ibn=b", 44550696 },
        { "resnet:depth=152,ibn=b", 60194344 }, { "resnext:depth=50,ibn=a", 25028904 }, { "resnext:depth=101,ibn=a", 44177704 },
        { "resnext:depth=152,ibn=a", 59951400 }, { "senet:depth=50,gate_bias=0,ibn=a", 28071976 },
        { "senet:depth=101,gate_bias=0,ibn=a", 49292328 }, { "senet:depth=152,gate_bias=0,ibn=a", 66770984 },
        { "densenet:depth=121,ibn=a", 7978856 }, { "densenet:depth=161,growth=48,ibn=a", 28681000 },
        { "densenet:depth=169,ibn=a", 14149480 }, { "densenet:depth=201,ibn=a", 20013928 },
    };
    static const char imagenet[] = ",stem=imagenet,width=64,classes=1000,image=224";
    for (size_t i = 0; i < EPL_COUNT(sizes); i++)
        paper_check_model(r,
                          paper_textf(r, "%s%s", sizes[i].model, epl_glob("resnet:*", sizes[i].model) ? imagenet : ""),
                          sizes[i].parameters, 0);
    for (int i = 0; i < 3; i++)
        paper_check_model(r, paper_textf(r, "resnet:depth=50,ibn=%s%s", i == 0 ? "none" : i == 1 ? "a" : "b", imagenet), 0, 4089184256);
    paper_check_model_refused(r, "resnet:depth=8,width=1,ibn=a", "1 channels leaves 0");
}

static void check_divergence(paper_run *r)
{
    paper_check_near(r, "divergence of N(0, 1) and N(1, 1)", epl_gaussian_divergence(0, 1, 1, 1), 1, 1e-12);
    paper_check_near(r, "divergence of N(0, 1) and N(0, 4)", epl_gaussian_divergence(0, 1, 0, 4), 1.125, 1e-12);
    paper_check_near(r, "divergence of equals", epl_gaussian_divergence(2, 3, 2, 3), 0, 1e-12);
}

/* A trained network with batch normalisation alone, rewritten: what has not changed computes on; the rest can be fine-tuned. */
static void check_rewriting(paper_run *r)
{
    epl_model     *m = paper_model(r, "resnet:depth=20,image=16", 3);
    epl_ibn_result done = { 0 };
    const int64_t  parameters = m ? epl_graph_n_parameters(m->graph) : 0;
    if (m && epl_ibn(m->graph, m->weights, 0.5, (epl_ibn_opts){ .variant = EPL_IBN_A2 }, &done)) {
        paper_check(r, "norms rewritten in two stages of three blocks", done.layers, PAPER_EQUAL, 12);
        paper_check(r, "parameters more than before", (double)(epl_graph_n_parameters(m->graph) - parameters), PAPER_EQUAL, 0);
        paper_check_true(r, "the rewritten model is whole", epl_model_check(m) && epl_graph_verify(m->graph));
        paper_check(r, "folded against unfolded, relative", paper_folding_difference(r, m, 2), PAPER_AT_MOST, 1e-4);
    }
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_divergence(r);
    check_rewriting(r);
}

/* ---- full ---- */

enum { BATCH, IBN_A, IBN_B, INSTANCE, N_NETWORKS };

/* Pictures under one light, and others under any. The words come before standardisation. */
#define LIGHT_A "rgb,normalise:0:0:0:1:1.25:1.6666667" /* gains 1, 0.8, 0.6 */
#define LIGHT_B "rgb,colour-shift:0.8:0.2:1.4:-0.1:0.5"

typedef struct domains {
    epl_dataset *train, *test_a, *test_b;
    const char  *standardise;
    epl_divergence_result divergence[N_NETWORKS];
    int          network; /* that is trained */
} domains;

/* Means and deviations of the first pictures' channels, as a word of augmentation. */
static const char *standardisation(paper_run *r, epl_dataset *d)
{
    const int64_t n = epl_dataset_info_of(d).count;
    epl_tensor   *x = NULL;
    double        mean[3] = { 0 }, square[3] = { 0 };
    if (!epl_dataset_tensors(d, 0, n < 2000 ? n : 2000, &x, NULL))
        return NULL;
    const int64_t pixels = epl_tensor_count(x) / 3;
    for (int64_t i = 0; i < 3 * pixels; i++) {
        const double v = ((const float *)x->data)[i];
        mean[i % 3] += v / (double)pixels;
        square[i % 3] += v * v / (double)pixels;
    }
    epl_tensor_free(x);
    for (int c = 0; c < 3; c++)
        square[c] = sqrt(square[c] - mean[c] * mean[c]);
    return paper_textf(r, "normalise:%.5g:%.5g:%.5g:%.5g:%.5g:%.5g", mean[0], mean[1], mean[2], square[0], square[1], square[2]);
}

static bool open_domains(paper_run *r, const paper_recipe *recipe, domains *d)
{
    epl_dataset *train = paper_train_data(r, recipe), *test = paper_test_data(r, recipe);
    d->train  = train ? epl_dataset_augmented(train, LIGHT_A, 0) : NULL;
    d->test_a = test ? epl_dataset_augmented(test, LIGHT_A, 0) : NULL;
    d->test_b = test ? epl_dataset_augmented(test, LIGHT_B, 1) : NULL;
    d->standardise = d->train ? standardisation(r, d->train) : NULL;
    return d->test_a && d->test_b && d->standardise;
}

static bool use_domain(paper_run *r, paper_training *t)
{
    domains *d = t->user;
    t->train = d->train;
    t->test  = d->test_a;
    t->recipe.augment = d->standardise;
    return paper_ok(r);
}

static bool test_elsewhere(paper_run *r, paper_training *t)
{
    domains       *d = t->user;
    epl_evaluation e = { 0 };
    if (!isfinite(t->accuracy) || !epl_evaluate(t->model, d->test_b, (epl_evaluate_opts){ .batch = 100 }, &e))
        return false;
    paper_add(paper_series_named(r, "accuracy under other lights", t->variant->name, "%"), 100 * e.metrics.accuracy);
    epl_evaluation_release(paper_context(r), &e);
    return t->seed > 0 || epl_divergence(t->model, d->test_a, d->test_b, "stem,stage?.unit?", (epl_features_opts){ .batch = 100 },
                                         &d->divergence[d->network++]);
}

/* Instance normalisation alone, everywhere. */
static epl_graph *instance_everywhere(epl_context *ctx, void *user)
{
    (void)user;
    epl_graph *g = epl_graph_new(ctx, "instance");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 3), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = 8 }, .normalize = epl_instance_norm });
    for (int i = 0; i < 6; i++) {
        const int width = 8 << i / 2;
        epl_scope_push(g, "stage%d.unit%d", i / 2 + 1, i % 2 + 1);
        x = epl_residual_unit(g, x, (epl_residual_unit_opts){ .out = width, .inner = width, .stride = i == 2 || i == 4 ? 2 : 1,
                                                              .normalize = epl_instance_norm });
        epl_scope_pop(g);
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 10 }));
    return g;
}

static void plot_divergence(paper_run *r, const domains *d, const paper_variant *v)
{
    epl_plot *p =
        epl_plot_new(paper_context(r),
                     (epl_plot_opts){ .x_label = "layer", .y_label = "divergence of the two domains", .y_log = true });
    for (int i = 0; i <= IBN_B; i++)
        epl_plot_line(p, v[i].name, NULL, d->divergence[i].values, (size_t)d->divergence[i].n, (epl_line_opts){ .markers = true });
    paper_plot_take(r, "divergence", "Divergence of features between the two domains after the stem and each block, seed 0.", p);
}

/* The mean over the first stage. */
static double shallow(const epl_divergence_result *d)
{
    double sum = 0;
    int    n = 0;
    for (int i = 0; i < d->n; i++)
        if (epl_glob("stem,stage1*", d->names[i])) {
            sum += d->values[i];
            n++;
        }
    return sum / n;
}

static void compare(paper_run *r, const paper_variant *v, const paper_series *const *home, const domains *d)
{
    const paper_series *away[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++)
        away[i] = paper_series_named(r, "accuracy under other lights", v[i].name, "%");
    paper_check(r, "under other lights: IBN-b - batch, points", paper_mean(away[IBN_B]) - paper_mean(away[BATCH]), PAPER_AT_LEAST, 10);
    paper_check(r, "under other lights: IBN-a - batch, points", paper_mean(away[IBN_A]) - paper_mean(away[BATCH]), PAPER_AT_LEAST, 0);
    paper_check(r, "at home: IBN-a - batch, points", paper_mean(home[IBN_A]) - paper_mean(home[BATCH]), PAPER_AT_LEAST, -1);
    paper_check(r, "at home: instance - IBN-a, points", paper_mean(home[INSTANCE]) - paper_mean(home[IBN_A]), PAPER_BELOW, 0);
    paper_check(r, "divergence in shallow layers: IBN-b / batch",
                shallow(&d->divergence[IBN_B]) / shallow(&d->divergence[BATCH]), PAPER_BELOW, 0.5);
    paper_plot_series(r, "home", "test accuracy [%]", home, N_NETWORKS);
    paper_plot_series(r, "away", "accuracy under other lights [%]", away, N_NETWORKS);
    plot_divergence(r, d, v);
}

static void full(paper_run *r)
{
    domains d = { 0 };
    const paper_recipe recipe = { .samples = 8000, .test = 5000, .epochs = 4, .optimizer = "adam:rate=2e-3" };
#define RESNET "resnet:depth=14,width=8,image=28,channels=3,ibn="
    const paper_variant networks[N_NETWORKS] = {
        [BATCH]    = { .name = "batch", .model = RESNET "none", .begin = use_domain, .end = test_elsewhere, .user = &d },
        [IBN_A]    = { .name = "IBN-a", .model = RESNET "a", .begin = use_domain, .end = test_elsewhere, .user = &d },
        [IBN_B]    = { .name = "IBN-b", .model = RESNET "b", .begin = use_domain, .end = test_elsewhere, .user = &d },
        [INSTANCE] = { .name = "instance", .build = instance_everywhere, .begin = use_domain, .end = test_elsewhere, .user = &d },
    };
    const paper_series *home[N_NETWORKS];
    if (open_domains(r, &recipe, &d) && paper_train(r, networks, N_NETWORKS, recipe, home))
        compare(r, networks, home, &d);
    for (int i = 0; i < N_NETWORKS; i++)
        epl_divergence_release(&d.divergence[i]);
    epl_dataset_free(d.train);
    epl_dataset_free(d.test_a);
    epl_dataset_free(d.test_b);
}

const paper paper_ibn_net = {
    .slug = "ibn-net",
    .title = "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net",
    .source = "Pan, Luo, Shi, Tang 2018, arXiv:1807.09441",
    .kind = "block",
    .claim = "instance normalisation beside batch normalisation in the shallow half of a network keeps the accuracy at "
             "home and transfers to a "
             "domain that looks different, without any of its data",
    .criterion = "trained on Fashion-MNIST under one light, IBN-b is at least 10 points above batch normalisation "
                 "under other lights, IBN-a not "
                 "below it there and at most 1 point below it at home, instance normalisation alone below IBN-a at "
                 "home, and the divergence "
                 "of shallow features with IBN-b less than half of that with batch normalisation",
    .quick = quick,
    .full = full,
};
