/* local: a network learns in modules that no gradient leaves, with auxiliary heads behind the cuts and, before
 * those, twins of the next block that follow it (MAN). Cuts and followers are the step's (links.c); this hook
 * chooses cuts, adds heads, twins and losses. Left out: modules that update while others still run. */
#include "train/train.h"

#include <espalier/nn.h>
#include <espalier/passes.h>

#include "graph/op.h"

#include <stdio.h>
#include <string.h>

/* ---- heads ---- */

static bool read_aux(const char *aux, int *convs, int *linears)
{
    if (strlen(aux) != 4 || aux[1] != 'c' || aux[3] != 'f' || aux[0] < '0' || aux[0] > '3' || aux[2] < '1' || aux[2] > '3')
        return false;
    *convs   = aux[0] - '0';
    *linears = aux[2] - '0';
    return true;
}

static epl_graph *finish(epl_context *ctx, epl_graph *g)
{
    if (!epl_graph_failed(g) && epl_set_training(g))
        return g;
    (void)ctx;
    epl_graph_free(g);
    return NULL;
}

epl_graph *epl_local_classifier(epl_context *ctx, epl_shape like, const char *aux, int outputs)
{
    enum { HIDDEN = 128, MOST = 64 };
    int        convs, linears;
    epl_graph *g = epl_graph_new(ctx, "classifier");
    epl_value *x = g ? epl_input(g, "x", EPL_F32, like, NULL) : NULL;
    if (!x)
        return NULL;
    if (!read_aux(aux, &convs, &linears) || (convs > 0 && like.rank < 3))
        epl_graph_fail(
            g, EPL_ERR_ARGUMENT,
            "auxiliary classifier '%s' of an input of rank %d: expected 0 to 3 convolutions (of pictures) and 1 to 3 "
            "linear layers, as in 1c2f",
            aux, like.rank);
    for (int i = 0; i < convs && x; i++) {
        char      name[16];
        const int c = (int)epl_channels(x), out = i == 0 && c < MOST ? 2 * c : c;
        snprintf(name, sizeof name, "conv%d", i + 1);
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = out, .stride = out > c ? 2 : 1 } });
    }
    x = like.rank > 2 ? epl_global_average_pool(g, x) : x;
    for (int i = 0; i < linears && x; i++) {
        char       name[16];
        const bool last = i + 1 == linears;
        snprintf(name, sizeof name, "fc%d", i + 1);
        x = epl_linear(g, x, (epl_linear_opts){ .name = name, .out = last ? outputs : HIDDEN });
        x = last ? x : epl_relu(g, x);
    }
    epl_output(g, "logits", x);
    return finish(ctx, g);
}

epl_graph *epl_local_decoder(epl_context *ctx, epl_shape like, epl_shape picture)
{
    enum { WIDTH = 12 };
    epl_graph *g = epl_graph_new(ctx, "decoder");
    epl_value *x = g ? epl_input(g, "x", EPL_F32, like, NULL) : NULL;
    epl_resize_opts size = { .mode = EPL_LINEAR, .coordinates = EPL_ALIGN_CORNERS };
    if (!x)
        return NULL;
    if (like.rank < 3 || picture.rank != like.rank)
        epl_graph_fail(g, EPL_ERR_SHAPE,
                       "a decoder makes pictures of features of the same rank, not rank %d of rank %d", picture.rank,
                       like.rank);
    for (int i = 1; i < picture.rank - 1; i++)
        size.size[i - 1] = picture.dim[i];
    x = epl_conv_unit(g, epl_resample(g, x, size), (epl_conv_unit_opts){ .name = "a", .with_bias = true, .conv = { .out = WIDTH } });
    epl_output(g, "picture", epl_conv(g, x, (epl_conv_opts){ .name = "b", .out = (int)picture.dim[picture.rank - 1], .pad = 1 }));
    return finish(ctx, g);
}

