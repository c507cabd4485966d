/* Objectives: losses of embeddings against plain loops, margins, the samplers that make their batches, and training with them. */
#include "common/check.h"

#include <espalier/espalier.h>

enum { N = 12, D = 3 };

static double square_distance(const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < D; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

static void to_unit(double *z)
{
    const double length = sqrt(z[0] * z[0] + z[1] * z[1] + z[2] * z[2]);
    for (int i = 0; i < D; i++)
        z[i] /= length;
}

static double plain_contrastive(double z[N][D], const int64_t *y, epl_objective_opts o)
{
    double sum = 0;
    for (int i = 0; i < N; i += 2) {
        const double d2 = square_distance(z[i], z[i + 1]), gap = fmax(0, o.margin - sqrt(d2));
        sum += y[i] == y[i + 1] ? d2 : gap * gap;
    }
    return sum / (N / 2);
}

static double plain_triplet(double z[N][D], const int64_t *y, epl_objective_opts o)
{
    double sum = 0;
    (void)y;
    for (int i = 0; i < N; i++)
        to_unit(z[i]);
    for (int i = 0; i < N; i += 3)
        sum += fmax(0, square_distance(z[i], z[i + 1]) - square_distance(z[i], z[i + 2]) + o.margin);
    return sum / (N / 3);
}

static double negative_for(double z[N][D], const int64_t *y, int a, int p)
{
    const double d_ap = square_distance(z[a], z[p]);
    double nearest = INFINITY, farthest = 0;
    for (int n = 0; n < N; n++)
        if (y[n] != y[a]) {
            const double d = square_distance(z[a], z[n]);
            farthest = fmax(farthest, d);
            if (d > d_ap)
                nearest = fmin(nearest, d);
        }
    return isfinite(nearest) ? nearest : farthest;
}

static double plain_semi_hard(double z[N][D], const int64_t *y, epl_objective_opts o)
{
    double sum = 0;
    int    n = 0;
    for (int i = 0; i < N; i++)
        to_unit(z[i]);
    for (int a = 0; a < N; a++)
        for (int p = 0; p < N; p++)
            if (p != a && y[p] == y[a]) {
                sum += fmax(0, square_distance(z[a], z[p]) - negative_for(z, y, a, p) + o.margin);
                n++;
            }
    return sum / n;
}

static double plain_episode(double z[N][D], const int64_t *y, epl_objective_opts o)
{
    const int each = N / o.classes;
    double    centre[N][D] = { 0 }, sum = 0;
    int       n = 0;
    (void)y;
    for (int c = 0; c < o.classes; c++)
        for (int i = 0; i < o.shots; i++)
            for (int k = 0; k < D; k++)
                centre[c][k] += z[c * each + i][k] / o.shots;
    for (int c = 0; c < o.classes; c++)
        for (int i = o.shots; i < each; i++, n++) {
            double total = 0;
            for (int k = 0; k < o.classes; k++)
                total += exp(-square_distance(z[c * each + i], centre[k]));
            sum += log(total) + square_distance(z[c * each + i], centre[c]);
        }
    return sum / n;
}

static const struct {
    epl_objective_opts o;
    double (*plain)(double z[N][D], const int64_t *y, epl_objective_opts o);
} metrics[] = {
    { { .name = "contrastive", .margin = 1.5 }, plain_contrastive },
    { { .name = "triplet", .margin = 0.3 }, plain_triplet },
    { { .name = "semi-hard", .margin = 0.3 }, plain_semi_hard },
    { { .name = "episode", .classes = 3, .shots = 2 }, plain_episode },
};

/* The mean loss of z with classes of four in a row, and (dz not NULL) its gradient. */
static double loss_of(test *t, epl_context *ctx, const double z[N][D], const int64_t *y, epl_objective_opts o, double dz[N][D])
{
    epl_graph *g = epl_graph_new(ctx, "metric");
    epl_value *in = epl_input(g, "z", EPL_F64, EPL_SHAPE(N, D), "N,"), *labels = epl_input(g, "y", EPL_I64, EPL_SHAPE(N), "N"), *grad;
    epl_value *loss = epl_reduce_mean(g, epl_metric_loss(g, in, labels, o, NULL), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, loss, 1, &in, &grad));
    epl_output(g, "loss", loss);
    epl_output(g, "dz", grad);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_weights *w = epl_weights_new(ctx);
    epl_program *p = epl_program_new(g, w, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    memcpy(epl_program_input(p, 0)->data, z, sizeof(double) * N * D);
    memcpy(epl_program_input(p, 1)->data, y, sizeof(int64_t) * N);
    CHECK_OK(t, ctx, epl_program_run(p));
    const double value = epl_tensor_get(epl_program_output(p, 0), 0);
    if (dz)
        memcpy(dz, epl_program_output(p, 1)->data, sizeof(double) * N * D);
    epl_program_free(p);
    epl_weights_free(w);
    epl_graph_free(g);
    return value;
}

PROPERTY(losses_of_embeddings_are_what_plain_loops_say, 3 * (int)EPL_COUNT(metrics))
{
    epl_context *ctx = test_context(t);
    const int    k = t->index % (int)EPL_COUNT(metrics);
    double       z[N][D], copy[N][D], dz[N][D];
    int64_t      y[N];
    for (int i = 0; i < N; i++) {
        y[i] = k == 0 ? i / 3 : i / 4; // pairs: of one class and of two
        for (int j = 0; j < D; j++)
            z[i][j] = (double)epl_rng_normal(t->rng);
    }
    memcpy(copy, z, sizeof z);
    const double loss = loss_of(t, ctx, z, y, metrics[k].o, dz);
    CHECK_NEAR(t, loss, metrics[k].plain(copy, y, metrics[k].o), .rtol = 1e-9);
    for (int i = 0; i < N; i += 5) { // kinks are not where random numbers fall
        const double h = 1e-6, at = z[i][1];
        z[i][1] = at + h;
        const double above = loss_of(t, ctx, z, y, metrics[k].o, NULL);
        z[i][1] = at - h;
        const double below = loss_of(t, ctx, z, y, metrics[k].o, NULL);
        z[i][1] = at;
        CHECK_NEAR(t, dz[i][1], (above - below) / (2 * h), .rtol = 1e-4, .atol = 1e-7);
    }
}

TEST(what_losses_of_embeddings_refuse)
{
    epl_context *ctx = test_context(t);
    static const struct {
        epl_objective_opts o;
        const char *words;
    } wrong[] = { { { .name = "triplet" }, "a batch of 10 is not a multiple of 3" }, { { .name = "episode", .shots = 2 }, "leave none" },
                  { { .name = "quadruplet" }, "contrastive, triplet" } };
    for (size_t i = 0; i < EPL_COUNT(wrong); i++) {
        epl_graph *g = epl_graph_new(ctx, "wrong");
        epl_metric_loss(g, epl_input(g, "z", EPL_F32, EPL_SHAPE(10, 4), NULL),
                        epl_input(g, "y", EPL_I64, EPL_SHAPE(10), NULL), wrong[i].o, NULL);
        CHECK_FAILS(t, ctx, epl_graph_finish(g), i == 2 ? EPL_ERR_ARGUMENT : EPL_ERR_SHAPE, wrong[i].words);
        epl_graph_free(g);
    }
}

TEST(objectives_are_read_from_text)
{
    epl_context *ctx = test_context(t);
    epl_objective_opts o;
    CHECK_OK(t, ctx, epl_objective_parse(ctx, "triplet:margin=0.5", &o));
    CHECK_STR(t, o.name, "triplet");
    CHECK_NEAR(t, o.margin, 0.5, .atol = 0);
    CHECK_INT(t, epl_objective_sampler(o).kind, EPL_SAMPLER_TRIPLETS);
    CHECK_OK(t, ctx, epl_objective_parse(ctx, "prototype:r1=0,r2=3", &o));
    CHECK(t, o.weights[2] < 0 && o.weights[3] == 3);
    CHECK_FAILS(t, ctx, epl_objective_parse(ctx, "tripplet", &o), EPL_ERR_ARGUMENT, "did you mean 'triplet'");
    CHECK_FAILS(t, ctx, epl_objective_parse(ctx, "triplet:shots=1", &o), EPL_ERR_ARGUMENT, "'shots=1' is not one of its options margin");
    CHECK_FAILS(t, ctx, epl_objective_parse(ctx, "triplet:margin=much", &o), EPL_ERR_ARGUMENT, "expected a number");
}

/* ---- samplers ---- */

static epl_dataset *blobs(test *t, epl_context *ctx, int n)
{
    char text[64];
    snprintf(text, sizeof text, "blobs:classes=4,count=%d", n);
    epl_dataset *d = epl_dataset_open(ctx, text, (epl_dataset_opts){ .seed = 2 });
    CHECK_OK(t, ctx, d);
    return d;
}

PROPERTY(samplers_keep_their_word, 4)
{
    static const epl_sampler samplers[] = { { EPL_SAMPLER_PAIRS, 0 }, { EPL_SAMPLER_TRIPLETS, 0 }, { EPL_SAMPLER_BALANCED, 3 } };
    epl_context *ctx = test_context(t);
    epl_dataset *d   = blobs(t, ctx, 60);
    for (size_t k = 0; k < EPL_COUNT(samplers); k++) {
        epl_loader *l = epl_loader_new(ctx, d,
                                       (epl_loader_opts){ .batch = 12,
                                                          .sampler = samplers[k],
                                                          .seed = 3,
                                                          .n_workers = 1 + t->index % 2,
                                                          .no_prefetch = t->index == 3 });
        CHECK_OK(t, ctx, l);
        CHECK_INT(t, epl_loader_steps(l), k == 0 ? 10 : k == 1 ? 15 : 5);
        int anchors[60] = { 0 };
        for (int64_t s = 0; s < epl_loader_steps(l); s++) {
            epl_batch b;
            CHECK_OK(t, ctx, epl_loader_next(l, &b));
            const int64_t *y = b.labels->data;
            CHECK_INT(t, b.n_valid, 12);
            for (int i = 0; i < 12; i++) {
                if (k < 2 && i % (int)(k + 2) == 0) {
                    anchors[b.indices[i]]++;
                    CHECK(t, b.indices[i] != b.indices[i + 1]);
                    CHECK(t, (y[i] == y[i + 1]) == (k == 1 || i / 2 % 2 == 0));
                    CHECK(t, k == 0 || y[i] != y[i + 2]);
                }
                for (int j = 0; k == 2 && j < i; j++) {
                    CHECK(t, b.indices[i] != b.indices[j]);
                    CHECK(t, (y[i] == y[j]) == (i / 4 == j / 4));
                }
            }
        }
        for (int i = 0; k < 2 && i < 60; i++)
            CHECK_INT(t, anchors[i], 1);
        epl_loader_free(l);
    }
    epl_dataset_free(d);
}

/* From wherever one starts: the second epoch's third batch. */
TEST(batches_of_a_sampler_do_not_depend_on_the_way_to_them)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = blobs(t, ctx, 40);
    int64_t      seen[2][10];
    for (int way = 0; way < 2; way++) {
        epl_loader *l = epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 10, .sampler = { EPL_SAMPLER_BALANCED, 2 }, .seed = 3 });
        epl_batch   b;
        CHECK_OK(t, ctx, l && (!way || epl_loader_seek(l, 1, 2)));
        for (int64_t i = way ? 6 : 0; i < 7; i++)
            CHECK_OK(t, ctx, epl_loader_next(l, &b));
        memcpy(seen[way], b.indices, sizeof seen[way]);
        epl_loader_free(l);
    }
    CHECK(t, memcmp(seen[0], seen[1], sizeof seen[0]) == 0);
    epl_dataset_free(d);
}

