/* Passes one by one: what each must do, and that it computes the same. (Programs on random graphs: test_program.c.) */
#include "common/sample.h"

#include <espalier/grad.h>
#include <espalier/nn.h>
#include <espalier/passes.h>
#include <espalier/program.h>

#include "passes/passes.h"

static epl_model *small_net(test *t, epl_context *ctx, bool norm)
{
    epl_graph *g = epl_graph_new(ctx, "net");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 8, 8, 3), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "a", .conv = { .out = 8 }, .no_norm = !norm });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "b", .conv = { .out = 12, .stride = 2 }, .no_norm = !norm });
    x = epl_dropout(g, epl_global_average_pool(g, x), 0.5, false);
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = 5 }));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 5));
    return m;
}

static epl_tensor *output_of(test *t, const epl_model *m, const epl_tensor *x)
{
    epl_tensor *y;
    CHECK_OK(t, m->ctx, epl_interpret(m->graph, m->weights, &x, &y));
    return y;
}

static int count(const epl_graph *g, const char *op)
{
    int n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        n += strcmp(epl_node_op_name(k), op) == 0;
    return n;
}

/* Two chains, each of which could be one node: a waits for a sum over b, and b for a sum over a. Together they would
 * wait for each other, whichever was joined first. */
TEST(chains_that_wait_for_each_other_are_not_both_fused)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "knot");
    epl_value   *w = epl_input(g, "w", EPL_F32, EPL_SHAPE(4, 3), NULL), *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(5, 2), NULL);
    epl_value   *a = epl_square(g, w), *of_a = epl_reduce_sum(g, a, (epl_reduce_opts){ 0 });
    epl_value   *b = epl_relu(g, x), *of_b = epl_reduce_sum(g, b, (epl_reduce_opts){ 0 });
    epl_output(g, "a", epl_mul(g, a, of_b));
    epl_output(g, "b", epl_mul(g, epl_step(g, b), of_a));
    epl_tensor *in[2] = { epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4, 3)),
                          epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(5, 2)) },
               *want[2], *have[2];
    epl_tensor_fill_normal(in[0], t->rng, 0, 1);
    epl_tensor_fill_normal(in[1], t->rng, 0, 1);
    epl_weights *none = epl_weights_new(ctx);
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_interpret(g, none, (const epl_tensor *const *)in, want));
    CHECK_OK(t, ctx, epl_fuse(g) && epl_graph_verify(g) && epl_interpret(g, none, (const epl_tensor *const *)in, have));
    for (int i = 0; i < 2; i++) {
        CHECK(t, epl_tensor_equal(want[i], have[i]));
        epl_tensor_free(in[i]);
        epl_tensor_free(want[i]);
        epl_tensor_free(have[i]);
    }
    CHECK_INT(t, count(g, "Fused"), 1); // the other chain is
    epl_weights_free(none);
    epl_graph_free(g);
}

static epl_value *masked(epl_graph *g, epl_value *p, void *user)
{
    (void)user;
    char name[256];
    snprintf(name, sizeof name, "/%s.mask", epl_value_name(p));
    return epl_mul(g, p, epl_state(g, name, EPL_F32, epl_shape_of(p), EPL_INIT_ONES, 0));
}

TEST(a_mask_in_a_weights_place_and_baked_again)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = small_net(t, ctx, true);
    epl_tensor  *x   = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 8, 8, 3));
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    epl_tensor *before = output_of(t, m, x);
    CHECK_INT(t, epl_reparameterize(m->graph, "*.conv.weight", masked, NULL), 2);
    CHECK_OK(t, ctx, epl_model_init(m, 5) && epl_graph_verify(m->graph));
    epl_tensor *ones = output_of(t, m, x);
    CHECK(t, epl_tensor_equal(before, ones));
    epl_tensor *mask = epl_weights_find(m->weights, "a.conv.weight.mask");
    for (int64_t i = 0; i < epl_tensor_count(mask); i += 2)
        epl_tensor_set(mask, i, 0);
    epl_tensor *pruned = output_of(t, m, x);
    CHECK(t, !epl_tensor_equal(before, pruned));
    const int names = epl_weights_count(m->weights);
    CHECK_OK(t, ctx, epl_bake(m) && epl_model_check(m));
    CHECK_INT(t, epl_weights_count(m->weights), names - 2);
    CHECK_INT(t, count(m->graph, "Mul"), 0);
    CHECK(t, epl_tensor_get(epl_weights_find(m->weights, "a.conv.weight"), 2) == 0);
    epl_tensor *baked = output_of(t, m, x);
    CHECK(t, epl_tensor_equal(baked, pruned));
    epl_tensor_free(before);
    epl_tensor_free(ones);
    epl_tensor_free(pruned);
    epl_tensor_free(baked);
    epl_tensor_free(x);
    epl_model_free(m);
}

