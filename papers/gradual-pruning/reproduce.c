/* gradual-pruning: with as many weights that are not zero, is a large network that was pruned better than a small
 * dense one? For a network of convolutions and for a language model; and is pruning little by little better than at
 * once? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: the schedule, the sizes, what masks may do ---- */

static void check_schedule(paper_run *r)
{
    static const double nine[] = { 0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9 };
    static const double eight[] = { 0, 0.4625, 0.7, 0.7875, 0.8 };
    epl_pruner_opts o = { .prune.sparsity = 0.9, .begin_step = 10, .end_step = 110, .every = 10 };
    double far = 0, linear = 0, between = 0;
    for (int k = 0; k <= 10; k++) {
        far = fmax(far, fabs(epl_pruner_sparsity(&o, 10 + 10 * k, 1000) - nine[k]));
        between = fmax(between, fabs(epl_pruner_sparsity(&o, 10 + 10 * k + 9, 1000) - nine[k]));
    }
    paper_check(r, "cubic to 0.9 in ten steps: furthest from the sheet's values", far, PAPER_AT_MOST, 1e-12);
    paper_check(r, "between two steps nothing changes", between, PAPER_AT_MOST, 1e-12);
    paper_check(r, "constant afterwards", epl_pruner_sparsity(&o, 1000, 1000), PAPER_EQUAL, 0.9);
    o.prune.sparsity = 0.8;
    o.every = 25;
    far = 0;
    for (int k = 0; k <= 4; k++)
        far = fmax(far, fabs(epl_pruner_sparsity(&o, 10 + 25 * k, 1000) - eight[k]));
    paper_check(r, "cubic to 0.8 in four steps", far, PAPER_AT_MOST, 1e-12);
    epl_pruner_opts cubic = o, straight = o, at_once = o;
    cubic.exponent = 1;
    straight.schedule = "linear";
    at_once.begin_step = at_once.end_step = 50;
    for (int64_t step = 1; step < 200; step++)
        linear = fmax(linear, fabs(epl_pruner_sparsity(&cubic, step, 200) - epl_pruner_sparsity(&straight, step, 200)));
    paper_check(r, "exponent 1 is linear", linear, PAPER_AT_MOST, 1e-12);
    paper_check(r, "begin = end: nothing before it", epl_pruner_sparsity(&at_once, 49, 200), PAPER_EQUAL, 0);
    paper_check(r, "begin = end: all at it", epl_pruner_sparsity(&at_once, 50, 200), PAPER_EQUAL, 0.8);
}

static void check_sizes(paper_run *r)
{
    paper_check_model(r, "lstm-lm:preset=ptb-small", 4651600, 0);
    paper_check_model(r, "lstm-lm:preset=ptb-medium", 19775200, 0);
    paper_check_model(r, "lstm-lm:preset=ptb-large", 66022000, 0);
    paper_check_model(r, "seq2seq-lstm:source=2,target=2", 210916036, 0);
    paper_check_model(r, "seq2seq-lstm:source=2,target=2,attention=none", 208817860, 0);
    paper_check_model(r, "mobilenet", 4231976, 568740352);
}

/* Scalars of batch norms, which the paper's 4.21 million leave out. */
static int64_t norm_parameters(const epl_graph *g)
{
    int64_t count = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (strcmp(epl_node_op_name(n), "Parameter") == 0 && epl_glob("*.norm.*", epl_value_name(epl_node_output(n, 0))))
            count += epl_shape_count(epl_shape_of(epl_node_output(n, 0)));
    return count;
}

/* Pointwise convolutions and the classifier are pruned; the first and the depthwise ones are not. */
static void check_mobilenet(paper_run *r)
{
    static const struct {
        double  sparsity;
        int64_t left;
    } published[] = { { 0.5, 2128296 }, { 0.75, 1087400 }, { 0.9, 462862 }, { 0.95, 254683 } };
    epl_model   *m = paper_model(r, "mobilenet:image=32", 0);
    const int64_t norms = m ? norm_parameters(m->graph) : 0;
    for (size_t i = 0; m && i < EPL_COUNT(published); i++) {
        epl_sparsity s;
        if (!epl_prune_weights(m, (epl_prune_opts){ .skip = "first,depthwise", .sparsity = published[i].sparsity }) ||
            !epl_sparsity_of(m, &s))
            return;
        paper_check_near(r, paper_textf(r, "MobileNet at %g %%: not zero, without norms", 100 * published[i].sparsity),
                         (double)(s.parameters_nonzero - norms), (double)published[i].left, 1);
    }
}

