/* moat: inverted bottlenecks, then blocks in which one alternates with attention; Yang et al. 2022 (arXiv:2210.01820), MOAT and
 * tiny-MOAT, and a micro-moat for images of 28 x 28. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

enum { STAGES = 4 };

/* The first two stages have no attention; a stage without blocks ends the network. */
static const struct {
    int    stem, depth[STAGES], width[STAGES], stride[STAGES], head_size, image, learned[STAGES];
    double drop_path;
} variants[] = {
    { 64, { 2, 3, 7, 2 }, { 96, 192, 384, 768 }, { 2, 2, 2, 2 }, 32, 224, { 0, 0, 14, 7 }, 0.2 },
    { 64, { 2, 6, 14, 2 }, { 96, 192, 384, 768 }, { 2, 2, 2, 2 }, 32, 224, { 0, 0, 14, 7 }, 0.3 },
    { 128, { 2, 6, 14, 2 }, { 128, 256, 512, 1024 }, { 2, 2, 2, 2 }, 32, 384, { 0, 0, 14, 7 }, 0.3 },
    { 160, { 2, 12, 28, 2 }, { 160, 320, 640, 1280 }, { 2, 2, 2, 2 }, 32, 512, { 0, 0, 14, 7 }, 0.6 },
    { 256, { 2, 12, 28, 2 }, { 256, 512, 1024, 2048 }, { 2, 2, 2, 2 }, 32, 512, { 0, 0, 14, 7 }, 0.7 },
    { 32, { 2, 3, 7, 2 }, { 32, 64, 128, 256 }, { 2, 2, 2, 2 }, 32, 256, { 0, 0, 14, 7 }, 0 },
    { 40, { 2, 3, 7, 2 }, { 40, 80, 160, 320 }, { 2, 2, 2, 2 }, 32, 256, { 0, 0, 14, 7 }, 0 },
    { 56, { 2, 3, 7, 2 }, { 56, 112, 224, 448 }, { 2, 2, 2, 2 }, 32, 256, { 0, 0, 14, 7 }, 0 },
    { 80, { 2, 3, 7, 2 }, { 80, 160, 320, 640 }, { 2, 2, 2, 2 }, 32, 256, { 0, 0, 14, 7 }, 0.1 },
    { 16, { 1, 1, 2 }, { 16, 32, 64 }, { 1, 2, 1 }, 16, 28, { 0, 0, 7 }, 0 },
};

enum { MICRO = EPL_COUNT(variants) - 1 };

/* As Keras has it; micro, which is for short trainings, forgets faster. */
static epl_norm_opts norm_of(int variant) { return (epl_norm_opts){ .epsilon = 1e-3, .momentum = variant == MICRO ? 0.9 : 0.99 }; }

static const epl_start     start = EPL_START_TRUNC_NORMAL;

static int    sized(int chosen, int otherwise) { return chosen ? chosen : otherwise; }
static double last_rate(const epl_zoo_args *a)
{
    const double rate = epl_arg_real(a, "drop_path");
    return rate < 0 ? variants[epl_arg_int(a, "variant")].drop_path : rate;
}

static epl_value *stem(epl_graph *g, epl_value *x, int out, epl_norm_opts norm)
{
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem1", .with_bias = true, .norm = norm, .activation = "gelu",
                                                  .conv = { .out = out, .stride = 2, .same = true, .init = start } });
    return epl_conv(g, x, (epl_conv_opts){ .name = "stem2", .out = out, .same = true, .init = start });
}

/* The window of stage s whose map is side wide: 0 is the whole map, -1 one that does not fit. */
static int window_of(epl_graph *g, const epl_zoo_args *a, int s, int side, bool last)
{
    const char *option = s == 2 ? "window3" : "window4";
    const int   window = epl_arg_int(a, option);
    char        why[96];
    if (window == 0 || (last && epl_arg_int(a, "global_last")))
        return 0;
    snprintf(why, sizeof why, "it does not divide the map of stage %d, which is %d x %d", s + 1, side, side);
    return side % window == 0 || epl_zoo_refuse(g, a, option, why) ? window : -1;
}

