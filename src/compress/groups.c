/* groups: units that can be removed, where they stem from, and what they are worth. */
#include "compress/channels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- units and groups ---- */

/* What an input of a region is where its node stands. */
static const epl_value *outside(const epl_value *v)
{
    const epl_graph *region = v->graph;
    for (int i = 0; region->owner && i < epl_graph_n_inputs(region); i++) {
        const int at = epl_region_input(region->owner, i);
        if (epl_graph_input_at(region, i) == v && at >= 0 && at < region->owner->n_inputs)
            return region->owner->inputs[at];
    }
    return NULL;
}

/* The parameter that v is made of, through expressions in its place. */
static const char *parameter_behind(const epl_value *v)
{
    for (int depth = 0; v && depth < 8; depth++) {
        if (EPL_IS(v->producer, parameter))
            return v->producer->attrs[0].s;
        v = EPL_IS(v->producer, input) ? outside(v) : v->producer->n_inputs > 0 ? v->producer->inputs[0] : NULL;
    }
    return NULL;
}

static bool add_group(epl_channel_plan *p, const epl_node *n)
{
    if (!epl_grow(p->units.ctx, &p->groups, (size_t)p->n_groups, &p->cap_groups, sizeof *p->groups))
        return false;
    epl_channel_group *g = &p->groups[p->n_groups++];
    *g = (epl_channel_group){ .first = p->n };
    const bool product = EPL_IS(n, conv) || EPL_IS(n, conv_transpose) || EPL_IS(n, linear) || EPL_IS(n, matmul) || EPL_IS(n, lstm) ||
                         EPL_IS(n, gru) || EPL_IS(n, rnn);
    const char *name = product || EPL_IS(n, gather) ? parameter_behind(n->inputs[product]) : NULL;
    if (name)
        snprintf(g->name, sizeof g->name, "%s", name);
    else
        epl_node_label(n, g->name);
    return true;
}

static bool add_unit(epl_channel_plan *p, int64_t root)
{
    if (!epl_grow(p->units.ctx, &p->list, (size_t)p->n, &p->cap, sizeof *p->list))
        return false;
    p->unit_at[root] = p->n;
    p->list[p->n++]  = (epl_channel_unit){ .root = root, .group = p->n_groups - 1 };
    p->groups[p->n_groups - 1].n++;
    return true;
}

/* Free classes with a share in some parameter: -2 in unit_at until their unit is known. */
static void mark_candidates(epl_channel_plan *p)
{
    for (int64_t i = 0; i < p->units.n; i++)
        p->unit_at[i] = -1;
    for (const epl_node *n = p->units.graph->first; n; n = n->next)
        for (int a = 0; EPL_IS(n, parameter) && a < n->outputs[0]->shape.rank; a++)
            for (int64_t i = 0; i < n->outputs[0]->shape.dim[a]; i++) {
                const int64_t root = epl_unit_of(&p->units, n->outputs[0], a, i);
                if (!p->units.frozen[root])
                    p->unit_at[root] = -2;
            }
}

static bool group_axis(epl_channel_plan *p, const epl_node *n, const epl_value *v, int axis)
{
    bool opened = false;
    for (int64_t i = 0; i < v->shape.dim[axis]; i++) {
        const int64_t root = epl_unit_of(&p->units, v, axis, i);
        if (p->unit_at[root] != -2)
            continue;
        if ((!opened && !add_group(p, n)) || !add_unit(p, root))
            return false;
        opened = true;
    }
    return true;
}

/* A unit belongs to the first axis of a computed value where it shows. */
static bool find_groups(epl_channel_plan *p, const epl_graph *g)
{
    for (const epl_node *n = g->first; n; n = n->next) {
        for (int r = 0; epl_ties_look_inside(n) && r < n->n_regions; r++)
            if (!find_groups(p, n->regions[r]))
                return false;
        for (int o = 0; o < n->n_outputs && !(n->op->flags & EPL_OP_SOURCE); o++)
            for (int a = 0; a < n->outputs[o]->shape.rank; a++)
                if (!group_axis(p, n, n->outputs[o], a))
                    return false;
    }
    return true;
}

/* ---- scores ---- */

static int unit_of(epl_channel_plan *p, const epl_value *v, int axis, int64_t i)
{
    const int unit = p->unit_at[epl_unit_of(&p->units, v, axis, i)];
    return unit < 0 ? -1 : unit;
}

