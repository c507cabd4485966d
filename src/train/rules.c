/* rules: how each optimizer makes a parameter's next value. Element by element, so that fusion makes one kernel of a rule; lars
 * and lamb need norms of whole tensors in between, muon products of matrices. */
#include "train/train.h"

#include <math.h>

double epl_default(double x, double otherwise) { return x != 0 ? x : otherwise; }

static epl_value *scaled(epl_rule *r, epl_value *x, double a) { return epl_affine(r->g, x, a, 0); }

/* slot := keep slot + give x */
static epl_value *follow_to(epl_rule *r, const char *slot, bool square, double keep, epl_value *x, double give)
{
    epl_value *old = epl_slot_read(r, slot, square);
    epl_value *new = epl_add(r->g, scaled(r, old, keep), give == 1 ? x : scaled(r, x, give));
    epl_slot_write(r, slot, square, new);
    return new;
}

static epl_value *follow(epl_rule *r, const char *slot, double keep, epl_value *x, double give)
{
    return follow_to(r, slot, false, keep, x, give);
}

/* The same of x squared. */
static epl_value *follow_square(epl_rule *r, const char *slot, double keep, epl_value *x, double give)
{
    return follow_to(r, slot, true, keep, epl_square(r->g, x), give);
}

static epl_value *step_back(epl_rule *r, epl_value *direction)
{
    return epl_sub(r->g, r->w, epl_mul(r->g, r->rate, direction));
}

static epl_value *decayed_gradient(epl_rule *r)
{
    return r->decay ? epl_add(r->g, r->grad, scaled(r, r->w, r->decay)) : r->grad;
}

static epl_value *with_momentum(epl_rule *r, epl_value *d)
{
    if (r->o->momentum == 0)
        return d;
    epl_value *b = follow(r, "momentum", r->o->momentum, d, 1);
    return r->o->nesterov ? epl_add(r->g, d, scaled(r, b, r->o->momentum)) : b;
}

static epl_value *sgd(epl_rule *r) { return step_back(r, with_momentum(r, decayed_gradient(r))); }

/* The moments of Adam. */
static void moments(epl_rule *r, epl_value *d, epl_value **m, epl_value **v)
{
    *m = follow(r, "m", r->o->beta1, d, 1 - r->o->beta1);
    *v = follow_square(r, "v", r->o->beta2, d, 1 - r->o->beta2);
}

static epl_value *adam_step(epl_rule *r, epl_value *d, epl_value *from)
{
    epl_value *m, *v;
    moments(r, d, &m, &v);
    epl_value *root = epl_affine(r->g, epl_mul(r->g, epl_sqrt(r->g, v), r->adam_root), 1, r->o->epsilon);
    return epl_sub(r->g, from, epl_mul(r->g, r->adam_rate, epl_div(r->g, m, root)));
}

static epl_value *adam(epl_rule *r) { return adam_step(r, decayed_gradient(r), r->w); }

static epl_value *decayed_weight(epl_rule *r)
{
    return r->decay ? epl_mul(r->g, r->w, epl_affine(r->g, r->rate, -r->decay, 1)) : r->w;
}

static epl_value *adamw(epl_rule *r) { return adam_step(r, r->grad, decayed_weight(r)); }

static epl_value *rmsprop(epl_rule *r)
{
    epl_value *d = decayed_gradient(r);
    epl_value *v = follow_square(r, "v", r->o->beta2, d, 1 - r->o->beta2);
    epl_value *direction = epl_div(r->g, d, epl_affine(r->g, epl_sqrt(r->g, v), 1, r->o->epsilon));
    if (r->o->momentum)
        direction = follow(r, "momentum", r->o->momentum, direction, 1);
    return step_back(r, direction);
}

static epl_value *adagrad(epl_rule *r)
{
    epl_value *d = decayed_gradient(r);
    epl_value *v = follow_square(r, "v", 1, d, 1);
    return step_back(r, epl_div(r->g, d, epl_affine(r->g, epl_sqrt(r->g, v), 1, r->o->epsilon)));
}

/* sqrt(v + epsilon) */
static epl_value *root_of(epl_rule *r, epl_value *v) { return epl_sqrt(r->g, epl_affine(r->g, v, 1, r->o->epsilon)); }

