/* The training loop: it learns, is independent of threads, goes on after a stop with the same bits, accumulates exactly,
 * averages, distils, stops early, and reports what is wrong. */
#include "common/check.h"

#include <espalier/espalier.h>

#include <sys/resource.h>

/* A small convolutional network with BatchNorm and dropout for pictures of size x size. */
static epl_model *network(test *t, epl_context *ctx, int size, int width, int classes, bool plain)
{
    epl_graph *g = epl_graph_new(ctx, "small");
    epl_value *x = epl_input(g, "image", EPL_F32, EPL_SHAPE(1, size, size, 3), "N,,,");
    epl_value *h = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = width }, .no_norm = plain });
    h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "body", .conv = { .out = 2 * width, .stride = 2 }, .no_norm = plain });
    h = epl_global_average_pool(g, h);
    if (!plain)
        h = epl_dropout(g, h, 0.1, false);
    epl_output(g, "logits", epl_linear(g, h, (epl_linear_opts){ .name = "head", .out = classes }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

/* Pictures of one colour each: the class is the strongest channel. */
static epl_dataset *colours(test *t, epl_context *ctx, int64_t n, int size, uint64_t seed)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(n, size, size, 3)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n));
    epl_rng r = epl_rng_at(seed, 1);
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = (int64_t)epl_rng_below(&r, 3);
        epl_tensor_set_i64(y, i, c);
        for (int64_t k = 0; k < size * size * 3; k++)
            epl_tensor_set_i64(x, i * size * size * 3 + k, (int64_t)epl_rng_below(&r, 160) + (k % 3 == c ? 60 : 0));
    }
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "colours", x, y);
    CHECK_OK(t, ctx, d != NULL);
    return d;
}

static epl_trainer_opts usual(void)
{
    return (epl_trainer_opts){ .epochs = 2, .batch = 16, .seed = 7, .augment = "pad-crop:1,flip,normalise:0.4:0.2",
                               .optimizer = { .kind = EPL_SGD, .rate = 0.05, .momentum = 0.9, .decay = 1e-4, .ema = 0.9 },
                               .schedule = { .kind = EPL_RATE_COSINE, .warmup = 0.3 } };
}

static bool train(epl_model *m, epl_dataset *d, epl_dataset *val, epl_trainer_opts o)
{
    epl_trainer *tr = epl_trainer_new(m, d, val, o);
    const bool   ok = tr && epl_trainer_run(tr);
    epl_trainer_free(tr);
    return ok;
}

static bool same_weights(const epl_model *a, const epl_model *b)
{
    bool same = epl_weights_count(a->weights) == epl_weights_count(b->weights);
    for (int i = 0; same && i < epl_weights_count(a->weights); i++)
        same = epl_tensor_equal(epl_weights_at(a->weights, i), epl_weights_find(b->weights, epl_weights_name(a->weights, i)));
    return same;
}

TEST(a_network_learns_and_keeps_nothing_of_training)
{
    epl_context *ctx = test_context(t, .n_threads = 2);
    epl_model   *m   = network(t, ctx, 8, 8, 3, false);
    epl_dataset *d = colours(t, ctx, 300, 8, 1), *v = colours(t, ctx, 90, 8, 2);
    const int    before = epl_weights_count(m->weights);
    epl_trainer_opts o = usual();
    o.epochs = 4;
    epl_trainer *tr = epl_trainer_new(m, d, v, o);
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    int n;
    const epl_epoch_record *h = epl_trainer_history(tr, &n);
    CHECK_INT(t, n, 4);
    CHECK(t, h[3].val_accuracy > 0.9 && h[3].loss < h[0].loss && h[3].val_top5 == 1);
    CHECK_INT(t, h[3].step, epl_trainer_total_updates(tr));
    epl_trainer_free(tr);
    CHECK_INT(t, epl_weights_count(m->weights), before);
    CHECK_STR(t, epl_weights_metadata(m->weights, "espalier.augment"), "normalise:0.4:0.2");
    epl_evaluation e;
    CHECK_OK(t, ctx, epl_evaluate(m, v, (epl_evaluate_opts){ .batch = 7, .keep_logits = true }, &e));
    CHECK(t, e.metrics.count == 90 && e.metrics.accuracy > 0.9 && e.logits->shape.dim[0] == 90);
    double diagonal = 0, all = 0;
    for (int i = 0; i < 9; i++)
        all += e.confusion[i], diagonal += i % 4 == 0 ? e.confusion[i] : 0;
    CHECK_NEAR(t, diagonal / all, e.metrics.accuracy, .rtol = 1e-12);
    epl_evaluation_release(ctx, &e);
    epl_dataset_free(d);
    epl_dataset_free(v);
    epl_model_free(m);
}

