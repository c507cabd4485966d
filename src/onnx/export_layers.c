/* export_layers: convolutions, pools, normalisations, products, recurrent layers. */
#include "onnx/export.h"

#include <stdio.h>
#include <string.h>

/* ---- channels first ---------------------------------------------------------------------------------------------- */

/* [K..., I, O] to ONNX's [O, I, K...]. */
static epl_shape weight_perm(int rank)
{
    epl_shape p = { .rank = rank };
    p.dim[0] = rank - 1;
    p.dim[1] = rank - 2;
    for (int i = 2; i < rank; i++)
        p.dim[i] = i - 2;
    return p;
}

static bool emit_conv(onnx_export *x, const epl_node *n)
{
    const char *in = onnx_first(x, n, n->inputs[0]);
    const char *w = onnx_turned(x, n, n->inputs[1], weight_perm(n->inputs[1]->shape.rank));
    const char *b = epl_node_input(n, 2) ? onnx_plain(x, n, n->inputs[2]) : NULL;
    Onnx__NodeProto *p = onnx_begin(x, n, n->op->name);
    onnx_arg(x, p, in);
    onnx_arg(x, p, w);
    if (b)
        onnx_arg(x, p, b);
    onnx_set_ints(x, p, "kernel_shape", n->inputs[1]->shape.rank - 2, n->inputs[1]->shape.dim);
    onnx_set_fields(x, p, n, NULL);
    onnx_gives(x, p, n->outputs[0], true);
    return true;
}

/* One input channels first, further ones are vectors. */
static Onnx__NodeProto *channels_first(onnx_export *x, const epl_node *n, const char *name, const char *skip)
{
    const char *in[5] = { onnx_first(x, n, n->inputs[0]) };
    for (int i = 1; i < n->n_inputs; i++)
        in[i] = onnx_plain(x, n, n->inputs[i]);
    Onnx__NodeProto *p = onnx_begin(x, n, name);
    for (int i = 0; i < n->n_inputs; i++)
        onnx_arg(x, p, in[i]);
    onnx_set_fields(x, p, n, skip);
    onnx_gives(x, p, n->outputs[0], true);
    return p;
}

static bool emit_first(onnx_export *x, const epl_node *n)
{
    const onnx_export_op *e = onnx_export_find(n->op);
    return channels_first(x, n, e->name, e->skip) != NULL;
}

/* The places of the maxima are the pool's second result. */
static bool indices_of(const epl_node *pool, const epl_node *n)
{
    bool same = EPL_IS(n, max_pool_indices) && n->inputs[0] == pool->inputs[0] && n->inputs[1] == pool->outputs[0];
    for (int i = 0; same && i < epl_op_n_attrs(pool->op); i++)
        same = epl_attr_equal(&pool->op->attrs[i], &pool->attrs[i], &n->attrs[i]);
    return same;
}

static void give_indices(onnx_export *x, Onnx__NodeProto *pool, const epl_node *indices)
{
    onnx_set_int(x, pool, "storage_order", epl_attr_i(indices, "column_major"));
    onnx_gives(x, pool, indices->outputs[0], true);
}

static bool emit_max_pool(onnx_export *x, const epl_node *n)
{
    const epl_node  *indices = n->next;
    Onnx__NodeProto *p = channels_first(x, n, "MaxPool", NULL);
    while (indices && !indices_of(n, indices))
        indices = indices->next;
    if (indices)
        give_indices(x, p, indices);
    return p != NULL;
}

/* Of a pool that could not give them: one more pool. */
static bool emit_max_pool_indices(onnx_export *x, const epl_node *n)
{
    if (onnx_at(n->outputs[0])->first)
        return true;
    const char      *in = onnx_first(x, n, n->inputs[0]);
    Onnx__NodeProto *p = onnx_begin(x, n, "MaxPool");
    onnx_arg(x, p, in);
    onnx_set_fields(x, p, n, "|column_major|");
    onnx_between(x, p);
    give_indices(x, p, n);
    return true;
}

