/* fuse: element-wise nodes that read each other become one Fused node, and join the convolution or matrix product before
 * them. Groups grow along edges between values of one shape; two groups may join if no path leaves one and enters the other
 * through a third, which would make the fused nodes wait for each other, and if nobody else has to wait for longer. The nodes
 * are then put in an order in which groups are contiguous. Keeps every bit of f32 arithmetic (chains compute each node as it
 * would alone). */
#include "passes/passes.h"

enum { MAX_STEPS = 32, MAX_INPUTS = 12, MAX_OUTPUTS = 4 }; /* what a chain holds: kernels/kernel.h */

typedef struct group {
    int        parent;      /* union-find; itself for a root */
    int        first, last; /* range of the members' positions */
    int        n_members, n_anchors;
    epl_shape  shape;
    int        visited;     /* stamp of the path search */
    int        next;        /* list of members */
    bool       fusable, emitted;
    bool       updates;     /* makes the next value of a parameter or state, in its place if nothing prevents it */
} group;

typedef struct fusion {
    epl_graph *g;
    epl_node **nodes; /* by position; node->tag is its position */
    group     *groups;
    int        n, stamp;
} fusion;

/* The group of a position; -1 for the Fused nodes made meanwhile, whose tag is -1. */
static int find(const fusion *f, int i)
{
    while (i >= 0 && f->groups[i].parent != i)
        i = f->groups[i].parent;
    return i;
}

static int group_of(const fusion *f, const epl_value *v) { return find(f, (int)v->producer->tag); }

static bool chain_type(const epl_value *v) { return v->dtype == EPL_F32 || v->dtype == EPL_BOOL; }

static bool is_chainable(const epl_node *n)
{
    if (!(n->op->flags & EPL_OP_ELEMENTWISE) || !chain_type(n->outputs[0]) || epl_shape_count(n->outputs[0]->shape) == 0)
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (!chain_type(n->inputs[i]))
            return false;
    return true;
}

static bool is_anchor(const epl_node *n)
{
    if (EPL_IS(n, integer_conv))
        return n->outputs[0]->dtype == EPL_F32;
    return (EPL_IS(n, conv) || EPL_IS(n, conv_transpose) || EPL_IS(n, conv_input_grad) || EPL_IS(n, linear) ||
            EPL_IS(n, matmul)) && n->outputs[0]->dtype == EPL_F32 && n->inputs[0]->dtype == EPL_F32;
}

static bool is_next_value(const epl_node *n)
{
    for (size_t u = 0; n->n_outputs && u < n->outputs[0]->n_uses; u++)
        if (EPL_IS(n->outputs[0]->uses[u].node, update) || EPL_IS(n->outputs[0]->uses[u].node, quantize_blockwise))
            return true;
    return false;
}

/* Constants of one element go into the region; everything else that comes from outside is an input. */
static bool goes_inside(const epl_value *v) { return EPL_IS(v->producer, constant) && epl_shape_count(v->shape) == 1; }

/* ---- may two groups join? ---- */

/* Does anything that members of `from` read, directly or through other groups, come from `target`? Direct edges between
 * the two are allowed. What stands before target's first is not followed: it depends on it only through a group that reaches
 * across, and break_cycles finds those. */
static bool depends(fusion *f, int from, int target, int direct, int depth)
{
    if (f->groups[from].visited == f->stamp)
        return false;
    f->groups[from].visited = f->stamp;
    if (depth > 2000)
        return true; // give up on fusing rather than on the stack
    for (int m = from; m >= 0; m = f->groups[m].next)
        for (int i = 0; i < f->nodes[m]->n_inputs; i++) {
            if (!f->nodes[m]->inputs[i])
                continue;
            const int p = group_of(f, f->nodes[m]->inputs[i]);
            if (p == target && from != direct)
                return true;
            if (p != target && p != from && f->groups[p].last > f->groups[target].first && depends(f, p, target, direct, depth + 1))
                return true;
        }
    return false;
}

static bool waits_for(fusion *f, int from, int target)
{
    f->stamp++;
    return depends(f, from, target, from, 0);
}

/* The anchor of a runs before its chain, so what it reads cannot be of the chain. */
static bool anchor_reads(const fusion *f, int a, int b)
{
    for (int m = a; m >= 0; m = f->groups[m].next)
        for (int i = 0; !(f->nodes[m]->op->flags & EPL_OP_ELEMENTWISE) && i < f->nodes[m]->n_inputs; i++)
            if (f->nodes[m]->inputs[i] && group_of(f, f->nodes[m]->inputs[i]) == b)
                return true;
    return false;
}

