/* even: grouped convolutions whose groups all stay and lose equally many channels. Where groups are few and large
 * that is the finer way; and where channels are shuffled between two of them it is the only one: whole groups are
 * tied to all the others there, but one channel of each can go. Which ones go together is a question of its own:
 * every set that takes as many of each group of each convolution will do. Sets are collected greedily, with a short
 * search where that gives a larger one than before; with two groupings of the same channels (before and after a
 * shuffle) they are what colours a regular bipartite graph's edges, a channel an edge from its group before to its
 * group after. Channels that fit no set stay. */
#include "compress/units.h"

#include <stdlib.h>
#include <string.h>

typedef struct epl_even_axis { /* its `groups` parts lose equally many */
    const epl_node  *node;
    const epl_value *v;
    int64_t          groups;
} epl_even_axis;

/* The weight, and the values it is made of by transposes: what stays of axis `in` depends on the group that axis `out` is in. */
typedef struct epl_even_weight {
    const epl_value *v, *x;
    int              in, out;
    int64_t          groups;
} epl_even_weight;

struct epl_even {
    epl_context     *ctx;
    const epl_node **nodes;
    epl_even_axis   *axes;
    epl_even_weight *weights;
    size_t           n_nodes, n_axes, n_weights, cap_nodes, cap_axes, cap_weights;
};

static int last(const epl_value *v) { return v->shape.rank - 1; }

/* ---- which convolutions ---- */

static int64_t groups_of(const epl_node *n) { return EPL_IS(n, conv) ? epl_attr_i(n, "group") : 1; }

/* The parameter that v is, but for transposes that nobody else reads; NULL: it is something else. */
static const epl_value *transposed_parameter(const epl_value *v)
{
    while (EPL_IS(v->producer, transpose) && v->n_uses == 1)
        v = v->producer->inputs[0];
    return EPL_IS(v->producer, parameter) && v->n_uses == 1 ? v : NULL;
}

static bool has_choice(epl_units *u, const epl_value *v)
{
    int64_t first = -1;
    for (int64_t i = 0; i < epl_channels(v); i++) {
        const int64_t root = epl_unit_of(u, v, last(v), i);
        if (u->frozen[root])
            continue;
        if (first >= 0 && root != first)
            return true;
        first = root;
    }
    return false;
}

bool epl_units_is_even(const epl_units *u, const epl_node *n)
{
    for (size_t i = 0; u->even && i < u->even->n_nodes; i++)
        if (u->even->nodes[i] == n)
            return true;
    return false;
}

/* Those that have no two groups to choose between, or more channels in a group than groups. Returns how many; -1 on failure. */
int epl_even_choose(epl_units *u)
{
    int count = 0;
    for (const epl_node *n = u->graph->first; n; n = n->next) {
        const int64_t groups = groups_of(n);
        if (groups == 1 || groups == epl_channels(n->inputs[0]) || groups == epl_channels(n->outputs[0]) ||
            (has_choice(u, n->inputs[0]) && epl_channels(n->inputs[0]) <= groups * groups) || !transposed_parameter(n->inputs[1]))
            continue;
        if (!u->even && !(u->even = epl_alloc(u->ctx, sizeof *u->even)))
            return -1;
        if (count == 0)
            *u->even = (struct epl_even){ .ctx = u->ctx };
        if (!epl_grow(u->ctx, &u->even->nodes, u->even->n_nodes, &u->even->cap_nodes, sizeof *u->even->nodes))
            return -1;
        u->even->nodes[u->even->n_nodes++] = n;
        count++;
    }
    return count;
}

void epl_even_release(epl_units *u)
{
    if (!u->even)
        return;
    epl_release(u->ctx, u->even->nodes);
    epl_release(u->ctx, u->even->axes);
    epl_release(u->ctx, u->even->weights);
    epl_release(u->ctx, u->even);
    u->even = NULL;
}

/* ---- what they say about axes ---- */

static bool add_axis(epl_units *u, const epl_node *n, const epl_value *v, int64_t groups)
{
    struct epl_even *e = u->even;
    if (!epl_grow(u->ctx, &e->axes, e->n_axes, &e->cap_axes, sizeof *e->axes))
        return false;
    e->axes[e->n_axes++] = (epl_even_axis){ n, v, groups };
    return true;
}

static bool add_weight(epl_units *u, const epl_node *n, const epl_value *v, int in, int out)
{
    struct epl_even *e = u->even;
    if (!epl_grow(u->ctx, &e->weights, e->n_weights, &e->cap_weights, sizeof *e->weights))
        return false;
    e->weights[e->n_weights++] = (epl_even_weight){ v, n->inputs[0], in, out, groups_of(n) };
    epl_freeze_axis(u, n, v, in); // it follows x's axis
    return true;
}

