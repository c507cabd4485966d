/* graph: networks as graphs in static single assignment.
 *
 * A value (an edge) has an element type and a shape and is produced by one node. A node applies an operator to values.
 * The list of nodes is in execution order. Parameters and states are nodes that name a tensor of the model's weights;
 * `Output` and `Update` are nodes without results that keep values alive: what a graph delivers, and what it writes back.
 *
 * Shapes are always known integers. An input may NAME a dimension (the batch, a sequence length): the name has a value,
 * epl_graph_bind changes it and every shape is inferred again. Builders must therefore not bake such a number into an
 * attribute: a reshape writes EPL_KEEP (0) for "as in the input" and -1 for "what remains".
 *
 * Builders never need checking one by one: the first failure is kept (its sentence in the context, with the scope in which
 * it happened), builders return NULL once the graph has failed, and pass NULL along. epl_graph_finish asks once. */
#ifndef ESPALIER_GRAPH_H
#define ESPALIER_GRAPH_H

#include <espalier/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct epl_graph epl_graph;
typedef struct epl_node  epl_node;
typedef struct epl_value epl_value;
typedef struct epl_op    epl_op; /* one entry of the operator table */

#define EPL_KEEP 0 /* in a target shape: the input's dimension at the same index */

/* ---- graphs ---------------------------------------------------------------------------------------------------- */
EPL_API epl_graph   *epl_graph_new(epl_context *ctx, const char *name); /* the caller owns it; nodes die with it */
EPL_API void         epl_graph_free(epl_graph *g);                      /* regions die with their root */
EPL_API epl_graph   *epl_graph_copy(const epl_graph *g);
EPL_API epl_context *epl_graph_context(const epl_graph *g);
EPL_API const char  *epl_graph_name(const epl_graph *g);
EPL_API bool         epl_graph_failed(const epl_graph *g);
EPL_API bool         epl_graph_finish(epl_graph *g); /* verifies; false if a builder failed or the graph is malformed */
EPL_API bool         epl_graph_verify(const epl_graph *g); /* order, uses, shapes, region interfaces */

/* Fails the graph: "<scope>: <sentence>". Returns NULL, so that a builder can return it. */
EPL_API epl_value *epl_graph_fail(epl_graph *g, epl_error code, const char *format, ...) EPL_PRINTF(3, 4);

/* Name scopes: "stage1" / "block0" give nodes and parameters the prefix "stage1.block0.". */
EPL_API void        epl_scope_push(epl_graph *g, const char *format, ...) EPL_PRINTF(2, 3);
EPL_API void        epl_scope_pop(epl_graph *g);
EPL_API const char *epl_scope(const epl_graph *g); /* "" at the root */

/* New nodes go before `at`; NULL means at the end. Returns the former position. */
EPL_API epl_node *epl_graph_insert_before(epl_graph *g, epl_node *at);

/* ---- what a graph is made of ------------------------------------------------------------------------------------ */

/* An input. `dims` names dimensions: comma-separated, one entry per axis, empty for a fixed one: "N,,," ; NULL: none. */
EPL_API epl_value *epl_input(epl_graph *g, const char *name, epl_dtype dtype, epl_shape shape, const char *dims);
EPL_API bool       epl_graph_bind(epl_graph *g, const char *dim, int64_t size); /* false if no input names it */
EPL_API epl_node  *epl_output(epl_graph *g, const char *name, epl_value *v);

/* How a parameter starts. `a`: standard deviation, half-width of the uniform range, or the constant. */
typedef enum epl_init {
    EPL_INIT_ZEROS, EPL_INIT_ONES, EPL_INIT_CONSTANT, EPL_INIT_NORMAL, EPL_INIT_TRUNC_NORMAL, /* cut at 2 std */
    EPL_INIT_UNIFORM, EPL_INIT_ORTHOGONAL /* over [prod(others), last]; a: gain */, EPL_INIT_UNIFORM_ABOVE /* in [0, a) */
} epl_init;

