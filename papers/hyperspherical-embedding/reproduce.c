/* hyperspherical-embedding: does a classifier of directions embed classes that it never saw better than a plain one,
 * and as well as triplets do for the same number of encoded images? */
#include "papers/common/paper.h"

#include <math.h>

enum { N_CLASSES = 10, N_NOVEL = 3, N_BASE = 7, WIDTH = 32 };

/* ---- the encoder: three 3x3 units, two pools, an average, a linear layer without bias; then a head ---- */

typedef enum head { PLAIN, COSINE, NONE } head;

static epl_graph *encoder(epl_context *ctx, head h)
{
    epl_graph *g = epl_graph_new(ctx, "encoder");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "unit1", .conv = { .out = 32 } });
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "unit2", .conv = { .out = 64 } });
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "unit3", .conv = { .out = 64 } });
    x = epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "embed", .out = WIDTH, .no_bias = true });
    if (h == PLAIN)
        x = epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = N_BASE });
    else if (h == COSINE)
        x = epl_cosine_head(g, x, (epl_cosine_head_opts){ .classes = N_BASE, .scale = 16 });
    epl_output(g, h == NONE ? "features" : "logits", x);
    return g;
}

static epl_model *fresh(paper_run *r, head h, uint64_t seed)
{
    epl_model *m = paper_ok(r) ? epl_model_new_take(encoder(paper_context(r), h)) : NULL;
    paper_keep_model_take(r, m);
    return m && epl_model_init(m, seed) ? m : NULL;
}

/* ---- quick ---- */

static void check_sizes(paper_run *r)
{
    const int64_t bare = 9 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + 9 * 64 * 64 + 2 * 64 + 64 * WIDTH;
    const epl_model *m[] = { fresh(r, PLAIN, 0), fresh(r, COSINE, 0), fresh(r, NONE, 0) };
    const int64_t    own[] = { WIDTH * N_BASE + N_BASE, WIDTH * N_BASE, 0 };
    static const char *const names[] = { "a linear head", "a head of cosines", "no head" };
    for (int i = 0; i < 3 && paper_ok(r); i++)
        paper_check(r, paper_textf(r, "parameters with %s", names[i]), (double)epl_graph_n_parameters(m[i]->graph), PAPER_EQUAL,
                    (double)(bare + own[i]));
    paper_check_model(r, "mlp:depth=0,embed=32,head=cosine", 28 * 28 * 32 + 32 * 10, 0);
    paper_check_model_refused(r, "mlp:depth=0,embed=1,head=cosine", "width 1");
    paper_check_model_refused(r, "mlp:head=cosine,head_scale=-4", "from 0 to 10000");
}

/* Random inputs through an untrained network: unit vectors in, cosines times 16 out. */
static void check_ranges(paper_run *r)
{
    const epl_model *m = fresh(r, COSINE, 1);
    epl_model       *f = m ? epl_feature_model(m) : NULL;
    epl_tensor      *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(16, 28, 28, 1));
    epl_rng          rng = epl_rng_at(3, 0);
    paper_keep_model_take(r, f);
    epl_tensor_fill_normal(x, &rng, 0, 1);
    epl_tensor *logits = paper_logits(r, m, x), *z = f ? paper_logits(r, f, x) : NULL;
    double      most = 0, off = 0;
    for (int64_t i = 0; logits && i < epl_tensor_count(logits); i++)
        most = fmax(most, fabs(epl_tensor_get(logits, i)));
    for (int64_t i = 0; z && i < 16; i++) {
        double square = 0;
        for (int64_t k = 0; k < WIDTH; k++)
            square += pow(epl_tensor_get(z, i * WIDTH + k), 2);
        off = fmax(off, fabs(sqrt(square) - 1));
    }
    paper_check(r, "largest logit of scale 16", most, PAPER_AT_MOST, 16 * (1 + 1e-6));
    paper_check(r, "length of a feature vector, less 1", z ? off : NAN, PAPER_AT_MOST, 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(logits);
    epl_tensor_free(z);
}

