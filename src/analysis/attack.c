/* attack: adversarial images by the sign of the gradient - FGSM, Goodfellow et al. 2015 (arXiv:1412.6572), and PGD,
 * Madry et al. 2018 (arXiv:1706.06083) - against any network, and what comes of an attack. The attack on early exits
 * is in attack_early.c. */
#include "analysis/attack.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

#include <math.h>
#include <string.h>

static const char *const kind_names[] = { "fgsm", "pgd", "early" }, *const loss_names[] = { "sum", "final", "taken" };

static int find_name(epl_context *ctx, const char *what, const char *const *names, const char *name)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no %s is named '%s'; there are %s, %s and %s", what, name, names[0], names[1], names[2]);
    return -1;
}

bool epl_attack_kind_from_name(epl_context *ctx, const char *name, epl_attack_kind *out)
{
    const int i = find_name(ctx, "attack", kind_names, name);
    *out = i < 0 ? EPL_ATTACK_FGSM : (epl_attack_kind)i;
    return i >= 0;
}

bool epl_attack_loss_from_name(epl_context *ctx, const char *name, epl_attack_loss *out)
{
    const int i = find_name(ctx, "loss of an attack", loss_names, name);
    *out = i < 0 ? EPL_ATTACK_SUM : (epl_attack_loss)i;
    return i >= 0;
}

/* ---- the gradient of the loss by the images ---- */

