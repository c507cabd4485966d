/* ties: what each operator ties together, and what it holds on to. Channels are the last axis. An operator that is not in the
 * table freezes every axis that it touches. Fang et al. 2023 (arXiv:2301.12900) call the result a dependency graph. */
#include "compress/units.h"

#include "ops/axes.h"

typedef bool tie_fn(epl_units *u, const epl_node *n);

static int last(const epl_value *v) { return v->shape.rank - 1; }

/* ---- element by element ---- */

/* Every input against the output, aligned from the right; axes of size 1 that are repeated tie nothing. */
static bool tie_broadcast(epl_units *u, const epl_node *n)
{
    const epl_value *y = n->outputs[0];
    for (int i = 0; i < n->n_inputs; i++) {
        const epl_value *x = n->inputs[i];
        for (int a = 0; x && a < x->shape.rank; a++)
            if (x->shape.dim[a] == y->shape.dim[a + y->shape.rank - x->shape.rank])
                epl_tie_axes(u, n, x, a, y, a + y->shape.rank - x->shape.rank);
    }
    return true;
}

/* SumTo: the same the other way round; what is summed stays whole. */
static bool tie_sum_to(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    const int lead = x->shape.rank - y->shape.rank;
    for (int a = 0; a < x->shape.rank; a++)
        if (a < lead || x->shape.dim[a] != y->shape.dim[a - lead])
            epl_freeze_axis(u, n, x, a);
        else
            epl_tie_axes(u, n, x, a, y, a - lead);
    for (int a = 0; n->n_inputs > 1 && a < y->shape.rank; a++)
        epl_tie_axes(u, n, n->inputs[1], a, y, a);
    return true;
}

static bool tie_tile(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    for (int a = 0; a < x->shape.rank; a++)
        epl_tie_axes(u, n, x, a, y, a); // of different sizes: both frozen
    return true;
}

/* All axes pass but the one that the attribute names. */
static bool tie_but_axis(epl_units *u, const epl_node *n)
{
    const int64_t axis = epl_attr_i(n, "axis");
    tie_broadcast(u, n);
    epl_freeze_axis(u, n, n->inputs[0], (int)(axis < 0 ? axis + n->inputs[0]->shape.rank : axis));
    return true;
}

static bool tie_update(epl_units *u, const epl_node *n)
{
    for (int a = 0; a < n->inputs[0]->shape.rank; a++)
        epl_tie_axes(u, n, n->inputs[0], a, n->inputs[1], a);
    return true;
}

/* ---- products ---- */

/* Channels [g size, (g + 1) size) of an axis go together. */
static void tie_groups(epl_units *u, const epl_value *v, int axis, int64_t groups)
{
    const int64_t size = v->shape.dim[axis] / groups;
    for (int64_t i = 0; i < v->shape.dim[axis]; i++)
        epl_tie(u, epl_element(v, axis, i), epl_element(v, axis, i / size * size));
}

/* x [N, S..., C], y [N, S'..., M]; Conv's weight is [K..., C/groups, M], ConvTranspose's [K..., M/groups, C]. With groups, whole
 * groups go, theirs of C and theirs of M; or all stay and shrink alike (even.c). */
static bool tie_conv(epl_units *u, const epl_node *n)
{
    const bool       transposed = EPL_IS(n, conv_transpose);
    const epl_value *x = n->inputs[0], *w = n->inputs[1], *y = n->outputs[0], *bias = n->n_inputs > 2 ? n->inputs[2] : NULL;
    const int64_t    groups = n->attrs[epl_op_attr_index(n->op, "group")].i;
    const int        inner = w->shape.rank - 2;
    for (int a = 0; a < inner; a++) {
        epl_freeze_axis(u, n, w, a);
        epl_freeze_axis(u, n, x, a + 1);
        epl_freeze_axis(u, n, y, a + 1);
    }
    epl_tie_axes(u, n, x, 0, y, 0);
    epl_tie_axes(u, n, transposed ? x : y, last(x), w, inner + 1);
    if (bias)
        epl_tie_axes(u, n, bias, 0, y, last(y));
    if (groups == 1) {
        epl_tie_axes(u, n, transposed ? y : x, last(x), w, inner);
        return true;
    }
    if (epl_units_is_even(u, n))
        return epl_even_tie(u, n);
    epl_freeze_axis(u, n, w, inner);
    tie_groups(u, x, last(x), groups);
    tie_groups(u, y, last(y), groups);
    for (int64_t g = 0; g < groups; g++)
        epl_tie(u, epl_element(x, last(x), g * (epl_channels(x) / groups)), epl_element(y, last(y), g * (epl_channels(y) / groups)));
    return true;
}