/* The simplex and its bound: class vectors and features are the columns of sqrt(C / (C - 1)) (I - 1 1^T / C). */
static void check_simplex(paper_run *r)
{
    enum { C = 10 };
    for (double s = 1; s <= 16 && paper_ok(r); s *= 4) {
        epl_graph *g = epl_graph_new(paper_context(r), "simplex");
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(C, C), NULL), *y = epl_positions(g, EPL_I64, x, 0);
        epl_value *loss = epl_softmax_cross_entropy(g, epl_cosine_head(g, x, (epl_cosine_head_opts){ .classes = C, .scale = s }), y,
                                                    (epl_cross_entropy_opts){ 0 });
        epl_output(g, "loss", loss);
        epl_model *m = epl_model_new_take(g);
        paper_keep_model_take(r, m);
        epl_tensor *t = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(C, C));
        for (int i = 0; t && i < C * C; i++)
            epl_tensor_set(t, i, sqrt(C / (C - 1.0)) * ((i / C == i % C) - 1.0 / C));
        epl_program *p = m && epl_model_init(m, 0) && epl_weights_put_take(m->weights, "head.weight", epl_tensor_copy(paper_context(r), t))
                       ? epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }) : NULL;
        for (int i = 0; p && i < C * C; i++)
            epl_tensor_set(epl_program_input(p, 0), i, epl_tensor_get(t, i));
        if (p && epl_program_run(p))
            paper_check_near(r, paper_textf(r, "loss of a simplex at scale %g", s), epl_tensor_get(epl_program_output(p, 0), 0),
                             log1p((C - 1) * exp(-s * C / (C - 1.0))), 1e-4);
        epl_program_free(p);
        epl_tensor_free(t);
    }
}

/* One example makes a class: it is nearest to itself, with cosine 1. */
static void check_imprinting(paper_run *r)
{
    epl_model  *m = fresh(r, COSINE, 2), *f = m ? epl_feature_model(m) : NULL;
    epl_tensor *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(1, 28, 28, 1));
    epl_rng     rng = epl_rng_at(4, 0);
    paper_keep_model_take(r, f);
    epl_tensor_fill_uniform(x, &rng, 0, 1);
    epl_tensor *z = f ? paper_logits(r, f, x) : NULL;
    if (z && epl_imprint_class(m, z)) {
        epl_tensor *logits = paper_logits(r, m, x);
        int best = 0;
        for (int i = 0; logits && i <= N_BASE; i++)
            best = epl_tensor_get(logits, i) > epl_tensor_get(logits, best) ? i : best;
        paper_check(r, "class of the example after imprinting", best, PAPER_EQUAL, N_BASE);
        paper_check_near(r, "its cosine", logits ? epl_tensor_get(logits, N_BASE) / 16 : NAN, 1, 1e-5);
        epl_tensor_free(logits);
    }
    epl_tensor_free(z);
    epl_tensor_free(x);
    m = fresh(r, PLAIN, 2);
    z = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(1, WIDTH));
    paper_check_refused(r, "imprinting into a linear head", m && epl_imprint_class(m, z), "no head of cosines");
    epl_tensor_free(z);
}

static void check_protocol(paper_run *r)
{
    float   z[] = { 1, 0, 0, 1, -1, 0 };
    int64_t y[] = { 0, 1, 2 };
    const epl_embedded e = { .ctx = paper_context(r), .n = 3, .width = 2, .z = z, .y = y };
    epl_novel_result    n;
    const int one[] = { 1 }, two[] = { 1, 2 };
    paper_check_refused(r, "a class that is novel and in the base",
                        epl_novel_classes(&e, &e, (epl_novel_opts){ .novel = one, .n_novel = 1, .base = two, .n_base = 2, .shots = 1 }, &n),
                        "class 1 is novel and in the base");
    paper_check_refused(r, "fewer images than shots",
                        epl_novel_classes(&e, &e, (epl_novel_opts){ .novel = two, .n_novel = 2, .shots = 5 }, &n),
                        "class 1 has 1 samples in support, 5 are needed");
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_ranges(r);
    check_simplex(r);
    check_imprinting(r);
    check_protocol(r);
}

/* ---- full ---- */

enum { SOFTMAX, NSL, TRIPLET, N_METHODS, N_SHOTS = 3, N_SPLITS = 3 };

