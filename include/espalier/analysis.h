/* analysis: what networks do - beside each other, with classes that they never saw, and why - and how they start. */
#ifndef ESPALIER_ANALYSIS_H
#define ESPALIER_ANALYSIS_H

#include <espalier/compress.h>
#include <espalier/nn.h>
#include <espalier/report.h>
#include <espalier/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what limits a network's speed --------------------------------------------------------------------------------------------
 * The waterline of Lavin 2024 (arXiv:2404.03617), Williams et al.'s roofline (2009) for a sequence of kernels: each node of the graph, as
 * programs for inference fuse it, takes at least the time of its multiply-adds and at least that of its bytes. A node is under water if its bytes
 * take longer. */
typedef struct epl_waterline {
    int    n_kernels, n_under_water;
    double macs, bytes;
    double ideal_s;   /* macs / peak */
    double bound_s;   /* the sum over nodes of the longer of both times; at least ideal_s */
    double fused_s;   /* the same if all nodes were one and moved the graph's inputs, outputs, and weights alone */
    double efficiency; /* ideal_s / bound_s */
} epl_waterline;

/* peak in multiply-adds a second, bandwidth in bytes a second, both above 0; the graph as it stands, for its batch. */
EPL_API bool epl_waterline_of(const epl_graph *g, double peak, double bandwidth, epl_waterline *out);

/* Measured: latency = multiply-adds / (peak times efficiency), ibid. The network as its graph is bound, on random
 * numbers, with the context's threads; the median of as many runs as fit into budget_s, at least 5. block_bytes as
 * in epl_program_opts. */
typedef struct epl_efficiency {
    double macs, ideal_s, measured_s;
    double efficiency; /* ideal_s / measured_s */
} epl_efficiency;

EPL_API bool epl_efficiency_of(const epl_model *m, double peak, double budget_s, size_t block_bytes, epl_efficiency *out);

/* The efficiency gap: for each network a line at its height (accuracy, say; `label` names it) from the ideal to the
 * measured time, on a logarithmic axis: its length is log(1 / efficiency). The caller owns the plot. */
EPL_API epl_plot *epl_efficiency_plot(epl_context *ctx, const char *const *names, const epl_efficiency *e, const double *heights,
                                      const char *label, size_t n);

/* ---- early exits as they are used --------------------------------------------------------------------------------------------
 * Classifiers, rules and costs: nn.h, "early exits". */
typedef struct epl_exit_opts {
    int64_t      batch;   /* default 64 */
    const char          *
        augment; /* default: what the model says it needs. Its last word may be a normalisation, which then belongs to the network */
    epl_progress progress;
} epl_exit_opts;

/* What all classifiers say to images x [n, ...], f32, as they are before the normalisation: f32 [exits, n, classes].
 * The caller owns it. */
EPL_API epl_tensor *epl_exit_logits(const epl_model *m, const epl_tensor *x, epl_exit_opts o);

/* The same of all samples of d, with their labels, i64 [n]. The caller owns both. */
EPL_API epl_tensor *epl_exit_answers(const epl_model *m, epl_dataset *d, epl_exit_opts o, epl_tensor **labels);

typedef struct epl_exit_report {
    int      n_exits;
    int64_t  n;
    double   accuracy;       /* of what is named */
    double   mean_exit;      /* that speaks, counted from 0 */
    double   mean_macs;      /* a sample about which no exit is sure costs the whole network, whoever speaks for it in the end */
    double  *exit_accuracy;  /* [exits]: if all left there */
    double  *speaks, *leave; /* [exits]: shares of the samples for which it speaks, and which compute no further */
    double  *macs;           /* [exits]: epl_exit_macs */
    int     *taken, *computed; /* [n], as epl_exit_decide says */
    int64_t *predicted;      /* [n] */
    epl_arena *arena;        /* private */
} epl_exit_report;

/* Of logits that are there, for the network that they are of; labels [n], i64. */
EPL_API bool epl_exit_report_of(const epl_graph *g, const epl_tensor *logits, const epl_tensor *labels,
                                epl_exit_rule rule, epl_exit_report *out);
EPL_API void epl_exit_report_release(epl_exit_report *r); /* accepts a zero value */

/* Thresholds, one for each exit but the final, for a mean cost: budgeted batch classification, Huang et al. 2018
 * (arXiv:1703.09844), sec. 4.2. Exit k, from 1, takes the share q^k (normalised) of the samples: the surest of those
 * that are left. `logits` are those of samples that stand for what will come. The second finds the largest q whose
 * mean cost, in multiply-adds, is within the budget, or fails with EPL_ERR_LIMIT. Use them in a rule with `last`. */
EPL_API bool epl_exit_thresholds(epl_context *ctx, const epl_tensor *logits, double q, double *thresholds);
EPL_API bool epl_exit_budget(const epl_graph *g, const epl_tensor *logits, double budget, double *thresholds);