static bool tie_linear(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *w = n->inputs[1], *y = n->outputs[0];
    const int        out = n->attrs[0].i ? 0 : 1; // trans_w
    for (int a = 0; a < last(x); a++)
        epl_tie_axes(u, n, x, a, y, a);
    epl_tie_axes(u, n, x, last(x), w, 1 - out);
    epl_tie_axes(u, n, y, last(y), w, out);
    if (n->n_inputs > 2 && n->inputs[2])
        epl_tie_axes(u, n, y, last(y), n->inputs[2], 0);
    return true;
}

static bool tie_matmul(epl_units *u, const epl_node *n)
{
    const epl_value *a = n->inputs[0], *b = n->inputs[1], *y = n->outputs[0];
    const int ta = n->attrs[0].i != 0, tb = n->attrs[1].i != 0;
    epl_tie_axes(u, n, a, last(a) - ta, b, last(b) - 1 + tb);
    epl_tie_axes(u, n, a, last(a) - 1 + ta, y, last(y) - 1);
    epl_tie_axes(u, n, b, last(b) - tb, y, last(y));
    for (int i = 0; i < 2; i++) {
        const int lead = y->shape.rank - n->inputs[i]->shape.rank;
        for (int k = 0; k < last(n->inputs[i]) - 1; k++)
            if (n->inputs[i]->shape.dim[k] == y->shape.dim[k + lead])
                epl_tie_axes(u, n, n->inputs[i], k, y, k + lead);
    }
    return true;
}

bool epl_ties_picks(const epl_node *n)
{
    const epl_value *data = n->inputs[0], *indices = n->inputs[1];
    if (!EPL_IS(indices->producer, constant) || indices->n_uses > 1 || indices->dtype != EPL_I64 || indices->shape.rank != 1)
        return false;
    const epl_tensor *t = indices->producer->attrs[0].tensor;
    const int         axis = (int)(n->attrs[0].i < 0 ? n->attrs[0].i + data->shape.rank : n->attrs[0].i);
    for (int64_t i = 0; i < epl_tensor_count(t); i++)
        if (epl_tensor_get_i64(t, i) < 0 || epl_tensor_get_i64(t, i) >= data->shape.dim[axis])
            return false;
    return true;
}

/* Rows of a table: the axis of rows stays, but where it is known which rows are taken. */
static bool tie_gather(epl_units *u, const epl_node *n)
{
    const epl_value *data = n->inputs[0], *indices = n->inputs[1], *y = n->outputs[0];
    const int axis = (int)(n->attrs[0].i < 0 ? n->attrs[0].i + data->shape.rank : n->attrs[0].i), rows = indices->shape.rank;
    if (!epl_ties_picks(n))
        epl_freeze_axis(u, n, data, axis);
    for (int64_t i = 0; epl_ties_picks(n) && i < indices->shape.dim[0]; i++)
        epl_tie(u, epl_element(y, axis, i), epl_element(data, axis, epl_tensor_get_i64(indices->producer->attrs[0].tensor, i)));
    for (int a = 0; a < data->shape.rank; a++)
        if (a != axis)
            epl_tie_axes(u, n, data, a, y, a < axis ? a : a - 1 + rows);
    for (int a = 0; a < rows; a++)
        epl_tie_axes(u, n, indices, a, y, axis + a);
    return true;
}

static void tie_hidden(epl_units *u, const epl_value *v, const epl_value *r)
{
    for (int64_t k = 0; k < epl_channels(v); k++)
        epl_tie(u, epl_element(v, last(v), k), epl_element(r, 1, k % r->shape.dim[1]));
}

/* w [D, C, G H], r [D, H, G H], b [D, 2 G H], peepholes [D, 3 H]; y [N, L, D H], states [N, D, H]: unit j of H is a row of r and
 * a column in each gate, in both directions. */
