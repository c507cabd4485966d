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

/* An unsigned integer in the order of the numbers. */
static uint32_t rising_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static vi rising(vi bits) { return bits ^ ((bits >> 31) | vseti(INT32_MIN)); }

static void fill_thresholds(const float *map, int64_t keep, uint32_t *to)
{
    const float least = from_bits(1);
    for (int k = 0; k < 255; k++) {
        float x = threshold_between(map[k], map[k + 1]);
        if (keep && map[k] <= 0.0f && x > 0.0f && map[255] > 0.0f)
            x = 0.0f; // what is above 0 goes on to the first value that is
        if (keep && map[k + 1] >= 0.0f && x < -least && map[0] < 0.0f)
            x = -least;
        to[k] = rising_of(x == 0.0f ? 0.0f : x); // -0 would lie below 0
    }
    to[255] = UINT32_MAX;
}

/* Of every upper half of a number's bits: the code of the least number in that interval. */
static void fill_first(epl_code_table *t)
{
    uint32_t k = 0;
    t->single = 1;
    for (uint32_t i = 0; i < 65536; i++) {
        while (i << 16 > t->threshold[k])
            k++;
        t->first[i] = (uint8_t)k;
        if (k < 255 && (i << 16 | 0xffffu) > t->threshold[k + 1])
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

static vf load_some(const float *x, int64_t n) { return n >= VL ? vload(x) : vload_part(x, n); }

static vi is_finite(vf x) { return (vbits(x) & vseti(0x7fffffff)) < vseti(0x7f800000); }

/* As integers: magnitudes compare as their bits do. */
static float greatest_magnitude(const float *x, int64_t n)
{
    vi most = vseti(0);
    for (int64_t i = 0; i < n; i += VL) {
        const vf v    = load_some(x + i, n - i);
        const vi bits = vbits(v) & vseti(0x7fffffff) & is_finite(v), more = bits > most;
        most = (bits & more) | (most & ~more);
    }
    return vmaximum(vfrombits(most));
}

static void encode_part(const epl_code_table *t, const uint32_t *y, int64_t n, uint8_t *codes)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t k = t->first[y[i] >> 16];
        while (t->threshold[k] < y[i])
            k++;
        codes[i] = (uint8_t)k;
    }
}

/* The same where one comparison is all: no branch, and so no wrong guess. */
static void encode_single(const epl_code_table *t, const uint32_t *y, int64_t n, uint8_t *codes)
{
#if defined(__clang__)
#pragma clang loop unroll_count(4)
#else
#pragma GCC unroll 4
#endif
    for (int64_t i = 0; i < n; i++) {
        const uint32_t k = t->first[y[i] >> 16];
        codes[i] = (uint8_t)(k + (t->threshold[k] < y[i]));
    }
}

static void encode_block(const epl_code_table *t, const float *x, int64_t n, uint8_t *codes, float *maximum)
{
    uint32_t y[PART + VL] __attribute__((aligned(64)));
    const float most = greatest_magnitude(x, n);
    const vf    divisor = vset(most > 0.0f ? most : 1.0f);
    *maximum = most;
    for (int64_t from = 0; from < n; from += PART) {
        const int64_t some = n - from < PART ? n - from : PART;
        for (int64_t i = 0; i < some; i += VL) {
            const vf v = load_some(x + from + i, n - from - i);
            vistore((int32_t *)y + i, rising(vbits(v / divisor + vset(0.0f)) & is_finite(v)));
        }
        (t->single ? encode_single : encode_part)(t, y, some, codes + from);
    }
}

/* Eight codes are read at once: what is left is a look-up and a store for each. */
static void decode(const float *scaled, const uint8_t *codes, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, codes + i, 8);
        for (int k = 0; k < 8; k++)
            to[i + k] = scaled[eight >> 8 * k & 255];
    }
    for (; i < n; i++)
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

enum { CHAIN_ELEMS = 2048 }; /* that a chain runs over at once, or a block: what it touches stays in the nearest caches */