/* BatchNorm, dropout, augmentation, averages, a partial last batch: the same bits with 1, 2 and 3 threads. */
TEST(threads_do_not_change_a_bit)
{
    epl_model   *m[3];
    epl_context *ctx[3];
    for (int i = 0; i < 3; i++) {
        ctx[i] = test_context(t, .n_threads = i + 1);
        epl_dataset *d = colours(t, ctx[i], 150, 12, 1);
        m[i] = network(t, ctx[i], 12, 16, 3, false);
        epl_trainer_opts o = usual();
        o.n_workers = 1 + i % 2;
        CHECK_OK(t, ctx[i], train(m[i], d, NULL, o));
        epl_dataset_free(d);
        CHECK(t, same_weights(m[0], m[i]));
    }
    for (int i = 0; i < 3; i++)
        epl_model_free(m[i]);
}

/* k batches of b samples update as one of k b does; with a partial last batch. */
TEST(accumulation_equals_a_larger_batch)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = colours(t, ctx, 59, 8, 1);
    epl_model   *m[2] = { network(t, ctx, 8, 8, 3, true), network(t, ctx, 8, 8, 3, true) };
    for (int i = 0; i < 2; i++) {
        epl_trainer_opts o = usual();
        o.batch      = i ? 4 : 16;
        o.accumulate = i ? 4 : 1;
        o.augment    = NULL;
        epl_trainer *tr = epl_trainer_new(m[i], d, NULL, o);
        CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
        CHECK_INT(t, epl_trainer_updates(tr), 8);
        epl_trainer_free(tr);
    }
    for (int i = 0; i < epl_weights_count(m[0]->weights); i++)
        CHECK_CLOSE(t, epl_weights_at(m[1]->weights, i), epl_weights_at(m[0]->weights, i), .rtol = 1e-5, .atol = 1e-6);
    epl_dataset_free(d);
    epl_model_free(m[0]);
    epl_model_free(m[1]);
}

/* ---- stopping and going on ---- */

typedef struct stopper {
    int64_t at;
    volatile sig_atomic_t flag;
} stopper;

static bool stop_at(void *user, epl_trainer *tr, int64_t step)
{
    stopper *s = user;
    (void)tr;
    if (step == s->at)
        s->flag = 1;
    return true;
}

static void train_in_pieces(test *t, epl_context *ctx, epl_model *m, epl_dataset *d, epl_dataset *v, epl_trainer_opts o,
                            const int64_t *stops, int n)
{
    for (int i = 0; i <= n; i++) {
        stopper s = { .at = i < n ? stops[i] : -1 };
        const epl_train_hook hook = { .after_step = stop_at, .user = &s };
        o.hooks = &hook, o.n_hooks = 1, o.stop = &s.flag, o.resume = i > 0;
        if (i < n)
            CHECK_FAILS(t, ctx, train(m, d, v, o), EPL_ERR_INTERRUPTED, "stopped after update");
        else
            CHECK_OK(t, ctx, train(m, d, v, o));
        if (i < n) // the next piece starts from other weights, which the checkpoint replaces
            for (int k = 0; k < epl_weights_count(m->weights); k++)
                epl_tensor_set(epl_weights_at(m->weights, k), 0, 99);
    }
}

