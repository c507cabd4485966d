/* mobilenet: version 1, Howard et al. 2017 (arXiv:1704.04861), version 2, Sandler et al. 2018 (arXiv:1801.04381), and version 3,
 * Howard et al. 2019 (arXiv:1905.02244). */
#include <limits.h>
#include <stdio.h>

#include "zoo/zoo.h"

/* ---- version 1: depthwise 3x3, then 1x1, each with norm and relu ---- */

static epl_value *separable(epl_graph *g, epl_value *x, int out, int stride)
{
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "depthwise", .conv = { .depthwise = true, .stride = stride } });
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "pointwise", .conv = { .out = out, .kernel = 1 } });
}

static void build_v1(epl_graph *g, const epl_zoo_args *a)
{
    static const struct {
        int out, stride;
    } blocks[] = { { 64, 1 }, { 128, 2 }, { 128, 1 }, { 256, 2 }, { 256, 1 }, { 512, 2 }, { 512, 1 },
                   { 512, 1 }, { 512, 1 }, { 512, 1 }, { 512, 1 }, { 1024, 2 }, { 1024, 1 } };
    const double width = epl_arg_real(a, "width");
    epl_value   *x = epl_zoo_image(g, a);
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = (int)(32 * width), .stride = epl_arg_int(a, "stem") } });
    for (size_t i = 0; i < EPL_COUNT(blocks); i++) {
        epl_scope_push(g, "block%zu", i + 1);
        x = separable(g, x, (int)(blocks[i].out * width), blocks[i].stride);
        epl_scope_pop(g);
    }
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_mobilenet = {
    .name = "mobilenet", .summary = "depthwise separable convolutions (version 1)", .paper = "arXiv:1704.04861", .build = build_v1,
    .small = "width=0.1,image=32,classes=7",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "width", 1, 0.05, 4, .real = true, .help = "factor of all channels" },
                 { "stem", 2, 1, 2, .help = "stride of the first convolution" } },
};

/* ---- version 2: inverted bottlenecks ---- */

typedef struct stage {
    int expand, out, repeat, stride;
} stage;

/* Units of a stage from `in` to `out` channels whose expansions are at most `most`: as many as make its 1x1
 * convolutions about as costly as those that expand as they like. */
static int units_of(const stage *s, int in, int out, int most)
{
    double wanted = 0, have = 0;
    for (int i = 0; i < s->repeat; i++) {
        const int from = i ? out : in;
        wanted += (double)s->expand * from * (from + out);
    }
    for (int i = 0;; i++) {
        const int    from = i ? out : in, hidden = s->expand * from < most ? s->expand * from : most;
        const double with = have + (double)hidden * (from + out);
        if (i >= s->repeat && with - wanted > wanted - have)
            return i;
        have = with;
    }
}

static void build_v2(epl_graph *g, const epl_zoo_args *a)
{
    static const stage stages[] = { { 1, 16, 1, 1 }, { 6, 24, 2, 2 }, { 6, 32, 3, 2 }, { 6, 64, 4, 2 }, { 6, 96, 3, 1 }, { 6, 160, 3, 2 },
                                    { 6, 320, 1, 1 } };
    const double width = epl_arg_real(a, "width");
    const int    most  = epl_arg_int(a, "hidden") ? epl_arg_int(a, "hidden") : INT_MAX;
    if (most != INT_MAX && !epl_zoo_at_least(g, a, "hidden", 32, "stages would become hundreds of units deep"))
        return;
    epl_value   *x = epl_zoo_image(g, a);
    x = epl_conv_unit(g, x,
                      (epl_conv_unit_opts){
                          .name = "stem",
                          .conv = { .out = epl_zoo_round(32 * width, 8), .stride = epl_arg_int(a, "stem") },
                          .activation = "relu6" });
    for (size_t s = 0; s < EPL_COUNT(stages); s++) {
        const int out = epl_zoo_round(stages[s].out * width, 8), units = units_of(&stages[s], (int)epl_channels(x), out, most);
        for (int i = 0; i < units; i++) {
            const int hidden = stages[s].expand * (int)epl_channels(x);
            epl_scope_push(g, "stage%zu.unit%d", s + 1, i + 1);
            x = epl_inverted_bottleneck(g, x, (epl_inverted_opts){ .out = out, .hidden = hidden < most ? hidden : most,
                                                                   .stride = i == 0 ? stages[s].stride : 1 });
            epl_scope_pop(g);
        }
    }
    const int last = width > 1 ? epl_zoo_round(1280 * width, 8) : 1280;
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "last", .conv = { .out = last, .kernel = 1 }, .activation = "relu6" });
    epl_zoo_classify_with(g, a, x, (epl_classifier_opts){ .dropout = 0.2 });
}

