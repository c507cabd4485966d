/* Element-wise operators: every row of elementwise.def against its scalar definition, on every instruction set, over the whole
 * range of f32; chains of them against the same rows applied one element at a time. */
#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/ref.h"

#include "common/check.h"

static const char *const isas[] = { "generic", "v3", "v4" };

static const epl_kernel *chain_kernel(int i)
{
    const epl_kernel_set *set = epl_kernels_for(isas[i]);
    return set ? epl_kernel_find(set, "chain") : NULL;
}

static void run(const epl_kernel *k, const epl_chain *c, const void *const *in, void *const *out, int64_t cut)
{
    epl_call call = { .params = c };
    memcpy(call.in, in, (size_t)c->n_in * sizeof *in);
    memcpy(call.out, out, (size_t)c->n_out * sizeof *out);
    const int64_t n = k->pieces(c);
    for (int64_t p = n - 1; p >= 0; p -= cut) // backwards, as any order must do
        k->run(&call, p - cut + 1 > 0 ? p - cut + 1 : 0, p + 1, NULL);
}

/* ---- rows over the whole range ---- */

/* Distance in units of the last place of f32; 0 for two NaNs. */
static double ulps(float got, double want)
{
    if (want != want || got != got)
        return want != want && got != got ? 0 : INFINITY;
    const float rounded = (float)want;
    if (got == rounded)
        return 0;
    if (isinf(rounded) || isinf(got))
        return fabs((double)got) > 3.4e38 && fabs(want) > 3.4e38 ? 1 : INFINITY;
    int e;
    frexp(want, &e);
    const double unit = ldexp(1, e - 24 < -149 ? -149 : e - 24);
    return fabs((double)got - want) / unit;
}

/* Tolerances other than 4 units: results of many rounded steps, where only an absolute error can be promised. */
typedef struct allowance {
    int    row;
    double ulps, absolute;
} allowance;

static const allowance allowances[] = {
    { EPL_EW_sigmoid, 4, 2e-38 },   { EPL_EW_silu, 5, 1e-36 },      { EPL_EW_swish, 64, 1e-36 },   { EPL_EW_gelu, 256, 1e-37 },
    { EPL_EW_gelu_tanh, 64, 1e-6 }, { EPL_EW_mish, 8, 1e-36 },      { EPL_EW_affine, 2, 1e-7 },   { EPL_EW_hard_swish, 4, 1e-6 },
    { EPL_EW_hard_sigmoid, 4, 1e-7 }, { EPL_EW_selu, 5, 1e-7 },     { EPL_EW_sin, 4, 1e-9 },      { EPL_EW_cos, 4, 1e-9 },
};

static allowance allowed(int row)
{
    for (size_t i = 0; i < EPL_COUNT(allowances); i++)
        if (allowances[i].row == row)
            return allowances[i];
    return (allowance){ row, 4, 0 };
}

static float any_float(test *t)
{
    static const float special[] = { 0.0f, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f, 1.1754944e-38f, 3.4028235e38f,
                                     -3.4028235e38f, 0.5f, 1.5f, 2.5f, -0.5f, -2.5f, 8388608, 8388609, 16777216, 88.7f, 89, -88, -104 };
    const uint32_t kind = epl_rng_u32(t->rng) % 8;
    uint32_t bits = epl_rng_u32(t->rng);
    float x;
    memcpy(&x, &bits, 4);
    return kind == 0 ? special[bits % EPL_COUNT(special)]
         : kind < 3  ? (epl_rng_uniform(t->rng) - 0.5f) * 20
         : kind < 5  ? (epl_rng_uniform(t->rng) - 0.5f) * 200
         : kind == 5 ? roundf((epl_rng_uniform(t->rng) - 0.5f) * 10) : x != x ? NAN : x; // no signalling NaN
}

static epl_chain one_row(int row, int64_t n, epl_dtype in, epl_dtype out)
{
    epl_chain c = { .n_in = epl_rows[row].n_inputs, .n_steps = 1, .n_out = 1, .rows = 1, .columns = n };
    for (int i = 0; i < c.n_in; i++) {
        c.in_kind[i] = EPL_CHAIN_FULL;
        c.in_dtype[i] = in;
        c.arg[0][i] = i;
    }
    c.op[0] = row;
    c.out[0] = c.n_in;
    c.out_dtype[0] = out;
    return c;
}

/* Defaults of the attributes, where 0 would say little. */
static void set_attributes(test *t, int row, double at[2])
{
    for (int i = 0; i < 2; i++)
        at[i] = (float)(0.25 + epl_rng_uniform(t->rng));
    if (row == EPL_EW_clip)
        at[0] = -at[0];
    if (row == EPL_EW_isinf)
        at[0] = 0, at[1] = 1;
}

