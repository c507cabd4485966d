/* Channel gates: what they learn from, whom their losses reach, what they cost, convolutions that skip, errors. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "graph/op.h"

/* ---- labels ---- */

static void check_labels(test *t, int n, const float *a, double mass, double uniform, const float *expected)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "labels");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 2, 1, n), NULL);
    epl_output(g, "y", epl_gate_labels(g, x, mass, uniform));
    epl_weights *none = epl_weights_new(ctx);
    epl_program *p = epl_graph_finish(g) ? epl_program_new(g, none, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p);
    for (int i = 0; i < n; i++) // the strongest of two places, whatever its sign
        ((float *)epl_program_input(p, 0)->data)[n + i] = i % 2 ? -a[i] : a[i];
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_CLOSE_F32(t, epl_program_output(p, 0)->data, expected, n, .atol = 0);
    epl_program_free(p);
    epl_weights_free(none);
    epl_graph_free(g);
}

TEST(labels_hold_the_mass)
{
    static const float falling[] = { 4, 3, 2, 1 }, hole[] = { 4, 0, 2, 1 }, one[] = { 9.6f, 0.4f }, eight[] = { 5, 1, 7, 3, 2, 8, 6, 4 };
    check_labels(t, 4, falling, 0.9, 0, (const float[]){ 1, 1, 1, 0 });
    check_labels(t, 4, falling, 0.89, 0, (const float[]){ 1, 1, 0, 0 });
    check_labels(t, 4, falling, 1, 0, (const float[]){ 1, 1, 1, 1 });
    check_labels(t, 4, hole, 1, 0, (const float[]){ 1, 0, 1, 1 });
    check_labels(t, 2, one, 0.9, 0, (const float[]){ 1, 0 });
    check_labels(t, 4, hole, -1, 0, (const float[]){ 1, 1, 1, 1 });
    check_labels(t, 8, eight, 0, 0.25, (const float[]){ 1, 0, 1, 1, 0, 1, 1, 1 });
}

/* ---- networks ---- */

static epl_model *new_model(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 5));
    return m;
}

static int64_t gate_parameters(const epl_graph *g)
{
    int64_t sum = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, parameter) && epl_glob("*.gate.weight,*.gate.bias", epl_value_name(n->outputs[0])))
            sum += epl_shape_count(n->outputs[0]->shape);
    return sum;
}

TEST(predictors_have_the_published_sizes)
{
    static const struct {
        const char *network, *layers;
        int64_t     parameters;
    } cases[] = {
        { "vgg:depth=16,norm=1,hidden=512,image=32,classes=10", NULL, 1638720 },
        { "resnet:depth=56", "stem.conv.weight,stage*.a.conv.weight,stage*.b.conv.weight", 96288 },
        { "mobilenet:stem=1,image=32,classes=10", NULL, 5941024 },
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = epl_zoo_build(ctx, cases[i].network);
        epl_model *m = g ? epl_model_new_take(g) : NULL;
        CHECK_OK(t, ctx, m && epl_gates_add(m, (epl_gate_opts){ .layers = cases[i].layers }) > 0);
        CHECK_INT(t, gate_parameters(m->graph), cases[i].parameters);
        epl_model_free(m);
    }
}

static epl_tensor *outputs(test *t, const epl_model *m, const epl_tensor *x)
{
    epl_graph *g = epl_graph_copy(m->graph);
    if (g)
        epl_graph_bind(g, "N", x->shape.dim[0]);
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    CHECK_OK(t, m->ctx, p);
    memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(m->ctx, epl_program_output(p, 0));
    epl_program_free(p);
    epl_graph_free(g);
    return y;
}

/* Biases decide: with weights of zero a gate is open above 0 and closed below. */
static void set_gates(epl_model *m, const char *pattern, double low, double high, epl_rng *r)
{
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        if (epl_glob("*.gate.weight", epl_weights_name(m->weights, i)))
            memset(w->data, 0, epl_tensor_bytes(w));
        for (int64_t k = 0; epl_glob(pattern, epl_weights_name(m->weights, i)) && k < epl_tensor_count(w); k++)
            epl_tensor_set(w, k, epl_rng_uniform(r) < 0.5 ? low : high);
    }
}

static epl_tensor *images(test *t, epl_context *ctx, int64_t n)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(n, 12, 12, 1));
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    return x;
}

#define NETWORK "cnn:width=12,depth=2,image=12,classes=3"

