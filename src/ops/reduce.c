/* reduce: sums, means, extremes and norms over axes, ONNX's Reduce family. One reference kernel and one inference serve all;
 * each operator adds its gradient. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
enum {
    REF_SUM, REF_MEAN, REF_MAX, REF_MIN, REF_PROD, REF_L1, REF_L2, REF_LOG_SUM, REF_LOG_SUM_EXP, REF_SUM_SQUARE
};

/* The axes of x that stay and those that go, each with sizes and strides in x. */
typedef struct ref_axes {
    int64_t n[2], dim[2][8], stride[2][8], count[2]; /* [0]: kept, [1]: reduced */
} ref_axes;

static ref_axes ref_axes_of(const epl_ref_call *c)
{
    const epl_view     *x = &c->in[0];
    const epl_ref_attr *axes = &c->attr[0];
    const int           all = axes->n == 0 && !c->attr[2].i;
    int     reduced[8] = { 0 };
    int64_t stride = 1;
    ref_axes a = { { 0 }, { { 0 } }, { { 0 } }, { 1, 1 } };
    for (int64_t i = 0; i < axes->n; i++)
        reduced[axes->ints[i] < 0 ? axes->ints[i] + x->rank : axes->ints[i]] = 1;
    for (int64_t i = 0; i < x->rank; i++) {
        const int k = all || reduced[i];
        a.dim[k][a.n[k]++] = x->dim[i];
        a.count[k] *= x->dim[i];
    }
    int64_t left[2] = { a.n[0], a.n[1] };
    for (int64_t i = x->rank - 1; i >= 0; i--) {
        const int k = all || reduced[i];
        a.stride[k][--left[k]] = stride;
        stride *= x->dim[i];
    }
    return a;
}

static double ref_reduce_real(const epl_view *x, const ref_axes *a, int64_t base, int kind)
{
    double   sum = kind == REF_PROD ? 1 : kind == REF_MAX || kind == REF_LOG_SUM_EXP ? -INFINITY : kind == REF_MIN ? INFINITY : 0;
    double   shift = 0;
    for (int pass = kind != REF_LOG_SUM_EXP; pass < 2; pass++) {
        int64_t index[8] = { 0 };
        if (pass == 1 && kind == REF_LOG_SUM_EXP) { // the first pass found the maximum
            if (isinf(sum) || isnan(sum))
                return sum;
            shift = sum;
            sum   = 0;
        }
        for (int64_t r = 0; r < a->count[1]; r++, epl_ref_next(index, a->dim[1], a->n[1])) {
            const double v = epl_ref_get(x, base + epl_ref_offset(index, a->stride[1], a->n[1]));
            switch (kind) {
            case REF_PROD: sum *= v; break;
            case REF_MAX:  sum = v > sum || v != v ? v : sum; break; // a NaN stays: nothing is greater
            case REF_MIN:  sum = v < sum || v != v ? v : sum; break;
            case REF_L1:   sum += fabs(v); break;
            case REF_L2:
            case REF_SUM_SQUARE: sum += v * v; break;
            case REF_LOG_SUM_EXP:
                if (pass == 0)
                    sum = v > sum || v != v ? v : sum;
                else
                    sum += exp(v - shift);
                break;
            default: sum += v; break;
            }
        }
    }
    return kind == REF_MEAN ? sum / (double)a->count[1] : kind == REF_L2 ? sqrt(sum) : kind == REF_LOG_SUM ? log(sum)
         : kind == REF_LOG_SUM_EXP ? shift + log(sum) : sum;
}

