/* A dynamic network cut at its control flow: a model file for each block without any, and the program that calls
 * them, as text. The rewriting of DyCL, Chen et al. 2023, on graphs: whoever has a compiler for static networks can
 * take the parts from here. */
#include "compile/blocks.h"

#include <stdio.h>

typedef struct partition {
    epl_flow        *f;
    const epl_model *m;
    const char      *dir;
    epl_text         t;
    int              indent;
} partition;

/* ---- the networks ---- */

static bool add_inputs(epl_graph *g, const epl_flow_block *b)
{
    char name[96];
    for (int i = 0; i < b->n_in; i++) {
        epl_value *v = b->in[i];
        v->mark = epl_input(g, epl_flow_name(v, name), v->dtype, v->shape, NULL);
        if (!v->mark)
            return false;
    }
    return true;
}

/* Weights and constants go with the nodes that read them. */
static bool add_node(epl_graph *g, const epl_node *n)
{
    for (int i = 0; i < n->n_inputs; i++) {
        const epl_node *p = n->inputs[i] ? n->inputs[i]->producer : NULL;
        if (p && (EPL_IS(p, parameter) || EPL_IS(p, state) || EPL_IS(p, constant)) && !epl_copy_node(g, p, ""))
            return false;
    }
    return epl_copy_node(g, n, "");
}

static epl_graph *network(const partition *p, const epl_flow_block *b)
{
    char       name[96];
    epl_graph *g  = epl_graph_new(p->m->ctx, "part");
    bool       ok = g && add_inputs(g, b);
    for (int i = 0; ok && i < b->n_nodes; i++)
        ok = add_node(g, b->nodes[i]);
    for (int i = 0; ok && i < b->n_out; i++)
        ok = epl_output(g, epl_flow_name(b->out[i], name), b->out[i]->mark) != NULL;
    if (ok && epl_graph_finish(g))
        return g;
    epl_graph_free(g);
    return NULL;
}

/* The weights that the network names, of all that there are. */
static bool take_weights(epl_model *part, const epl_model *all)
{
    for (const epl_node *n = part->graph->first; n; n = n->next) {
        if (!EPL_IS(n, parameter) && !EPL_IS(n, state))
            continue;
        const epl_tensor *t = epl_weights_find(all->weights, n->attrs[0].s);
        epl_tensor       *copy = t ? epl_tensor_copy(part->ctx, t) : NULL;
        if (!t)
            return epl_fail(part->ctx, EPL_ERR_ARGUMENT, "the weights have no tensor '%s'", n->attrs[0].s);
        if (!copy || !epl_weights_put_take(part->weights, n->attrs[0].s, copy))
            return false;
    }
    return true;
}

static bool save_network(const partition *p, const epl_flow_block *b)
{
    epl_graph *g    = network(p, b);
    epl_model *part = g ? epl_model_new_take(g) : NULL;
    epl_text   path = EPL_TEXT(p->m->ctx);
    epl_text_addf(&path, "%s/network_%d.safetensors", p->dir, b->number);
    const bool ok = part && take_weights(part, p->m) && !path.failed && epl_model_save(part, epl_text_str(&path));
    epl_text_release(&path);
    epl_model_free(part);
    return ok;
}

/* ---- the host ---- */

static void margin(partition *p) { epl_text_addf(&p->t, "%*s", 4 * p->indent, ""); }

static void line(partition *p, const char *format, ...) EPL_PRINTF(2, 3);
static void line(partition *p, const char *format, ...)
{
    char    text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    margin(p);
    epl_text_add(&p->t, text);
}

static void add_list(partition *p, int n, epl_value *const *values)
{
    char name[96];
    for (int i = 0; i < n; i++)
        epl_text_addf(&p->t, "%s%s", i ? ", " : "", epl_flow_name(values[i], name));
}

static void host_graph(partition *p, const epl_graph *g);

/* What a region calls its inputs, and what it hands back. */
static void host_region(partition *p, const epl_node *n, int r)
{
    const epl_graph *g    = n->regions[r];
    const bool       loop = EPL_IS(n, loop);
    char             inside[96], outside[96];
    p->indent++;
    for (int i = loop ? (int)epl_attr_i(n, "n_carried") + 2 : 0; i < epl_graph_n_inputs(g); i++)
        if (epl_graph_input_at(g, i)->n_uses)
            line(p, "%s := %s\n", epl_flow_name(epl_graph_input_at(g, i), inside), epl_flow_name(n->inputs[loop ? i - 1 : i + 1], outside));
    host_graph(p, g);
    line(p, loop ? "next " : "give ");
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        epl_text_addf(&p->t, "%s%s", i ? ", " : "", epl_flow_name(epl_graph_output_at(g, i), inside));
    epl_text_add(&p->t, "\n");
    p->indent--;
}

static void host_branch(partition *p, const epl_node *n)
{
    char cond[96];
    margin(p);
    add_list(p, n->n_outputs, n->outputs);
    epl_text_addf(&p->t, " = %s %s {\n", EPL_IS(n, if) ? "if" : "switch", epl_flow_name(n->inputs[0], cond));
    for (int r = 0; r < n->n_regions; r++) {
        if (r && EPL_IS(n, if))
            line(p, "} else {\n");
        else if (r)
            line(p, "} case %d {\n", r);
        host_region(p, n, r);
    }
    line(p, "}\n");
}

