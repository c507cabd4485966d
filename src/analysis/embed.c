/* embed: the network without its last layer, and what it makes of a data set. */
#include <espalier/analysis.h>

#include <string.h>

epl_model *epl_feature_model(const epl_model *m)
{
    epl_model *copy = epl_model_copy(m);
    epl_value *v = copy ? epl_layer_value(copy->graph, NULL) : NULL;
    if (v && v == epl_graph_output_at(copy->graph, 0)) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s': output 0 is not what a linear layer makes of features", epl_graph_name(m->graph));
        v = NULL;
    }
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

bool epl_embed(const epl_model *m, epl_dataset *d, epl_features_opts o, epl_embedded *out)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    *out = (epl_embedded){ .ctx = m->ctx };
    if (info.y_dtype != EPL_I64 || info.y_shape.rank > 0)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "data set '%s': embeddings need one class for each sample", info.name);
    epl_tensor *t  = epl_features(m, d, o);
    const bool  ok = t && take_rows(t, d, out);
    epl_tensor_free(t);
    if (!ok)
        epl_embedded_release(out);
    return ok;
}
