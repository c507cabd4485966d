/* step: the graph of a training step - the network in training mode, the loss, what hooks add, gradient and optimizer. With
 * accumulation it is two graphs: one adds a batch's gradient, weighted by its samples, to what is there; one updates. */
#include "train/train.h"

#include <espalier/grad.h>
#include <espalier/passes.h>

#include "graph/op.h"
#include "passes/passes.h"

#include <stdio.h>
#include <string.h>

bool epl_train_step_borrow(epl_train_step *s, const char *pattern)
{
    const size_t n = (s->frozen ? strlen(s->frozen) + 1 : 0) + strlen(pattern) + 1;
    char *joined = epl_arena_alloc(s->arena, n);
    if (joined) {
        snprintf(joined, n, "%s%s%s", s->frozen ? s->frozen : "", s->frozen ? "," : "", pattern);
        s->frozen = joined;
    }
    return joined != NULL;
}

epl_value *epl_train_step_index(epl_train_step *s)
{
    for (int i = 0; i < epl_graph_n_inputs(s->graph); i++)
        if (strcmp(epl_value_name(epl_graph_input_at(s->graph, i)), "index") == 0)
            return epl_graph_input_at(s->graph, i);
    return epl_input(s->graph, "index", EPL_I64, EPL_SHAPE(epl_dim(s->sample_weights, 0)), "N");
}

bool epl_train_step_log(epl_train_step *s, const char *name, epl_value *v)
{
    char full[64];
    snprintf(full, sizeof full, "log.%s", name);
    return epl_output(s->graph, full, v) != NULL;
}

struct epl_wanted_gradient {
    struct epl_wanted_gradient *next;
    const char *output;
    epl_value  *v;
};

bool epl_train_step_gradient(epl_train_step *s, const char *name, epl_value *v)
{
    const size_t size = strlen(name) + sizeof "gradient.";
    struct epl_wanted_gradient *w = epl_arena_alloc(s->arena, sizeof *w);
    char *output = epl_arena_alloc(s->arena, size);
    if (!w || !output)
        return false;
    snprintf(output, size, "gradient.%s", name);
    *w = (struct epl_wanted_gradient){ s->wanted, output, v };
    s->wanted = w;
    return true;
}

epl_value *epl_batch_input(epl_graph *g, const epl_graph *model, int64_t batch)
{
    if (epl_graph_n_inputs(model) != 1 || epl_graph_n_outputs(model) < 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "network '%s' has %d inputs and %d outputs; one input and at least one output "
                              "are needed", model->name, epl_graph_n_inputs(model), epl_graph_n_outputs(model));
    const epl_value *like = epl_graph_input_at(model, 0);
    epl_shape shape = like->shape;
    if (shape.rank < 1 || batch < 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "network '%s': its input has %d axes, the batch %lld samples", model->name,
                              shape.rank, (long long)batch);
    shape.dim[0] = batch;
    return epl_input(g, "x", like->dtype, shape, "N");
}

int64_t epl_own_batch(const epl_graph *model)
{
    const epl_value *x = epl_graph_input_at(model, 0);
    const char      *dims = x ? epl_attr_s(x->producer, "dims") : "";
    return x && x->shape.rank > 0 && (*dims == 0 || *dims == ',') ? x->shape.dim[0] : 0;
}

bool epl_inline_network(epl_graph *g, const epl_graph *model, epl_value *x, epl_value **outputs, const char *prefix)
{
    if (epl_graph_inline(g, model, &x, outputs, prefix))
        return true;
    const int64_t own = epl_own_batch(model);
    epl_context  *ctx = g->ctx;
    if (own && own != x->shape.dim[0] && epl_error_code(ctx) == EPL_ERR_SHAPE) {
        char why[256];
        snprintf(why, sizeof why, "%s", epl_error_message(ctx));
        epl_error_clear(ctx);
        epl_fail(ctx, EPL_ERR_SHAPE, "network '%s' is made for %lld sample%s at a time and cannot take %lld: %s",
                 model->name, (long long)own, own == 1 ? "" : "s", (long long)x->shape.dim[0], why);
    }
    return false;
}

epl_value *epl_target_input(epl_graph *g, epl_value *logits, epl_dtype dtype, epl_shape shape)
{
    if (!logits)
        return NULL;
    dtype = dtype ? dtype : EPL_I64;
    if (shape.rank == 0) {
        shape = epl_shape_of(logits);
        shape.rank -= !epl_dtype_is_float(dtype) && shape.rank > 1;
    }
    return epl_input(g, "target", dtype, shape, "N");
}

/* ---- forward, loss, hooks ---- */

