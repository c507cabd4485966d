/* The kernels that are bound by memory - reductions, normalisation, softmax, pooling, movement - against naive loops in double,
 * on every instruction set; and that any cut of the pieces, in any order, gives the same bits. */
#include "kernels/kernels.h"
#include "ops/ref.h"

#include "common/check.h"

#define MOST 60000
enum { N_ARRAYS = 12 };

static float  array[N_ARRAYS][MOST];
static double expected[3][MOST];
static const epl_kernel_set *the_set; /* of the run at hand */

static const char *const isas[] = { "generic", "v3", "v4" };
#define FOR_SETS                                                                                                       \
    for (size_t isa_ = 0; isa_ < EPL_COUNT(isas); isa_++)                                                              \
        if ((the_set = epl_kernels_for(isas[isa_])) != NULL)

static int64_t draw(test *t, int64_t low, int64_t high)
{
    return low + (int64_t)epl_rng_below(t->rng, (uint64_t)(high - low + 1));
}

static void fill_random(test *t, float *x, int64_t n)
{
    CHECK(t, n <= MOST);
    for (int64_t i = 0; i < n; i++)
        x[i] = epl_rng_normal(t->rng);
}

/* Runs a kernel at once, then again in pieces from the last to the first, and wants the same bits in out[0..n_out). */
static void run(test *t, const char *name, const void *params, epl_call call, int n_out, const int64_t *counts)
{
    static float first[3][MOST];
    const epl_kernel *k = epl_kernel_find(the_set, name);
    CHECK(t, k != NULL);
    const int64_t n = k->pieces(params);
    void *scratch = k->scratch(params) ? aligned_alloc(64, (k->scratch(params) + 63) / 64 * 64) : NULL;
    call.params = params;
    k->run(&call, 0, n, scratch);
    for (int i = 0; i < n_out; i++) {
        memcpy(first[i], call.out[i], (size_t)counts[i] * sizeof(float));
        memset(call.out[i], 0x7e, (size_t)counts[i] * sizeof(float));
    }
    const int64_t cut = draw(t, 1, 3);
    for (int64_t p = n; p > 0; p -= cut)
        k->run(&call, p > cut ? p - cut : 0, p, scratch);
    for (int i = 0; i < n_out; i++)
        if (memcmp(first[i], call.out[i], (size_t)counts[i] * sizeof(float)) != 0)
            FAIL(t, "%s on %s: output %d depends on the cut of the pieces", name, the_set->isa, i);
    free(scratch);
}

static void close(test *t, const char *what, const float *got, const double *want, int64_t n, double rtol, double atol)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= atol + rtol * fabs(want[i])) && !(got[i] == want[i]))
            FAIL(t, "%s on %s: element %lld is %.9g, expected %.9g", what, the_set->isa, (long long)i, (double)got[i], want[i]);
}

/* ---- reduce ---- */

static double fold(int64_t kind, double sum, double x)
{
    switch (kind) {
    case EPL_REDUCE_MAX:        return fmax(sum, x);
    case EPL_REDUCE_MIN:        return fmin(sum, x);
    case EPL_REDUCE_PROD:       return sum * x;
    case EPL_REDUCE_SUM_ABS:    return sum + fabs(x);
    case EPL_REDUCE_SUM_SQUARE: return sum + x * x;
    default:                    return sum + x;
    }
}

