/* importer: the state of an import, for import.c, node.c, evaluate.c and adapt_control.c. Adapters see import.h alone. */
#ifndef EPL_ONNX_IMPORTER_H
#define EPL_ONNX_IMPORTER_H

#include "base/symbols.h"
#include "onnx/import.h"

enum { ONNX_NEWEST_OPSET = 28, ONNX_CALL_DEPTH = 32 };

/* What a name stands for. */
typedef struct onnx_entry {
    const char *name;
    epl_value  *value;             /* NULL: an initialiser that nobody has read, or `absent` */
    const Onnx__TensorProto *init;
    epl_value  *permuted;          /* the initialiser with its axes in the order of perm */
    epl_shape   perm;
    bool        absent;            /* an optional input of a function that the caller left out */
} onnx_entry;

/* The names of one graph, sub-graph or function. */
struct onnx_scope {
    onnx_scope *parent;            /* of a sub-graph: the graph around it; of a function: none */
    epl_graph  *g;
    epl_symbols names;
    const Onnx__FunctionProto *function;
    const Onnx__NodeProto     *call;       /* whose attributes the function's nodes may refer to */
    const onnx_scope          *outer_call; /* where that node stands */
    int         depth;             /* of calls */
};

enum { ONNX_FROM_INPUT = 1, ONNX_FROM_WEIGHTS = 2 }; /* what went into a value that is known: an input's given one; parameters or states */

typedef struct onnx_memo {
    epl_tensor **out;
    unsigned     from;
    bool         noted; /* the names of those inputs are in `fixed` */
} onnx_memo;

struct onnx_import {
    epl_context  *ctx;
    epl_arena    *arena;
    onnx_file     file;
    epl_onnx_opts opts;
    epl_graph    *graph;
    epl_weights  *weights;
    bool          placed; /* the error that is recorded names its node */
    onnx_memo    *memo;   /* by node id */
    size_t        n_memo;
    struct { const epl_value *value; int64_t type; } *narrow; /* values whose ONNX type is narrower than what they are held as */
    size_t        n_narrow, cap_narrow;
    epl_text      fixed;  /* the names of inputs whose value was taken for good */
    epl_symbols   states, parameters; /* names of initialisers that the file says more of: see file.h */
    epl_symbols   homes;  /* where an initialiser is stored, for all graphs that read it: by onnx_home */
    int           turned; /* transposes that the importer has put in */
};

onnx_entry *onnx_scope_find(const onnx_scope *s, const char *name);
onnx_entry *onnx_scope_add(onnx_import *imp, onnx_scope *s, const char *name, epl_value *v, const Onnx__TensorProto *init);
bool        onnx_add_initialisers(onnx_import *imp, onnx_scope *s, const Onnx__GraphProto *p);
bool        onnx_import_node(onnx_import *imp, onnx_scope *s, const Onnx__NodeProto *p);
epl_value  *onnx_result(onnx_import *imp, onnx_scope *s, const char *name);

bool        onnx_move_flattening(onnx_import *imp); /* flatten.c */

/* evaluate.c: the value of v if it follows from constants and weights (and given inputs); else NULL without an error. */
const epl_tensor *onnx_evaluate(onnx_import *imp, epl_value *v, bool inputs_too);
const epl_tensor *onnx_evaluate_constant(onnx_import *imp, epl_value *v); /* from constants alone */
void              onnx_evaluate_release(onnx_import *imp);

#endif
