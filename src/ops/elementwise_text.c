/* The element-wise rows as text. */
#include "ops/elementwise.h"

#define NONE                              (.n_attrs = 0)
#define ATTR(p, p_default)                (.n_attrs = 1, .attr = { #p })
#define ATTRS(p, p_default, q, q_default) (.n_attrs = 2, .attr = { #p, #q })
#define BARE(...)                         __VA_ARGS__

#define ROW(inputs, name_, types_, attributes, y, printed_, opset_)                                                \
    { .name = #name_, .types = EPL_ROW_##types_, .n_inputs = inputs, BARE attributes, .expression = #y,            \
      .printed = printed_, .opset = opset_ },
#define UNARY(name, types, attributes, y, dx, printed, opset) ROW(1, name, types, attributes, y, printed, opset)
#define BINARY(name, types, attributes, y, da, db, printed, opset) ROW(2, name, types, attributes, y, printed, opset)
#define TERNARY(name, types, attributes, y, da, db, dc, printed, opset) ROW(3, name, types, attributes, y, printed, opset)

const epl_row epl_rows[EPL_N_ELEMENTWISE] = {
#include "ops/elementwise.def"
};
