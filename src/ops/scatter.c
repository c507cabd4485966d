/* scatter: writing at positions that are themselves values - ScatterElements and ScatterND, with ONNX's reductions. Negative
 * positions count from the end; what lies outside is left out. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
/* y[to] = y[to] combined with x[from]; reductions are numbered as epl_scatter_reduction. */
static void ref_scatter_combine(const epl_view *y, int64_t to, const epl_view *x, int64_t from, int64_t reduction)
{
    if (epl_ref_is_float(y->dtype)) {
        const double a = epl_ref_get(y, to), b = epl_ref_get(x, from);
        epl_ref_set(y, to, reduction == 0 ? b : reduction == 1 ? a + b : reduction == 2 ? a * b
                           : reduction == 3 ? (b > a || b != b ? b : a) : (b < a || b != b ? b : a));
        return;
    }
    const uint64_t flip = y->dtype == EPL_REF_U64 ? (uint64_t)1 << 63 : 0; // orders u64 as if it were signed
    const uint64_t a = (uint64_t)epl_ref_get_i64(y, to), b = (uint64_t)epl_ref_get_i64(x, from);
    const int      greater = (int64_t)(b ^ flip) > (int64_t)(a ^ flip);
    epl_ref_set_i64(y, to, (int64_t)(reduction == 0 ? b : reduction == 1 ? a + b : reduction == 2 ? a * b
                                     : reduction == 3 ? (greater ? b : a) : (greater ? a : b)));
}

static void ref_scatter_elements(const epl_ref_call *c)
{
    const epl_view *indices = &c->in[1], *updates = &c->in[2], *y = &c->out[0];
    const int64_t   axis = c->attr[0].i < 0 ? c->attr[0].i + y->rank : c->attr[0].i, d = y->dim[axis], n = epl_view_count(indices);
    int64_t index[8] = { 0 };
    memcpy(y->data, c->in[0].data, (size_t)(epl_view_count(y) * epl_ref_bytes(y->dtype)));
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, indices->dim, indices->rank)) {
        const int64_t named = epl_ref_get_i64(indices, o), k = named < 0 ? named + d : named;
        int64_t to = 0;
        for (int64_t i = 0; i < y->rank; i++)
            to = to * y->dim[i] + (i == axis ? k : index[i]);
        if (k >= 0 && k < d)
            ref_scatter_combine(y, to, updates, o, c->attr[1].i);
    }
}

static void ref_scatter_nd(const epl_ref_call *c)
{
    const epl_view *indices = &c->in[1], *updates = &c->in[2], *y = &c->out[0];
    const int64_t   batch = c->attr[1].i, depth = indices->dim[indices->rank - 1];
    int64_t batches = 1, tuples = 1, run = 1;
    for (int64_t i = 0; i < batch; i++)
        batches *= y->dim[i];
    for (int64_t i = 0; i < indices->rank - 1; i++)
        tuples *= indices->dim[i];
    for (int64_t i = batch + depth; i < y->rank; i++)
        run *= y->dim[i];
    memcpy(y->data, c->in[0].data, (size_t)(epl_view_count(y) * epl_ref_bytes(y->dtype)));
    for (int64_t t = 0; t < tuples; t++) {
        int64_t to = t / (tuples / batches), inside = 1;
        for (int64_t i = 0; i < depth; i++) {
            const int64_t d = y->dim[batch + i], named = epl_ref_get_i64(indices, t * depth + i), k = named < 0 ? named + d : named;
            inside = inside && k >= 0 && k < d;
            to = to * d + k;
        }
        for (int64_t e = 0; e < run && inside; e++)
            ref_scatter_combine(y, to * run + e, updates, t * run + e, c->attr[0].i);
    }
}
/* end reference */

#define REDUCTIONS "none|add|mul|max|min" /* epl_scatter_reduction */

static bool check_types(const epl_node *n)
{
    const epl_dtype i = n->inputs[1]->dtype;
    if (epl_dtype_is_float(i) || i == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the indices are %s; integers are needed", epl_dtype_name(i));
    if (n->inputs[2]->dtype != n->inputs[0]->dtype)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the data is %s, the updates are %s", epl_dtype_name(n->inputs[0]->dtype),
                             epl_dtype_name(n->inputs[2]->dtype));
    return true;
}

/* What both gradients are built from: reading and writing at this node's indices. */
typedef struct place {
    const epl_node *n;
    bool            nd;
} place;

