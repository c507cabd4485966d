/* If, Switch, Loop and regions with a gradient of their own: what runs, what comes out, and gradients against the same
 * computation written out without regions. */
#include "common/expect.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

#define GRAPH(name) epl_context *ctx = test_context(t); epl_graph *name = epl_graph_new(ctx, "test")

static epl_value *f64(epl_graph *g, double x) { return epl_scalar(g, EPL_F64, x); }
static epl_value *total(epl_graph *g, epl_value *v) { return epl_reduce_sum(g, v, (epl_reduce_opts){ 0 }); }

/* The gradient of loss by x, and the gradient of a fixed projection of that. */
static void slopes(test *t, epl_graph *g, epl_value *loss, epl_value *x, epl_value **dx, epl_value **ddx)
{
    CHECK_OK(t, g->ctx, epl_gradient(g, loss, 1, &x, dx));
    epl_value *weights = expect_counting(g, EPL_F64, epl_shape_of(x), 1), *projection = total(g, epl_mul(g, *dx, weights));
    CHECK_OK(t, g->ctx, epl_gradient(g, projection, 1, &x, ddx));
}

static void check_equal(test *t, epl_value *a, epl_value *b)
{
    epl_tensor *x = expect_evaluate(t, __FILE__, __LINE__, a), *y = expect_evaluate(t, __FILE__, __LINE__, b);
    CHECK_CLOSE(t, x, y, .rtol = 1e-10, .atol = 1e-12);
    epl_tensor_free(x);
    epl_tensor_free(y);
}

/* ---- If and Switch ---- */

/* x -> x^(k+1), as a region. */
static epl_graph *power(epl_graph *g, int k, int n)
{
    epl_graph *r = epl_region_new(g);
    epl_value *x = epl_input(r, "x", EPL_F64, EPL_SHAPE(n), NULL), *y = x;
    for (int i = 0; i < k; i++)
        y = epl_mul(r, y, x);
    epl_output(r, "y", y);
    return r;
}

TEST(if_takes_one_region)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(2), 3, -2), *y = NULL, *dx = NULL, *ddx = NULL;
    for (int cond = 0; cond < 2; cond++) {
        epl_if(g, epl_scalar(g, EPL_BOOL, cond), power(g, 2, 2), power(g, 1, 2), 1, &x, &y);
        slopes(t, g, total(g, y), x, &dx, &ddx);
        if (cond) {
            EXPECT(t, y, EPL_SHAPE(2), 27, -8);
            EXPECT(t, dx, EPL_SHAPE(2), 27, 12);
            EXPECT(t, ddx, EPL_SHAPE(2), 18, -24); // 6 x, times 1 and 2
        } else {
            EXPECT(t, y, EPL_SHAPE(2), 9, 4);
            EXPECT(t, dx, EPL_SHAPE(2), 6, -4);
            EXPECT(t, ddx, EPL_SHAPE(2), 2, 4);
        }
    }
    epl_graph_free(g);
}

TEST(switch_clips_its_index)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(1), 2);
    const double y_of[] = { 2, 2, 4, 8, 8 }, dx_of[] = { 1, 1, 4, 12, 12 };
    for (int i = -1; i < 4; i++) {
        epl_value *y = NULL, *dx = NULL;
        epl_graph *const regions[] = { power(g, 0, 1), power(g, 1, 1), power(g, 2, 1) };
        epl_switch(g, epl_scalar(g, EPL_I64, i), 3, regions, 1, &x, &y);
        epl_value *loss = total(g, y);
        CHECK_OK(t, ctx, epl_gradient(g, loss, 1, &x, &dx));
        EXPECT(t, y, EPL_SHAPE(1), y_of[i + 1]);
        EXPECT(t, dx, EPL_SHAPE(1), dx_of[i + 1]);
    }
    epl_graph_free(g);
}

