/* choices: IfEach, a choice for every sample, carried out. Of one sample it is an If. Of more, `mask` computes both
 * regions for all and selects: that has a gradient. `split` gathers the samples of each region, runs it on a few at
 * a time, as often as there are such samples, and puts the results back: what is not taken is not computed.
 * Splitting is exact within the rounding of kernels that depend on the number of samples; masking likewise. */
#include "passes/passes.h"

#include "ops/region.h"

enum { CHUNK = 8 };

static void become(epl_node *n, epl_value **results)
{
    for (int i = 0; i < n->n_outputs; i++)
        epl_replace(n->outputs[i], results[i]);
    epl_node_remove(n);
}

/* The copies of a region's nodes keep their scopes; parameters that it declares may stand behind this place. */
static bool mask(epl_node *n, epl_value **out) { return n->op->expand(n->graph, n, out); }

/* ---- one sample ---- */

static bool one(epl_node *n, epl_value **out)
{
    epl_graph *g = n->graph, *regions[2];
    epl_value *cond = epl_reshape(g, n->inputs[0], EPL_SCALAR);
    for (int r = 0; r < 2; r++)
        regions[r] = epl_region_copy(g, n->regions[r]);
    const epl_node *choice = epl_if(g, cond, regions[0], regions[1], n->n_inputs - 1, n->inputs + 1, out);
    if (choice)
        ((epl_node *)(uintptr_t)choice)->scope = n->scope;
    return choice != NULL;
}

/* ---- split ---- */

typedef struct split {
    epl_graph *g;
    epl_node  *n;
    int64_t    samples, chunk, trips; /* trips * chunk >= samples */
    int        n_batched;
    epl_value *row[2];                /* of each sample: where its result lies if region r makes it */
    epl_value **results[2];
} split;

static bool computes(const epl_graph *region)
{
    return epl_graph_cost(region).macs > 0;
}

/* Number among those that take the region. */
static epl_value *rank_of(epl_graph *g, epl_value *taken)
{
    return epl_sub(g, epl_cumsum(g, epl_cast(g, taken, EPL_I64), 0, (epl_cumsum_opts){ 0 }), epl_scalar(g, EPL_I64, 1));
}

/* Iteration i: samples number i * chunk and on; the last chunk repeats the last sample. */
static epl_graph *chunk_body(split *s, int r, int n_captures, epl_value *const *captures)
{
    epl_graph  *body = epl_region_new(s->g);
    epl_value **in = epl_alloc_array(s->g->ctx, (size_t)n_captures + 1, sizeof *in), **out = s->results[r];
    epl_value  *i = epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL);
    for (int k = 0; in && k < n_captures; k++)
        in[k] = epl_input(body, "capture", epl_dtype_of(captures[k]), epl_shape_of(captures[k]), NULL);
    if (!in || epl_graph_failed(s->g)) {
        epl_release(s->g->ctx, in);
        return NULL;
    }
    epl_value *first = epl_mul(body, i, epl_scalar(body, EPL_I64, (double)s->chunk)), *count = in[0], *order = in[1];
    epl_value *number = epl_add(body, first, epl_range(body, EPL_I64, 0, (double)s->chunk, 1));
    epl_value *rows   = epl_gather(body, order, epl_min(body, number, epl_sub(body, count, epl_scalar(body, EPL_I64, 1))), 0);
    for (int k = 0; k < s->n_batched; k++)
        in[2 + k] = epl_gather(body, in[2 + k], rows, 0);
    epl_graph *region = epl_region_copy(s->g, s->n->regions[r]);
    bool ok = region && epl_region_resize(region, n_captures - 2, in + 2) && epl_graph_inline(body, region, in + 2, out, NULL);
    ok = ok && epl_output(body, "go", epl_less(body, epl_add(body, first, epl_scalar(body, EPL_I64, (double)s->chunk)), count));
    for (int k = 0; ok && k < s->n->n_outputs; k++)
        ok = epl_output(body, "scan", out[k]) != NULL;
    epl_release(s->g->ctx, in);
    return ok ? body : NULL;
}

