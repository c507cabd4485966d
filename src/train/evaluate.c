/* evaluate: a network in inference mode over a data set. The program is made once and refreshed when the weights have
 * changed, so that a trainer validates with the one that it made at the beginning. */
#include "train/train.h"

#include <espalier/passes.h>

#include <string.h>

struct epl_evaluator {
    epl_context *ctx;
    epl_dataset *data;
    epl_loader  *loader;
    epl_program *program;
    epl_tensor  *x, *target, *weights, *logits, *loss;
    epl_progress progress;
    epl_tally    tally;
};

/* ---- augmentation without chance ---- */

char *epl_augment_fixed_words(epl_context *ctx, const char *words)
{
    epl_text kept = EPL_TEXT(ctx);
    for (const char *w = words ? words : ""; *w;) {
        const size_t n = strcspn(w, ","), name = strcspn(w, ":,");
        char key[32] = "";
        memcpy(key, w, name < sizeof key ? name : sizeof key - 1);
        if (epl_glob("normalise,resize,centre-crop,gray,rgb", key)) {
            epl_text_add(&kept, kept.length ? "," : "");
            epl_text_add_bytes(&kept, w, n);
        }
        w += n + (w[n] == ',');
    }
    return kept.length ? epl_text_detach(&kept) : epl_strdup(ctx, "");
}

/* ---- what a loader gives against what a network takes ---- */

epl_shape epl_batch_target_shape(const epl_dataset_info *info, epl_shape x)
{
    epl_shape s = info->y_shape;
    for (int i = s.rank; i > 0; i--)
        s.dim[i] = s.dim[i - 1];
    s.rank++;
    s.dim[0] = x.dim[0];
    for (int i = 1; info->y_dtype == EPL_I64 && i < s.rank && i < x.rank; i++)
        s.dim[i] = x.dim[i]; // a class per pixel moves with the picture
    return s;
}

bool epl_check_input(const epl_graph *model, const epl_dataset_info *info, epl_shape x)
{
    const epl_value *v = epl_graph_input_at(model, 0);
    epl_shape want = v ? epl_shape_of(v) : EPL_SCALAR;
    const epl_dtype type = info->x_dtype == EPL_I64 ? EPL_I64 : EPL_F32;
    char is[192], takes[192];
    if (want.rank)
        want.dim[0] = x.dim[0];
    if (v && epl_shape_equal(want, x) && epl_dtype_of(v) == type)
        return true;
    want.dim[0] = x.dim[0] = 1;
    return epl_fail(epl_graph_context(model), EPL_ERR_SHAPE, "network '%s' takes samples %s%s, data set '%s' gives %s%s (a batch of "
                    "one is shown)", epl_graph_name(model), v ? epl_dtype_name(epl_dtype_of(v)) : "", epl_shape_text(takes, want),
                    info->name, epl_dtype_name(type), epl_shape_text(is, x));
}

/* ---- the evaluator ---- */

static epl_graph *graph_of(const epl_model *m, epl_dataset_info info, epl_shape x, epl_evaluate_opts o)
{
    epl_graph  *g = epl_graph_new(m->ctx, epl_graph_name(m->graph));
    const int   n = epl_graph_n_outputs(m->graph);
    epl_value **outputs = epl_alloc_array(m->ctx, (size_t)n + 1, sizeof *outputs), *in = g ? epl_batch_input(g, m->graph, x.dim[0]) : NULL;
    bool ok = outputs && in && epl_inline_network(g, m->graph, in, outputs, o.averaged ? "ema." : NULL);
    if (ok) {
        o.loss.smoothing  = 0;
        epl_value *target = epl_target_input(g, outputs[0], info.y_dtype, epl_batch_target_shape(&info, x));
        epl_value *weight = epl_input(g, "weights", EPL_F32, EPL_SHAPE(x.dim[0]), NULL);
        epl_output(g, "logits", outputs[0]);
        epl_output(g, "loss", epl_loss(g, outputs[0], target, weight, o.loss));
        ok = epl_graph_finish(g);
    }
    epl_release(m->ctx, outputs);
    if (!ok)
        epl_graph_free(g);
    return ok ? g : NULL;
}

