/* prototypes: what a network that classifies by distances to learned codes has learned, and why it answers as it does. */
#include <espalier/analysis.h>

#include "graph/op.h"

#include <math.h>
#include <string.h>

/* ---- finding the parts ---- */

/* The parameter of the codes: the one that epl_prototypes made. */
static epl_value *vectors_of(const epl_graph *g)
{
    epl_value *found = NULL;
    for (const epl_node *n = epl_first(g); n && !found; n = epl_next(n))
        if (strcmp(epl_node_op_name(n), "Parameter") == 0 &&
            epl_glob("prototypes.vectors,*.prototypes.vectors", epl_value_name(epl_node_output(n, 0))))
            found = epl_node_output(n, 0);
    return found;
}

/* The code z: what is multiplied with the codes. */
static epl_value *code_of(const epl_graph *g)
{
    const epl_value *p = vectors_of(g);
    for (int i = 0; p && i < epl_n_uses(p); i++) {
        const epl_use u = epl_use_at(p, i);
        if (strcmp(epl_node_op_name(u.node), "Linear") == 0 && u.input == 1)
            return epl_node_input(u.node, 0);
    }
    return NULL;
}

static bool no_prototypes(const epl_model *m)
{
    return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has no prototypes (head=prototype, prototype-net)", epl_graph_name(m->graph));
}

static void remove_nodes(epl_graph *g, const char *op)
{
    for (epl_node *n = epl_first(g), *next; n; n = next) {
        next = epl_next(n);
        if (strcmp(epl_node_op_name(n), op) == 0 && (epl_node_n_outputs(n) == 0 || epl_n_uses(epl_node_output(n, 0)) == 0))
            epl_node_remove(n);
    }
}

static epl_model *with_output_take(epl_model *m, const char *name, epl_value *v)
{
    remove_nodes(m->graph, "Output");
    if (epl_output(m->graph, name, v)) {
        epl_remove_dead(m->graph);
        remove_nodes(m->graph, "Input"); // those that nothing reads any more
        if (epl_graph_finish(m->graph))
            return m;
    }
    epl_model_free(m);
    return NULL;
}

epl_model *epl_prototype_encoder(const epl_model *m)
{
    epl_model *copy = epl_model_copy(m);
    epl_value *z    = copy ? code_of(copy->graph) : NULL;
    if (z)
        return with_output_take(copy, "code", z);
    if (copy)
        no_prototypes(m);
    epl_model_free(copy);
    return NULL;
}

epl_model *epl_prototype_decoder(const epl_model *m)
{
    epl_model *copy = epl_model_copy(m);
    epl_value *z    = copy ? code_of(copy->graph) : NULL, *drawn = NULL;
    for (int i = 0; z && i < epl_graph_n_outputs(copy->graph); i++)
        if (strcmp(epl_graph_output_name(copy->graph, i), "reconstruction") == 0)
            drawn = epl_graph_output_at(copy->graph, i);
    if (!z || !drawn) {
        if (copy && !z)
            no_prototypes(m);
        else if (copy)
            epl_fail(m->ctx, EPL_ERR_UNSUPPORTED, "network '%s' has no decoder (output \"reconstruction\")", epl_graph_name(m->graph));
        epl_model_free(copy);
        return NULL;
    }
    epl_node  *at = epl_graph_insert_before(copy->graph, epl_first(copy->graph));
    epl_value *code = epl_input(copy->graph, "code", epl_dtype_of(z), epl_shape_of(z), "N,");
    epl_graph_insert_before(copy->graph, at);
    epl_replace(z, code);
    return with_output_take(copy, "reconstruction", drawn);
}

/* ---- running a batch of everything ---- */

/* Output `output` of m for x; the caller owns it. */
static epl_tensor *run(const epl_model *m, const epl_tensor *x, int output)
{
    epl_graph   *g = epl_graph_copy(m->graph);
    epl_program *p = g && epl_graph_bind(g, "N", x->shape.dim[0]) ? epl_program_new(g, m->weights, (epl_program_opts){ 0 }) : NULL;
    epl_tensor  *y = NULL;
    char         is[192], takes[192];
    if (p && (epl_tensor_bytes(epl_program_input(p, 0)) != epl_tensor_bytes(x) || x->dtype != epl_program_input(p, 0)->dtype))
        epl_fail(m->ctx, EPL_ERR_SHAPE, "the sample is %s%s, the network takes %s%s", epl_dtype_name(x->dtype),
                 epl_shape_text(is, x->shape), epl_dtype_name(epl_program_input(p, 0)->dtype),
                 epl_shape_text(takes, epl_program_input(p, 0)->shape));
    else if (p) {
        memcpy(epl_program_input(p, 0)->data, x->data, epl_tensor_bytes(x));
        y = epl_program_run(p) ? epl_tensor_copy(m->ctx, epl_program_output(p, output)) : NULL;
    }
    epl_program_free(p);
    epl_graph_free(g);
    return y;
}

epl_tensor *epl_prototypes_draw(const epl_model *m)
{
    epl_model        *decoder = epl_prototype_decoder(m);
    const epl_value  *v = decoder ? vectors_of(m->graph) : NULL;
    const epl_tensor *p = v ? epl_weights_find(m->weights, epl_value_name(v)) : NULL;
    epl_tensor       *drawn = p ? run(decoder, p, 0) : NULL;
    epl_model_free(decoder);
    return drawn;
}

