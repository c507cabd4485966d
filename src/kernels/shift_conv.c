/* Convolution with weights that are powers of two, without multiplying: a product x * +-2^S is one integer addition
 * to the bits of x, of S to its exponent and of the sign to its sign, and sums are float additions. After DenseShift
 * (Li et al. 2023, arXiv:2208.09708). One multiplication for each result remains, by the channel's scale.
 *
 * The addition is exact for normal x and normal products. So the pixels that a piece reads are copied beside each
 * other first, and what would go wrong is mended there: subnormal numbers become zero, the product of a zero is
 * masked out, and magnitudes of 2^121 and more, infinities and NaN become the largest float below, whose products
 * with 2^7 are finite.
 *
 * A piece is a range of pixels x a range of panels of output channels. Codes are expanded to addends, a panel of a
 * chunk of the depth at a time; a block of pixels stays while all panels pass. */
#include "kernels/chain.h"
#include "kernels/shift.h"

EPL_KERNEL(shift_conv);

enum {
    ROWS = VL == 16 ? 8 : 4, /* of a tile */
    CHUNK = 512,             /* of the depth: 64 KB of addends */
    BLOCK = 64,              /* pixels, if their sources are few enough */
    BLOCK_WORDS = 32 * 1024  /* of the sources of a block: 128 KB */
};

typedef uint32_t vu __attribute__((vector_size(VL * 4)));

#define LARGEST 0x7bffffffu /* the largest float that can be multiplied by 2^EPL_SHIFT_MOST */

typedef struct work {
    const epl_conv_params *p;
    int64_t   depth, pixels, panels, block, row_blocks, col_blocks; /* panels: of all groups */
    uint32_t *x, *addends; /* [block][depth], [CHUNK][EPL_NR] */
    float    *sums;        /* [block][EPL_NR] */
} work;

static work make_work(const epl_conv_params *p)
{
    work k = { .p = p, .depth = epl_shift_depth(p), .pixels = p->n * p->od * p->oh * p->ow, .panels = p->groups * epl_shift_panels(p) };
    const int64_t want = epl_want_pieces((double)k.pixels * (double)k.depth * (double)p->m);
    k.block = epl_max(ROWS, epl_min(BLOCK, BLOCK_WORDS / epl_max(1, k.depth) / ROWS * ROWS));
    k.row_blocks = epl_max(1, epl_min(want, epl_ceil_div(k.pixels, k.block)));
    k.col_blocks = epl_min(k.panels, epl_ceil_div(want, k.row_blocks));
    return k;
}

/* ---- the pixels of a block ---- */

VEC_INLINE uint32_t mended(uint32_t bits)
{
    const uint32_t a = bits & 0x7fffffff;
    return a < 0x00800000 ? 0 : (bits & 0x80000000) | (a > LARGEST ? LARGEST : a);
}

static void copy_mended(const float *from, int64_t n, uint32_t *to)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        vi bits;
        memcpy(&bits, from + i, sizeof bits);
        const vi a = bits & 0x7fffffff, large = a > (int32_t)LARGEST, keep = a >= 0x00800000;
        const vi b = ((bits & INT32_MIN) | (large & (int32_t)LARGEST) | (~large & a)) & keep;
        memcpy(to + i, &b, sizeof b);
    }
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, from + i, sizeof bits);
        to[i] = mended(bits);
    }
}

