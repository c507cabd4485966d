/* sparsity: how many weights are not zero, and what storage formats and sparse products would make of it. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

typedef struct layer_count {
    int64_t rows, nonzero; /* rows as sparse products store them: outputs */
    int64_t empty_rows, empty_columns;
    int64_t blocks;        /* of 4 x 4, outputs by what they read, with something in them */
    int     n;             /* the most of 4 consecutive input channels */
    double  density;
} layer_count;

enum { BLOCK = 4 };

/* Of the weight as a matrix [what is read, outputs], tap by tap: nonzero is its map. */
static bool count_patterns(epl_context *ctx, epl_shape s, const unsigned char *nonzero, layer_count *c)
{
    const int64_t outputs = s.dim[s.rank - 1], inputs = s.dim[s.rank - 2], rows = epl_shape_count(s) / outputs;
    const int64_t across = (outputs + BLOCK - 1) / BLOCK;
    unsigned char *out = epl_alloc_array(ctx, (size_t)outputs, 1), *in = epl_alloc_array(ctx, (size_t)inputs, 1);
    unsigned char *block = epl_alloc_array(ctx, (size_t)across, 1);
    const bool ok = out && in && block;
    for (int64_t r = 0; ok && r < rows; r++) {
        if (r % BLOCK == 0)
            memset(block, 0, (size_t)across);
        for (int64_t o = 0; o < outputs; o++) {
            if (!nonzero[r * outputs + o])
                continue;
            out[o] = in[r % inputs] = 1;
            c->blocks += !block[o / BLOCK];
            block[o / BLOCK] = 1;
        }
        for (int64_t o = 0; r % inputs % 4 == 0 && o < outputs; o++) {
            int n = 0;
            for (int64_t k = 0; k < 4 && r % inputs + k < inputs; k++)
                n += nonzero[(r + k) * outputs + o];
            c->n = n > c->n ? n : c->n;
        }
    }
    for (int64_t o = 0; ok && o < outputs; o++)
        c->empty_rows += !out[o];
    for (int64_t i = 0; ok && i < inputs; i++)
        c->empty_columns += !in[i];
    epl_release(ctx, out);
    epl_release(ctx, in);
    epl_release(ctx, block);
    return ok;
}

/* Zero where the weight or its mask is. */
static bool count_layer(const epl_model *m, const epl_layer *l, layer_count *out)
{
    const epl_tensor *w = epl_weights_find(m->weights, l->name), *mask = epl_mask_of(m->weights, l->name);
    if (!w || epl_tensor_count(w) != l->count || (mask && epl_tensor_count(mask) != l->count))
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' is missing in the weights or has another shape", l->name);
    *out = (layer_count){ .rows = epl_channels(l->weight) };
    unsigned char *map = epl_alloc_array(m->ctx, (size_t)l->count, 1);
    for (int64_t i = 0; map && i < l->count; i++) {
        map[i] = epl_tensor_get(w, i) != 0 && (!mask || epl_tensor_get(mask, i) != 0);
        out->nonzero += map[i];
    }
    out->density = (double)out->nonzero / (double)l->count;
    const bool ok = map && count_patterns(m->ctx, epl_shape_of(l->weight), map, out);
    epl_release(m->ctx, map);
    return ok;
}

bool epl_sparsity_of(const epl_model *m, epl_sparsity *out)
{
    epl_layers layers = { 0 };
    bool ok = epl_weight_layers_find(m->graph, &layers);
    *out = (epl_sparsity){ .parameters = epl_graph_n_parameters(m->graph), .macs = epl_graph_cost(m->graph).macs };
    out->macs_nonzero = out->macs;
    for (int i = 0; ok && i < layers.n; i++) {
        layer_count c;
        ok = count_layer(m, &layers.items[i], &c);
        if (!ok)
            break;
        out->weights += layers.items[i].count;
        out->nonzero += c.nonzero;
        out->empty_rows += c.empty_rows;
        out->empty_columns += c.empty_columns;
        out->macs_nonzero -= layers.items[i].macs * (1 - c.density);
    }
    out->parameters_nonzero = out->parameters - out->weights + out->nonzero;
    epl_weight_layers_release(&layers);
    return ok;
}

