/* resize: another resolution - Resize (nearest, linear, cubic) with its gradient, and the builders of depth-to-space.
 *
 * Resize works on the spatial axes of x [N, S..., C], each on its own: an output takes a weighted sum of a few
 * neighbours of the place that it comes from (resize_taps.h). It is linear, but for what is extrapolated, so its
 * gradient is the transposed map and the two are each other's gradient. Left out of ONNX's operator: resizing the
 * batch or the channels. */
#include "ops/dense.h"

enum { SCALES, MODE, COORDINATES, NEAREST, CUBIC_A, EXCLUDE, ANTIALIAS, ROI, EXTRAPOLATION, SHAPE };

/* begin reference */
#include "ops/resize_taps.h"

static inline void epl_resize_axes(const epl_view *x, const epl_view *y, const epl_ref_attr *attr, epl_resize_axis axis[3])
{
    const int64_t spatial = x->rank - 2;
    for (int64_t i = 0; i < 3; i++) {
        const int64_t   k = i - (3 - spatial); // which spatial axis, negative for the missing ones
        const int64_t   in = k < 0 ? 1 : x->dim[1 + k], out = k < 0 ? 1 : y->dim[1 + k];
        const double    scale = k >= 0 && attr[0].n ? attr[0].reals[k] : (double)out / (double)in;
        epl_resize_axis a = { in, out, k < 0 ? 0 : attr[1].i, k < 0 ? 0 : attr[2].i, k < 0 ? 0 : attr[3].i, attr[5].i, attr[6].i,
                              scale, attr[4].r, 0, 1 };
        if (k >= 0 && attr[7].n) {
            a.begin = attr[7].reals[k];
            a.end   = attr[7].reals[spatial + k];
        }
        axis[i] = a;
    }
}

/* small is the view with Resize's input shape, large the one with its output shape; whichever is `out` is computed. */
static inline void epl_resize_move(const epl_view *small, const epl_view *large, const epl_view *out, const epl_ref_attr *attr)
{
    epl_resize_axis a[3];
    epl_resize_axes(small, large, attr, a);
    const int64_t channels = small->dim[small->rank - 1], in = a[0].in * a[1].in * a[2].in, all = a[0].out * a[1].out * a[2].out;
    memset(out->data, 0, (size_t)(epl_view_count(out) * epl_ref_bytes(out->dtype)));
    for (int64_t row = 0; row < small->dim[0] * all; row++) {
        const int64_t   o = row % all;
        epl_resize_taps t[3] = { epl_resize_taps_of(&a[0], o / (a[1].out * a[2].out)),
                                 epl_resize_taps_of(&a[1], o / a[2].out % a[1].out), epl_resize_taps_of(&a[2], o % a[2].out) };
        const bool      outside = t[0].count * t[1].count * t[2].count == 0;
        for (int64_t c = 0; c < channels; c++) {
            double sum = outside ? attr[8].r : 0;
            for (int64_t k = 0; k < t[0].count * t[1].count * t[2].count; k++) {
                int64_t      z, y, x;
                const double w = epl_resize_weight(&a[0], &t[0], k / (t[1].count * t[2].count), &z) *
                                 epl_resize_weight(&a[1], &t[1], k / t[2].count % t[1].count, &y) *
                                 epl_resize_weight(&a[2], &t[2], k % t[2].count, &x);
                const int64_t at = (row / all * in + (z * a[1].in + y) * a[2].in + x) * channels + c;
                if (out == large)
                    sum += w * epl_ref_get(small, at);
                else
                    epl_ref_set(out, at, epl_ref_get(out, at) + w * epl_ref_get(large, row * channels + c));
            }
            if (out == large)
                epl_ref_set(out, row * channels + c, sum);
        }
    }
}

static void epl_ref_resize(const epl_ref_call *c) { epl_resize_move(&c->in[0], &c->out[0], &c->out[0], c->attr); }
static void epl_ref_resize_grad(const epl_ref_call *c) { epl_resize_move(&c->out[0], &c->in[0], &c->out[0], c->attr); }
/* end reference */

