/* objective: losses that look at more than logits and target, as hooks: those of embeddings (metric.c), margins of
 * cosines, and the sum of terms that trains prototypes. */
#include "train/train.h"

#include "graph/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- embeddings ---- */

static bool build_metric(void *user, epl_train_step *s)
{
    const epl_objective_opts *o = user;
    epl_value *active = NULL;
    s->loss = epl_weighted_mean(s->graph, epl_metric_loss(s->graph, s->logits, s->target, *o, &active), s->sample_weights);
    return s->loss && (!active || epl_train_step_log(s, "active", active));
}

/* ---- margins ----
 * The head's last node multiplies cosines with the scale, a number or a learned value. */
static bool take_head_apart(epl_train_step *s, epl_value **cosine, epl_value **scale)
{
    const epl_node *n = s->logits ? epl_producer(s->logits) : NULL;
    if (n && strcmp(epl_node_op_name(n), "Affine") == 0) {
        *cosine = epl_node_input(n, 0);
        *scale  = epl_scalar(s->graph, EPL_F32, epl_attr_r(n, "alpha"));
    } else if (n && strcmp(epl_node_op_name(n), "Mul") == 0) {
        *cosine = epl_node_input(n, 0);
        *scale  = epl_node_input(n, 1);
    } else
        return epl_fail(epl_graph_context(s->graph), EPL_ERR_ARGUMENT, "a margin needs a network whose logits are cosines times a scale "
                        "(head=cosine), these are made by %s", n ? epl_node_op_name(n) : "nothing");
    return true;
}

/* cos(angle + m) for angles up to pi - m; beyond, where it would rise again, cos - m sin m: Deng et al., the authors' code. */
static epl_value *arc_margin(epl_graph *g, epl_value *c, double m)
{
    epl_value *sine  = epl_sqrt(g, epl_clip(g, epl_affine(g, epl_square(g, c), -1, 1), 1e-9, (double)INFINITY));
    epl_value *moved = epl_sub(g, epl_affine(g, c, cos(m), 0), epl_affine(g, sine, sin(m), 0));
    return epl_where(g, epl_greater(g, c, epl_scalar(g, EPL_F32, -cos(m))), moved, epl_affine(g, c, 1, -m * sin(m)));
}

static bool build_margin(void *user, epl_train_step *s)
{
    const epl_objective_opts *o = user;
    epl_graph  *g = s->graph;
    const bool  arc = strcmp(o->name, "arcface") == 0;
    const double m = o->margin ? o->margin : arc ? 0.5 : 0.35;
    epl_value  *c = NULL, *scale = NULL;
    if (!take_head_apart(s, &c, &scale))
        return false;
    if (!s->target || epl_dtype_is_float(epl_dtype_of(s->target)))
        return epl_fail(g->ctx, EPL_ERR_ARGUMENT, "a margin needs classes as targets, not numbers");
    epl_value *label = epl_one_hot(g, s->target, epl_channels(c), (epl_one_hot_opts){ .dtype = epl_dtype_of(c) });
    epl_value *with = arc ? epl_add(g, c, epl_mul(g, label, epl_sub(g, arc_margin(g, c, m), c)))
                          : epl_sub(g, c, epl_affine(g, label, m, 0));
    s->loss = epl_loss(g, epl_mul(g, with, scale), s->target, s->sample_weights, (epl_loss_opts){ 0 });
    return !epl_graph_failed(g);
}

/* ---- prototypes ---- */

/* The least along an axis; of equal ones the first gets the gradient. */
static epl_value *least(epl_graph *g, epl_value *d, int axis)
{
    epl_value *at = epl_argmin(g, d, axis, (epl_arg_opts){ .keep = true });
    return epl_squeeze(g, epl_gather_elements(g, d, at, axis), 1, &axis);
}

epl_value *epl_prototype_r1(epl_graph *g, epl_value *d) { return d ? least(g, d, 0) : NULL; }
epl_value *epl_prototype_r2(epl_graph *g, epl_value *d) { return d ? least(g, d, 1) : NULL; }

/* sum over everything but the batch of (again - x)^2 */
static epl_value *missed(epl_graph *g, epl_value *x, epl_value *again)
{
    epl_reduce_opts rest = { 0 };
    for (int i = 1; i < epl_rank(x); i++)
        rest.axes[rest.n_axes++] = i;
    return epl_reduce_sum_square(g, epl_sub(g, again, x), rest);
}

static double weight_of(const epl_objective_opts *o, int i)
{
    static const double usual[] = { 20, 1, 1, 1 };
    return o->weights[i] == 0 ? usual[i] : o->weights[i] < 0 ? 0 : o->weights[i];
}

static const char *const term_names[] = { "class", "ae", "r1", "r2" };

