/* diff: two models beside each other - structure (pairs.c), weights, outputs, and the first layer where they part. */
#include "analysis/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The result, and what is needed while it is made. */
typedef struct differ {
    epl_diff         d; /* first: what the caller holds */
    epl_context     *ctx;
    epl_arena       *arena;
    const epl_model *ma, *mb;
    epl_diff_opts    o;
    pair_side        a, b;
    pair_list        nodes;
    size_t           cap_weights, cap_outputs, cap_layers;
    epl_text         remarks;
    epl_weights     *inputs; /* of a, by name */
} differ;

static const char *type_text(differ *w, epl_dtype dtype, epl_shape shape)
{
    char text[192], all[224];
    snprintf(all, sizeof all, "%s%s", epl_dtype_name(dtype), epl_shape_text(text, shape));
    return epl_arena_strdup(w->arena, all);
}

static epl_diff_state state_of(const differ *w, const epl_difference *e)
{
    return e->n_different == 0 || e->max_abs == 0 ? EPL_DIFF_EQUAL : e->max_rel <= w->o.tolerance ? EPL_DIFF_CLOSE : EPL_DIFF_FAR;
}

static bool is_same(epl_diff_state s) { return s == EPL_DIFF_EQUAL || s == EPL_DIFF_CLOSE; }

/* A row of two tensors, either of which may be missing. */
static epl_diff_tensor compare_tensors(differ *w, const char *name_a, const epl_tensor *a, const char *name_b, const epl_tensor *b)
{
    epl_diff_tensor row = { .state = EPL_DIFF_MISSING };
    if (a) {
        row.a = epl_arena_strdup(w->arena, name_a);
        row.type_a = type_text(w, a->dtype, a->shape);
    }
    if (b) {
        row.b = epl_arena_strdup(w->arena, name_b);
        row.type_b = type_text(w, b->dtype, b->shape);
    }
    if (!a || !b)
        return row;
    const bool fits = epl_shape_equal(a->shape, b->shape) && epl_tensor_compare(a, b, &row.difference);
    row.state = fits ? state_of(w, &row.difference) : EPL_DIFF_MISSHAPEN;
    return row;
}

/* ---- weights ---- */

static bool is_weight(const epl_node *n) { return EPL_IS(n, parameter) || EPL_IS(n, state); }

static bool add_weight(differ *w, const epl_node *na, const epl_node *nb)
{
    const char       *name_a = na ? na->attrs[0].s : NULL, *name_b = nb ? nb->attrs[0].s : NULL;
    const epl_tensor *a = na ? epl_weights_find(w->ma->weights, name_a) : NULL;
    const epl_tensor *b = nb ? epl_weights_find(w->mb->weights, name_b) : NULL;
    if (!epl_grow(w->ctx, &w->d.weights, (size_t)w->d.n_weights, &w->cap_weights, sizeof *w->d.weights))
        return false;
    const epl_diff_tensor row = compare_tensors(w, name_a, a, name_b, b);
    w->d.weights[w->d.n_weights++] = row;
    w->d.same_weights = w->d.same_weights && is_same(row.state);
    return true;
}

/* The other side's weight of the same name, if no place has given it a partner. */
static const epl_node *namesake(const epl_graph *g, const pair_side *s, const epl_node *n)
{
    const epl_value *v = epl_graph_find(g, n->attrs[0].s);
    return v && is_weight(v->producer) && !s->weights[v->producer->id] ? v->producer : NULL;
}

static bool compare_weights(differ *w)
{
    bool ok = true;
    w->d.same_weights = true;
    for (const epl_node *n = w->ma->graph->first; ok && n; n = n->next) {
        if (!is_weight(n))
            continue;
        const epl_node *other = w->a.weights[n->id] ? w->a.weights[n->id] : namesake(w->mb->graph, &w->b, n);
        if (other) {
            w->a.weights[n->id] = other;
            w->b.weights[other->id] = n;
        }
        ok = add_weight(w, n, other);
    }
    for (const epl_node *n = w->mb->graph->first; ok && n; n = n->next)
        if (is_weight(n) && !w->b.weights[n->id])
            ok = add_weight(w, NULL, n);
    return ok;
}

/* ---- inputs ---- */

