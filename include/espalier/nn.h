/* nn: layers - builders that create their parameters, in the graph's current scope - and the blocks made of them.
 *
 * A layer NAME creates the parameters "<scope>.<name>.weight" and so on. Fields left zero take their defaults. Weights start as
 * the layer says; `init` chooses another start for the weight (biases start at zero unless said). */
#ifndef ESPALIER_NN_H
#define ESPALIER_NN_H

#include <espalier/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a layer's weight starts; fan_in = inputs of one output element, fan_out = outputs that one input element reaches. */
typedef enum epl_start {
    EPL_START_DEFAULT = 0,
    EPL_START_HE,          /* normal, std sqrt(2 / fan_in): He et al. 2015 (arXiv:1502.01852), eq. (10) */
    EPL_START_HE_FAN_OUT,  /* normal, std sqrt(2 / fan_out): eq. (14) */
    EPL_START_GLOROT,      /* uniform, half-width sqrt(6 / (fan_in + fan_out)): Glorot & Bengio 2010, eq. (16) */
    EPL_START_LECUN,       /* uniform, half-width sqrt(1 / fan_in): LeCun et al. 1998 */
    EPL_START_TRUNC_NORMAL, /* std 0.02, cut at two: what transformers use */
    EPL_START_ORTHOGONAL,
    EPL_START_ZERO,
    EPL_START_SMALL,       /* normal, std 0.01 */
    EPL_START_UNIT         /* uniform in [0, 1) */
} epl_start;

/* conv: cross-correlation over one to three spatial axes, the ONNX operator Conv with channels last.
 *
 *   x       [N, H, W, C]         (or [N, L, C], or [N, D, H, W, C])
 *   result  [N, H', W', out]     H' = (H + 2*pad - dilation*(kernel-1) - 1) / stride + 1, W' likewise
 *
 * Creates "<name>.weight" [kernel, kernel, C/groups, out] and, unless no_bias, "<name>.bias" [out]. */
typedef struct epl_conv_opts {
    const char *name;                          /* default "conv" */
    int         out;                           /* output channels; required */
    int         kernel, stride, pad, dilation; /* default 3, 1, 0, 1; pad counts elements per side */
    int         kernel_at[3], stride_at[3];    /* axis by axis, where they differ; a zero takes the common value */
    bool        same;                          /* instead of pad: H' = ceil(H / stride) */
    int         groups;                        /* default 1 */
    bool        depthwise;                     /* groups is C, and out defaults to C */
    bool        no_bias;
    epl_start   init;                          /* default HE */
    double      gain;                          /* the weight starts so many times as large; default 1 */
} epl_conv_opts;
EPL_API epl_value *epl_conv(epl_graph *g, epl_value *x, epl_conv_opts o);

/* Transposed convolution: H' = (H - 1)*stride + dilation*(kernel-1) + 1 - 2*pad + output_pad. "<name>.weight"
 * [kernel, kernel, out/groups, C], "<name>.bias" [out]. With same_size it undoes a convolution with `same` whose input had these
 * sizes: H' is same_size, and H has to be ceil(H' / stride). */
typedef struct epl_conv_transpose_opts {
    const char *name; /* default "up" */
    int         out, kernel, stride, pad, dilation, output_pad, groups; /* defaults: required, 2, 2, 0, 1, 0, 1 */
    int         same_size[3]; /* instead of pad and output_pad: the result's sizes along the axes */
    bool        no_bias;
    epl_start   init; /* default HE */
} epl_conv_transpose_opts;
EPL_API epl_value *epl_conv_transpose(epl_graph *g, epl_value *x, epl_conv_transpose_opts o);

/* linear: x [..., in] -> [..., out]. "<name>.weight" [in, out], "<name>.bias" [out]. */
typedef struct epl_linear_opts {
    const char *name; /* default "linear" */
    int         out;  /* required */
    bool        no_bias;
    epl_start   init; /* default LECUN */
} epl_linear_opts;
EPL_API epl_value *epl_linear(epl_graph *g, epl_value *x, epl_linear_opts o);

/* Normalisations. "<name>.weight" and "<name>.bias" start at one and zero; batch_norm keeps the states "<name>.running_mean"
 * and "<name>.running_var" [C] (zero and one). */
typedef struct epl_norm_opts {
    const char *name;    /* default "norm" */
    double      epsilon; /* default 1e-5 */
    double      momentum; /* batch_norm: what the running statistics keep; default 0.9 */
    int         groups;  /* group_norm: default 32 */
    bool        no_affine, no_bias;
    double      weight;  /* batch_norm: the weight's start, where it is not 1; negative: 0 */
} epl_norm_opts;
EPL_API epl_value *epl_batch_norm(epl_graph *g, epl_value *x, epl_norm_opts o);
EPL_API epl_value *epl_layer_norm(epl_graph *g, epl_value *x, epl_norm_opts o); /* over the last axis */
EPL_API epl_value *epl_rms_norm(epl_graph *g, epl_value *x, epl_norm_opts o);   /* over the last axis */
EPL_API epl_value *epl_group_norm(epl_graph *g, epl_value *x, epl_norm_opts o);
EPL_API epl_value *epl_instance_norm(epl_graph *g, epl_value *x, epl_norm_opts o);

