/* zoo_import: published weights by torchvision's and timm's names, written here after their modules; what is said
 * when a file is not what it should be; sharded safetensors. */
#include "common/check.h"

#include <espalier/zoo.h>

#include <stdarg.h>

static void put(test *t, epl_context *ctx, epl_weights *w, epl_shape shape, const char *format, ...)
{
    char    name[200];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, shape);
    epl_tensor_fill_normal(x, t->rng, 0, 1);
    CHECK(t, epl_weights_put_take(w, name, x));
}

static void put_norm(test *t, epl_context *ctx, epl_weights *w, int64_t c, const char *name)
{
    static const char *const parts[] = { "weight", "bias", "running_mean", "running_var" };
    for (size_t i = 0; i < EPL_COUNT(parts); i++)
        put(t, ctx, w, EPL_SHAPE(c), "%s.%s", name, parts[i]);
    put(t, ctx, w, EPL_SCALAR, "%s.num_batches_tracked", name);
}

/* torchvision's ResNet-18 with `c` channels in its first layer. */
static epl_weights *resnet18(test *t, epl_context *ctx, int64_t c, int64_t classes)
{
    epl_weights *w = epl_weights_new(ctx);
    char         name[64];
    put(t, ctx, w, EPL_SHAPE(c, 3, 7, 7), "conv1.weight");
    put_norm(t, ctx, w, c, "bn1");
    for (int layer = 1, before = (int)c; layer <= 4; layer++) {
        const int64_t out = c << (layer - 1);
        for (int block = 0; block < 2; block++, before = (int)out)
            for (int conv = 1; conv <= 2; conv++) {
                put(t, ctx, w, EPL_SHAPE(out, conv == 1 ? before : out, 3, 3), "layer%d.%d.conv%d.weight", layer, block, conv);
                snprintf(name, sizeof name, "layer%d.%d.bn%d", layer, block, conv);
                put_norm(t, ctx, w, out, name);
                if (layer > 1 && block == 0 && conv == 2) {
                    put(t, ctx, w, EPL_SHAPE(out, before, 1, 1), "layer%d.0.downsample.0.weight", layer);
                    snprintf(name, sizeof name, "layer%d.0.downsample.1", layer);
                    put_norm(t, ctx, w, out, name);
                }
            }
    }
    put(t, ctx, w, EPL_SHAPE(classes, 8 * c), "fc.weight");
    put(t, ctx, w, EPL_SHAPE(classes), "fc.bias");
    return w;
}

#define SMALL_RESNET "resnet:stem=imagenet,depth=18,width=4,classes=5,image=32"

static epl_model *empty(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    CHECK_OK(t, ctx, g);
    return epl_model_new_take(g);
}

static double at4(const epl_tensor *x, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t *n = x->shape.dim;
    return epl_tensor_get(x, ((a * n[1] + b) * n[2] + c) * n[3] + d);
}

TEST(resnet_takes_torchvisions_names)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = resnet18(t, ctx, 4, 5);
    epl_model   *m = empty(t, ctx, SMALL_RESNET);
    CHECK_OK(t, ctx, epl_zoo_import_weights(m, w, "resnet18"));
    const epl_tensor *theirs = epl_weights_find(w, "layer3.0.downsample.0.weight"),
                     *ours = epl_weights_find(m->weights, "stage3.unit1.shortcut.conv.weight");
    CHECK_NEAR(t, at4(ours, 0, 0, 5, 11), at4(theirs, 11, 5, 0, 0), 0);
    theirs = epl_weights_find(w, "layer2.1.conv2.weight"), ours = epl_weights_find(m->weights, "stage2.unit2.b.conv.weight");
    CHECK_NEAR(t, at4(ours, 2, 1, 3, 6), at4(theirs, 6, 3, 2, 1), 0);
    theirs = epl_weights_find(w, "fc.weight"), ours = epl_weights_find(m->weights, "head.weight");
    CHECK_NEAR(t, epl_tensor_get(ours, 7 * 5 + 2), epl_tensor_get(theirs, 2 * 32 + 7), 0);
    CHECK(t, epl_tensor_equal(epl_weights_find(w, "layer4.1.bn2.running_var"),
                              epl_weights_find(m->weights, "stage4.unit2.b.norm.running_var")));
    epl_model_free(m);
    epl_weights_free(w);
}

