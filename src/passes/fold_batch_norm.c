/* fold_batch_norm: conv or linear + BatchNorm -> conv or linear, for inference with weights that stay as they are: Ioffe & Szegedy
 * 2015 (arXiv:1502.03167), Algorithm 2, step 11. The new weights are an expression of the old ones, which a frozen program
 * computes once. Where a Split stands between them, the channels of that part are folded: instance normalisation of the others
 * (arXiv:1807.09441) looks at what comes in and stays. Keeps results within rounding. */
#include "passes/passes.h"

/* Tags nodes: 1 if they depend on nothing but parameters, states and constants that this graph does not update. */
static void mark_fixed(epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = 0;
    for (epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, update))
            n->inputs[0]->producer->tag = -1;
    for (epl_node *n = g->first; n; n = n->next) {
        bool fixed = n->tag == 0 && !EPL_IS(n, input) && n->n_regions == 0 && !(n->op->flags & (EPL_OP_RANDOM | EPL_OP_SINK));
        for (int i = 0; i < n->n_inputs; i++)
            fixed = fixed && (!n->inputs[i] || n->inputs[i]->producer->tag == 1);
        n->tag = fixed;
    }
}

static bool is_fixed(const epl_value *v) { return !v || v->producer->tag == 1; }

/* Its weight's last axis must be the output's channels. */
static bool foldable(const epl_node *n)
{
    return ((EPL_IS(n, conv)) || (EPL_IS(n, linear) && !epl_attr_i(n, "trans_w"))) && n->outputs[0]->n_uses == 1 &&
           is_fixed(n->inputs[1]) && is_fixed(epl_node_input(n, 2));
}

/* y = (x w + b - mean) f + bias = x (w f) + (b - mean) f + bias, where f = scale / sqrt(var + epsilon). */
static epl_value *fold(epl_graph *g, const epl_node *conv, const epl_node *bn)
{
    epl_value *const *in = bn->inputs;
    epl_value *f     = epl_mul(g, in[1], epl_rsqrt(g, epl_affine(g, in[4], 1, epl_attr_r(bn, "epsilon"))));
    epl_value *old   = epl_node_input(conv, 2);
    epl_value *shift = old ? epl_sub(g, old, in[3]) : epl_neg(g, in[3]);
    epl_value *bias  = epl_add(g, epl_mul(g, shift, f), in[2]);
    epl_value *result = epl_apply(g, conv->op, EPL_IN(conv->inputs[0], epl_mul(g, conv->inputs[1], f), bias), conv->attrs);
    if (result)
        result->producer->scope = conv->scope;
    return result;
}

/* `part` [k] as channels first..first+k of [c], with `otherwise` around it. */
static epl_value *among(epl_graph *g, epl_value *part, int64_t first, int64_t c, double otherwise)
{
    epl_value    *fill = epl_scalar(g, part->dtype, otherwise), *parts[3];
    const int64_t rest = c - first - epl_dim(part, 0);
    int           n = 0;
    if (first > 0)
        parts[n++] = epl_expand(g, fill, EPL_SHAPE(first));
    parts[n++] = part;
    if (rest > 0)
        parts[n++] = epl_expand(g, fill, EPL_SHAPE(rest));
    return epl_concat(g, n, parts, 0);
}

/* The same for channels `first` on of conv's: the others are multiplied by 1 and keep their bias. */
static epl_value *fold_part(epl_graph *g, const epl_node *conv, const epl_node *bn, int64_t first)
{
    epl_value *const *in = bn->inputs;
    const int64_t     c = epl_channels(conv->outputs[0]);
    epl_value *f     = epl_mul(g, in[1], epl_rsqrt(g, epl_affine(g, in[4], 1, epl_attr_r(bn, "epsilon"))));
    epl_value *shift = epl_sub(g, in[2], epl_mul(g, in[3], f));
    if (epl_graph_failed(g))
        return NULL;
    epl_value *old    = epl_node_input(conv, 2), *scale = among(g, f, first, c, 1), *bias = among(g, shift, first, c, 0);
    epl_value *result = epl_apply(g, conv->op, EPL_IN(conv->inputs[0], epl_mul(g, conv->inputs[1], scale),
                                                      old ? epl_add(g, epl_mul(g, old, scale), bias) : bias), conv->attrs);
    if (result)
        result->producer->scope = conv->scope;
    return result;
}

/* The Split along channels between a convolution and this norm, if there is one; its part begins at channel *first. */
static epl_node *split_before(const epl_node *bn, int64_t *first)
{
    epl_node *s = bn->inputs[0]->producer;
    if (!EPL_IS(s, split) || bn->inputs[0]->n_uses != 1)
        return NULL;
    const int64_t axis = epl_attr_i(s, "axis");
    if (axis != -1 && axis != s->inputs[0]->shape.rank - 1)
        return NULL;
    for (int i = 1; i < 5; i++) // they have to stand before the convolution
        if (!(bn->inputs[i]->producer->op->flags & EPL_OP_SOURCE))
            return NULL;
    *first = 0;
    for (int i = 0; i < bn->inputs[0]->index; i++)
        *first += epl_channels(s->outputs[i]);
    return s;
}

bool epl_fold_batch_norm(epl_graph *g)
{
    mark_fixed(g);
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        int64_t   first = 0;
        epl_node *split = EPL_IS(n, batch_norm) ? split_before(n, &first) : NULL;
        epl_node *conv  = split ? split->inputs[0]->producer : EPL_IS(n, batch_norm) ? n->inputs[0]->producer : NULL;
        if (!conv || !foldable(conv) || !is_fixed(n->inputs[1]) || !is_fixed(n->inputs[2]) || !is_fixed(n->inputs[3]) ||
            !is_fixed(n->inputs[4]))
            continue;
        for (int i = 1; split && i < 5; i++)
            epl_node_move_before(n->inputs[i]->producer, split);
        epl_node  *at = epl_graph_insert_before(g, split ? split : n);
        epl_value *v  = split ? fold_part(g, conv, n, first) : fold(g, conv, n);
        epl_graph_insert_before(g, at);
        if (!v)
            return false;
        if (split)
            epl_set_input(split, 0, v);
        epl_replace(n->outputs[0], split ? n->inputs[0] : v);
        epl_node_remove(n);
        epl_node_remove(conv);
    }
    return !epl_graph_failed(g);
}
