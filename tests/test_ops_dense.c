/* The dense operators on small cases with known answers: counted by hand, ONNX's own examples (node tests of release 1.12), or an
 * independent script (recurrences, Philox). Gradients and kernels are the business of test_operators.c. */
#include "common/check.h"
#include "graph/op.h"

#include <espalier/ops.h>

enum { MOST = 64 };

static epl_value *values(epl_graph *g, epl_shape shape, const double *x)
{
    epl_tensor *t = epl_tensor_new(g->ctx, EPL_F64, shape);
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        epl_tensor_set(t, i, x[i]);
    epl_value *v = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

/* first, first + step, ... */
static epl_value *ramp(epl_graph *g, epl_shape shape, double first, double step)
{
    double x[256];
    for (int i = 0; i < 256; i++)
        x[i] = first + step * i;
    return values(g, shape, x);
}

/* sin(0.7 i + phase) */
static epl_value *wave(epl_graph *g, epl_shape shape, double phase)
{
    double x[256];
    for (int i = 0; i < 256; i++)
        x[i] = sin(0.7 * i + phase);
    return values(g, shape, x);
}

static epl_value *integers(epl_graph *g, int n, const int64_t *x) { return epl_constant_i64(g, n, x); }

/* Interprets the graph and compares y; frees nothing. */
static void check_value(test *t, epl_graph *g, epl_value *y, epl_shape shape, const double *want, double tolerance)
{
    epl_tensor *out[MOST];
    CHECK_OK(t, g->ctx, y != NULL);
    CHECK(t, epl_shape_equal(epl_shape_of(y), shape));
    epl_node *o = epl_output(g, "y", y);
    CHECK_OK(t, g->ctx, epl_graph_finish(g) && epl_interpret(g, NULL, NULL, out));
    const int last = epl_graph_n_outputs(g) - 1;
    double    got[256];
    for (int64_t i = 0; i < epl_tensor_count(out[last]); i++)
        got[i] = epl_tensor_get(out[last], i);
    CHECK_CLOSE_F64(t, got, want, epl_tensor_count(out[last]), .atol = tolerance);
    for (int i = 0; i <= last; i++)
        epl_tensor_free(out[i]);
    CHECK(t, o != NULL);
}

#define EXPECT(y, shape, tolerance, ...) check_value(t, g, y, shape, (const double[]){ __VA_ARGS__ }, tolerance)

#define GRAPH(...)                                                                                                     \
    do {                                                                                                               \
        epl_context *ctx = test_context(t);                                                                            \
        epl_graph   *g = epl_graph_new(ctx, "case");                                                                   \
        __VA_ARGS__;                                                                                                       \
        epl_graph_free(g);                                                                                             \
    } while (0)

#define REFUSED(words, ...)                                                                                            \
    GRAPH({                                                                                                            \
        CHECK(t, (__VA_ARGS__) == NULL && epl_graph_failed(g));                                                              \
        if (!strstr(epl_error_message(ctx), words))                                                                    \
            FAIL(t, "'%s' does not say '%s'", epl_error_message(ctx), words);                                          \
        epl_error_clear(ctx);                                                                                          \
    })

/* ---- matrix products ---- */
TEST(matmul_transposed_or_not)
{
    GRAPH({ // [1 2 3; 4 5 6] [1 2; 3 4; 5 6]
        epl_value *a = ramp(g, EPL_SHAPE(2, 3), 1, 1), *b = ramp(g, EPL_SHAPE(3, 2), 1, 1);
        EXPECT(epl_matmul(g, a, b, (epl_matmul_opts){ 0 }), EPL_SHAPE(2, 2), 0, 22, 28, 49, 64);
        EXPECT(epl_matmul(g, a, a, (epl_matmul_opts){ .trans_b = true }), EPL_SHAPE(2, 2), 0, 14, 32, 32, 77);
        EXPECT(epl_matmul(g, b, b, (epl_matmul_opts){ .trans_a = true }), EPL_SHAPE(2, 2), 0, 35, 44, 44, 56);
    });
}

TEST(matmul_broadcasts_batches)
{
    GRAPH({
        epl_value *a = ramp(g, EPL_SHAPE(2, 1, 1, 2), 1, 1), *b = ramp(g, EPL_SHAPE(2, 2, 1), 1, 1);
        EXPECT(epl_matmul(g, a, b, (epl_matmul_opts){ 0 }), EPL_SHAPE(2, 2, 1, 1), 0, 5, 11, 11, 25);
    });
}

TEST(matmul_of_integers_is_exact)
{
    GRAPH({
        epl_value *x = epl_reshape(g, integers(g, 2, (int64_t[]){ 9007199254740993, 5 }), EPL_SHAPE(1, 2));
        epl_value *y = epl_matmul(g, x, epl_reshape(g, integers(g, 2, (int64_t[]){ 1, 0 }), EPL_SHAPE(2, 1)), (epl_matmul_opts){ 0 });
        EXPECT(epl_bitwise_and(g, y, epl_scalar(g, EPL_I64, 1)), EPL_SHAPE(1, 1), 0, 1); // 2^53 + 1: a double would lose the 1
    });
}

TEST(rows_times_weight_plus_bias)
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 2, 2), 1, 1), *w = ramp(g, EPL_SHAPE(2, 3), 1, 1), *b = ramp(g, EPL_SHAPE(3), 10, 10);
        EXPECT(epl_multiply_rows(g, x, w, b, false), EPL_SHAPE(1, 2, 3), 0, 19, 32, 45, 29, 46, 63);
        EXPECT(epl_multiply_rows(g, x, ramp(g, EPL_SHAPE(3, 2), 1, 1), NULL, true), EPL_SHAPE(1, 2, 3), 0, 5, 11, 17, 11, 25, 39);
    });
}

