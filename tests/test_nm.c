/* N:M sparse training: which weights stay, and what each of a layer's three products reads. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "graph/op.h"

enum { N = 5, IN = 4, HIDDEN = 8, OUT = 12 };

/* x [N, 4] -> linear "a" [4, 8] -> linear "b" [8, 12], and the mean of squares as the loss. */
static epl_model *two_layers(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "two");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(N, IN), "N,");
    x = epl_linear(g, x, (epl_linear_opts){ .name = "a", .out = HIDDEN, .no_bias = true });
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "b", .out = OUT, .no_bias = true }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

static epl_tensor *normal(test *t, epl_context *ctx, epl_shape s)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, s);
    CHECK(t, x != NULL);
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    return x;
}

static void fill(epl_program *p, const epl_tensor *x, const epl_tensor *target)
{
    for (int i = 0; i < epl_program_n_inputs(p); i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_program_input(p, i)); k++)
            epl_tensor_set(epl_program_input(p, i), k, 1); /* the rate, the samples' weights */
    memcpy(epl_program_input_named(p, "x")->data, x->data, epl_tensor_bytes(x));
    memcpy(epl_program_input_named(p, "target")->data, target->data, epl_tensor_bytes(target));
}

/* One step of plain SGD of rate 1; the model's weights become the next. */
static void step(test *t, epl_model *m, const epl_train_hook *hook, const epl_tensor *x, const epl_tensor *target)
{
    const epl_step_opts o = { .batch = N, .loss.name = "mse", .optimizer.kind = EPL_SGD, .target_dtype = EPL_F32,
                              .hooks = hook, .n_hooks = hook ? 1 : 0 };
    epl_graph   *g = epl_train_graph(m, m->weights, o, 1, NULL);
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, m->ctx, p);
    fill(p, x, target);
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_program_free(p);
    epl_graph_free(g);
}

/* c [rows, cols] (+)= a b, any strides. */
static void product(const double *a, int ai, int ak, const double *b, int bk, int bj, int rows, int depth, int cols, double *c)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            c[i * cols + j] = 0;
            for (int k = 0; k < depth; k++)
                c[i * cols + j] += a[i * ai + k * ak] * b[k * bk + j * bj];
        }
}

static void values(const epl_tensor *x, double *out)
{
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        out[i] = epl_tensor_get(x, i);
}

/* n of m along an axis of [rows, cols], by counting. */
static void prune(const double *w, int rows, int cols, int axis, int n, int m, double *out)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            const int at = axis ? j : i, last = axis ? cols : rows;
            int before = 0;
            for (int k = at / m * m; k < last && k < (at / m + 1) * m; k++) {
                const double a = fabs(axis ? w[i * cols + k] : w[k * cols + j]), b = fabs(w[i * cols + j]);
                before += a > b || (a == b && k < at);
            }
            out[i * cols + j] = before < n ? w[i * cols + j] : 0;
        }
}

typedef struct truth {
    double x[N * IN], a[IN * HIDDEN], b[HIDDEN * OUT], target[N * OUT];
    double ff[HIDDEN * OUT], bp[HIDDEN * OUT];
    double h[N * HIDDEN], y[N * OUT], e[N * OUT], kept[N * OUT], dh[N * HIDDEN], da[IN * HIDDEN], db[HIDDEN * OUT];
} truth;

/* Gradients of both layers when "b" is 2:4 sparse as the mode says. */
static void compute(truth *k, epl_nm_mode mode)
{
    const bool sparse = mode == EPL_NM_BDWP || mode == EPL_NM_SRSTE;
    prune(k->b, HIDDEN, OUT, 0, 2, 4, k->ff);
    prune(k->b, HIDDEN, OUT, 1, 2, 4, k->bp);
    product(k->x, IN, 1, k->a, HIDDEN, 1, N, IN, HIDDEN, k->h);
    product(k->h, HIDDEN, 1, sparse ? k->ff : k->b, OUT, 1, N, HIDDEN, OUT, k->y);
    for (int i = 0; i < N * OUT; i++)
        k->e[i] = 2 * (k->y[i] - k->target[i]) / (N * OUT);
    prune(k->e, N, OUT, 1, 2, 4, k->kept);
    product(mode == EPL_NM_SDGP ? k->kept : k->e, OUT, 1, mode == EPL_NM_SRSTE ? k->ff : mode == EPL_NM_SDGP ? k->b : k->bp, 1, OUT, N, OUT,
            HIDDEN, k->dh);
    product(k->x, 1, IN, k->dh, HIDDEN, 1, IN, N, HIDDEN, k->da);
    product(k->h, 1, HIDDEN, k->e, OUT, 1, HIDDEN, N, OUT, k->db);
}