/* Any of them, or one of the caller's: how blocks take their normalisation. */
typedef epl_value *epl_norm_fn(epl_graph *g, epl_value *x, epl_norm_opts o);

/* embedding: indices (integers) [...] -> [..., width]. "<name>.weight" [count, width], normal with std 1. */
typedef struct epl_embedding_opts {
    const char *name; /* default "embedding" */
    int64_t     count, width; /* required */
    double      std;  /* default 1 */
} epl_embedding_opts;
EPL_API epl_value *epl_embedding(epl_graph *g, epl_value *indices, epl_embedding_opts o);

/* The same with a normal layer norm behind the look-up, before positions are added: Dettmers et al. 2022
 * (arXiv:2110.02861), sec. 2.3. "<name>.weight" is uniform in +-sqrt(6 / (count + width)), and its optimizer keeps
 * 32-bit slots (epl_slot_opts) while the name ends so (default "stable"); std is not used. */
EPL_API epl_value *epl_stable_embedding(epl_graph *g, epl_value *indices, epl_embedding_opts o);

/* An activation by its name: "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "swish",
 * "hard_swish", "hard_sigmoid", "sigmoid", "tanh", "softplus", "softsign", "mish", "identity" (or NULL). An unknown name fails
 * the graph and names the closest. */
EPL_API epl_value *epl_activation(epl_graph *g, epl_value *x, const char *name);

/* ---- blocks of convolutional networks --------------------------------------------------------------------------------
 * A block whose `name` has no default puts its parts straight into the current scope when it gets none. */

/* conv, norm, activation: the unit of most convolutional networks. The convolution is "<name>.conv" without bias, the
 * normalisation "<name>.norm". */
typedef struct epl_conv_unit_opts {
    const char   *name;       /* default "unit" */
    epl_conv_opts conv;       /* name and no_bias are set here; pad defaults to kernel / 2 * dilation */
    epl_norm_fn  *normalize;  /* default epl_batch_norm */
    epl_norm_opts norm;       /* for it; the name is set here */
    const char   *activation; /* default "relu"; "identity" for none */
    bool          no_norm;    /* then with a bias */
    bool          with_bias;  /* with a norm and a bias */
    bool          pre;        /* norm, activation, conv instead: He et al. 2016 (arXiv:1603.05027) */
} epl_conv_unit_opts;
EPL_API epl_value *epl_conv_unit(epl_graph *g, epl_value *x, epl_conv_unit_opts o);

/* The first layers of a network on images; the convolutions are units "<name>", for DEEP "<name>1" to "<name>3". */
typedef enum epl_stem_kind {
    EPL_STEM_SMALL = 0, /* 3x3: small images */
    EPL_STEM_IMAGENET,  /* 7x7 of stride 2, max pool 3x3 of stride 2: He et al. 2015, table 1 */
    EPL_STEM_DEEP       /* three 3x3, of stride 2, 1, 1, the first two half as wide, and a pool that looks beyond the far
                           border instead of padding: Hu et al. 2018 (SENet-154) */
} epl_stem_kind;
typedef struct epl_stem_opts {
    const char   *name; /* default "stem" */
    epl_stem_kind kind;
    int           out;  /* required */
    epl_norm_fn  *normalize;
    epl_norm_opts norm;
    const char   *activation; /* default "relu" */
    bool          bare;       /* SMALL: the convolution "<name>" alone, for units that begin with their normalisation */
} epl_stem_opts;
EPL_API epl_value *epl_stem(epl_graph *g, epl_value *x, epl_stem_opts o);

/* Squeeze-and-excitation, Hu et al. 2018 (arXiv:1709.01507).  u [N, S..., C] -> same shape. Linear layers "<name>.down", ".up". */
typedef struct epl_squeeze_excite_opts {
    const char *name;      /* default "se" */
    int         reduction; /* default 16 */
    int         hidden;    /* default C / reduction, at least `least` */
    int         least;     /* default 1 */
    const char *activation, *gate; /* default "relu", "sigmoid" */
    bool        no_bias;   /* of both layers */
    epl_start   init;      /* of their weights; default as epl_linear's */
} epl_squeeze_excite_opts;
EPL_API epl_value *epl_squeeze_excite(epl_graph *g, epl_value *u, epl_squeeze_excite_opts o);

/* Adds a branch to the trunk: x + drop_path(scale * dropout(branch)). The scale, a parameter [C], is there if layer_scale is its
 * start: Touvron et al. 2021 (arXiv:2103.17239), eq. (2). drop_path is stochastic depth: Huang et al. 2016 (arXiv:1603.09382). */
typedef struct epl_residual_opts {
    const char *scale; /* the parameter's name; default "scale" */
    double      layer_scale, dropout, drop_path; /* 0: none */
} epl_residual_opts;
EPL_API epl_value *epl_residual(epl_graph *g, epl_value *x, epl_value *branch, epl_residual_opts o);

/* The rate of block i of n when stochastic depth grows linearly from 0 at the first to `last` at the last. */
EPL_API double epl_drop_path_rate(double last, int i, int n);

