/* code: numbers to 8-bit codes in blocks and back, and the element-wise chain between the two: the states of an optimizer are
 * decoded, updated and coded again block by block, while they are in the first cache, so that memory sees one byte of each. */
#include <string.h>

#include "kernels/bandwidth.h"
#include "kernels/chain.h"
#include "kernels/code.h"
#include "kernels/code_lines.h"
#include "kernels/lookup.h"

EPL_KERNEL(quantize);
EPL_KERNEL(dequantize);
EPL_KERNEL(coded_chain);

enum { PIECE = 16384, PART = 512 };

/* ---- one block ---- */

/* What the next blocks will read of tensors is asked for while the machine is busy with the codes of these: evenly, a line for so
 * many elements, as memory takes no more at once. */
typedef struct read_ahead {
    const float   *from[EPL_CHAIN_MAX_IN];
    const uint8_t *codes[EPL_CHAIN_MAX_IN];
    int     n, n_codes;
    int64_t line, per_line, done; /* the elements that have been coded or decoded */
} read_ahead;

enum { LINE = 16 }; /* numbers; of codes there are four times as many */

static inline void ask(read_ahead *a, int64_t n)
{
    a->done += n;
    for (; a->line * a->per_line < a->done && a->n_codes; a->line++) {
        for (int k = 0; k < a->n; k++)
            __builtin_prefetch(a->from[k] + a->line * LINE, 0, 2);
        for (int k = 0; k < a->n_codes && a->line % 4 == 0; k++)
            __builtin_prefetch(a->codes[k] + a->line * LINE, 0, 2);
    }
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
    return vmaximum(all);
}

/* What a block's numbers are multiplied with: as ops/code.c computes it. */
static float inverse_of(float most) { return most > 0.0f ? 1.0f / (most > 1.17549435e-38f ? most : 1.17549435e-38f) : 0.0f; }

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

static void encode_by_table(const epl_code_table *t, const float *x, int64_t n, float inverse, read_ahead *ahead, uint8_t *codes)
{
    uint32_t y[PART + VL] __attribute__((aligned(64)));
    for (int64_t from = 0; from < n; from += PART) {
        const int64_t some = n - from < PART ? n - from : PART;
        ask(ahead, some);
        for (int64_t i = 0; i < some; i += VL)
            vistore((int32_t *)y + i, rising(vbits(load_some(x + from + i, n - from - i) * inverse + 0.0f))); // 0 for -0
        (t->single ? encode_single : encode_part)(t, y, some, codes + from);
    }
}

#if EPL_VEC_LINES
/* The codes of those that `near` names. */
static __attribute__((noinline)) void look_at(const epl_code_table *t, const float *x, float inverse, uint64_t near, uint8_t *codes)
{
    for (; near; near &= near - 1) {
        const int   i = __builtin_ctzll(near);
        const float y = x[i] * inverse;
        int k = codes[i];
        while (k > 0 && !(y > t->limit[k - 1]))
            k--;
        while (y > t->limit[k])
            k++;
        codes[i] = (uint8_t)k;
    }
}

static void encode_by_lines(const epl_code_table *t, const float *x, int64_t n, float inverse, read_ahead *ahead, uint8_t *codes)
{
    const code_lines lines = lines_of(t, inverse);
    const int64_t    even = n / (SIDE * VL) * (SIDE * VL);
    for (int64_t i = 0; i < even; i += SIDE * VL) {
        ask(ahead, SIDE * VL);
        const uint64_t near = guess(&lines, x + i, codes + i);
        if (__builtin_expect(near != 0, 0))
            look_at(t, x + i, inverse, near, codes + i);
    }
    if (even < n) {
        float   rest[SIDE * VL] = { 0 };
        uint8_t rest_codes[SIDE * VL];
        memcpy(rest, x + even, (size_t)(n - even) * sizeof *x);
        look_at(t, rest, inverse, guess(&lines, rest, rest_codes), rest_codes);
        memcpy(codes + even, rest_codes, (size_t)(n - even));
    }
}
#else
#define encode_by_lines encode_by_table
#endif

static void encode(const epl_code_table *t, const float *x, int64_t n, float inverse, read_ahead *ahead, uint8_t *codes)
{
    (EPL_LINED(t) ? encode_by_lines : encode_by_table)(t, x, n, inverse, ahead, codes);
}

/* What is not finite counts as 0. */
static void encode_finite(const epl_code_table *t, const float *x, int64_t n, float inverse, uint8_t *codes)
{
    float y[PART];
    read_ahead none = { .n = 0 };
    for (int64_t from = 0; from < n; from += PART) {
        const int64_t some = n - from < PART ? n - from : PART;
        for (int64_t i = 0; i < some; i++)
            y[i] = x[from + i] - x[from + i] == 0.0f ? x[from + i] : 0.0f;
        encode(t, y, some, inverse, &none, codes + from);
    }
}

static void encode_block(const epl_code_table *t, const float *x, int64_t n, read_ahead *ahead, uint8_t *codes, float *maximum)
{
    float most = greatest_magnitude(x, n);
    const int finite = most <= 3.402823466e38f;
    if (!finite)
        most = greatest_finite(x, n);
    *maximum = most;
    if (finite)
        encode(t, x, n, inverse_of(most), ahead, codes);
    else
        encode_finite(t, x, n, inverse_of(most), codes);
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

static int64_t decode_pairs(const float *map, float most, const uint8_t *codes, int64_t n, read_ahead *ahead, float *to)
{
    const vtable table = vtable_of(map);
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        ask(ahead, 2 * VL);
        decode_pair(&table, vset(most), codes + i, to + i);
    }
    return i;
}

