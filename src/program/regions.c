/* regions: how often each region of a program's control flow ran, what it costs, and what runs executed. */
#include "program/program.h"

typedef struct walk {
    int                wanted, n_regions, n_nodes; /* wanted: the region asked for; -1: none */
    bool               clear;
    epl_region_profile found;
} walk;

/* Of a block, without the regions in it. */
static epl_cost own_cost(const epl_graph *g)
{
    epl_cost sum = { 0 };
    for (const epl_node *n = g->first; n; n = n->next) {
        const bool     control = EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, loop);
        const epl_cost c = control ? (epl_cost){ 0 } : epl_node_cost(n);
        sum.macs += c.macs;
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

static void visit(walk *w, epl_block *b, int parent)
{
    for (size_t k = 0; k < b->n_steps; k++) {
        epl_step *s = &b->steps[k];
        s->share = w->clear ? 0 : s->share;
        const int node = w->n_nodes, first = w->n_regions;
        if (!s->blocks)
            continue;
        w->n_nodes++;
        for (int r = 0; r < s->node->n_regions; r++, w->n_regions++) {
            if (w->clear)
                s->blocks[r]->runs = 0;
            if (w->n_regions == w->wanted)
                w->found = (epl_region_profile){ s->node->op->name, s->node->scope, node, r, parent, s->blocks[r]->runs,
                                                 own_cost(s->blocks[r]->graph) };
        }
        for (int r = 0; r < s->node->n_regions; r++)
            visit(w, s->blocks[r], first + r);
    }
}

int epl_program_n_regions(const epl_program *p)
{
    walk w = { .wanted = -1 };
    visit(&w, p->root, -1);
    return w.n_regions;
}

epl_region_profile epl_program_region(const epl_program *p, int i)
{
    walk w = { .wanted = i };
    visit(&w, p->root, -1);
    return w.found;
}

void epl_program_clear_regions(epl_program *p)
{
    walk w = { .wanted = -1, .clear = true };
    p->root->runs = 0;
    visit(&w, p->root, -1);
}

epl_cost epl_program_outside(const epl_program *p) { return own_cost(p->root->graph); }

/* ---- what was executed ---- */

/* By all runs of the block. */
static epl_cost executed(const epl_block *b, const epl_step *s)
{
    epl_cost sum = { 0 };
    if (!s->blocks) {
        const epl_cost c = epl_step_cost(b, s);
        const double   runs = (double)b->runs;
        return (epl_cost){ c.macs * (s->gated ? s->share : runs), c.flops * runs, c.bytes * runs };
    }
    for (int r = 0; r < s->node->n_regions; r++)
        for (size_t k = 0; k < s->blocks[r]->n_steps; k++) {
            const epl_cost c = executed(s->blocks[r], &s->blocks[r]->steps[k]);
            sum.macs += c.macs;
            sum.flops += c.flops;
            sum.bytes += c.bytes;
        }
    return sum;
}

epl_cost epl_program_step_executed(const epl_program *p, int i)
{
    const epl_cost all = executed(p->root, &p->root->steps[i]);
    const double   runs = (double)p->root->runs;
    return runs > 0 ? (epl_cost){ all.macs / runs, all.flops / runs, all.bytes / runs } : epl_step_cost(p->root, &p->root->steps[i]);
}
