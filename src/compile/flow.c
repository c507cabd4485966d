/* The control-flow graph as text and for Graphviz: a node for each block, an edge for each way to go on. */
#include "compile/blocks.h"

#include <stdio.h>

typedef struct printer {
    const epl_flow *f;
    epl_text        t;
    bool            dot;
} printer;

static int index_of(const printer *p, const epl_flow_block *b) { return b ? (int)(b - p->f->blocks) : -1; }

/* The block that follows b in its own graph. */
static const epl_flow_block *next_in_graph(const epl_flow *f, const epl_flow_block *b)
{
    for (const epl_flow_block *x = b + 1; x < f->blocks + f->n_blocks; x++)
        if (x->graph == b->graph)
            return x;
    return NULL;
}

/* Where control goes behind graph g: to the block behind its node; of a loop's body back to the loop. -1: the end. */
static int behind(const printer *p, const epl_graph *g)
{
    const epl_node *owner = g->owner;
    for (int i = 0; owner && i < p->f->n_blocks; i++) {
        const epl_flow_block *b = &p->f->blocks[i];
        if (b->kind != EPL_BLOCK_CONTROL || b->nodes[0] != owner)
            continue;
        const epl_flow_block *next = next_in_graph(p->f, b);
        return EPL_IS(owner, loop) ? i : next ? index_of(p, next) : behind(p, b->graph);
    }
    return -1;
}

static int after(const printer *p, const epl_flow_block *b)
{
    const epl_flow_block *next = next_in_graph(p->f, b);
    return next ? index_of(p, next) : behind(p, b->graph);
}

static void place(int block, char out[16])
{
    if (block < 0)
        strcpy(out, "end");
    else
        snprintf(out, 16, "b%d", block);
}

static void add_values(printer *p, const char *head, int n, epl_value *const *values)
{
    char name[96];
    epl_text_add(&p->t, head);
    for (int i = 0; i < n; i++)
        epl_text_addf(&p->t, "%s%s", i ? ", " : "", epl_flow_name(values[i], name));
    epl_text_add(&p->t, "}");
}

static void label(printer *p, const epl_flow_block *b)
{
    char            name[96], macs[32];
    const epl_node *n     = b->nodes[0];
    const char     *line  = p->dot ? "\\n" : "  ";
    if (b->kind == EPL_BLOCK_TENSOR) {
        epl_format_count(macs, b->cost.macs);
        epl_text_addf(&p->t, "network %d%s%d nodes, %s MACs%s", b->number, line, b->n_nodes, macs, line);
        add_values(p, "{", b->n_in, b->in);
        add_values(p, " -> {", b->n_out, b->out);
    } else if (b->kind == EPL_BLOCK_LOGIC) {
        for (int i = 0; i < b->n_nodes; i++) {
            epl_text_add(&p->t, i ? (p->dot ? "\\n" : "; ") : "");
            epl_flow_expression(b->nodes[i], &p->t);
        }
    } else {
        epl_text_addf(&p->t, "%s%s%s", n->op->name, n->scope[0] ? " " : "", n->scope);
        if (n->n_inputs && n->inputs[0])
            epl_text_addf(&p->t, "%son %s", line, epl_flow_name(n->inputs[0], name));
        if (EPL_IS(n, loop) && epl_attr_i(n, "trip") != INT32_MAX)
            epl_text_addf(&p->t, "%sat most %lld times", line, (long long)epl_attr_i(n, "trip"));
    }
}

static void edge(printer *p, int from, int to, const char *when, bool first)
{
    char a[16], b[16];
    place(from, a);
    place(to, b);
    if (p->dot)
        epl_text_addf(&p->t, "  %s -> %s%s%s%s;\n", a, b, when ? " [label=\"" : "", when ? when : "", when ? "\"]" : "");
    else
        epl_text_addf(&p->t, "%s%s%s%s", first ? "  -> " : ", ", b, when ? " " : "", when ? when : "");
}

static void edges(printer *p, int i)
{
    const epl_flow_block *b = &p->f->blocks[i];
    const epl_node       *n = b->nodes[0];
    char                  when[24];
    if (b->kind != EPL_BLOCK_CONTROL) {
        edge(p, i, after(p, b), NULL, true);
        return;
    }
    for (int r = 0; r < n->n_regions; r++) {
        const epl_flow_block *inside = epl_flow_first(p->f, n->regions[r]);
        if (EPL_IS(n, switch))
            snprintf(when, sizeof when, "%d", r);
        else
            strcpy(when, EPL_IS(n, loop) ? "again" : r ? "else" : "then");
        edge(p, i, inside ? index_of(p, inside) : EPL_IS(n, loop) ? i : after(p, b), when, r == 0);
    }
    if (EPL_IS(n, loop))
        edge(p, i, after(p, b), "done", false);
}

static void print_block(printer *p, int i)
{
    static const char *const shapes[] = { "box", "ellipse", "diamond" };
    static const char *const kinds[]  = { "tensor ", "logic  ", "control" };
    const epl_flow_block *b = &p->f->blocks[i];
    if (p->dot)
        epl_text_addf(&p->t, "  b%d [shape=%s, label=\"", i, shapes[b->kind]);
    else
        epl_text_addf(&p->t, "b%-3d %s  ", i, kinds[b->kind]);
    label(p, b);
    if (p->dot)
        epl_text_add(&p->t, "\"];\n");
    edges(p, i);
    if (!p->dot)
        epl_text_add(&p->t, "\n");
}

char *epl_control_flow(const epl_graph *g, bool dot)
{
    printer p = { .f = epl_flow_new(g, (epl_partition_opts){ 0 }), .t = EPL_TEXT(epl_graph_context(g)), .dot = dot };
    if (!p.f)
        return NULL;
    if (dot)
        epl_text_add(&p.t, "digraph flow {\n  end [shape=plaintext];\n");
    for (int i = 0; i < p.f->n_blocks; i++)
        print_block(&p, i);
    if (dot)
        epl_text_add(&p.t, "}\n");
    else
        epl_text_addf(&p.t, "%d blocks, %d networks\n", p.f->n_blocks, p.f->n_tensor);
    epl_flow_free((epl_flow *)(uintptr_t)p.f);
    return epl_text_detach(&p.t);
}
