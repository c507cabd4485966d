/* adapt_shape: operators that move elements or compute shapes. What ONNX turned from attributes into inputs over time is read
 * from either, and must be known while importing. */
#include "onnx/adapt.h"

#include <string.h>

/* A list that is an attribute before opset `since` and input `i` from then on. -1: absent; -2: an error. */
static int list_of(onnx_node *n, const char *name, int i, int since, int64_t *out, int max)
{
    if (n->opset < since) {
        const int count = onnx_ints(n, name, out, max);
        return epl_error_code(onnx_context(n)) != EPL_OK ? -2 : count;
    }
    if (!onnx_has(n, i))
        return -1;
    const int count = onnx_known_ints(n, i, name, out, max);
    return count < 0 ? -2 : count;
}

static bool import_constant(onnx_node *n)
{
    const Onnx__TensorProto *p = onnx_tensor_attr(n, "value");
    double      reals[1024];
    int64_t     ints[1024];
    epl_tensor *t = NULL;
    epl_context *ctx = onnx_context(n);
    if (p) {
        epl_value *v = onnx_constant(n, p);
        return v && onnx_set(n, v);
    }
    int count = -1;
    if (onnx_has_attr(n, "value_float") || onnx_has_attr(n, "value_int")) {
        const bool real = onnx_has_attr(n, "value_float");
        t = epl_tensor_new(ctx, real ? EPL_F32 : EPL_I64, EPL_SCALAR);
        if (t && real)
            epl_tensor_set(t, 0, onnx_real(n, "value_float", 0));
        else if (t)
            epl_tensor_set_i64(t, 0, onnx_int(n, "value_int", 0));
    } else if ((count = onnx_reals(n, "value_floats", reals, (int)EPL_COUNT(reals))) >= 0) {
        t = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(count));
        for (int i = 0; t && i < count; i++)
            epl_tensor_set(t, i, reals[i]);
    } else if ((count = onnx_ints(n, "value_ints", ints, (int)EPL_COUNT(ints))) >= 0) {
        t = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(count));
        for (int i = 0; t && i < count; i++)
            epl_tensor_set_i64(t, i, ints[i]);
    } else {
        return onnx_unsupported(n, "a constant without a tensor or number (sparse, or text)");
    }
    epl_value *v = t ? epl_constant(n->g, t) : NULL;
    epl_tensor_free(t);
    return onnx_set(n, v);
}

static epl_value *no_elements(onnx_node *n, epl_dtype dtype, epl_shape shape)
{
    const epl_tensor empty = { .dtype = dtype, .shape = shape, .data = "" };
    return epl_constant(n->g, &empty);
}

/* A tensor without elements, under another shape that has none either. */
static bool empty_like(onnx_node *n, const epl_value *x, epl_shape shape)
{
    char text[192];
    if (epl_shape_count(shape) != 0 || epl_shape_count(x->shape) != 0)
        return onnx_fail(n, EPL_ERR_SHAPE, "%lld elements do not fit into %s", (long long)epl_shape_count(x->shape),
                         epl_shape_text(text, shape));
    return onnx_set(n, no_elements(n, x->dtype, shape));
}

static bool import_reshape(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    dims[EPL_MAX_RANK], ignored[8];
    const bool zero_is_zero = onnx_int(n, "allowzero", 0) != 0;
    if (n->opset < 5)
        onnx_ints(n, "consumed_inputs", ignored, 8);
    const int  count = list_of(n, "shape", 1, 5, dims, EPL_MAX_RANK);
    epl_shape  shape = { .rank = count };
    if (!x || count < 0)
        return false;
    for (int i = 0; i < count; i++)
        shape.dim[i] = dims[i];
    for (int i = 0; zero_is_zero && i < count; i++) // EPL_KEEP says the same where x has the zero at that place
        if (dims[i] == 0 && (i >= x->shape.rank || x->shape.dim[i] != 0))
            return empty_like(n, x, shape);
    return onnx_set(n, epl_reshape(n->g, x, shape));
}