/* A trained tensor and a carried tensor of the model's weights, named "<scope>.<name>" (a leading '/' means: as it is).
 * A second call with the same full name returns the same value if dtype and shape agree, and fails otherwise. */
EPL_API epl_value *epl_parameter(epl_graph *g, const char *name, epl_dtype dtype, epl_shape shape, epl_init init, double a);
EPL_API epl_value *epl_state(epl_graph *g, const char *name, epl_dtype dtype, epl_shape shape, epl_init init, double a);
EPL_API epl_node  *epl_update(epl_graph *g, epl_value *state, epl_value *next); /* at the step's end state := next */

EPL_API epl_value *epl_constant(epl_graph *g, const epl_tensor *t); /* copies t; for small tensors (large ones are states) */
EPL_API epl_value *epl_scalar(epl_graph *g, epl_dtype dtype, double x);
EPL_API epl_value *epl_constant_i64(epl_graph *g, int n, const int64_t *x); /* an i64 vector */

/* The graph's random key: the state "rng" i64[2] = { seed, step }, whose update adds one to step. */
EPL_API epl_value *epl_rng_key(epl_graph *g);

/* ---- looking ----------------------------------------------------------------------------------------------------- */
EPL_API epl_node  *epl_first(const epl_graph *g); /* NULL if empty */
EPL_API epl_node  *epl_last(const epl_graph *g);
EPL_API epl_node  *epl_next(const epl_node *n);
EPL_API epl_node  *epl_prev(const epl_node *n);
EPL_API int        epl_graph_n_nodes(const epl_graph *g);
EPL_API int        epl_graph_n_inputs(const epl_graph *g);
EPL_API epl_value *epl_graph_input_at(const epl_graph *g, int i);
EPL_API int        epl_graph_n_outputs(const epl_graph *g);
EPL_API epl_value *epl_graph_output_at(const epl_graph *g, int i);
EPL_API const char *epl_graph_output_name(const epl_graph *g, int i);
EPL_API epl_value *epl_graph_find(const epl_graph *g, const char *name); /* an input, output, parameter or state; or NULL */

EPL_API const epl_op *epl_node_op(const epl_node *n);
EPL_API const char   *epl_op_name(const epl_op *op);
EPL_API const char   *epl_node_op_name(const epl_node *n);
EPL_API const char   *epl_node_scope(const epl_node *n);
EPL_API int           epl_node_id(const epl_node *n); /* unique in the root graph */
EPL_API int           epl_node_n_inputs(const epl_node *n);
EPL_API epl_value    *epl_node_input(const epl_node *n, int i); /* NULL for an absent optional input */
EPL_API int           epl_node_n_outputs(const epl_node *n);
EPL_API epl_value    *epl_node_output(const epl_node *n, int i);
EPL_API int           epl_node_n_regions(const epl_node *n);
EPL_API epl_graph    *epl_node_region(const epl_node *n, int i);
EPL_API epl_graph    *epl_node_graph(const epl_node *n);

EPL_API epl_dtype   epl_dtype_of(const epl_value *v);
EPL_API epl_shape   epl_shape_of(const epl_value *v);
EPL_API int         epl_rank(const epl_value *v);
EPL_API int64_t     epl_dim(const epl_value *v, int axis); /* negative axes count from the end */
EPL_API int64_t     epl_channels(const epl_value *v);      /* the last dimension */
EPL_API epl_node   *epl_producer(const epl_value *v);
EPL_API int         epl_value_index(const epl_value *v);   /* which output of its producer */
EPL_API int         epl_n_uses(const epl_value *v);
EPL_API const char *epl_value_name(const epl_value *v);    /* an input's, parameter's or state's name; else NULL */

/* Attributes by name; the field must exist in the operator's table. */
EPL_API int64_t        epl_attr_i(const epl_node *n, const char *name);
EPL_API double         epl_attr_r(const epl_node *n, const char *name);
EPL_API const char    *epl_attr_s(const epl_node *n, const char *name);
EPL_API int            epl_attr_ints(const epl_node *n, const char *name, const int64_t **out); /* returns the length */
EPL_API const epl_tensor *epl_attr_tensor(const epl_node *n, const char *name);

