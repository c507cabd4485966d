/* import: what the adapters of operators see of the importer. An adapter reads a node's inputs and attributes through the
 * functions below, which remember what was read: whatever is left over is an error. */
#ifndef EPL_ONNX_IMPORT_H
#define EPL_ONNX_IMPORT_H

#include "graph/op.h"
#include "onnx/file.h"

#include <espalier/onnx.h>
#include <espalier/ops.h>

typedef struct onnx_import onnx_import;
typedef struct onnx_scope  onnx_scope;

enum { ONNX_MAX_IN = 64, ONNX_MAX_OUT = 32 }; /* Concat and the like read longer lists through onnx_in as well */

typedef struct onnx_node {
    onnx_import           *imp;
    onnx_scope            *scope;
    epl_graph             *g;
    const Onnx__NodeProto *proto;
    const char            *op;     /* ONNX's name of the operator */
    const char            *domain; /* "" for the default */
    int64_t                opset;  /* of the domain */
    int                    n_in, n_out; /* n_out: results that the node names */
    epl_value             *out[ONNX_MAX_OUT]; /* set by the adapter */
    uint64_t               seen_in;    /* inputs that were read; those from 64 on are not watched */
    uint64_t               seen_attrs; /* likewise */
} onnx_node;

typedef bool onnx_adapter(onnx_node *n);

typedef struct onnx_op {
    const char   *name;    /* with a domain other than the default: "com.microsoft:Gelu" */
    onnx_adapter *import;
    const void   *detail;  /* what several operators' common adapter needs to know */
} onnx_op;

/* The operators, sorted by name; NULL if unknown. */
const onnx_op *onnx_op_find(const char *domain, const char *name);
const void    *onnx_detail(const onnx_node *n);

/* "model.onnx: Conv 'conv1' (opset 13): ..."; returns false. */
bool onnx_fail(onnx_node *n, epl_error code, const char *format, ...) EPL_PRINTF(3, 4);
bool onnx_unsupported(onnx_node *n, const char *format, ...) EPL_PRINTF(2, 3);

/* ---- inputs ---- */
bool        onnx_has(onnx_node *n, int i);  /* given, and not the empty name */
epl_value  *onnx_in(onnx_node *n, int i);   /* NULL if absent; fails the node if the name is unknown */
epl_value  *onnx_named(onnx_node *n, const char *name); /* a tensor of this graph by its name; NULL if there is none */
int         onnx_n_uses(const onnx_node *n, int i); /* times that the file's main graph reads what input i names */
bool        onnx_is_weight(onnx_node *n, int i);           /* an initialiser that is not computed with yet */
epl_value  *onnx_weight(onnx_node *n, int i, epl_shape perm); /* onnx_in with its axes permuted; an initialiser is permuted here
                                                              and now, so that the parameter has the axes that we want */
/* The value of an input, which must be known now: a constant, computed from constants or from shapes, or an input whose value
 * the caller gave (see epl_onnx_opts). `what` is for the sentence: "the shape". The importer owns it. NULL on failure. */
const epl_tensor *onnx_known(onnx_node *n, int i, const char *what);
const epl_tensor *onnx_known_if(onnx_node *n, int i, bool inputs_too); /* NULL without an error if it is not known */
const epl_tensor *onnx_evaluate_value(onnx_node *n, epl_value *v); /* of any value, inputs too; NULL if it is not known */
const epl_tensor *onnx_one(onnx_node *n, int i, const char *what);         /* onnx_known, of exactly one element */
const epl_tensor *onnx_one_if(onnx_node *n, int i, bool inputs_too);      /* likewise onnx_known_if */
int               onnx_known_ints(onnx_node *n, int i, const char *what, int64_t *out, int max); /* -1 on failure */
bool              onnx_known_real(onnx_node *n, int i, const char *what, double *out);

/* ---- attributes ---- */
bool        onnx_has_attr(onnx_node *n, const char *name);
int64_t     onnx_int(onnx_node *n, const char *name, int64_t otherwise);
double      onnx_real(onnx_node *n, const char *name, double otherwise);
const char *onnx_text(onnx_node *n, const char *name, const char *otherwise);
int         onnx_ints(onnx_node *n, const char *name, int64_t *out, int max);   /* how many; -1 if absent */
int         onnx_reals(onnx_node *n, const char *name, double *out, int max);   /* likewise */
const char *onnx_strings(onnx_node *n, const char *name, int i); /* entry i of a list, NULL if there is none */
const Onnx__TensorProto *onnx_tensor_attr(onnx_node *n, const char *name);
const Onnx__GraphProto  *onnx_graph_attr(onnx_node *n, const char *name);
bool        onnx_axis(onnx_node *n, int64_t axis, int rank, int *out); /* into [0, rank), or fails */

/* How many rows along an axis the network keeps of an output whose number of them depends on the data, if it fills
 * that output up and cuts it (padded.c); -1 if it does not. */
int64_t    onnx_padded_to(onnx_node *n, int output, int rank, int axis, double filler);
bool       onnx_inverse_kept(onnx_node *n, int output, int64_t count); /* likewise Unique's inverse: is it -1 beyond this number? */

epl_value *onnx_state(onnx_node *n, int i);    /* onnx_in, but an initialiser becomes a state: statistics, not trained */
bool       onnx_initial_shape(onnx_node *n, int i, epl_shape *out); /* an initialiser's; false if the input is not one */

/* The nodes of a sub-graph in the node's place, its inputs these values; its only result, or NULL. (adapt_control.c) */
epl_value *onnx_call_graph(onnx_node *n, const char *name, int n_in, epl_value *const *in);

/* Conv of x [N, C, S...] with the weights of an input, or with those given [M, C, K...]; the node's attributes; out[0] set. */
bool       onnx_convolve(onnx_node *n, epl_value *x, int weight_input, epl_value *weights, epl_value *bias);
epl_value *onnx_matmul(onnx_node *n, epl_value *a, epl_value *b); /* NumPy's, vectors included */
epl_value *onnx_constant(onnx_node *n, const Onnx__TensorProto *p); /* as an initialiser of the node's name */

/* ---- small helpers for adapters ---- */
epl_value *onnx_scalar_like(onnx_node *n, epl_value *like, double x); /* a constant of like's element type */
epl_value *onnx_to_channels_last(onnx_node *n, epl_value *x);  /* [N, C, S...] -> [N, S..., C] */
epl_value *onnx_to_channels_first(onnx_node *n, epl_value *x);
bool       onnx_elementwise(onnx_node *n); /* the generic adapter: an operator of our table with ONNX's name and attributes */
bool       onnx_set(onnx_node *n, epl_value *v); /* out[0] = v; true if v */

/* The importer's own graph operations for adapters that unroll functions. */
epl_context *onnx_context(const onnx_node *n);

#endif