TEST(a_capture_that_only_one_region_reads_has_a_gradient_there)
{
    GRAPH(g);
    for (int cond = 0; cond < 2; cond++) {
        epl_graph *regions[2];
        for (int r = 0; r < 2; r++) {
            regions[r] = epl_region_new(g);
            epl_value *a = epl_input(regions[r], "a", EPL_F64, EPL_SCALAR, NULL),
                      *b = epl_input(regions[r], "b", EPL_F64, EPL_SCALAR, NULL);
            epl_input(regions[r], "n", EPL_I64, EPL_SCALAR, NULL);
            epl_output(regions[r], "y", epl_mul(regions[r], r ? a : b, r ? a : b));
        }
        epl_value *in[] = { f64(g, 3), f64(g, 5), epl_scalar(g, EPL_I64, 1) }, *y = NULL, *dx[2];
        epl_if(g, epl_scalar(g, EPL_BOOL, cond), regions[0], regions[1], 3, in, &y);
        CHECK_OK(t, ctx, epl_gradient(g, y, 2, in, dx));
        EXPECT(t, dx[0], EPL_SCALAR, cond ? 0 : 6);
        EXPECT(t, dx[1], EPL_SCALAR, cond ? 10 : 0);
    }
    epl_graph_free(g);
}

/* ---- Loop: values ---- */

