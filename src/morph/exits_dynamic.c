/* exits_dynamic: leaving early made real. What lies behind an exit moves into a region of an If, which runs for
 * samples that stay; that region holds the next exit and another If. One sample at a time, because a condition is
 * one answer. */
#include <espalier/morph.h>

#include "graph/op.h"

/* What is known of the sample at a level: the classifier that would speak if no later one does, and the run of agreeing ones. */
typedef struct belief {
    epl_value *logits, *exit, *confidence; /* [1, classes], i64 [1], f32 [] */
    epl_value *class, *agreed;             /* of the latest classifier, i64 [1] each */
} belief;

typedef struct build {
    const epl_graph *from;
    epl_exit_rule    rule;
    int              n_exits;
} build;

/* ---- which nodes belong to which level ---- */

/* tag: the first classifier that needs the node; n_exits: none does. */
static void find_levels(const build *b)
{
    for (epl_node *n = b->from->first; n; n = n->next)
        n->tag = b->n_exits;
    for (int e = b->n_exits - 1; e >= 0; e--) {
        epl_exit_at(b->from, e)->producer->tag = e;
        for (epl_node *n = b->from->last; n; n = n->prev)
            for (int i = 0; n->tag == e && i < n->n_inputs; i++)
                if (n->inputs[i])
                    n->inputs[i]->producer->tag = e;
    }
}

static bool is_source(const epl_node *n) { return (n->op->flags & EPL_OP_SOURCE) && !EPL_IS(n, input); }

/* Values that levels up to `level` made and later ones read. Weights are none of them: each level names those that it reads. */
static int live_after(const build *b, int level, epl_value **live)
{
    int count = 0;
    for (epl_node *n = b->from->first; n; n = n->next)
        for (int k = 0; n->tag <= level && !is_source(n) && k < n->n_outputs; k++) {
            bool read = false;
            for (size_t i = 0; i < n->outputs[k]->n_uses; i++) {
                const epl_node *user = n->outputs[k]->uses[i].node;
                read = read || (user->tag > level && user->tag < b->n_exits && !(user->op->flags & EPL_OP_SINK));
            }
            if (read)
                live[count++] = n->outputs[k];
        }
    return count;
}

/* The level's nodes go to g; marks of what they read are g's values already, those of weights are made when they are met. */
static bool copy_level(const build *b, int level, epl_graph *g)
{
    for (epl_node *n = b->from->first; n; n = n->next) {
        if (n->tag != level || (n->op->flags & EPL_OP_SINK) || EPL_IS(n, input) || is_source(n))
            continue;
        for (int i = 0; i < n->n_inputs; i++) {
            epl_value *v = n->inputs[i];
            if (v && is_source(v->producer) && (!v->mark || ((epl_value *)v->mark)->graph != g) && !epl_copy_node(g, v->producer, ""))
                return false;
        }
        if (!epl_copy_node(g, n, ""))
            return false;
    }
    return true;
}

/* ---- deciding ---- */

static epl_value *constant_index(epl_graph *g, int64_t x) { return epl_constant_i64(g, 1, &x); }

/* What classifier `level` says, joined with what was believed before (zeroes at the first). */
static belief listen(const build *b, int level, epl_graph *g, const belief *before, epl_value **entropy)
{
    epl_value *z = epl_exit_at(b->from, level)->mark, *log_p = epl_log_softmax(g, z, -1);
    belief now = { .logits = z, .exit = constant_index(g, level), .class = epl_argmax(g, z, 1, (epl_arg_opts){ 0 }) };
    now.confidence = epl_exp(g, epl_reduce_max(g, log_p, (epl_reduce_opts){ 0 }));
    *entropy       = epl_neg(g, epl_reduce_sum(g, epl_mul(g, epl_exp(g, log_p), log_p), (epl_reduce_opts){ 0 }));
    now.agreed     = constant_index(g, 1);
    if (level > 0)
        now.agreed = epl_where(g, epl_equal(g, now.class, before->class), epl_add(g, before->agreed, now.agreed), now.agreed);
    return now;
}

static epl_value *is_sure(const build *b, int level, epl_graph *g, const belief *now, epl_value *entropy)
{
    const double threshold = b->rule.thresholds ? b->rule.thresholds[level] : b->rule.threshold;
    epl_value   *limit = epl_scalar(g, EPL_F32, threshold);
    epl_value   *sure = b->rule.measure == EPL_EXIT_ENTROPY ? epl_less_or_equal(g, entropy, limit)
                                                            : epl_greater_or_equal(g, now->confidence, limit);
    epl_value   *long_enough = epl_greater_or_equal(g, now->agreed, constant_index(g, b->rule.patience));
    return epl_and(g, sure, epl_reshape(g, long_enough, EPL_SCALAR));
}

/* The surer of both; of equally sure ones the earlier. */
static belief surest(epl_graph *g, const belief *before, const belief *now)
{
    epl_value *better = epl_greater(g, now->confidence, before->confidence);
    belief     both   = *now;
    both.logits     = epl_where(g, better, now->logits, before->logits);
    both.exit       = epl_where(g, better, now->exit, before->exit);
    both.confidence = epl_where(g, better, now->confidence, before->confidence);
    return both;
}

