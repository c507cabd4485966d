/* diff: two networks beside each other. */
#include "diff.h"

#include <string.h>

#include "inputs.h"

static const char *const states[] = { "equal", "close", "different", "other shape", "missing" };

/* ---- as text ---- */

static int64_t count_states(const epl_diff_tensor *rows, int n, epl_diff_state state)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += rows[i].state == state;
    return sum;
}

static double worst_of(const epl_diff_tensor *rows, int n)
{
    double worst = 0;
    for (int i = 0; i < n; i++)
        worst = rows[i].difference.max_abs > worst ? rows[i].difference.max_abs : worst;
    return worst;
}

static void add_structure(epl_text *out, const epl_diff *d)
{
    int changed = 0, only_a = 0, only_b = 0;
    for (int i = 0; i < d->n_nodes; i++) {
        only_a += d->nodes[i].a.op && !d->nodes[i].b.op;
        only_b += d->nodes[i].b.op && !d->nodes[i].a.op;
        changed += d->nodes[i].a.op && d->nodes[i].b.op;
    }
    if (d->same_structure)
        epl_text_addf(out, "structure  equal: %d operators\n", d->n_operators_a);
    else
        epl_text_addf(out, "structure  different: of %d and %d operators %d changed, %d only in the first, %d only in the second\n",
                      d->n_operators_a, d->n_operators_b, changed, only_a, only_b);
}

static void add_tensors(epl_text *out, const char *what, const epl_diff_tensor *rows, int n, bool same)
{
    const char *comma = "";
    epl_text_addf(out, "%-10s %s: ", what, !same ? "different" : count_states(rows, n, EPL_DIFF_CLOSE) ? "close" : "equal");
    for (int s = 0; s < (int)EPL_COUNT(states); s++) {
        const int64_t count = count_states(rows, n, (epl_diff_state)s);
        if (count)
            epl_text_addf(out, "%s%lld %s", comma, (long long)count, states[s]);
        comma = count ? ", " : comma;
    }
    if (n == 0)
        epl_text_add(out, "none");
    if (worst_of(rows, n) > 0)
        epl_text_addf(out, "; largest difference %.3g", worst_of(rows, n));
    epl_text_add(out, "\n");
}

static void add_place(epl_text *out, const epl_diff_place *p)
{
    epl_text_addf(out, "%s%s%s%s%s", p->op, *p->number ? " " : "", p->number, *p->scope ? " " : "", p->scope);
}

static void add_parting(epl_text *out, const epl_diff *d)
{
    const epl_diff_layer *l = &d->layers[d->first], *before = NULL;
    for (int i = 0; i < d->first; i++)
        if (d->layers[i].state <= EPL_DIFF_CLOSE)
            before = &d->layers[i];
    epl_text_add(out, "they part  at ");
    add_place(out, &l->a);
    if (l->state == EPL_DIFF_MISSING)
        epl_text_add(out, ", which has no counterpart");
    else
        epl_text_addf(out, ": differs by %.3g, %.3g of the largest element", l->difference.max_abs, l->difference.max_rel);
    epl_text_add(out, "\n           ");
    if (before) {
        epl_text_add(out, "the last before it that agrees is ");
        add_place(out, &before->a);
        epl_text_add(out, "\n");
    } else {
        epl_text_add(out, "nothing before it agrees\n");
    }
}

static void add_summary(epl_text *out, const epl_diff *d, bool ran)
{
    add_structure(out, d);
    add_tensors(out, "weights", d->weights, d->n_weights, d->same_weights);
    if (d->not_run)
        epl_text_addf(out, "outputs    not compared: %s\n", d->not_run);
    else if (ran)
        add_tensors(out, "outputs", d->outputs, d->n_outputs, d->same_outputs);
    if (d->first >= 0)
        add_parting(out, d);
}

static void place_cell(epl_table *t, const epl_diff_place *p)
{
    if (p->op)
        epl_table_textf(t, "%s%s%s%s%s", p->op, *p->number ? " " : "", p->number, *p->scope ? " " : "", p->scope);
    else
        epl_table_text(t, "-");
}

static epl_table *node_table(cli *c, const epl_diff *d, int64_t top)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "operator of the first", (epl_column_opts){ 0 });
    epl_table_column(t, "of the second", (epl_column_opts){ 0 });
    epl_table_column(t, "what differs", (epl_column_opts){ 0 });
    for (int i = 0; i < d->n_nodes && i < top; i++) {
        epl_table_row(t);
        place_cell(t, &d->nodes[i].a);
        place_cell(t, &d->nodes[i].b);
        epl_table_text(t, d->nodes[i].what);
    }
    return t;
}

static void difference_columns(epl_table *t)
{
    epl_table_column(t, "", (epl_column_opts){ .key = "state" });
    epl_table_column(t, "largest difference", (epl_column_opts){ .key = "max_abs" });
    epl_table_column(t, "relative", (epl_column_opts){ .key = "max_rel" });
    epl_table_column(t, "units in the last place", (epl_column_opts){ .key = "max_ulp" });
    epl_table_column(t, "elements", (epl_column_opts){ .key = "different" });
}