/* The source of one output pixel under a group's weights: [kd, kh, kw, c/groups], zeros outside of the image. */
static void copy_pixel(const work *k, const float *x, int64_t pixel, int64_t group, uint32_t *to)
{
    const epl_conv_params *p = k->p;
    const int64_t cg = p->c / p->groups, n = pixel / p->ow / p->oh / p->od;
    const int64_t od = pixel / p->ow / p->oh % p->od, oh = pixel / p->ow % p->oh, ow = pixel % p->ow;
    for (int64_t z = 0; z < p->kd; z++)
        for (int64_t y = 0; y < p->kh; y++)
            for (int64_t c = 0; c < p->kw; c++, to += cg) {
                const int64_t d = od * p->sd - p->pd + z * p->dd, h = oh * p->sh - p->ph + y * p->dh, w = ow * p->sw - p->pw + c * p->dw;
                if ((uint64_t)d < (uint64_t)p->d && (uint64_t)h < (uint64_t)p->h && (uint64_t)w < (uint64_t)p->w)
                    copy_mended(x + (((n * p->d + d) * p->h + h) * p->w + w) * p->c + group * cg, cg, to);
                else
                    memset(to, 0, (size_t)cg * sizeof *to);
            }
}

/* ---- sums ---- */

/* What a code adds to the bits of a float: the exponent to its exponent, the sign to its highest bit. */
VEC_INLINE uint32_t addend_of(unsigned code) { return (uint32_t)(code & 8) << 28 | (uint32_t)(code & 7) << 23; }

static void expand(const unsigned char *codes, int64_t rows, int64_t width, uint32_t *to)
{
    const int64_t half = width / 2;
    for (int64_t k = 0; k < rows; k++, codes += half, to += width)
        for (int64_t j = 0; j < half; j++) {
            to[j]        = addend_of(codes[j] & 15);
            to[half + j] = addend_of(codes[j] >> 4);
        }
}

/* The bits of x times the weights of these addends, 0 for x = 0. */
VEC_INLINE vf product(vu x, vu addend)
{
#if EPL_VEC_AVX512
    return (vf)_mm512_maskz_add_epi32(_mm512_test_epi32_mask((__m512i)x, (__m512i)x), (__m512i)x, (__m512i)addend);
#else
    return (vf)((x + addend) & ~(vu)(x == 0));
#endif
}

VEC_INLINE void tile(const uint32_t *x, int64_t x_row, const uint32_t *addends, int64_t depth, float *sums, int rows, int vectors)
{
    vf sum[ROWS][2];
    VEC_UNROLL for (int r = 0; r < rows; r++) {
        VEC_UNROLL for (int v = 0; v < vectors; v++) {
            sum[r][v] = vload(sums + r * EPL_NR + v * VL);
        }
    }
    for (int64_t k = 0; k < depth; k++) {
        vu addend[2];
        VEC_UNROLL for (int v = 0; v < vectors; v++) {
            memcpy(&addend[v], addends + (k * vectors + v) * VL, sizeof(vu));
        }
        VEC_UNROLL for (int r = 0; r < rows; r++) {
            const vu bits = x[r * x_row + k] - (vu){ 0 };
            VEC_UNROLL for (int v = 0; v < vectors; v++) {
                sum[r][v] += product(bits, addend[v]);
            }
        }
    }
    VEC_UNROLL for (int r = 0; r < rows; r++) {
        VEC_UNROLL for (int v = 0; v < vectors; v++) {
            vstore(sums + r * EPL_NR + v * VL, sum[r][v]);
        }
    }
}

/* sums[rows][width] += x[rows][depth] * weights[depth][width]. Not inlined, so that its instructions can be counted. */
static __attribute__((noinline)) void shift_sums(const uint32_t *x, int64_t x_row, int64_t rows, const uint32_t *addends, int64_t depth,
                                                 int64_t width, float *sums)
{
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * x_row, sums += ROWS * EPL_NR) {
        if (width == VL)
            tile(x, x_row, addends, depth, sums, ROWS, 1);
        else
            tile(x, x_row, addends, depth, sums, ROWS, 2);
    }
    for (; rows > 0; rows--, x += x_row, sums += EPL_NR) {
        if (width == VL)
            tile(x, x_row, addends, depth, sums, 1, 1);
        else
            tile(x, x_row, addends, depth, sums, 1, 2);
    }
}

