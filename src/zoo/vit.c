/* vit: the vision transformer, Dosovitskiy et al. 2020 (arXiv:2010.11929). */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

/* [N, L, C] -> [N, 1, C] */
static epl_value *first_token(epl_graph *g, epl_value *x)
{
    return epl_slice(g, x, (epl_slice_opts){ .n_axes = 1, .axes = { 1 }, .ends = { 1 } });
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int patch = epl_arg_int(a, "patch"), image = epl_arg_int(a, "image"), width = epl_arg_int(a, "width");
    if (image % patch) {
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "vit: option 'patch' is %d and does not divide 'image', which is %d", patch, image);
        return;
    }
    epl_value *x = epl_conv(g, epl_zoo_image(g, a), (epl_conv_opts){ .name = "patches", .out = width, .kernel = patch, .stride = patch });
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1, width));
    const bool token = strcmp(epl_arg_choice(a, "pool"), "token") == 0;
    if (token) { // one learned token in front
        epl_value *one  = epl_parameter(g, "class_token", EPL_F32, EPL_SHAPE(1, 1, width), EPL_INIT_TRUNC_NORMAL, 0.02);
        epl_value *rows = first_token(g, x);
        x = epl_concat(g, 2, (epl_value *[]){ epl_expand_like(g, one, rows), x }, 1);
    }
    const int tokens = (image / patch) * (image / patch) + token;
    x = epl_add(g, x, epl_parameter(g, "positions", EPL_F32, EPL_SHAPE(1, tokens, width), EPL_INIT_TRUNC_NORMAL, 0.02));
    for (int i = 0; i < epl_arg_int(a, "depth"); i++) {
        char name[32];
        snprintf(name, sizeof name, "block%d", i + 1);
        x = epl_transformer_block(g, x, (epl_transformer_opts){ .name = name, .heads = epl_arg_int(a, "heads"),
                                                                .hidden = epl_arg_int(a, "hidden"), .dropout = epl_arg_real(a, "dropout"),
                                                                .epsilon = 1e-6 });
    }
    x = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm", .epsilon = 1e-6 });
    x = token ? epl_squeeze(g, first_token(g, x), 1, (int[]){ 1 })
              : epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(1) });
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_vit = {
    .name = "vit", .summary = "vision transformer", .paper = "arXiv:2010.11929", .build = build,
    .small = "image=8,patch=4,width=16,depth=2,heads=2,hidden=24,classes=6",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "patch", 16, 1, 64, .help = "height and width of a patch" }, { "width", 768, 1, 8192, .help = "channels of a token" },
                 { "depth", 12, 1, 100, .help = "blocks" }, { "heads", 12, 1, 64, .help = "of attention; divides width" },
                 { "hidden", 3072, 1, 65536, .help = "width of the perceptron in a block" },
                 { "pool", 0, .choices = "token|mean", .help = "what the classifier reads" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "in the blocks" } },
};
