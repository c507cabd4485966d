/* Programs against the interpreter on random graphs: whatever passes, fusion, in-place planning and kernels do, the numbers
 * stay; the bits do not depend on threads; what is planned is what is allocated. */
#include "common/sample.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>
#include <espalier/zoo.h>

/* A random network of element-wise nodes with all kinds of broadcasting, convolutions and products, over images. */
static epl_graph *random_graph(test *t, epl_context *ctx)
{
    epl_graph    *g = epl_graph_new(ctx, "random");
    const int64_t n = 1 + (int64_t)epl_rng_below(t->rng, 3), s = 1 + (int64_t)epl_rng_below(t->rng, 6);
    const int64_t c = 1 + (int64_t)epl_rng_below(t->rng, 40);
    epl_value    *pool[96];
    int           count = 0;
    pool[count++] = epl_sample_input(g, EPL_F32, EPL_SHAPE(n, s, s, c), -1, 1, 0);
    pool[count++] = epl_sample_input(g, EPL_F32, EPL_SHAPE(n, s, s, c), -1, 1, 0);
    pool[count++] = epl_sample_input(g, EPL_F32, EPL_SHAPE(c), -1, 1, 0);
    pool[count++] = epl_sample_input(g, EPL_F32, EPL_SHAPE(n, 1, 1, c), -1, 1, 0);
    pool[count++] = epl_sample_input(g, EPL_F32, EPL_SHAPE(n, s, s, 1), -1, 1, 0);
    pool[count++] = epl_sample_input(g, EPL_F32, EPL_SHAPE(1, s, 1, c), -1, 1, 0);
    pool[count++] = epl_scalar(g, EPL_F32, 0.5);
    epl_value *w3 = epl_sample_input(g, EPL_F32, EPL_SHAPE(3, 3, c, c), -0.3, 0.3, 0);
    epl_value *w1 = epl_sample_input(g, EPL_F32, EPL_SHAPE(c, c), -0.3, 0.3, 0);
    const int nodes = 5 + (int)epl_rng_below(t->rng, 60);
    for (int i = 0; i < nodes; i++) {
        epl_value *a = pool[epl_rng_below(t->rng, (uint64_t)count)], *b = pool[epl_rng_below(t->rng, (uint64_t)count)], *y;
        const bool image = epl_rank(a) == 4 && epl_dim(a, 1) == s && epl_dim(a, 2) == s && epl_channels(a) == c;
        switch (epl_rng_below(t->rng, 10)) {
        case 0:  y = epl_add(g, a, b); break;
        case 1:  y = epl_mul(g, a, b); break;
        case 2:  y = epl_sub(g, a, b); break;
        case 3:  y = epl_relu(g, a); break;
        case 4:  y = epl_tanh(g, a); break;
        case 5:  y = epl_where(g, epl_greater(g, a, b), a, epl_sigmoid(g, b)); break;
        case 6:  y = image ? epl_convolve(g, a, w3, i % 2 ? pool[2] : NULL, (epl_convolve_opts){ .pad = 1 }) : epl_sigmoid(g, a); break;
        case 7:  y = image ? epl_multiply_rows(g, a, w1, i % 2 ? pool[2] : NULL, i % 3 == 0) : epl_max(g, a, b); break;
        case 8:  y = epl_rank(a) == 4 ? epl_reduce_mean(g, a, (epl_reduce_opts){ EPL_AXES(1, 2), .keep = true }) : epl_min(g, a, b); break;
        default: y = epl_tanh(g, epl_add(g, a, b)); break;
        }
        pool[count++] = epl_clip(g, y, -4, 4); // keeps random towers of products finite
    }
    for (int i = 0; i < 4; i++)
        epl_output(g, "y", pool[count - 1 - (int)epl_rng_below(t->rng, (uint64_t)(nodes / 2 + 1))]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    return g;
}

static epl_tensor **random_inputs(test *t, const epl_graph *g)
{
    epl_tensor **values = calloc((size_t)epl_graph_n_inputs(g), sizeof *values);
    sample_values(t, g, values);
    return values;
}

static void feed(epl_program *p, epl_tensor **values)
{
    for (int i = 0; i < epl_program_n_inputs(p); i++)
        memcpy(epl_program_input(p, i)->data, values[i]->data, epl_tensor_bytes(values[i]));
}

PROPERTY(programs_compute_what_graphs_mean, 150)
{
    epl_context *ctx    = test_context(t);
    epl_graph   *g      = random_graph(t, ctx);
    epl_tensor **values = random_inputs(t, g), *expected[4], *first[4] = { NULL };
    CHECK_OK(t, ctx, epl_interpret(g, NULL, (const epl_tensor *const *)values, expected));
    for (int variant = 0; variant < 5; variant++) { // fused on 1, 2, 3 threads; not fused; by reference kernels
        epl_context_set_threads(ctx, variant < 3 ? variant + 1 : 1);
        epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ .no_fusion = variant == 3, .reference = variant == 4 });
        CHECK_OK(t, ctx, p != NULL);
        feed(p, values);
        CHECK_OK(t, ctx, epl_program_run(p));
        for (int i = 0; i < 4; i++) {
            CHECK_CLOSE(t, epl_program_output(p, i), expected[i], .rtol = 1e-3, .atol = 1e-4);
            if (variant == 0)
                first[i] = epl_tensor_copy(ctx, epl_program_output(p, i));
            else if (variant < 3)
                CHECK(t, epl_tensor_equal(epl_program_output(p, i), first[i]));
        }
        epl_program_free(p);
    }
    for (int i = 0; i < 4; i++) {
        epl_tensor_free(expected[i]);
        epl_tensor_free(first[i]);
    }
    for (int i = 0; i < epl_graph_n_inputs(g); i++)
        epl_tensor_free(values[i]);
    free(values);
    epl_graph_free(g);
}

