/* shift: weights that are powers of two in the place of a network's own, while they are trained, and packed into a
 * few bits each afterwards. Li et al. 2023, DenseShift (arXiv:2208.09708), and what it is compared with: S3 (Li et
 * al. 2021, arXiv:2107.03453) and DeepShift (Elhoushi et al. 2021, arXiv:1905.13298). The expressions are put there
 * by the reparameterisation pass. */
#include "compress/compress.h"

#include <espalier/ops.h>
#include <espalier/passes.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_EXPONENTS = 7, NAME = 1024 };

static int n_exponents(const epl_shift_opts *o) { return o->method == EPL_SHIFT_S3 ? 2 : (1 << (o->bits - 1)) - 1; }

/* ---- expressions ---- */

static epl_value *variable(epl_graph *g, const epl_value *w, const char *part, epl_shape shape)
{
    char name[NAME];
    snprintf(name, sizeof name, "/%s.%s", epl_value_name(w), part);
    return epl_parameter(g, name, EPL_F32, shape, EPL_INIT_ZEROS, 0);
}

static epl_value *exponent_variable(epl_graph *g, const epl_value *w, int t)
{
    char part[24];
    snprintf(part, sizeof part, "exponent%d", t);
    return variable(g, w, part, epl_shape_of(w));
}

/* +1 for x >= 0, else -1 */
static epl_value *sign_of(epl_graph *g, epl_value *x)
{
    return epl_where(g, epl_less(g, x, epl_scalar(g, EPL_F32, 0)), epl_scalar(g, EPL_F32, -1), epl_scalar(g, EPL_F32, 1));
}

/* S_t = H(w_t) (S_{t-1} + 1), and 2^S in the same way: 1 + H (2 P - 1), exactly. S may be NULL. */
static epl_value *power_chain(epl_graph *g, int n, epl_value *const *w, epl_value **s)
{
    epl_value *p = epl_scalar(g, EPL_F32, 1);
    s[0] = epl_scalar(g, EPL_F32, 0);
    for (int t = 1; t <= n; t++) {
        epl_value *h = epl_step(g, w[t]);
        s[t] = epl_mul(g, h, epl_affine(g, s[t - 1], 1, 1));
        p    = epl_affine(g, epl_mul(g, h, epl_affine(g, p, 2, -1)), 1, 1);
    }
    return p;
}

/* The gradients of w[0] (sign) and w[1..n]: straight through H and sgn, with sqrt(S + 1) in the place of 2^S where
 * they are rescaled. */
static void shift_gradients(epl_graph *g, int n, epl_value *const *w, epl_value *dy, bool rescale, epl_value **dw)
{
    epl_value *s[MOST_EXPONENTS + 1], *p = power_chain(g, n, w, s);
    epl_value *factor = rescale ? epl_sqrt(g, epl_affine(g, s[n], 1, 1)) : p;
    epl_value *slope  = rescale ? epl_affine(g, epl_reciprocal(g, factor), 0.5, 0) : epl_affine(g, p, 0.69314718055994531, 0);
    epl_value *ds     = epl_mul(g, epl_mul(g, dy, sign_of(g, w[0])), slope);
    dw[0] = epl_mul(g, dy, factor);
    for (int t = n; t >= 1; t--) {
        dw[t] = epl_mul(g, ds, epl_affine(g, s[t - 1], 1, 1));
        ds    = epl_mul(g, ds, epl_step(g, w[t]));
    }
}

epl_value *epl_shift_value(epl_graph *g, int n, epl_value *const *w, bool no_rescale)
{
    epl_graph *forward = epl_region_new(g), *backward = epl_region_new(g);
    epl_value *f[MOST_EXPONENTS + 1], *b[MOST_EXPONENTS + 1], *s[MOST_EXPONENTS + 1], *dw[MOST_EXPONENTS + 1], *y = NULL;
    char name[32];
    if (!forward || !backward || !w[0])
        return NULL;
    const epl_shape shape = epl_shape_of(w[0]);
    for (int t = 0; t <= n; t++) {
        snprintf(name, sizeof name, "w%d", t);
        f[t] = epl_input(forward, name, EPL_F32, shape, NULL);
        b[t] = epl_input(backward, name, EPL_F32, shape, NULL);
    }
    epl_output(forward, "y", epl_mul(forward, sign_of(forward, f[0]), power_chain(forward, n, f, s)));
    epl_input(backward, "y", EPL_F32, shape, NULL);
    shift_gradients(backward, n, b, epl_input(backward, "dy", EPL_F32, shape, NULL), !no_rescale, dw);
    for (int t = 0; t <= n; t++) {
        snprintf(name, sizeof name, "dw%d", t);
        epl_output(backward, name, dw[t]);
    }
    return epl_custom_gradient(g, forward, backward, n + 1, w, &y) ? y : NULL;
}