PROPERTY(rows_over_f32, EPL_N_ELEMENTWISE)
{
    enum { N = 5001 };
    static float in[3][N], got[N];
    const int row = t->index;
    if (!epl_rows_real[row])
        return; // integers alone
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 3; k++)
            in[k][i] = any_float(t);
    for (int isa = 0; isa < 3; isa++) {
        const epl_kernel *k = chain_kernel(isa);
        if (!k)
            continue;
        epl_chain c = one_row(row, N, EPL_F32, EPL_F32);
        set_attributes(t, row, c.attr[0]);
        run(k, &c, (const void *[]){ in[0], in[1], in[2] }, (void *[]){ got }, 1);
        const allowance a = allowed(row);
        for (int i = 0; i < N; i++) {
            const double want = epl_rows_real[row]((double[]){ in[0][i], in[1][i], in[2][i] }, c.attr[0]);
            if (ulps(got[i], want) > a.ulps && !(fabs(got[i] - want) <= a.absolute))
                FAIL(t, "%s(%.9g, %.9g, %.9g; %g, %g) on %s: %.9g, expected %.9g, %.3g units away", epl_rows[row].name, in[0][i],
                     in[1][i], in[2][i], c.attr[0][0], c.attr[0][1], isas[isa], got[i], want, ulps(got[i], want));
        }
    }
}

PROPERTY(rows_over_integers, EPL_N_ELEMENTWISE)
{
    enum { N = 999 };
    static int32_t in[3][N], got[N];
    const int row = t->index;
    if (!epl_rows_int[row] || epl_rows[row].types == EPL_ROW_LOGIC)
        return;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 3; k++)
            in[k][i] = (int32_t)epl_rng_u32(t->rng) >> (epl_rng_u32(t->rng) % 31);
    for (int isa = 0; isa < 3; isa++) {
        const epl_kernel *k = chain_kernel(isa);
        if (!k)
            continue;
        epl_chain c = one_row(row, N, EPL_I32, EPL_I32);
        c.attr[0][0] = -INFINITY;
        c.attr[0][1] = 1e4;
        run(k, &c, (const void *[]){ in[0], in[1], in[2] }, (void *[]){ got }, 1);
        for (int i = 0; i < N; i++) {
            const int64_t want = epl_rows_int[row]((int64_t[]){ in[0][i], in[1][i], in[2][i] }, c.attr[0]);
            if (got[i] != (int32_t)want)
                FAIL(t, "%s(%d, %d) on %s: %d, expected %d", epl_rows[row].name, in[0][i], in[1][i], isas[isa], got[i], (int32_t)want);
        }
    }
}

TEST(integers_are_exact_and_defined_everywhere)
{
    const double at[2] = { 0 };
    CHECK(t, epl_rows_int[EPL_EW_add]((int64_t[]){ INT64_MAX, 1 }, at) == INT64_MIN);
    CHECK(t, epl_rows_int[EPL_EW_mul]((int64_t[]){ 9007199254740993, 3 }, at) == 27021597764222979);
    CHECK(t, epl_rows_int[EPL_EW_div]((int64_t[]){ -7, 2 }, at) == -3);
    CHECK(t, epl_rows_int[EPL_EW_div]((int64_t[]){ INT64_MIN, -1 }, at) == INT64_MIN);
    CHECK(t, epl_rows_int[EPL_EW_div]((int64_t[]){ 5, 0 }, at) == 0);
    CHECK(t, epl_rows_int[EPL_EW_mod]((int64_t[]){ -7, 3 }, at) == 2);
    CHECK(t, epl_rows_int[EPL_EW_mod]((int64_t[]){ 7, -3 }, at) == -2);
    CHECK(t, epl_rows_int[EPL_EW_fmod]((int64_t[]){ -7, 3 }, at) == -1);
    CHECK(t, epl_rows_int[EPL_EW_pow]((int64_t[]){ -3, 5 }, at) == -243);
    CHECK(t, epl_rows_int[EPL_EW_pow]((int64_t[]){ -1, -3 }, at) == -1);
    CHECK(t, epl_rows_int[EPL_EW_pow]((int64_t[]){ 2, -1 }, at) == 0);
    CHECK(t, epl_rows_int[EPL_EW_shift_right]((int64_t[]){ -8, 1 }, at) == -4);
    CHECK(t, epl_rows_int[EPL_EW_shift_left]((int64_t[]){ 1, 64 }, at) == 0);
    CHECK(t, epl_rows_int[EPL_EW_clip]((int64_t[]){ 7 }, (double[]){ -INFINITY, 5.9 }) == 5);
    CHECK(t, epl_rows_uint[EPL_EW_shift_right]((uint64_t[]){ UINT64_MAX, 60 }, at) == 15);
    CHECK(t, epl_rows_uint[EPL_EW_greater]((uint64_t[]){ UINT64_MAX, 1 }, at) == 1);
    CHECK(t, epl_rows_uint[EPL_EW_div]((uint64_t[]){ UINT64_MAX, UINT64_MAX }, at) == 1);
}

