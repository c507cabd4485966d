/* networks: running them - outputs, differences, latencies side by side. */
#include "papers/common/run.h"

#include <math.h>
#include <string.h>

void paper_keep_model_take(paper_run *r, epl_model *m)
{
    if (!m)
        return;
    if (epl_grow(r->ctx, &r->models, r->n_models, &r->models_room, sizeof *r->models))
        r->models[r->n_models++] = m;
    else
        epl_model_free(m);
}

epl_model *paper_model(paper_run *r, const char *description, uint64_t seed)
{
    epl_graph *g = paper_ok(r) ? epl_zoo_build(r->ctx, description) : NULL;
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    if (m && !epl_model_init(m, seed)) {
        epl_model_free(m);
        m = NULL;
    }
    paper_keep_model_take(r, m);
    return paper_ok(r) ? m : NULL;
}

/* A program for batches of that size. */
static epl_program *program_for(paper_run *r, const epl_model *m, int64_t batch, epl_program_opts o)
{
    epl_graph   *g = paper_ok(r) && m ? epl_graph_copy(m->graph) : NULL;
    const bool   fits = g && (epl_dim(epl_graph_input_at(g, 0), 0) == batch || epl_graph_bind(g, "N", batch));
    epl_program *p = fits ? epl_program_new(g, m->weights, o) : NULL;
    if (g && !fits)
        epl_fail(r->ctx, EPL_ERR_SHAPE, "network '%s' is made for batches of %lld, not of %lld", epl_graph_name(g),
                 (long long)epl_dim(epl_graph_input_at(g, 0), 0), (long long)batch);
    epl_graph_free(g);
    return p;
}

static const epl_program_opts fast = { .frozen = true, .sparse = true }, by_definition = { .reference = true };

static epl_tensor *run(paper_run *r, const epl_model *m, const epl_tensor *x, epl_program_opts o)
{
    epl_program *p = x ? program_for(r, m, x->shape.dim[0], o) : NULL;
    epl_tensor  *y = NULL;
    if (p && epl_tensor_bytes(epl_program_input(p, 0)) != epl_tensor_bytes(x)) {
        char want[192], got[192];
        epl_fail(r->ctx, EPL_ERR_SHAPE, "the network takes %s, but the batch is %s", epl_shape_text(want, epl_program_input(p, 0)->shape),
                 epl_shape_text(got, x->shape));
    } else if (p) {
        memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
        y = epl_program_run(p) ? epl_tensor_copy(r->ctx, epl_program_output(p, 0)) : NULL;
    }
    epl_program_free(p);
    return y;
}

epl_tensor *paper_logits(paper_run *r, const epl_model *m, const epl_tensor *x) { return run(r, m, x, fast); }

/* max |a - b| / max |a|; NaN without both. Frees them. */
static double difference_take(epl_tensor *a, epl_tensor *b)
{
    double largest = 0, difference = a && b && epl_shape_equal(a->shape, b->shape) ? 0 : NAN;
    for (int64_t i = 0; isfinite(difference) && i < epl_tensor_count(a); i++) {
        const double p = epl_tensor_get(a, i), q = epl_tensor_get(b, i);
        largest    = fmax(largest, fabs(p));
        difference = isfinite(p - q) ? fmax(difference, fabs(p - q)) : NAN;
    }
    epl_tensor_free(a);
    epl_tensor_free(b);
    return difference / largest;
}

double paper_relative_difference(paper_run *r, const epl_model *a, const epl_model *b, const epl_tensor *x)
{
    return difference_take(run(r, a, x, fast), run(r, b, x, fast));
}

/* Of one network on random numbers, run in two ways. */
static double difference_of_ways(paper_run *r, const epl_model *m, int64_t batch, epl_program_opts a, epl_program_opts b)
{
    epl_shape shape = m ? epl_shape_of(epl_graph_input_at(m->graph, 0)) : EPL_SCALAR;
    shape.dim[0] = batch;
    epl_tensor *x   = m ? epl_tensor_new(r->ctx, EPL_F32, shape) : NULL;
    epl_rng     rng = epl_rng_at(7, 0);
    if (x)
        epl_tensor_fill_normal(x, &rng, 0, 1);
    const double difference = difference_take(run(r, m, x, a), run(r, m, x, b));
    epl_tensor_free(x);
    return difference;
}

double paper_folding_difference(paper_run *r, const epl_model *m, int64_t batch)
{
    return difference_of_ways(r, m, batch, by_definition, fast);
}

double paper_strips_difference(paper_run *r, const epl_model *m, int64_t batch, size_t block_bytes)
{
    return difference_of_ways(r, m, batch, fast, (epl_program_opts){ .frozen = true, .block_bytes = block_bytes });
}

/* ---- latency ---- */

enum { MAX_ROUNDS = 1000, MAX_TIMED = 64 };

/* A round is one run of each, so that what slows the machine down for a while meets all of them. */
static bool run_rounds(paper_run *r, epl_program **p, int n, double budget_s, double *times, int *n_rounds)
{
    const double end_s = epl_now_s() + budget_s;
    for (int i = 0; i < n; i++) // warm up
        if (!epl_program_run(p[i]))
            return false;
    for (*n_rounds = 0; *n_rounds < MAX_ROUNDS && (*n_rounds < 5 || epl_now_s() < end_s); ++*n_rounds)
        for (int i = 0; i < n; i++) {
            const double start_s = epl_now_s();
            if (!epl_program_run(p[i]))
                return false;
            times[i * MAX_ROUNDS + *n_rounds] = epl_now_s() - start_s;
        }
    return paper_ok(r);
}

static void fill_random(epl_program *p)
{
    epl_rng rng = epl_rng_at(0, 0);
    for (int i = 0; i < epl_program_n_inputs(p); i++)
        if (epl_dtype_is_float(epl_program_input(p, i)->dtype))
            epl_tensor_fill_uniform(epl_program_input(p, i), &rng, 0, 1);
}

bool paper_latency(paper_run *r, paper_timed *timed, int n, double budget_s)
{
    epl_program *p[MAX_TIMED] = { NULL };
    double      *times = epl_alloc_array(r->ctx, (size_t)n * MAX_ROUNDS, sizeof *times);
    const int    threads = epl_context_threads(r->ctx);
    int          n_rounds = 0;
    bool         ok = times && (n <= MAX_TIMED || epl_fail(r->ctx, EPL_ERR_LIMIT, "%d networks to time, of at most %d", n, MAX_TIMED));
    epl_context_set_threads(r->ctx, 1);
    for (int i = 0; i < n; i++) {
        timed[i].seconds = NAN;
        const epl_program_opts o = { .frozen = true, .sparse = true, .block_bytes = timed[i].block_bytes };
        p[i] = ok ? program_for(r, timed[i].model, timed[i].batch ? timed[i].batch : 1, o) : NULL;
        ok   = p[i] != NULL;
        if (ok)
            fill_random(p[i]);
    }
    ok = ok && run_rounds(r, p, n, budget_s, times, &n_rounds);
    for (int i = 0; ok && i < n; i++) {
        timed[i].seconds = epl_median(times + i * MAX_ROUNDS, n_rounds);
        paper_add(paper_series_named(r, "latency", timed[i].name, "ms"), 1e3 * timed[i].seconds);
    }
    for (int i = 0; i < n && i < MAX_TIMED; i++)
        epl_program_free(p[i]);
    epl_context_set_threads(r->ctx, threads);
    epl_release(r->ctx, times);
    return ok;
}
