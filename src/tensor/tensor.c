/* tensor: memory with a type and a shape. Element access converts and is for edges and tests; kernels do the arithmetic. */
#include <espalier/tensor.h>

#include <math.h>
#include <string.h>

/* Bytes of a tensor, or false with the reason in the context. */
static bool checked_bytes(epl_context *ctx, epl_dtype dtype, epl_shape shape, size_t *bytes)
{
    char          text[192];
    const int64_t count = epl_shape_count(shape);
    if (epl_dtype_bytes(dtype) == 0)
        return epl_fail(ctx, EPL_ERR_DTYPE, "a tensor needs an element type, got %d", (int)dtype);
    if (shape.rank < 0 || shape.rank > EPL_MAX_RANK)
        return epl_fail(ctx, EPL_ERR_SHAPE, "a tensor has at most %d dimensions, got %d", EPL_MAX_RANK, shape.rank);
    if (count < 0 || !epl_mul_size((size_t)count, epl_dtype_bytes(dtype), bytes) || *bytes > INT64_MAX)
        return epl_fail(ctx, EPL_ERR_SHAPE, "no tensor of %s can have shape %s", epl_dtype_name(dtype),
                        epl_shape_text(text, shape));
    return true;
}

static epl_tensor *tensor_over(epl_context *ctx, epl_dtype dtype, epl_shape shape, void *data, void *owned)
{
    epl_tensor *t = epl_alloc(ctx, sizeof *t);
    if (t)
        *t = (epl_tensor){ .dtype = dtype, .shape = shape, .data = data, .ctx = ctx, .owned = owned };
    return t;
}

epl_tensor *epl_tensor_new(epl_context *ctx, epl_dtype dtype, epl_shape shape)
{
    size_t bytes;
    if (!checked_bytes(ctx, dtype, shape, &bytes))
        return NULL;
    void *data = epl_alloc_aligned(ctx, bytes);
    if (!data)
        return NULL;
    epl_tensor *t = tensor_over(ctx, dtype, shape, data, data);
    if (!t)
        epl_release_aligned(ctx, data);
    return t;
}

epl_tensor *epl_tensor_view(epl_context *ctx, epl_dtype dtype, epl_shape shape, void *data)
{
    size_t bytes;
    return checked_bytes(ctx, dtype, shape, &bytes) ? tensor_over(ctx, dtype, shape, data, NULL) : NULL;
}

epl_tensor *epl_tensor_copy(epl_context *ctx, const epl_tensor *t)
{
    epl_tensor  *copy = epl_tensor_new(ctx, t->dtype, t->shape);
    const size_t bytes = epl_tensor_bytes(t);
    if (copy && bytes)
        memcpy(copy->data, t->data, bytes);
    return copy;
}

void epl_tensor_free(epl_tensor *t)
{
    if (!t)
        return;
    epl_release_aligned(t->ctx, t->owned);
    epl_release(t->ctx, t);
}

int64_t epl_tensor_count(const epl_tensor *t)
{
    return epl_shape_count(t->shape);
}

size_t epl_tensor_bytes(const epl_tensor *t)
{
    return (size_t)epl_tensor_count(t) * epl_dtype_bytes(t->dtype);
}

double epl_tensor_get(const epl_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case EPL_F32: return (double)((const float *)t->data)[i];
    case EPL_F64: return ((const double *)t->data)[i];
    case EPL_BF16: return (double)epl_bf16_to_f32(((const uint16_t *)t->data)[i]);
    case EPL_F16: return (double)epl_f16_to_f32(((const uint16_t *)t->data)[i]);
    case EPL_U64: return (double)((const uint64_t *)t->data)[i];
    default: return (double)epl_tensor_get_i64(t, i);
    }
}

/* Rounded to nearest (even), clamped to [low, high]; NaN becomes 0. The bounds are powers of two or one below, and a bound that
 * double cannot hold is caught by the comparison before the conversion. */
static int64_t to_integer(double x, int64_t low, int64_t high)
{
    if (isnan(x))
        return 0;
    const double rounded = nearbyint(x);
    if (rounded <= (double)low)
        return low;
    return rounded >= (double)high ? high : (int64_t)rounded;
}

static uint64_t to_u64(double x)
{
    const double rounded = nearbyint(x);
    if (!(rounded > 0))
        return 0;
    return rounded >= 0x1p64 ? UINT64_MAX : (uint64_t)rounded;
}

