/* phc: networks of hypercomplex convolutions, Grassucci et al. 2021 (arXiv:2110.04176): residual networks and VGG
 * for small images, and the sound event detector. Each is built with ordinary layers, whose weights then become sums
 * of Kronecker products; n=0 leaves the real network. */
#include <stdio.h>
#include <string.h>

#include "zoo/zoo.h"

#define PHC_OPTIONS                                                                                                            \
    { "n", 4, 0, 16, .help = "terms of the Kronecker sums; 0: real weights" },                                                 \
    { "algebra", 0, .choices = "learned|complex|quaternion|identity", .help = "the rules of the products" }

/* Zeros before the channels up to a multiple of n. */
static epl_value *padded(epl_graph *g, epl_value *x, int n)
{
    const int64_t missing = n ? (n - epl_channels(x) % n) % n : 0;
    epl_pad_opts  p = { 0 };
    p.before[epl_rank(x) - 1] = missing;
    return missing ? epl_pad(g, x, p) : x;
}

/* All layers but those named become hypercomplex; each has to divide. */
static void make_hypercomplex(epl_graph *g, const epl_zoo_args *a, const char *skip, int n_real)
{
    static const struct {
        const char *word;
        epl_algebra algebra;
    } algebras[] = { { "learned", EPL_ALGEBRA_LEARNED }, { "complex", EPL_ALGEBRA_COMPLEX }, { "quaternion", EPL_ALGEBRA_QUATERNION },
                     { "identity", EPL_ALGEBRA_IDENTITY } };
    epl_hypercomplex_opts   o = { .n = epl_arg_int(a, "n"), .skip = skip };
    epl_hypercomplex_result r = { 0 };
    for (size_t i = 0; i < EPL_COUNT(algebras); i++)
        if (strcmp(algebras[i].word, epl_arg_choice(a, "algebra")) == 0)
            o.algebra = algebras[i].algebra;
    if (o.n == 0 || epl_graph_failed(g) || !epl_hypercomplex(g, NULL, o, &r))
        return;
    if (r.skipped > n_real)
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "option 'n' is %d, which does not divide the channels of these layers: %s",
                       o.n, r.skipped_names);
    epl_release(epl_graph_context(g), r.skipped_names);
}

/* ---- residual networks: a 3x3 stem, four stages, everything but the classifier hypercomplex ---- */

static epl_value *unit(epl_graph *g, epl_value *x, bool bottleneck, int width, int stride)
{
    const int  out = bottleneck ? 4 * width : width;
    epl_value *h = x, *shortcut = x;
    if (bottleneck)
        h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "a", .conv = { .out = width, .kernel = 1 } });
    h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "b", .conv = { .out = width, .stride = stride } });
    h = epl_conv_unit(g, h,
                      (epl_conv_unit_opts){ .name = "c",
                                            .conv = { .out = out, .kernel = bottleneck ? 1 : 3 },
                                            .activation = "identity" });
    if (stride > 1 || epl_channels(x) != out)
        shortcut = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "shortcut", .conv = { .out = out, .kernel = 1, .stride = stride },
                                                             .activation = "identity" });
    return epl_relu(g, epl_add(g, h, shortcut));
}

static void build_resnet(epl_graph *g, const epl_zoo_args *a)
{
    static const struct {
        const char *depth;
        int         units[4];
    } depths[] = { { "18", { 2, 2, 2, 2 } }, { "50", { 3, 4, 6, 3 } }, { "152", { 3, 8, 36, 3 } } };
    static const int widths[2][4] = { { 64, 128, 256, 512 }, { 60, 120, 240, 516 } }; // the second divide by 2, 3 and 4
    const int *width = widths[epl_arg_int(a, "large")];
    size_t     d = 0;
    while (strcmp(depths[d].depth, epl_arg_choice(a, "depth")) != 0)
        d++;
    epl_value *x = padded(g, epl_zoo_image(g, a), epl_arg_int(a, "n"));
    x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = width[0] } });
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < depths[d].units[s]; i++) {
            epl_scope_push(g, "stage%d.unit%d", s + 1, i + 1);
            x = unit(g, x, d > 0, width[s], s > 0 && i == 0 ? 2 : 1);
            epl_scope_pop(g);
        }
    epl_zoo_classify(g, a, epl_global_average_pool(g, x), "head");
    make_hypercomplex(g, a, EPL_ZOO_HEAD_LAYERS, epl_zoo_head_layers(a));
}

const epl_zoo_entry epl_zoo_phc_resnet = {
    .name = "phc-resnet", .summary = "residual network of hypercomplex convolutions", .paper = "arXiv:2110.04176", .build = build_resnet,
    .small = "large=1,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), { "depth", 0, .choices = "18|50|152", .help = "convolutions and the classifier" },
                 { "large", 0, 0, 1, .help = "1: widths that 2, 3 and 4 divide (60, 120, 240, 516)" }, PHC_OPTIONS },
};