/* What similarity matching looks at: features behind one more convolution, or linear layer. */
static epl_graph *similarity_head(epl_context *ctx, epl_shape like)
{
    epl_graph *g = epl_graph_new(ctx, "similarity");
    epl_value *x = g ? epl_input(g, "x", EPL_F32, like, NULL) : NULL;
    if (!x)
        return NULL;
    const int c = (int)epl_channels(x);
    epl_output(g, "features", like.rank > 2 ? epl_conv(g, x, (epl_conv_opts){ .out = c, .pad = 1, .no_bias = true })
                                            : epl_linear(g, x, (epl_linear_opts){ .out = c, .no_bias = true }));
    return finish(ctx, g);
}

/* ---- one cut ---- */

typedef struct local {
    epl_context    *ctx;
    epl_local_opts  o;
} local;

typedef struct cut {
    const local *l;
    epl_train_step *s;
    int          j, n;           /* of the cuts, from 1 */
    epl_value   *end, *stop;     /* of the module: what it computes, and what the next one reads */
    epl_value   *end_of_next;    /* of the block behind the cut */
} cut;

/* Puts a head behind y, under "local<j>.<role>.", and frees it. */
static epl_value *attach_take(const cut *c, epl_graph *head, const char *role, epl_value *y)
{
    char       prefix[64];
    epl_value *out = NULL;
    snprintf(prefix, sizeof prefix, "local%d.%s.", c->j, role);
    const bool ok = head && epl_graph_inline(c->s->graph, head, &y, &out, prefix);
    epl_graph_free(head);
    return ok ? out : NULL;
}

/* ---- twins of the next block ---- */

/* Its tensor starts as a copy, unless there is one (a run that goes on) or it is to be fresh. */
static bool start_as(const cut *c, const char *name, const char *of)
{
    const epl_tensor *t = epl_weights_find(c->s->weights, of);
    if (!t || c->l->o.fresh || epl_weights_find(c->s->weights, name))
        return true;
    epl_tensor *copy = epl_tensor_copy(c->s->graph->ctx, t);
    return copy && epl_weights_put_take(c->s->weights, name, copy);
}

static epl_value *twin_of(const cut *c, const epl_node *p, bool follows, bool learns)
{
    char name[1024];
    snprintf(name, sizeof name, "/local%d.%s.%s", c->j, follows ? "ema" : "bias", p->attrs[0].s);
    epl_value *own = p->outputs[0];
    epl_value *v = (learns ? epl_parameter : epl_state)(c->s->graph, name, own->dtype, own->shape, (epl_init)p->attrs[3].i, p->attrs[4].r);
    const double forget = c->l->o.forget < 0 ? 0 : epl_default(c->l->o.forget, 0.005);
    const bool   ok = v && start_as(c, name + 1, p->attrs[0].s) && (!follows || epl_train_step_follow(c->s, v, own, 1 - forget));
    return ok ? v : NULL;
}

/* Tags what the next block consists of. */
static void mark_next(const cut *c)
{
    for (epl_node *n = c->s->graph->first; n; n = n->next)
        n->tag = n == c->end_of_next->producer;
    for (epl_node *n = c->end_of_next->producer; n; n = n->prev)
        for (int i = 0; i < n->n_inputs && n->tag && n != c->stop->producer; i++)
            if (n->inputs[i])
                n->inputs[i]->producer->tag = 1;
}

static bool copy_one(epl_graph *g, epl_node *n)
{
    epl_value **inputs = epl_alloc_array(g->ctx, (size_t)n->n_inputs + 1, sizeof *inputs);
    epl_graph **regions = epl_alloc_array(g->ctx, (size_t)n->n_regions + 1, sizeof *regions);
    bool ok = inputs && regions;
    for (int i = 0; ok && i < n->n_inputs; i++)
        inputs[i] = n->inputs[i] ? n->inputs[i]->mark : NULL;
    for (int i = 0; ok && i < n->n_regions; i++)
        ok = (regions[i] = epl_region_copy(g, n->regions[i])) != NULL;
    epl_node *copy = ok ? epl_node_add(g, n->op, n->n_inputs, inputs, n->attrs, n->n_regions, regions) : NULL;
    for (int i = 0; copy && i < n->n_outputs; i++)
        n->outputs[i]->mark = copy->outputs[i];
    epl_release(g->ctx, inputs);
    epl_release(g->ctx, regions);
    return copy != NULL;
}

