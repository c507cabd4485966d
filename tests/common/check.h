/* check.h: how a test is written here. A small layer over cmocka: tests register themselves, random cases can be replayed,
 * contexts count their memory and fail on demand, and whatever a test leaks makes it fail.
 *
 *     TEST(shapes_broadcast)                       // one test; `t` is its handle
 *     {
 *         epl_context *ctx = test_context(t);      // freed with the test, which fails if anything of it is still alive
 *         CHECK(t, epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 3)) != NULL);
 *     }
 *     PROPERTY(sort_keeps_elements, 100)           // 100 cases: t->index is 0 .. 99, t->rng differs in each
 *     { ... epl_rng_below(t->rng, 7) ... }
 *
 * A program of such tests takes a pattern as its argument (`build/test_base 'rng_*'`). Environment: EPL_SEED=n chooses the seed
 * (1 if unset, `time` takes the clock), EPL_INDEX=n runs one case of each PROPERTY, EPL_UPDATE_GOLDEN=1 rewrites golden files.
 * A failed check ends its test at once. */
#ifndef EPL_TESTS_CHECK_H
#define EPL_TESTS_CHECK_H

#include <espalier/tensor.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct test {
    const char *name;
    int         index; /* the case of a PROPERTY, else 0 */
    uint64_t    seed;
    epl_rng    *rng;   /* its own stream for each test and case */
} test;

typedef struct test_entry {
    const char *name;
    void (*body)(test *);
    int (*n_cases)(void);
    struct test_entry *next;
} test_entry;

void test_register(test_entry *e); /* used by TEST and PROPERTY */

#define PROPERTY(title, cases)                                                                                         \
    static void title(test *t);                                                                                        \
    static int  title##_cases(void)                                                                                    \
    {                                                                                                                  \
        return (int)(cases);                                                                                           \
    }                                                                                                                  \
    static __attribute__((constructor)) void title##_register(void)                                                    \
    {                                                                                                                  \
        static test_entry entry = { #title, title, title##_cases, NULL };                                              \
        test_register(&entry);                                                                                         \
    }                                                                                                                  \
    static void title(__attribute__((unused)) test *t)

#define TEST(title) PROPERTY(title, 1)

/* ---- checks ---- */
void test_fail(test *t, const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void test_skip(test *t, const char *reason) __attribute__((noreturn)); /* reported as skipped: say what is missing */

#define FAIL(t, ...) test_fail(t, __FILE__, __LINE__, __VA_ARGS__)
#define CHECK(t, condition)                                                                                            \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            test_fail(t, __FILE__, __LINE__, "%s", "not true: " #condition);                                           \
    } while (0)
#define CHECK_INT(t, actual, expected) test_check_int(t, __FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
#define CHECK_STR(t, actual, expected) test_check_str(t, __FILE__, __LINE__, #actual, actual, expected)

/* The call succeeded; else the context's sentence is printed. */
#define CHECK_OK(t, ctx, condition)                                                                                    \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            test_fail(t, __FILE__, __LINE__, "%s: [%s] %s", #condition, epl_error_name(epl_error_code(ctx)),           \
                      epl_error_message(ctx));                                                                         \
    } while (0)

/* The call failed with this code and a sentence that contains `words`; the error is cleared. */
#define CHECK_FAILS(t, ctx, call, code, words)                                                                         \
    test_check_fails(t, __FILE__, __LINE__, #call, (call) ? true : false, ctx, code, words)

/* |actual - expected| <= atol + rtol |expected| for every element (both zero: equal); NaN only where NaN is expected. The worst
 * element is reported. Tensors must agree in shape, not in type. */
typedef struct test_tolerance {
    double rtol, atol;
} test_tolerance;

#define CHECK_CLOSE(t, actual, expected, ...)                                                                          \
    test_check_close(t, __FILE__, __LINE__, #actual, actual, expected, (test_tolerance){ __VA_ARGS__ })
#define CHECK_CLOSE_F32(t, actual, expected, count, ...)                                                               \
    test_check_close_f32(t, __FILE__, __LINE__, #actual, actual, expected, count, (test_tolerance){ __VA_ARGS__ })
#define CHECK_CLOSE_F64(t, actual, expected, count, ...)                                                               \
    test_check_close_f64(t, __FILE__, __LINE__, #actual, actual, expected, count, (test_tolerance){ __VA_ARGS__ })
#define CHECK_NEAR(t, actual, expected, ...)                                                                           \
    test_check_close_f64(t, __FILE__, __LINE__, #actual, (const double[]){ (double)(actual) },                         \
                         (const double[]){ (double)(expected) }, 1, (test_tolerance){ __VA_ARGS__ })

/* Text equal to tests/golden/<name>; the first line that differs is reported. */
#define CHECK_GOLDEN(t, name, text) test_check_golden(t, __FILE__, __LINE__, EPL_SOURCE_DIR, name, text)

void test_check_int(test *t, const char *file, int line, const char *what, long long actual, long long expected);
void test_check_str(test *t, const char *file, int line, const char *what, const char *actual, const char *expected);
void test_check_fails(test *t, const char *file, int line, const char *what, bool succeeded, epl_context *ctx, epl_error code,
                      const char *words);
void test_check_close(test *t, const char *file, int line, const char *what, const epl_tensor *actual,
                      const epl_tensor *expected, test_tolerance tol);
void test_check_close_f32(test *t, const char *file, int line, const char *what, const float *actual, const float *expected,
                          int64_t n, test_tolerance tol);
void test_check_close_f64(test *t, const char *file, int line, const char *what, const double *actual, const double *expected,
                          int64_t n, test_tolerance tol);
void test_check_golden(test *t, const char *file, int line, const char *source_dir, const char *name, const char *text);

/* ---- contexts ----
 * test_context(t), test_context(t, .n_threads = 3), test_context(t, .fail_allocation = n): allocation n of the context, counted
 * from 0 after its creation, fails once. The harness frees the context. */
typedef struct test_context_opts {
    int fail_allocation; /* default: none fails */
    int n_threads;       /* default: 1 */
} test_context_opts;

#pragma GCC diagnostic ignored "-Woverride-init" // the macro's own defaults come first
#define test_context(t, ...) test_context_with(t, (test_context_opts){ .fail_allocation = -1, ##__VA_ARGS__ })
epl_context *test_context_with(test *t, test_context_opts o);
size_t       test_live_bytes(const epl_context *ctx);  /* allocated and not released, the context itself left out */
size_t       test_peak_bytes(const epl_context *ctx);  /* the most that was live at once */
long         test_allocations(const epl_context *ctx); /* asked for so far */

/* ---- files ---- */
const char *test_temp(test *t, const char *name); /* a path in a folder of this program's, emptied when it ends */
const char *test_golden_path(const char *source_dir, const char *name);
char       *test_read_file(test *t, const char *path, size_t *bytes); /* terminated; free() it; bytes may be NULL */

#endif
