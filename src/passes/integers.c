/* integers: products of quantised values become products of integers. Where the input of a convolution or linear
 * layer is integers of 8 bits times a factor (what DequantizeLinear computes with a zero point of 0), and its weight
 * integers times a factor for each output channel - codes of powers of two (ShiftWeight), or stored integers of 8
 * bits, whatever scales and folded normalisations stand behind them - all factors multiply the exact sum instead:
 * IntegerConv. Depthwise ones stay. Within the rounding of the sums that it replaces. */
#include "passes/passes.h"

/* The factors that are taken off on the way: scalars, or one for each of m output channels; of an input (m = 0) scalars alone. */
typedef struct factors {
    epl_graph *g;
    epl_value *product; /* NULL: 1 */
    int64_t    m;
} factors;

static bool is_fixed(const epl_value *v) { return v->producer->tag == 1; }

static void multiply(factors *f, epl_value *by) { f->product = f->product ? epl_mul(f->g, f->product, by) : by; }

/* A factor of v as a scalar or a vector [m], along v's `axis`; NULL if it is none. */
static epl_value *as_factor(const factors *f, epl_value *by, const epl_value *v, int axis)
{
    const epl_shape s = by->shape;
    const int       at = axis - (v->shape.rank - s.rank);
    if (!is_fixed(by) || by->dtype != EPL_F32)
        return NULL;
    if (epl_shape_count(s) == 1)
        return epl_reshape(f->g, by, EPL_SCALAR);
    return f->m > 0 && at >= 0 && at < s.rank && s.dim[at] == f->m && epl_shape_count(s) == f->m
               ? epl_reshape(f->g, by, EPL_SHAPE(f->m))
               : NULL;
}

static bool is_zero(const epl_value *v)
{
    const epl_tensor *t = EPL_IS(v->producer, constant) ? v->producer->attrs[0].tensor : NULL;
    bool zero = t != NULL;
    for (int64_t i = 0; zero && i < epl_tensor_count(t); i++)
        zero = epl_tensor_get(t, i) == 0;
    return zero;
}

static epl_value *integers_of(factors *f, epl_value *v, int axis);

/* Behind a product with a factor. */
static epl_value *without_factor(factors *f, epl_value *v, int axis)
{
    epl_node *n = v->producer;
    for (int i = 0; i < 2; i++) {
        epl_value *by = epl_shape_equal(n->inputs[1 - i]->shape, v->shape) ? as_factor(f, n->inputs[i], v, axis) : NULL;
        if (!by)
            continue;
        multiply(f, by);
        return integers_of(f, n->inputs[1 - i], axis);
    }
    return NULL;
}

static epl_value *transposed(factors *f, const epl_node *n, int axis)
{
    const int64_t *perm;
    const int      rank = epl_attr_ints(n, "perm", &perm);
    int            order[EPL_MAX_RANK];
    if (rank != n->outputs[0]->shape.rank)
        return NULL;
    for (int i = 0; i < rank; i++)
        order[i] = (int)perm[i];
    return epl_transpose(f->g, integers_of(f, n->inputs[0], order[axis]), rank, order);
}

/* The integers that v is when the factors are taken off: of 8 bits, or of a weight's codes. NULL: it is something else. */
static epl_value *integers_of(factors *f, epl_value *v, int axis)
{
    epl_node *n = v->producer;
    if (v->dtype != EPL_F32)
        return NULL;
    if (EPL_IS(n, shift_weight))
        return f->m > 0 ? epl_cast(f->g, v, EPL_I16) : NULL;
    if (EPL_IS(n, cast))
        return n->inputs[0]->dtype == EPL_I8 || (n->inputs[0]->dtype == EPL_U8 && f->m == 0) ? n->inputs[0] : NULL;
    if (EPL_IS(n, affine) && epl_attr_r(n, "beta") == 0) {
        multiply(f, epl_scalar(f->g, EPL_F32, epl_attr_r(n, "alpha")));
        return integers_of(f, n->inputs[0], axis);
    }
    if (EPL_IS(n, sub) && is_zero(n->inputs[1]) && epl_shape_equal(n->inputs[0]->shape, v->shape)) // a zero point
        return integers_of(f, n->inputs[0], axis);
    return EPL_IS(n, mul) ? without_factor(f, v, axis) : EPL_IS(n, transpose) ? transposed(f, n, axis) : NULL;
}

/* A channel for itself: a sum of so few products is faster in floats. */
static bool is_depthwise(const epl_node *n) { return EPL_IS(n, conv) && epl_attr_i(n, "group") > 1 && epl_dim(n->inputs[1], -2) == 1; }

/* The layer's weight is its input 1, and that of a linear layer is a matrix. */
static bool is_layer(const epl_node *n, bool *turned)
{
    *turned = false;
    if (EPL_IS(n, linear))
        *turned = epl_attr_i(n, "trans_w");
    else if (EPL_IS(n, matmul))
        *turned = epl_attr_i(n, "trans_b");
    else if (!EPL_IS(n, conv))
        return false;
    return n->outputs[0]->dtype == EPL_F32 && is_fixed(n->inputs[1]) && !is_depthwise(n) &&
           (EPL_IS(n, conv) || n->inputs[1]->shape.rank == 2) && !(EPL_IS(n, matmul) && epl_attr_i(n, "trans_a"));
}

/* So deep that sums of products with 8 bits each fit 32 bits. */
static bool is_exact(const epl_value *w, const epl_value *y)
{
    const int64_t m = epl_channels(y);
    return m > 0 && epl_shape_count(w->shape) / m <= INT32_MAX / (255 * 128);
}

static bool rewrite(epl_graph *g, epl_node *n)
{
    bool turned;
    if (!is_layer(n, &turned) || !is_exact(n->inputs[1], n->outputs[0]))
        return false;
    const int64_t m = epl_channels(n->outputs[0]);
    epl_node  *at = epl_graph_insert_before(g, n);
    factors    fx = { g, NULL, 0 }, fw = { g, NULL, m };
    epl_value *x = integers_of(&fx, n->inputs[0], 0), *y = NULL;
    epl_value *w = x ? integers_of(&fw, n->inputs[1], turned ? 0 : n->inputs[1]->shape.rank - 1) : NULL;
    if (w) {
        if (fx.product)
            multiply(&fw, fx.product);
        epl_value *scale = epl_expand(g, fw.product ? fw.product : epl_scalar(g, EPL_F32, 1), EPL_SHAPE(m));
        w = turned ? epl_transpose(g, w, 2, (int[]){ 1, 0 }) : w;
        y = epl_convolve_integers(g, x, w, scale, EPL_IS(n, matmul) ? NULL : epl_node_input(n, 2), EPL_IS(n, conv) ? n : NULL);
    }
    epl_graph_insert_before(g, at);
    if (!y)
        return false;
    y->producer->scope = n->scope;
    epl_replace(n->outputs[0], y);
    epl_node_remove(n);
    return true;
}

bool epl_use_integers(epl_graph *g)
{
    epl_mark_fixed(g);
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        for (int i = 0; i < n->n_regions; i++)
            if (!epl_use_integers(n->regions[i]))
                return false;
        rewrite(g, n);
    }
    return !epl_graph_failed(g);
}
