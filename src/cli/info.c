/* info: what a network is and what it takes, before anything runs. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* ---- layers: nodes in a row that share a scope ---- */

typedef struct layer {
    const char *scope;
    char        ops[96], shape[192];
    int64_t     parameters;
    double      macs, bytes;
} layer;

static bool is_op(const epl_node *n, const char *name) { return strcmp(epl_node_op_name(n), name) == 0; }

static bool is_source(const epl_node *n)
{
    return is_op(n, "Parameter") || is_op(n, "State") || is_op(n, "Constant") || is_op(n, "Input");
}

/* Scalars of the parameters that n reads and no node before it did. */
static int64_t own_parameters(const epl_node *n)
{
    int64_t sum = 0;
    for (int i = 0; i < epl_node_n_inputs(n); i++) {
        const epl_value *v = epl_node_input(n, i);
        if (v && is_op(epl_producer(v), "Parameter") && epl_use_at(v, 0).node == n && epl_use_at(v, 0).input == i)
            sum += epl_shape_count(epl_shape_of(v));
    }
    return sum;
}

static void add_node(layer *l, const epl_node *n)
{
    const size_t    length = strlen(l->ops);
    const epl_cost  cost = epl_node_cost(n);
    const epl_value *v = epl_node_n_outputs(n) ? epl_node_output(n, 0) : NULL;
    if (length == 0 || strlen(l->ops) + strlen(epl_node_op_name(n)) + 8 < sizeof l->ops)
        snprintf(l->ops + length, sizeof l->ops - length, "%s%s", length ? ", " : "", epl_node_op_name(n));
    else if (l->ops[length - 1] != '.')
        snprintf(l->ops + length, sizeof l->ops - length, ", ...");
    l->scope = epl_node_scope(n);
    l->parameters += own_parameters(n);
    l->macs  += cost.macs;
    l->bytes += cost.bytes;
    if (v)
        epl_shape_text(l->shape, epl_shape_of(v));
}

/* The layer that starts at *n, which becomes the node after it; false at the end. */
static bool next_layer(const epl_node **n, layer *l)
{
    *l = (layer){ 0 };
    for (; *n; *n = epl_next(*n)) {
        if (is_source(*n) || is_op(*n, "Output") || is_op(*n, "Update"))
            continue;
        const char *scope = epl_node_scope(*n);
        if (l->scope && strcmp(l->scope, scope ? scope : "") != 0)
            return true;
        add_node(l, *n);
        l->scope = scope ? scope : "";
    }
    return l->scope != NULL;
}

static epl_table *layer_table(cli *c, const epl_graph *g)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    layer      l;
    epl_table_column(t, "layer", (epl_column_opts){ 0 });
    epl_table_column(t, "operators", (epl_column_opts){ 0 });
    epl_table_column(t, "result", (epl_column_opts){ 0 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "MACs", (epl_column_opts){ .format = EPL_FORMAT_COUNT, .key = "macs" });
    epl_table_column(t, "moved", (epl_column_opts){ .format = EPL_FORMAT_BYTES, .key = "bytes" });
    for (const epl_node *n = epl_first(g); next_layer(&n, &l);) {
        epl_table_row(t);
        epl_table_text(t, l.scope);
        epl_table_text(t, l.ops);
        epl_table_text(t, l.shape);
        epl_table_number(t, (double)l.parameters);
        epl_table_number(t, l.macs);
        epl_table_number(t, l.bytes);
    }
    return t;
}

/* ---- the whole ---- */

typedef struct summary {
    const char *path;
    int64_t     file_bytes; /* -1: there is no file */
    int64_t     parameters, nonzero;
    int         transposes, inserted; /* those that are left, as a program runs them; those that an import put in, or -1 */
    int         inside;               /* of those left: between operators, not at an input or output */
    epl_cost    cost;
    bool        train;
    int64_t     batch;
    const char *optimizer;
    epl_program_memory memory;
    bool               shifts, count; /* options: how it runs, and whether operations are counted */
    epl_operations     operations;    /* of inference */
} summary;

/* Parameters' elements that are not zero. */
static int64_t count_nonzero(const epl_model *m)
{
    int64_t sum = 0;
    for (const epl_node *n = epl_first(m->graph); n; n = epl_next(n)) {
        const epl_tensor *t = is_op(n, "Parameter") ? epl_weights_find(m->weights, epl_attr_s(n, "name")) : NULL;
        for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
            sum += epl_tensor_get(t, i) != 0;
    }
    return sum;
}