TEST(products_refuse_what_does_not_fit)
{
    REFUSED("3 columns do not meet 2 rows",
            epl_matmul(g, ramp(g, EPL_SHAPE(2, 3), 0, 1), ramp(g, EPL_SHAPE(2, 3), 0, 1), (epl_matmul_opts){ 0 }));
    REFUSED("do not broadcast", epl_matmul(g, ramp(g, EPL_SHAPE(2, 1, 1), 0, 1), ramp(g, EPL_SHAPE(3, 1, 1), 0, 1),
                                           (epl_matmul_opts){ 0 }));
    REFUSED("input has 3 features, weight expects 4",
            epl_multiply_rows(g, ramp(g, EPL_SHAPE(2, 3), 0, 1), ramp(g, EPL_SHAPE(4, 2), 0, 1), NULL, false));
    REFUSED("bias is [3], but [2] is needed", epl_multiply_rows(g, ramp(g, EPL_SHAPE(1, 1), 0, 1), ramp(g, EPL_SHAPE(1, 2), 0, 1),
                                                                ramp(g, EPL_SHAPE(3), 0, 1), false));
}

/* ---- convolution ---- */
TEST(convolution_of_a_padded_image) /* ONNX: basic_conv_with_padding */
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 5, 5, 1), 0, 1), *w = ramp(g, EPL_SHAPE(3, 3, 1, 1), 1, 0);
        EXPECT(epl_convolve(g, x, w, NULL, (epl_convolve_opts){ .pad = 1 }), EPL_SHAPE(1, 5, 5, 1), 0, 12, 21, 27, 33, 24, 33, 54, 63,
               72, 51, 63, 99, 108, 117, 81, 93, 144, 153, 162, 111, 72, 111, 117, 123, 84);
        EXPECT(epl_convolve(g, x, w, NULL, (epl_convolve_opts){ .stride = { 2 }, .same = true }), EPL_SHAPE(1, 3, 3, 1), 0, 12, 27, 24,
               63, 108, 81, 72, 117, 84);
    });
}

TEST(convolution_with_groups_dilation_and_uneven_padding)
{
    GRAPH({ // a sequence of two channels, each with its own two taps, two apart; one zero in front
        epl_value *x = ramp(g, EPL_SHAPE(1, 4, 2), 1, 1), *w = ramp(g, EPL_SHAPE(2, 1, 2), 1, 1), *b = ramp(g, EPL_SHAPE(2), 100, 100);
        EXPECT(epl_convolve(g, x, w, b, (epl_convolve_opts){ .groups = 2, .dilation = { 2 }, .pad_begin = { 1 } }), EPL_SHAPE(1, 3, 2), 0,
               100 + 3 * 3, 200 + 4 * 4, 100 + 1 + 3 * 5, 200 + 2 * 2 + 4 * 6, 100 + 3 + 3 * 7, 200 + 2 * 4 + 4 * 8);
    });
}

