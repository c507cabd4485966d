/* core: the sources and sinks of every graph - what comes in, what is trained or carried, what goes out. They have no
 * kernels; a program binds them to memory. graph/graph.c has their builders and relies on the order of their attributes. */
#include "graph/op.h"

#include <stdio.h>

#define INITS "zeros|ones|constant|normal|trunc_normal|uniform|orthogonal|uniform_above" /* the order of epl_init */

static bool infer_source(epl_node *n)
{
    epl_shape shape = { .rank = n->attrs[2].n };
    if (n->attrs[1].i <= EPL_NO_DTYPE || n->attrs[1].i >= EPL_N_DTYPES)
        return epl_node_fail(n, EPL_ERR_DTYPE, "'%s' has no element type", n->attrs[0].s);
    if (shape.rank > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "'%s' has rank %d; at most %d are possible", n->attrs[0].s, shape.rank,
                             EPL_MAX_RANK);
    for (int i = 0; i < shape.rank; i++)
        shape.dim[i] = n->attrs[2].ints[i];
    return epl_set_type(n, 0, (epl_dtype)n->attrs[1].i, shape);
}

const epl_op epl_op_input = {
    .name = "Input", .n_outputs = 1, .flags = EPL_OP_SOURCE,
    .attrs = { { "name", EPL_ATTR_STRING, .required = true }, { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_F32 },
               { "shape", EPL_ATTR_INTS }, { "dims", EPL_ATTR_STRING } },
    .infer = infer_source,
};

const epl_op epl_op_parameter = {
    .name = "Parameter", .n_outputs = 1, .flags = EPL_OP_SOURCE,
    .attrs = { { "name", EPL_ATTR_STRING, .required = true }, { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_F32 },
               { "shape", EPL_ATTR_INTS }, { "init", EPL_ATTR_CHOICE, .choices = INITS }, { "scale", EPL_ATTR_REAL } },
    .infer = infer_source,
};

const epl_op epl_op_state = {
    .name = "State", .n_outputs = 1, .flags = EPL_OP_SOURCE,
    .attrs = { { "name", EPL_ATTR_STRING, .required = true }, { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_F32 },
               { "shape", EPL_ATTR_INTS }, { "init", EPL_ATTR_CHOICE, .choices = INITS }, { "scale", EPL_ATTR_REAL } },
    .infer = infer_source,
};

static bool infer_constant(epl_node *n)
{
    const epl_tensor *t = n->attrs[0].tensor;
    return t ? epl_set_type(n, 0, t->dtype, t->shape) : epl_node_fail(n, EPL_ERR_ARGUMENT, "a constant needs a value");
}

const epl_op epl_op_constant = {
    .name = "Constant", .n_outputs = 1, .flags = EPL_OP_SOURCE,
    .attrs = { { "value", EPL_ATTR_TENSOR, .required = true } },
    .infer = infer_constant,
};

const epl_op epl_op_output = {
    .name = "Output", .n_inputs = 1, .flags = EPL_OP_SINK,
    .attrs = { { "name", EPL_ATTR_STRING } },
};

static bool infer_update(epl_node *n)
{
    const epl_value *state = n->inputs[0], *next = n->inputs[1];
    char is[192], was[192];
    if (!EPL_IS(state->producer, parameter) && !EPL_IS(state->producer, state))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "only a parameter or a state can be updated, not the result of %s",
                             state->producer->op->name);
    if (state->dtype != next->dtype || !epl_shape_equal(state->shape, next->shape))
        return epl_node_fail(n, EPL_ERR_SHAPE, "'%s' is %s%s, its next value %s%s", epl_value_name(state),
                             epl_dtype_name(state->dtype), epl_shape_text(was, state->shape), epl_dtype_name(next->dtype),
                             epl_shape_text(is, next->shape));
    return true;
}

/* All updates of a step read the old values: state := next happens after the last node. */
const epl_op epl_op_update = {
    .name = "Update", .n_inputs = 2, .flags = EPL_OP_SINK, .infer = infer_update,
};

epl_value *epl_sample_input(epl_graph *g, epl_dtype dtype, epl_shape shape, double low, double high, double apart)
{
    char name[64], dims[96];
    snprintf(name, sizeof name, "x%d", epl_graph_n_inputs(g));
    /* the test reads the range back from the dims field, which names no dimension here */
    snprintf(dims, sizeof dims, "|%.17g|%.17g|%.17g", low, high, apart);
    return epl_input(g, name, dtype, shape, dims);
}
