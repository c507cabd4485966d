/* import: an ONNX model into a graph and its weights - names, initialisers, inputs of nodes. What else adapters see of
 * it (import.h) is in node.c, values known in advance in evaluate.c; the adapters are in adapt_*.c, files in file.c. */
#include "onnx/importer.h"
#include "onnx/narrow.h"

#include <espalier/passes.h>

#include "tensor/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONSTANT_LIMIT = 4096 }; /* integers of more elements become states */

#define FIXED_KEY "espalier.onnx.fixed"

/* ---- errors ------------------------------------------------------------------------------------------------------ */
epl_context *onnx_context(const onnx_node *n) { return n->imp->ctx; }

/* Puts file, operator, node and opset before a sentence; one that a deeper node has recorded stays as it is. */
static bool fail_with(onnx_node *n, epl_error code, const char *sentence)
{
    const char *name = n->proto->name && *n->proto->name ? n->proto->name : n->proto->n_output ? n->proto->output[0] : "";
    n->imp->placed = true;
    return epl_fail(n->imp->ctx, code, "%s: %s '%.200s' (opset %lld): %s", n->imp->file.name, n->op, name, (long long)n->opset,
                    sentence);
}

static bool failv(onnx_node *n, epl_error code, const char *format, va_list args)
{
    char sentence[768];
    vsnprintf(sentence, sizeof sentence, format, args);
    if (epl_error_code(n->imp->ctx) != EPL_OK)
        return false;
    return fail_with(n, code, sentence);
}

bool onnx_fail(onnx_node *n, epl_error code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    failv(n, code, format, args);
    va_end(args);
    return false;
}

bool onnx_unsupported(onnx_node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    failv(n, EPL_ERR_UNSUPPORTED, format, args);
    va_end(args);
    return false;
}

/* Behind what it begins with, if it does: what stands before it already is not said again. */
static const char *behind(const char *sentence, const char *format, const char *a, const char *b)
{
    char         begin[512];
    const size_t k = (size_t)snprintf(begin, sizeof begin, format, a, b);
    return k < sizeof begin && strncmp(sentence, begin, k) == 0 ? sentence + k : sentence;
}

/* An error that a builder has recorded gets its place. */
static bool fail_placed(onnx_node *n)
{
    char            sentence[768];
    const epl_error code = epl_error_code(n->imp->ctx);
    if (n->imp->placed || code == EPL_ERR_MEMORY)
        return false;
    if (code == EPL_OK)
        return fail_with(n, EPL_ERR_UNSUPPORTED, "this form of the operator is not known");
    snprintf(sentence, sizeof sentence, "%s", epl_error_message(n->imp->ctx));
    epl_error_clear(n->imp->ctx);
    return fail_with(n, code,
                     behind(behind(sentence, "%s%s: ", n->imp->file.name, ""), "%s %s: ", n->op,
                            n->proto->name ? n->proto->name : ""));
}

/* ---- names ------------------------------------------------------------------------------------------------------- */
onnx_entry *onnx_scope_find(const onnx_scope *s, const char *name)
{
    const epl_symbol *found = epl_symbols_find(&s->names, name, strlen(name));
    return found ? found->value : NULL;
}

onnx_entry *onnx_scope_add(onnx_import *imp, onnx_scope *s, const char *name, epl_value *v, const Onnx__TensorProto *init)
{
    if (onnx_scope_find(s, name)) {
        epl_fail(imp->ctx, EPL_ERR_FORMAT, "%s: the name '%.200s' is defined twice", imp->file.name, name);
        imp->placed = true;
        return NULL;
    }
    onnx_entry *e = epl_arena_alloc(imp->arena, sizeof *e);
    if (!e || !epl_symbols_put(imp->ctx, &s->names, name, strlen(name), e))
        return NULL;
    *e = (onnx_entry){ .name = name, .value = v, .init = init };
    return e;
}

/* ---- initialisers ------------------------------------------------------------------------------------------------ */

static bool is_identity(epl_shape perm)
{
    for (int i = 0; i < perm.rank; i++)
        if (perm.dim[i] != i)
            return false;
    return true;
}