static void difference_cells(epl_table *t, epl_diff_state state, const epl_difference *e)
{
    epl_table_text(t, states[state]);
    if (state > EPL_DIFF_FAR)
        return;
    epl_table_textf(t, "%.3g", e->max_abs);
    epl_table_textf(t, "%.3g", e->max_rel);
    epl_table_textf(t, "%.3g", e->max_ulp);
    epl_table_textf(t, "%lld of %lld", (long long)e->n_different, (long long)e->n_elements);
}

/* Those that differ, the worst first; all of them with `all`. */
static epl_table *tensor_table(cli *c, const char *what, const epl_diff_tensor *rows, int n, int64_t top, bool all)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, what, (epl_column_opts){ 0 });
    epl_table_column(t, "type", (epl_column_opts){ 0 });
    difference_columns(t);
    for (int i = 0; i < n && top > 0; i++) {
        const epl_diff_tensor *r = &rows[i];
        if (!all && r->state == EPL_DIFF_EQUAL)
            continue;
        top--;
        epl_table_row(t);
        if (r->a && r->b && strcmp(r->a, r->b) != 0)
            epl_table_textf(t, "%s -> %s", r->a, r->b);
        else
            epl_table_textf(t, "%s%s", r->a ? r->a : r->b, r->a && r->b ? "" : r->a ? " (first)" : " (second)");
        if (r->state == EPL_DIFF_MISSHAPEN)
            epl_table_textf(t, "%s -> %s", r->type_a, r->type_b);
        else
            epl_table_text(t, r->type_a ? r->type_a : r->type_b);
        difference_cells(t, r->state, &r->difference);
    }
    return t;
}

static epl_table *layer_table(cli *c, const epl_diff *d)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "value of the first", (epl_column_opts){ 0 });
    epl_table_column(t, "of the second", (epl_column_opts){ 0 });
    epl_table_column(t, "type", (epl_column_opts){ 0 });
    difference_columns(t);
    for (int i = 0; i < d->n_layers; i++) {
        epl_table_row(t);
        place_cell(t, &d->layers[i].a);
        place_cell(t, &d->layers[i].b);
        epl_table_text(t, d->layers[i].type);
        difference_cells(t, d->layers[i].state, &d->layers[i].difference);
    }
    return t;
}

static void add_table(cli *c, epl_text *out, epl_table *t, bool some)
{
    char *text = some ? epl_table_to_text(t, (epl_table_opts){ .width = 140 }) : NULL;
    if (text)
        epl_text_addf(out, "%s%s", out->length ? "\n" : "", text);
    epl_release(c->ctx, text);
    epl_table_free(t);
}

static char *as_text(cli *c, const epl_diff *d, const cli_diff_view *v)
{
    epl_text out = EPL_TEXT(c->ctx);
    if (v->structure)
        add_summary(&out, d, v->ran);
    add_table(c, &out, node_table(c, d, v->top), v->structure && !d->same_structure && v->top > 0);
    add_table(c, &out, tensor_table(c, "weight", d->weights, d->n_weights, v->top, false),
              v->structure && v->top > 0 && count_states(d->weights, d->n_weights, EPL_DIFF_EQUAL) < d->n_weights);
    add_table(c, &out, tensor_table(c, "output", d->outputs, d->n_outputs, d->n_outputs, true),
              !v->structure || count_states(d->outputs, d->n_outputs, EPL_DIFF_EQUAL) < d->n_outputs);
    add_table(c, &out, layer_table(c, d), v->layers && d->n_layers);
    return epl_text_detach(&out);
}

/* ---- as JSON ---- */

static void json_place(epl_json_writer *w, const char *key, const epl_diff_place *p)
{
    if (!p->op) {
        epl_json_put_null(w, key);
        return;
    }
    epl_json_open_object(w, key);
    epl_json_put_string(w, "operator", p->op);
    epl_json_put_string(w, "number", p->number);
    epl_json_put_string(w, "scope", p->scope);
    epl_json_close(w);
}

static void json_difference(epl_json_writer *w, epl_diff_state state, const epl_difference *e)
{
    epl_json_put_string(w, "state", states[state]);
    if (state > EPL_DIFF_FAR)
        return;
    epl_json_put_f64(w, "max_abs", e->max_abs);
    epl_json_put_f64(w, "max_rel", e->max_rel);
    epl_json_put_f64(w, "max_ulp", e->max_ulp);
    epl_json_put_i64(w, "different", e->n_different);
    epl_json_put_i64(w, "elements", e->n_elements);
}

static void json_tensors(epl_json_writer *w, const char *key, const epl_diff_tensor *rows, int n)
{
    epl_json_open_array(w, key);
    for (int i = 0; i < n; i++) {
        epl_json_open_object(w, NULL);
        epl_json_put_string(w, "first", rows[i].a);
        epl_json_put_string(w, "second", rows[i].b);
        epl_json_put_string(w, "type", rows[i].type_a);
        epl_json_put_string(w, "type_second", rows[i].type_b);
        json_difference(w, rows[i].state, &rows[i].difference);
        epl_json_close(w);
    }
    epl_json_close(w);
}