/* A weight that nobody else reads is stored in the order in which it is read. */
static bool import_transpose(onnx_node *n)
{
    int64_t    perm[EPL_MAX_RANK];
    epl_shape  order = { 0 }, weight;
    bool       seen[EPL_MAX_RANK] = { false }, good = true;
    const bool stored = onnx_is_weight(n, 0) && onnx_n_uses(n, 0) == 1 && onnx_initial_shape(n, 0, &weight);
    epl_value *x = stored ? NULL : onnx_in(n, 0);
    const int  given = onnx_ints(n, "perm", perm, EPL_MAX_RANK), rank = stored ? weight.rank : x ? x->shape.rank : 0;
    int        p[EPL_MAX_RANK];
    order.rank = given < 0 ? rank : given;
    for (int i = 0; i < order.rank; i++) {
        order.dim[i] = given < 0 ? rank - 1 - i : perm[i];
        p[i] = (int)order.dim[i];
        good = good && p[i] >= 0 && p[i] < rank && !seen[p[i]];
        if (good)
            seen[p[i]] = true;
    }
    if (stored && good && order.rank == rank)
        return onnx_set(n, onnx_weight(n, 0, order));
    x = stored ? onnx_in(n, 0) : x;
    return x && onnx_set(n, epl_transpose(n->g, x, order.rank, p));
}

static bool import_concat(onnx_node *n)
{
    int         axis;
    epl_value  *first = onnx_in(n, 0);
    epl_value **in = epl_alloc_array(onnx_context(n), (size_t)n->n_in + 1, sizeof *in);
    bool        ok = in && first && onnx_axis(n, onnx_int(n, "axis", n->opset < 4 ? 1 : 0), first->shape.rank, &axis);
    for (int i = 0; ok && i < n->n_in; i++)
        ok = (in[i] = onnx_in(n, i)) != NULL;
    ok = ok && onnx_set(n, epl_concat(n->g, n->n_in, in, axis));
    epl_release(onnx_context(n), in);
    return ok;
}

static bool import_split(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    sizes[ONNX_MAX_OUT];
    int        axis, parts = n->n_out;
    const int  count = list_of(n, "split", 1, 13, sizes, ONNX_MAX_OUT);
    if (n->opset >= 18 && count < 0)
        parts = (int)onnx_int(n, "num_outputs", n->n_out);
    if (!x || count == -2 || !onnx_axis(n, onnx_int(n, "axis", 0), x->shape.rank, &axis))
        return false;
    if ((count >= 0 && count != n->n_out) || parts != n->n_out)
        return onnx_fail(n, EPL_ERR_SHAPE, "%d parts, %d results are named", count >= 0 ? count : parts, n->n_out);
    bool equal = true; // then the sizes need not be told
    for (int i = 1; i < count; i++)
        equal = equal && sizes[i] == sizes[0];
    return epl_split(n->g, x, axis, n->n_out, count < 0 || (equal && sizes[0] * count == x->shape.dim[axis]) ? NULL : sizes, n->out);
}

static bool import_slice(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    axes[EPL_MAX_RANK], steps[EPL_MAX_RANK];
    epl_slice_opts o = { 0 };
    const int  n_starts = list_of(n, "starts", 1, 10, o.starts, EPL_MAX_RANK), n_ends = list_of(n, "ends", 2, 10, o.ends, EPL_MAX_RANK);
    const int  n_axes = list_of(n, "axes", 3, 10, axes, EPL_MAX_RANK);
    const int  n_steps = n->opset < 10 ? -1 : list_of(n, "steps", 4, 10, steps, EPL_MAX_RANK);
    if (!x || n_starts < 0 || n_ends < 0 || n_axes == -2 || n_steps == -2)
        return false;
    if (n_starts != n_ends || (n_axes >= 0 && n_axes != n_starts) || (n_steps >= 0 && n_steps != n_starts))
        return onnx_fail(n, EPL_ERR_SHAPE, "%d starts, %d ends, %d axes, %d steps", n_starts, n_ends, n_axes, n_steps);
    o.n_axes = n_starts;
    for (int i = 0; i < n_starts; i++) {
        if (!onnx_axis(n, n_axes >= 0 ? axes[i] : i, x->shape.rank, &o.axes[i]))
            return false;
        o.steps[i] = n_steps >= 0 ? steps[i] : 1;
        if (o.starts[i] < -INT64_MAX / 2)
            o.starts[i] = EPL_BEGIN;
        if (o.ends[i] < -INT64_MAX / 2)
            o.ends[i] = EPL_BEGIN;
    }
    return onnx_set(n, n_starts ? epl_slice(n->g, x, o) : epl_identity(n->g, x));
}