static bool emit_average_pool(onnx_export *x, const epl_node *n)
{
    const int64_t *dilations;
    bool           dilated = false;
    for (int i = epl_attr_ints(n, "dilations", &dilations); i > 0; i--)
        dilated = dilated || dilations[i - 1] != 1;
    if (epl_attr_i(n, "sum"))
        return onnx_refuse(n, "it sums over windows that hang over the end; ONNX divides by what is there");
    if (dilated && x->opset < 19)
        return onnx_refuse(n, "opset %d does not know dilations of an AveragePool, 19 does", x->opset);
    return channels_first(x, n, "AveragePool", dilated ? "|sum|" : "|sum|dilations|") != NULL;
}

/* As an ordinary pool, where the output's sizes divide the input's. */
static bool emit_adaptive_pool(onnx_export *x, const epl_node *n)
{
    const epl_shape in = n->inputs[0]->shape, out = n->outputs[0]->shape;
    int64_t         kernel[EPL_MAX_RANK];
    for (int i = 1; i < in.rank - 1; i++) {
        if (out.dim[i] == 0 || in.dim[i] % out.dim[i])
            return onnx_refuse(n, "%lld outputs of %lld elements are no ordinary pool", (long long)out.dim[i], (long long)in.dim[i]);
        kernel[i - 1] = in.dim[i] / out.dim[i];
    }
    const char      *from = onnx_first(x, n, n->inputs[0]);
    Onnx__NodeProto *p = onnx_begin(x, n, "AveragePool");
    onnx_arg(x, p, from);
    onnx_set_ints(x, p, "kernel_shape", in.rank - 2, kernel);
    onnx_set_ints(x, p, "strides", in.rank - 2, kernel);
    onnx_gives(x, p, n->outputs[0], true);
    return true;
}

/* Sizes, where the shape is given, are the batch's and channels' own and the spatial ones wanted. */
static const char *sizes_of(onnx_export *x, const epl_node *n, const char *in)
{
    const int64_t begin = 0, two = 2, one = 1, end = -1, *shape;
    const char   *own = onnx_step(x, n, "Shape", in, NULL), *spatial;
    Onnx__NodeProto *p = onnx_begin(x, n, "Slice");
    onnx_arg(x, p, own);
    onnx_arg(x, p, onnx_const_ints(x, 1, &begin));
    onnx_arg(x, p, onnx_const_ints(x, 1, &two));
    own = onnx_between(x, p);
    if (epl_node_input(n, 1)) {
        spatial = onnx_step(x, n, "Shape", onnx_plain(x, n, n->inputs[1]), NULL);
        p = onnx_begin(x, n, "Slice");
        onnx_arg(x, p, spatial);
        onnx_arg(x, p, onnx_const_ints(x, 1, &one));
        onnx_arg(x, p, onnx_const_ints(x, 1, &end));
        spatial = onnx_between(x, p);
    } else {
        epl_attr_ints(n, "shape", &shape);
        spatial = onnx_const_ints(x, n->inputs[0]->shape.rank - 2, shape + 1);
    }
    p = onnx_begin(x, n, "Concat");
    onnx_arg(x, p, own);
    onnx_arg(x, p, spatial);
    onnx_set_int(x, p, "axis", 0);
    return onnx_between(x, p);
}

static const char *scales_of(onnx_export *x, const epl_node *n)
{
    const int       at = epl_op_attr_index(n->op, "scales"), rank = n->inputs[0]->shape.rank;
    const epl_attr *a = &n->attrs[at];
    if (a->n == 0)
        return NULL;
    float *scales = onnx_alloc(x, EPL_MAX_RANK * sizeof *scales);
    if (!scales)
        return NULL;
    for (int i = 0; i < rank; i++)
        scales[i] = i < 2 ? 1 : (float)a->reals[i - 2];
    const epl_tensor t = { .dtype = EPL_F32, .shape = EPL_SHAPE(rank), .data = scales };
    return onnx_store(x, onnx_unique(x, "scales_%d", n->id), &t);
}

