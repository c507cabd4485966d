/* units: classes of elements by union-find, and the axes that are joined or cut by reshapes. */
#include "compress/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct epl_units_block {
    const epl_node  *node;
    const epl_value *many, *one;
    int              first, count, axis;
    bool             settled;
};

int64_t epl_element(const epl_value *v, int axis, int64_t i)
{
    int64_t e = v->tag;
    for (int a = 0; a < axis; a++)
        e += v->shape.dim[a];
    return e + i;
}

static int64_t root_of(epl_units *u, int64_t e)
{
    while (u->parent[e] != e) {
        u->parent[e] = u->parent[u->parent[e]];
        e = u->parent[e];
    }
    return e;
}

int64_t epl_unit_of(epl_units *u, const epl_value *v, int axis, int64_t i) { return root_of(u, epl_element(v, axis, i)); }

int64_t epl_units_left_of(epl_units *u, const epl_value *v, int axis, int64_t n)
{
    double left = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t root = epl_unit_of(u, v, axis, i);
        left += u->gone[root] ? 0 : u->times ? u->times[root] : 1;
    }
    return llround(left);
}

int64_t epl_units_left(epl_units *u, const epl_value *v, int axis)
{
    const int64_t even = epl_even_left(u, v, axis);
    return even >= 0 ? even : epl_units_left_of(u, v, axis, v->shape.dim[axis]);
}

void epl_tie(epl_units *u, int64_t a, int64_t b)
{
    a = root_of(u, a), b = root_of(u, b);
    const int64_t low = a < b ? a : b, high = a < b ? b : a;
    if (low == high)
        return;
    u->parent[high] = low;
    if (!u->frozen[low])
        u->frozen[low] = u->frozen[high];
}

void epl_freeze_axis(epl_units *u, const epl_node *n, const epl_value *v, int axis)
{
    for (int64_t i = 0; i < v->shape.dim[axis]; i++) {
        const int64_t r = epl_unit_of(u, v, axis, i);
        if (!u->frozen[r])
            u->frozen[r] = n;
    }
}

void epl_freeze_value(epl_units *u, const epl_node *n, const epl_value *v)
{
    for (int a = 0; v && a < v->shape.rank; a++)
        epl_freeze_axis(u, n, v, a);
}

void epl_tie_axes(epl_units *u, const epl_node *n, const epl_value *a, int axis_a, const epl_value *b, int axis_b)
{
    const int64_t d = a->shape.dim[axis_a];
    if (d != b->shape.dim[axis_b]) {
        epl_freeze_axis(u, n, a, axis_a);
        epl_freeze_axis(u, n, b, axis_b);
    }
    for (int64_t i = 0; i < d && d == b->shape.dim[axis_b]; i++)
        epl_tie(u, epl_element(a, axis_a, i), epl_element(b, axis_b, i));
}

/* ---- joined axes ---- */

bool epl_units_add_block(epl_units *u, const epl_node *n, const epl_value *many, int first, int count, const epl_value *one, int axis)
{
    if (!epl_grow(u->ctx, &u->blocks, u->n_blocks, &u->cap_blocks, sizeof *u->blocks))
        return false;
    u->blocks[u->n_blocks++] = (epl_units_block){ n, many, one, first, count, axis, false };
    return true;
}

static bool axis_is_frozen(epl_units *u, const epl_value *v, int axis)
{
    for (int64_t i = 0; i < v->shape.dim[axis]; i++)
        if (!u->frozen[epl_unit_of(u, v, axis, i)])
            return false;
    return true;
}

/* Made of parameters alone, through at most so many nodes. */
static bool is_weight(const epl_value *v, int depth)
{
    const epl_node *n = v->producer;
    if (EPL_IS(n, parameter) || EPL_IS(n, constant))
        return true;
    bool all = depth > 0 && n->n_inputs > 0;
    for (int i = 0; all && i < n->n_inputs; i++)
        all = !n->inputs[i] || is_weight(n->inputs[i], depth - 1);
    return all;
}

/* How many of the axes could be the unit; *unit is the first of them (whole heads), of a weight that is computed the
 * longest (what the factors of a product are cut into, rather than the few numbers that they are mixed by). */
