/* shrink: the network without the classes that are gone - a copy of the graph whose sources are smaller and whose attributes
 * agree with them; all other shapes follow by inference, and are compared with what the classes say. */
#include "compress/units.h"

#include <math.h>
#include <string.h>

/* ---- tensors ---- */

typedef struct kept { /* the indices of each axis that stay */
    int64_t *list[EPL_MAX_RANK];
    epl_shape shape;
    epl_even_slices even; /* of one axis another choice for each group of another */
} kept;

static bool kept_of(epl_units *u, const epl_value *v, kept *k)
{
    *k = (kept){ .shape = v->shape };
    for (int a = 0; a < v->shape.rank; a++) {
        const int64_t d = v->shape.dim[a], will = epl_units_left(u, v, a);
        k->list[a] = epl_alloc_array(u->ctx, (size_t)(will > d ? will : d) + 1, sizeof *k->list[a]);
        if (!k->list[a])
            return false;
        int64_t left = 0;
        for (int64_t i = 0; i < d && left < will; i++)
            if (!u->gone[epl_unit_of(u, v, a, i)])
                k->list[a][left++] = i;
        for (; d > 0 && left < will; left++) // where there will be more: from the beginning again
            k->list[a][left] = left % d;
        k->shape.dim[a] = left;
    }
    return epl_even_slice(u, v, &k->even);
}

static void kept_release(epl_context *ctx, kept *k)
{
    for (int a = 0; a < k->shape.rank; a++)
        epl_release(ctx, k->list[a]);
    epl_release(ctx, k->even.list);
}

/* Where in axis a of the former tensor the element at `index` is. */
static int64_t place_of(const kept *k, int a, const int64_t *index)
{
    if (!k->even.list || a != k->even.in)
        return k->list[a][index[a]];
    const int64_t group = k->list[k->even.out][index[k->even.out]] / k->even.size;
    return k->even.list[group * k->even.each + index[a]];
}

static void copy_kept(const kept *k, const epl_tensor *from, epl_tensor *to)
{
    const size_t  bytes = epl_dtype_bytes(from->dtype);
    const int64_t n = epl_tensor_count(to);
    int64_t       index[EPL_MAX_RANK] = { 0 };
    for (int64_t o = 0; o < n; o++) {
        int64_t at = 0;
        for (int a = 0; a < k->shape.rank; a++)
            at = at * from->shape.dim[a] + place_of(k, a, index);
        memcpy((char *)to->data + (size_t)o * bytes, (const char *)from->data + (size_t)at * bytes, bytes);
        for (int a = k->shape.rank - 1; a >= 0 && ++index[a] == k->shape.dim[a]; a--)
            index[a] = 0;
    }
}

epl_tensor *epl_units_slice(epl_units *u, const epl_value *v, const epl_tensor *t)
{
    kept k;
    epl_tensor *out = NULL;
    if (!epl_shape_equal(v->shape, t->shape)) {
        char a[192], b[192];
        epl_fail(u->ctx, EPL_ERR_SHAPE, "'%s' is %s in the graph, %s in the weights", epl_value_name(v), epl_shape_text(a, v->shape),
                 epl_shape_text(b, t->shape));
        return NULL;
    }
    if (kept_of(u, v, &k))
        out = epl_tensor_new(u->ctx, t->dtype, k.shape);
    if (out)
        copy_kept(&k, t, out);
    kept_release(u->ctx, &k);
    return out;
}

/* ---- attributes ---- */

static bool set_ints(epl_node *copy, const char *name, int n, const int64_t *x)
{
    return epl_node_set_attr(copy, epl_op_attr_index(copy->op, name), EPL_A_INTS(n, x));
}

static bool set_int(epl_node *copy, const char *name, int64_t x)
{
    return epl_node_set_attr(copy, epl_op_attr_index(copy->op, name), EPL_A_I(x));
}

typedef bool fix_fn(epl_units *u, const epl_node *n, epl_node *copy);

/* The scale at which a weight starts, where it is one that follows from how much a unit reads (He, LeCun) or reads
 * and feeds (Glorot). */
