/* Compiled networks against the library: built by the system's compiler with every warning an error, run, compared. All
 * operators, all targets and both compilers are in test_compile_sweep. */
#include "common/compiled.h"
#include "compile/emit.h"

#include <espalier/grad.h>

#include <unistd.h>

/* The builders; ops.h cannot stand beside the compiler's own headers, whose epl_step is a step of a plan. */
#define epl_step epl_step_builder
#include <espalier/ops.h>
#undef epl_step

static epl_model *finished(test *t, epl_graph *g)
{
    epl_context *ctx = epl_graph_context(g);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    return m;
}

static epl_value *weight(epl_graph *g, const char *name, epl_shape s) { return epl_parameter(g, name, EPL_F32, s, EPL_INIT_NORMAL, 0.3); }

/* A convolutional network with normalisation, a residual sum, pools and a softmax. */
static epl_model *conv_net(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "conv net");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 12, 12, 3), "N,,,");
    epl_value *h = epl_convolve(g, x, weight(g, "stem.weight", EPL_SHAPE(3, 3, 3, 20)), weight(g, "stem.bias", EPL_SHAPE(20)),
                                (epl_convolve_opts){ .pad = 1 });
    h = epl_normalize_batch(g, h, weight(g, "bn.scale", EPL_SHAPE(20)), weight(g, "bn.bias", EPL_SHAPE(20)),
                            epl_state(g, "bn.mean", EPL_F32, EPL_SHAPE(20), EPL_INIT_NORMAL, 0.1),
                            epl_state(g, "bn.var", EPL_F32, EPL_SHAPE(20), EPL_INIT_ONES, 0), 0, 0.9);
    h = epl_max_pool(g, epl_relu(g, h), (epl_pool_opts){ .kernel = { 2, 2 } });
    epl_value *d = epl_convolve(g, h, weight(g, "dw.weight", EPL_SHAPE(3, 3, 1, 20)), NULL, (epl_convolve_opts){ .pad = 1, .groups = 20 });
    d = epl_multiply_rows(g, epl_hard_swish(g, d), weight(g, "pw.weight", EPL_SHAPE(20, 20)), NULL, false);
    h = epl_global_average_pool(g, epl_relu(g, epl_add(g, h, d)));
    h = epl_multiply_rows(g, h, weight(g, "fc.weight", EPL_SHAPE(20, 10)), weight(g, "fc.bias", EPL_SHAPE(10)), false);
    epl_output(g, "logits", h);
    epl_output(g, "p", epl_softmax(g, h, -1));
    return finished(t, g);
}

TEST(a_conv_net_gives_the_same_bits)
{
    epl_context *ctx = test_context(t, .n_threads = 2);
    epl_model   *m   = conv_net(t, ctx);
    epl_artifact made;
    const epl_binding batch = { "N", 3 };
    const epl_compile_opts o = { .bindings = &batch, .n_bindings = 1 };
    const epl_verify_result r = compiled_check(t, m, o, (epl_verify_opts){ .bench_runs = 5 }, &made);
    CHECK_INT(t, r.n_samples, 16);
    CHECK_INT(t, r.n_outputs, 2);
    CHECK_STR(t, r.outputs[1].name, "p");
    CHECK_INT(t, r.outputs[0].n_different + r.outputs[1].n_different, 0);
    CHECK(t, r.latency_us > 0 && r.build_s > 0);
    CHECK(t, made.arena > 3 * 12 * 12 * 20 * 4 && made.weights > 20 * 20 * 4 && made.state == 0);
    epl_model_free(m);
}

/* Samples given by the caller; weights in a file. */
/* Nothing needs an arena but a tensor without elements, which is still no absent one. */
TEST(tensors_without_elements_compile)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "empty");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(3, 4), NULL);
    epl_output(g, "none", epl_trilu(g, epl_slice_axis(g, x, 1, 2, 2), true, 0));
    epl_model *m = finished(t, g);
    epl_artifact made;
    const epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ 0 }, (epl_verify_opts){ 0 }, &made);
    CHECK_INT(t, r.n_outputs, 1);
    CHECK_INT(t, made.arena, 0);
    epl_model_free(m);
}

