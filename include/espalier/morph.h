/* morph: networks changed from the outside - layers put in, layers merged. */
#ifndef ESPALIER_MORPH_H
#define ESPALIER_MORPH_H

#include <espalier/nn.h>
#include <espalier/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- deeper while learning, then merged: Chen et al. 2023 (arXiv:2305.12972) ------------------------------------- */

/* Behind each convolution or linear layer whose weight's name matches `pattern` (epl_glob), and behind the batch
 * normalisation that follows it: a fading relu (nn.h) and a 1x1 convolution (linear layer) "<layer>.deep.conv" with
 * its normalisation. The new layer begins as the identity (its normalisation's epsilon apart), so with the slope at
 * 1 the model computes what it did; the slope begins at 0. Weights that are there stay; new ones are made by
 * epl_model_init. Returns how many layers were deepened, -1 on failure: nothing matches. */
EPL_API int epl_deepen(epl_model *m, const char *pattern);

/* Moves the slope of fading relus from 0 to 1 while a model learns: in epoch e (from 0) it is e / epochs, or half a
 * cosine of that, and 1 from epoch `epochs` on. A run begins with 0. The slope is a state, so a resumed run goes on
 * with it; averaged weights get the same. The hook's memory is the caller's (epl_release(ctx, hook.user)); hook.user
 * is NULL on failure. */
typedef struct epl_deep_training_opts {
    int  epochs; /* required */
    bool cosine; /* (1 - cos(pi e / epochs)) / 2 */
} epl_deep_training_opts;
EPL_API double         epl_deep_training_slope(epl_deep_training_opts o, int64_t epoch);
EPL_API epl_train_hook epl_deep_training(epl_model *m, epl_deep_training_opts o);

/* Folds batch normalisations into the convolutions and linear layers before them, and makes one layer of two between
 * which nothing (or a leaky relu of slope 1) stands: k x k and 1x1, 1x1 and k x k (without padding, or where the
 * first has no bias), linear and linear. For inference: keeps results within rounding. Fails with EPL_ERR_ARGUMENT
 * while the slope of fading relus is below 1. `n_merged` (may be NULL): pairs that became one. */
EPL_API bool epl_merge_linear(epl_model *m, int *n_merged);

/* One more class, without training: Qi et al. 2018 (arXiv:1712.07136). A network with head=cosine gets a column
 * whose direction is the mean of `features` (a batch of what epl_feature_model gives, unit vectors [k, D]), as long
 * as the others are on average. */
EPL_API bool epl_imprint_class(epl_model *m, const epl_tensor *features);

/* ---- early exits: Kaya et al. 2019 (arXiv:1810.07052) ------------------------------------------------------------------------------
 * Classifiers for any network with one input and one of its own: behind the last value of each scope that is named ("stage1.unit2"), or where
 * the share of its multiply-adds that is done is nearest to what is asked for - behind a layer that all that follows goes through, its
 * activation and pool included. New weights are made by epl_model_init. Fails with EPL_ERR_ARGUMENT if shares do not rise between 0 and 1, two
 * exits would stand at one place, or a place is no batch of features that the input reaches. */
typedef struct epl_exits_opts {
    int                n;
    const double      *shares; /* [n], or */
    const char *const *names;  /* [n] */
    epl_exit_kind      head;
} epl_exits_opts;
EPL_API bool epl_exits_add(epl_model *m, epl_exits_opts o);

/* Leaving early made real: a network for one sample whose layers behind an exit are inside an If, and are not
 * computed when the sample leaves there. Outputs: "logits" [1, classes] of the classifier where it leaves, "exit"
 * i64 [1], which one that is. The caller owns it. */
EPL_API epl_model *epl_exits_dynamic(const epl_model *m, epl_exit_rule rule);

/* ---- channel gates: Elkerdawy et al. 2022, "Fire Together Wire Together" (arXiv:2110.08232) ------------------------------------------
 * Before a convolution a head sees its input x, pooled over space: P = softmax(pool(x)) W + b, one number for each output channel. The layer's
 * result - behind its normalisation and activation, before a residual sum - is multiplied with the mask P > 0. Parameters
 * "<layer>.gate.weight" [C, M] and "<layer>.gate.bias" [M]. The task's loss does not reach them. */
typedef struct epl_gate_opts {
    const char *layers;  /* names (epl_glob) of convolutions' weights; default: all whose channels are read and are no result */
    bool        joint;   /* what gates learn from reaches the network, too; default: it stops at the head */
    bool        average; /* pool by the mean; default by the maximum */
    int         embedding; /* pool each axis of space to round((embedding / C)^(1 / axes)) places, flattened, so that a gate sees
                              about so many numbers: of a picture with one channel a single one says nothing. Default: to one */
    bool        after_add; /* a layer whose result is added to a shortcut ends behind the sum and its activation; default: before it */
    bool        open;    /* gates begin open, whatever they see: weights of zero, biases of 2. Default: as any linear layer begins */
} epl_gate_opts;

/* Returns how many layers have a gate now; -1 on failure: none can have one, or one that was named cannot. Weights are made by
 * epl_model_init. */
EPL_API int epl_gates_add(epl_model *m, epl_gate_opts o);

/* What a gate learns from x [N, S..., C]: [N, C], 1 for the channels with the largest max |x| over space, as many as
 * hold the share `mass` of their sum, at least one; mass 1: all but dead ones (a share of at most 1e-5); -1: all.
 * With `uniform` in (0, 1] instead: all but the floor(uniform C) weakest and dead ones. */
EPL_API epl_value *epl_gate_labels(epl_graph *g, epl_value *x, double mass, double uniform);

/* Adds weight times the mean over gates of the sum over channels of the binary cross-entropy with the labels, for
 * the first cooldown x epochs epochs; then gates rest, to the bit. Logs "gates", this loss, and "agreement", the
 * share of masks that are as the labels are. The hook's memory is the caller's (epl_release(ctx, hook.user));
 * hook.user is NULL on failure. */
typedef struct epl_gate_train_opts {
    double mass, uniform; /* as above; one of them is required */
    double weight;        /* default 1 */
    double cooldown;      /* default 0.5 */
    int    epochs;        /* of the run; required */
} epl_gate_train_opts;
EPL_API epl_train_hook epl_gates_hook(const epl_model *m, epl_gate_train_opts o);
#define EPL_GATE_GROUP(scale) { .pattern = "*.gate.weight,*.gate.bias", .rate_scale = scale, .decay = -1 }

/* Gates that save time, for one sample, which becomes the size of the batch: gated convolutions with at most a relu
 * behind them (fold normalisations first: epl_deploy_batch_norms) become GatedConv. Returns how many; -1 on failure:
 * none. */
EPL_API int epl_gates_skip(epl_model *m);

#ifdef __cplusplus
}
#endif
#endif
