/* channels: removing units until the network has the wanted size. */
#include "compress/channels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- choosing ---- */

/* How many of the group stay when `removed` would go: a multiple of round_to, at least the least. */
static int stays(const epl_channel_plan *p, const epl_channel_group *g, int removed)
{
    const int round = p->o.round_to > 1 ? p->o.round_to : 1, least = p->o.min_channels > 1 ? p->o.min_channels : 1;
    int keep = g->n - removed;
    keep = keep < least ? least : keep;
    keep = (keep + round - 1) / round * round;
    return keep < g->n ? keep : g->n;
}

void epl_channels_revive(epl_channel_plan *p)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next)
        for (int o = 0; o < n->n_outputs; o++)
            for (int a = 0; a < n->outputs[o]->shape.rank; a++) {
                const epl_value *v = n->outputs[o];
                int64_t best = -1;
                if (v->shape.dim[a] == 0 || epl_units_left(&p->units, v, a) > 0)
                    continue;
                for (int64_t i = 0; i < v->shape.dim[a]; i++) {
                    const int64_t root = epl_unit_of(&p->units, v, a, i);
                    if (best < 0 || p->list[p->unit_at[root]].score > p->list[p->unit_at[best]].score)
                        best = root;
                }
                p->units.gone[best] = false;
            }
}

/* Marks the first k units in the order of keys, group by group and rounded. */
static bool mark_gone(epl_channel_plan *p, int k)
{
    int *removed = epl_alloc_array(p->units.ctx, (size_t)p->n_groups + 1, sizeof *removed);
    if (!removed)
        return false;
    for (int i = 0; i < k; i++)
        removed[p->list[p->by_key[i]].group]++;
    for (int g = 0; g < p->n_groups; g++) {
        const epl_channel_group *group = &p->groups[g];
        const int going = group->chosen ? group->n - stays(p, group, removed[g]) : 0;
        for (int i = 0; i < group->n; i++)
            p->units.gone[p->list[p->by_score[group->first + i]].root] = i < going;
    }
    epl_release(p->units.ctx, removed);
    epl_channels_revive(p);
    return true;
}

static bool small_enough(const epl_channel_plan *p, const epl_graph *g)
{
    const double macs = epl_graph_cost(g).macs / epl_graph_cost(p->units.graph).macs;
    const double params = (double)epl_graph_n_parameters(g) / (double)epl_graph_n_parameters(p->units.graph);
    return (p->o.macs == 0 || macs <= p->o.macs) && (p->o.params == 0 || params <= p->o.params);
}

/* The network without the first k units; the caller's. */
static epl_graph *without(epl_channel_plan *p, int k) { return mark_gone(p, k) ? epl_units_shrink(&p->units) : NULL; }

/* The least k whose network is small enough, by halving. */
static bool search(epl_channel_plan *p, int *k)
{
    int low = 0, high = p->n_chosen;
    while (low < high) {
        const int  middle = low + (high - low) / 2;
        epl_graph *g = without(p, middle);
        if (!g)
            return false;
        if (small_enough(p, g))
            high = middle;
        else
            low = middle + 1;
        epl_graph_free(g);
    }
    *k = low;
    return true;
}

/* Of a ratio: all units whose key is at most the ratio; of one ranking: that part of it. */
static int count_of_ratio(const epl_channel_plan *p)
{
    if (p->o.global)
        return (int)floor(p->o.ratio * p->n_chosen + 0.5);
    int k = 0;
    while (k < p->n_chosen && p->list[p->by_key[k]].key <= p->o.ratio + 1e-12)
        k++;
    return k;
}

