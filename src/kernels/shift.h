/* shift: what shift_pack writes and shift_conv reads.
 *
 * First the scales of all output channels, m floats, filled up to 64 bytes; then for each group its panels of
 * columns, as wide as those of a matrix product (micro.h): `depth` rows of width / 2 bytes. Byte j of a row holds
 * the code of column j in its low half and that of column j + width / 2 in its high half. A code is the sign in its
 * highest bit and below it the exponent, 0 to 7: the weight is +-2^exponent times the scale of its channel. */
#ifndef EPL_SHIFT_H
#define EPL_SHIFT_H

#include "kernels/kernels.h"
#include "kernels/micro.h"

enum { EPL_SHIFT_MOST = 7 }; /* the largest exponent */

static inline int64_t epl_shift_panels(const epl_conv_params *p) { return epl_max(1, epl_ceil_div(p->m / p->groups, EPL_NR)); }

static inline int64_t epl_shift_panel_width(const epl_conv_params *p, int64_t panel)
{
    return epl_panel_width(p->m / p->groups - panel * EPL_NR);
}

static inline size_t epl_shift_panel_at(const epl_conv_params *p, int64_t group, int64_t panel)
{
    const int64_t padded = epl_packed_cols(p->m / p->groups);
    return epl_shift_scale_bytes(p) + (size_t)(epl_shift_depth(p) * (group * padded + panel * EPL_NR) / 2);
}

#endif
