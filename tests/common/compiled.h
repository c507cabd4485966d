/* compiled.h: networks compiled in a test: which compilers there are, and the whole way from a model to the comparison. */
#ifndef EPL_TESTS_COMPILED_H
#define EPL_TESTS_COMPILED_H

#include "common/check.h"

#include <espalier/compile.h>

bool compiled_has(const char *program); /* is it in PATH? */

/* gcc (or the target's own compiler where `cc` is NULL), through ccache where that is installed. */
const char *compiled_cc(const char *cc);

/* Compiles `m` into a folder of the test's, builds with every warning an error, runs, compares. `made` may be NULL. */
epl_verify_result compiled_check(test *t, const epl_model *m, epl_compile_opts o, epl_verify_opts v, epl_artifact *made);

/* Every float output within atol + nothing else; other outputs equal. Reports the first that is not. */
void compiled_within(test *t, const epl_verify_result *r, double atol);

/* How many instructions with `what` in them a function of the network has that compiled_check built; -1: no such one. */
int compiled_instructions(test *t, const char *function, const char *what);

#endif