static void check_mode(test *t, epl_nm_mode mode, double lambda)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = two_layers(t, ctx);
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(N, IN)), *target = normal(t, ctx, EPL_SHAPE(N, OUT));
    truth        k;
    epl_tensor  *a = epl_weights_find(m->weights, "a.weight"), *b = epl_weights_find(m->weights, "b.weight");
    double       da[IN * HIDDEN], db[HIDDEN * OUT];
    values(x, k.x), values(target, k.target), values(a, k.a), values(b, k.b);
    compute(&k, mode);
    const epl_nm_opts o = { .n = 2, .m = 4, .mode = mode, .skip = "first", .lambda = lambda };
    epl_train_hook hook = epl_nm_hook(m, o);
    CHECK_OK(t, ctx, hook.user);
    step(t, m, &hook, x, target);
    values(a, da), values(b, db);
    for (int i = 0; i < IN * HIDDEN; i++)
        da[i] = k.a[i] - da[i];
    for (int i = 0; i < HIDDEN * OUT; i++) {
        db[i] = k.b[i] - db[i];
        k.db[i] += (lambda > 0 ? lambda : 0) * (k.b[i] - k.ff[i]);
    }
    CHECK_CLOSE_F64(t, da, k.da, IN * HIDDEN, .rtol = 1e-5, .atol = 1e-6);
    CHECK_CLOSE_F64(t, db, k.db, HIDDEN * OUT, .rtol = 1e-5, .atol = 1e-6);
    epl_release(ctx, hook.user);
    epl_tensor_free(x);
    epl_tensor_free(target);
    epl_model_free(m);
}

TEST(bdwp_reads_two_masks_and_gives_a_dense_weight_gradient) { check_mode(t, EPL_NM_BDWP, 0); }
TEST(srste_reads_one_mask_and_pulls_what_is_left_out) { check_mode(t, EPL_NM_SRSTE, 0.25); }
TEST(srste_without_lambda_is_plain_straight_through) { check_mode(t, EPL_NM_SRSTE, -1); }
TEST(sdgp_prunes_the_gradient_of_the_output) { check_mode(t, EPL_NM_SDGP, 0); }
TEST(sdwp_prunes_weights_in_the_input_gradient_alone) { check_mode(t, EPL_NM_SDWP, 0); }

static epl_model *zoo(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    CHECK_OK(t, ctx, g);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    return m;
}

/* A few updates on blobs of pictures. */
static void train(test *t, epl_model *m, const epl_train_hook *hook, epl_trainer_opts o)
{
    epl_dataset *d = epl_dataset_open(m->ctx, "shapes:classes=3,image=8", (epl_dataset_opts){ .limit = 32 });
    CHECK_OK(t, m->ctx, d);
    o.batch = 16, o.epochs = o.epochs ? o.epochs : 2, o.seed = 5, o.hooks = hook, o.n_hooks = hook ? 1 : 0;
    epl_trainer *trainer = epl_trainer_new(m, d, NULL, o);
    CHECK_OK(t, m->ctx, trainer && epl_trainer_run(trainer));
    epl_trainer_free(trainer);
    epl_dataset_free(d);
}

#define SMALL "cnn:width=8,image=8,channels=3,classes=3"

TEST(all_of_m_is_dense_training_bit_for_bit)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = zoo(t, ctx, SMALL), *b = zoo(t, ctx, SMALL);
    epl_train_hook hook = epl_nm_hook(b, (epl_nm_opts){ .n = 4, .m = 4 });
    CHECK_OK(t, ctx, hook.user);
    train(t, a, NULL, (epl_trainer_opts){ 0 });
    train(t, b, &hook, (epl_trainer_opts){ 0 });
    for (int i = 0; i < epl_weights_count(a->weights); i++) {
        const epl_tensor *other = epl_weights_find(b->weights, epl_weights_name(a->weights, i));
        CHECK(t, other && epl_tensor_equal(epl_weights_at(a->weights, i), other));
    }
    epl_release(ctx, hook.user);
    epl_model_free(a);
    epl_model_free(b);
}

static int count_kernels(const epl_program *p, const char *kernels)
{
    int n = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        n += epl_glob(kernels, epl_program_step(p, i).kernel);
    return n;
}

