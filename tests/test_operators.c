/* Every operator of the table: its gradient against central differences in f64, its gradient's gradient likewise, its fast
 * kernels against its reference, its inference against itself. A new operator is tested by standing in the table. */
#include "common/sample.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

enum { DRAWS = 4 }; /* random nodes per operator */

static epl_graph *sample_graph(test *t, epl_context *ctx, epl_dtype dtype, epl_node **node)
{
    const epl_op *op = epl_op_at(t->index / DRAWS);
    if (!op->sample)
        return NULL;
    epl_graph *g = epl_graph_new(ctx, op->name);
    *node = op->sample(g, t->rng, dtype);
    CHECK_OK(t, ctx, *node != NULL && epl_graph_finish(g));
    return g;
}

static void free_all(epl_tensor **x, int n)
{
    for (int i = 0; i < n; i++)
        epl_tensor_free(x[i]);
    free(x);
}

/* The scalar output 0 of g at `values`. */
static double evaluate(test *t, const epl_graph *g, epl_weights *w, epl_tensor **values)
{
    epl_tensor *out[64];
    CHECK_OK(t, g->ctx, epl_interpret(g, w, (const epl_tensor *const *)values, out));
    const double y = epl_tensor_get(out[0], 0);
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        epl_tensor_free(out[i]);
    return y;
}

/* d output 0 / d x by central differences against the graph's outputs 1.., which are its gradients by the first n_x inputs. */
static void check_gradients(test *t, epl_graph *g, int n_x, const int *inputs, epl_tensor **values, double rtol, double atol)
{
    epl_tensor *out[64];
    CHECK_OK(t, g->ctx, epl_interpret(g, NULL, (const epl_tensor *const *)values, out));
    for (int k = 0; k < n_x; k++) {
        epl_tensor   *x     = values[inputs[k]];
        const int64_t count = epl_tensor_count(x), step = count > 24 ? count / 12 : 1;
        for (int64_t i = 0; i < count; i += step) {
            const double at = epl_tensor_get(x, i), h = 1e-5;
            epl_tensor_set(x, i, at + h);
            const double up = evaluate(t, g, NULL, values);
            epl_tensor_set(x, i, at - h);
            const double down = evaluate(t, g, NULL, values);
            epl_tensor_set(x, i, at);
            const double expected = (up - down) / (2 * h), actual = epl_tensor_get(out[1 + k], i);
            if (!(fabs(actual - expected) <= atol + rtol * fabs(expected)))
                FAIL(t, "%s: d/dx%d[%lld] is %.12g, central differences give %.12g\n%s", g->name, inputs[k], (long long)i, actual,
                     expected, epl_graph_print(g));
        }
    }
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        epl_tensor_free(out[i]);
}

static bool differentiable(const epl_op *op)
{
    return (op->grad || op->expand) && !(op->flags & EPL_OP_RANDOM);
}

/* Float inputs of the sampled node that come straight from graph inputs. */
static int float_inputs(const epl_graph *g, epl_value **x, int *indices)
{
    int n = 0;
    for (int i = 0; i < epl_graph_n_inputs(g); i++)
        if (epl_dtype_is_float(epl_graph_input_at(g, i)->dtype) && epl_shape_count(epl_graph_input_at(g, i)->shape) > 0) {
            x[n]         = epl_graph_input_at(g, i);
            indices[n++] = i;
        }
    return n;
}

static void check_random_point(test *t, epl_graph *g, int n_x, const int *inputs, double rtol, double atol)
{
    CHECK_OK(t, g->ctx, epl_graph_finish(g));
    epl_tensor **values = calloc((size_t)epl_graph_n_inputs(g), sizeof *values);
    sample_values(t, g, values);
    check_gradients(t, g, n_x, inputs, values, rtol, atol);
    free_all(values, epl_graph_n_inputs(g));
}

PROPERTY(gradients_match_central_differences, epl_n_ops * DRAWS)
{
    epl_context *ctx = test_context(t);
    epl_node    *n   = NULL;
    epl_graph   *g   = sample_graph(t, ctx, EPL_F64, &n);
    epl_value   *x[16], *dx[16], *loss;
    int          indices[16];
    const int    n_x = g && differentiable(n->op) ? float_inputs(g, x, indices) : 0;
    if (n_x > 0 && (loss = sample_projection(t, g, n)) != NULL) {
        CHECK_OK(t, ctx, epl_gradient(g, loss, n_x, x, dx));
        epl_output(g, "loss", loss);
        for (int i = 0; i < n_x; i++)
            epl_output(g, "dx", dx[i]);
        check_random_point(t, g, n_x, indices, 2e-6, 2e-7);
    }
    epl_graph_free(g);
}

