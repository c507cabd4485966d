/* compress: smaller networks - weights set to zero under masks, and channels removed.
 *
 * A mask belongs to a parameter: the state "<parameter>.mask" (f32, 0 or 1), and the network reads weight * mask. It is part of
 * the model: checkpoints hold it, training respects it, epl_bake (passes.h) multiplies it in and drops it. */
#ifndef ESPALIER_COMPRESS_H
#define ESPALIER_COMPRESS_H

#include <espalier/report.h>
#include <espalier/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- which weights ---------------------------------------------------------------------------------------------------
 * Weights of convolutions, linear layers, products with a parameter, embeddings and recurrent layers can be masked; biases,
 * norms, position tables cannot. `pattern` (default "*") chooses among them by name (epl_glob); `skip` leaves out: names, and
 * the words "first", "last" and "depthwise": "first,last,*.key.weight". */

/* How the gradient passes a mask. */
typedef enum epl_mask_gradient {
    EPL_MASK_FROZEN = 0, /* dW = M dW': masked weights stay exactly 0, through momentum and weight decay too */
    EPL_MASK_STE,        /* dW = dW': all weights go on learning, the mask is chosen anew from them */
    EPL_MASK_SRSTE       /* dW = dW' + lambda (1 - M) W: Zhou et al. 2021 (arXiv:2102.04010), eq. (9) */
} epl_mask_gradient;

typedef struct epl_mask_opts {
    const char       *pattern, *skip;
    epl_mask_gradient gradient;
    double            lambda; /* EPL_MASK_SRSTE: default 2e-4 */
} epl_mask_opts;

/* Gives each chosen weight that has none a mask of ones. Returns how many weights are masked then; -1 on failure, also where
 * nothing matches. */
EPL_API int epl_masks_add(epl_model *m, epl_mask_opts o);

/* After masks were written from outside: masked weights, and what optimizers and averages keep for them, become 0 (frozen
 * masks; with the other gradients the weights stay). */
EPL_API bool epl_masks_apply(epl_model *m);

/* ---- pruning weights -------------------------------------------------------------------------------------------------
 * Exactly N - floor(sparsity N + 1/2) of a layer's N weights stay; of equal scores the lower index (row-major) stays.
 *
 * criterion      the score; the highest stay                                                       what it looks at besides the weights
 *   magnitude    |w|
 *   random       uniform noise of (seed, name)
 *   bernoulli    as random, but each stays with the layer's density as its own chance: the count is not exact
 *   lamp         w^2 / sum of v^2 over the layer's weights that are not smaller: Lee et al. 2021 (arXiv:2010.07611)
 *   gradient     |g|                                                                                g
 *   taylor       (w g)^2: Molchanov et al. 2017 (arXiv:1611.06440)                                  g
 *   snip         |w g| / sum |w g|: Lee et al. 2019 (arXiv:1810.02340)                              g
 *   grasp        w (H g): Wang et al. 2020 (arXiv:2002.07376), eq. (8), logits divided by 200       H g
 *   obd          w^2 F / 2, F the mean of g^2 over samples: LeCun et al. 1989                       F
 *   obs          w^2 / (2 [H^-1]_ii), one by one, the others making up for it: Hassibi & Stork 1993.   g of each sample
 *                H is the mean of g g^T, so for small layers (up to 2048 weights)
 *   synflow      w dR/dw, R the sum of what |w| makes of an input of ones, chosen in 100 rounds: Tanaka et al. 2020
 *                (arXiv:2006.05467), Algorithm 1; batch norms and biases left out                   epl_synflow_scores
 *
 * distribution   how dense each layer becomes
 *   uniform      all alike
 *   uniform+     the first convolution stays dense, the last layer keeps at least 20 %, the others share what remains
 *   er           proportional to ((o + i) / (o i))^power: Mocanu et al. 2018 (arXiv:1707.04780)
 *   erk          proportional to ((o + i + kh + kw) / (o i kh kw))^power: Evci et al. 2020 (arXiv:1911.11134)
 *   erk+         the same with a dense last layer
 *   global       one threshold over all scores; every layer keeps at least one unit
 * or, in their place, what a global ranking by another criterion (ratios_of) leaves of each layer. */