TEST(what_does_not_fit_is_listed)
{
    epl_context *ctx = test_context(t);
    epl_weights *w = resnet18(t, ctx, 4, 6);
    epl_model   *m = empty(t, ctx, SMALL_RESNET);
    CHECK(t, epl_weights_rename(w, "bn1.bias", "bn1.beta"));
    CHECK_FAILS(t, ctx, epl_zoo_import_weights(m, w, "resnet18"), EPL_ERR_FORMAT,
                "these are not the weights of resnet18: 1 missing (bn1.bias); 1 unexpected (bn1.beta); 2 misshapen "
                "(fc.weight [6, 32], which 'head.weight' [32, 5] does not take, fc.bias [6], which 'head.bias' [5] does not take)");
    CHECK_FAILS(t, ctx, epl_zoo_import_weights(m, w, "resnt18"), EPL_ERR_ARGUMENT,
                "no published network is named 'resnt18'; did you mean 'resnet18'?");
    epl_weights_free(w);
    w = epl_weights_new(ctx);
    CHECK_FAILS(t, ctx, epl_zoo_import_weights(m, w, "resnet18"), EPL_ERR_FORMAT,
                "102 missing (conv1.weight, bn1.weight, bn1.bias, bn1.running_mean and 98 more)");
    epl_model_free(m);
    epl_weights_free(w);
}

/* timm's vision transformer of one block. */
TEST(vit_splits_the_fused_projection)
{
    enum { C = 6, HIDDEN = 8 };
    epl_context *ctx = test_context(t);
    epl_weights *w = epl_weights_new(ctx);
    put(t, ctx, w, EPL_SHAPE(C, 3, 4, 4), "patch_embed.proj.weight");
    put(t, ctx, w, EPL_SHAPE(C), "patch_embed.proj.bias");
    put(t, ctx, w, EPL_SHAPE(1, 1, C), "cls_token");
    put(t, ctx, w, EPL_SHAPE(1, 5, C), "pos_embed");
    const struct {
        const char *name;
        epl_shape   weight;
    } layers[] = { { "blocks.0.norm1", EPL_SHAPE(C) }, { "blocks.0.norm2", EPL_SHAPE(C) }, { "blocks.0.attn.qkv", EPL_SHAPE(3 * C, C) },
                   { "blocks.0.attn.proj", EPL_SHAPE(C, C) }, { "blocks.0.mlp.fc1", EPL_SHAPE(HIDDEN, C) },
                   { "blocks.0.mlp.fc2", EPL_SHAPE(C, HIDDEN) }, { "norm", EPL_SHAPE(C) }, { "head", EPL_SHAPE(3, C) } };
    for (size_t i = 0; i < EPL_COUNT(layers); i++) {
        put(t, ctx, w, layers[i].weight, "%s.weight", layers[i].name);
        put(t, ctx, w, EPL_SHAPE(layers[i].weight.dim[0]), "%s.bias", layers[i].name);
    }
    epl_model *m = empty(t, ctx, "vit:image=8,patch=4,width=6,depth=1,heads=2,hidden=8,classes=3");
    CHECK_OK(t, ctx, epl_zoo_import_weights(m, w, "vit_base_patch16_224"));
    const epl_tensor *qkv = epl_weights_find(w, "blocks.0.attn.qkv.weight"),
                     *value = epl_weights_find(m->weights, "block1.attention.value.weight");
    CHECK_NEAR(t, epl_tensor_get(value, 4 * C + 1), epl_tensor_get(qkv, (2 * C + 1) * C + 4), 0); // [in 4, out 1]
    const epl_tensor *bias = epl_weights_find(m->weights, "block1.attention.key.bias");
    CHECK_NEAR(t, epl_tensor_get(bias, 3), epl_tensor_get(epl_weights_find(w, "blocks.0.attn.qkv.bias"), C + 3), 0);
    CHECK(t, epl_tensor_equal(epl_weights_find(w, "pos_embed"), epl_weights_find(m->weights, "positions")));
    epl_model_free(m);
    epl_weights_free(w);
}

/* Every published description is a network of the zoo, and its rules name every tensor. */
TEST(rules_cover_every_published_network)
{
    static const char *const small[] = { "resnet18", "resnet50", "densenet121", "mobilenet_v2", "vit_tiny_patch16_224" };
    epl_context *ctx = test_context(t);
    for (int i = 0; i < epl_zoo_n_published(); i++) {
        epl_graph *g = epl_zoo_build(ctx, epl_zoo_published_description(ctx, epl_zoo_published_name(i)));
        CHECK_OK(t, ctx, g);
        epl_graph_free(g);
    }
    for (size_t i = 0; i < EPL_COUNT(small); i++) {
        epl_model   *m = empty(t, ctx, epl_zoo_published_description(ctx, small[i]));
        epl_weights *none = epl_weights_new(ctx);
        CHECK(t, !epl_zoo_import_weights(m, none, small[i]));
        CHECK(t, strstr(epl_error_message(ctx), "missing") && !strstr(epl_error_message(ctx), "no rule"));
        epl_error_clear(ctx);
        epl_weights_free(none);
        epl_model_free(m);
    }
}

