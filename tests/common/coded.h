/* coded: networks whose weights are packed codes of powers of two, and programs of them. */
#ifndef EPL_TESTS_CODED_H
#define EPL_TESTS_CODED_H

#include "common/check.h"

#include <espalier/ops.h>
#include <espalier/program.h>

int64_t test_between(epl_rng *r, int64_t low, int64_t high); /* both ends included */

/* Codes of `bits` bits, in the state `name`, as a weight of this shape. */
epl_value *test_coded_weight(epl_graph *g, const char *name, int bits, epl_shape s);

epl_model   *test_coded_model(test *t, epl_graph *g);                      /* takes g; its codes are drawn */
int          test_count_steps(const epl_program *p, const char *kernel);   /* those that run this kernel */
/* A program that has run on x; the caller owns it. */
epl_program *test_frozen_run(test *t, const epl_model *m, epl_program_opts o, const epl_tensor *x);

#endif