/* Adds f(i) of each element of the tensor to the units of its axes. */
typedef double element_fn(const epl_tensor *w, const epl_tensor *g, int64_t i);

static double size_of(const epl_tensor *w, const epl_tensor *g, int64_t i) { (void)g; return fabs(epl_tensor_get(w, i)); }
static double product_of(const epl_tensor *w, const epl_tensor *g, int64_t i) { return epl_tensor_get(w, i) * epl_tensor_get(g, i); }

static double square_of(const epl_tensor *w, const epl_tensor *g, int64_t i)
{
    (void)g;
    return epl_tensor_get(w, i) * epl_tensor_get(w, i);
}

static void add_elements(epl_channel_plan *p, const epl_value *v, const epl_tensor *w, const epl_tensor *g, element_fn *f)
{
    for (int a = 0; a < v->shape.rank; a++) {
        const int64_t step = epl_shape_count_from(v->shape, a + 1, v->shape.rank), d = v->shape.dim[a], n = epl_tensor_count(w);
        for (int64_t i = 0; i < d; i++) {
            const int unit = unit_of(p, v, a, i);
            if (unit < 0)
                continue;
            for (int64_t base = i * step; base < n; base += d * step)
                for (int64_t k = base; k < base + step; k++)
                    p->list[unit].sum += f(w, g, k);
            p->list[unit].count += (double)(n / d);
        }
    }
}

static const epl_tensor *weight_of(const epl_channel_plan *p, const epl_value *v)
{
    const epl_tensor *w = epl_weights_find(p->m->weights, epl_value_name(v));
    if (w && epl_shape_equal(w->shape, v->shape))
        return w;
    epl_fail(p->m->ctx, EPL_ERR_SHAPE, "'%s' %s", epl_value_name(v), w ? "has another shape in the weights" : "is missing in the weights");
    return NULL;
}

static bool touches_unit(epl_channel_plan *p, const epl_value *v)
{
    for (int a = 0; a < v->shape.rank; a++)
        for (int64_t i = 0; i < v->shape.dim[a]; i++)
            if (unit_of(p, v, a, i) >= 0)
                return true;
    return false;
}

/* Weights: parameters of rank 2 and more. */
static bool score_weights(epl_channel_plan *p, const char *criterion)
{
    const bool    taylor = strcmp(criterion, "taylor") == 0;
    element_fn   *f = taylor ? product_of : strcmp(criterion, "l1") == 0 ? size_of : square_of;
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) ? n->outputs[0] : NULL;
        if (!v || v->shape.rank < 2 || !epl_dtype_is_float(v->dtype) || !touches_unit(p, v))
            continue;
        const epl_tensor *w = weight_of(p, v), *g = taylor && p->o.gradients ? epl_weights_find(p->o.gradients, n->attrs[0].s) : NULL;
        if (!w)
            return false;
        if (taylor && (!g || !epl_shape_equal(g->shape, w->shape)))
            return epl_fail(p->m->ctx, EPL_ERR_ARGUMENT, "criterion 'taylor' needs a gradient for '%s'", n->attrs[0].s);
        add_elements(p, v, w, g, f);
    }
    for (int i = 0; i < p->n; i++) {
        epl_channel_unit *unit = &p->list[i];
        const double mean = unit->count > 0 ? unit->sum / unit->count : 0;
        unit->score = f == size_of ? mean : f == square_of ? sqrt(mean) : unit->sum * unit->sum;
    }
    return true;
}

/* The scales of batch norms; units without one keep the score that they have, brought to their group's scale of 1. */
static bool score_gammas(epl_channel_plan *p)
{
    for (int i = 0; i < p->n; i++)
        p->list[i].sum = p->list[i].count = 0;
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        if (!EPL_IS(n, batch_norm) || !EPL_IS(n->inputs[1]->producer, parameter))
            continue;
        const epl_tensor *w = weight_of(p, n->inputs[1]);
        if (!w)
            return false;
        add_elements(p, n->inputs[1], w, NULL, size_of);
    }
    for (int i = 0; i < p->n; i++)
        if (p->list[i].count > 0)
            p->list[i].score = p->list[i].sum / p->list[i].count;
    return true;
}

