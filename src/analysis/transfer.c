/* transfer: whom the adversarial images of one network deceive. */
#include "analysis/attack.h"

#include <math.h>

typedef struct party {
    epl_tensor *logits;    /* of the images as they are */
    int64_t    *predicted; /* where samples leave */
    int         last;
} party;

static bool ask(const epl_model *m, const epl_tensor *x, epl_exit_rule rule, epl_exit_opts o, party *p)
{
    p->last      = epl_n_exits(m->graph) - 1;
    p->logits    = epl_exit_logits(m, x, o);
    p->predicted = p->logits ? epl_alloc_array(m->ctx, (size_t)x->shape.dim[0] + 1, sizeof *p->predicted) : NULL;
    if (p->predicted)
        epl_exit_decide(p->logits, rule, NULL, p->predicted, NULL);
    return p->predicted != NULL;
}

static void leave(epl_context *ctx, party *p)
{
    epl_tensor_free(p->logits);
    epl_release(ctx, p->predicted);
    *p = (party){ 0 };
}

/* The share of samples that both got right of which the target is wrong now; of the early attack, of all samples,
 * the share of which the target's early exits all leave its own answer while its final classifier stands by it (NaN
 * without early exits). */
static double success(epl_attack_kind kind, const party *source, const party *target, const party *attacked,
                      const int64_t *labels, int64_t n)
{
    int64_t asked = 0, hit = 0;
    for (int64_t i = 0; i < n; i++)
        if (kind == EPL_ATTACK_EARLY) {
            const int64_t y = epl_said(target->logits, target->last, i);
            bool fooled = epl_said(attacked->logits, target->last, i) == y;
            for (int e = 0; e < target->last; e++)
                fooled = fooled && epl_said(attacked->logits, e, i) != y;
            asked += target->last > 0;
            hit += fooled && target->last > 0;
        } else if (source->predicted[i] == labels[i] && target->predicted[i] == labels[i]) {
            asked++;
            hit += attacked->predicted[i] != labels[i];
        }
    return asked ? (double)hit / (double)asked : NAN;
}

bool epl_transfer(int n, const epl_model *const *models, const epl_exit_rule *rules, epl_dataset *d, epl_attack_opts o, double *out)
{
    epl_context      *ctx = models[0]->ctx;
    const epl_exit_opts quiet = { .batch = o.run.batch, .augment = o.run.augment };
    epl_tensor       *x, *labels;
    party            *clean = epl_alloc_array(ctx, (size_t)n, sizeof *clean);
    bool ok = clean && epl_raw_images(models[0], d, o.run.augment, &x, &labels);
    if (!ok) {
        epl_release(ctx, clean);
        return false;
    }
    for (int i = 0; ok && i < n; i++)
        ok = ask(models[i], x, rules ? rules[i] : o.rule, quiet, &clean[i]);
    for (int s = 0; ok && s < n; s++) {
        epl_attack_opts here = o;
        here.rule = rules ? rules[s] : o.rule;
        const bool  skip = o.kind == EPL_ATTACK_EARLY && epl_n_exits(models[s]->graph) < 2;
        epl_tensor *twin = skip ? NULL : epl_attack_images(models[s], x, labels, here, NULL);
        ok = skip || twin;
        for (int t = 0; ok && t < n; t++) {
            party attacked = { 0 };
            ok = skip || ask(models[t], twin, rules ? rules[t] : o.rule, quiet, &attacked);
            out[s * n + t] = skip || !ok ? NAN : success(o.kind, &clean[s], &clean[t], &attacked, labels->data, x->shape.dim[0]);
            leave(ctx, &attacked);
        }
        epl_tensor_free(twin);
    }
    for (int i = 0; i < n; i++)
        leave(ctx, &clean[i]);
    epl_release(ctx, clean);
    epl_tensor_free(x);
    epl_tensor_free(labels);
    return ok;
}
