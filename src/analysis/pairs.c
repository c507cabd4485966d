/* pairs: the operators of two graphs beside each other. Each graph is put in an order that names have no part in (depth first
 * from the outputs); operators with equal keys are paired as the lines of a text are by diff; in what lies between, those of the
 * same kind are paired as changed. What the pairs read must then be pairs, too. */
#include "analysis/pairs.h"

#include "graph/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_source(const epl_node *n) { return (n->op->flags & EPL_OP_SOURCE) != 0; }
static bool is_weight(const epl_node *n) { return EPL_IS(n, parameter) || EPL_IS(n, state); }

/* ---- the order ---- */

typedef struct step {
    const epl_node *n;
    int             next; /* the input to look at */
} step;

/* Appends what n needs, and n. */
static void visit(pair_side *s, const epl_node *root, step *stack, bool *seen)
{
    int depth = 0;
    stack[depth++] = (step){ root, 0 };
    while (depth) {
        step *top = &stack[depth - 1];
        if (top->next == top->n->n_inputs) {
            s->index[top->n->id] = s->n;
            s->at[s->n++] = top->n;
            depth--;
            continue;
        }
        const epl_value *v = top->n->inputs[top->next++];
        if (v && !is_source(v->producer) && !seen[v->producer->id]) {
            seen[v->producer->id] = true;
            stack[depth++] = (step){ v->producer, 0 };
        }
    }
}

static void number_nodes(pair_side *s)
{
    int next = 0;
    for (const epl_node *n = s->g->first; n; n = n->next) {
        s->number[n->id] = next;
        next += n->n_outputs;
    }
}

static bool side_init(epl_context *ctx, pair_side *s, const epl_graph *g, const char *prefix)
{
    const size_t ids = (size_t)g->root->next_id + 1, n = (size_t)g->n_nodes + 1;
    *s = (pair_side){ .g = g, .prefix = prefix, .at = epl_alloc_array(ctx, n, sizeof *s->at),
                      .index = epl_alloc_array(ctx, ids, sizeof *s->index), .number = epl_alloc_array(ctx, ids, sizeof *s->number),
                      .partner = epl_alloc_array(ctx, n, sizeof *s->partner), .exact = epl_alloc_array(ctx, n, sizeof *s->exact),
                      .weights = epl_alloc_array(ctx, ids, sizeof *s->weights) };
    step *stack = epl_alloc_array(ctx, n, sizeof *stack);
    bool *seen  = epl_alloc_array(ctx, ids, sizeof *seen);
    bool  ok = s->at && s->index && s->number && s->partner && s->exact && s->weights && stack && seen;
    for (size_t i = 0; ok && i < ids; i++)
        s->index[i] = -1;
    for (int updates = 0; ok && updates < 2; updates++)
        for (const epl_node *k = g->first; k; k = k->next)
            if ((k->op->flags & EPL_OP_SINK) && EPL_IS(k, update) == (updates == 1))
                visit(s, k, stack, seen);
    if (ok)
        number_nodes(s);
    epl_release(ctx, stack);
    epl_release(ctx, seen);
    return ok;
}

void pair_release(epl_context *ctx, pair_side *s)
{
    epl_release(ctx, s->at);
    epl_release(ctx, s->index);
    epl_release(ctx, s->number);
    epl_release(ctx, s->partner);
    epl_release(ctx, s->exact);
    epl_release(ctx, s->weights);
    *s = (pair_side){ 0 };
}

/* ---- keys ---- */

/* Names and the numbers of random streams make no difference. */
static bool attr_counts(const epl_node *n, int i)
{
    return n->op->attrs[i].type != EPL_ATTR_STRING && !((n->op->flags & EPL_OP_RANDOM) && strcmp(n->op->attrs[i].name, "stream") == 0);
}

static bool reals_same(int n, const double *a, const double *b)
{
    for (int i = 0; i < n; i++)
        if ((float)a[i] != (float)b[i] && memcmp(&a[i], &b[i], sizeof *a) != 0)
            return false;
    return true;
}

/* Axes may be counted from the end. */
static bool is_axes(const epl_node *n, int i)
{
    return n->n_inputs && n->inputs[0] && (strcmp(n->op->attrs[i].name, "axis") == 0 || strcmp(n->op->attrs[i].name, "axes") == 0);
}

