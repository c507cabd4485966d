/* blocks: a graph with control flow as blocks without any - DyCL, Chen et al. 2023: tensor blocks, which become
 * networks of their own, and logic, which stays with the program that calls them. */
#ifndef EPL_BLOCKS_H
#define EPL_BLOCKS_H

#include <espalier/compile.h>

#include "graph/op.h"

typedef enum epl_block_kind { EPL_BLOCK_TENSOR, EPL_BLOCK_LOGIC, EPL_BLOCK_CONTROL } epl_block_kind;

/* A maximal run of nodes of one kind in one graph; control: one node. */
typedef struct epl_flow_block {
    epl_block_kind    kind;
    const epl_graph  *graph;
    const epl_node  **nodes;
    int               n_nodes;
    epl_value       **in, **out; /* of tensor blocks: values from around it that it reads (weights and constants left out), values
                                    of its own that are read elsewhere */
    int               n_in, n_out, number; /* number: of a tensor block, among those */
    epl_cost          cost;
} epl_flow_block;

typedef struct epl_flow {
    epl_graph      *graph; /* with exits and choices carried out, folded and trimmed; values carry their number in `tag` */
    epl_arena      *arena;
    epl_flow_block *blocks; /* in the order of execution; those of a region before the blocks behind its node, after the node's */
    int             n_blocks, n_tensor;
} epl_flow;

epl_flow *epl_flow_new(const epl_graph *g, epl_partition_opts o);
void      epl_flow_free(epl_flow *f);

/* "x" of an input, "12" of a constant scalar, else "v7". */
const char *epl_flow_name(const epl_value *v, char out[96]);

/* v9 = Greater(v7, 0.5) */
void epl_flow_expression(const epl_node *n, epl_text *t);

/* The first block of that graph; NULL if it computes nothing. */
const epl_flow_block *epl_flow_first(const epl_flow *f, const epl_graph *g);

#endif