PROPERTY(a_stopped_run_goes_on_with_the_same_bits, 3)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = colours(t, ctx, 150, 8, 1), *v = colours(t, ctx, 40, 8, 2);
    epl_model   *whole = network(t, ctx, 8, 8, 3, false), *pieces = network(t, ctx, 8, 8, 3, false);
    epl_trainer_opts o = usual();
    o.epochs       = 3;
    o.accumulate   = 1 + (t->index == 1);
    o.restore_best = t->index == 2;
    if (t->index == 2)
        o.augment = "flip,normalise:0.4:0.2,mixup:0.3";
    char folder[2][64], log[2][80];
    for (int i = 0; i < 2; i++) {
        snprintf(folder[i], sizeof folder[i], "run%d-%d", t->index, i);
        snprintf(log[i], sizeof log[i], "log%d-%d.jsonl", t->index, i);
    }
    char *path[4];
    for (int i = 0; i < 4; i++)
        path[i] = strdup(test_temp(t, i < 2 ? folder[i] : log[i - 2]));
    char events[300];
    snprintf(events, sizeof events, "%s.tfevents", path[3]);
    o.checkpoint = path[0], o.log = path[2], o.log_every = 4;
    CHECK_OK(t, ctx, train(whole, d, v, o));
    o.checkpoint = path[1], o.log = path[3], o.events = events;
    const int64_t stops[] = { 2, 5, 10, 11 };
    train_in_pieces(t, ctx, pieces, d, v, o, stops, 4);
    CHECK(t, same_weights(whole, pieces));
    size_t size[2];
    for (int i = 0; i < 2; i++) { // as many lines in both logs
        char *text = test_read_file(t, path[2 + i], &size[i]), *at = text;
        for (size[i] = 0; (at = strchr(at, '\n')) != NULL; at++)
            size[i]++;
        free(text);
    }
    CHECK_INT(t, size[0], size[1]);
    size_t bytes;
    free(test_read_file(t, events, &bytes));
    CHECK(t, bytes > 500);
    char best[300];
    snprintf(best, sizeof best, "%s/best.safetensors", path[1]);
    epl_model *kept = epl_model_load(ctx, best);
    CHECK_OK(t, ctx, kept != NULL);
    if (o.restore_best)
        CHECK(t, same_weights(kept, pieces));
    epl_model_free(kept);
    for (int i = 0; i < 4; i++)
        free(path[i]);
    epl_dataset_free(d);
    epl_dataset_free(v);
    epl_model_free(whole);
    epl_model_free(pieces);
}

TEST(a_checkpoint_of_another_run_is_refused)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = colours(t, ctx, 40, 8, 1);
    epl_model   *m   = network(t, ctx, 8, 4, 3, true);
    epl_trainer_opts o = usual();
    o.checkpoint = test_temp(t, "other");
    CHECK_OK(t, ctx, train(m, d, NULL, o));
    o.resume = true;
    o.optimizer.momentum = 0.8;
    CHECK_FAILS(t, ctx, train(m, d, NULL, o), EPL_ERR_ARGUMENT, "was made with another");
    o = usual();
    o.resume = true;
    o.epochs = 3; // longer is no other run
    o.checkpoint = test_temp(t, "other");
    CHECK_OK(t, ctx, train(m, d, NULL, o));
    epl_dataset_free(d);
    epl_model_free(m);
}

/* A disk that takes no more: the run ends with an error, and the checkpoint before it is whole. */
TEST(a_full_disk_leaves_the_last_checkpoint)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = colours(t, ctx, 40, 8, 1);
    epl_model   *m   = network(t, ctx, 8, 4, 3, true);
    epl_trainer_opts o = usual();
    o.checkpoint = test_temp(t, "full"), o.epochs = 1;
    CHECK_OK(t, ctx, train(m, d, NULL, o));
    char   path[300];
    size_t before, after;
    snprintf(path, sizeof path, "%s/last.safetensors", o.checkpoint);
    char *was = test_read_file(t, path, &before);
    struct rlimit free_size, full;
    getrlimit(RLIMIT_FSIZE, &free_size);
    full = (struct rlimit){ 1000, free_size.rlim_max };
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &full);
    o.resume = true, o.epochs = 2;
    const bool ok = train(m, d, NULL, o);
    setrlimit(RLIMIT_FSIZE, &free_size);
    signal(SIGXFSZ, handler);
    CHECK_FAILS(t, ctx, ok, EPL_ERR_IO, "last.safetensors");
    char *is = test_read_file(t, path, &after);
    CHECK(t, before == after && memcmp(was, is, before) == 0);
    CHECK_OK(t, ctx, train(m, d, NULL, o));
    free(was);
    free(is);
    epl_dataset_free(d);
    epl_model_free(m);
}

TEST(patience_ends_a_run_that_no_longer_improves)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = colours(t, ctx, 40, 8, 1), *v = colours(t, ctx, 20, 8, 2);
    epl_model   *m = network(t, ctx, 8, 4, 3, true);
    epl_trainer_opts o = usual();
    o.epochs = 50, o.patience = 2, o.optimizer = (epl_optimizer_opts){ .rate = 1e-12 };
    o.checkpoint = test_temp(t, "patience");
    for (int i = 0; i < 2; i++) { // and the second time it knows that it is over
        epl_trainer *tr = epl_trainer_new(m, d, v, o);
        CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
        int n;
        epl_trainer_history(tr, &n);
        CHECK_INT(t, n, 3);
        epl_trainer_free(tr);
        o.resume = true;
    }
    epl_dataset_free(d);
    epl_dataset_free(v);
    epl_model_free(m);
}

/* ---- distillation ---- */

