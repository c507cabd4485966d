/* eigen: eigenvalues and eigenvectors of symmetric matrices by Jacobi's rotations (Golub & Van Loan 2013, sec. 8.5).
 * For the sizes of patches, some hundreds; larger ones would want another method. */
#include <math.h>
#include <string.h>

#include "analysis/filters.h"

/* The rotation that makes a[p][q] zero, applied to rows, columns, and the vectors. */
static void rotate(double *a, double *v, int n, int p, int q)
{
    const double apq = a[p * n + q], theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
    for (int k = 0; k < n; k++) {
        const double x = a[k * n + p], y = a[k * n + q];
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for (int k = 0; k < n; k++) {
        const double x = a[p * n + k], y = a[q * n + k];
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
    }
    for (int k = 0; k < n; k++) {
        const double x = v[p * n + k], y = v[q * n + k];
        v[p * n + k] = c * x - s * y;
        v[q * n + k] = s * x + c * y;
    }
}

/* Rows of `vectors` and `values` in falling order of the values. */
static void sort_falling(double *values, double *vectors, double *row, int n)
{
    for (int i = 0; i < n; i++) {
        int best = i;
        for (int k = i + 1; k < n; k++)
            if (values[k] > values[best])
                best = k;
        const double x = values[i];
        values[i]    = values[best];
        values[best] = x;
        memcpy(row, vectors + i * n, (size_t)n * sizeof *row);
        memmove(vectors + i * n, vectors + best * n, (size_t)n * sizeof *row);
        memcpy(vectors + best * n, row, (size_t)n * sizeof *row);
    }
}

bool epl_eigen_symmetric(epl_context *ctx, double *a, int n, double *values, double *vectors)
{
    double total = 0;
    memset(vectors, 0, (size_t)n * (size_t)n * sizeof *vectors);
    for (int i = 0; i < n; i++)
        vectors[i * n + i] = 1;
    for (int i = 0; i < n * n; i++)
        total += a[i] * a[i];
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                off += a[p * n + q] * a[p * n + q];
        if (off <= 1e-26 * total)
            break;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                if (a[p * n + q] * a[p * n + q] > 1e-30 * total)
                    rotate(a, vectors, n, p, q);
    }
    for (int i = 0; i < n; i++)
        values[i] = a[i * n + i];
    double *row = epl_alloc_array(ctx, (size_t)n + 1, sizeof *row);
    if (row)
        sort_falling(values, vectors, row, n);
    epl_release(ctx, row);
    return row != NULL;
}
