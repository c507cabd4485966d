/* recompute: one step of trading time for memory; see recompute.c. */
#ifndef EPL_RECOMPUTE_H
#define EPL_RECOMPUTE_H

#include "program/program.h"

/* Makes views read where they are used; once, before the first step. */
bool epl_sink_views(epl_graph *g);

/* Gives up the results of one node that are alive, but idle, while peak_node runs, and computes them again later. False if
 * there is no node for which that pays. */
bool epl_recompute_at(epl_graph *g, const epl_node *peak_node);

#endif
