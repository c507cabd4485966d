/* resnet: residual networks, He et al. 2015 (arXiv:1512.03385), and what became of them: WideResNet, Zagoruyko &
 * Komodakis 2016 (arXiv:1605.07146), ResNeXt, Xie et al. 2016 (arXiv:1611.05431), SENet, Hu et al. 2018
 * (arXiv:1709.01507). Left out: the stride in the first 1x1 convolution of a bottleneck, as the first paper had it;
 * it is in the 3x3, as in torchvision. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

/* Stages of residual units; each after the first halves the image and doubles the channels. */
typedef struct net {
    int                    units[4], n_stages;
    epl_stem_opts          stem;
    int                    inner; /* channels of the 3x3 convolutions in the first stage */
    epl_residual_unit_opts unit;  /* `out`: of the first stage; inner, stride and name are set stage by stage */
    double                 drop_path, head_dropout;
    bool                   ibn; /* the option is there */
} net;

/* ---- depths: they count convolutions and the classifier ---- */

/* Table 1 of the paper. SENet-154 has the units of depth 152. */
static bool plan_imagenet(epl_graph *g, const epl_zoo_args *a, int depth, net *n)
{
    static const struct {
        int  depth;
        bool bottleneck;
        int  units[4];
    } depths[] = { { 18, false, { 2, 2, 2, 2 } }, { 34, false, { 3, 4, 6, 3 } }, { 50, true, { 3, 4, 6, 3 } },
                   { 101, true, { 3, 4, 23, 3 } }, { 152, true, { 3, 8, 36, 3 } } };
    for (size_t i = 0; i < EPL_COUNT(depths); i++)
        if (depths[i].depth == depth) {
            memcpy(n->units, depths[i].units, sizeof n->units);
            n->n_stages        = 4;
            n->unit.bottleneck = depths[i].bottleneck;
            n->stem.kind       = EPL_STEM_IMAGENET;
            return true;
        }
    return epl_zoo_refuse(g, a, "depth", "for ImageNet it is 18, 34, 50, 101 or 152");
}

/* Three equal stages of `convs` convolutions a unit, and `others` outside. */
static bool plan_small(epl_graph *g, const epl_zoo_args *a, int convs, int others, net *n)
{
    char      why[64];
    const int depth = epl_arg_int(a, "depth");
    snprintf(why, sizeof why, "for small images it is %dn + %d", 3 * convs, others);
    if (depth < 3 * convs + others || (depth - others) % (3 * convs))
        return epl_zoo_refuse(g, a, "depth", why);
    n->n_stages = 3;
    for (int i = 0; i < 3; i++)
        n->units[i] = (depth - others) / (3 * convs);
    n->unit.bottleneck = convs == 3;
    return true;
}

/* By the option 'stem'. */
static bool plan(epl_graph *g, const epl_zoo_args *a, bool bottleneck, net *n)
{
    if (strcmp(epl_arg_choice(a, "stem"), "imagenet") == 0)
        return plan_imagenet(g, a, epl_arg_int(a, "depth"), n);
    return plan_small(g, a, bottleneck ? 3 : 2, 2, n);
}

static void build_net(epl_graph *g, const epl_zoo_args *a, net n)
{
    int total = 0, at = 0;
    for (int s = 0; s < n.n_stages; s++)
        total += n.units[s];
    n.stem.bare = n.unit.pre;
    epl_value *x = epl_stem(g, epl_zoo_image(g, a), n.stem);
    for (int s = 0; s < n.n_stages; s++)
        for (int i = 0; i < n.units[s]; i++, at++) {
            epl_residual_unit_opts u = n.unit;
            u.out   = n.unit.out << s;
            u.inner = n.inner << s;
            u.reduce = n.unit.reduce << s;
            u.stride = s > 0 && i == 0 ? 2 : 1;
            u.shortcut_kernel = s > 0 ? n.unit.shortcut_kernel : 1;
            u.drop_path = epl_drop_path_rate(n.drop_path, at, total);
            epl_scope_push(g, "stage%d.unit%d", s + 1, i + 1);
            x = epl_residual_unit(g, x, u);
            epl_scope_pop(g);
        }
    if (n.unit.pre)
        x = epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" }));
    epl_zoo_classify_with(g, a, x, (epl_classifier_opts){ .dropout = n.head_dropout });
    if (n.ibn)
        epl_zoo_ibn(g, a);
}

