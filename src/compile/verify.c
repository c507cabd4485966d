/* A compiled network against the library's program: the same samples through both, the outputs compared element by element. The
 * samples go to the compiled program as one file and come back as another, so that a whole test set is one run of it. */
#include "compile/emit.h"
#include "compile/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct check {
    epl_context       *ctx;
    epl_program       *p;
    const char        *dir;
    char               name[128]; /* as the artifact calls itself */
    const epl_target  *target;
    epl_verify_opts    v;
    epl_verify_result *out;
    int64_t            n_samples;
} check;

/* ---- building and running ---- */

/* The name stands in the first line of the artifact's Makefile; so `make clean` is never run in a folder of anything else. */
static bool read_name(check *c)
{
    static const char mark[] = ", compiled for ";
    epl_text path = EPL_TEXT(c->ctx);
    epl_map  file = { 0 };
    epl_text_addf(&path, "%s/Makefile", c->dir);
    bool ok = !path.failed;
    if (ok && epl_file_exists(epl_text_str(&path)) && (ok = epl_map_open(c->ctx, epl_text_str(&path), &file))) {
        const char  *line = (const char *)file.data, *end = memchr(line, '\n', file.size);
        const size_t n = end ? (size_t)(end - line) : 0;
        const char  *at = n > 2 ? memmem(line, n, mark, sizeof mark - 1) : NULL;
        if (at && strncmp(line, "# ", 2) == 0 && (size_t)(at - line) < sizeof c->name)
            memcpy(c->name, line + 2, (size_t)(at - line) - 2);
        epl_map_close(&file);
    }
    epl_text_release(&path);
    return ok && (*c->name || epl_fail(c->ctx, EPL_ERR_FORMAT,
                                       "'%s' holds no compiled network: it has no Makefile that was written with one", c->dir));
}

static bool build(check *c)
{
    const double start   = epl_now_s();
    const bool   foreign = epl_target_is_foreign(c->target);
    epl_text cc = EPL_TEXT(c->ctx), warnings = EPL_TEXT(c->ctx);
    epl_text_addf(&cc, "CC=%s", c->v.cc ? c->v.cc : foreign && c->target->cc ? c->target->cc : "gcc");
    epl_text_addf(&warnings, "WARNINGS=-std=c11 -pedantic -Wall %s", c->v.flags ? c->v.flags : "");
    const char *const clean[] = { "make", "-s", "clean", NULL };
    const char *const argv[] = { "make", "-s", "-j2", epl_text_str(&cc), epl_text_str(&warnings), foreign ? "LDFLAGS=-static" : "LDFLAGS=",
                                 NULL };
    const bool ok = !cc.failed && !warnings.failed && epl_process_run(c->ctx, c->dir, clean, NULL) &&
                    epl_process_run(c->ctx, c->dir, argv, NULL);
    epl_text_release(&cc);
    epl_text_release(&warnings);
    c->out->build_s = epl_now_s() - start;
    return ok;
}

/* The program with these arguments, under the runner if it needs one. */
static bool execute(check *c, const char *first, const char *second, const char *third, const char *fourth, epl_text *said)
{
    const char *runner = c->v.runner ? c->v.runner : epl_target_is_foreign(c->target) ? c->target->runner : NULL;
    const char *argv[7] = { NULL };
    int n = 0;
    epl_text path = EPL_TEXT(c->ctx);
    epl_text_addf(&path, "./%s", c->name);
    if (runner)
        argv[n++] = runner;
    argv[n++] = epl_text_str(&path);
    argv[n++] = first;
    argv[n++] = second;
    argv[n++] = third;
    argv[n++] = fourth;
    const bool ok = !path.failed && epl_process_run(c->ctx, c->dir, argv, said);
    epl_text_release(&path);
    return ok;
}

static bool measure(check *c)
{
    char     runs[24];
    epl_text said = EPL_TEXT(c->ctx);
    snprintf(runs, sizeof runs, "%d", c->v.bench_runs);
    const bool  ok = execute(c, "--bench", runs, NULL, NULL, &said);
    const char *at = ok ? strstr(epl_text_str(&said), "median_us ") : NULL;
    c->out->latency_us = at ? atof(at + strlen("median_us ")) : 0;
    epl_text_release(&said);
    return ok;
}

