/* check: the harness behind check.h, over cmocka. */
#include "common/check.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- contexts that count ---- */
typedef struct counted {
    epl_context    *ctx;
    size_t          live, peak, own; /* own: the context itself */
    long            asked, fail_at;
    struct counted *next;
} counted;

enum { BLOCK_HEADER = 16 }; // the size of a block, in front of it; keeps the alignment

static struct {
    test_entry *first, *last;
    counted    *contexts;
    char        temp[64];
    char        path[512];
} state;

static void *counted_resize(void *user, void *old, size_t bytes)
{
    counted *c = user;
    if (c->ctx && c->asked++ == c->fail_at)
        return NULL;
    char        *block = old ? (char *)old - BLOCK_HEADER : NULL;
    const size_t before = block ? *(size_t *)(void *)block : 0;
    if (bytes > (size_t)1 << 40) // as a real machine would; sanitizers would rather report than return NULL
        return NULL;
    char *grown = realloc(block, bytes + BLOCK_HEADER);
    if (!grown)
        return NULL;
    *(size_t *)(void *)grown = bytes;
    if (bytes > before) // raw memory of a resize must not look clean
        memset(grown + BLOCK_HEADER + before, 0xa5, bytes - before);
    c->live += bytes - before;
    c->peak = c->live > c->peak ? c->live : c->peak;
    return grown + BLOCK_HEADER;
}

static void counted_release(void *user, void *p)
{
    counted *c = user;
    char    *block = (char *)p - BLOCK_HEADER;
    c->live -= *(size_t *)(void *)block;
    free(block);
}

epl_context *test_context_with(test *t, test_context_opts o)
{
    counted *c = calloc(1, sizeof *c);
    if (!c)
        FAIL(t, "no memory for a context");
    const epl_allocator allocator = { counted_resize, counted_release, c };
    epl_context        *ctx =
        epl_context_new((epl_context_opts){ .allocator = allocator, .n_threads = o.n_threads ? o.n_threads : 1 });
    if (!ctx)
        FAIL(t, "no memory for a context");
    c->ctx = ctx;
    c->own = c->live;
    c->peak = 0;
    c->fail_at = o.fail_allocation;
    c->next = state.contexts;
    state.contexts = c;
    return ctx;
}

static const counted *counted_of(const epl_context *ctx)
{
    const counted *c = state.contexts;
    while (c && c->ctx != ctx)
        c = c->next;
    return c;
}

size_t test_live_bytes(const epl_context *ctx)
{
    const counted *c = counted_of(ctx);
    return c ? c->live - c->own : 0;
}

size_t test_peak_bytes(const epl_context *ctx)
{
    const counted *c = counted_of(ctx);
    return c && c->peak > c->own ? c->peak - c->own : 0;
}

long test_allocations(const epl_context *ctx)
{
    const counted *c = counted_of(ctx);
    return c ? c->asked : 0;
}

/* Frees the contexts of a case that passed its checks; what is still alive in one is a leak. */
static void end_contexts(test *t)
{
    size_t leaked = 0;
    for (counted *c = state.contexts, *next; c; c = next) {
        next = c->next;
        leaked += c->live - c->own;
        epl_context_free(c->ctx);
        free(c);
    }
    state.contexts = NULL;
    if (leaked)
        FAIL(t, "%zu bytes leaked", leaked);
}

/* ---- checks ---- */
void test_fail(test *t, const char *file, int line, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s:%d: %s, case %d: ", file, line, t->name, t->index);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n    again: EPL_SEED=%llu EPL_INDEX=%d PROGRAM '%s'\n", (unsigned long long)t->seed, t->index,
            t->name);
    state.contexts = NULL; // after a failure nothing more is asked of them
    _fail(file, line);
    abort();
}

void test_skip(test *t, const char *reason)
{
    fprintf(stderr, "%s skipped: %s\n", t->name, reason);
    state.contexts = NULL;
    _skip(__FILE__, __LINE__);
    abort();
}

void test_check_int(test *t, const char *file, int line, const char *what, long long actual, long long expected)
{
    if (actual != expected)
        test_fail(t, file, line, "%s is %lld, expected %lld", what, actual, expected);
}