static const struct {
    const char *name;
    head        h;
    int         epochs; /* of equal numbers of encoded images: an epoch of triplets encodes three for each sample */
} methods[N_METHODS] = { { "softmax", PLAIN, 9 }, { "normalised softmax", COSINE, 9 }, { "triplet", NONE, 3 } };

static const int splits[N_SPLITS][N_NOVEL] = { { 1, 4, 8 }, { 0, 3, 5 }, { 2, 7, 9 } }; /* the novel classes */
static const int shots[N_SHOTS] = { 1, 5, 20 };

typedef struct split {
    int          novel[N_NOVEL], base[N_BASE];
    epl_dataset *train; /* of base classes alone, numbered from 0; the caller owns it */
} split;

static bool make_split(paper_run *r, int seed, epl_dataset *all, split *s)
{
    int n = 0;
    for (int i = 0; i < N_NOVEL; i++)
        s->novel[i] = splits[seed % N_SPLITS][i];
    for (int c = 0; c < N_CLASSES; c++)
        if (c != s->novel[0] && c != s->novel[1] && c != s->novel[2])
            s->base[n++] = c;
    s->train = all ? epl_dataset_of_classes(all, s->base, N_BASE) : NULL;
    return s->train && paper_ok(r);
}

/* The median of the epochs' times; the share of triplets that still have a loss at the end. */
static double median_epoch(const epl_epoch_record *e, int n)
{
    double least = INFINITY;
    for (int i = 0; i < n; i++) { // the middle one: as many below as above
        int below = 0;
        for (int k = 0; k < n; k++)
            below += e[k].seconds < e[i].seconds || (e[k].seconds == e[i].seconds && k < i);
        if (below == n / 2)
            least = e[i].seconds;
    }
    return least;
}

static bool learn(paper_run *r, int method, epl_model *m, const split *s, int seed)
{
    epl_context       *ctx = paper_context(r);
    epl_objective_opts o   = { .name = "triplet" };
    epl_train_hook     hook = { 0 };
    epl_trainer_opts   t = { .epochs = paper_epochs(r, methods[method].epochs),
                             .batch = 128,
                             .seed = (uint64_t)seed,
                             .progress = paper_progress(r),
                             .optimizer = { .kind = EPL_ADAM, .rate = 1e-3 } };
    if (method == TRIPLET) {
        hook      = epl_objective_hook(ctx, o);
        t.hooks   = &hook;
        t.n_hooks = 1;
        t.batch   = 129; // 43 triplets
        t.sampler = epl_objective_sampler(o);
    }
    epl_trainer *trainer = epl_trainer_new(m, s->train, NULL, t);
    const bool   ok = trainer && epl_trainer_run(trainer);
    int          n = 0;
    const epl_epoch_record *e = ok ? epl_trainer_history(trainer, &n) : NULL;
    if (n)
        paper_add(paper_series_named(r, "time of an epoch", methods[method].name, "s"), median_epoch(e, n));
    if (ok && method == TRIPLET)
        paper_add(paper_series_named(r, "triplets with a loss, last batch", methods[method].name, "%"),
                  100 * epl_tensor_get(epl_program_output_named(epl_trainer_program(trainer), "log.active"), 0));
    epl_trainer_free(trainer);
    epl_release(ctx, hook.user);
    return ok;
}

/* ---- what the embeddings are worth ---- */

static const char *scenario(paper_run *r, bool joint, int k, const char *how)
{
    return paper_textf(r, "%s, %d shot%s%s", joint ? "novel and base classes" : "novel classes alone", k, k > 1 ? "s" : "", how);
}

static bool measure_novel(paper_run *r, const char *name, const split *s, const epl_embedded *support,
                          const epl_embedded *query, bool euclidean)
{
    for (int joint = 0; joint < 2; joint++)
        for (int k = 0; k < N_SHOTS; k++) {
            epl_novel_result n;
            const epl_novel_opts o = { .novel = s->novel,
                                       .n_novel = N_NOVEL,
                                       .base = s->base,
                                       .n_base = joint ? N_BASE : 0,
                                       .shots = shots[k],
                                       .episodes = 50,
                                       .euclidean = euclidean,
                                       .seed = 1 };
            if (!epl_novel_classes(support, query, o, &n))
                return false;
            paper_add(paper_series_named(r, scenario(r, joint, shots[k], euclidean ? ", by distance" : ""), name, "%"), 100 * n.accuracy);
        }
    return true;
}

