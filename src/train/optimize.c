/* optimize: gradients to updates - parameter groups, clipping, bias corrections, averaged weights - around the rules. */
#include "train/train.h"

#include <espalier/grad.h>

#include "graph/op.h"

#include <stdio.h>
#include <string.h>

const char *epl_prefixed(epl_graph *g, const char *prefix, const char *name)
{
    const size_t n = strlen(prefix) + strlen(name) + 2;
    char        *s = epl_arena_alloc(g->arena, n);
    if (s)
        snprintf(s, n, "/%s%s", prefix, name);
    return s ? s : "";
}

static const epl_parameter_group *group_of(const epl_optimizer_opts *o, const char *name)
{
    for (int i = 0; i < o->n_groups; i++)
        if (epl_glob(o->groups[i].pattern, name))
            return &o->groups[i];
    return NULL;
}

static double decay_of(const epl_optimizer_opts *o, const epl_parameter_group *group, const epl_value *w)
{
    if (group && group->decay != 0)
        return group->decay > 0 ? group->decay : 0;
    return o->decay_all || epl_rank(w) > 1 ? o->decay : 0;
}

static epl_value *rate_of(epl_graph *g, const epl_parameter_group *group, epl_value *rate)
{
    if (!group)
        return rate;
    return group->rate > 0 ? epl_scalar(g, epl_dtype_of(rate), group->rate) : epl_affine(g, rate, epl_default(group->rate_scale, 1), 0);
}

/* ---- scalars of a step ---- */

typedef struct scalars {
    epl_value *rate;               /* f32, as given */
    epl_value *correct1, *correct2; /* f64: 1 - beta^t */
    epl_value *clip[EPL_MAX_CLIP_APART + 1]; /* f32: what gradients are multiplied with, by the group that is clipped together */
    epl_value *finite;             /* bool: all gradients are; NULL: nobody asks */
    epl_value *keep;               /* f32: what averages keep; NULL: no averages */
    epl_value *t;                  /* f64: the number of this update, from 1 */
} scalars;

/* t, the number of this update from 1, in f64. */
static epl_value *step_number(epl_graph *g)
{
    epl_value *known = epl_graph_find(g, "train.step");
    epl_value *step  = epl_state(g, "/train.step", EPL_I64, EPL_SCALAR, EPL_INIT_ZEROS, 0);
    epl_value *next  = epl_add(g, step, epl_scalar(g, EPL_I64, 1));
    if (!known)
        epl_update(g, step, next);
    return epl_cast(g, next, EPL_F64);
}

static epl_value *correction(epl_graph *g, epl_value *t, double beta)
{
    return epl_affine(g, epl_pow(g, epl_scalar(g, EPL_F64, beta), t), -1, 1);
}

/* min(ema, (1 + t) / (10 + t)): the first weights, which are random, are forgotten quickly. */
static epl_value *average_keep(epl_graph *g, epl_value *t, double ema)
{
    epl_value *ramp = epl_div(g, epl_affine(g, t, 1, 1), epl_affine(g, t, 1, 10));
    return epl_cast(g, epl_clip(g, ramp, 0, ema), EPL_F32);
}

/* The group whose norm a parameter's gradient belongs to; the last one is that of the others. */
static int clip_group(const epl_optimizer_opts *o, const char *name)
{
    int i = 0;
    while (i < o->n_clip_apart && !epl_glob(o->clip_apart[i], name))
        i++;
    return i;
}

/* Pascanu et al. 2013 (arXiv:1211.5063), Algorithm 1: min(1, most / norm). NULL for a group without members. */
static epl_value *clip_factor(epl_graph *g, int n, epl_value *const *parameters, epl_value *const *gradients, const epl_optimizer_opts *o,
                              int group)
{
    const double most = o->clip_norm;
    epl_value   *sum = NULL;
    for (int i = 0; i < n; i++) {
        if (clip_group(o, epl_value_name(parameters[i])) != group)
            continue;
        epl_value *square = epl_reduce_sum_square(g, epl_cast(g, gradients[i], EPL_F32), (epl_reduce_opts){ 0 });
        sum = sum ? epl_add(g, sum, square) : square;
    }
    if (!sum)
        return NULL;
    epl_value *norm = epl_affine(g, epl_sqrt(g, sum), 1, 1e-6);
    return epl_clip(g, epl_div(g, epl_scalar(g, EPL_F32, most), norm), 0, 1);
}