TEST(open_gates_change_nothing_and_closed_ones_everything)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, NETWORK), *plain = epl_model_copy(m);
    epl_tensor  *x = images(t, ctx, 4), *before = outputs(t, plain, x);
    CHECK_OK(t, ctx, epl_gates_add(m, (epl_gate_opts){ 0 }) > 0 && epl_model_init(m, 6));
    set_gates(m, "*.gate.bias", 1, 1, t->rng);
    epl_tensor *open = outputs(t, m, x);
    CHECK_CLOSE(t, open, before, .rtol = 1e-6, .atol = 1e-6);
    set_gates(m, "*.gate.bias", -1, -1, t->rng);
    epl_tensor *closed = outputs(t, m, x);
    const epl_tensor *head = epl_weights_find(m->weights, "head.bias");
    for (int64_t i = 0; head && i < epl_tensor_count(closed); i++) // nothing arrives: the classifier's bias is left
        CHECK_NEAR(t, epl_tensor_get(closed, i), epl_tensor_get(head, i % 3), .atol = 1e-6);
    CHECK_FAILS(t, ctx, epl_gates_add(m, (epl_gate_opts){ 0 }) > 0, EPL_ERR_ARGUMENT, "has gates already");
    epl_tensor_free(before);
    epl_tensor_free(open);
    epl_tensor_free(closed);
    epl_tensor_free(x);
    epl_model_free(plain);
    epl_model_free(m);
}

/* Behind the sum a closed gate takes the shortcut's channels along: the unit gives zeros, and so do those behind it
 * that are closed, too. */
TEST(gates_behind_a_residual_sum)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, "resnet:depth=8,width=4,image=12,channels=1,classes=3"), *plain = epl_model_copy(m);
    epl_tensor  *x = images(t, ctx, 2), *before = outputs(t, plain, x);
    CHECK_INT(t, epl_gates_add(m, (epl_gate_opts){ .layers = "*.b.conv.weight,*.shortcut*.weight", .after_add = true, .open = true }), 3);
    CHECK_OK(t, ctx, epl_model_init(m, 6));
    epl_tensor *open = outputs(t, m, x);
    CHECK_CLOSE(t, open, before, .rtol = 1e-6, .atol = 1e-6);
    int sums = 0;
    for (const epl_node *n = m->graph->first; n; n = n->next)
        sums += EPL_IS(n, mul) && EPL_IS(n->inputs[0]->producer, relu);
    CHECK_INT(t, sums, 3);
    set_gates(m, "stage3.unit1.*.gate.bias", -1, -1, t->rng);
    epl_tensor *closed = outputs(t, m, x);
    for (int k = 0; k < 3; k++)
        CHECK_NEAR(t, epl_tensor_get(closed, k), epl_tensor_get(closed, 3 + k), .atol = 1e-7); // of any image
    epl_tensor_free(before);
    epl_tensor_free(open);
    epl_tensor_free(closed);
    epl_tensor_free(x);
    epl_model_free(plain);
    epl_model_free(m);
}

/* ---- convolutions that skip ---- */

TEST(skipping_gives_the_same)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, NETWORK);
    epl_tensor  *x = images(t, ctx, 1);
    CHECK_OK(t, ctx, epl_gates_add(m, (epl_gate_opts){ 0 }) > 0 && epl_model_init(m, 6));
    set_gates(m, "*.gate.bias", -1, 1, t->rng);
    epl_tensor *masked = outputs(t, m, x);
    CHECK_OK(t, ctx, epl_deploy_batch_norms(m, NULL, NULL));
    CHECK(t, epl_gates_skip(m) > 0);
    int count = 0;
    for (const epl_node *n = m->graph->first; n; n = n->next)
        count += EPL_IS(n, gated_conv);
    CHECK(t, count > 1);
    epl_tensor *skipped = outputs(t, m, x);
    CHECK_CLOSE(t, skipped, masked, .rtol = 1e-4, .atol = 1e-5);
    epl_tensor_free(masked);
    epl_tensor_free(skipped);
    epl_tensor_free(x);
    epl_model_free(m);
}

