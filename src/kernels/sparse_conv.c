/* Convolution with unstructured sparse weights, which are known when the program is made; with a kernel of 1 also a sparse linear
 * layer.
 *
 * After "Fast sparse convnets" (Elsen et al. 2020): neighbouring pixels lie side by side in a vector, so a non-zero
 * weight costs one multiply-add per vector of pixels and nothing is looked up per element. A piece is a range of
 * output pixels. It takes the channels or taps in blocks that fit the first cache: the block's source is transposed
 * into a panel (sparse_layout.h), and all output channels add their non-zeros of the block to their sums, a tile of
 * some vectors of pixels at a time. They do so in groups of lists equally long (sparse.h), so that there are enough
 * independent sums and the ends of loops are few. */
#include "kernels/chain.h"
#include "kernels/sparse.h"
#include "kernels/transpose.h"

EPL_KERNEL(sparse_conv);

#define OUTSIDE UINTPTR_MAX

enum { SIDE = EPL_SPARSE_SIDE, VECTORS = EPL_SPARSE_VECTORS, GROUP = EPL_SPARSE_GROUP };

/* Addresses, a square's rows at once: what they are added to and chosen from are numbers. */
typedef uintptr_t addresses __attribute__((vector_size(SIDE * sizeof(uintptr_t))));

/* The same of `lanes` rows, whole squares of them, and columns [begin, end). */
static void transpose(const uintptr_t *row, int64_t lanes, int64_t begin, int64_t end, float *to, int64_t to_row)
{
    int64_t c = begin;
    for (; c + SIDE <= end; c += SIDE, to += SIDE * to_row)
        for (int64_t r = 0; r < lanes; r += SIDE) {
            const float *square[SIDE]; // in registers
            VEC_UNROLL for (int i = 0; i < SIDE; i++) {
                square[i] = (const float *)row[r + i];
            }
            epl_turn_square(square, c, to + r, to_row, SIDE);
        }
    for (; c < end; c++, to += to_row)
        for (int64_t r = 0; r < lanes; r++)
            to[r] = ((const float *)row[r])[c];
}

/* ---- where a piece's source lies ---- */

typedef struct work { /* what all pieces share, and the memory of the thread that runs them */
    const epl_conv_params *p;
    const epl_sparse_layout *l;
    const epl_call *call;
    uintptr_t *from;             /* [positions][lanes] (flat), [a unit's lanes] (strips): the source pixel, its first channel */
    uintptr_t *columns;          /* [kw][columns_row]: bytes from a source line to an output column's source, or OUTSIDE */
    float *zeros, *panel, *sums; /* a pixel outside of the image; [units of a block][lanes]; [m + 1][sum_row] */
    int64_t sum_row, columns_row;
    int rows;                    /* of a block of channels: 1, 2, 4 */
} work;

typedef struct place { /* of an output line or pixel */
    int64_t n, d, h, w;
} place;

static int64_t count_pixels(const epl_conv_params *p)
{
    return p->n * p->od * p->oh * p->ow;
}

static void find_columns(const work *k)
{
    const epl_conv_params *p = k->p;
    for (int64_t kx = 0; kx < p->kw; kx++)
        for (int64_t i = 0; i < k->columns_row; i++) {
            const int64_t at = i * p->sw + kx * p->dw - p->pw;
            k->columns[kx * k->columns_row + i] =
                i < p->ow && (uint64_t)at < (uint64_t)p->w ? (uintptr_t)(at * p->c) * sizeof(float) : OUTSIDE;
        }
}

/* The source image under an output place and slice kz of the kernel; NULL outside. */
static const float *find_image(const work *k, place o, int64_t kz)
{
    const epl_conv_params *p = k->p;
    const int64_t z = o.d * p->sd - p->pd + kz * p->dd;
    return (uint64_t)z < (uint64_t)p->d ? (const float *)k->call->in[0] + (o.n * p->d + z) * p->h * p->w * p->c : NULL;
}