/* a's inputs by name: copies of the caller's, or drawn. */
static bool take_inputs(differ *w)
{
    w->inputs = epl_weights_new(w->ctx);
    bool ok = w->inputs != NULL;
    for (int i = 0; ok && i < epl_graph_n_inputs(w->ma->graph); i++) {
        const epl_value  *v = epl_graph_input_at(w->ma->graph, i);
        const char       *name = epl_value_name(v);
        const epl_tensor *given = w->o.inputs ? epl_weights_find(w->o.inputs, name) : NULL;
        char              is[192], want[192];
        if (w->o.inputs && !given)
            return epl_fail(w->ctx, EPL_ERR_ARGUMENT, "no tensor is given for the input '%s'", name);
        if (given && (given->dtype != v->dtype || !epl_shape_equal(given->shape, v->shape)))
            return epl_fail(w->ctx, EPL_ERR_SHAPE, "the tensor for the input '%s' is %s%s, the network's is %s%s", name,
                            epl_dtype_name(given->dtype), epl_shape_text(is, given->shape), epl_dtype_name(v->dtype),
                            epl_shape_text(want, v->shape));
        epl_tensor *t = given ? epl_tensor_copy(w->ctx, given) : epl_tensor_new(w->ctx, v->dtype, v->shape);
        if (t && !given) {
            epl_rng r = epl_rng_at(w->o.seed, (uint64_t)i);
            epl_tensor_draw(t, &r);
        }
        ok = t && epl_weights_put_take(w->inputs, name, t);
    }
    return ok;
}

static void not_run(differ *w, const char *format, ...)
{
    char    sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    w->d.not_run = epl_arena_strdup(w->arena, sentence);
}

/* Do all of b's inputs (or outputs) stand in a under their names? Otherwise they belong together by their order. */
static bool inputs_by_name(const differ *w)
{
    for (int i = 0; i < epl_graph_n_inputs(w->mb->graph); i++)
        if (!epl_weights_find(w->inputs, epl_value_name(epl_graph_input_at(w->mb->graph, i))))
            return false;
    return true;
}

static const epl_tensor *input_of_b(const differ *w, int i, bool by_name)
{
    const epl_graph *g = by_name ? w->mb->graph : w->ma->graph;
    return epl_weights_find(w->inputs, epl_value_name(epl_graph_input_at(g, i)));
}

static bool fill(epl_tensor *to, const epl_tensor *from)
{
    memcpy(to->data, from->data, epl_tensor_bytes(to));
    return true;
}

/* Inputs into both programs. False with not_run set if b does not take what a takes, or with an error. */
static bool set_inputs(differ *w, epl_program *a, epl_program *b, bool remark)
{
    const int  n = epl_program_n_inputs(a);
    const bool by_name = inputs_by_name(w);
    if (epl_program_n_inputs(b) != n)
        return not_run(w, "the networks have %d and %d inputs", n, epl_program_n_inputs(b)), false;
    for (int i = 0; i < n; i++) {
        const epl_value  *v = epl_graph_input_at(w->mb->graph, i);
        const epl_tensor *from = input_of_b(w, i, by_name);
        bool              moved = false;
        epl_tensor       *fitted = from->dtype == v->dtype ? value_fitted(w->ctx, from, v->shape, &moved) : NULL;
        if (!fitted && epl_error_code(w->ctx) != EPL_OK)
            return false;
        if (!fitted)
            return not_run(w, "input '%s' is %s in the first network and %s in the second", epl_value_name(v),
                           type_text(w, from->dtype, from->shape), type_text(w, v->dtype, v->shape)), false;
        if (moved && remark)
            epl_text_addf(&w->remarks, "input '%s' is transposed for the second network, which takes %s\n", epl_value_name(v),
                          type_text(w, v->dtype, v->shape));
        fill(epl_program_input(b, i), fitted);
        epl_tensor_free(fitted);
        fill(epl_program_input(a, i), epl_weights_find(w->inputs, epl_value_name(epl_graph_input_at(w->ma->graph, i))));
    }
    return true;
}

/* ---- outputs ---- */

static int find_output(const epl_graph *g, const char *name)
{
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        if (strcmp(epl_graph_output_name(g, i), name) == 0)
            return i;
    return -1;
}

static bool outputs_by_name(const differ *w)
{
    for (int i = 0; i < epl_graph_n_outputs(w->ma->graph); i++)
        if (find_output(w->mb->graph, epl_graph_output_name(w->ma->graph, i)) < 0)
            return false;
    return true;
}

