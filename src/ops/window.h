/* window: what convolutions and pools share - the check of their geometry, and its way from options to attributes. */
#ifndef EPL_OPS_WINDOW_H
#define EPL_OPS_WINDOW_H

#include <espalier/ops.h>
#include "graph/op.h"

/* The window of an operator over the spatial axes of `in` [N, spatial..., C], with output sizes computed. The lists may be
 * empty. Fails the node on a wrong number of axes, sizes below one, negative padding, or an output without elements. With
 * `ceil_mode` the last window may hang over the end, but must start inside the input or its leading padding. */
bool epl_window_infer(const epl_node *n, epl_shape in, const int64_t *kernel, const epl_attr *strides, const epl_attr *pads,
                      const epl_attr *dilations, bool ceil_mode, epl_ref_window *w);

/* [N, w.out..., channels] where N and the number of axes are those of `in`. */
epl_shape epl_window_shape(epl_shape in, const epl_ref_window *w, int64_t channels);

/* Options to lists for the attributes of an operator with `spatial` axes. */
typedef struct epl_window_lists {
    int     spatial;
    int64_t kernel[3], stride[3], dilation[3], pad[6];
} epl_window_lists;

/* A zero in `from` stands for the entry before it, a leading zero for `otherwise`. */
void epl_window_fill(int64_t to[3], const int from[3], int64_t otherwise);

/* pad: on every side; begin, end: added to it. With `same`: so much (more at the end) that the output has
 * ceil(in / stride) elements. Uses stride, dilation and kernel of l. */
void epl_window_pads(epl_window_lists *l, epl_shape in, int pad, const int begin[3], const int end[3], bool same);

#endif