/* Under column kx of the kernel, the source of `count` output columns from w on, and something in the next whole square; y is the
 * line in the image. */
VEC_INLINE void point_line(const work *k, const float *image, int64_t y, int64_t kx, int64_t w, int64_t count, uintptr_t *to)
{
    const epl_conv_params *p = k->p;
    const int inside = image && (uint64_t)y < (uint64_t)p->h;
    const uintptr_t line = inside ? (uintptr_t)(image + y * p->w * p->c) : 0, *columns = k->columns + kx * k->columns_row + w;
    const addresses zeros = (uintptr_t)k->zeros - (addresses){ 0 };
    for (int64_t i = 0; i < count; i += SIDE) {
        addresses at;
        memcpy(&at, columns + i, sizeof at);
        const addresses outside = inside ? (addresses)(at == OUTSIDE) : ~(addresses){ 0 };
        at = (zeros & outside) | ((line + at) & ~outside);
        memcpy(to + i, &at, sizeof at);
    }
}

/* The pixels of a flat piece under each kernel position; the last square is filled up. */
static void point_pixels(const work *k, int64_t first, int64_t pixels)
{
    const epl_conv_params *p = k->p;
    const place begin = { first / p->ow / p->oh / p->od, first / p->ow / p->oh % p->od, first / p->ow % p->oh, first % p->ow };
    uintptr_t *to = k->from;
    for (int64_t q = 0; q < p->kd * p->kh * p->kw; q++, to += k->l->lanes) {
        const int64_t kx = q % p->kw, ky = q / p->kw % p->kh, kz = q / p->kw / p->kh;
        place o = begin;
        for (int64_t i = 0, count; i < pixels; i += count, o.w = 0) {
            count = epl_min(p->ow - o.w, pixels - i);
            point_line(k, find_image(k, o, kz), o.h * p->sh - p->ph + ky * p->dh, kx, o.w, count, to + i);
            if (++o.h == p->oh)
                o.h = 0, o.d++;
            if (o.d == p->od)
                o.d = 0, o.n++;
        }
        for (int64_t i = pixels; i % SIDE; i++)
            to[i] = (uintptr_t)k->zeros;
    }
}

/* The lines of a strip that begins at o, under each column of the kernel. */
static void point_lines(const work *k, place o)
{
    const epl_conv_params *p = k->p;
    const int64_t pitch = k->l->pitch, each = k->l->slots / p->sh;
    uintptr_t *to = k->from;
    for (int64_t kz = 0; kz < p->kd; kz++) {
        const float *image = find_image(k, o, kz);
        for (int64_t kx = 0; kx < p->kw; kx++)
            for (int64_t phase = 0; phase < p->sh; phase++)
                for (int64_t i = 0; i < each; i++, to += pitch)
                    point_line(k, image, (o.h + i) * p->sh - p->ph + phase, kx, 0, pitch, to);
    }
}

/* panel[tap][lane] of a flat tile that begins at lane `at`, for the taps [t0, t1). */
static void fill_taps(const work *k, int64_t at, int64_t lanes, int64_t t0, int64_t t1)
{
    const int64_t c = k->p->c;
    for (int64_t tap = t0, until; tap < t1; tap = until) {
        until = epl_min(t1, (tap / c + 1) * c);
        transpose(k->from + tap / c * k->l->lanes + at, epl_ceil_div(lanes, SIDE) * SIDE, tap % c, until - tap / c * c,
                  k->panel + (tap - t0) * k->l->unit, k->l->unit);
    }
}

/* ---- sums ---- */

/* A value times a vector per entry and channel; `rows` neighbouring channels share their vector. */
VEC_INLINE void add_entry(vf sum[GROUP][VECTORS], const float *entry, const float *panel, const int rows, const int vectors)
{
    uint32_t offset[GROUP];
    memcpy(offset, entry, sizeof offset / (size_t)rows);
    const vf values = vquad(entry + GROUP / rows);
    VEC_UNROLL for (int i = 0; i < GROUP; i++) {
        const vf value = i == 0 ? vquad_lane(values, 0) : i == 1 ? vquad_lane(values, 1) : i == 2 ? vquad_lane(values, 2) :
                                                                                              vquad_lane(values, 3);
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            sum[i][j] += value * vload(panel + offset[i / rows] + j * VL);
        }
    }
}

