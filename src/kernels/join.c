/* join: tensors with borders, and tensors side by side. Both write rows in order, each byte once. */
#include "kernels/bandwidth.h"

#include <string.h>

EPL_KERNEL(pad);
EPL_KERNEL(concat);

enum { PIECE_BYTES = 65536 };

size_t EPL_K(pad_scratch)(const void *params)
{
    (void)params;
    return 0;
}

size_t EPL_K(concat_scratch)(const void *params)
{
    (void)params;
    return 0;
}

static int64_t rows_each(int64_t row_bytes)
{
    return epl_between(1, PIECE_BYTES / (row_bytes > 0 ? row_bytes : 1), INT64_MAX);
}

/* ---- pad ---- */

static int64_t pad_rows(const epl_pad_params *p)
{
    int64_t n = 1;
    for (int64_t i = 0; i < p->rank - 1; i++)
        n *= p->out_dim[i];
    return n;
}

static int64_t pad_row_bytes(const epl_pad_params *p)
{
    return p->out_dim[p->rank - 1] * p->bytes;
}

int64_t EPL_K(pad_pieces)(const void *params)
{
    const epl_pad_params *p = params;
    return epl_between(1, epl_cut(pad_rows(p), rows_each(pad_row_bytes(p))), INT64_MAX);
}

static void repeat(char *y, int64_t count, int64_t bytes, int64_t value)
{
    if (value == 0)
        memset(y, 0, (size_t)(count * bytes));
    else
        for (int64_t i = 0; i < count; i++)
            memcpy(y + i * bytes, &value, (size_t)bytes); // little-endian, as the value is stored
}

/* The offset of the input row under row `row` of the result, or -1 on the border. */
static int64_t row_below(const epl_pad_params *p, int64_t row)
{
    int64_t at = 0, step = p->in_dim[p->rank - 1];
    for (int64_t i = p->rank - 2; i >= 0; i--) {
        const int64_t k = row % p->out_dim[i] - p->before[i];
        row /= p->out_dim[i];
        if (k < 0 || k >= p->in_dim[i])
            return -1;
        at += k * step;
        step *= p->in_dim[i];
    }
    return at;
}

static void pad_row(const epl_pad_params *p, const char *x, char *y, int64_t row)
{
    const int64_t n = p->out_dim[p->rank - 1], m = p->in_dim[p->rank - 1], before = p->before[p->rank - 1];
    const int64_t from = row_below(p, row), left = epl_between(0, before, n), end = epl_between(left, m + before, n);
    if (from < 0) {
        repeat(y, n, p->bytes, p->value);
        return;
    }
    repeat(y, left, p->bytes, p->value);
    if (end > left)
        memcpy(y + left * p->bytes, x + (from + left - before) * p->bytes, (size_t)((end - left) * p->bytes));
    repeat(y + end * p->bytes, n - end, p->bytes, p->value);
}

void EPL_K(pad)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_pad_params *p = call->params;
    const int64_t each = rows_each(pad_row_bytes(p)), rows = pad_rows(p);
    (void)scratch;
    for (int64_t r = begin * each; r < rows && r / each < end; r++)
        pad_row(p, call->in[0], (char *)call->out[0] + r * pad_row_bytes(p), r);
}

/* ---- concat ---- */

static int64_t concat_row_bytes(const epl_concat_params *p)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->n; i++)
        n += p->width[i];
    return n;
}

int64_t EPL_K(concat_pieces)(const void *params)
{
    const epl_concat_params *p = params;
    return epl_between(1, epl_cut(p->outer, rows_each(concat_row_bytes(p))), INT64_MAX);
}

void EPL_K(concat)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_concat_params *p = call->params;
    const int64_t row_bytes = concat_row_bytes(p), each = rows_each(row_bytes);
    (void)scratch;
    for (int64_t r = begin * each; r < p->outer && r / each < end; r++) {
        char *y = (char *)call->out[0] + r * row_bytes;
        for (int64_t i = 0; i < p->n; y += p->width[i++])
            memcpy(y, (const char *)call->in[i] + r * p->width[i], (size_t)p->width[i]);
    }
}