/* w := w - 0.1 dw, m := 0.9 m + dw, and two states that change places: planned in place, equal to the interpreter's. */
static epl_graph *training_step(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "step");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(8, 5, 5, 3), "N,,,");
    epl_value *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(3, 3, 3, 20), EPL_INIT_NORMAL, 0.2);
    epl_value *v = epl_parameter(g, "v", EPL_F32, EPL_SHAPE(20, 20), EPL_INIT_NORMAL, 0.2);
    epl_value *h = epl_tanh(g, epl_convolve(g, x, w, NULL, (epl_convolve_opts){ .pad = 1 }));
    epl_value *y = epl_relu(g, epl_add(g, epl_multiply_rows(g, h, v, NULL, false), h));
    epl_value *loss = epl_reduce_mean(g, epl_mul(g, y, y), (epl_reduce_opts){ 0 });
    epl_value *params[2] = { w, v }, *d[2];
    CHECK_OK(t, ctx, epl_gradient(g, loss, 2, params, d));
    for (int i = 0; i < 2; i++) {
        char name[8];
        snprintf(name, sizeof name, "m%d", i);
        epl_value *m    = epl_state(g, name, EPL_F32, epl_shape_of(params[i]), EPL_INIT_ZEROS, 0);
        epl_value *next = epl_add(g, epl_mul(g, m, epl_scalar(g, EPL_F32, 0.9)), d[i]);
        epl_update(g, m, next);
        epl_update(g, params[i], epl_sub(g, params[i], epl_mul(g, next, epl_scalar(g, EPL_F32, 0.1))));
    }
    epl_value *a = epl_state(g, "a", EPL_F32, EPL_SHAPE(7), EPL_INIT_NORMAL, 1);
    epl_value *b = epl_state(g, "b", EPL_F32, EPL_SHAPE(7), EPL_INIT_NORMAL, 1);
    epl_update(g, a, b);
    epl_update(g, b, a);
    epl_output(g, "loss", loss);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    return g;
}

