/* Dynamic networks: what folding and trimming make of If, Switch and Loop, early exits, conditions for each sample,
 * and what a program of them needs and runs. */
#include "common/expect.h"

#include <espalier/ops.h>
#include <espalier/passes.h>
#include <espalier/program.h>

#define GRAPH(name) epl_context *ctx = test_context(t); epl_graph *name = epl_graph_new(ctx, "test")

static int count_op(const epl_graph *g, const char *op)
{
    int count = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n)) {
        count += strcmp(epl_node_op_name(n), op) == 0;
        for (int r = 0; r < epl_node_n_regions(n); r++)
            count += count_op(epl_node_region(n, r), op);
    }
    return count;
}

/* The graph's outputs for an input of that many elements, by reference kernels; the caller frees them. */
static void run(test *t, const epl_graph *g, epl_weights *w, const epl_tensor *x, epl_tensor **y)
{
    CHECK_OK(t, epl_graph_context(g), epl_graph_verify(g) && epl_interpret(g, w, &x, y));
}

static epl_tensor *drawn(epl_context *ctx, epl_shape shape, uint64_t seed)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, shape);
    epl_rng     r = epl_rng_at(seed, 0);
    epl_tensor_draw(x, &r);
    return x;
}

/* ---- constant choices ---- */

/* x -> x + w x, with a weight of its own. */
static epl_graph *residual_region(epl_graph *g, int k)
{
    char       name[32];
    epl_graph *r = epl_region_new(g);
    epl_value *x = epl_input(r, "x", EPL_F32, EPL_SHAPE(4), NULL);
    snprintf(name, sizeof name, "/w%d", k);
    epl_output(r, "y", epl_add(r, x, epl_mul(r, x, epl_parameter(r, name, EPL_F32, EPL_SHAPE(4), EPL_INIT_NORMAL, 1))));
    return r;
}

static epl_graph *skip_region(epl_graph *g)
{
    epl_graph *r = epl_region_new(g);
    epl_output(r, "y", epl_input(r, "x", EPL_F32, EPL_SHAPE(4), NULL));
    return r;
}

/* bits: which of n blocks run; bits < 0: the input "policy" says so. */
static epl_graph *gated_chain(epl_context *ctx, int n, int bits)
{
    epl_graph *g = epl_graph_new(ctx, "chain");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL),
              *policy = bits < 0 ? epl_input(g, "policy", EPL_BOOL, EPL_SHAPE(n), NULL) : NULL;
    for (int k = 0; k < n; k++) {
        epl_value *keep = policy ? epl_reshape(g, epl_slice_axis(g, policy, 0, k, k + 1), EPL_SCALAR)
                                 : epl_scalar(g, EPL_BOOL, bits >> k & 1);
        epl_if(g, keep, residual_region(g, k), skip_region(g), 1, &x, &x);
    }
    epl_output(g, "y", x);
    return g;
}

TEST(constant_policies_leave_the_static_network)
{
    epl_context *ctx = test_context(t);
    for (int bits = 0; bits < 8; bits++) {
        epl_graph *g = gated_chain(ctx, 3, bits), *plain = epl_graph_new(ctx, "plain");
        epl_value *x = epl_input(plain, "x", EPL_F32, EPL_SHAPE(4), NULL);
        for (int k = 0; k < 3; k++)
            if (bits >> k & 1) {
                epl_graph *r = residual_region(plain, k);
                CHECK_OK(t, ctx, epl_graph_inline(plain, r, &x, &x, NULL));
            }
        epl_output(plain, "y", x);
        CHECK_OK(t, ctx, epl_fold_control(g, 0) && epl_remove_dead(g) && epl_graph_verify(g));
        CHECK_INT(t, count_op(g, "If"), 0);
        CHECK_INT(t, count_op(g, "Mul"), count_op(plain, "Mul"));
        epl_model  *m = epl_model_new_take(g);
        epl_tensor *in = drawn(ctx, EPL_SHAPE(4), 5), *a = NULL, *b = NULL;
        CHECK_OK(t, ctx, epl_model_init(m, 1));
        run(t, m->graph, m->weights, in, &a);
        run(t, plain, m->weights, in, &b);
        CHECK(t, epl_tensor_equal(a, b));
        epl_tensor_free(in);
        epl_tensor_free(a);
        epl_tensor_free(b);
        epl_graph_free(plain);
        epl_model_free(m);
    }
}

