/* elementwise: the rows of elementwise.def by number, and each as a function of one element. C11, nothing else of the
 * library: kernels include it too.
 *
 * The number of a row is its index in the file: EPL_EW_add. Everything that knows rows by number (epl_chain.op, the tables
 * below) is made from the file in the same way. */
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
typedef enum epl_row_types {
    EPL_ROW_ANY, EPL_ROW_REAL, EPL_ROW_NUMBER, EPL_ROW_INTEGER, EPL_ROW_LOGIC, EPL_ROW_TEST, EPL_ROW_REAL_TEST, EPL_ROW_SELECT
} epl_row_types;

/* A row's text, for those who print it. The expression's variables are x, or a and b, or a, b and c, and the attributes. */
typedef struct epl_row {
    const char   *name; /* as in EPL_EW_<name> */
    epl_row_types types;
    int           n_inputs, n_attrs;
    const char   *attr[2];
    const char   *expression;
    const char   *printed; /* the operator's name */
    int           opset;   /* of ONNX, since when its operator of that name means this; 0: never */
} epl_row;
extern const epl_row epl_rows[EPL_N_ELEMENTWISE];

struct epl_op;
int epl_elementwise_row(const struct epl_op *op); /* the row's number; -1 for other operators */

extern double (*const epl_rows_real[EPL_N_ELEMENTWISE])(const double *in, const double *at);
extern int64_t (*const epl_rows_int[EPL_N_ELEMENTWISE])(const int64_t *in, const double *at);
extern uint64_t (*const epl_rows_uint[EPL_N_ELEMENTWISE])(const uint64_t *in, const double *at);

#endif
