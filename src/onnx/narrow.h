/* narrow: ONNX's element types of 8 bits and less that this library has no element type for. Floats are held as f32,
 * which has every one of their numbers; integers of 4 and 2 bits as i8 and u8. The importer remembers which values
 * are narrow; operators that would have to know refuse them. */
#ifndef EPL_ONNX_NARROW_H
#define EPL_ONNX_NARROW_H

#include "onnx/import.h"

typedef struct onnx_narrow {
    int64_t     type; /* ONNX's number */
    const char *name;
    epl_dtype   held;
    int         bits;
    int         mantissa, bias; /* of floats */
    double      most;
    enum { NARROW_FINITE, NARROW_INF, NARROW_LAST_NAN, NARROW_UNSIGNED_ZERO, NARROW_POWER } kind;
} onnx_narrow;

const onnx_narrow *onnx_narrow_type(int64_t type); /* NULL: not one of these */
epl_dtype          onnx_held_dtype(int64_t type);  /* what elements of an ONNX type are held as; EPL_NO_DTYPE if not at all */
double             onnx_narrow_decode(const onnx_narrow *t, unsigned bits);

/* The narrow type of input i of a node, or NULL. */
const onnx_narrow *onnx_narrow_in(onnx_node *n, int i);
bool               onnx_narrow_mark(onnx_import *imp, const epl_value *v, int64_t type); /* does nothing for other types */

/* x rounded, or cut off, to the type, and marked. */
epl_value *onnx_to_narrow(onnx_node *n, epl_value *x, const onnx_narrow *t, bool saturate);

bool onnx_narrow_refuse(onnx_node *n);  /* true, with an error, if the node does not take its narrow inputs */
bool onnx_narrow_pass_on(onnx_node *n); /* marks the results of nodes that move elements */

#endif
