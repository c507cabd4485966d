/* Operators that cast, reduce, sort and move: numbers worked out by hand or with NumPy. That their gradients are right is
 * tested in test_operators.c; here stand the cases that random nodes do not draw. */
#include "common/expect.h"

#include <espalier/grad.h>
#include <espalier/ops.h>

#define GRAPH(name) epl_context *ctx = test_context(t); epl_graph *name = epl_graph_new(ctx, "test")

TEST(casts_truncate_saturate_and_wrap)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(8), 1.9, -1.9, 300, -300, NAN, INFINITY, -INFINITY, 0);
    EXPECT(t, epl_cast(g, x, EPL_I8), EPL_SHAPE(8), 1, -1, 127, -128, 0, 127, -128, 0);
    EXPECT(t, epl_cast(g, x, EPL_U8), EPL_SHAPE(8), 1, 0, 255, 0, 0, 255, 0, 0);
    EXPECT(t, epl_cast(g, x, EPL_U64), EPL_SHAPE(8), 1, 0, 300, 0, 0, 18446744073709551615.0, 0, 0);
    EXPECT(t, epl_cast(g, x, EPL_BOOL), EPL_SHAPE(8), 1, 1, 1, 1, 1, 1, 1, 0);
    EXPECT(t, epl_cast(g, VALUES(g, EPL_F64, EPL_SHAPE(3), 65504, 65520, 1 + 1.0 / 2048), EPL_F16), EPL_SHAPE(3), 65504, INFINITY, 1);
    EXPECT(t, epl_cast(g, VALUES(g, EPL_I32, EPL_SHAPE(3), 300, -1, 129), EPL_I8), EPL_SHAPE(3), 44, -1, -127);
    EXPECT(t, epl_cast(g, VALUES(g, EPL_I32, EPL_SHAPE(2), -1, 7), EPL_U8), EPL_SHAPE(2), 255, 7);
    CHECK(t, epl_cast(g, x, EPL_F64) == x);
    epl_graph_free(g);
}

TEST(reductions_over_some_all_and_no_axes)
{
    GRAPH(g);
    epl_value *x = expect_counting(g, EPL_F32, EPL_SHAPE(2, 3, 2), 1); // 1 .. 12
    EXPECT(t, epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(0, 2) }), EPL_SHAPE(3), 18, 26, 34);
    EXPECT(t, epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(-2), .keep = true }), EPL_SHAPE(2, 1, 2), 9, 12, 27, 30);
    EXPECT(t, epl_reduce_mean(g, x, (epl_reduce_opts){ 0 }), EPL_SCALAR, 6.5);
    EXPECT(t, epl_reduce_max(g, x, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2, 2), 5, 6, 11, 12);
    EXPECT(t, epl_reduce_min(g, x, (epl_reduce_opts){ .keep = true }), EPL_SHAPE(1, 1, 1), 1);
    EXPECT(t, epl_reduce_prod(g, x, (epl_reduce_opts){ EPL_AXES(1, 2) }), EPL_SHAPE(2), 720, 665280);
    epl_value *y = VALUES(g, EPL_F64, EPL_SHAPE(2, 2), -3, 4, 0, 0);
    EXPECT(t, epl_reduce_l1(g, y, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), 7, 0);
    EXPECT(t, epl_reduce_l2(g, y, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), 5, 0);
    EXPECT(t, epl_reduce_sum_square(g, y, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), 25, 0);
    EXPECT(t, epl_reduce_log_sum(g, VALUES(g, EPL_F64, EPL_SHAPE(2), 1, 3), (epl_reduce_opts){ 0 }), EPL_SCALAR, 1.3862943611198906);
    epl_value *big = VALUES(g, EPL_F64, EPL_SHAPE(2, 2), 1000, 1000, -INFINITY, -INFINITY);
    EXPECT(t, epl_reduce_log_sum_exp(g, big, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), 1000.6931471805599, -INFINITY);
    epl_graph_free(g);
}

