/* adapt_detect: RoiAlign and MaxUnpool. */
#include "onnx/adapt.h"

#include <string.h>

static bool import_roi_align(onnx_node *n)
{
    epl_value   *x = onnx_in(n, 0), *rois = onnx_in(n, 1), *images = onnx_in(n, 2);
    const char  *mode = onnx_text(n, "mode", "avg");
    const char  *shift = n->opset < 16 ? "output_half_pixel" : onnx_text(n, "coordinate_transformation_mode", "half_pixel");
    epl_roi_opts o = { .height = (int)onnx_int(n, "output_height", 1), .width = (int)onnx_int(n, "output_width", 1),
                       .sampling_ratio = (int)onnx_int(n, "sampling_ratio", 0), .scale = onnx_real(n, "spatial_scale", 1),
                       .no_shift = strcmp(shift, "output_half_pixel") == 0, .maximum = strcmp(mode, "max") == 0 };
    if (!x || !rois || !images)
        return false;
    const int64_t sizes[3] = { onnx_int(n, "output_height", 1), onnx_int(n, "output_width", 1), onnx_int(n, "sampling_ratio", 0) };
    for (int i = 0; i < 3; i++)
        if (sizes[i] < (i < 2) || sizes[i] > 65536)
            return onnx_unsupported(n, "a size or ratio of %lld", (long long)sizes[i]);
    if (x->shape.rank != 4 || !epl_glob("avg,max", mode) || !epl_glob("half_pixel,output_half_pixel", shift))
        return onnx_unsupported(n, "mode '%s', coordinates '%s', %d axes", mode, shift, x->shape.rank);
    return onnx_set(n, onnx_to_channels_first(n, epl_roi_align(n->g, onnx_to_channels_last(n, x), rois, images, o)));
}

/* The size that a pool of these windows was made from. */
static bool unpooled_shape(onnx_node *n, const epl_value *x, epl_shape *y)
{
    int64_t   kernel[3], stride[3] = { 1, 1, 1 }, pads[6] = { 0 };
    const int space = x->shape.rank - 2, k = space >= 1 && space <= 3 ? onnx_ints(n, "kernel_shape", kernel, 3) : -1;
    const int s = onnx_ints(n, "strides", stride, 3), p = onnx_ints(n, "pads", pads, 6);
    if (k != space || (s >= 0 && s != space) || (p >= 0 && p != 2 * space))
        return onnx_unsupported(n, "windows of %d axes for an input of %d", k, x->shape.rank);
    *y = x->shape;
    for (int i = 0; i < space; i++) {
        if (kernel[i] < 1 || kernel[i] > 65536 || stride[i] < 1 || stride[i] > 65536 || pads[i] < 0 ||
            pads[i] > 65536 || pads[space + i] < 0 || pads[space + i] > 65536 || x->shape.dim[2 + i] > INT32_MAX)
            return onnx_unsupported(n, "a kernel, stride or pad that is negative, zero or absurd");
        y->dim[2 + i] = (x->shape.dim[2 + i] - 1) * stride[i] - pads[i] - pads[space + i] + kernel[i];
    }
    return true;
}

/* Elements go back to where MaxPool says that they were; where a larger shape is wanted, zeros follow. */
static bool import_max_unpool(onnx_node *n)
{
    epl_graph *g = n->g;
    epl_value *x = onnx_in(n, 0), *at = onnx_in(n, 1);
    epl_shape  shape;
    int64_t    wanted[EPL_MAX_RANK];
    if (!x || !at || !unpooled_shape(n, x, &shape))
        return false;
    for (int i = 2; i < shape.rank; i++)
        if (shape.dim[i] < 1 || shape.dim[i] > INT32_MAX)
            return onnx_unsupported(n, "a result of %lld elements along axis %d", (long long)shape.dim[i], i);
    epl_value *zeros = epl_expand(g, epl_reshape(g, onnx_scalar_like(n, x, 0), EPL_SHAPE(1)), EPL_SHAPE(epl_shape_count(shape)));
    epl_value *y = epl_scatter_elements(g, zeros, epl_reshape(g, at, EPL_SHAPE(-1)), epl_reshape(g, x, EPL_SHAPE(-1)), 0, EPL_SCATTER_SET);
    y = epl_reshape(g, y, shape);
    if (onnx_has(n, 2)) {
        epl_pad_opts pad = { .mode = EPL_PAD_CONSTANT };
        if (onnx_known_ints(n, 2, "the shape", wanted, EPL_MAX_RANK) != shape.rank)
            return onnx_fail(n, EPL_ERR_SHAPE, "the shape should have %d numbers", shape.rank);
        for (int i = 0; i < shape.rank; i++) {
            if (wanted[i] < 0 || wanted[i] > INT32_MAX)
                return onnx_unsupported(n, "a result of %lld elements along axis %d", (long long)wanted[i], i);
            pad.after[i] = wanted[i] - shape.dim[i];
        }
        y = epl_pad(g, y, pad);
    }
    return onnx_set(n, y);
}

const onnx_op onnx_ops_detect[] = {
    { "RoiAlign", import_roi_align, NULL }, { "MaxUnpool", import_max_unpool, NULL }, { NULL, NULL, NULL },
};
