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

enum { DECADES = 7, SEGMENTS = DECADES + 2 }; /* what is nearest to 0; decades from the least on; 1 */

/* Magnitudes above `from` up to the next segment's. */
typedef struct segment {
    float   from, slope, start;
    int32_t last;
} segment;

static int32_t zero_of(const float *map)
{
    int32_t k = 0;
    while (k < 255 && map[k] < 0.0f)
        k++;
    return k;
}

/* Of the dynamic map: decade d, from 10^(d-7) to 10^(d-6), is cut into cells, in whose middles the values lie. */
static segment decade_of(const epl_code_table *t, int d)
{
    static const double end[DECADES] = { 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1 };
    const int    least = t->zero ? 1 : 2; // cells of decade 0: without signs the codes are twice as many
    const int    cells = least << d, first = cells - least + 1;
    const double slope = cells / (0.9 * end[d]);
    return (segment){ .from = t->limit[t->zero + first - 1], .last = first + cells - 1, .slope = (float)(CODE_UNIT * slope),
                      .start = (float)(CODE_UNIT * (first - 0.1 * end[d] * slope)) };
}

/* With a threshold at 0 itself, only 0 is nearest to it; else the line passes 1 at the threshold, where the sides differ by a bit. */
static void fill_segments(const epl_code_table *t, segment s[SEGMENTS])
{
    const float most = t->limit[t->zero];
    s[0] = (segment){ .from = -1, .slope = most > 0.0f ? CODE_UNIT / (2 * most) : 0, .start = CODE_UNIT / 2 };
    for (int d = 0; d < DECADES; d++)
        s[1 + d] = decade_of(t, d);
    const int32_t last = s[DECADES].last + 1;
    s[SEGMENTS - 1] = (segment){ .from = t->limit[t->zero + last - 1], .start = ((float)last + 0.5f) * CODE_UNIT, .last = last };
}

static void fill_pieces(epl_code_table *t, const float *map)
{
    segment s[SEGMENTS];
    fill_segments(t, s);
    t->least = t->limit[t->zero] > 0.0f ? t->limit[t->zero] / 2 : map[t->zero + 1];
    for (int i = 0; i < CODE_PIECES; i++) {
        const float bottom = from_bits((uint32_t)(96 + i) << 23);
        int k = bottom > t->least ? SEGMENTS - 1 : 0;
        while (s[k].from >= bottom)
            k--;
        t->bend[i]  = k + 1 < SEGMENTS && s[k + 1].from < 2 * bottom ? s[k + 1].from : NEVER;
        t->slope[i] = s[k].slope;
        t->start[i] = s[k].start + CODE_NEAR;
        t->last[i]  = (s[k].last + 1) * CODE_UNIT - 1;
    }
}

static int piece_of(const epl_code_table *t, float size)
{
    int i = 0;
    const float clipped = size > t->least ? size : t->least;
    while (i < CODE_PIECES - 1 && from_bits((uint32_t)(97 + i) << 23) <= clipped)
        i++;
    return i + (size > t->bend[i]);
}

static int is_near(double n, double near)
{
    const double off = n - CODE_UNIT * (double)(int64_t)(n / CODE_UNIT + 0.5);
    return off > -near && off < near;
}

/* Whether what the vectors compute from y is its code, or near enough to it to be looked at. They may round otherwise: half of what
 * is near is enough. */
static int is_guessed(const epl_code_table *t, float y, int code)
{
    const float size = y < 0.0f ? -y : y, clipped = size > t->least ? size : t->least;
    const int   i = piece_of(t, size);
    const int   rank = y < 0.0f ? t->zero - code : code - t->zero;
    if (i >= CODE_PIECES || rank < 0)
        return 0;
    const double n = (double)t->slope[i] * (double)clipped + (double)t->start[i] - CODE_NEAR, near = CODE_NEAR / 2;
    const int    last = t->last[i] / CODE_UNIT, ends = rank == last || (code == 0 && y < 0.0f); // there is no higher one
    if (size == t->bend[i] && is_near(n, near)) // a line's last number: of a tie the sides make different codes
        return 1;
    return rank <= last && n >= rank * CODE_UNIT - near && (ends || n < (rank + 1) * CODE_UNIT + near);
}

static int code_of(const epl_code_table *t, float y)
{
    int k = 0;
    while (k < 255 && y > t->limit[k])
        k++;
    return k;
}

/* Between thresholds the guess rises with y: if it is right where a code begins and where it ends, it is right between them. */
static int32_t lines_hold(const epl_code_table *t)
{
    const float least = t->zero ? -1.000001f : 0.0f, most = 1.000001f; // a rounded quotient's ends
    for (int k = 0; k < 256; k++) {
        const float begin = k && t->limit[k - 1] >= least ? number_of(t->threshold[k - 1] + 1) : least;
        const float end = t->limit[k] < most ? t->limit[k] : most;
        if (begin <= end && !(is_guessed(t, begin, k) && is_guessed(t, end, k)))
            return 0;
    }
    for (int i = 0; i < CODE_PIECES; i++)
        for (int side = -1; side <= 1 && t->bend[i] < 1.0f; side += 2) {
            const float at = (float)side * t->bend[i], beyond = number_of(rising_of(at) + (uint32_t)side);
            if (at >= least && !(is_guessed(t, at, code_of(t, at)) && is_guessed(t, beyond, code_of(t, beyond))))
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
    if ((t->zero == 0 || t->zero == 127) && t->limit[t->zero] < 1e-6f) {
        fill_pieces(t, call->in[0]);
        t->lined = lines_hold(t);
    }
}