/* ---- attacks --------------------------------------------------------------------------------------------------------------------
 * Adversarial images against any network that classifies images in [0, 1]: the normalisation, if the model needs one, is part of the
 * network, so that distances are those of the images. Batch normalisation keeps its running statistics.
 *
 *   fgsm   x' = x + eps sign(dL/dx): Goodfellow et al. 2015 (arXiv:1412.6572)
 *   pgd    x' = clip(x' + step sign(dL/dx')), into eps around x and into [0, 1]: Madry et al. 2018 (arXiv:1706.06083)
 *   early  every early exit is wrong while the final classifier says what it said: Adam on w, x' = (tanh w + 1) / 2, of
 *          J = c (-alpha sum_j relu(p_n[y] - p_n[j]) + sum_{i<n} p_i[y]) + |norm(x') - norm(x)|^2
 *          with p_i the softmax of classifier i and y the final classifier's answer to x, until it is so, but not before iteration `least`
 *
 * L is the cross-entropy with the label: the sum over all classifiers, the final one's, or that of the classifier that a rule takes. */
typedef enum epl_attack_kind { EPL_ATTACK_FGSM = 0, EPL_ATTACK_PGD, EPL_ATTACK_EARLY } epl_attack_kind;
typedef enum epl_attack_loss { EPL_ATTACK_SUM = 0, EPL_ATTACK_FINAL, EPL_ATTACK_TAKEN } epl_attack_loss;

typedef struct epl_attack_opts {
    epl_attack_kind kind;
    epl_attack_loss loss;
    double   eps;          /* fgsm, pgd: the largest change of a pixel, at least 0 */
    int      steps;        /* pgd: default 20; early: at most, default 1000 */
    double   step_size;    /* pgd: default 2/255; early: Adam's rate, default 0.01 */
    bool     random_start; /* pgd: uniform in eps around x; early: w uniform in [0, 1), as the authors have it (default: at x, with a
                              little noise) */
    double   c, alpha;     /* early: default 50, 1 */
    int      least;        /* early: default 200 */
    uint64_t seed;         /* of the start */
    epl_exit_rule rule;    /* how the network is deployed: for EPL_ATTACK_TAKEN and the reports */
    epl_exit_opts run;
} epl_attack_opts;

EPL_API bool epl_attack_kind_from_name(epl_context *ctx, const char *name, epl_attack_kind *out); /* "fgsm", "pgd", "early" */
EPL_API bool epl_attack_loss_from_name(epl_context *ctx, const char *name, epl_attack_loss *out); /* "sum", "final", "taken" */

/* Adversarial twins of x [n, ...] in [0, 1], f32, with labels [n], i64: f32 [n, ...]. *backward (may be NULL)
 * receives the number of gradients that were computed for one image, on average. The caller owns the result. */
EPL_API epl_tensor *epl_attack_images(const epl_model *m, const epl_tensor *x, const epl_tensor *labels,
                                      epl_attack_opts o, double *backward);

typedef struct epl_attack_result {
    int64_t     n;
    epl_tensor *x, *adversarial, *labels; /* f32 [n, ...] in [0, 1]; i64 [n] */
    epl_tensor *logits, *attacked_logits; /* [exits, n, classes] */
    epl_exit_report clean, attacked;
    double success;        /* fgsm, pgd: the share of samples that were right (where they left) and are not any more; early: the share of
                              all samples of which every early exit is wrong about y and the final classifier still says y */
    double wrong_exit;     /* early: the share whose class, where they leave, is not y while the final classifier says y */
    bool  *fooled;         /* [n]: counted in `success` */
    double linf, l2, rms;  /* change of a pixel: the largest; of an image: mean Euclidean length, mean root of the mean square */
    double exit_shift;     /* mean exit attacked less clean */
    double cost_ratio;     /* mean multiply-adds attacked / clean */
    double backward, seconds; /* gradients for one image; time of the attack */
    epl_context *ctx;
} epl_attack_result;

/* All samples of d. Fails with EPL_ERR_UNSUPPORTED if no gradient reaches any image: an integer-quantised network, say. */
EPL_API bool epl_attack(const epl_model *m, epl_dataset *d, epl_attack_opts o, epl_attack_result *out);
EPL_API void epl_attack_result_release(epl_attack_result *r); /* accepts a zero value */

/* out [n, n]: row s, column t is the share of samples that both networks got right, each where it lets them leave,
 * of which t is wrong about the images made on s; the diagonal is an attack on oneself. Of the early attack: the
 * share of all samples of which t's early exits all leave t's answer while its final classifier stands by it; NaN
 * where a network has no early exit. Images are prepared once, as the first network says, but each normalises for
 * itself. rules [n], or NULL: o.rule for all. */
EPL_API bool epl_transfer(int n, const epl_model *const *models, const epl_exit_rule *rules, epl_dataset *d,
                          epl_attack_opts o, double *out);

