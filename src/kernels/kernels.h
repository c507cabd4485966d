/* kernels: the list of kernels, how each is called, and the parameters of the dense ones.
 *
 * A kernel NAME has a row in kernels.def, a parameter struct `epl_<name>_params` (int64_t members, then doubles) and, in
 * the copy of every instruction set, three functions:
 *
 *     int64_t EPL_K(NAME_pieces)(const void *params)     the number of pieces, >= 1, a function of the parameters alone
 *     size_t  EPL_K(NAME_scratch)(const void *params)    bytes that one thread needs while it runs pieces, 0 for none
 *     void    EPL_K(NAME)(const epl_call *, begin, end, scratch)
 *
 * The caller runs all pieces, in any split over threads and in any order; pieces write disjoint outputs. Two kernels that
 * follow each other are separated by a barrier. Tensors are dense, channels last, f32, aligned to 4 bytes at least.
 *
 * ---- convolution: epl_conv_params describes the FORWARD convolution, for all of its kernels ----
 *
 *   x [n, d, h, w, c]   w [kd, kh, kw, c/groups, m]   y [n, od, oh, ow, m];  lower ranks have leading dimensions of 1.
 *   y[o] = sum over taps t of x[o * stride + t * dilation - pad] w[t];  pad is the padding BEFORE; what comes after follows
 *   from the output's size, which is given and not derived.
 *
 *   conv_pack      in w                        out packed w, epl_conv_packed_floats(p, set->vector) floats
 *   conv           in x, packed w, bias [m]    out y           bias may be NULL; call->chain runs on y
 *   conv_dx_pack   in w                        out packed w, epl_conv_dx_packed_floats(p, set->vector) floats
 *   conv_dx        in dy, packed w, bias [c]   out dx          the input gradient, and the forward of ConvTranspose (there
 *                                                              y plays x, the bias has c entries and the chain runs)
 *   conv_dw        in x, dy                    out dw          if epl_conv_dw_splits(p) == 1; otherwise out is a buffer of
 *                                                              splits x [kd, kh, kw, c/groups, m], to be added by
 *   sum_parts      in buffer                   out dw          which adds in index order: { parts, count }
 *
 *   Constant weights are packed once, when the program is made; weights that change are packed in every step. A packed
 *   tensor belongs to one instruction set.
 *
 * ---- depthwise convolution: groups == c == m; the same parameters, weights as they lie ----
 *
 *   dwconv         in x, w, bias               out y           chain runs on y
 *   dwconv_dx      in dy, w, bias              out dx          chain runs on dx
 *   dwconv_dw      in x, dy                    out dw          or epl_dwconv_dw_splits(p) parts for sum_parts, as above
 *
 * ---- sparse weights, known when the program is made: epl_conv_params with groups 1 ----
 *
 *   sparse_pack    in w: element (tap, j) of taps x m at tap * tap_stride + j * out_stride      out packed, `capacity` units of
 *                                              4 bytes. Its first (i32) is the size needed; if that is more than the
 *                                              capacity nothing else is written, but the second: how many neighbouring channels
 *                                              share their places (1, 2, 4). Packed weights are data, not all floats
 *   sparse_conv    in x, packed, bias          out y           chain runs on y. A linear layer is n = rows, all else 1
 *
 *   nm_pack        in w: element (q, c, j) at base + q * position_stride + c * channel_stride + j * out_stride, of which n of
 *                  every m channels may be not zero                 out packed, epl_nm_packed_size(p, set->vector) units of 4 bytes
 *
 *   Each zero costs nothing; lower_sparse.c decides from which share of zeros on it is worth it.
 *
 * ---- convolution of one image with channels left out: epl_gated_params, n = d = 1, groups 1 ----
 *
 *   gate_pack      in x, w, out mask [m], in mask [c] or NULL   out buffer of epl_gate_layout_of(&p->conv).size floats
 *   gated_conv     in buffer, bias or NULL, out mask            out y; relu before the mask if p->relu
 *
 *   A channel whose mask is 0 costs nothing; other masks multiply. gate_pack is one piece.
 *
 * ---- weights +-2^S, S from 0 to 7, times a factor for each output channel: epl_conv_params ----
 *
 *   shift_pack     in w: element (tap, j) of [kd, kh, kw, c/groups] x m at tap * tap_stride + j * out_stride      out packed,
 *                                              epl_shift_conv_bytes(p, set->vector) bytes: the factors, m floats, and codes of four
 *                                              bits. Weights that are none such: their channel's factor is NaN
 *   shift_conv     in x, packed, bias          out y           chain runs on y. A linear layer is n = rows, all else 1. Subnormal x
 *                                              count as 0, infinities, NaN and magnitudes from 2^121 on as the largest float below
 *
 * ---- integers: epl_integer_conv_params; x i8 or u8, w i8 or i16 [kd, kh, kw, c/groups, m] ----
 *
 *   integer_pack   in w                        out packed, epl_integer_packed_bytes(p, set->vector) bytes
 *   integer_conv   in x, packed, scale [m], bias        out y, f32    chain runs on y. Sums are exact in 32 bits and wrap; a linear
 *                                              layer is n = rows, all else 1
 *
 *   shift_add_pack in w: +-2^S, S at most 1, 3 or 7 as p->bits is 2, 3 or 4       out packed, epl_shift_add_bytes(p) bytes: codes, and
 *                                              at epl_shift_add_code_bytes(p) how many weights are no such powers (int32)
 *   shift_add      as integer_conv, with additions and shifts alone but for the scale
 *
 * ---- matrix product: epl_gemm_params ----
 *
 *   for each of `batch`:  C[rows, cols] = A[rows, depth] B[depth, cols] (+ bias [cols])
 *
 *   Element (i, k) of A is at a_batch * b + i * a_row + k * a_col; any strides, so transposition is free; the same for B;
 *   C's columns are contiguous. A batch stride of 0 repeats a matrix. With b_packed != 0, in[1] is the result of gemm_pack
 *   (which takes the same parameters, epl_gemm_packed_floats(p, set->vector) floats); otherwise B is packed on the fly,
 *   worth it for rows >= 64 or so; use gemm_pack for weights.
 *
 *   gemm_pack      in B                        out packed B
 *   gemm           in A, B or packed, bias     out C           call->chain runs on C seen as [batch * rows, cols], which
 *                                                              needs c_row == cols and c_batch == rows * cols
 *   Linear forward: A = x [rows, in], B = w [in, out]. dx = dy w^T: B with b_row = 1, b_col = out. dw = x^T dy: A with
 *   a_row = 1, a_col = in, depth = rows. */
