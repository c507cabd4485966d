/* graph: creating graphs, scopes and errors, and the sources and sinks that every graph has. Nodes are in node.c, rewriting
 * in rewrite.c. A root owns one arena; its regions, nodes, values and use lists live there and die with it. */
#include "graph/op.h"

#include <stdio.h>

static epl_graph *graph_in_arena(epl_context *ctx, epl_arena *arena, const char *name)
{
    epl_graph *g = epl_arena_alloc(arena, sizeof *g);
    if (!g)
        return NULL;
    g->ctx   = ctx;
    g->arena = arena;
    g->root  = g;
    g->scope = "";
    g->name  = epl_arena_strdup(arena, name ? name : "");
    return g->name ? g : NULL;
}

epl_graph *epl_graph_new(epl_context *ctx, const char *name)
{
    epl_arena *arena = epl_arena_new(ctx);
    epl_graph *g     = arena ? graph_in_arena(ctx, arena, name) : NULL;
    if (!g)
        epl_arena_free(arena);
    return g;
}

void epl_graph_free(epl_graph *g)
{
    if (g && g->root == g)
        epl_arena_free(g->arena);
}

epl_graph *epl_region_new(epl_graph *g)
{
    if (!g || g->root->failed)
        return NULL;
    epl_graph *r = graph_in_arena(g->ctx, g->arena, "");
    if (!r) {
        g->root->failed = true;
        return NULL;
    }
    r->root = g->root;
    return r;
}

epl_context *epl_graph_context(const epl_graph *g) { return g->ctx; }
const char  *epl_graph_name(const epl_graph *g) { return g->name; }
bool         epl_graph_failed(const epl_graph *g) { return !g || g->root->failed; }

epl_value *epl_graph_fail(epl_graph *g, epl_error code, const char *format, ...)
{
    if (epl_graph_failed(g))
        return NULL;
    char    sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    g->root->failed = true;
    epl_fail(g->ctx, code, "%s%s%s", epl_scope(g), epl_scope(g)[0] ? ": " : "", sentence);
    return NULL;
}

bool epl_graph_finish(epl_graph *g)
{
    return !epl_graph_failed(g) && epl_graph_verify(g);
}

/* ---- scopes ---- */

/* A scope that was left by entering another; a part may hold dots, so the text alone does not tell. */
typedef struct epl_scope_outer {
    const char             *scope;
    struct epl_scope_outer *outer;
} epl_scope_outer;

void epl_scope_push(epl_graph *g, const char *format, ...)
{
    if (epl_graph_failed(g))
        return;
    char    part[256], full[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    snprintf(full, sizeof full, "%s%s%s", g->root->scope, g->root->scope[0] ? "." : "", part);
    const epl_scope_outer left = { g->root->scope, g->root->outer };
    const char      *kept  = epl_arena_strdup(g->arena, full);
    epl_scope_outer *outer = kept ? epl_arena_copy(g->arena, &left, sizeof left) : NULL;
    if (outer) {
        g->root->scope = kept;
        g->root->outer = outer;
    } else {
        g->root->failed = true;
    }
}

void epl_scope_pop(epl_graph *g)
{
    if (epl_graph_failed(g) || !g->root->outer)
        return; // the scope of the first failure stays for its sentence
    g->root->scope = g->root->outer->scope;
    g->root->outer = g->root->outer->outer;
}

const char *epl_scope(const epl_graph *g) { return g->root->scope; }

epl_node *epl_graph_insert_before(epl_graph *g, epl_node *at)
{
    epl_node *former = g->cursor;
    g->cursor = at;
    return former;
}

/* ---- sources and sinks ---- */

static epl_value *source(epl_graph *g, const epl_op *op, const epl_attr *attrs)
{
    return epl_apply(g, op, 0, NULL, attrs);
}

epl_value *epl_input(epl_graph *g, const char *name, epl_dtype dtype, epl_shape shape, const char *dims)
{
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_S(name), EPL_A_I(dtype), EPL_A_INTS(shape.rank, shape.dim),
                                            EPL_A_S(dims ? dims : "") };
    return source(g, &epl_op_input, attrs);
}

/* The tensor of that full name in the root graph, if it is declared already. */
static epl_value *find_tensor(const epl_graph *g, const char *name)
{
    for (epl_node *n = g->first; n; n = n->next)
        if ((EPL_IS(n, parameter) || EPL_IS(n, state)) && strcmp(n->attrs[0].s, name) == 0)
            return n->outputs[0];
    return NULL;
}

