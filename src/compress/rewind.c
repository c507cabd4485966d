/* rewind: weights as they were after some update of a run, for lottery tickets - train, prune, go back, train again
 * (Frankle & Carbin 2019, arXiv:1803.03635; to an early update: Frankle et al. 2020, arXiv:1912.05671). What is kept
 * does not outlive the process. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

struct epl_rewinder {
    epl_context *ctx;
    int64_t      step;
    epl_weights *kept;
};

epl_rewinder *epl_rewinder_new(epl_model *m, int64_t step)
{
    epl_rewinder *r = epl_alloc(m->ctx, sizeof *r);
    if (!r)
        return NULL;
    *r = (epl_rewinder){ .ctx = m->ctx, .step = step, .kept = step == 0 ? epl_weights_copy(m->ctx, m->weights) : NULL };
    if (step == 0 && !r->kept) {
        epl_release(m->ctx, r);
        return NULL;
    }
    return r;
}

void epl_rewinder_free(epl_rewinder *r)
{
    if (r)
        epl_weights_free(r->kept);
    if (r)
        epl_release(r->ctx, r);
}

static bool after_step(void *user, epl_trainer *t, int64_t step)
{
    epl_rewinder *r = user;
    if (step != r->step || r->kept)
        return true;
    r->kept = epl_weights_copy(r->ctx, epl_trainer_model(t)->weights);
    return r->kept != NULL;
}

epl_train_hook epl_rewinder_hook(epl_rewinder *r) { return (epl_train_hook){ .after_step = after_step, .user = r }; }

bool epl_rewind(epl_model *m, const epl_rewinder *r)
{
    if (!r->kept)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "there is nothing to go back to: no run came to update %lld", (long long)r->step);
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char       *name = epl_weights_name(m->weights, i);
        epl_tensor       *to = epl_weights_at(m->weights, i);
        const epl_tensor *from = epl_weights_find(r->kept, name);
        if (epl_glob("*.mask", name) || !from || from->dtype != to->dtype || !epl_shape_equal(from->shape, to->shape))
            continue;
        memcpy(to->data, from->data, epl_tensor_bytes(to));
    }
    return epl_masks_apply(m);
}

double epl_round_sparsity(double sparsity, int round, int rounds)
{
    return round >= rounds ? sparsity : 1 - pow(1 - sparsity, (double)round / rounds);
}