static int64_t from_front(const epl_node *n, int64_t axis) { return axis < 0 ? axis + n->inputs[0]->shape.rank : axis; }

/* The axes of a list as a set of bits; an empty one means all. */
static unsigned axes_set(const epl_node *n, const epl_attr *a)
{
    const int noop = epl_op_attr_index(n->op, "noop_with_empty_axes");
    unsigned  set = 0;
    for (int k = 0; k < a->n; k++)
        set |= 1u << from_front(n, a->ints[k]);
    return a->n || noop < 0 || n->attrs[noop].i ? set : (1u << n->inputs[0]->shape.rank) - 1;
}

/* A reduction's axes are a set; those of a slice or a pad go with other lists. */
static bool axes_same(const epl_node *a, const epl_node *b, int i)
{
    const epl_attr *x = &a->attrs[i], *y = &b->attrs[i];
    if (epl_op_attr_index(a->op, "noop_with_empty_axes") >= 0)
        return axes_set(a, x) == axes_set(b, y);
    bool same = x->n == y->n && from_front(a, x->i) == from_front(b, y->i);
    for (int k = 0; same && k < x->n; k++)
        same = from_front(a, x->ints[k]) == from_front(b, y->ints[k]);
    return same;
}

/* The shape that a Reshape makes of x with axis `axis` twice as long; rank -1: none. */
static epl_shape reshape_longer(const epl_node *n, int axis)
{
    epl_shape x = n->inputs[0]->shape, y = { .rank = -1 };
    const int64_t *to;
    const int      rank = epl_attr_ints(n, "shape", &to);
    int64_t        known = 1;
    x.dim[axis] *= 2;
    for (int i = 0; i < rank; i++)
        known *= to[i] == -1 ? 1 : to[i] == EPL_KEEP && i < x.rank ? x.dim[i] : to[i];
    if (known <= 0 || epl_shape_count(x) % known != 0)
        return y;
    y.rank = rank;
    bool open = false;
    for (int i = 0; i < rank; i++) {
        y.dim[i] = to[i] == -1 ? epl_shape_count(x) / known : to[i] == EPL_KEEP && i < x.rank ? x.dim[i] : to[i];
        open = open || to[i] == -1;
    }
    if (!open && known != epl_shape_count(x))
        y.rank = -1;
    return y;
}

/* [0, 8], [0, -1] and [-1, 8] say the same of [3, 8]: what the result's shape is, whichever axis gets longer. The shapes as
 * they are now are compared as results. */
static bool reshapes_same(const epl_node *a, const epl_node *b)
{
    if (a->n_inputs != 1 || b->n_inputs != 1 || epl_attr_i(a, "allowzero") || epl_attr_i(b, "allowzero"))
        return epl_attr_equal(&a->op->attrs[0], &a->attrs[0], &b->attrs[0]);
    for (int i = 0; i < a->inputs[0]->shape.rank; i++) {
        const epl_shape x = reshape_longer(a, i), y = reshape_longer(b, i);
        if (x.rank != y.rank || (x.rank >= 0 && !epl_shape_equal(x, y)))
            return false;
    }
    return true;
}

static bool attr_same(const epl_node *a, const epl_node *b, int i)
{
    const epl_attr_field *f = &a->op->attrs[i];
    if (!attr_counts(a, i))
        return true;
    if (is_axes(a, i))
        return axes_same(a, b, i);
    if (EPL_IS(a, reshape) && i == 0)
        return !epl_shape_equal(a->inputs[0]->shape, b->inputs[0]->shape) || reshapes_same(a, b);
    if (f->type == EPL_ATTR_REAL)
        return reals_same(1, &a->attrs[i].r, &b->attrs[i].r);
    if (f->type == EPL_ATTR_REALS)
        return a->attrs[i].n == b->attrs[i].n && reals_same(a->attrs[i].n, a->attrs[i].reals, b->attrs[i].reals);
    return epl_attr_equal(f, &a->attrs[i], &b->attrs[i]);
}

static uint64_t mix(uint64_t h, uint64_t x) { return epl_hash(&x, sizeof x, h); }

static uint64_t hash_type(uint64_t h, const epl_value *v)
{
    h = mix(h, (uint64_t)v->dtype);
    return epl_hash(v->shape.dim, (size_t)v->shape.rank * sizeof *v->shape.dim, mix(h, (uint64_t)v->shape.rank));
}

