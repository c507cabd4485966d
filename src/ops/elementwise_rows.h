/* elementwise_rows: elementwise.def as functions of one element. Included by elementwise_real.c, elementwise_int.c and
 * elementwise_uint.c, each after its vocabulary; EPL_ROWS is the name of the table to define, and KEEP_<types> is
 * KEEP or DROP. A dropped row is NULL in the table: the operator does not take that kind of number. */

#define KEEP(name, attributes, inputs, y)                                                                          \
    static scalar row_##name(const scalar *in, const double *at)                                                   \
    {                                                                                                              \
        (void)at;                                                                                                  \
        attributes inputs return y;                                                                                \
    }
#define DROP(name, attributes, inputs, y)
#define NONE
#define ATTR(p, ...) const double p = at[0];
#define ATTRS(p, p_default, q, q_default) const double p = at[0]; const double q = at[1];

#define UNARY(name, types, attributes, y, ...) KEEP_##types(name, attributes, const scalar x = in[0];, y)
#define BINARY(name, types, attributes, y, ...)                                                                    \
    KEEP_##types(name, attributes, const scalar a = in[0]; const scalar b = in[1];, y)
#define TERNARY(name, types, attributes, y, ...)                                                                   \
    KEEP_##types(name, attributes, const scalar a = in[0]; const scalar b = in[1]; const scalar c = in[2];, y)
#include "ops/elementwise.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KEEP
#undef DROP

#define KEEP(name, attributes, inputs, y) row_##name,
#define DROP(name, attributes, inputs, y) 0,
#define UNARY(name, types, attributes, y, ...) KEEP_##types(name, , , )
#define BINARY UNARY
#define TERNARY UNARY
scalar (*const EPL_ROWS[EPL_N_ELEMENTWISE])(const scalar *in, const double *at) = {
#include "ops/elementwise.def"
};
