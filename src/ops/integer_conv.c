/* integer_conv: a convolution, or a linear layer, of integers of 8 bits by integer weights: what a quantised network computes.
 *
 *   y[..., m] = scale[m] sum over taps and c of x[..., c] w[..., c, m]  (+ bias[m])
 *
 * The sum is exact, in 32 bits, and wraps; then it is rounded to f32, once, and scaled, in the type of the scale.
 * Padding is 0, so x has no zero point. Networks are not built of it: lowering puts it in the place of products
 * whose inputs are integers times a factor (passes/integers.c). */
#include "ops/dense.h"
#include "ops/window.h"

enum { X, W, SCALE, BIAS, N_INPUTS };
enum { STRIDES, PADS, DILATIONS, GROUPS };

/* begin reference */
/* Of 32 bits, as it wraps. */
static inline double epl_integer_sum(uint32_t sum) { return sum > INT32_MAX ? -(double)(0u - sum) : (double)sum; }

static void epl_ref_integer_conv(const epl_ref_call *c)
{
    const epl_view *w = &c->in[1], *y = &c->out[0], *bias = c->n_in > 3 && c->in[3].data ? &c->in[3] : NULL;
    epl_view        x = c->in[0], rows = *y;
    if (w->rank == 2) { // a linear layer: rows are images of one pixel
        x.rank = rows.rank = 2;
        x.dim[1] = w->dim[0], rows.dim[1] = w->dim[1];
        x.dim[0] = rows.dim[0] = rows.dim[1] ? epl_view_count(y) / rows.dim[1] : 0;
    }
    const epl_ref_window win = epl_ref_window_of(&x, &rows, w->dim, &c->attr[0], &c->attr[1], &c->attr[2]);
    const int64_t        in = epl_ref_volume(win.in), out = epl_ref_volume(win.out), taps = epl_ref_volume(win.kernel);
    const int64_t        channels = x.dim[x.rank - 1], m_all = rows.dim[rows.rank - 1], groups = c->attr[3].i;
    const int64_t        cg = channels / groups, mg = m_all / groups;
    for (int64_t row = 0; row < x.dim[0] * out; row++)
        for (int64_t m = 0; m < m_all; m++) {
            uint32_t sum = 0;
            for (int64_t k = 0; k < taps; k++) {
                const int64_t tap = epl_ref_window_tap(&win, row % out, k, 0);
                for (int64_t i = 0; tap >= 0 && i < cg; i++)
                    sum += (uint32_t)epl_ref_get_i64(&x, (row / out * in + tap) * channels + m / mg * cg + i) *
                           (uint32_t)epl_ref_get_i64(w, (k * cg + i) * m_all + m);
            }
            epl_ref_set(y, row * m_all + m,
                        (double)(float)epl_integer_sum(sum) * epl_ref_get(&c->in[2], m) +
                            (bias ? epl_ref_get(bias, m) : 0));
        }
}
/* end reference */

static bool check_types(const epl_node *n)
{
    const epl_dtype x = n->inputs[X]->dtype, w = n->inputs[W]->dtype;
    if ((x != EPL_I8 && x != EPL_U8) || (w != EPL_I8 && w != EPL_I16))
        return epl_node_fail(n, EPL_ERR_DTYPE, "input %s and weight %s; i8 or u8, and i8 or i16 are needed",
                             epl_dtype_name(x), epl_dtype_name(w));
    const epl_dtype f = n->inputs[SCALE]->dtype, b = epl_node_input(n, BIAS) ? n->inputs[BIAS]->dtype : f;
    return (epl_dtype_is_float(f) && b == f) ||
           epl_node_fail(n, EPL_ERR_DTYPE, "scale %s and bias %s; they must be floats, and alike", epl_dtype_name(f), epl_dtype_name(b));
}

static bool infer(epl_node *n)
{
    const epl_shape x = n->inputs[X]->shape, w = n->inputs[W]->shape;
    const int64_t   groups = n->attrs[GROUPS].i;
    char            sx[192], sw[192];
    epl_ref_window  win;
    if (!check_types(n))
        return false;
    const bool linear = w.rank == 2 && x.rank >= 1;
    if (!linear && (x.rank != w.rank || x.rank < 3 || x.rank > 5))
        return epl_node_fail(n, EPL_ERR_SHAPE,
                             "input %s and weight %s; [N, spatial..., C] and [kernel..., C/groups, M], or [..., C] and "
                             "[C, M] are needed",
                             epl_shape_text(sx, x), epl_shape_text(sw, w));
    const int64_t channels = x.dim[x.rank - 1], m = w.dim[w.rank - 1];
    if (groups < 1 || (linear && groups != 1) || channels % groups || m % groups || channels / groups != w.dim[w.rank - 2])
        return epl_node_fail(n, EPL_ERR_SHAPE, "input %s and weight %s do not fit in %lld groups",
                             epl_shape_text(sx, x), epl_shape_text(sw, w), (long long)groups);
    epl_shape y = x;
    y.dim[y.rank - 1] = m;
    if (!linear) {
        if (!epl_window_infer(n, x, w.dim, &n->attrs[STRIDES], &n->attrs[PADS], &n->attrs[DILATIONS], false, &win))
            return false;
        y = epl_window_shape(x, &win, m);
    }
    return epl_check_shape(n, SCALE, "the scale", EPL_SHAPE(m)) && epl_check_shape(n, BIAS, "bias", EPL_SHAPE(m)) &&
           epl_set_type(n, 0, n->inputs[SCALE]->dtype, y);
}