TEST(updates_happen_after_every_reader)
{
    epl_context *ctx  = test_context(t, .n_threads = 2);
    epl_graph   *g    = training_step(t, ctx);
    epl_model   *fast = epl_model_new_take(g);
    CHECK_OK(t, ctx, fast && epl_model_init(fast, 7));
    epl_model   *slow = epl_model_copy(fast);
    epl_program *p    = epl_program_new(fast->graph, fast->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(8, 5, 5, 3)), *loss;
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    for (int step = 0; step < 3; step++) {
        memcpy(epl_program_input_named(p, "x")->data, x->data, epl_tensor_bytes(x));
        CHECK_OK(t, ctx, epl_program_run(p));
        CHECK_OK(t, ctx, epl_interpret(slow->graph, slow->weights, (const epl_tensor *const[]){ x }, &loss));
        CHECK_CLOSE(t, epl_program_output_named(p, "loss"), loss, .rtol = 1e-4);
        epl_tensor_free(loss);
        for (int i = 0; i < epl_weights_count(fast->weights); i++)
            CHECK_CLOSE(t, epl_weights_at(fast->weights, i), epl_weights_at(slow->weights, i), .rtol = 1e-3, .atol = 1e-5);
    }
    epl_tensor_free(x);
    epl_program_free(p);
    epl_model_free(fast);
    epl_model_free(slow);
}

TEST(planned_memory_is_what_is_allocated)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = epl_model_new_take(training_step(t, ctx));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_program *plan = epl_program_new(m->graph, m->weights, (epl_program_opts){ .plan_only = true });
    CHECK_OK(t, ctx, plan != NULL);
    const epl_program_memory said = epl_program_memory_of(plan);
    CHECK_FAILS(t, ctx, epl_program_run(plan), EPL_ERR_ARGUMENT, "plan_only");
    const size_t before = test_live_bytes(ctx);
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    CHECK_INT(t, epl_program_memory_of(p).total, said.total);
    CHECK(t, test_live_bytes(ctx) - before >= said.total);
    epl_program_free(plan);
    epl_program_free(p);
    epl_model_free(m);
}

/* Large weights over small pictures: what folding them takes is given back, and taken again to fold new ones. */
TEST(memory_for_what_is_computed_once_is_given_back)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "wide");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4, 4, 64), NULL);
    epl_value   *w   = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(3, 3, 64, 64), EPL_INIT_NORMAL, 0.1);
    epl_value   *s   = epl_parameter(g, "s", EPL_F32, EPL_SHAPE(64), EPL_INIT_ONES, 0);
    epl_output(g, "y", epl_convolve(g, x, epl_mul(g, w, epl_exp(g, s)), NULL, (epl_convolve_opts){ .pad = 1 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, ctx, p != NULL);
    const epl_program_memory is = epl_program_memory_of(p);
    const size_t weights = 3 * 3 * 64 * 64 * sizeof(float), live = test_live_bytes(ctx);
    CHECK(t, is.setup >= weights && is.arena < weights / 4);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p));
    const double before = epl_tensor_get(epl_program_output(p, 0), 5);
    for (int c = 0; c < 64; c++)
        epl_tensor_set(epl_weights_find(m->weights, "s"), c, 1 + log(2)); // the weights are doubled
    CHECK_OK(t, ctx, epl_program_refresh(p) && epl_program_run(p));
    CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 0), 5), 2 * before, .rtol = 1e-5);
    CHECK_INT(t, test_live_bytes(ctx), live);
    epl_program_free(p);
    epl_model_free(m);
}

/* A deep chain of convolutions, trained: the limit is met by recomputation with the same bits, or refused with a figure that
 * then does. */
