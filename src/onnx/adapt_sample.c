/* adapt_sample: reading images between their pixels, at places that are computed - GridSample, DeformConv - and
 * AffineGrid, which computes such places. Every tap is a gather of rows in channels-last order, so that gradients,
 * passes and the compiler see nothing new. */
#include "onnx/adapt.h"

#include <string.h>

typedef struct sampling {
    int  n; /* spatial axes, 1 to 3 */
    bool corners, zeros, reflect, cubic;
} sampling;

static epl_value *plus(onnx_node *n, epl_value *v, double x) { return v ? epl_add(n->g, v, onnx_scalar_like(n, v, x)) : NULL; }
static epl_value *times(onnx_node *n, epl_value *v, double x) { return v ? epl_mul(n->g, v, onnx_scalar_like(n, v, x)) : NULL; }

/* Places beyond the ends, mirrored as often as it takes, then held within the axis. */
static epl_value *held_within(onnx_node *n, epl_value *c, double size, const sampling *s)
{
    epl_graph   *g = n->g;
    const double low = s->corners ? 0 : -0.5, span = s->corners ? size - 1 : size;
    if (s->reflect && span > 0) {
        epl_value *d = epl_abs(g, plus(n, c, -low)), *turns = epl_floor(g, times(n, d, 1 / span));
        epl_value *rest = epl_sub(g, d, times(n, turns, span));
        epl_value *odd = epl_sub(g, turns, times(n, epl_floor(g, times(n, turns, 0.5)), 2));
        epl_value *back = plus(n, times(n, rest, -2), span); // what an odd number of turns adds
        c = plus(n, epl_add(g, rest, epl_mul(g, odd, back)), low);
    }
    return epl_clip(g, c, 0, size - 1);
}

/* 1 where a whole-numbered place is within the axis, else 0. */
static epl_value *inside(onnx_node *n, epl_value *i, double size)
{
    epl_value *held = epl_clip(n->g, i, 0, size - 1);
    return i ? epl_cast(n->g, epl_equal(n->g, i, held), i->dtype) : NULL;
}

/* weight * x[at[0], at[1], ...]; rows [N, S..., C], at [N, P...] whole-numbered. */
static epl_value *tap(onnx_node *n, epl_value *rows, epl_value *const *at, epl_value *weight, const sampling *s)
{
    epl_graph *g = n->g;
    epl_value *index[3];
    const int  last = epl_rank(weight);
    for (int i = 0; i < s->n; i++) {
        const double size = (double)epl_dim(rows, 1 + i);
        if (s->zeros)
            weight = epl_mul(g, weight, inside(n, at[i], size));
        index[i] = epl_cast(g, s->zeros ? epl_clip(g, at[i], 0, size - 1) : held_within(n, at[i], size, s), EPL_I64);
    }
    return epl_mul(g, epl_gather_nd(g, rows, epl_stack(g, s->n, index, last), 1), epl_unsqueeze(g, weight, 1, &last));
}

/* The weight of the tap k = -1, 0, 1, 2 at a distance t from tap 0: linear, or Keys 1981, eq. (4), with a = -0.75. */
static epl_value *tap_weight(onnx_node *n, epl_value *t, int k, const sampling *s)
{
    const double a = -0.75;
    if (!s->cubic)
        return k == 0 ? plus(n, times(n, t, -1), 1) : t;
    epl_value *d = k <= 0 ? plus(n, t, -k) : plus(n, times(n, t, -1), k), *p;
    if (k == 0 || k == 1) {
        p = plus(n, times(n, d, a + 2), -(a + 3));
        return plus(n, epl_mul(n->g, p, epl_square(n->g, d)), 1);
    }
    p = plus(n, times(n, d, a), -5 * a);
    p = plus(n, epl_mul(n->g, p, d), 8 * a);
    return plus(n, epl_mul(n->g, p, d), -4 * a);
}

