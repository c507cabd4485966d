/* op: the operator table's entry, and the inside of graphs for the floors that define and rewrite them. */
#ifndef EPL_OP_H
#define EPL_OP_H

#include <espalier/graph.h>
#include "ops/ref.h"

/* ---- attributes ---------------------------------------------------------------------------------------------------
 * The field table of an operator describes them; printing, parsing, hashing, ONNX mapping and the reference call are
 * derived from it. */
typedef enum epl_attr_type {
    EPL_ATTR_NONE = 0, /* ends the table */
    EPL_ATTR_INT,      /* def_i */
    EPL_ATTR_BOOL,
    EPL_ATTR_REAL,     /* def_r */
    EPL_ATTR_INTS,     /* default: empty, unless `required` */
    EPL_ATTR_REALS,
    EPL_ATTR_STRING,   /* names; default "" */
    EPL_ATTR_CHOICE,   /* one of `choices` ("zeros|edge|reflect"), kept as its index; def_i */
    EPL_ATTR_DTYPE,    /* def_i */
    EPL_ATTR_TENSOR    /* the value of a Constant */
} epl_attr_type;

typedef struct epl_attr_field {
    const char   *name;
    epl_attr_type type;
    bool          required;
    int64_t       def_i;
    double        def_r;
    const char   *choices;
} epl_attr_field;

enum { EPL_MAX_ATTRS = 14 };

typedef struct epl_attr {
    bool              set; /* false: takes the default */
    int64_t           i;
    double            r;
    const char       *s;
    int               n;
    const int64_t    *ints;
    const double     *reals;
    const epl_tensor *tensor;
} epl_attr;

#define EPL_A_I(x)         ((epl_attr){ .set = true, .i = (x) })
#define EPL_A_R(x)         ((epl_attr){ .set = true, .r = (x) })
#define EPL_A_S(x)         ((epl_attr){ .set = true, .s = (x) })
#define EPL_A_INTS(n_, p)  ((epl_attr){ .set = true, .n = (n_), .ints = (p) })
#define EPL_A_REALS(n_, p) ((epl_attr){ .set = true, .n = (n_), .reals = (p) })
#define EPL_A_T(t)         ((epl_attr){ .set = true, .tensor = (t) })

/* ---- the table entry --------------------------------------------------------------------------------------------- */
typedef enum epl_op_flags {
    EPL_OP_SINK        = 1,  /* kept although nothing reads it (Output, Update) */
    EPL_OP_SOURCE      = 2,  /* Input, Parameter, State, Constant: has no kernel */
    EPL_OP_ELEMENTWISE = 4,  /* a row of elementwise.def: may join a chain */
    EPL_OP_COMMUTATIVE = 8,
    EPL_OP_RANDOM      = 16, /* its `stream` attribute makes it unique: never merged, never folded */
    EPL_OP_VIEW        = 32, /* output 0 has the bytes of input 0 in the same order (Reshape): costs nothing */
    EPL_OP_REGION      = 64, /* holds regions; executed by the program, not by a kernel */
    EPL_OP_MODAL       = 128 /* neutral until a program fixes its mode (BatchNorm, Dropout); ref computes inference */
} epl_op_flags;

struct epl_op {
    const char *name;                     /* as printed: ONNX's name where ONNX has it */
    int         n_inputs, min_inputs;     /* n_inputs -1: any number; the inputs from min_inputs on are optional. With
                                             n_inputs >= 0, min_inputs 0 means n_inputs */
    int         n_outputs;                /* -1: set by infer (epl_node_set_n_outputs) */
    int         n_regions;                /* -1: any number */
    unsigned    flags;
    unsigned    shape_only;               /* bit i: input i is read for its shape alone ("like"), never its elements; the
                                             reference kernel ignores it. epl_settle_shapes removes such inputs */
    epl_attr_field attrs[EPL_MAX_ATTRS];

    /* Checks inputs and attributes and sets dtype and shape of every output (epl_set_type). On failure: return
     * epl_node_fail(n, code, "sentence"), without the operator's name and scope, which are put before it. */
    bool (*infer)(epl_node *n);

    /* Adds nodes for the gradient. dy[i] is NULL where no gradient reaches output i (at least one is not NULL); leave
     * dx[i] NULL where none flows to input i. Gradients must have the input's shape and dtype. NULL function: not
     * differentiable, unless `expand` is there. */
    void (*grad)(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx);

    /* The same computation in simpler operators, or NULL. Gives a fused operator its (second) gradient and its oracle. */
    bool (*expand)(epl_graph *g, const epl_node *n, epl_value **out);

    epl_cost (*cost)(const epl_node *n);  /* NULL: one flop per output element; bytes are added by the caller */
    epl_ref_fn *ref;                      /* NULL for sources, sinks and regions */
    const char *ref_name;                 /* the C name of ref, for the compiler; set both with EPL_REF(f) */

    /* A legal node for the tests: adds inputs (epl_sample_input) and one node of this operator to g, drawn by r, with
     * float inputs of `dtype` (f32 or f64) where the operator has floats. Returns the node. NULL only for sources/sinks. */
    epl_node *(*sample)(epl_graph *g, epl_rng *r, epl_dtype dtype);
};

#define EPL_REF(f) .ref = (f), .ref_name = #f

