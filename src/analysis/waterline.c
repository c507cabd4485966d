/* waterline: the least time of a network whose kernels are bound by arithmetic or by memory; see the public header. */
#include <math.h>
#include <string.h>

#include <espalier/analysis.h>
#include <espalier/passes.h>

static bool is_storage(const epl_node *n)
{
    static const char *const names[] = { "Input", "Parameter", "State", "Constant", "Output", "Update" };
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        if (strcmp(epl_node_op_name(n), names[i]) == 0)
            return true;
    return false;
}

static double value_bytes(const epl_value *v)
{
    return (double)epl_shape_count(epl_shape_of(v)) * (double)epl_dtype_bytes(epl_dtype_of(v));
}

/* What goes in and out of the whole graph. */
static double outer_bytes(const epl_graph *g)
{
    double bytes = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (is_storage(n) && epl_node_n_outputs(n) > 0)
            bytes += value_bytes(epl_node_output(n, 0));
    for (int i = 0; i < epl_graph_n_outputs(g); i++)
        bytes += value_bytes(epl_graph_output_at(g, i));
    return bytes;
}

/* Values that depend on weights alone: a program computes them once, before it runs. */
typedef struct constants {
    const epl_value **value;
    size_t            n;
} constants;

static bool is_constant(const constants *c, const epl_value *v)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->value[i] == v)
            return true;
    return false;
}

static bool computed_once(const constants *c, const epl_node *n)
{
    if (strcmp(epl_node_op_name(n), "Input") == 0)
        return false;
    for (int i = 0; i < epl_node_n_inputs(n); i++)
        if (epl_node_input(n, i) && !is_constant(c, epl_node_input(n, i)))
            return false;
    return true;
}

static void add_node(epl_waterline *out, epl_cost c, double peak, double bandwidth)
{
    out->n_kernels++;
    out->n_under_water += c.bytes / bandwidth > c.macs / peak;
    out->macs    += c.macs;
    out->bytes   += c.bytes;
    out->bound_s += fmax(c.bytes / bandwidth, c.macs / peak);
}

static void add_nodes(epl_waterline *out, const epl_graph *g, constants *c, double peak, double bandwidth)
{
    for (const epl_node *n = epl_first(g); n; n = epl_next(n)) {
        const epl_cost cost = epl_node_cost(n);
        if (computed_once(c, n))
            for (int i = 0; i < epl_node_n_outputs(n); i++)
                c->value[c->n++] = epl_node_output(n, i);
        else if (!is_storage(n) && (cost.macs > 0 || cost.bytes > 0))
            add_node(out, cost, peak, bandwidth);
    }
    out->ideal_s    = out->macs / peak;
    out->fused_s    = fmax(out->ideal_s, outer_bytes(g) / bandwidth);
    out->efficiency = out->bound_s > 0 ? out->ideal_s / out->bound_s : 0;
}

static size_t n_values(const epl_graph *g)
{
    size_t count = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        count += (size_t)epl_node_n_outputs(n);
    return count;
}

bool epl_waterline_of(const epl_graph *g, double peak, double bandwidth, epl_waterline *out)
{
    epl_context *ctx = epl_graph_context(g);
    *out = (epl_waterline){ 0 };
    if (!(peak > 0) || !(bandwidth > 0))
        return epl_fail(
            ctx, EPL_ERR_ARGUMENT,
            "waterline: the peak is %g multiply-adds and the bandwidth %g bytes a second, but both have to be above 0",
            peak, bandwidth);
    epl_graph *fused = epl_graph_copy(g);
    bool       ok    = fused && epl_prepare(fused, (epl_pass_opts){ .fuse = true, .frozen = true });
    constants  c     = { .value = ok ? epl_alloc_array(ctx, n_values(fused) + 1, sizeof(epl_value *)) : NULL };
    if (c.value)
        add_nodes(out, fused, &c, peak, bandwidth);
    ok = c.value != NULL;
    epl_release(ctx, c.value);
    epl_graph_free(fused);
    return ok;
}
