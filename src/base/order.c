/* order: numbers in rising order, and what is read off them. */
#include <espalier/base.h>

#include <math.h>
#include <stdlib.h>

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void epl_sort(double *x, int64_t n)
{
    if (n > 1)
        qsort(x, (size_t)n, sizeof *x, rising);
}

double epl_median(double *x, int64_t n)
{
    epl_sort(x, n);
    return n > 0 ? 0.5 * (x[n / 2] + x[(n - 1) / 2]) : NAN;
}
