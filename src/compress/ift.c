/* ift: layers replaced by larger sparse ones of the same cost (Sparse-IFT, Thangarasa et al. 2023,
 * arXiv:2303.11525). `wide` is in widen.c; here are the rewrites of single layers, the masks and the account. */
#include "compress/widen.h"

#include <espalier/nn.h>
#include <espalier/ops.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDE, PARALLEL, FACTORIZED, DOPED };
static const char *const members[]  = { "wide", "parallel", "factorized", "doped" };
static const char *const betweens[] = { "relu", "norm", "linear" };

/* ---- which layers ---- */

static const epl_node *only_reader(const epl_value *v) { return v->n_uses == 1 ? v->uses[0].node : NULL; }

/* Where the layer's block ends: its normalisation, if that alone reads it. */
static epl_value *end_of(epl_node *n)
{
    const epl_node *reader = only_reader(n->outputs[0]);
    return EPL_IS(reader, batch_norm) ? reader->outputs[0] : n->outputs[0];
}

/* A 1x1 convolution beside others whose result is added without an activation. */
static bool is_shortcut(epl_node *n)
{
    const epl_node *reader = only_reader(end_of(n));
    return EPL_IS(n, conv) && epl_shape_count(n->inputs[1]->shape) == epl_dim(n->inputs[1], -1) * epl_dim(n->inputs[1], -2) &&
           n->inputs[0]->n_uses > 1 && EPL_IS(reader, add);
}

/* The layer's node if it can be rewritten: it alone reads the parameter. */
static epl_node *node_of(const epl_layer *l)
{
    epl_node  *n = l->read == l->weight && l->weight->n_uses == 1 ? l->weight->uses[0].node : NULL;
    const bool conv = EPL_IS(n, conv) && epl_attr_i(n, "group") == 1, linear = EPL_IS(n, linear) && !epl_attr_i(n, "trans_w");
    return n && n->inputs[1] == l->weight && (conv || linear) && !is_shortcut(n) ? n : NULL;
}

static double inputs_of(const epl_node *n) { return (double)epl_shape_count(n->inputs[1]->shape) / (double)epl_channels(n->inputs[1]); }

static void base_of(const epl_node *n, char out[1024])
{
    const char *weight = epl_value_name(n->inputs[1]);
    snprintf(out, 1024, "%.*s", (int)(strlen(weight) - (epl_glob("*.weight", weight) ? 7 : 0)), weight);
}

/* ---- building beside what is there ---- */

/* New nodes stand behind y, whose readers will take `with`, made of y. */
typedef struct place {
    epl_value *y, *stub;
    epl_node  *back;
} place;

static place open_place(epl_graph *g, epl_value *y)
{
    place p = { .y = y, .back = epl_graph_insert_before(g, y->producer->next) };
    p.stub = epl_identity(g, y);
    if (p.stub) {
        epl_replace(y, p.stub);
        epl_set_input(p.stub->producer, 0, y);
    }
    return p;
}

static bool close_place(epl_graph *g, place p, epl_value *with)
{
    epl_graph_insert_before(g, p.back);
    if (!with || !p.stub)
        return false;
    epl_replace(p.stub, with);
    epl_node_remove(p.stub->producer);
    return true;
}

/* The parameter or state again under the name of a branch: "a.conv.weight" -> "a.conv.branch2.weight". */
static epl_value *source_again(epl_graph *g, const epl_value *v, int branch)
{
    const epl_node *s = v ? v->producer : NULL;
    char name[1100];
    if (!s || !(EPL_IS(s, parameter) || EPL_IS(s, state)))
        return (epl_value *)(uintptr_t)v;
    const char *dot = strrchr(s->attrs[0].s, '.');
    snprintf(name, sizeof name, "/%.*s.branch%d.%s", dot ? (int)(dot - s->attrs[0].s) : 0, s->attrs[0].s, branch,
             dot ? dot + 1 : s->attrs[0].s);
    return (EPL_IS(s, parameter) ? epl_parameter : epl_state)(g, name, v->dtype, v->shape, (epl_init)s->attrs[3].i, s->attrs[4].r);
}