static double start_of(double scale, double count, epl_shape old, double new_count, epl_shape new)
{
    static const double known[] = { 1, 2, 3, 6, 1.0 / 3 };
    const double reads = count / (double)old.dim[old.rank - 1], feeds = count / (double)old.dim[old.rank - 2], square = scale * scale;
    const double now_reads = new_count / (double)new.dim[new.rank - 1], now_feeds = new_count / (double)new.dim[new.rank - 2];
    for (size_t i = 0; i < EPL_COUNT(known); i++)
        if (fabs(square * reads - known[i]) < 1e-6 * known[i])
            return sqrt(known[i] / now_reads);
    if (fabs(square * feeds - 2) < 2e-6)
        return sqrt(2 / now_feeds);
    return fabs(square * (reads + feeds) - 6) < 6e-6 ? sqrt(6 / (now_reads + now_feeds)) : scale;
}

static bool fix_source(epl_units *u, const epl_node *n, epl_node *copy)
{
    const epl_value *v = n->outputs[0];
    epl_shape new = v->shape;
    for (int a = 0; a < v->shape.rank; a++)
        new.dim[a] = epl_units_left(u, v, a);
    if (u->times && new.rank >= 2 && EPL_IS(n, parameter) && n->attrs[4].r > 0) {
        const double scale = start_of(n->attrs[4].r, (double)epl_shape_count(v->shape), v->shape, (double)epl_shape_count(new), new);
        if (!epl_node_set_attr(copy, 4, EPL_A_R(scale)))
            return false;
    }
    return set_ints(copy, "shape", new.rank, new.dim);
}

/* The numbers that a gather takes, among those that are left. */
static void renumber(epl_units *u, const epl_node *gather, epl_tensor *t)
{
    const epl_value *data = gather->inputs[0];
    const int        axis = (int)(gather->attrs[0].i < 0 ? gather->attrs[0].i + data->shape.rank : gather->attrs[0].i);
    for (int64_t i = 0; i < epl_tensor_count(t); i++)
        epl_tensor_set_i64(t, i, epl_units_left_of(u, data, axis, epl_tensor_get_i64(t, i)));
}

static bool fix_constant(epl_units *u, const epl_node *n, epl_node *copy)
{
    epl_tensor     *t = epl_units_slice(u, n->outputs[0], n->attrs[0].tensor);
    const epl_node *reader = n->outputs[0]->n_uses == 1 ? n->outputs[0]->uses[0].node : NULL;
    if (t && EPL_IS(reader, gather) && reader->inputs[1] == n->outputs[0] && epl_ties_picks(reader))
        renumber(u, reader, t);
    const bool  ok = t && epl_node_set_attr(copy, 0, EPL_A_T(t));
    epl_tensor_free(t);
    return ok;
}

/* Entries that name the result's size; 0 and -1 follow by themselves. Aligned from the right, as Expand's are. */
static bool fix_shape(epl_units *u, const epl_node *n, epl_node *copy)
{
    const epl_attr  *a = &n->attrs[epl_op_attr_index(n->op, "shape")];
    const epl_value *y = n->outputs[0];
    int64_t          dims[EPL_MAX_RANK];
    for (int i = 0; i < a->n; i++) {
        const int axis = i + y->shape.rank - a->n;
        dims[i] = a->ints[i] > 0 && a->ints[i] == y->shape.dim[axis] ? epl_units_left(u, y, axis) : a->ints[i];
    }
    return a->n == 0 || set_ints(copy, "shape", a->n, dims);
}

static bool fix_groups(epl_units *u, const epl_node *n, epl_node *copy)
{
    const char      *name = EPL_IS(n, group_norm) ? "num_groups" : "group";
    const int64_t    groups = epl_attr_i(n, name);
    const epl_value *x = n->inputs[0];
    const int64_t    size = epl_channels(x) / groups;
    return groups == 1 || epl_units_is_even(u, n) || set_int(copy, name, epl_units_left(u, x, x->shape.rank - 1) / size);
}

