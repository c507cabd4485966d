/* design: how a network spends its layers, held against the principles of SimpleNet (Hasanpour et al. 2016,
 * arXiv:1608.06037). Remarks, no score: a network may break a principle for a good reason. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <espalier/analysis.h>

#include "graph/op.h"

/* A layer with weights, in the order of execution; a group is what works at one resolution. */
typedef struct layer {
    const char *name;
    int64_t     side, width, parameters;
    double      macs;
    bool        pointwise, conv;
} layer;

typedef struct survey {
    epl_context *ctx;
    layer       *layers;
    size_t       n, room;
    int64_t      input_side;
    double       macs, parameters;
} survey;

static bool add_layer(survey *s, const epl_node *n)
{
    const bool conv = EPL_IS(n, conv) || EPL_IS(n, conv_transpose);
    const epl_value *y = n->outputs[0];
    if ((!conv && !EPL_IS(n, linear)) || !epl_value_name(n->inputs[1]))
        return true;
    if (!epl_grow(s->ctx, &s->layers, s->n, &s->room, sizeof *s->layers))
        return false;
    const epl_shape w = n->inputs[1]->shape;
    const epl_value *bias = epl_node_input(n, 2);
    const layer l = { .name = epl_value_name(n->inputs[1]), .conv = conv, .side = y->shape.rank > 2 ? y->shape.dim[1] : 1,
                      .width = y->shape.dim[y->shape.rank - 1], .macs = epl_node_cost(n).macs,
                      .parameters = epl_shape_count(w) + (bias ? epl_shape_count(bias->shape) : 0),
                      .pointwise = conv && epl_shape_count_from(w, 0, w.rank - 2) == 1 };
    s->layers[s->n++] = l;
    s->macs += l.macs;
    s->parameters += (double)l.parameters;
    return true;
}

/* ---- the table ---- */

static size_t group_end(const survey *s, size_t from)
{
    size_t i = from;
    while (i < s->n && s->layers[i].side == s->layers[from].side)
        i++;
    return i;
}

static void add_group(const survey *s, epl_table *t, size_t from, size_t end)
{
    double   parameters = 0, macs = 0;
    int64_t  narrow = s->layers[from].width, wide = narrow;
    for (size_t i = from; i < end; i++) {
        const layer *l = &s->layers[i];
        parameters += (double)l->parameters;
        macs += l->macs;
        narrow = l->width < narrow ? l->width : narrow;
        wide   = l->width > wide ? l->width : wide;
    }
    epl_table_row(t);
    epl_table_integer(t, s->layers[from].side);
    epl_table_integer(t, (int64_t)(end - from));
    if (narrow == wide)
        epl_table_textf(t, "%lld", (long long)wide);
    else
        epl_table_textf(t, "%lld to %lld", (long long)narrow, (long long)wide);
    epl_table_number(t, parameters / s->parameters);
    epl_table_number(t, macs / s->macs);
    epl_table_text(t, s->layers[from].name);
}

static epl_table *groups_table(const survey *s)
{
    epl_table *t = epl_table_new(s->ctx, NULL);
    epl_table_column(t, "side", (epl_column_opts){ 0 });
    epl_table_column(t, "layers", (epl_column_opts){ 0 });
    epl_table_column(t, "widths", (epl_column_opts){ 0 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "MACs", (epl_column_opts){ .key = "macs", .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "first weight", (epl_column_opts){ .key = "first" });
    for (size_t from = 0, end; from < s->n; from = end) {
        end = group_end(s, from);
        add_group(s, t, from, end);
    }
    return t;
}

/* ---- the remarks ---- */

/* Balanced distribution: no group holds most of the parameters. */
static void remark_balance(const survey *s, epl_text *out)
{
    for (size_t from = 0, end; from < s->n; from = end) {
        double parameters = 0;
        end = group_end(s, from);
        for (size_t i = from; i < end; i++)
            parameters += (double)s->layers[i].parameters;
        if (parameters > 0.5 * s->parameters && end - from < s->n)
            epl_text_addf(out, "balance: the %zu layers of side %lld, from '%s', hold %.0f %% of the parameters\n", end - from,
                          (long long)s->layers[from].side, s->layers[from].name, 100 * parameters / s->parameters);
    }
}

/* Gradual expansion: widths grow little by little. */
static void remark_widths(const survey *s, epl_text *out)
{
    for (size_t i = 1; i < s->n; i++)
        if (s->layers[i].conv && s->layers[i].width > 4 * s->layers[i - 1].width)
            epl_text_addf(out, "expansion: '%s' widens from %lld to %lld channels at once\n", s->layers[i].name,
                          (long long)s->layers[i - 1].width, (long long)s->layers[i].width);
}

/* Local correlation preservation: no 1x1 kernels where neighbours still have to be seen together. */
static void remark_pointwise(const survey *s, epl_text *out)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->layers[i].pointwise) {
            if (2 * i < s->n && 4 * s->layers[i].side >= s->input_side)
                epl_text_addf(out, "locality: '%s', layer %zu of %zu, has a 1x1 kernel already, at side %lld\n",
                              s->layers[i].name, i + 1, s->n, (long long)s->layers[i].side);
            return;
        }
}

/* Maximum information utilisation: the map does not shrink quickly. */
static void remark_resolution(const survey *s, epl_text *out)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->layers[i].conv && 4 * s->layers[i].side <= s->input_side) {
            if (4 * i < s->n)
                epl_text_addf(out, "resolution: side %lld of %lld is reached by layer %zu of %zu, '%s'\n", (long long)s->layers[i].side,
                              (long long)s->input_side, i + 1, s->n, s->layers[i].name);
            return;
        }
}

epl_table *epl_design_report(const epl_graph *g, epl_text *remarks)
{
    survey s = { .ctx = epl_graph_context(g) };
    const epl_shape in = epl_graph_n_inputs(g) ? epl_shape_of(epl_graph_input_at(g, 0)) : EPL_SCALAR;
    bool   ok = true;
    s.input_side = in.rank > 2 ? in.dim[1] : 1;
    for (const epl_node *n = g->first; ok && n; n = n->next)
        ok = add_layer(&s, n);
    if (ok && s.n == 0)
        ok = epl_fail(s.ctx, EPL_ERR_ARGUMENT, "network '%s' has no convolution and no linear layer", epl_graph_name(g));
    epl_table *t = ok ? groups_table(&s) : NULL;
    if (ok) {
        remark_balance(&s, remarks);
        remark_widths(&s, remarks);
        remark_pointwise(&s, remarks);
        remark_resolution(&s, remarks);
    }
    epl_release(s.ctx, s.layers);
    return t;
}
