/* elementwise: the rows of elementwise.def by number, and each as a function of one element. C11, nothing else of the
 * library: kernels include it too.
 *
 * The number of a row is its index in the file: EPL_EW_add. Everything that knows rows by number (epl_chain.op, the three
 * tables below) is made from the file in the same way. */
#ifndef EPL_ELEMENTWISE_H
#define EPL_ELEMENTWISE_H

#include <stdint.h>

enum {
#define UNARY(name, ...) EPL_EW_##name,
#define BINARY UNARY
#define TERNARY UNARY
#include "ops/elementwise.def"
#undef UNARY
#undef BINARY
#undef TERNARY
    EPL_N_ELEMENTWISE
};

/* One element: in[] holds the row's inputs, at[] its one or two attributes. NULL where a row does not take such numbers:
 * over double (floating types, logic on bool), signed and unsigned 64-bit integers (integer types and bool). */
extern double (*const epl_rows_real[EPL_N_ELEMENTWISE])(const double *in, const double *at);
extern int64_t (*const epl_rows_int[EPL_N_ELEMENTWISE])(const int64_t *in, const double *at);
extern uint64_t (*const epl_rows_uint[EPL_N_ELEMENTWISE])(const uint64_t *in, const double *at);

#endif