/* Every operator's entry: epl_op_conv, epl_op_add, ... */
#define EPL_OP(name) extern const epl_op epl_op_##name;
#include "ops_table.inc"
#undef EPL_OP

extern const int epl_n_ops;
const epl_op    *epl_op_at(int i);              /* sorted by C name */
const epl_op    *epl_op_find(const char *name); /* by printed name; NULL without an error */
int              epl_op_n_attrs(const epl_op *op);
int              epl_op_attr_index(const epl_op *op, const char *name); /* -1 if none */

#define EPL_IS(node, opname) ((node) != NULL && (node)->op == &epl_op_##opname)

/* ---- inside ------------------------------------------------------------------------------------------------------ */
struct epl_value {
    epl_graph *graph;
    epl_node  *producer;
    int        index; /* which output */
    epl_dtype  dtype;
    epl_shape  shape;
    epl_use   *uses;
    size_t     n_uses, cap_uses;
    void      *mark;  /* scratch of the pass that is running; meaningless between passes */
    int64_t    tag;   /* likewise */
};

struct epl_node {
    epl_graph    *graph;
    const epl_op *op;
    int           id;
    const char   *scope;
    int           n_inputs, n_outputs, n_regions;
    size_t        cap_inputs;
    epl_value   **inputs;
    epl_value   **outputs;
    epl_graph   **regions;
    epl_attr     *attrs; /* one per field of the table; defaults filled in */
    epl_node     *prev, *next;
    void         *mark;
    int64_t       tag;
};

struct epl_graph {
    epl_context *ctx;
    epl_arena   *arena;  /* the root's; regions share it */
    epl_graph   *root;   /* itself for a root */
    epl_node    *owner;  /* the node that holds this region */
    const char  *name;
    epl_node    *first, *last, *cursor;
    int          n_nodes;
    /* the root's only */
    int         next_id;
    int64_t     next_stream;
    bool        failed;
    const char *scope;
    struct epl_scope_outer *outer; /* what epl_scope_pop goes back to */
};

/* The input of n that its regions read as their input i; -1: what the node makes itself. */
int epl_region_input(const epl_node *n, int i);

/* Adds a node at the insertion point: copies inputs and attributes (defaults filled in where attrs is NULL or a field is
 * not set), takes over regions, infers. NULL if the graph has failed, a required input is NULL, or infer fails. A
 * trailing run of NULL inputs is cut off. */
epl_node  *epl_node_add(epl_graph *g, const epl_op *op, int n_inputs, epl_value *const *inputs, const epl_attr *attrs,
                        int n_regions, epl_graph *const *regions);
epl_value *epl_apply(epl_graph *g, const epl_op *op, int n_inputs, epl_value *const *inputs, const epl_attr *attrs); /* output 0 */

/* epl_apply(g, &epl_op_add, EPL_IN(a, b), NULL) */
#define EPL_IN(...) (int)(sizeof((epl_value *[]){ __VA_ARGS__ }) / sizeof(epl_value *)), (epl_value *[]){ __VA_ARGS__ }

/* dst's node for one of another graph: the marks of its inputs are the new ones, those of its outputs become that. Parameters and
 * states are shared by name, with `prefix` before it. */
bool epl_copy_node(epl_graph *dst, const epl_node *n, const char *prefix);

void epl_node_move_last(epl_node *n);
bool epl_node_fail(const epl_node *n, epl_error code, const char *format, ...) EPL_PRINTF(3, 4); /* returns false */
bool epl_node_set_n_outputs(epl_node *n, int n_outputs);
bool epl_set_type(epl_node *n, int output, epl_dtype dtype, epl_shape shape); /* fails the node if a size is absurd */
bool epl_node_set_attr(epl_node *n, int index, epl_attr a); /* copies what it points to; shapes are not inferred again */
bool epl_attr_equal(const epl_attr_field *field, const epl_attr *a, const epl_attr *b); /* to the bit */
bool epl_infer_same(epl_node *n); /* output 0 like input 0 */
bool epl_check_axis(const epl_node *n, int64_t axis, int rank, int *out); /* axis into [0, rank), or fails the node */

/* Makes shapes final: inputs that are read for their shape alone become attributes (Expand, SumTo, Reshape, Split, ...), and
 * nodes that know nothing but shapes (Shape, Size, Range of a length) become constants. For lowering, after dimensions are
 * bound, so that nothing is kept in memory for its shape's sake. Includes regions. */
bool epl_settle_shapes(epl_graph *g);

/* A test's input, named "x<i>": the test draws its values from [low, high]; with `apart` > 0 no two values within one
 * tensor are closer than that, and none is closer to 0 (kinks, ties). Works for integer and bool types too. */
epl_value *epl_sample_input(epl_graph *g, epl_dtype dtype, epl_shape shape, double low, double high, double apart);

/* Runs a node's reference kernel. in and out as the node has them (NULL for an absent input); the caller allocates out. */
bool epl_evaluate_node(const epl_node *n, const epl_tensor *const *in, epl_tensor *const *out);

/* The whole graph by reference kernels, regions included: the oracle of every test. `inputs` in the graph's order;
 * parameters and states come from `weights` (NULL if there are none), whose states are updated at the end. outputs[i] are
 * allocated here and belong to the caller. */
bool epl_interpret(const epl_graph *g, epl_weights *weights, const epl_tensor *const *inputs, epl_tensor **outputs);

#endif
