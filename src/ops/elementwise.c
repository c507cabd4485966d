/* The element-wise operators: table entries, builders, gradients and reference kernels, all made from elementwise.def. */
#include <espalier/ops.h>

#include "graph/op.h"
#include "ops/elementwise.h"

#include <math.h>

/* A row's attributes are (A0), (A1, name, default) or (A2, name, default, name, default); in each place where they are
 * needed the macro before them says in which form: as fields of the table, parameters, values, or local names. */
#define NONE                              (A0, )
#define ATTR(p, p_default)                (A1, p, p_default)
#define ATTRS(p, p_default, q, q_default) (A2, p, p_default, q, q_default)

#define FIELDS(form, ...)      FIELDS_##form(__VA_ARGS__)
#define FIELDS_A0(...)         { { 0 } }
#define FIELDS_A1(p, d)        { { #p, EPL_ATTR_REAL, .def_r = d } }
#define FIELDS_A2(p, d, q, e)  { { #p, EPL_ATTR_REAL, .def_r = d }, { #q, EPL_ATTR_REAL, .def_r = e } }
#define PARAMS(form, ...)      PARAMS_##form(__VA_ARGS__)
#define PARAMS_A0(...)
#define PARAMS_A1(p, d)        , double p
#define PARAMS_A2(p, d, q, e)  , double p, double q
#define VALUES(form, ...)      VALUES_##form(__VA_ARGS__)
#define VALUES_A0(...)         { 0 }
#define VALUES_A1(p, d)        EPL_A_R(p)
#define VALUES_A2(p, d, q, e)  EPL_A_R(p), EPL_A_R(q)
#define LOCALS(form, ...)      LOCALS_##form(__VA_ARGS__)
#define LOCALS_A0(...)
#define LOCALS_A1(p, d)        const double p = n->attrs[0].r; (void)p;
#define LOCALS_A2(p, d, q, e)  const double p = n->attrs[0].r, q = n->attrs[1].r; (void)p, (void)q;

/* ---- inference --------------------------------------------------------------------------------------------------- */

static bool takes(epl_row_types types, epl_dtype t)
{
    switch (types) {
    case EPL_ROW_REAL:
    case EPL_ROW_REAL_TEST: return epl_dtype_is_float(t);
    case EPL_ROW_NUMBER:    return t != EPL_BOOL;
    case EPL_ROW_INTEGER:   return t != EPL_BOOL && !epl_dtype_is_float(t);
    case EPL_ROW_LOGIC:     return t == EPL_BOOL;
    default:                return true;
    }
}

static const char *type_words(epl_row_types types)
{
    switch (types) {
    case EPL_ROW_REAL:
    case EPL_ROW_REAL_TEST: return "a floating type";
    case EPL_ROW_NUMBER:    return "a number";
    case EPL_ROW_INTEGER:   return "an integer type";
    default:                return "bool";
    }
}

/* All inputs alike (but the condition of a SELECT), broadcast together. */
static bool infer_row(epl_node *n, epl_row_types types)
{
    const int first = types == EPL_ROW_SELECT;
    if (first && n->inputs[0]->dtype != EPL_BOOL)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the condition is %s, expected bool", epl_dtype_name(n->inputs[0]->dtype));
    const epl_dtype t = n->inputs[first]->dtype;
    if (!takes(types, t))
        return epl_node_fail(n, EPL_ERR_DTYPE, "input %d is %s, expected %s", first, epl_dtype_name(t), type_words(types));
    epl_shape s = n->inputs[0]->shape;
    for (int i = 1; i < n->n_inputs; i++) {
        if (i > first && n->inputs[i]->dtype != t)
            return epl_node_fail(n, EPL_ERR_DTYPE, "input %d is %s, input %d is %s", first, epl_dtype_name(t), i,
                                 epl_dtype_name(n->inputs[i]->dtype));
        char one[192], other[192];
        if (!epl_shape_broadcast(s, n->inputs[i]->shape, &s))
            return epl_node_fail(n, EPL_ERR_SHAPE, "%s does not broadcast against %s", epl_shape_text(one, s),
                                 epl_shape_text(other, n->inputs[i]->shape));
    }
    return epl_set_type(n, 0, types == EPL_ROW_TEST || types == EPL_ROW_REAL_TEST ? EPL_BOOL : t, s);
}

/* ---- reference: one element at a time, in double for floating types, in 64-bit integers for the others ----------- */

