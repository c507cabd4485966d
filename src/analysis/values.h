/* values: what two networks compute from the same inputs. */
#ifndef EPL_ANALYSIS_VALUES_H
#define EPL_ANALYSIS_VALUES_H

#include <espalier/program.h>

#include "analysis/pairs.h"

/* A network with its inputs set, as a program. */
typedef struct value_run {
    epl_program *p;
    epl_graph   *graph;   /* a copy with every value as an output, or NULL */
    epl_weights *weights; /* a copy, where the network changes its own; or NULL */
} value_run;

/* The program of m, or of a copy that delivers every value of its root graph: output i is then values[i]. */
bool value_run_init(value_run *r, const epl_model *m, bool every, epl_value ***values, int *n);
void value_run_release(value_run *r);

/* t as a tensor of this shape: as it is, or with its channels moved from the first place to the last, or back; NULL without an
 * error if neither fits. The caller owns it. *moved says that it was transposed. */
epl_tensor *value_fitted(epl_context *ctx, const epl_tensor *t, epl_shape shape, bool *moved);

#endif