/* The least time of each sample, from the lines that the program writes. */
static bool measure_samples(check *c)
{
    epl_text path = EPL_TEXT(c->ctx);
    epl_map  map  = { 0 };
    epl_text_addf(&path, "%s/times.txt", c->dir);
    bool ok = !path.failed && execute(c, "--times", "5", "samples.bin", "times.txt", NULL) &&
              epl_map_open(c->ctx, epl_text_str(&path), &map);
    const char *at = ok ? (const char *)map.data : NULL, *end = at + map.size;
    for (int64_t k = 0; at && k < c->n_samples; k++) {
        char line[32] = "";
        size_t n = 0;
        while (at + n < end && at[n] != '\n' && n + 1 < sizeof line) {
            line[n] = at[n];
            n++;
        }
        c->v.sample_us[k] = atof(line);
        at += n + (at + n < end);
    }
    epl_map_close(&map);
    unlink(epl_text_str(&path));
    epl_text_release(&path);
    return ok;
}

/* ---- samples ---- */

static bool check_inputs(check *c)
{
    const int n = epl_program_n_inputs(c->p);
    c->n_samples = c->v.n_samples ? c->v.n_samples : 16;
    if (!c->v.inputs)
        return true;
    if (c->v.n_inputs != n)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%d inputs are given, the network has %d", c->v.n_inputs, n);
    for (int i = 0; i < n; i++) {
        const epl_tensor *t = epl_program_input(c->p, i), *given = c->v.inputs[i];
        const int64_t     each = epl_tensor_count(t), all = epl_tensor_count(given);
        if (!each && !all && i > 0)
            continue; // nothing for each sample
        if (given->dtype != t->dtype)
            return epl_fail(c->ctx, EPL_ERR_DTYPE, "input %d is %s, the network's is %s", i, epl_dtype_name(given->dtype),
                            epl_dtype_name(t->dtype));
        const int64_t samples = each ? all / each : 1;
        if (i == 0)
            c->n_samples = samples;
        if ((each && all % each) || samples != c->n_samples)
            return epl_fail(c->ctx, EPL_ERR_SHAPE, "input %d has %lld elements, %lld samples need %lld", i, (long long)all,
                            (long long)c->n_samples, (long long)(c->n_samples * each));
    }
    return true;
}

/* Sample k into the program's inputs: the same for every call. */
static void set_inputs(check *c, int64_t k)
{
    epl_rng r = epl_rng_at(c->v.seed, (uint64_t)k);
    for (int i = 0; i < epl_program_n_inputs(c->p); i++) {
        epl_tensor  *t     = epl_program_input(c->p, i);
        const size_t bytes = epl_tensor_bytes(t);
        if (!c->v.inputs)
            epl_tensor_draw(t, &r);
        else if (bytes)
            memcpy(t->data, (const char *)c->v.inputs[i]->data + (size_t)k * bytes, bytes);
    }
}

static bool write_samples(check *c, const char *path)
{
    epl_writer *w = epl_writer_open(c->ctx, path);
    for (int64_t k = 0; w && k < c->n_samples; k++) {
        set_inputs(c, k);
        for (int i = 0; i < epl_program_n_inputs(c->p); i++)
            epl_writer_write(w, epl_program_input(c->p, i)->data, epl_tensor_bytes(epl_program_input(c->p, i)));
    }
    return w && epl_writer_commit(w);
}

/* ---- comparison ---- */

static void compare(epl_output_difference *d, const epl_tensor *ours, const unsigned char *theirs)
{
    const epl_tensor view = { .dtype = ours->dtype, .shape = ours->shape, .data = (void *)(uintptr_t)theirs };
    epl_difference   e = { 0 };
    epl_tensor_compare(ours, &view, &e);
    d->max_abs = fmax(d->max_abs, e.max_abs);
    d->max_ulp = fmax(d->max_ulp, e.max_ulp);
    d->n_different += e.n_different;
}

