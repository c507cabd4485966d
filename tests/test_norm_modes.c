/* Modes of batch norms: tune is eval computed otherwise, deploy the same function with other steps; what is folded,
 * what is not and why, what it saves. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "graph/op.h"

/* ---- one layer and one norm, everything an input ---- */

typedef struct layer_case {
    const char *name;
    epl_shape   x, w;
    epl_convolve_opts o;
    enum { CONV, TRANSPOSED, ROWS, ROWS_TRANS } kind;
} layer_case;

static const layer_case cases[] = {
    { "1x1", { 4, { 2, 5, 4, 3 } }, { 4, { 1, 1, 3, 6 } }, { .pad = 0 }, CONV },
    { "3x3, padded, strided", { 4, { 2, 6, 5, 3 } }, { 4, { 3, 3, 3, 4 } }, { .pad = 1, .stride = { 2 } }, CONV },
    { "depthwise", { 4, { 2, 5, 5, 4 } }, { 4, { 3, 3, 1, 4 } }, { .pad = 1, .groups = 4 }, CONV },
    { "grouped", { 4, { 2, 5, 5, 4 } }, { 4, { 3, 3, 2, 6 } }, { .pad = 1, .groups = 2 }, CONV },
    { "dilated", { 4, { 2, 7, 7, 2 } }, { 4, { 3, 3, 2, 3 } }, { .pad = 2, .dilation = { 2 } }, CONV },
    { "one axis", { 3, { 2, 7, 2 } }, { 3, { 3, 2, 4 } }, { .pad = 1 }, CONV },
    { "transposed", { 4, { 2, 4, 4, 3 } }, { 4, { 3, 3, 5, 3 } }, { .stride = { 2 }, .pad = 1 }, TRANSPOSED },
    { "transposed and grouped", { 4, { 2, 4, 4, 4 } }, { 4, { 2, 2, 3, 4 } }, { .groups = 2 }, TRANSPOSED },
    { "linear", { 2, { 6, 5 } }, { 2, { 5, 4 } }, { .pad = 0 }, ROWS },
    { "linear, transposed", { 2, { 6, 5 } }, { 2, { 4, 5 } }, { .pad = 0 }, ROWS_TRANS },
};

static int64_t out_channels(const layer_case *c)
{
    return c->kind == TRANSPOSED ? c->w.dim[c->w.rank - 2] * (c->o.groups ? c->o.groups : 1)
                                 : c->w.dim[c->kind == ROWS_TRANS ? 0 : c->w.rank - 1];
}

enum { X, W, B, SCALE, SHIFT, MEAN, VAR, R, N_IN };

/* The inputs of N_IN, the loss sum(r y), and its gradients by the first five (X .. SHIFT); without bias or factors
 * zeros and ones. */
