/* adapt_control: If, Loop and Scan. A sub-graph of ONNX sees the names around it; a region of ours sees its inputs
 * alone, so what a sub-graph reads from outside is found first and becomes inputs. Small constants are copied into
 * the region instead; weights are declared there, which makes them inputs, too (ops.h).
 *
 * Our shapes are fixed. A Loop that stacks results must therefore run a known number of times. A body in which shapes follow
 * the iteration is laid out one iteration after the other, where their number is known and small. */
#include "onnx/adapt.h"
#include "onnx/importer.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CAPTURES = 256, MAX_UNROLLED = 64 };

typedef struct captures {
    int         count;
    const char *names[MAX_CAPTURES];
    epl_value  *values[MAX_CAPTURES];
} captures;

/* A file may leave names out. */
static const char *name_of(const Onnx__ValueInfoProto *p) { return p->name ? p->name : ""; }

/* ---- what a sub-graph reads from outside ------------------------------------------------------------------------- */
static bool note_capture(onnx_node *n, captures *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->names[i], name) == 0)
            return true;
    for (onnx_scope *s = n->scope; s; s = s->parent) {
        const onnx_entry *e = onnx_scope_find(s, name);
        if (!e)
            continue;
        if (!e->value || e->init || s->g != n->g || (epl_shape_count(e->value->shape) <= 4096 && onnx_evaluate_constant(n->imp, e->value)))
            return true; // the region declares a tensor of the file itself, and has a copy of a constant
        if (c->count == MAX_CAPTURES)
            return onnx_unsupported(n, "a sub-graph that reads more than %d values around it", MAX_CAPTURES);
        c->names[c->count] = name;
        c->values[c->count++] = e->value;
        return true;
    }
    return true; // not defined: the node that reads it will say so
}

static bool define(epl_context *ctx, epl_symbols *known, const char *name)
{
    return epl_symbols_put(ctx, known, name, strlen(name), NULL);
}

static bool collect(onnx_node *n, captures *c, const Onnx__GraphProto *p);

static bool collect_node(onnx_node *n, captures *c, epl_symbols *known, const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < node->n_input; i++)
        if (*node->input[i] && !epl_symbols_find(known, node->input[i], strlen(node->input[i])) && !note_capture(n, c, node->input[i]))
            return false;
    for (size_t i = 0; i < node->n_attribute; i++)
        if (node->attribute[i]->g && !collect(n, c, node->attribute[i]->g))
            return false;
    for (size_t i = 0; i < node->n_output; i++)
        if (!define(n->imp->ctx, known, node->output[i]))
            return false;
    return true;
}