static epl_value *node_again(epl_graph *g, const epl_node *n, epl_value *x, int branch)
{
    epl_value *in[8] = { x };
    for (int i = 1; i < n->n_inputs && i < 8; i++)
        in[i] = source_again(g, n->inputs[i], branch);
    epl_node *copy = epl_node_add(g, n->op, n->n_inputs, in, n->attrs, 0, NULL);
    return copy ? copy->outputs[0] : NULL;
}

/* ---- the rewrites ---- */

static bool parallel(epl_graph *g, epl_node *n, int branches)
{
    epl_value *y = end_of(n), *sum = y;
    place      p = open_place(g, y);
    for (int k = 2; k <= branches && sum; k++) {
        epl_value *z = node_again(g, n, n->inputs[0], k);
        if (z && y != n->outputs[0])
            z = node_again(g, y->producer, z, k);
        sum = epl_add(g, sum, z);
    }
    return close_place(g, p, sum);
}

/* n with `out` outputs instead and no bias: "u". */
static epl_value *first_factor(epl_graph *g, const epl_node *n, int64_t out)
{
    epl_shape s = n->inputs[1]->shape;
    s.dim[s.rank - 1] = out;
    epl_value *w  = epl_parameter(g, "u.weight", n->inputs[1]->dtype, s, EPL_INIT_NORMAL, sqrt(2 / inputs_of(n)));
    epl_node  *u  = epl_node_add(g, n->op, 2, (epl_value *[]){ n->inputs[0], w }, n->attrs, 0, NULL);
    return u ? u->outputs[0] : NULL;
}

/* 1x1, back to n's outputs; with n's bias where `biased`: "v". */
static epl_value *second_factor(epl_graph *g, const epl_node *n, epl_value *h, bool biased)
{
    const int64_t channels = h ? epl_channels(h) : 1, out = epl_channels(n->outputs[0]);
    epl_shape s = n->inputs[1]->shape;
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = i == s.rank - 2 ? channels : i == s.rank - 1 ? out : 1;
    epl_value *w = epl_parameter(g, "v.weight", n->inputs[1]->dtype, s, EPL_INIT_NORMAL, sqrt(2 / (double)channels));
    epl_value *b = biased && n->n_inputs > 2 ? n->inputs[2] : NULL;
    if (EPL_IS(n, conv))
        return epl_convolve(g, h, w, b, (epl_convolve_opts){ 0 });
    epl_value *y = epl_matmul(g, h, w, (epl_matmul_opts){ 0 });
    return b ? epl_add(g, y, b) : y;
}

static bool factorized(epl_graph *g, epl_node *n, const epl_ift_opts *o, int64_t d)
{
    char  base[1024];
    place p = open_place(g, n->outputs[0]);
    base_of(n, base);
    epl_scope_push(g, "%s", base);
    epl_value *h = first_factor(g, n, d);
    if (!o->between || strcmp(o->between, "linear") != 0)
        h = epl_batch_norm(g, h, (epl_norm_opts){ .name = "norm" });
    if (!o->between || strcmp(o->between, "relu") == 0)
        h = epl_relu(g, h);
    h = second_factor(g, n, h, true);
    epl_scope_pop(g);
    return close_place(g, p, h);
}

static bool doped(epl_graph *g, epl_node *n, int64_t r)
{
    char  base[1024];
    place p = open_place(g, n->outputs[0]);
    base_of(n, base);
    epl_scope_push(g, "%s", base);
    epl_value *low = second_factor(g, n, first_factor(g, n, r), false);
    epl_scope_pop(g);
    return close_place(g, p, epl_add(g, n->outputs[0], low));
}

static bool rewrite(epl_graph *g, epl_node *n, int member, const epl_ift_opts *o)
{
    const double k = inputs_of(n), out = (double)epl_channels(n->outputs[0]), dense = 1 - o->sparsity;
    if (member == PARALLEL)
        return parallel(g, n, (int)floor(1 / dense + 0.5));
    if (member == DOPED) {
        const int64_t r = (int64_t)floor(o->sparsity * k * out / (k + out) + 1e-9);
        return r < 1 || doped(g, n, r);
    }
    const int64_t d = (int64_t)ceil(k * out /
                                    (o->u_only ? dense * k + out
                                               : dense * (k + out))); // in doubles as published: 577, not 576, at 0.9
    return d >= 1 ? factorized(g, n, o, d)
                  : epl_graph_fail(g, EPL_ERR_ARGUMENT,
                                   "a sparsity of %g leaves no channel between the factors of %g x %g", o->sparsity, k,
                                   out) != NULL;
}

