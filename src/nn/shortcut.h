/* nn: the shortcut of blocks that begin with their normalisation, which MBConv and MOAT blocks share. */
#ifndef EPL_NN_SHORTCUT_H
#define EPL_NN_SHORTCUT_H

#include <espalier/nn.h>

/* x averaged, where o->stride is above 1, and through the 1x1 convolution `name`, where its channels are not o->out. */
epl_value *epl_pooled_shortcut(epl_graph *g, epl_value *x, const char *name, const epl_inverted_opts *o);

#endif
