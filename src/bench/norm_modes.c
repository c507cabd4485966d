/* norm_modes: the same training step with its batch norms in each mode, side by side. */
#include <espalier/bench.h>


typedef struct side {
    epl_model   *m;
    epl_program *p;
    double      *times;
} side;

static void side_free(epl_context *ctx, side *s)
{
    epl_program_free(s->p);
    epl_model_free(s->m);
    epl_release(ctx, s->times);
}

static bool side_init(const epl_model *m, epl_step_opts o, epl_norm_mode mode, int most, side *s)
{
    *s = (side){ .m = epl_model_copy(m), .times = epl_alloc_array(m->ctx, (size_t)most, sizeof *s->times) };
    const bool deploy = mode == EPL_NORM_DEPLOY;
    o.norms.mode = deploy ? EPL_NORM_AUTO : mode;
    if (!s->m || !s->times || !epl_model_init(s->m, 0) || (deploy && !epl_deploy_batch_norms(s->m, o.norms.pattern, NULL)))
        return false;
    epl_graph *g = epl_train_graph(s->m, s->m->weights, o, 0, NULL);
    s->p = g ? epl_program_new(g, s->m->weights, (epl_program_opts){ 0 }) : NULL;
    epl_graph_free(g);
    for (int i = 0; s->p && i < epl_program_n_inputs(s->p); i++) {
        epl_tensor *t = epl_program_input(s->p, i);
        epl_rng     r = epl_rng_at(0, (uint64_t)i);
        if (epl_dtype_is_float(t->dtype) && t->shape.rank > 1)
            epl_tensor_fill_normal(t, &r, 0, 1);
        else if (epl_dtype_is_float(t->dtype))
            for (int64_t k = 0; k < epl_tensor_count(t); k++)
                epl_tensor_set(t, k, t->shape.rank ? 1 : 1e-6); // weights of samples; a rate that changes little
    }
    return s->p && epl_program_run(s->p) && epl_program_run(s->p); // warm
}

bool epl_bench_norm_modes(const epl_model *m, epl_step_opts o, double seconds, epl_norm_mode_cost out[EPL_N_NORM_MODES])
{
    enum { MOST = 10000, LEAST = 5 };
    side s[EPL_N_NORM_MODES] = { 0 };
    bool ok = true;
    for (int i = 0; ok && i < EPL_N_NORM_MODES; i++)
        ok = side_init(m, o, EPL_NORM_TRAIN + i, MOST, &s[i]);
    const double start = epl_now_s();
    int          n = 0;
    for (; ok && n < MOST && (n < LEAST || epl_now_s() - start < seconds); n++)
        for (int i = 0; ok && i < EPL_N_NORM_MODES; i++) {
            const double before = epl_now_s();
            ok = epl_program_run(s[i].p);
            s[i].times[n] = epl_now_s() - before;
        }
    for (int i = 0; i < EPL_N_NORM_MODES; i++) {
        if (ok)
            out[i] = (epl_norm_mode_cost){ .mode = EPL_NORM_TRAIN + i, .memory = epl_program_memory_of(s[i].p),
                                           .median_s = epl_median(s[i].times, n) };
        side_free(m->ctx, &s[i]);
    }
    return ok;
}