TEST(samples_can_be_given_and_weights_stored_in_a_file)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = conv_net(t, ctx);
    epl_tensor  *x   = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(40, 12, 12, 3));
    epl_tensor_fill_uniform(x, t->rng, 0, 1);
    const epl_verify_opts v = { .n_inputs = 1, .inputs = (const epl_tensor *const[]){ x } };
    const epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ .weights = EPL_WEIGHTS_FILE }, v, NULL);
    CHECK_INT(t, r.n_samples, 40);
    compiled_within(t, &r, 0);
    size_t bytes;
    char  *text = test_read_file(t, test_temp(t, "network/Makefile"), &bytes);
    CHECK(t, !strstr(text, "model_weights") && epl_file_exists(test_temp(t, "network/model.weights")));
    free(text);
    epl_tensor_free(x);
    epl_model_free(m);
}

/* ---- control flow ---- */

static epl_graph *affine_region(epl_graph *g, epl_shape shape, double a, bool twice)
{
    epl_graph *r = epl_region_new(g);
    epl_value *x = epl_input(r, "x", EPL_F32, shape, NULL), *w = epl_input(r, "w", EPL_F32, EPL_SHAPE(shape.dim[1], shape.dim[1]), NULL);
    epl_value *y = epl_tanh(r, epl_multiply_rows(r, x, w, NULL, false));
    y = twice ? epl_multiply_rows(r, y, w, NULL, true) : y;
    epl_output(r, "y", epl_add(r, y, epl_scalar(r, EPL_F32, a)));
    return r;
}

/* h := tanh(h w) + x, three times or until its sum exceeds a limit; every h is a scan. */
static epl_graph *loop_body(epl_graph *g, epl_shape shape)
{
    epl_graph *r = epl_region_new(g);
    epl_input(r, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_input(r, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *h = epl_input(r, "h", EPL_F32, shape, NULL), *x = epl_input(r, "x", EPL_F32, shape, NULL);
    epl_value *w = epl_input(r, "w", EPL_F32, EPL_SHAPE(shape.dim[1], shape.dim[1]), NULL);
    epl_value *next = epl_add(r, epl_tanh(r, epl_multiply_rows(r, h, w, NULL, false)), x);
    epl_value *sum  = epl_reduce_sum(r, epl_abs(r, next), (epl_reduce_opts){ 0 });
    epl_output(r, "go", epl_less(r, sum, epl_scalar(r, EPL_F32, 40)));
    epl_output(r, "h", next);
    epl_output(r, "scan", epl_square(r, next));
    return r;
}

static epl_model *dynamic_net(test *t, epl_context *ctx)
{
    const epl_shape shape = EPL_SHAPE(2, 6);
    epl_graph *g = epl_graph_new(ctx, "dynamic");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 5, 6), NULL), *out[4] = { NULL };
    epl_value *which = epl_input(g, "which", EPL_I64, EPL_SCALAR, NULL);
    epl_value *h, *c, *w = weight(g, "w", EPL_SHAPE(6, 6));
    epl_value *y = epl_recur_lstm(g, x, weight(g, "lstm.w", EPL_SHAPE(1, 6, 24)), weight(g, "lstm.r", EPL_SHAPE(1, 6, 24)),
                                  weight(g, "lstm.b", EPL_SHAPE(1, 48)), (epl_recurrent_opts){ 0 }, &h, &c);
    h = epl_reshape(g, h, shape);
    epl_value *positive = epl_greater(g, epl_reduce_sum(g, h, (epl_reduce_opts){ 0 }), epl_scalar(g, EPL_F32, 0));
    epl_value *captures[2] = { h, w };
    epl_if(g, positive, affine_region(g, shape, 1, false), affine_region(g, shape, -1, true), 2, captures, out);
    epl_output(g, "if", out[0]);
    epl_graph *regions[3] = { affine_region(g, shape, 10, false), affine_region(g, shape, 20, true), affine_region(g, shape, 30, false) };
    epl_switch(g, which, 3, regions, 2, captures, out);
    epl_output(g, "switch", out[0]);
    epl_loop(g, 7, NULL, 1, (epl_value *const[]){ h }, loop_body(g, shape), 2, captures, out);
    epl_output(g, "loop", out[0]);
    epl_output(g, "scan", out[1]);
    epl_output(g, "made", out[2]);
    epl_output(g, "y", y);
    epl_output(g, "order", epl_cast(g, epl_mul(g, which, which), EPL_I32));
    return finished(t, g);
}