/* ---- masks while training ---- */

typedef struct watch {
    epl_train_hook pruner;
    epl_tensor    *before;
    bool           monotone, zero;
    int64_t        updates;
} watch;

static bool look(void *user, epl_trainer *t, int64_t step)
{
    watch *w = user;
    const epl_weights *all = epl_trainer_model(t)->weights;
    const epl_tensor  *mask = epl_weights_find(all, "linear1.weight.mask"), *weight = epl_weights_find(all, "linear1.weight");
    if (!w->pruner.after_step(w->pruner.user, t, step))
        return false;
    for (int64_t i = 0; i < epl_tensor_count(mask); i++) {
        w->monotone = w->monotone && epl_tensor_get(mask, i) <= (w->before ? epl_tensor_get(w->before, i) : 1);
        w->zero     = w->zero && (epl_tensor_get(mask, i) == 1 || epl_tensor_get(weight, i) == 0);
    }
    epl_tensor_free(w->before);
    w->before = epl_tensor_copy(epl_trainer_model(t)->ctx, mask);
    w->updates++;
    return w->before != NULL;
}

/* Eight numbers, two linear layers, four classes. */
static epl_model *two_layers(paper_run *r)
{
    epl_graph *g = epl_graph_new(paper_context(r), "two-layers");
    epl_value *x = g ? epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8), "N,") : NULL;
    x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "linear1", .out = 32 }));
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .name = "linear2", .out = 4 }));
    epl_model *m = g && epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    if (m) {
        epl_model_init(m, 1);
        paper_keep_model_take(r, m);
    }
    return m;
}

static void check_masks(paper_run *r)
{
    epl_context *ctx = paper_context(r);
    epl_dataset *d = epl_dataset_open(ctx, "blobs:classes=4,features=8,count=640", (epl_dataset_opts){ 0 });
    epl_model   *m = two_layers(r);
    watch        w = { .monotone = true, .zero = true };
    epl_trainer *t = NULL;
    epl_train_hook hook = { .after_step = look, .user = &w };
    if (d && m)
        w.pruner = epl_pruner_hook(m, (epl_pruner_opts){ .prune.sparsity = 0.9, .every = 2 });
    epl_trainer_opts o = { .epochs = 4, .batch = 32, .hooks = &hook, .n_hooks = 1, .optimizer = { .kind = EPL_ADAMW, .decay = 0.1 } };
    if (w.pruner.user)
        t = epl_trainer_new(m, d, NULL, o);
    paper_check_true(r, "a mask only loses elements", t && epl_trainer_run(t) && w.monotone && w.updates == 80);
    paper_check_true(r, "what it covers stays exactly 0, under momentum and decay", w.zero);
    epl_trainer_free(t);
    epl_tensor_free(w.before);
    epl_release(ctx, w.pruner.user);
    epl_dataset_free(d);
}

static bool hooks_up(paper_run *r, epl_model *m, epl_pruner_opts o)
{
    const epl_train_hook h = epl_pruner_hook(m, o);
    epl_release(paper_context(r), h.user);
    return h.user != NULL;
}

static void check_refused(paper_run *r)
{
    epl_model *m = two_layers(r);
    const epl_layer_sparsity all = { "linear1.weight", 1.0 }, nobody = { "linear9.weight", 0.5 };
    if (!m)
        return;
    paper_check_refused(r, "an end before the begin",
                        hooks_up(r, m, (epl_pruner_opts){ .prune.sparsity = 0.5, .begin = 0.6, .end = 0.5 }),
                        "ends at 0.5");
    paper_check_refused(r, "sparsity that falls",
                        hooks_up(r, m, (epl_pruner_opts){ .prune.sparsity = 0.5, .initial = 0.6 }), "below the 0.6");
    paper_check_refused(r, "a layer without any weight",
                        epl_prune_weights(m, (epl_prune_opts){ .layers = &all, .n_layers = 1, .sparsity = 0.5 }), "1");
    paper_check_refused(r, "a layer that is not there",
                        epl_prune_weights(m, (epl_prune_opts){ .layers = &nobody, .n_layers = 1, .sparsity = 0.5 }),
                        "there are linear1.weight");
}

