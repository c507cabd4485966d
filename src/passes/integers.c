/* integers: products of quantised values become products of integers. Where the input of a convolution or linear layer is integers of 8
 * bits times a factor (what DequantizeLinear computes, without a zero point), and its weight integers times a factor for each output
 * channel - codes of powers of two (ShiftWeight), or stored integers of 8 bits, whatever scales and folded normalisations stand behind
 * them - all factors multiply the exact sum instead: IntegerConv. Within the rounding of the sums that it replaces. */
#include "passes/passes.h"

/* What is left when factors are taken off, and the product of the factors: scalars, or one for each output channel. NULL: 1. */
typedef struct peeled {
    epl_value *core, *factor;
    bool       turned; /* a weight [M, C] stands for [C, M] */
} peeled;

static void multiply(epl_graph *g, peeled *p, epl_value *f) { p->factor = p->factor ? epl_mul(g, p->factor, f) : f; }

static bool is_fixed(const epl_value *v) { return v->producer->tag == 1; }

/* A factor as a scalar or a vector [m]; NULL if it is none. Of a turned matrix it stands in a column. */
static epl_value *as_factor(epl_graph *g, epl_value *f, bool turned, int64_t m)
{
    const epl_shape s = f->shape;
    if (!is_fixed(f) || f->dtype != EPL_F32)
        return NULL;
    if (epl_shape_count(s) == 1)
        return epl_reshape(g, f, EPL_SCALAR);
    const int64_t last = s.rank ? s.dim[s.rank - 1] : 0;
    const bool column = s.rank == 2 && last == 1 && s.dim[0] == m, row = last == m && epl_shape_count(s) == m;
    return (turned ? column : row) ? epl_reshape(g, f, EPL_SHAPE(m)) : NULL;
}

/* Takes one factor, or a transposition of a matrix, off p->core. */
static bool peel_one(epl_graph *g, peeled *p, int64_t m)
{
    epl_node *n = p->core->producer;
    if (EPL_IS(n, affine) && epl_attr_r(n, "beta") == 0) {
        multiply(g, p, epl_scalar(g, EPL_F32, epl_attr_r(n, "alpha")));
        p->core = n->inputs[0];
        return true;
    }
    if (EPL_IS(n, transpose) && m && p->core->shape.rank == 2) {
        const int64_t *perm;
        p->turned ^= epl_attr_ints(n, "perm", &perm) != 2 || perm[0] == 1;
        p->core = n->inputs[0];
        return true;
    }
    for (int i = 0; i < 2 && EPL_IS(n, mul); i++) {
        epl_value *f = epl_shape_equal(n->inputs[1 - i]->shape, p->core->shape) ? as_factor(g, n->inputs[i], p->turned, m) : NULL;
        if (!f)
            continue;
        multiply(g, p, f);
        p->core = n->inputs[1 - i];
        return true;
    }
    return false;
}

static peeled peel(epl_graph *g, epl_value *v, bool turned, int64_t m)
{
    peeled p = { .core = v, .turned = turned };
    while (v->dtype == EPL_F32 && peel_one(g, &p, m))
        ;
    return p;
}

static bool is_byte(const epl_value *v) { return v->dtype == EPL_I8 || v->dtype == EPL_U8; }

/* The integers whose value in f32 v is: of 8 bits, or of codes. NULL: it is something else. */
static epl_value *integers_of(epl_graph *g, epl_value *v, bool weight)
{
    epl_node *n = v->producer;
    if (weight && EPL_IS(n, shift_weight))
        return epl_cast(g, v, EPL_I16);
    return EPL_IS(n, cast) && is_byte(n->inputs[0]) && !(weight && n->inputs[0]->dtype == EPL_U8) ? n->inputs[0] : NULL;
}

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
    return n->outputs[0]->dtype == EPL_F32 && is_fixed(n->inputs[1]) && (EPL_IS(n, conv) || n->inputs[1]->shape.rank == 2) &&
           !(EPL_IS(n, matmul) && epl_attr_i(n, "trans_a"));
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
    epl_node *at = epl_graph_insert_before(g, n);
    peeled     x = peel(g, n->inputs[0], false, 0), w = peel(g, n->inputs[1], turned, m);
    epl_value *xi = integers_of(g, x.core, false), *wi = xi ? integers_of(g, w.core, true) : NULL, *y = NULL;
    if (wi) {
        if (x.factor)
            multiply(g, &w, x.factor);
        epl_value *scale = w.factor ? epl_expand(g, w.factor, EPL_SHAPE(m)) : epl_expand(g, epl_scalar(g, EPL_F32, 1), EPL_SHAPE(m));
        wi = w.turned ? epl_transpose(g, wi, 2, (int[]){ 1, 0 }) : wi;
        y  = epl_convolve_integers(g, xi, wi, scale, n->op == &epl_op_matmul ? NULL : epl_node_input(n, 2), EPL_IS(n, conv) ? n : NULL);
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
