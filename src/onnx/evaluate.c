/* evaluate: what can be computed while importing - the shapes that a network computes for itself. Reference kernels do it, once
 * for each node, along an explicit stack, since a file may hold a chain of any length. */
#include "onnx/importer.h"

#include <string.h>

enum { LARGEST = 1 << 24 }; /* elements of a result: shapes are smaller, and a short file may claim any size */

static bool memo_room(onnx_import *imp, int id)
{
    if ((size_t)id < imp->n_memo)
        return true;
    const size_t n = 2 * (size_t)id + 64;
    onnx_memo   *memo = epl_resize(imp->ctx, imp->memo, n, sizeof *memo);
    if (!memo)
        return false;
    memset(memo + imp->n_memo, 0, (n - imp->n_memo) * sizeof *memo);
    imp->memo = memo;
    imp->n_memo = n;
    return true;
}

void onnx_evaluate_release(onnx_import *imp)
{
    for (size_t i = 0; i < imp->n_memo; i++) {
        for (epl_tensor **t = imp->memo[i].out; t && *t; t++)
            epl_tensor_free(*t);
        epl_release(imp->ctx, imp->memo[i].out);
    }
    epl_release(imp->ctx, imp->memo);
    imp->memo = NULL;
    imp->n_memo = 0;
}

/* The value of a source; NULL if it has none. */
static const epl_tensor *source_value(const onnx_import *imp, const epl_node *n, bool inputs_too)
{
    if (EPL_IS(n, constant))
        return n->attrs[0].tensor;
    if (EPL_IS(n, input))
        return inputs_too && imp->opts.inputs && n->graph == imp->graph ? epl_weights_find(imp->opts.inputs, n->attrs[0].s) : NULL;
    return epl_weights_find(imp->weights, n->attrs[0].s);
}

static bool can_run(const epl_node *n)
{
    return n->op->ref && !(n->op->flags & (EPL_OP_RANDOM | EPL_OP_REGION | EPL_OP_SINK | EPL_OP_SOURCE));
}

static const epl_tensor *ready(const onnx_import *imp, const epl_value *v, bool inputs_too, unsigned *from)
{
    const epl_node *n = v->producer;
    if (n->op->flags & EPL_OP_SOURCE) {
        *from |= EPL_IS(n, input) ? ONNX_FROM_INPUT : EPL_IS(n, constant) ? 0 : ONNX_FROM_WEIGHTS;
        return source_value(imp, n, inputs_too);
    }
    const onnx_memo *m = (size_t)n->id < imp->n_memo ? &imp->memo[n->id] : NULL;
    if (!m || !m->out || ((m->from & ONNX_FROM_INPUT) && !inputs_too))
        return NULL;
    *from |= m->from;
    return m->out[v->index];
}

/* Runs one node whose inputs are ready. */
static bool run(onnx_import *imp, const epl_node *n, bool inputs_too)
{
    const epl_tensor *in[EPL_MAX_ATTRS * 4] = { 0 };
    epl_tensor        shapes[EPL_MAX_ATTRS * 4];
    unsigned          from = 0;
    bool              ok = memo_room(imp, n->id) && n->n_inputs <= (int)EPL_COUNT(in);
    epl_tensor      **out = ok ? epl_alloc_array(imp->ctx, (size_t)n->n_outputs + 1, sizeof *out) : NULL;
    ok = ok && out;
    for (int i = 0; ok && i < n->n_inputs; i++) {
        const epl_value *v = n->inputs[i];
        if (v && i < 32 && (n->op->shape_only >> i & 1)) {
            shapes[i] = (epl_tensor){ .dtype = v->dtype, .shape = v->shape };
            in[i] = &shapes[i];
        } else if (v) {
            in[i] = ready(imp, v, inputs_too, &from);
        }
    }
    for (int i = 0; ok && i < n->n_outputs; i++)
        ok = epl_shape_count(n->outputs[i]->shape) <= LARGEST &&
             (out[i] = epl_tensor_new(imp->ctx, n->outputs[i]->dtype, n->outputs[i]->shape)) != NULL;
    ok = ok && epl_evaluate_node(n, in, out);
    if (ok) {
        imp->memo[n->id] = (onnx_memo){ .out = out, .from = from };
        return true;
    }
    for (int i = 0; out && i < n->n_outputs; i++)
        epl_tensor_free(out[i]);
    epl_release(imp->ctx, out);
    return false;
}