PROPERTY(reductions, 120)
{
    epl_reduce_params p = { .kind = t->index % 6, .parts = 1, .scale = 0.5 };
    p.inner = draw(t, 0, 1) ? 1 : draw(t, 1, 200);
    p.size = draw(t, 1, draw(t, 0, 1) ? 40 : 40000 / p.inner);
    p.outer = draw(t, 1, epl_between(1, MOST / p.inner / p.size, 50));
    fill_random(t, array[0], p.outer * p.size * p.inner);
    for (int64_t i = 0; p.kind == EPL_REDUCE_PROD && i < p.outer * p.size * p.inner; i++)
        array[0][i] = 1 + array[0][i] / 1024;
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t i = 0; i < p.inner; i++) {
            double sum = p.kind == EPL_REDUCE_MAX ? -INFINITY : p.kind == EPL_REDUCE_MIN ? INFINITY : p.kind == EPL_REDUCE_PROD;
            for (int64_t k = 0; k < p.size; k++)
                sum = fold(p.kind, sum, array[0][(o * p.size + k) * p.inner + i]);
            expected[0][o * p.inner + i] = sum * p.scale;
        }
    if (t->index % 2)
        p.parts = epl_reduce_parts(&p);
    const double slack = 2e-6 * (double)p.size;
    FOR_SETS {
        const int64_t n = p.outer * p.inner;
        run(t, "reduce", &p, (epl_call){ .in = { array[0] }, .out = { array[1] } }, 1, (int64_t[]){ n * p.parts });
        const epl_reduce_params second = epl_reduce_second(&p);
        if (p.parts > 1)
            run(t, "reduce", &second, (epl_call){ .in = { array[1] }, .out = { array[2] } }, 1, (int64_t[]){ n });
        close(t, "reduce", p.parts > 1 ? array[2] : array[1], expected[0], n, 1e-5, slack < 1e-3 ? slack : 1e-3);
    }
}

TEST(a_long_sum_keeps_its_digits)
{
    const epl_reduce_params p = { .outer = 1, .size = MOST, .inner = 1, .parts = 1, .scale = 1 };
    for (int64_t i = 0; i < MOST; i++)
        array[0][i] = 0.1f;
    FOR_SETS {
        run(t, "reduce", &p, (epl_call){ .in = { array[0] }, .out = { array[1] } }, 1, (int64_t[]){ 1 });
        CHECK_NEAR(t, array[1][0], (double)0.1f * MOST, .rtol = 1e-6);
    }
}

TEST(a_nan_reaches_the_maximum)
{
    const epl_reduce_params p = { .outer = 3, .size = 37, .inner = 1, .kind = EPL_REDUCE_MAX, .parts = 1, .scale = 1 };
    fill_random(t, array[0], 3 * 37);
    array[0][37 + 36] = NAN;
    FOR_SETS {
        run(t, "reduce", &p, (epl_call){ .in = { array[0] }, .out = { array[1] } }, 1, (int64_t[]){ 3 });
        CHECK(t, array[1][0] == array[1][0] && array[1][1] != array[1][1] && array[1][2] == array[1][2]);
    }
}

/* ---- normalisation of sets ---- */

enum { X, DY, SCALE, BIAS, PARTS, MEAN, VAR, COEF, Y, DSCALE, DBIAS, DX };

static int64_t norm_at(const epl_norm_params *p, int64_t o, int64_t r, int64_t g, int64_t k)
{
    return ((o * p->rows + r) * p->groups + g) * p->width + k;
}

/* y to expected[0], dx to expected[1], dscale and dbias to expected[2]. */
static void naive_norm(const epl_norm_params *p, int64_t o, int64_t g, double *mean, double *var)
{
    const double n = (double)(p->rows * p->width);
    double all = 0, dots = 0;
    *mean = *var = 0;
#define EACH                                                                                                           \
    for (int64_t r = 0; r < p->rows; r++)                                                                              \
        for (int64_t k = 0, i = norm_at(p, o, r, g, 0), c = g * p->width; k < p->width; k++, i++, c++)
    EACH *mean += c < 0 ? 0 : array[X][i] / n;
    EACH *var += c < 0 ? 0 : (array[X][i] - *mean) * (array[X][i] - *mean) / n;
    const double rstd = 1 / sqrt(*var + p->epsilon);
    EACH {
        const double xhat = (array[X][i] - *mean) * rstd;
        expected[0][i] = xhat * array[SCALE][c] + array[BIAS][c];
        all += array[DY][i] * array[SCALE][c];
        dots += array[DY][i] * array[SCALE][c] * xhat;
        expected[2][c] += array[DY][i] * xhat;
        expected[2][p->groups * p->width + c] += array[DY][i];
    }
    EACH expected[1][i] = rstd * (array[DY][i] * array[SCALE][c] - all / n - (array[X][i] - *mean) * rstd * dots / n);
}

