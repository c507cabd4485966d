/* loop: repetition with a known maximum (ONNX's Loop), and its gradient.
 *
 *   inputs          condition or nothing, carried..., captures...
 *   body's inputs   iteration, condition, carried..., captures...
 *   body's outputs  condition, carried..., scans...
 *   results         carried..., scans... stacked, the number of iterations made
 *
 * Backwards: the forward loop is made to keep what it carried at the start of every iteration, as further scans. A second
 * loop then goes through the iterations that were made, last first: it repeats the body, runs it backwards, carries the
 * gradients of what was carried, and adds up those of the captures. */
#include <espalier/ops.h>

#include "ops/axes.h"
#include "ops/region.h"

enum { LOOP_TRIP, LOOP_CARRIED, LOOP_N };

static int n_carried_of(const epl_node *n) { return (int)n->attrs[LOOP_CARRIED].i; }
static int n_captures_of(const epl_node *n)
{
    const int all = n->n_inputs - 1 - n_carried_of(n);
    return all > 0 ? all : 0;
}

/* ---- inference ---- */

static bool bind_body(epl_node *n)
{
    const int n_values = n_carried_of(n) + n_captures_of(n);
    epl_type *types    = epl_alloc_array(n->graph->ctx, (size_t)n_values + 2, sizeof *types);
    if (!types)
        return false;
    types[0] = (epl_type){ EPL_I64, EPL_SCALAR };
    types[1] = (epl_type){ EPL_BOOL, EPL_SCALAR };
    bool ok = true;
    for (int i = 0; ok && i < n_values; i++)
        if (n->inputs[1 + i])
            types[2 + i] = EPL_TYPE_OF(n->inputs[1 + i]);
        else
            ok = epl_node_fail(n, EPL_ERR_ARGUMENT, "input %d is missing", 1 + i);
    ok = ok && epl_region_bind(n, 0, n_values + 2, types);
    epl_release(n->graph->ctx, types);
    return ok;
}

static bool infer_carried(epl_node *n)
{
    const epl_graph *body = n->regions[0];
    char was[192], becomes[192];
    for (int i = 0; i < n_carried_of(n); i++) {
        const epl_value *in = n->inputs[1 + i], *out = epl_graph_output_at(body, 1 + i);
        if (in->dtype != out->dtype || !epl_shape_equal(in->shape, out->shape))
            return epl_node_fail(n, EPL_ERR_SHAPE, "carried value %d is %s%s at first and %s%s after an iteration", i,
                                 epl_dtype_name(in->dtype), epl_shape_text(was, in->shape), epl_dtype_name(out->dtype),
                                 epl_shape_text(becomes, out->shape));
        if (!epl_region_result(n, i, body, 1 + i))
            return false;
    }
    return true;
}

static bool infer_scans(epl_node *n)
{
    const epl_graph *body = n->regions[0];
    for (int i = n_carried_of(n); i < n->n_outputs - 1; i++) {
        const epl_value *v = epl_graph_output_at(body, 1 + i);
        epl_shape stacked = { .rank = v->shape.rank + 1, .dim = { n->attrs[LOOP_TRIP].i } };
        if (stacked.rank > EPL_MAX_RANK)
            return epl_node_fail(n, EPL_ERR_SHAPE, "scan %d has rank %d and cannot be stacked", i - n_carried_of(n), v->shape.rank);
        memcpy(stacked.dim + 1, v->shape.dim, (size_t)v->shape.rank * sizeof *stacked.dim);
        if (!epl_set_type(n, i, v->dtype, stacked))
            return false;
    }
    return true;
}

