/* synth: generated data sets. Sample i of a part is a function of (seed, part, i) alone: more samples never change the
 * earlier ones, and train and test never share a draw. Internal to the floor. */
#ifndef EPL_DATA_SYNTH_H
#define EPL_DATA_SYNTH_H

#include "data/kinds.h"

/* Room for `count` (train) or `test` samples, as the spec's keys of these names say; y is i64, or f32 for numbers. */
typedef struct epl_synth {
    epl_context *ctx;
    const char  *name;
    uint64_t     seed;
    bool         test;
    int64_t      n;
    epl_tensor  *x, *y;
} epl_synth;

bool        epl_synth_new(epl_synth *g, epl_context *ctx, const epl_spec *spec, epl_dataset_opts o);
bool        epl_synth_tensors(epl_synth *g, epl_dtype x_dtype, epl_shape x_sample, epl_dtype y_dtype, epl_shape y_sample);
epl_rng     epl_synth_rng(const epl_synth *g, int64_t i);
epl_source *epl_synth_finish(epl_synth *g, const char *const *classes, int n_classes); /* classes may be NULL */

#endif
