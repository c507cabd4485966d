/* export_counted: operators that find a number of results that depends on the data - NonZero, Unique,
 * NonMaxSuppression. Here that number is fixed; ONNX gives as many as there are, so they are filled up and cut to
 * the number (which padded.c reads back). */
#include "onnx/export.h"

#include <math.h>

/* v from ONNX's result `raw`: its first rows along the axis, with `filler` where there are fewer. */
static void fill_and_cut(onnx_export *x, const epl_node *n, const char *raw, epl_value *v, int axis, double filler)
{
    const int64_t    count = v->shape.dim[axis], begin = 0, along = axis;
    int64_t          pads[2 * EPL_MAX_RANK] = { 0 };
    Onnx__NodeProto *pad = onnx_begin(x, n, "Pad");
    pads[v->shape.rank + axis] = count;
    onnx_arg(x, pad, raw);
    onnx_arg(x, pad, onnx_const_ints(x, 2 * v->shape.rank, pads));
    onnx_arg(x, pad, onnx_const_like(x, v->dtype, filler, EPL_SCALAR));
    onnx_set_text(x, pad, "mode", "constant");
    const char      *padded = onnx_between(x, pad);
    Onnx__NodeProto *cut = onnx_begin(x, n, "Slice");
    onnx_arg(x, cut, padded);
    onnx_arg(x, cut, onnx_const_ints(x, 1, &begin));
    onnx_arg(x, cut, onnx_const_ints(x, 1, &count));
    onnx_arg(x, cut, onnx_const_ints(x, 1, &along));
    onnx_gives(x, cut, v, false);
}

static bool emit_non_zero(onnx_export *x, const epl_node *n)
{
    const char      *in = onnx_plain(x, n, n->inputs[0]);
    Onnx__NodeProto *p = onnx_begin(x, n, "NonZero");
    onnx_arg(x, p, in);
    if (epl_attr_i(n, "count") < 0) // of a constant: it has what it has
        onnx_gives(x, p, n->outputs[0], false);
    else
        fill_and_cut(x, n, onnx_between(x, p), n->outputs[0], 1, -1);
    return true;
}

static bool emit_nms(onnx_export *x, const epl_node *n)
{
    const double  score = epl_attr_r(n, "score_threshold");
    const int64_t most = epl_attr_i(n, "most");
    const char   *in[2] = { onnx_plain(x, n, n->inputs[0]), onnx_plain(x, n, n->inputs[1]) };
    if (n->inputs[0]->dtype != EPL_F32)
        return onnx_refuse(n, "ONNX's boxes are f32, these %s", epl_dtype_name(n->inputs[0]->dtype));
    Onnx__NodeProto *p = onnx_begin(x, n, "NonMaxSuppression");
    onnx_arg(x, p, in[0]);
    onnx_arg(x, p, in[1]);
    onnx_arg(x, p, onnx_const_ints(x, 1, &most));
    onnx_arg(x, p, onnx_const_like(x, EPL_F32, epl_attr_r(n, "iou_threshold"), EPL_SHAPE(1)));
    if (score > -INFINITY)
        onnx_arg(x, p, onnx_const_like(x, EPL_F32, score, EPL_SHAPE(1)));
    onnx_set_int(x, p, "center_point_box", epl_attr_i(n, "center"));
    fill_and_cut(x, n, onnx_between(x, p), n->outputs[0], 0, -1);
    return true;
}

/* Which of the different ones each element is; -1 for those beyond the number. */
static void emit_inverse(onnx_export *x, const epl_node *n, const char *inverse)
{
    const char      *within = onnx_step(x, n, "Less", inverse, onnx_const_int(x, n->outputs[1]->shape.dim[0]));
    Onnx__NodeProto *p = onnx_begin(x, n, "Where");
    onnx_arg(x, p, within);
    onnx_arg(x, p, inverse);
    onnx_arg(x, p, onnx_const_int(x, -1));
    onnx_gives(x, p, n->outputs[2], false);
}

static bool emit_unique(onnx_export *x, const epl_node *n)
{
    const int64_t   *axes;
    const bool       along = epl_attr_ints(n, "axes", &axes) > 0;
    const int        axis = !along ? 0 : (int)(axes[0] < 0 ? axes[0] + n->inputs[0]->shape.rank : axes[0]);
    const char      *in = onnx_plain(x, n, n->inputs[0]), *raw[4];
    Onnx__NodeProto *p = onnx_begin(x, n, "Unique");
    onnx_arg(x, p, in);
    for (int i = 0; i < 4; i++) { // those that nobody reads have no name
        raw[i] = i == 0 || epl_n_uses(n->outputs[i]) ? onnx_between(x, p) : "";
        if (p && !*raw[i])
            onnx_push(x, &p->output, &p->n_output, (char *)(uintptr_t)"");
    }
    onnx_set_int(x, p, "sorted", epl_attr_i(n, "sorted"));
    if (along)
        onnx_set_int(x, p, "axis", axis);
    for (int i = 0; i < 4; i++)
        if (epl_n_uses(n->outputs[i]) && i == 2)
            emit_inverse(x, n, raw[i]);
        else if (epl_n_uses(n->outputs[i]))
            fill_and_cut(x, n, raw[i], n->outputs[i], i == 0 ? axis : 0, i == 1 ? -1 : 0);
    return true;
}

const onnx_export_op onnx_export_counted[] = {
    { &epl_op_non_zero, "NonZero", emit_non_zero, NULL },
    { &epl_op_non_max_suppression, "NonMaxSuppression", emit_nms, NULL },
    { &epl_op_unique, "Unique", emit_unique, NULL },
    { NULL, NULL, NULL, NULL },
};