TEST(control_flow_stays_control_flow)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = dynamic_net(t, ctx);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(30, 2, 5, 6)), *which = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(30));
    epl_tensor_fill_normal(x, t->rng, 0, 2);
    for (int i = 0; i < 30; i++)
        epl_tensor_set_i64(which, i, i % 5 - 1); // beyond both ends too
    const epl_verify_opts   v = { .n_inputs = 2, .inputs = (const epl_tensor *const[]){ x, which } };
    const epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ 0 }, v, NULL);
    compiled_within(t, &r, 0);
    size_t bytes;
    char  *text = test_read_file(t, test_temp(t, "network/model.c"), &bytes);
    CHECK(t, strstr(text, "    if (*(const unsigned char *)") && strstr(text, "switch (index_") && strstr(text, "for (; done_"));
    CHECK(t, !strstr(text, "_pack)(")); // weights that regions read are packed already
    free(text);
    epl_tensor_free(x);
    epl_tensor_free(which);
    epl_model_free(m);
}

/* ---- sparse weights ---- */

static void prune(test *t, epl_tensor *w, int percent)
{
    for (int64_t i = 0; i < epl_tensor_count(w); i++)
        if ((int)epl_rng_below(t->rng, 100) < percent)
            epl_tensor_set(w, i, 0);
}

TEST(sparse_weights_are_baked_as_lists)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "sparse");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 14, 14, 8), NULL);
    epl_value *h = epl_relu(g, epl_convolve(g, x, weight(g, "a", EPL_SHAPE(3, 3, 8, 48)), weight(g, "b", EPL_SHAPE(48)),
                                            (epl_convolve_opts){ .pad = 1 }));
    h = epl_tanh(g, epl_multiply_rows(g, h, weight(g, "c", EPL_SHAPE(32, 48)), NULL, true));
    epl_output(g, "y", epl_multiply_rows(g, h, weight(g, "d", EPL_SHAPE(32, 16)), NULL, false)); // stays dense
    epl_model *m = finished(t, g);
    prune(t, epl_weights_find(m->weights, "a"), 90);
    prune(t, epl_weights_find(m->weights, "c"), 95);
    epl_artifact sparse, dense;
    epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ 0 }, (epl_verify_opts){ .n_samples = 3 }, &sparse);
    compiled_within(t, &r, 0);
    size_t bytes;
    char  *text = test_read_file(t, test_temp(t, "network/model.c"), &bytes);
    CHECK(t, strstr(text, "EPL_K(sparse_conv)(") && strstr(text, "EPL_K(gemm)(") && !strstr(text, "EPL_K(conv)("));
    CHECK(t, !strstr(text, "sparse_pack"));
    free(text);
    CHECK_OK(t, ctx, epl_compile(m, test_temp(t, "dense"), (epl_compile_opts){ .dense = true }, &dense));
    CHECK(t, sparse.weights < dense.weights / 3);
    epl_model_free(m);
}

/* ---- training ---- */

