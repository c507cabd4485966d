/* exits: classifiers within a network - the heads, where samples leave, and what that costs. Which layers get one is
 * said elsewhere: by architectures (zoo), and for any network from the outside (morph). */
#include <espalier/nn.h>

#include "graph/op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the classifiers of a network ---- */

static bool is_exit(const epl_graph *g, int output)
{
    return output > 0 && epl_glob("exit?*", epl_graph_output_name(g, output));
}

int epl_n_exits(const epl_graph *g)
{
    int n = epl_graph_n_outputs(g) > 0;
    for (int i = 1; i < epl_graph_n_outputs(g); i++)
        n += is_exit(g, i);
    return n;
}

int epl_exit_output(const epl_graph *g, int i)
{
    for (int k = 1; k < epl_graph_n_outputs(g); k++)
        if (is_exit(g, k) && i-- == 0)
            return k;
    return i == 0 && epl_graph_n_outputs(g) > 0 ? 0 : -1;
}

epl_value *epl_exit_at(const epl_graph *g, int i)
{
    const int k = epl_exit_output(g, i);
    return k < 0 ? NULL : epl_graph_output_at(g, k);
}

enum { MOST_EXITS = 64 };

/* What is needed up to classifier i: a copy with no other outputs. */
static epl_graph *up_to(const epl_graph *g, int i)
{
    epl_graph *copy = epl_graph_copy(g);
    const int  n    = copy ? epl_graph_n_outputs(copy) : 0;
    epl_value *kept[MOST_EXITS];
    for (int k = 0; k <= i && k < MOST_EXITS; k++)
        kept[k] = copy ? epl_exit_at(copy, k) : NULL;
    for (epl_node *s = copy && n ? copy->last : NULL, *prev; s; s = prev) {
        prev = s->prev;
        if (s->op->flags & EPL_OP_SINK)
            epl_node_remove(s);
    }
    for (int k = 0; copy && k <= i && k < MOST_EXITS; k++)
        epl_output(copy, "", kept[k]);
    if (copy)
        epl_remove_dead(copy);
    return copy;
}

bool epl_exit_macs(const epl_graph *g, double *macs)
{
    const int     n = epl_n_exits(g);
    const int64_t batch = epl_graph_n_inputs(g) ? epl_dim(epl_graph_input_at(g, 0), 0) : 1;
    for (int i = 0; i < n; i++) {
        epl_graph *part = up_to(g, i);
        if (!part)
            return false;
        macs[i] = epl_graph_cost(part).macs / (double)batch;
        epl_graph_free(part);
    }
    return true;
}

epl_value *epl_scope_value(const epl_graph *g, const char *name)
{
    const size_t length = strlen(name);
    epl_value   *found  = NULL;
    for (const epl_node *n = g->first; n; n = n->next)
        if (n->n_outputs > 0 && !(n->op->flags & EPL_OP_SOURCE) && strncmp(n->scope, name, length) == 0 &&
            (n->scope[length] == 0 || n->scope[length] == '.'))
            found = n->outputs[0];
    return found;
}

/* ---- heads ---- */

/* Windows that leave at most four to seven places along each axis: floor(side / 4), as in Kaya et al. 2019. */
static epl_pool_opts quarters(const epl_value *x)
{
    epl_pool_opts o = { 0 };
    for (int i = 1; i + 1 < epl_rank(x); i++)
        o.kernel[i - 1] = o.stride[i - 1] = epl_dim(x, i) >= 4 ? (int)(epl_dim(x, i) / 4) : 1;
    return o;
}

static epl_value *mixed_pool(epl_graph *g, epl_value *x)
{
    bool small = true;
    for (int i = 1; x && i + 1 < epl_rank(x); i++)
        small = small && epl_dim(x, i) < 4;
    if (!x || small)
        return x;
    epl_value *mix = epl_parameter(g, "mix", EPL_F32, EPL_SCALAR, EPL_INIT_UNIFORM_ABOVE, 1);
    epl_value *high = epl_max_pool(g, x, quarters(x)), *mean = epl_average_pool(g, x, quarters(x));
    return epl_add(g, mean, epl_mul(g, mix, epl_sub(g, high, mean)));
}

