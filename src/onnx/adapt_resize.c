/* adapt_resize: Resize, and Upsample before it. Up to three axes of real numbers at a time are our Resize; where
 * they are the spatial ones it stands between the usual transposes, other axes are brought to their place. Integers,
 * which only move (nearest), are gathered. */
#include "onnx/adapt.h"
#include "ops/resize_taps.h"

#include <math.h>
#include <string.h>

/* What is asked, axis by axis in the order of x. */
typedef struct resize {
    epl_resize_opts o;
    int64_t size[EPL_MAX_RANK];
    double  scale[EPL_MAX_RANK], begin[EPL_MAX_RANK], end[EPL_MAX_RANK];
    bool    sized;  /* by sizes: the scales are their ratios */
    bool    scaled; /* the scales are given, or one for all axes */
} resize;

static bool changes(const epl_value *x, const resize *r, int axis)
{
    return x->shape.dim[axis] != r->size[axis] || r->scale[axis] != 1 || r->begin[axis] != 0 || r->end[axis] != 1;
}

/* ---- real numbers ---- */

/* Resize of [N, S..., C], whose spatial axes are these axes of the original. */
static epl_value *resample(onnx_node *n, epl_value *x, const int *axes, int count, const resize *r)
{
    epl_resize_opts o = r->o;
    for (int i = 0; i < count; i++) {
        if (r->sized)
            o.size[i] = r->size[axes[i]];
        if (r->scaled)
            o.scale[i] = r->scale[axes[i]];
        o.crop_begin[i] = r->begin[axes[i]];
        o.crop_end[i]   = r->end[axes[i]];
    }
    return epl_resample(n->g, x, o);
}

/* Images whose spatial axes alone change. */
static epl_value *resize_images(onnx_node *n, epl_value *x, const resize *r)
{
    int axes[3];
    for (int i = 2; i < x->shape.rank; i++)
        axes[i - 2] = i;
    return onnx_to_channels_first(n, resample(n, onnx_to_channels_last(n, x), axes, x->shape.rank - 2, r));
}

/* Any axes: [others, axes..., 1] and back. Of the others the first keeps its name, if it has one. */
static epl_value *resize_axes(onnx_node *n, epl_value *x, const int *axes, int count, const resize *r)
{
    const int rank = x->shape.rank, others = rank - count;
    epl_shape perm = { .rank = rank }, flat = { .rank = count + 2, .dim = { -1 } }, back = { .rank = rank }, inverse = { .rank = rank };
    int       k = 0;
    for (int i = 0; i < rank; i++) {
        bool resized = false;
        for (int j = 0; j < count; j++)
            resized = resized || axes[j] == i;
        if (!resized)
            perm.dim[k++] = i;
    }
    for (int j = 0; j < count; j++) {
        perm.dim[others + j] = axes[j];
        flat.dim[1 + j]      = x->shape.dim[axes[j]];
    }
    flat.dim[count + 1] = 1;
    for (int i = 0; i < rank; i++) {
        back.dim[i]               = i == 0 && others ? -1 : i < others ? x->shape.dim[perm.dim[i]] : r->size[perm.dim[i]];
        inverse.dim[perm.dim[i]] = i;
    }
    epl_value *y = resample(n, epl_reshape(n->g, epl_permute(n->g, x, perm), flat), axes, count, r);
    return epl_permute(n->g, epl_reshape(n->g, y, back), inverse);
}

/* ---- integers ---- */
static epl_value *gather_axis(onnx_node *n, epl_value *x, int axis, const resize *r)
{
    const epl_resize_axis a = { .in = x->shape.dim[axis], .out = r->size[axis], .mode = EPL_RESIZE_NEAREST, .coordinates = r->o.coordinates,
                                .nearest = r->o.nearest, .scale = r->scale[axis], .begin = r->begin[axis], .end = r->end[axis] };
    int64_t   *index = epl_alloc_array(onnx_context(n), (size_t)a.out + 1, sizeof *index);
    epl_shape  along = { .rank = x->shape.rank - axis, .dim = { a.out } };
    for (int i = 1; i < along.rank; i++)
        along.dim[i] = 1;
    epl_tensor *outside = epl_tensor_new(onnx_context(n), EPL_BOOL, along);
    bool        any = false;
    for (int64_t i = 0; index && outside && i < a.out; i++) {
        const epl_resize_taps t = epl_resize_taps_of(&a, i);
        epl_resize_weight(&a, &t, 0, &index[i]);
        epl_tensor_set_i64(outside, i, t.count == 0);
        any = any || t.count == 0;
    }
    epl_value *y = index ? epl_gather(n->g, x, epl_constant_i64(n->g, (int)a.out, index), axis) : NULL;
    if (any && y)
        y = epl_where(n->g, epl_constant(n->g, outside), onnx_scalar_like(n, y, r->o.extrapolation), y);
    epl_tensor_free(outside);
    epl_release(onnx_context(n), index);
    return y;
}

