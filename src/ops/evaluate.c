/* evaluate: running nodes and graphs by their reference kernels. Slow, exact about meaning, and independent of the planner:
 * the oracle of the tests, and what constant folding computes with. */
#include "graph/op.h"

_Static_assert((int)EPL_REF_F32 == (int)EPL_F32 && (int)EPL_REF_F16 == (int)EPL_F16 && (int)EPL_REF_I8 == (int)EPL_I8 &&
               (int)EPL_REF_U32 == (int)EPL_U32 && (int)EPL_REF_BOOL == (int)EPL_BOOL, "ref.h repeats epl_dtype");

static epl_view view_of(const epl_tensor *t)
{
    epl_view v = { 0 };
    if (!t)
        return v;
    v.data  = t->data;
    v.dtype = t->dtype;
    v.rank  = t->shape.rank;
    memcpy(v.dim, t->shape.dim, sizeof v.dim);
    return v;
}

bool epl_evaluate_node(const epl_node *n, const epl_tensor *const *in, epl_tensor *const *out)
{
    if (!n->op->ref)
        return epl_fail(n->graph->ctx, EPL_ERR_UNSUPPORTED, "%s has no reference kernel", n->op->name);
    const size_t  n_in  = (size_t)n->n_inputs, n_out = (size_t)n->n_outputs;
    epl_view     *views = epl_alloc_array(n->graph->ctx, n_in + n_out + 1, sizeof *views);
    epl_ref_attr  attrs[EPL_MAX_ATTRS];
    if (!views)
        return false;
    for (size_t i = 0; i < n_in; i++)
        views[i] = view_of(in[i]);
    for (size_t i = 0; i < n_out; i++)
        views[n_in + i] = view_of(out[i]);
    for (int i = 0; i < epl_op_n_attrs(n->op); i++)
        attrs[i] = (epl_ref_attr){ n->attrs[i].i, n->attrs[i].r, n->attrs[i].n, n->attrs[i].ints, n->attrs[i].reals };
    n->op->ref(&(epl_ref_call){ n->n_inputs, n->n_outputs, views, views + n_in, attrs });
    epl_release(n->graph->ctx, views);
    return true;
}

/* ---- the interpreter: every value has its own tensor in a table indexed by the order of execution ---- */

typedef struct frame {
    epl_context *ctx;
    epl_weights *weights;
    epl_tensor **values; /* by value->tag; borrowed where `borrowed` says so */
    bool        *borrowed;
    int64_t      n_values;
} frame;

static bool run_graph(const epl_graph *g, epl_weights *weights, const epl_tensor *const *inputs, epl_tensor **outputs);

static bool frame_open(frame *f, const epl_graph *g)
{
    f->n_values = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->tag = f->n_values++;
    f->values   = epl_alloc_array(f->ctx, (size_t)f->n_values + 1, sizeof *f->values);
    f->borrowed = epl_alloc_array(f->ctx, (size_t)f->n_values + 1, sizeof *f->borrowed);
    return f->values && f->borrowed;
}

static void frame_close(frame *f)
{
    for (int64_t i = 0; f->values && i < f->n_values; i++)
        if (f->borrowed && !f->borrowed[i])
            epl_tensor_free(f->values[i]);
    epl_release(f->ctx, f->values);
    epl_release(f->ctx, f->borrowed);
}

static epl_tensor *value_of(const frame *f, const epl_value *v) { return v ? f->values[v->tag] : NULL; }

static bool lend(frame *f, const epl_value *v, const epl_tensor *t)
{
    char is[192], want[192];
    if (t->dtype != v->dtype || !epl_shape_equal(t->shape, v->shape))
        return epl_fail(f->ctx, EPL_ERR_SHAPE, "'%s' is %s%s, the graph expects %s%s", epl_value_name(v),
                        epl_dtype_name(t->dtype), epl_shape_text(is, t->shape), epl_dtype_name(v->dtype),
                        epl_shape_text(want, v->shape));
    f->values[v->tag]   = (epl_tensor *)(uintptr_t)t; // read only: a frame never writes to what it borrowed
    f->borrowed[v->tag] = true;
    return true;
}

static bool bind_source(frame *f, const epl_node *n, const epl_tensor *const *inputs, int *n_inputs)
{
    if (EPL_IS(n, input))
        return lend(f, n->outputs[0], inputs[(*n_inputs)++]);
    if (EPL_IS(n, constant))
        return lend(f, n->outputs[0], n->attrs[0].tensor);
    const epl_tensor *t = f->weights ? epl_weights_find(f->weights, n->attrs[0].s) : NULL;
    return t ? lend(f, n->outputs[0], t) : epl_fail(f->ctx, EPL_ERR_ARGUMENT, "no weights named '%s'", n->attrs[0].s);
}

