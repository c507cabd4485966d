/* shift_add: what shift_add_pack writes and shift_add reads.
 *
 * The depth (kernel positions times channels of a group) is cut into units of one weight, of 2 bits two, whose codes
 * have 16 values (of 3 bits 8); units come in chunks. For each group and chunk there are the codes of each output
 * channel in turn, two units a byte, the first in the low half. The code of a weight is its sign in the highest bit,
 * below it the exponent; of a pair, the second one's code times four is added. */
#ifndef EPL_SHIFT_ADD_H
#define EPL_SHIFT_ADD_H

#include "kernels/kernels.h"
#include "kernels/micro.h"

/* So many units that a sum of 16 bits does not overflow, and the tables of a chunk stay in the first cache. */
static inline int64_t epl_shift_add_chunk(const epl_integer_conv_params *p)
{
    return p->bits == 4 ? 12 : p->bits == 3 && p->x_unsigned ? 16 : p->bits == 3 ? 30 : 24;
}

static inline int64_t epl_shift_add_taps(const epl_integer_conv_params *p) { return p->bits == 2 ? 2 : 1; } /* of a unit */

/* Where the codes of output channel j of a group begin, for the `units` from u0 on. */
static inline size_t epl_shift_add_at(const epl_integer_conv_params *p, int64_t group, int64_t u0, int64_t units, int64_t j)
{
    const int64_t mg = p->conv.m / p->conv.groups;
    return (size_t)((group * mg * epl_shift_add_units(p) + mg * u0 + j * units) / 2);
}

#endif