/* What a run executes is what its masks say: 5 of 12 inputs, 4 of 12 outputs. */
TEST(executed_products_are_those_of_active_channels)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "gated");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 6, 12), NULL),
              *w = epl_input(g, "w", EPL_F32, EPL_SHAPE(3, 3, 12, 12), NULL);
    epl_value   *in = epl_input(g, "in", EPL_F32, EPL_SHAPE(1, 12), NULL), *out = epl_input(g, "out", EPL_F32, EPL_SHAPE(1, 12), NULL);
    epl_value   *like = epl_convolve(g, x, w, NULL, (epl_convolve_opts){ .pad = 1 });
    epl_output(g, "y", epl_convolve_gated(g, x, w, NULL, in, out, false, epl_producer(like)));
    epl_weights *none = epl_weights_new(ctx);
    epl_program *p = epl_graph_finish(g) ? epl_program_new(g, none, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p);
    double before = 0, after = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        before += epl_program_step_executed(p, i).macs;
    for (int run = 0; run < 3; run++) {
        for (int c = 0; c < 12; c++) {
            ((float *)epl_program_input_named(p, "in")->data)[c]  = c < 5;
            ((float *)epl_program_input_named(p, "out")->data)[c] = c % 3 == 1;
        }
        CHECK_OK(t, ctx, epl_program_run(p));
    }
    for (int i = 0; i < epl_program_n_steps(p); i++)
        after += epl_program_step_executed(p, i).macs;
    CHECK_NEAR(t, before, 6 * 6 * 9 * 12 * 12, .rtol = 0);
    CHECK_NEAR(t, after, 6 * 6 * 9 * 5 * 4, .rtol = 1e-12);
    epl_program_free(p);
    epl_weights_free(none);
    epl_graph_free(g);
}

/* The kernel, the reference and the network of simple operators, with masks that are partly zero, and a relu. */
PROPERTY(gated_convolutions_agree, 24)
{
    epl_context *ctx = test_context(t);
    epl_rng     *r = t->rng;
    const int64_t c = 1 + (int64_t)epl_rng_below(r, 40), m = 1 + (int64_t)epl_rng_below(r, 70),
                  side = 3 + (int64_t)epl_rng_below(r, 9), k = 1 + 2 * (t->index % 2);
    const bool    relu = t->index % 3 == 0, in_mask = t->index % 4 != 0, bias = t->index % 5 != 0;
    epl_graph *g = epl_graph_new(ctx, "gated");
    epl_value    *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, side, side + 1, c), NULL),
              *w = epl_input(g, "w", EPL_F32, EPL_SHAPE(k, k, c, m), NULL);
    epl_value *b = bias ? epl_input(g, "b", EPL_F32, EPL_SHAPE(m), NULL) : NULL, *out = epl_input(g, "out", EPL_F32, EPL_SHAPE(1, m), NULL);
    epl_value *in = in_mask ? epl_input(g, "in", EPL_F32, EPL_SHAPE(1, c), NULL) : NULL;
    const int  stride = 1 + (int)epl_rng_below(r, 2);
    epl_value *y = epl_convolve(g, x, w, b, (epl_convolve_opts){ .stride = { stride }, .pad = (int)k / 2 });
    epl_value *gated = epl_convolve_gated(g, x, w, b, in, out, relu, epl_producer(y)), *simple[1] = { NULL };
    epl_output(g, "gated", gated);
    CHECK_OK(t, ctx, epl_op_gated_conv.expand(g, gated->producer, simple) && epl_output(g, "simple", simple[0]) && epl_graph_finish(g));
    epl_weights *none = epl_weights_new(ctx);
    epl_program *fast = epl_program_new(g, none, (epl_program_opts){ 0 }),
                *slow = epl_program_new(g, none, (epl_program_opts){ .reference = true });
    CHECK_OK(t, ctx, fast && slow);
    for (int i = 0; i < epl_program_n_inputs(fast); i++) {
        epl_tensor *v = epl_program_input(fast, i);
        epl_tensor_fill_normal(v, r, 0, 1);
        for (int64_t e = 0; v->shape.rank == 2 && e < epl_tensor_count(v); e++)
            epl_tensor_set(v, e, (double)epl_rng_below(r, 3) * 0.5);
        memcpy(epl_program_input(slow, i)->data, v->data, epl_tensor_bytes(v));
    }
    CHECK_OK(t, ctx, epl_program_run(fast) && epl_program_run(slow));
    CHECK_CLOSE(t, epl_program_output(fast, 0), epl_program_output(slow, 0), .rtol = 1e-4, .atol = 1e-4);
    CHECK_CLOSE(t, epl_program_output(fast, 0), epl_program_output(fast, 1), .rtol = 1e-4, .atol = 1e-4);
    epl_program_free(fast);
    epl_program_free(slow);
    epl_weights_free(none);
    epl_graph_free(g);
}

/* ---- training ---- */

static epl_dataset *stripes(test *t, epl_context *ctx)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(60, 12, 12, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(60));
    CHECK_OK(t, ctx, x && y);
    for (int i = 0; i < 60; i++) {
        epl_tensor_set_i64(y, i, i % 3);
        for (int k = 0; k < 144; k++)
            epl_tensor_set(x, i * 144 + k, 0.3 * epl_rng_uniform(t->rng) + 0.6 * (k / 12 % 3 == i % 3));
    }
    return epl_dataset_from_tensors_take(ctx, "stripes", x, y);
}

