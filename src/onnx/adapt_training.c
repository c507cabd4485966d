/* adapt_training: the domain ai.onnx.preview.training - its optimizers, whose inputs are rate, step count, then a
 * list of tensors, of their gradients and of their slots; and Gradient, which names tensors of the graph and becomes
 * the nodes of reverse mode. */
#include "onnx/adapt.h"

#include <espalier/grad.h>

#include <string.h>

static epl_value *times(onnx_node *n, epl_value *x, double by) { return x ? epl_mul(n->g, x, onnx_scalar_like(n, x, by)) : NULL; }

/* The gradient with weight decay, and how many tensors there are with `slots` inputs of state for each. */
static int tensors(onnx_node *n, int slots)
{
    const int rest = n->n_in - 2;
    if (rest < 1 || rest % (2 + slots) || n->n_in > 64) {
        onnx_unsupported(n, "%d inputs", n->n_in);
        return 0;
    }
    return rest / (2 + slots);
}

static epl_value *regularised(onnx_node *n, epl_value *x, epl_value *dx)
{
    return epl_add(n->g, dx, times(n, x, onnx_real(n, "norm_coefficient", 0)));
}

static bool import_momentum(onnx_node *n)
{
    epl_graph   *g = n->g;
    const int    k = tensors(n, 1);
    const double alpha = onnx_real(n, "alpha", 0), beta = onnx_real(n, "beta", 0);
    const bool   nesterov = strcmp(onnx_text(n, "mode", "standard"), "nesterov") == 0;
    const epl_tensor *step = onnx_one(n, 1, "the step");
    if (!k || !step)
        return false;
    for (int i = 0; i < k; i++) {
        epl_value *x = onnx_in(n, 2 + i), *v = onnx_in(n, 2 + 2 * k + i), *dx = regularised(n, x, onnx_in(n, 2 + k + i));
        epl_value *slot = epl_add(g, times(n, v, alpha), times(n, dx, epl_tensor_get_i64(step, 0) > 0 ? beta : 1));
        epl_value *d = nesterov ? epl_add(g, dx, times(n, slot, alpha)) : slot;
        n->out[i] = epl_sub(g, x, epl_mul(g, onnx_in(n, 0), d));
        n->out[k + i] = slot;
    }
    return true;
}

static bool import_adagrad(onnx_node *n)
{
    epl_graph   *g = n->g;
    const int    k = tensors(n, 1);
    const double epsilon = onnx_real(n, "epsilon", 1e-6), decay = onnx_real(n, "decay_factor", 0);
    const epl_tensor *step = onnx_one(n, 1, "the step");
    if (!k || !step)
        return false;
    epl_value *rate = times(n, onnx_in(n, 0), 1 / (1 + (double)epl_tensor_get_i64(step, 0) * decay));
    for (int i = 0; i < k; i++) {
        epl_value *x = onnx_in(n, 2 + i), *h = onnx_in(n, 2 + 2 * k + i), *dx = regularised(n, x, onnx_in(n, 2 + k + i));
        n->out[k + i] = epl_add(g, h, epl_square(g, dx));
        epl_value *root = epl_sqrt(g, n->out[k + i]);
        epl_value *d = root ? epl_div(g, dx, epl_add(g, root, onnx_scalar_like(n, root, epsilon))) : NULL;
        n->out[i] = epl_sub(g, x, epl_mul(g, rate, d));
    }
    return true;
}

static bool import_adam(onnx_node *n)
{
    epl_graph   *g = n->g;
    const int    k = tensors(n, 2);
    const double alpha = onnx_real(n, "alpha", 0.9), beta = onnx_real(n, "beta", 0.999), epsilon = onnx_real(n, "epsilon", 1e-6);
    const double after = onnx_real(n, "norm_coefficient_post", 0);
    const epl_tensor *step = onnx_one(n, 1, "the step");
    if (!k || !step)
        return false;
    const double t = (double)epl_tensor_get_i64(step, 0);
    double       a = 1, b = 1;
    for (int64_t i = 0; i < (int64_t)t && i < 1000000; i++) {
        a *= alpha;
        b *= beta;
    }
    epl_value *rate = t > 0 && onnx_in(n, 0)
                          ? epl_mul(g, onnx_in(n, 0),
                                    epl_div(g, epl_sqrt(g, onnx_scalar_like(n, onnx_in(n, 0), 1 - b)),
                                            onnx_scalar_like(n, onnx_in(n, 0), 1 - a)))
                          : onnx_in(n, 0);
    for (int i = 0; i < k; i++) {
        epl_value *x = onnx_in(n, 2 + i), *v = onnx_in(n, 2 + 2 * k + i), *h = onnx_in(n, 2 + 3 * k + i);
        epl_value *dx = regularised(n, x, onnx_in(n, 2 + k + i));
        n->out[k + i] = epl_add(g, times(n, v, alpha), times(n, dx, 1 - alpha));
        n->out[2 * k + i] = epl_add(g, times(n, h, beta), times(n, epl_square(g, dx), 1 - beta));
        epl_value *root = epl_sqrt(g, n->out[2 * k + i]);
        epl_value *d = root ? epl_div(g, n->out[k + i], epl_add(g, root, onnx_scalar_like(n, root, epsilon))) : NULL;
        n->out[i] = times(n, epl_sub(g, x, epl_mul(g, rate, d)), 1 - after);
    }
    return true;
}

/* d y / d xs: "xs" and "zs" name tensors of this graph, and the inputs must be those very tensors. */
static bool import_gradient(onnx_node *n)
{
    epl_value  *x[ONNX_MAX_OUT], *dx[ONNX_MAX_OUT], *y = onnx_named(n, onnx_text(n, "y", ""));
    int         count = 0, held = 0;
    for (const char *name; count < n->n_out && (name = onnx_strings(n, "xs", count)) != NULL; count++) {
        x[count] = onnx_in(n, count);
        if (!x[count] || onnx_named(n, name) != x[count])
            return onnx_unsupported(n, "values for '%s' other than its own", name);
    }
    while (onnx_strings(n, "zs", held))
        (void)onnx_in(n, count + held++);
    if (!y || count != n->n_out)
        return onnx_fail(n, EPL_ERR_FORMAT, "%d results for %d names, or no such tensor to differentiate", n->n_out, count);
    epl_value *total = y->shape.rank ? epl_reduce_sum(n->g, y, (epl_reduce_opts){ 0 }) : y;
    if (!total || !epl_gradient(n->g, total, count, x, dx))
        return false;
    for (int i = 0; i < count; i++)
        n->out[i] = dx[i] ? dx[i] : epl_zeros_like(n->g, x[i]);
    return true;
}

const onnx_op onnx_ops_training[] = {
    { "ai.onnx.preview.training:Gradient", import_gradient, NULL },
    { "ai.onnx.preview.training:Momentum", import_momentum, NULL }, { "ai.onnx.preview.training:Adagrad", import_adagrad, NULL },
    { "ai.onnx.preview.training:Adam", import_adam, NULL }, { NULL, NULL, NULL },
};