static void quick(paper_run *r)
{
    check_schedule(r);
    check_sizes(r);
    check_mobilenet(r);
    check_masks(r);
    check_refused(r);
}

/* ---- full: what is compared ---- */

/* A network of some width, and to how many weights it is pruned; 0: it stays dense. */
typedef struct subject {
    double      width;
    int64_t     budget, spared; /* of them, weights of the first layer, which is left alone */
    const char *schedule;
    double      begin, end;
    double      nonzero; /* that it came to have */
    epl_train_hook hooks[2];
    epl_pruner_opts pruner;
    double     *loss;    /* of each update; NULL: not kept */
    int64_t     n_loss, room;
} subject;

static epl_graph *conv_net(epl_context *ctx, void *user)
{
    static const char *const names[] = { "conv1", "conv2", "conv3" };
    const subject *s = user;
    epl_graph *g = epl_graph_new(ctx, "three-convolutions");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    for (int i = 0; i < 3; i++)
        x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = names[i], .out = (int)(s->width * (8 << i)), .stride = 2, .pad = 1 }));
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1));
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = 10 }));
    return g;
}

enum { VOCAB = 96, EMBED = 32, WINDOW = 32 };

static epl_graph *language_net(epl_context *ctx, void *user)
{
    const subject *s = user;
    char text[128];
    snprintf(text, sizeof text, "lstm-lm:vocab=%d,embed=%d,length=%d,layers=1,hidden=%d", VOCAB, EMBED, WINDOW, (int)s->width);
    return epl_zoo_build(ctx, text);
}

/* Weights that can be masked. */
static int64_t weights_of(paper_run *r, epl_graph *(*build)(epl_context *, void *), double width)
{
    subject      s = { .width = width };
    epl_graph   *g = build(paper_context(r), &s);
    int64_t      n = 0;
    for (const epl_node *p = g ? epl_first(g) : NULL; p; p = epl_next(p))
        if (strcmp(epl_node_op_name(p), "Parameter") == 0 && epl_rank(epl_node_output(p, 0)) > 1 &&
            !epl_glob("*.bias", epl_value_name(epl_node_output(p, 0))))
            n += epl_shape_count(epl_shape_of(epl_node_output(p, 0)));
    epl_graph_free(g);
    return n;
}

/* The hidden width whose weights come closest to a budget. */
static double hidden_of(int64_t budget)
{
    double best = 1;
    for (double h = 1, least = 1e300; h < 512; h++) {
        const double weights = VOCAB * EMBED + 4 * h * (EMBED + h) + h * VOCAB, far = fabs(weights - (double)budget);
        if (far < least) {
            least = far;
            best  = h;
        }
    }
    return best;
}

static bool keep_loss(void *user, epl_trainer *t, int64_t step)
{
    subject *s = user;
    (void)step;
    if (s->n_loss < s->room)
        s->loss[s->n_loss++] = epl_tensor_get(epl_program_output_named(epl_trainer_program(t), "loss"), 0);
    return true;
}

static bool begin(paper_run *r, paper_training *t)
{
    subject *s = t->user;
    int      n = 0;
    if (s->budget) {
        epl_sparsity all;
        if (!epl_sparsity_of(t->model, &all))
            return false;
        s->pruner = (epl_pruner_opts){
            .prune.skip = s->spared ? "first" : NULL, .schedule = s->schedule, .begin = s->begin, .end = s->end
        };
        s->pruner.prune.sparsity = 1 - (double)(s->budget - s->spared) / (double)(all.weights - s->spared);
        s->hooks[n++] = epl_pruner_hook(t->model, s->pruner);
        if (!s->hooks[0].user)
            return false;
    }
    if (t->seed == 0 && s->loss)
        s->hooks[n++] = (epl_train_hook){ .after_step = keep_loss, .user = s };
    t->recipe.hooks   = s->hooks;
    t->recipe.n_hooks = n;
    return paper_ok(r);
}

