/* Every path of a dynamic network: which of them samples take, how often and at what cost; and the compiled network
 * against reference kernels on each, with samples that take it or, where none does, with choices that are forced. */
#include "compile/force.h"

#include <espalier/compile.h>
#include <espalier/passes.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EACH = 4, MOST_FORCED = 64, N_NAME = 240 };

typedef struct checking {
    epl_context    *ctx;
    epl_paths_opts  o;
    epl_model      *m;       /* with the input "force" */
    epl_paths      *out;
    int             n_inputs, n_choices, n_regions;
    epl_choice     *choices;
    int64_t         n_samples, n_runs, cap_runs;
    int64_t        *sample;  /* of each run that is compared: the sample */
    int64_t        *forced;  /* and the choices, n_choices for each */
    size_t          cap_sample, cap_forced;
    bool           *reached; /* by region, by anything */
} checking;

/* ---- running ---- */

static const epl_tensor *given(const checking *c, int input) { return input == 0 ? c->o.x : NULL; }

/* A sample's inputs; random ones are the same for every call. */
static void set_input(const checking *c, int input, int64_t sample, void *to, const epl_value *v)
{
    epl_tensor t = { .dtype = v->dtype, .shape = v->shape, .data = to };
    epl_rng    r = epl_rng_at(c->o.seed + (uint64_t)input, (uint64_t)sample);
    if (given(c, input))
        memcpy(to, (const char *)given(c, input)->data + (size_t)sample * epl_tensor_bytes(&t), epl_tensor_bytes(&t));
    else
        epl_tensor_draw(&t, &r);
}

static bool run(checking *c, int64_t sample, const int64_t *forced)
{
    epl_program *p = c->out->program;
    for (int i = 0; i < c->n_inputs; i++)
        set_input(c, i, sample, epl_program_input(p, i)->data, epl_graph_input_at(c->m->graph, i));
    int64_t *force = epl_program_input(p, c->n_inputs)->data;
    for (int k = 0; k < c->n_choices; k++)
        force[k] = forced ? forced[k] : -1;
    epl_program_clear_regions(p);
    if (!epl_program_run(p))
        return false;
    for (int i = 0; i < c->n_regions; i++)
        c->reached[i] = c->reached[i] || epl_program_region(p, i).runs > 0;
    return true;
}

/* ---- paths ---- */

/* For each node with regions: "1" the region that ran, "-" none, "x12" a loop's iterations, "(3 9)" how often each,
 * inside a loop. */
static double name_path(const checking *c, char out[N_NAME])
{
    const epl_program *p = c->out->program;
    double macs = epl_program_outside(p).macs;
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < c->n_regions;) {
        const epl_region_profile first = epl_program_region(p, i);
        int64_t runs[64] = { 0 }, sum = 0;
        int     count = 0, ran = 0;
        for (; i < c->n_regions && epl_program_region(p, i).node == first.node; i++, count++) {
            const epl_region_profile r = epl_program_region(p, i);
            sum += r.runs;
            macs += (double)r.runs * r.cost.macs;
            if (count < 64)
                runs[count] = r.runs;
            ran = r.runs ? count : ran;
        }
        char part[96] = "-";
        if (strcmp(first.op, "Loop") == 0)
            snprintf(part, sizeof part, "x%lld", (long long)sum);
        else if (sum == 1)
            snprintf(part, sizeof part, "%d", ran);
        else if (sum > 1)
            snprintf(part, sizeof part, "(%lld%s %lld)", (long long)runs[0], count > 2 ? " ..." : "", (long long)runs[count - 1]);
        n += (size_t)snprintf(out + n, N_NAME - n, "%s%s", n ? " " : "", part);
        if (n >= N_NAME)
            n = N_NAME - 1;
    }
    return macs;
}

