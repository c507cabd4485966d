/* sdn: shallow-deep networks - VGG-16, ResNet-56, WRN-32-4 and MobileNet for small images, with internal classifiers
 * near 15, 30, 45, 60, 75 and 90 % of their multiply-adds. Kaya et al. 2019 (arXiv:1810.07052). */
#include <stdio.h>

#include "zoo/zoo.h"

/* The network of that description in g, and exits behind the scopes that are named. */
static void build(epl_graph *g, const epl_zoo_args *a, const char *description, int n, const char *const *places)
{
    if (!epl_zoo_at_least(g, a, "classes", 1, "every exit names one"))
        return;
    epl_value *x = epl_zoo_image(g, a), *logits = NULL;
    epl_graph *plain = epl_zoo_build(epl_graph_context(g), description);
    if (!plain || !x || !epl_graph_inline(g, plain, &x, &logits, NULL)) {
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "'%s' could not be built", description);
        epl_graph_free(plain);
        return;
    }
    epl_graph_free(plain);
    epl_output(g, "logits", logits);
    for (int i = 0; i < n; i++)
        epl_exit_add(g, epl_scope_value(g, places[i]), (epl_exit_head_opts){ .classes = epl_arg_int(a, "classes") });
}

static void describe(char out[256], const epl_zoo_args *a, const char *what)
{
    snprintf(out, 256, "%s,classes=%d,image=%d,channels=%d", what, epl_arg_int(a, "classes"), epl_arg_int(a, "image"),
             epl_arg_int(a, "channels"));
}

static int scaled(const epl_zoo_args *a, int channels)
{
    const int n = (int)(epl_arg_real(a, "width") * channels);
    return n > 1 ? n : 1;
}

static void build_vgg(epl_graph *g, const epl_zoo_args *a)
{
    static const char *const places[] = { "stage1", "stage2", "stage3.unit2", "stage3", "stage4.unit2", "stage4" };
    char what[64], text[256];
    snprintf(what, sizeof what, "vgg:depth=16,norm=1,width=%d,hidden=%d", scaled(a, 64), scaled(a, 512));
    describe(text, a, what);
    build(g, a, text, 6, places);
}

static void build_resnet(epl_graph *g, const epl_zoo_args *a)
{
    static const char *const places[] = { "stage1.unit4", "stage1.unit8", "stage2.unit3", "stage2.unit7", "stage3.unit2", "stage3.unit6" };
    char what[64], text[256];
    snprintf(what, sizeof what, "resnet:depth=56,width=%d", scaled(a, 16));
    describe(text, a, what);
    build(g, a, text, 6, places);
}

static void build_wide(epl_graph *g, const epl_zoo_args *a)
{
    static const char *const places[] = { "stage1.unit3", "stage1.unit5", "stage2.unit2", "stage2.unit4", "stage3.unit1", "stage3.unit3" };
    char what[64], text[256];
    snprintf(what, sizeof what, "wide-resnet:depth=34,widen=%d,dropout=%g", scaled(a, 4), epl_arg_real(a, "dropout"));
    describe(text, a, what);
    build(g, a, text, 6, places);
}

static void build_mobilenet(epl_graph *g, const epl_zoo_args *a)
{
    static const char *const places[] = { "block3", "block5", "block7", "block9", "block12" };
    char what[64], text[256];
    snprintf(what, sizeof what, "mobilenet:stem=1,width=%g", epl_arg_real(a, "width"));
    describe(text, a, what);
    build(g, a, text, 5, places);
}

#define WIDTH { "width", 1, 0.01, 16, .real = true, .help = "factor of all channels" }

const epl_zoo_entry epl_zoo_sdn_vgg16 = {
    .name = "sdn-vgg16", .summary = "VGG-16 with six early exits", .paper = "arXiv:1810.07052", .build = build_vgg, .own_head = true,
    .small = "width=0.07", .options = { EPL_ZOO_IMAGES(10, 32, 3), WIDTH },
};
const epl_zoo_entry epl_zoo_sdn_resnet56 = {
    .name = "sdn-resnet56",
    .summary = "ResNet-56 with six early exits",
    .paper = "arXiv:1810.07052",
    .build = build_resnet,
    .own_head = true,
    .small = "width=0.13,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), WIDTH },
};
const epl_zoo_entry epl_zoo_sdn_wrn32_4 = {
    .name = "sdn-wrn32-4",
    .summary = "WRN-32-4 with six early exits",
    .paper = "arXiv:1810.07052",
    .build = build_wide,
    .own_head = true,
    .small = "width=0.25,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3),
                 WIDTH,
                 { "dropout", 0.3, 0, 0.99, .real = true, .help = "between the convolutions of a unit" } },
};
const epl_zoo_entry epl_zoo_sdn_mobilenet = {
    .name = "sdn-mobilenet",
    .summary = "MobileNet with five early exits",
    .paper = "arXiv:1810.07052",
    .build = build_mobilenet,
    .own_head = true,
    .small = "width=0.1",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), WIDTH },
};