static epl_graph *layer_and_norm(test *t, epl_context *ctx, const layer_case *c, bool bias, bool affine, bool tune)
{
    static const char *const names[N_IN] = { "x", "w", "b", "scale", "shift", "mean", "var", "r" };
    epl_graph *g = epl_graph_new(ctx, c->name);
    epl_value *in[N_IN], *y, *dx[5];
    const epl_shape channels = EPL_SHAPE(out_channels(c));
    for (int i = 0; i < N_IN; i++)
        in[i] = epl_input(g, names[i], EPL_F64, i == X ? c->x : i == W ? c->w : i == R ? EPL_SCALAR : channels, NULL);
    epl_value *one = epl_expand(g, epl_scalar(g, EPL_F64, 1), channels), *zero = epl_expand(g, epl_scalar(g, EPL_F64, 0), channels);
    epl_value *b = bias ? in[B] : NULL;
    y = c->kind == CONV         ? epl_convolve(g, in[X], in[W], b, c->o)
        : c->kind == TRANSPOSED ? epl_convolve_transpose(g, in[X], in[W], b, c->o)
                                : epl_multiply_rows(g, in[X], in[W], b, c->kind == ROWS_TRANS);
    y = epl_normalize_batch(g, y, affine ? in[SCALE] : one, affine ? in[SHIFT] : zero, in[MEAN], in[VAR], 1e-3, 0.9);
    epl_output(g, "y", y);
    epl_fold_report report = { 0 };
    if (tune) {
        CHECK_OK(t, ctx, epl_tune_batch_norms(g, NULL, &report));
        CHECK(t, report.n == 1 && report.folded == 1 && !report.pairs[0].skipped);
        epl_fold_report_release(ctx, &report);
    }
    y = epl_graph_output_at(g, 0);
    epl_value *loss = epl_reduce_sum(g, epl_mul(g, epl_square(g, y), in[R]), (epl_reduce_opts){ 0 });
    epl_output(g, "loss", loss);
    epl_value *by[5] = { in[X], in[W], b ? b : in[X], affine ? in[SCALE] : in[X], affine ? in[SHIFT] : in[X] };
    CHECK_OK(t, ctx, epl_gradient(g, loss, 5, by, dx));
    for (int i = 0; i < 5; i++)
        epl_output(g, names[i], dx[i]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    return g;
}

static void draw_inputs(test *t, const epl_graph *g, epl_tensor **in)
{
    for (int i = 0; i < N_IN; i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        in[i] = epl_tensor_new(epl_graph_context(g), EPL_F64, epl_shape_of(v));
        for (int64_t k = 0; k < epl_tensor_count(in[i]); k++)
            epl_tensor_set(in[i], k,
                           i == VAR ? 0.1 + 3 * (double)epl_rng_uniform(t->rng)
                           : i == R ? 0.7
                                    : 2 * (double)epl_rng_uniform(t->rng) - 1);
    }
}

enum { N_OUT = 7 };

static void interpret(test *t, const epl_graph *g, epl_tensor *const *in, epl_tensor **out)
{
    CHECK_OK(t, epl_graph_context(g), epl_interpret(g, NULL, (const epl_tensor *const *)in, out));
}

static void free_all(epl_tensor **a, int n)
{
    for (int i = 0; i < n; i++)
        epl_tensor_free(a[i]);
}

static double loss_at(test *t, const epl_graph *g, epl_tensor *const *in)
{
    epl_tensor *out[N_OUT];
    interpret(t, g, in, out);
    const double loss = epl_tensor_get(out[1], 0);
    free_all(out, N_OUT);
    return loss;
}

/* Forward and all gradients, with and without bias and factors; one element of each gradient against a difference. */
PROPERTY(tune_is_eval_with_the_same_gradients, EPL_COUNT(cases) * 4)
{
    epl_context      *ctx = test_context(t);
    const layer_case *c = &cases[t->index / 4];
    const bool        bias = t->index & 1, affine = t->index & 2;
    epl_graph  *eval = layer_and_norm(t, ctx, c, bias, affine, false), *tune = layer_and_norm(t, ctx, c, bias, affine, true);
    epl_tensor *in[N_IN], *a[N_OUT], *b[N_OUT];
    draw_inputs(t, eval, in);
    interpret(t, eval, in, a);
    interpret(t, tune, in, b);
    for (int i = 0; i < N_OUT; i++)
        CHECK_CLOSE(t, b[i], a[i], .rtol = 1e-10, .atol = 1e-10);
    for (int i = 0; i < 5; i++) {
        if ((i == B && !bias) || (i >= SCALE && !affine))
            continue;
        const int64_t k = (int64_t)epl_rng_below(t->rng, (uint64_t)epl_tensor_count(in[i]));
        const double  at = epl_tensor_get(in[i], k), h = 1e-5;
        epl_tensor_set(in[i], k, at + h);
        const double more = loss_at(t, tune, in);
        epl_tensor_set(in[i], k, at - h);
        const double less = loss_at(t, tune, in);
        epl_tensor_set(in[i], k, at);
        CHECK_NEAR(t, epl_tensor_get(b[2 + i], k), (more - less) / (2 * h), .rtol = 1e-6, .atol = 1e-8);
    }
    free_all(in, N_IN);
    free_all(a, N_OUT);
    free_all(b, N_OUT);
    epl_graph_free(eval);
    epl_graph_free(tune);
}

/* X = 3, w = 2, b = 1, mean 4, var 3, epsilon 1, scale 4, shift 0.5: y = 6.5, and for G = 1 the gradients 4, 6, 2, 1.5, 1. */
TEST(one_number_by_hand)
{
    epl_context *ctx = test_context(t);
    static const double values[7] = { 3, 2, 1, 4, 0.5, 4, 3 }, expected[5] = { 4, 6, 2, 1.5, 1 };
    epl_tensor *in[7], *out[6];
    epl_graph  *g = epl_graph_new(ctx, "hand");
    epl_value  *v[7], *dx[5];
    for (int i = 0; i < 7; i++) {
        const epl_shape shape = i < 2 ? EPL_SHAPE(1, 1) : EPL_SHAPE(1);
        v[i]  = epl_input(g, (const char *const[]){ "x", "w", "b", "scale", "shift", "mean", "var" }[i], EPL_F64, shape, NULL);
        in[i] = epl_tensor_new(ctx, EPL_F64, shape);
        epl_tensor_set(in[i], 0, values[i]);
    }
    epl_output(g, "y", epl_normalize_batch(g, epl_multiply_rows(g, v[0], v[1], v[2], false), v[3], v[4], v[5], v[6], 1, 0.9));
    CHECK_OK(t, ctx, epl_tune_batch_norms(g, NULL, NULL));
    epl_value *y = epl_reduce_sum(g, epl_graph_output_at(g, 0), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, y, 5, v, dx));
    for (int i = 0; i < 5; i++)
        epl_output(g, (const char *const[]){ "dx", "dw", "db", "dscale", "dshift" }[i], dx[i]);
    interpret(t, g, in, out);
    CHECK_NEAR(t, epl_tensor_get(out[0], 0), 6.5, .atol = 1e-14);
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(t, epl_tensor_get(out[1 + i], 0), expected[i], .atol = 1e-14);
    free_all(in, 7);
    free_all(out, 6);
    epl_graph_free(g);
}

