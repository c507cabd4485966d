/* matmul: MatMul, the batched matrix product with NumPy's broadcasting of the leading axes, and Linear, rows times a matrix
 * plus a bias. Transposition is an attribute, so that gradients need no transposes. */
#include "ops/dense.h"

enum { TRANS_A, TRANS_B };

/* begin reference */
static inline double epl_matmul_dot(const epl_view *a, int64_t at, int64_t a_step, const epl_view *b, int64_t bt, int64_t b_step,
                                    int64_t k)
{
    double sum = 0;
    for (int64_t i = 0; i < k; i++)
        sum += epl_ref_get(a, at + i * a_step) * epl_ref_get(b, bt + i * b_step);
    return sum;
}

static inline int64_t epl_matmul_dot_i64(const epl_view *a, int64_t at, int64_t a_step, const epl_view *b, int64_t bt,
                                         int64_t b_step, int64_t k)
{
    uint64_t sum = 0; // wraps, as integer arithmetic does everywhere here
    for (int64_t i = 0; i < k; i++)
        sum += (uint64_t)epl_ref_get_i64(a, at + i * a_step) * (uint64_t)epl_ref_get_i64(b, bt + i * b_step);
    return (int64_t)sum;
}

/* The view without its two last axes: the batch. */
static inline epl_view epl_matmul_batch(const epl_view *v)
{
    epl_view batch = *v;
    batch.rank -= 2;
    return batch;
}

static void epl_ref_matmul(const epl_ref_call *c)
{
    const epl_view *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
    const int64_t   ta = c->attr[0].i, tb = c->attr[1].i, rank = y->rank - 2;
    const int64_t   m = y->dim[rank], n = y->dim[rank + 1], k = a->dim[a->rank - (ta ? 2 : 1)];
    const epl_view  batch_a = epl_matmul_batch(a), batch_b = epl_matmul_batch(b), batch_y = epl_matmul_batch(y);
    int64_t         stride_a[8], stride_b[8], index[8] = { 0 };
    epl_ref_broadcast_strides(&batch_a, rank, stride_a);
    epl_ref_broadcast_strides(&batch_b, rank, stride_b);
    for (int64_t p = 0; p < epl_view_count(&batch_y); p++, epl_ref_next(index, y->dim, rank)) {
        const int64_t at = epl_ref_offset(index, stride_a, rank) * m * k, bt = epl_ref_offset(index, stride_b, rank) * k * n;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                const int64_t ai = at + (ta ? i : i * k), bj = bt + (tb ? j * k : j), to = (p * m + i) * n + j;
                if (epl_ref_is_float(y->dtype))
                    epl_ref_set(y, to, epl_matmul_dot(a, ai, ta ? m : 1, b, bj, tb ? 1 : n, k));
                else
                    epl_ref_set_i64(y, to, epl_matmul_dot_i64(a, ai, ta ? m : 1, b, bj, tb ? 1 : n, k));
            }
    }
}

static void epl_ref_linear(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *w = &c->in[1], *y = &c->out[0];
    const int64_t   tw = c->attr[0].i, k = x->dim[x->rank - 1], n = y->dim[y->rank - 1], rows = k ? epl_view_count(x) / k : 0;
    const int       bias = c->n_in > 2 && c->in[2].data;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++)
            epl_ref_set(y, i * n + j, epl_matmul_dot(x, i * k, 1, w, tw ? j * k : j, tw ? 1 : n, k) +
                                          (bias ? epl_ref_get(&c->in[2], j) : 0));
}
/* end reference */