void test_check_str(test *t, const char *file, int line, const char *what, const char *actual, const char *expected)
{
    if (!actual || !expected ? actual != expected : strcmp(actual, expected) != 0)
        test_fail(t, file, line, "%s is\n    \"%s\", expected\n    \"%s\"", what, actual ? actual : "(null)",
                  expected ? expected : "(null)");
}

void test_check_fails(test *t, const char *file, int line, const char *what, bool succeeded, epl_context *ctx,
                      epl_error code, const char *words)
{
    if (succeeded)
        test_fail(t, file, line, "%s succeeded, expected the error '%s'", what, epl_error_name(code));
    if (epl_error_code(ctx) != code || !strstr(epl_error_message(ctx), words))
        test_fail(t, file, line, "%s failed with [%s] \"%s\", expected [%s] and the words \"%s\"", what,
                  epl_error_name(epl_error_code(ctx)), epl_error_message(ctx), epl_error_name(code), words);
    epl_error_clear(ctx);
}

typedef struct comparison {
    int64_t n, n_bad, worst;
    double  worst_excess, worst_actual, worst_expected;
} comparison;

static void compare(comparison *c, int64_t i, double actual, double expected, test_tolerance tol)
{
    const bool same = actual == expected || (isnan(actual) && isnan(expected));
    double     excess = same ? 0 : fabs(actual - expected) - (tol.atol + tol.rtol * fabs(expected));
    if (!same && (isnan(excess) || isinf(expected) || isinf(actual)))
        excess = INFINITY;
    c->n++;
    if (same || excess <= 0)
        return;
    if (c->n_bad++ == 0 || excess > c->worst_excess) {
        c->worst = i;
        c->worst_excess = excess;
        c->worst_actual = actual;
        c->worst_expected = expected;
    }
}

static void report(test *t, const char *file, int line, const char *what, const comparison *c, const char *where,
                   test_tolerance tol)
{
    if (c->n_bad)
        test_fail(t, file, line,
                  "%s: %lld of %lld elements differ; worst at %s: %.9g, expected %.9g (off by %.3g, rtol %g, atol %g)",
                  what, (long long)c->n_bad, (long long)c->n, where, c->worst_actual, c->worst_expected,
                  fabs(c->worst_actual - c->worst_expected), tol.rtol, tol.atol);
}

static void report_at(test *t, const char *file, int line, const char *what, const comparison *c, test_tolerance tol)
{
    char where[32];
    snprintf(where, sizeof where, "[%lld]", (long long)c->worst);
    report(t, file, line, what, c, where, tol);
}

void test_check_close_f32(test *t, const char *file, int line, const char *what, const float *actual,
                          const float *expected, int64_t n, test_tolerance tol)
{
    comparison c = { 0 };
    for (int64_t i = 0; i < n; i++)
        compare(&c, i, (double)actual[i], (double)expected[i], tol);
    report_at(t, file, line, what, &c, tol);
}

void test_check_close_f64(test *t, const char *file, int line, const char *what, const double *actual,
                          const double *expected, int64_t n, test_tolerance tol)
{
    comparison c = { 0 };
    for (int64_t i = 0; i < n; i++)
        compare(&c, i, actual[i], expected[i], tol);
    report_at(t, file, line, what, &c, tol);
}

void test_check_close(test *t, const char *file, int line, const char *what, const epl_tensor *actual,
                      const epl_tensor *expected, test_tolerance tol)
{
    char a[192], b[192];
    if (!actual || !expected)
        test_fail(t, file, line, "%s: no tensor", actual ? "expected value" : what);
    if (!epl_shape_equal(actual->shape, expected->shape))
        test_fail(t, file, line, "%s has shape %s, expected %s", what, epl_shape_text(a, actual->shape),
                  epl_shape_text(b, expected->shape));
    comparison    c = { 0 };
    const int64_t n = epl_tensor_count(actual);
    for (int64_t i = 0; i < n; i++)
        compare(&c, i, epl_tensor_get(actual, i), epl_tensor_get(expected, i), tol);
    epl_shape at = actual->shape; // the worst element's coordinates, printed like a shape
    int64_t   rest = c.worst;
    for (int k = at.rank - 1; k >= 0 && n > 0; k--) {
        at.dim[k] = rest % actual->shape.dim[k];
        rest /= actual->shape.dim[k];
    }
    report(t, file, line, what, &c, epl_shape_text(a, at), tol);
}

