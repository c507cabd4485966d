/* shape: numbers that follow from shapes and attributes alone - Shape, Size, Range, Eye - and NonZero of a constant.
 * epl_settle_shapes turns them into constants once the dimensions are bound. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
static void ref_shape(const epl_ref_call *c)
{
    const int64_t rank = c->in[0].rank, n = c->out[0].dim[0];
    const int64_t start = c->attr[0].i < -rank ? 0 : c->attr[0].i < 0 ? c->attr[0].i + rank : c->attr[0].i;
    for (int64_t i = 0; i < n; i++)
        ((int64_t *)c->out[0].data)[i] = c->in[0].dim[start + i];
}

static void ref_size(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    int64_t n = 1;
    for (int64_t i = 0; i < c->attr[0].n; i++)
        n *= x->dim[c->attr[0].ints[i] < 0 ? c->attr[0].ints[i] + x->rank : c->attr[0].ints[i]];
    *(int64_t *)c->out[0].data = c->attr[0].n ? n : epl_view_count(x);
}

static void ref_range(const epl_ref_call *c)
{
    const int64_t n = epl_view_count(&c->out[0]);
    for (int64_t i = 0; i < n; i++)
        epl_ref_set(&c->out[0], i, c->attr[0].r + (double)i * c->attr[2].r);
}

static void ref_eye(const epl_ref_call *c)
{
    const int64_t rows = c->attr[0].i, columns = c->attr[1].i, k = c->attr[2].i;
    memset(c->out[0].data, 0, (size_t)(rows * columns * epl_ref_bytes(c->out[0].dtype)));
    for (int64_t i = 0; i < rows; i++)
        if (i + k >= 0 && i + k < columns)
            epl_ref_set(&c->out[0], i * columns + i + k, 1);
}

static void ref_non_zero(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    const int64_t   n = epl_view_count(x), found = c->out[0].dim[1];
    int64_t index[8] = { 0 }, k = 0;
    for (int64_t i = 0; i < n && k < found; i++, epl_ref_next(index, x->dim, x->rank)) {
        if (epl_ref_get(x, i) == 0)
            continue;
        for (int64_t a = 0; a < x->rank; a++)
            ((int64_t *)c->out[0].data)[a * found + k] = index[a];
        k++;
    }
    for (int64_t a = 0; a < x->rank; a++)
        for (int64_t i = k; i < found; i++)
            ((int64_t *)c->out[0].data)[a * found + i] = -1;
}
/* end reference */

static epl_cost cost_nothing(const epl_node *n)
{
    (void)n;
    return (epl_cost){ 0 };
}

/* Nothing flows back through a shape. */
static void grad_none(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx;
}

/* ---- Shape and Size ---- */

enum { SHAPE_START, SHAPE_END, SHAPE_N };

static bool infer_shape(epl_node *n)
{
    const int64_t rank = n->inputs[0]->shape.rank;
    int64_t start = n->attrs[SHAPE_START].i, end = n->attrs[SHAPE_END].i;
    start = start < -rank ? 0 : start < 0 ? start + rank : start > rank ? rank : start;
    end   = end < -rank ? 0 : end < 0 ? end + rank : end > rank ? rank : end;
    return epl_set_type(n, 0, EPL_I64, EPL_SHAPE(end > start ? end - start : 0));
}

static epl_node *sample_shape(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_value *x = epl_sample_input(g, dtype, epl_random_shape(r, 1, 4), -1, 1, 0);
    const epl_attr attrs[SHAPE_N] = { EPL_A_I(epl_random_between(r, -3, 1)), EPL_A_I(epl_random_between(r, -1, 5)) };
    return epl_node_add(g, &epl_op_shape, EPL_IN(x), attrs, 0, NULL);
}

const epl_op epl_op_shape = {
    .name = "Shape", .n_inputs = 1, .n_outputs = 1, .shape_only = 1,
    .attrs = { [SHAPE_START] = { "start", EPL_ATTR_INT }, [SHAPE_END] = { "end", EPL_ATTR_INT, .def_i = INT64_MAX } },
    .infer = infer_shape, .grad = grad_none, .cost = cost_nothing, EPL_REF(ref_shape), .sample = sample_shape,
};