static int64_t at_once(const epl_code_params *p) { return p->block < CHAIN_ELEMS ? CHAIN_ELEMS / p->block : 1; }
static int64_t slot_elems(const epl_code_params *p) { return at_once(p) * p->block + 16; } // not all at one place modulo 4096

int64_t EPL_K(coded_chain_pieces)(const void *params) { return n_pieces(params); }

static int64_t n_slots(const epl_code_params *p) { return p->n_decoded > p->n_coded ? p->n_decoded : p->n_coded; }

size_t EPL_K(coded_chain_scratch)(const void *params)
{
    const epl_code_params *p = params;
    return (256 + (size_t)(n_slots(p) * slot_elems(p))) * sizeof(float);
}

/* The chain's inputs are read a part ahead while codes are made, which leaves the memory idle. */
static void read_ahead(const epl_call *call, int64_t at, int64_t n)
{
    const epl_code_params *p = call->params;
    for (int64_t i = p->n_decoded; i < p->n_chain_in; i++)
        for (int64_t k = at; k < at + n && k < p->count && !(p->scalars >> i & 1); k += 16)
            __builtin_prefetch((const float *)call->chain_in[i - 1] + k);
}

/* The call of the chain for some blocks: the decoded states are what it reads first, what it writes first is coded. Everything else
 * is an f32 tensor of which they are a part, or a scalar. */
static void run_chain(const epl_call *call, int64_t start, int64_t n, float *slots)
{
    const epl_code_params *p = call->params;
    const void *in[EPL_CHAIN_MAX_IN];
    epl_call    part = { .chain = call->chain, .chain_in = in };
    for (int64_t i = 1; i < p->n_chain_in; i++)
        in[i - 1] = i < p->n_decoded ? (const void *)(slots + i * slot_elems(p))
                                     : (const float *)call->chain_in[i - 1] + (p->scalars >> i & 1 ? 0 : start);
    for (int64_t o = 0; o < p->n_coded; o++)
        part.out[o] = slots + o * slot_elems(p);
    for (int64_t o = p->n_coded; o < p->n_chain_out; o++)
        part.out[o] = (float *)call->out[p->n_coded + o] + start;
    epl_chain_epilogue(&part, 0, 1, 0, n);
}

static void decode_blocks(const epl_call *call, int64_t b, int64_t end, float *scaled, float *slots)
{
    const epl_code_params *p = call->params;
    for (int64_t i = 0; i < p->n_decoded; i++)
        for (int64_t k = b; k < end; k++) {
            code_scale_map(call->in[3 * i + 2], ((const float *)call->in[3 * i + 1])[k], scaled);
            decode(scaled, (const uint8_t *)call->in[3 * i] + k * p->block, length_of(p, k), slots + i * slot_elems(p) + (k - b) * p->block);
        }
}

static void encode_blocks(const epl_call *call, int64_t b, int64_t end, const float *slots)
{
    const epl_code_params *p = call->params;
    for (int64_t o = 0; o < p->n_coded; o++)
        for (int64_t k = b; k < end; k++) {
            if (o == 0)
                read_ahead(call, (k + end - b) * p->block, p->block);
            encode_block(call->in[3 * p->n_decoded + o], slots + o * slot_elems(p) + (k - b) * p->block, length_of(p, k),
                         (uint8_t *)call->out[2 * o] + k * p->block, (float *)call->out[2 * o + 1] + k);
        }
}

void EPL_K(coded_chain)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    float *const  scaled = scratch, *const slots = scaled + 256;
    const int64_t last = block_at(p, end);
    for (int64_t b = block_at(p, begin); b < last; b += at_once(p)) {
        const int64_t next = b + at_once(p) < last ? b + at_once(p) : last;
        decode_blocks(call, b, next, scaled, slots);
        run_chain(call, b * p->block, (next - 1 - b) * p->block + length_of(p, next - 1), slots);
        encode_blocks(call, b, next, slots);
    }
}
