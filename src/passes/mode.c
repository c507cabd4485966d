/* mode: from a neutral model to its training form. Batch normalisation takes the batch's statistics and updates the running
 * ones; Dropout and DropPath draw masks; recurrent layers become single steps, whose values the gradient reads.
 * What no mode has touched computes inference. */
#include "passes/passes.h"

static const char *const norm_modes[] = { "auto", "train", "eval", "tune", "deploy" };

const char *epl_norm_mode_name(epl_norm_mode mode) { return norm_modes[mode]; }

bool epl_norm_modes_parse(epl_context *ctx, const char *text, epl_norm_modes *out)
{
    const size_t n = strcspn(text, ":");
    *out = (epl_norm_modes){ .pattern = text[n] && text[n + 1] ? text + n + 1 : NULL };
    for (size_t i = 0; i < EPL_COUNT(norm_modes); i++)
        if (strlen(norm_modes[i]) == n && memcmp(norm_modes[i], text, n) == 0) {
            out->mode = (epl_norm_mode)i;
            return true;
        }
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "'%s' is no mode of batch norms: train, eval, tune or deploy, as in tune:stage1.*", text);
}

/* running := momentum * running + (1 - momentum) * batch, Ioffe & Szegedy 2015 (arXiv:1502.03167). The running variance takes
 * the unbiased estimate, n / (n - 1), as PyTorch's and the paper's does. */
static void update_running(epl_graph *g, epl_value *running, epl_value *batch, double momentum, double correction)
{
    if (!EPL_IS(running->producer, state))
        return; // a constant or an expression: nobody's to update
    epl_value *kept = epl_mul(g, running, epl_scalar(g, running->dtype, momentum));
    epl_value *new  = epl_mul(g, batch, epl_scalar(g, running->dtype, (1 - momentum) * correction));
    epl_update(g, running, epl_add(g, kept, new));
}

static epl_value *train_batch_norm(epl_graph *g, epl_node *n)
{
    const epl_attr epsilon = EPL_A_R(epl_attr_r(n, "epsilon"));
    epl_node *t = epl_node_add(g, &epl_op_batch_norm_train, 3, n->inputs, &epsilon, 0, NULL);
    if (!t)
        return NULL;
    t->scope = n->scope;
    const double momentum = epl_attr_r(n, "momentum");
    const double count = (double)(epl_shape_count(n->inputs[0]->shape) / epl_channels(n->inputs[0]));
    update_running(g, n->inputs[3], t->outputs[1], momentum, 1);
    update_running(g, n->inputs[4], t->outputs[2], momentum, count > 1 ? count / (count - 1) : 1);
    return t->outputs[0];
}

static epl_value *training_form(epl_graph *g, epl_node *n)
{
    if (EPL_IS(n, batch_norm))
        return train_batch_norm(g, n);
    if (EPL_IS(n, dropout))
        return epl_dropout_train(g, n->inputs[0], epl_attr_r(n, "rate"), epl_attr_i(n, "whole_channels"), epl_rng_key(g));
    if (EPL_IS(n, drop_path))
        return epl_drop_path_train(g, n->inputs[0], epl_attr_r(n, "rate"), epl_rng_key(g));
    return NULL;
}

bool epl_set_training(epl_graph *g) { return epl_set_training_but(g, NULL, NULL); }

bool epl_set_training_but(epl_graph *g, epl_stays_fn *stays, const void *user)
{
    if (!epl_lower_exits(g) || !epl_mask_choices(g))
        return false;
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        next = n->next;
        if (!(n->op->flags & EPL_OP_MODAL) || (stays && stays(user, n)))
            continue;
        epl_node  *at = epl_graph_insert_before(g, n);
        epl_value *v  = training_form(g, n);
        epl_graph_insert_before(g, at);
        if (v) {
            epl_replace(n->outputs[0], v);
            epl_node_remove(n);
        }
    }
    return epl_expand_recurrent(g);
}