static bool import_pad(onnx_node *n)
{
    static const char *const modes[] = { "constant", "reflect", "edge", "wrap" }; // in the order of epl_pad_mode
    epl_value  *x = onnx_in(n, 0);
    int64_t     pads[2 * EPL_MAX_RANK], axes[EPL_MAX_RANK];
    const char *mode = onnx_text(n, "mode", "constant");
    epl_pad_opts o = { .mode = EPL_PAD_CONSTANT };
    int          count = list_of(n, n->opset < 2 ? "paddings" : "pads", 1, 11, pads, 2 * EPL_MAX_RANK);
    if (n->opset < 11)
        o.value = onnx_real(n, "value", 0);
    else if (onnx_has(n, 2) && !onnx_known_real(n, 2, "the value of the padding", &o.value))
        return false;
    if (!x || count < 0)
        return false;
    int n_axes = n->opset >= 18 ? list_of(n, "axes", 3, 18, axes, EPL_MAX_RANK) : -1;
    for (int i = 0; n_axes < 0 && i < x->shape.rank; i++)
        axes[i] = i;
    n_axes = n_axes == -1 ? x->shape.rank : n_axes;
    if (n_axes < 0 || count != 2 * n_axes)
        return onnx_fail(n, EPL_ERR_SHAPE, "%d pads for %d axes", count, n_axes);
    size_t m = 0;
    while (m < EPL_COUNT(modes) && strcmp(mode, modes[m]) != 0)
        m++;
    if (m == EPL_COUNT(modes))
        return onnx_unsupported(n, "mode '%s'", mode);
    o.mode = (epl_pad_mode)m;
    for (int i = 0; i < n_axes; i++) {
        int axis;
        if (!onnx_axis(n, axes[i], x->shape.rank, &axis))
            return false;
        o.before[axis] = pads[i];
        o.after[axis] = pads[n_axes + i];
    }
    return onnx_set(n, epl_pad(n->g, x, o));
}

/* The value of this graph whose whole shape an input is; NULL if it is something else. */
static epl_value *shape_of(onnx_node *n, int i)
{
    const epl_value *v = onnx_in(n, i);
    return v && EPL_IS(v->producer, shape) && v->graph == n->g ? v->producer->inputs[0] : NULL;
}

/* To another's shape, or where an axis stays as it is, the result follows when a named dimension changes. */
static bool import_expand(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *like = shape_of(n, 1);
    int64_t    dims[EPL_MAX_RANK];
    const int  count = onnx_known_ints(n, 1, "the shape", dims, EPL_MAX_RANK);
    if (!x || count < 0)
        return false;
    epl_shape target = { .rank = count }, shape;
    memcpy(target.dim, dims, (size_t)count * sizeof *dims);
    if (!epl_shape_broadcast(x->shape, target, &shape)) {
        char a[192], b[192];
        return onnx_fail(n, EPL_ERR_SHAPE, "%s does not expand to %s", epl_shape_text(a, x->shape), epl_shape_text(b, target));
    }
    if (epl_shape_count(shape) == 0)
        return onnx_set(n, no_elements(n, x->dtype, shape));
    if (like && epl_shape_equal(like->shape, shape))
        return onnx_set(n, epl_expand_like(n->g, x, like));
    for (int i = 1; i <= x->shape.rank; i++)
        if (x->shape.dim[x->shape.rank - i] == shape.dim[shape.rank - i])
            shape.dim[shape.rank - i] = EPL_KEEP;
    return onnx_set(n, epl_expand(n->g, x, shape));
}

