/* unique: the different elements of a tensor, or its different slices along an axis; where each first stands, where
 * each element is among them, how often each occurs. How many there are is a shape, and must be said. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
typedef struct ref_unique_rows {
    const epl_view *x;
    int64_t outer, d, inner; /* slice i holds the elements [o, i, n] */
} ref_unique_rows;

static inline ref_unique_rows ref_unique_rows_of(const epl_view *x, const epl_ref_attr *axes)
{
    ref_unique_rows r = { x, 1, 1, 1 };
    const int64_t   axis = axes->n == 0 ? 0 : axes->ints[0] < 0 ? axes->ints[0] + x->rank : axes->ints[0];
    for (int64_t i = 0; i < x->rank; i++)
        *(axes->n == 0 || i == axis ? &r.d : i < axis ? &r.outer : &r.inner) *= x->dim[i];
    return r;
}

/* -1, 0, 1 by the first elements that differ; NaN is larger than everything and equal to itself. */
static inline int ref_unique_compare(const ref_unique_rows *r, int64_t a, int64_t b)
{
    const uint64_t flip = r->x->dtype == EPL_REF_U64 ? (uint64_t)1 << 63 : 0; // orders u64 as if it were signed
    for (int64_t k = 0; k < r->outer * r->inner; k++) {
        const int64_t at = (k / r->inner * r->d) * r->inner + k % r->inner, i = at + a * r->inner, j = at + b * r->inner;
        int order;
        if (epl_ref_is_float(r->x->dtype)) {
            const double p = epl_ref_get(r->x, i), q = epl_ref_get(r->x, j);
            order = p != p || q != q ? (p != p) - (q != q) : (p > q) - (p < q);
        } else {
            const int64_t p = (int64_t)((uint64_t)epl_ref_get_i64(r->x, i) ^ flip),
                          q = (int64_t)((uint64_t)epl_ref_get_i64(r->x, j) ^ flip);
            order = (p > q) - (p < q);
        }
        if (order)
            return order;
    }
    return 0;
}

static void ref_unique(const epl_ref_call *c)
{
    const ref_unique_rows r = ref_unique_rows_of(&c->in[0], &c->attr[0]);
    const epl_view *y = &c->out[0];
    const int64_t   count = c->out[1].dim[0], bytes = r.inner * epl_ref_bytes(y->dtype);
    int64_t *first = c->out[1].data, *inverse = c->out[2].data, *times = c->out[3].data;
    memset(y->data, 0, (size_t)(epl_view_count(y) * epl_ref_bytes(y->dtype)));
    for (int64_t k = 0; k < count; k++)
        first[k] = -1, times[k] = 0;
    for (int64_t i = 0; i < r.d; i++) // inverse[i]: the first slice that equals i
        for (inverse[i] = 0; ref_unique_compare(&r, inverse[i], i) != 0;)
            inverse[i]++;
    for (int64_t i = 0; i < r.d; i++) {
        int64_t rank = 0;
        for (int64_t j = 0; j < r.d && inverse[i] == i; j++)
            rank += inverse[j] == j && (c->attr[1].i ? ref_unique_compare(&r, j, i) < 0 : j < i);
        if (inverse[i] == i && rank < count)
            first[rank] = i;
    }
    for (int64_t k = 0; k < count; k++)
        for (int64_t o = 0; o < r.outer && first[k] >= 0; o++)
            memcpy((char *)y->data + (o * count + k) * bytes, (const char *)c->in[0].data + (o * r.d + first[k]) * bytes, (size_t)bytes);
    for (int64_t i = 0; i < r.d; i++) {
        int64_t k = 0;
        while (k < count && first[k] != inverse[i])
            k++;
        inverse[i] = k < count ? k : -1; // read no more: every later slice asks for its own
        if (k < count)
            times[k]++;
    }
}
/* end reference */

enum { UNIQUE_AXES, UNIQUE_SORTED, UNIQUE_COUNT, UNIQUE_N };

static bool infer_unique(epl_node *n)
{
    const epl_attr *axes = &n->attrs[UNIQUE_AXES];
    epl_shape       y = n->inputs[0]->shape;
    const int64_t   count = n->attrs[UNIQUE_COUNT].i, all = epl_shape_count(y);
    int             axis = 0;
    if (axes->n > 1 || (axes->n && !epl_check_axis(n, axes->ints[0], y.rank, &axis)))
        return axes->n > 1 ? epl_node_fail(n, EPL_ERR_ARGUMENT, "%d axes; at most one is possible", axes->n) : false;
    const int64_t d = axes->n ? y.dim[axis] : all;
    if (count < 0 || count > d)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%lld different ones among %lld", (long long)count, (long long)d);
    if (axes->n == 0)
        y = EPL_SHAPE(count);
    else
        y.dim[axis] = count;
    return epl_set_type(n, 0, n->inputs[0]->dtype, y) && epl_set_type(n, 1, EPL_I64, EPL_SHAPE(count)) &&
           epl_set_type(n, 2, EPL_I64, EPL_SHAPE(d)) && epl_set_type(n, 3, EPL_I64, EPL_SHAPE(count));
}

/* Each goes back to where it first stands. */
static void grad_unique(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_attr *axes = &n->attrs[UNIQUE_AXES];
    epl_value      *x = n->inputs[0], *like = axes->n ? x : epl_reshape(g, x, EPL_SHAPE(-1));
    if (dy[0])
        dx[0] = epl_reshape_like(g, epl_scatter_add(g, dy[0], n->outputs[1], like, axes->n ? (int)axes->ints[0] : 0), x);
}

static epl_node *sample_unique(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 1, 3);
    const int64_t   axis = epl_random_between(r, -x.rank, x.rank - 1);
    const bool      flat = epl_rng_below(r, 2);
    const epl_attr  attrs[UNIQUE_N] = { flat ? EPL_A_INTS(0, NULL) : EPL_A_INTS(1, &axis), EPL_A_I((int64_t)epl_rng_below(r, 2)),
                                        EPL_A_I(flat ? epl_shape_count(x) : x.dim[axis < 0 ? axis + x.rank : axis]) };
    return epl_node_add(g, &epl_op_unique, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0.003)), attrs, 0, NULL);
}

const epl_op epl_op_unique = {
    .name = "Unique", .n_inputs = 1, .n_outputs = 4,
    .attrs = { [UNIQUE_AXES] = { "axes", EPL_ATTR_INTS }, [UNIQUE_SORTED] = { "sorted", EPL_ATTR_BOOL, .def_i = 1 },
               [UNIQUE_COUNT] = { "count", EPL_ATTR_INT, .required = true } },
    .infer = infer_unique, .grad = grad_unique, EPL_REF(ref_unique), .sample = sample_unique,
};

epl_value *epl_unique(epl_graph *g, epl_value *x, int64_t count, epl_unique_opts o, epl_value **first,
                      epl_value **inverse, epl_value **times)
{
    const int64_t  axis = o.axis;
    const epl_attr attrs[UNIQUE_N] = { o.along_axis ? EPL_A_INTS(1, &axis) : EPL_A_INTS(0, NULL), EPL_A_I(!o.unsorted), EPL_A_I(count) };
    const epl_node *n = x ? epl_node_add(g, &epl_op_unique, EPL_IN(x), attrs, 0, NULL) : NULL;
    epl_value **const to[] = { first, inverse, times };
    for (int i = 0; i < 3; i++)
        if (to[i])
            *to[i] = n ? n->outputs[1 + i] : NULL;
    return n ? n->outputs[0] : NULL;
}