static void host_loop(partition *p, const epl_node *n)
{
    const int  n_carried = (int)epl_attr_i(n, "n_carried");
    char       name[96], from[96];
    margin(p);
    add_list(p, n->n_outputs, n->outputs);
    epl_text_addf(&p->t, " = loop %s", epl_flow_name(epl_graph_input_at(n->regions[0], 0), name));
    if (epl_attr_i(n, "trip") != INT32_MAX)
        epl_text_addf(&p->t, " below %lld", (long long)epl_attr_i(n, "trip"));
    epl_text_addf(&p->t, " while %s := %s", epl_flow_name(epl_graph_input_at(n->regions[0], 1), name),
                  n->n_inputs && n->inputs[0] ? epl_flow_name(n->inputs[0], from) : "1");
    for (int i = 0; i < n_carried; i++)
        epl_text_addf(&p->t, ", %s := %s", epl_flow_name(epl_graph_input_at(n->regions[0], 2 + i), name),
                      epl_flow_name(n->inputs[1 + i], from));
    epl_text_add(&p->t, " {\n");
    host_region(p, n, 0);
    line(p, "}\n");
}

static void host_block(partition *p, const epl_flow_block *b)
{
    if (b->kind == EPL_BLOCK_TENSOR) {
        margin(p);
        add_list(p, b->n_out, b->out);
        epl_text_addf(&p->t, " = network_%d(", b->number);
        add_list(p, b->n_in, b->in);
        epl_text_add(&p->t, ")\n");
    } else if (b->kind == EPL_BLOCK_CONTROL) {
        if (EPL_IS(b->nodes[0], loop))
            host_loop(p, b->nodes[0]);
        else
            host_branch(p, b->nodes[0]);
    }
    for (int i = 0; b->kind == EPL_BLOCK_LOGIC && i < b->n_nodes; i++) {
        margin(p);
        epl_flow_expression(b->nodes[i], &p->t);
        epl_text_add(&p->t, "\n");
    }
}

static void host_graph(partition *p, const epl_graph *g)
{
    for (int i = 0; i < p->f->n_blocks; i++)
        if (p->f->blocks[i].graph == g)
            host_block(p, &p->f->blocks[i]);
}

/* Weights that the logic reads, such as thresholds. */
static void host_weights(partition *p)
{
    for (int i = 0; i < p->f->n_blocks; i++) {
        const epl_flow_block *b = &p->f->blocks[i];
        for (int k = 0; b->kind == EPL_BLOCK_LOGIC && k < b->n_nodes; k++)
            for (int in = 0; in < b->nodes[k]->n_inputs; in++) {
                const epl_node   *w = b->nodes[k]->inputs[in] ? b->nodes[k]->inputs[in]->producer : NULL;
                const epl_tensor *t = EPL_IS(w, parameter) || EPL_IS(w, state) ? epl_weights_find(p->m->weights, w->attrs[0].s) : NULL;
                if (t)
                    line(p, "weight %s = %.9g\n", w->attrs[0].s, epl_tensor_get(t, 0));
            }
    }
}

static void host(partition *p)
{
    const epl_graph *g = p->f->graph;
    char             shape[192], name[96];
    host_weights(p);
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        line(p, "input %s %s%s\n", epl_flow_name(v, name), epl_dtype_name(v->dtype), epl_shape_text(shape, v->shape));
    }
    host_graph(p, g);
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        line(p, "output %s = %s\n", epl_graph_output_name(g, i), epl_flow_name(epl_graph_output_at(g, i), name));
}

/* ---- */

static void count(const epl_flow *f, epl_partition_result *out)
{
    *out = (epl_partition_result){ .networks = f->n_tensor };
    for (int i = 0; i < f->n_blocks; i++)
        if (f->blocks[i].kind == EPL_BLOCK_CONTROL) {
            out->loops += EPL_IS(f->blocks[i].nodes[0], loop);
            out->choices += !EPL_IS(f->blocks[i].nodes[0], loop);
        }
}

bool epl_partition(const epl_model *m, const char *dir, epl_partition_opts o, epl_partition_result *out)
{
    partition p    = { .f = epl_flow_new(m->graph, o), .m = m, .dir = dir, .t = EPL_TEXT(m->ctx) };
    epl_text  path = EPL_TEXT(m->ctx);
    bool      ok   = p.f && epl_make_directories(m->ctx, dir);
    for (int i = 0; ok && i < p.f->n_blocks; i++)
        if (p.f->blocks[i].kind == EPL_BLOCK_TENSOR)
            ok = save_network(&p, &p.f->blocks[i]);
    if (ok) {
        host(&p);
        epl_text_addf(&path, "%s/host.txt", dir);
        ok = !p.t.failed && !path.failed && epl_write_file(m->ctx, epl_text_str(&path), epl_text_str(&p.t), p.t.length);
    }
    if (ok && out)
        count(p.f, out);
    epl_text_release(&path);
    epl_text_release(&p.t);
    epl_flow_free(p.f);
    return ok;
}
