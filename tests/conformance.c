/* conformance: runs the ONNX project's backend tests, or any folder of their shape, and prints what passed, what is unsupported
 * and why, and what is wrong.
 *
 *     build/conformance [--list FILE] [--update] [--verbose] [--only PATTERN] DIR...
 *
 * A test is a folder with model.onnx and test_data_set_<k>/input_<i>.pb, output_<i>.pb; DIR is one, or holds some, up to three
 * levels down. Each runs in a process of its own, so that a crash is a result too. The networks are run by the reference
 * interpreter. Results agree as in the ONNX project's own runner: |x - y| <= 1e-7 + 1e-3 |y|, integers exactly.
 *
 * FILE lists the tests that may be unsupported, "folder/test: reason" a line; another unsupported test, or a listed one that
 * passes, is an error, so that the list can only shrink. A reason that starts with "data:" excuses a test whose data contradict
 * its own model. --update writes the list. Exit status 0: nothing wrong, the list as it is. */
#include "graph/op.h"

#include <espalier/onnx.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef enum verdict { PASSED, UNSUPPORTED, WRONG, N_VERDICTS } verdict;

typedef struct result {
    char    group[128], name[256], reason[768]; /* the last two parts of the path */
    verdict verdict;
    bool    fixed; /* inputs were taken for good */
} result;

typedef struct results {
    result *items;
    size_t  count, capacity;
} results;

static bool verbose;
static const char *only;

/* ---- one data set ------------------------------------------------------------------------------------------------------ */
static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* Loads <dir>/<what>_<i>.pb; the tensor's own name is dropped. */
static epl_tensor *load(epl_context *ctx, const char *dir, const char *what, int i)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s_%d.pb", dir, what, i);
    return exists(path) ? epl_onnx_tensor_load(ctx, path, NULL) : NULL;
}

/* The data hold the bits of bfloat16 as uint16. */
static void restore_bfloat(epl_tensor *t, epl_dtype expected)
{
    if (t->dtype == EPL_U16 && expected == EPL_BF16)
        t->dtype = EPL_BF16;
}

/* The inputs by name. NULL: a reason is in the context. */
static epl_weights *load_inputs(epl_context *ctx, const char *dir, const char *names)
{
    epl_weights *w = epl_weights_new(ctx);
    char         name[512];
    for (int i = 0; *names; i++) {
        const size_t n = strcspn(names, "\n");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        names += n + (names[n] == '\n');
        epl_tensor *t = load(ctx, dir, "input", i);
        if (!t && epl_error_code(ctx) != EPL_OK)
            return NULL;
        if (t && !epl_weights_put_take(w, name, t))
            return NULL;
    }
    return w;
}

static bool agrees(const epl_tensor *is, const epl_tensor *want, char *reason, size_t room)
{
    char a[192], b[192];
    if (is->dtype != want->dtype || !epl_shape_equal(is->shape, want->shape)) {
        snprintf(reason, room, "result is %s%s, expected %s%s", epl_dtype_name(is->dtype), epl_shape_text(a, is->shape),
                 epl_dtype_name(want->dtype), epl_shape_text(b, want->shape));
        return false;
    }
    for (int64_t i = 0; i < epl_tensor_count(is); i++) {
        const double x = epl_tensor_get(is, i), y = epl_tensor_get(want, i);
        const bool   same = x == y || (isnan(x) && isnan(y)) ||
                          (epl_dtype_is_float(is->dtype) && fabs(x - y) <= 1e-7 + 1e-3 * fabs(y));
        if (!same) {
            snprintf(reason, room, "element %lld of %s is %.9g, expected %.9g", (long long)i, epl_shape_text(a, is->shape), x, y);
            return false;
        }
    }
    return true;
}

static verdict compare_outputs(epl_context *ctx, const char *dir, epl_tensor **out, int n_out, char *reason, size_t room)
{
    for (int i = 0; i < n_out; i++) {
        epl_tensor *want = load(ctx, dir, "output", i);
        if (!want && epl_error_code(ctx) == EPL_OK)
            continue; // an optional result that the data leave out
        if (!want) {
            snprintf(reason, room, "%s", epl_error_message(ctx));
            return UNSUPPORTED;
        }
        char detail[512];
        restore_bfloat(want, out[i]->dtype);
        if (!agrees(out[i], want, detail, sizeof detail)) {
            snprintf(reason, room, "output %d: %s", i, detail);
            return WRONG;
        }
    }
    return PASSED;
}