TEST(reductions_of_integers_are_exact)
{
    GRAPH(g);
    const int64_t big[] = { INT64_MAX - 1, 1, -5, 3 };
    epl_value *x = epl_constant_i64(g, 4, big);
    epl_tensor *sum = expect_evaluate(t, __FILE__, __LINE__, epl_reduce_sum(g, x, (epl_reduce_opts){ 0 }));
    CHECK(t, epl_tensor_get_i64(sum, 0) == INT64_MAX - 2); // not a double on the way
    epl_tensor_free(sum);
    EXPECT(t, epl_reduce_mean(g, VALUES(g, EPL_I32, EPL_SHAPE(2), -3, -4), (epl_reduce_opts){ 0 }), EPL_SCALAR, -3); // towards zero
    epl_value *u = VALUES(g, EPL_U64, EPL_SHAPE(2), 18446744073709549568.0, 1);
    EXPECT(t, epl_reduce_max(g, u, (epl_reduce_opts){ 0 }), EPL_SCALAR, 18446744073709549568.0);
    EXPECT(t, epl_reduce_min(g, u, (epl_reduce_opts){ 0 }), EPL_SCALAR, 1);
    epl_graph_free(g);
}

TEST(empty_and_nan_reductions)
{
    GRAPH(g);
    epl_value *none = VALUES(g, EPL_F32, EPL_SHAPE(2, 0), 0);
    EXPECT(t, epl_reduce_sum(g, none, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), 0, 0);
    EXPECT(t, epl_reduce_prod(g, none, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), 1, 1);
    EXPECT(t, epl_reduce_max(g, none, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), -INFINITY, -INFINITY);
    EXPECT(t, epl_reduce_mean(g, none, (epl_reduce_opts){ EPL_AXES(1) }), EPL_SHAPE(2), NAN, NAN);
    epl_value *odd = VALUES(g, EPL_F32, EPL_SHAPE(3), 1, NAN, 2);
    EXPECT(t, epl_reduce_max(g, odd, (epl_reduce_opts){ 0 }), EPL_SCALAR, NAN);
    EXPECT(t, epl_reduce_min(g, odd, (epl_reduce_opts){ 0 }), EPL_SCALAR, NAN);
    epl_graph_free(g);
}

/* The gradient of v's sum by x. */
static epl_value *slope(test *t, epl_graph *g, epl_value *v, epl_value *x)
{
    epl_value *dx = NULL;
    CHECK_OK(t, g->ctx, epl_gradient(g, epl_reduce_sum(g, v, (epl_reduce_opts){ 0 }), 1, &x, &dx));
    return dx;
}

TEST(gradients_at_ties_and_zeros)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(2, 3), 2, 2, 1, 0, 3, 4);
    EXPECT(t, slope(t, g, epl_reduce_max(g, x, (epl_reduce_opts){ EPL_AXES(1) }), x), EPL_SHAPE(2, 3), 0.5, 0.5, 0, 0, 0, 1);
    EXPECT(t, slope(t, g, epl_reduce_prod(g, x, (epl_reduce_opts){ EPL_AXES(1) }), x), EPL_SHAPE(2, 3), 2, 2, 4, 12, 0, 0);
    epl_value *zeros = VALUES(g, EPL_F64, EPL_SHAPE(3), 0, 0, 5);
    EXPECT(t, slope(t, g, epl_reduce_prod(g, zeros, (epl_reduce_opts){ 0 }), zeros), EPL_SHAPE(3), 0, 0, 0);
    EXPECT(t, slope(t, g, epl_reduce_l2(g, zeros, (epl_reduce_opts){ EPL_AXES(0) }), zeros), EPL_SHAPE(3), 0, 0, 1);
    epl_value *flat = VALUES(g, EPL_F64, EPL_SHAPE(2), 0, 0);
    EXPECT(t, slope(t, g, epl_reduce_l2(g, flat, (epl_reduce_opts){ 0 }), flat), EPL_SHAPE(2), 0, 0);
    epl_graph_free(g);
}

TEST(sorting_and_positions)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F32, EPL_SHAPE(2, 4), 3, 1, 3, 2, -1, NAN, 0, 5), *at = NULL;
    EXPECT(t, epl_topk(g, x, -1, 2, (epl_topk_opts){ 0 }, &at), EPL_SHAPE(2, 2), 3, 3, NAN, 5);
    EXPECT(t, at, EPL_SHAPE(2, 2), 0, 2, 1, 3);
    EXPECT(t, epl_topk(g, x, 1, 0, (epl_topk_opts){ .smallest = true }, &at), EPL_SHAPE(2, 4), 1, 2, 3, 3, -1, 0, 5, NAN);
    EXPECT(t, at, EPL_SHAPE(2, 4), 1, 3, 0, 2, 0, 2, 3, 1);
    EXPECT(t, epl_topk(g, x, 0, 1, (epl_topk_opts){ 0 }, NULL), EPL_SHAPE(1, 4), 3, NAN, 3, 5);
    epl_value *y = VALUES(g, EPL_I32, EPL_SHAPE(2, 3), 5, 1, 5, 7, 9, 1);
    EXPECT(t, epl_argmax(g, y, 1, (epl_arg_opts){ 0 }), EPL_SHAPE(2), 0, 1);
    EXPECT(t, epl_argmax(g, y, 1, (epl_arg_opts){ .select_last = true, .keep = true }), EPL_SHAPE(2, 1), 2, 1);
    EXPECT(t, epl_argmin(g, y, 0, (epl_arg_opts){ 0 }), EPL_SHAPE(3), 0, 0, 1);
    epl_graph_free(g);
}

