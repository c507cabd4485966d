/* vanillanet: Chen et al. 2023 (arXiv:2305.12972). Five to thirteen layers without shortcuts: one 1x1 convolution,
 * one pooling, one series activation each. While it learns, every layer is two (form=train); epl_merge_linear turns
 * that into form=deploy. */
#include <math.h>
#include <stdio.h>

#include "zoo/zoo.h"

enum { MAX_LAYERS = 11 };

typedef struct plan {
    int n, width[MAX_LAYERS + 1]; /* width[0] is the stem's */
    int stride[MAX_LAYERS];
} plan;

/* The table of dims and strides, by depth. */
static plan plan_of(int depth)
{
    plan p = { .n = depth - 2 };
    int  i = 0, w = 0;
    p.width[w++] = 512;
    if (depth >= 7) {
        p.width[w++]  = 512;
        p.stride[i++] = 1;
    }
    p.width[w++] = 1024, p.stride[i++] = 2;
    p.width[w++] = 2048, p.stride[i++] = 2;
    for (int extra = depth - 7; extra > 0; extra--)
        p.width[w++] = 2048, p.stride[i++] = 1;
    p.width[w++] = 4096, p.stride[i++] = 2;
    if (depth >= 6)
        p.width[w++] = 4096, p.stride[i++] = 1;
    return p;
}

static epl_value *activation(epl_graph *g, const epl_zoo_args *a, epl_value *x, bool merged)
{
    return epl_series_activation(g, x, (epl_series_activation_opts){ .n = epl_arg_int(a, "act"), .merged = merged,
                                                                     .init = EPL_START_TRUNC_NORMAL });
}

static bool large_enough(epl_graph *g, const epl_zoo_args *a, const plan *p)
{
    const int image = epl_arg_int(a, "image"), patch = epl_arg_int(a, "patch");
    int       least = patch;
    for (int i = 0; i < p->n; i++)
        least *= p->stride[i];
    if (epl_arg_choice(a, "pool")[0] == 'a')
        return image == 224 || epl_graph_fail(g, EPL_ERR_ARGUMENT, "vanillanet: option 'image' is %d, but pool=adaptive needs 224", image);
    if (image % patch)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "vanillanet: option 'image' is %d, which the patch of %d does not divide", image, patch);
    return image >= least || epl_graph_fail(g, EPL_ERR_ARGUMENT, "vanillanet: option 'image' is %d, but the poolings need at least %d",
                                            image, least);
}

static void build_vanillanet(epl_graph *g, const epl_zoo_args *a)
{
    const plan   p      = plan_of(epl_arg_int(a, "depth"));
    const bool   merged = epl_arg_choice(a, "form")[0] == 'd', adaptive = epl_arg_choice(a, "pool")[0] == 'a';
    const double scale  = epl_arg_real(a, "scale");
    static const int sizes[][2] = { { 38, 38 }, { 19, 19 }, { 10, 10 } };
    epl_deep_conv_opts o = { .form = merged ? EPL_DEEP_MERGED : EPL_DEEP_TRAIN, .init = EPL_START_TRUNC_NORMAL };
    if (!large_enough(g, a, &p))
        return;

    epl_scope_push(g, "stem");
    o.out    = (int)rint(scale * p.width[0]);
    o.kernel = epl_arg_int(a, "patch");
    o.stride = adaptive ? 3 : o.kernel;
    o.pad    = adaptive ? 1 : 0;
    epl_value *x = activation(g, a, epl_deep_conv(g, epl_zoo_image(g, a), o), merged);
    epl_scope_pop(g);

    o.kernel = o.stride = o.pad = 0;
    for (int i = 0, pools = 0; i < p.n; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        o.out = (int)rint(scale * p.width[i + 1]);
        x = epl_deep_conv(g, x, o);
        if (p.stride[i] == 2)
            x = adaptive ? epl_adaptive_max_pool(g, x, sizes[pools++]) : epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
        x = activation(g, a, x, merged);
        epl_scope_pop(g);
    }

    x = epl_global_average_pool(g, x);
    if (epl_arg_int(a, "classes") == 0) {
        epl_output(g, "features", x);
        return;
    }
    if (epl_arg_real(a, "dropout") > 0)
        x = epl_dropout(g, x, epl_arg_real(a, "dropout"), false);
    o.name = "head";
    o.out  = epl_arg_int(a, "classes");
    epl_output(g, "logits", epl_deep_conv(g, x, o));
}

const epl_zoo_entry epl_zoo_vanillanet = {
    .own_head = true,
    .name = "vanillanet",
    .summary = "a few plain layers, twice as deep while they learn",
    .paper = "Chen et al. 2023, arXiv:2305.12972",
    .build = build_vanillanet,
    .small = "depth=7,scale=0.015,image=32,act=1,classes=5",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "depth", 6, 5, 13, .help = "non-linear layers and one: VanillaNet-5 to -13" },
                 { "scale", 1, 0.01, 8, .real = true, .help = "times all widths" },
                 { "act", 3, 0, 8, .help = "reach of the series activation: windows of 2 act + 1" },
                 { "patch", 4, 1, 64, .help = "kernel and stride of the stem" },
                 { "pool", 0, .choices = "max|adaptive",
                   .help = "adaptive: stem of stride 3, then 38, 19 and 10 pixels (13-1.5x-ada)" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "before the classifier" },
                 { "form", 0, .choices = "train|deploy", .help = "every layer as two, or merged" } },
};