/* ---- the operators ---- */
static bool apply(onnx_node *n, epl_value *x, const resize *r)
{
    const int rank = x->shape.rank;
    int       axes[EPL_MAX_RANK], count = 0;
    for (int i = 0; i < rank; i++)
        if (changes(x, r, i))
            axes[count++] = i;
    const bool real = epl_dtype_is_float(x->dtype), images = rank >= 3 && rank <= 5 && count && axes[0] >= 2;
    if (!real && r->o.mode != EPL_NEAREST)
        return onnx_unsupported(n, "elements of type %s between each other", epl_dtype_name(x->dtype));
    epl_value *y = real && images ? resize_images(n, x, r) : x;
    for (int i = 0; !(real && images) && i < count && y; i += real ? 3 : 1) {
        const int some = count - i < 3 ? count - i : 3;
        y = real ? resize_axes(n, y, axes + i, some, r) : gather_axis(n, y, axes[i], r);
    }
    return onnx_set(n, y == x ? epl_identity(n->g, x) : y);
}

/* The place of a word in "a|b|c". */
static bool choice(onnx_node *n, const char *what, const char *word, const char *const *list, int count, int *out)
{
    for (*out = 0; *out < count; ++*out)
        if (strcmp(word, list[*out]) == 0)
            return true;
    return onnx_unsupported(n, "%s '%s'", what, word);
}

static bool read_modes(onnx_node *n, const char *coordinates, const char *nearest, resize *r)
{
    static const char *const modes[] = { "nearest", "linear", "cubic" }, // in the order of the enumerations in ops.h
        *const places[] = { "half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric",
                            "tf_half_pixel_for_nn", "tf_crop_and_resize" },
        *const roundings[] = { "round_prefer_floor", "round_prefer_ceil", "floor", "ceil" };
    int mode, place, rounding;
    if (!choice(n, "mode", onnx_text(n, "mode", "nearest"), modes, EPL_COUNT(modes), &mode) ||
        !choice(n, "coordinates", coordinates, places, EPL_COUNT(places), &place) ||
        !choice(n, "nearest_mode", nearest, roundings, EPL_COUNT(roundings), &rounding))
        return false;
    const double a = onnx_real(n, "cubic_coeff_a", -0.75);
    r->o = (epl_resize_opts){ .mode = (epl_resize_mode)mode, .coordinates = (epl_coordinates)place, .nearest = (epl_nearest_mode)rounding,
                              .cubic_a = a != 0 ? a : 1e-300, // 0 asks for the default
                              .extrapolation = onnx_real(n, "extrapolation_value", 0),
                              .exclude_outside = onnx_int(n, "exclude_outside", 0) != 0, .antialias = onnx_int(n, "antialias", 0) != 0 };
    return true;
}

static void keep_all(const epl_value *x, resize *r)
{
    for (int i = 0; i < x->shape.rank; i++) {
        r->size[i]  = x->shape.dim[i];
        r->scale[i] = r->end[i] = 1;
    }
}

static bool sizes_are_possible(onnx_node *n, const epl_value *x, const resize *r, const int *axes, int count)
{
    for (int i = 0; i < count; i++)
        if (!(r->scale[axes[i]] > 0) || r->size[axes[i]] < 1 || r->size[axes[i]] > INT32_MAX || x->shape.dim[axes[i]] > INT32_MAX)
            return onnx_unsupported(n, "axis %d becomes %lld elements", axes[i], (long long)r->size[axes[i]]);
    return true;
}

/* Sizes become limits: one scale for all axes, the least or the largest that they ask for. */
static bool keep_aspect_ratio(onnx_node *n, const epl_value *x, const int *axes, int count, resize *r)
{
    const char *policy = onnx_text(n, "keep_aspect_ratio_policy", "stretch");
    const bool  least = strcmp(policy, "not_larger") == 0;
    if (strcmp(policy, "stretch") == 0 || !r->sized || count == 0)
        return true; // it says nothing about scales
    if (!least && strcmp(policy, "not_smaller") != 0)
        return onnx_unsupported(n, "keep_aspect_ratio_policy '%s'", policy);
    double scale = r->scale[axes[0]];
    for (int i = 1; i < count; i++)
        scale = least == (r->scale[axes[i]] < scale) ? r->scale[axes[i]] : scale;
    for (int i = 0; i < count; i++) {
        r->scale[axes[i]] = scale;
        r->size[axes[i]]  = (int64_t)floor(scale * (double)x->shape.dim[axes[i]] + 0.5);
    }
    r->scaled = true;
    return sizes_are_possible(n, x, r, axes, count);
}

