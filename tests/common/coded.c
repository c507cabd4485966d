#include "common/coded.h"

#include <string.h>

int64_t test_between(epl_rng *r, int64_t low, int64_t high)
{
    return low + (int64_t)epl_rng_below(r, (uint64_t)(high - low + 1));
}

epl_value *test_coded_weight(epl_graph *g, const char *name, int bits, epl_shape s)
{
    const int64_t bytes = epl_shift_packed_bytes(epl_shape_count(s), bits);
    return epl_shift_weight(g, epl_state(g, name, EPL_U8, EPL_SHAPE(bytes), EPL_INIT_ZEROS, 0), bits, s);
}

epl_model *test_coded_model(test *t, epl_graph *g)
{
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, test_context(t), m && epl_model_init(m, 3));
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        for (int64_t k = 0; w->dtype == EPL_U8 && k < epl_tensor_count(w); k++)
            ((uint8_t *)w->data)[k] = (uint8_t)epl_rng_below(t->rng, 256);
    }
    return m;
}

int test_count_steps(const epl_program *p, const char *kernel)
{
    int n = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        n += strcmp(epl_program_step(p, i).kernel, kernel) == 0;
    return n;
}

epl_program *test_frozen_run(test *t, const epl_model *m, epl_program_opts o, const epl_tensor *x)
{
    o.frozen = true;
    epl_program *p = epl_program_new(m->graph, m->weights, o);
    CHECK_OK(t, m->ctx, p != NULL);
    memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
    CHECK_OK(t, m->ctx, epl_program_run(p));
    return p;
}
