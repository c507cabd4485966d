/* flatten: images that are flattened for a layer. Channels last, the elements of a row come in another order than in the file, so
 * what would transpose every image in every run is done to the layer's weight once. Exact up to the order of sums. */
#include "onnx/importer.h"

#include "tensor/permute.h"

#include <stdlib.h>
#include <string.h>

static bool one_to_one(const epl_node *n)
{
    return n->n_inputs == 1 && ((n->op->flags & EPL_OP_ELEMENTWISE) || EPL_IS(n, dropout) || EPL_IS(n, identity));
}

/* From a layer's input back through what treats every element alike to the node that makes rows of images; NULL if there is none,
 * or if others read what lies between. */
static epl_node *flattening(epl_value *v)
{
    while (v->n_uses == 1 && one_to_one(v->producer))
        v = v->producer->inputs[0];
    epl_node *n = v->producer;
    const bool flat = (EPL_IS(n, reshape) || EPL_IS(n, flatten)) && n->n_inputs == 1 && v->n_uses == 1 && v->shape.rank == 2;
    return flat && EPL_IS(n->inputs[0]->producer, transpose) && n->inputs[0]->shape.dim[0] == v->shape.dim[0] ? n : NULL;
}

/* The rows of w [axes of the transposed image..., out] in the order of the image before it; NULL if memory is out. */
static epl_tensor *rows_reordered(epl_context *ctx, const epl_tensor *w, epl_shape image, const int64_t *perm)
{
    const int  rank = image.rank; // with the batch in front, which leaves as many axes as the weight's last adds
    epl_tensor seen = *w;
    epl_shape  order = { .rank = rank };
    seen.shape.rank = rank;
    for (int i = 1; i < rank; i++) {
        seen.shape.dim[i - 1] = image.dim[i];
        order.dim[perm[i] - 1] = i - 1;
    }
    seen.shape.dim[rank - 1] = w->shape.dim[1];
    order.dim[rank - 1] = rank - 1;
    epl_tensor *t = epl_tensor_permuted(ctx, &seen, order);
    if (t)
        t->shape = w->shape;
    return t;
}

static bool take_over(onnx_import *imp, epl_node *layer, epl_node *flat)
{
    epl_node      *turn = flat->inputs[0]->producer, *user = flat->outputs[0]->uses[0].node;
    const char    *name = epl_value_name(layer->inputs[1]);
    const int64_t *perm;
    epl_tensor    *w = epl_weights_find(imp->weights, name);
    const bool     batch_first = epl_attr_ints(turn, "perm", &perm) >= 2 && perm[0] == 0;
    if (!w || !batch_first || w->shape.rank != 2 || epl_shape_count_from(flat->inputs[0]->shape, 1, flat->inputs[0]->shape.rank) != w->shape.dim[0])
        return true; // left as it is
    epl_tensor *t = rows_reordered(imp->ctx, w, flat->inputs[0]->shape, perm);
    epl_node   *at = epl_graph_insert_before(imp->graph, flat);
    epl_value  *rows = epl_reshape(imp->graph, turn->inputs[0], EPL_SHAPE(EPL_KEEP, -1));
    epl_graph_insert_before(imp->graph, at);
    if (!t || !rows) {
        epl_tensor_free(t);
        return false;
    }
    rows->producer->scope = flat->scope;
    epl_set_input(user, flat->outputs[0]->uses[0].input, rows);
    epl_node_remove(flat);
    return epl_weights_put_take(imp->weights, name, t);
}

bool onnx_move_flattening(onnx_import *imp)
{
    bool ok = true;
    for (epl_node *n = imp->graph->first, *next; ok && n; n = next) {
        next = n->next;
        const bool layer = EPL_IS(n, linear) && !epl_attr_i(n, "trans_w") && EPL_IS(n->inputs[1]->producer, parameter) &&
                           n->inputs[1]->n_uses == 1;
        epl_node  *flat = layer ? flattening(n->inputs[0]) : NULL;
        ok = !flat || take_over(imp, n, flat);
    }
    epl_remove_dead(imp->graph);
    return ok && !epl_graph_failed(imp->graph);
}
