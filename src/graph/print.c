/* print: a graph as text, one node a line (docs/graph-text.md). Everything about operators comes from their field tables;
 * values are numbered in the order in which they are printed, anew in each region, so that equal graphs print alike.
 * Leaves out: payload bits of NaN in constants. */
#include "graph/text.h"

#include <math.h>
#include <string.h>

typedef struct printer {
    epl_text out;
    int     *number; /* of a node's first output, by node id */
} printer;

static void add_quoted(epl_text *t, const char *s)
{
    epl_text_add(t, "\"");
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            epl_text_addf(t, "\\%c", c);
        else if (c == '\n')
            epl_text_add(t, "\\n");
        else if (c == '\t')
            epl_text_add(t, "\\t");
        else if (c < 32 || c == 127)
            epl_text_addf(t, "\\x%02x", c);
        else
            epl_text_add_bytes(t, s, 1);
    }
    epl_text_add(t, "\"");
}

static void add_real(epl_text *t, double x)
{
    char text[32];
    epl_format_f64(text, x);
    epl_text_add(t, text);
}

static void add_type(epl_text *t, epl_dtype dtype, epl_shape shape)
{
    char text[192];
    epl_text_addf(t, "%s%s", epl_dtype_name(dtype), epl_shape_text(text, shape));
}

static void add_element(epl_text *t, const epl_tensor *x, int64_t i)
{
    char text[32];
    if (x->dtype == EPL_F64) {
        add_real(t, epl_tensor_get(x, i));
    } else if (epl_dtype_is_float(x->dtype)) {
        epl_format_f32(text, (float)epl_tensor_get(x, i)); // exact for the half-width types too
        epl_text_add(t, text);
    } else if (x->dtype == EPL_U64) {
        epl_text_addf(t, "%llu", (unsigned long long)((const uint64_t *)x->data)[i]);
    } else {
        epl_text_addf(t, "%lld", (long long)epl_tensor_get_i64(x, i));
    }
}

static void add_tensor(epl_text *t, const epl_tensor *x)
{
    const int64_t n = epl_tensor_count(x);
    add_type(t, x->dtype, x->shape);
    epl_text_add(t, "{");
    for (int64_t i = 0; i < n && !t->failed; i++) {
        epl_text_add(t, i ? ", " : "");
        add_element(t, x, i);
    }
    epl_text_add(t, "}");
}

static void add_choice(epl_text *t, const char *choices, int64_t index)
{
    for (; index > 0 && choices; index--) {
        choices = strchr(choices, '|');
        choices = choices ? choices + 1 : NULL;
    }
    if (choices)
        epl_text_add_bytes(t, choices, strcspn(choices, "|"));
}

/* Integers; `dims` names some of them ("N,,"), or is NULL. */
static void add_ints(epl_text *t, int n, const int64_t *x, const char *dims)
{
    epl_text_add(t, "[");
    for (int i = 0; i < n; i++) {
        epl_text_add(t, i ? ", " : "");
        const size_t name = dims ? strcspn(dims, ",") : 0;
        if (name) {
            epl_text_add_bytes(t, dims, name);
            epl_text_add(t, ":");
        }
        epl_text_addf(t, "%lld", (long long)x[i]);
        dims = dims && dims[name] ? dims + name + 1 : NULL;
    }
    epl_text_add(t, "]");
}

static void add_reals(epl_text *t, int n, const double *x)
{
    epl_text_add(t, "[");
    for (int i = 0; i < n; i++) {
        epl_text_add(t, i ? ", " : "");
        add_real(t, x[i]);
    }
    epl_text_add(t, "]");
}

