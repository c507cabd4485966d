/* swin: transformer with attention in windows that shift from block to block, Liu et al. 2021 (arXiv:2103.14030). */
#include <stdio.h>

#include "zoo/zoo.h"

enum { STAGES = 4 };

static const struct {
    int width, depth[STAGES], heads;
} variants[] = { { 96, { 2, 2, 6, 2 }, 3 }, { 96, { 2, 2, 18, 2 }, 3 }, { 128, { 2, 2, 18, 2 }, 4 } };

/* What the blocks of a stage share, and the shift of the one at hand. */
typedef struct windowed {
    int        window, heads, shift;
    epl_value *mask; /* of shifted windows */
} windowed;

/* Attention in windows; x [N, H, W, C]. */
static epl_value *attend(epl_graph *g, epl_value *x, const void *opts)
{
    const windowed *o = opts;
    x = epl_roll(g, epl_roll(g, x, 1, -o->shift), 2, -o->shift);
    x = epl_window_attention(g, x,
                             (epl_window_attention_opts){
                                 .heads = o->heads, .window = o->window, .mask = o->shift ? o->mask : NULL });
    return epl_roll(g, epl_roll(g, x, 1, o->shift), 2, o->shift);
}

/* Squares of 2x2 pixels, column by column, become one of twice the channels. */
static epl_value *merge(epl_graph *g, epl_value *x, int stage)
{
    const int64_t h = epl_dim(x, 1) / 2, w = epl_dim(x, 2) / 2, c = epl_channels(x);
    epl_scope_push(g, "merge%d", stage);
    x = epl_permute(g, epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, h, 2, w, 2, c)), EPL_SHAPE(0, 1, 3, 4, 2, 5));
    x = epl_layer_norm(g, epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, h, w, 4 * c)), (epl_norm_opts){ 0 });
    x = epl_linear(g, x, (epl_linear_opts){ .out = 2 * (int)c, .no_bias = true });
    epl_scope_pop(g);
    return x;
}

/* The window of a stage whose map is `side` wide; 0 if it does not fit. */
static int window_for(epl_graph *g, const epl_zoo_args *a, int side)
{
    const int window = epl_arg_int(a, "window") < side ? epl_arg_int(a, "window") : side;
    return epl_zoo_divides(g, a, "window", window, "the side of a stage's map", side) ? window : 0;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int v = epl_arg_int(a, "variant"), patch = epl_arg_int(a, "patch"), image = epl_arg_int(a, "image");
    const int width = epl_arg_int(a, "width") ? epl_arg_int(a, "width") : variants[v].width;
    const int heads = epl_arg_int(a, "heads") ? epl_arg_int(a, "heads") : variants[v].heads;
    int       total = 0, at = 0;
    if (!epl_zoo_divides(g, a, "heads", heads, "'width'", width) ||
        !epl_zoo_multiple(g, a, "image", patch << (STAGES - 1), "patches and three merges"))
        return;
    for (int s = 0; s < STAGES; s++)
        total += variants[v].depth[s];
    epl_value *x = epl_patches(g, epl_zoo_image(g, a), (epl_patches_opts){ .out = width, .size = patch, .norm = true });
    for (int s = 0; s < STAGES; s++) {
        const int side = image / patch >> s;
        windowed  o = { .window = window_for(g, a, side), .heads = heads << s };
        if (!o.window)
            return;
        if (s > 0)
            x = merge(g, x, s + 1);
        if (o.window < side)
            o.mask = epl_shifted_window_mask(g, side, side, o.window, o.window / 2);
        for (int i = 0; i < variants[v].depth[s]; i++, at++) {
            char name[32];
            o.shift = i % 2 && o.window < side ? o.window / 2 : 0;
            snprintf(name, sizeof name, "stage%d.block%d", s + 1, i + 1);
            x = epl_transformer_block(g, x,
                                      (epl_transformer_opts){
                                          .name = name,
                                          .mix = attend,
                                          .mix_opts = &o,
                                          .drop_path = epl_drop_path_rate(epl_arg_real(a, "drop_path"), at, total) });
        }
    }
    epl_zoo_classify(g, a, epl_layer_norm(g, x, (epl_norm_opts){ 0 }), "head");
}

const epl_zoo_entry epl_zoo_swin = {
    .name = "swin", .summary = "transformer with attention in shifted windows (Swin T, S, B)", .paper = "arXiv:2103.14030", .build = build,
    .small = "image=32,patch=2,window=4,width=16,heads=2,classes=6",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "variant", 0, .choices = "t|s|b", .help = "size" },
                 { "patch", 4, 1, 64, .help = "height and width of a patch; 8 times it divides image" },
                 { "window", 7, 2, 64, .help = "height and width of a window; larger than the map means the whole map" },
                 { "width", 0, 0, 4096, .help = "channels of the first stage; 0: the variant's (96, 96, 128)" },
                 { "heads", 0, 0, 64, .help = "of attention in the first stage; divides width; 0: the variant's (3, 3, 4)" },
                 { "drop_path", 0.2, 0, 0.99, .real = true, .help = "stochastic depth: the last block's rate, growing from 0" } },
};