TEST(what_a_fold_makes_known_is_folded)
{
    GRAPH(g);
    epl_graph *outer = epl_region_new(g), *other = epl_region_new(g);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *three = epl_scalar(g, EPL_I64, 3), *y = NULL;
    epl_value *in[] = { epl_input(outer, "x", EPL_F32, EPL_SHAPE(4), NULL), epl_input(outer, "n", EPL_I64, EPL_SCALAR, NULL) };
    epl_if(outer, epl_greater(outer, in[1], epl_scalar(outer, EPL_I64, 2)), residual_region(outer, 0), skip_region(outer), 1, in, &y);
    epl_output(outer, "y", y);
    epl_output(other, "y", epl_neg(other, epl_input(other, "x", EPL_F32, EPL_SHAPE(4), NULL)));
    epl_input(other, "n", EPL_I64, EPL_SCALAR, NULL);
    epl_value *captures[] = { x, three };
    epl_if(g, epl_less(g, three, epl_scalar(g, EPL_I64, 5)), outer, other, 2, captures, &y);
    epl_output(g, "y", y);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_fold_control(g, 0) && epl_remove_dead(g) && epl_graph_verify(g));
    CHECK_INT(t, count_op(g, "If"), 0);
    CHECK_INT(t, count_op(g, "Mul"), 1);
    CHECK_INT(t, count_op(g, "Neg"), 0);
    epl_graph_free(g);
}

/* ---- loops ---- */

/* c := c * w + i, scanned as c; goes on while i < last (last < 0: always). */
static epl_graph *counting_loop(epl_context *ctx, int trip, int last)
{
    epl_graph *g = epl_graph_new(ctx, "loop"), *body = epl_region_new(g);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(4), EPL_INIT_NORMAL, 1);
    epl_value *i = epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL), *go = epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *c = epl_input(body, "c", EPL_F32, EPL_SHAPE(4), NULL),
              *v = epl_input(body, "w", EPL_F32, EPL_SHAPE(4), NULL), *out[3] = { NULL };
    epl_output(body, "go", last < 0 ? go : epl_less(body, i, epl_scalar(body, EPL_I64, last)));
    epl_output(body, "c", epl_add(body, epl_mul(body, c, v), epl_cast(body, i, EPL_F32)));
    epl_output(body, "scan", c);
    epl_loop(g, trip, NULL, 1, &x, body, 1, &w, out);
    epl_output(g, "c", out[0]);
    epl_output(g, "scan", out[1]);
    epl_output(g, "count", out[2]);
    return g;
}

static void check_unrolled(test *t, int trip, int last, int limit, int loops, int copies)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(counting_loop(ctx, trip, last));
    epl_graph   *g = epl_graph_copy(m->graph);
    epl_tensor  *x = drawn(ctx, EPL_SHAPE(4), 3), *a[3] = { NULL }, *b[3] = { NULL };
    CHECK_OK(t, ctx, epl_model_init(m, 2) && epl_fold_control(g, limit));
    epl_remove_dead(g);
    CHECK_INT(t, count_op(g, "Loop"), loops);
    CHECK_INT(t, count_op(g, "Mul"), copies);
    run(t, m->graph, m->weights, x, a);
    run(t, g, m->weights, x, b);
    for (int i = 0; i < 3; i++) {
        CHECK(t, epl_tensor_equal(a[i], b[i]));
        epl_tensor_free(a[i]);
        epl_tensor_free(b[i]);
    }
    epl_tensor_free(x);
    epl_graph_free(g);
    epl_model_free(m);
}

