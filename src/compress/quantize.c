/* quantize: integers of 8 bits before the layers whose weights are packed codes, so that their sums are exact and of
 * shifted integers. One factor for each value, the largest magnitude on samples over 127 (Krishnamoorthi 2018,
 * arXiv:1806.08342, sec. 2.2). Layers inside of regions stay as they are. */
#include "compress/compress.h"

#include <espalier/ops.h>
#include <espalier/program.h>

#include <stdio.h>
#include <string.h>

/* The weight is codes times factors. */
static bool reads_codes(const epl_node *n)
{
    const bool matrix = EPL_IS(n, matmul) && n->inputs[1]->shape.rank == 2 && !epl_attr_i(n, "trans_a");
    const bool depthwise = EPL_IS(n, conv) && epl_attr_i(n, "group") > 1 && epl_dim(n->inputs[1], -2) == 1; // programs do them in floats
    if ((!EPL_IS(n, conv) && !EPL_IS(n, linear) && !matrix) || depthwise)
        return false;
    const epl_value *w = n->inputs[1];
    while (EPL_IS(w->producer, mul) || EPL_IS(w->producer, affine) || EPL_IS(w->producer, transpose))
        w = EPL_IS(w->producer, mul) && epl_shape_count(w->producer->inputs[0]->shape) < epl_shape_count(w->shape) ? w->producer->inputs[1]
                                                                                                              : w->producer->inputs[0];
    return EPL_IS(w->producer, shift_weight);
}

/* It is quantised already. */
static bool is_integer(const epl_value *v)
{
    const epl_node *n = v->producer;
    return EPL_IS(n, affine) && EPL_IS(n->inputs[0]->producer, cast) && n->inputs[0]->producer->inputs[0]->dtype == EPL_I8;
}

/* The values that are to be quantised, each once, in `values` (or NULL: only counted). */
static int find_values(const epl_graph *g, epl_value **values, int *layers)
{
    int n_values = 0;
    *layers = 0;
    for (const epl_node *n = g->first; n; n = n->next) {
        if (!reads_codes(n) || is_integer(n->inputs[0]))
            continue;
        int i = 0;
        while (values && i < n_values && values[i] != n->inputs[0])
            i++;
        if (values)
            values[i] = n->inputs[0];
        n_values += !values || i == n_values;
        ++*layers;
    }
    return n_values;
}

/* The model on the samples, with the largest magnitude of each value. */
static epl_graph *measuring(const epl_model *m, const epl_tensor *samples, int n, epl_value *const *values)
{
    epl_graph  *g = epl_graph_new(m->ctx, "ranges");
    epl_value  *x = g ? epl_input(g, "x", samples->dtype, samples->shape, "N") : NULL;
    epl_value **outputs = x ? epl_arena_alloc(g->arena, (size_t)(epl_graph_n_outputs(m->graph) + 1) * sizeof *outputs) : NULL;
    const bool  ok = outputs && epl_graph_inline(g, m->graph, &x, outputs, NULL);
    for (int i = 0; ok && i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d", i);
        epl_output(g, name, epl_reduce_max(g, epl_abs(g, values[i]->mark), (epl_reduce_opts){ 0 })); // inlining leaves the twins there
    }
    if (ok && epl_graph_finish(g))
        return g;
    epl_graph_free(g);
    return NULL;
}

static bool measure(const epl_model *m, const epl_tensor *samples, int n, epl_value *const *values, double *most)
{
    epl_graph   *g = measuring(m, samples, n, values);
    epl_program *p = g ? epl_program_new(g, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    bool ok = p != NULL;
    if (ok)
        memcpy(epl_program_input(p, 0)->data, samples->data, epl_tensor_bytes(samples));
    ok = ok && epl_program_run(p);
    for (int i = 0; ok && i < n; i++) {
        most[i] = epl_tensor_get(epl_program_output(p, i), 0);
        if (!(most[i] < 1e36) || (most[i] > 0 && most[i] < 1e-36)) // NaN, too; the factor and what divides by it are floats
            ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "values before a layer reach %g on the samples: they have no factor", most[i]);
    }
    epl_program_free(p);
    epl_graph_free(g);
    return ok;
}

/* v as 8 bits times a factor; behind whoever makes v. */
static epl_value *quantised(epl_graph *g, epl_value *v, double most)
{
    const double factor = most > 0 ? most / 127 : 1;
    epl_node  *at = v->producer->next ? epl_graph_insert_before(g, v->producer->next) : NULL;
    epl_value *q = epl_cast(g, epl_clip(g, epl_round(g, epl_affine(g, v, 1 / factor, 0)), -127, 127), EPL_I8);
    epl_value *y = epl_affine(g, epl_cast(g, q, EPL_F32), factor, 0);
    if (v->producer->next)
        epl_graph_insert_before(g, at);
    return y;
}

static bool quantise(epl_graph *g, int n, epl_value *const *values, const double *most)
{
    for (int i = 0; i < n; i++) {
        epl_value *v = values[i], *y = quantised(g, v, most[i]);
        for (size_t u = v->n_uses; y && u-- > 0;)
            if (v->uses[u].input == 0 && reads_codes(v->uses[u].node))
                epl_set_input(v->uses[u].node, 0, y);
    }
    return epl_graph_finish(g);
}

bool epl_quantize_activations(epl_model *m, const epl_tensor *samples, epl_quantize_result *out)
{
    epl_quantize_result r = { 0 };
    if (epl_graph_n_inputs(m->graph) != 1)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "the network has %d inputs; samples are of one", epl_graph_n_inputs(m->graph));
    int          n = find_values(m->graph, NULL, &r.layers);
    epl_value  **values = epl_alloc_array(m->ctx, (size_t)n + 1, sizeof(epl_value *));
    double      *most = epl_alloc_array(m->ctx, (size_t)n + 1, sizeof *most);
    bool ok = values && most;
    if (ok && n == 0)
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "no layer reads packed codes: quantize and pack the weights first");
    n  = ok ? find_values(m->graph, values, &r.layers) : 0;
    r.values = n;
    ok = ok && measure(m, samples, n, values, most) && quantise(m->graph, n, values, most);
    epl_release(m->ctx, most);
    epl_release(m->ctx, values);
    if (ok && out)
        *out = r;
    return ok;
}
