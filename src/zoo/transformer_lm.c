/* transformer_lm: a language model, Radford et al. 2019: tokens and their places, causal blocks, a linear layer over
 * the vocabulary. With stable=1 tokens go through a stable embedding, Dettmers et al. 2022 (arXiv:2110.02861). */
#include "zoo/zoo.h"

static epl_value *tokens(epl_graph *g, epl_value *x, const epl_zoo_args *a)
{
    const epl_embedding_opts o = { .name = epl_arg_int(a, "stable") ? NULL : "tokens", .count = epl_arg_int(a, "vocab"),
                                   .width = epl_arg_int(a, "width"), .std = 0.02 };
    return epl_arg_int(a, "stable") ? epl_stable_embedding(g, x, o) : epl_embedding(g, x, o);
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int context = epl_arg_int(a, "context"), width = epl_arg_int(a, "width");
    if (!epl_zoo_divides(g, a, "heads", epl_arg_int(a, "heads"), "'width'", width))
        return;
    epl_value *x = epl_input(g, "x", EPL_I64, EPL_SHAPE(1, context), "N,");
    x = epl_add(g, tokens(g, x, a), epl_parameter(g, "positions", EPL_F32, EPL_SHAPE(1, context, width), EPL_INIT_NORMAL, 0.02));
    for (int i = 0; i < epl_arg_int(a, "layers"); i++) {
        epl_scope_push(g, "block%d", i + 1);
        x = epl_transformer_block(g, x, (epl_transformer_opts){ .name = "layer", .heads = epl_arg_int(a, "heads"), .causal = true,
                                                                .dropout = epl_arg_real(a, "dropout") });
        epl_scope_pop(g);
    }
    x = epl_layer_norm(g, x, (epl_norm_opts){ .name = "norm" });
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = epl_arg_int(a, "vocab") }));
}

const epl_zoo_entry epl_zoo_transformer_lm = {
    .name = "transformer-lm",
    .summary = "language model over tokens [N, context]: what comes next at each place",
    .build = build,
    .own_head = true,
    .small = "vocab=11,context=6,width=8,heads=2,layers=1,stable=1",
    .options = { { "vocab", 96, 2, 1e6, .help = "kinds of tokens" },
                 { "context", 64, 1, 4096, .help = "tokens of a sample" },
                 { "width", 96, 1, 8192, .help = "numbers of a token" },
                 { "layers", 2, 1, 96, .help = "transformer blocks" },
                 { "heads", 4, 1, 64, .help = "attention heads; divide the width" },
                 { "stable", 0, 0, 1,
                   .help = "1: stable embedding (norm after the look-up, Xavier start, 32-bit slots)" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "in the blocks" } },
};
