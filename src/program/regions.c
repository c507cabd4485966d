/* regions: how often each region of a program's control flow ran, and what it costs. */
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
        const epl_step *s = &b->steps[k];
        const int       node = w->n_nodes, first = w->n_regions;
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
    visit(&w, p->root, -1);
}

epl_cost epl_program_outside(const epl_program *p) { return own_cost(p->root->graph); }
