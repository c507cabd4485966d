/* man: a residual network learns in modules that no gradient leaves. Does a twin of the next block before each
 * auxiliary head make up for some of what the modules do not see, and is only one module's memory needed? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick ---- */

static void check_heads(paper_run *r)
{
    static const struct { const char *aux; double n[3]; } heads[] = {
        { "0c1f", { 170, 330, 650 } },        { "0c2f", { 3466, 5514, 9610 } },    { "1c1f", { 5002, 19210, 37642 } },
        { "1c2f", { 10186, 28170, 46602 } },  { "1c3f", { 26698, 44682, 63114 } }, { "2c2f", { 19466, 65162, 83594 } } };
    static const double decoders[3] = { 2091, 3819, 7275 };
    epl_context *ctx = paper_context(r);
    for (int i = 0; i < 3; i++) {
        const int       c = 16 << i;
        const epl_shape like = EPL_SHAPE(1, 8, 8, c);
        for (size_t k = 0; k < EPL_COUNT(heads); k++) {
            epl_graph *g = epl_local_classifier(ctx, like, heads[k].aux, 10);
            paper_check(r, paper_textf(r, "parameters of %s for %d channels", heads[k].aux, c),
                        g ? (double)epl_graph_n_parameters(g) : NAN, PAPER_EQUAL, heads[k].n[i]);
            epl_graph_free(g);
        }
        epl_graph *g = epl_local_decoder(ctx, like, EPL_SHAPE(1, 32, 32, 3));
        paper_check(r, paper_textf(r, "parameters of the decoder for %d channels", c),
                    g ? (double)epl_graph_n_parameters(g) : NAN, PAPER_EQUAL, decoders[i]);
        epl_graph_free(g);
    }
    paper_check_model(r, "resnet:depth=32", 466906, 0);
    paper_check_model(r, "resnet:depth=110", 1730714, 0);
}

#define SMALL "resnet:depth=14,width=4,image=8,channels=1"

/* A small network after some updates with batches of noise, with all that the step carries; the run owns it. */
static epl_model *after_steps(paper_run *r, const epl_local_opts *local, double clip, int steps)
{
    epl_model     *m = paper_model(r, SMALL, 3);
    epl_train_hook hook = local ? epl_local_hook(paper_context(r), *local) : (epl_train_hook){ 0 };
    const epl_step_opts o = { .batch = 6, .hooks = &hook, .n_hooks = local != NULL, .optimizer = { .momentum = 0.9, .clip_norm = clip } };
    epl_graph   *g = m && paper_ok(r) ? epl_train_graph(m, m->weights, o, 3, NULL) : NULL;
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ 0 }) : NULL;
    epl_rng      rng = epl_rng_at(2, 2);
    for (int s = 0; p && s < steps; s++) {
        epl_tensor_fill_normal(epl_program_input_named(p, "x"), &rng, 0, 1);
        for (int64_t i = 0; i < o.batch; i++) {
            epl_tensor_set_i64(epl_program_input_named(p, "target"), i, i % 3);
            epl_tensor_set(epl_program_input_named(p, "weights"), i, 1);
        }
        epl_tensor_set(epl_program_input_named(p, "rate"), 0, 0.05);
        if (!epl_program_run(p))
            break;
    }
    const bool ok = p && paper_ok(r);
    epl_program_free(p);
    epl_graph_free(g);
    epl_release(paper_context(r), hook.user);
    return ok ? m : NULL;
}

/* Tensors of those names that have the same bits in both. */
static int equal_tensors(const epl_model *a, const epl_model *b, const char *names, int *all)
{
    int equal = *all = 0;
    for (int i = 0; a && b && i < epl_weights_count(a->weights); i++) {
        const char       *name = epl_weights_name(a->weights, i);
        const epl_tensor *t = epl_weights_find(b->weights, name);
        if (epl_glob(names, name) && t) {
            equal += epl_tensor_equal(epl_weights_at(a->weights, i), t);
            ++*all;
        }
    }
    return equal;
}