/* ---- cycles of a training step on an accelerator ---------------------------------------------------------------------------------
 * A model of the accelerator SAT of Fang et al. 2023 (arXiv:2309.13015), which trains with N:M sparse weights (epl_nm_opts in compress.h). For each
 * convolution and linear layer, of n output positions (all of the batch), C inputs, M outputs, kernel k:
 *
 *   product(P, Q, K, d)  max(ceil(P / rows) ceil(Q / columns) ceil(K d) + rows + columns - 2 + pipeline, bytes / bytes_per_cycle)
 *   FF  product(n, M, C k)    BP  product(n, C, M k), not of the first layer    WU  product(C k, M, n), always dense
 *   bytes         2 (input + output elements) + 2 a weight; of a sparse weight 2 + ceil(log2 m) / 8
 *   update        max(weights / lanes, 20 weights / bytes_per_cycle)
 *   element-wise  12 output elements / bytes_per_cycle: normalisation and activation, both ways; not of the last layer
 *   pruning       where masks are not made together with the update (no_pregen): masks times weights / lanes; sdgp: outputs / lanes
 *
 * d is n / m in products that the mode makes sparse. Groups of a grouped convolution follow each other. The sizes and the bandwidth are
 * assumptions of ours, with which the mean over four networks comes near the published one: what comes out is consistent with the paper, no
 * evidence for it. */
typedef struct epl_sat_opts {
    int         n, m;                /* required; n == m: dense */
    epl_nm_mode mode;
    const char *skip;                /* layers that stay dense; default "first,last"; those with fewer than m channels do, too */
    int64_t     batch;               /* default 64 */
    int         rows, columns;       /* of the array; default 32 each */
    int         pipeline;            /* of an element's adder; default 8 */
    int         lanes;               /* of sorters and of the update; default 32 */
    double      bytes_per_cycle;     /* of memory; default 64 */
    bool        no_interleave;       /* sparse products wait for the adder: K counts `pipeline` times */
    bool        no_pregen;
} epl_sat_opts;

enum { EPL_SAT_FF, EPL_SAT_BP, EPL_SAT_WU, EPL_SAT_UPDATE, EPL_SAT_ELEMENTWISE, EPL_SAT_PRUNING, EPL_SAT_PHASES };

typedef struct epl_sat_layer {
    char  *name; /* the weight's */
    bool   sparse;
    double cycles[EPL_SAT_PHASES], dense_cycles[EPL_SAT_PHASES];
    double macs, dense_macs; /* of the three products */
} epl_sat_layer;

typedef struct epl_sat_result {
    epl_sat_layer *layers;
    int            n;
    double         cycles, dense_cycles;
} epl_sat_result;

/* Release what was filled. The graph as it is bound: positions are those of its batch, times batch / its batch. */
EPL_API bool epl_sat_simulate(epl_graph *g, epl_sat_opts o, epl_sat_result *out);
EPL_API void epl_sat_release(epl_context *ctx, epl_sat_result *r);

/* A row for each layer and one for all; the caller owns the table. Utilization: multiply-adds that count, a cycle of
 * the products and element of the array. */
EPL_API epl_table *epl_sat_report(epl_context *ctx, const epl_sat_result *r, epl_sat_opts o);

/* ---- the difference of two models -----------------------------------------------------------------------------------
 * Structure: operators with their attributes, results and inputs, up to names and up to the order of independent ones. What
 * the outputs do not need is not looked at; the two inputs of a commutative operator may be exchanged; real attributes are
 * equal if they are the same as f32, which is what ONNX keeps of them.
 *
 * Weights: parameters and states belong together that stand at the same place of the structure, or else have the same name.
 *
 * Outputs: both networks run on the same inputs, as programs. Inputs and outputs belong together by name, or else by their
 * order. Where one network has channels first and the other channels last, tensors are transposed for it.
 *
 * Layers: where outputs differ, every value of a's root graph is compared with the one of b at the same place, or else with one
 * of the same elements, in the same order or with channels moved. The first layer where they part is the first, in the order
 * of execution, that has no counterpart and from which no value follows that has one. */
typedef struct epl_diff_opts {
    const epl_weights *inputs;    /* tensors by the names of a's inputs; NULL: drawn with the seed */
    uint64_t           seed;
    double             tolerance; /* of weights, outputs and layers, relative to the largest element; default 1e-4 */
    bool               no_run;    /* structure and weights alone */
    bool               outputs_only;
    bool               layers;    /* compare layers even if the outputs agree */
} epl_diff_opts;

typedef struct epl_diff_place { /* an operator, or NULL texts: there is none */
    const char *op, *number, *scope; /* "Conv", "%12" as epl_graph_print numbers it (within a region "%3/%12"), "stage1.conv" */
} epl_diff_place;