static bool in_pair(const fusion *f, const epl_node *n, int a, int b)
{
    const int r = find(f, (int)n->tag);
    return r == a || r == b;
}

/* The position from which on group r could run, but for what comes from the other one. */
static int64_t ready_at(const fusion *f, int r, int other)
{
    int64_t at = -1;
    for (int m = r; m >= 0; m = f->groups[m].next)
        for (int i = 0; i < f->nodes[m]->n_inputs; i++) {
            const epl_node *p = f->nodes[m]->inputs[i] ? f->nodes[m]->inputs[i]->producer : NULL;
            if (p && p->tag > at && !in_pair(f, p, r, other))
                at = p->tag;
        }
    return at;
}

/* Would somebody who reads a value of group r have to wait for what the other group reads? Then what the two of them
 * keep alive would stay so for longer: a step cut into modules would keep all of them, where their losses share a
 * value. */
static bool delays(const fusion *f, int r, int other)
{
    const int64_t ready = ready_at(f, other, r);
    for (int m = r; m >= 0; m = f->groups[m].next)
        for (size_t u = 0; u < f->nodes[m]->outputs[0]->n_uses; u++) {
            const epl_node *reader = f->nodes[m]->outputs[0]->uses[u].node;
            const bool     keeps = EPL_IS(reader, update) || EPL_IS(reader, quantize_blockwise); // nobody waits for what is carried
            if (reader->tag < ready && !keeps && !in_pair(f, reader, r, other))
                return true;
        }
    return false;
}

typedef struct load {
    int steps, inputs, outputs, real_outputs;
} load;

/* An anchor writes its raw result where the chain's first one goes, so that place cannot be a parameter that the chain reads:
 * an update behind a product would be copied home. */
static bool spoils_update(const group *x, const group *y)
{
    return x->n_anchors + y->n_anchors > 0 && (x->updates || y->updates);
}

/* What the chain of the two groups together would hold. Inputs are counted once; an anchor's own are not the chain's. */
static load load_of(const fusion *f, int a, int b)
{
    load l = { 0 };
    const epl_value *seen[MAX_INPUTS + 1];
    for (int half = 0; half < 2; half++)
        for (int m = half ? b : a; m >= 0; m = f->groups[m].next) {
            const epl_node *n = f->nodes[m];
            const bool anchor = !(n->op->flags & EPL_OP_ELEMENTWISE);
            l.steps += !anchor;
            l.inputs += anchor; // its result
            for (int i = 0; !anchor && i < n->n_inputs; i++) {
                bool known = in_pair(f, n->inputs[i]->producer, a, b);
                for (int k = 0; k < l.inputs && k < MAX_INPUTS && !known; k++)
                    known = seen[k] == n->inputs[i];
                if (!known && l.inputs <= MAX_INPUTS)
                    seen[l.inputs == MAX_INPUTS ? MAX_INPUTS : l.inputs] = n->inputs[i];
                l.inputs += !known;
            }
            if (anchor && l.inputs <= MAX_INPUTS)
                seen[l.inputs - 1] = n->outputs[0];
            bool outside = false;
            for (size_t u = 0; u < n->outputs[0]->n_uses && !outside; u++)
                outside = !in_pair(f, n->outputs[0]->uses[u].node, a, b);
            l.outputs += outside;
            l.real_outputs += outside && !anchor && n->outputs[0]->dtype == EPL_F32;
        }
    return l;
}

static void join(fusion *f, int a, int b)
{
    group *x = &f->groups[a], *y = &f->groups[b];
    int tail = a;
    while (f->groups[tail].next >= 0)
        tail = f->groups[tail].next;
    f->groups[tail].next = b;
    y->parent = a;
    x->n_members += y->n_members;
    x->n_anchors += y->n_anchors;
    x->updates |= y->updates;
    if (y->first < x->first)
        x->first = y->first;
    if (y->last > x->last)
        x->last = y->last;
}

static void try_join(fusion *f, int a, int b)
{
    a = find(f, a);
    b = find(f, b);
    const group *x = &f->groups[a], *y = &f->groups[b];
    if (a == b || !x->fusable || !y->fusable || x->n_anchors + y->n_anchors > 1 || spoils_update(x, y) ||
        !epl_shape_equal(x->shape, y->shape))
        return;
    const load l = load_of(f, a, b);
    if (l.steps > MAX_STEPS || l.inputs > MAX_INPUTS || l.outputs > MAX_OUTPUTS ||
        (x->n_anchors + y->n_anchors > 0 && l.real_outputs == 0))
        return;
    if (!anchor_reads(f, a, b) && !anchor_reads(f, b, a) && !delays(f, a, b) && !delays(f, b, a) &&
        !waits_for(f, a, b) && !waits_for(f, b, a))
        join(f, a, b);
}