/* The region of interest: for each axis where it begins, then for each where it ends, the batch and the channels whole. */
static const char *roi_of(onnx_export *x, const epl_node *n)
{
    const epl_attr *roi = &n->attrs[epl_op_attr_index(n->op, "roi")];
    const int       rank = n->inputs[0]->shape.rank, spatial = rank - 2;
    float          *list = roi->n ? onnx_alloc(x, 2 * EPL_MAX_RANK * sizeof *list) : NULL;
    if (!list)
        return "";
    for (int i = 0; i < rank; i++) {
        list[i]        = i < 2 ? 0 : (float)roi->reals[i - 2];
        list[rank + i] = i < 2 ? 1 : (float)roi->reals[spatial + i - 2];
    }
    const epl_tensor t = { .dtype = EPL_F32, .shape = EPL_SHAPE(2 * rank), .data = list };
    return onnx_store(x, onnx_unique(x, "roi_%d", n->id), &t);
}

/* What this opset does not know of Resize; NULL if it knows all. (tf_half_pixel_for_nn is deprecated, and read.) */
static const char *resize_lacks(const onnx_export *x, const epl_node *n)
{
    const int64_t from = epl_attr_i(n, "coordinate_transformation_mode");
    const bool    scaled = n->attrs[epl_op_attr_index(n->op, "scales")].n > 0;
    const int64_t *shape;
    if (x->opset < 18 && epl_attr_i(n, "antialias"))
        return "antialias, 18 does";
    if (x->opset < 19 && from == EPL_HALF_PIXEL_SYMMETRIC)
        return "half_pixel_symmetric, 19 does";
    return scaled && (epl_attr_ints(n, "shape", &shape) || epl_node_input(n, 1)) ? "scales beside sizes" : NULL;
}

static bool emit_resize(onnx_export *x, const epl_node *n)
{
    const char *lacks = resize_lacks(x, n);
    if (lacks)
        return onnx_refuse(n, "opset %d does not know %s", x->opset, lacks);
    const char *in = onnx_first(x, n, n->inputs[0]), *scales = scales_of(x, n),
               *sizes = scales ? NULL : sizes_of(x, n, in), *roi = roi_of(x, n);
    Onnx__NodeProto *p = onnx_begin(x, n, "Resize");
    onnx_arg(x, p, in);
    onnx_arg(x, p, roi);
    onnx_arg(x, p, scales);
    if (sizes)
        onnx_arg(x, p, sizes);
    onnx_set_fields(x, p, n, x->opset < 18 ? "|scales|shape|roi|antialias|" : "|scales|shape|roi|");
    onnx_gives(x, p, n->outputs[0], true);
    return true;
}

/* ---- normalisations: scale and bias may be absent here, not there ------------------------------------------------ */
static const char *vector_or(onnx_export *x, const epl_node *n, int i, double otherwise, epl_shape shape)
{
    return epl_node_input(n, i) ? onnx_plain(x, n, n->inputs[i]) : onnx_const_like(x, n->outputs[0]->dtype, otherwise, shape);
}

static bool emit_group_norm(onnx_export *x, const epl_node *n)
{
    const epl_shape channels = EPL_SHAPE(epl_channels(n->inputs[0]));
    const bool      instance = epl_attr_i(n, "num_groups") == channels.dim[0];
    const char     *in[] = { onnx_first(x, n, n->inputs[0]), vector_or(x, n, 1, 1, channels), vector_or(x, n, 2, 0, channels) };
    Onnx__NodeProto *p = onnx_begin(x, n, instance ? "InstanceNormalization" : "GroupNormalization");
    for (size_t i = 0; i < EPL_COUNT(in); i++)
        onnx_arg(x, p, in[i]);
    onnx_set_fields(x, p, n, instance ? "|num_groups|" : NULL);
    onnx_gives(x, p, n->outputs[0], true);
    return true;
}

