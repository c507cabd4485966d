/* adapt_spatial: convolutions, pools and resizing (sampling at computed places: adapt_sample.c). ONNX puts channels before space; the operators here put them last, so each
 * stands between two transposes. Weights that are initialisers get our axes once, here. */
#include "onnx/adapt.h"

#include <math.h>
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

/* ---- resizing: every mode is linear along each axis, so an axis is multiplied by a constant matrix [out, in]; where a row of it
 * has a single 1 (nearest), the axis is gathered instead. ---- */
typedef struct resize {
    const char *mode, *coordinates, *nearest;
    double      cubic, extrapolation;
    bool        exclude_outside, antialias;
    int64_t     in, out;
    double      scale, start, end; /* start and end: the region of interest, as parts of the axis */
} resize;

static double source_of(const resize *r, double i)
{
    const double in = (double)r->in, out = (double)r->out;
    if (strcmp(r->coordinates, "half_pixel") == 0)
        return (i + 0.5) / r->scale - 0.5;
    if (strcmp(r->coordinates, "half_pixel_symmetric") == 0)
        return in / 2 * (1 - out / (in * r->scale)) + (i + 0.5) / r->scale - 0.5;
    if (strcmp(r->coordinates, "pytorch_half_pixel") == 0)
        return r->out > 1 ? (i + 0.5) / r->scale - 0.5 : 0;
    if (strcmp(r->coordinates, "tf_half_pixel_for_nn") == 0)
        return (i + 0.5) / r->scale;
    if (strcmp(r->coordinates, "align_corners") == 0) // the definition takes the product with the scale, not the size
        return in * r->scale != 1 ? i * (in - 1) / (in * r->scale - 1) : 0;
    if (strcmp(r->coordinates, "tf_crop_and_resize") == 0)
        return r->out > 1 ? r->start * (in - 1) + i * (r->end - r->start) * (in - 1) / (out - 1)
                          : 0.5 * (r->start + r->end) * (in - 1);
    return i / r->scale; // asymmetric
}

static int64_t nearest_of(const resize *r, double x)
{
    double i;
    if (strcmp(r->nearest, "floor") == 0)
        i = floor(x);
    else if (strcmp(r->nearest, "ceil") == 0)
        i = ceil(x);
    else if (strcmp(r->nearest, "round_prefer_ceil") == 0)
        i = floor(x + 0.5);
    else
        i = ceil(x - 0.5);
    return i < 0 ? 0 : i > (double)r->in - 1 ? r->in - 1 : (int64_t)i;
}