TEST(reshapes_and_transposes)
{
    GRAPH(g);
    epl_value *x = expect_counting(g, EPL_I16, EPL_SHAPE(2, 3, 4), 0);
    CHECK(t, epl_shape_equal(epl_shape_of(epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1))), EPL_SHAPE(2, 12)));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_flatten(g, x, -1)), EPL_SHAPE(6, 4)));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_flatten(g, x, 0)), EPL_SHAPE(1, 24)));
    epl_value *thin = epl_unsqueeze(g, x, 2, (const int[]){ 0, -1 });
    CHECK(t, epl_shape_equal(epl_shape_of(thin), EPL_SHAPE(1, 2, 3, 4, 1)));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_squeeze(g, thin, 1, (const int[]){ -1 })), EPL_SHAPE(1, 2, 3, 4)));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_squeeze(g, thin, 0, NULL)), EPL_SHAPE(2, 3, 4)));
    epl_value *y = expect_counting(g, EPL_U8, EPL_SHAPE(2, 3), 0);
    EXPECT(t, epl_transpose(g, y, 0, NULL), EPL_SHAPE(3, 2), 0, 3, 1, 4, 2, 5);
    EXPECT(t, epl_swap_axes(g, epl_reshape(g, y, EPL_SHAPE(1, 2, 3)), 0, -1), EPL_SHAPE(3, 2, 1), 0, 3, 1, 4, 2, 5);
    EXPECT(t, epl_permute(g, epl_reshape(g, y, EPL_SHAPE(2, 1, 3)), EPL_SHAPE(1, 2, 0)), EPL_SHAPE(1, 3, 2), 0, 3, 1, 4, 2, 5);
    epl_graph_free(g);
}

TEST(joining_and_cutting)
{
    GRAPH(g);
    epl_value *a = expect_counting(g, EPL_F32, EPL_SHAPE(2, 1, 2), 0), *b = expect_counting(g, EPL_F32, EPL_SHAPE(2, 2, 2), 10);
    epl_value *y = epl_concat(g, 2, (epl_value *[]){ a, b }, 1), *part[3];
    EXPECT(t, y, EPL_SHAPE(2, 3, 2), 0, 1, 10, 11, 12, 13, 2, 3, 14, 15, 16, 17);
    CHECK(t, epl_split(g, y, -1, 2, (const int64_t[]){ 1, 1 }, part));
    EXPECT(t, part[1], EPL_SHAPE(2, 3, 1), 1, 11, 13, 3, 15, 17);
    CHECK(t, epl_split(g, expect_counting(g, EPL_I64, EPL_SHAPE(7), 0), 0, 3, NULL, part));
    EXPECT(t, part[0], EPL_SHAPE(3), 0, 1, 2);
    EXPECT(t, part[2], EPL_SHAPE(1), 6);
    EXPECT(t, epl_stack(g, 2, (epl_value *[]){ part[0], part[1] }, -1), EPL_SHAPE(3, 2), 0, 3, 1, 4, 2, 5);
    epl_graph_free(g);
}

TEST(slices_as_in_python)
{
    GRAPH(g);
    epl_value *x = expect_counting(g, EPL_I32, EPL_SHAPE(2, 3, 4), 0);
    epl_value *y = epl_slice(g, x, (epl_slice_opts){ .n_axes = 2, .axes = { 1, -1 }, .starts = { EPL_END, 1 },
                                                     .ends = { EPL_BEGIN, -1 }, .steps = { -2, 1 } }); // x[:, ::-2, 1:-1]
    EXPECT(t, y, EPL_SHAPE(2, 2, 2), 9, 10, 1, 2, 21, 22, 13, 14);
    epl_value *v = expect_counting(g, EPL_F32, EPL_SHAPE(5), 0);
    EXPECT(t, epl_slice_axis(g, v, 0, -2, EPL_END), EPL_SHAPE(2), 3, 4);
    EXPECT(t, epl_slice_axis(g, v, 0, -100, 2), EPL_SHAPE(2), 0, 1);
    EXPECT(t, epl_reverse(g, v, 0), EPL_SHAPE(5), 4, 3, 2, 1, 0);
    epl_value *empty = epl_slice_axis(g, v, 0, 3, 2);
    CHECK_INT(t, epl_dim(empty, 0), 0);
    EXPECT(t, slope(t, g, epl_slice(g, v, (epl_slice_opts){ .n_axes = 1, .starts = { 4 }, .ends = { 0 }, .steps = { -3 } }), v),
           EPL_SHAPE(5), 0, 1, 0, 0, 1);
    epl_graph_free(g);
}