static bool make_program(epl_evaluator *e, const epl_model *m, epl_dataset_info info, epl_evaluate_opts o)
{
    const epl_shape x = epl_loader_x_shape(e->loader);
    epl_graph *g = epl_check_input(m->graph, &info, x) ? graph_of(m, info, x, o) : NULL;
    e->program   = g ? epl_program_new(g, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    epl_graph_free(g);
    if (!e->program)
        return false;
    e->x       = epl_program_input(e->program, 0);
    e->target  = epl_program_input_named(e->program, "target");
    e->weights = epl_program_input_named(e->program, "weights");
    e->logits  = epl_program_output_named(e->program, "logits");
    e->loss    = epl_program_output_named(e->program, "loss");
    return true;
}

epl_evaluator *epl_evaluator_new(const epl_model *m, epl_dataset *d, epl_evaluate_opts o)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    epl_evaluator *e = epl_alloc(m->ctx, sizeof *e);
    if (!e)
        return NULL;
    *e = (epl_evaluator){ .ctx = m->ctx, .data = d, .progress = o.progress };
    const int64_t own = epl_own_batch(m->graph), batch = o.batch ? o.batch : own ? own : 64;
    const char   *words = o.augment ? o.augment : epl_weights_metadata(m->weights, "espalier.augment");
    epl_loader_opts lo = { .batch = batch < info.count ? batch : info.count, .augment = words };
    e->loader = epl_loader_new(m->ctx, d, lo);
    if (!e->loader || !make_program(e, m, info, o) || !epl_tally_init(m->ctx, &e->tally, info.n_classes)) {
        epl_evaluator_free(e);
        return NULL;
    }
    return e;
}

void epl_evaluator_free(epl_evaluator *e)
{
    if (!e)
        return;
    epl_program_free(e->program);
    epl_loader_free(e->loader);
    epl_tally_release(&e->tally);
    epl_release(e->ctx, e);
}

const epl_tally *epl_evaluator_tally(const epl_evaluator *e) { return &e->tally; }

static void take_logits(const epl_evaluator *e, const epl_batch *b, int64_t first, epl_tensor *all)
{
    const size_t row = epl_tensor_bytes(e->logits) / (size_t)e->logits->shape.dim[0];
    memcpy((char *)all->data + (size_t)first * row, e->logits->data, (size_t)b->n_valid * row);
}

bool epl_evaluator_run(epl_evaluator *e, epl_tensor *logits, epl_metrics *out)
{
    const int64_t steps = epl_loader_steps(e->loader), count = epl_dataset_info_of(e->data).count;
    epl_batch     b;
    double        shown = 0;
    epl_tally_clear(&e->tally);
    if (!epl_program_refresh(e->program) || !epl_loader_seek(e->loader, 0, 0))
        return false;
    for (int64_t i = 0; i < steps; i++) {
        if (!epl_loader_next(e->loader, &b))
            return false;
        memcpy(e->x->data, b.x->data, epl_tensor_bytes(e->x));
        memcpy(e->target->data, b.labels->data, epl_tensor_bytes(e->target));
        memcpy(e->weights->data, b.weights->data, epl_tensor_bytes(e->weights));
        if (!epl_program_run(e->program))
            return false;
        if (logits)
            take_logits(e, &b, e->tally.samples, logits);
        epl_tally_add(&e->tally, epl_tensor_get(e->loss, 0), e->logits, b.labels, b.n_valid);
        if (e->progress.report && (epl_now_s() - shown > 0.1 || i + 1 == steps)) {
            shown = epl_now_s();
            if (!e->progress.report(e->progress.user, "evaluation", (double)e->tally.samples, (double)count))
                return epl_fail(e->ctx, EPL_ERR_INTERRUPTED, "evaluation stopped after %lld of %lld samples",
                                (long long)e->tally.samples, (long long)count);
        }
    }
    *out = epl_tally_metrics(&e->tally);
    return true;
}

/* ---- once ---- */

bool epl_evaluate(const epl_model *m, epl_dataset *d, epl_evaluate_opts o, epl_evaluation *out)
{
    *out = (epl_evaluation){ .n_classes = epl_dataset_info_of(d).n_classes };
    epl_evaluator *e = epl_evaluator_new(m, d, o);
    bool ok = e != NULL;
    if (ok && o.keep_logits) {
        epl_shape s = e->logits->shape;
        s.dim[0] = epl_dataset_info_of(d).count;
        out->logits = epl_tensor_new(m->ctx, e->logits->dtype, s);
        ok = out->logits != NULL;
    }
    ok = ok && epl_evaluator_run(e, out->logits, &out->metrics);
    if (ok) {
        out->confusion    = e->tally.confusion;
        e->tally.confusion = NULL;
    } else
        epl_evaluation_release(m->ctx, out);
    epl_evaluator_free(e);
    return ok;
}

void epl_evaluation_release(epl_context *ctx, epl_evaluation *e)
{
    epl_release(ctx, e->confusion);
    epl_tensor_free(e->logits);
    *e = (epl_evaluation){ 0 };
}