/* The next block once more, behind this module, with tensors of its own: they follow the block's, or learn, or both. */
static epl_value *copy_next(const cut *c, bool follows, bool learns)
{
    mark_next(c);
    epl_node *last = c->end_of_next->producer;
    bool      ok = true;
    for (epl_node *n = c->s->graph->first; ok && n; n = n == last ? NULL : n->next) {
        if (!n->tag)
            continue;
        if (n == c->stop->producer)
            n->outputs[0]->mark = c->end;
        else if (EPL_IS(n, parameter))
            ok = (n->outputs[0]->mark = twin_of(c, n, follows, learns)) != NULL;
        else if (n->op->flags & EPL_OP_SOURCE)
            n->outputs[0]->mark = n->outputs[0];
        else
            ok = copy_one(c->s->graph, n);
    }
    return ok ? c->end_of_next->mark : NULL;
}

/* What the heads look at. */
static epl_value *before_heads(const cut *c)
{
    epl_graph *g = c->s->graph;
    char       name[64];
    snprintf(name, sizeof name, "/local%d.channels", c->j);
    switch (c->l->o.man) {
    case EPL_MAN_OFF:
        return c->end;
    case EPL_MAN_EMA:
        return copy_next(c, true, false);
    case EPL_MAN_BLOCK: {
        epl_value *follows = copy_next(c, true, false);
        return epl_add(g, copy_next(c, false, true), follows);
    }
    case EPL_MAN_PARAM: {
        epl_value *y = copy_next(c, true, true);
        return y ? epl_add(g, y, epl_parameter(g, name, y->dtype, EPL_SHAPE(epl_channels(y)), EPL_INIT_ZEROS, 0)) : NULL;
    }
    }
    return NULL;
}

/* ---- losses ---- */

static double between(const cut *c, const double *ends, double first, double last)
{
    const double a = ends[0] < 0 ? 0 : epl_default(ends[0], first), b = ends[1] < 0 ? 0 : epl_default(ends[1], last);
    const double share = c->n > 1 ? (c->j - 1) / (double)(c->n - 1) : 0;
    return a * (1 - share) + b * share;
}

static epl_value *classified(const cut *c, epl_value *y, int outputs)
{
    const char *aux = c->l->o.aux ? c->l->o.aux : "1c2f";
    return attach_take(c, epl_local_classifier(c->l->ctx, epl_shape_of(y), aux, outputs), "aux", y);
}

static epl_value *cross_entropy(const cut *c, epl_value *y)
{
    epl_value *logits = classified(c, y, (int)epl_channels(c->s->logits));
    return logits ? epl_loss(c->s->graph, logits, c->s->target, c->s->sample_weights, (epl_loss_opts){ 0 }) : NULL;
}

static epl_value *similarity(const cut *c, epl_value *y)
{
    epl_value *features = attach_take(c, similarity_head(c->l->ctx, epl_shape_of(y)), "similarity", y);
    epl_value *rows = epl_similarity_loss(c->s->graph, features, c->s->target, (int)epl_channels(c->s->logits));
    return rows ? epl_weighted_mean(c->s->graph, rows, c->s->sample_weights) : NULL;
}

static epl_value *contrast(const cut *c, epl_value *y)
{
    enum { WIDTH = 128 };
    epl_value *rows = epl_supcon_loss(c->s->graph, classified(c, y, WIDTH), c->s->target, epl_default(c->l->o.temperature, 0.07));
    return rows ? epl_weighted_mean(c->s->graph, rows, c->s->sample_weights) : NULL;
}

/* The input with every channel from 0 to 1 over the batch. */
static epl_value *picture_of(const epl_train_step *s)
{
    epl_graph      *g = s->graph;
    epl_reduce_opts all = { .keep = true };
    for (int i = 0; i < epl_rank(s->x) - 1; i++)
        all.axes[all.n_axes++] = i;
    epl_value *low = epl_reduce_min(g, s->x, all), *high = epl_reduce_max(g, s->x, all);
    return epl_div(g, epl_sub(g, s->x, low), epl_affine(g, epl_sub(g, high, low), 1, 1e-6));
}

