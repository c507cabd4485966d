/* nm_pack: weights that are n of m, stored as their values and where they stand. The network reads what UnpackNM
 * makes of the two, so that whoever loads the model needs to know nothing of it; programs unpack once. */
#include "compress/compress.h"

#include <espalier/ops.h>
#include <espalier/passes.h>

#include <stdio.h>
#include <string.h>

enum { NAME = 512 };
static const char metadata[] = "espalier.packed";

/* A weight as [outer, size, inner], groups along the middle. */
typedef struct matrix {
    const epl_tensor *t;
    int64_t outer, size, inner, stored;
    int     n, m;
} matrix;

static matrix matrix_of(const epl_tensor *t, int n, int m)
{
    const int rank = t->shape.rank;
    return (matrix){ t, epl_shape_count_from(t->shape, 0, rank - 2), t->shape.dim[rank - 2], t->shape.dim[rank - 1],
                     epl_nm_stored(t->shape.dim[rank - 2], n, m), n, m };
}

static bool is_zero(const matrix *w, int64_t o, int64_t c, int64_t i)
{
    return epl_tensor_get(w->t, (o * w->size + c) * w->inner + i) == 0;
}

/* Which of group g's elements are stored: those that are not 0, filled up with the first others. Returns how many are not 0. */
static int choose(const matrix *w, int64_t o, int64_t g, int64_t i, bool taken[256])
{
    const int64_t first = g * w->m, left = w->size - first < w->m ? w->size - first : w->m;
    int count = 0;
    for (int64_t k = 0; k < left; k++) {
        taken[k] = !is_zero(w, o, first + k, i);
        count += taken[k];
    }
    int room = (int)(left < w->n ? left : w->n) - count;
    for (int64_t k = 0; k < left && room > 0; k++)
        if (!taken[k]) {
            taken[k] = true;
            room--;
        }
    return count;
}

static bool fits(const matrix *w)
{
    bool taken[256];
    for (int64_t o = 0; o < w->outer; o++)
        for (int64_t g = 0; g * w->m < w->size; g++)
            for (int64_t i = 0; i < w->inner; i++)
                if (choose(w, o, g, i, taken) > w->n)
                    return false;
    return true;
}

static void fill(const matrix *w, epl_tensor *values, uint8_t *indices)
{
    const size_t bytes = epl_dtype_bytes(w->t->dtype);
    bool         taken[256];
    for (int64_t o = 0; o < w->outer; o++)
        for (int64_t g = 0; g * w->m < w->size; g++)
            for (int64_t i = 0; i < w->inner; i++) {
                int64_t at = (o * w->stored + g * w->n) * w->inner + i;
                choose(w, o, g, i, taken);
                for (int64_t k = 0; k < w->m && g * w->m + k < w->size; k++) {
                    if (!taken[k])
                        continue;
                    memcpy((char *)values->data + (size_t)at * bytes,
                           (const char *)w->t->data + (size_t)((o * w->size + g * w->m + k) * w->inner + i) * bytes, bytes);
                    indices[at] = (uint8_t)k;
                    at += w->inner;
                }
            }
}

static bool make_parts(const matrix *w, epl_tensor **values, epl_tensor **indices)
{
    epl_context *ctx  = w->t->ctx;
    const int    bits = epl_nm_index_bits(w->m);
    epl_shape    shape = w->t->shape;
    shape.dim[shape.rank - 2] = w->stored;
    const int64_t count = epl_shape_count(shape);
    uint8_t      *numbers = epl_alloc(ctx, (size_t)count + 1);
    *values  = epl_tensor_new(ctx, w->t->dtype, shape);
    *indices = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(epl_shift_packed_bytes(count, bits)));
    const bool ok = numbers && *values && *indices;
    if (ok) {
        fill(w, *values, numbers);
        epl_shift_pack_codes(numbers, count, bits, (*indices)->data);
    }
    epl_release(ctx, numbers);
    return ok;
}

/* The weight's name without ".weight": there a layer's nodes stand. */
static const char *scope_of(epl_graph *g, const char *name)
{
    const size_t n = strlen(name);
    char *scope = epl_arena_strdup(g->arena, name);
    if (scope && n > 7 && strcmp(name + n - 7, ".weight") == 0)
        scope[n - 7] = 0;
    return scope;
}

