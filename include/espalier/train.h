/* train: from a network and data to a trained network.
 *
 * A training step is one graph: forward, loss, gradient, optimizer and the updates of everything that is carried. It is
 * planned once and run many times. All that is carried - optimizer slots, averaged weights, step counter, random key - are
 * states in the model's weights, so a checkpoint is one safetensors file and a run that was killed goes on with the same bits.
 *
 *     epl_trainer *t = epl_trainer_new(model, train, test, (epl_trainer_opts){ .epochs = 10, .batch = 64 });
 *     bool ok = t && epl_trainer_run(t);
 *     epl_trainer_free(t);                              // the model keeps its trained weights and nothing else */
#ifndef ESPALIER_TRAIN_H
#define ESPALIER_TRAIN_H

#include <espalier/data.h>
#include <espalier/passes.h>
#include <espalier/program.h>

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- learning rate --------------------------------------------------------------------------------------------------
 * A schedule is a function of the position alone, so that a resumed run needs nothing but its step. Positions and lengths have
 * one unit of the caller's choice; a trainer counts epochs (2.5 is the middle of the third). */
typedef enum epl_schedule_kind {
    EPL_RATE_CONSTANT = 0,
    EPL_RATE_STEP,        /* times gamma after every `every` */
    EPL_RATE_MULTI_STEP,  /* times gamma at each milestone */
    EPL_RATE_COSINE,      /* half a cosine from 1 to `final`: Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. (5) */
    EPL_RATE_LINEAR,      /* from 1 to `final` */
    EPL_RATE_POLYNOMIAL,  /* (1 - x)^power, from 1 to `final` */
    EPL_RATE_EXPONENTIAL, /* gamma^position */
    EPL_RATE_ONE_CYCLE    /* half a cosine from `start` to 1 at the fraction `peak`, then one to `final`: Smith & Topin 2018
                             (arXiv:1708.07120) */
} epl_schedule_kind;

enum { EPL_MAX_MILESTONES = 16 };

typedef struct epl_schedule_opts {
    epl_schedule_kind kind;
    double warmup;      /* length of a linear rise from `warmup_from` to 1 before the schedule, which then has the rest */
    double warmup_from; /* default 0.01 */
    double every;       /* STEP: required */
    double gamma;       /* default 0.1; EXPONENTIAL: 0.9 */
    double final;       /* default 0; ONE_CYCLE: 4e-6 */
    double power;       /* default 2 */
    double start, peak; /* default 0.04, 0.3 */
    int    n_milestones;
    double milestones[EPL_MAX_MILESTONES]; /* rising */
} epl_schedule_opts;

/* What the base rate is multiplied with at `position` of a run of `length`. */
EPL_API double epl_schedule_factor(const epl_schedule_opts *s, double position, double length);

/* "constant", "step:every=30,gamma=0.1", "multi-step:at=30+60", "cosine:warmup=1,final=0.01", "linear", "polynomial:power=2",
 * "exponential:gamma=0.9", "one-cycle:start=0.04,peak=0.3,final=4e-6"; every kind takes warmup and warmup_from. */
EPL_API bool epl_schedule_parse(epl_context *ctx, const char *text, epl_schedule_opts *out);

/* ---- optimizers -----------------------------------------------------------------------------------------------------
 * Written as nodes; the element-wise part becomes one kernel per parameter, which updates it in place. Slots are the states
 * "train.<slot>.<parameter>"; the state "train.step" (i64) counts updates.
 *
 *   sgd      d = g + decay w;  b = momentum b + d;  w -= rate (nesterov: d + momentum b; else b)
 *   adam     Kingma & Ba 2015 (arXiv:1412.6980), Algorithm 1, with decay added to the gradient
 *   adamw    Loshchilov & Hutter 2019 (arXiv:1711.05101), Algorithm 2: w -= rate decay w beside it
 *   rmsprop  v = beta2 v + (1 - beta2) d^2;  b = momentum b + d / (sqrt v + epsilon);  w -= rate b
 *   adagrad  Duchi et al. 2011: v += d^2;  w -= rate d / (sqrt v + epsilon)
 *   adadelta Zeiler 2012 (arXiv:1212.5701), Algorithm 1: v = beta2 v + (1 - beta2) d^2;  u = sqrt(m + epsilon) / sqrt(v + epsilon) d;
 *            m = beta2 m + (1 - beta2) u^2;  w -= rate u
 *   lars     You et al. 2017 (arXiv:1708.03888), Algorithm 1; parameters of rank 1 as sgd
 *   lamb     You et al. 2020 (arXiv:1904.00962), Algorithm 2 with the identity for phi
 *   muon     Jordan et al. 2024: a matrix goes along its orthogonalised Nesterov momentum, by 0.2 sqrt(longer side) as Liu et al.
 *            2025 (arXiv:2502.16982), eq. (4), with their decay beside it; parameters of rank 1 as adamw, at the same rate
 *   lion     Chen et al. 2023 (arXiv:2302.06675), Algorithm 2: w -= rate sgn(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g;
 *            decay as adamw's */
