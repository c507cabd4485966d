/* cut: where a network can be cut in two with one tensor crossing, and a training step whose modules - the parts
 * between cuts - run one after the other, forward and backward, so that one module's activations are gone when the
 * next one begins. */
#include "passes/passes.h"

#include <ctype.h>

/* ---- cut points ---- */

/* Tags what lies on a way from x to y with 1 + its position, everything else with 0. */
static void mark_way(epl_graph *g, const epl_value *x, const epl_value *y)
{
    for (epl_node *n = g->first; n; n = n->next) {
        n->tag = n == x->producer;
        for (int i = 0; i < n->n_inputs && !EPL_IS(n, output); i++)
            n->tag = n->tag || (n->inputs[i] && n->inputs[i]->producer->tag);
    }
    int64_t position = g->n_nodes;
    for (epl_node *n = g->last; n; n = n->prev, position--) {
        bool wanted = n == y->producer;
        for (int o = 0; o < n->n_outputs && n->tag; o++)
            for (size_t u = 0; u < n->outputs[o]->n_uses; u++)
                wanted = wanted || n->outputs[o]->uses[u].node->tag < 0;
        n->tag = n->tag && wanted ? -position : 0;
    }
    for (epl_node *n = g->first; n; n = n->next)
        n->tag = -n->tag;
}

static int64_t last_reader(const epl_node *n)
{
    int64_t last = n->tag;
    for (int o = 0; o < n->n_outputs; o++)
        for (size_t u = 0; u < n->outputs[o]->n_uses; u++)
            if (n->outputs[o]->uses[u].node->tag > last)
                last = n->outputs[o]->uses[u].node->tag;
    return last;
}

/* How much of a scope names a block: "stage1.unit2" of "stage1.unit2.a.conv", up to the second part with a number.
 * 0: there is none. */
static size_t block_length(const char *scope)
{
    size_t length = 0;
    int    numbers = 0;
    for (const char *p = scope; *p && numbers < 2;) {
        const size_t part = strcspn(p, ".");
        if (part && isdigit((unsigned char)p[part - 1])) {
            length = (size_t)(p - scope) + part;
            numbers++;
        }
        p += part + (p[part] == '.');
    }
    return length;
}

static bool add_point(epl_graph *g, const char *name, size_t length, epl_value *v, epl_cut_point **points, int *n, size_t *room)
{
    epl_cut_point *last = *n ? &(*points)[*n - 1] : NULL;
    if (last && strlen(last->name) == length && memcmp(last->name, name, length) == 0) {
        last->value = v; // further on in the same block
        return true;
    }
    char *copy = epl_arena_alloc(g->arena, length + 1);
    if (!copy || !epl_grow(g->ctx, points, (size_t)*n, room, sizeof **points))
        return false;
    memcpy(copy, name, length);
    copy[length] = '\0';
    (*points)[(*n)++] = (epl_cut_point){ copy, v };
    return true;
}

bool epl_cut_points(epl_graph *g, epl_value *x, epl_value *y, epl_cut_point **points, int *n)
{
    *points = NULL;
    *n      = 0;
    size_t  room = 0;
    int64_t farthest = 0;
    if (!x || !y)
        return false;
    mark_way(g, x, y);
    for (epl_node *node = g->first; node; node = node->next) {
        if (node->tag == 0)
            continue;
        const size_t length = block_length(node->scope);
        const bool   alone = farthest <= node->tag && node != x->producer;
        if (alone && length > 0 && !add_point(g, node->scope, length, node->outputs[0], points, n, &room))
            return false;
        if (alone && length == 0 && (*n == 0 || strcmp((*points)[0].name, "stem") == 0) && *n <= 1 &&
            !add_point(g, "stem", 4, node->outputs[0], points, n, &room))
            return false;
        const int64_t last = last_reader(node);
        farthest = last > farthest ? last : farthest;
    }
    return true;
}

/* ---- modules ---- */

static bool is_cut(const epl_node *n, epl_node *const *cuts, int n_cuts)
{
    for (int i = 0; i < n_cuts; i++)
        if (cuts[i] == n)
            return true;
    return false;
}

enum { NONE = -1 }; /* it depends on no input of the graph */

