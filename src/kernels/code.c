/* code: numbers to 8-bit codes in blocks and back, and the element-wise chain between the two: the states of an optimizer are
 * decoded, updated and coded again block by block, while they are in the first cache, so that memory sees one byte of each. */
#include <string.h>

#include "kernels/bandwidth.h"
#include "kernels/chain.h"
#include "kernels/code.h"
#include "kernels/lookup.h"

EPL_KERNEL(quantize);
EPL_KERNEL(dequantize);
EPL_KERNEL(coded_chain);

enum { PIECE = 16384, PART = 512 };

/* ---- one block ---- */

/* Tensors whose elements are asked for while as many codes are made, which leaves the memory idle. */
typedef struct read_ahead {
    const float *from[EPL_CHAIN_MAX_IN];
    int n;
} read_ahead;

static inline void ask_for(const read_ahead *a, int64_t i, int64_t n)
{
    for (int k = 0; k < a->n; k++)
        for (int64_t j = 0; j < n; j += 16)
            __builtin_prefetch(a->from[k] + i + j);
}

static vf load_some(const float *x, int64_t n) { return n >= VL ? vload(x) : vload_part(x, n); }

static vi rising(vi bits) { return bits ^ ((bits >> 31) | vseti(INT32_MIN)); }

static vi is_finite(vf x) { return (vbits(x) & vseti(0x7fffffff)) < vseti(0x7f800000); }

static float greatest_finite(const float *x, int64_t n)
{
    vi most = vseti(0);
    for (int64_t i = 0; i < n; i += VL) {
        const vf v = load_some(x + i, n - i);
        most = vimax(most, vbits(v) & vseti(0x7fffffff) & is_finite(v));
    }
    return vmaximum(vfrombits(most));
}

/* As integers: magnitudes compare as their bits do, and what is not finite is more than all the others. */
static float greatest_magnitude(const float *x, int64_t n)
{
    const int64_t even = n / (4 * VL) * (4 * VL);
    vi most[4] = { vseti(0), vseti(0), vseti(0), vseti(0) };
    for (int64_t i = 0; i < even; i += 4 * VL)
        VEC_UNROLL for (int k = 0; k < 4; k++)
            most[k] = vimax(most[k], vbits(vload(x + i + k * VL)) & vseti(0x7fffffff));
    for (int64_t i = even; i < n; i += VL)
        most[0] = vimax(most[0], vbits(load_some(x + i, n - i)) & vseti(0x7fffffff));
    const vf all = vfrombits(vimax(vimax(most[0], most[1]), vimax(most[2], most[3])));
    return vmaximum(all) <= 3.402823466e38f ? vmaximum(all) : greatest_finite(x, n);
}

static vf quotient(vf x, vf divisor) { return vfrombits(vbits(x / divisor + vset(0.0f)) & is_finite(x)); } // 0 for -0

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

static void encode_by_table(const epl_code_table *t, const float *x, int64_t n, vf divisor, const read_ahead *ahead, uint8_t *codes)
{
    uint32_t y[PART + VL] __attribute__((aligned(64)));
    for (int64_t from = 0; from < n; from += PART) {
        const int64_t some = n - from < PART ? n - from : PART;
        ask_for(ahead, from, some);
        for (int64_t i = 0; i < some; i += VL)
            vistore((int32_t *)y + i, rising(vbits(quotient(load_some(x + from + i, n - from - i), divisor))));
        (t->single ? encode_single : encode_part)(t, y, some, codes + from);
    }
}

#if EPL_VEC_LOOKUP
typedef struct code_lines {
    vf bend[2], slope[2], start[2];
    vi zero;
} code_lines;

static inline code_lines lines_of(const epl_code_table *t)
{
    code_lines l = { .zero = vseti(t->zero) };
    for (int i = 0; i < 2; i++) {
        l.bend[i]  = vload(t->bend + i * VL);
        l.slope[i] = vload(t->slope + i * VL);
        l.start[i] = vload(t->start + i * VL);
    }
    return l;
}