static bool add_output(differ *w, const char *name_a, const epl_tensor *a, const char *name_b, const epl_tensor *b)
{
    bool        moved = false;
    epl_tensor *fitted = a && b ? value_fitted(w->ctx, b, a->shape, &moved) : NULL;
    if (!epl_grow(w->ctx, &w->d.outputs, (size_t)w->d.n_outputs, &w->cap_outputs, sizeof *w->d.outputs))
        return epl_tensor_free(fitted), false;
    epl_diff_tensor row = compare_tensors(w, name_a, a, name_b, fitted ? fitted : b);
    if (fitted && moved) {
        epl_text_addf(&w->remarks, "output '%s' of the second network, %s, is transposed\n", name_b, type_text(w, b->dtype, b->shape));
        row.type_b = type_text(w, b->dtype, b->shape);
    }
    epl_tensor_free(fitted);
    w->d.outputs[w->d.n_outputs++] = row;
    w->d.same_outputs = w->d.same_outputs && is_same(row.state);
    return epl_error_code(w->ctx) == EPL_OK;
}

static bool add_outputs(differ *w, epl_program *a, epl_program *b)
{
    const int  n = epl_program_n_outputs(a), m = epl_program_n_outputs(b);
    const bool by_name = outputs_by_name(w);
    bool       ok = true;
    w->d.same_outputs = true;
    for (int i = 0; ok && i < n; i++) {
        const char *name = epl_graph_output_name(w->ma->graph, i);
        const int   k = by_name ? find_output(w->mb->graph, name) : i < m ? i : -1;
        ok = add_output(w, name, epl_program_output(a, i), k < 0 ? NULL : epl_graph_output_name(w->mb->graph, k),
                        k < 0 ? NULL : epl_program_output(b, k));
    }
    for (int k = 0; ok && k < m; k++)
        if (by_name ? find_output(w->ma->graph, epl_graph_output_name(w->mb->graph, k)) < 0 : k >= n)
            ok = add_output(w, NULL, NULL, epl_graph_output_name(w->mb->graph, k), epl_program_output(b, k));
    return ok;
}

static bool compare_outputs(differ *w)
{
    value_run  a = { 0 }, b = { 0 };
    const bool ok = value_run_init(&a, w->ma, false, NULL, NULL) && value_run_init(&b, w->mb, false, NULL, NULL) &&
                    set_inputs(w, a.p, b.p, true) && epl_program_run(a.p) && epl_program_run(b.p) && add_outputs(w, a.p, b.p);
    value_run_release(&a);
    value_run_release(&b);
    return ok || w->d.not_run;
}

/* ---- layers ---- */

/* Both networks with all their values. */
typedef struct layers {
    value_run   a, b;
    epl_value **va, **vb;
    int         n, m;
    bool       *taken; /* of b: belongs to a value of a */
    double     *norm;  /* of b's values, Euclidean: no order has a part in it */
} layers;

/* How far a's value i and b's value k are apart; false if they cannot be compared. */
static bool value_difference(differ *w, layers *l, int i, int k, epl_difference *e)
{
    const epl_tensor *a = epl_program_output(l->a.p, i), *b = epl_program_output(l->b.p, k);
    bool              moved;
    *e = (epl_difference){ 0 };
    if (a->dtype != b->dtype || epl_tensor_count(a) != epl_tensor_count(b))
        return false;
    epl_tensor *fitted = value_fitted(w->ctx, b, a->shape, &moved);
    const bool  ok = epl_tensor_compare(a, fitted ? fitted : b, e);
    epl_tensor_free(fitted);
    return ok;
}

/* The value of b at the place of a's value i, or -1. */
static int partner_of(const differ *w, const layers *l, int i)
{
    const epl_node *n = l->va[i]->producer;
    const int       place = w->a.index[n->id], other = place < 0 ? -1 : w->a.partner[place];
    if (other < 0)
        return -1;
    for (int k = 0; k < l->m; k++)
        if (l->vb[k]->producer == w->b.at[other] && l->vb[k]->index == l->va[i]->index)
            return k;
    return -1;
}

static double norm_of(const epl_tensor *t)
{
    double sum = 0;
    for (int64_t i = 0; i < epl_tensor_count(t); i++) {
        const double x = epl_tensor_get(t, i);
        sum += x * x;
    }
    return sqrt(sum);
}

