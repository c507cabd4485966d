/* passes: the single rewrites, for each other and for tests; see the public header. */
#ifndef EPL_PASSES_H
#define EPL_PASSES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <espalier/ops.h>
#include <espalier/passes.h>

#include "graph/op.h"

bool epl_simplify(epl_graph *g);       /* simplify.c */
bool epl_merge_common(epl_graph *g);   /* merge.c */
bool epl_fold_between(epl_node *first, const epl_node *end); /* constants, from first on, before end (NULL: to the last). merge.c */
bool epl_sink_captures(epl_node *n, bool weights); /* of a control-flow node, those that are known. captures.c */
bool epl_fuse(epl_graph *g);     /* fuse.c */
bool epl_fuse_codes(epl_graph *g); /* fuse_codes.c */
bool epl_schedule(epl_graph *g); /* schedule.c */
bool epl_is_stored(const epl_value *v); /* a parameter, state or constant, captured or not; false for NULL. move_transposes.c */
bool epl_move_past_reshape(epl_graph *g, epl_node *reshape); /* move_reshape.c: one step of epl_move_transposes */
bool epl_inline_calls(epl_graph *g); /* inline_calls.c */
bool epl_expand_recurrent(epl_graph *g); /* expand_recurrent.c */
bool epl_use_integers(epl_graph *g); /* products of quantised values, of weights that stay as they are. integers.c */
bool epl_fold_batch_norm(epl_graph *g); /* of what stays as it is. fold_batch_norm.c */
bool epl_batch_norm_matches(const epl_node *n, const char *pattern); /* by its name; NULL matches all. fold_batch_norm.c */

/* Tags nodes: 1 if they depend on nothing but parameters, states and constants that this graph does not update. fold_batch_norm.c */
void epl_mark_fixed(epl_graph *g);

/* epl_set_training, but nodes for which `stays` is true keep their neutral form, which computes inference. mode.c */
typedef bool epl_stays_fn(const void *user, const epl_node *n);
bool epl_set_training_but(epl_graph *g, epl_stays_fn *stays, const void *user);

/* epl_tune_batch_norms of those that are wanted. fold_batch_norm.c */
bool epl_tune_norms_if(epl_graph *g, epl_stays_fn *wanted, const void *user, epl_fold_report *report);

/* Modules of a graph, between cuts (nodes that data passes): tags every node with the number of its module, from 0
 * on, and orders the nodes module by module, with shapes as they are now. What depends on weights alone goes where
 * it is first read. cut.c */
void epl_tag_modules(epl_graph *g, epl_node *const *cuts, int n_cuts);
bool epl_order_modules(epl_graph *g, epl_node *const *cuts, int n_cuts);

#endif
