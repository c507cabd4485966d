/* expect: see expect.h. */
#include "common/expect.h"

epl_value *expect_constant(epl_graph *g, epl_dtype dtype, epl_shape shape, const double *x, size_t n)
{
    epl_tensor *v = epl_tensor_new(epl_graph_context(g), dtype, shape);
    for (size_t i = 0; v && i < n && (int64_t)i < epl_tensor_count(v); i++)
        epl_tensor_set(v, (int64_t)i, x[i]);
    epl_value *constant = epl_constant(g, v);
    epl_tensor_free(v);
    return constant;
}

epl_value *expect_counting(epl_graph *g, epl_dtype dtype, epl_shape shape, double start)
{
    epl_tensor *v = epl_tensor_new(epl_graph_context(g), dtype, shape);
    for (int64_t i = 0; v && i < epl_tensor_count(v); i++)
        epl_tensor_set(v, i, start + (double)i);
    epl_value *constant = epl_constant(g, v);
    epl_tensor_free(v);
    return constant;
}

epl_tensor *expect_evaluate(test *t, const char *file, int line, epl_value *v)
{
    epl_tensor *out[8] = { NULL };
    epl_graph  *g = v ? v->graph : NULL;
    if (!v)
        test_fail(t, file, line, "the value was not built");
    epl_node *sink = epl_output(g, "expected", v);
    if (!sink || !epl_graph_finish(g) || epl_graph_n_outputs(g) > 8 || !epl_interpret(g, NULL, NULL, out))
        test_fail(t, file, line, "%s", epl_error_message(g->ctx));
    const int last = epl_graph_n_outputs(g) - 1;
    for (int i = 0; i < last; i++)
        epl_tensor_free(out[i]);
    epl_node_remove(sink);
    return out[last];
}

void expect_value(test *t, const char *file, int line, epl_value *v, epl_shape shape, const double *x, size_t n)
{
    epl_tensor *y = expect_evaluate(t, file, line, v);
    char is[192], want[192];
    if (!epl_shape_equal(y->shape, shape) || epl_tensor_count(y) != (int64_t)n)
        test_fail(t, file, line, "shape %s, expected %s", epl_shape_text(is, y->shape), epl_shape_text(want, shape));
    for (size_t i = 0; i < n; i++) {
        const double is_x = epl_tensor_get(y, (int64_t)i);
        if (!(fabs(is_x - x[i]) <= 1e-6 * (1 + fabs(x[i])) || is_x == x[i] || (isnan(is_x) && isnan(x[i]))))
            test_fail(t, file, line, "element %zu is %.9g, expected %.9g", i, is_x, x[i]);
    }
    epl_tensor_free(y);
}
