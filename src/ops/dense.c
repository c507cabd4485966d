/* dense: helpers of the operators that are not element-wise (dense.h). */
#include "ops/dense.h"

bool epl_check_floats(const epl_node *n, int count)
{
    const epl_dtype dtype = n->inputs[0]->dtype;
    if (!epl_dtype_is_float(dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "input 0 is %s, but must be floating-point", epl_dtype_name(dtype));
    for (int i = 1; i < count; i++) {
        const epl_value *v = epl_node_input(n, i);
        if (v && v->dtype != dtype)
            return epl_node_fail(n, EPL_ERR_DTYPE, "input 0 is %s, but input %d is %s", epl_dtype_name(dtype), i,
                                 epl_dtype_name(v->dtype));
    }
    return true;
}

bool epl_check_shape(const epl_node *n, int i, const char *what, epl_shape want)
{
    const epl_value *v = epl_node_input(n, i);
    char is[192], wanted[192];
    return !v || epl_shape_equal(v->shape, want) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "%s is %s, but %s is needed", what, epl_shape_text(is, v->shape),
                         epl_shape_text(wanted, want));
}

bool epl_wanted_shape(const epl_node *n, int like, int attr, epl_shape from, epl_shape *out)
{
    const epl_attr *list = &n->attrs[attr];
    char text[192];
    *out = (epl_shape){ .rank = list->n };
    for (int i = 0; i < list->n && i < from.rank; i++)
        out->dim[i] = list->ints[i] == EPL_KEEP ? from.dim[i] : list->ints[i];
    if (epl_node_input(n, like))
        *out = n->inputs[like]->shape;
    return (out->rank == from.rank && out->rank >= 3 && out->rank <= 5) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "a result of rank %d is wanted from the input %s; both must be [N, spatial..., C]",
                         out->rank, epl_shape_text(text, from));
}

epl_value *epl_sum_rows(epl_graph *g, epl_value *x)
{
    epl_reduce_opts o = { 0 };
    if (!x || x->shape.rank < 2)
        return x;
    for (int i = 0; i < x->shape.rank - 1; i++)
        o.axes[o.n_axes++] = i;
    return epl_reduce_sum(g, x, o);
}

epl_value *epl_as_rows(epl_graph *g, epl_value *x)
{
    return !x || x->shape.rank == 2 ? x : epl_reshape(g, x, EPL_SHAPE(-1, epl_channels(x)));
}

const epl_attr *epl_attrs_of(const epl_node *n, int count, epl_attr *a)
{
    memset(a, 0, EPL_MAX_ATTRS * sizeof *a);
    memcpy(a, n->attrs, (size_t)count * sizeof *a);
    for (int i = 0; i < count; i++)
        a[i].set = true;
    return a;
}

epl_shape epl_pick_shape(epl_rng *r, int rank, int low, int high)
{
    epl_shape s = { .rank = rank };
    for (int i = 0; i < rank; i++)
        s.dim[i] = epl_pick(r, low, high);
    return s;
}