static uint64_t hash_attr(uint64_t h, const epl_node *n, int i)
{
    const epl_attr *a = &n->attrs[i];
    float           f = (float)a->r;
    if (is_axes(n, i) || (EPL_IS(n, reshape) && i == 0))
        return mix(h, (uint64_t)(is_axes(n, i) ? from_front(n, a->i) : 0)); // lists are compared later
    switch (n->op->attrs[i].type) {
    case EPL_ATTR_REAL:   return epl_hash(&f, sizeof f, h);
    case EPL_ATTR_INTS:   return epl_hash(a->ints, (size_t)a->n * sizeof *a->ints, mix(h, (uint64_t)a->n));
    case EPL_ATTR_REALS:  return mix(h, (uint64_t)a->n); // their values are compared later
    case EPL_ATTR_TENSOR: return epl_hash(a->tensor->data, epl_tensor_bytes(a->tensor), h);
    default:              return mix(h, (uint64_t)a->i);
    }
}

/* Which of the graph's inputs v is. */
static int input_place(const epl_value *v)
{
    int place = 0;
    for (const epl_node *n = v->producer->prev; n; n = n->prev)
        place += EPL_IS(n, input);
    return place;
}

static uint64_t hash_input(const epl_value *v)
{
    if (!v)
        return 1;
    uint64_t h = hash_type(2, v);
    if (!is_source(v->producer))
        return mix(h, (uint64_t)v->index);
    h = epl_hash(v->producer->op->name, strlen(v->producer->op->name), h);
    if (EPL_IS(v->producer, constant))
        return hash_attr(h, v->producer, 0);
    return EPL_IS(v->producer, input) ? mix(h, (uint64_t)input_place(v)) : h;
}

static uint64_t loose_key(const epl_node *n) { return epl_hash(n->op->name, strlen(n->op->name), 0); }

static uint64_t key_of(const epl_node *n)
{
    uint64_t h = mix(loose_key(n), (uint64_t)n->n_inputs), sum = 0;
    for (int i = 0; i < n->n_inputs; i++) {
        if (n->op->flags & EPL_OP_COMMUTATIVE)
            sum += hash_input(n->inputs[i]);
        else
            h = mix(h, hash_input(n->inputs[i]));
    }
    h = mix(h, sum);
    for (int i = 0; i < epl_op_n_attrs(n->op); i++)
        h = attr_counts(n, i) ? hash_attr(h, n, i) : h;
    for (int i = 0; i < n->n_outputs; i++)
        h = hash_type(h, n->outputs[i]);
    return mix(h, (uint64_t)n->n_regions);
}

/* ---- pairing ---- */

static void make_pair(pair_side *a, pair_side *b, int i, int k, bool exact)
{
    a->partner[i] = k;
    b->partner[k] = i;
    a->exact[i] = b->exact[k] = exact;
}

/* Do a's node i and b's node k read pairs, at the same places or, if they commute, exchanged? */
static bool reads_pairs(const pair_side *a, const pair_side *b, const epl_node *na, const epl_node *nb, bool exchanged)
{
    for (int i = 0; i < na->n_inputs; i++) {
        const epl_value *va = na->inputs[i], *vb = nb->inputs[exchanged ? na->n_inputs - 1 - i : i];
        if (!va != !vb || (va && hash_input(va) != hash_input(vb)))
            return false;
        if (va && !is_source(va->producer) && a->partner[a->index[va->producer->id]] != b->index[vb->producer->id])
            return false;
    }
    return true;
}

/* Independent operators may come in another order: what has no partner yet takes any with the same key that reads pairs. */
static void pair_out_of_order(pair_side *a, pair_side *b, const uint64_t *ka, const uint64_t *kb)
{
    for (int i = 0; i < a->n; i++)
        for (int k = 0; a->partner[i] < 0 && k < b->n; k++)
            if (b->partner[k] < 0 && ka[i] == kb[k] && a->at[i]->n_inputs == b->at[k]->n_inputs &&
                (reads_pairs(a, b, a->at[i], b->at[k], false) ||
                 ((a->at[i]->op->flags & EPL_OP_COMMUTATIVE) && reads_pairs(a, b, a->at[i], b->at[k], true))))
                make_pair(a, b, i, k, true);
}