static bool pack_one(epl_model *m, epl_value *parameter, const matrix *w)
{
    epl_graph  *g = m->graph;
    epl_tensor *values = NULL, *indices = NULL;
    const char *name = epl_value_name(parameter);
    char        part[2][NAME];
    snprintf(part[0], NAME, "/%s.values", name);
    snprintf(part[1], NAME, "/%s.indices", name);
    bool ok = make_parts(w, &values, &indices);
    epl_node  *at = ok ? epl_graph_insert_before(g, parameter->producer) : NULL;
    epl_value *v[2] = { ok ? epl_state(g, part[0], values->dtype, values->shape, EPL_INIT_ZEROS, 0) : NULL,
                        ok ? epl_state(g, part[1], EPL_U8, indices->shape, EPL_INIT_ZEROS, 0) : NULL };
    epl_value *y = ok ? epl_unpack_nm(g, v[0], v[1], (epl_unpack_nm_opts){ .axis = -2, .n = w->n, .m = w->m, .size = w->size }) : NULL;
    if (at)
        epl_graph_insert_before(g, at);
    if (!y) {
        epl_tensor_free(values);
        epl_tensor_free(indices);
        return false;
    }
    y->producer->scope = scope_of(g, name);
    epl_replace(parameter, y);
    ok = epl_weights_put_take(m->weights, part[0] + 1, values);
    return epl_weights_put_take(m->weights, part[1] + 1, indices) && ok && y->producer->scope;
}

/* What nothing reads any more, and in the metadata how weights are stored. */
static bool tidy(epl_model *m, int n, int of)
{
    char text[256];
    epl_remove_dead(m->graph);
    for (int i = epl_weights_count(m->weights); i-- > 0;)
        if (!epl_graph_find(m->graph, epl_weights_name(m->weights, i)) && !epl_weights_remove(m->weights, epl_weights_name(m->weights, i)))
            return false;
    snprintf(
        text, sizeof text,
        "%d:%d of axis -2: <weight>.values, and in <weight>.indices for each of them its place in its group, %d bits, "
        "lowest first",
        n, of, epl_nm_index_bits(of));
    return epl_graph_finish(m->graph) && epl_weights_set_metadata(m->weights, metadata, text);
}

int epl_nm_pack(epl_model *m, epl_nm_opts o)
{
    epl_layers layers = { 0 };
    int        packed = 0;
    if (o.n < 1 || o.m <= o.n || o.m > 256)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT,
                        "%d of %d weights cannot be packed: at least 1, and fewer than all of at most 256", o.n, o.m),
               -1;
    bool ok = epl_bake(m) && epl_weight_layers_find(m->graph, &layers) && epl_weight_layers_choose(&layers, o.pattern, o.skip);
    for (int i = 0; ok && i < layers.n; i++) {
        const epl_layer  *l = &layers.items[i];
        const epl_tensor *t = epl_weights_find(m->weights, l->name);
        if (!t || l->read != l->weight || (l->kind != EPL_LAYER_CONV && l->kind != EPL_LAYER_LINEAR))
            continue;
        const matrix w = matrix_of(t, o.n, o.m);
        if (w.size < o.m || !fits(&w))
            continue;
        ok = pack_one(m, l->weight, &w);
        packed++;
    }
    epl_weight_layers_release(&layers);
    return ok && (packed == 0 || tidy(m, o.n, o.m)) ? packed : -1;
}

/* The weight itself again. */
static bool unpack_one(epl_model *m, epl_node *n, const char *values)
{
    const epl_tensor *in[2] = { epl_weights_find(m->weights, values), epl_weights_find(m->weights, epl_value_name(n->inputs[1])) };
    epl_tensor *t = in[0] && in[1] ? epl_tensor_new(m->ctx, n->outputs[0]->dtype, n->outputs[0]->shape) : NULL;
    char        name[NAME];
    if (!in[0] || !in[1])
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' or its indices are missing in the weights", values);
    if (!t || !epl_evaluate_node(n, in, &t)) {
        epl_tensor_free(t);
        return false;
    }
    snprintf(name, sizeof name, "/%.*s", (int)(strlen(values) - 7), values);
    epl_node  *at = epl_graph_insert_before(m->graph, n);
    epl_value *p  = epl_parameter(m->graph, name, t->dtype, t->shape, EPL_INIT_ZEROS, 0);
    epl_graph_insert_before(m->graph, at);
    if (!p) {
        epl_tensor_free(t);
        return false;
    }
    epl_replace(n->outputs[0], p);
    return epl_weights_put_take(m->weights, name + 1, t) && epl_weights_remove(m->weights, values) &&
           epl_weights_remove(m->weights, epl_value_name(n->inputs[1]));
}

int epl_nm_unpack(epl_model *m)
{
    int count = 0;
    for (epl_node *n = m->graph->first, *next; n; n = next) {
        next = n->next;
        const char *values = EPL_IS(n, unpack_nm) && EPL_IS(n->inputs[0]->producer, state) ? epl_value_name(n->inputs[0]) : NULL;
        if (!values || !epl_glob("*.values", values))
            continue;
        if (!unpack_one(m, n, values))
            return -1;
        count++;
    }
    epl_remove_dead(m->graph);
    return epl_graph_finish(m->graph) && (count == 0 || epl_weights_set_metadata(m->weights, metadata, NULL)) ? count : -1;
}