/* Block i of n in stage s, at a drop path rate; x [N, side, side, C]. */
static epl_value *block(epl_graph *g, const epl_zoo_args *a, epl_value *x, int s, int i, int n, double rate)
{
    const int   v = epl_arg_int(a, "variant"), out = variants[v].width[s], pool = epl_arg_int(a, "pool");
    const int   head_size = sized(epl_arg_int(a, "head_size"), variants[v].head_size);
    const char *order = epl_arg_choice(a, "order");
    const bool  apart = strcmp(order, "mbconv-transformer") == 0;
    epl_inverted_opts m = { .out = out,
                            .hidden = 4 * out,
                            .stride = i == 0 ? variants[v].stride[s] : 1,
                            .pool = pool,
                            .pre = true,
                            .same = true,
                            .activation = "gelu",
                            .squeeze_activation = "swish",
                            .norm = norm_of(v),
                            .init = start,
                            .drop_path = rate };
    if (s < 2) {
        m.squeeze = out / 4;
        return epl_inverted_bottleneck(g, x, m);
    }
    m.hidden = (int)lround(epl_arg_real(a, "expansion") * out);
    if (apart && i == 0)
        return epl_inverted_bottleneck(g, x, m);
    const int window = x ? window_of(g, a, s, (int)(epl_dim(x, 1) + m.stride - 1) / m.stride, i == n - 1) : -1;
    if (window < 0 || !epl_zoo_divides(g, a, "head_size", head_size, "the width of a stage with attention", out))
        return NULL;
    return epl_moat(g, x,
                    (epl_moat_opts){ .mbconv = m,
                                     .order = strcmp(order, "attention-first") == 0 ? EPL_MOAT_ATTENTION_CONV
                                              : apart || strcmp(order, "mlp") == 0  ? EPL_MOAT_ATTENTION_MLP
                                                                                    : EPL_MOAT_CONV_ATTENTION,
                                     .attention = { .heads = out / head_size,
                                                    .window = window,
                                                    .no_bias = !epl_arg_int(a, "positions"),
                                                    .learned = variants[v].learned[s],
                                                    .init = start } });
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int  v = epl_arg_int(a, "variant"), side = sized(epl_arg_int(a, "image"), variants[v].image);
    const bool taps = epl_arg_int(a, "taps");
    epl_value *tap[STAGES] = { 0 };
    int        total = 0, at = 0;
    for (int s = 0; s < STAGES; s++)
        total += variants[v].depth[s];
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, side, side, epl_arg_int(a, "channels")), "N,,,");
    x = stem(g, x, variants[v].stem, norm_of(v));
    for (int s = 0; s < STAGES; s++) {
        const int n = variants[v].depth[s];
        for (int i = 0; i < n; i++, at++) {
            epl_scope_push(g, "stage%d.block%d", s + 1, i + 1);
            x = block(g, a, x, s, i, n, last_rate(a) * at / total); // the last block never reaches the rate
            epl_scope_pop(g);
        }
        tap[s] = n && taps ? epl_gelu(g, x) : NULL;
    }
    if (!x)
        return;
    epl_zoo_classify(g, a, epl_layer_norm(g, epl_global_average_pool(g, x), (epl_norm_opts){ 0 }), "head");
    for (int s = 0; s < STAGES; s++) {
        char name[16];
        snprintf(name, sizeof name, "stage%d", s + 1);
        if (tap[s])
            epl_output(g, name, tap[s]);
    }
}

const epl_zoo_entry epl_zoo_moat = {
    .name = "moat",
    .summary = "inverted bottlenecks in turns with attention (MOAT 0 to 4, tiny-MOAT)",
    .paper = "arXiv:2210.01820",
    .build = build,
    .small = "variant=micro,image=14,channels=1,classes=6,drop_path=0.1",
    .options = { EPL_ZOO_SIZED_IMAGES(1000, 3),
                 { "variant", 0, .choices = "0|1|2|3|4|tiny-0|tiny-1|tiny-2|tiny-3|micro",
                   .help = "size; micro is for images of 28 x 28" },
                 { "positions", 1, 0, 1, .help = "1: attention has a relative bias; 0: none" },
                 { "window3", 0, 0, 4096, .help = "window of attention in stage 3; divides the map; 0: the whole map" },
                 { "window4", 0, 0, 4096, .help = "the same of stage 4" },
                 { "global_last", 0, 0, 1, .help = "1: the last block of a stage sees the whole map" },
                 { "pool", 2, 1, 16, .help = "window of the average in shortcuts with a stride; 3 for dense tasks" },
                 { "drop_path", -1, -1, 0.99, .real = true,
                   .help = "stochastic depth: the rate that grows from 0; -1: the variant's" },
                 { "order", 0, .choices = "moat|mbconv-transformer|attention-first|mlp",
                   .help = "of the parts of stages with attention" },
                 { "expansion", 4, 0.5, 16, .real = true,
                   .help = "channels inside of a bottleneck or perceptron of these stages, of its width" },
                 { "head_size", 0, 0, 4096,
                   .help = "channels of a head of attention; divides the widths; 0: the variant's (32, of micro 16)" },
                 { "taps", 0, 0, 1, .help = "1: the stages' outputs as outputs, too" } },
};
