/* prototype-network: does a classifier that reads nothing but distances to prototypes, which it can draw, cost
 * accuracy? And do the terms that tie prototypes to samples do what they are for? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

#define NET "prototype-net"

/* ---- quick ---- */

static double parameters_of(const epl_graph *g, const char *pattern)
{
    double n = 0;
    for (const epl_node *p = epl_first(g); p; p = epl_next(p))
        if (strcmp(epl_node_op_name(p), "Parameter") == 0 && epl_glob(pattern, epl_value_name(epl_node_output(p, 0))))
            n += (double)epl_shape_count(epl_shape_of(epl_node_output(p, 0)));
    return n;
}

static void check_sizes(paper_run *r)
{
    const epl_model *m = paper_model(r, NET, 0);
    if (!m)
        return;
    paper_check(r, "parameters of the encoder", parameters_of(m->graph, "encoder.*"), PAPER_EQUAL, 21706);
    paper_check(r, "of the decoder", parameters_of(m->graph, "decoder.*"), PAPER_EQUAL, 21697);
    paper_check(r, "of the prototypes", parameters_of(m->graph, "prototypes.*"), PAPER_EQUAL, 600);
    paper_check(r, "of the head", parameters_of(m->graph, "head.*"), PAPER_EQUAL, 150);
    paper_check_model(r, NET, 44153, 0);
    paper_check_model(r, NET ":init=paper", 44153, 0);
    paper_check(r, "channels of the reconstruction", (double)epl_channels(epl_graph_output_at(m->graph, 2)), PAPER_EQUAL, 1);
    paper_check(r, "its height", (double)epl_dim(epl_graph_output_at(m->graph, 2), 1), PAPER_EQUAL, 28);
    paper_check_model_refused(r, NET ":prototypes=0", "'prototypes' is 0");
    paper_check_model_refused(r, "mlp:head=prototype,prototypes=0", "'prototypes' is 0");
}

/* d_j(p_j) = 0; what is read and written is the float of that name. */
static epl_tensor *weights_of(const epl_model *m, const char *name) { return m ? epl_weights_find(m->weights, name) : NULL; }

static void check_answers(paper_run *r)
{
    epl_model      *m = paper_model(r, NET, 1);
    epl_tensor     *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(1, 28, 28, 1));
    epl_rng         rng = epl_rng_at(2, 0);
    epl_explanation e = { 0 }, swapped = { 0 };
    epl_tensor_fill_uniform(x, &rng, 0, 1);
    if (m && epl_explain(m, x, &e)) {
        double off = 0, least = INFINITY;
        for (int k = 0; k < 10; k++) {
            double sum = 0;
            for (int j = 0; j < 15; j++)
                sum += epl_tensor_get(e.contributions, j * 10 + k);
            off = fmax(off, fabs(sum - epl_tensor_get(e.logits, k)) / fmax(1, fabs(sum)));
        }
        for (int j = 0; j < 15; j++)
            least = fmin(least, epl_tensor_get(e.distances, j));
        paper_check(r, "contributions summed - logit, relative", off, PAPER_AT_MOST, 1e-5);
        paper_check(r, "least distance", least, PAPER_AT_LEAST, 0);
    }
    float *p = m ? weights_of(m, "prototypes.vectors")->data : NULL, *w = m ? weights_of(m, "head.weight")->data : NULL;
    for (int k = 0; p && k < 40; k++) { // prototypes 0 and 7 change places, with their rows
        const float a = p[k];
        p[k] = p[7 * 40 + k];
        p[7 * 40 + k] = a;
    }
    for (int k = 0; w && k < 10; k++) {
        const float a = w[k];
        w[k] = w[70 + k];
        w[70 + k] = a;
    }
    if (e.logits && epl_explain(m, x, &swapped)) {
        double off = 0;
        for (int k = 0; k < 10; k++)
            off = fmax(off, fabs(epl_tensor_get(e.logits, k) - epl_tensor_get(swapped.logits, k)));
        paper_check(r, "logits with two prototypes exchanged, difference", off, PAPER_AT_MOST, 1e-3);
    }
    epl_tensor *wide = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(1, 30, 30, 1)),
               *none = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(0, 28, 28, 1));
    epl_explanation refused;
    if (m) {
        paper_check_refused(r, "a sample of another size", epl_explain(m, wide, &refused), "the sample is f32[1, 30, 30, 1]");
        paper_check_refused(r, "a batch of none", epl_explain(m, none, &refused), "a batch of 0 samples");
    }
    epl_tensor_free(wide);
    epl_tensor_free(none);
    epl_explanation_release(&e);
    epl_explanation_release(&swapped);
    epl_tensor_free(x);
}