typedef enum epl_optimizer_kind {
    EPL_SGD = 0, EPL_ADAM, EPL_ADAMW, EPL_RMSPROP, EPL_ADAGRAD, EPL_LARS, EPL_LAMB, EPL_MUON, EPL_ADADELTA, EPL_LION
} epl_optimizer_kind;

/* Slots of 8 bits: Dettmers et al. 2022 (arXiv:2110.02861). A slot is then two states, the codes
 * "train.<slot>.<parameter>" (u8, of the parameter's shape) and "train.<slot>_max.<parameter>" (f32, one for each
 * block), coded as epl_quantize_blockwise says: with the unsigned map where a slot is a mean of squares ("v"), else
 * with the signed one. A step decodes, updates and codes again in one kernel, and the parameter moves by the values
 * before they are coded. */
typedef struct epl_slot_opts {
    int     bits;         /* 32 (default) or 8 */
    int64_t block;        /* default 2048; a power of two from 64 to 4096; EPL_SLOT_WHOLE: one block */
    int64_t min_size;     /* parameters of fewer elements keep 32 bits; default 4096 */
    bool    linear;       /* the linear map; default: the dynamic one */
    bool    stochastic;   /* round by chance, with the graph's random key */
    bool    second_floor; /* a square above 0 never becomes 0 */
    char    full[64];     /* names (epl_glob) of parameters that keep 32 bits; default "*stable.weight" (epl_stable_embedding) */
} epl_slot_opts;
enum { EPL_SLOT_WHOLE = -1 };

/* Parameters that are treated apart. */
typedef struct epl_parameter_group {
    const char *pattern;    /* of names, for epl_glob; the first group that matches counts */
    double      rate_scale; /* default 1 */
    double      rate;       /* a rate of their own, which the schedule leaves alone; default: rate_scale times that of all */
    double      decay;      /* default the optimizer's, on any rank; negative: none */
    bool        freeze;     /* not trained; gradients are not even computed, and batch norms keep their statistics (tune) */
    int         bits;       /* of its slots; default the optimizer's */
} epl_parameter_group;

/* The pattern (for a group that is frozen) of all that comes before the last `blocks` blocks of a network. Blocks
 * are the top scopes of one name with numbers, "stage1", "stage2", ... or "block1", ...: of several names the one
 * that holds most parameters. What stands between two blocks (a transition) goes with the second, what follows the
 * last (norm, classifier) is always trained, and with all blocks the stem is, too: the pattern is then "". NULL with
 * an error if there are fewer blocks. The caller owns it. */
EPL_API char *epl_finetune_pattern(const epl_graph *g, int blocks);

enum { EPL_MAX_CLIP_APART = 128 };

