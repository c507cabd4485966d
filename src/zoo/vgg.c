/* vgg: stages of 3x3 convolutions with a pool behind each, and three linear layers, Simonyan & Zisserman 2014
 * (arXiv:1409.1556), table 1, configurations A, B, D, E. The linear layers read whatever map is left: torchvision
 * stretches it to 7x7 first, which is the same for images of 224. */
#include <stdio.h>

#include "zoo/zoo.h"

static const struct {
    int depth, convs[5];
} configurations[] = { { 11, { 1, 1, 2, 2, 2 } }, { 13, { 2, 2, 2, 2, 2 } }, { 16, { 2, 2, 3, 3, 3 } }, { 19, { 2, 2, 4, 4, 4 } } };

static const int *convs_of(epl_graph *g, const epl_zoo_args *a)
{
    for (size_t i = 0; i < EPL_COUNT(configurations); i++)
        if (configurations[i].depth == epl_arg_int(a, "depth"))
            return configurations[i].convs;
    epl_zoo_refuse(g, a, "depth", "it must be 11, 13, 16 or 19");
    return NULL;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int *convs = convs_of(g, a);
    if (!convs || !epl_zoo_at_least(g, a, "image", 32, "five pools halve it"))
        return;
    epl_value *x = epl_zoo_image(g, a);
    for (int s = 0; s < 5; s++) {
        epl_scope_push(g, "stage%d", s + 1);
        for (int i = 0; i < convs[s]; i++) {
            char name[32];
            snprintf(name, sizeof name, "unit%d", i + 1);
            x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .no_norm = !epl_arg_int(a, "norm"), .with_bias = true,
                                                          .conv = { .out = epl_arg_int(a, "width") << (s < 3 ? s : 3) } });
        }
        x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
        epl_scope_pop(g);
    }
    x = epl_flatten(g, x, 1);
    for (int i = 0; i < 2 && epl_arg_int(a, "hidden") > 0; i++) {
        x = epl_relu(g, epl_linear(g, x,
                                   (epl_linear_opts){ .name = i ? "fc2" : "fc1",
                                                      .out = epl_arg_int(a, "hidden"),
                                                      .init = EPL_START_HE }));
        x = epl_arg_real(a, "dropout") > 0 ? epl_dropout(g, x, epl_arg_real(a, "dropout"), false) : x;
    }
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_vgg = {
    .name = "vgg", .summary = "3x3 convolutions and pools (VGG-11 to VGG-19)", .paper = "arXiv:1409.1556", .build = build,
    .small = "depth=11,width=4,hidden=16,image=32,classes=10,norm=1",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "depth", 16, 11, 19, .help = "11, 13, 16 or 19" },
                 { "norm", 0, 0, 1, .help = "1: batch normalisation behind each convolution" },
                 { "width", 64, 1, 1024, .help = "channels of the first stage" },
                 { "hidden", 4096, 0, 65536, .help = "units of the two linear layers before the last; 0: there are none" },
                 { "dropout", 0.5, 0, 0.99, .real = true, .help = "behind the linear layers" } },
};