TEST(borders_as_in_numpy)
{
    GRAPH(g);
    epl_value *x = expect_counting(g, EPL_F32, EPL_SHAPE(4), 0), *s = expect_counting(g, EPL_F32, EPL_SHAPE(3), 0);
    EXPECT(t, epl_pad(g, x, (epl_pad_opts){ { 1 }, { 2 }, .value = 9 }), EPL_SHAPE(7), 9, 0, 1, 2, 3, 9, 9);
    EXPECT(t, epl_pad(g, x, (epl_pad_opts){ { -1 }, { -2 } }), EPL_SHAPE(1), 1);
    EXPECT(t, epl_pad(g, x, (epl_pad_opts){ { 3 }, { 2 }, EPL_PAD_REFLECT }), EPL_SHAPE(9), 3, 2, 1, 0, 1, 2, 3, 2, 1);
    EXPECT(t, epl_pad(g, x, (epl_pad_opts){ { 3 }, { 2 }, EPL_PAD_WRAP }), EPL_SHAPE(9), 1, 2, 3, 0, 1, 2, 3, 0, 1);
    EXPECT(t, epl_pad(g, x, (epl_pad_opts){ { 1 }, { 2 }, EPL_PAD_EDGE }), EPL_SHAPE(7), 0, 0, 1, 2, 3, 3, 3);
    EXPECT(t, epl_pad(g, s, (epl_pad_opts){ { 5 }, { 6 }, EPL_PAD_REFLECT }), EPL_SHAPE(14), 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0);
    epl_graph_free(g);
}

TEST(look_ups)
{
    GRAPH(g);
    epl_value *table = expect_counting(g, EPL_F32, EPL_SHAPE(3, 2), 0);
    epl_value *at = VALUES(g, EPL_I32, EPL_SHAPE(2, 2), 2, 0, -1, 7); // 7 lies outside
    epl_value *rows = epl_gather(g, table, at, 0);
    EXPECT(t, rows, EPL_SHAPE(2, 2, 2), 4, 5, 0, 1, 4, 5, 0, 0);
    EXPECT(t, slope(t, g, rows, table), EPL_SHAPE(3, 2), 1, 1, 0, 0, 2, 2);
    EXPECT(t, epl_gather(g, table, VALUES(g, EPL_I64, EPL_SCALAR, 1), 1), EPL_SHAPE(3), 1, 3, 5);
    EXPECT(t, epl_gather_elements(g, table, VALUES(g, EPL_I64, EPL_SHAPE(2, 2), 2, 0, 1, -1), 0), EPL_SHAPE(2, 2), 4, 1, 2, 5);
    EXPECT(t, epl_gather_nd(g, table, VALUES(g, EPL_I64, EPL_SHAPE(2, 2), 0, 1, 2, 0), 0), EPL_SHAPE(2), 1, 4);
    EXPECT(t, epl_gather_nd(g, table, VALUES(g, EPL_I64, EPL_SHAPE(3, 1), 0, 1, 0), 1), EPL_SHAPE(3), 0, 3, 4);
    EXPECT(t, epl_one_hot(g, VALUES(g, EPL_I64, EPL_SHAPE(3), 1, -1, 5), 3, (epl_one_hot_opts){ 0 }), EPL_SHAPE(3, 3), 0, 1, 0, 0, 0, 1,
           0, 0, 0);
    epl_graph_free(g);
}

