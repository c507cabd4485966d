/* base: contexts, memory, text, numbers as text, patterns, random numbers, hashes. */
#include "common/check.h"

#include <float.h>
#include <locale.h>

TEST(first_error_wins)
{
    epl_context *ctx = test_context(t);
    CHECK_STR(t, epl_error_message(ctx), "");
    CHECK(t, !epl_fail(ctx, EPL_ERR_SHAPE, "input has %d channels, weight expects %d", 3, 4));
    epl_fail(ctx, EPL_ERR_IO, "later");
    CHECK_INT(t, epl_error_code(ctx), EPL_ERR_SHAPE);
    CHECK_STR(t, epl_error_message(ctx), "input has 3 channels, weight expects 4");
    epl_error_clear(ctx);
    CHECK_INT(t, epl_error_code(ctx), EPL_OK);
    CHECK_STR(t, epl_error_message(ctx), "");
}

TEST(errors_have_names_and_long_messages_are_cut)
{
    epl_context *ctx = test_context(t);
    CHECK_STR(t, epl_error_name(EPL_ERR_INTERRUPTED), "interrupted");
    CHECK_STR(t, epl_error_name((epl_error)1000), "unknown");
    for (int e = EPL_OK; e <= EPL_ERR_INTERRUPTED; e++)
        CHECK(t, strcmp(epl_error_name((epl_error)e), "unknown") != 0);
    char long_name[3000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    epl_fail(ctx, EPL_ERR_ARGUMENT, "%s", long_name);
    CHECK(t, strlen(epl_error_message(ctx)) > 500 && strlen(epl_error_message(ctx)) < 3000);
}

TEST(threads_default_to_the_cores)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ 0 });
    CHECK(t, epl_context_threads(ctx) >= 1);
    epl_context_set_threads(ctx, 7);
    CHECK_INT(t, epl_context_threads(ctx), 7);
    epl_context_set_threads(ctx, 0);
    CHECK(t, epl_context_threads(ctx) >= 1);
    epl_context_free(ctx);
    epl_context_free(NULL);
}

static bool all_zero(const void *p, size_t n)
{
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

TEST(memory_is_zeroed_aligned_and_counted)
{
    epl_context *ctx = test_context(t);
    void        *plain = epl_alloc(ctx, 100), *nothing = epl_alloc(ctx, 0), *array = epl_alloc_array(ctx, 7, 12);
    CHECK(t, plain && nothing && array);
    CHECK(t, (uintptr_t)plain % 16 == 0 && all_zero(plain, 100) && all_zero(array, 84));
    for (size_t n = 0; n < 200; n += 13) {
        void *aligned = epl_alloc_aligned(ctx, n);
        CHECK(t, aligned && (uintptr_t)aligned % 64 == 0 && all_zero(aligned, n));
        memset(aligned, 0xff, n);
        epl_release_aligned(ctx, aligned);
    }
    char *copy = epl_strdup(ctx, "espalier");
    CHECK_STR(t, copy, "espalier");
    copy = epl_resize(ctx, copy, 100, 1);
    CHECK_STR(t, copy, "espalier");
    CHECK(t, test_live_bytes(ctx) >= 100);
    epl_release(ctx, copy);
    epl_release(ctx, plain);
    epl_release(ctx, nothing);
    epl_release(ctx, array);
    epl_release(ctx, NULL);
    epl_release_aligned(ctx, NULL);
    CHECK_INT(t, test_live_bytes(ctx), 0);
}

TEST(impossible_sizes_are_refused)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_alloc_array(ctx, SIZE_MAX / 2, 3), EPL_ERR_MEMORY, "out of memory");
    CHECK_FAILS(t, ctx, epl_resize(ctx, NULL, SIZE_MAX / 2, 3), EPL_ERR_MEMORY, "out of memory");
    CHECK_FAILS(t, ctx, epl_alloc_aligned(ctx, SIZE_MAX - 8), EPL_ERR_MEMORY, "out of memory");
    CHECK_FAILS(t, ctx, epl_alloc(ctx, SIZE_MAX / 2), EPL_ERR_MEMORY, "out of memory");
    size_t  product;
    int64_t signed_product;
    CHECK(t, epl_mul_size(1u << 20, 1u << 20, &product) && product == (size_t)1 << 40);
    CHECK(t, !epl_mul_size(SIZE_MAX, 2, &product));
    CHECK(t, epl_mul_i64(INT64_MAX, -1, &signed_product) && signed_product == -INT64_MAX);
    CHECK(t, !epl_mul_i64(INT64_MIN, -1, &signed_product));
}

