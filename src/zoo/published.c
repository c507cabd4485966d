/* published: weights of torchvision and timm for our models. A family has rules from our names to theirs; the axes
 * follow from the rank. */
#include "tensor/permute.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <espalier/zoo.h>

/* ---- rules ------------------------------------------------------------------------------------------------------------------------
 * `ours`: # is a number, a final * the rest. `theirs`: * is that rest; {2a+b-1} is computed from the numbers a, b, c and n, which
 * counts the model's units from 1, through all stages. Of the rules that match the first counts whose tensor is there. `form` says what the axes do not. */
typedef enum axes_form {
    PLAIN,
    QUERY, KEY, VALUE, /* a third of a tensor that holds all three one after the other */
    AS_IS,             /* a table, not a layer's weight */
    FLATTENED          /* reads images of 7x7 that they flatten channels first, or have a convolution for */
} axes_form;

typedef struct rule {
    const char *ours, *theirs;
    axes_form   form;
} rule;

static const rule resnet[] = {
    { "stem.conv.*", "conv1.*" }, { "stem.norm.*", "bn1.*" },
    { "stage#.unit#.a.conv.*", "layer{a}.{b-1}.conv1.*" }, { "stage#.unit#.a.norm.*", "layer{a}.{b-1}.bn1.*" },
    { "stage#.unit#.b.conv.*", "layer{a}.{b-1}.conv2.*" }, { "stage#.unit#.b.norm.*", "layer{a}.{b-1}.bn2.*" },
    { "stage#.unit#.c.conv.*", "layer{a}.{b-1}.conv3.*" }, { "stage#.unit#.c.norm.*", "layer{a}.{b-1}.bn3.*" },
    { "stage#.unit#.shortcut.conv.*", "layer{a}.{b-1}.downsample.0.*" }, { "stage#.unit#.shortcut.norm.*", "layer{a}.{b-1}.downsample.1.*" },
    { "head.*", "fc.*" }, { NULL },
};

static const rule densenet[] = {
    { "stem.conv.*", "features.conv0.*" }, { "stem.norm.*", "features.norm0.*" },
    { "block#.layer#.*", "features.denseblock{a}.denselayer{b}.*" },
    { "block#.layer#.norm#.*", "features.denseblock{a}.denselayer{b}.norm.{c}.*" }, // as torchvision's files of 2017 have it
    { "block#.layer#.conv#.*", "features.denseblock{a}.denselayer{b}.conv.{c}.*" }, { "transition#.*", "features.transition{a}.*" },
    { "norm.*", "features.norm5.*" }, { "head.*", "classifier.*" }, { NULL },
};

static const rule mobilenet_v2[] = {
    { "stem.conv.*", "features.0.0.*" }, { "stem.norm.*", "features.0.1.*" },
    { "stage1.unit1.depthwise.conv.*", "features.1.conv.0.0.*" }, { "stage1.unit1.depthwise.norm.*", "features.1.conv.0.1.*" },
    { "stage1.unit1.project.conv.*", "features.1.conv.1.*" }, { "stage1.unit1.project.norm.*", "features.1.conv.2.*" },
    { "stage#.unit#.expand.conv.*", "features.{n}.conv.0.0.*" }, { "stage#.unit#.expand.norm.*", "features.{n}.conv.0.1.*" },
    { "stage#.unit#.depthwise.conv.*", "features.{n}.conv.1.0.*" }, { "stage#.unit#.depthwise.norm.*", "features.{n}.conv.1.1.*" },
    { "stage#.unit#.project.conv.*", "features.{n}.conv.2.*" }, { "stage#.unit#.project.norm.*", "features.{n}.conv.3.*" },
    { "last.conv.*", "features.18.0.*" }, { "last.norm.*", "features.18.1.*" }, { "head.*", "classifier.1.*" }, { NULL },
};

static const rule vit_torchvision[] = {
    { "patches.*", "conv_proj.*" }, { "class_token", "class_token" }, { "positions", "encoder.pos_embedding" },
    { "block#.norm1.*", "encoder.layers.encoder_layer_{a-1}.ln_1.*" }, { "block#.norm2.*", "encoder.layers.encoder_layer_{a-1}.ln_2.*" },
    { "block#.attention.query.*", "encoder.layers.encoder_layer_{a-1}.self_attention.in_proj_*", QUERY },
    { "block#.attention.key.*", "encoder.layers.encoder_layer_{a-1}.self_attention.in_proj_*", KEY },
    { "block#.attention.value.*", "encoder.layers.encoder_layer_{a-1}.self_attention.in_proj_*", VALUE },
    { "block#.attention.out.*", "encoder.layers.encoder_layer_{a-1}.self_attention.out_proj.*" },
    { "block#.mlp1.*", "encoder.layers.encoder_layer_{a-1}.mlp.0.*" }, { "block#.mlp2.*", "encoder.layers.encoder_layer_{a-1}.mlp.3.*" },
    { "norm.*", "encoder.ln.*" }, { "head.*", "heads.head.*" }, { NULL },
};