/* A residual unit, He et al. 2015 (arXiv:1512.03385), fig. 5: two 3x3 units "a" and "b", or a bottleneck of 1x1 "a", 3x3 "b" and
 * 1x1 "c"; a 1x1 "shortcut" where the shape changes. Grouped: ResNeXt, Xie et al. 2016 (arXiv:1611.05431). */
typedef struct epl_residual_unit_opts {
    const char   *name;
    int           out;        /* required */
    int           inner;      /* channels of the first 3x3; default out, of a bottleneck out / 4 */
    int           reduce;     /* a bottleneck's: channels of the first 1x1; default inner */
    int           stride, groups; /* of the first 3x3; default 1 */
    bool          bottleneck;
    bool          pre;        /* norm and activation before each convolution ("norm", "b.norm", ...), none at the end: He et al.
                                 2016 (arXiv:1603.05027). The network ends with another pair */
    int           shortcut_kernel; /* default 1 */
    bool
                  shortcut_pad; /* instead, without parameters: x averaged over windows of the stride, and channels of zeros behind its own
                                      (option A of the first paper, averaged). There may not be fewer channels than before */
    epl_norm_fn  *normalize;  /* default epl_batch_norm */
    epl_norm_opts norm;
    const char   *activation; /* default "relu" */
    int           squeeze;    /* reduction of a squeeze-and-excitation at the branch's end; 0: none */
    int           squeeze_least;   /* its hidden units are no fewer than these */
    bool          squeeze_no_bias;
    double        dropout;    /* before the last convolution: Zagoruyko & Komodakis 2016 (arXiv:1605.07146), sec. 2.4 */
    double        drop_path;
    bool          zero_last;  /* the last norm's weight starts at 0: Goyal et al. 2017 (arXiv:1706.02677), sec. 5.1 */
} epl_residual_unit_opts;
EPL_API epl_value *epl_residual_unit(epl_graph *g, epl_value *x, epl_residual_unit_opts o);

/* An inverted bottleneck, Sandler et al. 2018 (arXiv:1801.04381), table 1: 1x1 "expand", depthwise "depthwise", 1x1
 * "project" without activation; x is added if the shape stays. With squeeze-and-excitation: Howard et al. 2019
 * (arXiv:1905.02244) and Tan & Le 2019 (arXiv:1905.11946), who call it MBConv. In the `pre` form of Dai et al. 2021
 * (arXiv:2106.04803) and Yang et al. 2022 (arXiv:2210.01820) a "norm" comes first, none last ("project" has a bias),
 * and what is added is x averaged, with a stride, and through the 1x1 "shortcut", with a bias, where channels
 * change. */
typedef struct epl_inverted_opts {
    const char   *name;
    int           out;            /* required */
    int           hidden;         /* channels inside; default 6 C; C itself leaves "expand" out */
    int           kernel, stride; /* of the depthwise convolution; default 3, 1 */
    int           group_width;    /* of this convolution, which is then a grouped one: channels of a group; default 1 */
    bool          same;           /* its padding: as epl_conv's `same`; default kernel / 2 at each side */
    bool          pre;
    int           pool;           /* pre: window of the average in the shortcut; default the stride */
    epl_start     init;           /* of all weights; default as the layers' */
    int           squeeze;        /* hidden units of a squeeze-and-excitation before "project"; 0: none */
    const char   *activation;     /* default "relu6" */
    const char   *squeeze_activation, *gate; /* default "relu", "sigmoid" */
    epl_norm_fn  *normalize;      /* default epl_batch_norm */
    epl_norm_opts norm;
    double        drop_path;
} epl_inverted_opts;
EPL_API epl_value *epl_inverted_bottleneck(epl_graph *g, epl_value *x, epl_inverted_opts o);

/* ConvFirst, Lavin 2024 (arXiv:2404.03617): the spatial convolution stands on the narrow side. k x k "spatial" in groups, without
 * activation; 1x1 "expand", silu; 1x1 "project"; batch normalisation after each; x is added if the shape stays. */
typedef struct epl_conv_first_opts {
    const char *name;           /* default "conv_first" */
    int         out;            /* default C */
    int         hidden;         /* default 4 C */
    int         kernel, stride; /* of "spatial"; default 3, 1 */
    int         group_width;    /* its channels of a group; default 8; divides C */
    bool        no_spatial;     /* a perceptron on each pixel: no such convolution */
    double      drop_path;
} epl_conv_first_opts;
EPL_API epl_value *epl_conv_first(epl_graph *g, epl_value *x, epl_conv_first_opts o);

/* A ConvNeXt block, Liu et al. 2022 (arXiv:2201.03545), fig. 4: depthwise 7x7 "depthwise", layer_norm, a perceptron
 * on each pixel, scaled, added. Its parts go into the current scope. */
typedef struct epl_convnext_unit_opts {
    double layer_scale, drop_path; /* epl_residual_opts */
} epl_convnext_unit_opts;
EPL_API epl_value *epl_convnext_unit(epl_graph *g, epl_value *x, epl_convnext_unit_opts o);

/* A layer of a dense block, Huang et al. 2016 (arXiv:1608.06993): x and `growth` new channels behind it. norm, relu,
 * 1x1 "conv1" to bottleneck * growth channels, norm, relu, 3x3 "conv2". */
