/* ops: builders of the operators. A builder adds one node (or a few) to a graph and returns its value; what it does to
 * shapes is said beside it. Every builder accepts NULL values (after an earlier failure) and then returns NULL.
 *
 * Element-wise operators broadcast as NumPy does. Images are [N, H, W, C], volumes [N, D, H, W, C], sequences [N, L, C]. */
#ifndef ESPALIER_OPS_H
#define ESPALIER_OPS_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- element-wise --------------------------------------------------------------------------------------------------
 * y(x) for each element; the rows of src/ops/elementwise.def say exactly what is computed. Inputs of two and more
 * broadcast as in NumPy and have one dtype. Floating types compute in f32 (f64 in double), integers exactly in 64 bits and
 * wrap when stored; x / 0 of integers is 0. Tests and comparisons give bool. */
EPL_API epl_value *epl_identity(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_abs(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_neg(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_sign(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_square(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_reciprocal(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_sqrt(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_rsqrt(epl_graph *g, epl_value *x);                  /* 1 / sqrt x */
EPL_API epl_value *epl_exp(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_expm1(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_log(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_log1p(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_sin(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_cos(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_tan(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_asin(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_acos(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_atan(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_sinh(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_cosh(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_tanh(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_asinh(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_acosh(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_atanh(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_erf(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_floor(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_ceil(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_round(epl_graph *g, epl_value *x);                  /* ties to even */
EPL_API epl_value *epl_trunc(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_step(epl_graph *g, epl_value *x);                   /* 1 where x > 0, else 0 */
EPL_API epl_value *epl_affine(epl_graph *g, epl_value *x, double alpha, double beta); /* alpha x + beta */
EPL_API epl_value *epl_pow_scalar(epl_graph *g, epl_value *x, double alpha);          /* x to the power alpha */
EPL_API epl_value *epl_clip(epl_graph *g, epl_value *x, double min, double max);      /* infinities: no bound */

EPL_API epl_value *epl_relu(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_relu6(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_leaky_relu(epl_graph *g, epl_value *x, double alpha);          /* alpha x below 0 */
EPL_API epl_value *epl_thresholded_relu(epl_graph *g, epl_value *x, double alpha);    /* x where x > alpha, else 0 */
EPL_API epl_value *epl_elu(epl_graph *g, epl_value *x, double alpha);
EPL_API epl_value *epl_celu(epl_graph *g, epl_value *x, double alpha);
EPL_API epl_value *epl_selu(epl_graph *g, epl_value *x, double alpha, double gamma);
EPL_API epl_value *epl_sigmoid(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_hard_sigmoid(epl_graph *g, epl_value *x, double alpha, double beta); /* ONNX: 0.2, 0.5 */
EPL_API epl_value *epl_silu(epl_graph *g, epl_value *x);                              /* x sigmoid(x) */
EPL_API epl_value *epl_swish(epl_graph *g, epl_value *x, double alpha);               /* x sigmoid(alpha x) */
EPL_API epl_value *epl_hard_swish(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_gelu(epl_graph *g, epl_value *x);                              /* by erf */
EPL_API epl_value *epl_gelu_tanh(epl_graph *g, epl_value *x);                         /* the tanh approximation */
EPL_API epl_value *epl_mish(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_softplus(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_softsign(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_shrink(epl_graph *g, epl_value *x, double bias, double lambd);

EPL_API epl_value *epl_isnan(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_isinf(epl_graph *g, epl_value *x, double detect_negative, double detect_positive); /* 0 or 1 each */
EPL_API epl_value *epl_not(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_bitwise_not(epl_graph *g, epl_value *x);

EPL_API epl_value *epl_add(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_sub(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_mul(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_div(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_pow(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_max(epl_graph *g, epl_value *a, epl_value *b);      /* NaN if either is */
EPL_API epl_value *epl_min(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_mod(epl_graph *g, epl_value *a, epl_value *b);      /* the divisor's sign, as Python's % */
EPL_API epl_value *epl_fmod(epl_graph *g, epl_value *a, epl_value *b);     /* the dividend's sign, as C's */
EPL_API epl_value *epl_prelu(epl_graph *g, epl_value *a, epl_value *b);    /* a b where a < 0, else a */
EPL_API epl_value *epl_equal(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_not_equal(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_less(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_less_or_equal(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_greater(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_greater_or_equal(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_and(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_or(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_xor(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_bitwise_and(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_bitwise_or(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_bitwise_xor(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_shift_left(epl_graph *g, epl_value *a, epl_value *b);
EPL_API epl_value *epl_shift_right(epl_graph *g, epl_value *a, epl_value *b);

EPL_API epl_value *epl_where(epl_graph *g, epl_value *a, epl_value *b, epl_value *c); /* b where a (bool) holds, else c */
EPL_API epl_value *epl_clamp(epl_graph *g, epl_value *a, epl_value *b, epl_value *c); /* a into [b, c] */

/* ---- casts, reductions, sorting ---------------------------------------------------------------------------------- */

/* To another element type. A float becomes an integer by dropping the fraction; NaN becomes 0, and what the integer type
 * cannot hold saturates. Integers wrap into narrower ones. To bool: everything but 0 is true. Float to float carries the
 * gradient. Returns x itself if it has the type already. */
EPL_API epl_value *epl_cast(epl_graph *g, epl_value *x, epl_dtype to);
EPL_API epl_value *epl_bit_cast(epl_graph *g, epl_value *x, epl_dtype to); /* the same bits, read as a type of the same width */

/* x rounded to the numbers of a narrow floating-point type, held in x's own: `mantissa` bits behind the point,
 * exponents of normal numbers from least_exponent on (below them the steps stay), magnitudes up to `most`. The
 * gradient is zero, as epl_round's. */
typedef struct epl_narrow_opts {
    int    mantissa, least_exponent;
    double most;
    enum { EPL_NARROW_SATURATE = 0, EPL_NARROW_INFINITY, EPL_NARROW_NAN } overflow; /* what lies beyond, infinities included */
    enum { EPL_NARROW_EVEN = 0, EPL_NARROW_UP, EPL_NARROW_DOWN } rounding;          /* to nearest, away from zero, towards it */
    bool   no_nan;        /* NaN becomes 0 */
    bool   unsigned_zero; /* there is no -0 */
} epl_narrow_opts;
EPL_API epl_value *epl_narrow(epl_graph *g, epl_value *x, epl_narrow_opts o);

/* Over the axes named (negative ones count from the end), or over all with n_axes 0. The axes disappear from the result
 * unless `keep` leaves them with size 1. Integers are summed exactly (and wrap); floats accumulate in index order. */
typedef struct epl_reduce_opts {
    int  n_axes;
    int  axes[EPL_MAX_RANK];
    bool keep;
} epl_reduce_opts;

/* (epl_reduce_opts){ EPL_AXES(1, 2), .keep = true } */
#define EPL_AXES(...) .n_axes = (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), .axes = { __VA_ARGS__ }

EPL_API epl_value *epl_reduce_sum(epl_graph *g, epl_value *x, epl_reduce_opts o);
EPL_API epl_value *epl_reduce_mean(epl_graph *g, epl_value *x, epl_reduce_opts o);
EPL_API epl_value *epl_reduce_max(epl_graph *g, epl_value *x, epl_reduce_opts o);  /* equal maxima share the gradient */
EPL_API epl_value *epl_reduce_min(epl_graph *g, epl_value *x, epl_reduce_opts o);
EPL_API epl_value *epl_reduce_prod(epl_graph *g, epl_value *x, epl_reduce_opts o);
EPL_API epl_value *epl_reduce_l1(epl_graph *g, epl_value *x, epl_reduce_opts o);   /* sum |x| */
EPL_API epl_value *epl_reduce_l2(epl_graph *g, epl_value *x, epl_reduce_opts o);   /* sqrt(sum x^2); gradient 0 at 0 */
EPL_API epl_value *epl_reduce_log_sum(epl_graph *g, epl_value *x, epl_reduce_opts o);
EPL_API epl_value *epl_reduce_log_sum_exp(epl_graph *g, epl_value *x, epl_reduce_opts o); /* the maximum is taken out first */
EPL_API epl_value *epl_reduce_sum_square(epl_graph *g, epl_value *x, epl_reduce_opts o);

/* The index (i64) of the largest, smallest element along an axis; of equal ones the first. */
typedef struct epl_arg_opts {
    bool keep;        /* leave the axis with size 1 */
    bool select_last; /* of equal ones the last */
} epl_arg_opts;

EPL_API epl_value *epl_argmax(epl_graph *g, epl_value *x, int axis, epl_arg_opts o);
EPL_API epl_value *epl_argmin(epl_graph *g, epl_value *x, int axis, epl_arg_opts o);

/* The k largest along an axis, in falling order, of equal ones the first; NaN counts as larger than everything. k 0 means
 * all: a sort. *indices (may be NULL) receives their positions, i64. */
typedef struct epl_topk_opts {
    bool smallest; /* the k smallest, in rising order */
} epl_topk_opts;

EPL_API epl_value *epl_topk(epl_graph *g, epl_value *x, int axis, int64_t k, epl_topk_opts o, epl_value **indices);

/* x with 0 in the place of all but the n of largest magnitude in every m consecutive elements along an axis; of equal ones the
 * first stay, and of a last group of r < m elements min(n, r). The gradient passes what stays. */
EPL_API epl_value *epl_keep_largest(epl_graph *g, epl_value *x, int axis, int64_t n, int64_t m);

/* ---- shapes and movement ----------------------------------------------------------------------------------------- */

/* Operators with a target shape have a twin `_like` that takes the shape of another value (and reads nothing else of it).
 * Gradients and blocks use the twin: it stays right when a named dimension is bound to another size. A twin returns x itself
 * if the shapes are equal already, so differentiate after binding when a named dimension is 1. */

/* The same elements under another shape. EPL_KEEP (0): as in x at that index; -1, once: what remains. */
EPL_API epl_value *epl_reshape(epl_graph *g, epl_value *x, epl_shape shape);
EPL_API epl_value *epl_reshape_like(epl_graph *g, epl_value *x, epl_value *like);
EPL_API epl_value *epl_flatten(epl_graph *g, epl_value *x, int axis);  /* rank 2: the axes before `axis`, and the others */
EPL_API epl_value *epl_squeeze(epl_graph *g, epl_value *x, int n_axes, const int *axes); /* n_axes 0: every axis of size 1 */
EPL_API epl_value *epl_unsqueeze(epl_graph *g, epl_value *x, int n_axes, const int *axes); /* positions in the result */

EPL_API epl_value *epl_transpose(epl_graph *g, epl_value *x, int n, const int *perm); /* n 0: reverses the axes */
EPL_API epl_value *epl_permute(epl_graph *g, epl_value *x, epl_shape perm); /* epl_permute(g, x, EPL_SHAPE(0, 2, 1)) */
EPL_API epl_value *epl_swap_axes(epl_graph *g, epl_value *x, int a, int b);

EPL_API epl_value *epl_concat(epl_graph *g, int n, epl_value *const *x, int axis);
EPL_API bool       epl_split(epl_graph *g, epl_value *x, int axis, int n, const int64_t *sizes, epl_value **out); /* sizes NULL:
                                        n equal parts, the last smaller. On failure the parts are NULL */
EPL_API epl_value *epl_stack(epl_graph *g, int n, epl_value *const *x, int axis); /* along a new axis */

/* Elements start, start + step, ... before (for a negative step: after) end along each axis named. Negative positions count
 * from the end; all are clipped to the axis. EPL_END means "to the end"; with a negative step EPL_BEGIN means "to the first". */
#define EPL_END   INT64_MAX
#define EPL_BEGIN (-INT64_MAX)
typedef struct epl_slice_opts {
    int     n_axes;
    int     axes[EPL_MAX_RANK];
    int64_t starts[EPL_MAX_RANK], ends[EPL_MAX_RANK];
    int64_t steps[EPL_MAX_RANK]; /* default 1 */
} epl_slice_opts;

EPL_API epl_value *epl_slice(epl_graph *g, epl_value *x, epl_slice_opts o);
EPL_API epl_value *epl_slice_axis(epl_graph *g, epl_value *x, int axis, int64_t start, int64_t end); /* step 1 */

/* Adds `before` and `after` elements along each axis, in the order of axes; negative numbers cut. */
typedef enum epl_pad_mode { EPL_PAD_CONSTANT = 0, EPL_PAD_REFLECT, EPL_PAD_EDGE, EPL_PAD_WRAP } epl_pad_mode;
typedef struct epl_pad_opts {
    int64_t      before[EPL_MAX_RANK], after[EPL_MAX_RANK];
    epl_pad_mode mode;
    double       value; /* of EPL_PAD_CONSTANT */
} epl_pad_opts;

EPL_API epl_value *epl_pad(epl_graph *g, epl_value *x, epl_pad_opts o);

/* Rows of data: result[a.., i.., b..] = data[a.., indices[i..], b..] with `axis` replaced by the shape of indices. An embedding
 * look-up with axis 0. Negative indices count from the end; rows outside are zero. Its gradient is epl_scatter_add. */
EPL_API epl_value *epl_gather(epl_graph *g, epl_value *data, epl_value *indices, int axis);
EPL_API epl_value *epl_gather_elements(epl_graph *g, epl_value *data, epl_value *indices, int axis);
EPL_API epl_value *epl_gather_nd(epl_graph *g, epl_value *data, epl_value *indices, int batch_dims);

/* The reverse of epl_gather, summed: zeros of like's shape (with updates' element type), to which
 * every row of updates is added at its index. */
EPL_API epl_value *epl_scatter_add(epl_graph *g, epl_value *updates, epl_value *indices, epl_value *like, int axis);

/* data with elements replaced by, or combined with, updates. With EPL_SCATTER_SET indices should not repeat (the last wins).
 * Indices outside are left out. */
typedef enum epl_scatter_reduction {
    EPL_SCATTER_SET = 0, EPL_SCATTER_ADD, EPL_SCATTER_MUL, EPL_SCATTER_MAX, EPL_SCATTER_MIN
} epl_scatter_reduction;

EPL_API epl_value *epl_scatter_elements(epl_graph *g, epl_value *data, epl_value *indices, epl_value *updates, int axis,
                                        epl_scatter_reduction reduction);
EPL_API epl_value *epl_scatter_nd(epl_graph *g, epl_value *data, epl_value *indices, epl_value *updates,
                                  epl_scatter_reduction reduction);

/* `on` where the new axis's position equals the index (negative ones count from the end), `off` elsewhere. The new axis, of
 * size depth, comes last. */
typedef struct epl_one_hot_opts {
    bool      first;  /* the new axis comes first; default last */
    epl_dtype dtype;  /* default f32 */
    double    on, off; /* default 1 and 0 (when both are 0) */
} epl_one_hot_opts;

EPL_API epl_value *epl_one_hot(epl_graph *g, epl_value *indices, int64_t depth, epl_one_hot_opts o);

/* Repeats x to a shape by NumPy's rule (EPL_KEEP and 1: as in x). */
EPL_API epl_value *epl_expand(epl_graph *g, epl_value *x, epl_shape shape);
EPL_API epl_value *epl_expand_like(epl_graph *g, epl_value *x, epl_value *like);
EPL_API epl_value *epl_tile(epl_graph *g, epl_value *x, int n, const int64_t *repeats); /* one number per axis */

/* The reverse of broadcasting: sums over leading axes and over those where the shape has 1 (EPL_KEEP: as in x, counted from
 * the last axis). A size that divides x's sums the repetitions, the reverse of epl_tile. */
EPL_API epl_value *epl_sum_to(epl_graph *g, epl_value *x, epl_shape shape);
EPL_API epl_value *epl_sum_like(epl_graph *g, epl_value *x, epl_value *like);

EPL_API epl_value *epl_fill_like(epl_graph *g, epl_value *like, double x); /* its shape and element type, filled with x */
EPL_API epl_value *epl_zeros_like(epl_graph *g, epl_value *like);
EPL_API epl_value *epl_ones_like(epl_graph *g, epl_value *like);

typedef struct epl_cumsum_opts {
    bool exclusive; /* without the element itself */
    bool reverse;   /* from the end */
} epl_cumsum_opts;

EPL_API epl_value *epl_cumsum(epl_graph *g, epl_value *x, int axis, epl_cumsum_opts o);
EPL_API epl_value *epl_cumprod(epl_graph *g, epl_value *x, int axis, epl_cumsum_opts o); /* products; no gradient at 0 */
EPL_API epl_value *epl_trilu(epl_graph *g, epl_value *x, bool upper, int64_t k); /* keeps a triangle of the last two axes;
                                                                                    k moves the diagonal upwards */
EPL_API epl_value *epl_reverse_sequence(epl_graph *g, epl_value *x, epl_value *lengths, int batch_axis, int time_axis);
EPL_API epl_value *epl_reverse(epl_graph *g, epl_value *x, int axis); /* the axis backwards */

EPL_API epl_value *epl_shape_value(epl_graph *g, epl_value *x);                    /* i64 [rank] */
EPL_API epl_value *epl_size(epl_graph *g, epl_value *x, int n_axes, const int *axes); /* i64 scalar: the product of these
                                                                                         dimensions; n_axes 0: of all */
EPL_API epl_value *epl_range(epl_graph *g, epl_dtype dtype, double start, double limit,
                             double delta); /* start, start + delta, ... < limit */
EPL_API epl_value *epl_positions(epl_graph *g, epl_dtype dtype, epl_value *like, int axis); /* 0, 1, ... along like's axis */
EPL_API epl_value *epl_eye(epl_graph *g, epl_dtype dtype, int64_t rows, int64_t columns, int64_t k); /* ones on diagonal k */

/* The positions of the elements that are not zero, i64 [rank, count]. x must be a constant: the count is a shape. */
EPL_API epl_value *epl_non_zero(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_first_non_zero(epl_graph *g, epl_value *x, int64_t count); /* of any x the first `count`; -1 if there are fewer */

/* The `count` different elements of x (slices along an axis), rising, or in the order in which they first appear.
 * Each of the others may be NULL: *first, where each of them first stands; *inverse, which of them each element
 * (slice) of x is; *times, how often each occurs. Beyond what there is, results are 0, and *first is -1. */
typedef struct epl_unique_opts {
    bool along_axis; /* slices along `axis`; default: elements of the flattened x */
    int  axis;
    bool unsorted;
} epl_unique_opts;
EPL_API epl_value *epl_unique(epl_graph *g, epl_value *x, int64_t count, epl_unique_opts o, epl_value **first, epl_value **inverse,
                              epl_value **times);

/* Sums of products by letters, "bij,bjk->bik": NumPy's einsum with "..." and implicit results; it becomes transposes,
 * products and sums, from left to right. A letter that repeats within an operand takes its diagonal. */
EPL_API epl_value *epl_einsum(epl_graph *g, const char *equation, int n, epl_value *const *x);

/* ---- matrix products --------------------------------------------------------------------------------------------- */

/* a [..., m, k] times b [..., k, n] -> [..., m, n]; the leading axes broadcast. Both need at least two axes. */
typedef struct epl_matmul_opts {
    bool trans_a, trans_b; /* the last two axes are read swapped */
} epl_matmul_opts;

EPL_API epl_value *epl_matmul(epl_graph *g, epl_value *a, epl_value *b, epl_matmul_opts o);

/* x [..., in] times w [in, out] (trans_w: [out, in]) plus bias [out] (or NULL) -> [..., out]. */
EPL_API epl_value *epl_multiply_rows(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, bool trans_w);

EPL_API epl_value *epl_det(epl_graph *g, epl_value *x); /* the determinant of the last two axes, at most 32 x 32; no gradient */

/* ---- convolution, pooling, resizing --------------------------------------------------------------------------------
 * These take weights as values; layers that create parameters are in nn.h. Lists go along the spatial axes, outermost first; in
 * kernel, stride and dilation a zero after the first means "as the one before", so { 3 } is 3 along every axis. */

typedef struct epl_convolve_opts {
    int  stride[3], dilation[3]; /* default 1 */
    int  groups;                 /* default 1; C makes it depthwise */
    int  pad;                    /* elements of zero padding at both ends of every axis */
    int  pad_begin[3], pad_end[3]; /* added to pad, axis by axis */
    bool same;                   /* instead: so much that H' = ceil(H / stride), the odd one at the end */
    int  output_pad[3];          /* epl_convolve_transpose alone: elements added at the end, each below the stride */
} epl_convolve_opts;

/* x [N, S..., C], w [K..., C/groups, M], bias [M] or NULL -> [N, S'..., M], S' = (S + pads - dilation (K - 1) - 1) / stride + 1.
 * One to three spatial axes. */
EPL_API epl_value *epl_convolve(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, epl_convolve_opts o);

/* The input gradient of epl_convolve, plus a bias: x [N, S..., C], w [K..., M/groups, C], bias [M] or NULL -> [N, S'..., M],
 * S' = (S - 1) stride + dilation (K - 1) + 1 - pads + output_pad. */
EPL_API epl_value *epl_convolve_transpose(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, epl_convolve_opts o);

/* A convolution, or with a weight [C, M] a linear layer, of integers: scale [M] (f32) times the exact sum of x (i8,
 * u8) by w (i8, i16), in 32 bits, plus bias [M] (f32) or NULL -> f32. Lowering puts it where products of quantised
 * values stand (epl_prepare). `like` (may be NULL): a convolution whose strides, pads, dilations and groups it
 * takes. */
EPL_API epl_value *epl_convolve_integers(epl_graph *g, epl_value *x, epl_value *w, epl_value *scale, epl_value *bias, const epl_node *like);

/* A convolution of images, one group, of which some channels do not count, sample by sample: y = out_mask
 * f(conv(in_mask x, w) + bias), f a relu or nothing. in_mask [N, C] (NULL: all) and out_mask [N, M] are 0 where a
 * channel is not wanted; what is 0 costs nothing when a program runs one sample. `like` (may be NULL): a convolution
 * whose strides, pads and dilations it takes. */
EPL_API epl_value *epl_convolve_gated(epl_graph *g, epl_value *x, epl_value *w, epl_value *bias, epl_value *in_mask, epl_value *out_mask,
                                      bool relu, const epl_node *like);

/* Pools: x [N, S..., C] -> [N, S'..., C], S' as for epl_convolve. */
typedef struct epl_pool_opts {
    int  kernel[3];                /* required; { 2 } is 2 along every axis */
    int  stride[3];                /* default: the kernel */
    int  dilation[3];              /* default 1 */
    int  pad;                      /* elements at both ends of every axis */
    int  pad_begin[3], pad_end[3]; /* added to pad, axis by axis */
    bool same;                     /* instead: so much that S' = ceil(S / stride) */
    bool ceil_mode;                /* S' rounded up: the last window may hang over the end */
    bool count_include_pad;        /* average: padding counts as zeros; default: only what is there is averaged */
    bool sum;                      /* average: do not divide at all */
} epl_pool_opts;

EPL_API epl_value *epl_max_pool(epl_graph *g, epl_value *x, epl_pool_opts o); /* of equal maxima the first gets the gradient */
EPL_API epl_value *epl_average_pool(epl_graph *g, epl_value *x, epl_pool_opts o);
/* Where the maxima of epl_max_pool's result are, i64, counted in ONNX's layout [N, C, S...] with S row-major or column-major. */
EPL_API epl_value *epl_max_pool_indices(epl_graph *g, epl_value *pooled, bool column_major);
EPL_API epl_value *epl_lp_pool(epl_graph *g, epl_value *x, int p, epl_pool_opts o); /* (sum |x|^p)^(1/p) */

EPL_API epl_value *epl_global_average_pool(epl_graph *g, epl_value *x); /* [N, S..., C] -> [N, C] */
EPL_API epl_value *epl_global_max_pool(epl_graph *g, epl_value *x);

/* Output element i averages the inputs from floor(i S / S') to ceil((i + 1) S / S'). size: S' along each spatial axis. */
EPL_API epl_value *epl_adaptive_average_pool(epl_graph *g, epl_value *x, const int *size);
EPL_API epl_value *epl_adaptive_max_pool(epl_graph *g, epl_value *x, const int *size); /* the largest of the same inputs */

/* x [N, S..., C] at another resolution: size, like (whose spatial sizes are taken) or scale alone (S' = floor(S
 * scale)) say which. A scale beside a size says how far apart the places are that are read; by default that is the
 * sizes' ratio. The names, and all formulas, are those of ONNX's Resize. */
typedef enum epl_resize_mode { EPL_NEAREST = 0, EPL_LINEAR, EPL_CUBIC } epl_resize_mode;
typedef enum epl_coordinates {
    EPL_HALF_PIXEL = 0, EPL_PYTORCH_HALF_PIXEL, EPL_ASYMMETRIC, EPL_ALIGN_CORNERS, EPL_HALF_PIXEL_SYMMETRIC, EPL_TF_HALF_PIXEL_FOR_NN,
    EPL_TF_CROP_AND_RESIZE
} epl_coordinates;
typedef enum epl_nearest_mode { EPL_ROUND_PREFER_FLOOR = 0, EPL_ROUND_PREFER_CEIL, EPL_FLOOR, EPL_CEIL } epl_nearest_mode;

typedef struct epl_resize_opts {
    double           scale[3]; /* { 2 } is 2 along every axis */
    int64_t          size[3];
    epl_value       *like;
    epl_resize_mode  mode;
    epl_coordinates  coordinates;
    epl_nearest_mode nearest;
    double           cubic_a;         /* default -0.75 */
    bool             exclude_outside; /* weights outside x count as 0; default: the edge goes on */
    bool             antialias;       /* when shrinking, widen the filter accordingly */
    double           crop_begin[3], crop_end[3]; /* EPL_TF_CROP_AND_RESIZE alone: the part of each axis, 0 to 1, that is resized */
    double           extrapolation;   /* and the value of what lies outside of x */
} epl_resize_opts;

EPL_API epl_value *epl_resample(epl_graph *g, epl_value *x, epl_resize_opts o);

/* [N, H, W, block^2 C] -> [N, H block, W block, C]; the channels are counted [block, block, C], or with channels_first
 * [C, block, block] (ONNX's CRD, PyTorch's pixel shuffle). And back. */
EPL_API epl_value *epl_depth_to_space(epl_graph *g, epl_value *x, int block, bool channels_first);
EPL_API epl_value *epl_space_to_depth(epl_graph *g, epl_value *x, int block);

/* ---- detection --------------------------------------------------------------------------------------------------- */

/* Boxes rois [R, 4] (x1, y1, x2, y2) of images [R] (integers) in x [N, H, W, C], resampled to [R, height, width, C]:
 * He et al. 2017 (arXiv:1703.06870), sec. 3. Differentiable by x, unless `maximum`. */
typedef struct epl_roi_opts {
    int    height, width;  /* default 1 */
    int    sampling_ratio; /* points along each side of a bin; 0: one for each pixel */
    double scale;          /* of the boxes' coordinates to x's; default 1 */
    bool   no_shift;       /* pixel 0 begins at 0; default: its centre lies there, and coordinates are shifted by half a pixel */
    bool   maximum;        /* of a bin's weighted pixels, as ONNX has it; default: the mean of its points */
} epl_roi_opts;
EPL_API epl_value *epl_roi_align(epl_graph *g, epl_value *x, epl_value *rois, epl_value *images, epl_roi_opts o);

/* The best boxes [N, B, 4] by scores [N, C, B], class by class, without those that overlap a better one: i64 [count,
 * 3] of (image, class, box); rows beyond those found are -1. */
typedef struct epl_nms_opts {
    int64_t most_per_class;
    double  iou_threshold;   /* a box whose intersection over union with a better one is above it is left out */
    bool    has_score_threshold;
    double  score_threshold; /* boxes at or below it are left out */
    bool    center;          /* boxes are (x, y, width, height) of their centre; default two opposite corners (y1, x1, y2, x2) */
} epl_nms_opts;
EPL_API epl_value *epl_non_max_suppression(epl_graph *g, epl_value *boxes, epl_value *scores, int64_t count, epl_nms_opts o);

/* ---- normalisation, softmax, losses ------------------------------------------------------------------------------ */

EPL_API epl_value *epl_softmax(epl_graph *g, epl_value *x, int axis);
EPL_API epl_value *epl_log_softmax(epl_graph *g, epl_value *x, int axis);

/* Normalisation: y = (x - mean) / sqrt(var + epsilon) * scale + bias. epsilon 0 means 1e-5; scale and bias may be NULL except
 * for the batch's. */

/* Over everything but the channels, with given statistics (all [C]). A pass makes it epl_normalize_batch_train when a step is
 * built, and updates mean and var: momentum * old + (1 - momentum) * the batch's. */
EPL_API epl_value *epl_normalize_batch(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, epl_value *mean,
                                       epl_value *var, double epsilon, double momentum);
EPL_API epl_value *epl_normalize_batch_train(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, double epsilon,
                                             epl_value **mean, epl_value **var); /* *var divides by n, not n - 1 */

EPL_API epl_value *epl_normalize_layer(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, int axis,
                                       double epsilon); /* over axis and those after it; scale and bias have their shape */
EPL_API epl_value *epl_normalize_rms(epl_graph *g, epl_value *x, epl_value *scale, int axis, double epsilon); /* no mean */
EPL_API epl_value *epl_normalize_group(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias, int64_t groups,
                                       double epsilon); /* over space and a group's channels; scale and bias [C] */
EPL_API epl_value *epl_normalize_instance(epl_graph *g, epl_value *x, epl_value *scale, epl_value *bias,
                                          double epsilon); /* over space: as many groups as channels */

/* x / (bias + alpha / size * sum x^2)^beta, the sum over `size` neighbouring channels. */
EPL_API epl_value *epl_normalize_local(epl_graph *g, epl_value *x, int64_t size, double alpha, double beta, double bias);
EPL_API epl_value *epl_normalize_lp(epl_graph *g, epl_value *x, int axis, int p); /* x / its p-norm along the axis; p 1 or 2 */

/* What becomes of a loss per row or element. */
typedef enum epl_reduction { EPL_MEAN = 0, EPL_SUM, EPL_NONE } epl_reduction;
EPL_API epl_value *epl_reduce_loss(epl_graph *g, epl_value *loss, epl_reduction reduction); /* a scalar, or loss itself */

/* Cross-entropy of softmax(logits [..., C]) against labels [...] (integers) or probabilities [..., C] (of the logits' type).
 * Rows whose label is not in 0..C-1 lose nothing. The mean divides by the sum of the rows' weights: class weight of the label
 * (labels only) times sample weight, 0 for an ignored row; without weights and without `ignore` by the number of rows. */
typedef struct epl_cross_entropy_opts {
    double        smoothing;      /* of the labels: Szegedy et al. 2016 (arXiv:1512.00567), sec. 7 */
    epl_value    *weights;        /* [C], one for each class */
    epl_value    *sample_weights; /* [...] */
    bool          ignore;         /* rows with this label do not count: */
    int64_t       ignore_index;
    epl_reduction reduction;
} epl_cross_entropy_opts;

EPL_API epl_value *epl_softmax_cross_entropy(epl_graph *g, epl_value *logits, epl_value *target, epl_cross_entropy_opts o);

/* -log_p at the label; log_p [..., C], labels [...]. */
EPL_API epl_value *epl_nll_loss(epl_graph *g, epl_value *log_p, epl_value *labels, epl_reduction reduction);

/* Element by element; shapes broadcast. */
EPL_API epl_value *epl_mse_loss(epl_graph *g, epl_value *x, epl_value *target, epl_reduction reduction);
EPL_API epl_value *epl_l1_loss(epl_graph *g, epl_value *x, epl_value *target, epl_reduction reduction);
EPL_API epl_value *epl_huber_loss(epl_graph *g, epl_value *x, epl_value *target, double delta, epl_reduction reduction);
EPL_API epl_value *epl_smooth_l1_loss(epl_graph *g, epl_value *x, epl_value *target, double beta,
                                      epl_reduction reduction); /* huber / beta */

/* Binary cross-entropy of sigmoid(x) against target in [0, 1]. */
typedef struct epl_bce_opts {
    epl_value    *weights;         /* of the elements; broadcasts */
    epl_value    *positive_weight; /* multiplies the loss of the positive part; broadcasts, usually [C] */
    epl_reduction reduction;
} epl_bce_opts;
EPL_API epl_value *epl_bce_with_logits_loss(epl_graph *g, epl_value *x, epl_value *target, epl_bce_opts o);

/* Lin et al. 2017 (arXiv:1708.02002): -alpha_t (1 - p_t)^gamma log p_t with p = sigmoid(x), target 0 or 1. */
typedef struct epl_focal_opts {
    double        gamma; /* default 2 */
    double        alpha; /* default 0.25; negative: no balancing */
    epl_reduction reduction;
} epl_focal_opts;
EPL_API epl_value *epl_focal_loss(epl_graph *g, epl_value *x, epl_value *target, epl_focal_opts o);

/* 1 - (2 sum p t + smooth) / (sum p + sum t + smooth), sums over space: p, target [N, spatial..., C] -> [N, C], then reduced. */
typedef struct epl_dice_opts {
    double        smooth; /* default 1 */
    epl_reduction reduction;
} epl_dice_opts;
EPL_API epl_value *epl_dice_loss(epl_graph *g, epl_value *p, epl_value *target, epl_dice_opts o);

/* Distillation, Hinton et al. 2015 (arXiv:1503.02531): T^2 KL(softmax(teacher / T) || softmax(student / T)) for logits [..., C],
 * one number a row, then reduced. temperature 0 means 1. The teacher gets gradients too: stop them before. */
EPL_API epl_value *epl_kl_div_loss(epl_graph *g, epl_value *student, epl_value *teacher, double temperature,
                                   epl_reduction reduction);

/* ---- 8-bit codes -----------------------------------------------------------------------------------------------------
 * Block-wise quantisation, Dettmers et al. 2022 (arXiv:2110.02861): x, in the order of its elements, is cut into blocks; each is
 * multiplied by the inverse of its greatest magnitude, its maximum (in f32: one division for a block; of a maximum below the least
 * normal number that one's inverse), and each product becomes the number of the nearest of the map's 256 rising values; a tie goes
 * to the lower number. Elements that are not finite count as 0, a block of zeros has the maximum 0. */
typedef enum epl_code_map {
    EPL_CODE_DYNAMIC = 0,      /* +-10^(i-6) (0.1 + 0.9 (j + 0.5) / 2^i), i 0..6, j 0..2^i - 1; 0 (code 127) and 1 */
    EPL_CODE_DYNAMIC_UNSIGNED, /* 10^(i-6) (0.1 + 0.9 (j + 0.5) / 2^(i+1)), j 0..2^(i+1) - 1; 0 (code 0) and 1 */
    EPL_CODE_LINEAR,           /* (i - 127) / 127, and 1 once more */
    EPL_CODE_LINEAR_UNSIGNED   /* i / 255 */
} epl_code_map;
EPL_API void       epl_code_map_fill(epl_code_map kind, float to[256]);
EPL_API int        epl_code_of_zero(epl_code_map kind);
EPL_API epl_value *epl_code_values(epl_graph *g, epl_code_map kind); /* as a constant f32 [256] */

typedef struct epl_blockwise_opts {
    int64_t    block;        /* elements: a power of two from 64 to 4096; 0: all are one block */
    bool       keep_nonzero; /* an element that is not 0 takes a value of its own sign, never 0: in a signed map no sign is lost, in
                                an unsigned one the least value is the floor */
    epl_value *draws;        /* uniform numbers in [0, 1) of x's shape for stochastic rounding between neighbours; NULL: nearest */
} epl_blockwise_opts;

/* x f32 [...] -> codes u8 [...] and *maxima f32 [blocks]. No gradient. */
EPL_API epl_value *epl_quantize_blockwise(epl_graph *g, epl_value *x, epl_value *map, epl_blockwise_opts o, epl_value **maxima);
/* y = map[code] * the block's maximum, f32 [...]. No gradient. */
EPL_API epl_value *epl_dequantize_blockwise(epl_graph *g, epl_value *codes, epl_value *maxima, epl_value *map, int64_t block);
EPL_API int64_t    epl_code_n_blocks(int64_t n, int64_t block); /* of n elements */
/* The same outside a graph; maxima has room for epl_code_n_blocks. */
EPL_API void       epl_code_blocks(const float *x, int64_t n, int64_t block, const float map[256], bool keep_nonzero, uint8_t *codes,
                                   float *maxima);

/* Weights +-2^e as packed codes of 2 to 4 bits (the highest is the sign, the others e), the first code in the lowest bits of the
 * first byte: u8 [epl_shift_packed_bytes(elements, bits)] -> f32 of `shape`. Li et al. 2023, DenseShift (arXiv:2208.09708). */
EPL_API epl_value *epl_shift_weight(epl_graph *g, epl_value *codes, int bits, epl_shape shape);
EPL_API int64_t    epl_shift_packed_bytes(int64_t n, int bits);
EPL_API void       epl_shift_pack_codes(const uint8_t *codes, int64_t n, int bits, uint8_t *packed); /* one code a byte -> packed */

/* Weights of which n of every m consecutive elements along an axis are stored (n < m <= 256; a last group of r < m
 * has min(n, r)): values [..., epl_nm_stored(size, n, m), ...], and for each of them its place in its group,
 * epl_nm_index_bits(m) bits, packed as above into u8 [epl_shift_packed_bytes(values, bits)] -> [..., size, ...],
 * zeros elsewhere. Places outside are left out; of equal ones the last counts. */
typedef struct epl_unpack_nm_opts {
    int     axis, n, m;
    int64_t size; /* of the axis in the result */
} epl_unpack_nm_opts;
EPL_API epl_value *epl_unpack_nm(epl_graph *g, epl_value *values, epl_value *indices, epl_unpack_nm_opts o);
EPL_API int64_t    epl_nm_stored(int64_t size, int n, int m);
EPL_API int        epl_nm_index_bits(int m); /* ceil(log2 m) */

/* ---- random numbers, dropout -----------------------------------------------------------------------------------------
 * Draws are a function of the key { seed, step } (epl_rng_key), a stream number that the builder takes from the graph, and the
 * element's index: the same for any number of threads, and again after a crash. No gradient flows through them. */

typedef struct epl_random_opts {
    epl_shape  shape; /* default like's; with like, EPL_KEEP stands for its dimension there */
    epl_value *like;  /* gives shape and element type, nothing else */
    epl_dtype  dtype; /* default like's, or f32 */
} epl_random_opts;

EPL_API epl_value *epl_random_uniform(epl_graph *g, epl_value *key, double low, double high, epl_random_opts o); /* [low, high) */
EPL_API epl_value *epl_random_normal(epl_graph *g, epl_value *key, double mean, double std, epl_random_opts o);
EPL_API epl_value *epl_random_bernoulli(epl_graph *g, epl_value *key, double p, epl_random_opts o); /* 1 with probability p, else 0 */

/* Neutral: x itself, until a program is made for training. Dropout drops elements, or [N, ..., C]'s whole channels; DropPath
 * whole samples: Huang et al. 2016 (arXiv:1603.09382). What stays is divided by 1 - rate. */
EPL_API epl_value *epl_dropout(epl_graph *g, epl_value *x, double rate, bool whole_channels);
EPL_API epl_value *epl_drop_path(epl_graph *g, epl_value *x, double rate);
EPL_API epl_value *epl_dropout_train(epl_graph *g, epl_value *x, double rate, bool whole_channels, epl_value *key);
EPL_API epl_value *epl_drop_path_train(epl_graph *g, epl_value *x, double rate, epl_value *key);

/* ---- recurrence ------------------------------------------------------------------------------------------------------
 * Whole sequences x [N, L, C] -> y [N, L, D H], with ONNX's equations: w [D, C, G H], r [D, H, G H], b [D, 2 G H] or NULL (the
 * half of w first), G gates in the order i o f c (LSTM), z r h (GRU). D is 2 for both directions, forward first. The last
 * states go to *h and *c [N, D, H] (each may be NULL). Weights are values; layers with parameters are in nn.h. */
typedef enum epl_direction { EPL_FORWARD = 0, EPL_REVERSE, EPL_BIDIRECTIONAL } epl_direction;

typedef struct epl_recurrent_opts {
    epl_direction direction;
    epl_value    *lengths;             /* i32 or i64 [N]: y is 0 behind a sequence's end, its state stays */
    epl_value    *h0, *c0;             /* [N, D, H]; default 0. c0: LSTM alone */
    epl_value    *peepholes;           /* LSTM: [D, 3 H] in the order i o f */
    double        clip;                /* of the gates' inputs, to [-clip, clip]; 0: none */
    bool          input_forget;        /* LSTM: f = 1 - i */
    bool          linear_before_reset; /* GRU: r * (h R + b) instead of (r * h) R + b; PyTorch's and cuDNN's form */
} epl_recurrent_opts;

EPL_API epl_value *epl_recur_lstm(epl_graph *g, epl_value *x, epl_value *w, epl_value *r, epl_value *b, epl_recurrent_opts o,
                                  epl_value **h, epl_value **c);
EPL_API epl_value *epl_recur_gru(epl_graph *g, epl_value *x, epl_value *w, epl_value *r, epl_value *b, epl_recurrent_opts o,
                                 epl_value **h);
EPL_API epl_value *epl_recur_rnn(epl_graph *g, epl_value *x, epl_value *w, epl_value *r, epl_value *b, epl_recurrent_opts o,
                                 epl_value **h);

/* ---- control flow and custom gradients --------------------------------------------------------------------------- */

/* Regions are made with epl_region_new, filled, and consumed here. A region reads the captures through its inputs,
 * in order, with the same types. Parameters and states that it declares are declared in g and become further
 * captures. Each returns the node and writes its results to `out`, or returns NULL on failure and writes nothing:
 * let `out` begin with NULLs, and building can go on. */

/* If: exactly one region runs, forward and backward. cond is a bool scalar; both regions have results of equal types. */
EPL_API epl_node *epl_if(epl_graph *g, epl_value *cond, epl_graph *then_region, epl_graph *else_region, int n_captures,
                         epl_value *const *captures, epl_value **out);

/* Switch: region number `index` (i64 scalar, clipped to the regions there are) runs. */
EPL_API epl_node *epl_switch(epl_graph *g, epl_value *index, int n_regions, epl_graph *const *regions, int n_captures,
                             epl_value *const *captures, epl_value **out);

/* IfEach: a choice for every sample, cond [N]. The captures lie along the batch, [N, ...], but for the last `n_shared`, which all
 * samples read. Result i of sample k is the then or else region's, as cond[k] says; samples must not mix in a region. How it is
 * carried out is not the model's business: training computes both and selects, so that gradients flow (epl_mask_choices);
 * inference of one sample is an If, of a batch runs each region on its own samples (epl_split_choices). */
EPL_API epl_node *epl_if_each(epl_graph *g, epl_value *cond, epl_graph *then_region, epl_graph *else_region, int n_captures,
                              epl_value *const *captures, int n_shared, epl_value **out);

/* Exit: where cond (a bool scalar, or [N]: of samples) holds, the graph's outputs are these values and what stands
 * behind it does not run. Programs and models make it an If or IfEach whose other branch is the rest
 * (epl_lower_exits); nothing evaluates it as it is. */
EPL_API epl_node *epl_exit(epl_graph *g, epl_value *cond, int n, epl_value *const *values);

/* Loop, ONNX's meaning with a known maximum: at most `trip` iterations, as long as the condition holds. EPL_LOOP_UNLIMITED: the
 * condition alone ends it; such a loop runs here but has to be given a limit to be compiled.
 *
 *   body's inputs   iteration (i64 scalar), condition (bool scalar), carried..., captures...
 *   body's outputs  condition, carried..., scans...
 *   results         carried..., scans... stacked [trip, ...] (zero after an early stop), iterations made (i64 scalar)
 *
 * cond (NULL: true) decides about the first iteration. Differentiable: the gradient keeps the carried values of every
 * iteration that it needs (as further scans, which it adds to this node before its last result) and runs backwards. */
#define EPL_LOOP_UNLIMITED INT32_MAX
EPL_API epl_node *epl_loop(epl_graph *g, int64_t trip, epl_value *cond, int n_carried, epl_value *const *carried,
                           epl_graph *body, int n_captures, epl_value *const *captures, epl_value **out);

/* A computation with its own gradient. forward: inputs -> results. backward: inputs..., results..., and the gradient of each
 * floating-point result -> the gradient of each floating-point input, in order. It is inlined when a program is made. */
EPL_API epl_node *epl_custom_gradient(epl_graph *g, epl_graph *forward, epl_graph *backward, int n_inputs,
                                      epl_value *const *inputs, epl_value **out);
EPL_API bool      epl_inline_custom(epl_node *n); /* puts the forward region's nodes in the node's place */

EPL_API epl_value *epl_stop_gradient(epl_graph *g, epl_value *x);
EPL_API epl_value *epl_straight_through(epl_graph *g, epl_value *forward, epl_value *backward); /* forward's value; the gradient
                                                                               goes to backward alone, of the same type */

#ifdef __cplusplus
}
#endif
#endif