static bool tie_recurrent(epl_units *u, const epl_node *n)
{
    enum { X, W, R, B, LENGTHS };
    const epl_value *x = n->inputs[X], *r = n->inputs[R], *y = n->outputs[0];
    for (int a = 0; a < 2; a++)
        epl_tie_axes(u, n, x, a, y, a);
    epl_tie_axes(u, n, x, 2, n->inputs[W], 1);
    for (int i = 0; i < n->n_outputs; i++)
        tie_hidden(u, n->outputs[i], r);
    for (int i = W; i < n->n_inputs; i++)
        if (n->inputs[i] && i != LENGTHS)
            tie_hidden(u, n->inputs[i], r);
    for (int i = W; i <= B && i < n->n_inputs; i++)
        if (n->inputs[i])
            epl_freeze_axis(u, n, n->inputs[i], 0); // directions
    return true;
}

/* ---- norms ---- */

static bool tie_batch_norm(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    for (int a = 0; a < x->shape.rank; a++)
        epl_tie_axes(u, n, x, a, y, a);
    for (int i = 1; i < n->n_inputs; i++)
        epl_tie_axes(u, n, n->inputs[i], 0, y, last(y));
    return true;
}

/* Averages over axes [axis, rank): removing one of them changes the average. */
static bool tie_layer_norm(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0];
    const int64_t    axis = epl_attr_i(n, "axis");
    tie_broadcast(u, n); // scale and bias have the shape of these last axes
    for (int a = (int)(axis < 0 ? axis + x->shape.rank : axis); !u->through_norms && a < x->shape.rank; a++)
        epl_freeze_axis(u, n, x, a);
    return true;
}

/* Averages within a group of channels: whole groups can go. */
static bool tie_group_norm(epl_units *u, const epl_node *n)
{
    tie_batch_norm(u, n);
    tie_groups(u, n->inputs[0], last(n->inputs[0]), epl_attr_i(n, "num_groups"));
    return true;
}

/* ---- space ---- */

/* Batch and channels pass, space stays. */
static bool tie_spatial(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    epl_tie_axes(u, n, x, 0, y, 0);
    epl_tie_axes(u, n, x, last(x), y, last(y));
    for (int a = 1; a < last(x); a++) {
        epl_freeze_axis(u, n, x, a);
        epl_freeze_axis(u, n, y, a);
    }
    for (int a = 1; n->n_inputs > 1 && n->inputs[1] && a < last(n->inputs[1]); a++)
        epl_freeze_axis(u, n, n->inputs[1], a);
    return true;
}

/* What is summed, averaged, ... stays whole. */
static bool tie_reduce(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    const epl_attr  *axes = &n->attrs[epl_op_attr_index(n->op, "axes")];
    bool mask[EPL_MAX_RANK] = { false };
    if (axes->n > 0 && !epl_axes_mask(n, axes, x->shape.rank, mask))
        return false;
    const bool all = axes->n == 0 && !epl_attr_i(n, "noop_with_empty_axes"), keep = epl_attr_i(n, "keepdims") != 0;
    for (int a = 0, k = 0; a < x->shape.rank; a++) {
        if (all || mask[a])
            epl_freeze_axis(u, n, x, a);
        else
            epl_tie_axes(u, n, x, a, y, k);
        k += keep || !(all || mask[a]);
    }
    return true;
}

/* ---- moving ---- */

static bool tie_transpose(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    const epl_attr  *perm = &n->attrs[0];
    for (int a = 0; a < y->shape.rank; a++) {
        const int64_t from = perm->n ? perm->ints[a] : last(x) - a;
        epl_tie_axes(u, n, x, (int)(from < 0 ? from + x->shape.rank : from), y, a);
    }
    return true;
}

/* Parts that lie behind each other along an axis of a whole. */
static void tie_parts(epl_units *u, const epl_node *n, const epl_value *whole, epl_value *const *parts, int n_parts)
{
    const int64_t named = epl_attr_i(n, "axis");
    const int     axis  = (int)(named < 0 ? named + whole->shape.rank : named);
    int64_t       at    = 0;
    for (int p = 0; p < n_parts; p++) {
        for (int a = 0; a < whole->shape.rank; a++)
            if (a != axis)
                epl_tie_axes(u, n, parts[p], a, whole, a);
        for (int64_t i = 0; i < parts[p]->shape.dim[axis]; i++)
            epl_tie(u, epl_element(parts[p], axis, i), epl_element(whole, axis, at + i));
        at += parts[p]->shape.dim[axis];
    }
}

static bool tie_concat(epl_units *u, const epl_node *n)
{
    tie_parts(u, n, n->outputs[0], n->inputs, n->n_inputs);
    return true;
}