/* Inputs "x", "target" [B], "weights" [B, exits]: how much each classifier's cross-entropy counts. Output: the gradient. */
static epl_program *gradient_program(const epl_model *m, const epl_attack_opts *o, int64_t batch)
{
    epl_raw raw;
    if (!epl_raw_open(m, o->run.augment, batch, &raw))
        return NULL;
    epl_graph *g = raw.graph;
    epl_value *x = epl_raw_input(&raw, "x"), *target = epl_input(g, "target", EPL_I64, EPL_SHAPE(batch), NULL), *loss = NULL, *dx = NULL;
    epl_value *weights = o->loss == EPL_ATTACK_TAKEN ? epl_input(g, "weights", EPL_F32, EPL_SHAPE(batch, raw.n_exits), NULL) : NULL;
    if (!epl_raw_network(&raw, epl_raw_normalise(&raw, x)))
        raw.n_exits = 0;
    for (int i = o->loss == EPL_ATTACK_FINAL ? raw.n_exits - 1 : 0; i < raw.n_exits; i++) {
        epl_value *each = epl_softmax_cross_entropy(g, raw.exits[i], target, (epl_cross_entropy_opts){ .reduction = EPL_NONE });
        if (weights)
            each = epl_mul(g, each, epl_reshape(g, epl_slice_axis(g, weights, 1, i, i + 1), EPL_SHAPE(EPL_KEEP)));
        epl_value *sum = epl_reduce_sum(g, each, (epl_reduce_opts){ 0 });
        loss = loss ? epl_add(g, loss, sum) : sum;
    }
    const bool ok = loss && epl_tune_batch_norms(g, NULL, NULL) && epl_gradient(g, loss, 1, &x, &dx) && epl_output(g, "gradient", dx);
    epl_remove_dead(g);
    epl_program *p = ok && epl_graph_finish(g) ? epl_program_new(g, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    epl_raw_close(&raw);
    return p;
}

/* ---- one batch ---- */

static float within(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* One step, and back into eps around x and into [0, 1]. */
static void ascend(float *at, const float *x, const float *gradient, int64_t n, float step, float eps)
{
    for (int64_t i = 0; i < n; i++) {
        const float sign = (float)(gradient[i] > 0) - (float)(gradient[i] < 0);
        at[i] = within(within(at[i] + step * sign, x[i] - eps, x[i] + eps), 0, 1);
    }
}

static void start_around(epl_tensor *at, const epl_tensor *x, double eps, epl_rng *r)
{
    const float *from = x->data;
    float       *to   = at->data;
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        to[i] = within(from[i] + (float)eps * (2 * epl_rng_uniform(r) - 1), 0, 1);
}

typedef struct climb {
    const epl_model *m;
    epl_attack_opts  o;
    epl_program     *p;
    epl_answers      answers; /* of the loss "taken": what each classifier says now, which decides where an image leaves */
    epl_tensor      *logits;  /* of a batch */
    int             *taken;
    epl_tensor      *clean;   /* the batch's images as they are */
    bool             reached; /* some gradient was not zero */
} climb;

static bool open_answers(climb *c)
{
    const epl_tensor *weights = epl_program_input_named(c->p, "weights");
    if (!weights)
        return true;
    const int64_t batch = weights->shape.dim[0];
    if (!epl_answers_open(c->m, c->o.run.augment, batch, &c->answers))
        return false;
    c->logits = epl_tensor_new(c->m->ctx, EPL_F32, EPL_SHAPE(c->answers.n_exits, batch, c->answers.classes));
    c->taken  = epl_alloc_array(c->m->ctx, (size_t)batch, sizeof *c->taken);
    return c->logits && c->taken;
}

/* Where each image of the batch leaves now, as weights of the classifiers' losses. */
static bool weigh_taken(climb *c, const epl_tensor *at, epl_tensor *weights)
{
    if (!epl_answers_to(&c->answers, at, (epl_progress){ 0 }, c->logits))
        return false;
    epl_exit_decide(c->logits, c->o.rule, c->taken, NULL, NULL);
    memset(weights->data, 0, epl_tensor_bytes(weights));
    for (int64_t i = 0; i < weights->shape.dim[0]; i++)
        ((float *)weights->data)[i * weights->shape.dim[1] + c->taken[i]] = 1;
    return true;
}

static bool climb_batch(climb *c, epl_rng *r)
{
    epl_tensor    *at = epl_program_input_named(c->p, "x"), *weights = epl_program_input_named(c->p, "weights");
    const int64_t  n = epl_tensor_count(at);
    const bool     once = c->o.kind == EPL_ATTACK_FGSM;
    if (c->o.random_start && !once)
        start_around(at, c->clean, c->o.eps, r);
    for (int k = 0; k < (once ? 1 : c->o.steps); k++) {
        if ((weights && !weigh_taken(c, at, weights)) || !epl_program_run(c->p))
            return false;
        const float *gradient = epl_program_output(c->p, 0)->data;
        for (int64_t i = 0; i < n && !c->reached; i++)
            c->reached = gradient[i] != 0;
        ascend(at->data, c->clean->data, gradient, n, (float)(once ? c->o.eps : c->o.step_size), (float)c->o.eps);
    }
    return true;
}

static bool run_climb(climb *c, const epl_tensor *x, const epl_tensor *labels, epl_tensor *out)
{
    const int64_t n = x->shape.dim[0];
    epl_tensor   *at = epl_program_input_named(c->p, "x"), *target = epl_program_input_named(c->p, "target");
    const size_t  row = epl_tensor_bytes(x) / (size_t)n;
    epl_rng       r = epl_rng_at(c->o.seed, 0x617474616b); // "attak"
    c->clean = epl_tensor_new(c->m->ctx, EPL_F32, at->shape);
    for (int64_t i = 0, count; c->clean && i < n; i += count) {
        count = epl_raw_fill(x, i, c->clean);
        for (int64_t k = 0; k < at->shape.dim[0]; k++)
            ((int64_t *)target->data)[k] = ((const int64_t *)labels->data)[k < count ? i + k : i];
        memcpy(at->data, c->clean->data, epl_tensor_bytes(at));
        if (!climb_batch(c, &r))
            return false;
        memcpy((char *)out->data + (size_t)i * row, at->data, (size_t)count * row);
        const epl_progress p = c->o.run.progress;
        if (p.report && !p.report(p.user, "attack", (double)(i + count), (double)n))
            return epl_fail(c->m->ctx, EPL_ERR_INTERRUPTED, "stopped after %lld of %lld images", (long long)(i + count), (long long)n);
    }
    return c->clean && (c->reached || epl_fail(c->m->ctx, EPL_ERR_UNSUPPORTED,
                                               "network '%s': no gradient reaches the images; an integer-quantised "
                                               "network rounds it away: attack the network that it was made from",
                                               epl_graph_name(c->m->graph)));
}

static epl_tensor *climb_images(const epl_model *m, const epl_tensor *x, const epl_tensor *labels, epl_attack_opts o, double *backward)
{
    const int64_t n = x->shape.dim[0];
    climb       c = { .m = m, .o = o, .p = gradient_program(m, &o, o.run.batch < n ? o.run.batch : n) };
    epl_tensor *out = c.p ? epl_tensor_new(m->ctx, EPL_F32, x->shape) : NULL;
    const bool  ok = out && open_answers(&c) && run_climb(&c, x, labels, out);
    if (backward)
        *backward = o.kind == EPL_ATTACK_FGSM ? 1 : o.steps;
    epl_answers_close(&c.answers);
    epl_tensor_free(c.logits);
    epl_release(m->ctx, c.taken);
    epl_tensor_free(c.clean);
    epl_program_free(c.p);
    if (ok)
        return out;
    epl_tensor_free(out);
    return NULL;
}

/* ---- any attack ---- */

static bool check(const epl_model *m, const epl_tensor *x, const epl_tensor *labels, const epl_attack_opts *o)
{
    const epl_value *in = epl_graph_input_at(m->graph, 0);
    const epl_shape  want = in ? epl_shape_of(in) : EPL_SCALAR;
    const float     *v = x->data;
    char a[192], b[192];
    if (!(o->eps >= 0) || o->steps < 1 || !(o->step_size >= 0))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                        "attack: eps %g, %d steps of %g; eps and step are at least 0, steps at least 1", o->eps,
                        o->steps, o->step_size);
    if (x->dtype != EPL_F32 || x->shape.rank != want.rank || x->shape.dim[0] < 1 ||
        epl_shape_count_from(x->shape, 1, x->shape.rank) != epl_shape_count_from(want, 1, want.rank))
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "attack: network '%s' takes batches %s, the images are %s", epl_graph_name(m->graph),
                        epl_shape_text(a, want), epl_shape_text(b, x->shape));
    if (labels->dtype != EPL_I64 || epl_tensor_count(labels) != x->shape.dim[0])
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "attack: %lld labels for %lld images",
                        (long long)epl_tensor_count(labels), (long long)x->shape.dim[0]);
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        if (!(v[i] >= 0 && v[i] <= 1))
            return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "attack: images have to lie in [0, 1], element %lld is %g",
                            (long long)i, (double)v[i]);
    return true;
}

