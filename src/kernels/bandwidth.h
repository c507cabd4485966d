/* bandwidth: the kernels that are bound by memory and not by arithmetic, and their parameters. Included by kernels.h, which
 * says what a kernel is. All compute in f32, vectorised over the last axis, stream their data once where that is possible,
 * and add partial sums in index order.
 *
 * ---- element-wise: chain, whose parameters are the epl_chain itself (chain.h) ----
 *
 * ---- reductions: x [outer, size, inner] -> [outer, inner] ----
 *
 *   reduce          in x                 out y = scale * (what `kind` says of x along size)
 *
 *   Axes that do not lie together are reduced one after the other. Where there are few results of many elements, set
 *   parts = epl_reduce_parts(&p) before: if it is not 1 the result is [parts, outer, inner], without scale, and a second
 *   `reduce` with epl_reduce_second(&p) gives y.
 *
 * ---- normalisation over sets, x [outer, rows, groups, width]: batch (outer 1, width 1), group, instance (width 1) ----
 *
 *   norm_parts      in x                 out parts [outer, splits, 2, C]: mean and sum of squared deviations; C = groups * width
 *   norm_moments    in parts, scale [C]  out mean, var [outer, groups], coef [2, outer, C]: mean, scale / sqrt(var + epsilon)
 *                   in NULL, scale, mean, var: takes those and writes only coef (inference). scale may be NULL, outputs too.
 *   norm_apply      in x, coef, bias [C] out y = (x - mean) * coef + bias; bias may be NULL; call->chain runs on y
 *   norm_back_parts in x, dy, mean, var  out parts [outer, splits, 2, C]: sums of dy and of dy (x - mean)
 *   norm_back       in parts, scale, mean, var   out dscale [C], dbias [C], coef [4, outer, C]; dscale, dbias may be NULL
 *   norm_dx         in x, dy, coef       out dx
 *
 *   All take epl_norm_params. splits = epl_norm_splits(&p).
 *
 * ---- normalisation of rows, x [rows, width]: layer and RMS ----
 *
 *   row_norm        in x, scale, bias    out y; scale and bias may be NULL
 *   row_norm_back   in x, dy, scale      out dx, dscale parts, dbias parts [parts, width] each (dbias may be NULL), to be
 *                                        added by sum_parts; parts = epl_row_norm_parts(&p)
 *
 * ---- softmax along an axis, x [outer, size, inner]: epl_softmax_params ----
 *
 *   softmax, log_softmax            in x        out y
 *   softmax_grad, log_softmax_grad  in y, dy    out dx
 *   cross_entropy       in x [rows, classes], target, weights [classes] or NULL           out loss [rows]
 *   cross_entropy_grad  in x, target, dloss [rows], weights                               out dx
 *
 *   target: labels [rows] of an integer type, or f32 probabilities [rows, classes]; the meaning is the operator's
 *   (ops/softmax.c).
 *
 * ---- pooling over up to three spatial axes, x [n, d, h, w, c]: epl_pool_params ----
 *
 *   pool            in x                 out y; call->chain runs on y
 *   pool_back       in x, dy             out dx; a maximum's gradient goes to its first place; x is not read for averages
 *   (Global pooling is `reduce` over [n, d * h * w, c].)
 *
 * ---- another resolution, x [n, in[0], in[1], in[2], c] to y [n, out[0], out[1], out[2], c]: epl_resample_params ----
 *
 *   resample        in x                 out y; with `back`: in dy, out dx. Missing axes have size 1, mode and coordinates 0
 *   The choices' numbers are those of the operator (ops/resize_taps.h).
 *
 * ---- random draws ----
 *
 *   random          in key i64 [2]: seed, step   out y, `count` draws: epl_random_params. The bits of the operators' references
 *
 * ---- N:M sparsity, x [outer, size, inner] ----
 *
 *   keep_largest    in x                 out y: of every m elements along size the n of largest magnitude, the others 0
 *
 * ---- movement ----
 *
 *   copy            in x                 out y[out_offset + sum i out_stride] = x[in_offset + sum i in_stride] for all
 *                                        indices i below dim: transposes, slices, parts of a concatenation, repetitions.
 *                                        Offsets and strides in elements of `bytes` each; axes in y's order
 *   pad             in x                 out y: x within a border of `value`; negative borders cut
 *   concat          in up to 16 tensors  out y [outer, sum of width]: row after row, tensor after tensor
 *   fill            in the value (one element, or NULL for zero)   out y: `count` elements of `bytes`
 *   gather          in x [outer, size, inner], indices [count]     out y [outer, count, inner]; negative indices count from
 *                                        the end; what lies outside gives zeros
 *   scatter_add     in updates [outer, count, inner], indices      out y [outer, size, inner] f32, zero where nothing is
 *                                        added; indices as in gather, those outside are left out; added in index order */