static epl_path *path_named(checking *c, const char *name, double macs)
{
    epl_paths *o = c->out;
    for (size_t i = 0; i < o->n_paths; i++)
        if (strcmp(o->paths[i].name, name) == 0)
            return &o->paths[i];
    if (!epl_grow(c->ctx, &o->paths, o->n_paths, &o->cap_paths, sizeof *o->paths))
        return NULL;
    char *kept = epl_alloc(c->ctx, strlen(name) + 1);
    if (!kept)
        return NULL;
    memcpy(kept, name, strlen(name) + 1);
    o->paths[o->n_paths] = (epl_path){ .name = kept, .macs = macs };
    return &o->paths[o->n_paths++];
}

static bool compare_run(checking *c, int64_t sample, const int64_t *forced)
{
    const size_t choices = (size_t)c->n_choices;
    if (!epl_grow(c->ctx, &c->sample, (size_t)c->n_runs, &c->cap_sample, sizeof *c->sample))
        return false;
    while (c->cap_forced < ((size_t)c->n_runs + 1) * choices)
        if (!epl_grow(c->ctx, &c->forced, c->cap_forced, &c->cap_forced, sizeof *c->forced))
            return false;
    c->sample[c->n_runs] = sample;
    for (size_t k = 0; k < choices; k++)
        c->forced[(size_t)c->n_runs * choices + k] = forced ? forced[k] : -1;
    c->n_runs++;
    return true;
}

static bool run_samples(checking *c)
{
    char name[N_NAME];
    for (int64_t s = 0; s < c->n_samples; s++) {
        if (!run(c, s, NULL))
            return false;
        const double macs = name_path(c, name);
        epl_path    *path = path_named(c, name, macs);
        if (!path)
            return false;
        c->out->path_of[s] = (int)(path - c->out->paths);
        c->out->expected_macs += macs / (double)c->n_samples;
        for (int i = 0; i < c->n_regions; i++)
            c->out->runs[i] += epl_program_region(c->out->program, i).runs;
        if (path->samples++ < c->o.each && !compare_run(c, s, NULL))
            return false;
    }
    return true;
}

/* ---- choices that are forced ---- */

/* The choices that lead to region i; the others are free. */
static void lead_to(const checking *c, int i, int64_t *forced)
{
    for (int k = 0; k < c->n_choices; k++)
        forced[k] = -1;
    for (; i >= 0; i = epl_program_region(c->out->program, i).parent) {
        const epl_region_profile r = epl_program_region(c->out->program, i);
        const int                k = epl_choice_of(r.scope);
        if (k >= 0)
            forced[k] = strcmp(r.op, "If") == 0 ? r.region == 0 : strcmp(r.op, "Loop") == 0 ? 1 : r.region;
    }
}

static int64_t value_of(const checking *c, int choice, int64_t i)
{
    return i + 1 < c->choices[choice].n ? i : c->choices[choice].last;
}

static bool force(checking *c, int64_t *forced, int64_t number)
{
    char name[N_NAME];
    if (!run(c, number % c->n_samples, forced))
        return false;
    const double macs = name_path(c, name);
    epl_path    *path = path_named(c, name, macs);
    c->out->n_forced++;
    if (path)
        path->forced++;
    return path && compare_run(c, number % c->n_samples, forced);
}

/* Each loop that data can end, with all numbers of iterations. */
static bool force_loops(checking *c, int64_t *forced)
{
    bool ok = true;
    for (int i = 0; ok && i < c->n_regions; i++) {
        const epl_region_profile r = epl_program_region(c->out->program, i);
        const int                k = epl_choice_of(r.scope);
        for (int64_t v = 0; ok && k >= 0 && strcmp(r.op, "Loop") == 0 && v < c->choices[k].n; v++) {
            lead_to(c, i, forced);
            forced[k] = value_of(c, k, v);
            ok = force(c, forced, i + v);
        }
    }
    return ok;
}