/* rows [N, S..., C] at places c[i] [N, P...] along each axis, in elements: [N, P..., C]. */
static epl_value *interpolate(onnx_node *n, epl_value *rows, epl_value *const *c, const sampling *s)
{
    epl_graph *g = n->g;
    epl_value *floors[3], *rests[3], *y = NULL;
    const int  first = s->cubic ? -1 : 0, each = s->cubic ? 4 : 2;
    int        taps = 1;
    for (int i = 0; i < s->n; i++) {
        floors[i] = epl_floor(g, c[i]);
        rests[i] = epl_sub(g, c[i], floors[i]);
        taps *= each;
    }
    for (int t = 0; t < taps; t++) {
        epl_value *at[3], *weight = NULL;
        for (int i = s->n - 1, rest = t; i >= 0; i--, rest /= each) {
            const int  k = first + rest % each;
            epl_value *w = tap_weight(n, rests[i], k, s);
            at[i] = plus(n, floors[i], k);
            weight = weight ? epl_mul(g, w, weight) : w;
        }
        epl_value *part = tap(n, rows, at, weight, s);
        y = y ? epl_add(g, y, part) : part;
    }
    return y;
}

/* ---- GridSample: x [N, C, S...] at places (x, y, z) of grid [N, P..., n] in [-1, 1] ---- */

/* The coordinate along axis i of n, in elements; the grid names the last axis first. */
static epl_value *coordinate(onnx_node *n, epl_value *grid, int i, double size, const sampling *s)
{
    const int  last = epl_rank(grid) - 1, which = s->n - 1 - i;
    epl_value *c = epl_squeeze(n->g, epl_slice_axis(n->g, grid, last, which, which + 1), 1, &last);
    c = s->corners ? times(n, plus(n, c, 1), (size - 1) / 2) : plus(n, times(n, plus(n, c, 1), size / 2), -0.5);
    return s->zeros || s->cubic ? c : held_within(n, c, size, s);
}

static bool import_grid_sample(onnx_node *n)
{
    epl_graph  *g = n->g;
    epl_value  *x = onnx_in(n, 0), *grid = onnx_in(n, 1), *c[3];
    const char *mode = onnx_text(n, "mode", "bilinear"), *padding = onnx_text(n, "padding_mode", "zeros");
    sampling    s = { .corners = onnx_int(n, "align_corners", 0) != 0, .zeros = strcmp(padding, "zeros") == 0,
                      .reflect = strcmp(padding, "reflection") == 0, .cubic = epl_glob("bicubic,cubic", mode) };
    if (!x || !grid)
        return false;
    s.n = x->shape.rank - 2;
    if (s.n < 2 || s.n > (s.cubic ? 2 : 3) || grid->shape.rank != s.n + 2 || epl_dim(grid, -1) != s.n ||
        !epl_glob("bilinear,linear,nearest,bicubic,cubic", mode) || !epl_glob("zeros,border,reflection", padding))
        return onnx_unsupported(n, "mode '%s', padding '%s', %d axes", mode, padding, x->shape.rank);
    epl_value *rows = onnx_to_channels_last(n, x);
    for (int i = 0; i < s.n; i++) {
        c[i] = coordinate(n, grid, i, (double)epl_dim(x, 2 + i), &s);
        c[i] = strcmp(mode, "nearest") == 0 ? epl_round(g, c[i]) : c[i];
    }
    epl_value *y = strcmp(mode, "nearest") == 0 ? tap(n, rows, c, epl_ones_like(g, c[0]), &s) : interpolate(n, rows, c, &s);
    return onnx_set(n, onnx_to_channels_first(n, y));
}