#ifndef EPL_BANDWIDTH_H
#define EPL_BANDWIDTH_H

#include "kernels/kernel.h"

static inline int64_t epl_cut(int64_t count, int64_t each)
{
    return (count + each - 1) / each;
}

static inline int64_t epl_between(int64_t low, int64_t x, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* ---- reduce ---- */
typedef enum epl_reduce_kind {
    EPL_REDUCE_SUM, EPL_REDUCE_MAX, EPL_REDUCE_MIN, EPL_REDUCE_PROD, EPL_REDUCE_SUM_ABS, EPL_REDUCE_SUM_SQUARE
} epl_reduce_kind;

typedef struct epl_reduce_params {
    int64_t outer, size, inner, kind, parts;
    double  scale; /* 1, or 1 / size for a mean */
} epl_reduce_params;

enum { EPL_REDUCE_COLUMNS = 64 }; /* of a piece, where inner is not 1 */

static inline int64_t epl_reduce_parts(const epl_reduce_params *p)
{
    const int64_t pieces = p->inner == 1 ? p->outer : p->outer * epl_cut(p->inner, EPL_REDUCE_COLUMNS);
    const int64_t wanted = p->outer * p->size * p->inner / 32768;
    return pieces >= 16 || p->size < 64 ? 1 : epl_between(1, wanted, p->size / 32 < 64 ? p->size / 32 : 64);
}

static inline epl_reduce_params epl_reduce_second(const epl_reduce_params *p)
{
    const int64_t kind = p->kind == EPL_REDUCE_SUM_ABS || p->kind == EPL_REDUCE_SUM_SQUARE ? EPL_REDUCE_SUM : p->kind;
    return (epl_reduce_params){ 1, p->parts, p->outer * p->inner, kind, 1, p->scale };
}

/* ---- normalisation ---- */
typedef struct epl_norm_params {
    int64_t outer, rows, groups, width;
    double  epsilon;
} epl_norm_params;

static inline int64_t epl_norm_splits(const epl_norm_params *p)
{
    const int64_t wanted = p->rows * p->groups * p->width / 16384;
    return epl_between(1, wanted < 64 ? wanted : 64, p->rows > 0 ? p->rows : 1);
}

typedef struct epl_row_norm_params {
    int64_t rows, width;
    int64_t center; /* 0: RMS, the mean is not subtracted */
    double  epsilon;
} epl_row_norm_params;

static inline int64_t epl_row_norm_parts(const epl_row_norm_params *p)
{
    return epl_between(1, p->rows * p->width / 32768, 64 < p->rows ? 64 : p->rows > 0 ? p->rows : 1);
}

/* ---- softmax ---- */
typedef struct epl_softmax_params {
    int64_t outer, size, inner;
} epl_softmax_params;

typedef struct epl_cross_entropy_params {
    int64_t rows, classes;
    int64_t target;       /* its epl_dtype; f32 means probabilities */
    int64_t ignore_index; /* rows with this label lose nothing; -1 for none */
    double  smoothing;
} epl_cross_entropy_params;

/* ---- pooling ---- */
typedef enum epl_pool_kind {
    EPL_POOL_MAX,
    EPL_POOL_MEAN,       /* over the elements under the window */
    EPL_POOL_MEAN_PADDED, /* padding counts as zeros; what hangs over it (ceil mode) does not count */
    EPL_POOL_SUM
} epl_pool_kind;

typedef struct epl_pool_params {
    int64_t n, d, h, w, c;
    int64_t od, oh, ow;
    int64_t kd, kh, kw;
    int64_t sd, sh, sw;
    int64_t dd, dh, dw;
    int64_t pd, ph, pw; /* padding before */
    int64_t ed, eh, ew; /* padding after; read by EPL_POOL_MEAN_PADDED alone */
    int64_t kind;
} epl_pool_params;

/* ---- resizing ---- */
typedef struct epl_resample_params {
    int64_t n, c, back;
    int64_t in[3], out[3], mode[3], coordinates[3];
    int64_t nearest, exclude, antialias;
    double  scale[3], begin[3], end[3];
    double  cubic_a, extrapolation;
} epl_resample_params;

/* ---- random draws ---- */
typedef enum epl_draw_kind { EPL_DRAW_UNIFORM, EPL_DRAW_BERNOULLI } epl_draw_kind;

typedef struct epl_random_params {
    int64_t count, stream, kind;
    int64_t bytes; /* of an element: 4 (f32), or for Bernoulli 1 */
    double  a, b;  /* low, high; probability, - */
} epl_random_params;

/* ---- the n of largest magnitude in every m elements along an axis; the last group of a row may be smaller ---- */
typedef struct epl_keep_largest_params {
    int64_t outer, size, inner, n, m;
} epl_keep_largest_params;

/* ---- movement ---- */
enum { EPL_COPY_RANK = 8 };

typedef struct epl_copy_params {
    int64_t rank, bytes; /* of an element: 1, 2, 4, 8 */
    int64_t in_offset, out_offset;
    int64_t dim[EPL_COPY_RANK], in_stride[EPL_COPY_RANK], out_stride[EPL_COPY_RANK];
} epl_copy_params;

typedef struct epl_pad_params {
    int64_t rank, bytes; /* of an element: 1, 2, 4, 8 */
    int64_t value;       /* its bits */
    int64_t in_dim[EPL_COPY_RANK], out_dim[EPL_COPY_RANK], before[EPL_COPY_RANK];
} epl_pad_params;

typedef struct epl_concat_params {
    int64_t outer, n;
    int64_t width[EPL_CALL_INPUTS]; /* bytes of a row of each */
} epl_concat_params;

typedef struct epl_fill_params {
    int64_t count, bytes;
} epl_fill_params;

typedef struct epl_gather_params {
    int64_t outer, size, inner, count;
    int64_t bytes;   /* of an element; 4 for scatter_add */
    int64_t indices; /* their epl_dtype: i32 or i64 */
} epl_gather_params;

/* ---- 8-bit codes in blocks (ops/code.c) ----
 *   code_pack      in map [256]                               out epl_code_table (code.h)
 *   quantize       in x, table                                out codes, maxima
 *   dequantize     in codes, maxima, map                      out y
 *   coded_chain    in codes, maxima, map of each decoded;     out codes, maxima of each coded, then the chain's other results
 *                  then the table of each coded
 *                  The chain's first inputs are the decoded blocks, its first results are coded; the others are scalars, or f32
 *                  tensors of the same count. */
typedef struct epl_code_params {
    int64_t count, block, keep_nonzero;
    int64_t n_decoded, n_coded, n_chain_in, n_chain_out; /* coded_chain; the chain's own counts */
    int64_t scalars;                                     /* bit i: input i of the chain is one */
} epl_code_params;

#endif
