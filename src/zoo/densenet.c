/* densenet: densely connected networks, Huang et al. 2016 (arXiv:1608.06993): DenseNet-BC. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

/* norm, relu, conv: the pre-activation order of the paper. */
static epl_value *normed_conv(epl_graph *g, epl_value *x, const char *norm, epl_conv_opts o)
{
    o.no_bias = true;
    return epl_conv(g, epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ .name = norm })), o);
}

static epl_value *dense_block(epl_graph *g, epl_value *x, int layers, int growth, int bottleneck)
{
    for (int i = 0; i < layers; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        epl_value *h = normed_conv(g, x, "norm1", (epl_conv_opts){ .name = "conv1", .out = bottleneck * growth, .kernel = 1 });
        h = normed_conv(g, h, "norm2", (epl_conv_opts){ .name = "conv2", .out = growth, .pad = 1 });
        x = epl_concat(g, 2, (epl_value *[]){ x, h }, -1);
        epl_scope_pop(g);
    }
    return x;
}

static bool layers_of(epl_graph *g, const epl_zoo_args *a, int layers[4], int *blocks)
{
    static const struct {
        int depth, layers[4];
    } imagenet[] = { { 121, { 6, 12, 24, 16 } }, { 161, { 6, 12, 36, 24 } }, { 169, { 6, 12, 32, 32 } }, { 201, { 6, 12, 48, 32 } },
                     { 264, { 6, 12, 64, 48 } } };
    const int depth = epl_arg_int(a, "depth");
    for (size_t i = 0; i < EPL_COUNT(imagenet); i++)
        if (imagenet[i].depth == depth) {
            memcpy(layers, imagenet[i].layers, sizeof imagenet[i].layers);
            *blocks = 4;
            return true;
        }
    if ((depth - 4) % 6)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "densenet: option 'depth' is %d, but must be 121, 161, 169, 201, 264 or 6n + 4", depth) != NULL;
    *blocks = 3;
    for (int i = 0; i < 3; i++)
        layers[i] = (depth - 4) / 6;
    return true;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    int layers[4] = { 0 }, blocks = 0, growth = epl_arg_int(a, "growth");
    if (!layers_of(g, a, layers, &blocks))
        return;
    epl_value *x = epl_zoo_image(g, a);
    if (blocks == 4) {
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = 2 * growth, .kernel = 7, .stride = 2 } });
        x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
    } else {
        x = epl_conv(g, x, (epl_conv_opts){ .name = "stem", .out = 2 * growth, .pad = 1, .no_bias = true });
    }
    for (int b = 0; b < blocks; b++) {
        epl_scope_push(g, "block%d", b + 1);
        x = dense_block(g, x, layers[b], growth, epl_arg_int(a, "bottleneck"));
        epl_scope_pop(g);
        if (b + 1 == blocks)
            break;
        epl_scope_push(g, "transition%d", b + 1);
        x = normed_conv(g, x, "norm", (epl_conv_opts){ .name = "conv", .out = (int)(epl_channels(x) * epl_arg_real(a, "compression")), .kernel = 1 });
        x = epl_average_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
        epl_scope_pop(g);
    }
    x = epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" }));
    epl_zoo_classify(g, a, epl_global_average_pool(g, x), "head");
}

const epl_zoo_entry epl_zoo_densenet = {
    .name = "densenet", .summary = "densely connected network (DenseNet-BC)", .paper = "arXiv:1608.06993", .build = build,
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "depth", 121, 10, 1000, .help = "121, 161, 169, 201, 264 for ImageNet; 6n+4 for small images" },
                 { "growth", 32, 1, 256, .help = "channels that each layer adds (48 for depth 161)" },
                 { "bottleneck", 4, 1, 16, .help = "width of the 1x1 convolution, times growth" },
                 { "compression", 0.5, 0.05, 1, .real = true, .help = "channels that a transition keeps" } },
};
