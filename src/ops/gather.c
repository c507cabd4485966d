/* gather: reading at positions that are themselves values - Gather (an embedding look-up), GatherElements, GatherND, OneHot -
 * and ScatterAdd, the gradient of Gather. Negative positions count from the end; what lies outside reads as zero. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
/* Position `at` of an axis of size d, or -1 if it lies outside. */
static int64_t ref_gather_position(const epl_view *indices, int64_t at, int64_t d)
{
    const int64_t i = epl_ref_get_i64(indices, at), k = i < 0 ? i + d : i;
    return k < 0 || k >= d ? -1 : k;
}

static void ref_gather(const epl_ref_call *c)
{
    const epl_view *data = &c->in[0], *indices = &c->in[1];
    const int64_t   axis = c->attr[0].i < 0 ? c->attr[0].i + data->rank : c->attr[0].i, d = data->dim[axis];
    const int64_t   n = epl_view_count(indices);
    int64_t outer = 1, run = epl_ref_bytes(data->dtype);
    for (int64_t i = 0; i < data->rank; i++)
        *(i < axis ? &outer : &run) *= i == axis ? 1 : data->dim[i];
    for (int64_t o = 0; o < outer && run > 0; o++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t k = ref_gather_position(indices, i, d);
            char *to = (char *)c->out[0].data + (o * n + i) * run;
            if (k < 0)
                memset(to, 0, (size_t)run);
            else
                memcpy(to, (const char *)data->data + (o * d + k) * run, (size_t)run);
        }
}

static void ref_scatter_add(const epl_ref_call *c)
{
    const epl_view *rows = &c->in[0], *indices = &c->in[1], *y = &c->out[0];
    const int64_t   axis = c->attr[0].i < 0 ? c->attr[0].i + y->rank : c->attr[0].i, d = y->dim[axis], n = epl_view_count(indices);
    int64_t outer = 1, run = 1;
    for (int64_t i = 0; i < y->rank; i++)
        *(i < axis ? &outer : &run) *= i == axis ? 1 : y->dim[i];
    memset(y->data, 0, (size_t)(outer * d * run * epl_ref_bytes(y->dtype)));
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t k = ref_gather_position(indices, i, d);
            for (int64_t e = 0; e < run && k >= 0; e++) {
                const int64_t to = (o * d + k) * run + e, from = (o * n + i) * run + e;
                if (epl_ref_is_float(y->dtype))
                    epl_ref_set(y, to, epl_ref_get(y, to) + epl_ref_get(rows, from));
                else
                    epl_ref_set_i64(y, to, (int64_t)((uint64_t)epl_ref_get_i64(y, to) + (uint64_t)epl_ref_get_i64(rows, from)));
            }
        }
}

static void ref_gather_elements(const epl_ref_call *c)
{
    const epl_view *data = &c->in[0], *indices = &c->in[1];
    const int64_t   axis = c->attr[0].i < 0 ? c->attr[0].i + data->rank : c->attr[0].i, bytes = epl_ref_bytes(data->dtype);
    const int64_t   n = epl_view_count(indices);
    int64_t index[8] = { 0 };
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, indices->dim, indices->rank)) {
        const int64_t k = ref_gather_position(indices, o, data->dim[axis]);
        int64_t from = 0;
        for (int64_t i = 0; i < data->rank; i++)
            from = from * data->dim[i] + (i == axis ? k : index[i]);
        if (k < 0)
            memset((char *)c->out[0].data + o * bytes, 0, (size_t)bytes);
        else
            memcpy((char *)c->out[0].data + o * bytes, (const char *)data->data + from * bytes, (size_t)bytes);
    }
}

