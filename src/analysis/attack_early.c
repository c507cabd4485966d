/* attack_early: images that every early exit takes for something else while the final classifier stands by its
 * answer, so that whoever checks the whole network alone sees nothing. "Dynamic Neural Network is All You Need",
 * ICCV workshop 2023, with the constants of its code. */
#include "analysis/attack.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

#include <math.h>
#include <string.h>

epl_value *epl_early_objective(epl_graph *g, int n_exits, epl_value *const *exits, epl_value *y, epl_value *adversarial,
                               epl_value *clean, double c, double alpha)
{
    epl_value *is_y = epl_one_hot(g, y, epl_channels(exits[0]), (epl_one_hot_opts){ .dtype = epl_dtype_of(exits[0]) }), *sum = NULL;
    for (int i = 0; i < n_exits; i++) {
        epl_value *p   = epl_softmax(g, exits[i], -1);
        epl_value *p_y = epl_reduce_sum(g, epl_mul(g, p, is_y), (epl_reduce_opts){ EPL_AXES(1), .keep = true });
        epl_value *term = p_y; // of an early exit: what it still says for y; of the final one: how far y is above the others
        if (i + 1 == n_exits)
            term = epl_affine(g,
                              epl_reduce_sum(g, epl_relu(g, epl_sub(g, p_y, p)),
                                             (epl_reduce_opts){ EPL_AXES(1), .keep = true }),
                              -alpha, 0);
        sum = sum ? epl_add(g, sum, term) : term;
    }
    epl_value *apart = epl_square(g, epl_sub(g, adversarial, clean));
    epl_value *flat  = epl_reduce_sum(g, epl_flatten(g, apart, 1), (epl_reduce_opts){ EPL_AXES(1) });
    return epl_add(g, flat, epl_affine(g, epl_reshape(g, sum, EPL_SHAPE(EPL_KEEP)), c, 0));
}