static epl_value *read_at(epl_graph *g, place p, epl_value *x)
{
    const epl_attr attrs[] = { p.nd ? p.n->attrs[1] : p.n->attrs[0] }; // batch_dims or axis
    return x ? epl_apply(g, p.nd ? &epl_op_gather_nd : &epl_op_gather_elements, EPL_IN(x, p.n->inputs[1]), attrs) : NULL;
}

static epl_value *write_at(epl_graph *g, place p, epl_value *x, epl_value *updates, epl_scatter_reduction reduction)
{
    const epl_attr attrs[] = { p.nd ? EPL_A_I(reduction) : p.n->attrs[0], p.nd ? p.n->attrs[1] : EPL_A_I(reduction) };
    return x && updates ? epl_apply(g, p.n->op, EPL_IN(x, p.n->inputs[1], updates), attrs) : NULL;
}

/* none: the gradient at replaced elements goes to the updates. add: to both. mul: times the other factors. max and min: to
 * whichever was taken (where they are equal, to each). */
static void grad_scatter(epl_graph *g, place p, epl_scatter_reduction reduction, epl_value *dy, epl_value **dx)
{
    epl_value *data = p.n->inputs[0], *updates = p.n->inputs[2], *y = p.n->outputs[0];
    if (reduction == EPL_SCATTER_SET) {
        dx[0] = write_at(g, p, dy, epl_zeros_like(g, updates), EPL_SCATTER_SET);
        dx[2] = read_at(g, p, dy);
    } else if (reduction == EPL_SCATTER_ADD) {
        dx[0] = dy;
        dx[2] = read_at(g, p, dy);
    } else if (reduction == EPL_SCATTER_MUL) {
        dx[0] = epl_mul(g, dy, write_at(g, p, epl_ones_like(g, data), updates, EPL_SCATTER_MUL));
        dx[2] = epl_div(g, read_at(g, p, epl_mul(g, dy, y)), updates);
    } else {
        dx[0] = epl_mul(g, dy, epl_cast(g, epl_equal(g, data, y), data->dtype));
        dx[2] = epl_mul(g, read_at(g, p, dy), epl_cast(g, epl_equal(g, updates, read_at(g, p, y)), data->dtype));
    }
}

static epl_cost cost_scatter(const epl_node *n)
{
    return (epl_cost){ .flops = (double)epl_shape_count(n->inputs[2]->shape) };
}

/* ---- ScatterElements ---- */

enum { ELEMENTS_AXIS, ELEMENTS_REDUCTION, ELEMENTS_N };

static bool infer_scatter_elements(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape, i = n->inputs[1]->shape;
    char a[192], b[192];
    int  axis;
    if (!epl_check_axis(n, n->attrs[ELEMENTS_AXIS].i, x.rank, &axis) || !check_types(n))
        return false;
    if (!epl_shape_equal(i, n->inputs[2]->shape))
        return epl_node_fail(n, EPL_ERR_SHAPE, "the indices are %s, the updates %s", epl_shape_text(a, i),
                             epl_shape_text(b, n->inputs[2]->shape));
    bool fits = i.rank == x.rank;
    for (int k = 0; fits && k < x.rank; k++)
        fits = k == axis || i.dim[k] <= x.dim[k];
    if (!fits)
        return epl_node_fail(n, EPL_ERR_SHAPE, "indices %s do not fit data %s along axis %d", epl_shape_text(a, i),
                             epl_shape_text(b, x), axis);
    return epl_infer_same(n);
}

static void grad_scatter_elements(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    grad_scatter(g, (place){ n, false }, (epl_scatter_reduction)n->attrs[ELEMENTS_REDUCTION].i, dy[0], dx);
}

/* Indices that never repeat: the positions of a row, shuffled and counted from either end, are constants here. */
static epl_value *distinct_positions(epl_graph *g, epl_rng *r, int64_t rows, int64_t depth)
{
    int64_t at[16], n = rows * depth;
    int64_t order[4] = { 0, 1, 2, 3 };
    epl_rng_shuffle(r, order, 4);
    for (int64_t i = 0; i < n; i++)
        at[i] = i % depth == 0 ? order[i / depth] : (int64_t)epl_rng_below(r, 3);
    const epl_tensor t = { .dtype = EPL_I64, .shape = EPL_SHAPE(rows, depth), .data = at };
    return epl_constant(g, &t);
}

