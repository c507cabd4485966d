/* The lists of sparse.h, made of weights of which at most n of every m consecutive channels are not zero, so that the place and
 * length of every list are known beforehand: for weights that change with every step. */
#include "kernels/sparse.h"

EPL_KERNEL(nm_pack);

enum { GROUP = EPL_SPARSE_GROUP, HEAD = EPL_SPARSE_HEAD, ENTRY = 2 * EPL_SPARSE_GROUP, PIECE_GROUPS = 4 };

typedef struct packer {
    const epl_nm_pack_params *p;
    epl_sparse_layout l;
    const float *w;
    int64_t *from;  /* of each entry of a block: its weight for output channel 0 */
    int32_t *place; /* and its offset in the panel */
} packer;

/* The entries of the units [u0, u1). */
static int64_t find_entries(const packer *k, int64_t u0, int64_t u1)
{
    const epl_nm_pack_params *p = k->p;
    int64_t n = 0;
    for (int64_t u = u0; u < u1; u++)
        for (int64_t q = 0; q < k->l.positions; q++, n++) {
            const int64_t position = k->l.lines ? q : u / p->conv.c, channel = k->l.lines ? u : u % p->conv.c;
            k->from[n]  = p->base + position * p->position_stride + channel * p->channel_stride;
            k->place[n] = (int32_t)((u - u0) * k->l.unit + epl_sparse_place(&p->conv, &k->l, q));
        }
    return n;
}

/* Up to n non-zeros of an output channel, as element 0 of entries; the rest is filled up. */
static void pack_channel(const packer *k, const float *w, int64_t entries, int32_t *at, int64_t n)
{
    int32_t *const end = at + n * ENTRY;
    for (int64_t e = 0; e < entries && at < end; e++) {
        const float value = w[k->from[e]];
        at[0] = k->place[e];
        memcpy(at + GROUP, &value, sizeof value);
        at += value != 0.0f ? ENTRY : 0; // a zero is written over
    }
    for (; at < end; at += ENTRY)
        at[0] = at[GROUP] = 0;
}

static void pack_group(const packer *k, int64_t g, int64_t entries, int64_t n, int32_t *out)
{
    const int64_t m = k->p->conv.m;
    memset(out, 0, HEAD * sizeof *out);
    out[0] = (int32_t)n;
    for (int64_t i = 0; i < GROUP; i++) {
        const int64_t channel = g * GROUP + i;
        out[GROUP + i] = (int32_t)epl_min(channel, m);
        pack_channel(k, k->w + epl_min(channel, m - 1) * k->p->out_stride, channel < m ? entries : 0, out + HEAD + i, n);
    }
}

int64_t EPL_K(nm_pack_pieces)(const void *params)
{
    const epl_nm_pack_params *p = params;
    return epl_max(1, epl_ceil_div(p->conv.m, GROUP * PIECE_GROUPS));
}

size_t EPL_K(nm_pack_scratch)(const void *params)
{
    const epl_nm_pack_params *p = params;
    const epl_sparse_layout l = epl_sparse_layout_of(&p->conv, VL);
    return (size_t)(l.block * l.positions) * (sizeof(int64_t) + sizeof(int32_t));
}

void EPL_K(nm_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_nm_pack_params *p = call->params;
    packer   k = { p, epl_sparse_layout_of(&p->conv, VL), call->in[0], scratch, NULL };
    int32_t *out = call->out[0];
    const int64_t groups = epl_ceil_div(p->conv.m, GROUP), last = epl_min(end * PIECE_GROUPS, groups);
    k.place = (int32_t *)(void *)(k.from + k.l.block * k.l.positions);
    if (begin == 0) {
        out[0] = (int32_t)epl_nm_packed_size(p, VL);
        out[1] = 1;
    }
    out += EPL_SPARSE_START;
    for (int64_t u0 = 0; u0 < k.l.units; u0 += k.l.block) {
        const int64_t u1 = epl_min(u0 + k.l.block, k.l.units), n = epl_nm_list(p, &k.l, u0, u1), size = HEAD + ENTRY * n;
        const int64_t entries = find_entries(&k, u0, u1);
        for (int64_t g = begin * PIECE_GROUPS; g < last; g++)
            pack_group(&k, g, entries, n, out + g * size);
        out += groups * size;
    }
}
