/* convfirst: a pyramid of inverted bottlenecks whose spatial convolution comes first, Lavin 2024 (arXiv:2404.03617).
 * The paper's table of channels is not known here: the sizes are our own. */
#include "zoo/zoo.h"

enum { STAGES = 4 };

static const struct {
    int width, depth[STAGES];
} variants[] = { { 32, { 2, 2, 6, 2 } }, { 48, { 2, 2, 8, 2 } }, { 64, { 3, 3, 9, 3 } } };

/* Of stride 4; the first convolution half as wide. */
static epl_value *stem(epl_graph *g, epl_value *x, int width)
{
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem1", .activation = "silu", .conv = { .out = (width + 1) / 2, .stride = 2 } });
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem2", .activation = "silu", .conv = { .out = width, .stride = 2 } });
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int v = epl_arg_int(a, "variant"), width = epl_arg_int(a, "width") ? epl_arg_int(a, "width") : variants[v].width;
    const int most = epl_arg_int(a, "depth") ? epl_arg_int(a, "depth") : 1000, group = epl_arg_int(a, "group_width");
    if (!epl_zoo_divides(g, a, "group_width", group, "the width of the first stage", width))
        return;
    epl_value *x = stem(g, epl_zoo_image(g, a), width);
    for (int s = 0; s < STAGES; s++) {
        for (int i = 0; i < variants[v].depth[s] && i < most; i++) {
            const bool first = s > 0 && i == 0; // makes the map smaller at the incoming width
            epl_scope_push(g, "stage%d", s + 1);
            epl_scope_push(g, "block%d", i + 1);
            x = epl_conv_first(g, x,
                               (epl_conv_first_opts){ .name = "conv_first",
                                                      .out = width << s,
                                                      .stride = first ? 2 : 1,
                                                      .group_width = group,
                                                      .kernel = 3 });
            epl_scope_pop(g);
            epl_scope_pop(g);
        }
    }
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_convfirst = {
    .name = "convfirst", .summary = "inverted bottlenecks that begin with their spatial convolution (ConvFirst; sizes of our own)",
    .paper = "arXiv:2404.03617", .build = build, .small = "width=8,depth=2,image=32,channels=1,classes=6",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "variant", 0, .choices = "pico|nano|tiny", .help = "size" },
                 { "width", 0, 0, 4096, .help = "channels of the first stage; 0: the variant's (32, 48, 64)" },
                 { "depth", 0, 0, 100, .help = "most blocks of a stage; 0: the variant's (2, 2, 6 or 8, 2; tiny: 3, 3, 9, 3)" },
                 { "group_width", 8, 1, 4096, .help = "channels of a group of the spatial convolutions; divides width" } },
};
