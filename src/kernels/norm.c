/* norm: normalisation of sets that span rows - batch, group and instance - in six kernels (bandwidth.h). Statistics are
 * taken in one pass over each block of rows, of differences from the mean of the block's first rows, and blocks are combined
 * as in Chan, Golub and LeVeque 1983; so a large mean costs no digits. */
#include "kernels/bandwidth.h"
#include "kernels/chain.h"
#include "kernels/vmath.h"

EPL_KERNEL(norm_parts);
EPL_KERNEL(norm_moments);
EPL_KERNEL(norm_apply);
EPL_KERNEL(norm_back_parts);
EPL_KERNEL(norm_back);
EPL_KERNEL(norm_dx);

static int64_t channels(const epl_norm_params *p)
{
    return p->groups * p->width;
}

static size_t nothing(const void *params)
{
    (void)params;
    return 0;
}

size_t EPL_K(norm_parts_scratch)(const void *p) { return (size_t)channels(p) * sizeof(float); }
size_t EPL_K(norm_back_parts_scratch)(const void *p) { return (size_t)channels(p) * sizeof(float); }
size_t EPL_K(norm_moments_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(norm_apply_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(norm_back_scratch)(const void *p) { return nothing(p); }
size_t EPL_K(norm_dx_scratch)(const void *p) { return nothing(p); }

/* ---- sums over blocks of rows: a piece is one split of one outer ---- */

int64_t EPL_K(norm_parts_pieces)(const void *params)
{
    const epl_norm_params *p = params;
    return epl_between(1, p->outer * epl_norm_splits(p), INT64_MAX);
}

int64_t EPL_K(norm_back_parts_pieces)(const void *params)
{
    return EPL_K(norm_parts_pieces)(params);
}

typedef struct block {
    int64_t outer, split, first, rows;
} block;

static block block_at(const epl_norm_params *p, int64_t piece)
{
    const int64_t splits = epl_norm_splits(p), split = piece % splits, first = p->rows * split / splits;
    return (block){ piece / splits, split, first, p->rows * (split + 1) / splits - first };
}

/* The sums over a block run over bands of rows, and within a band along the columns, four vectors at a time: so memory is
 * read along its lines, and the accumulators, which lie in memory, are touched once a band. */
static int64_t band_of(int64_t c)
{
    return epl_between(8, 4096 / c, 256);
}

/* n vectors of columns of a band: sums of d and of d (x - shift), where d = x - shift or, given another tensor, d is that.
 * `left`: the columns from here on. */
VEC_INLINE void add_band(const float *x, const float *other, int64_t band, int64_t stride, const float *shift, float *sums, float *dots,
                         const int n, int64_t left)
{
    vf s[4], t[4], m[4];
    for (int k = 0; k < n; k++) {
        s[k] = vload_some(sums + k * VL, left);
        t[k] = vload_some(dots + k * VL, left);
        m[k] = vload_some(shift + k * VL, left);
    }
    for (int64_t r = 0; r < band; r++)
        for (int k = 0; k < n; k++) {
            const int64_t at = r * stride + k * VL;
            const vf e = (n == 4 ? vload(x + at) : vload_some(x + at, left)) - m[k];
            const vf d = !other ? e : n == 4 ? vload(other + at) : vload_some(other + at, left);
            s[k] += d;
            t[k] += d * e;
        }
    for (int k = 0; k < n; k++) {
        vstore_some(sums + k * VL, s[k], left);
        vstore_some(dots + k * VL, t[k], left);
    }
}

/* Over all rows of a block: sums of d and of d (x - shift). */
VEC_INLINE void add_block(const float *x, const float *other, const float *shift, int64_t rows, int64_t c, float *sums, float *dots)
{
    const int64_t band = band_of(c);
    memset(sums, 0, (size_t)c * sizeof *sums);
    memset(dots, 0, (size_t)c * sizeof *dots);
    for (int64_t r = 0; r < rows; r += band) {
        const int64_t n = rows - r < band ? rows - r : band, at = r * c;
        int64_t k = 0;
        for (; k + 4 * VL <= c; k += 4 * VL)
            add_band(x + at + k, other ? other + at + k : NULL, n, c, shift + k, sums + k, dots + k, 4, c - k);
        for (; k < c; k += VL)
            add_band(x + at + k, other ? other + at + k : NULL, n, c, shift + k, sums + k, dots + k, 1, c - k);
    }
}

/* `shift` is scratch: the mean of the first rows. */
static void block_moments(const float *x, int64_t rows, int64_t c, float *shift, float *mean, float *squares)
{
    const int64_t first = rows < 8 ? rows : 8;
    memset(squares, 0, (size_t)c * sizeof *squares);
    add_block(x, NULL, squares, first, c, mean, shift);
    for (int64_t k = 0; k < c; k++)
        shift[k] = mean[k] / (float)first;
    add_block(x, NULL, shift, rows, c, mean, squares);
    for (int64_t k = 0; k < c; k++) {
        const float sum = mean[k], left = squares[k] - sum * sum / (float)rows;
        mean[k] = shift[k] + sum / (float)rows;
        squares[k] = left > 0 || left != left ? left : 0;
    }
}

void EPL_K(norm_parts)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_norm_params *p = call->params;
    const int64_t c = channels(p);
    for (int64_t piece = begin; piece < end && p->outer * p->rows * c > 0; piece++) {
        const block b = block_at(p, piece);
        const float *x = (const float *)call->in[0] + (b.outer * p->rows + b.first) * c;
        float *mean = (float *)call->out[0] + piece * 2 * c;
        block_moments(x, b.rows, c, scratch, mean, mean + c);
    }
}

void EPL_K(norm_back_parts)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_norm_params *p = call->params;
    const int64_t c = channels(p);
    float *mean = scratch; // of the channels, from that of the groups
    for (int64_t piece = begin; piece < end && p->outer * p->rows * c > 0; piece++) {
        const block b = block_at(p, piece);
        const int64_t at = (b.outer * p->rows + b.first) * c;
        const float *x = (const float *)call->in[0] + at, *dy = (const float *)call->in[1] + at;
        float *sums = (float *)call->out[0] + piece * 2 * c;
        for (int64_t k = 0; k < c; k++)
            mean[k] = ((const float *)call->in[2])[b.outer * p->groups + k / p->width];
        add_block(x, dy, mean, b.rows, c, sums, sums + c);
    }
}