static epl_value *tensor(epl_graph *g, const epl_op *op, const char *name, epl_dtype dtype, epl_shape shape, epl_init init,
                         double a)
{
    if (epl_graph_failed(g))
        return NULL;
    char full[1024];
    const char *scope = name[0] == '/' ? "" : epl_scope(g);
    snprintf(full, sizeof full, "%s%s%s", scope, scope[0] ? "." : "", name[0] == '/' ? name + 1 : name);
    epl_value *known = find_tensor(g, full);
    if (known) {
        char was[192], is[192];
        if (known->producer->op == op && known->dtype == dtype && epl_shape_equal(known->shape, shape))
            return known;
        return epl_graph_fail(g, EPL_ERR_SHAPE, "%s '%s' is declared twice: as %s %s%s and as %s %s%s", op->name, full,
                              known->producer->op->name, epl_dtype_name(known->dtype), epl_shape_text(was, known->shape),
                              op->name, epl_dtype_name(dtype), epl_shape_text(is, shape));
    }
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_S(full), EPL_A_I(dtype), EPL_A_INTS(shape.rank, shape.dim), EPL_A_I(init),
                                            EPL_A_R(a) };
    return source(g, op, attrs);
}

epl_value *epl_parameter(epl_graph *g, const char *name, epl_dtype dtype, epl_shape shape, epl_init init, double a)
{
    return tensor(g, &epl_op_parameter, name, dtype, shape, init, a);
}

epl_value *epl_state(epl_graph *g, const char *name, epl_dtype dtype, epl_shape shape, epl_init init, double a)
{
    return tensor(g, &epl_op_state, name, dtype, shape, init, a);
}

epl_value *epl_constant(epl_graph *g, const epl_tensor *t)
{
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_T(t) };
    return t ? source(g, &epl_op_constant, attrs) : NULL;
}

epl_value *epl_scalar(epl_graph *g, epl_dtype dtype, double x)
{
    unsigned char data[8] = { 0 };
    epl_tensor    t       = { .dtype = dtype, .shape = EPL_SCALAR, .data = data };
    epl_tensor_set(&t, 0, x);
    return epl_constant(g, &t);
}

epl_value *epl_constant_i64(epl_graph *g, int n, const int64_t *x)
{
    const epl_tensor t = { .dtype = EPL_I64, .shape = { .rank = 1, .dim = { n } }, .data = (void *)(uintptr_t)x };
    return epl_constant(g, &t);
}

epl_node *epl_output(epl_graph *g, const char *name, epl_value *v)
{
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_S(name) };
    return epl_node_add(g, &epl_op_output, EPL_IN(v), attrs, 0, NULL);
}

epl_node *epl_update(epl_graph *g, epl_value *state, epl_value *next)
{
    return epl_node_add(g, &epl_op_update, EPL_IN(state, next), NULL, 0, NULL);
}

epl_value *epl_rng_key(epl_graph *g)
{
    if (epl_graph_failed(g))
        return NULL;
    epl_value *known = find_tensor(g, "rng");
    if (known)
        return known;
    epl_value    *key = epl_state(g, "/rng", EPL_I64, EPL_SHAPE(2), EPL_INIT_ZEROS, 0);
    const int64_t tick[2] = { 0, 1 };
    epl_update(g, key, epl_apply(g, &epl_op_add, EPL_IN(key, epl_constant_i64(g, 2, tick)), NULL));
    return key;
}

bool epl_graph_bind(epl_graph *g, const char *dim, int64_t size)
{
    bool         found  = false;
    const size_t length = strlen(dim);
    for (epl_node *n = g->first; n; n = n->next) {
        if (!EPL_IS(n, input))
            continue;
        epl_shape shape = n->outputs[0]->shape;
        const char *at  = n->attrs[3].s;
        for (int i = 0; i < shape.rank && *at; i++) {
            const size_t run = strcspn(at, ",");
            if (run == length && strncmp(at, dim, run) == 0) {
                shape.dim[i] = size;
                found = true;
            }
            at += run + (at[run] == ',');
        }
        epl_node_set_attr(n, 2, EPL_A_INTS(shape.rank, shape.dim));
    }
    return found && epl_reinfer(g);
}