static verdict run_set(epl_context *ctx, epl_model *m, const epl_weights *inputs, const char *dir, char *reason, size_t room)
{
    const int          n_in = epl_graph_n_inputs(m->graph), n_out = epl_graph_n_outputs(m->graph);
    const epl_tensor **in = calloc((size_t)n_in + 1, sizeof *in);
    epl_tensor       **out = calloc((size_t)n_out + 1, sizeof *out);
    for (int i = 0; i < n_in; i++) {
        const char *name = epl_value_name(epl_graph_input_at(m->graph, i));
        in[i] = epl_weights_find(inputs, name);
        if (!in[i]) {
            snprintf(reason, room, "the data have no input '%s'", name);
            return WRONG;
        }
        restore_bfloat(epl_weights_find(inputs, name), epl_dtype_of(epl_graph_input_at(m->graph, i)));
    }
    if (!epl_interpret(m->graph, m->weights, in, out)) {
        snprintf(reason, room, "%s", epl_error_message(ctx));
        return epl_error_code(ctx) == EPL_ERR_UNSUPPORTED ? UNSUPPORTED : WRONG;
    }
    return compare_outputs(ctx, dir, out, n_out, reason, room);
}

/* Every data set: imported for the shapes of its inputs, run, compared. Memory goes with the process. */
static verdict run_test(const char *dir, bool *fixed, char *reason, size_t room)
{
    char path[1024], set[1100];
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    char        *names = epl_onnx_input_names(ctx, path);
    verdict      v = names ? PASSED : UNSUPPORTED;
    int          k = 0;
    for (; v == PASSED; k++) {
        snprintf(set, sizeof set, "%s/test_data_set_%d", dir, k);
        if (!exists(set))
            break;
        epl_weights *inputs = load_inputs(ctx, set, names);
        epl_model   *m = inputs ? epl_onnx_load(ctx, path, (epl_onnx_opts){ .inputs = inputs }) : NULL;
        v = m ? run_set(ctx, m, inputs, set, reason, room) : UNSUPPORTED;
        *fixed = *fixed || (m && *epl_onnx_fixed_inputs(m));
        if (!m)
            break;
    }
    if (v == PASSED && k == 0) {
        snprintf(reason, room, "no data");
        return UNSUPPORTED;
    }
    if (v == UNSUPPORTED && !*reason) {
        const char *sentence = epl_error_message(ctx);
        const char *colon = strncmp(sentence, dir, strlen(dir)) == 0 ? strstr(sentence, ": ") : NULL;
        snprintf(reason, room, "%s", colon ? colon + 2 : sentence);
        if (epl_error_code(ctx) != EPL_ERR_UNSUPPORTED) {
            snprintf(reason, room, "[%s] %s", epl_error_name(epl_error_code(ctx)), colon ? colon + 2 : sentence);
            return WRONG;
        }
    }
    return v;
}

/* ---- in a process of its own ---------------------------------------------------------------------------------------------- */
static void run_apart(const char *dir, result *r)
{
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        exit(2);
    const pid_t child = fork();
    if (child == 0) {
        char reason[sizeof r->reason] = "";
        bool fixed = false;
        alarm(60);
        const verdict v = run_test(dir, &fixed, reason, sizeof reason);
        dprintf(ends[1], "%d %d %s", (int)v, (int)fixed, reason);
        exit(0); // stdout is empty; `make coverage` counts at exit
    }
    close(ends[1]);
    char    text[1024] = "";
    size_t  n = 0;
    ssize_t got;
    while (n < sizeof text - 1 && (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(ends[0]);
    int status = 0, v = WRONG, fixed = 0, used = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        snprintf(r->reason, sizeof r->reason, "ended by signal %d", WTERMSIG(status));
    else if (sscanf(text, "%d %d %n", &v, &fixed, &used) >= 2)
        snprintf(r->reason, sizeof r->reason, "%.700s", text + used);
    r->verdict = (verdict)v;
    r->fixed = fixed;
}

/* ---- all tests --------------------------------------------------------------------------------------------------------------- */
static void add_test(results *all, const char *dir)
{
    const char *slash = strrchr(dir, '/'), *group = dir;
    for (const char *s = dir; slash && s < slash; s++)
        if (*s == '/')
            group = s + 1;
    if (only && !epl_glob(only, slash ? slash + 1 : dir))
        return;
    if (all->count == all->capacity) {
        all->capacity = all->capacity ? 2 * all->capacity : 256;
        all->items = realloc(all->items, all->capacity * sizeof *all->items);
        if (!all->items)
            exit(2);
    }
    result *r = &all->items[all->count++];
    *r = (result){ 0 };
    snprintf(r->group, sizeof r->group, "%.*s", (int)(slash ? slash - group : 0), group);
    snprintf(r->name, sizeof r->name, "%s", slash ? slash + 1 : dir);
    run_apart(dir, r);
    if (verbose)
        printf("%-11s %s/%s%s%s\n", r->verdict == PASSED ? "passed" : r->verdict == WRONG ? "WRONG" : "unsupported", r->group, r->name,
               *r->reason ? ": " : "", r->reason);
}

static void walk(results *all, const char *dir, int depth)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    if (exists(path)) {
        add_test(all, dir);
        return;
    }
    struct dirent **entries = NULL;
    const int n = depth < 3 ? scandir(dir, &entries, NULL, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
        struct stat info;
        if (entries[i]->d_name[0] != '.' && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
            walk(all, path, depth + 1);
        free(entries[i]);
    }
    free(entries);
}

static void print_table(const results *all)
{
    static const char *const heads[] = { "passed", "unsupported", "wrong" };
    printf("%-24s %8s %12s %8s\n", "folder", heads[0], heads[1], heads[2]);
    size_t total[N_VERDICTS] = { 0 }, fixed = 0;
    for (size_t i = 0; i < all->count;) {
        size_t counts[N_VERDICTS] = { 0 }, j = i;
        for (; j < all->count && strcmp(all->items[j].group, all->items[i].group) == 0; j++)
            counts[all->items[j].verdict]++;
        printf("%-24s %8zu %12zu %8zu\n", all->items[i].group, counts[0], counts[1], counts[2]);
        for (int v = 0; v < N_VERDICTS; v++)
            total[v] += counts[v];
        i = j;
    }
    for (size_t i = 0; i < all->count; i++)
        fixed += all->items[i].verdict == PASSED && all->items[i].fixed;
    printf("%-24s %8zu %12zu %8zu\n", "all", total[0], total[1], total[2]);
    printf("%zu of the passed take the values of inputs that are shapes for good\n", fixed);
}

/* ---- the list of what may be unsupported ---------------------------------------------------------------------------------------- */
static void write_list(const results *all, const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        exit(2);
    fprintf(f, "# ONNX tests that the importer does not support, and why. `build/conformance --list FILE` holds the results to it: it\n"
               "# can only shrink.\n");
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].verdict == UNSUPPORTED)
            fprintf(f, "%s/%s: %s\n", all->items[i].group, all->items[i].name, all->items[i].reason);
    fclose(f);
}

