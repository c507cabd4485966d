/* convbn-tune: a network that knows five classes learns five others, with its batch norms in each of four modes.
 * Tune has to learn what eval learns, for what deploy costs; deploy has to be unstable. */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* conv-norm-relu of 16, 32, 32, 64 and 64 channels on pictures of 28 x 28, and a classifier of five classes. */
static epl_graph *network(epl_context *ctx, void *user)
{
    static const int width[] = { 16, 32, 32, 64, 64 };
    (void)user;
    epl_graph *g = epl_graph_new(ctx, "five");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    for (int i = 0; i < 5; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .conv = { .out = width[i] } });
        epl_scope_pop(g);
        if (i == 0 || i == 2)
            x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .name = "fc", .classes = 5 }));
    return g;
}

static const char *const mode_names[] = { "train", "eval", "tune", "deploy" };

/* ---- quick ---- */

/* Such a network with statistics and factors of a trained one. */
static epl_model *model_with_statistics(paper_run *r)
{
    epl_graph *g = network(paper_context(r), NULL);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    if (!m || !epl_model_init(m, 1))
        return NULL;
    epl_rng rng = epl_rng_at(1, 1);
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        for (int64_t k = 0; epl_glob("*norm.*", epl_weights_name(m->weights, i)) &&
                            k < epl_tensor_count(epl_weights_at(m->weights, i));
             k++)
            epl_tensor_set(epl_weights_at(m->weights, i), k, 0.5 + (double)epl_rng_uniform(&rng));
    return m;
}

/* Parameters and states after some updates of batches of noise; the run owns the model. */
static epl_model *after_steps(paper_run *r, const epl_model *m, epl_norm_mode mode, int steps)
{
    const epl_step_opts o = { .batch = 4, .norms.mode = mode, .optimizer = { .rate = 0.01 } };
    epl_model   *copy = epl_model_copy(m);
    epl_graph   *g = copy ? epl_train_graph(copy, copy->weights, o, 0, NULL) : NULL;
    epl_program *p = g ? epl_program_new(g, copy->weights, (epl_program_opts){ 0 }) : NULL;
    epl_rng      rng = epl_rng_at(2, 2);
    paper_keep_model_take(r, copy);
    for (int s = 0; p && s < steps; s++) {
        epl_tensor_fill_normal(epl_program_input_named(p, "x"), &rng, 0, 1);
        for (int64_t i = 0; i < o.batch; i++) {
            epl_tensor_set_i64(epl_program_input_named(p, "target"), i, (i + s) % 5);
            epl_tensor_set(epl_program_input_named(p, "weights"), i, 1);
        }
        epl_tensor_set(epl_program_input_named(p, "rate"), 0, 0.01);
        if (!epl_program_run(p))
            break;
    }
    const bool ok = p && paper_ok(r);
    epl_program_free(p);
    epl_graph_free(g);
    return ok ? copy : NULL;
}

static void check_steps(paper_run *r, const epl_model *m)
{
    const epl_model *eval = after_steps(r, m, EPL_NORM_EVAL, 20), *tune = after_steps(r, m, EPL_NORM_TUNE, 20);
    double worst = 0, moved = 0;
    int    kept = 0, statistics = 0;
    for (int i = 0; eval && tune && i < epl_weights_count(m->weights); i++) {
        const char       *name = epl_weights_name(m->weights, i);
        const epl_tensor *a = epl_weights_find(eval->weights, name), *b = epl_weights_find(tune->weights, name),
                         *start = epl_weights_at(m->weights, i);
        if (epl_glob("*.running_*", name)) {
            statistics++;
            kept += epl_tensor_equal(b, start);
            continue;
        }
        for (int64_t k = 0; k < epl_tensor_count(a); k++) {
            worst = fmax(worst, fabs(epl_tensor_get(a, k) - epl_tensor_get(b, k)));
            moved = fmax(moved, fabs(epl_tensor_get(a, k) - epl_tensor_get(start, k)));
        }
    }
    paper_check(r, "20 steps: largest difference of a parameter, tune to eval, of the largest move", worst / moved, PAPER_AT_MOST, 1e-3);
    paper_check(r, "running statistics that tune leaves as they were, to the bit", kept, PAPER_EQUAL, 10);
    paper_check(r, "of so many", statistics, PAPER_EQUAL, 10);
}