static bool measure_sphere(paper_run *r, const char *name, const split *s, const epl_embedded *support,
                           const epl_embedded *query, epl_sphere *out)
{
    epl_open_set_result  open;
    const epl_novel_opts o = { .novel = s->novel, .n_novel = N_NOVEL, .base = s->base, .n_base = N_BASE };
    if (!epl_open_set(support, query, o, &open) || !epl_sphere_of(query, out))
        return false;
    paper_add(paper_series_named(r, "open set: area under the curve, known against novel", name, "%"), 100 * open.auroc);
    paper_add(paper_series_named(r, "open set: novel taken for known where 95 % of the known pass", name, "%"), 100 * open.false_known);
    paper_add(paper_series_named(r, "base classes, by nearest mean", name, "%"), 100 * open.base_accuracy);
    paper_add(paper_series_named(r, "verification: area under the curve, one class against two", name, "%"), 100 * out->verification);
    paper_add(paper_series_named(r, "retrieval: recall at 1", name, "%"), 100 * out->recall1);
    paper_add(paper_series_named(r, "effective dimension", name, ""), out->effective_dimension);
    paper_add(paper_series_named(r, "mean cosine of two samples of a class", name, ""), out->intra);
    paper_add(paper_series_named(r, "mean cosine of samples of two classes", name, ""), out->inter);
    return true;
}

static bool measure(paper_run *r, int method, const epl_model *m, const split *s, epl_dataset *train, epl_dataset *test, epl_sphere *sphere)
{
    const char   *name = methods[method].name;
    epl_embedded  support = { 0 }, query = { 0 };
    const epl_features_opts o = { .layer = methods[method].h == NONE ? "features" : NULL, .batch = 128, .progress = paper_progress(r) };
    const bool    ok = epl_embed(m, train, o, &support) && epl_embed(m, test, o, &query) &&
                       measure_novel(r, name, s, &support, &query, false) &&
                       (method != SOFTMAX || measure_novel(r, name, s, &support, &query, true)) &&
                       measure_sphere(r, name, s, &support, &query, sphere);
    epl_embedded_release(&support);
    epl_embedded_release(&query);
    return ok && paper_ok(r);
}

/* ---- plots ---- */

static void plot_shots(paper_run *r)
{
    double    x[N_SHOTS], y[N_SHOTS];
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "examples of a novel class",
                                                                  .y_label = "accuracy [%]",
                                                                  .x_log = true });
    for (int joint = 0; joint < 2; joint++)
        for (int m = 0; m < N_METHODS; m++) {
            for (int k = 0; k < N_SHOTS; k++) {
                x[k] = shots[k];
                y[k] = paper_mean(paper_series_named(r, scenario(r, joint, shots[k], ""), methods[m].name, "%"));
            }
            epl_plot_line(p, paper_textf(r, "%s, %s", methods[m].name, joint ? "all classes" : "novel alone"), x, y, N_SHOTS,
                          (epl_line_opts){ .color = m + 1, .dashed = !joint, .markers = true });
        }
    paper_plot_take(r, "shots", "Accuracy by the number of examples, among novel classes alone and among all.", p);
}

static void plot_cosines(paper_run *r, const epl_sphere *spheres)
{
    double    x[EPL_SPHERE_BINS];
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "cosine", .y_label = "share of pairs" });
    for (int b = 0; b < EPL_SPHERE_BINS; b++)
        x[b] = -1 + 2 * (b + 0.5) / EPL_SPHERE_BINS;
    for (int m = 0; m <= NSL; m++) {
        epl_plot_line(p, paper_textf(r, "%s, one class", methods[m].name), x, spheres[m].intra_share, EPL_SPHERE_BINS,
                      (epl_line_opts){ .color = m + 1 });
        epl_plot_line(p, paper_textf(r, "%s, two classes", methods[m].name), x, spheres[m].inter_share, EPL_SPHERE_BINS,
                      (epl_line_opts){ .color = m + 1, .dashed = true });
    }
    paper_plot_take(r, "cosines", "Cosines of two test images of one class, and of two; last split.", p);
}