static bool import_tile(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    repeats[EPL_MAX_RANK];
    if (n->opset < 6) {
        int64_t   many, axis;
        if (!x || onnx_known_ints(n, 1, "the number of tiles", &many, 1) < 1 || onnx_known_ints(n, 2, "the axis", &axis, 1) < 1)
            return false;
        for (int i = 0; i < x->shape.rank; i++)
            repeats[i] = i == axis ? many : 1;
        return onnx_set(n, epl_tile(n->g, x, x->shape.rank, repeats));
    }
    const int count = onnx_known_ints(n, 1, "the repeats", repeats, EPL_MAX_RANK);
    return x && count >= 0 && onnx_set(n, epl_tile(n->g, x, count, repeats));
}

static bool import_squeeze(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    axes[EPL_MAX_RANK];
    int        a[EPL_MAX_RANK];
    const int  count = list_of(n, "axes", 1, 13, axes, EPL_MAX_RANK);
    if (!x || count == -2)
        return false;
    for (int i = 0; i < count; i++)
        if (!onnx_axis(n, axes[i], x->shape.rank, &a[i]))
            return false;
    return onnx_set(n, epl_squeeze(n->g, x, count < 0 ? 0 : count, a));
}

static bool import_unsqueeze(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    axes[EPL_MAX_RANK];
    int        a[EPL_MAX_RANK];
    const int  count = list_of(n, "axes", 1, 13, axes, EPL_MAX_RANK);
    if (!x || count < 0)
        return false;
    for (int i = 0; i < count; i++)
        if (!onnx_axis(n, axes[i], x->shape.rank + count, &a[i]))
            return false;
    return onnx_set(n, epl_unsqueeze(n->g, x, count, a));
}

static bool import_flatten(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0);
    const int64_t axis = onnx_int(n, "axis", 1);
    if (!x)
        return false;
    if (axis < -x->shape.rank || axis > x->shape.rank)
        return onnx_fail(n, EPL_ERR_SHAPE, "axis %lld of a tensor of %d axes", (long long)axis, x->shape.rank);
    return onnx_set(n, epl_flatten(n->g, x, (int)(axis < 0 ? axis + x->shape.rank : axis)));
}

static bool import_shape(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0);
    if (!x)
        return false;
    const int64_t rank = x->shape.rank;
    int64_t       start = onnx_int(n, "start", 0), end = onnx_int(n, "end", rank);
    start = start < 0 ? start + rank : start;
    end = end < 0 ? end + rank : end;
    start = start < 0 ? 0 : start > rank ? rank : start;
    end = end < start ? start : end > rank ? rank : end;
    epl_value *all = epl_shape_value(n->g, x);
    return onnx_set(n, start == 0 && end == rank ? all : epl_slice_axis(n->g, all, 0, start, end));
}

static bool import_size(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    return x && onnx_set(n, epl_size(n->g, x, 0, NULL));
}

static bool import_constant_of_shape(onnx_node *n)
{
    int64_t   dims[EPL_MAX_RANK];
    const int count = onnx_known_ints(n, 0, "the shape", dims, EPL_MAX_RANK);
    const Onnx__TensorProto *p = onnx_tensor_attr(n, "value");
    if (count < 0)
        return false;
    epl_shape shape = { .rank = count };
    memcpy(shape.dim, dims, (size_t)count * sizeof *dims);
    epl_value *one = p ? onnx_constant(n, p) : epl_scalar(n->g, EPL_F32, 0);
    if (one && epl_shape_count(one->shape) != 1)
        return onnx_fail(n, EPL_ERR_SHAPE, "its value has %lld elements", (long long)epl_shape_count(one->shape));
    one = one ? epl_reshape(n->g, one, EPL_SCALAR) : NULL;
    if (one && epl_shape_count(shape) == 0)
        return onnx_set(n, no_elements(n, one->dtype, shape));
    epl_value *like = shape_of(n, 0);
    return one && onnx_set(n, like ? epl_expand_like(n->g, one, like) : epl_expand(n->g, one, shape));
}