TEST(scattering)
{
    GRAPH(g);
    epl_value *data = VALUES(g, EPL_F32, EPL_SHAPE(1, 5), 1, 2, 3, 4, 5), *at = VALUES(g, EPL_I64, EPL_SHAPE(1, 3), 1, 1, -2);
    epl_value *u = VALUES(g, EPL_F32, EPL_SHAPE(1, 3), 1.5, 2.5, 10);
    EXPECT(t, epl_scatter_elements(g, data, at, u, 1, EPL_SCATTER_SET), EPL_SHAPE(1, 5), 1, 2.5, 3, 10, 5);
    EXPECT(t, epl_scatter_elements(g, data, at, u, 1, EPL_SCATTER_ADD), EPL_SHAPE(1, 5), 1, 6, 3, 14, 5);
    EXPECT(t, epl_scatter_elements(g, data, at, u, 1, EPL_SCATTER_MUL), EPL_SHAPE(1, 5), 1, 7.5, 3, 40, 5);
    EXPECT(t, epl_scatter_elements(g, data, at, u, 1, EPL_SCATTER_MAX), EPL_SHAPE(1, 5), 1, 2.5, 3, 10, 5);
    EXPECT(t, epl_scatter_elements(g, data, at, u, 1, EPL_SCATTER_MIN), EPL_SHAPE(1, 5), 1, 1.5, 3, 4, 5);
    epl_value *square = expect_counting(g, EPL_I32, EPL_SHAPE(2, 2), 0);
    EXPECT(t,
           epl_scatter_nd(g, square, VALUES(g, EPL_I64, EPL_SHAPE(2, 2), 0, 1, 1, 0),
                          VALUES(g, EPL_I32, EPL_SHAPE(2), 7, 8), EPL_SCATTER_SET),
           EPL_SHAPE(2, 2), 0, 7, 8, 3);
    EXPECT(t,
           epl_scatter_nd(g, square, VALUES(g, EPL_I64, EPL_SHAPE(2, 1), 1, 1),
                          expect_counting(g, EPL_I32, EPL_SHAPE(2, 2), 1), EPL_SCATTER_ADD),
           EPL_SHAPE(2, 2), 0, 1, 6, 9);
    epl_graph_free(g);
}

TEST(repeating_and_summing_repetitions)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_I32, EPL_SHAPE(2, 1), 3, 4), *y = expect_counting(g, EPL_F64, EPL_SHAPE(2, 4), 0);
    EXPECT(t, epl_expand(g, x, EPL_SHAPE(1, EPL_KEEP, 2)), EPL_SHAPE(1, 2, 2), 3, 3, 4, 4);
    EXPECT(t, epl_tile(g, x, 2, (const int64_t[]){ 2, 2 }), EPL_SHAPE(4, 2), 3, 3, 4, 4, 3, 3, 4, 4);
    EXPECT(t, epl_sum_to(g, y, EPL_SHAPE(1, EPL_KEEP)), EPL_SHAPE(1, 4), 4, 6, 8, 10);
    EXPECT(t, epl_sum_to(g, y, EPL_SHAPE(4)), EPL_SHAPE(4), 4, 6, 8, 10);
    EXPECT(t, epl_sum_to(g, y, EPL_SHAPE(2, 2)), EPL_SHAPE(2, 2), 2, 4, 10, 12);
    EXPECT(t, epl_sum_to(g, y, EPL_SCALAR), EPL_SCALAR, 28);
    EXPECT(t, epl_fill_like(g, x, 5), EPL_SHAPE(2, 1), 5, 5);
    epl_graph_free(g);
}

TEST(running_along_an_axis)
{
    GRAPH(g);
    epl_value *x = expect_counting(g, EPL_F32, EPL_SHAPE(2, 3), 1);
    EXPECT(t, epl_cumsum(g, x, 1, (epl_cumsum_opts){ 0 }), EPL_SHAPE(2, 3), 1, 3, 6, 4, 9, 15);
    EXPECT(t, epl_cumsum(g, x, 1, (epl_cumsum_opts){ .exclusive = true, .reverse = true }), EPL_SHAPE(2, 3), 5, 3, 0, 11, 6, 0);
    EXPECT(t, epl_trilu(g, x, true, 1), EPL_SHAPE(2, 3), 0, 2, 3, 0, 0, 6);
    EXPECT(t, epl_trilu(g, x, false, 0), EPL_SHAPE(2, 3), 1, 0, 0, 4, 5, 0);
    EXPECT(t, epl_reverse_sequence(g, x, VALUES(g, EPL_I64, EPL_SHAPE(2), 2, 9), 0, 1), EPL_SHAPE(2, 3), 2, 1, 3, 6, 5, 4);
    EXPECT(t, epl_shape_value(g, x), EPL_SHAPE(2), 2, 3);
    EXPECT(t, epl_size(g, x, 1, (const int[]){ -1 }), EPL_SCALAR, 3);
    EXPECT(t, epl_range(g, EPL_I32, 5, 0, -2), EPL_SHAPE(3), 5, 3, 1);
    EXPECT(t, epl_positions(g, EPL_F32, x, 1), EPL_SHAPE(3), 0, 1, 2);
    EXPECT(t, epl_eye(g, EPL_U8, 2, 3, 1), EPL_SHAPE(2, 3), 0, 1, 0, 0, 0, 1);
    EXPECT(t, epl_non_zero(g, VALUES(g, EPL_F32, EPL_SHAPE(2, 2), 0, 3, 4, 0)), EPL_SHAPE(2, 2), 0, 1, 1, 0);
    epl_graph_free(g);
}