static void run_norm(test *t, const epl_norm_params *p, int64_t n, int64_t c)
{
    const int64_t sets = p->outer * p->groups, n_parts = p->outer * epl_norm_splits(p) * 2 * c;
    run(t, "norm_parts", p, (epl_call){ .in = { array[X] }, .out = { array[PARTS] } }, 1, &n_parts);
    run(t, "norm_moments", p, (epl_call){ .in = { array[PARTS], array[SCALE] }, .out = { array[MEAN], array[VAR], array[COEF] } }, 3,
        (int64_t[]){ sets, sets, 2 * p->outer * c });
    run(t, "norm_apply", p, (epl_call){ .in = { array[X], array[COEF], array[BIAS] }, .out = { array[Y] } }, 1, &n);
    close(t, "norm_apply", array[Y], expected[0], n, 1e-4, 2e-4);
    run(t, "norm_moments", p, (epl_call){ .in = { NULL, array[SCALE], array[MEAN], array[VAR] }, .out = { NULL, NULL, array[COEF] } }, 0,
        NULL);
    run(t, "norm_apply", p, (epl_call){ .in = { array[X], array[COEF], array[BIAS] }, .out = { array[Y] } }, 1, &n);
    close(t, "norm_apply of given moments", array[Y], expected[0], n, 1e-4, 2e-4);
    run(t, "norm_back_parts", p,
        (epl_call){ .in = { array[X], array[DY], array[MEAN], array[VAR] }, .out = { array[PARTS] } }, 1, &n_parts);
    run(t, "norm_back", p, (epl_call){ .in = { array[PARTS], array[SCALE], array[MEAN], array[VAR] },
                                       .out = { array[DSCALE], array[DBIAS], array[COEF] } }, 3,
        (int64_t[]){ c, c, 4 * p->outer * c });
    close(t, "dscale", array[DSCALE], expected[2], c, 1e-3, 2e-3);
    close(t, "dbias", array[DBIAS], expected[2] + c, c, 1e-3, 2e-3);
    run(t, "norm_dx", p, (epl_call){ .in = { array[X], array[DY], array[COEF] }, .out = { array[DX] } }, 1, &n);
    close(t, "norm_dx", array[DX], expected[1], n, 1e-3, 1e-3);
}

PROPERTY(normalisation_of_sets, 60)
{
    epl_norm_params p = { .epsilon = 1e-5 };
    p.outer = draw(t, 0, 1) ? 1 : draw(t, 1, 4);
    p.groups = draw(t, 1, 70);
    p.width = draw(t, 0, 1) ? 1 : draw(t, 1, 5);
    const int64_t c = p.groups * p.width;
    p.rows = draw(t, 2, MOST / c / p.outer / 4 < 2000 ? MOST / c / p.outer / 4 : 2000);
    const int64_t n = p.outer * p.rows * c;
    fill_random(t, array[X], n);
    fill_random(t, array[DY], n);
    fill_random(t, array[SCALE], c);
    fill_random(t, array[BIAS], c);
    for (int64_t i = 0; i < n; i++)
        array[X][i] = array[X][i] * 2 + (float)(t->index % 3) * 10; // a mean far from 0 must cost nothing
    memset(expected[2], 0, sizeof expected[2]);
    double mean, var;
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t g = 0; g < p.groups; g++)
            naive_norm(&p, o, g, &mean, &var);
    FOR_SETS run_norm(t, &p, n, c);
}

/* ---- normalisation of rows ---- */