TEST(transposed_convolutions) /* ONNX: convtranspose_dilations, convtranspose_pads */
{
    GRAPH({
        epl_value *x = values(g, EPL_SHAPE(1, 3, 3, 1), (double[]){ 3, 8, 1, 9, 5, 7, 3, 2, 6 });
        epl_value *w = values(g, EPL_SHAPE(2, 2, 1, 1), (double[]){ 7, 2, 1, 9 });
        EXPECT(epl_convolve_transpose(g, x, w, NULL, (epl_convolve_opts){ .dilation = { 2 } }), EPL_SHAPE(1, 5, 5, 1), 0, 21, 56, 13, 16, 2,
               63, 35, 67, 10, 14, 24, 22, 76, 76, 21, 9, 5, 88, 45, 63, 3, 2, 33, 18, 54);
        epl_value *y = epl_convolve_transpose(g, ramp(g, EPL_SHAPE(1, 3, 3, 1), 0, 1), ramp(g, EPL_SHAPE(3, 3, 2, 1), 1, 0), NULL,
                                              (epl_convolve_opts){ .stride = { 3, 2 }, .pad_begin = { 1, 2 }, .pad_end = { 1, 2 } });
        EXPECT(epl_slice_axis(g, y, -1, 1, 2), EPL_SHAPE(1, 7, 3, 1), 0, 1, 1, 3, 1, 1, 3, 7, 4, 9, 7, 4, 9, 7, 4, 9, 13, 7, 15, 13, 7, 15);
    });
    GRAPH({ // the end that output padding adds, and a bias
        epl_value *x = ramp(g, EPL_SHAPE(1, 2, 1), 1, 1), *w = ramp(g, EPL_SHAPE(1, 1, 1), 5, 0), *b = ramp(g, EPL_SHAPE(1), 1, 0);
        EXPECT(epl_convolve_transpose(g, x, w, b, (epl_convolve_opts){ .stride = { 2 }, .output_pad = { 1 } }), EPL_SHAPE(1, 4, 1), 0, 6, 1,
               11, 1);
    });
}

TEST(convolutions_refuse_what_does_not_fit)
{
    REFUSED("input has 2 channels, weight expects 3",
            epl_convolve(g, ramp(g, EPL_SHAPE(1, 3, 2), 0, 1), ramp(g, EPL_SHAPE(1, 3, 4), 0, 1), NULL, (epl_convolve_opts){ 0 }));
    REFUSED("2 groups do not divide 3 input and 4 output channels",
            epl_convolve(g, ramp(g, EPL_SHAPE(1, 3, 3), 0, 1), ramp(g, EPL_SHAPE(1, 1, 4), 0, 1), NULL,
                         (epl_convolve_opts){ .groups = 2 }));
    REFUSED("spatial axis 0 has 3 elements and 0 of padding, but the window spans 5",
            epl_convolve(g, ramp(g, EPL_SHAPE(1, 3, 1), 0, 1), ramp(g, EPL_SHAPE(3, 1, 1), 0, 1), NULL,
                         (epl_convolve_opts){ .dilation = { 2 } }));
    REFUSED("least possible is 1", epl_convolve(g, ramp(g, EPL_SHAPE(1, 3, 1), 0, 1), ramp(g, EPL_SHAPE(3, 1, 1), 0, 1), NULL,
                                                (epl_convolve_opts){ .stride = { -1 } }));
    REFUSED("output padding 2 must be smaller than the stride 2",
            epl_convolve_transpose(g, ramp(g, EPL_SHAPE(1, 3, 1), 0, 1), ramp(g, EPL_SHAPE(3, 1, 1), 0, 1), NULL,
                                   (epl_convolve_opts){ .stride = { 2 }, .output_pad = { 2 } }));
    REFUSED("[N, spatial..., C]", epl_convolve(g, ramp(g, EPL_SHAPE(3, 1), 0, 1), ramp(g, EPL_SHAPE(3, 1, 1), 0, 1),
                                               NULL, (epl_convolve_opts){ 0 }));
}

/* ---- pools ---- */
TEST(pools_with_ceiling_dilation_and_padding) /* ONNX: {max,average}pool_2d_ceil, maxpool_2d_dilations, ..._count_include_pad */
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 4, 4, 1), 1, 1);
        const epl_pool_opts up = { .kernel = { 3 }, .stride = { 2 }, .ceil_mode = true };
        EXPECT(epl_max_pool(g, x, up), EPL_SHAPE(1, 2, 2, 1), 0, 11, 12, 15, 16);
        EXPECT(epl_average_pool(g, x, up), EPL_SHAPE(1, 2, 2, 1), 0, 6, 7.5, 12, 13.5);
        EXPECT(epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 }, .stride = { 1 }, .dilation = { 2 } }), EPL_SHAPE(1, 2, 2, 1), 0, 11, 12,
               15, 16);
        EXPECT(epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } }), EPL_SHAPE(1, 2, 2, 1), 0, 6, 8, 14, 16);
        EXPECT(epl_max_pool(g, epl_cast(g, x, EPL_U8), (epl_pool_opts){ .kernel = { 2 } }), EPL_SHAPE(1, 2, 2, 1), 0, 6, 8, 14, 16);
        EXPECT(epl_lp_pool(g, x, 2, (epl_pool_opts){ .kernel = { 2 } }), EPL_SHAPE(1, 2, 2, 1), 1e-12, sqrt(66), sqrt(138), sqrt(546),
               sqrt(746));
    });
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 5, 5, 1), 1, 1);
        const epl_pool_opts all = { .kernel = { 5 }, .stride = { 1 }, .pad = 2, .count_include_pad = true };
        epl_value *y = epl_slice_axis(g, epl_average_pool(g, x, all), 1, 0, 2);
        EXPECT(y, EPL_SHAPE(1, 2, 5, 1), 1e-9, 2.52, 3.6, 4.8, 4.08, 3.24, 4.56, 6.4, 8.4, 7.04, 5.52);
    });
}