/* ---- the few numbers between: a piece is one outer and group ---- */

int64_t EPL_K(norm_moments_pieces)(const void *params)
{
    const epl_norm_params *p = params;
    return epl_between(1, p->outer * p->groups, INT64_MAX);
}

/* Combines the parts of one set. */
static void set_moments(const epl_norm_params *p, const float *parts, int64_t outer, int64_t group, double *mean, double *var)
{
    const int64_t splits = epl_norm_splits(p), c = channels(p);
    const double count = (double)(p->rows * p->width);
    double sum = 0, squares = 0;
    for (int64_t s = 0; s < splits; s++) {
        const double rows = (double)block_at(p, s).rows;
        for (int64_t k = group * p->width; k < (group + 1) * p->width; k++)
            sum += rows * parts[(outer * splits + s) * 2 * c + k];
    }
    *mean = sum / count;
    for (int64_t s = 0; s < splits; s++) {
        const double rows = (double)block_at(p, s).rows;
        const float *part = parts + (outer * splits + s) * 2 * c;
        for (int64_t k = group * p->width; k < (group + 1) * p->width; k++)
            squares += part[c + k] + rows * (part[k] - *mean) * (part[k] - *mean);
    }
    *var = squares / count;
}

void EPL_K(norm_moments)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_norm_params *p = call->params;
    const float *parts = call->in[0], *scale = call->in[1];
    float *mean_out = call->out[0], *var_out = call->out[1], *coef = call->out[2];
    const int64_t c = channels(p), plane = p->outer * c;
    (void)scratch;
    for (int64_t i = begin; i < end && plane > 0; i++) {
        double mean, var;
        if (parts) {
            set_moments(p, parts, i / p->groups, i % p->groups, &mean, &var);
            if (mean_out)
                mean_out[i] = (float)mean;
            if (var_out)
                var_out[i] = (float)var;
        } else {
            mean = ((const float *)call->in[2])[i];
            var = ((const float *)call->in[3])[i];
        }
        for (int64_t k = 0; coef && k < p->width; k++) {
            const int64_t channel = i % p->groups * p->width + k;
            coef[i * p->width + k] = (float)mean;
            coef[plane + i * p->width + k] = (float)((scale ? scale[channel] : 1) / sqrt(var + p->epsilon));
        }
    }
}

int64_t EPL_K(norm_back_pieces)(const void *params)
{
    const epl_norm_params *p = params;
    return epl_between(1, p->groups, INT64_MAX);
}

/* One channel's sums of dy and of dy (x - mean) in one outer. */
static void channel_sums(const epl_norm_params *p, const float *parts, int64_t outer, int64_t channel, double *sum, double *dot)
{
    const int64_t splits = epl_norm_splits(p), c = channels(p);
    *sum = *dot = 0;
    for (int64_t s = 0; s < splits; s++) {
        *sum += parts[((outer * splits + s) * 2) * c + channel];
        *dot += parts[((outer * splits + s) * 2 + 1) * c + channel];
    }
}

/* dx = dy p + (x - mean) q + r of one set: p = rstd scale, q = -rstd^3 sum(scale dy (x - mean)) / n, r = -rstd sum(scale dy) / n.
 * Planes of coef: mean, p, q, r. */
