/* The files of a compiled network: which of the embedded sources it needs, and everything written into its folder. */
#include "compile/ports.h"
#include "compile/sources.h"

#include <stdlib.h>

const char *epl_source_text(const char *path)
{
    for (const epl_source *s = epl_sources; s->path; s++)
        if (strcmp(s->path, path) == 0)
            return s->text;
    return NULL;
}

static const epl_source *find_source(const char *path, size_t length)
{
    for (const epl_source *s = epl_sources; s->path; s++)
        if (strlen(s->path) == length && strncmp(s->path, path, length) == 0)
            return s;
    return NULL;
}

static bool need(epl_emitter *e, const char *path, size_t length)
{
    const epl_source *s = find_source(path, length);
    if (!s)
        return epl_fail(e->ctx, EPL_ERR_UNSUPPORTED,
                        "source '%.*s' is not among those that compiled networks may carry", (int)length, path);
    for (size_t i = 0; i < e->n_files; i++)
        if (e->files[i] == s->path)
            return true;
    if (!epl_grow(e->ctx, &e->files, e->n_files, &e->cap_files, sizeof *e->files))
        return false;
    e->files[e->n_files++] = s->path;
    for (const char *p = strstr(s->text, "#include \""); p; p = strstr(p, "#include \"")) {
        p += 10;
        if (!need(e, p, strcspn(p, "\"")))
            return false;
    }
    return true;
}

bool epl_emit_need(epl_emitter *e, const char *path) { return need(e, path, strlen(path)); }

/* ---- writing ---- */

static bool write_text(epl_emitter *e, const char *dir, const char *path, epl_text *t)
{
    epl_text full = EPL_TEXT(e->ctx);
    epl_text_addf(&full, "%s/%s", dir, path);
    const bool ok = !t->failed && !full.failed && epl_write_file(e->ctx, epl_text_str(&full), epl_text_str(t), t->length);
    e->made.source += t->length;
    epl_text_release(&full);
    epl_text_release(t);
    return ok;
}

static const char *const *find_pair(const char *const *pairs, const char *name, size_t length)
{
    for (; *pairs; pairs += 2)
        if (strlen(pairs[0]) == length && strncmp(pairs[0], name, length) == 0)
            return pairs;
    return NULL;
}

/* Puts texts in the places of their names: pairs "name", text; NULL ends. What stands between two '@' and is no name stays. */
static void fill(epl_text *t, const char *template, const char *const *pairs)
{
    for (const char *p = template; *p;) {
        const size_t plain = strcspn(p, "@"), name = p[plain] ? strcspn(p + plain + 1, "@") : 0;
        const char *const *pair = name ? find_pair(pairs, p + plain + 1, name) : NULL;
        epl_text_add_bytes(t, p, plain + (!pair && p[plain]));
        epl_text_add(t, pair ? pair[1] : "");
        p += plain + (pair ? name + 2 : p[plain] != 0);
    }
}

static void port_line(epl_text *t, const epl_port *p, const char *what)
{
    char shape[192];
    epl_text_addf(t, " *   %-8s %-16s %s%s\n", what, p->ident, epl_dtype_name(p->value->dtype), epl_shape_text(shape, p->value->shape));
}

static int n_ports(const epl_emitter *e) { return e->p->root->n_inputs + e->p->root->n_outputs; }

