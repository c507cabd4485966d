/* export_control: If, Switch and Loop. A region reads the graph around it through its inputs; an ONNX sub-graph sees the names
 * around it, so a capture's name is simply the outer one. A Switch becomes a chain of Ifs. */
#include "onnx/export.h"

#include <string.h>

static Onnx__GraphProto *new_body(onnx_export *x)
{
    Onnx__GraphProto *b = onnx_alloc(x, sizeof *b);
    if (b) {
        onnx__graph_proto__init(b);
        b->name = (char *)(uintptr_t)onnx_unique(x, "body");
    }
    return b;
}

/* The region's input i takes the name of a value around it; a weight is read in whatever form the region needs. */
static void capture(onnx_export *x, const epl_node *n, epl_graph *region, int i, epl_value *outer)
{
    onnx_place *at = onnx_at(epl_graph_input_at(region, i));
    if (onnx_is_leaf(outer))
        at->captured = onnx_at(outer)->captured ? onnx_at(outer)->captured : outer;
    else
        at->plain = onnx_plain(x, n, outer);
}

/* Result i under a name of the sub-graph's own: it may be a value from around it, or two results may be one value. */
static void deliver(onnx_export *x, const epl_node *n, epl_value *v)
{
    const char *name = onnx_step(x, n, "Identity", onnx_plain(x, n, v), NULL);
    onnx_push(x, &x->body->output, &x->body->n_output, onnx_value_info(x, name, v, NULL));
}

/* ---- If, Switch -------------------------------------------------------------------------------------------------- */
static Onnx__GraphProto *branch(onnx_export *x, const epl_node *n, int r)
{
    Onnx__GraphProto *outer = x->body, *b = new_body(x);
    epl_graph        *region = n->regions[r];
    for (int i = 1; i < n->n_inputs; i++)
        capture(x, n, region, i - 1, n->inputs[i]);
    if (!b)
        return NULL;
    x->body = b;
    const bool ok = onnx_emit_graph(x, region);
    for (int i = 0; ok && i < epl_graph_n_outputs(region); i++)
        deliver(x, n, epl_graph_output_at(region, i));
    x->body = outer;
    return ok ? b : NULL;
}

static Onnx__NodeProto *choose(onnx_export *x, const epl_node *n, const char *cond, Onnx__GraphProto *yes, Onnx__GraphProto *no)
{
    Onnx__NodeProto *p = yes && no ? onnx_begin(x, n, "If") : NULL;
    onnx_arg(x, p, cond);
    if (!p)
        return NULL;
    onnx_set_graph(x, p, "then_branch", yes);
    onnx_set_graph(x, p, "else_branch", no);
    return p;
}

static bool emit_if(onnx_export *x, const epl_node *n)
{
    const char       *cond = onnx_plain(x, n, n->inputs[0]);
    Onnx__GraphProto *yes = branch(x, n, 0), *no = yes ? branch(x, n, 1) : NULL;
    Onnx__NodeProto  *p = choose(x, n, cond, yes, no);
    for (int i = 0; p && i < n->n_outputs; i++)
        onnx_gives(x, p, n->outputs[i], false);
    return p != NULL;
}

/* Regions k and those after it: If(index <= k) region k, else the rest. */
static Onnx__NodeProto *switch_from(onnx_export *x, const epl_node *n, const char *index, int k)
{
    const char       *cond = onnx_step(x, n, "LessOrEqual", index, onnx_const_int(x, k));
    Onnx__GraphProto *yes = branch(x, n, k), *no = NULL, *outer = x->body;
    if (yes && k + 2 >= n->n_regions) {
        no = branch(x, n, n->n_regions - 1);
    } else if (yes && (no = new_body(x))) {
        x->body = no;
        Onnx__NodeProto *rest = switch_from(x, n, index, k + 1);
        for (int i = 0; rest && i < n->n_outputs; i++)
            onnx_push(x, &no->output, &no->n_output, onnx_value_info(x, onnx_between(x, rest), n->outputs[i], NULL));
        x->body = outer;
        no = rest ? no : NULL;
    }
    return choose(x, n, cond, yes, no);
}

static bool emit_switch(onnx_export *x, const epl_node *n)
{
    Onnx__NodeProto *p = switch_from(x, n, onnx_plain(x, n, n->inputs[0]), 0);
    for (int i = 0; p && i < n->n_outputs; i++)
        onnx_gives(x, p, n->outputs[i], false);
    return p != NULL;
}

/* ---- Loop -------------------------------------------------------------------------------------------------------- */

/* inputs: condition, carried..., captures...; the body's: iteration, condition, carried..., captures... */
typedef struct loop {
    const epl_node *n;
    epl_graph      *body;
    int             carried, scans;
    bool            counts;   /* somebody reads how many iterations were made: one more carried value */
    const char     *count_in; /* its name in the body */
} loop;

