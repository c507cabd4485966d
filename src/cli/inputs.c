/* inputs: see inputs.h. The files are those that the ONNX project's tests lie in, or NumPy's. */
#include "inputs.h"

#include <string.h>

static bool is_onnx(const char *path)
{
    const size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".onnx") == 0;
}

/* ---- files ---- */

epl_tensor *cli_numbered_tensor(cli *c, const char *dir, const char *stem, int i)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s_%d.npy", dir, stem, i);
    if (epl_file_exists(path))
        return epl_npy_load(c->ctx, path);
    snprintf(path, sizeof path, "%s/%s_%d.pb", dir, stem, i);
    return epl_file_exists(path) ? epl_onnx_tensor_load(c->ctx, path, NULL) : NULL;
}

/* The file for input i, of this name; characters that a file's name should not have are written as '_'. */
static epl_tensor *input_from(cli *c, const char *dir, const char *name, int i)
{
    char path[1024], plain[256];
    snprintf(plain, sizeof plain, "%.250s", name);
    for (char *s = plain; *s; s++)
        *s = *s == '/' || *s == ':' || (unsigned char)*s <= 32 ? '_' : *s;
    snprintf(path, sizeof path, "%s/%s.npy", dir, plain);
    epl_tensor *t = epl_file_exists(path) ? epl_npy_load(c->ctx, path) : cli_numbered_tensor(c, dir, "input", i);
    if (!t && epl_error_code(c->ctx) == EPL_OK)
        epl_fail(c->ctx, EPL_ERR_IO, "%s holds no file for the input '%s': %s.npy, input_%d.npy or input_%d.pb", dir, name, plain, i, i);
    return t;
}

/* The next of names, one a line; false at the end. */
static bool next_name(const char **names, char out[512])
{
    const size_t n = strcspn(*names, "\n");
    if (!**names)
        return false;
    snprintf(out, 512, "%.*s", (int)n, *names);
    *names += n + ((*names)[n] == '\n');
    return true;
}

static bool inputs_from(cli *c, const char *dir, const char *names, epl_weights *out)
{
    char name[512];
    for (int i = 0; next_name(&names, name); i++) {
        epl_tensor *t = input_from(c, dir, name, i);
        if (!t || !epl_weights_put_take(out, name, t))
            return false;
    }
    return true;
}

/* The names of a network's inputs, one a line. An ONNX file is not imported for it: its shapes may need the inputs. */
static char *input_names(cli *c, const char *path)
{
    if (is_onnx(path))
        return epl_onnx_input_names(c->ctx, path);
    epl_model *m = cli_model_load(c, path, NULL);
    epl_text   t = EPL_TEXT(c->ctx);
    epl_text_add(&t, "");
    for (int i = 0; m && i < epl_graph_n_inputs(m->graph); i++)
        epl_text_addf(&t, "%s\n", epl_value_name(epl_graph_input_at(m->graph, i)));
    char *names = m ? epl_text_detach(&t) : NULL;
    epl_text_release(&t);
    epl_model_free(m);
    return names;
}

/* Arrays often have another width than networks want: f64 for f32, i32 for i64. */
static bool fit_types(cli *c, const epl_graph *g, epl_weights *inputs)
{
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const epl_value  *v = epl_graph_input_at(g, i);
        const epl_tensor *t = epl_weights_find(inputs, epl_value_name(v));
        const epl_dtype   want = epl_dtype_of(v);
        if (!t || t->dtype == want || t->dtype == EPL_BOOL || want == EPL_BOOL || epl_dtype_is_float(t->dtype) != epl_dtype_is_float(want))
            continue;
        cli_remark(c, "input '%s' is %s, the network takes %s: converted", epl_value_name(v), epl_dtype_name(t->dtype),
                   epl_dtype_name(want));
        epl_tensor *cast = epl_tensor_cast(c->ctx, t, want);
        if (!cast || !epl_weights_put_take(inputs, epl_value_name(v), cast))
            return false;
    }
    return true;
}

/* ---- networks ---- */

static bool draw_inputs(cli *c, const epl_graph *g, epl_weights *inputs)
{
    bool ok = inputs != NULL;
    for (int i = 0; ok && i < epl_graph_n_inputs(g); i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        epl_tensor      *t = epl_tensor_new(c->ctx, epl_dtype_of(v), epl_shape_of(v));
        epl_rng          r = epl_rng_at((uint64_t)c->seed, (uint64_t)i);
        if (t)
            epl_tensor_draw(t, &r);
        ok = t && epl_weights_put_take(inputs, epl_value_name(v), t);
    }
    return ok;
}

epl_model *cli_inputs_load(cli *c, const char *path, cli_dims d, const char *dir, epl_weights **inputs)
{
    char *names = dir ? input_names(c, path) : NULL;
    *inputs = names || !dir ? epl_weights_new(c->ctx) : NULL;
    bool ok = *inputs && (!dir || inputs_from(c, dir, names, *inputs));
    epl_release(c->ctx, names);
    d.inputs = dir ? *inputs : NULL;
    epl_model *m = ok ? cli_model_load(c, path, &d) : NULL;
    if (m && (dir ? fit_types(c, m->graph, *inputs) : draw_inputs(c, m->graph, *inputs)))
        return m;
    epl_model_free(m);
    return NULL;
}

epl_model *cli_inputs_load_beside(cli *c, const char *path, cli_dims d, const epl_model *first, const epl_weights *inputs)
{
    char         name[512], *names = input_names(c, path);
    const char  *rest = names;
    epl_weights *own = names ? epl_weights_new(c->ctx) : NULL;
    bool         ok = own != NULL;
    for (int i = 0; ok && i < epl_graph_n_inputs(first->graph) && next_name(&rest, name); i++) {
        const epl_tensor *t = epl_weights_find(inputs, name);
        t = t ? t : epl_weights_find(inputs, epl_value_name(epl_graph_input_at(first->graph, i)));
        epl_tensor *copy = epl_tensor_copy(c->ctx, t);
        ok = copy && epl_weights_put_take(own, name, copy);
    }
    d.inputs = own;
    epl_model *m = ok ? cli_model_load(c, path, &d) : NULL;
    epl_weights_free(own);
    epl_release(c->ctx, names);
    return m;
}
