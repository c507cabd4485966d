/* region: what the operators with regions share - binding a region's inputs to a node's values, building gradients of regions. */
#ifndef EPL_REGION_H
#define EPL_REGION_H

#include "graph/op.h"

/* The reverse sweep of the floor below (grad). The one call downwards: the gradient of a region is a gradient. */
bool epl_vjp(epl_graph *g, int n_outputs, epl_value *const *y, epl_value *const *dy, int n_inputs, epl_value *const *x,
             epl_value **dx);

typedef struct epl_type {
    epl_dtype dtype;
    epl_shape shape;
} epl_type;

#define EPL_TYPE_OF(v) ((epl_type){ (v)->dtype, (v)->shape })

/* The region reads exactly these types. When a node is made they must agree; when shapes are inferred again (a named
 * dimension was bound to another size) the region's inputs take the new shapes and the region is inferred again. */
bool epl_region_bind(epl_node *n, int region, int n_types, const epl_type *types);

/* Regions that read the node's inputs after the first and have equal results: binds them, sets the node's outputs. */
bool epl_infer_branches(epl_node *n);

/* One more capture of a node, the last input of each of its regions, which do not read it yet. */
bool epl_node_capture(epl_node *n, epl_value *v);

/* A region that has no owner yet takes inputs of these values' types, and is inferred again. */
bool epl_region_resize(epl_graph *region, int n, epl_value *const *like);

/* Result i of the node, and of output k of the region, have the same type; sets it. */
bool epl_region_result(epl_node *n, int result, const epl_graph *region, int output);

/* Removes the region's Output nodes, whose values go to y. */
void epl_region_open(epl_graph *region, epl_value **y);

typedef struct epl_value_list {
    int               n;
    epl_value *const *values;
} epl_value_list;

/* What the builders do: a node of op over own inputs and then captures (none may be NULL, but the very first), its results to
 * `out`. NULL, with nothing in `out`, after a failure. */
epl_node *epl_region_apply(epl_graph *g, const epl_op *op, const epl_attr *attrs, epl_value_list own, epl_value_list captures,
                           int n_regions, epl_graph *const *regions, epl_value **out);

#endif
