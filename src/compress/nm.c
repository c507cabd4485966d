/* nm: training with N:M sparse weights. The network reads the n of every m input channels' weights (KeepLargest in the graph, so
 * that any program of it does), and the step's layers get gradients of their own: a layer takes y = W_FF x as its value, and its
 * gradient goes to another expression, W_BP x + W x, whose parts are cut off from W and from x. What that expression would
 * compute is never needed, and the step's program does not hold it.
 *
 *   BDWP    Fang et al. 2023: both products sparse, the weight gradient dense
 *   SR-STE  Zhou et al. 2021 (arXiv:2102.04010)
 *   SDGP    McDanel et al. 2022: the output's gradient is pruned before the product that gives the input's */
#include "compress/compress.h"

#include <espalier/ops.h>
#include <espalier/passes.h>

#include <stdio.h>
#include <string.h>

typedef struct nm {
    epl_context *ctx;
    epl_nm_opts  o;
    int          n;
    char       **names; /* of the layers' parameters */
} nm;

static bool forward_is_sparse(epl_nm_mode mode) { return mode == EPL_NM_BDWP || mode == EPL_NM_SRSTE; }

/* ---- which layers ---- */

static bool reads_as_weight(const epl_use *u)
{
    return u->input == 1 && (EPL_IS(u->node, conv) || EPL_IS(u->node, linear) || EPL_IS(u->node, matmul));
}

/* All readers see the channels in the last two axes, inputs first. */
static bool is_upright(const epl_value *w)
{
    for (size_t i = 0; i < w->n_uses; i++) {
        const epl_node *n = w->uses[i].node;
        if ((EPL_IS(n, linear) && epl_attr_i(n, "trans_w")) || (EPL_IS(n, matmul) && epl_attr_i(n, "trans_b")))
            return false;
    }
    return true;
}

static bool takes_part(const epl_layer *l)
{
    return !l->inside && (l->kind == EPL_LAYER_CONV || l->kind == EPL_LAYER_LINEAR) && epl_dim(l->read, -2) > 1 && is_upright(l->read);
}

/* Channels along which the forward product, and the input gradient's, add up. */
static bool fits(epl_context *ctx, const epl_nm_opts *o, const epl_layer *l)
{
    const int64_t channels[2] = { epl_dim(l->read, -2), epl_dim(l->read, -1) };
    const bool    counts[2] = { forward_is_sparse(o->mode), o->mode != EPL_NM_SRSTE };
    for (int i = 0; i < 2; i++) {
        if (!counts[i])
            continue;
        const char *side = i ? "output" : "input";
        if (o->m > channels[i])
            return epl_fail(ctx, EPL_ERR_SHAPE, "'%s' has %lld %s channels, fewer than the %d of a group: leave it out with skip", l->name,
                            (long long)channels[i], side, o->m);
        if (o->strict && channels[i] % o->m)
            return epl_fail(ctx, EPL_ERR_SHAPE, "'%s' has %lld %s channels, which groups of %d do not divide", l->name,
                            (long long)channels[i], side, o->m);
    }
    return true;
}

