/* gate: places of channel gates, for the files that put, train, measure and execute them. */
#ifndef EPL_MORPH_GATE_H
#define EPL_MORPH_GATE_H

#include "graph/op.h"

/* A convolution and what its channels become: `end` is behind its normalisation and activation. With a gate: P [N,
 * M] the predictor's logits, mask [N, M] its 0 and 1, gated = end * mask; else NULL. */
typedef struct epl_gate_site {
    epl_node  *conv;
    epl_value *end, *logits, *mask, *gated;
} epl_gate_site;

/* Convolutions whose weight's name matches and whose channels something reads; *wanted counts those that match.
 * `sites` has room for all nodes. */
int epl_gate_places(epl_graph *g, const char *pattern, bool after_add, epl_gate_site *sites, int *wanted);

/* Gates that are there. */
int epl_gate_find(epl_graph *g, epl_gate_site *sites);

#endif
