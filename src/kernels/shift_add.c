/* Convolution of integers of 8 bits with weights that are powers of two, by shifts and additions: exact, and without
 * a multiplication but the one of each result by its scale. After DenseShift (Li et al. 2023, arXiv:2208.09708),
 * whose sums are of shifted numbers; here each shift is made once for all output channels.
 *
 * The lanes of vectors are output pixels. For each unit of the depth a table holds the products of its numbers with
 * all weights there are: x << S and its negative, and of 2 bits the 16 sums of two such products. A code is then the
 * number of a row, and an output channel's sum is one addition for each code: of 16 bits, for so many codes as
 * cannot overflow, and from these of 32 bits. */
#include "kernels/chain.h"
#include "kernels/shift_add.h"
#include "kernels/transpose.h"

EPL_KERNEL(shift_add);

enum {
    LANES  = 32,               /* of a block, at most */
    WIDTH  = 2 * VL,           /* lanes of a vector of 16 bits */
    MOST_V = LANES / WIDTH,    /* vectors of a block, at most */
    SHIFT  = VL == 16 ? 5 : VL == 8 ? 4 : 3 /* WIDTH as a power of two */
};

typedef int16_t vh __attribute__((vector_size(VL * 4)));

typedef struct work {
    const epl_integer_conv_params *p;
    const epl_call *call;
    int64_t pixels, lanes, units, chunk, row_blocks, col_blocks; /* lanes: LANES, or WIDTH for few pixels; col_blocks: of a group */
    const int8_t **from;     /* [kernel positions][lanes]: the source pixel, its first channel of the group */
    int8_t  *zeros;          /* a pixel outside of the image */
    int16_t *rows;           /* [taps of a chunk][lanes] */
    int16_t *tables;         /* [units of a chunk][codes][lanes], of 4 bits of int32_t */
    int32_t *sums;           /* [channels][lanes] */
} work;

static int64_t positions_of(const epl_conv_params *c) { return c->kd * c->kh * c->kw; }

static work make_work(const epl_integer_conv_params *p)
{
    const epl_conv_params *c = &p->conv;
    work k = { .p = p, .pixels = c->n * c->od * c->oh * c->ow, .units = epl_shift_add_units(p), .chunk = epl_shift_add_chunk(p) };
    const int64_t want = epl_want_pieces((double)k.pixels * (double)k.units * (double)c->m);
    k.lanes = k.pixels <= WIDTH ? WIDTH : LANES;
    k.row_blocks = epl_max(1, epl_min(want, epl_ceil_div(k.pixels, k.lanes)));
    k.col_blocks = epl_max(1, epl_min(epl_ceil_div(want, k.row_blocks * c->groups), c->m / c->groups / 16));
    return k;
}

/* ---- the pixels of a block ---- */

/* Which source pixels the kernel's positions meet, for `n` output pixels from `first` on; the other lanes read zeros. */
static void point(const work *k, int64_t first, int64_t n, int64_t group)
{
    const epl_conv_params *c = &k->p->conv;
    const int8_t *x = (const int8_t *)k->call->in[0] + group * (c->c / c->groups);
    int64_t image = first / c->ow / c->oh / c->od, od = first / c->ow / c->oh % c->od, oh = first / c->ow % c->oh, ow = first % c->ow;
    for (int64_t lane = 0; lane < k->lanes; lane++) {
        const int8_t **to = k->from + lane;
        for (int64_t z = 0; z < c->kd; z++)
            for (int64_t y = 0; y < c->kh; y++) {
                const int64_t d = od * c->sd - c->pd + z * c->dd, h = oh * c->sh - c->ph + y * c->dh, w0 = ow * c->sw - c->pw;
                const int     inside = lane < n && (uint64_t)d < (uint64_t)c->d && (uint64_t)h < (uint64_t)c->h;
                const int8_t *line = inside ? x + ((image * c->d + d) * c->h + h) * c->w * c->c : NULL;
                for (int64_t i = 0, w = w0; i < c->kw; i++, w += c->dw, to += k->lanes)
                    *to = inside && (uint64_t)w < (uint64_t)c->w ? line + w * c->c : k->zeros;
            }
        if (++ow == c->ow)
            ow = 0, oh++;
        if (oh == c->oh)
            oh = 0, od++;
        if (od == c->od)
            od = 0, image++;
    }
}

#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

