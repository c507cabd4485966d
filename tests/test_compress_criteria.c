/* What decides which weights stay, beyond their size: criteria that look at the loss or at the flow through the
 * network, shares of layers, and what goes as a whole. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "compress/compress.h"

static epl_model *zoo(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    return m;
}

static int64_t ones(const epl_tensor *mask)
{
    int64_t n = 0;
    for (int64_t i = 0; i < epl_tensor_count(mask); i++)
        n += epl_tensor_get(mask, i) == 1;
    return n;
}

/* A network of linear layers without biases: 6, 9, 7, 3, with an activation between. */
static epl_model *layers_of(test *t, epl_context *ctx, epl_value *(*act)(epl_graph *, epl_value *), double scale)
{
    epl_graph *g = epl_graph_new(ctx, "layers");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6), "N,");
    x = act(g, epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = 9, .no_bias = true }));
    x = act(g, epl_linear(g, x, (epl_linear_opts){ .name = "b", .out = 7, .no_bias = true }));
    x = epl_linear(g, x, (epl_linear_opts){ .name = "c", .out = 3, .no_bias = true });
    epl_output(g, "y", scale == 1 ? x : epl_affine(g, x, scale, 0));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_model_init(m, 5));
    return m;
}

static const char *const names[] = { "a.weight", "b.weight", "c.weight" };

/* ---- the loss ---- */

typedef struct batch {
    epl_tensor *x, *y, *half_x[2], *half_y[2];
} batch;

static batch batch_of(test *t, epl_context *ctx, int64_t n)
{
    batch b = { epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(n, 6)), epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n)), { NULL, NULL }, { NULL, NULL } };
    epl_tensor_fill_normal(b.x, t->rng, 0, 1);
    for (int64_t i = 0; i < n; i++)
        epl_tensor_set_i64(b.y, i, i % 3);
    for (int h = 0; h < 2; h++) {
        b.half_x[h] = epl_tensor_view(ctx, EPL_F32, EPL_SHAPE(n / 2, 6), (float *)b.x->data + h * n / 2 * 6);
        b.half_y[h] = epl_tensor_view(ctx, EPL_I64, EPL_SHAPE(n / 2), (int64_t *)b.y->data + h * n / 2);
    }
    return b;
}

static void batch_release(batch *b)
{
    for (int h = 0; h < 2; h++) {
        epl_tensor_free(b->half_x[h]);
        epl_tensor_free(b->half_y[h]);
    }
    epl_tensor_free(b->x);
    epl_tensor_free(b->y);
}

/* The gradients of both halves, added up, with the weights moved along v. */
static void gradient_at(test *t, epl_model *m, const batch *b, const epl_weights *v, double step, double *out)
{
    epl_model *moved = epl_model_copy(m);
    int64_t    at = 0;
    for (int i = 0; v && i < 3; i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_find(v, names[i])); k++) {
            epl_tensor *w = epl_weights_find(moved->weights, names[i]);
            epl_tensor_set(w, k, epl_tensor_get(w, k) + step * epl_tensor_get(epl_weights_find(v, names[i]), k));
        }
    epl_weights *g[2];
    for (int h = 0; h < 2; h++) {
        g[h] = epl_weight_gradients(moved, b->half_x[h], b->half_y[h], (epl_loss_opts){ 0 });
        CHECK_OK(t, m->ctx, g[h] != NULL);
    }
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_find(g[0], names[i])); k++)
            out[at++] = epl_tensor_get(epl_weights_find(g[0], names[i]), k) + epl_tensor_get(epl_weights_find(g[1], names[i]), k);
    epl_weights_free(g[0]);
    epl_weights_free(g[1]);
    epl_model_free(moved);
}