/* ---- networks ---- */

/* conv, norm, relu twice, and a classifier; statistics that are not the starting ones. */
static epl_model *network(test *t, epl_context *ctx, bool twice_read)
{
    epl_graph *g = epl_graph_new(ctx, "net");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 12, 12, 1), "N,,,");
    for (int i = 1; i <= 2; i++) {
        epl_scope_push(g, "layer%d", i);
        epl_value *z = epl_conv(g, x, (epl_conv_opts){ .out = 4 * i, .pad = 1 });
        x = epl_relu(g, epl_batch_norm(g, z, (epl_norm_opts){ 0 }));
        if (twice_read && i == 2)
            x = epl_add(g, x, z);
        epl_scope_pop(g);
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 3 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        for (int64_t k = 0; k < epl_tensor_count(w) && epl_glob("*norm.*", epl_weights_name(m->weights, i)); k++)
            epl_tensor_set(w, k, 0.5 + (double)epl_rng_uniform(t->rng));
    }
    return m;
}

typedef struct stepper {
    epl_model   *m;
    epl_program *p;
} stepper;

static stepper step_of(test *t, const epl_model *m, epl_step_opts o)
{
    stepper    s = { .m = epl_model_copy(m) };
    epl_graph *g = s.m ? epl_train_graph(s.m, s.m->weights, o, 0, NULL) : NULL;
    CHECK_OK(t, m->ctx, g != NULL);
    s.p = epl_program_new(g, s.m->weights, (epl_program_opts){ 0 });
    epl_graph_free(g);
    CHECK_OK(t, m->ctx, s.p != NULL);
    epl_rng r = epl_rng_at(9, 9);
    epl_tensor_fill_normal(epl_program_input_named(s.p, "x"), &r, 0, 1);
    for (int64_t i = 0; i < o.batch; i++) {
        epl_tensor_set_i64(epl_program_input_named(s.p, "target"), i, i % 3);
        epl_tensor_set(epl_program_input_named(s.p, "weights"), i, 1);
    }
    epl_tensor_set(epl_program_input_named(s.p, "rate"), 0, 0.05);
    return s;
}

static void stepper_free(stepper *s)
{
    epl_program_free(s->p);
    epl_model_free(s->m);
}

TEST(twenty_steps_of_tune_and_of_eval_end_alike)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx, false);
    const epl_optimizer_opts sgd = { .momentum = 0.9, .decay = 1e-3, .decay_all = true };
    stepper eval = step_of(t, m, (epl_step_opts){ .batch = 6, .optimizer = sgd, .norms = { EPL_NORM_EVAL, NULL } });
    stepper tune = step_of(t, m, (epl_step_opts){ .batch = 6, .optimizer = sgd, .norms = { EPL_NORM_TUNE, NULL } });
    for (int i = 0; i < 20; i++)
        CHECK_OK(t, ctx, epl_program_run(eval.p) && epl_program_run(tune.p));
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char       *name = epl_weights_name(m->weights, i);
        const epl_tensor *before = epl_weights_at(m->weights, i), *a = epl_weights_find(eval.m->weights, name);
        CHECK_CLOSE(t, epl_weights_find(tune.m->weights, name), a, .rtol = 1e-4, .atol = 1e-5);
        CHECK(t, epl_tensor_equal(epl_weights_find(tune.m->weights, name), before) == epl_glob("*.running_*", name));
    }
    stepper_free(&eval);
    stepper_free(&tune);
    epl_model_free(m);
}

