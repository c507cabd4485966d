/* gradients: the loss's gradient by each weight, and what else criteria ask of the loss - its square by sample, the Hessian's
 * product with it. The network computes in inference mode. */
#include "compress/compress.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

#include <stdio.h>
#include <string.h>

/* The loss of n samples, divided logits, and the gradient by each weight as the network reads it. */
typedef struct derived {
    epl_graph  *g;
    epl_layers  layers;
    epl_value **w, **dw;
} derived;

static epl_value *loss_of(epl_graph *g, const epl_model *m, const epl_tensor *x, const epl_tensor *target, int64_t n, double temperature,
                          epl_loss_opts o)
{
    if (epl_graph_n_inputs(m->graph) != 1 || epl_graph_n_outputs(m->graph) < 1 || x->shape.rank < 1 || target->shape.rank < 1)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "the network has %d inputs and %d outputs; one input and logits are needed",
                              epl_graph_n_inputs(m->graph), epl_graph_n_outputs(m->graph));
    epl_shape xs = x->shape, ts = target->shape;
    xs.dim[0] = ts.dim[0] = n;
    epl_value **outputs = epl_arena_alloc(g->arena, (size_t)epl_graph_n_outputs(m->graph) * sizeof *outputs);
    epl_value  *in = epl_input(g, "x", x->dtype, xs, "N");
    if (!outputs || !in || !epl_graph_inline(g, m->graph, &in, outputs, NULL))
        return NULL;
    epl_value *weights = epl_expand(g, epl_scalar(g, EPL_F32, 1), EPL_SHAPE(n));
    epl_value *logits  = temperature == 1 ? outputs[0] : epl_affine(g, outputs[0], 1 / temperature, 0);
    return epl_loss(g, logits, epl_input(g, "target", target->dtype, ts, "N"), weights, o);
}

static bool derive(const epl_model *m, const epl_tensor *x, const epl_tensor *target, int64_t n, double temperature,
                   epl_loss_opts o, derived *d)
{
    *d = (derived){ .g = epl_graph_new(m->ctx, "gradients") };
    if (!d->g || !epl_weight_layers_find(m->graph, &d->layers))
        return false;
    epl_value *loss = loss_of(d->g, m, x, target, n, temperature, o);
    d->w  = loss ? epl_arena_alloc(d->g->arena, (size_t)(d->layers.n + 1) * sizeof *d->w) : NULL;
    d->dw = d->w ? epl_arena_alloc(d->g->arena, (size_t)(d->layers.n + 1) * sizeof *d->dw) : NULL;
    if (!d->dw)
        return false;
    for (int i = 0; i < d->layers.n; i++)
        d->w[i] = d->layers.items[i].read->mark; // inlining leaves the twins there
    return epl_gradient(d->g, loss, d->layers.n, d->w, d->dw);
}

static void derived_release(derived *d)
{
    if (d->layers.ctx)
        epl_weight_layers_release(&d->layers);
    epl_graph_free(d->g);
}

static epl_program *finish(const epl_model *m, derived *d, epl_value *const *outputs)
{
    for (int i = 0; i < d->layers.n; i++)
        epl_output(d->g, d->layers.items[i].name, outputs[i]);
    return epl_graph_finish(d->g) ? epl_program_new(d->g, m->weights, (epl_program_opts){ 0 }) : NULL;
}

/* Samples from `first` on, as many as the program takes. */
static bool run_from(epl_program *p, const epl_tensor *x, const epl_tensor *target, int64_t first)
{
    const epl_tensor *from[2] = { x, target };
    for (int i = 0; i < 2; i++) {
        epl_tensor  *to = epl_program_input(p, i);
        const size_t row = epl_tensor_bytes(from[i]) / (size_t)from[i]->shape.dim[0];
        memcpy(to->data, (const char *)from[i]->data + (size_t)first * row, epl_tensor_bytes(to));
    }
    return epl_program_run(p);
}

/* A tensor for each weight; `lead`: the size of an axis before its own, 0 for none. */
static epl_weights *tensors_for(const epl_model *m, const derived *d, int64_t lead)
{
    epl_weights *out = epl_weights_new(m->ctx);
    for (int i = 0; out && i < d->layers.n; i++) {
        const epl_shape own = epl_shape_of(d->layers.items[i].weight);
        epl_shape       s = own;
        if (lead) {
            s.rank = own.rank + 1;
            s.dim[0] = lead;
            memcpy(s.dim + 1, own.dim, (size_t)own.rank * sizeof *s.dim);
        }
        epl_tensor *t = own.rank + (lead > 0) <= EPL_MAX_RANK ? epl_tensor_new(m->ctx, EPL_F32, s) : NULL;
        if (!t || !epl_weights_put_take(out, d->layers.items[i].name, t)) {
            epl_weights_free(out);
            return NULL;
        }
    }
    return out;
}

/* Adds output i to its tensor, or its square, times f. */
static void add_outputs(epl_program *p, const derived *d, bool square, double f, epl_weights *to)
{
    for (int i = 0; i < d->layers.n; i++) {
        const epl_tensor *g = epl_program_output_named(p, d->layers.items[i].name);
        float            *sum = epl_weights_find(to, d->layers.items[i].name)->data;
        for (int64_t k = 0; k < epl_tensor_count(g); k++) {
            const double x = epl_tensor_get(g, k);
            sum[k] = (float)((double)sum[k] + f * (square ? x * x : x));
        }
    }
}

/* ---- what criteria look at ---- */