/* A parameter or state of g under a name that is still free. */
static epl_value *stored_take(onnx_import *imp, epl_graph *g, const char *name, epl_tensor *t, bool trained)
{
    char full[600];
    snprintf(full, sizeof full, "/%.500s", name);
    for (int i = 1; epl_weights_find(imp->weights, full + 1); i++)
        snprintf(full, sizeof full, "/%.500s.%d", name, i);
    epl_value *v = (trained ? epl_parameter : epl_state)(g, full, t->dtype, t->shape, EPL_INIT_ZEROS, 0);
    return epl_weights_put_take(imp->weights, full + 1, t) ? v : NULL;
}

/* The names that the file lists under a key, one a line. */
static bool list_names(onnx_import *imp, const char *key, epl_symbols *names)
{
    const Onnx__ModelProto *m = imp->file.model;
    const char             *s = NULL;
    for (size_t i = 0; i < m->n_metadata_props && !s; i++)
        if (m->metadata_props[i]->key && strcmp(m->metadata_props[i]->key, key) == 0)
            s = m->metadata_props[i]->value;
    for (size_t n; s && *s; s += n, s += *s == '\n') {
        n = strcspn(s, "\n");
        if (n && !epl_symbols_find(names, s, n) && !epl_symbols_put(imp->ctx, names, s, n, (void *)(uintptr_t)s))
            return false;
    }
    return true;
}

static bool is_listed(const epl_symbols *names, const char *name) { return epl_symbols_find(names, name, strlen(name)) != NULL; }

/* A tensor of the file with its axes in an order (rank 0: as they are): the key of `homes`. */
typedef struct onnx_home {
    int64_t message, turned, perm[EPL_MAX_RANK]; /* without padding */
} onnx_home;

static const epl_node *home_of(const onnx_import *imp, const onnx_home *key)
{
    const epl_symbol *s = epl_symbols_find(&imp->homes, (const char *)key, sizeof *key);
    return s ? s->value : NULL;
}

/* The weight that holds the tensor already, declared in g: graphs and regions that read a tensor share it. (The node
 * that declared it first may have left its graph, but not the memory.) */
static epl_value *at_home(onnx_import *imp, epl_graph *g, const onnx_home *key)
{
    const epl_node *home = home_of(imp, key);
    char            full[600];
    if (!home)
        return NULL;
    const epl_value *v = home->outputs[0];
    snprintf(full, sizeof full, "/%s", home->attrs[0].s);
    return (EPL_IS(home, parameter) ? epl_parameter : epl_state)(g, full, v->dtype, v->shape, EPL_INIT_ZEROS, 0);
}

static onnx_home home_key(const Onnx__TensorProto *p, epl_shape perm)
{
    onnx_home key = { .message = (int64_t)(uintptr_t)p, .turned = perm.rank > 0 };
    memcpy(key.perm, perm.dim, (size_t)perm.rank * sizeof *key.perm);
    return key;
}

static bool make_home(onnx_import *imp, const onnx_home *key, const epl_value *v)
{
    const char *kept = v ? epl_arena_copy(imp->arena, key, sizeof *key) : NULL;
    return kept && epl_symbols_put(imp->ctx, &imp->homes, kept, sizeof *key, v->producer);
}

typedef enum source { INITIALISER, STATISTIC, NODE } source; /* STATISTIC: a state; NODE: the tensor of a Constant node */