static void check_isolation(paper_run *r)
{
    const epl_local_opts one = { .modules = 1, .man = EPL_MAN_BLOCK }, two = { .cuts = "stage1.unit1", .aux = "0c1f" };
    const epl_local_opts four = { .cuts = "stage1.unit1,stage2.unit1,stage3.unit1", .aux = "0c1f" };
    int all;
    const int same = equal_tensors(after_steps(r, NULL, 0, 3), after_steps(r, &one, 0, 3), "*", &all);
    paper_check(r, "one module: tensors with the bits of ordinary training, of all", (double)same / all, PAPER_EQUAL, 1);
    const int alone = equal_tensors(after_steps(r, &two, 0.01, 3), after_steps(r, &four, 0.01, 3), "stem.*,stage1.unit1.*,local1.*", &all);
    paper_check(r, "tensors of the first module that do not notice how the rest is cut, clipped by its own norm",
                (double)alone / all, PAPER_EQUAL, 1);
    paper_check_refused(r, "a cut inside a residual branch",
                        after_steps(r, &(epl_local_opts){ .cuts = "stage1.unit1.a" }, 0, 1),
                        "more than one tensor crosses");
    paper_check_refused(r, "more modules than blocks and stem", after_steps(r, &(epl_local_opts){ .modules = 8 }, 0, 1),
                        "cannot be cut into 8 modules");
    paper_check_refused(r, "a momentum outside of 0 to 1",
                        after_steps(r, &(epl_local_opts){ .modules = 2, .forget = 2 }, 0, 1), "outside of 0 to 1");
}

static double distance(const epl_model *m, const char *a, const char *b)
{
    const epl_tensor *x = m ? epl_weights_find(m->weights, a) : NULL, *y = m ? epl_weights_find(m->weights, b) : NULL;
    double sum = 0;
    for (int64_t i = 0; x && y && i < epl_tensor_count(x); i++)
        sum += fabs(epl_tensor_get(x, i) - epl_tensor_get(y, i));
    return x && y ? sum : NAN;
}

/* Momentum 1 keeps the copy where the next block began; momentum 0 makes it that block as it was an update ago. */
static void check_twins(paper_run *r)
{
    static const char *const twin = "local1.ema.stage2.unit1.a.conv.weight", *const next = "stage2.unit1.a.conv.weight";
    epl_local_opts o = { .cuts = "stage1.unit2", .man = EPL_MAN_BLOCK, .forget = -1 };
    epl_model     *start = after_steps(r, &o, 0, 0), *later = after_steps(r, &o, 0, 2);
    int            all;
    paper_check(r, "the twin begins as the next block: distance", distance(start, twin, next), PAPER_EQUAL, 0);
    paper_check(r, "momentum 1: tensors of the twin that moved",
                (double)-equal_tensors(start, later, "local1.ema.*", &all) + all, PAPER_EQUAL, 0);
    o.forget = 1;
    const epl_model *one = after_steps(r, &o, 0, 1), *two = after_steps(r, &o, 0, 2);
    const epl_tensor *was = one ? epl_weights_find(one->weights, next) : NULL, *is = two ? epl_weights_find(two->weights, twin) : NULL;
    paper_check_true(r, "momentum 0: the twin is the next block an update ago, to the bit", was && is && epl_tensor_equal(was, is));
}

static double planned_mib(paper_run *r, const epl_model *m, const epl_local_opts *local, int64_t batch)
{
    epl_program_memory memory;
    epl_train_hook     hook = local ? epl_local_hook(paper_context(r), *local) : (epl_train_hook){ 0 };
    const epl_step_opts o = { .batch = batch, .hooks = &hook, .n_hooks = local != NULL, .optimizer = { .momentum = 0.9 } };
    const bool ok = m && paper_ok(r) && epl_train_memory(m, o, &memory);
    epl_release(paper_context(r), hook.user);
    return ok ? (double)memory.arena / 1048576 : NAN;
}

static void check_memory(paper_run *r)
{
    const epl_model *m = paper_model(r, "resnet:depth=32", 0);
    const double     whole = planned_mib(r, m, NULL, 16);
    double           before = whole;
    for (int k = 2; k <= 16; k *= 2) {
        const double now = planned_mib(r, m, &(epl_local_opts){ .modules = k, .aux = "1c2f" }, 16);
        paper_check(r, paper_textf(r, "ResNet-32: planned activations of %d modules / of half as many", k), now / before, PAPER_BELOW, 1);
        const double decoded = planned_mib(r, m, &(epl_local_opts){ .modules = k, .loss = "infopro" }, 16);
        paper_check(r, paper_textf(r, "ResNet-32: planned activations of %d modules with decoders / end to end", k),
                    decoded / whole, PAPER_BELOW, 1);
        before = now;
    }
}

static void quick(paper_run *r)
{
    check_heads(r);
    check_isolation(r);
    check_twins(r);
    check_memory(r);
}

/* ---- full ---- */

#define NET   "resnet:depth=14,width=8,image=14,channels=1"
#define SMALLER "resize:14,normalise:0.286:0.353"
enum { BATCH = 128, N_NETWORKS = 7, N_BLOCKS = 7 };
enum { WHOLE, DGL_4, EMA_4, MAN_4, DGL_7, EMA_7, MAN_7 };