TEST(a_student_follows_its_teacher_in_the_same_step)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = colours(t, ctx, 200, 8, 1), *v = colours(t, ctx, 60, 8, 2);
    epl_model   *teacher = network(t, ctx, 8, 16, 3, false), *student = network(t, ctx, 8, 4, 3, false), *before;
    CHECK_OK(t, ctx, train(teacher, d, NULL, usual()));
    before = epl_model_copy(teacher);
    const epl_train_hook hook = epl_distill_hook(teacher, (epl_distill_opts){ .temperature = 2, .alpha = 1 });
    epl_trainer_opts o = usual();
    o.epochs = 4, o.hooks = &hook, o.n_hooks = 1;
    const int tensors = epl_weights_count(student->weights);
    CHECK_OK(t, ctx, train(student, d, v, o)); // labels have no say: alpha is 1
    epl_evaluation e;
    CHECK_OK(t, ctx, epl_evaluate(student, v, (epl_evaluate_opts){ 0 }, &e));
    CHECK(t, e.metrics.accuracy > 0.8);
    epl_evaluation_release(ctx, &e);
    CHECK(t, same_weights(teacher, before));
    CHECK_INT(t, epl_weights_count(student->weights), tensors);
    epl_release(ctx, hook.user);
    epl_model_free(before);
    epl_model_free(teacher);
    epl_model_free(student);
    epl_dataset_free(d);
    epl_dataset_free(v);
}

/* Looking the answers up is the same training as asking the teacher in each step, as long as nothing is augmented. */
TEST(answers_made_once_teach_as_the_teacher_does)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = colours(t, ctx, 90, 8, 1);
    epl_model   *teacher = network(t, ctx, 8, 16, 3, false), *students[2];
    CHECK_OK(t, ctx, train(teacher, d, NULL, usual()));
    epl_tensor *answers = epl_distill_answers(teacher, d, (epl_progress){ 0 });
    CHECK_OK(t, ctx, answers != NULL);
    CHECK_INT(t, answers->shape.dim[0], 90);
    for (int i = 0; i < 2; i++) {
        const epl_train_hook hook =
            epl_distill_hook(teacher,
                             (epl_distill_opts){ .temperature = 2, .alpha = 0.7, .answers = i ? answers : NULL });
        epl_trainer_opts o = usual();
        o.hooks = &hook, o.n_hooks = 1, o.epochs = 1, o.batch = 90; // one update: more would magnify rounding
        students[i] = network(t, ctx, 8, 4, 3, false);
        CHECK_OK(t, ctx, train(students[i], d, NULL, o));
        epl_release(ctx, hook.user);
    }
    for (int i = 0; i < epl_weights_count(students[0]->weights); i++) {
        const epl_tensor *a = epl_weights_at(students[0]->weights, i), *b = epl_weights_at(students[1]->weights, i);
        for (int64_t k = 0; k < epl_shape_count(a->shape); k++)
            CHECK_NEAR(t, epl_tensor_get(a, k), epl_tensor_get(b, k), .rtol = 1e-4, .atol = 1e-5);
    }
    const epl_train_hook hook = epl_distill_hook(teacher, (epl_distill_opts){ .answers = answers });
    epl_trainer_opts o = usual();
    o.hooks = &hook, o.n_hooks = 1, o.augment = "mixup:0.2";
    CHECK(t, !train(students[0], d, NULL, o));
    CHECK(t, strstr(epl_error_message(ctx), "mixes samples") != NULL);
    epl_error_clear(ctx);
    epl_release(ctx, hook.user);
    epl_tensor_free(answers);
    epl_model_free(students[0]);
    epl_model_free(students[1]);
    epl_model_free(teacher);
    epl_dataset_free(d);
}

/* ---- mistakes ---- */

/* What a step takes is known before, to the byte, and the model is not touched by the question. */
TEST(memory_is_known_before_the_run)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = colours(t, ctx, 40, 8, 1);
    epl_model   *m   = network(t, ctx, 8, 4, 3, false);
    const int    tensors = epl_weights_count(m->weights);
    epl_program_memory said;
    CHECK_OK(t, ctx, epl_train_memory(m, (epl_step_opts){ .batch = 16, .optimizer = { .kind = EPL_ADAM } }, &said));
    CHECK_INT(t, epl_weights_count(m->weights), tensors);
    epl_trainer *tr = epl_trainer_new(m, d, NULL, (epl_trainer_opts){ .batch = 16, .optimizer = { .kind = EPL_ADAM } });
    CHECK_OK(t, ctx, tr != NULL);
    const epl_program_memory is = epl_program_memory_of(epl_trainer_program(tr));
    CHECK(t, said.total == is.total && said.total > 0 && said.weights == is.weights);
    epl_trainer_free(tr);
    epl_dataset_free(d);
    epl_model_free(m);
}

