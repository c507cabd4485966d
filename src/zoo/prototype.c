/* prototype: a classifier that reads nothing but distances to learned codes, beside a decoder that draws them: Li,
 * Liu, Chen & Rudin 2018 (arXiv:1710.04806). The head alone goes with every classifier of the zoo (head=prototype). */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

enum { MOST_DEPTH = 8 };

/* Three 3x3 convolutions of stride 2 and `width` channels, a last one of `maps`; sides[i] is the image's side before
 * convolution i. */
static epl_value *encode(epl_graph *g, epl_value *x, const epl_zoo_args *a, epl_start init, int64_t *sides)
{
    const int depth = epl_arg_int(a, "depth");
    epl_scope_push(g, "encoder");
    for (int i = 0; i < depth; i++) {
        char name[16];
        snprintf(name, sizeof name, "conv%d", i + 1);
        sides[i] = x ? epl_dim(x, 1) : 0;
        x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = name, .out = epl_arg_int(a, i + 1 < depth ? "width" : "maps"), .stride = 2,
                                                        .same = true, .init = init }));
    }
    epl_scope_pop(g);
    return x;
}

/* The same backwards. */
static epl_value *decode(epl_graph *g, epl_value *x, const epl_zoo_args *a, epl_start init, const int64_t *sides)
{
    epl_scope_push(g, "decoder");
    for (int i = epl_arg_int(a, "depth") - 1; i >= 0; i--) {
        char name[16];
        snprintf(name, sizeof name, "up%d", epl_arg_int(a, "depth") - i);
        x = epl_conv_transpose(g, x, (epl_conv_transpose_opts){ .name = name, .out = epl_arg_int(a, i ? "width" : "channels"), .kernel = 3,
                                                                .stride = 2, .same_size = { (int)sides[i], (int)sides[i] }, .init = init });
        x = i ? epl_relu(g, x) : epl_sigmoid(g, x);
    }
    epl_scope_pop(g);
    return x;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const bool      paper = strcmp(epl_arg_choice(a, "init"), "paper") == 0;
    const epl_start init  = paper ? EPL_START_SMALL : EPL_START_HE;
    int64_t         sides[MOST_DEPTH];
    epl_value *x = encode(g, epl_zoo_image(g, a), a, init, sides);
    epl_value *z = x ? epl_flatten(g, x, 1) : NULL;
    epl_value *d = epl_prototypes(g, z, (epl_prototypes_opts){ .count = epl_arg_int(a, "prototypes") });
    epl_output(g, "logits", epl_linear(g, d, (epl_linear_opts){ .name = "head", .out = epl_arg_int(a, "classes"), .no_bias = true,
                                                                .init = EPL_START_UNIT }));
    epl_output(g, "distances", d);
    if (x && epl_arg_int(a, "decoder")) // from the code, so that a code of one's own can be drawn
        epl_output(g, "reconstruction",
                   decode(g, epl_reshape(g, z, EPL_SHAPE(EPL_KEEP, epl_dim(x, 1), epl_dim(x, 2), epl_channels(x))), a, init, sides));
}

const epl_zoo_entry epl_zoo_prototype_net = {
    .name = "prototype-net",
    .summary = "distances to learned codes, and a decoder that draws them",
    .paper = "arXiv:1710.04806",
    .build = build,
    .own_head = true,
    .small = "image=12,channels=2,width=6,maps=4,depth=2,prototypes=5,classes=4",
    .options = { { "classes", 10, 1, 1e6, .help = "output classes" },
                 { "image", 28, 1, 8192, .help = "height and width of the input" },
                 { "channels", 1, 1, 4096, .help = "channels of the input" },
                 { "prototypes", 15, 1, 65536, .help = "learned codes" },
                 { "depth", 4, 1, MOST_DEPTH, .help = "convolutions of stride 2, and as many of the decoder" },
                 { "width", 32, 1, 4096, .help = "channels of all but the last" },
                 { "maps", 10, 1, 4096, .help = "channels of the code" },
                 { "decoder", 1, 0, 1, .help = "0: none" },
                 { "init", 0, .choices = "he|paper",
                   .help = "paper: filters normal with std 0.01, for long training" } },
};