typedef struct epl_dense_layer_opts {
    const char *name;
    int         growth;     /* required */
    int         bottleneck; /* default 4; negative: no 1x1, only "norm2" and "conv2" */
    double      dropout;    /* of the new channels */
} epl_dense_layer_opts;
EPL_API epl_value *epl_dense_layer(epl_graph *g, epl_value *x, epl_dense_layer_opts o);

/* Channels counted [groups, C / groups] become [C / groups, groups]: Zhang et al. 2017 (arXiv:1707.01083), fig. 1. */
EPL_API epl_value *epl_channel_shuffle(epl_graph *g, epl_value *x, int groups);

/* The end of a classifier: x [N, S..., C] is averaged over space, if it has any; dropout; the linear layer "<name>". */
typedef struct epl_classifier_opts {
    const char *name;    /* default "head" */
    int         classes; /* 0: no layer, the features */
    double      dropout;
    bool        zero;    /* the weight starts at zero */
} epl_classifier_opts;
EPL_API epl_value *epl_classifier(epl_graph *g, epl_value *x, epl_classifier_opts o);

/* ---- heads: what reads features ---------------------------------------------------------------------------------- */

/* x divided by its length along an axis: x / sqrt(sum x^2 + 1e-12). Zeros stay zeros, with a finite gradient. */
EPL_API epl_value *epl_l2_normalize(epl_graph *g, epl_value *x, int axis);

/* Cosines of features and class directions, times a scale: x [N, D] -> [N, classes], with D at least 2.
 * "<name>.weight" [D, classes], no bias. With cross-entropy this is the normalised softmax loss, Zhai & Wu 2018
 * (arXiv:1811.12649), eq. (3); the lengths of features and weights change nothing. For C classes the loss is at
 * least log(1 + (C - 1) exp(-scale C / (C - 1))), so a small scale does not train. */
typedef struct epl_cosine_head_opts {
    const char *name;        /* default "head" */
    int         classes;     /* required */
    double      scale;       /* default 16 for up to 20 classes, else 20 */
    double      temperature; /* or 1 / scale */
    bool        learn_scale; /* the scale is softplus of the parameter "<name>.scale" */
} epl_cosine_head_opts;
EPL_API epl_value *epl_cosine_head(epl_graph *g, epl_value *x, epl_cosine_head_opts o);

/* Squared distances to learned vectors, Li et al. 2018 (arXiv:1710.04806), eq. (2): z [N, D] -> [N, count], never negative.
 * "<name>.vectors" [count, D], uniform in [0, 1). */
typedef struct epl_prototypes_opts {
    const char *name;  /* default "prototypes" */
    int         count; /* required */
} epl_prototypes_opts;
EPL_API epl_value *epl_prototypes(epl_graph *g, epl_value *z, epl_prototypes_opts o);

/* ---- recurrence -------------------------------------------------------------------------------------------------- */

/* Recurrent layers over sequences x [N, L, C] -> [N, L, width] (twice the width if bidirectional): LSTM, Hochreiter &
 * Schmidhuber 1997, with the forget gate's bias starting at one; GRU, Cho et al. 2014, in the form with the reset gate behind the
 * product. "<name>.input" [D, C, G width], "<name>.recurrent" [D, width, G width], "<name>.bias" [D, 2 G width] (input's half
 * first); layers above the first are "<name>2", ... */
typedef struct epl_recurrent_layer_opts {
    const char *name;   /* default "lstm", "gru" */
    int         width;  /* required */
    int         layers; /* default 1 */
    bool        bidirectional;
    double      dropout; /* between layers */
    bool        one_bias; /* LSTM: "<name>.bias" [D, 4 width] alone */
    double      init;     /* kernels start uniform in +-init; default 1 / sqrt(width) */
} epl_recurrent_layer_opts;
EPL_API epl_value *epl_lstm(epl_graph *g, epl_value *x, epl_recurrent_layer_opts o);
EPL_API epl_value *epl_gru(epl_graph *g, epl_value *x, epl_recurrent_layer_opts o);

/* An LSTM that looks at a memory [N, S, C] before each step: x [N, T, D] -> [N, T, width]. At step t it reads [x_t; context_t],
 *
 *   context_t = sum over s of softmax_s(v . tanh(h_(t-1) Wq + memory_s Wk)) memory_s        Bahdanau et al. 2015 (arXiv:1409.0473)
 *
 * Creates "<name>.query" [width, width], "<name>.key" [C, width], "<name>.score" [width, 1], and the weights of an LSTM with
 * one_bias. The contexts [N, T, C] go to *context (may be NULL). o.name defaults to "lstm"; layers, bidirectional and dropout are
 * not for it. */
EPL_API epl_value *epl_attention_lstm(epl_graph *g, epl_value *x, epl_value *memory, epl_recurrent_layer_opts o, epl_value **context);

/* ---- transformers ------------------------------------------------------------------------------------------------ */

/* Multi-head attention, Vaswani et al. 2017 (arXiv:1706.03762), eq. (1) and sec. 3.2.2. x [N, ..., L, C] attends to context
 * [N, ..., M, C'] (NULL: itself), each of the leading axes for itself. Creates "<name>.query", ".key", ".value", ".out" (linear
 * layers, width C). */