TEST(grasp_multiplies_with_the_hessian)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = layers_of(t, ctx, epl_tanh, 1), *cold = layers_of(t, ctx, epl_tanh, 1.0 / 200);
    batch        b = batch_of(t, ctx, 12);
    double       g[138], up[138], down[138];
    epl_weights *hg = epl_prune_evidence(m, "grasp", b.x, b.y, (epl_loss_opts){ 0 }), *v = epl_weights_new(ctx);
    CHECK_OK(t, ctx, hg && v);
    gradient_at(t, cold, &b, NULL, 0, g);
    int64_t at = 0;
    for (int i = 0; i < 3; i++) {
        epl_tensor *d = epl_tensor_copy(ctx, epl_weights_find(m->weights, names[i]));
        for (int64_t k = 0; k < epl_tensor_count(d); k++)
            epl_tensor_set(d, k, g[at++]);
        CHECK_OK(t, ctx, epl_weights_put_take(v, names[i], d));
    }
    CHECK_INT(t, at, 138);
    const double step = 3;
    gradient_at(t, cold, &b, v, step, up);
    gradient_at(t, cold, &b, v, -step, down);
    double error = 0, size = 0;
    at = 0;
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_find(hg, names[i])); k++, at++) {
            const double want = (up[at] - down[at]) / (2 * step), have = epl_tensor_get(epl_weights_find(hg, names[i]), k);
            error += (want - have) * (want - have);
            size += want * want;
        }
    CHECK(t, size > 0 && sqrt(error / size) < 1e-2);

    /* the score that stays is that of the smallest -w (H g) */
    const epl_prune_opts o = { .gradients = hg };
    float s[63];
    const epl_tensor *w = epl_weights_find(m->weights, "b.weight"), *h = epl_weights_find(hg, "b.weight");
    CHECK_OK(t, ctx, epl_scores(ctx, "grasp", "b.weight", w, NULL, &o, s));
    for (int64_t i = 0; i < 63; i++)
        CHECK_NEAR(t, s[i], epl_tensor_get(w, i) * epl_tensor_get(h, i), .rtol = 1e-6, .atol = 1e-20);
    epl_weights_free(hg);
    epl_weights_free(v);
    batch_release(&b);
    epl_model_free(m);
    epl_model_free(cold);
}

TEST(obd_takes_the_mean_square_over_samples)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = layers_of(t, ctx, epl_tanh, 1);
    batch        b = batch_of(t, ctx, 2);
    epl_weights *f = epl_prune_evidence(m, "obd", b.x, b.y, (epl_loss_opts){ 0 }),
                *all = epl_prune_evidence(m, "obs", b.x, b.y, (epl_loss_opts){ 0 });
    CHECK_OK(t, ctx, f && all);
    epl_weights *g[2];
    for (int h = 0; h < 2; h++)
        g[h] = epl_weight_gradients(m, b.half_x[h], b.half_y[h], (epl_loss_opts){ 0 });
    for (int i = 0; i < 3; i++) {
        const int64_t n = epl_tensor_count(epl_weights_find(f, names[i]));
        for (int64_t k = 0; k < n; k++) {
            const double p = epl_tensor_get(epl_weights_find(g[0], names[i]), k), q = epl_tensor_get(epl_weights_find(g[1], names[i]), k);
            CHECK_NEAR(t, epl_tensor_get(epl_weights_find(f, names[i]), k), (p * p + q * q) / 2, .rtol = 1e-4, .atol = 1e-12);
            CHECK_NEAR(t, epl_tensor_get(epl_weights_find(all, names[i]), n + k), q, .rtol = 1e-4, .atol = 1e-7);
        }
    }
    CHECK_FAILS(t, ctx, epl_prune_evidence(m, "lamp", b.x, b.y, (epl_loss_opts){ 0 }) != NULL, EPL_ERR_ARGUMENT, "looks at no data");
    for (int h = 0; h < 2; h++)
        epl_weights_free(g[h]);
    epl_weights_free(f);
    epl_weights_free(all);
    batch_release(&b);
    epl_model_free(m);
}