enum { SIDE = 4 }; /* vectors side by side: each alone waits for itself longer than a machine looks ahead */

#define EACH VEC_UNROLL for (int i = 0; i < SIDE; i++)

/* The codes of the quotients or the ones before them (code.h). */
VEC_INLINE void guess(const code_lines *l, const float *x, vf divisor, float *quotients, int32_t *codes)
{
    vf y[SIDE], size[SIDE], n[SIDE];
    vi k[SIDE];
    EACH y[i] = quotient(vload(x + i * VL), divisor);
    EACH vstore(quotients + i * VL, y[i]);
    EACH size[i] = vabs(y[i]);
    EACH k[i] = vimax(vbits(size[i]), vseti(96 << 23)) >> 23;
    EACH n[i] = vlookup32(l->bend, k[i]);
    EACH k[i] -= size[i] >= n[i];
    EACH n[i] = size[i] * vlookup32(l->slope, k[i]) + vlookup32(l->start, k[i]);
    EACH k[i] = vtoint(n[i]);
    EACH k[i] = vimax((k[i] ^ (vbits(y[i]) >> 31)) + l->zero, vseti(0));
    EACH vistore(codes + i * VL, k[i]);
}

VEC_INLINE void correct(const vtable *limits, const float *y, const int32_t *guessed, uint8_t *codes)
{
    const vi k[2] = { viload(guessed), viload(guessed + VL) };
    vf limit[2];
    vlookup256(limits, k, limit);
    vistore_bytes(codes, k[0] - (vload(y) > limit[0]));
    vistore_bytes(codes + VL, k[1] - (vload(y + VL) > limit[1]));
}

static void encode_some(const vtable *limits, const code_lines *l, const float *x, int64_t n, vf divisor, const read_ahead *ahead,
                        int64_t from, uint8_t *codes)
{
    float   y[PART] __attribute__((aligned(64)));
    int32_t guessed[PART] __attribute__((aligned(64)));
    for (int64_t i = 0; i < n; i += SIDE * VL) {
        ask_for(ahead, from + i, SIDE * VL);
        guess(l, x + i, divisor, y + i, guessed + i);
    }
    for (int64_t i = 0; i < n; i += 2 * VL)
        correct(limits, y + i, guessed + i, codes + i);
}

static void encode_by_lines(const epl_code_table *t, const float *x, int64_t n, vf divisor, const read_ahead *ahead, uint8_t *codes)
{
    const vtable     limits = vtable_of(t->limit);
    const code_lines lines = lines_of(t);
    const int64_t    even = n / (SIDE * VL) * (SIDE * VL);
    for (int64_t i = 0; i < even; i += PART)
        encode_some(&limits, &lines, x + i, even - i < PART ? even - i : PART, divisor, ahead, i, codes + i);
    if (even < n) {
        const read_ahead none = { .n = 0 };
        float   rest[SIDE * VL] = { 0 };
        uint8_t rest_codes[SIDE * VL];
        memcpy(rest, x + even, (size_t)(n - even) * sizeof *x);
        encode_some(&limits, &lines, rest, SIDE * VL, divisor, &none, 0, rest_codes);
        memcpy(codes + even, rest_codes, (size_t)(n - even));
    }
}
#else
#define encode_by_lines encode_by_table
#endif

static void encode_block(const epl_code_table *t, const float *x, int64_t n, const read_ahead *ahead, uint8_t *codes, float *maximum)
{
    const float most = greatest_magnitude(x, n);
    *maximum = most;
    (t->lined ? encode_by_lines : encode_by_table)(t, x, n, vset(most > 0.0f ? most : 1.0f), ahead, codes);
}

#if EPL_VEC_LOOKUP
VEC_INLINE void decode_pair(const vtable *map, vf most, const uint8_t *codes, float *to)
{
    const vi k[2] = { viload_bytes(codes), viload_bytes(codes + VL) };
    vf x[2];
    vlookup256(map, k, x);
    vstore(to, x[0] * most);
    vstore(to + VL, x[1] * most);
}

