/* passes: general rewrites, graph in and graph out. Each states the tolerance that it keeps. */
#ifndef ESPALIER_PASSES_H
#define ESPALIER_PASSES_H

#include <espalier/graph.h>
#include <espalier/report.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Gives a neutral model its training form: batch normalisation takes the batch's statistics and updates the running
 * ones, Dropout and DropPath draw masks with the graph's random key, LSTM, GRU and RNN become single steps. A graph
 * that keeps its neutral nodes computes inference. */
EPL_API bool epl_set_training(epl_graph *g);

/* ---- batch norms and the layer before them -------------------------------------------------------------------------------
 * Modes of conv (or linear, or transposed conv) + batch norm; a = weight / sqrt(running_var + epsilon), per output channel:
 *
 *   train   batch statistics, running ones updated. Everything learns.
 *   eval    statistics rest. Everything learns; the layer's result is kept for the gradient of the norm's weight.
 *   tune    eval's function and gradients, computed otherwise: in every step the layer runs with the weight a w and the bias
 *           bias + a (b - running_mean), so nothing of the activation's size is kept or passed over again. You, Liu, Fang, Wang, Zhang &
 *           Long 2023 (arXiv:2305.11624)
 *   deploy  folded once and for good: a w and the bias are what learns, at 1 / a^2 times eval's rate, which differs between channels
 *           by orders of magnitude. For inference; statistics are gone.
 *
 * Norms are named like their layer, "stage1.unit1.norm1" (the running mean's name without the last part). */
typedef enum epl_norm_mode {
    EPL_NORM_AUTO = 0, /* train; those of frozen parameters tune (where nothing stands before them to fold into: eval) */
    EPL_NORM_TRAIN, EPL_NORM_EVAL, EPL_NORM_TUNE, EPL_NORM_DEPLOY
} epl_norm_mode;

typedef struct epl_norm_modes {
    epl_norm_mode mode;
    const char   *pattern; /* of the norms' names (epl_glob); the others are as with AUTO. NULL: all */
} epl_norm_modes;

/* "tune", "eval:stage1.*". The pattern points into `text`. */
EPL_API bool        epl_norm_modes_parse(epl_context *ctx, const char *text, epl_norm_modes *out);
EPL_API const char *epl_norm_mode_name(epl_norm_mode mode); /* "auto", "train", ... */

enum { EPL_FOLD_NAME = 128 };
typedef struct epl_fold_pair {
    char        norm[EPL_FOLD_NAME];
    const char *skipped; /* why it was left alone; NULL: folded */
} epl_fold_pair;
typedef struct epl_fold_report {
    int            n, folded, room;
    epl_fold_pair *pairs; /* in the order of the graph */
} epl_fold_report;
EPL_API void epl_fold_report_release(epl_context *ctx, epl_fold_report *r);

/* Tune: folds the batch norms that match the pattern (NULL: all) and compute inference - no training form, or before
 * it - into the layer before them, by nodes that gradients go through. Call it before epl_gradient: of a model that
 * is frozen where gradients by its input are needed, say. A norm stays where no such layer stands before it or
 * somebody else reads the layer's result; `report` (NULL: none; start with a zero value, it is added to) says so. A
 * named norm that takes the batch's statistics is refused. */
EPL_API bool epl_tune_batch_norms(epl_graph *g, const char *pattern, epl_fold_report *report);

/* Deploy: the same, and what was folded is stored (epl_bake). The weights' metadata "espalier.folded" tells, and steps in
 * another mode are refused from then on. */
#define EPL_FOLDED_KEY "espalier.folded"
EPL_API bool epl_deploy_batch_norms(epl_model *m, const char *pattern, epl_fold_report *report);

/* ---- cuts ------------------------------------------------------------------------------------------------------------------
 * Values through which everything passes on its way from x to y, the last of each block: blocks are scopes with numbers ("stage1.unit2",
 * "block3", "conv1"), and what stands before the first is "stem". Inside a residual branch there is none: two tensors cross there. Release
 * *points; names live as long as the graph. The last point ends the last block: behind it stands the head alone. */
typedef struct epl_cut_point {
    const char *name;
    epl_value  *value;
} epl_cut_point;
EPL_API bool epl_cut_points(epl_graph *g, epl_value *x, epl_value *y, epl_cut_point **points, int *n);

/* ---- weights as expressions -------------------------------------------------------------------------------------- */

/* Puts an expression in a parameter's place: for each parameter whose name matches `pattern` (epl_glob), `build` returns the
 * value that its readers take instead, of the parameter's type, made of the parameter, of others and of states (use names with
 * a leading '/': the scope is the root). NULL, or the parameter itself, leaves it as it is. Updates of the parameter stay.
 * Returns how many were replaced; -1 with the graph failed. Do this before taking gradients. */
typedef epl_value *epl_reparameterize_fn(epl_graph *g, epl_value *parameter, void *user);
EPL_API int epl_reparameterize(epl_graph *g, const char *pattern, epl_reparameterize_fn *build, void *user);

