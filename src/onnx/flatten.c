/* flatten: images that are flattened for a layer. Channels last, the elements of a row come in another order than in the file, so
 * what would transpose every image in every run is done to the layer's weight once. Exact up to the order of sums. */
#include "onnx/importer.h"

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

/* Which row of the weight belongs to element j of an image [., dim...] that lay in the order of `perm` when the weight was made. */
static int64_t old_row(epl_shape image, const int64_t *perm, int64_t j)
{
    int64_t at[EPL_MAX_RANK] = { 0 }, row = 0;
    for (int axis = image.rank - 1; axis > 0; axis--) {
        at[axis] = j % image.dim[axis];
        j /= image.dim[axis];
    }
    for (int i = 1; i < image.rank; i++)
        row = row * image.dim[perm[i]] + at[perm[i]];
    return row;
}

/* The rows of w [elements of an image, out] in the image's order now, in place, cycle by cycle: such weights are large. */
static bool reorder_rows(epl_context *ctx, epl_tensor *w, epl_shape image, const int64_t *perm)
{
    const int64_t n = w->shape.dim[0];
    const size_t  bytes = n ? epl_tensor_bytes(w) / (size_t)n : 0;
    bool         *done = epl_alloc_array(ctx, (size_t)n + 1, sizeof *done);
    char         *kept = epl_alloc(ctx, bytes + 1), *rows = w->data;
    for (int64_t first = 0; done && kept && first < n; first++) {
        if (done[first])
            continue;
        memcpy(kept, rows + (size_t)first * bytes, bytes);
        int64_t to = first;
        for (int64_t from; (from = old_row(image, perm, to)) != first; to = from) {
            memcpy(rows + (size_t)to * bytes, rows + (size_t)from * bytes, bytes);
            done[to] = true;
        }
        memcpy(rows + (size_t)to * bytes, kept, bytes);
        done[to] = true;
    }
    const bool ok = done && kept;
    epl_release(ctx, done);
    epl_release(ctx, kept);
    return ok;
}

static bool take_over(onnx_import *imp, epl_node *layer, epl_node *flat)
{
    epl_node      *turn = flat->inputs[0]->producer, *user = flat->outputs[0]->uses[0].node;
    const char    *name = epl_value_name(layer->inputs[1]);
    const int64_t *perm;
    epl_tensor    *w = epl_weights_find(imp->weights, name);
    const bool     batch_first = epl_attr_ints(turn, "perm", &perm) >= 2 && perm[0] == 0;
    if (!w || !batch_first || w->shape.rank != 2 ||
        epl_shape_count_from(flat->inputs[0]->shape, 1, flat->inputs[0]->shape.rank) != w->shape.dim[0])
        return true; // left as it is
    epl_node   *at = epl_graph_insert_before(imp->graph, flat);
    epl_value  *rows = epl_reshape(imp->graph, turn->inputs[0], EPL_SHAPE(EPL_KEEP, -1));
    epl_graph_insert_before(imp->graph, at);
    if (!rows || !reorder_rows(imp->ctx, w, turn->inputs[0]->shape, perm))
        return false;
    rows->producer->scope = flat->scope;
    epl_set_input(user, flat->outputs[0]->uses[0].input, rows);
    epl_node_remove(flat);
    return true;
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