static epl_value *adadelta(epl_rule *r)
{
    epl_value *d = decayed_gradient(r);
    epl_value *v = follow_square(r, "v", r->o->beta2, d, 1 - r->o->beta2);
    epl_value *u = epl_mul(r->g, epl_div(r->g, root_of(r, epl_slot_read(r, "m", true)), root_of(r, v)), d);
    follow_square(r, "m", r->o->beta2, u, 1 - r->o->beta2);
    return step_back(r, u);
}

/* numerator / denominator where both are above 0, else 1. */
static epl_value *trust_ratio(epl_rule *r, epl_value *numerator, epl_value *denominator)
{
    epl_value *zero = epl_scalar(r->g, epl_dtype_of(r->w), 0);
    epl_value *fine = epl_and(r->g, epl_greater(r->g, numerator, zero), epl_greater(r->g, denominator, zero));
    return epl_where(r->g, fine, epl_div(r->g, numerator, denominator), epl_scalar(r->g, epl_dtype_of(r->w), 1));
}

static epl_value *norm(epl_rule *r, epl_value *x)
{
    return epl_sqrt(r->g, epl_reduce_sum_square(r->g, x, (epl_reduce_opts){ 0 }));
}

/* min(1, most |w| / |u|) */
static epl_value *cut_to(epl_rule *r, epl_value *u, double most)
{
    epl_value *ratio = epl_div(r->g, scaled(r, norm(r, r->w), most), norm(r, u)); // of zeros: NaN, which is not below 1
    epl_value *one = epl_scalar(r->g, epl_dtype_of(r->w), 1);
    return epl_where(r->g, epl_less(r->g, ratio, one), ratio, one);
}

static epl_value *lars(epl_rule *r)
{
    if (!r->w || epl_rank(r->w) <= 1)
        return sgd(r);
    if (r->o->most) {
        epl_value *b = follow(r, "momentum", r->o->momentum, decayed_gradient(r), 1);
        return step_back(r, epl_mul(r->g, cut_to(r, b, r->o->most), b));
    }
    epl_value *w = norm(r, r->w), *g = norm(r, r->grad);
    epl_value *both = epl_add(r->g, g, scaled(r, w, r->decay));
    epl_value *local = epl_mul(r->g, r->rate, trust_ratio(r, scaled(r, w, r->o->trust), both));
    epl_value *v = follow(r, "momentum", r->o->momentum, epl_mul(r->g, local, decayed_gradient(r)), 1);
    return epl_sub(r->g, r->w, v);
}

static epl_value *lamb(epl_rule *r)
{
    epl_value *m, *v;
    moments(r, r->grad, &m, &v);
    epl_value *root = epl_affine(r->g, epl_sqrt(r->g, epl_mul(r->g, v, r->correct2)), 1, r->o->epsilon);
    epl_value *u = epl_div(r->g, epl_mul(r->g, m, r->correct1), root);
    if (r->decay)
        u = epl_add(r->g, u, scaled(r, r->w, r->decay));
    epl_value *ratio = r->o->most ? cut_to(r, u, r->o->most) : trust_ratio(r, norm(r, r->w), norm(r, u));
    return epl_sub(r->g, r->w, epl_mul(r->g, epl_mul(r->g, r->rate, ratio), u));
}

static epl_value *product(epl_rule *r, epl_value *a, epl_value *b) { return epl_matmul(r->g, a, b, (epl_matmul_opts){ 0 }); }

/* The orthogonal matrix nearest to x [rows, columns], about: five steps X := X (a + b A + c A^2) of A = X^T X bring
 * the singular values of x / |x| between 0.7 and 1.2. The steps commute with A, so that only A and the product of
 * the polynomials are iterated, on the smaller side of x. */
static epl_value *orthogonalized(epl_rule *r, epl_value *x)
{
    const bool wide = epl_dim(x, 0) < epl_dim(x, 1);
    epl_value *unit = epl_div(r->g, x, epl_affine(r->g, norm(r, x), 1, 1e-7));
    epl_value *gram = epl_matmul(r->g, unit, unit, (epl_matmul_opts){ .trans_a = !wide, .trans_b = wide });
    epl_value *all  = NULL, *identity = epl_eye(r->g, epl_dtype_of(x), epl_dim(gram, 0), epl_dim(gram, 1), 0);
    for (int i = 0; i < 5; i++) {
        epl_value *square = product(r, gram, gram);
        epl_value *step   = epl_add(r->g, epl_add(r->g, scaled(r, identity, 3.4445), scaled(r, gram, -4.7750)), scaled(r, square, 2.0315));
        if (i < 4)
            gram = product(r, step, product(r, gram, step));
        all = all ? product(r, all, step) : step;
    }
    return wide ? product(r, all, unit) : product(r, unit, all);
}

