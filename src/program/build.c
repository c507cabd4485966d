/* build: from a graph to blocks of steps. Values become buffers, nodes become steps; memory is placed by plan.c, pointers
 * are filled in by run.c. */
#include "program/program.h"

#include <assert.h>

#include <espalier/passes.h>

#include "program/recompute.h"

/* ---- buffers ---- */

static int buffer_add(epl_block *b, epl_buffer fresh)
{
    if (!epl_grow(b->program->ctx, &b->buffers, b->n_buffers, &b->cap_buffers, sizeof *b->buffers)) {
        b->program->failed = true;
        return -1;
    }
    fresh.first = (int)b->n_steps;
    fresh.last  = -1;
    fresh.same_as = -1;
    b->buffers[b->n_buffers] = fresh;
    return (int)b->n_buffers++;
}

int epl_buffer_new(epl_block *b, size_t bytes) { return buffer_add(b, (epl_buffer){ .bytes = bytes }); }

static size_t value_bytes(const epl_value *v) { return (size_t)epl_shape_count(v->shape) * epl_dtype_bytes(v->dtype); }

/* tag holds the buffer + 1, so that 0 means: none yet. */
int epl_buffer_of(epl_block *b, const epl_value *v)
{
    if (!v)
        return -1;
    if (v->tag == 0)
        ((epl_value *)(uintptr_t)v)->tag = buffer_add(b, (epl_buffer){ .bytes = value_bytes(v) }) + 1;
    return (int)v->tag - 1;
}

static void bind_value(epl_value *v, int buffer) { v->tag = buffer + 1; }

/* ---- steps ---- */

void *epl_block_alloc(epl_block *b, size_t bytes)
{
    void *p = epl_arena_alloc(b->program->memory, bytes);
    if (!p)
        b->program->failed = true;
    return p;
}