typedef struct epl_layer_sparsity {
    const char *pattern;
    double      sparsity;
} epl_layer_sparsity;

typedef struct epl_prune_opts {
    const char *pattern, *skip;
    const char *criterion;    /* default "magnitude" */
    const char *distribution; /* default "uniform" */
    const char *ratios_of;    /* a criterion: "snip", "grasp", ... NULL: the distribution */
    double      power;        /* of er, erk, erk+: default 1 */
    double      sparsity;     /* of all chosen weights, in [0, 1) */
    double      macs;         /* instead: the part of the network's multiply-adds that is left, in (0, 1), within a thousandth of it */
    const char *unit;         /* what goes as a whole: "element" (default), "row" (an output with all its weights), "column" (an input),
                                 "kernel" (all positions of one input for one output). Scores are summed over it */
    int         block_rows, block_columns; /* instead: blocks of the weight as a matrix [inputs, outputs]; default 1 x 1 */
    int         n, m;         /* both given: the n best of every m consecutive input channels stay; replaces sparsity */
    bool        transposable; /* n of m along output channels as well, the best first where both have room; m up to 64 */
    const epl_layer_sparsity *layers;      /* layers with a sparsity of their own; the first that matches counts */
    int                       n_layers;
    const epl_weights        *gradients;   /* by parameter name: what the criterion looks at (epl_prune_evidence) */
    const epl_weights        *ratio_gradients; /* what ratios_of looks at */
    uint64_t          seed;
    epl_mask_gradient gradient;
    double            lambda;
} epl_prune_opts;

/* Adds masks where there are none, chooses what stays, sets the rest to 0. Weights that a frozen mask covers never come back.
 * False on failure: the weights are as they were, masks may have been written. */
EPL_API bool epl_prune_weights(epl_model *m, epl_prune_opts o);

/* d loss / d parameter for one batch, in inference mode: "<parameter>" -> gradient (of the weight as the network reads it: a
 * mask hides nothing). x and target as in training. The caller owns the result. */
EPL_API epl_weights *epl_weight_gradients(const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts loss);

/* What a criterion looks at, of one batch: "<parameter>" -> tensor. grasp takes the batch as two halves, obd and obs
 * take one sample at a time. The caller owns the result. */
EPL_API bool         epl_criterion_needs_data(const char *criterion);
EPL_API epl_weights *epl_prune_evidence(const epl_model *m, const char *criterion, const epl_tensor *x, const epl_tensor *target,
                                        epl_loss_opts loss);

/* SynFlow's scores, such that the highest are what its rounds leave at o->sparsity of the weights that o chooses: those that went
 * earlier are lower. epl_prune_weights makes them by itself. `degree` (may be NULL): by how much the output grows when the input
 * doubles, over 2. It is 1 for the networks that the method is made for, positively homogeneous ones (ReLU, pooling, sums). */
EPL_API epl_weights *epl_synflow_scores(const epl_model *m, const epl_prune_opts *o, double *degree);

/* ---- pruning during training -----------------------------------------------------------------------------------------
 * Zhu & Gupta 2017 (arXiv:1710.01878), eq. (1): at updates t = begin, begin + every, ..., up to end
 *
 *   cubic        s = final + (initial - final) (1 - (t - begin) / (n every))^exponent
 *   linear       the same with exponent 1
 *   exponential  the part that stays is (1 - final)^((t - begin) / (n every)), from initial on
 *   oneshot      final at begin
 *
 * where n every is the largest multiple of every in end - begin, and final is prune.sparsity. Masks are chosen
 * again from the weights at each of them; with frozen gradients they only lose elements. No validation before the last
 * of them is the run's best. Later they rest; with EPL_MASK_STE and EPL_MASK_SRSTE they follow the weights to the run's
 * end. Layers with a sparsity of their own go the same part of their way. Where `every` is more than end - begin there
 * is one update, at begin, to final. All is a function of the update's number and of what checkpoints hold. */
