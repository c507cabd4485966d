/* efficiency: how much of the machine's peak a network uses, and the plot that shows it; see the public header. */
#include <math.h>

#include <espalier/analysis.h>
#include <espalier/program.h>

/* The median time of a run; NaN after an error. */
static double median_time(epl_program *p, double budget_s)
{
    enum { MOST = 1000, LEAST = 5 };
    double       times[MOST];
    int          n  = 0;
    bool         ok = epl_program_run(p);
    const double end_s = epl_now_s() + budget_s;
    for (; ok && n < MOST && (n < LEAST || epl_now_s() < end_s); n++) {
        const double start_s = epl_now_s();
        ok = epl_program_run(p);
        times[n] = epl_now_s() - start_s;
    }
    return ok ? epl_median(times, n) : NAN;
}

static void fill_random(epl_program *p)
{
    epl_rng rng = epl_rng_at(0, 0);
    for (int i = 0; i < epl_program_n_inputs(p); i++)
        if (epl_dtype_is_float(epl_program_input(p, i)->dtype))
            epl_tensor_fill_uniform(epl_program_input(p, i), &rng, 0, 1);
}

bool epl_efficiency_of(const epl_model *m, double peak, double budget_s, size_t block_bytes, epl_efficiency *out)
{
    *out = (epl_efficiency){ 0 };
    if (!(peak > 0))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "efficiency: the peak is %g multiply-adds a second, but has to be above 0", peak);
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .block_bytes = block_bytes });
    if (!p)
        return false;
    fill_random(p);
    out->macs       = epl_graph_cost(m->graph).macs;
    out->ideal_s    = out->macs / peak;
    out->measured_s = median_time(p, budget_s);
    out->efficiency = out->ideal_s / out->measured_s;
    epl_program_free(p);
    return isfinite(out->measured_s);
}

epl_plot *epl_efficiency_plot(epl_context *ctx, const char *const *names, const epl_efficiency *e,
                              const double *heights, const char *label, size_t n)
{
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .x_label = "time, ideal and measured [ms]", .y_label = label, .x_log = true });
    for (size_t i = 0; p && i < n; i++)
        epl_plot_line(p, names[i], (double[]){ 1e3 * e[i].ideal_s, 1e3 * e[i].measured_s }, (double[]){ heights[i], heights[i] }, 2,
                      (epl_line_opts){ .markers = true });
    return p;
}
