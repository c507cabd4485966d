/* fold_batch_norm: conv, linear or transposed conv + BatchNorm -> the same with other weights: Ioffe & Szegedy 2015
 * (arXiv:1502.03167), Algorithm 2, step 11. The new weights are an expression of the old ones. A frozen program
 * computes it once; a training step in every step, where gradients go through it (Tune: You et al. 2023,
 * arXiv:2305.11624); and a model that is deployed has it baked. Where a Split stands between them, the channels of
 * that part are folded: instance normalisation of the others (arXiv:1807.09441) looks at what comes in and stays. A
 * norm BEFORE a convolution is left alone: where that pads with zeros, nothing can be folded. Keeps results within
 * rounding. */
#include "passes/passes.h"

/* ---- where a norm can go ---- */

/* A norm, what its factors go into, and the Split along channels between them, if there is one: its part begins at
 * channel `first`. */
typedef struct site {
    epl_node *norm, *layer, *split;
    int64_t   first;
} site;

void epl_mark_fixed(epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = 0;
    for (epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, update))
            n->inputs[0]->producer->tag = -1;
    for (epl_node *n = g->first; n; n = n->next) {
        bool fixed = n->tag == 0 && !EPL_IS(n, input) && n->n_regions == 0 && !(n->op->flags & (EPL_OP_RANDOM | EPL_OP_SINK));
        for (int i = 0; i < n->n_inputs; i++)
            fixed = fixed && (!n->inputs[i] || n->inputs[i]->producer->tag == 1);
        n->tag = fixed;
    }
}

static bool is_fixed(const epl_value *v) { return !v || v->producer->tag == 1; }

static bool all_fixed(const site *s)
{
    bool fixed = is_fixed(s->layer->inputs[1]) && is_fixed(epl_node_input(s->layer, 2));
    for (int i = 1; i < 5; i++)
        fixed = fixed && is_fixed(s->norm->inputs[i]);
    return fixed;
}

static bool is_layer(const epl_node *n) { return EPL_IS(n, conv) || EPL_IS(n, linear) || EPL_IS(n, conv_transpose); }

static bool is_along_channels(const epl_node *split)
{
    const int64_t axis = epl_attr_i(split, "axis");
    return axis == -1 || axis == split->inputs[0]->shape.rank - 1;
}

/* Finds the site of a norm. NULL, or why there is none. */
static const char *find_site(epl_node *norm, site *s)
{
    *s = (site){ .norm = norm, .layer = norm->inputs[0]->producer };
    if (EPL_IS(s->layer, split) && is_along_channels(s->layer)) {
        s->split = s->layer;
        s->layer = s->split->inputs[0]->producer;
    }
    if (!is_layer(s->layer))
        return "no convolution or linear layer stands before it";
    if (s->layer->outputs[0]->n_uses > 1 || norm->inputs[0]->n_uses > 1)
        return "what the layer before it computes is read elsewhere, too";
    for (int i = 1; s->split && i < 5; i++) // they have to stand before the layer
        if (!(norm->inputs[i]->producer->op->flags & EPL_OP_SOURCE))
            return "its statistics or factors are computed after the layer before it";
    for (int i = 0; s->split && i < norm->inputs[0]->index; i++)
        s->first += epl_channels(s->split->outputs[i]);
    return NULL;
}

/* ---- the new weights ---- */

/* scale / sqrt(var + epsilon), in f32 at least. */
static epl_value *factor_of(epl_graph *g, const epl_node *norm)
{
    const epl_dtype own = norm->inputs[1]->dtype, wide = own == EPL_F64 ? EPL_F64 : EPL_F32;
    epl_value *root = epl_rsqrt(g, epl_affine(g, epl_cast(g, norm->inputs[4], wide), 1, epl_attr_r(norm, "epsilon")));
    return epl_cast(g, epl_mul(g, epl_cast(g, norm->inputs[1], wide), root), own);
}