/* X = 3, w = 2, b = 1, mean 4, variance 3, epsilon 1, scale 4, shift 0.5, as one step of each mode moves it at a rate of 0.1. */
static epl_model *one_number(paper_run *r)
{
    epl_graph *g = epl_graph_new(paper_context(r), "one");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 1), NULL);
    x = epl_linear(g, x, (epl_linear_opts){ .out = 1 });
    epl_output(g, "y", epl_batch_norm(g, x, (epl_norm_opts){ .epsilon = 1 }));
    epl_model *m = epl_model_new_take(g);
    static const struct { const char *name; double value; } values[] = {
        { "linear.weight", 2 }, { "linear.bias", 1 }, { "norm.weight", 4 }, { "norm.bias", 0.5 }, { "norm.running_mean", 4 }, { "norm.running_var", 3 } };
    paper_keep_model_take(r, m);
    if (!m || !epl_model_init(m, 0))
        return NULL;
    for (size_t i = 0; i < EPL_COUNT(values); i++)
        epl_tensor_set(epl_weights_find(m->weights, values[i].name), 0, values[i].value);
    return m;
}

/* y, or its gradient by `parameter`. */
static double of_number(paper_run *r, const epl_model *m, const char *parameter)
{
    epl_graph *g = epl_graph_copy(m->graph);
    double     result = NAN;
    if (!g || !epl_tune_batch_norms(g, NULL, NULL))
        return NAN;
    epl_value *y = epl_reduce_sum(g, epl_graph_output_at(g, 0), (epl_reduce_opts){ 0 }), *dy = y;
    epl_value *by = parameter ? epl_graph_find(g, parameter) : NULL;
    if (!by || epl_gradient(g, y, 1, &by, &dy)) {
        epl_output(g, "wanted", dy);
        epl_program *p = epl_program_new(g, m->weights, (epl_program_opts){ 0 });
        epl_tensor  *x = p ? epl_program_input(p, 0) : NULL;
        if (x) {
            epl_tensor_set(x, 0, 3);
            result = epl_program_run(p) ? epl_tensor_get(epl_program_output_named(p, "wanted"), 0) : NAN;
        }
        epl_program_free(p);
    }
    epl_graph_free(g);
    return paper_ok(r) ? result : NAN;
}

static void check_number(paper_run *r)
{
    epl_model *m = one_number(r), *folded = m ? epl_model_copy(m) : NULL;
    paper_keep_model_take(r, folded);
    if (!folded || !epl_deploy_batch_norms(folded, NULL, NULL))
        return;
    paper_check_near(r, "one number by hand: y", of_number(r, m, NULL), 6.5, 1e-6);
    paper_check_near(r, "dy/dw", of_number(r, m, "linear.weight"), 6, 1e-6);
    paper_check_near(r, "dy/db", of_number(r, m, "linear.bias"), 2, 1e-6);
    paper_check_near(r, "dy/dscale", of_number(r, m, "norm.weight"), 1.5, 1e-6);
    paper_check_near(r, "dy/dshift", of_number(r, m, "norm.bias"), 1, 1e-6);
    paper_check_near(r, "dy/dx", of_number(r, m, "x"), 4, 1e-6);
    const double dw = of_number(r, folded, "linear.weight"), db = of_number(r, folded, "norm.bias"),
                 tune = of_number(r, m, "linear.weight");
    paper_check_near(r, "change of y by a step of deploy", -0.1 * (dw * dw + db * db), -1, 1e-6);
    paper_check_near(r, "change of y by a step of tune, of the weight alone", -0.1 * tune * tune, -3.6, 1e-6);
}

static void check_memory(paper_run *r, const epl_model *m)
{
    const epl_step_opts o = { .batch = 64 };
    epl_fold_report pairs = { 0 };
    size_t          saved = 0;
    if (!epl_tune_saves(m, o, &pairs, &saved))
        return;
    paper_check(r, "pairs folded of five", pairs.folded, PAPER_EQUAL, 5);
    paper_check(r, "planned bytes that tune saves", (double)saved, PAPER_ABOVE, 0);
    epl_fold_report_release(paper_context(r), &pairs);
}

static void check_refused(paper_run *r, const epl_model *m)
{
    epl_model *folded = epl_model_copy(m);
    paper_keep_model_take(r, folded);
    epl_tensor *x = paper_draw(r, EPL_SHAPE(1, 28, 28, 1), 3, 3);
    if (folded && x && epl_deploy_batch_norms(folded, NULL, NULL)) {
        paper_check(r, "deployed against eval, relative", paper_relative_difference(r, m, folded, x), PAPER_AT_MOST, 1e-5);
        paper_check_refused(r, "training mode after deploy", after_steps(r, folded, EPL_NORM_TRAIN, 1), "statistics are gone");
    }
    epl_tensor_free(x);
}

