/* phnn: do weights that are sums of n Kronecker products learn an algebra, and keep the accuracy of a network with n
 * times as many? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: published sizes, what is refused, and that a plain weight computes the same ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *model;
        int64_t     parameters;
    } sizes[] = {
        { "phc-resnet:n=0", 11173962 }, { "phc-resnet:n=2", 5594794 }, { "phc-resnet:n=4", 2805962 },
        { "phc-resnet:n=0,large=1", 10877062 }, { "phc-resnet:n=2,large=1", 5446226 }, { "phc-resnet:n=3,large=1", 3635914 },
        { "phc-resnet:n=4,large=1", 2731578 }, { "phc-resnet:n=0,depth=50,large=1", 22538086 }, { "phc-resnet:n=2,depth=50,large=1", 11305754 },
        { "phc-resnet:n=3,depth=50,large=1", 7562149 }, { "phc-resnet:n=4,depth=50,large=1", 5692074 },
        { "phc-resnet:n=2,depth=152,large=1", 26576330 }, { "phc-resnet:n=3,depth=152,large=1", 17775463 },
        { "phc-resnet:n=4,depth=152,large=1", 13379562 }, { "phc-vgg:n=0", 29806930 }, { "phc-vgg:n=2", 14909938 }, { "phc-vgg:n=3", 9946504 },
        { "phc-vgg:n=4", 7465390 }, { "phc-vgg:n=0,depth=16", 15253578 }, { "phc-vgg:n=2,depth=16", 7632386 }, { "phc-vgg:n=4,depth=16", 3824394 },
    };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++)
        paper_check_model(r, sizes[i].model, sizes[i].parameters, 0);
    paper_check_model_refused(r, "phc-resnet:n=3", "stem.conv (3 -> 64, outputs)"); // 64 channels do not divide by 3
}

/* Plain weights in the place of the sums: the same network. And sums fitted to those: the same once more. */
static void check_plain_form(paper_run *r)
{
    epl_context *ctx = paper_context(r);
    epl_model   *m = paper_model(r, "phc-resnet:large=1,image=8,n=3", 2), *plain = m ? epl_model_copy(m) : NULL, *fitted = NULL;
    epl_tensor  *x = m ? epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 8, 8, 3)) : NULL;
    epl_rng      rng = epl_rng_at(1, 0);
    epl_hypercomplex_result fit = { 0 };
    if (x)
        epl_tensor_fill_normal(x, &rng, 0, 1);
    if (x && plain && epl_bake(plain)) {
        paper_check(r, "baked against summed, relative", paper_relative_difference(r, m, plain, x), PAPER_AT_MOST, 1e-5);
        fitted = epl_model_copy(plain);
    }
    if (fitted && epl_hypercomplex(fitted->graph, fitted->weights, (epl_hypercomplex_opts){ .n = 3, .skip = "head.*" }, &fit)) {
        paper_check(r, "left over by the fit, relative", fit.error, PAPER_AT_MOST, 1e-5);
        paper_check(r, "fitted against summed, relative", paper_relative_difference(r, m, fitted, x), PAPER_AT_MOST, 1e-3);
        paper_check(r, "layers fitted", fit.layers, PAPER_EQUAL, 20);
    }
    epl_release(ctx, fit.skipped_names);
    epl_tensor_free(x);
    epl_model_free(plain);
    epl_model_free(fitted);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_plain_form(r);
}

/* ---- full: learning Hamilton's product ---- */

enum { SAMPLES = 1000, STEPS = 2000 };

/* The matrix [in, out] of x -> q x. */
static void product_matrix(const double q[4], double w[16])
{
    const double rows[4][4] = { { q[0], -q[1], -q[2], -q[3] },
                                { q[1], q[0], -q[3], q[2] },
                                { q[2], q[3], q[0], -q[1] },
                                { q[3], -q[2], q[1], q[0] } };
    for (int o = 0; o < 4; o++)
        for (int i = 0; i < 4; i++)
            w[4 * i + o] = rows[o][i];
}

static void fill_samples(epl_program *p, const double w[16], epl_rng *rng)
{
    epl_tensor *x = epl_program_input_named(p, "x"), *y = epl_program_input_named(p, "target"),
               *one = epl_program_input_named(p, "weights");
    epl_tensor_fill_normal(x, rng, 0, 1);
    for (int64_t k = 0; k < SAMPLES; k++) {
        epl_tensor_set(one, k, 1);
        for (int o = 0; o < 4; o++) {
            double sum = 0;
            for (int i = 0; i < 4; i++)
                sum += epl_tensor_get(x, 4 * k + i) * w[4 * i + o];
            epl_tensor_set(y, 4 * k + o, sum);
        }
    }
}