/* W + A B, Hu et al. 2021 (arXiv:2106.09685), eq. (3). */
static epl_value *low_rank(epl_graph *g, epl_value *p, void *user)
{
    const int64_t rank = *(const int64_t *)user;
    char a[256], b[256];
    snprintf(a, sizeof a, "/%s.a", epl_value_name(p));
    snprintf(b, sizeof b, "/%s.b", epl_value_name(p));
    return epl_add(g, p, epl_matmul(g, epl_parameter(g, a, EPL_F32, EPL_SHAPE(epl_dim(p, 0), rank), EPL_INIT_NORMAL, 0.1),
                                    epl_parameter(g, b, EPL_F32, EPL_SHAPE(rank, epl_dim(p, 1)), EPL_INIT_NORMAL, 0.1),
                                    (epl_matmul_opts){ 0 }));
}

TEST(a_low_rank_adapter_trains_alone_and_is_baked_in)
{
    epl_context *ctx  = test_context(t);
    epl_model   *m    = small_net(t, ctx, false);
    int64_t      rank = 2;
    CHECK_INT(t, epl_reparameterize(m->graph, "head.weight", low_rank, &rank), 1);
    CHECK_OK(t, ctx, epl_model_init(m, 6));
    epl_graph *g = epl_graph_copy(m->graph);
    epl_value *loss = epl_reduce_sum(g, epl_square(g, epl_graph_output_at(g, 0)), (epl_reduce_opts){ 0 });
    epl_value *x[2] = { epl_graph_find(g, "head.weight.a"), epl_graph_find(g, "head.weight.b") }, *dx[2];
    CHECK_OK(t, ctx, epl_gradient(g, loss, 2, x, dx));
    CHECK(t, epl_shape_equal(epl_shape_of(dx[0]), epl_shape_of(x[0])));
    epl_graph_free(g);
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 8, 8, 3));
    epl_tensor_fill_normal(in, t->rng, 0, 1);
    epl_tensor *before = output_of(t, m, in);
    CHECK_OK(t, ctx, epl_bake(m));
    CHECK(t, !epl_weights_find(m->weights, "head.weight.a") && epl_weights_find(m->weights, "head.weight"));
    epl_tensor *after = output_of(t, m, in);
    CHECK_CLOSE(t, after, before, .rtol = 1e-5, .atol = 1e-6);
    epl_tensor_free(in);
    epl_tensor_free(before);
    epl_tensor_free(after);
    epl_model_free(m);
}

static epl_value *wrong_shape(epl_graph *g, epl_value *p, void *user)
{
    (void)user;
    return epl_reshape(g, p, EPL_SHAPE(-1));
}

TEST(an_expression_of_another_shape_is_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = small_net(t, ctx, false);
    CHECK_FAILS(t, ctx, epl_reparameterize(m->graph, "head.weight", wrong_shape, NULL) >= 0, EPL_ERR_SHAPE, "head.weight");
    epl_model_free(m);
}

TEST(training_form_updates_statistics_and_draws_masks)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = small_net(t, ctx, true);
    CHECK_OK(t, ctx, epl_set_training(m->graph) && epl_graph_finish(m->graph) && epl_model_init(m, 5));
    CHECK_INT(t, count(m->graph, "BatchNorm"), 0);
    CHECK_INT(t, count(m->graph, "BatchNormTrain"), 2);
    CHECK_INT(t, count(m->graph, "Dropout"), 0);
    CHECK_INT(t, count(m->graph, "Update"), 5);
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 8, 8, 3));
    epl_tensor_fill_normal(x, t->rng, 1, 2);
    epl_tensor *one = output_of(t, m, x), *two = output_of(t, m, x);
    CHECK(t, !epl_tensor_equal(one, two)); // another step, another mask
    CHECK_INT(t, epl_tensor_get_i64(epl_weights_find(m->weights, "rng"), 1), 2);
    CHECK(t, epl_tensor_get(epl_weights_find(m->weights, "a.norm.running_var"), 0) != 1);
    epl_tensor_free(one);
    epl_tensor_free(two);
    epl_tensor_free(x);
    epl_model_free(m);
}

TEST(inference_is_conv_and_chain_alone)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = small_net(t, ctx, true);
    epl_program *p   = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, ctx, p != NULL);
    const epl_graph *g = epl_program_graph(p);
    CHECK_INT(t, count(g, "BatchNorm") + count(g, "Dropout") + count(g, "Relu"), 0);
    int running = 0;
    char *text = epl_program_print(p);
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        running++;
    for (const char *at = text; (at = strstr(at, "[once]")) != NULL; at++)
        running--;
    CHECK_INT(t, running, 4); // two convolutions with what follows them, a mean, a product
    epl_release(ctx, text);
    epl_program_free(p);
    epl_model_free(m);
}