static double kernel_of(const resize *r, double d)
{
    const double x = fabs(d), a = r->cubic;
    if (strcmp(r->mode, "linear") == 0)
        return x < 1 ? 1 - x : 0;
    if (x < 1) // Keys 1981, eq. (4)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Row i of the matrix; neighbours beyond the ends count for the ends, or not at all and the rest is scaled up. */
static void interpolation_row(const resize *r, double x, double *row)
{
    const double stretch = r->antialias && r->scale < 1 ? r->scale : 1;
    const double reach = (strcmp(r->mode, "linear") == 0 ? 1 : 2) / stretch;
    double       sum = 0;
    for (int64_t j = (int64_t)floor(x - reach); j <= (int64_t)ceil(x + reach); j++) {
        const double k = kernel_of(r, (x - (double)j) * stretch);
        if (r->exclude_outside && (j < 0 || j >= r->in))
            continue;
        row[j < 0 ? 0 : j >= r->in ? r->in - 1 : j] += k;
        sum += k;
    }
    for (int64_t j = 0; j < r->in && sum != 0; j++)
        row[j] /= sum;
}

static epl_value *gather_axis(onnx_node *n, epl_value *x, int axis, const resize *r)
{
    int64_t *index = epl_alloc_array(onnx_context(n), (size_t)r->out + 1, sizeof *index);
    for (int64_t i = 0; index && i < r->out; i++)
        index[i] = nearest_of(r, source_of(r, (double)i));
    epl_value *y = index ? epl_gather(n->g, x, epl_constant_i64(n->g, (int)r->out, index), axis) : NULL;
    epl_release(onnx_context(n), index);
    return y;
}

static epl_value *multiply_axis(onnx_node *n, epl_value *x, int axis, const resize *r)
{
    epl_tensor *m = epl_tensor_new(onnx_context(n), EPL_F64, EPL_SHAPE(r->in, r->out));
    double     *row = epl_alloc_array(onnx_context(n), (size_t)r->in + 1, sizeof *row);
    for (int64_t i = 0; m && row && i < r->out; i++) {
        memset(row, 0, (size_t)r->in * sizeof *row);
        interpolation_row(r, source_of(r, (double)i), row);
        for (int64_t j = 0; j < r->in; j++)
            epl_tensor_set(m, j * r->out + i, row[j]);
    }
    epl_tensor *f = m && row ? epl_tensor_cast(onnx_context(n), m, x->dtype) : NULL;
    const int   last = x->shape.rank - 1;
    epl_value  *y = f ? epl_matmul(n->g, epl_swap_axes(n->g, x, axis, last), epl_constant(n->g, f), (epl_matmul_opts){ 0 }) : NULL;
    epl_tensor_free(f);
    epl_tensor_free(m);
    epl_release(onnx_context(n), row);
    return epl_swap_axes(n->g, y, axis, last);
}

/* Elements whose source lies outside of x get the extrapolation value (tf_crop_and_resize). */
static epl_value *extrapolate(onnx_node *n, epl_value *y, int axis, const resize *r)
{
    epl_shape along = { .rank = y ? y->shape.rank - axis : 1, .dim = { r->out } };
    for (int i = 1; i < along.rank; i++)
        along.dim[i] = 1;
    epl_tensor *outside = epl_tensor_new(onnx_context(n), EPL_BOOL, along);
    for (int64_t i = 0; outside && i < r->out; i++) {
        const double x = source_of(r, (double)i);
        epl_tensor_set_i64(outside, i, x < 0 || x > (double)r->in - 1);
    }
    epl_value *mask = outside ? epl_constant(n->g, outside) : NULL;
    epl_tensor_free(outside);
    return y ? epl_where(n->g, mask, onnx_scalar_like(n, y, r->extrapolation), y) : NULL;
}

static epl_value *resize_axis(onnx_node *n, epl_value *x, int axis, const resize *r)
{
    if (!x || (r->in == r->out && r->scale == 1 && strcmp(r->coordinates, "tf_crop_and_resize") != 0))
        return x;
    if (x->shape.rank < 2 && strcmp(r->mode, "nearest") != 0) {
        onnx_unsupported(n, "a tensor of %d axes", x->shape.rank);
        return NULL;
    }
    epl_value *y = strcmp(r->mode, "nearest") == 0 ? gather_axis(n, x, axis, r) : multiply_axis(n, x, axis, r);
    return strcmp(r->coordinates, "tf_crop_and_resize") == 0 ? extrapolate(n, y, axis, r) : y;
}

static bool in_list(const char *word, const char *list)
{
    return *word && epl_glob(list, word);
}

static bool resize_modes(onnx_node *n, const resize *r)
{
    if (!in_list(r->mode, "nearest,linear,cubic"))
        return onnx_unsupported(n, "mode '%s'", r->mode);
    if (!in_list(r->coordinates, "half_pixel,half_pixel_symmetric,pytorch_half_pixel,align_corners,asymmetric,tf_crop_and_resize,"
                                 "tf_half_pixel_for_nn"))
        return onnx_unsupported(n, "coordinates '%s'", r->coordinates);
    if (!in_list(r->nearest, "floor,ceil,round_prefer_floor,round_prefer_ceil"))
        return onnx_unsupported(n, "nearest_mode '%s'", r->nearest);
    return true;
}

/* The axes, and for each the size or the scale. */
static bool resize_sizes(onnx_node *n, const epl_value *x, int i_scales, int i_sizes, int axes[], int *count, double *scales, int64_t *sizes)
{
    int64_t listed[EPL_MAX_RANK];
    *count = onnx_ints(n, "axes", listed, EPL_MAX_RANK);
    const bool all = *count < 0;
    *count = all ? x->shape.rank : *count;
    for (int i = 0; i < *count; i++)
        if (!onnx_axis(n, all ? i : listed[i], x->shape.rank, &axes[i]))
            return false;
    const epl_tensor *s = onnx_has(n, i_scales) ? onnx_known(n, i_scales, "the scales") : NULL;
    const bool by_scale = s && epl_tensor_count(s) > 0;
    const epl_tensor *z = !by_scale && onnx_has(n, i_sizes) ? onnx_known(n, i_sizes, "the sizes") : NULL;
    const epl_tensor *given = by_scale ? s : z;
    if (epl_error_code(onnx_context(n)) != EPL_OK || !given || epl_tensor_count(given) != *count)
        return onnx_fail(n, EPL_ERR_SHAPE, "neither scales nor sizes for %d axes", *count);
    for (int i = 0; i < *count; i++) {
        const double in = (double)x->shape.dim[axes[i]];
        scales[i] = by_scale ? epl_tensor_get(s, i) : (double)epl_tensor_get_i64(z, i) / in;
        sizes[i] = by_scale ? (int64_t)floor(in * scales[i]) : epl_tensor_get_i64(z, i);
        if (!(scales[i] > 0) || sizes[i] < 1 || sizes[i] > INT32_MAX || x->shape.dim[axes[i]] > INT32_MAX)
            return onnx_unsupported(n, "axis %d becomes %lld elements", axes[i], (long long)sizes[i]);
    }
    return true;
}

/* Sizes of an axis become limits: one scale for all, the least or the largest that they ask for. */
static bool keep_aspect_ratio(onnx_node *n, const epl_value *x, const int axes[], int count, double *scales, int64_t *sizes)
{
    const char *policy = onnx_text(n, "keep_aspect_ratio_policy", "stretch");
    const bool  least = strcmp(policy, "not_larger") == 0;
    if (strcmp(policy, "stretch") == 0 || onnx_known_if(n, 2, true))
        return true; // it says nothing about scales
    if (!least && strcmp(policy, "not_smaller") != 0)
        return onnx_unsupported(n, "keep_aspect_ratio_policy '%s'", policy);
    double scale = scales[0];
    for (int i = 1; i < count; i++)
        scale = least == (scales[i] < scale) ? scales[i] : scale;
    for (int i = 0; i < count; i++) {
        scales[i] = scale;
        sizes[i] = (int64_t)floor(scale * (double)x->shape.dim[axes[i]] + 0.5);
        if (sizes[i] < 1 || sizes[i] > INT32_MAX)
            return onnx_unsupported(n, "axis %d becomes %lld elements", axes[i], (long long)sizes[i]);
    }
    return true;
}

static bool import_resize(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    const bool modern = n->opset >= 11;
    resize     r = { .mode = onnx_text(n, "mode", "nearest"),
                     .coordinates = modern ? onnx_text(n, "coordinate_transformation_mode", "half_pixel") : "asymmetric",
                     .nearest = modern ? onnx_text(n, "nearest_mode", "round_prefer_floor") : "floor",
                     .cubic = onnx_real(n, "cubic_coeff_a", -0.75), .extrapolation = onnx_real(n, "extrapolation_value", 0),
                     .exclude_outside = onnx_int(n, "exclude_outside", 0) != 0, .antialias = onnx_int(n, "antialias", 0) != 0 };
    int     axes[EPL_MAX_RANK], count;
    double  scales[EPL_MAX_RANK];
    int64_t sizes[EPL_MAX_RANK];
    if (!x || !resize_modes(n, &r) || !resize_sizes(n, x, modern ? 2 : 1, modern ? 3 : -1, axes, &count, scales, sizes))
        return false;
    if (!keep_aspect_ratio(n, x, axes, count, scales, sizes))
        return false;
    const bool        crop = strcmp(r.coordinates, "tf_crop_and_resize") == 0;
    const epl_tensor *roi = modern && crop ? onnx_known(n, 1, "the region of interest") : NULL;
    if (modern && !crop)
        (void)onnx_has(n, 1);
    if (crop && (!roi || epl_tensor_count(roi) != 2 * count))
        return onnx_fail(n, EPL_ERR_SHAPE, "the region of interest should have %d numbers", 2 * count);
    epl_value *y = x;
    for (int i = 0; i < count; i++) {
        r.in = x->shape.dim[axes[i]];
        r.out = sizes[i];
        r.scale = scales[i];
        r.start = roi ? epl_tensor_get(roi, i) : 0;
        r.end = roi ? epl_tensor_get(roi, count + i) : 1;
        y = resize_axis(n, y, axes[i], &r);
    }
    return onnx_set(n, y == x ? epl_identity(n->g, x) : y);
}

/* Before Resize: scales as an attribute (opset 7) or input (opset 9), coordinates from the origin. */
static bool import_upsample(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    double     scales[EPL_MAX_RANK];
    int        count = n->opset < 9 ? onnx_reals(n, "scales", scales, EPL_MAX_RANK) : 0;
    const epl_tensor *s = n->opset >= 9 ? onnx_known(n, 1, "the scales") : NULL;
    for (int i = 0; s && i < epl_tensor_count(s) && i < EPL_MAX_RANK; i++)
        scales[count++] = epl_tensor_get(s, i);
    if (!x || count != x->shape.rank)
        return onnx_fail(n, EPL_ERR_SHAPE, "%d scales for %d axes", count, x ? x->shape.rank : 0);
    resize r = { .mode = onnx_text(n, "mode", "nearest"), .coordinates = "asymmetric", .nearest = "floor" };
    if (!resize_modes(n, &r))
        return false;
    epl_value *y = x;
    for (int i = 0; i < count; i++) {
        r.in = x->shape.dim[i];
        r.scale = scales[i];
        r.out = (int64_t)floor((double)r.in * r.scale);
        if (!(r.scale >= 1) || r.out > INT32_MAX)
            return onnx_unsupported(n, "a scale of %g", r.scale);
        y = resize_axis(n, y, i, &r);
    }
    return onnx_set(n, y == x ? epl_identity(n->g, x) : y);
}

const onnx_op onnx_ops_spatial[] = {
    { "Conv", import_conv, NULL }, { "ConvTranspose", import_conv_transpose, NULL }, { "MaxPool", import_pool, NULL },
    { "AveragePool", import_pool, NULL }, { "LpPool", import_pool, NULL }, { "GlobalMaxPool", import_global_pool, NULL },
    { "GlobalAveragePool", import_global_pool, NULL }, { "GlobalLpPool", import_global_pool, NULL },
    { "Resize", import_resize, NULL }, { "Upsample", import_upsample, NULL }, { NULL, NULL, NULL },
};
