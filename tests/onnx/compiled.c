/* Compiled networks, built and called by the conformance runner.
 *
 * The folder that epl_compile writes is built into a shared object and called in this process. Objects are kept in a
 * cache under the hash of their text, of every header that it includes, and of the flags, so that networks share the
 * objects of the kernels; the shared object is kept under the hashes of its objects. Whatever is in the cache was
 * built from exactly this text. */
#include "onnx/conformance.h"

#include "compile/emit.h"
#include "compile/process.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char flags[] = "-std=c11 -pedantic -Wall -Werror -O1 -fPIC -fno-math-errno -fno-strict-aliasing -I.";

typedef struct builder {
    epl_context *ctx;
    const char  *dir, *cache;
    const char  *arch;
    epl_text     objects; /* their paths, separated by blanks */
    uint64_t     key;     /* of all */
} builder;

/* ---- keys ---- */

static bool add_file(builder *b, const char *path, uint64_t *key, int depth);

/* The headers in quotes, each by its path from the folder. */
static bool add_includes(builder *b, const char *text, const char *end, uint64_t *key, int depth)
{
    static const char word[] = "#include \"";
    for (const char *p = text; (p = memmem(p, (size_t)(end - p), word, strlen(word))) != NULL;) {
        p += strlen(word);
        const char *quote = memchr(p, '"', (size_t)(end - p));
        char        path[256];
        snprintf(path, sizeof path, "%.*s", quote ? (int)(quote - p) : 0, p);
        if (!add_file(b, path, key, depth + 1))
            return false;
    }
    return true;
}

static bool add_file(builder *b, const char *path, uint64_t *key, int depth)
{
    char    full[1024];
    epl_map file;
    snprintf(full, sizeof full, "%s/%s", b->dir, path);
    if (depth > 16 || !epl_map_open(b->ctx, full, &file))
        return false;
    *key = epl_hash(file.data, file.size, *key);
    const bool ok = add_includes(b, (const char *)file.data, (const char *)file.data + file.size, key, depth);
    epl_map_close(&file);
    return ok;
}

/* ---- objects ---- */

/* Runs a command line of words without blanks in them; words[n] is room for the ending NULL. */
static bool command(builder *b, const char *line)
{
    const char *argv[128];
    char       *copy = epl_strdup(b->ctx, line), *rest = NULL;
    size_t      n = 0;
    for (char *word = copy ? strtok_r(copy, " ", &rest) : NULL; word && n + 1 < EPL_COUNT(argv); word = strtok_r(NULL, " ", &rest))
        argv[n++] = word;
    argv[n] = NULL;
    const bool ok = n > 0 && epl_process_run(b->ctx, b->dir, argv, NULL);
    epl_release(b->ctx, copy);
    return ok;
}

/* Builds <target> by "<line> -o <something>", unless the cache has it; two processes may do so at once. */
static bool make(builder *b, const char *target, const char *line)
{
    if (epl_file_exists(target)) {
        utimensat(AT_FDCWD, target, NULL, 0); // it is in use
        return true;
    }
    epl_text all = EPL_TEXT(b->ctx), beside = EPL_TEXT(b->ctx);
    epl_text_addf(&beside, "%s.%d", target, (int)getpid());
    epl_text_addf(&all, "%s -o %s", line, epl_text_str(&beside));
    bool ok = !all.failed && !beside.failed && command(b, epl_text_str(&all));
    if (ok && rename(epl_text_str(&beside), target) != 0)
        ok = epl_fail(b->ctx, EPL_ERR_IO, "%s cannot be written", target);
    epl_text_release(&all);
    epl_text_release(&beside);
    return ok;
}

static bool add_object(builder *b, const char *source)
{
    const bool reference = strncmp(source, "ops/", 4) == 0; // reference kernels round every operation
    char       line[512], target[1024];
    snprintf(line, sizeof line, "gcc %s %s -ffp-contract=%s -c %s", flags, b->arch, reference ? "off" : "fast", source);
    uint64_t key = epl_hash(line, strlen(line), 1);
    if (!add_file(b, source, &key, 0))
        return false;
    snprintf(target, sizeof target, "%s/%016llx.o", b->cache, (unsigned long long)key);
    b->key = epl_hash(&key, sizeof key, b->key);
    epl_text_addf(&b->objects, " %s", target);
    return make(b, target, line);
}

