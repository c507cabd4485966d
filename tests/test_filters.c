/* Filters beyond what the quick part of papers/filter-design checks: every method makes finite filters of the length it promises,
 * measures of banks whose answers are known, words of --init, and the remarks about designs. */
#include "common/check.h"

#include <espalier/espalier.h>

static double length_of(const epl_tensor *t, int j)
{
    const int64_t z = t->shape.dim[3];
    double        sum = 0;
    for (int64_t i = 0; i < epl_tensor_count(t) / z; i++)
        sum += epl_tensor_get(t, i * z + j) * epl_tensor_get(t, i * z + j);
    return sqrt(sum);
}

PROPERTY(every_method_makes_filters, epl_filters_method_count())
{
    epl_context *ctx    = test_context(t);
    const char  *method = epl_filters_method_at(t->index);
    if (strcmp(method, "file") == 0)
        return;
    epl_dataset *d = epl_dataset_open(ctx, "shapes:image=16", (epl_dataset_opts){ .limit = 40 });
    epl_tensor  *w = d ? epl_filters_make(ctx, (epl_filters_opts){ .method = method, .kernel = 5, .channels = 3, .number = 6, .data = d,
                                                                   .patches = 300, .rounds = 3, .seed = t->seed }) : NULL;
    CHECK_OK(t, ctx, w);
    CHECK(t, epl_shape_equal(w->shape, EPL_SHAPE(5, 5, 3, 6)));
    for (int64_t i = 0; i < epl_tensor_count(w); i++)
        CHECK(t, isfinite(epl_tensor_get(w, i)));
    if (!epl_glob("constant,zero,normal,lecun*,xavier*,he,he-uniform,trunc-normal,*orthogonal", method))
        for (int j = 0; j < 6; j++)
            CHECK_NEAR(t, length_of(w, j), sqrt(2), .rtol = 1e-4);
    epl_tensor *again = epl_filters_make(ctx, (epl_filters_opts){ .method = method, .kernel = 5, .channels = 3, .number = 6, .data = d,
                                                                  .patches = 300, .rounds = 3, .seed = t->seed });
    CHECK(t, epl_tensor_equal(w, again));
    epl_tensor_free(again);
    epl_tensor_free(w);
    epl_dataset_free(d);
}

/* Two filters, one the other moved by a pixel: apart as they are, the same over shifts. */
TEST(measures_know_moved_filters)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *w = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, 3, 1, 2));
    epl_filters_measures m;
    epl_tensor_set(w, 0 * 2 + 0, 1);
    epl_tensor_set(w, 1 * 2 + 1, 2);
    CHECK_OK(t, ctx, epl_filters_measure(ctx, w, &m));
    CHECK_NEAR(t, m.coherence_max, 0, .atol = 1e-9);
    CHECK_NEAR(t, m.shift_coherence, 1, .atol = 1e-6);
    CHECK_NEAR(t, m.orthogonality, 0, .atol = 1e-6);
    CHECK_NEAR(t, m.spectral_norm, 2, .rtol = 1e-6);
    CHECK_NEAR(t, m.dc, 1.0 / 9, .rtol = 1e-5);
    const double p = 0.2; // shares 1/5 and 4/5 of the energy
    CHECK_NEAR(t, m.effective_rank, exp(-p * log(p) - (1 - p) * log(1 - p)), .rtol = 1e-6);
    epl_tensor *bad = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, 3));
    CHECK_FAILS(t, ctx, epl_filters_measure(ctx, bad, &m), EPL_ERR_SHAPE, "no bank of filters");
    epl_tensor_free(bad);
    epl_tensor_free(w);
}

/* Of a data set of one picture as large as the filters: their mean square answer to it is 2 |x|^2 / p, and nothing
 * but the factor is new. */
TEST(even_banks_answer_like_random_ones)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 5, 5, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(1));
    epl_tensor_fill_uniform(x, t->rng, 0, 1);
    epl_tensor *picture = epl_tensor_copy(ctx, x);
    epl_dataset *d = epl_dataset_from_tensors_take(ctx, "one", x, y);
    epl_filters_opts o = { .method = "dct", .kernel = 5, .number = 6, .data = d, .patches = 10 };
    epl_tensor *plain = d ? epl_filters_make(ctx, o) : NULL;
    o.even = true;
    epl_tensor *even = plain ? epl_filters_make(ctx, o) : NULL;
    CHECK_OK(t, ctx, even);
    const double factor = length_of(even, 0) / length_of(plain, 0);
    double square = 0, answers = 0;
    for (int j = 0; j < 6; j++) {
        double sum = 0;
        for (int i = 0; i < 25; i++)
            sum += epl_tensor_get(picture, i) * epl_tensor_get(even, i * 6 + j);
        answers += sum * sum / 6;
        CHECK_NEAR(t, length_of(even, j), factor * length_of(plain, j), .rtol = 1e-5);
    }
    for (int i = 0; i < 25; i++)
        square += epl_tensor_get(picture, i) * epl_tensor_get(picture, i);
    CHECK_NEAR(t, answers, 2 * square / 25, .rtol = 1e-4);
    o.data = NULL;
    CHECK_FAILS(t, ctx, epl_filters_make(ctx, o) != NULL, EPL_ERR_ARGUMENT, "a data set is needed");
    epl_tensor_free(plain);
    epl_tensor_free(even);
    epl_tensor_free(picture);
    epl_dataset_free(d);
}