/* H = (2 1; 1 2): without w0 the loss grows by w0^2 3/4, without w1 by w1^2 3/4; w1 moves by w0 / 2. */
TEST(obs_lets_the_others_make_up_for_what_goes)
{
    epl_context  *ctx = test_context(t);
    epl_tensor   *w = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2)), *s = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 2));
    const float   wv[] = { 1, 2 }, sv[] = { 1.7320508f, 1.7320508f, 1, -1 };
    unsigned char stays[2];
    memcpy(w->data, wv, sizeof wv);
    memcpy(s->data, sv, sizeof sv);
    CHECK_OK(t, ctx, epl_obs_prune(ctx, "w", w, s, 1, stays));
    CHECK(t, !stays[0] && stays[1]);
    CHECK_NEAR(t, epl_tensor_get(w, 0), 0, 0);
    CHECK_NEAR(t, epl_tensor_get(w, 1), 2.5, .atol = 0.01); // a hundredth of the diagonal is added
    epl_tensor_free(s);
    s = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 3000));
    epl_tensor *large = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3000));
    CHECK_FAILS(t, ctx, epl_obs_prune(ctx, "w", large, s, 1, stays), EPL_ERR_LIMIT, "3000 x 3000 for 'w'");
    epl_tensor_free(large);
    epl_tensor_free(s);
    epl_tensor_free(w);
}

static double loss_at(test *t, epl_model *m, const batch *b)
{
    epl_tensor  *y = epl_tensor_copy(m->ctx, b->y);
    epl_dataset *d = epl_dataset_from_tensors_take(m->ctx, "batch", epl_tensor_copy(m->ctx, b->x), y);
    epl_evaluation e;
    CHECK_OK(t, m->ctx, d && epl_evaluate(m, d, (epl_evaluate_opts){ .batch = 8 }, &e));
    const double loss = e.metrics.loss;
    epl_evaluation_release(m->ctx, &e);
    epl_dataset_free(d);
    return loss;
}

/* After some training obs costs less than taking the smallest. */
TEST(obs_prunes_a_network)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = layers_of(t, ctx, epl_tanh, 1);
    batch        b = batch_of(t, ctx, 48);
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "batch", epl_tensor_copy(ctx, b.x), epl_tensor_copy(ctx, b.y));
    epl_trainer *tr =
        epl_trainer_new(m, d, NULL,
                        (epl_trainer_opts){
                            .epochs = 150, .batch = 16, .optimizer = { .kind = EPL_ADAM, .rate = 0.01 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    epl_trainer_free(tr);
    epl_weights *g = epl_prune_evidence(m, "obs", b.x, b.y, (epl_loss_opts){ 0 });
    epl_model   *other = epl_model_copy(m);
    CHECK_FAILS(t, ctx, epl_prune_weights(other, (epl_prune_opts){ .criterion = "obs", .distribution = "global" }),
                EPL_ERR_ARGUMENT, "no global");
    CHECK_OK(t, ctx,
             g && epl_prune_weights(m,
                                    (epl_prune_opts){
                                        .sparsity = 0.3, .criterion = "obs", .gradients = g, .pattern = "b.weight" }));
    CHECK_OK(t, ctx, epl_prune_weights(other, (epl_prune_opts){ .sparsity = 0.3, .pattern = "b.weight" }));
    CHECK_INT(t, ones(epl_mask_of(m->weights, "b.weight")), epl_keep_count(63, 0.3));
    CHECK(t, loss_at(t, m, &b) < loss_at(t, other, &b));
    epl_weights_free(g);
    epl_dataset_free(d);
    batch_release(&b);
    epl_model_free(m);
    epl_model_free(other);
}

/* ---- the flow ---- */

TEST(synflow_is_conserved_from_layer_to_layer)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = layers_of(t, ctx, epl_relu, 1);
    double       degree, sums[3] = { 0, 0, 0 };
    epl_weights *s = epl_synflow_scores(m, &(epl_prune_opts){ .sparsity = 0 }, &degree);
    CHECK_OK(t, ctx, s != NULL);
    CHECK_NEAR(t, degree, 1, .atol = 1e-6);
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_find(s, names[i])); k++)
            sums[i] += epl_tensor_get(epl_weights_find(s, names[i]), k);
    CHECK(t, sums[0] > 0);
    CHECK_NEAR(t, sums[1] / sums[0], 1, .atol = 1e-5);
    CHECK_NEAR(t, sums[2] / sums[0], 1, .atol = 1e-5);
    epl_weights_free(s);
    epl_model *bent = layers_of(t, ctx, epl_sigmoid, 1);
    s = epl_synflow_scores(bent, &(epl_prune_opts){ .sparsity = 0.5 }, &degree);
    CHECK(t, s && fabs(degree - 1) > 0.01);
    epl_weights_free(s);
    epl_model_free(m);
    epl_model_free(bent);
}