static epl_value *dense_shift(epl_graph *g, epl_value *w, const epl_shift_opts *o)
{
    epl_value *v[MOST_EXPONENTS + 1] = { variable(g, w, "sign", epl_shape_of(w)) };
    for (int t = 1; t <= n_exponents(o); t++)
        v[t] = exponent_variable(g, w, t);
    epl_value *y = epl_shift_value(g, n_exponents(o), v, o->no_rescale);
    if (o->init != EPL_SHIFT_FROM_FLOAT)
        return y;
    return epl_mul(g, y, variable(g, w, "scale", EPL_SHAPE(epl_dim(w, -1))));
}

static epl_value *power_of_two(epl_graph *g, epl_value *e) { return epl_exp(g, epl_affine(g, e, 0.69314718055994531, 0)); }

static epl_value *through_step(epl_graph *g, epl_value *x) { return epl_straight_through(g, epl_step(g, x), x); }

/* sgn(w_s) H(w_v) 2^(H(w_1) (H(w_2) + 1)): zero is a value. The powers are exact, their gradient is that of the exponential. */
static epl_value *s3(epl_graph *g, epl_value *w)
{
    epl_value *sign = variable(g, w, "sign", epl_shape_of(w)), *dense = variable(g, w, "dense", epl_shape_of(w));
    epl_value *h1 = through_step(g, exponent_variable(g, w, 1)), *h2 = through_step(g, exponent_variable(g, w, 2));
    epl_value *exact = epl_affine(g, epl_mul(g, h1, epl_affine(g, h2, 2, 1)), 1, 1); // 1 + h1 (2 (1 + h2) - 1)
    epl_value *power = epl_straight_through(g, exact, power_of_two(g, epl_mul(g, h1, epl_affine(g, h2, 1, 1))));
    return epl_mul(g, epl_mul(g, epl_straight_through(g, sign_of(g, sign), sign), through_step(g, dense)), power);
}

static double lowest(const epl_shift_opts *o) { return -(double)((1 << (o->bits - 1)) - 2); }

/* sign(w) 2^round(log2 |w|), the exponent from `lowest` to 0 */
static epl_value *deepshift_q(epl_graph *g, epl_value *w, const epl_shift_opts *o)
{
    epl_value *e = epl_round(g, epl_affine(g, epl_log(g, epl_abs(g, w)), 1.4426950408889634, 0));
    return epl_straight_through(g, epl_mul(g, epl_sign(g, w), power_of_two(g, epl_clip(g, e, lowest(o), 0))), w);
}

static epl_value *deepshift_ps(epl_graph *g, epl_value *w, const epl_shift_opts *o)
{
    epl_value *p = variable(g, w, "shift", epl_shape_of(w)), *q = variable(g, w, "sign", epl_shape_of(w));
    epl_value *e = epl_straight_through(g, epl_round(g, epl_clip(g, p, lowest(o), 0)), p);
    return epl_mul(g, power_of_two(g, e), epl_straight_through(g, epl_sign(g, epl_round(g, q)), q));
}

typedef struct shifting {
    epl_model      *m;
    epl_shift_opts  o;
    const epl_value **chosen;
    int             n_chosen;
    epl_rng         rng;
    epl_shift_result r;
} shifting;

static epl_value *put_shift(epl_graph *g, epl_value *w, void *user)
{
    const shifting *k = user;
    bool chosen = false;
    for (int i = 0; i < k->n_chosen; i++)
        chosen = chosen || k->chosen[i] == w;
    if (!chosen)
        return NULL;
    switch (k->o.method) {
    case EPL_SHIFT_DENSE: return dense_shift(g, w, &k->o);
    case EPL_SHIFT_S3:    return s3(g, w);
    case EPL_SHIFT_Q:     return deepshift_q(g, w, &k->o);
    default:              return deepshift_ps(g, w, &k->o);
    }
}

/* ---- how variables begin ---- */

static epl_tensor *put(shifting *k, const char *w, const char *part, epl_shape shape)
{
    char        name[NAME];
    epl_tensor *t = epl_tensor_new(k->m->ctx, EPL_F32, shape);
    snprintf(name, sizeof name, "%s.%s", w, part);
    return t && epl_weights_put_take(k->m->weights, name, t) ? t : NULL;
}

static epl_tensor *put_exponent(shifting *k, const char *w, int t, epl_shape shape)
{
    char part[24];
    snprintf(part, sizeof part, "exponent%d", t);
    return put(k, w, part, shape);
}