static bool allocate_outputs(frame *f, const epl_node *n, epl_tensor **out)
{
    for (int i = 0; i < n->n_outputs; i++) {
        out[i] = f->values[n->outputs[i]->tag] = epl_tensor_new(f->ctx, n->outputs[i]->dtype, n->outputs[i]->shape);
        if (!out[i])
            return false;
    }
    return true;
}

/* One region, once: its outputs become the node's. */
static bool run_region(frame *f, const epl_node *n, int region, const epl_tensor **in, epl_tensor **out)
{
    epl_tensor **result = epl_alloc_array(f->ctx, (size_t)n->n_outputs + 1, sizeof *result);
    bool ok = result && run_graph(n->regions[region], f->weights, in, result);
    for (int i = 0; ok && i < n->n_outputs; i++)
        memcpy(out[i]->data, result[i]->data, epl_tensor_bytes(out[i]));
    for (int i = 0; result && i < n->n_outputs; i++)
        epl_tensor_free(result[i]);
    epl_release(f->ctx, result);
    return ok;
}

/* If(cond, captures...) and Switch(index, captures...): the region that is taken reads the captures. */
static bool run_branch(frame *f, const epl_node *n, const epl_tensor **in, epl_tensor **out)
{
    const int64_t choice = epl_tensor_get_i64(in[0], 0), last = n->n_regions - 1;
    return run_region(f, n, EPL_IS(n, if) ? !choice : (int)(choice < 0 ? 0 : choice > last ? last : choice), in + 1, out);
}

/* IfEach(cond, captures...): both regions, and of each sample the results that it asked for. */
static bool run_each(frame *f, const epl_node *n, const epl_tensor **in, epl_tensor **out)
{
    epl_tensor **other = epl_alloc_array(f->ctx, (size_t)n->n_outputs + 1, sizeof *other);
    bool ok = other && run_region(f, n, 0, in + 1, out) && run_graph(n->regions[1], f->weights, in + 1, other);
    for (int i = 0; ok && i < n->n_outputs; i++) {
        const size_t each = out[i]->shape.dim[0] ? epl_tensor_bytes(out[i]) / (size_t)out[i]->shape.dim[0] : 0;
        for (int64_t k = 0; k < out[i]->shape.dim[0]; k++)
            if (!epl_tensor_get_i64(in[0], k))
                memcpy((char *)out[i]->data + (size_t)k * each, (char *)other[i]->data + (size_t)k * each, each);
    }
    for (int i = 0; other && i < n->n_outputs; i++)
        epl_tensor_free(other[i]);
    epl_release(f->ctx, other);
    return ok;
}

/* Loop(cond, carried..., captures...): outputs carried..., scans..., the number of iterations made. */
static bool run_loop(frame *f, const epl_node *n, const epl_tensor **in, epl_tensor **out)
{
    const epl_graph *body = n->regions[0];
    const int64_t trip = epl_attr_i(n, "trip");
    const int n_carried = (int)epl_attr_i(n, "n_carried"), n_results = epl_graph_n_outputs(body);
    const int n_body_in = n->n_inputs + 1, n_scans = n_results - 1 - n_carried;
    epl_tensor *iteration = epl_tensor_new(f->ctx, EPL_I64, EPL_SCALAR), *condition = epl_tensor_new(f->ctx, EPL_BOOL, EPL_SCALAR);
    const epl_tensor **body_in = epl_alloc_array(f->ctx, (size_t)n_body_in + 1, sizeof *body_in);
    epl_tensor       **result  = epl_alloc_array(f->ctx, (size_t)n_results + 1, sizeof *result);
    bool ok = iteration && condition && body_in && result;
    int64_t done = 0;
    if (ok) {
        epl_tensor_set_i64(condition, 0, in[0] ? epl_tensor_get_i64(in[0], 0) : 1);
        for (int i = 0; i < n_carried; i++)
            memcpy(out[i]->data, in[1 + i]->data, epl_tensor_bytes(out[i]));
        for (int i = 1; i < n->n_inputs; i++)
            body_in[1 + i] = i <= n_carried ? out[i - 1] : in[i];
        body_in[0] = iteration;
        body_in[1] = condition;
    }
    for (; ok && done < trip && epl_tensor_get_i64(condition, 0); done++) {
        epl_tensor_set_i64(iteration, 0, done);
        ok = run_graph(body, f->weights, body_in, result);
        for (int i = 0; ok && i < n_carried; i++)
            memcpy(out[i]->data, result[1 + i]->data, epl_tensor_bytes(out[i]));
        for (int i = 0; ok && i < n_scans; i++) {
            const size_t bytes = epl_tensor_bytes(result[1 + n_carried + i]);
            memcpy((char *)out[n_carried + i]->data + (size_t)done * bytes, result[1 + n_carried + i]->data, bytes);
        }
        if (ok)
            epl_tensor_set_i64(condition, 0, epl_tensor_get_i64(result[0], 0));
        for (int i = 0; i < n_results; i++) {
            epl_tensor_free(result[i]);
            result[i] = NULL;
        }
    }
    if (ok)
        epl_tensor_set_i64(out[n->n_outputs - 1], 0, done);
    epl_tensor_free(iteration);
    epl_tensor_free(condition);
    epl_release(f->ctx, body_in);
    epl_release(f->ctx, result);
    return ok;
}

