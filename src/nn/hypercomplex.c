/* hypercomplex: weights as sums of n Kronecker products of a small rule A_i [n, n] and filters F_i, Zhang et al. 2021
 * (arXiv:2102.08597) for linear layers, Grassucci et al. 2021 (arXiv:2110.04176) for convolutions; fixed rules give complex and
 * quaternion layers. The authors' layers create a bias that they never add: here a bias is one. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <espalier/ops.h>

#include "graph/op.h"
#include "nn/hypercomplex.h"

enum { MOST_TERMS = 16 };

bool epl_algebra_rules(epl_algebra algebra, int n, double *rules)
{
    static const signed char hamilton[4][16] = { { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 },
                                                 { 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0 },
                                                 { 0, 0, -1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, -1, 0, 0 },
                                                 { 0, 0, 0, -1, 0, 0, -1, 0, 0, 1, 0, 0, 1, 0, 0, 0 } };
    if ((algebra == EPL_ALGEBRA_QUATERNION && n != 4) || (algebra == EPL_ALGEBRA_COMPLEX && n != 2))
        return false;
    for (int i = 0; i < n; i++)
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++)
                rules[(i * n + a) * n + b] = algebra == EPL_ALGEBRA_QUATERNION ? hamilton[i][a * 4 + b]
                                           : algebra == EPL_ALGEBRA_IDENTITY ? a == i && b == i
                                           : i == 0 ? a == b : a == b ? 0 : a == 0 ? -1 : 1;
    return true;
}

/* ---- the expression ---- */

static double variance_of(const epl_node *parameter)
{
    const double a = epl_attr_r(parameter, "scale");
    switch ((epl_init)epl_attr_i(parameter, "init")) {
    case EPL_INIT_NORMAL:       return a * a;
    case EPL_INIT_TRUNC_NORMAL: return 0.774 * a * a; // cut at two standard deviations
    case EPL_INIT_UNIFORM:      return a * a / 3;
    default:                    return 0; // orthogonal and constant starts have no counterpart
    }
}

/* The half-width of the filters' uniform start. The weight's entries are sums of n products A F, where A has the variance 1 / n^2
 * (Glorot's for [n, n, n]) or, if fixed, one entry that is not zero. */
static double filter_range(const epl_blocks *b, double variance, const epl_hypercomplex_opts *o)
{
    const double fan = (double)(b->taps * (b->in / b->n));
    if (o->glorot)
        return sqrt(6 / (fan * (double)(b->out / b->n) + fan * b->n)); // as the authors' code counts the fans
    if (variance <= 0)
        variance = 2 / (fan * b->n);
    return sqrt(3 * variance * (o->algebra ? 1 : b->n));
}

static epl_value *rules_value(epl_graph *g, const char *name, const epl_hypercomplex_opts *o)
{
    double rules[MOST_TERMS * MOST_TERMS * MOST_TERMS];
    if (o->algebra == EPL_ALGEBRA_LEARNED)
        return epl_parameter(g, name, EPL_F32, EPL_SHAPE(o->n, o->n, o->n), EPL_INIT_UNIFORM, sqrt(3.0) / o->n);
    if (!epl_algebra_rules(o->algebra, o->n, rules))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: n is %d, but %s", name, o->n,
                              o->algebra == EPL_ALGEBRA_COMPLEX ? "complex numbers have 2 components" : "quaternions have 4 components");
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(o->n, o->n, o->n));
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        epl_tensor_set(t, i, rules[i]);
    epl_value *v = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

/* W[t, b in/n + q, a out/n + p] = sum over i of A[i, a, b] F[i, t, q, p], one product and one transposition. */
static epl_value *kronecker_sum(epl_graph *g, epl_value *rules, epl_value *filters, epl_shape shape)
{
    const int     n = (int)epl_dim(rules, 0), spatial = shape.rank - 2;
    const int64_t columns = epl_shape_count_from(epl_shape_of(filters), 1, shape.rank + 1);
    epl_value *r = epl_matmul(g, epl_reshape(g, rules, EPL_SHAPE(n, n * n)), epl_reshape(g, filters, EPL_SHAPE(n, columns)),
                              (epl_matmul_opts){ .trans_a = true });
    epl_shape  blocks = { .rank = shape.rank + 2, .dim = { n, n } }; // a, b, taps, q, p
    int        order[EPL_MAX_RANK];                                   // taps, b, q, a, p
    for (int i = 0; i < shape.rank; i++)
        blocks.dim[i + 2] = shape.dim[i] / (i < spatial ? 1 : n);
    for (int i = 0; i < spatial; i++)
        order[i] = i + 2;
    const int rest[4] = { 1, spatial + 2, 0, spatial + 3 };
    memcpy(order + spatial, rest, sizeof rest);
    return epl_reshape(g, epl_transpose(g, epl_reshape(g, r, blocks), blocks.rank, order), shape);
}