/* Gradients of the two losses, by whom they reach. */
PROPERTY(losses_reach_whom_they_should, 2)
{
    epl_context *ctx = test_context(t);
    const bool   joint = t->index == 1;
    epl_model   *m = new_model(t, ctx, NETWORK);
    CHECK_OK(t, ctx, epl_gates_add(m, (epl_gate_opts){ .joint = joint }) > 0 && epl_model_init(m, 6));
    epl_graph *g = epl_graph_copy(m->graph);
    epl_value *gate = epl_graph_find(g, "unit2.conv.gate.weight"), *conv = epl_graph_find(g, "unit1.conv.weight"), *logits = NULL, *dx[2];
    for (const epl_node *n = g->first; n && !gate; n = n->next) // whatever the layers are called
        if (EPL_IS(n, parameter) && epl_glob("*2*.gate.weight", epl_value_name(n->outputs[0])))
            gate = n->outputs[0];
    for (const epl_node *n = g->first; n && !conv; n = n->next)
        if (EPL_IS(n, conv))
            conv = n->inputs[1];
    CHECK(t, gate && conv);
    logits = gate->uses[0].node->outputs[0];
    epl_value *mask_loss = epl_reduce_sum(g, epl_square(g, logits), (epl_reduce_opts){ 0 });
    epl_value *task      = epl_reduce_sum(g, epl_square(g, epl_graph_output_at(g, 0)), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, task, 1, &gate, &dx[0]) && epl_gradient(g, mask_loss, 1, &conv, &dx[1]));
    epl_output(g, "task by gate", dx[0]);
    epl_output(g, "mask by conv", dx[1]);
    epl_program *p = epl_graph_finish(g) ? epl_program_new(g, m->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p));
    double sums[2] = { 0 };
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_program_output(p, 1 + i)); k++)
            sums[i] += fabs(epl_tensor_get(epl_program_output(p, 1 + i), k));
    CHECK_NEAR(t, sums[0], 0, .atol = 0);
    CHECK(t, joint ? sums[1] > 0 : sums[1] == 0);
    epl_program_free(p);
    epl_graph_free(g);
    epl_model_free(m);
}

typedef struct watched {
    uint64_t after[8];
} watched;

static bool remember(void *user, epl_trainer *t, int64_t epoch)
{
    const epl_weights *w = epl_trainer_model(t)->weights;
    uint64_t sum = 0;
    for (int i = 0; i < epl_weights_count(w); i++)
        if (!epl_glob("train.*", epl_weights_name(w, i)) && epl_glob("*.gate.weight,*.gate.bias", epl_weights_name(w, i)))
            sum = epl_hash(epl_weights_at(w, i)->data, epl_tensor_bytes(epl_weights_at(w, i)), sum);
    ((watched *)user)->after[epoch] = sum;
    return true;
}