/* Operators of the same kind between two pairs, [i0, i1) and [k0, k1). */
static bool pair_between(epl_context *ctx, pair_side *a, pair_side *b, const uint64_t *ka, const uint64_t *kb, int *scratch, int i0,
                         int i1, int k0, int k1)
{
    if (i0 == i1 || k0 == k1)
        return true;
    if (!pair_keys(ctx, ka + i0, i1 - i0, kb + k0, k1 - k0, scratch))
        return false;
    for (int i = i0; i < i1; i++)
        if (scratch[i - i0] >= 0 && a->partner[i] < 0 && b->partner[k0 + scratch[i - i0]] < 0)
            make_pair(a, b, i, k0 + scratch[i - i0], false);
    return true;
}

static bool pair_loose(epl_context *ctx, pair_side *a, pair_side *b, uint64_t *ka, uint64_t *kb, int *scratch)
{
    bool ok = true;
    int  i0 = 0, k0 = 0;
    for (int i = 0; i < a->n; i++)
        ka[i] = loose_key(a->at[i]);
    for (int k = 0; k < b->n; k++)
        kb[k] = loose_key(b->at[k]);
    for (int i = 0; ok && i < a->n; i++) {
        const int k = a->partner[i];
        if (k < k0 || !a->exact[i])
            continue; // none, or one out of order
        ok = pair_between(ctx, a, b, ka, kb, scratch, i0, i, k0, k);
        i0 = i + 1;
        k0 = k + 1;
    }
    return ok && pair_between(ctx, a, b, ka, kb, scratch, i0, a->n, k0, b->n);
}

static bool pair_sides(epl_context *ctx, pair_side *a, pair_side *b)
{
    uint64_t *ka = epl_alloc_array(ctx, (size_t)a->n + 1, sizeof *ka), *kb = epl_alloc_array(ctx, (size_t)b->n + 1, sizeof *kb);
    int      *partner = epl_alloc_array(ctx, (size_t)a->n + 1, sizeof *partner);
    bool      ok = ka && kb && partner;
    for (int i = 0; ok && i < a->n; i++)
        ka[i] = key_of(a->at[i]), a->partner[i] = -1;
    for (int k = 0; ok && k < b->n; k++)
        kb[k] = key_of(b->at[k]), b->partner[k] = -1;
    ok = ok && pair_keys(ctx, ka, a->n, kb, b->n, partner);
    for (int i = 0; ok && i < a->n; i++)
        if (partner[i] >= 0)
            make_pair(a, b, i, partner[i], true);
    if (ok)
        pair_out_of_order(a, b, ka, kb);
    ok = ok && pair_loose(ctx, a, b, ka, kb, partner);
    epl_release(ctx, ka);
    epl_release(ctx, kb);
    epl_release(ctx, partner);
    return ok;
}

/* ---- what differs within a pair ---- */

static const char *kept(pair_list *out, epl_text *t)
{
    const char *s = epl_arena_strdup(out->arena, epl_text_str(t));
    epl_text_release(t);
    return s ? s : "";
}

epl_diff_place pair_place(pair_list *out, const pair_side *s, const epl_node *n)
{
    if (!n)
        return (epl_diff_place){ 0 };
    epl_text number = EPL_TEXT(out->ctx);
    if (n->n_outputs)
        epl_text_addf(&number, "%s%%%d", s->prefix, s->number[n->id]);
    else
        epl_text_add(&number, s->prefix);
    const char *name = EPL_IS(n, output) || EPL_IS(n, input) ? n->attrs[0].s : n->scope ? n->scope : "";
    return (epl_diff_place){ n->op->name, kept(out, &number), epl_arena_strdup(out->arena, name) };
}

static void add_type(epl_text *t, const epl_value *v)
{
    char shape[192];
    epl_text_addf(t, "%s%s", epl_dtype_name(v->dtype), epl_shape_text(shape, v->shape));
}

static void add_input(epl_text *t, const pair_side *s, const epl_value *v)
{
    if (!v) {
        epl_text_add(t, "none");
        return;
    }
    epl_text_addf(t, "%s%%%d %s", s->prefix, s->number[v->producer->id] + v->index, v->producer->op->name);
    if (is_weight(v->producer) || EPL_IS(v->producer, input))
        epl_text_addf(t, " %s", v->producer->attrs[0].s);
    epl_text_add(t, " ");
    add_type(t, v);
}