typedef struct epl_optimizer_opts {
    epl_optimizer_kind kind;
    double rate;       /* default 0.1 for sgd and lars, 0.01 for rmsprop and adagrad, 1 for adadelta, 0.0001 for lion, else 0.001 */
    double momentum;   /* sgd, rmsprop, lars: default 0; muon: 0.95 */
    bool   nesterov;   /* sgd */
    double beta1;      /* default 0.9 */
    double beta2;      /* default 0.999; rmsprop, lion: 0.99; adadelta: 0.9 */
    double epsilon;    /* default 1e-8; adagrad: 1e-10; lamb, adadelta: 1e-6 */
    double trust;      /* lars: default 0.001 */
    double most;       /* lamb, lars: instead of the trust ratio the step's length (before the rate) is cut to this many times the
                          parameter's norm, as 8-bit optimizers do it (1 for lamb, 0.02 for lars); 0: the trust ratio */
    double decay;      /* weight decay; default 0 */
    bool   decay_all;  /* default: parameters of rank 0 and 1 (biases, norms) do not decay */
    double clip_norm;  /* the gradient's norm over all parameters is at most this: Pascanu et al. 2013; 0: no limit */
    const char *const *clip_apart; /* patterns of names: parameters of each have a norm of their own, the others one of theirs */
    int    n_clip_apart;   /* at most EPL_MAX_CLIP_APART */
    double clip_value; /* each element of the gradient is at most this; 0: no limit */
    int    clip_percentile; /* each parameter's gradient is cut to the norm that this many of its last 100 did not exceed (the first one
                          stands for those that are not there yet); 0 or 100: no limit */
    bool   skip_zeros; /* where an element's gradient is 0, the element and its slots stay as they are, decay and averages of the
                          past included: for embeddings, most of whose rows no batch reads. (8-bit slots are coded again, as their
                          block's maximum moves.) */
    bool   skip_nonfinite; /* an update whose gradients' squared norm is no finite f32 changes no parameter and no slot (8-bit ones are
                          coded again), and is counted: epl_trainer_skipped. Reads all gradients once more. Default: such a gradient
                          makes its parameter NaN, so that the next loss ends the training with an error; of 8-bit slots the element
                          becomes 0, and the others of its block stay what they are */
    epl_slot_opts slots;
    double ema;        /* decay of averaged weights, kept as the states "ema.<name>"; 0: none. Step t (from 1) uses
                          min(ema, (1 + t) / (10 + t)). Follows float states (running statistics) too */
    const epl_parameter_group *groups;
    int    n_groups;
} epl_optimizer_opts;

EPL_API const char *epl_optimizer_name(epl_optimizer_kind kind);
EPL_API double      epl_optimizer_rate(const epl_optimizer_opts *o); /* with the default filled in */

/* "adamw:rate=1e-3,decay=0.05", "sgd:rate=0.1,momentum=0.9,nesterov=1,clip_norm=1,ema=0.999": the fields above; of
 * slots: "adam:bits=8, block=2048,min_size=4096,map=dynamic,stochastic=0,second_floor=0,full=*embedding*"
 * (block=tensor, map=linear). */
EPL_API bool epl_optimizer_parse(epl_context *ctx, const char *text, epl_optimizer_opts *out);

/* Adds the gradient of `loss` and the updates of every parameter of g that no group freezes. `rate` is an f32 scalar, usually
 * an input, so that it can change from step to step. New states are made by epl_model_init; averaged weights start as the
 * weights do (epl_average_begin). False with the graph failed. */
EPL_API bool epl_optimize(epl_graph *g, epl_value *loss, epl_value *rate, epl_optimizer_opts o);

/* The same with gradients that were made elsewhere. */
EPL_API bool epl_optimize_with(epl_graph *g, int n, epl_value *const *parameters, epl_value *const *gradients, epl_value *rate,
                               epl_optimizer_opts o);

/* The bytes of the slots and their maxima in w, and what they would be in 32 bits. */
typedef struct epl_slot_bytes {
    size_t bytes, full_bytes;
} epl_slot_bytes;
EPL_API epl_slot_bytes epl_slots_measure(const epl_weights *w);

/* Makes codes of the 32-bit slots of a checkpoint of training, where o asks for them. Returns how many; -1 with an error. A run
 * with such an optimizer goes on from it (the file no longer says which options it was made with). */
EPL_API int epl_slots_convert(epl_context *ctx, epl_weights *w, epl_slot_opts o);

EPL_API int epl_slot_zero(const char *name); /* the byte that stands for 0 in the 8-bit slot of this name */

/* Gives w the tensor "ema.<name>" for each parameter and float state of g that has none yet: a copy. */
EPL_API bool epl_average_begin(const epl_graph *g, epl_weights *w);

/* ---- losses by name --------------------------------------------------------------------------------------------------
 *   cross-entropy  labels [...] or probabilities [..., C]; smoothing
 *   mse l1 huber   delta (default 1)                         bce   of sigmoid(logits)
 *   focal          gamma (default 2), alpha (default 0.25)   dice  of sigmoid(logits), over space
 *   kl             against probabilities
 * Where a loss needs numbers and the target holds classes, it is made one-hot (or, with one channel, 0 and 1). */
typedef struct epl_loss_opts {
    const char *name; /* default "cross-entropy" */
    double      smoothing, gamma, alpha, delta;
} epl_loss_opts;

