/* Quantised products: integers by integers, and by powers of two with shifts and additions alone. */
#include "common/coded.h"
#include "common/compiled.h"

#include <espalier/espalier.h>

#include <math.h>
#include <stdio.h>

static const char *const isas[] = { "generic", "v3", "v4", "armv8" };

/* By shifts and by products, of every instruction set, with one to three threads: the bits of the reference. */
static void check_exact(test *t, const epl_model *m, const epl_tensor *x, int layers)
{
    epl_program *want = test_frozen_run(t, m, (epl_program_opts){ .reference = true }, x);
    for (int i = 0; i < 8; i++) {
        const bool   shifts = i >= 4;
        epl_program *probe = epl_program_new(m->graph, m->weights, (epl_program_opts){ .isa = isas[i % 4], .plan_only = true });
        epl_program_free(probe);
        if (!probe) { // not on this machine
            epl_error_clear(m->ctx);
            continue;
        }
        epl_context_set_threads(m->ctx, 1 + i % 3);
        epl_program *p = test_frozen_run(t, m, (epl_program_opts){ .shifts = shifts, .isa = isas[i % 4] }, x);
        CHECK_INT(t, test_count_steps(p, shifts ? "shift_add" : "integer_conv"), layers);
        CHECK(t, epl_tensor_equal(epl_program_output(p, 0), epl_program_output(want, 0)));
        epl_program_free(p);
    }
    epl_program_free(want);
}

static epl_value *ones(epl_graph *g, int64_t m) { return epl_expand(g, epl_scalar(g, EPL_F32, 1), EPL_SHAPE(m)); }

/* Any integer of 8 bits, the ends often. */
static epl_tensor *draw(test *t, epl_dtype dtype, epl_shape s)
{
    epl_tensor *x = epl_tensor_new(test_context(t), dtype, s);
    const bool  extreme = epl_rng_below(t->rng, 3) == 0;
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        ((uint8_t *)x->data)[i] = extreme ? (dtype == EPL_U8 ? 255 : 128) : (uint8_t)epl_rng_below(t->rng, 256);
    return x;
}

/* Every code times every number of 8 bits. */
TEST(products_are_exact)
{
    for (int bits = 2; bits <= 4; bits++)
        for (int is_unsigned = 0; is_unsigned < 2; is_unsigned++) {
            epl_graph *g = epl_graph_new(test_context(t), "products");
            const int64_t m = 1 << bits;
            const epl_dtype dtype = is_unsigned ? EPL_U8 : EPL_I8;
            epl_value *x = epl_input(g, "x", dtype, EPL_SHAPE(256, 1), NULL), *w = test_coded_weight(g, "w", bits, EPL_SHAPE(1, m));
            epl_output(g, "y", epl_convolve_integers(g, x, epl_cast(g, w, EPL_I16), ones(g, m), NULL, NULL));
            epl_model  *model = test_coded_model(t, g);
            epl_tensor *in = epl_tensor_new(test_context(t), dtype, EPL_SHAPE(256, 1));
            uint8_t     codes[16];
            for (int i = 0; i < 16; i++)
                codes[i] = (uint8_t)i;
            epl_shift_pack_codes(codes, m, bits, epl_weights_find(model->weights, "w")->data);
            for (int i = 0; i < 256; i++)
                ((uint8_t *)in->data)[i] = (uint8_t)i;
            check_exact(t, model, in, 1);
            epl_program *p = test_frozen_run(t, model, (epl_program_opts){ .shifts = true }, in);
            for (int i = 0; i < 256; i++)
                for (int c = 0; c < m; c++) {
                    const double v = is_unsigned ? i : (int8_t)i, want = ldexp(v, c & (int)(m / 2 - 1)) * (c >= m / 2 ? -1 : 1);
                    if ((double)((const float *)epl_program_output(p, 0)->data)[i * m + c] != want)
                        FAIL(t, "%g times code %d of %d bits is not %g", v, c, bits, want);
                }
            epl_program_free(p);
            epl_tensor_free(in);
            epl_model_free(model);
        }
}