/* The axes that are named, or all; for each the size or the scale. */
static bool read_sizes(onnx_node *n, const epl_value *x, int i_scales, int i_sizes, int *axes, int *count, resize *r)
{
    int64_t listed[EPL_MAX_RANK];
    *count = onnx_ints(n, "axes", listed, EPL_MAX_RANK);
    const bool all = *count < 0;
    *count = all ? x->shape.rank : *count;
    for (int i = 0; i < *count; i++)
        if (!onnx_axis(n, all ? i : listed[i], x->shape.rank, &axes[i]))
            return false;
    const epl_tensor *s = onnx_has(n, i_scales) ? onnx_known(n, i_scales, "the scales") : NULL;
    r->scaled = s && epl_tensor_count(s) > 0;
    const epl_tensor *z = !r->scaled && onnx_has(n, i_sizes) ? onnx_known(n, i_sizes, "the sizes") : NULL, *given = r->scaled ? s : z;
    r->sized = !r->scaled;
    if (epl_error_code(onnx_context(n)) != EPL_OK || !given || epl_tensor_count(given) != *count)
        return onnx_fail(n, EPL_ERR_SHAPE, "neither scales nor sizes for %d axes", *count);
    for (int i = 0; i < *count; i++) {
        const double in = (double)x->shape.dim[axes[i]];
        r->scale[axes[i]] = r->scaled ? epl_tensor_get(s, i) : (double)epl_tensor_get_i64(z, i) / in;
        const double size = floor(in * r->scale[axes[i]]);
        r->size[axes[i]]  = !r->scaled ? epl_tensor_get_i64(z, i) : size >= 0 && size <= INT32_MAX ? (int64_t)size : -1;
    }
    return sizes_are_possible(n, x, r, axes, *count);
}

static bool import_resize(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    const bool modern = n->opset >= 11;
    resize     r = { 0 };
    int        axes[EPL_MAX_RANK], count;
    if (!x || !read_modes(n, modern ? onnx_text(n, "coordinate_transformation_mode", "half_pixel") : "asymmetric",
                          modern ? onnx_text(n, "nearest_mode", "round_prefer_floor") : "floor", &r))
        return false;
    keep_all(x, &r);
    if (!read_sizes(n, x, modern ? 2 : 1, modern ? 3 : -1, axes, &count, &r) || !keep_aspect_ratio(n, x, axes, count, &r))
        return false;
    const bool        crop = r.o.coordinates == EPL_TF_CROP_AND_RESIZE;
    const epl_tensor *roi = modern && crop ? onnx_known(n, 1, "the region of interest") : NULL;
    if (modern && !crop)
        (void)onnx_has(n, 1);
    if (crop && (!roi || epl_tensor_count(roi) != 2 * count))
        return onnx_fail(n, EPL_ERR_SHAPE, "the region of interest should have %d numbers", 2 * count);
    for (int i = 0; crop && i < count; i++) {
        r.begin[axes[i]] = epl_tensor_get(roi, i);
        r.end[axes[i]]   = epl_tensor_get(roi, count + i);
    }
    return apply(n, x, &r);
}

/* Before Resize: scales as an attribute (opset 7) or input (opset 9), coordinates from the origin. */
static bool import_upsample(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    double     scales[EPL_MAX_RANK];
    int        count = n->opset < 9 ? onnx_reals(n, "scales", scales, EPL_MAX_RANK) : 0;
    resize     r = { 0 };
    const epl_tensor *s = n->opset >= 9 ? onnx_known(n, 1, "the scales") : NULL;
    for (int i = 0; s && i < epl_tensor_count(s) && i < EPL_MAX_RANK; i++)
        scales[count++] = epl_tensor_get(s, i);
    if (!x || count != x->shape.rank)
        return onnx_fail(n, EPL_ERR_SHAPE, "%d scales for %d axes", count, x ? x->shape.rank : 0);
    if (!read_modes(n, "asymmetric", "floor", &r))
        return false;
    keep_all(x, &r);
    r.scaled = true;
    for (int i = 0; i < count; i++) {
        const double size = floor((double)x->shape.dim[i] * scales[i]);
        if (!(scales[i] >= 1) || !(size >= 1 && size <= INT32_MAX))
            return onnx_unsupported(n, "a scale of %g", scales[i]);
        r.scale[i] = scales[i];
        r.size[i]  = (int64_t)size;
    }
    return apply(n, x, &r);
}

const onnx_op onnx_ops_resize[] = {
    { "Resize", import_resize, NULL }, { "Upsample", import_upsample, NULL }, { NULL, NULL, NULL },
};