typedef struct epl_pruner_opts {
    epl_prune_opts prune;       /* criteria without gradients */
    const char    *schedule;    /* default "cubic" */
    double         initial;     /* sparsity at begin; default 0 */
    double         begin, end;  /* as parts of the run, in [0, 1]; default 0 and 0.75 */
    int64_t        begin_step, end_step; /* instead, where end_step is given: updates, from 1 */
    int64_t        every;       /* updates; default a fiftieth of the time between, at least 1 */
    double         exponent;    /* of cubic: default 3 */
    bool           allow_regrow; /* initial may be above prune.sparsity: weights come back, which needs EPL_MASK_STE or _SRSTE */
} epl_pruner_opts;

/* Sparsity after update `step` of `total`; 0 before begin. */
EPL_API double epl_pruner_sparsity(const epl_pruner_opts *o, int64_t step, int64_t total);

/* Adds the masks to the model, so make the hook before the trainer; hook.user is the caller's (epl_release(ctx, hook.user)), NULL
 * on failure. The options' texts and lists are borrowed for the life of the trainer. */
EPL_API epl_train_hook epl_pruner_hook(epl_model *m, epl_pruner_opts o);

/* ---- in rounds, going back -------------------------------------------------------------------------------------------
 * Lottery tickets: train, prune, go back to the weights of update `step` (0: those of now), train again. The masks stay.
 *
 *     epl_rewinder *r = epl_rewinder_new(m, 0);
 *     for (int round = 1; round <= rounds; round++) {
 *         ... train m with the hook epl_rewinder_hook(r), epl_prune_weights(m, { .sparsity = epl_round_sparsity(0.9, round, rounds) })
 *         epl_rewind(m, r);
 *     }
 *
 * Frankle & Carbin 2019 (arXiv:1803.03635); to an early update: Frankle et al. 2020 (arXiv:1912.05671). */
typedef struct epl_rewinder epl_rewinder;
EPL_API epl_rewinder  *epl_rewinder_new(epl_model *m, int64_t step);
EPL_API void           epl_rewinder_free(epl_rewinder *r);
EPL_API epl_train_hook epl_rewinder_hook(epl_rewinder *r);                    /* keeps the weights when the first run is there */
EPL_API bool           epl_rewind(epl_model *m, const epl_rewinder *r);       /* what masks cover becomes 0 again */
EPL_API double         epl_round_sparsity(double sparsity, int round, int rounds); /* the same part of what is left goes in each */

/* ---- dynamic sparse training ------------------------------------------------------------------------------------------
 * At the updates t = every, 2 every, ... below end, each layer drops the k smallest of its n active weights and k others, as many,
 * come back: k = floor(fraction(t) n). What comes back begins at 0 with optimizer slots of 0. The density of each layer stays as
 * the masks have it when training begins. The update itself is not skipped.
 *
 * method     set    at random, a function of (seed, weight, t): Mocanu et al. 2018 (arXiv:1707.04780)
 *            rigl   where the loss's gradient by the masked weight is largest, that of the update's batch (of its last one where
 *                   batches are accumulated): Evci et al. 2020 (arXiv:1911.11134), Algorithm 1
 *            snfs   where an average of that gradient is largest, momentum times the average before: Dettmers & Zettlemoyer
 *                   2019 (arXiv:1907.04840), without its moving of weights between layers
 * schedule   cosine    fraction / 2 (1 + cos(pi t / end))
 *            constant  fraction
 *            exp       fraction 0.01^(t / end)
 *
 * Cost: forward and input gradient skip what is masked where that pays (epl_program_opts.sparse); the weight gradient is dense, so it
 * is there in every update; rigl and snfs keep it until the update's end (4 bytes for each weight), snfs besides the average (4 more) and a pass over it. */
