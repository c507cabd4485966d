/* shuffles: channel shuffles - reshape, transpose, reshape - as a gather of channels by constant numbers, in which
 * each channel is on its own; and back where it is still a shuffle. Exact. Channels that are cut into axes could
 * only go in rows and columns. */
#include "compress/units.h"

#include <espalier/nn.h>

/* The reshape that v is read by, or made by, alone. */
static epl_node *reshape_of(epl_node *n, const epl_value *v) { return EPL_IS(n, reshape) && v->n_uses == 1 ? n : NULL; }

static bool same_but_last(epl_shape a, epl_shape b, int n)
{
    for (int i = 0; i < n; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

/* For each channel of the result, which channel of x it is: `split` are the axes that the last one is cut into, the
 * transpose's last ones. */
static void number(const epl_node *transpose, epl_shape split, int first, int64_t *out)
{
    const epl_attr *perm = &transpose->attrs[0];
    const int64_t   c = epl_shape_count_from(split, first, split.rank);
    for (int64_t o = 0; o < c; o++) {
        int64_t from = 0, rest = o;
        for (int a = split.rank - 1; a >= first; a--) {
            const int source = (int)(perm->ints[a] < 0 ? perm->ints[a] + split.rank : perm->ints[a]);
            from += rest % split.dim[source] * epl_shape_count_from(split, source + 1, split.rank);
            rest /= split.dim[source];
        }
        out[o] = from;
    }
}

/* The channels that a transpose between two reshapes mixes: an i64 constant, the caller's; NULL: it does something else. */
static epl_tensor *shuffled(const epl_node *t, const epl_node *cut, const epl_node *join)
{
    const epl_shape x = cut->inputs[0]->shape, split = cut->outputs[0]->shape;
    const int       first = x.rank - 1;
    if (t->attrs[0].n != split.rank || split.rank <= x.rank || !epl_shape_equal(x, join->outputs[0]->shape) ||
        !same_but_last(x, split, first))
        return NULL;
    for (int a = 0; a < first; a++)
        if (t->attrs[0].ints[a] != a)
            return NULL;
    epl_tensor *index = epl_tensor_new(t->graph->ctx, EPL_I64, EPL_SHAPE(x.dim[first]));
    if (index)
        number(t, split, first, index->data);
    return index;
}

bool epl_shuffles_to_gathers(epl_graph *g)
{
    int count = 0;
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        epl_node *cut  = EPL_IS(n, transpose) ? reshape_of(n->inputs[0]->producer, n->inputs[0]) : NULL;
        epl_node *join = cut && n->outputs[0]->n_uses == 1 ? reshape_of(n->outputs[0]->uses[0].node, n->outputs[0]) : NULL;
        if (!join || join->inputs[0] != n->outputs[0])
            continue;
        epl_tensor *index = shuffled(n, cut, join);
        if (!index)
            continue;
        epl_node *at = epl_graph_insert_before(g, join);
        epl_replace(join->outputs[0], epl_gather(g, cut->inputs[0], epl_constant(g, index), -1));
        epl_graph_insert_before(g, at);
        epl_tensor_free(index);
        next = join->next; // the three are unread now, and go below
        count++;
    }
    if (count > 0)
        epl_remove_dead(g);
    return epl_error_code(g->ctx) == EPL_OK && epl_graph_finish(g);
}

/* Into how many groups channels 0, c / g, 2 c / g, ... come first; 0: it is no shuffle. */
static int64_t groups_of(const epl_tensor *index)
{
    const int64_t c = epl_tensor_count(index), *i = index->data;
    if (index->dtype != EPL_I64 || index->shape.rank != 1 || c < 4 || i[1] < 2 || c % i[1] || i[1] == c)
        return 0;
    const int64_t each = i[1], groups = c / each;
    for (int64_t k = 0; k < c; k++)
        if (i[k] != k % groups * each + k / groups)
            return 0;
    return groups;
}

bool epl_shuffles_from_gathers(epl_graph *g)
{
    int count = 0;
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!EPL_IS(n, gather) || !EPL_IS(n->inputs[1]->producer, constant))
            continue;
        const int     last = n->inputs[0]->shape.rank - 1;
        const int64_t axis = epl_attr_i(n, "axis");
        if (last < 1 || (axis != -1 && axis != last) || epl_channels(n->inputs[0]) != epl_channels(n->outputs[0]))
            continue;
        const int64_t groups = groups_of(n->inputs[1]->producer->attrs[0].tensor);
        if (groups == 0)
            continue;
        epl_node *at = epl_graph_insert_before(g, n);
        epl_replace(n->outputs[0], epl_channel_shuffle(g, n->inputs[0], (int)groups));
        epl_graph_insert_before(g, at);
        count++;
    }
    if (count > 0)
        epl_remove_dead(g);
    return epl_error_code(g->ctx) == EPL_OK && epl_graph_finish(g);
}