static bool fix_split(epl_units *u, const epl_node *n, epl_node *copy)
{
    const int64_t named = epl_attr_i(n, "axis");
    const int     axis  = (int)(named < 0 ? named + n->inputs[0]->shape.rank : named);
    int64_t      *sizes = epl_alloc_array(u->ctx, (size_t)n->n_outputs, sizeof *sizes);
    bool          ok    = sizes != NULL;
    for (int i = 0; ok && i < n->n_outputs; i++)
        sizes[i] = epl_units_left(u, n->outputs[i], axis);
    ok = ok && (n->n_inputs > 1 || set_ints(copy, "split", n->n_outputs, sizes));
    epl_release(u->ctx, sizes);
    return ok;
}

/* Only axes that lose something; those have step 1. */
static bool fix_slice(epl_units *u, const epl_node *n, epl_node *copy)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    const epl_attr  *starts = &n->attrs[0], *ends = &n->attrs[1], *axes = &n->attrs[2];
    int64_t          from[EPL_MAX_RANK], to[EPL_MAX_RANK];
    for (int i = 0; i < starts->n; i++) {
        const int64_t named = axes->n ? axes->ints[i] : i, d = x->shape.dim[named < 0 ? named + x->shape.rank : named];
        const int     axis = (int)(named < 0 ? named + x->shape.rank : named);
        from[i] = starts->ints[i];
        to[i]   = ends->ints[i];
        if (epl_units_left(u, x, axis) == d)
            continue;
        const int64_t start = from[i] < 0 ? from[i] + d : from[i];
        from[i] = epl_units_left_of(u, x, axis, start < d ? start : d);
        to[i] = from[i] + epl_units_left(u, y, axis);
    }
    return set_ints(copy, "starts", starts->n, from) && set_ints(copy, "ends", starts->n, to);
}

static const struct {
    const epl_op *op;
    fix_fn       *fix;
} table[] = {
    { &epl_op_parameter, fix_source }, { &epl_op_state, fix_source }, { &epl_op_constant, fix_constant },
    { &epl_op_conv, fix_groups }, { &epl_op_conv_transpose, fix_groups }, { &epl_op_group_norm, fix_groups },
    { &epl_op_reshape, fix_shape }, { &epl_op_expand, fix_shape }, { &epl_op_sum_to, fix_shape },
    { &epl_op_split, fix_split }, { &epl_op_slice, fix_slice },
};

static bool fix_node(epl_units *u, const epl_node *n, epl_node *copy)
{
    for (size_t i = 0; i < EPL_COUNT(table); i++)
        if (table[i].op == n->op)
            return table[i].fix(u, n, copy);
    return true;
}

/* Inference and the classes must agree about every value. */
static bool check_shapes(epl_units *u, const epl_node *n, epl_node *copy)
{
    char text[192], label[256];
    for (int i = 0; i < n->n_outputs; i++)
        for (int a = 0; a < n->outputs[i]->shape.rank; a++)
            if (copy->outputs[i]->shape.dim[a] != epl_units_left(u, n->outputs[i], a))
                return epl_fail(u->ctx, EPL_ERR_UNSUPPORTED,
                                "%s: without the removed channels axis %d should have size %lld, not that of %s",
                                epl_node_label(n, label), a, (long long)epl_units_left(u, n->outputs[i], a),
                                epl_shape_text(text, copy->outputs[i]->shape));
    return true;
}

/* A copy has the same nodes in the same order. Regions' inputs follow what comes in. */
typedef bool pair_fn(epl_units *u, const epl_node *n, epl_node *copy);

static bool for_all(epl_units *u, const epl_graph *from, const epl_graph *copy, pair_fn *f)
{
    epl_node *c = copy->first;
    for (const epl_node *n = from->first; n; n = n->next, c = c->next) {
        if (!f(u, n, c))
            return false;
        for (int r = 0; epl_ties_look_inside(n) && r < n->n_regions; r++)
            if (!for_all(u, n->regions[r], c->regions[r], f))
                return false;
    }
    return true;
}

epl_graph *epl_units_shrink(epl_units *u)
{
    epl_graph *g = epl_graph_copy(u->graph);
    if (g && for_all(u, u->graph, g, fix_node) && epl_reinfer(g) && for_all(u, u->graph, g, check_shapes) && epl_graph_finish(g))
        return g;
    epl_graph_free(g);
    return NULL;
}