/* ---- MatMul ------------------------------------------------------------------------------------------------------ */
static bool matmul_infer(epl_node *n)
{
    const epl_value *a = n->inputs[0], *b = n->inputs[1];
    char sa[192], sb[192];
    if (a->dtype != b->dtype || a->dtype == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the inputs are %s and %s; they must be alike, and numbers",
                             epl_dtype_name(a->dtype), epl_dtype_name(b->dtype));
    const int ra = a->shape.rank, rb = b->shape.rank;
    if (ra < 2 || rb < 2)
        return epl_node_fail(n, EPL_ERR_SHAPE, "the inputs %s and %s must have at least two axes each",
                             epl_shape_text(sa, a->shape), epl_shape_text(sb, b->shape));
    const bool    ta = n->attrs[TRANS_A].i, tb = n->attrs[TRANS_B].i;
    const int64_t m = a->shape.dim[ra - (ta ? 1 : 2)], ka = a->shape.dim[ra - (ta ? 2 : 1)];
    const int64_t kb = b->shape.dim[rb - (tb ? 1 : 2)], cols = b->shape.dim[rb - (tb ? 2 : 1)];
    epl_shape batch_a = a->shape, batch_b = b->shape, out;
    batch_a.rank -= 2;
    batch_b.rank -= 2;
    if (ka != kb)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%s%s times %s%s: %lld columns do not meet %lld rows",
                             epl_shape_text(sa, a->shape), ta ? " transposed" : "", epl_shape_text(sb, b->shape),
                             tb ? " transposed" : "", (long long)ka, (long long)kb);
    if (!epl_shape_broadcast(batch_a, batch_b, &out))
        return epl_node_fail(n, EPL_ERR_SHAPE, "the batches of %s and %s do not broadcast", epl_shape_text(sa, a->shape),
                             epl_shape_text(sb, b->shape));
    out.dim[out.rank++] = m;
    out.dim[out.rank++] = cols;
    return epl_set_type(n, 0, a->dtype, out);
}

static epl_value *product(epl_graph *g, epl_value *a, epl_value *b, bool trans_a, bool trans_b)
{
    return epl_apply(g, &epl_op_matmul, EPL_IN(a, b), (epl_attr[]){ EPL_A_I(trans_a), EPL_A_I(trans_b) });
}

/* y = A B: dA = dy B', dB = A' dy, and their like for the transposed forms. Where one matrix serves a whole batch its
 * gradient is ONE product over all rows: no gradient per batch element is ever stored. */
static void matmul_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value *a = n->inputs[0], *b = n->inputs[1];
    const bool ta = n->attrs[TRANS_A].i, tb = n->attrs[TRANS_B].i;
    epl_value *da = ta ? product(g, b, dy[0], tb, true) : product(g, dy[0], b, false, !tb), *db;
    if (b->shape.rank == 2 && a->shape.rank > 2 && !ta) {
        epl_value *rows = epl_as_rows(g, a), *drows = epl_as_rows(g, dy[0]);
        db = tb ? product(g, drows, rows, true, false) : product(g, rows, drows, true, false);
    } else {
        db = tb ? product(g, dy[0], a, true, ta) : product(g, a, dy[0], !ta, false);
    }
    dx[0] = epl_sum_like(g, da, a);
    dx[1] = epl_sum_like(g, db, b);
}

static epl_cost matmul_cost(const epl_node *n)
{
    const epl_value *a = n->inputs[0];
    const int64_t    k = a->shape.dim[a->shape.rank - (n->attrs[TRANS_A].i ? 2 : 1)];
    return (epl_cost){ .macs = (double)epl_shape_count(n->outputs[0]->shape) * (double)k };
}

static epl_node *matmul_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const bool ta = epl_pick(r, 0, 1), tb = epl_pick(r, 0, 1);
    const int  m = epl_pick(r, 1, 5), k = epl_pick(r, 1, 5), cols = epl_pick(r, 1, 5), rank = epl_pick(r, 0, 2);
    epl_shape  a = epl_pick_shape(r, rank, 1, 3), b = a;
    for (int i = 0; i < rank; i++) // one side or the other is broadcast now and then
        *(epl_pick(r, 0, 1) ? &a.dim[i] : &b.dim[i]) = epl_pick(r, 0, 1) ? 1 : a.dim[i] > b.dim[i] ? a.dim[i] : b.dim[i];
    if (epl_pick(r, 0, 2) == 0)
        b.rank = 0;
    a.dim[a.rank++] = ta ? k : m;
    a.dim[a.rank++] = ta ? m : k;
    b.dim[b.rank++] = tb ? cols : k;
    b.dim[b.rank++] = tb ? k : cols;
    epl_value *x = epl_sample_input(g, dtype, a, -1, 1, 0), *w = epl_sample_input(g, dtype, b, -1, 1, 0);
    return epl_node_add(g, &epl_op_matmul, EPL_IN(x, w), (epl_attr[]){ EPL_A_I(ta), EPL_A_I(tb) }, 0, NULL);
}

