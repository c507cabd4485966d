/* gate_train: gates learn to foresee which channels respond most, while the network learns its task through their
 * masks. Elkerdawy et al. 2022 (arXiv:2110.08232), sec. 3. */
#include <espalier/morph.h>

#include "morph/gate.h"

#include <string.h>

#define LAMBDA "gates.lambda" /* a state: f32 scalar */

static bool has_unit_range(double x) { return x > 0 && x <= 1; }

static epl_value *gate_loss(epl_train_step *s, const epl_gate_train_opts *o, const epl_gate_site *site, epl_value **agreement)
{
    epl_graph *g = s->graph;
    epl_value *labels = epl_gate_labels(g, site->end, o->mass, o->uniform);
    epl_value *each   = epl_bce_with_logits_loss(g, site->logits, labels, (epl_bce_opts){ .reduction = EPL_NONE });
    epl_value *same   = epl_cast(g, epl_equal(g, site->mask, labels), EPL_F32);
    *agreement = epl_weighted_mean(g, epl_reduce_mean(g, same, (epl_reduce_opts){ EPL_AXES(1) }), s->sample_weights);
    return epl_weighted_mean(g, epl_reduce_sum(g, each, (epl_reduce_opts){ EPL_AXES(1) }), s->sample_weights);
}

static bool build(void *user, epl_train_step *s)
{
    const epl_gate_train_opts *o = user;
    epl_graph     *g = s->graph;
    epl_gate_site *sites = epl_arena_alloc(s->arena, (size_t)(g->n_nodes + 1) * sizeof *sites);
    const int      n = sites ? epl_gate_find(g, sites) : 0;
    if (n == 0)
        return sites && epl_fail(g->ctx, EPL_ERR_ARGUMENT, "network '%s' has no gates to train (epl_gates_add)", g->name);
    epl_tensor *one = epl_tensor_new(g->ctx, EPL_F32, EPL_SCALAR);
    if (!one || !epl_weights_put_take(s->weights, LAMBDA, one))
        return false;
    epl_tensor_set(one, 0, o->cooldown > 0 ? o->weight : 0);
    epl_value *lambda = epl_state(g, "/" LAMBDA, EPL_F32, EPL_SCALAR, EPL_INIT_ONES, 0), *sum = NULL, *right = NULL;
    for (int i = 0; i < n; i++) {
        epl_value *agreement, *loss = gate_loss(s, o, &sites[i], &agreement);
        sum   = sum ? epl_add(g, sum, loss) : loss;
        right = right ? epl_add(g, right, agreement) : agreement;
    }
    sum     = epl_affine(g, sum, 1.0 / n, 0);
    s->loss = epl_add(g, s->loss, epl_mul(g, lambda, sum));
    return epl_train_step_log(s, "gates", sum) && epl_train_step_log(s, "agreement", epl_affine(g, right, 1.0 / n, 0));
}

/* What optimizers keep for gates would move them on: it goes. */
static void rest(epl_weights *w)
{
    for (int i = 0; i < epl_weights_count(w); i++)
        if (epl_glob("train.*.gate.weight,train.*.gate.bias", epl_weights_name(w, i)))
            memset(epl_weights_at(w, i)->data, 0, epl_tensor_bytes(epl_weights_at(w, i)));
}

static bool after_epoch(void *user, epl_trainer *t, int64_t epoch)
{
    const epl_gate_train_opts *o = user;
    epl_weights *w = epl_trainer_model(t)->weights;
    epl_tensor  *lambda = epl_weights_find(w, LAMBDA);
    if (lambda && (double)epoch >= o->cooldown * o->epochs && epl_tensor_get(lambda, 0) != 0) {
        epl_tensor_set(lambda, 0, 0);
        rest(w);
    }
    return true;
}

epl_train_hook epl_gates_hook(const epl_model *m, epl_gate_train_opts o)
{
    epl_gate_train_opts *kept = NULL;
    o.weight   = o.weight != 0 ? o.weight : 1;
    o.cooldown = o.cooldown != 0 ? o.cooldown : 0.5;
    if (!has_unit_range(o.mass) && o.mass != -1 && !has_unit_range(o.uniform))
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "gates: the mass is %g, but a share above 0 and at most 1, or -1, is needed", o.mass);
    else if (o.epochs < 1)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "gates are trained over %d epochs, at least 1 is needed", o.epochs);
    else
        kept = epl_alloc(m->ctx, sizeof *kept);
    if (!kept)
        return (epl_train_hook){ 0 };
    *kept = o;
    return (epl_train_hook){ .build = build, .after_epoch = after_epoch, .user = kept,
                             .options = epl_hash(&kept->cooldown, sizeof kept->cooldown, 0) };
}
