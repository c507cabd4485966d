/* code: numbers to 8-bit codes in blocks and back, and the element-wise chain between the two: the states of an optimizer are
 * decoded, updated and coded again block by block, while they are in the first cache, so that memory sees one byte of each. */
#include <string.h>

#include "kernels/bandwidth.h"
#include "kernels/chain.h"
#include "kernels/code.h"
#include "kernels/vec.h"

EPL_KERNEL(code_pack);
EPL_KERNEL(quantize);
EPL_KERNEL(dequantize);
EPL_KERNEL(coded_chain);

enum { PIECE = 16384, PART = 512 };

/* ---- tables ---- */

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* The greatest f32 that is not above the midpoint of two neighbours: y is above the one just when it is above the other. */
static float threshold_between(float a, float b)
{
    const double middle = ((double)a + (double)b) / 2;
    const float  near   = (float)middle;
    if ((double)near <= middle)
        return near;
    uint32_t bits;
    memcpy(&bits, &near, 4);
    return near > 0.0f ? from_bits(bits - 1) : from_bits(near == 0.0f ? 0x80000001u : bits + 1);
}

static void fill_thresholds(const float *map, int64_t keep, float *to)
{
    const float least = from_bits(1);
    for (int k = 0; k < 255; k++) {
        to[k] = threshold_between(map[k], map[k + 1]);
        if (keep && map[k] <= 0.0f && to[k] > 0.0f && map[255] > 0.0f)
            to[k] = 0.0f; // what is above 0 goes on to the first value that is
        if (keep && map[k + 1] >= 0.0f && to[k] < -least && map[0] < 0.0f)
            to[k] = -least;
    }
    to[255] = from_bits(0x7f800000u);
}

static int code_after(const float *threshold, float y)
{
    int k = 0;
    while (y > threshold[k])
        k++;
    return k;
}

/* Of every upper half of a number's bits: the code of the least number in that interval. */
static void fill_first(epl_code_table *t)
{
    t->single = 1;
    for (uint32_t i = 0; i < 65536; i++) {
        const float a = from_bits(i << 16), b = from_bits(i << 16 | 0xffffu), low = a < b ? a : b, high = a < b ? b : a;
        const int   k = low == low && high == high ? code_after(t->threshold, low) : 0;
        t->first[i] = (uint8_t)k;
        if (low >= -1.0f && high <= 1.0f && k < 255 && high > t->threshold[k + 1])
            t->single = 0;
    }
}

int64_t EPL_K(code_pack_pieces)(const void *params)
{
    (void)params;
    return 1;
}

size_t EPL_K(code_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(code_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    (void)begin, (void)end, (void)scratch;
    epl_code_table *t = call->out[0];
    memset(t, 0, sizeof *t);
    fill_thresholds(call->in[0], p->keep_nonzero, t->threshold);
    fill_first(t);
}

/* ---- one block ---- */

static vf finite(vf x) { return vsel(vabs(x) <= vset(3.402823466e38f), x, vset(0.0f)); }

static vf load_some(const float *x, int64_t n) { return n >= VL ? vload(x) : vload_part(x, n); }

static float greatest_magnitude(const float *x, int64_t n)
{
    vf a = vset(0.0f), b = a;
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        a = vmax(a, vabs(finite(vload(x + i))));
        b = vmax(b, vabs(finite(vload(x + i + VL))));
    }
    for (; i < n; i += VL)
        a = vmax(a, vabs(finite(load_some(x + i, n - i))));
    return vmaximum(vmax(a, b));
}

static void encode_part(const epl_code_table *t, const float *y, int64_t n, uint8_t *codes)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &y[i], 4);
        uint32_t k = t->first[bits >> 16];
        if (t->single)
            k += y[i] > t->threshold[k];
        else
            while (y[i] > t->threshold[k])
                k++;
        codes[i] = (uint8_t)k;
    }
}

static void encode_block(const epl_code_table *t, const float *x, int64_t n, uint8_t *codes, float *maximum)
{
    float y[PART + VL] __attribute__((aligned(64)));
    const float most = greatest_magnitude(x, n);
    const vf    divisor = vset(most > 0.0f ? most : 1.0f);
    *maximum = most;
    for (int64_t from = 0; from < n; from += PART) {
        const int64_t some = n - from < PART ? n - from : PART;
        for (int64_t i = 0; i < some; i += VL)
            vstore(y + i, finite(load_some(x + from + i, n - from - i)) / divisor);
        encode_part(t, y, some, codes + from);
    }
}