TEST(a_loop_of_three_is_three_copies) { check_unrolled(t, 3, -1, 0, 0, 3); }
TEST(beyond_the_limit_it_stays_a_loop) { check_unrolled(t, 3, -1, 2, 1, 1); }
TEST(no_unrolling_on_request) { check_unrolled(t, 3, -1, -1, 1, 1); }
TEST(a_loop_of_none_returns_what_it_was_given) { check_unrolled(t, 0, -1, 0, 0, 0); }
TEST(a_condition_that_follows_the_counter_is_known) { check_unrolled(t, 1000, 4, 0, 0, 5); }
TEST(a_long_count_is_given_up) { check_unrolled(t, 1000, 90, 0, 1, 1); }

/* ---- what crosses the border ---- */

TEST(regions_take_and_give_what_is_needed)
{
    GRAPH(g);
    epl_value *x[] = { epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), epl_input(g, "a", EPL_F32, EPL_SHAPE(4), NULL),
                       epl_input(g, "b", EPL_F32, EPL_SHAPE(4), NULL), epl_scalar(g, EPL_F32, 2) }, *out[5] = { NULL };
    epl_graph *regions[2];
    for (int r = 0; r < 2; r++) {
        epl_graph *q = regions[r] = epl_region_new(g);
        epl_value *qx = epl_input(q, "x", EPL_F32, EPL_SHAPE(4), NULL), *a = epl_input(q, "a", EPL_F32, EPL_SHAPE(4), NULL);
        epl_input(q, "b", EPL_F32, EPL_SHAPE(4), NULL);
        epl_value *two = epl_input(q, "two", EPL_F32, EPL_SCALAR, NULL), *y = r ? epl_mul(q, qx, two) : epl_neg(q, qx);
        epl_output(q, "y", y);
        epl_output(q, "alias", a);
        epl_output(q, "constant", epl_scalar(q, EPL_F32, 7));
        epl_output(q, "unread", epl_exp(q, a));
        epl_output(q, "again", y);
    }
    const epl_node *n = epl_if(g, epl_input(g, "cond", EPL_BOOL, EPL_SCALAR, NULL), regions[0], regions[1], 4, x, out);
    const epl_value *alias, *constant, *again;
    epl_output(g, "y", out[0]);
    epl_output(g, "alias", out[1]);
    epl_output(g, "constant", out[2]);
    epl_output(g, "again", out[4]);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_trim_regions(g, false) && epl_graph_verify(g));
    alias = epl_graph_output_at(g, 1);
    constant = epl_graph_output_at(g, 2);
    again = epl_graph_output_at(g, 3);
    CHECK(t, alias == x[1]);
    CHECK_STR(t, epl_node_op_name(epl_producer(constant)), "Constant");
    CHECK(t, again == epl_graph_output_at(g, 0));
    CHECK_INT(t, epl_node_n_inputs(n), 2); // the condition and x: 2 is known inside, a passes outside, b is never read
    CHECK_INT(t, epl_node_n_outputs(n), 1);
    CHECK_INT(t, count_op(g, "Exp"), 0);
    epl_graph_free(g);
}

TEST(regions_that_compute_nothing_vanish)
{
    GRAPH(g);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *y = NULL;
    epl_if(g, epl_input(g, "cond", EPL_BOOL, EPL_SCALAR, NULL), skip_region(g), skip_region(g), 1, &x, &y);
    epl_output(g, "y", y);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_trim_regions(g, false) && epl_graph_verify(g));
    CHECK_INT(t, count_op(g, "If"), 0);
    CHECK(t, epl_graph_output_at(g, 0) == x);
    epl_graph_free(g);
}