/* The terms of codes Z and prototypes P: R1, R2, and the gradient of R2 by P, against the formula. */
static void check_terms(paper_run *r)
{
    static const float Z[2][2] = { { 0, 0 }, { 2, 0 } }, P[3][2] = { { 0, 0 }, { 1, 0 }, { 2, 1 } };
    static const float slope[3][2] = {
        { 0, 0 }, { -1, 0 }, { 0, 0 }
    }; // (2/n) (p - z) of the samples that are nearest: (2, 0) ties, the first gets it
    epl_graph *g = epl_graph_new(paper_context(r), "terms");
    epl_value *z = epl_input(g, "z", EPL_F32, EPL_SHAPE(2, 2), NULL), *d = epl_prototypes(g, z, (epl_prototypes_opts){ .count = 3 });
    epl_value *r1 = epl_reduce_mean(g, epl_prototype_r1(g, d), (epl_reduce_opts){ 0 });
    epl_value *r2 = epl_reduce_mean(g, epl_prototype_r2(g, d), (epl_reduce_opts){ 0 }),
              *p = epl_graph_find(g, "prototypes.vectors"), *dp = NULL;
    if (epl_gradient(g, r2, 1, &p, &dp)) {
        epl_output(g, "r1", r1);
        epl_output(g, "r2", r2);
        epl_output(g, "dp", dp);
    }
    epl_model *m = epl_model_new_take(g);
    paper_keep_model_take(r, m);
    epl_program *run = m && epl_model_init(m, 0) ? epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }) : NULL;
    if (run) {
        memcpy(epl_program_input(run, 0)->data, Z, sizeof Z);
        memcpy(weights_of(m, "prototypes.vectors")->data, P, sizeof P);
    }
    if (run && epl_program_run(run)) {
        double off = 0;
        for (int i = 0; i < 6; i++)
            off = fmax(off, fabs(epl_tensor_get(epl_program_output(run, 2), i) - (double)slope[i / 2][i % 2]));
        paper_check_near(r, "R1 of the hand case", epl_tensor_get(epl_program_output(run, 0), 0), 2.0 / 3, 1e-6);
        paper_check_near(r, "R2 of the hand case", epl_tensor_get(epl_program_output(run, 1), 0), 0.5, 1e-6);
        paper_check(r, "gradient of R2 by the prototypes - formula", off, PAPER_AT_MOST, 1e-5);
        memcpy(weights_of(m, "prototypes.vectors")->data, Z, sizeof Z); // every code is a prototype
        epl_program_run(run);
        paper_check(r, "R2 where every code is a prototype", epl_tensor_get(epl_program_output(run, 1), 0), PAPER_AT_MOST, 1e-6);
        for (int i = 0; i < 6; i++) // every prototype is a code
            epl_tensor_set(weights_of(m, "prototypes.vectors"), i, (double)Z[i / 2 % 2][i % 2]);
        epl_program_run(run);
        paper_check(r, "R1 where every prototype is a code", epl_tensor_get(epl_program_output(run, 0), 0), PAPER_AT_MOST, 1e-6);
    }
    epl_program_free(run);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_answers(r);
    check_terms(r);
}

/* ---- full ---- */

enum { FULL, WITHOUT, STRONG, CNN, N_NETWORKS };
static const char *const objectives[] = { "prototype", "prototype:r1=0,r2=0", "prototype:r1=10,r2=10", NULL };

/* The same encoder, and a linear layer. */
static epl_graph *plain(epl_context *ctx, void *user)
{
    (void)user;
    epl_graph *g = epl_graph_new(ctx, "plain");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    for (int i = 0; i < 4; i++) {
        const char names[4][8] = { "conv1", "conv2", "conv3", "conv4" };
        x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = names[i], .out = i < 3 ? 32 : 10, .stride = 2, .same = true }));
    }
    epl_output(g, "logits", epl_linear(g, epl_flatten(g, x, 1), (epl_linear_opts){ .name = "head", .out = 10 }));
    return g;
}