/* The expression for a weight of this shape; `name` is what its parts are called after. */
static epl_value *weight_value(epl_graph *g, const char *name, epl_shape shape, double variance, const epl_hypercomplex_opts *o)
{
    epl_blocks b = { .n = o->n, .taps = epl_shape_count_from(shape, 0, shape.rank - 2), .in = shape.dim[shape.rank - 2],
                     .out = shape.dim[shape.rank - 1] };
    char       a[1024], f[1024];
    epl_shape  filters = { .rank = shape.rank + 1, .dim = { o->n } };
    for (int i = 0; i < shape.rank; i++)
        filters.dim[i + 1] = shape.dim[i] / (i < shape.rank - 2 ? 1 : o->n);
    snprintf(a, sizeof a, "/%s.A", name);
    snprintf(f, sizeof f, "/%s.F", name);
    epl_value *rules = rules_value(g, a, o);
    epl_value *parts = epl_parameter(g, f, EPL_F32, filters, EPL_INIT_UNIFORM, filter_range(&b, variance, o));
    return rules && parts ? kronecker_sum(g, rules, parts, shape) : NULL;
}

/* ---- one layer ---- */

/* A Conv or Linear node whose weight is a parameter [..., in, out]; else NULL. */
static epl_node *weight_of(const epl_node *n)
{
    if (!EPL_IS(n, conv) && !(EPL_IS(n, linear) && !epl_attr_i(n, "trans_w")))
        return NULL;
    epl_node *p = n->inputs[1]->producer;
    return EPL_IS(p, parameter) ? p : NULL;
}

static bool is_grouped(const epl_node *n) { return EPL_IS(n, conv) && epl_attr_i(n, "group") > 1; }

/* "stem.conv.weight" -> "stem.conv" */
static void layer_name(const epl_node *weight, char out[1000])
{
    snprintf(out, 1000, "%s", epl_value_name(weight->outputs[0]));
    char *dot = strrchr(out, '.');
    if (dot && strcmp(dot, ".weight") == 0)
        *dot = 0;
}

static bool fit_layer(epl_graph *g, epl_weights *w, const char *name, const epl_node *weight, epl_shape shape, int64_t pad,
                      const epl_hypercomplex_opts *o, epl_hypercomplex_result *r)
{
    epl_context *ctx = epl_graph_context(g);
    char a[1024], f[1024];
    double rules[MOST_TERMS * MOST_TERMS * MOST_TERMS];
    snprintf(a, sizeof a, "%s.A", name);
    snprintf(f, sizeof f, "%s.F", name);
    const epl_tensor *dense = epl_weights_find(w, epl_value_name(weight->outputs[0]));
    epl_value        *value = epl_graph_find(g, f);
    if (!dense || dense->dtype != EPL_F32 || !value)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: there is no f32 weight to fit", name);
    epl_tensor *filters = epl_tensor_new(ctx, EPL_F32, epl_shape_of(value));
    epl_tensor *learned = o->algebra ? NULL : epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(o->n, o->n, o->n));
    const epl_blocks b = { o->n, epl_shape_count_from(shape, 0, shape.rank - 2), shape.dim[shape.rank - 2],
                           shape.dim[shape.rank - 1], pad };
    bool ok = filters && (learned || o->algebra) && (!o->algebra || epl_algebra_rules(o->algebra, o->n, rules)) &&
              epl_kronecker_fit(ctx, b, dense->data, o->algebra != EPL_ALGEBRA_LEARNED, rules, filters->data, &r->error, &r->total);
    for (int64_t i = 0; ok && learned && i < epl_tensor_count(learned); i++)
        epl_tensor_set(learned, i, rules[i]);
    if (!ok) {
        epl_tensor_free(filters);
        epl_tensor_free(learned);
        return false;
    }
    ok = !learned || epl_weights_put_take(w, a, learned);
    return epl_weights_put_take(w, f, filters) && ok && epl_weights_remove(w, epl_value_name(weight->outputs[0]));
}

/* Puts the expression in the place of n's weight. `pad` channels of zeros go before n's input. */
static bool replace_weight(epl_graph *g, epl_weights *w, epl_node *n, int64_t pad, const epl_hypercomplex_opts *o,
                           epl_hypercomplex_result *r)
{
    epl_node *weight = weight_of(n);
    epl_shape shape  = weight->outputs[0]->shape;
    char      name[1000];
    layer_name(weight, name);
    shape.dim[shape.rank - 2] += pad;
    epl_node   *at    = epl_graph_insert_before(g, weight->next);
    const char *outer = g->root->scope;
    g->root->scope = weight->scope;
    epl_value *v = weight_value(g, name, shape, variance_of(weight), o);
    g->root->scope = outer;
    epl_graph_insert_before(g, n);
    if (v && pad > 0) {
        epl_pad_opts p = { 0 };
        p.before[n->inputs[0]->shape.rank - 1] = pad;
        epl_set_input(n, 0, epl_pad(g, n->inputs[0], p));
        epl_set_input(n, 1, v);
    } else if (v) {
        epl_replace(weight->outputs[0], v);
    }
    epl_graph_insert_before(g, at == weight ? weight->next : at);
    if (!v || epl_graph_failed(g) || (w && !fit_layer(g, w, name, weight, shape, pad, o, r)))
        return false;
    epl_node_remove(weight);
    return true;
}