static void quick(paper_run *r)
{
    const epl_model *m = model_with_statistics(r);
    check_number(r);
    if (m) {
        check_steps(r, m);
        check_memory(r, m);
        check_refused(r, m);
    }
}

/* ---- full ---- */

enum { N_RATES = 5, N_MODES = 4, MOVED = N_MODES, N_RUNS, CHANCE = 20 }; /* MOVED: eval again, with a head that begins a millionth larger */
static const double rates[N_RATES] = { 0.001, 0.003, 0.01, 0.03, 0.1 };

typedef struct transfer {
    epl_dataset *train, *test, *new_train, *new_test; /* of the first five classes, of the others */
    epl_model   *known[PAPER_MAX_SEEDS];              /* trained on the first */
    const paper_series *accuracy[N_RATES][N_RUNS];
    bool         finite[N_RATES][N_RUNS];             /* no run diverged */
} transfer;

#define RAW "normalise:0:0.0039215686" /* pixels from 0 to 255: the first layer's variances are large */

static bool use_first_classes(paper_run *r, paper_training *t)
{
    const transfer *d = t->user;
    t->train = d->train;
    t->test  = d->test;
    return paper_ok(r);
}

static bool keep_model(paper_run *r, paper_training *t)
{
    transfer *d = t->user;
    d->known[t->seed] = epl_model_copy(t->model);
    paper_keep_model_take(r, d->known[t->seed]);
    return d->known[t->seed] != NULL;
}

static bool open_classes(paper_run *r, transfer *d)
{
    static const int first[] = { 0, 1, 2, 3, 4 }, others[] = { 5, 6, 7, 8, 9 };
    const paper_recipe all = { .samples = 12000 }, few = { .samples = 6000 };
    epl_dataset *train = paper_train_data(r, &all), *part = paper_train_data(r, &few), *test = paper_test_data(r, &all);
    d->train     = train ? epl_dataset_of_classes(train, first, 5) : NULL;
    d->new_train = part ? epl_dataset_of_classes(part, others, 5) : NULL;
    d->test      = test ? epl_dataset_of_classes(test, first, 5) : NULL;
    d->new_test  = test ? epl_dataset_of_classes(test, others, 5) : NULL;
    return d->train && d->new_train && d->test && d->new_test;
}

/* The known model with a new head, which the seed decides. */
static epl_model *with_new_head(paper_run *r, const transfer *d, uint64_t seed)
{
    epl_model *m = d->known[seed] ? epl_model_copy(d->known[seed]) : NULL;
    for (int i = m ? epl_weights_count(m->weights) : 0; i-- > 0;)
        if (epl_glob("fc.*", epl_weights_name(m->weights, i)))
            epl_weights_remove(m->weights, epl_weights_name(m->weights, i));
    return m && paper_ok(r) && epl_model_init(m, seed + 100) ? m : NULL;
}

static void enlarge_head(epl_model *m)
{
    epl_tensor *w = epl_weights_find(m->weights, "fc.weight");
    for (int64_t i = 0; w && i < epl_tensor_count(w); i++)
        epl_tensor_set(w, i, epl_tensor_get(w, i) * (1 + 1e-6));
}

/* Accuracy in percent on the new classes; chance where training diverges. */
static double fine_tune(paper_run *r, const transfer *d, double rate, int k, uint64_t seed, bool *finite)
{
    epl_context *ctx = paper_context(r);
    epl_model   *m = with_new_head(r, d, seed);
    if (m && k == MOVED)
        enlarge_head(m);
    epl_trainer_opts o = { .epochs = paper_epochs(r, 2), .batch = 64, .augment = RAW, .seed = seed,
                           .norms.mode = k == MOVED ? EPL_NORM_EVAL : (epl_norm_mode)(EPL_NORM_TRAIN + k),
                           .optimizer = { .rate = rate, .momentum = 0.9 } };
    o.val_every = o.epochs;
    epl_trainer *t = m ? epl_trainer_new(m, d->new_train, d->new_test, o) : NULL;
    double       accuracy = NAN;
    int          n = 0;
    if (t && epl_trainer_run(t))
        accuracy = 100 * epl_trainer_history(t, &n)[o.epochs - 1].val_accuracy;
    else if (t && epl_error_code(ctx) == EPL_ERR_ARGUMENT && strstr(epl_error_message(ctx), "diverged")) {
        epl_error_clear(ctx);
        *finite  = false;
        accuracy = CHANCE;
    }
    epl_trainer_free(t);
    epl_model_free(m);
    return accuracy;
}

