/* shufflenet: version 2, Ma et al. 2018 (arXiv:1807.11164), table 5. */
#include <string.h>

#include "zoo/zoo.h"

static epl_value *pointwise(epl_graph *g, epl_value *x, const char *name, int out)
{
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = out, .kernel = 1 } });
}

static epl_value *depthwise(epl_graph *g, epl_value *x, const char *name, int stride)
{
    return epl_conv_unit(g, x,
                         (epl_conv_unit_opts){
                             .name = name, .conv = { .depthwise = true, .stride = stride }, .activation = "identity" });
}

/* Figure 3 (c) and (d): half of the channels pass, or with stride 2 all go both ways; then the halves mix. */
static epl_value *unit(epl_graph *g, epl_value *x, int out, int stride)
{
    epl_value *half[2] = { x, x };
    if (stride == 1)
        epl_split(g, x, -1, 2, NULL, half);
    else
        half[0] = pointwise(g, depthwise(g, x, "left.depthwise", stride), "left.pointwise", out / 2);
    half[1] = pointwise(g, half[1], "right.expand", out / 2);
    half[1] = depthwise(g, half[1], "right.depthwise", stride);
    half[1] = pointwise(g, half[1], "right.project", out / 2);
    return epl_channel_shuffle(g, epl_concat(g, 2, half, -1), 2);
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    static const int widths[][4] = { { 48, 96, 192, 1024 }, { 116, 232, 464, 1024 }, { 176, 352, 704, 1024 }, { 244, 488, 976, 2048 } };
    static const int repeats[] = { 4, 8, 4 };
    const int *width = widths[epl_arg_int(a, "width")];
    epl_value *x = epl_conv_unit(g, epl_zoo_image(g, a), (epl_conv_unit_opts){ .name = "stem", .conv = { .out = 24, .stride = 2 } });
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < repeats[s]; i++) {
            epl_scope_push(g, "stage%d.unit%d", s + 2, i + 1);
            x = unit(g, x, width[s], i == 0 ? 2 : 1);
            epl_scope_pop(g);
        }
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "last", .conv = { .out = width[3], .kernel = 1 } });
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_shufflenet = {
    .name = "shufflenet", .summary = "channel splits and shuffles (version 2)", .paper = "arXiv:1807.11164", .build = build,
    .small = "width=x0.5,image=64,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "width", 1, .choices = "x0.5|x1.0|x1.5|x2.0", .help = "one of the paper's sizes" } },
};