static bool at_an_end(const epl_node *n)
{
    bool only_outputs = true;
    for (int i = 0; i < epl_n_uses(epl_node_output(n, 0)); i++)
        only_outputs = only_outputs && is_op(epl_use_at(epl_node_output(n, 0), i).node, "Output");
    return only_outputs || is_op(epl_producer(epl_node_input(n, 0)), "Input");
}

/* Of what the network computes, in the order of execution; those of weights run once, when the program is made. */
static bool count_transposes(cli *c, const epl_graph *g, summary *s)
{
    int n_ids = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        n_ids = epl_node_id(n) >= n_ids ? epl_node_id(n) + 1 : n_ids;
    bool *computed = epl_alloc_array(c->ctx, (size_t)n_ids + 1, sizeof *computed);
    for (const epl_node *n = epl_first(g); computed && n; n = epl_next(n)) {
        computed[epl_node_id(n)] = is_op(n, "Input");
        for (int i = 0; i < epl_node_n_inputs(n); i++)
            if (epl_node_input(n, i) && computed[epl_node_id(epl_producer(epl_node_input(n, i)))])
                computed[epl_node_id(n)] = true;
        if (is_op(n, "Transpose") && computed[epl_node_id(n)]) {
            s->transposes++;
            s->inside += !at_an_end(n);
        }
    }
    epl_release(c->ctx, computed);
    return computed != NULL;
}

static int64_t file_size(cli *c, const char *path)
{
    epl_map map = { 0 };
    if (!epl_file_exists(path) || !epl_map_open(c->ctx, path, &map))
        return -1;
    const int64_t size = (int64_t)map.size;
    epl_map_close(&map);
    return size;
}

/* The plan of inference, and what it leaves of transposes. */
static bool inference_plan(cli *c, epl_model *m, size_t limit, summary *s)
{
    epl_program *p = epl_program_new(m->graph, m->weights,
                                     (epl_program_opts){ .frozen = true, .sparse = true, .shifts = s->shifts, .plan_only = true,
                                                        .memory_limit = limit });
    if (!p)
        return false;
    s->memory = epl_program_memory_of(p);
    s->operations = epl_program_operations(p);
    const bool ok = count_transposes(c, epl_program_graph(p), s);
    epl_program_free(p);
    return ok;
}

static const struct {
    const char *name, *key;
    size_t      offset;
} memory_lines[] = {
    { "activations, temporaries", "arena", offsetof(epl_program_memory, arena) },
    { "inputs", "inputs", offsetof(epl_program_memory, inputs) },
    { "packed weights, constants", "packed", offsetof(epl_program_memory, packed) },
    { "threads' scratch", "scratch", offsetof(epl_program_memory, scratch) },
    { "planned peak", "total", offsetof(epl_program_memory, total) },
    { "while weights are packed, +", "setup", offsetof(epl_program_memory, setup) },
    { "weights and states beside it", "weights", offsetof(epl_program_memory, weights) },
};

static const struct {
    const char *name, *key;
    size_t      offset;
} operation_lines[] = {
    { "multiplications", "multiplications", offsetof(epl_operations, multiplications) },
    { "additions of floats", "float_additions", offsetof(epl_operations, float_additions) },
    { "additions of integers", "integer_additions", offsetof(epl_operations, integer_additions) },
    { "shifts of integers", "shifts", offsetof(epl_operations, shifts) },
    { "others, element by element", "others", offsetof(epl_operations, others) },
};

static double operation_line(const summary *s, size_t i)
{
    return *(const double *)((const char *)&s->operations + operation_lines[i].offset);
}

static void add_operations(epl_text *out, const summary *s)
{
    epl_text_addf(out, "\noperations of inference at batch %lld\n", (long long)s->batch);
    for (size_t i = 0; i < EPL_COUNT(operation_lines); i++) {
        char a[32];
        epl_format_count(a, operation_line(s, i));
        epl_text_addf(out, "  %-30s %10s  %14.0f\n", operation_lines[i].name, a, operation_line(s, i));
    }
}

static size_t memory_line(const summary *s, size_t i) { return *(const size_t *)((const char *)&s->memory + memory_lines[i].offset); }

static void add_values(epl_text *out, const epl_graph *g, bool inputs)
{
    char shape[192];
    const int n = inputs ? epl_graph_n_inputs(g) : epl_graph_n_outputs(g);
    for (int i = 0; i < n; i++) {
        const epl_value *v = inputs ? epl_graph_input_at(g, i) : epl_graph_output_at(g, i);
        epl_text_addf(out, "%-16s%s %s%s", i ? "" : inputs ? "inputs" : "outputs",
                      inputs ? epl_value_name(v) : epl_graph_output_name(g, i), epl_dtype_name(epl_dtype_of(v)),
                      epl_shape_text(shape, epl_shape_of(v)));
        const char *dims = inputs ? epl_attr_s(epl_producer(v), "dims") : "";
        epl_text_addf(out, "%s%s%s\n", dims[strspn(dims, ",")] ? " (names: " : "", dims[strspn(dims, ",")] ? dims : "",
                      dims[strspn(dims, ",")] ? ")" : "");
    }
}