/* Three carried values: one changes, one never does, one is never read. */
TEST(loops_carry_what_they_change)
{
    GRAPH(g);
    epl_graph *body = epl_region_new(g);
    epl_value *start[] = { epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL),
                           epl_input(g, "k", EPL_F32, EPL_SHAPE(4), NULL),
                           epl_input(g, "u", EPL_F32, EPL_SHAPE(4), NULL) };
    epl_value *w = epl_input(g, "w", EPL_F32, EPL_SHAPE(4), NULL), *c[4], *out[6] = { NULL };
    epl_value *i = epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL), *go = epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL);
    for (int k = 0; k < 4; k++)
        c[k] = epl_input(body, k == 3 ? "w" : "c", EPL_F32, EPL_SHAPE(4), NULL);
    epl_output(body, "go", go);
    epl_output(body, "x", epl_add(body, epl_mul(body, c[0], c[1]), c[3]));
    epl_output(body, "k", c[1]);
    epl_output(body, "u", epl_cast(body, i, EPL_F32) ? epl_neg(body, c[3]) : NULL);
    epl_output(body, "scan", epl_exp(body, c[0]));
    const epl_node *n = epl_loop(g, 100, NULL, 3, start, body, 1, &w, out);
    epl_output(g, "x", out[0]);
    epl_output(g, "k", out[1]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_graph *plain = epl_graph_copy(g);
    CHECK_OK(t, ctx, epl_trim_regions(g, false) && epl_graph_verify(g));
    CHECK(t, epl_graph_output_at(g, 1) == start[1]);
    CHECK_INT(t, epl_attr_i(n, "n_carried"), 1);
    CHECK_INT(t, epl_node_n_outputs(n), 2); // x, and the number of iterations
    CHECK_INT(t, epl_node_n_inputs(n), 4);  // no condition, x, w, k
    CHECK_INT(t, count_op(g, "Exp"), 0);
    epl_tensor *in[4], *a[2] = { NULL }, *b[2] = { NULL };
    for (int k = 0; k < 4; k++)
        in[k] = drawn(ctx, EPL_SHAPE(4), (uint64_t)k);
    CHECK_OK(t, ctx,
             epl_interpret(g, NULL, (const epl_tensor *const *)in, a) &&
                 epl_interpret(plain, NULL, (const epl_tensor *const *)in, b));
    for (int k = 0; k < 2; k++) {
        CHECK(t, epl_tensor_equal(a[k], b[k]));
        epl_tensor_free(a[k]);
        epl_tensor_free(b[k]);
    }
    for (int k = 0; k < 4; k++)
        epl_tensor_free(in[k]);
    epl_graph_free(plain);
    epl_graph_free(g);
}

/* ---- memory ---- */

/* If(cond) with a chain of `n` values of 1024 floats at a time in its region. */
static epl_graph *wide_region(epl_graph *g, int n)
{
    epl_graph *r = epl_region_new(g);
    epl_value *x = epl_input(r, "x", EPL_F32, EPL_SHAPE(1024), NULL), *parts[4];
    for (int k = 0; k < n; k++)
        parts[k] = epl_cumsum(r, k ? parts[k - 1] : x, 0, (epl_cumsum_opts){ 0 });
    epl_output(r, "y",
               n > 1 ? epl_reduce_sum(r, epl_concat(r, n, parts, 0), (epl_reduce_opts){ 0 })
                     : epl_reduce_sum(r, parts[0], (epl_reduce_opts){ 0 }));
    return r;
}

static size_t arena_of(test *t, epl_context *ctx, int then_values, int else_values)
{
    epl_graph *g = epl_graph_new(ctx, "memory");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1024), NULL), *y = NULL, *through = epl_cumsum(g, x, 0, (epl_cumsum_opts){ 0 });
    epl_if(g, epl_input(g, "cond", EPL_BOOL, EPL_SCALAR, NULL), wide_region(g, then_values), wide_region(g, else_values), 1, &x, &y);
    epl_output(g, "y", epl_add(g, through, y));
    epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ .plan_only = true, .no_fusion = true });
    CHECK_OK(t, ctx, p != NULL);
    const size_t arena = epl_program_memory_of(p).arena;
    epl_program_free(p);
    epl_graph_free(g);
    return arena;
}