/* ---- the run ---- */

static bool run_split(paper_run *r, int seed, epl_dataset *train, epl_dataset *test, epl_sphere *spheres)
{
    split s;
    if (!make_split(r, seed, train, &s))
        return false;
    for (int m = 0; m < N_METHODS && paper_ok(r); m++) {
        epl_model *model = fresh(r, methods[m].h, (uint64_t)seed);
        if (!model || !learn(r, m, model, &s, seed) || !measure(r, m, model, &s, train, test, &spheres[m]))
            break;
    }
    epl_dataset_free(s.train);
    return paper_ok(r);
}

static double mean_of(paper_run *r, bool joint, int method, const char *how)
{
    return paper_mean(paper_series_named(r, scenario(r, joint, 5, how), methods[method].name, "%"));
}

static void full(paper_run *r)
{
    const paper_recipe recipe = { .samples = 6000, .test = 3000 };
    epl_dataset *train = paper_train_data(r, &recipe), *test = paper_test_data(r, &recipe);
    epl_sphere  *spheres = paper_alloc(r, N_METHODS * sizeof *spheres);
    for (int seed = 0; seed < paper_n_seeds(r) && paper_ok(r); seed++)
        run_split(r, seed, train, test, spheres);
    if (!paper_ok(r))
        return;
    const double nsl = mean_of(r, true, NSL, ""), alone = mean_of(r, false, NSL, "");
    paper_check(r, "all classes, 5 shots: normalised softmax - softmax, points", nsl - mean_of(r, true, SOFTMAX, ""), PAPER_AT_LEAST, 2);
    paper_check(r, "novel classes alone, 5 shots: normalised softmax - softmax, points",
                alone - mean_of(r, false, SOFTMAX, ""), PAPER_AT_LEAST, 0);
    paper_check(r, "all classes, 5 shots: normalised softmax - triplet, points", nsl - mean_of(r, true, TRIPLET, ""), PAPER_AT_LEAST, -1);
    const paper_series *time[] = { paper_series_named(r, "time of an epoch", methods[NSL].name, "s"),
                                   paper_series_named(r, "time of an epoch", methods[TRIPLET].name, "s") };
    paper_check(r, "time of an epoch, normalised softmax / triplet", paper_mean(time[0]) / paper_mean(time[1]), PAPER_AT_MOST, 0.6);
    paper_remark(r,
                 "novel classes alone, 5 shots: normalised softmax - triplet is %+.1f points. The paper says up to 81 "
                 "%% (relative) better than "
                 "metric learning on pairs; that is not a criterion here.",
                 alone - mean_of(r, false, TRIPLET, ""));
    paper_remark(r, "softmax by Euclidean distance instead of the cosine: %.1f %% of all classes, %.1f %% of novel classes alone (5 shots)",
                 mean_of(r, true, SOFTMAX, ", by distance"), mean_of(r, false, SOFTMAX, ", by distance"));
    plot_shots(r);
    plot_cosines(r, spheres);
    const paper_series *all[] = { paper_series_named(r, "time of an epoch", methods[SOFTMAX].name, "s"), time[0], time[1] };
    paper_plot_series(r, "time", "time of an epoch [s]", all, N_METHODS);
}

const paper paper_hyperspherical_embedding = {
    .slug = "hyperspherical-embedding",
    .title = "Hyperspherical embedding for novel class classification",
    .source = "Pereira, Joly, Valduriez, Porto 2021",
    .kind = "training",
    .claim = "a classifier whose features and class vectors are unit vectors embeds classes that it never saw better "
             "than a plain softmax "
             "classifier, without the pairs and triplets of metric learning",
    .criterion = "mean over three splits of Fashion-MNIST's classes, 5 examples of each of three novel ones: among all "
                 "ten classes at least "
                 "2 points above softmax and at most 1 below triplets for as many encoded images; among the novel ones "
                 "not below softmax; an "
                 "epoch takes at most 0.6 of the time of triplets",
    .quick = quick,
    .full = full,
};
