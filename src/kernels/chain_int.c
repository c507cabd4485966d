/* The element-wise chain over 64-bit integers: exact, wrapping when it stores. */
#include "kernels/chain_int.h"
#include "ops/elementwise.h"
#include "ops/ref.h"

typedef int64_t elem;
typedef int64_t scalar;
enum { ELEM_DTYPE = EPL_REF_I64, LANES = 1 };
#include "ops/int_math.h"

#define NONE
#define ATTR(p, ...)                      const double p = at[0];
#define ATTRS(p, p_default, q, q_default) const double p = at[0]; const double q = at[1];
#define KEEP(name, attributes, inputs, y)                                                                          \
    static void tile_##name(elem *to, const elem *const *in, int64_t n, const double *at)                          \
    {                                                                                                              \
        (void)at;                                                                                                  \
        attributes for (int64_t i = 0; i < n; i++)                                                                 \
        {                                                                                                          \
            inputs to[i] = y;                                                                                      \
        }                                                                                                          \
    }
#define DROP(name, attributes, inputs, y)
#define KEEP_ANY       KEEP
#define KEEP_REAL      DROP
#define KEEP_NUMBER    KEEP
#define KEEP_INTEGER   KEEP
#define KEEP_LOGIC     KEEP
#define KEEP_TEST      KEEP
#define KEEP_REAL_TEST DROP
#define KEEP_SELECT    KEEP
#define IN(name, k)    const elem name = in[k][i];

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
typedef void tile_row(elem *, const elem *const *, int64_t, const double *);
static tile_row *const tile_rows[EPL_N_ELEMENTWISE] = {
#include "ops/elementwise.def"
};

static tile_row *pair_of(int64_t op)
{
    (void)op;
    return 0; // there are no chains to gain from it
}

static int is_scaled(const epl_chain *c, int64_t s, const void *const *in, int64_t *a, double at[2])
{
    (void)c, (void)s, (void)in, (void)a, (void)at;
    return 0;
}

static void tile_load(elem *to, const void *from, int64_t dtype, int64_t at, int64_t stride, int64_t n)
{
    const epl_view v = { .data = (void *)(uintptr_t)from, .dtype = dtype }; // read only
    for (int64_t k = 0; k < n; k++)
        to[k] = epl_ref_get_i64(&v, at + k * stride);
}

static void tile_store(void *to, int64_t dtype, int64_t at, const elem *from, int64_t n)
{
    const epl_view v = { .data = to, .dtype = dtype };
    for (int64_t k = 0; k < n; k++)
        epl_ref_set_i64(&v, at + k, from[k]);
}

#include "kernels/chain_tiles.h"

void EPL_K(chain_int_rows)(const epl_chain *chain, const void *const *in, void *const *out, int64_t row0, int64_t row1,
                           int64_t col0, int64_t col1)
{
    run_rows(chain, in, out, row0, row1, col0, col1);
}
