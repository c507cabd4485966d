/* expect.h: a graph's value against numbers written in the test. */
#ifndef EPL_TESTS_EXPECT_H
#define EPL_TESTS_EXPECT_H

#include "common/check.h"
#include "graph/op.h"

/* EXPECT(t, v, EPL_SHAPE(2, 2), 1, 2, 3, 4): the shape and the elements of v, by reference kernels. v's graph needs no inputs
 * (build it of constants). NaN matches NaN. */
#define EXPECT(t, v, shape, ...)                                                                                       \
    expect_value(t, __FILE__, __LINE__, v, shape, (const double[]){ __VA_ARGS__ }, sizeof((double[]){ __VA_ARGS__ }) / sizeof(double))

/* VALUES(g, EPL_F32, EPL_SHAPE(2), 3, 4): a constant. */
#define VALUES(g, dtype, shape, ...)                                                                                   \
    expect_constant(g, dtype, shape, (const double[]){ __VA_ARGS__ }, sizeof((double[]){ __VA_ARGS__ }) / sizeof(double))

/* start, start + 1, ... */
epl_value  *expect_counting(epl_graph *g, epl_dtype dtype, epl_shape shape, double start);
epl_value  *expect_constant(epl_graph *g, epl_dtype dtype, epl_shape shape, const double *x, size_t n);
void        expect_value(test *t, const char *file, int line, epl_value *v, epl_shape shape, const double *x, size_t n);
epl_tensor *expect_evaluate(test *t, const char *file, int line, epl_value *v); /* the caller frees it */

#endif