static void decode(const float *map, float most, const uint8_t *codes, int64_t n, float *to)
{
    const vtable  table = vtable_of(map);
    const int64_t even = n / (2 * VL) * (2 * VL);
    for (int64_t i = 0; i < even; i += 2 * VL)
        decode_pair(&table, vset(most), codes + i, to + i);
    for (int64_t i = even; i < n; i++)
        to[i] = map[codes[i]] * most;
}
#else
/* Eight codes are read at once: what is left is a look-up and a store for each. */
static void decode(const float *map, float most, const uint8_t *codes, int64_t n, float *to)
{
    float   scaled[256];
    int64_t i = 0;
    for (int k = 0; k < 256; k++)
        scaled[k] = map[k] * most;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, codes + i, 8);
        for (int k = 0; k < 8; k++)
            to[i + k] = scaled[eight >> 8 * k & 255];
    }
    for (; i < n; i++)
        to[i] = scaled[codes[i]];
}
#endif

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
    return 0;
}

void EPL_K(quantize)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    const read_ahead none = { .n = 0 };
    (void)scratch;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++)
        encode_block(call->in[1], (const float *)call->in[0] + b * p->block, length_of(p, b), &none, (uint8_t *)call->out[0] + b * p->block,
                     (float *)call->out[1] + b);
}

void EPL_K(dequantize)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    (void)scratch;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++)
        decode(call->in[2], ((const float *)call->in[1])[b], (const uint8_t *)call->in[0] + b * p->block, length_of(p, b),
               (float *)call->out[0] + b * p->block);
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
    return (size_t)(n_slots(p) * slot_elems(p)) * sizeof(float);
}

/* The chain's inputs for the block at `start`, shared among the coded results. */
static read_ahead ahead_of(const epl_call *call, int64_t start, int64_t o)
{
    const epl_code_params *p = call->params;
    read_ahead a = { .n = 0 };
    for (int64_t i = p->n_decoded; i < p->n_chain_in && start + p->block <= p->count; i++)
        if (!(p->scalars >> i & 1) && i % p->n_coded == o)
            a.from[a.n++] = (const float *)call->chain_in[i - 1] + start;
    return a;
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

static void decode_blocks(const epl_call *call, int64_t b, int64_t end, float *slots)
{
    const epl_code_params *p = call->params;
    for (int64_t i = 0; i < p->n_decoded; i++)
        for (int64_t k = b; k < end; k++)
            decode(call->in[3 * i + 2], ((const float *)call->in[3 * i + 1])[k], (const uint8_t *)call->in[3 * i] + k * p->block,
                   length_of(p, k), slots + i * slot_elems(p) + (k - b) * p->block);
}

static void encode_blocks(const epl_call *call, int64_t b, int64_t end, const float *slots)
{
    const epl_code_params *p = call->params;
    for (int64_t o = 0; o < p->n_coded; o++)
        for (int64_t k = b; k < end; k++) {
            const read_ahead ahead = ahead_of(call, (k + end - b) * p->block, o);
            encode_block(call->in[3 * p->n_decoded + o], slots + o * slot_elems(p) + (k - b) * p->block, length_of(p, k),
                         &ahead, (uint8_t *)call->out[2 * o] + k * p->block, (float *)call->out[2 * o + 1] + k);
        }
}

void EPL_K(coded_chain)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    float *const  slots = scratch;
    const int64_t last = block_at(p, end);
    for (int64_t b = block_at(p, begin); b < last; b += at_once(p)) {
        const int64_t next = b + at_once(p) < last ? b + at_once(p) : last;
        decode_blocks(call, b, next, slots);
        run_chain(call, b * p->block, (next - 1 - b) * p->block + length_of(p, next - 1), slots);
        encode_blocks(call, b, next, slots);
    }
}
