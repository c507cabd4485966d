/* features: what a network computes at a layer, for a whole data set; and how far apart two data sets are there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <espalier/analysis.h>
#include <espalier/ops.h>
#include <espalier/program.h>

#include "graph/op.h"

/* ---- finding layers ---- */

static bool within(const char *scope, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(scope, name, n) == 0 && (scope[n] == 0 || scope[n] == '.');
}

static bool computes(const epl_node *n)
{
    return n->n_outputs > 0 && !(n->op->flags & EPL_OP_SOURCE) && epl_dtype_is_float(n->outputs[0]->dtype);
}

epl_value *epl_layer_value(const epl_graph *g, const char *name)
{
    epl_value *found = NULL;
    for (int i = 0; name && i < epl_graph_n_outputs(g); i++)
        if (strcmp(epl_graph_output_name(g, i), name) == 0)
            return epl_graph_output_at(g, i);
    for (epl_node *n = g->first; name && n; n = n->next)
        if (computes(n) && within(n->scope, name))
            found = n->outputs[0];
    if (!name && epl_graph_n_outputs(g) > 0) { // what the classifier reads, which may be behind the scale of cosines
        found = epl_graph_output_at(g, 0);
        const epl_node *n = found->producer;
        if (epl_glob("Affine,Mul", epl_node_op_name(n)))
            n = n->inputs[0]->producer;
        if (EPL_IS(n, linear))
            found = n->inputs[0];
    }
    if (!found)
        epl_fail(g->ctx, EPL_ERR_ARGUMENT, "network '%s' has no output and no scope '%s'", g->name, name ? name : "");
    return found;
}

/* A copy of g whose outputs are gone; *twin is v's counterpart there. */
static epl_graph *without_outputs(const epl_graph *g, const epl_value *v, epl_value **twin)
{
    epl_graph *copy = epl_graph_copy(g);
    if (!copy)
        return NULL;
    *twin = v ? v->mark : NULL; // copying leaves it there
    for (epl_node *n = copy->last, *prev; n; n = prev) {
        prev = n->prev;
        if (n->op->flags & EPL_OP_SINK)
            epl_node_remove(n);
    }
    return copy;
}

/* ---- running over a data set ---- */

/* Calls take(batch) with the program's outputs filled, for each batch in order. */
typedef bool take_fn(void *user, epl_program *p, const epl_batch *b);