/* ---- all layers ---- */

static bool rewrite_all(epl_graph *g, int member, const epl_ift_opts *o, epl_ift_result *r)
{
    epl_layers layers = { 0 };
    bool ok = epl_weight_layers_find(g, &layers) && epl_weight_layers_choose(&layers, o->layers, "first,last");
    epl_node **nodes = ok ? epl_alloc_array(g->ctx, (size_t)layers.n + 1, sizeof *nodes) : NULL;
    for (int i = 0; nodes && i < layers.n; i++)
        nodes[i] = node_of(&layers.items[i]); // before anything changes
    ok = nodes != NULL;
    for (int i = 0; ok && i < layers.n; i++) {
        if (!nodes[i])
            continue;
        r->choice_before += layers.items[i].count;
        r->layers++;
        ok = rewrite(g, nodes[i], member, o);
    }
    if (ok && r->layers == 0)
        ok = epl_fail(g->ctx, EPL_ERR_ARGUMENT,
                      "no layer of '%s' can be rewritten: it takes convolutions or linear layers between the first "
                      "and the last",
                      g->name);
    epl_release(g->ctx, nodes);
    epl_weight_layers_release(&layers);
    epl_remove_dead(g);
    return ok && epl_reinfer(g) && epl_graph_finish(g);
}

/* Tensors that fit stay, the others go and are made anew. */
static bool renew(epl_model *m, uint64_t seed)
{
    for (int i = epl_weights_count(m->weights) - 1; i >= 0; i--) {
        const epl_tensor *t = epl_weights_at(m->weights, i);
        const epl_value  *v = epl_graph_find(m->graph, epl_weights_name(m->weights, i));
        if ((!v || !epl_shape_equal(v->shape, t->shape)) && !epl_weights_remove(m->weights, epl_weights_name(m->weights, i)))
            return false;
    }
    return epl_model_init(m, seed);
}

/* ---- masks and the account ---- */

static int64_t activations_of(const epl_graph *g)
{
    int64_t n = 0;
    for (const epl_node *k = g->first; k; k = k->next)
        for (int i = 0; i < k->n_outputs && !(k->op->flags & (EPL_OP_SOURCE | EPL_OP_VIEW)); i++)
            n += epl_shape_count(k->outputs[i]->shape);
    return n;
}

static const char *masked_but(int member, const epl_ift_opts *o)
{
    return member == DOPED                     ? "first,last,*.u.weight,*.v.weight"
           : member == FACTORIZED && o->u_only ? "first,last,*.v.weight"
                                               : "first,last";
}

/* What the masks leave is `fixed` plus their density's part of `open`. */
static bool choose_sparsity(epl_context *ctx, const epl_ift_opts *o, double open, double all, double before, double *sparsity)
{
    const double target = o->macs > 0 ? o->macs : before, fixed = all - open;
    *sparsity = o->sparsity;
    if (!o->match)
        return true;
    *sparsity = 1 - (target - fixed) / open;
    if (*sparsity < 0 && *sparsity > -1e-9)
        *sparsity = 0;
    return *sparsity >= 0 && *sparsity < 1
        ? true : epl_fail(ctx, EPL_ERR_LIMIT, "%.6g multiply-adds are out of reach: masks leave between %.6g and %.6g", target, fixed, all);
}