/* The first chosen weight whose outputs somebody holds. */
static bool fail_frozen(epl_channel_plan *p)
{
    epl_layers layers = { 0 };
    char label[256];
    bool found = epl_weight_layers_find(p->units.graph, &layers) && epl_weight_layers_choose(&layers, p->o.pattern, p->o.skip);
    for (int i = 0; found && i < layers.n; i++) {
        const epl_value *w = layers.items[i].weight;
        const epl_node  *n = p->units.frozen[epl_unit_of(&p->units, w, w->shape.rank - 1, 0)];
        if (!n)
            continue;
        epl_fail(p->m->ctx, EPL_ERR_ARGUMENT, "no channel can be removed: the outputs of '%s' are held by %s", layers.items[i].name,
                 epl_node_label(n, label));
        found = false;
    }
    if (found)
        epl_fail(p->m->ctx, EPL_ERR_ARGUMENT, "no channel can be removed");
    epl_weight_layers_release(&layers);
    return false;
}

bool epl_channels_choose(epl_channel_plan *p, epl_graph **graph)
{
    const bool target = p->o.macs > 0 || p->o.params > 0;
    int k = count_of_ratio(p);
    *graph = NULL;
    if (p->n_chosen == 0)
        return fail_frozen(p);
    if (target && !search(p, &k))
        return false;
    *graph = without(p, k);
    if (!*graph)
        return false;
    if (!target || small_enough(p, *graph))
        return true;
    const double macs = epl_graph_cost(*graph).macs / epl_graph_cost(p->units.graph).macs;
    const double params = (double)epl_graph_n_parameters(*graph) / (double)epl_graph_n_parameters(p->units.graph);
    epl_graph_free(*graph);
    *graph = NULL;
    return epl_fail(p->m->ctx, EPL_ERR_LIMIT, "removing all that can go leaves %.3g of the multiply-adds and %.3g of the parameters; "
                    "the target is %g and %g", macs, params, p->o.macs > 0 ? p->o.macs : 1, p->o.params > 0 ? p->o.params : 1);
}

/* ---- doing it ---- */

static bool slice_into(epl_channel_plan *p, const epl_value *v, const epl_tensor *from, const char *name, epl_weights *to)
{
    epl_tensor *t = epl_units_slice(&p->units, v, from);
    return t && epl_weights_put_take(to, name, t);
}

/* What training keeps for the parameter has its shape: "train.<slot>.<name>", "ema.<name>". */
static bool slice_slots(epl_channel_plan *p, const epl_value *v, const char *name, epl_weights *to)
{
    const epl_weights *from = p->m->weights;
    const size_t length = strlen(name);
    for (int i = 0; i < epl_weights_count(from); i++) {
        const char  *slot = epl_weights_name(from, i);
        const size_t n = strlen(slot);
        if (n <= length + 1 || strcmp(slot + n - length, name) != 0 || slot[n - length - 1] != '.' ||
            (strncmp(slot, "train.", 6) != 0 && strncmp(slot, "ema.", 4) != 0))
            continue;
        const epl_tensor *t = epl_weights_at(from, i);
        if (t->dtype == EPL_U8 && epl_shape_equal(t->shape, v->shape)) // blocks run over all elements: cutting moves their borders
            return epl_fail(p->m->ctx, EPL_ERR_UNSUPPORTED, "'%s' is in 8 bits, which cannot be cut: prune the trained model rather than "
                            "the checkpoint, or train with bits=32", slot);
        if (epl_shape_equal(t->shape, v->shape) && !slice_into(p, v, t, slot, to))
            return false;
    }
    return true;
}

static epl_weights *slice_weights(epl_channel_plan *p)
{
    epl_weights *w  = epl_weights_copy(p->m->ctx, p->m->weights);
    bool         ok = w != NULL;
    for (const epl_node *n = p->units.graph->first; ok && n; n = n->next) {
        if (!EPL_IS(n, parameter) && !EPL_IS(n, state))
            continue;
        const epl_tensor *t = epl_weights_find(p->m->weights, n->attrs[0].s);
        if (!t)
            ok = epl_fail(p->m->ctx, EPL_ERR_SHAPE, "'%s' is missing in the weights", n->attrs[0].s);
        ok = ok && slice_into(p, n->outputs[0], t, n->attrs[0].s, w) && slice_slots(p, n->outputs[0], n->attrs[0].s, w);
    }
    if (ok)
        return w;
    epl_weights_free(w);
    return NULL;
}

