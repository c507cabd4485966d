/* unpack_nm: weights of which n of every m consecutive elements along an axis are stored - their values, and where
 * in the group they stand, in as few bits as say it. N:M sparsity as a form of storage. */
#include <espalier/ops.h>

#include "graph/op.h"
#include "ops/axes.h"

enum { NM_AXIS, NM_N, NM_M, NM_SIZE, NM_ATTRS };

/* begin reference */
/* Values [outer, stored, inner], n for each group of m; the last group may be smaller. Indices follow each other in
 * the values' order. */
static void ref_unpack_nm(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    const int64_t axis = c->attr[0].i < 0 ? c->attr[0].i + x->rank : c->attr[0].i, n = c->attr[1].i, m = c->attr[2].i, size = c->attr[3].i;
    const int64_t stored = x->dim[axis];
    int64_t inner = 1, bits = 0;
    while (INT64_C(1) << bits < m)
        bits++;
    for (int64_t i = axis + 1; i < x->rank; i++)
        inner *= x->dim[i];
    for (int64_t at = 0; at < epl_view_count(&c->out[0]); at++)
        epl_ref_set(&c->out[0], at, 0);
    for (int64_t at = 0; at < epl_view_count(x); at++) {
        const int64_t to = at / inner % stored / n * m + epl_ref_code(c->in[1].data, at, bits);
        if (to < size)
            epl_ref_set(&c->out[0], (at / inner / stored * size + to) * inner + at % inner, epl_ref_get(x, at));
    }
}
/* end reference */

int64_t epl_nm_stored(int64_t size, int n, int m)
{
    const int64_t rest = size % m;
    return size / m * n + (rest < n ? rest : n);
}

int epl_nm_index_bits(int m)
{
    int bits = 0;
    while (1 << bits < m)
        bits++;
    return bits;
}

static bool infer_unpack_nm(epl_node *n)
{
    const epl_value *x = n->inputs[0], *indices = n->inputs[1];
    const int64_t    keep = n->attrs[NM_N].i, of = n->attrs[NM_M].i, size = n->attrs[NM_SIZE].i;
    epl_shape        y = x->shape;
    int              axis;
    if (!epl_dtype_is_float(x->dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "the values are %s; floating-point numbers are needed", epl_dtype_name(x->dtype));
    if (keep < 1 || of <= keep || of > 256)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%lld of %lld elements cannot be stored: at least 1, and fewer than all of at most 256",
                             (long long)keep, (long long)of);
    if (!epl_check_axis(n, n->attrs[NM_AXIS].i, x->shape.rank, &axis))
        return false;
    if (size < 0 || size > INT64_C(1) << 32 || epl_nm_stored(size, (int)keep, (int)of) != x->shape.dim[axis])
        return epl_node_fail(n, EPL_ERR_SHAPE,
                             "%lld of every %lld of %lld elements are stored, but axis %d of the values has %lld",
                             (long long)keep, (long long)of, (long long)size, axis, (long long)x->shape.dim[axis]);
    const int64_t bytes = epl_shift_packed_bytes(epl_shape_count(x->shape), epl_nm_index_bits((int)of));
    if (indices->dtype != EPL_U8 || !epl_shape_equal(indices->shape, EPL_SHAPE(bytes)))
        return epl_node_fail(n, EPL_ERR_SHAPE, "indices of %lld values are %lld bytes of type u8", (long long)epl_shape_count(x->shape),
                             (long long)bytes);
    y.dim[axis] = size;
    return epl_set_type(n, 0, x->dtype, y);
}

static epl_node *sample_unpack_nm(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_shape     x = epl_random_shape(r, 1, 3);
    const int     m = (int)epl_random_between(r, 2, 9), n = (int)epl_random_between(r, 1, m - 1),
              axis = (int)epl_random_between(r, 0, x.rank - 1);
    const int64_t size = epl_random_between(r, 1, 20);
    x.dim[axis] = epl_nm_stored(size, n, m);
    const epl_attr attrs[NM_ATTRS] = { EPL_A_I(axis - (n % 2 ? x.rank : 0)), EPL_A_I(n), EPL_A_I(m), EPL_A_I(size) };
    const int64_t  bytes = epl_shift_packed_bytes(epl_shape_count(x), epl_nm_index_bits(m));
    epl_value     *values = epl_sample_input(g, dtype, x, -2, 2, 0), *indices = epl_sample_input(g, EPL_U8, EPL_SHAPE(bytes), 0, 255, 0);
    return epl_node_add(g, &epl_op_unpack_nm, EPL_IN(values, indices), attrs, 0, NULL);
}

const epl_op epl_op_unpack_nm = {
    .name = "UnpackNM", .n_inputs = 2, .n_outputs = 1,
    .attrs = { [NM_AXIS] = { "axis", EPL_ATTR_INT, .required = true }, [NM_N] = { "n", EPL_ATTR_INT, .required = true },
               [NM_M] = { "m", EPL_ATTR_INT, .required = true }, [NM_SIZE] = { "size", EPL_ATTR_INT, .required = true } },
    .infer = infer_unpack_nm, EPL_REF(ref_unpack_nm), .sample = sample_unpack_nm,
};

epl_value *epl_unpack_nm(epl_graph *g, epl_value *values, epl_value *indices, epl_unpack_nm_opts o)
{
    const epl_attr attrs[NM_ATTRS] = { EPL_A_I(o.axis), EPL_A_I(o.n), EPL_A_I(o.m), EPL_A_I(o.size) };
    return values && indices ? epl_apply(g, &epl_op_unpack_nm, EPL_IN(values, indices), attrs) : NULL;
}
