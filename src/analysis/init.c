/* init: how a network's weights start - by the names of layers, by the variance of what layers answer - and what that does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <espalier/compress.h>
#include <espalier/program.h>

#include "analysis/filters.h"
#include "graph/op.h"

static bool is_layer(const epl_node *n)
{
    return (EPL_IS(n, conv) || EPL_IS(n, conv_transpose) || EPL_IS(n, linear)) && EPL_IS(n->inputs[1]->producer, parameter);
}

/* ---- "conv0=gabor,*=he" ---- */

typedef struct rule {
    char pattern[256], method[512];
} rule;

static bool next_rule(epl_context *ctx, const char **at, rule *r)
{
    const size_t n = strcspn(*at, ",");
    const char  *equals = memchr(*at, '=', n);
    if (!equals || equals == *at || (size_t)(equals - *at) >= sizeof r->pattern || n >= sizeof r->method)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "'%.*s' is not of the form layer=method, as in conv0=gabor,*=he", (int)n, *at);
    snprintf(r->pattern, sizeof r->pattern, "%.*s", (int)(equals - *at), *at);
    snprintf(r->method, sizeof r->method, "%.*s", (int)(n - (size_t)(equals - *at) - 1), equals + 1);
    *at += n + ((*at)[n] == ',');
    return true;
}

static bool applies(const rule *r, const epl_node *n, int conv)
{
    char        nth[32], with_weight[300];
    const char *name = epl_value_name(n->inputs[1]);
    snprintf(nth, sizeof nth, "conv%d", conv);
    snprintf(with_weight, sizeof with_weight, "%s.weight", r->pattern);
    return epl_glob(r->pattern, name) || epl_glob(with_weight, name) || (!EPL_IS(n, linear) && strcmp(r->pattern, nth) == 0);
}

/* fan_in: inputs of one output element; fan_out: outputs that an input element reaches. A transposed convolution swaps them. */
static void fans(const epl_node *n, double *in, double *out)
{
    const epl_shape w = n->inputs[1]->shape;
    const double    taps = (double)epl_shape_count_from(w, 0, w.rank - 2), groups = EPL_IS(n, linear) ? 1 : (double)epl_attr_i(n, "group");
    *in  = taps * (double)w.dim[w.rank - 2];
    *out = taps * (double)w.dim[w.rank - 1] / groups;
    if (EPL_IS(n, conv_transpose)) {
        const double x = *in;
        *in  = *out;
        *out = x;
    }
}

static bool is_drawn(const char *method)
{
    static const char *const words[] = { "constant", "zero", "normal", "lecun", "lecun-2.4", "xavier", "xavier-normal", "he", "he-uniform",
                                         "trunc-normal", "orthogonal" };
    const size_t n = strcspn(method, ":");
    for (size_t i = 0; i < EPL_COUNT(words); i++)
        if (strlen(words[i]) == n && strncmp(words[i], method, n) == 0)
            return true;
    return false;
}

static epl_tensor *make_weight(epl_model *m, const epl_node *n, const char *method, epl_dataset *data, uint64_t seed)
{
    const epl_shape w = n->inputs[1]->shape;
    const char     *name = epl_value_name(n->inputs[1]);
    const uint64_t  own = epl_hash(name, strlen(name), seed);
    double          in, out;
    fans(n, &in, &out);
    if (is_drawn(method) || !EPL_IS(n, conv) || w.rank != 4 || w.dim[0] != w.dim[1])
        return epl_filters_draw(m->ctx, method, w, in, out, own);
    return epl_filters_make(m->ctx, (epl_filters_opts){ .method = method, .kernel = (int)w.dim[0], .channels = (int)w.dim[2],
                                                        .number = (int)w.dim[3], .data = data, .seed = own });
}

int epl_init_weights(epl_model *m, const char *words, epl_dataset *data, uint64_t seed)
{
    int made = 0, conv = 0;
    for (const epl_node *n = m->graph->first; n; n = n->next) {
        if (!is_layer(n))
            continue;
        for (const char *at = words; *at;) {
            rule r;
            if (!next_rule(m->ctx, &at, &r))
                return -1;
            if (!applies(&r, n, conv))
                continue;
            epl_tensor *t = make_weight(m, n, r.method, data, seed);
            if (!t || !epl_weights_put_take(m->weights, epl_value_name(n->inputs[1]), t))
                return -1;
            made++;
            break;
        }
        conv += !EPL_IS(n, linear);
    }
    if (made == 0)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "no layer's weight is named as in '%s'", words);
    return made ? made : -1;
}

/* ---- what layers answer ---- */

enum { MAX_LAYERS = 1024 };