/* relu's gradient reads where the result was positive: after the product that it follows, not as a mask kept from
 * the forward pass. */
TEST(a_value_joins_its_only_reader_first)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "relus");
    epl_value   *x = epl_relu(g, epl_neg(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(4, 8), NULL)));
    epl_value   *dy = epl_matmul(g, x, epl_input(g, "w", EPL_F32, EPL_SHAPE(8, 8), NULL), (epl_matmul_opts){ 0 });
    epl_output(g, "y", x);
    epl_output(g, "dx", epl_mul(g, dy, epl_step(g, x)));
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_prepare(g, (epl_pass_opts){ .fuse = true }));
    CHECK_INT(t, count(g, "Fused"), 2);
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (EPL_IS(n, fused))
            CHECK_INT(t, n->n_outputs, 1);
    epl_graph_free(g);
}

TEST(what_is_computed_twice_is_computed_once)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "twice");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(3), NULL);
    epl_value   *a   = epl_exp(g, epl_add(g, x, epl_scalar(g, EPL_F32, 2)));
    epl_value   *b   = epl_exp(g, epl_add(g, x, epl_scalar(g, EPL_F32, 2)));
    epl_value   *two = epl_add(g, epl_scalar(g, EPL_F32, 1), epl_scalar(g, EPL_F32, 1));
    epl_output(g, "y", epl_mul(g, epl_mul(g, a, b), epl_mul(g, two, epl_scalar(g, EPL_F32, 0.5))));
    CHECK_OK(t, ctx, epl_fold_control(g, 0) && epl_merge_common(g) && epl_simplify(g));
    epl_remove_dead(g);
    CHECK_INT(t, count(g, "Exp"), 1);
    CHECK_INT(t, count(g, "Add"), 1);
    CHECK_INT(t, count(g, "Mul"), 1); // a * a; times one is gone
    epl_graph_free(g);
}

/* ---- transposes ---- */

static int count_op(const epl_graph *g, const char *name)
{
    int n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        n += strcmp(epl_node_op_name(k), name) == 0;
    return n;
}

static int count_transposes(const epl_graph *g) { return count_op(g, "Transpose"); }

/* g computes the same elements after the pass. */
static void check_unchanged(test *t, epl_graph *g, bool (*pass)(epl_graph *))
{
    epl_tensor *x[8], *before[8], *after[8];
    sample_values(t, g, x);
    CHECK_OK(t, g->ctx, epl_graph_finish(g) && epl_interpret(g, NULL, (const epl_tensor *const *)x, before));
    CHECK_OK(t, g->ctx, pass(g) && epl_graph_verify(g) && epl_interpret(g, NULL, (const epl_tensor *const *)x, after));
    for (int i = 0; i < epl_graph_n_outputs(g); i++) {
        CHECK(t, epl_tensor_equal(before[i], after[i]));
        epl_tensor_free(before[i]);
        epl_tensor_free(after[i]);
    }
    for (int i = 0; i < epl_graph_n_inputs(g); i++)
        epl_tensor_free(x[i]);
}

/* Some axes split, some neighbours merged; the first, the batch, stays. */
static epl_shape other_shape(epl_rng *r, epl_shape from)
{
    epl_shape to = { .rank = 1, .dim = { from.dim[0] } };
    for (int i = 1; i < from.rank && to.rank < 7; i++) {
        const uint64_t what = epl_rng_below(r, 3);
        if (what == 0 && from.dim[i] % 2 == 0) {
            to.dim[to.rank++] = 2;
            to.dim[to.rank++] = from.dim[i] / 2;
        } else if (what == 1 && to.rank > 1) {
            to.dim[to.rank - 1] *= from.dim[i];
        } else {
            to.dim[to.rank++] = from.dim[i];
        }
    }
    return to;
}

PROPERTY(transposes_pass_reshapes, 300)
{
    static const int64_t sizes[] = { 1, 2, 3, 4, 6 };
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "g");
    epl_shape    shape = { .rank = 2 + (int)epl_rng_below(t->rng, 4) }, perm = { .rank = shape.rank };
    int64_t      order[EPL_MAX_RANK];
    for (int i = 0; i < shape.rank; i++) {
        shape.dim[i] = sizes[epl_rng_below(t->rng, 5)];
        order[i] = i;
    }
    epl_rng_shuffle(t->rng, order + 1, (size_t)shape.rank - 1);
    memcpy(perm.dim, order, sizeof order);
    epl_value *x = epl_permute(g, epl_sample_input(g, EPL_F32, shape, -2, 2, 0), perm);
    epl_value *y = epl_reshape(g, x, other_shape(t->rng, epl_shape_of(x)));
    epl_output(g, "y", epl_tanh(g, y));
    epl_output(g, "x", x);
    check_unchanged(t, g, epl_move_transposes);
    epl_graph_free(g);
}