TEST(exclusive_branches_share_memory)
{
    epl_context *ctx = test_context(t);
    const size_t both_small = arena_of(t, ctx, 1, 1), one_large = arena_of(t, ctx, 4, 1),
                 other_large = arena_of(t, ctx, 1, 4), both = arena_of(t, ctx, 4, 4);
    CHECK(t, one_large > both_small + 4 * 4096); // four values and their concatenation, instead of one value
    CHECK_INT(t, one_large, other_large);
    CHECK_INT(t, both, one_large);
}

/* ---- choices for each sample ---- */

/* Gates decide for each sample: x -> x + conv(x) where its first pixel is above zero, else x. */
static epl_graph *gated_images(epl_context *ctx, int64_t batch, int blocks)
{
    epl_graph *g = epl_graph_new(ctx, "gates");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(batch, 4, 4, 8), "N,,,");
    for (int k = 0; k < blocks; k++) {
        epl_graph *yes = epl_region_new(g), *no = epl_region_new(g);
        char       name[32];
        epl_value *first = epl_slice_axis(g, epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, 128)), 1, k, k + 1);
        epl_value *cond = epl_reshape(g, epl_greater(g, first, epl_scalar(g, EPL_F32, 0)), EPL_SHAPE(EPL_KEEP));
        epl_value *in = epl_input(yes, "x", EPL_F32, epl_shape_of(x), NULL);
        snprintf(name, sizeof name, "/w%d", k);
        epl_value *w = epl_parameter(yes, name, EPL_F32, EPL_SHAPE(3, 3, 8, 8), EPL_INIT_NORMAL, 0.1);
        epl_output(yes, "y", epl_add(yes, in, epl_convolve(yes, in, w, NULL, (epl_convolve_opts){ .pad = 1 })));
        epl_output(no, "y", epl_input(no, "x", EPL_F32, epl_shape_of(x), NULL));
        epl_if_each(g, cond, yes, no, 1, &x, 0, &x);
    }
    epl_output(g, "y", x);
    return g;
}

/* Of the program of that graph, for some samples; each with its own share. */
static void run_program(test *t, const epl_graph *g, epl_weights *w, const float *x, float *y, int64_t n)
{
    epl_program *p = epl_program_new(g, w, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, epl_graph_context(g), p != NULL);
    const size_t bytes = epl_tensor_bytes(epl_program_input(p, 0));
    const int64_t each = epl_dim(epl_graph_input_at(g, 0), 0);
    for (int64_t i = 0; i < n; i += each) {
        memcpy(epl_program_input(p, 0)->data, x + 128 * i, bytes);
        CHECK_OK(t, epl_graph_context(g), epl_program_run(p));
        memcpy(y + 128 * i, epl_program_output(p, 0)->data, bytes);
    }
    epl_program_free(p);
}

