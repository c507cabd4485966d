/* Weights that are powers of two: their values, gradients, codes, and what becomes of networks. */
#include "common/check.h"

#include <espalier/espalier.h>

/* Every pattern of signs of the variables, and zeros: the closed form by brute force. */
PROPERTY(values_follow_the_recursion, 3)
{
    const int    n = t->index == 0 ? 1 : t->index == 1 ? 3 : 7, count = 3 << n;
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "values");
    epl_value   *w[8];
    char         name[16];
    for (int i = 0; i <= n; i++) {
        snprintf(name, sizeof name, "w%d", i);
        w[i] = epl_input(g, name, EPL_F32, EPL_SHAPE(count), NULL);
    }
    epl_output(g, "y", epl_shift_value(g, n, w, false));
    epl_model   *m = epl_model_new_take(g);
    epl_program *p = m ? epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p != NULL);
    int hits[8] = { 0 };
    for (int i = 0; i < count; i++) {
        ((float *)epl_program_input(p, 0)->data)[i] = i >> n == 0 ? -0.5f : i >> n == 1 ? 0.5f : 0;
        for (int k = 1; k <= n; k++)
            ((float *)epl_program_input(p, k)->data)[i] = i >> (k - 1) & 1 ? 0.25f : i % 3 ? -0.25f : 0;
    }
    CHECK_OK(t, ctx, epl_program_run(p));
    for (int i = 0; i < count; i++) {
        int s = 0;
        for (int k = 1; k <= n; k++)
            s = i >> (k - 1) & 1 ? s + 1 : 0;
        hits[s] += i >> n == 0;
        CHECK_NEAR(t, ((float *)epl_program_output(p, 0)->data)[i], (i >> n ? 1 : -1) * ldexp(1, s), .rtol = 0);
    }
    static const int published[3][8] = { { 1, 1 }, { 4, 2, 1, 1 }, { 64, 32, 16, 8, 4, 2, 1, 1 } };
    for (int s = 0; s <= n; s++)
        CHECK_INT(t, hits[s], published[t->index][s]);
    epl_program_free(p);
    epl_model_free(m);
}

/* d sum(G y) / d w against the recursion, rescaled and not. */
PROPERTY(gradients_follow_the_recursion, 2)
{
    enum { N = 3, COUNT = 64 };
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "gradient");
    epl_value   *w[N + 1], *dw[N + 1], *weight = epl_input(g, "g", EPL_F32, EPL_SHAPE(COUNT), NULL);
    char         name[16];
    for (int i = 0; i <= N; i++) {
        snprintf(name, sizeof name, "w%d", i);
        w[i] = epl_input(g, name, EPL_F32, EPL_SHAPE(COUNT), NULL);
    }
    epl_value *y = epl_shift_value(g, N, w, t->index == 1);
    CHECK_OK(t, ctx, epl_gradient(g, epl_reduce_sum(g, epl_mul(g, y, weight), (epl_reduce_opts){ 0 }), N + 1, w, dw));
    for (int i = 0; i <= N; i++) {
        snprintf(name, sizeof name, "dw%d", i);
        epl_output(g, name, dw[i]);
    }
    epl_model   *m = epl_model_new_take(g);
    epl_program *p = m ? epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p != NULL);
    for (int i = 0; i <= N + 1; i++)
        for (int k = 0; k < COUNT; k++)
            ((float *)epl_program_input(p, i)->data)[k] = k == 0 ? 1 : epl_rng_normal(t->rng);
    CHECK_OK(t, ctx, epl_program_run(p));
    for (int k = 0; k < COUNT; k++) {
        const double G = (double)((float *)epl_program_input(p, 0)->data)[k];
        double v[N + 1], s[N + 1] = { 0 };
        for (int i = 0; i <= N; i++)
            v[i] = (double)((float *)epl_program_input(p, i + 1)->data)[k];
        for (int i = 1; i <= N; i++)
            s[i] = v[i] > 0 ? s[i - 1] + 1 : 0;
        double ds = G * (v[0] >= 0 ? 1 : -1) * (t->index ? log(2) * pow(2, s[N]) : 0.5 / sqrt(s[N] + 1));
        CHECK_NEAR(t, ((float *)epl_program_output(p, 0)->data)[k], G * (t->index ? pow(2, s[N]) : sqrt(s[N] + 1)), .rtol = 1e-6);
        for (int i = N; i >= 1; i--) {
            CHECK_NEAR(t, ((float *)epl_program_output(p, i)->data)[k], ds * (s[i - 1] + 1), .rtol = 1e-6, .atol = 1e-7);
            ds *= v[i] > 0;
        }
    }
    if (t->index == 0) { // all variables above 0: 2G, G/4, 2G/4, 3G/4
        static const double known[N + 1] = { 2, 0.25, 0.5, 0.75 };
        for (int i = 0; i <= N; i++)
            CHECK_NEAR(t, ((float *)epl_program_output(p, i)->data)[0], known[i], .rtol = 1e-6);
    }
    epl_program_free(p);
    epl_model_free(m);
}