static const rule vit_timm[] = {
    { "patches.*", "patch_embed.proj.*" }, { "class_token", "cls_token" }, { "positions", "pos_embed" },
    { "distill_token", "dist_token" }, { "distill_head.*", "head_dist.*" },
    { "block#.norm1.*", "blocks.{a-1}.norm1.*" }, { "block#.norm2.*", "blocks.{a-1}.norm2.*" },
    { "block#.attention.query.*", "blocks.{a-1}.attn.qkv.*", QUERY }, { "block#.attention.key.*", "blocks.{a-1}.attn.qkv.*", KEY },
    { "block#.attention.value.*", "blocks.{a-1}.attn.qkv.*", VALUE }, { "block#.attention.out.*", "blocks.{a-1}.attn.proj.*" },
    { "block#.mlp1.*", "blocks.{a-1}.mlp.fc1.*" }, { "block#.mlp2.*", "blocks.{a-1}.mlp.fc2.*" },
    { "norm.*", "norm.*" }, { "head.*", "head.*" }, { NULL },
};

static const rule seresnet_timm[] = {
    { "stage#.unit#.se.down.*", "layer{a}.{b-1}.se.fc1.*" }, { "stage#.unit#.se.up.*", "layer{a}.{b-1}.se.fc2.*" },
    { "stem.conv.*", "conv1.*" }, { "stem.norm.*", "bn1.*" },
    { "stage#.unit#.a.conv.*", "layer{a}.{b-1}.conv1.*" }, { "stage#.unit#.a.norm.*", "layer{a}.{b-1}.bn1.*" },
    { "stage#.unit#.b.conv.*", "layer{a}.{b-1}.conv2.*" }, { "stage#.unit#.b.norm.*", "layer{a}.{b-1}.bn2.*" },
    { "stage#.unit#.c.conv.*", "layer{a}.{b-1}.conv3.*" }, { "stage#.unit#.c.norm.*", "layer{a}.{b-1}.bn3.*" },
    { "stage#.unit#.shortcut.conv.*", "layer{a}.{b-1}.downsample.0.*" }, { "stage#.unit#.shortcut.norm.*", "layer{a}.{b-1}.downsample.1.*" },
    { "head.*", "fc.*" }, { NULL },
};

/* torchvision's, or timm's, whose layers are convolutions. */
#define VGG_HEAD                                                                                                                \
    { "fc1.weight", "classifier.0.weight", FLATTENED }, { "fc1.weight", "pre_logits.fc1.weight", FLATTENED },                    \
    { "fc1.bias", "classifier.0.bias" }, { "fc1.bias", "pre_logits.fc1.bias" }, { "fc2.*", "classifier.3.*" },                   \
    { "fc2.*", "pre_logits.fc2.*" }, { "head.*", "classifier.6.*" }, { "head.*", "head.fc.*" }

static const rule vgg[] = {
    { "stage#.unit#.conv.*", "features.{2n+a-3}.*" },
    VGG_HEAD, { NULL },
};

static const rule vgg_norm[] = {
    { "stage#.unit#.conv.*", "features.{3n+a-4}.*" }, { "stage#.unit#.norm.*", "features.{3n+a-3}.*" },
    VGG_HEAD, { NULL },
};

