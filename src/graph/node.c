/* node: adding nodes, their attributes and use lists, and looking at them. */
#include "graph/op.h"

#include <stdio.h>

/* ---- use lists: arrays in the arena that double when full ---- */

static bool use_add(epl_value *v, epl_node *n, int input)
{
    if (v->n_uses == v->cap_uses) {
        const size_t capacity = v->cap_uses ? 2 * v->cap_uses : 2;
        epl_use     *uses     = epl_arena_alloc(n->graph->arena, capacity * sizeof *uses);
        if (!uses) {
            n->graph->root->failed = true;
            return false;
        }
        if (v->n_uses)
            memcpy(uses, v->uses, v->n_uses * sizeof *uses);
        v->uses     = uses;
        v->cap_uses = capacity;
    }
    v->uses[v->n_uses++] = (epl_use){ n, input };
    return true;
}

static void use_remove(epl_value *v, const epl_node *n, int input)
{
    for (size_t i = 0; i < v->n_uses; i++)
        if (v->uses[i].node == n && v->uses[i].input == input) {
            memmove(v->uses + i, v->uses + i + 1, (v->n_uses - i - 1) * sizeof *v->uses);
            v->n_uses--;
            return;
        }
}

void epl_set_input(epl_node *n, int i, epl_value *v)
{
    if (n->inputs[i] == v)
        return;
    if (n->inputs[i])
        use_remove(n->inputs[i], n, i);
    n->inputs[i] = v;
    if (v)
        use_add(v, n, i);
}

bool epl_add_input(epl_node *n, epl_value *v)
{
    if ((size_t)n->n_inputs == n->cap_inputs) {
        const size_t capacity = n->cap_inputs ? 2 * n->cap_inputs : 4;
        epl_value  **inputs   = epl_arena_alloc(n->graph->arena, capacity * sizeof *inputs);
        if (!inputs) {
            n->graph->root->failed = true;
            return false;
        }
        if (n->n_inputs)
            memcpy(inputs, n->inputs, (size_t)n->n_inputs * sizeof *inputs);
        n->inputs     = inputs;
        n->cap_inputs = capacity;
    }
    n->inputs[n->n_inputs++] = v;
    return !v || use_add(v, n, n->n_inputs - 1);
}

void epl_replace(epl_value *old, epl_value *with)
{
    while (old != with && old->n_uses)
        epl_set_input(old->uses[old->n_uses - 1].node, old->uses[old->n_uses - 1].input, with);
}

/* ---- failing ---- */

bool epl_node_fail(const epl_node *n, epl_error code, const char *format, ...)
{
    char    sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (!n->graph->root->failed) {
        n->graph->root->failed = true;
        epl_fail(n->graph->ctx, code, "%s%s%s: %s", n->op->name, n->scope[0] ? " " : "", n->scope, sentence);
    }
    return false;
}