static bool infer_loop(epl_node *n)
{
    const int n_carried = n_carried_of(n), n_results = epl_graph_n_outputs(n->regions[0]);
    const epl_value *cond = n->n_inputs > 0 ? n->inputs[0] : NULL;
    if (n->attrs[LOOP_TRIP].i < 0)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%lld iterations", (long long)n->attrs[LOOP_TRIP].i);
    if (n_carried < 0 || n_carried > (n->n_inputs ? n->n_inputs - 1 : 0))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d carried values; %d values come in", n_carried, n->n_inputs ? n->n_inputs - 1 : 0);
    if (cond && (cond->dtype != EPL_BOOL || epl_shape_count(cond->shape) != 1))
        return epl_node_fail(n, EPL_ERR_DTYPE, "the condition is %s; a bool scalar is needed", epl_dtype_name(cond->dtype));
    if (!bind_body(n))
        return false;
    if (n_results < 1 + n_carried)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "the body has %d results; a condition and %d carried values are needed", n_results,
                             n_carried);
    const epl_value *again = epl_graph_output_at(n->regions[0], 0);
    if (again->dtype != EPL_BOOL || epl_shape_count(again->shape) != 1)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the body's first result is %s; a bool scalar is needed", epl_dtype_name(again->dtype));
    return epl_node_set_n_outputs(n, n_results) && infer_carried(n) && infer_scans(n) &&
           epl_set_type(n, n_results - 1, EPL_I64, EPL_SCALAR);
}

/* ---- keeping what was carried ---- */

/* One more result before the last, which stays the number of iterations. */
static bool add_result(epl_node *n)
{
    epl_arena  *arena = n->graph->arena;
    epl_value **outputs = epl_arena_alloc(arena, (size_t)(n->n_outputs + 1) * sizeof *outputs);
    epl_value  *fresh = epl_arena_alloc(arena, sizeof *fresh);
    if (!outputs || !fresh)
        return false;
    const int at = n->n_outputs - 1;
    memcpy(outputs, n->outputs, (size_t)at * sizeof *outputs);
    *fresh = (epl_value){ .graph = n->graph, .producer = n, .index = at };
    outputs[at]     = fresh;
    outputs[at + 1] = n->outputs[at];
    outputs[at + 1]->index = at + 1;
    n->outputs = outputs;
    n->n_outputs++;
    return n->op->infer(n);
}

/* The stack of what carried value k was at the start of every iteration; made a scan of the loop if it is none yet. */
static epl_value *kept(epl_node *n, int k)
{
    epl_graph       *body = n->regions[0];
    epl_value *start = epl_graph_input_at(body, 2 + k);
    for (int i = n_carried_of(n); i < n->n_outputs - 1; i++)
        if (epl_graph_output_at(body, 1 + i) == start)
            return n->outputs[i];
    if (!epl_output(body, "kept", start) || !add_result(n))
        return NULL;
    return n->outputs[n->n_outputs - 2];
}

/* ---- the gradient ---- */

typedef struct reverse {
    epl_graph  *g, *body;           /* body: of the loop that goes backwards */
    epl_node   *n;                  /* the loop that went forwards */
    int         n_carried, n_captures, n_scans;
    epl_arena  *arena;
    epl_value *const *dy;
    epl_value  *iteration, *count;  /* inputs of the body */
    epl_value **carried, **captures, **dcarried, **scans, **sums;  /* likewise; NULL where there is none; carried, scans: stacks */
    epl_value **dcarried_next, **dcaptures; /* what an iteration computes */
} reverse;

static bool is_float(const epl_value *v) { return epl_dtype_is_float(v->dtype); }
static epl_value *carried_in(const reverse *b, int i) { return b->n->inputs[1 + i]; }
static epl_value *capture_in(const reverse *b, int i) { return b->n->inputs[1 + b->n_carried + i]; }

static epl_value *body_input(const reverse *b, const char *name, const epl_value *like)
{
    return epl_input(b->body, name, like->dtype, like->shape, NULL);
}

static epl_value **list(const reverse *b, int n) { return epl_arena_alloc(b->arena, (size_t)(n + 1) * sizeof(epl_value *)); }

static bool make_lists(reverse *b)
{
    b->carried  = list(b, b->n_carried);
    b->dcarried = list(b, b->n_carried);
    b->dcarried_next = list(b, b->n_carried);
    b->captures  = list(b, b->n_captures);
    b->dcaptures = list(b, b->n_captures);
    b->sums      = list(b, b->n_captures);
    b->scans     = list(b, b->n_scans);
    return b->carried && b->dcarried && b->dcarried_next && b->captures && b->dcaptures && b->sums && b->scans;
}