/* Region r on its samples: results[r] are rows in the order of those samples, [trips * chunk, ...]. */
static bool run_chunks(split *s, int r, epl_value *taken)
{
    epl_graph  *g = s->g;
    const int   n_captures = s->n->n_inputs + 1;
    epl_value **captures = epl_alloc_array(g->ctx, (size_t)n_captures, sizeof *captures);
    epl_value **out = epl_alloc_array(g->ctx, (size_t)s->n->n_outputs + 1, sizeof *out);
    epl_value  *count = epl_reduce_sum(g, epl_cast(g, taken, EPL_I64), (epl_reduce_opts){ 0 });
    if (captures && out) {
        captures[0] = count;
        captures[1] = epl_reshape(g, epl_first_non_zero(g, taken, s->samples), EPL_SHAPE(s->samples));
        for (int i = 1; i < s->n->n_inputs; i++)
            captures[1 + i] = s->n->inputs[i];
    }
    epl_graph *body = captures && out && !epl_graph_failed(g) ? chunk_body(s, r, n_captures, captures) : NULL;
    epl_value *cond = body ? epl_less(g, epl_scalar(g, EPL_I64, 0), count) : NULL;
    bool ok = body && epl_loop(g, s->trips, cond, 0, NULL, body, n_captures, captures, out);
    for (int k = 0; ok && k < s->n->n_outputs; k++) {
        epl_shape rows = epl_shape_of(s->n->outputs[k]);
        rows.dim[0] = s->trips * s->chunk;
        s->results[r][k] = epl_reshape(g, out[k], rows);
        ok = s->results[r][k] != NULL;
    }
    s->row[r] = rank_of(g, taken);
    epl_release(g->ctx, captures);
    epl_release(g->ctx, out);
    return ok;
}

/* A region without products costs less than choosing its samples. */
static bool run_all(split *s, int r)
{
    s->row[r] = epl_range(s->g, EPL_I64, 0, (double)s->samples, 1);
    return epl_graph_inline(s->g, s->n->regions[r], s->n->inputs + 1, s->results[r], NULL);
}

static bool split_region(split *s, int r)
{
    epl_value *taken = r ? epl_not(s->g, s->n->inputs[0]) : s->n->inputs[0];
    return computes(s->n->regions[r]) ? run_chunks(s, r, taken) : run_all(s, r);
}

static bool put_back(split *s, epl_value **out)
{
    epl_graph *g = s->g;
    for (int k = 0; k < s->n->n_outputs; k++) {
        const double behind = (double)epl_dim(s->results[0][k], 0);
        epl_value *parts[] = { s->results[0][k], s->results[1][k] };
        epl_value *row = epl_where(g, s->n->inputs[0], s->row[0], epl_add(g, s->row[1], epl_scalar(g, EPL_I64, behind)));
        out[k] = epl_gather(g, epl_concat(g, 2, parts, 0), row, 0);
    }
    return !epl_graph_failed(g);
}

static bool split_node(epl_node *n, int chunk, epl_value **out)
{
    split s = { .g = n->graph, .n = n, .samples = n->inputs[0]->shape.dim[0], .n_batched = n->n_inputs - 1 - (int)epl_attr_i(n, "shared") };
    s.chunk = chunk ? chunk : CHUNK;
    s.chunk = s.chunk < s.samples ? s.chunk : s.samples;
    s.trips = (s.samples + s.chunk - 1) / s.chunk;
    for (int r = 0; r < 2; r++)
        s.results[r] = epl_alloc_array(s.g->ctx, (size_t)n->n_outputs + 1, sizeof **s.results);
    const bool ok = s.results[0] && s.results[1] && split_region(&s, 0) && split_region(&s, 1) && put_back(&s, out);
    epl_release(s.g->ctx, s.results[0]);
    epl_release(s.g->ctx, s.results[1]);
    return ok;
}

/* ---- the walk ---- */

typedef enum manner { MASK, SPLIT } manner;

static bool lower(epl_graph *g, manner how, int chunk)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        epl_node *before = n->prev;
        next = n->next;
        if (EPL_IS(n, if_each)) {
            const int64_t samples = n->inputs[0]->shape.dim[0];
            epl_value   **out = epl_alloc_array(g->ctx, (size_t)n->n_outputs + 1, sizeof *out);
            epl_node     *former = epl_graph_insert_before(g, n);
            const bool    ok = out && (how == MASK || samples == 0 ? mask(n, out) : samples == 1 ? one(n, out) : split_node(n, chunk, out));
            epl_graph_insert_before(g, former);
            if (ok)
                become(n, out);
            epl_release(g->ctx, out);
            if (!ok)
                return false;
            next = before ? before->next : g->first; // regions may hold more
            continue;
        }
        for (int r = 0; r < n->n_regions; r++)
            if (!lower(n->regions[r], how, chunk))
                return false;
    }
    return !epl_graph_failed(g);
}

bool epl_mask_choices(epl_graph *g) { return lower(g, MASK, 0); }
bool epl_split_choices(epl_graph *g, int chunk) { return lower(g, SPLIT, chunk); }