/* One number per sample (the mean over the rest), then the mean weighted with `weights` [N] (NULL: all 1). */
EPL_API epl_value *epl_loss(epl_graph *g, epl_value *logits, epl_value *target, epl_value *weights, epl_loss_opts o);
EPL_API epl_value *epl_weighted_mean(epl_graph *g, epl_value *per_sample, epl_value *weights); /* sum w l / sum w */

/* ---- the step's graph, and hooks --------------------------------------------------------------------------------------
 * Whatever acts on training (distillation, pruning, search) is a hook. Hooks keep what they carry in the weights. */
typedef struct epl_trainer epl_trainer;

/* The step while it is built: the network is there in training mode, the optimizer is not. A hook may add nodes, outputs and
 * tensors of `weights` ("train." is the trainer's), put another scalar in the place of `loss`, and read the input that
 * epl_train_step_index gives: the numbers of the batch's samples in the training data. */
typedef struct epl_train_step {
    epl_graph   *graph;
    epl_weights *weights;
    epl_value   *x, *target, *sample_weights; /* inputs: [N, ...], labels or numbers, [N] */
    epl_value   *logits;                      /* the network's output 0 */
    int          n_outputs;
    epl_value  **outputs;                     /* all of the network's */
    epl_value   *loss;
    const char  *frozen;                      /* names (epl_glob) of parameters that are not trained; NULL: none */
    epl_arena   *arena;                       /* lives as long as the step is built */
    struct epl_wanted_gradient *wanted;       /* what epl_train_step_gradient asked for */
    struct epl_step_links *links;             /* cuts and followers */
} epl_train_step;

EPL_API epl_value *epl_train_step_index(epl_train_step *s); /* i64 [N] */

/* A scalar that stands in the log beside the loss, under this name; it is the step program's output "log.<name>". */
EPL_API bool epl_train_step_log(epl_train_step *s, const char *name, epl_value *v);

/* The gradient of the loss by a value of the network, as the step program's output "gradient.<name>". It is kept until the end of
 * each step. With accumulation it is that of the batch. */
EPL_API bool epl_train_step_gradient(epl_train_step *s, const char *name, epl_value *v);

/* Gradients end at v, which its readers take through a StopGradient from now on: what comes before is a module of
 * its own, that other losses have to train. The step runs module by module, each forward and backward, so that only
 * one module's activations are alive at a time; clip_norm counts for each module. Returns what the readers take.
 * Cuts have to follow one another from x to the logits. */
EPL_API epl_value *epl_train_step_cut(epl_train_step *s, epl_value *v);

/* A link between tensors: at the end of each update dst := keep dst + (1 - keep) src, with src as it was before it,
 * and dst as the optimizer left it where dst is a parameter that is trained. dst is a parameter or a state, src
 * likewise, of one type and shape. */
EPL_API bool epl_train_step_follow(epl_train_step *s, epl_value *dst, epl_value *src, double keep);

/* More parameters that are not trained, and that checkpoints leave out: a teacher's. */
EPL_API bool epl_train_step_borrow(epl_train_step *s, const char *pattern);

typedef struct epl_train_hook {
    bool (*build)(void *user, epl_train_step *s);
    bool (*after_step)(void *user, epl_trainer *t, int64_t step);   /* after update `step`, from 1; may change weights */
    bool (*after_epoch)(void *user, epl_trainer *t, int64_t epoch); /* after validation of epoch `epoch`, from 1 */
    bool (*settled)(void *user,
                    const epl_trainer
                        *t); /* NULL: always. A validation before that is not the best, nor one without a new best */
    void    *user;
    uint64_t options; /* a hash (epl_hash) of what decides about the run and does not show in the step's graph; 0: nothing. A run goes on
                         from a checkpoint only with the same */
} epl_train_hook; /* each function may be NULL; false stops with the context's error */

/* Distillation, Hinton et al. 2015 (arXiv:1503.02531): the teacher runs in the same step, in inference mode;
 * loss = alpha T^2 KL(teacher || student) + (1 - alpha) loss. The teacher is borrowed for the life of the trainer. The hook's
 * memory is the caller's (epl_release(ctx, hook.user)); hook.user is NULL on failure.
 *
 * With `answers` the teacher does not run: its logits for every sample of the training data are looked up by the sample's number,
 * which saves its share of each step. They are what the teacher says of the sample as it is, so the student has to agree with it
 * under augmentation; mixup and cutmix, which make new samples, do not go together with it. */