/* Inputs in the order in which a body has them; the sums come later, before `count`, when it is known which are needed. */
static bool make_inputs(reverse *b)
{
    b->body = epl_region_new(b->g);
    if (!b->body)
        return false;
    b->iteration = epl_input(b->body, "iteration", EPL_I64, EPL_SCALAR, NULL);
    epl_input(b->body, "condition", EPL_BOOL, EPL_SCALAR, NULL);
    for (int i = 0; i < b->n_carried; i++)
        if (is_float(carried_in(b, i)))
            b->dcarried[i] = body_input(b, "dcarried", carried_in(b, i));
    b->count = epl_input(b->body, "count", EPL_I64, EPL_SCALAR, NULL);
    for (int i = 0; i < b->n_carried; i++) {
        const epl_value *v = carried_in(b, i);
        epl_shape stacked = { .rank = v->shape.rank + 1, .dim = { b->n->attrs[LOOP_TRIP].i } };
        if (stacked.rank > EPL_MAX_RANK)
            return epl_graph_fail(b->g, EPL_ERR_SHAPE,
                                  "a carried value of rank %d cannot be stacked for Loop's gradient",
                                  v->shape.rank) != NULL;
        memcpy(stacked.dim + 1, v->shape.dim, (size_t)v->shape.rank * sizeof *stacked.dim);
        b->carried[i] = epl_input(b->body, "kept", v->dtype, stacked, NULL);
    }
    for (int i = 0; i < b->n_captures; i++)
        b->captures[i] = body_input(b, "capture", capture_in(b, i));
    for (int i = 0; i < b->n_scans; i++)
        if (b->dy[b->n_carried + i])
            b->scans[i] = body_input(b, "dscan", b->dy[b->n_carried + i]);
    return !epl_graph_failed(b->g);
}

static epl_value *add_number(epl_graph *g, epl_value *v, double x) { return epl_add(g, v, epl_scalar(g, EPL_I64, x)); }

/* What is read for its shape alone need not be kept: its gradient has the same one. */
static void take_shape_from(epl_value *v, epl_value *gradient)
{
    for (size_t i = v && gradient ? v->n_uses : 0; i-- > 0;)
        if (v->uses[i].node->op->shape_only >> v->uses[i].input & 1u)
            epl_set_input(v->uses[i].node, v->uses[i].input, gradient);
}

/* The forward body at iteration count - 1 - i, and its vector-Jacobian product. */
static bool make_iteration(reverse *b)
{
    const int n_in = 2 + b->n_carried + b->n_captures, n_out = 1 + b->n_carried + b->n_scans;
    epl_value **in = list(b, n_in), **out = list(b, n_out), **y = list(b, n_out), **dy = list(b, n_out), **x = list(b, n_in),
              **dx = list(b, n_in);
    if (!in || !out || !y || !dy || !x || !dx)
        return false;
    epl_value *i = epl_sub(b->body, add_number(b->body, b->count, -1), b->iteration);
    int n_y = 0, n_x = 0;
    in[0] = i;
    in[1] = epl_scalar(b->body, EPL_BOOL, 1);
    for (int k = 0; k < b->n_carried; k++) {
        in[2 + k] = epl_gather(b->body, b->carried[k], i, 0);
        if (b->dcarried[k])
            x[n_x++] = in[2 + k];
    }
    for (int k = 0; k < b->n_captures; k++) {
        in[2 + b->n_carried + k] = b->captures[k];
        if (is_float(b->captures[k]))
            x[n_x++] = b->captures[k];
    }
    if (epl_graph_failed(b->g) || !epl_graph_inline(b->body, b->n->regions[0], in, out, NULL))
        return false;
    for (int k = 0; k < b->n_carried; k++)
        if (b->dcarried[k]) {
            y[n_y]    = out[1 + k];
            dy[n_y++] = b->dcarried[k];
        }
    for (int k = 0; k < b->n_scans; k++)
        if (b->scans[k]) {
            y[n_y]    = out[1 + b->n_carried + k];
            dy[n_y++] = epl_gather(b->body, b->scans[k], i, 0);
        }
    if (epl_graph_failed(b->g) || !epl_vjp(b->body, n_y, y, dy, n_x, x, dx))
        return false;
    n_x = 0;
    for (int k = 0; k < b->n_carried; k++)
        if (b->dcarried[k]) {
            epl_value *d = dx[n_x++];
            b->dcarried_next[k] = d ? d : epl_zeros_like(b->body, b->dcarried[k]);
            take_shape_from(in[2 + k], b->dcarried[k]);
        }
    for (int k = 0; k < b->n_captures; k++)
        if (is_float(b->captures[k]))
            b->dcaptures[k] = dx[n_x++];
    return !epl_graph_failed(b->g);
}

