/* layers: builders that create their parameters; see the public header. */
#include <math.h>
#include <string.h>

#include <espalier/nn.h>

/* ---- starts ---- */

static epl_value *weight(epl_graph *g, epl_shape shape, double fan_in, double fan_out, epl_start start, double gain)
{
    epl_init init = EPL_INIT_NORMAL;
    double   a    = 0;
    switch (start) {
    case EPL_START_DEFAULT:
    case EPL_START_HE:           a = sqrt(2 / fan_in); break;
    case EPL_START_HE_FAN_OUT:   a = sqrt(2 / fan_out); break;
    case EPL_START_GLOROT:       init = EPL_INIT_UNIFORM, a = sqrt(6 / (fan_in + fan_out)); break;
    case EPL_START_LECUN:        init = EPL_INIT_UNIFORM, a = sqrt(1 / fan_in); break;
    case EPL_START_TRUNC_NORMAL: init = EPL_INIT_TRUNC_NORMAL, a = 0.02; break;
    case EPL_START_ORTHOGONAL:   init = EPL_INIT_ORTHOGONAL, a = 1; break;
    case EPL_START_ZERO:         init = EPL_INIT_ZEROS; break;
    case EPL_START_SMALL:        a = 0.01; break;
    case EPL_START_UNIT:         init = EPL_INIT_UNIFORM_ABOVE, a = 1; break;
    }
    return epl_parameter(g, "weight", EPL_F32, shape, init, gain != 0 ? a * gain : a);
}

static epl_value *vector(epl_graph *g, const char *name, int64_t n, double start)
{
    return epl_parameter(g, name, EPL_F32, EPL_SHAPE(n), start == 1 ? EPL_INIT_ONES : start == 0 ? EPL_INIT_ZEROS : EPL_INIT_CONSTANT,
                         start);
}

static const char *or_name(const char *name, const char *otherwise) { return name ? name : otherwise; }
static int or_int(int x, int otherwise) { return x ? x : otherwise; }

static bool required(epl_graph *g, const char *layer, const char *field, int64_t value)
{
    return value > 0 || epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: '%s' is %lld, at least 1 is needed", layer, field, (long long)value);
}

/* ---- convolutions ---- */

epl_value *epl_conv(epl_graph *g, epl_value *x, epl_conv_opts o)
{
    if (x && o.depthwise) {
        o.groups = (int)epl_channels(x);
        o.out    = or_int(o.out, o.groups);
    }
    const int spatial = epl_rank(x) - 2, groups = or_int(o.groups, 1), kernel = or_int(o.kernel, 3), stride = or_int(o.stride, 1);
    if (!x || !required(g, or_name(o.name, "conv"), "out", o.out) || !required(g, or_name(o.name, "conv"), "groups", groups))
        return NULL;
    if (spatial < 1 || spatial > 3 || epl_channels(x) % groups || o.out % groups)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "conv '%s': %d groups do not divide %lld input and %d output channels of rank %d",
                              or_name(o.name, "conv"), groups, (long long)epl_channels(x), o.out, epl_rank(x));
    epl_scope_push(g, "%s", or_name(o.name, "conv"));
    epl_shape shape = { .rank = spatial + 2 };
    double    taps  = 1;
    epl_convolve_opts c = { .groups = groups, .pad = o.pad, .same = o.same };
    for (int i = 0; i < spatial; i++) {
        shape.dim[i]  = or_int(o.kernel_at[i], kernel);
        c.stride[i]   = or_int(o.stride_at[i], stride);
        c.dilation[i] = or_int(o.dilation, 1);
        taps *= (double)shape.dim[i];
    }
    shape.dim[spatial]     = epl_channels(x) / groups;
    shape.dim[spatial + 1] = o.out;
    epl_value *w = weight(g, shape, taps * (double)shape.dim[spatial], taps * o.out / groups, o.init, o.gain);
    epl_value *y = epl_convolve(g, x, w, o.no_bias ? NULL : vector(g, "bias", o.out, 0), c);
    epl_scope_pop(g);
    return y;
}

/* Padding of a convolution with `same` from `size` elements to `have`: as much as it takes, the odd one at the end. */
static bool undo_same(epl_graph *g, epl_convolve_opts *c, int axis, int64_t have, int64_t size, int kernel)
{
    const int64_t stride = c->stride[axis], covered = (have - 1) * stride + (int64_t)c->dilation[axis] * (kernel - 1) + 1;
    if (size < 1 || (size + stride - 1) / stride != have)
        return epl_graph_fail(g, EPL_ERR_SHAPE,
                              "a size of %lld along axis %d cannot be restored from %lld by a stride of %lld",
                              (long long)size, axis, (long long)have, (long long)stride);
    const int64_t pad = covered > size ? covered - size : 0;
    c->pad_begin[axis]  = (int)(pad / 2);
    c->pad_end[axis]    = (int)(pad - pad / 2);
    c->output_pad[axis] = (int)(size - (covered - pad)); // where strides are longer than the kernel
    return true;
}

