/* dycl: three dynamic networks - early exits, skipped blocks, text written letter by letter - compiled with their
 * control flow. Is the compiled network right on every path, where a recorded one is right on one; is it faster than
 * the library that runs the graph? */
#define _XOPEN_SOURCE 700
#include "papers/common/paper.h"

#include <ctype.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUTS = 1000 };

/* ---- the networks ---- */

#define SKIPNET   "skipnet-ff:depth=8,width=12,image=28,channels=1"
#define CAPTIONER "captioner:image=28,channels=1,length=20,width=48,channels_inside=12"

/* Shallow-deep network: a classifier behind each of three pairs of convolutions, Kaya et al. 2019
 * (arXiv:1810.07052). Trained with all classifiers as outputs; dynamic, a sample leaves where the largest
 * probability is above the state "exit<k>.threshold". */
static epl_graph *shallow_deep(epl_context *ctx, bool dynamic)
{
    epl_graph *g = epl_graph_new(ctx, dynamic ? "sdn" : "sdn-training");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,"), *logits[3];
    for (int k = 0; k < 3; k++) {
        epl_scope_push(g, "exit%d", k + 1);
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "a", .conv = { .out = 12 << k, .stride = k ? 2 : 1 } });
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "b", .conv = { .out = 12 << k } });
        logits[k] = epl_classifier(g, x, (epl_classifier_opts){ .name = "head", .classes = 10 });
        if (dynamic && k < 2) {
            epl_value *sure = epl_reduce_max(g, epl_softmax(g, logits[k], -1), (epl_reduce_opts){ EPL_AXES(1) });
            epl_exit(g, epl_greater(g, sure, epl_state(g, "threshold", EPL_F32, EPL_SHAPE(1), EPL_INIT_CONSTANT, 0.9)), 1, &logits[k]);
        }
        epl_scope_pop(g);
    }
    for (int k = 0; k < 3 && !dynamic; k++)
        epl_output(g, k == 2 ? "logits" : k ? "second" : "first", logits[2 - k]);
    if (dynamic)
        epl_output(g, "logits", logits[2]);
    return g;
}

static epl_graph *shallow_deep_training(epl_context *ctx, void *user)
{
    (void)user;
    return shallow_deep(ctx, false);
}

/* A graph with the weights of another of the same names; what is new starts as it says. */
static epl_model *with_weights(paper_run *r, epl_graph *g, const epl_model *from)
{
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    for (int i = 0; m && i < epl_weights_count(from->weights); i++) {
        epl_tensor *t = epl_tensor_copy(paper_context(r), epl_weights_at(from->weights, i));
        if (!t || !epl_weights_put_take(m->weights, epl_weights_name(from->weights, i), t))
            return NULL;
    }
    paper_keep_model_take(r, m);
    return m && epl_model_init(m, 0) ? m : NULL;
}

/* ---- quick ---- */

static int count_op(const epl_graph *g, const char *op)
{
    int count = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n)) {
        count += strcmp(epl_node_op_name(n), op) == 0;
        for (int i = 0; i < epl_node_n_regions(n); i++)
            count += count_op(epl_node_region(n, i), op);
    }
    return count;
}

static epl_value *pixels(epl_graph *g, const char *name) { return epl_input(g, name, EPL_F32, EPL_SHAPE(4), NULL); }

/* if (flag) x = relu(x), `n` times over, with constant flags. */
static void check_constant_policy(paper_run *r)
{
    epl_graph *g = epl_graph_new(paper_context(r), "policy");
    epl_value *x = pixels(g, "x");
    for (int k = 0; k < 6; k++) {
        epl_graph *yes = epl_region_new(g), *no = epl_region_new(g);
        epl_output(yes, "y", epl_relu(yes, pixels(yes, "x")));
        epl_output(no, "y", pixels(no, "x"));
        epl_if(g, epl_scalar(g, EPL_BOOL, k % 2), yes, no, 1, &x, &x);
    }
    epl_output(g, "y", x);
    paper_check_true(r, "a constant policy is folded", epl_fold_control(g, 0));
    paper_check(r, "choices left of a constant policy", count_op(g, "If"), PAPER_EQUAL, 0);
    paper_check(r, "blocks left of three that run and three that do not", count_op(g, "Relu"), PAPER_EQUAL, 3);
    epl_graph_free(g);
}