/* Bytes of images that are made before the loss and read after it, but the input. */
static int64_t kept_bytes(test *t, const epl_program *p)
{
    const epl_graph *g = epl_program_graph(p);
    int64_t          at = 0, bytes = 0;
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = at++;
    epl_value *out = epl_graph_find(g, "loss");
    CHECK(t, out != NULL);
    const int64_t loss = out->producer->tag;
    for (const epl_node *n = g->first; n && n->tag <= loss; n = n->next)
        for (int i = 0; i < n->n_outputs; i++) {
            const epl_value *v = n->outputs[i];
            bool after = false;
            for (size_t u = 0; u < v->n_uses; u++)
                after = after || v->uses[u].node->tag > loss;
            if (after && v->shape.rank == 4 && v->shape.dim[1] == 12 && !EPL_IS(n, input))
                bytes += epl_shape_count(v->shape) * 4;
        }
    return bytes;
}

TEST(what_eval_keeps_for_the_norm_tune_does_not)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx, false), *folded = epl_model_copy(m);
    epl_program_memory eval_memory, tune_memory;
    stepper eval = step_of(t, m, (epl_step_opts){ .batch = 6, .norms = { EPL_NORM_EVAL, NULL } });
    stepper tune = step_of(t, m, (epl_step_opts){ .batch = 6, .norms = { EPL_NORM_TUNE, NULL } });
    CHECK_OK(t, ctx, epl_deploy_batch_norms(folded, NULL, NULL));
    stepper deploy = step_of(t, folded, (epl_step_opts){ .batch = 6 });
    CHECK_INT(t, kept_bytes(t, eval.p) - kept_bytes(t, tune.p), 6 * 12 * 12 * (4 + 8) * 4); // Z of both layers
    CHECK_INT(t, kept_bytes(t, tune.p), kept_bytes(t, deploy.p));
    eval_memory = epl_program_memory_of(eval.p);
    tune_memory = epl_program_memory_of(tune.p);
    CHECK(t, tune_memory.arena < eval_memory.arena);
    stepper_free(&eval);
    stepper_free(&tune);
    stepper_free(&deploy);
    epl_model_free(folded);
    epl_model_free(m);
}

static epl_tensor *logits(test *t, const epl_model *m)
{
    epl_tensor *x = epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(1, 12, 12, 1)), *y = NULL;
    epl_rng     r = epl_rng_at(4, 4);
    epl_tensor_fill_normal(x, &r, 0, 1);
    CHECK_OK(t, m->ctx, epl_interpret(m->graph, m->weights, (const epl_tensor *const *)&x, &y));
    epl_tensor_free(x);
    return y;
}

TEST(a_deployed_model_computes_the_same_without_statistics)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx, true), *folded = epl_model_copy(m);
    epl_fold_report r = { 0 };
    CHECK_OK(t, ctx, epl_deploy_batch_norms(folded, NULL, &r) && epl_model_check(folded) && epl_graph_verify(folded->graph));
    CHECK(t, r.n == 2 && r.folded == 1 && !r.pairs[0].skipped);
    CHECK_STR(t, r.pairs[0].norm, "layer1.norm");
    CHECK_STR(t, r.pairs[1].norm, "layer2.norm");
    CHECK_STR(t, r.pairs[1].skipped, "what the layer before it computes is read elsewhere, too");
    CHECK(t, !epl_weights_find(folded->weights, "layer1.norm.running_var") && epl_weights_find(folded->weights, "layer2.norm.running_var"));
    epl_tensor *a = logits(t, m), *b = logits(t, folded);
    CHECK_CLOSE(t, b, a, .rtol = 1e-5, .atol = 1e-5);
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_fold_report_release(ctx, &r);
    epl_model_free(folded);
    epl_model_free(m);
}