/* The gradient of a random projection of the gradient. */
PROPERTY(second_gradients_match_central_differences, epl_n_ops * DRAWS)
{
    epl_context *ctx = test_context(t);
    epl_node    *n   = NULL;
    epl_graph   *g   = sample_graph(t, ctx, EPL_F64, &n);
    epl_value   *x[16], *dx[16], *ddx[16], *loss, *second = NULL;
    int          indices[16];
    const int    n_x = g && differentiable(n->op) ? float_inputs(g, x, indices) : 0;
    if (n_x > 0 && (loss = sample_projection(t, g, n)) != NULL) {
        epl_value *curved = epl_mul(g, loss, loss); // so that linear operators have a second gradient too
        CHECK_OK(t, ctx, epl_gradient(g, curved, n_x, x, dx));
        for (int i = 0; i < n_x; i++) {
            epl_tensor *weights = epl_tensor_new(ctx, dx[i]->dtype, dx[i]->shape);
            epl_tensor_fill_uniform(weights, t->rng, -1, 1);
            epl_value *part = epl_reduce_sum(g, epl_mul(g, dx[i], epl_constant(g, weights)), (epl_reduce_opts){ 0 });
            second = second ? epl_add(g, second, part) : part;
            epl_tensor_free(weights);
        }
        CHECK_OK(t, ctx, epl_gradient(g, second, n_x, x, ddx));
        epl_output(g, "second", second);
        for (int i = 0; i < n_x; i++)
            epl_output(g, "ddx", ddx[i]);
        check_random_point(t, g, n_x, indices, 2e-5, 1e-5);
    }
    epl_graph_free(g);
}

/* The planned program in f32 against the interpreter, for every instruction set of this machine and several thread counts;
 * the bits must not depend on the threads. */
PROPERTY(kernels_match_the_reference, epl_n_ops * DRAWS)
{
    epl_context *ctx = test_context(t);
    epl_node    *n   = NULL;
    epl_graph   *g   = sample_graph(t, ctx, EPL_F32, &n);
    if (!g)
        return;
    for (int i = 0; i < n->n_outputs; i++)
        epl_output(g, "y", n->outputs[i]);
    epl_tensor **values = calloc((size_t)epl_graph_n_inputs(g) + 1, sizeof *values), *expected[64];
    sample_values(t, g, values);
    CHECK_OK(t, ctx, epl_interpret(g, NULL, (const epl_tensor *const *)values, expected));
    static const char *const isas[] = { "generic", "v3", "v4" };
    for (size_t k = 0; k < EPL_COUNT(isas); k++) {
        epl_tensor *first[64] = { NULL };
        for (int threads = 1; threads <= 3; threads++) {
            epl_context_set_threads(ctx, threads);
            epl_program *p = epl_program_new(g, NULL, (epl_program_opts){ .isa = isas[k] });
            if (!p && epl_error_code(ctx) == EPL_ERR_UNSUPPORTED && k > 0) {
                epl_error_clear(ctx); // this machine does not run that set
                break;
            }
            CHECK_OK(t, ctx, p != NULL);
            for (int i = 0; i < epl_program_n_inputs(p); i++)
                memcpy(epl_program_input(p, i)->data, values[i]->data, epl_tensor_bytes(values[i]));
            CHECK_OK(t, ctx, epl_program_run(p) && epl_program_run(p)); // twice: nothing is left behind
            for (int i = 0; i < n->n_outputs; i++) {
                CHECK_CLOSE(t, epl_program_output(p, i), expected[i], .rtol = 2e-4, .atol = 2e-5);
                if (first[i])
                    CHECK(t, epl_tensor_equal(epl_program_output(p, i), first[i]));
                else
                    first[i] = epl_tensor_copy(ctx, epl_program_output(p, i));
            }
            epl_program_free(p);
        }
        for (int i = 0; i < n->n_outputs; i++)
            epl_tensor_free(first[i]);
    }
    epl_context_set_threads(ctx, 1);
    for (int i = 0; i < n->n_outputs; i++)
        epl_tensor_free(expected[i]);
    free_all(values, epl_graph_n_inputs(g));
    epl_graph_free(g);
}

/* An operator with an expansion means the same as its expansion. */
PROPERTY(expansions_match_the_reference, epl_n_ops * DRAWS)
{
    epl_context *ctx = test_context(t);
    epl_node    *n   = NULL;
    epl_graph   *g   = sample_graph(t, ctx, EPL_F64, &n);
    if (g && n->op->expand && n->op->ref) {
        epl_value *out[64] = { NULL };
        CHECK_OK(t, ctx, n->op->expand(g, n, out));
        for (int i = 0; i < n->n_outputs; i++) {
            CHECK(t, out[i] && epl_shape_equal(out[i]->shape, n->outputs[i]->shape) && out[i]->dtype == n->outputs[i]->dtype);
            epl_output(g, "fused", n->outputs[i]);
            epl_output(g, "expanded", out[i]);
        }
        epl_tensor **values = calloc((size_t)epl_graph_n_inputs(g) + 1, sizeof *values), *results[64];
        sample_values(t, g, values);
        CHECK_OK(t, ctx, epl_interpret(g, NULL, (const epl_tensor *const *)values, results));
        for (int i = 0; i < n->n_outputs; i++)
            CHECK_CLOSE(t, results[2 * i], results[2 * i + 1], .rtol = 1e-9, .atol = 1e-11);
        for (int i = 0; i < 2 * n->n_outputs; i++)
            epl_tensor_free(results[i]);
        free_all(values, epl_graph_n_inputs(g));
    }
    epl_graph_free(g);
}

/* Who stands in the table says what it is. */
PROPERTY(table_entries_are_complete, epl_n_ops)
{
    const epl_op *op = epl_op_at(t->index);
    CHECK(t, op->name && op->name[0]);
    CHECK(t, epl_op_find(op->name) == op);
    const bool plain = !(op->flags & (EPL_OP_SOURCE | EPL_OP_SINK | EPL_OP_REGION));
    if (plain && (!op->ref || !op->ref_name || !op->infer || !op->sample))
        FAIL(t, "operator %s lacks its reference kernel, inference or sample", op->name);
}