/* Do va and vb stand at the same place? Weights that are read together for the first time become partners. */
static bool same_value(pair_side *a, pair_side *b, const epl_value *va, const epl_value *vb)
{
    if (!va || !vb)
        return va == vb;
    const epl_node *na = va->producer, *nb = vb->producer;
    if (na->op != nb->op || va->index != vb->index || va->dtype != vb->dtype || !epl_shape_equal(va->shape, vb->shape))
        return !is_source(na) && !is_source(nb) && a->partner[a->index[na->id]] == b->index[nb->id] && va->index == vb->index;
    if (EPL_IS(na, constant))
        return epl_attr_equal(&na->op->attrs[0], &na->attrs[0], &nb->attrs[0]);
    if (EPL_IS(na, input))
        return input_place(va) == input_place(vb);
    if (!is_weight(na))
        return a->partner[a->index[na->id]] == b->index[nb->id];
    if (!a->weights[na->id] && !b->weights[nb->id]) {
        a->weights[na->id] = nb;
        b->weights[nb->id] = na;
    }
    return a->weights[na->id] == nb;
}

static bool inputs_exchanged(pair_side *a, pair_side *b, const epl_node *na, const epl_node *nb)
{
    return (na->op->flags & EPL_OP_COMMUTATIVE) && na->n_inputs == 2 && nb->n_inputs == 2 &&
           same_value(a, b, na->inputs[0], nb->inputs[1]) && same_value(a, b, na->inputs[1], nb->inputs[0]);
}

static void next_part(epl_text *t) { epl_text_add(t, t->length ? "; " : ""); }

static void describe_inputs(epl_text *t, pair_side *a, pair_side *b, const epl_node *na, const epl_node *nb)
{
    const int most = na->n_inputs > nb->n_inputs ? na->n_inputs : nb->n_inputs;
    if ((na->op->flags & EPL_OP_COMMUTATIVE) && inputs_exchanged(a, b, na, nb))
        return;
    for (int i = 0; i < most; i++) {
        const epl_value *va = i < na->n_inputs ? na->inputs[i] : NULL, *vb = i < nb->n_inputs ? nb->inputs[i] : NULL;
        if (same_value(a, b, va, vb))
            continue;
        next_part(t);
        epl_text_addf(t, "input %d: ", i);
        add_input(t, a, va);
        epl_text_add(t, " -> ");
        add_input(t, b, vb);
    }
}

static void describe_attrs(epl_text *t, const epl_node *na, const epl_node *nb)
{
    for (int i = 0; i < epl_op_n_attrs(na->op); i++) {
        if (attr_same(na, nb, i))
            continue;
        next_part(t);
        epl_graph_text_add_attr(t, na, i);
        epl_text_add(t, " -> ");
        epl_graph_text_add_attr(t, nb, i);
    }
}

static void describe_results(epl_text *t, const epl_node *na, const epl_node *nb)
{
    if (na->n_outputs != nb->n_outputs) {
        next_part(t);
        epl_text_addf(t, "%d results -> %d", na->n_outputs, nb->n_outputs);
        return;
    }
    for (int i = 0; i < na->n_outputs; i++)
        if (na->outputs[i]->dtype != nb->outputs[i]->dtype || !epl_shape_equal(na->outputs[i]->shape, nb->outputs[i]->shape)) {
            next_part(t);
            add_type(t, na->outputs[i]);
            epl_text_add(t, " -> ");
            add_type(t, nb->outputs[i]);
        }
}

static bool add_difference(pair_list *out, const pair_side *a, const pair_side *b, const epl_node *na, const epl_node *nb,
                           const char *what)
{
    if (!epl_grow(out->ctx, &out->at, (size_t)out->n, &out->capacity, sizeof *out->at))
        return false;
    out->at[out->n++] = (epl_diff_node){ .a = pair_place(out, a, na), .b = pair_place(out, b, nb), .what = what };
    return true;
}

/* "N,,": which dimensions have a name, not which name. */
static bool same_names(const char *a, const char *b)
{
    for (;; a++, b++) {
        const size_t n = strcspn(a, ","), m = strcspn(b, ",");
        a += n;
        b += m;
        if ((n == 0) != (m == 0))
            return false;
        if (!*a || !*b)
            return !*(a + strspn(a, ",")) && !*(b + strspn(b, ","));
    }
}

