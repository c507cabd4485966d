/* convnext: a convolutional network with the manners of transformers, Liu et al. 2022 (arXiv:2201.03545). */
#include "zoo/zoo.h"

enum { STAGES = 4 };

static const struct {
    int width, depth[STAGES];
} variants[] = { { 96, { 3, 3, 9, 3 } }, { 96, { 3, 3, 27, 3 } }, { 128, { 3, 3, 27, 3 } }, { 192, { 3, 3, 27, 3 } } };

/* Norm, then 2x2 of stride 2. */
static epl_value *downsample(epl_graph *g, epl_value *x, int stage)
{
    epl_scope_push(g, "downsample%d", stage);
    x = epl_layer_norm(g, x, (epl_norm_opts){ .epsilon = 1e-6 });
    x = epl_patches(g, x, (epl_patches_opts){ .name = "conv", .out = 2 * (int)epl_channels(x), .size = 2 });
    epl_scope_pop(g);
    return x;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int v = epl_arg_int(a, "variant"), width = epl_arg_int(a, "width") ? epl_arg_int(a, "width") : variants[v].width;
    const int most = epl_arg_int(a, "depth") ? epl_arg_int(a, "depth") : 1000;
    int       depth[STAGES], total = 0, at = 0;
    if (!epl_zoo_at_least(g, a, "image", 32, "the stem and three stages divide it"))
        return;
    for (int s = 0; s < STAGES; s++)
        total += depth[s] = variants[v].depth[s] < most ? variants[v].depth[s] : most;
    epl_value *x =
        epl_patches(g, epl_zoo_image(g, a),
                    (epl_patches_opts){ .name = "stem", .out = width, .size = 4, .norm = true, .epsilon = 1e-6 });
    for (int s = 0; s < STAGES; s++) {
        if (s > 0)
            x = downsample(g, x, s + 1);
        for (int i = 0; i < depth[s]; i++, at++) {
            epl_scope_push(g, "stage%d.unit%d", s + 1, i + 1);
            x = epl_convnext_unit(g, x,
                                  (epl_convnext_unit_opts){
                                      .layer_scale = epl_arg_real(a, "layer_scale"),
                                      .drop_path = epl_drop_path_rate(epl_arg_real(a, "drop_path"), at, total) });
            epl_scope_pop(g);
        }
    }
    x = epl_layer_norm(g, epl_global_average_pool(g, x), (epl_norm_opts){ .epsilon = 1e-6 });
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_convnext = {
    .name = "convnext", .summary = "depthwise 7x7 and perceptrons with layer norm (ConvNeXt T, S, B, L)", .paper = "arXiv:2201.03545",
    .build = build, .small = "width=8,depth=1,image=64,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "variant", 0, .choices = "t|s|b|l", .help = "size" },
                 { "width", 0, 0, 4096, .help = "channels of the first stage; 0: the variant's (96, 96, 128, 192)" },
                 { "depth", 0, 0, 100, .help = "most units of a stage; 0: the variant's (3, 3, 9 or 27, 3)" },
                 { "layer_scale", 1e-6, 0, 1, .real = true, .help = "start of the factors of each branch; 0: none" },
                 { "drop_path", 0.1, 0, 0.99, .real = true, .help = "stochastic depth: the last unit's rate, growing from 0" } },
};
