/* widen: the reverse of removing channels. The same units that go together grow together; a group of n becomes one of
 * n / d * floor(d * factor), d the greatest common divisor of all groups, so that stages keep their proportions (published widths
 * are such: 64 * sqrt 2 -> 90, 180, 360, 720). Where d is small each group is rounded by itself. */
#include "compress/widen.h"

#include "compress/channels.h"

#include <math.h>

enum { LEAST_DIVISOR = 4 };

static int divisor_of(const epl_channel_plan *p)
{
    int d = 0;
    for (int i = 0; i < p->n_groups; i++)
        for (int a = p->groups[i].n, b = d; ; ) {
            if (b == 0) {
                d = a;
                break;
            }
            const int rest = a % b;
            a = b;
            b = rest;
        }
    return d;
}

/* A weight whose outputs stay for another reason than being the network's. */
static bool check_held(epl_channel_plan *p)
{
    epl_layers layers = { 0 };
    char label[256];
    bool ok = epl_weight_layers_find(p->units.graph, &layers);
    for (int i = 0; ok && i < layers.n; i++) {
        const epl_value *w = layers.items[i].weight;
        const epl_node  *n = p->units.frozen[epl_unit_of(&p->units, w, w->shape.rank - 1, 0)];
        if (n && !EPL_IS(n, input) && !EPL_IS(n, output))
            ok = epl_fail(p->m->ctx, EPL_ERR_ARGUMENT, "'%s' cannot become wider: its outputs are held by %s", layers.items[i].name,
                          epl_node_label(n, label));
    }
    epl_weight_layers_release(&layers);
    return ok;
}

epl_graph *epl_widen(const epl_model *m, double factor, double *scale)
{
    epl_channel_plan p = { 0 };
    epl_graph       *g = NULL;
    if (epl_channels_plan(m, (epl_channel_opts){ .criterion = "random", .through_norms = true }, &p) && check_held(&p)) {
        const int d = divisor_of(&p);
        const double wider = floor(d * factor + 1e-6);
        p.units.times = epl_alloc_array(m->ctx, (size_t)p.units.n + 1, sizeof *p.units.times);
        for (int64_t i = 0; p.units.times && i < p.units.n; i++)
            p.units.times[i] = 1;
        for (int i = 0; p.units.times && i < p.n; i++) {
            const int n = p.groups[p.list[i].group].n;
            p.units.times[p.list[i].root] = d >= LEAST_DIVISOR ? wider / d : floor(n * factor + 1e-6) / n;
        }
        *scale = d >= LEAST_DIVISOR ? wider / d : factor;
        if (p.n == 0)
            epl_fail(m->ctx, EPL_ERR_ARGUMENT, "no width of '%s' can grow", m->graph->name);
        else
            g = p.units.times ? epl_units_shrink(&p.units) : NULL;
        epl_release(m->ctx, p.units.times);
        p.units.times = NULL;
    }
    epl_channels_release(&p);
    return g;
}