static epl_attack_opts with_defaults(epl_attack_opts o)
{
    const bool early = o.kind == EPL_ATTACK_EARLY;
    o.run.batch = o.run.batch > 0 ? o.run.batch : 64;
    o.steps     = o.steps ? o.steps : early ? 1000 : 20;
    o.step_size = o.step_size != 0 ? o.step_size : early ? 0.01 : 2.0 / 255;
    o.c         = o.c != 0 ? o.c : 50;
    o.alpha     = o.alpha != 0 ? o.alpha : 1;
    o.least     = o.least ? o.least : 200;
    return o;
}

epl_tensor *epl_attack_images(const epl_model *m, const epl_tensor *x, const epl_tensor *labels, epl_attack_opts o, double *backward)
{
    o = with_defaults(o);
    if (!check(m, x, labels, &o))
        return NULL;
    return o.kind == EPL_ATTACK_EARLY ? epl_attack_early(m, x, o, backward) : climb_images(m, x, labels, o, backward);
}

/* ---- what came of it ---- */

static void measure_change(epl_attack_result *r)
{
    const int64_t n = r->n, row = epl_tensor_count(r->x) / n;
    const float  *a = r->x->data, *b = r->adversarial->data;
    for (int64_t i = 0; i < n; i++) {
        double square = 0;
        for (int64_t k = i * row; k < (i + 1) * row; k++) {
            const double d = (double)b[k] - (double)a[k];
            square += d * d;
            r->linf = fmax(r->linf, fabs(d));
        }
        r->l2 += sqrt(square) / (double)n;
        r->rms += sqrt(square / (double)row) / (double)n;
    }
}