static int *copy_indices(epl_block *b, int n, const int *from)
{
    int *to = epl_block_alloc(b, (size_t)(n + 1) * sizeof *to);
    if (to && n)
        memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

epl_step *epl_step_add(epl_block *b, const epl_node *n, epl_step_kind kind, int n_in, const int *in, int n_out, const int *out)
{
    epl_program *p = b->program;
    if (p->failed || !epl_grow(p->ctx, &b->steps, b->n_steps, &b->cap_steps, sizeof *b->steps)) {
        p->failed = true;
        return NULL;
    }
    epl_step *s = &b->steps[b->n_steps];
    *s = (epl_step){ .kind = kind, .node = n, .n_in = n_in, .n_out = n_out, .pieces = 1, .temp = -1 };
    const epl_cost cost = epl_node_cost(n);
    s->work = 2 * cost.macs + cost.flops + cost.bytes;
    s->in   = copy_indices(b, n_in, in);
    s->out  = copy_indices(b, n_out, out);
    if (!s->in || !s->out)
        return NULL;
    b->n_steps++;
    return s;
}

bool epl_has_kernel(const epl_block *b, const char *kernel) { return epl_kernel_find(b->program->kernels, kernel) != NULL; }

epl_step *epl_kernel_add(epl_block *b, const epl_node *n, const char *kernel, const void *params, size_t params_bytes,
                         int n_in, const int *in, int n_out, const int *out)
{
    const epl_kernel *k = epl_kernel_find(b->program->kernels, kernel);
    assert(k && n_in <= EPL_CALL_INPUTS && n_out <= EPL_CALL_OUTPUTS);
    epl_step *s = epl_step_add(b, n, EPL_STEP_KERNEL, n_in, in, n_out, out);
    void *kept  = s ? epl_block_alloc(b, params_bytes) : NULL;
    if (!kept)
        return NULL;
    memcpy(kept, params, params_bytes);
    s->kernel       = k;
    s->params       = kept;
    s->params_bytes = params_bytes;
    s->pieces       = k->pieces(kept);
    s->scratch      = EPL_ALIGN(k->scratch(kept));
    return s;
}

int epl_packed(const epl_block *b, const char *pack, const void *params, size_t key_bytes, int weight)
{
    const epl_kernel *k = epl_kernel_find(b->program->kernels, pack);
    const bool scarce = b->program->opts.memory_limit > 0 && !b->program->opts.frozen; // what is computed twice shall not be kept
    for (size_t i = scarce ? 0 : b->n_steps; i-- > 0;) {
        const epl_step *s = &b->steps[i];
        if (s->kind == EPL_STEP_KERNEL && s->kernel == k && s->in[0] == weight && memcmp(s->params, params, key_bytes) == 0)
            return s->out[0];
    }
    return -1;
}

int epl_pack(epl_block *b, const epl_node *n, const char *pack, const void *params, size_t params_bytes, int weight, size_t bytes)
{
    int packed = epl_packed(b, pack, params, params_bytes, weight);
    if (packed >= 0)
        return packed;
    packed = epl_buffer_new(b, bytes);
    return epl_kernel_add(b, n, pack, params, params_bytes, 1, &weight, 1, &packed) ? packed : -1;
}

bool epl_step_set_chain(epl_block *b, epl_step *s, const epl_chain *chain, int n_chain_in, const int *chain_in, int n_out,
                        const int *out)
{
    epl_chain *kept = s ? epl_block_alloc(b, sizeof *kept) : NULL;
    if (!kept)
        return false;
    *kept         = *chain;
    s->chain      = kept;
    s->n_chain_in = n_chain_in;
    s->chain_in   = copy_indices(b, n_chain_in, chain_in);
    s->n_out      = n_out;
    s->out        = copy_indices(b, n_out, out);
    s->chain_data = epl_block_alloc(b, (size_t)(n_chain_in + 1) * sizeof *s->chain_data);
    return s->chain_in && s->chain_data && s->out;
}

/* ---- nodes ---- */

static int *buffers_of(epl_block *b, int n, epl_value *const *values)
{
    int *indices = epl_block_alloc(b, (size_t)(n + 1) * sizeof *indices);
    for (int i = 0; indices && i < n; i++)
        indices[i] = epl_buffer_of(b, values[i]);
    return indices;
}

bool epl_lower_reference(epl_block *b, const epl_node *n, const char *declined)
{
    const int *in = buffers_of(b, n->n_inputs, n->inputs), *out = buffers_of(b, n->n_outputs, n->outputs);
    epl_step *s = in && out ? epl_step_add(b, n, EPL_STEP_REFERENCE, n->n_inputs, in, n->n_outputs, out) : NULL;
    if (!s)
        return false;
    s->declined = declined;
    if (!n->op->ref)
        return epl_fail(b->program->ctx, EPL_ERR_UNSUPPORTED, "%s %s cannot be lowered", n->op->name, n->scope);
    epl_view     *views = epl_block_alloc(b, (size_t)(n->n_inputs + n->n_outputs + 1) * sizeof *views);
    epl_ref_attr *attrs = epl_block_alloc(b, EPL_MAX_ATTRS * sizeof *attrs);
    if (!views || !attrs)
        return false;
    for (int i = 0; i < n->n_inputs + n->n_outputs; i++) {
        const epl_value *v = i < n->n_inputs ? n->inputs[i] : n->outputs[i - n->n_inputs];
        if (v) {
            views[i] = (epl_view){ .dtype = v->dtype, .rank = v->shape.rank };
            memcpy(views[i].dim, v->shape.dim, sizeof views[i].dim);
        }
    }
    for (int i = 0; i < epl_op_n_attrs(n->op); i++)
        attrs[i] = (epl_ref_attr){ n->attrs[i].i, n->attrs[i].r, n->attrs[i].n, n->attrs[i].ints, n->attrs[i].reals };
    s->ref = (epl_ref_call){ n->n_inputs, n->n_outputs, views, views + n->n_inputs, attrs };
    return true;
}

/* A view: no step; the result is its input's buffer. */
static bool lower_view(epl_block *b, const epl_node *n)
{
    bind_value(n->outputs[0], epl_buffer_of(b, n->inputs[0]));
    return !b->program->failed;
}

static epl_block *block_new(epl_program *p, epl_block *parent, const int *outer, epl_graph *g);
static void block_free(epl_block *b);

/* Carried values that a loop's body hands on as they came, to another place maybe: copied aside, for the places are written one
 * after the other. */
static bool take_aside(const epl_node *loop, epl_block *body, int n_carried)
{
    for (int i = 1; i <= n_carried; i++) {
        const int source = body->outputs[i];
        if (body->buffers[source].place != EPL_PLACE_PARENT)
            continue;
        const int aside = epl_buffer_new(body, body->buffers[source].bytes);
        if (aside < 0 || !epl_step_add(body, loop, EPL_STEP_COPY, 1, &source, 1, &aside))
            return false;
        body->outputs[i] = aside;
    }
    return true;
}

/* If and Switch: regions read the node's inputs after the first; Loop: [i, cond, carried..., captures...], see ops/control.c.
 * The carried values live in the node's results, and every region's arena in one temporary buffer. */
static bool lower_control(epl_block *b, const epl_node *n)
{
    const bool loop = EPL_IS(n, loop);
    const int *in = buffers_of(b, n->n_inputs, n->inputs), *out = buffers_of(b, n->n_outputs, n->outputs);
    epl_block **blocks = epl_block_alloc(b, (size_t)n->n_regions * sizeof *blocks);
    if (!in || !out || !blocks)
        return false;
    int counters[2] = { -1, -1 };
    if (loop) {
        counters[0] = epl_buffer_new(b, sizeof(int64_t));
        counters[1] = epl_buffer_new(b, 1);
    }
    const int n_carried = loop ? (int)epl_attr_i(n, "n_carried") : 0;
    for (int r = 0; r < n->n_regions; r++) {
        const int n_inputs = epl_graph_n_inputs(n->regions[r]);
        int *outer = epl_block_alloc(b, (size_t)(n_inputs + 1) * sizeof *outer); // what the region's inputs read
        for (int i = 0; outer && i < n_inputs; i++)
            outer[i] = loop ? (i < 2 ? counters[i] : i - 2 < n_carried ? out[i - 2] : in[i - 1]) : in[i + 1];
        blocks[r] = outer ? block_new(b->program, b, outer, n->regions[r]) : NULL;
        if (!blocks[r])
            return false;
    }
    int *all_in = epl_block_alloc(b, (size_t)(n->n_inputs + 3) * sizeof *all_in);
    if (!all_in || (loop && !take_aside(n, blocks[0], n_carried)))
        return false;
    memcpy(all_in, in, (size_t)n->n_inputs * sizeof *all_in);
    int n_in = n->n_inputs;
    if (loop) {
        all_in[n_in++] = counters[0];
        all_in[n_in++] = counters[1];
    }
    epl_step *s = epl_step_add(b, n, loop ? EPL_STEP_LOOP : EPL_STEP_BRANCH, n_in, all_in, n->n_outputs, out);
    if (!s)
        return false;
    s->blocks = blocks;
    const int temp = epl_buffer_new(b, 0); // sized when the inner blocks are planned
    b->steps[b->n_steps - 1].temp = temp;
    return temp >= 0;
}

/* The buffer of an update's next value. One that is itself a parameter or state (or a view of one) is taken aside before any
 * update happens. */
static int next_value(epl_block *b, const epl_node *update)
{
    const int source = epl_buffer_of(b, update->inputs[1]);
    if (b->buffers[source].place != EPL_PLACE_TENSOR)
        return source;
    const int aside = epl_buffer_new(b, b->buffers[source].bytes);
    return epl_step_add(b, update, EPL_STEP_COPY, 1, &source, 1, &aside) ? aside : -1;
}

/* An update: nothing, when planning lets the next value be computed in the state's own memory; else a copy at the end. */
static bool lower_updates(epl_block *b)
{
    for (epl_node *n = b->graph->first; n; n = n->next)
        if (EPL_IS(n, update))
            n->tag = n->inputs[0] == n->inputs[1] ? -1 : next_value(b, n);
    for (const epl_node *n = b->graph->first; n; n = n->next)
        if (EPL_IS(n, update) && n->tag >= 0) {
            const int in = (int)n->tag, out = epl_buffer_of(b, n->inputs[0]);
            if (!epl_step_add(b, n, EPL_STEP_COPY, 1, &in, 1, &out))
                return false;
        }
    return !b->program->failed;
}

static bool lower_node(epl_block *b, const epl_node *n)
{
    if (n->op->flags & EPL_OP_VIEW)
        return lower_view(b, n);
    if (EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, loop))
        return lower_control(b, n);
    const char   *why  = "no fast kernel for this operator";
    epl_lower_fn *fast = b->program->opts.reference ? NULL : epl_lower_of(n->op);
    if (fast && fast(b, n, &why))
        return !b->program->failed;
    if (n->op->flags & EPL_OP_REGION)
        return epl_fail(b->program->ctx, EPL_ERR_UNSUPPORTED, "%s %s cannot be lowered: %s", n->op->name, n->scope, why);
    return !b->program->failed && epl_lower_reference(b, n, b->program->opts.reference ? NULL : why);
}

