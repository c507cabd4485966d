/* copy: strided copies, fills and row look-ups; what moves elements and computes nothing.
 *
 * A copy first joins axes that are one axis on both sides. Then it is a set of rows: runs of contiguous elements on both
 * sides, or transpositions of the last axis with the axis that lies contiguously in the input, done in square blocks, or
 * plain strided loops. */
#include "kernels/bandwidth.h"
#include "ops/ref.h"

#include <string.h>

EPL_KERNEL(copy);
EPL_KERNEL(fill);
EPL_KERNEL(gather);
EPL_KERNEL(scatter_add);

static size_t nothing(const void *params)
{
    (void)params;
    return 0;
}

size_t EPL_K(copy_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(fill_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(gather_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(scatter_add_scratch)(const void *p) { return nothing(p); }

enum { PIECE_BYTES = 65536, BLOCK = 16 };

/* ---- copy ---- */

/* The copy in its simplest form: axes of size 1 gone, neighbours joined, and, if some axis but the last is contiguous in the
 * input, that axis moved next to the last (`transposed`). */
typedef struct plan {
    epl_copy_params p;
    int             transposed;
    int64_t         outer, outer_axes; /* rows (or planes, if transposed), and the axes that count them */
    int64_t         each;              /* rows of a piece; of a plane, lines of it */
    int64_t         plane_pieces;
} plan;

static void join_axes(epl_copy_params *p)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->rank; i++) {
        if (p->dim[i] == 1)
            continue;
        if (n > 0 && p->in_stride[n - 1] == p->dim[i] * p->in_stride[i] && p->out_stride[n - 1] == p->dim[i] * p->out_stride[i]) {
            p->dim[n - 1] *= p->dim[i];
            p->in_stride[n - 1] = p->in_stride[i];
            p->out_stride[n - 1] = p->out_stride[i];
            continue;
        }
        p->dim[n] = p->dim[i];
        p->in_stride[n] = p->in_stride[i];
        p->out_stride[n++] = p->out_stride[i];
    }
    if (n == 0) {
        p->dim[0] = 1;
        p->in_stride[0] = p->out_stride[0] = 1;
        n = 1;
    }
    p->rank = n;
}

static void move_axis(epl_copy_params *p, int64_t from, int64_t to)
{
    const int64_t dim = p->dim[from], in = p->in_stride[from], out = p->out_stride[from];
    for (int64_t i = from; i < to; i++) {
        p->dim[i] = p->dim[i + 1];
        p->in_stride[i] = p->in_stride[i + 1];
        p->out_stride[i] = p->out_stride[i + 1];
    }
    p->dim[to] = dim;
    p->in_stride[to] = in;
    p->out_stride[to] = out;
}

static plan make_plan(const epl_copy_params *params)
{
    plan c = { .p = *params };
    join_axes(&c.p);
    epl_copy_params *p = &c.p;
    const int64_t last = p->rank - 1;
    for (int64_t i = 0; i < last && !c.transposed && p->in_stride[last] != 1; i++)
        if (p->in_stride[i] == 1) {
            move_axis(p, i, last - 1);
            c.transposed = 1;
        }
    c.outer_axes = c.transposed ? last - 1 : last;
    c.outer = 1;
    for (int64_t i = 0; i < c.outer_axes; i++)
        c.outer *= p->dim[i];
    const int64_t line = p->dim[last] > 0 ? p->dim[last] * p->bytes : 1;
    c.each = epl_between(1, PIECE_BYTES / line, INT64_MAX);
    if (c.transposed)
        c.each = epl_cut(c.each, BLOCK) * BLOCK;
    c.plane_pieces = c.transposed ? epl_cut(p->dim[last - 1], c.each) : 1;
    return c;
}

int64_t EPL_K(copy_pieces)(const void *params)
{
    const plan c = make_plan(params);
    const int64_t n = c.transposed ? c.outer * c.plane_pieces : epl_cut(c.outer, c.each);
    return n > 0 ? n : 1;
}

static void offsets(const plan *c, int64_t row, int64_t *in, int64_t *out)
{
    *in = c->p.in_offset;
    *out = c->p.out_offset;
    for (int64_t i = c->outer_axes - 1; i >= 0; i--) {
        *in += row % c->p.dim[i] * c->p.in_stride[i];
        *out += row % c->p.dim[i] * c->p.out_stride[i];
        row /= c->p.dim[i];
    }
}

/* A square block, y[j][i] = x[i][j]; through a small buffer, so that both memories are touched along their lines. */
#define SQUARE(type)                                                                                               \
    static void square_##type(const type *x, int64_t in, type *y, int64_t row)                                     \
    {                                                                                                              \
        type t[BLOCK][BLOCK];                                                                                      \
        for (int i = 0; i < BLOCK; i++)                                                                            \
            for (int j = 0; j < BLOCK; j++)                                                                        \
                t[j][i] = x[i * in + j];                                                                           \
        for (int j = 0; j < BLOCK; j++)                                                                            \
            memcpy(y + j * row, t[j], sizeof t[j]);                                                                \
    }                                                                                                              \
    static void block_##type(const type *x, int64_t in, type *y, int64_t row, int64_t rows, int64_t columns)       \
    {                                                                                                              \
        if (rows == BLOCK && columns == BLOCK)                                                                     \
            square_##type(x, in, y, row);                                                                          \
        else                                                                                                       \
            for (int64_t j = 0; j < rows; j++)                                                                     \
                for (int64_t i = 0; i < columns; i++)                                                              \
                    y[j * row + i] = x[j + i * in];                                                                \
    }
SQUARE(uint8_t)
SQUARE(uint16_t)
SQUARE(uint64_t)

typedef uint32_t four __attribute__((vector_size(16)));

#ifdef __clang__
#define FOUR_OF(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define FOUR_OF(a, b, i, j, k, l) __builtin_shuffle(a, b, (four){ i, j, k, l })
#endif

static four interleave(four a, four b, int high) { return high ? FOUR_OF(a, b, 2, 6, 3, 7) : FOUR_OF(a, b, 0, 4, 1, 5); }

/* n of four elements; n is known where it counts. */
static inline __attribute__((always_inline)) four load_four(const uint32_t *x, int64_t n)
{
    four v;
    if (n < 4)
        return (four){ x[0], n > 1 ? x[1] : 0, n > 2 ? x[2] : 0 };
    memcpy(&v, x, sizeof v);
    return v;
}

static inline __attribute__((always_inline)) void store_four(uint32_t *y, four v, int64_t n)
{
    if (n >= 4)
        memcpy(y, &v, sizeof v);
    else
        for (int k = 0; k < n; k++)
            y[k] = v[k];
}

/* Four-byte elements: 4 x 4 tiles in registers, those at the edge (all, of images with three channels) with fewer
 * rows or columns. Interleaving rows 0, 2 and 1, 3, then the results, transposes. */
static inline __attribute__((always_inline)) void tile(const uint32_t *x, int64_t in, uint32_t *y, int64_t row,
                                                       int64_t rows, int64_t columns)
{
    four r[4] = { { 0 }, { 0 }, { 0 }, { 0 } };
    for (int k = 0; k < 4 && k < columns; k++)
        r[k] = load_four(x + k * in, rows);
    const four a = interleave(r[0], r[2], 0), b = interleave(r[1], r[3], 0);
    const four c = interleave(r[0], r[2], 1), d = interleave(r[1], r[3], 1);
    const four t[4] = { interleave(a, b, 0), interleave(a, b, 1), interleave(c, d, 0), interleave(c, d, 1) };
    if (rows == 4 && columns == 3 && row == 3) { // pixels of three channels, one behind the other
        store_four(y, FOUR_OF(t[0], t[1], 0, 1, 2, 4), 4);
        store_four(y + 4, FOUR_OF(t[1], t[2], 1, 2, 4, 5), 4);
        store_four(y + 8, FOUR_OF(t[2], t[3], 2, 4, 5, 6), 4);
        return;
    }
    for (int k = 0; k < 4 && k < rows; k++)
        store_four(y + k * row, t[k], columns);
}

static void block_uint32_t(const uint32_t *x, int64_t in, uint32_t *y, int64_t row, int64_t rows, int64_t columns)
{
    for (int64_t j = 0; j < rows; j += 4)
        for (int64_t i = 0; i < columns; i += 4) {
            const int64_t m = rows - j, n = columns - i;
            const uint32_t *from = x + i * in + j;
            uint32_t       *to = y + j * row + i;
            if (m >= 4 && n >= 4)
                tile(from, in, to, row, 4, 4);
            else if (m >= 4 && n == 3)
                tile(from, in, to, row, 4, 3);
            else if (m == 3 && n >= 4)
                tile(from, in, to, row, 3, 4);
            else
                tile(from, in, to, row, m, n);
        }
}

/* Rows and planes for one element size. */
#define COPIES(type)                                                                                               \
    static void line_##type(const type *x, int64_t in, type *y, int64_t out, int64_t n)                            \
    {                                                                                                              \
        if (in == 1 && out == 1)                                                                                   \
            memcpy(y, x, (size_t)n * sizeof *x);                                                                   \
        else if (in == 0 && out == 1)                                                                              \
            for (int64_t i = 0; i < n; i++)                                                                        \
                y[i] = *x;                                                                                         \
        else                                                                                                       \
            for (int64_t i = 0; i < n; i++)                                                                        \
                y[i * out] = x[i * in];                                                                            \
    }                                                                                                              \
    static void plane_##type(const plan *c, const type *x, type *y, int64_t first, int64_t end)                    \
    {                                                                                                              \
        const int64_t last = c->p.rank - 1, in = c->p.in_stride[last], out = c->p.out_stride[last];                \
        const int64_t row = c->p.out_stride[last - 1];                                                             \
        if (out != 1)                                                                                              \
            for (int64_t j = first; j < end; j++)                                                                  \
                line_##type(x + j, in, y + j * row, out, c->p.dim[last]);                                          \
        for (int64_t j = first; j < end && out == 1; j += BLOCK)                                                   \
            for (int64_t i = 0; i < c->p.dim[last]; i += BLOCK)                                                    \
                block_##type(x + i * in + j, in, y + i + j * row, row, epl_between(0, end - j, BLOCK),             \
                             epl_between(0, c->p.dim[last] - i, BLOCK));                                           \
    }                                                                                                              \
    static void piece_##type(const plan *c, const type *x, type *y, int64_t piece)                                 \
    {                                                                                                              \
        int64_t in, out;                                                                                           \
        const int64_t last = c->p.rank - 1;                                                                        \
        if (c->transposed) {                                                                                       \
            const int64_t first = piece % c->plane_pieces * c->each, lines = c->p.dim[last - 1];                   \
            offsets(c, piece / c->plane_pieces, &in, &out);                                                        \
            plane_##type(c, x + in, y + out, first, first + c->each < lines ? first + c->each : lines);            \
            return;                                                                                                \
        }                                                                                                          \
        for (int64_t r = piece * c->each; r < (piece + 1) * c->each && r < c->outer; r++) {                        \
            offsets(c, r, &in, &out);                                                                              \
            line_##type(x + in, c->p.in_stride[last], y + out, c->p.out_stride[last], c->p.dim[last]);             \
        }                                                                                                          \
    }
