/* pairs: which operator of one graph stands where which of another does. */
#ifndef EPL_ANALYSIS_PAIRS_H
#define EPL_ANALYSIS_PAIRS_H

#include <espalier/analysis.h>

#include "graph/op.h"

/* One of the two graphs (or regions), its operators in an order that structure alone decides: from the outputs, inputs first. */
typedef struct pair_side {
    const epl_graph  *g;
    int               n;
    const epl_node  **at;
    int              *index;   /* by node id: the place in `at`, or -1 */
    int              *partner; /* of at[i] in the other side, or -1 */
    bool             *exact;   /* operator, attributes, results and sources are those of the partner */
    const epl_node  **weights; /* by node id: of a parameter or state, the one of the other side at the same place; or NULL */
    int              *number;  /* by node id: of its first output, as printed */
    const char       *prefix;  /* "%3/" within a region */
} pair_side;

/* What differs, in the arena of the result. */
typedef struct pair_list {
    epl_context   *ctx;
    epl_arena     *arena;
    int            n;
    size_t         capacity;
    epl_diff_node *at;
} pair_list;

/* Pairs the operators and appends those that differ, regions included. Release both sides, after a failure too. */
bool pair_graphs(pair_list *out, const epl_graph *ga, const epl_graph *gb, pair_side *a, pair_side *b);
void pair_release(epl_context *ctx, pair_side *s);

epl_diff_place pair_place(pair_list *out, const pair_side *s, const epl_node *n);

/* The longest common subsequence of two lists of keys (Myers 1986, "An O(ND) difference algorithm"): partner[i] is the place
 * in b of a[i], or -1. Lists that are too different are left without partners beyond their common ends. */
bool pair_keys(epl_context *ctx, const uint64_t *a, int n, const uint64_t *b, int m, int *partner);

#endif