epl_value *epl_shape_value(epl_graph *g, epl_value *x)
{
    return x ? epl_apply(g, &epl_op_shape, EPL_IN(x), NULL) : NULL;
}

enum { SIZE_AXES };

static bool infer_size(epl_node *n)
{
    bool mask[EPL_MAX_RANK];
    return epl_axes_mask(n, &n->attrs[SIZE_AXES], n->inputs[0]->shape.rank, mask) && epl_set_type(n, 0, EPL_I64, EPL_SCALAR);
}

static epl_node *sample_size(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_attr attrs[] = { [SIZE_AXES] = EPL_A_INTS((int)epl_rng_below(r, 2), &(int64_t){ -1 }) };
    return epl_node_add(g, &epl_op_size, EPL_IN(epl_sample_input(g, dtype, epl_random_shape(r, 1, 4), -1, 1, 0)), attrs, 0, NULL);
}

const epl_op epl_op_size = {
    .name = "Size", .n_inputs = 1, .n_outputs = 1, .shape_only = 1,
    .attrs = { [SIZE_AXES] = { "axes", EPL_ATTR_INTS } },
    .infer = infer_size, .grad = grad_none, .cost = cost_nothing, EPL_REF(ref_size), .sample = sample_size,
};

epl_value *epl_size(epl_graph *g, epl_value *x, int n_axes, const int *axes)
{
    int64_t storage[EPL_MAX_RANK];
    const epl_attr attrs[] = { [SIZE_AXES] = epl_axes_attr(n_axes, axes, storage) };
    return x ? epl_apply(g, &epl_op_size, EPL_IN(x), attrs) : NULL;
}

/* ---- Range: start, start + delta, ... before limit; with an input: as many as that has along `axis` ---- */

enum { RANGE_START, RANGE_LIMIT, RANGE_DELTA, RANGE_DTYPE, RANGE_AXIS, RANGE_N };

static bool infer_range(epl_node *n)
{
    const double start = n->attrs[RANGE_START].r, limit = n->attrs[RANGE_LIMIT].r, delta = n->attrs[RANGE_DELTA].r;
    double count = ceil((limit - start) / delta);
    int    axis;
    if (n->attrs[RANGE_DTYPE].i == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "bool is not a number");
    if (n->n_inputs > 0) {
        if (!epl_check_axis(n, n->attrs[RANGE_AXIS].i, n->inputs[0]->shape.rank, &axis))
            return false;
        count = (double)n->inputs[0]->shape.dim[axis];
    }
    if (!(count < 1e15))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "from %g to %g by %g has no end", start, limit, delta);
    return epl_set_type(n, 0, (epl_dtype)n->attrs[RANGE_DTYPE].i, EPL_SHAPE(count > 0 ? (int64_t)count : 0));
}

static epl_node *sample_range(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const bool   like = epl_rng_below(r, 2), whole = epl_rng_below(r, 2);
    const double delta = (double)epl_random_between(r, 1, 3) * (epl_rng_below(r, 2) ? 1 : -1);
    epl_value *x = like ? epl_sample_input(g, dtype, epl_random_shape(r, 1, 4), -1, 1, 0) : NULL;
    const epl_attr attrs[RANGE_N] = { EPL_A_R(2), EPL_A_R(2 + 3 * delta), EPL_A_R(delta), EPL_A_I(whole ? EPL_I64 : dtype), EPL_A_I(-1) };
    return epl_node_add(g, &epl_op_range, EPL_IN(x), attrs, 0, NULL);
}

const epl_op epl_op_range = {
    .name = "Range", .n_inputs = -1, .n_outputs = 1, .shape_only = 1,
    .attrs = { [RANGE_START] = { "start", EPL_ATTR_REAL }, [RANGE_LIMIT] = { "limit", EPL_ATTR_REAL },
               [RANGE_DELTA] = { "delta", EPL_ATTR_REAL, .def_r = 1 }, [RANGE_DTYPE] = { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_I64 },
               [RANGE_AXIS] = { "axis", EPL_ATTR_INT } },
    .infer = infer_range, .grad = grad_none, .cost = cost_nothing, EPL_REF(ref_range), .sample = sample_range,
};