epl_value *epl_conv_transpose(epl_graph *g, epl_value *x, epl_conv_transpose_opts o)
{
    const int spatial = epl_rank(x) - 2, groups = or_int(o.groups, 1), kernel = or_int(o.kernel, 2), stride = or_int(o.stride, 2);
    if (!x || !required(g, or_name(o.name, "up"), "out", o.out))
        return NULL;
    epl_scope_push(g, "%s", or_name(o.name, "up"));
    epl_shape shape = { .rank = spatial + 2 };
    double    taps  = 1;
    epl_convolve_opts c = { .groups = groups, .pad = o.pad };
    for (int i = 0; i < spatial && i < 3; i++) {
        shape.dim[i]    = kernel;
        c.stride[i]     = stride;
        c.dilation[i]   = or_int(o.dilation, 1);
        c.output_pad[i] = o.output_pad;
        taps *= kernel / (double)stride;
        if (o.same_size[i])
            undo_same(g, &c, i, epl_dim(x, i + 1), o.same_size[i], kernel);
    }
    shape.dim[spatial]     = o.out / groups;
    shape.dim[spatial + 1] = epl_channels(x);
    epl_value *w = weight(g, shape, taps * (double)epl_channels(x) / groups, taps * o.out / groups, o.init, 1);
    epl_value *y = epl_convolve_transpose(g, x, w, o.no_bias ? NULL : vector(g, "bias", o.out, 0), c);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_linear(epl_graph *g, epl_value *x, epl_linear_opts o)
{
    if (!x || !required(g, or_name(o.name, "linear"), "out", o.out))
        return NULL;
    epl_scope_push(g, "%s", or_name(o.name, "linear"));
    const double in = (double)epl_channels(x);
    epl_value *w = weight(g, EPL_SHAPE(epl_channels(x), o.out), in, o.out, o.init ? o.init : EPL_START_LECUN, 1);
    epl_value *y = epl_multiply_rows(g, x, w, o.no_bias ? NULL : vector(g, "bias", o.out, 0), false);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_embedding(epl_graph *g, epl_value *indices, epl_embedding_opts o)
{
    if (!indices || !required(g, "embedding", "count", o.count) || !required(g, "embedding", "width", o.width))
        return NULL;
    epl_scope_push(g, "%s", or_name(o.name, "embedding"));
    epl_value *table = epl_parameter(g, "weight", EPL_F32, EPL_SHAPE(o.count, o.width), EPL_INIT_NORMAL, o.std ? o.std : 1);
    epl_scope_pop(g);
    return epl_gather(g, table, indices, 0);
}

epl_value *epl_stable_embedding(epl_graph *g, epl_value *indices, epl_embedding_opts o)
{
    if (!indices || !required(g, "stable embedding", "count", o.count) || !required(g, "stable embedding", "width", o.width))
        return NULL;
    epl_scope_push(g, "%s", or_name(o.name, "stable"));
    epl_value *table = epl_parameter(g, "weight", EPL_F32, EPL_SHAPE(o.count, o.width), EPL_INIT_UNIFORM,
                                     sqrt(6.0 / (double)(o.count + o.width)));
    epl_value *x = epl_layer_norm(g, epl_gather(g, table, indices, 0), (epl_norm_opts){ .name = "norm" });
    epl_scope_pop(g);
    return x;
}

/* ---- normalisations ---- */

typedef struct affine {
    epl_value *scale, *bias;
} affine;

static affine affine_of(epl_graph *g, int64_t channels, epl_norm_opts o)
{
    affine a = { NULL, NULL };
    if (!o.no_affine)
        a.scale = vector(g, "weight", channels, o.weight == 0 ? 1 : o.weight < 0 ? 0 : o.weight);
    if (!o.no_affine && !o.no_bias)
        a.bias = vector(g, "bias", channels, 0);
    return a;
}

epl_value *epl_batch_norm(epl_graph *g, epl_value *x, epl_norm_opts o)
{
    if (!x)
        return NULL;
    epl_scope_push(g, "%s", or_name(o.name, "norm"));
    const int64_t c = epl_channels(x);
    affine a = affine_of(g, c, o);
    if (!a.scale) // the operator takes both
        a.scale = epl_expand(g, epl_scalar(g, EPL_F32, 1), EPL_SHAPE(c));
    if (!a.bias)
        a.bias = epl_expand(g, epl_scalar(g, EPL_F32, 0), EPL_SHAPE(c));
    epl_value *mean = epl_state(g, "running_mean", EPL_F32, EPL_SHAPE(c), EPL_INIT_ZEROS, 0);
    epl_value *var  = epl_state(g, "running_var", EPL_F32, EPL_SHAPE(c), EPL_INIT_ONES, 0);
    epl_value *y    = epl_normalize_batch(g, x, a.scale, a.bias, mean, var, o.epsilon, o.momentum ? o.momentum : 0.9);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_layer_norm(epl_graph *g, epl_value *x, epl_norm_opts o)
{
    epl_scope_push(g, "%s", or_name(o.name, "norm"));
    const affine a = affine_of(g, epl_channels(x), o);
    epl_value   *y = epl_normalize_layer(g, x, a.scale, a.bias, -1, o.epsilon);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_rms_norm(epl_graph *g, epl_value *x, epl_norm_opts o)
{
    epl_scope_push(g, "%s", or_name(o.name, "norm"));
    o.no_bias      = true;
    const affine a = affine_of(g, epl_channels(x), o);
    epl_value   *y = epl_normalize_rms(g, x, a.scale, -1, o.epsilon);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_group_norm(epl_graph *g, epl_value *x, epl_norm_opts o)
{
    epl_scope_push(g, "%s", or_name(o.name, "norm"));
    const affine a = affine_of(g, epl_channels(x), o);
    epl_value   *y = epl_normalize_group(g, x, a.scale, a.bias, or_int(o.groups, 32), o.epsilon);
    epl_scope_pop(g);
    return y;
}

epl_value *epl_instance_norm(epl_graph *g, epl_value *x, epl_norm_opts o)
{
    epl_scope_push(g, "%s", or_name(o.name, "norm"));
    const affine a = affine_of(g, epl_channels(x), o);
    epl_value   *y = epl_normalize_instance(g, x, a.scale, a.bias, o.epsilon);
    epl_scope_pop(g);
    return y;
}

/* ---- activations ---- */

typedef epl_value *activation_fn(epl_graph *g, epl_value *x);

static epl_value *identity(epl_graph *g, epl_value *x) { (void)g; return x; }
static epl_value *leaky(epl_graph *g, epl_value *x) { return epl_leaky_relu(g, x, 0.01); }
static epl_value *elu1(epl_graph *g, epl_value *x) { return epl_elu(g, x, 1); }
static epl_value *selu(epl_graph *g, epl_value *x) { return epl_selu(g, x, 1.6732631921768188, 1.0507010221481323); }
static epl_value *celu1(epl_graph *g, epl_value *x) { return epl_celu(g, x, 1); }
static epl_value *hard_sigmoid(epl_graph *g, epl_value *x) { return epl_hard_sigmoid(g, x, 1.0 / 6, 0.5); } // as mobile networks use it

static const struct {
    const char    *name;
    activation_fn *build;
} activations[] = {
    { "identity", identity }, { "relu", epl_relu }, { "relu6", epl_relu6 }, { "leaky_relu", leaky }, { "elu", elu1 },
    { "selu", selu }, { "celu", celu1 }, { "gelu", epl_gelu }, { "gelu_tanh", epl_gelu_tanh }, { "silu", epl_silu },
    { "swish", epl_silu }, { "hard_swish", epl_hard_swish }, { "hard_sigmoid", hard_sigmoid }, { "sigmoid", epl_sigmoid },
    { "tanh", epl_tanh }, { "softplus", epl_softplus }, { "softsign", epl_softsign }, { "mish", epl_mish },
};

epl_value *epl_activation(epl_graph *g, epl_value *x, const char *name)
{
    const char *names[EPL_COUNT(activations)];
    for (size_t i = 0; i < EPL_COUNT(activations); i++) {
        if (strcmp(activations[i].name, name ? name : "identity") == 0)
            return activations[i].build(g, x);
        names[i] = activations[i].name;
    }
    const char *close = epl_closest(name, names, EPL_COUNT(names));
    return epl_graph_fail(g, EPL_ERR_ARGUMENT, "no activation is named '%s'%s%s%s", name, close ? "; did you mean '" : "",
                          close ? close : "", close ? "'?" : "");
}