/* The second expression of a layer is there for its gradient; its value is not computed. Where it pays, products run on lists. */
TEST(no_product_is_computed_twice)
{
    static const char *const products[] = { "conv,conv_dx,sparse_conv", "conv_dw", "gemm", "keep_largest", "nm_pack" };
    epl_context *ctx = test_context(t);
    const int    layers = 5; /* of six convolutions; the first, and the classifier, stay dense */
    for (int mode = -1, dense[5]; mode <= (int)EPL_NM_SDWP; mode++) {
        epl_model *m = zoo(t, ctx, "cnn:width=32,depth=2,image=16,channels=3,classes=3");
        epl_train_hook hook = mode < 0 ? (epl_train_hook){ 0 } : epl_nm_hook(m, (epl_nm_opts){ .n = 1, .m = 8, .mode = (epl_nm_mode)mode });
        const epl_step_opts o = {
            .batch = 16, .loss.name = "cross-entropy", .optimizer.kind = EPL_SGD, .hooks = &hook, .n_hooks = mode >= 0
        };
        epl_graph   *g = epl_train_graph(m, m->weights, o, 1, NULL);
        epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ .plan_only = true }) : NULL;
        CHECK_OK(t, ctx, p);
        for (int i = 0; i < 4; i++) {
            const int n = count_kernels(p, products[i]);
            if (mode < 0)
                dense[i] = n;
            else
                CHECK_INT(t, n, i < 3 ? dense[i] : layers * (mode == EPL_NM_BDWP ? 2 : 1));
        }
        CHECK_INT(t, count_kernels(p, "nm_pack") > 0, mode == EPL_NM_BDWP || mode == EPL_NM_SRSTE || mode == EPL_NM_SDWP);
        epl_program_free(p);
        epl_graph_free(g);
        epl_release(ctx, hook.user);
        epl_model_free(m);
    }
}

/* The sparse kernels' step against reference kernels, node by node: N:M, under masks, and under masks that are not
 * what they were when the program was made (one of them full). */
PROPERTY(sparse_steps_compute_what_their_graph_says, 3)
{
    epl_context *ctx = test_context(t);
    const bool   masks = t->index > 0;
    epl_model     *m = zoo(t, ctx,
                       masks ? "cnn:width=32,depth=2,stages=2,image=16,channels=3,classes=3"
                                 : "cnn:width=32,depth=2,image=8,channels=3,classes=3");
    epl_train_hook hook = masks ? (epl_train_hook){ 0 } : epl_nm_hook(m, (epl_nm_opts){ .n = 1, .m = 8 });
    CHECK_OK(t, ctx,
             masks ? epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.9, .criterion = "random", .skip = "first" })
                   : hook.user != NULL);
    const epl_step_opts o = { .batch = masks ? 16 : 4,
                              .loss.name = "cross-entropy",
                              .optimizer.kind = EPL_SGD,
                              .hooks = &hook,
                              .n_hooks = !masks };
    epl_graph   *g = epl_train_graph(m, m->weights, o, 1, NULL);
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ .sparse = masks }) : NULL;
    CHECK_OK(t, ctx, p);
    CHECK(t, count_kernels(p, "sparse_conv") >= (masks ? 2 : 1));
    CHECK_INT(t, count_kernels(p, "sparse_pack"), masks ? count_kernels(p, "sparse_conv") : 0); // forward, and turned around
    if (t->index == 2) {
        epl_tensor *full = epl_weights_find(m->weights, "stage1.unit2.conv.weight.mask"),
                   *moved = epl_weights_find(m->weights, "stage2.unit1.conv.weight.mask");
        for (int64_t k = 0; k < epl_tensor_count(full); k++)
            epl_tensor_set(full, k, 1);
        for (int64_t k = 0; k < epl_tensor_count(moved); k++)
            epl_tensor_set(moved, k, epl_rng_below(t->rng, 3) == 0);
    }
    epl_weights *other = epl_weights_copy(ctx, m->weights);
    CHECK_OK(t, ctx, other);
    const epl_tensor *in[4];
    epl_tensor       *out[8] = { NULL };
    for (int i = 0; i < 4; i++) {
        epl_tensor *x = epl_program_input_named(p, epl_value_name(epl_graph_input_at(g, i)));
        for (int64_t k = 0; k < epl_tensor_count(x); k++)
            epl_tensor_set(x, k,
                           x->shape.rank > 1     ? epl_rng_normal(t->rng)
                           : x->dtype == EPL_I64 ? (double)(k % 3)
                           : x->shape.rank       ? 1
                                                 : 0.1);
        in[i] = x;
    }
    CHECK_OK(t, ctx, epl_interpret(g, other, in, out));
    CHECK_OK(t, ctx, epl_program_run(p));
    for (int i = 0; i < epl_weights_count(other); i++)
        if (epl_glob("*.weight", epl_weights_name(other, i)))
            CHECK_CLOSE(t, epl_weights_find(m->weights, epl_weights_name(other, i)), epl_weights_at(other, i), .rtol = 1e-3, .atol = 1e-4);
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        epl_tensor_free(out[i]);
    epl_weights_free(other);
    epl_program_free(p);
    epl_graph_free(g);
    epl_release(ctx, hook.user);
    epl_model_free(m);
}