typedef struct epl_attention_opts {
    const char *name;   /* default "attention" */
    int         heads;  /* default 8; divides C */
    epl_value  *context;
    epl_value  *mask;   /* added to the scores; broadcasts against [N, ..., heads, L, M] */
    bool        causal; /* position i sees positions up to i */
    double      dropout;
    epl_start   init;   /* of all weights; default as epl_linear's */
} epl_attention_opts;
EPL_API epl_value *epl_attention(epl_graph *g, epl_value *x, epl_attention_opts o);

/* linear "<name>1", activation, linear "<name>2": x [..., C] -> [..., out]. */
typedef struct epl_mlp_opts {
    const char *name;       /* default "mlp" */
    int         hidden;     /* default 4 C */
    int         out;        /* default C */
    const char *activation; /* default "gelu" */
    double      dropout;    /* between the two */
} epl_mlp_opts;
EPL_API epl_value *epl_mlp(epl_graph *g, epl_value *x, epl_mlp_opts o);

/* Pre-norm block: x + mix(norm1(x)), then x + mlp(norm2(x)), on x [N, ..., L, C] or, with a `mix` that takes it, [N, H, W, C].
 * mix is attention unless it is given: what moves information between positions, without changing the shape. */
typedef epl_value *epl_mix_fn(epl_graph *g, epl_value *x, const void *o);
typedef struct epl_transformer_opts {
    const char *name;       /* default "block" */
    int         heads;      /* default 8 */
    int         hidden;     /* of the mlp; default 4 C */
    const char *activation; /* default "gelu" */
    bool        causal;
    double      dropout, drop_path;
    double      layer_scale; /* epl_residual_opts; the parameters are "scale1" and "scale2" */
    double      epsilon;     /* of the normalisations; default 1e-5 */
    epl_mix_fn *mix;
    const void *mix_opts;    /* what it gets */
} epl_transformer_opts;
EPL_API epl_value *epl_transformer_block(epl_graph *g, epl_value *x, epl_transformer_opts o);

/* ---- mixers and gates made of them: Tolstikhin et al. 2021 (arXiv:2105.01601), Abdullah 2024 (NiNformer) --------- */

/* A perceptron over positions, the same for every channel: x [N, L, C] -> same shape. An epl_mix_fn; `o` is
 * epl_mix_tokens_opts. It ties the network to L positions. */
typedef struct epl_mix_tokens_opts {
    int    hidden;  /* required */
    double dropout; /* between the two */
} epl_mix_tokens_opts;
EPL_API epl_value *epl_mix_tokens(epl_graph *g, epl_value *x, const void *o);

/* What a gate's inner network is: a mixer block (epl_transformer_block that mixes tokens so), its first half, a
 * block whose mixing is a depthwise 3x3 convolution over a square of positions, or the real part of the Fourier
 * transform over positions and channels (Lee-Thorp et al. 2021, arXiv:2105.03824). */
typedef enum epl_gate { EPL_GATE_MIXER = 0, EPL_GATE_TOKEN, EPL_GATE_CONV, EPL_GATE_FOURIER } epl_gate;

/* project(x) * inner(x), element by element: the linear layer "<name>.project" and the inner network "<name>.inner". x [N, L, C]. */
typedef struct epl_mixer_gate_opts {
    const char *name;    /* default "gate" */
    epl_gate    gate;
    int         hidden;  /* of all perceptrons; default 2 C */
    double      dropout;
} epl_mixer_gate_opts;
EPL_API epl_value *epl_mixer_gate(epl_graph *g, epl_value *x, epl_mixer_gate_opts o);

/* x + gate(norm(x)), then x + perceptron(norm(x)). As in the authors' code one norm serves both. */
typedef struct epl_ninformer_opts {
    const char         *name;       /* default "block" */
    epl_mixer_gate_opts gate;       /* hidden and dropout are the outer perceptron's, too; the name is set here */
    bool                two_norms;  /* each step has its own, "norm1" and "norm2" instead of "norm" */
} epl_ninformer_opts;
EPL_API epl_value *epl_ninformer(epl_graph *g, epl_value *x, epl_ninformer_opts o);

/* The image cut into squares of size x size that do not overlap, a linear map of each: x [N, H, W, C] -> [N, H', W', out], the
 * convolution "<name>" with kernel and stride `size`; with `norm` a layer_norm "<name>_norm" behind it. */
typedef struct epl_patches_opts {
    const char *name; /* default "patches" */
    int         out, size; /* required */
    bool        norm;
    double      epsilon; /* of the norm; default 1e-5 */
} epl_patches_opts;
EPL_API epl_value *epl_patches(epl_graph *g, epl_value *x, epl_patches_opts o);

/* Windows of size x size: x [N, H, W, C] -> [N, H/size * W/size, size^2, C], and back to H, W. size divides both. */
EPL_API epl_value *epl_windows(epl_graph *g, epl_value *x, int size);
EPL_API epl_value *epl_unwindow(epl_graph *g, epl_value *windows, int size, int64_t height, int64_t width);

/* Elements move by `by` along an axis, those that leave at one end come in at the other: result[i] = x[i - by]. */
EPL_API epl_value *epl_roll(epl_graph *g, epl_value *x, int axis, int64_t by);

