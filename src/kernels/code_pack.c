/* code_pack: what a map's kernels know of it beforehand (code.h): the thresholds between its codes, and where to begin to count. */
#include <string.h>

#include "kernels/bandwidth.h"
#include "kernels/code.h"

EPL_KERNEL(code_pack);

#define NEVER __builtin_inff()

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

static float number_of(uint32_t rising) { return from_bits(rising >> 31 ? rising & 0x7fffffffu : ~rising); }

static void fill_thresholds(const float *map, int64_t keep, epl_code_table *t)
{
    const float least = from_bits(1);
    for (int k = 0; k < 255; k++) {
        float x = threshold_between(map[k], map[k + 1]);
        if (keep && map[k] <= 0.0f && x > 0.0f && map[255] > 0.0f)
            x = 0.0f; // what is above 0 goes on to the first value that is
        if (keep && map[k + 1] >= 0.0f && x < -least && map[0] < 0.0f)
            x = -least;
        t->limit[k]     = x == 0.0f ? 0.0f : x; // -0 would lie below 0
        t->threshold[k] = rising_of(t->limit[k]);
    }
    t->limit[255]     = NEVER;
    t->threshold[255] = UINT32_MAX;
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

/* ---- lines ---- */

static int32_t zero_of(const float *map)
{
    int32_t k = 0;
    while (k < 255 && map[k] < 0.0f)
        k++;
    return k;
}

/* Piece i of a map whose values lie evenly, `step` apart. The start keeps a number's rounding from changing the integer below it. */
static void fill_line(epl_code_table *t, int i, float step)
{
    t->bend[i]  = NEVER;
    t->slope[i] = 1.0f / step;
    t->start[i] = 0.125f;
}

/* Of the dynamic map: decade d, from 10^(d-7) to 10^(d-6), is cut into cells, in whose middles the values lie. */
static void fill_decade(epl_code_table *t, int i)
{
    static const double end[7] = { 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1 };
    const double bottom = (double)from_bits((uint32_t)(96 + i) << 23);
    const int    least = t->zero ? 1 : 2; // cells of decade 0: without signs the codes are twice as many
    int d = 0;
    while (d < 6 && end[d] <= bottom)
        d++;
    const double cells = least << d;
    t->bend[i]  = d < 6 && end[d] < 2 * bottom ? (float)end[d] : NEVER;
    t->slope[i] = (float)(cells / (0.9 * end[d]));
    t->start[i] = (float)(0.5 + cells - least - cells / 9);
}

/* What the vectors compute from y, with the line moved a little. */
static int guessed_of(const epl_code_table *t, float y, float moved)
{
    const float size = y < 0.0f ? -y : y;
    int piece = 0;
    while (piece < 31 && from_bits((uint32_t)(97 + piece) << 23) <= size)
        piece++;
    piece += size >= t->bend[piece];
    const float n = size * t->slope[piece] + (t->start[piece] + moved);
    if (!(n >= 0.0f && n < 512.0f))
        return -2;
    const int k = rising_of(y) >> 31 ? t->zero + (int)n : t->zero - (int)n - 1;
    return k > 0 ? k : 0;
}

/* Between thresholds the guess rises with y: if it is right where a code begins and where it ends, it is right between them. */
static int is_guessed(const epl_code_table *t, float y, int code)
{
    for (int side = -1; side <= 1; side += 2) {
        const int k = guessed_of(t, y, (float)side / 16.0f);
        if (k != code && k != code - 1)
            return 0;
    }
    return 1;
}

static int code_of(const epl_code_table *t, float y)
{
    int k = 0;
    while (k < 255 && y > t->limit[k])
        k++;
    return k;
}

static int32_t lines_hold(const epl_code_table *t)
{
    for (int k = 0; k < 256; k++) {
        const float begin = k && t->limit[k - 1] >= -1.0f ? number_of(t->threshold[k - 1] + 1) : -1.0f;
        const float end = t->limit[k] < 1.0f ? t->limit[k] : 1.0f;
        if (begin <= end && !(is_guessed(t, begin, k) && is_guessed(t, end, k)))
            return 0;
    }
    for (int i = 0; i < 32; i++)
        for (int side = -1; side <= 1 && t->bend[i] < 1.0f; side += 2) {
            const float at = (float)side * t->bend[i], inside = number_of(rising_of(at) - (uint32_t)side);
            if (!is_guessed(t, at, code_of(t, at)) || !is_guessed(t, inside, code_of(t, inside)))
                return 0;
        }
    return 1;
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
    fill_thresholds(call->in[0], p->keep_nonzero, t);
    fill_first(t);
    t->zero = zero_of(call->in[0]);
    for (int linear = 0; linear < 2 && t->zero < 255 && !t->lined; linear++) {
        for (int i = 0; i < 32; i++)
            linear ? fill_line(t, i, ((const float *)call->in[0])[t->zero + 1]) : fill_decade(t, i);
        t->lined = lines_hold(t);
    }
}