static epl_node *sample_scatter_elements(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t rows = epl_random_between(r, 1, 4), reduction = epl_random_between(r, 0, 4);
    epl_value *data = epl_sample_input(g, dtype, EPL_SHAPE(4, 3), 0.5, 2, 0.003);
    epl_value *at = distinct_positions(g, r, rows, 1), *updates = epl_sample_input(g, dtype, EPL_SHAPE(rows, 1), 0.5, 2, 0.0031);
    const epl_attr attrs[ELEMENTS_N] = { EPL_A_I(epl_rng_below(r, 2) ? 0 : -2), EPL_A_I(reduction) };
    return epl_node_add(g, &epl_op_scatter_elements, EPL_IN(data, at, updates), attrs, 0, NULL);
}

const epl_op epl_op_scatter_elements = {
    .name = "ScatterElements", .n_inputs = 3, .n_outputs = 1,
    .attrs = { [ELEMENTS_AXIS] = { "axis", EPL_ATTR_INT }, [ELEMENTS_REDUCTION] = { "reduction", EPL_ATTR_CHOICE, .choices = REDUCTIONS } },
    .infer = infer_scatter_elements, .grad = grad_scatter_elements, .cost = cost_scatter, EPL_REF(ref_scatter_elements),
    .sample = sample_scatter_elements,
};

epl_value *epl_scatter_elements(epl_graph *g, epl_value *data, epl_value *indices, epl_value *updates, int axis,
                                epl_scatter_reduction reduction)
{
    const epl_attr attrs[ELEMENTS_N] = { EPL_A_I(axis), EPL_A_I(reduction) };
    return data && indices && updates ? epl_apply(g, &epl_op_scatter_elements, EPL_IN(data, indices, updates), attrs) : NULL;
}

/* ---- ScatterND: ONNX's, and with batch_dims the reverse of every GatherND ---- */

enum { ND_REDUCTION, ND_BATCH, ND_N };

static bool infer_scatter_nd(epl_node *n)
{
    char a[192], b[192];
    epl_shape want;
    if (!check_types(n) || !epl_nd_shape(n, n->inputs[0]->shape, n->inputs[1]->shape, n->attrs[ND_BATCH].i, &want))
        return false;
    if (!epl_shape_equal(want, n->inputs[2]->shape))
        return epl_node_fail(n, EPL_ERR_SHAPE, "the updates are %s; the indices ask for %s",
                             epl_shape_text(a, n->inputs[2]->shape), epl_shape_text(b, want));
    return epl_infer_same(n);
}

static void grad_scatter_nd(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    grad_scatter(g, (place){ n, true }, (epl_scatter_reduction)n->attrs[ND_REDUCTION].i, dy[0], dx);
}

static epl_node *sample_scatter_nd(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t rows = epl_random_between(r, 1, 4), depth = epl_random_between(r, 1, 2), reduction = epl_random_between(r, 0, 4);
    epl_value *data = epl_sample_input(g, dtype, EPL_SHAPE(4, 3, 2), 0.5, 2, 0.003), *at = distinct_positions(g, r, rows, depth);
    epl_value *updates = epl_sample_input(g, dtype, depth == 1 ? EPL_SHAPE(rows, 3, 2) : EPL_SHAPE(rows, 2), 0.5, 2, 0.0031);
    const epl_attr attrs[ND_N] = { EPL_A_I(reduction) };
    return epl_node_add(g, &epl_op_scatter_nd, EPL_IN(data, at, updates), attrs, 0, NULL);
}

const epl_op epl_op_scatter_nd = {
    .name = "ScatterND", .n_inputs = 3, .n_outputs = 1,
    .attrs = { [ND_REDUCTION] = { "reduction", EPL_ATTR_CHOICE, .choices = REDUCTIONS }, [ND_BATCH] = { "batch_dims", EPL_ATTR_INT } },
    .infer = infer_scatter_nd, .grad = grad_scatter_nd, .cost = cost_scatter, EPL_REF(ref_scatter_nd), .sample = sample_scatter_nd,
};

epl_value *epl_scatter_nd(epl_graph *g, epl_value *data, epl_value *indices, epl_value *updates, epl_scatter_reduction reduction)
{
    const epl_attr attrs[ND_N] = { EPL_A_I(reduction) };
    return data && indices && updates ? epl_apply(g, &epl_op_scatter_nd, EPL_IN(data, indices, updates), attrs) : NULL;
}