static epl_value *reconstruction(const cut *c, epl_value *y)
{
    epl_graph *g = c->s->graph;
    epl_value *made = attach_take(c, epl_local_decoder(c->l->ctx, epl_shape_of(y), epl_shape_of(c->s->x)), "decoder", y);
    epl_value *each = made ? epl_bce_with_logits_loss(g, made, picture_of(c->s), (epl_bce_opts){ .reduction = EPL_NONE }) : NULL;
    epl_reduce_opts rest = { 0 };
    for (int i = 1; each && i < epl_rank(each); i++)
        rest.axes[rest.n_axes++] = i;
    return each ? epl_weighted_mean(g, epl_reduce_mean(g, each, rest), c->s->sample_weights) : NULL;
}

static epl_value *scaled_sum(epl_graph *g, epl_value *a, double x, epl_value *b, double y)
{
    a = a ? epl_affine(g, a, x, 0) : NULL;
    b = b ? epl_affine(g, b, y, 0) : NULL;
    return a && b ? epl_add(g, a, b) : a ? a : b;
}

static epl_value *informed(const cut *c, epl_value *y, bool by_contrast)
{
    const double r = between(c, c->l->o.reconstruction, 5, 0), k = between(c, c->l->o.classification, 0.5, 0.5);
    if (r <= 0 && k <= 0)
        return epl_graph_fail(
            c->s->graph, EPL_ERR_ARGUMENT,
            "module %d of local learning has no loss: reconstruction and classification both have the "
            "weight 0",
            c->j);
    epl_value *picture = r > 0 ? reconstruction(c, y) : NULL;
    epl_value *class   = k <= 0 ? NULL : by_contrast ? contrast(c, y) : cross_entropy(c, y);
    return (r > 0 && !picture) || (k > 0 && !class) ? NULL : scaled_sum(c->s->graph, picture, r, class, k);
}

static const char *const losses[] = { "dgl", "predsim", "infopro", "supcon" };

static epl_value *loss_of(const cut *c, epl_value *y)
{
    const char *name = c->l->o.loss ? c->l->o.loss : losses[0];
    if (!y)
        return NULL;
    if (strcmp(name, "infopro") == 0 || strcmp(name, "supcon") == 0)
        return informed(c, y, name[0] == 's');
    epl_value *class = cross_entropy(c, y);
    return strcmp(name, "predsim") == 0 ? scaled_sum(c->s->graph, class, 0.01, similarity(c, y), 0.99) : class;
}

/* ---- all cuts ---- */

static int find_point(const epl_cut_point *points, int n, const char *name, size_t length)
{
    for (int i = 0; i < n; i++)
        if (strlen(points[i].name) == length && memcmp(points[i].name, name, length) == 0)
            return i;
    return -1;
}

static bool refuse_name(epl_train_step *s, const epl_cut_point *points, int n, const char *name, size_t length)
{
    const char *names[256];
    char        word[128];
    int         known = 0, inside = 0;
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    for (; known < n && known < (int)EPL_COUNT(names); known++)
        names[known] = points[known].name;
    for (const epl_node *k = s->graph->first; k; k = k->next)
        inside += strncmp(k->scope, word, length) == 0 && (k->scope[length] == '.' || !k->scope[length]);
    const char *close = epl_closest(word, names, (size_t)known);
    if (inside > 0 && find_point(points, n, name, length) < 0)
        return epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT,
                        "the network cannot be cut behind '%s': more than one tensor crosses there, as inside a "
                        "residual branch",
                        word);
    return epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT, "the network cannot be cut behind '%s'%s%s%s", word, close ? "; did you mean '" : "",
                    close ? close : "", close ? "'?" : "");
}