static void naive_row_norm(const epl_row_norm_params *p, int64_t row)
{
    const float *x = array[X] + row * p->width, *dy = array[DY] + row * p->width;
    double mean = 0, var = 0, all = 0, dots = 0;
    const double n = (double)p->width;
    for (int64_t i = 0; p->center && i < p->width; i++)
        mean += x[i] / n;
    for (int64_t i = 0; i < p->width; i++)
        var += (x[i] - mean) * (x[i] - mean) / n;
    const double rstd = 1 / sqrt(var + p->epsilon);
    for (int64_t i = 0; i < p->width; i++) {
        const double xhat = (x[i] - mean) * rstd, d = dy[i] * array[SCALE][i];
        expected[0][row * p->width + i] = xhat * array[SCALE][i] + array[BIAS][i];
        all += p->center ? d : 0;
        dots += d * xhat;
        expected[2][i] += dy[i] * xhat;
        expected[2][p->width + i] += dy[i];
    }
    for (int64_t i = 0; i < p->width; i++)
        expected[1][row * p->width + i] = rstd * (dy[i] * array[SCALE][i] - all / n - (x[i] - mean) * rstd * dots / n);
}

PROPERTY(normalisation_of_rows, 60)
{
    epl_row_norm_params p = { .center = t->index % 2, .epsilon = 1e-5, .width = draw(t, 2, 700) };
    p.rows = draw(t, 1, MOST / p.width);
    const int64_t n = p.rows * p.width, parts = epl_row_norm_parts(&p);
    fill_random(t, array[X], n);
    fill_random(t, array[DY], n);
    fill_random(t, array[SCALE], p.width);
    fill_random(t, array[BIAS], p.width);
    memset(expected[2], 0, sizeof expected[2]);
    for (int64_t r = 0; r < p.rows; r++)
        naive_row_norm(&p, r);
    FOR_SETS {
        run(t, "row_norm", &p, (epl_call){ .in = { array[X], array[SCALE], array[BIAS] }, .out = { array[Y] } }, 1, &n);
        close(t, "row_norm", array[Y], expected[0], n, 1e-4, 1e-4);
        run(t, "row_norm_back", &p, (epl_call){ .in = { array[X], array[DY], array[SCALE] },
                                                .out = { array[DX], array[DSCALE], array[DBIAS] } }, 3,
            (int64_t[]){ n, parts * p.width, parts * p.width });
        close(t, "row_norm_back", array[DX], expected[1], n, 2e-3, 1e-3);
        for (int64_t i = 0; i < p.width; i++)
            for (int64_t part = 1; part < parts; part++) {
                array[DSCALE][i] += array[DSCALE][part * p.width + i];
                array[DBIAS][i] += array[DBIAS][part * p.width + i];
            }
        close(t, "dscale", array[DSCALE], expected[2], p.width, 1e-3, 2e-3);
        close(t, "dbias", array[DBIAS], expected[2] + p.width, p.width, 1e-3, 2e-3);
    }
}

/* ---- softmax ---- */

static double log_sum(const float *x, int64_t n, int64_t step)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, x[i * step]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i * step] - top);
    return top + log(sum);
}

