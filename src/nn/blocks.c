/* blocks: what many convolutional networks share, made of layers; see the public header. */
#include <stdio.h>

#include "nn/shortcut.h"

static const char *or_name(const char *name, const char *otherwise) { return name ? name : otherwise; }
static int or_int(int x, int otherwise) { return x ? x : otherwise; }

/* The scope of a block whose name may be missing: its parts then go into the current one. */
static void enter(epl_graph *g, const char *name)
{
    if (name)
        epl_scope_push(g, "%s", name);
}

static void leave(epl_graph *g, const char *name)
{
    if (name)
        epl_scope_pop(g);
}

static epl_value *normalized(epl_graph *g, epl_value *x, epl_norm_fn *normalize, const char *name, epl_norm_opts o)
{
    o.name = name;
    return (normalize ? normalize : epl_batch_norm)(g, x, o);
}

/* ---- conv, norm, activation ---- */

epl_value *epl_conv_unit(epl_graph *g, epl_value *x, epl_conv_unit_opts o)
{
    const char *activation = or_name(o.activation, "relu");
    epl_conv_opts c = o.conv;
    c.name    = "conv";
    c.no_bias = !o.no_norm && !o.with_bias;
    if (!c.pad && !c.same)
        c.pad = or_int(c.kernel, 3) / 2 * or_int(c.dilation, 1);
    epl_scope_push(g, "%s", or_name(o.name, "unit"));
    if (o.pre) {
        if (!o.no_norm)
            x = normalized(g, x, o.normalize, "norm", o.norm);
        x = epl_conv(g, epl_activation(g, x, activation), c);
    } else {
        x = epl_conv(g, x, c);
        if (!o.no_norm)
            x = normalized(g, x, o.normalize, "norm", o.norm);
        x = epl_activation(g, x, activation);
    }
    epl_scope_pop(g);
    return x;
}

epl_value *epl_stem(epl_graph *g, epl_value *x, epl_stem_opts o)
{
    const char *name = or_name(o.name, "stem");
    char        part[64];
    if (o.kind == EPL_STEM_SMALL && o.bare)
        return epl_conv(g, x, (epl_conv_opts){ .name = name, .out = o.out, .pad = 1, .no_bias = true });
    epl_conv_unit_opts u = { .name = name, .normalize = o.normalize, .norm = o.norm, .activation = o.activation, .conv = { .out = o.out } };
    if (o.kind == EPL_STEM_SMALL)
        return epl_conv_unit(g, x, u);
    if (o.kind == EPL_STEM_IMAGENET) {
        u.conv.kernel = 7;
        u.conv.stride = 2;
        x = epl_conv_unit(g, x, u);
    }
    for (int i = 0; o.kind == EPL_STEM_DEEP && i < 3; i++) {
        snprintf(part, sizeof part, "%s%d", name, i + 1);
        u.name        = part;
        u.conv.out    = i < 2 ? (o.out + 1) / 2 : o.out;
        u.conv.stride = i == 0 ? 2 : 1;
        x = epl_conv_unit(g, x, u);
    }
    const bool deep = o.kind == EPL_STEM_DEEP;
    return epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = !deep, .ceil_mode = deep });
}

/* ---- squeeze-and-excitation ---- */

epl_value *epl_squeeze_excite(epl_graph *g, epl_value *u, epl_squeeze_excite_opts o)
{
    if (!u)
        return NULL;
    const int c = (int)epl_channels(u), r = or_int(o.reduction, 16); // sec. 6.1
    const int least = or_int(o.least, 1), hidden = o.hidden ? o.hidden : c / r > least ? c / r : least;
    epl_scope_push(g, "%s", or_name(o.name, "se"));
    epl_value *z = epl_global_average_pool(g, u); // eq. (2)
    epl_value *h = epl_linear(g, z, (epl_linear_opts){ .name = "down", .out = hidden, .no_bias = o.no_bias, .init = o.init });
    h = epl_activation(g, h, or_name(o.activation, "relu"));
    epl_value *s = epl_linear(g, h, (epl_linear_opts){ .name = "up", .out = c, .no_bias = o.no_bias, .init = o.init });
    s = epl_activation(g, s, or_name(o.gate, "sigmoid")); // eq. (3)
    epl_shape shape = { .rank = epl_rank(u) };
    for (int i = 1; i < shape.rank - 1; i++)
        shape.dim[i] = 1;
    shape.dim[shape.rank - 1] = c;
    epl_scope_pop(g);
    return epl_mul(g, u, epl_reshape(g, s, shape)); // eq. (4); dimension 0 is EPL_KEEP
}

/* ---- residual branches ---- */

