/* presets: the sparse networks of "Fast sparse convnets" (Elsen et al. 2020, arXiv:1911.09723): a network of the
 * zoo, how sparse its 1x1 convolutions are, and where whole blocks of output channels go. First convolutions and
 * depthwise ones are dense. The channels of the "cache-aware" MobileNetV2 were not published; ours has at most 512,
 * of which 16 positions are 32 KiB, and is deeper for it. */
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
    { "fsc-mbv2-cache-85", "mobilenet-v2:hidden=512", 0.85, 1, NULL },
    { "fsc-efficientnet-b0-80", "efficientnet", 0.80, 1, NULL, .also = "head.weight" },
    { "fsc-efficientnet-b1-85", "efficientnet:variant=b1", 0.85, 1, NULL, .also = "head.weight" },
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
int epl_sparse_preset_opts(const epl_model *m, const epl_sparse_preset *p, epl_prune_opts out[2], char **names)
{
    char *blocked = epl_pointwise_names(m->graph, p->blocked ? p->blocked : ""),
         *all = blocked ? epl_pointwise_names(m->graph, NULL) : NULL;
    epl_text text = EPL_TEXT(m->ctx);
    int      n = 0;
    *names = NULL;
    if (all && !*all)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no 1x1 convolution", epl_graph_name(m->graph));
    if (all && *all) {
        epl_text_addf(&text, "%s%s%s|%s", all, p->also ? "," : "", p->also ? p->also : "", blocked);
        *names = epl_text_detach(&text);
    }
    char *between = *names ? strrchr(*names, '|') : NULL; // two texts in one
    if (between) {
        *between = 0;
        const char *in_blocks = between[1] ? between + 1 : NULL;
        if (in_blocks)
            out[n++] = (epl_prune_opts){ .pattern = in_blocks, .sparsity = p->sparsity, .block_rows = 1, .block_columns = p->block };
        out[n++] = (epl_prune_opts){ .pattern = *names, .skip = in_blocks, .sparsity = p->sparsity };
    }
    epl_release(m->ctx, blocked);
    epl_release(m->ctx, all);
    return n;
}

bool epl_sparse_preset_prune(epl_model *m, const epl_sparse_preset *p)
{
    epl_prune_opts o[2];
    char          *names;
    const int      n = epl_sparse_preset_opts(m, p, o, &names);
    bool ok = n > 0;
    for (int i = 0; ok && i < n; i++)
        ok = epl_prune_weights(m, o[i]);
    epl_release(m->ctx, names);
    return ok;
}
