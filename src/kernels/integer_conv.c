/* Convolution of integers of 8 bits by integers of 8 or 16: products of 16 bits, added in pairs, and sums of 32. A
 * piece is a range of pixels x a range of panels of output channels; the pixels that a block reads are copied beside
 * each other first. */
#include "kernels/chain.h"
#include "kernels/integer.h"

EPL_KERNEL(integer_conv);

enum {
    ROWS = VL == 16 ? 8 : 4, /* of a tile */
    BLOCK = 64,              /* pixels, if their sources are few enough */
    BLOCK_PAIRS = 16 * 1024  /* of the sources of a block: 64 KB */
};

typedef struct work {
    const epl_integer_conv_params *p;
    const epl_call *call;
    int64_t  pairs, pixels, panels, block, row_blocks, col_blocks; /* panels: of all groups */
    int32_t *x; /* [block][pairs] */
} work;

static work make_work(const epl_integer_conv_params *p)
{
    const epl_conv_params *c = &p->conv;
    work k = { .p = p, .pairs = epl_integer_pairs(p), .pixels = c->n * c->od * c->oh * c->ow, .panels = c->groups * epl_integer_panels(p) };
    const int64_t want = epl_want_pieces((double)k.pixels * (double)k.pairs * (double)c->m);
    k.block = epl_max(ROWS, epl_min(BLOCK, BLOCK_PAIRS / epl_max(1, k.pairs) / ROWS * ROWS));
    k.row_blocks = epl_max(1, epl_min(want, epl_ceil_div(k.pixels, k.block)));
    k.col_blocks = epl_min(k.panels, epl_ceil_div(want, k.row_blocks));
    return k;
}

VEC_INLINE void widen(const int8_t *from, int is_unsigned, int64_t n, int16_t *to)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const v8h wide = vwiden8(from + i, is_unsigned);
        memcpy(to + i, &wide, sizeof wide);
    }
    for (; i < n; i++)
        to[i] = is_unsigned ? (int16_t)(uint8_t)from[i] : (int16_t)from[i];
}

/* Where an output pixel is. */
typedef struct place {
    int64_t n, d, h, w;
} place;

/* The source of one row of the kernel, from source column w on; `line` is NULL outside. Neighbouring columns of one
 * group lie side by side. */
VEC_INLINE void copy_row(const epl_conv_params *p, const int8_t *line, int64_t w, int16_t *to, int is_unsigned)
{
    const int64_t cg = p->c / p->groups, together = p->groups == 1 && p->dw == 1 ? p->kw : 1;
    for (int64_t i = 0; i < p->kw; i += together, w += p->dw, to += together * cg) {
        const int64_t first = epl_min(epl_max(0, -w), together), last = line ? epl_max(first, epl_min(together, p->w - w)) : first;
        memset(to, 0, (size_t)(first * cg) * sizeof *to);
        if (last > first)
            widen(line + (w + first) * p->c, is_unsigned, (last - first) * cg, to + first * cg);
        memset(to + last * cg, 0, (size_t)((together - last) * cg) * sizeof *to);
    }
}

/* The source of one output pixel under a group's weights: [kd, kh, kw, c/groups], zeros outside of the image and behind the last. */
VEC_INLINE void copy_pixel(const work *k, place o, int64_t group, int16_t *to, int is_unsigned)
{
    const epl_conv_params *p = &k->p->conv;
    const int64_t cg = p->c / p->groups;
    const int8_t *x = (const int8_t *)k->call->in[0] + o.n * p->d * p->h * p->w * p->c + group * cg;
    to[2 * k->pairs - 1] = 0;
    for (int64_t z = 0; z < p->kd; z++)
        for (int64_t y = 0; y < p->kh; y++, to += p->kw * cg) {
            const int64_t d = o.d * p->sd - p->pd + z * p->dd, h = o.h * p->sh - p->ph + y * p->dh;
            const int     inside = (uint64_t)d < (uint64_t)p->d && (uint64_t)h < (uint64_t)p->h;
            copy_row(p, inside ? x + (d * p->h + h) * p->w * p->c : NULL, o.w * p->sw - p->pw, to, is_unsigned);
        }
}

static void copy_pixels(const work *k, int64_t first, int64_t rows, int64_t group)
{
    const epl_conv_params *p = &k->p->conv;
    place o = { first / p->ow / p->oh / p->od, first / p->ow / p->oh % p->od, first / p->ow % p->oh, first % p->ow };
    for (int64_t r = 0; r < rows; r++) {
        int16_t *to = (int16_t *)(void *)(k->x + r * k->pairs);
        if (k->p->x_unsigned)
            copy_pixel(k, o, group, to, 1);
        else
            copy_pixel(k, o, group, to, 0);
        if (++o.w == p->ow)
            o.w = 0, o.h++;
        if (o.h == p->oh)
            o.h = 0, o.d++;
        if (o.d == p->od)
            o.d = 0, o.n++;
    }
}

