/* ninformer: patches, blocks whose attention is a gate made by a mixer, the mean of the tokens; Abdullah 2024. And
 * LocalViT, Li et al. 2021 (arXiv:2104.05707), which it is compared with: a vision transformer whose perceptrons
 * have a depthwise convolution inside. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

static const struct {
    int width, hidden;
} variants[] = { { 64, 128 }, { 256, 512 } };

static int sized(const epl_zoo_args *a, const char *option, int otherwise)
{
    return epl_arg_int(a, option) ? epl_arg_int(a, option) : otherwise;
}

/* The image as tokens [N, L, width]; NULL where patches do not fit. */
static epl_value *tokens(epl_graph *g, const epl_zoo_args *a, int width)
{
    if (!epl_zoo_divides(g, a, "patch", epl_arg_int(a, "patch"), "'image'", epl_arg_int(a, "image")))
        return NULL;
    epl_value *x = epl_patches(g, epl_zoo_image(g, a), (epl_patches_opts){ .out = width, .size = epl_arg_int(a, "patch") });
    return epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1, width));
}

static epl_gate gate_of(const char *word)
{
    static const char *const words[] = { "mixer", "token", "conv", "fourier" };
    epl_gate gate = EPL_GATE_MIXER;
    for (int i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0)
            gate = (epl_gate)i;
    return gate;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int v = epl_arg_int(a, "variant");
    epl_value *x = tokens(g, a, sized(a, "width", variants[v].width));
    for (int i = 0; i < epl_arg_int(a, "depth"); i++) {
        char name[32];
        snprintf(name, sizeof name, "block%d", i + 1);
        x = epl_ninformer(g, x,
                          (epl_ninformer_opts){ .name = name,
                                                .two_norms = !epl_arg_int(a, "shared_norm"),
                                                .gate = { .gate = gate_of(epl_arg_choice(a, "gate")),
                                                          .hidden = sized(a, "hidden", variants[v].hidden),
                                                          .dropout = epl_arg_real(a, "dropout") } });
    }
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_ninformer = {
    .name = "ninformer", .summary = "gates made by mixers instead of attention (NiNformer S, B)", .paper = "Abdullah 2024", .build = build,
    .small = "image=8,patch=2,width=12,hidden=16,depth=2,classes=6,dropout=0.1",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), { "variant", 1, .choices = "s|b", .help = "size" },
                 { "patch", 4, 1, 64, .help = "height and width of a patch; divides image" },
                 { "width", 0, 0, 8192, .help = "channels of a token; 0: the variant's (64, 256)" },
                 { "hidden", 0, 0, 65536, .help = "width of every perceptron; 0: the variant's (128, 512)" },
                 { "depth", 4, 1, 100, .help = "blocks" },
                 { "dropout", 0.5, 0, 0.99, .real = true, .help = "in every perceptron, twice" },
                 { "shared_norm", 1, 0, 1, .help = "1: one norm serves both steps of a block" },
                 { "gate", 0, .choices = "mixer|token|conv|fourier", .help = "the network inside" } },
};

/* ---- local-vit ---- */

/* 1x1 "expand", gelu, depthwise 3x3 "near", gelu, 1x1 "project" over the square of tokens. */
static epl_value *local_perceptron(epl_graph *g, epl_value *x, int side, int hidden, double dropout)
{
    const int64_t c = epl_channels(x);
    x = epl_linear(g, x, (epl_linear_opts){ .name = "expand", .out = hidden });
    x = epl_reshape(g, epl_gelu(g, x), EPL_SHAPE(EPL_KEEP, side, side, hidden));
    x = epl_gelu(g, epl_conv(g, x, (epl_conv_opts){ .name = "near", .depthwise = true, .pad = 1 }));
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, (int64_t)side * side, hidden));
    if (dropout > 0)
        x = epl_dropout(g, x, dropout, false);
    return epl_linear(g, x, (epl_linear_opts){ .name = "project", .out = (int)c });
}

static void build_local(epl_graph *g, const epl_zoo_args *a)
{
    const int width = epl_arg_int(a, "width"), side = epl_arg_int(a, "image") / epl_arg_int(a, "patch");
    const epl_residual_opts r = { .dropout = epl_arg_real(a, "dropout") };
    if (!epl_zoo_divides(g, a, "heads", epl_arg_int(a, "heads"), "'width'", width))
        return;
    epl_value *x = tokens(g, a, width);
    x = x ? epl_add(g, x,
                    epl_parameter(g, "positions", EPL_F32, EPL_SHAPE(1, (int64_t)side * side, width),
                                  EPL_INIT_TRUNC_NORMAL, 0.02))
          : NULL;
    for (int i = 0; x && i < epl_arg_int(a, "depth"); i++) {
        epl_scope_push(g, "block%d", i + 1);
        epl_value *h = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm1" });
        x = epl_residual(g, x, epl_attention(g, h, (epl_attention_opts){ .heads = epl_arg_int(a, "heads"), .dropout = r.dropout }), r);
        h = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm2" });
        x = h ? epl_residual(g, x, local_perceptron(g, h, side, epl_arg_int(a, "hidden"), r.dropout), r) : NULL;
        epl_scope_pop(g);
    }
    if (x)
        epl_zoo_classify(g, a, epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm" }), "head");
}

const epl_zoo_entry epl_zoo_local_vit = {
    .name = "local-vit", .summary = "vision transformer with a depthwise convolution in its perceptrons", .paper = "arXiv:2104.05707",
    .build = build_local, .small = "image=8,patch=2,width=12,hidden=16,heads=2,depth=2,classes=6",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), { "patch", 4, 1, 64, .help = "height and width of a patch; divides image" },
                 { "width", 256, 1, 8192, .help = "channels of a token" }, { "depth", 4, 1, 100, .help = "blocks" },
                 { "heads", 4, 1, 64, .help = "of attention; divides width" }, { "hidden", 512, 1, 65536, .help = "width of the perceptrons" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "in the blocks" } },
};
