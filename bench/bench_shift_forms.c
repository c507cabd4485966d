/* bench_shift_forms: inner loops of products with weights that are powers of two, each alone and out of the first
 * cache, on one thread of an x86 processor with AVX-512: which form is worth a kernel.
 *
 *     build/bench_shift_forms
 *
 * Multiply-adds in 10^9 per second, the best of many runs in turn, and over those of float multiply-adds. Tiles of 8
 * x 32 sums; `rows` is what src/kernels/shift_add.c does with codes of 2 and 3 bits, vpdpbusd wants processors with
 * VNNI (weights of 2 and 3 bits fit its 8 bits). */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <espalier/base.h>

#include "kernels/vec.h"

#if defined(__x86_64__)

enum { DEPTH = 64, ROWS = 8, RUNS = 200, REPEAT = 20, LANES = 32, CHANNELS = 64, UNITS = 24 };

static int32_t a[ROWS * DEPTH], b[DEPTH * 32], g[DEPTH * 32], c[ROWS * 32] __attribute__((aligned(64)));
static int16_t tables[UNITS * 16 * LANES] __attribute__((aligned(64)));
static int32_t sums[CHANNELS * LANES] __attribute__((aligned(64)));
static uint8_t codes[CHANNELS * UNITS / 2];

#define V4 __attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512dq")))
#define VNNI __attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

/* A tile: `step` adds the products of a broadcast word x with the vectors w. */
#define TILE(name, attribute, vector, zero, load, broadcast, store, step)                              \
    attribute static void name(void)                                                                   \
    {                                                                                                  \
        vector s[ROWS][2];                                                                             \
        VEC_UNROLL for (int r = 0; r < ROWS; r++) s[r][0] = s[r][1] = zero;               \
        for (int k = 0; k < DEPTH; k++) {                                                              \
            const vector w0 = load(b + 32 * k), w1 = load(b + 32 * k + 16);                            \
            VEC_UNROLL for (int r = 0; r < ROWS; r++)                                     \
            {                                                                                          \
                const vector x = broadcast(a + r * DEPTH + k);                                         \
                s[r][0] = step(s[r][0], x, w0);                                                        \
                s[r][1] = step(s[r][1], x, w1);                                                        \
            }                                                                                          \
        }                                                                                              \
        VEC_UNROLL for (int r = 0; r < ROWS; r++) store(c + 32 * r, s[r][0]), store(c + 32 * r + 16, s[r][1]); \
    }

#define FLOAT_LOAD(p) _mm512_loadu_ps((const float *)(const void *)(p))
#define FLOAT_SET(p) _mm512_set1_ps(*(const float *)(const void *)(p))
#define FLOAT_STORE(p, v) _mm512_storeu_ps((float *)(void *)(p), v)
#define FLOAT_STEP(s, x, w) _mm512_fmadd_ps(x, w, s)
#define INT_SET(p) _mm512_set1_epi32(*(p))
#define SHORT_SET(p) _mm512_set1_epi16((int16_t)*(p))
#define PAIR_STEP(s, x, w) _mm512_add_epi32(s, _mm512_madd_epi16(x, w))
#define QUAD_STEP(s, x, w) _mm512_dpbusd_epi32(s, x, w)
#define SHIFT_STEP(s, x, w) _mm512_add_epi16(s, _mm512_sllv_epi16(_mm512_sub_epi16(_mm512_xor_si512(x, sign), sign), w))

TILE(floats, V4, __m512, _mm512_setzero_ps(), FLOAT_LOAD, FLOAT_SET, FLOAT_STORE, FLOAT_STEP)
TILE(pairs, V4, __m512i, _mm512_setzero_si512(), _mm512_loadu_si512, INT_SET, _mm512_storeu_si512, PAIR_STEP)
TILE(quads, VNNI, __m512i, _mm512_setzero_si512(), _mm512_loadu_si512, INT_SET, _mm512_storeu_si512, QUAD_STEP)

/* 16 bits: x with the weight's sign, shifted. The signs lie beside the shifts; a tile of 64 columns. */
V4 static void shifts(void)
{
    __m512i s[ROWS][2];
    memset(s, 0, sizeof s);
    for (int k = 0; k < DEPTH; k++) {
        const __m512i w0 = _mm512_loadu_si512(b + 32 * k), w1 = _mm512_loadu_si512(b + 32 * k + 16);
        VEC_UNROLL for (int r = 0; r < ROWS; r++)
        {
            const __m512i x = SHORT_SET(a + r * DEPTH + k);
            __m512i sign = _mm512_loadu_si512(g + 32 * k);
            s[r][0] = SHIFT_STEP(s[r][0], x, w0);
            sign = _mm512_loadu_si512(g + 32 * k + 16);
            s[r][1] = SHIFT_STEP(s[r][1], x, w1);
        }
    }
    memcpy(c, s, sizeof c);
}

V4 static void rows(void)
{
    const uint8_t *code = codes;
    for (int j = 0; j < CHANNELS; j++) {
        const int16_t *table = tables;
        __m512i acc = _mm512_setzero_si512();
        for (int u = 0; u < UNITS; u += 2, code++, table += 2 * 16 * LANES) {
            acc = _mm512_add_epi16(acc, _mm512_loadu_si512(table + (*code & 15) * LANES));
            acc = _mm512_add_epi16(acc, _mm512_loadu_si512(table + (16 + (*code >> 4)) * LANES));
        }
        int32_t *to = sums + j * LANES;
        _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_loadu_si512(to), _mm512_cvtepi16_epi32(_mm512_castsi512_si256(acc))));
        _mm512_storeu_si512(to + 16, _mm512_add_epi32(_mm512_loadu_si512(to + 16),
                                                      _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(acc, 1))));
    }
}

int main(void)
{
    static const struct { const char *name; void (*run)(void); double macs; int vnni; } forms[] = {
        { "float multiply-adds", floats, ROWS * DEPTH * 32, 0 },
        { "pairs of 16 bits multiplied and added (vpmaddwd)", pairs, ROWS * DEPTH * 64, 0 },
        { "four of 8 bits multiplied and added (vpdpbusd)", quads, ROWS * DEPTH * 128, 1 },
        { "each lane shifted by its weight (vpsllvw)", shifts, ROWS * DEPTH * 64, 0 },
        { "rows of a table of two weights of 2 bits", rows, CHANNELS * UNITS * 2 * LANES, 0 },
        { "rows of a table of one weight of 3 bits", rows, CHANNELS * UNITS * LANES, 0 },
    };
    double best[sizeof forms / sizeof *forms] = { 0 };
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
        printf("this processor has no AVX-512\n");
        return 0;
    }
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int i = 0; i < RUNS; i++)
        for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
            if (forms[k].vnni && !__builtin_cpu_supports("avx512vnni"))
                continue;
            const double start = epl_now_s();
            for (int n = 0; n < REPEAT; n++)
                forms[k].run();
            const double rate = 1e-9 * REPEAT * forms[k].macs / (epl_now_s() - start);
            best[k] = rate > best[k] ? rate : best[k];
        }
    for (size_t k = 0; k < sizeof forms / sizeof *forms; k++)
        printf("%-52s %7.1f   %.2f\n", forms[k].name, best[k], best[k] / best[0]);
    return 0;
}
#else
int main(void)
{
    printf("this program is about AVX-512\n");
    return 0;
}
#endif
