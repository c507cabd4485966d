/* conformance: runs the ONNX project's backend tests, or any folder of their shape, in three ways - by the reference
 * kernels, as a planned program, and compiled to C - and prints what passed, what is unsupported and why, and what
 * is wrong.
 *
 *     build/conformance [--list FILE] [--update] [--verbose] [--only PATTERN] [--compile all|sample|none] [--cache DIR] [-j N] DIR...
 *
 * A test is a folder with model.onnx and test_data_set_<k>/input_<i>.pb, output_<i>.pb; DIR is one, or holds some, up to three
 * levels down. Each runs in a process of its own, so that a crash is a result too; N at a time (default: the processors).
 *
 * --compile sample takes, of every operator, the first test that has it, so that `make check` stays short; all is
 * the full sweep of `make conformance`. What was built is kept in the cache (default: build/conformance-cache), see
 * onnx/compiled.c.
 *
 * FILE lists the tests that may be unsupported, "folder/test: reason" a line; another unsupported test, or a listed one that
 * passes, is an error, so that the list can only shrink. A reason that starts with "data:" excuses a test whose data contradict
 * its own model. --update writes the list. Exit status 0: nothing wrong, the list as it is. */
#include "onnx/conformance.h"
#include "onnx/file.h"

#include "base/symbols.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct result {
    char    dir[1024], group[128], name[256]; /* the last two parts of the path */
    bool    compile;
    outcome is;
    verdict verdict; /* over all ways */
} result;

typedef struct results {
    result *items;
    size_t  count, capacity;
} results;

typedef enum scope { COMPILE_NONE, COMPILE_SAMPLE, COMPILE_ALL } scope;

static bool        verbose;
static const char *only, *cache = "build/conformance-cache";
static scope       compile = COMPILE_SAMPLE;
static long        jobs;

/* ---- which tests ------------------------------------------------------------------------------------------------- */
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
    *r = (result){ .compile = compile == COMPILE_ALL };
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    snprintf(r->group, sizeof r->group, "%.*s", (int)(slash ? slash - group : 0), group);
    snprintf(r->name, sizeof r->name, "%s", slash ? slash + 1 : dir);
}

static void walk(results *all, const char *dir, int depth)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    if (epl_file_exists(path)) {
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

/* Whether an operator of the model is new; all of its operators then are not. */
static bool has_new_operator(epl_context *ctx, epl_arena *names, epl_symbols *seen, const char *dir)
{
    char      path[1100];
    onnx_file file = { 0 };
    bool      any = false;
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    if (onnx_file_open(&file, ctx, path) && file.model->graph)
        for (size_t i = 0; i < file.model->graph->n_node; i++) {
            const char *op = epl_arena_strdup(names, file.model->graph->node[i]->op_type);
            if (op && !epl_symbols_find(seen, op, strlen(op)))
                any = epl_symbols_put(ctx, seen, op, strlen(op), (void *)(uintptr_t)op) || any;
        }
    onnx_file_close(&file);
    epl_error_clear(ctx);
    return any;
}

static void choose_sample(results *all)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_arena   *names = epl_arena_new(ctx);
    epl_symbols  seen = { 0 };
    for (size_t i = 0; i < all->count; i++)
        all->items[i].compile = has_new_operator(ctx, names, &seen, all->items[i].dir);
    epl_symbols_release(ctx, &seen);
    epl_arena_free(names);
    epl_context_free(ctx);
}

/* ---- each in a process of its own -------------------------------------------------------------------------------- */
typedef struct slot {
    pid_t   child; /* 0: free */
    int     from;
    result *test;
    char    work[64];
} slot;

static void start(slot *s, result *r)
{
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0 || (s->child = fork()) < 0)
        exit(2);
    s->test = r;
    s->from = ends[0];
    if (s->child == 0) {
        alarm(r->compile ? 300 : 60);
        run_test(r->dir, r->compile ? s->work : NULL, cache, &r->is);
        const bool sent = write(ends[1], &r->is, sizeof r->is) == (ssize_t)sizeof r->is; // less than a pipe holds
        exit(sent ? 0 : 1); // stdout is empty; `make coverage` counts at exit
    }
    close(ends[1]);
}