/* Random kernels, strides, dilations, groups, odd channel counts and depths, numbers at the ends of their range. */
PROPERTY(convolutions_are_exact, 36)
{
    epl_context  *ctx = test_context(t);
    epl_graph    *g = epl_graph_new(ctx, "conv");
    const int64_t groups = 1 + epl_rng_below(t->rng, 3), cg = test_between(t->rng, groups > 1 ? 2 : 1, 40),
                  mg = test_between(t->rng, 1, 40);
    const int64_t k = test_between(t->rng, 1, 3), side = test_between(t->rng, 5, 11);
    const int     bits = 2 + t->index % 3;
    const epl_dtype dtype = t->index % 2 ? EPL_U8 : EPL_I8;
    epl_value *x = epl_input(g, "x", dtype, EPL_SHAPE(2, side, side, groups * cg), NULL), *f = epl_cast(g, x, EPL_F32);
    const epl_convolve_opts o = { .stride = { (int)test_between(t->rng, 1, 2), 1 }, .dilation = { 1, (int)test_between(t->rng, 1, 2) },
                                  .groups = (int)groups, .pad = (int)test_between(t->rng, 1, 2) };
    epl_output(g, "y", epl_relu(g, epl_convolve(g, f, test_coded_weight(g, "codes", bits, EPL_SHAPE(k, k, cg, groups * mg)), NULL, o)));
    epl_model  *m = test_coded_model(t, g);
    if (epl_rng_below(t->rng, 3) == 0) // all of the largest magnitude, of one sign
        memset(epl_weights_find(m->weights, "codes")->data, 0xff, (size_t)epl_tensor_count(epl_weights_find(m->weights, "codes")));
    epl_tensor *in = draw(t, dtype, EPL_SHAPE(2, side, side, groups * cg));
    check_exact(t, m, in, 1);
    epl_tensor_free(in);
    epl_model_free(m);
}

/* One row, and many; products of both kinds, weights as they are and turned; two layers in a row. */
PROPERTY(linear_layers_are_exact, 12)
{
    const int64_t rows = test_between(t->rng, 1, 80), depth = test_between(t->rng, 1, 200), m = test_between(t->rng, 1, 70);
    const int     bits = 2 + t->index % 3, form = t->index / 3;
    epl_graph *g = epl_graph_new(test_context(t), "linear");
    epl_value *x = epl_input(g, "x", EPL_I8, EPL_SHAPE(rows, depth), NULL), *f = epl_cast(g, x, EPL_F32);
    epl_value *w = test_coded_weight(g, "w", bits, form % 2 ? EPL_SHAPE(m, depth) : EPL_SHAPE(depth, m));
    epl_output(g, "y",
               form < 2 ? epl_multiply_rows(g, f, w, NULL, form % 2)
                        : epl_matmul(g, f, w, (epl_matmul_opts){ .trans_b = form % 2 }));
    epl_model  *model = test_coded_model(t, g);
    epl_tensor *in = draw(t, EPL_I8, EPL_SHAPE(rows, depth));
    check_exact(t, model, in, 1);
    epl_tensor_free(in);
    epl_model_free(model);
}