/* The users of v: f(node, input index) for each. */
typedef struct epl_use {
    epl_node *node;
    int       input;
} epl_use;
EPL_API epl_use epl_use_at(const epl_value *v, int i);

/* ---- rewriting --------------------------------------------------------------------------------------------------- */
EPL_API void epl_replace(epl_value *old, epl_value *with);          /* every user of old reads `with` instead */
EPL_API void epl_set_input(epl_node *n, int i, epl_value *v);
EPL_API bool epl_add_input(epl_node *n, epl_value *v);
EPL_API void epl_node_remove(epl_node *n);                          /* its outputs must be unused */
EPL_API bool epl_node_move_before(epl_node *n, epl_node *at);
EPL_API bool epl_reinfer(epl_graph *g);                             /* every shape again, from the inputs on */
EPL_API int  epl_remove_dead(epl_graph *g);                         /* nodes that nothing needs; returns how many */

/* Copies src's nodes to dst's insertion point. src's inputs become `inputs` (in order), its outputs are returned in
 * `outputs` (n_outputs of them, in order); Output nodes are not copied, Update nodes are. Parameters and states get
 * `prefix` before their names ("" or NULL: none) and are shared with those that dst already has. */
EPL_API bool epl_graph_inline(epl_graph *dst, const epl_graph *src, epl_value *const *inputs, epl_value **outputs,
                              const char *prefix);

/* A region: a graph that belongs to a node of g (If, Loop, Switch, custom gradients). It sees nothing of g: what it reads
 * comes in through its inputs, in the order that the operator says. Give it to a builder, which takes it over. */
EPL_API epl_graph *epl_region_new(epl_graph *g);
EPL_API epl_graph *epl_region_copy(epl_graph *g, const epl_graph *src); /* src's nodes as a new region of g */

/* ---- text ---------------------------------------------------------------------------------------------------------
 * One node a line; reads back to an equal graph. docs/graph-text.md is the grammar. The caller owns the text. */
EPL_API char      *epl_graph_print(const epl_graph *g);
EPL_API epl_graph *epl_graph_parse(epl_context *ctx, const char *text, size_t length, const char *name); /* name: for errors */
EPL_API uint64_t   epl_graph_hash(const epl_graph *g); /* equal for graphs that print alike */

/* ---- cost -------------------------------------------------------------------------------------------------------- */
typedef struct epl_cost {
    double macs;  /* multiply-adds of convolutions and matrix products: what papers count */
    double flops; /* everything else, in operations */
    double bytes; /* read and written once */
} epl_cost;
EPL_API epl_cost epl_node_cost(const epl_node *n);
EPL_API epl_cost epl_graph_cost(const epl_graph *g);
EPL_API int64_t  epl_graph_n_parameters(const epl_graph *g); /* trained scalars */

/* ---- models: a graph and its weights ----------------------------------------------------------------------------- */
typedef struct epl_model {
    epl_context *ctx;
    epl_graph   *graph;
    epl_weights *weights; /* every parameter and state of the graph by name; may hold more (optimizer slots) */
} epl_model;

EPL_API epl_model *epl_model_new_take(epl_graph *g);              /* fresh, empty weights; consumes g even on failure */
EPL_API bool       epl_model_init(epl_model *m, uint64_t seed);   /* fills what is missing; a tensor's draws depend on
                                                                     seed and name alone */
EPL_API epl_model *epl_model_copy(const epl_model *m);
EPL_API void       epl_model_free(epl_model *m);
EPL_API bool       epl_model_check(const epl_model *m);           /* every parameter present, with its dtype and shape */

/* ONE safetensors file: the weights, the graph as text under the metadata key "espalier.graph". */
EPL_API bool       epl_model_save(const epl_model *m, const char *path);
EPL_API epl_model *epl_model_load(epl_context *ctx, const char *path);

#ifdef __cplusplus
}
#endif
#endif
