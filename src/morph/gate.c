/* gate: a head before each convolution that says, sample by sample, which of its channels are worth computing, and
 * what it learns from: the strongest responses of the layer itself. Elkerdawy et al. 2022, "Fire Together Wire
 * Together" (arXiv:2110.08232). */
#include <espalier/morph.h>

#include "morph/gate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GATE_WEIGHTS "*.gate.weight"

/* ---- places ---- */

static bool is_gate_weight(const epl_node *n)
{
    const char *name = EPL_IS(n, linear) ? epl_value_name(n->inputs[1]) : NULL;
    return name && epl_glob(GATE_WEIGHTS, name);
}

static bool activates(const epl_node *n)
{
    return n && epl_glob("Relu,Relu6,Clip,LeakyRelu,Elu,Selu,Celu,Silu,Swish,HardSwish,Gelu,GeluTanh,Mish,Tanh,Sigmoid,"
                         "HardSigmoid,Softplus",
                         n->op->name);
}

static epl_node *only_reader(const epl_value *v) { return v->n_uses == 1 ? v->uses[0].node : NULL; }

static epl_value *end_of(epl_node *conv, bool after_add)
{
    epl_value *y = conv->outputs[0];
    if (EPL_IS(only_reader(y), batch_norm) || EPL_IS(only_reader(y), batch_norm_train))
        y = only_reader(y)->outputs[0];
    if (after_add && EPL_IS(only_reader(y), add) && epl_shape_equal(y->shape, only_reader(y)->outputs[0]->shape))
        y = only_reader(y)->outputs[0];
    return activates(only_reader(y)) ? only_reader(y)->outputs[0] : y;
}

/* Something computes with it, and it is no result of the network. */
static bool is_read(const epl_value *v)
{
    for (size_t i = 0; i < v->n_uses; i++)
        if (v->uses[i].node->op->flags & EPL_OP_SINK)
            return false;
    return v->n_uses > 0;
}

static bool is_taken(const epl_gate_site *sites, int n, const epl_value *end)
{
    for (int i = 0; i < n; i++)
        if (sites[i].end == end)
            return true;
    return false;
}

int epl_gate_places(epl_graph *g, const char *pattern, bool after_add, epl_gate_site *sites, int *wanted)
{
    int count = 0;
    *wanted = 0;
    for (epl_node *n = g->first; n; n = n->next) {
        const char *name = EPL_IS(n, conv) ? epl_value_name(n->inputs[1]) : NULL;
        epl_value  *end  = name ? end_of(n, after_add) : NULL;
        if (!name || !epl_glob(pattern ? pattern : "*", name) || is_taken(sites, count, end)) // two that are added have one gate
            continue;
        ++*wanted;
        if (is_read(end))
            sites[count++] = (epl_gate_site){ .conv = n, .end = end };
    }
    return count;
}

static epl_node *reader_of_kind(const epl_value *v, const epl_op *op)
{
    for (size_t i = 0; i < v->n_uses; i++)
        if (v->uses[i].node->op == op)
            return v->uses[i].node;
    return NULL;
}

/* The convolution of the layer "<name>" whose gate has the weight "<name>.gate.weight". */
static epl_node *conv_named(epl_graph *g, const char *gate)
{
    const size_t n = strlen(gate) - strlen(".gate.weight");
    for (epl_node *c = g->first; c; c = c->next) {
        const char *name = EPL_IS(c, conv) ? epl_value_name(c->inputs[1]) : NULL;
        if (name && strncmp(name, gate, n) == 0 && strcmp(name + n, ".weight") == 0)
            return c;
    }
    return NULL;
}

/* The convolution at the beginning of a layer that ends in v, or NULL: for weights that are computed, and so have no name. */
static epl_node *conv_before(const epl_value *v)
{
    epl_node *n = v->producer;
    while (!EPL_IS(n, conv) && n->n_inputs > 0)
        n = n->inputs[0]->producer;
    return EPL_IS(n, conv) ? n : NULL;
}

int epl_gate_find(epl_graph *g, epl_gate_site *sites)
{
    int count = 0;
    for (epl_node *n = g->first; n; n = n->next) {
        const epl_node *step = is_gate_weight(n) ? reader_of_kind(n->outputs[0], &epl_op_step) : NULL;
        for (size_t i = 0; step && i < step->outputs[0]->n_uses; i++) {
            const epl_node *image = step->outputs[0]->uses[i].node, *mul = image->n_outputs ? only_reader(image->outputs[0]) : NULL;
            if (!EPL_IS(mul, mul))
                continue;
            epl_value *end  = mul->inputs[mul->inputs[0] == image->outputs[0]];
            epl_node  *named = conv_named(g, epl_value_name(n->inputs[1])), *conv = named ? named : conv_before(end);
            if (conv)
                sites[count++] = (epl_gate_site){ conv, end, n->outputs[0], step->outputs[0], mul->outputs[0] };
        }
    }
    return count;
}

/* ---- the transform ---- */

/* What a gate sees of its layer's input, [N, features]: one number for each channel, or for each of a few places of it. */
static epl_value *embedding(epl_graph *g, epl_value *in, const epl_gate_opts *o)
{
    const int     space = epl_rank(in) - 2;
    const int64_t along = space < 1 ? 1 : (int64_t)lround(pow(o->embedding / (double)epl_channels(in), 1.0 / space));
    int           size[8];
    if (along <= 1)
        return o->average ? epl_global_average_pool(g, in) : epl_global_max_pool(g, in);
    for (int i = 0; i < space; i++)
        size[i] = (int)(along < epl_dim(in, i + 1) ? along : epl_dim(in, i + 1));
    return epl_flatten(g, o->average ? epl_adaptive_average_pool(g, in, size) : epl_adaptive_max_pool(g, in, size), 1);
}

