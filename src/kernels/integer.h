/* integer: what integer_pack writes and integer_conv reads: for each group its panels of columns, as wide as those
 * of a matrix product (micro.h), of half as many rows as the depth: each the weights of two taps side by side, 16
 * bits each, and 0 behind the last. */
#ifndef EPL_INTEGER_H
#define EPL_INTEGER_H

#include "kernels/kernels.h"
#include "kernels/micro.h"

static inline int64_t epl_integer_pairs(const epl_integer_conv_params *p) { return (epl_shift_depth(&p->conv) + 1) / 2; }

static inline int64_t epl_integer_panels(const epl_integer_conv_params *p)
{
    return epl_max(1, epl_ceil_div(p->conv.m / p->conv.groups, EPL_NR));
}

/* In pairs. */
static inline int64_t epl_integer_panel_at(const epl_integer_conv_params *p, int64_t group, int64_t panel)
{
    return epl_integer_pairs(p) * (group * epl_packed_cols(p->conv.m / p->conv.groups) + panel * EPL_NR);
}

#endif