/* y = the sums of a tile * scale + bias, of columns [0, cols). */
VEC_INLINE void tile(const work *k, const int32_t *x, const int16_t *weights, int64_t col, int64_t cols, float *y, int rows, int vectors)
{
    vi sum[ROWS][2];
    VEC_UNROLL for (int r = 0; r < rows; r++) {
        VEC_UNROLL for (int v = 0; v < vectors; v++) {
            sum[r][v] = vseti(0);
        }
    }
    for (int64_t i = 0; i < k->pairs; i++, weights += 2 * vectors * VL) {
        vi w[2];
        VEC_UNROLL for (int v = 0; v < vectors; v++) {
            memcpy(&w[v], weights + 2 * v * VL, sizeof w[v]);
        }
        VEC_UNROLL for (int r = 0; r < rows; r++) {
            const vi pair = vseti(x[r * k->pairs + i]);
            VEC_UNROLL for (int v = 0; v < vectors; v++) {
                sum[r][v] += vdot2(pair, w[v]);
            }
        }
    }
    const float *scale = (const float *)k->call->in[2] + col, *bias = k->call->in[3] ? (const float *)k->call->in[3] + col : NULL;
    VEC_UNROLL for (int v = 0; v < vectors; v++) {
        const int64_t n = epl_max(0, epl_min(VL, cols - v * VL));
        const vf s = vload_part(scale + v * VL, n), b = bias ? vload_part(bias + v * VL, n) : vset(0.0f);
        VEC_UNROLL for (int r = 0; r < rows; r++) {
            vstore_part(y + r * k->p->conv.m + v * VL, vfma(vtofloat(sum[r][v]), s, b), n);
        }
    }
}

static void run_panel(const work *k, int64_t pixel, int64_t rows, int64_t group, int64_t panel)
{
    const int64_t mg = k->p->conv.m / k->p->conv.groups, m = k->p->conv.m, col = group * mg + panel * EPL_NR;
    const int64_t cols = epl_min(EPL_NR, mg - panel * EPL_NR);
    const int16_t *weights = (const int16_t *)k->call->in[1] + 2 * epl_integer_panel_at(k->p, group, panel);
    const int32_t *x = k->x;
    float *y = (float *)k->call->out[0] + pixel * m + col;
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * k->pairs, y += ROWS * m) {
        if (cols <= VL)
            tile(k, x, weights, col, cols, y, ROWS, 1);
        else
            tile(k, x, weights, col, cols, y, ROWS, 2);
    }
    for (; rows > 0; rows--, x += k->pairs, y += m) {
        if (cols <= VL)
            tile(k, x, weights, col, cols, y, 1, 1);
        else
            tile(k, x, weights, col, cols, y, 1, 2);
    }
}

static void run_piece(const work *k, int64_t index)
{
    const epl_conv_params *p = &k->p->conv;
    const int64_t row = index / k->col_blocks, column = index % k->col_blocks, each = epl_integer_panels(k->p), mg = p->m / p->groups;
    const int64_t begin = epl_block_begin(k->pixels, k->row_blocks, row), end = epl_block_begin(k->pixels, k->row_blocks, row + 1);
    const int64_t q0 = epl_block_begin(k->panels, k->col_blocks, column), q1 = epl_block_begin(k->panels, k->col_blocks, column + 1);
    for (int64_t pixel = begin; pixel < end && mg > 0; pixel += k->block) {
        const int64_t rows = epl_min(k->block, end - pixel);
        for (int64_t q = q0; q < q1; q++) {
            if (k->pairs && (q == q0 || q % each == 0))
                copy_pixels(k, pixel, rows, q / each);
            run_panel(k, pixel, rows, q / each, q % each);
        }
    }
    const int64_t last = q1 - 1;
    epl_chain_epilogue(k->call, begin, end, q0 / each * mg + q0 % each * EPL_NR,
                       last / each * mg + epl_min(mg, (last % each + 1) * EPL_NR));
}

int64_t EPL_K(integer_conv_pieces)(const void *params)
{
    const work k = make_work(params);
    return k.row_blocks * k.col_blocks;
}

size_t EPL_K(integer_conv_scratch)(const void *params)
{
    const work k = make_work(params);
    return (size_t)(k.block * k.pairs) * sizeof *k.x;
}

void EPL_K(integer_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    work k = make_work(call->params);
    k.call = call;
    k.x    = scratch;
    for (int64_t i = begin; i < end; i++)
        run_piece(&k, i);
}