/* First along edges that are a value's only use: the value then needs no memory. What is computed from a value that is kept
 * anyway, such as the mask of a relu's gradient, so joins its reader rather than the value's producer, which would have to
 * write it. */
static void join_along(fusion *f, bool shared)
{
    for (int i = 0; i < f->n; i++)
        for (int j = 0; is_chainable(f->nodes[i]) && j < f->nodes[i]->n_inputs; j++) {
            const epl_value *v = f->nodes[i]->inputs[j];
            if (shared || v->n_uses == 1)
                try_join(f, i, (int)v->producer->tag);
        }
}

/* ---- groups that wait for each other ---- */

enum { NONE = -1, ON_CYCLE = -2 };

/* The first group of several members on a cycle that can be reached from r; NONE. */
static int find_cycle(fusion *f, int r)
{
    const int under_way = 2 * f->stamp, done = under_way + 1;
    int found = NONE;
    if (f->groups[r].visited == under_way)
        return ON_CYCLE;
    if (f->groups[r].visited == done)
        return NONE;
    f->groups[r].visited = under_way;
    for (int m = r; m >= 0 && found == NONE; m = f->groups[m].next)
        for (int i = 0; i < f->nodes[m]->n_inputs && found == NONE; i++) {
            const int p = f->nodes[m]->inputs[i] ? group_of(f, f->nodes[m]->inputs[i]) : r;
            if (p != r)
                found = find_cycle(f, p);
        }
    f->groups[r].visited = done;
    return found == ON_CYCLE && f->groups[r].n_members > 1 ? r : found;
}

/* Its members stand alone again. */
static void dissolve(fusion *f, int r)
{
    for (int m = r, next; m >= 0; m = next) {
        next = f->groups[m].next;
        f->groups[m].parent = f->groups[m].first = f->groups[m].last = m;
        f->groups[m].next = -1;
        f->groups[m].n_members = 1;
    }
}

static void break_cycles(fusion *f)
{
    f->stamp++;
    for (int i = 0; i < f->n; i++) {
        const int r = find_cycle(f, find(f, i));
        if (r >= 0) {
            dissolve(f, r);
            f->stamp++;
            i = -1;
        }
    }
}

/* ---- rewriting ---- */

static epl_value *inside(epl_graph *region, epl_value *v, epl_value **outer, int *n_outer)
{
    if (v->mark)
        return v->mark;
    if (goes_inside(v))
        return v->mark = epl_constant(region, v->producer->attrs[0].tensor);
    char name[32];
    snprintf(name, sizeof name, "%d", *n_outer);
    epl_value *x = epl_input(region, name, v->dtype, v->shape, NULL);
    outer[(*n_outer)++] = v;
    return v->mark = x;
}

