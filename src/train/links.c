/* links: what hooks ask of a step beyond nodes and a loss - cuts, behind which another module begins, and tensors
 * that follow others. */
#include "train/train.h"

#include "graph/op.h"
#include "passes/passes.h"

#include <string.h>

epl_value *epl_train_step_cut(epl_train_step *s, epl_value *v)
{
    epl_graph      *g = s->graph;
    epl_step_links *l = s->links;
    if (!v || epl_graph_failed(g))
        return NULL;
    if (l->n_cuts == EPL_MAX_CLIP_APART)
        return epl_graph_fail(g, EPL_ERR_LIMIT, "a step can be cut at most %d times", EPL_MAX_CLIP_APART);
    const size_t n = v->n_uses;
    epl_node  *at   = epl_graph_insert_before(g, v->producer->next);
    epl_value *stop = epl_stop_gradient(g, v);
    epl_graph_insert_before(g, at);
    if (!stop)
        return NULL;
    for (size_t i = n; i-- > 0;) // those that were there before
        if (!(v->uses[i].node->op->flags & EPL_OP_SINK))
            epl_set_input(v->uses[i].node, v->uses[i].input, stop);
    l->cuts[l->n_cuts++] = stop->producer;
    return stop;
}

/* ---- followers ---- */

static bool is_stored(const epl_value *v) { return v && (EPL_IS(v->producer, parameter) || EPL_IS(v->producer, state)); }

bool epl_train_step_follow(epl_train_step *s, epl_value *dst, epl_value *src, double keep)
{
    epl_step_links *l = s->links;
    char is[192], want[192];
    if (!is_stored(dst) || !is_stored(src))
        return epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT, "a tensor follows another one: both have to be parameters or states");
    if (dst->dtype != src->dtype || !epl_shape_equal(dst->shape, src->shape))
        return epl_fail(s->graph->ctx, EPL_ERR_SHAPE, "'%s' is %s%s and cannot follow '%s', which is %s%s", epl_value_name(dst),
                        epl_dtype_name(dst->dtype), epl_shape_text(is, dst->shape), epl_value_name(src), epl_dtype_name(src->dtype),
                        epl_shape_text(want, src->shape));
    if (!(keep >= 0 && keep <= 1))
        return epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT, "'%s' is to keep %g of itself, expected a number from 0 to 1",
                        epl_value_name(dst), keep);
    if (l->n_followers == l->room) {
        const int     room = l->room ? 2 * l->room : 32;
        epl_follower *more = epl_arena_alloc(s->arena, (size_t)room * sizeof *more);
        if (!more)
            return false;
        if (l->n_followers)
            memcpy(more, l->followers, (size_t)l->n_followers * sizeof *more);
        l->followers = more;
        l->room      = room;
    }
    l->followers[l->n_followers++] = (epl_follower){ epl_arena_strdup(s->arena, epl_value_name(dst)),
                                                     epl_arena_strdup(s->arena, epl_value_name(src)),
                                                     EPL_IS(dst->producer, parameter),
                                                     EPL_IS(src->producer, parameter),
                                                     dst->dtype,
                                                     dst->shape,
                                                     keep };
    return l->followers[l->n_followers - 1].dst && l->followers[l->n_followers - 1].src;
}

/* The tensor of that name in g, which need not have it yet: with accumulation updates are a graph of their own. */
static epl_value *stored(epl_graph *g, const epl_follower *f, const char *name, bool trains)
{
    return (trains ? epl_parameter : epl_state)(g, epl_prefixed(g, "", name), f->dtype, f->shape, EPL_INIT_ZEROS, 0);
}

static epl_node *update_of(const epl_value *v)
{
    for (size_t i = 0; i < v->n_uses; i++)
        if (EPL_IS(v->uses[i].node, update) && v->uses[i].input == 0)
            return v->uses[i].node;
    return NULL;
}

bool epl_step_follow_all(epl_graph *g, const epl_step_links *l)
{
    for (int i = 0; i < l->n_followers && !epl_graph_failed(g); i++) {
        const epl_follower *f = &l->followers[i];
        epl_value *dst = epl_graph_find(g, f->dst), *src = epl_graph_find(g, f->src);
        dst = dst ? dst : stored(g, f, f->dst, f->dst_trains);
        src = src ? src : stored(g, f, f->src, f->src_trains);
        epl_node  *update = dst ? update_of(dst) : NULL;
        epl_value *own = update ? update->inputs[1] : dst;
        epl_value *next = epl_add(g, epl_affine(g, own, f->keep, 0), epl_affine(g, src, 1 - f->keep, 0));
        if (update && next) {
            epl_node_move_last(update); // behind its new value
            epl_set_input(update, 1, next);
        } else
            epl_update(g, dst, next);
    }
    return !epl_graph_failed(g);
}

/* ---- clipping ---- */

bool epl_step_clip_modules(epl_train_step *s, int n, epl_value *const *parameters, epl_optimizer_opts *o)
{
    const int    modules = s->links->n_cuts + 1;
    const char **patterns = epl_arena_alloc(s->arena, (size_t)modules * sizeof *patterns);
    if (o->clip_norm <= 0 || modules == 1)
        return true;
    epl_tag_modules(s->graph, s->links->cuts, s->links->n_cuts);
    for (int k = 0; patterns && k < modules - 1; k++) {
        epl_text text = EPL_TEXT(s->graph->ctx);
        for (int i = 0; i < n; i++)
            if (parameters[i]->producer->tag == k)
                epl_text_addf(&text, "%s%s", epl_text_str(&text)[0] ? "," : "", epl_value_name(parameters[i]));
        patterns[k] = epl_arena_strdup(s->arena, epl_text_str(&text));
        epl_text_release(&text);
        if (!patterns[k])
            return false;
    }
    o->clip_apart   = patterns;
    o->n_clip_apart = modules - 1;
    return patterns != NULL;
}