/* In f64, whose sums are exact as well. */
static bool expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_attr   a[EPL_MAX_ATTRS];
    epl_value *x = epl_cast(g, n->inputs[X], EPL_F64), *w = epl_cast(g, n->inputs[W], EPL_F64);
    epl_value *sum = n->inputs[W]->shape.rank == 2 ? epl_multiply_rows(g, x, w, NULL, false)
                                                   : epl_apply(g, &epl_op_conv, EPL_IN(x, w), epl_attrs_of(n, GROUPS + 1, a));
    epl_value *y = epl_mul(g, epl_cast(g, sum, n->outputs[0]->dtype), n->inputs[SCALE]);
    *out = epl_node_input(n, BIAS) ? epl_add(g, y, n->inputs[BIAS]) : y;
    return *out != NULL;
}

static epl_cost cost(const epl_node *n)
{
    const epl_shape w = n->inputs[W]->shape;
    return (epl_cost){ .macs = (double)epl_shape_count(n->outputs[0]->shape) * (double)epl_shape_count_from(w, 0, w.rank - 1) };
}

static epl_node *sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t groups = epl_pick(r, 1, 2), cg = epl_pick(r, 1, 9), mg = epl_pick(r, 1, 9), k = epl_pick(r, 1, 3),
                  h = k + epl_pick(r, 0, 5);
    const bool     linear = epl_pick(r, 0, 3) == 0;
    const int64_t  strides[] = { epl_pick(r, 1, 2), 1 }, pads[] = { k / 2, k / 2, k / 2, 0 };
    const epl_attr a[EPL_MAX_ATTRS] = { [STRIDES] = EPL_A_INTS(2, strides), [PADS] = EPL_A_INTS(4, pads), [GROUPS] = EPL_A_I(groups) };
    const bool     is_unsigned = epl_pick(r, 0, 1), narrow = epl_pick(r, 0, 1);
    epl_value     *x = epl_sample_input(g, is_unsigned ? EPL_U8 : EPL_I8,
                                    linear ? EPL_SHAPE(h, groups * cg) : EPL_SHAPE(2, h, h + 1, groups * cg),
                                    is_unsigned ? 0 : -128, is_unsigned ? 255 : 127, 0);
    epl_value *w = epl_sample_input(g, narrow ? EPL_I8 : EPL_I16, linear ? EPL_SHAPE(groups * cg, mg) : EPL_SHAPE(k, k, cg, groups * mg),
                                    narrow ? -128 : -300, narrow ? 127 : 300, 0);
    const int64_t m = epl_channels(w);
    epl_value *scale = epl_sample_input(g, dtype, EPL_SHAPE(m), 1e-6, 1e-5, 0);
    epl_value *bias = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(m), -1, 1, 0) : NULL;
    return epl_node_add(g, &epl_op_integer_conv, EPL_IN(x, w, scale, bias), linear ? NULL : a, 0, NULL);
}

const epl_op epl_op_integer_conv = {
    .name = "IntegerConv",
    .n_inputs = N_INPUTS,
    .min_inputs = 3,
    .n_outputs = 1,
    .attrs = { { "strides", EPL_ATTR_INTS },
               { "pads", EPL_ATTR_INTS },
               { "dilations", EPL_ATTR_INTS },
               { "group", EPL_ATTR_INT, .def_i = 1 } },
    .infer = infer,
    .expand = expand,
    .cost = cost,
    EPL_REF(epl_ref_integer_conv),
    .sample = sample,
};

epl_value *epl_convolve_integers(epl_graph *g, epl_value *x, epl_value *w, epl_value *scale, epl_value *bias, const epl_node *like)
{
    epl_attr a[EPL_MAX_ATTRS] = { 0 };
    if (like)
        epl_attrs_of(like, GROUPS + 1, a); // Conv's table begins alike
    return epl_apply(g, &epl_op_integer_conv, EPL_IN(x, w, scale, bias), a);
}
