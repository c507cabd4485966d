/* The lists of sparse.h, made of weights that are mostly zero. */
#include "kernels/sparse.h"

EPL_KERNEL(sparse_pack);

enum { GROUP = EPL_SPARSE_GROUP, WIDE = EPL_SPARSE_WIDE, HEAD = EPL_SPARSE_HEAD };

typedef struct packer {
    const epl_sparse_pack_params *p;
    const float *w;
    int32_t *count, *order, *first; /* per channel, per channel, per count */
} packer;

static float weight(const packer *k, int64_t tap, int64_t m)
{
    return k->w[tap * k->p->tap_stride + m * k->p->out_stride];
}

/* Sorts the channels by their number of non-zeros among taps [t0, t1). */
static void sort_channels(const packer *k, int64_t t0, int64_t t1)
{
    const int64_t m = k->p->m;
    memset(k->count, 0, (size_t)m * sizeof *k->count);
    memset(k->first, 0, (size_t)(t1 - t0 + 2) * sizeof *k->first);
    for (int64_t t = t0; t < t1; t++)
        for (int64_t j = 0; j < m; j++)
            k->count[j] += weight(k, t, j) != 0.0f;
    for (int64_t j = 0; j < m; j++)
        k->first[k->count[j] + 1]++;
    for (int64_t i = 0; i <= t1 - t0; i++)
        k->first[i + 1] += k->first[i];
    for (int64_t j = 0; j < m; j++)
        k->order[k->first[k->count[j]]++] = (int32_t)j;
}

/* Group g of the sorted channels at `out`, or nowhere if out is NULL; returns its size. */
static int64_t pack_group(const packer *k, int64_t t0, int64_t t1, int64_t g, int32_t *out)
{
    const int64_t m = k->p->m, at = g * GROUP, width = epl_min(GROUP, m - at);
    const int32_t n = k->count[k->order[at + width - 1]];
    if (!out)
        return HEAD + 2 * GROUP * (int64_t)n;
    out[0] = n;
    memset(out + HEAD, 0, (size_t)(2 * GROUP * n) * sizeof *out);
    for (int64_t i = 0; i < GROUP; i++) {
        out[1 + i] = i < width ? k->order[at + i] : (int32_t)m;
        int32_t *pair = out + HEAD + 2 * i;
        for (int64_t t = t0; i < width && t < t1; t++) {
            const float value = weight(k, t, out[1 + i]);
            if (value == 0.0f)
                continue;
            pair[0] = (int32_t)((t - t0) * WIDE);
            memcpy(&pair[1], &value, sizeof value);
            pair += 2 * GROUP;
        }
    }
    return HEAD + 2 * GROUP * (int64_t)n;
}

static int64_t pack_all(const packer *k, int32_t *out)
{
    const int64_t taps = k->p->taps, block = epl_sparse_block(taps);
    int64_t size = 1;
    for (int64_t t0 = 0; t0 < taps; t0 += block) {
        sort_channels(k, t0, epl_min(t0 + block, taps));
        for (int64_t g = 0; g * GROUP < k->p->m; g++)
            size += pack_group(k, t0, epl_min(t0 + block, taps), g, out ? out + size : NULL);
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
    return (size_t)(2 * p->m + epl_sparse_block(p->taps) + 2) * sizeof(int32_t);
}

void EPL_K(sparse_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_sparse_pack_params *p = call->params;
    int32_t *count = scratch, *out = call->out[0];
    const packer k = { p, call->in[0], count, count + p->m, count + 2 * p->m };
    for (; begin < end; begin++) {
        const int64_t size = pack_all(&k, NULL);
        out[0] = (int32_t)size;
        if (size <= p->capacity)
            pack_all(&k, out);
    }
}