static char *as_text(cli *c, const epl_model *m, const summary *s, bool brief)
{
    epl_text out = EPL_TEXT(c->ctx);
    char     a[32], b[32];
    epl_text_addf(&out, "%s\n", epl_graph_name(m->graph));
    epl_format_bytes(a, (double)s->file_bytes);
    if (s->file_bytes >= 0)
        epl_text_addf(&out, "%-16s%s, %s\n", "file", s->path, a);
    epl_format_count(a, (double)s->parameters);
    epl_text_addf(&out, "%-16s%s (%lld)", "parameters", a, (long long)s->parameters);
    if (s->nonzero < s->parameters)
        epl_text_addf(&out, ", %lld not zero (%.1f %%)", (long long)s->nonzero, 100.0 * (double)s->nonzero / (double)s->parameters);
    epl_format_count(a, s->cost.macs);
    epl_format_bytes(b, s->cost.bytes);
    epl_text_addf(&out, "\n%-16s%s (%.0f) at batch %lld\n%-16s%s, every operator by itself\n", "multiply-adds", a, s->cost.macs,
                  (long long)s->batch, "bytes moved", b);
    add_values(&out, m->graph, true);
    add_values(&out, m->graph, false);
    if (s->inserted >= 0)
        epl_text_addf(&out, "%-16s%d put in by the import, ", "transposes", s->inserted);
    if (s->inserted >= 0 || s->transposes)
        epl_text_addf(&out, "%s%d left, %d of them inside\n", s->inserted >= 0 ? "" : "transposes      ", s->transposes, s->inside);
    if (!brief) {
        epl_table *t = layer_table(c, m->graph);
        char *text = epl_table_to_text(t, (epl_table_opts){ .width = 140 });
        epl_text_addf(&out, "\n%s", text ? text : "");
        epl_release(c->ctx, text);
        epl_table_free(t);
    }
    if (s->count && !s->train)
        add_operations(&out, s);
    epl_text_addf(&out, "\nmemory of %s at batch %lld%s%s\n", s->train ? "a training step" : "inference", (long long)s->batch,
                  s->train ? ", optimizer " : "", s->train ? s->optimizer : "");
    for (size_t i = 0; i < EPL_COUNT(memory_lines); i++) {
        epl_format_bytes(a, (double)memory_line(s, i));
        epl_text_addf(&out, "  %-30s %10s  %14zu bytes\n", memory_lines[i].name, a, memory_line(s, i));
    }
    if (s->memory.recomputed)
        epl_text_addf(&out, "  %-30s %10d\n", "values computed again", s->memory.recomputed);
    return epl_text_detach(&out);
}

static void json_values(epl_json_writer *w, const epl_graph *g, bool inputs)
{
    epl_json_open_array(w, inputs ? "inputs" : "outputs");
    for (int i = 0; i < (inputs ? epl_graph_n_inputs(g) : epl_graph_n_outputs(g)); i++) {
        const epl_value *v = inputs ? epl_graph_input_at(g, i) : epl_graph_output_at(g, i);
        const epl_shape  shape = epl_shape_of(v);
        epl_json_open_object(w, NULL);
        epl_json_put_string(w, "name", inputs ? epl_value_name(v) : epl_graph_output_name(g, i));
        epl_json_put_string(w, "dtype", epl_dtype_name(epl_dtype_of(v)));
        epl_json_open_array(w, "shape");
        for (int k = 0; k < shape.rank; k++)
            epl_json_put_i64(w, NULL, shape.dim[k]);
        epl_json_close(w);
        if (inputs)
            epl_json_put_string(w, "dims", epl_attr_s(epl_producer(v), "dims"));
        epl_json_close(w);
    }
    epl_json_close(w);
}

static void json_layers(epl_json_writer *w, const epl_graph *g)
{
    layer l;
    epl_json_open_array(w, "layers");
    for (const epl_node *n = epl_first(g); next_layer(&n, &l);) {
        epl_json_open_object(w, NULL);
        epl_json_put_string(w, "layer", l.scope);
        epl_json_put_string(w, "operators", l.ops);
        epl_json_put_string(w, "result", l.shape);
        epl_json_put_i64(w, "parameters", l.parameters);
        epl_json_put_f64(w, "macs", l.macs);
        epl_json_put_f64(w, "bytes", l.bytes);
        epl_json_close(w);
    }
    epl_json_close(w);
}

