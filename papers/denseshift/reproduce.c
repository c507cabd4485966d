/* denseshift: weights that are powers of two, without a zero. Exact checks of values and sizes, and trainings from
 * scratch beside float weights, shift weights with a zero, and rounded ones. */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick ---- */

/* Published networks: how many weights are replaced, and the bytes of 2, 3 and 4 bits. */
static void check_sizes(paper_run *r)
{
    static const struct { int depth; int64_t weights, others; double bytes[3]; } nets[] = {
        { 18, 11157504, 532008, { 4917408, 6312096, 7706784 } },
        { 50, 23445504, 2111528, { 14307488, 17238176, 20168864 } },
    };
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        epl_graph       *g = epl_zoo_build(paper_context(r),
                                           paper_textf(r, "resnet:depth=%d,stem=imagenet,width=64,classes=1000,image=224",
                                                       nets[i].depth));
        epl_model *m = g ? epl_model_new_take(g) : NULL; // nobody asks for the weights' values
        epl_shift_result s = { 0 };
        if (m)
            paper_keep_model_take(r, m);
        if (!m || !epl_shift(m, (epl_shift_opts){ .method = EPL_SHIFT_Q, .bits = 3 }, &s))
            return;
        paper_check(r, paper_textf(r, "ResNet-%d: weights replaced", nets[i].depth), (double)s.weights, PAPER_EQUAL,
                    (double)nets[i].weights);
        paper_check(r, paper_textf(r, "ResNet-%d: other parameters", nets[i].depth), (double)s.others, PAPER_EQUAL, (double)nets[i].others);
        for (int bits = 2; bits <= 4; bits++)
            paper_check(r, paper_textf(r, "ResNet-%d: bytes with %d bits", nets[i].depth, bits),
                        (double)epl_shift_packed_bytes(s.weights, bits) + 4 * (double)s.others, PAPER_EQUAL, nets[i].bytes[bits - 2]);
    }
}

/* Variables that are above and below 0 alike: half the exponents are 0, and the mean square is known. */
static void check_moments(paper_run *r)
{
    static const double square[] = { 2.5, 11.5 };
    for (int bits = 2; bits <= 3; bits++) {
        epl_model *m = paper_model(r, "resnet:depth=20,width=16,image=8,channels=1", 1);
        if (!m || !epl_shift(m, (epl_shift_opts){ .bits = bits, .seed = 1 }, NULL))
            return;
        const int64_t n = epl_shift_codes(m->weights, NULL);
        uint8_t *codes = paper_alloc(r, (size_t)n + 1);
        double   zeros = 0, sum = 0, negative = 0;
        epl_shift_codes(m->weights, codes);
        for (int64_t i = 0; codes && i < n; i++) {
            zeros += (codes[i] & 127) == 0;
            negative += codes[i] >> 7;
            sum += ldexp(1, 2 * (codes[i] & 127));
        }
        paper_check_near(r, paper_textf(r, "%d bits: exponents of 0", bits), zeros / (double)n, 0.5, 0.01);
        paper_check_near(r, paper_textf(r, "%d bits: negative signs", bits), negative / (double)n, 0.5, 0.01);
        paper_check_near(r, paper_textf(r, "%d bits: mean square of a weight", bits), sum / (double)n, square[bits - 2],
                         0.03 * square[bits - 2]);
    }
}

static void check_packing(paper_run *r)
{
    for (int bits = 2; bits <= 4; bits++) {
        epl_model  *m = paper_model(r, "resnet:depth=8,width=8,image=14,channels=1", 1);
        epl_tensor *x = paper_draw(r, EPL_SHAPE(4, 14, 14, 1), 1, 2), *a = NULL, *b = NULL;
        epl_shift_result s = { 0 };
        const bool ok = m && x && epl_shift(m, (epl_shift_opts){ .bits = bits, .seed = 3 }, &s) && (a = paper_logits(r, m, x)) != NULL &&
                        epl_shift_pack(m) == s.layers && (b = paper_logits(r, m, x)) != NULL;
        paper_check_true(r, paper_textf(r, "%d bits: the packed network computes the same, to the bit", bits),
                         ok && memcmp(a->data, b->data, epl_tensor_bytes(a)) == 0);
        epl_tensor_free(x);
        epl_tensor_free(a);
        epl_tensor_free(b);
    }
}