static bool check_n(epl_graph *g, const char *what, const epl_hypercomplex_opts *o)
{
    return (o->n >= 1 && o->n <= MOST_TERMS) ||
           epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: n is %d, but must be from 1 to %d", what, o->n, (int)MOST_TERMS) != NULL;
}

/* ---- blocks ---- */

static epl_value *own_layer(epl_graph *g, epl_value *y, const char *what, const epl_hypercomplex_opts *o)
{
    if (!y || !check_n(g, what, o))
        return NULL;
    epl_node       *n = epl_producer(y);
    const epl_shape s = n->inputs[1]->shape;
    if (is_grouped(n))
        return epl_graph_fail(g, EPL_ERR_UNSUPPORTED, "%s: %lld groups, but hypercomplex convolutions have none", what,
                              (long long)epl_attr_i(n, "group"));
    if (s.dim[s.rank - 2] % o->n || s.dim[s.rank - 1] % o->n)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "%s: n = %d does not divide %lld input and %lld output channels", what, o->n,
                              (long long)s.dim[s.rank - 2], (long long)s.dim[s.rank - 1]);
    epl_hypercomplex_result r = { 0 };
    return replace_weight(g, NULL, n, 0, o, &r) ? y : NULL;
}

epl_value *epl_phc(epl_graph *g, epl_value *x, epl_conv_opts c, epl_hypercomplex_opts o)
{
    return own_layer(g, epl_conv(g, x, c), c.name ? c.name : "conv", &o);
}

epl_value *epl_phm(epl_graph *g, epl_value *x, epl_linear_opts l, epl_hypercomplex_opts o)
{
    return own_layer(g, epl_linear(g, x, l), l.name ? l.name : "linear", &o);
}

/* ---- the transform ---- */

/* Why this layer stays as it is (NULL: it does not), and how many channels to put before its input. */
static const char *reason(const epl_graph *g, const epl_node *n, const epl_node *weight, const epl_hypercomplex_opts *o, int64_t *pad)
{
    const epl_value *v  = weight->outputs[0];
    const int64_t    in = v->shape.dim[v->shape.rank - 2], out = v->shape.dim[v->shape.rank - 1];
    *pad = (o->n - in % o->n) % o->n;
    if (!epl_glob(o->pattern ? o->pattern : "*", epl_value_name(v)) || (o->skip && epl_glob(o->skip, epl_value_name(v))))
        return "left out";
    if (is_grouped(n))
        return "grouped";
    if (out % o->n)
        return "outputs";
    if (*pad && (!o->pad_channels || v->n_uses > 1 || n->inputs[0] != epl_graph_input_at(g, 0)))
        return "inputs";
    return NULL;
}

bool epl_hypercomplex(epl_graph *g, epl_weights *w, epl_hypercomplex_opts o, epl_hypercomplex_result *out)
{
    epl_hypercomplex_result r = { .params_before = epl_graph_n_parameters(g) };
    epl_text skipped = EPL_TEXT(epl_graph_context(g));
    bool     ok = check_n(g, "hypercomplex", &o);
    for (epl_node *n = g->first, *next; ok && n; n = next) {
        next = n->next;
        const epl_node *weight = weight_of(n);
        int64_t pad;
        if (!weight)
            continue;
        const char *why = reason(g, n, weight, &o, &pad);
        if (why) {
            char name[1000];
            layer_name(weight, name);
            const epl_shape s = weight->outputs[0]->shape;
            epl_text_addf(&skipped, "%s%s (%lld -> %lld, %s)", r.skipped++ ? ", " : "", name, (long long)s.dim[s.rank - 2],
                          (long long)s.dim[s.rank - 1], why);
            continue;
        }
        ok = replace_weight(g, w, n, pad, &o, &r);
        r.layers++;
    }
    ok = ok && !epl_graph_failed(g);
    r.params_after = epl_graph_n_parameters(g);
    r.error = r.total > 0 ? sqrt(r.error / r.total) : 0;
    if (out && ok) {
        r.skipped_names = epl_text_detach(&skipped);
        *out = r;
    }
    epl_text_release(&skipped);
    return ok;
}
