/* lower: the lowerings of single operators to kernels; each in the file of its family. */
#ifndef EPL_LOWER_H
#define EPL_LOWER_H

#include "program/program.h"

epl_lower_fn epl_lower_conv, epl_lower_gated_conv, epl_lower_conv_input_grad, epl_lower_conv_transpose,
    epl_lower_conv_weight_grad;      /* lower_conv.c */
epl_lower_fn epl_lower_integer_conv; /* lower_integers.c */
epl_lower_fn epl_lower_linear, epl_lower_matmul;                                                           /* lower_gemm.c */
epl_lower_fn epl_lower_elementwise, epl_lower_fused;                                                       /* lower_chain.c */

/* A convolution (or a linear layer as one of 1x1) with weights that are known and mostly zero; `at` says where in w
 * its elements are. False: they are not. */
bool    epl_lower_sparse(epl_block *b, const epl_node *n, const epl_nm_pack_params *at, int x, const epl_value *w, int bias, int y);

/* The same with weights that are powers of two times a factor for each output channel. w's element (tap, j) of the weights
 * [kd, kh, kw, c/groups, m] lies at tap * tap_stride + j * out_stride. */
bool epl_lower_shift(epl_block *b, const epl_node *n, const epl_shift_pack_params *pack, int x, const epl_value *w,
                     int bias, int y); /* lower_shift.c */

/* What is known (lower_known.c). An expression of stored tensors that nothing updates is known; `depth` bounds the search. */
const epl_value  *epl_source_of(const epl_value *v); /* where a value comes from, through regions of fused nodes, branches and loops */
const epl_tensor *epl_stored(const epl_program *p, const epl_value *v); /* the tensor of a parameter, state or constant, or NULL */
bool              epl_can_evaluate(const epl_node *n);
bool              epl_is_known(const epl_program *p, const epl_value *v, int depth);
const epl_tensor *epl_evaluate_known(const epl_program *p, const epl_value *v,
                                     epl_tensor **own); /* free *own afterwards; NULL without memory */

/* The same with the n of every m channels that KeepLargest leaves, in a program that changes its weights. w's
 * element (kernel position, channel, output channel) of the convolution p lies as the pack's strides say; `axis` is
 * its channels'. */
bool epl_lower_nm(epl_block *b, const epl_node *n, const epl_nm_pack_params *pack, int x, const epl_value *w, int axis,
                  int bias, int y);                                /* lower_nm.c */
const epl_buffer *epl_seen_buffer(const epl_block *b, int buffer); /* from a region: the buffer outside that it reads */
bool    epl_sparse_lists_fit(const epl_step *pack);  /* the program's room for packed weights suffices; else fails */
bool    epl_shift_weights_fit(const epl_step *pack); /* they are still powers of two; else fails */
bool    epl_shift_add_weights_fit(const epl_step *pack); /* the same of integers */

/* x [N, S..., C], w [K..., C/groups, M], y [N, S'..., M] of a forward convolution; lists along the last axes (lower_conv.c). */
epl_conv_params epl_conv_geometry(const epl_node *n, epl_shape x, epl_shape w, epl_shape y, int64_t groups);

epl_lower_fn epl_lower_reduce, epl_lower_sum_to, epl_lower_softmax, epl_lower_cross_entropy;              /* lower_reduce.c */
epl_lower_fn epl_lower_batch_norm, epl_lower_batch_norm_train, epl_lower_batch_norm_grad, epl_lower_group_norm,
    epl_lower_group_norm_grad, epl_lower_row_norm, epl_lower_row_norm_grad;                                /* lower_norm.c */
epl_lower_fn epl_lower_random; /* lower_random.c */
epl_lower_fn epl_lower_pool, epl_lower_max_pool_grad, epl_lower_average_pool_grad, epl_lower_adaptive_average_pool,
    epl_lower_adaptive_average_pool_grad, epl_lower_resize;                                                /* lower_pool.c */
epl_lower_fn epl_lower_transpose, epl_lower_expand, epl_lower_slice, epl_lower_unslice, epl_lower_pad, epl_lower_concat,
    epl_lower_split, epl_lower_gather, epl_lower_scatter_add, epl_lower_cast;                              /* lower_move.c */

epl_lower_fn epl_lower_keep_largest; /* lower_keep.c */
epl_lower_fn epl_lower_quantize, epl_lower_dequantize; /* lower_code.c */
int epl_code_table_of(epl_block *b, const epl_node *n, const epl_value *map, bool keep_nonzero); /* lower_chain.c: a buffer; -1 */

/* Every input and result is f32 and has elements; else *why says so. */
bool epl_lowers_f32(const epl_node *n, const char **why);

#endif
