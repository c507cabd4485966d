/* export: a model into an ONNX file. The graph is copied, rewritten for the opset (export_rewrite.c) and written node by node in
 * the order of execution; export_values.c keeps track of the order of axes. Updates are left out: the file computes inference. */
#include "onnx/export.h"
#include "onnx/file.h"

#include <espalier/passes.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST = 13, NEWEST = 21, DEFAULT_OPSET = 21, EXTERNAL_LEAST = 1024, EXTERNAL_ALIGN = 64 };

#define FILE_LIMIT ((size_t)2000 << 20) /* protobuf's is 2 GiB */

/* ---- operators --------------------------------------------------------------------------------------------------- */
const onnx_export_op *onnx_export_find(const epl_op *op)
{
    static const onnx_export_op *const lists[] = { onnx_export_simple, onnx_export_shapes, onnx_export_layers, onnx_export_control,
                                                   onnx_export_counted };
    for (size_t i = 0; i < EPL_COUNT(lists); i++)
        for (const onnx_export_op *e = lists[i]; e->op; e++)
            if (e->op == op)
                return e;
    return NULL;
}

bool onnx_refuse(const epl_node *n, const char *format, ...)
{
    char    sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return epl_fail(n->graph->ctx, EPL_ERR_UNSUPPORTED, "%s '%s' has no ONNX form: %s", n->op->name, n->scope ? n->scope : "", sentence);
}

static bool emit_node(onnx_export *x, const epl_node *n)
{
    if (n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK))
        return true;
    const onnx_export_op *e = onnx_export_find(n->op);
    if (!e)
        return onnx_refuse(n, "ONNX does not know this operator (export the model, not a training step)");
    return e->emit(x, n) && epl_error_code(x->ctx) == EPL_OK;
}

bool onnx_emit_graph(onnx_export *x, epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next)
        if (!emit_node(x, n))
            return false;
    return true;
}

/* ---- the copy ---------------------------------------------------------------------------------------------------- */

/* Calls f for each name in "a,b,,a" once per occurrence. */
static bool each_dim(const epl_graph *g, bool (*f)(onnx_export *, const char *), onnx_export *x)
{
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const char *s = epl_attr_s(epl_graph_input_at(g, i)->producer, "dims");
        for (; s && *s; s += *s == ',') {
            char         name[128];
            const size_t n = strcspn(s, ",");
            snprintf(name, sizeof name, "%.*s", (int)n, s);
            s += n;
            if (*name && *name != '|' && !f(x, name))
                return false;
        }
    }
    return true;
}

static int64_t size_of_dim(const epl_graph *g, const char *name)
{
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        const char      *s = epl_attr_s(v->producer, "dims");
        for (int k = 0; s && *s && k < v->shape.rank; k++) {
            const size_t n = strcspn(s, ",");
            if (n == strlen(name) && strncmp(s, name, n) == 0)
                return v->shape.dim[k];
            s += n + (s[n] == ',');
        }
    }
    return -1;
}

/* In the probe the dimension is larger; where the graph does not allow that, its size is fixed in the file. */
static bool enlarge(onnx_export *x, const char *name)
{
    const int64_t now = size_of_dim(x->graph, name);
    if (size_of_dim(x->probe, name) != now)
        return true;
    epl_graph *larger = epl_graph_copy(x->probe);
    if (!larger)
        return false;
    static const int64_t steps[] = { 7, 11, 13, 17, 19, 23 }; // so that two names do not grow alike
    if (epl_graph_bind(larger, name, now + steps[strlen(name) % EPL_COUNT(steps)])) {
        epl_graph_free(x->probe);
        x->probe = larger;
        return true;
    }
    epl_error_clear(x->ctx);
    epl_graph_free(larger);
    return true;
}

/* "batch=8,length=20" */
static bool bind_all(epl_context *ctx, epl_graph *g, const char *dims, char bound[512])
{
    snprintf(bound, 512, ",");
    for (const char *s = dims; s && *s; s += *s == ',') {
        char         pair[160], *end;
        const size_t n = strcspn(s, ",");
        snprintf(pair, sizeof pair, "%.*s", (int)n, s);
        s += n;
        char         *equals = strchr(pair, '=');
        const int64_t size = equals ? strtoll(equals + 1, &end, 10) : 0;
        if (!equals || equals[1] == 0 || *end || size < 1)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "dims: '%s' is not of the form name=size", pair);
        *equals = 0;
        if (!epl_graph_bind(g, pair, size))
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "dims: no input names the dimension '%s'", pair);
        snprintf(bound + strlen(bound), 512 - strlen(bound), "%s,", pair);
    }
    return true;
}