static void set_back(const epl_call *call, const epl_norm_params *p, int64_t outer, int64_t group)
{
    const float *parts = call->in[0], *scale = call->in[1];
    float *dscale = call->out[0], *dbias = call->out[1], *coef = call->out[2];
    const int64_t c = channels(p), plane = p->outer * c;
    const double mean = ((const float *)call->in[2])[outer * p->groups + group];
    const double rstd = 1 / sqrt(((const float *)call->in[3])[outer * p->groups + group] + p->epsilon);
    const double n = (double)(p->rows * p->width);
    double all = 0, all_dots = 0;
    for (int64_t k = group * p->width; k < (group + 1) * p->width; k++) {
        double sum, dot;
        channel_sums(p, parts, outer, k, &sum, &dot);
        all += sum * (scale ? scale[k] : 1);
        all_dots += dot * (scale ? scale[k] : 1);
        if (dscale)
            dscale[k] = (float)(dot * rstd) + (outer ? dscale[k] : 0);
        if (dbias)
            dbias[k] = (float)sum + (outer ? dbias[k] : 0);
    }
    for (int64_t k = group * p->width; k < (group + 1) * p->width; k++) {
        float *at = coef + outer * c + k;
        at[0] = (float)mean;
        at[plane] = (float)(rstd * (scale ? scale[k] : 1));
        at[2 * plane] = (float)(-rstd * rstd * rstd * all_dots / n);
        at[3 * plane] = (float)(-rstd * all / n);
    }
}

void EPL_K(norm_back)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_norm_params *p = call->params;
    (void)scratch;
    for (int64_t group = begin; group < end && group < p->groups; group++)
        for (int64_t outer = 0; outer < p->outer; outer++) // in order: dscale and dbias are sums over it
            set_back(call, p, outer, group);
}

/* ---- the passes over the whole: a piece is some rows of one outer ---- */

static int64_t rows_each(const epl_norm_params *p)
{
    const int64_t c = channels(p);
    return epl_between(1, 16384 / (c > 0 ? c : 1), p->rows > 0 ? p->rows : 1);
}

int64_t EPL_K(norm_apply_pieces)(const void *params)
{
    const epl_norm_params *p = params;
    return epl_between(1, p->outer * epl_cut(p->rows, rows_each(p)), INT64_MAX);
}

int64_t EPL_K(norm_dx_pieces)(const void *params)
{
    return EPL_K(norm_apply_pieces)(params);
}

static block rows_at(const epl_norm_params *p, int64_t piece)
{
    const int64_t blocks = epl_cut(p->rows, rows_each(p)), first = piece % blocks * rows_each(p);
    return (block){ piece / blocks, 0, first, first + rows_each(p) < p->rows ? rows_each(p) : p->rows - first };
}

void EPL_K(norm_apply)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_norm_params *p = call->params;
    const int64_t c = channels(p), plane = p->outer * c;
    const float *bias = call->in[2];
    (void)scratch;
    for (int64_t piece = begin; piece < end && plane * p->rows > 0; piece++) {
        const block b = rows_at(p, piece);
        const int64_t at = (b.outer * p->rows + b.first) * c;
        const float *x = (const float *)call->in[0] + at, *mean = (const float *)call->in[1] + b.outer * c;
        float *y = (float *)call->out[0] + at;
        for (int64_t r = 0; r < b.rows; r++)
            for (int64_t k = 0; k < c; k += VL) {
                const int64_t lanes = c - k;
                const vf v = (vload_some(x + r * c + k, lanes) - vload_some(mean + k, lanes)) * vload_some(mean + plane + k, lanes);
                vstore_some(y + r * c + k, bias ? v + vload_some(bias + k, lanes) : v, lanes);
            }
        epl_chain_epilogue(call, b.outer * p->rows + b.first, b.outer * p->rows + b.first + b.rows, 0, c);
    }
}

void EPL_K(norm_dx)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_norm_params *p = call->params;
    const int64_t c = channels(p), plane = p->outer * c;
    (void)scratch;
    for (int64_t piece = begin; piece < end && plane * p->rows > 0; piece++) {
        const block b = rows_at(p, piece);
        const int64_t at = (b.outer * p->rows + b.first) * c;
        const float *x = (const float *)call->in[0] + at, *dy = (const float *)call->in[1] + at;
        const float *mean = (const float *)call->in[2] + b.outer * c;
        float *dx = (float *)call->out[0] + at;
        for (int64_t r = 0; r < b.rows; r++)
            for (int64_t k = 0; k < c; k += VL) {
                const int64_t lanes = c - k;
                const vf d = vload_some(x + r * c + k, lanes) - vload_some(mean + k, lanes);
                const vf s = vload_some(dy + r * c + k, lanes) * vload_some(mean + plane + k, lanes);
                vstore_some(dx + r * c + k, s + (d * vload_some(mean + 2 * plane + k, lanes) + vload_some(mean + 3 * plane + k, lanes)),
                            lanes);
            }
    }
}