TEST(a_memory_limit_is_met_or_refused_with_the_least)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "deep");
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(4, 8, 8, 16), NULL), *h = x, *w[8], *dw[8];
    for (int i = 0; i < 8; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        w[i] = epl_parameter(g, name, EPL_F32, EPL_SHAPE(3, 3, 16, 16), EPL_INIT_NORMAL, 0.08);
        h    = epl_tanh(g, epl_sigmoid(g, epl_convolve(g, h, w[i], NULL, (epl_convolve_opts){ .pad = 1 })));
    }
    epl_value *loss = epl_reduce_sum(g, epl_mul(g, h, h), (epl_reduce_opts){ 0 });
    CHECK_OK(t, ctx, epl_gradient(g, loss, 8, w, dw));
    for (int i = 0; i < 8; i++)
        epl_update(g, w[i], epl_sub(g, w[i], epl_mul(g, dw[i], epl_scalar(g, EPL_F32, 0.01))));
    epl_output(g, "loss", loss);
    epl_model *m = epl_model_new_take(g), *kept;
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    kept = epl_model_copy(m);
    epl_program *free_plan = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, free_plan != NULL);
    const size_t free_bytes = epl_program_memory_of(free_plan).total, limit = free_bytes * 4 / 5;
    epl_program *tight = epl_program_new(kept->graph, kept->weights, (epl_program_opts){ .memory_limit = limit });
    CHECK_OK(t, ctx, tight != NULL);
    CHECK(t, epl_program_memory_of(tight).total <= limit && epl_program_memory_of(tight).recomputed > 0);
    epl_tensor_fill_normal(epl_program_input(free_plan, 0), t->rng, 0, 1);
    memcpy(epl_program_input(tight, 0)->data, epl_program_input(free_plan, 0)->data, epl_tensor_bytes(epl_program_input(tight, 0)));
    CHECK_OK(t, ctx, epl_program_run(free_plan) && epl_program_run(tight));
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(m->weights, i), epl_weights_at(kept->weights, i)));
    epl_program_free(tight);
    tight = epl_program_new(kept->graph, kept->weights, (epl_program_opts){ .memory_limit = 1000 });
    CHECK(t, tight == NULL && epl_error_code(ctx) == EPL_ERR_LIMIT);
    const char *figure = strrchr(epl_error_message(ctx), '(');
    CHECK(t, figure != NULL);
    const size_t least = strtoul(figure + 1, NULL, 10);
    epl_error_clear(ctx);
    tight = epl_program_new(kept->graph, kept->weights, (epl_program_opts){ .memory_limit = least });
    CHECK_OK(t, ctx, tight != NULL && epl_program_memory_of(tight).total <= least);
    epl_program_free(tight);
    epl_program_free(free_plan);
    epl_model_free(m);
    epl_model_free(kept);
}

/* relu(norm(conv(x, mask * w))) with given statistics, and a linear layer whose weights are [out, in]. */
static epl_graph *masked_graph(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "masked");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 9, 9, 24), NULL);
    epl_value *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(3, 3, 24, 40), EPL_INIT_NORMAL, 0.1);
    epl_value *v = epl_parameter(g, "v", EPL_F32, EPL_SHAPE(32, 40), EPL_INIT_NORMAL, 0.1);
    epl_value *mask = epl_state(g, "mask", EPL_F32, EPL_SHAPE(3, 3, 24, 40), EPL_INIT_ONES, 0), *of[4];
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        of[i] = epl_parameter(g, name, EPL_F32, EPL_SHAPE(40), EPL_INIT_UNIFORM, 0.5);
    }
    of[3] = epl_add(g, epl_square(g, of[3]), epl_scalar(g, EPL_F32, 0.1)); // a variance
    epl_value *y = epl_convolve(g, x, epl_mul(g, mask, w), of[0], (epl_convolve_opts){ .pad = 1 });
    y = epl_relu(g, epl_normalize_batch(g, y, of[0], of[1], of[2], of[3], 1e-5, 0.9));
    epl_output(g, "y", epl_multiply_rows(g, y, v, NULL, true));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    return g;
}

static void zero_most(test *t, epl_tensor *w, int percent)
{
    for (int64_t i = 0; i < epl_tensor_count(w); i++)
        if ((int)epl_rng_below(t->rng, 100) < percent)
            epl_tensor_set(w, i, 0);
}

