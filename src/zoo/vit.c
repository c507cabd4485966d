/* vit: the vision transformer, Dosovitskiy et al. 2020 (arXiv:2010.11929), and DeiT, Touvron et al. 2020
 * (arXiv:2012.12877), which is the same network, trained another way, or with a second token that learns from a
 * teacher. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

static const struct {
    int width, depth, heads;
} variants[] = { { 192, 12, 3 }, { 384, 12, 6 }, { 768, 12, 12 }, { 1024, 24, 16 }, { 1280, 32, 16 } };

/* The option, or what the variant has. */
static int sized(const epl_zoo_args *a, const char *option, int otherwise)
{
    return epl_arg_int(a, option) ? epl_arg_int(a, option) : otherwise;
}

/* Token i of [N, L, C]: [N, 1, C]. */
static epl_value *token(epl_graph *g, epl_value *x, int i) { return epl_slice_axis(g, x, 1, i, i + 1); }

/* Patches as tokens [N, L, C], behind `extra` learned ones; positions added. */
static epl_value *tokens(epl_graph *g, const epl_zoo_args *a, int width, int extra)
{
    static const char *const names[] = { "class_token", "distill_token" };
    epl_value *x = epl_patches(g, epl_zoo_image(g, a), (epl_patches_opts){ .out = width, .size = epl_arg_int(a, "patch") });
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1, width));
    epl_value *parts[3] = { NULL }, *like = token(g, x, 0);
    for (int i = 0; i < extra; i++)
        parts[i] = epl_expand_like(g, epl_parameter(g, names[i], EPL_F32, EPL_SHAPE(1, 1, width), EPL_INIT_TRUNC_NORMAL, 0.02), like);
    parts[extra] = x;
    x = extra ? epl_concat(g, extra + 1, parts, 1) : x;
    return epl_add(g, x, epl_parameter(g, "positions", EPL_F32, EPL_SHAPE(1, epl_dim(x, 1), width), EPL_INIT_TRUNC_NORMAL, 0.02));
}

/* The two tokens' classifiers, averaged, as DeiT does when it predicts. */
static void classify_distilled(epl_graph *g, const epl_zoo_args *a, epl_value *x)
{
    const int  classes = epl_arg_int(a, "classes");
    const bool zero = epl_arg_int(a, "zero_head");
    epl_value *y = NULL;
    if (strcmp(epl_arg_choice(a, "head"), "linear") != 0 || epl_arg_int(a, "embed")) {
        epl_zoo_refuse(g, a, "distilled", "two classifiers do not go with the options 'head' and 'embed'");
        return;
    }
    for (int i = 0; i < 2; i++) {
        epl_value *one = epl_squeeze(g, token(g, x, i), 1, (int[]){ 1 });
        one = epl_classifier(g, one, (epl_classifier_opts){ .name = i ? "distill_head" : "head", .classes = classes, .zero = zero });
        y   = i ? epl_affine(g, epl_add(g, y, one), 0.5, 0) : one;
    }
    epl_output(g, classes ? "logits" : "features", y);
}

static void build_from(epl_graph *g, const epl_zoo_args *a, int extra)
{
    const int v = epl_arg_int(a, "variant"), width = sized(a, "width", variants[v].width), depth = sized(a, "depth", variants[v].depth);
    const int heads = sized(a, "heads", variants[v].heads);
    if (!epl_zoo_divides(g, a, "patch", epl_arg_int(a, "patch"), "'image'", epl_arg_int(a, "image")) ||
        !epl_zoo_divides(g, a, "heads", heads, "'width'", width))
        return;
    epl_value *x = tokens(g, a, width, extra);
    for (int i = 0; i < depth; i++) {
        char name[32];
        snprintf(name, sizeof name, "block%d", i + 1);
        x = epl_transformer_block(g, x, (epl_transformer_opts){
            .name = name, .heads = heads, .hidden = epl_arg_int(a, "hidden"), .dropout = epl_arg_real(a, "dropout"), .epsilon = 1e-6,
            .layer_scale = epl_arg_real(a, "layer_scale"), .drop_path = epl_drop_path_rate(epl_arg_real(a, "drop_path"), i, depth) });
    }
    x = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm", .epsilon = 1e-6 });
    if (extra == 2)
        classify_distilled(g, a, x);
    else
        epl_zoo_classify_with(g, a, extra ? epl_squeeze(g, token(g, x, 0), 1, (int[]){ 1 }) : x,
                              (epl_classifier_opts){ .zero = epl_arg_int(a, "zero_head") });
}

/* variant_: index of the default. */
#define OPTIONS(variant_, drop_path_)                                                                               \
    EPL_ZOO_IMAGES(1000, 224, 3),                                                                                   \
    { "variant", variant_, .choices = "ti|s|b|l|h", .help = "size" },                                               \
    { "patch", 16, 1, 64, .help = "height and width of a patch; divides image" },                                   \
    { "width", 0, 0, 8192, .help = "channels of a token; 0: the variant's (192, 384, 768, 1024, 1280)" },            \
    { "depth", 0, 0, 100, .help = "blocks; 0: the variant's (12, 12, 12, 24, 32)" },                                \
    { "heads", 0, 0, 64, .help = "of attention; divides width; 0: the variant's (3, 6, 12, 16, 16)" },              \
    { "hidden", 0, 0, 65536, .help = "width of the perceptron in a block; 0: 4 times the width" },                  \
    { "dropout", 0, 0, 0.99, .real = true, .help = "in the blocks" },                                               \
    { "drop_path", drop_path_, 0, 0.99, .real = true, .help = "stochastic depth: the last block's rate, growing from 0" }, \
    { "layer_scale", 0, 0, 1, .real = true, .help = "start of the factors of each branch; 0: none" },               \
    { "zero_head", 0, 0, 1, .help = "1: the classifier's weight starts at zero" }

/* ---- vit ---- */

static void build(epl_graph *g, const epl_zoo_args *a) { build_from(g, a, strcmp(epl_arg_choice(a, "pool"), "token") == 0); }

const epl_zoo_entry epl_zoo_vit = {
    .name = "vit", .summary = "vision transformer (ViT Ti, S, B, L, H)", .paper = "arXiv:2010.11929", .build = build,
    .small = "image=8,patch=4,width=16,depth=2,heads=2,hidden=24,classes=6",
    .options = { OPTIONS(2, 0), { "pool", 0, .choices = "token|mean", .help = "what the classifier reads" } },
};

/* ---- deit ---- */

static void build_deit(epl_graph *g, const epl_zoo_args *a) { build_from(g, a, epl_arg_int(a, "distilled") ? 2 : 1); }

const epl_zoo_entry epl_zoo_deit = {
    .name = "deit", .summary = "data-efficient image transformer (DeiT Ti, S, B)", .paper = "arXiv:2012.12877", .build = build_deit,
    .small = "image=8,patch=4,width=16,depth=2,heads=2,hidden=24,classes=6,distilled=1",
    .options = { OPTIONS(1, 0.1), { "distilled", 0, 0, 1, .help = "1: a second token and classifier; the output is the mean of both" } },
};