/* What a tensor of the file becomes in g: see onnx.h. What a region declares is declared around it when its node is made. */
static epl_value *settle_in(onnx_import *imp, epl_graph *g, const char *name, const Onnx__TensorProto *p, epl_shape perm, source from)
{
    const onnx_home key = home_key(p, perm), plain = home_key(p, EPL_SCALAR);
    epl_value      *v = at_home(imp, g, &key);
    if (v)
        return v;
    epl_tensor *t = key.turned ? onnx_tensor_permuted(&imp->file, p, perm) : onnx_tensor(&imp->file, p, false);
    if (!t)
        return NULL;
    if (key.turned && !home_of(imp, &plain))
        onnx_tensor_forget(&imp->file, p);
    const int64_t n = epl_tensor_count(t);
    const bool    real = epl_dtype_is_float(t->dtype), node = from == NODE;
    const bool    state = from == STATISTIC || (!node && is_listed(&imp->states, name)),
               trained = !node && real && is_listed(&imp->parameters, name);
    if (state || trained || (real && !node ? n > 1 : n > CONSTANT_LIMIT)) {
        v = stored_take(imp, g, name, t, real && !state);
        return make_home(imp, &key, v) ? v : NULL;
    }
    v = epl_constant(g, t);
    epl_tensor_free(t);
    return v;
}

static epl_value *settle_as(onnx_import *imp, onnx_scope *s, onnx_entry *e, source from)
{
    if (!e->value && e->init) {
        e->value = settle_in(imp, s->g, e->name, e->init, EPL_SCALAR, from);
        if (!onnx_narrow_mark(imp, e->value, e->init->data_type))
            return NULL;
    }
    return e->value;
}

static epl_value *settle(onnx_import *imp, onnx_scope *s, onnx_entry *e) { return settle_as(imp, s, e, INITIALISER); }

epl_value *onnx_constant(onnx_node *n, const Onnx__TensorProto *p)
{
    const char *name = p->name && *p->name ? p->name : n->proto->n_output ? n->proto->output[0] : "";
    epl_value  *v = settle_in(n->imp, n->g, name, p, EPL_SCALAR, NODE);
    return onnx_narrow_mark(n->imp, v, p->data_type) ? v : NULL;
}

/* ---- inputs of a node -------------------------------------------------------------------------------------------- */
bool onnx_has(onnx_node *n, int i)
{
    if (i < 0)
        return false; // an input that this opset does not have
    if (i < 64)
        n->seen_in |= 1ull << i;
    if (i >= n->n_in || !*n->proto->input[i])
        return false;
    const onnx_entry *e = onnx_scope_find(n->scope, n->proto->input[i]);
    return !(e && e->absent);
}

/* What a name stands for in this graph or those around it; NULL if it is not defined. */
static onnx_entry *look_up(const onnx_scope *s, const char *name, const onnx_scope **where)
{
    for (; s; s = s->parent) {
        onnx_entry *e = onnx_scope_find(s, name);
        *where = s;
        if (e)
            return e;
    }
    return NULL;
}

/* The entry of an input, or NULL after a failure. What a region reads of the file's tensors around it, and
 * constants, it has itself. */
static onnx_entry *entry_of(onnx_node *n, int i)
{
    const char       *name = n->proto->input[i];
    const onnx_scope *where;
    onnx_entry       *e = look_up(n->scope, name, &where);
    if (!e)
        onnx_fail(n, EPL_ERR_FORMAT, "input %d, '%.200s', is not defined before this node", i, name);
    if (!e || where->g == n->g)
        return e;
    if (e->init)
        return onnx_scope_add(n->imp, n->scope, name, NULL, e->init);
    const epl_tensor *t = onnx_evaluate_constant(n->imp, e->value);
    epl_value        *v = t ? epl_constant(n->g, t) : NULL;
    return v ? onnx_scope_add(n->imp, n->scope, name, v, NULL) : NULL;
}

epl_value *onnx_in(onnx_node *n, int i)
{
    if (!onnx_has(n, i))
        return NULL;
    onnx_entry *e = entry_of(n, i);
    return e ? settle(n->imp, n->scope, e) : NULL;
}

epl_value *onnx_named(onnx_node *n, const char *name)
{
    onnx_entry *e = onnx_scope_find(n->scope, name);
    return e ? settle(n->imp, n->scope, e) : NULL;
}

static int n_uses(const Onnx__GraphProto *g, const char *name)
{
    int uses = 0;
    for (size_t k = 0; k < g->n_node; k++) {
        const Onnx__NodeProto *p = g->node[k];
        for (size_t j = 0; j < p->n_input; j++)
            uses += strcmp(p->input[j], name) == 0;
        for (size_t j = 0; j < p->n_attribute; j++)
            uses += p->attribute[j]->g ? n_uses(p->attribute[j]->g, name) : 0;
    }
    return uses;
}

