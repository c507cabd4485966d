#include "common/outputs.h"

#include <espalier/program.h>

epl_tensor *test_outputs(test *t, const epl_model *m, uint64_t seed)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, m->ctx, p != NULL);
    epl_rng r = epl_rng_at(seed, 0);
    for (int i = 0; i < epl_program_n_inputs(p); i++)
        if (epl_program_input(p, i)->dtype == EPL_F32)
            epl_tensor_fill_normal(epl_program_input(p, i), &r, 0, 1);
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(m->ctx, epl_program_output(p, 0));
    epl_program_free(p);
    return y;
}