#define STEM(index) { "stem", index, .choices = "small|imagenet", .help = "3x3 convolution, or 7x7 of stride 2 and a pool" }
#define DROP_PATH { "drop_path", 0, 0, 0.99, .real = true, .help = "stochastic depth: the last unit's rate, growing from 0" }
#define ZERO_LAST { "zero_last", 0, 0, 1, .help = "1: each unit's last normalisation starts at zero" }

/* ---- resnet ---- */

static void build(epl_graph *g, const epl_zoo_args *a)
{
    net       n = { .ibn = true };
    const int width = epl_arg_int(a, "width"), groups = epl_arg_int(a, "groups");
    if (!plan(g, a, epl_arg_int(a, "bottleneck"), &n))
        return;
    n.inner      = n.unit.bottleneck ? (int)(width * epl_arg_real(a, "group_width")) * groups : width;
    n.stem.out   = width;
    n.drop_path  = epl_arg_real(a, "drop_path");
    n.unit.out   = n.unit.bottleneck ? 4 * width : width;
    n.unit.groups  = n.unit.bottleneck ? groups : 1;
    n.unit.squeeze = epl_arg_int(a, "se") ? 16 : 0;
    n.unit.pre       = epl_arg_int(a, "pre");
    n.unit.zero_last = epl_arg_int(a, "zero_last");
    n.unit.shortcut_pad = strcmp(epl_arg_choice(a, "shortcut"), "pad") == 0;
    if (n.inner == 0)
        epl_zoo_refuse(g, a, "group_width", "a group has no channel left then");
    else
        build_net(g, a, n);
}

const epl_zoo_entry epl_zoo_resnet = {
    .name = "resnet", .summary = "residual network, for small images and ImageNet", .paper = "arXiv:1512.03385", .build = build,
    .small = "depth=8,width=4,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3),
                 { "depth", 20, 8, 1202, .help = "6n+2 with stem=small; 18, 34, 50, 101, 152 with stem=imagenet" }, STEM(0),
                 { "width", 16, 1, 4096, .help = "channels of the first stage (64 for ImageNet)" },
                 { "bottleneck", 0, 0, 1, .help = "1: bottleneck units with stem=small too; the depth is 9n+2 then" },
                 { "groups", 1, 1, 256, .help = "groups of the 3x3 convolution in bottlenecks, as in ResNeXt" },
                 { "group_width", 1, 0.01, 8, .real = true, .help = "inner channels of a group, as a fraction of the stage's" },
                 { "se", 0, 0, 1, .help = "1: squeeze-and-excitation in every unit" },
                 { "pre", 0, 0, 1, .help = "1: normalisation and activation before each convolution (version 2)" }, DROP_PATH, ZERO_LAST,
                 { "shortcut", 0, .choices = "projection|pad", .help = "where the shape changes: a 1x1 convolution, or averages and channels of zeros" },
                 EPL_ZOO_IBN("none|a|b") },
};

/* ---- wide-resnet: pre-activation units of two 3x3 convolutions, dropout between them ---- */

static void build_wide(epl_graph *g, const epl_zoo_args *a)
{
    net n = { .stem = { .out = 16 }, .unit = { .pre = true, .dropout = epl_arg_real(a, "dropout") } };
    if (!plan_small(g, a, 2, 4, &n))
        return;
    n.unit.out = n.inner = 16 * epl_arg_int(a, "widen");
    build_net(g, a, n);
}

const epl_zoo_entry epl_zoo_wide_resnet = {
    .name = "wide-resnet", .summary = "wide residual network for small images (WRN-depth-widen)", .paper = "arXiv:1605.07146",
    .build = build_wide, .small = "depth=10,widen=1,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), { "depth", 28, 10, 1204, .help = "6n+4" },
                 { "widen", 10, 1, 64, .help = "factor of the channels 16, 32, 64" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "between the convolutions of a unit" } },
};