/* Bytes of the formats, of f32. */
enum { DENSE, CSR32, CSR16, BITMAP, BCSR, PACKED, DELTA, N_FORMATS };

typedef struct sizes {
    double bytes[N_FORMATS];
} sizes;

static sizes sizes_of(double n, const layer_count *c)
{
    const double z = (double)c->nonzero, rows = (double)c->rows, b = (double)c->blocks;
    return (sizes){ { [DENSE] = 4 * n, [CSR32] = 8 * z + 4 * (rows + 1), [CSR16] = 6 * z + 4 * (rows + 1), [BITMAP] = 4 * z + n / 8,
                      [BCSR] = 4 * b * BLOCK * BLOCK + 4 * b + 4 * (ceil(rows / BLOCK) + 1), [PACKED] = n / 4 * (4 * c->n + c->n * 2 / 8.0),
                      [DELTA] = 12 * z + 8 * rows } };
}

static void put_row(epl_table *t, const char *name, const char *shape, double n, const layer_count *c, double macs, double sparse, sizes s)
{
    epl_table_row(t);
    epl_table_text(t, name);
    epl_table_text(t, shape);
    epl_table_number(t, n);
    epl_table_number(t, (double)c->nonzero);
    epl_table_number(t, n > 0 ? (double)c->nonzero / n : 1);
    epl_table_integer(t, c->empty_rows);
    epl_table_integer(t, c->empty_columns);
    epl_table_number(t, macs);
    epl_table_number(t, sparse);
    for (int i = 0; i < N_FORMATS; i++)
        epl_table_number(t, s.bytes[i]);
}

static epl_table *headings(epl_context *ctx)
{
    epl_table *t = epl_table_new(ctx, "Sparsity");
    epl_table_column(t, "weight", (epl_column_opts){ 0 });
    epl_table_column(t, "shape", (epl_column_opts){ 0 });
    epl_table_column(t, "count", (epl_column_opts){ .format = EPL_FORMAT_PLAIN });
    epl_table_column(t, "not zero", (epl_column_opts){ .key = "nonzero" });
    epl_table_column(t, "density", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "empty rows", (epl_column_opts){ .key = "empty_rows" });
    epl_table_column(t, "columns", (epl_column_opts){ .key = "empty_columns" });
    epl_table_column(t, "MACs", (epl_column_opts){ .key = "macs", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "MACs not zero", (epl_column_opts){ .key = "macs_nonzero", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "dense", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "CSR32", (epl_column_opts){ .key = "csr32", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "CSR16", (epl_column_opts){ .key = "csr16", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "bitmap", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "4x4 blocks", (epl_column_opts){ .key = "bcsr", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "n:4", (epl_column_opts){ .key = "packed", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "delta", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    return t;
}

epl_table *epl_sparsity_report(const epl_model *m)
{
    epl_layers layers = { 0 };
    bool       ok = epl_weight_layers_find(m->graph, &layers);
    epl_table *t  = ok ? headings(m->ctx) : NULL;
    layer_count total = { 0 };
    double n = 0, macs = 0, sparse = 0;
    sizes  sum = { { 0 } };
    for (int i = 0; ok && i < layers.n; i++) {
        const epl_layer *l = &layers.items[i];
        layer_count c;
        char        shape[192];
        ok = count_layer(m, l, &c);
        if (!ok)
            break;
        const sizes s = sizes_of((double)l->count, &c);
        put_row(t, l->name, epl_shape_text(shape, epl_shape_of(l->weight)), (double)l->count, &c, l->macs, l->macs * c.density, s);
        n += (double)l->count, macs += l->macs, sparse += l->macs * c.density;
        total.nonzero += c.nonzero, total.empty_rows += c.empty_rows, total.empty_columns += c.empty_columns;
        for (int k = 0; k < N_FORMATS; k++)
            sum.bytes[k] += s.bytes[k];
    }
    if (ok) {
        epl_table_rule(t);
        put_row(t, "all", "", n, &total, macs, sparse, sum);
    }
    epl_weight_layers_release(&layers);
    if (ok)
        return t;
    epl_table_free(t);
    return NULL;
}
