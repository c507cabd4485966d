/* reduce: sums, extremes, products along one axis of [outer, size, inner].
 *
 * With inner 1 the vectors lie along the axis and are folded at the end in a fixed order, else they lie across it. Sums of
 * many elements are kept short: blocks of a few hundred are added up on their own, so that rounding grows with the square
 * root of the length at most. */
#include "kernels/bandwidth.h"
#include "kernels/vmath.h"

EPL_KERNEL(reduce);

enum { BLOCK = 256, PIECE_ELEMS = 16384 };

VEC_INLINE vf start(int64_t kind)
{
    return kind == EPL_REDUCE_MAX ? vset(-INFINITY) : kind == EPL_REDUCE_MIN ? vset(INFINITY) : vset(kind == EPL_REDUCE_PROD);
}

/* One more element; `first` says that x is an element and not a partial result. */
VEC_INLINE vf fold(int64_t kind, int first, vf sum, vf x)
{
    switch (kind) {
    case EPL_REDUCE_MAX:        return vmax(sum, x);
    case EPL_REDUCE_MIN:        return vmin(sum, x);
    case EPL_REDUCE_PROD:       return sum * x;
    case EPL_REDUCE_SUM_ABS:    return sum + (first ? vabs(x) : x);
    case EPL_REDUCE_SUM_SQUARE: return sum + (first ? x * x : x);
    default:                    return sum + x;
    }
}

static float fold_lanes(int64_t kind, vf x)
{
    float t[VL];
    vstore(t, x);
    vf sum = vset(t[0]);
    for (int i = 1; i < VL; i++)
        sum = fold(kind, 0, sum, vset(t[i]));
    return kind <= EPL_REDUCE_PROD && kind != EPL_REDUCE_SUM ? sum[0] : vsum(x);
}

/* n elements that lie together. */
VEC_INLINE float reduce_row(const int64_t kind, const float *x, int64_t n)
{
    vf total = start(kind);
    for (int64_t at = 0; at < n; at += BLOCK * VL) {
        const int64_t end = at + BLOCK * VL < n ? at + BLOCK * VL : n;
        vf s[4] = { start(kind), start(kind), start(kind), start(kind) };
        int64_t i = at;
        for (; i + 4 * VL <= end; i += 4 * VL)
            for (int k = 0; k < 4; k++)
                s[k] = fold(kind, 1, s[k], vload(x + i + k * VL));
        for (; i < end; i += VL) {
            const int64_t left = end - i;
            const vf v = left >= VL ? vload(x + i) : vsel(vlanes() < vseti((int32_t)left), vload_part(x + i, left), start(kind));
            s[0] = fold(kind, 1, s[0], v);
        }
        s[0] = fold(kind, 0, s[0], s[2]);
        s[1] = fold(kind, 0, s[1], s[3]);
        total = fold(kind, 0, total, fold(kind, 0, s[0], s[1]));
    }
    return fold_lanes(kind, total);
}

/* One vector of columns, `size` rows apart by `stride`. */
VEC_INLINE vf reduce_column(const int64_t kind, const float *x, int64_t size, int64_t stride, int64_t lanes)
{
    vf total = start(kind);
    for (int64_t at = 0; at < size; at += BLOCK) {
        const int64_t end = at + BLOCK < size ? at + BLOCK : size;
        vf s = start(kind);
        for (int64_t r = at; r < end; r++)
            s = fold(kind, 1, s, vload_part(x + r * stride, lanes));
        total = fold(kind, 0, total, s);
    }
    return total;
}

/* Four vectors of columns at once. */
VEC_INLINE void reduce_columns(const int64_t kind, const float *x, int64_t size, int64_t stride, vf total[4])
{
    for (int k = 0; k < 4; k++)
        total[k] = start(kind);
    for (int64_t at = 0; at < size; at += BLOCK) {
        const int64_t end = at + BLOCK < size ? at + BLOCK : size;
        vf s[4] = { start(kind), start(kind), start(kind), start(kind) };
        for (int64_t r = at; r < end; r++)
            for (int k = 0; k < 4; k++)
                s[k] = fold(kind, 1, s[k], vload(x + r * stride + k * VL));
        for (int k = 0; k < 4; k++)
            total[k] = fold(kind, 0, total[k], s[k]);
    }
}

