/* simple: perceptrons, LeNet-5 and a plain tower of convolutions. */
#include <stdio.h>

#include "zoo/zoo.h"

/* ---- mlp ---- */

static void build_mlp(epl_graph *g, const epl_zoo_args *a)
{
    epl_value *x = epl_flatten(g, epl_zoo_image(g, a), 1);
    for (int i = 0; i < epl_arg_int(a, "depth"); i++) {
        char name[32];
        snprintf(name, sizeof name, "hidden%d", i + 1);
        x = epl_linear(g, x, (epl_linear_opts){ .name = name, .out = epl_arg_int(a, "width"), .init = EPL_START_HE });
        x = epl_activation(g, x, epl_arg_choice(a, "activation"));
        if (epl_arg_real(a, "dropout") > 0)
            x = epl_dropout(g, x, epl_arg_real(a, "dropout"), false);
    }
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_mlp = {
    .name = "mlp", .summary = "multi-layer perceptron on flattened images", .build = build_mlp,
    .small = "image=6,width=8",
    .options = { EPL_ZOO_IMAGES(10, 28, 1),
                 { "depth", 2, 0, 100, .help = "hidden layers" }, { "width", 256, 1, 65536, .help = "units of a hidden layer" },
                 { "activation", 0, .choices = "relu|tanh|gelu|silu|sigmoid", .help = "of hidden layers" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "after hidden layers" } },
};

/* ---- lenet: LeCun et al. 1998, "Gradient-based learning applied to document recognition", with ReLU and max poolin */

static void build_lenet(epl_graph *g, const epl_zoo_args *a)
{
    if (!epl_zoo_at_least(g, a, "image", 12, "two pools halve it, and a 5x5 convolution takes 4 between them"))
        return;
    epl_value *x = epl_zoo_image(g, a);
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "conv1", .out = 6, .kernel = 5, .pad = 2 }));
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "conv2", .out = 16, .kernel = 5 }));
    x = epl_flatten(g, epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } }), 1);
    x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "fc1", .out = 120 }));
    x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "fc2", .out = 84 }));
    epl_zoo_classify(g, a, x, "fc3");
}

const epl_zoo_entry epl_zoo_lenet = {
    .name = "lenet",
    .summary = "LeNet-5 with ReLU and max pooling",
    .paper = "LeCun et al. 1998",
    .build = build_lenet,
    .small = "image=12",
    .options = { EPL_ZOO_IMAGES(10, 28, 1) },
};

/* ---- cnn: stages of 3x3 convolutions with batch normalisation; each stage after the first halves the image ---- */

static epl_value *cnn_unit(epl_graph *g, epl_value *x, const char *name, double width, int stride)
{
    return epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = (int)width, .stride = stride } });
}

static void build_cnn(epl_graph *g, const epl_zoo_args *a)
{
    epl_value *x = epl_zoo_image(g, a);
    double     width = epl_arg_int(a, "width");
    if (epl_arg_int(a, "stem_width"))
        x = cnn_unit(g, x, "stem", epl_arg_int(a, "stem_width"), 1);
    for (int s = 0; s < epl_arg_int(a, "stages"); s++, width *= epl_arg_real(a, "growth"))
        for (int i = 0; i < epl_arg_int(a, "depth"); i++) {
            char name[48];
            snprintf(name, sizeof name, "stage%d.unit%d", s + 1, i + 1);
            epl_value *y = cnn_unit(g, x, name, width, i ? 1 : s ? 2 : epl_arg_int(a, "stem"));
            x = i && epl_arg_int(a, "residual") ? epl_add(g, x, y) : y;
        }
    x = epl_global_average_pool(g, x);
    if (epl_arg_real(a, "dropout") > 0)
        x = epl_dropout(g, x, epl_arg_real(a, "dropout"), false);
    epl_zoo_classify(g, a, x, "head");
}

const epl_zoo_entry epl_zoo_cnn = {
    .name = "cnn", .summary = "plain tower of 3x3 convolutions with batch normalisation", .build = build_cnn,
    .small = "image=12,width=4,stages=2,depth=1",
    .options = { EPL_ZOO_IMAGES(10, 28, 1),
                 { "stages", 3, 1, 6, .help = "resolutions" }, { "depth", 2, 1, 32, .help = "convolutions of a stage" },
                 { "width", 32, 1, 4096, .help = "channels of the first stage" },
                 { "growth", 2, 1, 4, .real = true, .help = "channels from stage to stage" },
                 { "stem", 1, 1, 4, .help = "stride of the first stage" },
                 { "stem_width", 0, 0, 4096, .help = "channels of a convolution before the stages; 0: none" },
                 { "residual", 0, 0, 1, .help = "1: units that keep the shape add to their input" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "before the classifier" } },
};