/* begin reference */
typedef struct epl_ref_row {
    double (*real)(const double *in, const double *at); /* NULL where the row does not take such numbers */
    int64_t (*integer)(const int64_t *in, const double *at);
    uint64_t (*natural)(const uint64_t *in, const double *at);
    int64_t n_attrs;
} epl_ref_row;

static void ref_row(const epl_ref_call *c, epl_ref_row row)
{
    const epl_view *out = c->out;
    const int64_t n = epl_view_count(out), dtype = c->in[c->n_in - 1].dtype; // the last input is never a condition
    int64_t stride[3][8], index[8] = { 0 };
    double at[2] = { 0 };
    for (int64_t i = 0; i < c->n_in; i++)
        epl_ref_broadcast_strides(&c->in[i], out->rank, stride[i]);
    for (int64_t i = 0; i < row.n_attrs; i++)
        at[i] = c->attr[i].r;

    for (int64_t e = 0; e < n; e++, epl_ref_next(index, out->dim, out->rank)) {
        double real[3];
        int64_t integer[3];
        uint64_t natural[3];
        for (int64_t i = 0; i < c->n_in; i++) {
            const int64_t k = epl_ref_offset(index, stride[i], out->rank);
            real[i] = epl_ref_is_float(dtype) ? epl_ref_get(&c->in[i], k) : 0;
            integer[i] = epl_ref_is_float(dtype) ? 0 : epl_ref_get_i64(&c->in[i], k);
            natural[i] = (uint64_t)integer[i];
        }
        if (epl_ref_is_float(dtype))
            epl_ref_set(out, e, row.real(real, at));
        else if (dtype == EPL_REF_U64)
            epl_ref_set_i64(out, e, (int64_t)row.natural(natural, at));
        else
            epl_ref_set_i64(out, e, row.integer(integer, at));
    }
}
/* end reference */

static epl_ref_row row_at(int row)
{
    return (epl_ref_row){ epl_rows_real[row], epl_rows_int[row], epl_rows_uint[row], epl_rows[row].n_attrs };
}

/* ---- gradients: the builder text of the rows --------------------------------------------------------------------- */

/* dx in the input's shape: summed over what was broadcast. */
static epl_value *back_to(epl_graph *g, epl_value *dx, epl_value *input)
{
    return dx ? epl_sum_like(g, dx, input) : NULL;
}

static epl_value *gelu_tanh_slope(epl_graph *g, epl_value *x, epl_value *s)
{
    // y = x s(u(x)), u = c (x + 0.044715 x^3): y' = s + x s (1 - s) u'
    epl_value *one = epl_scalar(g, epl_dtype_of(x), 1);
    epl_value *du = epl_affine(g, epl_square(g, x), 1.5957691216057308 * 3 * 0.044715, 1.5957691216057308);
    return epl_add(g, s, epl_mul(g, epl_mul(g, x, du), epl_mul(g, s, epl_sub(g, one, s))));
}

#define ZERO                  NULL
#define C(c)                  epl_scalar(g, dy->dtype, c)
#define ADD(p, q)             epl_add(g, p, q)
#define SUB(p, q)             epl_sub(g, p, q)
#define MUL(p, q)             epl_mul(g, p, q)
#define DIV(p, q)             epl_div(g, p, q)
#define MAX(p, q)             epl_max(g, p, q)
#define POW(p, q)             epl_pow(g, p, q)
#define POW_SCALAR(p, c)      epl_pow_scalar(g, p, c)
#define NEG(p)                epl_neg(g, p)
#define ABS(p)                epl_abs(g, p)
#define SIGN(p)               epl_sign(g, p)
#define STEP(p)               epl_step(g, p)
#define SQUARE(p)             epl_square(g, p)
#define RSQRT(p)              epl_rsqrt(g, p)
#define EXP(p)                epl_exp(g, p)
#define LOG(p)                epl_log(g, p)
#define SIN(p)                epl_sin(g, p)
#define COS(p)                epl_cos(g, p)
#define SINH(p)               epl_sinh(g, p)
#define COSH(p)               epl_cosh(g, p)
#define TANH(p)               epl_tanh(g, p)
#define ERF(p)                epl_erf(g, p)
#define SIGMOID(p)            epl_sigmoid(g, p)
#define SOFTPLUS(p)           epl_softplus(g, p)
#define FLOOR(p)              epl_floor(g, p)
#define TRUNC(p)              epl_trunc(g, p)
#define LESS(p, q)            epl_less(g, p, q)
#define LESS_OR_EQUAL(p, q)   epl_less_or_equal(g, p, q)
#define GREATER(p, q)         epl_greater(g, p, q)
#define WHERE(c, p, q)        epl_where(g, c, p, q)
#define INSIDE(p, low, high)                                                                                       \
    WHERE(epl_and(g, epl_greater_or_equal(g, p, low), LESS_OR_EQUAL(p, high)), C(1), C(0)) /* the ends belong to it */
