/* gated_conv: a convolution of which some input channels are known to be zero and some output channels are not
 * wanted, sample by sample:
 *
 *   y[n, ..., m] = out_mask[n, m] f(bias[m] + sum over taps and c of in_mask[n, c] x[n, ..., c] w[..., c, m]),   f: identity or relu
 *
 * What is zero in a mask costs nothing, neither its channels' multiply-adds nor their weights (program/lower_conv.c:
 * for one sample). Dynamic pruning makes such masks: Elkerdawy et al. 2022 (arXiv:2110.08232). One group; images [N,
 * H, W, C]. */
#include "ops/dense.h"
#include "ops/window.h"

enum { X, W, OUT_MASK, BIAS, IN_MASK, N_INPUTS };
enum { STRIDES, PADS, DILATIONS, RELU };

/* begin reference */
static void epl_ref_gated_conv(const epl_ref_call *c)
{
    const epl_view      *x = &c->in[0], *w = &c->in[1], *out_mask = &c->in[2], *y = &c->out[0];
    const epl_view      *bias = c->n_in > 3 && c->in[3].data ? &c->in[3] : NULL, *in_mask = c->n_in > 4 && c->in[4].data ? &c->in[4] : NULL;
    const epl_ref_window win = epl_ref_window_of(x, y, w->dim, &c->attr[0], &c->attr[1], &c->attr[2]);
    const int64_t        in = epl_ref_volume(win.in), out = epl_ref_volume(win.out), taps = epl_ref_volume(win.kernel);
    const int64_t        channels = x->dim[x->rank - 1], m_all = y->dim[y->rank - 1];
    for (int64_t row = 0; row < x->dim[0] * out; row++)
        for (int64_t m = 0; m < m_all; m++) {
            const int64_t n = row / out;
            double        sum = bias ? epl_ref_get(bias, m) : 0;
            for (int64_t k = 0; k < taps; k++) {
                const int64_t tap = epl_ref_window_tap(&win, row % out, k, 0);
                for (int64_t i = 0; tap >= 0 && i < channels; i++)
                    sum += (in_mask ? epl_ref_get(in_mask, n * channels + i) : 1) * epl_ref_get(x, (n * in + tap) * channels + i) *
                           epl_ref_get(w, (k * channels + i) * m_all + m);
            }
            if (c->attr[3].i && sum < 0)
                sum = 0;
            epl_ref_set(y, row * m_all + m, epl_ref_get(out_mask, n * m_all + m) * sum);
        }
}
/* end reference */

static bool infer(epl_node *n)
{
    const epl_value *x = n->inputs[X], *w = n->inputs[W];
    char             sx[192], sw[192];
    epl_ref_window   win;
    if (!epl_check_floats(n, N_INPUTS))
        return false;
    const epl_shape xs = x->shape, ws = w->shape;
    if (xs.rank != 4 || ws.rank != 4 || xs.dim[3] != ws.dim[2])
        return epl_node_fail(n, EPL_ERR_SHAPE, "input %s and weight %s; [N, H, W, C] and [KH, KW, C, M] are needed", epl_shape_text(sx, xs),
                             epl_shape_text(sw, ws));
    return epl_check_shape(n, OUT_MASK, "the mask of outputs", EPL_SHAPE(xs.dim[0], ws.dim[3])) &&
           epl_check_shape(n, BIAS, "bias", EPL_SHAPE(ws.dim[3])) &&
           epl_check_shape(n, IN_MASK, "the mask of inputs", EPL_SHAPE(xs.dim[0], xs.dim[3])) &&
           epl_window_infer(n, xs, ws.dim, &n->attrs[STRIDES], &n->attrs[PADS], &n->attrs[DILATIONS], false, &win) &&
           epl_set_type(n, 0, x->dtype, epl_window_shape(xs, &win, ws.dim[3]));
}

static epl_value *as_image(epl_graph *g, epl_value *mask) { return epl_unsqueeze(g, mask, 2, (const int[]){ 1, 2 }); }

static bool expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    epl_attr   a[EPL_MAX_ATTRS];
    epl_value *in_mask = epl_node_input(n, IN_MASK), *x = n->inputs[X];
    x = in_mask ? epl_mul(g, x, as_image(g, in_mask)) : x;
    epl_attrs_of(n, RELU, a);
    a[RELU] = (epl_attr){ 0 };
    epl_value *y = epl_apply(g, &epl_op_conv, EPL_IN(x, n->inputs[W], epl_node_input(n, BIAS)), a);
    y   = n->attrs[RELU].i && y ? epl_relu(g, y) : y;
    *out = y ? epl_mul(g, y, as_image(g, n->inputs[OUT_MASK])) : NULL;
    return *out != NULL;
}

static epl_cost cost(const epl_node *n) /* if nothing is masked: what is depends on the sample */
{
    const epl_shape w = n->inputs[W]->shape;
    return (epl_cost){ .macs = (double)epl_shape_count(n->outputs[0]->shape) * (double)epl_shape_count_from(w, 0, 3) };
}

static epl_node *sample(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t n = epl_pick(r, 1, 2), c = epl_pick(r, 1, 5), m = epl_pick(r, 1, 6), k = epl_pick(r, 1, 3), stride = epl_pick(r, 1, 2);
    const int64_t h = k + epl_pick(r, 0, 4), pad = k / 2;
    epl_value    *x = epl_sample_input(g, dtype, EPL_SHAPE(n, h, h + 1, c), -1, 1, 0),
              *w = epl_sample_input(g, dtype, EPL_SHAPE(k, k, c, m), -1, 1, 0);
    epl_value *out_mask = epl_sample_input(g, dtype, EPL_SHAPE(n, m), 0.2, 1, 0);
    epl_value *bias = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(m), -1, 1, 0) : NULL;
    epl_value *in_mask = epl_pick(r, 0, 1) ? epl_sample_input(g, dtype, EPL_SHAPE(n, c), 0.2, 1, 0) : NULL;
    const int64_t  strides[] = { stride, stride }, pads[] = { pad, pad, pad, pad };
    const epl_attr a[EPL_MAX_ATTRS] = { [STRIDES] = EPL_A_INTS(2, strides), [PADS] = EPL_A_INTS(4, pads) };
    return epl_node_add(g, &epl_op_gated_conv, EPL_IN(x, w, out_mask, bias, in_mask), a, 0, NULL); // relu has a kink: tests of its own
}

const epl_op epl_op_gated_conv = {
    .name = "GatedConv", .n_inputs = N_INPUTS, .min_inputs = 3, .n_outputs = 1,
    .attrs = { { "strides", EPL_ATTR_INTS }, { "pads", EPL_ATTR_INTS }, { "dilations", EPL_ATTR_INTS }, { "relu", EPL_ATTR_BOOL } },
    .infer = infer, .expand = expand, .cost = cost, EPL_REF(epl_ref_gated_conv), .sample = sample,
};

epl_value *epl_convolve_gated(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, epl_value *in_mask, epl_value *out_mask, bool relu,
                              const epl_node *like)
{
    epl_attr a[EPL_MAX_ATTRS] = { 0 };
    if (like)
        epl_attrs_of(like, RELU, a); // Conv's table begins alike
    a[RELU] = EPL_A_I(relu);
    return epl_apply(g, &epl_op_gated_conv, EPL_IN(x, w, out_mask, bias, in_mask), a);
}