/* A mask for attention in windows of an image rolled by -shift: -100 between positions that were no neighbours, 0 elsewhere:
 * [H/size * W/size, 1, size^2, size^2]. Liu et al. 2021 (arXiv:2103.14030), fig. 4. */
EPL_API epl_value *epl_shifted_window_mask(epl_graph *g, int64_t height, int64_t width, int size, int shift);

/* A bias for the scores between the positions of a window, learned for each head and offset: the parameter "<name>"
 * [(2 height - 1)(2 width - 1), heads] as [heads, height width, height width]. The same, eq. (4). */
typedef struct epl_relative_bias_opts {
    const char *name; /* default "relative_bias" */
    int         height, width, heads; /* required */
    int         learned; /* the parameter is for a window of this height and width, and resized linearly to the one at hand, so that
                            weights of one window serve another; default: for the one at hand */
} epl_relative_bias_opts;
EPL_API epl_value *epl_relative_bias(epl_graph *g, epl_relative_bias_opts o);

/* Attention within windows of a map, with the relative bias: x [N, H, W, C] -> same shape. Creates "attention"
 * (epl_attention) and "relative_bias" in the current scope. */
typedef struct epl_window_attention_opts {
    int         heads;   /* default 8 */
    int         window;  /* height and width; default: the whole map, which is then one window */
    bool        no_bias; /* no relative bias */
    int         learned; /* epl_relative_bias_opts */
    epl_value  *mask;    /* added to the scores, as well */
    epl_start   init;    /* epl_attention_opts */
} epl_window_attention_opts;
EPL_API epl_value *epl_window_attention(epl_graph *g, epl_value *x, epl_window_attention_opts o);
EPL_API epl_value *epl_mix_windows(epl_graph *g, epl_value *x, const void *o); /* the same as an epl_mix_fn */

/* A MOAT block, Yang et al. 2022 (arXiv:2210.01820), fig. 2: the inverted bottleneck "mbconv" in its `pre` form without
 * squeeze-and-excitation, then u + attention(norm(u)) in windows. x [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), out].
 * The other orders of table 8, where the shape changes, begin with what `pre` has for its shortcut, "down". */
typedef enum epl_moat_order {
    EPL_MOAT_CONV_ATTENTION = 0,
    EPL_MOAT_ATTENTION_CONV,
    EPL_MOAT_ATTENTION_MLP   /* the transformer block "transformer" */
} epl_moat_order;
typedef struct epl_moat_opts {
    const char               *name;    /* default "moat" */
    epl_inverted_opts         mbconv;  /* out is required; hidden, the mlp's too, is 4 out by default; pre is set here */
    epl_window_attention_opts attention;
    epl_moat_order            order;
} epl_moat_opts;
EPL_API epl_value *epl_moat(epl_graph *g, epl_value *x, epl_moat_opts o);

/* Effective squeeze-and-excitation, Lee & Park 2020 (arXiv:1911.06667), sec. 3.3: one linear layer "<name>.fc" with a bias and a
 * hard sigmoid, no bottleneck.  u [N, S..., C] -> same shape. */
typedef struct epl_effective_squeeze_excite_opts {
    const char *name; /* default "ese" */
    const char *gate; /* default "hard_sigmoid" */
} epl_effective_squeeze_excite_opts;
EPL_API epl_value *epl_effective_squeeze_excite(epl_graph *g, epl_value *u, epl_effective_squeeze_excite_opts o);

/* One-shot aggregation, Lee et al. 2019 (arXiv:1904.09730), fig. 3: `layers` 3x3 units ".unit1", ... of `width`
 * channels, one after the other; the 1x1 unit ".collect" reads [x, y1, ..., yL] side by side. x [N, H, W, C] -> [N,
 * H, W, out]. */
typedef struct epl_osa_opts {
    const char *name;       /* default "osa" */
    int         width, out; /* required */
    int         layers;     /* default 5, at most 32 */
    bool        identity;   /* x is added at the end; C must be `out` */
    bool        ese;        /* a gate before that: epl_effective_squeeze_excite */
    bool        depthwise;  /* units of a depthwise 3x3 and a 1x1 convolution, after a 1x1 unit ".reduce" where C is not `width` */
} epl_osa_opts;
EPL_API epl_value *epl_osa(epl_graph *g, epl_value *x, epl_osa_opts o);

/* The stem of these networks: three 3x3 units of strides 2, 1, 2. [N, H, W, C] -> [N, H/4, W/4, out]. */
typedef struct epl_osa_stem_opts {
    int  width, out; /* default 64, 128 */
    bool depthwise;  /* the second and third */
} epl_osa_stem_opts;
EPL_API epl_value *epl_osa_stem(epl_graph *g, epl_value *x, epl_osa_stem_opts o);

/* ---- hypercomplex weights: sums of Kronecker products ----------------------------------------------------------------------------
 * Zhang et al. 2021 (arXiv:2102.08597), eq. (3) and Grassucci et al. 2021 (arXiv:2110.04176), eq. (8): a weight [K..., in, out] is
 * the sum over i of A_i (x) F_i with n rules A_i [n, n] and n banks of filters F_i [K..., in/n, out/n]:
 *
 *   W[t, b in/n + q, a out/n + p] = sum over i of A[i, a, b] F[i, t, q, p]
 *
 * so that the layer has n^3 + K in out / n weights; the products of the layer itself stay as many. Components are contiguous runs
 * of channels. "<layer>.A" [n, n, n] and "<layer>.F" [n, K..., in/n, out/n] stand in the place of "<layer>.weight"; epl_bake
 * (passes.h) turns them into a plain weight again. */