/* The body's outputs; and its inputs for the sums, which stand before the captures. */
static bool make_outputs(reverse *b)
{
    epl_node *former = epl_graph_insert_before(b->body, b->count->producer);
    for (int k = 0; k < b->n_captures; k++)
        if (b->dcaptures[k])
            b->sums[k] = body_input(b, "sum", b->captures[k]);
    epl_graph_insert_before(b->body, former);
    epl_output(b->body, "condition", epl_less(b->body, add_number(b->body, b->iteration, 1), b->count));
    for (int k = 0; k < b->n_carried; k++)
        if (b->dcarried[k])
            epl_output(b->body, "dcarried", b->dcarried_next[k]);
    for (int k = 0; k < b->n_captures; k++)
        if (b->sums[k])
            epl_output(b->body, "sum", epl_add(b->body, b->sums[k], b->dcaptures[k]));
    if (epl_graph_failed(b->g))
        return false;
    for (int k = 0; k < b->n_captures; k++)
        take_shape_from(b->captures[k], b->sums[k]);
    epl_remove_dead(b->body);
    return true;
}

/* An input of the body that nothing reads goes away again, and with it the need to keep what it would have read. */
static bool still_read(epl_value *v)
{
    if (v && v->n_uses > 0)
        return true;
    if (v)
        epl_node_remove(v->producer);
    return false;
}

static epl_node *add_loop(reverse *b)
{
    const int   n_most = 2 + 3 * b->n_carried + 2 * b->n_captures + b->n_scans;
    epl_value **in = list(b, n_most);
    int         n_in = 0, n_carried = 0;
    if (!in)
        return NULL;
    epl_value *count = b->n->outputs[b->n->n_outputs - 1];
    in[n_in++] = epl_greater(b->g, count, epl_scalar(b->g, EPL_I64, 0));
    for (int k = 0; k < b->n_carried; k++)
        if (b->dcarried[k])
            in[n_in++] = b->dy[k] ? b->dy[k] : epl_zeros_like(b->g, carried_in(b, k));
    for (int k = 0; k < b->n_captures; k++)
        if (b->sums[k])
            in[n_in++] = epl_zeros_like(b->g, capture_in(b, k));
    n_carried  = n_in - 1;
    in[n_in++] = count;
    for (int k = 0; k < b->n_carried; k++)
        if (still_read(b->carried[k]))
            in[n_in++] = kept(b->n, k);
    for (int k = 0; k < b->n_captures; k++)
        if (still_read(b->captures[k]))
            in[n_in++] = capture_in(b, k);
    for (int k = 0; k < b->n_scans; k++)
        if (still_read(b->scans[k]))
            in[n_in++] = b->dy[b->n_carried + k];
    const epl_attr attrs[LOOP_N] = { [LOOP_TRIP] = b->n->attrs[LOOP_TRIP], [LOOP_CARRIED] = EPL_A_I(n_carried) };
    return epl_graph_failed(b->g) ? NULL : epl_node_add(b->g, &epl_op_loop, n_in, in, attrs, 1, &b->body);
}

