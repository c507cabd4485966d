/* export_rewrite: operators that ONNX, or the opset that is written, does not know, in terms of those that it knows. A row is an
 * operator and builder text; what has no row takes the operator's own `expand`. */
#include "onnx/export.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- in builder text --------------------------------------------------------------------------------------------- */
#define C(c)      epl_scalar(g, x->dtype, (c))
#define ADD(a, b) epl_add(g, a, b)
#define SUB(a, b) epl_sub(g, a, b)
#define MUL(a, b) epl_mul(g, a, b)
#define DIV(a, b) epl_div(g, a, b)

typedef epl_value *rewrite_fn(epl_graph *g, const epl_node *n, epl_value *x);

static epl_value *skip(epl_graph *g, const epl_node *n, epl_value *x) { (void)g, (void)n; return x; }
static epl_value *square(epl_graph *g, const epl_node *n, epl_value *x) { (void)n; return MUL(x, x); }
static epl_value *rsqrt_of(epl_graph *g, const epl_node *n, epl_value *x) { (void)n; return epl_reciprocal(g, epl_sqrt(g, x)); }
static epl_value *relu6(epl_graph *g, const epl_node *n, epl_value *x) { (void)n; return epl_clip(g, x, 0, 6); }
static epl_value *silu(epl_graph *g, const epl_node *n, epl_value *x) { (void)n; return MUL(x, epl_sigmoid(g, x)); }
static epl_value *step(epl_graph *g, const epl_node *n, epl_value *x) { (void)n; return epl_cast(g, epl_greater(g, x, C(0)), x->dtype); }
static epl_value *mish(epl_graph *g, const epl_node *n, epl_value *x) { (void)n; return MUL(x, epl_tanh(g, epl_softplus(g, x))); }
static epl_value *truncate(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)n;
    return MUL(epl_sign(g, x), epl_floor(g, epl_abs(g, x)));
}

static epl_value *hard_swish(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)n;
    return MUL(x, epl_hard_sigmoid(g, x, 1.0 / 6, 0.5));
}

static epl_value *pow_scalar(epl_graph *g, const epl_node *n, epl_value *x) { return epl_pow(g, x, C(epl_attr_r(n, "alpha"))); }

static epl_value *affine(epl_graph *g, const epl_node *n, epl_value *x)
{
    const double alpha = epl_attr_r(n, "alpha"), beta = epl_attr_r(n, "beta");
    epl_value   *y = alpha == 1 && beta != 0 ? x : MUL(x, C(alpha));
    return beta == 0 ? y : ADD(y, C(beta));
}

static epl_value *swish(epl_graph *g, const epl_node *n, epl_value *x)
{
    return MUL(x, epl_sigmoid(g, MUL(x, C(epl_attr_r(n, "alpha")))));
}

static epl_value *gelu(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)n;
    return MUL(MUL(C(0.5), x), ADD(C(1), epl_erf(g, MUL(x, C(0.70710678118654752)))));
}

static epl_value *gelu_tanh(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)n;
    return MUL(x, epl_sigmoid(g, MUL(C(1.5957691216057308), ADD(x, MUL(C(0.044715), MUL(x, MUL(x, x)))))));
}

/* tanh(x/2) (e^x + 1): exact near 0, where e^x - 1 cancels. */
static epl_value *expm1_of(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)n;
    return MUL(epl_tanh(g, MUL(x, C(0.5))), ADD(epl_exp(g, x), C(1)));
}

/* 2 artanh(x / (2 + x)) near 0, log(1 + x) elsewhere. */
static epl_value *log1p_of(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)n;
    epl_value *inner = MUL(C(2), epl_atanh(g, DIV(x, ADD(C(2), x))));
    return epl_where(g, epl_less(g, epl_abs(g, x), C(0.5)), inner, epl_log(g, ADD(C(1), x)));
}

static epl_value *not_equal(epl_graph *g, const epl_node *n, epl_value *x) { return epl_not(g, epl_equal(g, x, n->inputs[1])); }

static epl_value *clamp(epl_graph *g, const epl_node *n, epl_value *x)
{
    return epl_min(g, epl_max(g, x, n->inputs[1]), n->inputs[2]);
}

/* ONNX's Mod with the divisor's sign is for integers. */
static epl_value *real_mod(epl_graph *g, const epl_node *n, epl_value *x)
{
    epl_value *b = n->inputs[1];
    return epl_dtype_is_float(x->dtype) ? SUB(x, MUL(b, epl_floor(g, DIV(x, b)))) : NULL;
}

/* A sum is the average over padding too, times the number of taps. */
static epl_value *sum_pool(epl_graph *g, const epl_node *n, epl_value *x)
{
    epl_attr       attrs[EPL_MAX_ATTRS];
    const int64_t *kernel;
    double         taps = 1;
    if (!epl_attr_i(n, "sum") || epl_attr_i(n, "ceil_mode")) // the last window's part that hangs over is not counted
        return NULL;
    for (int i = epl_attr_ints(n, "kernel_shape", &kernel); i > 0; i--)
        taps *= (double)kernel[i - 1];
    memcpy(attrs, n->attrs, (size_t)epl_op_n_attrs(n->op) * sizeof *attrs);
    attrs[epl_op_attr_index(n->op, "sum")]               = EPL_A_I(0);
    attrs[epl_op_attr_index(n->op, "count_include_pad")] = EPL_A_I(1);
    return MUL(epl_apply(g, n->op, EPL_IN(x), attrs), C(taps));
}

