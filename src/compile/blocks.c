/* Finding the blocks: see blocks.h. What a block takes in and gives out is liveness on values: a value is an input
 * where it is read and not made, an output where it is made and read elsewhere. A value that only passes by is no
 * business of the block's. */
#include "compile/blocks.h"

#include "passes/passes.h"

#include <stdio.h>

static bool is_control(const epl_node *n) { return EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, loop); }

static bool is_outside(const epl_node *n) { return (n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK)) != 0; }

/* ---- logic: scalars that decide, and what they are computed from scalars by ---- */

/* Its values are read by logic and selectors alone: no network needs them. */
static bool decides(const epl_node *n)
{
    bool any = false;
    for (int i = 0; i < n->n_outputs; i++) {
        if (epl_shape_count(n->outputs[i]->shape) != 1)
            return false;
        for (size_t u = 0; u < n->outputs[i]->n_uses; u++) {
            const epl_use use = n->outputs[i]->uses[u];
            const bool ends_body = EPL_IS(use.node, output) && use.node->graph->owner && EPL_IS(use.node->graph->owner, loop) &&
                                   epl_graph_output_at(use.node->graph, 0) == n->outputs[i];
            if (!(is_control(use.node) && use.input == 0) && !ends_body && use.node->tag != 1)
                return false;
            any = true;
        }
    }
    return any;
}

static bool is_simple(const epl_node *n)
{
    if ((!(n->op->flags & (EPL_OP_ELEMENTWISE | EPL_OP_VIEW)) && !EPL_IS(n, cast)) || epl_dtype_is_float(n->outputs[0]->dtype))
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] && epl_shape_count(n->inputs[i]->shape) != 1)
            return false;
    return true;
}

/* node->tag: 1 for logic. From the end, because what reads a node decides. */
static void mark_logic(const epl_graph *g)
{
    for (epl_node *n = g->last; n; n = n->prev)
        n->tag = !is_control(n) && !is_outside(n) && is_simple(n) && decides(n);
}

/* ---- blocks ---- */

static epl_block_kind kind_of(const epl_node *n) { return is_control(n) ? EPL_BLOCK_CONTROL : n->tag ? EPL_BLOCK_LOGIC : EPL_BLOCK_TENSOR; }

static int count_nodes(const epl_graph *g)
{
    int count = 0;
    for (const epl_node *n = g->first; n; n = n->next) {
        count++;
        for (int r = 0; r < n->n_regions && is_control(n); r++)
            count += count_nodes(n->regions[r]);
    }
    return count;
}

static bool collect(epl_flow *f, const epl_graph *g)
{
    epl_flow_block *b = NULL;
    mark_logic(g);
    for (const epl_node *n = g->first; n; n = n->next) {
        if (is_outside(n))
            continue;
        if (!b || b->kind != kind_of(n) || b->kind == EPL_BLOCK_CONTROL) {
            b = &f->blocks[f->n_blocks++];
            *b = (epl_flow_block){ .kind = kind_of(n), .graph = g, .number = kind_of(n) == EPL_BLOCK_TENSOR ? f->n_tensor++ : -1 };
            b->nodes = epl_arena_alloc(f->arena, (size_t)g->n_nodes * sizeof *b->nodes);
            if (!b->nodes)
                return false;
        }
        b->nodes[b->n_nodes++] = n;
        const epl_cost c = is_control(n) ? (epl_cost){ 0 } : epl_node_cost(n);
        b->cost.macs += c.macs;
        b->cost.flops += c.flops;
        for (int r = 0; is_control(n) && r < n->n_regions; r++)
            if (!collect(f, n->regions[r]))
                return false;
    }
    return true;
}

/* ---- liveness ---- */

static bool makes(const epl_flow_block *b, const epl_node *n)
{
    for (int i = 0; i < b->n_nodes; i++)
        if (b->nodes[i] == n)
            return true;
    return false;
}

static void add_once(epl_value **list, int *n, epl_value *v)
{
    for (int i = 0; i < *n; i++)
        if (list[i] == v)
            return;
    list[(*n)++] = v;
}

static bool is_weight(const epl_node *n) { return EPL_IS(n, parameter) || EPL_IS(n, state) || EPL_IS(n, constant); }