/* ---- levels ---- */

/* A region with inputs like the captures, which go to `in`. */
static epl_graph *region_like(epl_graph *g, int n, epl_value *const *captures, epl_value **in)
{
    epl_graph *r = epl_region_new(g);
    for (int i = 0; r && i < n; i++)
        in[i] = captures[i] ? epl_input(r, "in", epl_dtype_of(captures[i]), epl_shape_of(captures[i]), NULL) : NULL;
    return r;
}

static bool build_level(const build *b, int level, epl_graph *g, const belief *before, epl_value **results);

/* If(sure, what is said here, what the levels behind it say). Captures: the values that live on, what is believed if
 * nobody later is sure, and what is said here. */
static bool branch(const build *b, int level, epl_graph *g, const belief *now, const belief *best, epl_value *sure, epl_value **results)
{
    epl_arena   *arena = epl_arena_new(g->ctx);
    const size_t most  = (size_t)b->from->n_nodes * 8 + 16; // results of all nodes, of which few have more than one
    epl_value  **live  = arena ? epl_arena_alloc(arena, most * sizeof *live) : NULL;
    epl_value  **captures = live ? epl_arena_alloc(arena, most * sizeof *captures) : NULL,
              **in = captures ? epl_arena_alloc(arena, most * sizeof *in) : NULL;
    const int    n = in ? live_after(b, level, live) : 0;
    bool         ok = in != NULL;
    if (ok) {
        epl_value *beliefs[] = { best->logits, best->exit,  best->confidence, now->class,
                                 now->agreed,  now->logits, now->exit },
                  *said[2] = { 0 };
        const int  all = n + (int)EPL_COUNT(beliefs);
        for (int i = 0; i < all; i++)
            captures[i] = i < n ? live[i]->mark : beliefs[i - n];
        epl_graph *leave = region_like(g, all, captures, in);
        ok = leave && epl_output(leave, "logits", in[n + 5]) && epl_output(leave, "exit", in[n + 6]);
        epl_graph *stay = ok ? region_like(g, all, captures, in) : NULL;
        for (int i = 0; i < n; i++)
            live[i]->mark = in[i];
        const belief before = { in[n], in[n + 1], in[n + 2], in[n + 3], in[n + 4] };
        ok = stay && build_level(b, level + 1, stay, &before, said) && epl_output(stay, "logits", said[0]) &&
             epl_output(stay, "exit", said[1]) && epl_if(g, sure, leave, stay, all, captures, results);
    }
    epl_arena_free(arena);
    return ok;
}

static bool build_level(const build *b, int level, epl_graph *g, const belief *before, epl_value **results)
{
    if (!copy_level(b, level, g))
        return false;
    epl_value   *entropy;
    const belief now  = listen(b, level, g, before, &entropy);
    const belief best = level > 0 ? surest(g, before, &now) : now;
    if (level + 1 < b->n_exits)
        return branch(b, level, g, &now, &best, is_sure(b, level, g, &now, entropy), results);
    results[0] = b->rule.last ? now.logits : best.logits;
    results[1] = b->rule.last ? now.exit : best.exit;
    return results[0] && results[1];
}

epl_model *epl_exits_dynamic(const epl_model *m, epl_exit_rule rule)
{
    const int n = epl_n_exits(m->graph);
    if (n < 2 || epl_graph_n_inputs(m->graph) != 1) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                 "network '%s' has %d inputs and %d classifiers; one input and at least one early exit are needed",
                 m->graph->name, epl_graph_n_inputs(m->graph), n);
        return NULL;
    }
    epl_graph *one = epl_graph_copy(m->graph), *g = one ? epl_graph_new(m->ctx, m->graph->name) : NULL;
    epl_value *in  = g ? epl_graph_input_at(one, 0) : NULL, *results[2] = { 0 };
    bool       ok  = in && (epl_dim(in, 0) == 1 || epl_graph_bind(one, "N", 1));
    if (ok) {
        const build b = { one, rule, n };
        for (epl_node *k = one->first; k; k = k->next)
            for (int i = 0; i < k->n_outputs; i++)
                k->outputs[i]->mark = NULL;
        in->mark = epl_input(g, epl_value_name(in), epl_dtype_of(in), epl_shape_of(in), NULL);
        find_levels(&b);
        ok = build_level(&b, 0, g, NULL, results) && epl_output(g, "logits", results[0]) &&
             epl_output(g, "exit", results[1]) && epl_graph_finish(g);
    }
    epl_graph_free(one);
    if (!ok) {
        epl_graph_free(g);
        return NULL;
    }
    epl_model   *out = epl_model_new_take(g);
    epl_weights *w   = out ? epl_weights_copy(m->ctx, m->weights) : NULL;
    if (!w) {
        epl_model_free(out);
        return NULL;
    }
    epl_weights_free(out->weights);
    out->weights = w;
    return out;
}
