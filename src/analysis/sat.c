/* sat: the cycles of a training step on an accelerator for N:M sparse training, after the architecture of Fang et
 * al. 2023 (arXiv:2309.13015): a systolic array of elements that multiply n of m operands, lanes that sort groups, a
 * vector engine for the update. The model is ours: each product takes the longer of its computation and its memory
 * traffic, layers follow each other, and nothing overlaps. It leaves out tiling, on-chip buffers, and everything but
 * convolutions and linear layers. */
#include <espalier/analysis.h>

#include "compress/compress.h"

#include <math.h>
#include <string.h>

enum { VALUE_BYTES = 2 }; /* f16 */

/* One layer as matrix products. */
typedef struct shape {
    double  pixels, inputs, outputs; /* output positions; elements of input and output; all of the batch */
    double  weights;
    int64_t in, out, groups;         /* channels times kernel that a group adds up, channels that it gives, groups */
    int64_t kernel;
} shape;

static shape shape_of(const epl_node *n, int64_t batch)
{
    const epl_shape x = n->inputs[0]->shape, w = n->inputs[1]->shape, y = n->outputs[0]->shape;
    const bool upright = !EPL_IS(n, linear) || !epl_attr_i(n, "trans_w");
    const double scale = (double)batch / (double)(x.rank > 1 && x.dim[0] > 0 ? x.dim[0] : 1);
    shape s = { .groups = EPL_IS(n, conv) ? epl_attr_i(n, "group") : 1, .kernel = epl_shape_count_from(w, 0, w.rank - 2) };
    s.in      = w.dim[w.rank - (upright ? 2 : 1)];
    s.out     = w.dim[w.rank - (upright ? 1 : 2)] / s.groups;
    s.inputs  = scale * (double)epl_shape_count(x);
    s.outputs = scale * (double)epl_shape_count(y);
    s.pixels  = s.outputs / (double)y.dim[y.rank - 1];
    s.weights = (double)epl_shape_count(w);
    return s;
}

/* ---- the machine ---- */

static epl_sat_opts with_defaults(epl_sat_opts o)
{
    o.batch    = o.batch ? o.batch : 64;
    o.rows     = o.rows ? o.rows : 32;
    o.columns  = o.columns ? o.columns : 32;
    o.pipeline = o.pipeline ? o.pipeline : 8;
    o.lanes    = o.lanes ? o.lanes : 32;
    o.bytes_per_cycle = o.bytes_per_cycle > 0 ? o.bytes_per_cycle : 64;
    o.skip     = o.skip ? o.skip : "first,last";
    return o;
}

static double index_bits(const epl_sat_opts *o) { return ceil(log2(o->m)); }

/* [P, K] x [K, Q] for each group, of which `density` of the K operands count; a density below 1 is that of the
 * weights' bytes, too. */
static double product(const epl_sat_opts *o, const shape *s, double p, double q, double k, double density)
{
    const double stall = density < 1 && o->no_interleave ? o->pipeline : 1;
    const double weights = s->weights * (density < 1 ? density * (VALUE_BYTES + index_bits(o) / 8) : VALUE_BYTES);
    const double bytes = VALUE_BYTES * (s->inputs + s->outputs) + weights;
    const double steps = (double)s->groups * ceil(p / o->rows) * ceil(q / o->columns) * ceil(k * density) * stall;
    return fmax(steps + o->rows + o->columns - 2 + o->pipeline, ceil(bytes / o->bytes_per_cycle));
}

typedef struct densities {
    double ff, bp;
    int    masks;
    bool   gradient; /* the output's gradient is sorted */
} densities;

static densities densities_of(const epl_sat_opts *o)
{
    const double d = (double)o->n / o->m;
    switch (o->mode) {
    case EPL_NM_BDWP:  return (densities){ d, d, 2, false };
    case EPL_NM_SRSTE: return (densities){ d, 1, 1, false };
    case EPL_NM_SDGP:  return (densities){ 1, d, 0, true };
    default:           return (densities){ 1, d, 1, false };
    }
}

static void fill(const epl_sat_opts *o, const shape *s, densities d, bool first, bool last, double cycles[EPL_SAT_PHASES])
{
    const double k = (double)s->kernel;
    cycles[EPL_SAT_FF] = product(o, s, s->pixels, (double)s->out, (double)s->in * k, d.ff);
    cycles[EPL_SAT_BP] = first ? 0 : product(o, s, s->pixels, (double)s->in, (double)s->out * k, d.bp);
    cycles[EPL_SAT_WU] = product(o, s, (double)s->in * k, (double)s->out, s->pixels, 1);
    cycles[EPL_SAT_UPDATE] = ceil(fmax(s->weights / o->lanes, 20 * s->weights / o->bytes_per_cycle));
    cycles[EPL_SAT_ELEMENTWISE] = last ? 0 : ceil(12 * s->outputs / o->bytes_per_cycle);
    cycles[EPL_SAT_PRUNING] = d.gradient ? s->outputs / o->lanes : o->no_pregen ? d.masks * s->weights / o->lanes : 0;
}

/* ---- the network ---- */

static bool is_chosen(const epl_layers *chosen, const epl_layer *l, const epl_sat_opts *o)
{
    for (int i = 0; i < chosen->n; i++)
        if (chosen->items[i].weight == l->weight)
            return o->m > o->n && epl_dim(l->read, -2) >= o->m && epl_dim(l->read, -1) >= o->m;
    return false;
}

static bool is_product(const epl_use *u) { return u->input == 1 && (EPL_IS(u->node, conv) || EPL_IS(u->node, linear)); }