/* By name: rising numbers of points. Returns how many; -1 with an error. */
static int cuts_by_name(const local *l, epl_train_step *s, const epl_cut_point *points, int n, int *at)
{
    int count = 0;
    for (const char *p = l->o.cuts; *p; p += strcspn(p, ","), p += *p == ',') {
        const size_t length = strcspn(p, ",");
        const int    i = find_point(points, n - 1, p, length); // behind the last block stands the head alone
        if (i < 0)
            return refuse_name(s, points, n - 1, p, length), -1;
        if (count > 0 && i <= at[count - 1])
            return epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT,
                            "cuts have to be named in the network's order: '%s' comes before '%s'", points[i].name,
                            points[at[count - 1]].name),
                   -1;
        at[count++] = i;
    }
    return count;
}

/* After floor(j n / K) of n blocks; with one module more than blocks behind the stem, too. */
static int cuts_by_number(const local *l, epl_train_step *s, const epl_cut_point *points, int n, int *at)
{
    const int stem = n > 0 && strcmp(points[0].name, "stem") == 0, blocks = n - stem, k = l->o.modules;
    if (k < 1 || k > blocks + stem)
        return epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT,
                        "network '%s' has %d blocks%s: it cannot be cut into %d modules", s->graph->name, blocks,
                        stem ? " and a stem" : "", k),
               -1;
    for (int j = 1; j < k; j++)
        at[j - 1] = k > blocks ? j - 1 : stem + (int)((int64_t)j * blocks / k) - 1;
    return k - 1;
}

static bool build_cuts(const local *l, epl_train_step *s, const epl_cut_point *points, const int *at, int n)
{
    cut *cuts = epl_arena_alloc(s->arena, (size_t)(n + 1) * sizeof *cuts);
    for (int j = 0; cuts && j < n; j++)
        cuts[j] = (cut){ .l = l, .s = s, .j = j + 1, .n = n, .end = points[at[j]].value, .end_of_next = points[at[j] + 1].value,
                         .stop = epl_train_step_cut(s, points[at[j]].value) };
    for (int j = 0; cuts && j < n && cuts[j].stop; j++) {
        char       name[32];
        epl_value *loss = loss_of(&cuts[j], before_heads(&cuts[j]));
        snprintf(name, sizeof name, "local%d", j + 1);
        if (!loss || !epl_train_step_log(s, name, loss))
            return false;
        s->loss = epl_add(s->graph, s->loss, loss);
    }
    return cuts && !epl_graph_failed(s->graph);
}

static bool build(void *user, epl_train_step *s)
{
    const local   *l = user;
    epl_cut_point *points = NULL;
    int            n = 0;
    if (epl_rank(s->logits) != 2)
        return epl_fail(s->graph->ctx, EPL_ERR_SHAPE,
                        "local learning needs a network whose output is [N, classes], not of rank %d",
                        epl_rank(s->logits));
    bool ok = epl_cut_points(s->graph, s->x, s->logits, &points, &n);
    int *at = ok ? epl_arena_alloc(s->arena, (size_t)(n + 1) * sizeof *at) : NULL;
    const int cuts = at ? (l->o.cuts ? cuts_by_name : cuts_by_number)(l, s, points, n, at) : -1;
    ok = cuts >= 0 && build_cuts(l, s, points, at, cuts);
    epl_release(s->graph->ctx, points);
    return ok;
}

static bool check_opts(epl_context *ctx, const epl_local_opts *o)
{
    int c, f;
    bool known = !o->loss;
    for (size_t i = 0; i < EPL_COUNT(losses); i++)
        known = known || strcmp(o->loss, losses[i]) == 0;
    if (!known)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no local loss '%s' (dgl, predsim, infopro, supcon)", o->loss);
    if (o->aux && !read_aux(o->aux, &c, &f))
        return epl_fail(ctx, EPL_ERR_ARGUMENT,
                        "auxiliary classifier '%s': expected 0 to 3 convolutions and 1 to 3 linear layers, as in 1c2f",
                        o->aux);
    if (o->forget > 1)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "a momentum of %g is outside of 0 to 1", 1 - o->forget);
    return true;
}

epl_train_hook epl_local_hook(epl_context *ctx, epl_local_opts o)
{
    local *l = check_opts(ctx, &o) ? epl_alloc(ctx, sizeof *l) : NULL;
    if (l)
        *l = (local){ ctx, o };
    return (epl_train_hook){ .build = l ? build : NULL, .user = l };
}
