/* Hypercomplex layers: published sizes, Hamilton's product, the element formula, gradients, fits to trained weights. */
#include "common/check.h"

#include <espalier/espalier.h>

/* The authors' networks without the bias that their convolutions create and never add. (Their real network of depth 152, with
 * 52 578 694, is not the one that their hypercomplex ones replace: ours, with the layers of these, has 52 985 446.) */
static const struct {
    const char *description;
    int64_t     parameters;
} published[] = {
    { "phc-resnet:n=0", 11173962 },
    { "phc-resnet:n=2", 5594794 },
    { "phc-resnet:n=4", 2805962 },
    { "phc-resnet:n=0,large=1", 10877062 },
    { "phc-resnet:n=2,large=1", 5446226 },
    { "phc-resnet:n=3,large=1", 3635914 },
    { "phc-resnet:n=4,large=1", 2731578 },
    { "phc-resnet:n=0,depth=50,large=1", 22538086 },
    { "phc-resnet:n=2,depth=50,large=1", 11305754 },
    { "phc-resnet:n=3,depth=50,large=1", 7562149 },
    { "phc-resnet:n=4,depth=50,large=1", 5692074 },
    { "phc-resnet:n=2,depth=152,large=1", 26576330 },
    { "phc-resnet:n=3,depth=152,large=1", 17775463 },
    { "phc-resnet:n=4,depth=152,large=1", 13379562 },
    { "phc-vgg:n=0", 29806930 },
    { "phc-vgg:n=2", 14909938 },
    { "phc-vgg:n=3", 9946504 },
    { "phc-vgg:n=4", 7465390 },
    { "phc-vgg:n=0,depth=16", 15253578 },
    { "phc-vgg:n=2,depth=16", 7632386 },
    { "phc-vgg:n=4,depth=16", 3824394 },
};

PROPERTY(networks_have_the_published_size, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, published[t->index].description);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].parameters);
    epl_graph_free(g);
}

/* 20 layers, so 20 n^3 for the rules; the products of the layers are those of the real network. */
PROPERTY(rules_cost_little_and_products_stay, 3)
{
    epl_context *ctx = test_context(t);
    const int    n   = 2 + t->index;
    char         text[64];
    snprintf(text, sizeof text, "phc-resnet:large=1,channels=12,n=%d", n);
    epl_graph *g = epl_zoo_build(ctx, text), *real = epl_zoo_build(ctx, "phc-resnet:large=1,channels=12,n=0");
    CHECK_OK(t, ctx, g && real);
    int64_t rules = 0;
    double  convs[2] = { 0, 0 };
    for (epl_node *k = epl_first(g); k; k = epl_next(k)) {
        if (epl_node_n_outputs(k) && epl_value_name(epl_node_output(k, 0)) && epl_glob("*.A", epl_value_name(epl_node_output(k, 0))))
            rules += epl_shape_count(epl_shape_of(epl_node_output(k, 0)));
        if (strcmp(epl_node_op_name(k), "Conv") == 0)
            convs[0] += epl_node_cost(k).macs;
    }
    for (epl_node *k = epl_first(real); k; k = epl_next(k))
        if (strcmp(epl_node_op_name(k), "Conv") == 0)
            convs[1] += epl_node_cost(k).macs;
    CHECK_INT(t, rules, 20 * n * n * n);
    CHECK_INT(t, convs[0], convs[1]);
    epl_graph_free(g);
    epl_graph_free(real);
}

/* ---- numbers ---- */

static epl_model *finished(test *t, epl_graph *g, epl_value *y)
{
    epl_output(g, "y", y);
    CHECK_OK(t, epl_graph_context(g), epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, epl_graph_context(g), m && epl_model_init(m, 1 + (uint64_t)t->index));
    return m;
}

static epl_tensor *outcome(test *t, const epl_model *m, const epl_tensor *x)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, m->ctx, p != NULL);
    memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(m->ctx, epl_program_output(p, 0));
    epl_program_free(p);
    return y;
}

static epl_tensor *normal(test *t, epl_context *ctx, epl_shape shape)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, shape);
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    return x;
}

