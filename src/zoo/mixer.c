/* mixer: perceptrons along the positions and along the channels in turn, Tolstikhin et al. 2021 (arXiv:2105.01601). */
#include <stdio.h>

#include "zoo/zoo.h"

static const struct {
    int width, depth;
} variants[] = { { 512, 8 }, { 768, 12 }, { 1024, 24 } }; // table 1

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int v = epl_arg_int(a, "variant"), image = epl_arg_int(a, "image"), patch = epl_arg_int(a, "patch");
    const int width = epl_arg_int(a, "width") ? epl_arg_int(a, "width") : variants[v].width;
    const int depth = epl_arg_int(a, "depth") ? epl_arg_int(a, "depth") : variants[v].depth;
    const epl_mix_tokens_opts tokens = { .hidden = epl_arg_int(a, "token_hidden") ? epl_arg_int(a, "token_hidden") : (width + 1) / 2,
                                         .dropout = epl_arg_real(a, "dropout") };
    if (!epl_zoo_divides(g, a, "patch", patch, "'image'", image))
        return;
    epl_value *x = epl_patches(g, epl_zoo_image(g, a), (epl_patches_opts){ .out = width, .size = patch });
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1, width));
    for (int i = 0; i < depth; i++) {
        char name[32];
        snprintf(name, sizeof name, "block%d", i + 1);
        x = epl_transformer_block(g, x, (epl_transformer_opts){ .name = name, .mix = epl_mix_tokens, .mix_opts = &tokens, .epsilon = 1e-6,
                                                                .hidden = epl_arg_int(a, "hidden"), .dropout = tokens.dropout,
                                                                .drop_path = epl_drop_path_rate(epl_arg_real(a, "drop_path"), i, depth) });
    }
    if (epl_arg_int(a, "final_norm"))
        x = epl_layer_norm(g, x, (epl_norm_opts){ .epsilon = 1e-6 });
    epl_zoo_classify_with(g, a, x, (epl_classifier_opts){ .zero = epl_arg_int(a, "zero_head") });
}

const epl_zoo_entry epl_zoo_mixer = {
    .name = "mixer", .summary = "perceptrons along positions and channels in turn (MLP-Mixer)", .paper = "arXiv:2105.01601", .build = build,
    .small = "image=8,patch=4,width=16,depth=2,classes=6",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "variant", 1, .choices = "s|b|l", .help = "size" },
                 { "patch", 16, 1, 64, .help = "height and width of a patch; divides image" },
                 { "width", 0, 0, 8192, .help = "channels of a token; 0: the variant's (512, 768, 1024)" },
                 { "depth", 0, 0, 100, .help = "blocks; 0: the variant's (8, 12, 24)" },
                 { "drop_path", 0, 0, 0.99, .real = true, .help = "stochastic depth: the last block's rate, growing from 0" },
                 { "token_hidden", 0, 0, 65536, .help = "width of the perceptron over positions; 0: half of width" },
                 { "hidden", 0, 0, 65536, .help = "width of the perceptron over channels; 0: 4 times width" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "in the perceptrons" },
                 { "final_norm", 1, 0, 1, .help = "0: the classifier reads the last block" },
                 { "zero_head", 0, 0, 1, .help = "1: the classifier's weight starts at zero" } },
};