/* ---- Resize(x, like): the spatial sizes are those of `shape` or like, or floor(S scale) -------------------------- */
static bool lists_fit(const epl_node *n, int spatial)
{
    const epl_attr *scales = &n->attrs[SCALES], *roi = &n->attrs[ROI];
    const bool      crops = n->attrs[COORDINATES].i == EPL_FROM_TF_CROP;
    if (scales->n && scales->n != spatial)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "scales has %d entries, but there are %d spatial axes", scales->n, spatial);
    for (int i = 0; i < scales->n; i++)
        if (!(scales->reals[i] > 0 && scales->reals[i] < 65536))
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "the scale %g must be positive and below 65536", scales->reals[i]);
    return roi->n == (crops ? 2 * spatial : 0) ||
           epl_node_fail(n, EPL_ERR_ARGUMENT, "roi has %d entries; %d are needed", roi->n, crops ? 2 * spatial : 0);
}

/* Is this the size that the scale means, rounded down or to the nearest? */
static bool size_fits(const epl_node *n, int axis, int64_t in, int64_t out)
{
    const double product = (double)in * n->attrs[SCALES].reals[axis - 1];
    return (double)out == floor(product) || (double)out == floor(product + 0.5) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "axis %d of %lld elements at scale %g does not become one of %lld", axis, (long long)in,
                         n->attrs[SCALES].reals[axis - 1], (long long)out);
}

/* What Resize makes of x where it has scales. */
static bool scaled_shape(const epl_node *n, epl_shape x, epl_shape *y)
{
    const epl_attr *scales = &n->attrs[SCALES];
    *y = x;
    for (int i = 1; i < x.rank - 1; i++) {
        y->dim[i] = (int64_t)floor((double)x.dim[i] * scales->reals[i - 1]);
        if (y->dim[i] < 1)
            return epl_node_fail(n, EPL_ERR_SHAPE, "axis %d of %lld elements vanishes at scale %g", i, (long long)x.dim[i],
                                 scales->reals[i - 1]);
    }
    return true;
}

static bool spatial_rank(const epl_node *n)
{
    const int rank = n->inputs[0]->shape.rank;
    return epl_check_floats(n, 1) && ((rank >= 3 && rank <= 5) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "the input has rank %d, but [N, spatial..., C] is needed", rank));
}

/* The shape wanted of the result, with the input's batch and channels. */
static bool wanted_size(const epl_node *n, epl_shape *to)
{
    const epl_shape x = n->inputs[0]->shape;
    if (!epl_wanted_shape(n, 1, SHAPE, x, to))
        return false;
    to->dim[0] = x.dim[0];
    to->dim[to->rank - 1] = x.dim[x.rank - 1];
    for (int i = 1; i < to->rank - 1; i++)
        if (to->dim[i] < 1)
            return epl_node_fail(n, EPL_ERR_SHAPE, "%lld elements are wanted along axis %d", (long long)to->dim[i], i);
    return true;
}

static bool resize_infer(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    const bool      sized = n->attrs[SHAPE].n || epl_node_input(n, 1), scaled = n->attrs[SCALES].n > 0;
    epl_shape       y;
    if (!spatial_rank(n) || !lists_fit(n, x.rank - 2) || !(scaled && !sized ? scaled_shape(n, x, &y) : wanted_size(n, &y)))
        return false;
    for (int i = 1; scaled && sized && i < x.rank - 1; i++)
        if (!size_fits(n, i, x.dim[i], y.dim[i]))
            return false;
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static bool resize_grad_infer(epl_node *n)
{
    const epl_shape dy = n->inputs[0]->shape;
    epl_shape       x;
    if (!spatial_rank(n) || !lists_fit(n, dy.rank - 2) || !wanted_size(n, &x))
        return false;
    for (int i = 1; n->attrs[SCALES].n && i < dy.rank - 1; i++)
        if (!size_fits(n, i, x.dim[i], dy.dim[i]))
            return false;
    return epl_set_type(n, 0, n->inputs[0]->dtype, x);
}

static void resize_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    epl_attrs_of(n, SHAPE, a);
    a[EXTRAPOLATION] = EPL_A_R(0);
    dx[0] = epl_apply(g, &epl_op_resize_grad, EPL_IN(dy[0], n->inputs[0]), a);
}

static void resize_grad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_attr a[EPL_MAX_ATTRS];
    dx[0] = epl_apply(g, &epl_op_resize, EPL_IN(dy[0], n->inputs[0]), epl_attrs_of(n, SHAPE, a));
}

static epl_cost resize_cost(const epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    const int64_t   large = epl_shape_count(x) > epl_shape_count(y) ? epl_shape_count(x) : epl_shape_count(y);
    return (epl_cost){ .flops = (double)large * pow(n->attrs[MODE].i ? 2.0 * (double)n->attrs[MODE].i : 1, x.rank - 2) };
}