static bool end(paper_run *r, paper_training *t)
{
    subject     *s = t->user;
    epl_sparsity left;
    if (s->budget)
        epl_release(paper_context(r), s->hooks[0].user);
    if (isfinite(t->loss) && epl_sparsity_of(t->model, &left)) {
        s->nonzero = (double)left.nonzero;
        if (epl_rank(epl_graph_output_at(t->model->graph, 0)) == 3)
            paper_add(paper_series_named(r, "bits per character", t->variant->name, ""), t->test_loss / log(2));
    }
    return paper_ok(r);
}

/* ---- full: comparisons ---- */

static double standard_error(const paper_series *a, const paper_series *b)
{
    return sqrt((paper_std(a) * paper_std(a) + paper_std(b) * paper_std(b)) / (a && a->n ? a->n : 1));
}

/* Mean by which the sparse one is better; counts it where that is more than the standard error. */
static void compare(paper_run *r, const char *what, const paper_series *sparse, const paper_series *dense, double sign, int *clear)
{
    const double better = sign * (paper_mean(sparse) - paper_mean(dense));
    paper_check(r, what, better, PAPER_ABOVE, 0);
    *clear += better > standard_error(sparse, dense);
}

static void plot_frontier(paper_run *r, const char *file, const char *label, const paper_series *const *s,
                          const subject *subjects, int n, int n_dense)
{
    epl_plot *p =
        epl_plot_new(paper_context(r),
                     (epl_plot_opts){ .x_label = "weights that are not zero", .y_label = label, .x_log = true });
    double x[8], y[8];
    for (int i = 0; i < n && i < 8; i++) {
        x[i] = subjects[i].nonzero;
        y[i] = paper_mean(s[i]);
    }
    epl_plot_line(p, "dense, of several widths", x, y, (size_t)n_dense, (epl_line_opts){ .markers = true });
    epl_plot_line(p, "the widest, pruned", x + n_dense, y + n_dense, (size_t)(n - n_dense), (epl_line_opts){ .markers = true });
    paper_plot_take(r, file, "means of the seeds", p);
}

/* The run of seed 0 that `s` kept. */
static void plot_course(paper_run *r, const subject *s)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "update", .y_label = "training loss; sparsity" });
    double   *sparsity = paper_alloc(r, (size_t)(s->n_loss + 1) * sizeof *sparsity);
    for (int64_t i = 0; sparsity && i < s->n_loss; i++)
        sparsity[i] = epl_pruner_sparsity(&s->pruner, i + 1, s->n_loss);
    if (sparsity) {
        epl_plot_line(p, "loss", NULL, s->loss, (size_t)s->n_loss, (epl_line_opts){ 0 });
        epl_plot_line(p, "sparsity", NULL, sparsity, (size_t)s->n_loss, (epl_line_opts){ .steps = true });
    }
    paper_plot_take(r, "course", "one run of the convolutions: sparsity and loss", p);
}

static const double first = 0.15, last = 0.7; /* of the run: where pruning begins and ends */

