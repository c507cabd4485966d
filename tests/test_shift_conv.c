/* Convolutions and linear layers without multiplications: integer additions to the bits of floats. */
#include "common/coded.h"
#include "common/compiled.h"

#include <espalier/espalier.h>

#include <math.h>
#include <stdio.h>

static const char *const isas[] = { "generic", "v3", "v4", "armv8" };

/* Both in f32, sums in different orders; `size` is the largest sum of magnitudes there can be. */
static void check_programs(test *t, const epl_model *m, const epl_tensor *x, int layers, double size)
{
    epl_program *want = test_frozen_run(t, m, (epl_program_opts){ .reference = true }, x);
    for (int i = 0; i < 4; i++) {
        epl_program *probe = epl_program_new(m->graph, m->weights, (epl_program_opts){ .isa = isas[i], .plan_only = true });
        epl_program_free(probe);
        if (!probe) { // not on this machine
            epl_error_clear(m->ctx);
            continue;
        }
        epl_program *p = test_frozen_run(t, m, (epl_program_opts){ .shifts = true, .isa = isas[i] }, x);
        CHECK_INT(t, test_count_steps(p, "shift_conv"), layers);
        CHECK_CLOSE(t, epl_program_output(p, 0), epl_program_output(want, 0), .rtol = 1e-5, .atol = 1e-6 * size);
        epl_program_free(p);
    }
    epl_program_free(want);
}

/* Random kernels, strides, dilations, groups, odd channel counts; a factor for each channel, and a bias or none. */
PROPERTY(convolutions_are_their_definitions, 24)
{
    epl_context  *ctx = test_context(t);
    epl_graph    *g = epl_graph_new(ctx, "conv");
    const int64_t groups = 1 + epl_rng_below(t->rng, 3), cg = test_between(t->rng, 1, 20), mg = test_between(t->rng, 2, 40);
    const int64_t k = test_between(t->rng, 1, 3), side = test_between(t->rng, 6, 12);
    const int     bits = 2 + t->index % 3, exponent = 1 << (bits - 1);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, side, side, groups * cg), NULL);
    epl_value *w = test_coded_weight(g, "codes", bits, EPL_SHAPE(k, k, cg, groups * mg));
    if (t->index % 2)
        w = epl_mul(g, w, epl_parameter(g, "scale", EPL_F32, EPL_SHAPE(groups * mg), EPL_INIT_NORMAL, 0.3));
    epl_value *bias = t->index % 4 < 2 ? epl_parameter(g, "bias", EPL_F32, EPL_SHAPE(groups * mg), EPL_INIT_NORMAL, 0.3) : NULL;
    const epl_convolve_opts o = { .stride = { (int)test_between(t->rng, 1, 2), 1 }, .dilation = { 1, (int)test_between(t->rng, 1, 2) },
                                  .groups = (int)groups, .pad = (int)test_between(t->rng, 0, 2) };
    epl_output(g, "y", epl_relu(g, epl_convolve(g, x, w, bias, o)));
    epl_model  *m = test_coded_model(t, g);
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, side, side, groups * cg));
    for (int64_t i = 0; i < epl_tensor_count(in); i++)
        ((float *)in->data)[i] = epl_rng_below(t->rng, 4) ? epl_rng_normal(t->rng) : 0;
    check_programs(t, m, in, 1, sqrt((double)(k * k * cg)) * ldexp(1, exponent - 1));
    epl_tensor_free(in);
    epl_model_free(m);
}

TEST(linear_layers_are_their_definitions)
{
    epl_context *ctx = test_context(t);
    for (int rows = 1; rows <= 71; rows += 35) {
        epl_graph  *g = epl_graph_new(ctx, "linear");
        epl_value  *h = epl_input(g, "x", EPL_F32, EPL_SHAPE(rows, 700), NULL);
        h = epl_tanh(g, epl_multiply_rows(g, h, test_coded_weight(g, "a", 3, EPL_SHAPE(700, 51)), NULL, false));
        h = epl_tanh(g, epl_multiply_rows(g, h, test_coded_weight(g, "b", 2, EPL_SHAPE(37, 51)), NULL, true));
        h = epl_reshape(g, epl_matmul(g, h, test_coded_weight(g, "c", 3, EPL_SHAPE(37, 40)), (epl_matmul_opts){ 0 }),
                        EPL_SHAPE(1, rows, 40));
        epl_output(g, "y",
                   epl_matmul(g, epl_tanh(g, h), test_coded_weight(g, "d", 2, EPL_SHAPE(21, 40)),
                              (epl_matmul_opts){ .trans_b = true }));
        epl_model  *m = test_coded_model(t, g);
        epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(rows, 700));
        for (int64_t i = 0; i < epl_tensor_count(in); i++)
            ((float *)in->data)[i] = epl_rng_normal(t->rng) * 0.01f;
        check_programs(t, m, in, 4, 256);
        epl_tensor_free(in);
        epl_model_free(m);
    }
}

