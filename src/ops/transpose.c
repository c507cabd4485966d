/* transpose: axes in another order. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
static void ref_transpose(const epl_ref_call *c)
{
    const epl_view     *x = &c->in[0], *y = &c->out[0];
    const epl_ref_attr *perm = &c->attr[0];
    const int64_t       bytes = epl_ref_bytes(x->dtype), n = epl_view_count(y);
    int64_t own[8], stride[8], index[8] = { 0 }, s = 1;
    for (int64_t i = x->rank - 1; i >= 0; s *= x->dim[i--])
        own[i] = s;
    for (int64_t i = 0; i < x->rank; i++) {
        const int64_t p = perm->n ? perm->ints[i] : x->rank - 1 - i;
        stride[i] = own[p < 0 ? p + x->rank : p];
    }
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, y->dim, y->rank))
        memcpy((char *)y->data + o * bytes, (const char *)x->data + epl_ref_offset(index, stride, y->rank) * bytes, (size_t)bytes);
}
/* end reference */

enum { PERM };

/* perm with its default and negative axes resolved. */
static bool permutation(const epl_node *n, int64_t perm[EPL_MAX_RANK])
{
    const int rank = n->inputs[0]->shape.rank;
    const epl_attr *a = &n->attrs[PERM];
    bool seen[EPL_MAX_RANK];
    if (a->n && a->n != rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%d axes in perm, the tensor has rank %d", a->n, rank);
    if (!epl_axes_mask(n, a, rank, seen))
        return false;
    for (int i = 0; i < rank; i++)
        perm[i] = !a->n ? rank - 1 - i : a->ints[i] < 0 ? a->ints[i] + rank : a->ints[i];
    return true;
}

static bool infer_transpose(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape y = { .rank = x.rank };
    int64_t perm[EPL_MAX_RANK];
    if (!permutation(n, perm))
        return false;
    for (int i = 0; i < x.rank; i++)
        y.dim[i] = x.dim[perm[i]];
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_transpose(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const int rank = n->inputs[0]->shape.rank;
    int64_t perm[EPL_MAX_RANK];
    int     inverse[EPL_MAX_RANK];
    if (!permutation(n, perm))
        return;
    for (int i = 0; i < rank; i++)
        inverse[perm[i]] = i;
    dx[0] = epl_transpose(g, dy[0], n->attrs[PERM].n ? rank : 0, inverse);
}

static epl_node *sample_transpose(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 0, 4);
    int64_t perm[EPL_MAX_RANK] = { 0, 1, 2, 3 };
    epl_rng_shuffle(r, perm, (size_t)x.rank);
    const epl_attr attrs[] = { [PERM] = EPL_A_INTS(epl_rng_below(r, 4) ? x.rank : 0, perm) };
    return epl_node_add(g, &epl_op_transpose, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_transpose = {
    .name = "Transpose", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [PERM] = { "perm", EPL_ATTR_INTS } },
    .infer = infer_transpose, .grad = grad_transpose, EPL_REF(ref_transpose), .sample = sample_transpose,
};

epl_value *epl_transpose(epl_graph *g, epl_value *x, int n, const int *perm)
{
    int64_t storage[EPL_MAX_RANK];
    const epl_attr attrs[] = { [PERM] = epl_axes_attr(n, perm, storage) };
    return x ? epl_apply(g, &epl_op_transpose, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_permute(epl_graph *g, epl_value *x, epl_shape perm)
{
    const epl_attr attrs[] = { [PERM] = EPL_A_INTS(perm.rank, perm.dim) };
    return x ? epl_apply(g, &epl_op_transpose, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_swap_axes(epl_graph *g, epl_value *x, int a, int b)
{
    const int rank = epl_rank(x), i = a < 0 ? a + rank : a, k = b < 0 ? b + rank : b;
    int perm[EPL_MAX_RANK] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    if (x && (i < 0 || i >= rank || k < 0 || k >= rank))
        return epl_graph_fail(g, EPL_ERR_SHAPE, "axes %d and %d cannot be swapped in a tensor of rank %d", a, b, rank);
    if (!x || i == k)
        return x;
    perm[i] = k;
    perm[k] = i;
    return epl_transpose(g, x, rank, perm);
}