bool epl_check_axis(const epl_node *n, int64_t axis, int rank, int *out)
{
    if (axis < -rank || axis >= rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "axis %lld is outside a tensor of rank %d", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return true;
}

/* ---- attributes ---- */

int epl_op_n_attrs(const epl_op *op)
{
    int n = 0;
    while (n < EPL_MAX_ATTRS && op->attrs[n].type != EPL_ATTR_NONE)
        n++;
    return n;
}

int epl_op_attr_index(const epl_op *op, const char *name)
{
    for (int i = 0; i < EPL_MAX_ATTRS && op->attrs[i].type != EPL_ATTR_NONE; i++)
        if (strcmp(op->attrs[i].name, name) == 0)
            return i;
    return -1;
}

bool epl_attr_equal(const epl_attr_field *field, const epl_attr *a, const epl_attr *b)
{
    switch (field->type) {
    case EPL_ATTR_REAL:   return memcmp(&a->r, &b->r, sizeof a->r) == 0;
    case EPL_ATTR_INTS:   return a->n == b->n && memcmp(a->ints, b->ints, (size_t)a->n * sizeof *a->ints) == 0;
    case EPL_ATTR_REALS:  return a->n == b->n && memcmp(a->reals, b->reals, (size_t)a->n * sizeof *a->reals) == 0;
    case EPL_ATTR_STRING: return strcmp(a->s, b->s) == 0;
    case EPL_ATTR_TENSOR: return epl_tensor_equal(a->tensor, b->tensor);
    default:              return a->i == b->i;
    }
}

static const epl_tensor *tensor_in_arena(epl_arena *arena, const epl_tensor *t)
{
    epl_tensor *copy = epl_arena_alloc(arena, sizeof *copy);
    if (copy) {
        *copy = (epl_tensor){ .dtype = t->dtype, .shape = t->shape };
        copy->data = epl_arena_copy(arena, t->data, epl_tensor_bytes(t));
    }
    return copy && copy->data ? copy : NULL;
}

bool epl_node_set_attr(epl_node *n, int index, epl_attr a)
{
    const epl_attr_field *field = &n->op->attrs[index];
    epl_arena            *arena = n->graph->arena;
    epl_attr              kept  = { .set = a.set, .i = a.i, .r = a.r, .n = a.n };
    bool ok = true;
    if (field->type == EPL_ATTR_STRING) {
        kept.s = epl_arena_strdup(arena, a.s ? a.s : "");
        ok     = kept.s != NULL;
    } else if (field->type == EPL_ATTR_INTS) {
        kept.ints = epl_arena_copy(arena, a.ints, (size_t)a.n * sizeof *a.ints);
        ok        = kept.ints != NULL;
    } else if (field->type == EPL_ATTR_REALS) {
        kept.reals = epl_arena_copy(arena, a.reals, (size_t)a.n * sizeof *a.reals);
        ok         = kept.reals != NULL;
    } else if (field->type == EPL_ATTR_TENSOR && a.tensor) {
        kept.tensor = tensor_in_arena(arena, a.tensor);
        ok          = kept.tensor != NULL;
    }
    n->attrs[index] = kept;
    if (!ok)
        n->graph->root->failed = true;
    return ok;
}

static bool fill_attrs(epl_node *n, const epl_attr *attrs)
{
    const int n_attrs = epl_op_n_attrs(n->op);
    n->attrs = epl_arena_alloc(n->graph->arena, (size_t)(n_attrs ? n_attrs : 1) * sizeof *n->attrs);
    if (!n->attrs)
        return false;
    for (int i = 0; i < n_attrs; i++) {
        const epl_attr_field *field = &n->op->attrs[i];
        epl_attr a = { .i = field->def_i, .r = field->def_r };
        if (attrs && attrs[i].set)
            a = attrs[i];
        else if (field->required)
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "attribute '%s' is required", field->name);
        if (!epl_node_set_attr(n, i, a))
            return false;
    }
    return true;
}

static const epl_attr *attr_named(const epl_node *n, const char *name)
{
    const int       i    = epl_op_attr_index(n->op, name);
    static const epl_attr none = { 0 };
    return i < 0 ? &none : &n->attrs[i];
}

int64_t           epl_attr_i(const epl_node *n, const char *name) { return attr_named(n, name)->i; }
double            epl_attr_r(const epl_node *n, const char *name) { return attr_named(n, name)->r; }
const char       *epl_attr_s(const epl_node *n, const char *name) { return attr_named(n, name)->s; }
const epl_tensor *epl_attr_tensor(const epl_node *n, const char *name) { return attr_named(n, name)->tensor; }

int epl_attr_ints(const epl_node *n, const char *name, const int64_t **out)
{
    const epl_attr *a = attr_named(n, name);
    *out = a->ints;
    return a->n;
}

/* ---- types ---- */

bool epl_node_set_n_outputs(epl_node *n, int n_outputs)
{
    if (n->outputs && n->n_outputs == n_outputs)
        return true; // inferring again
    if (n->outputs)
        return epl_node_fail(n, EPL_ERR_SHAPE, "the number of results changed from %d to %d", n->n_outputs, n_outputs);
    n->outputs   = epl_arena_alloc(n->graph->arena, (size_t)(n_outputs ? n_outputs : 1) * sizeof *n->outputs);
    n->n_outputs = n->outputs ? n_outputs : 0;
    for (int i = 0; i < n->n_outputs; i++) {
        epl_value *v = epl_arena_alloc(n->graph->arena, sizeof *v);
        if (!v) {
            n->graph->root->failed = true;
            return false;
        }
        *v = (epl_value){ .graph = n->graph, .producer = n, .index = i };
        n->outputs[i] = v;
    }
    return n->outputs != NULL;
}

