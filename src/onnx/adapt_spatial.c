/* adapt_spatial: convolutions and pools. ONNX puts channels before space; the operators here put them last, so each
 * stands between two transposes. Weights that are initialisers get our axes once, here. */
#include "onnx/adapt.h"

#include <string.h>

/* ---- windows: what convolutions and pools have in common ---- */
typedef struct window {
    int     n; /* spatial axes */
    int64_t kernel[3], stride[3], dilation[3], begin[3], end[3];
    int64_t in[3];
} window;

static bool fill_list(onnx_node *n, const char *name, int64_t *out, int count, int64_t otherwise)
{
    const int found = onnx_ints(n, name, out, count);
    for (int i = 0; found < 0 && i < count; i++)
        out[i] = otherwise;
    return found < 0 || found == count || onnx_fail(n, EPL_ERR_SHAPE, "attribute '%s' has %d numbers for %d axes", name, found, count);
}

/* Reads kernel_shape (or checks it against the weights'), strides, dilations, pads and auto_pad. */
static bool read_window(onnx_node *n, epl_value *x, const epl_shape *weights, window *w)
{
    int64_t pads[6];
    *w = (window){ .n = x->shape.rank - 2 };
    if (w->n < 1 || w->n > 3)
        return onnx_unsupported(n, "an input of %d axes; one to three spatial axes are possible", x->shape.rank);
    for (int i = 0; i < w->n; i++) {
        w->in[i] = x->shape.dim[2 + i];
        w->kernel[i] = weights ? weights->dim[2 + i] : 0;
    }
    int64_t kernel[3] = { w->kernel[0], w->kernel[1], w->kernel[2] };
    if (onnx_has_attr(n, "kernel_shape") && !fill_list(n, "kernel_shape", kernel, w->n, 0))
        return false;
    for (int i = 0; i < w->n; i++) {
        if ((weights && kernel[i] != w->kernel[i]) || kernel[i] < 1)
            return onnx_fail(n, EPL_ERR_SHAPE, "kernel_shape says %lld along axis %d, the weights %lld", (long long)kernel[i], i,
                             (long long)w->kernel[i]);
        w->kernel[i] = kernel[i];
    }
    if (!fill_list(n, "strides", w->stride, w->n, 1) || !fill_list(n, "dilations", w->dilation, w->n, 1) ||
        !fill_list(n, "pads", pads, 2 * w->n, 0))
        return false;
    for (int i = 0; i < w->n; i++) {
        w->begin[i] = pads[i];
        w->end[i] = pads[w->n + i];
        if (w->stride[i] < 1 || w->dilation[i] < 1 || w->stride[i] > INT32_MAX || w->dilation[i] > INT32_MAX ||
            w->kernel[i] > INT32_MAX || pads[i] < 0 || pads[w->n + i] < 0 || pads[i] > INT32_MAX || pads[w->n + i] > INT32_MAX)
            return onnx_unsupported(n, "a stride, dilation, kernel or pad that is negative, zero or absurd");
    }
    return true;
}

/* auto_pad: so much that the result has ceil(in / stride) elements; the odd one at the end or (lower) at the beginning. */
static bool apply_auto_pad(onnx_node *n, window *w, const char *mode)
{
    const bool lower = strcmp(mode, "SAME_LOWER") == 0;
    if (strcmp(mode, "NOTSET") == 0)
        return true;
    for (int i = 0; i < w->n; i++) {
        const int64_t out = (w->in[i] + w->stride[i] - 1) / w->stride[i];
        const int64_t total = (out - 1) * w->stride[i] + w->dilation[i] * (w->kernel[i] - 1) + 1 - w->in[i];
        const int64_t pad = total > 0 ? total : 0;
        w->begin[i] = lower ? pad - pad / 2 : pad / 2;
        w->end[i] = pad - w->begin[i];
        if (strcmp(mode, "VALID") == 0)
            w->begin[i] = w->end[i] = 0;
        else if (!lower && strcmp(mode, "SAME_UPPER") != 0)
            return onnx_unsupported(n, "auto_pad '%s'", mode);
    }
    return true;
}

