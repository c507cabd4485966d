/* prepare: the passes that lowering runs, in order. */
#include "passes/passes.h"

bool epl_prepare(epl_graph *g, epl_pass_opts o)
{
    epl_remove_dead(g);
    return (!o.fuse || epl_fuse(g)) && epl_schedule(g) && !epl_graph_failed(g);
}
