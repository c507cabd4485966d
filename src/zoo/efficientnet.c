/* efficientnet: B0 to B7, Tan & Le 2019 (arXiv:1905.11946): MobileNetV2's blocks with squeeze-and-excitation, scaled
 * in width, depth and resolution together. */
#include <math.h>

#include "zoo/zoo.h"

/* Widths and depths: the authors' code; B0's stages: table 1. */
static const struct {
    double width, depth;
    int    image;
    double dropout, epsilon; /* the larger ones' weights were trained with another epsilon */
} variants[] = { { 1, 1, 224, 0.2, 1e-5 },     { 1, 1.1, 240, 0.2, 1e-5 },   { 1.1, 1.2, 260, 0.3, 1e-5 }, { 1.2, 1.4, 300, 0.3, 1e-5 },
                 { 1.4, 1.8, 380, 0.4, 1e-5 }, { 1.6, 2.2, 456, 0.4, 1e-3 }, { 1.8, 2.6, 528, 0.5, 1e-3 }, { 2, 3.1, 600, 0.5, 1e-3 } };

static const struct {
    int expand, kernel, stride, out, repeat;
} stages[] = { { 1, 3, 1, 16, 1 }, { 6, 3, 2, 24, 2 }, { 6, 5, 2, 40, 2 }, { 6, 3, 2, 80, 3 }, { 6, 5, 1, 112, 3 }, { 6, 5, 2, 192, 4 },
               { 6, 3, 1, 320, 1 } };

static int repeats(int s, double depth) { return (int)ceil(stages[s].repeat * depth); }

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int    v = epl_arg_int(a, "variant"), side = epl_arg_int(a, "image") ? epl_arg_int(a, "image") : variants[v].image;
    const double width = epl_arg_real(a, "width") > 0 ? epl_arg_real(a, "width") : variants[v].width;
    const double depth = epl_arg_real(a, "depth") > 0 ? epl_arg_real(a, "depth") : variants[v].depth;
    const epl_norm_opts norm = { .epsilon = variants[v].epsilon, .momentum = variants[v].epsilon < 1e-4 ? 0.9 : 0.99 };
    epl_conv_unit_opts  unit = {
         .name = "stem", .conv = { .out = epl_zoo_round(32 * width, 8), .stride = 2 }, .norm = norm, .activation = "silu"
    };
    int at = 0, total = 0;
    for (int s = 0; s < (int)EPL_COUNT(stages); s++)
        total += repeats(s, depth);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, side, side, epl_arg_int(a, "channels")), "N,,,");
    x = epl_conv_unit(g, x, unit);
    for (int s = 0; s < (int)EPL_COUNT(stages); s++)
        for (int i = 0; i < repeats(s, depth); i++, at++) {
            const int c = (int)epl_channels(x);
            epl_scope_push(g, "stage%d.unit%d", s + 1, i + 1);
            x = epl_inverted_bottleneck(g, x, (epl_inverted_opts){
                .out = epl_zoo_round(stages[s].out * width, 8), .hidden = stages[s].expand * c, .kernel = stages[s].kernel,
                .stride = i == 0 ? stages[s].stride : 1, .squeeze = c / 4, .activation = "silu", .squeeze_activation = "silu", .norm = norm,
                .drop_path = epl_arg_real(a, "drop_path") * at / total });
            epl_scope_pop(g);
        }
    unit.name = "last";
    unit.conv = (epl_conv_opts){ .out = 4 * (int)epl_channels(x), .kernel = 1 };
    x = epl_conv_unit(g, x, unit);
    epl_zoo_classify_with(g, a, x, (epl_classifier_opts){ .dropout = variants[v].dropout });
}

const epl_zoo_entry epl_zoo_efficientnet = {
    .name = "efficientnet", .summary = "inverted bottlenecks scaled in width, depth and resolution (B0 to B7)", .paper = "arXiv:1905.11946",
    .build = build, .small = "width=0.1,depth=0.3,image=64,classes=10",
    .options = { EPL_ZOO_SIZED_IMAGES(1000, 3), { "variant", 0, .choices = "b0|b1|b2|b3|b4|b5|b6|b7", .help = "size" },
                 { "width", 0, 0, 8, .real = true, .help = "factor of all channels; 0: the variant's" },
                 { "depth", 0, 0, 8, .real = true, .help = "factor of the blocks of a stage; 0: the variant's" },
                 { "drop_path", 0.2, 0, 0.99, .real = true, .help = "stochastic depth: the rate that the last block comes close to" } },
};