typedef struct epl_distill_opts {
    double temperature; /* default 4 */
    double alpha;       /* default 0.9 */
    const epl_tensor *answers; /* [samples of the training data, ...logits], borrowed for the life of the trainer; NULL: none */
} epl_distill_opts;
EPL_API epl_train_hook epl_distill_hook(const epl_model *teacher, epl_distill_opts o);

/* The teacher's logits for every sample of d, prepared as the teacher says that its inputs have to be. The caller owns them. */
EPL_API epl_tensor *epl_distill_answers(const epl_model *teacher, epl_dataset *d, epl_progress progress);

/* Objectives: losses that look at more than each sample's logits and target, as hooks that put themselves in the
 * loss's place. The first four read embeddings, the network's output 0 as numbers [N, D] (a network of the zoo with
 * classes=0), in batches that a sampler put together; the rows below are those of z, d is Euclidean.
 *
 *   contrastive  pairs: d^2 of one class, max(0, margin - d)^2 of two; margin 1. Hadsell et al. 2006
 *   triplet      max(0, d(a, p)^2 - d(a, n)^2 + margin) of unit vectors; margin 0.2. Schroff et al. 2015 (arXiv:1503.03832), eq. (1)
 *   semi-hard    the same for each pair of one class in the batch, with the nearest of other classes beyond p, or else the farthest
 *                (ibid., sec. 3.2)
 *   episode      the mean of each class's first `shots` rows is its centre; the others: softmax over -d^2 to the centres. Snell et al.
 *                2017 (arXiv:1703.05175), eq. (2)
 *   cosface      of a network with head=cosine: scale (cos - margin) at the label; margin 0.35. Wang et al. 2018 (arXiv:1801.09414)
 *   arcface      scale cos(angle + margin) at the label; margin 0.5. Deng et al. 2019 (arXiv:1801.07698)
 *   prototype    of a network whose second output is the distances to its prototypes, and the third, if there is one, its input once
 *                more: class E + ae R + r1 R1 + r2 R2, with E the loss, R the summed square of what is missed, R1 the mean over
 *                prototypes of the least distance to a sample of the batch, R2 the mean over samples of the least one to a
 *                prototype. Li et al. 2018 (arXiv:1710.04806), eq. (7)
 *
 * They log what they are made of: "active", the share of triplets with a loss; "class", "ae", "r1", "r2". */
typedef struct epl_objective_opts {
    const char *name;          /* required */
    double      margin;        /* default as above */
    int         classes;       /* semi-hard, episode: in a batch; default 5 */
    int         shots;         /* episode: default 1 */
    double      weights[4];    /* prototype: class, ae, r1, r2; default 20, 1, 1, 1; negative: 0 */
} epl_objective_opts;

/* "triplet:margin=0.2", "episode:classes=5,shots=1", "prototype:class=20,ae=1,r1=1,r2=0" */
EPL_API bool epl_objective_parse(epl_context *ctx, const char *text, epl_objective_opts *out);

EPL_API epl_sampler epl_objective_sampler(epl_objective_opts o); /* of batches that it needs */

/* The hook's memory is the caller's (epl_release(ctx, hook.user)); hook.user is NULL after an unknown name. */
EPL_API epl_train_hook epl_objective_hook(epl_context *ctx, epl_objective_opts o);

/* The first four as nodes: z [N, D], labels [N] -> one number for each row (a pair's or triplet's stands at all of
 * its rows; rows without a loss of their own have 0). `active` may be NULL. */
EPL_API epl_value *epl_metric_loss(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active);

/* R1 and R2 of distances d [N, M]: [M] and [N]. Of equal distances the first gets the gradient. */
EPL_API epl_value *epl_prototype_r1(epl_graph *g, epl_value *d);
EPL_API epl_value *epl_prototype_r2(epl_graph *g, epl_value *d);

/* More losses of embeddings, one number for each row:
 *   supervised contrastive  z [N, D], labels [N]: with z of length 1, -mean over the others p of i's class of
 *                           log(exp(z_i z_p / T) / sum over a != i of exp(z_i z_a / T)); 0 without others. Khosla et al. 2020
 *                           (arXiv:2004.11362), eq. (2)
 *   similarity matching     x [N, ...], labels [N] of `classes`: the mean square of S(x) - S(one-hot), where S are cosines between samples
 *                           less the batch's mean; images [N, S..., C] with C > 3 give their deviation over space. Nokland & Eidnes
 *                           2019 (arXiv:1901.06656), sec. 2 */
