/* model: a graph and its weights - initialisers, the file that holds both, and what is said when they do not fit. */
#include "common/check.h"

#include <espalier/graph.h>

static epl_graph *small_graph(epl_context *ctx)
{
    static const char text[] = "graph \"small\" {\n"
                               "  %0 = Input(name=\"x\", shape=[N:2, 3])\n"
                               "  %1 = Parameter(name=\"fc.weight\", shape=[3, 4], init=normal, scale=0.5)\n"
                               "  %2 = MatMul(%0, %1) : f32[2, 4] @fc\n"
                               "  %3 = Parameter(name=\"fc.bias\", shape=[4])\n"
                               "  %4 = Add(%2, %3) : f32[2, 4] @fc\n"
                               "  %5 = State(name=\"count\", dtype=i64, shape=[1], init=constant, scale=7)\n"
                               "  Output(%4, name=\"y\")\n"
                               "  Update(%5, %5)\n"
                               "}\n";
    return epl_graph_parse(ctx, text, sizeof text - 1, "small");
}

static epl_tensor *initialised(test *t, epl_context *ctx, epl_weights *keep, const char *name, epl_dtype dtype, epl_shape shape,
                               epl_init init, double a, uint64_t seed)
{
    epl_graph *g = epl_graph_new(ctx, "one");
    epl_output(g, "y", epl_parameter(g, name, dtype, shape, init, a));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, seed));
    epl_tensor *copy = epl_tensor_copy(ctx, epl_weights_find(m->weights, name));
    CHECK_OK(t, ctx, epl_weights_put_take(keep, name, copy));
    epl_model_free(m);
    return copy;
}

static void moments(const epl_tensor *x, double *mean, double *std, double *largest)
{
    const int64_t n = epl_tensor_count(x);
    *mean = *std = *largest = 0;
    for (int64_t i = 0; i < n; i++)
        *mean += epl_tensor_get(x, i) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = epl_tensor_get(x, i) - *mean;
        *std += d * d / (double)n;
        *largest = fmax(*largest, fabs(epl_tensor_get(x, i)));
    }
    *std = sqrt(*std);
}

/* 20 000 draws: the sample's moments lie within five standard errors of the distribution's. */
TEST(initialisers_have_their_moments)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = epl_weights_new(ctx);
    const epl_shape s = EPL_SHAPE(100, 200);
    double mean, std, largest;
    moments(initialised(t, ctx, w, "normal", EPL_F32, s, EPL_INIT_NORMAL, 0.5, 1), &mean, &std, &largest);
    CHECK_NEAR(t, mean, 0, .atol = 0.018);
    CHECK_NEAR(t, std, 0.5, .atol = 0.0125);
    moments(initialised(t, ctx, w, "uniform", EPL_F32, s, EPL_INIT_UNIFORM, 0.3, 1), &mean, &std, &largest);
    CHECK_NEAR(t, std, 0.3 / sqrt(3), .atol = 0.004);
    CHECK(t, largest <= 0.3 && largest > 0.299);
    moments(initialised(t, ctx, w, "cut", EPL_F32, s, EPL_INIT_TRUNC_NORMAL, 0.5, 1), &mean, &std, &largest);
    CHECK(t, largest <= 1 && largest > 0.99);
    CHECK_NEAR(t, std, 0.5 * 0.87962566, .atol = 0.01); // of a normal distribution cut at two standard deviations
    moments(initialised(t, ctx, w, "ones", EPL_F16, s, EPL_INIT_ONES, 0, 1), &mean, &std, &largest);
    CHECK(t, fabs(mean - 1) < 1e-12 && std < 1e-12);
    moments(initialised(t, ctx, w, "zeros", EPL_F32, s, EPL_INIT_ZEROS, 0, 1), &mean, &std, &largest);
    CHECK(t, largest == 0);
    moments(initialised(t, ctx, w, "constant", EPL_I32, s, EPL_INIT_CONSTANT, -3, 1), &mean, &std, &largest);
    CHECK_NEAR(t, mean, -3, .atol = 1e-9);
    epl_weights_free(w);
}

/* Rows or columns, whichever are fewer, are orthonormal times the gain. */
PROPERTY(orthogonal_is_orthogonal, 6)
{
    static const int64_t sizes[][2] = { { 8, 8 }, { 5, 9 }, { 9, 5 }, { 1, 7 }, { 7, 1 }, { 64, 32 } };
    epl_context  *ctx = test_context(t);
    epl_weights  *w = epl_weights_new(ctx);
    const int64_t rows = sizes[t->index][0], columns = sizes[t->index][1], n = rows < columns ? rows : columns;
    const epl_tensor *q = initialised(t, ctx, w, "q", EPL_F64, EPL_SHAPE(rows, columns), EPL_INIT_ORTHOGONAL, 1.5, 3);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double dot = 0;
            for (int64_t k = 0; k < rows * columns / n; k++)
                dot += rows < columns ? epl_tensor_get(q, i * columns + k) * epl_tensor_get(q, j * columns + k)
                                      : epl_tensor_get(q, k * columns + i) * epl_tensor_get(q, k * columns + j);
            CHECK_NEAR(t, dot, i == j ? 2.25 : 0, .atol = 1e-12);
        }
    epl_weights_free(w);
}

