/* conformance: what the parts of the conformance runner share. conformance.c walks folders and keeps the books;
 * run.c takes one test through the library; compiled.c builds compiled networks and calls them. */
#ifndef EPL_TESTS_CONFORMANCE_H
#define EPL_TESTS_CONFORMANCE_H

#include <espalier/onnx.h>

#include <stdbool.h>
#include <stddef.h>

/* The ways in which a network is run. */
typedef enum way { EVALUATED, PLANNED, COMPILED, N_WAYS } way;
typedef enum verdict { PASSED, UNSUPPORTED, WRONG, NOT_RUN, N_VERDICTS } verdict;

enum { REASON = 768 };

typedef struct outcome {
    verdict verdict[N_WAYS];
    bool    fixed;          /* inputs were taken for good */
    char    reason[REASON]; /* of the first way that did not pass */
} outcome;

/* Every data set of the test in `dir`, by reference kernels, as a planned program and, where `work` is not NULL, compiled to C:
 * written below the folder `work`, built into `cache`. Memory goes with the process. */
void run_test(const char *dir, const char *work, const char *cache, outcome *out);

/* Compiles the model to C, builds it and calls it. False: a reason is in the context, EPL_ERR_UNSUPPORTED if it cannot be
 * compiled at all. */
bool run_compiled(epl_context *ctx, const epl_model *m, const char *work, const char *cache, const epl_tensor *const *in,
                  epl_tensor **out);

/* Drops what no run has used for a week. */
void trim_cache(const char *cache);

#endif