/* [N, H, W, C] -> channels first -> `middle` -> channels last. */
static epl_graph *between_orders(epl_context *ctx, epl_value *(*middle)(epl_graph *g, epl_value *x))
{
    epl_graph *g = epl_graph_new(ctx, "g");
    const int  first[] = { 0, 3, 1, 2 }, last[] = { 0, 2, 3, 1 };
    epl_value *x = middle(g, epl_transpose(g, epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 3, 5, 8), -2, 2, 0), 4, first));
    epl_output(g, "y", epl_rank(x) == 4 ? epl_transpose(g, x, 4, last) : x);
    return g;
}

static epl_value *shuffle(epl_graph *g, epl_value *x)
{
    const int exchange[] = { 0, 2, 1, 3, 4 };
    x = epl_transpose(g, epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, 2, 4, 3, 5)), 5, exchange);
    return epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, 8, 3, 5));
}

static epl_value *tokens(epl_graph *g, epl_value *x)
{
    const int exchange[] = { 0, 2, 1 };
    return epl_transpose(g, epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, EPL_KEEP, -1)), 3, exchange);
}

static epl_value *scaled(epl_graph *g, epl_value *x) /* squeeze and excitation: smaller by broadcasting */
{
    epl_value *s = epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(2, 3) });
    return epl_mul(g, x, epl_reshape(g, epl_sigmoid(g, s), EPL_SHAPE(EPL_KEEP, 8, 1, 1)));
}

TEST(channel_shuffles_tokens_and_gates_keep_channels_last)
{
    epl_context *ctx = test_context(t);
    const struct { epl_value *(*middle)(epl_graph *, epl_value *); int left; } cases[] = { { shuffle, 1 }, { tokens, 0 }, { scaled, 0 } };
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = between_orders(ctx, cases[i].middle);
        check_unchanged(t, g, epl_move_transposes);
        CHECK_INT(t, count_transposes(g), cases[i].left);
        epl_graph_free(g);
    }
}

/* ---- recognition ---- */

TEST(layers_are_recognised)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "g");
    const int    heads[] = { 0, 2, 1, 3 }, keys[] = { 0, 2, 3, 1 };
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 6, 8), NULL);
    epl_value   *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(8, 8), EPL_INIT_NORMAL, 1),
              *b = epl_parameter(g, "b", EPL_F32, EPL_SHAPE(8), EPL_INIT_NORMAL, 1);
    epl_value   *y = epl_add(g, b, epl_matmul(g, x, w, (epl_matmul_opts){ .trans_b = true }));
    y = epl_mul(g, y, epl_sigmoid(g, y));
    y = epl_reshape(g, epl_reshape(g, y, EPL_SHAPE(EPL_KEEP, -1)), EPL_SHAPE(EPL_KEEP, 6, 2, 4));
    epl_value *q = epl_transpose(g, y, 4, heads), *k = epl_transpose(g, y, 4, keys);
    epl_output(g, "y", epl_clip(g, epl_matmul(g, q, k, (epl_matmul_opts){ 0 }), 0, 6));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model  *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 6, 8));
    epl_tensor_fill_normal(in, t->rng, 0, 1);
    epl_tensor *before = output_of(t, m, in);
    CHECK_OK(t, ctx, epl_recognise(m->graph) && epl_graph_verify(m->graph));
    epl_tensor *after = output_of(t, m, in);
    CHECK_CLOSE(t, after, before, .rtol = 1e-5, .atol = 1e-5);
    CHECK(t, count_op(g, "Linear") == 1 && count_op(g, "Silu") == 1 && count_op(g, "Relu6") == 1 && count_op(g, "MatMul") == 1);
    CHECK(t, count_op(g, "Add") == 0 && count_op(g, "Mul") == 0 && count_op(g, "Clip") == 0 && count_op(g, "Reshape") == 1);
    CHECK_INT(t, epl_attr_i(epl_producer(epl_node_input(epl_producer(epl_graph_output_at(g, 0)), 0)), "trans_b"), 1);
    epl_tensor_free(in);
    epl_tensor_free(before);
    epl_tensor_free(after);
    epl_model_free(m);
}