TEST(einsum_as_in_numpy)
{
    GRAPH(g);
    epl_value *a = expect_counting(g, EPL_F64, EPL_SHAPE(2, 3), 1), *b = expect_counting(g, EPL_F64, EPL_SHAPE(3, 4), 1);
    epl_value *p = expect_counting(g, EPL_F64, EPL_SHAPE(2, 3, 4), 0), *q = expect_counting(g, EPL_F64, EPL_SHAPE(2, 4, 3), 0);
#define EINSUM(equation, ...) epl_einsum(g, equation, (int)EPL_COUNT(((epl_value *[]){ __VA_ARGS__ })), (epl_value *[]){ __VA_ARGS__ })
    EXPECT(t, EINSUM("ij,jk", a, b), EPL_SHAPE(2, 4), 38, 44, 50, 56, 83, 98, 113, 128);
    EXPECT(t, EINSUM("bij,bjk->kb", p, q), EPL_SHAPE(3, 2), 342, 3510, 408, 3720, 474, 3930);
    EXPECT(t, EINSUM("...ii ->...i", expect_counting(g, EPL_F64, EPL_SHAPE(2, 3, 3), 0)), EPL_SHAPE(2, 3), 0, 4, 8, 9, 13, 17);
    EXPECT(t, EINSUM("ij,jk,kl->il", a, b, expect_counting(g, EPL_F64, EPL_SHAPE(4, 2), 0)), EPL_SHAPE(2, 2), 624, 812, 1416, 1838);
    EXPECT(t,
           EINSUM("bhqd,bkhd->bqhk", expect_counting(g, EPL_F64, EPL_SHAPE(1, 2, 2, 4), 0),
                  expect_counting(g, EPL_F64, EPL_SHAPE(1, 3, 2, 4), 0)),
           EPL_SHAPE(1, 2, 2, 3), 14, 62, 110, 214, 518, 822, 38, 214, 390, 302, 734, 1166);
    EXPECT(t, EINSUM("i,j", VALUES(g, EPL_F64, EPL_SHAPE(3), 1, 2, 3), VALUES(g, EPL_F64, EPL_SHAPE(2), 4, 5)), EPL_SHAPE(3, 2), 4, 5, 8,
           10, 12, 15);
    EXPECT(t, EINSUM("ij->", a), EPL_SCALAR, 21);
    EXPECT(t, EINSUM("...a,...a->...", expect_counting(g, EPL_F64, EPL_SHAPE(2, 3), 0), expect_counting(g, EPL_F64, EPL_SHAPE(3), 0)),
           EPL_SHAPE(2), 5, 14);
    EXPECT(t, EINSUM("abc,abc->b", p, p), EPL_SHAPE(3), 748, 1356, 2220);
    EXPECT(t,
           EINSUM("abcd,cdbe->ae", expect_counting(g, EPL_F64, EPL_SHAPE(2, 3, 2, 2), 0),
                  expect_counting(g, EPL_F64, EPL_SHAPE(2, 2, 3, 2), 0)),
           EPL_SHAPE(2, 2), 880, 946, 2464, 2674);
    epl_graph_free(g);
}

/* One wrong call each: the sentence names the numbers. */
#define REFUSED(code, words, call)                                                                                     \
    do {                                                                                                               \
        GRAPH(g);                                                                                                      \
        epl_value *x = expect_counting(g, EPL_F32, EPL_SHAPE(2, 3), 0);                                                \
        CHECK_FAILS(t, ctx, call, code, words);                                                                        \
        CHECK(t, epl_graph_failed(g) && epl_reduce_sum(g, x, (epl_reduce_opts){ 0 }) == NULL);                         \
        epl_graph_free(g);                                                                                             \
    } while (0)

