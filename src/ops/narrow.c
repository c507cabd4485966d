/* narrow: real numbers rounded to those of a narrow floating-point type - 8 bits and less - while they are held in a wider one. */
#include <espalier/ops.h>

#include "ops/axes.h"

enum { NARROW_MANTISSA, NARROW_LEAST, NARROW_MOST, NARROW_OVERFLOW, NARROW_ROUNDING, NARROW_NO_NAN, NARROW_UNSIGNED_ZERO, NARROW_N };

/* begin reference */
/* |x| in steps of the type's last place there; `up` and `down` are away from and towards zero. */
static double ref_narrow_rounded(double a, const epl_ref_attr *attr)
{
    int exponent;
    (void)frexp(a, &exponent); // a = f 2^exponent, f in [0.5, 1)
    exponent = exponent - 1 < attr[1].i ? (int)attr[1].i : exponent - 1;
    const double steps = ldexp(a, (int)attr[0].i - exponent), below = floor(steps), rest = steps - below;
    const int    odd = fmod(below, 2) != 0;
    const int    more = attr[4].i == 0 ? rest > 0.5 || (rest == 0.5 && odd) : attr[4].i == 1 && rest > 0;
    return ldexp(below + more, exponent - (int)attr[0].i);
}

static void ref_narrow(const epl_ref_call *c)
{
    const double most = c->attr[2].r;
    for (int64_t i = 0; i < epl_view_count(&c->out[0]); i++) {
        const double x = epl_ref_get(&c->in[0], i), a = fabs(x);
        double y = x != x || a > most ? a : ref_narrow_rounded(a, c->attr);
        if (x != x)
            y = c->attr[5].i ? 0 : NAN;
        else if (y > most)
            y = c->attr[3].i == 0 ? most : c->attr[3].i == 1 ? INFINITY : NAN;
        y = y != y || (y == 0 && c->attr[6].i) ? y : copysign(y, x);
        epl_ref_set(&c->out[0], i, y);
    }
}
/* end reference */

static bool infer_narrow(epl_node *n)
{
    const epl_attr *a = n->attrs;
    if (!epl_dtype_is_float(n->inputs[0]->dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "the input is %s; floating-point numbers are needed", epl_dtype_name(n->inputs[0]->dtype));
    if (a[NARROW_MANTISSA].i < 0 || a[NARROW_MANTISSA].i > 52 || a[NARROW_LEAST].i < -1000 ||
        a[NARROW_LEAST].i > 1000 || !(a[NARROW_MOST].r > 0))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%lld bits behind the point, exponents from %lld, numbers to %g",
                             (long long)a[NARROW_MANTISSA].i, (long long)a[NARROW_LEAST].i, a[NARROW_MOST].r);
    return epl_infer_same(n);
}

static void grad_narrow(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    (void)g, (void)n, (void)dy, (void)dx; // a staircase: zero almost everywhere, as epl_round's
}

static epl_node *sample_narrow(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_attr attrs[NARROW_N] = { EPL_A_I(epl_random_between(r, 0, 3)), EPL_A_I(epl_random_between(r, -3, 0)), EPL_A_R(3),
                                       EPL_A_I((int64_t)epl_rng_below(r, 2)), EPL_A_I((int64_t)epl_rng_below(r, 3)) };
    epl_value *x = epl_cast(g, epl_sample_input(g, EPL_I32, EPL_SHAPE(3, 5), -40, 40, 0), dtype); // no differences across a step
    return epl_node_add(g, &epl_op_narrow, EPL_IN(epl_affine(g, x, 0.1, 0)), attrs, 0, NULL);
}

const epl_op epl_op_narrow = {
    .name = "Narrow", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [NARROW_MANTISSA] = { "mantissa", EPL_ATTR_INT, .required = true },
               [NARROW_LEAST] = { "least_exponent", EPL_ATTR_INT, .required = true },
               [NARROW_MOST] = { "most", EPL_ATTR_REAL, .required = true },
               [NARROW_OVERFLOW] = { "overflow", EPL_ATTR_CHOICE, .choices = "saturate|infinity|nan" },
               [NARROW_ROUNDING] = { "rounding", EPL_ATTR_CHOICE, .choices = "even|up|down" },
               [NARROW_NO_NAN] = { "no_nan", EPL_ATTR_BOOL }, [NARROW_UNSIGNED_ZERO] = { "unsigned_zero", EPL_ATTR_BOOL } },
    .infer = infer_narrow, .grad = grad_narrow, EPL_REF(ref_narrow), .sample = sample_narrow,
};

epl_value *epl_narrow(epl_graph *g, epl_value *x, epl_narrow_opts o)
{
    const epl_attr attrs[NARROW_N] = { EPL_A_I(o.mantissa), EPL_A_I(o.least_exponent), EPL_A_R(o.most), EPL_A_I(o.overflow),
                                       EPL_A_I(o.rounding), EPL_A_I(o.no_nan), EPL_A_I(o.unsigned_zero) };
    return x ? epl_apply(g, &epl_op_narrow, EPL_IN(x), attrs) : NULL;
}
