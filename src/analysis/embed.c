/* embed: the network without its last layer, and what it makes of a data set. */
#include <espalier/analysis.h>

#include "graph/op.h"

#include <string.h>

/* ---- the last product with weights ---- */

/* reads[id]: does the node's result depend on the graph's inputs? The caller owns it. */
static bool *reads_inputs(const epl_graph *g)
{
    int most = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        most = epl_node_id(n) > most ? epl_node_id(n) : most;
    bool *reads = epl_alloc_array(epl_graph_context(g), (size_t)most + 1, sizeof *reads);
    for (const epl_node *n = epl_first(g); reads && n; n = epl_next(n)) {
        bool any = strcmp(epl_node_op_name(n), "Input") == 0;
        for (int i = 0; i < epl_node_n_inputs(n); i++)
            any = any || (epl_node_input(n, i) && reads[epl_node_id(epl_producer(epl_node_input(n, i)))]);
        reads[epl_node_id(n)] = any;
    }
    return reads;
}

/* The only input that depends on the graph's; NULL if there are none or several. */
static epl_value *only_data_input(const epl_node *n, const bool *reads)
{
    epl_value *found = NULL;
    for (int i = 0; i < epl_node_n_inputs(n); i++) {
        epl_value *v = epl_node_input(n, i);
        if (!v || !reads[epl_node_id(epl_producer(v))])
            continue;
        if (found)
            return NULL;
        found = v;
    }
    return found;
}

static epl_value *features_of(epl_graph *g)
{
    bool      *reads = reads_inputs(g);
    epl_value *v = reads && epl_graph_n_outputs(g) > 0 ? epl_graph_output_at(g, 0) : NULL;
    while (v) {
        const epl_node *n = epl_producer(v);
        v = only_data_input(n, reads);
        if (v && epl_glob("Linear,MatMul,Conv", epl_node_op_name(n)))
            break;
    }
    epl_release(epl_graph_context(g), reads);
    return v;
}

epl_model *epl_feature_model(const epl_model *m)
{
    epl_model *copy = epl_model_copy(m);
    epl_value *v = copy ? features_of(copy->graph) : NULL;
    if (copy && !v)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s': output 0 is not what a layer with weights makes of features",
                 epl_graph_name(m->graph));
    for (epl_node *n = v ? epl_first(copy->graph) : NULL, *next; n; n = next) {
        next = epl_next(n);
        if (strcmp(epl_node_op_name(n), "Output") == 0)
            epl_node_remove(n);
    }
    if (v && epl_output(copy->graph, "features", v)) {
        epl_remove_dead(copy->graph);
        if (epl_graph_finish(copy->graph))
            return copy;
    }
    epl_model_free(copy);
    return NULL;
}

/* ---- rows ---- */

void epl_embedded_release(epl_embedded *e)
{
    if (!e->ctx)
        return;
    epl_release(e->ctx, e->z);
    epl_release(e->ctx, e->y);
    *e = (epl_embedded){ 0 };
}

static bool take_rows(const epl_tensor *t, epl_dataset *d, epl_embedded *out)
{
    out->n     = t->shape.dim[0];
    out->width = out->n ? epl_tensor_count(t) / out->n : 0;
    out->z     = epl_alloc_array(out->ctx, (size_t)epl_tensor_count(t), sizeof *out->z);
    out->y     = epl_alloc_array(out->ctx, (size_t)out->n, sizeof *out->y);
    for (int64_t i = 0; out->z && out->y && i < epl_tensor_count(t); i++)
        out->z[i] = (float)epl_tensor_get(t, i);
    for (int64_t i = 0; out->z && out->y && i < out->n; i++)
        if (!epl_dataset_fetch(d, i, NULL, &out->y[i]))
            return false;
    return out->z && out->y;
}

bool epl_embed(const epl_model *m, epl_dataset *d, epl_progress progress, epl_embedded *out)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    epl_evaluation e = { 0 };
    *out = (epl_embedded){ .ctx = m->ctx };
    if (info.y_dtype != EPL_I64 || info.y_shape.rank > 0)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "data set '%s': embeddings need one class for each sample", info.name);
    bool ok = epl_evaluate(m, d, (epl_evaluate_opts){ .batch = 128, .keep_logits = true, .progress = progress }, &e) && take_rows(e.logits, d, out);
    epl_evaluation_release(m->ctx, &e);
    if (!ok)
        epl_embedded_release(out);
    return ok;
}
