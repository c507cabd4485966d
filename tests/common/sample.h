/* sample.h: random legal graphs for the tests, made by the operators' own `sample` functions, and values for their inputs. */
#ifndef EPL_TESTS_SAMPLE_H
#define EPL_TESTS_SAMPLE_H

#include "common/check.h"
#include "graph/op.h"

/* Draws every input of g (made by epl_sample_input) from its range. `values` receives one tensor per input; free each. */
void sample_values(test *t, const epl_graph *g, epl_tensor **values);

/* A random mask of weights in [-1, 1] and a scalar: sum over all float outputs of n of output * weights. NULL if it has no
 * float output. */
epl_value *sample_projection(test *t, epl_graph *g, const epl_node *n);

#endif
