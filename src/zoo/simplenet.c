/* simplenet: plain stacks of 13 convolutions, Hasanpour et al. 2016 (arXiv:1608.06037), "Lets keep it simple".
 *
 * Layouts are written as in the paper's tables: widths in order, "/1" marks a 1x1 kernel (else 3x3), P is a 2x2 max
 * pooling. A unit is convolution (with a bias), batch normalisation, ReLU, and dropout of whole channels; before a
 * pooling the dropout comes behind it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "zoo/zoo.h"

typedef struct layout {
    const char *name, *widths;
} layout;

static const layout small[] = {
    { "310k", "64 32 32 32 P 32 32 64 P 64 64 P 128 256/1 64/1 P 64" },
    { "460k", "32 32 32 64 P 64 64 64 P 64 64 P 96 96 96 P 100/1" },           /* Caffe: the one behind the published figures */
    { "460k-port", "32 32 32 64 P 64 64 64 P 64 64 P 96 96/1 96/1 P 100" },
    { "5m", "64 128 128 128 P 128 128 256 P 256 256 P 512 2048/1 256/1 P 256" },
    { "5m-extra-pool", "64 128 128 128 P 128 128 256 P 256 256 P 512 P 2048/1 256/1 P 256" }, /* what the port's weights need */
    { "early-1x1", "64 88/1 88/1 88/1 P 32 32 64 P 64 64 P 128 256/1 64/1 P 64" },            /* 310k against principle 3 */
    { "early-pool", "64 P 32 P 32 P 32 32 32 64 64 64 128 256/1 64/1 P 64" },                 /* 310k against principle 4 */
};

static const layout large[] = {
    { "5m", "64 128 128 128 128 128 P 256 256 256 512 P 2048/1 256/1 256" },
    { "9m", "128 192 192 192 192 192 P 320 320 320 640 P 2560/1 320/1 320" },
};

static const char *widths_of(const layout *layouts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(layouts[i].name, name) == 0)
            return layouts[i].widths;
    return NULL;
}

typedef struct stack {
    const char *widths;
    double      scale, dropout, late_dropout;
    unsigned    strided; /* bit i: convolution i has stride 2 */
} stack;

static epl_value *unit(epl_graph *g, epl_value *x, int index, int out, int kernel, bool strided)
{
    epl_scope_push(g, "unit%d", index + 1);
    x = epl_conv(g, x, (epl_conv_opts){ .out = out, .kernel = kernel, .pad = kernel / 2, .stride = strided ? 2 : 1,
                                        .init = EPL_START_GLOROT, .gain = sqrt(2) });
    x = epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ .momentum = 0.95 }));
    epl_scope_pop(g);
    return x;
}

static epl_value *drop(epl_graph *g, epl_value *x, double rate) { return rate > 0 ? epl_dropout(g, x, rate, epl_rank(x) > 2) : x; }

static int count_units(const char *widths)
{
    int n = 0;
    for (const char *s = widths; *s; s += strcspn(s, " "), s += *s == ' ')
        n += *s != 'P';
    return n;
}

static epl_value *build_stack(epl_graph *g, epl_value *x, stack s)
{
    const int n = count_units(s.widths);
    int       index = 0;
    for (const char *at = s.widths; *at; at += *at == ' ') {
        char *end;
        if (*at == 'P') {
            x = drop(g, epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } }), index > n - 3 ? s.late_dropout : s.dropout);
            at++;
            continue;
        }
        const int out = (int)rint(s.scale * (double)strtol(at, &end, 10)); // half to even, as the port rounds
        const int kernel = strncmp(end, "/1", 2) == 0 ? 1 : 3;
        at = end + (kernel == 1 ? 2 : 0);
        x = unit(g, x, index, out, kernel, s.strided >> index & 1);
        index++;
        if (*at && at[1] != 'P')
            x = drop(g, x, index > n - 3 ? s.late_dropout : s.dropout);
    }
    return drop(g, epl_global_max_pool(g, x), s.late_dropout);
}

static double late_of(const epl_zoo_args *a)
{
    return epl_arg_real(a, "late_dropout") < 0 ? epl_arg_real(a, "dropout") : epl_arg_real(a, "late_dropout");
}

#define DROPOUTS(rate)                                                                                                                   \
    { "dropout", rate, 0, 0.99, .real = true, .help = "of whole channels, after units" },                                                \
    { "late_dropout", -1, -1, 0.99, .real = true, .help = "the same behind the last three units (-1: as the others)" }

/* ---- 32x32 and 28x28 ---- */

static void build_small(epl_graph *g, const epl_zoo_args *a)
{
    const stack s = { .widths = widths_of(small, EPL_COUNT(small), epl_arg_choice(a, "layout")), .scale = epl_arg_real(a, "scale"),
                      .dropout = epl_arg_real(a, "dropout"), .late_dropout = late_of(a) };
    int least = 1;
    for (const char *p = strchr(s.widths, 'P'); p; p = strchr(p + 1, 'P'))
        least *= 2;
    if (epl_arg_int(a, "image") < least)
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "simplenet: option 'image' is %d, but the poolings of layout %s need at least %d",
                       epl_arg_int(a, "image"), epl_arg_choice(a, "layout"), least);
    epl_zoo_classify(g, a, build_stack(g, epl_zoo_image(g, a), s), "head");
}

const epl_zoo_entry epl_zoo_simplenet = {
    .name = "simplenet", .summary = "plain stack of 13 convolutions, for small images", .paper = "Hasanpour et al. 2016, arXiv:1608.06037",
    .build = build_small, .small = "scale=0.1,image=16",
    .options = { EPL_ZOO_IMAGES(10, 32, 3),
                 { "layout", 0, .choices = "310k|460k|460k-port|5m|5m-extra-pool|early-1x1|early-pool",
                   .help = "widths; early-1x1 and early-pool are 310k with one of the paper's principles broken" },
                 { "scale", 1, 0.05, 8, .real = true, .help = "times all widths" }, DROPOUTS(0.2) },
};

/* ---- 224x224 ---- */

static void build_large(epl_graph *g, const epl_zoo_args *a)
{
    static const unsigned strided[] = { 1 | 2 | 4, 1 | 2 | 8, 1 | 2 | 16, 1 | 4 | 16 }; // m1 to m4: slower and better
    const stack s = { .widths = widths_of(large, EPL_COUNT(large), epl_arg_choice(a, "layout")), .scale = epl_arg_real(a, "scale"),
                      .dropout = epl_arg_real(a, "dropout"), .late_dropout = late_of(a),
                      .strided = strided[epl_arg_choice(a, "mode")[1] - '1'] };
    if (epl_zoo_at_least(g, a, "image", 25, "three strided convolutions and two pools divide it"))
        epl_zoo_classify(g, a, build_stack(g, epl_zoo_image(g, a), s), "head");
}

const epl_zoo_entry epl_zoo_simplenet_imagenet = {
    .name = "simplenet-imagenet", .summary = "plain stack of 13 convolutions, for large images (scale=0.5: small-05)",
    .paper = "Hasanpour et al. 2016, arXiv:1608.06037; networks of 2023", .build = build_large,
    .small = "scale=0.1,image=32,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "layout", 0, .choices = "5m|9m", .help = "widths" },
                 { "mode", 1, .choices = "m1|m2|m3|m4", .help = "which convolutions have stride 2; the later ones are slower and better" },
                 { "scale", 1, 0.05, 8, .real = true, .help = "times all widths; 0.5 and 0.75 of 5m are the small ones" }, DROPOUTS(0) },
};