typedef struct fixed_dims {
    onnx_export x;
    char        names[512];
} fixed_dims;

static bool enlarge_free(onnx_export *x, const char *name)
{
    char key[160];
    snprintf(key, sizeof key, ",%s,", name);
    return strstr(((fixed_dims *)x)->names, key) || enlarge(x, name);
}

/* The graph as it is written, and its probe. */
static bool prepare(fixed_dims *f, const epl_model *m, const char *dims)
{
    onnx_export *x = &f->x;
    x->graph = epl_graph_copy(m->graph);
    if (!x->graph || !bind_all(x->ctx, x->graph, dims, f->names) || !epl_lower_exits(x->graph))
        return false;
    for (epl_node *n = x->graph->first, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, update))
            epl_node_remove(n);
    }
    epl_remove_dead(x->graph);
    if (!onnx_rewrite(x->graph, x->opset))
        return false;
    epl_remove_dead(x->graph);
    x->probe = epl_graph_copy(x->graph);
    return x->probe && each_dim(x->graph, enlarge_free, x);
}

static bool place_values(onnx_export *x, epl_graph *g)
{
    for (epl_node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_outputs; i++)
            if (!(n->outputs[i]->mark = onnx_alloc(x, sizeof(onnx_place))))
                return false;
        for (int i = 0; i < n->n_regions; i++)
            if (!place_values(x, n->regions[i]))
                return false;
    }
    return true;
}

/* ---- inputs and outputs ------------------------------------------------------------------------------------------ */
static bool name_ends(onnx_export *x)
{
    for (int i = 0; i < epl_graph_n_inputs(x->graph); i++) {
        epl_value *v = epl_graph_input_at(x->graph, i);
        onnx_at(v)->plain = onnx_unique(x, "%s", epl_value_name(v));
        if (!onnx_push(x, &x->main->input, &x->main->n_input,
                       onnx_value_info(x, onnx_at(v)->plain, v, epl_graph_input_at(x->probe, i))))
            return false;
    }
    for (int i = 0; i < epl_graph_n_outputs(x->graph); i++) {
        epl_value  *v = epl_graph_output_at(x->graph, i);
        const char *name = onnx_unique(x, "%s", epl_graph_output_name(x->graph, i));
        if (!onnx_push(x, &x->main->output, &x->main->n_output, onnx_value_info(x, name, v, epl_graph_output_at(x->probe, i))))
            return false;
        if (!onnx_at(v)->wanted && !(v->producer->op->flags & EPL_OP_SOURCE))
            onnx_at(v)->wanted = name;
    }
    return true;
}