typedef enum epl_algebra {
    EPL_ALGEBRA_LEARNED = 0, /* the rules are parameters */
    EPL_ALGEBRA_COMPLEX,     /* n = 2: fixed, complex numbers */
    EPL_ALGEBRA_QUATERNION,  /* n = 4: fixed, Hamilton's product */
    EPL_ALGEBRA_IDENTITY     /* fixed, component i reads component i alone: a grouped layer */
} epl_algebra;

typedef struct epl_hypercomplex_opts {
    int         n;             /* required, 1 to 16 */
    epl_algebra algebra;
    bool        glorot;        /* the filters start as in the authors' code; default: such that the weight starts with the variance
                                  of the one that it replaces */
    const char *pattern, *skip; /* epl_hypercomplex: which weights (epl_glob); default "*" and none */
    bool        pad_channels;  /* epl_hypercomplex: a layer that reads the graph's input and whose channels n does not divide gets
                                  channels of zeros before them; default: it stays as it is */
} epl_hypercomplex_opts;

/* epl_conv and epl_linear with such weights. Fail where n does not divide the channels, and with groups. */
EPL_API epl_value *epl_phc(epl_graph *g, epl_value *x, epl_conv_opts c, epl_hypercomplex_opts o);
EPL_API epl_value *epl_phm(epl_graph *g, epl_value *x, epl_linear_opts l, epl_hypercomplex_opts o);

typedef struct epl_hypercomplex_result {
    int     layers, skipped;             /* changed; left as they were */
    int64_t params_before, params_after;
    double  error, total;                /* of a fit: norm of what is left over divided by the weights', and their sum of squares */
    char   *skipped_names;               /* "stem.conv (3 -> 64, inputs), ..."; the caller releases it; NULL if there are none */
} epl_hypercomplex_result;

/* Gives every convolution and linear layer whose channels n divides such a weight. With trained weights `w` (or NULL) rules and
 * filters are the nearest to them in the sense of least squares: Van Loan & Pitsianis 1993. `out` may be NULL. */
EPL_API bool epl_hypercomplex(epl_graph *g, epl_weights *w, epl_hypercomplex_opts o, epl_hypercomplex_result *out);

/* ---- instance beside batch normalisation: Pan et al. 2018 (arXiv:1807.09441) ------------------------------------------------------
 * "<name>.in" normalises the first floor(C ratio) channels over each image, "<name>.bn" the others over the batch. Ratio 0 is batch
 * normalisation, 1 instance normalisation, under the name itself. */
typedef struct epl_ibn_norm_opts {
    epl_norm_opts norm;
    bool          batch_first; /* the batch's channels come first, floor(C (1 - ratio)) of them, as in the published DenseNets */
} epl_ibn_norm_opts;
EPL_API epl_value *epl_ibn_norm(epl_graph *g, epl_value *x, double ratio, epl_ibn_norm_opts o);

typedef enum epl_ibn_variant {
    EPL_IBN_A = 0, /* the first norm of each residual branch; of every third layer of dense blocks, batch first */
    EPL_IBN_B,     /* the stem's norm becomes instance normalisation, and so it follows the last sum of stages 1 and 2 */
    EPL_IBN_A2     /* as A, the second norm, too */
} epl_ibn_variant;

typedef struct epl_ibn_opts {
    epl_ibn_variant variant;
    int             first_stage, last_stage; /* from 1; default all stages but the last; of variant B stages 1 and 2 */
} epl_ibn_opts;

typedef struct epl_ibn_result {
    int layers;    /* that have instance normalisation now */
    int one_pixel; /* of them, over images of one pixel, where its result is its bias whatever comes in */
} epl_ibn_result;

/* Rewrites a network of residual or dense blocks. They are found by their structure, so any network has them that adds (or
 * joins) a value and what convolutions with batch normalisation make of it; a stage is a run of blocks of one size. ratio < 0
 * means 0.5, in dense blocks 0.4. With weights `w` (or NULL) the norms' parameters and statistics are kept. `out` may be NULL. */
EPL_API bool epl_ibn(epl_graph *g, epl_weights *w, double ratio, epl_ibn_opts o, epl_ibn_result *out);

/* ---- layers that are deeper while they learn ----------------------------------------------------------------------------------------
 * Chen et al. 2023 (arXiv:2305.12972), VanillaNet: where one convolution will stand, two learn, with an activation between them that
 * turns linear little by little; then epl_merge_linear (morph.h) makes them one. */

/* max(x, 0) + slope min(x, 0), where the slope is the graph's one state "deepening.slope" [], 0 at the start: what stands between
 * layers that will be merged. epl_deep_training (morph.h) moves it to 1. */
#define EPL_DEEPENING_SLOPE "deepening.slope"
EPL_API epl_value *epl_fading_relu(epl_graph *g, epl_value *x);