epl_weights *epl_weight_gradients(const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts o)
{
    derived      d;
    epl_program *p = derive(m, x, target, x->shape.dim[0], 1, o, &d) ? finish(m, &d, d.dw) : NULL;
    epl_weights *out = p && run_from(p, x, target, 0) ? tensors_for(m, &d, 0) : NULL;
    if (out)
        add_outputs(p, &d, false, 1, out);
    epl_program_free(p);
    derived_release(&d);
    return out;
}

static void copy_sample(epl_program *p, const derived *d, int64_t sample, epl_weights *to)
{
    for (int i = 0; i < d->layers.n; i++) {
        const epl_tensor *g = epl_program_output_named(p, d->layers.items[i].name);
        float            *row = (float *)epl_weights_find(to, d->layers.items[i].name)->data + sample * epl_tensor_count(g);
        for (int64_t k = 0; k < epl_tensor_count(g); k++)
            row[k] = (float)epl_tensor_get(g, k);
    }
}

/* The mean of g^2 over samples, or all of them behind each other. */
static epl_weights *by_sample(const epl_model *m, const epl_tensor *x, const epl_tensor *target, bool keep, epl_loss_opts o)
{
    const int64_t n = x->shape.dim[0];
    derived      d;
    epl_program *p = derive(m, x, target, 1, 1, o, &d) ? finish(m, &d, d.dw) : NULL;
    epl_weights *out = p ? tensors_for(m, &d, keep ? n : 0) : NULL;
    bool ok = out != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        ok = run_from(p, x, target, i);
        if (ok && keep)
            copy_sample(p, &d, i, out);
        else if (ok)
            add_outputs(p, &d, true, 1 / (double)n, out);
    }
    epl_program_free(p);
    derived_release(&d);
    if (ok)
        return out;
    epl_weights_free(out);
    return NULL;
}

/* H v as the gradient of g^T v, v given as inputs "v.<weight>". */
static bool multiply_hessian(derived *d, epl_value **hv)
{
    epl_value *sum = NULL;
    for (int i = 0; i < d->layers.n; i++) {
        char name[1024];
        snprintf(name, sizeof name, "v.%s", d->layers.items[i].name);
        epl_value *v = epl_input(d->g, name, epl_dtype_of(d->w[i]), epl_shape_of(d->w[i]), NULL);
        epl_value *product = epl_reduce_sum(d->g, epl_mul(d->g, d->dw[i], v), (epl_reduce_opts){ 0 });
        sum = sum ? epl_add(d->g, sum, product) : product;
    }
    return epl_gradient(d->g, sum, d->layers.n, d->w, hv);
}

static void set_directions(epl_program *p, const derived *d, const epl_weights *v)
{
    for (int i = 0; i < d->layers.n; i++) {
        char name[1024];
        snprintf(name, sizeof name, "v.%s", d->layers.items[i].name);
        epl_tensor       *to = epl_program_input_named(p, name);
        const epl_tensor *from = epl_weights_find(v, d->layers.items[i].name);
        for (int64_t k = 0; k < epl_tensor_count(to); k++)
            epl_tensor_set(to, k, epl_tensor_get(from, k));
    }
}

/* Of both halves of a batch, added up: the gradient, or with v the Hessian's product with it. */
static epl_weights *over_halves(const epl_model *m, const epl_tensor *x, const epl_tensor *target, const epl_weights *v, epl_loss_opts o)
{
    const int64_t half = x->shape.dim[0] / 2;
    derived       d = { 0 };
    bool          ok = derive(m, x, target, half, 200, o, &d);
    epl_value   **hv = ok ? epl_arena_alloc(d.g->arena, (size_t)(d.layers.n + 1) * sizeof *hv) : NULL;
    ok = hv && (!v || multiply_hessian(&d, hv));
    epl_program *p   = ok ? finish(m, &d, v ? hv : d.dw) : NULL;
    epl_weights *out = p ? tensors_for(m, &d, 0) : NULL;
    if (out && v)
        set_directions(p, &d, v);
    ok = out != NULL;
    for (int i = 0; ok && i < 2; i++) {
        ok = run_from(p, x, target, i * half);
        if (ok)
            add_outputs(p, &d, false, 1, out);
    }
    epl_program_free(p);
    derived_release(&d);
    if (ok)
        return out;
    epl_weights_free(out);
    return NULL;
}

/* GraSP, Algorithm 2: g over both halves, then each half's Hessian times it. */
static epl_weights *hessian_gradient(const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts o)
{
    if (x->shape.dim[0] < 2) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "grasp takes the batch as two halves, and it has %lld samples", (long long)x->shape.dim[0]);
        return NULL;
    }
    epl_weights *g   = over_halves(m, x, target, NULL, o);
    epl_weights *out = g ? over_halves(m, x, target, g, o) : NULL;
    epl_weights_free(g);
    return out;
}

epl_weights *epl_prune_evidence(const epl_model *m, const char *criterion, const epl_tensor *x, const epl_tensor *target, epl_loss_opts o)
{
    if (!epl_criterion_known(m->ctx, criterion))
        return NULL;
    if (strcmp(criterion, "grasp") == 0)
        return hessian_gradient(m, x, target, o);
    if (strcmp(criterion, "obd") == 0 || strcmp(criterion, "obs") == 0)
        return by_sample(m, x, target, strcmp(criterion, "obs") == 0, o);
    if (epl_criterion_needs_data(criterion))
        return epl_weight_gradients(m, x, target, o);
    epl_fail(m->ctx, EPL_ERR_ARGUMENT, "criterion '%s' looks at no data", criterion);
    return NULL;
}
