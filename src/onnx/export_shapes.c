/* export_shapes: operators that move elements or reduce axes. What our table keeps as attributes ONNX often takes as inputs. */
#include "onnx/export.h"

#include <stdio.h>
#include <string.h>

static const char *in_form(onnx_export *x, const epl_node *n, epl_value *v, bool first)
{
    return first ? onnx_first(x, n, v) : onnx_plain(x, n, v);
}

/* The axes of a list in the form that is written; an empty list stands for all of them in order. */
static int axes_in_form(const epl_node *n, const char *field, bool first, int64_t out[EPL_MAX_RANK])
{
    const int64_t *axes;
    const int      rank = n->inputs[0]->shape.rank;
    int            count = epl_attr_ints(n, field, &axes);
    const bool     all = count == 0;
    count = all ? rank : count;
    for (int i = 0; i < count; i++) {
        const int64_t axis = all ? i : axes[i] < 0 ? axes[i] + rank : axes[i];
        out[i] = first ? onnx_axis_first(axis, rank) : axis;
    }
    return count;
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */
static const char *shape_of(onnx_export *x, const epl_node *n, epl_value *like)
{
    return onnx_step(x, n, "Shape", onnx_plain(x, n, like), NULL);
}

static bool emit_reshape(onnx_export *x, const epl_node *n)
{
    const int64_t *shape;
    const int      rank = epl_attr_ints(n, "shape", &shape);
    const char    *in = onnx_plain(x, n, n->inputs[0]);
    const char    *to = epl_node_input(n, 1) ? shape_of(x, n, n->inputs[1]) : onnx_const_ints(x, rank, shape);
    Onnx__NodeProto *p = onnx_begin(x, n, "Reshape");
    onnx_arg(x, p, in);
    onnx_arg(x, p, to);
    if (epl_attr_i(n, "allowzero"))
        onnx_set_int(x, p, "allowzero", 1);
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

static bool emit_expand(onnx_export *x, const epl_node *n)
{
    const int64_t *shape;
    int64_t        to[EPL_MAX_RANK];
    const int      rank = epl_attr_ints(n, "shape", &shape);
    for (int i = 0; i < rank; i++)
        to[i] = shape[i] == EPL_KEEP ? 1 : shape[i]; // to 1 means: as in x
    const char *in = onnx_plain(x, n, n->inputs[0]);
    const char *target = epl_node_input(n, 1) ? shape_of(x, n, n->inputs[1]) : onnx_const_ints(x, rank, to);
    Onnx__NodeProto *p = onnx_begin(x, n, "Expand");
    onnx_arg(x, p, in);
    onnx_arg(x, p, target);
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

static bool emit_squeeze(onnx_export *x, const epl_node *n)
{
    const int64_t   *axes;
    const int        count = epl_attr_ints(n, "axes", &axes);
    const char      *in = onnx_plain(x, n, n->inputs[0]);
    Onnx__NodeProto *p = onnx_begin(x, n, count || EPL_IS(n, squeeze) ? n->op->name : "Identity");
    onnx_arg(x, p, in);
    if (count)
        onnx_arg(x, p, onnx_const_ints(x, count, axes));
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

/* Between the two forms of one value: nothing is written. */
static bool is_form_change(const epl_node *n, const int64_t *perm, int rank, bool *to_first)
{
    for (int way = 0; way < 2; way++) {
        bool same = rank >= 3 && perm[0] == 0;
        for (int i = 1; i < rank && same; i++)
            same = perm[i] == (way ? (i == 1 ? rank - 1 : i - 1) : (i == rank - 1 ? 1 : i + 1));
        *to_first = way;
        // to channels last: x's plain form is the result channels first; and the other way round, if x is there
        if (same && (way == 0 || onnx_at(n->inputs[0])->first))
            return true;
    }
    return false;
}

static bool emit_transpose(onnx_export *x, const epl_node *n)
{
    const int64_t *given;
    int64_t        perm[EPL_MAX_RANK];
    epl_value     *in = n->inputs[0], *out = n->outputs[0];
    const int      rank = in->shape.rank;
    bool           to_first;
    const bool     reverse = epl_attr_ints(n, "perm", &given) == 0;
    for (int i = 0; i < rank; i++)
        perm[i] = reverse ? rank - 1 - i : given[i];
    if (!onnx_at(out)->wanted && is_form_change(n, perm, rank, &to_first)) {
        if (to_first)
            onnx_at(out)->plain = onnx_at(in)->first;
        else
            onnx_at(out)->first = onnx_plain(x, n, in);
        return true;
    }
    const char      *name = onnx_plain(x, n, in);
    Onnx__NodeProto *p = onnx_begin(x, n, "Transpose");
    onnx_arg(x, p, name);
    onnx_set_ints(x, p, "perm", rank, perm);
    onnx_gives(x, p, out, false);
    return true;
}

/* ---- along axes -------------------------------------------------------------------------------------------------- */
static bool emit_concat(onnx_export *x, const epl_node *n)
{
    const int64_t axis = epl_attr_i(n, "axis");
    bool          first = n->outputs[0]->shape.rank >= 3, some = false;
    for (int i = 0; i < n->n_inputs; i++) {
        first = first && (onnx_at(n->inputs[i])->first || onnx_is_leaf(n->inputs[i]));
        some  = some || onnx_at(n->inputs[i])->first;
    }
    first = first && some;
    for (int i = 0; i < n->n_inputs; i++)
        in_form(x, n, n->inputs[i], first);
    Onnx__NodeProto *p = onnx_begin(x, n, "Concat");
    for (int i = 0; i < n->n_inputs; i++)
        onnx_arg(x, p, in_form(x, n, n->inputs[i], first));
    onnx_set_int(x, p, "axis", first ? onnx_axis_first(axis, n->outputs[0]->shape.rank) : axis);
    onnx_gives(x, p, n->outputs[0], first);
    return true;
}

static bool emit_split(onnx_export *x, const epl_node *n)
{
    const bool       first = onnx_is_first(n->inputs[0]);
    const int        rank = n->inputs[0]->shape.rank;
    const int64_t    axis = epl_attr_i(n, "axis"), at = axis < 0 ? axis + rank : axis;
    int64_t         *sizes = onnx_alloc(x, (size_t)n->n_outputs * sizeof *sizes);
    const char      *in = in_form(x, n, n->inputs[0], first);
    Onnx__NodeProto *p = sizes ? onnx_begin(x, n, "Split") : NULL;
    for (int i = 0; p && i < n->n_outputs; i++)
        sizes[i] = n->outputs[i]->shape.dim[at];
    if (!p)
        return false;
    onnx_arg(x, p, in);
    onnx_arg(x, p, onnx_const_ints(x, n->n_outputs, sizes));
    onnx_set_int(x, p, "axis", first ? onnx_axis_first(axis, rank) : axis);
    for (int i = 0; i < n->n_outputs; i++)
        onnx_gives(x, p, n->outputs[i], first);
    return true;
}

static bool emit_slice(onnx_export *x, const epl_node *n)
{
    const bool     first = onnx_is_first(n->inputs[0]);
    const char    *in = in_form(x, n, n->inputs[0], first);
    const int64_t *starts, *ends, *steps;
    int64_t        axes[EPL_MAX_RANK];
    const int      count = epl_attr_ints(n, "starts", &starts);
    epl_attr_ints(n, "ends", &ends);
    const bool     stepped = epl_attr_ints(n, "steps", &steps) > 0;
    axes_in_form(n, "axes", first, axes);
    Onnx__NodeProto *p = onnx_begin(x, n, "Slice");
    onnx_arg(x, p, in);
    onnx_arg(x, p, onnx_const_ints(x, count, starts));
    onnx_arg(x, p, onnx_const_ints(x, count, ends));
    onnx_arg(x, p, onnx_const_ints(x, count, axes));
    if (stepped)
        onnx_arg(x, p, onnx_const_ints(x, count, steps));
    onnx_gives(x, p, n->outputs[0], first);
    return true;
}

static bool emit_pad(onnx_export *x, const epl_node *n)
{
    const bool     first = onnx_is_first(n->inputs[0]);
    const char    *in = in_form(x, n, n->inputs[0], first);
    const int      rank = n->inputs[0]->shape.rank;
    const int64_t *pads;
    int64_t        axes[EPL_MAX_RANK], all[2 * EPL_MAX_RANK] = { 0 };
    const int      count = axes_in_form(n, "axes", first, axes);
    epl_attr_ints(n, "pads", &pads);
    for (int i = 0; i < count; i++) {
        all[axes[i]]        = pads[i];
        all[rank + axes[i]] = pads[count + i];
    }
    Onnx__NodeProto *p = onnx_begin(x, n, "Pad");
    onnx_arg(x, p, in);
    onnx_arg(x, p, onnx_const_ints(x, 2 * rank, all));
    if (epl_attr_i(n, "mode") == EPL_PAD_CONSTANT)
        onnx_arg(x, p, onnx_const_like(x, n->outputs[0]->dtype, epl_attr_r(n, "value"), EPL_SCALAR));
    onnx_set_fields(x, p, n, "|pads|axes|value|");
    onnx_gives(x, p, n->outputs[0], first);
    return true;
}

/* Channels first as long as what is left lies in the same order either way. */
static bool reduces_first(const epl_node *n)
{
    const int rank = n->inputs[0]->shape.rank;
    int64_t   axes[EPL_MAX_RANK];
    if (!onnx_is_first(n->inputs[0]))
        return false;
    if (epl_attr_i(n, "keepdims"))
        return true;
    const int count = axes_in_form(n, "axes", false, axes);
    int       space = 0;
    bool      channels = false;
    for (int i = 0; i < count; i++) {
        space += axes[i] > 0 && axes[i] < rank - 1;
        channels = channels || axes[i] == rank - 1;
    }
    return channels || space == rank - 2;
}

/* What a reduction over no axes does to each element. */
static const char *of_one_element(const epl_node *n)
{
    return EPL_IS(n, reduce_l1) || EPL_IS(n, reduce_l2) ? "Abs"
           : EPL_IS(n, reduce_log_sum)                  ? "Log"
           : EPL_IS(n, reduce_sum_square)               ? "Mul"
                                                        : "Identity";
}

static bool emit_reduction(onnx_export *x, const epl_node *n)
{
    const bool       first = reduces_first(n);
    const char      *in = in_form(x, n, n->inputs[0], first);
    int64_t          axes[EPL_MAX_RANK];
    const int        count = axes_in_form(n, "axes", first, axes);
    const bool       noop = epl_attr_i(n, "noop_with_empty_axes"), keep = epl_attr_i(n, "keepdims");
    const bool       as_input = x->opset >= 18 || EPL_IS(n, reduce_sum);
    const int64_t   *given;
    const bool       alone = noop && epl_attr_ints(n, "axes", &given) == 0;
    Onnx__NodeProto *p = onnx_begin(x, n, alone ? of_one_element(n) : n->op->name);
    onnx_arg(x, p, in);
    if (alone && EPL_IS(n, reduce_sum_square))
        onnx_arg(x, p, in);
    if (!alone) {
        if (as_input)
            onnx_arg(x, p, onnx_const_ints(x, count, axes));
        else
            onnx_set_ints(x, p, "axes", count, axes);
        onnx_set_int(x, p, "keepdims", keep);
    }
    onnx_gives(x, p, n->outputs[0], first && keep);
    return true;
}

/* ---- with constants for inputs ----------------------------------------------------------------------------------- */

/* op(x, constants...) of plain form, with the fields that are not skipped. */
static Onnx__NodeProto *with_input(onnx_export *x, const epl_node *n, const char *input, const char *skip)
{
    const char      *in = onnx_plain(x, n, n->inputs[0]);
    Onnx__NodeProto *p = onnx_begin(x, n, n->op->name);
    onnx_arg(x, p, in);
    onnx_arg(x, p, input);
    onnx_set_fields(x, p, n, skip);
    for (int i = 0; i < n->n_outputs; i++)
        onnx_gives(x, p, n->outputs[i], false);
    return p;
}

static bool emit_tile(onnx_export *x, const epl_node *n)
{
    const int64_t *repeats;
    const int      count = epl_attr_ints(n, "repeats", &repeats);
    return with_input(x, n, onnx_const_ints(x, count, repeats), "|repeats|") != NULL;
}

static bool emit_topk(onnx_export *x, const epl_node *n)
{
    const int64_t axis = epl_attr_i(n, "axis");
    const int64_t k = epl_dim(n->outputs[0], (int)axis); // k 0 stands for all
    return with_input(x, n, onnx_const_ints(x, 1, &k), "|k|") != NULL;
}

static bool emit_cumsum(onnx_export *x, const epl_node *n)
{
    return with_input(x, n, onnx_const_int(x, epl_attr_i(n, "axis")), "|axis|") != NULL;
}

static bool emit_trilu(onnx_export *x, const epl_node *n)
{
    return with_input(x, n, onnx_const_int(x, epl_attr_i(n, "k")), "|k|") != NULL;
}

static bool emit_reverse_sequence(onnx_export *x, const epl_node *n)
{
    const char *lengths = onnx_plain(x, n, n->inputs[1]);
    if (n->inputs[1]->dtype != EPL_I64) {
        Onnx__NodeProto *p = onnx_begin(x, n, "Cast");
        onnx_arg(x, p, lengths);
        onnx_set_int(x, p, "to", onnx_data_type(EPL_I64));
        lengths = onnx_between(x, p);
    }
    return with_input(x, n, lengths, NULL) != NULL;
}

static bool emit_one_hot(onnx_export *x, const epl_node *n)
{
    const epl_dtype dtype = n->outputs[0]->dtype;
    epl_tensor     *values = epl_tensor_new(x->ctx, dtype, EPL_SHAPE(2));
    char            name[96], off[32], on[32];
    if (!values)
        return false;
    epl_tensor_set(values, 0, epl_attr_r(n, "off"));
    epl_tensor_set(values, 1, epl_attr_r(n, "on"));
    epl_format_f64(off, epl_attr_r(n, "off"));
    epl_format_f64(on, epl_attr_r(n, "on"));
    snprintf(name, sizeof name, "%s:%s,%s", epl_dtype_name(dtype), off, on);
    epl_tensor kept = *values;
    kept.data = epl_arena_copy(x->arena, values->data, epl_tensor_bytes(values));
    epl_tensor_free(values);
    Onnx__NodeProto *p = with_input(x, n, onnx_const_int(x, epl_attr_i(n, "depth")), "|depth|on|off|dtype|");
    onnx_arg(x, p, kept.data ? onnx_store(x, onnx_unique(x, "%s", name), &kept) : NULL);
    return p != NULL;
}

/* Of some axes: a gather from the shape, multiplied. */
static bool emit_size(onnx_export *x, const epl_node *n)
{
    int64_t          axes[EPL_MAX_RANK];
    const int64_t   *given;
    const int        count = axes_in_form(n, "axes", false, axes);
    if (epl_attr_ints(n, "axes", &given) == 0) {
        const char      *in = onnx_plain(x, n, n->inputs[0]);
        Onnx__NodeProto *all = onnx_begin(x, n, "Size");
        onnx_arg(x, all, in);
        onnx_gives(x, all, n->outputs[0], false);
        return true;
    }
    const char      *sizes = onnx_step(x, n, "Gather", shape_of(x, n, n->inputs[0]), onnx_const_ints(x, count, axes));
    Onnx__NodeProto *p = onnx_begin(x, n, "ReduceProd");
    onnx_arg(x, p, sizes);
    onnx_set_int(x, p, "keepdims", 0);
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

/* start + delta * (0, 1, ... along the axis of another value). Without one the rewriting has made it a constant. */
static bool emit_range(onnx_export *x, const epl_node *n)
{
    const epl_dtype dtype = n->outputs[0]->dtype;
    const char     *length = onnx_step(x, n, "Gather", shape_of(x, n, n->inputs[0]), onnx_const_int(x, epl_attr_i(n, "axis")));
    Onnx__NodeProto *range = onnx_begin(x, n, "Range");
    onnx_arg(x, range, onnx_const_int(x, 0));
    onnx_arg(x, range, length);
    onnx_arg(x, range, onnx_const_int(x, 1));
    Onnx__NodeProto *cast = onnx_begin(x, n, "Cast");
    onnx_arg(x, cast, onnx_between(x, range));
    onnx_set_int(x, cast, "to", onnx_data_type(dtype));
    const char *scaled = onnx_step(x, n, "Mul", onnx_between(x, cast), onnx_const_like(x, dtype, epl_attr_r(n, "delta"), EPL_SCALAR));
    Onnx__NodeProto *p = onnx_begin(x, n, "Add");
    onnx_arg(x, p, scaled);
    onnx_arg(x, p, onnx_const_like(x, dtype, epl_attr_r(n, "start"), EPL_SCALAR));
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

const onnx_export_op onnx_export_shapes[] = {
    { &epl_op_reshape, "Reshape", emit_reshape, NULL },
    { &epl_op_expand, "Expand", emit_expand, NULL },
    { &epl_op_squeeze, "Squeeze", emit_squeeze, NULL },
    { &epl_op_unsqueeze, "Unsqueeze", emit_squeeze, NULL },
    { &epl_op_transpose, "Transpose", emit_transpose, NULL },
    { &epl_op_concat, "Concat", emit_concat, NULL },
    { &epl_op_split, "Split", emit_split, NULL },
    { &epl_op_slice, "Slice", emit_slice, NULL },
    { &epl_op_pad, "Pad", emit_pad, NULL },
    { &epl_op_reduce_sum, "ReduceSum", emit_reduction, NULL },
    { &epl_op_reduce_mean, "ReduceMean", emit_reduction, NULL },
    { &epl_op_reduce_max, "ReduceMax", emit_reduction, NULL },
    { &epl_op_reduce_min, "ReduceMin", emit_reduction, NULL },
    { &epl_op_reduce_prod, "ReduceProd", emit_reduction, NULL },
    { &epl_op_reduce_l1, "ReduceL1", emit_reduction, NULL },
    { &epl_op_reduce_l2, "ReduceL2", emit_reduction, NULL },
    { &epl_op_reduce_log_sum, "ReduceLogSum", emit_reduction, NULL },
    { &epl_op_reduce_log_sum_exp, "ReduceLogSumExp", emit_reduction, NULL },
    { &epl_op_reduce_sum_square, "ReduceSumSquare", emit_reduction, NULL },
    { &epl_op_tile, "Tile", emit_tile, NULL },
    { &epl_op_topk, "TopK", emit_topk, NULL },
    { &epl_op_cumsum, "CumSum", emit_cumsum, NULL },
    { &epl_op_trilu, "Trilu", emit_trilu, NULL },
    { &epl_op_reverse_sequence, "ReverseSequence", emit_reverse_sequence, NULL },
    { &epl_op_one_hot, "OneHot", emit_one_hot, NULL },
    { &epl_op_size, "Size", emit_size, NULL },
    { &epl_op_range, "Range", emit_range, NULL },
    { NULL, NULL, NULL, NULL },
};
