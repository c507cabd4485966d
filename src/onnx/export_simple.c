/* export_simple: operators that have ONNX's name and attributes - the rows of elementwise.def, and those that read one form. */
#include "onnx/export.h"

#include <math.h>
#include <string.h>

/* ---- element-wise ------------------------------------------------------------------------------------------------ */

/* Channels first if an input is so alone, or if all inputs of the full rank are. One that a transpose of the graph
 * brought there is brought back rather than another tensor of its size turned as well. */
static bool wants_first(const epl_node *n)
{
    const int rank = n->outputs[0]->shape.rank;
    bool      alone = false, all = rank >= 3, some = false, turned = false, other = false;
    for (int i = 0; i < n->n_inputs && rank >= 3; i++) {
        const epl_value *v = n->inputs[i];
        if (v->shape.rank != rank || onnx_is_leaf(v))
            continue;
        some  = true;
        alone  = alone || (onnx_is_first(v) && !EPL_IS(v->producer, transpose));
        turned = turned || (onnx_is_first(v) && EPL_IS(v->producer, transpose));
        other  = other || (!onnx_at(v)->first && epl_shape_equal(v->shape, n->outputs[0]->shape));
        all    = all && onnx_at(v)->first;
    }
    return alone || (turned && !other) || (all && some);
}

/* The operator with its inputs and result in one form; the caller adds the rest. */
static Onnx__NodeProto *elementwise(onnx_export *x, const epl_node *n, const char *name)
{
    const bool  first = wants_first(n);
    const char *in[4] = { NULL };
    for (int i = 0; i < n->n_inputs; i++)
        in[i] = first ? onnx_operand(x, n, n->inputs[i], n->outputs[0]->shape.rank) : onnx_plain(x, n, n->inputs[i]);
    Onnx__NodeProto *p = onnx_begin(x, n, name);
    for (int i = 0; i < n->n_inputs; i++)
        onnx_arg(x, p, in[i]);
    onnx_gives(x, p, n->outputs[0], first);
    return p;
}

#define UNARY(name, types, attrs, y, dx, printed, opset)          { &epl_op_##name, printed, opset },
#define BINARY(name, types, attrs, y, da, db, printed, opset)     { &epl_op_##name, printed, opset },
#define TERNARY(name, types, attrs, y, da, db, dc, printed, opset) { &epl_op_##name, printed, opset },
static const struct {
    const epl_op *op;
    const char   *name;
    int           since; /* 0: ONNX does not have it */
} rows[] = {
#include "ops/elementwise.def"
};

/* ONNX has this element-wise operator, with the same attributes. */
static const char *same_in_onnx(const onnx_export *x, const epl_op *op)
{
    for (size_t i = 0; i < EPL_COUNT(rows); i++)
        if (rows[i].op == op)
            return rows[i].since && rows[i].since <= x->opset ? rows[i].name : NULL;
    return NULL;
}

static bool emit_elementwise(onnx_export *x, const epl_node *n)
{
    const char *name = same_in_onnx(x, n->op);
    if (!name)
        return onnx_refuse(n, "opset %d does not know it", x->opset);
    onnx_set_fields(x, elementwise(x, n, name), n, NULL);
    return true;
}

/* Bounds are inputs, and an infinite one is none. */
static bool emit_clip(onnx_export *x, const epl_node *n)
{
    Onnx__NodeProto *p = elementwise(x, n, "Clip");
    const double     low = epl_attr_r(n, "min"), high = epl_attr_r(n, "max");
    if (low > -INFINITY || high < INFINITY)
        onnx_arg(x, p, low > -INFINITY ? onnx_const_like(x, n->outputs[0]->dtype, low, EPL_SCALAR) : "");
    if (high < INFINITY)
        onnx_arg(x, p, onnx_const_like(x, n->outputs[0]->dtype, high, EPL_SCALAR));
    return true;
}

static bool emit_isinf(onnx_export *x, const epl_node *n)
{
    Onnx__NodeProto *p = elementwise(x, n, "IsInf");
    onnx_set_int(x, p, "detect_negative", epl_attr_r(n, "detect_negative") != 0);
    onnx_set_int(x, p, "detect_positive", epl_attr_r(n, "detect_positive") != 0);
    return true;
}

static bool emit_fmod(onnx_export *x, const epl_node *n)
{
    onnx_set_int(x, elementwise(x, n, "Mod"), "fmod", 1);
    return true;
}

static bool emit_shift(onnx_export *x, const epl_node *n)
{
    if (epl_dtype_is_signed(n->outputs[0]->dtype))
        return onnx_refuse(n, "BitShift takes unsigned integers, this is %s", epl_dtype_name(n->outputs[0]->dtype));
    onnx_set_text(x, elementwise(x, n, "BitShift"), "direction", EPL_IS(n, shift_left) ? "LEFT" : "RIGHT");
    return true;
}

static bool emit_gelu_tanh(onnx_export *x, const epl_node *n)
{
    onnx_set_text(x, elementwise(x, n, "Gelu"), "approximate", "tanh");
    return true;
}

static bool emit_cast(onnx_export *x, const epl_node *n)
{
    onnx_set_fields(x, elementwise(x, n, "Cast"), n, NULL);
    return true;
}