typedef struct epl_diff_node { /* an operator that differs */
    epl_diff_place a, b;
    const char    *what; /* "strides=[1, 1] -> strides=[2, 2]; input 1: ..."; "" if it stands on one side only */
} epl_diff_node;

typedef enum epl_diff_state {
    EPL_DIFF_EQUAL,     /* to the bit */
    EPL_DIFF_CLOSE,     /* within the tolerance */
    EPL_DIFF_FAR,
    EPL_DIFF_MISSHAPEN, /* other shape or element type */
    EPL_DIFF_MISSING    /* on one side only */
} epl_diff_state;

typedef struct epl_diff_tensor { /* a parameter, a state or an output */
    const char    *a, *b;           /* names; NULL: there is none */
    const char    *type_a, *type_b; /* "f32[3, 3, 16, 16]"; NULL likewise */
    epl_diff_state state;
    epl_difference difference;      /* of equal shapes */
} epl_diff_tensor;

typedef struct epl_diff_layer { /* a value of a, and the one of b that it belongs to */
    epl_diff_place a, b;
    const char    *type; /* of a's */
    epl_diff_state state; /* MISSING: no value of b belongs to it */
    epl_difference difference;
} epl_diff_layer;

typedef struct epl_diff {
    bool   same_structure, same_weights, same_outputs; /* within the tolerance */
    int    n_operators_a, n_operators_b; /* that were compared */
    int    n_nodes;   epl_diff_node   *nodes;   /* operators that differ, in the order of execution */
    int    n_weights; epl_diff_tensor *weights; /* all, in a's order; then b's that a lacks */
    int    n_outputs; epl_diff_tensor *outputs; /* all */
    int    n_layers;  epl_diff_layer  *layers;  /* none if outputs agree, unless they were asked for */
    int    first;     /* of the layers: where they part; -1: nowhere */
    const char *not_run; /* why the networks were not run on the same inputs, or NULL */
    const char *remarks; /* of tensors that were transposed, one a line; or "" */
} epl_diff;

/* The caller owns the result. Both models belong to one context. NULL if a network cannot be run; differences are no failure. */
EPL_API epl_diff *epl_model_diff(const epl_model *a, const epl_model *b, epl_diff_opts o);
EPL_API void      epl_diff_free(epl_diff *d); /* accepts NULL */
EPL_API bool      epl_diff_is_empty(const epl_diff *d); /* everything that was compared is the same */

/* The same by structure alone; where the graphs part is left in the context as an error (EPL_ERR_SHAPE). For tests of what should
 * come back as it was. */
EPL_API bool epl_graph_same(const epl_graph *a, const epl_graph *b);

/* ---- features ---------------------------------------------------------------------------------------------------------
 * What a network computes at a layer. A layer is an output by its name, or a scope ("stage2.unit1"), of which the last value is
 * meant; NULL: what the last linear layer reads, or the first output. */
EPL_API epl_value *epl_layer_value(const epl_graph *g, const char *name); /* NULL with an error if there is none */

typedef struct epl_features_opts {
    const char  *layer;
    int64_t      batch;   /* default 64, at most the data set's size */
    const char  *augment; /* default: what the model says it needs */
    bool         average; /* over space: [n, C] */
    epl_progress progress;
} epl_features_opts;

/* f32 [n, ...] of the data set's n samples, in order. The caller owns it. */
EPL_API epl_tensor *epl_features(const epl_model *m, epl_dataset *d, epl_features_opts o);

/* How far apart two domains are for a network, layer by layer: Pan et al. 2018 (arXiv:1807.09441), sec. 3.1.
 * Channels are taken as normally distributed over samples and space; D = KL(a || b) + KL(b || a), the mean over
 * channels. */
EPL_API double epl_gaussian_divergence(double mean_a, double var_a, double mean_b, double var_b);

typedef struct epl_divergence_result {
    int          n;
    const char **names; /* scopes */
    double      *values;
    epl_arena   *arena; /* private */
} epl_divergence_result;

/* Of the last image of each block (the first two parts of a scope), or of each scope that `layers` (epl_glob) matches. Whole
 * batches alone count; o.layer and o.average are not looked at. */
EPL_API bool epl_divergence(const epl_model *m, epl_dataset *a, epl_dataset *b, const char *layers, epl_features_opts o,
                            epl_divergence_result *out);
EPL_API void epl_divergence_release(epl_divergence_result *r);

/* ---- channel gates: what they save ------------------------------------------------------------------------------------------------
 * Of a network with gates (morph.h), or, as a forecast, of one without: as if gates foresaw their labels without error. A sample's
 * multiply-adds of a convolution are those of its kept channels times its active inputs: behind a residual sum channels that are active on
 * either side, of a depthwise convolution those wanted on either side. Gates and all other layers count in full. */
typedef struct epl_gates_opts {
    bool        forecast;
    double      mass, uniform;  /* of labels; without a forecast: for `agreement`, 0: not asked */
    const char *layers;         /* of a forecast, as in epl_gate_opts */
    bool        after_add;      /* likewise */
    epl_features_opts run;      /* batch, augment, progress */
} epl_gates_opts;