static void ref_gather_nd(const epl_ref_call *c)
{
    const epl_view *data = &c->in[0], *indices = &c->in[1];
    const int64_t   batch = c->attr[0].i, depth = indices->dim[indices->rank - 1];
    int64_t batches = 1, tuples = 1, run = epl_ref_bytes(data->dtype);
    for (int64_t i = 0; i < indices->rank - 1; i++)
        tuples *= indices->dim[i];
    for (int64_t i = 0; i < batch; i++)
        batches *= data->dim[i];
    for (int64_t i = batch + depth; i < data->rank; i++)
        run *= data->dim[i];
    for (int64_t t = 0; t < tuples && run > 0; t++) {
        int64_t from = t / (tuples / batches), inside = 1;
        for (int64_t i = 0; i < depth; i++) {
            const int64_t d = data->dim[batch + i], k = ref_gather_position(indices, t * depth + i, d);
            inside = inside && k >= 0;
            from = from * d + k;
        }
        if (inside)
            memcpy((char *)c->out[0].data + t * run, (const char *)data->data + from * run, (size_t)run);
        else
            memset((char *)c->out[0].data + t * run, 0, (size_t)run);
    }
}

static void ref_one_hot(const epl_ref_call *c)
{
    const epl_view *indices = &c->in[0], *y = &c->out[0];
    const int64_t   axis = c->attr[0].i < 0 ? c->attr[0].i + y->rank : c->attr[0].i, depth = c->attr[1].i;
    const int64_t   n = epl_view_count(y);
    int64_t inner = 1;
    for (int64_t i = axis + 1; i < y->rank; i++)
        inner *= y->dim[i];
    for (int64_t o = 0; o < n; o++) {
        const int64_t k = ref_gather_position(indices, o / (inner * depth) * inner + o % inner, depth);
        epl_ref_set(y, o, o / inner % depth == k ? c->attr[2].r : c->attr[3].r);
    }
}
/* end reference */

