/* model: the one way in which verbs come to a model. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

const char *cli_batch_dim(const epl_graph *g, char out[64])
{
    out[0] = 0;
    for (int i = 0; i < epl_graph_n_inputs(g) && !*out; i++) {
        const char *dims = epl_attr_s(epl_producer(epl_graph_input_at(g, i)), "dims");
        dims += strspn(dims, ",");
        snprintf(out, 64, "%.*s", (int)strcspn(dims, ","), dims);
    }
    return out;
}

/* "batch=64,length=128": everything that d says, with the batch under its name. False if there is no such name. */
static bool dims_text(cli *c, const epl_graph *g, const cli_dims *d, epl_text *out)
{
    char batch[64];
    if (d->batch && !*cli_batch_dim(g, batch))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--batch: no input of '%s' has a named dimension", epl_graph_name(g));
    if (d->batch)
        epl_text_addf(out, "%s=%lld", batch, (long long)d->batch);
    for (int i = 0; i < d->named.n; i++) {
        const char *equals = strchr(d->named.at[i], '=');
        char       *end = NULL;
        if (!equals || equals == d->named.at[i] || strtoll(equals + 1, &end, 10) < 1 || *end)
            return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--dim is '%s', but must be NAME=SIZE", d->named.at[i]);
        epl_text_addf(out, "%s%s", out->length ? "," : "", d->named.at[i]);
    }
    return true;
}

/* Gives the dimensions of "batch=64,length=128" their sizes. */
static bool bind(cli *c, epl_graph *g, const char *dims)
{
    char name[128];
    for (const char *s = dims; *s; s += strcspn(s, ","), s += *s == ',') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(s, "="), s);
        if (!epl_graph_bind(g, name, strtoll(s + strcspn(s, "=") + 1, NULL, 10)))
            return epl_graph_failed(g) || epl_error_code(c->ctx) != EPL_OK
                       ? false
                       : epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no input of '%s' has a dimension named '%s'", epl_graph_name(g), name);
    }
    return true;
}

/* Named dimensions take their sizes from tensors by the names of inputs. */
static bool bind_to_inputs(epl_graph *g, const epl_weights *inputs)
{
    char name[128];
    for (int i = 0; inputs && i < epl_graph_n_inputs(g); i++) {
        const epl_value  *v = epl_graph_input_at(g, i);
        const epl_tensor *t = epl_weights_find(inputs, epl_value_name(v));
        const char       *dims = epl_attr_s(epl_producer(v), "dims");
        for (int k = 0; t && k < t->shape.rank && k < epl_rank(v); k++, dims += strcspn(dims, ","), dims += *dims == ',') {
            snprintf(name, sizeof name, "%.*s", (int)strcspn(dims, ","), dims);
            if (*name && t->shape.dim[k] != epl_dim(v, k) && !epl_graph_bind(g, name, t->shape.dim[k]))
                return false;
        }
    }
    return true;
}

/* A description of the zoo, if no file has this name; its weights are drawn with the seed. */
static epl_model *from_zoo(cli *c, const char *description)
{
    epl_model *m = epl_model_new_take(epl_zoo_build(c->ctx, description));
    if (m && epl_model_init(m, (uint64_t)c->seed))
        return m;
    epl_model_free(m);
    return NULL;
}

static bool names_the_zoo(const char *path)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(path, ":"), path);
    return !epl_file_exists(path) && epl_zoo_find(name);
}

/* Is every name in "batch=64,length=128" a dimension of an input? */
static bool has_dims(cli *c, const epl_graph *g, const char *dims)
{
    for (const char *s = dims; *s; s += strcspn(s, ","), s += *s == ',') {
        const size_t n = strcspn(s, "=");
        bool found = false;
        for (int i = 0; i < epl_graph_n_inputs(g); i++)
            for (const char *d = epl_attr_s(epl_producer(epl_graph_input_at(g, i)), "dims"); *d; d += strcspn(d, ","), d += *d == ',')
                found = found || (strcspn(d, ",") == n && strncmp(d, s, n) == 0);
        if (!found)
            return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no input of '%s' has a dimension named '%.*s'", epl_graph_name(g), (int)n, s);
    }
    return true;
}

/* Sizes may decide what an importer makes of a network, so it is read again with them. */
static epl_model *from_onnx(cli *c, const char *path, const cli_dims *d)
{
    epl_text      dims = EPL_TEXT(c->ctx);
    epl_onnx_opts o = { .inputs = d ? d->inputs : NULL };
    epl_model    *m = epl_onnx_load(c->ctx, path, o);
    if (m && d && (d->batch || d->named.n)) {
        const bool ok = dims_text(c, m->graph, d, &dims) && has_dims(c, m->graph, epl_text_str(&dims));
        epl_model_free(m);
        o.dims = epl_text_str(&dims);
        m = ok ? epl_onnx_load(c->ctx, path, o) : NULL;
    }
    epl_text_release(&dims);
    if (m && *epl_onnx_fixed_inputs(m))
        cli_remark(c, "%s: the values of %s were taken for good, shapes follow from them", path, epl_onnx_fixed_inputs(m));
    return m;
}

epl_model *cli_model_load(cli *c, const char *path, const cli_dims *d)
{
    if (ends_with(path, ".onnx"))
        return from_onnx(c, path, d);
    epl_text   dims = EPL_TEXT(c->ctx);
    epl_model *m = names_the_zoo(path) ? from_zoo(c, path) : epl_model_load(c->ctx, path);
    if (m && d && !(bind_to_inputs(m->graph, d->inputs) && dims_text(c, m->graph, d, &dims) && bind(c, m->graph, epl_text_str(&dims)))) {
        epl_model_free(m);
        m = NULL;
    }
    epl_text_release(&dims);
    return m;
}

bool cli_model_save(cli *c, const epl_model *m, const char *path)
{
    if (!epl_model_save(m, path))
        return false;
    cli_remark(c, "wrote %s", path);
    return true;
}