void epl_tensor_set(epl_tensor *t, int64_t i, double x)
{
    switch (t->dtype) {
    case EPL_F32: ((float *)t->data)[i] = (float)x; break;
    case EPL_F64: ((double *)t->data)[i] = x; break;
    case EPL_BF16: ((uint16_t *)t->data)[i] = epl_f32_to_bf16((float)x); break;
    case EPL_F16: ((uint16_t *)t->data)[i] = epl_f32_to_f16((float)x); break;
    case EPL_U64: ((uint64_t *)t->data)[i] = to_u64(x); break;
    case EPL_BOOL: ((uint8_t *)t->data)[i] = x != 0; break;
    default: epl_tensor_set_i64(t, i, to_integer(x, INT64_MIN, INT64_MAX));
    }
}

int64_t epl_tensor_get_i64(const epl_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case EPL_I8: return ((const int8_t *)t->data)[i];
    case EPL_BOOL:
    case EPL_U8: return ((const uint8_t *)t->data)[i];
    case EPL_I16: return ((const int16_t *)t->data)[i];
    case EPL_U16: return ((const uint16_t *)t->data)[i];
    case EPL_I32: return ((const int32_t *)t->data)[i];
    case EPL_U32: return ((const uint32_t *)t->data)[i];
    case EPL_I64: return ((const int64_t *)t->data)[i];
    case EPL_U64: {
        const uint64_t u = ((const uint64_t *)t->data)[i];
        return u > INT64_MAX ? INT64_MAX : (int64_t)u;
    }
    default: return to_integer(trunc(epl_tensor_get(t, i)), INT64_MIN, INT64_MAX);
    }
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

void epl_tensor_set_i64(epl_tensor *t, int64_t i, int64_t x)
{
    switch (t->dtype) {
    case EPL_I8: ((int8_t *)t->data)[i] = (int8_t)clamp(x, INT8_MIN, INT8_MAX); break;
    case EPL_U8: ((uint8_t *)t->data)[i] = (uint8_t)clamp(x, 0, UINT8_MAX); break;
    case EPL_I16: ((int16_t *)t->data)[i] = (int16_t)clamp(x, INT16_MIN, INT16_MAX); break;
    case EPL_U16: ((uint16_t *)t->data)[i] = (uint16_t)clamp(x, 0, UINT16_MAX); break;
    case EPL_I32: ((int32_t *)t->data)[i] = (int32_t)clamp(x, INT32_MIN, INT32_MAX); break;
    case EPL_U32: ((uint32_t *)t->data)[i] = (uint32_t)clamp(x, 0, UINT32_MAX); break;
    case EPL_I64: ((int64_t *)t->data)[i] = x; break;
    case EPL_U64: ((uint64_t *)t->data)[i] = x < 0 ? 0 : (uint64_t)x; break;
    case EPL_BOOL: ((uint8_t *)t->data)[i] = x != 0; break;
    default: epl_tensor_set(t, i, (double)x);
    }
}

epl_tensor *epl_tensor_cast(epl_context *ctx, const epl_tensor *t, epl_dtype dtype)
{
    if (t->dtype == dtype)
        return epl_tensor_copy(ctx, t);
    epl_tensor *result = epl_tensor_new(ctx, dtype, t->shape);
    if (!result)
        return NULL;
    const bool    integers = !epl_dtype_is_float(dtype) && !epl_dtype_is_float(t->dtype);
    const int64_t n = epl_tensor_count(t);
    for (int64_t i = 0; i < n; i++) {
        if (integers)
            epl_tensor_set_i64(result, i, epl_tensor_get_i64(t, i));
        else
            epl_tensor_set(result, i, epl_tensor_get(t, i));
    }
    return result;
}

void epl_tensor_fill_normal(epl_tensor *t, epl_rng *r, double mean, double std)
{
    const int64_t n = epl_tensor_count(t);
    for (int64_t i = 0; i < n; i++)
        epl_tensor_set(t, i, mean + std * (double)epl_rng_normal(r));
}

void epl_tensor_fill_uniform(epl_tensor *t, epl_rng *r, double low, double high)
{
    const int64_t n = epl_tensor_count(t);
    for (int64_t i = 0; i < n; i++)
        epl_tensor_set(t, i, low + (high - low) * epl_rng_uniform_f64(r));
}

bool epl_tensor_equal(const epl_tensor *a, const epl_tensor *b)
{
    if (a->dtype != b->dtype || !epl_shape_equal(a->shape, b->shape))
        return false;
    const size_t bytes = epl_tensor_bytes(a);
    return bytes == 0 || memcmp(a->data, b->data, bytes) == 0;
}
