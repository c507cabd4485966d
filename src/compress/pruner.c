/* pruner: masks that close while a network trains. Gradual pruning, Zhu & Gupta 2017 (arXiv:1710.01878). Which update does what
 * depends on its number alone, and the masks are in the weights, so a run that was cut off goes on with the same bits. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

enum { CUBIC, LINEAR, EXPONENTIAL, ONESHOT };
static const char *const schedules[] = { "cubic", "linear", "exponential", "oneshot" };

static int schedule_of(const epl_pruner_opts *o)
{
    for (int i = 0; o->schedule && i < (int)EPL_COUNT(schedules); i++)
        if (strcmp(schedules[i], o->schedule) == 0)
            return i;
    return CUBIC;
}

/* The updates begin, begin + every, ..., begin + n every. */
typedef struct updates {
    int64_t begin, every, n;
} updates;

static updates updates_of(const epl_pruner_opts *o, int64_t total)
{
    const double  last = o->end > 0 ? o->end : 0.75;
    const int64_t from = o->end_step ? o->begin_step : (int64_t)llround(o->begin * (double)total);
    const int64_t to   = o->end_step ? o->end_step : (int64_t)llround(last * (double)total);
    updates u = { .begin = from > 1 ? from : 1 };
    const int64_t span = to > u.begin && schedule_of(o) != ONESHOT ? to - u.begin : 0;
    u.every = o->every > 0 ? o->every : span / 50 > 1 ? span / 50 : 1;
    u.n     = span / u.every;
    return u;
}

/* The part of the way from initial to final after part x of the updates. */
static double sparsity_at(const epl_pruner_opts *o, double x)
{
    const double first = o->initial, last = o->prune.sparsity;
    switch (schedule_of(o)) {
    case LINEAR:      return first + (last - first) * x;
    case EXPONENTIAL: return 1 - (1 - first) * pow((1 - last) / (1 - first), x);
    default:          return last + (first - last) * pow(1 - x, o->exponent > 0 ? o->exponent : 3); // eq. (1)
    }
}

double epl_pruner_sparsity(const epl_pruner_opts *o, int64_t step, int64_t total)
{
    const updates u = updates_of(o, total);
    if (step < u.begin)
        return 0;
    const int64_t k = (step - u.begin) / u.every;
    return k >= u.n ? o->prune.sparsity : sparsity_at(o, (double)k / (double)u.n);
}

/* ---- the hook ---- */

typedef struct pruner {
    epl_pruner_opts o;
} pruner;

static bool after_step(void *user, epl_trainer *t, int64_t step)
{
    const pruner *p     = user;
    const int64_t total = epl_trainer_total_updates(t);
    const updates u     = updates_of(&p->o, total);
    const bool    rests = step > u.begin + u.n * u.every && p->o.prune.gradient == EPL_MASK_FROZEN;
    if (step < u.begin || (step - u.begin) % u.every || rests)
        return true;
    return epl_masks_choose(epl_trainer_model(t), &p->o.prune, epl_pruner_sparsity(&p->o, step, total));
}

static bool check(epl_context *ctx, const epl_pruner_opts *o)
{
    if (!epl_prune_check(ctx, &o->prune) ||
        (o->schedule && epl_choose_word(ctx, "schedule", o->schedule, schedules, EPL_COUNT(schedules)) < 0))
        return false;
    if (o->prune.macs > 0)
        return epl_fail(ctx, EPL_ERR_ARGUMENT,
                        "a part of the multiply-adds (%g) is a target for pruning at once, not for a schedule",
                        o->prune.macs);
    if (!(o->initial >= 0 && o->initial < 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "the initial sparsity is %g, but must be at least 0 and below 1", o->initial);
    const bool falls = o->prune.sparsity < o->initial && !o->prune.n;
    if (falls && !o->allow_regrow)
        return epl_fail(
            ctx, EPL_ERR_ARGUMENT,
            "the sparsity ends at %g, below the %g where it begins: weights would have to come back, which has "
            "to be allowed",
            o->prune.sparsity, o->initial);
    if (falls && o->prune.gradient == EPL_MASK_FROZEN)
        return epl_fail(ctx, EPL_ERR_ARGUMENT,
                        "the sparsity ends at %g, below the %g where it begins, but frozen masks give nothing back: it "
                        "needs the gradient ste or srste",
                        o->prune.sparsity, o->initial);
    if (o->end_step ? o->begin_step < 0 || o->end_step < o->begin_step
                    : !(o->begin >= 0 && o->begin <= 1 && o->end >= 0 && o->end <= 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "pruning from %g to %g: the end lies before the begin, or outside the run",
                        o->end_step ? (double)o->begin_step : o->begin, o->end_step ? (double)o->end_step : o->end);
    if (!o->end_step && (o->end > 0 ? o->end : 0.75) < o->begin)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "pruning begins at %g of the run and ends at %g", o->begin, o->end > 0 ? o->end : 0.75);
    return o->every >= 0 && o->exponent >= 0
        ? true : epl_fail(ctx, EPL_ERR_ARGUMENT, "every %lld updates, exponent %g", (long long)o->every, o->exponent);
}

/* Sparsity is final: the update of the schedule's end is done. */
static bool settled(void *user, const epl_trainer *t)
{
    const pruner *p = user;
    const updates u = updates_of(&p->o, epl_trainer_total_updates(t));
    return epl_trainer_updates(t) >= u.begin + u.n * u.every;
}

static uint64_t hash_of(const epl_pruner_opts *o)
{
    const double numbers[] = { schedule_of(o), o->initial, o->begin, o->end > 0 ? o->end : 0.75, (double)o->begin_step, (double)o->end_step,
                               (double)o->every, o->exponent > 0 ? o->exponent : 3 };
    return epl_hash(numbers, sizeof numbers, epl_prune_hash(&o->prune));
}

epl_train_hook epl_pruner_hook(epl_model *m, epl_pruner_opts o)
{
    const epl_mask_opts masks = { o.prune.pattern, o.prune.skip, o.prune.gradient, o.prune.lambda };
    pruner             *p = check(m->ctx, &o) && epl_prune_check_layers(m, &o.prune) && epl_masks_add(m, masks) >= 0
                                ? epl_alloc(m->ctx, sizeof *p)
                                : NULL;
    if (!p)
        return (epl_train_hook){ 0 };
    p->o = o;
    return (epl_train_hook){ .after_step = after_step, .settled = settled, .user = p, .options = hash_of(&o) };
}
