/* adapt_index: reading and writing at computed places. Results whose size depends on data (NonZero, Compress, Unique) are known
 * only when the data are constants of the network. */
#include "onnx/adapt.h"

#include <string.h>

static bool import_gather(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *indices = onnx_in(n, 1);
    int        axis;
    if (!x || !indices || !onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &axis))
        return false;
    return onnx_set(n, strcmp(n->op, "Gather") == 0 ? epl_gather(n->g, x, indices, axis) : epl_gather_elements(n->g, x, indices, axis));
}

static bool import_gather_nd(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *indices = onnx_in(n, 1);
    return x && indices && onnx_set(n, epl_gather_nd(n->g, x, indices, (int)onnx_int(n, "batch_dims", 0)));
}

static bool reduction_of(onnx_node *n, epl_scatter_reduction *out)
{
    static const char *const names[] = { "none", "add", "mul", "max", "min" }; // in the order of epl_scatter_reduction
    const char *name = onnx_text(n, "reduction", "none");
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (epl_scatter_reduction)i;
            return true;
        }
    return onnx_unsupported(n, "reduction '%s'", name);
}

static bool import_scatter(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *indices = onnx_in(n, 1), *updates = onnx_in(n, 2);
    epl_scatter_reduction how;
    int axis;
    if (!x || !indices || !updates || !reduction_of(n, &how) || !onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &axis))
        return false;
    return onnx_set(n, epl_scatter_elements(n->g, x, indices, updates, axis, how));
}

static bool import_scatter_nd(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *indices = onnx_in(n, 1), *updates = onnx_in(n, 2);
    epl_scatter_reduction how;
    return x && indices && updates && reduction_of(n, &how) && onnx_set(n, epl_scatter_nd(n->g, x, indices, updates, how));
}

/* values[0] + (values[1] - values[0]) where the index meets; indices of any number type, negative ones count from the end. */
static bool import_one_hot(onnx_node *n)
{
    epl_value        *indices = onnx_in(n, 0), *values = onnx_in(n, 2);
    const epl_tensor *depth = onnx_one(n, 1, "the depth");
    int               axis;
    if (!indices || !values || !depth)
        return false;
    const int64_t d = epl_tensor_get_i64(depth, 0);
    const int     rank = indices->shape.rank + 1;
    if (!onnx_axis(n, onnx_int(n, "axis", -1), rank, &axis) || d < 1 || rank > EPL_MAX_RANK)
        return onnx_unsupported(n, "a depth of %lld", (long long)d);
    epl_value *index = epl_cast(n->g, indices, EPL_I64), *size = epl_scalar(n->g, EPL_I64, (double)d);
    index = epl_where(n->g, epl_less(n->g, index, epl_scalar(n->g, EPL_I64, 0)), epl_add(n->g, index, size), index);
    epl_shape along = { .rank = rank - axis, .dim = { d } };
    for (int i = 1; i < along.rank; i++)
        along.dim[i] = 1;
    epl_value *positions = epl_reshape(n->g, epl_range(n->g, EPL_I64, 0, (double)d, 1), along);
    epl_value *hit = epl_equal(n->g, epl_unsqueeze(n->g, index, 1, &axis), positions);
    epl_value *off = epl_reshape(n->g, epl_slice_axis(n->g, values, 0, 0, 1), EPL_SCALAR);
    epl_value *on = epl_reshape(n->g, epl_slice_axis(n->g, values, 0, 1, 2), EPL_SCALAR);
    return onnx_set(n, epl_where(n->g, hit, on, off));
}

/* The value of an input that the network itself fixes; values given for the model's inputs do not count, since the result's
 * size would follow them. */
static const epl_tensor *fixed(onnx_node *n, int i, const char *what)
{
    epl_value        *v = onnx_in(n, i);
    const epl_tensor *t = v ? onnx_known_if(n, i, false) : NULL;
    if (v && !t)
        onnx_unsupported(n, "the size of its result depends on %s, which the network computes", what);
    return t;
}

static bool import_non_zero(onnx_node *n)
{
    const epl_tensor *x = fixed(n, 0, "the data");
    epl_value        *v = x ? epl_constant(n->g, x) : NULL;
    return v && onnx_set(n, epl_non_zero(n->g, v));
}

static bool import_compress(onnx_node *n)
{
    epl_value        *x = onnx_in(n, 0);
    const epl_tensor *mask = fixed(n, 1, "the condition");
    int               axis = 0;
    if (!x || !mask)
        return false;
    if (!onnx_has_attr(n, "axis"))
        x = epl_reshape(n->g, x, EPL_SHAPE(-1));
    else if (!onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &axis))
        return false;
    int64_t    *kept = epl_alloc_array(onnx_context(n), (size_t)epl_tensor_count(mask) + 1, sizeof *kept);
    int         count = 0;
    for (int64_t i = 0; kept && i < epl_tensor_count(mask) && i < epl_dim(x, axis); i++)
        if (epl_tensor_get_i64(mask, i))
            kept[count++] = i;
    epl_value *y = kept ? epl_gather(n->g, x, epl_constant_i64(n->g, count, kept), axis) : NULL;
    epl_release(onnx_context(n), kept);
    return onnx_set(n, y);
}

const onnx_op onnx_ops_index[] = {
    { "Gather", import_gather, NULL }, { "GatherElements", import_gather, NULL }, { "GatherND", import_gather_nd, NULL },
    { "Scatter", import_scatter, NULL }, { "ScatterElements", import_scatter, NULL }, { "ScatterND", import_scatter_nd, NULL },
    { "OneHot", import_one_hot, NULL }, { "NonZero", import_non_zero, NULL }, { "Compress", import_compress, NULL },
    { NULL, NULL, NULL },
};