static epl_channel_result result_of(epl_channel_plan *p, const epl_graph *after)
{
    epl_channel_result r = { .macs_before = epl_graph_cost(p->units.graph).macs, .macs_after = epl_graph_cost(after).macs,
                             .params_before = epl_graph_n_parameters(p->units.graph), .params_after = epl_graph_n_parameters(after),
                             .units = p->n_chosen };
    for (int i = 0; i < p->n; i++)
        r.removed += p->units.gone[p->list[i].root];
    for (int g = 0; g < p->n_groups; g++)
        r.groups += p->groups[g].chosen;
    return r;
}

/* The model becomes g with the weights that are left. */
static bool become(epl_model *m, epl_channel_plan *p, epl_graph *g, epl_channel_result *out)
{
    epl_weights *w = g && epl_shuffles_from_gathers(g) ? slice_weights(p) : NULL;
    if (!w) {
        epl_graph_free(g);
        return false;
    }
    if (out)
        *out = result_of(p, g);
    epl_graph *old = m->graph;
    epl_weights_free(m->weights);
    m->graph   = g;
    m->weights = w;
    epl_channels_release(p); // it speaks of the former graph
    epl_graph_free(old);
    return true;
}

bool epl_channels_finish(epl_model *m, epl_channel_plan *p, epl_channel_result *out)
{
    epl_channels_revive(p);
    return become(m, p, epl_units_shrink(&p->units), out);
}

bool epl_prune_channels(epl_model *m, epl_channel_opts o, epl_channel_result *out)
{
    epl_channel_plan p = { 0 };
    epl_graph *g = NULL;
    const bool ok = epl_channels_plan(m, o, &p) && epl_channels_choose(&p, &g) && become(m, &p, g, out);
    epl_channels_release(&p);
    return ok;
}

/* ---- the table ---- */

static void put_group(epl_table *t, const epl_channel_plan *p, const epl_channel_group *g)
{
    epl_table_row(t);
    epl_table_text(t, g->name);
    epl_table_integer(t, g->n);
    epl_table_integer(t, g->weights);
    epl_table_number(t, p->list[p->by_score[g->first]].score);
    epl_table_number(t, p->list[p->by_score[g->first + g->n - 1]].score);
    epl_table_text(t, g->chosen ? "" : "left out by the pattern");
}

static void put_frozen(epl_table *t, epl_channel_plan *p, const epl_layer *l)
{
    char label[256];
    const epl_value *w = l->weight;
    const epl_node  *n = p->units.frozen[epl_unit_of(&p->units, w, w->shape.rank - 1, 0)];
    if (!n)
        return;
    epl_table_row(t);
    epl_table_text(t, l->name);
    for (int i = 0; i < 4; i++)
        epl_table_empty(t);
    epl_table_textf(t, "held by %s", epl_node_label(n, label));
}

epl_table *epl_channel_groups(const epl_model *m, epl_channel_opts o)
{
    epl_channel_plan p = { 0 };
    epl_layers       layers = { 0 };
    epl_table       *t = NULL;
    if (epl_channels_plan(m, o, &p) && epl_weight_layers_find(p.units.graph, &layers)) {
        t = epl_table_new(m->ctx, "Channels");
        epl_table_column(t, "outputs of", (epl_column_opts){ .key = "group" });
        epl_table_column(t, "units", (epl_column_opts){ 0 });
        epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
        epl_table_column(t, "lowest score", (epl_column_opts){ .key = "lowest" });
        epl_table_column(t, "highest score", (epl_column_opts){ .key = "highest" });
        epl_table_column(t, "", (epl_column_opts){ .key = "remark" });
        for (int g = 0; g < p.n_groups; g++)
            put_group(t, &p, &p.groups[g]);
        for (int i = 0; i < layers.n; i++)
            put_frozen(t, &p, &layers.items[i]);
    }
    if (layers.ctx)
        epl_weight_layers_release(&layers);
    epl_channels_release(&p);
    return t;
}