bool epl_set_type(epl_node *n, int output, epl_dtype dtype, epl_shape shape)
{
    char text[192];
    const int64_t count = epl_shape_count(shape);
    if (shape.rank > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a result of rank %d; at most %d are possible", shape.rank, EPL_MAX_RANK);
    bool possible = count >= 0 && count <= INT64_MAX / 16;
    for (int i = 0; possible && i < shape.rank; i++)
        possible = shape.dim[i] <= (int64_t)1 << 48; // sums of sizes cannot overflow either, where another dimension is 0
    if (!possible)
        return epl_node_fail(n, EPL_ERR_SHAPE, "the result %s has no possible size", epl_shape_text(text, shape));
    if (dtype <= EPL_NO_DTYPE || dtype >= EPL_N_DTYPES)
        return epl_node_fail(n, EPL_ERR_DTYPE, "%d is not an element type", (int)dtype);
    n->outputs[output]->dtype = dtype;
    n->outputs[output]->shape = shape;
    return true;
}

bool epl_infer_same(epl_node *n) { return epl_set_type(n, 0, n->inputs[0]->dtype, n->inputs[0]->shape); }

/* ---- adding ---- */

static bool count_inputs(const epl_node *n, int n_inputs, epl_value *const *inputs)
{
    const epl_op *op    = n->op;
    const int     least = op->n_inputs >= 0 && op->min_inputs == 0 ? op->n_inputs : op->min_inputs;
    if (n_inputs < least || (op->n_inputs >= 0 && n_inputs > op->n_inputs))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d inputs given, %s%d expected", n_inputs,
                             least == op->n_inputs ? "" : "at least ", least);
    for (int i = 0; i < least; i++)
        if (!inputs[i])
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "input %d is missing", i);
    return true;
}

static void link_node(epl_graph *g, epl_node *n, epl_node *before)
{
    n->next = before;
    n->prev = before ? before->prev : g->last;
    *(n->prev ? &n->prev->next : &g->first) = n;
    *(before ? &before->prev : &g->last)    = n;
    g->n_nodes++;
}

static void unlink_node(epl_node *n)
{
    epl_graph *g = n->graph;
    *(n->prev ? &n->prev->next : &g->first) = n->next;
    *(n->next ? &n->next->prev : &g->last)  = n->prev;
    if (g->cursor == n)
        g->cursor = n->next;
    g->n_nodes--;
}

static epl_node *node_new(epl_graph *g, const epl_op *op)
{
    epl_node *n = epl_arena_alloc(g->arena, sizeof *n);
    if (!n) {
        g->root->failed = true;
        return NULL;
    }
    *n = (epl_node){ .graph = g, .op = op, .id = g->root->next_id++, .scope = g->root->scope };
    return n;
}

static bool take_regions(epl_node *n, int n_regions, epl_graph *const *regions)
{
    if (n->op->n_regions >= 0 && n_regions != n->op->n_regions)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d regions given, %d expected", n_regions, n->op->n_regions);
    n->regions = epl_arena_copy(n->graph->arena, regions, (size_t)n_regions * sizeof *regions);
    n->n_regions = n_regions;
    for (int i = 0; i < n_regions; i++) {
        if (!regions[i] || regions[i]->root != n->graph->root || regions[i]->owner)
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "region %d does not belong to this graph or is in use", i);
        regions[i]->owner = n;
    }
    return n_regions == 0 || n->regions != NULL;
}

/* A null input is an earlier builder's failure, unless the operator allows it to be absent. */
epl_node *epl_node_add(epl_graph *g, const epl_op *op, int n_inputs, epl_value *const *inputs, const epl_attr *attrs,
                       int n_regions, epl_graph *const *regions)
{
    if (epl_graph_failed(g))
        return NULL;
    while (n_inputs > 0 && !inputs[n_inputs - 1])
        n_inputs--;
    epl_node *n = node_new(g, op);
    if (!n || !count_inputs(n, n_inputs, inputs) || !fill_attrs(n, attrs) ||
        (n_regions > 0 && !take_regions(n, n_regions, regions)))
        return NULL;
    for (int i = 0; i < n_inputs; i++) {
        if (inputs[i] && inputs[i]->graph != g) {
            epl_node_fail(n, EPL_ERR_ARGUMENT, "input %d belongs to another graph", i);
            return NULL;
        }
        if (!epl_add_input(n, inputs[i]))
            return NULL;
    }
    if (op->n_outputs >= 0 && !epl_node_set_n_outputs(n, op->n_outputs))
        return NULL;
    if (op->infer && !op->infer(n)) {
        g->root->failed = true;
        return NULL;
    }
    link_node(g, n, g->cursor);
    return n;
}

epl_value *epl_apply(epl_graph *g, const epl_op *op, int n_inputs, epl_value *const *inputs, const epl_attr *attrs)
{
    epl_node *n = epl_node_add(g, op, n_inputs, inputs, attrs, 0, NULL);
    return n ? n->outputs[0] : NULL;
}

void epl_node_remove(epl_node *n)
{
    for (int i = 0; i < n->n_inputs; i++)
        epl_set_input(n, i, NULL);
    unlink_node(n);
}