typedef struct setting {
    epl_local_opts local;
    bool           whole; /* end to end */
    double         probes[N_BLOCKS], alike[N_BLOCKS]; /* seed 0: per cent; to the network that learned end to end */
    epl_tensor   **features;                          /* of that network: of all settings */
} setting;

static bool add_modules(paper_run *r, paper_training *t)
{
    const setting *s = t->user;
    if (t->seed == 0)
        paper_add(paper_series_named(r, "planned activations", t->variant->name, "MiB"),
                  planned_mib(r, t->model, s->whole ? NULL : &s->local, BATCH));
    if (s->whole)
        return paper_ok(r);
    epl_train_hook *hook = paper_alloc(r, sizeof *hook);
    if (!hook)
        return false;
    *hook = epl_local_hook(paper_context(r), s->local);
    t->recipe.hooks   = hook;
    t->recipe.n_hooks = 1;
    return hook->user != NULL;
}

/* How well a linear classifier reads each block's result. */
static bool probe_blocks(paper_run *r, paper_training *t)
{
    static const char *const blocks[N_BLOCKS] = { "stem",         "stage1.unit1", "stage1.unit2", "stage2.unit1",
                                                  "stage2.unit2", "stage3.unit1", "stage3.unit2" };
    setting     *s = t->user;
    epl_dataset *part = NULL;
    epl_tensor  *labels = NULL;
    int64_t      index[1000];
    const int64_t n = epl_dataset_info_of(t->test).count < 1000 ? epl_dataset_info_of(t->test).count : 1000;
    if (t->recipe.n_hooks)
        epl_release(paper_context(r), t->recipe.hooks[0].user);
    if (t->seed > 0 || !isfinite(t->accuracy))
        return paper_ok(r);
    for (int64_t i = 0; i < n; i++)
        index[i] = i;
    part = epl_dataset_subset(t->test, index, n);
    bool ok = part && epl_dataset_tensors(part, 0, n, NULL, &labels);
    for (int i = 0; ok && i < N_BLOCKS; i++) {
        epl_tensor *f = epl_features(t->model, part, (epl_features_opts){ .layer = blocks[i], .average = true, .batch = 100 });
        double      accuracy = NAN;
        ok = f && epl_probe(paper_context(r), f, labels, (epl_probe_opts){ .folds = 3, .epochs = 20 }, &accuracy);
        ok = ok && (s->whole || epl_cka(paper_context(r), s->features[i], f, &s->alike[i]));
        s->probes[i] = 100 * accuracy;
        if (s->whole)
            s->features[i] = f;
        else
            epl_tensor_free(f);
    }
    epl_tensor_free(labels);
    epl_dataset_free(part);
    return ok;
}

static double error_of(const paper_series *accuracy) { return 100 - paper_mean(accuracy); }

static void check_errors(paper_run *r, const paper_series *const *a)
{
    const double n = paper_n_seeds(r), standard = sqrt((pow(paper_std(a[DGL_7]), 2) + pow(paper_std(a[MAN_7]), 2)) / n);
    paper_check(r, "4 modules: error of DGL - of DGL and MAN, points", error_of(a[DGL_4]) - error_of(a[MAN_4]), PAPER_ABOVE, 0);
    paper_check(r, "7 modules: error of DGL - of DGL and MAN, points", error_of(a[DGL_7]) - error_of(a[MAN_7]), PAPER_ABOVE, 0);
    paper_check(r, "7 modules: that difference less its standard error, points",
                error_of(a[DGL_7]) - error_of(a[MAN_7]) - standard, PAPER_ABOVE, 0);
}

static void check_planned(paper_run *r, const paper_variant *v)
{
    const double whole = paper_mean(paper_series_named(r, "planned activations", v[WHOLE].name, "MiB"));
    const double four = paper_mean(paper_series_named(r, "planned activations", v[DGL_4].name, "MiB"));
    paper_check(r, "planned activations: 4 modules / end to end", four / whole, PAPER_AT_MOST, 0.7);
}