/* Outputs in their plain form; one that is an input, a weight, or another output besides, by an Identity. */
static bool emit_outputs(onnx_export *x)
{
    const epl_node *n = x->graph->last;
    for (int i = 0; n && i < epl_graph_n_outputs(x->graph); i++) {
        const char *name = x->main->output[i]->name, *plain = onnx_plain(x, n, epl_graph_output_at(x->graph, i));
        if (!plain)
            return false;
        if (strcmp(plain, name) == 0)
            continue;
        Onnx__NodeProto *p = onnx_begin(x, n, "Identity");
        onnx_arg(x, p, plain);
        if (!p || !onnx_push(x, &p->output, &p->n_output, (char *)(uintptr_t)name))
            return false;
    }
    return epl_error_code(x->ctx) == EPL_OK;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */
typedef struct file_buffer {
    ProtobufCBuffer base;
    epl_writer     *writer;
} file_buffer;

static void append(ProtobufCBuffer *b, size_t n, const uint8_t *data)
{
    epl_writer_write(((file_buffer *)b)->writer, data, n);
}

static bool pack(onnx_export *x, const Onnx__ModelProto *m, const char *path)
{
    file_buffer b = { .base = { .append = append }, .writer = epl_writer_open(x->ctx, path) };
    if (!b.writer)
        return false;
    protobuf_c_message_pack_to_buffer(&m->base, &b.base);
    return epl_writer_commit(b.writer);
}

static bool external_entry(onnx_export *x, Onnx__TensorProto *t, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *e = onnx_alloc(x, sizeof *e);
    if (!e)
        return false;
    onnx__string_string_entry_proto__init(e);
    e->key   = (char *)(uintptr_t)key;
    e->value = epl_arena_strdup(x->arena, value);
    return e->value && onnx_push(x, &t->external_data, &t->n_external_data, e);
}

/* Large tensors go to `<path>.data`; the file keeps where. */
static bool write_external(onnx_export *x, const char *path)
{
    static const char zeros[EXTERNAL_ALIGN];
    char        name[4096], number[32];
    size_t      at = 0;
    const char *slash = strrchr(path, '/');
    snprintf(name, sizeof name, "%s.data", path);
    epl_writer *w = epl_writer_open(x->ctx, name);
    bool        ok = w != NULL;
    for (size_t i = 0; ok && i < x->main->n_initializer; i++) {
        Onnx__TensorProto *t = x->main->initializer[i];
        const size_t       bytes = t->raw_data.len, pad = (EXTERNAL_ALIGN - at % EXTERNAL_ALIGN) % EXTERNAL_ALIGN;
        if (bytes < EXTERNAL_LEAST)
            continue;
        epl_writer_write(w, zeros, pad);
        epl_writer_write(w, t->raw_data.data, bytes);
        snprintf(number, sizeof number, "%zu", at + pad);
        ok = external_entry(x, t, "location", slash ? name + (slash + 1 - path) : name) && external_entry(x, t, "offset", number);
        snprintf(number, sizeof number, "%zu", bytes);
        ok = ok && external_entry(x, t, "length", number);
        at += pad + bytes;
        t->has_raw_data      = false;
        t->raw_data          = (ProtobufCBinaryData){ 0, NULL };
        t->has_data_location = true;
        t->data_location     = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    }
    if (!ok)
        epl_writer_abandon(w);
    return ok && epl_writer_commit(w);
}

static void add_metadata(onnx_export *x, Onnx__ModelProto *m, const char *key, const epl_text *value)
{
    Onnx__StringStringEntryProto *e = value->length ? onnx_alloc(x, sizeof *e) : NULL;
    if (!e)
        return;
    onnx__string_string_entry_proto__init(e);
    e->key   = (char *)(uintptr_t)key;
    e->value = (char *)(uintptr_t)epl_text_str(value);
    onnx_push(x, &m->metadata_props, &m->n_metadata_props, e);
}

static bool write_model(onnx_export *x, const char *path, bool external)
{
    static const int64_t ir_versions[] = { 7, 7, 8, 8, 8, 8, 9, 9, 10 }; /* of opsets 13 to 21 */
    Onnx__ModelProto     model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = { &opset };
    char   domain[] = "", producer[] = "espalier";
    size_t bytes = 0;
    opset.domain        = domain;
    opset.has_version   = true;
    opset.version       = x->opset;
    model.has_ir_version = true;
    model.ir_version    = ir_versions[x->opset - OLDEST];
    model.producer_name = producer;
    model.n_opset_import = 1;
    model.opset_import  = opsets;
    model.graph         = x->main;
    add_metadata(x, &model, ONNX_STATES_KEY, &x->states);
    add_metadata(x, &model, ONNX_PARAMETERS_KEY, &x->parameters);
    if (epl_error_code(x->ctx) != EPL_OK)
        return false;
    for (size_t i = 0; i < x->main->n_initializer; i++)
        bytes += x->main->initializer[i]->raw_data.len;
    if ((external || bytes > FILE_LIMIT) && !write_external(x, path))
        return false;
    return pack(x, &model, path);
}

static void release(onnx_export *x)
{
    for (size_t i = 0; i < x->n_turned; i++)
        epl_tensor_free(x->turned[i]);
    epl_release(x->ctx, x->turned);
    epl_symbols_release(x->ctx, &x->names);
    epl_symbols_release(x->ctx, &x->constants);
    epl_text_release(&x->states);
    epl_text_release(&x->parameters);
    epl_graph_free(x->graph);
    epl_graph_free(x->probe);
    epl_arena_free(x->arena);
}

bool epl_onnx_export(const epl_model *m, const char *path, epl_onnx_export_opts o)
{
    fixed_dims   f = { .x = { .ctx = m->ctx, .weights = m->weights, .opset = o.opset ? o.opset : DEFAULT_OPSET } };
    onnx_export *x = &f.x;
    if (x->opset < OLDEST || x->opset > NEWEST)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "opset %d cannot be written; %d to %d can", x->opset, OLDEST, NEWEST);
    x->states = x->parameters = EPL_TEXT(m->ctx);
    x->arena = epl_arena_new(m->ctx);
    x->main  = x->arena ? onnx_alloc(x, sizeof *x->main) : NULL;
    bool ok = x->main && prepare(&f, m, o.dims);
    if (ok) {
        onnx__graph_proto__init(x->main);
        x->main->name = epl_arena_strdup(x->arena, epl_graph_name(x->graph));
        x->body       = x->main;
        ok = place_values(x, x->graph) && name_ends(x) && onnx_emit_graph(x, x->graph) && emit_outputs(x) &&
             write_model(x, path, o.external_data);
    }
    release(x);
    return ok;
}