/* The account of the masks; they are drawn where there are weights. */
static bool mask(epl_model *m, int member, const epl_ift_opts *o, epl_ift_result *r)
{
    const char *skip = masked_but(member, o);
    epl_layers  layers = { 0 };
    double      open = 0;
    bool ok = epl_weight_layers_find(m->graph, &layers) && epl_weight_layers_choose(&layers, o->layers, skip);
    for (int i = 0; ok && i < layers.n; i++)
        open += layers.items[i].macs;
    r->layers       = member == WIDE ? layers.n : r->layers;
    r->macs_after   = epl_graph_cost(m->graph).macs;
    r->params_after = r->nonzero = epl_graph_n_parameters(m->graph);
    r->activations_after = activations_of(m->graph);
    ok = ok && choose_sparsity(m->ctx, o, open, r->macs_after, r->macs_before, &r->sparsity);
    r->macs_nonzero = r->macs_after - open * r->sparsity;
    for (int i = 0; ok && i < layers.n; i++)
        r->nonzero -= layers.items[i].count - epl_keep_count(layers.items[i].count, r->sparsity);
    epl_weight_layers_release(&layers);
    return ok && (!m->weights || r->sparsity <= 0 ||
                  epl_prune_weights(m, (epl_prune_opts){ .criterion = "random", .sparsity = r->sparsity, .pattern = o->layers, .skip = skip,
                                                         .seed = o->seed }));
}

/* ---- all of it ---- */

static int64_t choice_of(epl_graph *g, const epl_ift_opts *o, const char *skip)
{
    epl_layers layers = { 0 };
    int64_t    n = 0;
    if (epl_weight_layers_find(g, &layers) && epl_weight_layers_choose(&layers, o->layers, skip))
        for (int i = 0; i < layers.n; i++)
            n += layers.items[i].count;
    epl_weight_layers_release(&layers);
    return n;
}

/* m's own graph and weights change (without weights it is for the account); *r was begun. */
static bool transform(epl_model *m, int member, const epl_ift_opts *o, epl_ift_result *r)
{
    const int64_t all = choice_of(m->graph, o, "first,last");
    if (member == WIDE) {
        r->choice_before = all;
        epl_graph *wide = epl_widen(m, sqrt(1 / (1 - o->sparsity)), &r->scale);
        if (!wide)
            return false;
        epl_graph_free(m->graph);
        m->graph = wide;
    } else if (!rewrite_all(m->graph, member, o, r)) {
        return false;
    }
    r->scale        = member == PARALLEL ? floor(1 / (1 - o->sparsity) + 0.5) : r->scale;
    r->choice_after = choice_of(m->graph, o, masked_but(member, o)) - (all - r->choice_before); // shortcuts are not rewritten
    return (!m->weights || renew(m, o->seed)) && mask(m, member, o, r);
}

/* -1 after an error. */
static int member_of(epl_context *ctx, const epl_ift_opts *o)
{
    const int member = epl_choose_word(ctx, "member", o->member ? o->member : "wide", members, EPL_COUNT(members));
    if (o->between && epl_choose_word(ctx, "way between factors", o->between, betweens, EPL_COUNT(betweens)) < 0)
        return -1;
    if (!(o->sparsity >= 0 && o->sparsity < 1)) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "the sparsity is %g, but must be at least 0 and below 1", o->sparsity);
        return -1;
    }
    return member;
}

static epl_ift_result begin(const epl_graph *g)
{
    return (epl_ift_result){ .params_before = epl_graph_n_parameters(g), .macs_before = epl_graph_cost(g).macs,
                             .activations_before = activations_of(g), .scale = 1 };
}

bool epl_ift_account(const epl_graph *g, epl_ift_opts o, epl_ift_result *out)
{
    const int member = member_of(g->ctx, &o);
    epl_model m = { g->ctx, member >= 0 ? epl_graph_copy(g) : NULL, NULL };
    *out = begin(g);
    const bool ok = m.graph && transform(&m, member, &o, out);
    epl_graph_free(m.graph);
    return ok;
}

bool epl_ift(epl_model *m, epl_ift_opts o, epl_ift_result *out)
{
    const int      member = member_of(m->ctx, &o);
    epl_ift_result r = begin(m->graph);
    epl_model     *copy = member >= 0 ? epl_model_copy(m) : NULL;
    const bool     ok = copy && transform(copy, member, &o, &r);
    if (ok) {
        epl_model_exchange(m, copy);
        if (out)
            *out = r;
    }
    epl_model_free(copy);
    return ok;
}