/* (a, b) := (b, a + b), scanned as a, while b is below the limit. */
static epl_graph *fibonacci(epl_graph *g)
{
    epl_graph *r = epl_region_new(g);
    epl_input(r, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_input(r, "condition", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *a = epl_input(r, "a", EPL_I64, EPL_SCALAR, NULL), *b = epl_input(r, "b", EPL_I64, EPL_SCALAR, NULL);
    epl_value *limit = epl_input(r, "limit", EPL_I64, EPL_SCALAR, NULL), *next = epl_add(r, a, b);
    epl_output(r, "condition", epl_less(r, next, limit));
    epl_output(r, "a", b);
    epl_output(r, "b", next);
    epl_output(r, "scan", a);
    return r;
}

TEST(loop_stops_early_and_leaves_zeros)
{
    GRAPH(g);
    epl_value *start[] = { epl_scalar(g, EPL_I64, 0), epl_scalar(g, EPL_I64, 1) }, *limit = epl_scalar(g, EPL_I64, 5);
    epl_value *out[4] = { NULL };
    CHECK_OK(t, ctx, epl_loop(g, 8, NULL, 2, start, fibonacci(g), 1, &limit, out) != NULL);
    EXPECT(t, out[0], EPL_SCALAR, 3);
    EXPECT(t, out[1], EPL_SCALAR, 5);
    EXPECT(t, out[2], EPL_SHAPE(8), 0, 1, 1, 2, 0, 0, 0, 0);
    EXPECT(t, out[3], EPL_SCALAR, 4);
    epl_loop(g, 3, NULL, 2, start, fibonacci(g), 1, &limit, out); // the maximum comes first
    EXPECT(t, out[2], EPL_SHAPE(3), 0, 1, 1);
    EXPECT(t, out[3], EPL_SCALAR, 3);
    epl_loop(g, 8, epl_scalar(g, EPL_BOOL, 0), 2, start, fibonacci(g), 1, &limit, out); // never begins
    EXPECT(t, out[0], EPL_SCALAR, 0);
    EXPECT(t, out[1], EPL_SCALAR, 1);
    EXPECT(t, out[3], EPL_SCALAR, 0);
    epl_graph_free(g);
}

/* ---- Loop: gradients against the loop written out ---- */

/* One step of the power method, x := A x / |A x|. */
static epl_value *power_step(epl_graph *g, epl_value *a, epl_value *x)
{
    epl_value *y = epl_matmul(g, a, x, (epl_matmul_opts){ 0 });
    return epl_div(g, y, epl_reduce_l2(g, y, (epl_reduce_opts){ 0 }));
}

static epl_graph *power_body(epl_graph *g, int n, bool stops)
{
    epl_graph *r = epl_region_new(g);
    epl_value *i = epl_input(r, "i", EPL_I64, EPL_SCALAR, NULL), *condition = epl_input(r, "condition", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *x = epl_input(r, "x", EPL_F64, EPL_SHAPE(n, 1), NULL), *a = epl_input(r, "A", EPL_F64, EPL_SHAPE(n, n), NULL);
    epl_output(r, "condition", stops ? epl_less(r, i, epl_scalar(r, EPL_I64, 2)) : condition);
    epl_output(r, "x", power_step(r, a, x));
    epl_output(r, "first", epl_slice_axis(r, x, 0, 0, 1));
    return r;
}

static void check_power_method(test *t, bool stops)
{
    GRAPH(g);
    const int steps = stops ? 3 : 5;
    epl_value *a = VALUES(g, EPL_F64, EPL_SHAPE(3, 3), 2, 1, 0.5, 1, 3, -1, 0.3, -1, 1),
              *x = VALUES(g, EPL_F64, EPL_SHAPE(3, 1), 1, 0.2, -0.4);
    epl_value *out[3] = { NULL }, *dx[2], *ddx[2], *y = x, *scan = NULL;
    CHECK_OK(t, ctx, epl_loop(g, 5, NULL, 1, &x, power_body(g, 3, stops), 1, &a, out) != NULL);
    epl_value *w = VALUES(g, EPL_F64, EPL_SHAPE(3, 1), 1, -2, 0.7), *loss[2];
    for (int i = 0; i < steps; i++) { // written out
        epl_value *first = epl_mul(g, epl_slice_axis(g, y, 0, 0, 1), f64(g, i + 1));
        scan = scan ? epl_add(g, scan, first) : first;
        y    = power_step(g, a, y);
    }
    epl_value *ranks = epl_reshape(g, expect_counting(g, EPL_F64, EPL_SHAPE(5), 1), EPL_SHAPE(5, 1, 1));
    loss[0] = epl_add(g, total(g, epl_mul(g, out[0], w)), total(g, epl_mul(g, out[1], ranks)));
    loss[1] = epl_add(g, total(g, epl_mul(g, y, w)), total(g, scan));
    check_equal(t, loss[0], loss[1]);
    for (int k = 0; k < 2; k++) { // by what is captured, then by what is carried
        for (int i = 0; i < 2; i++)
            slopes(t, g, loss[i], k ? x : a, &dx[i], &ddx[i]);
        check_equal(t, dx[0], dx[1]);
        check_equal(t, ddx[0], ddx[1]);
    }
    EXPECT(t, epl_node_output(out[0]->producer, epl_node_n_outputs(out[0]->producer) - 1), EPL_SCALAR, steps);
    epl_graph_free(g);
}

TEST(gradient_of_a_loop_is_that_of_the_loop_written_out) { check_power_method(t, false); }
TEST(gradient_of_a_loop_that_stops_early) { check_power_method(t, true); }

/* h := tanh(x_i W + h U): the sequence is captured and read by the iteration's number. */
static epl_value *cell(epl_graph *g, epl_value *xs, epl_value *i, epl_value *h, epl_value *w, epl_value *u)
{
    epl_value *x = epl_gather(g, xs, i, 0);
    return epl_tanh(g, epl_add(g, epl_matmul(g, x, w, (epl_matmul_opts){ 0 }), epl_matmul(g, h, u, (epl_matmul_opts){ 0 })));
}

TEST(a_recurrent_network_equals_its_unrolled_form)
{
    GRAPH(g);
    enum { T = 4, N = 2, C = 3, H = 2 };
    epl_value *xs = expect_counting(g, EPL_F64, EPL_SHAPE(T, N, C), -12), *h = expect_counting(g, EPL_F64, EPL_SHAPE(N, H), -2);
    xs = epl_mul(g, xs, f64(g, 0.1));
    epl_value *w = epl_mul(g, expect_counting(g, EPL_F64, EPL_SHAPE(C, H), -3), f64(g, 0.2)),
              *u = epl_mul(g, expect_counting(g, EPL_F64, EPL_SHAPE(H, H), -1), f64(g, 0.3));
    epl_graph *r = epl_region_new(g);
    epl_value *i = epl_input(r, "i", EPL_I64, EPL_SCALAR, NULL), *go = epl_input(r, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *rh = epl_input(r, "h", EPL_F64, EPL_SHAPE(N, H), NULL), *rx = epl_input(r, "xs", EPL_F64, EPL_SHAPE(T, N, C), NULL);
    epl_value *rw = epl_input(r, "w", EPL_F64, EPL_SHAPE(C, H), NULL), *ru = epl_input(r, "u", EPL_F64, EPL_SHAPE(H, H), NULL);
    epl_value *next = cell(r, rx, i, rh, rw, ru);
    epl_output(r, "go", go);
    epl_output(r, "h", next);
    epl_output(r, "hs", next);
    epl_value *out[3] = { NULL }, *captures[] = { xs, w, u }, *hs[T], *state = h;
    CHECK_OK(t, ctx, epl_loop(g, T, NULL, 1, &h, r, 3, captures, out) != NULL);
    for (int k = 0; k < T; k++)
        hs[k] = state = cell(g, xs, epl_scalar(g, EPL_I64, k), state, w, u);
    epl_value *unrolled = epl_stack(g, T, hs, 0), *dx[2][4], *x[] = { xs, w, u, h }, *both[] = { out[1], unrolled };
    check_equal(t, out[1], unrolled);
    check_equal(t, out[0], state);
    for (int k = 0; k < 2; k++)
        CHECK_OK(t, ctx, epl_gradient(g, total(g, epl_mul(g, both[k], epl_mul(g, both[k], both[k]))), 4, x, dx[k]));
    for (int k = 0; k < 4; k++)
        check_equal(t, dx[0][k], dx[1][k]);
    epl_graph_free(g);
}

/* ---- nested regions ---- */

/* In each iteration x is squared or multiplied by w, by the parity of the iteration, inside an If; the whole loop is in
 * region 1 of a Switch. */
static epl_graph *nested(epl_graph *g)
{
    epl_graph *outer = epl_region_new(g);
    epl_value *x = epl_input(outer, "x", EPL_F64, EPL_SCALAR, NULL), *w = epl_input(outer, "w", EPL_F64, EPL_SCALAR, NULL);
    epl_graph *body = epl_region_new(outer);
    epl_value *i = epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL), *go = epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *in[] = { epl_input(body, "x", EPL_F64, EPL_SCALAR, NULL), epl_input(body, "w", EPL_F64, EPL_SCALAR, NULL) };
    epl_graph *regions[2];
    for (int k = 0; k < 2; k++) {
        regions[k] = epl_region_new(body);
        epl_value *a = epl_input(regions[k], "x", EPL_F64, EPL_SCALAR, NULL), *b = epl_input(regions[k], "w", EPL_F64, EPL_SCALAR, NULL);
        epl_output(regions[k], "y", epl_mul(regions[k], a, k ? b : a));
    }
    epl_value *even = epl_equal(body, epl_mod(body, i, epl_scalar(body, EPL_I64, 2)), epl_scalar(body, EPL_I64, 0)), *y = NULL;
    epl_if(body, even, regions[0], regions[1], 2, in, &y);
    epl_output(body, "go", go);
    epl_output(body, "x", y);
    epl_value *out[2] = { NULL };
    epl_loop(outer, 3, NULL, 1, &x, body, 1, &w, out);
    epl_output(outer, "y", out[0]);
    return outer;
}

static epl_graph *product(epl_graph *g)
{
    epl_graph *r = epl_region_new(g);
    epl_value *x = epl_input(r, "x", EPL_F64, EPL_SCALAR, NULL), *w = epl_input(r, "w", EPL_F64, EPL_SCALAR, NULL);
    epl_output(r, "y", epl_mul(r, x, w));
    return r;
}

TEST(regions_in_regions)
{
    GRAPH(g);
    epl_value *x[] = { f64(g, 1.5), f64(g, 0.5) }, *dx[2], *ddx[2], *y = NULL;
    epl_graph *const regions[] = { product(g), nested(g) };
    epl_switch(g, epl_scalar(g, EPL_I64, 1), 2, regions, 2, x, &y); // ((x^2) w)^2 = x^4 w^2
    EXPECT(t, y, EPL_SCALAR, 1.265625);
    CHECK_OK(t, ctx, epl_gradient(g, y, 2, x, dx));
    EXPECT(t, dx[0], EPL_SCALAR, 3.375);  // 4 x^3 w^2
    EXPECT(t, dx[1], EPL_SCALAR, 5.0625); // 2 x^4 w
    CHECK_OK(t, ctx, epl_gradient(g, dx[0], 2, x, ddx));
    EXPECT(t, ddx[0], EPL_SCALAR, 6.75);  // 12 x^2 w^2
    EXPECT(t, ddx[1], EPL_SCALAR, 13.5);  // 8 x^3 w
    epl_graph_free(g);
}

TEST(programs_run_gradients_of_nested_regions)
{
    GRAPH(g);
    epl_value *index = epl_input(g, "index", EPL_I64, EPL_SCALAR, NULL), *y = NULL, *dx[2];
    epl_value *x[] = { epl_input(g, "x", EPL_F64, EPL_SCALAR, NULL), epl_input(g, "w", EPL_F64, EPL_SCALAR, NULL) };
    epl_graph *const regions[] = { product(g), nested(g) };
    epl_switch(g, index, 2, regions, 2, x, &y);
    CHECK_OK(t, ctx, epl_gradient(g, y, 2, x, dx));
    epl_output(g, "dx", dx[0]);
    epl_output(g, "dw", dx[1]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    const double expected[2][2] = { { 0.5, 1.5 }, { 3.375, 5.0625 } };
    for (int k = 1; k >= 0; k--) {
        epl_tensor_set_i64(epl_program_input_named(p, "index"), 0, k);
        epl_tensor_set(epl_program_input_named(p, "x"), 0, 1.5);
        epl_tensor_set(epl_program_input_named(p, "w"), 0, 0.5);
        CHECK_OK(t, ctx, epl_program_run(p));
        CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 0), 0), expected[k][0], .rtol = 1e-12);
        CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 1), 0), expected[k][1], .rtol = 1e-12);
    }
    epl_program_free(p);
    epl_graph_free(g);
}