/* to[channel][lane] of 8 lanes and 8 channels: three times, what lies half a square apart comes to lie side by side. */
VEC_INLINE void turn_bytes(const int8_t *const *from, int64_t at, int16_t *to, int64_t to_row, int is_unsigned)
{
    v8h a[8], b[8];
    VEC_UNROLL for (int i = 0; i < 8; i++) {
        a[i] = vwiden8(from[i] + at, is_unsigned);
    }
    VEC_UNROLL for (int i = 0; i < 4; i++) {
        b[2 * i] = LOW(a[i], a[i + 4]), b[2 * i + 1] = HIGH(a[i], a[i + 4]);
    }
    VEC_UNROLL for (int i = 0; i < 4; i++) {
        a[2 * i] = LOW(b[i], b[i + 4]), a[2 * i + 1] = HIGH(b[i], b[i + 4]);
    }
    VEC_UNROLL for (int i = 0; i < 4; i++) {
        b[2 * i] = LOW(a[i], a[i + 4]), b[2 * i + 1] = HIGH(a[i], a[i + 4]);
    }
    VEC_UNROLL for (int i = 0; i < 8; i++) {
        memcpy(to + i * to_row, &b[i], sizeof b[i]);
    }
}

/* rows[tap - t0][lane] for the taps [t0, t1) of the depth; zeros behind its end. */
static void fill_rows(const work *k, int64_t t0, int64_t t1)
{
    const int64_t cg = k->p->conv.c / k->p->conv.groups, depth = epl_shift_depth(&k->p->conv);
    const int64_t lanes = k->lanes;
    int16_t *to = k->rows;
    for (int64_t tap = t0, until; tap < epl_min(t1, depth); tap = until) {
        const int8_t *const *from = k->from + tap / cg * lanes;
        int64_t c = tap % cg;
        until = epl_min(t1, tap - c + cg);
        const int64_t end = c + until - tap;
        for (; c + 8 <= end; c += 8, to += 8 * lanes)
            for (int64_t lane = 0; lane < lanes; lane += 8)
                turn_bytes(from + lane, c, to + lane, lanes, k->p->x_unsigned != 0);
        for (; c < end; c++, to += lanes)
            for (int64_t lane = 0; lane < lanes; lane++)
                to[lane] = k->p->x_unsigned ? (int16_t)(uint8_t)from[lane][c] : (int16_t)from[lane][c];
    }
    if (t1 > depth)
        memset(to, 0, (size_t)(t1 - epl_max(t0, depth)) * (size_t)lanes * sizeof *to);
}

/* ---- tables ---- */

