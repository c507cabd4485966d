/* densenet: densely connected networks, Huang et al. 2016 (arXiv:1608.06993), with bottlenecks and compression
 * (DenseNet-BC) or plain, and KimiaNet, Riasatian et al. 2021 (arXiv:2101.07903), which is the one of depth 121 with
 * other ends. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

typedef struct net {
    int    layers[4], blocks; /* four blocks: for ImageNet */
    int    growth, bottleneck, start; /* channels that a layer adds; of its 1x1 convolution, times growth; of the stem */
    double compression, dropout;
    bool   final_relu;
} net;

static epl_value *dense_block(epl_graph *g, epl_value *x, int layers, const net *n)
{
    for (int i = 0; i < layers; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        x = epl_dense_layer(g, x, (epl_dense_layer_opts){ .growth = n->growth, .bottleneck = n->bottleneck, .dropout = n->dropout });
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

static void build_net(epl_graph *g, const epl_zoo_args *a, net n)
{
    if (!epl_zoo_at_least(g, a, "image", n.blocks == 4 ? 32 : 4, "so often the stem and the transitions halve it"))
        return;
    epl_value *x = epl_stem(g, epl_zoo_image(g, a), (epl_stem_opts){ .kind = n.blocks == 4 ? EPL_STEM_IMAGENET : EPL_STEM_SMALL,
                                                                     .out = n.start, .bare = true });
    for (int b = 0; b < n.blocks; b++) {
        epl_scope_push(g, "block%d", b + 1);
        x = dense_block(g, x, n.layers[b], &n);
        epl_scope_pop(g);
        if (b + 1 < n.blocks)
            x = transition(g, x, b + 1, n.compression);
    }
    x = epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" });
    epl_zoo_classify(g, a, n.final_relu ? epl_relu(g, x) : x, "head");
}

/* ---- densenet ---- */

static bool layers_of(epl_graph *g, const epl_zoo_args *a, net *n)
{
    static const struct {
        int depth, layers[4];
    } imagenet[] = { { 121, { 6, 12, 24, 16 } }, { 161, { 6, 12, 36, 24 } }, { 169, { 6, 12, 32, 32 } }, { 201, { 6, 12, 48, 32 } },
                     { 264, { 6, 12, 64, 48 } } };
    const int depth = epl_arg_int(a, "depth"), plain = epl_arg_int(a, "plain"), convs = plain ? 3 : 6; // of the three blocks
    for (size_t i = 0; !plain && i < EPL_COUNT(imagenet); i++)
        if (imagenet[i].depth == depth) {
            memcpy(n->layers, imagenet[i].layers, sizeof imagenet[i].layers);
            n->blocks = 4;
            return true;
        }
    if (depth < convs + 4 || (depth - 4) % convs)
        return epl_zoo_refuse(g, a, "depth", plain ? "with plain=1 it is 3n + 4" : "it is 121, 161, 169, 201, 264 or 6n + 4");
    n->blocks = 3;
    for (int i = 0; i < 3; i++)
        n->layers[i] = (depth - 4) / convs;
    return true;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const bool plain  = epl_arg_int(a, "plain");
    const int  growth = epl_arg_int(a, "growth");
    net n = { .growth = growth, .bottleneck = plain ? -1 : epl_arg_int(a, "bottleneck"), .start = plain ? 16 : 2 * growth,
              .compression = plain ? 1 : epl_arg_real(a, "compression"), .dropout = epl_arg_real(a, "dropout"),
              .final_relu = epl_arg_int(a, "final_relu") };
    if (!layers_of(g, a, &n))
        return;
    if (n.start * n.compression < 1)
        epl_zoo_refuse(g, a, "compression", "no channel is left then");
    else
        build_net(g, a, n);
    epl_zoo_ibn(g, a);
}

#define FINAL_RELU(default_) { "final_relu", default_, 0, 1, .help = "0: the last normalisation's output is averaged as it is" }

const epl_zoo_entry epl_zoo_densenet = {
    .name = "densenet", .summary = "densely connected network (DenseNet-BC, or plain)", .paper = "arXiv:1608.06993", .build = build,
    .small = "depth=10,growth=4,image=8,classes=5",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "depth", 121, 10, 1000, .help = "121, 161, 169, 201, 264 for ImageNet; 6n+4 for small images (plain: 3n+4)" },
                 { "growth", 32, 1, 256, .help = "channels that each layer adds (48 for depth 161)" },
                 { "bottleneck", 4, 1, 16, .help = "width of the 1x1 convolution, times growth" },
                 { "compression", 0.5, 0.05, 1, .real = true, .help = "channels that a transition keeps" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "of each layer's new channels" },
                 { "plain", 0, 0, 1, .help = "1: for small images, without bottlenecks and compression, 16 channels at the start" },
                 FINAL_RELU(1), EPL_ZOO_IBN("none|a") },
};

/* ---- kimianet: averages what the last normalisation gives, without the activation, so that features may be negativ */

static void build_kimianet(epl_graph *g, const epl_zoo_args *a)
{
    build_net(g, a, (net){ .layers = { 6, 12, 24, 16 }, .blocks = 4, .growth = 32, .bottleneck = 4, .start = 64, .compression = 0.5,
                           .final_relu = epl_arg_int(a, "final_relu") });
}

const epl_zoo_entry epl_zoo_kimianet = {
    .name = "kimianet",
    .summary = "DenseNet-121 for tissue images, 30 cancer subtypes",
    .paper = "arXiv:2101.07903",
    .build = build_kimianet,
    .small = "image=32",
    .options = { EPL_ZOO_IMAGES(30, 1000, 3), FINAL_RELU(0) },
};