static void json_nodes(epl_json_writer *w, const epl_diff *d)
{
    epl_json_open_array(w, "operators");
    for (int i = 0; i < d->n_nodes; i++) {
        epl_json_open_object(w, NULL);
        json_place(w, "first", &d->nodes[i].a);
        json_place(w, "second", &d->nodes[i].b);
        epl_json_put_string(w, "what", d->nodes[i].what);
        epl_json_close(w);
    }
    epl_json_close(w);
    epl_json_open_array(w, "layers");
    for (int i = 0; i < d->n_layers; i++) {
        epl_json_open_object(w, NULL);
        json_place(w, "first", &d->layers[i].a);
        json_place(w, "second", &d->layers[i].b);
        epl_json_put_string(w, "type", d->layers[i].type);
        json_difference(w, d->layers[i].state, &d->layers[i].difference);
        epl_json_close(w);
    }
    epl_json_close(w);
}

static char *as_json(cli *c, const epl_diff *d, const cli_diff_view *v)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    epl_json_open_object(&w, NULL);
    if (v->structure) {
        epl_json_put_bool(&w, "same", epl_diff_is_empty(d));
        epl_json_put_bool(&w, "same_structure", d->same_structure);
        epl_json_put_bool(&w, "same_weights", d->same_weights);
        epl_json_put_i64(&w, "operators_first", d->n_operators_a);
        epl_json_put_i64(&w, "operators_second", d->n_operators_b);
        json_tensors(&w, "weights", d->weights, d->n_weights);
        json_nodes(&w, d);
        epl_json_put_i64(&w, "parting", d->first);
    }
    epl_json_put_bool(&w, "same_outputs", d->same_outputs);
    epl_json_put_string(&w, "not_run", d->not_run);
    json_tensors(&w, "outputs", d->outputs, d->n_outputs);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

bool cli_diff_print(cli *c, const epl_diff *d, cli_diff_view v)
{
    for (const char *s = d->remarks; *s; s += strcspn(s, "\n"), s += *s == '\n')
        cli_remark(c, "%.*s", (int)strcspn(s, "\n"), s);
    return cli_print_take(c, c->json ? as_json(c, d, &v) : as_text(c, d, &v));
}

/* ---- the verb ---- */

enum { SAME = 0, DIFFERENT = 1, TROUBLE = 2 }; /* as diff(1) has it */

static int run(cli *c, int argc, char **argv)
{
    const char   *first = NULL, *second = NULL, *dir = NULL;
    cli_dims      dims = { 0 };
    cli_diff_view v = { .structure = true };
    epl_diff_opts o = { .tolerance = 1e-4 };
    v.top = 20;
    const cli_option options[] = {
        EPL_ARG("first", &first, CLI_MODEL_HELP),
        EPL_ARG("second", &second, "the other one"),
        CLI_OPT_INPUTS(&dir),
        EPL_OPT_REAL(0, "tolerance", &o.tolerance, 0, 1e30, "differences that count as none, relative to a tensor's largest element"),
        EPL_OPT_FLAG(0, "layers", &v.layers, "print the difference of every value on the way"),
        EPL_OPT_FLAG(0, "no-run", &o.no_run, "structure and weights alone"),
        EPL_OPT_INT(0, "top", &v.top, 0, 1e6, "print at most N operators and N weights that differ"),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c) == 0 ? SAME : TROUBLE;
    epl_weights *inputs = NULL;
    epl_model   *a = cli_inputs_load(c, first, dims, dir, &inputs);
    epl_model   *b = a ? cli_inputs_load_beside(c, second, dims, a, inputs) : NULL;
    o.inputs = inputs;
    o.layers = v.layers;
    v.ran    = !o.no_run;
    epl_diff  *d = b ? epl_model_diff(a, b, o) : NULL;
    const bool ok = d && cli_diff_print(c, d, v), same = ok && epl_diff_is_empty(d);
    epl_diff_free(d);
    epl_model_free(b);
    epl_model_free(a);
    epl_weights_free(inputs);
    return ok ? (same ? SAME : DIFFERENT) : (cli_status(c), TROUBLE);
}

const cli_verb cli_verb_diff = {
    .name = "diff",
    .json = true,
    .run = run,
    .summary = "two networks beside each other: structure, weights, outputs",
    .about = "Names make no difference to the structure. Both networks run on the same inputs; where their outputs "
             "differ, their values "
             "on the way are compared, and the first that differ are named. Exit status 0 if nothing differs, 1 if "
             "something does, 2 if they "
             "could not be compared.",
    .examples = "espalier diff m.safetensors m.onnx\nespalier diff before.safetensors after.safetensors --inputs "
                "samples --layers\n"
                "espalier diff resnet:depth=20 resnet:depth=20,se=1 --no-run",
};