COPIES(uint8_t)
COPIES(uint16_t)
COPIES(uint32_t)
COPIES(uint64_t)

void EPL_K(copy)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const plan c = make_plan(call->params);
    (void)scratch;
    for (int64_t i = begin; i < end && c.outer > 0; i++)
        switch (c.p.bytes) {
        case 1:  piece_uint8_t(&c, call->in[0], call->out[0], i); break;
        case 2:  piece_uint16_t(&c, call->in[0], call->out[0], i); break;
        case 4:  piece_uint32_t(&c, call->in[0], call->out[0], i); break;
        default: piece_uint64_t(&c, call->in[0], call->out[0], i); break;
        }
}

/* ---- fill ---- */

int64_t EPL_K(fill_pieces)(const void *params)
{
    const epl_fill_params *p = params;
    return epl_between(1, epl_cut(p->count * p->bytes, PIECE_BYTES), INT64_MAX);
}

void EPL_K(fill)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_fill_params *p = call->params;
    const int64_t each = PIECE_BYTES / p->bytes, first = begin * each, last = end * each < p->count ? end * each : p->count;
    char *y = call->out[0];
    (void)scratch;
    if (!call->in[0])
        memset(y + first * p->bytes, 0, last > first ? (size_t)((last - first) * p->bytes) : 0);
    else
        for (int64_t i = first; i < last; i++)
            memcpy(y + i * p->bytes, call->in[0], (size_t)p->bytes);
}

