/* prepare: the passes that lowering runs, in order. */
#include "passes/passes.h"

/* Control flow that is known, and what crosses the borders of regions. */
static bool settle_control(epl_graph *g, epl_pass_opts o)
{
    return o.plain ? epl_fold_between(g->first, NULL) : epl_fold_control(g, o.unroll) && epl_trim_regions(g, o.frozen);
}

bool epl_prepare(epl_graph *g, epl_pass_opts o)
{
    bool ok = epl_lower_exits(g) && epl_split_choices(g, 0) && epl_inline_calls(g) && epl_expand_recurrent(g) && epl_settle_shapes(g) &&
              settle_control(g, o) && (!o.frozen || epl_fold_batch_norm(g)) && epl_simplify(g) && settle_control(g, o) &&
              (!o.integers || epl_use_integers(g)) && epl_merge_common(g);
    if (ok)
        epl_remove_dead(g);
    if (!ok || (o.block_bytes && o.frozen && epl_fuse_blocks(g, o.block_bytes) < 0))
        return false;
    return (!o.fuse || (epl_fuse(g) && epl_fuse_codes(g))) && epl_schedule(g) && !epl_graph_failed(g);
}