static bool begin(paper_run *r, paper_training *t)
{
    epl_objective_opts o;
    epl_train_hook    *hook = paper_alloc(r, sizeof *hook);
    if (!hook || !epl_objective_parse(paper_context(r), t->user, &o))
        return false;
    *hook             = epl_objective_hook(paper_context(r), o);
    t->recipe.hooks   = hook;
    t->recipe.n_hooks = 1;
    return hook->user != NULL;
}

/* The mean of sum (drawn - nearest training image)^2. */
static double drawn_error(const paper_training *t, const epl_prototypes_report *p, const epl_tensor *drawn)
{
    const int64_t n = epl_tensor_count(drawn) / p->n;
    double        sum = 0;
    for (int j = 0; j < p->n; j++) {
        epl_tensor *x = NULL;
        if (!epl_dataset_tensors(t->train, p->at[j].nearest, 1, &x, NULL))
            return NAN;
        for (int64_t i = 0; i < n; i++)
            sum += pow(epl_tensor_get(x, i) - epl_tensor_get(drawn, j * n + i), 2) / p->n;
        epl_tensor_free(x);
    }
    return sum;
}

/* How far the contributions of one test image are from its logits, relative to the largest contribution. */
static double disloyalty(paper_run *r, const paper_training *t)
{
    epl_tensor     *x = NULL;
    epl_explanation e = { 0 };
    double          off = NAN;
    if (epl_dataset_tensors(t->test, 0, 1, &x, NULL) && epl_explain(t->model, x, &e)) {
        double most = 0;
        const int64_t n = epl_tensor_count(e.distances), k = epl_tensor_count(e.logits);
        off = 0;
        for (int64_t c = 0; c < k; c++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++) {
                sum += epl_tensor_get(e.contributions, j * k + c);
                most = fmax(most, fabs(epl_tensor_get(e.contributions, j * k + c)));
            }
            off = fmax(off, fabs(sum - epl_tensor_get(e.logits, c)));
        }
        off /= most;
    }
    epl_explanation_release(&e);
    epl_tensor_free(x);
    return paper_ok(r) ? off : NAN;
}

static void draw_sheet(paper_run *r, const paper_training *t, const epl_prototypes_report *p, const epl_tensor *drawn, const char *file)
{
    const epl_tensor **tiles = paper_alloc(r, (size_t)p->n * sizeof *tiles);
    const char       **names = paper_alloc(r, (size_t)p->n * sizeof *names);
    const int64_t      n = epl_tensor_count(drawn) / p->n;
    for (int j = 0; tiles && names && j < p->n; j++) {
        tiles[j] = epl_tensor_view(paper_context(r), EPL_F32, EPL_SHAPE(28, 28, 1), (float *)drawn->data + j * n);
        names[j] = epl_dataset_class_name(t->train, p->at[j].cls);
    }
    if (tiles && names)
        paper_plot_tiles(
            r, file,
            paper_textf(r,
                        "Prototypes of \"%s\" as its decoder draws them, and the class for which each speaks; seed 0.",
                        t->variant->name),
            tiles, names, p->n, (epl_pictures_opts){ .columns = 5 });
    for (int j = 0; tiles && j < p->n; j++)
        epl_tensor_free((epl_tensor *)(uintptr_t)tiles[j]);
}

static void plot_weights(paper_run *r, const paper_training *t)
{
    const epl_tensor *w = weights_of(t->model, "head.weight");
    const int64_t     n = w->shape.dim[0], k = w->shape.dim[1];
    double           *values = paper_alloc(r, (size_t)(n * k) * sizeof *values);
    const char      **columns = paper_alloc(r, (size_t)k * sizeof *columns);
    for (int64_t i = 0; values && i < n * k; i++)
        values[i] = epl_tensor_get(w, i);
    for (int c = 0; columns && c < k; c++)
        columns[c] = epl_dataset_class_name(t->train, c);
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "class", .y_label = "prototype" });
    if (values && columns)
        epl_plot_matrix(p, values, (size_t)n, (size_t)k, (epl_matrix_opts){ .column_names = columns, .diverging = true });
    paper_plot_take(
        r, "weights",
        "What the distance to each prototype adds to each class; the least of a row is the prototype's class. Seed 0.",
        p);
}