/* The index of the largest number, as classifiers mean it. */
static int64_t label_of(const epl_tensor *t, const void *data)
{
    const epl_tensor view = { .dtype = t->dtype, .shape = t->shape, .data = (void *)(uintptr_t)data };
    int64_t best = 0;
    for (int64_t i = 1; i < epl_tensor_count(t); i++)
        if (epl_tensor_get(&view, i) > epl_tensor_get(&view, best))
            best = i;
    return best;
}

static bool compare_all(check *c, const char *path)
{
    epl_verify_result *r = c->out;
    size_t  each = 0;
    epl_map results;
    for (int i = 0; i < r->n_outputs; i++)
        each += epl_tensor_bytes(epl_program_output(c->p, i));
    if (!epl_map_open(c->ctx, path, &results))
        return false;
    bool ok = results.size == each * (size_t)c->n_samples ||
              epl_fail(c->ctx, EPL_ERR_FORMAT, "the compiled network wrote %zu bytes, %zu were expected", results.size,
                       each * (size_t)c->n_samples);
    const unsigned char *at = results.data;
    for (int64_t k = 0; ok && k < c->n_samples; k++) {
        set_inputs(c, k);
        ok = epl_program_run(c->p);
        if (ok && r->n_outputs &&
            label_of(epl_program_output(c->p, 0), epl_program_output(c->p, 0)->data) !=
                label_of(epl_program_output(c->p, 0), at))
            r->labels_different++;
        for (int i = 0; ok && i < r->n_outputs; i++) {
            compare(&r->outputs[i], epl_program_output(c->p, i), at);
            at += epl_tensor_bytes(epl_program_output(c->p, i));
        }
    }
    epl_map_close(&results);
    for (int i = 0; i < r->n_outputs; i++) {
        r->max_abs = fmax(r->max_abs, r->outputs[i].max_abs);
        r->max_ulp = fmax(r->max_ulp, r->outputs[i].max_ulp);
    }
    return ok;
}

static bool run_check(check *c)
{
    epl_text samples = EPL_TEXT(c->ctx), results = EPL_TEXT(c->ctx);
    epl_text_addf(&samples, "%s/samples.bin", c->dir);
    epl_text_addf(&results, "%s/results.bin", c->dir);
    bool ok = !samples.failed && !results.failed && check_inputs(c) && build(c) && write_samples(c, epl_text_str(&samples)) &&
              execute(c, "samples.bin", "results.bin", NULL, NULL, NULL) && compare_all(c, epl_text_str(&results));
    if (ok && c->v.bench_runs)
        ok = measure(c);
    if (ok && c->v.sample_us)
        ok = measure_samples(c);
    unlink(epl_text_str(&samples));
    unlink(epl_text_str(&results));
    epl_text_release(&samples);
    epl_text_release(&results);
    return ok;
}

bool epl_verify_artifact(const epl_model *m, const char *dir, epl_compile_opts o, epl_verify_opts v, epl_verify_result *out)
{
    *out = (epl_verify_result){ 0 };
    check c = { .ctx = m->ctx, .dir = dir, .v = v, .out = out };
    c.target = read_name(&c) ? epl_target_find(m->ctx, o.target) : NULL;
    epl_model *copy = c.target ? epl_model_copy(m) : NULL; // a step would change the model's weights
    c.p = copy ? epl_compile_program(copy, o, c.target, v.reference) : NULL;
    bool ok = c.p != NULL;
    if (ok) {
        out->n_outputs = epl_program_n_outputs(c.p);
        if (out->n_outputs > EPL_VERIFY_MAX_OUTPUTS)
            ok = epl_fail(m->ctx, EPL_ERR_LIMIT, "%d outputs; at most %d are compared", out->n_outputs, EPL_VERIFY_MAX_OUTPUTS);
    }
    for (int i = 0; ok && i < out->n_outputs; i++)
        out->outputs[i].name = epl_graph_output_name(m->graph, i);
    ok = ok && run_check(&c);
    out->n_samples = c.n_samples;
    epl_program_free(c.p);
    epl_model_free(copy);
    return ok;
}
