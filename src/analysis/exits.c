/* exits: networks with early exits - what every classifier says, where a sample leaves, and what that costs. */
#include <espalier/analysis.h>
#include <espalier/program.h>

#include "analysis/raw.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

/* ---- what they say ---- */

static bool copy_logits(epl_program *p, int exits, int64_t first, int64_t count, epl_tensor *out)
{
    const int64_t n = out->shape.dim[1], classes = out->shape.dim[2];
    for (int e = 0; e < exits; e++)
        memcpy((float *)out->data + (e * n + first) * classes, epl_program_output(p, e)->data, (size_t)(count * classes) * sizeof(float));
    return true;
}

static bool run_batches(epl_context *ctx, epl_program *p, const epl_tensor *x, int exits, const epl_exit_opts *o, epl_tensor *out)
{
    const int64_t n = x->shape.dim[0];
    for (int64_t i = 0, count; i < n; i += count) {
        count = epl_raw_fill(x, i, epl_program_input(p, 0));
        if (!epl_program_run(p) || !copy_logits(p, exits, i, count, out))
            return false;
        if (o->progress.report && !o->progress.report(o->progress.user, "answers", (double)(i + count), (double)n))
            return epl_fail(ctx, EPL_ERR_INTERRUPTED, "stopped after %lld of %lld samples", (long long)(i + count), (long long)n);
    }
    return true;
}

epl_tensor *epl_exit_logits(const epl_model *m, const epl_tensor *x, epl_exit_opts o)
{
    const int64_t n = x->shape.dim[0], most = o.batch > 0 ? o.batch : 64;
    epl_raw       raw;
    if (!epl_raw_open(m, o.augment, n < most ? n : most, &raw))
        return NULL;
    const epl_shape want = raw.shape;
    char a[192], b[192];
    bool ok = epl_raw_network(&raw, epl_raw_normalise(&raw, epl_raw_input(&raw, "x")));
    const epl_shape first = ok ? epl_shape_of(raw.exits[0]) : EPL_SCALAR;
    for (int e = 0; ok && e < raw.n_exits; e++) {
        char name[32];
        snprintf(name, sizeof name, "answer%d", e);
        epl_output(raw.graph, name, raw.exits[e]);
        if (epl_rank(raw.exits[e]) != 2 || epl_channels(raw.exits[e]) != first.dim[1])
            ok = epl_fail(m->ctx, EPL_ERR_SHAPE, "network '%s': classifier %d has results %s, the first one %s; [N, classes] of one size are needed",
                          m->graph->name, e, epl_shape_text(b, epl_shape_of(raw.exits[e])), epl_shape_text(a, first));
    }
    epl_remove_dead(raw.graph);
    epl_program *p = ok && epl_graph_finish(raw.graph) ? epl_program_new(raw.graph, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    if (p && epl_shape_count_from(x->shape, 1, x->shape.rank) != epl_shape_count_from(want, 1, want.rank)) {
        epl_fail(m->ctx, EPL_ERR_SHAPE, "network '%s' takes batches %s, the images are %s", m->graph->name, epl_shape_text(a, want),
                 epl_shape_text(b, x->shape));
        epl_program_free(p);
        p = NULL;
    }
    epl_tensor *out = p ? epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(raw.n_exits, n, first.dim[1])) : NULL;
    if (out && !run_batches(m->ctx, p, x, raw.n_exits, &o, out)) {
        epl_tensor_free(out);
        out = NULL;
    }
    epl_program_free(p);
    epl_raw_close(&raw);
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
        return epl_fail(g->ctx, EPL_ERR_SHAPE, "logits of %lld classifiers for %lld samples, but the network has %d and there are %lld labels",
                        (long long)exits, (long long)n, epl_n_exits(g), (long long)epl_tensor_count(labels));
    }
    const size_t size = (size_t)exits * sizeof(double);
    out->exit_accuracy = epl_arena_alloc(out->arena, size);
    out->share         = epl_arena_alloc(out->arena, size);
    out->macs          = epl_arena_alloc(out->arena, size);
    out->taken         = epl_arena_alloc(out->arena, (size_t)(n + 1) * sizeof *out->taken);
    out->predicted     = epl_arena_alloc(out->arena, (size_t)(n + 1) * sizeof *out->predicted);
    if (!out->exit_accuracy || !out->share || !out->macs || !out->taken || !out->predicted || !epl_exit_macs(g, out->macs)) {
        epl_exit_report_release(out);
        return false;
    }
    epl_exit_decide(logits, rule, out->taken, out->predicted);
    for (int64_t i = 0; i < n; i++) {
        const int at = out->taken[i];
        out->accuracy += (out->predicted[i] == y[i]) / (double)n;
        out->share[at] += 1 / (double)n;
        out->mean_exit += at / (double)n;
        out->mean_macs += out->macs[at] / (double)n;
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