#define FIRE(ours, theirs)                                                                                                     \
    { "fire" #ours ".squeeze.*", "features." #theirs ".squeeze.*" }, { "fire" #ours ".expand#.*", "features." #theirs ".expand{a}x{a}.*" }

static const rule squeezenet[] = {
    { "stem.*", "features.0.*" }, FIRE(2, 3), FIRE(3, 4), FIRE(4, 5), FIRE(5, 7), FIRE(6, 8), FIRE(7, 9), FIRE(8, 10), FIRE(9, 12),
    { "head.*", "classifier.1.*" }, { NULL },
};

static const rule squeezenet_11[] = {
    { "stem.*", "features.0.*" }, FIRE(2, 3), FIRE(3, 4), FIRE(4, 6), FIRE(5, 7), FIRE(6, 9), FIRE(7, 10), FIRE(8, 11), FIRE(9, 12),
    { "head.*", "classifier.1.*" }, { NULL },
};

/* The first block has no expansion; not every block has a gate. */
static const rule mobilenet_v3[] = {
    { "stem.conv.*", "features.0.0.*" }, { "stem.norm.*", "features.0.1.*" },
    { "block1.depthwise.conv.*", "features.1.block.0.0.*" }, { "block1.depthwise.norm.*", "features.1.block.0.1.*" },
    { "block1.se.down.*", "features.1.block.1.fc1.*" }, { "block1.se.up.*", "features.1.block.1.fc2.*" },
    { "block1.project.conv.*", "features.1.block.2.0.*" }, { "block1.project.conv.*", "features.1.block.1.0.*" },
    { "block1.project.norm.*", "features.1.block.2.1.*" }, { "block1.project.norm.*", "features.1.block.1.1.*" },
    { "block#.expand.conv.*", "features.{a}.block.0.0.*" }, { "block#.expand.norm.*", "features.{a}.block.0.1.*" },
    { "block#.depthwise.conv.*", "features.{a}.block.1.0.*" }, { "block#.depthwise.norm.*", "features.{a}.block.1.1.*" },
    { "block#.se.down.*", "features.{a}.block.2.fc1.*" }, { "block#.se.up.*", "features.{a}.block.2.fc2.*" },
    { "block#.project.conv.*", "features.{a}.block.3.0.*" }, { "block#.project.conv.*", "features.{a}.block.2.0.*" },
    { "block#.project.norm.*", "features.{a}.block.3.1.*" }, { "block#.project.norm.*", "features.{a}.block.2.1.*" },
    { "last.conv.*", "features.16.0.*" }, { "last.conv.*", "features.12.0.*" },
    { "last.norm.*", "features.16.1.*" }, { "last.norm.*", "features.12.1.*" },
    { "hidden.*", "classifier.0.*" }, { "head.*", "classifier.3.*" }, { NULL },
};

/* timm counts the blocks stage by stage. */
#define V3_TIMM(ours, theirs)                                                                                                   \
    { "block" #ours ".expand.conv.*", "blocks." #theirs ".conv_pw.*" }, { "block" #ours ".expand.norm.*", "blocks." #theirs ".bn1.*" }, \
    { "block" #ours ".depthwise.conv.*", "blocks." #theirs ".conv_dw.*" }, { "block" #ours ".depthwise.norm.*", "blocks." #theirs ".bn2.*" }, \
    { "block" #ours ".se.down.*", "blocks." #theirs ".se.conv_reduce.*" }, { "block" #ours ".se.up.*", "blocks." #theirs ".se.conv_expand.*" }, \
    { "block" #ours ".project.conv.*", "blocks." #theirs ".conv_pwl.*" }, { "block" #ours ".project.norm.*", "blocks." #theirs ".bn3.*" }
#define V3_TIMM_ENDS(last)                                                                                                      \
    { "stem.conv.*", "conv_stem.*" }, { "stem.norm.*", "bn1.*" }, { "block1.depthwise.conv.*", "blocks.0.0.conv_dw.*" },        \
    { "block1.depthwise.norm.*", "blocks.0.0.bn1.*" }, { "block1.se.down.*", "blocks.0.0.se.conv_reduce.*" },                   \
    { "block1.se.up.*", "blocks.0.0.se.conv_expand.*" }, { "block1.project.conv.*", "blocks.0.0.conv_pw.*" },                   \
    { "block1.project.norm.*", "blocks.0.0.bn2.*" }, { "last.conv.*", "blocks." #last ".0.conv.*" },                            \
    { "last.norm.*", "blocks." #last ".0.bn1.*" }, { "hidden.*", "conv_head.*" }, { "head.*", "classifier.*" }

static const rule mobilenet_v3_small_timm[] = {
    V3_TIMM_ENDS(5),
    V3_TIMM(2, 1.0), V3_TIMM(3, 1.1), V3_TIMM(4, 2.0), V3_TIMM(5, 2.1), V3_TIMM(6, 2.2), V3_TIMM(7, 3.0), V3_TIMM(8, 3.1),
    V3_TIMM(9, 4.0), V3_TIMM(10, 4.1), V3_TIMM(11, 4.2),
    { NULL },
};

static const rule mobilenet_v3_large_timm[] = {
    V3_TIMM_ENDS(6),
    V3_TIMM(2, 1.0), V3_TIMM(3, 1.1), V3_TIMM(4, 2.0), V3_TIMM(5, 2.1), V3_TIMM(6, 2.2), V3_TIMM(7, 3.0), V3_TIMM(8, 3.1),
    V3_TIMM(9, 3.2), V3_TIMM(10, 3.3), V3_TIMM(11, 4.0), V3_TIMM(12, 4.1), V3_TIMM(13, 5.0), V3_TIMM(14, 5.1),
    V3_TIMM(15, 5.2),
    { NULL },
};

/* timm's names of MobileNetV2 and EfficientNet: a block without expansion has two normalisations, one with it three. */
#define INVERTED_TIMM \
    { "stem.conv.*", "conv_stem.*" }, { "stem.norm.*", "bn1.*" },                                                              \
    { "stage1.unit#.depthwise.norm.*", "blocks.0.{a-1}.bn1.*" }, { "stage1.unit#.project.conv.*", "blocks.0.{a-1}.conv_pw.*" }, \
    { "stage1.unit#.project.norm.*", "blocks.0.{a-1}.bn2.*" },                                                                 \
    { "stage#.unit#.expand.conv.*", "blocks.{a-1}.{b-1}.conv_pw.*" }, { "stage#.unit#.expand.norm.*", "blocks.{a-1}.{b-1}.bn1.*" }, \
    { "stage#.unit#.depthwise.conv.*", "blocks.{a-1}.{b-1}.conv_dw.*" }, { "stage#.unit#.depthwise.norm.*", "blocks.{a-1}.{b-1}.bn2.*" }, \
    { "stage#.unit#.se.down.*", "blocks.{a-1}.{b-1}.se.conv_reduce.*" }, { "stage#.unit#.se.up.*", "blocks.{a-1}.{b-1}.se.conv_expand.*" }, \
    { "stage#.unit#.project.conv.*", "blocks.{a-1}.{b-1}.conv_pwl.*" }, { "stage#.unit#.project.norm.*", "blocks.{a-1}.{b-1}.bn3.*" }, \
    { "last.conv.*", "conv_head.*" }, { "last.norm.*", "bn2.*" }, { "head.*", "classifier.*" }

static const rule efficientnet[] = {
    { "stem.conv.*", "features.0.0.*" }, { "stem.norm.*", "features.0.1.*" },
    { "stage1.unit#.depthwise.conv.*", "features.1.{a-1}.block.0.0.*" }, { "stage1.unit#.depthwise.norm.*", "features.1.{a-1}.block.0.1.*" },
    { "stage1.unit#.se.down.*", "features.1.{a-1}.block.1.fc1.*" }, { "stage1.unit#.se.up.*", "features.1.{a-1}.block.1.fc2.*" },
    { "stage1.unit#.project.conv.*", "features.1.{a-1}.block.2.0.*" }, { "stage1.unit#.project.norm.*", "features.1.{a-1}.block.2.1.*" },
    { "stage#.unit#.expand.conv.*", "features.{a}.{b-1}.block.0.0.*" }, { "stage#.unit#.expand.norm.*", "features.{a}.{b-1}.block.0.1.*" },
    { "stage#.unit#.depthwise.conv.*", "features.{a}.{b-1}.block.1.0.*" }, { "stage#.unit#.depthwise.norm.*", "features.{a}.{b-1}.block.1.1.*" },
    { "stage#.unit#.se.down.*", "features.{a}.{b-1}.block.2.fc1.*" }, { "stage#.unit#.se.up.*", "features.{a}.{b-1}.block.2.fc2.*" },
    { "stage#.unit#.project.conv.*", "features.{a}.{b-1}.block.3.0.*" }, { "stage#.unit#.project.norm.*", "features.{a}.{b-1}.block.3.1.*" },
    { "last.conv.*", "features.8.0.*" }, { "last.norm.*", "features.8.1.*" }, { "head.*", "classifier.1.*" },
    INVERTED_TIMM, { NULL },
};

static const rule inverted_timm[] = { INVERTED_TIMM, { NULL } };

static const rule shufflenet[] = {
    { "stem.conv.*", "conv1.0.*" }, { "stem.norm.*", "conv1.1.*" },
    { "stage#.unit#.left.depthwise.conv.*", "stage{a}.{b-1}.branch1.0.*" }, { "stage#.unit#.left.depthwise.norm.*", "stage{a}.{b-1}.branch1.1.*" },
    { "stage#.unit#.left.pointwise.conv.*", "stage{a}.{b-1}.branch1.2.*" }, { "stage#.unit#.left.pointwise.norm.*", "stage{a}.{b-1}.branch1.3.*" },
    { "stage#.unit#.right.expand.conv.*", "stage{a}.{b-1}.branch2.0.*" }, { "stage#.unit#.right.expand.norm.*", "stage{a}.{b-1}.branch2.1.*" },
    { "stage#.unit#.right.depthwise.conv.*", "stage{a}.{b-1}.branch2.3.*" }, { "stage#.unit#.right.depthwise.norm.*", "stage{a}.{b-1}.branch2.4.*" },
    { "stage#.unit#.right.project.conv.*", "stage{a}.{b-1}.branch2.5.*" }, { "stage#.unit#.right.project.norm.*", "stage{a}.{b-1}.branch2.6.*" },
    { "last.conv.*", "conv5.0.*" }, { "last.norm.*", "conv5.1.*" }, { "head.*", "fc.*" }, { NULL },
};

/* torchvision's names; or timm's, where both have the same architecture's name. */
static const rule convnext[] = {
    { "stem.*", "features.0.0.*" }, { "stem.*", "stem.0.*" }, { "stem_norm.*", "features.0.1.*" }, { "stem_norm.*", "stem.1.*" },
    { "stage#.unit#.depthwise.*", "features.{2a-1}.{b-1}.block.0.*" }, { "stage#.unit#.depthwise.*", "stages.{a-1}.blocks.{b-1}.conv_dw.*" },
    { "stage#.unit#.norm.*", "features.{2a-1}.{b-1}.block.2.*" }, { "stage#.unit#.norm.*", "stages.{a-1}.blocks.{b-1}.norm.*" },
    { "stage#.unit#.mlp1.*", "features.{2a-1}.{b-1}.block.3.*" }, { "stage#.unit#.mlp1.*", "stages.{a-1}.blocks.{b-1}.mlp.fc1.*" },
    { "stage#.unit#.mlp2.*", "features.{2a-1}.{b-1}.block.5.*" }, { "stage#.unit#.mlp2.*", "stages.{a-1}.blocks.{b-1}.mlp.fc2.*" },
    { "stage#.unit#.scale", "features.{2a-1}.{b-1}.layer_scale" }, { "stage#.unit#.scale", "stages.{a-1}.blocks.{b-1}.gamma" },
    { "downsample#.norm.*", "features.{2a-2}.0.*" }, { "downsample#.norm.*", "stages.{a-1}.downsample.0.*" },
    { "downsample#.conv.*", "features.{2a-2}.1.*" }, { "downsample#.conv.*", "stages.{a-1}.downsample.1.*" },
    { "norm.*", "classifier.0.*" }, { "norm.*", "head.norm.*" }, { "head.*", "classifier.2.*" }, { "head.*", "head.fc.*" }, { NULL },
};

static const rule swin[] = {
    { "patches.*", "features.0.0.*" }, { "patches_norm.*", "features.0.2.*" },
    { "stage#.block#.norm#.*", "features.{2a-1}.{b-1}.norm{c}.*" },
    { "stage#.block#.relative_bias", "features.{2a-1}.{b-1}.attn.relative_position_bias_table", AS_IS },
    { "stage#.block#.attention.query.*", "features.{2a-1}.{b-1}.attn.qkv.*", QUERY },
    { "stage#.block#.attention.key.*", "features.{2a-1}.{b-1}.attn.qkv.*", KEY },
    { "stage#.block#.attention.value.*", "features.{2a-1}.{b-1}.attn.qkv.*", VALUE },
    { "stage#.block#.attention.out.*", "features.{2a-1}.{b-1}.attn.proj.*" },
    { "stage#.block#.mlp1.*", "features.{2a-1}.{b-1}.mlp.0.*" }, { "stage#.block#.mlp2.*", "features.{2a-1}.{b-1}.mlp.3.*" },
    { "merge#.norm.*", "features.{2a-2}.norm.*" }, { "merge#.linear.*", "features.{2a-2}.reduction.*" },
    { "norm.*", "norm.*" }, { "head.*", "head.*" }, { NULL },
};

static const rule swin_timm[] = {
    { "patches.*", "patch_embed.proj.*" }, { "patches_norm.*", "patch_embed.norm.*" },
    { "stage#.block#.norm#.*", "layers.{a-1}.blocks.{b-1}.norm{c}.*" },
    { "stage#.block#.relative_bias", "layers.{a-1}.blocks.{b-1}.attn.relative_position_bias_table", AS_IS },
    { "stage#.block#.attention.query.*", "layers.{a-1}.blocks.{b-1}.attn.qkv.*", QUERY },
    { "stage#.block#.attention.key.*", "layers.{a-1}.blocks.{b-1}.attn.qkv.*", KEY },
    { "stage#.block#.attention.value.*", "layers.{a-1}.blocks.{b-1}.attn.qkv.*", VALUE },
    { "stage#.block#.attention.out.*", "layers.{a-1}.blocks.{b-1}.attn.proj.*" },
    { "stage#.block#.mlp1.*", "layers.{a-1}.blocks.{b-1}.mlp.fc1.*" }, { "stage#.block#.mlp2.*", "layers.{a-1}.blocks.{b-1}.mlp.fc2.*" },
    { "merge#.norm.*", "layers.{a-1}.downsample.norm.*" }, { "merge#.linear.*", "layers.{a-1}.downsample.reduction.*" },
    { "norm.*", "norm.*" }, { "head.*", "head.fc.*" }, { NULL },
};

static const rule mixer[] = {
    { "patches.*", "stem.proj.*" }, { "block#.norm#.*", "blocks.{a-1}.norm{b}.*" },
    { "block#.tokens#.*", "blocks.{a-1}.mlp_tokens.fc{b}.*" }, { "block#.mlp#.*", "blocks.{a-1}.mlp_channels.fc{b}.*" },
    { "norm.*", "norm.*" }, { "head.*", "head.*" }, { NULL },
};

#define RESNET "resnet:stem=imagenet,width=64,classes=1000,image=224"
#define VIT(patch, width, depth, heads) "vit:patch=" #patch ",width=" #width ",depth=" #depth ",heads=" #heads

static const struct {
    const char *arch, *description;
    const rule *rules;
} published[] = {
    { "resnet18", RESNET ",depth=18", resnet },
    { "resnet34", RESNET ",depth=34", resnet },
    { "resnet50", RESNET ",depth=50", resnet },
    { "resnet101", RESNET ",depth=101", resnet },
    { "resnet152", RESNET ",depth=152", resnet },
    { "resnext50_32x4d", RESNET ",depth=50,groups=32,group_width=0.0625", resnet },
    { "resnext101_32x8d", RESNET ",depth=101,groups=32,group_width=0.125", resnet },
    { "wide_resnet50_2", RESNET ",depth=50,group_width=2", resnet },
    { "wide_resnet101_2", RESNET ",depth=101,group_width=2", resnet },
    { "densenet121", "densenet:depth=121", densenet },
    { "densenet161", "densenet:depth=161,growth=48", densenet },
    { "densenet169", "densenet:depth=169", densenet },
    { "densenet201", "densenet:depth=201", densenet },
    { "mobilenet_v2", "mobilenet-v2:width=1", mobilenet_v2 },
    { "vit_b_16", VIT(16, 768, 12, 12), vit_torchvision },
    { "vit_b_32", VIT(32, 768, 12, 12), vit_torchvision },
    { "vit_l_16", VIT(16, 1024, 24, 16) ",hidden=4096", vit_torchvision },
    { "vit_l_32", VIT(32, 1024, 24, 16) ",hidden=4096", vit_torchvision },
    { "vit_tiny_patch16_224", VIT(16, 192, 12, 3) ",hidden=768", vit_timm },
    { "vit_small_patch16_224", VIT(16, 384, 12, 6) ",hidden=1536", vit_timm },
    { "vit_base_patch16_224", VIT(16, 768, 12, 12), vit_timm },
    { "vit_base_patch32_224", VIT(32, 768, 12, 12), vit_timm },
    { "deit_tiny_patch16_224", VIT(16, 192, 12, 3) ",hidden=768", vit_timm },
    { "deit_small_patch16_224", VIT(16, 384, 12, 6) ",hidden=1536", vit_timm },
    { "deit_base_patch16_224", VIT(16, 768, 12, 12), vit_timm },
    { "deit_tiny_distilled_patch16_224", "deit:patch=16,width=192,depth=12,heads=3,hidden=768,distilled=1", vit_timm },
    { "deit_small_distilled_patch16_224", "deit:patch=16,width=384,depth=12,heads=6,hidden=1536,distilled=1", vit_timm },
    { "deit_base_distilled_patch16_224", "deit:patch=16,width=768,depth=12,heads=12,distilled=1", vit_timm },
    { "seresnet18", "senet:depth=18,gate_least=8", seresnet_timm },
    { "seresnet34", "senet:depth=34,gate_least=8", seresnet_timm },
    { "seresnet50", "senet:depth=50", seresnet_timm },
    { "seresnet101", "senet:depth=101", seresnet_timm },
    { "seresnet152", "senet:depth=152", seresnet_timm },
    { "vgg11", "vgg:depth=11", vgg },
    { "vgg13", "vgg:depth=13", vgg },
    { "vgg16", "vgg:depth=16", vgg },
    { "vgg19", "vgg:depth=19", vgg },
    { "vgg11_bn", "vgg:depth=11,norm=1", vgg_norm },
    { "vgg13_bn", "vgg:depth=13,norm=1", vgg_norm },
    { "vgg16_bn", "vgg:depth=16,norm=1", vgg_norm },
    { "vgg19_bn", "vgg:depth=19,norm=1", vgg_norm },
    { "squeezenet1_0", "squeezenet:version=1.0", squeezenet },
    { "squeezenet1_1", "squeezenet:version=1.1", squeezenet_11 },
    { "mobilenet_v3_small", "mobilenet-v3:variant=small", mobilenet_v3 },
    { "mobilenet_v3_large", "mobilenet-v3:variant=large", mobilenet_v3 },
    { "mobilenetv3_small_100", "mobilenet-v3:variant=small,epsilon=1e-5", mobilenet_v3_small_timm },
    { "mobilenetv3_large_100", "mobilenet-v3:variant=large,epsilon=1e-5", mobilenet_v3_large_timm },
    { "mobilenetv2_100", "mobilenet-v2:width=1", inverted_timm },
    { "efficientnet_b0", "efficientnet:variant=b0", efficientnet },
    { "efficientnet_b1", "efficientnet:variant=b1", efficientnet },
    { "efficientnet_b2", "efficientnet:variant=b2", efficientnet },
    { "efficientnet_b3", "efficientnet:variant=b3", efficientnet },
    { "efficientnet_b4", "efficientnet:variant=b4", efficientnet },
    { "efficientnet_b5", "efficientnet:variant=b5", efficientnet },
    { "efficientnet_b6", "efficientnet:variant=b6", efficientnet },
    { "efficientnet_b7", "efficientnet:variant=b7", efficientnet },
    { "shufflenet_v2_x0_5", "shufflenet:width=x0.5", shufflenet },
    { "shufflenet_v2_x1_0", "shufflenet:width=x1.0", shufflenet },
    { "shufflenet_v2_x1_5", "shufflenet:width=x1.5", shufflenet },
    { "shufflenet_v2_x2_0", "shufflenet:width=x2.0", shufflenet },
    { "convnext_tiny", "convnext:variant=t", convnext },
    { "convnext_small", "convnext:variant=s", convnext },
    { "convnext_base", "convnext:variant=b", convnext },
    { "convnext_large", "convnext:variant=l", convnext },
    { "swin_t", "swin:variant=t", swin },
    { "swin_s", "swin:variant=s", swin },
    { "swin_b", "swin:variant=b", swin },
    { "swin_tiny_patch4_window7_224", "swin:variant=t", swin_timm },
    { "swin_small_patch4_window7_224", "swin:variant=s", swin_timm },
    { "swin_base_patch4_window7_224", "swin:variant=b", swin_timm },
    { "mixer_s16_224", "mixer:variant=s", mixer },
    { "mixer_b16_224", "mixer:variant=b", mixer },
    { "mixer_l16_224", "mixer:variant=l", mixer },
};

int         epl_zoo_n_published(void) { return (int)EPL_COUNT(published); }
const char *epl_zoo_published_name(int i) { return published[i].arch; }

static int find(epl_context *ctx, const char *arch)
{
    const char *names[EPL_COUNT(published)];
    for (size_t i = 0; i < EPL_COUNT(published); i++) {
        names[i] = published[i].arch;
        if (strcmp(arch, names[i]) == 0)
            return (int)i;
    }
    const char *close = epl_closest(arch, names, EPL_COUNT(names));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no published network is named '%s'%s%s%s", arch, close ? "; did you mean '" : "", close ? close : "",
             close ? "'?" : "");
    return -1;
}

const char *epl_zoo_published_description(epl_context *ctx, const char *arch)
{
    const int i = find(ctx, arch);
    return i < 0 ? NULL : published[i].description;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */
enum { MOST_NUMBERS = 4 };

typedef struct match {
    int         numbers[MOST_NUMBERS], n;
    const char *rest;
} match;

static bool matches(const char *pattern, const char *name, match *m)
{
    *m = (match){ .rest = "" };
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            m->rest = name;
            return true;
        }
        if (*pattern == '#' && isdigit((unsigned char)*name) && m->n < MOST_NUMBERS) {
            char *end;
            m->numbers[m->n++] = (int)strtol(name, &end, 10);
            name = end;
        } else if (*pattern == *name) {
            name++;
        } else {
            return false;
        }
    }
    return *name == 0;
}

/* The value of "2a+b-1", up to the closing brace, which *at is left at. */
static int computed(const char **at, const match *m, int unit)
{
    int sum = 0;
    while (**at && **at != '}') {
        const int sign = **at == '-' ? -1 : 1;
        *at += **at == '-' || **at == '+';
        char *end;
        int   term = (int)strtol(*at, &end, 10);
        term = end == *at ? 1 : term;
        *at = end;
        if (islower((unsigned char)**at)) {
            term *= **at == 'n' ? unit : m->numbers[**at - 'a'];
            ++*at;
        }
        sum += sign * term;
    }
    return sum;
}

/* Writes their name. */
static void substitute(const char *theirs, const match *m, int unit, char *out, size_t size)
{
    size_t at = 0;
    for (const char *s = theirs; *s && at + 1 < size; s++) {
        if (*s == '*') {
            at += (size_t)snprintf(out + at, size - at, "%s", m->rest);
        } else if (*s == '{') {
            s++;
            at += (size_t)snprintf(out + at, size - at, "%d", computed(&s, m, unit));
        } else {
            out[at++] = *s;
        }
    }
    out[at < size ? at : size - 1] = 0;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */
typedef struct transfer {
    epl_model         *m;
    const epl_weights *from;
    bool              *used; /* of their tensors */
    match              last; /* the unit that $n counts */
    int                unit;
    epl_text           missing, misshapen, unexpected;
    int                n_missing, n_misshapen, n_unexpected;
} transfer;

enum { MOST_NAMES = 4 };

static void note(epl_text *list, int *count, const char *format, ...) EPL_PRINTF(3, 4);
static void note(epl_text *list, int *count, const char *format, ...)
{
    char    item[160];
    va_list args;
    va_start(args, format);
    vsnprintf(item, sizeof item, format, args);
    va_end(args);
    if ((*count)++ < MOST_NAMES)
        epl_text_addf(list, "%s%s", *count > 1 ? ", " : "", item);
}

enum { FLAT_SIDE = 7 };

/* [O, C * 7 * 7] as [O, C, 7, 7] (which it may be already), to be turned into [7, 7, C, O], whose rows are ours. */
static epl_tensor *unflattened(epl_context *ctx, const epl_tensor *t)
{
    epl_tensor    seen = *t;
    const int64_t side = FLAT_SIDE, out = t->shape.dim[0], in = epl_shape_count_from(t->shape, 1, t->shape.rank);
    seen.shape = EPL_SHAPE(out, in / (side * side), side, side);
    epl_tensor *turned = epl_tensor_permuted(ctx, &seen, EPL_SHAPE(2, 3, 1, 0));
    if (turned)
        turned->shape = EPL_SHAPE(in, out);
    return turned;
}

/* The axes [O, I, K...] become [K..., I, O]; tokens and positions stay as they are. */
static epl_tensor *turned_axes(epl_context *ctx, const epl_tensor *t, axes_form form)
{
    epl_shape perm = { .rank = t->shape.rank };
    const bool flat = perm.rank == 2 && t->shape.dim[1] % (FLAT_SIDE * FLAT_SIDE) == 0;
    if (form == FLATTENED && (flat || (perm.rank == 4 && t->shape.dim[2] == FLAT_SIDE && t->shape.dim[3] == FLAT_SIDE)))
        return unflattened(ctx, t);
    for (int i = 0; i < perm.rank; i++)
        perm.dim[i] = perm.rank == 3 ? i : i < perm.rank - 2 ? i + 2 : perm.rank - 1 - i;
    return perm.rank < 2 || form == AS_IS ? epl_tensor_copy(ctx, t) : epl_tensor_permuted(ctx, t, perm);
}

static bool is_third(axes_form f) { return f == QUERY || f == KEY || f == VALUE; }

/* The same axes but for those of size 1: a gate's convolution of 1x1 is a linear layer, a factor [C, 1, 1] a vector. */
static bool same_without_ones(epl_shape a, epl_shape b)
{
    int i = 0, k = 0;
    for (;;) {
        while (i < a.rank && a.dim[i] == 1)
            i++;
        while (k < b.rank && b.dim[k] == 1)
            k++;
        if (i == a.rank || k == b.rank)
            return i == a.rank && k == b.rank;
        if (a.dim[i++] != b.dim[k++])
            return false;
    }
}

/* Their tensor as ours: a third of it for parts, its axes turned, then the element type. */
static epl_tensor *converted(epl_context *ctx, const epl_tensor *t, axes_form form, const epl_tensor *own)
{
    epl_tensor seen = *t;
    if (is_third(form)) {
        seen.shape.dim[0] /= 3;
        seen.data = (char *)t->data + (size_t)(form - QUERY) * epl_tensor_bytes(&seen);
    }
    epl_tensor *turned = turned_axes(ctx, &seen, form);
    if (turned && same_without_ones(turned->shape, own->shape))
        turned->shape = own->shape;
    if (!turned || turned->dtype == own->dtype)
        return turned;
    epl_tensor *cast = epl_tensor_cast(ctx, turned, own->dtype);
    epl_tensor_free(turned);
    return cast;
}

static int index_of(const epl_weights *w, const char *name)
{
    for (int i = 0; i < epl_weights_count(w); i++)
        if (strcmp(epl_weights_name(w, i), name) == 0)
            return i;
    return -1;
}

/* Fills our tensor from theirs; false when memory is out. */
static bool take(transfer *t, const char *ours, epl_tensor *own, const char *theirs, axes_form form)
{
    char      is[192], wants[192];
    const int at = index_of(t->from, theirs);
    if (at < 0) {
        note(&t->missing, &t->n_missing, "%s", theirs);
        return true;
    }
    t->used[at] = true;
    const epl_tensor *found = epl_weights_at(t->from, at);
    if (is_third(form) && (found->shape.rank == 0 || found->shape.dim[0] % 3)) {
        note(&t->misshapen, &t->n_misshapen, "%s %s in three parts", theirs, epl_shape_text(is, found->shape));
        return true;
    }
    epl_tensor *new = converted(t->m->ctx, found, form, own);
    if (!new)
        return false;
    const bool fits = epl_shape_equal(new->shape, own->shape);
    if (fits)
        memcpy(own->data, new->data, epl_tensor_bytes(own));
    else
        note(&t->misshapen, &t->n_misshapen, "%s %s, which '%s' %s does not take", theirs, epl_shape_text(is, found->shape), ours,
             epl_shape_text(wants, own->shape));
    epl_tensor_free(new);
    return true;
}

/* Parameters come unit by unit: counts one when its numbers change. */
static void count_unit(transfer *t, const char *ours)
{
    match m;
    if (!matches("stage#.unit#.*", ours, &m) ||
        (t->unit > 0 && m.numbers[0] == t->last.numbers[0] && m.numbers[1] == t->last.numbers[1]))
        return;
    t->unit++;
    t->last = m;
}

static bool take_by_rule(transfer *t, const rule *rules, const char *ours, epl_tensor *own)
{
    char        theirs[256], first[256] = "";
    match       m;
    axes_form   form = PLAIN;
    count_unit(t, ours);
    for (const rule *r = rules; r->ours; r++) {
        if (!matches(r->ours, ours, &m))
            continue;
        substitute(r->theirs, &m, t->unit, theirs, sizeof theirs);
        if (index_of(t->from, theirs) >= 0)
            return take(t, ours, own, theirs, r->form);
        if (!*first) {
            memcpy(first, theirs, sizeof first);
            form = r->form;
        }
    }
    if (*first)
        return take(t, ours, own, first, form); // says that it is missing
    note(&t->missing, &t->n_missing, "%s (no rule for it)", ours);
    return true;
}

/* Counters of batches, tables of places and masks of windows are not weights. */
static bool is_ignored(const char *name)
{
    static const char *const ends[] = { "num_batches_tracked", "relative_position_index", "attn_mask" };
    for (size_t i = 0; i < EPL_COUNT(ends); i++) {
        const size_t n = strlen(name), k = strlen(ends[i]);
        if (n >= k && strcmp(name + n - k, ends[i]) == 0)
            return true;
    }
    return false;
}

static void add_part(epl_text *out, const char *what, const epl_text *list, int n)
{
    if (n == 0)
        return;
    epl_text_addf(out, "%s%d %s (%s", out->length ? "; " : "", n, what, epl_text_str(list));
    if (n > MOST_NAMES)
        epl_text_addf(out, " and %d more", n - MOST_NAMES);
    epl_text_add(out, ")");
}

static bool report(transfer *t, const char *arch)
{
    epl_text all = EPL_TEXT(t->m->ctx);
    for (int i = 0; i < epl_weights_count(t->from); i++)
        if (!t->used[i] && !is_ignored(epl_weights_name(t->from, i)))
            note(&t->unexpected, &t->n_unexpected, "%s", epl_weights_name(t->from, i));
    add_part(&all, "missing", &t->missing, t->n_missing);
    add_part(&all, "unexpected", &t->unexpected, t->n_unexpected);
    add_part(&all, "misshapen", &t->misshapen, t->n_misshapen);
    const bool fine = t->n_missing + t->n_unexpected + t->n_misshapen == 0;
    if (!fine)
        epl_fail(t->m->ctx, EPL_ERR_FORMAT, "these are not the weights of %s: %s", arch, epl_text_str(&all));
    epl_text_release(&all);
    return fine;
}

bool epl_zoo_import_weights(epl_model *m, const epl_weights *w, const char *arch)
{
    const int i = find(m->ctx, arch);
    transfer  t = { .m = m, .from = w, .missing = EPL_TEXT(m->ctx), .misshapen = EPL_TEXT(m->ctx), .unexpected = EPL_TEXT(m->ctx) };
    t.used  = i < 0 ? NULL : epl_alloc_array(m->ctx, (size_t)epl_weights_count(w) + 1, sizeof *t.used);
    bool ok = t.used && epl_model_init(m, 0);
    for (const epl_node *n = epl_first(m->graph); ok && n; n = epl_next(n)) {
        const char *op = epl_node_op_name(n);
        if (strcmp(op, "Parameter") != 0 && strcmp(op, "State") != 0)
            continue;
        const char *name = epl_value_name(epl_node_output(n, 0));
        ok = take_by_rule(&t, published[i].rules, name, epl_weights_find(m->weights, name));
    }
    ok = ok && report(&t, arch);
    epl_text_release(&t.missing);
    epl_text_release(&t.misshapen);
    epl_text_release(&t.unexpected);
    epl_release(m->ctx, t.used);
    return ok;
}