static bool import_range(onnx_node *n)
{
    const epl_tensor *start = onnx_one(n, 0, "the start"), *limit = start ? onnx_one(n, 1, "the limit") : NULL;
    const epl_tensor *delta = limit ? onnx_one(n, 2, "the step") : NULL;
    if (!delta)
        return false;
    return onnx_set(n, epl_range(n->g, start->dtype, epl_tensor_get(start, 0), epl_tensor_get(limit, 0), epl_tensor_get(delta, 0)));
}

static bool import_eye_like(onnx_node *n)
{
    epl_value      *x = onnx_in(n, 0);
    if (!x)
        return false;
    const epl_dtype t = onnx_has_attr(n, "dtype") ? onnx_dtype(onnx_int(n, "dtype", 1)) : x->dtype;
    if (x->shape.rank != 2 || t == EPL_NO_DTYPE)
        return onnx_unsupported(n, "a tensor of %d axes", x->shape.rank);
    return onnx_set(n, epl_eye(n->g, t, x->shape.dim[0], x->shape.dim[1], onnx_int(n, "k", 0)));
}

/* [N, C, H, W] with blocks of channels <-> blocks of space, by a reshape, a transpose and a reshape. */
static bool import_depth_to_space(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0);
    const int64_t b = onnx_int(n, "blocksize", 0);
    const bool    columns_first = strcmp(onnx_text(n, "mode", "DCR"), "CRD") == 0;
    if (!x)
        return false;
    if (x->shape.rank != 4 || b < 1 || x->shape.dim[1] % (b * b))
        return onnx_fail(n, EPL_ERR_SHAPE, "a block size of %lld does not fit", (long long)b);
    const int64_t N = x->shape.dim[0], C = x->shape.dim[1] / (b * b), H = x->shape.dim[2], W = x->shape.dim[3];
    epl_value *y = columns_first ? epl_permute(n->g, epl_reshape(n->g, x, EPL_SHAPE(N, C, b, b, H, W)), EPL_SHAPE(0, 1, 4, 2, 5, 3))
                                 : epl_permute(n->g, epl_reshape(n->g, x, EPL_SHAPE(N, b, b, C, H, W)), EPL_SHAPE(0, 3, 4, 1, 5, 2));
    return onnx_set(n, epl_reshape(n->g, y, EPL_SHAPE(N, C, H * b, W * b)));
}

static bool import_space_to_depth(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0);
    const int64_t b = onnx_int(n, "blocksize", 0);
    const bool    columns_first = strcmp(onnx_text(n, "mode", "DCR"), "CRD") == 0;
    if (!x)
        return false;
    if (x->shape.rank != 4 || b < 1 || x->shape.dim[2] % b || x->shape.dim[3] % b)
        return onnx_fail(n, EPL_ERR_SHAPE, "a block size of %lld does not fit", (long long)b);
    const int64_t N = x->shape.dim[0], C = x->shape.dim[1], H = x->shape.dim[2] / b, W = x->shape.dim[3] / b;
    epl_value *y = epl_permute(n->g, epl_reshape(n->g, x, EPL_SHAPE(N, C, H, b, W, b)),
                               columns_first ? EPL_SHAPE(0, 1, 3, 5, 2, 4) : EPL_SHAPE(0, 3, 5, 1, 2, 4));
    return onnx_set(n, epl_reshape(n->g, y, EPL_SHAPE(N, b * b * C, H, W)));
}

