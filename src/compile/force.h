/* force: see force.c. */
#ifndef EPL_FORCE_H
#define EPL_FORCE_H

#include "graph/op.h"

int  epl_count_choices(const epl_graph *g);
bool epl_force_choices(epl_graph *g);        /* the scopes of the nodes end in "(choice k)", k the index in "force" */
int  epl_choice_of(const char *scope);       /* that k; -1 */

#endif
