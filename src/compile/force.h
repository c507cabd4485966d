/* force: see force.c. */
#ifndef EPL_FORCE_H
#define EPL_FORCE_H

#include "graph/op.h"

/* What can be said for one: 0, 1, ..., n - 2, and `last`. */
typedef struct epl_choice {
    int     n;
    int64_t last;
} epl_choice;

int  epl_count_choices(const epl_graph *g);
int  epl_list_choices(const epl_graph *g, epl_choice *out); /* room for all; returns how many */
bool epl_force_choices(epl_graph *g);        /* the scopes of the nodes end in "(choice k)", k the index in "force" */
int  epl_choice_of(const char *scope);       /* that k; -1 */

#endif