TEST(global_and_adaptive_pools)
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 3, 2), 1, 1); // 1 2; 3 4; 5 6
        EXPECT(epl_global_average_pool(g, x), EPL_SHAPE(1, 2), 0, 3, 4);
        EXPECT(epl_global_max_pool(g, x), EPL_SHAPE(1, 2), 0, 5, 6);
        EXPECT(epl_adaptive_average_pool(g, x, (int[]){ 2 }), EPL_SHAPE(1, 2, 2), 0, 2, 3, 4, 5);
    });
}

TEST(pools_refuse_what_does_not_fit)
{
    REFUSED("padding of 2 and 2, but the window spans only 2",
            epl_max_pool(g, ramp(g, EPL_SHAPE(1, 4, 1), 0, 1), (epl_pool_opts){ .kernel = { 2 }, .pad = 2 }));
    REFUSED("rank 2", epl_max_pool(g, ramp(g, EPL_SHAPE(4, 1), 0, 1), (epl_pool_opts){ .kernel = { 2 } }));
}

/* ---- resize ---- */
#define TWO_BY_TWO EPL_SHAPE(1, 2, 2, 1)

TEST(resize_by_cubics) /* ONNX: resize_downsample_scales_cubic, ..._A_n0p5_exclude_outside, resize_upsample_..._align_corners */
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 4, 4, 1), 1, 1);
        epl_resize_opts o = { .scale = { 0.8 }, .mode = EPL_CUBIC };
        EXPECT(epl_resample(g, x, o), EPL_SHAPE(1, 3, 3, 1), 2e-6, 1.47119141, 2.78125, 4.08251953, 6.71142578, 8.02148438, 9.32275391,
               11.91650391, 13.2265625, 14.52783203);
        o.cubic_a = -0.5;
        o.exclude_outside = true;
        EXPECT(epl_resample(g, x, o), EPL_SHAPE(1, 3, 3, 1), 2e-6, 1.36812675, 2.6695013, 4.01333666, 6.57362509, 7.875, 9.21883487,
               11.94896603, 13.25034142, 14.59417629);
        epl_value *y = epl_resample(g, x, (epl_resize_opts){ .scale = { 2 }, .mode = EPL_CUBIC, .coordinates = EPL_ALIGN_CORNERS });
        EXPECT(epl_slice_axis(g, y, 1, 1, 2), EPL_SHAPE(1, 1, 8, 1), 2e-6, 2.364431, 2.705539, 3.164723, 3.693877, 4.034986, 4.56414,
               5.023324, 5.364431);
    });
}

TEST(resize_linearly) /* ONNX: resize_downsample_scales_linear, ..._align_corners, ..._sizes_linear_pytorch_half_pixel */
{
    GRAPH({
        EXPECT(epl_resample(g, ramp(g, EPL_SHAPE(1, 2, 4, 1), 1, 1), (epl_resize_opts){ .scale = { 0.6 }, .mode = EPL_LINEAR }),
               EPL_SHAPE(1, 1, 2, 1), 1e-6, 2.6666665, 4.3333333);
        epl_value *up = epl_resample(g, ramp(g, TWO_BY_TWO, 1, 1),
                                     (epl_resize_opts){ .scale = { 2 }, .mode = EPL_LINEAR, .coordinates = EPL_ALIGN_CORNERS });
        EXPECT(epl_slice_axis(g, up, 1, 0, 2), EPL_SHAPE(1, 2, 4, 1), 1e-6, 1, 4. / 3, 5. / 3, 2, 5. / 3, 2, 7. / 3, 8. / 3);
        EXPECT(epl_resample(g, ramp(g, EPL_SHAPE(1, 4, 4, 1), 1, 1),
                            (epl_resize_opts){ .size = { 3, 1 }, .mode = EPL_LINEAR, .coordinates = EPL_PYTORCH_HALF_PIXEL }),
               EPL_SHAPE(1, 3, 1, 1), 1e-6, 5. / 3, 7, 37. / 3);
        // a tent as wide as four pixels over 1..4, cut at the edges: (1*3 + 2*7/2 ... ) by hand: weights .125 .375 .375 .125 of 1 3
        EXPECT(epl_resample(g, ramp(g, EPL_SHAPE(1, 4, 1), 1, 1),
                            (epl_resize_opts){ .scale = { 0.5 }, .mode = EPL_LINEAR, .antialias = true }),
               EPL_SHAPE(1, 2, 1), 1e-12, 0.125 * 1 + 0.375 * 1 + 0.375 * 2 + 0.125 * 3,
               0.125 * 2 + 0.375 * 3 + 0.375 * 4 + 0.125 * 4);
    });
}

