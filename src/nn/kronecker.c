/* kronecker: the nearest sum of Kronecker products to a matrix, Van Loan & Pitsianis 1993, "Approximation with Kronecker
 * products": rearranged so that each block is a row, the best n terms are the best approximation of rank n. */
#include <math.h>
#include <stdlib.h>

#include "nn/hypercomplex.h"

/* Eigenvalues (on the diagonal of a) and eigenvectors (rows of v) of a symmetric matrix, by Jacobi's rotations. */
static void eigen(int n, double *a, double *v)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            v[i * n + j] = i == j;
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                all += a[i * n + j] * a[i * n + j];
                off += i != j ? a[i * n + j] * a[i * n + j] : 0;
            }
        if (off <= 1e-30 * all)
            return;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0)
                    continue;
                const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                const double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < n; k++) { // columns
                    const double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) { // rows
                    const double x = a[p * n + k], y = a[q * n + k], u = v[p * n + k], w = v[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                    v[p * n + k] = c * u - s * w;
                    v[q * n + k] = s * u + c * w;
                }
            }
    }
}

/* Row (a, b) of the rearranged weight. */
static void block_row(const epl_blocks *k, const float *weight, int row, double *out)
{
    const int64_t in = k->in / k->n, m = k->out / k->n, a = row / k->n, b = row % k->n;
    for (int64_t t = 0; t < k->taps; t++)
        for (int64_t q = 0; q < in; q++)
            for (int64_t p = 0; p < m; p++) {
                const int64_t i = b * in + q - k->pad;
                *out++ = i < 0 ? 0 : weight[(t * (k->in - k->pad) + i) * k->out + a * m + p];
            }
}

/* The n leading left singular vectors of r [rows, columns] become the rules. */
static bool leading_rules(epl_context *ctx, int n, int rows, int64_t columns, const double *r, double *rules)
{
    double *gram = epl_alloc_array(ctx, (size_t)rows * (size_t)rows, sizeof *gram);
    double *v    = epl_alloc_array(ctx, (size_t)rows * (size_t)rows, sizeof *v);
    const bool ok = gram && v;
    for (int i = 0; ok && i < rows; i++)
        for (int j = 0; j < rows; j++)
            for (int64_t c = 0; c < columns; c++)
                gram[i * rows + j] += r[i * columns + c] * r[j * columns + c];
    if (ok)
        eigen(rows, gram, v);
    for (int term = 0; ok && term < n; term++) {
        int best = 0;
        for (int i = 0; i < rows; i++)
            best = gram[i * rows + i] > gram[best * rows + best] ? i : best;
        for (int i = 0; i < rows; i++)
            rules[term * rows + i] = v[best * rows + i];
        gram[best * rows + best] = -INFINITY;
    }
    epl_release(ctx, gram);
    epl_release(ctx, v);
    return ok;
}

bool epl_kronecker_fit(epl_context *ctx, epl_blocks b, const float *weight, bool given, double *rules, float *filters, double *error,
                       double *total)
{
    const int     n = b.n, rows = n * n;
    const int64_t columns = b.taps * (b.in / n) * (b.out / n);
    double *r = epl_alloc_array(ctx, (size_t)rows * (size_t)columns, sizeof *r);
    for (int i = 0; r && i < rows; i++)
        block_row(&b, weight, i, r + i * columns);
    const bool ok = r && (given || leading_rules(ctx, n, rows, columns, r, rules));
    for (int64_t c = 0; ok && c < columns; c++) {
        double left = 0, explained = 0;
        for (int i = 0; i < rows; i++)
            left += r[i * columns + c] * r[i * columns + c];
        *total += left;
        for (int term = 0; term < n; term++) { // the rules are orthogonal to each other
            const double *rule = rules + term * rows;
            double dot = 0, norm = 0;
            for (int i = 0; i < rows; i++) {
                dot += rule[i] * r[i * columns + c];
                norm += rule[i] * rule[i];
            }
            filters[term * columns + c] = (float)(dot / norm);
            explained += dot * dot / norm;
        }
        *error += fmax(left - explained, 0);
    }
    epl_release(ctx, r);
    return ok;
}
