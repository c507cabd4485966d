/* Choices that a caller makes: a further input "force" i64 [choices] says for each If and Switch which region runs; -1 leaves it to the
 * network. It is handed into regions as one more capture. */
#include "compile/force.h"

#include <espalier/ops.h>

#include "ops/region.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct forcing {
    epl_value *force; /* of the root */
    int        next;
} forcing;

static bool is_choice(const epl_node *n) { return EPL_IS(n, if) || EPL_IS(n, switch); }
static bool is_control(const epl_node *n) { return is_choice(n) || EPL_IS(n, loop); }

int epl_count_choices(const epl_graph *g)
{
    int count = 0;
    for (const epl_node *n = g->first; n; n = n->next) {
        count += is_choice(n);
        for (int r = 0; is_control(n) && r < n->n_regions; r++)
            count += epl_count_choices(n->regions[r]);
    }
    return count;
}

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

static bool force_choice(epl_node *n, epl_value *force, int k)
{
    epl_graph *g = n->graph;
    epl_node  *former = epl_graph_insert_before(g, n);
    epl_value *said = epl_reshape(g, epl_slice_axis(g, force, 0, k, k + 1), EPL_SCALAR), *zero = epl_scalar(g, EPL_I64, 0);
    epl_value *free_ = epl_less(g, said, zero), *own = n->inputs[0];
    epl_value *chosen = epl_where(g, free_, own, EPL_IS(n, if) ? epl_not_equal(g, said, zero) : said);
    epl_graph_insert_before(g, former);
    if (!chosen)
        return false;
    epl_set_input(n, 0, chosen);
    return label(n, k);
}

static bool force_graph(forcing *f, epl_graph *g, epl_value *force)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!is_control(n))
            continue;
        if (is_choice(n) && !force_choice(n, force, f->next++))
            return false;
        if (!epl_node_capture(n, force))
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
