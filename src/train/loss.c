/* loss: losses by name, with targets brought into the form that each needs, and the weighted mean over samples. */
#include <espalier/train.h>

#include <espalier/ops.h>

#include <string.h>

/* Numbers of the logits' shape: as they are, or classes made one-hot (one channel: 0 and 1). */
static epl_value *as_numbers(epl_graph *g, epl_value *target, epl_value *logits)
{
    if (!target || !logits)
        return NULL;
    const epl_dtype type = epl_dtype_of(logits);
    if (!epl_dtype_is_float(epl_dtype_of(target)) && epl_channels(logits) > 1 && epl_rank(target) == epl_rank(logits) - 1)
        return epl_one_hot(g, target, epl_channels(logits), (epl_one_hot_opts){ .dtype = type });
    target = epl_cast(g, target, type);
    return epl_rank(target) == epl_rank(logits) ? target : epl_reshape_like(g, target, logits);
}

static epl_value *cross_entropy(epl_graph *g, epl_value *logits, epl_value *target, epl_loss_opts o)
{
    return epl_softmax_cross_entropy(g, logits, target, (epl_cross_entropy_opts){ .smoothing = o.smoothing, .reduction = EPL_NONE });
}

static epl_value *mse(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    (void)o;
    return epl_mse_loss(g, x, as_numbers(g, t, x), EPL_NONE);
}

static epl_value *l1(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    (void)o;
    return epl_l1_loss(g, x, as_numbers(g, t, x), EPL_NONE);
}

static epl_value *huber(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    return epl_huber_loss(g, x, as_numbers(g, t, x), o.delta ? o.delta : 1, EPL_NONE);
}

static epl_value *bce(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    (void)o;
    return epl_bce_with_logits_loss(g, x, as_numbers(g, t, x), (epl_bce_opts){ .reduction = EPL_NONE });
}

static epl_value *focal(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    return epl_focal_loss(g, x, as_numbers(g, t, x), (epl_focal_opts){ .gamma = o.gamma, .alpha = o.alpha, .reduction = EPL_NONE });
}

static epl_value *dice(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    (void)o;
    return epl_dice_loss(g, epl_sigmoid(g, x), as_numbers(g, t, x), (epl_dice_opts){ .reduction = EPL_NONE });
}

/* sum t (log t - log softmax x); 0 log 0 is 0. */
static epl_value *kl(epl_graph *g, epl_value *x, epl_value *t, epl_loss_opts o)
{
    (void)o;
    t = as_numbers(g, t, x);
    epl_value *log_t = epl_log(g, epl_clip(g, t, 1e-30, 1));
    epl_value *each  = epl_mul(g, t, epl_sub(g, log_t, epl_log_softmax(g, x, -1)));
    return epl_reduce_sum(g, each, (epl_reduce_opts){ EPL_AXES(-1) });
}

static const struct {
    const char *name;
    epl_value *(*build)(epl_graph *g, epl_value *logits, epl_value *target, epl_loss_opts o);
} losses[] = {
    { "cross-entropy", cross_entropy }, { "mse", mse },   { "l1", l1 },     { "huber", huber },
    { "bce", bce },                     { "focal", focal }, { "dice", dice }, { "kl", kl },
};

epl_value *epl_weighted_mean(epl_graph *g, epl_value *per_sample, epl_value *weights)
{
    if (!weights)
        return epl_reduce_mean(g, per_sample, (epl_reduce_opts){ 0 });
    epl_value *sum = epl_reduce_sum(g, epl_mul(g, per_sample, weights), (epl_reduce_opts){ 0 });
    return epl_div(g, sum, epl_reduce_sum(g, weights, (epl_reduce_opts){ 0 }));
}

static epl_value *mean_per_sample(epl_graph *g, epl_value *loss)
{
    epl_reduce_opts rest = { 0 };
    for (int i = 1; loss && i < epl_rank(loss); i++)
        rest.axes[rest.n_axes++] = i;
    return rest.n_axes ? epl_reduce_mean(g, loss, rest) : loss;
}

epl_value *epl_loss(epl_graph *g, epl_value *logits, epl_value *target, epl_value *weights, epl_loss_opts o)
{
    const char *names[EPL_COUNT(losses)], *name = o.name ? o.name : losses[0].name;
    for (size_t i = 0; i < EPL_COUNT(losses); i++) {
        names[i] = losses[i].name;
        if (strcmp(name, names[i]) == 0)
            return epl_weighted_mean(g, mean_per_sample(g, losses[i].build(g, logits, target, o)), weights);
    }
    const char *close = epl_closest(name, names, EPL_COUNT(losses));
    return epl_graph_fail(g, EPL_ERR_ARGUMENT, "there is no loss '%s'%s%s%s (cross-entropy, mse, l1, huber, bce, focal, dice, kl)",
                          name, close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
}