/* One product at a time: every code, times numbers at the ends of what floats can be. */
TEST(products_are_exact)
{
    static const float values[] = { 1, -1, 0.1f, -3.14159274f, 1e-30f, -1.17549435e-38f, 1e36f, -2.65e36f, 0.0f, -0.0f, 1e-39f, -1e-45f,
                                    1e38f, -3.4e38f, INFINITY, -INFINITY };
    enum { N = sizeof values / sizeof *values };
    const float   largest = ldexpf(0x1.fffffep0f, 120);
    epl_context  *ctx = test_context(t);
    epl_graph    *g = epl_graph_new(ctx, "products");
    epl_value    *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(N, 2), NULL);
    epl_output(g, "y", epl_multiply_rows(g, x, test_coded_weight(g, "w", 4, EPL_SHAPE(2, 16)), NULL, false));
    epl_model  *m = test_coded_model(t, g);
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(N, 2));
    uint8_t     codes[32] = { 0 }; // the second row is 1, so that 1 is the factor of each channel
    for (int i = 0; i < 16; i++)
        codes[i] = (uint8_t)i;
    epl_shift_pack_codes(codes, 32, 4, epl_weights_find(m->weights, "w")->data);
    for (int i = 0; i < N; i++)
        ((float *)in->data)[2 * i] = values[i], ((float *)in->data)[2 * i + 1] = 0;
    epl_program *p = test_frozen_run(t, m, (epl_program_opts){ .shifts = true }, in);
    CHECK_INT(t, test_count_steps(p, "shift_conv"), 1);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 16; c++) {
            const float a = fabsf(values[i]), kept = a < 0x1p-126f ? 0 : a > largest ? largest : a;
            const float want = copysignf(ldexpf(kept, c & 7), values[i]) * (c >> 3 ? -1.0f : 1.0f);
            const float got = ((const float *)epl_program_output(p, 0)->data)[16 * i + c];
            if (got != want)
                FAIL(t, "%a times code %d is %a, expected %a", (double)values[i], c, (double)got, (double)want);
        }
    epl_program_free(p);
    epl_tensor_free(in);
    epl_model_free(m);
}

static epl_model *network(test *t, int bits)
{
    epl_graph *g = epl_graph_new(test_context(t), "network");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 12, 12, 8), NULL);
    x = epl_relu(g, epl_convolve(g, x, test_coded_weight(g, "a", bits, EPL_SHAPE(3, 3, 8, 32)), NULL, (epl_convolve_opts){ .pad = 1 }));
    epl_output(g, "y", epl_convolve(g, x, test_coded_weight(g, "b", bits, EPL_SHAPE(1, 1, 32, 16)), NULL, (epl_convolve_opts){ 0 }));
    return test_coded_model(t, g);
}

TEST(operations_are_counted)
{
    epl_model *m = network(t, 3);
    const double macs = 144.0 * (72 * 32 + 32 * 16), results = 144.0 * (32 + 16);
    for (int shifts = 0; shifts < 2; shifts++) {
        epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .shifts = shifts, .plan_only = true });
        CHECK_OK(t, m->ctx, p != NULL);
        const epl_operations o = epl_program_operations(p);
        CHECK_NEAR(t, o.multiplications, shifts ? results : macs, .rtol = 0);
        CHECK_NEAR(t, o.integer_additions, shifts ? macs : 0, .rtol = 0);
        CHECK_NEAR(t, o.float_additions, macs, .rtol = 0);
        CHECK_NEAR(t, o.others, 144.0 * 32, .rtol = 0); // relu
        epl_program_free(p);
    }
    epl_model_free(m);
}

TEST(other_weights_are_multiplied_by)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "float");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4, 6), NULL);
    epl_output(g, "y", epl_multiply_rows(g, x, epl_parameter(g, "w", EPL_F32, EPL_SHAPE(6, 5), EPL_INIT_NORMAL, 1), NULL, false));
    epl_model   *m = test_coded_model(t, g);
    epl_tensor  *w = epl_weights_find(m->weights, "w"), *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4, 6));
    memset(in->data, 0, epl_tensor_bytes(in));
    epl_program *p = test_frozen_run(t, m, (epl_program_opts){ .shifts = true }, in);
    CHECK_INT(t, test_count_steps(p, "shift_conv"), 0);
    epl_program_free(p);
    for (int i = 0; i < 30; i++)
        ((float *)w->data)[i] = ldexpf(i % 3 ? 1 : -1, i % 8);
    p = test_frozen_run(t, m, (epl_program_opts){ .shifts = true }, in);
    CHECK_INT(t, test_count_steps(p, "shift_conv"), 1);
    ((float *)w->data)[7] = 3;
    CHECK_FAILS(t, ctx, epl_program_refresh(p), EPL_ERR_ARGUMENT, "no powers of two any more");
    epl_program_free(p);
    epl_tensor_free(in);
    epl_model_free(m);
}

/* The built network adds integers and floats in its inner loop, multiplies nothing there, and stores codes. */
TEST(compiled_networks_do_not_multiply)
{
    if (!compiled_has("gcc") || !compiled_has("make"))
        return;
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, 4);
    epl_artifact shifts, products;
    epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ .shifts = true, .target = "generic" },
                                         (epl_verify_opts){ .n_samples = 3 }, &shifts);
    compiled_within(t, &r, 0);
    CHECK_OK(t, ctx, epl_compile(m, test_temp(t, "products"), (epl_compile_opts){ .target = "generic" }, &products));
    CHECK(t, shifts.weights < products.weights / 6);
#if defined(__x86_64__)
    if (compiled_has("objdump")) {
        CHECK(t, compiled_instructions(t, "shift_sums", "paddd") > 0 && compiled_instructions(t, "shift_sums", "addps") > 0);
        CHECK_INT(t, compiled_instructions(t, "shift_sums", "mulps") + compiled_instructions(t, "shift_sums", "mulss") +
                         compiled_instructions(t, "shift_sums", "vfm"), 0);
    }
#endif
    epl_model_free(m);
}