/* What follows from data is in the module of its last input; behind a cut in the next one. */
static void tag_data(epl_graph *g, epl_node *const *cuts, int n_cuts)
{
    for (epl_node *n = g->first; n; n = n->next) {
        n->tag = EPL_IS(n, input) ? 0 : NONE;
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] && n->inputs[i]->producer->tag > n->tag)
                n->tag = n->inputs[i]->producer->tag;
        n->tag += is_cut(n, cuts, n_cuts);
    }
}

static int64_t first_reader(const epl_node *n)
{
    int64_t first = INT64_MAX;
    for (int o = 0; o < n->n_outputs; o++)
        for (size_t u = 0; u < n->outputs[o]->n_uses; u++)
            if (n->outputs[o]->uses[u].node->tag < first)
                first = n->outputs[o]->uses[u].node->tag;
    return first;
}

static int64_t bytes_of(const epl_value *v) { return epl_shape_count(v->shape) * (int64_t)epl_dtype_bytes(v->dtype); }

/* What n reads and nobody else reads then: it would have to wait for n. */
static int64_t bytes_kept_for(const epl_node *n, int64_t then)
{
    int64_t bytes = 0;
    for (int i = 0; i < n->n_inputs; i++) {
        const epl_value *v = n->inputs[i];
        bool kept = !v || (v->producer->op->flags & EPL_OP_SOURCE);
        for (size_t u = 0; !kept && u < v->n_uses; u++)
            kept = v->uses[u].node != n && v->uses[u].node->tag >= then;
        bytes += kept ? 0 : bytes_of(v);
    }
    return bytes;
}

/* What could be known early but is read late - labels, the picture that a decoder is to make, what arrives from a
 * later loss - is computed where it is first read, unless what it is made of is larger. */
static void put_off(epl_graph *g, epl_node *const *cuts, int n_cuts)
{
    for (epl_node *n = g->last; n; n = n->prev) {
        const int64_t first =
            n->tag == NONE || (n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK)) || is_cut(n, cuts, n_cuts)
                ? n->tag
                : first_reader(n);
        int64_t made = 0;
        for (int o = 0; o < n->n_outputs; o++)
            made += bytes_of(n->outputs[o]);
        if (first > n->tag && first <= n_cuts && bytes_kept_for(n, first) <= made)
            n->tag = first;
    }
}

/* The module of what depends on weights alone: where it is first read; the next value of a tensor goes where that is last read. */
static int64_t module_of_weights(const epl_node *n, int64_t last)
{
    int64_t first = last;
    for (int o = 0; o < n->n_outputs; o++)
        for (size_t u = 0; u < n->outputs[o]->n_uses; u++) {
            const epl_node *reader = n->outputs[o]->uses[u].node;
            int64_t at = reader->tag;
            if (EPL_IS(reader, update)) {
                const epl_value *target = reader->inputs[0];
                at = NONE;
                for (size_t k = 0; k < target->n_uses; k++)
                    if (!EPL_IS(target->uses[k].node, update) && target->uses[k].node->tag > at)
                        at = target->uses[k].node->tag;
            }
            if (at != NONE && at < first)
                first = at;
        }
    return first;
}

void epl_tag_modules(epl_graph *g, epl_node *const *cuts, int n_cuts)
{
    tag_data(g, cuts, n_cuts);
    put_off(g, cuts, n_cuts);
    for (epl_node *n = g->last; n; n = n->prev)
        if (n->tag == NONE && !(n->op->flags & EPL_OP_SINK))
            n->tag = module_of_weights(n, n_cuts);
}

bool epl_order_modules(epl_graph *g, epl_node *const *cuts, int n_cuts)
{
    if (!epl_settle_shapes(g)) // or gradients that read a later module's value for its shape would wait for it
        return false;
    const int  n = g->n_nodes;
    epl_node **nodes = epl_alloc_array(g->ctx, (size_t)n + 1, sizeof *nodes);
    epl_tag_modules(g, cuts, n_cuts);
    int k = 0;
    for (epl_node *node = g->first; nodes && node; node = node->next) {
        nodes[k++] = node;
        if (node->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK))
            node->tag = node->op->flags & EPL_OP_SOURCE ? NONE : n_cuts + 1;
    }
    for (int64_t module = NONE; nodes && module <= n_cuts + 1; module++)
        for (int i = 0; i < n; i++)
            if (nodes[i]->tag == module)
                epl_node_move_last(nodes[i]);
    epl_release(g->ctx, nodes);
    return nodes != NULL;
}
