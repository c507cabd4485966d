/* compress: the inside of pruning - which weights a network reads and how, what stays, what is chosen. */
#ifndef EPL_COMPRESS_COMPRESS_H
#define EPL_COMPRESS_COMPRESS_H

#include <espalier/compress.h>

#include "graph/op.h"

/* ---- layers.c: the weights that can be masked ---- */
typedef enum epl_layer_kind {
    EPL_LAYER_CONV, EPL_LAYER_DEPTHWISE, EPL_LAYER_LINEAR, EPL_LAYER_EMBEDDING, EPL_LAYER_RECURRENT
} epl_layer_kind;

typedef struct epl_layer {
    epl_value     *weight; /* the parameter */
    epl_value     *read;   /* what its readers take: the parameter, or the masked one */
    const char    *name;
    epl_layer_kind kind;
    bool           inside; /* regions of control flow read it */
    int64_t        count;
    double         macs;   /* of those who read it; a node with several weights is shared out by their sizes */
} epl_layer;

typedef struct epl_layers {
    epl_context *ctx;
    epl_layer   *items;
    int          n;
    int          shifts; /* weights that are powers of two while they are trained: they have no zero */
} epl_layers;

/* In the order in which the network reads them. Release in any case. */
bool epl_weight_layers_find(epl_graph *g, epl_layers *out);
void epl_weight_layers_release(epl_layers *l);

/* Keeps those that the pattern (NULL: all) chooses and `skip` does not leave out; fails where none is left. */
bool epl_weight_layers_choose(epl_layers *l, const char *pattern, const char *skip);

/* The model becomes `other`, which becomes what the model was. */
static inline void epl_model_exchange(epl_model *m, epl_model *other)
{
    const epl_model old = *m;
    m->graph       = other->graph;
    m->weights     = other->weights;
    other->graph   = old.graph;
    other->weights = old.weights;
}

/* ---- shift_codes.c: the variables of a dense shift weight, by the sign's name ---- */
enum { EPL_SHIFT_VARIABLES = 7 }; /* exponents, at most */
bool epl_is_shift_sign(const char *name);
bool epl_is_shift_variable(const epl_graph *g, const char *name); /* of any method */
int  epl_shift_exponents(const epl_weights *w, const char *sign, const epl_tensor **e); /* how many there are */
void epl_shift_fill_codes(const epl_tensor *sign, const epl_tensor *const *e, int n, int bits,
                          uint8_t *codes); /* the highest bit is the sign */

/* ---- masks.c ---- */
epl_tensor *epl_mask_of(const epl_weights *w, const char *parameter); /* NULL without an error */
epl_value  *epl_masked_value(const epl_graph *g, const char *parameter); /* weight * mask; NULL where there is none */
bool        epl_mask_is_frozen(const epl_graph *g, const char *parameter);
bool        epl_mask_apply(epl_model *m, const char *parameter); /* what the mask covers becomes 0, slots too */

/* ---- grain.c: what is chosen among in a layer ---- */
enum { EPL_MAX_TRANSPOSABLE = 64 }; /* the largest m of a mask for both ways */

typedef struct epl_grain {
    int     unit;
    int64_t rows, columns, inputs, r, c, across; /* as a matrix [rows, columns] of blocks r x c, whose last ones may be smaller */
    int64_t n;                                   /* units */
} epl_grain;

bool      epl_grain_check(epl_context *ctx, const epl_prune_opts *o);
epl_grain epl_grain_of(const epl_layer *l, const epl_prune_opts *o);
int64_t   epl_grain_at(const epl_grain *b, int64_t i); /* the unit of element i */
bool      epl_grain_sum(epl_context *ctx, const epl_grain *b, int64_t count, float *scores); /* sums of the units, in place */
void      epl_grain_write(const epl_grain *b, const unsigned char *keep, epl_tensor *mask);
void      epl_grain_n_of_m(const epl_layer *l, const epl_prune_opts *o, const float *scores, float *mask);

/* ---- density.c: how much of each layer. density[i] of layer i; `density` overall; raw^power of er and erk ---- */
bool epl_densities(epl_context *ctx, const char *rule, double density, double power, const epl_layer *layers, int n, double *out);
int64_t epl_keep_count(int64_t count, double sparsity); /* count - floor(sparsity count + 1/2) */

/* ---- criteria.c: scores, and the best of them ---- */

bool epl_criterion_known(epl_context *ctx, const char *name);

/* A score for each element of w; the highest stay. Elements where `mask` (or NULL) is 0 get -infinity. */
bool epl_scores(epl_context *ctx, const char *criterion, const char *name, const epl_tensor *w, const epl_tensor *mask,
                const epl_prune_opts *o, float *out);

/* ---- obs.c ---- */

/* Takes the least important of w's weights away, one by one, until `keep` are left, and lets the others make up for each.
 * `samples` [S, ...w]: the gradient of each sample; their products' mean, with a small diagonal, stands for the Hessian. */
bool epl_obs_prune(epl_context *ctx, const char *name, epl_tensor *w, const epl_tensor *samples, int64_t keep, unsigned char *stays);

/* keep[i] = 1 for the `count` highest of n scores, 0 for the others; of equal ones the first stay. */
bool epl_select(epl_context *ctx, const float *scores, int64_t n, int64_t count, unsigned char *keep);

/* ---- prune.c ---- */

/* Chooses anew, at this sparsity in the place of o->sparsity, and writes the masks. */
bool epl_masks_choose(epl_model *m, const epl_prune_opts *o, double sparsity);
bool epl_prune_check(epl_context *ctx, const epl_prune_opts *o); /* words, ranges */
uint64_t epl_prune_hash(const epl_prune_opts *o); /* of everything but evidence: for checkpoints */
bool epl_prune_check_layers(const epl_model *m, const epl_prune_opts *o); /* each pattern of o->layers matches */

/* One of a list of words, or the sentence that names the closest. */
int epl_choose_word(epl_context *ctx, const char *what, const char *word, const char *const *words, size_t n);

#endif