#ifndef EPL_KERNELS_H
#define EPL_KERNELS_H

#include "kernels/bandwidth.h"
#include "kernels/kernel.h"

typedef struct epl_conv_params {
    int64_t n, d, h, w, c;
    int64_t od, oh, ow, m;
    int64_t kd, kh, kw;
    int64_t sd, sh, sw; /* strides */
    int64_t dd, dh, dw; /* dilations */
    int64_t pd, ph, pw; /* padding before */
    int64_t groups;
} epl_conv_params;

typedef struct epl_gated_params {
    epl_conv_params conv;
    int64_t         relu;
} epl_gated_params;

typedef struct epl_gemm_params {
    int64_t batch, rows, cols, depth;
    int64_t a_row, a_col, a_batch;
    int64_t b_row, b_col, b_batch;
    int64_t c_row, c_batch;
    int64_t b_packed;
} epl_gemm_params;

typedef struct epl_sparse_pack_params {
    epl_conv_params conv; /* its kd * kh * kw * c taps and m output channels */
    int64_t base, position_stride, channel_stride, out_stride; /* of element (kernel position, channel, output channel) of w */
    int64_t capacity;
} epl_sparse_pack_params;

typedef struct epl_nm_pack_params {
    epl_conv_params conv;
    int64_t base, position_stride, channel_stride, out_stride; /* of element (kernel position, channel, output channel) of w */
    int64_t n, m;                                              /* at most n of every m channels are not zero */
} epl_nm_pack_params;

typedef struct epl_shift_pack_params {
    epl_conv_params conv;
    int64_t tap_stride, out_stride;
} epl_shift_pack_params;

typedef struct epl_integer_conv_params {
    epl_conv_params conv;
    int64_t x_unsigned, w_wide; /* x is u8, not i8; w is i16, not i8 */
    int64_t bits;               /* of the codes of shift_add: 2, 3, 4 */
} epl_integer_conv_params;

typedef struct epl_sum_parts_params {
    int64_t parts, count; /* out[i] = in[i] + in[count + i] + in[2 count + i] + ... */
} epl_sum_parts_params;

/* The machine's limit, for benchmarks: in two factors (say 0.5, 0.25), out one float per piece. An iteration is 24 * vector
 * floating-point operations. */
typedef struct epl_fma_peak_params {
    int64_t pieces, iterations;
} epl_fma_peak_params;

/* ---- sizes of what lies between two kernels; `vector` is the set's number of floats per vector ---- */

static inline int64_t epl_conv_packed_floats(const epl_conv_params *p, int64_t vector)
{
    const int64_t cols = (p->m / p->groups + vector - 1) / vector * vector;
    return p->kd * p->kh * p->kw * p->c * cols;
}

static inline int64_t epl_conv_dx_packed_floats(const epl_conv_params *p, int64_t vector)
{
    const int64_t cols = (p->c / p->groups + vector - 1) / vector * vector;
    return p->kd * p->kh * p->kw * p->m * cols;
}

static inline int64_t epl_shift_depth(const epl_conv_params *p) { return p->kd * p->kh * p->kw * (p->c / p->groups); }

