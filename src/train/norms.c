/* norms: in which mode the batch norms of a step are, and what tune saves. The modes are defined in passes.h. */
#include "train/train.h"

#include "graph/op.h"
#include "passes/passes.h"

/* The norms whose mode was asked for. */
static bool is_named(const epl_step_opts *o, const epl_node *n)
{
    return o->norms.mode != EPL_NORM_AUTO && epl_batch_norm_matches(n, o->norms.pattern);
}

/* A frozen batch norm computes with the statistics that it has, and keeps them: what does not learn does not drift. */
static bool is_frozen(const epl_step_opts *o, const epl_node *n)
{
    const char *name = EPL_IS(n, batch_norm) ? epl_value_name(n->inputs[1]) : NULL;
    return name && EPL_IS(n->inputs[1]->producer, parameter) && epl_is_frozen(&o->optimizer, name);
}

static bool rests(const void *opts, const epl_node *n)
{
    const epl_step_opts *o = opts;
    return EPL_IS(n, batch_norm) && (is_named(o, n) ? o->norms.mode != EPL_NORM_TRAIN : is_frozen(o, n));
}

static bool tunes(const void *opts, const epl_node *n)
{
    const epl_step_opts *o = opts;
    return is_named(o, n) ? o->norms.mode == EPL_NORM_TUNE : is_frozen(o, n);
}

/* A mode that was asked for must be possible: there are such norms, and they have statistics. */
bool epl_step_check_norms(const epl_model *m, const epl_step_opts *o)
{
    const epl_norm_modes asked = o->norms;
    const char *mode = epl_norm_mode_name(asked.mode);
    int         found = 0;
    if (asked.mode == EPL_NORM_AUTO)
        return true;
    if (asked.mode == EPL_NORM_DEPLOY)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                        "network '%s': mode deploy of batch norms is a change of the model (epl_deploy_batch_norms), "
                        "not of a step",
                        m->graph->name);
    if (epl_weights_metadata(m->weights, EPL_FOLDED_KEY))
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                        "network '%s': its batch norms are folded into the weights (deploy) and their statistics are "
                        "gone, mode '%s' needs them",
                        m->graph->name, mode);
    for (const epl_node *n = m->graph->first; n; n = n->next) {
        const bool trained = EPL_IS(n, batch_norm_train);
        if ((!EPL_IS(n, batch_norm) && !trained) || !is_named(o, n))
            continue;
        if (trained && asked.mode != EPL_NORM_TRAIN)
            return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                            "network '%s': a batch norm that '%s' names has no running statistics, mode '%s' needs "
                            "them",
                            m->graph->name, asked.pattern ? asked.pattern : "*", mode);
        found++;
    }
    return found > 0 || epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no batch norm '%s' for mode '%s'", m->graph->name,
                                 asked.pattern ? asked.pattern : "*", mode);
}

bool epl_step_set_norms(epl_graph *g, const epl_step_opts *o)
{
    return epl_set_training_but(g, rests, o) && epl_tune_norms_if(g, tunes, o, NULL);
}

bool epl_tune_saves(const epl_model *m, epl_step_opts o, epl_fold_report *pairs, size_t *bytes)
{
    epl_program_memory eval, tune;
    epl_graph *g = pairs ? epl_graph_copy(m->graph) : NULL;
    bool ok = !pairs || (g && epl_tune_batch_norms(g, o.norms.pattern, pairs));
    epl_graph_free(g);
    o.norms.mode = EPL_NORM_TUNE; // first, so that what is refused is what was asked for
    ok = ok && epl_train_memory(m, o, &tune);
    o.norms.mode = EPL_NORM_EVAL;
    ok = ok && epl_train_memory(m, o, &eval);
    *bytes = ok && tune.total < eval.total ? eval.total - tune.total : 0;
    return ok;
}