/* Where magnitude on a network without data empties a layer, synflow does not: with 3 of 4 hundredths left each
 * layer passes some. */
TEST(synflow_prunes_in_rounds_and_keeps_the_way_open)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "resnet:depth=8,image=8,width=8");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.97, .criterion = "synflow", .distribution = "global" }));
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &s));
    CHECK_INT(t, s.nonzero, epl_keep_count(s.weights, 0.97));
    double degree;
    epl_weights *again = epl_synflow_scores(m, &(epl_prune_opts){ .sparsity = 0 }, &degree);
    double sum = 0;
    CHECK_OK(t, ctx, again != NULL);
    const epl_tensor *head = epl_weights_find(again, "head.weight");
    for (int64_t i = 0; i < epl_tensor_count(head); i++)
        sum += epl_tensor_get(head, i);
    CHECK(t, sum > 0);
    epl_weights_free(again);
    epl_model_free(m);
}

TEST(synflow_of_a_deep_network_stays_within_numbers)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "deep");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 64), "N,");
    for (int i = 0; i < 60; i++)
        x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .out = 64 }));
    epl_output(g, "y", x);
    epl_model *m = epl_model_new_take(g);
    double degree;
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_model_init(m, 2));
    epl_weights *s = epl_synflow_scores(m, &(epl_prune_opts){ .sparsity = 0.5 }, &degree);
    CHECK_OK(t, ctx, s != NULL);
    CHECK_NEAR(t, degree, 1, .atol = 1e-4);
    for (int i = 0; i < epl_weights_count(s); i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_at(s, i)); k++)
            CHECK(t, isfinite(epl_tensor_get(epl_weights_at(s, i), k)));
    epl_weights_free(s);
    epl_model_free(m);
}

/* ---- shares ---- */

TEST(ratios_of_one_criterion_with_the_choice_of_another)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = zoo(t, ctx, "lenet"), *b = zoo(t, ctx, "lenet"), *other = zoo(t, ctx, "lenet");
    CHECK_OK(t, ctx, epl_prune_weights(a, (epl_prune_opts){ .sparsity = 0.8, .distribution = "global" }));
    CHECK_OK(t, ctx, epl_prune_weights(b, (epl_prune_opts){ .sparsity = 0.8, .criterion = "random", .ratios_of = "magnitude", .seed = 3 }));
    CHECK_OK(t, ctx,
             epl_prune_weights(other, (epl_prune_opts){
                                          .sparsity = 0.8, .criterion = "random", .ratios_of = "synflow", .seed = 3 }));
    epl_layers l;
    int64_t    total = 0, different = 0, moved = 0;
    CHECK_OK(t, ctx, epl_weight_layers_find(a->graph, &l));
    for (int i = 0; i < l.n; i++) {
        const epl_tensor *ma = epl_mask_of(a->weights, l.items[i].name), *mb = epl_mask_of(b->weights, l.items[i].name);
        CHECK_INT(t, ones(ma), ones(mb));
        different += !epl_tensor_equal(ma, mb);
        total += ones(epl_mask_of(other->weights, l.items[i].name));
        moved += ones(ma) != ones(epl_mask_of(other->weights, l.items[i].name));
    }
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(a, &s));
    CHECK(t, different == l.n && moved > 0 && llabs(total - epl_keep_count(s.weights, 0.8)) <= l.n);
    epl_weight_layers_release(&l);
    epl_model_free(a);
    epl_model_free(b);
    epl_model_free(other);
}

PROPERTY(a_part_of_the_multiply_adds_is_met, 3)
{
    epl_context *ctx = test_context(t);
    static const char *const rules[] = { "uniform", "erk", "global" };
    epl_model   *m = zoo(t, ctx, "resnet:depth=8,image=16");
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .macs = 0.25, .distribution = rules[t->index] }) && epl_sparsity_of(m, &s));
    CHECK_NEAR(t, s.macs_nonzero / s.macs, 0.25, .rtol = 2e-3); // the search's thousandth, and weights are whole
    epl_model_free(m);
    m = zoo(t, ctx, "resnet:depth=8,image=16");
    CHECK_FAILS(t, ctx,
                epl_prune_weights(m,
                                  (epl_prune_opts){ .macs = 0.01, .skip = "first", .distribution = rules[t->index] }),
                EPL_ERR_LIMIT, "not to 0.01");
    epl_model_free(m);
}

