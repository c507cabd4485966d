/* adapt_index: reading and writing at computed places, and results whose size depends on data (NonZero, Compress, Unique,
 * NonMaxSuppression). */
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
    epl_value        *index = epl_cast(n->g, indices, EPL_I64), *size = epl_scalar(n->g, EPL_I64, (double)d);
    const epl_tensor *known = onnx_known_if(n, 2, false);
    if (known && (axis == 0 || axis == rank - 1)) {
        const epl_one_hot_opts o = { .first = axis < rank - 1, .dtype = known->dtype, .off = epl_tensor_get(known, 0),
                                     .on = epl_tensor_get(known, 1) };
        if (o.on != 0 || o.off != 0)
            return onnx_set(n, epl_one_hot(n->g, index, d, o));
    }
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

/* ---- results whose size depends on data ----
 * A shape here is a number, so the size must be known when the network is imported: from constants, or from the values given for its
 * inputs, which are then taken for good. An operator that may have more rows than there are fills the others with -1; it is
 * run now to see how many there are, and built anew with that number. */

enum { MOST_COMPARED = 65536 }; /* with each other: the work is quadratic */

/* How many rows of indices are not -1; -1 if they cannot be known, which `what` decides. `candidate` goes away. */
static int64_t known_count(onnx_node *n, epl_value *candidate, const char *what)
{
    const epl_tensor *t = candidate ? onnx_evaluate_value(n, candidate) : NULL;
    int64_t           count = 0;
    if (candidate && !t)
        onnx_unsupported(n, "the size of its result depends on %s, which the network computes", what);
    const int64_t rows = t ? t->shape.dim[0] : 0, columns = rows ? epl_tensor_count(t) / rows : 1;
    while (count < rows && epl_tensor_get_i64(t, count * columns) >= 0)
        count++;
    return t ? count : -1;
}

/* The positions of what is not zero in x, [rank, count]. */
static epl_value *positions(onnx_node *n, epl_value *x, const char *what)
{
    epl_value    *all = x ? epl_first_non_zero(n->g, x, epl_shape_count(x->shape)) : NULL;
    const int64_t count = all ? known_count(n, epl_permute(n->g, all, EPL_SHAPE(1, 0)), what) : -1;
    return count < 0 ? NULL : epl_first_non_zero(n->g, x, count);
}

static bool import_non_zero(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    if (x && x->shape.rank == 0)
        return onnx_unsupported(n, "a scalar");
    const int64_t kept = onnx_padded_to(n, 0, 2, 1, -1);
    if (kept >= 0)
        return x && onnx_set(n, epl_first_non_zero(n->g, x, kept));
    return onnx_set(n, positions(n, x, "the data"));
}

/* The elements of x along an axis (of the flattened x) where the condition holds; it may end early. */
static bool import_compress(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *condition = onnx_in(n, 1);
    int        axis = 0;
    if (!x || !condition)
        return false;
    if (!onnx_has_attr(n, "axis"))
        x = epl_reshape(n->g, x, EPL_SHAPE(-1));
    else if (!onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &axis))
        return false;
    if (x && epl_dim(condition, 0) > epl_dim(x, axis))
        condition = epl_slice_axis(n->g, condition, 0, 0, epl_dim(x, axis));
    epl_value *at = positions(n, condition, "the condition");
    return at && onnx_set(n, epl_gather(n->g, x, epl_reshape(n->g, at, EPL_SHAPE(-1)), axis));
}

/* The number of different ones that the network keeps, if it keeps that many of everything; -1 if not. */
static int64_t kept_unique(onnx_node *n, const epl_value *x, epl_unique_opts o)
{
    const int64_t kept = onnx_padded_to(n, 0, o.along_axis ? x->shape.rank : 1, o.axis, 0);
    for (int i = 1; i < n->n_out && i < 4; i++)
        if (*n->proto->output[i] && (i == 2 ? !onnx_inverse_kept(n, 2, kept) : onnx_padded_to(n, i, 1, 0, i == 1 ? -1 : 0) != kept))
            return -1;
    return kept;
}

static bool import_unique(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *first = NULL;
    epl_unique_opts o = { .along_axis = onnx_has_attr(n, "axis"), .unsorted = onnx_int(n, "sorted", 1) == 0 };
    if (!x || (o.along_axis && !onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &o.axis)))
        return false;
    epl_unique(n->g, x, o.along_axis ? epl_dim(x, o.axis) : epl_shape_count(x->shape), o, &first, NULL, NULL);
    if (first && epl_dim(first, 0) > MOST_COMPARED)
        return onnx_unsupported(n, "%lld elements; at most %d are compared with each other", (long long)epl_dim(first, 0), MOST_COMPARED);
    const int64_t kept = first ? kept_unique(n, x, o) : -1;
    const int64_t count = kept >= 0 && kept <= epl_dim(first, 0) ? kept : known_count(n, first, "the data");
    return count >= 0 && onnx_set(n, epl_unique(n->g, x, count, o, &n->out[1], &n->out[2], &n->out[3]));
}

/* At most `most` boxes for each class; NaN and what is absent mean ONNX's defaults. */
static bool import_nms(onnx_node *n)
{
    epl_value   *boxes = onnx_in(n, 0), *scores = onnx_in(n, 1);
    epl_nms_opts o = { .center = onnx_int(n, "center_point_box", 0) != 0, .has_score_threshold = onnx_has(n, 4) };
    if (!boxes || !scores || (onnx_has(n, 2) && onnx_known_ints(n, 2, "the number of boxes", &o.most_per_class, 1) < 1) ||
        (onnx_has(n, 3) && !onnx_known_real(n, 3, "the threshold of overlap", &o.iou_threshold)) ||
        (onnx_has(n, 4) && !onnx_known_real(n, 4, "the threshold of scores", &o.score_threshold)))
        return false;
    if (boxes->shape.rank != 3 || scores->shape.rank != 3)
        return onnx_fail(n, EPL_ERR_SHAPE, "boxes of %d axes, scores of %d; both should have 3", boxes->shape.rank, scores->shape.rank);
    if (epl_dim(boxes, 1) > MOST_COMPARED || epl_dim(scores, 0) > 4096 || epl_dim(scores, 1) > 4096)
        return onnx_unsupported(n, "%lld boxes in %lld classes", (long long)epl_dim(boxes, 1), (long long)epl_dim(scores, 1));
    const int64_t each = o.most_per_class < epl_dim(boxes, 1) ? o.most_per_class : epl_dim(boxes, 1);
    const int64_t room = (each > 0 ? each : 0) * epl_dim(scores, 0) * epl_dim(scores, 1);
    const int64_t kept = onnx_padded_to(n, 0, 2, 0, -1);
    const int64_t count = kept >= 0 ? kept : known_count(n, epl_non_max_suppression(n->g, boxes, scores, room, o), "boxes and scores");
    return count >= 0 && onnx_set(n, epl_non_max_suppression(n->g, boxes, scores, count, o));
}

const onnx_op onnx_ops_index[] = {
    { "Gather", import_gather, NULL }, { "GatherElements", import_gather, NULL }, { "GatherND", import_gather_nd, NULL },
    { "Scatter", import_scatter, NULL }, { "ScatterElements", import_scatter, NULL }, { "ScatterND", import_scatter_nd, NULL },
    { "OneHot", import_one_hot, NULL }, { "NonZero", import_non_zero, NULL }, { "Compress", import_compress, NULL },
    { "Unique", import_unique, NULL }, { "NonMaxSuppression", import_nms, NULL },
    { NULL, NULL, NULL },
};
