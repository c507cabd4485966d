/* model: a graph with its weights, and the one file that holds both: safetensors, with the graph as text in the metadata, so
 * that every reader of safetensors still opens it. Leaves out: compression, sharding. */
#include "graph/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAPH_KEY   "espalier.graph"
#define VERSION_KEY "espalier.version"
#define VERSION     "1" /* of the text form; a reader refuses what it does not know */

epl_model *epl_model_new_take(epl_graph *g)
{
    if (!g)
        return NULL;
    epl_context *ctx = g->ctx;
    epl_model   *m = epl_alloc(ctx, sizeof *m);
    epl_weights *w = m && epl_graph_finish(g) ? epl_weights_new(ctx) : NULL;
    if (!w) {
        epl_graph_free(g);
        epl_release(ctx, m);
        return NULL;
    }
    *m = (epl_model){ .ctx = ctx, .graph = g, .weights = w };
    return m;
}

epl_model *epl_model_copy(const epl_model *m)
{
    epl_graph *g = m ? epl_graph_copy(m->graph) : NULL;
    epl_model *copy = epl_model_new_take(g);
    epl_weights *w = copy ? epl_weights_copy(m->ctx, m->weights) : NULL;
    if (!w) {
        epl_model_free(copy);
        return NULL;
    }
    epl_weights_free(copy->weights);
    copy->weights = w;
    return copy;
}

void epl_model_free(epl_model *m)
{
    if (!m)
        return;
    epl_graph_free(m->graph);
    epl_weights_free(m->weights);
    epl_release(m->ctx, m);
}

/* ---- what the graph asks of the weights -------------------------------------------------------------------------- */

/* Calls f for every parameter and state, those of regions included, until it returns false. */
static bool each_tensor(const epl_graph *g, bool (*f)(void *user, const epl_node *n), void *user)
{
    for (const epl_node *n = g->first; n; n = n->next) {
        if ((EPL_IS(n, parameter) || EPL_IS(n, state)) && !f(user, n))
            return false;
        for (int i = 0; i < n->n_regions; i++)
            if (!each_tensor(n->regions[i], f, user))
                return false;
    }
    return true;
}

typedef struct census {
    const epl_model *m;
    int      n, n_missing, n_misshapen;
    epl_text missing, misshapen;
} census;

enum { CENSUS_NAMES = 8 }; /* as many names as a sentence carries */

static bool compare(void *user, const epl_node *n)
{
    census           *c = user;
    const char       *name = n->attrs[0].s;
    const epl_value  *v = n->outputs[0];
    const epl_tensor *t = epl_weights_find(c->m->weights, name);
    char is[192], want[192];
    c->n++;
    if (!t) {
        if (c->n_missing < CENSUS_NAMES)
            epl_text_addf(&c->missing, "%s'%s'", c->n_missing ? ", " : "", name);
        c->n_missing++;
    } else if (t->dtype != v->dtype || !epl_shape_equal(t->shape, v->shape)) {
        if (c->n_misshapen < CENSUS_NAMES)
            epl_text_addf(&c->misshapen, "%s'%s' is %s%s, the graph expects %s%s", c->n_misshapen ? ", " : "", name,
                          epl_dtype_name(t->dtype), epl_shape_text(is, t->shape), epl_dtype_name(v->dtype),
                          epl_shape_text(want, v->shape));
        c->n_misshapen++;
    }
    return true;
}

/* Fails if a tensor is misshapen, or missing where `complete` asks for all. */
static bool take_census(const epl_model *m, bool complete)
{
    census c = { .m = m, .missing = EPL_TEXT(m->ctx), .misshapen = EPL_TEXT(m->ctx) };
    each_tensor(m->graph, compare, &c);
    if (complete && c.n_missing)
        epl_fail(m->ctx, EPL_ERR_FORMAT, "model '%s': %d of %d tensors are missing: %s%s", m->graph->name, c.n_missing, c.n,
                 epl_text_str(&c.missing), c.n_missing > CENSUS_NAMES ? ", ..." : "");
    else if (c.n_misshapen)
        epl_fail(m->ctx, EPL_ERR_SHAPE, "model '%s': %s%s", m->graph->name, epl_text_str(&c.misshapen),
                 c.n_misshapen > CENSUS_NAMES ? ", ..." : "");
    epl_text_release(&c.missing);
    epl_text_release(&c.misshapen);
    return !(complete && c.n_missing) && !c.n_misshapen;
}

bool epl_model_check(const epl_model *m)
{
    return m && take_census(m, true);
}

/* ---- how a tensor starts ----------------------------------------------------------------------------------------- */

/* Normal, drawn again outside of two standard deviations. */
static double truncated_normal(epl_rng *r)
{
    double x;
    do
        x = (double)epl_rng_normal(r);
    while (fabs(x) > 2);
    return x;
}

/* Makes the n rows of q, each of m numbers, m >= n, orthonormal: Gram-Schmidt, every projection taken off twice. */
static void orthonormalise(double *q, int64_t n, int64_t m, epl_rng *r)
{
    for (int64_t i = 0; i < n; i++) {
        double *row = q + i * m, norm = 0;
        for (int64_t pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < i; j++) {
                double dot = 0;
                for (int64_t k = 0; k < m; k++)
                    dot += row[k] * q[j * m + k];
                for (int64_t k = 0; k < m; k++)
                    row[k] -= dot * q[j * m + k];
            }
        for (int64_t k = 0; k < m; k++)
            norm += row[k] * row[k];
        if (norm < 1e-12) { // never seen; a fresh row settles it
            for (int64_t k = 0; k < m; k++)
                row[k] = (double)epl_rng_normal(r);
            i--;
            continue;
        }
        for (int64_t k = 0; k < m; k++)
            row[k] /= sqrt(norm);
    }
}