TEST(sparse_expressions_and_norms_fold_into_weights)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = epl_model_new_take(masked_graph(t, ctx));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    zero_most(t, epl_weights_find(m->weights, "mask"), 90);
    zero_most(t, epl_weights_find(m->weights, "v"), 85);
    epl_tensor **values = random_inputs(t, m->graph), *expected = NULL;
    CHECK_OK(t, ctx, epl_interpret(m->graph, m->weights, (const epl_tensor *const *)values, &expected));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    CHECK_OK(t, ctx, p != NULL);
    feed(p, values);
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_CLOSE(t, epl_program_output(p, 0), expected, .rtol = 1e-4, .atol = 1e-5);
    int each_time = 0; // steps, which are the two products
    for (int i = 0; i < epl_program_n_steps(p); i++)
        each_time += strcmp(epl_program_step(p, i).kernel, "sparse_conv") == 0;
    CHECK(t, each_time == 2);
    char *text = epl_program_print(p);
    for (const char *line = text; *line; line = strchr(line, '\n') + 1)
        CHECK(t, strstr(line, "sparse_conv") == line + 6 || memmem(line, (size_t)(strchr(line, '\n') - line), "[once]", 6));
    epl_release(ctx, text);
    CHECK(t, epl_program_memory_of(p).packed < 9 * 24 * 40 * 4); // the lists alone, not the weights they were made of
    epl_tensor *mask = epl_weights_find(m->weights, "mask"); // refused: there is no room for so many
    for (int64_t i = 0; i < epl_tensor_count(mask); i++)
        epl_tensor_set(mask, i, 1);
    CHECK_FAILS(t, ctx, epl_program_refresh(p), EPL_ERR_LIMIT, "make it anew");
    epl_program_free(p);
    epl_tensor_free(expected);
    epl_tensor_free(values[0]);
    free(values);
    epl_model_free(m);
}

/* Runs g's program on g's inputs and holds every output to the interpreter's, bits included if `exact`. */
static epl_program *held_to_interpreter(test *t, const epl_graph *g, bool exact)
{
    epl_context *ctx = test_context(t);
    epl_tensor **values = random_inputs(t, g), *expected[8];
    CHECK_OK(t, ctx, epl_interpret(g, NULL, (const epl_tensor *const *)values, expected));
    epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    feed(p, values);
    CHECK_OK(t, ctx, epl_program_run(p));
    for (int i = 0; i < epl_program_n_outputs(p); i++) {
        if (exact)
            CHECK(t, epl_tensor_equal(epl_program_output(p, i), expected[i]));
        else
            CHECK_CLOSE(t, epl_program_output(p, i), expected[i], .rtol = 1e-4, .atol = 1e-5);
        epl_tensor_free(expected[i]);
    }
    for (int i = 0; i < epl_graph_n_inputs(g); i++)
        epl_tensor_free(values[i]);
    free(values);
    return p;
}

static int reference_steps(const epl_program *p)
{
    int n = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        n += strcmp(epl_program_step(p, i).kernel, "reference") == 0;
    return n;
}

TEST(draws_are_the_references)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "draws");
    epl_value   *key = epl_sample_input(g, EPL_I64, EPL_SHAPE(2), 0, 1e6, 0);
    epl_output(g, "a", epl_random_bernoulli(g, key, 0.3, (epl_random_opts){ .shape = EPL_SHAPE(40001), .dtype = EPL_BOOL }));
    epl_output(g, "b", epl_random_bernoulli(g, key, 1.0, (epl_random_opts){ .shape = EPL_SHAPE(7) }));
    epl_output(g, "c", epl_random_bernoulli(g, key, 0.7, (epl_random_opts){ .shape = EPL_SHAPE(16385) }));
    epl_output(g, "d", epl_random_uniform(g, key, -1, 3, (epl_random_opts){ .shape = EPL_SHAPE(130, 260) }));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = held_to_interpreter(t, g, true);
    CHECK_INT(t, reference_steps(p), 0);
    epl_program_free(p);
    epl_graph_free(g);
}

TEST(recurrent_layers_run_on_matrix_products)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "recurrent");
    epl_value   *x = epl_sample_input(g, EPL_F32, EPL_SHAPE(3, 5, 4), -1, 1, 0), *h, *c;
    epl_value   *w = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 4, 4 * 6), -1, 1, 0),
              *r = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 6, 4 * 6), -1, 1, 0);
    epl_value   *b = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 2 * 4 * 6), -1, 1, 0);
    epl_output(g, "y", epl_recur_lstm(g, x, w, r, b, (epl_recurrent_opts){ .direction = 2 }, &h, &c));
    epl_output(g, "h", h);
    epl_output(g, "c", c);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = held_to_interpreter(t, g, false);
    CHECK_INT(t, reference_steps(p), 0);
    epl_program_free(p);
    epl_graph_free(g);
}