/* A uniform draw below the probability: the very draw that it is. */
static epl_value *bernoulli(epl_graph *g, const epl_node *n, epl_value *x)
{
    const int64_t *shape;
    const int      rank = epl_attr_ints(n, "shape", &shape);
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_INTS(rank, shape), EPL_A_I(EPL_F32), EPL_A_I(epl_attr_i(n, "stream")),
                                            EPL_A_R(0), EPL_A_R(1) };
    epl_value     *draw = epl_apply(g, &epl_op_random_uniform, EPL_IN(x, epl_node_input(n, 1)), attrs);
    return draw ? epl_cast(g, epl_less(g, draw, epl_scalar(g, EPL_F32, epl_attr_r(n, "p"))), n->outputs[0]->dtype) : NULL;
}

/* What depends on attributes alone. */
static epl_value *evaluated(epl_graph *g, const epl_node *n, epl_value *x)
{
    (void)x;
    epl_tensor *t = n->n_inputs == 0 ? epl_tensor_new(g->ctx, n->outputs[0]->dtype, n->outputs[0]->shape) : NULL;
    epl_value  *v = t && epl_evaluate_node(n, NULL, &t) ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

/* ONNX's GroupNormalization with a scale per channel came with opset 21; as many groups as channels were known before. */
static epl_value *group_norm(epl_graph *g, const epl_node *n, epl_value *x)
{
    epl_value *y = NULL;
    return epl_attr_i(n, "num_groups") != epl_channels(x) && n->op->expand(g, n, &y) ? y : NULL;
}

/* Below opset `below` the operator is rewritten; NULL from the function leaves it as it is. */
static const struct {
    const epl_op *op;
    int           below;
    rewrite_fn   *rewrite;
} rows[] = {
    { &epl_op_stop_gradient, INT_MAX, skip }, { &epl_op_straight_through, INT_MAX, skip }, { &epl_op_dropout, INT_MAX, skip },
    { &epl_op_drop_path, INT_MAX, skip },     { &epl_op_square, INT_MAX, square },         { &epl_op_rsqrt, INT_MAX, rsqrt_of },
    { &epl_op_expm1, INT_MAX, expm1_of },     { &epl_op_log1p, INT_MAX, log1p_of },        { &epl_op_trunc, INT_MAX, truncate },
    { &epl_op_step, INT_MAX, step },          { &epl_op_affine, INT_MAX, affine },         { &epl_op_relu6, INT_MAX, relu6 },
    { &epl_op_silu, INT_MAX, silu },          { &epl_op_swish, 24, swish },                { &epl_op_hard_swish, 14, hard_swish },
    { &epl_op_gelu, 20, gelu },               { &epl_op_gelu_tanh, 20, gelu_tanh },        { &epl_op_mish, 18, mish },
    { &epl_op_pow_scalar, INT_MAX, pow_scalar }, { &epl_op_not_equal, INT_MAX, not_equal }, { &epl_op_clamp, INT_MAX, clamp },
    { &epl_op_mod, INT_MAX, real_mod },       { &epl_op_average_pool, INT_MAX, sum_pool },  { &epl_op_eye, INT_MAX, evaluated },
    { &epl_op_range, INT_MAX, evaluated },    { &epl_op_group_norm, 21, group_norm },       { &epl_op_random_bernoulli, INT_MAX, bernoulli },
};

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

/* 1: n was replaced, 0: it stays, -1: failure. */
static int by_row(epl_graph *g, epl_node *n, int opset)
{
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        if (rows[i].op != n->op || opset >= rows[i].below)
            continue;
        epl_value *y = rows[i].rewrite(g, n, n->n_inputs ? n->inputs[0] : NULL);
        if (y)
            epl_replace(n->outputs[0], y);
        return y ? 1 : epl_graph_failed(g) ? -1 : 0;
    }
    return 0;
}

static int by_expansion(epl_graph *g, epl_node *n, int opset)
{
    epl_value *out[8] = { NULL };
    const bool old = EPL_IS(n, layer_norm) && opset < 17;
    if ((onnx_export_find(n->op) && !old) || !n->op->expand || n->n_outputs > (int)EPL_COUNT(out))
        return 0;
    if (!n->op->expand(g, n, out))
        return -1;
    for (int i = 0; i < n->n_outputs; i++)
        if (out[i])
            epl_replace(n->outputs[i], out[i]);
    return 1;
}

static int rewrite_node(epl_graph *g, epl_node *n, int opset)
{
    if (EPL_IS(n, custom_gradient))
        return epl_inline_custom(n) ? 2 : -1; // which takes the node away itself
    const int done = by_row(g, n, opset);
    return done ? done : by_expansion(g, n, opset);
}

bool onnx_rewrite(epl_graph *g, int opset)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        epl_node *before = n->prev;
        for (int i = 0; i < n->n_regions; i++)
            if (!EPL_IS(n, custom_gradient) && !onnx_rewrite(n->regions[i], opset))
                return false;
        const char *scope = g->root->scope;
        epl_node   *at = epl_graph_insert_before(g, n);
        g->root->scope = n->scope;
        const int done = rewrite_node(g, n, opset);
        g->root->scope = scope;
        epl_graph_insert_before(g, at);
        if (done < 0)
            return false;
        if (done == 1) {
            next = n->next;
            epl_node_remove(n);
        }
        next = done ? (before ? before->next : g->first) : n->next; // what was put in its place is looked at, too
    }
    return true;
}