typedef struct epl_regrow_opts {
    epl_prune_opts prune;    /* the first masks, frozen ones; with a sparsity of 0 they are the model's as it comes */
    const char    *method;   /* default "rigl" */
    const char    *schedule; /* default "cosine" */
    double         fraction; /* of the active weights; default 0.3 */
    int64_t        every;    /* updates; default 100 */
    double         end;      /* as a part of the run; default 0.75 */
    int64_t        end_step; /* instead: an update */
    double         momentum; /* snfs: default 0.9 */
    double         grow_std; /* what comes back is drawn with this standard deviation; default 0 */
} epl_regrow_opts;

typedef struct epl_regrow_result {
    double  itop;            /* part of the weights that were ever active: Liu et al. 2021 (arXiv:2102.02887) */
    double  overlap;         /* part of the active weights that were active in the first masks */
    double  density;         /* of the masked layers */
    int64_t updates, moved;  /* of the masks in this process; weights that went and came */
} epl_regrow_result;

/* The part that update `step` of `total` exchanges; 0 where it does not. */
EPL_API double epl_regrow_fraction(const epl_regrow_opts *o, int64_t step, int64_t total);

/* Adds the masks to the model, whose weights must be there, so make the hook before the trainer; hook.user is the caller's
 * (epl_release(ctx, hook.user)), NULL on failure. ITOP rate and overlap stand in the log as "itop" and "overlap". */
EPL_API epl_train_hook    epl_regrow_hook(epl_model *m, epl_regrow_opts o);
EPL_API epl_regrow_result epl_regrow_result_of(const epl_train_hook *h); /* after epochs, and the run */

/* ---- sparse networks with names -------------------------------------------------------------------------------------
 * Those of Elsen et al. 2020, "Fast sparse convnets" (arXiv:1911.09723): "fsc-mbv1-1.0-90" is MobileNetV1 of width 1 with 90 % zeros
 * in every 1x1 convolution. */
typedef struct epl_sparse_preset {
    const char *name, *model; /* a description of the zoo */
    double      sparsity;
    int         block;        /* output channels that are pruned together in the layers `blocked` (NULL: none) */
    const char *blocked;
    const char *also;         /* weights (names) besides 1x1 convolutions; NULL: none */
} epl_sparse_preset;

EPL_API int epl_sparse_n_presets(void);
EPL_API const epl_sparse_preset *epl_sparse_preset_at(int i);
EPL_API const epl_sparse_preset *epl_sparse_preset_find(const char *name); /* NULL without an error */

/* At once, by magnitude, under frozen masks. */
EPL_API bool epl_sparse_preset_prune(epl_model *m, const epl_sparse_preset *p);

/* The same as options, one or two: each is of weights of its own, for epl_prune_weights or epl_pruner_opts.prune.
 * Their texts are in *names, the caller's (epl_release). Returns how many; 0 with an error. */
EPL_API int epl_sparse_preset_opts(const epl_model *m, const epl_sparse_preset *p, epl_prune_opts out[2], char **names);

/* The names of the weights of dense 1x1 convolutions, "a.weight,b.weight", of those that `among` (epl_glob; NULL: all) matches: a
 * pattern. The caller owns it. */
EPL_API char *epl_pointwise_names(const epl_graph *g, const char *among);

/* ---- N:M sparse training -----------------------------------------------------------------------------------------------
 * Of every m consecutive channels' weights n stay, chosen anew from the dense weights in every update; all of them go on learning.
 * Fang et al. 2023 (BDWP, arXiv:2309.13015). FF: n of m input channels, per output channel and kernel position; BP: n of m output channels.
 *
 *   mode     y          d input             d W
 *   bdwp     W_FF x     W_BP dy             dense (+ lambda (W - W_FF) where lambda is given)
 *   srste    W_FF x     W_FF dy             dense + lambda (W - W_FF): Zhou et al. 2021 (arXiv:2102.04010)
 *   sdgp     W x        W (n of m of dy)    dense
 *   sdwp     W x        W_BP dy             dense
 *
 * Convolutions and linear layers take part; depthwise ones, with one input channel, stay dense. */
typedef enum epl_nm_mode { EPL_NM_BDWP = 0, EPL_NM_SRSTE, EPL_NM_SDGP, EPL_NM_SDWP } epl_nm_mode;

