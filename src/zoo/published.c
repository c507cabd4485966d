/* published: weights of torchvision and timm for our models. A family has rules from our names to theirs; the axes follow from the
 * rank. Left out: weights whose names an older version of these libraries changed. */
#include "tensor/permute.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <espalier/zoo.h>

/* ---- rules ------------------------------------------------------------------------------------------------------------------------
 * `ours`: # is a number, a final * the rest. `theirs`: $1 and $2 are those numbers, $1- and $2- one less, $n counts the
 * model's units from 1, through all stages, * is the rest. The first rule that matches counts. `part` 1 to 3: a third of a tensor
 * that holds query, key and value one after the other. */
typedef struct rule {
    const char *ours, *theirs;
    int         part;
} rule;

static const rule resnet[] = {
    { "stem.conv.*", "conv1.*" }, { "stem.norm.*", "bn1.*" },
    { "stage#.unit#.a.conv.*", "layer$1.$2-.conv1.*" }, { "stage#.unit#.a.norm.*", "layer$1.$2-.bn1.*" },
    { "stage#.unit#.b.conv.*", "layer$1.$2-.conv2.*" }, { "stage#.unit#.b.norm.*", "layer$1.$2-.bn2.*" },
    { "stage#.unit#.c.conv.*", "layer$1.$2-.conv3.*" }, { "stage#.unit#.c.norm.*", "layer$1.$2-.bn3.*" },
    { "stage#.unit#.shortcut.conv.*", "layer$1.$2-.downsample.0.*" }, { "stage#.unit#.shortcut.norm.*", "layer$1.$2-.downsample.1.*" },
    { "head.*", "fc.*" }, { NULL },
};

static const rule densenet[] = {
    { "stem.conv.*", "features.conv0.*" }, { "stem.norm.*", "features.norm0.*" },
    { "block#.layer#.*", "features.denseblock$1.denselayer$2.*" }, { "transition#.*", "features.transition$1.*" },
    { "norm.*", "features.norm5.*" }, { "head.*", "classifier.*" }, { NULL },
};

static const rule mobilenet_v2[] = {
    { "stem.conv.*", "features.0.0.*" }, { "stem.norm.*", "features.0.1.*" },
    { "stage1.unit1.depthwise.conv.*", "features.1.conv.0.0.*" }, { "stage1.unit1.depthwise.norm.*", "features.1.conv.0.1.*" },
    { "stage1.unit1.project.conv.*", "features.1.conv.1.*" }, { "stage1.unit1.project.norm.*", "features.1.conv.2.*" },
    { "stage#.unit#.expand.conv.*", "features.$n.conv.0.0.*" }, { "stage#.unit#.expand.norm.*", "features.$n.conv.0.1.*" },
    { "stage#.unit#.depthwise.conv.*", "features.$n.conv.1.0.*" }, { "stage#.unit#.depthwise.norm.*", "features.$n.conv.1.1.*" },
    { "stage#.unit#.project.conv.*", "features.$n.conv.2.*" }, { "stage#.unit#.project.norm.*", "features.$n.conv.3.*" },
    { "last.conv.*", "features.18.0.*" }, { "last.norm.*", "features.18.1.*" }, { "head.*", "classifier.1.*" }, { NULL },
};

static const rule vit_torchvision[] = {
    { "patches.*", "conv_proj.*" }, { "class_token", "class_token" }, { "positions", "encoder.pos_embedding" },
    { "block#.norm1.*", "encoder.layers.encoder_layer_$1-.ln_1.*" }, { "block#.norm2.*", "encoder.layers.encoder_layer_$1-.ln_2.*" },
    { "block#.attention.query.*", "encoder.layers.encoder_layer_$1-.self_attention.in_proj_*", 1 },
    { "block#.attention.key.*", "encoder.layers.encoder_layer_$1-.self_attention.in_proj_*", 2 },
    { "block#.attention.value.*", "encoder.layers.encoder_layer_$1-.self_attention.in_proj_*", 3 },
    { "block#.attention.out.*", "encoder.layers.encoder_layer_$1-.self_attention.out_proj.*" },
    { "block#.mlp1.*", "encoder.layers.encoder_layer_$1-.mlp.0.*" }, { "block#.mlp2.*", "encoder.layers.encoder_layer_$1-.mlp.3.*" },
    { "norm.*", "encoder.ln.*" }, { "head.*", "heads.head.*" }, { NULL },
};

