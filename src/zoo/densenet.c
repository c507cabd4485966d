/* densenet: densely connected networks, Huang et al. 2016 (arXiv:1608.06993): DenseNet-BC. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

static epl_value *dense_block(epl_graph *g, epl_value *x, int layers, const epl_zoo_args *a)
{
    for (int i = 0; i < layers; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        x = epl_dense_layer(g, x, (epl_dense_layer_opts){ .growth = epl_arg_int(a, "growth"), .bottleneck = epl_arg_int(a, "bottleneck"),
                                                          .dropout = epl_arg_real(a, "dropout") });
        epl_scope_pop(g);
    }
    return x;
}

/* Fewer channels, half the resolution. */
static epl_value *transition(epl_graph *g, epl_value *x, int number, double compression)
{
    char name[32];
    snprintf(name, sizeof name, "transition%d", number);
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .pre = true,
                                                  .conv = { .out = (int)((double)epl_channels(x) * compression), .kernel = 1 } });
    return epl_average_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
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
    int layers[4] = { 0 }, blocks = 0;
    if (!layers_of(g, a, layers, &blocks) ||
        !epl_zoo_at_least(g, a, "image", blocks == 4 ? 32 : 4, "so often the stem and the transitions halve it"))
        return;
    epl_value *x = epl_stem(g, epl_zoo_image(g, a), (epl_stem_opts){ .kind = blocks == 4 ? EPL_STEM_IMAGENET : EPL_STEM_SMALL,
                                                                     .out = 2 * epl_arg_int(a, "growth"), .bare = true });
    for (int b = 0; b < blocks; b++) {
        epl_scope_push(g, "block%d", b + 1);
        x = dense_block(g, x, layers[b], a);
        epl_scope_pop(g);
        if (b + 1 < blocks)
            x = transition(g, x, b + 1, epl_arg_real(a, "compression"));
    }
    x = epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" }));
    epl_zoo_classify(g, a, x, "head");
    epl_zoo_ibn(g, a);
}

const epl_zoo_entry epl_zoo_densenet = {
    .name = "densenet", .summary = "densely connected network (DenseNet-BC)", .paper = "arXiv:1608.06993", .build = build,
    .small = "depth=10,growth=4,image=8,classes=5",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "depth", 121, 10, 1000, .help = "121, 161, 169, 201, 264 for ImageNet; 6n+4 for small images" },
                 { "growth", 32, 1, 256, .help = "channels that each layer adds (48 for depth 161)" },
                 { "bottleneck", 4, 1, 16, .help = "width of the 1x1 convolution, times growth" },
                 { "compression", 0.5, 0.05, 1, .real = true, .help = "channels that a transition keeps" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "of each layer's new channels" }, EPL_ZOO_IBN("none|a") },
};