TEST(wrong_calls_are_explained_axes_and_shapes)
{
    REFUSED(EPL_ERR_SHAPE, "axis 2 is outside a tensor of rank 2", epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(2) }));
    REFUSED(EPL_ERR_ARGUMENT, "axis 1 is named twice", epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(1, -1) }));
    REFUSED(EPL_ERR_DTYPE, "bool is not a number", epl_reduce_sum(g, epl_cast(g, x, EPL_BOOL), (epl_reduce_opts){ 0 }));
    REFUSED(EPL_ERR_DTYPE, "i32 is not a floating-point type", epl_reduce_l2(g, epl_cast(g, x, EPL_I32), (epl_reduce_opts){ 0 }));
    REFUSED(EPL_ERR_SHAPE, "[2, 3] (6 elements) does not fill [4, -1]", epl_reshape(g, x, EPL_SHAPE(4, -1)));
    REFUSED(EPL_ERR_SHAPE, "[-1, -1] leaves two dimensions open", epl_reshape(g, x, EPL_SHAPE(-1, -1)));
    REFUSED(EPL_ERR_SHAPE, "axis 1 has size 3; only 1 can be removed", epl_squeeze(g, x, 1, (const int[]){ 1 }));
    REFUSED(EPL_ERR_SHAPE, "3 axes in perm, the tensor has rank 2", epl_transpose(g, x, 3, (const int[]){ 0, 1, 2 }));
    REFUSED(EPL_ERR_SHAPE, "7 elements of the 3 along axis 1", epl_topk(g, x, 1, 7, (epl_topk_opts){ 0 }, NULL));
    REFUSED(EPL_ERR_SHAPE, "[2, 3] does not repeat to [4, 3]", epl_expand(g, x, EPL_SHAPE(4, 3)));
    REFUSED(EPL_ERR_SHAPE, "[2, 3] cannot be summed to [2, 2]", epl_sum_to(g, x, EPL_SHAPE(2, 2)));
    REFUSED(EPL_ERR_SHAPE, "1 repeats for a tensor of rank 2", epl_tile(g, x, 1, (const int64_t[]){ 2 }));
}

TEST(wrong_calls_are_explained_movement)
{
    REFUSED(EPL_ERR_SHAPE, "input 1 is [6], which does not join [2, 3] along axis 0",
            epl_concat(g, 2, (epl_value *[]){ x, epl_reshape(g, x, EPL_SHAPE(-1)) }, 0));
    REFUSED(EPL_ERR_SHAPE, "the parts have 2 elements along axis 1, [2, 3] has 3",
            epl_split(g, x, 1, 2, (const int64_t[]){ 1, 1 }, (epl_value *[2]){ NULL }));
    REFUSED(EPL_ERR_ARGUMENT, "a split into 1000000 parts", epl_apply(g, &epl_op_split, EPL_IN(x),
            ((const epl_attr[EPL_MAX_ATTRS]){ EPL_A_I(0), { 0 }, EPL_A_I(1000000) })));
    REFUSED(EPL_ERR_DTYPE, "77 is not an element type", epl_eye(g, (epl_dtype)77, 2, 2, 0));
    REFUSED(EPL_ERR_SHAPE, "[0, 1125899906842624] has no possible size", epl_eye(g, EPL_F32, 0, (int64_t)1 << 50, 0));
    REFUSED(EPL_ERR_ARGUMENT, "from 0 to 1 by 0 has no end", epl_range(g, EPL_F32, 0, 1, 0));
    REFUSED(EPL_ERR_ARGUMENT, "the step along axis 0 is 0", epl_apply(g, &epl_op_slice, EPL_IN(x), ((const epl_attr[EPL_MAX_ATTRS]){
            EPL_A_INTS(1, &(int64_t){ 0 }), EPL_A_INTS(1, &(int64_t){ 1 }), EPL_A_INTS(0, NULL), EPL_A_INTS(1, &(int64_t){ 0 }) })));
    REFUSED(EPL_ERR_SHAPE, "leave nothing of axis 1", epl_pad(g, x, (epl_pad_opts){ { 0, -2 }, { 0, -2 } }));
    REFUSED(EPL_ERR_DTYPE, "the indices are f32; integers are needed", epl_gather(g, x, x, 0));
    REFUSED(EPL_ERR_DTYPE, "integers are needed", epl_one_hot(g, x, 3, (epl_one_hot_opts){ 0 }));
    REFUSED(EPL_ERR_UNSUPPORTED, "depends on values that are not constant", epl_non_zero(g, epl_cast(g, x, EPL_I32)));
    REFUSED(EPL_ERR_ARGUMENT, "its letters do not fit the operands", epl_einsum(g, "ijk->i", 1, &x));
    REFUSED(EPL_ERR_ARGUMENT, "stands in no operand", epl_einsum(g, "ij->k", 1, &x));
    REFUSED(EPL_ERR_ARGUMENT, "a letter stands for two sizes", epl_einsum(g, "ij,jk->ik", 2, (epl_value *[]){ x, x }));
    REFUSED(EPL_ERR_SHAPE, "cannot be swapped", epl_swap_axes(g, x, 0, 5));
}

