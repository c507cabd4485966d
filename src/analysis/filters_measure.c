/* filters_measure: what a bank of filters is like - how alike its filters are, which waves they look for - and their pictures. */
#include <math.h>
#include <string.h>

#include "analysis/filters.h"

enum { FIELD = 32 }; /* side of the padded spectrum */

typedef struct bank {
    epl_context *ctx;
    int    k, w, d, z, p; /* height, width, channels, filters, numbers of a filter */
    float *rows;          /* [z, p], of length 1 */
    float *lengths;       /* before */
} bank;

static void bank_release(bank *b)
{
    epl_release(b->ctx, b->rows);
    epl_release(b->ctx, b->lengths);
}

static bool bank_open(epl_context *ctx, const epl_tensor *t, bank *b)
{
    char text[192];
    *b = (bank){ .ctx = ctx };
    if (t->dtype != EPL_F32 || t->shape.rank != 4 || epl_tensor_count(t) == 0 || t->shape.dim[0] > FIELD || t->shape.dim[1] > FIELD)
        return epl_fail(
            ctx, EPL_ERR_SHAPE,
            "%s%s is no bank of filters: f32 [kernel, kernel, channels, number] of at most %d pixels is needed",
            epl_dtype_name(t->dtype), epl_shape_text(text, t->shape), FIELD);
    b->k = (int)t->shape.dim[0], b->w = (int)t->shape.dim[1], b->d = (int)t->shape.dim[2], b->z = (int)t->shape.dim[3];
    b->p = b->k * b->w * b->d;
    b->rows    = epl_alloc_array(ctx, (size_t)b->z * (size_t)b->p, sizeof *b->rows);
    b->lengths = epl_alloc_array(ctx, (size_t)b->z, sizeof *b->lengths);
    for (int j = 0; b->rows && b->lengths && j < b->z; j++) {
        for (int i = 0; i < b->p; i++)
            b->rows[(int64_t)j * b->p + i] = ((const float *)t->data)[(int64_t)i * b->z + j];
        b->lengths[j] = epl_rows_normalise(b->rows + (int64_t)j * b->p, b->p);
    }
    return b->rows && b->lengths;
}

/* ---- alike ---- */

/* The product of a and b moved by (dy, dx), zeros around. */
static double shifted_product(const bank *b, const float *x, const float *y, int dy, int dx)
{
    double sum = 0;
    for (int r = 0; r < b->k; r++)
        for (int c = 0; r + dy >= 0 && r + dy < b->k && c < b->w; c++) {
            if (c + dx < 0 || c + dx >= b->w)
                continue;
            for (int i = 0; i < b->d; i++)
                sum += (double)x[(r * b->w + c) * b->d + i] * (double)y[((r + dy) * b->w + c + dx) * b->d + i];
        }
    return sum;
}

static double most_shifted(const bank *b, const float *x, const float *y)
{
    double most = 0;
    for (int dy = 1 - b->k; dy < b->k; dy++)
        for (int dx = 1 - b->w; dx < b->w; dx++)
            most = fmax(most, fabs(shifted_product(b, x, y, dy, dx)));
    return most;
}

static void measure_coherence(const bank *b, epl_filters_measures *m)
{
    double sum = 0, shifted = 0;
    m->coherence_max = b->z > 1 ? 0 : NAN;
    for (int i = 0; i < b->z; i++) {
        double nearest = 0;
        for (int j = 0; j < b->z; j++) {
            const float *x = b->rows + (int64_t)i * b->p, *y = b->rows + (int64_t)j * b->p;
            if (i == j)
                continue;
            const double c = fabs((double)epl_rows_dot(x, y, b->p));
            m->coherence_max = fmax(m->coherence_max, c);
            sum += c;
            nearest = fmax(nearest, most_shifted(b, x, y));
        }
        shifted += nearest;
    }
    m->coherence_mean  = b->z > 1 ? sum / ((double)b->z * (b->z - 1)) : NAN;
    m->shift_coherence = b->z > 1 ? shifted / b->z : NAN;
}

/* ---- as a matrix ---- */

/* The product of the smaller side with itself: [n, n], n = min(z, p). With lengths as they were, if asked for. */
static void gram(const bank *b, bool as_it_was, double *out)
{
    const int n = b->z <= b->p ? b->z : b->p;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            if (b->z <= b->p) {
                sum = (double)epl_rows_dot(b->rows + (int64_t)i * b->p, b->rows + (int64_t)j * b->p, b->p);
                sum *= as_it_was ? (double)b->lengths[i] * (double)b->lengths[j] : 1;
            } else
                for (int k = 0; k < b->z; k++) {
                    const double l = as_it_was ? (double)b->lengths[k] * (double)b->lengths[k] : (double)b->p / b->z;
                    sum += l * (double)b->rows[(int64_t)k * b->p + i] * (double)b->rows[(int64_t)k * b->p + j];
                }
            out[i * n + j] = sum;
        }
}

static bool measure_matrix(const bank *b, epl_filters_measures *m)
{
    const int n = b->z <= b->p ? b->z : b->p;
    double   *g = epl_alloc_array(b->ctx, (size_t)n * (size_t)n, sizeof *g), *v = epl_alloc_array(b->ctx, (size_t)n * (size_t)n, sizeof *v);
    double   *values = epl_alloc_array(b->ctx, (size_t)n, sizeof *values), error = 0, total = 0, entropy = 0;
    bool      ok = g && v && values;
    if (ok) {
        gram(b, false, g);
        for (int i = 0; i < n * n; i++)
            error += (g[i] - (i % (n + 1) == 0)) * (g[i] - (i % (n + 1) == 0));
        gram(b, true, g);
        ok = epl_eigen_symmetric(b->ctx, g, n, values, v);
    }
    for (int i = 0; ok && i < n; i++)
        total += fmax(values[i], 0);
    for (int i = 0; ok && i < n; i++)
        if (values[i] > 0 && total > 0)
            entropy -= values[i] / total * log(values[i] / total);
    m->orthogonality  = sqrt(error) / sqrt(n);
    m->effective_rank = exp(entropy);
    m->spectral_norm  = ok ? sqrt(fmax(values[0], 0)) : NAN;
    epl_release(b->ctx, g);
    epl_release(b->ctx, v);
    epl_release(b->ctx, values);
    return ok;
}

