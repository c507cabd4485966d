/* The element-wise chain over f32, and the choice between it and the one over integers. */
#include "kernels/chain.h"
#include "kernels/chain_int.h"
#include "kernels/vmath.h"
#include "ops/elementwise.h"
#include "ops/ref.h"

typedef float elem;
enum { ELEM_DTYPE = EPL_REF_F32, LANES = VL };

/* ---- the rows ---- */

#define NONE
#define ATTR(p, ...)                      const double p = at[0];
#define ATTRS(p, p_default, q, q_default) const double p = at[0]; const double q = at[1];
/* n is a multiple of VL. */
#define KEEP(name, attributes, inputs, y)                                                                          \
    static void tile_##name(float *to, const float *const *in, int64_t n, const double *at)                        \
    {                                                                                                              \
        (void)at;                                                                                                  \
        attributes for (int64_t i = 0; i < n; i += VL)                                                             \
        {                                                                                                          \
            inputs vstore(to + i, y);                                                                              \
        }                                                                                                          \
    }
#define DROP(name, attributes, inputs, y)
#define KEEP_ANY       KEEP
#define KEEP_REAL      KEEP
#define KEEP_NUMBER    KEEP
#define KEEP_INTEGER   DROP
#define KEEP_LOGIC     KEEP
#define KEEP_TEST      KEEP
#define KEEP_REAL_TEST KEEP
#define KEEP_SELECT    KEEP
#define IN(name, k)    const vf name = vload(in[k] + i);

#define UNARY(name, types, attributes, y, ...)   KEEP_##types(name, attributes, IN(x, 0), y)
#define BINARY(name, types, attributes, y, ...)  KEEP_##types(name, attributes, IN(a, 0) IN(b, 1), y)
#define TERNARY(name, types, attributes, y, ...) KEEP_##types(name, attributes, IN(a, 0) IN(b, 1) IN(c, 2), y)
#include "ops/elementwise.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KEEP
#undef DROP
#define KEEP(name) tile_##name,
#define DROP(name) 0,
#define UNARY(name, types, ...) KEEP_##types(name)
#define BINARY                  UNARY
#define TERNARY                 UNARY
static void (*const tile_rows[EPL_N_ELEMENTWISE])(float *, const float *const *, int64_t, const double *) = {
#include "ops/elementwise.def"
};

/* ---- conversions ---- */

#define LOAD(type, convert)                                                                                        \
    for (int64_t k = 0; k < n; k++)                                                                                \
        to[k] = (float)convert(((const type *)from)[at + k * stride]);                                             \
    break

static void tile_load(float *to, const void *from, int64_t dtype, int64_t at, int64_t stride, int64_t n)
{
    if (dtype == EPL_REF_F32 && stride == 1) {
        memcpy(to, (const float *)from + at, (size_t)n * sizeof *to);
        return;
    }
    if (stride == 0 && n > 1) { // one element, repeated
        tile_load(to, from, dtype, at, 1, 1);
        const float x = to[0];
        for (int64_t k = 1; k < n; k++)
            to[k] = x;
        return;
    }
    switch (dtype) {
    case EPL_REF_F32:  LOAD(float, );
    case EPL_REF_F64:  LOAD(double, );
    case EPL_REF_BF16: LOAD(uint16_t, epl_ref_bfloat_to_float);
    case EPL_REF_F16:  LOAD(uint16_t, epl_ref_half_to_float);
    case EPL_REF_I8:   LOAD(int8_t, );
    case EPL_REF_I16:  LOAD(int16_t, );
    case EPL_REF_U16:  LOAD(uint16_t, );
    case EPL_REF_I32:  LOAD(int32_t, );
    case EPL_REF_U32:  LOAD(uint32_t, );
    case EPL_REF_I64:  LOAD(int64_t, );
    case EPL_REF_U64:  LOAD(uint64_t, );
    default:           LOAD(uint8_t, );
    }
}

#define STORE(type, convert)                                                                                       \
    for (int64_t k = 0; k < n; k++)                                                                                \
        ((type *)to)[at + k] = convert(from[k]);                                                             \
    break

/* To integers: the fraction is dropped, NaN becomes 0, what the type cannot hold saturates. */
static int64_t clamped(float x, int64_t low, int64_t high)
{
    const int64_t i = epl_ref_to_i64(x);
    return i < low ? low : i > high ? high : i;
}

