/* chain_int: the element-wise chain over 64-bit integers; chosen by chain_rows. */
#ifndef EPL_CHAIN_INT_H
#define EPL_CHAIN_INT_H

#include "kernels/kernel.h"

void EPL_K(chain_int_rows)(const epl_chain *chain, const void *const *in, void *const *out, int64_t row0, int64_t row1,
                           int64_t col0, int64_t col1);

/* How many inputs each row of elementwise.def has. */
#define UNARY(...)   1,
#define BINARY(...)  2,
#define TERNARY(...) 3,
static const unsigned char epl_tile_inputs[] = {
#include "ops/elementwise.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY

#endif