/* ---- as waves ---- */

/* |FFT|^2 of filter j without its mean, summed over channels: [FIELD, FIELD], frequencies u / FIELD. */
static void spectrum(const bank *b, int j, double out[FIELD][FIELD])
{
    const double two_pi = 2 * acos(-1);
    memset(out, 0, sizeof(double) * FIELD * FIELD);
    for (int c = 0; c < b->d; c++) {
        const float *x = b->rows + (int64_t)j * b->p + c;
        double mean = 0;
        for (int i = 0; i < b->k * b->w; i++)
            mean += (double)x[i * b->d] / (b->k * b->w);
        for (int u = 0; u < FIELD; u++)
            for (int v = 0; v < FIELD; v++) {
                double re = 0, im = 0;
                for (int i = 0; i < b->k * b->w; i++) {
                    const double angle = two_pi * ((double)u * (i / b->w) + (double)v * (i % b->w)) / FIELD;
                    re += ((double)x[i * b->d] - mean) * cos(angle);
                    im -= ((double)x[i * b->d] - mean) * sin(angle);
                }
                out[u][v] += re * re + im * im;
            }
    }
}

static double bandwidth(double s[FIELD][FIELD])
{
    double total = 0, half = 0;
    int    bins = 0;
    for (int i = 0; i < FIELD * FIELD; i++)
        total += s[i / FIELD][i % FIELD];
    while (total > 0 && half < total / 2 && bins < FIELD * FIELD) { // the largest bin, again and again
        int best = 0;
        for (int i = 1; i < FIELD * FIELD; i++)
            if (s[i / FIELD][i % FIELD] > s[best / FIELD][best % FIELD])
                best = i;
        half += s[best / FIELD][best % FIELD];
        s[best / FIELD][best % FIELD] = -1;
        bins++;
    }
    return (double)bins / (FIELD * FIELD);
}

bool epl_filters_wave(epl_context *ctx, const epl_tensor *filters, int j, double *cycles, double *degrees)
{
    bank   b;
    double s[FIELD][FIELD];
    int    best = 0;
    bool   ok = bank_open(ctx, filters, &b);
    if (ok && (j < 0 || j >= b.z))
        ok = epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no filter %d, of %d", j, b.z);
    if (ok) {
        spectrum(&b, j, s);
        for (int i = 1; i < FIELD * FIELD; i++)
            if (s[i / FIELD][i % FIELD] > s[best / FIELD][best % FIELD])
                best = i;
        const double u = (best / FIELD + FIELD / 2) % FIELD - FIELD / 2, v = (best % FIELD + FIELD / 2) % FIELD - FIELD / 2;
        *cycles  = sqrt(u * u + v * v) / FIELD;
        *degrees = fmod(atan2(u, v) * 180 / acos(-1) + 360, 180);
    }
    bank_release(&b);
    return ok;
}

static void measure_shapes(const bank *b, epl_filters_measures *m)
{
    double s[FIELD][FIELD];
    m->dc = m->smoothness = m->bandwidth = 0;
    for (int j = 0; j < b->z; j++) {
        const float *x = b->rows + (int64_t)j * b->p;
        for (int c = 0; c < b->d; c++) {
            double mean = 0;
            for (int i = 0; i < b->k * b->w; i++)
                mean += (double)x[i * b->d + c] / (b->k * b->w);
            m->dc += mean * mean * b->k * b->w / b->z;
        }
        for (int i = 0; i < b->p; i++) {
            const int row = i / (b->w * b->d), column = i / b->d % b->w;
            m->smoothness += (row + 1 < b->k ? fabs((double)(x[i + b->w * b->d] - x[i])) : 0) / b->z;
            m->smoothness += (column + 1 < b->w ? fabs((double)(x[i + b->d] - x[i])) : 0) / b->z;
        }
        spectrum(b, j, s);
        m->bandwidth += bandwidth(s) / b->z;
    }
}

bool epl_filters_measure(epl_context *ctx, const epl_tensor *filters, epl_filters_measures *out)
{
    bank b;
    bool ok = bank_open(ctx, filters, &b);
    if (ok) {
        measure_coherence(&b, out);
        measure_shapes(&b, out);
        ok = measure_matrix(&b, out);
    }
    bank_release(&b);
    return ok;
}

/* ---- as pictures ---- */

epl_tensor *epl_filters_tile(epl_context *ctx, const epl_tensor *filters, int j)
{
    bank  b;
    bool  ok = bank_open(ctx, filters, &b);
    float most = 0;
    if (ok && (j < 0 || j >= b.z))
        ok = epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no filter %d, of %d", j, b.z);
    const int   channels = b.d == 3 ? 3 : 1;
    epl_tensor *t = ok ? epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(b.k, b.w, channels)) : NULL;
    const float *x = ok ? b.rows + (int64_t)j * b.p : NULL;
    for (int i = 0; t && i < b.p; i++)
        most = fmaxf(most, fabsf(x[i]));
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++) // of more than three channels the first is shown
        epl_tensor_set(t, i, 127.5 + 127.5 * (most > 0 ? (double)(x[i / channels * b.d + i % channels] / most) : 0));
    bank_release(&b);
    return t;
}