TEST(arrays_grow)
{
    epl_context *ctx = test_context(t);
    int         *items = NULL;
    size_t       count = 0, capacity = 0;
    for (int i = 0; i < 1000; i++) {
        CHECK(t, epl_grow(ctx, &items, count, &capacity, sizeof *items));
        items[count++] = i;
    }
    for (int i = 0; i < 1000; i++)
        CHECK_INT(t, items[i], i);
    epl_release(ctx, items);
    epl_context *poor = test_context(t, .fail_allocation = 0);
    items = NULL;
    capacity = 0;
    CHECK_FAILS(t, poor, epl_grow(poor, &items, 0, &capacity, sizeof *items), EPL_ERR_MEMORY, "");
    CHECK(t, items == NULL && capacity == 0);
}

PROPERTY(arena_blocks_do_not_overlap, 20)
{
    enum { N = 300 };
    epl_context   *ctx = test_context(t);
    epl_arena     *a = epl_arena_new(ctx);
    unsigned char *blocks[N];
    size_t         sizes[N];
    for (int i = 0; i < N; i++) {
        sizes[i] = (size_t)epl_rng_below(t->rng, i % 50 ? 200 : 100000);
        blocks[i] = epl_arena_alloc(a, sizes[i]);
        CHECK(t, blocks[i] && (uintptr_t)blocks[i] % 16 == 0 && all_zero(blocks[i], sizes[i]));
        memset(blocks[i], i % 255 + 1, sizes[i]);
    }
    for (int i = 0; i < N; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            CHECK(t, blocks[i][k] == i % 255 + 1);
    CHECK_STR(t, epl_arena_strdup(a, "leaf"), "leaf");
    epl_arena_free(a);
    epl_arena_free(NULL);
}

TEST(arena_survives_every_failed_allocation)
{
    bool done = false;
    for (int n = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_arena   *a = epl_arena_new(ctx);
        done = a && epl_arena_alloc(a, 10) && epl_arena_alloc(a, 10000) && epl_arena_strdup(a, "x");
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_arena_free(a);
    }
}

TEST(text_grows_and_formats)
{
    epl_context *ctx = test_context(t);
    epl_text     text = EPL_TEXT(ctx);
    CHECK_STR(t, epl_text_str(&text), "");
    for (int i = 0; i < 500; i++)
        epl_text_addf(&text, "%d,", i);
    epl_text_addf(&text, "%0400d", 7);
    epl_text_add(&text, "end");
    epl_text_add_bytes(&text, "\0!", 2);
    CHECK_INT(t, text.length, 1890 + 400 + 3 + 2);
    CHECK(t, strncmp(epl_text_str(&text), "0,1,2,", 6) == 0 && text.data[text.length] == 0);
    char *owned = epl_text_detach(&text);
    CHECK(t, owned && text.data == NULL && text.length == 0);
    epl_release(ctx, owned);
    owned = epl_text_detach(&text); // an empty text is a string too
    CHECK_STR(t, owned, "");
    epl_release(ctx, owned);
    epl_text_add(&text, "dropped");
    epl_text_release(&text);
    CHECK_STR(t, epl_text_str(&text), "");
}

TEST(text_survives_every_failed_allocation)
{
    bool done = false;
    for (int n = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_text     text = EPL_TEXT(ctx);
        for (int i = 0; i < 100; i++)
            epl_text_addf(&text, "line %d\n", i);
        char *all = epl_text_detach(&text);
        done = all != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_release(ctx, all);
    }
}

static void check_f64(test *t, double x, const char *expected)
{
    char out[32];
    epl_format_f64(out, x);
    CHECK_STR(t, out, expected);
}

TEST(numbers_print_shortest)
{
    char out[32];
    check_f64(t, 0.1, "0.1");
    check_f64(t, 1e-5, "1e-05");
    check_f64(t, 1.0 / 3.0, "0.3333333333333333");
    check_f64(t, 5e-324, "5e-324");
    check_f64(t, DBL_MAX, "1.7976931348623157e+308");
    check_f64(t, 1000000, "1000000");
    check_f64(t, -0.0, "-0");
    check_f64(t, INFINITY, "inf");
    check_f64(t, -INFINITY, "-inf");
    check_f64(t, NAN, "nan");
    epl_format_f32(out, 0.1f);
    CHECK_STR(t, out, "0.1");
    epl_format_f32(out, 16777216.0f);
    CHECK_STR(t, out, "16777216");
    epl_format_f32(out, FLT_TRUE_MIN);
    CHECK_STR(t, out, "1e-45");
}

/* The text reads back as the number, and with one digit less it would not. */
PROPERTY(numbers_read_back, 2000)
{
    char     out[32], shorter[400];
    uint64_t bits = (uint64_t)epl_rng_u32(t->rng) << 32 | epl_rng_u32(t->rng);
    double   x;
    float    f;
    uint32_t half = (uint32_t)bits;
    memcpy(&x, &bits, sizeof x);
    memcpy(&f, &half, sizeof f);
    epl_format_f64(out, x);
    CHECK(t, isnan(x) ? strcmp(out, "nan") == 0 : strtod(out, NULL) == x);
    int digits = 0;
    for (const char *p = out; *p && *p != 'e'; p++)
        digits += *p >= '0' && *p <= '9';
    if (isfinite(x) && digits > 1 && strchr(out, 'e')) {
        snprintf(shorter, sizeof shorter, "%.*g", digits - 1, x);
        CHECK(t, strtod(shorter, NULL) != x);
    }
    epl_format_f32(out, f);
    CHECK(t, isnan(f) ? strcmp(out, "nan") == 0 : strtof(out, NULL) == f);
}

TEST(people_read_counts_bytes_and_seconds)
{
    static const struct {
        double      x;
        const char *count, *bytes, *seconds;
    } rows[] = {
        { 0, "0", "0 B", "0 ns" },
        { 1, "1", "1 B", "1 s" },
        { 0.000085, "0.00", "0.00 B", "85 us" },
        { 1.24, "1.24", "1.24 B", "1.24 s" },
        { 999, "999", "999 B", "16 m 39 s" },
        { 1536, "1.54 k", "1.50 KiB", "25 m 36 s" },
        { 185, "185", "185 B", "3 m 05 s" },
        { 59.99, "60.0", "60.0 B", "1 m 00 s" },
        { 7500, "7.50 k", "7.32 KiB", "2 h 05 m" },
        { 999999, "1.00 M", "977 KiB", "277 h 47 m" },
        { 1234567, "1.23 M", "1.18 MiB", "342 h 56 m" },
    };
    char out[32];
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        epl_format_count(out, rows[i].x);
        CHECK_STR(t, out, rows[i].count);
        epl_format_bytes(out, rows[i].x);
        CHECK_STR(t, out, rows[i].bytes);
        epl_format_seconds(out, rows[i].x);
        CHECK_STR(t, out, rows[i].seconds);
    }
    const double extremes[] = { INFINITY, -INFINITY, NAN, DBL_MAX, -DBL_MAX, DBL_TRUE_MIN };
    for (size_t i = 0; i < EPL_COUNT(extremes); i++) { // fits in 32 bytes: the sanitizers look on
        epl_format_count(out, extremes[i]);
        epl_format_bytes(out, extremes[i]);
        epl_format_seconds(out, extremes[i]);
        CHECK(t, strlen(out) > 0);
    }
}