bool epl_even_tie(epl_units *u, const epl_node *n)
{
    const epl_value *w = n->inputs[1];
    int in = w->shape.rank - 2, out = w->shape.rank - 1;
    for (;; w = w->producer->inputs[0]) {
        if (!add_weight(u, n, w, in, out))
            return false;
        if (!EPL_IS(w->producer, transpose))
            break;
        const epl_attr *perm = &w->producer->attrs[0];
        const int       rank = w->shape.rank;
        in  = (int)(perm->n ? (perm->ints[in] + rank) % rank : rank - 1 - in);
        out = (int)(perm->n ? (perm->ints[out] + rank) % rank : rank - 1 - out);
    }
    return add_axis(u, n, n->inputs[0], groups_of(n)) && add_axis(u, n, n->outputs[0], groups_of(n));
}

static const epl_even_weight *weight_of(const epl_units *u, const epl_value *v)
{
    for (size_t i = 0; u->even && i < u->even->n_weights; i++)
        if (u->even->weights[i].v == v)
            return &u->even->weights[i];
    return NULL;
}

int64_t epl_even_left(epl_units *u, const epl_value *v, int axis)
{
    const epl_even_weight *w = weight_of(u, v);
    return w && w->in == axis ? epl_units_left(u, w->x, last(w->x)) / w->groups : -1;
}

bool epl_even_slice(epl_units *u, const epl_value *v, epl_even_slices *out)
{
    const epl_even_weight *w = weight_of(u, v);
    *out = (epl_even_slices){ 0 };
    if (!w || u->times) // what becomes wider starts anew
        return true;
    const int64_t size = epl_channels(w->x) / w->groups;
    *out = (epl_even_slices){ w->in, w->out, v->shape.dim[w->out] / w->groups, 0, NULL };
    out->list = epl_alloc_array(u->ctx, (size_t)epl_channels(w->x) + 1, sizeof *out->list);
    int64_t n = 0;
    for (int64_t i = 0; out->list && i < epl_channels(w->x); i++)
        if (!u->gone[epl_unit_of(u, w->x, last(w->x), i)])
            out->list[n++] = i % size;
    out->each = n / w->groups;
    return out->list != NULL;
}

/* ---- which channels go together ---- */

typedef struct kind { /* classes with a share in the same places */
    int64_t first, n;     /* of its places, in `places` */
    int64_t members, left; /* a list through `next`; how many */
} kind;

typedef struct sets {
    epl_units *u;
    int64_t   *kind_of, *next;   /* by root */
    int64_t   *places;           /* places: groups of axes, one after the other */
    kind      *kinds;
    int64_t    n_kinds, n_axes, n_places;
    int64_t   *first_place;      /* by axis, and one more */
    int64_t   *axis_of;          /* by place */
    int64_t   *have, *most;      /* of the set that grows: by place, by axis */
    int64_t   *chosen, n_chosen; /* kinds */
    int64_t   *least;            /* by axis: the smallest set so far around a channel that it is the first axis of; 0: none */
} sets;

enum { MOST_IN_A_SET = 4096, SEARCH_BUDGET = 300, MOST_CANDIDATES = 64 };

static void take(sets *s, const kind *k, int64_t sign)
{
    for (int64_t i = k->first; i < k->first + k->n; i++)
        s->have[s->places[i]] += sign;
}

/* How many are missing until all parts of each axis have as many. */
static int64_t missing(sets *s)
{
    int64_t sum = 0;
    for (int64_t a = 0; a < s->n_axes; a++) {
        s->most[a] = 0;
        for (int64_t p = s->first_place[a]; p < s->first_place[a + 1]; p++)
            s->most[a] = s->have[p] > s->most[a] ? s->have[p] : s->most[a];
        for (int64_t p = s->first_place[a]; p < s->first_place[a + 1]; p++)
            sum += s->most[a] - s->have[p];
    }
    return sum;
}

static bool stands_in(const sets *s, const kind *k, int64_t place)
{
    for (int64_t i = k->first; i < k->first + k->n; i++)
        if (s->places[i] == place)
            return true;
    return false;
}

/* The place that lacks a channel and has the fewest to choose from; -1: none lacks any. */
static int64_t scarcest(const sets *s)
{
    int64_t best = -1, least = INT64_MAX;
    for (int64_t p = 0; p < s->n_places; p++) {
        int64_t n = 0;
        if (s->have[p] == s->most[s->axis_of[p]])
            continue;
        for (int64_t k = 0; k < s->n_kinds; k++)
            n += s->kinds[k].left > 0 && stands_in(s, &s->kinds[k], p) ? s->kinds[k].left : 0;
        if (n < least) {
            least = n;
            best  = p;
        }
    }
    return best;
}