static bool write_header(epl_emitter *e, const char *dir)
{
    char path[96], graph[96], number[8][32];
    epl_text ports = EPL_TEXT(e->ctx), counts = EPL_TEXT(e->ctx), run = EPL_TEXT(e->ctx), t = EPL_TEXT(e->ctx);
    for (int i = 0; i < n_ports(e); i++) {
        const epl_port *p = &e->inputs[i];
        port_line(&ports, p, i < e->p->root->n_inputs ? "input" : "output");
        epl_text_addf(&counts, "#define %s_%s_COUNT %lld\n", e->upper, p->upper, (long long)epl_shape_count(p->value->shape));
    }
    epl_ports_signature(e, false, &run);
    snprintf(number[0], 32, "%zu", e->made.arena);
    snprintf(number[1], 32, "%zu", e->made.weights);
    snprintf(number[2], 32, "%zu", e->made.state);
    epl_text extra = EPL_TEXT(e->ctx);
    if (e->in_file && e->made.weights)
        epl_text_addf(&extra, "\n/* Read the first %zu bytes of %s.weights into this before the first run. */\n"
                              "extern uint64_t %s_weights[%s_WEIGHTS_BYTES / 8];\n", e->made.weights, e->name, e->name, e->upper);
    if (e->made.state)
        epl_text_addf(&extra,
                      "\n/* What the network changes when it runs; %s lies where. */\nextern uint64_t "
                      "%s_state[%s_STATE_BYTES / 8];\n",
                      e->in_file ? "the rest of the file belongs here; the library's plan says what"
                                 : "the weights' source says what",
                      e->name, e->upper);
    const char *const pairs[] = { "name",    e->name,
                                  "NAME",    e->upper,
                                  "graph",   epl_emit_clean(graph, e->p->graph->name),
                                  "target",  e->target->name,
                                  "ports",   epl_text_str(&ports),
                                  "counts",  epl_text_str(&counts),
                                  "arena",   number[0],
                                  "weights", number[1],
                                  "state",   number[2],
                                  "run",     epl_text_str(&run),
                                  "extra",   epl_text_str(&extra),
                                  NULL };
    fill(&t, epl_source_text("compile/template/model.h.in"), pairs);
    snprintf(path, sizeof path, "%s.h", e->name);
    const bool ok = write_text(e, dir, path, &t) && !ports.failed && !counts.failed && !run.failed && !extra.failed;
    epl_text_release(&ports);
    epl_text_release(&counts);
    epl_text_release(&run);
    epl_text_release(&extra);
    return ok;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool write_model(epl_emitter *e, const char *dir)
{
    char path[96], vector[16], graph[96];
    epl_text run = EPL_TEXT(e->ctx), memory = EPL_TEXT(e->ctx), includes = EPL_TEXT(e->ctx), t = EPL_TEXT(e->ctx);
    const char *body = epl_text_str(&e->body);
    epl_ports_signature(e, true, &run);
    for (size_t i = 0; i < e->n_files; i++)
        if (strstr(e->files[i], ".h") && strcmp(e->files[i], "ops/int_math.h") && strcmp(e->files[i], "ops/real_math.h"))
            epl_text_addf(&includes, "#include \"%s\"\n", e->files[i]);
    if (e->made.arena || strstr(body, " A(0)")) // tensors without elements lie in an arena, too
        epl_text_addf(&memory,
                      "static _Alignas(64) unsigned char arena[%s_ARENA_BYTES%s];\n#define A(offset) ((void *)(arena + "
                      "(offset)))\n"
                      "#define SCRATCH A(%zu)\n",
                      e->upper, e->made.arena ? "" : " + 1", e->p->memory_use.arena);
    if (e->made.weights && e->in_file)
        epl_text_addf(&memory, "_Alignas(64) uint64_t %s_weights[%s_WEIGHTS_BYTES / 8];\n", e->name, e->upper);
    else if (e->made.weights)
        epl_text_addf(&memory, "extern const uint64_t %s_weights[];\n", e->name);
    if (e->made.weights)
        epl_text_addf(&memory, "#define W(offset) ((void *)((uintptr_t)%s_weights + (offset)))\n", e->name);
    if (e->made.state && e->in_file)
        epl_text_addf(&memory, "_Alignas(64) uint64_t %s_state[%s_STATE_BYTES / 8];\n", e->name, e->upper);
    if (e->made.state)
        epl_text_addf(&memory, "#define S(offset) ((void *)((uintptr_t)%s_state + (offset)))\n", e->name);
    snprintf(vector, sizeof vector, "%d", e->target->vector);
    const char *const pairs[] = { "name", e->name, "graph", epl_emit_clean(graph, e->p->graph->name), "target", e->target->name, "vector",
                                  vector, "includes", epl_text_str(&includes), "memory", epl_text_str(&memory),
                                  "prototypes", epl_text_str(&e->prototypes), "chains", epl_text_str(&e->chains), "tables",
                                  epl_text_str(&e->tables), "run", epl_text_str(&run), "body", body + (*body == '\n'), NULL };
    fill(&t, epl_source_text("compile/template/model.c.in"), pairs);
    snprintf(path, sizeof path, "%s.c", e->name);
    const bool ok = write_text(e, dir, path, &t) && !run.failed && !memory.failed && !includes.failed;
    epl_text_release(&run);
    epl_text_release(&memory);
    epl_text_release(&includes);
    return ok;
}

static bool write_weights(epl_emitter *e, const char *dir)
{
    epl_text path = EPL_TEXT(e->ctx), t = EPL_TEXT(e->ctx);
    bool     ok   = true;
    epl_text_addf(&path, e->in_file ? "%s/%s.weights" : "%s/%s_weights.c", dir, e->name);
    if (e->in_file) {
        ok = epl_emit_weights_file(e, epl_text_str(&path));
    } else {
        epl_emit_weights(e, &t);
        ok = !t.failed && epl_write_file(e->ctx, epl_text_str(&path), epl_text_str(&t), t.length);
    }
    epl_text_release(&t);
    epl_text_release(&path);
    return ok;
}

/* Buffers and tables of the example. */
static void describe_ports(const epl_emitter *e, epl_text *buffers, epl_text *inputs, epl_text *outputs, epl_text *call)
{
    char name[96];
    for (int i = 0; i < n_ports(e); i++) {
        const epl_port *p   = &e->inputs[i];
        const bool      in  = i < e->p->root->n_inputs;
        const long long count = (long long)epl_shape_count(p->value->shape);
        epl_text_addf(buffers, "static %s %s_%s[%lld];\n", epl_c_type(p->value->dtype), in ? "in" : "out", p->ident, count ? count : 1);
        epl_text_addf(in ? inputs : outputs, "    { \"%s\", %s_%s, %lld, sizeof *%s_%s, '%c' },\n", epl_emit_clean(name, p->name),
                      in ? "in" : "out", p->ident, count, in ? "in" : "out", p->ident,
                      p->value->dtype == EPL_F32 || p->value->dtype == EPL_F64 ? 'f' : epl_dtype_is_signed(p->value->dtype) ? 'i' : 'u');
        epl_text_addf(call, "%s%s_%s", i ? ", " : "", in ? "in" : "out", p->ident);
    }
}

static bool write_main(epl_emitter *e, const char *dir)
{
    epl_text buffers = EPL_TEXT(e->ctx), inputs = EPL_TEXT(e->ctx), outputs = EPL_TEXT(e->ctx), call = EPL_TEXT(e->ctx);
    epl_text load = EPL_TEXT(e->ctx), t = EPL_TEXT(e->ctx);
    describe_ports(e, &buffers, &inputs, &outputs, &call);
    if (e->in_file)
        epl_text_addf(&load, "    FILE *f = fopen(\"%s.weights\", \"rb\");\n    int ok = f != NULL;\n", e->name);
    if (e->in_file && e->made.weights)
        epl_text_addf(&load, "    ok = ok && fread(%s_weights, %s_WEIGHTS_BYTES, 1, f) == 1;\n", e->name, e->upper);
    if (e->in_file && e->made.state)
        epl_text_addf(&load, "    ok = ok && fread(%s_state, %s_STATE_BYTES, 1, f) == 1;\n", e->name, e->upper);
    if (e->in_file)
        epl_text_addf(&load,
                      "    if (f)\n        fclose(f);\n    if (!ok)\n        fprintf(stderr, \"%s.weights: cannot be "
                      "read\\n\");\n    return ok;\n",
                      e->name);
    const char *const pairs[] = { "name", e->name, "NAME", e->upper, "buffers", epl_text_str(&buffers), "inputs", epl_text_str(&inputs),
                                  "outputs", epl_text_str(&outputs), "call", epl_text_str(&call), "load",
                                  e->in_file ? epl_text_str(&load) : "    return 1; // they are in the program\n", NULL };
    fill(&t, epl_source_text("compile/template/main.c.in"), pairs);
    const bool ok = write_text(e, dir, "main.c", &t) && !buffers.failed && !inputs.failed && !outputs.failed && !call.failed;
    epl_text_release(&buffers);
    epl_text_release(&inputs);
    epl_text_release(&outputs);
    epl_text_release(&call);
    epl_text_release(&load);
    return ok;
}

/* Rows of elementwise.def over one kind of number. */
static bool write_rows(epl_emitter *e, const char *dir, const char *type, const char *vocabulary, epl_text *objects)
{
    char     path[64];
    epl_text t = EPL_TEXT(e->ctx);
    epl_emit_ref_rows(e, type, vocabulary, &t);
    snprintf(path, sizeof path, "ops/rows_%s.c", type);
    epl_text_addf(objects, " ops/rows_%s.o", type);
    return write_text(e, dir, path, &t);
}

static bool write_integers(epl_emitter *e, const char *dir, epl_text *objects)
{
    char     path[96];
    epl_text t = EPL_TEXT(e->ctx);
    epl_text_addf(&t, "/* The element-wise functions of %s over integers. */\n#include \"kernels/kernel.h\"\n#include \"ops/ref.h\"\n\n"
                      "typedef int64_t scalar;\n#include \"ops/int_math.h\"\n\n%s", e->name, epl_text_str(&e->integers));
    snprintf(path, sizeof path, "%s_integers.c", e->name);
    epl_text_addf(objects, " %s_integers.o", e->name);
    return write_text(e, dir, path, &t);
}

static bool write_source(epl_emitter *e, const char *dir, const char *path, epl_text *objects)
{
    epl_text     t      = EPL_TEXT(e->ctx);
    const size_t length = strlen(path);
    if (strcmp(path, "kernels/kernel.h") == 0)
        epl_text_addf(&t, "#define EPL_ISA %s /* names every symbol */\n#define EPL_ARTIFACT 1\n", e->name);
    if (strncmp(path, "ops/", 4) == 0 && path[length - 1] == 'c')
        epl_emit_reference_file(e, path, &t);
    else
        epl_text_add(&t, epl_source_text(path));
    if (path[length - 1] == 'c')
        epl_text_addf(objects, " %.*s.o", (int)length - 2, path);
    return write_text(e, dir, path, &t);
}

static bool write_makefile(epl_emitter *e, const char *dir, const char *objects)
{
    epl_text t = EPL_TEXT(e->ctx);
    const char *const pairs[] = { "name", e->name, "target", e->target->name, "flags", e->target->flags, "objects", objects,
                                  "weights", e->in_file ? "" : " @name@_weights.o", NULL };
    epl_text first = EPL_TEXT(e->ctx);
    fill(&first, epl_source_text("compile/template/Makefile.in"), pairs);
    fill(&t, epl_text_str(&first), pairs);
    epl_text_release(&first);
    return write_text(e, dir, "Makefile", &t);
}

static bool make_folders(epl_emitter *e, const char *dir)
{
    static const char *const folders[] = { "kernels", "ops" };
    bool ok = epl_make_directories(e->ctx, dir);
    for (int i = 0; ok && i < 2; i++) {
        epl_text path = EPL_TEXT(e->ctx);
        epl_text_addf(&path, "%s/%s", dir, folders[i]);
        ok = !path.failed && epl_make_directories(e->ctx, epl_text_str(&path));
        epl_text_release(&path);
    }
    return ok;
}

static bool any_ref_rows(const epl_emitter *e)
{
    bool any = false;
    for (int k = 0; k < EPL_N_ELEMENTWISE; k++)
        any |= e->ref_rows[k];
    return any;
}

bool epl_emit_files(epl_emitter *e, const char *dir)
{
    bool ok = epl_emit_need(e, "kernels/kernel.h") && epl_emit_need(e, "kernels/vec.h") &&
              (!e->chains.length || epl_emit_need(e, "kernels/chain_f32.h")) &&
              (!e->integers.length || (epl_emit_need(e, "ops/int_math.h") && epl_emit_need(e, "ops/ref.h"))) &&
              (!any_ref_rows(e) || (epl_emit_need(e, "ops/int_math.h") && epl_emit_need(e, "ops/real_math.h")));
    if (!ok || !make_folders(e, dir))
        return false;
    epl_text objects = EPL_TEXT(e->ctx);
    qsort(e->files, e->n_files, sizeof *e->files, by_name);
    for (size_t i = 0; ok && i < e->n_files; i++)
        ok = write_source(e, dir, e->files[i], &objects);
    if (ok && e->integers.length)
        ok = write_integers(e, dir, &objects);
    if (ok && any_ref_rows(e))
        ok = write_rows(e, dir, "real", "#include \"ops/real_math.h\"", &objects) &&
             write_rows(e, dir, "int", "#include <math.h>\ntypedef int64_t scalar;\n#include \"ops/int_math.h\"", &objects) &&
             write_rows(e, dir, "uint", "#include <math.h>\ntypedef uint64_t scalar;\n#include \"ops/int_math.h\"", &objects);
    ok = ok && write_header(e, dir) && write_model(e, dir) && write_weights(e, dir) && write_main(e, dir) &&
         write_makefile(e, dir, epl_text_str(&objects));
    epl_text_release(&objects);
    return ok;
}