/* The product lies where the chain behind it puts its own result, and must be kept before. */
TEST(a_product_read_by_its_chain_may_be_a_result_too)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "attention scores");
    epl_value   *a = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 5, 8), -1, 1, 0),
              *b = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 8, 9), -1, 1, 0);
    epl_value   *raw = epl_matmul(g, a, b, (epl_matmul_opts){ 0 }), *mask = epl_sample_input(g, EPL_F32, EPL_SHAPE(5, 9), -1, 1, 0);
    epl_output(g, "masked", epl_tanh(g, epl_add(g, raw, mask)));
    epl_output(g, "raw", raw);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = held_to_interpreter(t, g, false);
    CHECK_INT(t, epl_program_n_steps(p), 1);
    epl_program_free(p);
    epl_graph_free(g);
}

TEST(starting_threads_is_time_between_the_steps)
{
    epl_context *ctx = test_context(t, .n_threads = 2);
    epl_graph   *g   = epl_graph_new(ctx, "short steps");
    epl_value   *v   = epl_sample_input(g, EPL_F32, EPL_SHAPE(400, 100), -1, 1, 0);
    for (int i = 0; i < 20; i++)
        v = epl_softmax(g, v, -1);
    epl_output(g, "y", v);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    epl_program_set_profile(p, true);
    for (int i = 0; i < 50; i++)
        CHECK_OK(t, ctx, epl_program_run(p));
    double inside = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        inside += epl_program_step(p, i).time_s;
    const double outside = 1 - inside / epl_program_time_s(p);
    CHECK(t, inside > 0);
    CHECK(t, outside > 0.01 && outside < 1);
    epl_program_set_profile(p, true); // clears
    CHECK(t, epl_program_time_s(p) == 0 && epl_program_step(p, 0).time_s == 0);
    epl_program_free(p);
    epl_graph_free(g);
}

TEST(gradients_of_depthwise_convolutions_run_on_their_kernels)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "depthwise");
    epl_value   *x   = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 20, 20, 24), -1, 1, 0);
    epl_value   *w   = epl_sample_input(g, EPL_F32, EPL_SHAPE(3, 3, 1, 24), -1, 1, 0), *dx[2];
    epl_value   *y   = epl_convolve(g, x, w, NULL, (epl_convolve_opts){ .groups = 24, .pad = 1 });
    CHECK_OK(t, ctx, epl_gradient(g, epl_reduce_sum(g, epl_mul(g, y, y), (epl_reduce_opts){ 0 }), 2, (epl_value *[]){ x, w }, dx));
    epl_output(g, "dx", dx[0]);
    epl_output(g, "dw", dx[1]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = held_to_interpreter(t, g, false);
    int    own = 0, parts = 0;
    double macs = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++) {
        const epl_step_profile s = epl_program_step(p, i);
        own += strncmp(s.kernel, "dwconv", 6) == 0;
        parts += strcmp(s.kernel, "sum_parts") == 0;
        macs += s.cost.macs;
    }
    CHECK_INT(t, own, 3);
    CHECK_INT(t, parts, 1);
    CHECK(t, macs == 3.0 * 2 * 20 * 20 * 9 * 24); // the work of the weight gradient is not counted again for adding its parts
    epl_program_free(p);
    epl_graph_free(g);
}