typedef struct epl_nm_opts {
    int         n, m;           /* required */
    epl_nm_mode mode;
    const char *pattern, *skip; /* as above; skip's default is "first,last" */
    double      lambda;         /* default 2e-4 for srste, else 0; negative: 0 */
    bool        strict;         /* m has to divide channels; default: a last group of r < m keeps min(n, r) */
    bool        log_changes;    /* log "nm.changes": weights of W_FF that came or went with an update; keeps a mask for each layer */
} epl_nm_opts;

/* Puts W_FF in the weights' place in the model (epl_keep_largest: with bdwp and srste), so make the hook before the
 * trainer. hook.user is the caller's (epl_release(ctx, hook.user)), NULL on failure: EPL_ERR_SHAPE where a layer has
 * fewer channels than m. Gradients of the step are not those of its forward function; that is the method. */
EPL_API epl_train_hook epl_nm_hook(epl_model *m, epl_nm_opts o);

/* W_FF becomes the weight: what the model computes stays, the dense weights are gone. */
EPL_API bool epl_nm_bake(epl_model *m);

/* Multiply-adds of the three products of a training step, of all layers (of the first there are two); a model
 * without or with the hook. */
typedef struct epl_nm_cost {
    double dense, sparse;
    int    layers, dense_layers; /* that take part; that do not */
} epl_nm_cost;
EPL_API bool epl_nm_cost_of(const epl_model *m, epl_nm_opts o, epl_nm_cost *out);

/* Bytes of `count` weights packed as values and indices of ceil(log2 m) bits. */
EPL_API int64_t epl_nm_packed_bytes(int64_t count, int n, int m, int value_bytes);

/* Weights of convolutions and linear layers that are n of m along their input channels become two states,
 * "<weight>.values" [..., n of every m, outputs] and "<weight>.indices" (u8, ceil(log2 m) bits for each value), and
 * the operator UnpackNM, which makes the weight of them, to the bit (-0 becomes 0). Of o count n, m, pattern, skip
 * (default: none). Expressions in weights' places are baked first (epl_bake). The file's metadata "espalier.packed"
 * says how they are stored. Returns how many weights were packed; -1 with an error. */
EPL_API int epl_nm_pack(epl_model *m, epl_nm_opts o);
EPL_API int epl_nm_unpack(epl_model *m); /* they are parameters again; returns how many, -1 with an error */

/* ---- removing channels ------------------------------------------------------------------------------------------------
 * A unit is everything that must go together: a channel with its bias and norm, the rows of those who read it, through
 * residual sums, concatenations, channel shuffles, depthwise and grouped convolutions (whole groups, or as many of each),
 * attention (whole heads), recurrent layers and reshapes. Units that stem from the same layer are a group. Where a graph's
 * inputs or outputs, or an operator that mixes channels in another way, touch an axis, nothing of it can go. Removing units
 * gives what the network computes with these units' weights at zero.
 *
 * criterion: l2 (root of the mean square of the unit's weights), l1 (mean |w|), bn-gamma (mean |weight| of its batch norms; l2
 * where there is none), fpgm (sum of distances to the other filters; He et al. 2019, arXiv:1811.00250), taylor ((sum w g)^2 with
 * given gradients), act-mean (mean |activation| on given samples), apoz (share of samples' positions where it is not 0; Hu et al. 2016,
 * arXiv:1607.03250), random. */
typedef struct epl_channel_opts {
    const char *pattern, *skip; /* of the weights that lose outputs, as above */
    const char *criterion;      /* default "l2" */
    bool        global;         /* one ranking, scores divided by their group's mean; default: the same part of each group */
    double      ratio;          /* part of the units to remove, in [0, 1) */
    double      macs, params;   /* instead: what should be left of the network's multiply-adds, parameters; in (0, 1) */
    int         round_to;       /* what stays in a group is a multiple of it, where the group has as many; default 1 */
    int         min_channels;   /* of a group; default 1 */
    bool        through_norms;  /* axes that layer and RMS norms average over may shrink, too: their statistics change */
    const epl_weights *gradients;
    const epl_tensor  *samples;       /* a batch of inputs, for act-mean and apoz */
    uint64_t           seed;
} epl_channel_opts;