/* Mostly few channels; sometimes more than a vector has lanes. */
static epl_shape draw_images(epl_rng *r)
{
    epl_shape x = epl_pick_shape(r, epl_pick(r, 3, 5), 1, 3);
    if (epl_pick(r, 0, 2) == 0)
        x.dim[x.rank - 1] = epl_pick(r, 4, x.rank == 3 ? 90 : 20);
    return x;
}

/* Attributes but SCALES, EXTRAPOLATION and SHAPE. */
static void draw_attrs(epl_rng *r, int spatial, epl_attr a[EPL_MAX_ATTRS])
{
    static const double crop[] = { 0.1, -0.2, 0.25, 0.9, 1.3, 0.5 };
    memset(a, 0, EPL_MAX_ATTRS * sizeof *a);
    a[MODE]        = EPL_A_I(epl_pick(r, 0, 2));
    a[COORDINATES] = EPL_A_I(epl_pick(r, 0, 6));
    if (a[COORDINATES].i == EPL_FROM_TF_CROP)
        a[ROI] = EPL_A_REALS(2 * spatial, crop);
    a[NEAREST]     = EPL_A_I(epl_pick(r, 0, 3));
    a[EXCLUDE]     = EPL_A_I(epl_pick(r, 0, 1));
    a[ANTIALIAS]   = EPL_A_I(epl_pick(r, 0, 1));
}

static epl_node *resize_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = draw_images(r), to = epl_pick_shape(r, x.rank, 1, 4);
    const double    scales[3] = { 1 + epl_rng_uniform_f64(r), 2, 1.5 };
    epl_attr        a[EPL_MAX_ATTRS];
    draw_attrs(r, x.rank - 2, a);
    if (epl_pick(r, 0, 1))
        a[SCALES] = EPL_A_REALS(x.rank - 2, scales);
    else
        a[SHAPE] = EPL_A_INTS(to.rank, to.dim);
    a[EXTRAPOLATION] = EPL_A_R(0.5);
    return epl_node_add(g, &epl_op_resize, EPL_IN(epl_sample_input(g, dtype, x, -1, 1, 0)), a, 0, NULL);
}

static epl_node *resize_grad_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = draw_images(r), to = epl_pick_shape(r, x.rank, 1, 4);
    epl_attr        a[EPL_MAX_ATTRS];
    draw_attrs(r, x.rank - 2, a);
    a[SHAPE] = EPL_A_INTS(to.rank, to.dim);
    return epl_node_add(g, &epl_op_resize_grad, EPL_IN(epl_sample_input(g, dtype, x, -1, 1, 0)), a, 0, NULL);
}

#define RESIZE_ATTRS                                                                                                   \
    {                                                                                                                  \
        { "scales", EPL_ATTR_REALS }, { "mode", EPL_ATTR_CHOICE, .choices = "nearest|linear|cubic" },                  \
            { "coordinate_transformation_mode", EPL_ATTR_CHOICE,                                                       \
              .choices = "half_pixel|pytorch_half_pixel|asymmetric|align_corners|half_pixel_symmetric|tf_half_pixel_"  \
                         "for_nn|tf_crop_and_resize" },                                                                \
            { "nearest_mode", EPL_ATTR_CHOICE, .choices = "round_prefer_floor|round_prefer_ceil|floor|ceil" },         \
            { "cubic_coeff_a", EPL_ATTR_REAL, .def_r = -0.75 }, { "exclude_outside", EPL_ATTR_BOOL },                  \
            { "antialias", EPL_ATTR_BOOL }, { "roi", EPL_ATTR_REALS }, { "extrapolation_value", EPL_ATTR_REAL },       \
        {                                                                                                              \
            "shape", EPL_ATTR_INTS                                                                                     \
        }                                                                                                              \
    }

const epl_op epl_op_resize = {
    .name = "Resize", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2, .attrs = RESIZE_ATTRS,
    .infer = resize_infer, .grad = resize_grad, .cost = resize_cost, EPL_REF(epl_ref_resize), .sample = resize_sample,
};