/* Factors of inputs, weights, channels and norms go behind the sum; weights of 8 bits are multiplied by. */
TEST(factors_go_behind_the_sum)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "factors");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 8, 8, 16), NULL);
    epl_value   *q = epl_cast(g, epl_clip(g, epl_round(g, epl_affine(g, x, 50, 0)), -127, 127), EPL_I8);
    epl_value   *w = epl_mul(g, test_coded_weight(g, "a", 3, EPL_SHAPE(3, 3, 16, 24)),
                             epl_parameter(g, "scale", EPL_F32, EPL_SHAPE(24), EPL_INIT_NORMAL, 0.3));
    epl_value   *bias = epl_parameter(g, "bias", EPL_F32, EPL_SHAPE(24), EPL_INIT_NORMAL, 1);
    epl_value   *y = epl_convolve(g, epl_affine(g, epl_cast(g, q, EPL_F32), 0.02, 0), w, bias, (epl_convolve_opts){ .pad = 1 });
    y = epl_relu(g, epl_batch_norm(g, y, (epl_norm_opts){ .name = "norm" }));
    epl_value *p = epl_cast(g, epl_clip(g, epl_round(g, epl_affine(g, y, 20, 0)), 0, 255), EPL_U8);
    epl_value *v = epl_mul(g, epl_cast(g, epl_state(g, "v", EPL_I8, EPL_SHAPE(10, 24), EPL_INIT_ZEROS, 0), EPL_F32),
                           epl_parameter(g, "v.scale", EPL_F32, EPL_SHAPE(10, 1), EPL_INIT_NORMAL, 0.1));
    epl_output(g, "y", epl_multiply_rows(g, epl_affine(g, epl_cast(g, p, EPL_F32), 0.05, 0), v, NULL, true));
    epl_model  *m = test_coded_model(t, g);
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 8, 8, 16)), *eight = epl_weights_find(m->weights, "v");
    for (int64_t i = 0; i < epl_tensor_count(in); i++)
        ((float *)in->data)[i] = epl_rng_normal(t->rng);
    for (int64_t i = 0; i < epl_tensor_count(eight); i++)
        ((int8_t *)eight->data)[i] = (int8_t)epl_rng_below(t->rng, 256);
    epl_program *want = test_frozen_run(t, m, (epl_program_opts){ .reference = true }, in);
    for (int shifts = 0; shifts < 2; shifts++) {
        epl_program *got = test_frozen_run(t, m, (epl_program_opts){ .shifts = shifts }, in);
        CHECK_INT(t, test_count_steps(got, "shift_add"), shifts);
        CHECK_INT(t, test_count_steps(got, "integer_conv"), 2 - shifts);
        // a value that rounding puts on the other side of a half is another integer
        CHECK_CLOSE(t, epl_program_output(got, 0), epl_program_output(want, 0), .rtol = 1e-4, .atol = 0.05 * 127 * 0.4);
        epl_program_free(got);
    }
    epl_program_free(want);
    epl_tensor_free(in);
    epl_model_free(m);
}

/* As other tools write it: zero points of 0, scales along the first axis of weights that are then turned around. */
TEST(quantised_networks_of_others_are_integers)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "others");
    epl_value   *x = epl_input(g, "x", EPL_U8, EPL_SHAPE(1, 6, 9, 9), NULL), *zero = epl_scalar(g, EPL_F32, 0);
    epl_value   *f = epl_mul(g, epl_sub(g, epl_cast(g, x, EPL_F32), zero), epl_scalar(g, EPL_F32, 0.5));
    epl_value   *w = epl_cast(g, epl_state(g, "w", EPL_I8, EPL_SHAPE(10, 6, 3, 3), EPL_INIT_ZEROS, 0), EPL_F32);
    w = epl_mul(g, epl_sub(g, w, zero), epl_parameter(g, "scale", EPL_F32, EPL_SHAPE(10, 1, 1, 1), EPL_INIT_ONES, 0));
    f = epl_transpose(g, f, 4, (int[]){ 0, 2, 3, 1 });
    epl_output(g, "y", epl_convolve(g, f, epl_transpose(g, w, 4, (int[]){ 2, 3, 1, 0 }), NULL, (epl_convolve_opts){ .pad = 1 }));
    epl_model  *m = test_coded_model(t, g);
    epl_tensor *in = draw(t, EPL_U8, EPL_SHAPE(1, 6, 9, 9)), *weights = epl_weights_find(m->weights, "w");
    for (int64_t i = 0; i < epl_tensor_count(weights); i++)
        ((int8_t *)weights->data)[i] = (int8_t)((epl_rng_below(t->rng, 2) ? 1 : -1) * (1 << epl_rng_below(t->rng, 3)));
    check_exact(t, m, in, 1);
    epl_tensor_free(in);
    epl_model_free(m);
}

/* A zero point is no factor, 16 bits are too many, floats are no integers, and depthwise sums are too short. */
TEST(other_products_stay)
{
    epl_context *ctx = test_context(t);
    for (int i = 0; i < 4; i++) {
        epl_graph *g = epl_graph_new(ctx, "other");
        epl_value *x =
                      epl_input(g, "x", i == 1 ? EPL_I16 : EPL_I8, i == 3 ? EPL_SHAPE(1, 4, 6) : EPL_SHAPE(4, 6), NULL),
                  *f = epl_cast(g, x, EPL_F32);
        epl_value *w = i == 2 ? epl_parameter(g, "p", EPL_F32, EPL_SHAPE(6, 5), EPL_INIT_NORMAL, 1)
                              : test_coded_weight(g, "w", 3, i == 3 ? EPL_SHAPE(3, 1, 6) : EPL_SHAPE(6, 5));
        epl_output(g, "y", i == 3 ? epl_convolve(g, f, w, NULL, (epl_convolve_opts){ .groups = 6 })
                                  : epl_multiply_rows(g, i == 0 ? epl_affine(g, f, 1, -3) : f, w, NULL, false));
        epl_model   *m = test_coded_model(t, g);
        epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
        CHECK_OK(t, ctx, p != NULL);
        CHECK_INT(t, test_count_steps(p, "integer_conv"), 0);
        epl_program_free(p);
        epl_model_free(m);
    }
}