static bool check(epl_context *ctx, const epl_nm_opts *o)
{
    if (o->n < 1 || o->m < o->n || o->m > 1024)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%d of %d weights cannot be kept: at least 1, at most all of at most 1024", o->n, o->m);
    if (!(o->lambda >= -1 && o->lambda <= 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "lambda is %g, but must lie in [-1, 1]", o->lambda);
    return true;
}

static const char *skip_of(const epl_nm_opts *o) { return o->skip ? o->skip : "first,last"; }

/* The layers that take part; fails where one does not fit. */
static bool choose(epl_graph *g, const epl_nm_opts *o, epl_layers *out)
{
    bool ok = epl_weight_layers_find(g, out) && epl_weight_layers_choose(out, o->pattern, skip_of(o));
    const int n = ok ? out->n : 0;
    out->n = 0;
    for (int i = 0; ok && i < n; i++)
        if (takes_part(&out->items[i])) {
            ok = fits(g->ctx, o, &out->items[i]);
            out->items[out->n++] = out->items[i];
        }
    return ok && (out->n > 0 || epl_fail(g->ctx, EPL_ERR_ARGUMENT, "network '%s': none of %d layers has input channels to choose from",
                                         g->name, n));
}

/* ---- the network ---- */

/* Those who read v as their weight read w instead. */
static void redirect(epl_value *v, epl_value *w)
{
    for (size_t i = v->n_uses; i-- > 0;) {
        const epl_use u = v->uses[i];
        if (reads_as_weight(&u))
            epl_set_input(u.node, u.input, w);
    }
}

static bool put_sparse(epl_graph *g, const epl_layer *l, const epl_nm_opts *o)
{
    if (EPL_IS(l->read->producer, keep_largest))
        return true;
    epl_node  *at = epl_graph_insert_before(g, l->read->producer->next);
    epl_value *w  = epl_keep_largest(g, l->read, -2, o->n, o->m);
    epl_graph_insert_before(g, at);
    if (w)
        redirect(l->read, w);
    return w != NULL;
}

/* ---- the step ---- */

/* The gradient of a value, pruned along the channels. */
static epl_value *pruned_gradient(epl_graph *g, epl_value *x, const epl_nm_opts *o)
{
    epl_graph *forward = epl_region_new(g), *backward = epl_region_new(g);
    if (!x || !forward || !backward)
        return NULL;
    const epl_dtype t = epl_dtype_of(x);
    const epl_shape s = epl_shape_of(x);
    epl_value *y = NULL;
    epl_output(forward, "y", epl_input(forward, "x", t, s, NULL));
    epl_input(backward, "x", t, s, NULL);
    epl_input(backward, "y", t, s, NULL);
    epl_output(backward, "dx", epl_keep_largest(backward, epl_input(backward, "dy", t, s, NULL), -1, o->n, o->m));
    return epl_custom_gradient(g, forward, backward, 1, &x, &y) ? y : NULL;
}

/* w, whose gradient gets lambda (w - sparse): SR-STE's pull of what is left out. */
static epl_value *pulled(epl_graph *g, epl_value *w, epl_value *sparse, double lambda)
{
    epl_graph *forward = epl_region_new(g), *backward = epl_region_new(g);
    if (!w || !sparse || !forward || !backward)
        return NULL;
    const epl_dtype t = epl_dtype_of(w);
    const epl_shape s = epl_shape_of(w);
    epl_value *in[2] = { w, epl_stop_gradient(g, sparse) }, *b[4], *y = NULL;
    epl_output(forward, "y", epl_input(forward, "w", t, s, NULL));
    epl_input(forward, "sparse", t, s, NULL);
    for (int i = 0; i < 4; i++)
        b[i] = epl_input(backward, (const char *[]){ "w", "sparse", "y", "dy" }[i], t, s, NULL);
    epl_output(backward, "dw", epl_add(backward, b[3], epl_affine(backward, epl_sub(backward, b[0], b[1]), lambda, 0)));
    epl_output(backward, "dsparse", epl_zeros_like(backward, b[1]));
    return epl_custom_gradient(g, forward, backward, 2, in, &y) ? y : NULL;
}

/* The n of every m output channels; those of a group of a grouped convolution stay among themselves. */
static epl_value *along_outputs(epl_graph *g, epl_value *w, int64_t groups, const epl_nm_opts *o)
{
    if (groups == 1)
        return epl_keep_largest(g, w, -1, o->n, o->m);
    epl_shape s = epl_shape_of(w);
    s.dim[s.rank] = s.dim[s.rank - 1] / groups;
    s.dim[s.rank - 1] = groups;
    s.rank++;
    return epl_reshape_like(g, epl_keep_largest(g, epl_reshape(g, w, s), -1, o->n, o->m), w);
}

/* The layer's node once more, with other inputs. */
static epl_value *again(epl_graph *g, const epl_node *n, epl_value *x, epl_value *w, epl_value *bias)
{
    return x && w ? epl_apply(g, n->op, EPL_IN(x, w, bias), n->attrs) : NULL;
}

static bool rewrite_layer(epl_graph *g, epl_node *n, const epl_nm_opts *o)
{
    const bool sparse = forward_is_sparse(o->mode) && EPL_IS(n->inputs[1]->producer, keep_largest);
    epl_value *x = n->inputs[0], *forward = n->inputs[1], *w = sparse ? forward->producer->inputs[0] : forward;
    epl_value *bias = epl_node_input(n, 2), *y = n->outputs[0];
    const int64_t groups = EPL_IS(n, conv) ? epl_attr_i(n, "group") : 1;
    const double lambda = o->lambda > 0 ? o->lambda : o->lambda == 0 && o->mode == EPL_NM_SRSTE ? 2e-4 : 0;
    epl_node  *at = epl_graph_insert_before(g, n->next);
    epl_scope_push(g, "%s", n->scope);
    epl_value *back = o->mode == EPL_NM_SRSTE || o->mode == EPL_NM_SDGP ? forward : along_outputs(g, w, groups, o);
    epl_value *to_x = again(g, n, x, epl_stop_gradient(g, back), NULL);
    if (o->mode == EPL_NM_SDGP)
        to_x = pruned_gradient(g, to_x, o);
    epl_value *to_w = again(g, n, epl_stop_gradient(g, x), lambda > 0 ? pulled(g, w, forward, lambda) : w, bias);
    epl_value *z = epl_straight_through(g, y, epl_add(g, to_x, to_w));
    epl_scope_pop(g);
    epl_graph_insert_before(g, at);
    if (!z)
        return false;
    for (size_t i = y->n_uses; i-- > 0;) {
        const epl_use u = y->uses[i];
        if (u.node != z->producer)
            epl_set_input(u.node, u.input, z);
    }
    return true;
}

/* How many of a layer's weights come or go with this step; 0 in the first. */
static epl_value *count_changes(epl_train_step *s, const char *name, epl_value *sparse)
{
    epl_graph *g = s->graph;
    char state[1024];
    snprintf(state, sizeof state, "/train.nm.%s", name);
    epl_value *before = epl_state(g, state, EPL_F32, epl_shape_of(sparse), EPL_INIT_ZEROS, 0);
    epl_value *now    = epl_cast(g, epl_not_equal(g, sparse, epl_zeros_like(g, sparse)), EPL_F32);
    epl_value *seen   = epl_step(g, epl_reduce_sum(g, before, (epl_reduce_opts){ 0 }));
    epl_update(g, before, now);
    return epl_mul(g, seen, epl_reduce_sum(g, epl_abs(g, epl_sub(g, now, before)), (epl_reduce_opts){ 0 }));
}

static bool is_named(const nm *k, const char *name)
{
    for (int i = 0; i < k->n; i++)
        if (strcmp(k->names[i], name) == 0)
            return true;
    return false;
}

static bool rewrite_readers(epl_graph *g, epl_value *read, const epl_nm_opts *o)
{
    const size_t n = read->n_uses;
    epl_use *uses = epl_alloc_array(g->ctx, n + 1, sizeof *uses);
    if (uses && n)
        memcpy(uses, read->uses, n * sizeof *uses);
    bool ok = uses != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = !reads_as_weight(&uses[i]) || rewrite_layer(g, uses[i].node, o);
    epl_release(g->ctx, uses);
    return ok;
}

static bool build(void *user, epl_train_step *s)
{
    const nm  *k = user;
    epl_layers layers = { 0 };
    epl_value *changes = NULL;
    bool ok = epl_weight_layers_find(s->graph, &layers);
    for (int i = 0; ok && i < layers.n; i++) {
        epl_layer *l = &layers.items[i];
        if (!is_named(k, l->name))
            continue;
        epl_value *sparse = l->read;
        ok = rewrite_readers(s->graph, l->read, &k->o);
        if (ok && k->o.log_changes && EPL_IS(sparse->producer, keep_largest)) {
            epl_value *c = count_changes(s, l->name, sparse);
            changes = changes ? epl_add(s->graph, changes, c) : c;
        }
    }
    epl_weight_layers_release(&layers);
    return ok && (!changes || epl_train_step_log(s, "nm.changes", changes));
}

/* ---- the hook ---- */

/* One piece of memory: the struct, the pointers, the names. */
static nm *remember(epl_context *ctx, const epl_nm_opts *o, const epl_layers *layers)
{
    size_t bytes = sizeof(nm) + (size_t)layers->n * sizeof(char *);
    for (int i = 0; i < layers->n; i++)
        bytes += strlen(layers->items[i].name) + 1;
    nm *k = epl_alloc(ctx, bytes);
    if (!k)
        return NULL;
    *k = (nm){ .ctx = ctx, .o = *o, .n = layers->n, .names = (char **)(void *)(k + 1) };
    char *at = (char *)(k->names + k->n);
    for (int i = 0; i < k->n; i++) {
        const size_t n = strlen(layers->items[i].name) + 1;
        k->names[i] = memcpy(at, layers->items[i].name, n);
        at += n;
    }
    return k;
}

epl_train_hook epl_nm_hook(epl_model *m, epl_nm_opts o)
{
    epl_layers layers = { 0 };
    bool ok = check(m->ctx, &o) && choose(m->graph, &o, &layers);
    for (int i = 0; ok && i < layers.n && forward_is_sparse(o.mode); i++)
        ok = put_sparse(m->graph, &layers.items[i], &o);
    nm *k = ok ? remember(m->ctx, &o, &layers) : NULL;
    epl_weight_layers_release(&layers);
    return (epl_train_hook){ .build = k ? build : NULL, .user = k };
}

/* ---- afterwards ---- */

bool epl_nm_bake(epl_model *m)
{
    for (epl_node *n = m->graph->first, *next; n; n = next) {
        next = n->next;
        epl_node *p = EPL_IS(n, keep_largest) ? n->inputs[0]->producer : NULL;
        if (!EPL_IS(p, parameter))
            continue;
        epl_tensor *w = epl_weights_find(m->weights, epl_value_name(p->outputs[0]));
        epl_tensor *sparse = w ? epl_tensor_new(m->ctx, w->dtype, w->shape) : NULL;
        if (!sparse || !epl_evaluate_node(n, (const epl_tensor *const[]){ w }, &sparse)) {
            epl_tensor_free(sparse);
            return false;
        }
        epl_replace(n->outputs[0], p->outputs[0]);
        epl_node_remove(n);
        if (!epl_weights_put_take(m->weights, epl_value_name(p->outputs[0]), sparse))
            return false;
    }
    return true;
}

bool epl_nm_cost_of(const epl_model *m, epl_nm_opts o, epl_nm_cost *out)
{
    epl_layers all = { 0 }, chosen = { 0 };
    bool ok = check(m->ctx, &o) && epl_weight_layers_find(m->graph, &all) && choose(m->graph, &o, &chosen);
    const double density = (double)o.n / o.m, products[] = { [EPL_NM_BDWP] = 1 + 2 * density, [EPL_NM_SRSTE] = 2 + density,
                                                             [EPL_NM_SDGP] = 2 + density, [EPL_NM_SDWP] = 2 + density };
    *out = (epl_nm_cost){ 0 };
    for (int i = 0; ok && i < all.n; i++)
        out->dense += (i == 0 ? 2 : 3) * all.items[i].macs; // nobody asks for the gradient of the network's input
    out->sparse = out->dense;
    for (int i = 0; ok && i < chosen.n; i++)
        out->sparse -= (3 - products[o.mode]) * chosen.items[i].macs;
    if (ok && chosen.items[0].weight == all.items[0].weight)
        out->sparse += o.mode == EPL_NM_SRSTE ? 0 : (1 - density) * chosen.items[0].macs;
    out->layers = chosen.n;
    out->dense_layers = all.n - chosen.n;
    epl_weight_layers_release(&all);
    epl_weight_layers_release(&chosen);
    return ok;
}

int64_t epl_nm_packed_bytes(int64_t count, int n, int m, int value_bytes)
{
    const int64_t values = epl_nm_stored(count, n, m);
    return values * value_bytes + epl_shift_packed_bytes(values, epl_nm_index_bits(m));
}