static epl_model *built(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

static epl_tensor *logits(test *t, epl_context *ctx, const epl_model *m)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, ctx, p != NULL);
    epl_rng r = epl_rng_at(5, 5);
    for (int64_t i = 0; i < epl_tensor_count(epl_program_input(p, 0)); i++)
        ((float *)epl_program_input(p, 0)->data)[i] = epl_rng_normal(&r);
    CHECK_OK(t, ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(ctx, epl_program_output(p, 0));
    epl_program_free(p);
    return y;
}

/* Packed, a network computes what its variables say, from a file a fraction of the size. */
PROPERTY(packed_networks_compute_the_same, 4)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = built(t, ctx, "resnet:depth=8,width=4,image=12,channels=3");
    epl_shift_result r = { 0 };
    const epl_shift_opts o = { .bits = 2 + t->index % 3, .init = t->index == 3 ? EPL_SHIFT_FROM_FLOAT : EPL_SHIFT_SCRATCH, .seed = 2 };
    CHECK_OK(t, ctx, epl_shift(m, o, &r));
    CHECK_INT(t, epl_shift_codes(m->weights, NULL), r.weights);
    epl_tensor *a = logits(t, ctx, m);
    char *path = strdup(test_temp(t, "packed.safetensors"));
    CHECK_INT(t, epl_shift_pack(m), r.layers);
    CHECK_OK(t, ctx, epl_model_save(m, path));
    epl_model_free(m);
    m = epl_model_load(ctx, path);
    CHECK_OK(t, ctx, m && epl_model_check(m));
    size_t bytes = 0;
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        bytes += epl_weights_at(m->weights, i)->dtype == EPL_U8 ? epl_tensor_bytes(epl_weights_at(m->weights, i)) : 0;
    CHECK(t, bytes >= (size_t)(r.weights * o.bits) / 8 && bytes <= (size_t)(r.weights * o.bits) / 8 + (size_t)r.layers);
    epl_tensor *b = logits(t, ctx, m);
    CHECK_CLOSE(t, b, a, .rtol = 0);
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_model_free(m);
    free(path);
}

TEST(codes_survive_packing)
{
    epl_context *ctx = test_context(t);
    for (int bits = 2; bits <= 4; bits++) {
        enum { N = 61 };
        epl_graph *g = epl_graph_new(ctx, "unpack");
        uint8_t codes[N], packed[N];
        for (int i = 0; i < N; i++)
            codes[i] = (uint8_t)epl_rng_below(t->rng, 1u << bits);
        epl_shift_pack_codes(codes, N, bits, packed);
        epl_output(g, "y",
                   epl_shift_weight(g, epl_input(g, "x", EPL_U8, EPL_SHAPE(epl_shift_packed_bytes(N, bits)), NULL),
                                    bits, EPL_SHAPE(N)));
        epl_model   *m = epl_model_new_take(g);
        epl_program *p = m ? epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }) : NULL;
        CHECK_OK(t, ctx, p != NULL);
        memcpy(epl_program_input(p, 0)->data, packed, (size_t)epl_shift_packed_bytes(N, bits));
        CHECK_OK(t, ctx, epl_program_run(p));
        for (int i = 0; i < N; i++)
            CHECK_NEAR(t, ((float *)epl_program_output(p, 0)->data)[i],
                       ldexp(codes[i] >> (bits - 1) ? -1 : 1, codes[i] & ((1 << (bits - 1)) - 1)), .rtol = 0);
        epl_program_free(p);
        epl_model_free(m);
    }
}