static int64_t ref_reduce_whole(const epl_view *x, const ref_axes *a, int64_t base, int kind)
{
    const uint64_t flip = x->dtype == EPL_REF_U64 ? (uint64_t)1 << 63 : 0; // orders u64 as if it were signed
    uint64_t sum = kind == REF_PROD;
    int64_t  best = 0, index[8] = { 0 };
    for (int64_t r = 0; r < a->count[1]; r++, epl_ref_next(index, a->dim[1], a->n[1])) {
        const int64_t  v = epl_ref_get_i64(x, base + epl_ref_offset(index, a->stride[1], a->n[1]));
        const uint64_t u = (uint64_t)v;
        const int64_t  key = (int64_t)(u ^ flip);
        switch (kind) {
        case REF_PROD: sum *= u; break;
        case REF_L1:   sum += v < 0 && !flip ? 0 - u : u; break;
        case REF_SUM_SQUARE: sum += u * u; break;
        default: sum += u; break;
        }
        best = r == 0 || (kind == REF_MAX ? key > best : key < best) ? key : best;
    }
    if (kind == REF_MAX || kind == REF_MIN)
        return a->count[1] ? (int64_t)((uint64_t)best ^ flip) : 0;
    if (kind == REF_MEAN)
        return a->count[1] == 0 ? 0 : flip ? (int64_t)(sum / (uint64_t)a->count[1]) : (int64_t)sum / a->count[1];
    return (int64_t)sum;
}

static void ref_reduce(const epl_ref_call *c, int kind)
{
    const ref_axes a = ref_axes_of(c);
    int64_t index[8] = { 0 };
    for (int64_t o = 0; o < a.count[0]; o++, epl_ref_next(index, a.dim[0], a.n[0])) {
        const int64_t base = epl_ref_offset(index, a.stride[0], a.n[0]);
        if (epl_ref_is_float(c->in[0].dtype))
            epl_ref_set(&c->out[0], o, ref_reduce_real(&c->in[0], &a, base, kind));
        else
            epl_ref_set_i64(&c->out[0], o, ref_reduce_whole(&c->in[0], &a, base, kind));
    }
}

static void ref_reduce_sum(const epl_ref_call *c) { ref_reduce(c, REF_SUM); }
static void ref_reduce_mean(const epl_ref_call *c) { ref_reduce(c, REF_MEAN); }
static void ref_reduce_max(const epl_ref_call *c) { ref_reduce(c, REF_MAX); }
static void ref_reduce_min(const epl_ref_call *c) { ref_reduce(c, REF_MIN); }
static void ref_reduce_prod(const epl_ref_call *c) { ref_reduce(c, REF_PROD); }
static void ref_reduce_l1(const epl_ref_call *c) { ref_reduce(c, REF_L1); }
static void ref_reduce_l2(const epl_ref_call *c) { ref_reduce(c, REF_L2); }
static void ref_reduce_log_sum(const epl_ref_call *c) { ref_reduce(c, REF_LOG_SUM); }
static void ref_reduce_log_sum_exp(const epl_ref_call *c) { ref_reduce(c, REF_LOG_SUM_EXP); }
static void ref_reduce_sum_square(const epl_ref_call *c) { ref_reduce(c, REF_SUM_SQUARE); }
/* end reference */

enum { AXES, KEEPDIMS, NOOP, N_ATTRS };

