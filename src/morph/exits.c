/* exits: classifiers put into a network that stands, at layers by name or where a share of its multiply-adds is done. */
#include <espalier/morph.h>

#include "graph/op.h"

#include <math.h>

/* ---- where ---- */

/* A value that all that follows goes through: nothing else that depends on the input is still to be read. */
typedef struct cut {
    epl_value *value;
    double     macs; /* done up to there */
} cut;

static void mark_needed(epl_graph *g, epl_node *goal)
{
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = n == goal;
    for (epl_node *n = g->last; n; n = n->prev)
        for (int i = 0; n->tag && i < n->n_inputs; i++)
            if (n->inputs[i])
                n->inputs[i]->producer->tag = 1;
}

static int64_t readers(const epl_value *v)
{
    int64_t count = 0;
    for (size_t i = 0; i < v->n_uses; i++)
        count += v->uses[i].node->tag != 0;
    return count;
}

/* The input, or computed from it and needed for the output; values' tags count the readers that are left. */
static bool is_live(const epl_node *n)
{
    bool live = EPL_IS(n, input);
    for (int i = 0; n->tag && !live && i < n->n_inputs; i++)
        live = n->inputs[i] && n->inputs[i]->tag >= 0;
    return n->tag && live;
}

static int find_cuts(epl_graph *g, cut *cuts)
{
    int    count = 0, open = 0;
    double macs = 0;
    mark_needed(g, epl_graph_output_at(g, 0)->producer);
    for (epl_node *n = g->first; n; n = n->next) {
        const bool live = is_live(n);
        macs += n->tag ? epl_node_cost(n).macs : 0;
        for (int i = 0; live && i < n->n_inputs; i++)
            if (n->inputs[i] && n->inputs[i]->tag > 0)
                open -= --n->inputs[i]->tag == 0;
        for (int i = 0; i < n->n_outputs; i++) {
            n->outputs[i]->tag = live ? readers(n->outputs[i]) : -1;
            open += n->outputs[i]->tag > 0;
        }
        if (live && open == 1 && n->outputs[0]->tag > 0)
            cuts[count++] = (cut){ n->outputs[0], macs };
    }
    return count;
}

/* The cut nearest to a share of the multiply-adds; of those with equally many the last, behind activation and pool,
 * that is still an image (or, in a network without images, a vector). */
static const cut *nearest(const cut *cuts, int n, double share, double total)
{
    const cut *best = NULL;
    bool       images = false;
    for (int i = 0; i < n; i++)
        images = images || (epl_rank(cuts[i].value) > 2 && cuts[i].macs > 0);
    for (int i = 0; i < n; i++)
        if (cuts[i].macs > 0 && cuts[i].macs < total && epl_dtype_is_float(epl_dtype_of(cuts[i].value)) &&
            epl_rank(cuts[i].value) >= 2 + images &&
            (!best || fabs(cuts[i].macs / total - share) <= fabs(best->macs / total - share)))
            best = &cuts[i];
    return best;
}

static bool depends_on_input(epl_graph *g, const epl_value *v)
{
    for (epl_node *n = g->first; n; n = n->next) {
        n->tag = EPL_IS(n, input);
        for (int i = 0; i < n->n_inputs; i++)
            n->tag = n->tag || (n->inputs[i] && n->inputs[i]->producer->tag);
    }
    return v->producer->tag != 0;
}

static epl_value *named_place(epl_graph *g, const char *name)
{
    epl_value *v = epl_scope_value(g, name);
    char       text[192];
    if (!v)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "network '%s' has no scope '%s' to put an exit behind", g->name, name);
    if (!depends_on_input(g, v) || epl_rank(v) < 2 || !epl_dtype_is_float(v->dtype))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT,
                              "network '%s': '%s' ends in %s%s, which %s; an exit reads a batch of features", g->name,
                              name, epl_dtype_name(v->dtype), epl_shape_text(text, v->shape),
                              epl_rank(v) < 2 ? "is no batch" : "does not depend on the input");
    return v;
}

static bool find_places(epl_graph *g, const epl_exits_opts *o, epl_value **places)
{
    cut   *cuts  = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof *cuts);
    double total = 0;
    const int n  = cuts ? find_cuts(g, cuts) : 0;
    for (epl_node *k = g->first; cuts && k; k = k->next)
        total += k->tag ? epl_node_cost(k).macs : 0;
    for (int i = 0; cuts && i < o->n; i++) {
        const cut *c = o->names ? NULL : nearest(cuts, n, o->shares[i], total);
        places[i] = o->names ? named_place(g, o->names[i]) : c ? c->value : NULL;
        for (int k = 0; places[i] && k < i; k++)
            if (places[k] == places[i]) {
                epl_graph_fail(g, EPL_ERR_ARGUMENT, "exits %d and %d would both stand behind '%s'", k + 1, i + 1,
                               places[i]->producer->scope);
                places[i] = NULL;
            }
        if (!places[i]) {
            epl_graph_fail(
                g, EPL_ERR_ARGUMENT,
                "network '%s' has no layer that all that follows goes through, for an exit at %g of its multiply-adds",
                g->name, o->names ? 0 : o->shares[i]);
            break;
        }
    }
    epl_release(g->ctx, cuts);
    return cuts && !epl_graph_failed(g);
}

/* ---- the transform ---- */

bool epl_exits_add(epl_model *m, epl_exits_opts o)
{
    epl_graph *g = m->graph;
    if (o.n < 1 || !o.names == !o.shares)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "exits: %d places, by %s; at least one, by names or by shares, is needed", o.n,
                        o.names ? "both" : "neither");
    if (epl_graph_n_inputs(g) != 1 || epl_n_exits(g) != 1)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has %d inputs and %d classifiers; exits are added to one of each", g->name,
                        epl_graph_n_inputs(g), epl_n_exits(g));
    for (int i = 0; o.shares && i < o.n; i++)
        if (!(o.shares[i] > (i ? o.shares[i - 1] : 0) && o.shares[i] < 1))
            return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "exits: share %d is %g, but shares rise between 0 and 1", i + 1, o.shares[i]);
    epl_value **places = epl_alloc_array(m->ctx, (size_t)o.n, sizeof *places);
    bool        ok     = places && find_places(g, &o, places);
    for (int i = 0; ok && i < o.n; i++)
        ok = epl_exit_add(g, places[i], (epl_exit_head_opts){ .kind = o.head }) != NULL;
    epl_release(m->ctx, places);
    return ok && epl_graph_finish(g);
}
