/* gates: what channel gates save on a data set - channels kept, layer by layer and class by class, multiply-adds
 * that are left, those of the gates themselves included - and a forecast of it from a network without gates.
 * Elkerdawy et al. 2022 (arXiv:2110.08232), sec. 3.3, but counted honestly: behind a residual addition a channel is
 * active if either side is, a depthwise convolution costs what it computes, and gates and the classifier are
 * counted. */
#include <espalier/analysis.h>
#include <espalier/morph.h>
#include <espalier/ops.h>

#include "morph/gate.h"

#include <math.h>
#include <string.h>

typedef struct layer {
    epl_node  *conv;
    int64_t    c, m, groups;
    double     macs;               /* of one sample, dense */
    int        in, out, agreement; /* columns of the counts, or -1: all */
    double     gate_macs;
} layer;

typedef struct counting {
    epl_graph     *g;
    epl_gate_site *sites;
    int            n_sites, n_layers, n_columns;
    layer         *layers;
    epl_value    **columns; /* [N, 1] each */
    bool           forecast;
    double         mass, uniform;
} counting;

/* ---- which channels are active, value by value ---- */

static epl_value *both(epl_graph *g, epl_value *a, epl_value *b, epl_value *(*join)(epl_graph *, epl_value *, epl_value *))
{
    return a && b && epl_channels(a) == epl_channels(b) ? join(g, a, b) : NULL;
}

static epl_value *concat_masks(epl_graph *g, const epl_node *n)
{
    epl_value **parts = epl_alloc_array(g->ctx, (size_t)n->n_inputs, sizeof *parts), *like = NULL, *all = NULL;
    for (int i = 0; i < n->n_inputs; i++)
        like = n->inputs[i]->mark ? n->inputs[i]->mark : like;
    for (int i = 0; parts && like && i < n->n_inputs; i++) {
        epl_value *first = epl_slice_axis(g, like, 1, 0, 1);
        parts[i] = n->inputs[i]->mark ? n->inputs[i]->mark
                 : epl_expand(g, epl_ones_like(g, first), EPL_SHAPE(EPL_KEEP, epl_channels(n->inputs[i])));
    }
    if (parts && like)
        all = epl_concat(g, n->n_inputs, parts, 1);
    epl_release(g->ctx, parts);
    return all;
}

/* The mask of what n gives, from the marks of what it reads; NULL: all channels. */
static epl_value *mask_of(epl_graph *g, const epl_node *n)
{
    if (n->n_inputs == 0 || n->n_outputs == 0)
        return NULL;
    epl_value *a = n->inputs[0] ? n->inputs[0]->mark : NULL, *b = n->n_inputs > 1 && n->inputs[1] ? n->inputs[1]->mark : NULL;
    if (epl_glob("Relu,Relu6,Identity,MaxPool,AveragePool,Dropout,DropPath,StopGradient,GlobalAveragePool,"
                 "GlobalMaxPool,Silu,HardSwish,Gelu,Tanh",
                 n->op->name))
        return a;
    if (EPL_IS(n, add))
        return both(g, a, b, epl_max);
    const int64_t axis = EPL_IS(n, concat) ? epl_attr_i(n, "axis") : 0;
    if (EPL_IS(n, concat) && (axis == -1 || axis == n->inputs[0]->shape.rank - 1))
        return concat_masks(g, n);
    return NULL;
}

static int add_column(counting *k, epl_value *mask)
{
    if (!mask)
        return -1;
    k->columns[k->n_columns] = epl_reduce_sum(k->g, mask, (epl_reduce_opts){ EPL_AXES(1), .keep = true });
    return k->n_columns++;
}

static const epl_gate_site *site_of(const counting *k, const epl_node *conv)
{
    for (int i = 0; i < k->n_sites; i++)
        if (k->sites[i].conv == conv)
            return &k->sites[i];
    return NULL;
}