static bool fine_tune_all(paper_run *r, transfer *d)
{
    const epl_progress p = paper_progress(r);
    const int          seeds = paper_n_seeds(r), all = N_RATES * N_RUNS * seeds;
    int                done = 0;
    for (int i = 0; i < N_RATES; i++)
        for (int k = 0; k < N_RUNS; k++) {
            paper_series *s = paper_series_named(r, paper_textf(r, "accuracy on new classes at rate %g", rates[i]),
                                                 k == MOVED ? "eval, moved" : mode_names[k], "%");
            d->accuracy[i][k] = s;
            d->finite[i][k]   = true;
            for (int seed = 0; seed < seeds; seed++, done++) {
                const double a = fine_tune(r, d, rates[i], k, (uint64_t)seed, &d->finite[i][k]);
                if (!paper_ok(r) || (p.report && !p.report(p.user, "fine-tuning", done + 1, all)))
                    return false;
                paper_add(s, a);
            }
        }
    return true;
}

/* The largest rate at which a mode trains: every seed finite, mean above 60 %. 0: none. */
static double largest_rate(const transfer *d, int mode)
{
    double best = 0;
    for (int i = 0; i < N_RATES; i++)
        if (d->finite[i][mode] && paper_mean(d->accuracy[i][mode]) > 60)
            best = rates[i];
    return best;
}

static double best_accuracy(const transfer *d, int mode)
{
    double best = 0;
    for (int i = 0; i < N_RATES; i++)
        best = fmax(best, paper_mean(d->accuracy[i][mode]));
    return best;
}

/* The largest difference of eval and another run in any seed. */
static double apart(const transfer *d, int i, int other)
{
    double most = 0;
    for (int seed = 0; seed < d->accuracy[i][1]->n; seed++)
        most = fmax(most, fabs(d->accuracy[i][1]->value[seed] - d->accuracy[i][other]->value[seed]));
    return most;
}

static void check_accuracy(paper_run *r, const transfer *d)
{
    double means = 0, seeds = 0;
    int    stable = 0;
    for (int i = 0; i < N_RATES; i++) {
        if (!d->finite[i][1] || !d->finite[i][2] || !(paper_mean(d->accuracy[i][1]) > 60))
            continue;
        means = fmax(means, fabs(paper_mean(d->accuracy[i][1]) - paper_mean(d->accuracy[i][2])));
        if (d->finite[i][MOVED] && apart(d, i, MOVED) <= 1) {
            seeds = fmax(seeds, apart(d, i, 2));
            stable++;
        }
    }
    paper_check(r, "largest |tune - eval| of mean accuracies at a rate where eval trains, points", means, PAPER_AT_MOST, 1);
    paper_remark(r,
                 "Eval whose new head begins a millionth larger ends within 1 point of itself in every seed at %d of "
                 "%d rates. There tune and eval "
                 "are at most %.2f points apart in any seed; at the others chance decides, not the mode.",
                 stable, N_RATES, seeds);
    const double tune = largest_rate(d, 2), deploy = largest_rate(d, 3), lost = best_accuracy(d, 2) - best_accuracy(d, 3);
    paper_check_true(
        r,
        paper_textf(
            r,
            "deploy trains up to rate %g, tune up to %g; best accuracies %.2f points apart: smaller, or 1 point lost",
            deploy, tune, lost),
        deploy < tune || lost >= 1);
}

static void check_cost(paper_run *r, const epl_model *m)
{
    epl_norm_mode_cost cost[EPL_N_NORM_MODES];
    const epl_step_opts o = { .batch = 64, .optimizer = { .rate = 0.01, .momentum = 0.9 } };
    if (!m || !epl_bench_norm_modes(m, o, 4, cost))
        return;
    for (int i = 0; i < EPL_N_NORM_MODES; i++) {
        paper_add(paper_series_named(r, "step, median", epl_norm_mode_name(cost[i].mode), "ms"), 1e3 * cost[i].median_s);
        paper_add(paper_series_named(r, "planned memory", epl_norm_mode_name(cost[i].mode), "MiB"), (double)cost[i].memory.total / 1048576);
    }
    paper_check(r, "planned memory, tune / eval", (double)cost[2].memory.total / (double)cost[1].memory.total, PAPER_AT_MOST, 0.85);
    paper_check(r, "planned memory, tune / deploy", (double)cost[2].memory.total / (double)cost[3].memory.total, PAPER_AT_MOST, 1.05);
    paper_check(r, "step time, tune / eval", cost[2].median_s / cost[1].median_s, PAPER_BELOW, 1);
}