static bool same_real(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool is_default(const epl_attr_field *f, const epl_attr *a)
{
    if (f->required)
        return false;
    switch (f->type) {
    case EPL_ATTR_REAL:   return same_real(a->r, f->def_r);
    case EPL_ATTR_INTS:
    case EPL_ATTR_REALS:  return a->n == 0;
    case EPL_ATTR_STRING: return !a->s || !*a->s;
    case EPL_ATTR_TENSOR: return !a->tensor;
    default:              return a->i == f->def_i;
    }
}

/* The names of an input's dimensions if they can stand within its shape: bare words. Otherwise NULL. */
static const char *dims_of(const epl_node *n)
{
    const int i = epl_op_attr_index(n->op, EPL_GRAPH_TEXT_DIMS);
    if (i < 0 || !n->attrs[i].s || epl_op_attr_index(n->op, EPL_GRAPH_TEXT_SHAPE) < 0)
        return NULL;
    for (const char *s = n->attrs[i].s; *s; s++)
        if (*s != ',' && !epl_graph_text_is_word_char(*s))
            return NULL;
    return n->attrs[i].s;
}

static void add_attr(epl_text *t, const epl_node *n, const epl_attr_field *f, const epl_attr *a)
{
    epl_text_addf(t, "%s=", f->name);
    switch (f->type) {
    case EPL_ATTR_BOOL:   epl_text_add(t, a->i ? "true" : "false"); break;
    case EPL_ATTR_REAL:   add_real(t, a->r); break;
    case EPL_ATTR_INTS:   add_ints(t, a->n, a->ints, strcmp(f->name, EPL_GRAPH_TEXT_SHAPE) == 0 ? dims_of(n) : NULL); break;
    case EPL_ATTR_REALS:  add_reals(t, a->n, a->reals); break;
    case EPL_ATTR_STRING: add_quoted(t, a->s ? a->s : ""); break;
    case EPL_ATTR_CHOICE: add_choice(t, f->choices, a->i); break;
    case EPL_ATTR_DTYPE:  epl_text_add(t, epl_dtype_name((epl_dtype)a->i)); break;
    case EPL_ATTR_TENSOR: add_tensor(t, a->tensor); break;
    default:              epl_text_addf(t, "%lld", (long long)a->i); break;
    }
}

void epl_graph_text_add_attr(epl_text *t, const epl_node *n, int attr)
{
    add_attr(t, n, &n->op->attrs[attr], &n->attrs[attr]);
}

static void add_arguments(printer *p, const epl_node *n)
{
    const char *comma = "";
    for (int i = 0; i < n->n_inputs; i++, comma = ", ") {
        const epl_value *v = n->inputs[i];
        if (v)
            epl_text_addf(&p->out, "%s%%%d", comma, p->number[v->producer->id] + v->index);
        else
            epl_text_addf(&p->out, "%s_", comma);
    }
    const int n_attrs = epl_op_n_attrs(n->op);
    for (int i = 0; i < n_attrs; i++) {
        const epl_attr_field *f = &n->op->attrs[i];
        if (is_default(f, &n->attrs[i]) || (strcmp(f->name, EPL_GRAPH_TEXT_DIMS) == 0 && dims_of(n)))
            continue;
        epl_text_add(&p->out, comma);
        add_attr(&p->out, n, f, &n->attrs[i]);
        comma = ", ";
    }
}

static void add_scope(epl_text *t, const char *scope)
{
    if (!scope || !*scope)
        return;
    bool bare = true;
    for (const char *s = scope; *s; s++)
        bare = bare && epl_graph_text_is_word_char(*s);
    epl_text_add(t, " @");
    if (bare)
        epl_text_add(t, scope);
    else
        add_quoted(t, scope);
}

static void print_nodes(printer *p, const epl_graph *g, int depth);

static void print_node(printer *p, const epl_node *n, int depth)
{
    epl_text *t = &p->out;
    epl_text_addf(t, "%*s", 2 * depth, "");
    for (int i = 0; i < n->n_outputs; i++)
        epl_text_addf(t, "%s%%%d", i ? ", " : "", p->number[n->id] + i);
    epl_text_addf(t, "%s%s(", n->n_outputs ? " = " : "", n->op->name);
    add_arguments(p, n);
    epl_text_add(t, ")");
    for (int i = 0; i < n->n_outputs && !(n->op->flags & EPL_OP_SOURCE); i++) {
        epl_text_add(t, i ? ", " : " : ");
        add_type(t, n->outputs[i]->dtype, n->outputs[i]->shape);
    }
    add_scope(t, n->scope);
    for (int i = 0; i < n->n_regions; i++) {
        epl_text_add(t, " {\n");
        print_nodes(p, n->regions[i], depth + 1);
        epl_text_addf(t, "%*s}", 2 * depth, "");
    }
    epl_text_add(t, "\n");
}

static void print_nodes(printer *p, const epl_graph *g, int depth)
{
    int next = 0;
    for (const epl_node *n = g->first; n; n = n->next) {
        p->number[n->id] = next;
        next += n->n_outputs;
        print_node(p, n, depth);
    }
}

char *epl_graph_print(const epl_graph *g)
{
    printer p = { .out = EPL_TEXT(g->ctx) };
    p.number = epl_alloc_array(g->ctx, (size_t)g->root->next_id + 1, sizeof *p.number);
    if (!p.number)
        return NULL;
    epl_text_add(&p.out, "graph ");
    add_quoted(&p.out, g->name ? g->name : "");
    epl_text_add(&p.out, " {\n");
    print_nodes(&p, g, 1);
    epl_text_add(&p.out, "}\n");
    epl_release(g->ctx, p.number);
    return epl_text_detach(&p.out);
}

uint64_t epl_graph_hash(const epl_graph *g)
{
    char          *text = epl_graph_print(g);
    const uint64_t hash = text ? epl_hash(text, strlen(text), 0) : 0;
    epl_release(g->ctx, text);
    return hash;
}