static void check_loop(paper_run *r, int limit, int loops, int copies)
{
    epl_graph *g = epl_graph_new(paper_context(r), "loop"), *body = epl_region_new(g);
    epl_value *x = pixels(g, "x"), *out[2] = { NULL };
    epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_output(body, "go", epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL));
    epl_output(body, "x", epl_sin(body, pixels(body, "x")));
    epl_loop(g, 3, NULL, 1, &x, body, 0, NULL, out);
    epl_output(g, "y", out[0]);
    paper_check_true(r, "a loop of three is treated", epl_fold_control(g, limit));
    paper_check(r, paper_textf(r, "loops left with limit %d", limit), count_op(g, "Loop"), PAPER_EQUAL, loops);
    paper_check(r, paper_textf(r, "copies of its body with limit %d", limit), count_op(g, "Sin"), PAPER_EQUAL, copies);
    epl_graph_free(g);
}

/* a = f(x), t = g(a); if t > 0 then y = h(a) else y = x: two networks, and x stays with the host. */
static epl_graph *liveness_example(epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "liveness"), *yes = epl_region_new(g), *no = epl_region_new(g);
    epl_value *x = pixels(g, "x"), *a = epl_exp(g, x), *t = epl_reduce_sum(g, a, (epl_reduce_opts){ 0 }), *in[] = { a, x }, *y = NULL;
    epl_output(yes, "y", epl_tanh(yes, pixels(yes, "a")));
    pixels(yes, "x");
    pixels(no, "a");
    epl_output(no, "y", pixels(no, "x"));
    epl_if(g, epl_greater(g, t, epl_scalar(g, EPL_F32, 0)), yes, no, 2, in, &y);
    epl_output(g, "y", y);
    return g;
}

static void check_liveness(paper_run *r)
{
    epl_graph  *g = liveness_example(paper_context(r));
    char       *flow = epl_control_flow(g, false);
    paper_check_true(r, "network A takes x and gives a and t", flow && strstr(flow, "{x} -> {v1, v2}"));
    paper_check_true(r, "two networks remain", flow && strstr(flow, "2 networks\n"));
    epl_release(paper_context(r), flow);
    epl_graph_free(g);
}

static void set_thresholds(epl_model *m, const char *pattern, double threshold)
{
    for (int i = 0; m && i < epl_weights_count(m->weights); i++)
        if (epl_glob(pattern, epl_weights_name(m->weights, i)))
            epl_tensor_set(epl_weights_at(m->weights, i), 0, threshold);
}

/* Regions that ran: above every probability nobody leaves, below all of them everybody does at once. */
static void check_exits(paper_run *r)
{
    epl_graph *g = shallow_deep(paper_context(r), true);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    if (!m || !epl_model_init(m, 0))
        return;
    for (int all = 0; all < 2; all++) {
        set_thresholds(m, "*.threshold", all ? 2 : 0);
        epl_paths *p = epl_check_paths(m, (epl_paths_opts){ .n_samples = 6 });
        int64_t    runs = 0;
        for (int i = 0; p && i < p->n_regions; i++)
            runs += epl_program_region(p->program, i).region == 1 ? p->runs[i] : 0;
        paper_check(r, all ? "rests that run with a threshold above 1" : "rests that run with threshold 0",
                    (double)runs, PAPER_EQUAL, all ? 12 : 0);
        epl_paths_free(p);
    }
}

static void check_refusals(paper_run *r)
{
    epl_graph *g = epl_graph_new(paper_context(r), "wrong"), *yes = epl_region_new(g), *no = epl_region_new(g);
    epl_value *x = pixels(g, "x"), *y = NULL;
    epl_output(yes, "y", pixels(yes, "x"));
    epl_output(no, "y", pixels(no, "x"));
    const epl_node *n = epl_if(g, epl_input(g, "cond", EPL_BOOL, EPL_SHAPE(3), NULL), yes, no, 1, &x, &y);
    paper_check_refused(r, "a condition of samples where a scalar is needed", n != NULL, "splits the batch");
    epl_graph_free(g);
}

static void quick(paper_run *r)
{
    check_constant_policy(r);
    check_loop(r, 0, 0, 3);
    check_loop(r, 2, 1, 1);
    check_liveness(r);
    check_exits(r);
    check_refusals(r);
}

/* ---- full: thresholds ---- */

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The value below which `share` of them lie. */
static double quantile(float *x, int64_t n, double share)
{
    qsort(x, (size_t)n, sizeof *x, rising);
    return n ? 0.5 * ((double)x[(int64_t)(share * (double)(n - 1))] + (double)x[(int64_t)(share * (double)(n - 1)) + 1]) : 0;
}

