/* ibn: instance beside batch normalisation, Pan et al. 2018 (arXiv:1807.09441): the layer, and the rewriting of
 * networks that have batch normalisation alone. Blocks are found in the graph, not by name: a residual block is an
 * Add of which one side is a chain of convolutions and norms from a common value; a dense layer a Concat of a value
 * and what such a chain makes of it. A stage is a run of blocks of one resolution (and, for residual ones, one
 * width). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <espalier/nn.h>

#include "graph/op.h"

/* ---- the layer ---- */

/* How many channels instance normalisation gets: floor(C r), or, behind the others, C - floor(C (1 - r)): the published networks. */
static bool split_channels(epl_graph *g, const char *name, int64_t channels, double ratio, bool batch_first, int64_t *n)
{
    const double c = (double)channels;
    *n = batch_first ? channels - (int64_t)floor(c * (1 - ratio) + 1e-9) : (int64_t)floor(c * ratio + 1e-9);
    if (!(ratio >= 0 && ratio <= 1))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: the ratio is %g, but must be from 0 to 1", name, ratio) != NULL;
    return ratio == 0 || ratio == 1 || (*n > 0 && *n < channels) ||
           epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: a share of %g of %lld channels leaves %lld to instance and %lld to batch normalisation",
                          name, ratio, (long long)channels, (long long)*n, (long long)(channels - *n)) != NULL;
}

/* n channels to instance normalisation "in", the others to batch normalisation "bn". */
static epl_value *side_by_side(epl_graph *g, epl_value *x, int64_t n, bool batch_first, epl_norm_opts norm)
{
    const int64_t sizes[2] = { batch_first ? epl_channels(x) - n : n, batch_first ? n : epl_channels(x) - n };
    epl_value    *parts[2];
    epl_split(g, x, -1, 2, sizes, parts);
    norm.name = "in";
    parts[batch_first] = epl_instance_norm(g, parts[batch_first], norm);
    norm.name = "bn";
    parts[!batch_first] = epl_batch_norm(g, parts[!batch_first], norm);
    return epl_concat(g, 2, parts, -1);
}

epl_value *epl_ibn_norm(epl_graph *g, epl_value *x, double ratio, epl_ibn_norm_opts o)
{
    int64_t n = 0;
    const char *name = o.norm.name ? o.norm.name : "norm";
    if (!x || !split_channels(g, name, epl_channels(x), ratio, o.batch_first, &n))
        return NULL;
    if (ratio == 0)
        return epl_batch_norm(g, x, o.norm);
    if (ratio == 1)
        return epl_instance_norm(g, x, o.norm);
    epl_scope_push(g, "%s", name);
    epl_value *y = side_by_side(g, x, n, o.batch_first, o.norm);
    epl_scope_pop(g);
    return y;
}

/* ---- finding blocks ---- */

typedef struct block {
    epl_node *end;     /* the Add or Concat */
    epl_node *norms[2]; /* the first two of its branch */
    int       stage;   /* from 1 */
    int       index;   /* in the stage, from 0 */
} block;

typedef struct blocks {
    block *at;
    size_t n, capacity;
    bool   dense;
    int    n_stages;
} blocks;

enum { OF_A = 1, OF_B = 2 }; // tags: an ancestor of the first, the second input

static void mark_ancestors(epl_node *from, int bit)
{
    from->tag |= bit;
    for (epl_node *n = from; n; n = n->prev)
        if (n->tag & bit)
            for (int i = 0; i < n->n_inputs; i++)
                if (n->inputs[i])
                    n->inputs[i]->producer->tag |= bit;
}

static bool is_image(const epl_value *v)
{
    return v && v->shape.rank >= 3 && !(v->producer->op->flags & EPL_OP_SOURCE && !EPL_IS(v->producer, input));
}

/* Among the ancestors marked `bit` behind fork: convolutions, and the first norms. fork's descendants are those with an input
 * that is fork or a descendant: their `mark` is set. */
static int look_along(epl_node *fork, const epl_node *end, int bit, epl_node *norms[2])
{
    int convs = 0, n_norms = 0;
    norms[0] = norms[1] = NULL;
    for (epl_node *n = fork; n != end; n = n->next)
        n->mark = NULL;
    fork->mark = fork;
    for (epl_node *n = fork->next; n != end; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] && n->inputs[i]->producer->mark == fork)
                n->mark = fork;
        if (n->mark != fork || !(n->tag & bit))
            continue;
        convs += EPL_IS(n, conv);
        if (EPL_IS(n, batch_norm) && n_norms < 2)
            norms[n_norms++] = n;
    }
    return convs;
}