static void count_layer(counting *k, epl_node *n)
{
    const epl_gate_site *s = site_of(k, n);
    epl_value *in = n->inputs[0]->mark, *out = s ? s->mask : NULL;
    layer                l = { .conv = n,
                               .c = epl_channels(n->inputs[0]),
                               .m = epl_channels(n->outputs[0]),
                               .groups = epl_attr_i(n, "group"),
                               .in = -1,
                               .out = -1,
                               .agreement = -1,
                               .macs = epl_node_cost(n).macs / (double)epl_dim(n->outputs[0], 0) };
    if (l.groups == l.c && l.c == l.m) // depthwise: what is wanted of either side
        l.out = add_column(k, both(k->g, in, out, epl_max));
    else if (l.groups == 1) {
        l.in  = add_column(k, in);
        l.out = add_column(k, out);
    } else
        l.out = add_column(k, out);
    if (s && !k->forecast && (k->mass != 0 || k->uniform > 0)) {
        epl_value *same = epl_cast(k->g, epl_equal(k->g, s->mask, epl_gate_labels(k->g, s->end, k->mass, k->uniform)), EPL_F32);
        l.agreement = add_column(k, same);
    }
    const int64_t seen = s && s->logits ? epl_dim(s->logits->producer->inputs[1], 0) : l.c;
    l.gate_macs = s ? (double)(seen * l.m) : 0;
    k->layers[k->n_layers++] = l;
}

/* Adds what has to be counted behind the network's own nodes. */
static bool put_counts(counting *k)
{
    epl_node *last = k->g->last;
    for (epl_node *n = k->g->first; n; n = n->next)
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->mark = NULL;
    for (int i = 0; k->forecast && i < k->n_sites; i++) {
        k->sites[i].mask = epl_gate_labels(k->g, k->sites[i].end, k->mass, k->uniform);
        if (k->sites[i].mask && EPL_IS(k->sites[i].conv, conv))
            k->sites[i].gated = k->sites[i].end;
    }
    for (epl_node *n = k->g->first; n; n = n == last ? NULL : n->next) {
        if (EPL_IS(n, conv))
            count_layer(k, n);
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->mark = mask_of(k->g, n);
        for (int i = 0; i < k->n_sites; i++)
            if (n->n_outputs > 0 && k->sites[i].gated == n->outputs[0])
                n->outputs[0]->mark = k->sites[i].mask;
    }
    return !epl_graph_failed(k->g);
}

/* ---- the counts of a data set ---- */

static epl_tensor *run_counts(const epl_model *m, counting *k, epl_dataset *d, epl_features_opts o)
{
    if (k->n_columns == 0) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no gates to count", epl_graph_name(m->graph));
        return NULL;
    }
    epl_output(k->g, "gate counts", epl_concat(k->g, k->n_columns, k->columns, 1));
    const epl_model counted = { m->ctx, k->g, m->weights };
    o.layer   = "gate counts";
    o.average = false;
    return epl_features(&counted, d, o);
}

static double at(const epl_tensor *t, int64_t row, int column, double all)
{
    return column < 0 ? all : ((const float *)t->data)[row * t->shape.dim[1] + column];
}

static bool sum_layer(const layer *l, const epl_tensor *counts, int n_classes, const int64_t *classes, epl_gates_report *r,
                      epl_gate_layer *out)
{
    const int64_t n = counts->shape.dim[0];
    double *kept = epl_arena_alloc(r->arena, (size_t)(n + 1) * sizeof *kept);
    out->by_class = epl_arena_alloc(r->arena, (size_t)(n_classes + 1) * sizeof *out->by_class);
    double *of_class = epl_arena_alloc(r->arena, (size_t)(n_classes + 1) * sizeof *of_class);
    if (!kept || !out->by_class || !of_class)
        return false;
    for (int64_t i = 0; i < n; i++) {
        const double in = at(counts, i, l->in, (double)l->c) / (double)l->c, share = at(counts, i, l->out, (double)l->m) / (double)l->m;
        kept[i] = share;
        out->kept += share / (double)n;
        out->executed += l->macs * in * share / (double)n;
        out->agreement += l->agreement < 0 ? 0 : at(counts, i, l->agreement, 0) / (double)l->m / (double)n;
        if (n_classes) {
            out->by_class[classes[i]] += share;
            of_class[classes[i]]++;
        }
    }
    for (int c = 0; c < n_classes; c++)
        out->by_class[c] = of_class[c] > 0 ? out->by_class[c] / of_class[c] : NAN;
    epl_sort(kept, n);
    out->least10 = kept[n / 10];
    out->most10  = kept[n - 1 - n / 10];
    return true;
}