TEST(patterns_match)
{
    static const struct {
        const char *pattern, *name;
        bool        match;
    } rows[] = {
        { "*", "", true },
        { "", "", true },
        { "", "a", false },
        { "conv*", "conv1.weight", true },
        { "*.weight", "conv1.weight", true },
        { "*.weight", "conv1.bias", false },
        { "conv?.bias", "conv1.bias", true },
        { "conv?.bias", "conv12.bias", false },
        { "*.bias,*.weight", "a.weight", true },
        { "a,b,c", "c", true },
        { "a,b,c", "d", false },
        { "*a*b*c*", "xxaxxbxxcxx", true },
        { "*aab", "aaaaaaaaaaaaab", true },
        { "a*", "b", false },
    };
    for (size_t i = 0; i < EPL_COUNT(rows); i++)
        if (epl_glob(rows[i].pattern, rows[i].name) != rows[i].match)
            FAIL(t, "glob(\"%s\", \"%s\") is %d", rows[i].pattern, rows[i].name, !rows[i].match);
}

TEST(mistyped_names_find_the_closest)
{
    static const char *const names[] = { "relu", "gelu", "softmax", "conv", "batch_norm" };
    CHECK_STR(t, epl_closest("softmx", names, EPL_COUNT(names)), "softmax");
    CHECK_STR(t, epl_closest("ReLU", names, EPL_COUNT(names)), "relu");
    CHECK_STR(t, epl_closest("cnov", names, EPL_COUNT(names)), "conv");
    CHECK_STR(t, epl_closest("batchnorm", names, EPL_COUNT(names)), "batch_norm");
    CHECK(t, epl_closest("x", names, EPL_COUNT(names)) == NULL);
    CHECK(t, epl_closest("attention", names, EPL_COUNT(names)) == NULL);
    CHECK(t, epl_closest("", names, EPL_COUNT(names)) == NULL);
    char name[200];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    const char *const long_names[] = { name };
    CHECK(t, epl_closest(name, long_names, 1) == NULL);
    CHECK(t, epl_closest("aaaa", long_names, 1) == NULL);
}