/* One step of gradient descent with momentum; the loss falls as the compiled step is run again and again. */
TEST(a_training_step_compiles)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "step");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(16, 6), NULL), *label = epl_input(g, "label", EPL_I32, EPL_SHAPE(16), NULL);
    epl_value   *w[2] = { weight(g, "w1", EPL_SHAPE(6, 20)), weight(g, "w2", EPL_SHAPE(20, 2)) }, *dw[2];
    epl_value   *h    = epl_multiply_rows(g, epl_relu(g, epl_multiply_rows(g, x, w[0], NULL, false)), w[1], NULL, false);
    epl_value   *loss = epl_softmax_cross_entropy(g, h, label, (epl_cross_entropy_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, loss, 2, w, dw));
    for (int i = 0; i < 2; i++) {
        epl_value *v    = epl_state(g, i ? "v2" : "v1", EPL_F32, epl_shape_of(w[i]), EPL_INIT_ZEROS, 0);
        epl_value *next = epl_add(g, epl_mul(g, v, epl_scalar(g, EPL_F32, 0.9)), dw[i]);
        epl_update(g, v, next);
        epl_update(g, w[i], epl_sub(g, w[i], epl_mul(g, next, epl_scalar(g, EPL_F32, 0.1))));
    }
    epl_output(g, "loss", loss);
    epl_model *m = finished(t, g);
    epl_artifact made;
    const epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ 0 }, (epl_verify_opts){ .n_samples = 20 }, &made);
    compiled_within(t, &r, 0);
    CHECK(t, made.state >= 2 * (6 * 20 + 20 * 2) * 4);
    epl_model_free(m);
}

/* ---- text ---- */

/* What is printed for a small network; kernels and weights left out. */
TEST(printed_c_is_what_it_was)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "tiny */ net");
    epl_value   *x = epl_input(g, "image-1", EPL_F32, EPL_SHAPE(1, 6, 6, 3), NULL),
              *cold = epl_input(g, "int", EPL_BOOL, EPL_SHAPE(4), NULL);
    epl_scope_push(g, "stem");
    epl_value *h = epl_convolve(g, x, weight(g, "weight", EPL_SHAPE(3, 3, 3, 4)), weight(g, "bias", EPL_SHAPE(4)),
                                (epl_convolve_opts){ .stride = { 2 } });
    epl_scope_pop(g);
    h = epl_where(g, cold, epl_leaky_relu(g, h, 0.1), epl_mul(g, h, epl_scalar(g, EPL_F32, 0.5)));
    epl_output(g, "y", epl_cumsum(g, h, 1, (epl_cumsum_opts){ 0 }));
    epl_output(g, "y", h);
    epl_model *m = finished(t, g);
    CHECK_OK(t, ctx, epl_compile(m, test_temp(t, "tiny"), (epl_compile_opts){ .name = "tiny", .target = "generic" }, NULL));
    epl_text all = EPL_TEXT(ctx);
    static const char *const files[] = { "tiny/tiny.h", "tiny/tiny.c" };
    for (size_t i = 0; i < EPL_COUNT(files); i++) {
        size_t bytes;
        char  *text = test_read_file(t, test_temp(t, files[i]), &bytes);
        epl_text_add(&all, text);
        free(text);
    }
    CHECK_GOLDEN(t, "compiled_tiny.c", epl_text_str(&all));
    epl_text_release(&all);
    epl_model_free(m);
}

/* The name of a reference kernel is the name of one function in one file. */
PROPERTY(every_reference_kernel_is_found, epl_n_ops)
{
    const epl_op *op = epl_op_at(t->index);
    if (op->ref && !epl_reference_file(op))
        FAIL(t, "operator %s: no reference part defines %s", op->name, op->ref_name);
}

/* What has no elements is not computed, and leaves no function behind that nobody calls. */
TEST(empty_results_leave_no_function)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "empty");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(3, 4), NULL);
    epl_value   *sum = epl_reduce_sum(g, epl_exp(g, epl_slice_axis(g, x, 0, 1, 1)), (epl_reduce_opts){ EPL_AXES(0) });
    epl_output(g, "y", epl_concat(g, 2, (epl_value *[]){ sum, epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(0) }) }, 0));
    epl_model        *m   = finished(t, g);
    const char       *dir = test_temp(t, "empty");
    epl_verify_result r;
    CHECK_OK(t, ctx, epl_compile(m, dir, (epl_compile_opts){ 0 }, NULL));
    CHECK_OK(t, ctx, epl_verify_artifact(m, dir, (epl_compile_opts){ 0 }, (epl_verify_opts){ .flags = "-Wall -Wextra -Werror" }, &r));
    CHECK(t, r.max_abs == 0);
    epl_model_free(m);
}

