/* The lists of sparse.h, made of weights that are mostly zero. */
#include "kernels/sparse.h"

EPL_KERNEL(sparse_pack);

enum { GROUP = EPL_SPARSE_GROUP, HEAD = EPL_SPARSE_HEAD };

typedef struct packer {
    const epl_sparse_pack_params *p;
    epl_sparse_layout l;
    const float *w;
    int          straight;          /* a unit follows the other */
    int64_t rows, blocks;           /* channels that share their places, and how many times that */
    int32_t *count, *order, *first; /* per block of channels, per block, per count */
} packer;

/* Of kernel position q of a unit, for output channel m. */
static float weight(const packer *k, int64_t unit, int64_t q, int64_t m)
{
    const epl_sparse_pack_params *p = k->p;
    const int64_t position = k->l.lines ? q : k->straight ? 0 : unit / p->conv.c, channel = unit - (k->l.lines ? 0 : position * p->conv.c);
    return k->w[p->base + position * p->position_stride + channel * p->channel_stride + m * p->out_stride];
}

/* How many of the weights of channels [m, m + rows) are not zero. */
static int64_t filled(const packer *k, int64_t unit, int64_t q, int64_t m, int64_t rows)
{
    int64_t n = 0;
    for (int64_t j = m; j < epl_min(m + rows, k->p->conv.m); j++)
        n += weight(k, unit, q, j) != 0.0f;
    return n;
}

/* Blocks of four where they are nine tenths full, else of two, else of one: what fills a block up costs less than
 * the sources that it saves. The shares are those of XNNPACK. */
static int64_t choose_rows(const packer *k)
{
    for (int64_t rows = 4; rows > 1; rows /= 2) {
        int64_t entries = 0, values = 0;
        for (int64_t q = 0; q < k->l.positions; q++)
            for (int64_t u = 0; u < k->l.units; u++)
                for (int64_t m = 0; m < k->p->conv.m; m += rows) {
                    const int64_t n = filled(k, u, q, m, rows);
                    entries += n > 0;
                    values += n;
                }
        if (entries > 0 && 10 * values >= 9 * rows * entries)
            return rows;
    }
    return 1;
}

/* Sorts the blocks of channels by their number of entries among units [u0, u1). */
static void sort_blocks(const packer *k, int64_t u0, int64_t u1)
{
    const int64_t most = (u1 - u0) * k->l.positions;
    memset(k->count, 0, (size_t)k->blocks * sizeof *k->count);
    memset(k->first, 0, (size_t)(most + 2) * sizeof *k->first);
    for (int64_t q = 0; q < k->l.positions; q++)
        for (int64_t u = u0; u < u1; u++)
            for (int64_t j = 0; j < k->blocks; j++)
                k->count[j] += filled(k, u, q, j * k->rows, k->rows) > 0;
    for (int64_t j = 0; j < k->blocks; j++)
        k->first[k->count[j] + 1]++;
    for (int64_t i = 0; i <= most; i++)
        k->first[i + 1] += k->first[i];
    for (int64_t j = 0; j < k->blocks; j++)
        k->order[k->first[k->count[j]]++] = (int32_t)j;
}

/* The entries of a block of channels, which is number `at` of its group. */
static void pack_block(const packer *k, int64_t u0, int64_t u1, int64_t block, int64_t at, int32_t *entry)
{
    const int64_t m = block * k->rows, places = GROUP / k->rows;
    for (int64_t u = u0; u < u1; u++)
        for (int64_t q = 0; q < k->l.positions; q++) {
            if (!filled(k, u, q, m, k->rows))
                continue;
            entry[at] = (int32_t)((u - u0) * k->l.unit + epl_sparse_place(&k->p->conv, &k->l, q));
            for (int64_t j = 0; j < epl_min(k->rows, k->p->conv.m - m); j++) {
                const float value = weight(k, u, q, m + j);
                memcpy(&entry[places + at * k->rows + j], &value, sizeof value);
            }
            entry += epl_sparse_entry(k->rows);
        }
}

/* Group g of the sorted blocks at `out`, or nowhere if out is NULL; returns its size. */
static int64_t pack_group(const packer *k, int64_t u0, int64_t u1, int64_t g, int32_t *out)
{
    const int64_t m = k->p->conv.m, places = GROUP / k->rows, first = g * places, n_blocks = epl_min(places, k->blocks - first);
    const int32_t n = k->count[k->order[first + n_blocks - 1]];
    const int64_t size = HEAD + epl_sparse_entry(k->rows) * (int64_t)n;
    if (!out)
        return size;
    memset(out, 0, (size_t)size * sizeof *out);
    out[0] = n;
    for (int64_t i = 0; i < GROUP; i++) {
        const int64_t channel = i / k->rows < n_blocks ? k->order[first + i / k->rows] * k->rows + i % k->rows : m;
        out[GROUP + i] = (int32_t)epl_min(channel, m);
    }
    for (int64_t i = 0; i < n_blocks; i++)
        pack_block(k, u0, u1, k->order[first + i], i, out + HEAD);
    return size;
}

static int64_t pack_all(const packer *k, int32_t *out)
{
    int64_t size = EPL_SPARSE_START;
    for (int64_t u0 = 0; u0 < k->l.units; u0 += k->l.block) {
        const int64_t u1 = epl_min(u0 + k->l.block, k->l.units);
        sort_blocks(k, u0, u1);
        for (int64_t g = 0; g * GROUP < k->p->conv.m; g++)
            size += pack_group(k, u0, u1, g, out ? out + size : NULL);
    }
    return size;
}

int64_t EPL_K(sparse_pack_pieces)(const void *params)
{
    (void)params;
    return 1;
}

size_t EPL_K(sparse_pack_scratch)(const void *params)
{
    const epl_sparse_pack_params *p = params;
    const epl_sparse_layout l = epl_sparse_layout_of(&p->conv, VL);
    return (size_t)(2 * p->conv.m + l.block * l.positions + 2) * sizeof(int32_t);
}

void EPL_K(sparse_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_sparse_pack_params *p = call->params;
    int32_t *count = scratch, *out = call->out[0];
    packer                        k = { p,
                                        epl_sparse_layout_of(&p->conv, VL),
                                        call->in[0],
                                        p->position_stride == p->conv.c * p->channel_stride,
                                        1,
                                        p->conv.m,
                                        count,
                                        count + p->conv.m,
                                        count + 2 * p->conv.m };
    for (; begin < end; begin++) {
        k.rows   = choose_rows(&k);
        k.blocks = epl_ceil_div(p->conv.m, k.rows);
        const int64_t size = pack_all(&k, NULL);
        out[0] = (int32_t)size;
        out[1] = (int32_t)k.rows;
        if (size <= p->capacity)
            pack_all(&k, out);
    }
}
