/* merge_linear: chains of linear layers become one. The new weights are expressions of the old ones - products of
 * matrices - which epl_bake computes. */
#include <espalier/morph.h>
#include <espalier/nn.h>

#include "passes/passes.h"

static bool is_layer(const epl_node *n) { return EPL_IS(n, conv) || (EPL_IS(n, linear) && !epl_attr_i(n, "trans_w")); }

/* ---- activations that are linear by now ---- */

static bool is_identity(const epl_model *m, const epl_node *n)
{
    if (EPL_IS(n, leaky_relu))
        return epl_attr_r(n, "alpha") == 1;
    const char *slope = EPL_IS(n, prelu) ? epl_value_name(n->inputs[1]) : NULL;
    return slope && strcmp(slope, EPL_DEEPENING_SLOPE) == 0 && epl_weights_find(m->weights, slope);
}

static bool remove_identities(epl_model *m)
{
    const epl_tensor *slope = epl_weights_find(m->weights, EPL_DEEPENING_SLOPE);
    if (slope && epl_tensor_get(slope, 0) != 1)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                        "the layers cannot be merged yet: '%s' is %g, and has to be 1 (train to the end, or set it)",
                        EPL_DEEPENING_SLOPE, epl_tensor_get(slope, 0));
    for (epl_node *n = m->graph->first, *next; n; n = next) {
        next = n->next;
        if (is_identity(m, n)) {
            epl_replace(n->outputs[0], n->inputs[0]);
            epl_node_remove(n);
        }
    }
    return true;
}

/* ---- two layers as one ---- */

static bool all_are(const epl_node *n, const char *attr, int64_t x)
{
    const int64_t *v;
    const int      count = epl_attr_ints(n, attr, &v);
    for (int i = 0; i < count; i++)
        if (v[i] != x)
            return false;
    return true;
}

static bool is_pointwise(const epl_node *n)
{
    if (EPL_IS(n, linear))
        return true;
    const epl_shape w = n->inputs[1]->shape;
    return epl_shape_count_from(w, 0, w.rank - 2) == 1 && all_are(n, "strides", 1) && all_are(n, "pads", 0);
}

static bool is_dense(const epl_node *n) { return EPL_IS(n, linear) || epl_attr_i(n, "group") == 1; }

/* Can `second`, which reads nothing but `first`, take its place? */
static bool mergeable(const epl_node *first, const epl_node *second)
{
    if (first->op != second->op || first->outputs[0]->n_uses != 1 || !is_dense(first) || !is_dense(second))
        return false;
    if (is_pointwise(second))
        return true;
    return is_pointwise(first) && (all_are(second, "pads", 0) || !epl_node_input(first, 2)); // padding is zero, not the first's bias
}

/* first [K..., C, M] and second [M, O] (pointwise): every tap times the second. */
static epl_value *then_pointwise(epl_graph *g, const epl_node *first, const epl_node *second)
{
    const epl_shape w1 = first->inputs[1]->shape, w2 = second->inputs[1]->shape;
    const int64_t   out = w2.dim[w2.rank - 1], mid = w1.dim[w1.rank - 1];
    epl_shape       to = w1;
    to.dim[to.rank - 1] = out;
    epl_value *b = epl_reshape(g, second->inputs[1], EPL_SHAPE(mid, out));
    return epl_reshape(g, epl_matmul(g, epl_reshape(g, first->inputs[1], EPL_SHAPE(-1, mid)), b, (epl_matmul_opts){ 0 }), to);
}

/* first [C, M] (pointwise) times every tap of second [K..., M, O]. */
static epl_value *pointwise_then(epl_graph *g, const epl_node *first, const epl_node *second)
{
    const epl_shape w1 = first->inputs[1]->shape;
    const int       r  = w1.rank;
    epl_value *a = epl_reshape(g, first->inputs[1], EPL_SHAPE(w1.dim[r - 2], w1.dim[r - 1]));
    return epl_matmul(g, a, second->inputs[1], (epl_matmul_opts){ 0 });
}

/* What the first's bias becomes: summed over the second's taps. */
static epl_value *bias_of(epl_graph *g, const epl_node *first, const epl_node *second)
{
    epl_value *b1 = epl_node_input(first, 2), *b2 = epl_node_input(second, 2);
    if (!b1)
        return b2;
    const epl_shape w2 = second->inputs[1]->shape;
    epl_reduce_opts taps = { 0 };
    for (int i = 0; i < w2.rank - 2; i++)
        taps.axes[taps.n_axes++] = i;
    epl_value *w = taps.n_axes ? epl_reduce_sum(g, second->inputs[1], taps) : second->inputs[1]; // [M, O]
    epl_value *b = epl_reshape(g, epl_matmul(g, epl_reshape(g, b1, EPL_SHAPE(1, -1)), w, (epl_matmul_opts){ 0 }), EPL_SHAPE(-1));
    return b2 ? epl_add(g, b, b2) : b;
}

static bool merge(epl_graph *g, epl_node *first, epl_node *second)
{
    epl_node  *at = epl_graph_insert_before(g, second);
    const bool then = is_pointwise(second);
    epl_value *w = then ? then_pointwise(g, first, second) : pointwise_then(g, first, second);
    epl_value *y = epl_apply(g, first->op, EPL_IN(first->inputs[0], w, bias_of(g, first, second)), (then ? first : second)->attrs);
    epl_graph_insert_before(g, at);
    if (!y)
        return false;
    y->producer->scope = second->scope;
    epl_replace(second->outputs[0], y);
    epl_node_remove(second);
    epl_node_remove(first);
    return true;
}

bool epl_merge_linear(epl_model *m, int *n_merged)
{
    epl_graph *g = m->graph;
    int        n_pairs = 0;
    if (!remove_identities(m) || !epl_deploy_batch_norms(m, NULL, NULL))
        return false;
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        epl_node *first = is_layer(n) ? n->inputs[0]->producer : NULL;
        if (!first || !is_layer(first) || !mergeable(first, n))
            continue;
        if (!merge(g, first, n))
            return false;
        n_pairs++;
    }
    if (n_merged)
        *n_merged = n_pairs;
    return epl_bake(m);
}
