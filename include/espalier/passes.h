/* passes: general rewrites, graph in and graph out. Each states the tolerance that it keeps. */
#ifndef ESPALIER_PASSES_H
#define ESPALIER_PASSES_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct epl_pass_opts {
    bool fuse;   /* element-wise chains and epilogues become Fused nodes */
    bool frozen; /* parameters are constants */
} epl_pass_opts;

/* What lowering does to a graph: settle shapes, inline regions with custom gradients, fold constants, simplify, merge common
 * sub-expressions, remove what is dead, order, and (if asked) fuse. */
EPL_API bool epl_prepare(epl_graph *g, epl_pass_opts o);

#ifdef __cplusplus
}
#endif
#endif