/* Does a residual or dense block end here? `branch` gets its norms. */
static bool block_ends(epl_graph *g, epl_node *end, bool dense, epl_node *norms[2])
{
    if (!(dense ? EPL_IS(end, concat) : EPL_IS(end, add)) || end->n_inputs != 2 || !is_image(end->inputs[0]) || !is_image(end->inputs[1]) ||
        (!dense && !epl_shape_equal(end->inputs[0]->shape, end->inputs[1]->shape)))
        return false;
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = 0;
    mark_ancestors(end->inputs[0]->producer, OF_A);
    mark_ancestors(end->inputs[1]->producer, OF_B);
    epl_node *fork = end->prev;
    while (fork && (fork->tag != (OF_A | OF_B) || !is_image(fork->outputs[0])))
        fork = fork->prev;
    if (!fork)
        return false;
    epl_node *of_a[2], *of_b[2];
    const int a = look_along(fork, end, OF_A, of_a), b = look_along(fork, end, OF_B, of_b);
    const bool first = a > b;
    memcpy(norms, first ? of_a : of_b, sizeof of_a);
    return (dense ? fork == end->inputs[0]->producer && a == 0 && b > 0 : (first ? b : a) <= 1 && a != b) && norms[0];
}

static bool find_blocks(epl_graph *g, bool dense, blocks *out)
{
    *out = (blocks){ .dense = dense };
    epl_shape last = { 0 };
    for (epl_node *n = g->first; n; n = n->next) {
        block b = { .end = n, .stage = out->n_stages };
        if (!block_ends(g, n, dense, b.norms))
            continue;
        epl_shape s = n->outputs[0]->shape;
        s.dim[s.rank - 1] = dense ? 0 : s.dim[s.rank - 1];
        if (out->n == 0 || !epl_shape_equal(s, last))
            b.stage = ++out->n_stages;
        b.index = out->n && out->at[out->n - 1].stage == b.stage ? out->at[out->n - 1].index + 1 : 0;
        last    = s;
        if (!epl_grow(g->ctx, &out->at, out->n, &out->capacity, sizeof b))
            return false;
        out->at[out->n++] = b;
    }
    return true;
}

/* ---- rewriting ---- */

typedef struct rewriting {
    epl_graph    *g;
    epl_weights  *w;
    double        ratio;
    bool          batch_first;
    epl_ibn_result result;
} rewriting;

/* "stage1.norm.weight" -> "stage1.norm"; lives as long as the graph. */
static const char *norm_name(epl_graph *g, const epl_value *weight)
{
    char *name = epl_arena_strdup(g->arena, epl_value_name(weight));
    char *dot  = name ? strrchr(name, '.') : NULL;
    if (dot)
        *dot = 0;
    return name ? name : "";
}

/* The old tensor's elements from `first` on become the new one's, where there is one: instance normalisation has no statistics. */
static bool carry(rewriting *r, const epl_value *old, const char *base, const char *kind, int64_t first)
{
    char name[1024];
    snprintf(name, sizeof name, "%s.%s", base, kind);
    const epl_value  *v = epl_graph_find(r->g, name);
    const epl_tensor *t = v ? epl_weights_find(r->w, epl_value_name(old)) : NULL;
    epl_tensor       *x = t ? epl_tensor_new(r->g->ctx, t->dtype, v->shape) : NULL;
    for (int64_t i = 0; x && i < epl_tensor_count(x); i++)
        epl_tensor_set(x, i, epl_tensor_get(t, first + i));
    return !t || (x && epl_weights_put_take(r->w, name, x));
}

/* Both parts' tensors from the old ones, which go. */
static bool carry_parts(rewriting *r, epl_value *old[4], const char *base, int64_t n, int64_t c)
{
    static const char *const instance[] = { "in.weight", "in.bias", "in.running_mean", "in.running_var" };
    static const char *const batch[] = { "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var" };
    for (int i = 0; i < 4; i++)
        if (!carry(r, old[i], base, instance[i], r->batch_first ? c - n : 0) || !carry(r, old[i], base, batch[i], r->batch_first ? 0 : n))
            return false;
    return true;
}

static bool drop(rewriting *r, epl_value *old)
{
    const char *name = epl_value_name(old);
    const bool  ok   = !r->w || !epl_weights_find(r->w, name) || epl_weights_remove(r->w, name);
    epl_node_remove(old->producer);
    return ok;
}

static void count(rewriting *r, const epl_value *x)
{
    r->result.layers++;
    r->result.one_pixel += epl_shape_count_from(x->shape, 1, x->shape.rank - 1) == 1;
}

/* A batch norm becomes both norms side by side in its place (with ratio 1 instance normalisation under its own name); gamma, beta
 * and, of the batch's part, the statistics are kept. */