const epl_zoo_entry epl_zoo_mobilenet_v2 = {
    .name = "mobilenet-v2", .summary = "inverted bottlenecks with linear ends", .paper = "arXiv:1801.04381", .build = build_v2,
    .small = "width=0.1,image=32,classes=7",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "width", 1, 0.05, 4, .real = true, .help = "factor of all channels" },
                 { "stem", 2, 1, 2, .help = "stride of the first convolution" },
                 { "hidden", 0, 0, 1 << 16, .help = "most channels inside a unit; stages become deeper instead. 0: six times the unit's" } },
};

/* ---- version 3: found by search; squeeze-and-excitation, hard swish ---- */

typedef struct bneck {
    int  kernel, hidden, out, stride;
    bool squeeze, swish;
} bneck;

static const bneck large[] = { // table 1
    { 3, 16, 16, 1, false, false },  { 3, 64, 24, 2, false, false },  { 3, 72, 24, 1, false, false },  { 5, 72, 40, 2, true, false },
    { 5, 120, 40, 1, true, false },  { 5, 120, 40, 1, true, false },  { 3, 240, 80, 2, false, true },  { 3, 200, 80, 1, false, true },
    { 3, 184, 80, 1, false, true },  { 3, 184, 80, 1, false, true },  { 3, 480, 112, 1, true, true },  { 3, 672, 112, 1, true, true },
    { 5, 672, 160, 2, true, true },  { 5, 960, 160, 1, true, true },  { 5, 960, 160, 1, true, true },
};
static const bneck small[] = { // table 2
    { 3, 16, 16, 2, true, false },   { 3, 72, 24, 2, false, false },  { 3, 88, 24, 1, false, false },  { 5, 96, 40, 2, true, true },
    { 5, 240, 40, 1, true, true },   { 5, 240, 40, 1, true, true },   { 5, 120, 48, 1, true, true },   { 5, 144, 48, 1, true, true },
    { 5, 288, 96, 2, true, true },   { 5, 576, 96, 1, true, true },   { 5, 576, 96, 1, true, true },
};

static void build_v3(epl_graph *g, const epl_zoo_args *a)
{
    const bool   is_large = epl_arg_int(a, "variant") == 0;
    const bneck *blocks = is_large ? large : small;
    const int    n = is_large ? (int)EPL_COUNT(large) : (int)EPL_COUNT(small);
    const double width = epl_arg_real(a, "width");
    const epl_norm_opts norm = { .epsilon = epl_arg_real(a, "epsilon"), .momentum = 0.99 };
    epl_conv_unit_opts  unit = { .name = "stem", .conv = { .out = epl_zoo_round(16 * width, 8), .stride = epl_arg_int(a, "stem") },
                                 .norm = norm, .activation = "hard_swish" };
    epl_value *x = epl_conv_unit(g, epl_zoo_image(g, a), unit);
    for (int i = 0; i < n; i++) {
        const int hidden = epl_zoo_round(blocks[i].hidden * width, 8);
        epl_scope_push(g, "block%d", i + 1);
        x = epl_inverted_bottleneck(g, x, (epl_inverted_opts){
            .out = epl_zoo_round(blocks[i].out * width, 8), .hidden = hidden, .kernel = blocks[i].kernel, .stride = blocks[i].stride,
            .squeeze = blocks[i].squeeze ? epl_zoo_round(hidden / 4.0, 8) : 0, .activation = blocks[i].swish ? "hard_swish" : "relu",
            .gate = "hard_sigmoid", .norm = norm });
        epl_scope_pop(g);
    }
    unit.name = "last";
    unit.conv = (epl_conv_opts){ .out = 6 * (int)epl_channels(x), .kernel = 1 };
    x = epl_global_average_pool(g, epl_conv_unit(g, x, unit));
    x = epl_hard_swish(g, epl_linear(g, x,
                                     (epl_linear_opts){ .name = "hidden",
                                                        .out = epl_zoo_round((is_large ? 1280 : 1024) * width, 8) }));
    epl_zoo_classify_with(g, a, x, (epl_classifier_opts){ .dropout = 0.2 });
}

const epl_zoo_entry epl_zoo_mobilenet_v3 = {
    .name = "mobilenet-v3", .summary = "inverted bottlenecks with squeeze-and-excitation, found by search", .paper = "arXiv:1905.02244",
    .build = build_v3, .small = "variant=small,width=0.1,image=64,classes=7",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3), { "variant", 0, .choices = "large|small", .help = "which of the two networks" },
                 { "epsilon", 1e-3, 1e-8, 1, .real = true, .help = "of the normalisations; timm's networks have 1e-5" },
                 { "width", 1, 0.05, 4, .real = true, .help = "factor of all channels" },
                 { "stem", 2, 1, 2, .help = "stride of the first convolution" } },
};