/* Filters whose weights are close to the others' can go: He et al. 2019 (arXiv:1811.00250), eq. (4). Means over the weights. */
static void add_distances(epl_channel_plan *p, const epl_value *v, const epl_tensor *w)
{
    const int64_t m = epl_channels(v), rows = epl_tensor_count(w) / m;
    for (int64_t c = 0; c < m; c++) {
        const int unit = unit_of(p, v, v->shape.rank - 1, c);
        double    sum = 0;
        for (int64_t j = 0; unit >= 0 && j < m; j++) {
            double square = 0;
            for (int64_t r = 0; r < rows; r++) {
                const double d = epl_tensor_get(w, r * m + c) - epl_tensor_get(w, r * m + j);
                square += d * d;
            }
            sum += sqrt(square);
        }
        if (unit >= 0) {
            p->list[unit].sum += sum;
            p->list[unit].count++;
        }
    }
}

static bool score_distances(epl_channel_plan *p)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) ? n->outputs[0] : NULL;
        if (!v || v->shape.rank < 2 || !epl_dtype_is_float(v->dtype) || !touches_unit(p, v))
            continue;
        const epl_tensor *w = weight_of(p, v);
        if (!w)
            return false;
        add_distances(p, v, w);
    }
    for (int i = 0; i < p->n; i++)
        p->list[i].score = p->list[i].count > 0 ? p->list[i].sum / p->list[i].count : 0;
    return true;
}

static bool score_units(epl_channel_plan *p)
{
    const char *criterion = p->o.criterion && *p->o.criterion ? p->o.criterion : "l2";
    if (strcmp(criterion, "fpgm") == 0)
        return score_distances(p);
    if (strcmp(criterion, "act-mean") == 0 || strcmp(criterion, "apoz") == 0)
        return epl_channels_score_activations(p, strcmp(criterion, "apoz") == 0);
    if (strcmp(criterion, "random") == 0) {
        epl_rng r = epl_rng_at(p->o.seed, 0x636861);
        for (int i = 0; i < p->n; i++)
            p->list[i].score = epl_rng_uniform_f64(&r);
        return true;
    }
    return score_weights(p, criterion) && (strcmp(criterion, "bn-gamma") != 0 || score_gammas(p));
}

/* ---- what the pattern takes ---- */

/* A weight whose last axis (its outputs) the group's units are part of. */
static bool group_shrinks(epl_channel_plan *p, int group, const epl_value *v)
{
    for (int64_t i = 0; i < epl_channels(v); i++) {
        const int unit = unit_of(p, v, v->shape.rank - 1, i);
        if (unit >= 0 && p->list[unit].group == group)
            return true;
    }
    return false;
}

static bool named(const epl_layers *all, const epl_layers *chosen, const char *name)
{
    for (int i = 0; i < chosen->n; i++)
        if (strcmp(chosen->items[i].name, name) == 0)
            return true;
    for (int i = 0; i < all->n; i++)
        if (strcmp(all->items[i].name, name) == 0)
            return false;
    return true; // not a weight of a layer: patterns do not speak of it
}

static bool choose_groups(epl_channel_plan *p)
{
    epl_layers all = { 0 }, chosen = { 0 };
    bool ok = epl_weight_layers_find(p->units.graph, &all) && epl_weight_layers_find(p->units.graph, &chosen) &&
              epl_weight_layers_choose(&chosen, p->o.pattern, p->o.skip);
    for (int g = 0; ok && g < p->n_groups; g++)
        p->groups[g].chosen = named(&all, &chosen, p->groups[g].name);
    for (int i = 0; ok && i < all.n; i++)
        for (int g = 0; p->o.skip && g < p->n_groups; g++)
            if (p->groups[g].chosen && !named(&all, &chosen, all.items[i].name) && epl_glob(p->o.skip, all.items[i].name) &&
                group_shrinks(p, g, all.items[i].weight))
                p->groups[g].chosen = false; // it would shrink a weight that is to stay
    epl_weight_layers_release(&all);
    epl_weight_layers_release(&chosen);
    return ok;
}

static void count_weights(epl_channel_plan *p)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) ? n->outputs[0] : NULL;
        for (int a = 0; v && a < v->shape.rank; a++)
            for (int64_t i = 0; i < v->shape.dim[a]; i++) {
                const int unit = unit_of(p, v, a, i);
                if (unit >= 0)
                    p->groups[p->list[unit].group].weights += epl_shape_count(v->shape) / v->shape.dim[a];
            }
    }
}

/* ---- orders ---- */

