/* shift_watch: what training with shift weights needs beside its expressions: S3's regularizer, and how much codes still change. */
#include "compress/compress.h"

#include <espalier/ops.h>

#include <stdio.h>
#include <string.h>

#define FLIPS  "shift.flips"
#define FROZEN "shift.frozen"
#define SEEN   "shift.seen" /* the codes of all weights when an epoch ended last, and bit 6: one of them has changed since the start */

enum { CHANGED = 64 };

static bool add_regularizer(epl_train_step *s)
{
    epl_value *sum = NULL;
    for (epl_node *n = s->graph->first, *end = s->graph->last; n; n = n == end ? NULL : n->next) {
        if (!EPL_IS(n, parameter) || !epl_glob("*.dense", n->attrs[0].s))
            continue;
        epl_value *part = epl_reduce_sum(s->graph, epl_relu(s->graph, epl_neg(s->graph, n->outputs[0])), (epl_reduce_opts){ 0 });
        sum = sum ? epl_add(s->graph, sum, part) : part;
    }
    if (sum)
        s->loss = epl_add(s->graph, s->loss, epl_affine(s->graph, sum, 1e-5, 0));
    return !epl_graph_failed(s->graph);
}

/* The codes go with the weights, so that a run that is taken up again goes on. */
static bool build(void *user, epl_train_step *s)
{
    (void)user;
    const int64_t n = epl_shift_codes(s->weights, NULL);
    if (!add_regularizer(s) || n == 0)
        return !epl_graph_failed(s->graph);
    if (!epl_weights_find(s->weights, SEEN)) {
        epl_tensor *t = epl_tensor_new(s->graph->ctx, EPL_U8, EPL_SHAPE(n));
        if (!t || !epl_weights_put_take(s->weights, SEEN, t))
            return false;
        epl_shift_codes(s->weights, t->data);
    }
    return epl_train_step_log(s, "flips", epl_state(s->graph, "/" FLIPS, EPL_F32, EPL_SCALAR, EPL_INIT_ZEROS, 0)) &&
           epl_train_step_log(s, "frozen", epl_state(s->graph, "/" FROZEN, EPL_F32, EPL_SCALAR, EPL_INIT_ONES, 0));
}

static bool after_epoch(void *user, epl_trainer *trainer, int64_t epoch)
{
    epl_model  *m = epl_trainer_model(trainer);
    epl_tensor *seen = epl_weights_find(m->weights, SEEN), *flips = epl_weights_find(m->weights, FLIPS);
    epl_tensor *frozen = epl_weights_find(m->weights, FROZEN);
    const int64_t n = seen ? epl_tensor_count(seen) : 0;
    uint8_t *now = n && flips && frozen ? epl_alloc(m->ctx, (size_t)n) : NULL, *before = n ? seen->data : NULL;
    int64_t  flipped = 0, same = 0;
    (void)user, (void)epoch;
    if (!now)
        return n == 0 || epl_error_code(m->ctx) == EPL_OK;
    epl_shift_codes(m->weights, now);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t changed = (before[i] & CHANGED) | (now[i] != (before[i] & ~CHANGED) ? CHANGED : 0);
        flipped += (now[i] ^ before[i]) >> 7;
        same += !changed;
        before[i] = now[i] | changed;
    }
    epl_tensor_set(flips, 0, (double)flipped / (double)n);
    epl_tensor_set(frozen, 0, (double)same / (double)n);
    epl_release(m->ctx, now);
    return true;
}

bool epl_shift_changes_of(const epl_model *m, epl_shift_changes *out)
{
    const epl_tensor *flips = epl_weights_find(m->weights, FLIPS), *frozen = epl_weights_find(m->weights, FROZEN);
    if (flips && frozen)
        *out = (epl_shift_changes){ .flips = epl_tensor_get(flips, 0), .frozen = epl_tensor_get(frozen, 0) };
    return flips && frozen;
}

epl_train_hook epl_shift_hook(void) { return (epl_train_hook){ .build = build, .after_epoch = after_epoch }; }