/* Exactly n of each full group along the input channels, which is what inference reads and what baking leaves. */
TEST(baking_leaves_what_the_network_read)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, SMALL);
    epl_train_hook hook = epl_nm_hook(m, (epl_nm_opts){ .n = 1, .m = 4 });
    CHECK_OK(t, ctx, hook.user);
    train(t, m, &hook, (epl_trainer_opts){ 0 });
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(2, 8, 8, 3)), *before = NULL, *after = NULL;
    epl_sparsity all;
    CHECK_OK(t, ctx, epl_graph_bind(m->graph, "N", 2) && epl_interpret(m->graph, m->weights, (const epl_tensor *const[]){ x }, &before));
    CHECK_OK(t, ctx, epl_nm_bake(m) && epl_graph_verify(m->graph));
    CHECK_OK(t, ctx, epl_interpret(m->graph, m->weights, (const epl_tensor *const[]){ x }, &after));
    CHECK(t, epl_tensor_equal(before, after));
    int pruned = 0;
    for (const epl_node *n = epl_first(m->graph); n; n = epl_next(n)) {
        const epl_tensor *w = EPL_IS(n, conv) ? epl_weights_find(m->weights, epl_value_name(n->inputs[1])) : NULL;
        if (!w || pruned++ == 0)
            continue;
        int64_t kept = 0;
        for (int64_t i = 0; i < epl_tensor_count(w); i++)
            kept += epl_tensor_get(w, i) != 0;
        CHECK_INT(t, kept, epl_tensor_count(w) / 4);
    }
    CHECK(t, pruned > 1);
    CHECK_OK(t, ctx, epl_sparsity_of(m, &all));
    CHECK(t, all.nonzero < all.weights);
    epl_release(ctx, hook.user);
    epl_tensor_free(x);
    epl_tensor_free(before);
    epl_tensor_free(after);
    epl_model_free(m);
}

TEST(what_does_not_fit_is_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "cnn:width=12,image=8,channels=3,classes=3");
    CHECK_FAILS(t, ctx, epl_nm_hook(m, (epl_nm_opts){ .n = 5, .m = 4 }).user, EPL_ERR_ARGUMENT, "5 of 4");
    CHECK_FAILS(t, ctx, epl_nm_hook(m, (epl_nm_opts){ .n = 1, .m = 4, .skip = "last" }).user, EPL_ERR_SHAPE, "3 input channels");
    CHECK_FAILS(t, ctx, epl_nm_hook(m, (epl_nm_opts){ .n = 1, .m = 8, .strict = true }).user, EPL_ERR_SHAPE, "groups of 8 do not divide");
    epl_model_free(m);
    m = zoo(t, ctx, "mobilenet:width=0.5,image=32,classes=3");
    epl_nm_cost cost;
    CHECK_OK(t, ctx, epl_nm_cost_of(m, (epl_nm_opts){ .n = 2, .m = 8 }, &cost));
    CHECK_INT(t, cost.layers, 13); /* the depthwise ones stay dense */
    epl_model_free(m);
}

TEST(packed_sizes)
{
    CHECK_INT(t, epl_nm_packed_bytes(1024, 2, 8, 2), 608);
    CHECK_INT(t, epl_nm_packed_bytes(4, 2, 4, 4), 9);
    CHECK_INT(t, epl_nm_packed_bytes(11, 2, 8, 4), 4 * 4 + 2);
}

/* ---- packed ---- */

