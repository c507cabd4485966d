/* The lists of sparse.h, made of weights that are mostly zero. */
#include "kernels/sparse.h"

EPL_KERNEL(sparse_pack);

enum { GROUP = EPL_SPARSE_GROUP, HEAD = EPL_SPARSE_HEAD, ENTRY = EPL_SPARSE_ENTRY };

typedef struct packer {
    const epl_sparse_pack_params *p;
    epl_sparse_layout l;
    const float *w;
    int32_t *count, *order, *first; /* per channel, per channel, per count */
} packer;

/* Of kernel position q of a unit, for output channel m. */
static float weight(const packer *k, int64_t unit, int64_t q, int64_t m)
{
    return k->w[(q * k->l.units + unit) * k->p->tap_stride + m * k->p->out_stride];
}

/* Sorts the channels by their number of non-zeros among units [u0, u1). */
static void sort_channels(const packer *k, int64_t u0, int64_t u1)
{
    const int64_t m = k->p->conv.m, most = (u1 - u0) * k->l.positions;
    memset(k->count, 0, (size_t)m * sizeof *k->count);
    memset(k->first, 0, (size_t)(most + 2) * sizeof *k->first);
    for (int64_t q = 0; q < k->l.positions; q++)
        for (int64_t u = u0; u < u1; u++)
            for (int64_t j = 0; j < m; j++)
                k->count[j] += weight(k, u, q, j) != 0.0f;
    for (int64_t j = 0; j < m; j++)
        k->first[k->count[j] + 1]++;
    for (int64_t i = 0; i <= most; i++)
        k->first[i + 1] += k->first[i];
    for (int64_t j = 0; j < m; j++)
        k->order[k->first[k->count[j]]++] = (int32_t)j;
}

/* The non-zeros of output channel m, as entries' element 0. */
static void pack_channel(const packer *k, int64_t u0, int64_t u1, int64_t m, int32_t *entry)
{
    for (int64_t u = u0; u < u1; u++)
        for (int64_t q = 0; q < k->l.positions; q++) {
            const float value = weight(k, u, q, m);
            if (value == 0.0f)
                continue;
            entry[0] = (int32_t)((u - u0) * k->l.unit + epl_sparse_place(&k->p->conv, &k->l, q));
            memcpy(&entry[GROUP], &value, sizeof value);
            entry += ENTRY;
        }
}

/* Group g of the sorted channels at `out`, or nowhere if out is NULL; returns its size. */
static int64_t pack_group(const packer *k, int64_t u0, int64_t u1, int64_t g, int32_t *out)
{
    const int64_t m = k->p->conv.m, at = g * GROUP, width = epl_min(GROUP, m - at);
    const int32_t n = k->count[k->order[at + width - 1]];
    const int64_t size = HEAD + ENTRY * (int64_t)n;
    if (!out)
        return size;
    memset(out, 0, (size_t)size * sizeof *out);
    out[0] = n;
    for (int64_t i = 0; i < GROUP; i++)
        out[GROUP + i] = i < width ? k->order[at + i] : (int32_t)m;
    for (int64_t i = 0; i < width; i++)
        pack_channel(k, u0, u1, out[GROUP + i], out + HEAD + i);
    return size;
}

static int64_t pack_all(const packer *k, int32_t *out)
{
    int64_t size = EPL_SPARSE_START;
    for (int64_t u0 = 0; u0 < k->l.units; u0 += k->l.block) {
        const int64_t u1 = epl_min(u0 + k->l.block, k->l.units);
        sort_channels(k, u0, u1);
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
    const packer k = { p, epl_sparse_layout_of(&p->conv, VL), call->in[0], count, count + p->conv.m, count + 2 * p->conv.m };
    for (; begin < end; begin++) {
        const int64_t size = pack_all(&k, NULL);
        out[0] = (int32_t)size;
        if (size <= p->capacity)
            pack_all(&k, out);
    }
}