/* Saxe et al. 2014 (arXiv:1312.6120): a matrix [product of the others, last] with orthonormal rows or columns, whichever are
 * fewer, times the gain. */
static bool fill_orthogonal(epl_context *ctx, epl_tensor *t, epl_rng *r, double gain)
{
    const int64_t count = epl_tensor_count(t), columns = t->shape.rank ? t->shape.dim[t->shape.rank - 1] : 1;
    const int64_t rows = columns ? count / columns : 0, n = rows < columns ? rows : columns, m = rows < columns ? columns : rows;
    double *q = epl_alloc_array(ctx, (size_t)count + 1, sizeof *q);
    if (!q)
        return false;
    for (int64_t i = 0; i < count; i++)
        q[i] = (double)epl_rng_normal(r);
    orthonormalise(q, n, m, r);
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = i / columns, column = i % columns;
        epl_tensor_set(t, i, gain * (rows < columns ? q[row * m + column] : q[column * m + row]));
    }
    epl_release(ctx, q);
    return true;
}

static bool fill(epl_context *ctx, epl_tensor *t, epl_init init, double a, epl_rng *r)
{
    const int64_t n = epl_tensor_count(t);
    switch (init) {
    case EPL_INIT_ZEROS:  return true;
    case EPL_INIT_ONES:
    case EPL_INIT_CONSTANT:
        for (int64_t i = 0; i < n; i++)
            epl_tensor_set(t, i, init == EPL_INIT_ONES ? 1 : a);
        return true;
    case EPL_INIT_NORMAL:  epl_tensor_fill_normal(t, r, 0, a); return true;
    case EPL_INIT_UNIFORM: epl_tensor_fill_uniform(t, r, -a, a); return true;
    case EPL_INIT_UNIFORM_ABOVE: epl_tensor_fill_uniform(t, r, 0, a); return true;
    case EPL_INIT_TRUNC_NORMAL:
        for (int64_t i = 0; i < n; i++)
            epl_tensor_set(t, i, a * truncated_normal(r));
        return true;
    case EPL_INIT_ORTHOGONAL: return fill_orthogonal(ctx, t, r, a);
    }
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "unknown initialiser %d", (int)init);
}

typedef struct beginning {
    epl_model *m;
    uint64_t   seed;
} beginning;

static bool begin_tensor(void *user, const epl_node *n)
{
    const beginning *b = user;
    const char      *name = n->attrs[0].s;
    if (epl_weights_find(b->m->weights, name))
        return true;
    epl_tensor *t = epl_tensor_new(b->m->ctx, n->outputs[0]->dtype, n->outputs[0]->shape);
    if (!t)
        return false;
    epl_rng r = epl_rng_at(b->seed, epl_hash(name, strlen(name), 0));
    if (!fill(b->m->ctx, t, (epl_init)epl_attr_i(n, "init"), epl_attr_r(n, "scale"), &r)) {
        epl_tensor_free(t);
        return false;
    }
    if (EPL_IS(n, state) && strcmp(name, "rng") == 0 && epl_tensor_count(t) == 2)
        epl_tensor_set_i64(t, 0, (int64_t)b->seed); // epl_rng_key: { seed, step }
    return epl_weights_put_take(b->m->weights, name, t);
}

bool epl_model_init(epl_model *m, uint64_t seed)
{
    return m && take_census(m, false) && each_tensor(m->graph, begin_tensor, &(beginning){ m, seed });
}

/* ---- files ------------------------------------------------------------------------------------------------------- */
bool epl_model_save(const epl_model *m, const char *path)
{
    if (!epl_model_check(m))
        return false;
    char *text = epl_graph_print(m->graph);
    const bool ok = text && epl_weights_set_metadata(m->weights, VERSION_KEY, VERSION) &&
                    epl_weights_set_metadata(m->weights, GRAPH_KEY, text) && epl_weights_save(m->weights, path);
    epl_release(m->ctx, text);
    return ok;
}

static epl_graph *graph_of(epl_context *ctx, const epl_weights *w, const char *path)
{
    const char *text = epl_weights_metadata(w, GRAPH_KEY), *version = epl_weights_metadata(w, VERSION_KEY);
    if (!text) {
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: weights without a network (no metadata '" GRAPH_KEY "')", path);
        return NULL;
    }
    if (version && strcmp(version, VERSION) != 0) {
        epl_fail(ctx, EPL_ERR_UNSUPPORTED, "%s: the network is of version '%.32s', this library reads version " VERSION, path,
                 version);
        return NULL;
    }
    return epl_graph_parse(ctx, text, strlen(text), path);
}


/* Puts the path before what is wrong with the model in it. */
static void fail_in_file(epl_context *ctx, const char *path)
{
    char            sentence[1024];
    const epl_error code = epl_error_code(ctx);
    snprintf(sentence, sizeof sentence, "%s", epl_error_message(ctx));
    epl_error_clear(ctx);
    epl_fail(ctx, code, "%s: %s", path, sentence);
}

epl_model *epl_model_load(epl_context *ctx, const char *path)
{
    epl_weights *w = epl_weights_open(ctx, path);
    epl_graph   *g = w ? graph_of(ctx, w, path) : NULL;
    epl_model   *m = epl_model_new_take(g);
    if (!m) {
        epl_weights_free(w);
        return NULL;
    }
    epl_weights_free(m->weights);
    m->weights = w;
    if (epl_model_check(m))
        return m;
    fail_in_file(ctx, path);
    epl_model_free(m);
    return NULL;
}