/* A network with a named batch is differentiated and then bound to another size: nothing has remembered the old one. */
static epl_value *shapely(epl_graph *g, epl_value *x)
{
    epl_value *a = epl_flatten(g, epl_unsqueeze(g, epl_squeeze(g, x, 1, (const int[]){ 1 }), 1, (const int[]){ 0 }), 2);
    epl_value *b = epl_concat(g, 2, (epl_value *[]){ x, x }, 0), *part[2];
    epl_split(g, b, 0, 2, NULL, part);
    epl_value *c = epl_slice_axis(g, epl_mul(g, part[0], part[1]), 0, 1, EPL_END);
    epl_value *d = epl_mul(g, x, epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(0), .keep = true }));
    epl_value *e = epl_mul(g, epl_gather(g, x, epl_positions(g, EPL_I64, x, 0), 0), epl_expand_like(g, epl_scalar(g, EPL_F64, 2), x));
    epl_value *sum = epl_add(g, epl_reduce_mean(g, epl_mul(g, a, a), (epl_reduce_opts){ 0 }),
                             epl_reduce_mean(g, c, (epl_reduce_opts){ 0 }));
    return epl_add(g, sum, epl_reduce_mean(g, epl_mul(g, d, e), (epl_reduce_opts){ 0 }));
}

static epl_graph *shapely_gradient(test *t, epl_context *ctx, int64_t batch)
{
    epl_graph *g = epl_graph_new(ctx, "shapely");
    epl_value *x = epl_input(g, "x", EPL_F64, EPL_SHAPE(batch, 1, 3), "N,,"), *dx = NULL;
    CHECK_OK(t, ctx, epl_gradient(g, shapely(g, x), 1, &x, &dx));
    epl_output(g, "dx", dx);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    return g;
}

TEST(gradients_follow_a_dimension_that_is_bound_anew)
{
    epl_context *ctx = test_context(t);
    epl_graph   *bound = shapely_gradient(t, ctx, 2), *made = shapely_gradient(t, ctx, 5);
    CHECK_OK(t, ctx, epl_graph_bind(bound, "N", 5) && epl_graph_finish(bound));
    epl_tensor *x = epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(5, 1, 3)), *a = NULL, *b = NULL, *settled = NULL;
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_interpret(bound, NULL, (const epl_tensor *const *)&x, &a));
    CHECK_OK(t, ctx, epl_interpret(made, NULL, (const epl_tensor *const *)&x, &b));
    CHECK(t, epl_tensor_equal(a, b));
    CHECK_OK(t, ctx, epl_settle_shapes(bound) && epl_graph_finish(bound));
    for (const epl_node *n = bound->first; n; n = n->next)
        for (int i = 0; i < n->n_inputs; i++)
            CHECK(t, !(n->op->shape_only >> i & 1));
    CHECK_OK(t, ctx, epl_interpret(bound, NULL, (const epl_tensor *const *)&x, &settled));
    CHECK(t, epl_tensor_equal(settled, b));
    epl_tensor *all[] = { x, a, b, settled };
    for (size_t i = 0; i < EPL_COUNT(all); i++)
        epl_tensor_free(all[i]);
    epl_graph_free(bound);
    epl_graph_free(made);
}

TEST(detours_of_gradients)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(3), 0.4, 1.6, -2.2);
    epl_value *stopped = epl_mul(g, x, epl_stop_gradient(g, x)); // x * c: the gradient is c
    EXPECT(t, slope(t, g, stopped, x), EPL_SHAPE(3), 0.4, 1.6, -2.2);
    epl_value *rounded = epl_straight_through(g, epl_round(g, x), epl_mul(g, x, epl_scalar(g, EPL_F64, 3)));
    EXPECT(t, rounded, EPL_SHAPE(3), 0, 2, -2);
    EXPECT(t, slope(t, g, rounded, x), EPL_SHAPE(3), 3, 3, 3);
    epl_graph_free(g);
}
