#include "common/cut_run.h"

static bool go_on_before(void *user, epl_trainer *tr, int64_t step)
{
    (void)tr;
    return step < *(int64_t *)user;
}

void test_train_until(test *t, epl_model *m, epl_dataset *d, epl_trainer_opts o, int64_t stop)
{
    epl_train_hook hooks[8] = { 0 };
    CHECK(t, o.n_hooks < 8);
    memcpy(hooks, o.hooks, (size_t)o.n_hooks * sizeof *hooks);
    hooks[o.n_hooks++] = (epl_train_hook){ .after_step = go_on_before, .user = &stop };
    o.hooks            = hooks;
    o.checkpoint_every = 1;
    o.resume           = true;
    epl_trainer *tr = epl_trainer_new(m, d, NULL, o);
    CHECK_OK(t, m->ctx, tr != NULL);
    if (!epl_trainer_run(tr)) {
        CHECK_INT(t, epl_error_code(m->ctx), EPL_ERR_INTERRUPTED);
        epl_error_clear(m->ctx);
    }
    epl_trainer_free(tr);
}

void test_same_weights(test *t, const epl_model *a, const epl_model *b)
{
    for (int i = 0; i < epl_weights_count(a->weights); i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(a->weights, i), epl_weights_find(b->weights, epl_weights_name(a->weights, i))));
}
