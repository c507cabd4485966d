/* transformer: attention, the perceptron behind it, the block of both, and patches; see the public header. */
#include <math.h>
#include <stdio.h>

#include <espalier/nn.h>

/* [N, ..., L, C] -> [N, ..., heads, L, C / heads] */
static epl_value *split_heads(epl_graph *g, epl_value *x, int heads)
{
    const int rank  = epl_rank(x);
    epl_shape shape = { .rank = rank + 1 }; // the zeros are EPL_KEEP
    shape.dim[rank - 1] = heads;
    shape.dim[rank]     = epl_channels(x) / heads;
    return epl_swap_axes(g, epl_reshape(g, x, shape), rank - 2, rank - 1);
}

/* The reverse. */
static epl_value *join_heads(epl_graph *g, epl_value *x, int channels)
{
    const int rank  = epl_rank(x) - 1;
    epl_shape shape = { .rank = rank };
    shape.dim[rank - 1] = channels;
    return epl_reshape(g, epl_swap_axes(g, x, rank - 2, rank - 1), shape);
}

/* 0 where position i may see position j (j <= i), a large negative number elsewhere: [L, L]. */
static epl_value *causal_mask(epl_graph *g, int64_t length)
{
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(length, length));
    for (int64_t i = 0; t && i < length; i++)
        for (int64_t j = i + 1; j < length; j++)
            epl_tensor_set(t, i * length + j, -1e30);
    epl_value *mask = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return mask;
}

epl_value *epl_attention(epl_graph *g, epl_value *x, epl_attention_opts o)
{
    if (!x)
        return NULL;
    const int c = (int)epl_channels(x), heads = o.heads ? o.heads : 8;
    if (epl_rank(x) < 3 || heads < 1 || c % heads)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "attention: %d heads do not divide the width %d of [N, L, C]", heads, c);
    epl_scope_push(g, "%s", o.name ? o.name : "attention");
    epl_value *from = o.context ? o.context : x;
    epl_value *q = split_heads(g, epl_linear(g, x, (epl_linear_opts){ .name = "query", .out = c, .init = o.init }), heads);
    epl_value *k = split_heads(g, epl_linear(g, from, (epl_linear_opts){ .name = "key", .out = c, .init = o.init }), heads);
    epl_value *v = split_heads(g, epl_linear(g, from, (epl_linear_opts){ .name = "value", .out = c, .init = o.init }), heads);
    epl_value *scores = epl_matmul(g, q, k, (epl_matmul_opts){ .trans_b = true });
    scores = epl_mul(g, scores, epl_scalar(g, EPL_F32, 1 / sqrt((double)c / heads)));
    if (o.causal)
        scores = epl_add(g, scores, causal_mask(g, epl_dim(x, -2)));
    if (o.mask)
        scores = epl_add(g, scores, o.mask);
    epl_value *p = epl_softmax(g, scores, -1);
    if (o.dropout > 0)
        p = epl_dropout(g, p, o.dropout, false);
    epl_value *y = join_heads(g, epl_matmul(g, p, v, (epl_matmul_opts){ 0 }), c);
    y = epl_linear(g, y, (epl_linear_opts){ .name = "out", .out = c, .init = o.init });
    epl_scope_pop(g);
    return y;
}

epl_value *epl_mlp(epl_graph *g, epl_value *x, epl_mlp_opts o)
{
    if (!x)
        return NULL;
    const char *name = o.name ? o.name : "mlp";
    const int   c    = (int)epl_channels(x);
    char        first[64], second[64];
    snprintf(first, sizeof first, "%s1", name);
    snprintf(second, sizeof second, "%s2", name);
    x = epl_linear(g, x, (epl_linear_opts){ .name = first, .out = o.hidden ? o.hidden : 4 * c });
    x = epl_activation(g, x, o.activation ? o.activation : "gelu");
    if (o.dropout > 0)
        x = epl_dropout(g, x, o.dropout, false);
    return epl_linear(g, x, (epl_linear_opts){ .name = second, .out = o.out ? o.out : c });
}

epl_value *epl_transformer_block(epl_graph *g, epl_value *x, epl_transformer_opts o)
{
    epl_residual_opts r = { .layer_scale = o.layer_scale, .dropout = o.dropout, .drop_path = o.drop_path };
    epl_scope_push(g, "%s", o.name ? o.name : "block");
    epl_value *h = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm1", .epsilon = o.epsilon });
    h = o.mix ? o.mix(g, h, o.mix_opts)
              : epl_attention(g, h, (epl_attention_opts){ .heads = o.heads, .causal = o.causal, .dropout = o.dropout });
    r.scale = "scale1";
    x = epl_residual(g, x, h, r);
    h = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm2", .epsilon = o.epsilon });
    h = epl_mlp(g, h, (epl_mlp_opts){ .hidden = o.hidden, .activation = o.activation, .dropout = o.dropout });
    r.scale = "scale2";
    x = epl_residual(g, x, h, r);
    epl_scope_pop(g);
    return x;
}

epl_value *epl_patches(epl_graph *g, epl_value *x, epl_patches_opts o)
{
    const char *name = o.name ? o.name : "patches";
    char        norm[64];
    snprintf(norm, sizeof norm, "%s_norm", name);
    x = epl_conv(g, x, (epl_conv_opts){ .name = name, .out = o.out, .kernel = o.size, .stride = o.size });
    return o.norm ? epl_layer_norm(g, x, (epl_norm_opts){ .name = norm, .epsilon = o.epsilon }) : x;
}