/* The folder says how the network is called; nothing is built, or cleaned, in a folder of something else. */
TEST(a_folder_says_what_it_holds)
{
    epl_context      *ctx = test_context(t);
    epl_model        *m = conv_net(t, ctx);
    const char       *dir = test_temp(t, "named"), *other = test_temp(t, "other");
    epl_artifact      made;
    epl_verify_result r;
    CHECK_OK(t, ctx, epl_compile(m, dir, (epl_compile_opts){ .name = "three" }, &made));
    CHECK_OK(t, ctx, epl_verify_artifact(m, dir, (epl_compile_opts){ 0 }, (epl_verify_opts){ .n_samples = 2 }, &r));
    CHECK_NEAR(t, r.max_abs, 0, .atol = 0);
    char path[512];
    CHECK_OK(t, ctx, epl_make_directories(ctx, other));
    snprintf(path, sizeof path, "%s/Makefile", other);
    CHECK_OK(t, ctx, epl_write_file(ctx, path, "clean:\n\ttouch cleaned\n", 21));
    CHECK_FAILS(t, ctx, epl_verify_artifact(m, other, (epl_compile_opts){ 0 }, (epl_verify_opts){ 0 }, &r), EPL_ERR_FORMAT,
                "holds no compiled network");
    snprintf(path, sizeof path, "%s/cleaned", other);
    CHECK(t, !epl_file_exists(path));
    epl_model_free(m);
}

TEST(refusals_are_sentences)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = conv_net(t, ctx);
    const char  *dir = test_temp(t, "refused");
    const epl_binding wrong = { "length", 3 };
    epl_verify_result r;
    CHECK_FAILS(t, ctx, epl_compile(m, dir, (epl_compile_opts){ .name = "my net" }, NULL), EPL_ERR_ARGUMENT, "identifier");
    CHECK_FAILS(t, ctx, epl_compile(m, dir, (epl_compile_opts){ .name = "switch" }, NULL), EPL_ERR_ARGUMENT, "identifier");
    CHECK_FAILS(t, ctx, epl_compile(m, dir, (epl_compile_opts){ .target = "z80" }, NULL), EPL_ERR_ARGUMENT, "x86-64-v3");
    CHECK_FAILS(t, ctx, epl_compile(m, dir, (epl_compile_opts){ .bindings = &wrong, .n_bindings = 1 }, NULL), EPL_ERR_ARGUMENT, "length");
    CHECK_FAILS(t, ctx, epl_verify_artifact(m, "/nonexistent", (epl_compile_opts){ 0 }, (epl_verify_opts){ 0 }, &r), EPL_ERR_FORMAT,
                "'/nonexistent' holds no compiled network");
    epl_model_free(m);
}

/* Whatever allocation fails, the call says so: no half of a network is left without an error. */
PROPERTY(failed_allocations_are_told, 16)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "small");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(3, 4), NULL);
    epl_output(g, "y",
               epl_tanh(g, epl_cumsum(g, epl_multiply_rows(g, x, weight(g, "w", EPL_SHAPE(4, 5)), NULL, false), 1,
                                      (epl_cumsum_opts){ 0 })));
    epl_model *m = finished(t, g);
    CHECK_OK(t, ctx, epl_model_save(m, test_temp(t, "m.safetensors")));
    epl_model_free(m);
    epl_context *starved = test_context(t, .fail_allocation = 80 + 15 * t->index);
    m = epl_model_load(starved, test_temp(t, "m.safetensors"));
    const bool ok = m && epl_compile(m, test_temp(t, "starved"), (epl_compile_opts){ 0 }, NULL);
    CHECK_INT(t, epl_error_code(starved), ok ? EPL_OK : EPL_ERR_MEMORY);
    epl_model_free(m);
}