/* ---- names ---- */

/* Every name that a published file has is asked for, and no other: tests/golden/published, made by make_published_names.py. The
 * tensors here have one element, so shapes are what does not fit. */
static const char *const published[] = {
    "torchvision_vgg11", "torchvision_vgg11_bn", "torchvision_squeezenet1_0", "torchvision_squeezenet1_1", "torchvision_mobilenet_v3_small",
    "torchvision_mobilenet_v3_large", "torchvision_efficientnet_b0", "torchvision_shufflenet_v2_x0_5", "torchvision_convnext_tiny",
    "torchvision_swin_t", "timm_mobilenetv2_100", "timm_seresnet50", "timm_efficientnet_b0", "timm_convnext_tiny",
    "timm_swin_tiny_patch4_window7_224", "timm_mixer_s16_224",
    "timm_mobilenetv3_small_100", "timm_mobilenetv3_large_100", "timm_vgg11", "timm_vgg11_bn", "timm_seresnet18",
    "timm_deit_tiny_distilled_patch16_224",
};

static epl_weights *listed(test *t, epl_context *ctx, const char *file)
{
    static const char *const norm[] = { "weight", "bias", "running_mean", "running_var" };
    char path[256];
    snprintf(path, sizeof path, "published/%s.txt", file);
    char        *text = test_read_file(t, test_golden_path(EPL_SOURCE_DIR, path), NULL), *rest = text;
    epl_weights *w = epl_weights_new(ctx);
    for (char *name; (name = strtok_r(rest, "\n", &rest)) != NULL;) {
        char *all = strstr(name, ".+norm");
        for (size_t i = 0; all && i < EPL_COUNT(norm); i++)
            put(t, ctx, w, EPL_SHAPE(1), "%.*s.%s", (int)(all - name), name, norm[i]);
        if (!all)
            put(t, ctx, w, EPL_SHAPE(1), "%s", name);
    }
    free(text);
    return w;
}

/* The network of this name, narrow: what a rule asks for does not depend on widths. */
static epl_model *narrow(test *t, epl_context *ctx, const char *arch)
{
    static const char *const options[][2] = { { "vgg:", ",width=2,hidden=4" }, { "convnext:", ",width=8" }, { "swin:", ",width=8,heads=1" },
                                              { "mixer:", ",width=16" }, { "senet:", ",width=4" }, { "efficientnet:", ",width=0.1" } };
    const char *description = epl_zoo_published_description(ctx, arch);
    char        all[256];
    CHECK_OK(t, ctx, description);
    snprintf(all, sizeof all, "%s", description);
    for (size_t i = 0; i < EPL_COUNT(options); i++)
        if (strncmp(description, options[i][0], strlen(options[i][0])) == 0)
            snprintf(all, sizeof all, "%s%s", description, options[i][1]);
    return empty(t, ctx, all);
}

PROPERTY(published_names_are_known, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    const char  *arch = strchr(published[t->index], '_') + 1;
    epl_weights *w = listed(t, ctx, published[t->index]);
    epl_model   *m = narrow(t, ctx, arch);
    CHECK(t, !epl_zoo_import_weights(m, w, arch));
    const char *said = epl_error_message(ctx);
    if (strstr(said, "missing") || strstr(said, "unexpected") || !strstr(said, "misshapen"))
        FAIL(t, "%s: %s", published[t->index], said);
    epl_error_clear(ctx);
    CHECK(t, epl_weights_remove(w, epl_weights_name(w, 0)));
    CHECK_FAILS(t, ctx, epl_zoo_import_weights(m, w, arch), EPL_ERR_FORMAT, "1 missing (");
    epl_weights_free(w);
    epl_model_free(m);
}

