/* lower_pool: pooling and resizing on their kernels (kernels/bandwidth.h). */
#include "program/lower.h"

static int64_t entry(const epl_node *n, const char *list, int i, int64_t otherwise)
{
    const int64_t *x;
    return i < epl_attr_ints(n, list, &x) ? x[i] : otherwise;
}

/* x [N, spatial..., C], y the pooled; missing leading axes have size 1. */
static epl_pool_params window(const epl_node *n, epl_shape x, epl_shape y, int64_t kind)
{
    const int spatial = x.rank - 2;
    epl_pool_params p = { .n = x.dim[0], .c = x.dim[x.rank - 1], .kind = kind };
    int64_t *const size[] = { &p.d, &p.h, &p.w }, *const out[] = { &p.od, &p.oh, &p.ow }, *const kernel[] = { &p.kd, &p.kh, &p.kw };
    int64_t *const stride[] = { &p.sd, &p.sh, &p.sw }, *const dilation[] = { &p.dd, &p.dh, &p.dw };
    int64_t *const begin[] = { &p.pd, &p.ph, &p.pw }, *const end[] = { &p.ed, &p.eh, &p.ew };
    for (int i = 0; i < 3; i++) {
        const int axis = i - (3 - spatial);
        *size[i] = *out[i] = *kernel[i] = *stride[i] = *dilation[i] = 1;
        if (axis < 0)
            continue;
        *size[i]     = x.dim[1 + axis];
        *out[i]      = y.dim[1 + axis];
        *kernel[i]   = entry(n, "kernel_shape", axis, 1);
        *stride[i]   = entry(n, "strides", axis, 1);
        *dilation[i] = entry(n, "dilations", axis, 1);
        *begin[i]    = entry(n, "pads", axis, 0);
        *end[i]      = entry(n, "pads", axis + spatial, 0);
    }
    return p;
}

static int64_t mean_kind(const epl_node *n)
{
    return epl_attr_i(n, "sum") ? EPL_POOL_SUM : epl_attr_i(n, "count_include_pad") ? EPL_POOL_MEAN_PADDED : EPL_POOL_MEAN;
}

static bool add(epl_block *b, const epl_node *n, const char *kernel, epl_pool_params p, int x, int dy)
{
    const int out = epl_buffer_of(b, n->outputs[0]), in[2] = { x, dy };
    return epl_kernel_add(b, n, kernel, &p, sizeof p, 2, in, 1, &out) != NULL;
}

static bool fits(const epl_node *n, const char **why)
{
    if (n->inputs[0]->shape.rank > 5) {
        *why = "fast pooling has up to three spatial axes";
        return false;
    }
    return epl_lowers_f32(n, why);
}

bool epl_lower_pool(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    return fits(n, why) && add(b, n, "pool", window(n, x, y, EPL_IS(n, max_pool) ? EPL_POOL_MAX : mean_kind(n)),
                               epl_buffer_of(b, n->inputs[0]), -1);
}

bool epl_lower_max_pool_grad(epl_block *b, const epl_node *n, const char **why) /* x, y, dy; the kernel finds y again */
{
    return fits(n, why) && add(b, n, "pool_back", window(n, n->inputs[0]->shape, n->inputs[1]->shape, EPL_POOL_MAX),
                               epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->inputs[2]));
}

bool epl_lower_average_pool_grad(epl_block *b, const epl_node *n, const char **why) /* dy */
{
    return fits(n, why) && add(b, n, "pool_back", window(n, n->outputs[0]->shape, n->inputs[0]->shape, mean_kind(n)), -1,
                               epl_buffer_of(b, n->inputs[0]));
}

/* Adaptive windows are plain ones where the sizes divide. */
static bool adaptive(epl_block *b, const epl_node *n, epl_shape fine, epl_shape coarse, bool back, const char **why)
{
    epl_pool_params p = { .n = fine.dim[0], .c = fine.dim[fine.rank - 1], .kind = EPL_POOL_MEAN };
    int64_t *const size[] = { &p.d, &p.h, &p.w }, *const out[] = { &p.od, &p.oh, &p.ow }, *const kernel[] = { &p.kd, &p.kh, &p.kw };
    int64_t *const stride[] = { &p.sd, &p.sh, &p.sw }, *const dilation[] = { &p.dd, &p.dh, &p.dw };
    if (!fits(n, why))
        return false;
    for (int i = 0; i < 3; i++) {
        const int axis = i - (3 - (fine.rank - 2));
        *size[i] = axis < 0 ? 1 : fine.dim[1 + axis];
        *out[i]  = axis < 0 ? 1 : coarse.dim[1 + axis];
        if (*size[i] % *out[i]) {
            *why = "the windows of this adaptive pool have different sizes";
            return false;
        }
        *kernel[i] = *stride[i] = *size[i] / *out[i];
        *dilation[i] = 1;
    }
    const int in = epl_buffer_of(b, n->inputs[0]);
    return add(b, n, back ? "pool_back" : "pool", p, back ? -1 : in, back ? in : -1);
}

bool epl_lower_adaptive_average_pool(epl_block *b, const epl_node *n, const char **why)
{
    return adaptive(b, n, n->inputs[0]->shape, n->outputs[0]->shape, false, why);
}

bool epl_lower_adaptive_average_pool_grad(epl_block *b, const epl_node *n, const char **why)
{
    return adaptive(b, n, n->outputs[0]->shape, n->inputs[0]->shape, true, why);
}

/* The map from x to y, of Resize or of its gradient, whose result has x's shape. */
static epl_resample_params resampling(const epl_node *n, epl_shape x, epl_shape y)
{
    const int       spatial = x.rank - 2;
    const epl_attr *scales = &n->attrs[epl_op_attr_index(n->op, "scales")], *roi = &n->attrs[epl_op_attr_index(n->op, "roi")];
    epl_resample_params p = { .n = x.dim[0], .c = x.dim[x.rank - 1], .nearest = epl_attr_i(n, "nearest_mode"),
                              .exclude = epl_attr_i(n, "exclude_outside"), .antialias = epl_attr_i(n, "antialias"),
                              .cubic_a = epl_attr_r(n, "cubic_coeff_a"), .extrapolation = epl_attr_r(n, "extrapolation_value") };
    for (int i = 0; i < 3; i++) {
        const int axis = i - (3 - spatial);
        p.in[i] = p.out[i] = 1;
        p.scale[i] = p.end[i] = 1;
        if (axis < 0)
            continue;
        p.in[i]          = x.dim[1 + axis];
        p.out[i]         = y.dim[1 + axis];
        p.mode[i]        = epl_attr_i(n, "mode");
        p.coordinates[i] = epl_attr_i(n, "coordinate_transformation_mode");
        p.scale[i]       = scales->n ? scales->reals[axis] : (double)p.out[i] / (double)p.in[i];
        p.begin[i]       = roi->n ? roi->reals[axis] : 0;
        p.end[i]         = roi->n ? roi->reals[spatial + axis] : 1;
    }
    return p;
}

bool epl_lower_resize(epl_block *b, const epl_node *n, const char **why) /* x, or dy */
{
    const bool      back = EPL_IS(n, resize_grad);
    const epl_shape from = n->inputs[0]->shape, to = n->outputs[0]->shape;
    if (!epl_lowers_f32(n, why))
        return false;
    epl_resample_params p = resampling(n, back ? to : from, back ? from : to);
    p.back = back;
    const int in = epl_buffer_of(b, n->inputs[0]), out = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, "resample", &p, sizeof p, 1, &in, 1, &out) != NULL;
}