static void plot_rates(paper_run *r, const transfer *d)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "learning rate",
                                                                  .y_label = "accuracy on new classes [%]",
                                                                  .x_log = true });
    for (int k = 0; k < N_MODES; k++) {
        double y[N_RATES];
        for (int i = 0; i < N_RATES; i++)
            y[i] = paper_mean(d->accuracy[i][k]);
        epl_plot_line(p, mode_names[k], rates, y, N_RATES, (epl_line_opts){ .markers = true, .dashed = k == 2 });
    }
    paper_plot_take(r, "rates", "Mean accuracy on the new classes; a run that diverged counts as chance, 20 %.", p);
}

/* Channels by the power of ten of 1 / a^2 = (variance + epsilon) / scale^2, which is by how much larger deploy's steps are. */
static void plot_factors(paper_run *r, const epl_model *m)
{
    enum { LOW = -3, BINS = 10 };
    static const char *const names[BINS] = { "1e-3", "1e-2", "0.1", "1", "10", "100", "1e3", "1e4", "1e5", "1e6" };
    double count[BINS] = { 0 };
    for (int layer = 1; m && layer <= 5; layer++) {
        const epl_tensor *scale = epl_weights_find(m->weights, paper_textf(r, "layer%d.norm.weight", layer));
        const epl_tensor *var = epl_weights_find(m->weights, paper_textf(r, "layer%d.norm.running_var", layer));
        for (int64_t i = 0; scale && var && i < epl_tensor_count(scale); i++) {
            const double a = epl_tensor_get(scale, i), power = log10((epl_tensor_get(var, i) + 1e-5) / (a * a));
            const int    bin = power < LOW ? 0 : power >= LOW + BINS ? BINS - 1 : (int)floor(power) - LOW;
            count[bin]++;
        }
    }
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "1 / a^2, from", .y_label = "channels" });
    epl_plot_categories(p, names, BINS);
    epl_plot_bars(p, "channels", count, NULL, BINS);
    paper_plot_take(r, "factors", "How much larger a step of deploy is than one of eval, channel by channel, after training on the first "
                    "five classes, seed 0.", p);
}

static void full(paper_run *r)
{
    transfer d = { 0 };
    const paper_recipe recipe = { .samples = 12000, .epochs = 3, .batch = 64, .augment = RAW, .optimizer = "adam:rate=2e-3" };
    const paper_variant first = { .name = "the first five classes", .what = "accuracy before", .build = network, .begin = use_first_classes,
                                  .end = keep_model, .user = &d };
    if (open_classes(r, &d) && paper_train(r, &first, 1, recipe, NULL) && fine_tune_all(r, &d)) {
        check_accuracy(r, &d);
        check_cost(r, d.known[0]);
        plot_rates(r, &d);
        plot_factors(r, d.known[0]);
    }
    epl_dataset_free(d.train);
    epl_dataset_free(d.test);
    epl_dataset_free(d.new_train);
    epl_dataset_free(d.new_test);
}

const paper paper_convbn_tune = {
    .slug = "convbn-tune",
    .title = "Efficient ConvBN Blocks for Transfer Learning and Beyond",
    .source = "You, Liu, Fang, Wang, Zhang, Long 2023, arXiv:2305.11624",
    .kind = "training",
    .claim = "folding batch norms into convolutions anew in every step, with gradients through it, trains like frozen "
             "statistics do and costs what "
             "a network folded for good costs, which itself is unstable to train",
    .criterion = "fine-tuned on five other classes of Fashion-MNIST at five rates, tune and eval are at most 1 point "
                 "apart wherever eval trains (above 60 %); deploy trains "
                 "up to a smaller rate only or loses at least a point; tune's planned memory is at most 0.85 of eval's "
                 "and 1.05 of "
                 "deploy's, and its step is shorter than eval's",
    .quick = quick,
    .full = full,
};