static epl_value *shrink(epl_graph *g, epl_value *x, const epl_exit_head_opts *o)
{
    const int width = o->width ? o->width : 128;
    for (int i = 0; x && i < 2; i++)
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = i ? "unit2" : "unit1", .conv = { .out = width, .stride = 2 } });
    epl_pool_opts two = { 0 };
    for (int i = 1; x && i + 1 < epl_rank(x); i++)
        two.kernel[i - 1] = epl_dim(x, i) > 1 ? 2 : 1;
    return epl_average_pool(g, x, two);
}

epl_value *epl_exit_head(epl_graph *g, epl_value *x, epl_exit_head_opts o)
{
    if (!x)
        return NULL;
    if (o.classes < 1 || epl_rank(x) < 2)
        return epl_graph_fail(
            g, EPL_ERR_ARGUMENT,
            "an exit to %d classes at a value of rank %d; at least one class, and a batch of features, are needed",
            o.classes, epl_rank(x));
    epl_scope_push(g, "%s", o.name ? o.name : "exit1");
    if (epl_rank(x) > 2 && o.kind == EPL_EXIT_SDN)
        x = mixed_pool(g, x);
    else if (epl_rank(x) > 2 && o.kind == EPL_EXIT_BRANCHY) {
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .conv = { .out = o.width ? o.width : (int)epl_channels(x) } });
        x = x ? epl_max_pool(g, x, quarters(x)) : NULL;
    } else if (epl_rank(x) > 2)
        x = shrink(g, x, &o);
    x = epl_linear(g, x && epl_rank(x) > 2 ? epl_flatten(g, x, 1) : x, (epl_linear_opts){ .out = o.classes });
    epl_scope_pop(g);
    return x;
}

epl_value *epl_exit_add(epl_graph *g, epl_value *x, epl_exit_head_opts o)
{
    char name[32];
    snprintf(name, sizeof name, "exit%d", epl_n_exits(g));
    o.name    = name;
    o.classes = o.classes ? o.classes : epl_graph_n_outputs(g) ? (int)epl_channels(epl_graph_output_at(g, 0)) : 0;
    epl_value *z = epl_exit_head(g, x, o);
    return z && epl_output(g, name, z) ? z : NULL;
}

bool epl_exit_kind_from_name(epl_context *ctx, const char *name, epl_exit_kind *out)
{
    static const char *const names[] = { "sdn", "branchy", "msdnet" };
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = (epl_exit_kind)i;
            return true;
        }
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "no head of an exit is named '%s'; there are sdn, branchy and msdnet", name);
}

/* ---- where samples leave ---- */

typedef struct answer {
    int64_t class;
    double  confidence, entropy;
} answer;

static answer read_logits(const float *z, int64_t classes)
{
    answer a = { 0 };
    double sum = 0, dot = 0;
    for (int64_t k = 1; k < classes; k++)
        if (z[k] > z[a.class])
            a.class = k;
    for (int64_t k = 0; k < classes; k++) {
        const double d = (double)z[k] - (double)z[a.class], e = exp(d);
        sum += e;
        dot += e > 0 ? d * e : 0;
    }
    a.confidence = 1 / sum;
    a.entropy    = log(sum) - dot / sum;
    return a;
}

static bool is_sure(const epl_exit_rule *rule, const answer *a, int exit)
{
    const double threshold = rule->thresholds ? rule->thresholds[exit] : rule->threshold;
    return rule->measure == EPL_EXIT_ENTROPY ? a->entropy <= threshold : a->confidence >= threshold;
}

void epl_exit_decide(const epl_tensor *logits, epl_exit_rule rule, int *taken, int64_t *predicted, int *computed)
{
    const int64_t exits = logits->shape.dim[0], n = logits->shape.dim[1], classes = logits->shape.dim[2];
    const float  *z = logits->data;
    for (int64_t i = 0; i < n; i++) {
        answer best = { .confidence = -1 }, a = { .class = -1 };
        int    at = 0, agreed = 0, last = (int)exits - 1;
        for (int e = 0; e < exits; e++) {
            const int64_t before = a.class;
            a      = read_logits(z + (e * n + i) * classes, classes);
            agreed = a.class == before ? agreed + 1 : 1;
            if (e + 1 < exits && agreed >= rule.patience && is_sure(&rule, &a, e)) {
                best = a;
                at = last = e;
                break;
            }
            if (e == 0 || (rule.last ? e + 1 == exits : a.confidence > best.confidence)) {
                best = a;
                at   = e;
            }
        }
        if (taken)
            taken[i] = at;
        if (predicted)
            predicted[i] = best.class;
        if (computed)
            computed[i] = last;
    }
}