/* Output 1 of a model, one number for each of these pictures. */
static bool read_numbers(paper_run *r, const epl_model *m, const epl_tensor *x, float *out)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    const size_t each = p ? epl_tensor_bytes(epl_program_input(p, 0)) : 0;
    for (int64_t i = 0; p && i < x->shape.dim[0] && paper_ok(r); i++) {
        memcpy(epl_program_input(p, 0)->data, (const char *)x->data + (size_t)i * each, each);
        if (!epl_program_run(p))
            break;
        out[i] = (float)epl_tensor_get(epl_program_output(p, 1), 0);
    }
    epl_program_free(p);
    return p && paper_ok(r);
}

/* What is compared with that threshold becomes output 1 of a copy: the numbers decide about the share that is below. */
static bool calibrate(paper_run *r, epl_model *m, const char *threshold, const epl_tensor *x, double share)
{
    epl_model *copy = epl_model_copy(m);
    float     *numbers = paper_alloc(r, (size_t)x->shape.dim[0] * sizeof *numbers);
    epl_value *t = copy ? epl_graph_find(copy->graph, threshold) : NULL, *compared = NULL;
    for (int i = 0; t && i < epl_n_uses(t); i++)
        if (strcmp(epl_node_op_name(epl_use_at(t, i).node), "Greater") == 0)
            compared = epl_node_input(epl_use_at(t, i).node, 0);
    const bool ok = compared && numbers && epl_output(copy->graph, "compared", compared) && read_numbers(r, copy, x, numbers);
    epl_model_free(copy);
    if (ok)
        epl_tensor_set(epl_weights_find(m->weights, threshold), 0, quantile(numbers, x->shape.dim[0], share));
    return ok;
}

/* Exits: of those that come so far, `share` stay. The numbers of all samples are at hand before anything is moved into a branch. */
static bool calibrate_exits(paper_run *r, epl_model *m, const epl_model *trained, const epl_tensor *x)
{
    float  *sure[2] = { 0 };
    int64_t n = x->shape.dim[0], left = 0;
    for (int k = 0; k < 2; k++) {
        epl_graph *g = epl_graph_copy(trained->graph);
        epl_value *logits = g ? epl_graph_output_at(g, 2 - k) : NULL;
        sure[k] = paper_alloc(r, (size_t)n * sizeof **sure);
        while (g && epl_graph_n_outputs(g) > 1)
            for (epl_node *o = epl_last(g); o; o = epl_prev(o))
                if (strcmp(epl_node_op_name(o), "Output") == 0) {
                    epl_node_remove(o);
                    break;
                }
        epl_value *most = g ? epl_reduce_max(g, epl_softmax(g, logits, -1), (epl_reduce_opts){ EPL_AXES(1) }) : NULL;
        const epl_model part = { paper_context(r), g, trained->weights };
        const bool ok = most && sure[k] && epl_output(g, "sure", most) && read_numbers(r, &part, x, sure[k]);
        epl_graph_free(g);
        if (!ok)
            return false;
    }
    float *sorted = paper_alloc(r, (size_t)n * sizeof *sorted);
    if (!sorted)
        return false;
    memcpy(sorted, sure[0], (size_t)n * sizeof *sorted);
    const double first = quantile(sorted, n, 0.6);
    for (int64_t i = 0; i < n; i++)
        if (sure[0][i] <= (float)first)
            sorted[left++] = sure[1][i];
    epl_tensor_set(epl_weights_find(m->weights, "exit1.threshold"), 0, first);
    epl_tensor_set(epl_weights_find(m->weights, "exit2.threshold"), 0, quantile(sorted, left, 0.5));
    return true;
}

static epl_tensor *pictures(epl_dataset *d, int64_t n)
{
    epl_tensor   *x = NULL;
    const int64_t there = d ? epl_dataset_info_of(d).count : 0;
    return there && epl_dataset_tensors(d, 0, there < n ? there : n, &x, NULL) ? x : NULL;
}

/* ---- full: texts ---- */

enum { LENGTH = 20, LETTERS = 28, CLASSES = 10 };

