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

/* With a threshold at 0 itself, only 0 is nearest to it; else the line passes 1 at the threshold, where the sides
 * differ by a bit. */
static void fill_segments(const epl_code_table *t, segment s[SEGMENTS])
{
    const float most = t->limit[t->zero];
    s[0] = (segment){ .from = -1, .slope = most > 0.0f ? CODE_UNIT / (2 * most) : 0, .start = CODE_UNIT / 2 };
    for (int d = 0; d < DECADES; d++)
        s[1 + d] = decade_of(t, d);
    const int32_t last = s[DECADES].last + 1;
    s[SEGMENTS - 1] = (segment){ .from = t->limit[t->zero + last - 1], .start = ((float)last + 0.5f) * CODE_UNIT, .last = last };
}

static void fill_pieces(epl_code_table *t, const segment s[SEGMENTS], const float *map)
{
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

static void fill_decades(epl_code_table *t, const segment s[SEGMENTS], const float *map)
{
    epl_code_decades *d = &t->decade;
    d->least      = map[t->zero + 1];
    d->above_zero = s[1].from;
    d->above_last = s[SEGMENTS - 1].from;
    for (int i = 0; i <= DECADES; i++) {
        d->bound[i] = i < DECADES ? s[i + 1].from : NEVER;
        d->slope[i] = s[i].slope;
        d->start[i] = s[i].start + CODE_NEAR;
        d->last[i]  = (s[i].last + 1) * CODE_UNIT - 1;
    }
}

/* What the vectors compute a number's code from. */
typedef struct line {
    double  n;    /* slope a + start */
    int32_t last; /* the quotient is at most */
    int     ends; /* a is the last number of the piece */
} line;

static line line_of(const epl_code_table *t, float size)
{
    int i = 0;
    const float clipped = size > t->least ? size : t->least;
    while (i < CODE_PIECES - 1 && from_bits((uint32_t)(97 + i) << 23) <= clipped)
        i++;
    i += size > t->bend[i];
    if (i == CODE_PIECES)
        return (line){ .last = -1 };
    return (line){ (double)t->slope[i] * (double)clipped + (double)t->start[i], t->last[i] / CODE_UNIT, size == t->bend[i] };
}

static line line_by_decades(const epl_code_table *t, float size)
{
    const epl_code_decades *d = &t->decade;
    const float clipped = size > d->least ? size : d->least;
    uint32_t bits;
    memcpy(&bits, &clipped, 4);
    int i = ((int)(bits >> 23) * CODE_DECADE + CODE_DECADE_0) >> 8;
    if (i < 0 || i > DECADES)
        return (line){ .last = -1 };
    i += size > d->bound[i];
    const int32_t last = d->last[i] / CODE_UNIT;
    if (size <= d->above_zero)
        return (line){ CODE_UNIT / 2, 0, 0 };
    if (size > d->above_last)
        return (line){ (last + 1.5) * CODE_UNIT, last + 1, 0 };
    return (line){ (double)d->slope[i] * (double)clipped + (double)d->start[i], last, size == d->bound[i] };
}

typedef line line_fn(const epl_code_table *t, float size);

static int is_near(double n, double near)
{
    const double off = n - CODE_UNIT * (double)(int64_t)(n / CODE_UNIT + 0.5);
    return off > -near && off < near;
}

/* Whether what the vectors compute from y is its code, or near enough to it to be looked at. They may round
 * otherwise: half of what is near is enough. */
static int is_guessed(const epl_code_table *t, line_fn *of, float y, int code)
{
    const line   l = of(t, y < 0.0f ? -y : y);
    const int    rank = y < 0.0f ? t->zero - code : code - t->zero;
    const double n = l.n - CODE_NEAR, near = CODE_NEAR / 2;
    const int    highest = rank == l.last || (code == 0 && y < 0.0f);
    if (l.last < 0 || rank < 0)
        return 0;
    if (l.ends && is_near(n, near)) // of a tie the two signs make different codes
        return 1;
    return rank <= l.last && n >= rank * CODE_UNIT - near && (highest || n < (rank + 1) * CODE_UNIT + near);
}

static int code_of(const epl_code_table *t, float y)
{
    int k = 0;
    while (k < 255 && y > t->limit[k])
        k++;
    return k;
}

static int is_guessed_at(const epl_code_table *t, line_fn *of, float y) { return is_guessed(t, of, y, code_of(t, y)); }

/* Between thresholds the guess rises with y: if it is right where a code begins and where it ends, and where one
 * line ends and the next begins, it is right between them. */
static int32_t lines_hold(const epl_code_table *t, const segment s[SEGMENTS], line_fn *of)
{
    const float least = t->zero ? -1.000001f : 0.0f, most = 1.000001f; // what rounding may make of the greatest
    for (int k = 0; k < 256; k++) {
        const float begin = k && t->limit[k - 1] >= least ? number_of(t->threshold[k - 1] + 1) : least;
        const float end = t->limit[k] < most ? t->limit[k] : most;
        if (begin <= end && !(is_guessed(t, of, begin, k) && is_guessed(t, of, end, k)))
            return 0;
    }
    for (int i = 1; i < SEGMENTS; i++)
        for (int side = -1; side <= 1; side += 2) {
            const float at = (float)side * s[i].from, beyond = number_of(rising_of(at) + (uint32_t)side);
            if (at >= least && !(is_guessed_at(t, of, at) && is_guessed_at(t, of, beyond)))
                return 0;
        }
    for (int i = 96; i < 127; i++) // what lies between two pieces without being a threshold
        for (int side = -1; side <= 1; side += 2) {
            const float at = (float)side * from_bits((uint32_t)i << 23), before = number_of(rising_of(at) - (uint32_t)side);
            if (at >= least && !(is_guessed_at(t, of, at) && is_guessed_at(t, of, before)))
                return 0;
        }
    return 1;
}

static void fill_lines(epl_code_table *t, const float *map)
{
    segment s[SEGMENTS];
    fill_segments(t, s);
    fill_pieces(t, s, map);
    fill_decades(t, s, map);
    t->lined         = lines_hold(t, s, line_of);
    t->lined_decades = lines_hold(t, s, line_by_decades);
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
    if ((t->zero == 0 || t->zero == 127) && t->limit[t->zero] < 1e-6f)
        fill_lines(t, call->in[0]);
}
