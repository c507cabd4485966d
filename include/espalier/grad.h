/* grad: reverse-mode differentiation as a graph pass. Gradients are ordinary nodes, so gradients of gradients, fusion and
 * planning need nothing more. */
#ifndef ESPALIER_GRAD_H
#define ESPALIER_GRAD_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Adds nodes that compute dx[i] = d y / d x[i] for a scalar y. dx[i] has x[i]'s shape and dtype; where y does not depend on
 * x[i] it is a constant zero. False, with the graph failed, if y is not a scalar of a float type or a node on the way is
 * not differentiable (the sentence names it). */
EPL_API bool epl_gradient(epl_graph *g, epl_value *y, int n, epl_value *const *x, epl_value **dx);

/* The general form: dx[i] = sum over j of dy[j]^T d y[j] / d x[i]. dy[j] may be NULL (zero); dx[i] is NULL where no gradient
 * reaches x[i]. */
EPL_API bool epl_vjp(epl_graph *g, int n_outputs, epl_value *const *y, epl_value *const *dy, int n_inputs,
                     epl_value *const *x, epl_value **dx);

#ifdef __cplusplus
}
#endif
#endif
