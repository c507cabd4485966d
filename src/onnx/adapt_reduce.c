/* adapt_reduce: reductions along axes (given as an attribute, later as an input), ArgMax, softmax and what is like it, sorting. */
#include "onnx/adapt.h"

#include <string.h>

typedef epl_value *reducer(epl_graph *g, epl_value *x, epl_reduce_opts o);

typedef struct reduction {
    reducer *reduce;
    int      axes_input_since; /* the opset from which on the axes are an input */
    epl_value *(*alone)(epl_graph *g, epl_value *x); /* of one element; NULL: that element */
} reduction;

static bool import_reduce(onnx_node *n)
{
    const reduction *r = onnx_detail(n);
    int64_t          axes[EPL_MAX_RANK];
    epl_value       *x = onnx_in(n, 0);
    const bool       input = n->opset >= r->axes_input_since;
    epl_reduce_opts  o = { .keep = onnx_int(n, "keepdims", 1) != 0 };
    int              count = input ? 0 : onnx_ints(n, "axes", axes, EPL_MAX_RANK);
    if (input && onnx_has(n, 1))
        count = onnx_known_ints(n, 1, "the list of axes", axes, EPL_MAX_RANK);
    if (!x || epl_error_code(onnx_context(n)) != EPL_OK)
        return false;
    const bool none = onnx_int(n, "noop_with_empty_axes", 0) && count <= 0; // every element is reduced by itself
    if (none)
        return onnx_set(n, r->alone ? r->alone(n->g, x) : epl_identity(n->g, x));
    for (int i = 0; i < count; i++)
        if (!onnx_axis(n, axes[i], x->shape.rank, &o.axes[o.n_axes++]))
            return false;
    return onnx_set(n, r->reduce(n->g, x, o));
}

static bool import_arg(onnx_node *n)
{
    epl_value   *x = onnx_in(n, 0);
    int          axis;
    epl_arg_opts o = { .keep = onnx_int(n, "keepdims", 1) != 0, .select_last = onnx_int(n, "select_last_index", 0) != 0 };
    if (!x || !onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &axis))
        return false;
    return onnx_set(n, strcmp(n->op, "ArgMax") == 0 ? epl_argmax(n->g, x, axis, o) : epl_argmin(n->g, x, axis, o));
}

/* Before opset 13 the axes from `axis` on were taken together. */
static bool import_softmax(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int        axis;
    const bool flat = n->opset < 13;
    if (!x || !onnx_axis(n, onnx_int(n, "axis", flat ? 1 : -1), x->shape.rank, &axis))
        return false;
    epl_value *in = flat ? epl_flatten(n->g, x, axis) : x, *y;
    const int  along = flat ? 1 : axis;
    if (strcmp(n->op, "Softmax") == 0) {
        y = epl_softmax(n->g, in, along);
    } else if (strcmp(n->op, "LogSoftmax") == 0) {
        y = epl_log_softmax(n->g, in, along);
    } else { // Hardmax: one where the first largest element is
        epl_value *best = epl_argmax(n->g, in, along, (epl_arg_opts){ .keep = true });
        epl_shape  shape = { .rank = epl_rank(in) - along, .dim = { epl_dim(in, along) } };
        for (int i = 1; i < shape.rank; i++)
            shape.dim[i] = 1;
        epl_value *places = epl_reshape(n->g, epl_range(n->g, EPL_I64, 0, (double)epl_dim(in, along), 1), shape);
        y = in ? epl_cast(n->g, epl_equal(n->g, places, best), in->dtype) : NULL;
    }
    return onnx_set(n, flat ? epl_reshape_like(n->g, y, x) : y);
}

static bool import_topk(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0);
    int64_t       k = 0;
    int           axis;
    epl_topk_opts o = { .smallest = onnx_int(n, "largest", 1) == 0 };
    (void)onnx_int(n, "sorted", 1); // a sorted result is allowed where the order is free
    if (n->opset < 10)
        k = onnx_int(n, "k", 0);
    else if (onnx_known_ints(n, 1, "k", &k, 1) < 0)
        return false;
    if (!x || !onnx_axis(n, onnx_int(n, "axis", -1), x->shape.rank, &axis))
        return false;
    if (k < 1)
        return onnx_unsupported(n, "k is %lld", (long long)k);
    n->out[0] = epl_topk(n->g, x, axis, k, o, &n->out[1]);
    return n->out[0] != NULL;
}

static bool import_cumsum(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    which;
    int        axis;
    epl_cumsum_opts o = { .exclusive = onnx_int(n, "exclusive", 0) != 0, .reverse = onnx_int(n, "reverse", 0) != 0 };
    if (!x || onnx_known_ints(n, 1, "the axis", &which, 1) < 1 || !onnx_axis(n, which, x->shape.rank, &axis))
        return false;
    return onnx_set(n, strcmp(n->op, "CumSum") == 0 ? epl_cumsum(n->g, x, axis, o) : epl_cumprod(n->g, x, axis, o));
}

#define REDUCTION(f, since, ...) &(const reduction){ f, since, __VA_ARGS__ }

const onnx_op onnx_ops_reduce[] = {
    { "ReduceL1", import_reduce, REDUCTION(epl_reduce_l1, 18, epl_abs) },
    { "ReduceL2", import_reduce, REDUCTION(epl_reduce_l2, 18, epl_abs) },
    { "ReduceLogSum", import_reduce, REDUCTION(epl_reduce_log_sum, 18, epl_log) },
    { "ReduceLogSumExp", import_reduce, REDUCTION(epl_reduce_log_sum_exp, 18, NULL) },
    { "ReduceMax", import_reduce, REDUCTION(epl_reduce_max, 18, NULL) },
    { "ReduceMean", import_reduce, REDUCTION(epl_reduce_mean, 18, NULL) },
    { "ReduceMin", import_reduce, REDUCTION(epl_reduce_min, 18, NULL) },
    { "ReduceProd", import_reduce, REDUCTION(epl_reduce_prod, 18, NULL) },
    { "ReduceSum", import_reduce, REDUCTION(epl_reduce_sum, 13, NULL) },
    { "ReduceSumSquare", import_reduce, REDUCTION(epl_reduce_sum_square, 18, epl_square) },
    { "ArgMax", import_arg, NULL }, { "ArgMin", import_arg, NULL }, { "Softmax", import_softmax, NULL },
    { "LogSoftmax", import_softmax, NULL }, { "Hardmax", import_softmax, NULL }, { "TopK", import_topk, NULL },
    { "CumSum", import_cumsum, NULL },
    { "CumProd", import_cumsum, NULL }, { NULL, NULL, NULL },
};
