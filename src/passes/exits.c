/* exits: an early exit becomes an If whose other branch is the rest of the graph: moved there, not copied. The last
 * exit goes first, so that an exit's rest holds those behind it. Exact. */
#include "passes/passes.h"

typedef struct exits {
    epl_graph  *g, *yes, *no;
    epl_node   *at;
    epl_arena  *arena;
    epl_value **captures; /* the exit's values and what the rest reads, each once */
    int         n_captures, n_shared, n_outputs;
    bool        each;     /* the condition is of samples */
} exits;

static bool is_rest(const epl_node *n) { return !(n->op->flags & EPL_OP_SOURCE); }

/* Sources ahead of the exit, outputs at the end. */
static void sort_ends(epl_graph *g, epl_node *at)
{
    const epl_node *last = g->last;
    for (epl_node *n = at->next, *next; n; n = next) {
        next = n->next;
        if (n->op->flags & EPL_OP_SOURCE)
            epl_node_move_before(n, at);
    }
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n == last ? NULL : n->next;
        if (EPL_IS(n, output))
            epl_node_move_last(n);
    }
}

/* Of values with a batch in front: those that depend on an input of the graph. tag: 1. */
static void mark_batched(const epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next) {
        n->tag = EPL_IS(n, input);
        for (int i = 0; i < n->n_inputs; i++)
            n->tag = n->tag || (n->inputs[i] && n->inputs[i]->producer->tag);
    }
}

static bool is_shared(const exits *e, const epl_value *v)
{
    return !v->producer->tag || v->shape.rank < 1 || v->shape.dim[0] != e->at->inputs[0]->shape.dim[0];
}

static bool add_capture(exits *e, epl_value *v, bool shared)
{
    if (!v || (e->each && is_shared(e, v) != shared))
        return true;
    for (int i = 0; i < e->n_captures; i++)
        if (e->captures[i] == v)
            return true;
    e->captures[e->n_captures++] = v;
    e->n_shared += shared;
    return true;
}

static int64_t position_of(const epl_graph *g)
{
    int64_t k = 0;
    for (epl_node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->tag = k++;
    return k;
}

/* What stands before the exit and is read behind it, or delivered by it: by samples first, then what they share. */
static bool find_captures(exits *e)
{
    size_t room = 1;
    for (const epl_node *n = e->at; n; n = n->next)
        room += (size_t)n->n_inputs;
    e->captures = epl_arena_alloc(e->arena, room * sizeof *e->captures);
    const int64_t all = position_of(e->g);
    int64_t before = all;
    for (const epl_node *n = e->at->next; n; n = n->next)
        if (n->n_outputs && n->outputs[0]->tag < before)
            before = n->outputs[0]->tag;
    for (int shared = 0; e->captures && shared < 1 + e->each; shared++)
        for (const epl_node *n = e->at; n; n = n->next)
            for (int i = n == e->at; i < n->n_inputs; i++)
                if (n->inputs[i] && n->inputs[i]->tag < before && !add_capture(e, n->inputs[i], shared))
                    return false;
    return e->captures != NULL;
}

static epl_graph *region_with_inputs(exits *e)
{
    epl_graph *r = epl_region_new(e->g);
    for (int i = 0; r && i < e->n_captures; i++) {
        const epl_value *v = e->captures[i];
        e->captures[i]->mark = epl_input(r, epl_value_name(v) ? epl_value_name(v) : "v", v->dtype, v->shape, NULL);
        if (!v->mark)
            return NULL;
    }
    return r;
}

static bool fill_regions(exits *e)
{
    char name[32];
    e->yes = region_with_inputs(e);
    for (int i = 1; e->yes && i < e->at->n_inputs; i++) {
        snprintf(name, sizeof name, "y%d", i - 1);
        if (!epl_output(e->yes, name, e->at->inputs[i]->mark))
            return false;
    }
    e->no = e->yes ? region_with_inputs(e) : NULL;
    for (const epl_node *n = e->at->next; e->no && n; n = n->next)
        if (EPL_IS(n, update))
            return epl_fail(e->g->ctx, EPL_ERR_UNSUPPORTED, "'%s' is updated behind an early exit", epl_value_name(n->inputs[0]));
        else if (is_rest(n) && !epl_copy_node(e->no, n, ""))
            return false;
    return e->no != NULL;
}

/* The choice instead of the exit and all that followed but the outputs. */
static bool replace(exits *e)
{
    epl_value **out = epl_arena_alloc(e->arena, (size_t)(e->n_outputs + e->at->n_inputs + 1) * sizeof *out);
    epl_node   *former = epl_graph_insert_before(e->g, e->at);
    const bool  built = out && (e->each ? epl_if_each(e->g, e->at->inputs[0], e->yes, e->no, e->n_captures, e->captures, e->n_shared, out)
                                        : epl_if(e->g, e->at->inputs[0], e->yes, e->no, e->n_captures, e->captures, out)) != NULL;
    epl_graph_insert_before(e->g, former);
    int k = e->n_outputs;
    for (epl_node *n = e->g->last, *prev; built && n != e->at; n = prev) {
        prev = n->prev;
        if (EPL_IS(n, output))
            epl_set_input(n, 0, out[--k]);
        else if (is_rest(n))
            epl_node_remove(n);
    }
    if (built)
        epl_node_remove(e->at);
    return built;
}

static bool lower_exit(epl_graph *g, epl_node *at)
{
    exits e = { .g = g,
                .at = at,
                .arena = epl_arena_new(g->ctx),
                .each = at->inputs[0]->shape.rank == 1,
                .n_outputs = epl_graph_n_outputs(g) };
    bool ok = e.arena != NULL;
    if (ok && at->n_inputs - 1 != e.n_outputs)
        ok = epl_node_fail(at, EPL_ERR_ARGUMENT, "%d values; the graph has %d outputs", at->n_inputs - 1, e.n_outputs);
    if (ok) {
        sort_ends(g, at);
        mark_batched(g);
    }
    ok = ok && find_captures(&e) && fill_regions(&e) && replace(&e);
    epl_arena_free(e.arena);
    return ok;
}

bool epl_lower_exits(epl_graph *g)
{
    for (epl_node *n = g->last, *prev; n; n = prev) {
        prev = n->prev;
        if (EPL_IS(n, exit)) {
            if (!lower_exit(g, n))
                return false;
            prev = g->last; // what was behind it is gone
            continue;
        }
        for (int r = 0; r < n->n_regions; r++)
            if (!epl_lower_exits(n->regions[r]))
                return false;
    }
    return !epl_graph_failed(g);
}