int onnx_n_uses(const onnx_node *n, int i) { return n_uses(n->imp->file.model->graph, n->proto->input[i]); }

/* The message of an input that is a tensor of the file; NULL if it is not. */
static const Onnx__TensorProto *initialiser_of(const onnx_node *n, int i)
{
    const onnx_scope *where;
    const onnx_entry *e = i < n->n_in ? look_up(n->scope, n->proto->input[i], &where) : NULL;
    return e ? e->init : NULL;
}

bool onnx_is_weight(onnx_node *n, int i) { return initialiser_of(n, i) != NULL; }

epl_value *onnx_weight(onnx_node *n, int i, epl_shape perm)
{
    if (!onnx_has(n, i))
        return NULL;
    onnx_entry *e = entry_of(n, i);
    if (!e)
        return NULL;
    if (e->init && (int)e->init->n_dims != perm.rank) {
        onnx_fail(n, EPL_ERR_SHAPE, "input %d has %d axes, %d are expected", i, (int)e->init->n_dims, perm.rank);
        return NULL;
    }
    if (!e->init || is_identity(perm))
        return epl_permute(n->g, settle(n->imp, n->scope, e), perm);
    if (e->permuted && epl_shape_equal(e->perm, perm))
        return e->permuted;
    e->perm = perm;
    e->permuted = settle_in(n->imp, n->g, e->name, e->init, perm, INITIALISER);
    return e->permuted;
}

bool onnx_initial_shape(onnx_node *n, int i, epl_shape *out)
{
    const Onnx__TensorProto *p = initialiser_of(n, i);
    *out = (epl_shape){ .rank = !p ? 0 : p->n_dims > EPL_MAX_RANK ? EPL_MAX_RANK : (int)p->n_dims };
    for (int k = 0; k < out->rank; k++)
        out->dim[k] = p->dims[k];
    return p != NULL;
}