/* The largest difference of the learned weight from the true one. */
static double weight_error(epl_model *m, const double w[16])
{
    double most = NAN;
    const epl_tensor *learned = epl_bake(m) ? epl_weights_find(m->weights, "linear.weight") : NULL;
    for (int i = 0; learned && i < 16; i++)
        most = fmax(i ? most : 0, fabs(epl_tensor_get(learned, i) - w[i]));
    return most;
}

static bool learn_product(paper_run *r, uint64_t seed, double *loss, double *error)
{
    epl_context *ctx = paper_context(r);
    epl_rng      rng = epl_rng_at(seed, 0);
    double       q[4], w[16];
    for (int i = 0; i < 4; i++)
        q[i] = epl_rng_normal(&rng);
    product_matrix(q, w);
    epl_graph *g = epl_graph_new(ctx, "product"), *step = NULL;
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4), "N,");
    epl_output(g, "y", epl_phm(g, x, (epl_linear_opts){ .out = 4, .no_bias = true }, (epl_hypercomplex_opts){ .n = 4 }));
    epl_model *m = epl_model_new_take(g);
    if (m && epl_model_init(m, seed))
        step = epl_train_graph(m, m->weights,
                               (epl_step_opts){ .batch = SAMPLES,
                                                .loss = { .name = "mse" },
                                                .optimizer = { .kind = EPL_ADAM },
                                                .target_dtype = EPL_F32 },
                               seed, NULL);
    epl_program *p = step ? epl_program_new(step, m->weights, (epl_program_opts){ 0 }) : NULL;
    if (p)
        fill_samples(p, w, &rng);
    bool ok = p != NULL;
    for (int t = 0; ok && t < STEPS; t++) {
        const epl_schedule_opts cosine = { .kind = EPL_RATE_COSINE };
        epl_tensor_set(epl_program_input_named(p, "rate"), 0, 1e-2 * epl_schedule_factor(&cosine, t, STEPS));
        ok = epl_program_run(p) && paper_ok(r);
    }
    *loss = ok ? epl_tensor_get(epl_program_output_named(p, "loss"), 0) : NAN;
    epl_program_free(p);
    *error = ok ? weight_error(m, w) : NAN;
    epl_graph_free(step);
    epl_model_free(m);
    return ok;
}

static void learn_algebra(paper_run *r)
{
    paper_series *loss  = paper_series_named(r, "mean squared error of the learned product", "n = 4", "");
    paper_series *error = paper_series_named(r, "largest error of the learned weight", "n = 4", "");
    double worst[2] = { 0, 0 };
    for (int seed = 0; seed < paper_n_seeds(r) && paper_ok(r); seed++) {
        double l, e;
        learn_product(r, (uint64_t)seed, &l, &e);
        paper_add(loss, l);
        paper_add(error, e);
        worst[0] = fmax(worst[0], l);
        worst[1] = fmax(worst[1], e);
    }
    paper_check(r, "mean squared error of the learned product, the worst", worst[0], PAPER_BELOW, 1e-6);
    paper_check(r, "largest error of the learned weight, the worst", worst[1], PAPER_BELOW, 1e-3);
}

/* ---- full: residual networks ---- */

enum { REAL, N2, N3, N4, NARROW, N_NETWORKS };
typedef struct shape {
    int n, width; /* n 0: real */
} shape;

static epl_graph *residual(epl_context *ctx, void *user)
{
    const shape *s = user;
    epl_graph   *g = epl_graph_new(ctx, "residual");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = s->width } });
    for (int i = 0; i < 3; i++) {
        epl_scope_push(g, "stage%d", i + 1);
        x = epl_residual_unit(g, x, (epl_residual_unit_opts){ .out = s->width << i, .inner = s->width << i, .stride = i ? 2 : 1 });
        epl_scope_pop(g);
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 10 }));
    if (s->n > 0)
        epl_hypercomplex(g, NULL, (epl_hypercomplex_opts){ .n = s->n, .pattern = "stage*" }, NULL);
    return g;
}

