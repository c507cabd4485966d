/* permute: a tensor's axes in another order, for weights on their way in and out. */
#ifndef EPL_TENSOR_PERMUTE_H
#define EPL_TENSOR_PERMUTE_H

#include <espalier/tensor.h>

/* A copy of t whose axis i is t's axis perm.dim[i]; the caller owns it. */
epl_tensor *epl_tensor_permuted(epl_context *ctx, const epl_tensor *t, epl_shape perm);

#endif
