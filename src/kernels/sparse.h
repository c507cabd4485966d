/* sparse: what sparse_pack writes and sparse_conv reads.
 *
 * Output channels stand in blocks of `rows` neighbours (1, 2 or 4), which share the places of their non-zeros; a
 * block's zeros among them are stored. In each block of units (sparse_layout.h) the blocks of channels are sorted by
 * their number of entries, because equal neighbours need little filling, and put into groups of GROUP channels.
 * Packed weights, in units of 4 bytes: the size of all of it, and `rows`; then, from START on, per block of units
 * and group the length n of the lists and, from the fourth on, the group's channels; then n times GROUP / rows
 * offsets in the panel (integers) and GROUP values. A list that is shorter than its group's longest is filled up
 * with zeros; a channel that does not exist has the number m. */
#ifndef EPL_SPARSE_H
#define EPL_SPARSE_H

#include "kernels/micro.h"
#include "kernels/sparse_layout.h"

enum {
    EPL_SPARSE_SIDE = VL >= 8 ? 8 : 4,    /* epl_sparse_side(VL) */
    EPL_SPARSE_VECTORS = VL == 16 ? 4 : 2 /* of a tile, at most */
};

/* Of an entry, in units of 4 bytes. */
static inline int64_t epl_sparse_entry(int64_t rows) { return EPL_SPARSE_GROUP + EPL_SPARSE_GROUP / rows; }

#endif
