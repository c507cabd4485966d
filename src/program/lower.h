/* lower: the lowerings of single operators to kernels; each in the file of its family. */
#ifndef EPL_LOWER_H
#define EPL_LOWER_H

#include "program/program.h"

epl_lower_fn epl_lower_conv, epl_lower_conv_input_grad, epl_lower_conv_transpose, epl_lower_conv_weight_grad; /* lower_conv.c */
epl_lower_fn epl_lower_linear, epl_lower_matmul;                                                           /* lower_gemm.c */
epl_lower_fn epl_lower_elementwise, epl_lower_fused;                                                       /* lower_chain.c */

#endif