static int64_t *classes_of(epl_context *ctx, epl_dataset *d)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    int64_t *y = epl_alloc_array(ctx, (size_t)info.count + 1, sizeof *y);
    for (int64_t i = 0; y && i < info.count; i++)
        if (!epl_dataset_fetch(d, i, NULL, &y[i])) {
            epl_release(ctx, y);
            return NULL;
        }
    return y;
}

static bool fill_report(const epl_model *m, const counting *k, const epl_tensor *counts, epl_dataset *d, epl_gates_report *out)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    const int n_classes = info.y_shape.rank == 0 && info.y_dtype == EPL_I64 ? info.n_classes : 0;
    int64_t  *classes = n_classes ? classes_of(m->ctx, d) : NULL;
    int       n_gates = 0;
    bool      ok = !n_classes || classes;
    out->n_classes = n_classes;
    out->layers    = epl_arena_alloc(out->arena, (size_t)(k->n_layers + 1) * sizeof *out->layers);
    ok = ok && out->layers;
    for (int i = 0; ok && i < k->n_layers; i++) {
        const layer    *l = &k->layers[i];
        epl_gate_layer *o = &out->layers[out->n++];
        *o = (epl_gate_layer){ .name = epl_arena_strdup(out->arena, epl_value_name(l->conv->inputs[1])), .in = l->c, .out = l->m, .macs = l->macs,
                               .gate_macs = l->gate_macs, .gated = site_of(k, l->conv) != NULL };
        ok = o->name && sum_layer(l, counts, n_classes, classes, out, o);
        out->executed += o->executed;
        out->gate_macs += o->gate_macs;
        out->saved += o->macs - o->executed;
        if (l->agreement >= 0) {
            out->agreement += o->agreement;
            n_gates++;
        }
    }
    out->agreement = n_gates ? out->agreement / n_gates : NAN;
    epl_release(m->ctx, classes);
    return ok;
}

bool epl_gates_measure(const epl_model *m, epl_dataset *d, epl_gates_opts o, epl_gates_report *out)
{
    *out = (epl_gates_report){ .arena = epl_arena_new(m->ctx) };
    if (o.forecast && !(o.mass > 0 && o.mass <= 1) && !(o.uniform > 0)) {
        epl_gates_report_release(out);
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                        "gates: a forecast with the mass %g, but a share above 0 and at most 1 is needed", o.mass);
    }
    epl_graph   *copy = epl_graph_copy(m->graph);
    const size_t most = copy ? (size_t)copy->n_nodes + 1 : 1;
    counting     k = { .g = copy, .forecast = o.forecast, .mass = o.mass, .uniform = o.uniform };
    int          wanted;
    k.sites   = out->arena ? epl_arena_alloc(out->arena, most * sizeof *k.sites) : NULL;
    k.layers  = out->arena ? epl_arena_alloc(out->arena, most * sizeof *k.layers) : NULL;
    k.columns = out->arena ? epl_arena_alloc(out->arena, 3 * most * sizeof *k.columns) : NULL;
    bool ok = copy && k.sites && k.layers && k.columns;
    if (ok) {
        const double batch = (double)epl_dim(epl_graph_input_at(m->graph, 0), 0);
        k.n_sites = o.forecast ? epl_gate_places(copy, o.layers, o.after_add, k.sites, &wanted) : epl_gate_find(copy, k.sites);
        const double macs = epl_graph_cost(m->graph).macs / batch;
        epl_tensor *counts = put_counts(&k) ? run_counts(m, &k, d, o.run) : NULL;
        ok = counts && fill_report(m, &k, counts, d, out);
        out->macs = macs - (o.forecast ? 0 : out->gate_macs);
        out->executed = out->macs - out->saved + out->gate_macs;
        epl_tensor_free(counts);
    }
    epl_graph_free(copy);
    if (!ok)
        epl_gates_report_release(out);
    return ok;
}

void epl_gates_report_release(epl_gates_report *r)
{
    epl_arena_free(r->arena);
    *r = (epl_gates_report){ 0 };
}