static const rule vit_timm[] = {
    { "patches.*", "patch_embed.proj.*" }, { "class_token", "cls_token" }, { "positions", "pos_embed" },
    { "block#.norm1.*", "blocks.$1-.norm1.*" }, { "block#.norm2.*", "blocks.$1-.norm2.*" },
    { "block#.attention.query.*", "blocks.$1-.attn.qkv.*", 1 }, { "block#.attention.key.*", "blocks.$1-.attn.qkv.*", 2 },
    { "block#.attention.value.*", "blocks.$1-.attn.qkv.*", 3 }, { "block#.attention.out.*", "blocks.$1-.attn.proj.*" },
    { "block#.mlp1.*", "blocks.$1-.mlp.fc1.*" }, { "block#.mlp2.*", "blocks.$1-.mlp.fc2.*" },
    { "norm.*", "norm.*" }, { "head.*", "head.*" }, { NULL },
};

#define RESNET "resnet:stem=imagenet,width=64,classes=1000,image=224"
#define VIT(patch, width, depth, heads) "vit:patch=" #patch ",width=" #width ",depth=" #depth ",heads=" #heads

static const struct {
    const char *arch, *description;
    const rule *rules;
} published[] = {
    { "resnet18", RESNET ",depth=18", resnet },
    { "resnet34", RESNET ",depth=34", resnet },
    { "resnet50", RESNET ",depth=50", resnet },
    { "resnet101", RESNET ",depth=101", resnet },
    { "resnet152", RESNET ",depth=152", resnet },
    { "resnext50_32x4d", RESNET ",depth=50,groups=32,group_width=0.0625", resnet },
    { "resnext101_32x8d", RESNET ",depth=101,groups=32,group_width=0.125", resnet },
    { "wide_resnet50_2", RESNET ",depth=50,group_width=2", resnet },
    { "wide_resnet101_2", RESNET ",depth=101,group_width=2", resnet },
    { "densenet121", "densenet:depth=121", densenet },
    { "densenet161", "densenet:depth=161,growth=48", densenet },
    { "densenet169", "densenet:depth=169", densenet },
    { "densenet201", "densenet:depth=201", densenet },
    { "mobilenet_v2", "mobilenet-v2:width=1", mobilenet_v2 },
    { "vit_b_16", VIT(16, 768, 12, 12), vit_torchvision },
    { "vit_b_32", VIT(32, 768, 12, 12), vit_torchvision },
    { "vit_l_16", VIT(16, 1024, 24, 16) ",hidden=4096", vit_torchvision },
    { "vit_l_32", VIT(32, 1024, 24, 16) ",hidden=4096", vit_torchvision },
    { "vit_tiny_patch16_224", VIT(16, 192, 12, 3) ",hidden=768", vit_timm },
    { "vit_small_patch16_224", VIT(16, 384, 12, 6) ",hidden=1536", vit_timm },
    { "vit_base_patch16_224", VIT(16, 768, 12, 12), vit_timm },
    { "vit_base_patch32_224", VIT(32, 768, 12, 12), vit_timm },
    { "deit_tiny_patch16_224", VIT(16, 192, 12, 3) ",hidden=768", vit_timm },
    { "deit_small_patch16_224", VIT(16, 384, 12, 6) ",hidden=1536", vit_timm },
    { "deit_base_patch16_224", VIT(16, 768, 12, 12), vit_timm },
};

int         epl_zoo_n_published(void) { return (int)EPL_COUNT(published); }
const char *epl_zoo_published_name(int i) { return published[i].arch; }

static int find(epl_context *ctx, const char *arch)
{
    const char *names[EPL_COUNT(published)];
    for (size_t i = 0; i < EPL_COUNT(published); i++) {
        names[i] = published[i].arch;
        if (strcmp(arch, names[i]) == 0)
            return (int)i;
    }
    const char *close = epl_closest(arch, names, EPL_COUNT(names));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no published network is named '%s'%s%s%s", arch, close ? "; did you mean '" : "", close ? close : "",
             close ? "'?" : "");
    return -1;
}