static bool forward(const epl_model *m, const epl_step_opts *o, epl_train_step *s)
{
    epl_graph *g = s->graph;
    s->x         = epl_batch_input(g, m->graph, o->batch);
    s->n_outputs = epl_graph_n_outputs(m->graph);
    s->outputs   = epl_arena_alloc(s->arena, (size_t)(s->n_outputs + 1) * sizeof *s->outputs);
    if (!s->x || !s->outputs || !epl_inline_network(g, m->graph, s->x, s->outputs, NULL))
        return false;
    for (int i = 0; i < s->n_outputs; i++) { // outputs keep the values while the mode is set
        char name[32];
        snprintf(name, sizeof name, i ? "logits%d" : "logits", i);
        epl_output(g, name, s->outputs[i]);
    }
    if (!epl_step_set_norms(g, o))
        return false;
    for (int i = 0; i < s->n_outputs; i++)
        s->outputs[i] = epl_graph_output_at(g, i);
    s->logits         = s->outputs[0];
    s->target         = epl_target_input(g, s->logits, o->target_dtype, o->target_shape);
    s->sample_weights = epl_input(g, "weights", EPL_F32, EPL_SHAPE(o->batch), "N");
    s->loss           = epl_loss(g, s->logits, s->target, s->sample_weights, o->loss);
    return !epl_graph_failed(g);
}

static bool run_hooks(const epl_step_opts *o, epl_train_step *s)
{
    for (int i = 0; i < o->n_hooks; i++)
        if (o->hooks[i].build && !o->hooks[i].build(o->hooks[i].user, s))
            return epl_graph_failed(s->graph) ? false
                 : epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT, "hook %d refused the training step", i);
    return !epl_graph_failed(s->graph);
}

/* ---- accumulation ---- */

static epl_value *accumulator(epl_graph *g, const epl_value *w)
{
    return epl_state(g, epl_prefixed(g, "train.sum.", epl_value_name(w)), w->dtype, w->shape, EPL_INIT_ZEROS, 0);
}

static epl_value *weight_sum(epl_graph *g) { return epl_state(g, "/train.sum", EPL_F32, EPL_SCALAR, EPL_INIT_ZEROS, 0); }

static void add_gradients(epl_train_step *s, int n, epl_value *const *w, epl_value *const *dw)
{
    epl_graph *g = s->graph;
    epl_value *weight = epl_reduce_sum(g, s->sample_weights, (epl_reduce_opts){ 0 });
    for (int i = 0; i < n && !epl_graph_failed(g); i++) {
        epl_value *sum = accumulator(g, w[i]);
        epl_update(g, sum, epl_add(g, sum, epl_mul(g, dw[i], epl_cast(g, weight, epl_dtype_of(w[i])))));
    }
    epl_value *count = weight_sum(g);
    epl_update(g, count, epl_add(g, count, weight));
}

/* The second graph: the mean of what was added, through the optimizer; the sums begin again. */
static epl_graph *update_graph(const epl_model *m, int n, epl_value *const *w, epl_optimizer_opts o, const epl_step_links *links)
{
    epl_context *ctx = m->ctx;
    epl_graph   *g   = epl_graph_new(ctx, "update");
    epl_value  **own = epl_alloc_array(ctx, (size_t)n + 1, sizeof *own), **mean = epl_alloc_array(ctx, (size_t)n + 1, sizeof *mean);
    epl_value   *rate = g ? epl_input(g, "rate", EPL_F32, EPL_SCALAR, NULL) : NULL;
    bool ok = rate && own && mean;
    if (ok) {
        epl_value *count = weight_sum(g);
        for (int i = 0; i < n; i++) {
            const epl_node *p = w[i]->producer;
            own[i]  = epl_parameter(g, epl_prefixed(g, "", p->attrs[0].s), w[i]->dtype, w[i]->shape, (epl_init)p->attrs[3].i,
                                    p->attrs[4].r);
            mean[i] = epl_div(g, accumulator(g, w[i]), epl_cast(g, count, w[i]->dtype));
        }
        ok = epl_optimize_with(g, n, own, mean, rate, o) && epl_average_states(g, m->graph, o) && epl_step_follow_all(g, links);
        for (int i = 0; ok && i < n; i++) {
            epl_value *sum = accumulator(g, w[i]);
            epl_update(g, sum, epl_zeros_like(g, sum));
        }
        ok = ok && epl_update(g, count, epl_scalar(g, EPL_F32, 0)) && epl_graph_finish(g);
    }
    epl_release(ctx, own);
    epl_release(ctx, mean);
    if (!ok)
        epl_graph_free(g);
    return ok ? g : NULL;
}

/* ---- all of it ---- */

static int count_wanted(const epl_train_step *s)
{
    int n = 0;
    for (const struct epl_wanted_gradient *w = s->wanted; w; w = w->next)
        n++;
    return n;
}

static void add_wanted(const epl_train_step *s, epl_value **to)
{
    for (const struct epl_wanted_gradient *w = s->wanted; w; w = w->next)
        *to++ = w->v;
}

static void output_wanted(const epl_train_step *s, epl_value *const *gradients)
{
    for (const struct epl_wanted_gradient *w = s->wanted; w; w = w->next)
        epl_output(s->graph, w->output, *gradients++);
}

