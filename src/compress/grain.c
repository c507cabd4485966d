/* grain: what a mask is chosen by - elements, blocks of the weight as a matrix, whole rows (outputs), columns (inputs), kernels. */
#include "compress/compress.h"

#include <string.h>

static const char *const units[] = { "element", "row", "column", "kernel" };
enum { ELEMENT, ROW, COLUMN, KERNEL };

bool epl_grain_check(epl_context *ctx, const epl_prune_opts *o)
{
    const int unit = o->unit ? epl_choose_word(ctx, "unit", o->unit, units, EPL_COUNT(units)) : ELEMENT;
    if (o->block_rows < 0 || o->block_columns < 0)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "blocks of %d x %d", o->block_rows, o->block_columns);
    if (unit > ELEMENT && (o->block_rows > 1 || o->block_columns > 1 || o->n))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "the unit is a %s, and a block or n of m as well", o->unit);
    return unit >= 0;
}

epl_grain epl_grain_of(const epl_layer *l, const epl_prune_opts *o)
{
    const epl_shape s = epl_shape_of(l->weight);
    epl_grain b = { .columns = s.dim[s.rank - 1], .inputs = s.dim[s.rank - 2], .r = o->block_rows > 0 ? o->block_rows : 1,
                    .c = o->block_columns > 0 ? o->block_columns : 1 };
    for (int i = 1; o->unit && i < (int)EPL_COUNT(units); i++)
        b.unit = strcmp(units[i], o->unit) == 0 ? i : b.unit;
    b.rows   = l->count / b.columns;
    b.across = (b.columns + b.c - 1) / b.c;
    b.n      = b.unit == ROW ? b.columns : b.unit == COLUMN ? b.inputs : b.unit == KERNEL ? b.inputs * b.columns
                                                                                          : (b.rows + b.r - 1) / b.r * b.across;
    return b;
}

int64_t epl_grain_at(const epl_grain *b, int64_t i)
{
    switch (b->unit) {
    case ROW:    return i % b->columns;
    case COLUMN: return i / b->columns % b->inputs;
    case KERNEL: return i % (b->inputs * b->columns);
    default:     return i / b->columns / b->r * b->across + i % b->columns / b->c;
    }
}

bool epl_grain_sum(epl_context *ctx, const epl_grain *b, int64_t count, float *scores)
{
    double *sums = b->n == count ? NULL : epl_alloc_array(ctx, (size_t)b->n, sizeof *sums);
    if (b->n == count)
        return true;
    if (!sums)
        return false;
    for (int64_t i = 0; i < count; i++)
        sums[epl_grain_at(b, i)] += (double)scores[i];
    for (int64_t i = 0; i < b->n; i++)
        scores[i] = (float)sums[i];
    epl_release(ctx, sums);
    return true;
}

void epl_grain_write(const epl_grain *b, const unsigned char *keep, epl_tensor *mask)
{
    for (int64_t i = 0; i < epl_tensor_count(mask); i++)
        ((float *)mask->data)[i] = keep[epl_grain_at(b, i)];
}

/* ---- n of m ---- */

/* n of every m along one axis; a rest of r < m keeps min(n, r). */
static void along_axis(epl_shape s, int axis, const epl_prune_opts *o, const float *scores, float *mask)
{
    const int64_t step = epl_shape_count_from(s, axis + 1, s.rank), length = s.dim[axis], lines = epl_shape_count(s) / length;
    for (int64_t line = 0; line < lines; line++) {
        const int64_t base = line / step * step * length + line % step;
        for (int64_t first = 0; first < length; first += o->m) {
            const int64_t end = first + o->m < length ? first + o->m : length;
            for (int64_t i = first; i < end; i++) {
                int better = 0; // how many of the group are ahead of i
                const float mine = scores[base + i * step];
                for (int64_t k = first; k < end; k++)
                    better += scores[base + k * step] > mine || (scores[base + k * step] == mine && k < i);
                mask[base + i * step] = better < o->n;
            }
        }
    }
}

/* One tile of at most m x m: the best first, where row and column have room. At least half of the best sum there is. */
static void fill_tile(const epl_prune_opts *o, int rows, int columns, int64_t stride, const float *scores, float *mask)
{
    int in_row[EPL_MAX_TRANSPOSABLE] = { 0 }, in_column[EPL_MAX_TRANSPOSABLE] = { 0 };
    for (int r = 0; r < rows; r++)
        memset(mask + r * stride, 0, (size_t)columns * sizeof *mask);
    for (;;) {
        int best_r = -1, best_c = -1;
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++)
                if (mask[r * stride + c] == 0 && in_row[r] < o->n && in_column[c] < o->n &&
                    (best_r < 0 || scores[r * stride + c] > scores[best_r * stride + best_c])) {
                    best_r = r;
                    best_c = c;
                }
        if (best_r < 0)
            return;
        mask[best_r * stride + best_c] = 1;
        in_row[best_r]++;
        in_column[best_c]++;
    }
}

/* n of m along inputs and along outputs: the same mask serves the product and the product with the transposed weight. */
static void both_ways(epl_shape s, const epl_prune_opts *o, const float *scores, float *mask)
{
    const int64_t columns = s.dim[s.rank - 1], inputs = s.dim[s.rank - 2], taps = epl_shape_count(s) / columns / inputs;
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t i = 0; i < inputs; i += o->m)
            for (int64_t c = 0; c < columns; c += o->m) {
                const int64_t at = (tap * inputs + i) * columns + c;
                const int rows = (int)(inputs - i < o->m ? inputs - i : o->m), wide = (int)(columns - c < o->m ? columns - c : o->m);
                fill_tile(o, rows, wide, columns, scores + at, mask + at);
            }
}

void epl_grain_n_of_m(const epl_layer *l, const epl_prune_opts *o, const float *scores, float *mask)
{
    const epl_shape s = epl_shape_of(l->weight);
    if (o->transposable)
        both_ways(s, o, scores, mask);
    else
        along_axis(s, l->kind == EPL_LAYER_EMBEDDING ? s.rank - 1 : s.rank - 2, o, scores, mask);
}
