/* unet: encoder and decoder with skip connections, Ronneberger et al. 2015 (arXiv:1505.04597), with padding and batch
 * normalisation. */
#include <stdio.h>

#include "zoo/zoo.h"

static epl_value *two_convs(epl_graph *g, epl_value *x, int width, bool norm)
{
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "a", .conv = { .out = width }, .no_norm = !norm });
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "b", .conv = { .out = width }, .no_norm = !norm });
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    enum { MAX_LEVELS = 8 };
    epl_value *skip[MAX_LEVELS];
    const int  levels = epl_arg_int(a, "levels");
    if (!epl_zoo_multiple(g, a, "image", 1 << levels, "each level halves it") ||
        !epl_zoo_at_least(g, a, "classes", 1, "they are the output"))
        return;
    const bool norm = epl_arg_int(a, "norm");
    epl_value *x    = epl_zoo_image(g, a);
    int        width = epl_arg_int(a, "width");
    for (int i = 0; i < levels; i++, width *= 2) {
        epl_scope_push(g, "down%d", i + 1);
        skip[i] = two_convs(g, x, width, norm);
        x       = epl_max_pool(g, skip[i], (epl_pool_opts){ .kernel = { 2 } });
        epl_scope_pop(g);
    }
    epl_scope_push(g, "bottom");
    x = two_convs(g, x, width, norm);
    epl_scope_pop(g);
    for (int i = levels - 1; i >= 0; i--) {
        width /= 2;
        epl_scope_push(g, "up%d", i + 1);
        x = epl_conv_transpose(g, x, (epl_conv_transpose_opts){ .name = "up", .out = width });
        x = two_convs(g, epl_concat(g, 2, (epl_value *[]){ skip[i], x }, -1), width, norm);
        epl_scope_pop(g);
    }
    epl_output(g, "logits", epl_conv(g, x, (epl_conv_opts){ .name = "head", .out = epl_arg_int(a, "classes"), .kernel = 1 }));
}

const epl_zoo_entry epl_zoo_unet = {
    .name = "unet", .summary = "U-Net: logits [N, image, image, classes]", .paper = "arXiv:1505.04597", .build = build, .own_head = true,
    .small = "image=16,levels=2,width=4",
    .options = { EPL_ZOO_IMAGES(2, 64, 1), { "levels", 4, 1, 8, .help = "halvings of the resolution" },
                 { "width", 64, 1, 1024, .help = "channels at full resolution" },
                 { "norm", 1, 0, 1, .help = "0: no normalisation, as in the paper" } },
};
