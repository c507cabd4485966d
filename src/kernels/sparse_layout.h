/* sparse_layout: how a sparse convolution cuts its work; what the packer, the kernel and the choice of kernels agree on.
 *
 * Neighbouring pixels lie side by side in vectors, so the source is transposed into a panel [unit][lane], which costs far more
 * per element than a multiply-add. Two forms:
 *
 *   flat     the lanes are the output pixels of a piece, whatever images they are from, and a unit is a tap (kernel position,
 *            channel): a source element is transposed once for each kernel position. For kernels of 1 and for tiny images.
 *   strips   a unit is a channel. For each column of the kernel it holds the source lines that a strip of output lines needs,
 *            each as the `pitch` lanes that this column meets; the rows of the kernel differ by whole lines. So a source
 *            element is transposed once for each column, and loads stay aligned to half a vector of 512 bits. Lines of a
 *            strided convolution are ordered by their phase, so that those of one row of the kernel follow each other.
 *
 * A block is the range of units whose part of a panel fits the first cache; all output channels add its non-zeros. */
#ifndef EPL_SPARSE_LAYOUT_H
#define EPL_SPARSE_LAYOUT_H

#include "kernels/kernels.h"

enum { /* of packed weights (sparse.h) */
    EPL_SPARSE_GROUP = 4,                 /* channels side by side; as many sums as that times a tile's vectors are registers */
    EPL_SPARSE_HEAD = 2 * EPL_SPARSE_GROUP, /* of a group's lists */
    EPL_SPARSE_START = 2 * EPL_SPARSE_GROUP
};

typedef struct epl_sparse_layout {
    int64_t units, block, unit;  /* in all, of a block, floats from one to the next */
    int64_t positions;           /* of the kernel, within a unit */
    int64_t lines, pitch, slots; /* output lines of a strip (0: flat), lanes of a line, source lines of a strip */
    int64_t tile, lanes;         /* lanes whose sums are registers, lanes of a piece */
} epl_sparse_layout;

static inline int64_t epl_sparse_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static inline int64_t epl_sparse_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t epl_sparse_most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Squares of so many elements are transposed. */
static inline int64_t epl_sparse_side(int64_t vector) { return vector >= 8 ? 8 : 4; }

/* Floats of a panel that a tile reads: 16 to 32 KB. */
static inline int64_t epl_sparse_cache(int64_t vector) { return vector == 16 ? 8192 : 5120; }

/* At most `most` units: balanced, in whole squares. */
static inline int64_t epl_sparse_block(int64_t units, int64_t most, int64_t side)
{
    const int64_t limit = epl_sparse_most(most / side * side, side), blocks = epl_sparse_most((units + limit - 1) / limit, 1);
    return epl_sparse_round_up((units + blocks - 1) / blocks, side);
}

static inline epl_sparse_layout epl_sparse_flat(const epl_conv_params *p, int64_t vector)
{
    epl_sparse_layout l = { .units = p->kd * p->kh * p->kw * p->c, .positions = 1 };
    const int64_t pixels = p->n * p->od * p->oh * p->ow, wide = (vector == 16 ? 4 : 2) * vector, tiles = (pixels + wide - 1) / wide;
    l.tile  = epl_sparse_least(wide, epl_sparse_round_up(epl_sparse_most(pixels, 1), vector));
    l.lanes = l.tile * epl_sparse_most(1, epl_sparse_least(4, (tiles + 15) / 16));
    l.unit  = l.tile;
    l.block = epl_sparse_block(l.units, epl_sparse_cache(vector) / l.tile, epl_sparse_side(vector));
    return l;
}

/* Source lines that `lines` output lines need. */
static inline int64_t epl_sparse_slots(const epl_conv_params *p, int64_t lines)
{
    return epl_sparse_round_up((lines - 1) * p->sh + (p->kh - 1) * p->dh + 1, p->sh);
}

static inline epl_sparse_layout epl_sparse_strips(const epl_conv_params *p, int64_t vector)
{
    const int64_t side = epl_sparse_side(vector), pitch = epl_sparse_round_up(epl_sparse_most(p->ow, 1), side);
    const int64_t all = p->n * p->od * p->oh * pitch, oh = epl_sparse_most(p->oh, 1);
    const int64_t want = epl_sparse_most(epl_sparse_least(all / 4, 256), 128); // lanes: few repeated lines, yet pieces for threads
    const int64_t strips = (oh * pitch + want - 1) / want;
    epl_sparse_layout l = { .units = p->c, .positions = p->kd * p->kh * p->kw, .lines = (oh + strips - 1) / strips, .pitch = pitch };
    l.lanes = epl_sparse_round_up(l.lines * pitch, vector);
    l.tile  = epl_sparse_least(l.lanes, (vector == 16 ? 4 : 2) * vector);
    l.slots = epl_sparse_slots(p, l.lines);
    l.unit  = p->kd * p->kw * l.slots * pitch;
    const int64_t read = p->kd * p->kw * epl_sparse_slots(p, epl_sparse_least(l.lines, (l.tile + pitch - 1) / pitch)) * pitch;
    l.block = epl_sparse_block(l.units, epl_sparse_cache(vector) / read, side);
    return l;
}