static void choose(sets *s, int64_t k)
{
    take(s, &s->kinds[k], 1);
    s->kinds[k].left--;
    s->chosen[s->n_chosen++] = k;
}

static void give_back(sets *s)
{
    const int64_t k = s->chosen[--s->n_chosen];
    take(s, &s->kinds[k], -1);
    s->kinds[k].left++;
}

static void begin_set(sets *s, int64_t seed)
{
    while (s->n_chosen > 0)
        give_back(s);
    choose(s, seed);
}

/* What could stand in this place, what leaves least missing first. */
typedef struct candidate {
    int64_t kind, then;
} candidate;

static int candidates_for(sets *s, int64_t place, candidate *out)
{
    int n = 0;
    for (int64_t k = 0; k < s->n_kinds && n < MOST_CANDIDATES; k++) {
        if (s->kinds[k].left == 0 || !stands_in(s, &s->kinds[k], place))
            continue;
        take(s, &s->kinds[k], 1);
        const candidate c = { k, missing(s) };
        take(s, &s->kinds[k], -1);
        int at = n++;
        for (; at > 0 && (out[at - 1].then > c.then ||
                          (out[at - 1].then == c.then && s->kinds[out[at - 1].kind].left < s->kinds[k].left));
             at--)
            out[at] = out[at - 1];
        out[at] = c;
    }
    return n;
}

static bool complete_greedily(sets *s)
{
    candidate list[MOST_CANDIDATES];
    while (missing(s) > 0) {
        if (s->n_chosen == MOST_IN_A_SET || candidates_for(s, scarcest(s), list) == 0)
            return false;
        choose(s, list[0].kind);
    }
    return true;
}

/* With at most `limit` channels. */
static bool complete(sets *s, int64_t limit, int *budget)
{
    candidate list[MOST_CANDIDATES];
    if (missing(s) == 0)
        return true;
    if (s->n_chosen >= limit || --*budget < 0)
        return false;
    const int n = candidates_for(s, scarcest(s), list);
    for (int i = 0; i < n; i++) {
        choose(s, list[i].kind);
        if (complete(s, limit, budget))
            return true;
        give_back(s);
    }
    return false;
}

/* A set around one of this kind; false: there is none, and nothing is chosen. */
static bool grow_set(sets *s, int64_t seed)
{
    int64_t *least = &s->least[s->axis_of[s->places[s->kinds[seed].first]]];
    int      budget = SEARCH_BUDGET;
    begin_set(s, seed);
    bool ok = complete_greedily(s);
    if (*least && (!ok || s->n_chosen > *least)) {
        begin_set(s, seed);
        ok = complete(s, *least, &budget);
        if (!ok) {
            begin_set(s, seed);
            ok = complete_greedily(s);
        }
    }
    if (ok && (*least == 0 || s->n_chosen < *least))
        *least = s->n_chosen;
    while (!ok && s->n_chosen > 0)
        give_back(s);
    return ok;
}

/* The set's members become one class. */
static void tie_set(sets *s)
{
    int64_t first = -1;
    for (int64_t i = 0; i < s->n_chosen; i++) {
        kind         *k    = &s->kinds[s->chosen[i]];
        const int64_t root = k->members;
        k->members = s->next[root];
        if (first >= 0)
            epl_tie(s->u, first, root);
        first = root;
    }
    memset(s->have, 0, (size_t)s->n_places * sizeof *s->have);
    s->n_chosen = 0;
}

static void collect_sets(sets *s)
{
    for (int64_t k = 0; k < s->n_kinds; k++)
        while (s->kinds[k].left > 0 && grow_set(s, k))
            tie_set(s);
}

/* ---- the places of each class ---- */

typedef struct share {
    int64_t root, place;
} share;

static int by_root(const void *a, const void *b)
{
    const share *x = a, *y = b;
    return x->root != y->root ? (x->root < y->root ? -1 : 1) : x->place < y->place ? -1 : x->place > y->place;
}

static int64_t kind_with(sets *s, const share *from, int64_t n)
{
    for (int64_t k = 0; k < s->n_kinds; k++) {
        bool same = s->kinds[k].n == n;
        for (int64_t i = 0; same && i < n; i++)
            same = s->places[s->kinds[k].first + i] == from[i].place;
        if (same)
            return k;
    }
    const int64_t at = s->n_kinds ? s->kinds[s->n_kinds - 1].first + s->kinds[s->n_kinds - 1].n : 0;
    for (int64_t i = 0; i < n; i++)
        s->places[at + i] = from[i].place;
    s->kinds[s->n_kinds] = (kind){ at, n, -1, 0 };
    return s->n_kinds++;
}