/* ---- AffineGrid: matrices theta [N, n, n + 1] applied to evenly spaced places ---- */
static epl_value *even_places(onnx_node *n, epl_dtype type, const int64_t *size, int axes, bool corners)
{
    int64_t count = 1;
    for (int i = 0; i < axes; i++)
        count *= size[i];
    epl_tensor *t = epl_tensor_new(onnx_context(n), type, EPL_SHAPE(count, axes + 1));
    for (int64_t k = 0; t && k < count; k++) {
        int64_t rest = k;
        for (int i = axes - 1; i >= 0; i--) { // x, the last axis, comes first
            const double d = (double)size[i], at = (double)(rest % size[i]);
            rest /= size[i];
            epl_tensor_set(t, k * (axes + 1) + axes - 1 - i, !corners ? (2 * at + 1) / d - 1 : size[i] > 1 ? 2 * at / (d - 1) - 1 : -1);
        }
        epl_tensor_set(t, k * (axes + 1) + axes, 1);
    }
    epl_value *v = t ? epl_constant(n->g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

static bool import_affine_grid(onnx_node *n)
{
    epl_value *theta = onnx_in(n, 0);
    int64_t    size[5];
    const int  axes = onnx_known_ints(n, 1, "the size", size, 5) - 2;
    if (!theta || axes < 2 || theta->shape.rank != 3 || epl_dim(theta, 1) != axes || epl_dim(theta, 2) != axes + 1)
        return onnx_unsupported(n, "a size of %d numbers", axes + 2);
    epl_shape y = { .rank = axes + 2, .dim = { epl_dim(theta, 0) } };
    for (int i = 0, places = 1; i < axes; i++) {
        if (size[2 + i] < 1 || size[2 + i] > (1 << 24) / places)
            return onnx_unsupported(n, "a size of %lld along axis %d", (long long)size[2 + i], i);
        places *= (int)size[2 + i];
        y.dim[1 + i] = size[2 + i];
    }
    y.dim[1 + axes] = axes;
    epl_value *places = even_places(n, theta->dtype, size + 2, axes, onnx_int(n, "align_corners", 0) != 0);
    return onnx_set(n, epl_reshape(n->g, epl_matmul(n->g, places, theta, (epl_matmul_opts){ .trans_b = true }), y));
}

/* ---- DeformConv, Dai et al. 2017 (arXiv:1703.06211), with the masks of Zhu et al. 2018 (arXiv:1811.11168): every tap of the
 * kernel reads at a place of its own. The taps' values make rows, which the weights multiply. ---- */
typedef struct deform {
    int64_t    kernel[2], stride[2], dilation[2], pads[4], out[2], groups, offset_groups;
    epl_value *rows, *offset, *mask; /* [N, H, W, C]; [N, og, K, 2, OH, OW]; [N, og, K, OH, OW] or NULL */
} deform;

static bool read_deform(onnx_node *n, deform *d)
{
    epl_value *x = onnx_in(n, 0), *offset = onnx_in(n, 2), *mask = onnx_in(n, 4);
    epl_shape  w;
    if (!x || !offset || (!onnx_initial_shape(n, 1, &w) && !onnx_in(n, 1)))
        return false;
    if (!onnx_initial_shape(n, 1, &w))
        w = onnx_in(n, 1)->shape;
    if (x->shape.rank != 4 || w.rank != 4 || offset->shape.rank != 4)
        return onnx_unsupported(n, "an input of %d axes", x->shape.rank);
    *d = (deform){ .stride = { 1, 1 }, .dilation = { 1, 1 }, .groups = onnx_int(n, "group", 1), .offset_groups = onnx_int(n, "offset_group", 1) };
    memcpy(d->kernel, w.dim + 2, sizeof d->kernel);
    memcpy(d->out, offset->shape.dim + 2, sizeof d->out);
    if (w.dim[2] < 1 || w.dim[2] > 1024 || w.dim[3] < 1 || w.dim[3] > 1024)
        return onnx_unsupported(n, "a kernel of %lld x %lld", (long long)w.dim[2], (long long)w.dim[3]);
    const int k = onnx_ints(n, "kernel_shape", d->kernel, 2), s = onnx_ints(n, "strides", d->stride, 2);
    const int l = onnx_ints(n, "dilations", d->dilation, 2), p = onnx_ints(n, "pads", d->pads, 4);
    const int64_t taps = w.dim[2] * w.dim[3], C = x->shape.dim[1];
    if ((k >= 0 && (k != 2 || memcmp(d->kernel, w.dim + 2, sizeof d->kernel) != 0)) || (s >= 0 && s != 2) || (l >= 0 && l != 2) ||
        (p >= 0 && p != 4) || d->groups < 1 || d->offset_groups < 1 || C % d->groups || C % d->offset_groups || w.dim[0] % d->groups ||
        w.dim[1] != C / d->groups || d->offset_groups > 1024 || taps > 1024 / d->offset_groups ||
        offset->shape.dim[1] != 2 * taps * d->offset_groups)
        return onnx_fail(n, EPL_ERR_SHAPE, "weights, offsets and groups do not fit to each other");
    for (int i = 0; i < 2; i++)
        if (d->stride[i] < 1 || d->stride[i] > INT32_MAX || d->dilation[i] < 1 || d->dilation[i] > INT32_MAX ||
            d->pads[i] < 0 || d->pads[i] > INT32_MAX)
            return onnx_unsupported(n, "a stride, dilation or pad that is negative, zero or absurd");
    d->rows = onnx_to_channels_last(n, x);
    d->offset = epl_reshape(n->g, offset, EPL_SHAPE(EPL_KEEP, d->offset_groups, taps, 2, d->out[0], d->out[1]));
    d->mask = mask ? epl_reshape(n->g, mask, EPL_SHAPE(EPL_KEEP, d->offset_groups, taps, d->out[0], d->out[1])) : NULL;
    return true;
}

/* x at axes 1, 2, 3 fixed: [N, a, b, c, ...] -> [N, ...]. */
static epl_value *pick(onnx_node *n, epl_value *x, int count, const int64_t *at)
{
    const int axes[3] = { 1, 2, 3 };
    for (int i = 0; i < count; i++)
        x = epl_slice_axis(n->g, x, 1 + i, at[i], at[i] + 1);
    return epl_squeeze(n->g, x, count, axes);
}

/* What tap k reads of the channels of one offset group: [N, OH, OW, C / og]. */
static epl_value *deformed_tap(onnx_node *n, const deform *d, int64_t group, int64_t k)
{
    epl_graph     *g = n->g;
    const sampling s = { .n = 2, .zeros = true };
    const int64_t  channels = epl_channels(d->rows) / d->offset_groups, tap_at[2] = { k / d->kernel[1], k % d->kernel[1] };
    const int      last = 3;
    epl_value     *c[2];
    for (int i = 0; i < 2; i++) {
        const double start = (double)(tap_at[i] * d->dilation[i] - d->pads[i]), step = (double)d->stride[i];
        epl_value *grid = epl_range(g, d->offset->dtype, start, start + step * (double)d->out[i] - step / 2, step);
        c[i] = epl_add(g, pick(n, d->offset, 3, (int64_t[]){ group, k, i }), i == 0 ? epl_reshape(g, grid, EPL_SHAPE(-1, 1)) : grid);
    }
    epl_value *v = interpolate(n, epl_slice_axis(g, d->rows, 3, group * channels, (group + 1) * channels), c, &s);
    return d->mask ? epl_mul(g, v, epl_unsqueeze(g, pick(n, d->mask, 2, (int64_t[]){ group, k }), 1, &last)) : v;
}

static bool import_deform_conv(onnx_node *n)
{
    epl_graph *g = n->g;
    deform     d;
    if (!read_deform(n, &d))
        return false;
    const int64_t taps = d.kernel[0] * d.kernel[1], C = epl_channels(d.rows);
    epl_value    *w = onnx_weight(n, 1, EPL_SHAPE(2, 3, 1, 0)), *bias = onnx_in(n, 3); // [KH, KW, C / groups, M]
    const int64_t M = epl_channels(w), in = C / d.groups, out = M / d.groups;
    epl_value   **read = epl_alloc_array(onnx_context(n), (size_t)(taps + d.offset_groups + d.groups), sizeof *read);
    epl_value   **parts = read ? read + taps : NULL, **results = read ? parts + d.offset_groups : NULL;
    for (int64_t k = 0; read && k < taps; k++) {
        for (int64_t i = 0; i < d.offset_groups; i++)
            parts[i] = deformed_tap(n, &d, i, k);
        read[k] = epl_concat(g, (int)d.offset_groups, parts, 3);
    }
    epl_value *columns = read ? epl_stack(g, (int)taps, read, 3) : NULL; // [N, OH, OW, K, C]
    w = epl_reshape(g, w, EPL_SHAPE(taps, in, M));
    for (int64_t i = 0; read && i < d.groups; i++) {
        epl_value *rows = epl_reshape(g, epl_slice_axis(g, columns, 4, i * in, (i + 1) * in), EPL_SHAPE(EPL_KEEP, EPL_KEEP, EPL_KEEP, -1));
        epl_value *mine = epl_reshape(g, epl_slice_axis(g, w, 2, i * out, (i + 1) * out), EPL_SHAPE(-1, out));
        results[i] = epl_multiply_rows(g, rows, mine, NULL, false);
    }
    epl_value *y = read ? epl_concat(g, (int)d.groups, results, 3) : NULL;
    epl_release(onnx_context(n), read);
    return onnx_set(n, onnx_to_channels_first(n, bias ? epl_add(g, y, bias) : y));
}

const onnx_op onnx_ops_sample[] = {
    { "GridSample", import_grid_sample, NULL }, { "AffineGrid", import_affine_grid, NULL },
    { "DeformConv", import_deform_conv, NULL }, { NULL, NULL, NULL },
};