epl_value *epl_range(epl_graph *g, epl_dtype dtype, double start, double limit, double delta)
{
    const epl_attr attrs[RANGE_N] = { EPL_A_R(start), EPL_A_R(limit), EPL_A_R(delta), EPL_A_I(dtype) };
    return epl_apply(g, &epl_op_range, 0, NULL, attrs);
}

epl_value *epl_positions(epl_graph *g, epl_dtype dtype, epl_value *like, int axis)
{
    const epl_attr attrs[RANGE_N] = { [RANGE_DTYPE] = EPL_A_I(dtype), [RANGE_AXIS] = EPL_A_I(axis) };
    return like ? epl_apply(g, &epl_op_range, EPL_IN(like), attrs) : NULL;
}

/* ---- Eye ---- */

enum { EYE_ROWS, EYE_COLUMNS, EYE_K, EYE_DTYPE, EYE_N };

static bool infer_eye(epl_node *n)
{
    return epl_set_type(n, 0, (epl_dtype)n->attrs[EYE_DTYPE].i, EPL_SHAPE(n->attrs[EYE_ROWS].i, n->attrs[EYE_COLUMNS].i));
}

static epl_node *sample_eye(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_attr attrs[EYE_N] = { EPL_A_I(epl_random_between(r, 1, 4)), EPL_A_I(epl_random_between(r, 1, 4)),
                                    EPL_A_I(epl_random_between(r, -5, 5)), EPL_A_I(dtype) };
    return epl_node_add(g, &epl_op_eye, 0, NULL, attrs, 0, NULL);
}

const epl_op epl_op_eye = {
    .name = "Eye", .n_inputs = 0, .n_outputs = 1,
    .attrs = { [EYE_ROWS] = { "rows", EPL_ATTR_INT, .required = true }, [EYE_COLUMNS] = { "columns", EPL_ATTR_INT, .required = true },
               [EYE_K] = { "k", EPL_ATTR_INT }, [EYE_DTYPE] = { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_F32 } },
    .infer = infer_eye, .grad = grad_none, .cost = cost_nothing, EPL_REF(ref_eye), .sample = sample_eye,
};

epl_value *epl_eye(epl_graph *g, epl_dtype dtype, int64_t rows, int64_t columns, int64_t k)
{
    const epl_attr attrs[EYE_N] = { EPL_A_I(rows), EPL_A_I(columns), EPL_A_I(k), EPL_A_I(dtype) };
    return epl_apply(g, &epl_op_eye, 0, NULL, attrs);
}

/* ---- NonZero ---- */

static bool infer_non_zero(epl_node *n)
{
    if (n->attrs[0].i >= 0)
        return epl_set_type(n, 0, EPL_I64, EPL_SHAPE(n->inputs[0]->shape.rank, n->attrs[0].i));
    const epl_node *from = n->inputs[0]->producer;
    if (!EPL_IS(from, constant))
        return epl_node_fail(n, EPL_ERR_UNSUPPORTED, "the size of its result depends on values that are not constant");
    const epl_tensor *t = epl_attr_tensor(from, "value");
    int64_t found = 0;
    for (int64_t i = 0; i < epl_tensor_count(t); i++)
        found += epl_tensor_get(t, i) != 0;
    return epl_set_type(n, 0, EPL_I64, EPL_SHAPE(t->shape.rank, found));
}

static epl_node *sample_non_zero(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    int64_t x[6];
    (void)dtype;
    for (size_t i = 0; i < EPL_COUNT(x); i++)
        x[i] = (int64_t)epl_rng_below(r, 3);
    if (epl_rng_below(r, 2))
        return epl_node_add(g, &epl_op_non_zero, EPL_IN(epl_sample_input(g, EPL_I32, EPL_SHAPE(2, 3), 0, 2, 0)), (epl_attr[]){ EPL_A_I(4) },
                            0, NULL);
    return epl_node_add(g, &epl_op_non_zero, EPL_IN(epl_constant_i64(g, EPL_COUNT(x), x)), NULL, 0, NULL);
}