EPL_API epl_value *epl_supcon_loss(epl_graph *g, epl_value *z, epl_value *labels, double temperature);
EPL_API epl_value *epl_similarity_loss(epl_graph *g, epl_value *x, epl_value *labels, int classes);

/* ---- local learning -------------------------------------------------------------------------------------------------------
 * The network is cut into modules that no gradient leaves; each but the last, which keeps the network's own head and loss, gets an
 * auxiliary head and a loss of its own. A step's memory is that of the largest module. What the hook adds ("local.<j>...", j from 1) is
 * trained and checkpointed with the rest, and is gone from the model when the trainer is freed; evaluation never sees it.
 *
 *   dgl      cross-entropy of the auxiliary classifier: Belilovsky et al. 2020 (arXiv:1901.08164)
 *   predsim  0.01 of that and 0.99 of similarity matching behind a 3x3 convolution
 *   infopro  a decoder's cross-entropy with the picture (each channel from 0 to 1 over the batch) times `reconstruction`, and that of the
 *            classifier times `classification`, both going from their first to their second value over the modules: Wang et al. 2021
 *            (arXiv:2101.10832)
 *   supcon   infopro with supervised contrast of the classifier's last 128 outputs
 *
 * Momentum auxiliary network, Su et al. 2024 (arXiv:2407.05623): before the heads stands a twin of the block behind the cut. EMA: a copy that
 * follows that block, forgetting a share `forget` of itself in each update. BLOCK: its result is added to that of a second copy, which
 * learns ("learnable bias"; the authors' code). PARAM: the following copy learns, too, and a bias is added to its channels (the paper's text). */
typedef enum epl_man { EPL_MAN_OFF = 0, EPL_MAN_EMA, EPL_MAN_BLOCK, EPL_MAN_PARAM } epl_man;

typedef struct epl_local_opts {
    int         modules;     /* K: cuts after floor(j n / K) of n blocks; K = n + 1 cuts behind the stem, too. 1: ordinary training */
    const char *cuts;        /* instead: the modules' last blocks by name, "stage1.unit2,stage2.unit1", in their order */
    const char *loss;        /* default "dgl" */
    const char *aux;         /* layers of the auxiliary classifier, "1c2f": 3x3 convolutions (the first one doubles c channels below 64
                                and halves the picture), then linear layers, hidden ones of 128. 0 to 3 c, 1 to 3 f; default "1c2f" */
    double      reconstruction[2], classification[2]; /* default 5 to 0, 0.5 to 0.5; negative: 0. A module with neither is refused */
    double      temperature; /* of supcon; default 0.07 */
    epl_man     man;
    double      forget;      /* 1 - momentum; default 0.005; negative: 0, the copies stay as they are */
    bool        fresh;       /* copies start at random, not as copies */
} epl_local_opts;

/* The hook's memory is the caller's (epl_release(ctx, hook.user)); hook.user is NULL after an unknown word. What the
 * texts point to has to live as long. It logs each module's loss as "local<j>". */
EPL_API epl_train_hook epl_local_hook(epl_context *ctx, epl_local_opts o);

/* The networks that are put behind a cut, for [N, ..., C] of `like`, and what a decoder has to restore; for counting. */
EPL_API epl_graph *epl_local_classifier(epl_context *ctx, epl_shape like, const char *aux, int outputs); /* logits */
EPL_API epl_graph *epl_local_decoder(epl_context *ctx, epl_shape like, epl_shape picture);               /* logits of [N, H, W, C] */

/* Networks with early exits (nn.h), Kaya et al. 2019 (arXiv:1810.07052), sec. 4.3. In epoch e of E, from 1, early exit i adds
 * tau_i(e) CE_i with tau_i(e) = min(C_i, 0.01 + e C_i / E).
 *
 *   sdn      loss + sum tau_i CE_i: the network and its exits from scratch
 *   ic-only  sum CE_i: the exits of a network that is trained and rests (train with the groups EPL_EXITS_ONLY_GROUPS)
 *   sum      loss + sum CE_i: Huang et al. 2018 (arXiv:1703.09844)
 *
 * What the exits add is logged as "exits". tau is a state, so a resumed run goes on with it. The hook's memory is the caller's
 * (epl_release(ctx, hook.user)); hook.user is NULL on failure. */
