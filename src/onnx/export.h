/* export: the state of an export, and what the emitters of operators use. Messages are protobuf-c's and live in an arena.
 *
 * Every value has up to two names in the file: `plain`, with its axes as they are, and `first`, channels before space
 * [N, C, S...]. An operator that ONNX defines channels first takes and gives `first`; element-wise operators and those along an
 * axis follow their inputs; the others ask for `plain`. Whoever asks for a form that is not there causes a transpose, once. */
#ifndef EPL_ONNX_EXPORT_H
#define EPL_ONNX_EXPORT_H

#include "base/symbols.h"
#include "graph/op.h"
#include "onnx.pb-c.h"

#include <espalier/onnx.h>
#include <espalier/ops.h>

/* An initialiser: a weight or constant in one shape and one order of axes. */
typedef struct onnx_form {
    epl_shape         shape, perm;
    const char       *name;
    struct onnx_form *next;
} onnx_form;

/* Where a value stands in the file; hangs at epl_value's mark. */
typedef struct onnx_place {
    const char *plain, *first; /* NULL: not written in this form (yet) */
    const char *wanted;        /* the output's name that its plain form takes */
    onnx_form  *forms;         /* of a weight or constant */
    epl_value  *captured;      /* of a region's input: the weight or constant around it that it stands for, else NULL */
} onnx_place;

typedef struct onnx_export {
    epl_context         *ctx;
    epl_arena           *arena;
    const epl_weights   *weights;
    epl_graph           *graph;  /* a copy of the model's, rewritten for the opset */
    epl_graph           *probe;  /* the same with every named dimension one larger; tells which sizes are named */
    int                  opset;
    epl_symbols          names;  /* that are taken */
    epl_symbols          constants; /* the exporter's own: their content to their name */
    Onnx__GraphProto    *main, *body; /* body: the graph or sub-graph that is being written */
    epl_text             states, parameters; /* names of initialisers: see file.h */
    epl_tensor         **turned; /* weights with permuted axes, until the file is written */
    size_t               n_turned, cap_turned;
} onnx_export;

typedef bool onnx_emitter(onnx_export *x, const epl_node *n);

typedef struct onnx_export_op {
    const epl_op *op;
    const char   *name; /* ONNX's */
    onnx_emitter *emit;
    const char   *skip; /* fields of our table that ONNX's operator has as inputs or lacks: "|axes|shape|" */
} onnx_export_op;

extern const onnx_export_op onnx_export_simple[], onnx_export_shapes[], onnx_export_layers[], onnx_export_control[], onnx_export_counted[];
const onnx_export_op *onnx_export_find(const epl_op *op); /* NULL: this operator has no counterpart */

/* rewrite.c: puts operators that ONNX, or this opset, does not know in terms of those that it knows. */
bool onnx_rewrite(epl_graph *g, int opset);
bool onnx_emit_graph(onnx_export *x, epl_graph *g); /* the nodes of g, or of a region, into x->body */

bool onnx_refuse(const epl_node *n, const char *format, ...) EPL_PRINTF(2, 3); /* "Conv 'stem.conv' has no ONNX form: ..." */

/* ---- messages ---- */
void       *onnx_alloc(onnx_export *x, size_t bytes);
/* Adds to a list of a message; `items` is the address of the list. */
bool        onnx_push(onnx_export *x, void *items, size_t *n, void *item);
const char *onnx_unique(onnx_export *x, const char *format, ...) EPL_PRINTF(2, 3); /* a name that nothing has yet */

Onnx__NodeProto *onnx_begin(onnx_export *x, const epl_node *n, const char *op); /* a new node of the body; n gives its scope */
void        onnx_arg(onnx_export *x, Onnx__NodeProto *p, const char *name);     /* its next input; NULL or "": left out */
const char *onnx_gives(onnx_export *x, Onnx__NodeProto *p, epl_value *v, bool first); /* its next output: v, in this form */
const char *onnx_between(onnx_export *x, Onnx__NodeProto *p);                   /* its next output, which is no value of ours */
void        onnx_set_int(onnx_export *x, Onnx__NodeProto *p, const char *name, int64_t i);
void        onnx_set_real(onnx_export *x, Onnx__NodeProto *p, const char *name, double r);
void        onnx_set_ints(onnx_export *x, Onnx__NodeProto *p, const char *name, int n, const int64_t *list);
void        onnx_set_text(onnx_export *x, Onnx__NodeProto *p, const char *name, const char *s);
void        onnx_set_tensor(onnx_export *x, Onnx__NodeProto *p, const char *name, Onnx__TensorProto *t);
void        onnx_set_graph(onnx_export *x, Onnx__NodeProto *p, const char *name, Onnx__GraphProto *g);
/* The attributes that the operator's table of fields names, all but those in `skip`. */
void        onnx_set_fields(onnx_export *x, Onnx__NodeProto *p, const epl_node *n, const char *skip);
int32_t     onnx_data_type(epl_dtype t);
Onnx__ValueInfoProto *onnx_value_info(onnx_export *x, const char *name, const epl_value *v, const epl_value *probe);

/* One node with one result: op(a, b) in this form. b may be NULL. */
const char *onnx_step(onnx_export *x, const epl_node *n, const char *op, const char *a, const char *b);

/* ---- values ---- */
static inline onnx_place *onnx_at(const epl_value *v) { return v->mark; }
bool        onnx_is_leaf(const epl_value *v);   /* a parameter, state or constant, captured or not */
bool        onnx_is_first(const epl_value *v);  /* channels first is the form that is there */
const char *onnx_plain(onnx_export *x, const epl_node *n, epl_value *v);
const char *onnx_first(onnx_export *x, const epl_node *n, epl_value *v);
const char *onnx_operand(onnx_export *x, const epl_node *n, epl_value *v, int rank); /* broadcasts against `first` of that rank */
const char *onnx_turned(onnx_export *x, const epl_node *n, epl_value *v, epl_shape perm); /* v's axes in this order */
int64_t     onnx_axis_first(int64_t axis, int rank); /* where a plain axis lies channels first */

/* Constants of the file. */
const char *onnx_const_ints(onnx_export *x, int n, const int64_t *list);
const char *onnx_const_int(onnx_export *x, int64_t i);  /* a scalar */
const char *onnx_const_like(onnx_export *x, epl_dtype dtype, double value, epl_shape shape); /* filled */
const char *onnx_store(onnx_export *x, const char *name, const epl_tensor *t); /* t's data must outlive the export */

#endif
