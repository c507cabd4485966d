/* resnet: residual networks, He et al. 2015 (arXiv:1512.03385), for small images and for ImageNet; WideResNet, Zagoruyko &
 * Komodakis 2016 (arXiv:1605.07146), and ResNeXt, Xie et al. 2016 (arXiv:1611.05431), are their options. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

typedef struct shape_of_net {
    bool bottleneck;
    int  units[4], n_stages;
} shape_of_net;

/* The depth counts convolutions and the classifier: 6n + 2 for small images, the paper's table 1 for ImageNet. */
static bool plan(epl_graph *g, const epl_zoo_args *a, shape_of_net *s)
{
    static const struct {
        int  depth;
        bool bottleneck;
        int  units[4];
    } imagenet[] = { { 18, false, { 2, 2, 2, 2 } }, { 34, false, { 3, 4, 6, 3 } }, { 50, true, { 3, 4, 6, 3 } },
                     { 101, true, { 3, 4, 23, 3 } }, { 152, true, { 3, 8, 36, 3 } } };
    const int depth = epl_arg_int(a, "depth");
    if (strcmp(epl_arg_choice(a, "stem"), "imagenet") == 0) {
        for (size_t i = 0; i < EPL_COUNT(imagenet); i++)
            if (imagenet[i].depth == depth) {
                *s = (shape_of_net){ imagenet[i].bottleneck, { 0 }, 4 };
                memcpy(s->units, imagenet[i].units, sizeof s->units);
                return true;
            }
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "resnet: option 'depth' is %d, but with stem=imagenet it is 18, 34, 50, 101 or 152",
                              depth) != NULL;
    }
    const int per_unit = epl_arg_int(a, "bottleneck") ? 9 : 6;
    if (depth < per_unit + 2 || (depth - 2) % per_unit)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "resnet: option 'depth' is %d, but with stem=small it is %dn + 2", depth, per_unit) != NULL;
    const int n = (depth - 2) / per_unit;
    *s = (shape_of_net){ per_unit == 9, { n, n, n, 0 }, 3 };
    return true;
}

static epl_value *unit(epl_graph *g, epl_value *x, const epl_zoo_args *a, bool bottleneck, int width, int stride)
{
    const int  groups = epl_arg_int(a, "groups"), out = bottleneck ? 4 * width : width;
    const int  inner  = bottleneck ? (int)(width * epl_arg_real(a, "group_width")) * groups : width;
    epl_value *h = x, *shortcut = x;
    if (bottleneck) {
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "a", .conv = { .out = inner, .kernel = 1 } });
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "b", .conv = { .out = inner, .stride = stride, .groups = groups } });
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "c", .conv = { .out = out, .kernel = 1 }, .activation = "identity" });
    } else {
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "a", .conv = { .out = width, .stride = stride } });
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "b", .conv = { .out = width }, .activation = "identity" });
    }
    if (epl_arg_int(a, "se"))
        h = epl_squeeze_excite(g, h, (epl_squeeze_excite_opts){ 0 });
    if (epl_arg_real(a, "drop_path") > 0)
        h = epl_drop_path(g, h, epl_arg_real(a, "drop_path"));
    if (stride > 1 || epl_channels(x) != out)
        shortcut = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "shortcut", .conv = { .out = out, .kernel = 1, .stride = stride },
                                                             .activation = "identity" });
    return epl_relu(g, epl_add(g, h, shortcut));
}

static epl_value *stem(epl_graph *g, epl_value *x, const epl_zoo_args *a, int width)
{
    if (strcmp(epl_arg_choice(a, "stem"), "small") == 0)
        return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = width } });
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = width, .kernel = 7, .stride = 2 } });
    return epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    shape_of_net s = { 0 };
    if (!plan(g, a, &s))
        return;
    int        width = epl_arg_int(a, "width");
    epl_value *x     = stem(g, epl_zoo_image(g, a), a, width);
    width *= epl_arg_int(a, "widen");
    for (int stage = 0; stage < s.n_stages; stage++, width *= 2)
        for (int i = 0; i < s.units[stage]; i++) {
            epl_scope_push(g, "stage%d.unit%d", stage + 1, i + 1);
            x = unit(g, x, a, s.bottleneck, width, stage > 0 && i == 0 ? 2 : 1);
            epl_scope_pop(g);
        }
    epl_zoo_classify(g, a, epl_global_average_pool(g, x), "head");
}

const epl_zoo_entry epl_zoo_resnet = {
    .name = "resnet", .summary = "residual network (also wide, grouped, with squeeze-and-excitation)", .paper = "arXiv:1512.03385",
    .build = build,
    .options = { EPL_ZOO_IMAGES(10, 32, 3),
                 { "depth", 20, 8, 1202, .help = "6n+2 with stem=small; 18, 34, 50, 101, 152 with stem=imagenet" },
                 { "stem", 0, .choices = "small|imagenet", .help = "3x3 convolution, or 7x7 of stride 2 and a pool" },
                 { "width", 16, 1, 4096, .help = "channels of the first stage (64 for ImageNet)" },
                 { "widen", 1, 1, 64, .help = "factor of all stages' channels, as in WideResNet" },
                 { "bottleneck", 0, 0, 1, .help = "1: bottleneck units with stem=small too" },
                 { "groups", 1, 1, 256, .help = "groups of the 3x3 convolution in bottlenecks, as in ResNeXt" },
                 { "group_width", 1, 0.01, 8, .real = true, .help = "inner channels of a group, as a fraction of the stage's" },
                 { "se", 0, 0, 1, .help = "1: squeeze-and-excitation in every unit" },
                 { "drop_path", 0, 0, 0.99, .real = true, .help = "stochastic depth" } },
};