static epl_model *model(test *t, epl_context *ctx, const char *description)
{
    epl_model *m = epl_model_new_take(epl_zoo_build(ctx, description));
    CHECK_OK(t, ctx, m && epl_model_init(m, 0));
    return m;
}

TEST(layers_start_by_name)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model(t, ctx, "lenet");
    CHECK_INT(t, epl_init_weights(m, "conv0=gabor,fc*=constant:0.5,*=zero", NULL, 1), 5);
    CHECK_NEAR(t, length_of(epl_weights_find(m->weights, "conv1.weight"), 0), sqrt(2), .rtol = 1e-4);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "conv2.weight"), 7), 0, .atol = 0);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "fc2.weight"), 7), 0.5, .atol = 0);
    CHECK_FAILS(t, ctx, epl_init_weights(m, "fc1=gabor", NULL, 1) > 0, EPL_ERR_ARGUMENT, "square kernel");
    CHECK_FAILS(t, ctx, epl_init_weights(m, "fc9=he", NULL, 1) > 0, EPL_ERR_ARGUMENT, "no layer's weight");
    CHECK_FAILS(t, ctx, epl_init_weights(m, "gabor", NULL, 1) > 0, EPL_ERR_ARGUMENT, "layer=method");
    CHECK_FAILS(t, ctx, epl_init_weights(m, "conv0=kmeens", NULL, 1) > 0, EPL_ERR_ARGUMENT, "'kmeans'");
    epl_model_free(m);
}

TEST(stored_filters_start_a_layer)
{
    epl_context *ctx  = test_context(t);
    const char  *path = test_temp(t, "bank.safetensors");
    epl_tensor  *bank = epl_filters_make(ctx, (epl_filters_opts){ .method = "dct", .kernel = 5, .number = 6 });
    epl_weights *w = epl_weights_new(ctx);
    char         words[600];
    CHECK_OK(t, ctx, bank && epl_weights_put_take(w, "filters", epl_tensor_copy(ctx, bank)) && epl_weights_save(w, path));
    epl_model *m = model(t, ctx, "lenet");
    snprintf(words, sizeof words, "conv0=file:%s", path);
    CHECK_INT(t, epl_init_weights(m, words, NULL, 0), 1);
    CHECK(t, epl_tensor_equal(epl_weights_find(m->weights, "conv1.weight"), bank));
    snprintf(words, sizeof words, "conv1=file:%s", path);
    CHECK_FAILS(t, ctx, epl_init_weights(m, words, NULL, 0) > 0, EPL_ERR_SHAPE, "[5, 5, 1, 6]");
    epl_model_free(m);
    epl_weights_free(w);
    epl_tensor_free(bank);
}

TEST(designs_are_remarked_on)
{
    static const struct {
        const char *description, *words;
    } cases[] = {
        { "vgg:image=32", "balance: the 3 layers of side 1" },
        { "simplenet:layout=early-1x1", "locality: 'unit2.conv.weight', layer 2 of 14" },
        { "simplenet:layout=5m", "expansion" },
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(cases); i++) {
        epl_graph *g = epl_zoo_build(ctx, cases[i].description);
        epl_text   remarks = EPL_TEXT(ctx);
        CHECK_OK(t, ctx, g);
        epl_table *table = epl_design_report(g, &remarks);
        CHECK_OK(t, ctx, table);
        if (i < 2 && !strstr(epl_text_str(&remarks), cases[i].words))
            FAIL(t, "%s: no remark '%s' in:\n%s", cases[i].description, cases[i].words, epl_text_str(&remarks));
        if (i == 2 && strstr(epl_text_str(&remarks), cases[i].words))
            FAIL(t, "%s: %s", cases[i].description, epl_text_str(&remarks));
        epl_table_free(table);
        epl_text_release(&remarks);
        epl_graph_free(g);
    }
}