static bool bind_source(epl_block *b, const epl_node *n)
{
    epl_program *p      = b->program;
    epl_buffer   source = { .bytes = value_bytes(n->outputs[0]) };
    char is[192], want[192];
    if (EPL_IS(n, constant)) {
        source.place  = EPL_PLACE_CONSTANT;
        source.tensor = n->attrs[0].tensor;
    } else if (EPL_IS(n, input)) {
        source.place  = b->parent ? EPL_PLACE_PARENT : EPL_PLACE_INPUT;
        source.offset = b->parent ? b->outer[b->n_inputs] : b->n_inputs;
        source.name   = n->attrs[0].s;
    } else {
        source.place  = EPL_PLACE_TENSOR;
        source.name   = n->attrs[0].s;
        source.tensor = epl_weights_find(p->weights, source.name);
        if (!source.tensor)
            return epl_fail(p->ctx, EPL_ERR_ARGUMENT, "the weights have no tensor '%s'", source.name);
        if (source.tensor->dtype != n->outputs[0]->dtype || !epl_shape_equal(source.tensor->shape, n->outputs[0]->shape))
            return epl_fail(p->ctx, EPL_ERR_SHAPE, "'%s' is %s%s in the weights, the graph expects %s%s", source.name,
                            epl_dtype_name(source.tensor->dtype), epl_shape_text(is, source.tensor->shape),
                            epl_dtype_name(n->outputs[0]->dtype), epl_shape_text(want, n->outputs[0]->shape));
    }
    const int index = buffer_add(b, source);
    bind_value(n->outputs[0], index);
    if (EPL_IS(n, input))
        b->inputs[b->n_inputs++] = index;
    return index >= 0;
}