const char *epl_zoo_published_description(epl_context *ctx, const char *arch)
{
    const int i = find(ctx, arch);
    return i < 0 ? NULL : published[i].description;
}

/* ---- names ----------------------------------------------------------------------------------------------------------------------------- */
typedef struct match {
    int         numbers[2], n;
    const char *rest;
} match;

static bool matches(const char *pattern, const char *name, match *m)
{
    *m = (match){ .rest = "" };
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            m->rest = name;
            return true;
        }
        if (*pattern == '#' && isdigit((unsigned char)*name)) {
            char *end;
            m->numbers[m->n++] = (int)strtol(name, &end, 10);
            name = end;
        } else if (*pattern == *name) {
            name++;
        } else {
            return false;
        }
    }
    return *name == 0;
}

/* Writes their name. `unit` is what $n stands for. */
static void substitute(const char *theirs, const match *m, int unit, char *out, size_t size)
{
    size_t at = 0;
    for (const char *s = theirs; *s && at + 1 < size; s++) {
        if (*s == '*') {
            at += (size_t)snprintf(out + at, size - at, "%s", m->rest);
        } else if (*s == '$') {
            const int  number = s[1] == 'n' ? unit : m->numbers[s[1] - '1'];
            const bool less = s[1] != 'n' && s[2] == '-';
            at += (size_t)snprintf(out + at, size - at, "%d", number - less);
            s += less ? 2 : 1;
        } else {
            out[at++] = *s;
        }
    }
    out[at < size ? at : size - 1] = 0;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------------------------------- */
typedef struct transfer {
    epl_model         *m;
    const epl_weights *from;
    bool              *used; /* of their tensors */
    match              last; /* the unit that $n counts */
    int                unit;
    epl_text           missing, misshapen, unexpected;
    int                n_missing, n_misshapen, n_unexpected;
} transfer;

enum { MOST_NAMES = 4 };

static void note(epl_text *list, int *count, const char *format, ...) EPL_PRINTF(3, 4);
static void note(epl_text *list, int *count, const char *format, ...)
{
    char    item[160];
    va_list args;
    va_start(args, format);
    vsnprintf(item, sizeof item, format, args);
    va_end(args);
    if ((*count)++ < MOST_NAMES)
        epl_text_addf(list, "%s%s", *count > 1 ? ", " : "", item);
}

/* Their tensor as ours: a third of it if `part`, the axes [O, I, K...] to [K..., I, O], then the element type. */
static epl_tensor *converted(epl_context *ctx, const epl_tensor *t, int part, epl_dtype dtype)
{
    epl_tensor seen = *t;
    epl_shape  perm = { .rank = t->shape.rank };
    if (part) {
        seen.shape.dim[0] /= 3;
        seen.data = (char *)t->data + (size_t)(part - 1) * epl_tensor_bytes(&seen);
    }
    for (int i = 0; i < perm.rank; i++)
        perm.dim[i] = perm.rank == 3 ? i : i < perm.rank - 2 ? i + 2 : perm.rank - 1 - i; // tokens and positions stay as they are
    epl_tensor *turned = perm.rank < 2 ? epl_tensor_copy(ctx, &seen) : epl_tensor_permuted(ctx, &seen, perm);
    if (!turned || turned->dtype == dtype)
        return turned;
    epl_tensor *cast = epl_tensor_cast(ctx, turned, dtype);
    epl_tensor_free(turned);
    return cast;
}

static int index_of(const epl_weights *w, const char *name)
{
    for (int i = 0; i < epl_weights_count(w); i++)
        if (strcmp(epl_weights_name(w, i), name) == 0)
            return i;
    return -1;
}

/* Fills our tensor from theirs; false when memory is out. */
static bool take(transfer *t, const char *ours, epl_tensor *own, const char *theirs, int part)
{
    char      is[192], wants[192];
    const int at = index_of(t->from, theirs);
    if (at < 0) {
        note(&t->missing, &t->n_missing, "%s", theirs);
        return true;
    }
    t->used[at] = true;
    const epl_tensor *found = epl_weights_at(t->from, at);
    if (part && (found->shape.rank == 0 || found->shape.dim[0] % 3)) {
        note(&t->misshapen, &t->n_misshapen, "%s %s in three parts", theirs, epl_shape_text(is, found->shape));
        return true;
    }
    epl_tensor *new = converted(t->m->ctx, found, part, own->dtype);
    if (!new)
        return false;
    const bool fits = epl_shape_equal(new->shape, own->shape);
    if (fits)
        memcpy(own->data, new->data, epl_tensor_bytes(own));
    else
        note(&t->misshapen, &t->n_misshapen, "%s %s, which '%s' %s does not take", theirs, epl_shape_text(is, found->shape), ours,
             epl_shape_text(wants, own->shape));
    epl_tensor_free(new);
    return true;
}

/* Parameters come unit by unit: counts one when its numbers change. */
static void count_unit(transfer *t, const char *ours)
{
    match m;
    if (!matches("stage#.unit#.*", ours, &m) ||
        (t->unit > 0 && m.numbers[0] == t->last.numbers[0] && m.numbers[1] == t->last.numbers[1]))
        return;
    t->unit++;
    t->last = m;
}

static bool take_by_rule(transfer *t, const rule *rules, const char *ours, epl_tensor *own)
{
    char  theirs[256];
    match m;
    count_unit(t, ours);
    for (const rule *r = rules; r->ours; r++)
        if (matches(r->ours, ours, &m)) {
            substitute(r->theirs, &m, t->unit, theirs, sizeof theirs);
            return take(t, ours, own, theirs, r->part);
        }
    note(&t->missing, &t->n_missing, "%s (no rule for it)", ours);
    return true;
}

/* Counters of batches are not weights. */
static bool is_ignored(const char *name)
{
    const char *end = strstr(name, "num_batches_tracked");
    return end && strcmp(end, "num_batches_tracked") == 0;
}

static void add_part(epl_text *out, const char *what, const epl_text *list, int n)
{
    if (n == 0)
        return;
    epl_text_addf(out, "%s%d %s (%s", out->length ? "; " : "", n, what, epl_text_str(list));
    if (n > MOST_NAMES)
        epl_text_addf(out, " and %d more", n - MOST_NAMES);
    epl_text_add(out, ")");
}

static bool report(transfer *t, const char *arch)
{
    epl_text all = EPL_TEXT(t->m->ctx);
    for (int i = 0; i < epl_weights_count(t->from); i++)
        if (!t->used[i] && !is_ignored(epl_weights_name(t->from, i)))
            note(&t->unexpected, &t->n_unexpected, "%s", epl_weights_name(t->from, i));
    add_part(&all, "missing", &t->missing, t->n_missing);
    add_part(&all, "unexpected", &t->unexpected, t->n_unexpected);
    add_part(&all, "misshapen", &t->misshapen, t->n_misshapen);
    const bool fine = t->n_missing + t->n_unexpected + t->n_misshapen == 0;
    if (!fine)
        epl_fail(t->m->ctx, EPL_ERR_FORMAT, "these are not the weights of %s: %s", arch, epl_text_str(&all));
    epl_text_release(&all);
    return fine;
}

bool epl_zoo_import_weights(epl_model *m, const epl_weights *w, const char *arch)
{
    const int i = find(m->ctx, arch);
    transfer  t = { .m = m, .from = w, .missing = EPL_TEXT(m->ctx), .misshapen = EPL_TEXT(m->ctx), .unexpected = EPL_TEXT(m->ctx) };
    t.used  = i < 0 ? NULL : epl_alloc_array(m->ctx, (size_t)epl_weights_count(w) + 1, sizeof *t.used);
    bool ok = t.used && epl_model_init(m, 0);
    for (const epl_node *n = epl_first(m->graph); ok && n; n = epl_next(n)) {
        const char *op = epl_node_op_name(n);
        if (strcmp(op, "Parameter") != 0 && strcmp(op, "State") != 0)
            continue;
        const char *name = epl_value_name(epl_node_output(n, 0));
        ok = take_by_rule(&t, published[i].rules, name, epl_weights_find(m->weights, name));
    }
    ok = ok && report(&t, arch);
    epl_text_release(&t.missing);
    epl_text_release(&t.misshapen);
    epl_text_release(&t.unexpected);
    epl_release(m->ctx, t.used);
    return ok;
}