/* The first input of n that has to be computed before n; NULL if none. `hopeless` when one can never be. */
static epl_node *missing(const onnx_import *imp, const epl_node *n, bool inputs_too, bool *hopeless)
{
    for (int i = 0; i < n->n_inputs; i++) {
        epl_value *v = n->inputs[i];
        unsigned   ignored = 0;
        if (!v || (i < 32 && (n->op->shape_only >> i & 1)) || ready(imp, v, inputs_too, &ignored))
            continue;
        *hopeless = !can_run(v->producer) || ((size_t)v->producer->id < imp->n_memo && imp->memo[v->producer->id].out);
        return v->producer;
    }
    return NULL;
}

static void note_fixed(onnx_import *imp, const epl_node *n)
{
    const char  *name = n->attrs[0].s, *s = epl_text_str(&imp->fixed);
    const size_t length = strlen(name);
    for (size_t run; *s && !((run = strcspn(s, ",")) == length && strncmp(s, name, length) == 0); s += run)
        run += s[run] == ',';
    if (!*s)
        epl_text_addf(&imp->fixed, "%s%s", imp->fixed.length ? "," : "", name);
}

/* Inputs below n whose value was taken; every one is noted, every node visited once. */
static void note_inputs(onnx_import *imp, const epl_node *n)
{
    if (EPL_IS(n, input)) {
        note_fixed(imp, n);
        return;
    }
    if ((size_t)n->id >= imp->n_memo || !(imp->memo[n->id].from & ONNX_FROM_INPUT) || imp->memo[n->id].noted)
        return;
    imp->memo[n->id].noted = true;
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] && !(i < 32 && (n->op->shape_only >> i & 1)))
            note_inputs(imp, n->inputs[i]->producer);
}

static const epl_tensor *evaluate(onnx_import *imp, epl_value *v, bool inputs_too, unsigned *from)
{
    bool        hopeless = !(v->producer->op->flags & EPL_OP_SOURCE) && !can_run(v->producer);
    epl_node  **stack = NULL;
    size_t      count = 0, capacity = 0;
    const epl_tensor *t = ready(imp, v, inputs_too, from);
    if (!t && !hopeless && !(v->producer->op->flags & EPL_OP_SOURCE) && epl_grow(imp->ctx, &stack, count, &capacity, sizeof *stack))
        stack[count++] = v->producer;
    while (count && !hopeless) {
        epl_node *n = stack[count - 1], *next = missing(imp, n, inputs_too, &hopeless);
        if (hopeless)
            break;
        if (!next)
            hopeless = !run(imp, n, inputs_too), count--;
        else if (epl_grow(imp->ctx, &stack, count, &capacity, sizeof *stack))
            stack[count++] = next;
        else
            hopeless = true;
    }
    epl_release(imp->ctx, stack);
    return hopeless ? NULL : ready(imp, v, inputs_too, from);
}

const epl_tensor *onnx_evaluate(onnx_import *imp, epl_value *v, bool inputs_too)
{
    unsigned          from = 0;
    const epl_tensor *t = evaluate(imp, v, inputs_too, &from);
    if (t && (from & ONNX_FROM_INPUT))
        note_inputs(imp, v->producer);
    return t;
}

const epl_tensor *onnx_evaluate_constant(onnx_import *imp, epl_value *v)
{
    unsigned          from = 0;
    const epl_tensor *t = evaluate(imp, v, false, &from);
    return from ? NULL : t;
}