PROPERTY(softmax_along_any_axis, 60)
{
    epl_softmax_params p = { .inner = draw(t, 0, 1) ? 1 : draw(t, 1, 40), .size = draw(t, 1, 150) };
    p.outer = draw(t, 1, MOST / p.inner / p.size < 40 ? MOST / p.inner / p.size : 40);
    const int64_t n = p.outer * p.size * p.inner;
    fill_random(t, array[0], n);
    fill_random(t, array[1], n);
    for (int64_t i = 0; i < n; i++)
        array[0][i] *= 8;
    for (int64_t o = 0; o < p.outer * p.inner; o++) {
        const int64_t at = o / p.inner * p.size * p.inner + o % p.inner;
        const double all = log_sum(array[0] + at, p.size, p.inner);
        for (int64_t i = at; i < at + p.size * p.inner; i += p.inner) {
            expected[0][i] = exp(array[0][i] - all);
            expected[1][i] = array[0][i] - all;
        }
    }
    FOR_SETS {
        run(t, "softmax", &p, (epl_call){ .in = { array[0] }, .out = { array[2] } }, 1, &n);
        close(t, "softmax", array[2], expected[0], n, 2e-5, 1e-7);
        run(t, "log_softmax", &p, (epl_call){ .in = { array[0] }, .out = { array[3] } }, 1, &n);
        close(t, "log_softmax", array[3], expected[1], n, 2e-6, 5e-6);
        run(t, "softmax_grad", &p, (epl_call){ .in = { array[2], array[1] }, .out = { array[4] } }, 1, &n);
        run(t, "log_softmax_grad", &p, (epl_call){ .in = { array[3], array[1] }, .out = { array[5] } }, 1, &n);
        for (int64_t o = 0; o < p.outer * p.inner; o++) {
            const int64_t at = o / p.inner * p.size * p.inner + o % p.inner, end = at + p.size * p.inner;
            double dot = 0, sum = 0;
            for (int64_t i = at; i < end; i += p.inner) {
                dot += expected[0][i] * array[1][i];
                sum += array[1][i];
            }
            for (int64_t i = at; i < end; i += p.inner) {
                expected[2][i] = expected[0][i] * (array[1][i] - dot);
                CHECK_NEAR(t, array[5][i], array[1][i] - expected[0][i] * sum, .rtol = 1e-4, .atol = 1e-4);
            }
        }
        close(t, "softmax_grad", array[4], expected[2], n, 1e-4, 1e-5);
    }
}

PROPERTY(cross_entropy_of_labels_and_probabilities, 60)
{
    static int64_t labels[MOST];
    epl_cross_entropy_params p = { .classes = draw(t, 1, 60), .rows = draw(t, 1, 300), .ignore_index = draw(t, -1, 3),
                                   .smoothing = t->index % 3 * 0.1, .target = t->index % 2 ? EPL_REF_F32 : EPL_REF_I64 };
    const int64_t n = p.rows * p.classes;
    const float *weights = t->index % 5 ? NULL : array[3];
    fill_random(t, array[0], n);
    fill_random(t, array[2], p.rows);
    for (int64_t i = 0; i < n; i++)
        array[1][i] = epl_rng_uniform(t->rng);
    for (int64_t i = 0; i < p.classes; i++)
        array[3][i] = 0.5f + epl_rng_uniform(t->rng);
    for (int64_t r = 0; r < p.rows; r++) {
        labels[r] = draw(t, -1, p.classes);
        const double all = log_sum(array[0] + r * p.classes, p.classes, 1);
        const int off = p.target == EPL_REF_I64 && (labels[r] < 0 || labels[r] >= p.classes || labels[r] == p.ignore_index);
        double total = 0;
        expected[0][r] = 0;
        for (int64_t k = 0; k < p.classes; k++) {
            const double target = p.target == EPL_REF_F32 ? array[1][r * p.classes + k] : labels[r] == k;
            const double q = off ? 0 : (weights ? weights[k] : 1) * ((1 - p.smoothing) * target + p.smoothing / (double)p.classes);
            expected[0][r] += q * (all - array[0][r * p.classes + k]);
            expected[2][r * p.classes + k] = q;
            total += q;
        }
        for (int64_t k = 0, i = r * p.classes; k < p.classes; k++, i++)
            expected[1][i] = array[2][r] * (exp(array[0][i] - all) * total - expected[2][i]);
    }
    const void *target = p.target == EPL_REF_F32 ? (const void *)array[1] : labels;
    FOR_SETS {
        run(t, "cross_entropy", &p, (epl_call){ .in = { array[0], target, weights }, .out = { array[4] } }, 1, &p.rows);
        close(t, "cross_entropy", array[4], expected[0], p.rows, 1e-5, 1e-5);
        run(t, "cross_entropy_grad", &p, (epl_call){ .in = { array[0], target, array[2], weights }, .out = { array[5] } }, 1, &n);
        close(t, "cross_entropy_grad", array[5], expected[1], n, 1e-4, 1e-5);
    }
}