/* Inputs "w", "clean" (images), "y"; outputs: the gradient of J by w, x', and every classifier's logits. */
static epl_program *early_program(const epl_model *m, const epl_attack_opts *o, int64_t batch, int *n_exits)
{
    epl_raw raw;
    if (!epl_raw_open(m, o->run.augment, batch, &raw))
        return NULL;
    epl_graph *g = raw.graph;
    epl_value *w = epl_raw_input(&raw, "w"), *clean = epl_raw_input(&raw, "clean"), *y = epl_input(g, "y", EPL_I64, EPL_SHAPE(batch), NULL);
    epl_value *x = epl_affine(g, epl_tanh(g, w), 0.5, 0.5), *seen = epl_raw_normalise(&raw, x), *dw = NULL;
    bool ok = epl_raw_network(&raw, seen);
    *n_exits = raw.n_exits;
    if (ok && raw.n_exits < 2)
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no early exit to attack", epl_graph_name(m->graph));
    epl_value *each = ok ? epl_early_objective(g, raw.n_exits, raw.exits, y, seen, epl_raw_normalise(&raw, clean), o->c, o->alpha) : NULL;
    epl_value *sum  = ok ? epl_reduce_sum(g, each, (epl_reduce_opts){ 0 }) : NULL;
    ok = ok && epl_gradient(g, sum, 1, &w, &dw) && epl_output(g, "gradient", dw) && epl_output(g, "x", x);
    for (int i = 0; ok && i < raw.n_exits; i++)
        ok = epl_output(g, "logits", raw.exits[i]) != NULL;
    epl_remove_dead(g);
    epl_program *p = ok && epl_graph_finish(g) ? epl_program_new(g, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    epl_raw_close(&raw);
    return p;
}

/* ---- one batch, each image on its own ---- */

typedef struct early {
    epl_attack_opts o;
    epl_program    *p;
    int             n_exits;
    int64_t         batch, row;   /* elements of an image */
    float          *slow, *fast;  /* Adam's averages, [batch, row] */
    bool           *done;         /* [batch]: it is so */
    double          gradients;    /* that images needed, all together */
} early;

/* w of the image itself stands at infinity where a pixel is black or white, so these are moved inwards a little. */
static void start(early *e, epl_tensor *w, const epl_tensor *clean, epl_rng *r)
{
    const float *x = clean->data;
    float       *to = w->data;
    for (int64_t i = 0; i < e->batch * e->row; i++)
        to[i] = e->o.random_start ? epl_rng_uniform(r) : atanhf((2 * x[i] - 1) * 0.999f) + 0.01f * epl_rng_normal(r);
    memset(e->slow, 0, (size_t)(e->batch * e->row) * sizeof(float));
    memset(e->fast, 0, (size_t)(e->batch * e->row) * sizeof(float));
    memset(e->done, 0, (size_t)e->batch * sizeof(bool));
}

static void adam(early *e, int64_t image, float *w, const float *gradient, int step)
{
    const float rate = (float)(e->o.step_size / (1 - pow(0.9, step))), root = (float)(1 / sqrt(1 - pow(0.999, step)));
    for (int64_t i = image * e->row; i < (image + 1) * e->row; i++) {
        e->slow[i] = 0.9f * e->slow[i] + 0.1f * gradient[i];
        e->fast[i] = 0.999f * e->fast[i] + 0.001f * gradient[i] * gradient[i];
        w[i] -= rate * e->slow[i] / (sqrtf(e->fast[i]) * root + 1e-8f);
    }
}

static bool says(const epl_tensor *logits, int64_t image, int64_t y)
{
    const int64_t classes = logits->shape.dim[1];
    return epl_largest((const float *)logits->data + image * classes, classes) == y;
}

static bool is_fooled(const early *e, int64_t image, int64_t y)
{
    bool fooled = says(epl_program_output(e->p, 2 + e->n_exits - 1), image, y);
    for (int i = 0; fooled && i + 1 < e->n_exits; i++)
        fooled = !says(epl_program_output(e->p, 2 + i), image, y);
    return fooled;
}

/* The images of the batch's inputs "clean" and "y" are attacked; x' of each, as it was when it was done, goes to `out`. */
static bool attack_batch(early *e, int64_t count, float *out, epl_rng *r)
{
    epl_tensor    *w = epl_program_input_named(e->p, "w"), *clean = epl_program_input_named(e->p, "clean");
    const int64_t *y = epl_program_input_named(e->p, "y")->data;
    const size_t   bytes = (size_t)e->row * sizeof(float);
    int64_t        left = count;
    start(e, w, clean, r);
    for (int k = 1; left > 0 && k <= e->o.steps; k++) {
        if (!epl_program_run(e->p))
            return false;
        const float *gradient = epl_program_output(e->p, 0)->data, *x = epl_program_output(e->p, 1)->data;
        for (int64_t i = 0; i < count; i++) {
            if (e->done[i])
                continue;
            e->gradients++;
            memcpy(out + i * e->row, x + i * e->row, bytes);
            e->done[i] = k >= e->o.least && is_fooled(e, i, y[i]);
            left -= e->done[i];
            if (!e->done[i])
                adam(e, i, w->data, gradient, k);
        }
    }
    return true;
}

static bool run(early *e, const epl_model *m, const epl_tensor *x, const epl_tensor *logits, epl_tensor *out)
{
    const int64_t n = x->shape.dim[0];
    int64_t      *y = epl_program_input_named(e->p, "y")->data;
    epl_rng       r = epl_rng_at(e->o.seed, 0x6561726c79); // "early"
    bool          ok = true;
    for (int64_t i = 0, count; ok && i < n; i += count) {
        count = epl_raw_fill(x, i, epl_program_input_named(e->p, "clean"));
        for (int64_t k = 0; k < e->batch; k++)
            y[k] = epl_said(logits, e->n_exits - 1, k < count ? i + k : i);
        const epl_progress p = e->o.run.progress;
        ok = attack_batch(e, count, (float *)out->data + i * e->row, &r);
        if (ok && p.report && !p.report(p.user, "attack", (double)(i + count), (double)n))
            ok = epl_fail(m->ctx, EPL_ERR_INTERRUPTED, "stopped after %lld of %lld images", (long long)(i + count), (long long)n);
    }
    return ok;
}

epl_tensor *epl_attack_early(const epl_model *m, const epl_tensor *x, epl_attack_opts o, double *backward)
{
    const int64_t n = x->shape.dim[0];
    early         e = { .o = o, .batch = o.run.batch < n ? o.run.batch : n, .row = epl_tensor_count(x) / n };
    epl_tensor   *logits = epl_exit_logits(m, x, (epl_exit_opts){ .batch = e.batch, .augment = o.run.augment });
    epl_tensor   *out    = logits ? epl_tensor_new(m->ctx, EPL_F32, x->shape) : NULL;
    e.p    = out ? early_program(m, &o, e.batch, &e.n_exits) : NULL;
    e.slow = epl_alloc_array(m->ctx, (size_t)(e.batch * e.row), sizeof *e.slow);
    e.fast = epl_alloc_array(m->ctx, (size_t)(e.batch * e.row), sizeof *e.fast);
    e.done = epl_alloc_array(m->ctx, (size_t)e.batch, sizeof *e.done);
    const bool ok = e.p && e.slow && e.fast && e.done && run(&e, m, x, logits, out);
    if (backward)
        *backward = e.gradients / (double)n;
    epl_program_free(e.p);
    epl_release(m->ctx, e.slow);
    epl_release(m->ctx, e.fast);
    epl_release(m->ctx, e.done);
    epl_tensor_free(logits);
    if (ok)
        return out;
    epl_tensor_free(out);
    return NULL;
}
