/* keep_largest: of every m consecutive elements along an axis the n of largest magnitude. Groups lie side by side in a vector,
 * and each pair of a group's elements is compared once: the loser's rank grows, and ranks below n stay. */
#include "kernels/bandwidth.h"
#include "kernels/vec.h"

EPL_KERNEL(keep_largest);

enum { PIECE_TILES = 64 }; /* a tile: VL groups */

/* `groups` and `rest` of a row along the axis; tiles of one line of elements (inner == 1: of a whole row). */
typedef struct cut {
    int64_t full, rest; /* whole groups, elements of the last one */
    int64_t tiles;      /* of a row */
} cut;

static cut cut_of(const epl_keep_largest_params *p)
{
    cut c = { p->size / p->m, p->size % p->m, 0 };
    c.tiles = p->inner == 1 ? epl_cut(c.full, VL) + (c.rest > 0) : (c.full + (c.rest > 0)) * epl_cut(p->inner, VL);
    return c;
}

/* Lanes [0, lanes) of `rows` lines that are `stride` apart, each lane a group. */
static void keep(const float *x, float *y, int64_t rows, int64_t stride, int64_t lanes, int64_t n, vf *size, vi *rank)
{
    for (int64_t i = 0; i < rows; i++) {
        size[i] = vabs(vload_part(x + i * stride, lanes));
        rank[i] = (vi){ 0 };
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i + 1; j < rows; j++) {
            const vi later = size[j] > size[i]; // all ones where j goes first
            rank[i] -= later;
            rank[j] += later + 1;
        }
    for (int64_t i = 0; i < rows; i++)
        vstore_part(y + i * stride, vsel(rank[i] < (int32_t)n, vload_part(x + i * stride, lanes), (vf){ 0 }), lanes);
}

/* The same of groups that lie behind each other: through a tile [rows][VL]. */
static void keep_behind(const float *x, float *y, int64_t rows, int64_t lanes, int64_t n, vf *size, vi *rank, float *tile)
{
    for (int64_t g = 0; g < lanes; g++)
        for (int64_t i = 0; i < rows; i++)
            tile[i * VL + g] = x[g * rows + i];
    keep(tile, tile, rows, VL, VL, n, size, rank);
    for (int64_t g = 0; g < lanes; g++)
        for (int64_t i = 0; i < rows; i++)
            y[g * rows + i] = tile[i * VL + g];
}

int64_t EPL_K(keep_largest_pieces)(const void *params)
{
    const epl_keep_largest_params *p = params;
    const int64_t pieces = epl_cut(p->outer * cut_of(p).tiles, PIECE_TILES);
    return pieces > 1 ? pieces : 1;
}

size_t EPL_K(keep_largest_scratch)(const void *params)
{
    return (size_t)((const epl_keep_largest_params *)params)->m * (2 * sizeof(vf) + sizeof(vi));
}

void EPL_K(keep_largest)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_keep_largest_params *p = call->params;
    const cut   c = cut_of(p);
    vf         *size = scratch, *tile = size + p->m;
    vi         *rank = (vi *)(void *)(tile + p->m);
    const float *x = call->in[0];
    float       *y = call->out[0];
    const int64_t last = end * PIECE_TILES < p->outer * c.tiles ? end * PIECE_TILES : p->outer * c.tiles, wide = epl_cut(p->inner, VL);
    memset(scratch, 0, EPL_K(keep_largest_scratch)(p));
    for (int64_t t = begin * PIECE_TILES; t < last; t++) {
        const int64_t row = t / c.tiles, k = t % c.tiles;
        if (p->inner == 1) {
            const int64_t g = k * VL, at = row * p->size + (g < c.full ? g : c.full) * p->m;
            const int64_t lanes = g < c.full ? epl_between(1, c.full - g, VL) : 1;
            keep_behind(x + at, y + at, g < c.full ? p->m : c.rest, lanes, p->n, size, rank, (float *)tile);
        } else {
            const int64_t g = k / wide, l = k % wide * VL, at = (row * p->size + g * p->m) * p->inner + l;
            keep(x + at, y + at, g < c.full ? p->m : c.rest, p->inner, epl_between(1, p->inner - l, VL), p->n, size, rank);
        }
    }
}