epl_value *epl_residual(epl_graph *g, epl_value *x, epl_value *branch, epl_residual_opts o)
{
    if (!branch)
        return NULL;
    if (o.dropout > 0)
        branch = epl_dropout(g, branch, o.dropout, false);
    if (o.layer_scale > 0)
        branch = epl_mul(g, branch, epl_parameter(g, or_name(o.scale, "scale"), EPL_F32, EPL_SHAPE(epl_channels(branch)),
                                                  EPL_INIT_CONSTANT, o.layer_scale));
    if (o.drop_path > 0)
        branch = epl_drop_path(g, branch, o.drop_path);
    return epl_add(g, x, branch);
}

double epl_drop_path_rate(double last, int i, int n) { return n > 1 ? last * i / (n - 1) : last; }

/* The unit's branch; `trunk` is x, or what its first norm and activation made of it. */
static epl_value *residual_branch(epl_graph *g, epl_value *trunk, const epl_residual_unit_opts *o)
{
    const int    inner = o->inner ? o->inner : o->bottleneck ? o->out / 4 : o->out;
    const int    convs = o->bottleneck ? 3 : 2;
    const char  *names[] = { "a", "b", "c" };
    epl_value   *h = trunk;
    for (int i = 0; i < convs; i++) {
        const bool last = i + 1 == convs, wide = o->bottleneck ? i == 1 : true, first_wide = i == o->bottleneck;
        epl_conv_unit_opts u = { .name = names[i], .pre = o->pre, .norm = o->norm, .normalize = o->normalize,
                                 .activation = last && !o->pre ? "identity" : o->activation,
                                 .conv = { .kernel = wide ? 3 : 1, .out = last ? o->out : wide ? inner : or_int(o->reduce, inner) } };
        if (first_wide) {
            u.conv.stride = o->stride;
            u.conv.groups = o->groups;
        }
        if (last && o->zero_last)
            u.norm.weight = -1;
        if (last && o->dropout > 0)
            h = epl_dropout(g, h, o->dropout, false);
        h = i == 0 && o->pre ? epl_conv(g, h,
                                        (epl_conv_opts){ .name = names[0],
                                                         .kernel = u.conv.kernel,
                                                         .stride = u.conv.stride,
                                                         .pad = wide,
                                                         .groups = u.conv.groups,
                                                         .out = u.conv.out,
                                                         .no_bias = true })
                             : epl_conv_unit(g, h, u);
    }
    return o->squeeze ? epl_squeeze_excite(g, h, (epl_squeeze_excite_opts){ .reduction = o->squeeze, .least = o->squeeze_least,
                                                                            .no_bias = o->squeeze_no_bias }) : h;
}

static epl_value *padded_shortcut(epl_graph *g, epl_value *x, const epl_residual_unit_opts *o)
{
    const int64_t more = o->out - epl_channels(x);
    epl_pad_opts  pad = { 0 };
    if (more < 0)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "a shortcut that is padded cannot lead from %lld to %d channels",
                              (long long)epl_channels(x), o->out);
    pad.after[epl_rank(x) - 1] = more;
    if (or_int(o->stride, 1) > 1)
        x = epl_average_pool(g, x, (epl_pool_opts){ .kernel = { o->stride } });
    return more > 0 ? epl_pad(g, x, pad) : x;
}

epl_value *epl_residual_unit(epl_graph *g, epl_value *x, epl_residual_unit_opts o)
{
    if (!x)
        return NULL;
    const int  kernel  = or_int(o.shortcut_kernel, 1);
    const bool changes = or_int(o.stride, 1) > 1 || epl_channels(x) != o.out;
    const epl_conv_opts conv = { .out = o.out, .kernel = kernel, .stride = o.stride, .pad = kernel / 2, .no_bias = true };
    o.activation = or_name(o.activation, "relu");
    enter(g, o.name);
    epl_value *trunk = x, *shortcut = x;
    if (o.pre)
        trunk = epl_activation(g, normalized(g, x, o.normalize, "norm", o.norm), o.activation);
    epl_value *branch = residual_branch(g, trunk, &o);
    if (changes && o.shortcut_pad) {
        shortcut = padded_shortcut(g, o.pre ? trunk : x, &o);
    } else if (changes && o.pre) {
        epl_conv_opts c = conv;
        c.name   = "shortcut";
        shortcut = epl_conv(g, trunk, c);
    } else if (changes) {
        shortcut = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "shortcut", .conv = conv, .normalize = o.normalize, .norm = o.norm,
                                                             .activation = "identity" });
    }
    epl_value *y = epl_residual(g, shortcut, branch, (epl_residual_opts){ .drop_path = o.drop_path });
    y = o.pre ? y : epl_activation(g, y, o.activation);
    leave(g, o.name);
    return y;
}

epl_value *epl_pooled_shortcut(epl_graph *g, epl_value *x, const char *name, const epl_inverted_opts *o)
{
    if (or_int(o->stride, 1) > 1)
        x = epl_average_pool(g, x, (epl_pool_opts){ .kernel = { or_int(o->pool, o->stride) }, .stride = { o->stride }, .same = true });
    if (x && epl_channels(x) != o->out)
        x = epl_conv(g, x, (epl_conv_opts){ .name = name, .out = o->out, .kernel = 1, .init = o->init });
    return x;
}

