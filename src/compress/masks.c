/* masks: states "<parameter>.mask" in the place of weights, and what lies under them. Frozen masks need nothing but the product:
 * its gradient is 0 where the mask is, so a weight that is 0 there, with slots of 0, gets updates of exactly 0 from every
 * optimizer that is element-wise up to norms of whole tensors. Weights and slots are therefore cleared when a mask changes. */
#include "compress/compress.h"

#include <espalier/ops.h>
#include <espalier/passes.h>
#include <espalier/train.h>

#include <stdio.h>
#include <string.h>

epl_tensor *epl_mask_of(const epl_weights *w, const char *parameter)
{
    char name[1024];
    snprintf(name, sizeof name, "%s.mask", parameter);
    return epl_weights_find(w, name);
}

/* ---- the expression ---- */

/* dy -> dy + lambda (1 - M) W for W, nothing for M. The custom gradient's own graphs. */
static epl_value *regrown(epl_graph *g, epl_value *w, epl_value *mask, double lambda)
{
    epl_value *in[2] = { w, mask }, *f[2], *b[4], *y = NULL;
    const epl_shape s = epl_shape_of(w);
    epl_graph *forward = epl_region_new(g), *backward = epl_region_new(g);
    if (!forward || !backward)
        return NULL;
    for (int i = 0; i < 2; i++)
        f[i] = epl_input(forward, i ? "mask" : "weight", epl_dtype_of(w), s, NULL);
    epl_output(forward, "y", epl_mul(forward, f[0], f[1]));
    for (int i = 0; i < 4; i++)
        b[i] = epl_input(backward, (const char *[]){ "weight", "mask", "y", "dy" }[i], epl_dtype_of(w), s, NULL);
    epl_value *covered = epl_mul(backward, b[0], epl_affine(backward, b[1], -1, 1));
    epl_output(backward, "dw", epl_add(backward, b[3], epl_affine(backward, covered, lambda, 0)));
    epl_output(backward, "dmask", epl_zeros_like(backward, b[1]));
    return epl_custom_gradient(g, forward, backward, 2, in, &y) ? y : NULL;
}

typedef struct masking {
    const epl_layers *layers;
    epl_mask_opts     o;
} masking;

static epl_value *put_mask(epl_graph *g, epl_value *p, void *user)
{
    const masking *k = user;
    char name[1024];
    bool chosen = false;
    for (int i = 0; !chosen && i < k->layers->n; i++)
        chosen = k->layers->items[i].weight == p;
    snprintf(name, sizeof name, "/%s.mask", epl_value_name(p));
    if (!chosen || epl_graph_find(g, name + 1))
        return NULL;
    epl_value *state = epl_state(g, name, EPL_F32, epl_shape_of(p), EPL_INIT_ONES, 0);
    epl_value *mask  = epl_cast(g, state, epl_dtype_of(p));
    if (k->o.gradient == EPL_MASK_SRSTE)
        return regrown(g, p, mask, k->o.lambda > 0 ? k->o.lambda : 2e-4);
    epl_value *y = epl_mul(g, p, mask);
    return k->o.gradient == EPL_MASK_STE ? epl_straight_through(g, y, p) : y;
}

static bool fill_ones(epl_model *m, const epl_layer *layer)
{
    char name[1024];
    if (epl_mask_of(m->weights, layer->name))
        return true;
    snprintf(name, sizeof name, "%s.mask", layer->name);
    epl_tensor *t = epl_tensor_new(m->ctx, EPL_F32, epl_shape_of(layer->weight));
    for (int64_t i = 0; t && i < layer->count; i++)
        ((float *)t->data)[i] = 1;
    return t && epl_weights_put_take(m->weights, name, t);
}

int epl_masks_add(epl_model *m, epl_mask_opts o)
{
    epl_layers layers = { 0 };
    bool ok = epl_weight_layers_find(m->graph, &layers) && epl_weight_layers_choose(&layers, o.pattern, o.skip);
    masking k = { &layers, o };
    ok = ok && epl_reparameterize(m->graph, "*", put_mask, &k) >= 0;
    for (int i = 0; ok && i < layers.n; i++)
        ok = fill_ones(m, &layers.items[i]);
    const int n = ok ? layers.n : -1;
    epl_weight_layers_release(&layers);
    return n;
}

/* ---- what they cover ---- */

epl_value *epl_masked_value(const epl_graph *g, const char *parameter)
{
    char name[1024];
    snprintf(name, sizeof name, "%s.mask", parameter);
    epl_value *v = epl_graph_find(g, name);
    while (v && v->n_uses == 1 && EPL_IS(v->uses[0].node, cast))
        v = v->uses[0].node->outputs[0];
    return v && v->n_uses > 0 && EPL_IS(v->uses[0].node, mul) ? v->uses[0].node->outputs[0] : NULL;
}

/* Frozen: the parameter is multiplied with its mask, and nothing leads the gradient around. */
bool epl_mask_is_frozen(const epl_graph *g, const char *parameter)
{
    const epl_value *y = epl_masked_value(g, parameter);
    for (size_t i = 0; y && i < y->n_uses; i++)
        if (EPL_IS(y->uses[i].node, straight_through))
            return false;
    return y != NULL;
}

/* `zero`: what stands for 0 in it. */
static void clear_covered(epl_tensor *t, const epl_tensor *mask, double zero)
{
    const float *keep = mask->data;
    if (!t || !epl_shape_equal(t->shape, mask->shape))
        return;
    for (int64_t i = 0; i < epl_tensor_count(mask); i++)
        if (keep[i] == 0)
            epl_tensor_set(t, i, zero);
}

/* Is `name` what training keeps for the parameter: "train.<slot>.<parameter>", "ema.<parameter>"? */
static bool is_slot_of(const char *name, const char *parameter)
{
    const size_t n = strlen(name), p = strlen(parameter);
    return n > p && strcmp(name + n - p, parameter) == 0 &&
           ((n == p + 4 && strncmp(name, "ema.", 4) == 0) ||
            (strncmp(name, "train.", 6) == 0 && strchr(name + 6, '.') == name + n - p - 1));
}

bool epl_mask_apply(epl_model *m, const char *parameter)
{
    const epl_tensor *mask = epl_mask_of(m->weights, parameter);
    if (!mask || mask->dtype != EPL_F32)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'%s' has no mask", parameter);
    char averaged[1024];
    snprintf(averaged, sizeof averaged, "ema.%s.mask", parameter);
    epl_tensor *average = epl_weights_find(m->weights, averaged); // averages follow all states; a mask must stay 0 or 1
    if (average)
        memcpy(average->data, mask->data, epl_tensor_bytes(mask));
    if (!epl_mask_is_frozen(m->graph, parameter))
        return true;
    clear_covered(epl_weights_find(m->weights, parameter), mask, 0);
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        const char *name = epl_weights_name(m->weights, i);
        epl_tensor *slot = epl_weights_at(m->weights, i);
        if (is_slot_of(name, parameter))
            clear_covered(slot, mask, slot->dtype == EPL_U8 ? epl_slot_zero(name) : 0);
    }
    return true;
}

bool epl_masks_apply(epl_model *m)
{
    epl_layers layers = { 0 };
    bool ok = epl_weight_layers_find(m->graph, &layers);
    for (int i = 0; ok && i < layers.n; i++)
        ok = !epl_mask_of(m->weights, layers.items[i].name) || epl_mask_apply(m, layers.items[i].name);
    epl_weight_layers_release(&layers);
    return ok;
}
