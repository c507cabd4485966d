/* vovnet: one-shot aggregation networks, Lee et al. 2019 (arXiv:1904.09730), and their second version with gates and shortcuts,
 * Lee & Park 2020 (arXiv:1911.06667). The shortcut of every module but a stage's first is in the first version's published
 * network, too. */
#include <string.h>

#include "zoo/zoo.h"

typedef struct variant {
    const char *name;
    int         stem, width[4], out[4], layers, modules[4];
    bool        ese, depthwise;
} variant;

#define SLIM { 64, 80, 96, 112 }, { 128, 256, 384, 512 }
#define LITE { 64, 80, 96, 112 }, { 112, 256, 384, 512 }
#define FULL { 128, 160, 192, 224 }, { 256, 512, 768, 1024 }
static const variant variants[] = {
    { "27-slim", 128, SLIM, 5, { 1, 1, 1, 1 }, false, false },
    { "39", 128, FULL, 5, { 1, 1, 2, 2 }, false, false },
    { "57", 128, FULL, 5, { 1, 1, 4, 3 }, false, false },
    { "19-slim-dw-ese", 64, LITE, 3, { 1, 1, 1, 1 }, true, true },
    { "19-dw-ese", 64, FULL, 3, { 1, 1, 1, 1 }, true, true },
    { "19-slim-ese", 128, LITE, 3, { 1, 1, 1, 1 }, true, false },
    { "19-ese", 128, FULL, 3, { 1, 1, 1, 1 }, true, false },
    { "39-ese", 128, FULL, 5, { 1, 1, 2, 2 }, true, false },
    { "57-ese", 128, FULL, 5, { 1, 1, 4, 3 }, true, false },
    { "99-ese", 128, FULL, 5, { 1, 3, 9, 3 }, true, false },
};

/* The modules of a stage; only the first changes the width. */
static epl_value *stage(epl_graph *g, epl_value *x, const variant *v, int s, bool every)
{
    epl_scope_push(g, "stage%d", s + 2);
    if (s > 0)
        x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .ceil_mode = true });
    for (int i = 0; i < v->modules[s]; i++) {
        epl_scope_push(g, "module%d", i + 1);
        x = epl_osa(g, x, (epl_osa_opts){ .width = v->width[s], .out = v->out[s], .layers = v->layers, .identity = i > 0,
                                          .ese = v->ese && (every || i + 1 == v->modules[s]), .depthwise = v->depthwise });
        epl_scope_pop(g);
    }
    epl_scope_pop(g);
    return x;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const variant *v = variants;
    while (strcmp(v->name, epl_arg_choice(a, "variant")) != 0)
        v++;
    if (!epl_zoo_at_least(g, a, "image", 45, "the stem and the pools divide it by 32"))
        return;
    epl_value *taps[5] = { epl_osa_stem(g, epl_zoo_image(g, a), (epl_osa_stem_opts){ .out = v->stem, .depthwise = v->depthwise }) };
    for (int s = 0; s < 4; s++)
        taps[s + 1] = stage(g, taps[s], v, s, strcmp(epl_arg_choice(a, "ese"), "every") == 0);
    epl_zoo_classify(g, a, taps[4], "head");
    static const char *const names[] = { "stem", "stage2", "stage3", "stage4", "stage5" };
    for (int s = 0; s < 5 && epl_arg_int(a, "taps"); s++)
        epl_output(g, names[s], taps[s]);
}

const epl_zoo_entry epl_zoo_vovnet = {
    .name = "vovnet", .summary = "one-shot aggregation network (versions 1 and 2)", .paper = "arXiv:1904.09730", .build = build,
    .small = "variant=19-slim-dw-ese,image=64,classes=10",
    .options = { EPL_ZOO_IMAGES(1000, 224, 3),
                 { "variant", 1, .choices = "27-slim|39|57|19-slim-dw-ese|19-dw-ese|19-slim-ese|19-ese|39-ese|57-ese|99-ese",
                   .help = "layers, width, depthwise convolutions, gates (-ese: version 2)" },
                 { "ese", 0, .choices = "every|last", .help = "of -ese variants: a gate in every module, or in a stage's last alone" },
                 { "taps", 0, 0, 1, .help = "1: the stem's and the stages' features are outputs, too, at strides 4, 4, 8, 16, 32" } },
};