/* ---- pooling ---- */

static void draw_axis(test *t, int64_t *size, int64_t *out, int64_t *kernel, int64_t *stride, int64_t *dilation, int64_t *pad, int64_t *end)
{
    do {
        *size = draw(t, 1, 9);
        *kernel = draw(t, 1, 3);
        *stride = draw(t, 1, 3);
        *dilation = draw(t, 1, 2);
        *pad = draw(t, 0, *kernel - 1);
        *end = draw(t, 0, *kernel - 1);
        const int64_t room = *size + *pad + *end - *dilation * (*kernel - 1) - 1;
        *out = room < 0 ? 0 : room / *stride + 1;
        if (*out > 0 && room % *stride && *out * *stride < *size + *pad)
            ++*out; // ceil mode
    } while (*out < 1);
}

static int64_t position(const epl_pool_params *p, const int64_t o[3], const int64_t k[3], int padded)
{
    const int64_t at[3] = { o[0] * p->sd + k[0] * p->dd - p->pd, o[1] * p->sh + k[1] * p->dh - p->ph, o[2] * p->sw + k[2] * p->dw - p->pw };
    const int64_t size[3] = { p->d, p->h, p->w }, end[3] = { p->ed, p->eh, p->ew };
    for (int a = 0; a < 3; a++)
        if (padded ? at[a] >= size[a] + end[a] : at[a] < 0 || at[a] >= size[a])
            return -1;
    return padded ? 0 : (at[0] * p->h + at[1]) * p->w + at[2];
}

static void naive_window(const epl_pool_params *p, int64_t image, int64_t out, int64_t c)
{
    const int64_t o[3] = { out / p->ow / p->oh, out / p->ow % p->oh, out % p->ow }, in = p->d * p->h * p->w;
    const double dy = array[1][(image * p->od * p->oh * p->ow + out) * p->c + c];
    double best = p->kind == EPL_POOL_MAX ? -INFINITY : 0, count = 0;
    int64_t first = -1;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < p->kd * p->kh * p->kw; i++) {
            const int64_t k[3] = { i / p->kw / p->kh, i / p->kw % p->kh, i % p->kw }, at = position(p, o, k, 0);
            const int64_t e = (image * in + at) * p->c + c;
            if (pass == 0)
                count += p->kind == EPL_POOL_MEAN_PADDED ? position(p, o, k, 1) != -1 : at >= 0;
            if (at < 0)
                continue;
            if (pass == 0 && p->kind == EPL_POOL_MAX && array[0][e] > best) {
                best = array[0][e];
                first = e;
            } else if (pass == 0 && p->kind != EPL_POOL_MAX)
                best += array[0][e];
            else if (pass == 1 && p->kind != EPL_POOL_MAX)
                expected[1][e] += dy / count;
        }
    if (first >= 0)
        expected[1][first] += dy;
    expected[0][(image * p->od * p->oh * p->ow + out) * p->c + c] = p->kind == EPL_POOL_MAX ? best : count ? best / count : 0;
}