/* ---- what a loop keeps for its gradient ---- */

/* x := x * w or x := x + w. */
static epl_graph *step_body(epl_graph *g, bool multiply)
{
    epl_graph *r = epl_region_new(g);
    epl_input(r, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_value *go = epl_input(r, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *x = epl_input(r, "x", EPL_F64, EPL_SHAPE(2), NULL), *w = epl_input(r, "w", EPL_F64, EPL_SHAPE(2), NULL);
    epl_output(r, "go", go);
    epl_output(r, "x", multiply ? epl_mul(r, x, w) : epl_add(r, x, w));
    return r;
}

TEST(a_loop_keeps_only_what_its_gradient_reads)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(2), 2, 3), *w = VALUES(g, EPL_F64, EPL_SHAPE(2), 5, 7);
    for (int multiply = 0; multiply < 2; multiply++) {
        epl_value *out[2] = { NULL }, *in[] = { x, w }, *dx[2];
        const epl_node *n = epl_loop(g, 3, NULL, 1, &x, step_body(g, multiply), 1, &w, out);
        for (int again = 0; again < 2; again++) {
            CHECK_OK(t, ctx, epl_gradient(g, total(g, out[0]), 2, in, dx));
            CHECK_INT(t, epl_node_n_outputs(n), 2 + multiply); // x at the start of each iteration, once
            EXPECT(t, dx[0], EPL_SHAPE(2), multiply ? 125 : 1, multiply ? 343 : 1);
            EXPECT(t, dx[1], EPL_SHAPE(2), multiply ? 150 : 3, multiply ? 441 : 3); // 3 x w^2
        }
        EXPECT(t, out[1], EPL_SCALAR, 3); // still the number of iterations
        CHECK_INT(t, epl_value_index(out[1]), 1 + multiply);
    }
    epl_graph_free(g);
}

