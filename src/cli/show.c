/* show: a network as text, as a picture, or as the steps of its program. */
#include <string.h>

#include "cli.h"

/* ---- the picture: one box per node, without those that only name a tensor ---- */

typedef struct picture {
    epl_context *ctx;
    epl_diagram *diagram;
    int          n, *box; /* by the node's id: its box, or 0 */
} picture;

static bool is_op(const epl_node *n, const char *name) { return strcmp(epl_node_op_name(n), name) == 0; }

static bool is_drawn(const epl_node *n)
{
    return !is_op(n, "Parameter") && !is_op(n, "State") && !is_op(n, "Constant") && !is_op(n, "Update");
}

static int highest_id(const epl_graph *g)
{
    int most = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n)) {
        most = epl_node_id(n) > most ? epl_node_id(n) : most;
        for (int i = 0; i < epl_node_n_regions(n); i++) {
            const int inner = highest_id(epl_node_region(n, i));
            most = inner > most ? inner : most;
        }
    }
    return most;
}

/* Operator; the last words of its scope; the shape of its result. */
static void add_label(epl_text *out, const epl_node *n)
{
    char        shape[192];
    const char *scope = epl_node_scope(n);
    const char *name  = is_op(n, "Input") || is_op(n, "Output") ? epl_attr_s(n, "name") : scope ? scope : "";
    epl_text_add(out, epl_node_op_name(n));
    if (*name)
        epl_text_addf(out, "\n%s", name);
    const epl_value *v = epl_node_n_outputs(n) ? epl_node_output(n, 0) : epl_node_n_inputs(n) ? epl_node_input(n, 0) : NULL;
    if (v)
        epl_text_addf(out, "\n%s %s", epl_dtype_name(epl_dtype_of(v)), epl_shape_text(shape, epl_shape_of(v)));
}

static void draw_graph(picture *p, const epl_graph *g, int region);

static void draw_node(picture *p, const epl_node *n, int region)
{
    epl_text   label = EPL_TEXT(p->ctx);
    const bool end = is_op(n, "Input") || is_op(n, "Output");
    add_label(&label, n);
    p->box[epl_node_id(n)] = epl_diagram_node(p->diagram, epl_text_str(&label),
                                              (epl_diagram_node_opts){ .region = region, .rounded = end,
                                                                       .color = epl_node_cost(n).macs > 0 ? 1 : 0 });
    epl_text_release(&label);
    for (int i = 0; i < epl_node_n_inputs(n); i++) {
        const epl_value *v = epl_node_input(n, i);
        if (v && p->box[epl_node_id(epl_producer(v))] > 0)
            epl_diagram_edge(p->diagram, p->box[epl_node_id(epl_producer(v))], p->box[epl_node_id(n)], NULL);
    }
    for (int i = 0; i < epl_node_n_regions(n); i++) {
        epl_text name = EPL_TEXT(p->ctx);
        epl_text_addf(&name, "%s, part %d", epl_node_op_name(n), i + 1);
        draw_graph(p, epl_node_region(n, i), epl_diagram_region(p->diagram, epl_text_str(&name), region));
        epl_text_release(&name);
    }
}

static void draw_graph(picture *p, const epl_graph *g, int region)
{
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (is_drawn(n))
            draw_node(p, n, region);
}

static char *draw(cli *c, const epl_graph *g)
{
    picture p = { .ctx = c->ctx, .n = highest_id(g) + 1 };
    p.diagram = epl_diagram_new(c->ctx, (epl_diagram_opts){ .title = epl_graph_name(g) });
    p.box     = epl_alloc_array(c->ctx, (size_t)p.n, sizeof *p.box);
    if (p.box)
        draw_graph(&p, g, 0);
    char *svg = p.box ? epl_diagram_svg(p.diagram) : NULL;
    epl_diagram_free(p.diagram);
    epl_release(c->ctx, p.box);
    return svg;
}

/* ---- */

static char *print_program(cli *c, epl_model *m)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true, .plan_only = true });
    char *text = p ? epl_program_print(p) : NULL;
    epl_program_free(p);
    (void)c;
    return text;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL;
    cli_dims dims = { 0 };
    bool svg = false, program = false, flow = false, dot = false;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_FLAG(0, "svg", &svg, "a picture of the graph, as SVG"),
        EPL_OPT_FLAG(0, "program", &program, "the planned steps of inference: kernel, operator, shapes, and why a fast kernel declined"),
        EPL_OPT_FLAG(0, "hcfg", &flow, "the blocks between choices and loops, what they take and give, and where each goes on"),
        EPL_OPT_FLAG(0, "dot", &dot, "the same for Graphviz"),
        EPL_OPT_PATH('o', "output", &out, "where to write it (default: the standard output)"),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if (svg + program + (flow || dot) > 1) {
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%s and %s do not go together", svg ? "--svg" : "--program",
                 svg && program ? "--program"
                 : flow         ? "--hcfg"
                                : "--dot");
        return cli_status(c);
    }
    epl_model *m = cli_model_load(c, in, &dims);
    bool ok = m != NULL;
    if (ok)
        ok = cli_write_take(c, out,
                            svg           ? draw(c, m->graph)
                            : flow || dot ? epl_control_flow(m->graph, dot)
                            : program     ? print_program(c, m)
                                          : epl_graph_print(m->graph));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_show = {
    .name = "show", .run = run,
    .summary  = "a network as text, as a picture, or as the steps of its program",
    .about    = "The text is the graph as model files carry it; docs/graph-text.md is its grammar.",
    .examples = "espalier show m.safetensors\nespalier show m.safetensors --svg -o m.svg\n"
                "espalier show m.safetensors --program --batch 64\nespalier show skipnet-ff:depth=8 --hcfg",
};