/* The weight of a transposed convolution is [K..., C/groups, M]: output channel i of group j belongs to the columns of group j. */
static epl_value *scale_transposed(epl_graph *g, epl_value *w, epl_value *f, int64_t groups)
{
    epl_shape cut = w->shape;
    const int64_t part = cut.dim[cut.rank - 2];
    if (groups == 1)
        return epl_mul(g, w, epl_reshape(g, f, EPL_SHAPE(part, 1)));
    cut.dim[cut.rank]     = cut.dim[cut.rank - 1] / groups;
    cut.dim[cut.rank - 1] = groups;
    cut.rank++;
    epl_value *by_group = epl_transpose(g, epl_reshape(g, f, EPL_SHAPE(groups, part)), 2, (int[]){ 1, 0 });
    epl_value *columns  = epl_reshape(g, by_group, EPL_SHAPE(part, groups, 1));
    return epl_reshape_like(g, epl_mul(g, epl_reshape(g, w, cut), columns), w);
}

/* The layer's weight with every output channel multiplied by its factor f [C]. */
static epl_value *scale_weight(epl_graph *g, const epl_node *layer, epl_value *f)
{
    epl_value *w = layer->inputs[1];
    if (EPL_IS(layer, conv_transpose))
        return scale_transposed(g, w, f, epl_attr_i(layer, "group"));
    const bool rows = EPL_IS(layer, linear) && epl_attr_i(layer, "trans_w");
    return epl_mul(g, w, rows ? epl_reshape(g, f, EPL_SHAPE(-1, 1)) : f);
}

static epl_value *apply_layer(epl_graph *g, const epl_node *layer, epl_value *weight, epl_value *bias)
{
    epl_value *result = epl_apply(g, layer->op, EPL_IN(layer->inputs[0], weight, bias), layer->attrs);
    if (result)
        result->producer->scope = layer->scope;
    return result;
}

/* y = (x w + b - mean) f + bias = x (w f) + bias + (b - mean) f. */
static epl_value *fold_all(epl_graph *g, const site *s)
{
    epl_value *const *in = s->norm->inputs;
    epl_value *f = factor_of(g, s->norm), *old = epl_node_input(s->layer, 2);
    epl_value *shift = old ? epl_sub(g, old, in[3]) : epl_neg(g, in[3]);
    return apply_layer(g, s->layer, scale_weight(g, s->layer, f), epl_add(g, in[2], epl_mul(g, shift, f)));
}

/* `part` [k] as channels first..first+k of [c], with `otherwise` around it. */
static epl_value *among(epl_graph *g, epl_value *part, int64_t first, int64_t c, double otherwise)
{
    epl_value    *fill = epl_scalar(g, part->dtype, otherwise), *parts[3];
    const int64_t rest = c - first - epl_dim(part, 0);
    int           n = 0;
    if (first > 0)
        parts[n++] = epl_expand(g, fill, EPL_SHAPE(first));
    parts[n++] = part;
    if (rest > 0)
        parts[n++] = epl_expand(g, fill, EPL_SHAPE(rest));
    return epl_concat(g, n, parts, 0);
}

/* The same for the channels of a part: the others are multiplied by 1 and keep their bias. */
static epl_value *fold_part(epl_graph *g, const site *s)
{
    epl_value *const *in = s->norm->inputs;
    const int64_t     c = epl_channels(s->layer->outputs[0]);
    epl_value *f     = factor_of(g, s->norm);
    epl_value *shift = epl_sub(g, in[2], epl_mul(g, in[3], f));
    if (epl_graph_failed(g))
        return NULL;
    epl_value *old = epl_node_input(s->layer, 2), *scale = among(g, f, s->first, c, 1), *bias = among(g, shift, s->first, c, 0);
    return apply_layer(g, s->layer, scale_weight(g, s->layer, scale), old ? epl_add(g, epl_mul(g, old, scale), bias) : bias);
}

static bool fold(epl_graph *g, const site *s)
{
    for (int i = 1; s->split && i < 5; i++)
        epl_node_move_before(s->norm->inputs[i]->producer, s->split);
    epl_node  *at = epl_graph_insert_before(g, s->split ? s->split : s->norm);
    epl_value *v  = s->split ? fold_part(g, s) : fold_all(g, s);
    epl_graph_insert_before(g, at);
    if (!v)
        return false;
    if (s->split)
        epl_set_input(s->split, 0, v);
    epl_replace(s->norm->outputs[0], s->split ? s->norm->inputs[0] : v);
    epl_node_remove(s->norm);
    epl_node_remove(s->layer);
    return true;
}