static bool build_prototype(void *user, epl_train_step *s)
{
    const epl_objective_opts *o = user;
    epl_graph *g = s->graph;
    if (s->n_outputs < 2 || epl_rank(s->outputs[1]) != 2 ||
        (s->n_outputs > 2 && !epl_shape_equal(epl_shape_of(s->outputs[2]), epl_shape_of(s->x))))
        return epl_fail(g->ctx, EPL_ERR_ARGUMENT, "prototypes need a network with the outputs logits, distances [N, prototypes] and, if it "
                        "has a decoder, its input once more; this one has %d outputs", s->n_outputs);
    epl_value *terms[4] = { s->loss, NULL, NULL, NULL };
    if (s->n_outputs > 2)
        terms[1] = epl_weighted_mean(g, missed(g, s->x, s->outputs[2]), s->sample_weights);
    terms[2] = epl_reduce_mean(g, epl_prototype_r1(g, s->outputs[1]), (epl_reduce_opts){ 0 });
    terms[3] = epl_weighted_mean(g, epl_prototype_r2(g, s->outputs[1]), s->sample_weights);
    s->loss = epl_affine(g, terms[0], weight_of(o, 0), 0);
    for (int i = 0; i < 4; i++) {
        if (terms[i] && !epl_train_step_log(s, term_names[i], terms[i]))
            return false;
        if (i > 0 && terms[i] && weight_of(o, i) > 0)
            s->loss = epl_add(g, s->loss, epl_affine(g, terms[i], weight_of(o, i), 0));
    }
    return !epl_graph_failed(g);
}

/* ---- by name ---- */

static const struct {
    const char *name, *keys;
    bool (*build)(void *user, epl_train_step *s);
} objectives[] = {
    { "contrastive", "margin", build_metric },       { "triplet", "margin", build_metric },
    { "semi-hard", "margin,classes", build_metric }, { "episode", "classes,shots", build_metric },
    { "cosface", "margin", build_margin },           { "arcface", "margin", build_margin },
    { "prototype", "class,ae,r1,r2", build_prototype },
};

/* The row of a name; records what is known otherwise. */
static int find(epl_context *ctx, const char *name)
{
    const char *names[EPL_COUNT(objectives)];
    for (size_t i = 0; i < EPL_COUNT(objectives); i++) {
        names[i] = objectives[i].name;
        if (strcmp(name, names[i]) == 0)
            return (int)i;
    }
    const char *close = epl_closest(name, names, EPL_COUNT(objectives));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no objective '%s'%s%s%s (contrastive, triplet, semi-hard, episode, cosface, arcface, "
             "prototype)", name, close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
    return -1;
}

static void set(epl_objective_opts *o, const char *key, double x)
{
    if (strcmp(key, "margin") == 0)
        o->margin = x;
    else if (strcmp(key, "classes") == 0)
        o->classes = (int)x;
    else if (strcmp(key, "shots") == 0)
        o->shots = (int)x;
    for (int i = 0; i < 4; i++)
        if (strcmp(key, term_names[i]) == 0)
            o->weights[i] = x == 0 ? -1 : x; // written down, 0 means none
}

static bool read_pair(epl_context *ctx, int row, const char *pair, epl_objective_opts *o)
{
    char         key[32];
    const char  *equals = strchr(pair, '=');
    char        *end = NULL;
    snprintf(key, sizeof key, "%.*s", (int)(equals ? equals - pair : 0), pair);
    const double x = equals ? strtod(equals + 1, &end) : 0;
    if (!equals || !*key || !epl_glob(objectives[row].keys, key))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "objective '%s': '%s' is not one of its options %s=X", objectives[row].name, pair,
                        objectives[row].keys);
    if (end == equals + 1 || *end || !isfinite(x) || x < 0 || x > 1e6)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "objective '%s': '%s' is '%s', expected a number from 0 to 1000000",
                        objectives[row].name, key, equals + 1);
    set(o, key, x);
    return true;
}

bool epl_objective_parse(epl_context *ctx, const char *text, epl_objective_opts *out)
{
    char         name[32], pair[64];
    const size_t n = strcspn(text, ":");
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    const int row = find(ctx, name);
    if (row < 0)
        return false;
    *out = (epl_objective_opts){ .name = objectives[row].name };
    for (const char *p = text[n] ? text + n + 1 : ""; *p; p += strcspn(p, ","), p += *p == ',') {
        snprintf(pair, sizeof pair, "%.*s", (int)strcspn(p, ","), p);
        if (!read_pair(ctx, row, pair, out))
            return false;
    }
    return true;
}

epl_sampler epl_objective_sampler(epl_objective_opts o)
{
    const epl_sampler balanced = { .kind = EPL_SAMPLER_BALANCED, .classes = o.classes ? o.classes : 5 };
    return strcmp(o.name, "contrastive") == 0 ? (epl_sampler){ .kind = EPL_SAMPLER_PAIRS }
         : strcmp(o.name, "triplet") == 0 ? (epl_sampler){ .kind = EPL_SAMPLER_TRIPLETS }
         : epl_is_metric_loss(o.name) ? balanced : (epl_sampler){ 0 };
}

epl_train_hook epl_objective_hook(epl_context *ctx, epl_objective_opts o)
{
    const int row = find(ctx, o.name);
    epl_objective_opts *kept = row < 0 ? NULL : epl_alloc(ctx, sizeof *kept);
    if (kept) {
        *kept      = o;
        kept->name = objectives[row].name;
    }
    return (epl_train_hook){ .build = kept ? objectives[row].build : NULL, .user = kept };
}