/* A name that an inner graph defines for itself cannot stand for a value around it: ONNX forbids hiding names. */
static bool collect(onnx_node *n, captures *c, const Onnx__GraphProto *p)
{
    epl_symbols known = { 0 };
    bool        ok = true;
    for (size_t i = 0; ok && i < p->n_input; i++)
        ok = define(n->imp->ctx, &known, name_of(p->input[i]));
    for (size_t i = 0; ok && i < p->n_initializer; i++)
        ok = define(n->imp->ctx, &known, p->initializer[i]->name ? p->initializer[i]->name : "");
    for (size_t i = 0; ok && i < p->n_node; i++)
        ok = collect_node(n, c, &known, p->node[i]);
    for (size_t i = 0; ok && i < p->n_output; i++) {
        const char *name = name_of(p->output[i]);
        ok = epl_symbols_find(&known, name, strlen(name)) || note_capture(n, c, name);
    }
    epl_symbols_release(n->imp->ctx, &known);
    return ok;
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */
static bool scope_open(onnx_node *n, onnx_scope *s)
{
    *s = (onnx_scope){ .parent = n->scope, .g = epl_region_new(n->g), .depth = n->scope->depth };
    return s->g != NULL;
}

/* The next input of a region, of a value's type. */
static epl_value *region_input(onnx_node *n, onnx_scope *s, const char *name, epl_dtype dtype, epl_shape shape, bool named)
{
    epl_value *v = epl_input(s->g, name, dtype, shape, NULL);
    return v && (!named || onnx_scope_add(n->imp, s, name, v, NULL)) ? v : NULL;
}

static bool region_captures(onnx_node *n, onnx_scope *s, const captures *c)
{
    for (int i = 0; i < c->count; i++)
        if (!region_input(n, s, c->names[i], c->values[i]->dtype, c->values[i]->shape, true))
            return false;
    return true;
}

/* The sub-graph's nodes; its results in order. A result that is a constant or a value around it is found too. */
static bool region_body(onnx_node *n, onnx_scope *s, const Onnx__GraphProto *p, epl_value **out, size_t max)
{
    if (p->n_output > max)
        return onnx_unsupported(n, "a sub-graph with %zu results", p->n_output);
    if (!onnx_add_initialisers(n->imp, s, p))
        return false;
    for (size_t i = 0; i < p->n_node; i++)
        if (!onnx_import_node(n->imp, s, p->node[i]))
            return false;
    for (size_t i = 0; i < p->n_output; i++) {
        Onnx__NodeProto reader = ONNX__NODE_PROTO__INIT;
        char           *input = (char *)(uintptr_t)name_of(p->output[i]);
        onnx_node       look = *n;
        reader.n_input = 1;
        reader.input = &input;
        reader.name = n->proto->name;
        look.scope = s;
        look.g = s->g;
        look.proto = &reader;
        look.n_in = 1;
        out[i] = onnx_in(&look, 0);
        if (!out[i])
            return false;
    }
    return true;
}

static epl_value *as_scalar(epl_graph *g, epl_value *v, epl_dtype t)
{
    return v ? epl_cast(g, epl_reshape(g, v, EPL_SCALAR), t) : NULL;
}

/* ---- If ---------------------------------------------------------------------------------------------------------- */
static epl_graph *branch(onnx_node *n, const Onnx__GraphProto *p, const captures *c)
{
    onnx_scope s;
    epl_value *out[ONNX_MAX_OUT] = { 0 };
    bool       ok = scope_open(n, &s) && region_captures(n, &s, c) && region_body(n, &s, p, out, ONNX_MAX_OUT);
    for (size_t i = 0; ok && i < p->n_output; i++)
        ok = epl_output(s.g, name_of(p->output[i]), out[i]) != NULL;
    epl_symbols_release(n->imp->ctx, &s.names);
    return ok ? s.g : NULL;
}

epl_value *onnx_call_graph(onnx_node *n, const char *name, int n_in, epl_value *const *in)
{
    const Onnx__GraphProto *p = onnx_graph_attr(n, name);
    onnx_scope s = { .parent = n->scope, .g = n->g, .depth = n->scope->depth };
    epl_value *out = NULL;
    bool       ok = p != NULL;
    if (ok && ((int)p->n_input != n_in || p->n_output != 1))
        ok = onnx_fail(n, EPL_ERR_FORMAT, "the sub-graph '%s' has %zu inputs and %zu results", name, p->n_input, p->n_output);
    for (int i = 0; ok && i < n_in; i++)
        ok = onnx_scope_add(n->imp, &s, name_of(p->input[i]), in[i], NULL) != NULL;
    ok = ok && region_body(n, &s, p, &out, 1);
    epl_symbols_release(n->imp->ctx, &s.names);
    return ok ? out : NULL;
}

/* The branch alone, where the condition is fixed. */
static bool take_branch(onnx_node *n, const Onnx__GraphProto *p)
{
    onnx_scope s = { .parent = n->scope, .g = n->g, .depth = n->scope->depth };
    const bool ok = region_body(n, &s, p, n->out, ONNX_MAX_OUT);
    epl_symbols_release(n->imp->ctx, &s.names);
    return ok;
}

static bool same_results(const epl_graph *a, const epl_graph *b)
{
    const int n = epl_graph_n_outputs(a);
    bool      same = n == epl_graph_n_outputs(b);
    for (int i = 0; same && i < n; i++)
        same = epl_shape_equal(epl_graph_output_at(a, i)->shape, epl_graph_output_at(b, i)->shape);
    return same;
}

static bool import_if(onnx_node *n)
{
    const Onnx__GraphProto *yes = onnx_graph_attr(n, "then_branch"), *no = yes ? onnx_graph_attr(n, "else_branch") : NULL;
    epl_value *cond = onnx_in(n, 0);
    if (!no || !cond)
        return false;
    const epl_tensor *known = onnx_known_if(n, 0, false);
    if (known)
        return take_branch(n, epl_tensor_count(known) > 0 && epl_tensor_get_i64(known, 0) ? yes : no);
    captures c = { 0 };
    if (!collect(n, &c, yes) || !collect(n, &c, no))
        return false;
    epl_graph *a = branch(n, yes, &c), *b = a ? branch(n, no, &c) : NULL;
    if (b && !same_results(a, b) && (known = onnx_known_if(n, 0, true)) != NULL) // an If among shapes: the value is taken for good
        return take_branch(n, epl_tensor_count(known) > 0 && epl_tensor_get_i64(known, 0) ? yes : no);
    return b && epl_if(n->g, as_scalar(n->g, cond, EPL_BOOL), a, b, c.count, c.values, n->out);
}

/* ---- Loop -------------------------------------------------------------------------------------------------------- */
typedef struct loop {
    const Onnx__GraphProto *body;
    int        n_carried, n_scans;
    int64_t    trip;     /* known, or so many that the condition alone ends the loop */
    bool       limited;  /* trip is known */
    epl_value *limit;    /* the number of iterations where it is computed, else NULL */
    epl_value *cond;     /* NULL: true */
    epl_value *carried[ONNX_MAX_OUT];
} loop;

/* Does the loop go on whatever happens: the body passes its condition on, or says true? */
static bool never_stops(onnx_node *n, const epl_graph *body, epl_value *next, const epl_value *cond)
{
    const epl_tensor *first = cond ? onnx_evaluate(n->imp, (epl_value *)(uintptr_t)cond, false) : NULL;
    const epl_tensor *then = onnx_evaluate(n->imp, next, false);
    while (EPL_IS(next->producer, identity))
        next = next->producer->inputs[0];
    const bool passes = next == epl_graph_input_at(body, 1), starts = !cond || (first && epl_tensor_get_i64(first, 0));
    return starts && (passes || (then && epl_tensor_count(then) == 1 && epl_tensor_get_i64(then, 0)));
}

static bool import_loop_region(onnx_node *n, const loop *l)
{
    onnx_scope s = { 0 };
    captures   c = { 0 };
    epl_value *out[ONNX_MAX_OUT] = { 0 }, *results[ONNX_MAX_OUT + 1] = { 0 }, *iteration = NULL, *limit = NULL;
    const Onnx__GraphProto *p = l->body;
    bool ok = collect(n, &c, p) && scope_open(n, &s);
    for (size_t i = 0; ok && i < p->n_input; i++) {
        const char *name = name_of(p->input[i]);
        const bool  counter = i < 2;
        const epl_value *like = counter ? NULL : l->carried[i - 2];
        epl_value       *v = region_input(n, &s, name, counter ? (i ? EPL_BOOL : EPL_I64) : like->dtype,
                                    counter ? EPL_SCALAR : like->shape, true);
        iteration = i == 0 ? v : iteration;
        ok = v != NULL;
    }
    ok = ok && region_captures(n, &s, &c);
    if (ok && l->limit && c.count < MAX_CAPTURES) {
        c.values[c.count++] = l->limit;
        limit = region_input(n, &s, "trip count", EPL_I64, EPL_SCALAR, false);
        ok = limit != NULL;
    }
    ok = ok && region_body(n, &s, p, out, ONNX_MAX_OUT);
    epl_value *next = ok ? as_scalar(s.g, out[0], EPL_BOOL) : NULL;
    if (next && l->n_scans && !never_stops(n, s.g, out[0], l->cond))
        ok = onnx_unsupported(n, "a loop that stacks results and may stop early");
    if (ok && limit) // ONNX tests the count before an iteration, so the last one says that there is no further
        next = epl_and(s.g, next, epl_less(s.g, epl_add(s.g, iteration, epl_scalar(s.g, EPL_I64, 1)), limit));
    ok = ok && next && epl_output(s.g, "condition", next);
    for (size_t i = 1; ok && i < p->n_output; i++)
        ok = epl_output(s.g, name_of(p->output[i]), out[i]) != NULL;
    epl_symbols_release(n->imp->ctx, &s.names);
    epl_value *cond = l->limit ? epl_less(n->g, epl_scalar(n->g, EPL_I64, 0), l->limit) : NULL;
    cond = cond && l->cond ? epl_and(n->g, cond, l->cond) : cond ? cond : l->cond;
    ok = ok && epl_loop(n->g, l->trip, cond, l->n_carried, l->carried, s.g, c.count, c.values, results);
    for (int i = 0; ok && i < l->n_carried + l->n_scans; i++)
        n->out[i] = results[i];
    return ok;
}

/* One iteration after the other, the counter a constant. For bodies whose shapes follow it; the condition must be known. */
static bool import_loop_unrolled(onnx_node *n, const loop *l)
{
    const Onnx__GraphProto *p = l->body;
    epl_value *carried[ONNX_MAX_OUT] = { 0 }, *stacked[ONNX_MAX_OUT][MAX_UNROLLED];
    epl_value *cond = l->cond ? l->cond : epl_scalar(n->g, EPL_BOOL, 1);
    int64_t    done = 0;
    bool       ok = true;
    memcpy(carried, l->carried, sizeof carried);
    for (; ok && done < l->trip; done++) {
        onnx_scope s = { .parent = n->scope, .g = n->g, .depth = n->scope->depth };
        epl_value *out[ONNX_MAX_OUT] = { 0 };
        const epl_tensor *go = cond ? onnx_evaluate(n->imp, cond, true) : NULL;
        if (!go)
            ok = onnx_unsupported(n, "shapes that follow the iteration, in a loop whose condition is computed");
        else if (!epl_tensor_get_i64(go, 0))
            break;
        for (size_t i = 0; ok && i < p->n_input; i++)
            ok = onnx_scope_add(n->imp, &s, name_of(p->input[i]),
                                i == 0 ? epl_scalar(n->g, EPL_I64, (double)done) : i == 1 ? cond : carried[i - 2], NULL) != NULL;
        ok = ok && region_body(n, &s, p, out, ONNX_MAX_OUT);
        cond = ok ? as_scalar(n->g, out[0], EPL_BOOL) : NULL;
        for (int i = 0; ok && i < l->n_carried; i++)
            carried[i] = out[1 + i];
        for (int i = 0; ok && i < l->n_scans; i++)
            stacked[i][done] = out[1 + l->n_carried + i];
        epl_symbols_release(n->imp->ctx, &s.names);
    }
    for (int i = 0; ok && i < l->n_carried; i++)
        n->out[i] = carried[i];
    for (int i = 0; ok && i < l->n_scans; i++)
        n->out[l->n_carried + i] = done ? epl_stack(n->g, (int)done, stacked[i], 0) : NULL;
    return ok && (done || !l->n_scans || onnx_unsupported(n, "a loop that stacks results and never runs"));
}

static bool read_loop(onnx_node *n, loop *l)
{
    l->body = onnx_graph_attr(n, "body");
    if (!l->body)
        return false;
    l->n_carried = n->n_in > 2 ? n->n_in - 2 : 0;
    l->n_scans = (int)l->body->n_output - 1 - l->n_carried;
    if (l->n_scans < 0 || (int)l->body->n_input != l->n_carried + 2 || l->n_carried + l->n_scans > ONNX_MAX_OUT - 2)
        return onnx_fail(n, EPL_ERR_FORMAT, "the body has %zu inputs and %zu results for %d carried values", l->body->n_input,
                         l->body->n_output, l->n_carried);
    for (int i = 0; i < l->n_carried; i++)
        if (!(l->carried[i] = onnx_in(n, 2 + i)))
            return onnx_fail(n, EPL_ERR_FORMAT, "input %d is missing", 2 + i);
    if (onnx_has(n, 1))
        l->cond = as_scalar(n->g, onnx_in(n, 1), EPL_BOOL);
    const epl_tensor *trip = onnx_has(n, 0) ? onnx_one_if(n, 0, l->n_scans > 0) : NULL;
    l->limited = trip != NULL;
    l->trip = trip ? epl_tensor_get_i64(trip, 0) : INT32_MAX;
    l->trip = l->trip < 0 ? 0 : l->trip;
    if (!trip && onnx_has(n, 0))
        l->limit = as_scalar(n->g, onnx_in(n, 0), EPL_I64);
    if (!trip && l->n_scans)
        return onnx_unsupported(n, "a loop that stacks results needs a number of iterations that is known when it is imported");
    return true;
}

static bool import_loop(onnx_node *n)
{
    loop l = { 0 };
    if (!read_loop(n, &l))
        return false;
    if (import_loop_region(n, &l))
        return true;
    if (epl_error_code(n->imp->ctx) == EPL_ERR_MEMORY || epl_graph_failed(n->g) || !l.limited || l.trip > MAX_UNROLLED)
        return false;
    char            first[768];
    const epl_error code = epl_error_code(n->imp->ctx);
    snprintf(first, sizeof first, "%s", epl_error_message(n->imp->ctx));
    epl_error_clear(n->imp->ctx);
    if (import_loop_unrolled(n, &l))
        return true;
    if (epl_error_code(n->imp->ctx) == EPL_OK) // the first sentence is the better one
        epl_fail(n->imp->ctx, code, "%s", first);
    return false;
}

/* ---- Scan -------------------------------------------------------------------------------------------------------- */
typedef struct scan {
    const Onnx__GraphProto *body;
    int        first, n_states, n_in, n_out; /* first: the node's first state */
    int64_t    in_axes[ONNX_MAX_OUT], in_reversed[ONNX_MAX_OUT], out_axes[ONNX_MAX_OUT], out_reversed[ONNX_MAX_OUT];
    epl_value *states[ONNX_MAX_OUT], *sequences[ONNX_MAX_OUT];
    bool       batched; /* opset 8: everything has a batch axis in front, which must be 1 */
    int64_t    length;
} scan;

static bool scan_list(onnx_node *n, const char *name, int64_t *out, int count)
{
    const int found = onnx_ints(n, name, out, ONNX_MAX_OUT);
    return found < 0 || found == count || onnx_fail(n, EPL_ERR_SHAPE, "attribute '%s' has %d numbers, not %d", name, found, count);
}

static epl_value *without_batch(onnx_node *n, epl_value *v)
{
    const int front = 0;
    return v ? epl_squeeze(n->g, v, 1, &front) : NULL;
}

static bool read_scan(onnx_node *n, scan *s)
{
    s->body = onnx_graph_attr(n, "body");
    s->n_in = (int)onnx_int(n, "num_scan_inputs", 0);
    s->batched = n->opset < 9;
    s->first = s->batched ? 1 : 0;
    s->n_states = n->n_in - s->first - s->n_in;
    s->n_out = s->body ? (int)s->body->n_output - s->n_states : -1;
    if (s->n_in < 1 || s->n_states < 0 || s->n_out < 0 || n->n_in > ONNX_MAX_OUT || s->n_out + s->n_states > ONNX_MAX_OUT - 2 ||
        (int)s->body->n_input != s->n_states + s->n_in)
        return onnx_fail(n, EPL_ERR_FORMAT, "its body does not fit to %d states and %d sequences", s->n_states, s->n_in);
    if (s->batched && onnx_has(n, 0))
        return onnx_unsupported(n, "sequence lengths");
    if (!scan_list(n, s->batched ? "directions" : "scan_input_directions", s->in_reversed, s->n_in) ||
        !scan_list(n, "scan_input_axes", s->in_axes, s->n_in) || !scan_list(n, "scan_output_axes", s->out_axes, s->n_out) ||
        !scan_list(n, "scan_output_directions", s->out_reversed, s->n_out))
        return false;
    for (int i = 0; i < s->n_states + s->n_in; i++) {
        epl_value *v = onnx_in(n, s->first + i);
        if (!v || (s->batched && epl_dim(v, 0) != 1))
            return onnx_unsupported(n, "a missing input, or batches");
        v = s->batched ? without_batch(n, v) : v;
        *(i < s->n_states ? &s->states[i] : &s->sequences[i - s->n_states]) = v;
    }
    for (int i = 0; i < s->n_in; i++) {
        int axis;
        if (!s->sequences[i] || !onnx_axis(n, s->in_axes[i], s->sequences[i]->shape.rank, &axis))
            return false;
        s->in_axes[i] = axis;
        if (i && epl_dim(s->sequences[i], axis) != s->length)
            return onnx_fail(n, EPL_ERR_SHAPE, "sequences of %lld and %lld elements", (long long)s->length,
                             (long long)epl_dim(s->sequences[i], axis));
        s->length = epl_dim(s->sequences[i], axis);
    }
    return true;
}

/* The body's inputs: states, then the element of each sequence at this iteration. */
static bool scan_region(onnx_node *n, const scan *s, const captures *c, onnx_scope *r, epl_value **out)
{
    const Onnx__GraphProto *p = s->body;
    epl_value *iteration = region_input(n, r, "iteration", EPL_I64, EPL_SCALAR, false);
    epl_value *condition = region_input(n, r, "condition", EPL_BOOL, EPL_SCALAR, false);
    bool       ok = iteration && condition;
    for (int i = 0; ok && i < s->n_states; i++)
        ok = region_input(n, r, name_of(p->input[i]), s->states[i]->dtype, s->states[i]->shape, true) != NULL;
    epl_value *whole[ONNX_MAX_OUT] = { 0 };
    for (int i = 0; ok && i < s->n_in; i++)
        ok = (whole[i] = region_input(n, r, "sequence", s->sequences[i]->dtype, s->sequences[i]->shape, false)) != NULL;
    ok = ok && region_captures(n, r, c);
    for (int i = 0; ok && i < s->n_in; i++) {
        epl_value *at = s->in_reversed[i] ? epl_sub(r->g, epl_scalar(r->g, EPL_I64, (double)(s->length - 1)), iteration) : iteration;
        epl_value *v = epl_gather(r->g, whole[i], at, (int)s->in_axes[i]);
        ok = v && onnx_scope_add(n->imp, r, name_of(p->input[s->n_states + i]), v, NULL);
    }
    ok = ok && region_body(n, r, p, out, ONNX_MAX_OUT) && epl_output(r->g, "condition", condition);
    for (size_t i = 0; ok && i < p->n_output; i++)
        ok = epl_output(r->g, name_of(p->output[i]), out[i]) != NULL;
    return ok;
}

/* A stack along axis 0 to where ONNX wants it. */
static epl_value *scan_result(onnx_node *n, const scan *s, epl_value *v, int i)
{
    int axis, front = 0;
    if (!v || !onnx_axis(n, s->out_axes[i], v->shape.rank, &axis))
        return NULL;
    if (s->out_reversed[i])
        v = epl_reverse(n->g, v, 0);
    epl_shape perm = { .rank = v ? v->shape.rank : 0 };
    for (int k = 0, from = 1; k < perm.rank; k++)
        perm.dim[k] = k == axis ? 0 : from++;
    v = axis ? epl_permute(n->g, v, perm) : v;
    return s->batched ? epl_unsqueeze(n->g, v, 1, &front) : v;
}

static bool import_scan(onnx_node *n)
{
    scan       s = { 0 };
    onnx_scope r = { 0 };
    captures   c = { 0 };
    epl_value *out[ONNX_MAX_OUT] = { 0 }, *results[ONNX_MAX_OUT + 1] = { 0 }, *given[MAX_CAPTURES + ONNX_MAX_OUT];
    if (!read_scan(n, &s) || !collect(n, &c, s.body))
        return false;
    bool ok = scope_open(n, &r) && scan_region(n, &s, &c, &r, out);
    epl_symbols_release(n->imp->ctx, &r.names);
    for (int i = 0; i < s.n_in; i++)
        given[i] = s.sequences[i];
    for (int i = 0; i < c.count; i++)
        given[s.n_in + i] = c.values[i];
    ok = ok && epl_loop(n->g, s.length, NULL, s.n_states, s.states, r.g, s.n_in + c.count, given, results);
    const int front = 0;
    for (int i = 0; ok && i < s.n_states; i++)
        n->out[i] = s.batched ? epl_unsqueeze(n->g, results[i], 1, &front) : results[i];
    for (int i = 0; ok && i < s.n_out; i++)
        ok = (n->out[s.n_states + i] = scan_result(n, &s, results[s.n_states + i], i)) != NULL;
    return ok;
}

const onnx_op onnx_ops_control[] = {
    { "If", import_if, NULL }, { "Loop", import_loop, NULL }, { "Scan", import_scan, NULL }, { NULL, NULL, NULL },
};