typedef struct epl_channel_result {
    double  macs_before, macs_after;
    int64_t params_before, params_after;
    int64_t units, removed; /* units that could have gone; that went */
    int     groups;
} epl_channel_result;

/* The model's graph and weights become the smaller network (slots of optimizers and averages too); the former graph is freed.
 * `out` may be NULL. False, and the model as it was, on failure: nothing can be removed (the sentence names an operator
 * that forbids it), or the target cannot be met. */
EPL_API bool epl_prune_channels(epl_model *m, epl_channel_opts o, epl_channel_result *out);

/* ---- removing residual blocks: x + f(x) becomes x, where f is computed from x alone and x has the sum's shape ----
 * criterion: l2 (root of the mean square of the branch's weights), l1 (mean |w|), bn-gamma (mean |weight| of its batch norms; l2 where it
 * has none), random. The lowest go first. */
typedef struct epl_block_opts {
    const char *criterion; /* default "l2" */
    double      ratio;     /* part of the blocks */
    double      macs;      /* instead: what should be left of the multiply-adds, in (0, 1) */
    uint64_t    seed;
} epl_block_opts;

/* The model as it was on failure: there is no such block, the target cannot be met. `out` (may be NULL) counts blocks as units. */
EPL_API bool epl_prune_blocks(epl_model *m, epl_block_opts o, epl_channel_result *out);

/* Removes the units that make no difference, and nothing else: whoever reads them has zeros for them, or they are
 * always 0 (rows of zeros without a bias; norms whose scale and shift are 0). A channel that always says the same
 * goes, too, where no reader has a border of zeros: it becomes part of the reader's bias, or of the mean that its
 * norm takes away. Masks are baked in first. What is computed stays, within rounding. */
EPL_API bool epl_compact(epl_model *m, epl_channel_result *out);

/* A row for each group: weight, units, how many parameters they hold, lowest and highest score; and one for each axis of a
 * weight that cannot shrink, with the operator that forbids it. The caller owns the table. */
EPL_API epl_table *epl_channel_groups(const epl_model *m, epl_channel_opts o);

/* Statistics of batch norms after weights have changed: their means over `batches` batches. */
typedef struct epl_recalibrate_opts {
    int         batches; /* default 16 */
    int64_t     batch;   /* default 64, at most the data set's size */
    const char *augment; /* default: what the model says it needs */
    uint64_t    seed;    /* of the order */
} epl_recalibrate_opts;
EPL_API bool epl_recalibrate_norms(epl_model *m, epl_dataset *d, epl_recalibrate_opts o);

/* ---- larger and sparse, for the same multiply-adds -------------------------------------------------------------------
 * Thangarasa et al. 2023 (Sparse-IFT, arXiv:2303.11525): each layer is replaced by a larger one of sparsity s that costs as much, so
 * that there is more to choose the weights from. K is what an output reads, for a convolution kernel positions times channels.
 *
 *   wide        all widths times sqrt(1 / (1 - s)), tied axes together: the greatest common divisor of the widths grows and is rounded
 *               down. Axes that the network's inputs and outputs hold stay
 *   parallel    round(1 / (1 - s)) copies of layer and norm, summed
 *   factorized  a layer with d = ceil(K out / ((1 - s) (K + out))) outputs, then norm and relu, then a 1x1 one; both sparse
 *   doped       the layer sparse, plus a dense pair through r = floor(s K out / (K + out)) channels
 *
 * Rewritten are convolutions and linear layers that `layers` matches, but the first and the last layer, grouped convolutions, and
 * 1x1 convolutions on the way of a shortcut. Masked are the same and the shortcuts, at random and uniformly; what is dense stays so.
 * Weights of another shape than before start anew. Train the result as it is (static masks), or with epl_regrow_hook. */
