/* shift_codes: weights that are powers of two as codes - of variables while they are trained, packed into few bits
 * afterwards - and how often each value occurs. */
#include "compress/compress.h"

#include <espalier/ops.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME = 1024 };

/* The variables of a dense shift weight: their number (exponents), by the sign's name. */
int epl_shift_exponents(const epl_weights *w, const char *sign, const epl_tensor **e)
{
    char name[NAME];
    int  n = 0;
    const int stem = (int)strlen(sign) - 5;
    while (n < EPL_SHIFT_VARIABLES) {
        snprintf(name, sizeof name, "%.*s.exponent%d", stem, sign, n + 1);
        e[n] = epl_weights_find(w, name);
        if (!e[n])
            break;
        n++;
    }
    return n;
}

bool epl_is_shift_sign(const char *name)
{
    const size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".sign") == 0;
}

bool epl_is_shift_variable(const epl_graph *g, const char *name)
{
    static const char parts[] = "*.sign,*.dense,*.shift,*.exponent?";
    const char *dot = strrchr(name, '.');
    char        sign[NAME], other[NAME];
    if (!dot || !epl_glob(parts, name))
        return false;
    snprintf(sign, sizeof sign, "%.*s.sign", (int)(dot - name), name);
    snprintf(other, sizeof other, "%.*s.exponent1", (int)(dot - name), name);
    const bool exponents = epl_graph_find(g, other) != NULL;
    snprintf(other, sizeof other, "%.*s.shift", (int)(dot - name), name);
    return epl_graph_find(g, sign) && (exponents || epl_graph_find(g, other));
}

/* Highest bit the sign, below it the exponent. */
void epl_shift_fill_codes(const epl_tensor *sign, const epl_tensor *const *e, int n, int bits, uint8_t *codes)
{
    for (int64_t i = 0; i < epl_tensor_count(sign); i++) {
        int s = 0;
        for (int t = 0; t < n; t++)
            s = ((const float *)e[t]->data)[i] > 0 ? s + 1 : 0;
        codes[i] = (uint8_t)((((const float *)sign->data)[i] < 0) << (bits - 1) | s);
    }
}

static int bits_for(int exponents) { return exponents == 1 ? 2 : exponents == 3 ? 3 : exponents == 7 ? 4 : 0; }

int64_t epl_shift_codes(const epl_weights *w, uint8_t *codes)
{
    int64_t n = 0;
    for (int i = 0; i < epl_weights_count(w); i++) {
        const char       *name = epl_weights_name(w, i);
        const epl_tensor *t = epl_weights_at(w, i), *e[EPL_SHIFT_VARIABLES];
        const int count = epl_is_shift_sign(name) && strncmp(name, "train.", 6) != 0 && strncmp(name, "ema.", 4) != 0
                              ? epl_shift_exponents(w, name, e)
                              : 0;
        if (!bits_for(count))
            continue;
        if (codes)
            epl_shift_fill_codes(t, e, count, 8, codes + n);
        n += epl_tensor_count(t);
    }
    return n;
}

/* The packed codes in the place of one reparameterised weight. */
static bool pack_one(epl_model *m, epl_node *call)
{
    const char       *sign = epl_value_name(call->inputs[0]);
    const epl_tensor *t = epl_weights_find(m->weights, sign), *e[EPL_SHIFT_VARIABLES];
    const int         n = t ? epl_shift_exponents(m->weights, sign, e) : 0, bits = bits_for(n);
    char name[NAME];
    if (!bits)
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "the variables of '%s' are missing in the weights", sign);
    const int64_t count = epl_tensor_count(t), bytes = epl_shift_packed_bytes(count, bits);
    uint8_t      *codes = epl_alloc(m->ctx, (size_t)count + 1);
    epl_tensor   *packed = epl_tensor_new(m->ctx, EPL_U8, EPL_SHAPE(bytes));
    if (!codes || !packed) {
        epl_release(m->ctx, codes);
        epl_tensor_free(packed);
        return false;
    }
    epl_shift_fill_codes(t, e, n, bits, codes);
    epl_shift_pack_codes(codes, count, bits, packed->data);
    epl_release(m->ctx, codes);
    snprintf(name, sizeof name, "/%.*s.codes", (int)strlen(sign) - 5, sign);
    epl_node  *at = epl_graph_insert_before(m->graph, call);
    epl_value *v  = epl_shift_weight(m->graph, epl_state(m->graph, name, EPL_U8, EPL_SHAPE(bytes), EPL_INIT_ZEROS, 0), bits, t->shape);
    epl_graph_insert_before(m->graph, at);
    if (!v) {
        epl_tensor_free(packed);
        return false;
    }
    epl_replace(call->outputs[0], v);
    return epl_weights_put_take(m->weights, name + 1, packed);
}