/* Multiplications that are left: of the first and the last layer, and by the factor of each result. */
static void check_operations(paper_run *r)
{
    epl_model     *m = paper_model(r, "resnet:depth=8,width=8,image=14,channels=1", 1);
    epl_operations o[2] = { { 0 } };
    bool ok = m && epl_shift(m, (epl_shift_opts){ .bits = 3, .seed = 3 }, NULL) && epl_shift_pack(m) > 0;
    for (int shifts = 0; ok && shifts < 2; shifts++) {
        epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .shifts = shifts, .plan_only = true });
        ok = p != NULL;
        if (p)
            o[shifts] = epl_program_operations(p);
        epl_program_free(p);
    }
    paper_check_true(r, "by shifts, less than a tenth of the multiplications are left",
                     ok && 10 * o[1].multiplications < o[0].multiplications);
    paper_check_true(r, "the others are additions of integers",
                     ok && o[0].integer_additions == 0 && o[1].float_additions == o[0].float_additions &&
                         o[1].multiplications + o[1].integer_additions >= o[0].multiplications);
}

/* 8-bit inputs: shifted and added, or multiplied, the sums are the same integers. */
static void check_integers(paper_run *r)
{
    for (int bits = 2; bits <= 4; bits++) {
        epl_model  *m = paper_model(r, "resnet:depth=8,width=8,image=14,channels=1", 1);
        epl_tensor *x = paper_draw(r, EPL_SHAPE(1, 14, 14, 1), 1, 2), *y[2] = { NULL };
        epl_quantize_result q = { 0 };
        bool ok = m && x && epl_shift(m, (epl_shift_opts){ .bits = bits, .seed = 3 }, NULL) && epl_shift_pack(m) > 0 &&
                  epl_quantize_activations(m, x, &q);
        for (int shifts = 0; ok && shifts < 2; shifts++) {
            epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .shifts = shifts });
            ok = p != NULL;
            if (ok)
                memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
            y[shifts] = ok && epl_program_run(p) ? epl_tensor_copy(paper_context(r), epl_program_output(p, 0)) : NULL;
            epl_program_free(p);
        }
        paper_check_true(r, paper_textf(r, "%d bits, inputs of 8: sums of shifted integers are those of products, to the bit", bits),
                         ok && q.layers == 8 && y[0] && y[1] && memcmp(y[0]->data, y[1]->data, epl_tensor_bytes(y[0])) == 0);
        epl_tensor_free(x);
        epl_tensor_free(y[0]);
        epl_tensor_free(y[1]);
    }
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_moments(r);
    check_packing(r);
    check_operations(r);
    check_integers(r);
    epl_model *m = paper_model(r, "resnet:depth=8,width=4,image=14,channels=1", 1);
    paper_check_refused(r, "1 bit", m && epl_shift(m, (epl_shift_opts){ .bits = 1 }, NULL), "2, 3 or 4");
    paper_check_refused(r, "5 bits", m && epl_shift(m, (epl_shift_opts){ .bits = 5 }, NULL), "2, 3 or 4");
}

/* ---- full ---- */

#define NETWORK "resnet:depth=8,width=8,image=14,channels=1,classes="
enum { FLOAT, DENSE_2, DENSE_3, S3, DEEP_Q, N_METHODS };
enum { TRANSFER_USUAL, TRANSFER_LOW, N_TRANSFER };

typedef struct watched {
    paper_run     *run;
    const char    *name;
    epl_shift_opts shift;
    bool           is_float;
    int8_t        *signs; /* of the last epoch's end */
    int64_t        n;
    double         kilobytes;
} watched;

/* Signs of the replaced weights: variables, or the weights themselves where they stay. */
static bool has_signs(const watched *k, const char *name, const epl_tensor *t)
{
    if (strncmp(name, "train.", 6) == 0)
        return false;
    return k->shift.method == EPL_SHIFT_Q ? t->shape.rank == 4 && epl_glob("stage*.weight", name) : epl_glob("*.sign", name);
}

static bool count_flips(void *user, epl_trainer *t, int64_t epoch)
{
    watched *k = user;
    const epl_weights *w = epl_trainer_model(t)->weights;
    int64_t at = 0, flips = 0;
    for (int pass = k->signs ? 1 : 0; pass < 2; pass++, k->n = pass == 1 ? at : k->n) {
        if (pass == 1 && !k->signs)
            k->signs = paper_alloc(k->run, (size_t)at + 1);
        at = 0;
        for (int i = 0; i < epl_weights_count(w); i++) {
            const epl_tensor *x = epl_weights_at(w, i);
            for (int64_t e = 0; has_signs(k, epl_weights_name(w, i), x) && e < epl_tensor_count(x); e++, at++)
                if (pass == 1 && k->signs) {
                    const int8_t s = ((const float *)x->data)[e] < 0 ? -1 : 1;
                    flips += s != k->signs[at];
                    k->signs[at] = s;
                }
        }
    }
    if (epoch > 1)
        paper_add(paper_series_named(k->run, "signs that changed in an epoch", k->name, "%"), 100 * (double)flips / (double)(at ? at : 1));
    return true;
}