/* With the same gradient arriving, what a step changes in the layer's effective weight a w differs by 1 / a^2. */
TEST(a_step_of_deploy_is_larger_by_the_inverse_square_of_the_factor)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "one");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 12, 12, 2), "N,,,");
    x = epl_batch_norm(g, epl_conv(g, x, (epl_conv_opts){ .out = 3, .no_bias = true }), (epl_norm_opts){ 0 });
    epl_output(g, "logits", epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(1, 2) }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    for (int k = 0; k < 3; k++) {
        epl_tensor_set(epl_weights_find(m->weights, "norm.weight"), k, 0.5 + 0.5 * k);
        epl_tensor_set(epl_weights_find(m->weights, "norm.running_var"), k, 3 - k);
    }
    epl_model *folded = epl_model_copy(m);
    CHECK_OK(t, ctx, epl_deploy_batch_norms(folded, NULL, NULL));
    const epl_optimizer_opts sgd = { .groups = &(epl_parameter_group){ .pattern = "norm.*", .freeze = true }, .n_groups = 1 };
    stepper                  eval = step_of(t, m, (epl_step_opts){ .batch = 6, .optimizer = sgd }),
            deploy = step_of(t, folded, (epl_step_opts){ .batch = 6, .optimizer = sgd });
    CHECK_OK(t, ctx, epl_program_run(eval.p) && epl_program_run(deploy.p));
    const epl_tensor *w0 = epl_weights_find(m->weights, "conv.weight"), *w1 = epl_weights_find(eval.m->weights, "conv.weight");
    const epl_tensor *d0 = epl_weights_find(folded->weights, "conv.weight"), *d1 = epl_weights_find(deploy.m->weights, "conv.weight");
    for (int k = 0; k < 3; k++) {
        const double scale = 0.5 + 0.5 * k, var = 3 - k + 1e-5, a = scale / sqrt(var);
        double eval_step = 0, deploy_step = 0;
        for (int64_t i = k; i < epl_tensor_count(w0); i += 3) {
            eval_step += fabs(a * (epl_tensor_get(w1, i) - epl_tensor_get(w0, i)));
            deploy_step += fabs(epl_tensor_get(d1, i) - epl_tensor_get(d0, i));
        }
        CHECK_NEAR(t, deploy_step / eval_step, var / (scale * scale), .rtol = 1e-4);
    }
    stepper_free(&eval);
    stepper_free(&deploy);
    epl_model_free(folded);
    epl_model_free(m);
}

/* ---- what is refused ---- */

static bool builds(const epl_model *m, epl_norm_modes norms)
{
    epl_weights *w = epl_weights_copy(m->ctx, m->weights);
    epl_graph   *g = epl_train_graph(m, w, (epl_step_opts){ .batch = 2, .norms = norms }, 0, NULL);
    const bool   ok = g != NULL;
    epl_graph_free(g);
    epl_weights_free(w);
    return ok;
}

TEST(impossible_modes_are_refused)
{
    epl_context   *ctx = test_context(t);
    epl_model     *m = network(t, ctx, false);
    epl_norm_modes modes;
    CHECK_FAILS(t, ctx, builds(m, (epl_norm_modes){ EPL_NORM_TUNE, "stage9.*" }), EPL_ERR_ARGUMENT,
                "no batch norm 'stage9.*' for mode 'tune'");
    CHECK_FAILS(t, ctx, builds(m, (epl_norm_modes){ EPL_NORM_DEPLOY, NULL }), EPL_ERR_ARGUMENT, "a change of the model");
    CHECK_FAILS(t, ctx, epl_norm_modes_parse(ctx, "tuned", &modes), EPL_ERR_ARGUMENT, "'tuned' is no mode of batch norms");
    CHECK_OK(t, ctx, epl_norm_modes_parse(ctx, "eval:layer1.*", &modes));
    CHECK(t, modes.mode == EPL_NORM_EVAL && builds(m, modes));
    CHECK_STR(t, modes.pattern, "layer1.*");
    epl_graph *g = epl_graph_copy(m->graph);
    CHECK_OK(t, ctx, epl_set_training(g));
    CHECK_FAILS(t, ctx, epl_tune_batch_norms(g, "layer2.*", NULL), EPL_ERR_ARGUMENT, "'layer2.norm' takes the batch's statistics");
    epl_graph_free(g);
    CHECK_OK(t, ctx, epl_deploy_batch_norms(m, NULL, NULL));
    CHECK_FAILS(t, ctx, builds(m, (epl_norm_modes){ EPL_NORM_TRAIN, NULL }), EPL_ERR_ARGUMENT,
                "their statistics are gone, mode 'train' needs them");
    CHECK(t, builds(m, (epl_norm_modes){ EPL_NORM_AUTO, NULL }));
    epl_model_free(m);
}

/* Norms of frozen parameters tune by themselves, the others train. */
TEST(frozen_norms_tune)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx, false);
    epl_weights *w = epl_weights_copy(ctx, m->weights);
    const epl_optimizer_opts o = { .groups = &(epl_parameter_group){ .pattern = "layer1.*", .freeze = true }, .n_groups = 1 };
    epl_graph *g = epl_train_graph(m, w, (epl_step_opts){ .batch = 2, .optimizer = o }, 0, NULL);
    CHECK_OK(t, ctx, g != NULL);
    int neutral = 0, trained = 0;
    for (const epl_node *n = g->first; n; n = n->next) {
        neutral += EPL_IS(n, batch_norm);
        trained += EPL_IS(n, batch_norm_train);
    }
    CHECK(t, neutral == 0 && trained == 1);
    epl_graph_free(g);
    epl_weights_free(w);
    epl_model_free(m);
}