static bool look(paper_run *r, const paper_training *t)
{
    epl_prototypes_report p = { 0 };
    epl_tensor *drawn = epl_prototypes_of(t->model, t->train, paper_progress(r), &p) ? epl_prototypes_draw(t->model) : NULL;
    const char *name = t->variant->name;
    if (drawn) {
        paper_add(paper_series_named(r, "relative R1: distance of prototypes to samples", name, ""), p.relative_r1);
        paper_add(paper_series_named(r, "classes that own a prototype", name, ""), p.n_owned);
        paper_add(paper_series_named(r, "drawn prototype against its nearest image, squared error", name, ""), drawn_error(t, &p, drawn));
        paper_add(paper_series_named(r, "contributions summed - logit, relative", name, ""), disloyalty(r, t));
    }
    if (drawn && t->seed == 0) {
        draw_sheet(r, t, &p, drawn, paper_textf(r, "prototypes-%s", strcmp(t->user, objectives[FULL]) == 0 ? "full"
                                                : strcmp(t->user, objectives[WITHOUT]) == 0 ? "without" : "strong"));
        if (strcmp(t->user, objectives[FULL]) == 0)
            plot_weights(r, t);
    }
    const bool ok = drawn != NULL;
    epl_tensor_free(drawn);
    epl_prototypes_report_release(&p);
    return ok && paper_ok(r);
}

static bool end(paper_run *r, paper_training *t)
{
    if (t->recipe.n_hooks)
        epl_release(paper_context(r), t->recipe.hooks[0].user);
    return !isfinite(t->accuracy) || look(r, t);
}

static void full(paper_run *r)
{
    const paper_variant networks[N_NETWORKS] = {
        [FULL] = { .name = "prototypes",
                   .model = NET,
                   .begin = begin,
                   .end = end,
                   .user = (void *)(uintptr_t)objectives[FULL] },
        [WITHOUT] = { .name = "without R1 and R2",
                      .model = NET,
                      .begin = begin,
                      .end = end,
                      .user = (void *)(uintptr_t)objectives[WITHOUT] },
        [STRONG] = { .name = "R1 and R2 times 10",
                     .model = NET,
                     .begin = begin,
                     .end = end,
                     .user = (void *)(uintptr_t)objectives[STRONG] },
        [CNN] = { .name = "plain network", .build = plain },
    };
    const paper_series *accuracy[N_NETWORKS];
    paper_train(r, networks, N_NETWORKS, (paper_recipe){ .samples = 20000, .epochs = 12, .batch = 250, .test = 5000, .schedule = "constant",
                                                         .optimizer = "adam:rate=2e-3", .augment = "elastic:8:4" }, accuracy);
    if (!paper_ok(r))
        return;
    const char *what = "relative R1: distance of prototypes to samples";
    const double strong = paper_mean(paper_series_named(r, what, networks[STRONG].name, "")),
                 without = paper_mean(paper_series_named(r, what, networks[WITHOUT].name, ""));
    paper_check(r, "prototypes - plain network, points", paper_mean(accuracy[FULL]) - paper_mean(accuracy[CNN]), PAPER_AT_LEAST, -2.5);
    paper_check(r, "relative R1, times 10 / without", strong / without, PAPER_AT_MOST, 0.5);
    paper_check(r, "classes that own a prototype",
                paper_mean(paper_series_named(r, "classes that own a prototype", networks[FULL].name, "")),
                PAPER_AT_LEAST, 7);
    paper_check(r, "contributions summed - logit, relative", paper_mean(paper_series_named(r, "contributions summed - logit, relative",
                networks[FULL].name, "")), PAPER_AT_MOST, 1e-5);
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
}

const paper paper_prototype_network = {
    .slug = "prototype-network",
    .title =
        "Deep Learning for Case-Based Reasoning through Prototypes: A Neural Network that Explains Its Predictions",
    .source = "Li, Liu, Chen, Rudin 2018, AAAI, arXiv:1710.04806",
    .kind = "model, training",
    .claim = "a network that classifies by distances to learned prototypes, which it can draw, loses little or no "
             "accuracy against the same "
             "network without them",
    .criterion = "mean accuracy on Fashion-MNIST at most 2.5 points below the plain network's; with R1 and R2 times 10 "
                 "the relative R1 is at "
                 "most half of that without them; at least 7 classes own a prototype; the contributions sum to the "
                 "logits within 1e-5",
    .quick = quick,
    .full = full,
};