/* a to z are 1 to 26, whatever else a name has is 27, 0 ends it. */
static void spell(const char *name, int64_t out[LENGTH])
{
    memset(out, 0, LENGTH * sizeof *out);
    for (int i = 0; i < LENGTH - 1 && name[i]; i++)
        out[i] = isalpha((unsigned char)name[i]) ? tolower((unsigned char)name[i]) - 'a' + 1 : 27;
}

/* ---- full: training ---- */

typedef struct subject {
    const char *name;
    epl_model  *trained, *model; /* model: the dynamic network, thresholds set */
    bool        texts;           /* its label is a text */
    double      share;           /* the rarest region's, of the inputs */
    double      traced, max_abs, compiled_us, plain_us, library_us;
    int64_t     labels_different;
} subject;

enum { EXITS, BLOCKS, TEXTS, N_SUBJECTS };

typedef struct course {
    subject s[N_SUBJECTS];
    int64_t names[CLASSES][LENGTH];
} course;

/* The network that writes all letters, and what it is asked: output 0 is how likely each class's name is, the sum of
 * the letters' log probabilities [N, classes]. */
static epl_graph *words_training(epl_context *ctx, void *user)
{
    epl_graph  *g = epl_zoo_build(ctx, CAPTIONER ",stop=0");
    epl_tensor *w = g ? epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(LENGTH * LETTERS, CLASSES)) : NULL;
    for (int k = 0; w && k < CLASSES; k++)
        for (int i = 0; i < LENGTH; i++)
            epl_tensor_set(w, (i * LETTERS + ((const course *)user)->names[k][i]) * CLASSES + k, 1);
    epl_value *logits = g ? epl_graph_output_at(g, 0) : NULL;
    for (epl_node *n = g ? epl_last(g) : NULL, *before; n; n = before) {
        before = epl_prev(n);
        if (strcmp(epl_node_op_name(n), "Output") == 0)
            epl_node_remove(n);
    }
    if (w)
        epl_output(g, "logits",
                   epl_matmul(g, epl_reshape(g, epl_log_softmax(g, logits, -1), EPL_SHAPE(EPL_KEEP, LENGTH * LETTERS)),
                              epl_constant(g, w), (epl_matmul_opts){ 0 }));
    epl_tensor_free(w);
    return g;
}

/* Every letter of the name has to be right, not only the name likelier than others. */
static bool letter_loss(void *user, epl_train_step *s)
{
    (void)user;
    epl_graph *g = s->graph;
    epl_value *of_name =
        epl_reduce_sum(g, epl_mul(g, s->outputs[0], epl_one_hot(g, s->target, CLASSES, (epl_one_hot_opts){ 0 })),
                       (epl_reduce_opts){ EPL_AXES(1) });
    s->loss = epl_weighted_mean(g, epl_affine(g, of_name, -1.0 / LENGTH, 0), s->sample_weights);
    return s->loss != NULL;
}

static bool add_other_losses(void *user, epl_train_step *s)
{
    (void)user;
    for (int i = 1; i < s->n_outputs; i++)
        s->loss = epl_add(s->graph, s->loss, epl_loss(s->graph, s->outputs[i], s->target, s->sample_weights, (epl_loss_opts){ 0 }));
    return s->loss != NULL;
}

static bool keep(paper_run *r, paper_training *t)
{
    course *c = t->user;
    if (t->seed > 0 || !isfinite(t->test_loss))
        return paper_ok(r);
    const int which = strcmp(t->variant->name, "early exits") == 0      ? EXITS
                      : strcmp(t->variant->name, "skipped blocks") == 0 ? BLOCKS
                                                                        : TEXTS;
    c->s[which].trained = epl_model_copy(t->model);
    paper_keep_model_take(r, c->s[which].trained);
    return c->s[which].trained != NULL;
}

static bool make_dynamic(paper_run *r, course *c, const epl_tensor *x)
{
    char name[64];
    c->s[EXITS].model  = with_weights(r, shallow_deep(paper_context(r), true), c->s[EXITS].trained);
    c->s[BLOCKS].model = with_weights(r, epl_zoo_build(paper_context(r), SKIPNET), c->s[BLOCKS].trained);
    c->s[TEXTS].model  = with_weights(r, epl_zoo_build(paper_context(r), CAPTIONER), c->s[TEXTS].trained);
    bool ok = c->s[EXITS].model && c->s[BLOCKS].model && c->s[TEXTS].model && calibrate_exits(r, c->s[EXITS].model, c->s[EXITS].trained, x);
    for (int k = 0; ok && k < 3; k++) {
        snprintf(name, sizeof name, "stage%d.unit1.gate.threshold", k + 1);
        ok = calibrate(r, c->s[BLOCKS].model, name, x, 0.35);
    }
    return ok;
}