static bool replace_norm(rewriting *r, epl_node *bn, double ratio)
{
    epl_graph    *g = r->g;
    epl_value    *x = bn->inputs[0], *old[4] = { bn->inputs[1], bn->inputs[2], bn->inputs[3], bn->inputs[4] };
    const int64_t c = epl_channels(x);
    int64_t       n = c;
    for (int i = 0; i < 4; i++)
        if (!epl_value_name(old[i]) || old[i]->n_uses != 1)
            return epl_fail(g->ctx, EPL_ERR_UNSUPPORTED, "ibn: the weights of the norm '%s' are shared or computed", bn->scope);
    const char *base = norm_name(g, old[0]), *outer = g->root->scope;
    if (!split_channels(g, base, c, ratio, r->batch_first, &n))
        return false;
    const epl_norm_opts norm = { .epsilon = epl_attr_r(bn, "epsilon"), .momentum = epl_attr_r(bn, "momentum") };
    epl_node *at = epl_graph_insert_before(g, bn);
    g->root->scope = base;
    epl_value *y = ratio == 1 ? epl_normalize_instance(g, x, old[0], old[1], norm.epsilon) : side_by_side(g, x, n, r->batch_first, norm);
    g->root->scope = outer;
    epl_graph_insert_before(g, at);
    if (!y || (r->w && ratio < 1 && !carry_parts(r, old, base, n, c)))
        return false;
    epl_replace(bn->outputs[0], y);
    epl_node_remove(bn);
    count(r, x);
    bool ok = true;
    for (int i = ratio < 1 ? 0 : 2; i < 4; i++)
        ok = drop(r, old[i]) && ok;
    return ok;
}

/* Instance normalisation behind a sum, before whatever reads it. */
static bool normalise_sum(rewriting *r, epl_node *add)
{
    epl_graph  *g = r->g;
    epl_value  *sum = add->outputs[0];
    epl_use    *uses = epl_alloc_array(g->ctx, sum->n_uses + 1, sizeof *uses);
    const size_t n = uses ? sum->n_uses : 0;
    if (uses)
        memcpy(uses, sum->uses, n * sizeof *uses);
    epl_node   *at = epl_graph_insert_before(g, add->next);
    const char *outer = g->root->scope;
    g->root->scope = add->scope;
    epl_value *y = epl_instance_norm(g, sum, (epl_norm_opts){ .name = "in" });
    g->root->scope = outer;
    epl_graph_insert_before(g, at);
    for (size_t i = 0; y && i < n; i++)
        epl_set_input(uses[i].node, uses[i].input, y);
    epl_release(g->ctx, uses);
    count(r, sum);
    return y && (!r->w || epl_model_init(&(epl_model){ g->ctx, g, r->w }, 0));
}

static bool rewrite_b(rewriting *r, const blocks *b, int first, int last)
{
    bool ok = true;
    for (epl_node *n = r->g->first; n; n = n->next) // the stem's norm is the first of all
        if (EPL_IS(n, batch_norm)) {
            ok = n == b->at[0].norms[0] ? epl_fail(r->g->ctx, EPL_ERR_UNSUPPORTED, "ibn: variant b needs a norm before the first block")
                                        : replace_norm(r, n, 1);
            break;
        }
    for (size_t i = 0; ok && i < b->n; i++)
        if (b->at[i].stage >= first && b->at[i].stage <= last && (i + 1 == b->n || b->at[i + 1].stage > b->at[i].stage))
            ok = normalise_sum(r, b->at[i].end);
    return ok;
}

static bool rewrite_a(rewriting *r, const blocks *b, int first, int last, int n_norms)
{
    bool ok = true;
    for (size_t i = 0; ok && i < b->n; i++) {
        const block *at = &b->at[i];
        if (at->stage < first || at->stage > last || (b->dense && at->index % 3))
            continue;
        for (int k = 0; ok && k < n_norms && at->norms[k]; k++)
            ok = replace_norm(r, at->norms[k], r->ratio);
    }
    return ok;
}

static bool rewrite(rewriting *r, const blocks *b, epl_ibn_opts o)
{
    const bool is_b  = o.variant == EPL_IBN_B;
    const int  first = o.first_stage ? o.first_stage : 1;
    const int  last  = o.last_stage ? o.last_stage : is_b ? 2 : b->n_stages > 1 ? b->n_stages - 1 : 1;
    if (b->n == 0)
        return epl_fail(r->g->ctx, EPL_ERR_UNSUPPORTED, "ibn: network '%s' has no residual blocks%s with batch normalisation", r->g->name,
                        is_b ? "" : " or dense layers");
    if (first < 1 || last < first || last > b->n_stages)
        return epl_fail(r->g->ctx, EPL_ERR_ARGUMENT, "ibn: stages %d to %d, but network '%s' has %d", first, last, r->g->name, b->n_stages);
    r->batch_first = b->dense;
    r->ratio       = r->ratio < 0 ? (b->dense ? 0.4 : 0.5) : r->ratio;
    if (is_b)
        return rewrite_b(r, b, first, last);
    return r->ratio == 0 || rewrite_a(r, b, first, last, o.variant == EPL_IBN_A2 ? 2 : 1);
}

bool epl_ibn(epl_graph *g, epl_weights *w, double ratio, epl_ibn_opts o, epl_ibn_result *out)
{
    rewriting r = { .g = g, .w = w, .ratio = ratio };
    blocks    b = { 0 };
    bool ok = !epl_graph_failed(g) && find_blocks(g, false, &b);
    if (ok && b.n == 0 && o.variant != EPL_IBN_B) {
        epl_release(g->ctx, b.at);
        ok = find_blocks(g, true, &b);
    }
    ok = ok && rewrite(&r, &b, o) && !epl_graph_failed(g);
    if (ok && out)
        *out = r.result;
    epl_release(g->ctx, b.at);
    return ok;
}