/* One filter element each: the layer is the product with the quaternion (F_1, F_2, F_3, F_4), which multiplies norms. */
PROPERTY(quaternion_layers_multiply_quaternions, 5)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "quaternion");
    epl_value   *in  = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4), NULL);
    epl_model   *m   = finished(t, g, epl_phm(g, in, (epl_linear_opts){ .out = 4, .no_bias = true },
                                               (epl_hypercomplex_opts){ .n = 4, .algebra = EPL_ALGEBRA_QUATERNION }));
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(1, 4)), *y = outcome(t, m, x);
    const float *q = epl_weights_find(m->weights, "linear.F")->data, *p = x->data;
    const float  product[4] = { q[0] * p[0] - q[1] * p[1] - q[2] * p[2] - q[3] * p[3],
                                q[0] * p[1] + q[1] * p[0] + q[2] * p[3] - q[3] * p[2],
                                q[0] * p[2] - q[1] * p[3] + q[2] * p[0] + q[3] * p[1],
                                q[0] * p[3] + q[1] * p[2] - q[2] * p[1] + q[3] * p[0] };
    CHECK_CLOSE_F32(t, y->data, product, 4, .rtol = 1e-6, .atol = 1e-6);
    double norm[3] = { 0 };
    for (int i = 0; i < 4; i++) {
        norm[0] += epl_tensor_get(y, i) * epl_tensor_get(y, i);
        norm[1] += q[i] * q[i];
        norm[2] += p[i] * p[i];
    }
    CHECK_NEAR(t, sqrt(norm[0]), sqrt(norm[1] * norm[2]), .rtol = 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

TEST(complex_layers_multiply_complex_numbers)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "complex");
    epl_value   *in  = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 2), NULL);
    epl_model   *m   = finished(t, g, epl_phm(g, in, (epl_linear_opts){ .out = 2, .no_bias = true },
                                               (epl_hypercomplex_opts){ .n = 2, .algebra = EPL_ALGEBRA_COMPLEX }));
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(1, 2)), *y = outcome(t, m, x);
    const float *z = epl_weights_find(m->weights, "linear.F")->data, *p = x->data;
    CHECK_CLOSE_F32(t, y->data, ((float[]){ z[0] * p[0] - z[1] * p[1], z[0] * p[1] + z[1] * p[0] }), 2, .rtol = 1e-6, .atol = 1e-6);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* The weight, written down element by element. */
static epl_tensor *dense_weight(epl_context *ctx, const epl_weights *w, const char *layer, epl_shape shape)
{
    char name[64];
    snprintf(name, sizeof name, "%s.A", layer);
    const epl_tensor *a = epl_weights_find(w, name);
    snprintf(name, sizeof name, "%s.F", layer);
    const epl_tensor *f = epl_weights_find(w, name);
    const int64_t n = a->shape.dim[0], in = shape.dim[shape.rank - 2], out = shape.dim[shape.rank - 1], q = in / n, p = out / n;
    epl_tensor *dense = epl_tensor_new(ctx, EPL_F32, shape);
    const int64_t taps = epl_tensor_count(dense) / in / out;
    for (int64_t t = 0; t < taps; t++)
        for (int64_t b = 0; b < in; b++)
            for (int64_t c = 0; c < out; c++) {
                double sum = 0;
                for (int64_t i = 0; i < n; i++)
                    sum += epl_tensor_get(a, (i * n + c / p) * n + b / q) * epl_tensor_get(f, ((i * taps + t) * q + b % q) * p + c % p);
                epl_tensor_set(dense, (t * in + b) * out + c, sum);
            }
    return dense;
}

/* n from 1 to 5, one to three spatial axes, unequal widths: the formula's weight in a plain layer, the baked network, and the
 * network with c A and F / c compute the same. */
PROPERTY(weights_are_sums_of_kronecker_products, 15)
{
    epl_context *ctx = test_context(t);
    const int    n = 1 + t->index % 5, axes = 1 + t->index / 5;
    epl_graph   *g = epl_graph_new(ctx, "phc");
    epl_shape    shape = { .rank = axes + 2, .dim = { 2, 4, 4, 4, 4 } };
    shape.dim[axes + 1] = 2 * n;
    epl_value *in = epl_input(g, "x", EPL_F32, shape, NULL);
    epl_model  *m = finished(t, g,
                             epl_phc(g, in, (epl_conv_opts){ .name = "c", .out = 3 * n, .pad = 1 },
                                     (epl_hypercomplex_opts){ .n = n }));
    epl_tensor *x = normal(t, ctx, shape), *y = outcome(t, m, x);

    epl_shape weight = { .rank = axes + 2 };
    for (int i = 0; i < axes; i++)
        weight.dim[i] = 3;
    weight.dim[axes] = 2 * n;
    weight.dim[axes + 1] = 3 * n;
    epl_tensor *dense = dense_weight(ctx, m->weights, "c", weight), *again;
    epl_model  *baked = epl_model_copy(m);
    CHECK_OK(t, ctx, epl_bake(baked));
    CHECK(t, epl_weights_find(baked->weights, "c.weight") && !epl_weights_find(baked->weights, "c.A"));
    CHECK_CLOSE(t, epl_weights_find(baked->weights, "c.weight"), dense, .rtol = 1e-5, .atol = 1e-6);
    again = outcome(t, baked, x);
    CHECK_CLOSE(t, again, y, .rtol = 1e-5, .atol = 1e-5);
    epl_tensor_free(again);

    epl_tensor *a = epl_weights_find(m->weights, "c.A"), *f = epl_weights_find(m->weights, "c.F");
    for (int64_t i = 0; i < epl_tensor_count(a); i++)
        epl_tensor_set(a, i, 8 * epl_tensor_get(a, i));
    for (int64_t i = 0; i < epl_tensor_count(f); i++)
        epl_tensor_set(f, i, epl_tensor_get(f, i) / 8);
    again = outcome(t, m, x);
    CHECK_CLOSE(t, again, y, .rtol = 1e-6, .atol = 1e-6);
    epl_tensor_free(again);
    epl_tensor_free(dense);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(baked);
    epl_model_free(m);
}