/* ---- VGG: everything but the last layer hypercomplex ---- */

static void build_vgg(epl_graph *g, const epl_zoo_args *a)
{
    static const struct {
        const char *depth;
        int         width[5], convs[5], hidden;
    } nets[] = { { "16", { 64, 128, 256, 512, 512 }, { 2, 2, 3, 3, 3 }, 512 },
                 { "19-large", { 24, 72, 216, 648, 648 }, { 2, 2, 4, 4, 4 }, 516 } };
    const int k = strcmp(epl_arg_choice(a, "depth"), "16") != 0;
    epl_value *x = padded(g, epl_zoo_image(g, a), epl_arg_int(a, "n"));
    if (x && epl_dim(x, 1) < 32) {
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "phc-vgg: option 'image' is %d, but five pools need at least 32", epl_arg_int(a, "image"));
        return;
    }
    for (int s = 0; s < 5; s++) {
        for (int i = 0; i < nets[k].convs[s]; i++) {
            epl_scope_push(g, "stage%d.unit%d", s + 1, i + 1); // the authors' real network has biases
            x = epl_conv(g, x, (epl_conv_opts){ .out = nets[k].width[s], .pad = 1, .no_bias = epl_arg_int(a, "n") > 0 });
            x = epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ 0 }));
            epl_scope_pop(g);
        }
        x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    }
    x = epl_flatten(g, x, 1);
    for (int i = 1; i <= 2; i++) {
        x = epl_linear(g, x, (epl_linear_opts){ .name = i == 1 ? "fc1" : "fc2", .out = nets[k].hidden });
        x = epl_dropout(g, epl_relu(g, x), 0.5, false);
    }
    epl_zoo_classify(g, a, x, "head");
    make_hypercomplex(g, a, EPL_ZOO_HEAD_LAYERS, epl_zoo_head_layers(a));
}

const epl_zoo_entry epl_zoo_phc_vgg = {
    .name = "phc-vgg", .summary = "VGG of hypercomplex layers", .paper = "arXiv:2110.04176", .build = build_vgg,
    .small = "image=32",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), { "depth", 1, .choices = "16|19-large", .help = "19-large: widths that 2, 3 and 4 divide" },
                 PHC_OPTIONS },
};

/* ---- sound event detection: hypercomplex convolutions over spectrograms, real recurrent and linear layers ---- */

static void build_seldnet(epl_graph *g, const epl_zoo_args *a)
{
    static const struct {
        int out, time, frequency;
    } blocks[] = { { 64, 2, 8 }, { 128, 2, 8 }, { 256, 2, 2 }, { 512, 1, 1 } };
    const int bins = epl_arg_int(a, "bins"), frames = epl_arg_int(a, "frames");
    if (bins % 128 || frames % 8) {
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "phc-seldnet: %d bins and %d frames, but they must be multiples of 128 and 8", bins, frames);
        return;
    }
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, frames, bins, epl_arg_int(a, "channels")), "N,,,");
    x = padded(g, x, epl_arg_int(a, "n"));
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "block%d", i + 1);
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = blocks[i].out } });
        if (blocks[i].frequency > 1)
            x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { blocks[i].time, blocks[i].frequency } });
        x = epl_dropout(g, x, 0.3, false);
    }
    x = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, EPL_KEEP, epl_dim(x, 2) * epl_channels(x)));
    x = epl_gru(g, x, (epl_recurrent_layer_opts){ .width = 256, .layers = 3, .bidirectional = true });
    for (int i = 1; i <= 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "fc%d", i);
        x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = name, .out = 1024 }));
    }
    x = epl_dropout(g, x, 0.3, false); // a result for every step, so no average over them
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = epl_arg_int(a, "classes") }));
    make_hypercomplex(g, a, "head.*,fc*", 4);
}

const epl_zoo_entry epl_zoo_phc_seldnet = {
    .name = "phc-seldnet", .summary = "sound event detection over [N, frames, bins, channels]", .paper = "arXiv:2110.04176",
    .build = build_seldnet, .own_head = true, .small = "frames=16,bins=128",
    .options = { { "classes", 42, 1, 1e6, .help = "outputs of each of the frames/8 steps: classes times overlaps, for sigmoids" },
                 { "frames", 4800, 8, 1e6, .help = "of the spectrogram" }, { "bins", 256, 128, 8192, .help = "of frequency" },
                 { "channels", 8, 1, 4096, .help = "of the spectrogram: magnitudes and phases of the microphones" }, PHC_OPTIONS },
};