/* A value of b, from `from` on, that is not spoken for and has the same elements; -1 if there is none. Norms tell most apart:
 * elements that are close make norms that are at least as close, times the root of their number. */
static int find_alike(differ *w, layers *l, int i, int from, epl_difference *e)
{
    const epl_tensor *a = epl_program_output(l->a.p, i);
    const double      norm = norm_of(a), window = w->o.tolerance * norm * sqrt((double)epl_tensor_count(a));
    for (int j = 0; j < l->m; j++) {
        const int k = (from + j) % l->m;
        if (!l->taken[k] && !(fabs(norm - l->norm[k]) > window) && value_difference(w, l, i, k, e) && is_same(state_of(w, e)))
            return k;
    }
    return -1;
}

/* A row for each of a's values with its partner; partners that agree are taken. */
static bool compare_partners(differ *w, layers *l)
{
    for (int i = 0; i < l->n; i++) {
        const int      k = partner_of(w, l, i);
        epl_diff_layer row = { .a = pair_place(&w->nodes, &w->a, l->va[i]->producer), .state = EPL_DIFF_MISSING,
                               .type = type_text(w, l->va[i]->dtype, l->va[i]->shape) };
        if (k >= 0) {
            row.b = pair_place(&w->nodes, &w->b, l->vb[k]->producer);
            row.state = value_difference(w, l, i, k, &row.difference) ? state_of(w, &row.difference) : EPL_DIFF_MISSHAPEN;
            l->taken[k] = is_same(row.state);
        }
        if (!epl_grow(w->ctx, &w->d.layers, (size_t)w->d.n_layers, &w->cap_layers, sizeof *w->d.layers))
            return false;
        w->d.layers[w->d.n_layers++] = row;
    }
    return true;
}

/* Those without a partner that agrees may have a counterpart elsewhere. */
static void find_counterparts(differ *w, layers *l)
{
    epl_difference e;
    for (int i = 0, next = 0; i < l->n; i++) {
        epl_diff_layer *row = &w->d.layers[i];
        const int       k = is_same(row->state) ? -1 : find_alike(w, l, i, next, &e);
        if (k < 0)
            continue;
        row->b = pair_place(&w->nodes, &w->b, l->vb[k]->producer);
        row->difference = e;
        row->state = state_of(w, &e);
        l->taken[k] = true;
        next = k + 1;
    }
}

/* Values that do not depend on an input say nothing about where networks part. */
static void mark_dependent(const epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next) {
        n->tag = EPL_IS(n, input);
        for (int i = 0; i < n->n_inputs; i++)
            n->tag |= n->inputs[i] && n->inputs[i]->producer->tag;
    }
}

/* The first value without a counterpart from which no value with a counterpart follows. */
static int first_parting(differ *w, const layers *l)
{
    int first = -1;
    mark_dependent(w->ma->graph);
    for (int i = 0; i < l->n; i++)
        l->va[i]->tag = w->d.layers[i].state;
    for (epl_node *n = w->ma->graph->last; n; n = n->prev) // a result counts as good if something good follows from it
        for (int i = 0; n->tag && i < n->n_outputs; i++) {
            bool good = !(n->op->flags & EPL_OP_SOURCE) && is_same((epl_diff_state)n->outputs[i]->tag);
            for (size_t u = 0; u < n->outputs[i]->n_uses; u++)
                good = good || n->outputs[i]->uses[u].node->tag == 2;
            n->outputs[i]->mark = good ? n : NULL;
            if (good)
                n->tag = 2;
        }
    for (int i = 0; i < l->n && first < 0; i++)
        if (l->va[i]->producer->tag == 1 && !l->va[i]->mark)
            first = i;
    return first;
}