/* ---- gather and scatter_add ---- */

static int64_t index_at(const epl_gather_params *p, const void *indices, int64_t i)
{
    const int64_t k = p->indices == EPL_REF_I32 ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
    return k < 0 ? k + p->size : k;
}

static int64_t lookups_each(const epl_gather_params *p)
{
    return epl_between(1, PIECE_BYTES / (p->inner * p->bytes > 0 ? p->inner * p->bytes : 1), INT64_MAX);
}

int64_t EPL_K(gather_pieces)(const void *params)
{
    const epl_gather_params *p = params;
    return epl_between(1, epl_cut(p->outer * p->count, lookups_each(p)), INT64_MAX);
}

/* Elements of 4 bytes, one by one: permuted channels. */
static void pick_words(const epl_call *call, int64_t i, int64_t end)
{
    const epl_gather_params *p = call->params;
    const uint32_t *x = (const uint32_t *)call->in[0] + i / p->count * p->size;
    uint32_t       *y = call->out[0];
    int64_t         at = i % p->count;
    for (; i < end && i < p->outer * p->count; i++) {
        const int64_t k = index_at(p, call->in[1], at);
        y[i] = k < 0 || k >= p->size ? 0 : x[k];
        if (++at == p->count) {
            at = 0;
            x += p->size;
        }
    }
}