static bool add_layer(epl_context *ctx, const epl_sat_opts *o, const epl_layers *all, const epl_layers *chosen, int at, size_t *room,
                      epl_sat_result *out)
{
    const epl_layer *l = &all->items[at];
    for (size_t i = 0; i < l->read->n_uses; i++) {
        if (!is_product(&l->read->uses[i]))
            continue;
        if (!epl_grow(ctx, &out->layers, (size_t)out->n, room, sizeof *out->layers))
            return false;
        const shape s = shape_of(l->read->uses[i].node, o->batch);
        const bool  sparse = is_chosen(chosen, l, o), first = at == 0, last = at == all->n - 1;
        const densities none = { 1, 1, 0, false }, d = sparse ? densities_of(o) : none;
        epl_sat_layer *to = &out->layers[out->n++];
        *to = (epl_sat_layer){ .name = epl_strdup(ctx, l->name), .sparse = sparse };
        if (!to->name)
            return false;
        fill(o, &s, d, first, last, to->cycles);
        fill(o, &s, none, first, last, to->dense_cycles);
        const double macs = s.pixels * (double)(s.in * s.out * s.groups * s.kernel);
        to->macs = macs * (d.ff + (first ? 0 : d.bp) + 1);
        to->dense_macs = macs * (first ? 2 : 3);
        for (int k = 0; k < EPL_SAT_PHASES; k++) {
            out->cycles += to->cycles[k];
            out->dense_cycles += to->dense_cycles[k];
        }
    }
    return true;
}

static bool check(epl_context *ctx, const epl_sat_opts *o)
{
    if (o->n < 1 || o->m < o->n || o->m > 1024)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%d of %d weights cannot be kept: at least 1, at most all of at most 1024", o->n, o->m);
    if (o->batch < 0 || o->rows < 0 || o->columns < 0 || o->pipeline < 0 || o->lanes < 0 || o->bytes_per_cycle < 0)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "batch %lld, array %dx%d, pipeline %d, %d lanes, %g bytes a cycle: all have to be above 0",
                        (long long)o->batch, o->rows, o->columns, o->pipeline, o->lanes, o->bytes_per_cycle);
    return true;
}

bool epl_sat_simulate(epl_graph *g, epl_sat_opts o, epl_sat_result *out)
{
    epl_context *ctx = epl_graph_context(g);
    epl_layers   all = { 0 }, chosen = { 0 };
    size_t       room = 0;
    *out = (epl_sat_result){ 0 };
    bool ok = check(ctx, &o) && epl_weight_layers_find(g, &all) && epl_weight_layers_find(g, &chosen);
    o  = with_defaults(o);
    ok = ok && epl_weight_layers_choose(&chosen, NULL, o.skip);
    for (int i = 0; ok && i < all.n; i++)
        ok = add_layer(ctx, &o, &all, &chosen, i, &room, out);
    if (ok && out->n == 0)
        ok = epl_fail(ctx, EPL_ERR_ARGUMENT, "network '%s' has no convolution and no linear layer", epl_graph_name(g));
    epl_weight_layers_release(&all);
    epl_weight_layers_release(&chosen);
    if (!ok)
        epl_sat_release(ctx, out);
    return ok;
}

void epl_sat_release(epl_context *ctx, epl_sat_result *r)
{
    for (int i = 0; i < r->n; i++)
        epl_release(ctx, r->layers[i].name);
    epl_release(ctx, r->layers);
    *r = (epl_sat_result){ 0 };
}

/* ---- the table ---- */

static double sum_of(const double *cycles)
{
    double sum = 0;
    for (int k = 0; k < EPL_SAT_PHASES; k++)
        sum += cycles[k];
    return sum;
}

static void add_row(epl_table *t, const char *name, const char *kind, const double *cycles, double dense, double macs, double elements)
{
    const double all = sum_of(cycles), products = cycles[EPL_SAT_FF] + cycles[EPL_SAT_BP] + cycles[EPL_SAT_WU];
    epl_table_row(t);
    epl_table_text(t, name);
    epl_table_text(t, kind);
    for (int k = 0; k < EPL_SAT_PHASES; k++)
        epl_table_number(t, cycles[k]);
    epl_table_number(t, all);
    epl_table_number(t, dense);
    epl_table_number(t, dense / all);
    epl_table_number(t, macs / products / elements);
}

epl_table *epl_sat_report(epl_context *ctx, const epl_sat_result *r, epl_sat_opts o)
{
    static const char *const phases[] = { "FF", "BP", "WU", "update", "element-wise", "pruning", "cycles", "dense" };
    o = with_defaults(o);
    const double elements = (double)o.rows * o.columns;
    double       sums[EPL_SAT_PHASES] = { 0 }, macs = 0;
    epl_table   *t = epl_table_new(ctx, NULL);
    epl_table_column(t, "layer", (epl_column_opts){ 0 });
    epl_table_column(t, "weights", (epl_column_opts){ 0 });
    for (size_t i = 0; i < EPL_COUNT(phases); i++)
        epl_table_column(t, phases[i], (epl_column_opts){ 0 });
    epl_table_column(t, "speed-up", (epl_column_opts){ .format = EPL_FORMAT_FIXED, .decimals = 3 });
    epl_table_column(t, "utilization", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    for (int i = 0; i < r->n; i++) {
        const epl_sat_layer *l = &r->layers[i];
        add_row(t, l->name, l->sparse ? "sparse" : "dense", l->cycles, sum_of(l->dense_cycles), l->macs, elements);
        for (int k = 0; k < EPL_SAT_PHASES; k++)
            sums[k] += l->cycles[k];
        macs += l->macs;
    }
    add_row(t, "all", "", sums, r->dense_cycles, macs, elements);
    return t;
}