static bool backward(const epl_model *m, epl_step_opts *o, epl_train_step *s, epl_built_step *out)
{
    epl_graph   *g    = s->graph;
    const size_t room = (size_t)(g->n_nodes + 1) + (size_t)count_wanted(s);
    epl_value  **w    = epl_arena_alloc(s->arena, room * sizeof *w), **dw = epl_arena_alloc(s->arena, room * sizeof *dw);
    if (!w || !dw)
        return false;
    const int n = epl_trained_parameters(g, &o->optimizer, s->frozen, w);
    if (n == 0)
        return epl_fail(g->ctx, EPL_ERR_ARGUMENT, "network '%s' has no parameter to train", m->graph->name);
    add_wanted(s, w + n);
    if (!epl_step_clip_modules(s, n, w, &o->optimizer) || !epl_gradient(g, s->loss, n + count_wanted(s), w, dw))
        return false;
    output_wanted(s, dw + n);
    bool ok;
    if (o->accumulate > 1) {
        add_gradients(s, n, w, dw);
        out->update = update_graph(m, n, w, o->optimizer, s->links);
        ok = out->update != NULL;
    } else {
        epl_value *rate = epl_input(g, "rate", EPL_F32, EPL_SCALAR, NULL);
        ok = epl_optimize_with(g, n, w, dw, rate, o->optimizer) && epl_average_states(g, m->graph, o->optimizer) &&
             epl_step_follow_all(g, s->links);
    }
    return ok && (s->links->n_cuts == 0 || epl_order_modules(g, s->links->cuts, s->links->n_cuts));
}

/* Every state that the graphs name: the model's own first, so that averages can begin as copies. */
static bool fill_weights(const epl_model *m, epl_weights *weights, const epl_step_opts *o, const epl_built_step *b, uint64_t seed)
{
    epl_model own = { m->ctx, m->graph, weights }, step = { m->ctx, b->graph, weights }, update = { m->ctx, b->update, weights };
    return epl_model_init(&own, seed) && (o->optimizer.ema <= 0 || epl_average_begin(m->graph, weights)) &&
           epl_model_init(&step, seed) && (!b->update || epl_model_init(&update, seed));
}

bool epl_build_step(const epl_model *m, epl_weights *weights, epl_step_opts o, uint64_t seed, epl_built_step *out)
{
    *out = (epl_built_step){ .ctx = m->ctx, .graph = epl_graph_new(m->ctx, m->graph->name), .arena = epl_arena_new(m->ctx) };
    epl_step_links links = { .n_cuts = 0 };
    epl_train_step s = { .graph = out->graph, .weights = weights, .arena = out->arena, .links = &links };
    bool ok = s.graph && s.arena && epl_step_check_norms(m, &o) && forward(m, &o, &s) && run_hooks(&o, &s);
    if (ok) {
        epl_output(s.graph, "loss", s.loss);
        ok = backward(m, &o, &s, out) && epl_graph_finish(s.graph) && fill_weights(m, weights, &o, out, seed);
        out->borrowed = s.frozen;
    }
    if (!ok)
        epl_built_step_release(out);
    return ok;
}

void epl_built_step_release(epl_built_step *b)
{
    epl_graph_free(b->graph);
    epl_graph_free(b->update);
    epl_arena_free(b->arena);
    *b = (epl_built_step){ 0 };
}

epl_graph *epl_train_graph(const epl_model *m, epl_weights *weights, epl_step_opts o, uint64_t seed, epl_graph **update)
{
    epl_built_step b;
    if (update)
        *update = NULL;
    if (o.accumulate > 1 && !update) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "accumulation over %d batches needs a second graph: update is NULL", o.accumulate);
        return NULL;
    }
    if (!epl_build_step(m, weights, o, seed, &b))
        return NULL;
    epl_graph *g = b.graph;
    if (update)
        *update = b.update;
    b.graph = b.update = NULL;
    epl_built_step_release(&b);
    return g;
}

bool epl_step_may_skip_zeros(const epl_train_hook *hooks, int n)
{
    for (int i = 0; i < n; i++)
        if (hooks[i].settled)
            return false;
    return true;
}

bool epl_train_memory(const epl_model *m, epl_step_opts o, epl_program_memory *out)
{
    epl_weights   *weights = epl_weights_copy(m->ctx, m->weights);
    epl_built_step b = { 0 };
    bool ok = weights && epl_build_step(m, weights, o, 0, &b);
    const epl_program_opts po = { .plan_only = true,
                                  .memory_limit = o.memory_limit,
                                  .sparse = epl_step_may_skip_zeros(o.hooks, o.n_hooks) };
    epl_program *p = ok ? epl_program_new(b.graph, weights, po) : NULL;
    if (p)
        *out = epl_program_memory_of(p);
    ok = p != NULL;
    epl_program_free(p);
    epl_built_step_release(&b);
    epl_weights_free(weights);
    return ok;
}