bool epl_fold_batch_norm(epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->n_regions; i++)
            if (!epl_fold_batch_norm(n->regions[i]))
                return false;
    epl_mark_fixed(g);
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        site s;
        next = n->next;
        if (EPL_IS(n, batch_norm) && !find_site(n, &s) && all_fixed(&s))
            fold(g, &s);
    }
    return !epl_graph_failed(g);
}

/* ---- by name ---- */

/* The name of a norm: that of its running mean, or of its scale, without the last part; its scope where both are expressions. */
static void name_norm(const epl_node *n, char *out, size_t size)
{
    const char *name = NULL;
    for (int i = 3; i >= 1 && !name; i -= 2)
        if (i < n->n_inputs && n->inputs[i]->producer->op->flags & EPL_OP_SOURCE)
            name = epl_value_name(n->inputs[i]);
    const char *dot = name ? strrchr(name, '.') : NULL;
    snprintf(out, size, "%.*s", (int)(dot ? (size_t)(dot - name) : strlen(name ? name : n->scope)), name ? name : n->scope);
}

bool epl_batch_norm_matches(const epl_node *n, const char *pattern)
{
    char name[EPL_FOLD_NAME];
    name_norm(n, name, sizeof name);
    return !pattern || epl_glob(pattern, name);
}

static bool note(epl_context *ctx, epl_fold_report *r, const epl_node *norm, const char *skipped)
{
    size_t room = r ? (size_t)r->room : 0;
    if (!r)
        return true;
    if (!epl_grow(ctx, &r->pairs, (size_t)r->n, &room, sizeof *r->pairs))
        return false;
    r->room = (int)room;
    r->pairs[r->n] = (epl_fold_pair){ .skipped = skipped };
    name_norm(norm, r->pairs[r->n++].norm, EPL_FOLD_NAME);
    r->folded += skipped == NULL;
    return true;
}

static bool refuse_trained(const epl_node *n)
{
    char name[EPL_FOLD_NAME];
    name_norm(n, name, sizeof name);
    epl_graph_fail(n->graph, EPL_ERR_ARGUMENT,
                   "batch norm '%s' takes the batch's statistics: without running ones it cannot be folded", name);
    return false;
}

bool epl_tune_norms_if(epl_graph *g, epl_stays_fn *wanted, const void *user, epl_fold_report *report)
{
    for (epl_node *n = g->first, *next; n && !epl_graph_failed(g); n = next) {
        site s;
        next = n->next;
        if (!EPL_IS(n, batch_norm) || !wanted(user, n))
            continue;
        const char *why = find_site(n, &s);
        if (!note(g->ctx, report, n, why))
            return false;
        if (!why)
            fold(g, &s);
    }
    return !epl_graph_failed(g);
}

static bool is_named(const void *pattern, const epl_node *n) { return epl_batch_norm_matches(n, pattern); }

bool epl_tune_batch_norms(epl_graph *g, const char *pattern, epl_fold_report *report)
{
    for (const epl_node *n = g->first; n && pattern; n = n->next)
        if (EPL_IS(n, batch_norm_train) && epl_batch_norm_matches(n, pattern))
            return refuse_trained(n);
    return epl_tune_norms_if(g, is_named, pattern, report);
}

bool epl_deploy_batch_norms(epl_model *m, const char *pattern, epl_fold_report *report)
{
    epl_fold_report own = { 0 }, *r = report ? report : &own;
    bool ok = epl_model_check(m) && epl_tune_batch_norms(m->graph, pattern, r) && epl_bake(m);
    if (ok && r->folded > 0)
        ok = epl_weights_set_metadata(m->weights, EPL_FOLDED_KEY, "batch norms");
    epl_fold_report_release(m->ctx, &own);
    return ok;
}

void epl_fold_report_release(epl_context *ctx, epl_fold_report *r)
{
    epl_release(ctx, r->pairs);
    *r = (epl_fold_report){ 0 };
}
