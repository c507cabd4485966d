/* train: the inside of training, shared by the files of this floor. */
#ifndef EPL_TRAIN_H
#define EPL_TRAIN_H

#include <espalier/ops.h>
#include <espalier/train.h>

/* ---- optimizers ---- */

/* One parameter's update, while it is written. */
typedef struct epl_rule {
    epl_graph *g;
    const epl_optimizer_opts *o;
    const char *name;          /* the parameter's */
    epl_value  *w, *grad;
    epl_value  *rate;          /* scalars of the parameter's type, for this parameter */
    epl_value  *adam_rate, *adam_root; /* rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
    epl_value  *correct1, *correct2;   /* 1 / (1 - beta1^t), 1 / (1 - beta2^t) */
    epl_value  *moves;                 /* bool, for each element or for all: its slots are updated at all; NULL: yes */
    double      decay;
    bool        coded;                 /* the slots are 8-bit codes */
} epl_rule;

typedef epl_value *epl_rule_fn(epl_rule *r); /* the parameter's next value; updates slots */
epl_rule_fn *epl_rule_of(epl_optimizer_kind kind);
bool         epl_rule_counts(epl_optimizer_kind kind); /* needs the corrections */

/* slots.c: the parameter's slot (NULL while the graph has failed), and its next value. `square`: never negative. */
epl_value *epl_slot_read(epl_rule *r, const char *slot, bool square);
void       epl_slot_write(epl_rule *r, const char *slot, bool square, epl_value *next);
bool       epl_slots_check(epl_graph *g, const epl_optimizer_opts *o); /* false with the graph failed */
epl_slot_opts epl_slot_defaults(epl_slot_opts o);
bool       epl_slot_is_coded(const epl_slot_opts *o, int group_bits, const char *name, epl_dtype dtype, int64_t count);

double epl_default(double x, double otherwise); /* zero means default */

/* The options with every default filled in. */
epl_optimizer_opts epl_optimizer_defaults(epl_optimizer_opts o);

/* Averages of the float states of `model` (running statistics): ema.<name> follows what g makes of them. */
bool epl_average_states(epl_graph *g, const epl_graph *model, epl_optimizer_opts o);

bool epl_is_frozen(const epl_optimizer_opts *o, const char *name); /* the parameter is of a frozen group */

/* The parameters of g that are trained: not of a frozen group, not of the pattern `frozen` (NULL: none). `out` has room for
 * all nodes. Returns how many. */
int epl_trained_parameters(const epl_graph *g, const epl_optimizer_opts *o, const char *frozen, epl_value **out);

bool epl_is_metric_loss(const char *name); /* epl_metric_loss knows it */

/* A checkpoint's metadata under which its state stands as JSON, and the options there of one that fits any run. */
#define EPL_TRAINING_KEY "espalier.training"
#define EPL_ANY_OPTIONS  "0000000000000000"

/* ---- the step ---- */
/* Cuts and followers of a step; links.c */
typedef struct epl_follower {
    const char *dst, *src; /* names */
    bool        dst_trains, src_trains; /* are parameters, not states */
    epl_dtype   dtype;
    epl_shape   shape;
    double      keep;
} epl_follower;

typedef struct epl_step_links {
    epl_node     *cuts[EPL_MAX_CLIP_APART];
    int           n_cuts, n_followers, room;
    epl_follower *followers;
} epl_step_links;

bool epl_step_follow_all(epl_graph *g, const epl_step_links *l); /* adds the links' updates to those of the optimizer */
bool epl_step_clip_modules(epl_train_step *s, int n, epl_value *const *parameters, epl_optimizer_opts *o); /* each by its own norm */

bool epl_step_check_norms(const epl_model *m, const epl_step_opts *o); /* the mode that is asked for is possible; norms.c */
bool epl_step_set_norms(epl_graph *g, const epl_step_opts *o); /* training form, with norms as asked for */

typedef struct epl_built_step {
    epl_context *ctx;
    epl_arena   *arena;
    epl_graph   *graph, *update; /* update: NULL without accumulation */
    const char  *borrowed;       /* names of tensors that belong to others, or NULL */
} epl_built_step;

bool epl_build_step(const epl_model *m, epl_weights *weights, epl_step_opts o, uint64_t seed, epl_built_step *out);
void epl_built_step_release(epl_built_step *b); /* accepts a zero value */

/* Masks keep their density: while they close, a run that goes on would choose other kernels than one that was never stopped. */
bool epl_step_may_skip_zeros(const epl_train_hook *hooks, int n);

/* The batch that the network's input 0 was made for; 0 if its first dimension is named, so that any batch will do. */
int64_t epl_own_batch(const epl_graph *model);

/* The network computes x, in place of its input 0, in `g`: epl_graph_inline. The error says so if it was made for another batch. */
bool epl_inline_network(epl_graph *g, const epl_graph *model, epl_value *x, epl_value **outputs, const char *prefix);

/* The inputs "x" [batch, ...] of the model's type and "target" (dtype 0, rank 0: as epl_step_opts says). */
epl_value *epl_batch_input(epl_graph *g, const epl_graph *model, int64_t batch);
epl_value *epl_target_input(epl_graph *g, epl_value *logits, epl_dtype dtype, epl_shape shape);

/* ---- metrics and evaluation ---- */
typedef struct epl_tally {
    epl_context *ctx;
    int      n_classes; /* 0: targets are numbers, nothing but the loss is counted */
    int64_t  samples, rows, correct, top5; /* a row is a sample or one of its pixels */
    double   loss;      /* sum over samples */
    double  *confusion; /* [n_classes, n_classes] or NULL */
} epl_tally;

bool        epl_tally_init(epl_context *ctx, epl_tally *t, int n_classes);
void        epl_tally_release(epl_tally *t);
void        epl_tally_clear(epl_tally *t);
void        epl_tally_add(epl_tally *t, double loss, const epl_tensor *logits, const epl_tensor *labels, int64_t n_valid);
epl_metrics epl_tally_metrics(const epl_tally *t);

typedef struct epl_evaluator epl_evaluator;
epl_evaluator   *epl_evaluator_new(const epl_model *m, epl_dataset *d, epl_evaluate_opts o); /* borrows m and d */
void             epl_evaluator_free(epl_evaluator *e);
bool             epl_evaluator_run(epl_evaluator *e, epl_tensor *logits, epl_metrics *out); /* with the weights of now */
const epl_tally *epl_evaluator_tally(const epl_evaluator *e);

/* The shape of a batch's labels, for a batch x; and whether the network takes such a batch (else: recorded). */
epl_shape epl_batch_target_shape(const epl_dataset_info *info, epl_shape x);
bool      epl_check_input(const epl_graph *model, const epl_dataset_info *info, epl_shape x);

/* A name under a prefix, as epl_state takes it: "/<prefix><name>", in the graph's arena. NULL if memory is out. */
const char *epl_prefixed(epl_graph *g, const char *prefix, const char *name);

#endif
