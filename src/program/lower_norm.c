/* lower_norm: batch, group, layer and RMS normalisation on their kernels (kernels/bandwidth.h). */
#include "program/lower.h"

static int floats(epl_block *b, int64_t count) { return epl_buffer_new(b, (size_t)count * sizeof(float)); }

static int input(epl_block *b, const epl_node *n, int i) { return epl_buffer_of(b, epl_node_input(n, i)); }

static int64_t channels(const epl_norm_params *p) { return p->groups * p->width; }

static int64_t parts_count(const epl_norm_params *p) { return p->outer * epl_norm_splits(p) * 2 * channels(p); }

/* Statistics of x into mean and var (buffers), and for the forward pass the coefficients. */
static bool measure(epl_block *b, const epl_node *n, const epl_norm_params *p, int x, int scale, int mean, int var, int coef)
{
    const int parts = floats(b, parts_count(p));
    return epl_kernel_add(b, n, "norm_parts", p, sizeof *p, 1, &x, 1, &parts) &&
           epl_kernel_add(b, n, "norm_moments", p, sizeof *p, 2, (int[]){ parts, scale }, 3, (int[]){ mean, var, coef });
}

static bool apply(epl_block *b, const epl_node *n, const epl_norm_params *p, int coef, int bias)
{
    const int y = epl_buffer_of(b, n->outputs[0]);
    epl_step *s = epl_kernel_add(b, n, "norm_apply", p, sizeof *p, 3, (int[]){ input(b, n, 0), coef, bias }, 1, &y);
    if (s)
        s->in_place = 1;
    return s != NULL;
}

static bool backward(epl_block *b, const epl_node *n, const epl_norm_params *p, int mean, int var)
{
    const int x = input(b, n, 0), dy = input(b, n, 1), parts = floats(b, parts_count(p)), coef = floats(b, 4 * p->outer * channels(p));
    const int dx = epl_buffer_of(b, n->outputs[0]), dscale = epl_buffer_of(b, n->outputs[1]), dbias = epl_buffer_of(b, n->outputs[2]);
    if (!epl_kernel_add(b, n, "norm_back_parts", p, sizeof *p, 4, (int[]){ x, dy, mean, var }, 1, &parts) ||
        !epl_kernel_add(b, n, "norm_back", p, sizeof *p, 4, (int[]){ parts, input(b, n, 2), mean, var }, 3,
                        (int[]){ dscale, dbias, coef }))
        return false;
    epl_step *s = epl_kernel_add(b, n, "norm_dx", p, sizeof *p, 3, (int[]){ x, dy, coef }, 1, &dx);
    if (s)
        s->in_place = 3;
    return s != NULL;
}

static epl_norm_params batch_params(const epl_node *n)
{
    const int64_t c = epl_channels(n->inputs[0]);
    return (epl_norm_params){ 1, epl_shape_count(n->inputs[0]->shape) / (c ? c : 1), c, 1, epl_attr_r(n, "epsilon") };
}

bool epl_lower_batch_norm(epl_block *b, const epl_node *n, const char **why) /* x, scale, bias, mean, var */
{
    const epl_norm_params p = batch_params(n);
    if (!epl_lowers_f32(n, why))
        return false;
    const int coef = floats(b, 2 * channels(&p)), unused[2] = { floats(b, p.groups), floats(b, p.groups) };
    return epl_kernel_add(b, n, "norm_moments", &p, sizeof p, 4, (int[]){ -1, input(b, n, 1), input(b, n, 3), input(b, n, 4) }, 3,
                          (int[]){ unused[0], unused[1], coef }) &&
           apply(b, n, &p, coef, input(b, n, 2));
}

bool epl_lower_batch_norm_train(epl_block *b, const epl_node *n, const char **why) /* x, scale, bias -> y, mean, var */
{
    const epl_norm_params p = batch_params(n);
    if (!epl_lowers_f32(n, why))
        return false;
    const int coef = floats(b, 2 * channels(&p));
    return measure(b, n, &p, input(b, n, 0), input(b, n, 1), epl_buffer_of(b, n->outputs[1]), epl_buffer_of(b, n->outputs[2]), coef) &&
           apply(b, n, &p, coef, input(b, n, 2));
}