TEST(a_named_dimension_reaches_into_regions)
{
    GRAPH(g);
    epl_value *x = epl_input(g, "x", EPL_F64, EPL_SHAPE(2), "N"), *w = epl_input(g, "w", EPL_F64, EPL_SHAPE(2), "N"),
              *out[2] = { NULL }, *dw;
    epl_loop(g, 3, NULL, 1, &x, step_body(g, true), 1, &w, out);
    CHECK_OK(t, ctx, epl_gradient(g, total(g, out[0]), 1, &w, &dw));
    epl_output(g, "dw", dw);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_graph_bind(g, "N", 3) && epl_graph_finish(g));
    epl_tensor *in[] = { epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(3)), epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(3)) }, *y = NULL;
    for (int i = 0; i < 3; i++) {
        epl_tensor_set(in[0], i, 1);
        epl_tensor_set(in[1], i, i + 1);
    }
    CHECK_OK(t, ctx, epl_interpret(g, NULL, (const epl_tensor *const *)in, &y));
    CHECK_CLOSE_F64(t, y->data, ((const double[]){ 3, 12, 27 }), 3, .rtol = 1e-14);
    epl_tensor_free(in[0]);
    epl_tensor_free(in[1]);
    epl_tensor_free(y);
    epl_graph_free(g);
}