static bool emit_layer_norm(onnx_export *x, const epl_node *n)
{
    const epl_shape in = n->inputs[0]->shape;
    const int64_t   axis = epl_attr_i(n, "axis");
    epl_shape       part = { 0 };
    for (int64_t i = axis < 0 ? axis + in.rank : axis; i < in.rank; i++)
        part.dim[part.rank++] = in.dim[i];
    const char *from = onnx_plain(x, n, n->inputs[0]), *scale = vector_or(x, n, 1, 1, part);
    const char *bias = epl_node_input(n, 2) ? onnx_plain(x, n, n->inputs[2]) : NULL;
    Onnx__NodeProto *p = onnx_begin(x, n, "LayerNormalization");
    onnx_arg(x, p, from);
    onnx_arg(x, p, scale);
    if (bias)
        onnx_arg(x, p, bias);
    onnx_set_fields(x, p, n, NULL);
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* The last two axes swapped, if asked. */
static const char *factor(onnx_export *x, const epl_node *n, epl_value *v, bool swapped)
{
    epl_shape perm = { .rank = v->shape.rank };
    for (int i = 0; i < perm.rank; i++)
        perm.dim[i] = i;
    if (swapped) {
        perm.dim[perm.rank - 1] = perm.rank - 2;
        perm.dim[perm.rank - 2] = perm.rank - 1;
    }
    return onnx_turned(x, n, v, perm);
}

static bool emit_matmul(onnx_export *x, const epl_node *n)
{
    const char *a = factor(x, n, n->inputs[0], epl_attr_i(n, "trans_a")), *b = factor(x, n, n->inputs[1], epl_attr_i(n, "trans_b"));
    Onnx__NodeProto *p = onnx_begin(x, n, "MatMul");
    onnx_arg(x, p, a);
    onnx_arg(x, p, b);
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

/* Gemm for matrices, MatMul and Add for more axes. */
static bool emit_linear(onnx_export *x, const epl_node *n)
{
    const bool  swapped = epl_attr_i(n, "trans_w"), matrix = n->inputs[0]->shape.rank == 2;
    const char *in = onnx_plain(x, n, n->inputs[0]), *w = matrix ? onnx_plain(x, n, n->inputs[1]) : factor(x, n, n->inputs[1], swapped);
    const char *bias = epl_node_input(n, 2) ? onnx_plain(x, n, n->inputs[2]) : NULL;
    Onnx__NodeProto *p = onnx_begin(x, n, matrix ? "Gemm" : "MatMul");
    onnx_arg(x, p, in);
    onnx_arg(x, p, w);
    if (matrix)
        onnx_set_int(x, p, "transB", swapped);
    if (matrix && bias)
        onnx_arg(x, p, bias);
    if (matrix || !bias) {
        onnx_gives(x, p, n->outputs[0], false);
        return true;
    }
    const char *product = onnx_between(x, p);
    p = onnx_begin(x, n, "Add");
    onnx_arg(x, p, product);
    onnx_arg(x, p, bias);
    onnx_gives(x, p, n->outputs[0], false);
    return true;
}

/* ---- recurrent layers: ONNX puts time before the batch, and the gates before the inputs -------------------------- */
static const char *turned_or_none(onnx_export *x, const epl_node *n, int i, epl_shape perm)
{
    return epl_node_input(n, i) ? onnx_turned(x, n, n->inputs[i], perm) : "";
}

static const char *lengths_of(onnx_export *x, const epl_node *n)
{
    if (!epl_node_input(n, 4))
        return "";
    Onnx__NodeProto *p = onnx_begin(x, n, "Cast");
    onnx_arg(x, p, onnx_plain(x, n, n->inputs[4]));
    onnx_set_int(x, p, "to", onnx_data_type(EPL_I32));
    return onnx_between(x, p);
}

/* [L, D, N, H] to [N, L, D H]. */
static void sequence_out(onnx_export *x, const epl_node *n, const char *y)
{
    const int64_t    perm[] = { 2, 0, 1, 3 }, shape[] = { EPL_KEEP, EPL_KEEP, n->outputs[0]->shape.dim[2] };
    Onnx__NodeProto *turn = onnx_begin(x, n, "Transpose");
    onnx_arg(x, turn, y);
    onnx_set_ints(x, turn, "perm", 4, perm);
    const char      *turned = onnx_between(x, turn);
    Onnx__NodeProto *flat = onnx_begin(x, n, "Reshape");
    onnx_arg(x, flat, turned);
    onnx_arg(x, flat, onnx_const_ints(x, 3, shape));
    onnx_gives(x, flat, n->outputs[0], false);
}

/* [D, N, H] to [N, D, H]. */
static void state_out(onnx_export *x, const epl_node *n, const char *state, epl_value *out)
{
    const int64_t    perm[] = { 1, 0, 2 };
    Onnx__NodeProto *p = onnx_begin(x, n, "Transpose");
    onnx_arg(x, p, state);
    onnx_set_ints(x, p, "perm", 3, perm);
    onnx_gives(x, p, out, false);
}

static bool usual_activations(const epl_node *n)
{
    return epl_attr_i(n, "activation_f") == 0 && epl_attr_i(n, "activation_g") == 0 && epl_attr_i(n, "activation_h") == 0;
}

static bool emit_recurrent(onnx_export *x, const epl_node *n)
{
    enum { X, W, R, B, LENGTHS, H0, C0, PEEPHOLES };
    const epl_shape swap = EPL_SHAPE(1, 0, 2), gates = EPL_SHAPE(0, 2, 1);
    if (!usual_activations(n))
        return onnx_refuse(n, "its activations are not the usual ones");
    const char *in[] = { onnx_turned(x, n, n->inputs[X], swap), onnx_turned(x, n, n->inputs[W], gates),
                         onnx_turned(x, n, n->inputs[R], gates), turned_or_none(x, n, B, EPL_SCALAR), lengths_of(x, n),
                         turned_or_none(x, n, H0, swap), turned_or_none(x, n, C0, swap), turned_or_none(x, n, PEEPHOLES, EPL_SCALAR) };
    Onnx__NodeProto *p = onnx_begin(x, n, n->op->name);
    for (int i = 0; i < n->n_inputs; i++)
        onnx_arg(x, p, in[i]);
    const char *result[3];
    for (int i = 0; i < n->n_outputs; i++)
        result[i] = onnx_between(x, p);
    onnx_set_int(x, p, "hidden_size", n->inputs[R]->shape.dim[1]);
    onnx_set_fields(x, p, n, epl_attr_r(n, "clip") > 0 ? "|activation_f|activation_g|activation_h|"
                                                        : "|clip|activation_f|activation_g|activation_h|");
    sequence_out(x, n, result[0]);
    for (int i = 1; i < n->n_outputs; i++)
        if (epl_n_uses(n->outputs[i]))
            state_out(x, n, result[i], n->outputs[i]);
    return true;
}

const onnx_export_op onnx_export_layers[] = {
    { &epl_op_conv, "Conv", emit_conv, NULL },
    { &epl_op_conv_transpose, "ConvTranspose", emit_conv, NULL },
    { &epl_op_max_pool, "MaxPool", emit_max_pool, NULL },
    { &epl_op_max_pool_indices, "MaxPool", emit_max_pool_indices, NULL },
    { &epl_op_average_pool, "AveragePool", emit_average_pool, NULL },
    { &epl_op_adaptive_average_pool, "AveragePool", emit_adaptive_pool, NULL },
    { &epl_op_resize, "Resize", emit_resize, NULL },
    { &epl_op_batch_norm, "BatchNormalization", emit_first, NULL },
    { &epl_op_group_norm, "GroupNormalization", emit_group_norm, NULL },
    { &epl_op_layer_norm, "LayerNormalization", emit_layer_norm, NULL },
    { &epl_op_lrn, "LRN", emit_first, NULL },
    { &epl_op_matmul, "MatMul", emit_matmul, NULL },
    { &epl_op_linear, "Gemm", emit_linear, NULL },
    { &epl_op_lstm, "LSTM", emit_recurrent, NULL },
    { &epl_op_gru, "GRU", emit_recurrent, NULL },
    { &epl_op_rnn, "RNN", emit_recurrent, NULL },
    { NULL, NULL, NULL, NULL },
};