static int8_t to_i8(float x) { return (int8_t)clamped(x, INT8_MIN, INT8_MAX); }
static uint8_t to_u8(float x) { return (uint8_t)clamped(x, 0, UINT8_MAX); }
static int16_t to_i16(float x) { return (int16_t)clamped(x, INT16_MIN, INT16_MAX); }
static uint16_t to_u16(float x) { return (uint16_t)clamped(x, 0, UINT16_MAX); }
static int32_t to_i32(float x) { return (int32_t)clamped(x, INT32_MIN, INT32_MAX); }
static uint32_t to_u32(float x) { return (uint32_t)clamped(x, 0, UINT32_MAX); }
static uint8_t to_bool(float x) { return x != 0; }
static uint64_t to_u64(float x) { return !(x > 0) ? 0 : x >= 0x1p64f ? UINT64_MAX : (uint64_t)x; }

static void tile_store(void *to, int64_t dtype, int64_t at, const float *from, int64_t n)
{
    switch (dtype) {
    case EPL_REF_F32:  memcpy((float *)to + at, from, (size_t)n * sizeof *from); break;
    case EPL_REF_F64:  STORE(double, );
    case EPL_REF_BF16: STORE(uint16_t, epl_ref_float_to_bfloat);
    case EPL_REF_F16:  STORE(uint16_t, epl_ref_float_to_half);
    case EPL_REF_I8:   STORE(int8_t, to_i8);
    case EPL_REF_U8:   STORE(uint8_t, to_u8);
    case EPL_REF_I16:  STORE(int16_t, to_i16);
    case EPL_REF_U16:  STORE(uint16_t, to_u16);
    case EPL_REF_I32:  STORE(int32_t, to_i32);
    case EPL_REF_U32:  STORE(uint32_t, to_u32);
    case EPL_REF_I64:  STORE(int64_t, epl_ref_to_i64);
    case EPL_REF_U64:  STORE(uint64_t, to_u64);
    default:           STORE(uint8_t, to_bool);
    }
}

#include "kernels/chain_tiles.h"

/* ---- entries ---- */

static int is_integer_chain(const epl_chain *c)
{
    for (int64_t i = 0; i < c->n_in; i++)
        if (epl_ref_is_float(c->in_dtype[i]))
            return 0;
    for (int64_t o = 0; o < c->n_out; o++)
        if (epl_ref_is_float(c->out_dtype[o]))
            return 0;
    return 1;
}

/* Without vectors along rows or columns, the whole is one long row. */
static int is_flat(const epl_chain *c)
{
    for (int64_t i = 0; i < c->n_in; i++)
        if (c->in_kind[i] != EPL_CHAIN_FULL && c->in_kind[i] != EPL_CHAIN_SCALAR)
            return 0;
    return 1;
}

void EPL_K(chain_rows)(const epl_chain *chain, const void *const *in, void *const *out, int64_t row0, int64_t row1,
                       int64_t col0, int64_t col1)
{
    epl_chain flat;
    if (chain->columns == col1 - col0 && row1 - row0 > 1 && is_flat(chain)) {
        flat = *chain;
        flat.rows = 1;
        flat.columns = chain->rows * chain->columns;
        col0 = row0 * chain->columns;
        col1 = row1 * chain->columns;
        row0 = 0;
        row1 = 1;
        chain = &flat;
    }
    (is_integer_chain(chain) ? EPL_K(chain_int_rows) : run_rows)(chain, in, out, row0, row1, col0, col1);
}

/* A piece is some rows, or part of one long row: about 16 Ki elements. */
enum { PIECE = 16384 };

static int64_t pieces_per_row(const epl_chain *c)
{
    return c->columns > PIECE ? (c->columns + PIECE - 1) / PIECE : 1;
}

static int64_t rows_per_piece(const epl_chain *c)
{
    return c->columns >= PIECE ? 1 : PIECE / (c->columns > 0 ? c->columns : 1);
}

int64_t EPL_K(chain_pieces)(const void *chain)
{
    const epl_chain *c = chain;
    if (c->rows <= 0 || c->columns <= 0)
        return 1;
    return (c->rows + rows_per_piece(c) - 1) / rows_per_piece(c) * pieces_per_row(c);
}

size_t EPL_K(chain_scratch)(const void *chain)
{
    (void)chain;
    return 0;
}

void EPL_K(chain)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_chain *c = call->params;
    const int64_t per_row = pieces_per_row(c), n_rows = rows_per_piece(c);
    (void)scratch;
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t row = piece / per_row * n_rows, col = piece % per_row * PIECE;
        EPL_K(chain_rows)(c, call->in, call->out, row, row + n_rows < c->rows ? row + n_rows : c->rows, col,
                          per_row == 1 || col + PIECE > c->columns ? c->columns : col + PIECE);
    }
}