typedef enum epl_exits_objective { EPL_EXITS_SDN = 0, EPL_EXITS_ONLY, EPL_EXITS_SUM } epl_exits_objective;
typedef struct epl_exits_train_opts {
    epl_exits_objective objective;
    int           epochs;  /* E; sdn: required */
    const double *
        weights; /* C, one for each early exit, copied; default 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, of more than six exits i / (n + 1) */
} epl_exits_train_opts;
EPL_API bool           epl_exits_objective_from_name(epl_context *ctx, const char *name, epl_exits_objective *out);
EPL_API double         epl_exit_tau(double c, int64_t epoch, int epochs);
EPL_API epl_train_hook epl_exits_hook(const epl_model *m, epl_exits_train_opts o);
#define EPL_EXITS_ONLY_GROUPS { { .pattern = "exit*" }, { .pattern = "*", .freeze = true } }

typedef struct epl_step_opts {
    int64_t            batch;        /* required */
    epl_loss_opts      loss;
    epl_optimizer_opts optimizer;
    epl_dtype          target_dtype; /* default i64 */
    epl_shape          target_shape; /* of a batch; default: the logits' without channels, with float targets with them */
    int                accumulate;   /* batches per update; default 1 */
    epl_norm_modes     norms;        /* of batch norms (passes.h); DEPLOY is refused: it changes the model */
    const epl_train_hook *hooks;
    int                n_hooks;
    size_t             memory_limit; /* of the step's program */
} epl_step_opts;

/* What a training step of the model takes, before anything runs. */
EPL_API bool epl_train_memory(const epl_model *m, epl_step_opts o, epl_program_memory *out);

/* What the mode tune would do to the step: adds each pair of layer and norm to *pairs (NULL: not wanted), folded or
 * skipped with the reason, and sets *bytes to what the plan of mode eval takes beyond that of tune. o.norms.pattern
 * chooses; its mode is not read. */
EPL_API bool epl_tune_saves(const epl_model *m, epl_step_opts o, epl_fold_report *pairs, size_t *bytes);

/* The step as a graph, for programs and for the compiler: inputs "x", "target", "weights" [N], "rate"; outputs "logits",
 * ("logits1", ... for further outputs of the network), "loss".
 * `weights` gets the states it needs. With accumulate > 1, *update receives the second graph (with the input "rate"), run after
 * `accumulate` runs of the first (NULL otherwise; `update` itself may then be NULL). The caller owns both. */
EPL_API epl_graph *epl_train_graph(const epl_model *m, epl_weights *weights, epl_step_opts o, uint64_t seed, epl_graph **update);

/* ---- evaluation -------------------------------------------------------------------------------------------------- */
typedef struct epl_metrics {
    int64_t count;          /* samples */
    double  loss;           /* mean over samples; NaN without data */
    double  accuracy, top5; /* of classes (per pixel where y is one); NaN where y is numbers */
    double  mean_iou;       /* of classes that occur; NaN where y is numbers */
} epl_metrics;

typedef struct epl_evaluation {
    epl_metrics metrics;
    int         n_classes;
    double     *confusion; /* [n_classes, n_classes], rows are the truth; NULL where y is numbers or classes exceed 4096 */
    epl_tensor *logits;    /* [count, ...] where asked for */
} epl_evaluation;

typedef struct epl_evaluate_opts {
    int64_t       batch;   /* default: what the network's input was made for, 64 if it takes any; at most the data set's size */
    const char   *augment; /* default: what the model says it needs (metadata "espalier.augment"), usually a normalisation */
    epl_loss_opts loss;
    bool          keep_logits;
    bool          averaged; /* with the weights "ema.<name>" */
    epl_progress  progress;
} epl_evaluate_opts;

EPL_API bool epl_evaluate(const epl_model *m, epl_dataset *d, epl_evaluate_opts o, epl_evaluation *out);
EPL_API void epl_evaluation_release(epl_context *ctx, epl_evaluation *e);

/* The words of an augmentation that always do the same (normalise, resize, centre-crop, gray, rgb): what evaluation needs. The
 * caller owns the text. */
EPL_API char *epl_augment_fixed_words(epl_context *ctx, const char *words);

/* ---- the loop ---------------------------------------------------------------------------------------------------- */
typedef struct epl_epoch_record {
    int64_t epoch, step; /* from 1; updates made until its end */
    double  rate;        /* of its last step */
    double  loss, accuracy;                       /* of training, while it went on (with augmentation and dropout) */
    double  val_loss, val_accuracy, val_top5;     /* NaN where not measured */
    double  seconds;                              /* training and validation */
} epl_epoch_record;

