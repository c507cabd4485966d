/* ops: builders of the operators. A builder adds one node (or a few) to a graph and returns its value; what it does to
 * shapes is said beside it. Every builder accepts NULL values (after an earlier failure) and then returns NULL.
 *
 * Element-wise operators broadcast as NumPy does. Images are [N, H, W, C], volumes [N, D, H, W, C], sequences [N, L, C]. */
#ifndef ESPALIER_OPS_H
#define ESPALIER_OPS_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- element-wise -------------------------------------------------------------------------------------------------- */

/* ---- casts, reductions, sorting ------------------------------------------------------------------------------------ */

/* ---- shapes and movement ------------------------------------------------------------------------------------------- */

/* ---- matrix products ----------------------------------------------------------------------------------------------- */

/* ---- convolution, pooling, resizing -------------------------------------------------------------------------------- */

/* ---- normalisation, softmax, losses --------------------------------------------------------------------------------- */

/* ---- random numbers, dropout ----------------------------------------------------------------------------------------- */

/* ---- recurrence ------------------------------------------------------------------------------------------------------ */

/* ---- control flow and custom gradients ------------------------------------------------------------------------------- */

#ifdef __cplusplus
}
#endif
#endif