TEST(splitting_and_masking_equal_one_sample_at_a_time)
{
    enum { N = 21 };
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(gated_images(ctx, N, 3));
    epl_tensor  *x = drawn(ctx, EPL_SHAPE(N, 4, 4, 8), 9), *oracle = NULL;
    float        each[N * 128], split[N * 128], masked[N * 128];
    CHECK_OK(t, ctx, m && epl_model_init(m, 4));
    CHECK_INT(t, epl_graph_n_parameters(m->graph), 3 * 576); // declared in regions, found outside
    run(t, m->graph, m->weights, x, &oracle);
    run_program(t, m->graph, m->weights, x->data, split, N);
    epl_graph *mask = epl_graph_copy(m->graph), *chunks = epl_graph_copy(m->graph);
    CHECK_OK(t, ctx, epl_mask_choices(mask) && epl_graph_verify(mask) && epl_split_choices(chunks, 4) && epl_graph_verify(chunks));
    CHECK_INT(t, count_op(mask, "IfEach") + count_op(chunks, "IfEach"), 0);
    CHECK_INT(t, count_op(mask, "Loop"), 0);
    CHECK_INT(t, count_op(chunks, "Loop"), 3);
    run_program(t, mask, m->weights, x->data, masked, N);
    CHECK_CLOSE_F32(t, split, oracle->data, N * 128, .rtol = 1e-5, .atol = 1e-6);
    CHECK_CLOSE_F32(t, masked, oracle->data, N * 128, .rtol = 1e-5, .atol = 1e-6);
    run_program(t, chunks, m->weights, x->data, split, N);
    CHECK_CLOSE_F32(t, split, oracle->data, N * 128, .rtol = 1e-5, .atol = 1e-6);
    CHECK_OK(t, ctx, epl_graph_bind(m->graph, "N", 1));
    run_program(t, m->graph, m->weights, x->data, each, N);
    CHECK_CLOSE_F32(t, each, oracle->data, N * 128, .rtol = 1e-5, .atol = 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(oracle);
    epl_graph_free(mask);
    epl_graph_free(chunks);
    epl_model_free(m);
}

TEST(regions_are_counted)
{
    enum { N = 16 };
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(gated_images(ctx, 1, 2));
    epl_tensor  *x = drawn(ctx, EPL_SHAPE(1, 4, 4, 8), 9);
    CHECK_OK(t, ctx, m && epl_model_init(m, 4));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, ctx, p != NULL);
    CHECK_INT(t, epl_program_n_regions(p), 4);
    for (int i = 0; i < N; i++) {
        float *in = epl_program_input(p, 0)->data;
        memcpy(in, x->data, epl_tensor_bytes(x));
        in[0] = i < 5 ? 1.0f : -1.0f;
        CHECK_OK(t, ctx, epl_program_run(p));
    }
    CHECK_INT(t, epl_program_region(p, 0).runs, 5);
    CHECK_INT(t, epl_program_region(p, 1).runs, N - 5);
    CHECK_INT(t, epl_program_region(p, 2).runs + epl_program_region(p, 3).runs, N);
    CHECK_INT(t, epl_program_region(p, 0).cost.macs, 4 * 4 * 8 * 72);
    CHECK_INT(t, epl_program_region(p, 1).cost.macs, 0);
    CHECK_INT(t, epl_program_region(p, 3).node, 1);
    CHECK_INT(t, epl_program_region(p, 0).parent, -1);
    double executed = 0, most = 0, want = epl_program_outside(p).macs;
    for (int i = 0; i < epl_program_n_steps(p); i++) {
        executed += epl_program_step_executed(p, i).macs;
        most += epl_program_step(p, i).cost.macs;
    }
    for (int i = 0; i < 4; i++)
        want += (double)epl_program_region(p, i).runs * epl_program_region(p, i).cost.macs / N;
    CHECK_NEAR(t, executed, want, .rtol = 1e-12);
    CHECK(t, executed < most);
    epl_program_clear_regions(p);
    CHECK_INT(t, epl_program_region(p, 0).runs, 0);
    epl_program_free(p);
    epl_tensor_free(x);
    epl_model_free(m);
}

/* ---- early exits ---- */

/* Two exits: the sum of x, of x w, or of x w w, as soon as it is above a limit. */
static epl_graph *exits(epl_context *ctx, int64_t batch, bool each)
{
    epl_graph *g = epl_graph_new(ctx, "exits");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(batch, 4), "N,");
    for (int k = 0; k < 3; k++) {
        epl_value *sum = epl_reduce_sum(g, x, (epl_reduce_opts){ EPL_AXES(1), .keep = true });
        if (k == 2) {
            epl_output(g, "sum", sum);
            break;
        }
        epl_value *cond = epl_greater(g, sum, epl_scalar(g, EPL_F32, 1));
        cond = each ? epl_reshape(g, cond, EPL_SHAPE(EPL_KEEP)) : epl_reshape(g, cond, EPL_SCALAR);
        epl_exit(g, cond, 1, &sum);
        x = epl_mul(g, x, epl_parameter(g, "w", EPL_F32, EPL_SHAPE(4), EPL_INIT_NORMAL, 2));
    }
    return g;
}

