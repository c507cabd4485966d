/* deepen: layers that are two while they learn, and the hook that turns what stands between them linear. */
#include <espalier/morph.h>
#include <espalier/nn.h>

#include <math.h>

#include "passes/passes.h"

/* ---- the transform ---- */

static bool is_layer(const epl_node *n, const char *pattern)
{
    const char *name = EPL_IS(n, conv) || EPL_IS(n, linear) ? epl_value_name(n->inputs[1]) : NULL;
    return name && epl_glob(pattern, name);
}

/* Where the layer's block ends: its normalisation, if that alone reads it. */
static epl_value *end_of(const epl_node *n)
{
    epl_value *y = n->outputs[0];
    const epl_node *reader = y->n_uses == 1 ? y->uses[0].node : NULL;
    return EPL_IS(reader, batch_norm) ? reader->outputs[0] : y;
}

static bool put_identity(epl_model *m, const char *name, epl_shape shape)
{
    const int64_t c = shape.dim[shape.rank - 1];
    epl_tensor   *t = epl_tensor_new(m->ctx, EPL_F32, shape);
    for (int64_t i = 0; t && i < c; i++)
        epl_tensor_set(t, i * c + i, 1);
    return t && epl_weights_put_take(m->weights, name, t);
}

/* relu, layer, norm behind y, a layer's end. */
static epl_value *second_layer(epl_graph *g, epl_value *y, bool linear, const char *layer, epl_shape *shape)
{
    epl_scope_push(g, "%s.deep", layer);
    epl_value *v = epl_fading_relu(g, y);
    v = linear ? epl_linear(g, v, (epl_linear_opts){ .name = "conv", .out = (int)epl_channels(y) })
               : epl_conv(g, v, (epl_conv_opts){ .name = "conv", .out = (int)epl_channels(y), .kernel = 1 });
    *shape = v ? v->producer->inputs[1]->shape : EPL_SCALAR;
    v = epl_batch_norm(g, v, (epl_norm_opts){ .name = "norm" });
    epl_scope_pop(g);
    return v;
}

static bool deepen(epl_model *m, epl_node *n)
{
    epl_graph  *g = m->graph;
    const char *weight = epl_value_name(n->inputs[1]);
    char        layer[1024], name[1100];
    epl_shape   shape;
    snprintf(layer, sizeof layer, "%.*s", (int)(strlen(weight) - (epl_glob("*.weight", weight) ? 7 : 0)), weight);
    epl_value *y  = end_of(n);
    epl_node  *at = epl_graph_insert_before(g, y->producer->next);
    epl_value *stub = epl_identity(g, y); // the readers of y wait here until the new layer reads it
    epl_replace(y, stub);
    epl_set_input(stub->producer, 0, y);
    epl_value *v = second_layer(g, y, EPL_IS(n, linear), layer, &shape);
    epl_graph_insert_before(g, at);
    if (!v)
        return false;
    epl_replace(stub, v);
    epl_node_remove(stub->producer);
    snprintf(name, sizeof name, "%s.deep.conv.weight", layer);
    return put_identity(m, name, shape);
}

int epl_deepen(epl_model *m, const char *pattern)
{
    int count = 0;
    for (epl_node *n = m->graph->first, *next; n; n = next) {
        next = n->next;
        if (!is_layer(n, pattern) || epl_glob("*.deep.conv.weight", epl_value_name(n->inputs[1])))
            continue;
        if (!deepen(m, n))
            return -1;
        count++;
    }
    if (count == 0)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "no convolution or linear layer has a weight that '%s' matches", pattern);
    return count && epl_graph_finish(m->graph) ? count : -1;
}

/* ---- the hook ---- */

double epl_deep_training_slope(epl_deep_training_opts o, int64_t epoch)
{
    const double x = epoch < o.epochs ? (double)epoch / o.epochs : 1;
    return o.cosine ? 0.5 * (1 - cos(acos(-1) * x)) : x;
}

static void set_slope(epl_model *m, double slope)
{
    static const char *const names[] = { EPL_DEEPENING_SLOPE, "ema." EPL_DEEPENING_SLOPE };
    for (size_t i = 0; i < EPL_COUNT(names); i++) {
        epl_tensor *t = epl_weights_find(m->weights, names[i]);
        if (t)
            epl_tensor_set(t, 0, slope);
    }
}

/* An average of slopes would make another network: it is set again after each update. */
static bool after_step(void *user, epl_trainer *t, int64_t step)
{
    (void)user, (void)step;
    const epl_tensor *slope = epl_weights_find(epl_trainer_model(t)->weights, EPL_DEEPENING_SLOPE);
    if (slope)
        set_slope(epl_trainer_model(t), epl_tensor_get(slope, 0));
    return true;
}

static bool after_epoch(void *user, epl_trainer *t, int64_t epoch)
{
    set_slope(epl_trainer_model(t), epl_deep_training_slope(*(const epl_deep_training_opts *)user, epoch));
    return true;
}

/* Before the slope is 1 the network is a deeper one than what can be merged. */
static bool settled(void *user, const epl_trainer *t)
{
    (void)user;
    const epl_tensor *slope = epl_weights_find(epl_trainer_model(t)->weights, EPL_DEEPENING_SLOPE);
    return !slope || epl_tensor_get(slope, 0) >= 1;
}

epl_train_hook epl_deep_training(epl_model *m, epl_deep_training_opts o)
{
    epl_train_hook none = { 0 };
    if (!epl_graph_find(m->graph, EPL_DEEPENING_SLOPE)) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no fading relu to train with (epl_deepen, or vanillanet:form=train)",
                 epl_graph_name(m->graph));
        return none;
    }
    if (o.epochs < 1) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "deep training over %d epochs, at least 1 is needed", o.epochs);
        return none;
    }
    epl_deep_training_opts *kept = epl_alloc(m->ctx, sizeof *kept);
    if (!kept)
        return none;
    *kept = o;
    set_slope(m, 0); // the first epoch's; a run that goes on takes its checkpoint's
    const int64_t numbers[] = { o.epochs, o.cosine };
    return (epl_train_hook){ .after_step = after_step, .after_epoch = after_epoch, .settled = settled, .user = kept,
                             .options = epl_hash(numbers, sizeof numbers, 0) };
}