static inline int64_t epl_sparse_pieces(const epl_conv_params *p, const epl_sparse_layout *l)
{
    return l->lines ? p->n * p->od * ((p->oh + l->lines - 1) / l->lines)
                    : (p->n * p->od * p->oh * p->ow + l->lanes - 1) / l->lanes;
}

/* Time with `nnz` weights that are not zero, in units of a dense multiply-add of a vector: such a weight takes 1.5,
 * and less where `rows` channels share the vector that they read; the transposition of a source and of a result
 * vector take 5 and 4. A model of the cost, from profiles at 90 % zeros. */
static inline double epl_sparse_cost(const epl_conv_params *p, const epl_sparse_layout *l, int64_t vector, double nnz, int64_t rows)
{
    const int64_t pixels = p->n * p->od * p->oh * p->ow, pieces = epl_sparse_pieces(p, l);
    const int64_t vectors = l->lines ? pieces * (l->lanes / vector) : (pixels + vector - 1) / vector;
    const double  filled = l->lines ? (double)(pieces * l->units * l->unit) / (double)vector : (double)(vectors * l->units);
    const double  each = rows == 4 ? 1.1 : rows == 2 ? 1.25 : 1.5;
    return 5 * filled + (each * nnz + 4 * (double)p->m) * (double)vectors;
}

/* What fetching a vector of weights takes where it is read for few pixels, in the same units: the more of them there
 * are, the further away they lie. */
static inline double epl_sparse_fetching(double floats)
{
    return floats < 2 * 65536 ? 2 : floats > 16 * 65536 ? 16 : floats / 65536;
}

/* Is that less than the dense kernel's time? Its multiply-adds fill their vectors with channels; a recurrent layer's step, or a
 * classifier's for one sample, waits for the weights instead, and so do lists of non-zeros, of 8 bytes each or less in blocks. */
static inline int epl_sparse_pays(const epl_conv_params *p, const epl_sparse_layout *l, int64_t vector, double nnz, int64_t rows)
{
    const double taps = (double)(p->kd * p->kh * p->kw * p->c), pixels = (double)(p->n * p->od * p->oh * p->ow);
    const double vectors = taps * (double)((p->m + vector - 1) / vector), list = nnz * (1 + 1.0 / (double)rows);
    const double fetch = epl_sparse_fetching(taps * (double)p->m), dense = vectors * (pixels > fetch ? pixels : fetch);
    const double waiting = pixels < 8 ? epl_sparse_fetching(list) * list / (double)vector : 0;
    return epl_sparse_cost(p, l, vector, nnz, rows) + waiting < 0.8 * dense;
}

/* The form that is the faster one at 90 % zeros. */
static inline epl_sparse_layout epl_sparse_layout_of(const epl_conv_params *p, int64_t vector)
{
    const epl_sparse_layout flat = epl_sparse_flat(p, vector), strips = epl_sparse_strips(p, vector);
    const double nnz = 0.1 * (double)(p->kd * p->kh * p->kw * p->c * p->m);
    const int wide = strips.pitch > 256; // a strip is of whole lines
    return !wide && epl_sparse_cost(p, &strips, vector, nnz, 1) < epl_sparse_cost(p, &flat, vector, nnz, 1) ? strips : flat;
}

/* Where kernel position q of a unit begins in the unit. */
static inline int64_t epl_sparse_place(const epl_conv_params *p, const epl_sparse_layout *l, int64_t q)
{
    if (!l->lines)
        return 0;
    const int64_t kx = q % p->kw, row = q / p->kw % p->kh * p->dh, kz = q / p->kw / p->kh;
    return ((kz * p->kw + kx) * l->slots + row % p->sh * (l->slots / p->sh) + row / p->sh) * l->pitch;
}

/* ---- N:M weights, packed anew in every step (nm_pack) ---- */

/* At most so many entries of an output channel among the units [u0, u1): n of each group of m channels that they touch. */
static inline int64_t epl_nm_list(const epl_nm_pack_params *p, const epl_sparse_layout *l, int64_t u0, int64_t u1)
{
    int64_t n = 0;
    for (int64_t u = u0, until; u < u1; u = until) { // a group, or what the range holds of it
        const int64_t channel = u % p->conv.c;
        until = epl_sparse_least(u1, u - channel + epl_sparse_least(p->conv.c, (channel / p->m + 1) * p->m));
        n += epl_sparse_least(p->n, until - u);
    }
    return n * l->positions;
}

/* What nm_pack writes, in units of 4 bytes. */
static inline int64_t epl_nm_packed_size(const epl_nm_pack_params *p, int64_t vector)
{
    const epl_sparse_layout l = epl_sparse_layout_of(&p->conv, vector);
    const int64_t groups = (p->conv.m + EPL_SPARSE_GROUP - 1) / EPL_SPARSE_GROUP;
    int64_t size = EPL_SPARSE_START;
    for (int64_t u0 = 0; u0 < l.units; u0 += l.block)
        size += groups * (EPL_SPARSE_HEAD + 2 * EPL_SPARSE_GROUP * epl_nm_list(p, &l, u0, epl_sparse_least(u0 + l.block, l.units)));
    return size;
}

#endif