/* From scratch the deviation is sqrt(2 / (taps out)), as the authors' code has it; low variance: sigma. */
static double deviation_of(const shifting *k, epl_shape s)
{
    if (k->o.init != EPL_SHIFT_SCRATCH)
        return k->o.sigma;
    double taps = 1;
    for (int i = 0; i + 2 < s.rank; i++)
        taps *= (double)s.dim[i];
    return sqrt(2 / (taps * (double)s.dim[s.rank - 1]));
}

static bool draw_normal(shifting *k, epl_tensor *t, double deviation)
{
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        ((float *)t->data)[i] = (float)deviation * epl_rng_normal(&k->rng);
    return t != NULL;
}

static bool draw_uniform(shifting *k, epl_tensor *t, double low, double high)
{
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        ((float *)t->data)[i] = (float)(low + (high - low) * (double)epl_rng_uniform(&k->rng));
    return t != NULL;
}

/* The exponent of each weight in units of half its channel's mean magnitude (of 2 bits: of the mean), and variables
 * at +-sigma that say so; then the scale that fits the channel best. */
static bool begin_from(shifting *k, const char *name, const epl_tensor *from)
{
    const int64_t m = from->shape.dim[from->shape.rank - 1], n = epl_tensor_count(from);
    const int     most = n_exponents(&k->o);
    epl_tensor   *sign = put(k, name, "sign", from->shape), *scale = put(k, name, "scale", EPL_SHAPE(m)), *e[MOST_EXPONENTS + 1];
    bool ok = sign && scale;
    for (int t = 1; t <= most; t++)
        ok = (e[t] = put_exponent(k, name, t, from->shape)) != NULL && ok;
    for (int64_t c = 0; ok && c < m; c++) {
        double mean = 0, top = 0, below = 0;
        for (int64_t i = c; i < n; i += m)
            mean += fabs(epl_tensor_get(from, i)) * (double)m / (double)n;
        for (int64_t i = c; i < n; i += m) {
            const double w = epl_tensor_get(from, i), a = fabs(w);
            int s = a > 0 && mean > 0 ? (int)lrint(log2(a / mean)) + (most > 1) : 0;
            s = s < 0 ? 0 : s > most ? most : s;
            ((float *)sign->data)[i] = (float)(w < 0 ? -k->o.sigma : k->o.sigma);
            for (int t = 1; t <= most; t++)
                ((float *)e[t]->data)[i] = (float)(t > most - s ? k->o.sigma : -k->o.sigma);
            top += a * ldexp(1, s), below += ldexp(1, 2 * s);
        }
        ((float *)scale->data)[c] = (float)(top / below);
    }
    return ok;
}

static bool begin(shifting *k, const char *name, const epl_tensor *from)
{
    const epl_shape s = from->shape;
    const double    d = deviation_of(k, s);
    if (k->o.method == EPL_SHIFT_PS)
        return draw_uniform(k, put(k, name, "shift", s), lowest(&k->o), 0) && draw_uniform(k, put(k, name, "sign", s), -1, 1);
    if (k->o.method == EPL_SHIFT_DENSE && k->o.init == EPL_SHIFT_FROM_FLOAT)
        return begin_from(k, name, from);
    bool ok = draw_normal(k, put(k, name, "sign", s), d) && (k->o.method == EPL_SHIFT_DENSE || draw_normal(k, put(k, name, "dense", s), d));
    for (int t = 1; ok && t <= n_exponents(&k->o); t++)
        ok = draw_normal(k, put_exponent(k, name, t, s), d);
    return ok;
}

/* ---- layers without a normalisation ---- */

static bool is_norm(const epl_node *n)
{
    return EPL_IS(n, batch_norm) || EPL_IS(n, group_norm) || EPL_IS(n, layer_norm) || EPL_IS(n, rms_norm);
}

/* Is v normalised, at once or behind a bias and what only moves elements? `depth` bounds the search. */
static bool is_normalised(const epl_value *v, int depth)
{
    for (size_t i = 0; i < v->n_uses && depth > 0; i++) {
        const epl_node *n = v->uses[i].node;
        const bool bias = EPL_IS(n, add) && EPL_IS(n->inputs[1 - v->uses[i].input]->producer, parameter);
        if (is_norm(n) && v->uses[i].input == 0)
            return true;
        if ((bias || EPL_IS(n, reshape) || EPL_IS(n, transpose) || EPL_IS(n, dropout)) && is_normalised(n->outputs[0], depth - 1))
            return true;
    }
    return false;
}

static void find_bare(shifting *k)
{
    for (int i = 0; i < k->n_chosen; i++) {
        bool normalised = true;
        for (size_t u = 0; u < k->chosen[i]->n_uses; u++)
            normalised = normalised && is_normalised(k->chosen[i]->uses[u].node->outputs[0], 8);
        if (!normalised && k->r.bare++ == 0)
            k->r.first_bare = epl_value_name(k->chosen[i]);
    }
}