static char *as_json(cli *c, const epl_model *m, const summary *s, bool brief)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_string(&w, "name", epl_graph_name(m->graph));
    epl_json_put_string(&w, "file", s->path);
    if (s->file_bytes >= 0)
        epl_json_put_i64(&w, "file_bytes", s->file_bytes);
    epl_json_put_i64(&w, "parameters", s->parameters);
    epl_json_put_i64(&w, "nonzero", s->nonzero);
    epl_json_put_i64(&w, "batch", s->batch);
    epl_json_put_f64(&w, "macs", s->cost.macs);
    epl_json_put_f64(&w, "bytes", s->cost.bytes);
    if (!s->train) {
        epl_json_put_i64(&w, "transposes", s->transposes);
        epl_json_put_i64(&w, "transposes_inside", s->inside);
    }
    if (s->inserted >= 0)
        epl_json_put_i64(&w, "transposes_inserted", s->inserted);
    json_values(&w, m->graph, true);
    json_values(&w, m->graph, false);
    if (!brief)
        json_layers(&w, m->graph);
    if (s->count && !s->train) {
        epl_json_open_object(&w, "operations");
        for (size_t i = 0; i < EPL_COUNT(operation_lines); i++)
            epl_json_put_f64(&w, operation_lines[i].key, operation_line(s, i));
        epl_json_close(&w);
    }
    epl_json_open_object(&w, "memory");
    epl_json_put_string(&w, "of", s->train ? "training" : "inference");
    for (size_t i = 0; i < EPL_COUNT(memory_lines); i++)
        epl_json_put_i64(&w, memory_lines[i].key, (int64_t)memory_line(s, i));
    epl_json_put_i64(&w, "recomputed", s->memory.recomputed);
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

static bool print(cli *c, epl_model *m, summary *s, bool brief)
{
    char batch[64];
    s->file_bytes = file_size(c, s->path);
    s->parameters = epl_graph_n_parameters(m->graph);
    s->nonzero    = count_nonzero(m);
    const char *inserted = epl_weights_metadata(m->weights, EPL_ONNX_TRANSPOSES_KEY);
    s->inserted = inserted && !s->train ? atoi(inserted) : -1;
    s->cost       = epl_graph_cost(m->graph);
    const epl_value *x = epl_graph_n_inputs(m->graph) ? epl_graph_input_at(m->graph, 0) : NULL;
    if (!s->batch)
        s->batch = x && epl_rank(x) && *cli_batch_dim(m->graph, batch) ? epl_dim(x, 0) : 1;
    return cli_print_take(c, c->json ? as_json(c, m, s, brief) : as_text(c, m, s, brief));
}

static int run(cli *c, int argc, char **argv)
{
    cli_dims    dims = { 0 };
    summary     s = { .optimizer = "adamw" };
    const char *loss = "cross-entropy";
    size_t      limit = 0;
    bool        brief = false;
    const cli_option options[] = {
        EPL_ARG("model", &s.path, CLI_MODEL_HELP),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_FLAG(0, "train", &s.train, "the memory of a training step rather than of inference"),
        EPL_OPT_TEXT(0, "optimizer", "NAME[:...]", &s.optimizer, "with --train: the optimizer, as `espalier train` takes it"),
        EPL_OPT_TEXT(0, "loss", "NAME", &loss, "with --train: the loss"),
        EPL_OPT_BYTES(0, "memory-limit", &limit, "compute activations again to stay below this"),
        EPL_OPT_FLAG(0, "brief", &brief, "leave the layers out"),
        EPL_OPT_FLAG(0, "operations", &s.count, "multiplications and additions of a run, as its kernels make them"),
        CLI_OPT_SHIFTS(&s.shifts),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_step_opts step = { .loss.name = loss, .memory_limit = limit };
    if (!epl_optimizer_parse(c->ctx, s.optimizer, &step.optimizer))
        return cli_status(c);
    epl_model *m = cli_model_load(c, s.path, &dims);
    s.batch = step.batch = dims.batch;
    step.batch += step.batch == 0;
    const bool ok = m && (s.train ? epl_train_memory(m, step, &s.memory) : inference_plan(c, m, limit, &s)) &&
                    print(c, m, &s, brief);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_info = {
    .name = "info", .json = true, .run = run,
    .summary  = "layers, parameters, multiply-adds, and the exact memory of a step",
    .about    = "The planned peak is what will be allocated, to the byte, known before anything runs.",
    .examples = "espalier info m.safetensors\nespalier info m.safetensors --batch 64 --train\n"
                "espalier info resnet:depth=50,image=224,stem=imagenet --batch 32 --train --memory-limit 1GiB --brief",
};