bool epl_block_bind_constant(epl_block *b, const epl_node *constant) { return bind_source(b, constant); }

static void clear_tags(epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->tag = 0;
}

/* outer: the parent's buffers that the graph's inputs stand for; NULL for the root. */
static epl_block *block_new(epl_program *p, epl_block *parent, const int *outer, epl_graph *g)
{
    epl_block *b = epl_arena_alloc(p->memory, sizeof *b);
    if (!b)
        return NULL;
    *b = (epl_block){ .program = p, .parent = parent, .outer = outer, .graph = g };
    b->inputs  = epl_block_alloc(b, (size_t)(epl_graph_n_inputs(g) + 1) * sizeof *b->inputs);
    b->outputs = epl_block_alloc(b, (size_t)(epl_graph_n_outputs(g) + 1) * sizeof *b->outputs);
    clear_tags(g);
    bool ok = b->inputs && b->outputs;
    for (epl_node *n = g->first; ok && n; n = n->next)
        if (n->op->flags & EPL_OP_SOURCE)
            ok = bind_source(b, n);
        else if (!(n->op->flags & EPL_OP_SINK))
            ok = lower_node(b, n);
    for (epl_node *n = g->first; ok && n; n = n->next)
        if (EPL_IS(n, output))
            b->outputs[b->n_outputs++] = epl_buffer_of(b, n->inputs[0]);
    if (!ok || !lower_updates(b) || p->failed) {
        p->failed = true;
        block_free(b);
        return NULL;
    }
    return b;
}