/* [M, C, K...] -> [K..., C, M], and the other way round of the first two: both swap ends. */
static epl_shape weight_axes(int rank)
{
    epl_shape perm = { .rank = rank };
    for (int i = 2; i < rank; i++)
        perm.dim[i - 2] = i;
    perm.dim[rank - 2] = 1;
    perm.dim[rank - 1] = 0;
    return perm;
}

/* The weights' ONNX shape without making them a parameter yet. */
static bool weight_shape(onnx_node *n, int i, epl_shape *out)
{
    if (onnx_initial_shape(n, i, out))
        return true;
    const epl_value *w = onnx_in(n, i);
    if (w)
        *out = w->shape;
    return w != NULL;
}

static epl_convolve_opts convolve_opts(const window *w, int groups)
{
    epl_convolve_opts o = { .groups = groups };
    for (int i = 0; i < w->n; i++) {
        o.stride[i] = (int)w->stride[i];
        o.dilation[i] = (int)w->dilation[i];
        o.pad_begin[i] = (int)w->begin[i];
        o.pad_end[i] = (int)w->end[i];
    }
    return o;
}

bool onnx_convolve(onnx_node *n, epl_value *x, int weight_input, epl_value *weights, epl_value *bias)
{
    epl_shape shape = weights ? weights->shape : EPL_SCALAR;
    window    w;
    if (!x || (!weights && !weight_shape(n, weight_input, &shape)))
        return false;
    if (shape.rank != x->shape.rank)
        return onnx_fail(n, EPL_ERR_SHAPE, "the input has %d axes, the weights %d", x->shape.rank, shape.rank);
    if (!read_window(n, x, &shape, &w) || !apply_auto_pad(n, &w, onnx_text(n, "auto_pad", "NOTSET")))
        return false;
    epl_value *k = weights ? epl_permute(n->g, weights, weight_axes(shape.rank)) : onnx_weight(n, weight_input, weight_axes(shape.rank));
    epl_value *y = epl_convolve(n->g, onnx_to_channels_last(n, x), k, bias, convolve_opts(&w, (int)onnx_int(n, "group", 1)));
    return onnx_set(n, onnx_to_channels_first(n, y));
}

static bool import_conv(onnx_node *n)
{
    return onnx_convolve(n, onnx_in(n, 0), 1, NULL, onnx_in(n, 2));
}

static bool import_conv_transpose(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *bias = onnx_in(n, 2);
    epl_shape  shape;
    window     w;
    int64_t    extra[3] = { 0 }, out[3];
    if (!x || !weight_shape(n, 1, &shape))
        return false;
    if (shape.rank != x->shape.rank)
        return onnx_fail(n, EPL_ERR_SHAPE, "the input has %d axes, the weights %d", x->shape.rank, shape.rank);
    if (!read_window(n, x, &shape, &w) || !fill_list(n, "output_padding", extra, w.n, 0))
        return false;
    const char *mode = onnx_text(n, "auto_pad", "NOTSET");
    const bool  upper = strcmp(mode, "SAME_UPPER") == 0, same = upper || strcmp(mode, "SAME_LOWER") == 0;
    bool        sized = onnx_has_attr(n, "output_shape");
    if (sized && !fill_list(n, "output_shape", out, w.n, 0))
        return false;
    for (int i = 0; i < w.n && (sized || same); i++) {
        const int64_t whole = (w.in[i] - 1) * w.stride[i] + w.dilation[i] * (w.kernel[i] - 1) + 1 + extra[i];
        const int64_t total = whole - (sized ? out[i] : w.in[i] * w.stride[i]), pad = total > 0 ? total : 0;
        w.begin[i] = upper ? pad / 2 : pad - pad / 2;
        w.end[i] = pad - w.begin[i];
        extra[i] += total < 0 ? -total : 0;
    }
    epl_convolve_opts o = convolve_opts(&w, (int)onnx_int(n, "group", 1));
    for (int i = 0; i < w.n; i++)
        o.output_pad[i] = (int)extra[i];
    epl_value *y = epl_convolve_transpose(n->g, onnx_to_channels_last(n, x), onnx_weight(n, 1, weight_axes(shape.rank)), bias, o);
    return onnx_set(n, onnx_to_channels_first(n, y));
}

