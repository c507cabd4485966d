/* expand: repeating along axes (Expand, Tile) and its reverse, summing repetitions (SumTo). The two are each other's
 * gradients, which is what broadcasting in element-wise operators rests on. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
/* out[i] = in[i mod in.dim], axes aligned from the right. */
static void ref_repeat(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *y = &c->out[0];
    const int64_t   bytes = epl_ref_bytes(x->dtype), n = epl_view_count(y);
    int64_t         index[8] = { 0 };
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, y->dim, y->rank)) {
        int64_t from = 0;
        for (int64_t i = 0; i < x->rank; i++)
            from = from * x->dim[i] + index[y->rank - x->rank + i] % x->dim[i];
        memcpy((char *)y->data + o * bytes, (const char *)x->data + from * bytes, (size_t)bytes);
    }
}

/* out[o] = sum of in[i] where o = i mod out.dim; in the order of the repetitions. */
static void ref_sum_to(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *y = &c->out[0];
    const int64_t   lead = x->rank - y->rank, n = epl_view_count(y);
    int64_t         repeat[8], stride[8], size = 1, total = 1, o_index[8] = { 0 };
    for (int64_t i = x->rank - 1; i >= 0; size *= x->dim[i--]) {
        stride[i] = size;
        repeat[i] = i < lead ? x->dim[i] : y->dim[i - lead] ? x->dim[i] / y->dim[i - lead] : 0;
        total *= repeat[i];
    }
    for (int64_t o = 0; o < n; o++, epl_ref_next(o_index, y->dim, y->rank)) {
        double   real = 0;
        uint64_t whole = 0;
        int64_t  r_index[8] = { 0 };
        for (int64_t r = 0; r < total; r++, epl_ref_next(r_index, repeat, x->rank)) {
            int64_t from = 0;
            for (int64_t i = 0; i < x->rank; i++)
                from += stride[i] * (i < lead ? r_index[i] : r_index[i] * y->dim[i - lead] + o_index[i - lead]);
            if (epl_ref_is_float(x->dtype))
                real += epl_ref_get(x, from);
            else
                whole += (uint64_t)epl_ref_get_i64(x, from);
        }
        if (epl_ref_is_float(y->dtype))
            epl_ref_set(y, o, real);
        else
            epl_ref_set_i64(y, o, (int64_t)whole);
    }
}
/* end reference */

/* ---- Expand ---- */

enum { EXPAND_SHAPE };

static epl_shape target_shape(const epl_node *n)
{
    if (n->n_inputs > 1)
        return n->inputs[1]->shape;
    epl_shape s = { .rank = n->attrs[EXPAND_SHAPE].n };
    for (int i = 0; i < s.rank && i < EPL_MAX_RANK; i++)
        s.dim[i] = n->attrs[EXPAND_SHAPE].ints[i];
    return s;
}