static bool check_indices(const epl_node *n, int input)
{
    const epl_dtype t = n->inputs[input]->dtype;
    if (epl_dtype_is_float(t) || t == EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the indices are %s; integers are needed", epl_dtype_name(t));
    return true;
}

/* ---- Gather ---- */

enum { GATHER_AXIS, GATHER_N };

/* data's shape with `axis` replaced by the shape of the indices. */
static bool gathered_shape(const epl_node *n, epl_shape data, epl_shape indices, epl_shape *y, int *axis)
{
    *y = (epl_shape){ 0 };
    if (!epl_check_axis(n, n->attrs[GATHER_AXIS].i, data.rank, axis) || !check_indices(n, 1))
        return false;
    if (data.rank - 1 + indices.rank > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a result of rank %d; at most %d are possible", data.rank - 1 + indices.rank, EPL_MAX_RANK);
    for (int i = 0; i < *axis; i++)
        y->dim[y->rank++] = data.dim[i];
    for (int i = 0; i < indices.rank; i++)
        y->dim[y->rank++] = indices.dim[i];
    for (int i = *axis + 1; i < data.rank; i++)
        y->dim[y->rank++] = data.dim[i];
    return true;
}

static bool infer_gather(epl_node *n)
{
    epl_shape y;
    int axis;
    return gathered_shape(n, n->inputs[0]->shape, n->inputs[1]->shape, &y, &axis) && epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_gather(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_scatter_add(g, dy[0], n->inputs[1], n->inputs[0], (int)n->attrs[GATHER_AXIS].i);
}

static epl_node *sample_gather(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const int64_t axis = epl_random_between(r, -x.rank, x.rank - 1), d = x.dim[axis < 0 ? axis + x.rank : axis];
    epl_value *data = epl_sample_input(g, dtype, x, -2, 2, 0);
    epl_value      *indices = epl_sample_input(g, epl_rng_below(r, 2) ? EPL_I64 : EPL_I32, epl_random_shape(r, 0, 2),
                                               (double)-d, (double)d - 1, 0);
    const epl_attr attrs[GATHER_N] = { EPL_A_I(axis) };
    return epl_node_add(g, &epl_op_gather, EPL_IN(data, indices), attrs, 0, NULL);
}

const epl_op epl_op_gather = {
    .name = "Gather", .n_inputs = 2, .n_outputs = 1, .attrs = { [GATHER_AXIS] = { "axis", EPL_ATTR_INT } },
    .infer = infer_gather, .grad = grad_gather, EPL_REF(ref_gather), .sample = sample_gather,
};

epl_value *epl_gather(epl_graph *g, epl_value *data, epl_value *indices, int axis)
{
    const epl_attr attrs[GATHER_N] = { EPL_A_I(axis) };
    return data && indices ? epl_apply(g, &epl_op_gather, EPL_IN(data, indices), attrs) : NULL;
}

/* ---- ScatterAdd: updates, indices -> a tensor of `shape` (or of the third input's) ---- */

enum { SCATTER_ADD_AXIS = GATHER_AXIS, SCATTER_ADD_SHAPE, SCATTER_ADD_N };

static bool infer_scatter_add(epl_node *n)
{
    const epl_attr *a = &n->attrs[SCATTER_ADD_SHAPE];
    epl_shape whole = { .rank = a->n }, part;
    char is[192], want[192];
    int  axis;
    for (int i = 0; i < a->n && i < EPL_MAX_RANK; i++)
        whole.dim[i] = a->ints[i];
    if (n->n_inputs > 2)
        whole = n->inputs[2]->shape;
    if (whole.rank > EPL_MAX_RANK || !gathered_shape(n, whole, n->inputs[1]->shape, &part, &axis))
        return epl_node_fail(n, EPL_ERR_SHAPE, "a tensor of rank %d", whole.rank);
    if (!epl_shape_equal(part, n->inputs[0]->shape))
        return epl_node_fail(n, EPL_ERR_SHAPE, "the updates are %s; the indices ask for %s",
                             epl_shape_text(is, n->inputs[0]->shape), epl_shape_text(want, part));
    return epl_set_type(n, 0, n->inputs[0]->dtype, whole);
}

static void grad_scatter_add(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_gather(g, dy[0], n->inputs[1], (int)n->attrs[SCATTER_ADD_AXIS].i);
}

static epl_cost cost_scatter_add(const epl_node *n)
{
    return (epl_cost){ .flops = (double)epl_shape_count(n->inputs[0]->shape) };
}

static epl_node *sample_scatter_add(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3), indices = epl_random_shape(r, 1, 2);
    const int64_t axis = epl_random_between(r, 0, x.rank - 1), d = x.dim[axis];
    epl_shape rows = { 0 };
    for (int i = 0; i < x.rank; i++)
        for (int k = 0; k < (i == axis ? indices.rank : 1); k++)
            rows.dim[rows.rank++] = i == axis ? indices.dim[k] : x.dim[i];
    epl_value *updates = epl_sample_input(g, dtype, rows, -2, 2, 0);
    epl_value *at = epl_sample_input(g, EPL_I64, indices, (double)-d, (double)d - 1, 0);
    const epl_attr attrs[SCATTER_ADD_N] = { EPL_A_I(axis), EPL_A_INTS(x.rank, x.dim) };
    return epl_node_add(g, &epl_op_scatter_add, EPL_IN(updates, at), attrs, 0, NULL);
}

const epl_op epl_op_scatter_add = {
    .name = "ScatterAdd", .n_inputs = 3, .min_inputs = 2, .n_outputs = 1, .shape_only = 4,
    .attrs = { [SCATTER_ADD_AXIS] = { "axis", EPL_ATTR_INT }, [SCATTER_ADD_SHAPE] = { "shape", EPL_ATTR_INTS } },
    .infer = infer_scatter_add, .grad = grad_scatter_add, .cost = cost_scatter_add, EPL_REF(ref_scatter_add),
    .sample = sample_scatter_add,
};

epl_value *epl_scatter_add(epl_graph *g, epl_value *updates, epl_value *indices, epl_value *like, int axis)
{
    const epl_attr attrs[SCATTER_ADD_N] = { EPL_A_I(axis) };
    return updates && indices && like ? epl_apply(g, &epl_op_scatter_add, EPL_IN(updates, indices, like), attrs) : NULL;
}

/* ---- GatherElements: result[i][j][k] = data[indices[i][j][k]][j][k] for axis 0, and so on ---- */

static bool infer_gather_elements(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape, i = n->inputs[1]->shape;
    char a[192], b[192];
    int  axis;
    if (!epl_check_axis(n, n->attrs[GATHER_AXIS].i, x.rank, &axis) || !check_indices(n, 1))
        return false;
    bool fits = i.rank == x.rank;
    for (int k = 0; fits && k < x.rank; k++)
        fits = k == axis || i.dim[k] <= x.dim[k];
    if (!fits)
        return epl_node_fail(n, EPL_ERR_SHAPE, "indices %s do not fit data %s along axis %d", epl_shape_text(a, i),
                             epl_shape_text(b, x), axis);
    return epl_set_type(n, 0, n->inputs[0]->dtype, i);
}

static void grad_gather_elements(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_scatter_elements(g, epl_zeros_like(g, n->inputs[0]), n->inputs[1], dy[0], (int)n->attrs[GATHER_AXIS].i,
                                 EPL_SCATTER_ADD);
}

static epl_node *sample_gather_elements(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const int64_t axis = epl_random_between(r, 0, x.rank - 1), d = x.dim[axis];
    epl_shape i = x;
    for (int k = 0; k < x.rank; k++)
        i.dim[k] = epl_random_between(r, 1, x.dim[k]);
    i.dim[axis] = epl_random_between(r, 1, 4);
    epl_value *data = epl_sample_input(g, dtype, x, -2, 2, 0), *at = epl_sample_input(g, EPL_I64, i, (double)-d, (double)d - 1, 0);
    const epl_attr attrs[GATHER_N] = { EPL_A_I(axis) };
    return epl_node_add(g, &epl_op_gather_elements, EPL_IN(data, at), attrs, 0, NULL);
}

const epl_op epl_op_gather_elements = {
    .name = "GatherElements", .n_inputs = 2, .n_outputs = 1, .attrs = { [GATHER_AXIS] = { "axis", EPL_ATTR_INT } },
    .infer = infer_gather_elements, .grad = grad_gather_elements, EPL_REF(ref_gather_elements), .sample = sample_gather_elements,
};

epl_value *epl_gather_elements(epl_graph *g, epl_value *data, epl_value *indices, int axis)
{
    const epl_attr attrs[GATHER_N] = { EPL_A_I(axis) };
    return data && indices ? epl_apply(g, &epl_op_gather_elements, EPL_IN(data, indices), attrs) : NULL;
}

/* ---- GatherND: the last axis of indices holds positions in data's axes after the first batch_dims ---- */

enum { ND_BATCH, ND_N };

static bool infer_gather_nd(epl_node *n)
{
    epl_shape y;
    return check_indices(n, 1) && epl_nd_shape(n, n->inputs[0]->shape, n->inputs[1]->shape, n->attrs[ND_BATCH].i, &y) &&
           epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_gather_nd(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_attr attrs[] = { EPL_A_I(EPL_SCATTER_ADD), n->attrs[ND_BATCH] }; // the fields of ScatterND
    epl_value *zeros = epl_zeros_like(g, n->inputs[0]);
    dx[0] = zeros ? epl_apply(g, &epl_op_scatter_nd, EPL_IN(zeros, n->inputs[1], dy[0]), attrs) : NULL;
}

static epl_node *sample_gather_nd(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 2, 4);
    const int64_t batch = epl_random_between(r, 0, 1), depth = epl_random_between(r, 1, x.rank - batch);
    epl_shape i = { .rank = 2 + (int)batch };
    double high = 3;
    for (int64_t k = 0; k < depth; k++)
        high = fmin(high, (double)x.dim[batch + k] - 1);
    i.dim[0]          = batch ? x.dim[0] : 3;
    i.dim[1]          = 2;
    i.dim[i.rank - 1] = depth;
    epl_value *data = epl_sample_input(g, dtype, x, -2, 2, 0), *at = epl_sample_input(g, EPL_I64, i, -high - 1, high, 0);
    const epl_attr attrs[ND_N] = { EPL_A_I(batch) };
    return epl_node_add(g, &epl_op_gather_nd, EPL_IN(data, at), attrs, 0, NULL);
}

const epl_op epl_op_gather_nd = {
    .name = "GatherND", .n_inputs = 2, .n_outputs = 1, .attrs = { [ND_BATCH] = { "batch_dims", EPL_ATTR_INT } },
    .infer = infer_gather_nd, .grad = grad_gather_nd, EPL_REF(ref_gather_nd), .sample = sample_gather_nd,
};

epl_value *epl_gather_nd(epl_graph *g, epl_value *data, epl_value *indices, int batch_dims)
{
    const epl_attr attrs[ND_N] = { EPL_A_I(batch_dims) };
    return data && indices ? epl_apply(g, &epl_op_gather_nd, EPL_IN(data, indices), attrs) : NULL;
}

/* ---- OneHot ---- */

enum { ONE_HOT_AXIS, ONE_HOT_DEPTH, ONE_HOT_ON, ONE_HOT_OFF, ONE_HOT_DTYPE, ONE_HOT_N };

static bool infer_one_hot(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape y = { .rank = x.rank + 1 };
    int axis;
    if (!check_indices(n, 0) || !epl_check_axis(n, n->attrs[ONE_HOT_AXIS].i, x.rank + 1, &axis))
        return false;
    if (y.rank > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a result of rank %d; at most %d are possible", y.rank, EPL_MAX_RANK);
    for (int i = 0, k = 0; i < y.rank; i++)
        y.dim[i] = i == axis ? n->attrs[ONE_HOT_DEPTH].i : x.dim[k++];
    return epl_set_type(n, 0, (epl_dtype)n->attrs[ONE_HOT_DTYPE].i, y);
}

static void grad_one_hot(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx; // nothing flows into indices
}

static epl_node *sample_one_hot(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 0, 2);
    epl_value *indices = epl_sample_input(g, EPL_I64, x, -5, 5, 0);
    const epl_attr attrs[ONE_HOT_N] = { EPL_A_I(epl_random_between(r, -x.rank - 1, x.rank)), EPL_A_I(epl_random_between(r, 1, 4)),
                                        EPL_A_R(3), EPL_A_R(-1), EPL_A_I(dtype) };
    return epl_node_add(g, &epl_op_one_hot, EPL_IN(indices), attrs, 0, NULL);
}

const epl_op epl_op_one_hot = {
    .name = "OneHot", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [ONE_HOT_AXIS] = { "axis", EPL_ATTR_INT, .def_i = -1 }, [ONE_HOT_DEPTH] = { "depth", EPL_ATTR_INT, .required = true },
               [ONE_HOT_ON] = { "on", EPL_ATTR_REAL, .def_r = 1 }, [ONE_HOT_OFF] = { "off", EPL_ATTR_REAL },
               [ONE_HOT_DTYPE] = { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_F32 } },
    .infer = infer_one_hot, .grad = grad_one_hot, EPL_REF(ref_one_hot), .sample = sample_one_hot,
};

epl_value *epl_one_hot(epl_graph *g, epl_value *indices, int64_t depth, epl_one_hot_opts o)
{
    const bool plain = o.on == 0 && o.off == 0;
    const epl_attr attrs[ONE_HOT_N] = { EPL_A_I(o.first ? 0 : -1), EPL_A_I(depth), EPL_A_R(plain ? 1 : o.on), EPL_A_R(o.off),
                                        EPL_A_I(o.dtype ? o.dtype : EPL_F32) };
    return indices ? epl_apply(g, &epl_op_one_hot, EPL_IN(indices), attrs) : NULL;
}
