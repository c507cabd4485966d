/* recompute: meeting a memory limit by computing values again instead of keeping them (Chen et al. 2016, arXiv:1604.06174;
 * greedily, as in Kirisame et al. 2021, arXiv:2006.09616). At the step where most is alive, a node whose results are only
 * waiting for later readers gives them up: it is copied in front of the next reader, and the later readers take the copy.
 * Every operator is a function of its inputs, random ones too, so the bits stay. */
#include "program/recompute.h"

/* What a node costs when computed again. */
static double price(const epl_node *n)
{
    const epl_cost c = epl_node_cost(n);
    return 2 * c.macs + c.flops + 4 * c.bytes;
}

static size_t bytes_of(const epl_value *v) { return EPL_ALIGN(epl_shape_count(v->shape) * (int64_t)epl_dtype_bytes(v->dtype)); }

/* Positions in the order of execution. */
static void number_nodes(epl_graph *g)
{
    int64_t k = 0;
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = k++;
}

/* Every reader of a view gets a view of its own, just before it: a value is then read where it is really read. */
bool epl_sink_views(epl_graph *g)
{
    for (epl_node *n = g->last, *prev; n; n = prev) {
        prev = n->prev;
        if (!(n->op->flags & EPL_OP_VIEW))
            continue;
        epl_value *v = n->outputs[0];
        while (v->n_uses > 0) {
            const epl_use use = v->uses[v->n_uses - 1];
            epl_node *at   = epl_graph_insert_before(g, use.node);
            epl_node *copy = epl_node_add(g, n->op, n->n_inputs, n->inputs, n->attrs, 0, NULL);
            epl_graph_insert_before(g, at);
            if (!copy)
                return false;
            epl_set_input(use.node, use.input, copy->outputs[0]);
        }
        epl_node_remove(n);
    }
    return true;
}

static int64_t last_use(const epl_value *v)
{
    int64_t last = v->producer->tag;
    for (size_t i = 0; i < v->n_uses; i++)
        if (v->uses[i].node->tag > last)
            last = v->uses[i].node->tag;
    return last;
}

/* The first reader after the peak; NULL if there is none, or if v is wanted at the peak or at the end. */
static epl_node *next_reader(const epl_value *v, int64_t peak)
{
    epl_node *first = NULL;
    for (size_t i = 0; i < v->n_uses; i++) {
        epl_node *n = v->uses[i].node;
        if (n->tag == peak || (n->op->flags & EPL_OP_SINK))
            return NULL;
        if (n->tag > peak && (!first || n->tag < first->tag))
            first = n;
    }
    return first;
}

static bool may_recompute(const epl_node *n)
{
    return (n->n_regions == 0 || EPL_IS(n, fused)) && !(n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK | EPL_OP_VIEW));
}

typedef struct candidate {
    epl_node *node, *before;
    double    score; /* bytes freed at the peak, per operation */
} candidate;

static candidate consider(epl_node *n, int64_t peak)
{
    candidate c = { .node = n };
    size_t saved = 0, held = 0;
    for (int i = 0; i < n->n_outputs; i++) {
        epl_node *reader = next_reader(n->outputs[i], peak);
        if (!reader)
            continue;
        saved += bytes_of(n->outputs[i]);
        if (!c.before || reader->tag < c.before->tag)
            c.before = reader;
    }
    for (int i = 0; c.before && i < n->n_inputs; i++) { // what must be kept longer for it
        const epl_value *v = n->inputs[i];
        if (v && !(v->producer->op->flags & (EPL_OP_SOURCE | EPL_OP_VIEW)) && last_use(v) <= peak)
            held += bytes_of(v);
    }
    c.score = saved > held ? (double)(saved - held) / (price(n) + 1) : 0;
    return c;
}

static bool apply(epl_graph *g, candidate c, int64_t peak)
{
    epl_node  *n      = c.node;
    epl_graph *region = n->n_regions ? epl_region_copy(g, n->regions[0]) : NULL;
    epl_node  *at     = epl_graph_insert_before(g, c.before);
    epl_node  *again  = epl_node_add(g, n->op, n->n_inputs, n->inputs, n->attrs, n->n_regions, &region);
    epl_graph_insert_before(g, at);
    if (!again)
        return false;
    again->scope = n->scope;
    again->tag   = c.before->tag;
    for (int o = 0; o < n->n_outputs; o++) {
        epl_value *v = n->outputs[o];
        if (!next_reader(v, peak))
            continue;
        for (size_t i = v->n_uses; i-- > 0;)
            if (v->uses[i].node->tag > peak && v->uses[i].node != again)
                epl_set_input(v->uses[i].node, v->uses[i].input, again->outputs[o]);
    }
    return true;
}

bool epl_recompute_at(epl_graph *g, const epl_node *peak_node)
{
    number_nodes(g);
    const int64_t peak = peak_node->tag;
    candidate     best = { 0 };
    for (epl_node *n = g->first; n && n->tag < peak; n = n->next) {
        const candidate c = may_recompute(n) ? consider(n, peak) : (candidate){ 0 };
        if (c.score > best.score)
            best = c;
    }
    return best.node && apply(g, best, peak);
}