void EPL_K(gather)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_gather_params *p = call->params;
    const int64_t row = p->inner * p->bytes, each = lookups_each(p);
    (void)scratch;
    if (row == 4) {
        pick_words(call, begin * each, end * each);
        return;
    }
    for (int64_t i = begin * each; i < end * each && i < p->outer * p->count; i++) {
        const int64_t k = index_at(p, call->in[1], i % p->count);
        char *y = (char *)call->out[0] + i * row;
        if (k < 0 || k >= p->size)
            memset(y, 0, (size_t)row);
        else
            memcpy(y, (const char *)call->in[0] + (i / p->count * p->size + k) * row, (size_t)row);
    }
}

/* A piece owns a range of the rows that are added to and goes through all indices, so that no two threads meet. */
static int64_t ranges(const epl_gather_params *p)
{
    return epl_between(1, p->size * p->inner / 4096, p->size < 16 ? (p->size > 0 ? p->size : 1) : 16);
}

int64_t EPL_K(scatter_add_pieces)(const void *params)
{
    const epl_gather_params *p = params;
    return epl_between(1, p->outer * ranges(p), INT64_MAX);
}

void EPL_K(scatter_add)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_gather_params *p = call->params;
    const int64_t n = p->inner;
    (void)scratch;
    for (int64_t piece = begin; piece < end && piece < p->outer * ranges(p); piece++) {
        const int64_t o = piece / ranges(p), part = piece % ranges(p);
        const int64_t low = p->size * part / ranges(p), high = p->size * (part + 1) / ranges(p);
        float *y = (float *)call->out[0] + o * p->size * n;
        memset(y + low * n, 0, (size_t)((high - low) * n) * sizeof *y);
        for (int64_t i = 0; i < p->count; i++) {
            const int64_t k = index_at(p, call->in[1], i);
            const float *x = (const float *)call->in[0] + (o * p->count + i) * n;
            for (int64_t j = 0; k >= low && k < high && j < n; j++)
                y[k * n + j] += x[j];
        }
    }
}