static bool tie_split(epl_units *u, const epl_node *n)
{
    tie_parts(u, n, n->inputs[0], n->outputs, n->n_outputs);
    for (int i = 1; i < n->n_inputs; i++)
        for (int a = 0; a < n->inputs[i]->shape.rank; a++)
            epl_tie_axes(u, n, n->inputs[i], a, n->outputs[i - 1], a);
    return true;
}

/* Steps of 1 pass what they show; with other steps the axis stays. */
static bool tie_slice(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    const epl_attr  *starts = &n->attrs[0], *axes = &n->attrs[2], *steps = &n->attrs[3];
    int64_t          first[EPL_MAX_RANK] = { 0 };
    bool             stays[EPL_MAX_RANK] = { false };
    for (int i = 0; i < starts->n; i++) {
        const int64_t named = axes->n ? axes->ints[i] : i, axis = named < 0 ? named + x->shape.rank : named, d = x->shape.dim[axis];
        const int64_t start = starts->ints[i] < 0 ? starts->ints[i] + d : starts->ints[i];
        first[axis] = start < 0 ? 0 : start > d ? d : start;
        stays[axis] = steps->n && steps->ints[i] != 1;
    }
    for (int a = 0; a < x->shape.rank; a++) {
        if (stays[a]) {
            epl_freeze_axis(u, n, x, a);
            epl_freeze_axis(u, n, y, a);
        }
        for (int64_t i = 0; i < y->shape.dim[a] && !stays[a]; i++)
            epl_tie(u, epl_element(y, a, i), epl_element(x, a, first[a] + i));
    }
    return true;
}

static bool tie_pad(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    const epl_attr  *pads = &n->attrs[0], *axes = &n->attrs[1];
    const int        count = axes->n ? axes->n : x->shape.rank;
    bool             padded[EPL_MAX_RANK] = { false };
    for (int i = 0; i < count; i++) {
        const int64_t axis = axes->n ? axes->ints[i] : i;
        padded[axis < 0 ? axis + x->shape.rank : axis] = pads->ints[i] != 0 || pads->ints[i + count] != 0;
    }
    for (int a = 0; a < x->shape.rank; a++)
        if (padded[a]) {
            epl_freeze_axis(u, n, x, a);
            epl_freeze_axis(u, n, y, a);
        } else {
            epl_tie_axes(u, n, x, a, y, a);
        }
    return true;
}

/* The shortest runs of axes that hold as many elements on both sides: one to one, one to several, or something that stays. */
static bool tie_reshape(epl_units *u, const epl_node *n)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    for (int a = 0; n->n_inputs > 1 && a < y->shape.rank; a++)
        epl_tie_axes(u, n, n->inputs[1], a, y, a);
    if (epl_shape_count(x->shape) == 0)
        return epl_freeze_value(u, n, x), epl_freeze_value(u, n, y), true;
    for (int i = 0, k = 0; i < x->shape.rank && k < y->shape.rank;) {
        int64_t have = x->shape.dim[i], want = y->shape.dim[k];
        int     ni = 1, nk = 1;
        if ((have == 1) != (want == 1)) { // an axis of 1 comes or goes
            i += have == 1;
            k += want == 1;
            continue;
        }
        while (have != want)
            if (have < want)
                have *= x->shape.dim[i + ni++];
            else
                want *= y->shape.dim[k + nk++];
        if (ni == 1 && nk == 1) {
            epl_tie_axes(u, n, x, i, y, k);
        } else if (nk == 1 || ni == 1) {
            if (!epl_units_add_block(u, n, nk == 1 ? x : y, nk == 1 ? i : k, nk == 1 ? ni : nk, nk == 1 ? y : x, nk == 1 ? k : i))
                return false;
        } else {
            for (int a = 0; a < ni; a++)
                epl_freeze_axis(u, n, x, i + a);
            for (int a = 0; a < nk; a++)
                epl_freeze_axis(u, n, y, k + a);
        }
        i += ni;
        k += nk;
    }
    return true;
}

/* ---- choices between regions: what comes in and goes out is the same inside ---- */

static void tie_values(epl_units *u, const epl_node *n, const epl_value *a, const epl_value *b)
{
    for (int i = 0; a && i < a->shape.rank; i++)
        epl_tie_axes(u, n, a, i, b, i);
}

