/* synflow: scores without data, Tanaka et al. 2020 (arXiv:2006.05467), Algorithm 1 - the network with |w| in the
 * place of every weight, without batch norms and biases, on an input of ones. R is the sum of what comes out; a
 * weight's score is w dR/dw. In 100 rounds ever more of them go, each time scored again. R of a deep network is a
 * number of many digits: the input, and R, are scaled by the same power so that both ways stay within single
 * precision. */
#include "compress/compress.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

#include <math.h>
#include <string.h>

enum { ROUNDS = 100 };

typedef struct flow {
    const epl_model *m;
    epl_graph       *g;
    epl_weights     *weights; /* absolute values, 0 where pruned */
    epl_program     *program;
    epl_layers       layers;  /* that are chosen */
    epl_weights     *scores;
    unsigned char   *keep;
    float           *list;    /* scores of all layers behind each other */
    int64_t          n;
} flow;

/* ---- the network ---- */

static void leave_out_norms(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, batch_norm)) {
            epl_replace(n->outputs[0], n->inputs[0]);
            epl_node_remove(n);
        }
    }
}

static bool build(flow *f)
{
    const epl_graph *model = f->m->graph;
    if (epl_graph_n_inputs(model) != 1 || epl_graph_n_outputs(model) < 1 || epl_rank(epl_graph_input_at(model, 0)) < 1)
        return epl_fail(f->m->ctx, EPL_ERR_ARGUMENT, "synflow needs a network with one input, not %d", epl_graph_n_inputs(model));
    f->g = epl_graph_new(f->m->ctx, "flow");
    const epl_value *like = epl_graph_input_at(model, 0);
    epl_shape        shape = epl_shape_of(like);
    shape.dim[0] = 1;
    epl_value *x = f->g ? epl_input(f->g, "x", epl_dtype_of(like), shape, "N") : NULL;
    epl_value **outputs = x ? epl_arena_alloc(f->g->arena, (size_t)epl_graph_n_outputs(model) * sizeof *outputs) : NULL;
    epl_value **w = x ? epl_arena_alloc(f->g->arena, (size_t)f->layers.n * 2 * sizeof *w) : NULL;
    if (!outputs || !w || !epl_graph_inline(f->g, model, &x, outputs, NULL))
        return false;
    epl_value *scale = epl_input(f->g, "scale", EPL_F32, EPL_SCALAR, NULL);
    epl_value *sum   = epl_reduce_sum(f->g, epl_cast(f->g, outputs[0], EPL_F32), (epl_reduce_opts){ 0 });
    epl_value *r     = epl_mul(f->g, sum, scale);
    epl_output(f->g, "R", r); // it keeps its value while norms go
    for (int i = 0; i < f->layers.n; i++)
        w[i] = f->layers.items[i].read->mark;
    leave_out_norms(f->g);
    if (!epl_gradient(f->g, r, f->layers.n, w, w + f->layers.n))
        return false;
    for (int i = 0; i < f->layers.n; i++)
        epl_output(f->g, f->layers.items[i].name, epl_mul(f->g, w[i], w[f->layers.n + i]));
    epl_remove_dead(f->g);
    return epl_graph_finish(f->g);
}

static bool is_bias(const epl_node *n, int input)
{
    return input == 2 && (EPL_IS(n, conv) || EPL_IS(n, conv_transpose) || EPL_IS(n, linear));
}

/* All parameters without their signs; biases 0. */
static bool take_weights(flow *f)
{
    f->weights = epl_weights_copy(f->m->ctx, f->m->weights);
    for (const epl_node *n = f->weights ? f->g->first : NULL; n; n = n->next) {
        epl_tensor *t = EPL_IS(n, parameter) ? epl_weights_find(f->weights, n->attrs[0].s) : NULL;
        bool bias = false;
        for (size_t i = 0; t && i < n->outputs[0]->n_uses; i++) // an Output has no result
            bias = bias || is_bias(n->outputs[0]->uses[i].node, n->outputs[0]->uses[i].input);
        for (int64_t i = 0; t && epl_dtype_is_float(t->dtype) && i < epl_tensor_count(t); i++)
            epl_tensor_set(t, i, bias ? 0 : fabs(epl_tensor_get(t, i)));
    }
    return f->weights != NULL;
}

/* ---- running ---- */

static bool run(flow *f, double input, double output, double *r)
{
    epl_tensor *x = epl_program_input(f->program, 0);
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        epl_tensor_set(x, i, input);
    epl_tensor_set(epl_program_input_named(f->program, "scale"), 0, output);
    if (!epl_program_run(f->program))
        return false;
    *r = epl_tensor_get(epl_program_output_named(f->program, "R"), 0);
    return true;
}