PROPERTY(pools, 150)
{
    epl_pool_params p = { .n = draw(t, 1, 3), .c = draw(t, 1, 80), .kind = t->index % 3, .d = 1, .od = 1, .kd = 1, .sd = 1, .dd = 1 };
    if (t->index % 2)
        draw_axis(t, &p.d, &p.od, &p.kd, &p.sd, &p.dd, &p.pd, &p.ed);
    draw_axis(t, &p.h, &p.oh, &p.kh, &p.sh, &p.dh, &p.ph, &p.eh);
    draw_axis(t, &p.w, &p.ow, &p.kw, &p.sw, &p.dw, &p.pw, &p.ew);
    p.c = epl_between(1, p.c, MOST / (p.n * (p.d + 4) * (p.h + 4) * (p.w + 4)));
    const int64_t in = p.n * p.d * p.h * p.w * p.c, outs = p.od * p.oh * p.ow, n = p.n * outs * p.c;
    fill_random(t, array[0], in);
    fill_random(t, array[1], n);
    for (int64_t i = 0; i < in; i++)
        array[0][i] = roundf(array[0][i] * 4); // ties
    memset(expected[1], 0, sizeof expected[1]);
    for (int64_t i = 0; i < n; i++)
        naive_window(&p, i / p.c / outs, i / p.c % outs, i % p.c);
    for (int64_t i = 0; i < n; i++)
        if (expected[0][i] == -INFINITY)
            return; // a window over padding alone, by dilation: no operator makes one
    FOR_SETS {
        run(t, "pool", &p, (epl_call){ .in = { array[0] }, .out = { array[2] } }, 1, &n);
        close(t, "pool", array[2], expected[0], n, 1e-5, 1e-6);
        run(t, "pool_back", &p, (epl_call){ .in = { array[0], array[1] }, .out = { array[3] } }, 1, &in);
        close(t, "pool_back", array[3], expected[1], in, 1e-5, 1e-5);
    }
}

/* ---- movement ---- */

/* A permutation of a random tensor, some of whose axes are cut or read backwards. */
PROPERTY(copies, 200)
{
    static const int64_t sizes[] = { 1, 2, 4, 8 };
    epl_copy_params p = { .rank = draw(t, 1, 5), .bytes = sizes[t->index % 4], .out_offset = draw(t, 0, 3) };
    int64_t size[EPL_COPY_RANK], perm[EPL_COPY_RANK], stride[EPL_COPY_RANK], n = 1, most = t->index % 3 ? 9 : 70;
    for (int64_t i = 0; i < p.rank; i++) {
        size[i] = draw(t, 1, n * most > 6000 ? epl_between(1, 6000 / n, most) : most);
        perm[i] = i;
        n *= size[i];
    }
    int64_t s = 1;
    for (int64_t i = p.rank - 1; i >= 0; i--) {
        stride[i] = s;
        s *= size[i];
    }
    epl_rng_shuffle(t->rng, perm, (size_t)p.rank);
    s = 1;
    for (int64_t i = p.rank - 1; i >= 0; i--) {
        const int64_t from = perm[i], skip = draw(t, 0, 3) ? 0 : draw(t, 0, size[from] - 1), back = draw(t, 0, 5) == 0;
        p.dim[i] = size[from] - skip;
        p.in_stride[i] = back ? -stride[from] : stride[from];
        p.in_offset += back ? (size[from] - 1) * stride[from] : skip * stride[from];
        p.out_stride[i] = s;
        s *= p.dim[i];
    }
    unsigned char *x = (unsigned char *)array[0], *want = (unsigned char *)array[1], *y = (unsigned char *)array[2];
    for (int64_t i = 0; i < n * p.bytes; i++)
        x[i] = (unsigned char)epl_rng_u32(t->rng);
    const size_t total = (size_t)((s + p.out_offset) * p.bytes);
    memset(want, 0x55, total);
    for (int64_t i = 0; i < s; i++) {
        int64_t rest = i, in = p.in_offset;
        for (int64_t a = p.rank - 1; a >= 0; a--) {
            in += rest % p.dim[a] * p.in_stride[a];
            rest /= p.dim[a];
        }
        memcpy(want + (p.out_offset + i) * p.bytes, x + in * p.bytes, (size_t)p.bytes);
    }
    FOR_SETS {
        const epl_kernel *k = epl_kernel_find(the_set, "copy");
        memset(y, 0x55, total);
        const epl_call call = { .in = { x }, .out = { y }, .params = &p };
        for (int64_t piece = k->pieces(&p); piece > 0; piece--)
            k->run(&call, piece - 1, piece, NULL);
        if (memcmp(y, want, total) != 0)
            FAIL(t, "copy on %s: wrong elements (rank %lld, %lld bytes each)", the_set->isa, (long long)p.rank, (long long)p.bytes);
    }
}