static int by_position(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* The members of group r as one node at the end of the graph. */
static bool emit_fused(fusion *f, int r)
{
    epl_graph  *g       = f->g, *region = epl_region_new(g);
    const int   n       = f->groups[r].n_members;
    int        *members = epl_arena_alloc(g->arena, (size_t)n * sizeof *members), k = 0, n_outer = 0, n_results = 0;
    epl_value  *outer[MAX_INPUTS + 16], *results[MAX_OUTPUTS + 1];
    if (!region || !members)
        return false;
    for (int m = r; m >= 0; m = f->groups[m].next)
        members[k++] = m;
    qsort(members, (size_t)n, sizeof *members, by_position);
    for (int m = 0; m < n; m++)
        for (int i = 0; i < f->nodes[members[m]]->n_inputs; i++)
            if (f->nodes[members[m]]->inputs[i])
                f->nodes[members[m]]->inputs[i]->mark = NULL;
    for (int m = 0; m < n; m++) { // sources first: a region's inputs precede what reads them
        const epl_node *node = f->nodes[members[m]];
        for (int i = 0; i < node->n_inputs; i++)
            if (node->inputs[i] && find(f, (int)node->inputs[i]->producer->tag) != r)
                inside(region, node->inputs[i], outer, &n_outer);
    }
    const char *scope = f->nodes[members[n - 1]]->scope;
    for (int m = 0; m < n; m++) {
        epl_node  *node = f->nodes[members[m]];
        epl_value *in[16];
        for (int i = 0; i < node->n_inputs; i++)
            in[i] = node->inputs[i] ? node->inputs[i]->mark : NULL;
        epl_node *copy = epl_node_add(region, node->op, node->n_inputs, in, node->attrs, 0, NULL);
        if (!copy)
            return false;
        copy->scope = node->scope;
        node->outputs[0]->mark = copy->outputs[0];
        if (!(node->op->flags & EPL_OP_ELEMENTWISE))
            scope = node->scope;
    }
    for (int pass = 0; pass < 2; pass++) // the first result must be a float one of the chain
        for (int m = n - 1; m >= 0; m--) {
            epl_node *node = f->nodes[members[m]];
            const bool first = (node->op->flags & EPL_OP_ELEMENTWISE) && node->outputs[0]->dtype == EPL_F32;
            bool outside = false;
            for (size_t u = 0; u < node->outputs[0]->n_uses && !outside; u++)
                outside = find(f, (int)node->outputs[0]->uses[u].node->tag) != r;
            if (outside && first == (pass == 0)) {
                epl_output(region, "", node->outputs[0]->mark);
                results[n_results++] = node->outputs[0];
            }
        }
    epl_node *fused = epl_node_add(g, &epl_op_fused, n_outer, outer, NULL, 1, &region);
    if (!fused)
        return false;
    fused->scope = scope;
    fused->tag   = -1;
    for (int i = 0; i < n_results; i++)
        epl_replace(results[i], fused->outputs[i]);
    for (int m = n - 1; m >= 0; m--)
        epl_node_remove(f->nodes[members[m]]);
    return true;
}

static void collect(fusion *f, int r, int *order, int *n_order)
{
    if (f->groups[r].emitted)
        return;
    f->groups[r].emitted = true;
    for (int m = r; m >= 0; m = f->groups[m].next)
        for (int i = 0; i < f->nodes[m]->n_inputs; i++)
            if (f->nodes[m]->inputs[i])
                collect(f, group_of(f, f->nodes[m]->inputs[i]), order, n_order);
    order[(*n_order)++] = r;
}

static bool rewrite(fusion *f)
{
    int *order = epl_alloc_array(f->g->ctx, (size_t)f->n + 1, sizeof *order), n_order = 0;
    bool ok = order != NULL;
    for (int i = 0; ok && i < f->n; i++) {
        const group *x = &f->groups[find(f, i)];
        if (x->n_members == 1 || i == x->last || epl_shape_count(x->shape) > 1) // numbers wait for the last of what they sum up
            collect(f, find(f, i), order, &n_order);
    }
    for (int k = 0; ok && k < n_order; k++) {
        const group *x = &f->groups[order[k]];
        if (x->n_members > 1)
            ok = emit_fused(f, order[k]);
        else
            epl_node_move_last(f->nodes[order[k]]);
    }
    epl_release(f->g->ctx, order);
    return ok;
}

bool epl_fuse(epl_graph *g)
{
    fusion f = { .g = g, .n = g->n_nodes };
    f.nodes  = epl_alloc_array(g->ctx, (size_t)f.n + 1, sizeof(epl_node *));
    f.groups = epl_alloc_array(g->ctx, (size_t)f.n + 1, sizeof *f.groups);
    bool ok  = f.nodes && f.groups;
    int  k   = 0;
    for (epl_node *n = g->first; ok && n; n = n->next, k++) {
        n->tag     = k;
        f.nodes[k] = n;
        f.groups[k] = (group){ .parent = k, .first = k, .last = k, .n_members = 1, .n_anchors = is_anchor(n), .next = -1,
                               .fusable = is_anchor(n) || is_chainable(n), .updates = is_next_value(n) };
        if (f.groups[k].fusable)
            f.groups[k].shape = n->outputs[0]->shape;
    }
    for (int shared = 0; ok && shared < 2; shared++)
        join_along(&f, shared);
    if (ok)
        break_cycles(&f);
    ok = ok && rewrite(&f);
    epl_release(g->ctx, f.nodes);
    epl_release(g->ctx, f.groups);
    for (epl_node *n = g->first; ok && n; n = n->next)
        for (int i = 0; ok && !EPL_IS(n, fused) && i < n->n_regions; i++)
            ok = epl_fuse(n->regions[i]);
    return ok && !epl_graph_failed(g);
}