/* ---- chains ---- */

enum { MOST = 6000 };

/* Operators that are exact or nearly so, for chains whose result is compared after several of them. */
static const int sound[] = { EPL_EW_add, EPL_EW_sub, EPL_EW_max, EPL_EW_min, EPL_EW_abs, EPL_EW_relu, EPL_EW_where, EPL_EW_neg,
                             EPL_EW_less, EPL_EW_step, EPL_EW_clamp };

static int64_t offset_of(const epl_chain *c, int64_t i, int64_t row, int64_t column)
{
    switch (c->in_kind[i]) {
    case EPL_CHAIN_FULL:   return row * c->columns + column;
    case EPL_CHAIN_ROW:    return column;
    case EPL_CHAIN_COLUMN: return row;
    case EPL_CHAIN_IMAGE:  return row / c->rows_per_image * c->columns + column;
    case EPL_CHAIN_SCALAR: return 0;
    default:               return row / c->outer[1] * c->in_stride[i][0] + row % c->outer[1] * c->in_stride[i][1] +
                                  column * c->in_stride[i][2];
    }
}

static epl_chain random_chain(test *t)
{
    epl_rng *r = t->rng;
    epl_chain c = { .n_in = 1 + (int64_t)epl_rng_below(r, 6), .n_steps = 1 + (int64_t)epl_rng_below(r, 12) };
    const int64_t images = 1 + (int64_t)epl_rng_below(r, 4);
    c.columns = 1 + (int64_t)epl_rng_below(r, epl_rng_below(r, 2) ? 40 : 1400);
    c.rows_per_image = 1 + (int64_t)epl_rng_below(r, (uint64_t)(MOST / 4 / c.columns));
    c.rows = images * c.rows_per_image;
    c.n_outer = 2;
    c.outer[0] = images;
    c.outer[1] = c.rows_per_image;
    for (int64_t i = 0; i < c.n_in; i++) {
        c.in_kind[i] = epl_rng_below(r, 2) ? EPL_CHAIN_FULL : (int64_t)epl_rng_below(r, 6);
        c.in_dtype[i] = epl_rng_below(r, 4) ? EPL_F32 : epl_rng_below(r, 2) ? EPL_BF16 : EPL_I8;
        c.in_stride[i][0] = 1; // the images' number comes from the last axis of a transposed tensor
        c.in_stride[i][1] = epl_rng_below(r, 2) ? 0 : images;
        c.in_stride[i][2] = epl_rng_below(r, 2) ? 0 : c.in_stride[i][1] ? 0 : images;
    }
    c.in_kind[0] = EPL_CHAIN_FULL;
    c.in_dtype[0] = EPL_F32;
    for (int64_t s = 0; s < c.n_steps; s++) {
        c.op[s] = sound[epl_rng_below(r, EPL_COUNT(sound))];
        for (int k = 0; k < 3; k++)
            c.arg[s][k] = (int64_t)epl_rng_below(r, (uint64_t)(c.n_in + s));
    }
    c.n_out = 1 + (int64_t)epl_rng_below(r, 2);
    for (int64_t o = 0; o < c.n_out; o++) {
        c.out[o] = c.n_in + (o ? (int64_t)epl_rng_below(r, (uint64_t)c.n_steps) : c.n_steps - 1);
        c.out_dtype[o] = o && epl_rng_below(r, 2) ? EPL_I32 : EPL_F32;
    }
    return c;
}

static void chain_element(const epl_chain *c, const epl_view *in, int64_t row, int64_t column, double *reg)
{
    for (int64_t i = 0; i < c->n_in; i++)
        reg[i] = epl_ref_get(&in[i], offset_of(c, i, row, column));
    for (int64_t s = 0; s < c->n_steps; s++)
        reg[c->n_in + s] = (float)epl_rows_real[c->op[s]](
            (double[]){ reg[c->arg[s][0]], reg[c->arg[s][1]], reg[c->arg[s][2]] }, c->attr[s]);
}

