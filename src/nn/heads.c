/* heads: what reads features - cosines with class directions, distances to prototypes; see the public header. The plain one is
 * epl_classifier. */
#include <math.h>

#include <espalier/nn.h>

epl_value *epl_l2_normalize(epl_graph *g, epl_value *x, int axis)
{
    epl_value *square = epl_reduce_sum_square(g, x, (epl_reduce_opts){ EPL_AXES(axis), .keep = true });
    return epl_mul(g, x, epl_rsqrt(g, epl_affine(g, square, 1, 1e-12)));
}

/* ---- cosines ---- */

static double scale_of(const epl_cosine_head_opts *o)
{
    if (o->scale || o->temperature)
        return o->scale ? o->scale : 1 / o->temperature;
    return o->classes <= 20 ? 16 : 20; // 1 / 0.05 is the literature's; below it the fewer classes leave nothing to lose
}

/* softplus(raw) = scale */
static epl_value *learned_scale(epl_graph *g, double scale)
{
    const double raw = scale + log(-expm1(-scale));
    return epl_softplus(g, epl_parameter(g, "scale", EPL_F32, EPL_SHAPE(1), EPL_INIT_CONSTANT, raw));
}

epl_value *epl_cosine_head(epl_graph *g, epl_value *x, epl_cosine_head_opts o)
{
    const double scale = scale_of(&o);
    if (!x)
        return NULL;
    if (o.classes < 1 || epl_rank(x) != 2 || epl_channels(x) < 2)
        return epl_graph_fail(
            g, EPL_ERR_SHAPE,
            "cosine_head: %d classes on features of rank %d and width %lld, expected at least 1, 2 and 2", o.classes,
            epl_rank(x), (long long)(epl_rank(x) ? epl_channels(x) : 0));
    if (!(scale > 0) || !isfinite(scale))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "cosine_head: the scale is %g, but has to be above 0", scale);
    epl_scope_push(g, "%s", o.name ? o.name : "head");
    epl_value *w = epl_parameter(g, "weight", EPL_F32, EPL_SHAPE(epl_channels(x), o.classes), EPL_INIT_NORMAL, 1);
    epl_value *cosine = epl_multiply_rows(g, epl_l2_normalize(g, x, -1), epl_l2_normalize(g, w, 0), NULL, false);
    epl_value *logits = o.learn_scale ? epl_mul(g, cosine, learned_scale(g, scale)) : epl_affine(g, cosine, scale, 0);
    epl_scope_pop(g);
    return logits;
}

/* ---- prototypes ---- */

/* |z|^2 + |p|^2 - 2 z p. Rounding may leave it a little below 0: the value is cut there, the gradient is not. */
epl_value *epl_prototypes(epl_graph *g, epl_value *z, epl_prototypes_opts o)
{
    if (!z)
        return NULL;
    if (o.count < 1 || epl_rank(z) != 2)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "prototypes: %d vectors for codes of rank %d, expected at least 1 and rank 2", o.count,
                              epl_rank(z));
    epl_scope_push(g, "%s", o.name ? o.name : "prototypes");
    epl_value *p  = epl_parameter(g, "vectors", EPL_F32, EPL_SHAPE(o.count, epl_channels(z)), EPL_INIT_UNIFORM_ABOVE, 1);
    epl_value *zz = epl_reduce_sum_square(g, z, (epl_reduce_opts){ EPL_AXES(-1), .keep = true });
    epl_value *pp = epl_reduce_sum_square(g, p, (epl_reduce_opts){ EPL_AXES(-1) });
    epl_value *zp = epl_multiply_rows(g, z, p, NULL, true);
    epl_value *d  = epl_sub(g, epl_add(g, zz, pp), epl_affine(g, zp, 2, 0));
    d = epl_straight_through(g, epl_relu(g, d), d);
    epl_scope_pop(g);
    return d;
}