/* The known answers that Random123 publishes for philox4x32-10. */
TEST(philox_gives_the_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } rows[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        uint32_t out[4];
        epl_philox4x32(rows[i].counter, rows[i].key, out);
        for (int k = 0; k < 4; k++)
            CHECK_INT(t, out[k], rows[i].out[k]);
    }
}

TEST(streams_are_repeatable_and_differ)
{
    epl_rng  a = epl_rng_at(5, 0), b = epl_rng_at(5, 1), c = a;
    uint32_t counter[4] = { 0 }, key[2] = { 5, 0 }, block[4];
    epl_philox4x32(counter, key, block);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        const uint32_t x = epl_rng_u32(&a);
        equal += x == epl_rng_u32(&b);
        CHECK(t, x == epl_rng_u32(&c));
        CHECK(t, i >= 4 || x == block[i]);
    }
    CHECK(t, equal == 0);
}

PROPERTY(draws_below_n_are_even, 8)
{
    static const uint64_t sizes[] = { 1, 2, 3, 5, 6, 7, 10, 16 };
    const uint64_t        n = sizes[t->index];
    double                counts[16] = { 0 }, chi2 = 0;
    enum { DRAWS = 20000 };
    for (int i = 0; i < DRAWS; i++) {
        const uint64_t x = epl_rng_below(t->rng, n);
        CHECK(t, x < n);
        counts[x]++;
    }
    const double expected = (double)DRAWS / (double)n;
    for (uint64_t i = 0; i < n; i++)
        chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
    CHECK(t, chi2 < 60); // 15 degrees of freedom: chance below 1e-6
    CHECK(t, epl_rng_below(t->rng, UINT64_MAX) < UINT64_MAX);
}