/* An axis is cut or filled with zeros on both sides alike; the odd one at the end. */
static bool import_center_crop_pad(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    sizes[EPL_MAX_RANK], listed[EPL_MAX_RANK];
    const int  given = onnx_ints(n, "axes", listed, EPL_MAX_RANK), count = x ? onnx_known_ints(n, 1, "the shape", sizes, EPL_MAX_RANK) : -1;
    epl_pad_opts pad = { .mode = EPL_PAD_CONSTANT };
    if (count < 0 || count != (given < 0 ? x->shape.rank : given))
        return onnx_fail(n, EPL_ERR_SHAPE, "%d sizes for %d axes", count, given < 0 && x ? x->shape.rank : given);
    for (int i = 0, axis; i < count; i++) {
        if (!onnx_axis(n, given < 0 ? i : listed[i], x->shape.rank, &axis))
            return false;
        if (sizes[i] < 0 || sizes[i] > INT32_MAX || x->shape.dim[axis] > INT32_MAX)
            return onnx_unsupported(n, "axis %d becomes %lld elements", axis, (long long)sizes[i]);
        const int64_t extra = sizes[i] - x->shape.dim[axis], begin = extra < 0 ? -(-extra / 2) : extra / 2;
        pad.before[axis] = begin;
        pad.after[axis] = extra - begin;
    }
    return onnx_set(n, epl_pad(n->g, x, pad));
}

/* Where element (block position k, block l) of the columns goes in the image, or `outside`. */
typedef struct folding {
    int     n;
    int64_t image[EPL_MAX_RANK], block[EPL_MAX_RANK], stride[EPL_MAX_RANK], dilation[EPL_MAX_RANK], pads[2 * EPL_MAX_RANK];
} folding;

static int64_t folded(const folding *f, int64_t k, int64_t l, int64_t outside)
{
    int64_t at = 0, step = 1;
    for (int i = f->n - 1; i >= 0; i--) {
        const int64_t span = f->dilation[i] * (f->block[i] - 1) + 1;
        const int64_t blocks = (f->image[i] + f->pads[i] + f->pads[f->n + i] - span) / f->stride[i] + 1;
        const int64_t x = l % blocks * f->stride[i] + k % f->block[i] * f->dilation[i] - f->pads[i];
        l /= blocks;
        k /= f->block[i];
        if (x < 0 || x >= f->image[i])
            return outside;
        at += x * step;
        step *= f->image[i];
    }
    return at;
}

static bool read_folding(onnx_node *n, folding *f)
{
    f->n = onnx_known_ints(n, 1, "the image's shape", f->image, EPL_MAX_RANK - 2);
    const int blocks = f->n < 0 ? -1 : onnx_known_ints(n, 2, "the block's shape", f->block, EPL_MAX_RANK - 2);
    for (int i = 0; i < EPL_MAX_RANK; i++) {
        f->stride[i] = f->dilation[i] = 1;
        f->pads[i] = f->pads[EPL_MAX_RANK + i] = 0;
    }
    const int s = onnx_ints(n, "strides", f->stride, EPL_MAX_RANK), d = onnx_ints(n, "dilations", f->dilation, EPL_MAX_RANK);
    const int p = onnx_ints(n, "pads", f->pads, 2 * EPL_MAX_RANK);
    if (f->n < 1 || blocks != f->n || (s >= 0 && s != f->n) || (d >= 0 && d != f->n) || (p >= 0 && p != 2 * f->n))
        return onnx_fail(n, EPL_ERR_SHAPE, "lists of different lengths for an image of %d axes", f->n);
    for (int i = 0; i < f->n; i++)
        if (f->stride[i] < 1 || f->dilation[i] < 1 || f->block[i] < 1 || f->image[i] < 1 || f->image[i] > INT32_MAX ||
            f->block[i] > INT32_MAX / f->dilation[i] || f->pads[i] < 0 || f->pads[i] > INT32_MAX || f->pads[f->n + i] < 0 ||
            f->pads[f->n + i] > INT32_MAX || f->image[i] + f->pads[i] + f->pads[f->n + i] < f->dilation[i] * (f->block[i] - 1) + 1)
            return onnx_unsupported(n, "a stride, dilation, block or pad that is negative, zero or absurd");
    return true;
}

