/* activations: what channels say on samples - how much on average, or how often not nothing (Hu et al. 2016,
 * arXiv:1607.03250). Of a unit's values those behind activations count; a unit that no activation follows is scored
 * by all of its values. */
#include "compress/channels.h"

#include <espalier/ops.h>
#include <espalier/program.h>

#include <stdio.h>
#include <string.h>

static bool is_activation(const epl_node *n)
{
    return EPL_IS(n, relu) || EPL_IS(n, relu6) || EPL_IS(n, leaky_relu) || EPL_IS(n, prelu) || EPL_IS(n, elu) || EPL_IS(n, selu) ||
           EPL_IS(n, gelu) || EPL_IS(n, gelu_tanh) || EPL_IS(n, silu) || EPL_IS(n, hard_swish) || EPL_IS(n, mish) || EPL_IS(n, tanh) ||
           EPL_IS(n, sigmoid) || EPL_IS(n, softplus);
}

static int unit_of(epl_channel_plan *p, const epl_value *v, int64_t c)
{
    return p->unit_at[epl_unit_of(&p->units, v, v->shape.rank - 1, c)];
}

/* Values of samples whose last axis are units. */
static bool counts(epl_channel_plan *p, const epl_node *n)
{
    const epl_value *v = n->n_outputs == 1 ? n->outputs[0] : NULL;
    if (!v || v->shape.rank < 2 || v->dtype != EPL_F32 || (n->op->flags & (EPL_OP_SOURCE | EPL_OP_VIEW)))
        return false;
    for (int64_t c = 0; c < epl_channels(v); c++)
        if (unit_of(p, v, c) >= 0)
            return true;
    return false;
}

/* The network on the samples, with an output [C] for each value that counts, in the order of the nodes. */
static epl_graph *measuring(epl_channel_plan *p, bool apoz)
{
    const epl_graph *model = p->units.graph;
    epl_graph  *g = epl_graph_new(p->m->ctx, "activations");
    epl_value  *x = g ? epl_input(g, "x", p->o.samples->dtype, p->o.samples->shape, "N") : NULL;
    epl_value **outputs = x ? epl_arena_alloc(g->arena, (size_t)(epl_graph_n_outputs(model) + 1) * sizeof *outputs) : NULL;
    bool ok = outputs && epl_graph_inline(g, model, &x, outputs, NULL);
    int  k = 0;
    for (const epl_node *n = ok ? model->first : NULL; n; n = n->next) {
        if (!counts(p, n))
            continue;
        epl_value *v = n->outputs[0]->mark; // inlining leaves the twins there
        char       name[32];
        epl_value *y = apoz ? epl_sign(g, epl_abs(g, v)) : epl_abs(g, v);
        epl_reduce_opts o = { .n_axes = epl_rank(v) - 1 };
        for (int a = 0; a < o.n_axes; a++)
            o.axes[a] = a;
        snprintf(name, sizeof name, "%d", k++);
        epl_output(g, name, epl_reduce_mean(g, y, o));
    }
    if (ok && epl_graph_finish(g))
        return g;
    epl_graph_free(g);
    return NULL;
}

static void add(epl_channel_plan *p, epl_program *run, bool behind_activations)
{
    int k = 0;
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        if (!counts(p, n))
            continue;
        char name[32];
        snprintf(name, sizeof name, "%d", k++);
        const epl_tensor *y = epl_program_output_named(run, name);
        for (int64_t c = 0; c < epl_channels(n->outputs[0]) && is_activation(n) == behind_activations; c++) {
            const int unit = unit_of(p, n->outputs[0], c);
            if (unit < 0 || (!behind_activations && p->list[unit].score >= 0))
                continue;
            p->list[unit].sum += epl_tensor_get(y, c);
            p->list[unit].count++;
        }
    }
    for (int i = 0; i < p->n; i++)
        if (p->list[i].score < 0 && p->list[i].count > 0)
            p->list[i].score = p->list[i].sum / p->list[i].count;
}

bool epl_channels_score_activations(epl_channel_plan *p, bool apoz)
{
    if (!p->o.samples)
        return epl_fail(p->m->ctx, EPL_ERR_ARGUMENT, "criterion '%s' looks at what channels say, and there are no samples", p->o.criterion);
    epl_graph   *g   = measuring(p, apoz);
    epl_program *run = g ? epl_program_new(g, p->m->weights, (epl_program_opts){ 0 }) : NULL;
    bool ok = run != NULL;
    if (ok) {
        memcpy(epl_program_input(run, 0)->data, p->o.samples->data, epl_tensor_bytes(p->o.samples));
        ok = epl_program_run(run);
    }
    for (int i = 0; ok && i < p->n; i++)
        p->list[i] = (epl_channel_unit){ .root = p->list[i].root, .group = p->list[i].group, .score = -1 };
    if (ok) {
        add(p, run, true);
        add(p, run, false);
    }
    epl_program_free(run);
    epl_graph_free(g);
    return ok;
}