TEST(samplers_say_what_is_missing)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = blobs(t, ctx, 40), *one = epl_dataset_range(d, 0, 1);
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 8, .sampler = { EPL_SAMPLER_TRIPLETS, 0 } }), EPL_ERR_ARGUMENT,
                "a batch of 8 is not a multiple of 3");
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, d, (epl_loader_opts){ .batch = 10, .sampler = { EPL_SAMPLER_BALANCED, 5 } }), EPL_ERR_ARGUMENT,
                "has samples of 4 classes, 5 are needed");
    CHECK_FAILS(t, ctx, epl_loader_new(ctx, one, (epl_loader_opts){ .batch = 3, .sampler = { EPL_SAMPLER_TRIPLETS, 0 } }), EPL_ERR_ARGUMENT,
                "1 classes, 2 are needed");
    epl_dataset_free(one);
    epl_dataset_free(d);
}

TEST(classes_alone_are_numbered_anew)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d   = blobs(t, ctx, 40), *part = epl_dataset_of_classes(d, (int[]){ 3, 1 }, 2);
    CHECK_OK(t, ctx, part);
    const epl_dataset_info all = epl_dataset_info_of(d), info = epl_dataset_info_of(part);
    CHECK_INT(t, info.n_classes, 2);
    CHECK_STR(t, epl_dataset_class_name(part, 0), epl_dataset_class_name(d, 3));
    int64_t at = 0, y, was;
    float   a[8], b[8];
    for (int64_t i = 0; i < all.count; i++) {
        CHECK_OK(t, ctx, epl_dataset_fetch(d, i, a, &was));
        if (was != 1 && was != 3)
            continue;
        CHECK_OK(t, ctx, epl_dataset_fetch(part, at++, b, &y));
        CHECK_INT(t, y, was == 1);
        CHECK(t, memcmp(a, b, (size_t)epl_shape_count(info.x_shape) * sizeof *a) == 0);
    }
    CHECK_INT(t, info.count, at);
    epl_dataset_free(part);
    CHECK_FAILS(t, ctx, epl_dataset_of_classes(d, (int[]){ 1, 1 }, 2), EPL_ERR_ARGUMENT, "class 1 is named twice");
    CHECK_FAILS(t, ctx, epl_dataset_of_classes(d, (int[]){ 4 }, 1), EPL_ERR_ARGUMENT, "class 4 of 4");
    epl_dataset_free(d);
}