/* A parameter of more axes is the matrix of its last axis and the others. */
static epl_value *muon(epl_rule *r)
{
    if (!r->w || epl_rank(r->w) < 2)
        return adamw(r);
    const int64_t columns = epl_dim(r->w, -1), rows = epl_shape_count(epl_shape_of(r->w)) / columns;
    epl_value    *b = follow(r, "momentum", r->o->momentum, r->grad, 1);
    epl_value    *d = epl_add(r->g, r->grad, scaled(r, b, r->o->momentum));
    epl_value    *o = orthogonalized(r, epl_reshape(r->g, d, EPL_SHAPE(rows, columns)));
    const double  scale = 0.2 * sqrt((double)(rows > columns ? rows : columns));
    return epl_sub(r->g, decayed_weight(r), epl_mul(r->g, r->rate, scaled(r, epl_reshape_like(r->g, o, r->w), scale)));
}

static epl_value *lion(epl_rule *r)
{
    epl_value *old = epl_slot_read(r, "m", false);
    epl_value *lead = epl_sub(r->g, old, r->grad); // one difference for both means makes one kernel of them
    epl_value *c = epl_add(r->g, r->grad, scaled(r, lead, r->o->beta1));
    epl_slot_write(r, "m", false, epl_add(r->g, r->grad, scaled(r, lead, r->o->beta2)));
    return epl_sub(r->g, decayed_weight(r), epl_mul(r->g, r->rate, epl_sign(r->g, c)));
}

/* ---- the table ---- */
static const struct {
    const char  *name;
    epl_rule_fn *rule;
    bool         counts;
    double       rate, beta2, epsilon;
} table[] = { /* the order of epl_optimizer_kind */
    { "sgd", sgd, false, 0.1, 0.999, 1e-8 },         { "adam", adam, true, 0.001, 0.999, 1e-8 },
    { "adamw", adamw, true, 0.001, 0.999, 1e-8 },    { "rmsprop", rmsprop, false, 0.01, 0.99, 1e-8 },
    { "adagrad", adagrad, false, 0.01, 0.999, 1e-10 }, { "lars", lars, false, 0.1, 0.999, 1e-8 },
    { "lamb", lamb, true, 0.001, 0.999, 1e-6 },      { "muon", muon, true, 0.001, 0.999, 1e-8 },
    { "adadelta", adadelta, false, 1, 0.9, 1e-6 },   { "lion", lion, false, 0.0001, 0.99, 1e-8 },
};

static bool known(epl_optimizer_kind kind) { return (unsigned)kind < EPL_COUNT(table); }

epl_rule_fn *epl_rule_of(epl_optimizer_kind kind) { return known(kind) ? table[kind].rule : NULL; }
bool         epl_rule_counts(epl_optimizer_kind kind) { return known(kind) && table[kind].counts; }
const char  *epl_optimizer_name(epl_optimizer_kind kind) { return known(kind) ? table[kind].name : "unknown"; }

epl_optimizer_opts epl_optimizer_defaults(epl_optimizer_opts o)
{
    if (!known(o.kind))
        return o;
    o.rate    = epl_default(o.rate, table[o.kind].rate);
    o.beta1   = epl_default(o.beta1, 0.9);
    if (o.kind == EPL_MUON)
        o.momentum = epl_default(o.momentum, 0.95);
    o.beta2   = epl_default(o.beta2, table[o.kind].beta2);
    o.epsilon = epl_default(o.epsilon, table[o.kind].epsilon);
    o.trust   = epl_default(o.trust, 0.001);
    o.slots   = epl_slot_defaults(o.slots);
    return o;
}

double epl_optimizer_rate(const epl_optimizer_opts *o) { return epl_optimizer_defaults(*o).rate; }