typedef struct epl_gate_layer { /* a convolution; means over samples */
    const char *name;           /* of its weight */
    int64_t     in, out;        /* channels */
    bool        gated;
    double      macs, executed, gate_macs;
    double      kept;           /* share of its output channels */
    double      least10, most10; /* a tenth of the samples keeps at most, at least so many */
    double      agreement;      /* share of masks that are as the labels are */
    double     *by_class;       /* [n_classes]: kept; NaN for a class without samples */
} epl_gate_layer;

typedef struct epl_gates_report {
    int             n, n_classes;
    epl_gate_layer *layers;     /* in order */
    double          macs, executed, gate_macs,
        saved;                  /* of the whole network without gates; with them, their own included; saved by masks */
    double          agreement;  /* mean of gates; NaN if not asked */
    epl_arena      *arena;      /* private */
} epl_gates_report;
EPL_API bool epl_gates_measure(const epl_model *m, epl_dataset *d, epl_gates_opts o, epl_gates_report *out);
EPL_API void epl_gates_report_release(epl_gates_report *r); /* accepts a zero value */

/* ---- retrieval ----------------------------------------------------------------------------------------------------------
 * Search by features: Kalra et al. 2020 (arXiv:1911.08748). A bag (a slide) is a run of rows (its tiles). The distance from bag Q to
 * bag S is the median over q in Q of the least distance from q to S; it is not symmetric. Barcodes: bit i of a row says whether
 * feature i + 1 is at least feature i; their distance is Hamming's. */
typedef enum epl_feature_distance { EPL_DISTANCE_BARCODE = 0, EPL_DISTANCE_EUCLIDEAN, EPL_DISTANCE_COSINE } epl_feature_distance;

typedef struct epl_bags {
    int64_t        n;
    const int64_t *first; /* [n + 1]: bag i has the rows first[i] to first[i + 1] - 1; it may be empty */
    const int64_t *label; /* [n] */
    const int64_t *group; /* [n]: bags of one group (a patient) do not answer each other; NULL: each is its own */
    const int64_t *site;  /* [n], or NULL */
} epl_bags;

EPL_API epl_tensor *epl_barcodes(epl_context *ctx, const epl_tensor *features); /* [n, D] -> u8 [n, D - 1] of 0 and 1 */
EPL_API bool epl_bag_distance(epl_context *ctx, const epl_tensor *features, const epl_bags *bags, int64_t a, int64_t b,
                              epl_feature_distance kind, double *out);

typedef struct epl_retrieve_opts {
    epl_feature_distance distance;
    int                  top;          /* the nearest so many vote; default 3; of equal votes the nearest decides */
    bool                 within_sites; /* search among bags of the same site alone */
} epl_retrieve_opts;

typedef struct epl_retrieval {
    int64_t  n_classes, asked; /* bags with an answer */
    double   accuracy, macro_f1;
    double  *f1;               /* [n_classes]; NaN for a class that neither is there nor is said */
    int64_t *predicted;        /* [bags]; -1: nobody to ask */
    int64_t *nearest;          /* [bags, top]: the answers by distance; -1 where there are fewer */
    int      top;
} epl_retrieval;

/* Asks every bag about all others (leave one group out). */
EPL_API bool epl_retrieve(epl_context *ctx, const epl_tensor *features, const epl_bags *bags, epl_retrieve_opts o, epl_retrieval *out);
EPL_API void epl_retrieval_release(epl_context *ctx, epl_retrieval *r);
/* ---- filters: where they come from, and what they are like --------------------------------------------------------------------
 * Hirani & Abdulla 2024, "On filter design in deep convolutional neural network", names the alternatives; the formulas are those of the
 * papers named here. Filters are the weight of a convolution, [kernel, kernel, channels, number].
 *
 * drawn      constant[:0.01] zero normal[:0.01] lecun lecun-2.4 xavier[:gain] xavier-normal[:gain] he[:slope] he-uniform
 *            trunc-normal[:0.02] orthogonal[:gain]
 *            (lecun: N(0, 1/fan_in); lecun-2.4: U(+-2.4/fan_in); he: N(0, 2 / ((1 + slope^2) fan_in)); any rank)
 * computed   delta-orthogonal (Xiao et al. 2018): an orthogonal matrix at the centre tap
 *            gabor: 8 angles, 4 wavelengths, 2 phases, without their means;   dct: cosine basis in zig-zag order
 * learned    from patches of a data set: patches, pca, kmeans, kmeans-plain (not whitened), kmeans-euclidean, conv-kmeans, som, hebb-wta,
 *            sanger, sparse, ae, rbm; hebb diverges, and is there for comparison
 * file:PATH  a bank that was saved: the tensor "filters", or the only one
 *
 * Computed and learned filters have the length sqrt 2 each, so that white input is answered as by `he`; two-dimensional ones are repeated
 * over the channels, divided by sqrt channels. What a bank lacks is filled with `he`. Patches lose their mean and are divided by their
 * standard deviation, and are whitened (ZCA) for the learners that need it; the whitening is then folded into the filters, because the
 * network sees plain pixels. */