static inline size_t epl_shift_scale_bytes(const epl_conv_params *p) { return ((size_t)p->m * sizeof(float) + 63) / 64 * 64; }

static inline size_t epl_shift_conv_bytes(const epl_conv_params *p, int64_t vector)
{
    const int64_t cols = (p->m / p->groups + vector - 1) / vector * vector;
    return epl_shift_scale_bytes(p) + (size_t)(epl_shift_depth(p) * p->groups * cols / 2);
}

/* Pairs of 16 bits. */
static inline size_t epl_integer_packed_bytes(const epl_integer_conv_params *p, int64_t vector)
{
    const int64_t cols = (p->conv.m / p->conv.groups + vector - 1) / vector * vector;
    return (size_t)((epl_shift_depth(&p->conv) + 1) / 2 * p->conv.groups * cols) * 4;
}

/* Units of the depth, four bits each: two weights of 2 bits or one; an even number. */
static inline int64_t epl_shift_add_units(const epl_integer_conv_params *p)
{
    const int64_t each = p->bits == 2 ? 2 : 1;
    return (epl_shift_depth(&p->conv) + 2 * each - 1) / (2 * each) * 2;
}

static inline size_t epl_shift_add_code_bytes(const epl_integer_conv_params *p)
{
    return ((size_t)(epl_shift_add_units(p) / 2 * p->conv.m) + 3) / 4 * 4;
}

static inline size_t epl_shift_add_bytes(const epl_integer_conv_params *p) { return epl_shift_add_code_bytes(p) + 4; }

static inline int64_t epl_gemm_packed_floats(const epl_gemm_params *p, int64_t vector)
{
    return (p->b_batch ? p->batch : 1) * p->depth * ((p->cols + vector - 1) / vector * vector);
}

/* A convolution that is a matrix product over all pixels at once. */
static inline int epl_conv_is_pointwise(const epl_conv_params *p)
{
    return p->kd * p->kh * p->kw == 1 && p->sd * p->sh * p->sw == 1 && p->groups == 1 && !p->pd && !p->ph && !p->pw &&
           p->od == p->d && p->oh == p->h && p->ow == p->w;
}

/* Into how many parts the pixels of a weight gradient are cut, each of which reads its pixels once: a power of two, at most 16,
 * each of so many pixels, and all together so small beside x and y, that adding them costs little. One, where x and y stay in
 * the second cache and the result can be cut instead, into blocks of 8 x 32. */
static inline int64_t epl_conv_dw_splits(const epl_conv_params *p)
{
    const int64_t lines = p->n * p->od * p->oh, pixels = lines * p->ow, most = epl_conv_is_pointwise(p) ? pixels : lines;
    const int64_t taps = p->kd * p->kh * p->kw, cg = p->c / p->groups, mg = p->m / p->groups;
    const int64_t floats = taps * cg * p->m, read = p->n * p->d * p->h * p->w * p->c + pixels * p->m;
    const int64_t room = read / 8 > 32768 ? read / 8 : 32768;
    int64_t splits = 1;
    if (read <= 262144 && taps * p->groups * ((cg + 7) / 8) * ((mg + 31) / 32) >= 16)
        return 1;
    while (splits < 16 && 2 * splits <= most && 2 * splits <= pixels / 384 && 2 * splits * floats <= room)
        splits *= 2;
    return splits;
}

static inline int64_t epl_dwconv_dw_splits(const epl_conv_params *p)
{
    const int64_t rows = p->n * p->od * p->oh, most = rows * p->ow * p->c / 4096; // small ones are not worth a second part
    int64_t splits = 1;
    while (splits < 16 && 2 * splits <= rows && 2 * splits <= most)
        splits *= 2;
    return splits;
}

/* ---- the table ---- */

typedef struct epl_kernel {
    const char    *name;
    const char    *sources;         /* files of src/kernels that an artifact with this kernel needs, in order */
    const char    *params;          /* the name of its parameter struct */
    int            n_int, n_double; /* its members */
    int64_t      (*pieces)(const void *params);
    size_t       (*scratch)(const void *params);
    epl_kernel_fn *run;
} epl_kernel;

typedef struct epl_kernel_set {
    const char       *isa;    /* "generic", "v3", "v4", "armv8" */
    int64_t           vector; /* floats per vector */
    const epl_kernel *kernels;
    int               n_kernels;
} epl_kernel_set;

/* The best set that this machine runs, or the one that the environment variable EPL_ISA names (if it can run). */
const epl_kernel_set *epl_kernels(void);

/* The set of that name, or NULL if it was not built or this machine cannot run it. */
const epl_kernel_set *epl_kernels_for(const char *isa);

/* NULL if there is no kernel of that name. */
const epl_kernel *epl_kernel_find(const epl_kernel_set *set, const char *name);

#endif