VEC_INLINE void reduce_block(const int64_t kind, const float *x, int64_t size, int64_t stride, int64_t columns, float scale, float *y)
{
    int64_t c = 0;
    for (; c + 4 * VL <= columns; c += 4 * VL) {
        vf total[4];
        reduce_columns(kind, x + c, size, stride, total);
        for (int k = 0; k < 4; k++)
            vstore(y + c + k * VL, total[k] * scale);
    }
    for (; c < columns; c += VL) {
        const int64_t lanes = columns - c < VL ? columns - c : VL;
        vstore_part(y + c, reduce_column(kind, x + c, size, stride, lanes) * scale, lanes);
    }
}

/* The switch stands outside the loops. */
static float row_of(int64_t kind, const float *x, int64_t n)
{
    switch (kind) {
    case EPL_REDUCE_MAX:        return reduce_row(EPL_REDUCE_MAX, x, n);
    case EPL_REDUCE_MIN:        return reduce_row(EPL_REDUCE_MIN, x, n);
    case EPL_REDUCE_PROD:       return reduce_row(EPL_REDUCE_PROD, x, n);
    case EPL_REDUCE_SUM_ABS:    return reduce_row(EPL_REDUCE_SUM_ABS, x, n);
    case EPL_REDUCE_SUM_SQUARE: return reduce_row(EPL_REDUCE_SUM_SQUARE, x, n);
    default:                    return reduce_row(EPL_REDUCE_SUM, x, n);
    }
}

static void block_of(int64_t kind, const float *x, int64_t size, int64_t stride, int64_t columns, float scale, float *y)
{
    switch (kind) {
    case EPL_REDUCE_MAX:        reduce_block(EPL_REDUCE_MAX, x, size, stride, columns, scale, y); break;
    case EPL_REDUCE_MIN:        reduce_block(EPL_REDUCE_MIN, x, size, stride, columns, scale, y); break;
    case EPL_REDUCE_PROD:       reduce_block(EPL_REDUCE_PROD, x, size, stride, columns, scale, y); break;
    case EPL_REDUCE_SUM_ABS:    reduce_block(EPL_REDUCE_SUM_ABS, x, size, stride, columns, scale, y); break;
    case EPL_REDUCE_SUM_SQUARE: reduce_block(EPL_REDUCE_SUM_SQUARE, x, size, stride, columns, scale, y); break;
    default:                    reduce_block(EPL_REDUCE_SUM, x, size, stride, columns, scale, y); break;
    }
}

/* Pieces: parts x groups of rows of results. With inner 1 a group is some rows, else one row of some columns. */
static int64_t rows_each(const epl_reduce_params *p)
{
    const int64_t length = p->size / p->parts * p->inner;
    return p->inner == 1 ? epl_between(1, PIECE_ELEMS / (length > 0 ? length : 1), p->outer > 0 ? p->outer : 1) : 1;
}

static int64_t groups(const epl_reduce_params *p)
{
    return p->inner == 1 ? epl_cut(p->outer, rows_each(p)) : p->outer * epl_cut(p->inner, EPL_REDUCE_COLUMNS);
}

int64_t EPL_K(reduce_pieces)(const void *params)
{
    const epl_reduce_params *p = params;
    return epl_between(1, p->parts * groups(p), INT64_MAX);
}

size_t EPL_K(reduce_scratch)(const void *params)
{
    (void)params;
    return 0;
}

static void reduce_piece(const epl_call *call, const epl_reduce_params *p, int64_t part, int64_t group)
{
    const int64_t first = p->size * part / p->parts, size = p->size * (part + 1) / p->parts - first;
    const float scale = p->parts > 1 ? 1 : (float)p->scale, *x = call->in[0];
    float *y = (float *)call->out[0] + part * p->outer * p->inner;
    const int64_t blocks = epl_cut(p->inner, EPL_REDUCE_COLUMNS), n_rows = rows_each(p);
    const int64_t row = p->inner == 1 ? group * n_rows : group / blocks, column = p->inner == 1 ? 0 : group % blocks * EPL_REDUCE_COLUMNS;
    const int64_t end = row + n_rows < p->outer ? row + n_rows : p->outer;
    const int64_t columns = column + EPL_REDUCE_COLUMNS < p->inner ? EPL_REDUCE_COLUMNS : p->inner - column;
    for (int64_t r = row; r < end; r++) {
        const float *from = x + (r * p->size + first) * p->inner + column;
        if (p->inner == 1)
            y[r] = row_of(p->kind, from, size) * scale;
        else
            block_of(p->kind, from, size, p->inner, columns, scale, y + r * p->inner + column);
    }
}

void EPL_K(reduce)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_reduce_params *p = call->params;
    (void)scratch;
    for (int64_t i = begin; i < end && groups(p) > 0; i++)
        reduce_piece(call, p, i / groups(p), i % groups(p));
}
