/* blocks: whole residual blocks removed. A block is a sum x + f(x) whose second part is computed from x alone;
 * without it the sum is x. Blocks whose shortcut is a projection stay, as do sums of two branches. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

typedef struct block {
    epl_node *sum;
    int       through; /* the input of the sum that is x */
    double    score;
} block;

typedef struct blocks {
    epl_model *m;
    block     *list;
    int        n;
} blocks;

/* ---- what a branch is made of ---- */

typedef struct branch {
    const epl_model *m;
    const epl_value *x;
    bool    reaches_x, reaches_input;
    double  sum[3], count[3]; /* squares and sizes of weights, sizes of norms' scales */
} branch;

enum { SQUARES, SIZES, SCALES };

static void add_tensor(branch *b, const epl_value *v, int what)
{
    const epl_tensor *t = EPL_IS(v->producer, parameter) ? epl_weights_find(b->m->weights, v->producer->attrs[0].s) : NULL;
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++) {
        const double w = fabs(epl_tensor_get(t, i));
        b->sum[what] += what == SQUARES ? w * w : w;
        b->count[what]++;
    }
}

/* Everything behind v, up to x. Nodes that were seen carry the tag. */
static void walk(branch *b, const epl_value *v, int64_t stamp)
{
    epl_node *n = v ? v->producer : NULL;
    if (v == b->x) {
        b->reaches_x = true;
        return;
    }
    if (!n || n->tag == stamp)
        return;
    n->tag = stamp;
    b->reaches_input = b->reaches_input || EPL_IS(n, input);
    if (EPL_IS(n, parameter) && v->shape.rank > 1) {
        add_tensor(b, v, SQUARES);
        add_tensor(b, v, SIZES);
    }
    if (EPL_IS(n, batch_norm))
        add_tensor(b, n->inputs[1], SCALES);
    for (int i = 0; i < n->n_inputs; i++)
        walk(b, n->inputs[i], stamp);
}

static double mean_of(const branch *b, int what) { return b->count[what] > 0 ? b->sum[what] / b->count[what] : 0; }

static double score_of(const branch *b, const char *criterion, epl_rng *r)
{
    if (strcmp(criterion, "random") == 0)
        return epl_rng_uniform_f64(r);
    if (strcmp(criterion, "bn-gamma") == 0 && b->count[SCALES] > 0)
        return mean_of(b, SCALES);
    return strcmp(criterion, "l1") == 0 ? mean_of(b, SIZES) : sqrt(mean_of(b, SQUARES));
}

/* ---- all blocks ---- */

static bool find_blocks(blocks *k, const epl_block_opts *o)
{
    epl_graph *g = k->m->graph;
    epl_rng    r = epl_rng_at(o->seed, 0x626c6b);
    int64_t    stamp = 1;
    k->list = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof *k->list);
    for (epl_node *n = k->list ? g->first : NULL; n; n = n->next)
        n->tag = 0;
    for (epl_node *n = k->list ? g->first : NULL; n; n = n->next)
        for (int i = 0; EPL_IS(n, add) && i < 2; i++) {
            branch b = { .m = k->m, .x = n->inputs[i] };
            if (!epl_shape_equal(n->inputs[0]->shape, n->inputs[1]->shape) || n->inputs[0] == n->inputs[1])
                break;
            walk(&b, n->inputs[1 - i], ++stamp);
            if (!b.reaches_x || b.reaches_input || b.count[SIZES] == 0)
                continue;
            k->list[k->n++] = (block){ n, i, score_of(&b, o->criterion ? o->criterion : "l2", &r) };
            break;
        }
    return k->list != NULL;
}

/* The lowest score that is left; of equal ones the first. */
static block *weakest(blocks *k)
{
    block *best = NULL;
    for (int i = 0; i < k->n; i++)
        if (k->list[i].sum && (!best || k->list[i].score < best->score))
            best = &k->list[i];
    return best;
}

static void take_out(block *b)
{
    epl_replace(b->sum->outputs[0], b->sum->inputs[b->through]);
    epl_node_remove(b->sum);
    b->sum = NULL;
}

/* Sums that vanished with a branch around them are no blocks any more. */
static void forget_dead(blocks *k)
{
    for (int i = 0; i < k->n; i++)
        if (k->list[i].sum)
            k->list[i].sum->tag = -1 - i;
    bool *there = epl_alloc_array(k->m->ctx, (size_t)k->n + 1, sizeof *there);
    if (!there)
        return;
    epl_remove_dead(k->m->graph);
    for (const epl_node *n = k->m->graph->first; n; n = n->next)
        if (EPL_IS(n, add) && n->tag < 0 && -1 - n->tag < k->n)
            there[-1 - n->tag] = true;
    for (int i = 0; i < k->n; i++)
        if (!there[i])
            k->list[i].sum = NULL;
    epl_release(k->m->ctx, there);
}

static bool drop_weights(epl_model *m)
{
    for (int i = epl_weights_count(m->weights) - 1; i >= 0; i--)
        if (!epl_graph_find(m->graph, epl_weights_name(m->weights, i)) && !epl_weights_remove(m->weights, epl_weights_name(m->weights, i)))
            return false;
    return true;
}

static bool remove_blocks(epl_model *m, const epl_block_opts *o, epl_channel_result *r)
{
    blocks k = { .m = m };
    bool ok = find_blocks(&k, o);
    const double target = o->macs * r->macs_before;
    const int64_t wanted = o->macs > 0 ? k.n : (int64_t)floor(o->ratio * k.n + 0.5);
    r->units = r->groups = k.n;
    if (ok && k.n == 0)
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'%s' has no residual block whose shortcut is its input", m->graph->name);
    while (ok && r->removed < wanted && (o->macs <= 0 || epl_graph_cost(m->graph).macs > target)) {
        block *b = weakest(&k);
        if (!b)
            break;
        take_out(b);
        forget_dead(&k);
        r->removed++;
    }
    epl_release(m->ctx, k.list);
    r->macs_after = epl_graph_cost(m->graph).macs;
    if (ok && o->macs > 0 && r->macs_after > target)
        ok = epl_fail(
            m->ctx, EPL_ERR_LIMIT,
            "without all of its %lld residual blocks the network has %.3g of its multiply-adds; the target is %g",
            (long long)r->units, r->macs_after / r->macs_before, o->macs);
    r->params_after = epl_graph_n_parameters(m->graph);
    return ok && epl_graph_finish(m->graph) && drop_weights(m);
}

bool epl_prune_blocks(epl_model *m, epl_block_opts o, epl_channel_result *out)
{
    static const char *const criteria[] = { "l2", "l1", "bn-gamma", "random" };
    if (o.criterion && epl_choose_word(m->ctx, "criterion for blocks", o.criterion, criteria, EPL_COUNT(criteria)) < 0)
        return false;
    if (!(o.ratio >= 0 && o.ratio <= 1) || !(o.macs >= 0 && o.macs < 1))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "ratio %g, macs %g: each must be at least 0, and not above 1", o.ratio, o.macs);
    epl_channel_result r = { .macs_before = epl_graph_cost(m->graph).macs, .params_before = epl_graph_n_parameters(m->graph) };
    epl_model *copy = epl_model_copy(m);
    const bool ok = copy && remove_blocks(copy, &o, &r);
    if (ok) {
        epl_model_exchange(m, copy);
        if (out)
            *out = r;
    }
    epl_model_free(copy);
    return ok;
}
