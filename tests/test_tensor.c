/* tensor: element types, half floats, shapes, element access, casts, fills. */
#include "common/check.h"

TEST(dtypes_have_names_and_sizes)
{
    for (int d = EPL_NO_DTYPE + 1; d < EPL_N_DTYPES; d++) {
        CHECK_INT(t, epl_dtype_from_name(epl_dtype_name((epl_dtype)d)), d);
        CHECK(t, epl_dtype_bytes((epl_dtype)d) >= 1 && epl_dtype_bytes((epl_dtype)d) <= 8);
    }
    CHECK_INT(t, epl_dtype_from_name("f128"), EPL_NO_DTYPE);
    CHECK_INT(t, epl_dtype_bytes(EPL_NO_DTYPE), 0);
    CHECK_INT(t, epl_dtype_bytes((epl_dtype)99), 0);
    CHECK(t, epl_dtype_is_float(EPL_BF16) && !epl_dtype_is_float(EPL_I8));
    CHECK(t, epl_dtype_is_signed(EPL_I8) && !epl_dtype_is_signed(EPL_BOOL));
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Every half there is: to float and back, and the value against its definition. */
TEST(f16_round_trips)
{
    for (uint32_t h = 0; h < 65536; h++) {
        const float  x = epl_f16_to_f32((uint16_t)h);
        const int    exponent = h >> 10 & 31, fraction = h & 1023;
        const double sign = h & 0x8000 ? -1 : 1;
        if (exponent == 31 && fraction) {
            CHECK(t, isnan(x) && isnan(epl_f16_to_f32(epl_f32_to_f16(x))));
            continue;
        }
        const double value = exponent == 31  ? INFINITY
                             : exponent == 0 ? ldexp(fraction, -24)
                                             : ldexp(1024 + fraction, exponent - 25);
        CHECK(t, (double)x == sign * value && (signbit(x) != 0) == (h >= 0x8000));
        CHECK_INT(t, epl_f32_to_f16(x), h);
    }
}

/* The nearest half, and the even one in the middle: checked against its two neighbours. */
PROPERTY(f16_rounds_to_nearest_even, 20000)
{
    const uint32_t bits = (uint32_t)epl_rng_below(t->rng, 0x477fe000); // below the largest half
    const float    x = t->index % 4 ? float_of(bits) : float_of(bits & 0xfffff000);
    const uint16_t h = epl_f32_to_f16(x);
    const double   here = fabs((double)epl_f16_to_f32(h) - (double)x);
    for (int step = -1; step <= 1; step += 2) {
        if ((h == 0 && step < 0) || h + step > 0x7bff)
            continue;
        const double there = fabs((double)epl_f16_to_f32((uint16_t)(h + step)) - (double)x);
        CHECK(t, here < there || (here == there && h % 2 == 0));
    }
    CHECK_INT(t, epl_f32_to_f16(-x), h | 0x8000);
}

TEST(f16_overflows_to_infinity)
{
    CHECK_INT(t, epl_f32_to_f16(65504), 0x7bff);
    CHECK_INT(t, epl_f32_to_f16(65519.996f), 0x7bff);
    CHECK_INT(t, epl_f32_to_f16(65520), 0x7c00);
    CHECK_INT(t, epl_f32_to_f16(-1e30f), 0xfc00);
    CHECK_INT(t, epl_f32_to_f16(1e-30f), 0);
}

PROPERTY(bf16_rounds_to_nearest_even, 20000)
{
    uint32_t bits = epl_rng_u32(t->rng);
    if (t->index % 4 == 0)
        bits = (bits & 0xffff0000) | 0x8000; // the middle
    const float    x = float_of(bits);
    const uint16_t h = epl_f32_to_bf16(x);
    if (isnan(x)) {
        CHECK(t, isnan(epl_bf16_to_f32(h)));
        return;
    }
    const uint32_t low = bits & 0xffff, kept = bits >> 16;
    const uint32_t expected = low > 0x8000 || (low == 0x8000 && kept % 2) ? kept + 1 : kept;
    CHECK_INT(t, h, expected);
    CHECK_INT(t, epl_f32_to_bf16(epl_bf16_to_f32(h)), h);
}

TEST(shapes_count_print_and_compare)
{
    char text[192];
    CHECK_INT(t, epl_shape_count(EPL_SCALAR), 1);
    CHECK_INT(t, epl_shape_count(EPL_SHAPE(64, 28, 28, 1)), 50176);
    CHECK_INT(t, epl_shape_count(EPL_SHAPE(INT64_MAX, 2)), -1);
    CHECK_INT(t, epl_shape_count(EPL_SHAPE(INT64_MAX, 2, 0)), 0);
    CHECK_INT(t, epl_shape_count(EPL_SHAPE(4, -1)), -1);
    CHECK_INT(t, epl_shape_count((epl_shape){ .rank = 9 }), -1);
    CHECK_INT(t, epl_shape_count_from(EPL_SHAPE(2, 3, 4), 1, 3), 12);
    CHECK_STR(t, epl_shape_text(text, EPL_SHAPE(64, 28, 28, 1)), "[64, 28, 28, 1]");
    CHECK_STR(t, epl_shape_text(text, EPL_SCALAR), "[]");
    const int64_t big = INT64_MIN;
    CHECK(t, strlen(epl_shape_text(text, EPL_SHAPE(big, big, big, big, big, big, big, big))) > 150);
    CHECK(t,
          epl_shape_equal(EPL_SHAPE(2, 3), EPL_SHAPE(2, 3)) && !epl_shape_equal(EPL_SHAPE(2, 3), EPL_SHAPE(2, 3, 1)));
    CHECK(t, !epl_shape_equal(EPL_SHAPE(2, 3), EPL_SHAPE(2, 4)));
}

TEST(shapes_broadcast)
{
    epl_shape out;
    CHECK(t, epl_shape_broadcast(EPL_SHAPE(8, 1, 6, 1), EPL_SHAPE(7, 1, 5), &out));
    CHECK(t, epl_shape_equal(out, EPL_SHAPE(8, 7, 6, 5)));
    CHECK(t, epl_shape_broadcast(EPL_SCALAR, EPL_SHAPE(2, 3), &out) && epl_shape_equal(out, EPL_SHAPE(2, 3)));
    CHECK(t, epl_shape_broadcast(EPL_SHAPE(1), EPL_SHAPE(0), &out) && epl_shape_equal(out, EPL_SHAPE(0)));
    CHECK(t, !epl_shape_broadcast(EPL_SHAPE(2, 3), EPL_SHAPE(2, 4), &out));
}

TEST(tensors_are_made_and_refused)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 3));
    CHECK(t, x && (uintptr_t)x->data % 64 == 0 && epl_tensor_bytes(x) == 24 && epl_tensor_get(x, 5) == 0);
    epl_tensor_set(x, 5, 2.5);
    epl_tensor *y = epl_tensor_copy(ctx, x), *view = epl_tensor_view(ctx, EPL_F32, EPL_SHAPE(6), x->data);
    CHECK(t, epl_tensor_equal(x, y) && epl_tensor_get(view, 5) == 2.5 && !epl_tensor_equal(x, view));
    epl_tensor_set(view, 0, 1);
    CHECK(t, !epl_tensor_equal(x, y) && epl_tensor_get(x, 0) == 1);
    epl_tensor *none = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(3, 0));
    CHECK(t, none && epl_tensor_count(none) == 0 && epl_tensor_bytes(none) == 0);
    CHECK_FAILS(t, ctx, epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, -1)), EPL_ERR_SHAPE, "[2, -1]");
    CHECK_FAILS(t, ctx, epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(INT64_MAX / 4, 2)), EPL_ERR_SHAPE, "f64");
    CHECK_FAILS(t, ctx, epl_tensor_new(ctx, EPL_NO_DTYPE, EPL_SCALAR), EPL_ERR_DTYPE, "element type");
    CHECK_FAILS(t, ctx, epl_tensor_view(ctx, EPL_F32, (epl_shape){ .rank = 9 }, NULL), EPL_ERR_SHAPE, "9");
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_tensor_free(view);
    epl_tensor_free(none);
    epl_tensor_free(NULL);
}