/* ---- the pass ---- */

static bool check(epl_model *m, epl_shift_opts *o)
{
    o->bits  = o->bits ? o->bits : o->method == EPL_SHIFT_Q || o->method == EPL_SHIFT_PS ? 5 : 3;
    o->sigma = o->sigma > 0 ? o->sigma : 1e-3;
    const bool deep = o->method == EPL_SHIFT_Q || o->method == EPL_SHIFT_PS;
    if (!deep && (o->bits < 2 || o->bits > 4))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "shift weights of %d bits; 2, 3 or 4 are possible", o->bits);
    if (o->method == EPL_SHIFT_S3 && o->bits != 3)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "s3 weights of %d bits; they have 3", o->bits);
    if (deep && (o->bits < 3 || o->bits > 8))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "deepshift weights of %d bits; 3 to 8 are possible", o->bits);
    if (o->init == EPL_SHIFT_FROM_FLOAT && (o->method == EPL_SHIFT_S3 || o->method == EPL_SHIFT_PS))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "only denseshift and deepshift-q begin from float weights");
    return true;
}

/* Convolutions and linear layers, but the first convolution (or layer) and the last layer unless the options take them. */
static void choose(shifting *k, const epl_layers *l)
{
    int dense[2] = { -1, -1 };
    for (int i = 0; i < l->n; i++)
        if (l->items[i].kind <= EPL_LAYER_LINEAR) {
            dense[0] = dense[0] < 0 ? i : dense[0];
            dense[1] = i;
        }
    for (int i = 0; i < l->n; i++) {
        const epl_layer *x = &l->items[i];
        if (x->kind > EPL_LAYER_LINEAR || (i == dense[0] && !k->o.first) || (i == dense[1] && !k->o.last) || x->read != x->weight ||
            epl_dtype_of(x->weight) != EPL_F32 || (k->o.pattern && !epl_glob(k->o.pattern, x->name)))
            continue;
        k->chosen[k->n_chosen++] = x->weight;
        k->r.weights += x->count;
    }
}

static bool replace_weights(shifting *k)
{
    epl_weights *w = k->m->weights;
    for (int i = 0; i < k->n_chosen; i++) {
        const epl_tensor *from = epl_weights_find(w, epl_value_name(k->chosen[i]));
        if (k->o.method == EPL_SHIFT_Q)
            continue; // the weight stays the variable
        if (!from)
            return epl_fail(k->m->ctx, EPL_ERR_SHAPE, "'%s' is missing in the weights", epl_value_name(k->chosen[i]));
        if (!begin(k, epl_value_name(k->chosen[i]), from))
            return false;
    }
    if (epl_reparameterize(k->m->graph, "*", put_shift, k) < 0)
        return false;
    epl_remove_dead(k->m->graph);
    for (int i = epl_weights_count(w); i-- > 0;)
        if (!epl_graph_find(k->m->graph, epl_weights_name(w, i)) && !epl_weights_remove(w, epl_weights_name(w, i)))
            return false;
    return !epl_graph_failed(k->m->graph);
}

bool epl_shift(epl_model *m, epl_shift_opts o, epl_shift_result *out)
{
    epl_layers layers = { 0 };
    shifting   k = { .m = m, .rng = epl_rng_at(o.seed, 0x5817) };
    if (!check(m, &o))
        return false;
    k.o = o;
    const int64_t all = epl_graph_n_parameters(m->graph);
    bool ok = epl_weight_layers_find(m->graph, &layers);
    k.chosen = ok ? epl_alloc_array(m->ctx, (size_t)layers.n + 1, sizeof *k.chosen) : NULL;
    ok = k.chosen != NULL;
    if (ok)
        choose(&k, &layers);
    if (ok && k.n_chosen == 0)
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                      "none of %d layers can have shift weights: the first and the last stay as they are", layers.n);
    if (ok && (o.method == EPL_SHIFT_DENSE || o.method == EPL_SHIFT_S3) && o.init != EPL_SHIFT_FROM_FLOAT)
        find_bare(&k);
    ok = ok && replace_weights(&k);
    k.r.layers = k.n_chosen;
    k.r.others = all - k.r.weights;
    k.r.bytes  = (size_t)epl_shift_packed_bytes(k.r.weights, o.bits) + 4 * (size_t)k.r.others;
    k.r.bytes_before = 4 * (size_t)all;
    epl_release(m->ctx, k.chosen);
    epl_weight_layers_release(&layers);
    if (ok && out)
        *out = k.r;
    return ok;
}