/* ---- files ---- */
static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

const char *test_temp(test *t, const char *name)
{
    if (!state.temp[0]) {
        strcpy(state.temp, "/tmp/espalier-test-XXXXXX");
        if (!mkdtemp(state.temp))
            FAIL(t, "no folder for temporary files");
    }
    snprintf(state.path, sizeof state.path, "%s/%s", state.temp, name);
    return state.path;
}

const char *test_golden_path(const char *source_dir, const char *name)
{
    snprintf(state.path, sizeof state.path, "%s/tests/golden/%s", source_dir, name);
    return state.path;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char  *data = NULL;
    size_t n = 0, got = 0;
    do {
        char *grown = realloc(data, n + 65536 + 1);
        if (!grown)
            break;
        data = grown;
        got = fread(data + n, 1, 65536, f);
        n += got;
        data[n] = 0;
    } while (got);
    fclose(f);
    if (bytes)
        *bytes = n;
    return data;
}

char *test_read_file(test *t, const char *path, size_t *bytes)
{
    char *data = read_file(path, bytes);
    if (!data)
        FAIL(t, "cannot read %s", path);
    return data;
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

void test_check_golden(test *t, const char *file, int line, const char *source_dir, const char *name, const char *text)
{
    const char *path = test_golden_path(source_dir, name);
    const char *update = getenv("EPL_UPDATE_GOLDEN");
    if (update && strcmp(update, "1") == 0) {
        FILE *f = fopen(path, "wb");
        if (!f || fputs(text, f) < 0 || fclose(f) != 0)
            test_fail(t, file, line, "cannot write %s", path);
        return;
    }
    char *golden = read_file(path, NULL);
    if (!golden)
        test_fail(t, file, line, "%s does not exist (EPL_UPDATE_GOLDEN=1 writes it)", path);
    size_t at = common_prefix(golden, text);
    if (golden[at] == text[at]) {
        free(golden);
        return;
    }
    int row = 1;
    for (size_t i = 0; i < at; i++)
        row += text[i] == '\n';
    while (at > 0 && text[at - 1] != '\n')
        at--;
    test_fail(t, file, line, "%s:%d differs (EPL_UPDATE_GOLDEN=1 rewrites it)\n    now:    %.*s\n    golden: %.*s",
              path, row, (int)strcspn(text + at, "\n"), text + at, (int)strcspn(golden + at, "\n"), golden + at);
}

/* ---- running ---- */
void test_register(test_entry *e)
{
    if (state.last)
        state.last->next = e;
    else
        state.first = e;
    state.last = e;
}

static uint64_t chosen_seed(void)
{
    const char *text = getenv("EPL_SEED");
    if (text && strcmp(text, "time") == 0)
        return (uint64_t)time(NULL);
    return text ? strtoull(text, NULL, 0) : 1;
}

static void run_entry(void **cmocka_state)
{
    const test_entry *e = *cmocka_state;
    const char       *only = getenv("EPL_INDEX");
    const uint64_t    seed = chosen_seed();
    const int         n = e->n_cases();
    for (int i = 0; i < n; i++) {
        if (only && n > 1 && atoi(only) != i)
            continue;
        epl_rng rng = epl_rng_at(seed, epl_hash(e->name, strlen(e->name), (uint64_t)i));
        test    t = { .name = e->name, .index = i, .seed = seed, .rng = &rng };
        e->body(&t);
        end_contexts(&t);
    }
}

int main(int argc, char **argv)
{
    const char        *pattern = argc > 1 ? argv[1] : "*";
    struct CMUnitTest *tests = NULL;
    size_t             n = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (test_entry *e = state.first; e; e = e->next) {
        if (!epl_glob(pattern, e->name))
            continue;
        struct CMUnitTest *grown = realloc(tests, (n + 1) * sizeof *tests);
        if (!grown)
            return 1;
        tests = grown;
        tests[n++] = (struct CMUnitTest){ .name = e->name, .test_func = run_entry, .initial_state = e };
    }
    if (n == 0) {
        fprintf(stderr, "no test matches '%s'\n", pattern);
        return 1;
    }
    const int failed = _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
    free(tests);
    if (state.temp[0])
        nftw(state.temp, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return failed ? 1 : 0;
}
