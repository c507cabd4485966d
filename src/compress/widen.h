/* widen: every width of a network times a factor, tied axes together. */
#ifndef EPL_COMPRESS_WIDEN_H
#define EPL_COMPRESS_WIDEN_H

#include "compress/compress.h"

/* The wider graph, the caller's; *scale is what the widths' greatest common divisor was multiplied with. NULL on
 * failure: somebody but the network's inputs and outputs holds a width. */
epl_graph *epl_widen(const epl_model *m, double factor, double *scale);

#endif