/* A group's entries of a block; sums[channel * row + lane] begin with the bias, or go on. Returns what follows the list. */
VEC_INLINE const float *run_group(const float *list, const float *panel, const float *bias, int64_t m, float *sums, int64_t row,
                                  int begin, const int rows, const int vectors)
{
    const int32_t *channel = (const int32_t *)(const void *)(list + GROUP);
    vf sum[GROUP][VECTORS];
    int32_t n;
    memcpy(&n, list, sizeof n);
    list += EPL_SPARSE_HEAD;
    VEC_UNROLL for (int i = 0; i < GROUP; i++) {
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            sum[i][j] = !begin ? vload(sums + channel[i] * row + j * VL) : vset(bias && channel[i] < m ? bias[channel[i]] : 0.0f);
        }
    }
    for (; n > 0; n--, list += GROUP + GROUP / rows)
        add_entry(sum, list, panel, rows, vectors);
    const volatile int32_t *again = channel; // kept, they would take the sums' registers
    VEC_UNROLL for (int i = 0; i < GROUP; i++) {
        float *to = sums + again[i] * row;
        VEC_UNROLL for (int j = 0; j < vectors; j++) {
            vstore(to + j * VL, sum[i][j]);
        }
    }
    return list;
}

#define ARGUMENTS const float *list, const float *panel, const float *bias, int64_t m, float *sums, int64_t row, int begin
#define DEFINE(rows, vectors)                                                            \
    static const float *run_block_##rows##_##vectors(ARGUMENTS)                          \
    {                                                                                    \
        for (int64_t i = 0; i < m; i += GROUP)                                           \
            list = run_group(list, panel, bias, m, sums, row, begin, rows, vectors);     \
        return list;                                                                     \
    }
DEFINE(1, 1) DEFINE(1, 2) DEFINE(2, 1) DEFINE(2, 2) DEFINE(4, 1) DEFINE(4, 2)
#if VL == 16
DEFINE(1, 3) DEFINE(1, 4) DEFINE(2, 3) DEFINE(2, 4) DEFINE(4, 3) DEFINE(4, 4)
#define VARIANTS(rows) { run_block_##rows##_1, run_block_##rows##_2, run_block_##rows##_3, run_block_##rows##_4 }
#else
#define VARIANTS(rows) { run_block_##rows##_1, run_block_##rows##_2 }
#endif

/* Of the tile that begins at lane `at`. */
static const float *run_tile(const work *k, const float *list, const float *panel, int64_t at, int64_t lanes, int begin)
{
    static const float *(*const variants[3][VECTORS])(ARGUMENTS) = { VARIANTS(1), VARIANTS(2), VARIANTS(4) };
    return variants[k->rows / 2][epl_ceil_div(lanes, VL) - 1](list, panel, k->call->in[2], k->p->m, k->sums + at, k->sum_row, begin);
}

/* ---- pieces ---- */

static void run_flat(const work *k, int64_t first, int64_t pixels)
{
    const epl_sparse_layout *l = k->l;
    const float *list = (const float *)k->call->in[1] + EPL_SPARSE_START, *next = list;
    point_pixels(k, first, pixels);
    for (int64_t t0 = 0; t0 < l->units; t0 += l->block, list = next)
        for (int64_t at = 0; at < pixels; at += l->tile) {
            const int64_t lanes = epl_min(l->tile, pixels - at);
            fill_taps(k, at, lanes, t0, epl_min(t0 + l->block, l->units));
            next = run_tile(k, list, k->panel, at, lanes, t0 == 0);
        }
    epl_store_turned(k->sums, k->sum_row, pixels, k->p->m, (float *)k->call->out[0] + first * k->p->m, k->p->m);
}