/* A tensor's draws follow from seed and name alone, whatever stands around it. */
TEST(draws_depend_on_seed_and_name)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = epl_weights_new(ctx), *v = epl_weights_new(ctx);
    epl_model   *m = epl_model_new_take(small_graph(ctx));
    CHECK_OK(t, ctx, m && epl_model_init(m, 9));
    const epl_tensor *here = epl_weights_find(m->weights, "fc.weight");
    const epl_shape s = EPL_SHAPE(3, 4);
    CHECK(t, epl_tensor_equal(here, initialised(t, ctx, w, "fc.weight", EPL_F32, s, EPL_INIT_NORMAL, 0.5, 9)));
    CHECK(t, !epl_tensor_equal(here, initialised(t, ctx, w, "other", EPL_F32, s, EPL_INIT_NORMAL, 0.5, 9)));
    CHECK(t, !epl_tensor_equal(here, initialised(t, ctx, v, "fc.weight", EPL_F32, s, EPL_INIT_NORMAL, 0.5, 10)));
    CHECK_INT(t, epl_tensor_get_i64(epl_weights_find(m->weights, "count"), 0), 7);
    epl_model_free(m);
    epl_weights_free(w);
    epl_weights_free(v);
}

/* What is there already is kept. */
TEST(init_fills_what_is_missing)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(small_graph(ctx));
    epl_tensor  *bias = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4));
    epl_tensor_set(bias, 2, 5);
    CHECK_OK(t, ctx, m && epl_weights_put_take(m->weights, "fc.bias", bias) && epl_model_init(m, 1) && epl_model_check(m));
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "fc.bias"), 2), 5, .atol = 0);
    epl_model_free(m);
}

TEST(models_survive_their_file)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(small_graph(ctx));
    const char  *path = test_temp(t, "small.safetensors");
    CHECK_OK(t, ctx, m && epl_model_init(m, 4) && epl_model_save(m, path));
    epl_model *again = epl_model_load(ctx, path);
    CHECK_OK(t, ctx, again);
    CHECK(t, epl_graph_hash(m->graph) == epl_graph_hash(again->graph));
    CHECK_INT(t, epl_weights_count(again->weights), 3);
    for (int i = 0; i < 3; i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(again->weights, i), epl_weights_find(m->weights, epl_weights_name(again->weights, i))));
    epl_model *copy = epl_model_copy(again);
    epl_model_free(again);
    CHECK_OK(t, ctx, copy && epl_model_check(copy));
    epl_model_free(copy);
    epl_model_free(m);
}

TEST(what_does_not_fit_is_said)
{
    epl_context *ctx = test_context(t);
    const char  *path = test_temp(t, "bad.safetensors");
    epl_model   *m = epl_model_new_take(small_graph(ctx));
    CHECK_FAILS(t, ctx, epl_model_check(m), EPL_ERR_FORMAT,
                "model 'small': 3 of 3 tensors are missing: 'fc.weight', 'fc.bias', 'count'");
    CHECK_FAILS(t, ctx, epl_model_save(m, path), EPL_ERR_FORMAT, "missing");
    CHECK_OK(t, ctx, epl_model_init(m, 1) && epl_model_save(m, path));
    epl_weights_remove(m->weights, "fc.bias");
    CHECK_OK(t, ctx, epl_weights_put_take(m->weights, "fc.bias", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(5))));
    CHECK_FAILS(t, ctx, epl_model_check(m), EPL_ERR_SHAPE, "model 'small': 'fc.bias' is f32[5], the graph expects f32[4]");
    CHECK_FAILS(t, ctx, epl_model_init(m, 1), EPL_ERR_SHAPE, "'fc.bias' is f32[5]");
    CHECK_OK(t, ctx, epl_weights_save(m->weights, path)); // the text in the metadata is still the graph's
    CHECK_FAILS(t, ctx, epl_model_load(ctx, path), EPL_ERR_SHAPE, "bad.safetensors: model 'small': 'fc.bias' is f32[5]");
    epl_weights_remove(m->weights, "fc.bias");
    CHECK_OK(t, ctx, epl_weights_save(m->weights, path));
    CHECK_FAILS(t, ctx, epl_model_load(ctx, path), EPL_ERR_FORMAT, "bad.safetensors: model 'small': 1 of 3 tensors are missing: 'fc.bias'");
    CHECK_OK(t, ctx, epl_weights_set_metadata(m->weights, "espalier.version", "2") && epl_weights_save(m->weights, path));
    CHECK_FAILS(t, ctx, epl_model_load(ctx, path), EPL_ERR_UNSUPPORTED, "version '2'");
    epl_model_free(m);

    epl_weights *w = epl_weights_new(ctx);
    CHECK_OK(t, ctx, epl_weights_put_take(w, "a", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2))) && epl_weights_save(w, path));
    CHECK_FAILS(t, ctx, epl_model_load(ctx, path), EPL_ERR_FORMAT, "weights without a network");
    epl_weights_free(w);
    CHECK_FAILS(t, ctx, epl_model_load(ctx, test_temp(t, "none")), EPL_ERR_IO, "none");
}

TEST(truncated_files_are_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(small_graph(ctx));
    const char  *path = test_temp(t, "whole.safetensors"), *cut = test_temp(t, "cut.safetensors");
    CHECK_OK(t, ctx, m && epl_model_init(m, 4) && epl_model_save(m, path));
    size_t bytes;
    char  *data = test_read_file(t, path, &bytes);
    for (size_t n = 0; n < bytes; n += 1 + n / 40) {
        CHECK_OK(t, ctx, epl_write_file(ctx, cut, data, n));
        epl_model *broken = epl_model_load(ctx, cut);
        CHECK(t, !broken && epl_error_code(ctx) == EPL_ERR_FORMAT);
        epl_error_clear(ctx);
    }
    free(data);
    epl_model_free(m);
}

TEST(no_failed_allocation_is_missed)
{
    epl_context *plain = test_context(t);
    const char  *path = test_temp(t, "small.safetensors");
    epl_model   *m = epl_model_new_take(small_graph(plain));
    CHECK_OK(t, plain, m && epl_model_init(m, 4) && epl_model_save(m, path));
    epl_model_free(m);
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        m = epl_model_load(ctx, path);
        done = m != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_model_free(m);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
}
