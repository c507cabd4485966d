/* Choices that a caller makes: a further input "force" i64 [choices] says for each If and Switch which region runs,
 * and for each Loop that data can end how many iterations; -1 leaves it to the network. It is handed into regions as
 * one more capture. */
#include "compile/force.h"

#include <espalier/ops.h>

#include "ops/region.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct forcing {
    epl_value *force; /* of the root */
    int        next;
} forcing;

static bool is_true(const epl_value *v) { return EPL_IS(v->producer, constant) && epl_tensor_get_i64(v->producer->attrs[0].tensor, 0); }

/* How often it runs depends on data: neither condition is always true. */
static bool can_stop(const epl_node *n)
{
    const epl_value *first = n->n_inputs ? n->inputs[0] : NULL, *again = epl_graph_output_at(n->regions[0], 0);
    return (first && !is_true(first)) || !(is_true(again) || (again == epl_graph_input_at(n->regions[0], 1) && !first));
}

static bool is_control(const epl_node *n) { return EPL_IS(n, if) || EPL_IS(n, switch) || EPL_IS(n, loop); }
static bool is_choice(const epl_node *n) { return is_control(n) && (!EPL_IS(n, loop) || can_stop(n)); }

/* A loop is ended before it begins, after one iteration, and not before its limit, if it has one. */
static epl_choice choice_of(const epl_node *n)
{
    if (!EPL_IS(n, loop))
        return (epl_choice){ n->n_regions, n->n_regions - 1 };
    const int64_t trip = epl_attr_i(n, "trip");
    return trip == EPL_LOOP_UNLIMITED ? (epl_choice){ 2, 1 } : (epl_choice){ trip < 2 ? (int)trip + 1 : 3, trip };
}

static void list(const epl_graph *g, epl_choice *out, int *count)
{
    for (const epl_node *n = g->first; n; n = n->next) {
        if (is_choice(n)) {
            if (out)
                out[*count] = choice_of(n);
            ++*count;
        }
        for (int r = 0; is_control(n) && r < n->n_regions; r++)
            list(n->regions[r], out, count);
    }
}

int epl_list_choices(const epl_graph *g, epl_choice *out)
{
    int count = 0;
    list(g, out, &count);
    return count;
}

int epl_count_choices(const epl_graph *g) { return epl_list_choices(g, NULL); }

static bool label(epl_node *n, int k)
{
    char scope[256];
    snprintf(scope, sizeof scope, "%.200s%s(choice %d)", n->scope, n->scope[0] ? " " : "", k);
    n->scope = epl_arena_strdup(n->graph->arena, scope);
    return n->scope != NULL;
}

int epl_choice_of(const char *scope)
{
    const char *at = strstr(scope, "(choice ");
    return at ? atoi(at + strlen("(choice ")) : -1;
}

/* What is said for choice k, a scalar. */
static epl_value *said_for(epl_graph *g, epl_value *force, int k)
{
    return epl_reshape(g, epl_slice_axis(g, force, 0, k, k + 1), EPL_SCALAR);
}

static epl_value *unless_said(epl_graph *g, epl_value *said, epl_value *own, epl_value *otherwise)
{
    return epl_where(g, epl_less(g, said, epl_scalar(g, EPL_I64, 0)), own, otherwise);
}

static bool force_region(epl_node *n, epl_value *force, int k)
{
    epl_graph *g = n->graph;
    epl_node  *former = epl_graph_insert_before(g, n);
    epl_value *said = said_for(g, force, k);
    epl_value *chosen = unless_said(g, said, n->inputs[0], EPL_IS(n, if) ? epl_not_equal(g, said, epl_scalar(g, EPL_I64, 0)) : said);
    epl_graph_insert_before(g, former);
    if (!chosen)
        return false;
    epl_set_input(n, 0, chosen);
    return true;
}

/* Whether the first iteration is made is decided outside of the body, whether another one is inside of it. */
static bool force_first(epl_node *n, epl_value *force, int k)
{
    epl_graph *g = n->graph;
    epl_node  *former = epl_graph_insert_before(g, n);
    epl_value *said = said_for(g, force, k), *own = n->inputs[0] ? n->inputs[0] : epl_scalar(g, EPL_BOOL, 1);
    epl_value *first = unless_said(g, said, own, epl_less(g, epl_scalar(g, EPL_I64, 0), said));
    epl_graph_insert_before(g, former);
    if (!first)
        return false;
    epl_set_input(n, 0, first);
    return true;
}

static bool force_again(epl_node *n, epl_value *force, int k)
{
    epl_graph *body = n->regions[0];
    epl_node  *out = body->first;
    while (!EPL_IS(out, output))
        out = out->next;
    epl_node  *former = epl_graph_insert_before(body, out);
    epl_value *said = said_for(body, force, k), *done = epl_add(body, epl_graph_input_at(body, 0), epl_scalar(body, EPL_I64, 1));
    epl_value *again = unless_said(body, said, out->inputs[0], epl_less(body, done, said));
    epl_graph_insert_before(body, former);
    if (!again)
        return false;
    epl_set_input(out, 0, again);
    return true;
}

static bool force_graph(forcing *f, epl_graph *g, epl_value *force)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!is_control(n))
            continue;
        const bool choice = is_choice(n), loop = EPL_IS(n, loop);
        const int  k = choice ? f->next++ : -1;
        if (choice && !((loop ? force_first : force_region)(n, force, k) && label(n, k)))
            return false;
        if (!epl_node_capture(n, force) ||
            (choice && loop &&
             !force_again(n, epl_graph_input_at(n->regions[0], epl_graph_n_inputs(n->regions[0]) - 1), k)))
            return false;
        for (int r = 0; r < n->n_regions; r++) {
            epl_graph *inside = n->regions[r];
            if (!force_graph(f, inside, epl_graph_input_at(inside, epl_graph_n_inputs(inside) - 1)))
                return false;
        }
    }
    return !epl_graph_failed(g);
}

bool epl_force_choices(epl_graph *g)
{
    forcing   f      = { 0 };
    epl_node *former = epl_graph_insert_before(g, g->first);
    f.force = epl_input(g, "force", EPL_I64, EPL_SHAPE(epl_count_choices(g)), NULL);
    epl_graph_insert_before(g, former);
    for (epl_node *n = f.force ? f.force->producer->next : NULL, *next; n; n = next) { // the last of the inputs
        next = n->next;
        if (EPL_IS(n, input))
            epl_node_move_before(n, f.force->producer);
    }
    return f.force && force_graph(&f, g, f.force);
}
