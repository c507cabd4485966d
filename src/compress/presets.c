/* presets: the sparse networks of "Fast sparse convnets" (Elsen et al. 2020, arXiv:1911.09723): a network of the zoo, how sparse its
 * 1x1 convolutions are, and where whole blocks of output channels go. First convolutions and depthwise ones are dense. Left out: the
 * "cache-aware" MobileNetV2, whose channels were not published, and the sparse classifier of the EfficientNets. */
#include "compress/compress.h"

#include <stdio.h>
#include <string.h>

#define LAST_OF_V1 "block13.*"
#define FROM_11_OF_V2 "stage5.*,stage6.*,stage7.*,last.*"

static const epl_sparse_preset presets[] = {
    { "fsc-mbv1-0.75-90", "mobilenet:width=0.75", 0.90, 4, LAST_OF_V1 },
    { "fsc-mbv1-1.0-90", "mobilenet", 0.90, 4, LAST_OF_V1 },
    { "fsc-mbv1-1.4-90", "mobilenet:width=1.4", 0.90, 4, LAST_OF_V1 },
    { "fsc-mbv2-0.8-85", "mobilenet-v2:width=0.8", 0.85, 2, FROM_11_OF_V2 },
    { "fsc-mbv2-1.15-85", "mobilenet-v2:width=1.15", 0.85, 2, FROM_11_OF_V2 },
    { "fsc-mbv2-1.4-85", "mobilenet-v2:width=1.4", 0.85, 2, FROM_11_OF_V2 },
    { "fsc-mbv2-2.0-85", "mobilenet-v2:width=2", 0.85, 2, FROM_11_OF_V2 },
    { "fsc-mbv2-1.8-80", "mobilenet-v2:width=1.8", 0.80, 1, NULL },
    { "fsc-efficientnet-b0-80", "efficientnet", 0.80, 1, NULL },
    { "fsc-efficientnet-b1-85", "efficientnet:variant=b1", 0.85, 1, NULL },
};

int epl_sparse_n_presets(void) { return (int)EPL_COUNT(presets); }

const epl_sparse_preset *epl_sparse_preset_at(int i)
{
    return i >= 0 && i < epl_sparse_n_presets() ? &presets[i] : NULL;
}

const epl_sparse_preset *epl_sparse_preset_find(const char *name)
{
    for (int i = 0; i < epl_sparse_n_presets(); i++)
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i];
    return NULL;
}

static bool is_pointwise(const epl_layer *l)
{
    const epl_shape s = epl_shape_of(l->read);
    return l->kind == EPL_LAYER_CONV && s.rank > 2 && epl_shape_count_from(s, 0, s.rank - 2) == 1;
}

char *epl_pointwise_names(const epl_graph *g, const char *among)
{
    epl_graph *copy = epl_graph_copy(g); // looking marks nodes
    epl_layers layers = { 0 };
    epl_text   out = EPL_TEXT(epl_graph_context(g));
    const bool ok = copy && epl_weight_layers_find(copy, &layers);
    for (int i = 0; ok && i < layers.n; i++)
        if (is_pointwise(&layers.items[i]) && (!among || epl_glob(among, layers.items[i].name)))
            epl_text_addf(&out, "%s%s", out.length ? "," : "", layers.items[i].name);
    epl_weight_layers_release(&layers);
    epl_graph_free(copy);
    return ok ? epl_text_detach(&out) : NULL;
}

/* The chosen layers in blocks; then all others one by one. */
bool epl_sparse_preset_prune(epl_model *m, const epl_sparse_preset *p)
{
    char *blocked = p->blocked ? epl_pointwise_names(m->graph, p->blocked) : NULL, *all = epl_pointwise_names(m->graph, NULL);
    bool  ok = all && (!p->blocked || blocked);
    if (ok && !*all)
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no 1x1 convolution", epl_graph_name(m->graph));
    if (ok && blocked && *blocked)
        ok = epl_prune_weights(m, (epl_prune_opts){ .pattern = blocked, .sparsity = p->sparsity, .block_rows = 1, .block_columns = p->block });
    ok = ok && epl_prune_weights(m, (epl_prune_opts){ .pattern = all, .skip = blocked && *blocked ? blocked : NULL, .sparsity = p->sparsity });
    epl_release(m->ctx, blocked);
    epl_release(m->ctx, all);
    return ok;
}