static epl_value *predictor(epl_graph *g, const epl_gate_site *s, const epl_gate_opts *o)
{
    const double OPEN = 2; // sigmoid: 0.88
    epl_value *in = s->conv->inputs[0];
    epl_value *e = epl_softmax(g, embedding(g, o->joint ? in : epl_stop_gradient(g, in), o), -1);
    const int64_t m = epl_channels(s->end);
    if (!o->open || !e)
        return epl_linear(g, e, (epl_linear_opts){ .name = "gate", .out = (int)m });
    epl_value *w = epl_parameter(g, "gate.weight", EPL_F32, EPL_SHAPE(epl_channels(e), m), EPL_INIT_ZEROS, 0);
    return epl_multiply_rows(g, e, w, epl_parameter(g, "gate.bias", EPL_F32, EPL_SHAPE(m), EPL_INIT_CONSTANT, OPEN), false);
}

static bool put_gate(epl_graph *g, const epl_gate_site *s, const epl_gate_opts *o)
{
    const char *weight = epl_value_name(s->conv->inputs[1]);
    static const int space[] = { 1, 2, 3 };
    epl_node   *at   = epl_graph_insert_before(g, s->end->producer->next);
    epl_value  *stub = epl_identity(g, s->end); // the readers wait here
    epl_replace(s->end, stub);
    epl_set_input(stub->producer, 0, s->end);
    epl_scope_push(g, "%.*s", (int)(strlen(weight) - (epl_glob("*.weight", weight) ? 7 : 0)), weight);
    epl_value *mask  = epl_step(g, predictor(g, s, o));
    epl_value *gated = epl_mul(g, s->end, epl_unsqueeze(g, mask, epl_rank(s->end) - 2, space));
    epl_scope_pop(g);
    epl_graph_insert_before(g, at);
    if (!gated)
        return false;
    epl_replace(stub, gated);
    epl_node_remove(stub->producer);
    return true;
}

int epl_gates_add(epl_model *m, epl_gate_opts o)
{
    epl_gate_site *sites = epl_alloc_array(m->ctx, (size_t)m->graph->n_nodes + 1, sizeof *sites);
    int  wanted = 0, n = 0;
    bool ok = sites != NULL;
    if (ok && epl_gate_find(m->graph, sites) > 0)
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has gates already", m->graph->name);
    else if (ok)
        n = epl_gate_places(m->graph, o.layers, o.after_add, sites, &wanted);
    if (ok && (n == 0 || (o.layers && n < wanted)))
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                      "gates: of %d convolutions that '%s' matches, %d can have one; the channels of the others are a "
                      "result of the "
                      "network, or nothing reads them",
                      wanted, o.layers ? o.layers : "*", n);
    for (int i = 0; ok && i < n; i++)
        ok = put_gate(m->graph, &sites[i], &o);
    epl_release(m->ctx, sites);
    return ok && epl_graph_finish(m->graph) ? n : -1;
}

/* ---- what a gate learns from ---- */

epl_value *epl_gate_labels(epl_graph *g, epl_value *x, double mass, double uniform)
{
    epl_reduce_opts space = { 0 };
    for (int i = 1; x && i + 1 < epl_rank(x); i++)
        space.axes[space.n_axes++] = i;
    epl_value *a = epl_reduce_max(g, epl_abs(g, epl_stop_gradient(g, x)), space);
    if (!a)
        return NULL;
    if (mass < 0 && uniform <= 0)
        return epl_ones_like(g, a);
    const int64_t c = epl_channels(a);
    epl_value *sum   = epl_reduce_sum(g, a, (epl_reduce_opts){ EPL_AXES(1), .keep = true });
    epl_value *share = epl_div(g, a, epl_clip(g, sum, 1e-12, INFINITY)), *places;
    epl_value *alive = epl_step(g, epl_affine(g, share, 1, -1e-5));
    epl_value *sorted = epl_topk(g, share, 1, 0, (epl_topk_opts){ 0 }, &places);
    epl_value    *first = epl_cast(g,
                                   epl_equal(g, epl_positions(g, EPL_I64, share, 1),
                                             epl_fill_like(g, epl_positions(g, EPL_I64, share, 1), 0)),
                                   EPL_F32);
    epl_value *keep;
    if (uniform > 0) {
        const double kept = (double)c - floor(uniform * (double)c);
        keep = epl_add(g, epl_zeros_like(g, share), epl_step(g, epl_affine(g, epl_positions(g, EPL_F32, share, 1), -1, kept - 0.5)));
    } else if (mass >= 1)
        keep = epl_step(g, epl_affine(g, sorted, 1, -1e-5));
    else
        keep = epl_affine(g, epl_step(g, epl_affine(g, epl_cumsum(g, sorted, 1, (epl_cumsum_opts){ 0 }), 1, -mass - 1e-5)), -1, 1);
    keep = epl_max(g, keep, first); // one channel may hold more than the mass
    epl_value *back = epl_scatter_elements(g, epl_zeros_like(g, share), places, keep, 1, EPL_SCATTER_SET);
    return uniform > 0 ? epl_mul(g, back, alive) : back;
}