/* d sum(y^2) / d A and d F against central differences of the program. */
static double loss_of(test *t, const epl_model *m, const epl_tensor *x)
{
    epl_tensor *y = outcome(t, m, x);
    double sum = 0;
    for (int64_t i = 0; i < epl_tensor_count(y); i++)
        sum += epl_tensor_get(y, i) * epl_tensor_get(y, i);
    epl_tensor_free(y);
    return sum;
}

PROPERTY(gradients_match_differences, 3)
{
    epl_context *ctx = test_context(t);
    const int    n = 2 + t->index;
    epl_graph   *g = epl_graph_new(ctx, "phc");
    epl_value   *in = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4, 4, 2 * n), NULL);
    epl_model   *m = finished(t, g, epl_phc(g, in, (epl_conv_opts){ .name = "c", .out = n, .pad = 1, .no_bias = true },
                                             (epl_hypercomplex_opts){ .n = n }));
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(1, 4, 4, 2 * n));
    epl_graph   *b = epl_graph_copy(m->graph);
    epl_value   *y = epl_graph_output_at(b, 0), *p[2] = { epl_graph_find(b, "c.A"), epl_graph_find(b, "c.F") }, *dp[2];
    CHECK_OK(t, ctx, epl_gradient(b, epl_reduce_sum(b, epl_square(b, y), (epl_reduce_opts){ 0 }), 2, p, dp));
    epl_output(b, "dA", dp[0]);
    epl_output(b, "dF", dp[1]);
    epl_program *run = epl_program_new(b, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, run != NULL);
    memcpy(epl_program_input(run, 0)->data, x->data, epl_tensor_bytes(x));
    CHECK_OK(t, ctx, epl_program_run(run));
    for (int k = 0; k < 2; k++) {
        const epl_tensor *d = epl_program_output_named(run, k ? "dF" : "dA");
        epl_tensor       *w = epl_weights_find(m->weights, k ? "c.F" : "c.A");
        for (int64_t i = 0; i < epl_tensor_count(w); i += 3) {
            const double old = epl_tensor_get(w, i), h = 0.01;
            epl_tensor_set(w, i, old + h);
            const double up = loss_of(t, m, x);
            epl_tensor_set(w, i, old - h);
            const double down = loss_of(t, m, x);
            epl_tensor_set(w, i, old);
            CHECK_NEAR(t, epl_tensor_get(d, i), (up - down) / (2 * h), .rtol = 2e-3, .atol = 2e-2);
        }
    }
    epl_program_free(run);
    epl_graph_free(b);
    epl_tensor_free(x);
    epl_model_free(m);
}

/* ---- the transform ---- */

static epl_model *small_net(test *t, epl_context *ctx, int channels)
{
    epl_graph *g = epl_graph_new(ctx, "net");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 6, 6, channels), "N,,,");
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = 8 } });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "mid", .conv = { .out = 12 } });
    return finished(t, g, epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "head", .out = 10 }));
}

/* A network whose weights are such sums, made plain and fitted again, computes the same; so does one that is fitted with n
 * large enough to hold any weight. */