static bool tie_choice(epl_units *u, const epl_node *n)
{
    epl_freeze_value(u, n, n->inputs[0]);
    for (int r = 0; r < n->n_regions; r++) {
        const epl_graph *region = n->regions[r];
        for (int i = 0; i < epl_graph_n_inputs(region); i++)
            tie_values(u, n, n->inputs[epl_region_input(n, i)], epl_graph_input_at(region, i));
        for (const epl_node *k = region->first; k; k = k->next)
            if (!EPL_IS(k, input) && !EPL_IS(k, output) && !epl_units_tie_node(u, k))
                return false;
        for (int i = 0; i < n->n_outputs; i++)
            tie_values(u, n, epl_graph_output_at(region, i), n->outputs[i]);
    }
    return true;
}

/* ---- the table ---- */

static bool free_source(epl_units *u, const epl_node *n)
{
    (void)u, (void)n;
    return true;
}

static const struct {
    const epl_op *op;
    tie_fn       *tie;
} table[] = {
    { &epl_op_parameter, free_source }, { &epl_op_state, free_source }, { &epl_op_constant, free_source },
    { &epl_op_conv, tie_conv }, { &epl_op_conv_transpose, tie_conv }, { &epl_op_linear, tie_linear }, { &epl_op_matmul, tie_matmul },
    { &epl_op_gather, tie_gather }, { &epl_op_lstm, tie_recurrent }, { &epl_op_gru, tie_recurrent }, { &epl_op_rnn, tie_recurrent },
    { &epl_op_batch_norm, tie_batch_norm }, { &epl_op_layer_norm, tie_layer_norm }, { &epl_op_rms_norm, tie_layer_norm },
    { &epl_op_group_norm, tie_group_norm },
    { &epl_op_max_pool, tie_spatial }, { &epl_op_average_pool, tie_spatial }, { &epl_op_adaptive_average_pool, tie_spatial },
    { &epl_op_resize, tie_spatial },
    { &epl_op_cast, tie_broadcast }, { &epl_op_dropout, tie_broadcast }, { &epl_op_drop_path, tie_broadcast },
    { &epl_op_stop_gradient, tie_broadcast }, { &epl_op_straight_through, tie_broadcast }, { &epl_op_expand, tie_broadcast },
    { &epl_op_sum_to, tie_sum_to }, { &epl_op_tile, tie_tile }, { &epl_op_update, tie_update },
    { &epl_op_softmax, tie_but_axis }, { &epl_op_log_softmax, tie_but_axis }, { &epl_op_cumsum, tie_but_axis },
    { &epl_op_reduce_sum, tie_reduce }, { &epl_op_reduce_mean, tie_reduce }, { &epl_op_reduce_max, tie_reduce },
    { &epl_op_reduce_min, tie_reduce }, { &epl_op_reduce_prod, tie_reduce }, { &epl_op_reduce_l1, tie_reduce },
    { &epl_op_reduce_l2, tie_reduce }, { &epl_op_reduce_log_sum, tie_reduce }, { &epl_op_reduce_log_sum_exp, tie_reduce },
    { &epl_op_reduce_sum_square, tie_reduce },
    { &epl_op_transpose, tie_transpose }, { &epl_op_concat, tie_concat }, { &epl_op_split, tie_split }, { &epl_op_slice, tie_slice },
    { &epl_op_pad, tie_pad }, { &epl_op_reshape, tie_reshape }, { &epl_op_flatten, tie_reshape }, { &epl_op_squeeze, tie_reshape },
    { &epl_op_unsqueeze, tie_reshape },
    { &epl_op_if, tie_choice }, { &epl_op_switch, tie_choice }, { &epl_op_if_each, tie_choice },
};

bool epl_ties_look_inside(const epl_node *n) { return EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, if_each); }

bool epl_units_tie_node(epl_units *u, const epl_node *n)
{
    if (n->op->flags & EPL_OP_ELEMENTWISE)
        return tie_broadcast(u, n);
    for (size_t i = 0; i < EPL_COUNT(table); i++)
        if (table[i].op == n->op)
            return table[i].tie(u, n);
    for (int i = 0; i < n->n_inputs; i++)
        epl_freeze_value(u, n, n->inputs[i]);
    for (int i = 0; i < n->n_outputs; i++)
        epl_freeze_value(u, n, n->outputs[i]);
    return true;
}