/* Pixels 0 1 / 2 3 turned to the left. */
TEST(rotations_are_a_task_without_labels)
{
    static const float turned[4][4] = { { 0, 1, 2, 3 }, { 1, 3, 0, 2 }, { 3, 2, 1, 0 }, { 2, 0, 3, 1 } };
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 2, 2, 1)), *y = NULL;
    for (int i = 0; i < 8; i++)
        epl_tensor_set(x, i, i % 4 + i / 4 * 10);
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "squares", x, NULL), *r = epl_dataset_of_rotations(d);
    CHECK_OK(t, ctx, r && epl_dataset_tensors(r, 0, 8, &x, &y));
    CHECK_INT(t, epl_dataset_info_of(r).n_classes, 4);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(t, epl_tensor_get(y, i), i % 4);
        for (int k = 0; k < 4; k++)
            CHECK_INT(t, epl_tensor_get(x, 4 * i + k), turned[i % 4][k] + (float)(i / 4 * 10));
    }
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_dataset_free(r);
    epl_dataset_free(d);
    d = epl_dataset_from_tensors_take(ctx, "wide", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 2, 3, 1)), NULL);
    CHECK_FAILS(t, ctx, epl_dataset_of_rotations(d), EPL_ERR_SHAPE, "square images");
    epl_dataset_free(d);
}

