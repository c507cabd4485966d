/* move_reshape: a transpose behind a reshape that splits axes, or merges some that lie beside each other: channel
 * shuffles, images as tokens. Refused: reshapes that do both at once, merges of axes that the transpose brought
 * together from apart (attention's heads), and whatever would leave the transpose before the reshape (flattened
 * images). */
#include "passes/passes.h"

/* Axes [in, in + n_in) of the transposed value become axes [out, out + n_out) of the result. */
typedef struct part {
    int in, n_in, out, n_out;
    int place; /* the first of its axes before the transpose */
} part;

static int64_t product(const int64_t *dim, int n)
{
    int64_t p = 1;
    for (int i = 0; i < n; i++)
        p *= dim[i];
    return p;
}

/* The finest parts of equal numbers of elements; 0 if there are none. */
static int parts_of(epl_shape from, epl_shape to, part *parts)
{
    int n = 0, in = 0, out = 0;
    while (in < from.rank && out < to.rank) {
        part p = { in, 1, out, 1, 0 };
        for (;;) {
            const int64_t a = product(from.dim + in, p.n_in), b = product(to.dim + out, p.n_out);
            if (a == b)
                break;
            if ((a < b && in + p.n_in == from.rank) || (a > b && out + p.n_out == to.rank) || a == 0 || b == 0)
                return 0;
            p.n_in += a < b;
            p.n_out += a > b;
        }
        in += p.n_in;
        out += p.n_out;
        parts[n++] = p;
    }
    for (; in < from.rank && n; in++, parts[n - 1].n_in++) // axes of size 1 at the end
        if (from.dim[in] != 1)
            return 0;
    for (; out < to.rank && n; out++, parts[n - 1].n_out++)
        if (to.dim[out] != 1)
            return 0;
    return n;
}

/* Sorts by the place before the transpose; false if a part's axes do not lie beside each other there. */
static bool sort_parts(part *parts, int n, const int64_t *perm)
{
    for (int i = 0; i < n; i++) {
        int64_t low = perm[parts[i].in], high = low;
        for (int k = 1; k < parts[i].n_in; k++) {
            const int64_t axis = perm[parts[i].in + k];
            low = axis < low ? axis : low;
            high = axis > high ? axis : high;
        }
        if (high - low + 1 != parts[i].n_in || (parts[i].n_in > 1 && parts[i].n_out > 1))
            return false;
        parts[i].place = (int)low;
    }
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && parts[k - 1].place > parts[k].place; k--) {
            const part p = parts[k];
            parts[k] = parts[k - 1];
            parts[k - 1] = p;
        }
    return true;
}

/* Does an input name a dimension other than its first? Then any axis may change its size. */
static bool names_inner_dims(const epl_graph *g)
{
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const char *dims = epl_attr_s(epl_graph_input_at(g, i)->producer, "dims");
        dims += strcspn(dims, ",");
        if (dims[strspn(dims, ",")])
            return true;
    }
    return false;
}

/* What the reshape says of its result's axis `out`, said of axis `at` of a reshape before the transpose, which makes it of axis
 * `from`; false if it cannot be said without fixing a size that may change. */
static bool target_at(const epl_node *reshape, int out, int at, int from, int64_t size, int64_t *target)
{
    const int64_t *to;
    epl_attr_ints(reshape, "shape", &to);
    *target = to[out] == -1 || (to[out] == EPL_KEEP && at == from) ? to[out] : size;
    return to[out] != EPL_KEEP || at == from || (out > 0 && !names_inner_dims(reshape->graph->root));
}

bool epl_move_past_reshape(epl_graph *g, epl_node *n)
{
    const epl_node *turn = n->inputs[0]->producer;
    const int64_t  *perm;
    part            parts[EPL_MAX_RANK];
    if (!EPL_IS(turn, transpose) || n->n_inputs != 1 || epl_attr_i(n, "allowzero"))
        return false;
    const epl_shape from = n->inputs[0]->shape, to = n->outputs[0]->shape;
    if (epl_attr_ints(turn, "perm", &perm) != from.rank)
        return false;
    const int n_parts = parts_of(from, to, parts);
    if (n_parts == 0 || !sort_parts(parts, n_parts, perm))
        return false;
    int       before[EPL_MAX_RANK], after[EPL_MAX_RANK], n_before = 0;
    epl_shape target = { .rank = 0 };
    bool      moves = false;
    for (int i = 0; i < n_parts; i++) {
        for (int k = 0; k < parts[i].n_in; k++)
            before[n_before++] = (int)perm[parts[i].in + k];
        for (int k = 0; k < parts[i].n_out; k++) {
            const int out = parts[i].out + k, at = target.rank++;
            moves = moves || out != at;
            after[out] = at;
            if (!target_at(n, out, at, n_before - parts[i].n_in, to.dim[out], &target.dim[at]))
                return false;
        }
    }
    if (!moves)
        return false;
    bool in_order = true;
    for (int i = 0; i < from.rank; i++)
        in_order = in_order && before[i] == i;
    epl_value *x = in_order ? turn->inputs[0] : epl_transpose(g, turn->inputs[0], from.rank, before);
    x = epl_reshape(g, x, target);
    epl_value *y = epl_transpose(g, x, to.rank, after);
    if (!y)
        return false;
    x->producer->scope = n->scope;
    epl_replace(n->outputs[0], y);
    return true;
}
