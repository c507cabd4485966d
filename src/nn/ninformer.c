/* ninformer: a gate made by a small network that sees the same tokens, in the place of attention; see the public header. */
#include <math.h>

#include <espalier/nn.h>

static int hidden_of(const epl_mixer_gate_opts *o, const epl_value *x) { return o->hidden ? o->hidden : 2 * (int)epl_channels(x); }

/* ---- mixing ---- */

epl_value *epl_mix_tokens(epl_graph *g, epl_value *x, const void *o)
{
    const epl_mix_tokens_opts *m = o;
    x = epl_mlp(g, epl_swap_axes(g, x, 1, 2), (epl_mlp_opts){ .name = "tokens", .hidden = m->hidden, .dropout = m->dropout });
    return epl_swap_axes(g, x, 1, 2);
}

/* The positions as a square, a depthwise 3x3 convolution over it. */
static epl_value *mix_near(epl_graph *g, epl_value *x, const void *o)
{
    (void)o;
    const int64_t n = epl_dim(x, 1), c = epl_channels(x), side = (int64_t)lround(sqrt((double)n));
    if (side * side != n)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "gate of convolutions: %lld positions are no square", (long long)n);
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, side, side, c));
    x = epl_conv(g, x, (epl_conv_opts){ .name = "near", .depthwise = true, .pad = 1 });
    return epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, n, c));
}

/* cos and sin of 2 pi i j / n, the parts of the transform of length n: computed once, where the graph is lowered. */
static void fourier(epl_graph *g, int64_t n, epl_value **cosine, epl_value **sine)
{
    epl_value *i = epl_range(g, EPL_F32, 0, (double)n, 1);
    epl_value *product = epl_mul(g, epl_unsqueeze(g, i, 1, (int[]){ 1 }), epl_unsqueeze(g, i, 1, (int[]){ 0 }));
    product = epl_mod(g, product, epl_scalar(g, EPL_F32, (double)n)); // small angles keep their digits
    epl_value *angle = epl_affine(g, product, 2 * 3.14159265358979323846 / (double)n, 0);
    *cosine = epl_cos(g, angle);
    *sine   = epl_sin(g, angle);
}

/* Re F_L x F_C = cos_L x cos_C - sin_L x sin_C */
static epl_value *mix_fourier(epl_graph *g, epl_value *x, const void *o)
{
    (void)o;
    epl_value *of_tokens[2], *of_channels[2], *part[2];
    fourier(g, epl_dim(x, 1), &of_tokens[0], &of_tokens[1]);
    fourier(g, epl_channels(x), &of_channels[0], &of_channels[1]);
    for (int k = 0; k < 2; k++) {
        epl_value *along = epl_multiply_rows(g, x, of_channels[k], NULL, false);
        part[k] = epl_swap_axes(g, epl_multiply_rows(g, epl_swap_axes(g, along, 1, 2), of_tokens[k], NULL, false), 1, 2);
    }
    return epl_sub(g, part[0], part[1]);
}

/* ---- the gate ---- */

static epl_value *inner(epl_graph *g, epl_value *x, const epl_mixer_gate_opts *o)
{
    static epl_mix_fn *const mixes[] = { epl_mix_tokens, NULL, mix_near, mix_fourier };
    const epl_mix_tokens_opts tokens = { .hidden = hidden_of(o, x), .dropout = o->dropout };
    if (o->gate != EPL_GATE_TOKEN)
        return epl_transformer_block(g, x, (epl_transformer_opts){ .name = "inner", .mix = mixes[o->gate], .mix_opts = &tokens,
                                                                   .hidden = tokens.hidden, .dropout = o->dropout });
    epl_scope_push(g, "inner");
    epl_value *h = epl_mix_tokens(g, epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm1" }), &tokens);
    x = epl_residual(g, x, h, (epl_residual_opts){ .dropout = o->dropout });
    epl_scope_pop(g);
    return x;
}

epl_value *epl_mixer_gate(epl_graph *g, epl_value *x, epl_mixer_gate_opts o)
{
    if (!x)
        return NULL;
    if (epl_rank(x) != 3)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "mixer_gate: an input of rank %d, expected [N, L, C]", epl_rank(x));
    epl_scope_push(g, "%s", o.name ? o.name : "gate");
    epl_value *projected = epl_linear(g, x, (epl_linear_opts){ .name = "project", .out = (int)epl_channels(x) });
    epl_value *y = epl_mul(g, projected, inner(g, x, &o));
    epl_scope_pop(g);
    return y;
}

epl_value *epl_ninformer(epl_graph *g, epl_value *x, epl_ninformer_opts o)
{
    if (!x)
        return NULL;
    o.gate.name = NULL;
    epl_scope_push(g, "%s", o.name ? o.name : "block");
    epl_value *h = epl_layer_norm(g, x, (epl_norm_opts){ .name = o.two_norms ? "norm1" : "norm" });
    x = epl_add(g, epl_mixer_gate(g, h, o.gate), x);
    h = epl_layer_norm(g, x, (epl_norm_opts){ .name = o.two_norms ? "norm2" : "norm" });
    h = h ? epl_mlp(g, h, (epl_mlp_opts){ .hidden = hidden_of(&o.gate, x), .dropout = o.gate.dropout }) : NULL;
    x = epl_residual(g, x, h, (epl_residual_opts){ .dropout = o.gate.dropout });
    epl_scope_pop(g);
    return x;
}
