/* resnet9: nine layers for small images, as they became known through DAWNBench (D. Page 2018, "How to train your ResNet"): four
 * convolutions, of which three end in a pool, and two residual pairs. Left out: the constant that scales the logits. */
#include <stdio.h>

#include "zoo/zoo.h"

static epl_value *unit(epl_graph *g, epl_value *x, const char *name, int out)
{
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = out } });
}

static epl_value *pooled(epl_graph *g, epl_value *x, const char *name, int out)
{
    return epl_max_pool(g, unit(g, x, name, out), (epl_pool_opts){ .kernel = { 2 } });
}

static epl_value *pair(epl_graph *g, epl_value *x, const char *name, int out)
{
    epl_scope_push(g, "%s", name);
    epl_value *y = epl_add(g, x, unit(g, unit(g, x, "unit1", out), "unit2", out));
    epl_scope_pop(g);
    return y;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int width = epl_arg_int(a, "width");
    if (!epl_zoo_at_least(g, a, "image", 8, "three pools halve it"))
        return;
    epl_value *x = unit(g, epl_zoo_image(g, a), "stem", width);
    x = pair(g, pooled(g, x, "stage1", 2 * width), "pair1", 2 * width);
    x = pooled(g, x, "stage2", 4 * width);
    x = pair(g, pooled(g, x, "stage3", 8 * width), "pair2", 8 * width);
    epl_zoo_classify(g, a, epl_reduce_max(g, x, (epl_reduce_opts){ EPL_AXES(1, 2) }), "head");
}

const epl_zoo_entry epl_zoo_resnet9 = {
    .name = "resnet9", .summary = "nine layers for small images (DAWNBench)", .build = build,
    .small = "width=4,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), { "width", 64, 1, 1024, .help = "channels of the first convolution" } },
};