TEST(other_weights_are_noticed)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "changed");
    epl_value   *x = epl_input(g, "x", EPL_I8, EPL_SHAPE(4, 6), NULL);
    epl_output(g, "y", epl_convolve_integers(g, x, epl_state(g, "w", EPL_I8, EPL_SHAPE(6, 5), EPL_INIT_ZEROS, 0), ones(g, 5), NULL, NULL));
    epl_model  *m = test_coded_model(t, g);
    epl_tensor *w = epl_weights_find(m->weights, "w"), *in = draw(t, EPL_I8, EPL_SHAPE(4, 6));
    epl_program *p = test_frozen_run(t, m, (epl_program_opts){ .shifts = true }, in);
    CHECK_INT(t, test_count_steps(p, "shift_add"), 0); // zeros
    epl_program_free(p);
    for (int i = 0; i < 30; i++)
        ((int8_t *)w->data)[i] = (int8_t)(i % 3 ? 1 : -2);
    p = test_frozen_run(t, m, (epl_program_opts){ .shifts = true }, in);
    CHECK_INT(t, test_count_steps(p, "shift_add"), 1);
    ((int8_t *)w->data)[7] = 4; // a power of two, but not of 2 bits
    CHECK_FAILS(t, ctx, epl_program_refresh(p), EPL_ERR_ARGUMENT, "no powers of two any more");
    epl_program_free(p);
    epl_tensor_free(in);
    epl_model_free(m);
}

TEST(wrong_operands_are_refused)
{
    epl_context *ctx = test_context(t);
    static const struct { epl_dtype x, w; int64_t depth; const char *why; } cases[] = {
        { EPL_I16, EPL_I8, 6, "i8 or u8" }, { EPL_I8, EPL_F32, 6, "i8 or i16" }, { EPL_I8, EPL_I8, 7, "do not fit" },
    };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = epl_graph_new(ctx, "refused");
        epl_value *x = epl_input(g, "x", cases[i].x, EPL_SHAPE(4, 6), NULL),
                  *w = epl_input(g, "w", cases[i].w, EPL_SHAPE(cases[i].depth, 5), NULL);
        CHECK_FAILS(t, ctx, epl_convolve_integers(g, x, w, ones(g, 5), NULL, NULL) != NULL,
                    i < 2 ? EPL_ERR_DTYPE : EPL_ERR_SHAPE, cases[i].why);
        epl_graph_free(g);
    }
}

/* ---- networks ---- */

static epl_model *packed(test *t, int bits)
{
    epl_graph *g = epl_zoo_build(test_context(t), "resnet:depth=8,width=8,image=14,channels=1");
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, test_context(t),
             m && epl_model_init(m, 1) && epl_shift(m, (epl_shift_opts){ .bits = bits, .seed = 2 }, NULL) &&
                 epl_shift_pack(m) > 0);
    return m;
}

static epl_tensor *samples(test *t, int64_t n)
{
    epl_tensor *x = epl_tensor_new(test_context(t), EPL_F32, EPL_SHAPE(n, 14, 14, 1));
    epl_tensor_fill_uniform(x, t->rng, 0, 1);
    return x;
}