typedef enum epl_deep_form {
    EPL_DEEP_TRAIN = 0, /* "conv1", "norm1", fading relu, 1x1 "conv2", "norm2" */
    EPL_DEEP_MERGED,    /* "conv" with a bias: what remains */
    EPL_DEEP_PLAIN      /* "conv", "norm": the same layer without the trick */
} epl_deep_form;

/* x [N, H, W, C] -> [N, H', W', out], or of rank 2: linear layers, [N, C] -> [N, out], whose end has no norm. All
 * convolutions have biases. */
typedef struct epl_deep_conv_opts {
    const char   *name;    /* default "deep" */
    int           out;     /* required */
    int           hidden;  /* channels between the two; default C, and `out` where the kernel is not 1 */
    int           kernel, stride, pad; /* of the first; default 1, 1, 0 */
    epl_deep_form form;
    epl_start     init;
} epl_deep_conv_opts;
EPL_API epl_value *epl_deep_conv(epl_graph *g, epl_value *x, epl_deep_conv_opts o);

/* The series activation of the same paper, as its code computes it: relu, a depthwise convolution with a (2 n + 1) x
 * (2 n + 1) window "conv", and "norm" (merged: a bias in its place). n 0 is one weight for each channel. */
typedef struct epl_series_activation_opts {
    const char *name;   /* default "activation" */
    int         n;
    bool        merged;
    epl_start   init;
} epl_series_activation_opts;
EPL_API epl_value *epl_series_activation(epl_graph *g, epl_value *x, epl_series_activation_opts o);

/* ---- early exits ----------------------------------------------------------------------------------------------------------------
 * A network with early exits has, beside its output 0 (the final classifier), outputs "exit1", "exit2", ... in the order of depth: internal
 * classifiers, Kaya et al. 2019 (arXiv:1810.07052). Classifiers are counted from 0; the final one is the last. Any other network has one. */
EPL_API int        epl_n_exits(const epl_graph *g);            /* classifiers, the final one included */
EPL_API int        epl_exit_output(const epl_graph *g, int i); /* which output classifier i is; -1 if there is none */
EPL_API epl_value *epl_exit_at(const epl_graph *g, int i);     /* its logits [N, classes] */

EPL_API epl_value *
epl_scope_value(const epl_graph *g,
                const char      *name); /* the last value of a scope, "stage1.unit2"; NULL without an error */

/* macs[i]: the multiply-adds that one sample takes if it leaves at classifier i, earlier classifiers included. */
EPL_API bool epl_exit_macs(const epl_graph *g, double *macs);

/* What classifies at an exit: x [N, S..., C] or [N, C] -> logits [N, classes], parameters below the scope `name`.
 *
 *   sdn      where a side is at least 4: mix max + (1 - mix) mean over windows of floor(side / 4), "mix" from U(0, 1); then linear.
 *            Kaya et al. 2019, sec. 4.2. A side of 7 has windows of 1: nothing is pooled
 *   branchy  a 3x3 unit, the maximum over such windows, linear: Teerapittayanon et al. 2016 (arXiv:1709.01686)
 *   msdnet   two 3x3 units of stride 2, mean over 2x2, linear: Huang et al. 2018 (arXiv:1703.09844) */
typedef enum epl_exit_kind { EPL_EXIT_SDN = 0, EPL_EXIT_BRANCHY, EPL_EXIT_MSDNET } epl_exit_kind;
typedef struct epl_exit_head_opts {
    const char   *name;    /* default "exit1" */
    epl_exit_kind kind;
    int           classes; /* required */
    int           width;   /* channels of the units; default: branchy x's, msdnet 128 */
} epl_exit_head_opts;
EPL_API bool       epl_exit_kind_from_name(epl_context *ctx, const char *name, epl_exit_kind *out);
EPL_API epl_value *epl_exit_head(epl_graph *g, epl_value *x, epl_exit_head_opts o);

/* The head of the next exit as an output of the graph; its name is set here, classes default to those of output 0.
 * Add exits in the order of depth, when output 0 is there. Returns its logits. */
EPL_API epl_value *epl_exit_add(epl_graph *g, epl_value *x, epl_exit_head_opts o);

/* Where a sample leaves: at the first exit that is sure enough. */
typedef enum epl_exit_measure {
    EPL_EXIT_CONFIDENCE = 0, /* the largest of softmax is at least the threshold: 0 is always reached, more than 1 never */
    EPL_EXIT_ENTROPY         /* of softmax, in nats, is at most the threshold: Teerapittayanon et al. 2016 (arXiv:1709.01686) */
} epl_exit_measure;

typedef struct epl_exit_rule {
    epl_exit_measure measure;
    double           threshold;
    const double    *thresholds; /* instead: one for each exit but the final, borrowed */
    int              patience;   /* and so many classifiers in a row, this one the last of them, name the same class; default 1 */
    bool             last;       /* if nowhere: at the final classifier; default: the most confident of all, as in Kaya et al. 2019 */
} epl_exit_rule;

/* logits [exits, n, classes] -> which classifier speaks for each sample, the class that it names, and the last
 * classifier that was computed: the one that speaks, but the final one where no exit was sure (each [n], may be
 * NULL). */
EPL_API void epl_exit_decide(const epl_tensor *logits, epl_exit_rule rule, int *taken, int64_t *predicted, int *computed);

#ifdef __cplusplus
}
#endif
#endif
