/* random: uniform and Bernoulli draws, the same that the operators' reference makes (ops/random.c): Philox 4x32-10 (Salmon et al.
 * 2011) of { index / 4, stream, step } under the seed. Blocks are computed side by side in loops that compilers vectorise. */
#include <string.h>

#include "kernels/bandwidth.h"

EPL_KERNEL(random);

enum {
    LANES = 16,          /* blocks at once, each of four draws */
    PIECE_DRAWS = 16384
};

/* Draws 4 * block .. 4 * (block + LANES) - 1, with the j-th of a block in out[j]. */
static void draw_blocks(const int64_t *key, int64_t stream, int64_t block, uint32_t out[4][LANES])
{
    const uint64_t seed = (uint64_t)key[0], step = (uint64_t)key[1];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int i = 0; i < LANES; i++) {
        out[0][i] = (uint32_t)(block + i);
        out[1][i] = (uint32_t)stream;
        out[2][i] = (uint32_t)step;
        out[3][i] = (uint32_t)(step >> 32);
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (int i = 0; i < LANES; i++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * out[0][i], p1 = (uint64_t)0xCD9E8D57u * out[2][i];
            out[0][i] = (uint32_t)(p1 >> 32) ^ out[1][i] ^ k0;
            out[2][i] = (uint32_t)(p0 >> 32) ^ out[3][i] ^ k1;
            out[1][i] = (uint32_t)p1;
            out[3][i] = (uint32_t)p0;
        }
}

static void put_uniform(const epl_random_params *p, const uint32_t draw[4][LANES], float *y)
{
    const double low = p->a, width = p->b - p->a;
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < 4; j++)
            y[4 * i + j] = (float)(low + width * ((double)(int32_t)(draw[j][i] >> 8) * 0x1p-24));
}

/* x < p for x = k / 2^24: k below the first integer that is not less than 2^24 p. */
static int32_t threshold(double p)
{
    const double scaled = p * 0x1p24;
    if (!(scaled > 0))
        return 0;
    if (scaled >= 0x1p24)
        return 1 << 24;
    const int32_t below = (int32_t)scaled;
    return below + ((double)below < scaled);
}

static void put_ones(int32_t limit, const uint32_t draw[4][LANES], float *y)
{
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < 4; j++)
            y[4 * i + j] = (int32_t)(draw[j][i] >> 8) < limit ? 1.0f : 0.0f;
}

static void put_bytes(int32_t limit, const uint32_t draw[4][LANES], unsigned char *y)
{
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < 4; j++)
            y[4 * i + j] = (int32_t)(draw[j][i] >> 8) < limit;
}

int64_t EPL_K(random_pieces)(const void *params)
{
    const epl_random_params *p = params;
    return epl_cut(p->count, PIECE_DRAWS);
}

size_t EPL_K(random_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(random)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_random_params *p = call->params;
    const int64_t until = end * PIECE_DRAWS < p->count ? end * PIECE_DRAWS : p->count;
    const int32_t limit = threshold(p->a);
    (void)scratch;
    for (int64_t at = begin * PIECE_DRAWS; at < until; at += 4 * LANES) {
        uint32_t draw[4][LANES];
        float    values[4 * LANES];
        const int64_t n = until - at < 4 * LANES ? until - at : 4 * LANES;
        draw_blocks(call->in[0], p->stream, at / 4, draw);
        if (p->kind == EPL_DRAW_UNIFORM)
            put_uniform(p, (const uint32_t(*)[LANES])draw, values);
        else if (p->bytes == 4)
            put_ones(limit, (const uint32_t(*)[LANES])draw, values);
        else
            put_bytes(limit, (const uint32_t(*)[LANES])draw, (unsigned char *)values);
        memcpy((char *)call->out[0] + at * p->bytes, values, (size_t)(n * p->bytes));
    }
}