/* ---- the program ---- */

static void block_free(epl_block *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_steps; i++)
        for (int r = 0; b->steps[i].blocks && r < b->steps[i].node->n_regions; r++)
            block_free(b->steps[i].blocks[r]);
    epl_release(b->program->ctx, b->steps);
    epl_release(b->program->ctx, b->buffers);
}

void epl_program_free(epl_program *p)
{
    if (!p)
        return;
    for (int i = 0; p->inputs && i < p->root->n_inputs; i++)
        epl_tensor_free(p->inputs[i]);
    for (int i = 0; p->outputs && i < p->root->n_outputs; i++)
        epl_tensor_free(p->outputs[i]);
    epl_context *ctx = p->ctx;
    block_free(p->root);
    epl_release_aligned(ctx, p->arena);
    epl_release_aligned(ctx, p->once);
    epl_release_aligned(ctx, p->scratch);
    epl_release_aligned(ctx, p->input_data);
    epl_release(ctx, p->inputs);
    epl_release(ctx, p->outputs);
    epl_graph_free(p->graph);
    epl_arena_free(p->memory);
    epl_release(ctx, p);
}

static bool allocate(epl_program *p)
{
    const epl_program_memory m = p->memory_use;
    p->arena      = epl_alloc_aligned(p->ctx, m.arena + 64);
    p->once       = epl_alloc_aligned(p->ctx, m.packed + 64);
    p->scratch    = epl_alloc_aligned(p->ctx, m.scratch + 64);
    p->input_data = epl_alloc_aligned(p->ctx, m.inputs + 64);
    p->inputs     = epl_alloc_array(p->ctx, (size_t)p->root->n_inputs + 1, sizeof *p->inputs);
    p->outputs    = epl_alloc_array(p->ctx, (size_t)p->root->n_outputs + 1, sizeof *p->outputs);
    return p->arena && p->once && p->scratch && p->input_data && p->inputs && p->outputs;
}

/* Tensors over the places of inputs and outputs. */
static bool expose(epl_program *p)
{
    for (int i = 0; i < p->root->n_inputs; i++) {
        const epl_value *v = epl_graph_input_at(p->graph, i);
        p->inputs[i] = epl_tensor_view(p->ctx, v->dtype, v->shape, p->root->buffers[p->root->inputs[i]].data);
        if (!p->inputs[i])
            return false;
    }
    for (int i = 0; i < p->root->n_outputs; i++) {
        const epl_value *v = epl_graph_output_at(p->graph, i);
        p->outputs[i] = epl_tensor_view(p->ctx, v->dtype, v->shape, p->root->buffers[p->root->outputs[i]].data);
        if (!p->outputs[i])
            return false;
    }
    return true;
}

/* A step inside a fused node belongs to the fused node. */
static const epl_node *outer_node(const epl_node *n)
{
    while (n->graph->owner)
        n = n->graph->owner;
    return n;
}

static bool lower_graph(epl_program *p)
{
    block_free(p->root);
    p->root = block_new(p, NULL, NULL, p->graph);
    return p->root && epl_plan(p);
}

static size_t peak_of(const epl_program *p) { return p->memory_use.total + p->memory_use.setup; }

