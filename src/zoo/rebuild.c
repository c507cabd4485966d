/* rebuild: a trained network with other options, such as another size of the input. */
#include <string.h>

#include <espalier/zoo.h>

/* The weights that the new network has, as they are; what has another shape, or is not there, epl_model_check names. */
static bool take_weights(epl_model *to, const epl_model *from)
{
    for (const epl_node *n = epl_first(to->graph); n; n = epl_next(n)) {
        const bool kept = strcmp(epl_node_op_name(n), "Parameter") == 0 || strcmp(epl_node_op_name(n), "State") == 0;
        const char *name = kept ? epl_value_name(epl_node_output(n, 0)) : NULL;
        const epl_tensor *t = name ? epl_weights_find(from->weights, name) : NULL;
        epl_tensor *copy = t ? epl_tensor_copy(from->ctx, t) : NULL;
        if (t && (!copy || !epl_weights_put_take(to->weights, name, copy)))
            return false;
    }
    return epl_model_check(to);
}

epl_model *epl_zoo_rebuild(const epl_model *m, const char *changes)
{
    const char *description = epl_graph_name(m->graph);
    epl_text    text = EPL_TEXT(m->ctx);
    epl_text_addf(&text, "%s%s%s", description, strchr(description, ':') ? "," : ":", changes);
    epl_model *rebuilt = epl_text_str(&text) ? epl_model_new_take(epl_zoo_build(m->ctx, epl_text_str(&text))) : NULL;
    epl_text_release(&text);
    if (rebuilt && take_weights(rebuilt, m))
        return rebuilt;
    epl_model_free(rebuilt);
    return NULL;
}
