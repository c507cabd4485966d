/* dtype: element types, and the two half-width floats. */
#include <espalier/tensor.h>

#include <string.h>

static const struct {
    const char *name;
    size_t      bytes;
    bool        is_float, is_signed;
} types[EPL_N_DTYPES] = {
    [EPL_NO_DTYPE] = { "none", 0, false, false }, [EPL_F32] = { "f32", 4, true, true },
    [EPL_F64] = { "f64", 8, true, true },         [EPL_BF16] = { "bf16", 2, true, true },
    [EPL_F16] = { "f16", 2, true, true },         [EPL_I8] = { "i8", 1, false, true },
    [EPL_U8] = { "u8", 1, false, false },         [EPL_I16] = { "i16", 2, false, true },
    [EPL_U16] = { "u16", 2, false, false },       [EPL_I32] = { "i32", 4, false, true },
    [EPL_U32] = { "u32", 4, false, false },       [EPL_I64] = { "i64", 8, false, true },
    [EPL_U64] = { "u64", 8, false, false },       [EPL_BOOL] = { "bool", 1, false, false },
};

static epl_dtype known(epl_dtype t)
{
    return (unsigned)t < EPL_N_DTYPES ? t : EPL_NO_DTYPE;
}

const char *epl_dtype_name(epl_dtype t)
{
    return types[known(t)].name;
}

epl_dtype epl_dtype_from_name(const char *name)
{
    for (int t = EPL_NO_DTYPE + 1; t < EPL_N_DTYPES; t++)
        if (strcmp(types[t].name, name) == 0)
            return (epl_dtype)t;
    return EPL_NO_DTYPE;
}

size_t epl_dtype_bytes(epl_dtype t)
{
    return types[known(t)].bytes;
}

bool epl_dtype_is_float(epl_dtype t)
{
    return types[known(t)].is_float;
}

bool epl_dtype_is_signed(epl_dtype t)
{
    return types[known(t)].is_signed;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float epl_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3ff;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) {
        const float tiny = (float)fraction * 0x1p-24f;
        return from_bits(sign | bits_of(tiny));
    }
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t epl_f32_to_f16(float x)
{
    const uint32_t u = bits_of(x), magnitude = u & 0x7fffffff, sign = u >> 16 & 0x8000;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff)); // NaN, quiet
    if (magnitude >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); // 65520 and above round to infinity
    if (magnitude < 0x38800000) {         // subnormal: adding 0.5 lets the hardware round at the last place, 2^-24
        const uint32_t rounded = bits_of(from_bits(magnitude) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | rounded);
    }
    const uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude + 0xfff + odd - (112u << 23)) >> 13));
}

float epl_bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t epl_f32_to_bf16(float x)
{
    const uint32_t u = bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