const epl_op epl_op_non_zero = {
    .name = "NonZero", .n_inputs = 1, .n_outputs = 1, .attrs = { { "count", EPL_ATTR_INT, .def_i = -1 } },
    .infer = infer_non_zero, .grad = grad_none, EPL_REF(ref_non_zero), .sample = sample_non_zero,
};

epl_value *epl_non_zero(epl_graph *g, epl_value *x) { return x ? epl_apply(g, &epl_op_non_zero, EPL_IN(x), NULL) : NULL; }

epl_value *epl_first_non_zero(epl_graph *g, epl_value *x, int64_t count)
{
    if (count < 0)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "first_non_zero: %lld positions", (long long)count);
    return x ? epl_apply(g, &epl_op_non_zero, EPL_IN(x), (epl_attr[]){ EPL_A_I(count) }) : NULL;
}

/* ---- settling ---- */

/* The last bit speaks for all inputs beyond it. */
static bool is_shape_only(const epl_op *op, int input) { return op->shape_only >> (input < 31 ? input : 31) & 1; }

/* Puts a constant in the node's place. */
static bool become_constant(epl_node *n)
{
    epl_graph  *g = n->graph;
    epl_value  *v = n->outputs[0];
    epl_tensor *t = epl_tensor_new(g->ctx, v->dtype, v->shape), *in = NULL;
    if (t && n->n_inputs) // only its shape is looked at
        in = epl_tensor_view(g->ctx, n->inputs[0]->dtype, n->inputs[0]->shape, NULL);
    bool ok = t && (in || !n->n_inputs) && epl_evaluate_node(n, (const epl_tensor *const *)&in, &t);
    if (ok) {
        epl_node  *at = epl_graph_insert_before(g, n);
        epl_value *constant = epl_constant(g, t);
        epl_graph_insert_before(g, at == n ? n->next : at);
        ok = constant != NULL;
        if (ok) {
            epl_replace(v, constant);
            epl_node_remove(n);
        }
    }
    epl_tensor_free(t);
    epl_tensor_free(in);
    return ok;
}

/* Writes the target shape, and for Split the sizes, into the node's attribute, and drops the inputs that gave it. */
static bool become_plain(epl_node *n)
{
    const int shape = epl_op_attr_index(n->op, "shape"), split = epl_op_attr_index(n->op, "split");
    int64_t  *sizes = epl_alloc_array(n->graph->ctx, (size_t)n->n_outputs + EPL_MAX_RANK, sizeof *sizes);
    if (!sizes)
        return false;
    if (split >= 0) {
        int axis = 0;
        epl_check_axis(n, epl_attr_i(n, "axis"), n->inputs[0]->shape.rank, &axis);
        for (int i = 0; i < n->n_outputs; i++)
            sizes[i] = n->outputs[i]->shape.dim[axis];
    } else {
        const epl_shape target = n->outputs[0]->shape;
        memcpy(sizes, target.dim, sizeof target.dim);
    }
    const int  count = split >= 0 ? n->n_outputs : n->outputs[0]->shape.rank, field = split >= 0 ? split : shape;
    const bool ok = field < 0 || epl_node_set_attr(n, field, EPL_A_INTS(count, sizes));
    epl_release(n->graph->ctx, sizes);
    for (int i = n->n_inputs - 1; i > 0 && is_shape_only(n->op, i); i--) {
        epl_set_input(n, i, NULL);
        n->n_inputs--;
    }
    return ok && n->op->infer(n);
}

bool epl_settle_shapes(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n && !g->root->failed; n = next) {
        next = n->next;
        bool ok = true;
        for (int i = 0; ok && i < n->n_regions; i++)
            ok = epl_settle_shapes(n->regions[i]);
        const bool reads_nothing = n->op->n_outputs == 1 && n->op->ref && (n->op->shape_only & 1 || EPL_IS(n, eye));
        const int  last = n->n_inputs - 1;
        if (ok && reads_nothing)
            ok = become_constant(n);
        else if (ok && last > 0 && is_shape_only(n->op, last))
            ok = become_plain(n);
        if (!ok)
            g->root->failed = true;
    }
    return !g->root->failed;
}