static __attribute__((target("avx512vbmi"))) int64_t decode_fours(const float *map, float most, const uint8_t *codes,
                                                                  int64_t n, read_ahead *ahead, float *to)
{
    const vbytes table = vbytes_of(map);
    vf x[4];
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        ask(ahead, 4 * VL);
        vlookup_bytes(&table, codes + i, x);
        VEC_UNROLL for (int k = 0; k < 4; k++)
            vstore(to + i + k * VL, x[k] * most);
    }
    return i;
}

static void decode(const float *map, float most, const uint8_t *codes, int64_t n, read_ahead *ahead, float *to)
{
    int64_t i = (__builtin_cpu_supports("avx512vbmi") ? decode_fours : decode_pairs)(map, most, codes, n, ahead, to);
    for (; i < n; i++)
        to[i] = map[codes[i]] * most;
}
#else
/* Eight codes are read at once: what is left is a look-up and a store for each. */
static void decode(const float *map, float most, const uint8_t *codes, int64_t n, read_ahead *ahead, float *to)
{
    float   scaled[256];
    int64_t i = 0;
    for (int k = 0; k < 256; k++)
        scaled[k] = map[k] * most;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        ask(ahead, 8);
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
    read_ahead none = { .n = 0 };
    (void)scratch;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++)
        encode_block(call->in[1], (const float *)call->in[0] + b * p->block, length_of(p, b), &none, (uint8_t *)call->out[0] + b * p->block,
                     (float *)call->out[1] + b);
}

void EPL_K(dequantize)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    read_ahead none = { .n = 0 };
    (void)scratch;
    for (int64_t b = block_at(p, begin); b < block_at(p, end); b++)
        decode(call->in[2], ((const float *)call->in[1])[b], (const uint8_t *)call->in[0] + b * p->block, length_of(p, b), &none,
               (float *)call->out[0] + b * p->block);
}

/* ---- with a chain between them ---- */

enum {
    CHAIN_ELEMS = 4096
}; /* that a chain runs over at once: planning it costs little then, and what it touches stays in the nearest caches */

static int64_t at_once(const epl_code_params *p) { return p->block < CHAIN_ELEMS ? CHAIN_ELEMS / p->block : 1; }
static int64_t slot_elems(const epl_code_params *p) { return at_once(p) * p->block + 16; } // not all at one place modulo 4096

int64_t EPL_K(coded_chain_pieces)(const void *params) { return n_pieces(params); }

static int64_t n_slots(const epl_code_params *p) { return p->n_decoded > p->n_coded ? p->n_decoded : p->n_coded; }

size_t EPL_K(coded_chain_scratch)(const void *params)
{
    const epl_code_params *p = params;
    return (size_t)(n_slots(p) * slot_elems(p)) * sizeof(float);
}

/* The chain's inputs from `start` on. */
static read_ahead ahead_of(const epl_call *call, int64_t start)
{
    const epl_code_params *p = call->params;
    read_ahead a = { .per_line = LINE * (p->n_decoded + p->n_coded) };
    for (int64_t i = 0; i < p->n_decoded && start < p->count; i++)
        a.codes[a.n_codes++] = (const uint8_t *)call->in[3 * i] + start;
    for (int64_t i = p->n_decoded; i < p->n_chain_in && start < p->count; i++)
        if (!(p->scalars >> i & 1))
            a.from[a.n++] = (const float *)call->chain_in[i - 1] + start;
    return a;
}

/* The call of the chain for some blocks: the decoded states are what it reads first, what it writes first is coded.
 * Everything else is an f32 tensor of which they are a part, or a scalar. */
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

static void decode_blocks(const epl_call *call, int64_t b, int64_t end, read_ahead *ahead, float *slots)
{
    const epl_code_params *p = call->params;
    for (int64_t i = 0; i < p->n_decoded; i++)
        for (int64_t k = b; k < end; k++)
            decode(call->in[3 * i + 2], ((const float *)call->in[3 * i + 1])[k], (const uint8_t *)call->in[3 * i] + k * p->block,
                   length_of(p, k), ahead, slots + i * slot_elems(p) + (k - b) * p->block);
}

static void encode_blocks(const epl_call *call, int64_t b, int64_t end, read_ahead *ahead, const float *slots)
{
    const epl_code_params *p = call->params;
    for (int64_t o = 0; o < p->n_coded; o++)
        for (int64_t k = b; k < end; k++)
            encode_block(call->in[3 * p->n_decoded + o], slots + o * slot_elems(p) + (k - b) * p->block, length_of(p, k), ahead,
                         (uint8_t *)call->out[2 * o] + k * p->block, (float *)call->out[2 * o + 1] + k);
}

void EPL_K(coded_chain)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_code_params *p = call->params;
    float *const  slots = scratch;
    const int64_t last = block_at(p, end);
    for (int64_t b = block_at(p, begin); b < last; b += at_once(p)) {
        const int64_t next = b + at_once(p) < last ? b + at_once(p) : last;
        read_ahead ahead = ahead_of(call, next * p->block);
        decode_blocks(call, b, next, &ahead, slots);
        run_chain(call, b * p->block, (next - 1 - b) * p->block + length_of(p, next - 1), slots);
        encode_blocks(call, b, next, &ahead, slots);
    }
}