TEST(a_cache_makes_each_program_once)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = epl_model_new_take(training_step(t, ctx));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_program_cache *c = epl_program_cache_new(ctx, 2);
    epl_program *a = epl_program_cached(c, m->graph, m->weights, "N", 2, (epl_program_opts){ 0 });
    epl_program *b = epl_program_cached(c, m->graph, m->weights, "N", 5, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, a && b);
    CHECK(t, a != b && epl_program_input(b, 0)->shape.dim[0] == 5);
    CHECK(t, epl_program_cached(c, m->graph, m->weights, "N", 2, (epl_program_opts){ 0 }) == a);
    CHECK_OK(t, ctx, epl_program_cached(c, m->graph, m->weights, "N", 3, (epl_program_opts){ 0 }) != NULL); // drops b
    CHECK(t, epl_program_cached(c, m->graph, m->weights, "N", 2, (epl_program_opts){ 0 }) == a);
    CHECK_FAILS(t, ctx, epl_program_cached(c, m->graph, m->weights, "length", 2, (epl_program_opts){ 0 }), EPL_ERR_ARGUMENT, "length");
    epl_program_cache_free(c);
    epl_model_free(m);
}

/* Programs of one graph that differ in any option are different programs. */
TEST(a_cache_tells_every_option_apart)
{
    static const epl_program_opts opts[] = {
        { 0 }, { .frozen = true }, { .frozen = true, .sparse = true }, { .frozen = true, .shifts = true }, { .frozen = true, .block_bytes = 1 << 20 },
        { .reference = true }, { .no_fusion = true }, { .unroll = -1 }, { .plain = true }, { .plan_only = true }, { .memory_limit = 1 << 24 },
        { .isa = "generic" },
    };
    epl_context       *ctx = test_context(t);
    epl_model         *m   = epl_model_new_take(training_step(t, ctx));
    epl_program_cache *c   = epl_program_cache_new(ctx, EPL_COUNT(opts));
    epl_program       *made[EPL_COUNT(opts)];
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    for (size_t i = 0; i < EPL_COUNT(opts); i++) {
        made[i] = epl_program_cached(c, m->graph, m->weights, "N", 2, opts[i]);
        CHECK_OK(t, ctx, made[i] != NULL);
        for (size_t k = 0; k < i; k++)
            CHECK(t, made[k] != made[i]);
    }
    epl_program_cache_free(c);
    epl_model_free(m);
}

/* A loop whose body hands its two carried values on crosswise. */
TEST(loops_may_exchange_carried_values)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "exchange"), *body = epl_region_new(g);
    epl_value   *x[2], *y[2], *out[3] = { NULL };
    epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_value   *go = epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL);
    for (int i = 0; i < 2; i++) {
        x[i] = epl_input(g, i ? "b" : "a", EPL_F32, EPL_SHAPE(3), NULL);
        y[i] = epl_input(body, i ? "b" : "a", EPL_F32, EPL_SHAPE(3), NULL);
    }
    epl_output(body, "go", go);
    epl_output(body, "a", y[1]);
    epl_output(body, "b", y[0]);
    epl_loop(g, 3, NULL, 2, x, body, 0, NULL, out);
    epl_output(g, "a", out[0]);
    epl_output(g, "b", out[1]);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    for (int i = 0; i < 2; i++)
        epl_tensor_set(epl_program_input(p, i), 1, 1 + i);
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 0), 1), 2, 0);
    CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 1), 1), 1, 0);
    epl_program_free(p);
    epl_graph_free(g);
}

/* Weights that are mostly zero, of a convolution and of linear layers, one of them within a region: the same results, less
 * memory, and no more non-zeros than there were. */
/* A product, its product with itself, and an expression that takes both and is stored before them: the raw result has to survive
 * the chain that is computed over it. */
TEST(a_raw_result_survives_the_chain_behind_it)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "gram");
    epl_value   *w   = epl_input(g, "w", EPL_F32, EPL_SHAPE(2, 2), NULL);
    epl_value   *a   = epl_matmul(g, w, w, (epl_matmul_opts){ .trans_b = true });
    epl_value   *b   = epl_affine(g, a, -4, 3);
    epl_output(g, "b", b);
    epl_output(g, "a", a);
    epl_output(g, "square", epl_add(g, b, epl_matmul(g, a, a, (epl_matmul_opts){ 0 })));
    epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p != NULL);
    memcpy(epl_program_input(p, 0)->data, (float[]){ 1, 2, 3, 4 }, 4 * sizeof(float));
    CHECK_OK(t, ctx, epl_program_run(p));
    const double expected[3][4] = { { -17, -41, -41, -97 }, { 5, 11, 11, 25 }, { 146 - 17, 330 - 41, 330 - 41, 746 - 97 } };
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < 4; i++)
            CHECK_NEAR(t, ((float *)epl_program_output(p, o)->data)[i], expected[o][i], .rtol = 1e-6);
    epl_program_free(p);
    epl_graph_free(g);
}