static bool put_shifts(paper_run *r, paper_training *t)
{
    watched *k = t->user;
    epl_shift_result s = { 0 };
    k->shift.seed = t->seed + 1;
    if (!k->is_float && !epl_shift(t->model, k->shift, &s))
        return false;
    k->kilobytes = k->is_float ? 4e-3 * (double)epl_graph_n_parameters(t->model->graph) : 1e-3 * (double)s.bytes;
    return paper_ok(r);
}

/* A backbone that has learned five classes; its last stage begins anew, and learns the other five. */
static bool learn_first_half(paper_run *r, paper_training *t)
{
    static const int first[] = { 0, 1, 2, 3, 4 }, second[] = { 5, 6, 7, 8, 9 };
    watched     *k = t->user;
    epl_dataset *base = epl_dataset_of_classes(t->train, first, 5);
    epl_rng      rng = epl_rng_at(t->seed, 77);
    const bool   ok = base && epl_shift(t->model, (epl_shift_opts){ .seed = t->seed + 1 }, NULL);
    epl_trainer *trainer = ok ? epl_trainer_new(t->model, base, NULL, (epl_trainer_opts){ .epochs = paper_epochs(r, 3), .batch = 128,
        .augment = t->recipe.augment, .seed = t->seed, .schedule = { .kind = EPL_RATE_COSINE }, .progress = paper_progress(r),
        .optimizer = { .kind = EPL_SGD, .rate = 0.1, .momentum = 0.9, .decay = 1e-4 } }) : NULL;
    const bool trained = trainer && epl_trainer_run(trainer);
    epl_trainer_free(trainer);
    epl_dataset_free(base);
    for (int i = 0; trained && i < epl_weights_count(t->model->weights); i++) {
        epl_tensor *x = epl_weights_at(t->model->weights, i);
        if (!epl_glob("stage3*.sign,stage3*.exponent*", epl_weights_name(t->model->weights, i)))
            continue;
        const double taps = (double)(x->shape.dim[0] * x->shape.dim[1] * x->shape.dim[3]);
        const float  deviation = k->shift.init == EPL_SHIFT_LOW_VARIANCE ? 1e-3f : (float)sqrt(2 / taps);
        for (int64_t e = 0; e < epl_tensor_count(x); e++)
            ((float *)x->data)[e] = deviation * epl_rng_normal(&rng);
    }
    t->train = trained ? epl_dataset_of_classes(t->train, second, 5) : t->train;
    t->test  = trained ? epl_dataset_of_classes(t->test, second, 5) : t->test;
    return trained && t->train && t->test;
}

static bool drop_second_half(paper_run *r, paper_training *t)
{
    if (t->train && epl_dataset_info_of(t->train).n_classes == 5) {
        epl_dataset_free(t->train);
        epl_dataset_free(t->test);
    }
    return paper_ok(r);
}

static void compare(paper_run *r, const paper_variant *v, const paper_series *const *a, const paper_series *const *transfer)
{
    const paper_series *dense = paper_series_named(r, "signs that changed in an epoch", v[DENSE_3].name, "%");
    const paper_series *deep  = paper_series_named(r, "signs that changed in an epoch", v[DEEP_Q].name, "%");
    paper_check(r, "3 bits: DenseShift - S3, points", paper_mean(a[DENSE_3]) - paper_mean(a[S3]), PAPER_AT_LEAST, -0.3);
    paper_check(r, "3 bits: DenseShift - DeepShift-Q, points", paper_mean(a[DENSE_3]) - paper_mean(a[DEEP_Q]), PAPER_AT_LEAST, 0);
    paper_check(r, "DenseShift of 3 bits - float, points", paper_mean(a[DENSE_3]) - paper_mean(a[FLOAT]), PAPER_AT_LEAST, -1.5);
    paper_check(r, "transfer: low variance - usual start, points",
                paper_mean(transfer[TRANSFER_LOW]) - paper_mean(transfer[TRANSFER_USUAL]), PAPER_AT_LEAST, 0);
    paper_check(r, "signs that change: DenseShift / DeepShift-Q", paper_mean(dense) / paper_mean(deep), PAPER_ABOVE, 1);
    paper_plot_series(r, "accuracy", "test accuracy [%]", a, N_METHODS);
    paper_plot_series(r, "transfer", "test accuracy on the other five classes [%]", transfer, N_TRANSFER);
}

