/* vanilla: layers that are deeper while they learn, and the series activation: Chen et al. 2023 (arXiv:2305.12972). */
#include <espalier/nn.h>

static const double EPSILON = 1e-6; // of all normalisations in the authors' code

static int or_int(int x, int otherwise) { return x ? x : otherwise; }

epl_value *epl_fading_relu(epl_graph *g, epl_value *x)
{
    return epl_prelu(g, x, epl_state(g, "/" EPL_DEEPENING_SLOPE, EPL_F32, EPL_SCALAR, EPL_INIT_ZEROS, 0));
}

static epl_value *layer(epl_graph *g, epl_value *x, const char *name, int out, const epl_deep_conv_opts *o, bool first)
{
    if (epl_rank(x) == 2)
        return epl_linear(g, x, (epl_linear_opts){ .name = name, .out = out, .init = o->init });
    return epl_conv(g, x, (epl_conv_opts){ .name = name, .out = out, .kernel = first ? or_int(o->kernel, 1) : 1, .init = o->init,
                                           .stride = first ? o->stride : 1, .pad = first ? o->pad : 0 });
}

static epl_value *norm(epl_graph *g, epl_value *x, const char *name)
{
    return epl_batch_norm(g, x, (epl_norm_opts){ .name = name, .epsilon = EPSILON });
}

epl_value *epl_deep_conv(epl_graph *g, epl_value *x, epl_deep_conv_opts o)
{
    if (!x)
        return NULL;
    const bool classifier = epl_rank(x) == 2;
    const int  hidden = or_int(o.hidden, classifier || or_int(o.kernel, 1) > 1 ? o.out : (int)epl_channels(x));
    epl_scope_push(g, "%s", o.name ? o.name : "deep");
    if (o.form == EPL_DEEP_TRAIN) {
        x = epl_fading_relu(g, norm(g, layer(g, x, "conv1", hidden, &o, true), "norm1"));
        x = layer(g, x, "conv2", o.out, &o, false);
    } else
        x = layer(g, x, "conv", o.out, &o, true);
    if (o.form != EPL_DEEP_MERGED && !classifier)
        x = norm(g, x, o.form == EPL_DEEP_TRAIN ? "norm2" : "norm");
    epl_scope_pop(g);
    return x;
}

epl_value *epl_series_activation(epl_graph *g, epl_value *x, epl_series_activation_opts o)
{
    if (!x)
        return NULL;
    const int c = (int)epl_channels(x);
    epl_scope_push(g, "%s", o.name ? o.name : "activation");
    x = epl_conv(g, epl_relu(g, x), (epl_conv_opts){ .out = c, .groups = c, .kernel = 2 * o.n + 1, .pad = o.n, .no_bias = !o.merged,
                                                     .init = o.init });
    if (!o.merged)
        x = norm(g, x, "norm");
    epl_scope_pop(g);
    return x;
}