/* Weights of the blocks' convolutions, with the rules. */
static double block_weights(const epl_graph *g)
{
    double n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        if (epl_glob("Parameter", epl_node_op_name(k)) && epl_glob("stage*", epl_value_name(epl_node_output(k, 0))) &&
            epl_rank(epl_node_output(k, 0)) > 1)
            n += (double)epl_shape_count(epl_shape_of(epl_node_output(k, 0)));
    return n;
}

static bool weigh(paper_run *r, paper_training *t)
{
    if (t->seed == 0) {
        paper_add(paper_series_named(r, "parameters", t->variant->name, ""), (double)epl_graph_n_parameters(t->model->graph));
        paper_add(paper_series_named(r, "weights of the blocks", t->variant->name, ""), block_weights(t->model->graph));
    }
    return paper_ok(r);
}

static void plot_parameters(paper_run *r, const paper_series *const *accuracy)
{
    const char *names[N_NETWORKS];
    double      x[N_NETWORKS], y[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++) {
        names[i] = accuracy[i] ? accuracy[i]->name : NULL;
        x[i]     = names[i] ? paper_mean(paper_series_named(r, "parameters", names[i], "")) : NAN;
        y[i]     = paper_mean(accuracy[i]);
    }
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "parameters", .y_label = "test accuracy [%]" });
    epl_plot_scatter(p, NULL, x, y, N_NETWORKS, (epl_scatter_opts){ .labels = names });
    paper_plot_take(r, "parameters", "Test accuracy against parameters.", p);
}

static void full(paper_run *r)
{
    static shape shapes[N_NETWORKS] = { [REAL] = { 0, 24 }, [N2] = { 2, 24 }, [N3] = { 3, 24 }, [N4] = { 4, 24 }, [NARROW] = { 0, 12 } };
    const paper_variant networks[N_NETWORKS] = {
        [REAL]   = { .name = "real", .build = residual, .end = weigh, .user = &shapes[REAL] },
        [N2]     = { .name = "n = 2", .build = residual, .end = weigh, .user = &shapes[N2] },
        [N3]     = { .name = "n = 3", .build = residual, .end = weigh, .user = &shapes[N3] },
        [N4]     = { .name = "n = 4", .build = residual, .end = weigh, .user = &shapes[N4] },
        [NARROW] = { .name = "real, half as wide", .build = residual, .end = weigh, .user = &shapes[NARROW] },
    };
    const paper_series *accuracy[N_NETWORKS];
    learn_algebra(r);
    paper_train(r, networks, N_NETWORKS,
                (paper_recipe){
                    .samples = 10000, .test = 5000, .epochs = 4, .batch = 32, .optimizer = "adam:rate=2e-3" },
                accuracy);
    if (!paper_ok(r))
        return;
    const double real = paper_mean(paper_series_named(r, "weights of the blocks", "real", ""));
    for (int i = N2; i <= N4; i++)
        paper_check_near(r, paper_textf(r, "weights of the blocks, n = %d / real, times n", shapes[i].n),
                         shapes[i].n * paper_mean(paper_series_named(r, "weights of the blocks", networks[i].name, "")) / real, 1, 0.1);
    paper_check(r, "accuracy, n = 2 - real, points", paper_mean(accuracy[N2]) - paper_mean(accuracy[REAL]), PAPER_AT_LEAST, -1.5);
    paper_check(r, "accuracy, n = 4 - real of as many parameters, points",
                paper_mean(accuracy[N4]) - paper_mean(accuracy[NARROW]), PAPER_AT_LEAST, -0.5);
    paper_remark(r, "The paper reports accuracies above those of the real network. Here the best of n = 2, 3, 4 is %+.2f points from it.",
                 fmax(fmax(paper_mean(accuracy[N2]), paper_mean(accuracy[N3])), paper_mean(accuracy[N4])) - paper_mean(accuracy[REAL]));
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
    plot_parameters(r, accuracy);
}

const paper paper_phnn = {
    .slug = "phnn",
    .title = "PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex Convolutions",
    .source = "Grassucci, Zhang, Comminiello 2021, arXiv:2110.04176",
    .kind = "block",
    .claim = "layers whose weights are sums of n Kronecker products learn their algebra from data and, with 1/n of the "
             "parameters, are as "
             "accurate as real ones",
    .criterion = "Hamilton's product is learned with a squared error below 1e-6 and weights right to 1e-3; on "
                 "Fashion-MNIST the blocks have "
                 "1/n of the weights (to 10 %), n = 2 is at most 1.5 points below the real network, and n = 4 at most "
                 "0.5 points below a "
                 "real one of as many parameters",
    .quick = quick,
    .full = full,
};