VEC_INLINE vh vload16(const int16_t *p)
{
    vh v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* to[code] = x times the weight of the code: x, 2x, 4x, 8x, and their negatives. */
static void fill_3_bits(const int16_t *x, int64_t units, int64_t lanes, int16_t *to)
{
    for (; units > 0; units--, x += lanes, to += 8 * lanes)
        for (int64_t i = 0; i < lanes; i += WIDTH) {
            vh product = vload16(x + i);
            VEC_UNROLL for (int s = 0; s < 4; s++, product += product) {
                const vh negative = -product;
                memcpy(to + s * lanes + i, &product, sizeof product);
                memcpy(to + (4 + s) * lanes + i, &negative, sizeof negative);
            }
        }
}

/* to[code] = the sum of the two products, of a with x, 2x, -x, -2x and of b with the same. */
static void fill_2_bits(const int16_t *x, int64_t units, int64_t lanes, int16_t *to)
{
    for (; units > 0; units--, x += 2 * lanes, to += 16 * lanes)
        for (int64_t i = 0; i < lanes; i += WIDTH) {
            const vh x0 = vload16(x + i), x1 = vload16(x + lanes + i);
            const vh a[4] = { x0, x0 + x0, -x0, -(x0 + x0) }, b[4] = { x1, x1 + x1, -x1, -(x1 + x1) };
            VEC_UNROLL for (int code = 0; code < 16; code++) {
                const vh sum = a[code & 3] + b[code >> 2];
                memcpy(to + code * lanes + i, &sum, sizeof sum);
            }
        }
}

/* As of 3 bits, up to 128 x, in 32 bits. */
static void fill_4_bits(const int16_t *x, int64_t units, int64_t lanes, int32_t *to)
{
    for (; units > 0; units--, x += lanes, to += 16 * lanes)
        for (int64_t i = 0; i < lanes; i += VL) {
            vi_half half;
            memcpy(&half, x + i, sizeof half);
            vi product = vwiden(half);
            VEC_UNROLL for (int s = 0; s < 8; s++, product += product) {
                vistore(to + s * lanes + i, product);
                vistore(to + (8 + s) * lanes + i, -product);
            }
        }
}

/* ---- sums ---- */

/* sums += acc, 16 bits to 32 */
VEC_INLINE void add_sums(const vh *acc, int32_t *sums, const int vectors)
{
    VEC_UNROLL for (int v = 0; v < vectors; v++) {
        vi_half half[2];
        memcpy(half, &acc[v], sizeof acc[v]);
        VEC_UNROLL for (int i = 0; i < 2; i++) {
            int32_t *to = sums + (2 * v + i) * VL;
            vistore(to, viload(to) + vwiden(half[i]));
        }
    }
}

/* For each of `channels` output channels, the rows of the tables that its codes name. A table has 1 << table_shift
 * rows of `vectors` vectors, which are a power of two: row_shift with their lanes. */
VEC_INLINE void add_rows(const uint8_t *codes, int64_t bytes, int64_t channels, const int16_t *tables, int32_t *sums, const int table_shift,
                         const int vectors, const int row_shift)
{
    for (; channels > 0; channels--, sums += (int64_t)1 << row_shift) {
        const int16_t *table = tables;
        vh acc[MOST_V] = { 0 };
        for (const uint8_t *end = codes + bytes; codes < end; codes++, table += (int64_t)2 << table_shift << row_shift) {
            const unsigned both = *codes;
            const int16_t *first = table + ((both & 15) << row_shift);
            const int16_t *second = table + ((((unsigned)1 << table_shift) + (both >> 4)) << row_shift);
            VEC_UNROLL for (int v = 0; v < vectors; v++) {
                acc[v] += vload16(first + v * WIDTH);
                acc[v] += vload16(second + v * WIDTH);
            }
        }
        add_sums(acc, sums, vectors);
    }
}

/* The same with tables of 32 bits. */
VEC_INLINE void add_wide_rows(const uint8_t *codes, int64_t bytes, int64_t channels, const int32_t *tables,
                              int32_t *sums, const int vectors, const int row_shift)
{
    for (; channels > 0; channels--, sums += (int64_t)1 << row_shift) {
        const int32_t *table = tables;
        vi acc[2 * MOST_V];
        VEC_UNROLL for (int v = 0; v < 2 * vectors; v++) {
            acc[v] = viload(sums + v * VL);
        }
        for (const uint8_t *end = codes + bytes; codes < end; codes++, table += (int64_t)32 << row_shift) {
            const unsigned both = *codes;
            const int32_t *first = table + ((both & 15) << row_shift), *second = table + ((16 + (both >> 4)) << row_shift);
            VEC_UNROLL for (int v = 0; v < 2 * vectors; v++) {
                acc[v] += viload(first + v * VL);
                acc[v] += viload(second + v * VL);
            }
        }
        VEC_UNROLL for (int v = 0; v < 2 * vectors; v++) {
            vistore(sums + v * VL, acc[v]);
        }
    }
}

/* Not inlined, so that their instructions can be counted. */
static __attribute__((noinline)) void shift_adds_8(const uint8_t *codes, int64_t bytes, int64_t channels,
                                                   const int16_t *tables, int32_t *sums, int64_t lanes)
{
    if (lanes == WIDTH)
        add_rows(codes, bytes, channels, tables, sums, 3, 1, SHIFT);
    else
        add_rows(codes, bytes, channels, tables, sums, 3, MOST_V, 5);
}

static __attribute__((noinline)) void shift_adds_16(const uint8_t *codes, int64_t bytes, int64_t channels,
                                                    const int16_t *tables, int32_t *sums, int64_t lanes)
{
    if (lanes == WIDTH)
        add_rows(codes, bytes, channels, tables, sums, 4, 1, SHIFT);
    else
        add_rows(codes, bytes, channels, tables, sums, 4, MOST_V, 5);
}

static __attribute__((noinline)) void shift_adds_wide(const uint8_t *codes, int64_t bytes, int64_t channels,
                                                      const int32_t *tables, int32_t *sums, int64_t lanes)
{
    if (lanes == WIDTH)
        add_wide_rows(codes, bytes, channels, tables, sums, 1, SHIFT);
    else
        add_wide_rows(codes, bytes, channels, tables, sums, MOST_V, 5);
}

/* Adds the products of the `units` from u0 on to the sums of the channels [j0, j1) of a group. */
static void run_chunk(const work *k, int64_t group, int64_t u0, int64_t units, int64_t j0, int64_t j1)
{
    const uint8_t *codes = (const uint8_t *)k->call->in[1] + epl_shift_add_at(k->p, group, u0, units, j0);
    int32_t *wide = (int32_t *)(void *)k->tables;
    const int64_t taps = epl_shift_add_taps(k->p);
    fill_rows(k, u0 * taps, (u0 + units) * taps);
    if (k->p->bits == 2) {
        fill_2_bits(k->rows, units, k->lanes, k->tables);
        shift_adds_16(codes, units / 2, j1 - j0, k->tables, k->sums, k->lanes);
    } else if (k->p->bits == 3) {
        fill_3_bits(k->rows, units, k->lanes, k->tables);
        shift_adds_8(codes, units / 2, j1 - j0, k->tables, k->sums, k->lanes);
    } else {
        fill_4_bits(k->rows, units, k->lanes, wide);
        shift_adds_wide(codes, units / 2, j1 - j0, wide, k->sums, k->lanes);
    }
}

/* y = sums * scale + bias, of the channels from column `col` of y on. */
static void finish(const work *k, int64_t pixel, int64_t n, int64_t col, int64_t channels)
{
    const float *scale = (const float *)k->call->in[2] + col, *bias = k->call->in[3] ? (const float *)k->call->in[3] + col : NULL;
    const int64_t m = k->p->conv.m;
    float *y = (float *)(void *)k->sums;
    for (int64_t j = 0; j < channels; j++)
        for (int64_t i = j * k->lanes; i < (j + 1) * k->lanes; i += VL)
            vstore(y + i, vfma(vtofloat(viload(k->sums + i)), vset(scale[j]), vset(bias ? bias[j] : 0.0f)));
    epl_store_turned(y, k->lanes, n, channels, (float *)k->call->out[0] + pixel * m + col, m);
}

/* ---- pieces ---- */

static void run_piece(const work *k, int64_t index)
{
    const epl_conv_params *c = &k->p->conv;
    const int64_t mg = c->m / c->groups, column = index % (k->col_blocks * c->groups), row = index / (k->col_blocks * c->groups);
    const int64_t group = column / k->col_blocks, j0 = epl_block_begin(mg, k->col_blocks, column % k->col_blocks);
    const int64_t j1 = epl_block_begin(mg, k->col_blocks, column % k->col_blocks + 1);
    const int64_t begin = epl_block_begin(k->pixels, k->row_blocks, row), end = epl_block_begin(k->pixels, k->row_blocks, row + 1);
    for (int64_t pixel = begin, n; pixel < end; pixel += n) {
        n = epl_min(k->lanes, end - pixel);
        point(k, pixel, n, group);
        memset(k->sums, 0, (size_t)((j1 - j0) * k->lanes) * sizeof *k->sums);
        for (int64_t u0 = 0; u0 < k->units; u0 += k->chunk)
            run_chunk(k, group, u0, epl_min(k->chunk, k->units - u0), j0, j1);
        finish(k, pixel, n, group * mg + j0, j1 - j0);
    }
    epl_chain_epilogue(k->call, begin, end, group * mg + j0, group * mg + j1);
}

int64_t EPL_K(shift_add_pieces)(const void *params)
{
    const work k = make_work(params);
    return k.row_blocks * k.col_blocks * k.p->conv.groups;
}

/* Whole lines of the cache. */
static size_t lines(int64_t bytes) { return (size_t)((bytes + 63) / 64 * 64); }

static size_t from_bytes(const work *k) { return lines(positions_of(&k->p->conv) * LANES * (int64_t)sizeof *k->from); }
static size_t row_bytes(const work *k) { return (size_t)(k->chunk * epl_shift_add_taps(k->p) * LANES) * sizeof *k->rows; }
static size_t table_bytes(const work *k)
{
    return (size_t)(k->chunk * (k->p->bits == 3 ? 8 : 16) * LANES) * (k->p->bits == 4 ? sizeof(int32_t) : sizeof *k->tables);
}

size_t EPL_K(shift_add_scratch)(const void *params)
{
    const work k = make_work(params);
    const epl_conv_params *c = &k.p->conv;
    const int64_t channels = c->m / c->groups;
    return from_bytes(&k) + lines(c->c + 8) + row_bytes(&k) + table_bytes(&k) + (size_t)(channels * LANES) * sizeof *k.sums;
}

void EPL_K(shift_add)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    work k = make_work(call->params);
    char *at = scratch;
    k.call = call;
    k.from = (const int8_t **)scratch, at += from_bytes(&k);
    k.zeros = (int8_t *)at, at += lines(k.p->conv.c + 8);
    k.rows = (int16_t *)(void *)at, at += row_bytes(&k);
    k.tables = (int16_t *)(void *)at, at += table_bytes(&k);
    k.sums = (int32_t *)(void *)at;
    memset(k.zeros, 0, (size_t)k.p->conv.c);
    for (int64_t i = begin; i < end; i++)
        run_piece(&k, i);
}
