/* fuse_codes: a chain that reads decoded blocks and whose results are coded again takes both into its region, so that one kernel
 * does it all block by block: an optimizer's states are then read and written as codes alone. Runs after fuse; keeps every bit. */
#include "passes/passes.h"

enum { MOST = 3 }; /* decoded values, and coded ones: a kernel's inputs and results are 3 and 2 for each (kernels/bandwidth.h) */

typedef struct coded_chain {
    epl_node *fused;
    epl_node *quantize[MOST]; /* readers of its results */
    int       n_decoded, n_coded;
    int64_t   block;
} coded_chain;

static bool is_plain_chain(const epl_node *fused)
{
    for (const epl_node *n = fused->regions[0]->first; n; n = n->next)
        if (!(n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK | EPL_OP_ELEMENTWISE)))
            return false;
    return true;
}

/* Decoded for the chain alone. */
static bool takes_in(const coded_chain *c, const epl_value *v)
{
    return EPL_IS(v->producer, dequantize_blockwise) && v->n_uses == 1 && epl_attr_i(v->producer, "block") == c->block;
}

/* The chain's coded inputs give the maps that stand before it, and the shape that everything must have. */
static bool find_decoded(coded_chain *c)
{
    epl_shape full = EPL_SCALAR;
    for (int i = 0; i < c->fused->n_inputs; i++) {
        const epl_value *v = c->fused->inputs[i];
        if (!EPL_IS(v->producer, dequantize_blockwise) || v->n_uses != 1)
            continue;
        if (c->n_decoded == 0) {
            c->block = epl_attr_i(v->producer, "block");
            full     = v->shape;
        }
        c->n_decoded += takes_in(c, v);
    }
    if (c->n_decoded == 0 || c->n_decoded > MOST || c->block == 0)
        return false;
    for (int i = 0; i < c->fused->n_inputs; i++) {
        const epl_value *v = c->fused->inputs[i];
        if (epl_shape_count(v->shape) != 1 && (v->dtype != EPL_F32 || !epl_shape_equal(v->shape, full)))
            return false;
    }
    for (int i = 0; i < c->fused->n_outputs; i++)
        if (c->fused->outputs[i]->dtype != EPL_F32 || !epl_shape_equal(c->fused->outputs[i]->shape, full))
            return false;
    return true;
}

static bool knows_map(const coded_chain *c, const epl_value *map)
{
    for (int i = 0; i < c->fused->n_inputs; i++)
        if (takes_in(c, c->fused->inputs[i]) && c->fused->inputs[i]->producer->inputs[2] == map)
            return true;
    return false;
}

static void find_coded(coded_chain *c)
{
    for (int o = 0; o < c->fused->n_outputs; o++)
        for (size_t u = 0; u < c->fused->outputs[o]->n_uses; u++) {
            epl_node *n = c->fused->outputs[o]->uses[u].node;
            if (EPL_IS(n, quantize_blockwise) && n->n_inputs == 2 && c->n_coded < MOST && epl_attr_i(n, "block") == c->block &&
                knows_map(c, n->inputs[1]))
                c->quantize[c->n_coded++] = n;
        }
}

/* ---- rewriting ---- */

typedef struct region_inputs {
    epl_graph *region;
    epl_value *outer[32];
    int        n;
} region_inputs;

/* The region's input for a value outside; NULL if there are too many. */
static epl_value *inside(region_inputs *r, epl_value *v)
{
    char name[32];
    for (int i = 0; i < r->n; i++)
        if (r->outer[i] == v)
            return epl_graph_input_at(r->region, i);
    if (r->n == 32)
        return NULL;
    snprintf(name, sizeof name, "%d", r->n);
    r->outer[r->n++] = v;
    return epl_input(r->region, name, v->dtype, v->shape, NULL);
}

static bool is_read_outside(const coded_chain *c, const epl_value *v)
{
    size_t coded = 0;
    for (int i = 0; i < c->n_coded; i++)
        coded += c->quantize[i]->inputs[0] == v;
    return v->n_uses > coded;
}

static void add_inputs(const coded_chain *c, region_inputs *r)
{
    for (int i = 0; i < c->fused->n_inputs; i++) {
        epl_value *v = c->fused->inputs[i];
        for (int k = 0; k < 3 && takes_in(c, v); k++)
            inside(r, v->producer->inputs[k]);
        if (!takes_in(c, v))
            inside(r, v);
    }
}

static bool rewrite(epl_graph *g, const coded_chain *c)
{
    region_inputs r = { .region = epl_region_new(g) };
    epl_value *in[32], *inner[16], *plain[16], *map[MOST];
    int        n_plain = 0;
    if (!r.region)
        return false;
    add_inputs(c, &r);
    for (int i = 0; i < c->fused->n_inputs; i++) {
        const epl_node *d = takes_in(c, c->fused->inputs[i]) ? c->fused->inputs[i]->producer : NULL;
        in[i] = d ? epl_dequantize_blockwise(r.region, inside(&r, d->inputs[0]), inside(&r, d->inputs[1]),
                                             inside(&r, d->inputs[2]), c->block)
                  : inside(&r, c->fused->inputs[i]);
    }
    for (int q = 0; q < c->n_coded; q++)
        map[q] = inside(&r, c->quantize[q]->inputs[1]);
    if (!epl_graph_inline(r.region, c->fused->regions[0], in, inner, ""))
        return false;
    for (int o = 0; o < c->fused->n_outputs; o++)
        if (is_read_outside(c, c->fused->outputs[o])) {
            epl_output(r.region, "", inner[o]);
            plain[n_plain++] = c->fused->outputs[o];
        }
    for (int q = 0; q < c->n_coded; q++) {
        epl_value *maxima, *codes = epl_quantize_blockwise(r.region, inner[c->quantize[q]->inputs[0]->index], map[q],
            (epl_blockwise_opts){ .block = c->block, .keep_nonzero = epl_attr_i(c->quantize[q], "keep_nonzero") }, &maxima);
        epl_output(r.region, "", codes);
        epl_output(r.region, "", maxima);
    }
    epl_node *at = epl_graph_insert_before(g, c->fused), *fused = epl_node_add(g, &epl_op_fused, r.n, r.outer, NULL, 1, &r.region);
    epl_graph_insert_before(g, at);
    if (!fused)
        return false;
    fused->scope = c->fused->scope;
    for (int i = 0; i < n_plain; i++)
        epl_replace(plain[i], fused->outputs[i]);
    for (int q = 0; q < c->n_coded; q++) {
        epl_replace(c->quantize[q]->outputs[0], fused->outputs[n_plain + 2 * q]);
        epl_replace(c->quantize[q]->outputs[1], fused->outputs[n_plain + 2 * q + 1]);
    }
    return true;
}

bool epl_fuse_codes(epl_graph *g)
{
    bool any = false;
    for (epl_node *n = g->first, *next; n; n = next) {
        coded_chain c = { .fused = n };
        next = n->next;
        if (!EPL_IS(n, fused) || !is_plain_chain(n) || !find_decoded(&c))
            continue;
        find_coded(&c);
        if (c.n_coded == 0)
            continue;
        if (!rewrite(g, &c))
            return false;
        any = true;
    }
    if (any)
        epl_remove_dead(g);
    return !epl_graph_failed(g);
}