/* The network's own objects as its Makefile lists them, all but the first, which call.c includes. */
static bool add_listed(builder *b)
{
    char    path[1024];
    epl_map file;
    bool    ok = true;
    snprintf(path, sizeof path, "%s/Makefile", b->dir);
    if (!epl_map_open(b->ctx, path, &file))
        return false;
    static const char head[] = "OBJECTS   =";
    const char *p = memmem(file.data, file.size, head, strlen(head)), *end = (const char *)file.data + file.size;
    for (p = p ? p + strlen(head) : end; ok && p < end && *p == ' ';) {
        const char *from = p + 1;
        for (p = from; p < end && *p != ' ' && *p != '\n';)
            p++;
        char source[256];
        snprintf(source, sizeof source, "%.*sc", (int)(p - from) - 1, from); // .o to .c
        ok = strcmp(source, "model.c") == 0 || add_object(b, source);
    }
    epl_map_close(&file);
    return ok;
}

/* A function of one list: inputs, then outputs. */
static bool write_call(builder *b, int n)
{
    char     path[1024];
    epl_text t = EPL_TEXT(b->ctx);
    snprintf(path, sizeof path, "%s/call.c", b->dir);
    epl_text_add(&t, "#include \"model.c\"\n\nvoid model_call(void *const *p);\nvoid model_call(void *const *p)\n{\n   "
                     " (void)p;\n    model_run(");
    for (int i = 0; i < n; i++)
        epl_text_addf(&t, "%sp[%d]", i ? ", " : "", i);
    epl_text_add(&t, ");\n}\n");
    FILE *f = t.failed ? NULL : fopen(path, "w");
    bool  ok = f && fwrite(epl_text_str(&t), 1, t.length, f) == t.length;
    ok = f && fclose(f) == 0 && ok;
    epl_text_release(&t);
    return ok || epl_fail(b->ctx, EPL_ERR_IO, "%s cannot be written", path);
}

/* The path of the shared object, or "". */
static bool build(builder *b, int n_ports, char *out, size_t room)
{
    epl_text line = EPL_TEXT(b->ctx);
    bool     ok = write_call(b, n_ports) && add_object(b, "call.c") && add_listed(b);
    snprintf(out, room, "%s/%016llx.so", b->cache, (unsigned long long)b->key);
    epl_text_addf(&line, "gcc -shared -Wl,-Bsymbolic%s -lm", epl_text_str(&b->objects));
    ok = ok && make(b, out, epl_text_str(&line));
    epl_text_release(&line);
    return ok;
}

/* ---- the call ---- */

static bool call(epl_context *ctx, const char *path, const epl_model *m, const epl_tensor *const *in, epl_tensor **out)
{
    const int n_in = epl_graph_n_inputs(m->graph), n_out = epl_graph_n_outputs(m->graph);
    void    **ports = calloc((size_t)(n_in + n_out) + 1, sizeof *ports);
    void     *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void (*function)(void *const *) = NULL;
    if (object)
        *(void **)&function = dlsym(object, "model_call");
    if (!function || !ports) {
        free(ports);
        return epl_fail(ctx, EPL_ERR_IO, "%s", object ? "model_call is missing" : dlerror());
    }
    for (int i = 0; i < n_in; i++)
        ports[i] = in[i]->data;
    for (int i = 0; i < n_out; i++) {
        const epl_value *v = epl_graph_output_at(m->graph, i);
        out[i] = epl_tensor_new(ctx, epl_dtype_of(v), epl_shape_of(v));
        ports[n_in + i] = out[i] ? out[i]->data : NULL;
    }
    if (epl_error_code(ctx) == EPL_OK)
        function(ports);
    free(ports);
    return epl_error_code(ctx) == EPL_OK;
}

bool run_compiled(epl_context *ctx, const epl_model *m, const char *work, const char *cache, const epl_tensor *const *in,
                  epl_tensor **out)
{
    const epl_target *target = epl_target_find(ctx, NULL);
    char              path[1024];
    builder b = { .ctx = ctx, .dir = work, .cache = cache, .arch = target ? target->flags : "", .objects = EPL_TEXT(ctx) };
    const bool ok = target && epl_make_directories(ctx, cache) &&
                    epl_compile(m, work, (epl_compile_opts){ .weights = EPL_WEIGHTS_SOURCE }, NULL) &&
                    build(&b, epl_graph_n_inputs(m->graph) + epl_graph_n_outputs(m->graph), path, sizeof path) &&
                    call(ctx, path, m, in, out);
    epl_text_release(&b.objects);
    return ok;
}

void trim_cache(const char *cache)
{
    DIR *d = opendir(cache);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        char        path[1400];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", cache, e->d_name);
        if (strstr(e->d_name, ".o") && stat(path, &info) == 0 && info.st_mtime + 7 * 24 * 3600 < time(NULL))
            unlink(path);
        else if (strstr(e->d_name, ".so") && stat(path, &info) == 0 && info.st_mtime + 7 * 24 * 3600 < time(NULL))
            unlink(path);
    }
    if (d)
        closedir(d);
}
