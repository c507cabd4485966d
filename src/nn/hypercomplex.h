/* hypercomplex: what the layers and their fit to trained weights share. Internal to the floor. */
#ifndef EPL_NN_HYPERCOMPLEX_H
#define EPL_NN_HYPERCOMPLEX_H

#include <espalier/nn.h>

/* A weight [taps..., in, out] as n x n blocks: row (a, b), column (tap, q, p) of the rearranged matrix is the element that takes
 * channel b in/n + q to channel a out/n + p. The first `pad` inputs are not in the stored weight: they are zero. */
typedef struct epl_blocks {
    int     n;
    int64_t taps, in, out, pad;
} epl_blocks;

/* Fixed rules: writes n matrices [n, n] to `rules`. False if the algebra has no such n. */
bool epl_algebra_rules(epl_algebra algebra, int n, double *rules);

/* The nearest sum of n Kronecker products to a trained weight: Van Loan & Pitsianis 1993. rules [n, n, n] is
 * computed, or, where it is `given` (rules of orthogonal matrices), only the filters are. `filters` is [n, taps,
 * in/n, out/n]. Adds what is left over, and the weight's own sum of squares, to *error and *total. */
bool epl_kronecker_fit(epl_context *ctx, epl_blocks b, const float *weight, bool given, double *rules, float *filters, double *error,
                       double *total);

#endif