bool epl_node_move_before(epl_node *n, epl_node *at)
{
    if (n == at || n->graph != at->graph)
        return n == at;
    unlink_node(n);
    link_node(n->graph, n, at);
    return true;
}

void epl_node_move_last(epl_node *n)
{
    unlink_node(n);
    link_node(n->graph, n, NULL);
}

/* ---- looking ---- */

epl_node *epl_first(const epl_graph *g) { return g->first; }
epl_node *epl_last(const epl_graph *g) { return g->last; }
epl_node *epl_next(const epl_node *n) { return n->next; }
epl_node *epl_prev(const epl_node *n) { return n->prev; }
int       epl_graph_n_nodes(const epl_graph *g) { return g->n_nodes; }

static epl_node *nth(const epl_graph *g, const epl_op *op, int i)
{
    for (epl_node *n = g->first; n; n = n->next)
        if (n->op == op && i-- == 0)
            return n;
    return NULL;
}

static int count_of(const epl_graph *g, const epl_op *op)
{
    int count = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        count += n->op == op;
    return count;
}

int        epl_graph_n_inputs(const epl_graph *g) { return count_of(g, &epl_op_input); }
int        epl_graph_n_outputs(const epl_graph *g) { return count_of(g, &epl_op_output); }

epl_value *epl_graph_input_at(const epl_graph *g, int i)
{
    const epl_node *n = nth(g, &epl_op_input, i);
    return n ? n->outputs[0] : NULL;
}

epl_value *epl_graph_output_at(const epl_graph *g, int i)
{
    const epl_node *n = nth(g, &epl_op_output, i);
    return n ? n->inputs[0] : NULL;
}

const char *epl_graph_output_name(const epl_graph *g, int i)
{
    const epl_node *n = nth(g, &epl_op_output, i);
    return n ? n->attrs[0].s : NULL;
}

epl_value *epl_graph_find(const epl_graph *g, const char *name)
{
    for (const epl_node *n = g->first; n; n = n->next) {
        if (n->n_outputs == 1 && epl_value_name(n->outputs[0]) && strcmp(epl_value_name(n->outputs[0]), name) == 0)
            return n->outputs[0];
        if (EPL_IS(n, output) && strcmp(n->attrs[0].s, name) == 0)
            return n->inputs[0];
    }
    return NULL;
}

const epl_op *epl_node_op(const epl_node *n) { return n->op; }
const char   *epl_op_name(const epl_op *op) { return op->name; }
const char   *epl_node_op_name(const epl_node *n) { return n->op->name; }
const char   *epl_node_scope(const epl_node *n) { return n->scope; }
int           epl_node_id(const epl_node *n) { return n->id; }
int           epl_node_n_inputs(const epl_node *n) { return n->n_inputs; }
epl_value    *epl_node_input(const epl_node *n, int i) { return i < n->n_inputs ? n->inputs[i] : NULL; }
int           epl_node_n_outputs(const epl_node *n) { return n->n_outputs; }
epl_value    *epl_node_output(const epl_node *n, int i) { return i < n->n_outputs ? n->outputs[i] : NULL; }
int           epl_node_n_regions(const epl_node *n) { return n->n_regions; }
epl_graph    *epl_node_region(const epl_node *n, int i) { return i < n->n_regions ? n->regions[i] : NULL; }
epl_graph    *epl_node_graph(const epl_node *n) { return n->graph; }

/* Of a NULL value (after a failure) these give harmless numbers, so that builders can go on to the end. */
epl_dtype epl_dtype_of(const epl_value *v) { return v ? v->dtype : EPL_F32; }
epl_shape epl_shape_of(const epl_value *v) { return v ? v->shape : EPL_SCALAR; }
int       epl_rank(const epl_value *v) { return v ? v->shape.rank : 0; }

int64_t epl_dim(const epl_value *v, int axis)
{
    const int rank = epl_rank(v), i = axis < 0 ? axis + rank : axis;
    return i < 0 || i >= rank ? 1 : v->shape.dim[i];
}

int64_t     epl_channels(const epl_value *v) { return epl_dim(v, -1); }
epl_node   *epl_producer(const epl_value *v) { return v ? v->producer : NULL; }
int         epl_value_index(const epl_value *v) { return v->index; }
int         epl_n_uses(const epl_value *v) { return (int)v->n_uses; }
epl_use     epl_use_at(const epl_value *v, int i) { return v->uses[i]; }

const char *epl_value_name(const epl_value *v)
{
    const epl_node *n = epl_producer(v);
    return EPL_IS(n, input) || EPL_IS(n, parameter) || EPL_IS(n, state) ? n->attrs[0].s : NULL;
}