PROPERTY(random_chains, 300)
{
    static float data[EPL_CHAIN_MAX_IN][MOST], want[2][MOST], got[2][MOST];
    const epl_chain c = random_chain(t);
    const int64_t n = c.rows * c.columns;
    epl_view in[EPL_CHAIN_MAX_IN];
    for (int64_t i = 0; i < c.n_in; i++) {
        in[i] = (epl_view){ .data = data[i], .dtype = c.in_dtype[i] };
        for (int64_t k = 0; k < MOST; k++)
            epl_ref_set(&in[i], k, (double)(int64_t)epl_rng_below(t->rng, 41) - 20);
    }
    for (int64_t row = 0; row < c.rows; row++)
        for (int64_t column = 0; column < c.columns; column++) {
            double reg[EPL_CHAIN_MAX_IN + EPL_CHAIN_MAX_STEPS];
            chain_element(&c, in, row, column, reg);
            for (int64_t o = 0; o < c.n_out; o++)
                epl_ref_set(&(epl_view){ .data = want[o], .dtype = c.out_dtype[o] }, row * c.columns + column, reg[c.out[o]]);
        }
    for (int isa = 0; isa < 3; isa++) {
        const epl_kernel *k = chain_kernel(isa);
        if (!k)
            continue;
        const void *ptr[EPL_CHAIN_MAX_IN];
        static float first[MOST]; // out[0] takes the place of in[0]
        for (int64_t i = 0; i < c.n_in; i++)
            ptr[i] = data[i];
        memcpy(first, data[0], sizeof first);
        ptr[0] = t->index % 2 ? first : data[0];
        void *const out[2] = { t->index % 2 ? (void *)first : (void *)got[0], got[1] };
        run(k, &c, ptr, out, 1 + t->index % 3);
        for (int64_t o = 0; o < c.n_out; o++)
            if (memcmp(out[o], want[o], (size_t)n * 4) != 0) {
                int64_t e = 0;
                while (memcmp((const char *)out[o] + 4 * e, (const char *)want[o] + 4 * e, 4) == 0)
                    e++;
                if (c.out_dtype[o] == EPL_F32 && ((const float *)out[o])[e] == want[o][e])
                    continue; // -0 and 0 of max
                FAIL(t, "%s: output %lld differs at %lld of [%lld, %lld]: %g, expected %g", isas[isa], (long long)o, (long long)e,
                     (long long)c.rows, (long long)c.columns, ((const float *)out[o])[e], want[o][e]);
            }
    }
}

void epl_generic_chain_rows(const epl_chain *, const void *const *, void *const *, int64_t, int64_t, int64_t, int64_t);

/* As an epilogue: a block of rows and columns, everything else untouched. */
PROPERTY(blocks, 50)
{
    enum { ROWS = 23, COLUMNS = 70 };
    static float x[ROWS * COLUMNS], bias[COLUMNS], y[ROWS * COLUMNS];
    epl_chain c = { .n_in = 2, .n_steps = 2, .n_out = 1, .rows = ROWS, .columns = COLUMNS, .rows_per_image = 1,
                    .in_kind = { EPL_CHAIN_FULL, EPL_CHAIN_ROW }, .in_dtype = { EPL_F32, EPL_F32 }, .out_dtype = { EPL_F32 },
                    .out = { 3 }, .op = { EPL_EW_add, EPL_EW_relu }, .arg = { { 0, 1 }, { 2 } } };
    for (int i = 0; i < ROWS * COLUMNS; i++)
        y[i] = x[i] = epl_rng_normal(t->rng);
    for (int i = 0; i < COLUMNS; i++)
        bias[i] = epl_rng_normal(t->rng);
    const int64_t r0 = (int64_t)epl_rng_below(t->rng, ROWS), r1 = r0 + (int64_t)epl_rng_below(t->rng, (uint64_t)(ROWS - r0)) + 1;
    const int64_t c0 = (int64_t)epl_rng_below(t->rng, COLUMNS), c1 = c0 + (int64_t)epl_rng_below(t->rng, (uint64_t)(COLUMNS - c0)) + 1;
    epl_generic_chain_rows(&c, (const void *[]){ y, bias }, (void *[]){ y }, r0, r1, c0, c1);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t k = 0; k < COLUMNS; k++) {
            const float in = x[r * COLUMNS + k];
            const float want = r >= r0 && r < r1 && k >= c0 && k < c1 ? fmaxf(in + bias[k], 0) : in;
            CHECK(t, y[r * COLUMNS + k] == want);
        }
}