TEST(gates_learn_and_then_rest)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, NETWORK);
    epl_dataset *d = stripes(t, ctx);
    watched      seen = { 0 };
    CHECK_OK(t, ctx, epl_gates_add(m, (epl_gate_opts){ 0 }) > 0 && epl_model_init(m, 6));
    const epl_parameter_group group = EPL_GATE_GROUP(10);
    const epl_train_hook      hooks[] = { epl_gates_hook(m, (epl_gate_train_opts){ .mass = 0.8, .epochs = 4 }),
                                          { .after_epoch = remember, .user = &seen } };
    CHECK_OK(t, ctx, hooks[0].user);
    epl_trainer *tr = epl_trainer_new(m, d, NULL, (epl_trainer_opts){ .epochs = 4, .batch = 12, .hooks = hooks, .n_hooks = 2,
                                          .optimizer = { .rate = 0.02, .momentum = 0.9, .decay = 5e-4, .groups = &group, .n_groups = 1 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    epl_trainer_free(tr);
    CHECK(t, seen.after[1] != seen.after[2] && seen.after[2] == seen.after[3] && seen.after[3] == seen.after[4]);

    // counted: what is kept, layer by layer, and what that costs
    epl_gates_report r;
    CHECK_OK(t, ctx, epl_gates_measure(m, d, (epl_gates_opts){ .mass = 0.8 }, &r));
    CHECK(t, r.n > 1 && r.agreement > 0.5 && r.agreement <= 1 && r.executed < r.macs + r.gate_macs);
    for (int i = 0; i < r.n; i++)
        CHECK(t, r.layers[i].kept >= 0 && r.layers[i].kept <= 1 + 1e-9 && r.layers[i].least10 <= r.layers[i].most10 &&
                     r.layers[i].executed <= r.layers[i].macs * (1 + 1e-9));
    epl_gates_report_release(&r);
    set_gates(m, "*.gate.bias", 1, 1, t->rng);
    CHECK_OK(t, ctx, epl_gates_measure(m, d, (epl_gates_opts){ 0 }, &r));
    CHECK_NEAR(t, r.executed, r.macs + r.gate_macs, .rtol = 1e-9);
    epl_gates_report_release(&r);
    epl_release(ctx, hooks[0].user);
    epl_dataset_free(d);
    epl_model_free(m);
}

TEST(gates_that_begin_open_see_as_many_numbers_as_wanted)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, NETWORK), *plain = epl_model_copy(m);
    epl_tensor  *x = images(t, ctx, 4), *before = outputs(t, plain, x);
    epl_dataset *d;
    epl_gates_report r;
    CHECK_OK(t, ctx, epl_gates_add(m, (epl_gate_opts){ .embedding = 48, .open = true }) > 0 && epl_model_init(m, 6));
    epl_tensor *open = outputs(t, m, x);
    CHECK_CLOSE(t, open, before, .rtol = 1e-6, .atol = 1e-6);
    static const int64_t seen[] = {
        7 * 7, 2 * 2 * 12, 2 * 2 * 12, 24, 24, 48
    }; // of 1, 12, 12, 24, 24, 48 channels: round(sqrt(48 / C)) along each axis
    int gates = 0;
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (epl_glob("*.gate.weight", epl_weights_name(m->weights, i)))
            CHECK_INT(t, epl_weights_at(m->weights, i)->shape.dim[0], seen[gates < 6 ? gates++ : 5]);
    CHECK_INT(t, gates, 6);
    CHECK_OK(t, ctx, (d = stripes(t, ctx)) && epl_gates_measure(m, d, (epl_gates_opts){ 0 }, &r));
    CHECK_NEAR(t, r.layers[0].gate_macs, 7 * 7 * 12, .rtol = 0);
    epl_gates_report_release(&r);
    epl_dataset_free(d);
    epl_tensor_free(before);
    epl_tensor_free(open);
    epl_tensor_free(x);
    epl_model_free(plain);
    epl_model_free(m);
}

TEST(forecasts_need_no_gates)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = new_model(t, ctx, NETWORK);
    epl_dataset *d = stripes(t, ctx);
    double       before = INFINITY;
    for (int i = 0; i < 3; i++) {
        epl_gates_report r;
        CHECK_OK(t, ctx, epl_gates_measure(m, d, (epl_gates_opts){ .forecast = true, .mass = 0.9 - 0.2 * i }, &r));
        CHECK_NEAR(t, r.macs, epl_graph_cost(m->graph).macs, .rtol = 1e-9);
        CHECK(t, r.executed < before);
        before = r.executed;
        epl_gates_report_release(&r);
    }
    epl_gates_report r;
    CHECK_FAILS(t, ctx, epl_gates_measure(m, d, (epl_gates_opts){ .forecast = true, .mass = 1.5 }, &r), EPL_ERR_ARGUMENT, "the mass 1.5");
    CHECK_FAILS(t, ctx, epl_gates_measure(m, d, (epl_gates_opts){ 0 }, &r), EPL_ERR_ARGUMENT, "no gates to count");
    CHECK_FAILS(t, ctx, epl_gates_hook(m, (epl_gate_train_opts){ .mass = 0, .epochs = 1 }).user != NULL, EPL_ERR_ARGUMENT, "the mass is 0");
    CHECK_FAILS(t, ctx, epl_gates_skip(m) > 0, EPL_ERR_ARGUMENT, "has 0 gates");
    epl_dataset_free(d);
    epl_model_free(m);
}

TEST(results_of_the_network_are_not_gated)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "segments");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 8, 8, 1), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "one", .conv = { .out = 4 } });
    epl_output(g, "logits", epl_conv(g, x, (epl_conv_opts){ .name = "last", .out = 2, .kernel = 1 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_FAILS(t, ctx, epl_gates_add(m, (epl_gate_opts){ .layers = "last.weight" }) > 0, EPL_ERR_ARGUMENT, "are a result of the network");
    CHECK_INT(t, epl_gates_add(m, (epl_gate_opts){ 0 }), 1);
    epl_model_free(m);
}