static bool is_shift_call(const epl_node *n)
{
    return EPL_IS(n, custom_gradient) && n->n_outputs == 1 && EPL_IS(n->inputs[0]->producer, parameter) &&
           epl_is_shift_sign(epl_value_name(n->inputs[0]));
}

int epl_shift_pack(epl_model *m)
{
    int packed = 0;
    for (epl_node *n = m->graph->first, *next; n; n = next) {
        next = n->next;
        if (!is_shift_call(n))
            continue;
        if (!pack_one(m, n))
            return -1;
        packed++;
    }
    epl_remove_dead(m->graph);
    for (int i = epl_weights_count(m->weights); packed && i-- > 0;)
        if (!epl_graph_find(m->graph, epl_weights_name(m->weights, i)) && !epl_weights_remove(m->weights, epl_weights_name(m->weights, i)))
            return -1;
    return epl_graph_failed(m->graph) ? -1 : packed;
}

/* ---- how often each value occurs ---- */

/* The codes of a weight, a byte each (sign * 128 + exponent), of the node that computes it; NULL if it is none, or
 * without memory. */
static uint8_t *codes_of(const epl_model *m, const epl_node *n, int64_t *count, int *bits, const char **name)
{
    const epl_tensor *e[EPL_SHIFT_VARIABLES], *t;
    uint8_t *codes = NULL;
    if (!EPL_IS(n, shift_weight) && !is_shift_call(n))
        return NULL;
    *name = epl_value_name(n->inputs[0]);
    t = *name ? epl_weights_find(m->weights, *name) : NULL;
    const int exponents = t && !EPL_IS(n, shift_weight) ? epl_shift_exponents(m->weights, *name, e) : 0;
    *bits  = EPL_IS(n, shift_weight) ? (int)epl_attr_i(n, "bits") : bits_for(exponents);
    *count = epl_shape_count(n->outputs[0]->shape);
    if (t && *bits)
        codes = epl_alloc(m->ctx, (size_t)*count + 1);
    if (codes && exponents)
        epl_shift_fill_codes(t, e, exponents, 8, codes);
    for (int64_t i = 0; codes && !exponents && i < *count; i++) {
        const int64_t  at = i * *bits;
        const uint8_t *p = (const uint8_t *)t->data + at / 8;
        const unsigned code = (p[0] | (at % 8 + *bits > 8 ? (unsigned)p[1] << 8 : 0)) >> at % 8 & ((1u << *bits) - 1);
        codes[i] = (uint8_t)((code >> (*bits - 1)) << 7 | (code & ((1u << (*bits - 1)) - 1)));
    }
    return codes;
}

static void add_report_row(epl_table *t, const char *name, int bits, int64_t count, const uint8_t *codes)
{
    double of[2][EPL_SHIFT_VARIABLES + 1] = { { 0 } }, entropy = 0, negative = 0;
    for (int64_t i = 0; i < count; i++)
        of[codes[i] >> 7][codes[i] & 7] += 1.0 / (double)count;
    for (int s = 0; s < 2; s++)
        for (int e = 0; e <= EPL_SHIFT_VARIABLES; e++) {
            entropy -= of[s][e] > 0 ? of[s][e] * log2(of[s][e]) : 0;
            negative += s ? of[s][e] : 0;
        }
    epl_table_row(t);
    epl_table_text(t, name);
    epl_table_number(t, bits);
    epl_table_number(t, (double)count);
    epl_table_number(t, negative);
    for (int e = 0; e <= EPL_SHIFT_VARIABLES; e++)
        epl_table_number(t, of[0][e] + of[1][e]);
    epl_table_number(t, entropy);
}

epl_table *epl_shift_report(const epl_model *m)
{
    static const char *const values[] = { "1", "2", "4", "8", "16", "32", "64", "128" };
    epl_table *t = epl_table_new(m->ctx, NULL);
    epl_table_column(t, "weight", (epl_column_opts){ 0 });
    epl_table_column(t, "bits", (epl_column_opts){ 0 });
    epl_table_column(t, "weights", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "negative", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    for (size_t i = 0; i < EPL_COUNT(values); i++)
        epl_table_column(t, values[i], (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "entropy", (epl_column_opts){ .format = EPL_FORMAT_FIXED });
    for (const epl_node *n = m->graph->first; n; n = n->next) {
        int64_t     count;
        int         bits;
        const char *name;
        uint8_t    *codes = codes_of(m, n, &count, &bits, &name);
        char        stem[NAME];
        if (!codes)
            continue;
        snprintf(stem, sizeof stem, "%.*s", (int)(strrchr(name, '.') - name), name);
        add_report_row(t, stem, bits, count, codes);
        epl_release(m->ctx, codes);
    }
    return t;
}