/* ---- the report ---- */

/* The head's weight [n, classes], which reads the distances. */
static const epl_tensor *head_of(const epl_model *m)
{
    const epl_node *n = epl_graph_n_outputs(m->graph) > 1 ? epl_producer(epl_graph_output_at(m->graph, 0)) : NULL;
    const epl_value *w = n && strcmp(epl_node_op_name(n), "Linear") == 0 ? epl_node_input(n, 1) : NULL;
    return w && epl_value_name(w) ? epl_weights_find(m->weights, epl_value_name(w)) : NULL;
}

void epl_prototypes_report_release(epl_prototypes_report *r)
{
    if (r->ctx)
        epl_release(r->ctx, r->at);
    *r = (epl_prototypes_report){ 0 };
}

static void find_classes(const epl_tensor *w, epl_prototypes_report *r, bool *owned)
{
    for (int j = 0; j < r->n; j++) {
        epl_prototype *p = &r->at[j];
        for (int k = 0; k < r->n_classes; k++)
            if (k == 0 || epl_tensor_get(w, j * r->n_classes + k) < p->weight) {
                p->cls    = k;
                p->weight = epl_tensor_get(w, j * r->n_classes + k);
            }
        r->n_owned += !owned[p->cls];
        owned[p->cls] = true;
    }
}

/* Exactly, by differences, since there are few prototypes. */
static void find_nearest(const epl_tensor *p, const epl_embedded *codes, epl_prototypes_report *r)
{
    double length = 0, distance = 0;
    for (int64_t i = 0; i < codes->n; i++) {
        const float *z = codes->z + i * codes->width;
        for (int64_t k = 0; k < codes->width; k++)
            length += (double)z[k] * (double)z[k] / (double)codes->n;
        for (int j = 0; j < r->n; j++) {
            double d = 0;
            for (int64_t k = 0; k < codes->width; k++)
                d += pow((double)z[k] - epl_tensor_get(p, j * codes->width + k), 2);
            if (i == 0 || d < r->at[j].distance) {
                r->at[j].distance = d;
                r->at[j].nearest  = i;
            }
        }
    }
    for (int j = 0; j < r->n; j++)
        distance += r->at[j].distance / r->n;
    r->relative_r1 = distance / length;
}

bool epl_prototypes_of(const epl_model *m, epl_dataset *d, epl_progress progress, epl_prototypes_report *out)
{
    const epl_value  *v = vectors_of(m->graph);
    const epl_tensor *p = v ? epl_weights_find(m->weights, epl_value_name(v)) : NULL, *w = head_of(m);
    epl_embedded     codes = { 0 };
    *out = (epl_prototypes_report){ .ctx = m->ctx };
    if (!p || !w || w->shape.dim[0] != p->shape.dim[0])
        return no_prototypes(m);
    out->n         = (int)p->shape.dim[0];
    out->n_classes = (int)w->shape.dim[1];
    out->at        = epl_alloc_array(m->ctx, (size_t)out->n, sizeof *out->at);
    bool      *owned   = epl_alloc_array(m->ctx, (size_t)out->n_classes, sizeof *owned);
    epl_model *encoder = out->at && owned ? epl_prototype_encoder(m) : NULL;
    const bool ok = encoder && epl_embed(encoder, d, (epl_features_opts){ .layer = "code", .progress = progress }, &codes);
    if (ok) {
        find_classes(w, out, owned);
        find_nearest(p, &codes, out);
    } else
        epl_prototypes_report_release(out);
    epl_embedded_release(&codes);
    epl_model_free(encoder);
    epl_release(m->ctx, owned);
    return ok;
}

/* ---- one answer ---- */

void epl_explanation_release(epl_explanation *e)
{
    epl_tensor_free(e->distances);
    epl_tensor_free(e->contributions);
    epl_tensor_free(e->logits);
    *e = (epl_explanation){ 0 };
}

bool epl_explain(const epl_model *m, const epl_tensor *x, epl_explanation *out)
{
    const epl_tensor *w = head_of(m);
    *out = (epl_explanation){ 0 };
    if (!vectors_of(m->graph) || !w)
        return no_prototypes(m);
    if (x->shape.rank < 1 || x->shape.dim[0] != 1)
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "explain: a batch of %lld samples, one is expected",
                        (long long)(x->shape.rank ? x->shape.dim[0] : 0));
    const int64_t n = w->shape.dim[0], k = w->shape.dim[1];
    out->logits        = run(m, x, 0);
    out->distances     = out->logits ? run(m, x, 1) : NULL;
    out->contributions = out->distances ? epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(n, k)) : NULL;
    for (int64_t i = 0; out->contributions && i < n * k; i++)
        epl_tensor_set(out->contributions, i, epl_tensor_get(out->distances, i / k) * epl_tensor_get(w, i));
    if (!out->contributions) {
        epl_explanation_release(out);
        return false;
    }
    out->distances->shape = EPL_SHAPE(n); // one sample: the batch goes
    out->logits->shape    = EPL_SHAPE(k);
    return true;
}
