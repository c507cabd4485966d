/* sparse: what sparse_pack writes and sparse_conv reads, and how both cut the work.
 *
 * The taps (kernel position, channel) are cut into blocks. In each, the output channels are sorted by their number of non-zeros,
 * because equal neighbours need little filling, and put into groups. Packed weights, in units of 4 bytes: the size of all of it;
 * then per block and group the length n of the lists, the group's channels, and n x GROUP pairs of an offset in the panel
 * [tap][pixel] (integer) and a value. A list that is shorter than its group's longest is filled up with zeros; a channel that
 * does not exist has the number m. */
#ifndef EPL_SPARSE_H
#define EPL_SPARSE_H

#include "kernels/kernels.h"
#include "kernels/micro.h"

enum {
    EPL_SPARSE_SIDE = VL >= 8 ? 8 : 4,              /* of the squares that sparse_conv transposes */
    EPL_SPARSE_VECTORS = VL == 16 ? 4 : 2,          /* of a tile of pixels */
    EPL_SPARSE_WIDE = EPL_SPARSE_VECTORS * VL,      /* pixels of a tile */
    EPL_SPARSE_GROUP = 4,                           /* channels side by side; EPL_SPARSE_VECTORS times as many sums are registers */
    EPL_SPARSE_HEAD = 1 + EPL_SPARSE_GROUP,         /* of a group's lists */
    EPL_SPARSE_BLOCK = VL == 16 ? 128 : 2560 / VL   /* taps, at most: a panel of 20 or 32 KB */
};

/* Two blocks are made equal; more are not, so that their ends tend to be those of kernel positions. */
static inline int64_t epl_sparse_block(int64_t taps)
{
    const int64_t blocks = epl_ceil_div(taps, EPL_SPARSE_BLOCK);
    if (blocks > 2)
        return EPL_SPARSE_BLOCK;
    return epl_ceil_div(epl_ceil_div(epl_max(taps, 1), epl_max(blocks, 1)), EPL_SPARSE_SIDE) * EPL_SPARSE_SIDE;
}

#endif