static void finish(slot *s, int status)
{
    result *r = s->test;
    if (read(s->from, &r->is, sizeof r->is) != (ssize_t)sizeof r->is) {
        r->is = (outcome){ .verdict = { WRONG, NOT_RUN, NOT_RUN } };
        snprintf(r->is.reason, REASON, "ended by signal %d, status %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0, WEXITSTATUS(status));
    }
    close(s->from);
    s->child = 0;
    r->verdict = PASSED;
    for (int w = N_WAYS - 1; w >= 0; w--)
        if (r->is.verdict[w] == WRONG || (r->is.verdict[w] == UNSUPPORTED && r->verdict == PASSED))
            r->verdict = r->is.verdict[w];
}

static int drop(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info, (void)type, (void)at;
    return remove(path);
}

static void run_all(results *all)
{
    slot  *slots = calloc((size_t)jobs, sizeof *slots);
    char   work[] = "/tmp/conformance-XXXXXX";
    size_t next = 0;
    long   busy = 0;
    if (!slots || !mkdtemp(work))
        exit(2);
    for (long i = 0; i < jobs; i++)
        snprintf(slots[i].work, sizeof slots[i].work, "%s/%ld", work, i);
    while (next < all->count || busy) {
        for (long i = 0; i < jobs && next < all->count; i++)
            if (!slots[i].child) {
                start(&slots[i], &all->items[next++]);
                busy++;
            }
        int         status = 0;
        const pid_t child = wait(&status);
        for (long i = 0; i < jobs && child > 0; i++)
            if (slots[i].child == child) {
                finish(&slots[i], status);
                busy--;
            }
    }
    nftw(work, drop, 16, FTW_DEPTH | FTW_PHYS);
    free(slots);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */
static const char *const verdict_names[] = { "passed", "unsupported", "WRONG", "not run" };

static void print_row(const char *group, size_t counts[N_WAYS][N_VERDICTS])
{
    static const char *const names[] = { "evaluated", "program", "compiled" };
    for (int w = 0; w < N_WAYS; w++)
        printf("%-24s %-10s %8zu %12zu %8zu %8zu\n", w ? "" : group, names[w], counts[w][PASSED], counts[w][UNSUPPORTED],
               counts[w][WRONG], counts[w][NOT_RUN]);
}

static void print_table(const results *all)
{
    size_t total[N_WAYS][N_VERDICTS] = { 0 }, fixed = 0;
    printf("%-24s %-10s %8s %12s %8s %8s\n", "folder", "way", "passed", "unsupported", "wrong", "not run");
    for (size_t i = 0; i < all->count;) {
        size_t counts[N_WAYS][N_VERDICTS] = { 0 }, j = i;
        for (; j < all->count && strcmp(all->items[j].group, all->items[i].group) == 0; j++)
            for (int w = 0; w < N_WAYS; w++) {
                counts[w][all->items[j].is.verdict[w]]++;
                total[w][all->items[j].is.verdict[w]]++;
            }
        print_row(all->items[i].group, counts);
        i = j;
    }
    for (size_t i = 0; i < all->count; i++)
        fixed += all->items[i].verdict == PASSED && all->items[i].is.fixed;
    print_row("all", total);
    printf("%zu of the passed take the values of inputs that are shapes for good\n", fixed);
}

/* ---- the list of what may be unsupported ------------------------------------------------------------------------- */
static void write_list(const results *all, const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        exit(2);
    fprintf(f, "# ONNX tests that the importer does not support, and why. `build/conformance --list FILE` holds the results to it: it\n"
               "# can only shrink.\n");
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].verdict == UNSUPPORTED)
            fprintf(f, "%s/%s: %s\n", all->items[i].group, all->items[i].name, all->items[i].is.reason);
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
        for (int w = 0; w < N_WAYS; w++)
            r->is.verdict[w] = r->is.verdict[w] == WRONG ? UNSUPPORTED : r->is.verdict[w];
        snprintf(r->is.reason, sizeof r->is.reason, "%.*s", (int)strcspn(reason, "\n"), reason);
    }
}

