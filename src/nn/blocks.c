/* blocks: what many networks share, made of layers. */
#include <math.h>

#include <espalier/nn.h>

epl_value *epl_conv_unit(epl_graph *g, epl_value *x, epl_conv_unit_opts o)
{
    epl_scope_push(g, "%s", o.name ? o.name : "unit");
    epl_conv_opts c = o.conv;
    c.name    = "conv";
    c.no_bias = !o.no_norm;
    if (!c.pad && !c.same) {
        const int kernel = c.kernel ? c.kernel : 3, dilation = c.dilation ? c.dilation : 1;
        c.pad = kernel / 2 * dilation;
    }
    epl_value *y = epl_conv(g, x, c);
    if (!o.no_norm)
        y = epl_batch_norm(g, y, (epl_norm_opts){ .name = "norm", .weight = o.norm_weight });
    y = epl_activation(g, y, o.activation ? o.activation : "relu");
    epl_scope_pop(g);
    return y;
}

/* [N, L, C] -> [N, heads, L, C / heads] */
static epl_value *split_heads(epl_graph *g, epl_value *x, int heads)
{
    epl_value *y = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, EPL_KEEP, heads, epl_channels(x) / heads));
    return epl_transpose(g, y, 4, (int[]){ 0, 2, 1, 3 });
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
    const int c = (int)epl_channels(x), heads = o.heads ? o.heads : 8;
    if (!x)
        return NULL;
    if (epl_rank(x) != 3 || c % heads)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "attention: %d heads do not divide the width %d of [N, L, C]", heads, c);
    epl_scope_push(g, "%s", o.name ? o.name : "attention");
    epl_value *from = o.context ? o.context : x;
    epl_value *q = split_heads(g, epl_linear(g, x, (epl_linear_opts){ .name = "query", .out = c }), heads);
    epl_value *k = split_heads(g, epl_linear(g, from, (epl_linear_opts){ .name = "key", .out = c }), heads);
    epl_value *v = split_heads(g, epl_linear(g, from, (epl_linear_opts){ .name = "value", .out = c }), heads);
    epl_value *scores = epl_matmul(g, q, k, (epl_matmul_opts){ .trans_b = true });
    scores = epl_mul(g, scores, epl_scalar(g, EPL_F32, 1 / sqrt((double)c / heads)));
    if (o.causal)
        scores = epl_add(g, scores, causal_mask(g, epl_dim(x, 1)));
    if (o.mask)
        scores = epl_add(g, scores, o.mask);
    epl_value *p = epl_softmax(g, scores, -1);
    if (o.dropout > 0)
        p = epl_dropout(g, p, o.dropout, false);
    epl_value *y = epl_transpose(g, epl_matmul(g, p, v, (epl_matmul_opts){ 0 }), 4, (int[]){ 0, 2, 1, 3 });
    y = epl_reshape(g, y, EPL_SHAPE(EPL_KEEP, EPL_KEEP, c));
    y = epl_linear(g, y, (epl_linear_opts){ .name = "out", .out = c });
    epl_scope_pop(g);
    return y;
}

static epl_value *residual(epl_graph *g, epl_value *x, epl_value *y, const epl_transformer_opts *o)
{
    if (o->dropout > 0)
        y = epl_dropout(g, y, o->dropout, false);
    if (o->drop_path > 0)
        y = epl_drop_path(g, y, o->drop_path);
    return epl_add(g, x, y);
}

epl_value *epl_transformer_block(epl_graph *g, epl_value *x, epl_transformer_opts o)
{
    const int c = (int)epl_channels(x);
    epl_scope_push(g, "%s", o.name ? o.name : "block");
    epl_value *h = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm1", .epsilon = o.epsilon });
    h = epl_attention(g, h, (epl_attention_opts){ .heads = o.heads, .causal = o.causal, .dropout = o.dropout });
    x = residual(g, x, h, &o);
    h = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm2", .epsilon = o.epsilon });
    h = epl_linear(g, h, (epl_linear_opts){ .name = "mlp1", .out = o.hidden ? o.hidden : 4 * c });
    h = epl_activation(g, h, o.activation ? o.activation : "gelu");
    h = epl_linear(g, h, (epl_linear_opts){ .name = "mlp2", .out = c });
    x = residual(g, x, h, &o);
    epl_scope_pop(g);
    return x;
}

epl_value *epl_squeeze_excite(epl_graph *g, epl_value *u, epl_squeeze_excite_opts o)
{
    if (!u)
        return NULL;
    const int c = (int)epl_channels(u), r = o.reduction ? o.reduction : 16; // sec. 6.1
    const int hidden = o.hidden ? o.hidden : c / r > 0 ? c / r : 1;
    epl_scope_push(g, "%s", o.name ? o.name : "se");
    epl_value *z = epl_global_average_pool(g, u); // eq. (2)
    epl_value *h = epl_activation(g, epl_linear(g, z, (epl_linear_opts){ .name = "down", .out = hidden }),
                                  o.activation ? o.activation : "relu");
    epl_value *s = epl_activation(g, epl_linear(g, h, (epl_linear_opts){ .name = "up", .out = c }), o.gate ? o.gate : "sigmoid"); // eq. (3)
    epl_shape  shape = { .rank = epl_rank(u) };
    for (int i = 1; i < shape.rank - 1; i++)
        shape.dim[i] = 1;
    shape.dim[shape.rank - 1] = c;
    epl_scope_pop(g);
    return epl_mul(g, u, epl_reshape(g, s, shape)); // eq. (4); dimension 0 is EPL_KEEP
}
