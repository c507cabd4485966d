/* control: If, Switch, Loop and regions with a gradient of their own. */
#include "graph/op.h"

const epl_op epl_op_if = { .name = "If", .n_inputs = -1, .min_inputs = 1, .n_outputs = -1, .n_regions = 2, .flags = EPL_OP_REGION };
const epl_op epl_op_switch = { .name = "Switch", .n_inputs = -1, .min_inputs = 1, .n_outputs = -1, .n_regions = -1, .flags = EPL_OP_REGION };
const epl_op epl_op_loop = {
    .name = "Loop", .n_inputs = -1, .n_outputs = -1, .n_regions = 1, .flags = EPL_OP_REGION,
    .attrs = { { "trip", EPL_ATTR_INT, .required = true }, { "n_carried", EPL_ATTR_INT } },
};