static void plot_by_modules(paper_run *r, const paper_variant *v, const paper_series *const *a)
{
    static const double k[] = { 1, 4, 7 };
    static const struct { const char *name; int at[3]; } lines[] = {
        { "DGL", { WHOLE, DGL_4, DGL_7 } }, { "DGL, EMA", { WHOLE, EMA_4, EMA_7 } }, { "DGL, MAN", { WHOLE, MAN_4, MAN_7 } } };
    epl_plot *errors = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "modules", .y_label = "test error [%]" });
    epl_plot *memory = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "modules", .y_label = "planned activations [MiB]" });
    for (size_t i = 0; i < EPL_COUNT(lines); i++) {
        double e[3], m[3];
        for (int j = 0; j < 3; j++) {
            e[j] = error_of(a[lines[i].at[j]]);
            m[j] = paper_mean(paper_series_named(r, "planned activations", v[lines[i].at[j]].name, "MiB"));
        }
        epl_plot_line(errors, lines[i].name, k, e, 3, (epl_line_opts){ .markers = true });
        epl_plot_line(memory, lines[i].name, k, m, 3, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, "errors", "Mean test error by the number of modules; 1 is end to end.", errors);
    paper_plot_take(r, "memory", "Planned activations of a step of 128 samples by the number of modules.", memory);
}

static void plot_probes(paper_run *r, const paper_variant *v)
{
    epl_plot           *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "block (1: the stem)",
                                                                            .y_label = "a linear classifier's accuracy [%]" });
    static const double x[N_BLOCKS] = { 1, 2, 3, 4, 5, 6, 7 };
    static const int shown[] = { WHOLE, DGL_7, EMA_7, MAN_7 };
    for (size_t i = 0; i < EPL_COUNT(shown); i++)
        epl_plot_line(p, v[shown[i]].name, x, ((const setting *)v[shown[i]].user)->probes, N_BLOCKS, (epl_line_opts){ .markers = true });
    paper_plot_take(r, "probes",
                    "How well a linear classifier reads each block's result (means over space of 1000 test pictures, 3 "
                    "folds), seed 0.",
                    p);
}

static void plot_alike(paper_run *r, const paper_variant *v)
{
    epl_plot           *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "block (1: the stem)",
                                                                            .y_label = "CKA with the same block end to end" });
    static const double x[N_BLOCKS] = { 1, 2, 3, 4, 5, 6, 7 };
    static const int shown[] = { DGL_7, EMA_7, MAN_7 };
    for (size_t i = 0; i < EPL_COUNT(shown); i++)
        epl_plot_line(p, v[shown[i]].name, x, ((const setting *)v[shown[i]].user)->alike, N_BLOCKS, (epl_line_opts){ .markers = true });
    paper_plot_take(r, "alike",
                    "How alike each block sees the same 1000 pictures as that of the network that learned end to end "
                    "(linear CKA), seed 0.",
                    p);
}

static void full(paper_run *r)
{
    epl_tensor *features[N_BLOCKS] = { NULL };
    setting s[N_NETWORKS] = { [WHOLE] = { .whole = true } };
    static const char *const names[N_NETWORKS] = { "end to end", "DGL, 4",         "DGL and EMA, 4", "DGL and MAN, 4",
                                                   "DGL, 7",     "DGL and EMA, 7", "DGL and MAN, 7" };
    paper_variant v[N_NETWORKS];
    const paper_recipe recipe = { .samples = 6000, .test = 5000, .epochs = 4, .batch = BATCH, .augment = SMALLER,
                                  .optimizer = "sgd:rate=0.1,momentum=0.9,nesterov=1,decay=1e-4" };
    const paper_series *accuracy[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++) {
        static const epl_man twins[] = { EPL_MAN_BLOCK, EPL_MAN_OFF, EPL_MAN_EMA };
        s[i].local = (epl_local_opts){ .modules = i < DGL_7 ? 4 : 7, .aux = "0c2f", .man = i ? twins[i % 3] : EPL_MAN_OFF };
        s[i].features = features;
        v[i] = (paper_variant){ .name = names[i], .model = NET, .begin = add_modules, .end = probe_blocks, .user = &s[i] };
    }
    if (paper_train(r, v, N_NETWORKS, recipe, accuracy)) {
        check_errors(r, accuracy);
        check_planned(r, v);
        plot_by_modules(r, v, accuracy);
        plot_probes(r, v);
        plot_alike(r, v);
    }
    for (int i = 0; i < N_BLOCKS; i++)
        epl_tensor_free(features[i]);
}

const paper paper_man = {
    .slug = "man",
    .title = "Momentum Auxiliary Network for Supervised Local Learning",
    .source = "Su et al. 2024, arXiv:2407.05623",
    .kind = "training",
    .claim = "a moving average of the next block's parameters, with a learned twin beside it, before each auxiliary "
             "head makes up for some of what "
             "modules lose that learn without gradients from behind, at the memory of the largest module",
    .criterion = "residual networks of 14 layers on Fashion-MNIST at 14 x 14, with 4 and with 7 modules: the mean "
                 "error with MAN is below that without, "
                 "with 7 by more than the difference's standard error; planned activations of 4 modules are at most "
                 "0.7 of those end to end",
    .quick = quick,
    .full = full,
};
