/* sparsity: how many weights are not zero, and what storage formats and sparse products would make of it. */
#include "compress/compress.h"

typedef struct layer_count {
    int64_t rows, nonzero; /* rows as sparse products store them: outputs */
    double  density;
} layer_count;

/* Zero where the weight or its mask is. */
static bool count_layer(const epl_model *m, const epl_layer *l, layer_count *out)
{
    const epl_tensor *w = epl_weights_find(m->weights, l->name), *mask = epl_mask_of(m->weights, l->name);
    if (!w || epl_tensor_count(w) != l->count || (mask && epl_tensor_count(mask) != l->count))
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' is missing in the weights or has another shape", l->name);
    *out = (layer_count){ .rows = epl_channels(l->weight) };
    for (int64_t i = 0; i < l->count; i++)
        out->nonzero += epl_tensor_get(w, i) != 0 && (!mask || epl_tensor_get(mask, i) != 0);
    out->density = (double)out->nonzero / (double)l->count;
    return true;
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
        out->macs_nonzero -= layers.items[i].macs * (1 - c.density);
    }
    out->parameters_nonzero = out->parameters - out->weights + out->nonzero;
    epl_weight_layers_release(&layers);
    return ok;
}

/* Bytes of z values of N in R rows, f32: dense, compressed rows with 4- and 2-byte columns, a bit for each and the values. */
typedef struct sizes {
    double dense, csr32, csr16, bitmap;
} sizes;

static sizes sizes_of(double n, double rows, double z)
{
    return (sizes){ 4 * n, 8 * z + 4 * (rows + 1), 6 * z + 4 * (rows + 1), 4 * z + n / 8 };
}

static void put_row(epl_table *t, const char *name, const char *shape, double n, double z, double macs, double sparse, sizes s)
{
    epl_table_row(t);
    epl_table_text(t, name);
    epl_table_text(t, shape);
    epl_table_number(t, n);
    epl_table_number(t, z);
    epl_table_number(t, n > 0 ? z / n : 1);
    epl_table_number(t, macs);
    epl_table_number(t, sparse);
    epl_table_number(t, s.dense);
    epl_table_number(t, s.csr32);
    epl_table_number(t, s.csr16);
    epl_table_number(t, s.bitmap);
}

static epl_table *headings(epl_context *ctx)
{
    epl_table *t = epl_table_new(ctx, "Sparsity");
    epl_table_column(t, "weight", (epl_column_opts){ 0 });
    epl_table_column(t, "shape", (epl_column_opts){ 0 });
    epl_table_column(t, "count", (epl_column_opts){ .format = EPL_FORMAT_PLAIN });
    epl_table_column(t, "not zero", (epl_column_opts){ .key = "nonzero" });
    epl_table_column(t, "density", (epl_column_opts){ .format = EPL_FORMAT_PERCENT });
    epl_table_column(t, "MACs", (epl_column_opts){ .key = "macs", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "MACs not zero", (epl_column_opts){ .key = "macs_nonzero", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "dense", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "CSR32", (epl_column_opts){ .key = "csr32", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "CSR16", (epl_column_opts){ .key = "csr16", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "bitmap", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    return t;
}

epl_table *epl_sparsity_report(const epl_model *m)
{
    epl_layers layers = { 0 };
    bool       ok = epl_weight_layers_find(m->graph, &layers);
    epl_table *t  = ok ? headings(m->ctx) : NULL;
    double n = 0, z = 0, macs = 0, sparse = 0;
    sizes  sum = { 0 };
    for (int i = 0; ok && i < layers.n; i++) {
        const epl_layer *l = &layers.items[i];
        layer_count c;
        char        shape[192];
        ok = count_layer(m, l, &c);
        if (!ok)
            break;
        const sizes s = sizes_of((double)l->count, (double)c.rows, (double)c.nonzero);
        put_row(t, l->name, epl_shape_text(shape, epl_shape_of(l->weight)), (double)l->count, (double)c.nonzero, l->macs,
                l->macs * c.density, s);
        n += (double)l->count, z += (double)c.nonzero, macs += l->macs, sparse += l->macs * c.density;
        sum = (sizes){ sum.dense + s.dense, sum.csr32 + s.csr32, sum.csr16 + s.csr16, sum.bitmap + s.bitmap };
    }
    if (ok) {
        epl_table_rule(t);
        put_row(t, "all", "", n, z, macs, sparse, sum);
    }
    epl_weight_layers_release(&layers);
    if (ok)
        return t;
    epl_table_free(t);
    return NULL;
}