/* The way back: every expression of weights alone becomes a parameter that holds its value - the first parameter of its shape
 * that it reads, or a new one - and parts that nothing reads any more leave the weights. */
EPL_API bool epl_bake(epl_model *m);

typedef struct epl_pass_opts {
    bool fuse;   /* element-wise chains and epilogues become Fused nodes */
    bool frozen; /* parameters are constants */
    int  unroll; /* of epl_fold_control */
    bool plain;  /* control flow is taken as it is, neither folded nor trimmed: to compare with */
    bool integers; /* products of quantised values with quantised weights, if parameters are constants, become products of integers
                      (epl_convolve_integers). Within the rounding of sums */
    size_t block_bytes; /* epl_fuse_blocks with this workspace, if parameters are constants; 0: not */
} epl_pass_opts;

/* ---- control flow ----
 * Constants are folded; an If or Switch whose selector is one becomes the region that it takes; a Loop whose conditions all are
 * becomes its iterations, of which there may be `unroll` (0: 64; negative: loops stay). Exact. */
EPL_API bool epl_fold_control(epl_graph *g, int unroll);

/* A loop whose condition alone ends it (EPL_LOOP_UNLIMITED), or NULL; and a limit for all of them, which is another
 * meaning where one would have gone on. */
EPL_API const epl_node *epl_endless_loop(const epl_graph *g);
EPL_API bool            epl_limit_loops(epl_graph *g, int64_t most);

/* What crosses the border of a region, by liveness: captures that no region reads and results that nobody reads go;
 * constants are declared inside, and with `weights` parameters and states, too (for graphs that do not change them);
 * a result that is the same capture, or the same constant, in every region is that outside; what a loop never
 * changes is captured and not carried. Nodes that are left without a result go. Exact. */
EPL_API bool epl_trim_regions(epl_graph *g, bool weights);

/* Early exits (epl_exit) become If or IfEach: the rest of the graph moves into the other branch. Exact. */
EPL_API bool epl_lower_exits(epl_graph *g);

/* IfEach carried out: both regions for all samples and a selection (it has a gradient), or each region on its
 * samples, `chunk` at a time (default 8), gathered before and put back after; a region without multiply-adds runs on
 * all. Of one sample splitting leaves an If. Programs split; epl_set_training masks. Within the rounding of kernels
 * that depend on the number of samples. */
EPL_API bool epl_mask_choices(epl_graph *g);
EPL_API bool epl_split_choices(epl_graph *g, int chunk);

/* If and Switch nodes whose regions cost at most so many multiply-adds and other operations, all together, and hold
 * no control flow: every region is computed, and the results of the chosen one are selected. Exact. */
EPL_API bool epl_select_small(epl_graph *g, double most);

/* What lowering does to a graph: carry out exits and choices, settle shapes, fold and trim control flow, inline
 * regions with custom gradients, unroll recurrent layers, fold constants, simplify, fold normalisation into the
 * weights before it (if they are constants), put sums of integers where quantised values are multiplied, merge
 * common sub-expressions, remove what is dead, order, and (if asked) fuse. */
EPL_API bool epl_prepare(epl_graph *g, epl_pass_opts o);

/* Runs narrow-wide-narrow pieces (inverted bottlenecks, perceptrons on every pixel, ConvNeXt's blocks) strip by
 * strip of output rows, as Lavin 2024 (arXiv:2404.03617) fuses blocks: each becomes a Loop, whose body holds the
 * wide tensors of one strip alone. A strip has as many rows as let what is alive in it fit into workspace_bytes,
 * divides the map's height, and may repeat at most 30 % of the multiply-adds in its halo; pieces for which there is
 * no such strip stay. Three quarters of a second cache of 1 MiB measured best on one thread; several meet after
 * every layer of a strip, which takes what is won. For inference, after normalisation is folded (epl_prepare does
 * both). Within rounding. Returns the number of pieces; -1 with the graph failed. */
EPL_API int epl_fuse_blocks(epl_graph *g, size_t workspace_bytes);

/* What it would do to a copy of g: a row for each piece - bytes that go through memory layer by layer and strip by
 * strip (its two ends), rows of a strip, what is alive in it, multiply-adds with halos over those without; empty
 * where no strip fits. The caller owns it. */
EPL_API epl_table *epl_fuse_blocks_report(const epl_graph *g, size_t workspace_bytes);

/* Moves transposes towards the outputs, where those that undo each other vanish. Exact. An imported network in channels-first
 * order is left with transposes at its ends; the importer runs it. */
EPL_API bool epl_move_transposes(epl_graph *g);

/* Networks as other tools write them, in this library's words: products with weights and the biases added to them become Linear
 * layers, x * sigmoid(x) Silu, and so on. Within rounding. The importer runs it. */
EPL_API bool epl_recognise(epl_graph *g);

#ifdef __cplusplus
}
#endif
#endif