epl_value *onnx_state(onnx_node *n, int i)
{
    if (!onnx_has(n, i))
        return NULL;
    onnx_entry *e = entry_of(n, i);
    return e ? settle_as(n->imp, n->scope, e, STATISTIC) : NULL;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */
static int64_t opset_of(const onnx_import *imp, const onnx_scope *s, const char *domain)
{
    const Onnx__OperatorSetIdProto *const *list =
        s->function ? (const Onnx__OperatorSetIdProto *const *)s->function->opset_import
                    : (const Onnx__OperatorSetIdProto *const *)imp->file.model->opset_import;
    const size_t n = s->function ? s->function->n_opset_import : imp->file.model->n_opset_import;
    for (size_t i = 0; i < n; i++) {
        const char *d = list[i]->domain ? list[i]->domain : "";
        if (strcmp(strcmp(d, "ai.onnx") == 0 ? "" : d, domain) == 0)
            return list[i]->version;
    }
    return s->parent ? opset_of(imp, s->parent, domain) : 1;
}

static const Onnx__FunctionProto *function_of(const onnx_import *imp, const char *domain, const char *name)
{
    const Onnx__ModelProto *m = imp->file.model;
    for (size_t i = 0; i < m->n_functions; i++) {
        const char *d = m->functions[i]->domain ? m->functions[i]->domain : "";
        if (m->functions[i]->name && strcmp(m->functions[i]->name, name) == 0 && strcmp(strcmp(d, "ai.onnx") == 0 ? "" : d, domain) == 0)
            return m->functions[i];
    }
    return NULL;
}

/* A function's nodes, in place of the node that calls it. */
static bool call_function(onnx_node *n, const Onnx__FunctionProto *f)
{
    onnx_scope inner = { .g = n->g, .function = f, .call = n->proto, .outer_call = n->scope, .depth = n->scope->depth + 1 };
    bool       ok = true;
    if (inner.depth > ONNX_CALL_DEPTH)
        return onnx_unsupported(n, "functions call each other deeper than %d", ONNX_CALL_DEPTH);
    for (size_t i = 0; ok && i < f->n_input; i++) {
        epl_value  *v = onnx_in(n, (int)i);
        onnx_entry *e = epl_error_code(n->imp->ctx) == EPL_OK ? onnx_scope_add(n->imp, &inner, f->input[i], v, NULL) : NULL;
        ok = e != NULL;
        if (e)
            e->absent = !v;
    }
    for (size_t i = 0; ok && i < f->n_node; i++)
        ok = onnx_import_node(n->imp, &inner, f->node[i]);
    for (int i = 0; ok && i < n->n_out; i++) {
        onnx_entry *e = (size_t)i < f->n_output ? onnx_scope_find(&inner, f->output[i]) : NULL;
        n->out[i] = e ? settle(n->imp, &inner, e) : NULL;
        ok = n->out[i] || onnx_fail(n, EPL_ERR_FORMAT, "the function does not compute its result %d", i);
    }
    n->seen_in = n->seen_attrs = UINT64_MAX;
    epl_symbols_release(n->imp->ctx, &inner.names);
    return ok;
}

/* Whatever an adapter did not look at would be left out in silence. */
static bool nothing_is_left(onnx_node *n)
{
    for (int i = 0; i < n->n_in && i < 64; i++)
        if (*n->proto->input[i] && !(n->seen_in >> i & 1))
            return onnx_unsupported(n, "its input %d is not known", i);
    for (size_t i = 0; i < n->proto->n_attribute && i < 64; i++)
        if (!(n->seen_attrs >> i & 1) && n->proto->attribute[i]->name)
            return onnx_unsupported(n, "its attribute '%.100s' is not known", n->proto->attribute[i]->name);
    if (n->proto->n_attribute > 64)
        return onnx_unsupported(n, "%zu attributes", n->proto->n_attribute);
    for (int i = 0; i < n->n_out; i++)
        if (*n->proto->output[i] && !n->out[i])
            return onnx_unsupported(n, "its result %d is not known", i);
    return true;
}

static bool run_adapter(onnx_node *n)
{
    const onnx_op *op = onnx_op_find(n->domain, n->op);
    const Onnx__FunctionProto *f = function_of(n->imp, n->domain, n->op);
    if (f)
        return call_function(n, f);
    if (!op)
        return onnx_unsupported(n, "this operator is not known%s%s", *n->domain ? ", domain " : "", n->domain);
    return !onnx_narrow_refuse(n) && op->import(n) && epl_error_code(n->imp->ctx) == EPL_OK && onnx_narrow_pass_on(n) && nothing_is_left(n);
}

bool onnx_import_node(onnx_import *imp, onnx_scope *s, const Onnx__NodeProto *p)
{
    onnx_node n = { .imp = imp, .scope = s, .g = s->g, .proto = p, .op = p->op_type ? p->op_type : "",
                    .domain = p->domain && strcmp(p->domain, "ai.onnx") != 0 ? p->domain : "",
                    .n_in = (int)p->n_input, .n_out = (int)p->n_output };
    n.opset = opset_of(imp, s, n.domain);
    if (n.n_out > ONNX_MAX_OUT)
        return onnx_unsupported(&n, "%d results, the limit is %d", n.n_out, ONNX_MAX_OUT);
    const char *scope = imp->graph->scope;
    if (p->name && *p->name)
        imp->graph->scope = epl_arena_strdup(imp->graph->arena, p->name);
    if (!imp->graph->scope || !run_adapter(&n))
        return fail_placed(&n);
    imp->graph->scope = scope;
    for (int i = 0; i < n.n_out; i++)
        if (*p->output[i] && !onnx_scope_add(imp, s, p->output[i], n.out[i], NULL))
            return false;
    return true;
}

/* ---- the model's inputs and outputs ------------------------------------------------------------------------------ */

/* The size of a named dimension in "batch=8,length=128"; 1 if it is not listed. */
static int64_t listed_size(const char *dims, const char *name)
{
    const size_t n = strlen(name);
    for (const char *s = dims ? dims : ""; *s; s += strcspn(s, ","), s += *s == ',')
        if (strncmp(s, name, n) == 0 && s[n] == '=' && n)
            return strtoll(s + n + 1, NULL, 10);
    return 1;
}

/* Fills shape from the declared one; the names are joined as epl_input wants them. */
static bool declared_shape(onnx_import *imp, const char *name, const Onnx__TensorShapeProto *p, const epl_tensor *given,
                           epl_shape *shape, epl_text *names)
{
    if (p->n_dim > EPL_MAX_RANK)
        return epl_fail(imp->ctx, EPL_ERR_UNSUPPORTED, "%s: input '%.200s' has %zu axes, the limit is %d", imp->file.name, name,
                        p->n_dim, EPL_MAX_RANK);
    if (given && given->shape.rank != (int)p->n_dim)
        return epl_fail(imp->ctx, EPL_ERR_SHAPE, "%s: input '%.200s' has %zu axes, the tensor given for it has %d", imp->file.name,
                        name, p->n_dim, given->shape.rank);
    shape->rank = (int)p->n_dim;
    for (int i = 0; i < shape->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = p->dim[i];
        const bool  fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        const char *dim = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && d->dim_param ? d->dim_param : "";
        shape->dim[i] = fixed ? d->dim_value : given ? given->shape.dim[i] : listed_size(imp->opts.dims, dim);
        epl_text_add(names, i ? "," : "");
        for (const char *c = dim; !fixed && *c; c++) // the list's own comma cannot be part of a name
            epl_text_add_bytes(names, *c == ',' || (unsigned char)*c < 33 ? "_" : c, 1);
    }
    return true;
}

/* False, and an error, if the type is not that of a tensor of elements that we have. */
static bool refuse_type(onnx_import *imp, const char *name, const Onnx__TypeProto *type)
{
    if (!type || type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET)
        return true;
    if (type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
        return epl_fail(imp->ctx, EPL_ERR_UNSUPPORTED, "%s: input '%.200s' is not a tensor but a sequence, map or optional",
                        imp->file.name, name);
    return onnx_held_dtype(type->tensor_type->elem_type) != EPL_NO_DTYPE ||
           epl_fail(imp->ctx, EPL_ERR_UNSUPPORTED, "%s: input '%.200s' has elements of type %s", imp->file.name, name,
                    onnx_dtype_name(type->tensor_type->elem_type));
}

static bool add_input(onnx_import *imp, onnx_scope *s, const Onnx__ValueInfoProto *p)
{
    const char *name = p->name ? p->name : "";
    const Onnx__TypeProto__Tensor *type =
        p->type && p->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? p->type->tensor_type : NULL;
    const epl_tensor *given = imp->opts.inputs ? epl_weights_find(imp->opts.inputs, name) : NULL;
    if (!refuse_type(imp, name, p->type))
        return false;
    const epl_dtype dtype = type ? onnx_held_dtype(type->elem_type) : given ? given->dtype : EPL_NO_DTYPE;
    epl_shape shape = given ? given->shape : EPL_SCALAR;
    epl_text  names = EPL_TEXT(imp->ctx);
    bool      ok = true;
    if (type && type->shape)
        ok = declared_shape(imp, name, type->shape, given, &shape, &names);
    else if (!given)
        ok = epl_fail(imp->ctx, EPL_ERR_UNSUPPORTED, "%s: input '%.200s' has no shape; give a tensor for it", imp->file.name, name);
    epl_value *v = ok ? epl_input(s->g, name, dtype, shape, epl_text_str(&names)) : NULL;
    epl_text_release(&names);
    return v && onnx_scope_add(imp, s, name, v, NULL) && (!type || onnx_narrow_mark(imp, v, type->elem_type));
}

bool onnx_add_initialisers(onnx_import *imp, onnx_scope *s, const Onnx__GraphProto *p)
{
    if (p->n_sparse_initializer)
        return epl_fail(imp->ctx, EPL_ERR_UNSUPPORTED, "%s: sparse initialisers", imp->file.name);
    for (size_t i = 0; i < p->n_initializer; i++)
        if (!onnx_scope_add(imp, s, p->initializer[i]->name ? p->initializer[i]->name : "", NULL, p->initializer[i]))
            return false;
    return true;
}

epl_value *onnx_result(onnx_import *imp, onnx_scope *s, const char *name)
{
    onnx_entry *e = onnx_scope_find(s, name);
    if (!e || e->absent) {
        epl_fail(imp->ctx, EPL_ERR_FORMAT, "%s: the graph's result '%.200s' is not computed", imp->file.name, name);
        return NULL;
    }
    return settle(imp, s, e);
}

static bool import_graph(onnx_import *imp, const Onnx__GraphProto *p)
{
    onnx_scope s = { .g = imp->graph };
    bool       ok = onnx_add_initialisers(imp, &s, p);
    for (size_t i = 0; ok && i < p->n_input; i++)
        if (!p->input[i]->name || !onnx_scope_find(&s, p->input[i]->name)) // older files list initialisers among the inputs
            ok = add_input(imp, &s, p->input[i]);
    for (size_t i = 0; ok && i < p->n_node; i++)
        ok = onnx_import_node(imp, &s, p->node[i]);
    for (size_t i = 0; ok && i < p->n_output; i++) {
        const char *name = p->output[i]->name ? p->output[i]->name : "";
        epl_value  *v = onnx_result(imp, &s, name);
        ok = v && epl_output(imp->graph, name, v);
    }
    epl_symbols_release(imp->ctx, &s.names);
    return ok;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */
static bool check_opset(const onnx_import *imp)
{
    const Onnx__ModelProto *m = imp->file.model;
    if (!m->graph)
        return epl_fail(imp->ctx, EPL_ERR_FORMAT, "%s: a model without a graph", imp->file.name);
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const char *domain = m->opset_import[i]->domain ? m->opset_import[i]->domain : "";
        if ((!*domain || strcmp(domain, "ai.onnx") == 0) && m->opset_import[i]->version > ONNX_NEWEST_OPSET)
            return epl_fail(imp->ctx, EPL_ERR_UNSUPPORTED, "%s: opset %lld; this library knows opsets up to %d", imp->file.name,
                            (long long)m->opset_import[i]->version, ONNX_NEWEST_OPSET);
    }
    return true;
}

/* Weights that no node reads any more. */
static void drop_unused(onnx_import *imp)
{
    for (int i = epl_weights_count(imp->weights) - 1; i >= 0; i--)
        if (!epl_graph_find(imp->graph, epl_weights_name(imp->weights, i)))
            epl_weights_remove(imp->weights, epl_weights_name(imp->weights, i));
}

static void import_release(onnx_import *imp)
{
    onnx_evaluate_release(imp);
    epl_release(imp->ctx, imp->narrow);
    epl_text_release(&imp->fixed);
    epl_symbols_release(imp->ctx, &imp->states);
    epl_symbols_release(imp->ctx, &imp->parameters);
    epl_symbols_release(imp->ctx, &imp->homes);
    epl_arena_free(imp->arena);
    onnx_file_close(&imp->file);
}

/* Consumes imp->file. */
static epl_model *import_take(onnx_import *imp)
{
    epl_model *m = NULL;
    imp->arena = epl_arena_new(imp->ctx);
    imp->fixed = EPL_TEXT(imp->ctx);
    const char *name = imp->file.model->graph && imp->file.model->graph->name ? imp->file.model->graph->name : "";
    imp->graph = imp->arena && check_opset(imp) ? epl_graph_new(imp->ctx, name) : NULL;
    imp->weights = imp->graph ? epl_weights_new(imp->ctx) : NULL;
    if (imp->weights && list_names(imp, ONNX_STATES_KEY, &imp->states) && list_names(imp, ONNX_PARAMETERS_KEY, &imp->parameters) &&
        import_graph(imp, imp->file.model->graph) && epl_move_transposes(imp->graph) && epl_recognise(imp->graph) &&
        onnx_move_flattening(imp)) {
        drop_unused(imp);
        m = epl_model_new_take(imp->graph);
        imp->graph = NULL;
    }
    if (!m) {
        epl_graph_free(imp->graph);
        epl_weights_free(imp->weights);
    } else {
        if (imp->file.mapped) { // tensors may be views
            imp->weights->file = imp->file.map;
            imp->file.mapped = false;
        }
        epl_weights_free(m->weights);
        m->weights = imp->weights;
        if (imp->fixed.length)
            epl_weights_set_metadata(m->weights, FIXED_KEY, epl_text_str(&imp->fixed));
        char turned[24];
        snprintf(turned, sizeof turned, "%d", imp->turned);
        epl_weights_set_metadata(m->weights, EPL_ONNX_TRANSPOSES_KEY, turned);
        if (!epl_model_init(m, 0)) { // the key of random numbers, where there are any
            epl_model_free(m);
            m = NULL;
        }
    }
    import_release(imp);
    return m;
}

epl_model *epl_onnx_load(epl_context *ctx, const char *path, epl_onnx_opts o)
{
    onnx_import imp = { .ctx = ctx, .opts = o };
    if (onnx_file_open(&imp.file, ctx, path))
        return import_take(&imp);
    onnx_file_close(&imp.file);
    return NULL;
}

epl_model *epl_onnx_parse(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_onnx_opts o)
{
    onnx_import imp = { .ctx = ctx, .opts = o };
    if (onnx_file_parse(&imp.file, ctx, data, bytes, name))
        return import_take(&imp);
    onnx_file_close(&imp.file);
    return NULL;
}

const char *epl_onnx_fixed_inputs(const epl_model *m)
{
    const char *fixed = epl_weights_metadata(m->weights, FIXED_KEY);
    return fixed ? fixed : "";
}

static bool is_initialiser(const Onnx__GraphProto *p, const char *name)
{
    for (size_t i = 0; i < p->n_initializer; i++)
        if (p->initializer[i]->name && strcmp(p->initializer[i]->name, name) == 0)
            return true;
    return false;
}

char *epl_onnx_input_names(epl_context *ctx, const char *path)
{
    onnx_import imp = { .ctx = ctx };
    char       *names = NULL;
    if (onnx_file_open(&imp.file, ctx, path) && check_opset(&imp)) {
        epl_text                t = EPL_TEXT(ctx);
        const Onnx__GraphProto *p = imp.file.model->graph;
        for (size_t i = 0; i < p->n_input; i++) {
            const char *name = p->input[i]->name ? p->input[i]->name : "";
            if (!is_initialiser(p, name) && refuse_type(&imp, name, p->input[i]->type))
                epl_text_addf(&t, "%s\n", name);
        }
        if (epl_error_code(ctx) == EPL_OK)
            names = epl_text_detach(&t);
        epl_text_release(&t);
    }
    onnx_file_close(&imp.file);
    return names;
}

epl_tensor *epl_onnx_tensor_load(epl_context *ctx, const char *path, char **name)
{
    onnx_file   f = { .ctx = ctx, .name = path, .mapped = true };
    epl_tensor *t = NULL;
    f.allocator = (ProtobufCAllocator){ 0 };
    if (epl_map_open(ctx, path, &f.map) && onnx_wire_read(&f.wire, ctx, f.map.data, f.map.size, ONNX_ROOT_TENSOR, path)) {
        Onnx__TensorProto *p = onnx__tensor_proto__unpack(NULL, f.wire.copy.length, (const uint8_t *)epl_text_str(&f.wire.copy));
        if (!p)
            epl_fail(ctx, EPL_ERR_FORMAT, "%s: not an ONNX tensor", path);
        t = p ? onnx_tensor(&f, p, true) : NULL;
        if (t && name)
            *name = epl_strdup(ctx, p->name ? p->name : "");
        onnx__tensor_proto__free_unpacked(p, NULL);
    }
    onnx_file_close(&f);
    return t;
}