/* The reason that the list gives for a test, or NULL. */
static const char *listed(const char *list, const result *r)
{
    char line[512];
    snprintf(line, sizeof line, "\n%s/%s: ", r->group, r->name);
    const char *found = strstr(list, line);
    return found ? found + strlen(line) : NULL;
}

static const char *read_list(const char *path)
{
    static char list[1 << 20] = "\n";
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    list[1 + fread(list + 1, 1, sizeof list - 2, f)] = 0;
    fclose(f);
    return list;
}

/* Tests whose data contradict their own model; the list says how. */
static void excuse_defects(results *all, const char *list)
{
    for (size_t i = 0; list && i < all->count; i++) {
        result     *r = &all->items[i];
        const char *reason = r->verdict == WRONG ? listed(list, r) : NULL;
        if (!reason || strncmp(reason, "data: ", 6) != 0)
            continue;
        r->verdict = UNSUPPORTED;
        snprintf(r->reason, sizeof r->reason, "%.*s", (int)strcspn(reason, "\n"), reason);
    }
}

/* How many results are not as the list says. */
static int check_list(const results *all, const char *list)
{
    int bad = 0;
    for (size_t i = 0; i < all->count; i++) {
        const result *r = &all->items[i];
        if (r->verdict == UNSUPPORTED && !listed(list, r)) {
            printf("unsupported, but not in the list: %s/%s: %s\n", r->group, r->name, r->reason);
            bad++;
        } else if (r->verdict == PASSED && listed(list, r)) {
            printf("passes now, take it out of the list: %s/%s\n", r->group, r->name);
            bad++;
        }
    }
    return bad;
}

int main(int argc, char **argv)
{
    const char *list = NULL;
    bool        update = false;
    results     all = { 0 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0 && i + 1 < argc)
            list = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--update") == 0)
            update = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else
            walk(&all, argv[i], 0);
    }
    const char *text = list ? read_list(list) : NULL;
    if (list && !text && !update) {
        printf("cannot read '%s'\n", list);
        return 2;
    }
    excuse_defects(&all, text);
    size_t wrong = 0, passed = 0;
    for (size_t i = 0; i < all.count; i++) {
        passed += all.items[i].verdict == PASSED;
        wrong += all.items[i].verdict == WRONG;
        if (all.items[i].verdict == WRONG)
            printf("wrong: %s/%s: %s\n", all.items[i].group, all.items[i].name, all.items[i].reason);
    }
    print_table(&all);
    if (list && update)
        write_list(&all, list);
    const int bad = list && !update ? check_list(&all, text) : 0;
    printf("%zu passed, %zu failed, %zu skipped\n", passed, wrong, all.count - passed - wrong);
    const bool ok = wrong == 0 && bad == 0 && all.count > 0;
    free(all.items);
    return ok ? 0 : 1;
}
