/* osa: one-shot aggregation, Lee et al. 2019 (arXiv:1904.09730), and the gate of its second version, effective
 * squeeze-and-excitation, Lee & Park 2020 (arXiv:1911.06667). */
#include <stdio.h>

#include <espalier/nn.h>

enum { MOST_LAYERS = 32 };

epl_value *epl_effective_squeeze_excite(epl_graph *g, epl_value *u, epl_effective_squeeze_excite_opts o)
{
    if (!u)
        return NULL;
    epl_scope_push(g, "%s", o.name ? o.name : "ese");
    epl_value *s = epl_linear(g, epl_global_average_pool(g, u), (epl_linear_opts){ .name = "fc", .out = (int)epl_channels(u) });
    s = epl_activation(g, s, o.gate ? o.gate : "hard_sigmoid");
    epl_value *y = epl_mul(g, u, epl_unsqueeze(g, s, epl_rank(u) - 2, (int[]){ 1, 2, 3 }));
    epl_scope_pop(g);
    return y;
}

/* 3x3, norm, relu; or depthwise 3x3 without norm, then 1x1, norm, relu. */
static epl_value *layer(epl_graph *g, epl_value *x, const char *name, int out, int stride, bool depthwise)
{
    if (!depthwise)
        return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = out, .stride = stride } });
    const int in = (int)epl_channels(x);
    epl_scope_push(g, "%s", name);
    x = epl_conv(g, x, (epl_conv_opts){ .name = "depthwise", .out = in, .groups = in, .stride = stride, .pad = 1, .no_bias = true });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "pointwise", .conv = { .out = out, .kernel = 1 } });
    epl_scope_pop(g);
    return x;
}

epl_value *epl_osa(epl_graph *g, epl_value *x, epl_osa_opts o)
{
    const int layers = o.layers ? o.layers : 5;
    const char *name = o.name ? o.name : "osa";
    if (!x)
        return NULL;
    if (layers < 1 || layers > MOST_LAYERS)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: %d layers, but 1 to %d are possible", name, layers, (int)MOST_LAYERS);
    if (o.identity && epl_channels(x) != o.out)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "%s: %lld channels come in and %d go out, so the input cannot be added", name,
                              (long long)epl_channels(x), o.out);
    epl_value *outs[MOST_LAYERS + 1] = { x }, *y = x;
    epl_scope_push(g, "%s", name);
    if (o.depthwise && epl_channels(x) != o.width)
        y = epl_conv_unit(g, y, (epl_conv_unit_opts){ .name = "reduce", .conv = { .out = o.width, .kernel = 1 } });
    for (int i = 1; i <= layers; i++) {
        char unit[32];
        snprintf(unit, sizeof unit, "unit%d", i);
        outs[i] = y = layer(g, y, unit, o.width, 1, o.depthwise);
    }
    y = epl_concat(g, layers + 1, outs, -1);
    y = epl_conv_unit(g, y, (epl_conv_unit_opts){ .name = "collect", .conv = { .out = o.out, .kernel = 1 } });
    if (o.ese)
        y = epl_effective_squeeze_excite(g, y, (epl_effective_squeeze_excite_opts){ 0 });
    if (o.identity)
        y = epl_add(g, y, x);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_osa_stem(epl_graph *g, epl_value *x, epl_osa_stem_opts o)
{
    const int width = o.width ? o.width : 64;
    epl_scope_push(g, "stem");
    x = layer(g, x, "unit1", width, 2, false);
    x = layer(g, x, "unit2", width, 1, o.depthwise);
    x = layer(g, x, "unit3", o.out ? o.out : 128, 2, o.depthwise);
    epl_scope_pop(g);
    return x;
}
