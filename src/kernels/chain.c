/* The element-wise chain over f32, and the choice between it and the one over integers. */
#include "kernels/chain.h"
#include "kernels/chain_f32.h"
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
typedef void tile_row(float *, const float *const *, int64_t, const double *);
static tile_row *const tile_rows[EPL_N_ELEMENTWISE] = {
#include "ops/elementwise.def"
};

/* ---- pairs: rows over alpha a + beta and gamma b + delta, each rounded as the row affine does it ---- */

#define PAIR(name)                                                                                                  \
    static void pair_##name(float *to, const float *const *in, int64_t n, const double *at)                        \
    {                                                                                                              \
        const vf alpha = V(at[0]), beta = V(at[1]), gamma = V(at[2]), delta = V(at[3]);                            \
        for (int64_t i = 0; i < n; i += VL) {                                                                      \
            const vf a = alpha * vload(in[0] + i) + beta, b = gamma * vload(in[1] + i) + delta;                    \
            vstore(to + i, v##name(a, b));                                                                         \
        }                                                                                                          \
    }
PAIR(add)
PAIR(sub)
PAIR(mul)
PAIR(div)

static tile_row *pair_of(int64_t op)
{
    return op == EPL_EW_add ? pair_add : op == EPL_EW_sub ? pair_sub : op == EPL_EW_mul ? pair_mul : op == EPL_EW_div ? pair_div : 0;
}

/* Whether step s is alpha a + beta of one register a: affine, or a product with a scalar (+ -0 changes no number). */
static int is_scaled(const epl_chain *c, int64_t s, const void *const *in, int64_t *a, double at[2])
{
    if (c->op[s] == EPL_EW_affine) {
        *a    = c->arg[s][0];
        at[0] = c->attr[s][0];
        at[1] = c->attr[s][1];
        return 1;
    }
    for (int k = 0; k < 2 && c->op[s] == EPL_EW_mul; k++) {
        const int64_t by = c->arg[s][k];
        if (by < c->n_in && c->in_kind[by] == EPL_CHAIN_SCALAR && c->in_dtype[by] == EPL_REF_F32) {
            *a    = c->arg[s][1 - k];
            at[0] = (double)*(const float *)in[by];
            at[1] = -0.0;
            return 1;
        }
    }
    return 0;
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