const epl_op epl_op_matmul = {
    .name = "MatMul", .n_inputs = 2, .n_outputs = 1,
    .attrs = { { "trans_a", EPL_ATTR_BOOL }, { "trans_b", EPL_ATTR_BOOL } },
    .infer = matmul_infer, .grad = matmul_grad, .cost = matmul_cost, EPL_REF(epl_ref_matmul), .sample = matmul_sample,
};

epl_value *epl_matmul(epl_graph *g, epl_value *a, epl_value *b, epl_matmul_opts o)
{
    return product(g, a, b, o.trans_a, o.trans_b);
}

/* ---- Linear ------------------------------------------------------------------------------------------------------ */
static bool linear_infer(epl_node *n)
{
    const epl_value *x = n->inputs[0], *w = n->inputs[1];
    const bool tw = n->attrs[0].i;
    char sx[192], sw[192];
    if (!epl_check_floats(n, 3))
        return false;
    if (x->shape.rank < 1 || w->shape.rank != 2)
        return epl_node_fail(n, EPL_ERR_SHAPE, "input %s and weight %s; a row and a matrix are needed",
                             epl_shape_text(sx, x->shape), epl_shape_text(sw, w->shape));
    const int64_t in = x->shape.dim[x->shape.rank - 1], rows = w->shape.dim[tw ? 1 : 0], out = w->shape.dim[tw ? 0 : 1];
    if (in != rows)
        return epl_node_fail(n, EPL_ERR_SHAPE, "input has %lld features, weight expects %lld", (long long)in, (long long)rows);
    if (epl_node_input(n, 2) && !epl_check_shape(n, 2, "bias", EPL_SHAPE(out)))
        return false;
    epl_shape shape = x->shape;
    shape.dim[shape.rank - 1] = out;
    return epl_set_type(n, 0, x->dtype, shape);
}

static void linear_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const bool tw = n->attrs[0].i;
    epl_value *x = epl_as_rows(g, n->inputs[0]), *d = epl_as_rows(g, dy[0]);
    dx[0] = epl_apply(g, &epl_op_linear, EPL_IN(dy[0], n->inputs[1]), (epl_attr[]){ EPL_A_I(!tw) });
    dx[1] = tw ? product(g, d, x, true, false) : product(g, x, d, true, false);
    if (epl_node_input(n, 2))
        dx[2] = epl_sum_rows(g, dy[0]);
}

static epl_cost linear_cost(const epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    return (epl_cost){ .macs = (double)epl_shape_count(n->outputs[0]->shape) * (double)x.dim[x.rank - 1] };
}

static epl_node *linear_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const bool tw = epl_pick(r, 0, 1);
    const int  out = epl_pick(r, 1, 6);
    epl_shape  shape = epl_pick_shape(r, epl_pick(r, 1, 4), 1, 5);
    const int64_t in = shape.dim[shape.rank - 1];
    epl_value *x = epl_sample_input(g, dtype, shape, -1, 1, 0);
    epl_value *w = epl_sample_input(g, dtype, tw ? EPL_SHAPE(out, in) : EPL_SHAPE(in, out), -1, 1, 0);
    epl_value *b = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(out), -1, 1, 0) : NULL;
    return epl_node_add(g, &epl_op_linear, EPL_IN(x, w, b), (epl_attr[]){ EPL_A_I(tw) }, 0, NULL);
}

const epl_op epl_op_linear = {
    .name = "Linear", .n_inputs = 3, .min_inputs = 2, .n_outputs = 1,
    .attrs = { { "trans_w", EPL_ATTR_BOOL } },
    .infer = linear_infer, .grad = linear_grad, .cost = linear_cost, EPL_REF(epl_ref_linear), .sample = linear_sample,
};

epl_value *epl_multiply_rows(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, bool trans_w)
{
    return epl_apply(g, &epl_op_linear, EPL_IN(x, w, bias), (epl_attr[]){ EPL_A_I(trans_w) });
}