static void decode(const float *scaled, const uint8_t *codes, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = scaled[codes[i]];
}

/* ---- the two alone ---- */

static int64_t n_blocks(const epl_code_params *p) { return (p->count + p->block - 1) / p->block; }
static int64_t blocks_per_piece(const epl_code_params *p) { return p->block < PIECE ? PIECE / p->block : 1; }
static int64_t n_pieces(const epl_code_params *p) { return (n_blocks(p) + blocks_per_piece(p) - 1) / blocks_per_piece(p); }

static int64_t length_of(const epl_code_params *p, int64_t block)
{
    return (block + 1) * p->block < p->count ? p->block : p->count - block * p->block;
}

/* The first block that does not belong to the pieces before `piece`. */
static int64_t block_at(const epl_code_params *p, int64_t piece)
{
    const int64_t block = piece * blocks_per_piece(p);
    return block < n_blocks(p) ? block : n_blocks(p);
}

int64_t EPL_K(quantize_pieces)(const void *params) { return n_pieces(params); }
int64_t EPL_K(dequantize_pieces)(const void *params) { return n_pieces(params); }

size_t EPL_K(quantize_scratch)(const void *params)
{
    (void)params;
    return 0;
}

size_t EPL_K(dequantize_scratch)(const void *params)
{
    (void)params;
    return 256 * sizeof(float);
}

void EPL_K(quantize)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    (void)scratch;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++)
        encode_block(call->in[1], (const float *)call->in[0] + b * p->block, length_of(p, b), (uint8_t *)call->out[0] + b * p->block,
                     (float *)call->out[1] + b);
}

void EPL_K(dequantize)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++) {
        code_scale_map(call->in[2], ((const float *)call->in[1])[b], scratch);
        decode(scratch, (const uint8_t *)call->in[0] + b * p->block, length_of(p, b), (float *)call->out[0] + b * p->block);
    }
}

/* ---- with a chain between them ---- */

int64_t EPL_K(coded_chain_pieces)(const void *params) { return n_pieces(params); }

static int64_t n_slots(const epl_code_params *p) { return p->n_decoded > p->n_coded ? p->n_decoded : p->n_coded; }

size_t EPL_K(coded_chain_scratch)(const void *params)
{
    const epl_code_params *p = params;
    return (256 + (size_t)(n_slots(p) * p->block)) * sizeof(float);
}

/* The call of the chain for one block: the decoded states are what it reads first, what it writes first is coded. Everything else
 * is an f32 tensor that begins with the block, or a scalar. */
static void run_chain(const epl_call *call, int64_t start, int64_t n, float *slots)
{
    const epl_code_params *p = call->params;
    const void *in[EPL_CHAIN_MAX_IN];
    epl_call    part = { .chain = call->chain, .chain_in = in };
    for (int64_t i = 1; i < p->n_chain_in; i++)
        in[i - 1] = i < p->n_decoded ? (const void *)(slots + i * p->block)
                                     : (const float *)call->chain_in[i - 1] + (p->scalars >> i & 1 ? 0 : start);
    for (int64_t o = 0; o < p->n_coded; o++)
        part.out[o] = slots + o * p->block;
    for (int64_t o = p->n_coded; o < p->n_chain_out; o++)
        part.out[o] = (float *)call->out[p->n_coded + o] + start;
    epl_chain_epilogue(&part, 0, 1, 0, n);
}

void EPL_K(coded_chain)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    float *const scaled = scratch, *const slots = scaled + 256;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++) {
        const int64_t start = b * p->block, n = length_of(p, b);
        for (int64_t i = 0; i < p->n_decoded; i++) {
            code_scale_map(call->in[3 * i + 2], ((const float *)call->in[3 * i + 1])[b], scaled);
            decode(scaled, (const uint8_t *)call->in[3 * i] + start, n, slots + i * p->block);
        }
        run_chain(call, start, n, slots);
        for (int64_t o = 0; o < p->n_coded; o++)
            encode_block(call->in[3 * p->n_decoded + o], slots + o * p->block, n, (uint8_t *)call->out[2 * o] + start,
                         (float *)call->out[2 * o + 1] + b);
    }
}