TEST(tensors_survive_every_failed_allocation)
{
    bool done = false;
    for (int n = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 3));
        epl_tensor  *y = x ? epl_tensor_cast(ctx, x, EPL_I8) : NULL;
        done = y != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_tensor_free(x);
        epl_tensor_free(y);
    }
}

TEST(writing_rounds_and_saturates)
{
    static const struct {
        epl_dtype dtype;
        double    in, out;
    } rows[] = {
        { EPL_I8, 2.5, 2 },
        { EPL_I8, 3.5, 4 },
        { EPL_I8, 1e9, 127 },
        { EPL_I8, -1e9, -128 },
        { EPL_U8, -3, 0 },
        { EPL_U8, 255.4, 255 },
        { EPL_U8, INFINITY, 255 },
        { EPL_U8, NAN, 0 },
        { EPL_I16, -40000, -32768 },
        { EPL_U16, 70000, 65535 },
        { EPL_I32, 3e9, 2147483647 },
        { EPL_U32, 5e9, 4294967295.0 },
        { EPL_I64, 1e30, 0x1p63 },
        { EPL_I64, -1e30, -0x1p63 },
        { EPL_U64, 1e30, 0x1p64 },
        { EPL_U64, -1, 0 },
        { EPL_U64, 0x1p63, 0x1p63 },
        { EPL_BOOL, 0.25, 1 },
        { EPL_BOOL, 0, 0 },
        { EPL_F32, 0.1, (double)0.1f },
        { EPL_F64, 0.1, 0.1 },
        { EPL_BF16, 1.00390625, 1 },
        { EPL_F16, 70000, INFINITY },
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        epl_tensor *x = epl_tensor_new(ctx, rows[i].dtype, EPL_SCALAR);
        epl_tensor_set(x, 0, rows[i].in);
        if (epl_tensor_get(x, 0) != rows[i].out)
            FAIL(t, "%s of %g is %.17g", epl_dtype_name(rows[i].dtype), rows[i].in, epl_tensor_get(x, 0));
        epl_tensor_free(x);
    }
}