epl_value *epl_inverted_bottleneck(epl_graph *g, epl_value *x, epl_inverted_opts o)
{
    if (!x)
        return NULL;
    const int  c = (int)epl_channels(x), hidden = or_int(o.hidden, 6 * c);
    const bool stays = or_int(o.stride, 1) == 1 && c == o.out;
    epl_conv_unit_opts u = { .normalize = o.normalize, .norm = o.norm, .activation = or_name(o.activation, "relu6") };
    epl_value *h = x;
    if (hidden % or_int(o.group_width, 1))
        return epl_graph_fail(g, EPL_ERR_SHAPE, "inverted bottleneck: groups of %d channels do not divide %d", o.group_width, hidden);
    enter(g, o.name);
    if (o.pre)
        h = normalized(g, h, o.normalize, "norm", o.norm);
    if (hidden != c) {
        u.name = "expand";
        u.conv = (epl_conv_opts){ .out = hidden, .kernel = 1, .init = o.init };
        h      = epl_conv_unit(g, h, u);
    }
    u.name = "depthwise";
    u.conv = (epl_conv_opts){ .out = hidden,
                              .groups = hidden / or_int(o.group_width, 1),
                              .kernel = o.kernel,
                              .stride = o.stride,
                              .same = o.same,
                              .init = o.init };
    h      = epl_conv_unit(g, h, u);
    if (o.squeeze)
        h = epl_squeeze_excite(g, h, (epl_squeeze_excite_opts){ .hidden = o.squeeze, .activation = o.squeeze_activation, .gate = o.gate,
                                                                .init = o.init });
    u.name    = "project";
    u.conv    = (epl_conv_opts){ .out = o.out, .kernel = 1, .init = o.init };
    u.no_norm = o.pre;
    u.activation = "identity";
    h = epl_conv_unit(g, h, u);
    if (stays || o.pre)
        h = epl_residual(g, o.pre ? epl_pooled_shortcut(g, x, "shortcut", &o) : x, h, (epl_residual_opts){ .drop_path = o.drop_path });
    leave(g, o.name);
    return h;
}

/* ---- dense layers ---- */

/* norm "norm<n>", relu, conv "conv<n>". */
static epl_value *normed_conv(epl_graph *g, epl_value *x, const char *norm, epl_conv_opts o)
{
    o.no_bias = true;
    return epl_conv(g, epl_relu(g, epl_batch_norm(g, x, (epl_norm_opts){ .name = norm })), o);
}

epl_value *epl_dense_layer(epl_graph *g, epl_value *x, epl_dense_layer_opts o)
{
    epl_value *h = x;
    enter(g, o.name);
    if (o.bottleneck >= 0)
        h = normed_conv(g, h, "norm1", (epl_conv_opts){ .name = "conv1", .out = or_int(o.bottleneck, 4) * o.growth, .kernel = 1 });
    h = normed_conv(g, h, "norm2", (epl_conv_opts){ .name = "conv2", .out = o.growth, .pad = 1 });
    if (o.dropout > 0)
        h = epl_dropout(g, h, o.dropout, false);
    x = epl_concat(g, 2, (epl_value *[]){ x, h }, -1);
    leave(g, o.name);
    return x;
}

/* ---- the rest ---- */

epl_value *epl_channel_shuffle(epl_graph *g, epl_value *x, int groups)
{
    if (!x)
        return NULL;
    const int rank = epl_rank(x), c = (int)epl_channels(x);
    if (groups < 1 || c % groups)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "channel_shuffle: %d groups do not divide %d channels", groups, c);
    epl_shape split = { .rank = rank + 1 }, perm = { .rank = rank + 1 }, whole = { .rank = rank }; // the zeros are EPL_KEEP
    split.dim[rank - 1] = groups;
    split.dim[rank]     = c / groups;
    whole.dim[rank - 1] = c;
    for (int i = 0; i < rank - 1; i++)
        perm.dim[i] = i;
    perm.dim[rank - 1] = rank;
    perm.dim[rank]     = rank - 1;
    return epl_reshape(g, epl_permute(g, epl_reshape(g, x, split), perm), whole);
}

epl_value *epl_classifier(epl_graph *g, epl_value *x, epl_classifier_opts o)
{
    if (x && epl_rank(x) > 2)
        x = epl_global_average_pool(g, x);
    if (o.dropout > 0)
        x = epl_dropout(g, x, o.dropout, false);
    return o.classes ? epl_linear(g, x, (epl_linear_opts){ .name = or_name(o.name, "head"), .out = o.classes,
                                                           .init = o.zero ? EPL_START_ZERO : EPL_START_DEFAULT })
                     : x;
}