static void run_strip(const work *k, place o, int64_t first, int64_t lines)
{
    const epl_conv_params *p = k->p;
    const epl_sparse_layout *l = k->l;
    const float *list = (const float *)k->call->in[1] + EPL_SPARSE_START, *next = list;
    point_lines(k, o);
    for (int64_t c0 = 0; c0 < p->c; c0 += l->block, list = next) {
        transpose(k->from, l->unit, c0, epl_min(c0 + l->block, p->c), k->panel, l->unit);
        for (int64_t at = 0; at < lines * l->pitch; at += l->tile)
            next = run_tile(k, list, k->panel + at, at, epl_min(l->tile, lines * l->pitch - at), c0 == 0);
    }
    for (int64_t i = 0; i < lines; i++)
        epl_store_turned(k->sums + i * l->pitch, k->sum_row, p->ow, p->m, (float *)k->call->out[0] + (first + i * p->ow) * p->m, p->m);
}

static void run_piece(const work *k, int64_t i)
{
    const epl_conv_params *p = k->p;
    const epl_sparse_layout *l = k->l;
    int64_t first = i * l->lanes, pixels = epl_min(l->lanes, count_pixels(p) - first);
    if (!l->lines) {
        run_flat(k, first, pixels);
    } else {
        const int64_t strips = epl_ceil_div(p->oh, l->lines), slice = i / strips, h = i % strips * l->lines;
        const int64_t lines = epl_min(l->lines, p->oh - h);
        first = (slice * p->oh + h) * p->ow, pixels = lines * p->ow;
        run_strip(k, (place){ slice / p->od, slice % p->od, h, 0 }, first, lines);
    }
    epl_chain_epilogue(k->call, first, first + pixels, 0, p->m);
}

/* Of the parts of a thread's memory, in floats. A tile reads up to a vector beyond the panel's last line. */
static int64_t zeros_size(const epl_conv_params *p) { return epl_packed_cols(p->c); }
static int64_t columns_row_of(const epl_conv_params *p) { return (p->ow / SIDE + 2) * SIDE; }
static int64_t panel_size(const epl_sparse_layout *l) { return epl_packed_cols(l->block * l->unit + VL); }
static int64_t sum_row_of(const epl_sparse_layout *l) { return epl_packed_cols(l->lanes) + VL; } // rows in different sets of a cache

int64_t EPL_K(sparse_conv_pieces)(const void *params)
{
    const epl_sparse_layout l = epl_sparse_layout_of(params, VL);
    return epl_max(1, epl_sparse_pieces(params, &l));
}

size_t EPL_K(sparse_conv_scratch)(const void *params)
{
    const epl_conv_params *p = params;
    const epl_sparse_layout l = epl_sparse_layout_of(p, VL);
    const int64_t pointers = l.lines ? l.unit : p->kd * p->kh * p->kw * l.lanes;
    return (size_t)(zeros_size(p) + panel_size(&l) + (p->m + 1) * sum_row_of(&l)) * sizeof(float) +
           (size_t)(pointers + SIDE + p->kw * columns_row_of(p)) * sizeof(uintptr_t);
}

void EPL_K(sparse_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_conv_params *p = call->params;
    const epl_sparse_layout l = epl_sparse_layout_of(p, VL);
    work k = { .p = p, .l = &l, .call = call, .zeros = scratch, .sum_row = sum_row_of(&l), .columns_row = columns_row_of(p) };
    k.panel   = k.zeros + zeros_size(p);
    k.sums    = k.panel + panel_size(&l);
    k.columns = (uintptr_t *)(void *)(k.sums + (p->m + 1) * k.sum_row);
    k.from    = k.columns + p->kw * k.columns_row;
    k.rows = ((const int32_t *)call->in[1])[1];
    memset(k.zeros, 0, (size_t)p->c * sizeof(float));
    find_columns(&k);
    if (count_pixels(p) == 0)
        return;
    for (int64_t i = begin; i < end; i++)
        run_piece(&k, i);
}