/* ---- full: compiled, against the reference, on every input ---- */

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *w)
{
    (void)s, (void)kind, (void)w;
    return remove(path);
}

static void remove_folder(const char *path) { nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

static double mean_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

/* Its mean time for these inputs, each the least of five, by its own clock. */
static bool time_compiled(paper_run *r, const epl_model *m, const char *dir, epl_compile_opts o, const epl_tensor *x,
                          double *each_us, double *mean)
{
    epl_verify_result *v = paper_alloc(r, sizeof *v);
    const bool ok = v && epl_compile(m, dir, o, NULL) &&
                    epl_verify_artifact(m, dir, o, (epl_verify_opts){ .n_inputs = 1, .inputs = &x, .sample_us = each_us }, v);
    if (ok)
        *mean = mean_of(each_us, x->shape.dim[0]);
    return ok;
}

/* The library's program, the same way. */
static bool time_library(paper_run *r, const epl_model *m, const epl_tensor *x, double *mean)
{
    const int    threads = epl_context_threads(paper_context(r));
    epl_context_set_threads(paper_context(r), 1);
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    const size_t bytes = p ? epl_tensor_bytes(epl_program_input(p, 0)) : 0;
    double       sum = 0;
    for (int64_t i = 0; p && i < x->shape.dim[0]; i++) {
        double least = INFINITY;
        memcpy(epl_program_input(p, 0)->data, (const char *)x->data + (size_t)i * bytes, bytes);
        for (int k = 0; k < 5; k++) {
            const double start = epl_now_s();
            epl_program_run(p);
            least = fmin(least, epl_now_s() - start);
        }
        sum += 1e6 * least;
    }
    *mean = sum / (double)x->shape.dim[0];
    epl_program_free(p);
    epl_context_set_threads(paper_context(r), threads);
    return p != NULL;
}

/* ---- full: what tracing would have recorded ---- */

/* The choices that the first input takes, forced on all; an output's largest element against that of the free network. */
static double traced_choices(const epl_paths *p, const epl_tensor *x)
{
    epl_tensor *force = epl_program_input_named(p->program, "force");
    const size_t bytes = epl_tensor_bytes(epl_program_input(p->program, 0));
    int64_t     agree = 0, *first = force->data;
    int         chosen[64];
    const int   n = (int)epl_tensor_count(force);
    for (int64_t i = 0; i < x->shape.dim[0]; i++) {
        int label[2];
        memcpy(epl_program_input(p->program, 0)->data, (const char *)x->data + (size_t)i * bytes, bytes);
        for (int forced = 0; forced < 2; forced++) {
            for (int k = 0; k < n; k++)
                first[k] = forced ? chosen[k] : -1;
            epl_program_clear_regions(p->program);
            epl_program_run(p->program);
            const epl_tensor *y = epl_program_output(p->program, 0);
            label[forced] = 0;
            for (int k = 1; k < (int)epl_tensor_count(y); k++)
                label[forced] = epl_tensor_get(y, k) > epl_tensor_get(y, label[forced]) ? k : label[forced];
            for (int k = 0; i == 0 && !forced && k < p->n_regions; k++) {
                const epl_region_profile region = epl_program_region(p->program, k);
                const char *at = strstr(region.scope, "(choice ");
                const int   choice = at ? atoi(at + 8) : -1;
                if (choice >= 0 && choice < 64 && (region.runs || region.region == 0))
                    chosen[choice] = region.runs ? region.region == 0 : 0;
            }
        }
        agree += label[0] == label[1];
    }
    return 100.0 * (double)agree / (double)x->shape.dim[0];
}

static bool same_text(const int64_t *a, const int64_t *b, int64_t n_b)
{
    for (int64_t i = 0; i < LENGTH; i++) {
        const int64_t letter = i < n_b ? b[i] : 0;
        if (a[i] != letter)
            return false;
        if (a[i] == 0)
            return true;
    }
    return true;
}

/* The iterations of the first input, always. */
static bool traced_texts(paper_run *r, const epl_model *m, const epl_tensor *x, int64_t iterations, double *agree)
{
    epl_model *traced = epl_zoo_rebuild(m, paper_textf(r, "length=%lld,stop=0", (long long)iterations));
    paper_keep_model_take(r, traced);
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    epl_program *q = traced ? epl_program_new(traced->graph, traced->weights, (epl_program_opts){ .frozen = true }) : NULL;
    const size_t bytes = p ? epl_tensor_bytes(epl_program_input(p, 0)) : 0;
    int64_t      same = 0;
    for (int64_t i = 0; p && q && i < x->shape.dim[0]; i++) {
        memcpy(epl_program_input(p, 0)->data, (const char *)x->data + (size_t)i * bytes, bytes);
        memcpy(epl_program_input(q, 0)->data, (const char *)x->data + (size_t)i * bytes, bytes);
        epl_program_run(p);
        epl_program_run(q);
        same += same_text(epl_program_output(p, 1)->data, epl_program_output(q, 1)->data, iterations);
    }
    *agree = 100.0 * (double)same / (double)x->shape.dim[0];
    epl_program_free(q);
    epl_program_free(p);
    return p && q;
}

/* ---- full: one network ---- */

static double rarest(const epl_paths *p)
{
    double least = 1;
    for (int i = 0; i < p->n_regions; i++)
        if (strcmp(epl_program_region(p->program, i).op, "If") == 0 && epl_program_region(p->program, i).parent < 0)
            least = fmin(least, (double)p->runs[i] / (double)p->n_samples);
    return least;
}

static void plot_paths(paper_run *r, const subject *s, const epl_paths *p, const double *each_us)
{
    enum { MOST = 24 };
    const char *names[MOST];
    double      share[MOST], latency[MOST];
    size_t      n = 0;
    for (size_t i = 0; i < p->n_paths && n < MOST; i++) {
        double sum = 0;
        if (!p->paths[i].samples)
            continue;
        for (int64_t k = 0; k < p->n_samples; k++)
            sum += p->path_of[k] == (int)i ? each_us[k] : 0;
        names[n]     = paper_textf(r, "%s", p->paths[i].name);
        share[n]     = 100.0 * (double)p->paths[i].samples / (double)p->n_samples;
        latency[n++] = sum / (double)p->paths[i].samples;
    }
    for (int latencies = 0; latencies < 2; latencies++) {
        epl_plot *plot = epl_plot_new(paper_context(r),
                                      (epl_plot_opts){ .x_label = "path",
                                                       .y_label = latencies ? "latency [us]" : "share of inputs [%]" });
        epl_plot_categories(plot, names, n);
        epl_plot_bars(plot, NULL, latencies ? latency : share, NULL, n);
        paper_plot_take(r,
                        paper_textf(r, "%s-%s", latencies ? "latency" : "paths",
                                    s->texts                         ? "texts"
                                    : strcmp(s->name, "early exits") ? "blocks"
                                                                     : "exits"),
                        paper_textf(r, "%s: %s.", s->name,
                                    latencies ? "latency of the compiled network by path"
                                              : "how often each path is taken"),
                        plot);
    }
}

static bool examine(paper_run *r, subject *s, const epl_tensor *x)
{
    char    folder[] = "/tmp/espalier-dycl-XXXXXX";
    double *each_us = paper_alloc(r, (size_t)x->shape.dim[0] * sizeof *each_us);
    if (!each_us || !mkdtemp(folder))
        return false;
    epl_paths *p = epl_check_paths(s->model, (epl_paths_opts){ .dir = folder, .x = x, .each = x->shape.dim[0] });
    bool ok = p != NULL;
    if (ok) {
        s->max_abs = p->max_abs;
        s->labels_different = p->labels_different;
        s->share = rarest(p);
        paper_add(paper_series_named(r, "multiply-adds of a sample", s->name, ""), p->expected_macs);
    }
    ok = ok && time_compiled(r, s->model, folder, (epl_compile_opts){ .plain = true }, x, each_us, &s->plain_us) &&
         time_compiled(r, s->model, folder, (epl_compile_opts){ 0 }, x, each_us, &s->compiled_us) &&
         time_library(r, s->model, x, &s->library_us);
    if (ok)
        plot_paths(r, s, p, each_us);
    if (ok && s->texts)
        ok = traced_texts(r, s->model, x, p->runs[0] ? atoll(p->paths[p->path_of[0]].name + 1) : 1, &s->traced);
    else if (ok)
        s->traced = traced_choices(p, x);
    epl_paths_free(p);
    remove_folder(folder);
    return ok;
}

static void report(paper_run *r, const course *c)
{
    double faster = 0, optimised = 0;
    int    wrong = 0;
    for (int i = 0; i < N_SUBJECTS; i++) {
        const subject *s = &c->s[i];
        paper_add(paper_series_named(r, "label agreement of a trace", s->name, "%"), s->traced);
        paper_add(paper_series_named(r, "latency of the library", s->name, "us"), s->library_us);
        paper_add(paper_series_named(r, "latency compiled", s->name, "us"), s->compiled_us);
        paper_add(paper_series_named(r, "latency compiled without optimisation of the graph", s->name, "us"), s->plain_us);
        paper_check(r, paper_textf(r, "%s: labels of the compiled network that differ", s->name),
                    (double)s->labels_different, PAPER_EQUAL, 0);
        paper_check(r, paper_textf(r, "%s: largest difference on all inputs", s->name), s->max_abs, PAPER_AT_MOST, 1e-4);
        if (!s->texts)
            paper_check(r, paper_textf(r, "%s: the rarest side of a choice, %%", s->name), 100 * s->share, PAPER_AT_LEAST, 5);
        wrong     += s->traced < 100;
        faster    += s->library_us / s->compiled_us / N_SUBJECTS;
        optimised += s->plain_us / s->compiled_us / N_SUBJECTS;
    }
    paper_check(r, "networks that tracing gets wrong", wrong, PAPER_AT_LEAST, 2);
    paper_check(r, "latency, library / compiled, mean", faster, PAPER_AT_LEAST, 1.12);
    paper_check(r, "latency, without / with optimisation of the graph, mean", optimised, PAPER_AT_LEAST, 1);
}

static void full(paper_run *r)
{
    course               c = { .s = { [EXITS] = { .name = "early exits" },
                                      [BLOCKS] = { .name = "skipped blocks" },
                                      [TEXTS] = { .name = "texts", .texts = true } } };
    const paper_recipe   recipe = { .samples = 12000, .test = 2000, .epochs = 2, .optimizer = "adam:rate=3e-3" };
    const epl_train_hook all_exits = { .build = add_other_losses }, letters = { .build = letter_loss };
    paper_recipe         of_exits = recipe, of_texts = recipe;
    of_exits.hooks   = &all_exits;
    of_exits.n_hooks = 1;
    of_texts.epochs  = 4;
    of_texts.hooks   = &letters;
    of_texts.n_hooks = 1;
    const paper_variant networks[N_SUBJECTS] = {
        [EXITS]  = { .name = "early exits", .build = shallow_deep_training, .end = keep, .user = &c, .recipe = &of_exits },
        [BLOCKS] = { .name = "skipped blocks", .model = SKIPNET, .end = keep, .user = &c },
        [TEXTS]  = { .name = "texts", .build = words_training, .end = keep, .user = &c, .recipe = &of_texts },
    };
    for (int k = 0; k < CLASSES && paper_ok(r); k++)
        spell(epl_dataset_class_name(paper_train_data(r, &recipe), k), c.names[k]);
    epl_tensor *x = pictures(paper_train_data(r, &recipe), INPUTS), *inputs = pictures(paper_test_data(r, &recipe), INPUTS);
    bool ok = x && inputs && paper_train(r, networks, N_SUBJECTS, recipe, NULL) && make_dynamic(r, &c, x);
    for (int i = 0; ok && i < N_SUBJECTS; i++)
        ok = examine(r, &c.s[i], inputs);
    if (ok)
        report(r, &c);
    epl_tensor_free(x);
    epl_tensor_free(inputs);
}

const paper paper_dycl = {
    .slug = "dycl",
    .title = "DyCL: Dynamic Neural Network Compilation Via Program Rewriting and Graph Optimization",
    .source = "Chen, Wei, Liu, Yang 2023, ISSTA, arXiv:2307.04963",
    .kind = "compiler",
    .n_seeds = 1,
    .claim = "a dynamic network compiled with its control flow is right on every input, where a compiler that records "
             "one path is not, and "
             "faster than the framework",
    .criterion =
        "for early exits, skipped blocks and a greedy decoder the compiled network has the labels of reference kernels "
        "on all of 1000 "
        "inputs and differs by at most 1e-4; recording the first input's path gets at least two of the three wrong; "
        "compiled is at least "
        "1.12 times as fast as the library on average, and no slower with optimisation of the graph than without",
    .quick = quick,
    .full = full,
};
