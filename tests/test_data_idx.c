/* IDX files: what is read, what is refused, and that nothing is allocated for a lie. */
#include <espalier/data.h>
#include <zlib.h>

#include "common/check.h"

static const unsigned char small[] = { 0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60 };

static size_t zip(test *t, const void *data, size_t n, unsigned char *out, size_t room)
{
    z_stream z = { 0 };
    CHECK(t, deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in   = (unsigned char *)(uintptr_t)data;
    z.avail_in  = (unsigned)n;
    z.next_out  = out;
    z.avail_out = (unsigned)room;
    CHECK(t, deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void check_small(test *t, epl_context *ctx, const void *data, size_t n)
{
    epl_tensor *x = epl_idx_parse(ctx, data, n, "small");
    CHECK_OK(t, ctx, x);
    CHECK(t, x->dtype == EPL_U8 && epl_shape_equal(x->shape, EPL_SHAPE(2, 1, 3)));
    CHECK(t, memcmp(x->data, small + 16, 6) == 0);
    epl_tensor_free(x);
}

TEST(idx_reads_plain_and_gzipped)
{
    epl_context  *ctx = test_context(t);
    unsigned char gz[200];
    check_small(t, ctx, small, sizeof small);
    check_small(t, ctx, gz, zip(t, small, sizeof small, gz, sizeof gz));
}

TEST(idx_converts_big_endian_elements)
{
    epl_context        *ctx     = test_context(t);
    const unsigned char i32[]   = { 0, 0, 0x0c, 1, 0, 0, 0, 2, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe };
    const unsigned char f64[]   = { 0, 0, 0x0e, 1, 0, 0, 0, 1, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0 };
    epl_tensor         *a = epl_idx_parse(ctx, i32, sizeof i32, "i32"), *b = epl_idx_parse(ctx, f64, sizeof f64, "f64");
    CHECK_OK(t, ctx, a && b);
    CHECK(t, a->dtype == EPL_I32 && b->dtype == EPL_F64);
    CHECK_INT(t, epl_tensor_get_i64(a, 0), 258);
    CHECK_INT(t, epl_tensor_get_i64(a, 1), -2);
    CHECK_NEAR(t, epl_tensor_get(b, 0), 1.5);
    epl_tensor_free(a);
    epl_tensor_free(b);
}

TEST(idx_refuses_every_truncation)
{
    epl_context  *ctx = test_context(t);
    unsigned char gz[200];
    const size_t  n_gz = zip(t, small, sizeof small, gz, sizeof gz);
    for (size_t n = 0; n < sizeof small; n++)
        CHECK_FAILS(t, ctx, epl_idx_parse(ctx, small, n, "cut"), EPL_ERR_FORMAT, "cut: truncated");
    for (size_t n = 0; n < n_gz; n++) // below two bytes it is not even gzip
        CHECK_FAILS(t, ctx, epl_idx_parse(ctx, gz, n, "cut"), EPL_ERR_FORMAT, "truncated");
}

TEST(idx_refuses_what_it_is_not)
{
    epl_context  *ctx = test_context(t);
    unsigned char bad[32], gz[200];
    memcpy(bad, small, sizeof small);
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, bad, sizeof small + 1, "long"), EPL_ERR_FORMAT, "goes on after the 6 bytes");
    size_t n = zip(t, bad, sizeof small + 1, gz, sizeof gz);
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, gz, n, "long"), EPL_ERR_FORMAT, "goes on after the 6 bytes");
    n = zip(t, small, sizeof small, gz, sizeof gz);
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, gz, n + 3, "tail"), EPL_ERR_FORMAT, "3 bytes follow");
    gz[n - 5] ^= 1; // the checksum
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, gz, n, "sum"), EPL_ERR_FORMAT, "sum: damaged gzip data");
    bad[3] = 9;
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, bad, sizeof small, "rank"), EPL_ERR_FORMAT, "IDX rank 9, expected 1 to 8");
    bad[3] = 0;
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, bad, sizeof small, "rank"), EPL_ERR_FORMAT, "IDX rank 0");
    bad[2] = 7;
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, bad, sizeof small, "type"), EPL_ERR_FORMAT, "not an IDX file (it begins 00 00 07 00)");
}

TEST(idx_allocates_nothing_for_huge_claims)
{
    epl_context        *ctx    = test_context(t);
    const unsigned char huge[] = { 0, 0, 8, 3, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 9, 9 };
    const unsigned char over[] = { 0, 0, 0x0e, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    unsigned char       gz[200];
    const size_t        n = zip(t, huge, sizeof huge, gz, sizeof gz);
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, huge, sizeof huge, "huge"), EPL_ERR_FORMAT,
                "[2147483647, 2147483647, 1], 4611686014132420609 bytes, the file can hold 2");
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, over, sizeof over, "over"), EPL_ERR_FORMAT, "overflow");
    CHECK_FAILS(t, ctx, epl_idx_parse(ctx, gz, n, "huge"), EPL_ERR_FORMAT, "the file can hold");
    CHECK(t, test_peak_bytes(ctx) < 4096); // the unpacker's own state
}

TEST(idx_survives_every_failed_allocation)
{
    unsigned char gz[200];
    const size_t  n_gz = zip(t, small, sizeof small, gz, sizeof gz);
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_tensor  *x   = epl_idx_parse(ctx, gz, n_gz, "small");
        done             = x != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_tensor_free(x);
    }
}

PROPERTY(idx_survives_random_bytes, 300)
{
    epl_context  *ctx = test_context(t);
    unsigned char data[200];
    size_t        n = sizeof small;
    memcpy(data, small, n);
    if (t->index % 2)
        n = zip(t, small, n, data, sizeof data);
    for (int k = 0; k < 4; k++)
        data[epl_rng_below(t->rng, n)] = (unsigned char)epl_rng_u32(t->rng);
    epl_tensor *x = epl_idx_parse(ctx, data, n, "random");
    CHECK(t, x || epl_error_code(ctx) == EPL_ERR_FORMAT);
    epl_tensor_free(x);
}
