/* row_norm: layer and RMS normalisation, each row over itself. */
#include "kernels/bandwidth.h"
#include "kernels/vmath.h"

EPL_KERNEL(row_norm);
EPL_KERNEL(row_norm_back);

size_t EPL_K(row_norm_scratch)(const void *params)
{
    (void)params;
    return 0;
}

size_t EPL_K(row_norm_back_scratch)(const void *params)
{
    (void)params;
    return 0;
}

static int64_t rows_each(const epl_row_norm_params *p)
{
    return epl_between(1, 16384 / (p->width > 0 ? p->width : 1), p->rows > 0 ? p->rows : 1);
}

int64_t EPL_K(row_norm_pieces)(const void *params)
{
    const epl_row_norm_params *p = params;
    return epl_between(1, epl_cut(p->rows, rows_each(p)), INT64_MAX);
}

int64_t EPL_K(row_norm_back_pieces)(const void *params)
{
    return epl_row_norm_parts(params);
}

/* The row's mean (0 for RMS) and 1 / sqrt(var + epsilon), in two passes. */
static void measure(const epl_row_norm_params *p, const float *x, float *mean, float *rstd)
{
    vf sum = { 0 }, square = { 0 };
    for (int64_t i = 0; p->center && i < p->width; i += VL)
        sum += vload_some(x + i, p->width - i);
    *mean = vsum(sum) / (float)p->width;
    for (int64_t i = 0; i < p->width; i += VL) {
        const vi inside = vlanes() < vseti((int32_t)epl_between(0, p->width - i, VL));
        const vf d = vsel(inside, vload_some(x + i, p->width - i) - *mean, vset(0));
        square += d * d;
    }
    *rstd = 1 / sqrtf(vsum(square) / (float)p->width + (float)p->epsilon);
}

void EPL_K(row_norm)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_row_norm_params *p = call->params;
    const float *scale = call->in[1], *bias = call->in[2];
    const int64_t last = end * rows_each(p) < p->rows ? end * rows_each(p) : p->rows;
    (void)scratch;
    for (int64_t r = begin * rows_each(p); r < last; r++) {
        const float *x = (const float *)call->in[0] + r * p->width;
        float *y = (float *)call->out[0] + r * p->width, mean, rstd;
        measure(p, x, &mean, &rstd);
        for (int64_t i = 0; i < p->width; i += VL) {
            const int64_t n = p->width - i;
            vf v = (vload_some(x + i, n) - mean) * rstd;
            v = scale ? v * vload_some(scale + i, n) : v;
            vstore_some(y + i, bias ? v + vload_some(bias + i, n) : v, n);
        }
    }
}

/* One row: dx = (dyhat - mean(dyhat) - xhat mean(dyhat xhat)) rstd, and its share of dscale = dy xhat and dbias = dy. */
static void back_row(const epl_row_norm_params *p, const float *x, const float *dy, const float *scale, float *dx, float *dscale,
                     float *dbias)
{
    float mean, rstd;
    vf sum = { 0 }, dot = { 0 };
    measure(p, x, &mean, &rstd);
    for (int64_t i = 0; i < p->width; i += VL) {
        const int64_t n = p->width - i;
        const vf d = vload_some(dy + i, n), dyhat = scale ? d * vload_some(scale + i, n) : d;
        const vf xhat = (vload_some(x + i, n) - mean) * rstd;
        sum += dyhat;
        dot += dyhat * xhat; // beyond the row dy is zero
        vstore_some(dscale + i, vload_some(dscale + i, n) + d * xhat, n);
        if (dbias)
            vstore_some(dbias + i, vload_some(dbias + i, n) + d, n);
    }
    const float shift = p->center ? vsum(sum) / (float)p->width : 0, slope = vsum(dot) / (float)p->width;
    for (int64_t i = 0; i < p->width; i += VL) {
        const int64_t n = p->width - i;
        const vf d = vload_some(dy + i, n), dyhat = scale ? d * vload_some(scale + i, n) : d;
        const vf xhat = (vload_some(x + i, n) - mean) * rstd;
        vstore_some(dx + i, (dyhat - shift - xhat * slope) * rstd, n);
    }
}

void EPL_K(row_norm_back)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_row_norm_params *p = call->params;
    const int64_t parts = epl_row_norm_parts(p);
    (void)scratch;
    for (int64_t part = begin; part < end; part++) {
        float *dscale = (float *)call->out[1] + part * p->width;
        float *dbias = call->out[2] ? (float *)call->out[2] + part * p->width : NULL;
        memset(dscale, 0, (size_t)p->width * sizeof *dscale);
        if (dbias)
            memset(dbias, 0, (size_t)p->width * sizeof *dbias);
        for (int64_t r = p->rows * part / parts; r < p->rows * (part + 1) / parts; r++)
            back_row(p, (const float *)call->in[0] + r * p->width, (const float *)call->in[1] + r * p->width, call->in[2],
                     (float *)call->out[0] + r * p->width, dscale, dbias);
    }
}