/* Every combination, if they are few; else each region that no sample reached, and every loop. */
static bool run_forced(checking *c)
{
    int64_t *forced = epl_alloc_array(c->ctx, (size_t)c->n_choices + 1, sizeof *forced);
    double   all = 1;
    bool     ok = forced != NULL;
    for (int k = 0; k < c->n_choices; k++)
        all *= c->choices[k].n;
    for (int64_t i = 0; ok && all <= c->o.most && i < (int64_t)all && c->n_choices; i++) {
        int64_t rest = i;
        for (int k = 0; k < c->n_choices; k++) {
            forced[k] = value_of(c, k, rest % c->choices[k].n);
            rest /= c->choices[k].n;
        }
        ok = force(c, forced, i);
    }
    if (ok && all > c->o.most)
        ok = force_loops(c, forced);
    for (int i = 0; ok && i < c->n_regions; i++)
        if (!c->reached[i]) {
            lead_to(c, i, forced);
            ok = force(c, forced, i);
        }
    epl_release(c->ctx, forced);
    return ok;
}

/* ---- the compiled network ---- */

static bool compare(checking *c)
{
    const epl_graph *g = c->m->graph;
    const int        n = c->n_inputs + 1;
    epl_tensor     **in = epl_alloc_array(c->ctx, (size_t)n, sizeof *in);
    bool             ok = in != NULL;
    for (int i = 0; ok && i < n; i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        epl_shape shape = { .rank = v->shape.rank + 1, .dim = { c->n_runs } };
        memcpy(shape.dim + 1, v->shape.dim, (size_t)v->shape.rank * sizeof *shape.dim);
        ok = v->shape.rank < EPL_MAX_RANK && (in[i] = epl_tensor_new(c->ctx, v->dtype, shape)) != NULL;
        const size_t each = ok ? epl_tensor_bytes(in[i]) / (size_t)c->n_runs : 0;
        for (int64_t k = 0; ok && i < c->n_inputs && k < c->n_runs; k++)
            set_input(c, i, c->sample[k], (char *)in[i]->data + (size_t)k * each, v);
        if (ok && i == c->n_inputs && each)
            memcpy(in[i]->data, c->forced, epl_tensor_bytes(in[i]));
    }
    epl_verify_result *r = ok ? epl_alloc(c->ctx, sizeof *r) : NULL;
    ok = r && epl_compile(c->m, c->o.dir, c->o.compile, NULL) &&
         epl_verify_artifact(c->m, c->o.dir, c->o.compile,
                             (epl_verify_opts){ .cc = c->o.cc,
                                                .flags = c->o.flags,
                                                .reference = true,
                                                .n_inputs = n,
                                                .inputs = (const epl_tensor *const *)in },
                             r);
    if (ok) {
        c->out->n_compared = c->n_runs;
        c->out->max_abs    = r->max_abs;
        c->out->labels_different = r->labels_different;
    }
    epl_release(c->ctx, r);
    for (int i = 0; in && i < n; i++)
        epl_tensor_free(in[i]);
    epl_release(c->ctx, in);
    return ok;
}

/* ---- the whole ---- */

static epl_model *forced_model(checking *c, const epl_model *m)
{
    const epl_compile_opts *o = &c->o.compile;
    epl_model *copy = epl_model_copy(m);
    epl_graph *g    = copy ? copy->graph : NULL;
    bool       ok   = g != NULL;
    for (int i = 0; ok && i < o->n_bindings; i++)
        ok = epl_graph_bind(g, o->bindings[i].dim, o->bindings[i].size);
    ok = ok && epl_lower_exits(g) && epl_split_choices(g, 0) && epl_fold_control(g, o->unroll) && epl_trim_regions(g, true) &&
         (!o->max_trip || epl_limit_loops(g, o->max_trip));
    c->choices = ok ? epl_alloc_array(m->ctx, (size_t)epl_count_choices(g) + 1, sizeof *c->choices) : NULL;
    if (c->choices) {
        c->n_choices = epl_list_choices(g, c->choices);
        if (epl_force_choices(g) && epl_graph_verify(g))
            return copy;
    }
    epl_model_free(copy);
    return NULL;
}