static epl_model *pruned(test *t, epl_context *ctx, int n, int m)
{
    epl_model *net = zoo(
        t, ctx,
        "cnn:width=12,image=8,channels=3,classes=3,stages=2,depth=1"); // 12 and 24 channels: groups of 8 have a rest
    CHECK_OK(t, ctx, epl_prune_weights(net, (epl_prune_opts){ .n = n, .m = m, .skip = "first" }) && epl_bake(net));
    return net;
}

static epl_tensor *outputs(test *t, const epl_model *m)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    CHECK_OK(t, m->ctx, p != NULL);
    epl_rng r = epl_rng_at(5, 5);
    epl_tensor_fill_normal(epl_program_input(p, 0), &r, 0, 1);
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(m->ctx, epl_program_output(p, 0));
    epl_program_free(p);
    return y;
}

static const int ratios[][2] = { { 2, 4 }, { 1, 4 }, { 2, 8 }, { 3, 5 }, { 1, 2 } };

/* Packed, saved, loaded: the same outputs, the bytes that were told; unpacked the same weights. */
PROPERTY(packed_weights_are_the_same_to_the_bit, EPL_COUNT(ratios))
{
    epl_context *ctx = test_context(t);
    const int    n = ratios[t->index][0], of = ratios[t->index][1];
    epl_model   *whole = pruned(t, ctx, n, of), *m = epl_model_copy(whole);
    char        *path = strdup(test_temp(t, "packed.safetensors"));
    CHECK_INT(t, epl_nm_pack(m, (epl_nm_opts){ .n = n, .m = of }), 2);
    CHECK_OK(t, ctx, epl_model_save(m, path));
    epl_model_free(m);
    m = epl_model_load(ctx, path);
    CHECK_OK(t, ctx, m && epl_model_check(m) && epl_graph_verify(m->graph));
    CHECK(t, strstr(epl_weights_metadata(m->weights, "espalier.packed"), "<weight>.values") != NULL);
    const epl_tensor *w = epl_weights_find(whole->weights, "stage2.unit1.conv.weight"); // [3, 3, 12, 24]
    const epl_tensor *values = epl_weights_find(m->weights, "stage2.unit1.conv.weight.values"),
                     *indices = epl_weights_find(m->weights, "stage2.unit1.conv.weight.indices");
    CHECK(t, w && values && indices && !epl_weights_find(m->weights, "stage2.unit1.conv.weight"));
    CHECK_INT(t, values->shape.dim[2], 12 / of * n + (12 % of < n ? 12 % of : n));
    CHECK(t, 12 % of || epl_tensor_bytes(values) + epl_tensor_bytes(indices) == (size_t)epl_nm_packed_bytes(epl_tensor_count(w), n, of, 4));
    epl_tensor *a = outputs(t, whole), *b = outputs(t, m);
    CHECK(t, epl_tensor_equal(a, b));
    CHECK_INT(t, epl_nm_unpack(m), 2);
    CHECK(t, !epl_weights_metadata(m->weights, "espalier.packed"));
    CHECK_INT(t, epl_weights_count(m->weights), epl_weights_count(whole->weights));
    for (int i = 0; i < epl_weights_count(whole->weights); i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(whole->weights, i), epl_weights_find(m->weights, epl_weights_name(whole->weights, i))));
    CHECK_OK(t, ctx, epl_model_check(m));
    CHECK_INT(t, epl_nm_pack(m, (epl_nm_opts){ .n = n, .m = of }), 2);
    CHECK_OK(t, ctx, epl_bake(m) && epl_weights_find(m->weights, "head.weight"));
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_model_free(whole);
    epl_model_free(m);
    free(path);
}

/* Files that are cut anywhere, and indices of another network. */
TEST(damaged_packed_files_are_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = pruned(t, ctx, 2, 4);
    char        *path = strdup(test_temp(t, "whole.safetensors")), *cut = strdup(test_temp(t, "cut.safetensors"));
    size_t       bytes = 0;
    CHECK_INT(t, epl_nm_pack(m, (epl_nm_opts){ .n = 2, .m = 4 }), 2);
    CHECK_OK(t, ctx, epl_model_save(m, path));
    char *data = test_read_file(t, path, &bytes);
    for (int i = 0; i < 60; i++) {
        FILE *f = fopen(cut, "wb");
        const size_t n = i == 0 ? 0 : i < 3 ? bytes - (size_t)i : (size_t)epl_rng_below(t->rng, (uint64_t)bytes);
        CHECK(t, f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
        epl_model *broken = epl_model_load(ctx, cut);
        CHECK(t, !broken && epl_error_code(ctx) != EPL_OK);
        epl_error_clear(ctx);
    }
    epl_weights *w = epl_weights_open(ctx, path);
    CHECK_OK(t, ctx,
             w && epl_weights_put_take(w, "head.weight.indices", epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(5))) &&
                 epl_weights_save(w, cut));
    CHECK_FAILS(t, ctx, epl_model_load(ctx, cut), EPL_ERR_SHAPE, "head.weight.indices");
    epl_weights_free(w);
    CHECK_FAILS(t, ctx, epl_nm_pack(m, (epl_nm_opts){ .n = 4, .m = 4 }) >= 0, EPL_ERR_ARGUMENT, "4 of 4");
    free(data);
    free(path);
    free(cut);
    epl_model_free(m);
}

