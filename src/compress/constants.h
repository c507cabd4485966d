/* constants: which channels of a network always say the same. */
#ifndef EPL_COMPRESS_CONSTANTS_H
#define EPL_COMPRESS_CONSTANTS_H

#include "graph/op.h"

typedef struct epl_constants {
    const epl_weights *weights;
    double           **value; /* by the node's tag, of output 0: of each index of the last axis the value, NaN: it varies. NULL: all vary */
    epl_arena         *arena;
} epl_constants;

/* Of all nodes of g, whose tags it sets; in the arena's memory. */
bool epl_constants_find(epl_constants *k, const epl_graph *g, const epl_weights *w, epl_arena *a);

double            epl_constant_at(const epl_constants *k, const epl_value *v, int64_t channel); /* NaN: it varies */
const epl_tensor *epl_constants_tensor(const epl_constants *k, const epl_value *v);             /* of constants, parameters, states; NULL */
bool              epl_slice_is_zero(const epl_tensor *t, int axis, int64_t i); /* everything at this index of the axis */

bool epl_is_product(const epl_node *n); /* with a weight whose last axis is the outputs */
bool epl_is_padded(const epl_node *n);  /* reads zeros beyond its input */

#endif