static void grad_loop(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    reverse b = { .g = g, .n = n->outputs[0]->producer, .n_carried = n_carried_of(n), .n_captures = n_captures_of(n),
                  .n_scans = n->n_outputs - 1 - n_carried_of(n), .dy = dy, .arena = epl_arena_new(g->ctx) };
    const epl_node *loop = b.arena && make_lists(&b) && make_inputs(&b) && make_iteration(&b) && make_outputs(&b) ? add_loop(&b) : NULL;
    int result = 0;
    for (int k = 0; loop && k < b.n_carried; k++)
        if (b.dcarried[k])
            dx[1 + k] = loop->outputs[result++];
    for (int k = 0; loop && k < b.n_captures; k++)
        if (b.sums[k])
            dx[1 + b.n_carried + k] = loop->outputs[result++];
    epl_arena_free(b.arena);
}

/* ---- the table ---- */

/* c := tanh(c * w + iteration / 4), scanned as c * w; stops early where the limit says so. */
static epl_node *sample_loop(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const epl_shape shape = epl_random_shape(r, 0, 2);
    epl_graph *body = epl_region_new(g);
    epl_value *i = epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_input(body, "condition", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *c = epl_input(body, "c", dtype, shape, NULL), *total = epl_input(body, "total", dtype, shape, NULL);
    epl_value *w = epl_input(body, "w", dtype, shape, NULL), *limit = epl_input(body, "limit", EPL_I64, EPL_SCALAR, NULL);
    epl_value *product = epl_mul(body, c, w);
    epl_value *next = epl_tanh(body, epl_add(body, product, epl_mul(body, epl_cast(body, i, dtype), epl_scalar(body, dtype, 0.25))));
    epl_output(body, "again", epl_less(body, i, limit));
    epl_output(body, "c", next);
    epl_output(body, "total", epl_add(body, total, epl_mul(body, next, w)));
    epl_output(body, "scan", product);
    epl_value *const in[] = { epl_rng_below(r, 2) ? epl_sample_input(g, EPL_BOOL, EPL_SCALAR, 0, 1, 0) : NULL,
                              epl_sample_input(g, dtype, shape, -1, 1, 0), epl_sample_input(g, dtype, shape, -1, 1, 0),
                              epl_sample_input(g, dtype, shape, -1, 1, 0), epl_sample_input(g, EPL_I64, EPL_SCALAR, 0, 4, 0) };
    const epl_attr attrs[LOOP_N] = { EPL_A_I(epl_random_between(r, 1, 4)), EPL_A_I(2) };
    return epl_node_add(g, &epl_op_loop, EPL_COUNT(in), in, attrs, 1, &body);
}

const epl_op epl_op_loop = {
    .name = "Loop", .n_inputs = -1, .n_outputs = -1, .n_regions = 1, .flags = EPL_OP_REGION,
    .attrs = { [LOOP_TRIP] = { "trip", EPL_ATTR_INT, .required = true }, [LOOP_CARRIED] = { "n_carried", EPL_ATTR_INT } },
    .infer = infer_loop, .grad = grad_loop, .sample = sample_loop,
};

epl_node *epl_loop(epl_graph *g, int64_t trip, epl_value *cond, int n_carried, epl_value *const *carried, epl_graph *body,
                   int n_captures, epl_value *const *captures, epl_value **out)
{
    const epl_attr attrs[LOOP_N] = { [LOOP_TRIP] = EPL_A_I(trip), [LOOP_CARRIED] = EPL_A_I(n_carried) };
    epl_value **own = epl_graph_failed(g) ? NULL : epl_alloc_array(epl_graph_context(g), (size_t)n_carried + 1, sizeof *own);
    if (!own)
        return NULL;
    own[0] = cond;
    for (int i = 0; i < n_carried; i++)
        own[1 + i] = carried[i];
    epl_node *n = epl_region_apply(g, &epl_op_loop, attrs, (epl_value_list){ 1 + n_carried, own },
                                   (epl_value_list){ n_captures, captures }, 1, &body, out);
    epl_release(epl_graph_context(g), own);
    return n;
}