typedef struct epl_filters_opts {
    const char  *method;     /* required: "gabor", "normal:0.01", ... */
    int          kernel, channels, number; /* kernel and number required; channels default 1 */
    uint64_t     seed;
    epl_dataset *data;       /* learned: pictures to take patches of */
    int64_t      patches;    /* default 10000; conv-kmeans: windows of twice the size, default a tenth of it */
    int          rounds;     /* passes over them; default 15 */
    bool         no_whitening, no_fold, no_fill;
    bool
        even; /* one factor for the whole bank makes its mean square answer to patches of `data`, as they are, that of `he`; default:
                                each filter has its length. Answers of one length differ in strength, as pictures are no white noise */
} epl_filters_opts;
EPL_API epl_tensor *epl_filters_make(epl_context *ctx, epl_filters_opts o); /* the caller owns it */

/* The methods, for lists and --help. Static. */
EPL_API int         epl_filters_method_count(void);
EPL_API const char *epl_filters_method_at(int i);

/* The learners on vectors x [n, p] of any kind: `number` filters [number, p], or fewer where there are no more (pca,
 * sanger). `method` as above, without whitening; also "oja", the first filter of sanger. With `group`, rows belong
 * together in so many, and kmeans takes the best of each. */
typedef struct epl_learn_opts {
    const char *method;
    int         number;
    int         rounds;     /* default 15 */
    int         group;      /* default 1 */
    double      conscience; /* hebb-wta: weight of what was won beyond the share; default 0.02; below 0: none */
    uint64_t    seed;
} epl_learn_opts;
EPL_API epl_tensor *epl_filters_learn(epl_context *ctx, const epl_tensor *x, epl_learn_opts o);

/* ZCA: matrix = U (S + epsilon)^(-1/2) U^T of the covariance U S U^T of x [n, p], which is symmetric. The caller
 * owns the matrix [p, p] and the mean [p]. Rows become (row - mean) matrix. */
EPL_API bool epl_whitening(epl_context *ctx, const epl_tensor *x, double epsilon, epl_tensor **mean, epl_tensor **matrix);

/* What a bank is like. Coherence: |<w_i, w_j>| of normalised filters, over pairs; of shifted ones: the largest over
 * all shifts, and of these the mean over filters of the most similar other one. Effective rank: exp of the entropy
 * of the squared singular values, Roy & Vetterli
 * 2007. NaN where it needs two filters. */
typedef struct epl_filters_measures {
    double coherence_max, coherence_mean, shift_coherence;
    double effective_rank, spectral_norm;
    double orthogonality; /* |W W^T - I| / sqrt number, of normalised filters (W^T W where there are more of them than numbers) */
    double dc;            /* mean share of the energy that is the mean */
    double smoothness;    /* mean total variation / length: low is smooth */
    double bandwidth;     /* mean share of frequencies that hold half of a filter's energy */
} epl_filters_measures;
EPL_API bool epl_filters_measure(epl_context *ctx, const epl_tensor *filters, epl_filters_measures *out);

/* The strongest frequency of filter j, in cycles per pixel and degrees [0, 180) of its wave's direction, from the
 * |FFT| padded to 32 x 32 (the sum over channels; the mean left out). */
EPL_API bool epl_filters_wave(epl_context *ctx, const epl_tensor *filters, int j, double *cycles, double *degrees);

/* Filter j as a picture u8 [kernel, kernel, 1 or 3]: gray is zero. The caller owns it. */
EPL_API epl_tensor *epl_filters_tile(epl_context *ctx, const epl_tensor *filters, int j);

/* Starts a network's weights anew: "conv0=gabor,*=he" - for each weight of a convolution or linear layer the first
 * pattern that matches its name, or "conv<i>", the i-th convolution. Patches for learned filters come from `data`
 * (may be NULL). Returns how many weights were made; -1 on failure. */
EPL_API int epl_init_weights(epl_model *m, const char *words, epl_dataset *data, uint64_t seed);

/* Layer-sequential unit variance, Mishkin & Matas 2016 (arXiv:1511.06422): orthogonal weights, then, layer by layer,
 * divided by the standard deviation of what the layer answers to x, until its variance is within 0.05 of 1 (at most
 * 10 times). */
EPL_API bool epl_init_lsuv(epl_model *m, const epl_tensor *x, uint64_t seed);

/* A row for each convolution and linear layer: the variance of what it answers to x, the share that relu would leave
 * at zero, and the norm of its weight's gradient for the targets (NULL: left out). The caller owns the table. */