TEST(fills)
{
    const float value = 3.5f;
    const epl_fill_params p = { 50001, 4 };
    FOR_SETS {
        run(t, "fill", &p, (epl_call){ .in = { &value }, .out = { array[0] } }, 1, &p.count);
        for (int64_t i = 0; i < p.count; i++)
            CHECK(t, array[0][i] == value);
        run(t, "fill", &p, (epl_call){ .out = { array[0] } }, 1, &p.count);
        for (int64_t i = 0; i < p.count; i++)
            CHECK(t, array[0][i] == 0);
    }
}

PROPERTY(look_ups_and_their_reverse, 60)
{
    static int64_t index[2000];
    const bool single = t->index % 2; // elements, which have a way of their own
    epl_gather_params p = { .outer = draw(t, 1, single ? 120 : 3),
                            .size = draw(t, 1, 200),
                            .inner = single ? 1 : draw(t, 1, 40),
                            .count = draw(t, 1, 300),
                            .bytes = 4,
                            .indices = EPL_REF_I64 };
    const int64_t n_in = p.outer * p.size * p.inner, n_out = p.outer * p.count * p.inner;
    fill_random(t, array[0], n_in);
    fill_random(t, array[3], n_out);
    memset(expected[1], 0, sizeof expected[1]);
    for (int64_t i = 0; i < p.count; i++)
        index[i] = draw(t, -p.size - 1, p.size);
    for (int64_t i = 0; i < n_out; i++) {
        int64_t k = index[i / p.inner % p.count];
        k = k < 0 ? k + p.size : k;
        const int64_t from = (i / p.inner / p.count * p.size + k) * p.inner + i % p.inner;
        expected[0][i] = k < 0 || k >= p.size ? 0 : array[0][from];
        if (k >= 0 && k < p.size)
            expected[1][from] += array[3][i];
    }
    FOR_SETS {
        run(t, "gather", &p, (epl_call){ .in = { array[0], index }, .out = { array[1] } }, 1, &n_out);
        close(t, "gather", array[1], expected[0], n_out, 0, 0);
        run(t, "scatter_add", &p, (epl_call){ .in = { array[3], index }, .out = { array[2] } }, 1, &n_in);
        close(t, "scatter_add", array[2], expected[1], n_in, 1e-5, 1e-5);
    }
}

/* Ranks by counting, ties to the lower index. */
static void naive_keep(const epl_keep_largest_params *p, const float *x, double *y)
{
    for (int64_t at = 0; at < p->outer * p->size * p->inner; at++) {
        const int64_t i = at / p->inner % p->size, base = at - i * p->inner;
        int64_t before = 0;
        for (int64_t j = i / p->m * p->m; j < p->size && j < (i / p->m + 1) * p->m; j++) {
            const float a = fabsf(x[base + j * p->inner]), b = fabsf(x[at]);
            before += a > b || (a == b && j < i);
        }
        y[at] = before < p->n ? (double)x[at] : 0;
    }
}

PROPERTY(keeps_the_largest, 120)
{
    epl_keep_largest_params p = {
        .outer = draw(t, 1, 5), .size = draw(t, 1, 70), .inner = draw(t, 0, 2) ? draw(t, 1, 50) : 1, .m = draw(t, 1, 17)
    };
    p.n = draw(t, 1, p.m);
    const int64_t count = p.outer * p.size * p.inner;
    fill_random(t, array[0], count);
    for (int64_t i = 0; i < count; i++)
        array[0][i] = draw(t, 0, 2) ? array[0][i] : 0.5f * (float)draw(t, -3, 3); // ties and zeros
    naive_keep(&p, array[0], expected[0]);
    FOR_SETS {
        run(t, "keep_largest", &p, (epl_call){ .in = { array[0] }, .out = { array[1] } }, 1, &count);
        close(t, "keep_largest", array[1], expected[0], count, 0, 0);
    }
}