/* DenseNet's files of 2017 write norm.1 for norm1. */
TEST(densenets_old_names_are_known)
{
    epl_context *ctx = test_context(t);
    epl_weights *w[2];
    char         error[2][600];
    for (int old = 0; old < 2; old++) {
        epl_model *m = empty(t, ctx, "densenet:depth=121,growth=4");
        w[old] = epl_weights_new(ctx);
        for (int i = 0; i < 4; i++)
            put(t, ctx, w[old], EPL_SHAPE(1), "features.denseblock3.denselayer%d.%s%s%d.weight", i / 2 + 1,
                i % 2 ? "norm" : "conv", old ? "." : "", i % 2 + 1);
        CHECK(t, !epl_zoo_import_weights(m, w[old], "densenet121"));
        snprintf(error[old], sizeof error[old], "%s",
                 strstr(epl_error_message(ctx), "misshapen") ? strstr(epl_error_message(ctx), "4 misshapen") : "");
        CHECK(t, !strstr(epl_error_message(ctx), "unexpected"));
        epl_error_clear(ctx);
        epl_model_free(m);
        epl_weights_free(w[old]);
    }
    CHECK(t, strncmp(error[0], "4 misshapen", 11) == 0 && strncmp(error[1], "4 misshapen", 11) == 0);
}

/* VGG flattens channels first: element (row, column, channel) of ours is (channel, row, column) of theirs. */
TEST(flattened_images_are_put_in_order)
{
    enum { HIDDEN = 3 };
    epl_context *ctx = test_context(t);
    epl_model   *m = empty(t, ctx, "vgg:depth=11,width=1,hidden=3,classes=2"); // 8 channels of 7x7
    epl_weights *w = epl_weights_new(ctx);
    put(t, ctx, w, EPL_SHAPE(HIDDEN, 8 * 49), "classifier.0.weight");
    CHECK(t, !epl_zoo_import_weights(m, w, "vgg11"));
    epl_error_clear(ctx);
    const epl_tensor *theirs = epl_weights_at(w, 0), *ours = epl_weights_find(m->weights, "fc1.weight");
    CHECK_NEAR(t, epl_tensor_get(ours, ((2 * 7 + 5) * 8 + 6) * HIDDEN + 1), epl_tensor_get(theirs, 1 * 8 * 49 + (6 * 7 + 2) * 7 + 5), 0);
    epl_weights_free(w);
    epl_model_free(m);
}

/* ---- shards ---- */
static void write_text(test *t, epl_context *ctx, const char *name, const char *text)
{
    CHECK_OK(t, ctx, epl_write_file(ctx, test_temp(t, name), text, strlen(text)));
}

TEST(sharded_weights_open_by_their_index)
{
    epl_context *ctx = test_context(t);
    epl_weights *a = epl_weights_new(ctx), *b = epl_weights_new(ctx);
    put(t, ctx, a, EPL_SHAPE(2, 3), "one");
    put(t, ctx, a, EPL_SHAPE(4), "two");
    put(t, ctx, b, EPL_SHAPE(5), "three");
    CHECK_OK(t, ctx, epl_weights_save(a, test_temp(t, "m-1.safetensors")) && epl_weights_save(b, test_temp(t, "m-2.safetensors")));
    write_text(t, ctx, "m.index.json", "{\"metadata\": {\"total_size\": 60}, \"weight_map\": {\"three\": \"m-2.safetensors\", "
                                  "\"one\": \"m-1.safetensors\", \"two\": \"m-1.safetensors\"}}");
    epl_weights *w = epl_weights_open(ctx, test_temp(t, "m.index.json"));
    CHECK_OK(t, ctx, w);
    CHECK_INT(t, epl_weights_count(w), 3);
    CHECK(t, epl_tensor_equal(epl_weights_find(w, "one"), epl_weights_find(a, "one")));
    CHECK(t, epl_tensor_equal(epl_weights_find(w, "three"), epl_weights_find(b, "three")));
    epl_weights_free(w);
    write_text(t, ctx, "bad.index.json", "{\"weight_map\": {\"one\": \"../m-1.safetensors\"}}");
    CHECK_FAILS(t, ctx, epl_weights_open(ctx, test_temp(t, "bad.index.json")), EPL_ERR_FORMAT,
                "'one' is not said to lie in a file beside the index");
    write_text(t, ctx, "bad.index.json", "{\"weight_map\": {\"one\": \"bad.index.json\"}}");
    CHECK_FAILS(t, ctx, epl_weights_open(ctx, test_temp(t, "bad.index.json")), EPL_ERR_FORMAT, "another index");
    write_text(t, ctx, "bad.index.json", "{\"weight_map\": {\"four\": \"m-1.safetensors\"}}");
    CHECK_FAILS(t, ctx, epl_weights_open(ctx, test_temp(t, "bad.index.json")), EPL_ERR_FORMAT, "does not hold the tensor 'four'");
    write_text(t, ctx, "bad.index.json", "{}");
    CHECK_FAILS(t, ctx, epl_weights_open(ctx, test_temp(t, "bad.index.json")), EPL_ERR_FORMAT, "there is no \"weight_map\"");
    epl_weights_free(a);
    epl_weights_free(b);
}