TEST(integers_are_exact)
{
    epl_context  *ctx = test_context(t);
    epl_tensor   *x = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(3));
    const int64_t values[] = { INT64_MAX - 1, INT64_MIN, 9007199254740993 };
    for (int i = 0; i < 3; i++) {
        epl_tensor_set_i64(x, i, values[i]);
        CHECK_INT(t, epl_tensor_get_i64(x, i), values[i]);
    }
    epl_tensor *u = epl_tensor_cast(ctx, x, EPL_U64), *small = epl_tensor_cast(ctx, x, EPL_I16);
    CHECK_INT(t, epl_tensor_get_i64(u, 0), INT64_MAX - 1);
    CHECK_INT(t, epl_tensor_get_i64(u, 1), 0);
    CHECK_INT(t, epl_tensor_get_i64(small, 0), INT16_MAX);
    CHECK_INT(t, epl_tensor_get_i64(small, 1), INT16_MIN);
    ((uint64_t *)u->data)[0] = UINT64_MAX;
    CHECK_INT(t, epl_tensor_get_i64(u, 0), INT64_MAX);
    epl_tensor *f = epl_tensor_new(ctx, EPL_F32, EPL_SCALAR);
    epl_tensor_set(f, 0, -2.75);
    CHECK_INT(t, epl_tensor_get_i64(f, 0), -2);
    epl_tensor_set_i64(f, 0, 12);
    CHECK(t, epl_tensor_get(f, 0) == 12);
    epl_tensor_free(x);
    epl_tensor_free(u);
    epl_tensor_free(small);
    epl_tensor_free(f);
}