static int64_t sample_count(const checking *c)
{
    const epl_value *v = epl_graph_input_at(c->m->graph, 0);
    const int64_t    each = epl_shape_count(v->shape);
    return c->o.x ? (each ? epl_tensor_count(c->o.x) / each : 0) : c->o.n_samples ? c->o.n_samples : 64;
}

static bool check_samples(checking *c)
{
    const epl_value *v = epl_graph_input_at(c->m->graph, 0);
    c->n_samples = sample_count(c);
    if (c->o.x && (c->o.x->dtype != v->dtype || c->n_samples * epl_shape_count(v->shape) != epl_tensor_count(c->o.x)))
        return epl_fail(c->ctx, EPL_ERR_SHAPE, "%lld elements of %s are no samples of input '%s', which has %lld of %s",
                        (long long)epl_tensor_count(c->o.x), epl_dtype_name(c->o.x->dtype), epl_value_name(v),
                        (long long)epl_shape_count(v->shape), epl_dtype_name(v->dtype));
    return c->n_samples > 0 || epl_fail(c->ctx, EPL_ERR_ARGUMENT, "there are no samples");
}

static bool open_program(checking *c)
{
    epl_paths *o = c->out;
    if (c->n_inputs < 1)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "network '%s' has no input", c->m->graph->name);
    if (!check_samples(c))
        return false;
    o->program = epl_program_new(c->m->graph, c->m->weights, (epl_program_opts){ .frozen = true, .unroll = c->o.compile.unroll });
    if (!o->program)
        return false;
    c->n_regions = o->n_regions = epl_program_n_regions(o->program);
    o->n_samples = c->n_samples;
    o->runs      = epl_alloc_array(c->ctx, (size_t)c->n_regions + 1, sizeof *o->runs);
    o->path_of   = epl_alloc_array(c->ctx, (size_t)c->n_samples, sizeof *o->path_of);
    c->reached   = epl_alloc_array(c->ctx, (size_t)c->n_regions + 1, sizeof *c->reached);
    return o->runs && o->path_of && c->reached;
}

epl_paths *epl_check_paths(const epl_model *m, epl_paths_opts o)
{
    checking c = { .ctx = m->ctx, .o = o, .out = epl_alloc(m->ctx, sizeof *c.out) };
    c.o.each = o.each ? o.each : EACH;
    c.o.most = o.most ? o.most : MOST_FORCED;
    bool ok = c.out != NULL;
    if (ok) {
        c.out->ctx = m->ctx;
        c.m = c.out->model = forced_model(&c, m);
    }
    if (ok && c.m)
        c.n_inputs = epl_graph_n_inputs(c.m->graph) - 1;
    ok = ok && c.m && open_program(&c) && run_samples(&c);
    for (int i = 0; ok && i < c.n_regions; i++)
        c.out->n_covered += c.reached[i];
    ok = ok && run_forced(&c);
    for (int i = 0; ok && i < c.n_regions; i++)
        c.out->n_reached += c.reached[i];
    ok = ok && (!o.dir || compare(&c));
    epl_release(c.ctx, c.choices);
    epl_release(c.ctx, c.sample);
    epl_release(c.ctx, c.forced);
    epl_release(c.ctx, c.reached);
    if (ok)
        return c.out;
    epl_paths_free(c.out);
    return NULL;
}

void epl_paths_free(epl_paths *p)
{
    if (!p)
        return;
    epl_program_free(p->program);
    epl_model_free(p->model);
    for (size_t i = 0; i < p->n_paths; i++)
        epl_release(p->ctx, p->paths[i].name);
    epl_release(p->ctx, p->paths);
    epl_release(p->ctx, p->runs);
    epl_release(p->ctx, p->path_of);
    epl_release(p->ctx, p);
}