EPL_API epl_table *epl_init_report(const epl_model *m, const epl_tensor *x, const epl_tensor *target);

/* ---- confidence -------------------------------------------------------------------------------------------------------------------
 * What a classifier's probabilities, the softmax of its logits, are worth. Logits are f32 [n, classes], labels i64 [n]. The confidence in
 * an answer is its probability. */
enum { EPL_MAX_BINS = 64 };

typedef struct epl_calibration {
    int64_t n;
    double  accuracy, nll; /* nll: the mean of -log p(label) */
    double  ece;           /* the mean over samples of |accuracy - confidence| of their bin: Guo et al. 2017 (arXiv:1706.04599), eq. (3) */
    int     n_bins;        /* of the confidence, equally wide, (low, high] */
    double  count[EPL_MAX_BINS], right[EPL_MAX_BINS], confidence[EPL_MAX_BINS]; /* samples; share that is right; mean confidence */
} epl_calibration;

EPL_API bool      epl_calibration_of(epl_context *ctx, const epl_tensor *logits, const epl_tensor *labels, int bins,
                                     epl_calibration *out);                                 /* bins: default 15 */
EPL_API bool epl_confidences(epl_context *ctx, const epl_tensor *logits, double *out); /* [n] */
EPL_API epl_plot *epl_reliability_plot(epl_context *ctx, const epl_calibration *c); /* the caller owns it */

/* The network's output 0, f32 [n, ...], for a data set of any labels: pictures of another size or colour are resized
 * and converted, then prepared as the model says. The caller owns it. */
EPL_API epl_tensor *epl_logits_of(const epl_model *m, epl_dataset *d, epl_progress progress);

/* Does the confidence tell the data it knows from others? epl_auroc of the confidences of both: Hendrycks & Gimpel
 * 2017 (arXiv:1610.02136). */
EPL_API double epl_ood_auroc(const epl_model *m, epl_dataset *in, epl_dataset *out);

/* Gradient flow: the squared norm of the loss's gradient by each parameter, for one batch in training mode (batch
 * norms with its statistics), and their sum in *total. What a frozen mask hides has no gradient. The caller owns the
 * table. */
EPL_API epl_table *epl_gradient_flow(const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts loss, double *total);

/* ---- the design of a network -----------------------------------------------------------------------------------------------------
 * A row for each group of layers that work at one resolution: its side, layers, widths, shares of parameters and multiply-adds. Adds a line
 * to `remarks` for each of four principles of SimpleNet (Hasanpour et al. 2016) that is broken: a group holds more than half of the
 * parameters (balance); a width grows more than four times at once (expansion); a 1x1 kernel in the first half at a quarter of the input's side
 * or more (locality); a quarter of the side is reached in the first quarter of the layers (resolution). The caller owns the table. */
EPL_API epl_table *epl_design_report(const epl_graph *g, epl_text *remarks);

/* How well a linear classifier reads features: its accuracy over k folds. Features [n, D] are standardised column by
 * column; labels [n] are classes from 0 on. */
typedef struct epl_probe_opts {
    int      folds;  /* default 5 */
    int      epochs; /* of AdamW from 0.02 down a cosine, batches of 256; default 30 */
    double   decay;  /* default 1e-3 */
    uint64_t seed;   /* of the folds and of the order */
} epl_probe_opts;
EPL_API bool epl_probe(epl_context *ctx, const epl_tensor *features, const epl_tensor *labels, epl_probe_opts o, double *accuracy);

/* How alike two networks see the same samples, from 0 to 1: linear centred kernel alignment of features a [n, p] and
 * b [n, q], row by row of the same sample. 1 where one is the other turned, scaled and shifted. Kornblith et al.
 * 2019 (arXiv:1905.00414), eq. (5). */
EPL_API bool epl_cka(epl_context *ctx, const epl_tensor *a, const epl_tensor *b, double *result);

/* ---- embeddings --------------------------------------------------------------------------------------------------------------
 * What a network makes of samples before it classifies them, and what classes look like there. */
typedef struct epl_embedded {
    epl_context *ctx;
    int64_t  n, width;
    float   *z; /* [n, width] */
    int64_t *y; /* [n], classes */
} epl_embedded;

/* The network without its last layer: the output "features" is what the last linear layer reads (of a network with
 * head=cosine: unit vectors). The caller owns it. */
EPL_API epl_model *epl_feature_model(const epl_model *m);

/* Features of each sample, one row each, and its class. */
EPL_API bool epl_embed(const epl_model *m, epl_dataset *d, epl_features_opts o, epl_embedded *out);
EPL_API void epl_embedded_release(epl_embedded *e); /* accepts a zero value */

/* Area under the curve of true against false positives: the share of pairs in which the positive has the larger score, ties half. */
EPL_API double epl_auroc(epl_context *ctx, const double *positive, int64_t n, const double *negative, int64_t m); /* NaN without either */