/* ---- regions with a gradient of their own ---- */

/* round(x) * scale, whose gradient takes round for the identity and ignores the scale's. */
static epl_value *quantise(epl_graph *g, epl_value *x, epl_value *scale)
{
    epl_graph *f = epl_region_new(g), *b = epl_region_new(g);
    epl_value *fx = epl_input(f, "x", EPL_F64, EPL_SHAPE(3), NULL), *fs = epl_input(f, "scale", EPL_F64, EPL_SCALAR, NULL);
    epl_output(f, "y", epl_mul(f, epl_round(f, fx), fs));
    epl_input(b, "x", EPL_F64, EPL_SHAPE(3), NULL);
    epl_value *bs = epl_input(b, "scale", EPL_F64, EPL_SCALAR, NULL);
    epl_input(b, "y", EPL_F64, EPL_SHAPE(3), NULL);
    epl_value *dy = epl_input(b, "dy", EPL_F64, EPL_SHAPE(3), NULL);
    epl_output(b, "dx", epl_mul(b, dy, bs));
    epl_output(b, "dscale", epl_zeros_like(b, bs));
    epl_value *y = NULL, *in[] = { x, scale };
    epl_custom_gradient(g, f, b, 2, in, &y);
    return y;
}

TEST(custom_gradients_replace_the_true_ones)
{
    GRAPH(g);
    epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(3), 0.4, 1.6, -2.2), *scale = f64(g, 10), *in[] = { x, scale }, *dx[2];
    epl_value *y = quantise(g, x, scale);
    EXPECT(t, y, EPL_SHAPE(3), 0, 20, -20);
    CHECK_OK(t, ctx, epl_gradient(g, total(g, epl_mul(g, y, y)), 2, in, dx));
    EXPECT(t, dx[0], EPL_SHAPE(3), 0, 400, -400);
    EXPECT(t, dx[1], EPL_SCALAR, 0);
    epl_output(g, "y", y);
    epl_node *call = y->producer;
    CHECK_OK(t, ctx, epl_inline_custom(call) && epl_graph_finish(g));
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        CHECK(t, epl_node_n_regions(n) == 0);
    EXPECT(t, epl_graph_output_at(g, 0), EPL_SHAPE(3), 0, 20, -20);
    EXPECT(t, dx[0], EPL_SHAPE(3), 0, 400, -400);
    epl_graph_free(g);
}

/* ---- wrong calls ---- */

static epl_graph *mute(epl_graph *g)
{
    epl_graph *r = epl_region_new(g);
    epl_input(r, "x", EPL_F64, EPL_SHAPE(2), NULL);
    return r;
}