TEST(what_is_not_n_of_m_is_not_packed)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = pruned(t, ctx, 2, 4);
    CHECK_INT(t, epl_nm_pack(m, (epl_nm_opts){ .n = 1, .m = 4 }), 0);
    CHECK_INT(t, epl_nm_pack(m, (epl_nm_opts){ .n = 2, .m = 4, .pattern = "head.*" }), 1);
    CHECK(t, epl_weights_find(m->weights, "stage2.unit1.conv.weight") && epl_weights_find(m->weights, "head.weight.values"));
    epl_model_free(m);
}

/* Two updates apart from the first: the log says how many weights came and went. */
TEST(changes_of_the_mask_are_logged)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = two_layers(t, ctx);
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(N, IN)), *target = normal(t, ctx, EPL_SHAPE(N, OUT));
    epl_train_hook hook = epl_nm_hook(m, (epl_nm_opts){ .n = 2, .m = 4, .skip = "first", .log_changes = true });
    const epl_step_opts o = {
        .batch = N, .loss.name = "mse", .optimizer.kind = EPL_SGD, .target_dtype = EPL_F32, .hooks = &hook, .n_hooks = 1
    };
    epl_graph   *g = hook.user ? epl_train_graph(m, m->weights, o, 1, NULL) : NULL;
    CHECK_OK(t, ctx, g);
    epl_program *p = epl_program_new(g, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    fill(p, x, target);
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_NEAR(t, epl_tensor_get(epl_program_output_named(p, "log.nm.changes"), 0), 0, 0);
    epl_tensor *b = epl_weights_find(m->weights, "b.weight");
    for (int64_t i = 0; i < 4; i++) /* inputs 0 to 3 of output 0 */
        epl_tensor_set(b, i * OUT, i < 2 ? 100 : 1);
    CHECK_OK(t, ctx, epl_program_refresh(p) && epl_program_run(p));
    for (int64_t i = 0; i < 4; i++)
        epl_tensor_set(b, i * OUT, i < 2 ? 100 : 1000);
    CHECK_OK(t, ctx, epl_program_refresh(p) && epl_program_run(p));
    CHECK(t, epl_tensor_get(epl_program_output_named(p, "log.nm.changes"), 0) >= 4);
    epl_program_free(p);
    epl_graph_free(g);
    epl_release(ctx, hook.user);
    epl_tensor_free(x);
    epl_tensor_free(target);
    epl_model_free(m);
}

/* The published description's ratios: the first convolution and the classifier are dense. */
TEST(multiply_adds_of_four_networks)
{
    static const struct {
        const char *network;
        double      bdwp, srste;
    } nets[] = { { "resnet9", 0.5016, 0.7508 }, { "vgg:depth=19,image=32,classes=100,hidden=0,norm=1", 0.5015, 0.7508 },
                 { "resnet:stem=imagenet,depth=18,width=64,image=224,classes=1000", 0.5223, 0.7612 },
                 { "resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000", 0.5100, 0.7550 } };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        epl_graph  *g = epl_zoo_build(ctx, nets[i].network);
        epl_nm_cost bdwp, srste;
        CHECK_OK(t, ctx, g);
        epl_model *m = epl_model_new_take(g);
        CHECK_OK(t, ctx, epl_nm_cost_of(m, (epl_nm_opts){ .n = 2, .m = 8 }, &bdwp) &&
                         epl_nm_cost_of(m, (epl_nm_opts){ .n = 2, .m = 8, .mode = EPL_NM_SRSTE }, &srste));
        CHECK_NEAR(t, bdwp.sparse / bdwp.dense, nets[i].bdwp, .atol = 5e-5);
        CHECK_NEAR(t, srste.sparse / srste.dense, nets[i].srste, .atol = 5e-5);
        epl_model_free(m);
    }
}