/* What the steps say they do is what the network does, once: packing is no work of its own. */
TEST(the_work_of_the_steps_is_that_of_the_graph)
{
    epl_context *ctx   = test_context(t);
    epl_model   *m     = epl_model_new_take(epl_zoo_build(ctx, "cnn:width=8,stages=2,depth=2"));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    CHECK_OK(t, ctx, p != NULL);
    double macs = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        macs += epl_program_step(p, i).cost.macs;
    CHECK_NEAR(t, macs, epl_graph_cost(m->graph).macs, 0);
    epl_program_free(p);
    epl_model_free(m);
}

TEST(sparse_programs_compute_the_same)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "sparse"), *branch[2];
    epl_value   *x   = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, 9, 9, 16), NULL), *y = NULL;
    epl_value   *w   = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(3, 3, 16, 32), EPL_INIT_NORMAL, 0.2);
    epl_value   *v   = epl_parameter(g, "v", EPL_F32, EPL_SHAPE(24, 32), EPL_INIT_NORMAL, 0.2);
    epl_value   *h   = epl_relu(g, epl_convolve(g, x, w, NULL, (epl_convolve_opts){ .stride = { 2, 2 }, .pad = 1 }));
    for (int i = 0; i < 2; i++) {
        branch[i] = epl_region_new(g);
        epl_value *a = epl_input(branch[i], "h", EPL_F32, epl_shape_of(h), NULL),
                  *b = epl_input(branch[i], "v", EPL_F32, EPL_SHAPE(24, 32), NULL);
        epl_value *c = epl_multiply_rows(branch[i], a, b, NULL, true);
        epl_output(branch[i], "y", i ? epl_tanh(branch[i], c) : c);
    }
    epl_if(g, epl_greater(g, epl_reduce_sum(g, x, (epl_reduce_opts){ 0 }), epl_scalar(g, EPL_F32, 0)), branch[0], branch[1], 2,
           (epl_value *const[]){ h, v }, &y);
    epl_output(g, "y", y);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < epl_tensor_count(epl_weights_at(m->weights, k)); i++)
            if (epl_rng_below(t->rng, 10) != 0)
                epl_tensor_set(epl_weights_at(m->weights, k), i, 0);
    epl_program *dense = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true });
    epl_program *sparse = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    CHECK_OK(t, ctx, dense && sparse);
    for (int run = 0; run < 6; run++) {
        epl_tensor_fill_normal(epl_program_input(dense, 0), t->rng, run - 2.5, 1);
        memcpy(epl_program_input(sparse, 0)->data, epl_program_input(dense, 0)->data, epl_tensor_bytes(epl_program_input(dense, 0)));
        CHECK_OK(t, ctx, epl_program_run(dense) && epl_program_run(sparse));
        CHECK_CLOSE(t, epl_program_output(sparse, 0), epl_program_output(dense, 0), .rtol = 1e-4, .atol = 1e-5);
        epl_tensor_set(epl_weights_at(m->weights, 1), 5 + run % 2, 0); // fewer are welcome
        CHECK_OK(t, ctx, epl_program_refresh(dense) && epl_program_refresh(sparse));
    }
    CHECK(t, epl_program_memory_of(sparse).packed < epl_program_memory_of(dense).packed / 3);
    epl_tensor_fill_normal(epl_weights_at(m->weights, 1), t->rng, 0, 1);
    CHECK_FAILS(t, ctx, epl_program_refresh(sparse), EPL_ERR_LIMIT, "was made for");
    epl_program_free(dense);
    epl_program_free(sparse);
    epl_model_free(m);
}
