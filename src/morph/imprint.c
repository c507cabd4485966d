/* imprint: one more class for a network whose head compares directions. */
#include <espalier/morph.h>

#include "graph/op.h"

#include <math.h>
#include <string.h>

/* The parameter [D, C] whose columns output 0 is cosines with: the logits are a scale times x W, and W is a
 * parameter times what makes its columns unit vectors (nn.h, cosine_head). NULL if the head is another. */
static epl_value *directions_of(const epl_graph *g)
{
    const epl_node *n = epl_graph_n_outputs(g) > 0 ? epl_producer(epl_graph_output_at(g, 0)) : NULL;
    if (!n || !epl_glob("Affine,Mul", epl_node_op_name(n)))
        return NULL;
    n = epl_producer(epl_node_input(n, 0));
    if (strcmp(epl_node_op_name(n), "Linear") != 0 || epl_node_n_inputs(n) < 2)
        return NULL;
    n = epl_producer(epl_node_input(n, 1));
    if (strcmp(epl_node_op_name(n), "Mul") != 0)
        return NULL;
    epl_value *w = epl_node_input(n, 0);
    return strcmp(epl_node_op_name(epl_producer(w)), "Parameter") == 0 && epl_rank(w) == 2 ? w : NULL;
}

/* The old columns and one more: the direction of the features' mean. */
static epl_tensor *widened(const epl_tensor *w, const epl_tensor *features)
{
    const int64_t d = w->shape.dim[0], c = w->shape.dim[1], k = features->shape.dim[0];
    epl_tensor   *out = epl_tensor_new(w->ctx, w->dtype, EPL_SHAPE(d, c + 1));
    double        squares = 0, length = 0;
    for (int64_t i = 0; out && i < d; i++) {
        double mean = 0;
        for (int64_t n = 0; n < k; n++)
            mean += epl_tensor_get(features, n * d + i) / (double)k;
        length += mean * mean;
        for (int64_t j = 0; j < c; j++) {
            const double x = epl_tensor_get(w, i * c + j);
            squares += x * x;
            epl_tensor_set(out, i * (c + 1) + j, x);
        }
        epl_tensor_set(out, i * (c + 1) + c, mean);
    }
    const double by = length > 0 ? sqrt(squares / (double)c / length) : 0;
    for (int64_t i = 0; out && i < d; i++)
        epl_tensor_set(out, i * (c + 1) + c, by * epl_tensor_get(out, i * (c + 1) + c));
    return out;
}

bool epl_imprint_class(epl_model *m, const epl_tensor *features)
{
    epl_value *v = directions_of(m->graph);
    char       is[192];
    if (!v)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no head of cosines (head=cosine): a class cannot be imprinted",
                        epl_graph_name(m->graph));
    const int64_t d = epl_dim(v, 0), c = epl_dim(v, 1);
    if (features->shape.rank != 2 || features->shape.dim[0] < 1 || features->shape.dim[1] != d)
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "examples have features %s, the head reads [k, %lld]", epl_shape_text(is, features->shape),
                        (long long)d);
    const char *name = epl_value_name(v);
    epl_tensor *w    = epl_weights_find(m->weights, name), *wide = w ? widened(w, features) : NULL;
    if (!wide)
        return w ? false : epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'%s' is not in the weights", name);
    epl_node *p = epl_producer(v);
    return epl_weights_put_take(m->weights, name, wide) &&
           epl_node_set_attr(p, epl_op_attr_index(epl_node_op(p), "shape"), EPL_A_INTS(2, ((const int64_t[]){ d, c + 1 }))) &&
           epl_reinfer(m->graph) && epl_graph_verify(m->graph);
}
