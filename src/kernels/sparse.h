/* sparse: what sparse_pack writes and sparse_conv reads.
 *
 * In each block of units (sparse_layout.h) the output channels are sorted by their number of non-zeros, because equal neighbours
 * need little filling, and put into groups. Packed weights, in units of 4 bytes: the size of all of it; then, from START on, per
 * block and group the length n of the lists and, from the fourth on, the group's channels; then n times GROUP offsets in the
 * panel (integers) and GROUP values. A list that is shorter than its group's longest is filled up with zeros; a channel that
 * does not exist has the number m. */
#ifndef EPL_SPARSE_H
#define EPL_SPARSE_H

#include "kernels/micro.h"
#include "kernels/sparse_layout.h"

enum {
    EPL_SPARSE_SIDE = VL >= 8 ? 8 : 4,        /* epl_sparse_side(VL) */
    EPL_SPARSE_VECTORS = VL == 16 ? 4 : 2,    /* of a tile, at most */
    EPL_SPARSE_GROUP = 4,                     /* channels side by side; EPL_SPARSE_VECTORS times as many sums are registers */
    EPL_SPARSE_HEAD = 2 * EPL_SPARSE_GROUP,   /* of a group's lists: entries do not cross cache lines */
    EPL_SPARSE_ENTRY = 2 * EPL_SPARSE_GROUP,
    EPL_SPARSE_START = 2 * EPL_SPARSE_GROUP
};

#endif