/* Classes that a network never saw: Pereira et al. 2021. In each episode a novel class is the mean of `shots` random
 * samples of `support`, and samples of `query` go to the class whose mean is nearest: by cosine of unit vectors, or
 * by distance. With base classes (n_base > 0) these are candidates and asked for, too; their means are those of all
 * their samples in `support`. */
typedef struct epl_novel_opts {
    const int *novel, *base;
    int        n_novel, n_base;
    int        shots;     /* 0: all */
    int        episodes;  /* default 200; with all shots one */
    bool       euclidean; /* features as they are, and distances */
    uint64_t   seed;
} epl_novel_opts;
typedef struct epl_novel_result {
    int    episodes;
    double accuracy, interval;        /* mean, half of its 95 % interval */
    double novel_accuracy, base_accuracy; /* of the samples of these classes; base: NaN without */
} epl_novel_result;
EPL_API bool epl_novel_classes(const epl_embedded *support, const epl_embedded *query, epl_novel_opts o, epl_novel_result *out);

/* Open set: is a sample of `query` of one of the base classes at all? Its score is the largest cosine with their
 * means in `support`. Samples of novel classes are the unknown ones. */
typedef struct epl_open_set_result {
    double auroc;         /* of known against unknown scores */
    double threshold;     /* that 95 % of the known reach */
    double false_known;   /* share of the unknown that reach it, too */
    double base_accuracy; /* of the known, all accepted */
    double accepted_accuracy; /* share of the known that are accepted and right */
} epl_open_set_result;
EPL_API bool epl_open_set(const epl_embedded *support, const epl_embedded *query, epl_novel_opts o, epl_open_set_result *out);

/* The sphere: where classes lie on it. Pairs are those of at most 2000 samples, evenly taken; samples are made unit vectors. */
enum { EPL_SPHERE_BINS = 40 };
typedef struct epl_sphere {
    int    n_classes; /* that occur */
    double intra, inter;             /* mean cosine of two samples of one class, of two */
    double intra_share[EPL_SPHERE_BINS], inter_share[EPL_SPHERE_BINS]; /* histograms of these cosines, from -1 to 1 */
    double verification;             /* epl_auroc of one class against two, by cosine */
    double recall1;                  /* share of samples whose nearest other sample has their class */
    double alignment, uniformity;    /* mean |a - b|^2 of one class; log of mean exp(-2 |a - b|^2): Wang & Isola 2020 (arXiv:2005.10242) */
    double effective_dimension;      /* (trace C)^2 / trace C^2 of the covariance */
    double mean_cosine, simplex;     /* of two classes' mean directions; -1 / (classes - 1), the least possible for all at once */
} epl_sphere;
EPL_API bool epl_sphere_of(const epl_embedded *e, epl_sphere *out);

/* ---- prototypes --------------------------------------------------------------------------------------------------------------
 * Networks that classify by distances to learned codes (head=prototype, prototype-net): Li et al. 2018 (arXiv:1710.04806). */

/* The network up to the code: output "code" [N, D]; and what draws a code: input "code", output "reconstruction". The caller owns
 * both. The decoder fails with EPL_ERR_UNSUPPORTED where the network has none. */
EPL_API epl_model *epl_prototype_encoder(const epl_model *m);
EPL_API epl_model *epl_prototype_decoder(const epl_model *m);

typedef struct epl_prototype {
    int     cls;      /* the class that it speaks for: where its row of the head's weight is least */
    double  weight;   /* there */
    int64_t nearest;  /* the sample of the data whose code is nearest */
    double  distance; /* squared */
} epl_prototype;

typedef struct epl_prototypes_report {
    epl_context   *ctx;
    int            n, n_classes, n_owned; /* prototypes; classes; classes that own a prototype */
    epl_prototype *at;                    /* [n] */
    double         relative_r1;           /* mean distance of a prototype to its nearest sample, over the mean squared length of codes */
} epl_prototypes_report;
EPL_API bool epl_prototypes_of(const epl_model *m, epl_dataset *d, epl_progress progress, epl_prototypes_report *out);
EPL_API void epl_prototypes_report_release(epl_prototypes_report *r); /* accepts a zero value */

/* All prototypes as the decoder draws them: [n, H, W, C]. The caller owns it. */
EPL_API epl_tensor *epl_prototypes_draw(const epl_model *m);

/* The reasons for a network's answer to one sample x [1, ...]: the squared distances [n], and what each gives to each class,
 * contribution[j, k] = distance[j] weight[j, k], whose sum over j is the logit of k. The caller owns the tensors. */
typedef struct epl_explanation {
    epl_tensor *distances, *contributions, *logits; /* [n], [n, classes], [classes] */
} epl_explanation;
EPL_API bool epl_explain(const epl_model *m, const epl_tensor *x, epl_explanation *out);
EPL_API void epl_explanation_release(epl_explanation *e);

#ifdef __cplusplus
}
#endif
#endif
