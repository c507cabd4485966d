/* squeezenet: fire modules, Iandola et al. 2016 (arXiv:1602.07360), table 1, and its cheaper version 1.1. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

/* A convolution with bias and ReLU. */
static epl_value *conv(epl_graph *g, epl_value *x, const char *name, int out, int kernel)
{
    return epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = name, .out = out, .kernel = kernel, .pad = kernel / 2 }));
}

/* Few channels, then many again: half by 1x1, half by 3x3. */
static epl_value *fire(epl_graph *g, epl_value *x, int number, int squeeze)
{
    epl_scope_push(g, "fire%d", number);
    epl_value *s = conv(g, x, "squeeze", squeeze, 1);
    epl_value *y = epl_concat(g, 2, (epl_value *[]){ conv(g, s, "expand1", 4 * squeeze, 1), conv(g, s, "expand3", 4 * squeeze, 3) }, -1);
    epl_scope_pop(g);
    return y;
}

static epl_value *pool(epl_graph *g, epl_value *x)
{
    return epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .ceil_mode = true });
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const bool early = strcmp(epl_arg_choice(a, "version"), "1.1") == 0; // where the pools are
    const int  unit = epl_arg_int(a, "width"), classes = epl_arg_int(a, "classes");
    if (!epl_zoo_at_least(g, a, "image", early ? 25 : 29, "the stem and the pools take nothing from beyond the border"))
        return;
    epl_value *x = epl_zoo_image(g, a);
    x = epl_conv(g, x, (epl_conv_opts){ .name = "stem", .out = early ? 4 * unit : 6 * unit, .kernel = early ? 3 : 7, .stride = 2 });
    x = pool(g, epl_relu(g, x));
    for (int i = 2; i <= 9; i++) {
        x = fire(g, x, i, unit * (i / 2));
        if (early ? i == 3 || i == 5 : i == 4 || i == 8)
            x = pool(g, x);
    }
    x = epl_dropout(g, x, 0.5, false);
    if (classes)
        x = conv(g, x, "head", classes, 1);
    epl_output(g, classes ? "logits" : "features", epl_global_average_pool(g, x));
}

const epl_zoo_entry epl_zoo_squeezenet = {
    .own_head = true,
    .name = "squeezenet",
    .summary = "fire modules: squeeze by 1x1, expand by 1x1 and 3x3",
    .paper = "arXiv:1602.07360",
    .build = build,
    .small = "version=1.1,width=2,image=32,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "version", 0, .choices = "1.0|1.1", .help = "1.1 has a smaller stem and earlier pools" },
                 { "width", 16, 1, 1024,
                   .help = "squeezed channels of the first module, which the others are multiples of" } },
};