/* Whatever a type can hold comes back from any type that holds at least as much. */
PROPERTY(casts_keep_values, 200)
{
    static const epl_dtype narrow[] = { EPL_I8, EPL_U8, EPL_BOOL },
                           wide[] = { EPL_F32, EPL_F64, EPL_F16, EPL_BF16, EPL_I16, EPL_I32, EPL_I64 };
    const epl_dtype from = narrow[epl_rng_below(t->rng, 3)], to = wide[epl_rng_below(t->rng, 7)];
    epl_context    *ctx = test_context(t);
    epl_tensor     *x = epl_tensor_new(ctx, from, EPL_SHAPE(5, 4));
    epl_tensor_fill_uniform(x, t->rng, from == EPL_BOOL ? 0 : -100, from == EPL_BOOL ? 1 : 100);
    epl_tensor *y = epl_tensor_cast(ctx, x, to), *back = epl_tensor_cast(ctx, y, from);
    CHECK(t, epl_tensor_equal(x, back));
    CHECK_CLOSE(t, y, x, .rtol = 0);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_tensor_free(back);
}

TEST(fills_have_their_moments)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(100, 1000));
    double       sum = 0, square = 0, low = 1e9, high = -1e9;
    epl_tensor_fill_normal(x, t->rng, 3, 0.5);
    for (int64_t i = 0; i < epl_tensor_count(x); i++) {
        sum += epl_tensor_get(x, i);
        square += pow(epl_tensor_get(x, i) - 3, 2);
    }
    CHECK_NEAR(t, sum / 1e5, 3, .atol = 0.008);
    CHECK_NEAR(t, sqrt(square / 1e5), 0.5, .atol = 0.006);
    epl_tensor_fill_uniform(x, t->rng, -2, 5);
    for (int64_t i = 0; i < epl_tensor_count(x); i++) {
        low = fmin(low, epl_tensor_get(x, i));
        high = fmax(high, epl_tensor_get(x, i));
    }
    CHECK(t, low >= -2 && low < -1.9 && high <= 5 && high > 4.9);
    epl_tensor_free(x);
}

TEST(weights_are_averaged_by_name)
{
    epl_context *ctx = test_context(t);
    epl_weights *w[3];
    for (int i = 0; i < 3; i++) {
        w[i] = epl_weights_new(ctx);
        epl_tensor *a = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2)), *b = epl_tensor_new(ctx, EPL_I64, EPL_SCALAR);
        epl_tensor_set(a, 0, i);
        epl_tensor_set(a, 1, i * i);
        epl_tensor_set_i64(b, 0, 10 + i);
        CHECK_OK(t, ctx, epl_weights_put_take(w[i], i ? "b" : "a", i ? b : a) && epl_weights_put_take(w[i], i ? "a" : "b", i ? a : b));
    }
    epl_weights *mean = epl_weights_average(ctx, 3, (const epl_weights *const *)w);
    CHECK_OK(t, ctx, mean);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(mean, "a"), 0), 1, .rtol = 1e-6);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(mean, "a"), 1), 5.0 / 3, .rtol = 1e-6);
    CHECK_INT(t, epl_tensor_get_i64(epl_weights_find(mean, "b"), 0), 12);
    epl_weights_remove(w[0], "b");
    CHECK_FAILS(t, ctx, epl_weights_average(ctx, 3, (const epl_weights *const *)w), EPL_ERR_ARGUMENT, "2 tensors, another 1");
    CHECK_OK(t, ctx, epl_weights_put_take(w[0], "b", epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(2))));
    CHECK_FAILS(t, ctx, epl_weights_average(ctx, 3, (const epl_weights *const *)w), EPL_ERR_SHAPE, "'b' is i64[2]");
    for (int i = 0; i < 3; i++)
        epl_weights_free(w[i]);
    epl_weights_free(mean);
}