static bool compare_layers(differ *w)
{
    layers l = { 0 };
    bool   ok = value_run_init(&l.a, w->ma, true, &l.va, &l.n) && value_run_init(&l.b, w->mb, true, &l.vb, &l.m) &&
              set_inputs(w, l.a.p, l.b.p, false) && epl_program_run(l.a.p) && epl_program_run(l.b.p) &&
              (l.taken = epl_alloc_array(w->ctx, (size_t)l.m + 1, sizeof *l.taken)) != NULL;
    l.norm = ok ? epl_alloc_array(w->ctx, (size_t)l.m + 1, sizeof *l.norm) : NULL;
    for (int k = 0; l.norm && k < l.m; k++)
        l.norm[k] = norm_of(epl_program_output(l.b.p, k));
    ok = l.norm != NULL;
    ok = ok && compare_partners(w, &l);
    if (ok)
        find_counterparts(w, &l);
    if (ok && !w->d.same_outputs)
        w->d.first = first_parting(w, &l);
    value_run_release(&l.a);
    value_run_release(&l.b);
    epl_release(w->ctx, l.va);
    epl_release(w->ctx, l.vb);
    epl_release(w->ctx, l.taken);
    epl_release(w->ctx, l.norm);
    return ok;
}

/* ---- the whole ---- */

static bool compare(differ *w)
{
    if (w->o.outputs_only) {
        w->d.same_structure = w->d.same_weights = true;
        return take_inputs(w) && compare_outputs(w);
    }
    if (!pair_graphs(&w->nodes, w->ma->graph, w->mb->graph, &w->a, &w->b))
        return false;
    w->d.n_operators_a = w->a.n;
    w->d.n_operators_b = w->b.n;
    w->d.same_structure = w->nodes.n == 0;
    if (!compare_weights(w))
        return false;
    if (w->o.no_run) {
        w->d.same_outputs = true;
        return true;
    }
    if (!take_inputs(w) || !compare_outputs(w))
        return false;
    return w->d.not_run || (w->d.same_outputs && !w->o.layers) || compare_layers(w);
}

epl_diff *epl_model_diff(const epl_model *a, const epl_model *b, epl_diff_opts o)
{
    differ *w = epl_alloc(a->ctx, sizeof *w);
    if (!w)
        return NULL;
    o.tolerance = o.tolerance > 0 ? o.tolerance : 1e-4;
    *w = (differ){ .ctx = a->ctx, .arena = epl_arena_new(a->ctx), .ma = a, .mb = b, .o = o, .d.first = -1, .remarks = EPL_TEXT(a->ctx) };
    w->nodes = (pair_list){ .ctx = w->ctx, .arena = w->arena };
    const bool ok = w->arena && compare(w);
    w->d.n_nodes = w->nodes.n;
    w->d.nodes = w->nodes.at;
    w->d.remarks = w->arena ? epl_arena_strdup(w->arena, epl_text_str(&w->remarks)) : NULL;
    pair_release(w->ctx, &w->a);
    pair_release(w->ctx, &w->b);
    epl_text_release(&w->remarks);
    epl_weights_free(w->inputs);
    w->inputs = NULL;
    if (ok && epl_error_code(w->ctx) != EPL_ERR_MEMORY)
        return &w->d;
    epl_diff_free(&w->d);
    return NULL;
}

void epl_diff_free(epl_diff *d)
{
    if (!d)
        return;
    differ *w = (differ *)d;
    epl_release(w->ctx, d->nodes);
    epl_release(w->ctx, d->weights);
    epl_release(w->ctx, d->outputs);
    epl_release(w->ctx, d->layers);
    epl_arena_free(w->arena);
    epl_release(w->ctx, w);
}

bool epl_diff_is_empty(const epl_diff *d) { return d->same_structure && d->same_weights && d->same_outputs; }

bool epl_graph_same(const epl_graph *a, const epl_graph *b)
{
    epl_context *ctx = epl_graph_context(a);
    pair_list    nodes = { .ctx = ctx, .arena = epl_arena_new(ctx) };
    pair_side    sa = { 0 }, sb = { 0 };
    bool         ok = nodes.arena && pair_graphs(&nodes, a, b, &sa, &sb);
    if (ok && nodes.n) {
        const epl_diff_node *d = &nodes.at[0];
        const epl_diff_place *p = d->a.op ? &d->a : &d->b;
        ok = epl_fail(ctx, EPL_ERR_SHAPE, "%d operators differ, the first is %s %s %s: %s", nodes.n, p->op, p->number, p->scope,
                      !d->a.op ? "only in the second" : !d->b.op ? "only in the first" : d->what);
    }
    pair_release(ctx, &sa);
    pair_release(ctx, &sb);
    epl_release(ctx, nodes.at);
    epl_arena_free(nodes.arena);
    return ok;
}