TEST(resize_to_the_nearest) /* ONNX: ..._nearest_ceil_half_pixel, ..._nearest_round_prefer_ceil_asymmetric */
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 4, 1), 1, 1);
        EXPECT(epl_resample(g, x, (epl_resize_opts){ .size = { 8 }, .nearest = EPL_CEIL }), EPL_SHAPE(1, 8, 1), 0, 1, 2, 2, 3, 3, 4, 4, 4);
        EXPECT(epl_resample(g, x, (epl_resize_opts){ .size = { 8 }, .nearest = EPL_ROUND_PREFER_CEIL, .coordinates = EPL_ASYMMETRIC }),
               EPL_SHAPE(1, 8, 1), 0, 1, 2, 2, 3, 3, 4, 4, 4);
        EXPECT(epl_resample(g, x, (epl_resize_opts){ .scale = { 2 } }), EPL_SHAPE(1, 8, 1), 0, 1, 1, 2, 2, 3, 3, 4, 4);
    });
    REFUSED("a scale, or one of size and like", epl_resample(g, ramp(g, TWO_BY_TWO, 0, 1), (epl_resize_opts){ 0 }));
}

TEST(depth_to_space_and_back)
{
    GRAPH({
        epl_value *x = ramp(g, EPL_SHAPE(1, 1, 2, 8), 0, 1);
        EXPECT(epl_depth_to_space(g, x, 2, false), EPL_SHAPE(1, 2, 4, 2), 0, 0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
        EXPECT(epl_depth_to_space(g, x, 2, true), EPL_SHAPE(1, 2, 4, 2), 0, 0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15);
        EXPECT(epl_space_to_depth(g, epl_depth_to_space(g, x, 2, false), 2), EPL_SHAPE(1, 1, 2, 8), 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
               12, 13, 14, 15);
    });
}

/* ---- normalisation ---- */
TEST(normalisations_of_small_sets)
{
    const double h = 1 / sqrt(1 + 1e-5);
    GRAPH({ // channels 1 3 and 2 6: means 2 4, variances 1 4
        epl_value *x = values(g, EPL_SHAPE(2, 2), (double[]){ 1, 2, 3, 6 }), *scale = ramp(g, EPL_SHAPE(2), 1, 1),
                  *bias = ramp(g, EPL_SHAPE(2), 10, 0);
        epl_value *mean, *var, *y = epl_normalize_batch_train(g, x, scale, bias, 0, &mean, &var);
        const double k = 2 / sqrt(4 + 1e-5);
        EXPECT(y, EPL_SHAPE(2, 2), 1e-12, 10 - h, 10 - 2 * k, 10 + h, 10 + 2 * k);
        EXPECT(mean, EPL_SHAPE(2), 0, 2, 4);
        EXPECT(var, EPL_SHAPE(2), 0, 1, 4);
        EXPECT(epl_normalize_batch(g, x, scale, bias, ramp(g, EPL_SHAPE(2), 1, 0), ramp(g, EPL_SHAPE(2), 0.99, 0), 0.01,
                                   0.9),
               EPL_SHAPE(2, 2), 1e-12, 10, 12, 12, 20);
        EXPECT(epl_normalize_layer(g, x, NULL, NULL, -1, 0.75), EPL_SHAPE(2, 2), 1e-12, -0.5, 0.5, -1.5 / sqrt(3), 1.5 / sqrt(3));
        EXPECT(epl_normalize_rms(g, x, scale, -1, 1e-30), EPL_SHAPE(2, 2), 1e-12, 1 / sqrt(2.5), 4 / sqrt(2.5),
               3 / sqrt(22.5), 12 / sqrt(22.5));
        EXPECT(epl_normalize_lp(g, x, 0, 1), EPL_SHAPE(2, 2), 1e-12, 0.25, 0.25, 0.75, 0.75);
    });
    GRAPH({ // [1, 2, 4]: groups of two channels over two places: {0 1 4 5} and {2 3 6 7}
        epl_value *x = ramp(g, EPL_SHAPE(1, 2, 4), 0, 1);
        const double s = 1 / sqrt(4.25 + 1e-5), a = -2.5 * s, b = -1.5 * s;
        EXPECT(epl_normalize_group(g, x, NULL, NULL, 2, 0), EPL_SHAPE(1, 2, 4), 1e-12, a, b, a, b, -b, -a, -b, -a);
        const double i = 2 / sqrt(4 + 1e-5);
        EXPECT(epl_normalize_instance(g, x, NULL, NULL, 0), EPL_SHAPE(1, 2, 4), 1e-12, -i, -i, -i, -i, i, i, i, i);
    });
    GRAPH({ // three channels, neighbours within one: 1 + (x^2 sums 5, 14, 13) / 3
        epl_value *y = epl_normalize_local(g, ramp(g, EPL_SHAPE(1, 3), 1, 1), 3, 1, 1, 1);
        EXPECT(y, EPL_SHAPE(1, 3), 1e-12, 1 / (1 + 5. / 3), 2 / (1 + 14. / 3), 3 / (1 + 13. / 3));
    });
    REFUSED("3 groups do not divide 4 channels", epl_normalize_group(g, ramp(g, EPL_SHAPE(1, 2, 4), 0, 1), NULL, NULL, 3, 0));
    REFUSED("the second is [3], but [4] is needed",
            epl_normalize_layer(g, ramp(g, EPL_SHAPE(1, 2, 4), 0, 1), ramp(g, EPL_SHAPE(3), 0, 1), NULL, -1, 0));
}

/* ---- softmax and losses ---- */
TEST(softmax_along_an_axis)
{
    GRAPH({
        epl_value *x = values(g, EPL_SHAPE(2, 2), (double[]){ 0, 1000, log(3), 1000 });
        EXPECT(epl_softmax(g, x, 0), EPL_SHAPE(2, 2), 1e-12, 0.25, 0.5, 0.75, 0.5);
        EXPECT(epl_log_softmax(g, x, 0), EPL_SHAPE(2, 2), 1e-12, log(0.25), log(0.5), log(0.75), log(0.5));
        EXPECT(epl_softmax(g, values(g, EPL_SHAPE(2), (double[]){ -INFINITY, 5 }), -1), EPL_SHAPE(2), 0, 0, 1);
    });
}

TEST(cross_entropy_with_weights_smoothing_and_ignored_rows)
{
    GRAPH({
        epl_value *x = values(g, EPL_SHAPE(3, 3), (double[]){ 1, 2, 3, 0, -1, 2, 9, 9, 9 });
        epl_value *labels = integers(g, 3, (int64_t[]){ 2, 0, 1 }), *w = values(g, EPL_SHAPE(3), (double[]){ 1, 0.5, 2 });
        const double a = 0.8645780985183953, b = 2.089343453215557; // rows 0 and 1 with class weights and smoothing 0.1
        epl_cross_entropy_opts o = { .smoothing = 0.1, .weights = w, .ignore = true, .ignore_index = 1, .reduction = EPL_NONE };
        EXPECT(epl_softmax_cross_entropy(g, x, labels, o), EPL_SHAPE(3), 1e-12, a, b, 0);
        o.reduction = EPL_SUM;
        EXPECT(epl_softmax_cross_entropy(g, x, labels, o), EPL_SCALAR, 1e-12, a + b);
        o.reduction = EPL_MEAN; // by the weights of the labels that count: 2 + 1
        EXPECT(epl_softmax_cross_entropy(g, x, labels, o), EPL_SCALAR, 1e-12, (a + b) / 3);
        o.sample_weights = values(g, EPL_SHAPE(3), (double[]){ 1, 0.25, 1 });
        EXPECT(epl_softmax_cross_entropy(g, x, labels, o), EPL_SCALAR, 1e-12, (a + b / 4) / 2.25);
        epl_value *soft = values(g, EPL_SHAPE(3, 3), (double[]){ 0, 0, 1, 1, 0, 0, 0, 0.5, 0.5 });
        EXPECT(epl_softmax_cross_entropy(g, x, soft, (epl_cross_entropy_opts){ .smoothing = 0.1, .weights = w, .reduction = EPL_NONE }),
               EPL_SHAPE(3), 1e-12, a, b, log(3) * (0.9 * 1.25 + 0.1 / 3 * 3.5));
        EXPECT(epl_nll_loss(g, epl_log_softmax(g, x, -1), integers(g, 3, (int64_t[]){ 0, 1, 2 }), EPL_NONE), EPL_SHAPE(3), 1e-12,
               log(exp(1) + exp(2) + exp(3)) - 1, log(1 + exp(-1) + exp(2)) + 1, log(3));
    });
    REFUSED("the target is [2], but [3] is needed",
            epl_softmax_cross_entropy(g, ramp(g, EPL_SHAPE(3, 2), 0, 1), integers(g, 2, (int64_t[]){ 0, 0 }),
                                      (epl_cross_entropy_opts){ 0 }));
}

TEST(losses_of_single_elements)
{
    GRAPH({
        epl_value *x = values(g, EPL_SHAPE(2), (double[]){ 0.5, -3 }), *zero = ramp(g, EPL_SHAPE(2), 0, 0),
                  *one = ramp(g, EPL_SHAPE(2), 1, 0);
        EXPECT(epl_mse_loss(g, x, zero, EPL_MEAN), EPL_SCALAR, 1e-12, 9.25 / 2);
        EXPECT(epl_l1_loss(g, x, zero, EPL_SUM), EPL_SCALAR, 1e-12, 3.5);
        EXPECT(epl_huber_loss(g, x, zero, 1, EPL_NONE), EPL_SHAPE(2), 1e-12, 0.125, 2.5);
        EXPECT(epl_smooth_l1_loss(g, x, zero, 2, EPL_NONE), EPL_SHAPE(2), 1e-12, 0.0625, 2);
        const double p = 1 / (1 + exp(-0.5)), q = 1 / (1 + exp(3));
        EXPECT(epl_bce_with_logits_loss(g, x, one, (epl_bce_opts){ .reduction = EPL_NONE }), EPL_SHAPE(2), 1e-12, -log(p), -log(q));
        EXPECT(epl_bce_with_logits_loss(g, x, one, (epl_bce_opts){ .reduction = EPL_NONE, .positive_weight = ramp(g, EPL_SHAPE(1), 3, 0) }),
               EPL_SHAPE(2), 1e-12, -3 * log(p), -3 * log(q));
        EXPECT(epl_focal_loss(g, x, one, (epl_focal_opts){ .reduction = EPL_NONE }), EPL_SHAPE(2), 1e-12,
               -0.25 * (1 - p) * (1 - p) * log(p), -0.25 * (1 - q) * (1 - q) * log(q));
        EXPECT(epl_focal_loss(g, x, zero, (epl_focal_opts){ .alpha = -1, .gamma = 1, .reduction = EPL_NONE }), EPL_SHAPE(2), 1e-12,
               -p * log(1 - p), -q * log(1 - q));
    });
    GRAPH({
        epl_value *p = values(g, EPL_SHAPE(1, 2, 1), (double[]){ 0.5, 1 }), *target = values(g, EPL_SHAPE(1, 2, 1), (double[]){ 0, 1 });
        EXPECT(epl_dice_loss(g, p, target, (epl_dice_opts){ 0 }), EPL_SCALAR, 1e-12, 1 - 3 / 3.5);
        epl_value *student = values(g, EPL_SHAPE(1, 2), (double[]){ 0, 0 }),
                  *teacher = values(g, EPL_SHAPE(1, 2), (double[]){ 2 * log(3), 0 });
        EXPECT(epl_kl_div_loss(g, student, teacher, 2, EPL_MEAN), EPL_SCALAR, 1e-12, 4 * (0.75 * log(1.5) + 0.25 * log(0.5)));
    });
}

/* ---- random draws ---- */
TEST(draws_are_philox)
{
    GRAPH({ // seed 3, step 5; the first draw of a graph made here with stream 7
        epl_value *key = integers(g, 2, (int64_t[]){ 3, 5 });
        g->next_stream = 7;
        EXPECT(epl_random_uniform(g, key, 0, 1, (epl_random_opts){ .shape = EPL_SHAPE(6), .dtype = EPL_F64 }), EPL_SHAPE(6), 1e-15,
               0.8324676156044006, 0.1498975157737732, 0.2783306837081909, 0.32173293828964233, 0.9759325981140137, 0.17822670936584473);
        g->next_stream = 7;
        EXPECT(epl_random_normal(g, key, 0, 1, (epl_random_opts){ .shape = EPL_SHAPE(6), .dtype = EPL_F64 }), EPL_SHAPE(6), 1e-12,
               0.35626380231730126, 0.4896916726386106, -0.6966827521715466, 1.4396262160286128, 0.0962033017508754, 0.1986664295630643);
        g->next_stream = 7;
        EXPECT(epl_random_bernoulli(g, key, 0.3, (epl_random_opts){ .shape = EPL_SHAPE(6), .dtype = EPL_F64 }),
               EPL_SHAPE(6), 0, 0, 1, 1, 0, 0, 1);
        g->next_stream = 7; // kept where the draw is below 0.7
        epl_value *x = ramp(g, EPL_SHAPE(3, 1, 2), 1, 1);
        EXPECT(epl_dropout_train(g, x, 0.3, false, key), EPL_SHAPE(3, 1, 2), 1e-12, 0, 2 / 0.7, 3 / 0.7, 4 / 0.7, 0, 6 / 0.7);
        g->next_stream = 7;
        EXPECT(epl_drop_path_train(g, x, 0.3, key), EPL_SHAPE(3, 1, 2), 1e-12, 0, 0, 3 / 0.7, 4 / 0.7, 5 / 0.7, 6 / 0.7);
        EXPECT(epl_dropout(g, x, 0.3, false), EPL_SHAPE(3, 1, 2), 0, 1, 2, 3, 4, 5, 6);
        CHECK_INT(t, g->next_stream, 8);
    });
    REFUSED("the key must be i64[2]", epl_random_uniform(g, ramp(g, EPL_SHAPE(2), 0, 1), 0, 1, (epl_random_opts){ 0 }));
    REFUSED("must be in [0, 1)", epl_dropout(g, ramp(g, EPL_SHAPE(2), 0, 1), 1, false));
}

/* ---- recurrences: both directions, lengths 3 and 2, every optional input; numbers of a script of ONNX's equations that agrees
 * with ONNX's gru_seq_length, lstm_with_peepholes and rnn_seq_length to 4e-8 ---- */
static epl_recurrent_opts everything(epl_graph *g)
{
    return (epl_recurrent_opts){ .direction = EPL_BIDIRECTIONAL, .lengths = integers(g, 2, (int64_t[]){ 3, 2 }),
                                 .h0 = wave(g, EPL_SHAPE(2, 2, 2), 4) };
}

TEST(lstm_in_both_directions)
{
    GRAPH({
        epl_recurrent_opts o = everything(g);
        epl_value *h, *c;
        o.c0 = wave(g, EPL_SHAPE(2, 2, 2), 5);
        o.peepholes = wave(g, EPL_SHAPE(2, 6), 6);
        epl_value *y = epl_recur_lstm(g, wave(g, EPL_SHAPE(2, 3, 2), 0), wave(g, EPL_SHAPE(2, 2, 8), 1), wave(g, EPL_SHAPE(2, 2, 8), 2),
                                      wave(g, EPL_SHAPE(2, 16), 3), o, &h, &c);
        EXPECT(y, EPL_SHAPE(2, 3, 4), 1e-12, -0.012621797088217975, -0.07460462126871607, -0.27553458829574057, 0.024508484452646546,
               -0.1791804979678552, 0.11556804505863075, -0.6517602479202554, -0.39536192258437025, 0.12016619592200894,
               0.10606094633461403, -0.25018660710253365, 0.11637132203533292, 0.08191971261774961, 0.04398555776459035,
               0.010145211150780726, 0.034629898280097264, 0.15752461438279022, 0.13437210245000153, -0.6389675834597935,
               -0.2539389392363409, 0, 0, 0, 0);
        EXPECT(h, EPL_SHAPE(2, 2, 2), 1e-12, 0.12016619592200894, 0.10606094633461403, -0.27553458829574057, 0.024508484452646546,
               0.15752461438279022, 0.13437210245000153, 0.010145211150780726, 0.034629898280097264);
        EXPECT(c, EPL_SHAPE(2, 2, 2), 1e-12, 0.5087921154970328, 0.6007120230201302, -0.48231615834017866, 0.06644879844829757,
               0.8106923755673858, 0.7198987492825437, 0.04128438186500984, 0.7536227723232858);
    });
}

TEST(gru_in_both_forms)
{
    GRAPH({
        epl_recurrent_opts o = everything(g);
        epl_value *x = wave(g, EPL_SHAPE(2, 3, 2), 0), *w = wave(g, EPL_SHAPE(2, 2, 6), 1), *r = wave(g, EPL_SHAPE(2, 2, 6), 2);
        epl_value *b = wave(g, EPL_SHAPE(2, 12), 3), *h;
        epl_recur_gru(g, x, w, r, b, o, &h);
        EXPECT(h, EPL_SHAPE(2, 2, 2), 1e-12, -0.587576052291394, -0.6090339997540943, -0.0853849011629272, 0.2958240073553094,
               -0.06325208957803521, 0.13265378858384314, 0.8259286856628536, 0.8823583662124581);
        o.linear_before_reset = true;
        epl_recur_gru(g, x, w, r, b, o, &h);
        EXPECT(h, EPL_SHAPE(2, 2, 2), 1e-12, -0.419537733423346, -0.2515223784342313, 0.19561943903675927, 0.20453874595722826,
               0.04345244615170524, 0.5107013311711097, 0.9311105396352114, 0.904995849891321);
    });
}

TEST(rnn_in_both_directions)
{
    GRAPH({
        epl_value *h, *y = epl_recur_rnn(g, wave(g, EPL_SHAPE(2, 3, 2), 0), wave(g, EPL_SHAPE(2, 2, 2), 1), wave(g, EPL_SHAPE(2, 2, 2), 2),
                                         wave(g, EPL_SHAPE(2, 4), 3), everything(g), &h);
        EXPECT(epl_slice_axis(g, y, 1, 2, 3), EPL_SHAPE(2, 1, 4), 1e-12, -0.5152526962663403, -0.7427637671840412, 0.8393406336503608,
               0.8971847745151929, 0, 0, 0, 0);
        EXPECT(h, EPL_SHAPE(2, 2, 2), 1e-12, -0.5152526962663403, -0.7427637671840412, 0.6220394965076389, 0.9165771364596751,
               -0.9605303901382646, -0.9327830448645273, 0.9584207558973428, 0.9962826318846526);
    });
    REFUSED("the input weight is [1, 2, 3], but [1, 2, 8] is needed",
            epl_recur_lstm(g, wave(g, EPL_SHAPE(1, 1, 2), 0), wave(g, EPL_SHAPE(1, 2, 3), 0), wave(g, EPL_SHAPE(1, 2, 8), 0), NULL,
                           (epl_recurrent_opts){ 0 }, NULL, NULL));
}