/* A head of 1e25 makes finite losses, and gradients whose squares are not. */
TEST(updates_with_gradients_that_are_not_finite_are_skipped)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = colours(t, ctx, 40, 8, 1);
    epl_model   *m = network(t, ctx, 8, 4, 3, true);
    epl_tensor  *head = epl_weights_find(m->weights, "head.weight");
    for (int64_t i = 0; i < epl_tensor_count(head); i++)
        ((float *)head->data)[i] *= 1e25f;
    epl_weights *before = epl_weights_copy(ctx, m->weights);
    epl_trainer_opts o = usual();
    o.optimizer = (epl_optimizer_opts){ .kind = EPL_ADAM, .skip_nonfinite = true };
    epl_trainer *tr = epl_trainer_new(m, d, NULL, o);
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    CHECK_INT(t, epl_trainer_skipped(tr), 6); // 2 epochs of 3 batches
    epl_trainer_free(tr);
    for (int i = 0; i < epl_weights_count(before); i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(before, i), epl_weights_find(m->weights, epl_weights_name(before, i))));
    epl_weights_free(before);
    epl_model_free(m);
    epl_dataset_free(d);
}

TEST(mistakes_are_explained)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = colours(t, ctx, 40, 8, 1), *large = colours(t, ctx, 40, 9, 1);
    epl_model   *m = network(t, ctx, 8, 4, 3, true);
    epl_trainer_opts o = usual();
    CHECK_FAILS(t, ctx, train(m, large, NULL, o), EPL_ERR_SHAPE, "gives f32[1, 9, 9, 3]");
    o.loss.name = "cross-entropi";
    CHECK_FAILS(t, ctx, train(m, d, NULL, o), EPL_ERR_ARGUMENT, "did you mean 'cross-entropy'");
    o = usual();
    o.optimizer = (epl_optimizer_opts){ .rate = 1e30 };
    CHECK_FAILS(t, ctx, train(m, d, NULL, o), EPL_ERR_ARGUMENT, "diverged");
    epl_model_free(m);
    m = network(t, ctx, 8, 4, 3, true);
    o = usual();
    o.memory_limit = 1000;
    CHECK_FAILS(t, ctx, train(m, d, NULL, o), EPL_ERR_LIMIT, "the least that would do");
    o = usual();
    o.checkpoint = "/proc/nowhere";
    CHECK_FAILS(t, ctx, train(m, d, NULL, o), EPL_ERR_IO, "/proc/nowhere");
    epl_dataset_free(d);
    epl_dataset_free(large);
    epl_model_free(m);
}

/* Every loss takes classes and its gradient brings it down. */
PROPERTY(losses_by_name_train, 8)
{
    static const char *const names[] = { "cross-entropy", "mse", "l1", "huber", "bce", "focal", "dice", "kl" };
    epl_context *ctx = test_context(t);
    epl_dataset *d   = colours(t, ctx, 60, 8, 1);
    epl_graph   *g   = epl_graph_new(ctx, "pixels");
    const bool   dice = t->index == 6;
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8, 8, 3), NULL);
    epl_value   *h = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .out = 8, .pad = 1 }));
    epl_output(g, "logits", dice ? epl_conv(g, h, (epl_conv_opts){ .name = "head", .out = 3, .kernel = 1 })
                                 : epl_linear(g, epl_global_average_pool(g, h), (epl_linear_opts){ .out = 3 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    if (dice) { // a class per pixel
        epl_tensor *px, *one = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(60, 8, 8));
        CHECK_OK(t, ctx, epl_dataset_tensors(d, 0, 60, &px, NULL));
        for (int64_t i = 0; i < 60 * 64; i++)
            epl_tensor_set_i64(one, i, epl_tensor_get(px, 3 * i) > 0.4);
        epl_dataset_free(d);
        d = epl_dataset_from_tensors_take(ctx, "pixels", px, one);
        CHECK_OK(t, ctx, d != NULL);
    }
    epl_trainer_opts o = {
        .epochs = 10, .batch = 16, .loss = { .name = names[t->index] }, .optimizer = { .kind = EPL_ADAM, .rate = 0.01 }
    };
    epl_trainer *tr = epl_trainer_new(m, d, d, o);
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    int n;
    const epl_epoch_record *r = epl_trainer_history(tr, &n);
    CHECK(t, r[n - 1].val_loss < 0.95 * r[0].val_loss);
    epl_trainer_free(tr);
    epl_model_free(m);
    epl_dataset_free(d);
}