/* ---- pools ---- */
static epl_pool_opts pool_opts(const window *w)
{
    epl_pool_opts o = { 0 };
    for (int i = 0; i < w->n; i++) {
        o.kernel[i] = (int)w->kernel[i];
        o.stride[i] = (int)w->stride[i];
        o.dilation[i] = (int)w->dilation[i];
        o.pad_begin[i] = (int)w->begin[i];
        o.pad_end[i] = (int)w->end[i];
    }
    return o;
}

static bool import_pool(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    window     w;
    if (!x || !read_window(n, x, NULL, &w) || !apply_auto_pad(n, &w, onnx_text(n, "auto_pad", "NOTSET")))
        return false;
    epl_pool_opts o = pool_opts(&w);
    o.ceil_mode = onnx_int(n, "ceil_mode", 0) != 0;
    o.count_include_pad = onnx_int(n, "count_include_pad", 0) != 0;
    epl_value *in = onnx_to_channels_last(n, x), *y;
    if (strcmp(n->op, "MaxPool") == 0) {
        const bool real = epl_dtype_is_float(x->dtype), columns = onnx_int(n, "storage_order", 0) != 0;
        if (!real && epl_dtype_bytes(x->dtype) > 2)
            return onnx_unsupported(n, "elements of type %s", epl_dtype_name(x->dtype));
        y = epl_max_pool(n->g, real ? in : epl_cast(n->g, in, EPL_F32), o); // small integers are exact in f32
        if (n->n_out > 1 && *n->proto->output[1])
            n->out[1] = onnx_to_channels_first(n, epl_max_pool_indices(n->g, y, columns));
        y = real || !y ? y : epl_cast(n->g, y, x->dtype);
    } else if (strcmp(n->op, "AveragePool") == 0) {
        y = epl_average_pool(n->g, in, o);
    } else {
        y = epl_lp_pool(n->g, in, (int)onnx_int(n, "p", 2), o);
    }
    return onnx_set(n, onnx_to_channels_first(n, y));
}

static bool import_global_pool(onnx_node *n)
{
    epl_value      *x = onnx_in(n, 0);
    epl_reduce_opts o = { .keep = true };
    if (!x)
        return false;
    if (x->shape.rank < 3)
        return onnx_unsupported(n, "an input of %d axes", x->shape.rank);
    if (strcmp(n->op, "GlobalLpPool") == 0) {
        for (int i = 2; i < x->shape.rank; i++)
            o.axes[o.n_axes++] = i;
        const int64_t p = onnx_int(n, "p", 2);
        if (p != 1 && p != 2)
            return onnx_unsupported(n, "p is %lld", (long long)p);
        return onnx_set(n, p == 1 ? epl_reduce_l1(n->g, x, o) : epl_reduce_l2(n->g, x, o));
    }
    epl_value *in = onnx_to_channels_last(n, x); // [N, C]; the spatial axes come back with size 1
    epl_value *y = strcmp(n->op, "GlobalMaxPool") == 0 ? epl_global_max_pool(n->g, in) : epl_global_average_pool(n->g, in);
    int axes[EPL_MAX_RANK];
    for (int i = 2; i < x->shape.rank; i++)
        axes[i - 2] = i;
    return onnx_set(n, epl_unsqueeze(n->g, y, x->shape.rank - 2, axes));
}

const onnx_op onnx_ops_spatial[] = {
    { "Conv", import_conv, NULL }, { "ConvTranspose", import_conv_transpose, NULL }, { "MaxPool", import_pool, NULL },
    { "AveragePool", import_pool, NULL }, { "LpPool", import_pool, NULL }, { "GlobalMaxPool", import_global_pool, NULL },
    { "GlobalAveragePool", import_global_pool, NULL }, { "GlobalLpPool", import_global_pool, NULL },
    { NULL, NULL, NULL },
};