/* ---- one form, ONNX's attributes --------------------------------------------------------------------------------- */
static bool emit_plain(onnx_export *x, const epl_node *n)
{
    const onnx_export_op *e = onnx_export_find(n->op);
    const char *in[8] = { NULL };
    for (int i = 0; i < n->n_inputs; i++)
        in[i] = n->inputs[i] ? onnx_plain(x, n, n->inputs[i]) : "";
    Onnx__NodeProto *p = onnx_begin(x, n, e->name);
    for (int i = 0; i < n->n_inputs; i++)
        onnx_arg(x, p, in[i]);
    onnx_set_fields(x, p, n, e->skip);
    for (int i = 0; i < n->n_outputs; i++)
        onnx_gives(x, p, n->outputs[i], false);
    return true;
}

/* Along an axis, in the form that the input has. */
static bool emit_softmax(onnx_export *x, const epl_node *n)
{
    const bool       first = wants_first(n);
    const int        rank = n->inputs[0]->shape.rank;
    const int64_t    axis = epl_attr_i(n, "axis");
    const char      *in = first ? onnx_first(x, n, n->inputs[0]) : onnx_plain(x, n, n->inputs[0]);
    Onnx__NodeProto *p = onnx_begin(x, n, n->op->name);
    onnx_arg(x, p, in);
    onnx_set_int(x, p, "axis", first ? onnx_axis_first(axis, rank) : axis);
    onnx_gives(x, p, n->outputs[0], first);
    return true;
}

/* Draws of ONNX's own generator: the key and the stream stay here. */
static bool emit_random(onnx_export *x, const epl_node *n)
{
    const bool     uniform = EPL_IS(n, random_uniform);
    const int64_t *shape;
    const int      rank = epl_attr_ints(n, "shape", &shape);
    epl_value     *like = epl_node_input(n, 1);
    const char    *in = like && !rank ? onnx_plain(x, n, like) : NULL;
    if (like && rank)
        return onnx_refuse(n, "its shape is partly another tensor's");
    Onnx__NodeProto *p = onnx_begin(x, n,
                                    uniform ? (in ? "RandomUniformLike" : "RandomUniform")
                                    : in    ? "RandomNormalLike"
                                            : "RandomNormal");
    if (in)
        onnx_arg(x, p, in);
    else
        onnx_set_ints(x, p, "shape", rank, shape);
    onnx_set_fields(x, p, n, "|shape|stream|");
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

static bool emit_roi_align(onnx_export *x, const epl_node *n)
{
    const bool  half_pixel = epl_attr_i(n, "half_pixel") != 0;
    const char *in[3] = { onnx_first(x, n, n->inputs[0]), onnx_plain(x, n, n->inputs[1]), onnx_plain(x, n, n->inputs[2]) };
    if (x->opset < 16 && half_pixel)
        return onnx_refuse(n, "opset %d does not know its coordinates", x->opset);
    Onnx__NodeProto *p = onnx_begin(x, n, "RoiAlign");
    for (int i = 0; i < 3; i++)
        onnx_arg(x, p, in[i]);
    onnx_set_fields(x, p, n, "|half_pixel|maximum|");
    if (x->opset >= 16)
        onnx_set_text(x, p, "coordinate_transformation_mode", half_pixel ? "half_pixel" : "output_half_pixel");
    onnx_set_text(x, p, "mode", epl_attr_i(n, "maximum") ? "max" : "avg");
    onnx_gives(x, p, n->outputs[0], true);
    return true;
}

const onnx_export_op onnx_export_simple[] = {
    { &epl_op_clip, "Clip", emit_clip, NULL },
    { &epl_op_isinf, "IsInf", emit_isinf, NULL },
    { &epl_op_fmod, "Mod", emit_fmod, NULL },
    { &epl_op_shift_left, "BitShift", emit_shift, NULL },
    { &epl_op_shift_right, "BitShift", emit_shift, NULL },
    { &epl_op_gelu_tanh, "Gelu", emit_gelu_tanh, NULL },
    { &epl_op_cast, "Cast", emit_cast, NULL },
    { &epl_op_softmax, "Softmax", emit_softmax, NULL },
    { &epl_op_log_softmax, "LogSoftmax", emit_softmax, NULL },
    { &epl_op_flatten, "Flatten", emit_plain, NULL },
    { &epl_op_gather, "Gather", emit_plain, NULL },
    { &epl_op_gather_elements, "GatherElements", emit_plain, NULL },
    { &epl_op_gather_nd, "GatherND", emit_plain, NULL },
    { &epl_op_scatter_elements, "ScatterElements", emit_plain, NULL },
    { &epl_op_scatter_nd, "ScatterND", emit_plain, "|batch_dims|" },
    { &epl_op_argmax, "ArgMax", emit_plain, NULL },
    { &epl_op_argmin, "ArgMin", emit_plain, NULL },
    { &epl_op_shape, "Shape", emit_plain, NULL },
    { &epl_op_random_uniform, "RandomUniform", emit_random, NULL },
    { &epl_op_random_normal, "RandomNormal", emit_random, NULL },
    { &epl_op_det, "Det", emit_plain, NULL },
    { &epl_op_roi_align, "RoiAlign", emit_roi_align, NULL },
#undef UNARY
#undef BINARY
#undef TERNARY
#define UNARY(name, types, attrs, y, dx, printed, opset)           { &epl_op_##name, printed, emit_elementwise, NULL },
#define BINARY(name, types, attrs, y, da, db, printed, opset)      { &epl_op_##name, printed, emit_elementwise, NULL },
#define TERNARY(name, types, attrs, y, da, db, dc, printed, opset) { &epl_op_##name, printed, emit_elementwise, NULL },
#include "ops/elementwise.def"
    { NULL, NULL, NULL, NULL },
};