/* From fresh answers alone, whatever the attack believes. */
static void judge(epl_attack_result *r, epl_attack_kind kind)
{
    const int last = r->clean.n_exits - 1;
    int64_t   hit = 0, asked = 0, wrong = 0;
    for (int64_t i = 0; i < r->n; i++) {
        const int64_t label = ((const int64_t *)r->labels->data)[i], y = epl_said(r->logits, last, i);
        if (kind == EPL_ATTACK_EARLY) {
            const bool kept = epl_said(r->attacked_logits, last, i) == y;
            r->fooled[i] = kept;
            for (int e = 0; e < last; e++)
                r->fooled[i] = r->fooled[i] && epl_said(r->attacked_logits, e, i) != y;
            wrong += kept && r->attacked.predicted[i] != y;
            asked++;
        } else {
            const bool right = r->clean.predicted[i] == label;
            r->fooled[i] = right && r->attacked.predicted[i] != label;
            asked += right;
        }
        hit += r->fooled[i];
    }
    r->success    = asked ? (double)hit / (double)asked : NAN;
    r->wrong_exit = kind == EPL_ATTACK_EARLY ? (double)wrong / (double)r->n : NAN;
    r->exit_shift = r->attacked.mean_exit - r->clean.mean_exit;
    r->cost_ratio = r->attacked.mean_macs / r->clean.mean_macs;
}

bool epl_attack(const epl_model *m, epl_dataset *d, epl_attack_opts o, epl_attack_result *out)
{
    *out = (epl_attack_result){ .ctx = m->ctx };
    const epl_exit_opts quiet = { .batch = o.run.batch, .augment = o.run.augment };
    if (!epl_raw_images(m, d, o.run.augment, &out->x, &out->labels))
        return false;
    out->n = out->x->shape.dim[0];
    const double start = epl_now_s();
    out->adversarial = epl_attack_images(m, out->x, out->labels, o, &out->backward);
    out->seconds     = epl_now_s() - start;
    out->logits          = out->adversarial ? epl_exit_logits(m, out->x, quiet) : NULL;
    out->attacked_logits = out->logits ? epl_exit_logits(m, out->adversarial, quiet) : NULL;
    out->fooled          = epl_alloc_array(m->ctx, (size_t)out->n + 1, sizeof *out->fooled);
    const bool ok = out->attacked_logits && out->fooled && epl_exit_report_of(m->graph, out->logits, out->labels, o.rule, &out->clean) &&
                    epl_exit_report_of(m->graph, out->attacked_logits, out->labels, o.rule, &out->attacked);
    if (ok) {
        measure_change(out);
        judge(out, o.kind);
    } else
        epl_attack_result_release(out);
    return ok;
}

void epl_attack_result_release(epl_attack_result *r)
{
    epl_tensor_free(r->x);
    epl_tensor_free(r->adversarial);
    epl_tensor_free(r->labels);
    epl_tensor_free(r->logits);
    epl_tensor_free(r->attacked_logits);
    epl_exit_report_release(&r->clean);
    epl_exit_report_release(&r->attacked);
    if (r->ctx)
        epl_release(r->ctx, r->fooled);
    *r = (epl_attack_result){ 0 };
}