static bool infer_any(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    bool mask[EPL_MAX_RANK];
    if (!epl_axes_mask(n, &n->attrs[AXES], x.rank, mask))
        return false;
    const bool all = n->attrs[AXES].n == 0 && !n->attrs[NOOP].i;
    epl_shape y = { 0 };
    for (int i = 0; i < x.rank; i++) {
        const bool reduced = all || mask[i];
        if (!reduced || n->attrs[KEEPDIMS].i)
            y.dim[y.rank++] = reduced ? 1 : x.dim[i];
    }
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static bool infer_number(epl_node *n)
{
    if (n->inputs[0]->dtype == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "bool is not a number; cast it");
    return infer_any(n);
}

static bool infer_real(epl_node *n)
{
    if (!epl_dtype_is_float(n->inputs[0]->dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "%s is not a floating-point type; cast it", epl_dtype_name(n->inputs[0]->dtype));
    return infer_any(n);
}

static epl_cost cost_reduce(const epl_node *n)
{
    return (epl_cost){ .flops = (double)epl_shape_count(n->inputs[0]->shape) };
}

/* ---- gradients: with the result's axes put back (size 1), everything broadcasts against x ---- */

static epl_value *put_back(epl_graph *g, const epl_node *n, epl_value *v)
{
    const epl_attr *axes = &n->attrs[AXES];
    int list[EPL_MAX_RANK];
    if (n->attrs[KEEPDIMS].i || axes->n == 0)
        return v; // a scalar broadcasts as it is
    for (int i = 0; i < axes->n; i++)
        list[i] = (int)axes->ints[i];
    return epl_unsqueeze(g, v, axes->n, list);
}

/* The same reduction of something else, with the axes kept. */
static epl_value *reduce_alike(epl_graph *g, const epl_node *n, const epl_op *op, epl_value *x)
{
    const epl_attr attrs[N_ATTRS] = { [AXES] = n->attrs[AXES], [KEEPDIMS] = EPL_A_I(1), [NOOP] = n->attrs[NOOP] };
    return x ? epl_apply(g, op, EPL_IN(x), attrs) : NULL;
}

static void grad_sum(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_expand_like(g, put_back(g, n, dy[0]), n->inputs[0]);
}

static void grad_mean(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    if (n->attrs[AXES].n == 0 && n->attrs[NOOP].i) {
        dx[0] = dy[0];
        return;
    }
    const epl_attr attrs[] = { n->attrs[AXES] };
    epl_value *count = epl_apply(g, &epl_op_size, EPL_IN(n->inputs[0]), attrs);
    epl_value *share = epl_div(g, dy[0], epl_cast(g, count, n->inputs[0]->dtype));
    dx[0] = epl_expand_like(g, put_back(g, n, share), n->inputs[0]);
}

static void grad_extreme(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *x = n->inputs[0];
    epl_value *hit = epl_cast(g, epl_equal(g, x, put_back(g, n, n->outputs[0])), x->dtype);
    dx[0] = epl_mul(g, hit, epl_div(g, put_back(g, n, dy[0]), reduce_alike(g, n, &epl_op_reduce_sum, hit)));
}

/* The product of the others: y / x without zeros. One zero: only it has a gradient, the product of the rest. */
static void grad_prod(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *x = n->inputs[0], *zero = epl_scalar(g, epl_dtype_of(x), 0);
    epl_value *is_zero = epl_equal(g, x, zero), *count = epl_cast(g, is_zero, x->dtype);
    epl_value *safe = epl_where(g, is_zero, epl_scalar(g, x->dtype, 1), x);
    epl_value *others = epl_div(g, reduce_alike(g, n, &epl_op_reduce_prod, safe), safe);
    epl_value *has_gradient = epl_equal(g, reduce_alike(g, n, &epl_op_reduce_sum, count), count);
    dx[0] = epl_mul(g, put_back(g, n, dy[0]), epl_where(g, has_gradient, others, zero));
}

static void grad_l1(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_mul(g, put_back(g, n, dy[0]), epl_sign(g, n->inputs[0]));
}

static void grad_l2(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *y = put_back(g, n, n->outputs[0]), *one = epl_scalar(g, epl_dtype_of(y), 1);
    epl_value *is_zero = epl_equal(g, y, epl_scalar(g, epl_dtype_of(y), 0)); // there x is 0 too: any divisor gives 0
    dx[0] = epl_mul(g, put_back(g, n, dy[0]), epl_div(g, n->inputs[0], epl_where(g, is_zero, one, y)));
}

static void grad_log_sum(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *share = epl_mul(g, dy[0], epl_exp(g, epl_neg(g, n->outputs[0])));
    dx[0] = epl_expand_like(g, put_back(g, n, share), n->inputs[0]);
}

static void grad_log_sum_exp(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *share = epl_exp(g, epl_sub(g, n->inputs[0], put_back(g, n, n->outputs[0])));
    dx[0] = epl_mul(g, put_back(g, n, dy[0]), share);
}

static void grad_sum_square(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *twice = epl_mul(g, n->inputs[0], epl_scalar(g, n->inputs[0]->dtype, 2));
    dx[0] = epl_mul(g, put_back(g, n, dy[0]), twice);
}

/* ---- the table ---- */

static epl_node *sample_reduction(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op, double low)
{
    const epl_shape x = epl_random_shape(r, 0, 4);
    int64_t axes[EPL_MAX_RANK];
    int     n_axes = 0;
    for (int i = 0; i < x.rank; i++)
        if (epl_rng_below(r, 2))
            axes[n_axes++] = epl_rng_below(r, 2) ? i : i - x.rank;
    const epl_attr attrs[N_ATTRS] = { [AXES] = EPL_A_INTS(n_axes, axes), [KEEPDIMS] = EPL_A_I((int64_t)epl_rng_below(r, 2)),
                                      [NOOP] = EPL_A_I(epl_rng_below(r, 8) == 0) };
    return epl_node_add(g, op, EPL_IN(epl_sample_input(g, dtype, x, low, 2, 0.003)), attrs, 0, NULL);
}

#define REDUCTION(printed, c_name, types, gradient, low_)                                                              \
    {                                                                                                                  \
        .name = printed, .n_inputs = 1, .n_outputs = 1,                                                                \
        .attrs = { [AXES] = { "axes", EPL_ATTR_INTS }, [KEEPDIMS] = { "keepdims", EPL_ATTR_BOOL, .def_i = 1 },         \
                   [NOOP] = { "noop_with_empty_axes", EPL_ATTR_BOOL } },                                               \
        .infer = infer_##types, .grad = gradient, .cost = cost_reduce, EPL_REF(ref_reduce_##c_name),                   \
        .sample = sample_##c_name,                                                                                     \
    };                                                                                                                 \
    static epl_node *sample_##c_name(epl_graph *g, epl_rng *r, epl_dtype dtype)                                        \
    {                                                                                                                  \
        return sample_reduction(g, r, dtype, &epl_op_reduce_##c_name, low_);                                           \
    }                                                                                                                  \
    epl_value *epl_reduce_##c_name(epl_graph *g, epl_value *x, epl_reduce_opts o)                                      \
    {                                                                                                                  \
        return reduce(g, &epl_op_reduce_##c_name, x, &o);                                                              \
    }                                                                                                                  \
    _Static_assert(1, "")

static epl_value *reduce(epl_graph *g, const epl_op *op, epl_value *x, const epl_reduce_opts *o)
{
    int64_t storage[EPL_MAX_RANK];
    const epl_attr attrs[N_ATTRS] = { [AXES] = epl_axes_attr(o->n_axes, o->axes, storage), [KEEPDIMS] = EPL_A_I(o->keep) };
    return x ? epl_apply(g, op, EPL_IN(x), attrs) : NULL;
}

#define SAMPLE(c_name) static epl_node *sample_##c_name(epl_graph *g, epl_rng *r, epl_dtype dtype)
SAMPLE(sum); SAMPLE(mean); SAMPLE(max); SAMPLE(min); SAMPLE(prod); SAMPLE(l1); SAMPLE(l2); SAMPLE(log_sum);
SAMPLE(log_sum_exp); SAMPLE(sum_square);

//                                            printed            C name       types   gradient          samples from
const epl_op epl_op_reduce_sum =    REDUCTION("ReduceSum",       sum,         number, grad_sum,         -2);
const epl_op epl_op_reduce_mean =   REDUCTION("ReduceMean",      mean,        number, grad_mean,        -2);
const epl_op epl_op_reduce_max =    REDUCTION("ReduceMax",       max,         any,    grad_extreme,     -2);
const epl_op epl_op_reduce_min =    REDUCTION("ReduceMin",       min,         any,    grad_extreme,     -2);
const epl_op epl_op_reduce_prod =   REDUCTION("ReduceProd",      prod,        number, grad_prod,        -2);
const epl_op epl_op_reduce_l1 =     REDUCTION("ReduceL1",        l1,          number, grad_l1,          -2);
const epl_op epl_op_reduce_l2 =     REDUCTION("ReduceL2",        l2,          real,   grad_l2,          -2);
const epl_op epl_op_reduce_log_sum = REDUCTION("ReduceLogSum",   log_sum,     real,   grad_log_sum,     0.5);
const epl_op epl_op_reduce_log_sum_exp = REDUCTION("ReduceLogSumExp", log_sum_exp, real, grad_log_sum_exp, -2);
const epl_op epl_op_reduce_sum_square = REDUCTION("ReduceSumSquare", sum_square, number, grad_sum_square, -2);