static void pictures(paper_run *r, int *clear)
{
    const int64_t half = weights_of(r, conv_net, 0.5), quarter = weights_of(r, conv_net, 0.25);
    enum { QUARTER, HALF, WHOLE, TO_QUARTER, TO_HALF, AT_ONCE, N };
    subject s[N] = { { .width = 0.25 }, { .width = 0.5 }, { .width = 1 },
                     { .width = 1, .budget = quarter, .spared = 72, .begin = first, .end = last },
                     { .width = 1, .budget = half, .spared = 72, .begin = first, .end = last },
                     { .width = 1, .budget = quarter, .spared = 72, .schedule = "oneshot", .begin = last, .end = last } };
    static const char *const names[N] = { "dense, x 0.25",    "dense, x 0.5",    "dense",
                                          "pruned to x 0.25", "pruned to x 0.5", "to x 0.25 at once" };
    paper_variant v[N];
    const paper_series *accuracy[N] = { NULL };
    s[TO_QUARTER].room = 2000;
    s[TO_QUARTER].loss = paper_alloc(r, 2000 * sizeof(double));
    for (int i = 0; i < N; i++)
        v[i] = (paper_variant){ .name = names[i], .build = conv_net, .begin = begin, .end = end, .user = &s[i] };
    if (!paper_train(r, v, N, (paper_recipe){ .samples = 12000, .test = 5000, .epochs = 8, .optimizer = "adam:rate=3e-3" }, accuracy))
        return;
    compare(r, "pictures, weights of x 0.5: pruned - dense, points", accuracy[TO_HALF], accuracy[HALF], 1, clear);
    compare(r, "pictures, weights of x 0.25: pruned - dense, points", accuracy[TO_QUARTER], accuracy[QUARTER], 1, clear);
    paper_check(r, "pictures: little by little - at once, points",
                paper_mean(accuracy[TO_QUARTER]) - paper_mean(accuracy[AT_ONCE]), PAPER_AT_LEAST, 0);
    plot_frontier(r, "pictures", "test accuracy [%]", accuracy, s, N - 1, WHOLE + 1);
    plot_course(r, &s[TO_QUARTER]);
}

static void language(paper_run *r, int *clear)
{
    enum { NINETY, EIGHTY, WHOLE, TO_NINETY, TO_EIGHTY, N };
    const double  wide = 192;
    const int64_t all = weights_of(r, language_net, wide), tenth = all / 10, fifth = all / 5;
    subject s[N] = { { .width = hidden_of(tenth) }, { .width = hidden_of(fifth) }, { .width = wide },
                     { .width = wide, .budget = tenth, .begin = first, .end = last }, { .width = wide, .budget = fifth, .begin = first, .end = last } };
    paper_variant v[N];
    const paper_series *bits[N] = { NULL };
    const char *names[N] = { paper_textf(r, "LSTM of %d", (int)s[NINETY].width), paper_textf(r, "LSTM of %d", (int)s[EIGHTY].width),
                             "LSTM of 192", "LSTM of 192, 90 % zero", "LSTM of 192, 80 % zero" };
    for (int i = 0; i < N; i++)
        v[i] = (paper_variant){ .name = names[i],
                                .build = language_net,
                                .begin = begin,
                                .end = end,
                                .user = &s[i],
                                .what = "next character, accuracy" };
    const paper_recipe recipe = { .data = "text:window=32",
                                  .samples = 12500,
                                  .test = 2000,
                                  .epochs = 2,
                                  .batch = 28,
                                  .optimizer = "adam:rate=1e-2,clip_norm=5" };
    if (!paper_train(r, v, N, recipe, bits))
        return;
    for (int i = 0; i < N; i++)
        bits[i] = paper_series_named(r, "bits per character", names[i], "");
    compare(r, "text, a fifth of the weights: dense - pruned, bits per character", bits[TO_EIGHTY], bits[EIGHTY], -1, clear);
    compare(r, "text, a tenth of the weights: dense - pruned, bits per character", bits[TO_NINETY], bits[NINETY], -1, clear);
    plot_frontier(r, "text", "bits per character", bits, s, N, WHOLE + 1);
}

static void full(paper_run *r)
{
    int clear = 0;
    pictures(r, &clear);
    language(r, &clear);
    if (paper_ok(r))
        paper_check(r, "comparisons whose difference is more than its standard error, of 4", clear, PAPER_AT_LEAST, 3);
}

const paper paper_gradual_pruning = {
    .slug = "gradual-pruning",
    .title = "To prune, or not to prune: exploring the efficacy of pruning for model compression",
    .source = "Zhu, Gupta, 2017, arXiv:1710.01878", .kind = "training",
    .claim = "Of as many weights that are not zero, a large network that was pruned little by little while it learned is better than a "
             "small dense one.",
    .criterion = "better in the mean in both tasks at both budgets, by more than the standard error in three of the four; little by little "
                 "is no worse than at once",
    .quick = quick, .full = full,
};