static bool infer_expand(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape target = target_shape(n), y;
    char from[192], to[192];
    epl_shape_text(to, target);
    for (int i = 1; i <= target.rank && target.rank <= EPL_MAX_RANK; i++)
        if (target.dim[target.rank - i] == EPL_KEEP && n->n_inputs == 1)
            target.dim[target.rank - i] = i <= x.rank ? x.dim[x.rank - i] : 1;
    if (target.rank > EPL_MAX_RANK || !epl_shape_broadcast(x, target, &y) || (n->n_inputs > 1 && !epl_shape_equal(y, target)))
        return epl_node_fail(n, EPL_ERR_SHAPE, "%s does not repeat to %s", epl_shape_text(from, x), to);
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_expand(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_sum_like(g, dy[0], n->inputs[0]);
}

static epl_node *sample_expand(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape y = epl_random_shape(r, 0, 4);
    epl_shape x = { .rank = (int)epl_rng_below(r, (uint64_t)y.rank + 1) };
    for (int i = 0; i < x.rank; i++)
        x.dim[i] = epl_rng_below(r, 2) ? 1 : y.dim[y.rank - x.rank + i];
    const epl_attr attrs[] = { [EXPAND_SHAPE] = EPL_A_INTS(y.rank, y.dim) };
    return epl_node_add(g, &epl_op_expand, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_expand = {
    .name = "Expand", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2,
    .attrs = { [EXPAND_SHAPE] = { "shape", EPL_ATTR_INTS } },
    .infer = infer_expand, .grad = grad_expand, EPL_REF(ref_repeat), .sample = sample_expand,
};

epl_value *epl_expand(epl_graph *g, epl_value *x, epl_shape shape)
{
    const epl_attr attrs[] = { [EXPAND_SHAPE] = EPL_A_INTS(shape.rank, shape.dim) };
    return x ? epl_apply(g, &epl_op_expand, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_expand_like(epl_graph *g, epl_value *x, epl_value *like)
{
    return epl_apply_like(g, &epl_op_expand, x, like);
}

epl_value *epl_fill_like(epl_graph *g, epl_value *like, double x)
{
    return like ? epl_expand_like(g, epl_scalar(g, like->dtype, x), like) : NULL;
}

epl_value *epl_zeros_like(epl_graph *g, epl_value *like) { return epl_fill_like(g, like, 0); }
epl_value *epl_ones_like(epl_graph *g, epl_value *like) { return epl_fill_like(g, like, 1); }

/* ---- SumTo ---- */

static bool infer_sum_to(epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    epl_shape y = target_shape(n);
    char from[192], to[192];
    bool fits = y.rank <= x.rank;
    for (int i = 1; fits && i <= y.rank; i++) {
        const int64_t has = x.dim[x.rank - i];
        int64_t *d = &y.dim[y.rank - i];
        if (*d == EPL_KEEP && n->n_inputs == 1)
            *d = has;
        fits = *d > 0 ? has % *d == 0 : has == *d;
    }
    if (!fits)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%s cannot be summed to %s", epl_shape_text(from, x), epl_shape_text(to, y));
    return epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_sum_to(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    int64_t repeats[EPL_MAX_RANK];
    bool    tiled = false; // some size is a true multiple: not what broadcasting can undo
    for (int i = 0; i < x.rank; i++) {
        const int64_t d = i < x.rank - y.rank ? 1 : y.dim[i - (x.rank - y.rank)];
        repeats[i] = d ? x.dim[i] / d : 1;
        tiled = tiled || (d != x.dim[i] && d != 1);
    }
    dx[0] = !tiled ? epl_expand_like(g, dy[0], n->inputs[0])
                   : epl_tile(g, epl_unsqueeze(g, dy[0], x.rank - y.rank, (const int[]){ 0, 1, 2, 3, 4, 5, 6, 7 }), x.rank, repeats);
}

static epl_cost cost_sum_to(const epl_node *n)
{
    return (epl_cost){ .flops = (double)epl_shape_count(n->inputs[0]->shape) };
}

static epl_node *sample_sum_to(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 0, 4);
    epl_shape y = { .rank = (int)epl_rng_below(r, (uint64_t)x.rank + 1) };
    for (int i = 0; i < y.rank; i++) {
        const int64_t d = x.dim[x.rank - y.rank + i];
        const uint64_t draw = epl_rng_below(r, 4);
        y.dim[i] = draw == 0 ? d : draw == 1 ? EPL_KEEP : draw == 2 && d == 4 ? 2 : 1;
    }
    const epl_attr attrs[] = { [EXPAND_SHAPE] = EPL_A_INTS(y.rank, y.dim) };
    return epl_node_add(g, &epl_op_sum_to, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_sum_to = {
    .name = "SumTo", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2,
    .attrs = { [EXPAND_SHAPE] = { "shape", EPL_ATTR_INTS } },
    .infer = infer_sum_to, .grad = grad_sum_to, .cost = cost_sum_to, EPL_REF(ref_sum_to), .sample = sample_sum_to,
};

epl_value *epl_sum_to(epl_graph *g, epl_value *x, epl_shape shape)
{
    const epl_attr attrs[] = { [EXPAND_SHAPE] = EPL_A_INTS(shape.rank, shape.dim) };
    return x ? epl_apply(g, &epl_op_sum_to, EPL_IN(x), attrs) : NULL;
}

epl_value *epl_sum_like(epl_graph *g, epl_value *x, epl_value *like)
{
    return epl_apply_like(g, &epl_op_sum_to, x, like);
}

/* ---- Tile ---- */

enum { TILE_REPEATS };

static bool infer_tile(epl_node *n)
{
    epl_shape s = n->inputs[0]->shape;
    const epl_attr *repeats = &n->attrs[TILE_REPEATS];
    if (repeats->n != s.rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%d repeats for a tensor of rank %d", repeats->n, s.rank);
    for (int i = 0; i < s.rank; i++)
        if (repeats->ints[i] < 0 || !epl_mul_i64(s.dim[i], repeats->ints[i], &s.dim[i]))
            return epl_node_fail(n, EPL_ERR_SHAPE, "axis %d cannot be repeated %lld times", i, (long long)repeats->ints[i]);
    return epl_set_type(n, 0, n->inputs[0]->dtype, s);
}

static epl_node *sample_tile(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape x = epl_random_shape(r, 0, 3);
    int64_t repeats[EPL_MAX_RANK];
    for (int i = 0; i < x.rank; i++)
        repeats[i] = epl_random_between(r, 1, 3);
    const epl_attr attrs[] = { [TILE_REPEATS] = EPL_A_INTS(x.rank, repeats) };
    return epl_node_add(g, &epl_op_tile, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_tile = {
    .name = "Tile", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [TILE_REPEATS] = { "repeats", EPL_ATTR_INTS, .required = true } },
    .infer = infer_tile, .grad = grad_expand, EPL_REF(ref_repeat), .sample = sample_tile,
};

epl_value *epl_tile(epl_graph *g, epl_value *x, int n, const int64_t *repeats)
{
    const epl_attr attrs[] = { [TILE_REPEATS] = EPL_A_INTS(n, repeats) };
    return x ? epl_apply(g, &epl_op_tile, EPL_IN(x), attrs) : NULL;
}