/* y = sums * scale + bias, of `cols` channels from column `col` of y on. */
static void finish(const work *k, const epl_call *call, int64_t pixel, int64_t rows, int64_t col, int64_t cols)
{
    const float *scale = (const float *)call->in[1] + col, *bias = call->in[2] ? (const float *)call->in[2] + col : NULL;
    float       *y = (float *)call->out[0] + pixel * k->p->m + col;
    for (int64_t j = 0; j < cols; j += VL) {
        const int64_t n = epl_min(VL, cols - j);
        const vf s = vload_part(scale + j, n), b = bias ? vload_part(bias + j, n) : vset(0.0f);
        for (int64_t r = 0; r < rows; r++)
            vstore_part(y + r * k->p->m + j, vfma(vload(k->sums + r * EPL_NR + j), s, b), n);
    }
}

/* All of the depth, for a block of pixels and a panel. */
static void run_panel(const work *k, const epl_call *call, int64_t pixel, int64_t rows, int64_t group, int64_t panel)
{
    const epl_conv_params *p = k->p;
    const int64_t mg = p->m / p->groups, width = epl_shift_panel_width(p, panel), col = panel * EPL_NR;
    const unsigned char *codes = (const unsigned char *)call->in[1] + epl_shift_panel_at(p, group, panel);
    memset(k->sums, 0, (size_t)(rows * EPL_NR) * sizeof(float));
    for (int64_t at = 0; at < k->depth; at += CHUNK) {
        const int64_t n = epl_min(CHUNK, k->depth - at);
        expand(codes + at * width / 2, n, width, k->addends);
        shift_sums(k->x + at, k->depth, rows, k->addends, n, width, k->sums);
    }
    finish(k, call, pixel, rows, group * mg + col, epl_min(width, mg - col));
}

static void run_piece(const work *k, const epl_call *call, int64_t index)
{
    const epl_conv_params *p = k->p;
    const int64_t row = index / k->col_blocks, column = index % k->col_blocks, each = epl_shift_panels(p), mg = p->m / p->groups;
    const int64_t begin = epl_block_begin(k->pixels, k->row_blocks, row), end = epl_block_begin(k->pixels, k->row_blocks, row + 1);
    const int64_t q0 = epl_block_begin(k->panels, k->col_blocks, column), q1 = epl_block_begin(k->panels, k->col_blocks, column + 1);
    for (int64_t pixel = begin; pixel < end; pixel += k->block) {
        const int64_t rows = epl_min(k->block, end - pixel);
        for (int64_t q = q0; q < q1; q++) {
            for (int64_t r = 0; r < rows && (q == q0 || q % each == 0); r++)
                copy_pixel(k, call->in[0], pixel + r, q / each, k->x + r * k->depth);
            run_panel(k, call, pixel, rows, q / each, q % each);
        }
    }
    const int64_t col0 = q0 / each * mg + q0 % each * EPL_NR, last = q1 - 1;
    epl_chain_epilogue(call, begin, end, col0, last / each * mg + epl_min(mg, (last % each + 1) * EPL_NR));
}

int64_t EPL_K(shift_conv_pieces)(const void *params)
{
    const work k = make_work(params);
    return k.row_blocks * k.col_blocks;
}

/* Whole lines of the cache. */
static int64_t words(int64_t n) { return (n + 15) / 16 * 16; }

size_t EPL_K(shift_conv_scratch)(const void *params)
{
    const work k = make_work(params);
    return (size_t)(words(k.block * k.depth) + CHUNK * EPL_NR + k.block * EPL_NR) * sizeof(uint32_t);
}

void EPL_K(shift_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    work k = make_work(call->params);
    k.x       = scratch;
    k.addends = k.x + words(k.block * k.depth);
    k.sums    = (float *)(void *)(k.addends + CHUNK * EPL_NR);
    for (int64_t i = begin; i < end; i++)
        run_piece(&k, call, i);
}