/* [N, C * block, L] added up into [N, C, image...]: a sum over computed places. */
static bool import_col2im(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    folding    f = { 0 };
    int64_t    taps = 1, blocks = 1, space = 1;
    if (!x || !read_folding(n, &f))
        return false;
    epl_shape y = { .rank = f.n + 2 };
    for (int i = 0; i < f.n; i++) {
        if (!epl_mul_i64(taps, f.block[i], &taps) || !epl_mul_i64(space, f.image[i], &space) ||
            !epl_mul_i64(blocks,
                         (f.image[i] + f.pads[i] + f.pads[f.n + i] - f.dilation[i] * (f.block[i] - 1) - 1) /
                                 f.stride[i] +
                             1,
                         &blocks))
            return onnx_unsupported(n, "an image of absurd size");
        if (taps > 1 << 24 || blocks > (1 << 24) / taps)
            return onnx_unsupported(n, "%lld blocks of %lld elements", (long long)blocks, (long long)taps);
        y.dim[2 + i] = f.image[i];
    }
    if (x->shape.rank != 3 || x->shape.dim[1] % taps || x->shape.dim[2] != blocks || x->shape.dim[1] < 1)
        return onnx_fail(n, EPL_ERR_SHAPE, "an input of %d axes, %lld blocks of %lld are needed", x->shape.rank,
                         (long long)blocks, (long long)taps);
    int64_t *at = epl_alloc_array(onnx_context(n), (size_t)(taps * blocks), sizeof *at); // no more than x has
    for (int64_t i = 0; at && i < taps * blocks; i++)
        at[i] = folded(&f, i / blocks, i % blocks, space);
    y.dim[0] = x->shape.dim[0];
    y.dim[1] = x->shape.dim[1] / taps;
    epl_value *rows = epl_reshape(n->g, x, EPL_SHAPE(y.dim[0], y.dim[1], taps * blocks));
    epl_value *like = epl_expand(n->g, onnx_scalar_like(n, x, 0), EPL_SHAPE(y.dim[0], y.dim[1], space));
    epl_tensor *places = at ? epl_tensor_new(onnx_context(n), EPL_I64, EPL_SHAPE(taps * blocks)) : NULL;
    if (places)
        memcpy(places->data, at, (size_t)(taps * blocks) * sizeof *at);
    epl_value *sum = places ? epl_scatter_add(n->g, rows, epl_constant(n->g, places), like, 2) : NULL;
    epl_tensor_free(places);
    epl_release(onnx_context(n), at);
    return sum && onnx_set(n, epl_reshape(n->g, sum, y));
}

static bool import_trilu(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    k = 0;
    if (!x || (onnx_has(n, 1) && onnx_known_ints(n, 1, "the diagonal", &k, 1) < 1))
        return false;
    return onnx_set(n, epl_trilu(n->g, x, onnx_int(n, "upper", 1) != 0, k));
}

static bool import_reverse_sequence(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *lengths = onnx_in(n, 1);
    return x && lengths &&
           onnx_set(n, epl_reverse_sequence(n->g, x, lengths, (int)onnx_int(n, "batch_axis", 1),
                                            (int)onnx_int(n, "time_axis", 0)));
}

const onnx_op onnx_ops_shape[] = {
    { "Constant", import_constant, NULL }, { "Reshape", import_reshape, NULL }, { "Transpose", import_transpose, NULL },
    { "Concat", import_concat, NULL }, { "Split", import_split, NULL }, { "Slice", import_slice, NULL }, { "Pad", import_pad, NULL },
    { "Expand", import_expand, NULL }, { "Tile", import_tile, NULL }, { "Squeeze", import_squeeze, NULL },
    { "Unsqueeze", import_unsqueeze, NULL }, { "Flatten", import_flatten, NULL }, { "Shape", import_shape, NULL },
    { "Size", import_size, NULL }, { "ConstantOfShape", import_constant_of_shape, NULL }, { "Range", import_range, NULL },
    { "EyeLike", import_eye_like, NULL }, { "DepthToSpace", import_depth_to_space, NULL },
    { "SpaceToDepth", import_space_to_depth, NULL }, { "Trilu", import_trilu, NULL },
    { "CenterCropPad", import_center_crop_pad, NULL }, { "Col2Im", import_col2im, NULL },
    { "ReverseSequence", import_reverse_sequence, NULL }, { NULL, NULL, NULL },
};