/* Each method trains: variables move, and the loss falls. */
/* What the hook says of an epoch, counted again. */
typedef struct recount {
    test    *t;
    uint8_t *start, *last, *same; /* codes at the start, at the last epoch's end; 1: the same at every end */
    int64_t  n;
    int      epochs;
} recount;

static bool count_again(void *user, epl_trainer *trainer, int64_t epoch)
{
    recount *k = user;
    epl_shift_changes found;
    uint8_t now[1024];
    CHECK_INT(k->t, epl_shift_codes(epl_trainer_model(trainer)->weights, now), k->n);
    CHECK(k->t, epl_shift_changes_of(epl_trainer_model(trainer), &found));
    int64_t flips = 0, frozen = 0;
    for (int64_t i = 0; i < k->n; i++) {
        flips += now[i] >> 7 != k->last[i] >> 7;
        k->same[i] &= now[i] == k->start[i];
        frozen += k->same[i];
    }
    CHECK_NEAR(k->t, found.flips, (double)flips / (double)k->n, .atol = 1e-7);
    CHECK_NEAR(k->t, found.frozen, (double)frozen / (double)k->n, .atol = 1e-7);
    memcpy(k->last, now, (size_t)k->n);
    k->epochs = (int)epoch;
    return true;
}

PROPERTY(every_method_trains, 4)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = epl_dataset_open(ctx, "blobs:count=300,classes=3,features=8", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, d != NULL);
    epl_graph *g = epl_graph_new(ctx, "mlp");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8), "N,");
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", i);
        x = epl_relu(g,
                     epl_layer_norm(g, epl_linear(g, x, (epl_linear_opts){ .name = name, .out = 16, .no_bias = true }),
                                    (epl_norm_opts){ 0 }));
    }
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = 3 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_shift_result r;
    CHECK_OK(t, ctx, epl_shift(m, (epl_shift_opts){ .method = (epl_shift_method)t->index, .seed = 1 }, &r));
    CHECK_INT(t, r.layers, 2);
    CHECK(t, r.bare == 0 && !r.first_bare);
    uint8_t codes[3][1024];
    recount again = { t, codes[0], codes[1], codes[2], epl_shift_codes(m->weights, NULL), 0 };
    CHECK(t, again.n <= 1024 && (again.n > 0) == (t->index == 0));
    epl_shift_codes(m->weights, codes[0]);
    memcpy(codes[1], codes[0], sizeof codes[0]);
    memset(codes[2], 1, sizeof codes[2]);
    const epl_train_hook hooks[] = { epl_shift_hook(), { .after_epoch = again.n ? count_again : NULL, .user = &again } };
    epl_trainer *tr = epl_trainer_new(m, d, NULL, (epl_trainer_opts){ .epochs = 12, .batch = 30, .hooks = hooks, .n_hooks = 2,
        .optimizer = { .kind = EPL_SGD, .rate = 0.05, .momentum = 0.9, .decay = 1e-4 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    int n;
    const epl_epoch_record *e = epl_trainer_history(tr, &n);
    CHECK(t, e[n - 1].loss < 0.7 * e[0].loss);
    epl_trainer_free(tr);
    epl_shift_changes left;
    CHECK(t, !epl_shift_changes_of(m, &left) && again.epochs == (again.n ? 12 : 0)); // nothing stays in the model
    epl_model_free(m);
    epl_dataset_free(d);
}

TEST(what_has_no_shifts_is_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = built(t, ctx, "resnet:depth=8,width=4,image=12,channels=3");
    CHECK_FAILS(t, ctx, epl_shift(m, (epl_shift_opts){ .bits = 1 }, NULL), EPL_ERR_ARGUMENT, "2, 3 or 4");
    CHECK_FAILS(t, ctx, epl_shift(m, (epl_shift_opts){ .bits = 5 }, NULL), EPL_ERR_ARGUMENT, "2, 3 or 4");
    CHECK_FAILS(t, ctx, epl_shift(m, (epl_shift_opts){ .method = EPL_SHIFT_S3, .bits = 2 }, NULL), EPL_ERR_ARGUMENT, "they have 3");
    CHECK_FAILS(t, ctx, epl_shift(m, (epl_shift_opts){ .pattern = "nothing" }, NULL), EPL_ERR_ARGUMENT, "none of");
    CHECK_INT(t, epl_shift_pack(m), 0);
    epl_model_free(m);
}

/* Layers whose values grow are told: perceptrons have no norm, and a scale for each channel is one. */
TEST(layers_without_a_norm_are_told)
{
    static const struct { const char *network; epl_shift_opts o; int bare; const char *first; } cases[] = {
        { "mlp", { .last = true }, 2, "hidden2.weight" },
        { "mlp", { .last = true, .init = EPL_SHIFT_FROM_FLOAT }, 0, NULL },
        { "mlp", { .last = true, .method = EPL_SHIFT_Q, .bits = 4 }, 0, NULL },
        { "resnet:depth=8,width=4,image=8", { .last = true }, 1, "head.weight" },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = epl_zoo_build(test_context(t), cases[i].network);
        epl_model *m = g ? epl_model_new_take(g) : NULL;
        epl_shift_result r;
        CHECK_OK(t, test_context(t), m && epl_model_init(m, 1) && epl_shift(m, cases[i].o, &r));
        CHECK_INT(t, r.bare, cases[i].bare);
        CHECK_STR(t, r.first_bare ? r.first_bare : "", cases[i].first ? cases[i].first : "");
        epl_model_free(m);
    }
}

/* The same of variables and of packed codes; known shares. */
PROPERTY(values_are_counted, 3)
{
    epl_graph *g = epl_zoo_build(test_context(t), "mlp");
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, test_context(t),
             m && epl_model_init(m, 1) &&
                 epl_shift(m, (epl_shift_opts){ .bits = 2 + t->index, .last = true, .seed = 5 }, NULL));
    epl_tensor *sign = epl_weights_find(m->weights, "hidden2.weight.sign");
    for (int64_t i = 0; i < epl_tensor_count(sign); i++)
        ((float *)sign->data)[i] = i % 4 ? 1 : -1;
    char *text[2];
    for (int packed = 0; packed < 2; packed++) {
        if (packed)
            CHECK_INT(t, epl_shift_pack(m), 2);
        epl_table *table = epl_shift_report(m);
        text[packed] = epl_table_to_json(table);
        epl_table_free(table);
    }
    CHECK_STR(t, text[1], text[0]);
    CHECK(t, strstr(text[0], "\"weight\": \"hidden2.weight\"") && strstr(text[0], "\"negative\": 0.25,"));
    for (int i = 0; i < 2; i++)
        epl_release(m->ctx, text[i]);
    epl_model_free(m);
}

/* What is pruned would have to become zero. */
PROPERTY(shift_weights_are_not_pruned, 4)
{
    epl_graph *g = epl_zoo_build(test_context(t), "resnet:depth=8,width=4,image=8");
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    const epl_shift_opts o = { .method = (epl_shift_method)t->index };
    CHECK_OK(t, test_context(t), m && epl_model_init(m, 1) && epl_shift(m, o, NULL));
    if (o.method == EPL_SHIFT_Q) // the weight is rounded whatever it is
        CHECK_OK(t, m->ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5 }));
    else
        CHECK_FAILS(t, m->ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5 }), EPL_ERR_ARGUMENT, "have no zero");
    CHECK_FAILS(t, m->ctx, o.method != EPL_SHIFT_Q && epl_shift(m, o, NULL),
                o.method == EPL_SHIFT_Q ? EPL_OK : EPL_ERR_ARGUMENT,
                o.method == EPL_SHIFT_Q ? "" : "can have shift weights");
    epl_model_free(m);
}