/* Whether the gradients' squared norm is a number, and how often it was not. */
static epl_value *all_finite(epl_graph *g, int n, epl_value *const *gradients)
{
    epl_value *sum = NULL;
    for (int i = 0; i < n; i++) {
        epl_value *square = epl_reduce_sum_square(g, epl_cast(g, gradients[i], EPL_F32), (epl_reduce_opts){ 0 });
        sum = sum ? epl_add(g, sum, square) : square;
    }
    epl_value *finite  = sum ? epl_less(g, sum, epl_scalar(g, EPL_F32, 3.4028234e38)) : NULL;
    epl_value *known   = epl_graph_find(g, "train.skipped");
    epl_value *skipped = epl_state(g, "/train.skipped", EPL_I64, EPL_SCALAR, EPL_INIT_ZEROS, 0);
    if (finite && !known)
        epl_update(g, skipped, epl_add(g, skipped, epl_cast(g, epl_not(g, finite), EPL_I64)));
    return finite;
}

static scalars make_scalars(epl_graph *g, int n, epl_value *const *parameters, epl_value *const *gradients, epl_value *rate,
                            const epl_optimizer_opts *o)
{
    epl_value *t = step_number(g);
    scalars    s = { .rate = rate, .t = t };
    if (epl_rule_counts(o->kind)) {
        s.correct1 = correction(g, t, o->beta1);
        s.correct2 = correction(g, t, o->beta2);
    }
    for (int group = 0; o->clip_norm > 0 && group <= o->n_clip_apart; group++)
        s.clip[group] = clip_factor(g, n, parameters, gradients, o, group);
    if (o->ema > 0)
        s.keep = average_keep(g, t, o->ema);
    if (o->skip_nonfinite)
        s.finite = all_finite(g, n, gradients);
    return s;
}

/* Which elements of a parameter are updated; NULL: all. */
static epl_value *moving(epl_graph *g, epl_value *grad, const scalars *s, const epl_optimizer_opts *o)
{
    if (!grad || !o->skip_zeros)
        return s->finite;
    epl_value *some = epl_not_equal(g, grad, epl_scalar(g, epl_dtype_of(grad), 0));
    return s->finite ? epl_and(g, s->finite, some) : some;
}

/* ---- averaged weights ---- */

static void average(epl_graph *g, const char *name, epl_value *next, epl_value *keep)
{
    if (!next)
        return;
    epl_value *old = epl_state(g, epl_prefixed(g, "ema.", name), epl_dtype_of(next), epl_shape_of(next), EPL_INIT_ZEROS, 0);
    epl_value *k   = epl_cast(g, keep, epl_dtype_of(next));
    epl_update(g, old, epl_add(g, epl_mul(g, k, old), epl_mul(g, epl_affine(g, k, -1, 1), next)));
}

static epl_value *next_of(epl_value *state)
{
    for (int i = 0; i < epl_n_uses(state); i++) {
        const epl_use use = epl_use_at(state, i);
        if (EPL_IS(use.node, update) && use.input == 0)
            return use.node->inputs[1];
    }
    return state;
}