bool epl_lower_batch_norm_grad(epl_block *b, const epl_node *n, const char **why) /* x, dy, scale, mean, var -> dx, dscale, dbias */
{
    const epl_norm_params p = batch_params(n);
    return epl_lowers_f32(n, why) && backward(b, n, &p, input(b, n, 3), input(b, n, 4));
}

static epl_norm_params group_params(const epl_node *n)
{
    const epl_shape x = n->inputs[0]->shape;
    const int64_t   groups = epl_attr_i(n, "num_groups");
    return (epl_norm_params){ x.dim[0], epl_shape_count_from(x, 1, x.rank - 1), groups, x.dim[x.rank - 1] / groups,
                              epl_attr_r(n, "epsilon") };
}

bool epl_lower_group_norm(epl_block *b, const epl_node *n, const char **why) /* x, scale, bias */
{
    const epl_norm_params p = group_params(n);
    if (!epl_lowers_f32(n, why))
        return false;
    const int sets = (int)(p.outer * p.groups), coef = floats(b, 2 * p.outer * channels(&p));
    return measure(b, n, &p, input(b, n, 0), input(b, n, 1), floats(b, sets), floats(b, sets), coef) &&
           apply(b, n, &p, coef, input(b, n, 2));
}

bool epl_lower_group_norm_grad(epl_block *b, const epl_node *n, const char **why) /* x, dy, scale -> dx, dscale, dbias */
{
    const epl_norm_params p = group_params(n);
    if (!epl_lowers_f32(n, why))
        return false;
    const int64_t sets = p.outer * p.groups;
    const int mean = floats(b, sets), var = floats(b, sets), coef = floats(b, 2 * p.outer * channels(&p));
    return measure(b, n, &p, input(b, n, 0), -1, mean, var, coef) && backward(b, n, &p, mean, var);
}

static epl_row_norm_params row_params(const epl_node *n, bool center)
{
    const epl_shape x = n->inputs[0]->shape;
    const int       given = (int)epl_attr_i(n, "axis"), axis = given < 0 ? given + x.rank : given;
    return (epl_row_norm_params){ epl_shape_count_from(x, 0, axis), epl_shape_count_from(x, axis, x.rank), center,
                                  epl_attr_r(n, "epsilon") };
}

bool epl_lower_row_norm(epl_block *b, const epl_node *n, const char **why) /* x, scale, bias */
{
    const bool                center = EPL_IS(n, layer_norm);
    const epl_row_norm_params p = row_params(n, center);
    if (!epl_lowers_f32(n, why))
        return false;
    const int in[3] = { input(b, n, 0), n->n_inputs > 1 ? input(b, n, 1) : -1, n->n_inputs > 2 ? input(b, n, 2) : -1 };
    const int y = epl_buffer_of(b, n->outputs[0]);
    epl_step *s = epl_kernel_add(b, n, "row_norm", &p, sizeof p, 3, in, 1, &y);
    if (s)
        s->in_place = 1;
    return s != NULL;
}

bool epl_lower_row_norm_grad(epl_block *b, const epl_node *n, const char **why) /* x, dy, scale -> dx, dscale, dbias */
{
    const bool                center = EPL_IS(n, layer_norm_grad);
    const epl_row_norm_params p = row_params(n, center);
    if (!epl_lowers_f32(n, why))
        return false;
    const int64_t parts = epl_row_norm_parts(&p);
    const epl_sum_parts_params sum = { parts, p.width };
    const int in[3] = { input(b, n, 0), input(b, n, 1), n->n_inputs > 2 ? input(b, n, 2) : -1 };
    int out[3] = { epl_buffer_of(b, n->outputs[0]) };
    for (int i = 1; i < n->n_outputs; i++)
        out[i] = parts == 1 ? epl_buffer_of(b, n->outputs[i]) : floats(b, parts * p.width);
    if (!epl_kernel_add(b, n, "row_norm_back", &p, sizeof p, 3, in, n->n_outputs, out))
        return false;
    for (int i = 1; parts > 1 && i < n->n_outputs; i++) {
        const int to = epl_buffer_of(b, n->outputs[i]);
        if (!epl_kernel_add(b, n, "sum_parts", &sum, sizeof sum, 1, &out[i], 1, &to))
            return false;
    }
    return true;
}
