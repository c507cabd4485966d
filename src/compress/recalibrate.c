/* recalibrate: the running statistics of batch norms measured again, as means over batches - their own change with every weight
 * and channel that goes. */
#include "compress/compress.h"

#include <espalier/passes.h>
#include <espalier/program.h>

#include <stdio.h>
#include <string.h>

/* The network with norms that store the statistics of each batch alone; dropout passes on what comes. */
static epl_graph *measuring_graph(const epl_model *m, int64_t batch)
{
    epl_graph *g = epl_graph_copy(m->graph);
    for (epl_node *n = g ? g->first : NULL, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, batch_norm)) {
            epl_node_set_attr(n, epl_op_attr_index(n->op, "momentum"), EPL_A_R(0));
        } else if (EPL_IS(n, dropout) || EPL_IS(n, drop_path)) {
            epl_replace(n->outputs[0], n->inputs[0]);
            epl_node_remove(n);
        }
    }
    if (g && (epl_graph_bind(g, "N", batch) || epl_dim(epl_graph_input_at(g, 0), 0) == batch) && epl_set_training(g) && epl_graph_finish(g))
        return g;
    if (g && !epl_graph_failed(g))
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "the network's batch is %lld and has no name: it cannot take %lld samples",
                 (long long)epl_dim(epl_graph_input_at(g, 0), 0), (long long)batch);
    epl_graph_free(g);
    return NULL;
}

typedef struct statistic {
    epl_tensor *now, *to; /* in the program's weights, in the model's */
    double     *sum;
} statistic;

/* The states that the graph updates: running means and variances. */
static int statistics_of(const epl_model *m, const epl_graph *g, epl_weights *w, statistic *out)
{
    int n = 0;
    for (const epl_node *k = g->first; k; k = k->next) {
        if (!EPL_IS(k, update))
            continue;
        const char *name = epl_value_name(k->inputs[0]);
        statistic   s = { .now = epl_weights_find(w, name), .to = epl_weights_find(m->weights, name) };
        if (!s.now || !s.to) {
            epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' is missing in the weights", name);
            return -1;
        }
        s.sum = epl_alloc_array(m->ctx, (size_t)epl_tensor_count(s.to) + 1, sizeof *s.sum);
        if (!s.sum)
            return -1;
        out[n++] = s;
    }
    return n;
}

static bool run_batch(epl_context *ctx, epl_program *p, epl_loader *l, statistic *s, int n)
{
    epl_batch b;
    if (!epl_loader_next(l, &b))
        return false;
    epl_tensor *x = epl_program_input(p, 0);
    if (x->dtype != b.x->dtype || !epl_shape_equal(x->shape, b.x->shape)) {
        char want[192], is[192];
        return epl_fail(ctx, EPL_ERR_SHAPE, "the network takes %s, the data set has %s", epl_shape_text(want, x->shape),
                        epl_shape_text(is, b.x->shape));
    }
    memcpy(x->data, b.x->data, epl_tensor_bytes(x));
    if (!epl_program_run(p))
        return false;
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < epl_tensor_count(s[i].now); k++)
            s[i].sum[k] += epl_tensor_get(s[i].now, k);
    return true;
}

static bool measure(epl_model *m, epl_program *p, epl_loader *l, int batches, statistic *s, int n)
{
    for (int i = 0; i < batches; i++)
        if (!run_batch(m->ctx, p, l, s, n))
            return false;
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < epl_tensor_count(s[i].to); k++)
            epl_tensor_set(s[i].to, k, s[i].sum[k] / batches);
    return true;
}

bool epl_recalibrate_norms(epl_model *m, epl_dataset *d, epl_recalibrate_opts o)
{
    const int64_t   count = epl_dataset_info_of(d).count, wanted = o.batch > 0 ? o.batch : 64;
    epl_loader_opts lo = { .batch = wanted < count ? wanted : count, .shuffle = true, .drop_last = true, .seed = o.seed };
    lo.augment = o.augment ? o.augment : epl_weights_metadata(m->weights, "espalier.augment");
    if (count < 1)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "the data set is empty");
    epl_graph   *g = measuring_graph(m, lo.batch);
    epl_weights *w = g ? epl_weights_copy(m->ctx, m->weights) : NULL; // statistics of one batch are written here
    statistic   *s = w ? epl_alloc_array(m->ctx, (size_t)g->n_nodes + 1, sizeof *s) : NULL;
    const int    n = s ? statistics_of(m, g, w, s) : -1;
    epl_loader  *l = n > 0 ? epl_loader_new(m->ctx, d, lo) : NULL;
    epl_program *p = l ? epl_program_new(g, w, (epl_program_opts){ 0 }) : NULL;
    const bool   ok = n == 0 || (p && measure(m, p, l, o.batches > 0 ? o.batches : 16, s, n));
    epl_program_free(p);
    epl_loader_free(l);
    for (int i = 0; s && s[i].sum; i++) // the list ends with a zero
        epl_release(m->ctx, s[i].sum);
    epl_release(m->ctx, s);
    epl_weights_free(w);
    epl_graph_free(g);
    return ok;
}