typedef struct epl_ift_opts {
    const char *member;   /* "wide" (default), "parallel", "factorized", "doped" */
    double      sparsity; /* s, in [0, 1) */
    const char *layers;   /* default "*" */
    const char *between;  /* factorized: "relu" (default), "norm" alone, "linear" */
    bool        u_only;   /* factorized: V stays dense, d = K out / ((1 - s) K + out) */
    bool        match;    /* the masks' sparsity is chosen so that multiply-adds are those of before, or `macs` */
    double      macs;     /* of one run of the graph as bound; 0: those of before */
    uint64_t    seed;     /* of new weights and masks */
} epl_ift_opts;

typedef struct epl_ift_result {
    int     layers;      /* rewritten; for wide: masked */
    double  scale;       /* wide: of the widths; parallel: branches */
    double  sparsity;    /* of the masks */
    int64_t params_before, params_after, nonzero;  /* trained scalars; that are not masked */
    double  macs_before, macs_after, macs_nonzero; /* as if nothing were zero; without zeros */
    int64_t choice_before, choice_after;           /* weights of the rewritten layers: to choose from */
    int64_t activations_before, activations_after; /* elements of all values that are computed in one run */
} epl_ift_result;

/* False, and the model as it was, on failure: a width that somebody else holds (the sentence names the operator), a
 * target out of reach (with what can be reached). `out` may be NULL. */
EPL_API bool epl_ift(epl_model *m, epl_ift_opts o, epl_ift_result *out);
EPL_API bool epl_ift_account(const epl_graph *g, epl_ift_opts o, epl_ift_result *out); /* what it would be, without weights */

/* ---- reports ----------------------------------------------------------------------------------------------------- */
typedef struct epl_sparsity {
    int64_t weights, nonzero;               /* that can be masked; not zero as the network reads them */
    int64_t parameters, parameters_nonzero; /* all trained scalars */
    double  macs, macs_nonzero;             /* of one run of the graph as bound; without the products with zero weights */
    int64_t empty_rows, empty_columns;      /* outputs and inputs of weights that have nothing but zeros */
} epl_sparsity;
EPL_API bool epl_sparsity_of(const epl_model *m, epl_sparsity *out);

/* A row for each weight: shape, weights, not zero, density, outputs and inputs without any weight, MACs with and
 * without zeros; bytes dense, as CSR with 32- and 16-bit columns, as bitmap with values, as blocks of 4 x 4 with
 * 32-bit columns, as n of every 4 input channels packed (n the most that a group has), as values with differences of
 * channels (12 bytes each; Elsen et al. 2020, arXiv:1911.09723); then the sums. The caller owns the table. */
EPL_API epl_table *epl_sparsity_report(const epl_model *m);

/* ---- weights that are powers of two ---------------------------------------------------------------------------------------
 * An expression of trained variables in the place of convolutions' and linear layers' weights, so that a product is a shift.
 *
 *   dense   sgn(w_sign) 2^S_T with S_t = H(w_t) (S_{t-1} + 1), S_0 = 0, T = 2^(bits - 1) - 1; H(x) = 1 for x > 0, sgn(x) = 1 for x >= 0: the values
 *           +-1, +-2, ..., +-2^T, and no zero. Variables "<weight>.sign", "<weight>.exponent1", ... Gradients go straight through H and sgn; where they
 *           are rescaled sqrt(S + 1) stands for 2^S in them. Li et al. 2023, DenseShift (arXiv:2208.09708). bits 2, 3 (default), 4
 *   s3      sgn(w_sign) H(w_dense) 2^(H(w_1) (H(w_2) + 1)): 0, +-1, +-2, +-4, to be trained with epl_shift_hook. Li et al. 2021 (arXiv:2107.03453)
 *   q       sgn(w) 2^round(log2 |w|), exponents from -(2^(bits - 1) - 2) to 0, straight through; the weight stays the variable. Elhoushi et al. 2021
 *           (arXiv:1905.13298), DeepShift-Q. bits 3 to 8, default 5
 *   ps      2^round(p) sgn(round(q)) of a shift p and a sign q: DeepShift-PS
 *
 * Weights of 1 and more make activations grow: a normalisation has to follow. Weight decay pulls variables back to where they can flip: keep it. */