/* Recomputes one node after the other until the limit is met, or nothing more can be given up. */
static bool meet_limit(epl_program *p)
{
    const size_t limit = p->opts.memory_limit;
    size_t least = peak_of(p);
    int    recomputed = 0;
    if (!limit || least <= limit)
        return true;
    if (!epl_sink_views(p->graph))
        return false;
    const int most = 4 * p->graph->n_nodes;
    while (peak_of(p) > limit && recomputed < most) {
        const int peak = epl_plan_peak_step(p->root);
        if (peak >= (int)p->root->n_steps || !epl_recompute_at(p->graph, outer_node(p->root->steps[peak].node)))
            break;
        recomputed++;
        if (!lower_graph(p))
            return false;
        if (peak_of(p) < least)
            least = peak_of(p);
    }
    p->memory_use.recomputed = recomputed;
    if (peak_of(p) <= limit)
        return true;
    char want[32], have[32];
    epl_format_bytes(want, (double)limit);
    epl_format_bytes(have, (double)least);
    return epl_fail(p->ctx, EPL_ERR_LIMIT, "%s do not suffice for graph '%s': the least that would do is %s (%zu bytes)", want,
                    p->graph->name, have, least);
}

static bool lower(epl_program *p)
{
    epl_pass_opts passes = { .fuse = !p->opts.no_fusion && !p->opts.reference,
                             .frozen = p->opts.frozen,
                             .unroll = p->opts.unroll,
                             .plain = p->opts.plain,
                             .integers = p->opts.frozen && !p->opts.reference && !p->opts.plain,
                             .block_bytes = p->opts.reference ? 0 : p->opts.block_bytes };
    return epl_prepare(p->graph, passes) && lower_graph(p) && meet_limit(p);
}

epl_program *epl_program_new(const epl_graph *g, epl_weights *weights, epl_program_opts o)
{
    if (epl_graph_failed(g))
        return NULL;
    epl_context *ctx = epl_graph_context(g);
    epl_program *p   = epl_alloc(ctx, sizeof *p);
    if (!p)
        return NULL;
    *p = (epl_program){ .ctx = ctx, .weights = weights, .opts = o, .n_threads = epl_context_threads(ctx) };
    p->memory  = epl_arena_new(ctx);
    p->graph   = epl_graph_copy(g);
    p->kernels = o.isa ? epl_kernels_for(o.isa) : epl_kernels();
    if (!p->kernels)
        epl_fail(ctx, EPL_ERR_UNSUPPORTED, "no kernels for '%s' on this machine", o.isa);
    bool ok = p->memory && p->graph && p->kernels && lower(p);
    if (ok && !o.plan_only) {
        ok = allocate(p);
        if (ok)
            epl_resolve(p);
        ok = ok && expose(p) && epl_program_refresh(p);
    }
    if (!ok) {
        epl_program_free(p);
        return NULL;
    }
    return p;
}

/* ---- looking ---- */

int         epl_program_n_inputs(const epl_program *p) { return p->root->n_inputs; }
int         epl_program_n_outputs(const epl_program *p) { return p->root->n_outputs; }
epl_tensor *epl_program_input(epl_program *p, int i) { return p->inputs[i]; }
epl_tensor *epl_program_output(epl_program *p, int i) { return p->outputs[i]; }

epl_tensor *epl_program_input_named(epl_program *p, const char *name)
{
    for (int i = 0; i < p->root->n_inputs; i++)
        if (strcmp(epl_value_name(epl_graph_input_at(p->graph, i)), name) == 0)
            return p->inputs[i];
    return NULL;
}

epl_tensor *epl_program_output_named(epl_program *p, const char *name)
{
    for (int i = 0; i < p->root->n_outputs; i++)
        if (strcmp(epl_graph_output_name(p->graph, i), name) == 0)
            return p->outputs[i];
    return NULL;
}

epl_program_memory epl_program_memory_of(const epl_program *p) { return p->memory_use; }
const epl_graph   *epl_program_graph(const epl_program *p) { return p->graph; }
const char        *epl_program_isa(const epl_program *p) { return p->kernels->isa; }
