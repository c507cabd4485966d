/* compiling: see compiling.h. */
#include "compiling.h"

#include <string.h>

epl_compile_opts cli_compiling_opts(const cli_compiling *o)
{
    const epl_weights_form form = strcmp(o->weights, "source") == 0 ? EPL_WEIGHTS_SOURCE
                                  : strcmp(o->weights, "file") == 0 ? EPL_WEIGHTS_FILE : EPL_WEIGHTS_AUTO;
    return (epl_compile_opts){ .name = o->name, .target = o->target, .weights = form, .block_bytes = (size_t)o->block_kib << 10,
                               .max_trip = o->max_trip, .unroll = (int)o->unroll, .shifts = o->shifts };
}

/* The graph of the step takes the network's place; its states join the weights. */
static bool make_step(cli *c, epl_model *m, const cli_compiling *o)
{
    epl_step_opts s = { .batch = o->dims.batch ? o->dims.batch : 1, .loss.name = o->loss };
    epl_graph *g = epl_optimizer_parse(c->ctx, o->optimizer, &s.optimizer)
                       ? epl_train_graph(m, m->weights, s, (uint64_t)c->seed, NULL) : NULL;
    if (!g)
        return false;
    epl_graph_free(m->graph);
    m->graph = g;
    return true;
}

epl_model *cli_compiling_model(cli *c, const char *path, const cli_compiling *o)
{
    epl_model *m = cli_model_load(c, path, &o->dims);
    if (m && o->train && !make_step(c, m, o)) {
        epl_model_free(m);
        return NULL;
    }
    return m;
}