static void plot_bytes(paper_run *r, const watched *k, const paper_series *const *a)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "kilobytes of parameters", .y_label = "test accuracy [%]" });
    for (int i = 0; i < N_METHODS; i++) {
        const double y = paper_mean(a[i]);
        epl_plot_line(p, k[i].name, &k[i].kilobytes, &y, 1, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, "bytes", "Test accuracy against the bytes of packed parameters, mean over the seeds.", p);
}

static void full(paper_run *r)
{
    static const struct { const char *name; bool is_float; epl_shift_opts shift; } methods[N_METHODS] = {
        [FLOAT]   = { "float", true, { 0 } },
        [DENSE_2] = { "DenseShift, 2 bits", false, { .bits = 2, .init = EPL_SHIFT_LOW_VARIANCE } },
        [DENSE_3] = { "DenseShift, 3 bits", false, { .bits = 3, .init = EPL_SHIFT_LOW_VARIANCE } },
        [S3]      = { "S3, 3 bits", false, { .method = EPL_SHIFT_S3 } },
        [DEEP_Q]  = { "DeepShift-Q, 3 bits", false, { .method = EPL_SHIFT_Q, .bits = 3 } },
    };
    paper_recipe   recipe[N_METHODS];
    paper_variant  v[N_METHODS], transfer[N_TRANSFER];
    epl_train_hook hooks[N_METHODS][2];
    watched       *k = paper_alloc(r, (N_METHODS + N_TRANSFER) * sizeof *k);
    const paper_recipe common = { .samples = 20000, .test = 10000, .epochs = 6, .augment = "resize:14",
                                  .optimizer = "sgd:rate=0.1,momentum=0.9,decay=1e-4" };
    for (int i = 0; k && i < N_METHODS; i++) {
        k[i] = (watched){ .run = r, .name = methods[i].name, .shift = methods[i].shift, .is_float = methods[i].is_float };
        hooks[i][0] = (epl_train_hook){ .after_epoch = methods[i].is_float ? NULL : count_flips, .user = &k[i] };
        hooks[i][1] = epl_shift_hook();
        recipe[i] = common;
        recipe[i].hooks = hooks[i], recipe[i].n_hooks = 2;
        v[i] = (paper_variant){ .name = methods[i].name, .model = NETWORK "10", .begin = put_shifts, .user = &k[i], .recipe = &recipe[i] };
    }
    paper_recipe second = common;
    second.epochs = 2;
    for (int i = 0; k && i < N_TRANSFER; i++) {
        watched *mine = &k[N_METHODS + i];
        *mine = (watched){ .run = r, .name = i ? "low variance" : "usual start", .shift = { .init = i ? EPL_SHIFT_LOW_VARIANCE : EPL_SHIFT_SCRATCH } };
        transfer[i] = (paper_variant){ .name = mine->name,
                                       .model = NETWORK "5",
                                       .begin = learn_first_half,
                                       .end = drop_second_half,
                                       .user = mine,
                                       .recipe = &second,
                                       .what = "test accuracy on the other five classes" };
    }
    const paper_series *a[N_METHODS], *b[N_TRANSFER];
    if (k && paper_train(r, v, N_METHODS, common, a) && paper_train(r, transfer, N_TRANSFER, second, b)) {
        compare(r, v, a, b);
        plot_bytes(r, k, a);
    }
}

const paper paper_denseshift = {
    .slug = "denseshift",
    .title = "DenseShift: Towards Accurate and Efficient Low-Bit Power-of-Two Quantization",
    .source = "Li, Liu, Yu, Wang, Liu, Partovi Nia 2023, arXiv:2208.09708",
    .kind = "quantization",
    .claim = "weights of 2 to 4 bits that are powers of two train from scratch as well as float weights and better "
             "than those with a zero or those that "
             "are rounded, because their signs and exponents do not freeze",
    .criterion = "on Fashion-MNIST at 14x14 DenseShift of 3 bits is at most 0.3 points below S3, not below DeepShift-Q "
                 "and at most 1.5 points below float "
                 "weights; a last stage that begins anew with low variance learns new classes at least as well as with "
                 "the usual start; more "
                 "signs change in an epoch than with DeepShift-Q",
    .quick = quick,
    .full = full,
};