/* ---- training ---- */

/* Class k of four is noise around a stripe of its own. */
static epl_dataset *stripes(epl_context *ctx)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(180, 8, 8, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(180));
    epl_rng     r = epl_rng_at(5, 0);
    for (int i = 0; i < 180; i++) {
        epl_tensor_set_i64(y, i, i % 4);
        for (int k = 0; k < 64; k++)
            epl_tensor_set(x, i * 64 + k, 0.5 * (double)epl_rng_normal(&r) + (k / 16 == i % 4));
    }
    return epl_dataset_from_tensors_take(ctx, "stripes", x, y);
}

static void learns(test *t, const char *model, const char *objective, int64_t batch)
{
    epl_context *ctx = test_context(t, .n_threads = 2);
    epl_dataset *d   = stripes(ctx);
    epl_model   *m   = epl_model_new_take(epl_zoo_build(ctx, model));
    epl_objective_opts o;
    CHECK_OK(t, ctx, d && m && epl_objective_parse(ctx, objective, &o));
    epl_train_hook hook = epl_objective_hook(ctx, o);
    const char    *log  = test_temp(t, "log.jsonl");
    epl_trainer   *tr = epl_trainer_new(m, d, NULL,
                                        (epl_trainer_opts){ .epochs = 20,
                                                            .batch = batch,
                                                            .hooks = &hook,
                                                            .n_hooks = 1,
                                                            .log = log,
                                                            .log_every = 1,
                                                            .sampler = epl_objective_sampler(o),
                                                            .optimizer = { .kind = EPL_ADAM, .rate = 1e-2 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    int n;
    const epl_epoch_record *e = epl_trainer_history(tr, &n);
    if (!(e[n - 1].loss < 0.9 * e[0].loss))
        FAIL(t, "%s: the loss goes from %g to %g", objective, e[0].loss, e[n - 1].loss);
    epl_trainer_free(tr);
    char *text = test_read_file(t, log, NULL);
    if (strncmp(objective, "proto", 5) == 0)
        CHECK(t, strstr(text, "\"r1\":") && strstr(text, "\"class\":"));
    if (strncmp(objective, "triplet", 7) == 0)
        CHECK(t, strstr(text, "\"active\":") != NULL);
    free(text);
    epl_release(ctx, hook.user);
    epl_model_free(m);
    epl_dataset_free(d);
}

TEST(objectives_are_learned)
{
    static const char *const objectives[] = { "contrastive", "triplet", "semi-hard:classes=3", "episode:classes=3,shots=2" };
    for (size_t i = 0; i < EPL_COUNT(objectives); i++)
        learns(t, "mlp:image=8,width=24,classes=0,embed=8", objectives[i], 30);
    learns(t, "mlp:image=8,width=24,classes=4,embed=8,head=cosine", "cosface", 30);
    learns(t, "mlp:image=8,width=24,classes=4,embed=8,head=cosine", "arcface", 30);
    learns(t, "mlp:image=8,width=24,classes=4,embed=8,head=prototype", "prototype:class=1", 30);
}

TEST(objectives_need_a_network_that_fits)
{
    epl_context   *ctx = test_context(t);
    epl_model     *m   = epl_model_new_take(epl_zoo_build(ctx, "mlp:image=4,classes=3"));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    static const char *const names[] = { "cosface", "prototype" }, *const words[] = { "cosines times a scale", "this one has 1 outputs" };
    for (int i = 0; i < 2; i++) {
        epl_train_hook hook = epl_objective_hook(ctx, (epl_objective_opts){ .name = names[i] });
        epl_program_memory memory;
        CHECK_FAILS(t, ctx, epl_train_memory(m, (epl_step_opts){ .batch = 4, .hooks = &hook, .n_hooks = 1 }, &memory),
                    EPL_ERR_ARGUMENT, words[i]);
        epl_release(ctx, hook.user);
    }
    epl_model_free(m);
}
