/* adapt_training: the optimizers of the domain ai.onnx.preview.training. Inputs: rate, step count, then a list of tensors, of
 * their gradients and of their slots. */
#include "onnx/adapt.h"

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
    epl_value *rate = t > 0 && onnx_in(n, 0) ? epl_mul(g, onnx_in(n, 0), epl_div(g, epl_sqrt(g, onnx_scalar_like(n, onnx_in(n, 0), 1 - b)), onnx_scalar_like(n, onnx_in(n, 0), 1 - a)))
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

const onnx_op onnx_ops_training[] = {
    { "ai.onnx.preview.training:Momentum", import_momentum, NULL }, { "ai.onnx.preview.training:Adagrad", import_adagrad, NULL },
    { "ai.onnx.preview.training:Adam", import_adam, NULL }, { NULL, NULL, NULL },
};
