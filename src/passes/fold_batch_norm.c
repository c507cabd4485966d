/* fold_batch_norm: conv or linear + BatchNorm -> conv or linear, for inference with weights that stay as they are: Ioffe & Szegedy
 * 2015 (arXiv:1502.03167), Algorithm 2, step 11. The new weights are an expression of the old ones, which a frozen program
 * computes once. Keeps results within rounding. */
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

bool epl_fold_batch_norm(epl_graph *g)
{
    mark_fixed(g);
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        epl_node *conv = EPL_IS(n, batch_norm) ? n->inputs[0]->producer : NULL;
        if (!conv || !foldable(conv) || !is_fixed(n->inputs[1]) || !is_fixed(n->inputs[2]) || !is_fixed(n->inputs[3]) ||
            !is_fixed(n->inputs[4]))
            continue;
        epl_node  *at = epl_graph_insert_before(g, n);
        epl_value *v  = fold(g, conv, n);
        epl_graph_insert_before(g, at);
        if (!v)
            return false;
        epl_replace(n->outputs[0], v);
        epl_node_remove(n);
        epl_node_remove(conv);
    }
    return !epl_graph_failed(g);
}