bool epl_average_states(epl_graph *g, const epl_graph *model, epl_optimizer_opts o)
{
    epl_value *keep = o.ema > 0 ? average_keep(g, step_number(g), o.ema) : NULL;
    for (const epl_node *n = model->first; keep && n; n = n->next)
        if (EPL_IS(n, state) && epl_dtype_is_float(n->outputs[0]->dtype)) {
            epl_value *state = epl_state(g, epl_prefixed(g, "", n->attrs[0].s), n->outputs[0]->dtype, n->outputs[0]->shape,
                                         (epl_init)n->attrs[3].i, n->attrs[4].r);
            if (state)
                average(g, n->attrs[0].s, next_of(state), keep);
        }
    return !epl_graph_failed(g);
}

bool epl_average_begin(const epl_graph *g, epl_weights *w)
{
    char name[1024];
    for (const epl_node *n = g->first; n; n = n->next) {
        if (!EPL_IS(n, parameter) && !EPL_IS(n, state))
            continue;
        snprintf(name, sizeof name, "ema.%s", n->attrs[0].s);
        const epl_tensor *t = epl_weights_find(w, n->attrs[0].s);
        if (!t || !epl_dtype_is_float(t->dtype) || epl_weights_find(w, name))
            continue;
        epl_tensor *copy = epl_tensor_copy(g->ctx, t);
        if (!copy || !epl_weights_put_take(w, name, copy))
            return false;
    }
    return true;
}

/* ---- parameters ---- */

/* The gradient's squared norms in the last 100 updates, this one included; the first fills them all. */
static epl_value *last_norms(epl_graph *g, const char *name, epl_value *square, epl_value *t)
{
    epl_value *old   = epl_state(g, epl_prefixed(g, "train.norms.", name), EPL_F32, EPL_SHAPE(100), EPL_INIT_ZEROS, 0);
    epl_value *place = epl_mod(g, epl_affine(g, t, 1, -1), epl_scalar(g, EPL_F64, 100));
    epl_value *here  = epl_equal(g, epl_range(g, EPL_F64, 0, 100, 1), place);
    epl_value *fresh = epl_or(g, here, epl_equal(g, t, epl_scalar(g, EPL_F64, 1)));
    epl_value *new   = epl_where(g, fresh, square, old);
    epl_update(g, old, new);
    return new;
}

/* What the gradient is multiplied with: sqrt(percentile / square) where that is less than 1. */
static epl_value *percentile_factor(epl_graph *g, const char *name, epl_value *grad, epl_value *t, int percentile)
{
    epl_value *square = epl_reduce_sum_square(g, epl_cast(g, grad, EPL_F32), (epl_reduce_opts){ 0 });
    epl_value *most   = epl_topk(g, last_norms(g, name, square, t), 0, 100 - percentile, (epl_topk_opts){ 0 }, NULL);
    epl_value *limit  = epl_reshape(g, epl_slice_axis(g, most, 0, 99 - percentile, 100 - percentile), EPL_SCALAR);
    epl_value *ratio  = epl_sqrt(g, epl_div(g, limit, square));
    epl_value *one    = epl_scalar(g, EPL_F32, 1);
    return epl_where(g, epl_less(g, ratio, one), ratio, one);
}

static epl_value *clipped(epl_graph *g, const char *name, epl_value *grad, const scalars *s, const epl_optimizer_opts *o)
{
    epl_value *factor = o->clip_norm > 0 ? s->clip[clip_group(o, name)] : NULL;
    if (!grad)
        return NULL;
    if (factor)
        grad = epl_mul(g, grad, epl_cast(g, factor, epl_dtype_of(grad)));
    if (o->clip_percentile > 0 && o->clip_percentile < 100)
        grad = epl_mul(g, grad, epl_cast(g, percentile_factor(g, name, grad, s->t, o->clip_percentile), epl_dtype_of(grad)));
    return o->clip_value > 0 ? epl_clip(g, grad, -o->clip_value, o->clip_value) : grad;
}

/* The parameter's next value, or w where it is not to move: by the opposite condition, as one that slots and
 * parameter share would be one result too many for a chain that is half fused. */
