/* msdnet: multi-scale dense networks, Huang et al. 2018 (arXiv:1703.09844) - features of several resolutions side by
 * side, so that the coarsest, which classify, are there from the first layer on; dense connections; an exit behind
 * each block. Layers lose their finest scale on the way ("prune max"), with a 1x1 transition that halves channels. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

enum { MOST_SCALES = 4 };

typedef struct plan {
    int scales, growth, width; /* width: of scale s it is width * factor[s] */
    int factor[MOST_SCALES];   /* of channels, and of bottlenecks */
} plan;

static epl_value *unit(epl_graph *g, epl_value *x, const char *name, int out, int kernel, int stride)
{
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = out, .kernel = kernel, .stride = stride } });
}

/* 1x1 to at most `factor` times as many channels, then 3x3. */
static epl_value *narrow(epl_graph *g, epl_value *x, const char *name, int out, int stride, int factor)
{
    const int c = (int)epl_channels(x), inner = factor * out < c ? factor * out : c;
    epl_scope_push(g, "%s", name);
    x = unit(g, unit(g, x, "reduce", inner, 1, 1), "conv", out, 3, stride);
    epl_scope_pop(g);
    return x;
}

/* scale[first..] becomes the next layer's; `finer` is what was at first - 1, or NULL: then the first scale has nobody finer. */
static void layer(epl_graph *g, const plan *p, int first, epl_value *const *old, bool finer, epl_value **scale)
{
    for (int s = first; s < p->scales; s++) {
        const int  out = p->growth * p->factor[s];
        epl_value *parts[3] = { old[s] };
        int        n = 1;
        epl_scope_push(g, "scale%d", s + 1);
        if (s > first || finer)
            parts[n++] = narrow(g, old[s - 1], "down", out / 2, 2, p->factor[s - 1]);
        parts[n] = narrow(g, old[s], "same", n > 1 ? out / 2 : out, 1, p->factor[s]);
        scale[s] = epl_concat(g, n + 1, parts, -1);
        epl_scope_pop(g);
    }
}

static void first_layer(epl_graph *g, const epl_zoo_args *a, const plan *p, epl_value **scale)
{
    epl_value *x = epl_zoo_image(g, a);
    for (int s = 0; s < p->scales; s++) {
        epl_scope_push(g, "stem.scale%d", s + 1);
        if (s == 0 && strcmp(epl_arg_choice(a, "stem"), "imagenet") == 0) {
            x = epl_conv_unit(g, x,
                              (epl_conv_unit_opts){
                                  .conv = { .out = p->width * p->factor[0], .kernel = 7, .stride = 2 },
                                  .with_bias = true });
            x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
        } else
            x = unit(g, x, "unit", p->width * p->factor[s], 3, s ? 2 : 1);
        scale[s] = x;
        epl_scope_pop(g);
    }
}

static int layers_of(const epl_zoo_args *a, int block)
{
    const int step = epl_arg_int(a, "step");
    return block == 0 ? epl_arg_int(a, "base") : strcmp(epl_arg_choice(a, "steps"), "even") == 0 ? step : step * block + 1;
}

/* Layer `at` of `all`, from 1: a block's part. */
static void next_layer(epl_graph *g, const epl_zoo_args *a, plan *p, int at, int all, epl_value **scale)
{
    const int  every = (all + p->scales - 1) / p->scales, before = at > 2 ? (at - 2) / every : 0, first = (at - 1) / every;
    epl_value *fresh[MOST_SCALES] = { 0 };
    epl_scope_push(g, "layer%d", at);
    layer(g, p, first, scale, first > before, fresh);
    p->width += p->growth;
    if (first > before && epl_arg_real(a, "reduction") > 0) {
        p->width = (int)floor(epl_arg_real(a, "reduction") * p->width);
        for (int s = first; s < p->scales; s++) {
            char name[32];
            snprintf(name, sizeof name, "transition%d", s + 1);
            fresh[s] = unit(g, fresh[s], name, p->width * p->factor[s], 1, 1);
        }
    }
    memcpy(scale, fresh, sizeof fresh);
    epl_scope_pop(g);
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    static const int factors[] = { 1, 2, 4, 4 };
    const int blocks = epl_arg_int(a, "blocks"), classes = epl_arg_int(a, "classes");
    const bool large = strcmp(epl_arg_choice(a, "stem"), "imagenet") == 0;
    plan       p = { .scales = epl_arg_int(a, "scales"), .growth = epl_arg_int(a, "growth"), .width = epl_arg_int(a, "width") };
    epl_value *scale[MOST_SCALES] = { 0 }, *exits[32] = { 0 };
    int        all = 0, at = 0;
    memcpy(p.factor, factors, sizeof factors);
    if (!epl_zoo_at_least(g, a, "classes", 1, "every exit names one"))
        return;
    for (int b = 0; b < blocks; b++)
        all += layers_of(a, b);
    first_layer(g, a, &p, scale);
    for (int b = 0; b < blocks; b++) {
        epl_scope_push(g, "block%d", b + 1);
        for (int i = layers_of(a, b); i > 0; i--)
            next_layer(g, a, &p, ++at, all, scale);
        epl_scope_pop(g);
        char name[32];
        snprintf(name, sizeof name, b + 1 < blocks ? "exit%d" : "head", b + 1);
        exits[b] = epl_exit_head(g, scale[p.scales - 1],
                                 (epl_exit_head_opts){ .name = name,
                                                       .kind = EPL_EXIT_MSDNET,
                                                       .classes = classes,
                                                       .width = large ? (int)epl_channels(scale[p.scales - 1]) : 128 });
    }
    epl_output(g, "logits", exits[blocks - 1]);
    for (int b = 0; b + 1 < blocks; b++) {
        char name[32];
        snprintf(name, sizeof name, "exit%d", b + 1);
        epl_output(g, name, exits[b]);
    }
}

const epl_zoo_entry epl_zoo_msdnet = {
    .name = "msdnet",
    .summary = "multi-scale dense network: an exit behind each block",
    .paper = "arXiv:1703.09844",
    .build = build,
    .own_head = true,
    .small = "blocks=2,base=2,step=1,width=4,growth=2,image=16",
    .options = { EPL_ZOO_IMAGES(10, 32, 3),
                 { "blocks", 7, 1, 32, .help = "exits, the final one included" },
                 { "base", 4, 1, 64, .help = "layers of the first block" },
                 { "step", 2, 1, 64, .help = "layers of the others" },
                 { "steps", 0, .choices = "even|lin_grow", .help = "lin_grow: step i + 1 layers in block i, from 0" },
                 { "scales", 3, 1, 4, .help = "resolutions side by side, of 1, 2, 4, 4 times the channels" },
                 { "width", 16, 1, 1024, .help = "channels of the finest scale at first" },
                 { "growth", 6, 2, 1024, .help = "and what a layer adds to it" },
                 { "reduction", 0.5, 0, 1, .real = true, .help = "of channels, where a scale ends; 0: no transitions" },
                 { "stem", 0, .choices = "small|imagenet", .help = "3x3 convolution, or 7x7 of stride 2 and a pool" } },
};