/* The body's input i, under a name of its own. */
static const char *body_input(onnx_export *x, Onnx__GraphProto *b, const char *name, const epl_value *type)
{
    onnx_push(x, &b->input, &b->n_input, onnx_value_info(x, name, type, NULL));
    return name;
}

static void name_body_inputs(onnx_export *x, loop *l, Onnx__GraphProto *b)
{
    for (int i = 0; i < epl_graph_n_inputs(l->body); i++) {
        epl_value *v = epl_graph_input_at(l->body, i);
        if (i < 2 + l->carried)
            onnx_at(v)->plain = body_input(x, b, onnx_unique(x, "loop_%d.%s", l->n->id, epl_value_name(v)), v);
        else
            capture(x, l->n, l->body, i, l->n->inputs[i - 1]); // the iteration is not among the node's inputs
    }
    if (l->counts)
        l->count_in = body_input(x, b, onnx_unique(x, "loop_%d.count", l->n->id), epl_graph_input_at(l->body, 0));
}

static Onnx__GraphProto *loop_body(onnx_export *x, loop *l)
{
    Onnx__GraphProto *outer = x->body, *b = new_body(x);
    if (!b)
        return NULL;
    name_body_inputs(x, l, b);
    x->body = b;
    bool ok = onnx_emit_graph(x, l->body);
    for (int i = 0; ok && i < epl_graph_n_outputs(l->body); i++) {
        if (l->counts && i == 1 + l->carried) { // between the carried values and the scans
            const char *next = onnx_step(x, l->n, "Add", l->count_in, onnx_const_int(x, 1));
            onnx_push(x, &b->output, &b->n_output, onnx_value_info(x, next, epl_graph_input_at(l->body, 0), NULL));
        }
        deliver(x, l->n, epl_graph_output_at(l->body, i));
    }
    if (ok && l->counts && l->scans == 0) {
        const char *next = onnx_step(x, l->n, "Add", l->count_in, onnx_const_int(x, 1));
        onnx_push(x, &b->output, &b->n_output, onnx_value_info(x, next, epl_graph_input_at(l->body, 0), NULL));
    }
    x->body = outer;
    return ok ? b : NULL;
}

/* The condition that the body delivers is the constant true, or the one it was given. */
static bool never_stops(const epl_graph *body)
{
    const epl_value *again = epl_graph_output_at(body, 0);
    if (EPL_IS(again->producer, constant))
        return epl_tensor_get(again->producer->attrs[0].tensor, 0) != 0;
    return again == epl_graph_input_at(body, 1);
}

static bool emit_loop(onnx_export *x, const epl_node *n)
{
    loop l = { .n = n, .body = n->regions[0], .carried = (int)epl_attr_i(n, "n_carried") };
    l.scans  = n->n_outputs - 1 - l.carried;
    l.counts = epl_n_uses(n->outputs[n->n_outputs - 1]) > 0;
    if (l.scans && (!never_stops(l.body) || n->inputs[0]))
        return onnx_refuse(n, "it stacks results and may stop early, whose rows ONNX leaves out where ours are zero");
    const char *cond = n->inputs[0] ? onnx_plain(x, n, n->inputs[0]) : "";
    for (int i = 0; i < l.carried; i++)
        onnx_plain(x, n, n->inputs[1 + i]);
    Onnx__GraphProto *body = loop_body(x, &l);
    Onnx__NodeProto  *p = body ? onnx_begin(x, n, "Loop") : NULL;
    if (!p)
        return false;
    onnx_arg(x, p, onnx_const_int(x, epl_attr_i(n, "trip")));
    onnx_arg(x, p, cond);
    for (int i = 0; i < l.carried; i++)
        onnx_arg(x, p, onnx_plain(x, n, n->inputs[1 + i]));
    if (l.counts)
        onnx_arg(x, p, onnx_const_int(x, 0));
    onnx_set_graph(x, p, "body", body);
    for (int i = 0; i < l.carried; i++)
        onnx_gives(x, p, n->outputs[i], false);
    if (l.counts)
        onnx_gives(x, p, n->outputs[n->n_outputs - 1], false);
    for (int i = 0; i < l.scans; i++)
        onnx_gives(x, p, n->outputs[l.carried + i], false);
    return true;
}

const onnx_export_op onnx_export_control[] = {
    { &epl_op_if, "If", emit_if, NULL },
    { &epl_op_switch, "If", emit_switch, NULL },
    { &epl_op_loop, "Loop", emit_loop, NULL },
    { NULL, NULL, NULL, NULL },
};