TEST(early_exits_take_the_first_value_that_will_do)
{
    enum { N = 12 };
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(exits(ctx, N, true));
    epl_graph   *one = exits(ctx, 1, false), *lowered = epl_graph_copy(m->graph);
    epl_tensor  *x = drawn(ctx, EPL_SHAPE(N, 4), 2), *w, *y = NULL;
    CHECK_OK(t, ctx, epl_model_init(m, 3) && epl_graph_finish(m->graph) && epl_lower_exits(lowered) && epl_graph_verify(lowered));
    CHECK_INT(t, count_op(lowered, "Exit"), 0);
    CHECK_INT(t, count_op(lowered, "IfEach"), 2);
    CHECK_INT(t, count_op(lowered, "Mul"), 2); // moved, not copied
    w = epl_weights_find(m->weights, "w");
    run(t, lowered, m->weights, x, &y);
    CHECK_OK(t, ctx, epl_lower_exits(one));
    int taken[3] = { 0 };
    for (int i = 0; i < N; i++) {
        float v[4], sum = 0;
        memcpy(v, (const float *)x->data + 4 * i, sizeof v);
        for (int k = 0; k < 3; k++) {
            sum = v[0] + v[1] + v[2] + v[3];
            taken[k]++;
            if (sum > 1)
                break;
            for (int c = 0; k < 2 && c < 4; c++)
                v[c] *= ((const float *)w->data)[c];
        }
        epl_tensor *single = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 4)), *z = NULL;
        memcpy(single->data, (const float *)x->data + 4 * i, 16);
        run(t, one, m->weights, single, &z);
        CHECK_NEAR(t, epl_tensor_get(y, i), sum, .rtol = 1e-5);
        CHECK_NEAR(t, epl_tensor_get(z, 0), sum, .rtol = 1e-5);
        epl_tensor_free(single);
        epl_tensor_free(z);
    }
    CHECK(t, taken[1] > 0 && taken[1] < N); // both kinds are among the samples
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_graph_free(one);
    epl_graph_free(lowered);
    epl_model_free(m);
}

TEST(wrong_choices_are_explained)
{
    {
        GRAPH(g);
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *y = NULL;
        CHECK_FAILS(t, ctx,
                    epl_if(g, epl_input(g, "c", EPL_BOOL, EPL_SHAPE(3), NULL), skip_region(g), skip_region(g), 1, &x,
                           &y) != NULL,
                    EPL_ERR_DTYPE,
                    "the condition is bool[3]; a bool scalar is needed (IfEach takes one for each sample and splits "
                    "the batch)");
        epl_graph_free(g);
    }
    {
        GRAPH(g);
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *y = NULL;
        CHECK_FAILS(t, ctx,
                    epl_if_each(g, epl_input(g, "c", EPL_BOOL, EPL_SHAPE(3), NULL), skip_region(g), skip_region(g), 1,
                                &x, 0, &y) != NULL,
                    EPL_ERR_SHAPE, "capture 0 is [4], the condition decides about 3 samples");
        epl_graph_free(g);
    }
    {
        GRAPH(g); // a value of one region is none of the other's
        epl_graph *a = skip_region(g), *b = epl_region_new(g);
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *y = NULL;
        epl_output(b, "y", epl_graph_output_at(a, 0));
        CHECK_FAILS(t, ctx, epl_if(g, epl_input(g, "c", EPL_BOOL, EPL_SCALAR, NULL), a, b, 1, &x, &y) != NULL, EPL_ERR_ARGUMENT,
                    "input 0 belongs to another graph");
        epl_graph_free(g);
    }
    {
        GRAPH(g);
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL);
        epl_exit(g, epl_input(g, "c", EPL_BOOL, EPL_SCALAR, NULL), 1, &x);
        epl_output(g, "y", epl_reduce_sum(g, x, (epl_reduce_opts){ 0 }));
        CHECK_FAILS(t, ctx, epl_lower_exits(g), EPL_ERR_SHAPE, "result 0 is f32[4] from region 0 and f32[] from region 1");
        epl_graph_free(g);
    }
}
