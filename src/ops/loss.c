/* loss: losses that are a few ordinary nodes. Cross-entropy, which has an operator of its own, is in softmax.c. */
#include <espalier/ops.h>

epl_value *epl_reduce_loss(epl_graph *g, epl_value *loss, epl_reduction reduction)
{
    switch (reduction) {
    case EPL_MEAN: return epl_reduce_mean(g, loss, (epl_reduce_opts){ 0 });
    case EPL_SUM:  return epl_reduce_sum(g, loss, (epl_reduce_opts){ 0 });
    default:       return loss;
    }
}

epl_value *epl_mse_loss(epl_graph *g, epl_value *x, epl_value *target, epl_reduction reduction)
{
    return epl_reduce_loss(g, epl_square(g, epl_sub(g, x, target)), reduction);
}

epl_value *epl_l1_loss(epl_graph *g, epl_value *x, epl_value *target, epl_reduction reduction)
{
    return epl_reduce_loss(g, epl_abs(g, epl_sub(g, x, target)), reduction);
}

/* With a = |x - target| and c = min(a, delta): c (a - c/2), which is a^2/2 up to delta and a line beyond it. */
epl_value *epl_huber_loss(epl_graph *g, epl_value *x, epl_value *target, double delta, epl_reduction reduction)
{
    epl_value *a = epl_abs(g, epl_sub(g, x, target)), *c = epl_clip(g, a, 0, delta);
    return epl_reduce_loss(g, epl_mul(g, c, epl_sub(g, a, epl_affine(g, c, 0.5, 0))), reduction);
}

epl_value *epl_smooth_l1_loss(epl_graph *g, epl_value *x, epl_value *target, double beta, epl_reduction reduction)
{
    return epl_affine(g, epl_huber_loss(g, x, target, beta, reduction), 1 / beta, 0);
}

/* -t log p - (1 - t) log(1 - p) = softplus(x) - t x, per element. */
static epl_value *bce(epl_graph *g, epl_value *x, epl_value *t)
{
    return epl_sub(g, epl_softplus(g, x), epl_mul(g, t, x));
}

epl_value *epl_bce_with_logits_loss(epl_graph *g, epl_value *x, epl_value *target, epl_bce_opts o)
{
    epl_value *loss = bce(g, x, target);
    if (o.positive_weight) // (1 + (w - 1) t) instead of 1 before log p: adds (w - 1) t softplus(-x)
        loss = epl_add(g, loss, epl_mul(g, epl_mul(g, epl_affine(g, o.positive_weight, 1, -1), target),
                                        epl_softplus(g, epl_neg(g, x))));
    return epl_reduce_loss(g, o.weights ? epl_mul(g, loss, o.weights) : loss, o.reduction);
}

epl_value *epl_focal_loss(epl_graph *g, epl_value *x, epl_value *target, epl_focal_opts o)
{
    const double gamma = o.gamma ? o.gamma : 2, alpha = o.alpha ? o.alpha : 0.25;
    epl_value *p = epl_sigmoid(g, x), *sure = epl_affine(g, target, -1, 1);          // 1 - t
    epl_value *miss = epl_add(g, epl_mul(g, epl_affine(g, p, -1, 1), target), epl_mul(g, p, sure)); // 1 - p_t
    epl_value *loss = epl_mul(g, epl_pow_scalar(g, miss, gamma), bce(g, x, target)); // eq. (4)
    if (alpha > 0)
        loss = epl_mul(g, loss, epl_affine(g, target, 2 * alpha - 1, 1 - alpha));    // eq. (5)
    return epl_reduce_loss(g, loss, o.reduction);
}

epl_value *epl_dice_loss(epl_graph *g, epl_value *p, epl_value *target, epl_dice_opts o)
{
    const double    smooth = o.smooth ? o.smooth : 1;
    epl_reduce_opts space = { 0 };
    for (int i = 1; p && i < epl_rank(p) - 1; i++)
        space.axes[space.n_axes++] = i;
    if (p && space.n_axes == 0)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "dice loss: rank %d, but [N, spatial..., C] is needed", epl_rank(p));
    epl_value *both = epl_reduce_sum(g, epl_mul(g, p, target), space);
    epl_value *sum = epl_add(g, epl_reduce_sum(g, p, space), epl_reduce_sum(g, target, space));
    epl_value *dice = epl_div(g, epl_affine(g, both, 2, smooth), epl_affine(g, sum, 1, smooth));
    return epl_reduce_loss(g, epl_affine(g, dice, -1, 1), o.reduction);
}

epl_value *epl_nll_loss(epl_graph *g, epl_value *log_p, epl_value *labels, epl_reduction reduction)
{
    if (!log_p || !labels)
        return NULL;
    epl_value *hot = epl_one_hot(g, epl_cast(g, labels, EPL_I64), epl_channels(log_p),
                                 (epl_one_hot_opts){ .dtype = epl_dtype_of(log_p) });
    return epl_reduce_loss(g, epl_neg(g, epl_reduce_sum(g, epl_mul(g, hot, log_p), (epl_reduce_opts){ EPL_AXES(-1) })), reduction);
}

epl_value *epl_kl_div_loss(epl_graph *g, epl_value *student, epl_value *teacher, double temperature, epl_reduction reduction)
{
    const double t = temperature ? temperature : 1;
    epl_value *q = epl_log_softmax(g, epl_affine(g, student, 1 / t, 0), -1);
    epl_value *p = epl_log_softmax(g, epl_affine(g, teacher, 1 / t, 0), -1);
    epl_value *kl = epl_reduce_sum(g, epl_mul(g, epl_exp(g, p), epl_sub(g, p, q)), (epl_reduce_opts){ EPL_AXES(-1) });
    return epl_affine(g, epl_reduce_loss(g, kl, reduction), t * t, 0);
}
