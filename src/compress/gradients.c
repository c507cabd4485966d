/* gradients: the loss's gradient by each weight, for criteria that ask what a weight is worth. */
#include "compress/compress.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

static epl_value *loss_of(epl_graph *g, const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts o)
{
    if (epl_graph_n_inputs(m->graph) != 1 || epl_graph_n_outputs(m->graph) < 1 || x->shape.rank < 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "the network has %d inputs and %d outputs; one input and logits are needed",
                              epl_graph_n_inputs(m->graph), epl_graph_n_outputs(m->graph));
    epl_value **outputs = epl_arena_alloc(g->arena, (size_t)epl_graph_n_outputs(m->graph) * sizeof *outputs);
    epl_value  *in = epl_input(g, "x", x->dtype, x->shape, "N");
    if (!outputs || !in || !epl_graph_inline(g, m->graph, &in, outputs, NULL))
        return NULL;
    epl_value *weights = epl_expand(g, epl_scalar(g, EPL_F32, 1), EPL_SHAPE(x->shape.dim[0]));
    return epl_loss(g, outputs[0], epl_input(g, "target", target->dtype, target->shape, "N"), weights, o);
}

static bool run(epl_graph *g, const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_weights *out)
{
    epl_program *p  = epl_program_new(g, m->weights, (epl_program_opts){ 0 });
    bool         ok = p != NULL;
    if (ok) {
        memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
        memcpy(epl_program_input(p, 1)->data, target->data, epl_tensor_bytes(target));
        ok = epl_program_run(p);
    }
    for (int i = 0; ok && i < epl_program_n_outputs(p); i++) {
        epl_tensor *copy = epl_tensor_copy(m->ctx, epl_program_output(p, i));
        ok = copy && epl_weights_put_take(out, epl_graph_output_name(g, i), copy);
    }
    epl_program_free(p);
    return ok;
}

epl_weights *epl_weight_gradients(const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts o)
{
    epl_graph   *g   = epl_graph_new(m->ctx, "gradients");
    epl_weights *out = epl_weights_new(m->ctx);
    epl_layers   layers = { 0 };
    bool ok = g && out && epl_weight_layers_find(m->graph, &layers);
    epl_value *loss = ok ? loss_of(g, m, x, target, o) : NULL;
    epl_value **w = loss ? epl_arena_alloc(g->arena, (size_t)(layers.n + 1) * sizeof *w) : NULL;
    ok = w != NULL;
    for (int i = 0; ok && i < layers.n; i++)
        w[i] = layers.items[i].read->mark; // inlining leaves the twins there
    epl_value **gradients = ok ? epl_arena_alloc(g->arena, (size_t)(layers.n + 1) * sizeof *gradients) : NULL;
    ok = gradients && epl_gradient(g, loss, layers.n, w, gradients);
    for (int i = 0; ok && i < layers.n; i++)
        epl_output(g, layers.items[i].name, gradients[i]);
    ok = ok && epl_graph_finish(g) && run(g, m, x, target, out);
    epl_weight_layers_release(&layers);
    epl_graph_free(g);
    if (ok)
        return out;
    epl_weights_free(out);
    return NULL;
}