static epl_value *left_alone(epl_graph *g, epl_value *grad, const scalars *s, const epl_optimizer_opts *o, epl_value *w, epl_value *next)
{
    if (grad && o->skip_zeros)
        next = epl_where(g, epl_equal(g, grad, epl_scalar(g, epl_dtype_of(grad), 0)), w, next);
    return s->finite ? epl_where(g, s->finite, next, w) : next;
}

static void update_parameter(epl_graph *g, epl_value *w, epl_value *grad, const scalars *s, const epl_optimizer_opts *o)
{
    const char                *name  = epl_value_name(w);
    const epl_parameter_group *group = group_of(o, name);
    const epl_dtype            type  = epl_dtype_of(w);
    epl_value *rate = rate_of(g, group, s->rate);
    epl_rule r = { .g = g, .o = o, .name = name, .w = w, .grad = clipped(g, name, grad, s, o), .decay = decay_of(o, group, w) };
    r.coded = epl_slot_is_coded(&o->slots, group ? group->bits : 0, name, type, epl_shape_count(epl_shape_of(w)));
    r.moves = moving(g, grad, s, o);
    r.rate  = epl_cast(g, rate, type);
    if (s->correct1) {
        epl_value *one = epl_scalar(g, EPL_F64, 1);
        r.adam_rate = epl_cast(g, epl_div(g, epl_cast(g, rate, EPL_F64), s->correct1), type);
        r.adam_root = epl_cast(g, epl_rsqrt(g, s->correct2), type);
        r.correct1  = epl_cast(g, epl_div(g, one, s->correct1), type);
        r.correct2  = epl_cast(g, epl_div(g, one, s->correct2), type);
    }
    epl_value *next = left_alone(g, grad, s, o, w, epl_rule_of(o->kind)(&r));
    epl_update(g, w, next);
    if (s->keep)
        average(g, name, next, s->keep);
}

bool epl_optimize_with(epl_graph *g, int n, epl_value *const *parameters, epl_value *const *gradients, epl_value *rate,
                       epl_optimizer_opts o)
{
    o = epl_optimizer_defaults(o);
    if (!epl_rule_of(o.kind)) {
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "there is no optimizer %d", (int)o.kind);
        return false;
    }
    if (!epl_slots_check(g, &o))
        return false;
    if (o.n_clip_apart > EPL_MAX_CLIP_APART)
        return epl_graph_fail(g, EPL_ERR_LIMIT, "%d groups of parameters are to be clipped apart, at most %d can", o.n_clip_apart,
                              EPL_MAX_CLIP_APART) != NULL;
    const scalars s = make_scalars(g, n, parameters, gradients, rate, &o);
    for (int i = 0; i < n && !epl_graph_failed(g); i++)
        update_parameter(g, parameters[i], gradients[i], &s, &o);
    return !epl_graph_failed(g);
}

bool epl_is_frozen(const epl_optimizer_opts *o, const char *name)
{
    const epl_parameter_group *group = group_of(o, name);
    return group && group->freeze;
}

int epl_trained_parameters(const epl_graph *g, const epl_optimizer_opts *o, const char *frozen, epl_value **out)
{
    int n = 0;
    for (epl_node *node = g->first; node; node = node->next) {
        if (!EPL_IS(node, parameter) || (frozen && epl_glob(frozen, node->attrs[0].s)))
            continue;
        if (!epl_is_frozen(o, node->attrs[0].s))
            out[n++] = node->outputs[0];
    }
    return n;
}

bool epl_optimize(epl_graph *g, epl_value *loss, epl_value *rate, epl_optimizer_opts o)
{
    if (epl_graph_failed(g))
        return false;
    epl_value **w  = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof *w);
    epl_value **dw = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof *dw);
    const int   n  = w && dw ? epl_trained_parameters(g, &o, NULL, w) : 0;
    const bool  ok = w && dw && epl_gradient(g, loss, n, w, dw) && epl_optimize_with(g, n, w, dw, rate, o);
    epl_release(g->ctx, w);
    epl_release(g->ctx, dw);
    return ok;
}