static bool run_over(const epl_model *m, epl_graph *g, epl_dataset *d, epl_features_opts o, bool whole_batches, take_fn *take, void *user)
{
    const int64_t count = epl_dataset_info_of(d).count, batch = o.batch > 0 ? o.batch : 64;
    const char   *words = o.augment ? o.augment : epl_weights_metadata(m->weights, "espalier.augment");
    char         *fixed = words ? epl_augment_fixed_words(m->ctx, words) : NULL;
    epl_loader   *l = words && !fixed ? NULL
                    : epl_loader_new(m->ctx, d, (epl_loader_opts){ .batch = batch < count ? batch : count, .augment = fixed, .n_epochs = 1,
                                                                   .drop_last = whole_batches });
    epl_remove_dead(g);
    epl_program *p = l && epl_graph_bind(g, "N", batch < count ? batch : count) && epl_graph_finish(g)
                         ? epl_program_new(g, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    bool      ok = p != NULL;
    epl_batch b;
    for (int64_t done = 0; ok && epl_loader_next(l, &b); done += b.n_valid) {
        epl_tensor *x = epl_program_input(p, 0);
        char        want[192], is[192];
        if (epl_tensor_bytes(x) != epl_tensor_bytes(b.x))
            ok = epl_fail(m->ctx, EPL_ERR_SHAPE, "network '%s' takes %s, the data are %s", g->name, epl_shape_text(want, x->shape),
                          epl_shape_text(is, b.x->shape));
        else
            memcpy(x->data, b.x->data, epl_tensor_bytes(x));
        ok = ok && epl_program_run(p) && take(user, p, &b);
        if (ok && o.progress.report && !o.progress.report(o.progress.user, "features", (double)done, (double)count))
            ok = epl_fail(m->ctx, EPL_ERR_INTERRUPTED, "stopped after %lld of %lld samples", (long long)done, (long long)count);
    }
    ok = ok && epl_error_code(m->ctx) == EPL_OK;
    epl_program_free(p);
    epl_loader_free(l);
    epl_release(m->ctx, fixed);
    return ok;
}

/* ---- features ---- */

typedef struct collecting {
    epl_tensor *out;
    int64_t     n;
} collecting;

static bool collect(void *user, epl_program *p, const epl_batch *b)
{
    collecting       *c = user;
    const epl_tensor *y = epl_program_output(p, 0);
    const size_t      row = epl_tensor_bytes(c->out) / (size_t)c->out->shape.dim[0];
    memcpy((char *)c->out->data + (size_t)c->n * row, y->data, (size_t)b->n_valid * row);
    c->n += b->n_valid;
    return true;
}

epl_tensor *epl_features(const epl_model *m, epl_dataset *d, epl_features_opts o)
{
    const epl_value *layer = epl_layer_value(m->graph, o.layer);
    epl_value       *v = NULL;
    epl_graph       *g = layer ? without_outputs(m->graph, layer, &v) : NULL;
    if (!g)
        return NULL;
    if (o.average && epl_rank(v) > 2)
        v = epl_global_average_pool(g, v);
    epl_output(g, "features", v);
    collecting c = { 0 };
    bool ok = v != NULL;
    if (ok) {
        epl_shape all = epl_shape_of(v);
        all.dim[0] = epl_dataset_info_of(d).count;
        c.out = epl_tensor_new(m->ctx, EPL_F32, all);
        ok    = c.out && all.dim[0] > 0 && run_over(m, g, d, o, false, collect, &c);
    }
    epl_graph_free(g);
    if (ok)
        return c.out;
    epl_tensor_free(c.out);
    return NULL;
}

/* ---- divergence of two domains ---- */

double epl_gaussian_divergence(double mean_a, double var_a, double mean_b, double var_b)
{
    const double least = 1e-12, a = fmax(var_a, least), b = fmax(var_b, least), apart = (mean_a - mean_b) * (mean_a - mean_b);
    return (a + apart) / (2 * b) + (b + apart) / (2 * a) - 1; // the logarithms cancel
}

/* The layers that are looked at, their channels' sums, and how many pixels they are of. */
typedef struct moments {
    int      n;
    int64_t *channels;
    double **sum, **square;
    double  *pixels; /* of a batch */
    int64_t  batches;
} moments;

static bool add_moments(void *user, epl_program *p, const epl_batch *b)
{
    moments *s = user;
    (void)b;
    for (int i = 0; i < s->n; i++) {
        const float *mean = epl_program_output(p, 2 * i)->data, *square = epl_program_output(p, 2 * i + 1)->data;
        for (int64_t c = 0; c < s->channels[i]; c++) {
            s->sum[i][c] += mean[c];
            s->square[i][c] += square[c];
        }
    }
    s->batches++;
    return true;
}

/* The name of the block that a scope belongs to: its first two parts, "stage1.unit2". */
static size_t block_length(const char *scope)
{
    const size_t first = strcspn(scope, ".");
    return scope[first] ? first + 1 + strcspn(scope + first + 1, ".") : first;
}

/* The last image of each block (or of each scope that `pattern` names), in order. */
static int choose_layers(const epl_graph *g, const char *pattern, epl_arena *arena, epl_value **values, const char **names)
{
    int n = 0;
    for (epl_node *k = g->first; k; k = k->next) {
        if (!computes(k) || k->outputs[0]->shape.rank < 3 || !k->scope[0] || (pattern && !epl_glob(pattern, k->scope)))
            continue;
        const size_t length = pattern ? strlen(k->scope) : block_length(k->scope);
        int at = 0;
        while (at < n && (strncmp(names[at], k->scope, length) != 0 || names[at][length]))
            at++;
        char *name = at == n ? epl_arena_copy(arena, k->scope, length + 1) : NULL;
        if (name) {
            name[length] = 0;
            names[n++]   = name;
        }
        values[at] = k->outputs[0];
    }
    return n;
}

static bool measure(const epl_model *m, epl_dataset *d, epl_features_opts o, epl_value **layers, epl_arena *arena, moments *s)
{
    epl_value  *none;
    epl_graph  *g = without_outputs(m->graph, NULL, &none);
    const size_t n = (size_t)s->n + 1;
    s->channels = epl_arena_alloc(arena, n * sizeof *s->channels);
    s->sum      = epl_arena_alloc(arena, n * sizeof *s->sum);
    s->square   = epl_arena_alloc(arena, n * sizeof *s->square);
    bool ok = g && s->channels && s->sum && s->square;
    for (int i = 0; ok && i < s->n; i++) {
        epl_value *v = layers[i]->mark, *mean = v;
        const int  space = epl_rank(v) - 1;
        epl_reduce_opts r = { .n_axes = space, .axes = { 0, 1, 2, 3 } };
        char name[32];
        s->channels[i] = epl_channels(v);
        s->sum[i]      = epl_arena_alloc(arena, (size_t)s->channels[i] * sizeof(double));
        s->square[i]   = epl_arena_alloc(arena, (size_t)s->channels[i] * sizeof(double));
        ok   = s->sum[i] && s->square[i];
        mean = epl_reduce_mean(g, v, r);
        snprintf(name, sizeof name, "mean%d", i);
        epl_output(g, name, mean);
        snprintf(name, sizeof name, "square%d", i);
        epl_output(g, name, epl_reduce_mean(g, epl_square(g, v), r));
    }
    ok = ok && run_over(m, g, d, o, true, add_moments, s);
    epl_graph_free(g);
    return ok;
}

static double layer_divergence(const moments *a, const moments *b, int layer)
{
    double sum = 0;
    for (int64_t c = 0; c < a->channels[layer]; c++) {
        const double ma = a->sum[layer][c] / (double)a->batches, mb = b->sum[layer][c] / (double)b->batches;
        sum += epl_gaussian_divergence(ma, a->square[layer][c] / (double)a->batches - ma * ma, mb,
                                       b->square[layer][c] / (double)b->batches - mb * mb);
    }
    return sum / (double)a->channels[layer];
}

bool epl_divergence(const epl_model *m, epl_dataset *a, epl_dataset *b, const char *layers, epl_features_opts o, epl_divergence_result *out)
{
    const size_t most  = (size_t)m->graph->n_nodes + 1;
    epl_arena   *arena = epl_arena_new(m->ctx);
    epl_value  **values = arena ? epl_arena_alloc(arena, most * sizeof *values) : NULL;
    const char **names  = arena ? epl_arena_alloc(arena, most * sizeof *names) : NULL;
    *out = (epl_divergence_result){ .arena = arena };
    bool ok = values && names;
    if (ok) {
        moments s[2] = { { 0 } };
        out->n      = s[0].n = s[1].n = choose_layers(m->graph, layers, arena, values, names);
        out->names  = names;
        out->values = epl_arena_alloc(arena, most * sizeof *out->values);
        ok = out->values && (out->n > 0 || epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no layer of images '%s'", m->graph->name,
                                                     layers ? layers : "*")) &&
             measure(m, a, o, values, arena, &s[0]) && measure(m, b, o, values, arena, &s[1]);
        for (int i = 0; ok && i < out->n; i++)
            out->values[i] = layer_divergence(&s[0], &s[1], i);
    }
    if (!ok)
        epl_divergence_release(out);
    return ok;
}

void epl_divergence_release(epl_divergence_result *r)
{
    epl_arena_free(r->arena);
    *r = (epl_divergence_result){ 0 };
}
