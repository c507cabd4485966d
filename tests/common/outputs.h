/* outputs: what a network computes, for tests that change it and compare. */
#ifndef EPL_TESTS_OUTPUTS_H
#define EPL_TESTS_OUTPUTS_H

#include "common/check.h"

#include <espalier/graph.h>

/* Output 0 for normal numbers of that seed, as a program; the caller owns it. */
epl_tensor *test_outputs(test *t, const epl_model *m, uint64_t seed);

#endif