/* ---- resnext: bottlenecks with grouped 3x3 convolutions ---- */

static void build_resnext(epl_graph *g, const epl_zoo_args *a)
{
    net       n = { .ibn = true, .stem = { .out = epl_arg_int(a, "width") }, .drop_path = epl_arg_real(a, "drop_path") };
    const int groups = epl_arg_int(a, "cardinality");
    if (!plan(g, a, true, &n))
        return;
    if (!n.unit.bottleneck) {
        epl_zoo_refuse(g, a, "depth", "it must be 50, 101 or 152, which have bottlenecks");
        return;
    }
    n.inner = groups * epl_arg_int(a, "group_width");
    n.unit.out = 4 * n.stem.out;
    n.unit.groups = groups;
    n.unit.zero_last = epl_arg_int(a, "zero_last");
    build_net(g, a, n);
}

const epl_zoo_entry epl_zoo_resnext = {
    .name = "resnext",
    .summary = "residual network with grouped convolutions (ResNeXt-depth, cardinality x group_width d)",
    .paper = "arXiv:1611.05431",
    .build = build_resnext,
    .small = "stem=small,depth=11,cardinality=2,group_width=4,width=8,image=8,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "depth", 50, 11, 1202, .help = "50, 101, 152 with stem=imagenet; 9n+2 with stem=small" },
                 STEM(1),
                 { "cardinality", 32, 1, 256, .help = "groups of a 3x3 convolution" },
                 { "group_width", 4, 1, 1024, .help = "channels of a group in the first stage" },
                 { "width", 64, 1, 4096, .help = "channels of the stem; a quarter of the first stage's" },
                 DROP_PATH,
                 ZERO_LAST,
                 EPL_ZOO_IBN("none|a") },
};

/* ---- senet: squeeze-and-excitation in every unit ---- */

/* Section 7 of the paper's appendix: SENet-154. */
static void plan_154(net *n, int width)
{
    n->stem = (epl_stem_opts){ .kind = EPL_STEM_DEEP, .out = 2 * width };
    n->inner = 4 * width;
    n->head_dropout = 0.2;
    n->unit.reduce = 2 * width;
    n->unit.groups = 64;
    n->unit.shortcut_kernel = 3;
}

static void build_senet(epl_graph *g, const epl_zoo_args *a)
{
    const int depth = epl_arg_int(a, "depth"), width = epl_arg_int(a, "width");
    net       n = { .ibn = true, .drop_path = epl_arg_real(a, "drop_path") };
    if (!plan_imagenet(g, a, depth == 154 ? 152 : depth, &n))
        return;
    n.stem.out = n.inner = width;
    n.unit.out = n.unit.bottleneck ? 4 * width : width;
    n.unit.squeeze = epl_arg_int(a, "reduction");
    n.unit.squeeze_least = epl_arg_int(a, "gate_least");
    n.unit.squeeze_no_bias = !epl_arg_int(a, "gate_bias");
    n.unit.zero_last = epl_arg_int(a, "zero_last");
    if (depth == 154 && !epl_zoo_multiple(g, a, "width", 16, "the 64 groups of SENet-154 share four times as many channels"))
        return;
    if (depth == 154)
        plan_154(&n, width);
    build_net(g, a, n);
}

const epl_zoo_entry epl_zoo_senet = {
    .name = "senet", .summary = "residual network with squeeze-and-excitation (SE-ResNet, SENet-154)", .paper = "arXiv:1709.01507",
    .build = build_senet, .small = "depth=18,width=32,image=64,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "depth", 50, 18, 154, .help = "18, 34, 50, 101, 152; or 154" },
                 { "width", 64, 1, 4096, .help = "channels of the stem; the first stage's, or a quarter of them with bottlenecks" },
                 { "reduction", 16, 1, 64, .help = "channels to hidden units of a squeeze-and-excitation" },
                 { "gate_least", 1, 1, 64, .help = "but no fewer hidden units than these; timm's networks have 8" },
                 { "gate_bias", 1, 0, 1, .help = "0: no biases in them, as in the published IBN networks" }, DROP_PATH, ZERO_LAST,
                 EPL_ZOO_IBN("none|a") },
};