static int free_axes(epl_units *u, const epl_units_block *b, int *unit)
{
    const bool weight = is_weight(b->many, 8);
    int n = 0;
    for (int a = b->first + b->count - 1; a >= b->first; a--)
        if (b->many->shape.dim[a] > 1 && !axis_is_frozen(u, b->many, a)) {
            if (n++ == 0 || !weight || b->many->shape.dim[a] >= b->many->shape.dim[*unit])
                *unit = a;
        }
    return n;
}

static void settle(epl_units *u, epl_units_block *b, int unit)
{
    int64_t inner = 1;
    b->settled = true;
    for (int a = b->first + b->count - 1; a >= b->first; a--)
        if (a != unit)
            epl_freeze_axis(u, b->node, b->many, a);
    if (unit < 0) {
        epl_freeze_axis(u, b->node, b->one, b->axis);
        return;
    }
    for (int a = unit + 1; a < b->first + b->count; a++)
        inner *= b->many->shape.dim[a];
    for (int64_t i = 0; i < b->one->shape.dim[b->axis]; i++)
        epl_tie(u, epl_element(b->one, b->axis, i), epl_element(b->many, unit, i / inner % b->many->shape.dim[unit]));
}

/* First those without a choice, as often as that leads on; then the first that has one. */
static void settle_blocks(epl_units *u)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < u->n_blocks; i++) {
            int unit = -1;
            if (!u->blocks[i].settled && free_axes(u, &u->blocks[i], &unit) < 2) {
                settle(u, &u->blocks[i], unit);
                again = true;
            }
        }
        for (size_t i = 0; i < u->n_blocks && !again; i++) {
            int unit = -1;
            if (!u->blocks[i].settled) {
                free_axes(u, &u->blocks[i], &unit);
                settle(u, &u->blocks[i], unit);
                again = true;
            }
        }
    }
}

/* ---- all of a graph ---- */

static void number_elements(epl_graph *g, epl_units *out)
{
    for (epl_node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_outputs; i++) {
            n->outputs[i]->tag = out->n;
            for (int a = 0; a < n->outputs[i]->shape.rank; a++)
                out->n += n->outputs[i]->shape.dim[a];
        }
        for (int r = 0; r < n->n_regions; r++)
            number_elements(n->regions[r], out);
    }
}

static bool tie_all(epl_units *u)
{
    u->n_blocks = 0;
    memset(u->frozen, 0, (size_t)u->n * sizeof *u->frozen);
    for (int64_t i = 0; i < u->n; i++)
        u->parent[i] = i;
    for (const epl_node *n = u->graph->first; n; n = n->next)
        if (!epl_units_tie_node(u, n))
            return false;
    settle_blocks(u);
    return true;
}

bool epl_units_find(epl_graph *g, bool through_norms, epl_units *out)
{
    *out = (epl_units){ .ctx = g->ctx, .graph = g, .through_norms = through_norms };
    number_elements(g, out);
    const size_t n_elements = (size_t)out->n + 1;
    out->parent = epl_alloc_array(g->ctx, n_elements, sizeof *out->parent);
    out->frozen = epl_alloc_array(g->ctx, n_elements, sizeof *out->frozen);
    out->gone   = epl_alloc_array(g->ctx, n_elements, sizeof *out->gone);
    if (!out->parent || !out->frozen || !out->gone || !tie_all(out))
        return false;
    const int even = epl_even_choose(out);
    return even == 0 || (even > 0 && tie_all(out) && epl_even_settle(out));
}

void epl_units_release(epl_units *u)
{
    epl_release(u->ctx, u->parent);
    epl_release(u->ctx, u->frozen);
    epl_release(u->ctx, u->gone);
    epl_release(u->ctx, u->blocks);
    epl_even_release(u);
    *u = (epl_units){ 0 };
}

const char *epl_node_label(const epl_node *n, char out[256])
{
    if (EPL_IS(n, input) || EPL_IS(n, output))
        snprintf(out, 256, "%s '%s'", n->op->name, n->attrs[0].s);
    else
        snprintf(out, 256, "%s%s%s", n->op->name, n->scope[0] ? " " : "", n->scope);
    return out;
}