TEST(fits_recover_weights_of_that_form)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_net(t, ctx, 4), *plain, *wide;
    epl_hypercomplex_result r;
    const epl_hypercomplex_opts o = { .n = 2, .skip = "head.*" };
    CHECK_OK(t, ctx, epl_hypercomplex(m->graph, NULL, o, &r) && epl_model_init(m, 3));
    CHECK_INT(t, r.layers, 2);
    CHECK_STR(t, r.skipped_names, "head (12 -> 10, left out)");
    epl_release(ctx, r.skipped_names);
    epl_tensor *x = normal(t, ctx, EPL_SHAPE(2, 6, 6, 4)), *y = outcome(t, m, x), *again;
    plain = epl_model_copy(m);
    CHECK_OK(t, ctx, epl_bake(plain));
    CHECK_OK(t, ctx, epl_hypercomplex(plain->graph, plain->weights, o, &r) && epl_graph_verify(plain->graph) && epl_model_check(plain));
    epl_release(ctx, r.skipped_names);
    CHECK(t, r.error < 1e-6);
    again = outcome(t, plain, x);
    CHECK_CLOSE(t, again, y, .rtol = 1e-4, .atol = 1e-5);
    epl_tensor_free(again);
    epl_tensor_free(y);

    wide = small_net(t, ctx, 4); // 4 terms of 1 x 1 filters and 16 rows: rank 4 cannot hold a random 3x3 weight, 2 hold less
    double error[2];
    for (int i = 0; i < 2; i++) {
        epl_model *c = epl_model_copy(wide);
        CHECK_OK(t, ctx, epl_hypercomplex(c->graph, c->weights, (epl_hypercomplex_opts){ .n = i ? 4 : 2, .skip = "head.*" }, &r));
        epl_release(ctx, r.skipped_names);
        error[i] = r.error;
        CHECK(t, r.error > 0.1 && r.error < 1);
        epl_model_free(c);
    }
    CHECK(t, error[1] > error[0]); // fewer weights, more is lost
    epl_tensor_free(x);
    epl_model_free(wide);
    epl_model_free(plain);
    epl_model_free(m);
}

/* A 2 x 2 weight has one element in each block: n = 2 terms are min(n^2, rank) = 1 and more. */
TEST(fits_are_exact_where_the_terms_reach_the_rank)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "linear");
    epl_value   *in = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4), NULL);
    epl_model   *m = finished(t, g, epl_linear(g, in, (epl_linear_opts){ .out = 2 })); // blocks of 1 x 2: rank 2
    epl_tensor  *x = normal(t, ctx, EPL_SHAPE(1, 4)), *y = outcome(t, m, x), *again;
    epl_hypercomplex_result r;
    CHECK_OK(t, ctx, epl_hypercomplex(m->graph, m->weights, (epl_hypercomplex_opts){ .n = 2 }, &r));
    CHECK(t, r.error < 1e-6);
    again = outcome(t, m, x);
    CHECK_CLOSE(t, again, y, .rtol = 1e-6, .atol = 1e-6);
    epl_release(ctx, r.skipped_names);
    epl_tensor_free(again);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_model_free(m);
}

/* Three channels become four, the first of them zero: nothing else of the network changes. */
TEST(padding_comes_before_the_channels)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_net(t, ctx, 3);
    epl_hypercomplex_result r;
    CHECK_OK(t, ctx, epl_hypercomplex(m->graph, m->weights, (epl_hypercomplex_opts){ .n = 4, .pad_channels = true }, &r));
    CHECK_INT(t, r.layers, 2);
    CHECK_STR(t, r.skipped_names, "head (12 -> 10, outputs)");
    CHECK_OK(t, ctx, epl_graph_verify(m->graph) && epl_model_check(m) && epl_graph_bind(m->graph, "N", 3) && epl_graph_verify(m->graph));
    CHECK_INT(t, epl_dim(epl_graph_find(m->graph, "stem.conv.F"), 3), 1);
    epl_release(ctx, r.skipped_names);
    epl_model_free(m);
}

TEST(errors_name_the_layer_and_both_numbers)
{
    epl_context *ctx = test_context(t);
    static const struct {
        int         n, out, groups;
        epl_error   code;
        const char *words;
    } bad[] = { { 4, 10, 1, EPL_ERR_SHAPE, "c: n = 4 does not divide 8 input and 10 output channels" },
                { 3, 12, 1, EPL_ERR_SHAPE, "c: n = 3 does not divide 8 input" },
                { 0, 8, 1, EPL_ERR_ARGUMENT, "c: n is 0" },
                { -2, 8, 1, EPL_ERR_ARGUMENT, "c: n is -2" },
                { 2, 8, 2, EPL_ERR_UNSUPPORTED, "c: 2 groups" } };
    for (size_t i = 0; i < EPL_COUNT(bad); i++) {
        epl_graph *g = epl_graph_new(ctx, "bad");
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4, 4, 8), NULL);
        CHECK_FAILS(t, ctx, epl_phc(g, x, (epl_conv_opts){ .name = "c", .out = bad[i].out, .groups = bad[i].groups },
                                    (epl_hypercomplex_opts){ .n = bad[i].n }), bad[i].code, bad[i].words);
        epl_graph_free(g);
    }
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "phc-resnet:n=3"), EPL_ERR_ARGUMENT, "stem.conv (3 -> 64, outputs)");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "phc-resnet:n=4,algebra=complex"), EPL_ERR_ARGUMENT, "complex numbers have 2");
}
