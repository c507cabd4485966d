/* The kernels of 8-bit codes on every instruction set against the reference, bit by bit: around every threshold of
 * every map, over the whole range of f32, with maxima from the least number to the greatest, in blocks and tails of
 * all lengths. */
#include "kernels/code.h"
#include "kernels/kernels.h"

#include "common/check.h"

#include <espalier/espalier.h>

#include <float.h>

static const char *const isas[] = { "generic", "v3", "v4" };
enum { MOST = 1 << 17 };

static float x[MOST], maxima[2][MOST / 64], back[MOST];
static uint8_t codes[2][MOST];
static epl_code_table table __attribute__((aligned(64)));

typedef struct coding {
    float   map[256];
    int64_t block;
    bool    keep;
} coding;

static void run_kernel(test *t, const char *isa, const char *name, const epl_code_params *p, const epl_call *call)
{
    const epl_kernel *k = epl_kernel_find(epl_kernels_for(isa), name);
    epl_call c = *call;
    CHECK(t, k != NULL);
    c.params = p;
    for (int64_t i = k->pieces(p); i > 0; i--)
        k->run(&c, i - 1, i, NULL);
}

static void check_isa(test *t, const char *isa, const coding *c, int64_t n)
{
    const epl_code_params p = { .count = n, .block = c->block }, pack = { .keep_nonzero = c->keep };
    run_kernel(t, isa, "code_pack", &pack, &(epl_call){ .in = { c->map }, .out = { &table } });
    run_kernel(t, isa, "quantize", &p, &(epl_call){ .in = { x, &table }, .out = { codes[1], maxima[1] } });
    run_kernel(t, isa, "dequantize", &p, &(epl_call){ .in = { codes[1], maxima[1], c->map }, .out = { back } });
    for (int64_t i = 0; i < n; i++) {
        if (codes[1][i] != codes[0][i])
            FAIL(t, "%s: %.9g in a block of maximum %.9g has the code %d, not %d", isa, (double)x[i], (double)maxima[0][i / c->block],
                 codes[1][i], codes[0][i]);
        CHECK(t, back[i] == c->map[codes[0][i]] * maxima[0][i / c->block]);
    }
    CHECK(t, memcmp(maxima[0], maxima[1], (size_t)((n + c->block - 1) / c->block) * sizeof(float)) == 0);
}

static void check_codes(test *t, const coding *c, int64_t n)
{
    epl_code_blocks(x, n, c->block, c->map, c->keep, codes[0], maxima[0]);
    for (size_t i = 0; i < EPL_COUNT(isas); i++)
        if (epl_kernels_for(isas[i]))
            check_isa(t, isas[i], c, n);
}

static float moved(float at, int ulps)
{
    for (; ulps > 0; ulps--)
        at = nextafterf(at, INFINITY);
    for (; ulps < 0; ulps++)
        at = nextafterf(at, -INFINITY);
    return at;
}

/* Numbers around a threshold, where lines end and begin, and 0; the greatest is 1. */
static int64_t around_thresholds(const float map[256], float scale)
{
    static const float edges[] = { 1e-7f, 1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 0 };
    int64_t n = 0;
    for (int k = 0; k < 255 + (int)EPL_COUNT(edges); k++) {
        const float at = k < 255 ? (float)(((double)map[k] + (double)map[k + 1]) / 2) : edges[k - 255];
        for (int d = -48; d <= 48; d++, n++)
            x[n] = fmaxf(-1, fminf(1, moved(at, d < 0 ? -(d * d) / 8 - 1 : d > 0 ? d * d / 8 + 1 : 0))) * scale;
    }
    x[n++] = scale;
    return n;
}

static coding coding_of(int index)
{
    coding c = { .keep = index % 2, .block = MOST };
    epl_code_map_fill((epl_code_map)(index / 2), c.map);
    return c;
}

PROPERTY(codes_are_right_around_thresholds, 8)
{
    static const float scales[] = { 1, 0.37f, 3.1e5f, 1e-30f, 3e-38f, 7e-39f, FLT_MAX };
    const coding c = coding_of(t->index);
    for (size_t i = 0; i < EPL_COUNT(scales); i++)
        check_codes(t, &c, around_thresholds(c.map, scales[i]));
}

PROPERTY(codes_are_right_over_the_whole_range, 16)
{
    coding c = coding_of(t->index / 2);
    c.block = 64 << epl_rng_below(t->rng, 7);
    const int64_t n = MOST - (int64_t)epl_rng_below(t->rng, 5000);
    for (int64_t i = 0; i < n; i++)
        x[i] = (epl_rng_below(t->rng, 2) ? 1.0f : -1.0f) * powf(10, -9 * epl_rng_uniform(t->rng)) *
               (t->index % 2 ? 1.0f : epl_rng_normal(t->rng));
    for (int64_t b = 0; b * c.block < n && t->index % 2; b++) // a block of any size, some with what is not finite, or with nothing
        for (int64_t i = b * c.block; i < n && i < (b + 1) * c.block; i++)
            x[i] = b % 7 == 3 ? 0 : b % 5 == 2 && i % 17 == 3 ? (i % 2 ? NAN : INFINITY) : ldexpf(x[i], (int)(b % 250) - 140);
    check_codes(t, &c, n);
}

/* What the vectors compute from lines would be slow, not wrong, if it never held. */
PROPERTY(lines_hold_for_dynamic_maps, 8)
{
    const coding c = coding_of(t->index);
    const epl_code_params pack = { .keep_nonzero = c.keep };
    run_kernel(t, "generic", "code_pack", &pack, &(epl_call){ .in = { c.map }, .out = { &table } });
    CHECK_INT(t, table.lined, t->index < 4);
    CHECK_INT(t, table.lined_decades, t->index < 4 && t->index != 0); // -T of a signed map with a tie at it goes down, T does not
}