static bool run_node(frame *f, const epl_node *n)
{
    const epl_tensor **in  = epl_alloc_array(f->ctx, (size_t)n->n_inputs + 1, sizeof *in);
    epl_tensor       **out = epl_alloc_array(f->ctx, (size_t)n->n_outputs + 1, sizeof *out);
    bool ok = in && out && allocate_outputs(f, n, out);
    for (int i = 0; ok && i < n->n_inputs; i++)
        in[i] = value_of(f, n->inputs[i]);
    if (ok)
        ok = EPL_IS(n, if) || EPL_IS(n, switch) ? run_branch(f, n, in, out)
             : EPL_IS(n, loop)                  ? run_loop(f, n, in, out)
             : EPL_IS(n, if_each)               ? run_each(f, n, in, out)
             : n->op->flags & EPL_OP_REGION     ? run_region(f, n, 0, in, out)
                                                : epl_evaluate_node(n, in, out);
    epl_release(f->ctx, in);
    epl_release(f->ctx, out);
    return ok;
}

/* Updates happen after the last node, when every reader of the old value is done. */
static bool write_back(const frame *f, const epl_graph *g, epl_tensor **outputs)
{
    int n_outputs = 0;
    for (const epl_node *n = g->first; n; n = n->next)
        if (EPL_IS(n, output)) {
            outputs[n_outputs] = epl_tensor_copy(f->ctx, value_of(f, n->inputs[0]));
            if (!outputs[n_outputs++])
                return false;
        }
    for (int pass = 0; pass < 2; pass++)
        for (epl_node *n = g->first; n; n = n->next) {
            if (!EPL_IS(n, update))
                continue;
            if (pass == 0) { // a next value may itself be another state: take copies first
                n->mark = epl_tensor_copy(f->ctx, value_of(f, n->inputs[1]));
                if (!n->mark)
                    return false;
                continue;
            }
            epl_tensor *state = epl_weights_find(f->weights, epl_value_name(n->inputs[0])), *next = n->mark;
            memcpy(state->data, next->data, epl_tensor_bytes(state));
            epl_tensor_free(next);
            n->mark = NULL;
        }
    return true;
}

static bool run_graph(const epl_graph *g, epl_weights *weights, const epl_tensor *const *inputs, epl_tensor **outputs)
{
    frame f        = { .ctx = g->ctx, .weights = weights };
    int   n_inputs = 0;
    bool  ok       = frame_open(&f, g);
    for (const epl_node *n = g->first; ok && n; n = n->next)
        if (n->op->flags & EPL_OP_SOURCE)
            ok = bind_source(&f, n, inputs, &n_inputs);
        else if (EPL_IS(n, exit))
            ok = epl_fail(g->ctx, EPL_ERR_UNSUPPORTED, "graph '%s' has an early exit: epl_lower_exits makes it a choice", g->name);
        else if (!(n->op->flags & EPL_OP_SINK))
            ok = run_node(&f, n);
    ok = ok && write_back(&f, g, outputs);
    frame_close(&f);
    return ok;
}

bool epl_interpret(const epl_graph *g, epl_weights *weights, const epl_tensor *const *inputs, epl_tensor **outputs)
{
    const int n_outputs = epl_graph_n_outputs(g);
    for (int i = 0; i < n_outputs; i++)
        outputs[i] = NULL;
    if (run_graph(g, weights, inputs, outputs))
        return true;
    for (int i = 0; i < n_outputs; i++) {
        epl_tensor_free(outputs[i]);
        outputs[i] = NULL;
    }
    return false;
}