/* ResizeGrad(dy, like): the result has x's shape, which is like's or the attribute's. */
const epl_op epl_op_resize_grad = {
    .name = "ResizeGrad", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2, .attrs = RESIZE_ATTRS,
    .infer = resize_grad_infer, .grad = resize_grad_grad, .cost = resize_cost, EPL_REF(epl_ref_resize_grad),
    .sample = resize_grad_sample,
};

epl_value *epl_resample(epl_graph *g, epl_value *x, epl_resize_opts o)
{
    epl_attr a[EPL_MAX_ATTRS] = { [MODE] = EPL_A_I(o.mode), [COORDINATES] = EPL_A_I(o.coordinates),
                                  [NEAREST] = EPL_A_I(o.nearest), [EXCLUDE] = EPL_A_I(o.exclude_outside),
                                  [ANTIALIAS] = EPL_A_I(o.antialias), [EXTRAPOLATION] = EPL_A_R(o.extrapolation) };
    const int spatial = x ? x->shape.rank - 2 : 0;
    double    scales[3], roi[6];
    epl_shape to = { .rank = spatial + 2 };
    const bool good = spatial >= 1 && spatial <= 3;
    for (int i = 0; i < 3; i++) {
        scales[i] = o.scale[i] ? o.scale[i] : i ? scales[i - 1] : 0;
        to.dim[i + 1] = o.size[i] ? o.size[i] : i ? to.dim[i] : 0;
    }
    for (int i = 0; good && i < spatial; i++) {
        roi[i]           = o.crop_begin[i];
        roi[spatial + i] = o.crop_end[i];
    }
    if (o.cubic_a)
        a[CUBIC_A] = EPL_A_R(o.cubic_a);
    if (x && (o.like ? o.size[0] != 0 : !o.scale[0] && !o.size[0]))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "resample: a scale, or one of size and like must be given");
    if (good && o.coordinates == EPL_TF_CROP_AND_RESIZE)
        a[ROI] = EPL_A_REALS(2 * spatial, roi);
    if (good && o.scale[0])
        a[SCALES] = EPL_A_REALS(spatial, scales);
    if (good)
        to.dim[spatial + 1] = EPL_KEEP;
    if (good && o.size[0])
        a[SHAPE] = EPL_A_INTS(to.rank, to.dim);
    return epl_apply(g, &epl_op_resize, EPL_IN(x, o.like), a);
}

/* ---- depth to space: blocks of channels become blocks of pixels -------------------------------------------------- */
static bool block_fits(epl_graph *g, const char *what, epl_value *x, int64_t block, int64_t divided)
{
    if (x && (x->shape.rank != 4 || block < 1 || divided % block))
        epl_graph_fail(g, EPL_ERR_SHAPE, "%s: rank %d and %lld elements, but [N, H, W, C] divisible by %lld are needed", what,
                       x->shape.rank, (long long)divided, (long long)block);
    return x && !epl_graph_failed(g);
}

epl_value *epl_depth_to_space(epl_graph *g, epl_value *x, int block, bool channels_first)
{
    const int64_t b = block, c = x ? epl_channels(x) / (b > 0 ? b * b : 1) : 0;
    if (!block_fits(g, "depth_to_space", x, b * b, x ? epl_channels(x) : 0))
        return NULL;
    epl_value *parts = channels_first ? epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, EPL_KEEP, EPL_KEEP, c, b, b))
                                      : epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, EPL_KEEP, EPL_KEEP, b, b, c));
    parts = epl_permute(g, parts, channels_first ? EPL_SHAPE(0, 1, 4, 2, 5, 3) : EPL_SHAPE(0, 1, 3, 2, 4, 5));
    return epl_reshape(g, parts, EPL_SHAPE(EPL_KEEP, -1, epl_dim(x, 2) * b, c));
}

epl_value *epl_space_to_depth(epl_graph *g, epl_value *x, int block)
{
    const int64_t b = block;
    if (!block_fits(g, "space_to_depth", x, b, x && x->shape.rank == 4 ? epl_dim(x, 1) : 0) ||
        !block_fits(g, "space_to_depth", x, b, epl_dim(x, 2)))
        return NULL;
    epl_value *parts = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, epl_dim(x, 1) / b, b, epl_dim(x, 2) / b, b, epl_channels(x)));
    return epl_reshape(g, epl_permute(g, parts, EPL_SHAPE(0, 1, 3, 2, 4, 5)),
                       EPL_SHAPE(EPL_KEEP, EPL_KEEP, EPL_KEEP, b * b * epl_channels(x)));
}