/* Merges runs of growing width: stable, so that ties keep the lower unit first. `order` has room for as many again. */
static void sort_units(int *order, int n, const epl_channel_unit *list, bool by_key)
{
    int *other = order + n;
    for (int width = 1; width < n; width *= 2) {
        for (int at = 0; at < n; at += 2 * width) {
            const int middle = at + width < n ? at + width : n, end = at + 2 * width < n ? at + 2 * width : n;
            for (int i = at, k = middle, o = at; o < end; o++) {
                const double x = i < middle ? (by_key ? list[order[i]].key : list[order[i]].score) : 0;
                const double y = k < end ? (by_key ? list[order[k]].key : list[order[k]].score) : 0;
                other[o] = i < middle && (k >= end || x <= y) ? order[i++] : order[k++];
            }
        }
        memcpy(order, other, (size_t)n * sizeof *order);
    }
}

/* Keys: the unit's rank in its group, as a part of the group; or its score over its group's mean. */
static bool order_units(epl_channel_plan *p)
{
    p->by_score = epl_alloc_array(p->units.ctx, 2 * (size_t)p->n + 1, sizeof *p->by_score);
    p->by_key   = epl_alloc_array(p->units.ctx, 2 * (size_t)p->n + 1, sizeof *p->by_key);
    if (!p->by_score || !p->by_key)
        return false;
    for (int g = 0; g < p->n_groups; g++) {
        epl_channel_group *group = &p->groups[g];
        double mean = 0;
        int   *order = p->by_key; // scratch
        for (int i = 0; i < group->n; i++) {
            order[i] = group->first + i;
            mean += p->list[group->first + i].score / group->n;
        }
        sort_units(order, group->n, p->list, false);
        memcpy(p->by_score + group->first, order, (size_t)group->n * sizeof *order);
        for (int i = 0; i < group->n; i++) {
            epl_channel_unit *unit = &p->list[p->by_score[group->first + i]];
            unit->key = !p->o.global ? (i + 0.5) / group->n : mean > 0 ? unit->score / mean : 0;
        }
    }
    for (int i = 0; i < p->n; i++)
        if (p->groups[p->list[i].group].chosen)
            p->by_key[p->n_chosen++] = i;
    sort_units(p->by_key, p->n_chosen, p->list, true);
    return true;
}

static bool check_options(epl_context *ctx, const epl_channel_opts *o)
{
    static const char *const criteria[] = { "l2", "l1", "bn-gamma", "fpgm", "taylor", "act-mean", "apoz", "random" };
    if (o->criterion && *o->criterion && epl_choose_word(ctx, "criterion for channels", o->criterion, criteria, EPL_COUNT(criteria)) < 0)
        return false;
    if (!(o->ratio >= 0 && o->ratio < 1) || !(o->macs >= 0 && o->macs < 1) || !(o->params >= 0 && o->params < 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "ratio %g, macs %g, params %g: each must be at least 0 and below 1", o->ratio, o->macs,
                        o->params);
    return o->round_to >= 0 && o->min_channels >= 0
        ? true : epl_fail(ctx, EPL_ERR_ARGUMENT, "multiples of %d, at least %d channels", o->round_to, o->min_channels);
}

bool epl_channels_plan(const epl_model *m, epl_channel_opts o, epl_channel_plan *out)
{
    *out = (epl_channel_plan){ .m = m, .o = o };
    out->graph = check_options(m->ctx, &o) ? epl_graph_copy(m->graph) : NULL;
    if (!out->graph || !epl_shuffles_to_gathers(out->graph) || !epl_units_find(out->graph, o.through_norms, &out->units))
        return false;
    out->unit_at = epl_alloc_array(m->ctx, (size_t)out->units.n + 1, sizeof *out->unit_at);
    if (!out->unit_at)
        return false;
    mark_candidates(out);
    if (!find_groups(out, out->graph))
        return false;
    count_weights(out);
    return score_units(out) && choose_groups(out) && order_units(out);
}

void epl_channels_release(epl_channel_plan *p)
{
    if (!p->m)
        return;
    epl_release(p->m->ctx, p->unit_at);
    epl_release(p->m->ctx, p->list);
    epl_release(p->m->ctx, p->groups);
    epl_release(p->m->ctx, p->by_score);
    epl_release(p->m->ctx, p->by_key);
    if (p->units.ctx)
        epl_units_release(&p->units);
    epl_graph_free(p->graph);
    *p = (epl_channel_plan){ 0 };
}
