/* cka: how alike two networks see the same samples: linear centred kernel alignment, Kornblith et al. 2019
 * (arXiv:1905.00414), eq. (5). */
#include <espalier/analysis.h>

#include <math.h>

/* Columns less their means. */
static double *centred(epl_context *ctx, const epl_tensor *t)
{
    const int64_t n = t->shape.dim[0], d = t->shape.dim[1];
    double       *x = epl_alloc_array(ctx, (size_t)(n * d) + 1, sizeof *x);
    for (int64_t k = 0; x && k < d; k++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++)
            mean += epl_tensor_get(t, i * d + k) / (double)n;
        for (int64_t i = 0; i < n; i++)
            x[i * d + k] = epl_tensor_get(t, i * d + k) - mean;
    }
    return x;
}

/* The squared Frobenius norm of a' b, of [n, p] and [n, q]. */
static double alignment(const double *a, int64_t p, const double *b, int64_t q, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < p; i++)
        for (int64_t j = 0; j < q; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++)
                sum += a[k * p + i] * b[k * q + j];
            total += sum * sum;
        }
    return total;
}

bool epl_cka(epl_context *ctx, const epl_tensor *a, const epl_tensor *b, double *result)
{
    char sa[192], sb[192];
    if (a->shape.rank != 2 || b->shape.rank != 2 || a->shape.dim[0] != b->shape.dim[0] || a->shape.dim[0] < 2)
        return epl_fail(ctx, EPL_ERR_SHAPE, "features of the same samples are needed, [n, p] and [n, q], not %s and %s",
                        epl_shape_text(sa, a->shape), epl_shape_text(sb, b->shape));
    const int64_t n = a->shape.dim[0], p = a->shape.dim[1], q = b->shape.dim[1];
    double       *x = centred(ctx, a), *y = centred(ctx, b);
    if (x && y)
        *result = alignment(x, p, y, q, n) / sqrt(alignment(x, p, x, p, n) * alignment(y, q, y, q, n)); // NaN where one is constant
    const bool ok = x && y;
    epl_release(ctx, x);
    epl_release(ctx, y);
    return ok;
}