typedef enum epl_shift_method { EPL_SHIFT_DENSE = 0, EPL_SHIFT_S3, EPL_SHIFT_Q, EPL_SHIFT_PS } epl_shift_method;
typedef enum epl_shift_init {
    EPL_SHIFT_SCRATCH = 0,  /* normal, variance 2 / (taps * outputs) */
    EPL_SHIFT_LOW_VARIANCE, /* normal, deviation sigma */
    EPL_SHIFT_FROM_FLOAT /* dense: variables at +-sigma that say the nearest power of two in units of half the channel's
                            mean magnitude (of 2 bits: of the mean), and a trained "<weight>.scale" for each output
                            channel that fits best. q: the weights */
} epl_shift_init;

typedef struct epl_shift_opts {
    epl_shift_method method;
    int            bits;
    epl_shift_init init;
    double         sigma;       /* default 1e-3 */
    bool           no_rescale;  /* the true factors in dense gradients */
    bool           first, last; /* the first and the last layer, too; default: they stay as they are */
    const char    *pattern;     /* of weights' names (epl_glob); default all */
    uint64_t       seed;
} epl_shift_opts;

typedef struct epl_shift_result {
    int     layers;
    int64_t weights, others;     /* parameters that are replaced, and all others */
    size_t  bytes, bytes_before; /* packed codes and 4 bytes for each of the others; 4 for each */
    int         bare;       /* layers whose values grow, because neither a normalisation nor a scale follows; */
    const char *first_bare; /* the first one's weight, as long as the graph; NULL: none */
} epl_shift_result;

EPL_API bool epl_shift(epl_model *m, epl_shift_opts o, epl_shift_result *out); /* out may be NULL */

/* The expression itself: w[0] is the sign's variable, w[1..n] the exponent's (n 1, 3 or 7). */
EPL_API epl_value *epl_shift_value(epl_graph *g, int n, epl_value *const *w, bool no_rescale);

/* Dense variables become packed codes: the state "<weight>.codes" (u8) and the operator ShiftWeight, to the bit.
 * (epl_bake makes f32 weights of them.) Returns how many weights were packed; -1 with an error. */
EPL_API int epl_shift_pack(epl_model *m);

/* The codes of all dense variables in w as they are now, a byte each (sign * 128 + S), weight after weight; returns
 * how many. NULL: counts. */
EPL_API int64_t epl_shift_codes(const epl_weights *w, uint8_t *codes);

/* Before each layer that reads packed codes: its input as 8 bits times a factor, affine(cast(cast(clip(round(x / f),
 * -127, 127), i8), f32), f), f the largest magnitude on the samples (a batch for the network's one input) over 127.
 * Programs then add shifted integers, exactly (epl_program_opts.shifts), or multiply integers (passes.h). Depthwise
 * layers and those inside of regions stay. `out` may be NULL. */
typedef struct epl_quantize_result {
    int layers, values; /* layers whose input is quantised; distinct values that are */
} epl_quantize_result;
EPL_API bool epl_quantize_activations(epl_model *m, const epl_tensor *samples, epl_quantize_result *out);

/* A row for each weight of dense variables or packed codes: how many are negative, the shares of 1, 2, 4 ... in
 * magnitude, the entropy of a code in bits. The caller owns the table. */
EPL_API epl_table *epl_shift_report(const epl_model *m);

/* To train with. s3's "dense weight" term: 1e-5 sum of max(0, -w_dense) is added to the loss. Of dense weights the log shows, and
 * epl_shift_changes_of tells until the trainer is freed, what the last epoch's end found: */
typedef struct epl_shift_changes {
    double flips;  /* share of the weights whose sign is not that of an epoch ago */
    double frozen; /* share of the weights whose code was the same at the start and at the end of every epoch since */
} epl_shift_changes;
EPL_API epl_train_hook epl_shift_hook(void);
EPL_API bool           epl_shift_changes_of(const epl_model *m, epl_shift_changes *out); /* false, without an error: no such training */

#ifdef __cplusplus
}
#endif
#endif
