/* cbr: small towers of convolution, normalisation, activation and overlapping pooling, Raghu et al. 2019 (arXiv:1902.07208),
 * appendix: what large pretrained networks are compared with on medical images. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

static void build(epl_graph *g, const epl_zoo_args *a)
{
    static const struct {
        const char *name;
        int         kernel, width[5];
    } variants[] = { { "large-t", 7, { 32, 64, 128, 256, 512 } }, { "large-w", 7, { 64, 128, 256, 512 } },
                     { "small", 7, { 32, 64, 128, 256 } }, { "tiny", 5, { 32, 64, 128, 256 } } };
    size_t k = 0;
    while (strcmp(variants[k].name, epl_arg_choice(a, "variant")) != 0)
        k++;
    epl_value *x = epl_zoo_image(g, a);
    for (int i = 0; i < 5 && variants[k].width[i]; i++) {
        char name[16];
        snprintf(name, sizeof name, "unit%d", i + 1);
        x = epl_conv_unit(g, x,
                          (epl_conv_unit_opts){
                              .name = name, .conv = { .out = variants[k].width[i], .kernel = variants[k].kernel } });
        x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
    }
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_cbr = {
    .name = "cbr", .summary = "small tower of convolution, normalisation, ReLU, pooling", .paper = "arXiv:1902.07208", .build = build,
    .small = "variant=tiny,image=16,classes=3",
    .options = { EPL_ZOO_IMAGES(30, 224, 3), { "variant", 3, .choices = "large-t|large-w|small|tiny", .help = "widths and the kernel" } },
};