/* A body whose condition is not a bool, or whose carried value grows. */
static epl_graph *wrong_body(epl_graph *g, bool grows)
{
    epl_graph *r = epl_region_new(g);
    epl_input(r, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_value *go = epl_input(r, "go", EPL_BOOL, EPL_SCALAR, NULL), *x = epl_input(r, "x", EPL_F64, EPL_SHAPE(2), NULL);
    epl_output(r, "go", grows ? go : x);
    epl_output(r, "x", epl_concat(r, 2, (epl_value *[]){ x, x }, 0));
    return r;
}

/* Takes x, y and dy, and gives nothing. */
static epl_graph *silent_backward(epl_graph *g)
{
    epl_graph *r = epl_region_new(g);
    for (int i = 0; i < 3; i++)
        epl_input(r, "x", EPL_F64, EPL_SHAPE(2), NULL);
    return r;
}

static epl_node *same_region_twice(epl_graph *g, epl_value *cond, epl_value **x, epl_value **out)
{
    epl_graph *r = power(g, 1, 2);
    return epl_if(g, cond, r, r, 1, x, out);
}

#define REFUSED(code, words, ...)                                                                                      \
    do {                                                                                                               \
        GRAPH(g);                                                                                                      \
        epl_value *x = VALUES(g, EPL_F64, EPL_SHAPE(2), 1, 2), *out[4] = { NULL };                                     \
        epl_value *yes = epl_scalar(g, EPL_BOOL, 1);                                                                   \
        CHECK_FAILS(t, ctx, (__VA_ARGS__) != NULL, code, words);                                                       \
        CHECK(t, yes && !out[0] && x);                                                                                 \
        epl_graph_free(g);                                                                                             \
    } while (0)

TEST(wrong_regions_are_explained)
{
    REFUSED(EPL_ERR_DTYPE, "the condition is f64[2]; a bool scalar is needed", epl_if(g, x, power(g, 1, 2), power(g, 2, 2), 1, &x, out));
    REFUSED(EPL_ERR_SHAPE, "input 0 of region 1 is f64[3]; f64[2] comes in", epl_if(g, yes, power(g, 1, 2), power(g, 1, 3), 1, &x, out));
    REFUSED(EPL_ERR_ARGUMENT, "region 0 has 1 inputs; 0 come in", epl_if(g, yes, power(g, 1, 2), power(g, 1, 2), 0, NULL, out));
    REFUSED(EPL_ERR_SHAPE, "region 0 has 1 results, region 1 has 0", epl_if(g, yes, power(g, 1, 2), mute(g), 1, &x, out));
    REFUSED(EPL_ERR_ARGUMENT, "there is no region to choose", epl_switch(g, epl_scalar(g, EPL_I64, 0), 0, NULL, 1, &x, out));
    REFUSED(EPL_ERR_ARGUMENT, "-1 iterations", epl_loop(g, -1, NULL, 1, &x, step_body(g, true), 1, &x, out));
    REFUSED(EPL_ERR_ARGUMENT, "region 0 has 4 inputs; 3 come in", epl_loop(g, 2, NULL, 1, &x, step_body(g, true), 0, NULL, out));
    REFUSED(EPL_ERR_DTYPE, "the body's first result is f64; a bool scalar is needed",
            epl_loop(g, 2, NULL, 0, NULL, wrong_body(g, false), 1, &x, out));
    REFUSED(EPL_ERR_SHAPE, "carried value 0 is f64[2] at first and f64[4] after an iteration",
            epl_loop(g, 2, NULL, 1, &x, wrong_body(g, true), 0, NULL, out));
    REFUSED(EPL_ERR_SHAPE, "the backward region gives nothing for input 0, which is f64[2]",
            epl_custom_gradient(g, power(g, 1, 2), silent_backward(g), 1, &x, out));
    REFUSED(EPL_ERR_ARGUMENT, "region 1 does not belong to this graph or is in use", same_region_twice(g, yes, &x, out));
}