TEST(uniform_and_normal_have_their_moments)
{
    enum { N = 200000 };
    double sum = 0, square = 0, u = 0, v = 0;
    for (int i = 0; i < N; i++) {
        const double x = (double)epl_rng_normal(t->rng);
        const float  f = epl_rng_uniform(t->rng);
        const double d = epl_rng_uniform_f64(t->rng);
        CHECK(t, f >= 0 && f < 1 && d >= 0 && d < 1 && isfinite(x));
        sum += x;
        square += x * x;
        u += (double)f;
        v += d;
    }
    CHECK_NEAR(t, sum / N, 0, .atol = 0.012); // five standard errors
    CHECK_NEAR(t, square / N, 1, .atol = 0.016);
    CHECK_NEAR(t, u / N, 0.5, .atol = 0.0033);
    CHECK_NEAR(t, v / N, 0.5, .atol = 0.0033);
}

PROPERTY(shuffle_is_a_permutation, 50)
{
    int64_t      items[40];
    bool         seen[40] = { false };
    const size_t n = (size_t)epl_rng_below(t->rng, 41);
    for (size_t i = 0; i < n; i++)
        items[i] = (int64_t)i;
    epl_rng_shuffle(t->rng, items, n);
    for (size_t i = 0; i < n; i++) {
        CHECK(t, items[i] >= 0 && items[i] < (int64_t)n && !seen[items[i]]);
        seen[items[i]] = true;
    }
}

/* The empty input's value is the one that the XXH3 specification gives for seed 0. */
PROPERTY(medians_lie_in_the_middle, 40)
{
    double        x[9];
    const int64_t n = (int64_t)epl_rng_below(t->rng, EPL_COUNT(x) + 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)epl_rng_below(t->rng, 5); // often equal
    const double median = epl_median(x, n);
    int64_t below = 0, above = 0;
    for (int64_t i = 0; i < n; i++) {
        CHECK(t, i == 0 || x[i - 1] <= x[i]);
        below += x[i] < median;
        above += x[i] > median;
    }
    CHECK(t, n ? below <= n / 2 && above <= n / 2 : isnan(median));
    if (n && n % 2 == 0)
        CHECK_NEAR(t, 2 * median, x[n / 2 - 1] + x[n / 2], 0);
}

TEST(hash_is_stable)
{
    CHECK(t, epl_hash("", 0, 0) == 0x2D06800538D394C2ull);
    CHECK(t, epl_hash("espalier", 8, 0) == epl_hash("espalier", 8, 0));
    CHECK(t, epl_hash("espalier", 8, 0) != epl_hash("espalier", 8, 1));
    CHECK(t, epl_hash("espalier", 8, 0) != epl_hash("espalieR", 8, 0));
}

TEST(time_moves_forward)
{
    const double start = epl_now_s();
    double       now = start;
    for (int i = 0; i < 1000; i++) {
        const double next = epl_now_s();
        CHECK(t, next >= now);
        now = next;
    }
    CHECK(t, now > start);
}

/* Run under a locale with a decimal comma where one is installed. */
TEST(numbers_ignore_the_locale)
{
    const char *const locales[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8" };
    bool              found = false;
    for (size_t i = 0; i < EPL_COUNT(locales) && !found; i++)
        found = setlocale(LC_NUMERIC, locales[i]) != NULL;
    if (!found)
        test_skip(t, "no locale with a decimal comma is installed");
    char out[32], bytes[32];
    epl_format_f64(out, 0.25);
    epl_format_bytes(bytes, 1536);
    setlocale(LC_NUMERIC, "C");
    CHECK_STR(t, out, "0.25");
    CHECK_STR(t, bytes, "1.50 KiB");
}