/* The scale of both ends at which R is about 1. */
static bool find_scale(flow *f, double *scale)
{
    double r, input = 1;
    if (!run(f, 1, 1, &r))
        return false;
    if (!isfinite(r) || r == 0) {
        input = r == 0 ? 1e30 : 1e-30;
        if (!run(f, input, 1, &r))
            return false;
    }
    *scale = isfinite(r) && r > 0 ? 1 / sqrt(r / input) : 1;
    return isfinite(r) ? true : epl_fail(f->m->ctx, EPL_ERR_LIMIT, "synflow: what comes out of the network exceeds single precision");
}

/* Scores of now, those that went before below all others. */
static void take_scores(flow *f, int round)
{
    int64_t at = 0;
    for (int i = 0; i < f->layers.n; i++) {
        const epl_tensor *s = epl_program_output_named(f->program, f->layers.items[i].name);
        for (int64_t k = 0; k < epl_tensor_count(s); k++, at++)
            if (f->keep[at])
                f->list[at] = (float)epl_tensor_get(s, k);
            else if (f->list[at] >= 0)
                f->list[at] = (float)(round - ROUNDS - 1); // it left in the round before
    }
}

/* Those that go have no weight from here on. */
static bool go(flow *f, double density)
{
    int64_t keep = (int64_t)floor(density * (double)f->n + 0.5), at = 0;
    if (!epl_select(f->m->ctx, f->list, f->n, keep > 1 ? keep : 1, f->keep))
        return false;
    for (int i = 0; i < f->layers.n; i++) {
        epl_tensor *w = epl_weights_find(f->weights, f->layers.items[i].name);
        for (int64_t k = 0; k < epl_tensor_count(w); k++, at++)
            if (!f->keep[at])
                epl_tensor_set(w, k, 0);
    }
    return true;
}

static bool prune_in_rounds(flow *f, double sparsity, double *degree)
{
    double scale, r, twice;
    for (int round = 1; round <= ROUNDS; round++) {
        if (!find_scale(f, &scale) || !run(f, scale, scale, &r))
            return false;
        take_scores(f, round);
        if (round == 1 && degree) {
            if (!run(f, 2 * scale, scale, &twice))
                return false;
            *degree = r > 0 ? twice / r / 2 : 1;
        }
        if (!go(f, pow(1 - sparsity, (double)round / ROUNDS)))
            return false;
    }
    return true;
}

static bool write_scores(flow *f)
{
    int64_t at = 0;
    f->scores = epl_weights_new(f->m->ctx);
    for (int i = 0; f->scores && i < f->layers.n; i++) {
        epl_tensor *t = epl_tensor_new(f->m->ctx, EPL_F32, epl_shape_of(f->layers.items[i].weight));
        if (!t)
            return false;
        memcpy(t->data, f->list + at, epl_tensor_bytes(t));
        at += epl_tensor_count(t);
        if (!epl_weights_put_take(f->scores, f->layers.items[i].name, t))
            return false;
    }
    return f->scores != NULL;
}

epl_weights *epl_synflow_scores(const epl_model *m, const epl_prune_opts *o, double *degree)
{
    flow f = { .m = m };
    bool ok = epl_weight_layers_find(m->graph, &f.layers) && epl_weight_layers_choose(&f.layers, o->pattern, o->skip);
    for (int i = 0; ok && i < f.layers.n; i++)
        f.n += f.layers.items[i].count;
    f.keep = ok ? epl_alloc_array(m->ctx, (size_t)f.n, sizeof *f.keep) : NULL;
    f.list = f.keep ? epl_alloc_array(m->ctx, (size_t)f.n, sizeof *f.list) : NULL;
    ok = f.list && build(&f) && take_weights(&f);
    if (ok) {
        memset(f.keep, 1, (size_t)f.n);
        f.program = epl_program_new(f.g, f.weights, (epl_program_opts){ 0 });
        ok = f.program && prune_in_rounds(&f, o->sparsity, degree) && write_scores(&f);
    }
    epl_program_free(f.program);
    epl_weights_free(f.weights);
    epl_graph_free(f.g);
    epl_release(m->ctx, f.keep);
    epl_release(m->ctx, f.list);
    if (f.layers.ctx)
        epl_weight_layers_release(&f.layers);
    if (ok)
        return f.scores;
    epl_weights_free(f.scores);
    return NULL;
}