#define GELU_TANH_SLOPE(x, s) gelu_tanh_slope(g, x, s)

#define UNUSED(p, q, r, s) (void)p, (void)q, (void)r, (void)s

#define GRAD(name) static void grad_##name(epl_graph *g, const epl_node *n, epl_value *const *dys, epl_value **dx)
#define UNARY(name, types, attributes, expression, dx0, ...)                                                       \
    GRAD(name)                                                                                                     \
    {                                                                                                              \
        epl_value *x = n->inputs[0], *y = n->outputs[0], *dy = dys[0];                                             \
        LOCALS attributes UNUSED(g, x, y, dy);                                                                               \
        dx[0] = dx0;                                                                                               \
    }
#define BINARY(name, types, attributes, expression, dx0, dx1, ...)                                                 \
    GRAD(name)                                                                                                     \
    {                                                                                                              \
        epl_value *a = n->inputs[0], *b = n->inputs[1], *y = n->outputs[0], *dy = dys[0];                          \
        UNUSED(a, b, y, dy);                                                                                       \
        dx[0] = back_to(g, dx0, a);                                                                                \
        dx[1] = back_to(g, dx1, b);                                                                                \
    }
#define TERNARY(name, types, attributes, expression, dx0, dx1, dx2, ...)                                           \
    GRAD(name)                                                                                                     \
    {                                                                                                              \
        epl_value *a = n->inputs[0], *b = n->inputs[1], *c = n->inputs[2], *dy = dys[0];                           \
        UNUSED(a, b, c, dy);                                                                                       \
        dx[0] = back_to(g, dx0, a);                                                                                \
        dx[1] = back_to(g, dx1, b);                                                                                \
        dx[2] = back_to(g, dx2, c);                                                                                \
    }
#include "ops/elementwise.def"
#undef UNARY
#undef BINARY
#undef TERNARY

/* ---- samples for the tests --------------------------------------------------------------------------------------- */

typedef struct domain {
    int    row;
    double low, high;
} domain;

/* Where a row is defined and smooth; the others take [-2, 2]. */
static const domain domains[] = {
    { EPL_EW_sqrt, 0.2, 3 },     { EPL_EW_rsqrt, 0.2, 3 },       { EPL_EW_log, 0.2, 3 },        { EPL_EW_log1p, -0.7, 3 },
    { EPL_EW_asin, -0.9, 0.9 },  { EPL_EW_acos, -0.9, 0.9 },     { EPL_EW_atanh, -0.9, 0.9 },   { EPL_EW_acosh, 1.2, 3 },
    { EPL_EW_tan, -1.2, 1.2 },   { EPL_EW_pow, 0.3, 2 },         { EPL_EW_pow_scalar, 0.3, 2 }, { EPL_EW_shift_left, 0, 7 },
    { EPL_EW_shift_right, 0, 7 }, { EPL_EW_reciprocal, 0.4, 3 }, { EPL_EW_div, 0.4, 3 },        { EPL_EW_mod, 0.4, 3 },
    { EPL_EW_fmod, 0.4, 3 },
};

static epl_shape sample_shape(epl_rng *r)
{
    epl_shape s = { .rank = (int)epl_rng_below(r, 4) };
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = 1 + (int64_t)epl_rng_below(r, 5);
    return s;
}

/* A shape that broadcasts against s without widening it: axes set to 1, leading axes dropped. */
static epl_shape sample_narrower(epl_rng *r, epl_shape s)
{
    epl_shape b = { .rank = s.rank ? (int)epl_rng_below(r, (uint64_t)s.rank + 1) : 0 };
    for (int i = 0; i < b.rank; i++)
        b.dim[i] = epl_rng_below(r, 3) ? s.dim[s.rank - b.rank + i] : 1;
    return epl_rng_below(r, 2) ? s : b;
}

