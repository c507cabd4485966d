/* conv_first: the inverted bottleneck whose spatial convolution comes first, Lavin 2024, and the block of ConvNeXt,
 * which it is compared with; see the public header. */
#include <espalier/nn.h>

epl_value *epl_conv_first(epl_graph *g, epl_value *x, epl_conv_first_opts o)
{
    if (!x)
        return NULL;
    const int  c = (int)epl_channels(x), out = o.out ? o.out : c, width = o.group_width ? o.group_width : 8;
    const bool stays = o.stride <= 1 && out == c;
    epl_conv_unit_opts u = { .name = "spatial", .activation = "identity",
                             .conv = { .out = c, .kernel = o.kernel, .stride = o.stride, .groups = c / width } };
    epl_value *h = x;
    if (!o.no_spatial && c % width)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "conv_first: groups of %d channels do not divide %d", width, c);
    if (o.no_spatial && o.stride > 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "conv_first: a stride of %d without a spatial convolution", o.stride);
    epl_scope_push(g, "%s", o.name ? o.name : "conv_first");
    if (!o.no_spatial)
        h = epl_conv_unit(g, h, u);
    u = (epl_conv_unit_opts){ .name = "expand", .activation = "silu", .conv = { .out = o.hidden ? o.hidden : 4 * c, .kernel = 1 } };
    h = epl_conv_unit(g, h, u);
    u = (epl_conv_unit_opts){ .name = "project", .activation = "identity", .conv = { .out = out, .kernel = 1 } };
    h = epl_conv_unit(g, h, u);
    if (stays)
        h = epl_residual(g, x, h, (epl_residual_opts){ .drop_path = o.drop_path });
    epl_scope_pop(g);
    return h;
}

epl_value *epl_convnext_unit(epl_graph *g, epl_value *x, epl_convnext_unit_opts o)
{
    epl_value *h = epl_conv(g, x, (epl_conv_opts){ .name = "depthwise", .depthwise = true, .kernel = 7, .pad = 3 });
    h = epl_mlp(g, epl_layer_norm(g, h, (epl_norm_opts){ .epsilon = 1e-6 }), (epl_mlp_opts){ 0 });
    return epl_residual(g, x, h, (epl_residual_opts){ .layer_scale = o.layer_scale, .drop_path = o.drop_path });
}
