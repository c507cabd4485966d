/* moat: mobile convolution and attention in turns, Yang et al. 2022 (arXiv:2210.01820); see the public header. */
#include "nn/shortcut.h"

static epl_value *convolve(epl_graph *g, epl_value *x, const epl_moat_opts *o)
{
    epl_inverted_opts m = o->mbconv;
    m.name = "mbconv";
    m.pre  = true;
    return epl_inverted_bottleneck(g, x, m);
}

static epl_value *attend(epl_graph *g, epl_value *x, const epl_moat_opts *o)
{
    epl_value *h = epl_window_attention(g, epl_layer_norm(g, x, (epl_norm_opts){ 0 }), o->attention);
    return epl_residual(g, x, h, (epl_residual_opts){ .drop_path = o->mbconv.drop_path });
}

epl_value *epl_moat(epl_graph *g, epl_value *x, epl_moat_opts o)
{
    if (!x)
        return NULL;
    if (!o.mbconv.hidden)
        o.mbconv.hidden = 4 * o.mbconv.out;
    epl_scope_push(g, "%s", o.name ? o.name : "moat");
    if (o.order == EPL_MOAT_CONV_ATTENTION) {
        x = attend(g, convolve(g, x, &o), &o);
    } else {
        x = epl_pooled_shortcut(g, x, "down", &o.mbconv);
        o.mbconv.stride = 1;
        x = o.order == EPL_MOAT_ATTENTION_CONV
                ? convolve(g, attend(g, x, &o), &o)
                : epl_transformer_block(g, x,
                                        (epl_transformer_opts){ .name = "transformer",
                                                                .mix = epl_mix_windows,
                                                                .mix_opts = &o.attention,
                                                                .hidden = o.mbconv.hidden,
                                                                .drop_path = o.mbconv.drop_path });
    }
    epl_scope_pop(g);
    return x;
}