/* How many results are not as the list says. */
static int check_list(const results *all, const char *list)
{
    int bad = 0;
    for (size_t i = 0; i < all->count; i++) {
        const result *r = &all->items[i];
        if (r->verdict == UNSUPPORTED && !listed(list, r)) {
            printf("unsupported, but not in the list: %s/%s: %s\n", r->group, r->name, r->is.reason);
            bad++;
        } else if (r->verdict == PASSED && listed(list, r) && (r->compile || strncmp(listed(list, r), "compiled:", 9) != 0)) {
            printf("passes now, take it out of the list: %s/%s\n", r->group, r->name);
            bad++;
        }
    }
    return bad;
}

/* Options take effect for the folders that come after them. */
static void read_options(int argc, char **argv, const char **list, bool *update, results *all)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--update") == 0)
            *update = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (argv[i][0] != '-')
            walk(all, argv[i], 0);
        else if (i++, strcmp(argv[i - 1], "--list") == 0)
            *list = value;
        else if (strcmp(argv[i - 1], "--only") == 0)
            only = value;
        else if (strcmp(argv[i - 1], "--cache") == 0)
            cache = value;
        else if (strcmp(argv[i - 1], "-j") == 0)
            jobs = strtol(value, NULL, 10);
        else if (strcmp(argv[i - 1], "--compile") == 0)
            compile = strcmp(value, "all") == 0 ? COMPILE_ALL : strcmp(value, "none") == 0 ? COMPILE_NONE : COMPILE_SAMPLE;
        else
            printf("option '%s' is not known\n", argv[i - 1]), exit(2);
    }
    jobs = jobs > 0 ? jobs : sysconf(_SC_NPROCESSORS_ONLN);
}

/* The compiler runs elsewhere: the cache needs its whole path. */
static bool prepare_cache(void)
{
    static char  path[4096];
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    const bool   ok = epl_make_directories(ctx, cache) && realpath(cache, path);
    if (ok)
        cache = path;
    else
        printf("cannot make '%s'\n", cache);
    epl_context_free(ctx);
    return ok;
}

int main(int argc, char **argv)
{
    const char *list = NULL;
    bool        update = false;
    results     all = { 0 };
    read_options(argc, argv, &list, &update, &all);
    const char *text = list ? read_list(list) : NULL;
    if (list && !text && !update) {
        printf("cannot read '%s'\n", list);
        return 2;
    }
    if (compile == COMPILE_SAMPLE)
        choose_sample(&all);
    if (compile != COMPILE_NONE && !prepare_cache())
        return 2;
    run_all(&all);
    excuse_defects(&all, text);
    size_t counts[N_VERDICTS] = { 0 };
    for (size_t i = 0; i < all.count; i++) {
        const result *r = &all.items[i];
        counts[r->verdict]++;
        if (verbose || r->verdict == WRONG)
            printf("%-11s %s/%s%s%s\n", verdict_names[r->verdict], r->group, r->name, *r->is.reason ? ": " : "", r->is.reason);
    }
    print_table(&all);
    if (list && update)
        write_list(&all, list);
    if (compile != COMPILE_NONE)
        trim_cache(cache);
    const int bad = list && !update ? check_list(&all, text) : 0;
    printf("%zu passed, %zu failed, %zu skipped\n", counts[PASSED], counts[WRONG], counts[UNSUPPORTED]);
    const bool ok = counts[WRONG] == 0 && bad == 0 && all.count > 0;
    free(all.items);
    return ok ? 0 : 1;
}