TEST(the_power_bends_the_rule)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "lenet");
    epl_layers   l;
    double       d[8], flat[8];
    CHECK_OK(t, ctx, epl_weight_layers_find(m->graph, &l) && epl_densities(ctx, "erk", 0.1, 1, l.items, l.n, d) &&
                     epl_densities(ctx, "erk", 0.1, 1e-9, l.items, l.n, flat));
    for (int i = 0; i < l.n; i++)
        CHECK_NEAR(t, flat[i], 0.1, .atol = 1e-6); // raw^0 is the same for all
    CHECK(t, d[0] > 2 * flat[0]);
    epl_weight_layers_release(&l);
    epl_model_free(m);
}

TEST(bernoulli_masks_are_about_as_dense)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "lenet");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.8, .criterion = "bernoulli", .seed = 1 }));
    epl_sparsity s;
    CHECK_OK(t, ctx, epl_sparsity_of(m, &s));
    const double sigma = sqrt(0.2 * 0.8 / (double)s.weights), d = (double)s.nonzero / (double)s.weights;
    CHECK(t, fabs(d - 0.2) < 5 * sigma && s.nonzero != epl_keep_count(s.weights, 0.8));
    epl_model_free(m);
}

/* ---- what goes as a whole ---- */

PROPERTY(units_go_as_a_whole, 3)
{
    epl_context *ctx = test_context(t);
    static const char *const units[] = { "row", "column", "kernel" };
    epl_model   *m = zoo(t, ctx, "cnn:stages=2,depth=1,width=6,growth=2,channels=6");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5, .unit = units[t->index], .skip = "first,last" }));
    const epl_tensor *mask = epl_mask_of(m->weights, "stage2.unit1.conv.weight"); // [3, 3, 6, 12]
    int64_t n[3] = { 0, 0, 0 };
    for (int64_t o = 0; o < 12; o++)
        for (int64_t i = 0; i < 6; i++) {
            double sum = 0;
            for (int64_t tap = 0; tap < 9; tap++)
                sum += epl_tensor_get(mask, (tap * 6 + i) * 12 + o);
            CHECK(t, sum == 0 || sum == 9);
            n[2] += sum > 0;
            n[0] += sum > 0 && i == 0;
            n[1] += sum > 0 && o == 0;
        }
    CHECK_INT(t, n[2], 36);
    if (t->index < 2)
        CHECK_INT(t, n[t->index], t->index ? 3 : 6);
    epl_model_free(m);
}

TEST(masks_for_both_ways)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "mlp:width=14,image=4");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .n = 2, .m = 4, .transposable = true, .skip = "last" }));
    epl_layers l;
    CHECK_OK(t, ctx, epl_weight_layers_find(m->graph, &l));
    const epl_tensor *mask = epl_mask_of(m->weights, l.items[0].name); // [16, 14]
    for (int64_t r = 0; r < 16; r += 4)
        for (int64_t c = 0; c < 14; c += 4)
            for (int k = 0; k < 4; k++) {
                double across = 0, down = 0;
                for (int64_t i = 0; i < 4; i++) {
                    across += c + i < 14 ? epl_tensor_get(mask, (r + k) * 14 + c + i) : 0;
                    down += c + k < 14 ? epl_tensor_get(mask, (r + i) * 14 + c + k) : 0;
                }
                CHECK(t, across <= 2 && down <= 2);
            }
    CHECK(t, ones(mask) >= 16 * 14 / 2 - 16);
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .transposable = true }), EPL_ERR_ARGUMENT, "n of m");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .unit = "rows" }), EPL_ERR_ARGUMENT, "did you mean 'row'");
    CHECK_FAILS(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .unit = "row", .block_rows = 2 }), EPL_ERR_ARGUMENT, "as well");
    epl_weight_layers_release(&l);
    epl_model_free(m);
}