/* The inputs as declared, whether they are read or not. */
static bool compare_inputs(pair_list *out, const pair_side *a, const pair_side *b)
{
    const int n = epl_graph_n_inputs(a->g), m = epl_graph_n_inputs(b->g);
    bool      ok = true;
    for (int i = 0; ok && (i < n || i < m); i++) {
        const epl_value *va = i < n ? epl_graph_input_at(a->g, i) : NULL, *vb = i < m ? epl_graph_input_at(b->g, i) : NULL;
        epl_text         t = EPL_TEXT(out->ctx);
        if (va && vb)
            describe_results(&t, va->producer, vb->producer);
        if (va && vb && !same_names(epl_attr_s(va->producer, "dims"), epl_attr_s(vb->producer, "dims"))) {
            next_part(&t);
            epl_text_addf(&t, "names of dimensions \"%s\" -> \"%s\"", epl_attr_s(va->producer, "dims"), epl_attr_s(vb->producer, "dims"));
        }
        const bool  differs = !va || !vb || t.length > 0;
        const char *what = kept(out, &t);
        ok = !differs || add_difference(out, a, b, va ? va->producer : NULL, vb ? vb->producer : NULL, what);
    }
    return ok;
}

static bool compare_regions(pair_list *out, const pair_side *a, const pair_side *b, const epl_node *na, const epl_node *nb);

static bool compare_pair(pair_list *out, pair_side *a, pair_side *b, const epl_node *na, const epl_node *nb)
{
    epl_text t = EPL_TEXT(out->ctx);
    describe_attrs(&t, na, nb);
    describe_inputs(&t, a, b, na, nb);
    describe_results(&t, na, nb);
    if (na->n_regions != nb->n_regions) {
        next_part(&t);
        epl_text_addf(&t, "%d regions -> %d", na->n_regions, nb->n_regions);
    }
    const bool differs = t.length > 0, ok = !t.failed;
    const char *what = kept(out, &t);
    return ok && (!differs || add_difference(out, a, b, na, nb, what)) &&
           (na->n_regions != nb->n_regions || compare_regions(out, a, b, na, nb));
}

/* What differs, in the order of a, with what b alone has before the pair that comes next. */
static bool compare_sides(pair_list *out, pair_side *a, pair_side *b)
{
    int  k = 0;
    bool ok = true;
    for (int i = 0; ok && i <= a->n; i++) {
        const int partner = i < a->n ? a->partner[i] : b->n;
        if (partner < 0) {
            ok = add_difference(out, a, b, a->at[i], NULL, "");
            continue;
        }
        for (; ok && k < partner; k++)
            ok = b->partner[k] >= 0 || add_difference(out, a, b, NULL, b->at[k], "");
        k = partner >= k ? partner + 1 : k;
        if (i < a->n)
            ok = ok && compare_pair(out, a, b, a->at[i], b->at[partner]);
    }
    return ok;
}

static bool compare_regions(pair_list *out, const pair_side *a, const pair_side *b, const epl_node *na, const epl_node *nb)
{
    bool ok = true;
    for (int i = 0; ok && i < na->n_regions; i++) {
        epl_text  pa = EPL_TEXT(out->ctx), pb = EPL_TEXT(out->ctx);
        pair_side ra, rb;
        epl_text_addf(&pa, "%s%%%d/", a->prefix, a->number[na->id]);
        epl_text_addf(&pb, "%s%%%d/", b->prefix, b->number[nb->id]);
        const bool first = side_init(out->ctx, &ra, na->regions[i], kept(out, &pa)); // both, for both are released
        ok = side_init(out->ctx, &rb, nb->regions[i], kept(out, &pb)) && first && compare_inputs(out, &ra, &rb) &&
             pair_sides(out->ctx, &ra, &rb) && compare_sides(out, &ra, &rb);
        pair_release(out->ctx, &ra);
        pair_release(out->ctx, &rb);
    }
    return ok;
}

bool pair_graphs(pair_list *out, const epl_graph *ga, const epl_graph *gb, pair_side *a, pair_side *b)
{
    const bool first = side_init(out->ctx, a, ga, ""); // both, for both are released
    return side_init(out->ctx, b, gb, "") && first && compare_inputs(out, a, b) && pair_sides(out->ctx, a, b) &&
           compare_sides(out, a, b);
}