typedef struct probe {
    epl_program *program;
    int          n;
    const char  *weight[MAX_LAYERS]; /* names; the model's */
} probe;

static void probe_close(probe *p) { epl_program_free(p->program); }

/* A program whose outputs are the layers' answers, for batches of x. */
static bool probe_open(const epl_model *m, const epl_tensor *x, probe *p)
{
    epl_graph *g = epl_graph_copy(m->graph);
    *p = (probe){ 0 };
    for (const epl_node *n = m->graph->first; g && n && p->n < MAX_LAYERS; n = n->next)
        if (is_layer(n)) {
            p->weight[p->n++] = epl_value_name(n->inputs[1]);
            epl_output(g, epl_value_name(n->inputs[1]), n->outputs[0]->mark); // copying leaves the twins there
        }
    if (p->n == 0 && g)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no convolution and no linear layer", epl_graph_name(m->graph));
    if (g && p->n && epl_graph_bind(g, "N", x->shape.dim[0]) && epl_graph_finish(g))
        p->program = epl_program_new(g, m->weights, (epl_program_opts){ .no_fusion = true });
    epl_graph_free(g);
    if (!p->program)
        return false;
    epl_tensor *in = epl_program_input(p->program, 0);
    if (epl_tensor_bytes(in) != epl_tensor_bytes(x)) {
        char want[192], is[192];
        epl_program_free(p->program);
        p->program = NULL;
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "the network takes %s, but the batch is %s", epl_shape_text(want, in->shape),
                        epl_shape_text(is, x->shape));
    }
    memcpy(in->data, x->data, epl_tensor_bytes(x));
    return true;
}

static double variance_of(const epl_tensor *t, double *dead)
{
    double        sum = 0, squares = 0;
    int64_t       below = 0;
    const int64_t n = epl_tensor_count(t);
    for (int64_t i = 0; i < n; i++) {
        const double x = epl_tensor_get(t, i);
        sum += x;
        squares += x * x;
        below += x <= 0;
    }
    if (dead)
        *dead = (double)below / (double)n;
    return squares / (double)n - sum / (double)n * (sum / (double)n);
}

bool epl_init_lsuv(epl_model *m, const epl_tensor *x, uint64_t seed)
{
    probe p;
    bool  ok = epl_init_weights(m, "*=orthogonal", NULL, seed) > 0 && probe_open(m, x, &p);
    if (!ok)
        return false;
    for (int i = 0; ok && i < p.n; i++)
        for (int round = 0; ok && round < 10; round++) {
            ok = epl_program_run(p.program);
            const double variance = ok ? variance_of(epl_program_output_named(p.program, p.weight[i]), NULL) : 1;
            if (!(variance > 0) || fabs(variance - 1) < 0.05)
                break;
            epl_tensor *w = epl_weights_find(m->weights, p.weight[i]);
            for (int64_t k = 0; k < epl_tensor_count(w); k++)
                epl_tensor_set(w, k, epl_tensor_get(w, k) / sqrt(variance));
        }
    probe_close(&p);
    return ok;
}

static double norm_of(const epl_tensor *t)
{
    double sum = 0;
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        sum += epl_tensor_get(t, i) * epl_tensor_get(t, i);
    return t ? sqrt(sum) : NAN;
}

epl_table *epl_init_report(const epl_model *m, const epl_tensor *x, const epl_tensor *target)
{
    probe        p;
    epl_weights *gradients = NULL;
    epl_table   *t = NULL;
    bool ok = probe_open(m, x, &p) && epl_program_run(p.program);
    if (ok && target) {
        gradients = epl_weight_gradients(m, x, target, (epl_loss_opts){ 0 });
        ok = gradients != NULL;
    }
    if (ok)
        t = epl_table_new(m->ctx, NULL);
    epl_table_column(t, "weight", (epl_column_opts){ 0 });
    epl_table_column(t, "variance", (epl_column_opts){ 0 });
    epl_table_column(t, "at or below 0", (epl_column_opts){ .key = "below", .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "gradient", (epl_column_opts){ 0 });
    for (int i = 0; t && i < p.n; i++) {
        double below;
        epl_table_row(t);
        epl_table_text(t, p.weight[i]);
        epl_table_number(t, variance_of(epl_program_output_named(p.program, p.weight[i]), &below));
        epl_table_number(t, below);
        if (gradients && epl_weights_find(gradients, p.weight[i]))
            epl_table_number(t, norm_of(epl_weights_find(gradients, p.weight[i])));
        else
            epl_table_empty(t);
    }
    epl_weights_free(gradients);
    probe_close(&p);
    return t;
}
