/* exits: networks with early exits - what every classifier says, where a sample leaves, and what that costs. */
#include <espalier/analysis.h>
#include <espalier/program.h>

#include "analysis/raw.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

/* ---- what they say ---- */

static bool output_answers(epl_raw *raw)
{
    const epl_shape first = epl_shape_of(raw->exits[0]);
    char a[192], b[192], name[32];
    for (int e = 0; e < raw->n_exits; e++) {
        if (epl_rank(raw->exits[e]) != 2 || epl_channels(raw->exits[e]) != first.dim[1])
            return epl_fail(
                raw->model->ctx, EPL_ERR_SHAPE,
                "network '%s': classifier %d has results %s, the first one %s; [N, classes] of one size are "
                "needed",
                raw->model->graph->name, e, epl_shape_text(b, epl_shape_of(raw->exits[e])), epl_shape_text(a, first));
        snprintf(name, sizeof name, "answer%d", e);
        epl_output(raw->graph, name, raw->exits[e]);
    }
    epl_remove_dead(raw->graph);
    return epl_graph_finish(raw->graph);
}

bool epl_answers_open(const epl_model *m, const char *augment, int64_t batch, epl_answers *out)
{
    epl_raw raw;
    *out = (epl_answers){ .model = m };
    if (!epl_raw_open(m, augment, batch, &raw))
        return false;
    if (epl_raw_network(&raw, epl_raw_normalise(&raw, epl_raw_input(&raw, "x"))) && output_answers(&raw)) {
        out->n_exits = raw.n_exits;
        out->classes = epl_channels(raw.exits[0]);
        out->program = epl_program_new(raw.graph, m->weights, (epl_program_opts){ .frozen = true });
    }
    epl_raw_close(&raw);
    return out->program != NULL;
}

void epl_answers_close(epl_answers *a) { epl_program_free(a->program); }

static void copy_logits(const epl_answers *a, int64_t first, int64_t count, epl_tensor *out)
{
    const int64_t n = out->shape.dim[1];
    for (int e = 0; e < a->n_exits; e++)
        memcpy((float *)out->data + (e * n + first) * a->classes, epl_program_output(a->program, e)->data,
               (size_t)(count * a->classes) * sizeof(float));
}

bool epl_answers_to(const epl_answers *a, const epl_tensor *x, epl_progress progress, epl_tensor *out)
{
    epl_tensor     *in = epl_program_input(a->program, 0);
    const epl_shape want = in->shape;
    const int64_t   n = x->shape.dim[0];
    char            is[192], wanted[192];
    if (epl_shape_count_from(x->shape, 1, x->shape.rank) != epl_shape_count_from(want, 1, want.rank))
        return epl_fail(a->model->ctx, EPL_ERR_SHAPE, "network '%s' takes batches %s, the images are %s", a->model->graph->name,
                        epl_shape_text(wanted, want), epl_shape_text(is, x->shape));
    for (int64_t i = 0, count; i < n; i += count) {
        count = epl_raw_fill(x, i, in);
        if (!epl_program_run(a->program))
            return false;
        copy_logits(a, i, count, out);
        if (progress.report && !progress.report(progress.user, "answers", (double)(i + count), (double)n))
            return epl_fail(a->model->ctx, EPL_ERR_INTERRUPTED, "stopped after %lld of %lld samples", (long long)(i + count), (long long)n);
    }
    return true;
}

epl_tensor *epl_exit_logits(const epl_model *m, const epl_tensor *x, epl_exit_opts o)
{
    const int64_t n = x->shape.dim[0], most = o.batch > 0 ? o.batch : 64;
    epl_answers   a;
    epl_tensor   *out = epl_answers_open(m, o.augment, n < most ? n : most, &a)
                            ? epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(a.n_exits, n, a.classes))
                            : NULL;
    if (out && !epl_answers_to(&a, x, o.progress, out)) {
        epl_tensor_free(out);
        out = NULL;
    }
    epl_answers_close(&a);
    return out;
}

epl_tensor *epl_exit_answers(const epl_model *m, epl_dataset *d, epl_exit_opts o, epl_tensor **labels)
{
    epl_tensor *x;
    if (!epl_raw_images(m, d, o.augment, &x, labels))
        return NULL;
    epl_tensor *z = epl_exit_logits(m, x, o);
    epl_tensor_free(x);
    if (!z) {
        epl_tensor_free(*labels);
        *labels = NULL;
    }
    return z;
}

int64_t epl_largest(const float *z, int64_t n)
{
    int64_t best = 0;
    for (int64_t k = 1; k < n; k++)
        if (z[k] > z[best])
            best = k;
    return best;
}

int64_t epl_said(const epl_tensor *logits, int exit, int64_t i)
{
    const int64_t n = logits->shape.dim[1], classes = logits->shape.dim[2];
    return epl_largest((const float *)logits->data + (exit * n + i) * classes, classes);
}

/* ---- the report ---- */

bool epl_exit_report_of(const epl_graph *g, const epl_tensor *logits, const epl_tensor *labels, epl_exit_rule rule, epl_exit_report *out)
{
    const int64_t  exits = logits->shape.dim[0], n = logits->shape.dim[1];
    const int64_t *y = labels->data;
    *out = (epl_exit_report){ .n_exits = (int)exits, .n = n, .arena = epl_arena_new(g->ctx) };
    if (!out->arena)
        return false;
    if (exits != epl_n_exits(g) || epl_tensor_count(labels) != n || labels->dtype != EPL_I64) {
        epl_exit_report_release(out);
        return epl_fail(g->ctx, EPL_ERR_SHAPE,
                        "logits of %lld classifiers for %lld samples, but the network has %d and there are %lld labels",
                        (long long)exits, (long long)n, epl_n_exits(g), (long long)epl_tensor_count(labels));
    }
    const size_t size = (size_t)exits * sizeof(double);
    out->exit_accuracy = epl_arena_alloc(out->arena, size);
    out->speaks        = epl_arena_alloc(out->arena, size);
    out->leave         = epl_arena_alloc(out->arena, size);
    out->macs          = epl_arena_alloc(out->arena, size);
    out->taken         = epl_arena_alloc(out->arena, (size_t)(n + 1) * sizeof *out->taken);
    out->computed      = epl_arena_alloc(out->arena, (size_t)(n + 1) * sizeof *out->computed);
    out->predicted     = epl_arena_alloc(out->arena, (size_t)(n + 1) * sizeof *out->predicted);
    if (!out->exit_accuracy || !out->speaks || !out->leave || !out->macs || !out->taken || !out->computed ||
        !out->predicted || !epl_exit_macs(g, out->macs)) {
        epl_exit_report_release(out);
        return false;
    }
    epl_exit_decide(logits, rule, out->taken, out->predicted, out->computed);
    for (int64_t i = 0; i < n; i++) {
        const int at = out->taken[i], end = out->computed[i];
        out->accuracy += (out->predicted[i] == y[i]) / (double)n;
        out->speaks[at] += 1 / (double)n;
        out->leave[end] += 1 / (double)n;
        out->mean_exit += at / (double)n;
        out->mean_macs += out->macs[end] / (double)n;
        for (int e = 0; e < exits; e++)
            out->exit_accuracy[e] += (epl_said(logits, e, i) == y[i]) / (double)n;
    }
    return true;
}

void epl_exit_report_release(epl_exit_report *r)
{
    epl_arena_free(r->arena);
    *r = (epl_exit_report){ 0 };
}