TEST(activations_become_integers)
{
    epl_model   *m = packed(t, 3);
    epl_tensor  *x = samples(t, 8);
    CHECK_OK(t, m->ctx, epl_graph_bind(m->graph, "N", 8));
    epl_program *before = test_frozen_run(t, m, (epl_program_opts){ 0 }, x);
    epl_quantize_result r = { 0 };
    CHECK_OK(t, m->ctx, epl_quantize_activations(m, x, &r));
    CHECK(t, r.layers >= 8 && r.values <= r.layers);
    double spread = 0, off = 0;
    for (int shifts = 0; shifts < 2; shifts++) {
        epl_program *p = test_frozen_run(t, m, (epl_program_opts){ .shifts = shifts }, x);
        CHECK_INT(t, test_count_steps(p, shifts ? "shift_add" : "integer_conv"), r.layers);
        for (int64_t i = 0; i < 80; i++) {
            const double y = epl_tensor_get(epl_program_output(before, 0), i), d = epl_tensor_get(epl_program_output(p, 0), i) - y;
            spread += y * y, off += d * d;
        }
        epl_program_free(p);
    }
    CHECK(t, off < 0.01 * spread); // a tenth of the logits' size, of noise
    CHECK_FAILS(t, m->ctx, epl_quantize_activations(m, x, NULL), EPL_ERR_ARGUMENT, "no layer reads packed codes"); // it is done
    ((float *)x->data)[3] = NAN;
    epl_model *again = packed(t, 2);
    CHECK_FAILS(t, again->ctx, epl_quantize_activations(again, x, NULL), EPL_ERR_ARGUMENT, "have no factor");
    epl_program_free(before);
    epl_tensor_free(x);
    epl_model_free(again);
    epl_model_free(m);
}

/* Multiplications: of the first and the last layer, and one for each result. */
TEST(operations_are_counted)
{
    epl_graph *g = epl_graph_new(test_context(t), "counted");
    epl_value *x = epl_input(g, "x", EPL_I8, EPL_SHAPE(1, 10, 10, 12), NULL);
    epl_output(g, "y",
               epl_convolve(g, epl_cast(g, x, EPL_F32), test_coded_weight(g, "w", 2, EPL_SHAPE(3, 3, 12, 32)), NULL,
                            (epl_convolve_opts){ .pad = 1 }));
    epl_model   *m = test_coded_model(t, g);
    const double pixels = 100, units = 54, macs = pixels * 108 * 32;
    for (int shifts = 0; shifts < 2; shifts++) {
        epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .shifts = shifts, .plan_only = true });
        CHECK_OK(t, m->ctx, p != NULL);
        const epl_operations o = epl_program_operations(p);
        CHECK_NEAR(t, o.multiplications, pixels * 32 + (shifts ? 0 : macs), .rtol = 0);
        CHECK_NEAR(t, o.integer_additions, shifts ? pixels * units * (32 + 20) : macs, .rtol = 0);
        CHECK_NEAR(t, o.shifts, shifts ? pixels * 108 : 0, .rtol = 0);
        CHECK_NEAR(t, o.float_additions, 0, .rtol = 0);
        epl_program_free(p);
    }
    epl_model_free(m);
}

/* The built network computes the same, and where sums are made it adds integers and multiplies nothing. */
PROPERTY(compiled_networks_do_not_multiply, 3)
{
    static const char *const functions[] = { "shift_adds_16", "shift_adds_8", "shift_adds_wide" };
    static const char *const products[] = { "mul", "madd", "vfm", "vpdp" };
    epl_context *ctx = test_context(t);
    if (!compiled_has("gcc") || !compiled_has("make"))
        return;
    epl_graph *g = epl_graph_new(ctx, "network");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 9, 9, 8), NULL);
    epl_value *q =
        epl_affine(g,
                   epl_cast(g, epl_cast(g, epl_clip(g, epl_round(g, epl_affine(g, x, 40, 0)), -127, 127), EPL_I8),
                            EPL_F32),
                   0.025, 0);
    q = epl_relu(g, epl_convolve(g, q, test_coded_weight(g, "a", 2 + t->index, EPL_SHAPE(3, 3, 8, 16)), NULL,
                                 (epl_convolve_opts){ .pad = 1 }));
    epl_output(g, "y", q);
    epl_model   *m = test_coded_model(t, g);
    epl_artifact a;
    epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ .shifts = true, .target = "generic" },
                                         (epl_verify_opts){ .n_samples = 2 }, &a);
    compiled_within(t, &r, 0);
#if defined(__x86_64__)
    if (compiled_has("objdump")) {
        CHECK(t, compiled_instructions(t, functions[t->index], "padd") > 0);
        for (size_t i = 0; i < EPL_COUNT(products); i++)
            CHECK_INT(t, compiled_instructions(t, functions[t->index], products[i]), 0);
    }
#endif
    epl_model_free(m);
}