static bool find_ends(epl_flow *f, epl_flow_block *b)
{
    size_t n_in = 0, n_out = 0;
    for (int k = 0; k < b->n_nodes; k++) {
        n_in += (size_t)b->nodes[k]->n_inputs;
        n_out += (size_t)b->nodes[k]->n_outputs;
    }
    b->in  = epl_arena_alloc(f->arena, (n_in + 1) * sizeof *b->in);
    b->out = epl_arena_alloc(f->arena, (n_out + 1) * sizeof *b->out);
    for (int k = 0; b->in && b->out && k < b->n_nodes; k++) {
        const epl_node *n = b->nodes[k];
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] && !is_weight(n->inputs[i]->producer) && !makes(b, n->inputs[i]->producer))
                add_once(b->in, &b->n_in, n->inputs[i]);
        for (int i = 0; i < n->n_outputs; i++)
            for (size_t u = 0; u < n->outputs[i]->n_uses; u++)
                if (!makes(b, n->outputs[i]->uses[u].node))
                    add_once(b->out, &b->n_out, n->outputs[i]);
    }
    return b->in && b->out;
}

/* Values are numbered in the order in which they appear; what a region reads has a name around it, too. */
static void number_values(const epl_graph *g, int64_t *next)
{
    for (const epl_node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->tag = is_weight(n) ? -1 : (*next)++;
        for (int r = 0; is_control(n) && r < n->n_regions; r++)
            number_values(n->regions[r], next);
    }
}

/* ---- the whole ---- */

static bool prepare(epl_graph *g, epl_partition_opts o)
{
    const int unroll = o.unroll;
    return epl_lower_exits(g) && epl_split_choices(g, 0) && epl_inline_calls(g) && epl_fold_control(g, unroll) &&
           epl_trim_regions(g, true) && epl_fold_batch_norm(g) && epl_simplify(g) && epl_fold_control(g, unroll) &&
           epl_trim_regions(g, true) &&
           (o.least <= 0 ||
            (epl_select_small(g, o.least) && epl_simplify(g) && epl_trim_regions(g, true) && epl_remove_dead(g) >= 0));
}

epl_flow *epl_flow_new(const epl_graph *g, epl_partition_opts o)
{
    epl_context *ctx = epl_graph_context(g);
    epl_flow    *f   = epl_alloc(ctx, sizeof *f);
    if (!f)
        return NULL;
    f->arena = epl_arena_new(ctx);
    f->graph = epl_graph_copy(g);
    bool ok = f->arena && f->graph && prepare(f->graph, o);
    f->blocks = ok ? epl_arena_alloc(f->arena, (size_t)(count_nodes(f->graph) + 1) * sizeof *f->blocks) : NULL;
    ok = f->blocks && collect(f, f->graph);
    for (int i = 0; ok && i < f->n_blocks; i++)
        if (f->blocks[i].kind == EPL_BLOCK_TENSOR)
            ok = find_ends(f, &f->blocks[i]);
    if (!ok) {
        epl_flow_free(f);
        return NULL;
    }
    int64_t next = 0;
    number_values(f->graph, &next);
    return f;
}

void epl_flow_free(epl_flow *f)
{
    if (!f)
        return;
    epl_context *ctx = f->graph ? epl_graph_context(f->graph) : NULL;
    epl_arena_free(f->arena);
    epl_graph_free(f->graph);
    if (ctx)
        epl_release(ctx, f);
}

const char *epl_flow_name(const epl_value *v, char out[96])
{
    const epl_node *p = v->producer;
    if (EPL_IS(p, constant) && epl_shape_count(v->shape) == 1)
        snprintf(out, 96, "%g", epl_tensor_get(p->attrs[0].tensor, 0));
    else if (EPL_IS(p, input) && !p->graph->owner)
        snprintf(out, 96, "%.90s", p->attrs[0].s);
    else if (is_weight(p))
        snprintf(out, 96, "%.90s", EPL_IS(p, constant) ? "constant" : p->attrs[0].s);
    else
        snprintf(out, 96, "v%lld", (long long)v->tag);
    return out;
}

void epl_flow_expression(const epl_node *n, epl_text *t)
{
    char name[96];
    epl_text_addf(t, "%s = %s(", epl_flow_name(n->outputs[0], name), n->op->name);
    for (int i = 0; i < n->n_inputs; i++)
        epl_text_addf(t, "%s%s", i ? ", " : "", n->inputs[i] ? epl_flow_name(n->inputs[i], name) : "");
    epl_text_add(t, ")");
}

const epl_flow_block *epl_flow_first(const epl_flow *f, const epl_graph *g)
{
    for (int i = 0; i < f->n_blocks; i++)
        if (f->blocks[i].graph == g)
            return &f->blocks[i];
    return NULL;
}