static epl_node *sample_row(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op, int row)
{
    domain d = { row, -2, 2 };
    for (size_t i = 0; i < EPL_COUNT(domains); i++)
        if (domains[i].row == row)
            d = domains[i];
    const epl_row_types types = epl_rows[row].types;
    const epl_dtype t = types == EPL_ROW_INTEGER ? EPL_I32 : types == EPL_ROW_LOGIC ? EPL_BOOL : dtype;
    const epl_shape s = sample_shape(r);
    const int wide = (int)epl_rng_below(r, (uint64_t)epl_rows[row].n_inputs); // this input has the full shape
    epl_value *in[3] = { 0 };
    for (int i = 0; i < epl_rows[row].n_inputs; i++)
        in[i] = epl_sample_input(g, types == EPL_ROW_SELECT && i == 0 ? EPL_BOOL : t, i == wide ? s : sample_narrower(r, s),
                                 d.low, d.high, 0.01);
    return epl_node_add(g, op, epl_rows[row].n_inputs, in, NULL, 0, NULL);
}

/* ---- entries and builders ---------------------------------------------------------------------------------------- */

/* Their inputs may change places: CSE and matching may sort them. */
#define COMMUTES(row)                                                                                              \
    ((row) == EPL_EW_add || (row) == EPL_EW_mul || (row) == EPL_EW_max || (row) == EPL_EW_min ||                   \
     (row) == EPL_EW_equal || (row) == EPL_EW_not_equal || (row) == EPL_EW_and || (row) == EPL_EW_or ||            \
     (row) == EPL_EW_xor || (row) == EPL_EW_bitwise_and || (row) == EPL_EW_bitwise_or || (row) == EPL_EW_bitwise_xor)

#define ENTRY(cname, types, attributes, inputs, printed)                                                           \
    static bool infer_##cname(epl_node *n) { return infer_row(n, EPL_ROW_##types); }                               \
    static void epl_ref_##cname(const epl_ref_call *c) { ref_row(c, row_at(EPL_EW_##cname)); }                             \
    static epl_node *sample_##cname(epl_graph *g, epl_rng *r, epl_dtype t)                                         \
    {                                                                                                              \
        return sample_row(g, r, t, &epl_op_##cname, EPL_EW_##cname);                                               \
    }                                                                                                              \
    const epl_op epl_op_##cname = {                                                                                \
        .name = printed, .n_inputs = inputs, .n_outputs = 1,                                                       \
        .flags = EPL_OP_ELEMENTWISE | (COMMUTES(EPL_EW_##cname) ? EPL_OP_COMMUTATIVE : 0),                         \
        .attrs = FIELDS attributes, .infer = infer_##cname, .grad = grad_##cname, EPL_REF(epl_ref_##cname),        \
        .sample = sample_##cname                                                                                   \
    };
#define UNARY(cname, types, attributes, y, dx, printed, since)                                                     \
    ENTRY(cname, types, attributes, 1, printed)                                                                    \
    epl_value *epl_##cname(epl_graph *g, epl_value *x PARAMS attributes)                                           \
    {                                                                                                              \
        const epl_attr at[2] = { VALUES attributes };                                                              \
        return epl_apply(g, &epl_op_##cname, EPL_IN(x), at);                                                       \
    }
#define BINARY(cname, types, attributes, y, da, db, printed, since)                                                \
    ENTRY(cname, types, attributes, 2, printed)                                                                    \
    epl_value *epl_##cname(epl_graph *g, epl_value *a, epl_value *b)                                               \
    {                                                                                                              \
        return epl_apply(g, &epl_op_##cname, EPL_IN(a, b), NULL);                                                  \
    }
#define TERNARY(cname, types, attributes, y, da, db, dc, printed, since)                                           \
    ENTRY(cname, types, attributes, 3, printed)                                                                    \
    epl_value *epl_##cname(epl_graph *g, epl_value *a, epl_value *b, epl_value *c)                                 \
    {                                                                                                              \
        return epl_apply(g, &epl_op_##cname, EPL_IN(a, b, c), NULL);                                               \
    }
#include "ops/elementwise.def"
#undef UNARY
#undef BINARY
#undef TERNARY

/* The row of an operator, or -1. */
int epl_elementwise_row(const epl_op *op)
{
#define UNARY(cname, ...) &epl_op_##cname,
#define BINARY UNARY
#define TERNARY UNARY
    static const epl_op *const entries[EPL_N_ELEMENTWISE] = {
#include "ops/elementwise.def"
    };
    for (int i = 0; i < EPL_N_ELEMENTWISE; i++)
        if (entries[i] == op)
            return i;
    return -1;
}