/* Axes that say the same as one before say nothing new. */
static bool said_before(epl_units *u, size_t i)
{
    const epl_even_axis *a = &u->even->axes[i];
    for (size_t k = 0; k < i; k++) {
        const epl_even_axis *b = &u->even->axes[k];
        bool same = b->groups == a->groups && epl_channels(b->v) == epl_channels(a->v);
        for (int64_t c = 0; same && c < epl_channels(a->v); c++)
            same = epl_unit_of(u, a->v, last(a->v), c) == epl_unit_of(u, b->v, last(b->v), c);
        if (same)
            return true;
    }
    return false;
}

/* Where each channel stands; returns how many there are. */
static int64_t list_shares(sets *s, share *out)
{
    int64_t n = 0;
    for (size_t i = 0; i < s->u->even->n_axes; i++) {
        const epl_even_axis *a = &s->u->even->axes[i];
        const int64_t c = epl_channels(a->v);
        if (said_before(s->u, i))
            continue;
        s->first_place[s->n_axes] = s->n_places;
        for (int64_t k = 0; k < c; k++)
            out[n++] = (share){ epl_unit_of(s->u, a->v, last(a->v), k), s->n_places + k / (c / a->groups) };
        for (int64_t g = 0; g < a->groups; g++)
            s->axis_of[s->n_places++] = s->n_axes;
        s->n_axes++;
    }
    s->first_place[s->n_axes] = s->n_places;
    return n;
}

static void sort_out(sets *s, share *shares, int64_t n)
{
    qsort(shares, (size_t)n, sizeof *shares, by_root);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && shares[end].root == shares[i].root; end++)
            ;
        if (s->u->frozen[shares[i].root])
            continue;
        kind *k = &s->kinds[kind_with(s, shares + i, end - i)];
        s->next[shares[i].root] = k->members;
        k->members = shares[i].root;
        k->left++;
    }
}

/* What is left over stays: removing it alone would make groups uneven. */
static void freeze_rest(sets *s)
{
    for (int64_t k = 0; k < s->n_kinds; k++)
        for (int64_t root = s->kinds[k].members; root >= 0; root = s->next[root])
            if (!s->u->frozen[root])
                s->u->frozen[root] = s->u->even->nodes[0];
}

bool epl_even_settle(epl_units *u)
{
    int64_t places = 0, channels = 0;
    for (size_t i = 0; i < u->even->n_axes; i++) {
        places += u->even->axes[i].groups;
        channels += epl_channels(u->even->axes[i].v);
    }
    epl_arena *arena = epl_arena_new(u->ctx);
    sets   s = { .u = u };
    share *shares = arena ? epl_arena_alloc(arena, (size_t)(channels + 1) * sizeof *shares) : NULL;
    s.next        = arena ? epl_arena_alloc(arena, (size_t)(u->n + 1) * sizeof *s.next) : NULL;
    s.places      = arena ? epl_arena_alloc(arena, (size_t)(channels + 1) * sizeof *s.places) : NULL;
    s.kinds       = arena ? epl_arena_alloc(arena, (size_t)(channels + 1) * sizeof *s.kinds) : NULL;
    s.first_place = arena ? epl_arena_alloc(arena, (u->even->n_axes + 1) * sizeof *s.first_place) : NULL;
    s.axis_of     = arena ? epl_arena_alloc(arena, (size_t)(places + 1) * sizeof *s.axis_of) : NULL;
    s.have        = arena ? epl_arena_alloc(arena, (size_t)(places + 1) * sizeof *s.have) : NULL;
    s.most        = arena ? epl_arena_alloc(arena, (u->even->n_axes + 1) * sizeof *s.most) : NULL;
    s.least       = arena ? epl_arena_alloc(arena, (u->even->n_axes + 1) * sizeof *s.least) : NULL;
    s.chosen      = arena ? epl_arena_alloc(arena, (MOST_IN_A_SET + 1) * sizeof *s.chosen) : NULL;
    const bool ok = shares && s.next && s.places && s.kinds && s.first_place && s.axis_of && s.have && s.most && s.least && s.chosen;
    if (ok) {
        memset(s.have, 0, (size_t)(places + 1) * sizeof *s.have);
        memset(s.least, 0, (u->even->n_axes + 1) * sizeof *s.least);
        sort_out(&s, shares, list_shares(&s, shares));
        collect_sets(&s);
        freeze_rest(&s);
    }
    epl_arena_free(arena);
    return ok;
}