/* Adds the record to an array of w: an object with the fields above by name, null for NaN. */
EPL_API void epl_epoch_record_put(epl_json_writer *w, const epl_epoch_record *r);
/* The reverse. False, without an error, if there are no epoch and step. */
EPL_API bool epl_epoch_record_get(const epl_json *j, epl_epoch_record *r);

typedef enum epl_monitor { EPL_MONITOR_ACCURACY = 0, EPL_MONITOR_LOSS } epl_monitor;

typedef struct epl_trainer_opts {
    int                epochs;     /* default 1 */
    int64_t            batch;      /* default 64, at most the data set's size */
    epl_optimizer_opts optimizer;
    epl_schedule_opts  schedule;   /* positions in epochs */
    epl_loss_opts      loss;
    epl_norm_modes     norms;      /* of batch norms (passes.h); DEPLOY folds them in the model before the first step */
    const char        *augment;    /* words of epl_augment_parse; its fixed words are also used for validation */
    epl_sampler        sampler;    /* of the training part; default: every sample once an epoch */
    uint64_t           seed;       /* of order, augmentation, dropout, and of weights that are missing */
    int                accumulate; /* batches per update; an epoch's last update takes what is left; default 1 */
    int                n_workers;  /* of the loader; default 1 */
    int                val_every;  /* epochs; default 1; the last epoch always */
    epl_monitor        monitor;    /* what is best; numbers as targets: always the loss */
    int                patience;   /* stop after so many validations without a new best; 0: never */
    bool               restore_best; /* at the end the model takes the weights of the best validation */

    const char *checkpoint;          /* a folder: last.safetensors to go on from, best.safetensors; NULL: none */
    double      checkpoint_every_s;  /* besides the end of each epoch; default 60 */
    int64_t     checkpoint_every;    /* the same in updates; default: none */
    bool        resume;              /* from the folder's last.safetensors, where it exists */

    const char *log;                 /* JSON lines: a line each `log_every` updates and one for each epoch */
    int         log_every;           /* default 50 */
    const char *events;              /* a TensorBoard event file, its name contains "tfevents" */

    epl_progress progress;           /* done and total count samples of the whole run */
    const volatile sig_atomic_t *stop; /* set it, and the run ends after the step with a checkpoint and EPL_ERR_INTERRUPTED */
    size_t       memory_limit;       /* of the step, see epl_program_opts */

    const epl_train_hook *hooks;
    int                   n_hooks;
} epl_trainer_opts;

/* Everything named in the options but patterns and names is borrowed for the life of the trainer, as are model and data sets;
 * `val` may be NULL. The model's missing weights are initialised. Memory for the whole run is taken here. */
EPL_API epl_trainer *epl_trainer_new(epl_model *m, epl_dataset *train, epl_dataset *val, epl_trainer_opts o);

/* Trains to the end. Afterwards the model holds the averaged weights where ema is on (or the best: restore_best), and its
 * metadata "espalier.augment" says how inputs have to be prepared. False with EPL_ERR_INTERRUPTED if it was asked to stop. A
 * loss that is not a finite number ends the run with an error, and leaves the last checkpoint. */
EPL_API bool epl_trainer_run(epl_trainer *t);
EPL_API void epl_trainer_free(epl_trainer *t); /* takes the trainer's states out of the model's weights again */

EPL_API const epl_epoch_record *epl_trainer_history(const epl_trainer *t, int *n);
EPL_API int64_t            epl_trainer_updates(const epl_trainer *t);       /* made so far */
EPL_API int64_t            epl_trainer_skipped(const epl_trainer *t);       /* of those, by skip_nonfinite */
EPL_API double             epl_trainer_loss(const epl_trainer *t);          /* of the batch that the last step saw */
EPL_API int64_t            epl_trainer_total_updates(const epl_trainer *t); /* of the whole run */
EPL_API epl_model         *epl_trainer_model(const epl_trainer *t);
EPL_API epl_program       *epl_trainer_program(const epl_trainer *t);       /* of the step: memory, profile */
EPL_API double             epl_trainer_best(const epl_trainer *t);          /* the monitored value; NaN before any */

#ifdef __cplusplus
}
#endif
#endif
